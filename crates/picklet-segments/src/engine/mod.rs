//! Mapping: a function or a program over every segment, on every core, every crash survived.
//!
//! * [`map`] drives Python workers ([`PythonWorkers`]) or an [`ExternalCommand`].
//! * [`map_in_process`] calls a closure in this process, one segment at a time.
//!
//! Both resume, retry and report alike. The parent never holds a segment: workers get references,
//! read their own segment's file and publish their own output. Only the parent writes the journal
//! and the manifest, from the workers' receipts.
//!
//! What decides is `schedule`, which starts and reads nothing; what starts and reads is `worker`
//! and `command`, which decide nothing; this module moves news from the one to the other.
//!
//! An output is committed once. The function may run twice over the same segment: after a crash
//! between its end and its receipt, and after a failure with `retries`.

use std::collections::HashMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::Location;

mod check;
mod command;
mod in_process;
mod plan;
mod process;
mod protocol;
mod report;
mod schedule;
mod text;
mod worker;

pub use command::ExternalCommand;
pub use in_process::map_in_process;
pub use plan::prepare;
pub use protocol::{Answer, Done, Failed, Form, Function, LoadPolicy, PublishTo, Task};
pub use report::{Failure, FailureKind, MapReport, Mapped, REPORTED_EXTREMES};
pub use schedule::OnError;
pub use text::{Text, TextForm, WriteText};
pub use worker::PythonWorkers;

use command::CommandCrew;
use plan::Run;
use process::Letter;
use schedule::{Action, Event, Reason, Rules, Schedule};
use worker::PythonCrew;

/// Who runs the function.
#[derive(Clone, Debug)]
pub enum WorkerCommand {
    /// Persistent Python processes.
    Python(PythonWorkers),
    /// A program, started anew for each segment.
    External(ExternalCommand),
}

/// How to map.
#[derive(Clone, Debug)]
pub struct MapOptions {
    /// How many workers run at the same time; `None` for as many as this process may use of the
    /// machine (CPU affinity and cgroup limits count).
    pub workers: Option<usize>,
    /// What to do with a segment that failed for good.
    pub on_error: OnError,
    /// How often a segment that failed is tried again.
    pub retries: u32,
    /// The pause before the first retry; each further pause is twice as long, up to a minute.
    pub backoff: Duration,
    /// How long one try may take; then its worker is killed.
    pub timeout: Option<Duration>,
    /// Keep what an earlier run made of the same input with the same `version`. Without it
    /// everything is made anew.
    pub resume: bool,
    /// What the caller calls this state of the function. Outputs of another one are made anew.
    pub version: Option<String>,
    /// Names of the outputs, one for each segment; the input's names when `None`.
    pub names: Option<Vec<String>>,
    /// Run these segments alone, by the input's names, whether they are done or not.
    pub only: Option<Vec<String>>,
}

impl Default for MapOptions {
    /// Every core, stop at the first failure, no retries, no timeout, resume.
    fn default() -> MapOptions {
        MapOptions {
            workers: None,
            on_error: OnError::Raise,
            retries: 0,
            backoff: Duration::from_millis(500),
            timeout: None,
            resume: true,
            version: None,
            names: None,
            only: None,
        }
    }
}

/// No pause before a retry is longer.
const BACKOFF_LIMIT: Duration = Duration::from_secs(60);

/// How long segments in flight may go on after another one has ended the map.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// How long idle workers may take to end by themselves once the work is done.
const END_GRACE: Duration = Duration::from_secs(2);

/// How often the interrupt is asked for.
const POLL: Duration = Duration::from_millis(50);

/// How often to look when something is about to end.
const RESTLESS_POLL: Duration = Duration::from_millis(2);

/// How many letters may wait for the engine before those who write them have to wait.
const MAILBOX_LETTERS: usize = 1024;

/// How many workers run when nobody says: the CPUs that this process may use, by its affinity and
/// its cgroup.
pub fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What happened to a worker or its task.
pub(crate) enum Happened {
    Ready { slot: usize },
    Done { slot: usize, done: Box<Done> },
    Failed { slot: usize, task: usize, trouble: Trouble },
    Died { slot: usize, trouble: Trouble },
    Stderr(Vec<u8>),
}

/// What is known of one failed try.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub kind: FailureKind,
    pub error: String,
    pub message: String,
    pub traceback: String,
    pub item: Option<u64>,
    pub peak_rss: Option<u64>,
    /// The file that all of standard error is kept in.
    pub stderr: Option<String>,
}

impl Default for Trouble {
    fn default() -> Trouble {
        Trouble {
            kind: FailureKind::Died,
            error: String::new(),
            message: String::new(),
            traceback: String::new(),
            item: None,
            peak_rss: None,
            stderr: None,
        }
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Trouble {
        Trouble {
            kind: FailureKind::Raised,
            error: failed.error,
            message: failed.message,
            traceback: failed.traceback,
            item: failed.item,
            peak_rss: failed.peak_rss,
            stderr: None,
        }
    }
}

/// Runs the function or program over every segment of `input` and puts the outputs into `out`.
///
/// The report says what was done and what failed; a segment that failed is no error of `map`.
/// With [`OnError::Raise`] the report of a stopped map has one failure or more, and `not_run`
/// tells what is left. What is finished stays in any case, and the next run goes on from there.
///
/// `interrupt` is asked at least every 100 ms; when it says yes, workers are killed.
///
/// # Errors
/// [`Error::Usage`] when the workers cannot be started or the function cannot be found, before
/// any segment runs, and when the output would be the input; [`Error::Interrupted`];
/// [`Error::Io`] and the errors of the output directory.
pub fn map(
    input: &Segments,
    out: &Location,
    worker: &WorkerCommand,
    options: &MapOptions,
    progress: &dyn Progress,
    interrupt: &dyn Fn() -> bool,
) -> Result<MapReport> {
    if let WorkerCommand::External(command) = worker {
        command::find_program(command)?;
    }
    let replay = replay(input, out, Some(worker));
    let mut run = Run::plan(input, out, options, replay, progress)?;
    if run.tasks.is_empty() {
        return run.finish();
    }
    let workers = options.workers.unwrap_or_else(default_workers).clamp(1, run.tasks.len());
    run.report.workers = workers;
    // Bounded, so that a worker that prints without end waits instead of filling the memory.
    let (sender, letters) = mpsc::sync_channel(MAILBOX_LETTERS);
    let crew = match worker {
        WorkerCommand::Python(python) => {
            Crew::Python(PythonCrew::new(python, &run.output, sender)?)
        }
        WorkerCommand::External(command) => {
            Crew::Command(CommandCrew::new(command, run.publisher(), &run.private(), sender)?)
        }
    };
    let rules = Rules {
        workers,
        on_error: options.on_error,
        retries: options.retries,
        timeout: options.timeout,
        backoff: options.backoff,
        backoff_limit: BACKOFF_LIMIT,
        grace: STOP_GRACE,
    };
    let engine = Engine {
        schedule: Schedule::new(rules, run.tasks.len()),
        started: vec![None; run.tasks.len()],
        troubles: HashMap::new(),
        reasons: HashMap::new(),
        receipts: Vec::new(),
        clock: Instant::now(),
        crew,
        run,
    };
    engine.drive(&letters, interrupt)
}

/// The command that maps again, for records of what failed.
fn replay(input: &Segments, out: &Location, worker: Option<&WorkerCommand>) -> String {
    let path = |location: &Location| plan::quoted(&location.path().to_string_lossy());
    let command = format!("picklet map {} -o {}", path(input.location()), path(out));
    match worker {
        Some(WorkerCommand::Python(python)) => match &python.function {
            Function::Call(call) => format!("{command} --call {}", plan::quoted(call)),
            Function::Cloudpickle(_) => command,
        },
        _ => command,
    }
}

enum Crew<'a> {
    Python(PythonCrew<'a>),
    Command(CommandCrew<'a>),
}

impl Crew<'_> {
    fn start(&mut self, slot: usize) -> Result<()> {
        match self {
            Crew::Python(crew) => crew.start(slot),
            Crew::Command(crew) => {
                crew.start(slot);
                Ok(())
            }
        }
    }

    fn assign(&mut self, slot: usize, task: &Task) -> Result<()> {
        match self {
            Crew::Python(crew) => crew.assign(slot, task),
            Crew::Command(crew) => crew.assign(slot, task),
        }
    }

    fn kill(&mut self, slot: usize) {
        match self {
            Crew::Python(crew) => crew.kill(slot),
            Crew::Command(crew) => crew.kill(slot),
        }
    }

    fn take(&mut self, letter: Letter, happened: &mut Vec<Happened>) -> Result<()> {
        match self {
            Crew::Python(crew) => crew.take(letter, happened),
            Crew::Command(crew) => {
                crew.take(letter, happened);
                Ok(())
            }
        }
    }

    fn poll(&mut self, happened: &mut Vec<Happened>) -> Result<()> {
        match self {
            Crew::Python(crew) => crew.poll(happened),
            Crew::Command(crew) => crew.poll(happened),
        }
    }

    fn restless(&self) -> bool {
        match self {
            Crew::Python(crew) => crew.restless(),
            Crew::Command(crew) => crew.restless(),
        }
    }

    fn close(&mut self) {
        match self {
            Crew::Python(crew) => crew.close(),
            Crew::Command(crew) => crew.kill_all(),
        }
    }

    fn is_over(&mut self) -> bool {
        match self {
            Crew::Python(crew) => crew.is_over(),
            Crew::Command(_) => true,
        }
    }

    fn kill_all(&mut self) {
        match self {
            Crew::Python(crew) => crew.kill_all(),
            Crew::Command(crew) => crew.kill_all(),
        }
    }
}

struct Engine<'a> {
    run: Run<'a>,
    crew: Crew<'a>,
    schedule: Schedule,
    clock: Instant,
    /// When each task's last try began.
    started: Vec<Option<Instant>>,
    /// The last failure of each task, and how often it was tried.
    troubles: HashMap<usize, (Trouble, u32)>,
    /// Why the worker in a slot is being killed.
    reasons: HashMap<usize, Reason>,
    /// Outputs that are published and not yet in the journal, and the seconds that each took.
    receipts: Vec<(Done, f64)>,
}

impl Engine<'_> {
    fn drive(
        mut self,
        letters: &mpsc::Receiver<Letter>,
        interrupt: &dyn Fn() -> bool,
    ) -> Result<MapReport> {
        let result = self.run_to_end(letters, interrupt);
        match &result {
            Ok(()) => self.part(letters),
            Err(_) => {
                self.crew.kill_all();
                self.rescue(letters);
            }
        }
        result?;
        self.run.finish()
    }

    fn run_to_end(
        &mut self,
        letters: &mpsc::Receiver<Letter>,
        interrupt: &dyn Fn() -> bool,
    ) -> Result<()> {
        let mut happened = Vec::new();
        let mut asked = None::<Instant>;
        loop {
            self.act()?;
            // After handing out: the workers are busy while the journal is written.
            self.commit()?;
            if self.schedule.finished() {
                return Ok(());
            }
            if asked.is_none_or(|asked| asked.elapsed() >= POLL) {
                asked = Some(Instant::now());
                if interrupt() {
                    return Err(Error::Interrupted);
                }
            }
            match letters.recv_timeout(self.patience()) {
                Ok(letter) => {
                    self.crew.take(letter, &mut happened)?;
                    // What else is there, but not without end: somebody may be printing a lot.
                    for letter in letters.try_iter().take(MAILBOX_LETTERS) {
                        self.crew.take(letter, &mut happened)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The crew holds a sender, so this does not happen; it must not spin if it did.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(RESTLESS_POLL),
            }
            self.crew.poll(&mut happened)?;
            for event in happened.drain(..) {
                self.hear(event);
            }
        }
    }

    /// How long to wait for news.
    fn patience(&self) -> Duration {
        let longest = if self.crew.restless() { RESTLESS_POLL } else { POLL };
        let due = self.schedule.wake_at().map(|due| due.saturating_sub(self.clock.elapsed()));
        due.map_or(longest, |due| due.min(longest))
    }

    /// Does what the schedule asks for.
    fn act(&mut self) -> Result<()> {
        while let Some(action) = self.schedule.next_action(self.clock.elapsed()) {
            match action {
                Action::Start { slot } => self.crew.start(slot)?,
                Action::Assign { slot, task } => {
                    let next = self.schedule.next_queued().and_then(|n| self.run.tasks.get(n));
                    let next = next.map(|next| next.path.clone());
                    if let (Some(task), Some(started)) =
                        (self.run.tasks.get(task), self.started.get_mut(task))
                    {
                        *started = Some(Instant::now());
                        self.crew.assign(slot, &Task { next, ..task.clone() })?;
                    }
                }
                Action::Kill { slot, reason } => {
                    self.reasons.insert(slot, reason);
                    self.crew.kill(slot);
                }
                Action::GiveUp { task } => {
                    if let Some((trouble, tries)) = self.troubles.remove(&task) {
                        let seconds = self.seconds(task);
                        self.run.failed(task, trouble, tries, seconds)?;
                    }
                }
                Action::NoWorkers => {
                    return Err(Error::usage(
                        "workers keep ending before they are given a segment; run one by hand \
                         with `python -m picklet.worker` to see why",
                    ));
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: Happened) {
        let now = self.clock.elapsed();
        match event {
            Happened::Ready { slot } => self.schedule.on(now, Event::Ready { slot }),
            Happened::Done { slot, done } => {
                let task = done.task;
                if self.schedule.task_in(slot) == Some(task) {
                    self.schedule.on(now, Event::Done { slot, task });
                    self.receipts.push((*done, self.seconds(task)));
                }
            }
            Happened::Failed { slot, task, trouble } => {
                if self.schedule.task_in(slot) == Some(task) {
                    self.remember(task, trouble);
                    self.schedule.on(now, Event::Failed { slot, task });
                }
            }
            Happened::Died { slot, trouble } => {
                let reason = self.reasons.remove(&slot);
                if let Some(task) = self.schedule.task_in(slot) {
                    match reason {
                        None => self.remember(task, trouble),
                        Some(Reason::TimedOut) => {
                            let trouble = self.timed_out(trouble);
                            self.remember(task, trouble);
                        }
                        Some(Reason::Stopping | Reason::Retired) => {}
                    }
                }
                self.schedule.on(now, Event::Died { slot });
            }
            Happened::Stderr(bytes) => self.run.progress.output(&bytes),
        }
    }

    fn remember(&mut self, task: usize, trouble: Trouble) {
        let tries = self.troubles.get(&task).map_or(0, |(_, tries)| *tries);
        self.troubles.insert(task, (trouble, tries.saturating_add(1)));
    }

    fn timed_out(&self, trouble: Trouble) -> Trouble {
        let limit = self.run.options.timeout.unwrap_or_default().as_secs_f64();
        Trouble {
            kind: FailureKind::Timeout,
            error: "timeout".to_owned(),
            message: format!("it ran longer than {limit} s and was killed"),
            ..trouble
        }
    }

    fn seconds(&self, task: usize) -> f64 {
        let started = self.started.get(task).copied().flatten();
        started.map_or(0.0, |started| started.elapsed().as_secs_f64())
    }

    fn commit(&mut self) -> Result<()> {
        let receipts = std::mem::take(&mut self.receipts);
        if receipts.is_empty() { Ok(()) } else { self.run.done(receipts) }
    }

    /// Lets idle workers end by themselves, and shows what they still have to print.
    fn part(&mut self, letters: &mpsc::Receiver<Letter>) {
        self.crew.close();
        let until = Instant::now() + END_GRACE;
        let mut happened = Vec::new();
        while Instant::now() < until && !self.crew.is_over() {
            if let Ok(letter) = letters.recv_timeout(RESTLESS_POLL) {
                // The work is done; how a worker ends is no longer of interest.
                let _ = self.crew.take(letter, &mut happened);
                happened.drain(..).for_each(|event| self.hear(event));
            }
        }
    }

    /// Keeps the outputs whose receipts were on their way when the run was ended.
    fn rescue(&mut self, letters: &mpsc::Receiver<Letter>) {
        let mut happened = Vec::new();
        for letter in letters.try_iter() {
            if self.crew.take(letter, &mut happened).is_err() {
                break;
            }
        }
        for event in happened {
            self.hear(event);
        }
        // The error that ended the run is the one to report.
        let _ = self.commit();
    }
}
