//! Understands the beginning of a pickle's items: which memo entries are
//! objects that cannot change, and which of them are equal.
//!
//! A segment begins with the objects that its items refer to, each pushed and
//! popped. [`look`] runs over those and over the first items with a stack of
//! symbols, and gives each memo entry that is text, a number, a global, a tuple
//! of such, or a call of a well-known immutable type, the number of a [`Node`].
//! Equal objects have equal nodes. What changes, or what is not understood, has
//! none. Nothing is imported, called or built.

use std::collections::HashMap;

use super::ops::*;
use super::scan::text_id;
use super::window::{Fault, Window};
use crate::store::ReadAt;

/// An object that cannot change; equal objects have equal numbers.
pub(crate) type Node = u32;

/// Bytes of a text that is worth comparing with others.
const LONGEST: u64 = 64 * 1024;
/// Bytes that nodes may take; beyond them nothing new is understood.
const MOST_BYTES: usize = 256 << 20;
/// What one node takes beside its bytes.
const OVERHEAD: usize = 72;
/// Values on the stack at most.
const MOST_VALUES: usize = 1 << 16;
/// Memo entries below this number are referred to in two bytes.
pub(crate) const SHORT: u64 = 256;
/// Bytes looked at after the last object that was pushed and popped.
const FURTHER: u64 = 1 << 20;

/// Calls that make objects that cannot change.
pub(crate) const IMMUTABLE: [&str; 17] = [
    "__builtin__ complex",
    "__builtin__ range",
    "__builtin__ xrange",
    "_codecs encode",
    "builtins complex",
    "builtins range",
    "datetime date",
    "datetime datetime",
    "datetime time",
    "datetime timedelta",
    "datetime timezone",
    "decimal Decimal",
    "fractions Fraction",
    "numpy dtype",
    "numpy._core.multiarray scalar",
    "numpy.core.multiarray scalar",
    "uuid SafeUUID",
];

/// Objects that cannot change, each with a number.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    by_key: HashMap<Box<[u8]>, Node>,
    all: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Nodes {
    /// The number of the object that `key` says everything of; `None` when
    /// there are too many.
    pub(crate) fn node(&mut self, key: &[u8]) -> Option<Node> {
        if let Some(&node) = self.by_key.get(key) {
            return Some(node);
        }
        self.bytes += 2 * key.len() + OVERHEAD;
        if self.bytes > MOST_BYTES {
            return None;
        }
        let node = Node::try_from(self.all.len()).ok()?;
        self.all.push(key.into());
        self.by_key.insert(key.into(), node);
        Some(node)
    }

    /// The number of the object whose operation has these bytes, if it has one.
    pub(crate) fn find(&self, operation: &[u8]) -> Option<Node> {
        self.by_key.get(operation).copied()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Forgets all but the first `count`.
    pub(crate) fn truncate(&mut self, count: usize) {
        for key in self.all.drain(count.min(self.all.len())..) {
            self.bytes = self.bytes.saturating_sub(2 * key.len() + OVERHEAD);
            self.by_key.remove(&key);
        }
    }

    /// The bytes of a node's operation.
    pub(crate) fn operation(&self, node: Node) -> &[u8] {
        self.all.get(node as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    /// Whether it is text or bytes, which one operation makes.
    pub(crate) fn is_text(&self, node: Node) -> bool {
        self.operation(node).first().copied().is_some_and(is_text)
    }

    /// Whether it is a global.
    pub(crate) fn is_global(&self, node: Node) -> bool {
        matches!(self.operation(node).first(), Some(&(GLOBAL | STACK_GLOBAL)))
    }

    /// The words of a text.
    fn text(&self, node: Node) -> Option<&str> {
        let operation = self.operation(node);
        let skip = match *operation.first()? {
            SHORT_BINUNICODE | SHORT_BINSTRING => 2,
            BINUNICODE | BINSTRING => 5,
            _ => return None,
        };
        std::str::from_utf8(operation.get(skip..)?).ok()
    }

    /// Whether calling a global makes what cannot change.
    fn makes_immutable(&self, global: Node) -> bool {
        let operation = self.operation(global);
        let name = match operation.first() {
            Some(&GLOBAL) => {
                let text = operation.get(1..operation.len() - 1).unwrap_or_default();
                String::from_utf8_lossy(text).trim_end().replace('\n', " ")
            }
            Some(&STACK_GLOBAL) => {
                let child = |at: usize| {
                    let bytes = operation.get(at..at + 4)?.try_into().ok()?;
                    self.text(Node::from_le_bytes(bytes))
                };
                match (child(1), child(5)) {
                    (Some(module), Some(name)) => format!("{module} {name}"),
                    _ => return false,
                }
            }
            _ => return false,
        };
        IMMUTABLE.contains(&name.as_str())
    }

    fn is_dtype(&self, node: Node) -> bool {
        let operation = self.operation(node);
        let function = operation.get(1..5).and_then(|bytes| bytes.try_into().ok());
        operation.first() == Some(&REDUCE)
            && function.is_some_and(|function| {
                let key = self.operation(Node::from_le_bytes(function));
                match key.first() {
                    Some(&GLOBAL) => key.starts_with(b"cnumpy\ndtype\n"),
                    _ => {
                        let name = key.get(5..9).and_then(|bytes| bytes.try_into().ok());
                        name.and_then(|name| self.text(Node::from_le_bytes(name))) == Some("dtype")
                    }
                }
            })
    }
}

/// Whether an operation makes text or bytes by itself.
pub(crate) fn is_text(opcode: u8) -> bool {
    matches!(
        opcode,
        SHORT_BINUNICODE
            | BINUNICODE
            | UNICODE
            | SHORT_BINBYTES
            | BINBYTES
            | SHORT_BINSTRING
            | BINSTRING
            | STRING
    )
}

/// A value on the stack.
#[derive(Debug, Clone, Copy)]
enum Symbol {
    Mark,
    Node(Node),
    /// What a call has made: it may get a state still.
    Made(usize),
    Unknown,
}

/// What a call has made.
#[derive(Debug, Clone, Copy)]
struct Made {
    node: Option<Node>,
    /// Whether it is part of something else by now.
    used: bool,
}

/// An object that is pushed and popped at the bottom of the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Popped {
    pub(crate) start: u64,
    /// After its POP.
    pub(crate) end: u64,
    /// Its memo entries.
    pub(crate) first: u64,
    pub(crate) after: u64,
    /// Whether all of it was understood and cannot change.
    pub(crate) immutable: bool,
}

/// A memo entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The number was left out.
    Gap,
    /// Not known, or can change.
    Unknown,
    /// Cannot change.
    Node(Node),
}

/// What a look at the beginning of the items gave.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// The objects in front.
    pub(crate) popped: Vec<Popped>,
    /// Where they end, and the memo number there.
    pub(crate) body: u64,
    pub(crate) first: u64,
    /// Nodes known when they ended.
    pub(crate) nodes: usize,
    /// What each memo entry is, from the first after those before it.
    pub(crate) memo: Vec<Entry>,
    /// Entries before the stretch.
    pub(crate) before: u64,
}

impl Look {
    /// What a memo entry is.
    pub(crate) fn entry(&self, id: u64) -> Entry {
        let at = id.checked_sub(self.before).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.memo.get(at).copied()).unwrap_or(Entry::Unknown)
    }

    /// The node of a memo entry.
    pub(crate) fn node(&self, id: u64) -> Option<Node> {
        match self.entry(id) {
            Entry::Node(node) => Some(node),
            Entry::Gap | Entry::Unknown => None,
        }
    }
}

/// Looks at the items of a pickle from `from` on, before which there are
/// `before` memo entries. What is odd ends the look and is no error.
pub(crate) fn look(
    source: &dyn ReadAt,
    from: u64,
    to: u64,
    before: u64,
    protocol: u8,
    nodes: &mut Nodes,
) -> Result<Look, Fault> {
    let mut machine = Machine {
        nodes,
        protocol,
        stack: Vec::new(),
        made: Vec::new(),
        memo: Vec::new(),
        before,
        next: before,
        immutable: true,
    };
    let mut look = Look { body: from, first: before, before, ..Look::default() };
    look.nodes = machine.nodes.len();
    let kept = look.nodes;
    let mut window = Window::new(source, to);
    let most = (4096 + (to - from.min(to)) / 16).min(FURTHER);
    let (mut offset, mut start, mut first) = (from, from, before);
    loop {
        let done = machine.next >= SHORT && !machine.stack.is_empty() && offset > start + most / 32;
        if offset >= to || offset > start + most || done {
            break;
        }
        let op = match window.op(offset) {
            Ok(op) => op,
            Err(Fault::Io(error)) => return Err(Fault::Io(error)),
            Err(Fault::Bad(..)) => break,
        };
        let bytes = operation(&window, op.at, op.end)?;
        match machine.step(op.opcode, bytes) {
            Went::On => {}
            Went::Out => break,
            Went::Odd => {
                machine.nodes.truncate(kept);
                let nodes = kept;
                return Ok(Look { body: from, first: before, before, nodes, ..Look::default() });
            }
        }
        offset = op.end;
        if op.opcode == POP && machine.stack.is_empty() {
            let (end, after, immutable) = (offset, machine.next, machine.immutable);
            look.popped.push(Popped { start, end, first, after, immutable });
            (start, first) = (end, after);
            (look.body, look.first) = (end, after);
            look.nodes = machine.nodes.len();
            machine.immutable = true;
        }
    }
    // What was just made may get a state yet, and a dtype always does.
    for symbol in &machine.stack {
        if let Symbol::Made(at) = symbol
            && let Some(made) = machine.made.get_mut(*at)
            && (!made.used || made.node.is_some_and(|node| machine.nodes.is_dtype(node)))
        {
            made.node = None;
        }
    }
    look.memo = machine
        .memo
        .iter()
        .map(|symbol| match symbol {
            Symbol::Node(node) => Entry::Node(*node),
            Symbol::Made(at) => {
                machine.made.get(*at).and_then(|made| made.node).map_or(Entry::Unknown, Entry::Node)
            }
            Symbol::Mark => Entry::Gap,
            Symbol::Unknown => Entry::Unknown,
        })
        .collect();
    Ok(look)
}

/// The bytes of an operation, unless there are too many.
fn operation(window: &Window<'_>, at: u64, end: u64) -> Result<Option<Vec<u8>>, Fault> {
    if end - at > LONGEST {
        return Ok(None);
    }
    let inside = at.checked_sub(window.base()).and_then(|from| usize::try_from(from).ok());
    let length = (end - at) as usize;
    let held = inside.filter(|from| from + length <= window.len());
    Ok(Some(match held.and_then(|from| window.bytes().get(from..from + length)) {
        Some(bytes) => bytes.to_vec(),
        None => window.copy(at, end)?,
    }))
}

enum Went {
    On,
    /// Below the stack, or to the end.
    Out,
    /// Something that cannot change is changed: nothing is to be believed.
    Odd,
}

struct Machine<'n> {
    nodes: &'n mut Nodes,
    protocol: u8,
    stack: Vec<Symbol>,
    made: Vec<Made>,
    memo: Vec<Symbol>,
    before: u64,
    next: u64,
    /// Whether all since the last pop of everything was understood.
    immutable: bool,
}

impl Machine<'_> {
    fn push(&mut self, symbol: Symbol) -> Went {
        if matches!(symbol, Symbol::Unknown) {
            self.immutable = false;
        }
        self.stack.push(symbol);
        if self.stack.len() > MOST_VALUES { Went::Out } else { Went::On }
    }

    fn push_node(&mut self, key: Option<&[u8]>) -> Went {
        let node = key.and_then(|key| self.nodes.node(key));
        self.push(node.map_or(Symbol::Unknown, Symbol::Node))
    }

    /// The node of a value that becomes part of another.
    fn part(&mut self, symbol: Symbol) -> Option<Node> {
        match symbol {
            Symbol::Node(node) => Some(node),
            Symbol::Made(at) => {
                let made = self.made.get_mut(at)?;
                made.used = true;
                made.node
            }
            Symbol::Mark | Symbol::Unknown => None,
        }
    }

    /// The key of what `opcode` makes of `parts`.
    fn composed(&mut self, opcode: u8, parts: &[Symbol]) -> Option<Vec<u8>> {
        let mut key = vec![opcode];
        for part in parts {
            key.extend_from_slice(&self.part(*part)?.to_le_bytes());
        }
        Some(key)
    }

    /// Takes what is above the last mark, and the mark.
    fn marked(&mut self) -> Option<Vec<Symbol>> {
        let at = self.stack.iter().rposition(|symbol| matches!(symbol, Symbol::Mark))?;
        let parts = self.stack.split_off(at + 1);
        self.stack.pop();
        Some(parts)
    }

    /// Takes `count` values off the stack.
    fn take(&mut self, count: usize) -> Option<Vec<Symbol>> {
        let at = self.stack.len().checked_sub(count)?;
        let parts = self.stack.get(at..)?;
        if parts.iter().any(|symbol| matches!(symbol, Symbol::Mark)) {
            return None;
        }
        Some(self.stack.split_off(at))
    }

    /// The value on top is changed.
    fn changed(&mut self) -> Went {
        match self.stack.last() {
            Some(Symbol::Unknown) => {
                self.immutable = false;
                Went::On
            }
            None | Some(Symbol::Mark) => Went::Out,
            Some(_) => Went::Odd,
        }
    }

    fn define(&mut self, id: u64) -> Went {
        let Some(&top) = self.stack.last() else { return Went::Out };
        let at = id.checked_sub(self.before).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at.filter(|at| *at >= self.memo.len() && *at < self.memo.len() + 4096)
        else {
            return Went::Out;
        };
        if matches!(top, Symbol::Mark) {
            return Went::Out;
        }
        self.memo.resize(at, Symbol::Mark);
        self.memo.push(top);
        self.next = id + 1;
        Went::On
    }

    fn get(&mut self, id: Option<u64>) -> Went {
        let at = id.and_then(|id| usize::try_from(id.checked_sub(self.before)?).ok());
        let symbol = match at.and_then(|at| self.memo.get(at).copied()) {
            Some(Symbol::Mark) | None => Symbol::Unknown,
            Some(symbol) => symbol,
        };
        if let Symbol::Made(at) = symbol
            && let Some(made) = self.made.get_mut(at)
        {
            made.used = true;
        }
        self.push(symbol)
    }

    fn composed_of(&mut self, opcode: u8, parts: Option<Vec<Symbol>>) -> Went {
        let Some(parts) = parts else { return Went::Out };
        let key = self.composed(opcode, &parts);
        self.push_node(key.as_deref())
    }

    /// One operation; `bytes` are its own, `None` when there are too many.
    fn step(&mut self, opcode: u8, bytes: Option<Vec<u8>>) -> Went {
        let argument = bytes.as_deref().and_then(|bytes| bytes.get(1..)).unwrap_or_default();
        match opcode {
            NONE | NEWTRUE | NEWFALSE | EMPTY_TUPLE | INT | BININT | BININT1 | BININT2 | LONG
            | LONG1 | LONG4 | FLOAT | BINFLOAT | STRING | BINSTRING | SHORT_BINSTRING | UNICODE
            | BINUNICODE | SHORT_BINUNICODE | BINUNICODE8 | BINBYTES | SHORT_BINBYTES
            | BINBYTES8 => self.push_node(bytes.as_deref()),
            GLOBAL => {
                // Names are looked up differently in old protocols.
                let old = u8::from(self.protocol < 3);
                let key = bytes.map(|mut bytes| {
                    bytes.push(old);
                    bytes
                });
                self.push_node(key.as_deref())
            }
            STACK_GLOBAL => {
                let Some(parts) = self.take(2) else { return Went::Out };
                let mut key = self.composed(opcode, &parts);
                if let Some(key) = &mut key {
                    key.push(u8::from(self.protocol < 3));
                }
                self.push_node(key.as_deref())
            }
            TUPLE1 | TUPLE2 | TUPLE3 => {
                let parts = self.take(usize::from(opcode - TUPLE1) + 1);
                self.composed_of(TUPLE, parts)
            }
            TUPLE | FROZENSET => {
                let parts = self.marked();
                self.composed_of(opcode, parts)
            }
            REDUCE => {
                let Some(parts) = self.take(2) else { return Went::Out };
                let immutable = match parts.first() {
                    Some(Symbol::Node(function)) => self.nodes.makes_immutable(*function),
                    _ => false,
                };
                let key = if immutable { self.composed(opcode, &parts) } else { None };
                match key.and_then(|key| self.nodes.node(&key)) {
                    Some(node) => {
                        self.made.push(Made { node: Some(node), used: false });
                        self.push(Symbol::Made(self.made.len() - 1))
                    }
                    None => self.push(Symbol::Unknown),
                }
            }
            BUILD => self.build(),
            MEMOIZE => self.define(self.next),
            BINPUT | LONG_BINPUT => self.define(little(argument)),
            PUT => text_id(argument).map_or(Went::Out, |id| self.define(id)),
            BINGET | LONG_BINGET => self.get(Some(little(argument))),
            GET => self.get(text_id(argument)),
            MARK => {
                self.stack.push(Symbol::Mark);
                if self.stack.len() > MOST_VALUES { Went::Out } else { Went::On }
            }
            POP => self.stack.pop().map_or(Went::Out, |_| Went::On),
            POP_MARK => self.marked().map_or(Went::Out, |_| Went::On),
            APPEND => self.take(1).map_or(Went::Out, |_| self.changed()),
            SETITEM => self.take(2).map_or(Went::Out, |_| self.changed()),
            APPENDS | SETITEMS | ADDITEMS => self.marked().map_or(Went::Out, |_| self.changed()),
            FRAME | PROTO => Went::On,
            EMPTY_LIST | EMPTY_DICT | EMPTY_SET | BYTEARRAY8 | PERSID | EXT1 | EXT2 | EXT4 => {
                self.push(Symbol::Unknown)
            }
            LIST | DICT | OBJ | INST => match self.marked() {
                Some(_) => self.push(Symbol::Unknown),
                None => Went::Out,
            },
            NEWOBJ => self.take(2).map_or(Went::Out, |_| self.push(Symbol::Unknown)),
            NEWOBJ_EX => self.take(3).map_or(Went::Out, |_| self.push(Symbol::Unknown)),
            BINPERSID | READONLY_BUFFER => {
                self.take(1).map_or(Went::Out, |_| self.push(Symbol::Unknown))
            }
            _ => Went::Out,
        }
    }

    /// A state is given to what is below it: of what is understood, only a
    /// fresh dtype may have one.
    fn build(&mut self) -> Went {
        let Some(state) = self.take(1) else { return Went::Out };
        let Some(&Symbol::Made(at)) = self.stack.last() else { return self.changed() };
        let node = match self.made.get(at) {
            Some(Made { node: Some(node), used: false }) => *node,
            Some(Made { node: None, .. }) => {
                self.immutable = false;
                return Went::On;
            }
            _ => return Went::Odd,
        };
        if !self.nodes.is_dtype(node) {
            return Went::Odd;
        }
        let mut key = vec![BUILD];
        key.extend_from_slice(&node.to_le_bytes());
        let state = state.first().and_then(|state| self.part(*state));
        let built = state.and_then(|state| {
            key.extend_from_slice(&state.to_le_bytes());
            self.nodes.node(&key)
        });
        if built.is_none() {
            self.immutable = false;
        }
        if let Some(made) = self.made.get_mut(at) {
            made.node = built;
        }
        Went::On
    }
}
