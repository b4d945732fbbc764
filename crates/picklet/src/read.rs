//! From a pickle to the value graph: a [`Machine`] whose values are node ids.
//!
//! Nothing is imported or called: a call becomes a node that remembers it.

use picklet_codec::limits::DEFAULT_DECIMAL_DIGITS;
use picklet_codec::{
    Driver, Error, ErrorKind, Items, Limits, Machine, Opcode, PickleStr, Reader, Result, text,
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
    builder.graph.reserve_for(pickle.len());
    let root = Driver::new(limits).run(&mut reader, &mut builder)?;
    builder.settle();
    let replaced = keys::drop_duplicates(&mut builder.graph, &builder.keyed);
    if builder.lossy || replaced {
        builder.graph.find_lost(root);
    }
    if builder.highest >= 3 {
        builder.rename();
    }
    let length = reader.offset();
    builder.graph.pickle_size = usize::try_from(length).unwrap_or(0);
    Ok(Read { graph: builder.graph, root, protocol: builder.highest, length })
}

#[derive(Default)]
struct Builder {
    graph: Graph,
    /// What the last PROTO said: how globals are named.
    declared: u8,
    /// The highest protocol of PROTO and of the opcodes met so far.
    highest: u8,
    /// Dicts, sets and frozensets.
    keyed: Vec<Id>,
    /// Objects that hold a global's name as Python 2 spells it.
    old_names: Vec<Id>,
    /// A call whose result was just popped: a state-setter, unless GET comes next.
    popped: Option<Id>,
    /// Whether something was thrown away that may hold a call.
    lossy: bool,
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

    fn add_keyed(&mut self, node: Node) -> Result<Id> {
        let id = self.add(node)?;
        self.keyed.push(id);
        Ok(id)
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

    /// Data is never callable. What an import, a call or the application gives may be.
    fn check_callable(&self, id: Id) -> Result<()> {
        match self.graph.node(id) {
            Node::Global(_)
            | Node::StackGlobal(..)
            | Node::Extension(_)
            | Node::PersistentId(_)
            | Node::BinaryPersistentId(_)
            | Node::Buffer(_)
            | Node::ReadonlyBuffer(_)
            | Node::Instance(_) => Ok(()),
            data => Err(wrong(format!("a {} cannot be called", kind_name(data)))),
        }
    }

    fn check_call(&self, callable: Id, args: Id) -> Result<()> {
        self.check_callable(callable)?;
        if !matches!(self.graph.node(args), Node::Tuple(_) | Node::Instance(_)) {
            return Err(wrong("the arguments of a call must be a tuple".to_owned()));
        }
        Ok(())
    }

    fn hashable(&self, id: Id) -> Result<()> {
        if self.graph.is_unhashable(id) {
            return Err(wrong(format!("a {} cannot be hashed", kind_name(self.graph.node(id)))));
        }
        Ok(())
    }

    /// A global's name, which stands as Python 2 spells it below protocol 3.
    fn named(&mut self, id: Id) -> Id {
        if self.declared < 3 {
            self.old_names.push(id);
        }
        id
    }

    /// Spells the globals as from protocol 3 on: for pickles whose opcodes are newer than what
    /// PROTO says, or that change it midway.
    fn rename(&mut self) {
        for id in std::mem::take(&mut self.old_names) {
            let text = |id| self.graph.name_text(id).and_then(PickleStr::to_str).unwrap_or("");
            let (module, name) = match self.graph.node(id) {
                Node::Global(global) => (global.0.as_str(), global.1.as_str()),
                Node::StackGlobal(module, name) => (text(*module), text(*name)),
                Node::Instance(instance) => match &instance.call {
                    Call::Inst { module, name, .. } => (module.as_str(), name.as_str()),
                    _ => continue,
                },
                _ => continue,
            };
            let new = picklet_codec::compat::to_python3(module, name);
            if new == (module, name) {
                continue;
            }
            let new = (new.0.to_owned(), new.1.to_owned());
            match self.graph.node_mut(id) {
                Some(Node::Instance(instance)) => {
                    if let Call::Inst { module, name, .. } = &mut instance.call {
                        (*module, *name) = new;
                    }
                }
                Some(node) => *node = Node::Global(Box::new(new)),
                None => {}
            }
        }
    }

    /// Attaches a popped call to the object it was called for.
    fn settle(&mut self) {
        let Some(popped) = self.popped.take() else { return };
        self.lossy = true;
        let Node::Instance(instance) = self.graph.node(popped) else { return };
        let Call::Reduce { callable, args } = instance.call else { return };
        let Node::Tuple(items) = self.graph.node(args) else { return };
        let Some(&owner) = items.first() else { return };
        if !instance.effects.is_empty() || !instance.discarded.is_empty() {
            return;
        }
        if let Some(Node::Instance(owner)) = self.graph.node_mut(owner) {
            owner.effects.push(Effect::Call { callable, args });
            self.forget(popped);
        }
    }

    /// Remembers the call of `popped` as one that was thrown away for `kept`.
    fn discard(&mut self, popped: Id, kept: Id) {
        let Node::Instance(instance) = self.graph.node(popped) else { return };
        let call = instance.call.clone();
        if let Some(Node::Instance(kept)) = self.graph.node_mut(kept) {
            kept.discarded.push(call);
            self.forget(popped);
        }
    }

    /// Only the stack referred to it, and its call is kept elsewhere.
    fn forget(&mut self, popped: Id) {
        if let Some(node) = self.graph.node_mut(popped) {
            *node = Node::None;
        }
    }

    /// APPEND and APPENDS on a bytearray, which has `append` and `extend` too.
    fn extend_bytes(&mut self, array: Id, items: &[Id]) -> Result<()> {
        let bytes: Vec<u8> = items.iter().map(|item| self.byte(*item)).collect::<Result<_>>()?;
        if let Node::ByteArray(array) = self.target(array)? {
            array.extend(bytes);
        }
        Ok(())
    }

    fn byte(&self, item: Id) -> Result<u8> {
        let byte = self.integer(item).and_then(|value| u8::try_from(value).ok());
        byte.ok_or_else(|| wrong("a bytearray takes ints from 0 to 255".to_owned()))
    }

    fn integer(&self, id: Id) -> Option<i64> {
        match self.graph.node(id) {
            Node::Int(value) => Some(*value),
            Node::Bool(value) => Some((*value).into()),
            _ => None,
        }
    }

    /// SETITEM on a list or a bytearray: an index, from the end where it is negative.
    fn set_at(&mut self, sequence: Id, key: Id, value: Id) -> Result<()> {
        let index = self.integer(key);
        let byte = self.byte(value);
        let place = |length: usize| {
            let length = i64::try_from(length).ok()?;
            let index = index.map(|index| if index < 0 { index + length } else { index });
            usize::try_from(index?).ok()
        };
        let none = || wrong("no item is at that index".to_owned());
        match self.target(sequence)? {
            Node::List(items) => {
                let slot = place(items.len()).and_then(|at| items.get_mut(at));
                *slot.ok_or_else(none)? = value;
            }
            Node::ByteArray(bytes) => {
                let slot = place(bytes.len()).and_then(|at| bytes.get_mut(at));
                *slot.ok_or_else(none)? = byte?;
            }
            _ => {}
        }
        // The item that was there may have been a call.
        self.lossy = true;
        Ok(())
    }

    /// None, or None and no slots: a state that changes nothing.
    fn is_no_state(&self, state: Id) -> bool {
        match self.graph.node(state) {
            Node::None => true,
            Node::Tuple(parts) => match parts.as_ref() {
                [Id::NONE, slots] => {
                    matches!(self.graph.node(*slots), Node::Dict(slots) if slots.is_empty())
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn same_call(&self, one: Id, other: Id) -> bool {
        let (Node::Instance(one), Node::Instance(other)) =
            (self.graph.node(one), self.graph.node(other))
        else {
            return false;
        };
        if !one.effects.is_empty() || !one.discarded.is_empty() {
            return false;
        }
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
        if opcode != Opcode::Tuple2 {
            self.highest = self.highest.max(opcode.info().protocol);
        }
        let is_get = matches!(opcode, Opcode::Get | Opcode::BinGet | Opcode::LongBinGet);
        if self.popped.is_some() && !is_get {
            self.settle();
        }
    }

    fn proto(&mut self, version: u8) -> Result<()> {
        self.declared = version;
        self.highest = self.highest.max(version);
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
        if let Some(value) = text::le_bytes_to_i64(bytes) {
            return self.int(value);
        }
        let bytes = text::trim_le_bytes(bytes);
        if text::decimal_digits_of(bytes.len()) > DEFAULT_DECIMAL_DIGITS {
            // Python reads no decimals as long as these, so they need LONG4.
            self.highest = self.highest.max(2);
        }
        self.add(Node::BigInt(bytes.into()))
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
        let items: Box<[Id]> = items.as_slice().into();
        let unhashable = items.iter().any(|item| self.graph.is_unhashable(*item));
        let tuple = self.add(Node::Tuple(items))?;
        if unhashable {
            self.graph.mark_unhashable(tuple);
        }
        Ok(tuple)
    }

    fn empty_list(&mut self) -> Result<Id> {
        self.add(Node::List(Vec::new()))
    }

    fn list(&mut self, items: Items<'_, Id>) -> Result<Id> {
        self.add(Node::List(items.as_slice().to_vec()))
    }

    fn append(&mut self, list: &mut Id, item: Id) -> Result<()> {
        match self.target(*list)? {
            Node::List(items) => items.push(item),
            Node::ByteArray(_) => return self.extend_bytes(*list, &[item]),
            Node::Instance(instance) => instance.effects.push(Effect::Append(item)),
            other => return Err(wrong(format!("a {} has no append", kind_name(other)))),
        }
        Ok(())
    }

    fn appends(&mut self, list: &mut Id, items: Items<'_, Id>) -> Result<()> {
        match self.target(*list)? {
            Node::List(list) => list.extend_from_slice(items.as_slice()),
            Node::ByteArray(_) => {
                let items: Vec<Id> = items.collect();
                return self.extend_bytes(*list, &items);
            }
            Node::Instance(instance) => instance.effects.push(Effect::Appends(items.collect())),
            other => return Err(wrong(format!("a {} has no extend", kind_name(other)))),
        }
        Ok(())
    }

    fn empty_dict(&mut self) -> Result<Id> {
        self.add_keyed(Node::Dict(Vec::new()))
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
            Node::List(_) | Node::ByteArray(_) => return self.set_at(*dict, key, value),
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
        match self.graph.node(*dict) {
            Node::Dict(_) => {
                // The driver gives keys and values in turn, an even number.
                let (pairs, _) = items.as_slice().as_chunks::<2>();
                pairs.iter().try_for_each(|[key, _]| self.hashable(*key))?;
                if let Node::Dict(dict) = self.target(*dict)? {
                    dict.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                }
                return Ok(());
            }
            Node::Instance(_) => {
                if let Node::Instance(instance) = self.target(*dict)? {
                    instance.effects.push(Effect::SetItems(items.collect()));
                }
                return Ok(());
            }
            _ => {}
        }
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            self.set_item(dict, key, value)?;
        }
        Ok(())
    }

    fn empty_set(&mut self) -> Result<Id> {
        self.add_keyed(Node::Set(Vec::new()))
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
        let items: Box<[Id]> = items.as_slice().into();
        items.iter().try_for_each(|item| self.hashable(*item))?;
        self.add_keyed(Node::FrozenSet(items))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        let id = self.add(Node::Global(Box::new((module.to_owned(), name.to_owned()))))?;
        Ok(self.named(id))
    }

    fn stack_global(&mut self, module: Id, name: Id) -> Result<Id> {
        for id in [module, name] {
            if self.graph.name_text(id).is_none() {
                return Err(wrong("STACK_GLOBAL needs two str".to_owned()));
            }
        }
        let id = self.add(Node::StackGlobal(module, name))?;
        Ok(self.named(id))
    }

    fn extension(&mut self, code: u32) -> Result<Id> {
        self.add(Node::Extension(code))
    }

    fn reduce(&mut self, callable: Id, args: Id) -> Result<Id> {
        self.check_call(callable, args)?;
        self.instance(Call::Reduce { callable, args })
    }

    fn build(&mut self, object: &mut Id, state: Id) -> Result<()> {
        if let Node::Instance(instance) = self.target(*object)? {
            instance.effects.push(Effect::Build(state));
            return Ok(());
        }
        let outside = matches!(
            self.graph.node(*object),
            Node::Global(_)
                | Node::StackGlobal(..)
                | Node::Extension(_)
                | Node::PersistentId(_)
                | Node::BinaryPersistentId(_)
                | Node::Buffer(_)
                | Node::ReadonlyBuffer(_)
        );
        if !outside && self.is_no_state(state) {
            return Ok(());
        }
        let kind = kind_name(self.graph.node(*object));
        Err(wrong(format!("BUILD cannot give a {kind} a state")))
    }

    fn new_object(&mut self, class: Id, args: Id) -> Result<Id> {
        self.check_call(class, args)?;
        self.instance(Call::NewObj { class, args })
    }

    fn new_object_ex(&mut self, class: Id, args: Id, kwargs: Id) -> Result<Id> {
        self.check_call(class, args)?;
        if !matches!(self.graph.node(kwargs), Node::Dict(_) | Node::Instance(_)) {
            return Err(wrong("the keyword arguments of a call must be a dict".to_owned()));
        }
        self.instance(Call::NewObjEx { class, args, kwargs })
    }

    fn inst(&mut self, module: &str, name: &str, args: Items<'_, Id>) -> Result<Id> {
        let args = args.collect();
        let call = Call::Inst { module: module.to_owned(), name: name.to_owned(), args };
        let id = self.instance(call)?;
        Ok(self.named(id))
    }

    fn obj(&mut self, class: Id, args: Items<'_, Id>) -> Result<Id> {
        self.check_callable(class)?;
        self.instance(Call::Obj { class, args: args.collect() })
    }

    fn persistent_id(&mut self, id: &str) -> Result<Id> {
        self.add(Node::PersistentId(id.into()))
    }

    fn binary_persistent_id(&mut self, id: Id) -> Result<Id> {
        self.add(Node::BinaryPersistentId(id))
    }

    fn next_buffer(&mut self) -> Result<Id> {
        let number = self.graph.buffers.len();
        // Each has a node of its own, and those are fewer than 2^32.
        let buffer = self.add(Node::Buffer(number as u32))?;
        self.graph.buffers.push(buffer);
        Ok(buffer)
    }

    fn readonly_buffer(&mut self, buffer: Id) -> Result<Id> {
        self.add(Node::ReadonlyBuffer(buffer))
    }

    fn pop(&mut self, value: Id) -> Result<()> {
        if matches!(self.graph.node(value), Node::Instance(_)) && !self.graph.is_memoised(value) {
            self.popped = Some(value);
        } else if !self.graph.node(value).is_atom() {
            self.lossy = true;
        }
        Ok(())
    }

    fn pop_mark(&mut self, items: Items<'_, Id>) -> Result<()> {
        self.lossy |= items.len() > 0;
        Ok(())
    }

    fn stop(&mut self, left: usize) -> Result<()> {
        self.lossy |= left > 0;
        Ok(())
    }

    fn dup(&mut self, value: &Id) -> Result<Id> {
        // An object that the stack holds twice is shared, as one in the memo is.
        if !self.graph.node(*value).is_atom() {
            self.graph.memoise(*value);
            self.graph.share(*value);
        }
        Ok(*value)
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
        self.graph.share(*value);
        Ok(*value)
    }
}
