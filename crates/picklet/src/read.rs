//! From a pickle to the value graph: a [`Machine`] whose values are node ids.
//!
//! Nothing is imported or called: a call becomes a node that remembers it.

use picklet_codec::{
    Driver, Error, ErrorKind, Items, Limits, Machine, Opcode, PickleStr, Reader, Result,
};

use crate::graph::{Call, Effect, Graph, Id, Instance, Node};
use crate::keys;

/// What a pickle holds, and how it was written.
pub(crate) struct Read {
    pub(crate) graph: Graph,
    pub(crate) root: Id,
    pub(crate) protocol: u8,
    /// Bytes read, STOP included.
    pub(crate) length: u64,
}

/// Reads the first pickle of `pickle`.
pub(crate) fn read(pickle: &[u8], limits: Limits) -> Result<Read> {
    let mut reader = Reader::with_limits(pickle, limits);
    let mut builder = Builder::default();
    let root = Driver::new(limits).run(&mut reader, &mut builder)?;
    builder.settle();
    keys::drop_duplicates(&mut builder.graph);
    Ok(Read {
        graph: builder.graph,
        root,
        protocol: builder.declared.unwrap_or(builder.highest),
        length: reader.offset(),
    })
}

#[derive(Default)]
struct Builder {
    graph: Graph,
    declared: Option<u8>,
    /// The highest protocol of an opcode met so far.
    highest: u8,
    buffers: u32,
    /// A call whose result was just popped: a state-setter, unless GET comes next.
    popped: Option<Id>,
}

fn wrong(text: String) -> Error {
    Error::unplaced(ErrorKind::WrongType(text.into_boxed_str()))
}

impl Builder {
    fn add(&mut self, node: Node) -> Result<Id> {
        let full = || {
            let cap = u64::from(u32::MAX);
            Error::unplaced(ErrorKind::Limit { limit: "value_nodes", cap })
        };
        self.graph.add(node, false).ok_or_else(full)
    }

    fn instance(&mut self, call: Call) -> Result<Id> {
        self.add(Node::Instance(Box::new(Instance {
            call,
            discarded: Vec::new(),
            effects: Vec::new(),
        })))
    }

    /// The node an opcode changes, as long as it is of a kind that may be.
    fn target(&mut self, id: Id) -> Result<&mut Node> {
        self.graph.node_mut(id).ok_or_else(|| wrong("no such object".to_owned()))
    }

    fn hashable(&self, id: Id) -> Result<()> {
        match self.graph.node(id) {
            Node::List(_) | Node::Dict(_) | Node::Set(_) | Node::ByteArray(_) => {
                Err(wrong(format!("a {} cannot be hashed", kind_name(self.graph.node(id)))))
            }
            _ => Ok(()),
        }
    }

    /// Attaches a popped call to the object it was called for.
    fn settle(&mut self) {
        let Some(popped) = self.popped.take() else { return };
        let Node::Instance(instance) = self.graph.node(popped) else { return };
        let Call::Reduce { callable, args } = instance.call else { return };
        let Node::Tuple(items) = self.graph.node(args) else { return };
        let Some(&owner) = items.first() else { return };
        if let Some(Node::Instance(owner)) = self.graph.node_mut(owner) {
            owner.effects.push(Effect::Call { callable, args });
        }
    }

    /// Remembers the call of `popped` as one that was thrown away for `kept`.
    fn discard(&mut self, popped: Id, kept: Id) {
        let Node::Instance(instance) = self.graph.node(popped) else { return };
        let call = instance.call.clone();
        if let Some(Node::Instance(kept)) = self.graph.node_mut(kept) {
            kept.discarded.push(call);
        }
    }

    fn same_call(&self, one: Id, other: Id) -> bool {
        let (Node::Instance(one), Node::Instance(other)) =
            (self.graph.node(one), self.graph.node(other))
        else {
            return false;
        };
        match (&one.call, &other.call) {
            (Call::Reduce { callable: a, .. }, Call::Reduce { callable: b, .. })
            | (Call::NewObj { class: a, .. }, Call::NewObj { class: b, .. })
            | (Call::NewObjEx { class: a, .. }, Call::NewObjEx { class: b, .. }) => a == b,
            _ => false,
        }
    }
}

pub(crate) fn kind_name(node: &Node) -> &'static str {
    match node {
        Node::None => "NoneType",
        Node::Bool(_) => "bool",
        Node::Int(_) | Node::BigInt(_) => "int",
        Node::Float(_) => "float",
        Node::Str(_) => "str",
        Node::Bytes(_) => "bytes",
        Node::ByteArray(_) => "bytearray",
        Node::Py2Str(_) => "Python 2 str",
        Node::Tuple(_) => "tuple",
        Node::List(_) => "list",
        Node::Dict(_) => "dict",
        Node::Set(_) => "set",
        Node::FrozenSet(_) => "frozenset",
        Node::Global(_) | Node::StackGlobal(..) => "global",
        Node::Extension(_) => "extension",
        Node::PersistentId(_) | Node::BinaryPersistentId(_) => "persistent object",
        Node::Buffer(_) | Node::ReadonlyBuffer(_) => "buffer",
        Node::Instance(_) => "instance",
    }
}

impl Machine for Builder {
    type Value = Id;

    fn op(&mut self, opcode: Opcode, _offset: u64) {
        // C writes a state-setter's arguments with TUPLE2 at every protocol.
        if self.declared.is_none() && opcode != Opcode::Tuple2 {
            self.highest = self.highest.max(opcode.info().protocol);
        }
        let is_get = matches!(opcode, Opcode::Get | Opcode::BinGet | Opcode::LongBinGet);
        if self.popped.is_some() && !is_get {
            self.settle();
        }
    }

    fn proto(&mut self, version: u8) -> Result<()> {
        self.declared = Some(version);
        Ok(())
    }

    fn none(&mut self) -> Result<Id> {
        Ok(Id::NONE)
    }

    fn bool(&mut self, value: bool) -> Result<Id> {
        Ok(if value { Id::TRUE } else { Id::FALSE })
    }

    fn int(&mut self, value: i64) -> Result<Id> {
        self.add(Node::Int(value))
    }

    fn big_int(&mut self, bytes: &[u8]) -> Result<Id> {
        if let Some(value) = picklet_codec::text::le_bytes_to_i64(bytes) {
            return self.int(value);
        }
        self.add(Node::BigInt(without_padding(bytes).into()))
    }

    fn float(&mut self, value: f64) -> Result<Id> {
        self.add(Node::Float(value))
    }

    fn str(&mut self, text: PickleStr<'_>) -> Result<Id> {
        self.add(Node::Str(text.to_owned()))
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Id> {
        self.add(Node::Bytes(bytes.into()))
    }

    fn byte_array(&mut self, bytes: &[u8]) -> Result<Id> {
        self.add(Node::ByteArray(bytes.into()))
    }

    fn string(&mut self, bytes: &[u8]) -> Result<Id> {
        self.add(Node::Py2Str(bytes.into()))
    }

    fn empty_tuple(&mut self) -> Result<Id> {
        self.add(Node::Tuple(Box::default()))
    }

    fn tuple(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.add(Node::Tuple(items.collect()))
    }

    fn empty_list(&mut self) -> Result<Id> {
        self.add(Node::List(Vec::new()))
    }

    fn list(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.add(Node::List(items.collect()))
    }

    fn append(&mut self, list: &mut Id, item: Id) -> Result<()> {
        match self.target(*list)? {
            Node::List(items) => items.push(item),
            Node::Instance(instance) => instance.effects.push(Effect::Append(item)),
            other => return Err(wrong(format!("a {} has no append", kind_name(other)))),
        }
        Ok(())
    }

    fn appends(&mut self, list: &mut Id, items: Items<'_, Id>) -> Result<()> {
        match self.target(*list)? {
            Node::List(list) => list.extend(items),
            Node::Instance(instance) => instance.effects.push(Effect::Appends(items.collect())),
            other => return Err(wrong(format!("a {} has no extend", kind_name(other)))),
        }
        Ok(())
    }

    fn empty_dict(&mut self) -> Result<Id> {
        self.add(Node::Dict(Vec::new()))
    }

    fn dict(&mut self, items: Items<'_, Id>) -> Result<Id> {
        let mut dict = self.empty_dict()?;
        self.set_items(&mut dict, items)?;
        Ok(dict)
    }

    fn set_item(&mut self, dict: &mut Id, key: Id, value: Id) -> Result<()> {
        match self.graph.node(*dict) {
            Node::Dict(_) => self.hashable(key)?,
            Node::Instance(_) => {}
            other => return Err(wrong(format!("a {} takes no keys", kind_name(other)))),
        }
        match self.target(*dict)? {
            Node::Dict(pairs) => pairs.push((key, value)),
            Node::Instance(instance) => instance.effects.push(Effect::SetItem(key, value)),
            _ => {}
        }
        Ok(())
    }

    fn set_items(&mut self, dict: &mut Id, mut items: Items<'_, Id>) -> Result<()> {
        if let Node::Instance(instance) = self.target(*dict)? {
            instance.effects.push(Effect::SetItems(items.collect()));
            return Ok(());
        }
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            self.set_item(dict, key, value)?;
        }
        Ok(())
    }

    fn empty_set(&mut self) -> Result<Id> {
        self.add(Node::Set(Vec::new()))
    }

    fn add_items(&mut self, set: &mut Id, items: Items<'_, Id>) -> Result<()> {
        let items: Vec<Id> = items.collect();
        if let Node::Set(_) = self.graph.node(*set) {
            items.iter().try_for_each(|item| self.hashable(*item))?;
        }
        match self.target(*set)? {
            Node::Set(members) => members.extend(items),
            Node::Instance(instance) => instance.effects.push(Effect::AddItems(items)),
            other => return Err(wrong(format!("a {} has no add", kind_name(other)))),
        }
        Ok(())
    }

    fn frozenset(&mut self, items: Items<'_, Id>) -> Result<Id> {
        let items: Box<[Id]> = items.collect();
        items.iter().try_for_each(|item| self.hashable(*item))?;
        self.add(Node::FrozenSet(items))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        self.add(Node::Global(Box::new((module.to_owned(), name.to_owned()))))
    }

    fn stack_global(&mut self, module: Id, name: Id) -> Result<Id> {
        for id in [module, name] {
            if !matches!(self.graph.node(id), Node::Str(_)) {
                return Err(wrong("STACK_GLOBAL needs two str".to_owned()));
            }
        }
        self.add(Node::StackGlobal(module, name))
    }

    fn extension(&mut self, code: u32) -> Result<Id> {
        self.add(Node::Extension(code))
    }

    fn reduce(&mut self, callable: Id, args: Id) -> Result<Id> {
        if !matches!(self.graph.node(args), Node::Tuple(_) | Node::Instance(_)) {
            return Err(wrong("the arguments of a call must be a tuple".to_owned()));
        }
        self.instance(Call::Reduce { callable, args })
    }

    fn build(&mut self, object: &mut Id, state: Id) -> Result<()> {
        match self.target(*object)? {
            Node::Instance(instance) => {
                instance.effects.push(Effect::Build(state));
                Ok(())
            }
            other => Err(wrong(format!("BUILD cannot give a {} a state", kind_name(other)))),
        }
    }

    fn new_object(&mut self, class: Id, args: Id) -> Result<Id> {
        self.instance(Call::NewObj { class, args })
    }

    fn new_object_ex(&mut self, class: Id, args: Id, kwargs: Id) -> Result<Id> {
        self.instance(Call::NewObjEx { class, args, kwargs })
    }

    fn inst(&mut self, module: &str, name: &str, args: Items<'_, Id>) -> Result<Id> {
        let args = args.collect();
        self.instance(Call::Inst { module: module.to_owned(), name: name.to_owned(), args })
    }

    fn obj(&mut self, class: Id, args: Items<'_, Id>) -> Result<Id> {
        self.instance(Call::Obj { class, args: args.collect() })
    }

    fn persistent_id(&mut self, id: &str) -> Result<Id> {
        self.add(Node::PersistentId(id.into()))
    }

    fn binary_persistent_id(&mut self, id: Id) -> Result<Id> {
        self.add(Node::BinaryPersistentId(id))
    }

    fn next_buffer(&mut self) -> Result<Id> {
        let buffer = self.buffers;
        self.buffers = self.buffers.saturating_add(1);
        self.add(Node::Buffer(buffer))
    }

    fn readonly_buffer(&mut self, buffer: Id) -> Result<Id> {
        self.add(Node::ReadonlyBuffer(buffer))
    }

    fn pop(&mut self, value: Id) -> Result<()> {
        if matches!(self.graph.node(value), Node::Instance(_)) && !self.graph.is_memoised(value) {
            self.popped = Some(value);
        }
        Ok(())
    }

    fn memoize(&mut self, _index: u64, value: &mut Id) -> Result<Id> {
        self.graph.memoise(*value);
        Ok(*value)
    }

    fn get(&mut self, _index: u64, value: &Id) -> Result<Id> {
        if let Some(popped) = self.popped {
            // An object met again inside its own arguments is made twice, and the outer one is
            // thrown away for the one in the memo.
            if self.same_call(popped, *value) {
                self.popped = None;
                self.discard(popped, *value);
            }
            self.settle();
        }
        Ok(*value)
    }
}

/// A two's complement int without the bytes that only repeat its sign.
fn without_padding(mut bytes: &[u8]) -> &[u8] {
    while let [head @ .., before, last] = bytes {
        let repeats = matches!((last, before), (0, 0..=0x7f) | (0xff, 0x80..));
        if !repeats {
            break;
        }
        bytes = bytes.get(..head.len() + 1).unwrap_or(bytes);
    }
    bytes
}
