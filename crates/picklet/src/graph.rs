//! The arena a [`Value`](crate::Value) owns: nodes in one vector, referred to by index.
//!
//! A flat vector makes drop, clone, comparison and printing loops rather than recursion, and a
//! cycle cannot leak. Nodes keep more than Python values do, because the same bytes must come
//! out again: which were memoised, the name nodes of a global, and what was done to an object in
//! which order.

use picklet_codec::PickleString;

/// A node's place in its arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) u32);

impl Id {
    pub(crate) const NONE: Id = Id(0);
    pub(crate) const FALSE: Id = Id(1);
    pub(crate) const TRUE: Id = Id(2);
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Two's complement, little-endian, as few bytes as hold it; outside `i64`.
    BigInt(Box<[u8]>),
    Float(f64),
    Str(PickleString),
    Bytes(Box<[u8]>),
    ByteArray(Box<[u8]>),
    /// A Python 2 str.
    Py2Str(Box<[u8]>),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Set(Vec<Id>),
    FrozenSet(Box<[Id]>),
    /// GLOBAL: module and name as text.
    Global(Box<(String, String)>),
    /// STACK_GLOBAL: module and name are str nodes.
    StackGlobal(Id, Id),
    Extension(u32),
    PersistentId(Box<str>),
    BinaryPersistentId(Id),
    /// An out-of-band buffer, by its place in the pickle's list of buffers.
    Buffer(u32),
    ReadonlyBuffer(Id),
    Instance(Box<Instance>),
}

/// An object that a call makes.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) call: Call,
    /// Calls that the pickle made and threw away for this object, the outermost last: an object
    /// met again inside its own arguments is made once for each time it is met.
    pub(crate) discarded: Vec<Call>,
    pub(crate) effects: Vec<Effect>,
}

#[derive(Debug, Clone)]
pub(crate) enum Call {
    Reduce { callable: Id, args: Id },
    NewObj { class: Id, args: Id },
    NewObjEx { class: Id, args: Id, kwargs: Id },
    Inst { module: String, name: String, args: Vec<Id> },
    Obj { class: Id, args: Vec<Id> },
}

/// What is done to an instance once it is there, in order.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Append(Id),
    Appends(Vec<Id>),
    SetItem(Id, Id),
    /// Keys and values in turn.
    SetItems(Vec<Id>),
    AddItems(Vec<Id>),
    Build(Id),
    /// A call whose result is thrown away: how `copyreg` spells a state-setter.
    Call {
        callable: Id,
        args: Id,
    },
}

impl Call {
    fn ids(&self, mut visit: impl FnMut(Id)) {
        match self {
            Call::Reduce { callable: class, args } | Call::NewObj { class, args } => {
                visit(*class);
                visit(*args);
            }
            Call::NewObjEx { class, args, kwargs } => {
                visit(*class);
                visit(*args);
                visit(*kwargs);
            }
            Call::Inst { args, .. } => args.iter().copied().for_each(visit),
            Call::Obj { class, args } => {
                visit(*class);
                args.iter().copied().for_each(visit);
            }
        }
    }

    fn ids_mut(&mut self, mut visit: impl FnMut(&mut Id)) {
        match self {
            Call::Reduce { callable: class, args } | Call::NewObj { class, args } => {
                visit(class);
                visit(args);
            }
            Call::NewObjEx { class, args, kwargs } => {
                visit(class);
                visit(args);
                visit(kwargs);
            }
            Call::Inst { args, .. } => args.iter_mut().for_each(visit),
            Call::Obj { class, args } => {
                visit(class);
                args.iter_mut().for_each(visit);
            }
        }
    }
}

impl Effect {
    fn ids(&self, mut visit: impl FnMut(Id)) {
        match self {
            Effect::Append(id) | Effect::Build(id) => visit(*id),
            Effect::SetItem(key, value) | Effect::Call { callable: key, args: value } => {
                visit(*key);
                visit(*value);
            }
            Effect::Appends(ids) | Effect::SetItems(ids) | Effect::AddItems(ids) => {
                ids.iter().copied().for_each(visit);
            }
        }
    }

    fn ids_mut(&mut self, mut visit: impl FnMut(&mut Id)) {
        match self {
            Effect::Append(id) | Effect::Build(id) => visit(id),
            Effect::SetItem(key, value) | Effect::Call { callable: key, args: value } => {
                visit(key);
                visit(value);
            }
            Effect::Appends(ids) | Effect::SetItems(ids) | Effect::AddItems(ids) => {
                ids.iter_mut().for_each(visit);
            }
        }
    }
}

impl Node {
    /// Calls `visit` with every node this one refers to, in no promised order.
    pub(crate) fn children(&self, mut visit: impl FnMut(Id)) {
        match self {
            Node::Tuple(ids) | Node::FrozenSet(ids) => ids.iter().copied().for_each(visit),
            Node::List(ids) | Node::Set(ids) => ids.iter().copied().for_each(visit),
            Node::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                visit(*key);
                visit(*value);
            }),
            Node::StackGlobal(module, name) => {
                visit(*module);
                visit(*name);
            }
            Node::BinaryPersistentId(id) | Node::ReadonlyBuffer(id) => visit(*id),
            Node::Instance(instance) => {
                instance.call.ids(&mut visit);
                for call in &instance.discarded {
                    call.ids(&mut visit);
                }
                for effect in &instance.effects {
                    effect.ids(&mut visit);
                }
            }
            _ => {}
        }
    }

    fn children_mut(&mut self, mut visit: impl FnMut(&mut Id)) {
        match self {
            Node::Tuple(ids) | Node::FrozenSet(ids) => ids.iter_mut().for_each(visit),
            Node::List(ids) | Node::Set(ids) => ids.iter_mut().for_each(visit),
            Node::Dict(pairs) => pairs.iter_mut().for_each(|(key, value)| {
                visit(key);
                visit(value);
            }),
            Node::StackGlobal(module, name) => {
                visit(module);
                visit(name);
            }
            Node::BinaryPersistentId(id) | Node::ReadonlyBuffer(id) => visit(id),
            Node::Instance(instance) => {
                instance.call.ids_mut(&mut visit);
                for call in &mut instance.discarded {
                    call.ids_mut(&mut visit);
                }
                for effect in &mut instance.effects {
                    effect.ids_mut(&mut visit);
                }
            }
            _ => {}
        }
    }

    /// Whether Python's pickler never memoises objects of this kind.
    pub(crate) fn is_atom(&self) -> bool {
        matches!(self, Node::None | Node::Bool(_) | Node::Int(_) | Node::BigInt(_) | Node::Float(_))
    }
}

/// The nodes. The first three are None, False and True.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    memoised: Vec<bool>,
}

impl Default for Graph {
    fn default() -> Self {
        Graph {
            nodes: vec![Node::None, Node::Bool(false), Node::Bool(true)],
            memoised: vec![false; 3],
        }
    }
}

static MISSING: Node = Node::None;

impl Graph {
    /// Adds a node, or gives `None` where 2^32 are there already.
    pub(crate) fn add(&mut self, node: Node, memoised: bool) -> Option<Id> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|id| *id < u32::MAX)?;
        self.nodes.push(node);
        self.memoised.push(memoised);
        Some(Id(id))
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Ids come from this arena alone, so a node is always there.
    pub(crate) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&MISSING)
    }

    pub(crate) fn node_mut(&mut self, id: Id) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)
    }

    pub(crate) fn is_memoised(&self, id: Id) -> bool {
        self.memoised.get(id.0 as usize).copied().unwrap_or(false)
    }

    pub(crate) fn memoise(&mut self, id: Id) {
        if let Some(flag) = self.memoised.get_mut(id.0 as usize) {
            *flag = true;
        }
    }

    /// For each node reachable from `root`, how often it is referred to, up to 2.
    pub(crate) fn references(&self, root: Id) -> Vec<u8> {
        let mut counts = vec![0u8; self.nodes.len()];
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            let Some(count) = counts.get_mut(id.0 as usize) else { continue };
            *count = count.saturating_add(1).min(2);
            if *count == 1 {
                self.node(id).children(|child| open.push(child));
            }
        }
        counts
    }

    /// Moves the nodes of `other` in, and says where its `root` went.
    pub(crate) fn absorb(&mut self, other: Graph, root: Id) -> Option<Id> {
        let base = u32::try_from(self.nodes.len()).ok()?;
        u32::try_from(self.nodes.len() + other.nodes.len()).ok()?;
        let moved = |id: Id| if id.0 < 3 { id } else { Id(id.0 - 3 + base) };
        self.memoised.extend(other.memoised.into_iter().skip(3));
        self.nodes.extend(other.nodes.into_iter().skip(3).map(|mut node| {
            node.children_mut(|id| *id = moved(*id));
            node
        }));
        Some(moved(root))
    }
}
