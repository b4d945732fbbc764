//! From the value graph to a pickle, opcode by opcode as CPython's C pickler orders them.
//!
//! The walk keeps its own stack of tasks. Memo indexes count up as in C; an object is memoised
//! where the pickle it came from did so, or where the graph refers to it twice.

use picklet_codec::{Error, Opcode, Result, pyrepr};
use rustc_hash::FxHashMap;

use crate::compat;
use crate::graph::{Call, Effect, Graph, Id, Node};

/// Items in one APPENDS, SETITEMS or ADDITEMS (`BATCHSIZE` in `_pickle.c`).
const BATCH: usize = 1000;
/// The size in bytes at which a frame is closed (`FRAME_SIZE_TARGET`).
const FRAME_TARGET: usize = 64 * 1024;
/// Shorter frames get no FRAME opcode (`FRAME_SIZE_MIN`).
const FRAME_MINIMUM: usize = 4;
/// FRAME's own size.
const FRAME_HEADER: usize = 9;

/// Writes the graph below `root`, whose globals are named as at protocol `named_at`, at
/// `protocol`.
pub(crate) fn write(graph: &Graph, root: Id, named_at: u8, protocol: u8) -> Result<Vec<u8>> {
    let mut writer = Writer {
        graph,
        references: graph.references(root),
        memo: vec![u32::MAX; graph.len()],
        memo_len: 0,
        out: Output { bytes: Vec::new(), framing: false, frame: None },
        protocol,
        named_at,
        tasks: Vec::new(),
        discarding: FxHashMap::default(),
    };
    if protocol >= 2 {
        writer.out.put(&[Opcode::Proto as u8, protocol]);
    }
    writer.out.framing = protocol >= 4;
    writer.tasks.push(Task::Save(root));
    while let Some(task) = writer.tasks.pop() {
        writer.run(task)?;
    }
    writer.op(Opcode::Stop);
    writer.out.commit();
    Ok(writer.out.bytes)
}

#[derive(Clone, Copy)]
enum Task<'g> {
    Save(Id),
    Op(Opcode),
    /// An opcode, then the memo.
    Finish(Id, Opcode),
    FinishTuple(Id),
    FinishFrozenSet(Id),
    ListItems(&'g [Id], usize),
    DictItems(&'g [(Id, Id)], usize),
    SetItems(&'g [Id], usize),
    /// Saves ids from this place on, one after another.
    Each(&'g [Id], usize),
    FinishCall(Id),
    /// The end of a call whose result is thrown away for the object.
    FinishDiscarded(Id, &'g Call),
    FinishInst(Id),
    Effects(&'g [Effect], usize),
}

/// Bytes out, cut into frames as C cuts them.
struct Output {
    bytes: Vec<u8>,
    framing: bool,
    /// Where the open frame's header stands.
    frame: Option<usize>,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) {
        if self.framing && self.frame.is_none() {
            self.frame = Some(self.bytes.len());
            self.bytes.extend_from_slice(&[0; FRAME_HEADER]);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// A counted argument: from the frame target up it stands between frames.
    fn put_counted(&mut self, header: &[u8], data: &[u8]) {
        let framing = self.framing;
        if data.len() >= FRAME_TARGET {
            self.commit();
            self.framing = false;
        }
        self.put(header);
        self.put(data);
        self.framing = framing;
    }

    fn frame_length(&self) -> Option<(usize, usize)> {
        let start = self.frame.filter(|_| self.framing)?;
        Some((start, self.bytes.len().saturating_sub(start + FRAME_HEADER)))
    }

    fn boundary(&mut self) {
        if self.frame_length().is_some_and(|(_, length)| length >= FRAME_TARGET) {
            self.commit();
        }
    }

    fn commit(&mut self) {
        let Some((start, length)) = self.frame_length() else { return };
        let header_end = start + FRAME_HEADER;
        if length < FRAME_MINIMUM {
            self.bytes.drain(start..header_end);
        } else if let Some(header) = self.bytes.get_mut(start..header_end) {
            let mut frame = [Opcode::Frame as u8; FRAME_HEADER];
            for (to, from) in frame.iter_mut().skip(1).zip((length as u64).to_le_bytes()) {
                *to = from;
            }
            header.copy_from_slice(&frame);
        }
        self.frame = None;
    }
}

struct Writer<'g> {
    graph: &'g Graph,
    references: Vec<u8>,
    memo: Vec<u32>,
    memo_len: u32,
    out: Output,
    protocol: u8,
    named_at: u8,
    tasks: Vec<Task<'g>>,
    /// How many discarded calls of an instance are under way or done.
    discarding: FxHashMap<Id, usize>,
}

impl<'g> Writer<'g> {
    fn binary(&self) -> bool {
        self.protocol >= 1
    }

    fn op(&mut self, opcode: Opcode) {
        self.out.put(&[opcode as u8]);
    }

    fn needs(&self, protocol: u8, what: &str) -> Result<()> {
        if self.protocol >= protocol {
            return Ok(());
        }
        Err(Error::custom(format!(
            "{what} has no opcode below protocol {protocol}; write at protocol {protocol} or above"
        )))
    }

    /// A global's name at the protocol written: Python 2's and 3's meet below protocol 3.
    fn name<'n>(&self, module: &'n str, name: &'n str) -> (&'n str, &'n str) {
        match (self.named_at < 3, self.protocol < 3) {
            (true, false) => compat::to_python3(module, name),
            (false, true) => compat::to_python2(module, name),
            _ => (module, name),
        }
    }

    fn memo_index(&self, id: Id) -> Option<u32> {
        self.memo.get(id.0 as usize).copied().filter(|index| *index != u32::MAX)
    }

    /// Whether an object gets a memo entry.
    fn is_kept(&self, id: Id) -> bool {
        let shared = self.references.get(id.0 as usize).is_some_and(|count| *count > 1);
        shared || self.graph.is_memoised(id)
    }

    fn put_memo(&mut self, id: Id) {
        if !self.is_kept(id) {
            return;
        }
        let index = self.memo_len;
        self.memo_len = self.memo_len.saturating_add(1);
        if let Some(entry) = self.memo.get_mut(id.0 as usize) {
            *entry = index;
        }
        match u8::try_from(index) {
            _ if self.protocol >= 4 => self.op(Opcode::Memoize),
            Ok(index) if self.binary() => self.out.put(&[Opcode::BinPut as u8, index]),
            Err(_) if self.binary() => self.op_u32(Opcode::LongBinPut, index),
            _ => self.out.put(format!("p{index}\n").as_bytes()),
        }
    }

    fn get_memo(&mut self, index: u32) {
        match u8::try_from(index) {
            Ok(index) if self.binary() => self.out.put(&[Opcode::BinGet as u8, index]),
            Err(_) if self.binary() => self.op_u32(Opcode::LongBinGet, index),
            _ => self.out.put(format!("g{index}\n").as_bytes()),
        }
    }

    fn op_u32(&mut self, opcode: Opcode, value: u32) {
        let [a, b, c, d] = value.to_le_bytes();
        self.out.put(&[opcode as u8, a, b, c, d]);
    }

    fn run(&mut self, task: Task<'g>) -> Result<()> {
        match task {
            Task::Save(id) => return self.save(id),
            Task::Op(opcode) => self.op(opcode),
            Task::Finish(id, opcode) => {
                self.op(opcode);
                self.put_memo(id);
            }
            Task::FinishTuple(id) => self.finish_tuple(id),
            Task::FinishFrozenSet(id) => self.finish_frozenset(id),
            Task::ListItems(items, next) => self.list_items(items, next),
            Task::DictItems(pairs, next) => self.dict_items(pairs, next),
            Task::SetItems(items, next) => self.set_items(items, next),
            Task::Each(ids, next) => {
                if let Some(id) = ids.get(next) {
                    self.tasks.push(Task::Each(ids, next + 1));
                    self.tasks.push(Task::Save(*id));
                }
            }
            Task::FinishCall(id) => self.finish_call(id),
            Task::FinishDiscarded(id, call) => return self.finish_discarded(id, call),
            Task::FinishInst(id) => self.finish_inst(id),
            Task::Effects(effects, next) => self.effect(effects, next),
        }
        Ok(())
    }

    fn save(&mut self, id: Id) -> Result<()> {
        // C looks at the frame's length before each object, and nowhere else.
        self.out.boundary();
        if let Some(index) = self.memo_index(id) {
            self.get_memo(index);
            return Ok(());
        }
        let graph = self.graph;
        match graph.node(id) {
            Node::None => self.op(Opcode::None),
            Node::Bool(value) => self.save_bool(*value),
            Node::Int(value) => self.save_int(*value),
            Node::BigInt(bytes) => self.save_big_int(bytes),
            Node::Float(value) => self.save_float(*value),
            Node::Str(text) => {
                self.save_str(text.as_pickle_str());
                self.put_memo(id);
            }
            Node::Bytes(bytes) => {
                self.needs(3, "bytes")?;
                self.save_bytes(bytes);
                self.put_memo(id);
            }
            Node::ByteArray(bytes) => {
                self.needs(5, "bytearray")?;
                let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_le_bytes();
                let header = [Opcode::ByteArray8 as u8, a, b, c, d, e, f, g, h];
                self.out.put_counted(&header, bytes);
                self.put_memo(id);
            }
            Node::Py2Str(bytes) => {
                self.save_py2_str(bytes)?;
                self.put_memo(id);
            }
            Node::Tuple(items) => self.save_tuple(id, items),
            Node::List(items) => {
                self.empty(id, Opcode::EmptyList, Opcode::List);
                self.tasks.push(Task::ListItems(items, 0));
            }
            Node::Dict(pairs) => {
                self.empty(id, Opcode::EmptyDict, Opcode::Dict);
                self.tasks.push(Task::DictItems(pairs, 0));
            }
            Node::Set(items) => {
                self.needs(4, "set")?;
                self.empty(id, Opcode::EmptySet, Opcode::EmptySet);
                self.tasks.push(Task::SetItems(items, 0));
            }
            Node::FrozenSet(items) => {
                self.needs(4, "frozenset")?;
                self.op(Opcode::Mark);
                self.tasks.push(Task::FinishFrozenSet(id));
                self.tasks.push(Task::Each(items, 0));
            }
            _ => return self.save_object(id),
        }
        Ok(())
    }

    /// An empty container with its memo entry.
    fn empty(&mut self, id: Id, binary: Opcode, text: Opcode) {
        if self.binary() {
            self.op(binary);
        } else {
            self.op(Opcode::Mark);
            self.op(text);
        }
        self.put_memo(id);
    }

    fn save_bool(&mut self, value: bool) {
        match (self.protocol >= 2, value) {
            (true, true) => self.op(Opcode::NewTrue),
            (true, false) => self.op(Opcode::NewFalse),
            (false, true) => self.out.put(b"I01\n"),
            (false, false) => self.out.put(b"I00\n"),
        }
    }

    fn save_int(&mut self, value: i64) {
        let Ok(word) = i32::try_from(value) else {
            return self.save_long(&num_bigint::BigInt::from(value).to_signed_bytes_le());
        };
        let [a, b, c, d] = word.to_le_bytes();
        match (b, c, d) {
            _ if !self.binary() => self.out.put(format!("I{value}\n").as_bytes()),
            (0, 0, 0) => self.out.put(&[Opcode::BinInt1 as u8, a]),
            (_, 0, 0) => self.out.put(&[Opcode::BinInt2 as u8, a, b]),
            _ => self.out.put(&[Opcode::BinInt as u8, a, b, c, d]),
        }
    }

    fn save_big_int(&mut self, bytes: &[u8]) {
        self.save_long(bytes);
    }

    fn save_long(&mut self, bytes: &[u8]) {
        if self.protocol < 2 {
            let text = picklet_codec::text::le_bytes_to_decimal(bytes);
            self.out.put(format!("L{text}L\n").as_bytes());
            return;
        }
        match u8::try_from(bytes.len()) {
            Ok(length) => self.out.put(&[Opcode::Long1 as u8, length]),
            // The length came out of a four-byte field, or would not fit memory.
            Err(_) => self.op_u32(Opcode::Long4, bytes.len() as u32),
        }
        self.out.put(bytes);
    }

    fn save_float(&mut self, value: f64) {
        if self.binary() {
            self.op(Opcode::BinFloat);
            self.out.put(&value.to_be_bytes());
            return;
        }
        let mut text = String::from("F");
        pyrepr::push_float(&mut text, value);
        text.push('\n');
        self.out.put(text.as_bytes());
    }

    fn save_str(&mut self, text: picklet_codec::PickleStr<'_>) {
        let bytes = text.as_bytes();
        if !self.binary() {
            self.out.put(b"V");
            self.out.put(&raw_unicode_escape(text));
            self.out.put(b"\n");
            return;
        }
        self.counted(
            (self.protocol >= 4).then_some(Opcode::ShortBinUnicode),
            Opcode::BinUnicode,
            Opcode::BinUnicode8,
            bytes,
        );
    }

    fn save_bytes(&mut self, bytes: &[u8]) {
        self.counted(Some(Opcode::ShortBinBytes), Opcode::BinBytes, Opcode::BinBytes8, bytes);
    }

    fn counted(&mut self, short: Option<Opcode>, medium: Opcode, long: Opcode, bytes: &[u8]) {
        match (short, u8::try_from(bytes.len()), u32::try_from(bytes.len())) {
            (Some(short), Ok(length), _) => self.out.put_counted(&[short as u8, length], bytes),
            (_, _, Ok(length)) => {
                let [a, b, c, d] = length.to_le_bytes();
                self.out.put_counted(&[medium as u8, a, b, c, d], bytes);
            }
            _ => {
                let [a, b, c, d, e, f, g, h] = (bytes.len() as u64).to_le_bytes();
                self.out.put_counted(&[long as u8, a, b, c, d, e, f, g, h], bytes);
            }
        }
    }

    fn save_py2_str(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.binary() {
            let mut text = String::new();
            pyrepr::push_bytes(&mut text, bytes);
            self.out.put(b"S");
            self.out.put(text.get(1..).unwrap_or_default().as_bytes());
            self.out.put(b"\n");
            return Ok(());
        }
        match (u8::try_from(bytes.len()), i32::try_from(bytes.len())) {
            (Ok(length), _) => self.out.put_counted(&[Opcode::ShortBinString as u8, length], bytes),
            (_, Ok(length)) => {
                let [a, b, c, d] = length.to_le_bytes();
                self.out.put_counted(&[Opcode::BinString as u8, a, b, c, d], bytes);
            }
            _ => return Err(Error::custom("a Python 2 str holds at most 2^31 - 1 bytes")),
        }
        Ok(())
    }

    fn save_tuple(&mut self, id: Id, items: &'g [Id]) {
        if items.is_empty() {
            if self.binary() {
                self.op(Opcode::EmptyTuple);
            } else {
                self.op(Opcode::Mark);
                self.op(Opcode::Tuple);
            }
            return;
        }
        if self.protocol < 2 || items.len() > 3 {
            self.op(Opcode::Mark);
        }
        self.tasks.push(Task::FinishTuple(id));
        self.tasks.push(Task::Each(items, 0));
    }

    fn finish_tuple(&mut self, id: Id) {
        let Node::Tuple(items) = self.graph.node(id) else { return };
        let marked = self.protocol < 2 || items.len() > 3;
        if let Some(index) = self.memo_index(id) {
            // The tuple was met again below itself: throw the items away and fetch it.
            if marked && self.binary() {
                self.op(Opcode::PopMark);
            } else {
                (0..items.len() + usize::from(marked)).for_each(|_| self.op(Opcode::Pop));
            }
            self.get_memo(index);
            return;
        }
        self.op(match items.len() {
            _ if marked => Opcode::Tuple,
            1 => Opcode::Tuple1,
            2 => Opcode::Tuple2,
            _ => Opcode::Tuple3,
        });
        self.put_memo(id);
    }

    fn finish_frozenset(&mut self, id: Id) {
        match self.memo_index(id) {
            Some(index) => {
                self.op(Opcode::PopMark);
                self.get_memo(index);
            }
            None => {
                self.op(Opcode::FrozenSet);
                self.put_memo(id);
            }
        }
    }

    fn list_items(&mut self, items: &'g [Id], next: usize) {
        let single = !self.binary() || items.len() == 1;
        if single {
            if next > 0 {
                self.op(Opcode::Append);
            }
        } else {
            if next > 0 && (next.is_multiple_of(BATCH) || next == items.len()) {
                self.op(Opcode::Appends);
            }
            if next.is_multiple_of(BATCH) && next < items.len() {
                self.op(Opcode::Mark);
            }
        }
        if let Some(item) = items.get(next) {
            self.tasks.push(Task::ListItems(items, next + 1));
            self.tasks.push(Task::Save(*item));
        }
    }

    fn dict_items(&mut self, pairs: &'g [(Id, Id)], next: usize) {
        let single = !self.binary() || pairs.len() == 1;
        if single {
            if next > 0 {
                self.op(Opcode::SetItem);
            }
        } else if !pairs.is_empty() {
            self.batch(pairs.len(), next, Opcode::SetItems);
        }
        if let Some((key, value)) = pairs.get(next) {
            self.tasks.push(Task::DictItems(pairs, next + 1));
            self.tasks.push(Task::Save(*value));
            self.tasks.push(Task::Save(*key));
        }
    }

    fn set_items(&mut self, items: &'g [Id], next: usize) {
        if !items.is_empty() {
            self.batch(items.len(), next, Opcode::AddItems);
        }
        if let Some(item) = items.get(next) {
            self.tasks.push(Task::SetItems(items, next + 1));
            self.tasks.push(Task::Save(*item));
        }
    }

    /// Marks and ends of batches in dicts and sets: after a last batch that is full, C writes an
    /// empty one.
    fn batch(&mut self, length: usize, next: usize, end: Opcode) {
        let full = next.is_multiple_of(BATCH);
        if next > 0 && (full || next == length) {
            self.op(end);
        }
        if full {
            self.op(Opcode::Mark);
            if next == length {
                self.op(end);
            }
        }
    }

    fn save_object(&mut self, id: Id) -> Result<()> {
        let graph = self.graph;
        match graph.node(id) {
            Node::Global(global) => {
                let (module, name) = self.name(&global.0, &global.1);
                self.out.put(format!("c{module}\n{name}\n").as_bytes());
                self.put_memo(id);
            }
            Node::StackGlobal(module, name) if self.protocol >= 4 => {
                self.tasks.push(Task::Finish(id, Opcode::StackGlobal));
                self.tasks.push(Task::Save(*name));
                self.tasks.push(Task::Save(*module));
            }
            Node::StackGlobal(module, name) => {
                let line = |id: Id| match graph.node(id) {
                    Node::Str(text) => text.to_str().filter(|text| !text.contains('\n')),
                    _ => None,
                };
                let (Some(module), Some(name)) = (line(*module), line(*name)) else {
                    return self.needs(4, "a global whose name holds a newline or a surrogate");
                };
                if name.contains('.') {
                    // Below protocol 4 Python looks dotted names up whole.
                    self.needs(4, "a global whose name holds a dot")?;
                }
                let (module, name) = self.name(module, name);
                self.out.put(format!("c{module}\n{name}\n").as_bytes());
                self.put_memo(id);
            }
            Node::Extension(code) => {
                match (u8::try_from(*code), u16::try_from(*code)) {
                    (Ok(code), _) => self.out.put(&[Opcode::Ext1 as u8, code]),
                    (_, Ok(code)) => {
                        let [a, b] = code.to_le_bytes();
                        self.out.put(&[Opcode::Ext2 as u8, a, b]);
                    }
                    _ => self.op_u32(Opcode::Ext4, *code),
                }
                self.put_memo(id);
            }
            Node::PersistentId(text) => {
                self.out.put(format!("P{text}\n").as_bytes());
                self.put_memo(id);
            }
            Node::BinaryPersistentId(pid) => {
                self.needs(1, "a persistent id that is an object")?;
                self.tasks.push(Task::FinishCall(id));
                self.tasks.push(Task::Save(*pid));
            }
            Node::Buffer(_) => {
                self.needs(5, "an out-of-band buffer")?;
                self.op(Opcode::NextBuffer);
                self.put_memo(id);
            }
            Node::ReadonlyBuffer(buffer) => {
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
        self.tasks.push(match call {
            Call::Inst { .. } => Task::FinishInst(id),
            _ => Task::FinishCall(id),
        });
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
                self.op(Opcode::Mark);
                self.tasks.push(Task::Each(args, 0));
            }
            Call::Obj { class, args } => {
                self.needs(1, "OBJ")?;
                self.op(Opcode::Mark);
                self.tasks.push(Task::Each(args, 0));
                self.tasks.push(Task::Save(*class));
            }
        }
        Ok(())
    }

    /// Throws a call's result away and fetches the object that was made inside its arguments.
    fn finish_discarded(&mut self, id: Id, call: &'g Call) -> Result<()> {
        self.op(call_opcode(call));
        self.op(Opcode::Pop);
        match self.memo_index(id) {
            Some(index) => self.get_memo(index),
            None => return self.save(id),
        }
        Ok(())
    }

    fn finish_call(&mut self, id: Id) {
        let graph = self.graph;
        let Node::Instance(instance) = graph.node(id) else {
            self.op(Opcode::BinPersId);
            return self.put_memo(id);
        };
        self.op(call_opcode(&instance.call));
        if let Some(index) = self.memo_index(id) {
            // Met again inside its own arguments: the one made there is the object.
            self.op(Opcode::Pop);
            self.get_memo(index);
            return;
        }
        self.put_memo(id);
        self.tasks.push(Task::Effects(&instance.effects, 0));
    }

    fn finish_inst(&mut self, id: Id) {
        let graph = self.graph;
        let Node::Instance(instance) = graph.node(id) else { return };
        if let Call::Inst { module, name, .. } = &instance.call {
            let (module, name) = self.name(module, name);
            self.out.put(format!("i{module}\n{name}\n").as_bytes());
        }
        self.put_memo(id);
        self.tasks.push(Task::Effects(&instance.effects, 0));
    }

    fn effect(&mut self, effects: &'g [Effect], next: usize) {
        let Some(effect) = effects.get(next) else {
            return;
        };
        self.tasks.push(Task::Effects(effects, next + 1));
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
                    Node::Tuple(pair) if pair.len() == 2 && !self.is_kept(*args) => {
                        self.tasks.push(Task::Op(Opcode::Tuple2));
                        self.tasks.push(Task::Each(pair, 0));
                    }
                    _ => self.tasks.push(Task::Save(*args)),
                }
                self.tasks.push(Task::Save(*callable));
            }
            Effect::Appends(items) => self.effect_batch(items, Opcode::Appends),
            Effect::SetItems(items) => self.effect_batch(items, Opcode::SetItems),
            Effect::AddItems(items) => self.effect_batch(items, Opcode::AddItems),
        }
    }

    fn effect_batch(&mut self, items: &'g [Id], end: Opcode) {
        self.op(Opcode::Mark);
        self.tasks.push(Task::Op(end));
        self.tasks.push(Task::Each(items, 0));
    }
}

fn call_opcode(call: &Call) -> Opcode {
    match call {
        Call::NewObj { .. } => Opcode::NewObj,
        Call::NewObjEx { .. } => Opcode::NewObjEx,
        Call::Obj { .. } => Opcode::Obj,
        _ => Opcode::Reduce,
    }
}

/// A str as UNICODE's line: Latin-1, the rest and what would end or confuse a line escaped.
fn raw_unicode_escape(text: picklet_codec::PickleStr<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.as_bytes().len());
    for point in text.code_points() {
        match (u8::try_from(point), point) {
            (Err(_), 0x1_0000..) => out.extend_from_slice(format!("\\U{point:08x}").as_bytes()),
            (Err(_), _) | (Ok(0 | b'\n' | b'\r' | 0x1a | b'\\'), _) => {
                out.extend_from_slice(format!("\\u{point:04x}").as_bytes());
            }
            (Ok(byte), _) => out.push(byte),
        }
    }
    out
}
