//! What a command has to do with the process around it: standard output, the terminal, Ctrl-C.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use picklet_segments::{NoProgress, Progress};
use serde_json::Value;

use crate::failure::StdoutError;
use crate::progress::{Bar, Events};

/// What the program takes from the one who starts it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The Python interpreter that workers run in, unless `--python` names another.
    pub python: OsString,
}

impl Default for Host {
    /// `python3` of the PATH.
    fn default() -> Self {
        Host { python: "python3".into() }
    }
}

/// Standard output. Its errors are [`StdoutError`]s.
#[derive(Debug)]
pub(crate) struct Stdout(BufWriter<io::Stdout>);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(told_apart)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(told_apart)
    }
}

fn told_apart(error: io::Error) -> io::Error {
    match error.kind() {
        // `write_all` tries this one again.
        io::ErrorKind::Interrupted => error,
        _ => io::Error::other(StdoutError(error)),
    }
}

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Session<'h> {
    pub(crate) host: &'h Host,
    pub(crate) out: Stdout,
}

/// Standard output is written in blocks of this many bytes.
const OUTPUT_BLOCK: usize = 64 * 1024;

impl<'h> Session<'h> {
    pub(crate) fn new(host: &'h Host) -> Self {
        Session { host, out: Stdout(BufWriter::with_capacity(OUTPUT_BLOCK, io::stdout())) }
    }

    /// Writes what is buffered.
    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// Prints JSON, indented for a person and on one line for a program.
    pub(crate) fn json(&mut self, value: &Value) -> Result<()> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)?
        } else {
            serde_json::to_string(value)?
        };
        self.line(&text)
    }

    /// With `json` a line of JSON on standard output for each thing that happens, otherwise as
    /// [`Session::progress`].
    pub(crate) fn events(&self, verb: &'static str, json: bool) -> Box<dyn Progress> {
        if json { Box::new(Events::new(verb)) } else { self.progress(verb) }
    }

    /// A progress bar on a terminal, silence elsewhere.
    pub(crate) fn progress(&self, verb: &'static str) -> Box<dyn Progress> {
        if io::stderr().is_terminal() { Box::new(Bar::new(verb)) } else { Box::new(NoProgress) }
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From here on the first Ctrl-C only asks the command to end, and the second ends the process at
/// once. Commands that have nothing to keep do without it: then the first ends the process.
///
/// Gives what says whether Ctrl-C was pressed.
pub(crate) fn catch_interrupts() -> fn() -> bool {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    };
    // It fails when there is a handler already: then Ctrl-C is that handler's business.
    let _ = ctrlc::set_handler(handler);
    || INTERRUPTED.load(Ordering::SeqCst)
}
