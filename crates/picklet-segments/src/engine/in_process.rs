//! Mapping without workers: a closure in this process, one segment after another.
//!
//! For debugging (`workers=0`), and for functions that must not leave their process. Resume,
//! retries and reports are those of [`map`](super::map). A crash of the function is a crash of the
//! process, and a timeout cannot be kept: nobody is there to kill it.

use std::time::{Duration, Instant};

use super::plan::Run;
use super::protocol::{Answer, PublishTo, Task};
use super::{BACKOFF_LIMIT, MapOptions, OnError, POLL, Trouble};
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::store::Location;

/// Calls `run` for each segment of `input` that is not done, and keeps books as
/// [`map`](super::map) does. `run` loads the segment, publishes the output through a
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
) -> Result<super::MapReport> {
    if options.timeout.is_some() {
        return Err(Error::usage(
            "a timeout needs worker processes, which can be killed; give at least one worker",
        ));
    }
    let replay = super::replay(input, out, None);
    let mut books = Run::plan(input, out, options, replay, progress)?;
    books.report.workers = 1;
    for task in books.tasks.clone() {
        let mut tries = 0u32;
        loop {
            if interrupt() {
                return Err(Error::Interrupted);
            }
            let began = Instant::now();
            tries = tries.saturating_add(1);
            let failed = match run(&task, &books.output)? {
                Answer::Done(done) if done.task == task.task => {
                    books.done(vec![(*done, began.elapsed().as_secs_f64())])?;
                    break;
                }
                Answer::Failed(failed) if failed.task == task.task => failed,
                Answer::Refused { message } => return Err(Error::usage(message)),
                _ => return Err(Error::usage("the function gave no answer for its segment")),
            };
            if tries <= options.retries {
                pause(options.backoff, tries, interrupt)?;
                continue;
            }
            let seconds = began.elapsed().as_secs_f64();
            books.failed(task.task, Trouble::from(*failed), tries, seconds)?;
            if options.on_error == OnError::Raise {
                return books.finish();
            }
            break;
        }
    }
    books.finish()
}

/// Waits before the next try, asking for the interrupt.
fn pause(backoff: Duration, tries: u32, interrupt: &dyn Fn() -> bool) -> Result<()> {
    let doubled = 1u32.checked_shl(tries - 1).unwrap_or(u32::MAX);
    let until = Instant::now() + backoff.saturating_mul(doubled).min(BACKOFF_LIMIT);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if interrupt() {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(left.min(POLL));
    }
    Ok(())
}
