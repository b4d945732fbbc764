//! The arena a [`Value`](crate::Value) owns: nodes in one vector, referred to by index.
//!
//! A flat vector makes drop, clone, comparison and printing loops rather than recursion, and a
//! cycle cannot leak. Nodes keep more than Python values do, because the same bytes must come
//! out again: which were memoised, the name nodes of a global, and what was done to an object in
//! which order.

use picklet_codec::{PickleStr, PickleString};
use rustc_hash::FxHashSet;

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
    ByteArray(Vec<u8>),
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

    /// Whether Python does something to make it: an import, a call, a question to the
    /// application.
    fn is_effect(&self) -> bool {
        matches!(
            self,
            Node::Global(_)
                | Node::StackGlobal(..)
                | Node::Extension(_)
                | Node::PersistentId(_)
                | Node::BinaryPersistentId(_)
                | Node::Instance(_)
        )
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
    flags: Vec<u8>,
    /// Objects whose making is an effect (a call, an import) and that nothing refers to, each
    /// with the object before which it was made, or none for the end. In that order.
    pub(crate) lost: Vec<(Option<Id>, Id)>,
    /// The out-of-band buffers, by their numbers.
    pub(crate) buffers: Vec<Id>,
    /// Bytes of the pickle that it was read from: what it is written as, as a rule.
    pub(crate) pickle_size: usize,
}

/// The pickle put it into its memo.
const MEMOISED: u8 = 1;
/// A tuple with something in it that Python cannot hash.
const UNHASHABLE: u8 = 2;
/// The pickle fetched it, out of its memo or by DUP: the graph may refer to it more than once.
const SHARED: u8 = 4;

impl Default for Graph {
    fn default() -> Self {
        Graph {
            nodes: vec![Node::None, Node::Bool(false), Node::Bool(true)],
            flags: vec![0; 3],
            lost: Vec::new(),
            buffers: Vec::new(),
            pickle_size: 0,
        }
    }
}

static MISSING: Node = Node::None;

impl Graph {
    /// Room for the nodes that a pickle of so many bytes holds as a rule, up to a small number.
    pub(crate) fn reserve_for(&mut self, bytes: usize) {
        let nodes = (bytes / 8).min(1 << 12);
        self.nodes.reserve(nodes);
        self.flags.reserve(nodes);
    }

    /// Adds a node, or gives `None` where 2^32 are there already.
    pub(crate) fn add(&mut self, node: Node, memoised: bool) -> Option<Id> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|id| *id < u32::MAX)?;
        self.nodes.push(node);
        self.flags.push(if memoised { MEMOISED } else { 0 });
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

    fn has_flag(&self, id: Id, flag: u8) -> bool {
        self.flags.get(id.0 as usize).is_some_and(|flags| flags & flag != 0)
    }

    fn set_flag(&mut self, id: Id, flag: u8) {
        if let Some(flags) = self.flags.get_mut(id.0 as usize) {
            *flags |= flag;
        }
    }

    pub(crate) fn is_memoised(&self, id: Id) -> bool {
        self.has_flag(id, MEMOISED)
    }

    pub(crate) fn memoise(&mut self, id: Id) {
        self.set_flag(id, MEMOISED);
    }

    pub(crate) fn is_shared(&self, id: Id) -> bool {
        self.has_flag(id, SHARED)
    }

    pub(crate) fn share(&mut self, id: Id) {
        self.set_flag(id, SHARED);
    }

    /// What a str says, or a Python 2 str, which Python reads as ASCII where it is a name.
    pub(crate) fn name_text(&self, id: Id) -> Option<PickleStr<'_>> {
        match self.node(id) {
            Node::Str(text) => Some(text.as_pickle_str()),
            Node::Py2Str(bytes) if bytes.is_ascii() => {
                std::str::from_utf8(bytes).ok().map(PickleStr::from)
            }
            _ => None,
        }
    }

    /// Whether an object is of a kind that Python cannot hash; a tuple, once marked.
    pub(crate) fn is_unhashable(&self, id: Id) -> bool {
        let unhashable = matches!(
            self.node(id),
            Node::List(_) | Node::Dict(_) | Node::Set(_) | Node::ByteArray(_)
        );
        unhashable || self.has_flag(id, UNHASHABLE)
    }

    pub(crate) fn mark_unhashable(&mut self, id: Id) {
        self.set_flag(id, UNHASHABLE);
    }

    /// Finds the effects that nothing below `root` remembers (their results were popped, left on
    /// the stack or replaced in a dict), so that they are written again.
    ///
    /// Ids count up in the order in which a pickle makes objects, and objects are written in
    /// that order too, as a rule: so an effect belongs before the first object after it.
    pub(crate) fn find_lost(&mut self, root: Id) {
        // Which walk came to a node first. 0: none; 1: the root's.
        let mut walks = vec![0u32; self.nodes.len()];
        let mut next_walk = 1;
        let mut inner = FxHashSet::default();
        let mut outer = Vec::new();
        self.walk_from(root, next_walk, &mut walks, &mut inner);
        for (index, node) in self.nodes.iter().enumerate().skip(3).rev() {
            if walks.get(index) == Some(&0) && node.is_effect() {
                // No arena is larger than 2^32.
                let id = Id(index as u32);
                outer.push(id);
                next_walk += 1;
                self.walk_from(id, next_walk, &mut walks, &mut inner);
            }
        }
        // An effect may lie inside one that was found after it.
        outer.retain(|id| !inner.contains(id));

        walks.fill(0);
        self.walk_from(root, 1, &mut walks, &mut inner);
        let mut outer = outer.into_iter().peekable();
        let mut after = None;
        for index in (3..self.nodes.len()).rev() {
            let id = Id(index as u32);
            if outer.next_if_eq(&id).is_some() {
                self.lost.push((after, id));
                self.walk_from(id, 1, &mut walks, &mut inner);
            } else if walks.get(index) == Some(&1) {
                after = Some(id);
            }
        }
        self.lost.reverse();
        // A popped call that no memo knows reads as a state-setter of its first argument, which
        // would move it there: so these go into the memo before they are popped.
        for index in 0..self.lost.len() {
            if let Some(&(_, id)) = self.lost.get(index)
                && self.looks_like_a_state_setter(id)
            {
                self.memoise(id);
            }
        }
    }

    /// Whether it is a call whose first argument is an object that a call makes.
    fn looks_like_a_state_setter(&self, id: Id) -> bool {
        let Node::Instance(instance) = self.node(id) else { return false };
        let Call::Reduce { args, .. } = instance.call else { return false };
        let Node::Tuple(args) = self.node(args) else { return false };
        args.first().is_some_and(|owner| matches!(self.node(*owner), Node::Instance(_)))
    }

    /// Marks what `start` refers to, and adds to `inner` what another walk began or passed.
    fn walk_from(&self, start: Id, walk: u32, walks: &mut [u32], inner: &mut FxHashSet<Id>) {
        let mut open = vec![start];
        while let Some(id) = open.pop() {
            match walks.get_mut(id.0 as usize) {
                Some(seen) if *seen == 0 => {
                    *seen = walk;
                    self.node(id).children(|child| open.push(child));
                }
                Some(seen) if *seen != walk && *seen != 1 => {
                    inner.insert(id);
                }
                _ => {}
            }
        }
    }

    /// The lost effects that come before `id`, or at the end.
    pub(crate) fn lost_before(&self, id: Option<Id>) -> &[(Option<Id>, Id)] {
        let key = |id: Option<Id>| id.map_or(u64::MAX, |id| id.0.into());
        let start = self.lost.partition_point(|(before, _)| key(*before) < key(id));
        let end = self.lost.partition_point(|(before, _)| key(*before) <= key(id));
        self.lost.get(start..end).unwrap_or_default()
    }

    /// Moves the nodes of `other` in, for the container `into`, and says where its `root` went.
    pub(crate) fn absorb(&mut self, into: Id, other: Graph, root: Id) -> Option<Id> {
        let base = u32::try_from(self.nodes.len()).ok()?;
        u32::try_from(self.nodes.len() + other.nodes.len()).ok()?;
        let buffers = u32::try_from(self.buffers.len()).ok()?;
        let moved = |id: Id| if id.0 < 3 { id } else { Id(id.0 - 3 + base) };
        self.flags.extend(other.flags.into_iter().skip(3));
        self.nodes.extend(other.nodes.into_iter().skip(3).map(|mut node| {
            node.children_mut(|id| *id = moved(*id));
            if let Node::Buffer(number) = &mut node {
                *number = number.saturating_add(buffers);
            }
            node
        }));
        self.buffers.extend(other.buffers.into_iter().map(moved));
        // The end of the other one is no end here, so what comes there comes before its root.
        let first = if root.0 < 3 { into } else { moved(root) };
        self.lost.extend(
            other
                .lost
                .into_iter()
                .map(|(before, id)| (Some(before.map_or(first, moved)), moved(id))),
        );
        self.lost.sort_by_key(|(before, _)| before.map_or(u64::MAX, |id| id.0.into()));
        Some(moved(root))
    }
}
