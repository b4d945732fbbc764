//! The optimiser: the bytes of `pickletools.optimize`.
//!
//! Two walks over the pickle: the first finds which memo entries are read again, the second
//! copies the opcodes without the others' PUTs, renumbers, and frames anew. Nothing is decoded
//! into values, so pickles of unknown classes are as welcome as any.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::dis::DisError;
use crate::genops::{GenArg, GenOps};
use crate::opcode::{HIGHEST_PROTOCOL, Opcode};

/// The size at which a frame is closed (`pickle._Framer._FRAME_SIZE_TARGET`), in bytes.
const FRAME_TARGET: usize = 64 * 1024;
/// Shorter frames than this get no FRAME opcode.
const FRAME_MINIMUM: usize = 4;

/// The first pickle in `pickle` without the PUTs that no GET needs, what it means unchanged.
/// Bytes after its STOP are left out.
///
/// # Errors
/// [`DisError::Invalid`] where `pickletools.optimize` raises; a GET without a PUT before it is
/// reported as such.
///
/// ```
/// let small = picklet_codec::optimize(b"\x80\x04\x8c\x02hi\x94.")?;
/// assert_eq!(small, b"\x80\x04\x95\x05\0\0\0\0\0\0\0\x8c\x02hi.");
/// # Ok::<(), picklet_codec::DisError>(())
/// ```
pub fn optimize(pickle: &[u8]) -> Result<Vec<u8>, DisError> {
    let plan = Plan::of(pickle)?;
    let mut out = Framer { out: Vec::with_capacity(pickle.len()), frame: None };
    out.out.extend_from_slice(plan.header);
    if plan.protocol >= 4 {
        out.frame = Some(Vec::new());
    }
    plan.copy(pickle, &mut out)?;
    out.end();
    Ok(out.out)
}

/// What the first walk finds out.
struct Plan<'a> {
    protocol: u8,
    /// PROTO, where the pickle starts with it.
    header: &'a [u8],
    /// Memo indexes that a GET reads.
    read: FxHashSet<Key>,
}

/// A memo index in the order Python compares them: text indexes may be any int.
type Key = Vec<u8>;

fn key(arg: &GenArg<'_>) -> Key {
    let bytes = match arg {
        GenArg::Bool(value) => return vec![u8::from(*value)],
        GenArg::Int(value) => num_bigint::BigInt::from(*value),
        GenArg::BigInt(value) => value.clone(),
        _ => return Vec::new(),
    };
    bytes.to_signed_bytes_le()
}

fn is_put(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Put | Opcode::BinPut | Opcode::LongBinPut)
}

fn is_get(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Get | Opcode::BinGet | Opcode::LongBinGet)
}

/// Calls `visit` with every opcode, its argument and its span.
fn walk(
    pickle: &[u8],
    mut visit: impl FnMut(Opcode, &GenArg<'_>, u64, u64) -> Result<(), DisError>,
) -> Result<(), DisError> {
    let mut ops = GenOps::new(pickle, 0);
    loop {
        let start = ops.position();
        let op = ops.next_op().map_err(|error| DisError::from_gen(error, start))?;
        let (opcode, arg) = (op.info.opcode, op.arg);
        // The argument borrows the reader: what is visited is told where it ends by length.
        let memo_arg = match arg {
            GenArg::Bool(value) => GenArg::Bool(value),
            GenArg::Int(value) => GenArg::Int(value),
            GenArg::BigInt(value) if is_put(opcode) || is_get(opcode) => GenArg::BigInt(value),
            _ => GenArg::None,
        };
        visit(opcode, &memo_arg, start, ops.position())?;
        if opcode == Opcode::Stop {
            return Ok(());
        }
    }
}

fn span(pickle: &[u8], start: u64, end: u64) -> &[u8] {
    // Positions of a slice fit usize.
    pickle.get(start as usize..end as usize).unwrap_or_default()
}

impl<'a> Plan<'a> {
    fn of(pickle: &'a [u8]) -> Result<Plan<'a>, DisError> {
        let mut plan = Plan { protocol: 0, header: &[], read: FxHashSet::default() };
        walk(pickle, |opcode, arg, start, end| {
            if is_get(opcode) {
                plan.protocol = plan.protocol.max(opcode.info().protocol);
                plan.read.insert(key(arg));
            } else if let (Opcode::Proto, GenArg::Int(version)) = (opcode, arg) {
                plan.protocol = plan.protocol.max(u8::try_from(*version).unwrap_or(u8::MAX));
                if start == 0 {
                    plan.header = span(pickle, start, end);
                }
            }
            Ok(())
        })?;
        if plan.protocol > HIGHEST_PROTOCOL {
            let message = format!("pickle protocol must be <= {HIGHEST_PROTOCOL}");
            return Err(DisError::Invalid { exception: "ValueError", message, offset: 0 });
        }
        Ok(plan)
    }

    fn copy(&self, pickle: &[u8], out: &mut Framer) -> Result<(), DisError> {
        let mut seen: FxHashSet<Key> = FxHashSet::default();
        let mut renumbered: FxHashMap<Key, u32> = FxHashMap::default();
        let mut next = 0u32;
        walk(pickle, |opcode, arg, start, end| {
            if is_put(opcode) || opcode == Opcode::Memoize {
                let key = match opcode {
                    Opcode::Memoize => num_bigint::BigInt::from(seen.len()).to_signed_bytes_le(),
                    _ => key(arg),
                };
                if self.read.contains(&key) {
                    out.write(put(self.protocol, next).as_ref());
                    renumbered.insert(key.clone(), next);
                    next += 1;
                }
                seen.insert(key);
            } else if is_get(opcode) {
                let Some(index) = renumbered.get(&key(arg)) else {
                    let message = "a GET reads a memo entry that no PUT before it stored";
                    return Err(DisError::Invalid {
                        exception: "TypeError",
                        message: message.to_owned(),
                        offset: start,
                    });
                };
                out.write(get(self.protocol, *index).as_ref());
            } else if opcode != Opcode::Frame && !(opcode == Opcode::Proto && start == 0) {
                let data = span(pickle, start, end);
                if data.len() > FRAME_TARGET {
                    out.write_frameless(data);
                } else {
                    out.write(data);
                }
            }
            Ok(())
        })
    }
}

fn put(protocol: u8, index: u32) -> Vec<u8> {
    match u8::try_from(index) {
        _ if protocol >= 4 => vec![Opcode::Memoize as u8],
        Ok(index) if protocol >= 1 => vec![Opcode::BinPut as u8, index],
        Err(_) if protocol >= 1 => with_u32(Opcode::LongBinPut, index),
        _ => format!("p{index}\n").into_bytes(),
    }
}

fn get(protocol: u8, index: u32) -> Vec<u8> {
    match u8::try_from(index) {
        Ok(index) if protocol >= 1 => vec![Opcode::BinGet as u8, index],
        Err(_) if protocol >= 1 => with_u32(Opcode::LongBinGet, index),
        _ => format!("g{index}\n").into_bytes(),
    }
}

fn with_u32(opcode: Opcode, value: u32) -> Vec<u8> {
    let mut bytes = vec![opcode as u8];
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes
}

/// Output cut into frames as Python's pickler in Python cuts it.
struct Framer {
    out: Vec<u8>,
    /// The frame under way; `None` below protocol 4.
    frame: Option<Vec<u8>>,
}

impl Framer {
    fn write(&mut self, data: &[u8]) {
        if self.frame.as_ref().is_some_and(|frame| frame.len() >= FRAME_TARGET) {
            self.close();
        }
        match &mut self.frame {
            Some(frame) => frame.extend_from_slice(data),
            None => self.out.extend_from_slice(data),
        }
    }

    /// Writes what is too large for a frame between two frames.
    fn write_frameless(&mut self, data: &[u8]) {
        self.close();
        self.out.extend_from_slice(data);
    }

    fn close(&mut self) {
        let Some(frame) = &mut self.frame else { return };
        if frame.len() >= FRAME_MINIMUM {
            self.out.push(Opcode::Frame as u8);
            self.out.extend_from_slice(&(frame.len() as u64).to_le_bytes());
        }
        self.out.append(frame);
    }

    fn end(&mut self) {
        if self.frame.as_ref().is_some_and(|frame| !frame.is_empty()) {
            self.close();
        }
    }
}
