//! A map whose tasks somebody else runs: what is to be done next, and the books about it.
//!
//! The [`Conductor`] joins the schedule, which decides, with the run, which knows the segments and
//! writes the journal and the manifest. It starts nothing and waits for nothing. Worker processes
//! ([`map`](super::map)), threads of this process ([`map_in_threads`](super::map_in_threads)) and
//! other people's executors and clusters all do what it orders, and tell it what came of it. So
//! they resume, retry, blame and report alike.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::plan::Run;
use super::protocol::{Answer, Done, PublishTo, Task};
use super::replay::Replay;
use super::report::{FailureKind, MapReport};
use super::schedule::{Action, Event, Reason, Rules, Schedule};
use super::{BACKOFF_LIMIT, MapOptions, STOP_GRACE, Trouble};
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::Location;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Make this seat ready for tasks; [`Conductor::ready`] is expected, or [`Conductor::died`].
    Start {
        /// The seat's number.
        seat: usize,
    },
    /// Run the task in this seat; [`Conductor::answer`] is expected, [`Conductor::died`] or
    /// [`Conductor::lost`].
    Run {
        /// The seat's number.
        seat: usize,
        /// The task.
        task: Box<Task>,
    },
    /// Stop whatever is in this seat; [`Conductor::died`] is expected.
    Stop {
        /// The seat's number.
        seat: usize,
    },
}

/// The state of one map.
pub struct Conductor<'a> {
    run: Run<'a>,
    schedule: Schedule,
    clock: Instant,
    /// When each task's last try began.
    started: Vec<Option<Instant>>,
    /// The last failure of each task, and how often it was tried.
    troubles: HashMap<usize, (Trouble, u32)>,
    /// Why what is in a seat is being stopped.
    reasons: HashMap<usize, Reason>,
    /// Outputs that are published and not yet in the journal, and the seconds that each took.
    receipts: Vec<(Done, f64)>,
}

impl std::fmt::Debug for Conductor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conductor").field("tasks", &self.run.tasks.len()).finish_non_exhaustive()
    }
}

impl<'a> Conductor<'a> {
    /// A map of `input` into `out` in at most `seats` seats, each of which holds one task at a
    /// time. It holds the output's lock until it is dropped. `replay` tells, in
    /// the records of what failed, how one segment is run again.
    ///
    /// # Errors
    /// [`Error::Usage`] when the output is the input or the options do not fit it; those of
    /// [`SegmentsWriter::create`](crate::SegmentsWriter::create).
    pub fn new(
        input: &Segments,
        out: &Location,
        options: &MapOptions,
        seats: usize,
        replay: Option<Replay>,
        progress: Box<dyn Progress + 'a>,
    ) -> Result<Conductor<'a>> {
        let replay = replay.unwrap_or_else(|| Replay::of_workers(input, out, None, options));
        let run = Run::plan(input, out, options, replay, progress)?;
        Ok(Conductor::of(run, seats))
    }

    pub(crate) fn of(mut run: Run<'a>, seats: usize) -> Conductor<'a> {
        let seats = seats.clamp(1, run.tasks.len().max(1));
        run.report.workers = seats;
        let rules = Rules {
            workers: seats,
            on_error: run.options.on_error,
            retries: run.options.retries,
            timeout: run.options.timeout,
            backoff: run.options.backoff,
            backoff_limit: BACKOFF_LIMIT,
            grace: STOP_GRACE,
        };
        Conductor {
            schedule: Schedule::new(rules, run.tasks.len()),
            started: vec![None; run.tasks.len()],
            troubles: HashMap::new(),
            reasons: HashMap::new(),
            receipts: Vec::new(),
            clock: Instant::now(),
            run,
        }
    }

    /// Where outputs are published.
    pub fn output(&self) -> &PublishTo {
        &self.run.output
    }

    /// How many tasks this run has.
    pub fn tasks(&self) -> usize {
        self.run.tasks.len()
    }

    /// Says in the report how many workers there are, where that is not the number of seats.
    pub fn set_workers(&mut self, workers: usize) {
        self.run.report.workers = workers;
    }

    pub(crate) fn progress(&self) -> &dyn Progress {
        &*self.run.progress
    }

    /// What is to be done next, until it gives `None`. Then call [`Conductor::commit`] and wait
    /// for news.
    ///
    /// # Errors
    /// [`Error::Usage`] when workers keep ending before they are given anything; those of the
    /// journal.
    pub fn next_order(&mut self) -> Result<Option<Order>> {
        while let Some(action) = self.schedule.next_action(self.clock.elapsed()) {
            match action {
                Action::Start { slot } => return Ok(Some(Order::Start { seat: slot })),
                Action::Assign { slot, task } => {
                    let next = self.schedule.next_queued();
                    if let Some(started) = self.started.get_mut(task) {
                        *started = Some(Instant::now());
                    }
                    if let Some(task) = self.run.task(task, next)? {
                        return Ok(Some(Order::Run { seat: slot, task: Box::new(task) }));
                    }
                }
                Action::Kill { slot, reason } => {
                    self.reasons.insert(slot, reason);
                    return Ok(Some(Order::Stop { seat: slot }));
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
        Ok(None)
    }

    /// The seat can take a task.
    pub fn ready(&mut self, seat: usize) {
        self.schedule.on(self.clock.elapsed(), Event::Ready { slot: seat });
    }

    /// The task in the seat came to an end by itself.
    ///
    /// # Errors
    /// [`Error::Usage`] for [`Answer::Refused`]; those of the journal.
    pub fn answer(&mut self, seat: usize, answer: Answer) -> Result<()> {
        let now = self.clock.elapsed();
        match answer {
            Answer::Ready => self.ready(seat),
            Answer::Refused { message } => return Err(Error::usage(message)),
            Answer::Done(done) => {
                let task = done.task;
                if self.schedule.task_in(seat) == Some(task) {
                    self.schedule.on(now, Event::Done { slot: seat, task });
                    self.receipts.push((*done, self.seconds(task)));
                }
            }
            Answer::Failed(failed) => self.failed(seat, failed.task, Trouble::from(*failed)),
            Answer::Names { task, needed } => {
                if self.schedule.task_in(seat) == Some(task) {
                    self.run.name_outputs(task, needed)?;
                    self.schedule.on(now, Event::Again { slot: seat, task });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn failed(&mut self, seat: usize, task: usize, trouble: Trouble) {
        if self.schedule.task_in(seat) == Some(task) {
            self.remember(task, trouble);
            self.schedule.on(self.clock.elapsed(), Event::Failed { slot: seat, task });
        }
    }

    /// What ran in the seat is gone, and its task may be why: it is run once more, alone, and
    /// given up when that ends so too.
    pub fn died(&mut self, seat: usize, error: &str, message: &str, traceback: &str) {
        let (error, message) = (error.to_owned(), message.to_owned());
        let traceback = traceback.to_owned();
        let kind = FailureKind::Died;
        self.gone(seat, Trouble { kind, error, message, traceback, ..Trouble::default() });
    }

    /// What ran in the seat is gone through no fault of its task, which had not begun: it is run
    /// again at no charge.
    pub fn lost(&mut self, seat: usize) {
        self.reasons.remove(&seat);
        self.schedule.on(self.clock.elapsed(), Event::Lost { slot: seat });
    }

    pub(crate) fn gone(&mut self, seat: usize, trouble: Trouble) {
        let reason = self.reasons.remove(&seat);
        if let Some(task) = self.schedule.task_in(seat) {
            match reason {
                None => self.remember(task, trouble),
                Some(Reason::TimedOut) => {
                    let trouble = self.timed_out(trouble);
                    self.remember(task, trouble);
                }
                Some(Reason::Stopping | Reason::Retired) => {}
            }
        }
        self.schedule.on(self.clock.elapsed(), Event::Died { slot: seat });
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

    /// Writes into the journal what was published since the last time.
    ///
    /// # Errors
    /// Those of the journal.
    pub fn commit(&mut self) -> Result<()> {
        let receipts = std::mem::take(&mut self.receipts);
        if receipts.is_empty() { Ok(()) } else { self.run.done(receipts) }
    }

    /// Whether nothing is left to do or to wait for.
    pub fn is_over(&self) -> bool {
        self.schedule.finished()
    }

    /// How long one may wait for news before asking for orders again, `longest` at most.
    pub fn patience(&self, longest: Duration) -> Duration {
        let due = self.schedule.wake_at().map(|due| due.saturating_sub(self.clock.elapsed()));
        due.map_or(longest, |due| due.min(longest))
    }

    /// Ends the run, and writes the manifest unless segments are left for another run.
    ///
    /// # Errors
    /// Those of [`SegmentsWriter::finish`](crate::SegmentsWriter::finish).
    pub fn finish(mut self) -> Result<MapReport> {
        self.commit()?;
        self.run.finish()
    }
}
