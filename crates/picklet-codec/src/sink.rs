//! Where a pickle goes while it is written.

use std::io;

/// Takes a pickle's bytes from time to time; every [`io::Write`] does.
pub trait Sink {
    /// Whether it takes bytes before the end. Otherwise they all stay in the writer's buffer.
    const TAKES: bool;

    /// Takes all of `bytes`.
    ///
    /// # Errors
    /// What the writer below reports.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl<W: io::Write> Sink for W {
    const TAKES: bool = true;

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

/// The pickle stays in the buffer that it is written to: a `Vec<u8>` as the sink would be a second
/// one, and a copy from one to the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct InMemory;

impl Sink for InMemory {
    const TAKES: bool = false;

    fn take(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
