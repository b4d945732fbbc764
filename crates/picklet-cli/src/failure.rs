//! How a command ends: its verdict, or one line on standard error and an exit code.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::Error;
use clap::error::ErrorKind;

/// What a command that ran to its end has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All is well: exit code 0.
    Good,
    /// It ran, and the answer is bad: exit code 1.
    Bad,
}

/// Ctrl-C ended the command; the text says what can be done next.
#[derive(Debug)]
pub(crate) struct Interrupted(pub(crate) &'static str);

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Interrupted {}

/// What standard output said to a write. It is told apart from every other file's errors, because
/// a closed pipe there is no error.
#[derive(Debug)]
pub(crate) struct StdoutError(pub(crate) io::Error);

impl std::fmt::Display for StdoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for StdoutError {}

const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Says on standard error what is wrong, in one line, and gives the exit code.
pub(crate) fn report(error: &Error) -> u8 {
    if let Some(StdoutError(error)) = stdout_error(error) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return 0;
        }
        say(&format!("cannot write to standard output: {error}"));
        return USAGE;
    }
    say(&one_line(error));
    if error.downcast_ref::<Interrupted>().is_some() {
        return INTERRUPTED;
    }
    match error.downcast_ref::<picklet_segments::Error>() {
        Some(picklet_segments::Error::Interrupted) => INTERRUPTED,
        Some(error) => error.exit_code(),
        None => USAGE,
    }
}

/// Prints `picklet: message` as one line, control characters escaped.
pub(crate) fn say(message: &str) {
    let mut line = String::from("picklet: ");
    for c in message.chars() {
        match c {
            '\n' => line.push(' '),
            c if c.is_control() => {
                let _ = write!(line, "{}", c.escape_default());
            }
            c => line.push(c),
        }
    }
    line.push('\n');
    // Nobody to tell when standard error itself is gone.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Prints a warning: a line that does not end the command.
pub(crate) fn warn(message: &str) {
    say(&format!("warning: {message}"));
}

/// The error and its causes, without the causes that the error's own words tell already.
fn one_line(error: &Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    line
}

/// The error of standard output in a chain, however deep other crates have wrapped it.
fn stdout_error(error: &Error) -> Option<&StdoutError> {
    error.chain().find_map(|cause| {
        if let Some(found) = cause.downcast_ref::<StdoutError>() {
            return Some(found);
        }
        let mut inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        loop {
            if let Some(found) = inner.downcast_ref::<StdoutError>() {
                return Some(found);
            }
            inner = inner.downcast_ref::<io::Error>()?.get_ref()?;
        }
    })
}

/// What clap has to say: help and version as it words them, an error as one line.
pub(crate) fn bad_arguments(error: &clap::Error, command: &str) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => 0,
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
            Err(e) => {
                say(&format!("cannot write to standard output: {e}"));
                USAGE
            }
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            USAGE
        }
        _ => {
            say(&usage_line(&error.render().to_string(), command));
            USAGE
        }
    }
}

/// clap's several lines as one: what is wrong, its tips, and where the help of `command` is.
fn usage_line(rendered: &str, command: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in rendered.lines().map(str::trim) {
        if line.starts_with("Usage: ") || line.starts_with("For more information") {
            break;
        }
        if line.is_empty() {
            continue;
        }
        let text = line.strip_prefix("error: ").unwrap_or(line);
        match parts.last_mut() {
            // A list of what is missing follows its heading.
            Some(last) if last.ends_with(':') => *last = format!("{last} {text}"),
            _ => parts.push(text.to_owned()),
        }
    }
    format!("{}; `{command} --help` has examples", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_the_error_tells_already_is_not_told_twice() {
        let io = io::Error::other("disk on fire");
        let error = Error::from(picklet_segments::Error::io("read", "a.pickle", io));
        assert_eq!(one_line(&error), "cannot read a.pickle: disk on fire");
        let error = Error::from(io::Error::other("disk on fire")).context("cannot read x");
        assert_eq!(one_line(&error), "cannot read x: disk on fire");
    }

    #[test]
    fn an_error_of_standard_output_is_found_under_other_errors() {
        let inner = io::Error::other(StdoutError(io::ErrorKind::BrokenPipe.into()));
        let outer = picklet_segments::Error::io("write", "-", io::Error::other(inner));
        assert!(stdout_error(&Error::from(outer)).is_some());
        assert!(stdout_error(&Error::from(io::Error::other("else"))).is_none());
    }

    #[test]
    fn a_usage_error_of_several_lines_becomes_one() {
        let rendered = "error: the following required arguments were not provided:\n  --out <DIR>\n\
                        \nUsage: picklet split --out <DIR> <SRC>\n\nFor more information, try '--help'.\n";
        assert_eq!(
            usage_line(rendered, "picklet split"),
            "the following required arguments were not provided: --out <DIR>; \
             `picklet split --help` has examples"
        );
    }
}
