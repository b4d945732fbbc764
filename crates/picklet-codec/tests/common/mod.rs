//! A machine for tests: builds a plain graph and tells it as text, shared objects by number.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use picklet_codec::{Error, ErrorKind, Items, Limits, Machine, PickleStr, Reader, Result, run};

pub type V = Rc<Node>;

pub struct Node(pub RefCell<Kind>);

pub enum Kind {
    /// Whatever has no identity worth telling, as text.
    Atom(String),
    Tuple(Vec<V>),
    List(Vec<V>),
    Dict(Vec<(V, V)>),
    Set(Vec<V>),
    FrozenSet(Vec<V>),
    /// An instance: how it was made, and what was done to it.
    Object(String, Vec<V>),
}

impl Drop for Node {
    fn drop(&mut self) {
        // Chains a million deep must not overflow the native stack of a test.
        let mut open = self.0.get_mut().children();
        while let Some(child) = open.pop() {
            if let Ok(mut node) = Rc::try_unwrap(child) {
                open.extend(node.0.get_mut().children());
            }
        }
    }
}

impl Kind {
    fn children(&mut self) -> Vec<V> {
        match self {
            Kind::Atom(_) => Vec::new(),
            Kind::Tuple(items)
            | Kind::List(items)
            | Kind::Set(items)
            | Kind::FrozenSet(items)
            | Kind::Object(_, items) => std::mem::take(items),
            Kind::Dict(pairs) => {
                std::mem::take(pairs).into_iter().flat_map(|(key, value)| [key, value]).collect()
            }
        }
    }
}

/// Builds the graph. Counts what it was asked to make.
#[derive(Default)]
pub struct Tree {
    pub events: u64,
    pub memoized: Vec<u64>,
    pub popped: u64,
    pub protocol: Option<u8>,
}

impl Tree {
    fn node(&mut self, kind: Kind) -> Result<V> {
        self.events += 1;
        Ok(Rc::new(Node(RefCell::new(kind))))
    }
    fn atom(&mut self, text: impl Into<String>) -> Result<V> {
        self.node(Kind::Atom(text.into()))
    }
    fn object(&mut self, how: impl Into<String>, parts: Vec<V>) -> Result<V> {
        self.node(Kind::Object(how.into(), parts))
    }
}

fn pairs(items: Items<'_, V>) -> Vec<(V, V)> {
    let mut pairs = Vec::new();
    let mut items = items;
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    pairs
}

fn wrong<T>() -> Result<T> {
    Err(Error::unplaced(ErrorKind::WrongType("wrong target".into())))
}

impl Machine for Tree {
    type Value = V;
    fn proto(&mut self, version: u8) -> Result<()> {
        self.protocol = Some(version);
        Ok(())
    }
    fn none(&mut self) -> Result<V> {
        self.atom("None")
    }
    fn bool(&mut self, value: bool) -> Result<V> {
        self.atom(if value { "True" } else { "False" })
    }
    fn int(&mut self, value: i64) -> Result<V> {
        self.atom(value.to_string())
    }
    fn big_int(&mut self, bytes: &[u8]) -> Result<V> {
        self.atom(picklet_codec::text::le_bytes_to_decimal(bytes))
    }
    fn float(&mut self, value: f64) -> Result<V> {
        self.atom(format!("float:{:016x}", value.to_bits()))
    }
    fn str(&mut self, text: PickleStr<'_>) -> Result<V> {
        self.atom(format!("str:{}", hex(text.as_bytes())))
    }
    fn bytes(&mut self, bytes: &[u8]) -> Result<V> {
        self.atom(format!("bytes:{}", hex(bytes)))
    }
    fn byte_array(&mut self, bytes: &[u8]) -> Result<V> {
        self.atom(format!("bytearray:{}", hex(bytes)))
    }
    fn string(&mut self, bytes: &[u8]) -> Result<V> {
        // The default encoding of Python 3's unpickler.
        if !bytes.is_ascii() {
            return Err(Error::custom("py2 str is not ASCII"));
        }
        self.atom(format!("str:{}", hex(bytes)))
    }
    fn empty_tuple(&mut self) -> Result<V> {
        self.node(Kind::Tuple(Vec::new()))
    }
    fn tuple(&mut self, items: Items<'_, V>) -> Result<V> {
        self.node(Kind::Tuple(items.collect()))
    }
    fn empty_list(&mut self) -> Result<V> {
        self.node(Kind::List(Vec::new()))
    }
    fn list(&mut self, items: Items<'_, V>) -> Result<V> {
        self.node(Kind::List(items.collect()))
    }
    fn append(&mut self, list: &mut V, item: V) -> Result<()> {
        match &mut *list.0.borrow_mut() {
            Kind::List(items) => items.push(item),
            _ => return wrong(),
        }
        Ok(())
    }
    fn appends(&mut self, list: &mut V, items: Items<'_, V>) -> Result<()> {
        match &mut *list.0.borrow_mut() {
            Kind::List(list) => list.extend(items),
            _ => return wrong(),
        }
        Ok(())
    }
    fn empty_dict(&mut self) -> Result<V> {
        self.node(Kind::Dict(Vec::new()))
    }
    fn dict(&mut self, items: Items<'_, V>) -> Result<V> {
        self.node(Kind::Dict(pairs(items)))
    }
    fn set_item(&mut self, dict: &mut V, key: V, value: V) -> Result<()> {
        match &mut *dict.0.borrow_mut() {
            Kind::Dict(pairs) => pairs.push((key, value)),
            _ => return wrong(),
        }
        Ok(())
    }
    fn set_items(&mut self, dict: &mut V, items: Items<'_, V>) -> Result<()> {
        match &mut *dict.0.borrow_mut() {
            Kind::Dict(dict) => dict.extend(pairs(items)),
            _ => return wrong(),
        }
        Ok(())
    }
    fn empty_set(&mut self) -> Result<V> {
        self.node(Kind::Set(Vec::new()))
    }
    fn add_items(&mut self, set: &mut V, items: Items<'_, V>) -> Result<()> {
        match &mut *set.0.borrow_mut() {
            Kind::Set(set) => set.extend(items),
            _ => return wrong(),
        }
        Ok(())
    }
    fn frozenset(&mut self, items: Items<'_, V>) -> Result<V> {
        self.node(Kind::FrozenSet(items.collect()))
    }
    fn global(&mut self, module: &str, name: &str) -> Result<V> {
        self.atom(format!("global {module} {name}"))
    }
    fn stack_global(&mut self, module: V, name: V) -> Result<V> {
        self.object("stack_global", vec![module, name])
    }
    fn extension(&mut self, code: u32) -> Result<V> {
        self.atom(format!("ext {code}"))
    }
    fn reduce(&mut self, callable: V, args: V) -> Result<V> {
        self.object("reduce", vec![callable, args])
    }
    fn build(&mut self, object: &mut V, state: V) -> Result<()> {
        match &mut *object.0.borrow_mut() {
            Kind::Object(how, parts) => {
                how.push_str("+build");
                parts.push(state);
            }
            _ => return wrong(),
        }
        Ok(())
    }
    fn new_object(&mut self, class: V, args: V) -> Result<V> {
        self.object("newobj", vec![class, args])
    }
    fn new_object_ex(&mut self, class: V, args: V, kwargs: V) -> Result<V> {
        self.object("newobj_ex", vec![class, args, kwargs])
    }
    fn inst(&mut self, module: &str, name: &str, args: Items<'_, V>) -> Result<V> {
        self.object(format!("inst {module} {name}"), args.collect())
    }
    fn obj(&mut self, class: V, args: Items<'_, V>) -> Result<V> {
        self.object("obj", std::iter::once(class).chain(args).collect())
    }
    fn persistent_id(&mut self, id: &str) -> Result<V> {
        self.atom(format!("persid {id}"))
    }
    fn binary_persistent_id(&mut self, id: V) -> Result<V> {
        self.object("binpersid", vec![id])
    }
    fn next_buffer(&mut self) -> Result<V> {
        Err(Error::unplaced(ErrorKind::NoBuffer))
    }
    fn readonly_buffer(&mut self, buffer: V) -> Result<V> {
        Ok(buffer)
    }
    fn pop(&mut self, _: V) -> Result<()> {
        self.popped += 1;
        Ok(())
    }
    fn memoize(&mut self, index: u64, value: &mut V) -> Result<V> {
        self.memoized.push(index);
        Ok(value.clone())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The graph as text: containers get a number when first met, and only it afterwards.
pub fn tell(value: &V) -> String {
    fn walk(value: &V, seen: &mut HashMap<*const Node, usize>, out: &mut String) {
        let kind = value.0.borrow();
        if let Kind::Atom(text) = &*kind {
            out.push_str(text);
            return;
        }
        let number = seen.len();
        if let Some(number) = seen.get(&Rc::as_ptr(value)) {
            let _ = write!(out, "#{number}");
            return;
        }
        seen.insert(Rc::as_ptr(value), number);
        let (open, items): (&str, Vec<V>) = match &*kind {
            Kind::Tuple(items) if items.is_empty() => {
                seen.remove(&Rc::as_ptr(value));
                out.push_str("()");
                return;
            }
            Kind::Tuple(items) => ("tuple", items.clone()),
            Kind::List(items) => ("list", items.clone()),
            Kind::Object(how, items) => (how, items.clone()),
            Kind::Dict(pairs) => (
                "dict",
                pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect(),
            ),
            Kind::Set(items) | Kind::FrozenSet(items) => {
                // Members have no order: tell each on its own, sorted, and unshared.
                let mut texts: Vec<String> = items.iter().map(tell).collect();
                texts.sort();
                let name = if matches!(&*kind, Kind::Set(_)) { "set" } else { "frozenset" };
                let _ = write!(out, "{name}#{number}({})", texts.join(","));
                return;
            }
            Kind::Atom(_) => return,
        };
        let _ = write!(out, "{open}#{number}(");
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            walk(item, seen, out);
        }
        out.push(')');
    }
    let mut out = String::new();
    walk(value, &mut HashMap::new(), &mut out);
    out
}

/// Runs the pickle and tells its value, or the error.
pub fn load(bytes: &[u8]) -> Result<String> {
    run(&mut Reader::new(bytes), &mut Tree::default()).map(|value| tell(&value))
}

/// The same with limits.
pub fn load_with(bytes: &[u8], limits: Limits) -> Result<String> {
    run(&mut Reader::with_limits(bytes, limits), &mut Tree::default()).map(|value| tell(&value))
}

/// The Python to compare with, or a loud line when there is none.
pub fn python() -> Option<PathBuf> {
    let exe = std::env::var_os("PICKLET_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let works = Command::new(&exe)
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: no Python 3.8 or newer at {}", exe.display());
    }
    works.then_some(exe)
}

/// Every Python from 3.8 on that can be found: the one above, those named `python3.X` on the
/// PATH, and pyenv's.
pub fn pythons() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = python().into_iter().collect();
    for minor in 8..=15 {
        found.push(format!("python3.{minor}").into());
    }
    if let Some(home) = std::env::var_os("HOME") {
        let versions = PathBuf::from(home).join(".pyenv/versions");
        let mut more: Vec<PathBuf> = std::fs::read_dir(versions)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin/python3"))
            .collect();
        more.sort();
        found.extend(more);
    }
    found.retain(|exe| {
        Command::new(exe)
            .args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"])
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    found
}

/// Runs a Python script with `input` on its standard input and gives its standard output.
pub fn ask(exe: &std::path::Path, script: &str, input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new(exe)
        .args(["-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("python ends");
    feeder.join().expect("the feeder ends");
    assert!(output.status.success(), "the Python script failed");
    output.stdout
}
