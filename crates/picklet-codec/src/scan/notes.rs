//! What the machine notes down while it runs: findings, and frames that do not fit its opcodes.

use super::finding::{Finding, MAX_FINDINGS, Rule, Severity};
use super::tracer::Tracer;
use crate::opcode::Opcode;

/// Findings of one sort that are listed one by one; of further ones only the number is kept.
const EACH: u64 = 8;

/// What a finding says beside its rule.
#[derive(Default)]
pub(super) struct Said {
    pub(super) offset: u64,
    pub(super) opcode: Option<Opcode>,
    pub(super) callable: Option<String>,
    pub(super) arguments: Option<String>,
    pub(super) reason: String,
}

impl Tracer<'_> {
    /// Adds a finding, or counts it where the like of it is listed often enough.
    #[cold]
    #[inline(never)]
    pub(super) fn add(&mut self, rule: Rule, severity: Severity, said: Said) {
        let severity = if self.policy.is_strict() { Severity::Dangerous } else { severity };
        let key = (rule, said.callable.clone());
        let (listed, last) = self.alike.get(&key).copied().unwrap_or_default();
        if listed > 0
            && let Some(finding) = self.report.findings.get_mut(last)
            && (finding.arguments == said.arguments || listed >= EACH)
        {
            finding.times += 1;
            return;
        }
        if self.report.findings.len() >= MAX_FINDINGS {
            self.report.more_findings += 1;
            return;
        }
        self.alike.insert(key, (listed + 1, self.report.findings.len()));
        self.report.findings.push(Finding {
            rule,
            severity,
            offset: said.offset,
            opcode: said.opcode,
            pickle: self.pickle,
            callable: said.callable,
            arguments: said.arguments,
            reason: said.reason,
            times: 1,
        });
    }

    /// Adds a finding about the opcode at hand.
    pub(super) fn add_here(
        &mut self,
        rule: Rule,
        severity: Severity,
        callable: Option<String>,
        arguments: Option<String>,
        reason: String,
    ) {
        let (offset, opcode) = (self.offset, Some(self.opcode));
        self.add(rule, severity, Said { offset, opcode, callable, arguments, reason });
    }

    pub(super) fn bomb(&mut self, reason: String) {
        let offset = self.offset;
        self.add(Rule::Bomb, Severity::Suspicious, Said { offset, reason, ..Said::default() });
    }

    /// The opcode from `offset` to `end` reaches past the open frame.
    #[cold]
    #[inline(never)]
    pub(super) fn past_frame(&mut self, offset: u64, end: u64) {
        let frame_end = std::mem::replace(&mut self.frame_end, u64::MAX);
        if offset < frame_end {
            self.add(Rule::BadFrame, Severity::Suspicious, Said {
                offset,
                reason: format!(
                    "a frame ends at byte {frame_end}, within an opcode that ends at byte {end}: \
                     readers that keep to frames see another pickle than those that do not"
                ),
                ..Said::default()
            });
        }
    }

    /// STOP was met, and ends at `end`.
    pub(super) fn stopped(&mut self, end: u64) {
        self.read_past_frame();
        if self.frame_end != u64::MAX && self.frame_end != end {
            let frame_end = self.frame_end;
            self.add(Rule::BadFrame, Severity::Suspicious, Said {
                offset: end - 1,
                reason: format!(
                    "the pickle ends at byte {end}, but its last frame at byte {frame_end}: what \
                     lies between is seen by some readers as the next pickle and by others not \
                     at all"
                ),
                ..Said::default()
            });
        }
    }

    /// A pickle that goes on to its STOP although a frame of it does not: no file that was cut off.
    fn read_past_frame(&mut self) {
        let Some((offset, length)) = self.long_frame.take() else { return };
        self.add(Rule::BadFrame, Severity::Suspicious, Said {
            offset,
            reason: format!(
                "a frame of {length} bytes reaches past the end of the data: C's unpickler refuses \
                 it, others read on"
            ),
            ..Said::default()
        });
    }

    /// FRAME, of which `end` is not known yet: it is nine bytes.
    #[cold]
    #[inline(never)]
    pub(super) fn frame(&mut self, offset: u64, length: u64) {
        let begin = offset + 9;
        let end = begin.saturating_add(length);
        if self.frame_end != u64::MAX && offset < self.frame_end {
            let outer = self.frame_end;
            self.add(Rule::BadFrame, Severity::Suspicious, Said {
                offset,
                reason: format!(
                    "a frame begins within another that ends at byte {outer}: readers that keep \
                     to frames refuse it or see another pickle"
                ),
                ..Said::default()
            });
        }
        if end > self.known.source.len() {
            self.long_frame.get_or_insert((offset, length));
        }
        self.frame_end = end.max(begin);
    }
}
