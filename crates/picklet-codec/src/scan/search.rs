//! Pickles where none is expected: in what stands before, behind and between them.
//!
//! Nearly any byte begins some pickle, so that a hit is only what reads like one to its STOP and
//! either says that it is one (PROTO) or imports something by a plausible name.

use super::source::{Source, read_full};

/// Bytes of the source that are searched at a time, and how much of them is looked at again.
const BLOCK: usize = 1 << 20;
const OVERLAP: usize = 1 << 10;

/// Whether bytes begin as a pickle of protocol 2 or later does, or as one of an earlier protocol
/// that goes to a STOP or imports something.
#[inline(always)]
pub(super) fn begins_like_a_pickle(bytes: &[u8]) -> bool {
    match bytes {
        [0x80, 0..=5, _, ..] => true,
        [b'c' | b'(' | b'i' | b']' | b'}' | 0x8c | b'X' | b'V' | b'S' | b'U' | 0x95, .., last] => {
            *last == b'.' || *last == b'\n' || is_candidate(bytes)
        }
        _ => false,
    }
}

/// Whether a pickle may begin with these bytes, so that running it is worth while.
fn is_candidate(bytes: &[u8]) -> bool {
    match bytes {
        // PROTO, and a first opcode that can stand there.
        [0x80, 0..=5, next, ..] => begins_something(*next),
        // GLOBAL and INST: two lines of names.
        [b'c', rest @ ..] => two_names(rest),
        [b'(', rest @ ..] => {
            matches!(rest, [b'c' | b'i', names @ ..] if two_names(names))
                || matches!(rest, [b'S', b'\'' | b'"', ..] | [b'V', ..])
                || matches!(rest, [0x8c | b'X' | b'U', ..])
        }
        // A short str, which a second one and STACK_GLOBAL may follow.
        [0x8c, len, rest @ ..] => named(rest, usize::from(*len)),
        [b'X', len, 0, 0, 0, rest @ ..] => named(rest, usize::from(*len)),
        [0x95, _, _, _, _, 0, 0, 0, 0, next, ..] => begins_something(*next),
        [0x82, 1..=255, b'(' | b')' | b'R' | 0x93 | 0x8c | b'X', ..] => true,
        _ => false,
    }
}

/// Whether an opcode can begin a pickle: one that takes nothing from the stack.
fn begins_something(byte: u8) -> bool {
    matches!(
        byte,
        b'(' | b')' | b'c' | b'i' | b']' | b'}' | b'I' | b'J' | b'K' | b'M' | b'L' | b'N' | b'F'
            | b'G' | b'S' | b'T' | b'U' | b'V' | b'X' | b'B' | b'C' | b'P'
            | 0x80 | 0x82..=0x84 | 0x88..=0x8f | 0x95..=0x97
    )
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || byte >= 0x80
}

/// Two lines of names.
fn two_names(bytes: &[u8]) -> bool {
    let line = |bytes: &[u8]| {
        let end = bytes.iter().take(200).position(|byte| !is_name_byte(*byte))?;
        let newline = bytes.get(end) == Some(&b'\n') && end > 0;
        let first = bytes.first().is_some_and(|byte| !byte.is_ascii_digit());
        (newline && first).then_some(end + 1)
    };
    line(bytes).and_then(|end| line(bytes.get(end..)?)).is_some()
}

/// `len` bytes of a name.
fn named(bytes: &[u8], len: usize) -> bool {
    let name = bytes.get(..len).unwrap_or_default();
    (1..100).contains(&len) && name.len() == len && name.iter().all(|byte| is_name_byte(*byte))
}

/// The places from `start` to `end` at which a pickle may begin, in order; `found` says where to
/// go on, and ends the search with `None`.
pub(super) fn candidates(
    source: &dyn Source,
    start: u64,
    end: u64,
    mut found: impl FnMut(u64) -> Option<u64>,
) -> std::io::Result<()> {
    let mut at = start;
    let mut block = vec![0; BLOCK + OVERLAP];
    while at < end {
        let filled = read_full(source, at, &mut block)?;
        let bytes = block.get(..filled).unwrap_or_default();
        let limit = usize::try_from(end - at).unwrap_or(usize::MAX).min(BLOCK).min(filled);
        let mut place = 0;
        while place < limit {
            let rest = bytes.get(place..).unwrap_or_default();
            if !is_candidate(rest) {
                place += 1;
                continue;
            }
            let Some(next) = found(at + place as u64) else { return Ok(()) };
            place = usize::try_from(next - at).unwrap_or(usize::MAX).max(place + 1);
        }
        if filled == 0 {
            return Ok(());
        }
        at += place as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pickles_are_found_behind_junk_and_text_is_not() {
        for (bytes, expected) in [
            (&b"junk\x80\x04K\x01."[..], vec![4]),
            (b"\x00\x01cos\nsystem\n(S'id'\ntR.", vec![2]),
            (b"The quick brown fox.\nAnother line of text.\n", vec![]),
            (b"....\x8c\x02os\x8c\x06system\x93", vec![4, 8]),
        ] {
            let mut places = Vec::new();
            candidates(&super::super::ByRef(bytes), 0, bytes.len() as u64, |at| {
                places.push(at);
                Some(at + 1)
            })
            .unwrap();
            for place in expected {
                assert!(places.contains(&place), "{places:?} in {}", bytes.escape_ascii());
            }
        }
    }
}
