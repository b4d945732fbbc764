//! The symbolic machine: one pickle is run with [`Sym`]s for objects, and nothing happens.
//!
//! A loop of its own over the reader's opcodes, because [`crate::Driver`] keeps a memo that grows
//! with the file; a differential test holds it to the driver. What C's unpickler refuses for the
//! type of an operand is taken here as well, and reported where it calls something.

use super::Options;
use super::finding::{Report, Rule, Severity};
use super::globals::Told;
use super::joblib::Raw;
use super::memo::{Memo, TooScattered};
use super::notes::Said;
use super::sym::{Contents, Sort, Sym};
use super::view::Known;
use std::collections::HashMap;

use crate::arg::Arg;
use crate::error::{Error, ErrorKind};
use crate::opcode::Opcode;
use crate::policy::Policy;
use crate::reader::{Act, Reader};

/// Bytes in the pickle that may be a pickle themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inner {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// A pickle that waits for another one within it to end.
pub(super) struct Aside {
    stack: Vec<Sym>,
    marks: Vec<usize>,
    fence: usize,
    memo: Memo,
    pickle: u64,
    protocol: u8,
    frame_end: u64,
    inner: Vec<Inner>,
    plain: bool,
    effects: u64,
    sentences: u64,
}

/// What is known of objects, as it was.
pub(super) struct Before {
    contents: Contents,
    told: Told,
}

/// Inner pickles that wait to be looked at.
const MAX_INNER: usize = 1 << 12;

/// One scan of one source.
pub(super) struct Tracer<'s> {
    pub(super) policy: &'s Policy,
    pub(super) options: &'s Options,
    pub(super) known: Known<'s>,
    pub(super) memo: Memo,
    /// What the pickles before this one stored.
    pub(super) earlier: Memo,
    pub(super) report: Report,
    /// How many findings of one rule about one thing are listed, and where the last one is.
    pub(super) alike: HashMap<(Rule, Option<String>), (u64, usize)>,
    stack: Vec<Sym>,
    marks: Vec<usize>,
    fence: usize,
    /// Where the pickle begins, its protocol, and where its frame ends.
    pub(super) pickle: u64,
    pub(super) protocol: u8,
    pub(super) frame_end: u64,
    /// The first frame that does not end within the data: where it begins, and its length.
    pub(super) long_frame: Option<(u64, u64)>,
    pub(super) inner: Vec<Inner>,
    pub(super) raw: Option<Raw>,
    /// joblib's data are opcodes, as they are to `pickle.load`.
    pub(super) plain: bool,
    /// The pickle is read with another's memo, and ends where an object is used for what it cannot
    /// be: a text is called, a number is a module's name.
    pub(super) confused: bool,
    pub(super) offset: u64,
    pub(super) opcode: Opcode,
    /// Imports and calls so far: what tells a pickle from bytes that look like one.
    pub(super) effects: u64,
    /// Those of them that are imports of what no module is called: `lass Order(Item):`.
    pub(super) sentences: u64,
}

/// How a stretch of a pickle ended.
pub(super) enum Ran {
    /// At STOP, which ends here.
    Stopped(u64),
    /// At an opcode behind which joblib keeps data that are no opcodes; it ends here.
    Raw(u64, Raw),
    /// The opcode that begins here needs more bytes.
    More(u64),
    /// An error.
    Failed(Error),
    /// The budget is used up.
    Tired,
}

impl<'s> Tracer<'s> {
    pub(super) fn new(known: Known<'s>, policy: &'s Policy, options: &'s Options) -> Tracer<'s> {
        Tracer {
            policy,
            options,
            known,
            memo: Memo::new(),
            earlier: Memo::new(),
            report: Report::default(),
            alike: HashMap::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            fence: 0,
            pickle: 0,
            protocol: 0,
            frame_end: u64::MAX,
            long_frame: None,
            inner: Vec::new(),
            raw: None,
            plain: false,
            confused: false,
            offset: 0,
            opcode: Opcode::Stop,
            effects: 0,
            sentences: 0,
        }
    }

    /// Makes ready for the pickle at `offset`.
    pub(super) fn begin(&mut self, offset: u64) {
        self.stack.clear();
        self.marks.clear();
        self.fence = 0;
        self.pickle = offset;
        self.protocol = 0;
        self.known.contents.forget_old();
        self.known.contents.keep_old = true;
        self.frame_end = u64::MAX;
        self.long_frame = None;
        self.inner.clear();
        self.raw = None;
        self.effects = 0;
        self.sentences = 0;
    }

    /// Whether what ran so far, and then failed, is text: its first letters are opcodes by chance.
    pub(super) fn is_text(&self) -> bool {
        self.effects == self.sentences && (self.sentences == 0 || self.protocol == 0)
    }

    /// The state of the pickle at hand, which makes room for another one within it.
    pub(super) fn set_aside(&mut self) -> Aside {
        Aside {
            stack: std::mem::take(&mut self.stack),
            marks: std::mem::take(&mut self.marks),
            fence: self.fence,
            memo: std::mem::replace(&mut self.memo, Memo::new()),
            pickle: self.pickle,
            protocol: self.protocol,
            frame_end: self.frame_end,
            inner: std::mem::take(&mut self.inner),
            plain: self.plain,
            effects: std::mem::take(&mut self.effects),
            sentences: std::mem::take(&mut self.sentences),
        }
    }

    /// What trying another reading of the same pickle would cost: the objects that are copied.
    pub(super) fn size(&self) -> u64 {
        let globals = self.known.globals.len() as u64 + self.known.globals.told.size();
        self.stack.len() as u64 + self.memo.len() + self.known.contents.size() + globals
    }

    /// Goes on with a copy of what was set aside; gives what [`Tracer::forget`] needs.
    pub(super) fn copy(&mut self, aside: &Aside) -> Before {
        let before =
            Before { contents: self.known.contents.clone(), told: self.known.globals.told.clone() };
        self.stack.clone_from(&aside.stack);
        self.marks.clone_from(&aside.marks);
        self.fence = aside.fence;
        self.memo = aside.memo.clone();
        self.protocol = aside.protocol;
        self.frame_end = aside.frame_end;
        before
    }

    /// Forgets what another reading did to objects that this one has, too.
    pub(super) fn forget(&mut self, before: Before) {
        self.known.contents = before.contents;
        self.known.globals.told = before.told;
    }

    /// Goes on with what was set aside.
    pub(super) fn resume(&mut self, aside: Aside) {
        self.stack = aside.stack;
        self.marks = aside.marks;
        self.fence = aside.fence;
        self.memo = aside.memo;
        self.pickle = aside.pickle;
        self.protocol = aside.protocol;
        self.frame_end = aside.frame_end;
        self.inner.splice(0..0, aside.inner);
        self.plain = aside.plain;
        // What the other pickle did counts as well.
        self.effects += aside.effects;
        self.sentences += aside.sentences;
        self.known.contents.keep_old = self.protocol == 0;
        self.raw = None;
    }

    /// Runs the opcodes of `bytes`, which begin at `base`; at most `budget` of them.
    pub(super) fn run(&mut self, bytes: &[u8], base: u64, last: bool, budget: &mut u64) -> Ran {
        let limits = crate::Limits::default();
        let mut reader = Reader::with_limits(bytes, limits).part_of_a_stream(base);
        let mut left = *budget;
        let ran = loop {
            let offset = reader.offset();
            if left == 0 {
                break Ran::Tired;
            }
            left -= 1;
            let done = match reader.dispatch(Step { tracer: &mut *self, offset }) {
                Ok(Ok(done)) => done,
                Ok(Err(kind)) => {
                    let opcode = bytes
                        .get(usize::try_from(offset - base).unwrap_or(usize::MAX))
                        .and_then(|byte| Opcode::from_byte(*byte));
                    break Ran::Failed(Error::new(kind, offset, opcode));
                }
                Err(error) if !last && error.is_truncation() => {
                    left += 1;
                    break Ran::More(offset);
                }
                Err(error) => break Ran::Failed(error),
            };
            let end = reader.offset();
            if end > self.frame_end {
                self.past_frame(offset, end);
            }
            if done {
                if let Some(raw) = self.raw.take() {
                    break Ran::Raw(end, raw);
                }
                if self.is_full_of_inner() {
                    break Ran::More(end);
                }
                self.stopped(end);
                break Ran::Stopped(end);
            }
        };
        *budget = left;
        ran
    }

    /// An opcode that the caller read itself, because its argument is larger than the window;
    /// `arg` may hold only the beginning of it.
    pub(super) fn large(
        &mut self,
        opcode: Opcode,
        arg: Arg<'_>,
        offset: u64,
        end: u64,
    ) -> Result<(), Error> {
        self.step(opcode, arg, offset).map_err(|kind| Error::new(kind, offset, Some(opcode)))?;
        if end > self.frame_end {
            self.past_frame(offset, end);
        }
        Ok(())
    }

    #[inline(always)]
    fn step(&mut self, opcode: Opcode, arg: Arg<'_>, offset: u64) -> Result<bool, ErrorKind> {
        match opcode {
            Opcode::Stop => {
                self.take()?;
                return Ok(true);
            }
            Opcode::Proto => {
                self.protocol = index_of(arg) as u8;
                self.known.contents.keep_old = self.protocol == 0;
            }
            Opcode::Frame => {
                self.opcode = Opcode::Frame;
                self.frame(offset, index_of(arg));
            }
            Opcode::Mark => {
                self.fence = self.stack.len();
                if self.marks.len() as u64 >= self.options.stack_items {
                    return Err(self.too_deep());
                }
                self.marks.push(self.fence);
            }
            Opcode::None => self.push(Sym::NONE)?,
            Opcode::NewTrue => self.push(Sym::new(Sort::True, offset))?,
            Opcode::NewFalse => self.push(Sym::new(Sort::False, offset))?,
            Opcode::BinInt
            | Opcode::BinInt1
            | Opcode::BinInt2
            | Opcode::Long
            | Opcode::Long1
            | Opcode::Long4 => self.push(Sym::new(Sort::Int, offset))?,
            Opcode::Int => {
                let sort = match arg {
                    Arg::Bool(true) => Sort::True,
                    Arg::Bool(false) => Sort::False,
                    _ => Sort::Int,
                };
                self.push(Sym::new(sort, offset))?;
            }
            Opcode::Float | Opcode::BinFloat => self.push(Sym::new(Sort::Float, offset))?,
            Opcode::Unicode
            | Opcode::ShortBinUnicode
            | Opcode::BinUnicode
            | Opcode::BinUnicode8 => self.push(Sym::new(Sort::Str, offset))?,
            Opcode::String | Opcode::BinString | Opcode::ShortBinString => {
                self.push(Sym::new(Sort::OldStr, offset))?;
                return Ok(self.look_inside(opcode, arg, offset));
            }
            Opcode::BinBytes | Opcode::ShortBinBytes | Opcode::BinBytes8 => {
                self.push(Sym::new(Sort::Bytes, offset))?;
                return Ok(self.look_inside(opcode, arg, offset));
            }
            Opcode::ByteArray8 => {
                self.push(Sym::new(Sort::ByteArray, offset))?;
                return Ok(self.look_inside(opcode, arg, offset));
            }
            Opcode::EmptyTuple => self.push(Sym::EMPTY_TUPLE)?,
            Opcode::EmptyList => self.container(Sort::List, offset)?,
            Opcode::EmptyDict => self.container(Sort::Dict, offset)?,
            Opcode::EmptySet => self.container(Sort::Set, offset)?,
            Opcode::Tuple1 => self.tuple(1)?,
            Opcode::Tuple2 => self.tuple(2)?,
            Opcode::Tuple3 => self.tuple(3)?,
            Opcode::Tuple => {
                let from = self.close_mark()?;
                self.tuple(self.stack.len() - from)?;
            }
            Opcode::List => self.filled(Sort::List, offset)?,
            Opcode::FrozenSet => self.filled(Sort::FrozenSet, offset)?,
            Opcode::Dict => self.filled(Sort::Dict, offset)?,
            Opcode::Append => self.grow(2, Sort::List, opcode, offset)?,
            Opcode::SetItem => self.grow(3, Sort::Dict, opcode, offset)?,
            Opcode::Appends => self.grow_many(Sort::List, opcode, offset)?,
            Opcode::SetItems => self.grow_many(Sort::Dict, opcode, offset)?,
            Opcode::AddItems => self.grow_many(Sort::Set, opcode, offset)?,
            Opcode::Put | Opcode::BinPut | Opcode::LongBinPut => self.put(index_of(arg))?,
            Opcode::Memoize => self.put(self.memo.len())?,
            Opcode::Get | Opcode::BinGet | Opcode::LongBinGet => {
                self.get(index_of(arg), opcode, offset)?;
            }
            Opcode::Pop => {
                if self.marks.last() == Some(&self.stack.len()) {
                    self.close_mark()?;
                } else {
                    self.take()?;
                }
            }
            Opcode::PopMark => {
                let from = self.close_mark()?;
                self.stack.truncate(from);
            }
            Opcode::Dup => {
                self.need(1)?;
                let top = self.stack.last().copied().unwrap_or(Sym::UNKNOWN);
                self.push(top)?;
            }
            Opcode::Build
            | Opcode::Global
            | Opcode::StackGlobal
            | Opcode::Reduce
            | Opcode::NewObj
            | Opcode::NewObjEx
            | Opcode::Inst
            | Opcode::Obj
            | Opcode::Ext1
            | Opcode::Ext2
            | Opcode::Ext4
            | Opcode::PersId
            | Opcode::BinPersId
            | Opcode::NextBuffer
            | Opcode::ReadonlyBuffer => {
                self.offset = offset;
                self.opcode = opcode;
                self.effect(opcode, arg)?;
                return Ok(self.raw.is_some());
            }
        }
        Ok(false)
    }

    #[inline(always)]
    pub(super) fn push(&mut self, sym: Sym) -> Result<(), ErrorKind> {
        if self.stack.len() == self.stack.capacity() {
            self.room()?;
        }
        self.stack.push(sym);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn room(&mut self) -> Result<(), ErrorKind> {
        let cap = self.options.stack_items;
        if self.stack.len() as u64 >= cap {
            return Err(self.too_deep());
        }
        let more = self.stack.len().max(1024);
        let bytes = (self.stack.len() + more) as u64 * 8;
        self.stack.try_reserve_exact(more).map_err(|_| ErrorKind::OutOfMemory { bytes })
    }

    #[cold]
    fn too_deep(&mut self) -> ErrorKind {
        let cap = self.options.stack_items;
        self.bomb(format!("it keeps more than {cap} objects open at one time"));
        ErrorKind::Limit { limit: "stack_items", cap }
    }

    #[inline(always)]
    pub(super) fn take(&mut self) -> Result<Sym, ErrorKind> {
        if self.stack.len() > self.fence
            && let Some(sym) = self.stack.pop()
        {
            return Ok(sym);
        }
        Err(self.underflow())
    }

    #[inline(always)]
    fn need(&self, count: usize) -> Result<(), ErrorKind> {
        if self.stack.len() < self.fence + count {
            return Err(self.underflow());
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn underflow(&self) -> ErrorKind {
        ErrorKind::StackUnderflow { at_mark: !self.marks.is_empty() }
    }

    /// The place of the topmost mark, which is then gone; never above the stack's top.
    #[inline(always)]
    fn close_mark(&mut self) -> Result<usize, ErrorKind> {
        let Some(mark) = self.marks.pop() else { return Err(ErrorKind::NoMark) };
        self.fence = self.marks.last().copied().unwrap_or(0);
        Ok(mark.min(self.stack.len()))
    }

    /// All objects above the topmost mark.
    pub(super) fn take_to_mark(&mut self) -> Result<Vec<Sym>, ErrorKind> {
        let from = self.close_mark()?;
        Ok(self.stack.split_off(from))
    }

    #[inline(always)]
    fn container(&mut self, sort: Sort, offset: u64) -> Result<(), ErrorKind> {
        let sym = self.known.contents.made(sort, offset, self.stack.len());
        self.push(sym)
    }

    /// LIST, DICT, FROZENSET.
    fn filled(&mut self, sort: Sort, offset: u64) -> Result<(), ErrorKind> {
        let from = self.close_mark()?;
        let items = self.stack.get(from..).unwrap_or_default();
        if sort == Sort::Dict && !items.len().is_multiple_of(2) {
            return Err(ErrorKind::OddItems);
        }
        let sym = self.known.contents.made(sort, offset, from);
        self.known.contents.add(&mut self.known.ring, sym, items);
        self.stack.truncate(from);
        self.push(sym)
    }

    /// The `count` objects on top become a tuple.
    #[inline(always)]
    fn tuple(&mut self, count: usize) -> Result<(), ErrorKind> {
        self.need(count)?;
        let from = self.stack.len() - count;
        let items = self.stack.get(from..).unwrap_or_default();
        let sym = tuple_of(&mut self.known, items);
        self.stack.truncate(from);
        self.push(sym)
    }

    /// APPEND and SETITEM: the topmost `count` less one go into the object below them.
    #[inline(always)]
    fn grow(
        &mut self,
        count: usize,
        usual: Sort,
        opcode: Opcode,
        offset: u64,
    ) -> Result<(), ErrorKind> {
        self.need(count)?;
        self.grow_from(self.stack.len() + 1 - count, usual, opcode, offset);
        Ok(())
    }

    /// APPENDS, SETITEMS, ADDITEMS.
    #[inline(always)]
    fn grow_many(&mut self, usual: Sort, opcode: Opcode, offset: u64) -> Result<(), ErrorKind> {
        let from = self.close_mark()?;
        if from <= self.fence {
            return Err(self.underflow());
        }
        let count = self.stack.len() - from;
        if usual == Sort::Dict && !count.is_multiple_of(2) {
            return Err(ErrorKind::OddItems);
        }
        if count > 0 {
            self.grow_from(from, usual, opcode, offset);
        }
        Ok(())
    }

    #[inline(always)]
    fn grow_from(&mut self, from: usize, usual: Sort, opcode: Opcode, offset: u64) {
        let (below, items) = self.stack.split_at(from);
        let target = below.last().copied().unwrap_or(Sym::UNKNOWN);
        if target.is(usual) {
            self.known.contents.add(&mut self.known.ring, target, items);
        } else {
            self.offset = offset;
            self.opcode = opcode;
            self.foreign_growth(target);
        }
        self.stack.truncate(from);
    }

    #[inline(always)]
    fn put(&mut self, index: u64) -> Result<(), ErrorKind> {
        self.need(1)?;
        let top = self.stack.last().copied().unwrap_or(Sym::UNKNOWN);
        match self.memo.put(index, top) {
            Ok(()) => Ok(()),
            Err(TooScattered) => Err(self.too_scattered()),
        }
    }

    #[cold]
    fn too_scattered(&mut self) -> ErrorKind {
        self.bomb("its memo indexes are scattered as no pickler scatters them".into());
        ErrorKind::Limit { limit: "memo_entries", cap: 1 << 18 }
    }

    #[inline(always)]
    fn get(&mut self, index: u64, opcode: Opcode, offset: u64) -> Result<(), ErrorKind> {
        match self.memo.get(index) {
            Some(sym) => self.push(sym),
            None => self.get_earlier(index, opcode, offset),
        }
    }

    /// What only an earlier pickle of the stream stored: one `Unpickler` that loads them all
    /// finds it, a fresh one does not.
    #[cold]
    #[inline(never)]
    fn get_earlier(&mut self, index: u64, opcode: Opcode, offset: u64) -> Result<(), ErrorKind> {
        let Some(sym) = self.earlier.get(index) else {
            return Err(ErrorKind::MemoMissing(index));
        };
        self.offset = offset;
        self.opcode = opcode;
        self.add(Rule::SharedMemo, Severity::Suspicious, Said {
            offset,
            reason: format!(
                "memo entry {index} was stored by an earlier pickle of the file: readers that keep \
                 their memo see another pickle than those that do not"
            ),
            ..Said::default()
        });
        self.push(sym)
    }

    pub(super) fn top_mut(&mut self) -> Option<&mut Sym> {
        if self.stack.len() > self.fence { self.stack.last_mut() } else { None }
    }

    /// Notes bytes that begin as a pickle does; whether it is time to look at those noted.
    #[inline(always)]
    fn look_inside(&mut self, opcode: Opcode, arg: Arg<'_>, offset: u64) -> bool {
        if let Arg::Bytes(bytes) = arg
            && super::search::begins_like_a_pickle(bytes)
        {
            self.note_inner(opcode, bytes.len() as u64, offset);
            return self.is_full_of_inner();
        }
        false
    }

    /// Whether no more pickles in bytes can be noted before those noted are looked at.
    pub(super) fn is_full_of_inner(&self) -> bool {
        self.inner.len() >= MAX_INNER
    }

    #[cold]
    #[inline(never)]
    fn note_inner(&mut self, opcode: Opcode, len: u64, offset: u64) {
        let header = match opcode.info().arg.extent() {
            crate::arg::ArgExtent::Counted(field) => 1 + u64::from(field),
            // A text line: one quote before the bytes.
            _ => 2,
        };
        self.inner.push(Inner { start: offset + header, len });
    }

    /// Notes where in the source a text or bytes of `len` bytes begin that the caller has read
    /// past itself.
    pub(super) fn note_large(&mut self, start: u64, len: u64) {
        self.inner.push(Inner { start, len });
    }
}

/// Items of one tuple that are kept.
const KEPT_ITEMS: usize = 256;

/// A tuple of `items`, which go into the ring.
#[inline(always)]
pub(super) fn tuple_of(known: &mut Known<'_>, items: &[Sym]) -> Sym {
    if items.is_empty() {
        return Sym::EMPTY_TUPLE;
    }
    let objects = items.iter().any(|item| item.is_object());
    let at = known.ring.end();
    if items.len() > KEPT_ITEMS {
        return Sym::tuple(objects, at, usize::MAX);
    }
    items.iter().for_each(|item| known.ring.push(*item));
    Sym::tuple(objects, at, items.len())
}

/// The memo index, code, version or length that the reader gave.
#[inline(always)]
pub(super) fn index_of(arg: Arg<'_>) -> u64 {
    match arg {
        Arg::UInt(value) => value,
        _ => 0,
    }
}

/// One step, as the reader's arms call it.
struct Step<'t, 's> {
    tracer: &'t mut Tracer<'s>,
    offset: u64,
}

impl<'a> Act<'a> for Step<'_, '_> {
    type Output = Result<bool, ErrorKind>;

    #[inline(always)]
    fn act(self, opcode: Opcode, arg: Arg<'a>) -> Self::Output {
        self.tracer.step(opcode, arg, self.offset)
    }
}
