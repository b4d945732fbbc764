//! The pickle machine: stack, marks and memo, kept once for every consumer.
//!
//! [`Driver`] runs a pickle's opcodes and turns them into the events of a [`Machine`], which
//! decides what values are: a value graph, Python objects, symbols for a scanner. What the
//! stack must hold, and what counts as an error, is as in CPython's C `_pickle` (`load_*` in
//! `Modules/_pickle.c`). The machine itself imports nothing, calls nothing and never recurses.

use std::io;

use crate::arg::Arg;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::memo::Memo;
use crate::opcode::Opcode;
use crate::reader::{Act, Op, Reader};
use crate::str::PickleStr;
use crate::stream::StreamReader;
use crate::text;

/// Values taken off the stack, bottom first: an exact-size iterator that moves them out of the
/// stack itself, without a copy. What is not taken is dropped.
pub type Items<'s, V> = std::vec::Drain<'s, V>;

/// What a consumer makes of a pickle's events. Each method that stands for a push gives the
/// value to push.
///
/// Errors that a method returns through [`Error::custom`] or [`Error::unplaced`] are given the
/// opcode's place. The driver clones a value only where the pickle itself asks for the same
/// object again (memo and DUP): make `Value` a cheap handle.
pub trait Machine {
    /// One object on the stack.
    type Value: Clone;

    /// Called before each opcode's event with the opcode and its byte offset, for consumers who
    /// care which of several opcodes made an event.
    #[inline(always)]
    fn op(&mut self, opcode: Opcode, offset: u64) {
        let _ = (opcode, offset);
    }
    /// PROTO: the version, 0 to 5.
    #[inline(always)]
    fn proto(&mut self, version: u8) -> Result<()> {
        let _ = version;
        Ok(())
    }
    /// FRAME: the bytes that it announces.
    #[inline(always)]
    fn frame(&mut self, length: u64) -> Result<()> {
        let _ = length;
        Ok(())
    }
    /// MARK.
    #[inline(always)]
    fn mark(&mut self) -> Result<()> {
        Ok(())
    }

    /// NONE.
    fn none(&mut self) -> Result<Self::Value>;
    /// NEWTRUE, NEWFALSE, and INT's `01` and `00`.
    fn bool(&mut self, value: bool) -> Result<Self::Value>;
    /// An int that fits.
    fn int(&mut self, value: i64) -> Result<Self::Value>;
    /// An int outside `i64`: two's complement, little-endian, perhaps with padding.
    fn big_int(&mut self, bytes: &[u8]) -> Result<Self::Value>;
    /// FLOAT, BINFLOAT.
    fn float(&mut self, value: f64) -> Result<Self::Value>;
    /// UNICODE, SHORT_BINUNICODE, BINUNICODE, BINUNICODE8.
    fn str(&mut self, text: PickleStr<'_>) -> Result<Self::Value>;
    /// SHORT_BINBYTES, BINBYTES, BINBYTES8.
    fn bytes(&mut self, bytes: &[u8]) -> Result<Self::Value>;
    /// BYTEARRAY8.
    fn byte_array(&mut self, bytes: &[u8]) -> Result<Self::Value>;
    /// STRING, BINSTRING, SHORT_BINSTRING: a Python 2 str, escapes resolved.
    fn string(&mut self, bytes: &[u8]) -> Result<Self::Value>;

    /// EMPTY_TUPLE.
    fn empty_tuple(&mut self) -> Result<Self::Value>;
    /// TUPLE, TUPLE1, TUPLE2, TUPLE3.
    fn tuple(&mut self, items: Items<'_, Self::Value>) -> Result<Self::Value>;
    /// EMPTY_LIST.
    fn empty_list(&mut self) -> Result<Self::Value>;
    /// LIST.
    fn list(&mut self, items: Items<'_, Self::Value>) -> Result<Self::Value>;
    /// APPEND.
    fn append(&mut self, list: &mut Self::Value, item: Self::Value) -> Result<()>;
    /// APPENDS with at least one item.
    fn appends(&mut self, list: &mut Self::Value, items: Items<'_, Self::Value>) -> Result<()>;
    /// EMPTY_DICT.
    fn empty_dict(&mut self) -> Result<Self::Value>;
    /// DICT: keys and values in turn, an even number.
    fn dict(&mut self, items: Items<'_, Self::Value>) -> Result<Self::Value>;
    /// SETITEM.
    fn set_item(
        &mut self,
        dict: &mut Self::Value,
        key: Self::Value,
        value: Self::Value,
    ) -> Result<()>;
    /// SETITEMS with at least one pair: keys and values in turn, an even number.
    fn set_items(&mut self, dict: &mut Self::Value, items: Items<'_, Self::Value>) -> Result<()>;
    /// EMPTY_SET.
    fn empty_set(&mut self) -> Result<Self::Value>;
    /// ADDITEMS with at least one item.
    fn add_items(&mut self, set: &mut Self::Value, items: Items<'_, Self::Value>) -> Result<()>;
    /// FROZENSET.
    fn frozenset(&mut self, items: Items<'_, Self::Value>) -> Result<Self::Value>;

    /// GLOBAL.
    fn global(&mut self, module: &str, name: &str) -> Result<Self::Value>;
    /// STACK_GLOBAL; C refuses operands that are no str.
    fn stack_global(&mut self, module: Self::Value, name: Self::Value) -> Result<Self::Value>;
    /// EXT1, EXT2, EXT4: a code of the `copyreg` registry, above 0.
    fn extension(&mut self, code: u32) -> Result<Self::Value>;
    /// REDUCE; C refuses arguments that are no tuple.
    fn reduce(&mut self, callable: Self::Value, args: Self::Value) -> Result<Self::Value>;
    /// BUILD: `object` stays on the stack.
    fn build(&mut self, object: &mut Self::Value, state: Self::Value) -> Result<()>;
    /// NEWOBJ.
    fn new_object(&mut self, class: Self::Value, args: Self::Value) -> Result<Self::Value>;
    /// NEWOBJ_EX.
    fn new_object_ex(
        &mut self,
        class: Self::Value,
        args: Self::Value,
        kwargs: Self::Value,
    ) -> Result<Self::Value>;
    /// INST: the class is named by text, and called with `args`.
    fn inst(
        &mut self,
        module: &str,
        name: &str,
        args: Items<'_, Self::Value>,
    ) -> Result<Self::Value>;
    /// OBJ: the class stood on the stack below `args`.
    fn obj(&mut self, class: Self::Value, args: Items<'_, Self::Value>) -> Result<Self::Value>;
    /// PERSID: an id in ASCII.
    fn persistent_id(&mut self, id: &str) -> Result<Self::Value>;
    /// BINPERSID: any object is the id.
    fn binary_persistent_id(&mut self, id: Self::Value) -> Result<Self::Value>;
    /// NEXT_BUFFER: the next out-of-band buffer, or [`ErrorKind::NoBuffer`].
    fn next_buffer(&mut self) -> Result<Self::Value>;
    /// READONLY_BUFFER: the buffer made read-only, to take its place.
    fn readonly_buffer(&mut self, buffer: Self::Value) -> Result<Self::Value>;

    /// STOP: `left` objects lie below the pickle's value, and are dropped, as in C.
    #[inline(always)]
    fn stop(&mut self, left: usize) -> Result<()> {
        let _ = left;
        Ok(())
    }
    /// POP took `value` off (a POP that takes a mark off gives no event).
    #[inline(always)]
    fn pop(&mut self, value: Self::Value) -> Result<()> {
        drop(value);
        Ok(())
    }
    /// POP_MARK took `items` off.
    #[inline(always)]
    fn pop_mark(&mut self, items: Items<'_, Self::Value>) -> Result<()> {
        drop(items);
        Ok(())
    }
    /// DUP: the same object once more.
    #[inline(always)]
    fn dup(&mut self, value: &Self::Value) -> Result<Self::Value> {
        Ok(value.clone())
    }
    /// PUT, BINPUT, LONG_BINPUT, MEMOIZE: the stack's top is to be known as `index`. Gives what
    /// the memo shall hold.
    #[inline(always)]
    fn memoize(&mut self, index: u64, value: &mut Self::Value) -> Result<Self::Value> {
        let _ = index;
        Ok(value.clone())
    }
    /// GET, BINGET, LONG_BINGET: what the memo holds under `index`, to be pushed.
    #[inline(always)]
    fn get(&mut self, index: u64, value: &Self::Value) -> Result<Self::Value> {
        let _ = index;
        Ok(value.clone())
    }
}

/// Runs the one pickle that `reader` stands at, and gives its value. What is left on the stack
/// at STOP is dropped, as in C.
///
/// # Errors
/// The reader's, the stack's ([`ErrorKind::StackUnderflow`], [`ErrorKind::NoMark`],
/// [`ErrorKind::MemoMissing`], [`ErrorKind::OddItems`], caps) and those of `machine`.
pub fn run<M: Machine>(reader: &mut Reader<'_>, machine: &mut M) -> Result<M::Value> {
    Driver::new(*reader.limits()).run(reader, machine)
}

/// The stack, the marks and the memo of one run, or of several that share a memo.
#[derive(Debug)]
pub struct Driver<V> {
    stack: Vec<V>,
    /// Where on the stack each open mark stands.
    marks: Vec<usize>,
    /// The topmost mark's place: nothing at or below it may be taken (C's `fence`).
    fence: usize,
    memo: Memo<V>,
    limits: Limits,
}

impl<V: Clone> Driver<V> {
    /// A driver with nothing on its stack and in its memo.
    pub fn new(limits: Limits) -> Self {
        Self {
            stack: Vec::new(),
            marks: Vec::new(),
            fence: 0,
            memo: Memo::new(limits.memo_entries),
            limits,
        }
    }

    /// The memo, which outlives a run: the next run on this driver sees it, as the next `load`
    /// of the same Python `Unpickler` does.
    pub fn memo(&self) -> &Memo<V> {
        &self.memo
    }

    /// Forgets the memo, so that the next pickle starts afresh.
    pub fn clear_memo(&mut self) {
        self.memo.clear();
    }

    /// How many objects are on the stack.
    pub fn stack_len(&self) -> usize {
        self.stack.len()
    }

    /// The object `depth` places below the stack's top (0 is the top), marks not counted.
    pub fn peek(&self, depth: usize) -> Option<&V> {
        let index = self.stack.len().checked_sub(depth)?.checked_sub(1)?;
        self.stack.get(index)
    }

    /// The places of the open marks: how many objects lie below each.
    pub fn marks(&self) -> &[usize] {
        &self.marks
    }

    /// Forgets stack and marks, but not the memo: what C does when a load starts.
    pub fn reset_stack(&mut self) {
        self.stack.clear();
        self.marks.clear();
        self.fence = 0;
    }

    /// Runs the pickle that `reader` stands at to its STOP.
    ///
    /// # Errors
    /// See [`run`].
    #[inline]
    pub fn run<M>(&mut self, reader: &mut Reader<'_>, machine: &mut M) -> Result<V>
    where
        M: Machine<Value = V>,
    {
        self.reset_stack();
        loop {
            let offset = reader.offset();
            let step = Step { driver: &mut *self, machine: &mut *machine, offset };
            let done = reader.dispatch(step)??;
            if let Some(value) = done {
                reader.stop();
                self.reset_stack();
                return Ok(value);
            }
        }
    }

    /// Runs the pickle that `stream` stands at to its STOP.
    ///
    /// # Errors
    /// See [`run`], and those of the stream's source.
    pub fn run_stream<R, M>(&mut self, stream: &mut StreamReader<R>, machine: &mut M) -> Result<V>
    where
        R: io::Read,
        M: Machine<Value = V>,
    {
        self.reset_stack();
        loop {
            let Some(op) = stream.next_op()? else {
                return Err(Error::new(ErrorKind::EndOfInput, stream.offset(), None));
            };
            if let Some(value) = self.step(machine, op)? {
                self.reset_stack();
                return Ok(value);
            }
        }
    }

    /// Takes one opcode; gives the pickle's value at STOP. For callers with a loop of their own:
    /// start with [`reset_stack`](Self::reset_stack).
    ///
    /// # Errors
    /// See [`run`].
    pub fn step<M>(&mut self, machine: &mut M, op: Op<'_>) -> Result<Option<V>>
    where
        M: Machine<Value = V>,
    {
        machine.op(op.opcode, op.offset);
        self.step_unplaced(machine, op.opcode, op.arg)
            .map_err(|error| error.or_at(op.offset, op.opcode))
    }

    /// The step itself. Inlined where the opcode is known, this match is decided at compile time.
    #[inline(always)]
    fn step_unplaced<M>(
        &mut self,
        machine: &mut M,
        opcode: Opcode,
        arg: Arg<'_>,
    ) -> Result<Option<V>>
    where
        M: Machine<Value = V>,
    {
        match opcode {
            Opcode::Stop => {
                let value = self.take_top()?;
                machine.stop(self.stack.len())?;
                return Ok(Some(value));
            }
            Opcode::Proto => machine.proto(index_of(arg) as u8)?,
            Opcode::Frame => machine.frame(index_of(arg))?,
            Opcode::Mark => {
                machine.mark()?;
                self.open_mark()?;
            }
            Opcode::Int
            | Opcode::BinInt
            | Opcode::BinInt1
            | Opcode::BinInt2
            | Opcode::Long
            | Opcode::Long1
            | Opcode::Long4
            | Opcode::NewTrue
            | Opcode::NewFalse
            | Opcode::None
            | Opcode::Float
            | Opcode::BinFloat
            | Opcode::String
            | Opcode::BinString
            | Opcode::ShortBinString
            | Opcode::BinBytes
            | Opcode::ShortBinBytes
            | Opcode::BinBytes8
            | Opcode::ByteArray8
            | Opcode::Unicode
            | Opcode::ShortBinUnicode
            | Opcode::BinUnicode
            | Opcode::BinUnicode8 => {
                let value = scalar(machine, opcode, arg)?;
                self.push(value)?;
            }
            Opcode::EmptyList
            | Opcode::EmptyTuple
            | Opcode::EmptyDict
            | Opcode::EmptySet
            | Opcode::Tuple1
            | Opcode::Tuple2
            | Opcode::Tuple3
            | Opcode::List
            | Opcode::Tuple
            | Opcode::Dict
            | Opcode::FrozenSet => {
                let value = self.container(machine, opcode)?;
                self.push(value)?;
            }
            Opcode::Append
            | Opcode::Appends
            | Opcode::SetItem
            | Opcode::SetItems
            | Opcode::AddItems
            | Opcode::Build => self.mutate(machine, opcode)?,
            Opcode::Put
            | Opcode::BinPut
            | Opcode::LongBinPut
            | Opcode::Memoize
            | Opcode::Get
            | Opcode::BinGet
            | Opcode::LongBinGet => self.use_memo(machine, opcode, arg)?,
            Opcode::Pop | Opcode::PopMark | Opcode::Dup => self.shuffle(machine, opcode)?,
            Opcode::Global
            | Opcode::StackGlobal
            | Opcode::Reduce
            | Opcode::NewObj
            | Opcode::NewObjEx
            | Opcode::Inst
            | Opcode::Obj
            | Opcode::Ext1
            | Opcode::Ext2
            | Opcode::Ext4
            | Opcode::PersId
            | Opcode::BinPersId
            | Opcode::NextBuffer
            | Opcode::ReadonlyBuffer => {
                let value = self.object(machine, opcode, arg)?;
                self.push(value)?;
            }
        }
        Ok(None)
    }

    /// EMPTY_*, TUPLE*, LIST, DICT, FROZENSET.
    #[inline(always)]
    fn container<M>(&mut self, machine: &mut M, opcode: Opcode) -> Result<V>
    where
        M: Machine<Value = V>,
    {
        match opcode {
            Opcode::EmptyList => machine.empty_list(),
            Opcode::EmptyTuple => machine.empty_tuple(),
            Opcode::EmptyDict => machine.empty_dict(),
            Opcode::EmptySet => machine.empty_set(),
            Opcode::Tuple1 => machine.tuple(self.take_items(1)?),
            Opcode::Tuple2 => machine.tuple(self.take_items(2)?),
            Opcode::Tuple3 => machine.tuple(self.take_items(3)?),
            Opcode::List => machine.list(self.take_to_mark()?),
            Opcode::Tuple => machine.tuple(self.take_to_mark()?),
            Opcode::FrozenSet => machine.frozenset(self.take_to_mark()?),
            _ => {
                let items = self.take_to_mark()?;
                if !items.len().is_multiple_of(2) {
                    return Err(Error::unplaced(ErrorKind::OddItems));
                }
                machine.dict(items)
            }
        }
    }

    /// The opcodes that change the object below their operands.
    #[inline(always)]
    fn mutate<M>(&mut self, machine: &mut M, opcode: Opcode) -> Result<()>
    where
        M: Machine<Value = V>,
    {
        match opcode {
            Opcode::Append => {
                self.need(2)?;
                let item = self.take_top()?;
                machine.append(self.top()?, item)
            }
            Opcode::SetItem => {
                self.need(3)?;
                let value = self.take_top()?;
                let key = self.take_top()?;
                machine.set_item(self.top()?, key, value)
            }
            Opcode::Build => {
                self.need(2)?;
                let state = self.take_top()?;
                machine.build(self.top()?, state)
            }
            _ => self.mutate_many(machine, opcode),
        }
    }

    /// APPENDS, SETITEMS, ADDITEMS. With no items C does not even look at the target.
    #[inline(always)]
    fn mutate_many<M>(&mut self, machine: &mut M, opcode: Opcode) -> Result<()>
    where
        M: Machine<Value = V>,
    {
        let mark = self.close_mark()?;
        if mark <= self.fence || mark > self.stack.len() {
            return Err(self.underflow());
        }
        let count = self.stack.len() - mark;
        if count == 0 {
            return Ok(());
        }
        if opcode == Opcode::SetItems && !count.is_multiple_of(2) {
            return Err(Error::unplaced(ErrorKind::OddItems));
        }
        // The drain starts with the target, so that the target and what goes into it can be
        // had at once; the target goes back afterwards.
        let mut items = self.stack.drain(mark - 1..);
        let Some(mut target) = items.next() else {
            return Ok(());
        };
        match opcode {
            Opcode::Appends => machine.appends(&mut target, items)?,
            Opcode::SetItems => machine.set_items(&mut target, items)?,
            _ => machine.add_items(&mut target, items)?,
        }
        self.stack.push(target);
        Ok(())
    }

    /// PUT and GET in all their forms.
    #[inline(always)]
    fn use_memo<M>(&mut self, machine: &mut M, opcode: Opcode, arg: Arg<'_>) -> Result<()>
    where
        M: Machine<Value = V>,
    {
        match opcode {
            Opcode::Get | Opcode::BinGet | Opcode::LongBinGet => {
                let index = index_of(arg);
                let Some(value) = self.memo.get(index) else {
                    return Err(Error::unplaced(ErrorKind::MemoMissing(index)));
                };
                let value = machine.get(index, value)?;
                self.push(value)
            }
            _ => {
                let index = match opcode {
                    Opcode::Memoize => self.memo.len(),
                    _ => index_of(arg),
                };
                self.need(1)?;
                let kept = machine.memoize(index, self.top()?)?;
                self.memo.put(index, kept).map_err(Error::unplaced)
            }
        }
    }

    /// POP, POP_MARK, DUP.
    #[inline(always)]
    fn shuffle<M>(&mut self, machine: &mut M, opcode: Opcode) -> Result<()>
    where
        M: Machine<Value = V>,
    {
        match opcode {
            Opcode::Dup => {
                self.need(1)?;
                let copy = machine.dup(self.top()?)?;
                self.push(copy)
            }
            Opcode::PopMark => machine.pop_mark(self.take_to_mark()?),
            // A POP right above a mark takes the mark.
            _ if self.marks.last() == Some(&self.stack.len()) => self.close_mark().map(drop),
            _ => {
                let value = self.take_top()?;
                machine.pop(value)
            }
        }
    }

    /// The opcodes that may import, call or ask the application.
    #[inline(always)]
    fn object<M>(&mut self, machine: &mut M, opcode: Opcode, arg: Arg<'_>) -> Result<V>
    where
        M: Machine<Value = V>,
    {
        match (opcode, arg) {
            (Opcode::Global, Arg::Global(global)) => {
                let (module, name) = global.split();
                machine.global(module, name)
            }
            (Opcode::Inst, Arg::Global(global)) => {
                let (module, name) = global.split();
                machine.inst(module, name, self.take_to_mark()?)
            }
            (Opcode::PersId, Arg::Line(id)) => machine.persistent_id(id),
            (Opcode::StackGlobal, _) => {
                let name = self.take_top()?;
                let module = self.take_top()?;
                machine.stack_global(module, name)
            }
            (Opcode::Reduce, _) => {
                let args = self.take_top()?;
                let callable = self.take_top()?;
                machine.reduce(callable, args)
            }
            (Opcode::NewObj, _) => {
                let args = self.take_top()?;
                let class = self.take_top()?;
                machine.new_object(class, args)
            }
            (Opcode::NewObjEx, _) => {
                let kwargs = self.take_top()?;
                let args = self.take_top()?;
                let class = self.take_top()?;
                machine.new_object_ex(class, args, kwargs)
            }
            (Opcode::Obj, _) => {
                let mut items = self.take_to_mark()?;
                match items.next() {
                    Some(class) => machine.obj(class, items),
                    None => {
                        drop(items);
                        Err(self.underflow())
                    }
                }
            }
            (Opcode::BinPersId, _) => {
                let id = self.take_top()?;
                machine.binary_persistent_id(id)
            }
            (Opcode::NextBuffer, _) => machine.next_buffer(),
            (Opcode::ReadonlyBuffer, _) => {
                let buffer = self.take_top()?;
                machine.readonly_buffer(buffer)
            }
            (_, arg) => machine.extension(index_of(arg) as u32),
        }
    }

    #[inline(always)]
    fn push(&mut self, value: V) -> Result<()> {
        if self.stack.len() == self.stack.capacity() {
            self.grow()?;
        }
        self.stack.push(value);
        Ok(())
    }

    /// The cap is checked where the stack grows, so that a push costs one comparison.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) -> Result<()> {
        let len = self.stack.len();
        let cap = self.limits.stack_items;
        let room = cap.saturating_sub(len as u64);
        if room == 0 {
            let limit = "stack_items";
            return Err(Error::unplaced(ErrorKind::Limit { limit, cap }));
        }
        let more = len.max(64).min(usize::try_from(room).unwrap_or(usize::MAX));
        self.stack.try_reserve_exact(more).map_err(|_| out_of_memory::<V>(len.saturating_add(more)))
    }

    #[inline(always)]
    fn open_mark(&mut self) -> Result<()> {
        if self.marks.len() == self.marks.capacity() {
            self.grow_marks()?;
        }
        self.fence = self.stack.len();
        self.marks.push(self.fence);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn grow_marks(&mut self) -> Result<()> {
        let len = self.marks.len();
        let cap = self.limits.open_marks;
        let room = cap.saturating_sub(len as u64);
        if room == 0 {
            let limit = "open_marks";
            return Err(Error::unplaced(ErrorKind::Limit { limit, cap }));
        }
        let more = len.max(16).min(usize::try_from(room).unwrap_or(usize::MAX));
        self.marks
            .try_reserve_exact(more)
            .map_err(|_| out_of_memory::<usize>(len.saturating_add(more)))
    }

    /// The place of the topmost mark, which is then gone.
    #[inline(always)]
    fn close_mark(&mut self) -> Result<usize> {
        let Some(mark) = self.marks.pop() else {
            return Err(Error::unplaced(ErrorKind::NoMark));
        };
        self.fence = self.marks.last().copied().unwrap_or(0);
        Ok(mark)
    }

    /// All objects above the topmost mark, and the mark.
    #[inline(always)]
    fn take_to_mark(&mut self) -> Result<Items<'_, V>> {
        let mark = self.close_mark()?;
        // Nothing is ever taken from below a mark, so the stack reaches it.
        let mark = mark.min(self.stack.len());
        Ok(self.stack.drain(mark..))
    }

    /// The `count` objects on top.
    #[inline(always)]
    fn take_items(&mut self, count: usize) -> Result<Items<'_, V>> {
        self.need(count)?;
        let start = self.stack.len().saturating_sub(count);
        Ok(self.stack.drain(start..))
    }

    #[inline(always)]
    fn need(&self, count: usize) -> Result<()> {
        if self.stack.len() < self.fence + count {
            return Err(self.underflow());
        }
        Ok(())
    }

    #[inline(always)]
    fn take_top(&mut self) -> Result<V> {
        if self.stack.len() > self.fence
            && let Some(value) = self.stack.pop()
        {
            return Ok(value);
        }
        Err(self.underflow())
    }

    #[inline(always)]
    fn top(&mut self) -> Result<&mut V> {
        match self.stack.last_mut() {
            Some(value) => Ok(value),
            None => Err(Error::unplaced(ErrorKind::StackUnderflow { at_mark: false })),
        }
    }

    #[cold]
    #[inline(never)]
    fn underflow(&self) -> Error {
        Error::unplaced(ErrorKind::StackUnderflow { at_mark: !self.marks.is_empty() })
    }
}

/// One step of a driver, as the reader's arms call it.
struct Step<'s, M: Machine> {
    driver: &'s mut Driver<M::Value>,
    machine: &'s mut M,
    offset: u64,
}

impl<'a, M: Machine> Act<'a> for Step<'_, M> {
    type Output = Result<Option<M::Value>>;

    #[inline(always)]
    fn act(self, opcode: Opcode, arg: Arg<'a>) -> Self::Output {
        self.machine.op(opcode, self.offset);
        self.driver
            .step_unplaced(self.machine, opcode, arg)
            .map_err(|error| error.or_at(self.offset, opcode))
    }
}

#[cold]
fn out_of_memory<T>(items: usize) -> Error {
    let bytes = (items as u64).saturating_mul(size_of::<T>() as u64);
    Error::unplaced(ErrorKind::OutOfMemory { bytes })
}

/// The memo index, code, version or length that the reader gave for this opcode.
#[inline(always)]
fn index_of(arg: Arg<'_>) -> u64 {
    match arg {
        Arg::UInt(value) => value,
        _ => 0,
    }
}

/// The event of an opcode that pushes a scalar.
#[inline(always)]
fn scalar<M: Machine>(machine: &mut M, opcode: Opcode, arg: Arg<'_>) -> Result<M::Value> {
    match arg {
        Arg::Int(value) => machine.int(value),
        Arg::Bool(value) => machine.bool(value),
        Arg::BigInt(bytes) => machine.big_int(bytes),
        Arg::IntText(line) => machine.big_int(&text::int_text_to_le_bytes(line)),
        Arg::Float(value) => machine.float(value),
        Arg::Str(text) => machine.str(text),
        Arg::EscapedStr(line) => {
            let text = text::unescape_unicode(line).map_err(Error::unplaced)?;
            machine.str(text.as_pickle_str())
        }
        Arg::EscapedBytes(inner) => {
            let bytes = text::unescape_string(inner).map_err(Error::unplaced)?;
            machine.string(&bytes)
        }
        Arg::Bytes(bytes) => match opcode {
            Opcode::String | Opcode::BinString | Opcode::ShortBinString => machine.string(bytes),
            Opcode::ByteArray8 => machine.byte_array(bytes),
            _ => machine.bytes(bytes),
        },
        _ => match opcode {
            Opcode::NewTrue => machine.bool(true),
            Opcode::NewFalse => machine.bool(false),
            _ => machine.none(),
        },
    }
}
