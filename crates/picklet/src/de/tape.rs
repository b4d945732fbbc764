//! The tape: a pickle's objects in flat vectors, made in one pass over its opcodes.
//!
//! A pickle is a postfix program: a dict's key stands before the dict is known to have it, and
//! an object memoised early may change late. serde asks from the outside in. So the opcodes are
//! run once, by the codec's machine, into slots of 16 bytes: scalars are slots themselves,
//! strings and bytes refer to the input, containers refer to rows of slots by index. Nothing is
//! boxed, nothing copied out of the input but text literals with escapes, and sharing costs a
//! slot. A slot knows where its opcode stands, which errors tell.

use picklet_codec::{
    Driver, Error, ErrorKind, Items, Limits, Machine, Opcode, PickleStr, Reader, Result, text,
};

/// What a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// No object: an instance without a state.
    Absent,
    None,
    Bool,
    Int,
    /// In the input, two's complement; the payload is its length.
    BigInt,
    /// The same among the owned bytes; the payload is its index there.
    OwnedBigInt,
    Float,
    /// A str in the input; the payload is its length.
    Str,
    OwnedStr,
    /// Bytes in the input; the payload is their length.
    Bytes,
    ByteArray,
    /// A Python 2 str.
    Py2Str,
    OwnedPy2Str,
    /// The payload is the place and length of a row.
    Tuple,
    FrozenSet,
    /// The payload is the index of a list's rows.
    List,
    Set,
    Dict,
    /// `module\nname` in the input; the payload is the length of both.
    Global,
    /// The payload is the place of the two slots that hold the names.
    StackGlobal,
    Extension,
    PersistentId,
    Instance,
}

/// One object, or a reference to one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The tag in the top byte, below it the offset of the opcode that made it.
    head: u64,
    pub(crate) payload: u64,
}

const OFFSET_BITS: u32 = 56;

impl Slot {
    pub(crate) const ABSENT: Slot = Slot { head: 0, payload: 0 };

    #[inline(always)]
    fn new(tag: Tag, offset: u64, payload: u64) -> Slot {
        Slot { head: (tag as u64) << OFFSET_BITS | offset, payload }
    }

    #[inline(always)]
    pub(crate) fn offset(self) -> u64 {
        self.head & ((1 << OFFSET_BITS) - 1)
    }

    #[inline(always)]
    pub(crate) fn tag(self) -> Tag {
        const TAGS: [Tag; 23] = [
            Tag::Absent,
            Tag::None,
            Tag::Bool,
            Tag::Int,
            Tag::BigInt,
            Tag::OwnedBigInt,
            Tag::Float,
            Tag::Str,
            Tag::OwnedStr,
            Tag::Bytes,
            Tag::ByteArray,
            Tag::Py2Str,
            Tag::OwnedPy2Str,
            Tag::Tuple,
            Tag::FrozenSet,
            Tag::List,
            Tag::Set,
            Tag::Dict,
            Tag::Global,
            Tag::StackGlobal,
            Tag::Extension,
            Tag::PersistentId,
            Tag::Instance,
        ];
        TAGS.get((self.head >> OFFSET_BITS) as usize).copied().unwrap_or(Tag::Absent)
    }

    fn is_hashable(self) -> bool {
        !matches!(self.tag(), Tag::List | Tag::Dict | Tag::Set | Tag::ByteArray)
    }
}

/// Where in the arena the items of a growing container stand. Most have one row; a container
/// that others grew after before it was full goes on in further rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rows {
    start: u32,
    len: u32,
    /// The further rows, first and last: an index plus one, or 0 for none.
    next: u32,
    last: u32,
    /// Items in all rows.
    pub(crate) total: u32,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    start: u32,
    len: u32,
    next: u32,
}

/// How an instance is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `callable(*args)`, any callable.
    Reduce,
    /// `class.__new__(class, *args)`, or a class called by INST or OBJ.
    New,
    /// As `New`, where the second of two items in `args` holds keywords.
    NewWithKeywords,
}

/// An object that a call makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Instance {
    pub(crate) call: Call,
    pub(crate) class: Slot,
    pub(crate) args: Slot,
    /// What BUILD gave it.
    pub(crate) state: Slot,
    /// BUILD came more than once.
    pub(crate) rebuilt: bool,
    /// Appended or added, as a list's or a set's.
    pub(crate) items: Rows,
    /// Keys and values in turn.
    pub(crate) pairs: Rows,
}

/// A pickle run into slots.
#[derive(Debug)]
pub(crate) struct Tape<'de> {
    pub(crate) input: &'de [u8],
    pub(crate) root: Slot,
    pub(crate) arena: Vec<Slot>,
    lists: Vec<Rows>,
    rows: Vec<Row>,
    pub(crate) instances: Vec<Instance>,
    /// Text literals with their escapes resolved, one after another.
    owned: Vec<u8>,
    /// Where in `owned` each ends.
    owned_ends: Vec<usize>,
}

impl<'de> Tape<'de> {
    /// Runs the first pickle of `input`.
    pub(crate) fn read(input: &'de [u8], limits: Limits) -> Result<Tape<'de>> {
        let mut reader = Reader::with_limits(input, limits);
        let mut builder = Builder {
            tape: Tape {
                input,
                root: Slot::ABSENT,
                arena: Vec::new(),
                lists: Vec::new(),
                rows: Vec::new(),
                instances: Vec::new(),
                owned: Vec::new(),
                owned_ends: Vec::new(),
            },
            opcode: Opcode::Stop,
            offset: 0,
        };
        let root = Driver::new(limits).run(&mut reader, &mut builder)?;
        builder.tape.root = root;
        Ok(builder.tape)
    }

    /// The opcode that made `slot`.
    pub(crate) fn opcode(&self, slot: Slot) -> Option<Opcode> {
        let offset = usize::try_from(slot.offset()).ok()?;
        Opcode::from_byte(*self.input.get(offset)?)
    }

    /// The bytes in the input that `slot` refers to by their length.
    #[inline]
    pub(crate) fn borrowed(&self, slot: Slot) -> &'de [u8] {
        let offset = slot.offset() as usize;
        let Some((&opcode, rest)) = self.input.get(offset..).and_then(<[u8]>::split_first) else {
            return &[];
        };
        let field = length_field(opcode);
        rest.get(field..field.saturating_add(slot.payload as usize)).unwrap_or_default()
    }

    /// The owned bytes that `slot` refers to by their index.
    pub(crate) fn owned(&self, slot: Slot) -> &[u8] {
        let index = slot.payload as usize;
        let end = self.owned_ends.get(index).copied().unwrap_or(0);
        let start = index.checked_sub(1).and_then(|before| self.owned_ends.get(before).copied());
        self.owned.get(start.unwrap_or(0)..end).unwrap_or_default()
    }

    /// The items of a tuple, frozenset, list, set or dict; none for anything else.
    #[inline]
    pub(crate) fn items(&self, slot: Slot) -> Slots<'_, 'de> {
        match slot.tag() {
            Tag::Tuple | Tag::FrozenSet => {
                let (start, len) = (slot.payload as u32, (slot.payload >> 32) as u32);
                Slots { tape: self, row: self.row(start, len).iter(), next: 0, total: len }
            }
            Tag::List | Tag::Set | Tag::Dict => {
                self.items_of(self.lists.get(slot.payload as usize).copied().unwrap_or_default())
            }
            _ => self.items_of(Rows::default()),
        }
    }

    #[inline]
    pub(crate) fn items_of(&self, rows: Rows) -> Slots<'_, 'de> {
        let row = self.row(rows.start, rows.len).iter();
        Slots { tape: self, row, next: rows.next, total: rows.total }
    }

    #[inline]
    fn row(&self, start: u32, len: u32) -> &[Slot] {
        let start = start as usize;
        self.arena.get(start..start.saturating_add(len as usize)).unwrap_or_default()
    }

    /// The module and the name of a global.
    pub(crate) fn global(&self, slot: Slot) -> Option<(&str, &str)> {
        match slot.tag() {
            Tag::Global => std::str::from_utf8(self.borrowed(slot)).ok()?.split_once('\n'),
            Tag::StackGlobal => {
                let mut names = self.row(slot.payload as u32, 2).iter();
                let mut name = || std::str::from_utf8(self.text(*names.next()?)?).ok();
                Some((name()?, name()?))
            }
            _ => None,
        }
    }

    /// The bytes of a str.
    pub(crate) fn text(&self, slot: Slot) -> Option<&[u8]> {
        match slot.tag() {
            Tag::Str => Some(self.borrowed(slot)),
            Tag::OwnedStr => Some(self.owned(slot)),
            _ => None,
        }
    }

    /// What delivering every object once may cost, in the units of the expansion budget.
    pub(crate) fn weight(&self) -> u64 {
        let slots = self.arena.len() + self.lists.len() + 8 * self.instances.len() + 16;
        (slots as u64) * SLOT_COST + self.input.len() as u64 + self.owned.len() as u64
    }
}

/// What one slot costs of the expansion budget, in bytes.
pub(crate) const SLOT_COST: u64 = size_of::<Slot>() as u64;

/// Bytes between an opcode and the text or bytes that belong to it.
#[inline]
fn length_field(opcode: u8) -> usize {
    match Opcode::from_byte(opcode) {
        Some(
            Opcode::ShortBinUnicode
            | Opcode::ShortBinBytes
            | Opcode::ShortBinString
            | Opcode::Long1
            // The quote.
            | Opcode::String,
        ) => 1,
        Some(
            Opcode::BinUnicode | Opcode::BinBytes | Opcode::BinString | Opcode::Long4,
        ) => 4,
        Some(Opcode::BinUnicode8 | Opcode::BinBytes8 | Opcode::ByteArray8) => 8,
        _ => 0,
    }
}

/// The items of a container, in the order they came.
#[derive(Clone, Debug)]
pub(crate) struct Slots<'t, 'de> {
    tape: &'t Tape<'de>,
    row: std::slice::Iter<'t, Slot>,
    next: u32,
    /// How many there are in all.
    pub(crate) total: u32,
}

impl<'t, 'de> Slots<'t, 'de> {
    /// `slots`, which another owns.
    pub(crate) fn from_slice(tape: &'t Tape<'de>, slots: &'t [Slot]) -> Self {
        let total = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        Slots { tape, row: slots.iter(), next: 0, total }
    }

    #[cold]
    fn next_row(&mut self) -> Option<Slot> {
        loop {
            let row = self.tape.rows.get((self.next as usize).checked_sub(1)?)?;
            self.next = row.next;
            self.row = self.tape.row(row.start, row.len).iter();
            if let Some(slot) = self.row.next() {
                return Some(*slot);
            }
        }
    }
}

impl Iterator for Slots<'_, '_> {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        match self.row.next() {
            Some(slot) => Some(*slot),
            None if self.next == 0 => None,
            None => self.next_row(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let row = self.row.len();
        (row, (self.next == 0).then_some(row))
    }
}

struct Builder<'de> {
    tape: Tape<'de>,
    opcode: Opcode,
    offset: u64,
}

fn wrong(text: &str) -> Error {
    Error::unplaced(ErrorKind::WrongType(text.into()))
}

#[cold]
fn full() -> Error {
    Error::custom("the pickle holds more than 2^32 objects, which is more than serde can be given")
}

impl<'de> Builder<'de> {
    #[inline(always)]
    fn slot(&self, tag: Tag, payload: u64) -> Slot {
        Slot::new(tag, self.offset, payload)
    }

    /// Bytes that lie in the input behind this opcode, by their length; other bytes are copied.
    #[inline(always)]
    fn literal(&mut self, bytes: &[u8], borrowed: Tag, owned: Tag) -> Slot {
        let is_line =
            matches!(self.opcode, Opcode::Unicode | Opcode::String | Opcode::Int | Opcode::Long);
        let slot = self.slot(borrowed, bytes.len() as u64);
        if !is_line || self.tape.borrowed(slot) == bytes {
            return slot;
        }
        self.tape.owned.extend_from_slice(bytes);
        self.tape.owned_ends.push(self.tape.owned.len());
        self.slot(owned, self.tape.owned_ends.len() as u64 - 1)
    }

    /// Puts `items` at the arena's end, as one row.
    #[inline(always)]
    fn store(&mut self, items: &[Slot]) -> Result<(u32, u32)> {
        let start = self.tape.arena.len();
        self.tape.arena.extend_from_slice(items);
        let end = u32::try_from(self.tape.arena.len()).map_err(|_| full())?;
        Ok((start as u32, end - start as u32))
    }

    #[inline(always)]
    fn row(&mut self, tag: Tag, items: &[Slot]) -> Result<Slot> {
        let (start, len) = self.store(items)?;
        Ok(self.slot(tag, u64::from(len) << 32 | u64::from(start)))
    }

    #[inline(always)]
    fn container(&mut self, tag: Tag) -> Result<Slot> {
        let index = self.tape.lists.len();
        if index >= u32::MAX as usize {
            return Err(full());
        }
        self.tape.lists.push(Rows::default());
        Ok(self.slot(tag, index as u64))
    }

    /// Puts `items` behind those that `rows` has.
    #[inline(always)]
    fn extend(&mut self, mut rows: Rows, items: &[Slot]) -> Result<Rows> {
        let (start, len) = self.store(items)?;
        rows.total += len;
        if rows.len == 0 {
            (rows.start, rows.len) = (start, len);
            return Ok(rows);
        }
        if rows.next == 0 && rows.start + rows.len == start {
            rows.len += len;
            return Ok(rows);
        }
        self.add_row(rows, start, len)
    }

    fn add_row(&mut self, mut rows: Rows, start: u32, len: u32) -> Result<Rows> {
        let last = (rows.last as usize).wrapping_sub(1);
        if let Some(row) = self.tape.rows.get_mut(last)
            && row.start + row.len == start
        {
            row.len += len;
            return Ok(rows);
        }
        self.tape.rows.push(Row { start, len, next: 0 });
        let added = u32::try_from(self.tape.rows.len()).map_err(|_| full())?;
        match self.tape.rows.get_mut(last) {
            Some(row) => row.next = added,
            None => rows.next = added,
        }
        rows.last = added;
        Ok(rows)
    }

    #[inline(always)]
    fn grow_list(&mut self, slot: Slot, items: &[Slot]) -> Result<()> {
        let index = slot.payload as usize;
        let rows = self.tape.lists.get(index).copied().unwrap_or_default();
        let rows = self.extend(rows, items)?;
        if let Some(place) = self.tape.lists.get_mut(index) {
            *place = rows;
        }
        Ok(())
    }

    #[inline(always)]
    fn grow(&mut self, list: &Slot, items: &[Slot]) -> Result<()> {
        match list.tag() {
            Tag::List => self.grow_list(*list, items),
            Tag::Instance => self.grow_instance(*list, items, |instance| &mut instance.items),
            _ => Err(wrong("the object below has no append")),
        }
    }

    #[inline(always)]
    fn grow_dict(&mut self, dict: &Slot, items: &[Slot]) -> Result<()> {
        match dict.tag() {
            Tag::Dict => {
                if !items.iter().step_by(2).all(|key| key.is_hashable()) {
                    return Err(wrong("a dict's key cannot be hashed"));
                }
                self.grow_list(*dict, items)
            }
            Tag::Instance => self.grow_instance(*dict, items, |instance| &mut instance.pairs),
            _ => Err(wrong("the object below takes no keys")),
        }
    }

    fn grow_instance(
        &mut self,
        slot: Slot,
        items: &[Slot],
        part: impl Fn(&mut Instance) -> &mut Rows,
    ) -> Result<()> {
        let index = slot.payload as usize;
        let Some(instance) = self.tape.instances.get_mut(index) else {
            return Ok(());
        };
        let rows = *part(instance);
        let rows = self.extend(rows, items)?;
        if let Some(instance) = self.tape.instances.get_mut(index) {
            *part(instance) = rows;
        }
        Ok(())
    }

    fn instance(&mut self, call: Call, class: Slot, args: Slot) -> Result<Slot> {
        let index = self.tape.instances.len();
        if index >= u32::MAX as usize {
            return Err(full());
        }
        self.tape.instances.push(Instance {
            call,
            class,
            args,
            state: Slot::ABSENT,
            rebuilt: false,
            items: Rows::default(),
            pairs: Rows::default(),
        });
        Ok(self.slot(Tag::Instance, index as u64))
    }
}

impl Machine for Builder<'_> {
    type Value = Slot;

    #[inline(always)]
    fn op(&mut self, opcode: Opcode, offset: u64) {
        self.opcode = opcode;
        self.offset = offset;
    }

    #[inline(always)]
    fn none(&mut self) -> Result<Slot> {
        Ok(self.slot(Tag::None, 0))
    }

    #[inline(always)]
    fn bool(&mut self, value: bool) -> Result<Slot> {
        Ok(self.slot(Tag::Bool, value.into()))
    }

    #[inline(always)]
    fn int(&mut self, value: i64) -> Result<Slot> {
        Ok(self.slot(Tag::Int, value.cast_unsigned()))
    }

    fn big_int(&mut self, bytes: &[u8]) -> Result<Slot> {
        match text::le_bytes_to_i64(bytes) {
            Some(value) => self.int(value),
            None => Ok(self.literal(bytes, Tag::BigInt, Tag::OwnedBigInt)),
        }
    }

    #[inline(always)]
    fn float(&mut self, value: f64) -> Result<Slot> {
        Ok(self.slot(Tag::Float, value.to_bits()))
    }

    #[inline(always)]
    fn str(&mut self, text: PickleStr<'_>) -> Result<Slot> {
        Ok(self.literal(text.as_bytes(), Tag::Str, Tag::OwnedStr))
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) -> Result<Slot> {
        Ok(self.slot(Tag::Bytes, bytes.len() as u64))
    }

    fn byte_array(&mut self, bytes: &[u8]) -> Result<Slot> {
        Ok(self.slot(Tag::ByteArray, bytes.len() as u64))
    }

    fn string(&mut self, bytes: &[u8]) -> Result<Slot> {
        Ok(self.literal(bytes, Tag::Py2Str, Tag::OwnedPy2Str))
    }

    #[inline(always)]
    fn empty_tuple(&mut self) -> Result<Slot> {
        Ok(self.slot(Tag::Tuple, 0))
    }

    #[inline(always)]
    fn tuple(&mut self, items: Items<'_, Slot>) -> Result<Slot> {
        self.row(Tag::Tuple, items.as_slice())
    }

    #[inline(always)]
    fn empty_list(&mut self) -> Result<Slot> {
        self.container(Tag::List)
    }

    fn list(&mut self, items: Items<'_, Slot>) -> Result<Slot> {
        let list = self.container(Tag::List)?;
        self.grow_list(list, items.as_slice())?;
        Ok(list)
    }

    fn append(&mut self, list: &mut Slot, item: Slot) -> Result<()> {
        self.grow(list, &[item])
    }

    #[inline(always)]
    fn appends(&mut self, list: &mut Slot, items: Items<'_, Slot>) -> Result<()> {
        self.grow(list, items.as_slice())
    }

    #[inline(always)]
    fn empty_dict(&mut self) -> Result<Slot> {
        self.container(Tag::Dict)
    }

    fn dict(&mut self, items: Items<'_, Slot>) -> Result<Slot> {
        let dict = self.container(Tag::Dict)?;
        self.grow_dict(&dict, items.as_slice())?;
        Ok(dict)
    }

    fn set_item(&mut self, dict: &mut Slot, key: Slot, value: Slot) -> Result<()> {
        self.grow_dict(dict, &[key, value])
    }

    #[inline(always)]
    fn set_items(&mut self, dict: &mut Slot, items: Items<'_, Slot>) -> Result<()> {
        self.grow_dict(dict, items.as_slice())
    }

    fn empty_set(&mut self) -> Result<Slot> {
        self.container(Tag::Set)
    }

    fn add_items(&mut self, set: &mut Slot, items: Items<'_, Slot>) -> Result<()> {
        let items = items.as_slice();
        match set.tag() {
            Tag::Set => {
                if !items.iter().all(|item| item.is_hashable()) {
                    return Err(wrong("a set's item cannot be hashed"));
                }
                self.grow_list(*set, items)
            }
            Tag::Instance => self.grow_instance(*set, items, |instance| &mut instance.items),
            _ => Err(wrong("the object below has no add")),
        }
    }

    fn frozenset(&mut self, items: Items<'_, Slot>) -> Result<Slot> {
        if !items.as_slice().iter().all(|item| item.is_hashable()) {
            return Err(wrong("a frozenset's item cannot be hashed"));
        }
        self.row(Tag::FrozenSet, items.as_slice())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Slot> {
        Ok(self.slot(Tag::Global, (module.len() + name.len()) as u64 + 1))
    }

    fn stack_global(&mut self, module: Slot, name: Slot) -> Result<Slot> {
        for part in [module, name] {
            if !matches!(part.tag(), Tag::Str | Tag::OwnedStr) {
                return Err(wrong("STACK_GLOBAL needs two str"));
            }
        }
        let start = u32::try_from(self.tape.arena.len()).map_err(|_| full())?;
        self.tape.arena.extend([module, name]);
        Ok(self.slot(Tag::StackGlobal, start.into()))
    }

    fn extension(&mut self, code: u32) -> Result<Slot> {
        Ok(self.slot(Tag::Extension, code.into()))
    }

    fn reduce(&mut self, callable: Slot, args: Slot) -> Result<Slot> {
        if !matches!(args.tag(), Tag::Tuple | Tag::Instance) {
            return Err(wrong("the arguments of a call must be a tuple"));
        }
        self.instance(Call::Reduce, callable, args)
    }

    fn build(&mut self, object: &mut Slot, state: Slot) -> Result<()> {
        let index = object.payload as usize;
        match self.tape.instances.get_mut(index) {
            Some(instance) if object.tag() == Tag::Instance => {
                instance.rebuilt = instance.state.tag() != Tag::Absent;
                instance.state = state;
                Ok(())
            }
            _ => Err(wrong("BUILD cannot give the object below a state")),
        }
    }

    fn new_object(&mut self, class: Slot, args: Slot) -> Result<Slot> {
        self.instance(Call::New, class, args)
    }

    fn new_object_ex(&mut self, class: Slot, args: Slot, kwargs: Slot) -> Result<Slot> {
        let start = u32::try_from(self.tape.arena.len()).map_err(|_| full())?;
        self.tape.arena.extend([args, kwargs]);
        let both = self.slot(Tag::Tuple, 2 << 32 | u64::from(start));
        self.instance(Call::NewWithKeywords, class, both)
    }

    fn inst(&mut self, module: &str, name: &str, args: Items<'_, Slot>) -> Result<Slot> {
        let class = self.global(module, name)?;
        let args = self.row(Tag::Tuple, args.as_slice())?;
        self.instance(Call::New, class, args)
    }

    fn obj(&mut self, class: Slot, args: Items<'_, Slot>) -> Result<Slot> {
        let args = self.row(Tag::Tuple, args.as_slice())?;
        self.instance(Call::New, class, args)
    }

    fn persistent_id(&mut self, _id: &str) -> Result<Slot> {
        Ok(self.slot(Tag::PersistentId, 0))
    }

    fn binary_persistent_id(&mut self, _id: Slot) -> Result<Slot> {
        Ok(self.slot(Tag::PersistentId, 0))
    }

    fn next_buffer(&mut self) -> Result<Slot> {
        Err(Error::unplaced(ErrorKind::NoBuffer))
    }

    fn readonly_buffer(&mut self, buffer: Slot) -> Result<Slot> {
        Ok(buffer)
    }
}
