//! How a long operation tells what it has done.
//!
//! This crate draws nothing: the command line shows a bar, Python calls a
//! function, a test counts. All methods may be called from several threads.

/// What an operation expects to do, as far as it knows beforehand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments in all.
    pub segments: Option<u64>,
    /// Items in all.
    pub items: Option<u64>,
    /// Bytes to be read in all.
    pub bytes: Option<u64>,
}

/// Hears of an operation's progress. Every method does nothing by default.
pub trait Progress: Send + Sync {
    /// The operation begins, or knows more than before about its size.
    fn totals(&self, _totals: Totals) {}
    /// `bytes` more of the input were read.
    fn bytes(&self, _bytes: u64) {}
    /// `items` more items are done.
    fn items(&self, _items: u64) {}
    /// The segment in `file` is done.
    fn segment(&self, _file: &str) {}
    /// The segment in `file` failed; `message` says why in one line.
    fn failure(&self, _file: &str, _message: &str) {}
    /// A worker process wrote this to its standard error. By default it goes to this process's;
    /// a bar on the terminal steps aside first.
    fn output(&self, bytes: &[u8]) {
        // Nobody to tell when standard error itself is gone.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), bytes);
    }
}

impl<P: Progress + ?Sized> Progress for &P {
    fn totals(&self, totals: Totals) {
        (**self).totals(totals);
    }
    fn bytes(&self, bytes: u64) {
        (**self).bytes(bytes);
    }
    fn items(&self, items: u64) {
        (**self).items(items);
    }
    fn segment(&self, file: &str) {
        (**self).segment(file);
    }
    fn failure(&self, file: &str, message: &str) {
        (**self).failure(file, message);
    }
    fn output(&self, bytes: &[u8]) {
        (**self).output(bytes);
    }
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {}
