//! What `__reduce_ex__` would have made for the moment, written without making it.
//!
//! Nothing else can refer to these tuples, texts and bytes: they are memoised for C's bytes alone.
//! For hot pure runs only.

use super::{Done, Encoder};

impl Encoder<'_, '_> {
    /// Begins a tuple of so many items, which follow.
    pub(super) fn begin_passing_tuple(&mut self, len: usize) -> Done {
        self.out.opcode_boundary()?;
        if len > 3 { Ok(self.out.byte(b'(')?) } else { Ok(()) }
    }

    pub(super) fn end_passing_tuple(&mut self, len: usize) -> Done {
        let opcode = match len {
            // One object, never memoised.
            0 => return Ok(self.out.byte(b')')?),
            1..=3 => 0x84 + len as u8,
            _ => b't',
        };
        self.out.byte(opcode)?;
        self.memoize_passing()
    }

    pub(super) fn passing_int(&mut self, value: i32) -> Done {
        self.out.begin_value()?;
        self.small_int(value);
        Ok(())
    }

    /// ASCII of fewer than 256 bytes.
    pub(super) fn passing_text(&mut self, text: &str) -> Done {
        self.passing_short(0x8c, text.as_bytes())
    }

    /// Fewer than 256 bytes.
    pub(super) fn passing_bytes(&mut self, bytes: &[u8]) -> Done {
        self.passing_short(b'C', bytes)
    }

    fn passing_short(&mut self, opcode: u8, bytes: &[u8]) -> Done {
        debug_assert!(bytes.len() < 256);
        self.out.begin_value()?;
        self.out.word(u64::from(opcode) | (bytes.len() as u64) << 8, 2);
        self.out.short(bytes);
        self.memoize_passing()
    }

    fn memoize_passing(&mut self) -> Done {
        if self.put_unshared { self.emit_put() } else { Ok(()) }
    }
}
