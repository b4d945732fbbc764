//! [`Value`]: one pickled object with all it refers to, and the views into it.

use std::fmt;
use std::io;

use num_bigint::BigInt;
use picklet_codec::sink::InMemory;
use picklet_codec::{Error, Limits, PickleStr, Result, Writer};

use crate::graph::{Call, Effect, Graph, Id, Node};
use crate::{read, repr, write};

/// A pickled object, with everything it refers to, owned.
///
/// Sharing and cycles are kept, unknown classes are kept, nothing is imported. Written again at
/// its own protocol, what CPython's C pickler wrote gives the same bytes; other pickles give one
/// that means the same to Python. Calls whose results a pickle throws away are kept too: they
/// show nowhere here, but are written again.
///
/// Reading and writing take at most 200 bytes of memory each for each byte of the pickle,
/// whatever it holds; 50 MB of `None` take 9. Dropping, cloning, comparing and printing are
/// loops: nesting cannot overflow the stack.
///
/// ```
/// use picklet::Value;
///
/// let pickle = b"\x80\x04\x95\x0d\0\0\0\0\0\0\0}\x94\x8c\x04name\x94K\x05s.";
/// let value = Value::from_slice(pickle)?;
/// assert_eq!(value.get("name").and_then(|age| age.as_i64()), Some(5));
/// assert_eq!(value.to_string(), "{'name': 5}");
/// assert_eq!(value.to_vec()?, pickle);
/// # Ok::<(), picklet::Error>(())
/// ```
#[derive(Clone)]
pub struct Value {
    pub(crate) graph: Graph,
    pub(crate) root: Id,
    pub(crate) protocol: u8,
}

impl Value {
    /// Reads the first pickle of `pickle`; bytes after its STOP are ignored, as Python does.
    ///
    /// # Errors
    /// Bytes that are no pickle, or that no interpreter could load, with the byte offset.
    pub fn from_slice(pickle: &[u8]) -> Result<Value> {
        Value::from_slice_with(pickle, Limits::default())
    }

    /// As [`Value::from_slice`], within `limits`.
    ///
    /// # Errors
    /// As [`Value::from_slice`], and `Limit` where a cap is met.
    pub fn from_slice_with(pickle: &[u8], limits: Limits) -> Result<Value> {
        Value::from_prefix(pickle, limits).map(|(value, _)| value)
    }

    /// As [`Value::from_slice_with`], and how many bytes the pickle took: for files that hold
    /// many pickles, one after another.
    ///
    /// # Errors
    /// As [`Value::from_slice_with`].
    pub fn from_prefix(pickle: &[u8], limits: Limits) -> Result<(Value, usize)> {
        let read = read::read(pickle, limits)?;
        let value = Value { graph: read.graph, root: read.root, protocol: read.protocol };
        Ok((value, usize::try_from(read.length).unwrap_or(usize::MAX)))
    }

    /// Reads `reader` to its end and the first pickle in it.
    ///
    /// # Errors
    /// As [`Value::from_slice`], and failures to read.
    pub fn from_reader(mut reader: impl io::Read) -> Result<Value> {
        let mut pickle = Vec::new();
        reader.read_to_end(&mut pickle).map_err(io_error)?;
        Value::from_slice(&pickle)
    }

    /// The pickle, at the protocol the value was read at (4 for values built here).
    ///
    /// # Errors
    /// None for values that were read.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.to_vec_at(self.protocol)
    }

    /// The pickle at `protocol`, 0 to 5. Names of globals change between Python 2's and
    /// Python 3's where protocol 3 is crossed, as in Python.
    ///
    /// # Errors
    /// A protocol above 5, and kinds of objects that have no opcode at a lower protocol than
    /// they were read at (bytes below 3, sets below 4, bytearrays below 5); at protocols 0 and
    /// 1, an int of more than 4300 digits, which Python would not read.
    pub fn to_vec_at(&self, protocol: u8) -> Result<Vec<u8>> {
        write::write(&self.graph, self.root, self.protocol, protocol, InMemory)
            .map(Writer::into_bytes)
    }

    /// Writes what [`Value::to_vec`] gives to `writer`, frame by frame: about 64 KiB are
    /// buffered. Does not flush it.
    ///
    /// # Errors
    /// As [`Value::to_vec`], and failures to write.
    pub fn to_writer(&self, writer: impl io::Write) -> Result<()> {
        write::write(&self.graph, self.root, self.protocol, self.protocol, writer).map(drop)
    }

    /// The protocol the value was read at.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The object itself.
    pub fn root(&self) -> ValueRef<'_> {
        ValueRef { graph: &self.graph, id: self.root }
    }

    /// What kind of object it is, with what it holds.
    pub fn kind(&self) -> Kind<'_> {
        self.root().kind()
    }

    /// The value of a dict's last entry under the str `key`.
    pub fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.root().get(key)
    }

    /// A list, tuple, set or frozenset's item at `index`, in the order of the pickle.
    pub fn item(&self, index: usize) -> Option<ValueRef<'_>> {
        self.root().item(index)
    }

    fn build(node: Node) -> Value {
        let mut graph = Graph::default();
        let memoised = !node.is_atom();
        // An empty arena has room.
        let root = graph.add(node, memoised).unwrap_or(Id::NONE);
        Value { graph, root, protocol: 4 }
    }

    /// None.
    pub fn none() -> Value {
        Value { graph: Graph::default(), root: Id::NONE, protocol: 4 }
    }

    /// A bytes object.
    pub fn bytes(bytes: &[u8]) -> Value {
        Value::build(Node::Bytes(bytes.into()))
    }

    /// A list of `items`.
    ///
    /// # Errors
    /// More than 2^32 objects.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Result<Value> {
        let mut list = Value::build(Node::List(Vec::new()));
        for item in items {
            let id = list.absorb(item)?;
            if let Some(Node::List(ids)) = list.graph.node_mut(list.root) {
                ids.push(id);
            }
        }
        Ok(list)
    }

    /// A tuple of `items`.
    ///
    /// # Errors
    /// More than 2^32 objects.
    pub fn tuple(items: impl IntoIterator<Item = Value>) -> Result<Value> {
        let mut list = Value::list(items)?;
        if let Some(node) = list.graph.node_mut(list.root)
            && let Node::List(ids) = node
        {
            *node = Node::Tuple(std::mem::take(ids).into_boxed_slice());
        }
        Ok(list)
    }

    /// A dict of pairs. Keys must differ, as Python compares them; that is the caller's part.
    ///
    /// # Errors
    /// More than 2^32 objects.
    pub fn dict(pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<Value> {
        let mut dict = Value::build(Node::Dict(Vec::new()));
        for (key, value) in pairs {
            let key = dict.absorb(key)?;
            let value = dict.absorb(value)?;
            if let Some(Node::Dict(pairs)) = dict.graph.node_mut(dict.root) {
                pairs.push((key, value));
            }
        }
        Ok(dict)
    }

    fn absorb(&mut self, other: Value) -> Result<Id> {
        let id = self.graph.absorb(self.root, other.graph, other.root);
        id.ok_or_else(|| Error::custom("a value holds at most 2^32 objects"))
    }
}

fn io_error(error: io::Error) -> Error {
    Error::new(picklet_codec::ErrorKind::Io(error), u64::MAX, None)
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        let root = if value { Id::TRUE } else { Id::FALSE };
        Value { graph: Graph::default(), root, protocol: 4 }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::build(Node::Int(value))
    }
}

impl From<BigInt> for Value {
    fn from(value: BigInt) -> Self {
        Value::build(match i64::try_from(&value) {
            Ok(small) => Node::Int(small),
            Err(_) => Node::BigInt(value.to_signed_bytes_le().into()),
        })
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::build(Node::Float(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::build(Node::Str(value.into()))
    }
}

/// The same graph: equal contents, kinds and sharing. It is not Python's `==`, for which 1 and
/// 1.0 are equal; a NaN equals the same NaN here.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |value: &Value| {
            let written = write::write(&value.graph, value.root, 5, 5, InMemory);
            written.map(Writer::into_bytes).ok()
        };
        (self.protocol < 3) == (other.protocol < 3) && bytes(self) == bytes(other)
    }
}

/// Python's `repr`, cut at [`repr::DISPLAY_BYTES`].
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root().fmt(f)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({self})")
    }
}

/// One object inside a [`Value`]: a cursor that is copied freely.
#[derive(Clone, Copy)]
pub struct ValueRef<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) id: Id,
}

/// What an object is, with what it holds.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Kind<'a> {
    /// None.
    None,
    /// A bool.
    Bool(bool),
    /// An int that fits.
    Int(i64),
    /// An int outside `i64`: two's complement, little-endian.
    BigInt(&'a [u8]),
    /// A float.
    Float(f64),
    /// A str.
    Str(PickleStr<'a>),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A bytearray.
    ByteArray(&'a [u8]),
    /// A Python 2 str.
    Py2Str(&'a [u8]),
    /// A tuple.
    Tuple(Items<'a>),
    /// A list.
    List(Items<'a>),
    /// A dict; of a key that the pickle sets twice, the first key and the last value.
    Dict(Pairs<'a>),
    /// A set.
    Set(Items<'a>),
    /// A frozenset.
    FrozenSet(Items<'a>),
    /// A class, function or other thing that Python finds by name.
    Global {
        /// The module.
        module: PickleStr<'a>,
        /// The name in it, dots included.
        name: PickleStr<'a>,
    },
    /// A code of `copyreg`'s registry.
    Extension(u32),
    /// An object that the application knows by a text.
    PersistentId(&'a str),
    /// An object that the application knows by an object.
    BinaryPersistentId(ValueRef<'a>),
    /// An out-of-band buffer, by its place among the pickle's buffers.
    Buffer(u32),
    /// A buffer made read-only.
    ReadonlyBuffer(ValueRef<'a>),
    /// An object that a call makes.
    Instance(Instance<'a>),
}

impl<'a> ValueRef<'a> {
    pub(crate) fn to(self, id: Id) -> ValueRef<'a> {
        ValueRef { graph: self.graph, id }
    }

    pub(crate) fn node(self) -> &'a Node {
        self.graph.node(self.id)
    }

    fn items_of(self, ids: &'a [Id]) -> Items<'a> {
        Items { graph: self.graph, ids }
    }

    /// What kind of object it is, with what it holds.
    pub fn kind(self) -> Kind<'a> {
        match self.node() {
            Node::None => Kind::None,
            Node::Bool(value) => Kind::Bool(*value),
            Node::Int(value) => Kind::Int(*value),
            Node::BigInt(bytes) => Kind::BigInt(bytes),
            Node::Float(value) => Kind::Float(*value),
            Node::Str(text) => Kind::Str(text.as_pickle_str()),
            Node::Bytes(bytes) => Kind::Bytes(bytes),
            Node::ByteArray(bytes) => Kind::ByteArray(bytes),
            Node::Py2Str(bytes) => Kind::Py2Str(bytes),
            Node::Tuple(ids) => Kind::Tuple(self.items_of(ids)),
            Node::List(ids) => Kind::List(self.items_of(ids)),
            Node::Dict(pairs) => Kind::Dict(Pairs { graph: self.graph, pairs }),
            Node::Set(ids) => Kind::Set(self.items_of(ids)),
            Node::FrozenSet(ids) => Kind::FrozenSet(self.items_of(ids)),
            Node::Global(global) => {
                Kind::Global { module: global.0.as_str().into(), name: global.1.as_str().into() }
            }
            Node::StackGlobal(module, name) => {
                let text = |id| self.graph.name_text(id).unwrap_or(PickleStr::from(""));
                Kind::Global { module: text(*module), name: text(*name) }
            }
            Node::Extension(code) => Kind::Extension(*code),
            Node::PersistentId(text) => Kind::PersistentId(text),
            Node::BinaryPersistentId(id) => Kind::BinaryPersistentId(self.to(*id)),
            Node::Buffer(index) => Kind::Buffer(*index),
            Node::ReadonlyBuffer(id) => Kind::ReadonlyBuffer(self.to(*id)),
            Node::Instance(_) => Kind::Instance(Instance { value: self }),
        }
    }

    /// Whether both are the same object, Python's `is` (None, True and False included).
    pub fn is(self, other: ValueRef<'_>) -> bool {
        std::ptr::eq(self.graph, other.graph) && self.id == other.id
    }

    /// The name of its type, for messages: `list`, `str`, `instance` …
    pub fn type_name(self) -> &'static str {
        read::kind_name(self.node())
    }

    /// Whether it is None.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// A bool.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An int that fits.
    pub fn as_i64(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// An int of any size.
    pub fn as_big_int(self) -> Option<BigInt> {
        match self.node() {
            Node::Int(value) => Some((*value).into()),
            Node::BigInt(bytes) => Some(BigInt::from_signed_bytes_le(bytes)),
            _ => None,
        }
    }

    /// A float.
    pub fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A str without lone surrogates.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Str(text) => text.to_str(),
            _ => None,
        }
    }

    /// The content of bytes, of a bytearray or of a Python 2 str.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Bytes(bytes) | Node::Py2Str(bytes) => Some(bytes),
            Node::ByteArray(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items of a list, tuple, set or frozenset, in the order of the pickle.
    pub fn items(self) -> Option<Items<'a>> {
        match self.node() {
            Node::List(ids) | Node::Set(ids) => Some(self.items_of(ids)),
            Node::Tuple(ids) | Node::FrozenSet(ids) => Some(self.items_of(ids)),
            _ => None,
        }
    }

    /// A dict's pairs of key and value.
    pub fn pairs(self) -> Option<Pairs<'a>> {
        match self.node() {
            Node::Dict(pairs) => Some(Pairs { graph: self.graph, pairs }),
            _ => None,
        }
    }

    /// The value of a dict's last entry under the str `key`.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        let found = self.pairs()?.rev().find(|(candidate, _)| candidate.as_str() == Some(key));
        found.map(|(_, value)| value)
    }

    /// A list, tuple, set or frozenset's item at `index`.
    pub fn item(self, index: usize) -> Option<ValueRef<'a>> {
        self.items()?.nth(index)
    }
}

/// Python's `repr`, cut at [`repr::DISPLAY_BYTES`].
impl fmt::Display for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&repr::repr(*self, repr::DISPLAY_BYTES))
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueRef({self})")
    }
}

/// The items of a container, in the order of the pickle.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    graph: &'a Graph,
    ids: &'a [Id],
}

impl<'a> Iterator for Items<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        let (first, rest) = self.ids.split_first()?;
        self.ids = rest;
        Some(ValueRef { graph: self.graph, id: *first })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ids.len(), Some(self.ids.len()))
    }

    fn nth(&mut self, count: usize) -> Option<ValueRef<'a>> {
        self.ids = self.ids.get(count..).unwrap_or_default();
        self.next()
    }
}

impl ExactSizeIterator for Items<'_> {}

impl fmt::Debug for Items<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Items({})", self.ids.len())
    }
}

/// A dict's pairs of key and value, in the order of the pickle.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    graph: &'a Graph,
    pairs: &'a [(Id, Id)],
}

impl<'a> Pairs<'a> {
    fn pair(self, pair: (Id, Id)) -> (ValueRef<'a>, ValueRef<'a>) {
        let [key, value] = [pair.0, pair.1].map(|id| ValueRef { graph: self.graph, id });
        (key, value)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (ValueRef<'a>, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (first, rest) = self.pairs.split_first()?;
        self.pairs = rest;
        Some(self.pair(*first))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.pairs.len(), Some(self.pairs.len()))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (last, rest) = self.pairs.split_last()?;
        self.pairs = rest;
        Some(self.pair(*last))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

impl fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pairs({})", self.pairs.len())
    }
}

/// An object that a call makes: `REDUCE`, `NEWOBJ`, `NEWOBJ_EX`, `INST` or `OBJ`, and what is
/// done to it afterwards.
#[derive(Clone, Copy)]
pub struct Instance<'a> {
    value: ValueRef<'a>,
}

impl<'a> Instance<'a> {
    fn node(self) -> Option<&'a crate::graph::Instance> {
        match self.value.node() {
            Node::Instance(instance) => Some(instance),
            _ => None,
        }
    }

    /// What is called: a [`Kind::Global`] as a rule; `None` for INST, which names it
    /// ([`Instance::callable_name`]).
    pub fn callable(self) -> Option<ValueRef<'a>> {
        match &self.node()?.call {
            Call::Reduce { callable, .. } => Some(self.value.to(*callable)),
            Call::NewObj { class, .. } | Call::NewObjEx { class, .. } | Call::Obj { class, .. } => {
                Some(self.value.to(*class))
            }
            Call::Inst { .. } => None,
        }
    }

    /// `module.name` of what is called, where that is a global.
    pub fn callable_name(self) -> Option<String> {
        if let Call::Inst { module, name, .. } = &self.node()?.call {
            return Some(format!("{module}.{name}"));
        }
        match self.callable()?.kind() {
            Kind::Global { module, name } => Some(format!("{module}.{name}")),
            _ => None,
        }
    }

    /// The positional arguments, where they are a plain tuple.
    pub fn args(self) -> Option<Items<'a>> {
        match &self.node()?.call {
            Call::Reduce { args, .. } | Call::NewObj { args, .. } | Call::NewObjEx { args, .. } => {
                self.value.to(*args).items()
            }
            Call::Inst { args, .. } | Call::Obj { args, .. } => Some(self.value.items_of(args)),
        }
    }

    /// The keyword arguments of `NEWOBJ_EX`: a dict.
    pub fn kwargs(self) -> Option<ValueRef<'a>> {
        match &self.node()?.call {
            Call::NewObjEx { kwargs, .. } => Some(self.value.to(*kwargs)),
            _ => None,
        }
    }

    /// The last state that BUILD gives it.
    pub fn state(self) -> Option<ValueRef<'a>> {
        self.node()?.effects.iter().rev().find_map(|effect| match effect {
            Effect::Build(state) => Some(self.value.to(*state)),
            _ => None,
        })
    }

    pub(crate) fn effects(self) -> &'a [Effect] {
        self.node().map(|instance| instance.effects.as_slice()).unwrap_or_default()
    }
}

impl fmt::Debug for Instance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({})", self.callable_name().unwrap_or_default())
    }
}
