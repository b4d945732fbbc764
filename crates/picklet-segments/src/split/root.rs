//! What is at the top of a pickle: which container, where its items begin, and
//! which bytes go before and after the items of a segment of the same type.
//!
//! The first operations say it for lists, dicts, sets and the containers of
//! `collections`. A tuple says so only with its last operation, and so does
//! whatever turns out to be no container: those are scanned once beforehand.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::external::refers_to_container;
use super::items::{Items, Step};
use super::ops::*;
use super::scan::{After, Event, NoTrace, Scanner, Trace};
use super::walk::Walk;
use super::window::{Fault, RawOp, Window};

/// The types that can be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Container {
    List,
    Tuple,
    Dict,
    Set,
    FrozenSet,
}

/// Where the items of a pickle are, and what makes a whole pickle of some.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// What a segment is.
    pub(crate) container: Container,
    /// The type's name, when it is not the built-in one: `collections.deque`.
    pub(crate) class: Option<String>,
    pub(crate) protocol: u8,
    /// What stands before the items, without PROTO and FRAME.
    pub(crate) prefix: Vec<u8>,
    /// Memo entries in `prefix`.
    pub(crate) prefix_memo: u64,
    /// Those of them that are the container itself.
    pub(crate) container_ids: Vec<u64>,
    /// Where the first item, or the mark before it, begins.
    pub(crate) body: u64,
    /// Where the last item ends, when that is known from the start.
    pub(crate) body_end: Option<u64>,
    /// Where the pickle ends, when that is known from the start.
    pub(crate) end: Option<u64>,
    /// Items, when known from the start.
    pub(crate) items: Option<u64>,
    /// The frame that the first item lies in.
    pub(crate) frame: Option<super::scan::Frame>,
    /// What closes a batch: APPENDS, SETITEMS, ADDITEMS; 0 where the items
    /// stand on the stack and one operation closes them all.
    pub(crate) batch_closer: u8,
    /// What adds one item: APPEND, SETITEM; 0 where nothing does.
    pub(crate) single_closer: u8,
    /// What stands after the items, with STOP. Without memo operations.
    pub(crate) suffix: Vec<u8>,
    /// What an instance is given after its items, before STOP.
    pub(crate) state: Option<State>,
}

/// The operations that give an instance its state: a value and BUILD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Where they begin and end.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Memo entries before them.
    pub(crate) memo: u64,
    /// The entries from before that they refer to, ascending.
    pub(crate) refs: Vec<u64>,
}

/// Bytes of a state that each segment can have a copy of.
const MOST_STATE: u64 = 64 << 20;

impl Root {
    /// Stack slots of an item: 2 for a dict's pair.
    pub(crate) fn stride(&self) -> usize {
        if self.container == Container::Dict { 2 } else { 1 }
    }
}

/// What a look at the beginning and, where needed, at the whole gave.
#[derive(Debug)]
pub(crate) enum Found {
    /// A container.
    Root(Box<Root>),
    /// A value that has no items; a noun with its article, `an int`.
    Other(String),
}

/// A value as far as the beginning of a pickle needs to be understood.
#[derive(Debug, Clone)]
enum Value {
    Mark,
    Text(String),
    Global(String),
    Tuple,
    Instance(String),
    /// A noun with its article.
    Noun(&'static str),
}

/// Operations looked at before the whole pickle is scanned instead.
const LOOK_AHEAD: usize = 64;
/// Bytes of a name worth reading.
const NAME: u64 = 1024;

/// Finds out what is at the top of the pickle that begins at `start`.
pub(crate) fn find(window: &mut Window<'_>, start: u64) -> Result<Found, Fault> {
    let mut look = Look {
        window,
        start,
        offset: start,
        protocol: 0,
        begun: start,
        frame: None,
        prefix: Vec::new(),
        memo: 0,
        names: HashMap::new(),
        stack: Vec::new(),
    };
    for _ in 0..LOOK_AHEAD {
        if let Some(found) = look.step()? {
            return Ok(found);
        }
    }
    look.whole()
}

/// The same for a pickle whose beginning promised another container than its
/// end kept, or one whose items a state follows: scans all of it.
pub(crate) fn find_by_end(window: &mut Window<'_>, start: u64) -> Result<Found, Fault> {
    match find(window, start)? {
        Found::Root(root) if root.batch_closer != 0 && root.class.is_some() => {
            if let Some(root) = with_state(window, *root)? {
                return Ok(Found::Root(Box::new(root)));
            }
        }
        Found::Root(_) => {}
        other => return Ok(other),
    }
    let mut look = Look {
        window,
        start,
        offset: start,
        protocol: 0,
        begun: start,
        frame: None,
        prefix: Vec::new(),
        memo: 0,
        names: HashMap::new(),
        stack: Vec::new(),
    };
    look.whole()
}

/// The root of an instance whose items a state follows; `None` when none does.
fn with_state(window: &Window<'_>, root: Root) -> Result<Option<Root>, Fault> {
    let source = window.source();
    let mut items = Items::new(Window::new(source, window.end()), &root)?;
    loop {
        match items.step()? {
            Step::Piece => {}
            Step::End { .. } => return Ok(None),
            Step::Unfit => break,
        }
    }
    let last = items.last();
    let body_end = last.start;
    let mut from = body_end;
    // Numbers of the whole that its segments do not have.
    let mut whole = Vec::new();
    let scanner = &mut items.scanner;
    let memo = if root.suffix == [STOP] {
        last.memo
    } else {
        for want in root.suffix.iter().take_while(|opcode| **opcode != STOP) {
            loop {
                let op = scanner.window().op(from)?;
                from = op.end;
                if op.opcode == *want {
                    break;
                }
                if op.opcode != FRAME {
                    return Ok(None);
                }
            }
            loop {
                let op = scanner.window().op(from)?;
                match op.opcode {
                    MEMOIZE | BINPUT | LONG_BINPUT | PUT => {
                        whole.push(scanner.define_at(op.opcode, op.at, op.end)?);
                    }
                    FRAME => {}
                    _ => break,
                }
                from = op.end;
            }
        }
        scanner.memo()
    };
    let mut value = Scanner::new(Window::new(source, window.end()), from, memo, scanner.gaps);
    let to = match value.run(&mut NoTrace)? {
        Event::Op { opcode: BUILD, end, .. }
            if value.slots().len() == 1 && value.marks().is_empty() =>
        {
            end
        }
        _ => return Ok(None),
    };
    let mut end = to;
    loop {
        let op = value.window().op(end)?;
        end = op.end;
        match op.opcode {
            STOP => break,
            MEMOIZE | BINPUT | LONG_BINPUT | PUT | FRAME => {}
            _ => return Ok(None),
        }
    }
    if to - from > MOST_STATE {
        return Fault::bad(
            from,
            format!(
                "the instance has a state of {} bytes, and each segment would have a copy of it; \
                 at most {MOST_STATE} can be split",
                to - from
            ),
        );
    }
    let mut refs = BTreeSet::new();
    let mut walk = Walk::new(source, from, to, false);
    while let Some(found) = walk.next_ref()? {
        if found.is_get() && whole.contains(&found.id) {
            return Err(refers_to_container(found.at));
        }
        if found.is_get() && found.id < memo {
            refs.insert(found.id);
        }
    }
    let state = State { from, to, memo, refs: refs.into_iter().collect() };
    Ok(Some(Root { state: Some(state), body_end: Some(body_end), end: Some(end), ..root }))
}

struct Look<'w, 'a> {
    window: &'w mut Window<'a>,
    start: u64,
    offset: u64,
    protocol: u8,
    /// Where the first operation after PROTO and FRAME is.
    begun: u64,
    frame: Option<super::scan::Frame>,
    prefix: Vec<u8>,
    memo: u64,
    names: HashMap<u64, Value>,
    stack: Vec<Value>,
}

impl Look<'_, '_> {
    /// Reads the next operation, seeing to PROTO, FRAME and the prefix.
    fn next(&mut self) -> Result<RawOp, Fault> {
        loop {
            let op = self.window.op(self.offset)?;
            self.offset = op.end;
            match op.opcode {
                PROTO => {
                    let arg = self.window.copy(op.at + 1, op.end)?;
                    self.protocol = arg.first().copied().unwrap_or(0);
                    if self.protocol > 5 {
                        return Fault::bad(
                            op.at,
                            format!(
                                "says pickle protocol {}, and there are 0 to 5: this is not a \
                                 pickle, or it is damaged",
                                self.protocol
                            ),
                        );
                    }
                }
                FRAME => {
                    let length = little(&self.window.copy(op.at + 1, op.end)?);
                    let end = op.end.saturating_add(length);
                    self.frame = Some(super::scan::Frame { at: op.at, end });
                    if end > self.window.end() {
                        return Fault::bad(
                            op.at,
                            "a FRAME here is longer than the file: it was cut off",
                        );
                    }
                }
                _ => {
                    if self.prefix.is_empty() {
                        self.begun = op.at;
                    }
                    if op.end - op.at <= NAME * 4 {
                        let bytes = self.window.copy(op.at, op.end)?;
                        self.prefix.extend_from_slice(&bytes);
                    }
                    return Ok(op);
                }
            }
        }
    }

    /// One operation further.
    fn step(&mut self) -> Result<Option<Found>, Fault> {
        let op = self.next()?;
        match op.opcode {
            EMPTY_LIST => return self.container(Container::List),
            EMPTY_DICT => return self.container(Container::Dict),
            EMPTY_SET => return self.container(Container::Set),
            MARK => {
                let next = self.window.op(self.offset)?.opcode;
                if next == LIST || next == DICT {
                    self.next()?;
                    let container = if next == LIST { Container::List } else { Container::Dict };
                    return self.container(container);
                }
                if self.stack.is_empty() {
                    return self.marked();
                }
                self.stack.push(Value::Mark);
            }
            STOP => {
                return if matches!(self.stack.as_slice(), [Value::Tuple]) {
                    self.empty_tuple(&op).map(Some)
                } else {
                    let value = self.stack.pop();
                    Ok(Some(Found::Other(value.map_or("nothing".to_owned(), noun))))
                };
            }
            BINUNICODE | SHORT_BINUNICODE | BINSTRING | SHORT_BINSTRING | BINUNICODE8 => {
                let text = self.text(op.payload, op.end)?;
                self.stack.push(Value::Text(text));
            }
            UNICODE | STRING => self.stack.push(Value::Noun("a str")),
            GLOBAL => {
                let text = self.text(op.payload, op.end)?;
                let mut lines = text.lines();
                let module = lines.next().unwrap_or("").to_owned();
                self.stack.push(Value::Global(format!("{module}.{}", lines.next().unwrap_or(""))));
            }
            STACK_GLOBAL => {
                let (name, module) = (self.stack.pop(), self.stack.pop());
                let (Some(Value::Text(name)), Some(Value::Text(module))) = (name, module) else {
                    return self.whole().map(Some);
                };
                self.stack.push(Value::Global(format!("{module}.{name}")));
            }
            EMPTY_TUPLE => self.stack.push(Value::Tuple),
            TUPLE1 | TUPLE2 | TUPLE3 => {
                for _ in 0..=(op.opcode - TUPLE1) {
                    self.stack.pop();
                }
                if self.stack.is_empty() {
                    return self.whole().map(Some);
                }
                self.stack.push(Value::Tuple);
            }
            TUPLE => {
                while !matches!(self.stack.pop(), None | Some(Value::Mark)) {}
                self.stack.push(Value::Tuple);
            }
            REDUCE => {
                self.stack.pop();
                match self.stack.pop() {
                    Some(Value::Global(name)) => {
                        self.stack.push(Value::Instance(name));
                        return self.reduced();
                    }
                    _ => return self.whole().map(Some),
                }
            }
            NEWOBJ | NEWOBJ_EX => {
                self.stack.pop();
                if op.opcode == NEWOBJ_EX {
                    self.stack.pop();
                }
                match self.stack.pop() {
                    Some(Value::Global(name)) => {
                        self.stack.push(Value::Instance(name));
                        return self.reduced();
                    }
                    _ => return self.whole().map(Some),
                }
            }
            EXT1 | EXT2 | EXT4 => {
                let code = little(&self.window.copy(op.payload, op.end)?);
                self.stack.push(Value::Global(format!("extension {code}")));
            }
            BUILD | OBJ | INST => return self.whole().map(Some),
            MEMOIZE => self.memoize(self.memo),
            BINPUT | LONG_BINPUT => {
                let id = little(&self.window.copy(op.payload, op.end)?);
                self.memoize(id);
            }
            PUT => {
                let line = self.window.copy(op.payload, op.end.min(op.payload + NAME))?;
                let Some(id) = super::scan::text_id(&line) else {
                    return Fault::bad(op.at, "no memo number on this line: the pickle is damaged");
                };
                self.memoize(id);
            }
            BINGET | LONG_BINGET => {
                let id = little(&self.window.copy(op.payload, op.end)?);
                match self.names.get(&id).cloned() {
                    Some(value) => self.stack.push(value),
                    None => return self.whole().map(Some),
                }
            }
            NONE => self.stack.push(Value::Noun("None")),
            NEWTRUE | NEWFALSE => self.stack.push(Value::Noun("a bool")),
            INT | BININT | BININT1 | BININT2 | LONG | LONG1 | LONG4 => {
                self.stack.push(Value::Noun("an int"));
            }
            FLOAT | BINFLOAT => self.stack.push(Value::Noun("a float")),
            BINBYTES | SHORT_BINBYTES | BINBYTES8 => self.stack.push(Value::Noun("a bytes object")),
            BYTEARRAY8 => self.stack.push(Value::Noun("a bytearray")),
            _ => return self.whole().map(Some),
        }
        Ok(None)
    }

    fn memoize(&mut self, id: u64) {
        if let Some(value) = self.stack.last() {
            self.names.insert(id, value.clone());
        }
        self.memo = self.memo.max(id + 1);
    }

    fn text(&self, from: u64, to: u64) -> Result<String, Fault> {
        let bytes = self.window.copy(from, to.min(from + NAME))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A new empty list, dict or set: the container itself, or what the set or
    /// Counter at the top is made from.
    fn container(&mut self, inner: Container) -> Result<Option<Found>, Fault> {
        let (container, class) = match self.stack.as_slice() {
            [] => (inner, None),
            // What protocols 0 and 1 make of instances of subclasses.
            [Value::Global(maker), Value::Mark, Value::Global(class), Value::Global(base)]
                if matches!(
                    maker.as_str(),
                    "copyreg._reconstructor" | "copy_reg._reconstructor"
                ) =>
            {
                let base = base.trim_start_matches("__builtin__.").trim_start_matches("builtins.");
                match (base, inner) {
                    ("list", Container::List) | ("dict", Container::Dict) => {
                        (inner, Some(class.clone()))
                    }
                    _ => return self.whole().map(Some),
                }
            }
            [Value::Global(name)] | [Value::Global(name), Value::Mark] => {
                match (name.as_str(), inner) {
                    ("__builtin__.set" | "builtins.set", Container::List) => (Container::Set, None),
                    ("__builtin__.frozenset" | "builtins.frozenset", Container::List) => {
                        (Container::FrozenSet, None)
                    }
                    ("collections.Counter", Container::Dict) => {
                        (Container::Dict, Some(name.clone()))
                    }
                    _ => return self.whole().map(Some),
                }
            }
            _ => return self.whole().map(Some),
        };
        let suffix = match self.stack.as_slice() {
            [] => vec![STOP],
            [_, Value::Mark, ..] => vec![TUPLE, REDUCE, STOP],
            _ => vec![TUPLE1, REDUCE, STOP],
        };
        self.opened(container, inner, class, suffix).map(Some)
    }

    /// A call has made the bottom value.
    fn reduced(&mut self) -> Result<Option<Found>, Fault> {
        let [Value::Instance(name)] = self.stack.as_slice() else {
            return Ok(None);
        };
        let container = match name.as_str() {
            "collections.OrderedDict" | "collections.defaultdict" => Container::Dict,
            "collections.deque" => Container::List,
            _ => match self.items_of_instance()? {
                Some(container) => container,
                None => return self.whole().map(Some),
            },
        };
        let class = Some(name.clone());
        self.opened(container, container, class, vec![STOP]).map(Some)
    }

    /// What kind of items an instance gets that was just made: as its first closer says.
    fn items_of_instance(&self) -> Result<Option<Container>, Fault> {
        let window = Window::new(self.window.source(), self.window.end());
        let mut ahead = Scanner::new(window, self.offset, self.memo, false);
        loop {
            match ahead.run(&mut NoTrace)? {
                Event::Op { opcode: opcode @ (MEMOIZE | BINPUT | LONG_BINPUT | PUT), at, end }
                    if ahead.slots().is_empty() =>
                {
                    ahead.define_at(opcode, at, end)?;
                    ahead.go_on(end);
                }
                Event::Op { opcode, .. } => {
                    return Ok(match (opcode, ahead.marks().len()) {
                        (APPENDS, 1) | (APPEND, 0) => Some(Container::List),
                        (SETITEMS, 1) | (SETITEM, 0) => Some(Container::Dict),
                        _ => None,
                    });
                }
                Event::Full => {
                    let count = ahead.spillable(1);
                    ahead.spill(count);
                }
                Event::Stop(_) | Event::Limit | Event::Traced => return Ok(None),
            }
        }
    }

    /// The container is there; what follows are memo operations and items.
    fn opened(
        &mut self,
        container: Container,
        inner: Container,
        class: Option<String>,
        suffix: Vec<u8>,
    ) -> Result<Found, Fault> {
        let mut container_ids = Vec::new();
        loop {
            let op = self.window.op(self.offset)?;
            match op.opcode {
                MEMOIZE | BINPUT | LONG_BINPUT | PUT => {
                    self.next()?;
                    let id = match op.opcode {
                        MEMOIZE => self.memo,
                        PUT => {
                            let line =
                                self.window.copy(op.payload, op.end.min(op.payload + NAME))?;
                            super::scan::text_id(&line).unwrap_or(self.memo)
                        }
                        _ => little(&self.window.copy(op.payload, op.end)?),
                    };
                    self.memo = self.memo.max(id + 1);
                    container_ids.push(id);
                }
                _ => break,
            }
        }
        let (batch_closer, single_closer) = match inner {
            Container::List => (APPENDS, APPEND),
            Container::Dict => (SETITEMS, SETITEM),
            _ => (ADDITEMS, 0),
        };
        Ok(Found::Root(Box::new(Root {
            container,
            class,
            protocol: self.protocol,
            prefix: std::mem::take(&mut self.prefix),
            prefix_memo: self.memo,
            container_ids,
            body: self.offset,
            body_end: None,
            end: None,
            items: None,
            frame: self.frame,
            batch_closer,
            single_closer,
            suffix,
            state: None,
        })))
    }

    fn on_stack(&self, container: Container, body: u64, body_end: u64, end: u64) -> Root {
        let suffix = match container {
            Container::FrozenSet => vec![FROZENSET, STOP],
            Container::List => vec![LIST, STOP],
            Container::Dict => vec![DICT, STOP],
            _ => vec![TUPLE, STOP],
        };
        Root {
            container,
            class: None,
            protocol: self.protocol,
            prefix: vec![MARK],
            prefix_memo: 0,
            container_ids: Vec::new(),
            body,
            body_end: Some(body_end),
            end: Some(end),
            items: None,
            frame: self.frame,
            batch_closer: 0,
            single_closer: 0,
            suffix,
            state: None,
        }
    }

    fn empty_tuple(&mut self, stop: &RawOp) -> Result<Found, Fault> {
        let mut root = self.on_stack(Container::Tuple, self.begun, self.begun, stop.end);
        root.items = Some(0);
        Ok(Found::Root(Box::new(root)))
    }

    /// A mark at the very bottom: the items follow, their closer is at the end.
    fn marked(&mut self) -> Result<Option<Found>, Fault> {
        let body = self.offset;
        let end_of_source = self.window.end();
        let window = Window::new(self.window.source(), end_of_source);
        let mut scanner = Scanner::new(window, body, 0, false);
        let (opcode, at, next) = loop {
            match scanner.run(&mut NoTrace)? {
                Event::Full => {
                    let count = scanner.spillable(1);
                    scanner.spill(count);
                }
                Event::Op { opcode, at, end } => break (opcode, at, end),
                Event::Stop(_) | Event::Traced | Event::Limit => return self.whole().map(Some),
            }
        };
        let container = match opcode {
            TUPLE => Container::Tuple,
            FROZENSET => Container::FrozenSet,
            LIST => Container::List,
            DICT => Container::Dict,
            _ => return self.whole().map(Some),
        };
        let mut offset = next;
        loop {
            let op = self.window.op(offset)?;
            offset = op.end;
            match op.opcode {
                MEMOIZE | BINPUT | LONG_BINPUT | PUT | FRAME => {}
                STOP => break,
                _ => return self.whole().map(Some),
            }
        }
        Ok(Some(Found::Root(Box::new(self.on_stack(container, body, at, offset)))))
    }

    /// Scans all of the pickle for the operation that made what STOP leaves.
    fn whole(&mut self) -> Result<Found, Fault> {
        let window = Window::new(self.window.source(), self.window.end());
        let mut scanner = Scanner::new(window, self.start, 0, false);
        let mut bottom = Bottom::default();
        let end = loop {
            match scanner.run(&mut bottom)? {
                Event::Stop(end) => break end,
                Event::Full => {
                    let count = scanner.spillable(1);
                    scanner.spill(count);
                }
                Event::Op { at, .. } => {
                    return Fault::bad(
                        at,
                        "takes more from the stack than is on it: this is not a pickle, or it is \
                         damaged",
                    );
                }
                Event::Traced | Event::Limit => {}
            }
        };
        match bottom.opcode {
            TUPLE1 | TUPLE2 | TUPLE3 if scanner.slots().len() == 1 => {
                // The first value begins after PROTO and FRAME.
                let begun = scanner.all_slots().first().map_or(self.begun, |slot| slot.start);
                if self.prefix.is_empty() {
                    self.offset = self.start;
                    self.next()?;
                }
                let root = self.on_stack(Container::Tuple, begun, bottom.at, end);
                Ok(Found::Root(Box::new(root)))
            }
            GET | BINGET | LONG_BINGET => {
                Ok(Found::Other("a value that contains itself".to_owned()))
            }
            NONE => Ok(Found::Other("None".to_owned())),
            FLOAT | BINFLOAT => Ok(Found::Other("a float".to_owned())),
            INT | BININT | BININT1 | BININT2 | LONG | LONG1 | LONG4 => {
                Ok(Found::Other("an int".to_owned()))
            }
            PERSID | BINPERSID => Ok(Found::Other("a persistent id".to_owned())),
            EXT1 | EXT2 | EXT4 => Ok(Found::Other("an extension code".to_owned())),
            GLOBAL | STACK_GLOBAL => Ok(Found::Other(
                self.first_global()?
                    .map_or("a global".to_owned(), |name| format!("the global {name}")),
            )),
            _ => Ok(Found::Other(match self.first_global()? {
                Some(name) => instance(&name),
                None => "an instance".to_owned(),
            })),
        }
    }

    /// The class of the instance at the top: the first global that is no
    /// helper of copyreg's.
    fn first_global(&mut self) -> Result<Option<String>, Fault> {
        let (mut offset, mut recent) = (self.start, Vec::<String>::new());
        let mut names = HashMap::new();
        let mut memo = 0;
        for _ in 0..LOOK_AHEAD {
            let Ok(op) = self.window.op(offset) else { break };
            offset = op.end;
            let found = match op.opcode {
                GLOBAL | INST => {
                    let text = self.text(op.payload, op.end)?;
                    Some(text.trim_end().replace('\n', "."))
                }
                BINUNICODE | SHORT_BINUNICODE => {
                    recent.push(self.text(op.payload, op.end)?);
                    None
                }
                MEMOIZE => {
                    if let Some(text) = recent.last() {
                        names.insert(memo, text.clone());
                    }
                    memo += 1;
                    None
                }
                BINGET => {
                    let id = little(&self.window.copy(op.payload, op.end)?);
                    recent.extend(names.get(&id).cloned());
                    None
                }
                STACK_GLOBAL => {
                    let name = recent.pop().unwrap_or_default();
                    let module = recent.pop().unwrap_or_default();
                    Some(format!("{module}.{name}"))
                }
                STOP => break,
                _ => None,
            };
            match found.as_deref() {
                None
                | Some(
                    "copyreg._reconstructor"
                    | "copy_reg._reconstructor"
                    | "copyreg.__newobj__"
                    | "copyreg.__newobj_ex__",
                ) => {}
                Some(_) => return Ok(found),
            }
        }
        Ok(None)
    }
}

fn noun(value: Value) -> String {
    match value {
        Value::Noun(noun) => noun.to_owned(),
        Value::Text(_) => "a str".to_owned(),
        Value::Global(name) => format!("the global {name}"),
        Value::Instance(name) => instance(&name),
        Value::Tuple => "a tuple".to_owned(),
        Value::Mark => "a mark".to_owned(),
    }
}

/// What an instance is called in an error.
fn instance(name: &str) -> String {
    match name {
        "numpy.core.multiarray._reconstruct"
        | "numpy._core.multiarray._reconstruct"
        | "numpy.core.numeric._frombuffer"
        | "numpy._core.numeric._frombuffer"
        | "numpy.ndarray" => "a numpy ndarray".to_owned(),
        "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => {
            "a numpy scalar".to_owned()
        }
        "pandas.core.frame.DataFrame" => "a pandas DataFrame".to_owned(),
        "pandas.core.series.Series" => "a pandas Series".to_owned(),
        "_codecs.encode" => "a bytes object".to_owned(),
        "builtins.bytearray" | "__builtin__.bytearray" => "a bytearray".to_owned(),
        "builtins.complex" | "__builtin__.complex" => "a complex".to_owned(),
        _ => {
            let shown: String = name.chars().take(200).flat_map(char::escape_debug).collect();
            format!("an instance of {shown}")
        }
    }
}

/// Notes the last operation that made the bottom value.
#[derive(Default)]
struct Bottom {
    opcode: u8,
    at: u64,
}

impl Trace for Bottom {
    const ACTIVE: bool = true;

    fn after(&mut self, after: &After) -> bool {
        if after.low == 0 {
            self.opcode = after.opcode;
            self.at = after.at;
        }
        false
    }
}
