//! What a command has to do with the process around it: standard output, the terminal, Ctrl-C.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use picklet_segments::engine::quoted;
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
    /// The words that the program was started with, its own name aside.
    words: Vec<OsString>,
    pub(crate) out: Stdout,
}

/// Standard output is written in blocks of this many bytes.
const OUTPUT_BLOCK: usize = 64 * 1024;

impl<'h> Session<'h> {
    pub(crate) fn new(host: &'h Host, args: &[OsString]) -> Self {
        let words = args.get(1..).unwrap_or_default().to_vec();
        let out = Stdout(BufWriter::with_capacity(OUTPUT_BLOCK, io::stdout()));
        Session { host, words, out }
    }

    /// The command that makes anew what is lost of this one's result, as a shell takes it: this
    /// one, without what begins anew, with `resume` where it does not resume by itself.
    pub(crate) fn again(&self, resume: Option<&str>) -> String {
        let mut words = vec!["picklet".to_owned()];
        let mut given = self.words.iter().map(|word| word.to_string_lossy());
        let mut of_command = None;
        while let Some(word) = given.next() {
            match &*word {
                "--json" | "--overwrite" | "--resume" | "--no-resume" => {}
                "--only" => drop(given.next()),
                word if word.starts_with("--only=") => {}
                // What follows is not picklet's.
                "--" => {
                    of_command = Some(given.map(|word| quoted(&word)).collect::<Vec<_>>());
                    break;
                }
                word => words.push(quoted(word)),
            }
        }
        words.extend(resume.map(str::to_owned));
        if let Some(of_command) = of_command {
            words.push("--".to_owned());
            words.extend(of_command);
        }
        words.join(" ")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn again(args: &[&str], resume: Option<&str>) -> String {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Session::new(&Host::default(), &args).again(resume)
    }

    #[test]
    fn the_command_that_makes_anew_resumes_and_is_quoted() {
        let split = ["picklet", "split", "my file.pickle", "-o", "in", "--overwrite", "--json"];
        assert_eq!(
            again(&split, Some("--resume")),
            "picklet split 'my file.pickle' -o in --resume"
        );
        let map =
            ["picklet", "map", "in", "-o", "out", "--only", "a", "--", "jq", "--only", ".a|b"];
        assert_eq!(again(&map, None), "picklet map in -o out -- jq --only '.a|b'");
    }
}
