//! The bytes around a payload that make it a pickled `numpy.ndarray`.
//!
//! The pickle names `numpy.core.multiarray._reconstruct`, which numpy 1 has and numpy 2 keeps for
//! the pickles of numpy 1; numpy 2's own name would shut out every numpy before 1.26.

use std::io::{self, Write};

use picklet_codec::writer::FRAME_SIZE_TARGET;
use picklet_codec::{Opcode, PickleStr, Writer};

use super::dtype::{Dtype, Field, Plain, Struct};
use crate::error::{Error, Result};

/// The protocol of the pickles made here: the newest that every supported Python reads.
const PROTOCOL: u8 = 4;

/// FRAME and its eight bytes of length.
const FRAME_HEADER: usize = 9;

/// What stands before and after a payload. The pickle is `head`, payload, `tail`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The bytes before the payload.
    pub head: Vec<u8>,
    /// The bytes after it.
    pub tail: Vec<u8>,
    /// Bytes that the payload must have.
    pub payload: u64,
}

impl Envelope {
    /// The envelope of an array of this type and shape, whose payload stands in C order, or with
    /// `fortran` in Fortran's. Protocol 4.
    ///
    /// # Errors
    /// [`Error::Usage`] when the array's size cannot be counted.
    pub fn new(dtype: &Dtype, shape: &[u64], fortran: bool) -> Result<Envelope> {
        let payload = payload_bytes(dtype, shape)
            .ok_or_else(|| Error::usage("an array of more bytes than can be counted"))?;
        let inner = || -> picklet_codec::Result<(Vec<u8>, Vec<u8>)> {
            let mut ops = Writer::new(Vec::new(), PROTOCOL)?.without_frames();
            before(&mut ops, dtype, shape, fortran)?;
            let head = ops.into_inner()?;
            let mut ops = Writer::new(Vec::new(), PROTOCOL)?.without_frames();
            ops.memoize()?;
            ops.end_tuple(5)?;
            ops.memoize()?;
            ops.op(Opcode::Build)?;
            ops.op(Opcode::Stop)?;
            Ok((head, ops.into_inner()?))
        };
        let (ops, tail) = inner().map_err(|e| Error::usage(format!("an array's pickle: {e}")))?;
        let mut head = vec![Opcode::Proto.byte(), PROTOCOL];
        let argument = payload_opcode(payload);
        if payload < FRAME_SIZE_TARGET as u64 {
            let framed = ops.len() as u64 + argument.len() as u64 + payload + tail.len() as u64;
            frame(&mut head, framed);
            head.extend_from_slice(&ops);
            head.extend_from_slice(&argument);
            return Ok(Envelope { head, tail, payload });
        }
        // As C does it: what is large stands outside of frames.
        frame(&mut head, ops.len() as u64);
        head.extend_from_slice(&ops);
        head.extend_from_slice(&argument);
        let mut framed = Vec::with_capacity(tail.len() + FRAME_HEADER);
        frame(&mut framed, tail.len() as u64);
        framed.extend_from_slice(&tail);
        Ok(Envelope { head, tail: framed, payload })
    }

    /// Writes a whole pickle.
    ///
    /// # Errors
    /// Those of `out`; [`io::ErrorKind::InvalidInput`] when `payload` has another length than the
    /// array needs.
    pub fn write(&self, out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
        if payload.len() as u64 != self.payload {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{} bytes for an array of {}", payload.len(), self.payload),
            ));
        }
        out.write_all(&self.head)?;
        out.write_all(payload)?;
        out.write_all(&self.tail)
    }

    /// Bytes of the whole pickle.
    pub fn size(&self) -> u64 {
        self.payload.saturating_add((self.head.len() + self.tail.len()) as u64)
    }
}

/// Bytes of an array's elements.
pub(super) fn payload_bytes(dtype: &Dtype, shape: &[u64]) -> Option<u64> {
    // An axis of no elements makes the array empty whatever the others are.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(dtype.size()?, |bytes, side| bytes.checked_mul(*side))
}

fn frame(out: &mut Vec<u8>, length: u64) {
    out.push(Opcode::Frame.byte());
    out.extend_from_slice(&length.to_le_bytes());
}

/// The opcode of a payload's bytes, with their length.
fn payload_opcode(length: u64) -> Vec<u8> {
    if let Ok(short) = u8::try_from(length) {
        return vec![Opcode::ShortBinBytes.byte(), short];
    }
    let mut bytes = Vec::with_capacity(FRAME_HEADER);
    match u32::try_from(length) {
        Ok(length) => {
            bytes.push(Opcode::BinBytes.byte());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        Err(_) => {
            bytes.push(Opcode::BinBytes8.byte());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
    }
    bytes
}

type Ops = Writer<Vec<u8>>;

fn text(ops: &mut Ops, text: &str) -> picklet_codec::Result<()> {
    ops.str(PickleStr::from(text))?;
    ops.memoize().map(drop)
}

fn global(ops: &mut Ops, module: &str, name: &str) -> picklet_codec::Result<()> {
    text(ops, module)?;
    text(ops, name)?;
    ops.op(Opcode::StackGlobal)?;
    ops.memoize().map(drop)
}

fn count(ops: &mut Ops, number: u64) -> picklet_codec::Result<()> {
    match i64::try_from(number) {
        Ok(number) => ops.int(number),
        Err(_) => Err(picklet_codec::Error::custom("a side longer than 2^63")),
    }
}

fn tuple<T>(
    ops: &mut Ops,
    items: &[T],
    mut each: impl FnMut(&mut Ops, &T) -> picklet_codec::Result<()>,
) -> picklet_codec::Result<()> {
    if items.is_empty() {
        return ops.empty_tuple();
    }
    if ops.tuple_needs_mark(items.len()) {
        ops.op(Opcode::Mark)?;
    }
    for item in items {
        each(ops, item)?;
    }
    ops.end_tuple(items.len())?;
    ops.memoize().map(drop)
}

/// Everything up to the payload, but PROTO and FRAME.
fn before(ops: &mut Ops, dtype: &Dtype, shape: &[u64], fortran: bool) -> picklet_codec::Result<()> {
    global(ops, "numpy.core.multiarray", "_reconstruct")?;
    global(ops, "numpy", "ndarray")?;
    tuple(ops, &[0u64], |ops, zero| count(ops, *zero))?;
    ops.bytes(b"b")?;
    ops.memoize()?;
    ops.end_tuple(3)?;
    ops.memoize()?;
    ops.op(Opcode::Reduce)?;
    ops.memoize()?;
    ops.op(Opcode::Mark)?;
    ops.int(1)?;
    tuple(ops, shape, |ops, side| count(ops, *side))?;
    write_dtype(ops, dtype)?;
    ops.bool(fortran)
}

/// `numpy.dtype(code, False, True)` and its state. The recursion is over a type that was read
/// within a depth of 32.
fn write_dtype(ops: &mut Ops, dtype: &Dtype) -> picklet_codec::Result<()> {
    let size = dtype.size().unwrap_or(0);
    let code = match dtype {
        Dtype::Plain(plain) => plain.code(),
        Dtype::Struct(_) | Dtype::Sub { .. } => format!("V{size}"),
    };
    global(ops, "numpy", "dtype")?;
    text(ops, &code)?;
    ops.bool(false)?;
    ops.bool(true)?;
    ops.end_tuple(3)?;
    ops.memoize()?;
    ops.op(Opcode::Reduce)?;
    ops.memoize()?;
    ops.op(Opcode::Mark)?;
    match dtype {
        Dtype::Plain(plain) => plain_state(ops, plain)?,
        Dtype::Struct(fields) => struct_state(ops, fields)?,
        Dtype::Sub { base, shape } => {
            ops.int(3)?;
            text(ops, "|")?;
            write_dtype(ops, base)?;
            tuple(ops, shape, |ops, side| count(ops, *side))?;
            ops.end_tuple(2)?;
            ops.memoize()?;
            ops.none()?;
            ops.none()?;
            count(ops, size)?;
            ops.int(1)?;
            ops.int(0)?;
        }
    }
    let items = match dtype {
        Dtype::Plain(Plain { unit: Some(_), .. }) => 9,
        _ => 8,
    };
    ops.end_tuple(items)?;
    ops.memoize()?;
    ops.op(Opcode::Build)
}

fn plain_state(ops: &mut Ops, plain: &Plain) -> picklet_codec::Result<()> {
    ops.int(if plain.unit.is_some() { 4 } else { 3 })?;
    text(ops, &plain.order.as_char().to_string())?;
    for _ in 0..3 {
        ops.none()?;
    }
    match plain.kind {
        // Types of any size say it, and their alignment.
        'S' | 'V' | 'U' => {
            count(ops, plain.size)?;
            ops.int(if plain.kind == 'U' { 4 } else { 1 })?;
            ops.int(if plain.kind == 'U' { 8 } else { 0 })?;
        }
        _ => {
            ops.int(-1)?;
            ops.int(-1)?;
            ops.int(0)?;
        }
    }
    if let Some(unit) = &plain.unit {
        ops.empty_dict()?;
        ops.memoize()?;
        ops.op(Opcode::Mark)?;
        ops.bytes(unit.name.as_bytes())?;
        ops.memoize()?;
        ops.int(unit.count)?;
        ops.int(1)?;
        ops.int(1)?;
        ops.end_tuple(4)?;
        ops.memoize()?;
        ops.end_tuple(2)?;
        ops.memoize()?;
    }
    Ok(())
}

/// numpy's flag of a type made with `align=True`.
pub(super) const ALIGNED: i64 = 0x80;

/// numpy's flag of every structured type: its elements are read through Python.
const NEEDS_PYTHON: i64 = 0x10;

fn struct_state(ops: &mut Ops, fields: &Struct) -> picklet_codec::Result<()> {
    ops.int(3)?;
    text(ops, "|")?;
    ops.none()?;
    tuple(ops, &fields.fields, |ops, field| text(ops, &field.name))?;
    ops.empty_dict()?;
    ops.memoize()?;
    for field in &fields.fields {
        set_field(ops, &field.name, field)?;
        if let Some(title) = &field.title {
            set_field(ops, title, field)?;
        }
    }
    count(ops, fields.size)?;
    count(ops, fields.alignment)?;
    ops.int(NEEDS_PYTHON | if fields.aligned { ALIGNED } else { 0 })
}

/// `fields[key] = (dtype, offset)` or `(dtype, offset, title)`.
fn set_field(ops: &mut Ops, key: &str, field: &Field) -> picklet_codec::Result<()> {
    text(ops, key)?;
    write_dtype(ops, &field.dtype)?;
    count(ops, field.offset)?;
    let mut items = 2;
    if let Some(title) = &field.title {
        text(ops, title)?;
        items = 3;
    }
    ops.end_tuple(items)?;
    ops.memoize()?;
    ops.op(Opcode::SetItem)
}
