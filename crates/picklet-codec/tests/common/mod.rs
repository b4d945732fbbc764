//! A machine for tests: builds a plain graph and tells it as text, shared objects by number.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
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
    Dict(Pairs),
    Set(Members),
    FrozenSet(Members),
    /// An instance: how it was made, and what was done to it.
    Object(String, Vec<V>),
}

/// Pairs whose keys are told apart as Python tells them.
#[derive(Default)]
pub struct Pairs {
    pairs: Vec<(V, V)>,
    places: HashMap<String, usize>,
}

impl Pairs {
    fn insert(&mut self, key: V, value: V) -> Result<()> {
        match self.places.entry(key_of(&key)?) {
            Entry::Occupied(place) => self.pairs[*place.get()].1 = value,
            Entry::Vacant(place) => {
                place.insert(self.pairs.len());
                self.pairs.push((key, value));
            }
        }
        Ok(())
    }

    fn extend(&mut self, mut items: Items<'_, V>) -> Result<()> {
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            self.insert(key, value)?;
        }
        Ok(())
    }
}

/// Members told apart as Python tells them.
#[derive(Default)]
pub struct Members {
    items: Vec<V>,
    seen: HashSet<String>,
}

impl Members {
    fn extend(&mut self, items: Items<'_, V>) -> Result<()> {
        for item in items {
            if self.seen.insert(key_of(&item)?) {
                self.items.push(item);
            }
        }
        Ok(())
    }
}

/// A text that is equal for what Python takes for equal keys, or Python's TypeError.
fn key_of(value: &V) -> Result<String> {
    // What is being changed at this moment is a list, a dict or a set.
    let Ok(kind) = value.0.try_borrow() else {
        return Err(Error::custom("unhashable"));
    };
    let of_all = |items: &[V]| items.iter().map(key_of).collect::<Result<Vec<_>>>();
    Ok(match &*kind {
        Kind::Atom(text) if text.starts_with("bytearray:") => {
            return Err(Error::custom("unhashable"));
        }
        Kind::Atom(text) => match text.as_str() {
            "True" => "1".to_owned(),
            "False" => "0".to_owned(),
            text => match text.strip_prefix("float:") {
                Some(bits) => {
                    let float = f64::from_bits(u64::from_str_radix(bits, 16).unwrap_or(0));
                    if float.is_nan() {
                        format!("nan at {:p}", Rc::as_ptr(value))
                    } else if float.fract() == 0.0 {
                        // Display writes a whole float as its exact integer.
                        format!("{float:.0}").replace("-0", "0")
                    } else {
                        text.to_owned()
                    }
                }
                None => text.to_owned(),
            },
        },
        Kind::Tuple(items) => format!("({})", of_all(items)?.join(",")),
        Kind::FrozenSet(members) => {
            let mut texts = of_all(&members.items)?;
            texts.sort();
            format!("frozenset({})", texts.join(","))
        }
        Kind::Object(..) => format!("object at {:p}", Rc::as_ptr(value)),
        _ => return Err(Error::custom("unhashable")),
    })
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
            Kind::Tuple(items) | Kind::List(items) | Kind::Object(_, items) => {
                std::mem::take(items)
            }
            Kind::Set(members) | Kind::FrozenSet(members) => std::mem::take(&mut members.items),
            Kind::Dict(pairs) => std::mem::take(&mut pairs.pairs)
                .into_iter()
                .flat_map(|(key, value)| [key, value])
                .collect(),
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
    /// Something happened that lies beyond this simple builder: an object was asked for, or a
    /// container's opcode met something else.
    pub beyond: bool,
}

impl Tree {
    fn node(&mut self, kind: Kind) -> Result<V> {
        self.events += 1;
        Ok(Rc::new(Node(RefCell::new(kind))))
    }
    fn atom(&mut self, text: impl Into<String>) -> Result<V> {
        self.node(Kind::Atom(text.into()))
    }
    fn wrong<T>(&mut self) -> Result<T> {
        self.beyond = true;
        Err(Error::unplaced(ErrorKind::WrongType("wrong target".into())))
    }
    fn object(&mut self, how: impl Into<String>, parts: Vec<V>) -> Result<V> {
        self.beyond = true;
        self.node(Kind::Object(how.into(), parts))
    }
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
            _ => return self.wrong(),
        }
        Ok(())
    }
    fn appends(&mut self, list: &mut V, items: Items<'_, V>) -> Result<()> {
        match &mut *list.0.borrow_mut() {
            Kind::List(list) => list.extend(items),
            _ => return self.wrong(),
        }
        Ok(())
    }
    fn empty_dict(&mut self) -> Result<V> {
        self.node(Kind::Dict(Pairs::default()))
    }
    fn dict(&mut self, items: Items<'_, V>) -> Result<V> {
        let mut pairs = Pairs::default();
        pairs.extend(items)?;
        self.node(Kind::Dict(pairs))
    }
    fn set_item(&mut self, dict: &mut V, key: V, value: V) -> Result<()> {
        match &mut *dict.0.borrow_mut() {
            Kind::Dict(pairs) => pairs.insert(key, value),
            _ => self.wrong(),
        }
    }
    fn set_items(&mut self, dict: &mut V, items: Items<'_, V>) -> Result<()> {
        match &mut *dict.0.borrow_mut() {
            Kind::Dict(pairs) => pairs.extend(items),
            _ => self.wrong(),
        }
    }
    fn empty_set(&mut self) -> Result<V> {
        self.node(Kind::Set(Members::default()))
    }
    fn add_items(&mut self, set: &mut V, items: Items<'_, V>) -> Result<()> {
        match &mut *set.0.borrow_mut() {
            Kind::Set(members) => members.extend(items),
            _ => self.wrong(),
        }
    }
    fn frozenset(&mut self, items: Items<'_, V>) -> Result<V> {
        let mut members = Members::default();
        members.extend(items)?;
        self.node(Kind::FrozenSet(members))
    }
    fn global(&mut self, module: &str, name: &str) -> Result<V> {
        self.beyond = true;
        self.atom(format!("global {module} {name}"))
    }
    fn stack_global(&mut self, module: V, name: V) -> Result<V> {
        self.object("stack_global", vec![module, name])
    }
    fn extension(&mut self, code: u32) -> Result<V> {
        self.beyond = true;
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
            _ => return self.wrong(),
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
        self.beyond = true;
        self.atom(format!("persid {id}"))
    }
    fn binary_persistent_id(&mut self, id: V) -> Result<V> {
        self.object("binpersid", vec![id])
    }
    fn next_buffer(&mut self) -> Result<V> {
        Err(Error::unplaced(ErrorKind::NoBuffer))
    }
    fn readonly_buffer(&mut self, buffer: V) -> Result<V> {
        self.beyond = true;
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
                pairs.pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect(),
            ),
            Kind::FrozenSet(members) if members.items.is_empty() => {
                // One object in Python, as the empty tuple is.
                seen.remove(&Rc::as_ptr(value));
                out.push_str("frozenset()");
                return;
            }
            Kind::Set(members) | Kind::FrozenSet(members) => {
                // Members have no order: tell each on its own, sorted, and unshared.
                let mut texts: Vec<String> = members.items.iter().map(tell).collect();
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
