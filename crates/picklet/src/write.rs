//! From the value graph to a pickle, object by object as CPython's C pickler orders them.
//!
//! The walk calls itself for the first levels, which is fast, and keeps its own stack of tasks for
//! what is below them; [`picklet_codec::Writer`] chooses the opcodes and cuts the frames. Memo indexes count up as in C; an object is memoised where the pickle it came
//! from did so, or where the graph refers to it twice.

use picklet_codec::sink::Sink;
use picklet_codec::writer::{Batch, BatchStyle, Batches, batches};
use picklet_codec::{Error, Opcode, PickleStr, Result};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::graph::{Call, Effect, Graph, Id, Node};

/// Writes the graph below `root`, whose globals are named as at protocol `named_at`, at
/// `protocol`.
pub(crate) fn write<W: Sink>(
    graph: &Graph,
    root: Id,
    named_at: u8,
    protocol: u8,
    sink: W,
) -> Result<picklet_codec::Writer<W>> {
    let mut walk = Walk {
        graph,
        nothing_lost: graph.lost.is_empty(),
        memo: Vec::new(),
        out: picklet_codec::Writer::with_capacity(sink, protocol, graph.pickle_size + SLACK)?,
        named_at,
        tasks: Vec::new(),
        levels: LEVELS,
        discarding: FxHashMap::default(),
        lost_done: FxHashSet::default(),
        buffers: 0,
    };
    walk.out.start()?;
    walk.save_lost(None);
    walk.run(Task::Save(root))?;
    while let Some(task) = walk.tasks.pop() {
        walk.run(task)?;
    }
    walk.out.stop()?;
    Ok(walk.out)
}

/// More room than the pickle takes, so that the check before its last opcode finds enough.
const SLACK: usize = 64;

/// Levels of nesting for which the walk calls itself.
const LEVELS: u32 = 32;

#[derive(Clone, Copy)]
enum Task<'g> {
    Save(Id),
    Op(Opcode),
    /// An opcode, then the memo.
    Finish(Id, Opcode),
    FinishTuple(Id),
    FinishFrozenSet(Id),
    /// A list's or a set's items, in the batches that are left, each ended by this opcode.
    Items(&'g [Id], Batches, Opcode),
    Pairs(&'g [(Id, Id)], Batches),
    /// Saves ids, one after another.
    Each(&'g [Id]),
    EachPair(&'g [(Id, Id)]),
    FinishCall(Id),
    /// The end of a call whose result is thrown away for the object.
    FinishDiscarded(Id, &'g Call),
    /// TUPLE2 at any protocol.
    StateSetterPair,
    Effects(&'g [Effect]),
    /// Items, or keys and values in turn, each with its own APPEND or SETITEM.
    OneByOne(&'g [Id], Opcode),
}

struct Walk<'g, W> {
    graph: &'g Graph,
    nothing_lost: bool,
    /// By node, one more than its memo index, or 0: of those that are fetched. Empty before the
    /// first; zeroes cost no memory where nothing is put.
    memo: Vec<u32>,
    out: picklet_codec::Writer<W>,
    named_at: u8,
    tasks: Vec<Task<'g>>,
    /// How often the walk may call itself from here.
    levels: u32,
    /// How many discarded calls of an instance are under way or done.
    discarding: FxHashMap<Id, usize>,
    /// Objects that lost effects come before, where those are written.
    lost_done: FxHashSet<Id>,
    /// How many out-of-band buffers are written.
    buffers: usize,
}

impl<'g, W: Sink> Walk<'g, W> {
    fn protocol(&self) -> u8 {
        self.out.protocol()
    }

    fn needs(&self, protocol: u8, what: &str) -> Result<()> {
        if self.protocol() >= protocol {
            return Ok(());
        }
        Err(Error::custom(format!(
            "{what} has no opcode below protocol {protocol}; write at protocol {protocol} or above"
        )))
    }

    /// A global's name at the protocol written: Python 2's and 3's meet below protocol 3.
    fn name<'n>(&self, module: &'n str, name: &'n str) -> (&'n str, &'n str) {
        match (self.named_at < 3, self.protocol() < 3) {
            (true, false) => picklet_codec::compat::to_python3(module, name),
            (false, true) => picklet_codec::compat::to_python2(module, name),
            _ => (module, name),
        }
    }

    fn memo_index(&self, id: Id) -> Option<u32> {
        self.memo.get(id.0 as usize)?.checked_sub(1)
    }

    /// Memoises an object where the pickle it came from did. Whatever the graph refers to twice
    /// came out of a memo, or was doubled by DUP and is marked for it.
    #[inline]
    fn put_memo(&mut self, id: Id) -> Result<()> {
        if !self.graph.is_memoised(id) {
            Ok(())
        } else if self.graph.is_shared(id) {
            self.memoise(id)
        } else {
            self.out.memoize().map(drop)
        }
    }

    /// Memoises an object and keeps its index.
    fn memoise(&mut self, id: Id) -> Result<()> {
        if self.memo.is_empty() {
            self.memo = vec![0; self.graph.len()];
        }
        // A graph has fewer than 2^32 - 1 nodes, and each is memoised once.
        let index = self.out.memoize()? as u32;
        if let Some(entry) = self.memo.get_mut(id.0 as usize) {
            *entry = index + 1;
        }
        Ok(())
    }

    fn get_memo(&mut self, index: u32) -> Result<()> {
        self.out.get(index.into())
    }

    fn run(&mut self, task: Task<'g>) -> Result<()> {
        if !self.nothing_lost
            && let Task::Finish(id, _)
            | Task::FinishTuple(id)
            | Task::FinishFrozenSet(id)
            | Task::FinishCall(id) = task
            && self.save_lost_before(id, task)
        {
            return Ok(());
        }
        match task {
            Task::Save(id) => self.save(id),
            Task::Op(opcode) => self.out.op(opcode),
            Task::Finish(id, opcode) => {
                self.out.op(opcode)?;
                self.put_memo(id)
            }
            Task::FinishTuple(id) => self.finish_tuple(id),
            Task::FinishFrozenSet(id) => self.finish_frozenset(id),
            Task::Items(items, batches, end) => self.items(items, batches, end),
            Task::Pairs(pairs, batches) => self.pairs(pairs, batches),
            Task::Each(ids) => self.each(ids),
            Task::EachPair(pairs) => self.each_pair(pairs),
            Task::FinishCall(id) => self.finish_call(id),
            Task::FinishDiscarded(id, call) => self.finish_discarded(id, call),
            Task::StateSetterPair if self.protocol() >= 2 => self.out.op(Opcode::Tuple2),
            Task::StateSetterPair => self.out.raw(&[Opcode::Tuple2.byte()]),
            Task::Effects(effects) => self.effect(effects),
            Task::OneByOne(items, end) => {
                self.one_by_one(items, end);
                Ok(())
            }
        }
    }

    fn each(&mut self, ids: &'g [Id]) -> Result<()> {
        if let Some((first, rest)) = self.save_some(ids)?.split_first() {
            if !rest.is_empty() {
                self.tasks.push(Task::Each(rest));
            }
            return self.save(*first);
        }
        Ok(())
    }

    fn each_pair(&mut self, pairs: &'g [(Id, Id)]) -> Result<()> {
        if let Some(((key, value), rest)) = self.save_some_pairs(pairs)?.split_first() {
            if !rest.is_empty() {
                self.tasks.push(Task::EachPair(rest));
            }
            self.tasks.push(Task::Save(*value));
            return self.save(*key);
        }
        Ok(())
    }

    /// Saves objects up to the first that has to wait for the tasks, and gives what is left.
    fn save_some(&mut self, mut ids: &'g [Id]) -> Result<&'g [Id]> {
        while let Some((first, rest)) = ids.split_first() {
            if !self.nothing_lost {
                break;
            }
            if !self.save_leaf(*first)? {
                if self.levels == 0 {
                    break;
                }
                self.save_below(*first)?;
            }
            ids = rest;
        }
        Ok(ids)
    }

    /// Saves pairs up to the first that has to wait for the tasks, and gives what is left.
    fn save_some_pairs(&mut self, mut pairs: &'g [(Id, Id)]) -> Result<&'g [(Id, Id)]> {
        while let Some(((key, value), rest)) = pairs.split_first() {
            let here = self.levels > 0 || self.is_leaf(*key) && self.is_leaf(*value);
            if !self.nothing_lost || !here {
                break;
            }
            for id in [*key, *value] {
                if !self.save_leaf(id)? {
                    self.save_below(id)?;
                }
            }
            pairs = rest;
        }
        Ok(pairs)
    }

    /// Saves an object that holds others, and all that it holds, one level further down.
    fn save_below(&mut self, id: Id) -> Result<()> {
        self.levels -= 1;
        let waiting = self.tasks.len();
        self.save_holder(id)?;
        while self.tasks.len() > waiting
            && let Some(task) = self.tasks.pop()
        {
            self.run(task)?;
        }
        self.levels += 1;
        Ok(())
    }

    /// Whether [`Self::save_leaf`] will save it.
    #[inline]
    fn is_leaf(&self, id: Id) -> bool {
        let kind = matches!(
            self.graph.node(id),
            Node::None
                | Node::Bool(_)
                | Node::Int(_)
                | Node::BigInt(_)
                | Node::Float(_)
                | Node::Str(_)
                | Node::Bytes(_)
                | Node::ByteArray(_)
                | Node::Py2Str(_)
        );
        kind || self.memo_index(id).is_some()
    }

    fn save(&mut self, id: Id) -> Result<()> {
        let lost = !self.nothing_lost && !self.is_made_last(id);
        if lost && self.save_lost_before(id, Task::Save(id)) {
            return Ok(());
        }
        if self.save_leaf(id)? { Ok(()) } else { self.save_holder(id) }
    }

    /// Saves an object that holds no other, or that is in the memo. Whether it was one.
    #[inline(always)]
    fn save_leaf(&mut self, id: Id) -> Result<bool> {
        // C looks at the frame's length before each object, and nowhere else.
        self.out.boundary()?;
        let graph = self.graph;
        if graph.is_shared(id)
            && let Some(index) = self.memo_index(id)
        {
            self.get_memo(index)?;
            return Ok(true);
        }
        match graph.node(id) {
            Node::Str(text) => self.out.str(text.as_pickle_str())?,
            Node::Int(value) => self.out.int(*value)?,
            Node::Float(value) => self.out.float(*value)?,
            Node::None => self.out.none()?,
            Node::Bool(value) => self.out.bool(*value)?,
            Node::BigInt(bytes) => self.out.big_int(bytes)?,
            Node::Bytes(bytes) => {
                self.needs(3, "bytes")?;
                self.out.bytes(bytes)?;
            }
            Node::ByteArray(bytes) => {
                self.needs(5, "bytearray")?;
                self.out.byte_array(bytes)?;
            }
            Node::Py2Str(bytes) => self.out.string(bytes)?,
            // A buffer is memoised by one that comes after it, too.
            Node::Buffer(_) => match self.memo_index(id) {
                Some(index) => {
                    self.get_memo(index)?;
                    return Ok(true);
                }
                None => return Ok(false),
            },
            _ => return Ok(false),
        }
        self.put_memo(id)?;
        Ok(true)
    }

    /// Begins an object that holds others.
    fn save_holder(&mut self, id: Id) -> Result<()> {
        let graph = self.graph;
        match graph.node(id) {
            Node::Tuple(items) => self.save_tuple(id, items),
            Node::List(items) => {
                self.out.empty_list()?;
                self.put_memo(id)?;
                let batches = batches(BatchStyle::List, self.protocol(), items.len());
                self.items(items, batches, Opcode::Appends)
            }
            Node::Dict(pairs) => {
                self.out.empty_dict()?;
                self.put_memo(id)?;
                self.pairs(pairs, batches(BatchStyle::Dict, self.protocol(), pairs.len()))
            }
            Node::Set(items) => {
                self.needs(4, "set")?;
                self.out.op(Opcode::EmptySet)?;
                self.put_memo(id)?;
                let batches = batches(BatchStyle::Set, self.protocol(), items.len());
                self.items(items, batches, Opcode::AddItems)
            }
            Node::FrozenSet(items) => {
                self.needs(4, "frozenset")?;
                self.out.op(Opcode::Mark)?;
                self.tasks.push(Task::FinishFrozenSet(id));
                self.tasks.push(Task::Each(items));
                Ok(())
            }
            _ => self.save_object(id),
        }
    }

    /// Whether what an object holds is written before the opcode that makes it.
    fn is_made_last(&self, id: Id) -> bool {
        match self.graph.node(id) {
            Node::Tuple(items) => !items.is_empty(),
            Node::StackGlobal(..) => self.protocol() >= 4,
            Node::FrozenSet(_) | Node::BinaryPersistentId(_) => true,
            Node::ReadonlyBuffer(_) | Node::Instance(_) => true,
            _ => false,
        }
    }

    /// Puts the lost effects that come before `id` in front of `task`, which makes it, once.
    fn save_lost_before(&mut self, id: Id, task: Task<'g>) -> bool {
        if self.graph.lost_before(Some(id)).is_empty() || !self.lost_done.insert(id) {
            return false;
        }
        self.tasks.push(task);
        self.save_lost(Some(id));
        true
    }

    /// Saves and pops the lost effects that come before an object, or at the end.
    fn save_lost(&mut self, before: Option<Id>) {
        for (_, lost) in self.graph.lost_before(before).iter().rev() {
            self.tasks.push(Task::Op(Opcode::Pop));
            self.tasks.push(Task::Save(*lost));
        }
    }

    /// NEXT_BUFFER gives the buffers in their order, so those before this one are taken too.
    fn save_buffer(&mut self, id: Id, number: u32) -> Result<()> {
        self.needs(5, "an out-of-band buffer")?;
        let graph = self.graph;
        while let Some(earlier) = graph.buffers.get(self.buffers).filter(|earlier| **earlier != id)
        {
            self.buffers += 1;
            self.out.op(Opcode::NextBuffer)?;
            self.memoise(*earlier)?;
            self.out.op(Opcode::Pop)?;
        }
        if self.buffers != number as usize {
            return Err(Error::custom("an out-of-band buffer is met out of order"));
        }
        self.buffers += 1;
        self.out.op(Opcode::NextBuffer)?;
        self.put_memo(id)
    }

    fn save_tuple(&mut self, id: Id, items: &'g [Id]) -> Result<()> {
        if items.is_empty() {
            self.out.empty_tuple()?;
            // C has one empty tuple and never memoises it.
            return Ok(());
        }
        if self.out.tuple_needs_mark(items.len()) {
            self.out.op(Opcode::Mark)?;
        }
        let rest = self.save_some(items)?;
        if rest.is_empty() && self.nothing_lost {
            return self.finish_tuple(id);
        }
        self.tasks.push(Task::FinishTuple(id));
        self.tasks.push(Task::Each(rest));
        Ok(())
    }

    fn finish_tuple(&mut self, id: Id) -> Result<()> {
        let Node::Tuple(items) = self.graph.node(id) else { return Ok(()) };
        let Some(index) = self.memo_index(id) else {
            self.out.end_tuple(items.len())?;
            return self.put_memo(id);
        };
        // The tuple was met again below itself: throw the items away and fetch it.
        let marked = self.out.tuple_needs_mark(items.len());
        if marked && self.protocol() >= 1 {
            self.out.op(Opcode::PopMark)?;
        } else {
            for _ in 0..items.len() + usize::from(marked) {
                self.out.op(Opcode::Pop)?;
            }
        }
        self.get_memo(index)
    }

    fn finish_frozenset(&mut self, id: Id) -> Result<()> {
        match self.memo_index(id) {
            Some(index) => {
                self.out.op(Opcode::PopMark)?;
                self.get_memo(index)
            }
            None => {
                self.out.op(Opcode::FrozenSet)?;
                self.put_memo(id)
            }
        }
    }

    /// The next batches of a list or a set, up to an item that has to wait for the tasks.
    fn items(&mut self, mut items: &'g [Id], mut batches: Batches, end: Opcode) -> Result<()> {
        while let Some(batch) = batches.next() {
            let (count, end_batch) = match batch {
                Batch::One => (1, Opcode::Append),
                Batch::Many(count) => {
                    self.out.op(Opcode::Mark)?;
                    (count, end)
                }
            };
            let (batch, rest) = items.split_at_checked(count).unwrap_or_default();
            let left = self.save_some(batch)?;
            if !left.is_empty() {
                if { batches }.next().is_some() {
                    self.tasks.push(Task::Items(rest, batches, end));
                }
                self.tasks.push(Task::Op(end_batch));
                self.tasks.push(Task::Each(left));
                return Ok(());
            }
            self.out.op(end_batch)?;
            items = rest;
        }
        Ok(())
    }

    /// The next batches of a dict, up to a pair that has to wait for the tasks.
    fn pairs(&mut self, mut pairs: &'g [(Id, Id)], mut batches: Batches) -> Result<()> {
        while let Some(batch) = batches.next() {
            let (count, end) = match batch {
                Batch::One => (1, Opcode::SetItem),
                Batch::Many(count) => {
                    self.out.op(Opcode::Mark)?;
                    (count, Opcode::SetItems)
                }
            };
            let (batch, rest) = pairs.split_at_checked(count).unwrap_or_default();
            let left = self.save_some_pairs(batch)?;
            if !left.is_empty() {
                if { batches }.next().is_some() {
                    self.tasks.push(Task::Pairs(rest, batches));
                }
                self.tasks.push(Task::Op(end));
                self.tasks.push(Task::EachPair(left));
                return Ok(());
            }
            self.out.op(end)?;
            pairs = rest;
        }
        Ok(())
    }

    fn save_object(&mut self, id: Id) -> Result<()> {
        let graph = self.graph;
        match graph.node(id) {
            Node::Global(global) => {
                let (module, name) = self.name(&global.0, &global.1);
                self.out.global(module, name)?;
                self.put_memo(id)?;
            }
            Node::StackGlobal(module, name) if self.protocol() >= 4 => {
                self.tasks.push(Task::Finish(id, Opcode::StackGlobal));
                self.tasks.push(Task::Save(*name));
                self.tasks.push(Task::Save(*module));
            }
            Node::StackGlobal(module, name) => {
                let line = |id| {
                    let text = graph.name_text(id).and_then(PickleStr::to_str);
                    text.filter(|text| !text.contains('\n'))
                };
                let (Some(module), Some(name)) = (line(*module), line(*name)) else {
                    return self.needs(4, "a global whose name holds a newline or a surrogate");
                };
                if name.contains('.') {
                    // Below protocol 4 Python looks dotted names up whole.
                    self.needs(4, "a global whose name holds a dot")?;
                }
                let (module, name) = self.name(module, name);
                self.out.global(module, name)?;
                self.put_memo(id)?;
            }
            Node::Extension(code) => {
                self.needs(2, "an extension code")?;
                self.out.extension(*code)?;
                self.put_memo(id)?;
            }
            Node::PersistentId(text) => {
                self.out.persistent_id(text)?;
                self.put_memo(id)?;
            }
            Node::BinaryPersistentId(pid) => {
                self.needs(1, "a persistent id that is an object")?;
                self.tasks.push(Task::FinishCall(id));
                self.tasks.push(Task::Save(*pid));
            }
            Node::Buffer(number) => self.save_buffer(id, *number)?,
            Node::ReadonlyBuffer(buffer) => {
                self.needs(5, "a read-only buffer")?;
                self.tasks.push(Task::Finish(id, Opcode::ReadonlyBuffer));
                self.tasks.push(Task::Save(*buffer));
            }
            Node::Instance(instance) => {
                let open = self.discarding.get(&id).copied().unwrap_or(0);
                let place = instance.discarded.len().checked_sub(open + 1);
                match place.and_then(|place| instance.discarded.get(place)) {
                    Some(call) => {
                        self.discarding.insert(id, open + 1);
                        self.tasks.push(Task::FinishDiscarded(id, call));
                        self.start_call(call)?;
                    }
                    None => self.save_call(id, &instance.call)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn save_call(&mut self, id: Id, call: &'g Call) -> Result<()> {
        self.tasks.push(Task::FinishCall(id));
        self.start_call(call)
    }

    /// Saves what a call takes.
    fn start_call(&mut self, call: &'g Call) -> Result<()> {
        match call {
            Call::Reduce { callable: class, args } | Call::NewObj { class, args } => {
                if matches!(call, Call::NewObj { .. }) {
                    self.needs(2, "NEWOBJ")?;
                }
                self.tasks.push(Task::Save(*args));
                self.tasks.push(Task::Save(*class));
            }
            Call::NewObjEx { class, args, kwargs } => {
                self.needs(4, "NEWOBJ_EX")?;
                self.tasks.push(Task::Save(*kwargs));
                self.tasks.push(Task::Save(*args));
                self.tasks.push(Task::Save(*class));
            }
            Call::Inst { args, .. } => {
                self.out.op(Opcode::Mark)?;
                self.tasks.push(Task::Each(args));
            }
            Call::Obj { class, args } => {
                self.needs(1, "OBJ")?;
                self.out.op(Opcode::Mark)?;
                self.tasks.push(Task::Each(args));
                self.tasks.push(Task::Save(*class));
            }
        }
        Ok(())
    }

    /// The opcode that makes the call.
    fn end_call(&mut self, call: &Call) -> Result<()> {
        self.out.op(match call {
            Call::NewObj { .. } => Opcode::NewObj,
            Call::NewObjEx { .. } => Opcode::NewObjEx,
            Call::Obj { .. } => Opcode::Obj,
            Call::Reduce { .. } => Opcode::Reduce,
            Call::Inst { module, name, .. } => {
                let (module, name) = self.name(module, name);
                return self.out.inst(module, name);
            }
        })
    }

    /// Throws a call's result away and fetches the object that was made inside its arguments.
    fn finish_discarded(&mut self, id: Id, call: &Call) -> Result<()> {
        self.end_call(call)?;
        self.out.op(Opcode::Pop)?;
        match self.memo_index(id) {
            Some(index) => self.get_memo(index),
            None => self.save(id),
        }
    }

    fn finish_call(&mut self, id: Id) -> Result<()> {
        let graph = self.graph;
        let Node::Instance(instance) = graph.node(id) else {
            self.out.op(Opcode::BinPersId)?;
            return self.put_memo(id);
        };
        self.end_call(&instance.call)?;
        if let Some(index) = self.memo_index(id) {
            // Met again inside its own arguments: the one made there is the object.
            self.out.op(Opcode::Pop)?;
            return self.get_memo(index);
        }
        self.put_memo(id)?;
        self.tasks.push(Task::Effects(&instance.effects));
        Ok(())
    }

    fn effect(&mut self, effects: &'g [Effect]) -> Result<()> {
        let Some((effect, rest)) = effects.split_first() else { return Ok(()) };
        self.tasks.push(Task::Effects(rest));
        match effect {
            Effect::Append(item) => {
                self.tasks.push(Task::Op(Opcode::Append));
                self.tasks.push(Task::Save(*item));
            }
            Effect::SetItem(key, value) => {
                self.tasks.push(Task::Op(Opcode::SetItem));
                self.tasks.push(Task::Save(*value));
                self.tasks.push(Task::Save(*key));
            }
            Effect::Build(state) => {
                self.tasks.push(Task::Op(Opcode::Build));
                self.tasks.push(Task::Save(*state));
            }
            Effect::Call { callable, args } => {
                self.tasks.push(Task::Op(Opcode::Pop));
                self.tasks.push(Task::Op(Opcode::Reduce));
                match self.graph.node(*args) {
                    // C writes this pair so at every protocol.
                    Node::Tuple(pair) if pair.len() == 2 && !self.graph.is_memoised(*args) => {
                        self.tasks.push(Task::StateSetterPair);
                        self.tasks.push(Task::Each(pair));
                    }
                    _ => self.tasks.push(Task::Save(*args)),
                }
                self.tasks.push(Task::Save(*callable));
            }
            Effect::Appends(items) => self.effect_batch(items, Opcode::Appends)?,
            Effect::SetItems(items) => self.effect_batch(items, Opcode::SetItems)?,
            Effect::AddItems(items) => {
                self.needs(4, "ADDITEMS")?;
                self.effect_batch(items, Opcode::AddItems)?;
            }
        }
        Ok(())
    }

    /// Items (or keys and values in turn) for an instance: one batch, and one by one at
    /// protocol 0, which has no batches.
    fn effect_batch(&mut self, items: &'g [Id], end: Opcode) -> Result<()> {
        if self.protocol() >= 1 {
            self.out.op(Opcode::Mark)?;
            self.tasks.push(Task::Op(end));
            self.tasks.push(Task::Each(items));
        } else {
            self.tasks.push(Task::OneByOne(items, end));
        }
        Ok(())
    }

    fn one_by_one(&mut self, items: &'g [Id], end: Opcode) {
        let size = if end == Opcode::SetItems { 2 } else { 1 };
        let Some((one, rest)) = items.split_at_checked(size) else { return };
        self.tasks.push(Task::OneByOne(rest, end));
        self.tasks.push(Task::Op(if size == 2 { Opcode::SetItem } else { Opcode::Append }));
        self.tasks.push(Task::Each(one));
    }
}
