//! The schedule under a simulated world: workers that die, hang, raise and start slowly, in
//! thousands of orders, without a process or a clock.

use std::collections::BTreeMap;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rules(workers: usize, on_error: OnError) -> Rules {
    Rules {
        workers,
        on_error,
        retries: 0,
        timeout: None,
        backoff: SECOND,
        backoff_limit: 60 * SECOND,
        grace: 3 * SECOND,
    }
}

/// What a try of a task does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Try {
    Done(u64),
    Fail(u64),
    Die(u64),
    Hang,
    /// It is to be run again at no charge.
    Again(u64),
    /// Its worker is gone before it began.
    Lose(u64),
}

/// What a worker does when it is started.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Birth {
    Ready(u64),
    Dies(u64),
}

/// A world of workers around a schedule. Times are in milliseconds.
struct World {
    schedule: Schedule,
    now: Duration,
    /// What each task does, try by try; the last one repeats.
    script: Vec<Vec<Try>>,
    births: Vec<Birth>,
    tries: Vec<usize>,
    /// What will happen, by time; the number keeps those of one time apart.
    future: BTreeMap<(Duration, u64), (usize, u64, Event)>,
    counter: u64,
    /// Grows when a slot's process is replaced, so that the dead say nothing.
    generation: Vec<u64>,
    busy: Vec<Option<usize>>,
    done: Vec<usize>,
    given_up: Vec<usize>,
    log: Vec<Action>,
    no_workers: bool,
}

impl World {
    fn new(rules: Rules, script: Vec<Vec<Try>>) -> World {
        let slots = rules.workers;
        World {
            schedule: Schedule::new(rules, script.len()),
            now: Duration::ZERO,
            tries: vec![0; script.len()],
            script,
            births: vec![Birth::Ready(10)],
            future: BTreeMap::new(),
            counter: 0,
            generation: vec![0; slots],
            busy: vec![None; slots],
            done: Vec::new(),
            given_up: Vec::new(),
            log: Vec::new(),
            no_workers: false,
        }
    }

    fn later(&mut self, millis: u64, slot: usize, event: Event) {
        self.counter += 1;
        let when = self.now + Duration::from_millis(millis);
        self.future.insert((when, self.counter), (slot, self.generation[slot], event));
    }

    fn perform(&mut self, action: Action) {
        self.log.push(action);
        match action {
            Action::Start { slot } => {
                assert_eq!(self.busy[slot], None, "started over a running worker");
                let birth =
                    if self.births.len() > 1 { self.births.remove(0) } else { self.births[0] };
                match birth {
                    Birth::Ready(after) => self.later(after, slot, Event::Ready { slot }),
                    Birth::Dies(after) => self.later(after, slot, Event::Died { slot }),
                }
            }
            Action::Assign { slot, task } => {
                assert_eq!(self.busy[slot], None, "two tasks in one slot");
                assert!(!self.done.contains(&task) && !self.given_up.contains(&task));
                assert!(!self.busy.contains(&Some(task)), "one task in two slots");
                self.busy[slot] = Some(task);
                let script = &self.script[task];
                let step = script[self.tries[task].min(script.len() - 1)];
                self.tries[task] += 1;
                match step {
                    Try::Done(after) => self.later(after, slot, Event::Done { slot, task }),
                    Try::Fail(after) => self.later(after, slot, Event::Failed { slot, task }),
                    Try::Die(after) => self.later(after, slot, Event::Died { slot }),
                    Try::Again(after) => self.later(after, slot, Event::Again { slot, task }),
                    Try::Lose(after) => self.later(after, slot, Event::Lost { slot }),
                    Try::Hang => {}
                }
            }
            Action::Kill { slot, .. } => {
                self.generation[slot] += 1;
                self.later(1, slot, Event::Died { slot });
            }
            Action::GiveUp { task } => self.given_up.push(task),
            Action::NoWorkers => self.no_workers = true,
        }
    }

    fn run(mut self) -> World {
        for _ in 0..100_000 {
            while let Some(action) = self.schedule.next_action(self.now) {
                self.perform(action);
            }
            if self.schedule.finished() {
                return self;
            }
            let next = self.future.keys().next().map(|&(when, _)| when);
            let wake = self.schedule.wake_at().map(|wake| wake.max(self.now));
            let at = match (next, wake) {
                (Some(next), Some(wake)) => next.min(wake),
                (next, wake) => next.or(wake).expect("nothing will ever happen: a hang"),
            };
            self.now = at;
            while let Some((&key, &(slot, generation, event))) = self.future.first_key_value() {
                if key.0 > at {
                    break;
                }
                self.future.remove(&key);
                if generation != self.generation[slot] {
                    continue;
                }
                match event {
                    Event::Done { slot, task } => {
                        self.busy[slot] = None;
                        self.done.push(task);
                    }
                    Event::Failed { slot, .. } | Event::Again { slot, .. } => {
                        self.busy[slot] = None;
                    }
                    Event::Died { slot } | Event::Lost { slot } => {
                        self.busy[slot] = None;
                        self.generation[slot] += 1;
                    }
                    Event::Ready { .. } => {}
                }
                self.schedule.on(self.now, event);
            }
        }
        panic!("the run has no end");
    }

    fn sorted_done(&self) -> Vec<usize> {
        let mut done = self.done.clone();
        done.sort_unstable();
        done
    }
}

fn good(count: usize) -> Vec<Vec<Try>> {
    vec![vec![Try::Done(100)]; count]
}

#[test]
fn all_tasks_are_done_once_and_in_order_of_hand_out() {
    let world = World::new(rules(3, OnError::Raise), good(10)).run();
    assert_eq!(world.sorted_done(), (0..10).collect::<Vec<_>>());
    let handed: Vec<usize> = world
        .log
        .iter()
        .filter_map(|action| match action {
            Action::Assign { task, .. } => Some(*task),
            _ => None,
        })
        .collect();
    assert_eq!(handed, (0..10).collect::<Vec<_>>());
}

#[test]
fn no_more_workers_are_started_than_there_are_tasks() {
    let world = World::new(rules(8, OnError::Raise), good(2)).run();
    let starts = world.log.iter().filter(|a| matches!(a, Action::Start { .. })).count();
    assert_eq!(starts, 2);
}

#[test]
fn nothing_to_do_is_finished_at_once() {
    assert!(Schedule::new(rules(2, OnError::Raise), 0).finished());
}

#[test]
fn with_raise_the_first_failure_ends_the_run_and_keeps_what_ends_within_the_grace() {
    let mut script = good(10);
    script[0] = vec![Try::Fail(50)];
    script[1] = vec![Try::Done(2_000)];
    script[2] = vec![Try::Done(60_000)];
    let world = World::new(rules(3, OnError::Raise), script).run();
    assert_eq!((world.given_up, world.done), (vec![0], vec![1]));
    assert!(world.now < 4 * SECOND, "it waited for the long one: {:?}", world.now);
    let kills: Vec<_> = world.log.iter().filter(|a| matches!(a, Action::Kill { .. })).collect();
    assert!(matches!(kills[..], [Action::Kill { reason: Reason::Stopping, .. }]));
}

#[test]
fn skip_and_quarantine_go_on_after_failures() {
    for on_error in [OnError::Skip, OnError::Quarantine] {
        let mut script = good(6);
        script[1] = vec![Try::Fail(10)];
        script[4] = vec![Try::Fail(10)];
        let world = World::new(rules(2, on_error), script).run();
        assert_eq!(world.sorted_done(), [0, 2, 3, 5]);
        assert_eq!(world.given_up, [1, 4]);
    }
}

#[test]
fn a_failure_is_retried_after_pauses_that_double() {
    let mut script = good(1);
    script[0] = vec![Try::Fail(0), Try::Fail(0), Try::Fail(0), Try::Done(0)];
    let world = World::new(Rules { retries: 3, ..rules(1, OnError::Raise) }, script).run();
    assert_eq!(world.done, [0]);
    assert_eq!(world.now, 7 * SECOND + Duration::from_millis(10));
}

#[test]
fn others_run_while_one_waits_for_its_retry() {
    let mut script = good(5);
    script[0] = vec![Try::Fail(10), Try::Done(10)];
    let world = World::new(Rules { retries: 1, ..rules(1, OnError::Raise) }, script).run();
    assert_eq!(world.done, [1, 2, 3, 4, 0]);
}

#[test]
fn retries_end() {
    let script = vec![vec![Try::Fail(1)]];
    let world = World::new(Rules { retries: 4, ..rules(1, OnError::Skip) }, script).run();
    assert_eq!((world.given_up, world.tries), (vec![0], vec![5]));
}

#[test]
fn a_task_that_hangs_is_killed_at_its_timeout_and_charged_with_a_failure() {
    let mut script = good(4);
    script[2] = vec![Try::Hang, Try::Done(10)];
    let limits = Rules { retries: 1, timeout: Some(5 * SECOND), ..rules(2, OnError::Raise) };
    let world = World::new(limits, script).run();
    assert_eq!(world.sorted_done(), [0, 1, 2, 3]);
    let kill = world.log.iter().find(|a| matches!(a, Action::Kill { .. }));
    assert!(matches!(kill, Some(Action::Kill { reason: Reason::TimedOut, .. })));
    assert_eq!(world.tries[2], 2);
}

#[test]
fn a_task_that_was_slow_but_finished_is_not_charged() {
    let script = vec![vec![Try::Done(4_999)]];
    let limits = Rules { timeout: Some(5 * SECOND), ..rules(1, OnError::Raise) };
    assert_eq!(World::new(limits, script).run().done, [0]);
}

#[test]
fn a_receipt_that_arrives_while_its_worker_is_being_killed_counts() {
    let limits = Rules { timeout: Some(SECOND), ..rules(1, OnError::Raise) };
    let mut schedule = Schedule::new(limits, 1);
    assert_eq!(schedule.next_action(Duration::ZERO), Some(Action::Start { slot: 0 }));
    schedule.on(Duration::ZERO, Event::Ready { slot: 0 });
    assert_eq!(schedule.next_action(Duration::ZERO), Some(Action::Assign { slot: 0, task: 0 }));
    let kill = Some(Action::Kill { slot: 0, reason: Reason::TimedOut });
    assert_eq!(schedule.next_action(SECOND), kill);
    schedule.on(SECOND, Event::Done { slot: 0, task: 0 });
    schedule.on(SECOND, Event::Died { slot: 0 });
    assert_eq!(schedule.next_action(SECOND), None);
    assert!(schedule.finished());
}

/// While a suspect's second try runs, nothing else does, and its worker has run nothing before.
fn assert_suspects_run_alone(world: &World) {
    let mut tries = vec![0; world.script.len()];
    let mut fresh = vec![false; world.generation.len()];
    for action in &world.log {
        match *action {
            Action::Start { slot } => fresh[slot] = true,
            Action::Assign { slot, task } => {
                let deaths = world.script[task]
                    .iter()
                    .take(tries[task])
                    .filter(|step| matches!(step, Try::Die(_)))
                    .count();
                if deaths > 0 {
                    assert!(fresh[slot], "suspect {task} ran in a used worker");
                }
                tries[task] += 1;
                fresh[slot] = false;
            }
            _ => {}
        }
    }
}

#[test]
fn a_death_blames_its_own_task_and_a_second_one_settles_it() {
    let mut script = good(8);
    script[3] = vec![Try::Die(20)];
    let world = World::new(rules(4, OnError::Quarantine), script).run();
    assert_eq!(world.sorted_done(), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!((&world.given_up[..], world.tries[3]), (&[3][..], 2));
    assert!(world.tries.iter().enumerate().all(|(task, &tries)| task == 3 || tries == 1));
    assert_suspects_run_alone(&world);
}

#[test]
fn a_suspect_that_was_innocent_is_done_even_without_retries() {
    let mut script = good(8);
    script[2] = vec![Try::Die(20), Try::Done(5)];
    for on_error in [OnError::Raise, OnError::Skip] {
        let world = World::new(rules(3, on_error), script.clone()).run();
        assert_eq!(world.sorted_done(), (0..8).collect::<Vec<_>>());
        assert!(world.given_up.is_empty());
        assert_suspects_run_alone(&world);
    }
}

#[test]
fn with_raise_a_suspect_is_cleared_before_the_rest_goes_on() {
    let mut script = good(20);
    script[0] = vec![Try::Die(10)];
    let world = World::new(rules(2, OnError::Raise), script).run();
    assert_eq!(world.given_up, [0]);
    assert!(world.done.len() < 4, "it did not stop soon: {:?}", world.done);
}

#[test]
fn all_workers_dying_at_once_loses_nothing() {
    let script = vec![vec![Try::Die(50), Try::Done(10)]; 4];
    let world = World::new(rules(4, OnError::Raise), script).run();
    assert_eq!(world.sorted_done(), [0, 1, 2, 3]);
    assert_suspects_run_alone(&world);
}

#[test]
fn a_function_that_always_kills_its_worker_ends_in_a_report_of_every_task() {
    let world = World::new(rules(3, OnError::Skip), vec![vec![Try::Die(1)]; 5]).run();
    assert_eq!((world.given_up.len(), world.done.len()), (5, 0));
    assert!(world.tries.iter().all(|&tries| tries == 2));
}

#[test]
fn workers_that_never_come_up_end_the_run() {
    let mut world = World::new(rules(2, OnError::Skip), good(5));
    world.births = vec![Birth::Dies(5)];
    let world = world.run();
    assert!(world.no_workers && world.done.is_empty() && world.given_up.is_empty());
}

#[test]
fn a_worker_that_fails_to_come_up_once_is_started_again() {
    let mut world = World::new(rules(2, OnError::Raise), good(5));
    world.births = vec![Birth::Dies(5), Birth::Ready(1)];
    let world = world.run();
    assert!(!world.no_workers);
    assert_eq!(world.done.len(), 5);
}

#[test]
fn news_of_tasks_that_a_slot_does_not_hold_changes_nothing() {
    let mut schedule = Schedule::new(rules(1, OnError::Raise), 2);
    for event in [
        Event::Done { slot: 0, task: 1 },
        Event::Failed { slot: 0, task: 0 },
        Event::Done { slot: 7, task: 9 },
        Event::Ready { slot: 7 },
        Event::Died { slot: 7 },
        Event::Died { slot: 0 },
    ] {
        schedule.on(Duration::ZERO, event);
    }
    assert_eq!(schedule.next_action(Duration::ZERO), Some(Action::Start { slot: 0 }));
    assert!(!schedule.finished());
}

fn is_free(step: Try) -> bool {
    matches!(step, Try::Again(_) | Try::Lose(_))
}

#[test]
fn a_task_that_lost_its_worker_before_it_began_is_run_again_at_no_charge() {
    let mut script = good(4);
    script[1] = [vec![Try::Lose(5); 9], vec![Try::Again(5); 9], vec![Try::Done(5)]].concat();
    let world = World::new(rules(2, OnError::Raise), script).run();
    assert_eq!(world.sorted_done(), [0, 1, 2, 3]);
    assert_eq!((world.given_up, world.no_workers), (vec![], false));
}

/// A small generator of numbers, so that a failing seed can be run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[test]
fn in_every_order_of_deaths_failures_and_hangs_each_task_ends_exactly_once() {
    for seed in 0..4_000u64 {
        let random = &mut Random(seed);
        let workers = 1 + random.below(5) as usize;
        let on_error =
            [OnError::Raise, OnError::Skip, OnError::Quarantine][random.below(3) as usize];
        let limits = Rules {
            retries: random.below(3) as u32,
            timeout: Some(SECOND),
            ..rules(workers, on_error)
        };
        let step = |random: &mut Random| match random.below(12) {
            10 => Try::Again(random.below(300)),
            11 => Try::Lose(random.below(300)),
            0 => Try::Die(random.below(300)),
            1 => Try::Fail(random.below(300)),
            2 => Try::Hang,
            3 => Try::Done(990 + random.below(20)),
            _ => Try::Done(random.below(500)),
        };
        let script: Vec<Vec<Try>> = (0..random.below(25))
            .map(|_| {
                let mut tries: Vec<Try> = (0..1 + random.below(4)).map(|_| step(random)).collect();
                // The last one repeats, and what repeats at no charge would never end.
                if tries.last().copied().is_some_and(is_free) {
                    tries.push(Try::Done(5));
                }
                tries
            })
            .collect();
        let mut world = World::new(limits, script);
        if random.below(4) == 0 {
            world.births = vec![Birth::Ready(5), Birth::Dies(7), Birth::Ready(2)];
        }
        let world = world.run();
        assert!(!world.no_workers, "seed {seed}");
        assert_suspects_run_alone(&world);
        let mut ended: Vec<usize> = world.done.iter().chain(&world.given_up).copied().collect();
        ended.sort_unstable();
        let all = ended.len();
        ended.dedup();
        assert_eq!(ended.len(), all, "seed {seed}: a task ended twice");
        if on_error != OnError::Raise || world.given_up.is_empty() {
            assert_eq!(all, world.script.len(), "seed {seed}: a task was lost");
        }
        for &task in &world.given_up {
            let free = world.script[task].iter().filter(|step| is_free(**step)).count();
            let limit = limits.retries as usize + DEATHS_ALLOWED as usize + free;
            assert!(world.tries[task] <= limit, "seed {seed}: task {task} ran too often");
        }
        for &task in &world.done {
            let last = world.script[task].len().min(world.tries[task]) - 1;
            assert!(matches!(world.script[task][last], Try::Done(_)), "seed {seed}");
        }
    }
}
