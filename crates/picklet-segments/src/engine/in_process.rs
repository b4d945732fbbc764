//! Mapping without workers: a closure in this process, in the calling thread or in several.
//!
//! For debugging (`workers=0`), for functions that must not leave their process, for Rust closures
//! and for functions that let go of Python's lock. Resume, retries and reports are those of
//! [`map`](super::map). A crash of the function is a crash of the process, and a timeout cannot be
//! kept: nobody is there to kill it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::conductor::{Conductor, Order};
use super::process::own_peak_rss;
use super::protocol::{Answer, Failed, PublishTo, Task};
use super::{MapOptions, MapReport, POLL, default_workers};
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::Location;

fn conductor<'a>(
    input: &Segments,
    out: &Location,
    options: &MapOptions,
    seats: usize,
    progress: &'a dyn Progress,
) -> Result<Conductor<'a>> {
    if options.timeout.is_some() {
        return Err(Error::usage(
            "a timeout needs worker processes, which can be killed; give at least one worker",
        ));
    }
    Conductor::new(input, out, options, seats, options.replay.clone(), Box::new(progress))
}

/// Calls `run` for each segment of `input` that is not done, one after another in this thread, and
/// keeps books as [`map`](super::map) does. `run` loads the segment, publishes the output through a
/// [`Publisher`](crate::draft::Publisher) of the given session, and answers with the receipt.
///
/// # Errors
/// Those of [`map`](super::map), and what `run` returns as an error: that ends the map at once,
/// where an [`Answer::Failed`] is a segment that failed.
pub fn map_in_process(
    input: &Segments,
    out: &Location,
    run: &mut dyn FnMut(&Task, &PublishTo) -> Result<Answer>,
    options: &MapOptions,
    progress: &dyn Progress,
    interrupt: &dyn Fn() -> bool,
) -> Result<MapReport> {
    let mut conductor = conductor(input, out, options, 1, progress)?;
    let output = conductor.output().clone();
    while !conductor.is_over() {
        if interrupt() {
            return Err(Error::Interrupted);
        }
        match conductor.next_order()? {
            Some(Order::Start { seat }) => conductor.ready(seat),
            Some(Order::Run { seat, task }) => {
                let answer = run(&task, &output)?;
                conductor.answer(seat, expected(&task, answer)?)?;
                conductor.commit()?;
            }
            Some(Order::Stop { seat }) => conductor.died(seat, "", "", ""),
            // Only a pause before another try is waited for: nothing runs in the meantime.
            None if conductor.is_over() => break,
            None => std::thread::sleep(conductor.patience(POLL)),
        }
    }
    conductor.finish()
}

/// Calls `run` for each segment of `input` that is not done, in up to
/// [`MapOptions::workers`] threads of a rayon pool of their own; otherwise as [`map_in_process`].
/// A panic of `run` is a segment that failed.
///
/// # Errors
/// As [`map_in_process`]. Tasks that run when the map ends in an error are waited for.
pub fn map_in_threads(
    input: &Segments,
    out: &Location,
    run: &(dyn Fn(&Task, &PublishTo) -> Result<Answer> + Sync),
    options: &MapOptions,
    progress: &dyn Progress,
    interrupt: &dyn Fn() -> bool,
) -> Result<MapReport> {
    let threads = options.workers.unwrap_or_else(default_workers).max(1);
    let mut conductor = conductor(input, out, options, threads, progress)?;
    let output = conductor.output().clone();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.clamp(1, conductor.tasks().max(1)))
        .thread_name(|number| format!("picklet-map-{number}"))
        .build()
        .map_err(|error| Error::usage(format!("threads cannot be started: {error}")))?;
    let (sender, news) = mpsc::channel::<(usize, Result<Answer>)>();
    pool.in_place_scope(|scope| -> Result<()> {
        while !conductor.is_over() {
            while let Some(order) = conductor.next_order()? {
                match order {
                    Order::Start { seat } => conductor.ready(seat),
                    Order::Run { seat, task } => {
                        let (sender, output) = (sender.clone(), &output);
                        scope.spawn(move |_| {
                            let answer = guarded(run, &task, output);
                            let answer = answer.and_then(|answer| expected(&task, answer));
                            // Nobody listens any more when the map has ended in an error.
                            let _ = sender.send((seat, answer));
                        });
                    }
                    // A thread cannot be stopped; what it still does is waited for in the end.
                    Order::Stop { seat } => conductor.died(seat, "", "", ""),
                }
            }
            conductor.commit()?;
            if interrupt() {
                return Err(Error::Interrupted);
            }
            if let Ok((seat, answer)) = news.recv_timeout(conductor.patience(POLL)) {
                conductor.answer(seat, answer?)?;
                for (seat, answer) in news.try_iter() {
                    conductor.answer(seat, answer?)?;
                }
            }
        }
        Ok(())
    })?;
    conductor.finish()
}

fn guarded(
    run: &(dyn Fn(&Task, &PublishTo) -> Result<Answer> + Sync),
    task: &Task,
    output: &PublishTo,
) -> Result<Answer> {
    // What a panic leaves half done is the closure's own; the books are not touched by it.
    catch_unwind(AssertUnwindSafe(|| run(task, output))).unwrap_or_else(|panic| {
        Ok(Answer::Failed(Box::new(Failed {
            task: task.task,
            error: "panic".to_owned(),
            message: panic_message(&*panic),
            traceback: String::new(),
            item: None,
            seconds: 0.0,
            timed_out: false,
            peak_rss: None,
        })))
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// The answer, if it is one about this task; with the memory of this process, where it says none.
fn expected(task: &Task, mut answer: Answer) -> Result<Answer> {
    let about = match &mut answer {
        Answer::Done(done) => {
            done.peak_rss = done.peak_rss.or_else(own_peak_rss);
            Some(done.task)
        }
        Answer::Failed(failed) => {
            failed.peak_rss = failed.peak_rss.or_else(own_peak_rss);
            Some(failed.task)
        }
        Answer::Names { task, .. } => Some(*task),
        Answer::Refused { .. } => return Ok(answer),
        Answer::Ready => None,
    };
    if about == Some(task.task) {
        Ok(answer)
    } else {
        Err(Error::usage("the function gave no answer for its segment"))
    }
}
