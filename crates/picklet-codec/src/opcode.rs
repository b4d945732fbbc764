//! The opcode table: the one place that says what the 68 opcodes of protocols 0 to 5 are.
//!
//! One macro table makes the [`Opcode`] enum, the byte lookup and [`OPCODES`]. The reader, the
//! machine, the writer, the disassembler, the scanner, the fuzz dictionary and
//! `docs/opcodes.md` all draw on it, and a test holds it to `pickletools.opcodes` of every
//! Python found. This module imports nothing but [`ArgKind`] and never touches input.

use crate::arg::ArgKind;

/// What may lie on the unpickling stack, as the table's stack columns tell it.
///
/// The names are those of `pickletools`' stack objects ([`StackKind::name`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackKind {
    /// Any object.
    Any,
    /// An int.
    Int,
    /// An int, or a bool (`I01`).
    IntOrBool,
    /// `True` or `False`.
    Bool,
    /// A float.
    Float,
    /// A Python 2 str: bytes or str, as the reader's caller decides.
    BytesOrStr,
    /// Bytes.
    Bytes,
    /// A bytearray.
    ByteArray,
    /// A str.
    Str,
    /// `None`.
    None,
    /// A tuple.
    Tuple,
    /// A list.
    List,
    /// A dict.
    Dict,
    /// A set.
    Set,
    /// A frozenset.
    FrozenSet,
    /// An out-of-band buffer.
    Buffer,
    /// The mark that opens a stack slice.
    Mark,
    /// All objects above the topmost mark.
    StackSlice,
}

impl StackKind {
    /// The name `pickletools` gives this kind, for example `int_or_bool`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Int => "int",
            Self::IntOrBool => "int_or_bool",
            Self::Bool => "bool",
            Self::Float => "float",
            Self::BytesOrStr => "bytes_or_str",
            Self::Bytes => "bytes",
            Self::ByteArray => "bytearray",
            Self::Str => "str",
            Self::None => "None",
            Self::Tuple => "tuple",
            Self::List => "list",
            Self::Dict => "dict",
            Self::Set => "set",
            Self::FrozenSet => "frozenset",
            Self::Buffer => "buffer",
            Self::Mark => "mark",
            Self::StackSlice => "stackslice",
        }
    }
}

/// What an opcode can do beyond moving plain values about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Makes, moves or forgets plain values; runs nothing.
    Pure,
    /// Changes the object below: plain for a list, dict or set, but on any other object it
    /// calls that object's `append`, `extend`, `add` or `__setitem__`.
    Mutate,
    /// Imports a module and looks a name up in it.
    Import,
    /// Calls an object on the stack, or one of its methods.
    Call,
    /// Imports a class and calls it (INST alone).
    ImportCall,
    /// Asks the application for the object behind a persistent id.
    PersistentId,
    /// Imports what the `copyreg` registry holds for an extension code.
    Extension,
}

impl Effect {
    /// The class as one word: `pure`, `mutate`, `import`, `call`, `import+call`, `persid`, `ext`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Mutate => "mutate",
            Self::Import => "import",
            Self::Call => "call",
            Self::ImportCall => "import+call",
            Self::PersistentId => "persid",
            Self::Extension => "ext",
        }
    }

    /// Whether an opcode of this class can import a module.
    pub const fn imports(self) -> bool {
        matches!(self, Self::Import | Self::ImportCall | Self::Extension)
    }

    /// Whether an opcode of this class always calls something.
    pub const fn calls(self) -> bool {
        matches!(self, Self::Call | Self::ImportCall)
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct OpcodeInfo {
    /// The opcode.
    pub opcode: Opcode,
    /// Its byte.
    pub byte: u8,
    /// CPython's name, for example `BININT1`.
    pub name: &'static str,
    /// The first protocol (0 to 5) that has it.
    pub protocol: u8,
    /// The kind of argument that follows the byte.
    pub arg: ArgKind,
    /// What it takes from the stack, bottom first.
    pub before: &'static [StackKind],
    /// What it leaves in their place, bottom first.
    pub after: &'static [StackKind],
    /// It reads the stack's top without taking it, though `before` is empty. True for PUT,
    /// BINPUT and LONG_BINPUT, which CPython's own table lists as touching nothing.
    pub peek: bool,
    /// What it can do beyond moving plain values.
    pub effect: Effect,
    /// One line on it: the text that `python -m pickletools -a` prints as of CPython 3.13
    /// (that tool's interface; see the NOTICE file).
    pub doc: &'static str,
}

macro_rules! define_opcodes {
    ($($variant:ident = $byte:literal, $name:literal, $protocol:literal, $arg:ident,
       [$($before:ident),*] => [$($after:ident),*], $peek:literal, $effect:ident, $doc:literal;)+) => {
        /// An opcode: one byte of a pickle that tells the pickle machine what to do.
        ///
        /// The variants bear CPython's names in CamelCase; `opcode as u8` is the byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Opcode {
            $(#[doc = concat!("`", $name, "`: ", $doc)] $variant = $byte,)+
        }

        /// All opcodes, in the order of `pickletools.opcodes`.
        pub static OPCODES: [OpcodeInfo; OPCODE_COUNT] = [
            $(OpcodeInfo {
                opcode: Opcode::$variant,
                byte: $byte,
                name: $name,
                protocol: $protocol,
                arg: ArgKind::$arg,
                before: &[$(StackKind::$before),*],
                after: &[$(StackKind::$after),*],
                peek: $peek,
                effect: Effect::$effect,
                doc: $doc,
            },)+
        ];

        const ALL: [Opcode; OPCODE_COUNT] = [$(Opcode::$variant,)+];
    };
}

/// How many opcodes protocols 0 to 5 have.
pub const OPCODE_COUNT: usize = 68;

/// The highest protocol known here, and by every CPython up to 3.15.
pub const HIGHEST_PROTOCOL: u8 = 5;

/// Hands the table's rows to a macro: `Variant = byte, "NAME", protocol, argument kind,
/// [before] => [after], peek, effect, "doc";`.
macro_rules! with_opcode_table {
    ($callback:ident) => {
        $callback! {
            Int = b'I', "INT", 0, IntLine, [] => [IntOrBool], false, Pure, "Push an integer or bool.";
            BinInt = b'J', "BININT", 1, Int4, [] => [Int], false, Pure, "Push a four-byte signed integer.";
            BinInt1 = b'K', "BININT1", 1, Uint1, [] => [Int], false, Pure, "Push a one-byte unsigned integer.";
            BinInt2 = b'M', "BININT2", 1, Uint2, [] => [Int], false, Pure, "Push a two-byte unsigned integer.";
            Long = b'L', "LONG", 0, LongLine, [] => [Int], false, Pure, "Push a long integer.";
            Long1 = 0x8a, "LONG1", 2, Long1, [] => [Int], false, Pure, "Long integer using one-byte length.";
            Long4 = 0x8b, "LONG4", 2, Long4, [] => [Int], false, Pure, "Long integer using four-byte length.";
            String = b'S', "STRING", 0, StringLine, [] => [BytesOrStr], false, Pure, "Push a Python string object.";
            BinString = b'T', "BINSTRING", 1, String4, [] => [BytesOrStr], false, Pure, "Push a Python string object.";
            ShortBinString = b'U', "SHORT_BINSTRING", 1, String1, [] => [BytesOrStr], false, Pure, "Push a Python string object.";
            BinBytes = b'B', "BINBYTES", 3, Bytes4, [] => [Bytes], false, Pure, "Push a Python bytes object.";
            ShortBinBytes = b'C', "SHORT_BINBYTES", 3, Bytes1, [] => [Bytes], false, Pure, "Push a Python bytes object.";
            BinBytes8 = 0x8e, "BINBYTES8", 4, Bytes8, [] => [Bytes], false, Pure, "Push a Python bytes object.";
            ByteArray8 = 0x96, "BYTEARRAY8", 5, ByteArray8, [] => [ByteArray], false, Pure, "Push a Python bytearray object.";
            NextBuffer = 0x97, "NEXT_BUFFER", 5, None, [] => [Buffer], false, Pure, "Push an out-of-band buffer object.";
            ReadonlyBuffer = 0x98, "READONLY_BUFFER", 5, None, [Buffer] => [Buffer], false, Pure, "Make an out-of-band buffer object read-only.";
            None = b'N', "NONE", 0, None, [] => [None], false, Pure, "Push None on the stack.";
            NewTrue = 0x88, "NEWTRUE", 2, None, [] => [Bool], false, Pure, "Push True onto the stack.";
            NewFalse = 0x89, "NEWFALSE", 2, None, [] => [Bool], false, Pure, "Push False onto the stack.";
            Unicode = b'V', "UNICODE", 0, UnicodeLine, [] => [Str], false, Pure, "Push a Python Unicode string object.";
            ShortBinUnicode = 0x8c, "SHORT_BINUNICODE", 4, Unicode1, [] => [Str], false, Pure, "Push a Python Unicode string object.";
            BinUnicode = b'X', "BINUNICODE", 1, Unicode4, [] => [Str], false, Pure, "Push a Python Unicode string object.";
            BinUnicode8 = 0x8d, "BINUNICODE8", 4, Unicode8, [] => [Str], false, Pure, "Push a Python Unicode string object.";
            Float = b'F', "FLOAT", 0, FloatLine, [] => [Float], false, Pure, "Newline-terminated decimal float literal.";
            BinFloat = b'G', "BINFLOAT", 1, Float8, [] => [Float], false, Pure, "Float stored in binary form, with 8 bytes of data.";
            EmptyList = b']', "EMPTY_LIST", 1, None, [] => [List], false, Pure, "Push an empty list.";
            Append = b'a', "APPEND", 0, None, [List, Any] => [List], false, Mutate, "Append an object to a list.";
            Appends = b'e', "APPENDS", 1, None, [List, Mark, StackSlice] => [List], false, Mutate, "Extend a list by a slice of stack objects.";
            List = b'l', "LIST", 0, None, [Mark, StackSlice] => [List], false, Pure, "Build a list out of the topmost stack slice, after markobject.";
            EmptyTuple = b')', "EMPTY_TUPLE", 1, None, [] => [Tuple], false, Pure, "Push an empty tuple.";
            Tuple = b't', "TUPLE", 0, None, [Mark, StackSlice] => [Tuple], false, Pure, "Build a tuple out of the topmost stack slice, after markobject.";
            Tuple1 = 0x85, "TUPLE1", 2, None, [Any] => [Tuple], false, Pure, "Build a one-tuple out of the topmost item on the stack.";
            Tuple2 = 0x86, "TUPLE2", 2, None, [Any, Any] => [Tuple], false, Pure, "Build a two-tuple out of the top two items on the stack.";
            Tuple3 = 0x87, "TUPLE3", 2, None, [Any, Any, Any] => [Tuple], false, Pure, "Build a three-tuple out of the top three items on the stack.";
            EmptyDict = b'}', "EMPTY_DICT", 1, None, [] => [Dict], false, Pure, "Push an empty dict.";
            Dict = b'd', "DICT", 0, None, [Mark, StackSlice] => [Dict], false, Pure, "Build a dict out of the topmost stack slice, after markobject.";
            SetItem = b's', "SETITEM", 0, None, [Dict, Any, Any] => [Dict], false, Mutate, "Add a key+value pair to an existing dict.";
            SetItems = b'u', "SETITEMS", 1, None, [Dict, Mark, StackSlice] => [Dict], false, Mutate, "Add an arbitrary number of key+value pairs to an existing dict.";
            EmptySet = 0x8f, "EMPTY_SET", 4, None, [] => [Set], false, Pure, "Push an empty set.";
            AddItems = 0x90, "ADDITEMS", 4, None, [Set, Mark, StackSlice] => [Set], false, Mutate, "Add an arbitrary number of items to an existing set.";
            FrozenSet = 0x91, "FROZENSET", 4, None, [Mark, StackSlice] => [FrozenSet], false, Pure, "Build a frozenset out of the topmost slice, after markobject.";
            Pop = b'0', "POP", 0, None, [Any] => [], false, Pure, "Discard the top stack item, shrinking the stack by one item.";
            Dup = b'2', "DUP", 0, None, [Any] => [Any, Any], false, Pure, "Push the top stack item onto the stack again, duplicating it.";
            Mark = b'(', "MARK", 0, None, [] => [Mark], false, Pure, "Push markobject onto the stack.";
            PopMark = b'1', "POP_MARK", 1, None, [Mark, StackSlice] => [], false, Pure, "Pop all the stack objects at and above the topmost markobject.";
            Get = b'g', "GET", 0, IndexLine, [] => [Any], false, Pure, "Read an object from the memo and push it on the stack.";
            BinGet = b'h', "BINGET", 1, Index1, [] => [Any], false, Pure, "Read an object from the memo and push it on the stack.";
            LongBinGet = b'j', "LONG_BINGET", 1, Index4, [] => [Any], false, Pure, "Read an object from the memo and push it on the stack.";
            Put = b'p', "PUT", 0, IndexLine, [] => [], true, Pure, "Store the stack top into the memo.  The stack is not popped.";
            BinPut = b'q', "BINPUT", 1, Index1, [] => [], true, Pure, "Store the stack top into the memo.  The stack is not popped.";
            LongBinPut = b'r', "LONG_BINPUT", 1, Index4, [] => [], true, Pure, "Store the stack top into the memo.  The stack is not popped.";
            Memoize = 0x94, "MEMOIZE", 4, None, [Any] => [Any], false, Pure, "Store the stack top into the memo.  The stack is not popped.";
            Ext1 = 0x82, "EXT1", 2, Extension1, [] => [Any], false, Extension, "Extension code.";
            Ext2 = 0x83, "EXT2", 2, Extension2, [] => [Any], false, Extension, "Extension code.";
            Ext4 = 0x84, "EXT4", 2, Extension4, [] => [Any], false, Extension, "Extension code.";
            Global = b'c', "GLOBAL", 0, LinePair, [] => [Any], false, Import, "Push a global object (module.attr) on the stack.";
            StackGlobal = 0x93, "STACK_GLOBAL", 4, None, [Str, Str] => [Any], false, Import, "Push a global object (module.attr) on the stack.";
            Reduce = b'R', "REDUCE", 0, None, [Any, Any] => [Any], false, Call, "Push an object built from a callable and an argument tuple.";
            Build = b'b', "BUILD", 0, None, [Any, Any] => [Any], false, Call, "Finish building an object, via __setstate__ or dict update.";
            Inst = b'i', "INST", 0, AsciiLinePair, [Mark, StackSlice] => [Any], false, ImportCall, "Build a class instance.";
            Obj = b'o', "OBJ", 1, None, [Mark, Any, StackSlice] => [Any], false, Call, "Build a class instance.";
            NewObj = 0x81, "NEWOBJ", 2, None, [Any, Any] => [Any], false, Call, "Build an object instance.";
            NewObjEx = 0x92, "NEWOBJ_EX", 4, None, [Any, Any, Any] => [Any], false, Call, "Build an object instance.";
            Proto = 0x80, "PROTO", 2, Protocol1, [] => [], false, Pure, "Protocol version indicator.";
            Stop = b'.', "STOP", 0, None, [Any] => [], false, Pure, "Stop the unpickling machine.";
            Frame = 0x95, "FRAME", 4, FrameLength8, [] => [], false, Pure, "Indicate the beginning of a new frame.";
            PersId = b'P', "PERSID", 0, AsciiLine, [] => [Any], false, PersistentId, "Push an object identified by a persistent ID.";
            BinPersId = b'Q', "BINPERSID", 1, None, [Any] => [Any], false, PersistentId, "Push an object identified by a persistent ID.";
        }
    };
}
pub(crate) use with_opcode_table;

with_opcode_table!(define_opcodes);

/// The row in [`OPCODES`] of each byte, or `NO_ROW`.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would refuse an index out of range"
)]
const ROW_OF_BYTE: [u8; 256] = {
    let mut rows = [NO_ROW; 256];
    let mut row = 0;
    while row < OPCODE_COUNT {
        rows[ALL[row] as usize] = row as u8;
        row += 1;
    }
    rows
};

const NO_ROW: u8 = u8::MAX;

#[expect(
    clippy::indexing_slicing,
    reason = "a byte indexes 256 rows, and each row in the lookup is below OPCODE_COUNT"
)]
impl Opcode {
    /// The opcode of a byte, or `None` when no opcode has it.
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match ROW_OF_BYTE[byte as usize] {
            NO_ROW => None,
            row => Some(ALL[row as usize]),
        }
    }

    /// The table's row of this opcode.
    #[inline]
    pub const fn info(self) -> &'static OpcodeInfo {
        &OPCODES[ROW_OF_BYTE[self as usize] as usize]
    }

    /// The byte of this opcode.
    #[inline]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// CPython's name, for example `SHORT_BINUNICODE`.
    pub const fn name(self) -> &'static str {
        self.info().name
    }
}

impl std::fmt::Display for Opcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_maps_to_the_row_that_has_it_or_to_nothing() {
        let mut known = 0;
        for byte in 0..=255u8 {
            if let Some(opcode) = Opcode::from_byte(byte) {
                assert_eq!(opcode.byte(), byte);
                assert_eq!(opcode.info().byte, byte);
                known += 1;
            }
        }
        assert_eq!(known, OPCODE_COUNT);
    }

    #[test]
    fn names_are_unique_and_a_mark_stands_before_each_stack_slice() {
        for (index, row) in OPCODES.iter().enumerate() {
            assert!(OPCODES[..index].iter().all(|other| other.name != row.name));
            assert_eq!(row.opcode.info().name, row.name);
            let slice = row.before.contains(&StackKind::StackSlice);
            assert_eq!(slice, row.before.contains(&StackKind::Mark), "{}", row.name);
            if slice {
                assert_eq!(row.before.last(), Some(&StackKind::StackSlice));
            }
        }
    }
}
