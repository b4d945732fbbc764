//! The Python workers: persistent processes that speak the [protocol](super::protocol).
//!
//! It keeps one process in each slot, hands it tasks, and turns what comes through its pipes, and
//! its death, into [`Happened`]. What a death means is the schedule's business.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::process::{Guard, Letter, Mailbox, News, PIPE_GRACE, Process, describe, own_peak_rss};
use super::protocol::{self, Answer, Form, Function, Hello, LoadPolicy, PublishTo, Task};
use super::{Happened, Trouble};
use crate::engine::report::FailureKind;
use crate::error::{Error, Result};

/// Python workers, and the function that they run.
#[derive(Clone, Debug)]
pub struct PythonWorkers {
    /// The interpreter, `python3` or a path; in it `picklet` must be installed.
    pub python: OsString,
    /// What follows the interpreter; `-m picklet.worker` unless a caller has its own worker.
    pub arguments: Vec<OsString>,
    /// What to run.
    pub function: Function,
    /// Over what: the segment, or each of its items.
    pub form: Form,
    /// Put before the workers' own `sys.path`.
    pub sys_path: Vec<String>,
    /// The directory that they run in; this process's own when `None`.
    pub directory: Option<PathBuf>,
    /// Environment variables that they get beyond this process's own.
    pub environment: Vec<(OsString, OsString)>,
    /// How they load segments.
    pub policy: LoadPolicy,
}

impl PythonWorkers {
    /// Workers of `python` that run `function` once for each segment, with the safe policy.
    pub fn new(python: impl Into<OsString>, function: Function) -> PythonWorkers {
        PythonWorkers {
            python: python.into(),
            arguments: vec!["-m".into(), "picklet.worker".into()],
            function,
            form: Form::Segment,
            sys_path: Vec::new(),
            directory: None,
            environment: Vec::new(),
            policy: LoadPolicy::default(),
        }
    }
}

/// The oldest Python that picklet can be installed for, as in pyproject.toml.
const OLDEST_PYTHON: (u32, u32) = (3, 11);

/// How long a worker may take to come up: interpreter, imports of the function's module.
const START_LIMIT: Duration = Duration::from_secs(600);

struct Member {
    process: Process,
    generation: u64,
    tasks: Option<mpsc::Sender<Vec<u8>>>,
    started: Instant,
    ready: bool,
    /// Its pipe ended; what was wrong with it.
    silent: Option<Option<String>>,
    killed: bool,
}

pub(crate) struct PythonCrew<'a> {
    workers: &'a PythonWorkers,
    hello: Vec<u8>,
    sender: mpsc::SyncSender<Letter>,
    guard: Guard,
    members: HashMap<usize, Member>,
    generation: u64,
}

impl<'a> PythonCrew<'a> {
    pub(crate) fn new(
        workers: &'a PythonWorkers,
        output: &PublishTo,
        sender: mpsc::SyncSender<Letter>,
    ) -> Result<PythonCrew<'a>> {
        let hello = Hello {
            protocol: protocol::PROTOCOL_VERSION,
            parent: std::process::id(),
            function: &workers.function,
            form: workers.form,
            sys_path: &workers.sys_path,
            policy: &workers.policy,
            output,
        };
        let mut bytes = Vec::new();
        protocol::send(&mut bytes, &hello)
            .map_err(|error| Error::usage(format!("the function cannot be sent: {error}")))?;
        let (guard, members) = (Guard::start(), HashMap::new());
        Ok(PythonCrew { workers, hello: bytes, sender, guard, members, generation: 0 })
    }

    /// Tells the guard who runs.
    fn watch(&mut self) {
        self.guard.watch(self.members.values().map(|member| member.process.id()));
    }

    pub(crate) fn start(&mut self, slot: usize) -> Result<()> {
        self.generation += 1;
        let generation = self.generation;
        let mailbox = Mailbox { sender: self.sender.clone(), slot, generation };
        let mut command = Command::new(&self.workers.python);
        command.args(&self.workers.arguments);
        command.envs(self.workers.environment.iter().map(|(name, value)| (name, value)));
        // What the function prints is to be seen when it is printed, not when the worker ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(directory) = &self.workers.directory {
            command.current_dir(directory);
        }
        let python = self.workers.python.to_string_lossy().into_owned();
        let failed = |error: std::io::Error| {
            Error::usage(format!(
                "cannot start the Python interpreter {python:?}: {error}; name another with \
                 --python"
            ))
        };
        let mut process = Process::start(&mut command, &mailbox, true, None).map_err(failed)?;
        let (tasks, inbox) = mpsc::channel::<Vec<u8>>();
        let (stdin, stdout) = (process.child().stdin.take(), process.child().stdout.take());
        // Threads write as well as read: a worker that does not read must not stop the engine.
        if let (Some(stdin), Some(stdout)) = (stdin, stdout) {
            let hello = self.hello.clone();
            thread::Builder::new()
                .name("picklet-tasks".into())
                .spawn(move || write_tasks(stdin, &hello, &inbox))
                .map_err(failed)?;
            thread::Builder::new()
                .name("picklet-answers".into())
                .spawn(move || read_answers(stdout, &mailbox))
                .map_err(failed)?;
        }
        let member = Member {
            process,
            generation,
            tasks: Some(tasks),
            started: Instant::now(),
            ready: false,
            silent: None,
            killed: false,
        };
        self.members.insert(slot, member);
        self.watch();
        Ok(())
    }

    pub(crate) fn assign(&mut self, slot: usize, task: &Task) -> Result<()> {
        if let Some(member) = self.members.get_mut(&slot) {
            let mut bytes = Vec::new();
            protocol::send(&mut bytes, task)
                .map_err(|error| Error::usage(format!("a task cannot be sent: {error}")))?;
            member.process.clear_tail();
            // A worker that is gone is noticed by its death.
            if let Some(tasks) = &member.tasks {
                let _ = tasks.send(bytes);
            }
        }
        Ok(())
    }

    pub(crate) fn kill(&mut self, slot: usize) {
        if let Some(member) = self.members.get_mut(&slot) {
            member.killed = true;
            member.process.kill();
        }
    }

    pub(crate) fn take(&mut self, letter: Letter, happened: &mut Vec<Happened>) -> Result<()> {
        let slot = letter.slot;
        let Some(member) = self.members.get_mut(&slot) else { return Ok(()) };
        if member.generation != letter.generation {
            return Ok(());
        }
        match letter.news {
            News::Said(Answer::Ready) => {
                member.ready = true;
                if let Some(held) = member.process.release() {
                    happened.push(Happened::Stderr(held));
                }
                happened.push(Happened::Ready { slot });
            }
            News::Said(Answer::Refused { message }) => return Err(Error::usage(message)),
            News::Said(answer) => happened.push(Happened::Answered { slot, answer }),
            News::Silent(why) => {
                // It can neither hear nor be heard any more, whatever it still does.
                member.process.kill();
                member.silent = Some(why);
            }
            News::Stderr(bytes) => {
                happened.extend(member.process.stderr(bytes).map(Happened::Stderr));
            }
            News::StderrEnd => member.process.stderr_ended(),
            News::Output(_) | News::OutputEnd | News::Unfit(_) => {}
        }
        Ok(())
    }

    /// Looks for workers that died.
    pub(crate) fn poll(&mut self, happened: &mut Vec<Happened>) -> Result<()> {
        let mut gone = Vec::new();
        for (&slot, member) in &mut self.members {
            if !member.ready && member.started.elapsed() > START_LIMIT {
                return Err(Error::usage(format!(
                    "a worker of {:?} did not come up within {} s; does importing the function's \
                     module wait for something?",
                    self.workers.python.to_string_lossy(),
                    START_LIMIT.as_secs(),
                )));
            }
            let silent = member.silent.is_some();
            if let Some(status) = member.process.verdict(silent, PIPE_GRACE) {
                gone.push((slot, status));
            }
        }
        for (slot, status) in gone {
            let Some(member) = self.members.remove(&slot) else { continue };
            self.watch();
            let tail = member.process.tail();
            if !member.ready && !member.killed {
                return Err(self.no_start(&describe(status).1, &tail));
            }
            let (error, mut message) = describe(status);
            if let Some(Some(why)) = member.silent {
                message = format!("{message} ({why})");
            }
            let trouble = Trouble {
                kind: FailureKind::Died,
                error,
                message,
                traceback: tail,
                peak_rss: member.process.peak_rss().filter(|&peak| Some(peak) > own_peak_rss()),
                ..Trouble::default()
            };
            happened.push(Happened::Died { slot, trouble });
        }
        Ok(())
    }

    /// Whether something is about to end, so that it is worth to look soon.
    pub(crate) fn restless(&self) -> bool {
        self.members.values().any(|member| member.silent.is_some() || member.killed)
    }

    /// Lets the workers end by themselves.
    pub(crate) fn close(&mut self) {
        for member in self.members.values_mut() {
            member.tasks = None;
        }
    }

    /// Whether all workers have ended and all that they wrote was read.
    pub(crate) fn is_over(&mut self) -> bool {
        self.members.values_mut().all(|member| member.process.is_over())
    }

    /// Ends all workers now.
    pub(crate) fn kill_all(&mut self) {
        for member in self.members.values_mut() {
            member.process.kill();
        }
    }

    fn no_start(&self, how: &str, tail: &str) -> Error {
        let python = self.workers.python.to_string_lossy();
        let last = tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let missing = ["No module named picklet", "No module named 'picklet"];
        if missing.iter().any(|text| last.contains(text)) {
            if let Some(version) = too_old(&self.workers.python) {
                return Error::usage(format!(
                    "picklet needs Python {}.{} or newer, and {python:?} is Python {version}; name \
                     another interpreter with --python",
                    OLDEST_PYTHON.0, OLDEST_PYTHON.1
                ));
            }
            return Error::usage(format!(
                "picklet is not installed for the Python interpreter {python:?}; run `{python} -m \
                 pip install picklet`, or name another interpreter with --python"
            ));
        }
        let last = if last.is_empty() { String::new() } else { format!(": {}", last.trim()) };
        Error::usage(format!("a worker of {python:?} did not start: {how}{last}"))
    }
}

/// The version of an interpreter for which there is no picklet to install.
fn too_old(python: &OsString) -> Option<String> {
    // Every Python since 2.0 understands this.
    let ask = ["-c", "import sys; print('%d.%d' % tuple(sys.version_info[:2]))"];
    let said = Command::new(python).args(ask).stdin(Stdio::null()).output().ok()?;
    let version = String::from_utf8(said.stdout).ok()?.trim().to_owned();
    let (major, minor) = version.split_once('.')?;
    let numbers = (major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?);
    (numbers < OLDEST_PYTHON).then_some(version)
}

fn write_tasks(mut stdin: impl Write, hello: &[u8], inbox: &mpsc::Receiver<Vec<u8>>) {
    // A worker that no longer reads is noticed by its silence.
    if stdin.write_all(hello).and_then(|()| stdin.flush()).is_err() {
        return;
    }
    while let Ok(message) = inbox.recv() {
        if stdin.write_all(&message).and_then(|()| stdin.flush()).is_err() {
            return;
        }
    }
}

fn read_answers(stdout: impl Read, mailbox: &Mailbox) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let news = match protocol::receive(&mut stdout) {
            Ok(Some(message)) => News::Said(message),
            Ok(None) => News::Silent(None),
            Err(error) => News::Silent(Some(format!("its pipe: {error}"))),
        };
        let last = matches!(news, News::Silent(_));
        if !mailbox.send(news) || last {
            return;
        }
    }
}
