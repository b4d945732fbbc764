//! The opcode bytes as the splitter's loops need them: constants to match on,
//! and a table of how long each operation is.
//!
//! The codec's table is the authority; a test holds this one to it. It is kept
//! apart because the scanner's loop matches on bytes and looks at nothing else.

pub(crate) const MARK: u8 = b'(';
pub(crate) const STOP: u8 = b'.';
pub(crate) const POP: u8 = b'0';
pub(crate) const POP_MARK: u8 = b'1';
pub(crate) const DUP: u8 = b'2';
pub(crate) const FLOAT: u8 = b'F';
pub(crate) const INT: u8 = b'I';
pub(crate) const BININT: u8 = b'J';
pub(crate) const BININT1: u8 = b'K';
pub(crate) const LONG: u8 = b'L';
pub(crate) const BININT2: u8 = b'M';
pub(crate) const NONE: u8 = b'N';
pub(crate) const PERSID: u8 = b'P';
pub(crate) const BINPERSID: u8 = b'Q';
pub(crate) const REDUCE: u8 = b'R';
pub(crate) const STRING: u8 = b'S';
pub(crate) const BINSTRING: u8 = b'T';
pub(crate) const SHORT_BINSTRING: u8 = b'U';
pub(crate) const UNICODE: u8 = b'V';
pub(crate) const BINUNICODE: u8 = b'X';
pub(crate) const APPEND: u8 = b'a';
pub(crate) const BUILD: u8 = b'b';
pub(crate) const GLOBAL: u8 = b'c';
pub(crate) const DICT: u8 = b'd';
pub(crate) const EMPTY_DICT: u8 = b'}';
pub(crate) const APPENDS: u8 = b'e';
pub(crate) const GET: u8 = b'g';
pub(crate) const BINGET: u8 = b'h';
pub(crate) const INST: u8 = b'i';
pub(crate) const LONG_BINGET: u8 = b'j';
pub(crate) const LIST: u8 = b'l';
pub(crate) const EMPTY_LIST: u8 = b']';
pub(crate) const OBJ: u8 = b'o';
pub(crate) const PUT: u8 = b'p';
pub(crate) const BINPUT: u8 = b'q';
pub(crate) const LONG_BINPUT: u8 = b'r';
pub(crate) const SETITEM: u8 = b's';
pub(crate) const TUPLE: u8 = b't';
pub(crate) const EMPTY_TUPLE: u8 = b')';
pub(crate) const SETITEMS: u8 = b'u';
pub(crate) const BINFLOAT: u8 = b'G';
pub(crate) const PROTO: u8 = 0x80;
pub(crate) const NEWOBJ: u8 = 0x81;
pub(crate) const EXT1: u8 = 0x82;
pub(crate) const EXT2: u8 = 0x83;
pub(crate) const EXT4: u8 = 0x84;
pub(crate) const TUPLE1: u8 = 0x85;
pub(crate) const TUPLE2: u8 = 0x86;
pub(crate) const TUPLE3: u8 = 0x87;
pub(crate) const NEWTRUE: u8 = 0x88;
pub(crate) const NEWFALSE: u8 = 0x89;
pub(crate) const LONG1: u8 = 0x8a;
pub(crate) const LONG4: u8 = 0x8b;
pub(crate) const BINBYTES: u8 = b'B';
pub(crate) const SHORT_BINBYTES: u8 = b'C';
pub(crate) const SHORT_BINUNICODE: u8 = 0x8c;
pub(crate) const BINUNICODE8: u8 = 0x8d;
pub(crate) const BINBYTES8: u8 = 0x8e;
pub(crate) const EMPTY_SET: u8 = 0x8f;
pub(crate) const ADDITEMS: u8 = 0x90;
pub(crate) const FROZENSET: u8 = 0x91;
pub(crate) const NEWOBJ_EX: u8 = 0x92;
pub(crate) const STACK_GLOBAL: u8 = 0x93;
pub(crate) const MEMOIZE: u8 = 0x94;
pub(crate) const FRAME: u8 = 0x95;
pub(crate) const BYTEARRAY8: u8 = 0x96;
pub(crate) const NEXT_BUFFER: u8 = 0x97;
pub(crate) const READONLY_BUFFER: u8 = 0x98;

/// How long an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// No opcode has this byte.
    Unknown,
    /// So many bytes, the opcode's own among them.
    Fixed(u8),
    /// A count of so many bytes follows, then that many bytes.
    Counted(u8),
    /// So many lines follow.
    Lines(u8),
}

/// The length of the operation that begins with each byte.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
pub(crate) static LENGTHS: [Length; 256] = {
    let mut table = [Length::Unknown; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = length(byte as u8);
        byte += 1;
    }
    table
};

const fn length(opcode: u8) -> Length {
    match opcode {
        MARK | STOP | POP | POP_MARK | DUP | NONE | BINPERSID | REDUCE | APPEND | BUILD | DICT
        | EMPTY_DICT | APPENDS | LIST | EMPTY_LIST | OBJ | SETITEM | TUPLE | EMPTY_TUPLE
        | SETITEMS | NEWOBJ | TUPLE1 | TUPLE2 | TUPLE3 | NEWTRUE | NEWFALSE | EMPTY_SET
        | ADDITEMS | FROZENSET | NEWOBJ_EX | STACK_GLOBAL | MEMOIZE | NEXT_BUFFER
        | READONLY_BUFFER => Length::Fixed(1),
        BININT1 | BINGET | BINPUT | PROTO | EXT1 => Length::Fixed(2),
        BININT2 | EXT2 => Length::Fixed(3),
        BININT | LONG_BINGET | LONG_BINPUT | EXT4 => Length::Fixed(5),
        BINFLOAT | FRAME => Length::Fixed(9),
        SHORT_BINSTRING | SHORT_BINBYTES | SHORT_BINUNICODE | LONG1 => Length::Counted(1),
        BINSTRING | BINUNICODE | BINBYTES | LONG4 => Length::Counted(4),
        BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => Length::Counted(8),
        FLOAT | INT | LONG | PERSID | STRING | UNICODE | GET | PUT => Length::Lines(1),
        GLOBAL | INST => Length::Lines(2),
        _ => Length::Unknown,
    }
}

/// The largest whole number that BINSTRING and LONG4, whose counts are signed,
/// can hold.
pub(crate) const fn signed_count(opcode: u8) -> bool {
    matches!(opcode, BINSTRING | LONG4)
}

/// Little-endian unsigned number of up to 8 bytes.
pub(crate) fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| (n << 8) | u64::from(b))
}

#[cfg(test)]
mod tests {
    use picklet_codec::{ArgExtent, OPCODES, Opcode};

    use super::{LENGTHS, Length};

    #[test]
    fn lengths_are_those_of_the_codec_table() {
        for (byte, length) in LENGTHS.iter().enumerate() {
            let byte = u8::try_from(byte).unwrap();
            let expected = match Opcode::from_byte(byte).map(|opcode| opcode.info().arg.extent()) {
                None => Length::Unknown,
                Some(ArgExtent::Bytes(count)) => Length::Fixed(1 + count),
                Some(ArgExtent::Counted(field)) => Length::Counted(field),
                Some(ArgExtent::Lines(count)) => Length::Lines(count),
            };
            assert_eq!(*length, expected, "byte {byte:#04x}");
        }
        let known = LENGTHS.iter().filter(|length| **length != Length::Unknown).count();
        assert_eq!(known, OPCODES.len());
    }
}
