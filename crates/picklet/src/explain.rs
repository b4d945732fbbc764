//! A pickle as readable pseudocode: what it builds, and what it would import and call.
//!
//! [`explain`] is for people who look before they load. The text looks like Python and is not
//! meant to be run: calls that a policy lists stand where their results are used, all others are
//! lines of their own, in the order in which they would happen, with what is known of them.
//! Containers that are used more than once have names, so that sharing is seen. What ran before
//! an error is shown. Size is bounded on both sides: [`MAX_OBJECTS`] are kept, and the text has at
//! most the lines that the caller asks for. Nothing is imported or called.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;

use picklet_codec::policy::{Policy, Rule};
use picklet_codec::{
    Driver, Error, Items, Limits, Machine, Opcode, PickleStr, Result, StreamReader, compat, pyrepr,
    scan, text,
};

/// Objects of one pickle that are kept to be shown; what comes after them is left out.
pub const MAX_OBJECTS: usize = 1 << 20;

/// How deep, how many items of each container, and how many letters of each text are shown.
const DEPTH: usize = 6;
const ITEMS: usize = 12;
const TEXT: usize = 120;
/// Letters of one line, about.
const LINE: usize = 400;

/// How much is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Calls that it lists stand within expressions.
    pub policy: Policy,
    /// Lines for each pickle.
    pub lines: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { policy: Policy::data(), lines: 200 }
    }
}

/// How the explanation of one pickle ended.
#[derive(Debug)]
pub struct Explained {
    /// The lines.
    pub lines: Vec<String>,
    /// What was wrong with the pickle, after what is told in the lines.
    pub error: Option<Error>,
}

/// Explains the pickle that `stream` stands at.
///
/// ```
/// use picklet::codec::StreamReader;
/// use picklet::explain::{Options, explain};
///
/// let mut stream = StreamReader::new(&b"cos\nsystem\n(S'id'\ntR."[..]);
/// let told = explain(&mut stream, &Options::default());
/// assert!(told.lines.iter().any(|line| line.starts_with("_1 = os.system(b'id')")));
/// assert_eq!(told.lines.last().unwrap(), "result = _1");
/// ```
pub fn explain<R: io::Read>(stream: &mut StreamReader<R>, options: &Options) -> Explained {
    let mut trace = Trace::new(&options.policy);
    let ran = Driver::new(Limits::default()).run_stream(stream, &mut trace);
    let full = trace.full;
    let (top, error) = match ran {
        Ok(top) => (Some(top), None),
        Err(_) if full => (None, None),
        Err(error) => (None, Some(error)),
    };
    let mut lines = Printer::new(&trace, options.lines).print(top);
    if full {
        lines.push(format!(
            "# and more: only what the first {MAX_OBJECTS} objects do is told; `picklet scan` reads all"
        ));
    }
    Explained { lines, error }
}

type Id = u32;

/// One object.
enum Node {
    /// As Python writes it.
    Atom(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    FrozenSet(Vec<Id>),
    /// Keys and values in turn.
    Dict(Vec<Id>),
    Global {
        name: String,
        listed: bool,
        danger: Option<&'static str>,
    },
    /// `callable(*args)`; `form` is the method that makes it, where it is not a plain call.
    Call {
        callable: Id,
        args: Id,
        keywords: Option<Id>,
        form: &'static str,
        states: Vec<Id>,
        added: Vec<Id>,
    },
    /// What the application or its registry gives.
    Given(&'static str, Id),
}

/// What happens, in order.
enum Event {
    Import(Id, u64),
    Call(Id, u64),
    /// An object is given a state, or items.
    Change {
        target: Id,
        what: Id,
        how: &'static str,
        offset: u64,
    },
}

struct Trace<'p> {
    policy: &'p Policy,
    nodes: Vec<Node>,
    /// How often each object was taken out of the memo or doubled.
    again: HashMap<Id, u32>,
    events: Vec<Event>,
    globals: HashMap<(String, String), Id>,
    protocol: u8,
    offset: u64,
    full: bool,
}

impl<'p> Trace<'p> {
    fn new(policy: &'p Policy) -> Self {
        Trace {
            policy,
            nodes: Vec::new(),
            again: HashMap::new(),
            events: Vec::new(),
            globals: HashMap::new(),
            protocol: 0,
            offset: 0,
            full: false,
        }
    }

    fn node(&mut self, node: Node) -> Result<Id> {
        if self.nodes.len() >= MAX_OBJECTS {
            self.full = true;
            return Err(Error::custom("too many objects to be explained"));
        }
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    fn atom(&mut self, text: String) -> Result<Id> {
        self.node(Node::Atom(text))
    }

    fn text_of(&self, id: Id) -> Option<String> {
        match self.nodes.get(id as usize)? {
            Node::Atom(text) => {
                let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
                Some(inner.to_owned())
            }
            _ => None,
        }
    }

    fn import(&mut self, module: &str, name: &str) -> Result<Id> {
        let (module, name) =
            if self.protocol < 3 { compat::to_python3(module, name) } else { (module, name) };
        let key = (module.to_owned(), name.to_owned());
        if let Some(id) = self.globals.get(&key) {
            return Ok(*id);
        }
        let listed = !matches!(self.policy.rule(module, name), Rule::Unlisted);
        let danger = scan::known_danger(module, name);
        let shown = format!("{module}.{name}").escape_debug().to_string();
        let id = self.node(Node::Global { name: shown, listed, danger })?;
        self.globals.insert(key, id);
        self.events.push(Event::Import(id, self.offset));
        Ok(id)
    }

    fn call(
        &mut self,
        callable: Id,
        args: Id,
        keywords: Option<Id>,
        form: &'static str,
    ) -> Result<Id> {
        let node =
            Node::Call { callable, args, keywords, form, states: Vec::new(), added: Vec::new() };
        let id = self.node(node)?;
        self.events.push(Event::Call(id, self.offset));
        Ok(id)
    }

    fn add(
        &mut self,
        target: Id,
        items: impl Iterator<Item = Id>,
        how: &'static str,
    ) -> Result<()> {
        let items: Vec<Id> = items.collect();
        match self.nodes.get_mut(target as usize) {
            Some(Node::List(all)) if how == "extend" => all.extend(items),
            Some(Node::Set(all)) if how == "update" => all.extend(items),
            Some(Node::Dict(all)) if how == "setitem" => all.extend(items),
            _ => {
                let offset = self.offset;
                let what = self.node(if how == "setitem" {
                    Node::Dict(items.clone())
                } else {
                    Node::List(items.clone())
                })?;
                if let Some(Node::Call { added, .. }) = self.nodes.get_mut(target as usize) {
                    added.extend(items);
                }
                self.events.push(Event::Change { target, what, how, offset });
            }
        }
        Ok(())
    }
}

impl Machine for Trace<'_> {
    type Value = Id;

    fn op(&mut self, _: Opcode, offset: u64) {
        self.offset = offset;
    }
    fn proto(&mut self, version: u8) -> Result<()> {
        self.protocol = version;
        Ok(())
    }
    fn none(&mut self) -> Result<Id> {
        self.atom("None".into())
    }
    fn bool(&mut self, value: bool) -> Result<Id> {
        self.atom(if value { "True" } else { "False" }.into())
    }
    fn int(&mut self, value: i64) -> Result<Id> {
        self.atom(value.to_string())
    }
    fn big_int(&mut self, bytes: &[u8]) -> Result<Id> {
        let text = if bytes.len() <= 40 {
            text::le_bytes_to_decimal(bytes)
        } else {
            format!("<int of {} bytes>", bytes.len())
        };
        self.atom(text)
    }
    fn float(&mut self, value: f64) -> Result<Id> {
        self.atom(text::float_repr(value))
    }
    fn str(&mut self, text: PickleStr<'_>) -> Result<Id> {
        let points: Vec<u32> = text.code_points().take(TEXT).collect();
        let longer = points.len() == TEXT && text.code_points().nth(TEXT).is_some();
        let mut out = String::new();
        if let Some(part) = picklet_codec::PickleString::from_code_points(points) {
            pyrepr::push_str(&mut out, part.as_pickle_str());
        }
        if longer {
            out.push('…');
        }
        self.atom(out)
    }
    fn bytes(&mut self, bytes: &[u8]) -> Result<Id> {
        let mut out = String::new();
        pyrepr::push_bytes(&mut out, bytes.get(..TEXT).unwrap_or(bytes));
        if bytes.len() > TEXT {
            let _ = write!(out, "… <{} bytes>", bytes.len());
        }
        self.atom(out)
    }
    fn byte_array(&mut self, bytes: &[u8]) -> Result<Id> {
        self.bytes(bytes)
    }
    fn string(&mut self, bytes: &[u8]) -> Result<Id> {
        self.bytes(bytes)
    }
    fn empty_tuple(&mut self) -> Result<Id> {
        self.node(Node::Tuple(Vec::new()))
    }
    fn tuple(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.node(Node::Tuple(items.collect()))
    }
    fn empty_list(&mut self) -> Result<Id> {
        self.node(Node::List(Vec::new()))
    }
    fn list(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.node(Node::List(items.collect()))
    }
    fn append(&mut self, list: &mut Id, item: Id) -> Result<()> {
        self.add(*list, std::iter::once(item), "extend")
    }
    fn appends(&mut self, list: &mut Id, items: Items<'_, Id>) -> Result<()> {
        self.add(*list, items, "extend")
    }
    fn empty_dict(&mut self) -> Result<Id> {
        self.node(Node::Dict(Vec::new()))
    }
    fn dict(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.node(Node::Dict(items.collect()))
    }
    fn set_item(&mut self, dict: &mut Id, key: Id, value: Id) -> Result<()> {
        self.add(*dict, [key, value].into_iter(), "setitem")
    }
    fn set_items(&mut self, dict: &mut Id, items: Items<'_, Id>) -> Result<()> {
        self.add(*dict, items, "setitem")
    }
    fn empty_set(&mut self) -> Result<Id> {
        self.node(Node::Set(Vec::new()))
    }
    fn add_items(&mut self, set: &mut Id, items: Items<'_, Id>) -> Result<()> {
        self.add(*set, items, "update")
    }
    fn frozenset(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.node(Node::FrozenSet(items.collect()))
    }
    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        self.import(module, name)
    }
    fn stack_global(&mut self, module: Id, name: Id) -> Result<Id> {
        if let (Some(module), Some(name)) = (self.text_of(module), self.text_of(name)) {
            return self.import(&module, &name);
        }
        let pair = self.node(Node::Tuple(vec![module, name]))?;
        self.node(Node::Given("import_by_computed_name", pair))
    }
    fn extension(&mut self, code: u32) -> Result<Id> {
        let code = self.atom(code.to_string())?;
        self.node(Node::Given("extension", code))
    }
    fn reduce(&mut self, callable: Id, args: Id) -> Result<Id> {
        self.call(callable, args, None, "")
    }
    fn build(&mut self, object: &mut Id, state: Id) -> Result<()> {
        if let Some(Node::Call { states, .. }) = self.nodes.get_mut(*object as usize) {
            states.push(state);
        }
        let offset = self.offset;
        self.events.push(Event::Change { target: *object, what: state, how: "state", offset });
        Ok(())
    }
    fn new_object(&mut self, class: Id, args: Id) -> Result<Id> {
        self.call(class, args, None, ".__new__")
    }
    fn new_object_ex(&mut self, class: Id, args: Id, kwargs: Id) -> Result<Id> {
        self.call(class, args, Some(kwargs), ".__new__")
    }
    fn inst(&mut self, module: &str, name: &str, args: Items<'_, Id>) -> Result<Id> {
        let class = self.import(module, name)?;
        let args = self.node(Node::Tuple(args.collect()))?;
        self.call(class, args, None, "")
    }
    fn obj(&mut self, class: Id, args: Items<'_, Id>) -> Result<Id> {
        let args = self.node(Node::Tuple(args.collect()))?;
        self.call(class, args, None, "")
    }
    fn persistent_id(&mut self, id: &str) -> Result<Id> {
        let id = self.str(id.into())?;
        self.node(Node::Given("persistent_load", id))
    }
    fn binary_persistent_id(&mut self, id: Id) -> Result<Id> {
        self.node(Node::Given("persistent_load", id))
    }
    fn next_buffer(&mut self) -> Result<Id> {
        self.atom("<out-of-band buffer>".into())
    }
    fn readonly_buffer(&mut self, buffer: Id) -> Result<Id> {
        Ok(buffer)
    }
    fn dup(&mut self, value: &Id) -> Result<Id> {
        *self.again.entry(*value).or_default() += 1;
        Ok(*value)
    }
    fn get(&mut self, _: u64, value: &Id) -> Result<Id> {
        *self.again.entry(*value).or_default() += 1;
        Ok(*value)
    }
}

/// Writes the lines.
struct Printer<'t, 'p> {
    trace: &'t Trace<'p>,
    names: HashMap<Id, String>,
    /// Containers whose line is being written: what refers to them uses their name.
    open: HashSet<Id>,
    lines: Vec<String>,
    cap: usize,
    left_out: usize,
}

impl<'t, 'p> Printer<'t, 'p> {
    fn new(trace: &'t Trace<'p>, cap: usize) -> Self {
        Printer {
            trace,
            names: HashMap::new(),
            open: HashSet::new(),
            lines: Vec::new(),
            cap,
            left_out: 0,
        }
    }

    fn node(&self, id: Id) -> Option<&'t Node> {
        self.trace.nodes.get(id as usize)
    }

    fn line(&mut self, line: String) {
        if self.lines.len() < self.cap {
            self.lines.push(line);
        } else {
            self.left_out += 1;
        }
    }

    fn name(&mut self, id: Id) -> String {
        let next = self.names.len() + 1;
        self.names.entry(id).or_insert_with(|| format!("_{next}")).clone()
    }

    fn print(mut self, top: Option<Id>) -> Vec<String> {
        for event in &self.trace.events {
            if self.lines.len() >= self.cap {
                self.left_out += 1;
                continue;
            }
            match event {
                Event::Import(id, offset) => self.import(*id, *offset),
                Event::Call(id, offset) => self.call(*id, *offset),
                Event::Change { target, what, how, offset } => {
                    self.change(*target, *what, how, *offset);
                }
            }
        }
        if let Some(top) = top {
            let shown = self.expression(top, DEPTH);
            // The result is always there, whatever was left out before it.
            self.cap = self.cap.max(self.lines.len() + 1);
            let left_out = std::mem::take(&mut self.left_out);
            if left_out > 0 {
                self.cap += 1;
                self.line(format!("# {left_out} more lines are left out"));
            }
            self.line(format!("result = {shown}"));
        } else if self.left_out > 0 {
            let left_out = self.left_out;
            self.lines.push(format!("# {left_out} more lines are left out"));
        }
        self.lines
    }

    fn import(&mut self, id: Id, offset: u64) {
        if let Some(Node::Global { name, listed, danger }) = self.node(id) {
            let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
            let note = match (listed, danger) {
                (true, _) => String::new(),
                (false, Some(danger)) => format!(": dangerous, {danger}"),
                (false, None) => ": not listed by the policy".to_owned(),
            };
            self.line(format!("from {module} import {last}  # byte {offset}{note}"));
        }
    }

    /// Whether what happens to the object is listed, as far as its callable's name goes.
    fn is_listed(&self, id: Id) -> bool {
        match self.node(id) {
            Some(Node::Call { callable, .. }) => {
                matches!(self.node(*callable), Some(Node::Global { listed: true, .. }))
            }
            _ => false,
        }
    }

    fn call(&mut self, id: Id, offset: u64) {
        if self.is_listed(id) {
            return;
        }
        let shown = self.call_text(id, DEPTH);
        let danger = match self.node(id) {
            Some(Node::Call { callable, .. }) => match self.node(*callable) {
                Some(Node::Global { danger: Some(danger), .. }) => format!(": dangerous, {danger}"),
                Some(Node::Global { .. }) => ": not listed by the policy".into(),
                _ => ": calls what the pickle made".to_owned(),
            },
            _ => String::new(),
        };
        let name = self.name(id);
        self.line(format!("{name} = {shown}  # byte {offset}{danger}"));
    }

    fn change(&mut self, target: Id, what: Id, how: &str, offset: u64) {
        if self.is_listed(target) {
            return;
        }
        let (target, what) = (self.expression(target, 2), self.expression(what, DEPTH));
        self.line(match how {
            "state" => {
                format!("{target}.__setstate__({what})  # byte {offset}, or __dict__.update")
            }
            "setitem" => format!("{target}.update({what})  # byte {offset}, item by item"),
            method => format!("{target}.{method}({what})  # byte {offset}"),
        });
    }

    fn call_text(&mut self, id: Id, depth: usize) -> String {
        let Some(Node::Call { callable, args, keywords, form, .. }) = self.node(id) else {
            return "…".into();
        };
        let mut out = self.expression(*callable, depth);
        out.push_str(form);
        let args = match self.node(*args) {
            Some(Node::Tuple(items)) => self.items(items, depth.saturating_sub(1)),
            _ => format!("*{}", self.expression(*args, depth.saturating_sub(1))),
        };
        let _ = write!(out, "({args}");
        if let Some(keywords) = keywords {
            let separator = if args.is_empty() { "" } else { ", " };
            let _ =
                write!(out, "{separator}**{}", self.expression(*keywords, depth.saturating_sub(1)));
        }
        out.push(')');
        out
    }

    fn items(&mut self, items: &[Id], depth: usize) -> String {
        let mut out = String::new();
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            if at >= ITEMS || out.len() > LINE {
                let _ = write!(out, "… {} more", items.len() - at);
                break;
            }
            out.push_str(&self.expression(*item, depth));
        }
        out
    }

    fn pairs(&mut self, items: &[Id], depth: usize) -> String {
        let mut out = String::new();
        for (at, pair) in items.chunks(2).enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            if at >= ITEMS || out.len() > LINE {
                let _ = write!(out, "… {} more", items.len() / 2 - at);
                break;
            }
            if let [key, value] = pair {
                let (key, value) = (self.expression(*key, depth), self.expression(*value, depth));
                let _ = write!(out, "{key}: {value}");
            }
        }
        out
    }

    /// An object where it is used: its name, if it has one or needs one.
    fn expression(&mut self, id: Id, depth: usize) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let shared = self.trace.again.contains_key(&id)
            && !matches!(self.node(id), Some(Node::Atom(_) | Node::Global { .. }) | None);
        if !shared {
            return self.written(id, depth);
        }
        let name = self.name(id);
        if self.open.insert(id) {
            let written = self.written(id, depth);
            let times = self.trace.again.get(&id).copied().unwrap_or(0) + 1;
            self.line(format!("{name} = {written}  # used {times} times"));
        }
        name
    }

    fn written(&mut self, id: Id, depth: usize) -> String {
        let Some(node) = self.node(id) else { return "…".into() };
        match node {
            Node::Atom(text) => text.clone(),
            Node::Global { name, .. } => name.clone(),
            _ if depth == 0 => "…".into(),
            Node::Tuple(items) if items.len() == 1 => {
                format!("({},)", self.items(items, depth - 1))
            }
            Node::Tuple(items) => format!("({})", self.items(items, depth - 1)),
            Node::List(items) => format!("[{}]", self.items(items, depth - 1)),
            Node::Set(items) if items.is_empty() => "set()".into(),
            Node::Set(items) => format!("{{{}}}", self.items(items, depth - 1)),
            Node::FrozenSet(items) => format!("frozenset({{{}}})", self.items(items, depth - 1)),
            Node::Dict(items) => format!("{{{}}}", self.pairs(items, depth - 1)),
            Node::Given(what, id) => format!("{what}({})", self.expression(*id, depth - 1)),
            Node::Call { states, added, .. } => {
                let mut out = self.call_text(id, depth);
                for state in states {
                    let _ = write!(out, ".with_state({})", self.expression(*state, depth - 1));
                }
                if !added.is_empty() {
                    let _ = write!(out, ".with_items({})", self.items(added, depth - 1));
                }
                out
            }
        }
    }
}
