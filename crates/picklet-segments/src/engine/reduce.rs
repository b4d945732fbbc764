//! Folding all segments into one, as a tree: groups of neighbours first, then groups of what came
//! of those. `combine(a, b)` must not care how its arguments are grouped; their order is kept.
//!
//! What lies between is in `.picklet/reduce-N` of the output and stays there: a later run over the
//! same input makes nothing anew, and one over a changed segment only what depends on it.

use super::{Fan, MapOptions, MapReport, prepare};
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::name;
use crate::store::Location;

/// How many segments are folded by one task. More would mean fewer files in between and less to
/// do at the same time; with 4, what is written in between is a third of what comes out of the
/// first level.
pub(super) const FOLDED_AT_ONCE: usize = 4;

/// Folds `input` into one segment in `out`. `step` maps one level into the next, with options
/// whose [`Fan::In`] says how many segments a task takes: [`map`](super::map) with
/// [`Form::Reduce`](super::Form::Reduce), or its like.
///
/// The report is that of all levels together. A level that is not complete is the last.
///
/// # Errors
/// [`Error::Usage`] when there is nothing to fold; those of `step`.
pub fn reduce(
    input: &Segments,
    out: &Location,
    options: &MapOptions,
    step: &mut dyn FnMut(&Segments, &Location, &MapOptions) -> Result<MapReport>,
) -> Result<MapReport> {
    if input.is_empty() {
        return Err(Error::usage("there are no segments to reduce"));
    }
    if options.names.is_some() || options.only.is_some() {
        return Err(Error::usage("a reduction has one output; names and only are not for it"));
    }
    // What is to be begun anew is removed here: later it would take the levels with it.
    prepare(out, options.resume)?;
    let fan = Fan::In(FOLDED_AT_ONCE);
    let options = MapOptions { resume: true, fan, ..options.clone() };
    let mut whole = MapReport::default();
    let mut level = 0u32;
    let mut between: Option<Segments> = None;
    loop {
        let from = between.as_ref().unwrap_or(input);
        let last = from.len() <= FOLDED_AT_ONCE;
        let to = if last {
            out.clone()
        } else {
            Location::new(out.path().join(name::PRIVATE).join(format!("reduce-{level}")))?
        };
        let report = step(from, &to, &options)?;
        let complete = report.is_complete();
        whole.join(report);
        if last || !complete {
            whole.segments = input.len() as u64;
            return Ok(whole);
        }
        between = Some(Segments::open(&to)?);
        level = level.saturating_add(1);
    }
}
