//! Mapping: a function or a program over every segment, on every core, every crash survived.
//!
//! * [`map`] drives Python workers ([`PythonWorkers`]) or an [`ExternalCommand`].
//! * [`map_in_process`] calls a closure in this process, one segment at a time;
//!   [`map_in_threads`] several at a time.
//! * [`reduce()`] folds all segments into one.
//! * A [`Conductor`] is for those who run the tasks themselves, on executors and clusters.
//!
//! All resume, retry and report alike. The parent never holds a segment: workers get references,
//! read their own segment's file and publish their own output. Only the parent writes the journal
//! and the manifest, from the workers' receipts.
//!
//! What decides is `schedule`, which starts and reads nothing; `conductor` joins it to the books;
//! what starts and reads is `worker` and `command`, which decide nothing; this module moves news
//! from the one to the other.
//!
//! An output is committed once. The function may run twice over the same segment: after a crash
//! between its end and its receipt, and after a failure with `retries`.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::compress::Compression;
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::Location;

mod check;
mod command;
mod conductor;
mod in_process;
mod plan;
mod process;
mod protocol;
mod reach;
mod reduce;
mod replay;
mod report;
mod schedule;
mod text;
mod worker;

pub use check::contents;
pub use command::ExternalCommand;
pub use conductor::{Conductor, Order};
pub use in_process::{map_in_process, map_in_threads};
pub use plan::{prepare, quoted};
pub use protocol::{Answer, Done, Failed, Form, Function, LoadPolicy, Output, PublishTo, Task};
pub use reach::out_of_reach;
pub use reduce::reduce;
pub use replay::Replay;
pub use report::{Failure, FailureKind, MapReport, Mapped, REPORTED_EXTREMES};
pub use schedule::OnError;
pub use text::{Text, TextForm, WriteText};
pub use worker::PythonWorkers;

use command::CommandCrew;
use plan::Run;
use process::Letter;
use worker::PythonCrew;

/// Who runs the function.
#[derive(Clone, Debug)]
pub enum WorkerCommand {
    /// Persistent Python processes.
    Python(PythonWorkers),
    /// A program, started anew for each segment.
    External(ExternalCommand),
}

/// How many outputs come of how many segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fan {
    /// One of each.
    #[default]
    One,
    /// Any number of each, a million at most. A segment of which nothing came is run again by a
    /// run that resumes.
    Out,
    /// One of so many, the last perhaps of fewer.
    In(usize),
}

impl Fan {
    /// What goes with a form.
    pub fn of(form: Form) -> Fan {
        match form {
            Form::Outputs => Fan::Out,
            Form::Reduce => Fan::In(reduce::FOLDED_AT_ONCE),
            _ => Fan::One,
        }
    }
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
    /// How outputs are stored: as they are unless said otherwise.
    pub compression: Option<Compression>,
    /// Run these segments alone, by the input's names, whether they are done or not.
    pub only: Option<Vec<String>>,
    /// What to run to make lost outputs anew, for the manifest.
    pub made_by: Option<String>,
    /// How many outputs come of how many segments.
    pub fan: Fan,
    /// What the record of a failure says of how to run its segment again; the program's command
    /// when `None`.
    pub replay: Option<Replay>,
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
            compression: None,
            only: None,
            made_by: None,
            fan: Fan::One,
            replay: None,
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
    Answered { slot: usize, answer: Answer },
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
        let kind = if failed.timed_out { FailureKind::Timeout } else { FailureKind::Raised };
        Trouble {
            kind,
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
    let mut options = options.clone();
    if let WorkerCommand::Python(python) = worker {
        options.fan = Fan::of(python.form);
    }
    let replay = options.replay.clone();
    let replay = replay.unwrap_or_else(|| Replay::of_workers(input, out, Some(worker), &options));
    let run = Run::plan(input, out, &options, replay, Box::new(progress))?;
    if run.tasks.is_empty() {
        return run.finish();
    }
    let workers = options.workers.unwrap_or_else(default_workers);
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
    Engine { conductor: Conductor::of(run, workers), crew }.drive(&letters, interrupt)
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
    conductor: Conductor<'a>,
    crew: Crew<'a>,
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
        self.conductor.finish()
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
            self.conductor.commit()?;
            if self.conductor.is_over() {
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
                self.hear(event)?;
            }
        }
    }

    /// How long to wait for news.
    fn patience(&self) -> Duration {
        self.conductor.patience(if self.crew.restless() { RESTLESS_POLL } else { POLL })
    }

    /// Does what the conductor orders.
    fn act(&mut self) -> Result<()> {
        while let Some(order) = self.conductor.next_order()? {
            match order {
                Order::Start { seat } => self.crew.start(seat)?,
                Order::Run { seat, task } => self.crew.assign(seat, &task)?,
                Order::Stop { seat } => self.crew.kill(seat),
            }
        }
        Ok(())
    }

    fn hear(&mut self, event: Happened) -> Result<()> {
        match event {
            Happened::Ready { slot } => self.conductor.ready(slot),
            Happened::Answered { slot, answer } => return self.conductor.answer(slot, answer),
            Happened::Failed { slot, task, trouble } => self.conductor.failed(slot, task, trouble),
            Happened::Died { slot, trouble } => self.conductor.gone(slot, trouble),
            Happened::Stderr(bytes) => self.conductor.progress().output(&bytes),
        }
        Ok(())
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
                for event in happened.drain(..) {
                    let _ = self.hear(event);
                }
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
        // The error that ended the run is the one to report.
        for event in happened {
            let _ = self.hear(event);
        }
        let _ = self.conductor.commit();
    }
}
