//! Looking into one pickle: what it holds, how many items, and some of them as
//! a pickle of their own.

use std::ops::Range;

use super::cutter::Job;
use super::emit::{Emitter, Plan};
use super::items::{Items, Step};
use super::ops::{BINPUT, BUILD, STOP};
use super::plan::Planner;
use super::refs::Refs;
use super::root::{Found, Root, find, find_by_end};
use super::window::{Fault, Window};
use super::{kind, told};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Kind;

/// What one pickle holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The container, or `None` for anything else.
    pub kind: Option<Kind>,
    /// The class of the container where that is not the built-in one
    /// (`collections.deque`), or a noun for what is no container (`an int`).
    pub what: Option<String>,
    /// Items of the container.
    pub items: Option<u64>,
    /// The pickle's protocol, 0 to 5; 0 for 1 too, which says nothing of itself.
    pub protocol: u8,
    /// Where the pickle ends, for containers; bytes may follow.
    pub end: Option<u64>,
}

/// Says what the first pickle of `input` holds and counts its items, without
/// making them: the whole pickle is scanned, in memory that does not grow.
///
/// # Errors
/// [`Error::Input`] with an offset when it is no pickle or cut off; [`Error::Io`].
pub fn count_items(input: &Input) -> Result<Contents> {
    let root = match top(input, false)? {
        Ok(root) => root,
        Err(what) => return Ok(other(what)),
    };
    match count(input, &root)? {
        Some(contents) => Ok(contents),
        None => match top(input, true)? {
            Ok(root) => count(input, &root)?.ok_or_else(|| unfit(input)),
            Err(what) => Ok(other(what)),
        },
    }
}

fn other(what: String) -> Contents {
    Contents { kind: None, what: Some(what), items: None, protocol: 0, end: None }
}

fn unfit(input: &Input) -> Error {
    Error::input(input.path(), None, "holds a container of an unknown form")
}

/// The root, or what is there instead.
pub(crate) fn top(input: &Input, by_end: bool) -> Result<Result<Root, String>> {
    if input.size() == 0 {
        return Err(Error::input(input.path(), None, "is empty"));
    }
    let mut window = Window::new(input.data(), input.size());
    let found = if by_end || ends_with_state(input)? {
        find_by_end(&mut window, 0)
    } else {
        find(&mut window, 0)
    };
    let found = found.map_err(|fault| match fault {
        Fault::Bad(0, message) if !message.contains("cut off") => {
            Fault::Bad(0, "this is not a pickle".to_owned())
        }
        fault => fault,
    });
    Ok(match found.map_err(|fault| told(fault.into(), input.path()))? {
        Found::Root(root) => Ok(*root),
        Found::Other(what) => Err(what),
    })
}

fn count(input: &Input, root: &Root) -> Result<Option<Contents>> {
    let inner = || -> Result<Option<Contents>, Fault> {
        let mut items = Items::new(Window::new(input.data(), input.size()), root)?;
        let mut slots = 0;
        loop {
            match items.step()? {
                Step::Unfit => return Ok(None),
                Step::Piece => slots += items.piece().slots.len() as u64,
                Step::End { end, .. } => {
                    return Ok(Some(Contents {
                        kind: Some(kind(root.container)),
                        what: root.class.clone(),
                        items: Some(slots / root.stride() as u64),
                        protocol: root.protocol,
                        end: Some(end),
                    }));
                }
            }
        }
    };
    inner().map_err(|fault| told(fault.into(), input.path()))
}

/// A pickle of the same type with only the items `range` (of a dict: pairs) of
/// the first pickle of `input`. Scans up to the range's end; makes no objects.
/// An end beyond the last item is the last item's.
///
/// # Errors
/// [`Error::Usage`] when the range begins beyond the last item;
/// [`Error::NotAContainer`]; [`Error::Input`] with an offset when it is no
/// pickle, is cut off, or an item refers to the whole; [`Error::Io`].
pub fn extract(input: &Input, range: Range<u64>) -> Result<Vec<u8>> {
    for by_end in [false, true] {
        let root = match top(input, by_end)? {
            Ok(root) => root,
            Err(what) => {
                return Err(Error::NotAContainer { path: input.path().to_owned(), what });
            }
        };
        if let Some(bytes) = extract_from(input, &root, &range)? {
            return Ok(bytes);
        }
    }
    Err(unfit(input))
}

/// Whether the last bytes may be those of an instance that is given a state. Which of them are
/// containers only the beginning tells, and that costs less than a scan.
fn ends_with_state(input: &Input) -> Result<bool> {
    let Some(from) = input.size().checked_sub(2) else { return Ok(false) };
    let mut last = [0; 2];
    let read = input.data().read_exact_at(from, &mut last);
    read.map_err(|e| Error::io("read", input.path(), e))?;
    Ok(last == [BUILD, STOP])
}

/// Whether the last bytes show that the container at the beginning is the whole
/// value: what closes a batch of it, then STOP. A `BINPUT` number can look like
/// a closer.
fn ends_alike(input: &Input, root: &Root) -> Result<bool> {
    if root.end == Some(input.size()) || root.state.is_some() {
        return Ok(true);
    }
    let mut last = [0; 3];
    let Some(from) = input.size().checked_sub(3).filter(|from| *from >= root.body) else {
        return Ok(false);
    };
    let read = input.data().read_exact_at(from, &mut last);
    read.map_err(|e| Error::io("read", input.path(), e))?;
    let [before, closer, stop] = last;
    let closes = closer == root.batch_closer || closer == root.single_closer;
    Ok(root.suffix == [STOP] && stop == STOP && closes && closer != 0 && before != BINPUT)
}

pub(crate) fn extract_from(
    input: &Input,
    root: &Root,
    range: &Range<u64>,
) -> Result<Option<Vec<u8>>> {
    let at = |fault: Fault| told(fault.into(), input.path());
    let (data, size) = (input.data(), input.size());
    let mut items = Items::new(Window::new(data, size), root).map_err(at)?;
    let mut planner = Planner::at(vec![range.start, range.end], root);
    let wanted = |plan: &Plan| plan.from.item == range.start && plan.to.item >= range.start;
    let plan = 'found: loop {
        match items.step().map_err(at)? {
            Step::Unfit => return Ok(None),
            Step::Piece => {
                planner.begin_piece(&items);
                while let Some(plan) = planner.next_cut(&mut items) {
                    if wanted(&plan) {
                        break 'found plan;
                    }
                }
                planner.end_piece(&items);
            }
            Step::End { body_end, .. } => {
                if let Some(plan) = planner.last_cut(&mut items, body_end)
                    && wanted(&plan)
                {
                    break plan;
                }
                return Err(Error::usage(format!(
                    "{}: there is no item {}; it has {}, counted from 0",
                    input.path().display(),
                    range.start,
                    planner.items()
                )));
            }
        }
    };
    // A list is also how a tuple of a list and something else begins: only the
    // end tells.
    while !ends_alike(input, root)? {
        match items.step().map_err(at)? {
            Step::Unfit => return Ok(None),
            Step::Piece => {}
            Step::End { .. } => break,
        }
    }
    let plan =
        if range.is_empty() { Plan { to: plan.from, last_frame: None, ..plan } } else { plan };
    let refs = Refs::of(data, &plan, root.prefix_memo).map_err(at)?;
    let checkpoints = planner.take_checkpoints();
    let mut job = Job { plan, refs, checkpoints, container_ids: items.container_ids };
    let mut emitter = Emitter::new(data, size, root, u64::MAX, u64::MAX);
    emitter.learn(&mut job);
    let mut bytes = Vec::new();
    emitter
        .emit(&job.plan, &job.refs, &mut bytes, &mut |error| {
            Error::io("copy", input.path(), error).into()
        })
        .map_err(|halt| told(halt, input.path()))?;
    Ok(Some(bytes))
}
