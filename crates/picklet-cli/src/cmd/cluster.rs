//! `map --engine`: a Python process drives the cluster, because what clusters speak is Python.
//!
//! It is given the request as a line of JSON on its standard input, and answers with lines of
//! JSON: `progress`, `segment`, `failure`, and in the end `report` or `error`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

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
    /// The file of a segment that is done.
    Segment(String),
    /// That of one that failed, and why.
    Failure(String, String),
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
    interrupt: &dyn Fn() -> bool,
) -> Result<MapReport> {
    let Function::Call(call) = &python.function else {
        return Err(Error::usage("an engine needs a function by its name").into());
    };
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
        "only": options.only,
        "compress": options.compression.map(|compression| compression.to_string()),
    });
    let name = python.python.to_string_lossy();
    let mut command = Command::new(&python.python);
    command.args(["-m", "picklet.drive"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let failed = |error: std::io::Error| {
        Error::usage(format!("cannot start the Python interpreter {name:?}: {error}"))
    };
    let mut child = command.spawn().map_err(failed)?;
    // Held while it works: the end of the pipe tells the driver to end, also when this process is
    // killed.
    let mut stdin = child.stdin.take();
    if let Some(stdin) = &mut stdin {
        // A driver that does not start says why by itself.
        let _ = stdin.write_all(format!("{request}\n").as_bytes());
    }
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::Builder::new()
            .name("picklet-drive".into())
            .spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(std::io::Result::ok);
                // Nobody listens any more when the map has ended.
                lines.map(|line| sender.send(line)).take_while(std::result::Result::is_ok).count()
            })
            .map_err(failed)?;
    }
    let mut result = None;
    let mut told = Told::default();
    loop {
        if interrupt() {
            stdin = None;
        }
        let line = match lines.recv_timeout(POLL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match serde_json::from_str(&line) {
            Ok(Line::Progress(_done, total, items, _failed, bytes, all)) => {
                told.tell(progress, (items, bytes), (total, all));
            }
            Ok(Line::Segment(file)) => progress.segment(&file),
            Ok(Line::Failure(file, why)) => progress.failure(&file, &why),
            Ok(Line::Report(report)) => result = Some(Ok(*report)),
            Ok(Line::Error(message)) => result = Some(Err(Error::usage(message).into())),
            // Somebody else wrote to its standard output.
            Err(_) => {}
        }
    }
    drop(stdin);
    let status = child.wait()?;
    match result {
        Some(result) => result,
        None if interrupt() => Err(Error::Interrupted.into()),
        None => {
            let hint = "is picklet installed there?";
            let what = format!("{name:?} -m picklet.drive ended with {status}; {hint}");
            Err(Error::usage(what).into())
        }
    }
}

/// How often the interrupt is asked for.
const POLL: Duration = Duration::from_millis(100);

/// What was told already.
#[derive(Default)]
struct Told {
    begun: bool,
    items: u64,
    bytes: u64,
}

impl Told {
    fn tell(
        &mut self,
        progress: &dyn Progress,
        (items, bytes): (u64, u64),
        (segments, all): (Option<u64>, Option<u64>),
    ) {
        if !self.begun {
            progress.totals(Totals { segments, items: None, bytes: all });
        }
        progress.bytes(bytes.saturating_sub(self.bytes));
        progress.items(items.saturating_sub(self.items));
        *self = Told { begun: true, items, bytes };
    }
}
