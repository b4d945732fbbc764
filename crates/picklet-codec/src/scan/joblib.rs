//! Arrays' bytes that joblib keeps between the opcodes of a pickle.
//!
//! `joblib.load` passes them, and puts an array in the place of the wrapper that describes it;
//! `pickle.load` takes them for opcodes. Both are followed.

use std::io;

use super::finding::{Rule, Severity};
use super::globals::Maker;
use super::notes::Said;
use super::source::read_full;
use super::sym::{Sort, Sym};
use super::tracer::{Ran, Tracer};
use super::{Scan, TRIED_PER_BYTE};
use crate::error::{Error, ErrorKind};
use crate::limits::Limits;
use crate::opcode::Effect;
use crate::policy::{Facts, Subject as _};
use crate::reader::Reader;

/// Data of joblib's that stand between two opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// A byte says how many bytes of padding follow it.
    pub(super) padded: bool,
    /// How many bytes of data, or a pickle of its own.
    pub(super) bytes: Option<u64>,
}

/// Opcodes after which an array's bytes are followed as opcodes.
const FEW_OPCODES: usize = 16;

impl Scan<'_> {
    /// Passes what joblib keeps behind `at`; gives where the opcodes go on, or how it failed.
    pub(super) fn pass_raw(
        &mut self,
        at: u64,
        raw: Raw,
        budget: &mut u64,
    ) -> io::Result<Result<u64, Ran>> {
        self.plain_reading(at, raw)?;
        let len = self.source().len();
        let mut start = at;
        if raw.padded {
            let mut padding = [0];
            read_full(self.source(), at, &mut padding)?;
            start += 1 + u64::from(padding[0]);
        }
        let Some(bytes) = raw.bytes else {
            // Objects: a pickle of its own, with a memo of its own, for which joblib asks pickle
            // and not itself.
            let aside = self.tracer.set_aside();
            self.tracer.plain = true;
            let ran = self.pickle(start, budget)?;
            self.tracer.resume(aside);
            self.tracer.array_was_read();
            return Ok(match ran {
                Ran::Stopped(end) => Ok(end),
                other => Err(other),
            });
        };
        let left = len.saturating_sub(start);
        if bytes > left {
            let kind = ErrorKind::Truncated { needed: bytes, left };
            return Ok(Err(Ran::Failed(Error::new(kind, at, None))));
        }
        self.tracer.array_was_read();
        Ok(Ok(start + bytes))
    }

    /// Runs what stands behind one of joblib's wrappers as `pickle.load` does, to which an array's
    /// bytes are opcodes. Few are that for long; what they would do is reported.
    ///
    /// An array of objects is a pickle of its own, which refers to entries of its own memo. Read with
    /// the memo of the one around it, every honest one soon takes one object for another, and fails:
    /// so that reading ends where Python's would ([`Tracer::confused`]).
    fn plain_reading(&mut self, at: u64, raw: Raw) -> io::Result<()> {
        if !self.may_be_opcodes(at)? {
            return Ok(());
        }
        let cap = self.source().len().saturating_mul(TRIED_PER_BYTE).saturating_add(1 << 22);
        self.plain_cost += self.tracer.size();
        let aside = self.tracer.set_aside();
        let mut left = cap.saturating_sub(self.plain_cost);
        let before = left;
        let known = self.tracer.report.findings.len();
        let mut tired = left == 0;
        if !tired {
            let known = self.tracer.copy(&aside);
            self.tracer.plain = true;
            self.tracer.confused = raw.bytes.is_none();
            let mut ran = self.opcodes(at, &mut left)?;
            // Who loads all pickles of the file goes on behind the first one's STOP.
            while let Ran::Stopped(end) = ran {
                self.tracer.memo.clear();
                self.tracer.confused = false;
                ran = self.pickle(end, &mut left)?;
            }
            tired = matches!(ran, Ran::Tired | Ran::More(_));
            self.tracer.forget(known);
            self.tracer.confused = false;
            self.plain_cost += before - left;
        }
        self.tracer.resume(aside);
        let worst = self.tracer.report.findings.get(known..).unwrap_or_default();
        let worst = worst.iter().map(|finding| finding.severity).max();
        if let Some(worst) = worst {
            self.tracer.add(
                Rule::HiddenPickle,
                worst,
                Said {
                    offset: at,
                    reason:
                        "joblib takes the bytes from here on for an array, pickle.load takes them \
                         for opcodes and does what they say"
                            .into(),
                    ..Said::default()
                },
            );
        }
        if tired {
            self.tracer.add(
                Rule::UnscannedMember,
                Severity::Suspicious,
                Said {
                    offset: at,
                    reason:
                        "pickle.load would take an array's bytes from here on for opcodes; they \
                         were too many to follow"
                            .into(),
                    ..Said::default()
                },
            );
        }
        Ok(())
    }

    /// Whether more than a few opcodes can be read from `at` on, or one that does something, or a
    /// whole pickle: who loads all pickles of the file goes on behind its STOP.
    fn may_be_opcodes(&self, at: u64) -> io::Result<bool> {
        let mut bytes = [0; 256];
        let read = read_full(self.source(), at, &mut bytes)?;
        let limits = Limits::default();
        let bytes = bytes.get(..read).unwrap_or_default();
        let mut reader = Reader::with_limits(bytes, limits).part_of_a_stream(0);
        for _ in 0..FEW_OPCODES {
            match reader.next_op() {
                Ok(Some(op)) if op.opcode.info().effect == Effect::Pure => {}
                Ok(Some(_) | None) => return Ok(true),
                Err(error) => return Ok(error.is_truncation() && read == 256),
            }
        }
        Ok(true)
    }
}

impl Tracer<'_> {
    /// What joblib's loader reads from the file behind the BUILD of one of its wrappers; an error
    /// if that is not known.
    pub(super) fn joblib_data(&self, target: Sym, state: Sym) -> Option<Result<Raw, ()>> {
        let maker = target.maker().and_then(|number| self.known.globals.made_by(number))?;
        if self.plain || !maker.name.ends_with("joblib.numpy_pickle.NumpyArrayWrapper") {
            return None;
        }
        Some(self.joblib_array(state).ok_or(()))
    }

    fn joblib_array(&self, state: Sym) -> Option<Raw> {
        let (mut padded, mut shape, mut dtype) = (false, None, None);
        for pair in self.known.contents.items(&self.known.ring, state)?.chunks(2) {
            let [key, value] = pair else { continue };
            match self.known.text(*key)?.as_str() {
                "numpy_array_alignment_bytes" => padded = !value.is(Sort::None),
                "shape" => shape = Some(*value),
                "dtype" => dtype = Some(*value),
                _ => {}
            }
        }
        let Facts::Dtype(dtype) = self.known.view(dtype?).facts() else { return None };
        if dtype.has_object {
            return Some(Raw { padded: false, bytes: None });
        }
        let mut bytes = dtype.itemsize;
        for side in self.known.tuple_items(shape?)? {
            bytes = bytes.checked_mul(u64::try_from(self.known.view(side).int()?).ok()?)?;
        }
        Some(Raw { padded, bytes: Some(bytes) })
    }

    /// joblib put the array in its wrapper's place.
    pub(super) fn array_was_read(&mut self) {
        let class = self.policy.rule("numpy", "ndarray");
        let maker =
            Maker { name: "numpy.ndarray".into(), class, gives: None, danger: None, global: None };
        let array = self.known.globals.maker(maker).map_or(Sym::UNKNOWN, |n| Sym::made(n, 0));
        if let Some(top) = self.top_mut() {
            *top = array;
        }
    }
}
