//! The file that a command writes: whole, or not there at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use picklet_segments::Error;
use picklet_segments::store::WholeFile;

use crate::host::{Session, Stdout};
use crate::source::is_dash;

/// A file that appears under its name only when [`Output::finish`] is called; standard output when
/// its name is `-`. What is no regular file (a pipe, a device) is written directly.
pub(crate) enum Output<'s> {
    Whole(WholeFile),
    Direct { file: File, path: PathBuf },
    Stdout(&'s mut Stdout),
}

impl<'s> Output<'s> {
    pub(crate) fn create(path: &Path, session: &'s mut Session<'_>) -> Result<Output<'s>> {
        if is_dash(path) {
            return Ok(Output::Stdout(&mut session.out));
        }
        let metadata = std::fs::metadata(path);
        if metadata.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
            let message = "is a directory; -o names the file to write";
            return Err(Error::input(path, None, message).into());
        }
        if metadata.is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path);
            let file = file.map_err(|e| Error::io("open", path, e))?;
            return Ok(Output::Direct { file, path: path.to_owned() });
        }
        // A link is written through, as every other program does.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(Output::Whole(WholeFile::create(path)?))
    }

    /// Makes what was written durable and visible.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Output::Stdout(out) => out.flush()?,
            Output::Direct { mut file, path } => {
                file.flush().map_err(|e| Error::io("write", &path, e))?;
            }
            Output::Whole(file) => file.finish()?,
        }
        Ok(())
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Whole(file) => file.write(bytes),
            Output::Direct { file, .. } => file.write(bytes),
            Output::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Whole(file) => file.flush(),
            Output::Direct { file, .. } => file.flush(),
            Output::Stdout(out) => out.flush(),
        }
    }
}
