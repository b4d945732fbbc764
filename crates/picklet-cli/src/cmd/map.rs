//! `picklet map`: a Python function, or any program, over every segment.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use picklet::policy::{self, Policy};
use picklet_segments::engine::{
    ExternalCommand, Failure, Form, Function, LoadPolicy, MapOptions, MapReport, Mapped, OnError,
    PythonWorkers, TextForm, WorkerCommand, map, reduce,
};
use picklet_segments::{Compression, Error, Location, Progress, Segments};
use serde_json::json;

use crate::cmd::cluster;
use crate::failure::{Interrupted, Verdict, say};
use crate::host::{Session, catch_interrupts};
use crate::show;

const EXAMPLES: &str = "\
Examples:
  picklet map in -o out --call jobs:process -j 4    process(segment) of ./jobs.py
  picklet map in -o out -j 2 -- ./filter            pickle on its stdin, pickle on its stdout
  picklet map in -o out -- convert.sh {} {out}      {} is the segment's file, {out} what to write
  picklet map in -o out --as jsonl -- jq -c 'select(.age > 30)'
  picklet map in -o out --call jobs:process --on-error skip --retries 2 --timeout 600

  picklet map in -o out --call jobs:keep --filter   keep(item) is true; also --items, --batch 1000
  picklet map in -o sum --call operator:add --reduce
  picklet map in -o out --call jobs:process --engine dask --address tcp://head:8786

The same command run again goes on where the last run stopped; say --version 2 when the function
has changed. Exit code 1 when a segment failed.";

/// Run a function or a program over every segment, in parallel
///
/// A Python function gets each segment, loaded, and what it returns is saved under the same name.
/// Segments are loaded safely: only data types, and what --allow names. A program gets each
/// segment's file as its standard input, and its standard output must be one pickle, unless --as
/// says otherwise. What it prints to standard error is kept in OUT/.picklet/stderr as well.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Map {
    /// A segments directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory to make
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    worker: Worker,
    #[command(flatten)]
    how: How,
    /// Begin anew, even what an earlier run has finished
    #[arg(long, conflicts_with = "only")]
    no_resume: bool,
    /// Run this segment alone, finished or not (may be repeated)
    #[arg(long, value_name = "SEGMENT", conflicts_with = "reduce")]
    only: Vec<String>,
    /// Print JSON, a line for each thing that happens and the report as the last
    #[arg(long)]
    json: bool,
}

/// What is run over the segments.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// The Python function, as module:name; the module is looked for here first
    #[arg(long, value_name = "MODULE:FUNCTION", conflicts_with = "command",
          required_unless_present = "command", value_parser = call)]
    call: Option<String>,
    /// The program and its arguments: {} is the segment's file, {name} its name, {index} its
    /// number, {out} a file to write instead of standard output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    form: Forms,
    #[command(flatten)]
    cluster: Cluster,
    /// What the program reads and writes: an item a line as JSON, the segment as one JSON document,
    /// or an item a line as it is
    #[arg(long = "as", value_name = "jsonl|json|lines", value_parser = text_form,
          conflicts_with = "call")]
    text: Option<TextForm>,
    /// The Python interpreter for --call; picklet must be installed in it
    #[arg(long, value_name = "EXE", conflicts_with = "command")]
    python: Option<OsString>,
    /// Allow segments to import this global, module.*, or a built-in policy (may be repeated)
    #[arg(long, value_name = "GLOBAL", conflicts_with = "command")]
    allow: Vec<String>,
    /// Allow what this TOML file lists: its keys are policies, allow and strict
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    policy: Option<PathBuf>,
    /// Load segments as pickle does: runs whatever they say
    #[arg(long, conflicts_with_all = ["command", "allow", "policy"])]
    trust: bool,
}

/// How the function is called; once for each segment by default.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Forms {
    /// Call the function for each item; what it gives is the new item
    #[arg(long, requires = "call")]
    items: bool,
    /// Call the function for each item, and keep those for which it is true
    #[arg(long, requires = "call")]
    filter: bool,
    /// Call the function with lists of so many items; what it gives is joined
    #[arg(long, value_name = "ITEMS", requires = "call",
          value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// The function is a generator: each thing that it yields becomes a segment
    #[arg(long, requires = "call")]
    yields: bool,
    /// Fold all segments into one by function(a, b), neighbours first
    #[arg(long, requires = "call")]
    reduce: bool,
}

impl Forms {
    fn form(&self) -> Form {
        match self.batch {
            Some(items) => Form::Batch(items),
            None if self.items => Form::Items,
            None if self.filter => Form::Filter,
            None if self.yields => Form::Outputs,
            None if self.reduce => Form::Reduce,
            None => Form::Segment,
        }
    }
}

/// Whose workers run the function; this machine's by default.
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    /// Run on a cluster, whose workers must reach both directories by the same path; without
    /// --address one is started on this machine
    #[arg(long, value_name = "dask|ray|spark", requires = "call", value_parser = ["dask", "ray", "spark"],
          conflicts_with = "timeout")]
    pub(crate) engine: Option<String>,
    /// Where the cluster is: a scheduler, a head node, a master
    #[arg(long, requires = "engine")]
    pub(crate) address: Option<String>,
}

/// How the map goes.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// How many workers run at a time; every processor by default
    #[arg(short, value_name = "N", value_parser = jobs)]
    jobs: Option<usize>,
    /// When a segment fails: stop, go on without it, or go on and keep a record of it in
    /// .picklet/quarantine
    #[arg(long, value_name = "raise|skip|quarantine", default_value = "raise",
          value_parser = on_error)]
    on_error: OnError,
    /// How often to try a segment that failed again
    #[arg(long, value_name = "K", default_value_t = 0)]
    retries: u32,
    /// How many seconds one try may take
    #[arg(long, value_name = "SECONDS", value_parser = timeout)]
    timeout: Option<Duration>,
    /// Store the outputs compressed, as .pickle.zst or .pickle.gz
    #[arg(long, value_name = "zstd|gzip", value_parser = super::split::compression)]
    compress: Option<Compression>,
    /// Your name for this state of the function; outputs of another one are made anew
    #[arg(long = "version", value_name = "TEXT")]
    version: Option<String>,
}

fn call(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((module, name)) if !module.is_empty() && !name.is_empty() => Ok(text.to_owned()),
        _ => Err("write module:function, for example jobs:process for process in jobs.py".into()),
    }
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("write the number of workers, 1 or more".into()),
        Ok(jobs) => Ok(jobs),
    }
}

fn on_error(text: &str) -> Result<OnError, String> {
    match text {
        "raise" => Ok(OnError::Raise),
        "skip" => Ok(OnError::Skip),
        "quarantine" => Ok(OnError::Quarantine),
        _ => Err("write raise, skip or quarantine".into()),
    }
}

fn text_form(text: &str) -> Result<TextForm, String> {
    match text {
        "jsonl" => Ok(TextForm::Jsonl),
        "json" => Ok(TextForm::Json),
        "lines" => Ok(TextForm::Lines),
        _ => Err("write jsonl, json or lines; without --as the program gets pickles".into()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).trim_end();
    seconds
        .parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| "write a number of seconds, for example 600 or 2.5".into())
}

impl Map {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        let out = Location::new(&self.out)?;
        let options = MapOptions {
            resume: !self.no_resume,
            only: (!self.only.is_empty()).then(|| self.only.clone()),
            made_by: Some(session.again(None)),
            ..self.how.options()
        };
        let worker = self.worker.command(session)?;
        let progress = session.events("map", self.json);
        let report = self.worker.run(&worker, &segments, &out, &options, &*progress);
        drop(progress);
        finish(session, &report?, &self.out, self.json)
    }
}

impl Worker {
    /// Maps as the words say; Ctrl-C ends it with what is finished kept.
    pub(crate) fn run(
        &self,
        worker: &WorkerCommand,
        segments: &Segments,
        out: &Location,
        options: &MapOptions,
        progress: &dyn Progress,
    ) -> Result<MapReport> {
        let interrupted = catch_interrupts();
        let result = match (worker, &self.cluster.engine) {
            (WorkerCommand::Python(python), Some(engine)) => {
                let address = self.cluster.address.as_deref();
                let engine = (engine.as_str(), address);
                cluster::map(segments, out, python, engine, options, progress, &interrupted)
            }
            _ if self.form.reduce => reduce(segments, out, options, &mut |from, to, options| {
                map(from, to, worker, options, progress, &interrupted)
            })
            .map_err(Into::into),
            _ => map(segments, out, worker, options, progress, &interrupted).map_err(Into::into),
        };
        result.map_err(|error| match error.downcast_ref() {
            Some(Error::Interrupted) => {
                Interrupted("interrupted; what is finished is kept, and the same command goes on")
                    .into()
            }
            _ => error,
        })
    }

    /// The workers to start.
    pub(crate) fn command(&self, session: &Session<'_>) -> Result<WorkerCommand> {
        let Some(call) = &self.call else {
            let mut command = ExternalCommand::new(self.command.clone());
            command.text = self.text.map(picklet::text::form);
            return Ok(WorkerCommand::External(command));
        };
        let python = self.python.clone().unwrap_or_else(|| session.host.python.clone());
        let mut workers = PythonWorkers::new(python, Function::Call(call.clone()));
        workers.form = self.form.form();
        workers.policy = LoadPolicy { allow: self.allowed()?, trust: self.trust };
        // Python puts the current directory there by itself, unless PYTHONSAFEPATH is set.
        let here = std::env::current_dir().ok();
        workers.sys_path.extend(here.and_then(|here| here.to_str().map(str::to_owned)));
        Ok(WorkerCommand::Python(workers))
    }

    /// The names that segments may import, checked here rather than by each worker.
    fn allowed(&self) -> Result<Vec<String>> {
        let mut policy = match &self.policy {
            Some(file) => policy::read(file)?,
            None => Policy::data(),
        };
        for name in &self.allow {
            policy.allow(name)?;
        }
        Ok(policy.names())
    }
}

impl How {
    pub(crate) fn options(&self) -> MapOptions {
        MapOptions {
            workers: self.jobs,
            on_error: self.on_error,
            retries: self.retries,
            timeout: self.timeout,
            version: self.version.clone(),
            compression: self.compress,
            ..MapOptions::default()
        }
    }
}

/// Of how many failed segments the whole traceback is shown.
const TRACEBACKS: usize = 3;

/// How many failed segments are named.
const NAMED_FAILURES: usize = 20;

/// Prints the report, and what failed to standard error.
pub(crate) fn finish(
    session: &mut Session<'_>,
    report: &MapReport,
    out: &Path,
    as_json: bool,
) -> Result<Verdict> {
    if as_json {
        let mut value = serde_json::to_value(report)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("path".to_owned(), json!(out.to_string_lossy()));
            fields.insert("complete".to_owned(), report.is_complete().into());
            fields.insert("event".to_owned(), "done".into());
        }
        session.json(&value)?;
    } else {
        session.line(&summary(report, out))?;
        if report.done >= EXTREMES_FROM {
            session.line(&extremes("slowest", &report.slowest, |m| show::seconds(m.seconds)))?;
            session.line(&extremes("largest", &report.largest, |m| show::bytes(m.bytes)))?;
        }
    }
    session.flush()?;
    for (number, failure) in report.failed.iter().take(NAMED_FAILURES).enumerate() {
        tell(failure, number < TRACEBACKS);
    }
    let more = report.failed.len().saturating_sub(NAMED_FAILURES);
    if more > 0 {
        say(&format!("{more} more segments failed; --json lists all"));
    }
    if !report.failed.is_empty() {
        say("what is finished is kept; the same command tries again what failed");
    }
    Ok(if report.failed.is_empty() { Verdict::Good } else { Verdict::Bad })
}

/// `out: 3 of 4 segments, 120 items, 1.2 kB in 0.4 s with 2 workers, …`.
fn summary(report: &MapReport, out: &Path) -> String {
    let there = report.done + report.resumed;
    let mut line = format!("{}: ", show::path(out));
    if there == report.segments {
        line.push_str(&show::counted(there, "segment"));
    } else {
        let all = show::counted(report.segments, "segment");
        line.push_str(&format!("{} of {all}", show::count(there)));
    }
    if report.resumed > 0 {
        line.push_str(&format!(", {} of them from an earlier run", show::count(report.resumed)));
    }
    if report.done > 0 {
        line.push_str(&format!(
            ", {} in, {} out, {} with {}",
            show::counted(report.items, "item"),
            show::bytes(report.bytes),
            show::seconds(report.seconds),
            show::counted(report.workers as u64, "worker"),
        ));
        if let Some(peak) = report.peak_rss {
            line.push_str(&format!(", the largest of which took {}", show::bytes(peak)));
        }
    }
    if !report.failed.is_empty() {
        line.push_str(&format!("; {} failed", show::count(report.failed.len() as u64)));
    }
    if report.not_run > 0 {
        line.push_str(&format!("; {} not run", show::count(report.not_run)));
    }
    line
}

/// From how many segments on the slowest and the largest of them are worth a line.
const EXTREMES_FROM: u64 = 2;

/// How many of them are named.
const NAMED_EXTREMES: usize = 3;

/// `  slowest: data-00004 12 s, …`.
fn extremes(what: &str, list: &[Mapped], figure: impl Fn(&Mapped) -> String) -> String {
    let named = list.iter().take(NAMED_EXTREMES);
    let named = named.map(|m| format!("{} {}", show::printable(&m.name), figure(m)));
    format!("  {what}: {}", named.collect::<Vec<_>>().join(", "))
}

/// Says on standard error what failed, with its traceback.
fn tell(failure: &Failure, with_traceback: bool) {
    say(&failure.to_string());
    if with_traceback {
        let mut text = String::new();
        for line in failure.traceback.lines() {
            text.push_str("  | ");
            text.push_str(&line.replace(|c: char| c.is_control() && c != '\t', "?"));
            text.push('\n');
        }
        text.push_str(&format!("  its file: {}\n", show::printable(&failure.path)));
        if let Some(stderr) = &failure.stderr {
            text.push_str(&format!("  its standard error: {}\n", show::printable(stderr)));
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}
