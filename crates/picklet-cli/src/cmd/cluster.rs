//! `map --engine`: a Python process drives the cluster, because what clusters speak is Python.
//!
//! It is given the request as JSON on its standard input, and answers with lines of JSON:
//! `progress`, and in the end `report` or `error`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::Result;
use picklet_segments::engine::{Function, MapOptions, MapReport, OnError, PythonWorkers};
use picklet_segments::{Error, Location, Progress, Segments, Totals};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// Segments done, segments in all, items, segments failed, bytes, bytes in all.
    Progress(u64, Option<u64>, u64, u64, u64, Option<u64>),
    /// A segment's name and why it failed.
    Report(Box<MapReport>),
    /// One line for the user.
    Error(String),
}

/// Maps on the engine at the address.
pub(crate) fn map(
    segments: &Segments,
    out: &Location,
    python: &PythonWorkers,
    (engine, address): (&str, Option<&str>),
    options: &MapOptions,
    progress: &dyn Progress,
) -> Result<MapReport> {
    let Function::Call(call) = &python.function else {
        return Err(Error::usage("an engine needs a function by its name").into());
    };
    if options.only.is_some() {
        return Err(Error::usage("--only runs on this machine; leave out --engine").into());
    }
    let request = json!({
        "input": segments.location().path(), "out": out.path(), "call": call,
        "form": python.form, "sys_path": python.sys_path,
        "allow": python.policy.allow, "trust": python.policy.trust,
        "engine": engine, "address": address, "workers": options.workers,
        "on_error": match options.on_error {
            OnError::Raise => "raise", OnError::Skip => "skip", OnError::Quarantine => "quarantine",
        },
        "retries": options.retries, "resume": options.resume, "version": options.version,
        "made_by": options.made_by,
    });
    let name = python.python.to_string_lossy();
    let mut command = Command::new(&python.python);
    command.args(["-m", "picklet.drive"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        Error::usage(format!("cannot start the Python interpreter {name:?}: {error}"))
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A driver that does not start says why by itself.
        let _ = stdin.write_all(request.to_string().as_bytes());
    }
    let mut result = None;
    if let Some(stdout) = child.stdout.take() {
        let mut told = Told::default();
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            match serde_json::from_str(&line) {
                Ok(Line::Progress(done, total, items, failed, bytes, all)) => {
                    told.tell(progress, (done, items, failed, bytes), (total, all));
                }
                Ok(Line::Report(report)) => result = Some(Ok(*report)),
                Ok(Line::Error(message)) => result = Some(Err(Error::usage(message).into())),
                // Somebody else wrote to its standard output.
                Err(_) => {}
            }
        }
    }
    let status = child.wait()?;
    result.unwrap_or_else(|| {
        let hint = "is picklet installed there?";
        Err(Error::usage(format!("{name:?} -m picklet.drive ended with {status}; {hint}")).into())
    })
}

/// What was told already.
#[derive(Default)]
struct Told {
    begun: bool,
    done: u64,
    items: u64,
    failed: u64,
    bytes: u64,
}

impl Told {
    fn tell(
        &mut self,
        progress: &dyn Progress,
        (done, items, failed, bytes): (u64, u64, u64, u64),
        (segments, all): (Option<u64>, Option<u64>),
    ) {
        if !self.begun {
            progress.totals(Totals { segments, items: None, bytes: all });
        }
        progress.bytes(bytes.saturating_sub(self.bytes));
        progress.items(items.saturating_sub(self.items));
        (self.done..done).for_each(|_| progress.segment(""));
        (self.failed..failed).for_each(|_| progress.failure("", ""));
        *self = Told { begun: true, done, items, failed, bytes };
    }
}
