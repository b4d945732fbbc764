//! The first half of a split: scans the source once and says, segment after
//! segment, where it begins and ends and what it refers to.
//!
//! It writes nothing, so that it can run ahead of what does, on a core of its
//! own.

use super::checkpoint::Checkpoints;
use super::emit::Plan;
use super::items::{Items, Step};
use super::plan::Planner;
use super::refs::{Collector, Refs};
use super::root::Root;
use super::window::{Fault, Window};
use crate::store::ReadAt;

/// A segment to be written, and what was learnt on the way to it.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) refs: Refs,
    /// Checkpoints passed since the last job.
    pub(crate) checkpoints: Checkpoints,
    /// Memo numbers of the container met since the last job.
    pub(crate) container_ids: Vec<u64>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    Segment(Box<Job>),
    /// Nothing: so many items, and the pickle ends at the offset.
    End {
        items: u64,
        end: u64,
    },
    /// The container turned out not to be what is at the top.
    Unfit,
}

/// What the last step of the items left to do.
enum State {
    Scan,
    Piece,
    Last { body_end: u64, end: u64 },
    End { end: u64 },
}

/// Scans and cuts.
pub(crate) struct Cutter<'a> {
    source: &'a dyn ReadAt,
    items: Items<'a, Collector<false>>,
    planner: Planner,
    prefix_memo: u64,
    state: State,
    told_ids: usize,
}

impl<'a> Cutter<'a> {
    /// A cutter for `source`, which has `size` bytes, where `planner` says.
    pub(crate) fn new(
        source: &'a dyn ReadAt,
        size: u64,
        root: &Root,
        planner: Planner,
    ) -> Result<Self, Fault> {
        let collector = Collector::new(root.body, root.prefix_memo);
        Ok(Cutter {
            source,
            items: Items::traced(Window::new(source, size), root, collector)?,
            planner,
            prefix_memo: root.prefix_memo,
            state: State::Scan,
            told_ids: 0,
        })
    }

    /// How far it has scanned.
    pub(crate) fn offset(&self) -> u64 {
        self.items.scanner.offset()
    }

    /// The next segment. Gives [`Next::End`] again and again at the end.
    /// `None` now and then, so that the caller can look whether to stop.
    pub(crate) fn next(&mut self) -> Result<Option<Next>, Fault> {
        match self.state {
            State::Scan => match self.items.step()? {
                Step::Unfit => return Ok(Some(Next::Unfit)),
                Step::Piece => {
                    self.planner.begin_piece(&self.items);
                    self.state = State::Piece;
                }
                Step::End { body_end, end } => self.state = State::Last { body_end, end },
            },
            State::Piece => {
                if let Some(plan) = self.planner.next_cut(&mut self.items) {
                    return self.cut(plan).map(Some);
                }
                self.planner.end_piece(&self.items);
                let scanned = self.items.scanner.offset();
                self.items.trace.seal(self.source, scanned)?;
                self.state = State::Scan;
            }
            State::Last { body_end, end } => {
                self.state = State::End { end };
                if let Some(plan) = self.planner.last_cut(&mut self.items, body_end) {
                    let refs = self.items.trace.finish(self.prefix_memo);
                    return Ok(Some(self.job(plan, refs)));
                }
            }
            State::End { end } => {
                return Ok(Some(Next::End { items: self.planner.items(), end }));
            }
        }
        Ok(None)
    }

    fn cut(&mut self, plan: Plan) -> Result<Next, Fault> {
        let (cut, first) = (plan.to.offset, plan.to.memo);
        let refs = self.items.trace.cut(self.source, self.prefix_memo, cut, first)?;
        Ok(self.job(plan, refs))
    }

    fn job(&mut self, plan: Plan, refs: Refs) -> Next {
        let ids = self.items.container_ids.get(self.told_ids..).unwrap_or_default();
        let container_ids = ids.to_vec();
        self.told_ids += ids.len();
        let checkpoints = self.planner.take_checkpoints();
        Next::Segment(Box::new(Job { plan, refs, checkpoints, container_ids }))
    }
}
