//! Who runs what, and what a failure means: the scheduling of a map as a pure state machine.
//!
//! It knows tasks and slots by number only. It starts no process, reads no file and looks at no
//! clock: the engine tells it what happened ([`Event`]) and what time it is (as the time since the
//! start), and asks it what to do next ([`Action`]). That is what makes every order of deaths,
//! retries and timeouts testable without a single process.
//!
//! The rules:
//! - One task at a time in each slot, so a death names its task by itself.
//! - A failure (the function raised, or ran out of time) is tried again as often as `retries`
//!   says, after a pause that doubles.
//! - A death says less than a failure: the out-of-memory killer may have picked the wrong process,
//!   or an earlier task may have damaged the interpreter. So a task whose worker died is a
//!   *suspect*. It is run once more, in a fresh worker, while nothing else runs. A second death
//!   settles it.
//! - A task that lost its worker to somebody else's doing (the run was stopping) is charged with
//!   nothing.
//! - With [`OnError::Raise`] the first task given up ends the run: nothing more is handed out, what
//!   is in flight may finish within `grace`, and is then stopped.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// What to do with a segment that failed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Stop the map soon; what is finished stays.
    #[default]
    Raise,
    /// Leave the segment out and go on.
    Skip,
    /// Leave the segment out, keep a record of everything that is needed to replay it, and go on.
    Quarantine,
}

/// The number of deaths after which a task is given up.
pub(crate) const DEATHS_ALLOWED: u32 = 2;

/// How many times in a row a worker may end without having been given a task before the run is
/// given up.
pub(crate) const IDLE_DEATHS_ALLOWED: u32 = 3;

/// What a schedule is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The number of slots, at least 1.
    pub workers: usize,
    pub on_error: OnError,
    /// How many times a task that failed is tried again.
    pub retries: u32,
    /// How long one try of a task may take.
    pub timeout: Option<Duration>,
    /// The pause before the first retry; it doubles with each further one.
    pub backoff: Duration,
    /// No pause is longer than this.
    pub backoff_limit: Duration,
    /// How long tasks in flight may go on once the run is stopping.
    pub grace: Duration,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The worker in this slot is up and waits for a task.
    Ready { slot: usize },
    /// The worker committed the task's output.
    Done { slot: usize, task: usize },
    /// The function raised, or its output could not be written.
    Failed { slot: usize, task: usize },
    /// The task is to be run again at no charge.
    Again { slot: usize, task: usize },
    /// The worker's process ended, for whatever reason.
    Died { slot: usize },
    /// The worker is gone, and its task had not begun: it is run again at no charge.
    Lost { slot: usize },
}

/// Why a worker is to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its task took longer than the timeout.
    TimedOut,
    /// The run is stopping and the grace is over.
    Stopping,
    /// A suspect is to run in a fresh process.
    Retired,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a worker in this slot; [`Event::Ready`] is expected, or [`Event::Died`].
    Start { slot: usize },
    /// Hand the task to the worker.
    Assign { slot: usize, task: usize },
    /// Kill the worker; [`Event::Died`] is expected.
    Kill { slot: usize, reason: Reason },
    /// The task failed for good: report its last failure.
    GiveUp { task: usize },
    /// Workers keep ending before they are given anything: end the run with an error.
    NoWorkers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Down,
    Starting,
    Idle { used: bool },
    Busy { task: usize, since: Duration },
    Ending { task: Option<usize>, reason: Reason },
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    settled: bool,
    failures: u32,
    deaths: u32,
}

/// The state of one run.
#[derive(Debug)]
pub(crate) struct Schedule {
    rules: Rules,
    slots: Vec<Slot>,
    tasks: Vec<Record>,
    open: usize,
    queue: VecDeque<usize>,
    suspects: VecDeque<usize>,
    /// Tasks that wait for their next try, by the time at which it is due.
    pauses: BTreeSet<(Duration, usize)>,
    /// The suspect that runs alone now.
    alone: Option<usize>,
    given_up: VecDeque<usize>,
    idle_deaths: u32,
    /// Set once the run stops: what is still busy then is killed at this time.
    stop_at: Option<Duration>,
}

impl Schedule {
    /// A run of the tasks `0..tasks`, handed out in that order.
    pub(crate) fn new(rules: Rules, tasks: usize) -> Schedule {
        Schedule {
            slots: vec![Slot::Down; rules.workers.max(1)],
            rules,
            tasks: vec![Record::default(); tasks],
            open: tasks,
            queue: (0..tasks).collect(),
            suspects: VecDeque::new(),
            pauses: BTreeSet::new(),
            alone: None,
            given_up: VecDeque::new(),
            idle_deaths: 0,
            stop_at: None,
        }
    }

    /// Whether nothing is left to do or to wait for (idle workers may still be up).
    pub(crate) fn finished(&self) -> bool {
        let in_flight = self.slots.iter().any(|slot| occupant(*slot).is_some());
        self.given_up.is_empty() && !in_flight && (self.open == 0 || self.stop_at.is_some())
    }

    /// Stops handing out tasks. What is in flight may finish until `grace` is over.
    pub(crate) fn stop(&mut self, now: Duration) {
        if self.stop_at.is_none() {
            self.stop_at = Some(now.saturating_add(self.rules.grace));
        }
    }

    /// The task in this slot, if there is one.
    pub(crate) fn task_in(&self, slot: usize) -> Option<usize> {
        self.slots.get(slot).copied().and_then(occupant)
    }

    /// The task that is handed out next, as far as one can tell now.
    pub(crate) fn next_queued(&self) -> Option<usize> {
        self.queue.front().copied()
    }

    /// Takes in what happened. News about a task that the slot does not hold is ignored.
    pub(crate) fn on(&mut self, now: Duration, event: Event) {
        match event {
            Event::Ready { slot } => {
                if self.slots.get(slot) == Some(&Slot::Starting) {
                    self.set(slot, Slot::Idle { used: false });
                }
            }
            Event::Done { slot, task } => {
                if self.release(slot, task) {
                    self.idle_deaths = 0;
                    self.settle(task);
                }
            }
            Event::Failed { slot, task } => {
                if self.release(slot, task) {
                    self.idle_deaths = 0;
                    self.failed(now, task);
                }
            }
            Event::Again { slot, task } => {
                if self.release(slot, task) {
                    self.again(task);
                }
            }
            Event::Died { slot } => self.died(now, slot),
            Event::Lost { slot } => {
                let task = self.task_in(slot);
                self.set(slot, Slot::Down);
                if let Some(task) = task {
                    if self.alone == Some(task) {
                        self.alone = None;
                    }
                    self.again(task);
                }
            }
        }
    }

    /// Puts a task back to where it was taken from.
    fn again(&mut self, task: usize) {
        let suspect = self.tasks.get(task).is_some_and(|record| record.deaths > 0);
        if suspect { &mut self.suspects } else { &mut self.queue }.push_front(task);
    }

    /// The next thing to do at this time; call it until it gives `None`.
    pub(crate) fn next_action(&mut self, now: Duration) -> Option<Action> {
        if let Some(task) = self.given_up.pop_front() {
            return Some(Action::GiveUp { task });
        }
        if self.idle_deaths >= IDLE_DEATHS_ALLOWED && self.stop_at.is_none() {
            self.stop(now);
            return Some(Action::NoWorkers);
        }
        if let Some(action) = self.overdue(now) {
            return Some(action);
        }
        if self.stop_at.is_some() {
            return None;
        }
        while let Some(&(due, task)) = self.pauses.first() {
            if due > now {
                break;
            }
            self.pauses.remove(&(due, task));
            let suspect = self.tasks.get(task).is_some_and(|record| record.deaths > 0);
            if suspect { &mut self.suspects } else { &mut self.queue }.push_back(task);
        }
        self.hand_out(now)
    }

    /// When [`Schedule::next_action`] must be asked again though nothing happened.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        let limits = self.slots.iter().filter_map(|slot| match *slot {
            Slot::Busy { since, .. } => self.limit(since),
            _ => None,
        });
        let due = self.pauses.first().map(|&(due, _)| due).filter(|_| self.stop_at.is_none());
        limits.chain(due).min()
    }

    /// When a task that began at `since` is to be stopped.
    fn limit(&self, since: Duration) -> Option<Duration> {
        let timeout = self.rules.timeout.map(|timeout| since.saturating_add(timeout));
        match (timeout, self.stop_at) {
            (Some(timeout), Some(stop)) => Some(timeout.min(stop)),
            (timeout, stop) => timeout.or(stop),
        }
    }

    fn overdue(&mut self, now: Duration) -> Option<Action> {
        let found = self.slots.iter().enumerate().find_map(|(slot, state)| match *state {
            Slot::Busy { task, since } if self.limit(since).is_some_and(|limit| limit <= now) => {
                Some((slot, task))
            }
            _ => None,
        });
        let (slot, task) = found?;
        let stopping = self.stop_at.is_some_and(|stop| stop <= now);
        let reason = if stopping { Reason::Stopping } else { Reason::TimedOut };
        self.set(slot, Slot::Ending { task: Some(task), reason });
        Some(Action::Kill { slot, reason })
    }

    fn hand_out(&mut self, now: Duration) -> Option<Action> {
        if self.alone.is_some() {
            return None;
        }
        let in_flight = self.slots.iter().any(|slot| occupant(*slot).is_some());
        // Where one failure ends the run, a suspect is cleared at once; otherwise it would only
        // hold up the others, and waits until they are through.
        let suspect_first = self.rules.on_error == OnError::Raise || self.queue.is_empty();
        if !self.suspects.is_empty() && suspect_first {
            return if in_flight { None } else { self.hand_out_alone(now) };
        }
        if self.queue.is_empty() {
            return None;
        }
        let idle = self.slots.iter().position(|slot| matches!(slot, Slot::Idle { .. }));
        if let Some(slot) = idle {
            let task = self.queue.pop_front()?;
            self.set(slot, Slot::Busy { task, since: now });
            return Some(Action::Assign { slot, task });
        }
        // No more workers than there are tasks for them.
        let starting = self.slots.iter().filter(|slot| matches!(slot, Slot::Starting)).count();
        if starting < self.queue.len() { self.start_one() } else { None }
    }

    /// Runs the first suspect, in a worker that has run nothing before.
    fn hand_out_alone(&mut self, now: Duration) -> Option<Action> {
        if let Some(slot) = self.slots.iter().position(|s| *s == Slot::Idle { used: false }) {
            let task = self.suspects.pop_front()?;
            self.alone = Some(task);
            self.set(slot, Slot::Busy { task, since: now });
            return Some(Action::Assign { slot, task });
        }
        // Workers that have run something give way: to be fresh, and to leave the suspect all
        // the memory there is.
        if let Some(slot) = self.slots.iter().position(|s| *s == Slot::Idle { used: true }) {
            let reason = Reason::Retired;
            self.set(slot, Slot::Ending { task: None, reason });
            return Some(Action::Kill { slot, reason });
        }
        let coming = self.slots.contains(&Slot::Starting);
        if coming { None } else { self.start_one() }
    }

    fn start_one(&mut self) -> Option<Action> {
        let slot = self.slots.iter().position(|slot| *slot == Slot::Down)?;
        self.set(slot, Slot::Starting);
        Some(Action::Start { slot })
    }

    fn set(&mut self, slot: usize, state: Slot) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = state;
        }
    }

    /// Takes the task out of its slot; false when the slot does not hold it.
    fn release(&mut self, slot: usize, task: usize) -> bool {
        match self.slots.get(slot).copied() {
            Some(Slot::Busy { task: held, .. }) if held == task => {
                self.set(slot, Slot::Idle { used: true });
            }
            // It finished at the very moment at which it was to be stopped: what it says counts.
            Some(Slot::Ending { task: Some(held), reason }) if held == task => {
                self.set(slot, Slot::Ending { task: None, reason });
            }
            _ => return false,
        }
        if self.alone == Some(task) {
            self.alone = None;
        }
        true
    }

    fn died(&mut self, now: Duration, slot: usize) {
        let Some(state) = self.slots.get(slot).copied() else { return };
        self.set(slot, Slot::Down);
        let Some(task) = occupant(state) else {
            if !matches!(state, Slot::Ending { .. } | Slot::Down) {
                self.idle_deaths = self.idle_deaths.saturating_add(1);
            }
            return;
        };
        if self.alone == Some(task) {
            self.alone = None;
        }
        match state {
            Slot::Ending { reason: Reason::TimedOut, .. } => self.failed(now, task),
            Slot::Ending { .. } => self.again(task),
            _ => {
                let Some(record) = self.tasks.get_mut(task) else { return };
                record.deaths = record.deaths.saturating_add(1);
                if record.deaths >= DEATHS_ALLOWED {
                    self.give_up(now, task);
                } else {
                    self.suspects.push_back(task);
                }
            }
        }
    }

    fn failed(&mut self, now: Duration, task: usize) {
        let Some(record) = self.tasks.get_mut(task) else { return };
        record.failures = record.failures.saturating_add(1);
        let failures = record.failures;
        if failures > self.rules.retries {
            self.give_up(now, task);
            return;
        }
        let doubled = 1u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let pause = self.rules.backoff.saturating_mul(doubled).min(self.rules.backoff_limit);
        self.pauses.insert((now.saturating_add(pause), task));
    }

    fn give_up(&mut self, now: Duration, task: usize) {
        self.settle(task);
        self.given_up.push_back(task);
        if self.rules.on_error == OnError::Raise {
            self.stop(now);
        }
    }

    fn settle(&mut self, task: usize) {
        if let Some(record) = self.tasks.get_mut(task).filter(|record| !record.settled) {
            record.settled = true;
            self.open = self.open.saturating_sub(1);
        }
    }
}

fn occupant(slot: Slot) -> Option<usize> {
    match slot {
        Slot::Busy { task, .. } => Some(task),
        Slot::Ending { task, .. } => task,
        Slot::Down | Slot::Starting | Slot::Idle { .. } => None,
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
