//! The scanner: what a pickle would import, call and change, found out without doing any of it.
//!
//! [`scan`] runs every pickle of a [`Source`] on symbols: the stack, the marks, the memo, frames,
//! DUP and POP as Python has them, so that a name that is put together through the memo is seen
//! as what it is. What it imports, calls and changes is judged by a [`Policy`]: what the policy
//! does not list is a [`Finding`], whatever it is called. A table of names that are known to be
//! dangerous makes the words sharper and nothing else.
//!
//! * Everything that ran before an error is reported, and an error never gives a clean verdict.
//! * What stands before, between and behind pickles, and bytes in them, is searched for pickles.
//! * Where readers disagree (frames, a memo kept from one pickle to the next) is a finding.
//! * Memory does not grow with the source: a window of it, a few MiB of memo, and 8 bytes for each
//!   object that is open at one time. Time is linear in the source.
//!
//! Nothing here imports, calls or opens anything; files and containers are the callers' business.
//!
//! ```
//! use picklet_codec::policy::Policy;
//! use picklet_codec::scan::{Options, Rule, Verdict, scan};
//!
//! let report = scan(&b"cos\nsystem\n(S'id'\ntR."[..], &Policy::data(), &Options::default())?;
//! assert_eq!(report.verdict(), Verdict::Dangerous);
//! let call = report.findings.iter().find(|finding| finding.rule == Rule::DangerousCall).unwrap();
//! assert_eq!((call.callable.as_deref(), call.arguments.as_deref()), (Some("os.system"), Some("(b'id')")));
//! # Ok::<(), std::io::Error>(())
//! ```

mod danger;
mod effects;
mod finding;
mod globals;
mod joblib;
mod memo;
mod notes;
mod search;
mod source;
mod sym;
mod tracer;
mod view;

use std::cell::Cell;
use std::io;

use crate::arg::{Arg, ArgExtent};
use crate::error::{Error, ErrorKind};
use crate::opcode::Opcode;
use crate::policy::Policy;
use crate::str::PickleStr;

pub use finding::{Damage, Finding, Import, MAX_FINDINGS, Report, Rule, Severity, Verdict};
pub use source::Source;

use notes::Said;
use source::read_full;
use tracer::{Inner, Ran, Tracer};
use view::Known;

/// How a scan is done. Start from [`Options::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Persistent ids are a part of the format at hand, and no finding (torch's containers).
    pub persistent_ids: bool,
    /// How deep pickles in the bytes of pickles are looked at.
    pub inner_depth: u32,
    /// Objects that a pickle may keep on its stack at one time: 8 bytes each.
    pub stack_items: u64,
    /// Bytes behind a pickle are expected (a container that keeps raw data there), and no
    /// finding by themselves; they are searched all the same.
    pub trailing_data: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { persistent_ids: false, inner_depth: 2, stack_items: 1 << 26, trailing_data: false }
    }
}

/// What a global does that is known to run code or to lead there, as the end of the sentence
/// "it …"; none for all others, which is no praise of them.
pub fn known_danger(module: &str, name: &str) -> Option<&'static str> {
    danger::known(module, name)
}

/// Bytes of the source in memory at one time.
const WINDOW: usize = 1 << 18;

/// Bytes of one text line that are read as a whole.
const LONGEST_LINE: usize = 64 << 20;

/// Opcodes of a candidate that the search runs before it is taken for what it seems.
const TRIED: u64 = 1 << 14;

/// Scans every pickle of `source`, from its first byte on.
///
/// The report's offsets count from the source's first byte. A source that holds no pickle at all
/// is damaged at byte 0.
///
/// # Errors
/// Those of the source. A pickle that cannot be read is no error but a part of the report.
pub fn scan<S: Source + ?Sized>(
    source: &S,
    policy: &Policy,
    options: &Options,
) -> io::Result<Report> {
    // A reference to any source is one, so that what is behind needs to be compiled once.
    scan_dyn(&ByRef(source), policy, options)
}

struct ByRef<'s, S: ?Sized>(&'s S);

impl<S: Source + ?Sized> Source for ByRef<'_, S> {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        self.0.as_slice()
    }
}

fn scan_dyn(source: &dyn Source, policy: &Policy, options: &Options) -> io::Result<Report> {
    let mut scan = Scan::new(source, policy, options);
    scan.stream()?;
    let mut report = scan.tracer.report;
    report.imports = scan.tracer.known.globals.into_imports();
    report.findings.sort_by_key(|finding| finding.offset);
    Ok(report)
}

/// What the beginning of some bytes looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A pickle that can be read to its STOP, which is not the whole of what was looked at when
    /// more follows; or one so long that it was not read to its end.
    Pickle,
    /// The beginning of a pickle: it says so (PROTO), imports something, or goes on for many
    /// opcodes before it fails.
    Broken,
    /// Something else.
    Else,
}

/// What `source` begins with, found out by running a few thousand opcodes of it.
///
/// # Errors
/// Those of the source.
pub fn look<S: Source + ?Sized>(source: &S) -> io::Result<Look> {
    let source = ByRef(source);
    let (policy, options) = (Policy::data(), Options::default());
    let mut scan = Scan::new(&source, &policy, &options);
    let mut head = [0; 3];
    let read = read_full(&source, 0, &mut head)?;
    let mut budget = TRIED;
    Ok(match scan.pickle(0, &mut budget)? {
        // Nearly any two letters are a pickle of nothing.
        Ran::Stopped(end) if end > 4 || end == source.len() => Look::Pickle,
        Ran::Tired => Look::Pickle,
        _ if read == 3 && matches!(head, [0x80, 0..=5, _]) => Look::Broken,
        _ if !scan.tracer.is_text() || TRIED - budget > 64 => Look::Broken,
        _ => Look::Else,
    })
}

struct Scan<'s> {
    tracer: Tracer<'s>,
    window: Vec<u8>,
    /// Opcodes that the search has run.
    tried: u64,
    /// What reading joblib's data as opcodes has cost.
    plain_cost: u64,
}

impl<'s> Scan<'s> {
    fn new(source: &'s dyn Source, policy: &'s Policy, options: &'s Options) -> Scan<'s> {
        Scan {
            tracer: Tracer::new(Known::new(source), policy, options),
            window: Vec::new(),
            tried: 0,
            plain_cost: 0,
        }
    }

    fn source(&self) -> &dyn Source {
        self.tracer.known.source
    }

    /// All pickles of the source, one after another.
    fn stream(&mut self) -> io::Result<()> {
        let len = self.source().len();
        let mut at = 0;
        if len == 0 {
            self.damage(0, "it is empty: there is no pickle in it".into());
        }
        while at < len {
            match self.whole_pickle(at)? {
                Ran::Stopped(end) => {
                    self.tracer.report.pickles += 1;
                    self.inner_pickles()?;
                    if end < len && self.tracer.memo.add_all_to(&mut self.tracer.earlier).is_err() {
                        self.tracer.earlier.clear();
                    }
                    at = end;
                }
                Ran::Failed(error) if at == 0 || self.is_a_pickle(at)? => {
                    let offset = error.offset().unwrap_or(at);
                    if at == 0 && self.tracer.sentences > 0 && self.tracer.is_text() {
                        self.tracer.report.findings.retain(|finding| finding.callable.is_none());
                        self.tracer.alike.clear();
                        self.tracer.known.globals.roll_back(&[]);
                    }
                    self.inner_pickles()?;
                    let (text, frame) = (error.kind().to_string(), error.opcode());
                    let what = match frame {
                        Some(opcode) => format!("{opcode}: {text}"),
                        None => text,
                    };
                    self.damage(offset, what);
                    // What stands behind the error may be another pickle.
                    let found = self.hidden(at + 1, len, at == 0)?;
                    let _ = found;
                    return Ok(());
                }
                Ran::Failed(_) | Ran::More(_) | Ran::Tired | Ran::Raw(..) => {
                    return self.behind(at, len);
                }
            }
        }
        Ok(())
    }

    /// Whether what failed at `at`, behind a pickle, was meant to be one.
    fn is_a_pickle(&self, at: u64) -> io::Result<bool> {
        let mut head = [0; 2];
        let read = read_full(self.source(), at, &mut head)?;
        let proto = read == 2 && matches!(head, [0x80, 0..=5]);
        Ok(proto || !self.tracer.is_text())
    }

    /// What stands behind the last pickle and is none.
    fn behind(&mut self, at: u64, len: u64) -> io::Result<()> {
        if self.is_padding(at, len)? {
            return Ok(());
        }
        self.hidden(at, len, false)?;
        if !self.tracer.options.trailing_data {
            self.tracer.add(Rule::ForeignData, Severity::Suspicious, Said {
                offset: at,
                reason: format!(
                    "{} bytes stand behind the pickle and belong to none: a loader ignores them, \
                     another program may not",
                    len - at
                ),
                ..Said::default()
            });
        }
        Ok(())
    }

    /// Whether there are only blanks or zeros, and few of them.
    fn is_padding(&self, at: u64, len: u64) -> io::Result<bool> {
        let mut bytes = [0; 512];
        if len - at > bytes.len() as u64 {
            return Ok(false);
        }
        let read = read_full(self.source(), at, &mut bytes)?;
        let blank = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n');
        Ok(bytes.get(..read).unwrap_or_default().iter().all(blank))
    }

    /// Searches a stretch for pickles; what is found is scanned and reported.
    fn hidden(&mut self, start: u64, end: u64, in_damaged: bool) -> io::Result<u64> {
        let mut hits = Vec::new();
        let source = self.tracer.known.source;
        let mut until = end;
        let cap = (end - start).saturating_mul(TRIED_PER_BYTE).saturating_add(1 << 20);
        {
            let mut probe = Scan::new(source, self.tracer.policy, self.tracer.options);
            let mut failed = None;
            search::candidates(source, start, end, |at| {
                if probe.tried > cap {
                    until = at;
                    return None;
                }
                match probe.try_at(at) {
                    Ok(Some(next)) => {
                        hits.push(at);
                        if hits.len() >= MAX_HIDDEN {
                            until = next;
                            return None;
                        }
                        Some(next)
                    }
                    Ok(None) => Some(at + 1),
                    Err(error) => {
                        failed = Some(error);
                        None
                    }
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        for at in &hits {
            let before = self.tracer.report.findings.len();
            self.whole_pickle(*at)?;
            let worst = self.tracer.report.findings.get(before..).unwrap_or_default();
            let worst = worst.iter().map(|finding| finding.severity).max();
            let place =
                if in_damaged { "behind bytes that are no pickle" } else { "behind a pickle" };
            self.tracer.add(Rule::HiddenPickle, worst.unwrap_or(Severity::Suspicious), Said {
                offset: *at,
                reason: format!(
                    "a pickle begins at byte {at}, {place}, where a loader that begins at the file's \
                     first byte does not look"
                ),
                ..Said::default()
            });
        }
        if until < end {
            self.tracer.add(Rule::UnscannedMember, Severity::Suspicious, Said {
                offset: until,
                reason: format!(
                    "{} bytes from byte {until} on were not searched for pickles: there were too \
                     many before",
                    end - until
                ),
                ..Said::default()
            });
        }
        Ok(hits.len() as u64)
    }

    /// Whether a pickle begins at `at`, and if so, where it ends as far as it was read.
    fn try_at(&mut self, at: u64) -> io::Result<Option<u64>> {
        self.tracer.memo.clear();
        self.tracer.report = Report::default();
        self.tracer.alike.clear();
        let mut budget = TRIED;
        let first: u8 = {
            let mut head = [0; 1];
            read_full(self.source(), at, &mut head)?;
            head[0]
        };
        let ran = self.pickle(at, &mut budget)?;
        self.tried += TRIED - budget;
        Ok(match ran {
            Ran::Stopped(end) => {
                let said = first == 0x80 && TRIED - budget > 2;
                (said || self.tracer.effects > 0).then_some(end)
            }
            Ran::Tired => Some(at + 1),
            // What is cut off may have run by then.
            Ran::Failed(error) => {
                (self.tracer.effects > 1).then(|| error.offset().unwrap_or(at).max(at + 1))
            }
            Ran::More(_) | Ran::Raw(..) => None,
        })
    }

    fn damage(&mut self, offset: u64, what: String) {
        let damage = &mut self.tracer.report.damage;
        if damage.is_none() {
            *damage = Some(Damage { offset, what });
        }
    }

    /// The pickle at `at`, again if the memo turns out to have forgotten something that matters.
    fn whole_pickle(&mut self, at: u64) -> io::Result<Ran> {
        self.tracer.memo.clear();
        self.tracer.memo.forget_wanted();
        let findings = self.tracer.report.findings.clone();
        let more = self.tracer.report.more_findings;
        let alike = self.tracer.alike.clone();
        let globals = self.tracer.known.globals.checkpoint();
        let looks = self.tracer.known.looks();
        let mut passes = 0;
        loop {
            let mut budget = u64::MAX;
            let ran = self.pickle(at, &mut budget)?;
            passes += 1;
            if self.tracer.known.looks() == 0 {
                self.tired(at, "to look at its values again and again");
                return Ok(ran);
            }
            let missed = !self.tracer.memo.missed.is_empty();
            if missed && passes == MAX_PASSES {
                self.tired(at, "to read it again and again for what it refers to");
                return Ok(ran);
            }
            if !missed || !self.tracer.memo.again() {
                return Ok(ran);
            }
            // Each pass looks at the same values.
            self.tracer.known.look_again(looks);
            self.tracer.report.findings.clone_from(&findings);
            self.tracer.report.more_findings = more;
            self.tracer.alike.clone_from(&alike);
            self.tracer.known.globals.roll_back(&globals);
        }
    }

    /// More work than the length of the pickle accounts for.
    fn tired(&mut self, offset: u64, what: &str) {
        self.tracer.add(
            Rule::Bomb,
            Severity::Suspicious,
            Said {
                offset,
                reason: format!("to judge it one would have {what}: nothing honest needs that"),
                ..Said::default()
            },
        );
    }

    /// One pickle, of at most `budget` opcodes.
    fn pickle(&mut self, at: u64, budget: &mut u64) -> io::Result<Ran> {
        self.tracer.begin(at);
        self.opcodes(at, budget)
    }

    /// The opcodes from `base` on, with what is on the stack.
    fn opcodes(&mut self, mut base: u64, budget: &mut u64) -> io::Result<Ran> {
        // The search runs many that are none.
        let trial = *budget <= TRIED;
        let mut size = if trial { 1 << 12 } else { WINDOW };
        loop {
            let ran = match self.tracer.known.source.as_slice() {
                Some(all) => {
                    let from = usize::try_from(base).ok().and_then(|base| all.get(base..));
                    self.tracer.run(from.unwrap_or_default(), base, true, budget)
                }
                None => self.stretch(base, size, budget)?,
            };
            let next = match ran {
                Ran::More(next) => {
                    if self.tracer.is_full_of_inner() {
                        if trial {
                            self.tracer.inner.clear();
                        } else {
                            self.inner_pickles()?;
                        }
                    }
                    next
                }
                Ran::Raw(end, raw) => match self.pass_raw(end, raw, budget)? {
                    Ok(next) => {
                        base = next;
                        continue;
                    }
                    Err(ran) => return Ok(ran),
                },
                ended => return Ok(ended),
            };
            if next > base {
                base = next;
                size = size.min(WINDOW);
                continue;
            }
            // One opcode fills the window.
            match self.large(base)? {
                Large::Passed(end) => base = end,
                Large::Failed(error) => return Ok(Ran::Failed(error)),
                Large::Line if trial && size > 1 << 16 => return Ok(Ran::More(base)),
                Large::Line if size < LONGEST_LINE => size = (size * 4).max(WINDOW),
                Large::Line => return Ok(self.endless_line(base)),
            }
        }
    }

    /// Runs what a window of `size` bytes from `base` holds.
    fn stretch(&mut self, base: u64, size: usize, budget: &mut u64) -> io::Result<Ran> {
        let len = self.source().len();
        let want = usize::try_from(len.saturating_sub(base)).unwrap_or(usize::MAX).min(size);
        let mut window = std::mem::take(&mut self.window);
        window.resize(want, 0);
        let read = read_full(self.tracer.known.source, base, &mut window)?;
        window.truncate(read);
        let last = base + read as u64 >= len || read < want;
        let ran = self.tracer.run(&window, base, last, budget);
        self.window = window;
        Ok(ran)
    }

    fn endless_line(&mut self, offset: u64) -> Ran {
        self.tracer.add(
            Rule::Bomb,
            Severity::Suspicious,
            Said {
                offset,
                reason: format!("one line of text is longer than {LONGEST_LINE} bytes"),
                ..Said::default()
            },
        );
        let kind = ErrorKind::Limit { limit: "argument_bytes", cap: LONGEST_LINE as u64 };
        Ran::Failed(Error::new(kind, offset, None))
    }

    /// Reads past the opcode at `offset`, whose argument does not fit the window.
    fn large(&mut self, offset: u64) -> io::Result<Large> {
        let mut head = [0; 9];
        let source = self.tracer.known.source;
        let read = read_full(source, offset, &mut head)?;
        let Some(opcode) = head.first().and_then(|byte| Opcode::from_byte(*byte)) else {
            return Ok(Large::Line);
        };
        let ArgExtent::Counted(field) = opcode.info().arg.extent() else { return Ok(Large::Line) };
        let field = usize::from(field);
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(head.get(1..1 + field).unwrap_or_default()) {
            *to = *from;
        }
        let length = u64::from_le_bytes(word);
        let start = offset + 1 + field as u64;
        let left = source.len().saturating_sub(start);
        let fail = |kind| Ok(Large::Failed(Error::new(kind, offset, Some(opcode))));
        let signed = matches!(opcode, Opcode::Long4 | Opcode::BinString);
        if signed && length > i32::MAX as u64 {
            return fail(ErrorKind::NegativeLength(length as u32 as i32 as i64));
        }
        if read < 1 + field || length > left {
            return fail(ErrorKind::Truncated { needed: length, left });
        }
        let text =
            matches!(opcode, Opcode::ShortBinUnicode | Opcode::BinUnicode | Opcode::BinUnicode8);
        if text && !is_utf8(source, start, length)? {
            return fail(ErrorKind::BadUtf8);
        }
        let mut begin = [0; 512];
        let read = read_full(source, start, &mut begin)?;
        let begin = begin.get(..read).unwrap_or_default();
        let arg = match opcode {
            _ if text => Arg::Str(PickleStr::from("")),
            Opcode::Long4 | Opcode::Long1 => Arg::BigInt(&[]),
            _ => Arg::Bytes(&[]),
        };
        if !text && search::begins_like_a_pickle(begin) {
            self.tracer.note_large(start, length);
        }
        let end = start + length;
        Ok(match self.tracer.large(opcode, arg, offset, end) {
            Ok(()) => Large::Passed(end),
            Err(error) => Large::Failed(error),
        })
    }

    /// Scans bytes that may be a pickle, which the source holds now; `None` when they are none.
    fn inner_pickle(&mut self) -> io::Result<Option<Report>> {
        self.tracer.report = Report::default();
        self.tracer.alike.clear();
        if self.tracer.known.globals.len() > MANY_GLOBALS {
            self.tracer.known = Known::new(self.tracer.known.source);
        }
        self.tracer.known.another_part();
        match self.whole_pickle(0)? {
            Ran::Stopped(_) => {}
            _ if self.tracer.effects > 1 => {}
            _ => return Ok(None),
        }
        self.inner_pickles()?;
        Ok(Some(std::mem::take(&mut self.tracer.report)))
    }

    /// The pickles in the bytes of the pickle that was run last.
    fn inner_pickles(&mut self) -> io::Result<()> {
        let mut options = self.tracer.options.clone();
        let Some(depth) = options.inner_depth.checked_sub(1) else { return Ok(()) };
        options.inner_depth = depth;
        let inner = std::mem::take(&mut self.tracer.inner);
        if inner.is_empty() {
            return Ok(());
        }
        // One scan for all of them: what it makes room for costs more than a small pickle.
        let part =
            Part { source: self.tracer.known.source, start: Cell::new(0), len: Cell::new(0) };
        let mut within = Scan::new(&part, self.tracer.policy, &options);
        for Inner { start, len } in inner {
            part.start.set(start);
            part.len.set(len);
            let Some(report) = within.inner_pickle()? else { continue };
            let worst = report.findings.iter().map(|finding| finding.severity).max();
            let Some(worst) = worst else { continue };
            self.tracer.add(
                Rule::HiddenPickle,
                worst,
                Said {
                    offset: start,
                    reason: format!(
                        "bytes from byte {start} to {} are a pickle themselves: what follows would \
                     happen when somebody loads that",
                        start + len
                    ),
                    ..Said::default()
                },
            );
            for mut finding in report.findings {
                finding.offset += start;
                finding.pickle += start;
                if self.tracer.report.findings.len() < MAX_FINDINGS {
                    self.tracer.report.findings.push(finding);
                } else {
                    self.tracer.report.more_findings += 1;
                }
            }
        }
        Ok(())
    }
}

/// Opcodes that a search may run for each byte that it searches.
const TRIED_PER_BYTE: u64 = 4;

/// Hidden pickles that one search reports.
const MAX_HIDDEN: usize = 100;

/// Times that a pickle is read, because it referred to what had been forgotten.
const MAX_PASSES: usize = 9;

/// Globals that are kept from one pickle in bytes to the next.
const MANY_GLOBALS: usize = 1024;

enum Large {
    Passed(u64),
    Failed(Error),
    Line,
}

/// A stretch of a source.
struct Part<'s> {
    source: &'s dyn Source,
    start: Cell<u64>,
    len: Cell<u64>,
}

impl Source for Part<'_> {
    fn len(&self) -> u64 {
        self.len.get()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.get().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        match buffer.get_mut(..count) {
            Some(buffer) => self.source.read_at(self.start.get() + offset, buffer),
            None => Ok(0),
        }
    }

    fn as_slice(&self) -> Option<&[u8]> {
        let all = self.source.as_slice()?;
        let start = usize::try_from(self.start.get()).ok()?;
        all.get(start..start.checked_add(usize::try_from(self.len.get()).ok()?)?)
    }
}

/// Whether a stretch is UTF-8, surrogates passed through; read block by block.
fn is_utf8(source: &dyn Source, start: u64, len: u64) -> io::Result<bool> {
    let mut block = vec![0; WINDOW];
    let (mut at, end, mut kept) = (start, start + len, 0);
    while at < end {
        let room = usize::try_from(end - at).unwrap_or(usize::MAX).min(WINDOW - kept);
        let read = read_full(source, at, block.get_mut(kept..kept + room).unwrap_or_default())?;
        if read == 0 {
            return Ok(false);
        }
        at += read as u64;
        let filled = block.get(..kept + read).unwrap_or_default();
        // A letter that is cut in two waits for the next block.
        let tail = filled.iter().rev().take(4).position(|byte| *byte & 0xc0 != 0x80);
        let cut = match tail {
            Some(back) if at < end && filled.len() > 4 => {
                let lead = filled.get(filled.len() - 1 - back).copied().unwrap_or(0);
                if lead >= 0xc0 { back + 1 } else { 0 }
            }
            _ => 0,
        };
        let (now, later) = filled.split_at(filled.len() - cut);
        if PickleStr::from_bytes(now).is_none() {
            return Ok(false);
        }
        kept = later.len();
        let from = filled.len() - kept;
        block.copy_within(from..from + kept, 0);
    }
    Ok(kept == 0)
}
