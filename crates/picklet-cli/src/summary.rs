//! What a pickle is, found by walking its opcodes once: for `info`, and for `verify` and `repair`
//! where a segment's content is in question.
//!
//! It keeps one small record for each value on the stack and each memo entry, steps over the
//! content of strings and bytes, and reads names only where a global needs them. So a pickle of
//! any size takes a few bytes of memory for each object that it memoizes, and nothing is built,
//! imported or called. Stack effects come from the opcode table. It does not check the content of
//! strings and numbers; loading does.

use std::collections::HashMap;

use picklet_codec::{ArgExtent, ArgKind, Limits, Memo, Opcode, StackKind};
use picklet_segments::ReadAt;

/// What a value is, as far as opcodes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One of the table's own types.
    Plain(StackKind),
    /// A str, whose opcode stands at this offset.
    Text(u64),
    /// The global with this number.
    Global(u32),
    /// What came of calling, or of making an instance of, that global.
    Made(u32),
    Persistent,
    Unknown,
}

/// A value on the stack.
#[derive(Debug, Clone, Copy)]
struct Slot {
    shape: Shape,
    /// How many items it holds, when that is known.
    items: Option<u64>,
}

/// What is at the top of a pickle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Top {
    /// A value of a type that has opcodes of its own.
    Plain(StackKind),
    /// A class or function.
    Global(String),
    /// What calling the global gave.
    Made(String),
    /// Something that only the one who pickled it knows.
    Persistent,
    /// It came out of an extension registry, or from no value that opcodes tell of.
    Unknown,
}

impl Top {
    /// In a word or two, as Python's `type` would name it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Top::Plain(StackKind::Str) => "str".to_owned(),
            Top::Plain(kind) => kind.name().replace('_', " "),
            Top::Global(name) => format!("the class or function {name}"),
            Top::Made(name) => format!("made by {name}"),
            Top::Persistent => "a persistent id".to_owned(),
            Top::Unknown => "unknown".to_owned(),
        }
    }
}

/// What one pickle is.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    /// Byte offset of its first opcode.
    pub(crate) start: u64,
    /// Byte offset after STOP.
    pub(crate) end: u64,
    /// What PROTO says; the highest protocol of any opcode where there is none.
    pub(crate) protocol: u8,
    pub(crate) opcodes: u64,
    pub(crate) frames: u64,
    pub(crate) memo: u64,
    /// Opcodes that call something.
    pub(crate) calls: u64,
    pub(crate) top: Top,
    /// Items of the value at the top, when it is a container and they could be counted.
    pub(crate) items: Option<u64>,
    /// The globals that it names and how often, in the order of their first.
    pub(crate) globals: Vec<(String, u64)>,
}

/// Why a walk ended: at which byte, and what is wrong there.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) offset: u64,
    pub(crate) what: String,
}

/// Why a walk ended before STOP.
#[derive(Debug)]
pub(crate) enum Stopped {
    Wrong(Wrong),
    Io(std::io::Error),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Stopped::Io(error)
    }
}

type Result<T, E = Stopped> = std::result::Result<T, E>;

fn wrong<T>(offset: u64, what: impl Into<String>) -> Result<T> {
    Err(Stopped::Wrong(Wrong { offset, what: what.into() }))
}

/// Walks the pickle that starts at `start` of `data`, which has `size` bytes.
///
/// # Errors
/// [`Stopped::Wrong`] with the offset when the bytes are no pickle or are cut off.
pub(crate) fn summarize(data: &dyn ReadAt, size: u64, start: u64) -> Result<Summary> {
    Walk::new(data, size, start).run()
}

/// Bytes in memory, as what can be read at any place.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl ReadAt for Bytes<'_> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn size(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

/// Bytes read at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// The longest line that an argument may be. CPython has no limit; a line that is longer is
/// no number and no name.
const LINE_BYTES: u64 = 64 << 20;

/// The longest name of a module or of what is in it.
const NAME_BYTES: u64 = 64 * 1024;

/// A moving window over the input.
struct Window<'a> {
    data: &'a dyn ReadAt,
    size: u64,
    block: Vec<u8>,
    /// Offset of the block's first byte.
    base: u64,
}

impl Window<'_> {
    /// `length` bytes (no more than a block) from `offset` on, or as many as there are.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let inside = offset.checked_sub(self.base).and_then(|at| usize::try_from(at).ok());
        let held = inside.is_some_and(|at| at.saturating_add(length) <= self.block.len());
        if !held {
            self.block.resize(left.min(BLOCK_BYTES.max(length)), 0);
            self.base = offset;
            if let Err(error) = self.data.read_exact_at(offset, &mut self.block) {
                self.block.clear();
                return Err(error.into());
            }
        }
        let at = inside.filter(|_| held).unwrap_or(0);
        Ok(self.block.get(at..at + length).unwrap_or_default())
    }

    /// The offset after the line that begins at `offset`, its newline included.
    fn after_line(&mut self, offset: u64) -> Result<Option<u64>> {
        let mut at = offset;
        while at - offset < LINE_BYTES {
            let rest = self.bytes(at, 256)?;
            if rest.is_empty() {
                return Ok(None);
            }
            if let Some(place) = rest.iter().position(|&byte| byte == b'\n') {
                return Ok(Some(at + place as u64 + 1));
            }
            at += rest.len() as u64;
        }
        wrong(offset, format!("a line of more than {LINE_BYTES} bytes"))
    }
}

/// Where an opcode's argument is: after its length field, up to its end.
struct Argument {
    content: u64,
    end: u64,
}

struct Walk<'a> {
    window: Window<'a>,
    offset: u64,
    stack: Vec<Slot>,
    /// Height of the stack at each open mark.
    marks: Vec<usize>,
    memo: Memo<Shape>,
    names: HashMap<String, u32>,
    summary: Summary,
    highest: u8,
    proto: Option<u8>,
}

impl<'a> Walk<'a> {
    fn new(data: &'a dyn ReadAt, size: u64, start: u64) -> Self {
        Walk {
            window: Window { data, size, block: Vec::new(), base: 0 },
            offset: start,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Memo::new(Limits::default().memo_entries),
            names: HashMap::new(),
            summary: Summary {
                start,
                end: start,
                protocol: 0,
                opcodes: 0,
                frames: 0,
                memo: 0,
                calls: 0,
                top: Top::Unknown,
                items: None,
                globals: Vec::new(),
            },
            highest: 0,
            proto: None,
        }
    }

    fn run(mut self) -> Result<Summary> {
        loop {
            let at = self.offset;
            let Some(&byte) = self.window.bytes(at, 1)?.first() else {
                return wrong(at, "the pickle is cut off: it ends without STOP");
            };
            let Some(opcode) = Opcode::from_byte(byte) else {
                let what = if at == self.summary.start { "is no pickle: " } else { "" };
                return wrong(at, format!("{what}no opcode has the byte 0x{byte:02x}"));
            };
            let info = opcode.info();
            let argument = self.argument(at, opcode)?;
            self.offset = argument.end;
            self.summary.opcodes += 1;
            self.highest = self.highest.max(info.protocol);
            self.summary.calls += u64::from(info.effect.calls());
            if opcode == Opcode::Stop {
                return self.stop(at);
            }
            self.step(at, opcode, &argument)?;
        }
    }

    fn stop(mut self, at: u64) -> Result<Summary> {
        let top = self.pop(at)?;
        self.summary.top = match top.shape {
            Shape::Plain(kind) => Top::Plain(kind),
            Shape::Text(_) => Top::Plain(StackKind::Str),
            Shape::Global(id) => Top::Global(self.name(id)),
            Shape::Made(id) => Top::Made(self.name(id)),
            Shape::Persistent => Top::Persistent,
            Shape::Unknown => Top::Unknown,
        };
        self.summary.items = top.items;
        self.summary.end = self.offset;
        self.summary.memo = self.memo.len();
        self.summary.protocol = self.proto.unwrap_or(self.highest);
        Ok(self.summary)
    }

    fn name(&self, id: u32) -> String {
        let found = self.summary.globals.get(id as usize);
        found.map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// Finds the opcode's argument and steps over it.
    fn argument(&mut self, at: u64, opcode: Opcode) -> Result<Argument> {
        let after = at + 1;
        match opcode.info().arg.extent() {
            ArgExtent::Bytes(length) => self.argument_of(at, opcode, after, u64::from(length)),
            ArgExtent::Counted(width) => {
                let kind = opcode.info().arg;
                let signed = matches!(kind, ArgKind::Long4 | ArgKind::String4);
                let length = self.number(at, opcode, after, width)?;
                if signed && length > i32::MAX as u64 {
                    return wrong(at, format!("{} has a negative length", opcode.name()));
                }
                self.argument_of(at, opcode, after + u64::from(width), length)
            }
            ArgExtent::Lines(lines) => {
                let mut end = after;
                for _ in 0..lines {
                    let Some(next) = self.window.after_line(end)? else {
                        let name = opcode.name();
                        return wrong(at, format!("the pickle is cut off in the line of {name}"));
                    };
                    end = next;
                }
                Ok(Argument { content: after, end })
            }
        }
    }

    fn argument_of(&self, at: u64, opcode: Opcode, content: u64, length: u64) -> Result<Argument> {
        let left = self.window.size.saturating_sub(content);
        if length > left {
            return wrong(
                at,
                format!(
                    "the pickle is cut off: {} has {length} bytes and {left} are left",
                    opcode.name()
                ),
            );
        }
        Ok(Argument { content, end: content + length })
    }

    /// An unsigned little-endian number.
    fn number(&mut self, at: u64, opcode: Opcode, offset: u64, width: u8) -> Result<u64> {
        let bytes = self.window.bytes(offset, width.into())?;
        if bytes.len() < width.into() {
            return wrong(at, format!("the pickle is cut off in {}", opcode.name()));
        }
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A number that is written as a line.
    fn decimal(&mut self, at: u64, argument: &Argument) -> Result<u64> {
        let text = self.text(argument.content, argument.end - 1)?;
        match text.parse() {
            Ok(number) => Ok(number),
            Err(_) => wrong(at, "a memo index is no number"),
        }
    }

    /// A name, which is never long; what is no UTF-8 in it is replaced.
    fn text(&mut self, from: u64, to: u64) -> Result<String> {
        if to - from > NAME_BYTES {
            return wrong(from, format!("a name of more than {NAME_BYTES} bytes"));
        }
        // As large as a name, so that the window is left where it is for those that are near.
        let bytes = self.window.bytes(from, (to - from) as usize)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn push(&mut self, shape: Shape, items: Option<u64>) {
        self.stack.push(Slot { shape, items });
    }

    fn pop(&mut self, at: u64) -> Result<Slot> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(slot) if self.stack.len() >= floor => Ok(slot),
            _ => wrong(at, "is no pickle: an opcode needs a value that is not there"),
        }
    }

    /// Takes everything above the topmost mark, and the mark. Gives the number of values and the
    /// first of them.
    fn pop_mark(&mut self, at: u64) -> Result<(u64, Option<Slot>)> {
        let Some(height) = self.marks.pop() else {
            return wrong(at, "is no pickle: an opcode needs a mark that is not there");
        };
        let values = self.stack.len().saturating_sub(height) as u64;
        let first = self.stack.get(height).copied();
        self.stack.truncate(height);
        Ok((values, first))
    }

    fn top(&mut self, at: u64) -> Result<&mut Slot> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return wrong(at, "is no pickle: an opcode needs a value that is not there");
        }
        match self.stack.last_mut() {
            Some(slot) => Ok(slot),
            None => wrong(at, "is no pickle: the stack is empty"),
        }
    }

    fn step(&mut self, at: u64, opcode: Opcode, argument: &Argument) -> Result<()> {
        match opcode {
            Opcode::Proto => self.proto = Some(self.number(at, opcode, at + 1, 1)? as u8),
            Opcode::Frame => self.summary.frames += 1,
            Opcode::Mark => self.marks.push(self.stack.len()),
            Opcode::Pop if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            Opcode::PopMark => {
                self.pop_mark(at)?;
            }
            Opcode::Dup => {
                let top = *self.top(at)?;
                self.stack.push(top);
            }
            Opcode::Memoize => self.memoize(at, self.memo.len())?,
            Opcode::Put => {
                let index = self.decimal(at, argument)?;
                self.memoize(at, index)?;
            }
            Opcode::BinPut => {
                let index = self.number(at, opcode, at + 1, 1)?;
                self.memoize(at, index)?;
            }
            Opcode::LongBinPut => {
                let index = self.number(at, opcode, at + 1, 4)?;
                self.memoize(at, index)?;
            }
            Opcode::Get => {
                let index = self.decimal(at, argument)?;
                self.remember(at, index)?;
            }
            Opcode::BinGet => {
                let index = self.number(at, opcode, at + 1, 1)?;
                self.remember(at, index)?;
            }
            Opcode::LongBinGet => {
                let index = self.number(at, opcode, at + 1, 4)?;
                self.remember(at, index)?;
            }
            Opcode::Append | Opcode::SetItem => {
                for _ in 0..if opcode == Opcode::Append { 1 } else { 2 } {
                    self.pop(at)?;
                }
                self.grow(at, 1)?;
            }
            Opcode::Appends | Opcode::AddItems => {
                let (values, _) = self.pop_mark(at)?;
                self.grow(at, values)?;
            }
            Opcode::SetItems => {
                let (values, _) = self.pop_mark(at)?;
                self.grow(at, values / 2)?;
            }
            Opcode::Global | Opcode::StackGlobal | Opcode::Inst | Opcode::Obj => {
                self.global_step(at, opcode, argument)?;
            }
            Opcode::Ext1 | Opcode::Ext2 | Opcode::Ext4 => {
                let width = (argument.end - argument.content) as u8;
                let code = self.number(at, opcode, argument.content, width)?;
                let id = self.intern(format!("copyreg extension {code}"));
                self.push(Shape::Global(id), None);
            }
            Opcode::Reduce | Opcode::NewObj | Opcode::NewObjEx => {
                for _ in 0..if opcode == Opcode::NewObjEx { 2 } else { 1 } {
                    self.pop(at)?;
                }
                let callable = self.pop(at)?;
                self.push(made_by(callable.shape), Some(0));
            }
            Opcode::Build => {
                self.pop(at)?;
                self.top(at)?;
            }
            Opcode::PersId => self.push(Shape::Persistent, None),
            Opcode::BinPersId => {
                self.pop(at)?;
                self.push(Shape::Persistent, None);
            }
            _ => self.by_table(at, opcode)?,
        }
        Ok(())
    }

    fn global_step(&mut self, at: u64, opcode: Opcode, argument: &Argument) -> Result<()> {
        match opcode {
            Opcode::StackGlobal => {
                let name = self.pop(at)?;
                let module = self.pop(at)?;
                let (Shape::Text(module), Shape::Text(name)) = (module.shape, name.shape) else {
                    return wrong(at, "STACK_GLOBAL needs two strings");
                };
                let dotted = format!("{}.{}", self.text_at(module)?, self.text_at(name)?);
                let id = self.intern(dotted);
                self.push(Shape::Global(id), None);
            }
            Opcode::Obj => {
                let (_, class) = self.pop_mark(at)?;
                self.push(class.map_or(Shape::Unknown, |class| made_by(class.shape)), Some(0));
            }
            _ => {
                let text = self.text(argument.content, argument.end - 1)?;
                let id = self.intern(text.replacen('\n', ".", 1));
                if opcode == Opcode::Inst {
                    self.pop_mark(at)?;
                    self.push(Shape::Made(id), Some(0));
                } else {
                    self.push(Shape::Global(id), None);
                }
            }
        }
        Ok(())
    }

    /// Whatever only pushes and pops.
    fn by_table(&mut self, at: u64, opcode: Opcode) -> Result<()> {
        let info = opcode.info();
        let mut values = 0;
        if info.before.contains(&StackKind::Mark) {
            (values, _) = self.pop_mark(at)?;
        } else {
            for _ in info.before {
                self.pop(at)?;
                values += 1;
            }
        }
        for &kind in info.after {
            let items = match kind {
                StackKind::Dict => Some(values / 2),
                StackKind::List | StackKind::Tuple | StackKind::Set | StackKind::FrozenSet => {
                    Some(values)
                }
                _ => None,
            };
            let shape = if kind == StackKind::Str { Shape::Text(at) } else { Shape::Plain(kind) };
            self.push(shape, items);
        }
        Ok(())
    }

    /// The str whose opcode stands at `at`.
    fn text_at(&mut self, at: u64) -> Result<String> {
        let Some(opcode) = self.window.bytes(at, 1)?.first().copied().and_then(Opcode::from_byte)
        else {
            return wrong(at, "the file was changed while it was read");
        };
        let argument = self.argument(at, opcode)?;
        let newline = u64::from(opcode == Opcode::Unicode);
        self.text(argument.content, argument.end - newline)
    }

    fn intern(&mut self, name: String) -> u32 {
        let next = u32::try_from(self.summary.globals.len()).unwrap_or(u32::MAX);
        let id = *self.names.entry(name.clone()).or_insert(next);
        match self.summary.globals.get_mut(id as usize) {
            Some((_, times)) => *times += 1,
            None => self.summary.globals.push((name, 1)),
        }
        id
    }

    fn memoize(&mut self, at: u64, index: u64) -> Result<()> {
        let shape = self.top(at)?.shape;
        match self.memo.put(index, shape) {
            Ok(()) => Ok(()),
            Err(_) => wrong(at, "more memo entries than can be kept"),
        }
    }

    fn remember(&mut self, at: u64, index: u64) -> Result<()> {
        match self.memo.get(index).copied() {
            Some(shape) => self.push(shape, None),
            None => return wrong(at, format!("is no pickle: memo entry {index} was never stored")),
        }
        Ok(())
    }

    /// The container on top has so many items more.
    fn grow(&mut self, at: u64, items: u64) -> Result<()> {
        let top = self.top(at)?;
        top.items = top.items.and_then(|had| had.checked_add(items));
        Ok(())
    }
}

/// What comes of calling a value of this shape.
fn made_by(callable: Shape) -> Shape {
    match callable {
        Shape::Global(id) => Shape::Made(id),
        _ => Shape::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pickle: &[u8]) -> Summary {
        match summarize(&pickle.to_vec(), pickle.len() as u64, 0) {
            Ok(summary) => summary,
            Err(stopped) => panic!("{stopped:?}"),
        }
    }

    fn fault(pickle: &[u8]) -> (u64, String) {
        match summarize(&pickle.to_vec(), pickle.len() as u64, 0) {
            Err(Stopped::Wrong(wrong)) => (wrong.offset, wrong.what),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_is_counted_over_its_batches() {
        let summary = of(b"\x80\x04]\x94(K\x01K\x02eK\x03a.");
        assert_eq!(summary.top, Top::Plain(StackKind::List));
        assert_eq!((summary.items, summary.protocol, summary.memo), (Some(3), 4, 1));
        assert_eq!(summary.opcodes, 10);
    }

    #[test]
    fn globals_are_named_whether_their_names_come_from_the_memo_or_not() {
        let summary = of(b"\x80\x04(\x8c\x03abc\x94\x8c\x01d\x94\x93h\x00h\x01\x93cm\nn\nl.");
        let names: Vec<_> = summary.globals.iter().map(|(n, c)| (n.as_str(), *c)).collect();
        assert_eq!(names, [("abc.d", 2), ("m.n", 1)]);
        assert_eq!(summary.items, Some(3));
    }

    #[test]
    fn an_instance_that_gets_items_is_told_by_its_class_and_counted() {
        let summary = of(b"\x80\x02ccollections\nOrderedDict\n)R(K\x01K\x02u.");
        assert_eq!(summary.top, Top::Made("collections.OrderedDict".into()));
        assert_eq!((summary.items, summary.calls), (Some(1), 1));
    }

    #[test]
    fn what_is_no_pickle_is_told_with_its_byte() {
        assert_eq!(fault(b"\xff").0, 0);
        assert_eq!(fault(b"").0, 0);
        assert_eq!(fault(b"\x80\x04K\x01").0, 4);
        assert_eq!(fault(b"\x80\x04\x8c\x09abc.").0, 2);
        assert_eq!(fault(b"\x80\x04X\xff\xff\xff\xffabc").0, 2);
        assert_eq!(fault(b"e.").0, 0);
        assert_eq!(fault(b"h\x05.").0, 0);
        assert_eq!(fault(b"(K\x01(a.").0, 4);
        assert_eq!(fault(b"I12").0, 0);
        assert_eq!(fault(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").0, 0);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut state = 1u32;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    let table = &picklet_codec::OPCODES;
                    if state & 1 == 0 { state as u8 } else { table[state as usize % 68].byte }
                })
                .collect();
            let _ = summarize(&bytes, bytes.len() as u64, 0);
        }
    }
}
