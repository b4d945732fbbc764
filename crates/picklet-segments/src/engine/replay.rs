//! How one segment is run again, in words, for the record of what failed.

use super::plan::quoted;
use super::protocol::{Form, Function};
use super::text::TextForm;
use super::{MapOptions, WorkerCommand};
use crate::directory::Segments;
use crate::store::Location;

/// The words that map one segment again: those before its name, and those after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    before: String,
    after: String,
    /// Whether the name is a text of Python's or Rust's, and not a word of a shell's.
    is_call: bool,
}

impl Replay {
    /// `call` is one of Python's that maps all: `picklet.open('in').map(function, 'out')`. It is
    /// given `only=`.
    pub fn of_call(call: &str) -> Replay {
        let call = call.strip_suffix(')').unwrap_or(call);
        Replay { before: format!("{call}, only=["), after: "])".to_owned(), is_call: true }
    }

    /// The program's command that maps with these workers. Without workers the closure is the
    /// caller's, who is told which of the options to set.
    pub(crate) fn of_workers(
        input: &Segments,
        out: &Location,
        worker: Option<&WorkerCommand>,
        options: &MapOptions,
    ) -> Replay {
        let Some(worker) = worker else {
            let before = "the same map with MapOptions { only: Some(vec![".to_owned();
            let after = ".into()]), .. }".to_owned();
            return Replay { before, after, is_call: true };
        };
        let path = |location: &Location| location.path().to_string_lossy().into_owned();
        let mut words = vec!["picklet".into(), "map".into(), path(input.location())];
        words.extend(["-o".to_owned(), path(out)]);
        let mut after = Vec::new();
        match worker {
            WorkerCommand::Python(python) => {
                match &python.function {
                    Function::Call(call) => words.extend(["--call".to_owned(), call.clone()]),
                    // It was sent with its code, and has no name that a command could give.
                    Function::Cloudpickle(_) => {
                        words.extend(["--call".into(), "MODULE:FUNCTION".into()]);
                    }
                }
                match python.form {
                    Form::Segment | Form::Reduce => {}
                    Form::Items => words.push("--items".into()),
                    Form::Filter => words.push("--filter".into()),
                    Form::Batch(items) => words.extend(["--batch".into(), items.to_string()]),
                    Form::Outputs => words.push("--yields".into()),
                }
                if python.python != "python3" {
                    let name = python.python.to_string_lossy().into_owned();
                    words.extend(["--python".into(), name]);
                }
                if python.policy.trust {
                    words.push("--trust".into());
                }
                for name in &python.policy.allow {
                    words.extend(["--allow".into(), name.clone()]);
                }
            }
            WorkerCommand::External(command) => {
                if let Some(text) = &command.text {
                    let form = match text.form {
                        TextForm::Jsonl => "jsonl",
                        TextForm::Json => "json",
                        TextForm::Lines => "lines",
                    };
                    words.extend(["--as".to_owned(), form.to_owned()]);
                }
                after.push("--".to_owned());
                after.extend(command.arguments.iter().map(|a| a.to_string_lossy().into_owned()));
            }
        }
        if let Some(version) = &options.version {
            words.extend(["--version".into(), version.clone()]);
        }
        if let Some(compression) = options.compression {
            words.extend(["--compress".into(), compression.to_string()]);
        }
        let line =
            |words: &[String]| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        let after = if after.is_empty() { String::new() } else { format!(" {}", line(&after)) };
        Replay { before: format!("{} --only ", line(&words)), after, is_call: false }
    }

    /// The words for the segment of this name.
    pub(crate) fn words(&self, name: &str) -> String {
        let name = if self.is_call { format!("{name:?}") } else { quoted(name) };
        format!("{}{name}{}", self.before, self.after)
    }
}
