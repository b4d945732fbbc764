//! numpy's file of one array: a header, then raw data, or a pickle where it holds objects.

use std::io;

use super::data::Data;

/// What a `.npy` holds behind its header.
pub(super) enum Body {
    /// A pickle that begins here.
    Pickle(u64),
    /// Raw data that begin here.
    Raw(u64),
    /// The header cannot be read.
    Broken(&'static str),
}

/// Reads the header.
pub(super) fn body(data: &Data<'_>) -> io::Result<Body> {
    let head = data.bytes(0, 12)?;
    let (length, start) = match head.as_slice() {
        [_, _, _, _, _, _, 1, _, low, high, ..] => {
            (u64::from(u16::from_le_bytes([*low, *high])), 10)
        }
        [_, _, _, _, _, _, 2 | 3, _, a, b, c, d] => {
            (u64::from(u32::from_le_bytes([*a, *b, *c, *d])), 12)
        }
        _ => return Ok(Body::Broken("its version is none that numpy writes")),
    };
    if length > 1 << 20 {
        return Ok(Body::Broken("its header is longer than a mebibyte"));
    }
    let text = data.bytes(start, length as usize)?;
    if (text.len() as u64) < length {
        return Ok(Body::Broken("it ends within its header"));
    }
    let at = start + length;
    // `'descr': '|O'`, or a field of a structure: a quoted type that names objects. What is in
    // doubt is taken for a pickle.
    let objects = text.windows(2).any(|two| matches!(two, b"O'" | b"O\"" | b"O8" | b"O4"));
    Ok(if objects { Body::Pickle(at) } else { Body::Raw(at) })
}
