//! The loop over opcodes, and those that need little more than the stack.

use super::input::Cursor;
use super::{Decoder, build};
use crate::object::{self, Obj, Owned, Raised};

impl Decoder<'_, '_> {
    /// Makes `n` bytes available; the cursor moves to where they are.
    #[cold]
    #[inline(never)]
    fn more(&mut self, cursor: Cursor, n: usize) -> Result<Cursor, Raised> {
        self.input.seek(cursor);
        self.before_reading();
        self.input.require(n)?;
        Ok(self.input.cursor())
    }

    /// As [`Decoder::more`], for an opcode: the end of the input is `EOFError`.
    #[cold]
    #[inline(never)]
    fn more_opcodes(&mut self, cursor: Cursor) -> Result<Cursor, Raised> {
        self.input.seek(cursor);
        self.before_reading();
        self.input.require_opcode()?;
        Ok(self.input.cursor())
    }

    /// A file's methods may run Python code, and let other threads run.
    fn before_reading(&mut self) {
        if self.input.is_file() && !self.memo.is_empty() {
            self.strengthen();
        }
    }

    pub(super) fn run(&mut self) -> Result<Owned, Raised> {
        let fresh = &self.state.fresh;
        // The place in the window is a local of this loop; `self.input` knows it whenever
        // anything else is called.
        let mut cursor = self.input.cursor();
        /// The next `$n` bytes, as a pointer.
        macro_rules! take {
            ($n:expr) => {{
                let n = $n;
                if cursor.left() < n {
                    cursor = self.more(cursor, n)?;
                }
                cursor.advance(n)
            }};
        }
        macro_rules! array {
            ($n:literal) => {{
                let at = take!($n);
                // SAFETY: `take` made sure of that many bytes.
                unsafe { at.cast::<[u8; $n]>().read_unaligned() }
            }};
        }
        macro_rules! text {
            ($n:expr) => {{
                let n = $n;
                let at = take!(n);
                // SAFETY: `take` made sure of that many bytes; they are read before it is used
                // again.
                let bytes = unsafe { std::slice::from_raw_parts(at, n) };
                // Empty and one-character strings are singletons that the interpreter gives.
                if n >= 2 && bytes.is_ascii() {
                    fresh.ascii(bytes)?
                } else {
                    build::text_slowly(bytes)?
                }
            }};
        }
        loop {
            if cursor.left() == 0 {
                cursor = self.more_opcodes(cursor)?;
            }
            // SAFETY: at least one byte is left.
            let opcode = unsafe { *cursor.advance(1) };
            match opcode {
                0x94 => {
                    let top = self.top()?;
                    let index = self.memo.push(top);
                    if !self.pending_dtypes.is_empty() {
                        self.note_dtype(top, index);
                    }
                }
                0x8c => {
                    let [len] = array!(1);
                    let text = text!(usize::from(len));
                    self.push(text);
                }
                b'K' => {
                    let [value] = array!(1);
                    self.push(fresh.int(i32::from(value))?);
                }
                b'h' => {
                    let [index] = array!(1);
                    self.get(u64::from(index))?;
                }
                b'q' => {
                    let [index] = array!(1);
                    self.put(u64::from(index))?;
                }
                b'(' => {
                    self.marks.push(self.stack.len());
                    self.fence = self.stack.len();
                }
                b'u' => {
                    let mark = self.pop_mark()?;
                    self.set_items(mark)?;
                }
                b'e' => {
                    let mark = self.pop_mark()?;
                    self.append(mark)?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(array!(8));
                    self.push(fresh.float(value)?);
                }
                b'J' => {
                    let value = i32::from_le_bytes(array!(4));
                    self.push(fresh.int(value)?);
                }
                b'M' => {
                    let value = u16::from_le_bytes(array!(2));
                    self.push(fresh.int(i32::from(value))?);
                }
                b']' => self.push(build::empty_list()?),
                b'}' => self.push(build::empty_dict()?),
                b'N' => self.push(object::none().to_owned()),
                0x88 => self.push(object::boolean(true).to_owned()),
                0x89 => self.push(object::boolean(false).to_owned()),
                b'j' => {
                    let index = u32::from_le_bytes(array!(4));
                    self.get(u64::from(index))?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(array!(4));
                    self.put(u64::from(index))?;
                }
                b'X' => {
                    let len = u32::from_le_bytes(array!(4));
                    let text = text!(len as usize);
                    self.push(text);
                }
                0x85..=0x87 => self.build_tuple(usize::from(opcode - 0x84))?,
                b')' => self.build_tuple(0)?,
                b'a' => {
                    let item = self.stack.len().wrapping_sub(1);
                    if self.stack.len() <= self.fence {
                        return self.underflow();
                    }
                    self.append(item)?;
                }
                b's' => {
                    if self.stack.len() < self.fence + 2 {
                        return self.underflow();
                    }
                    self.set_items(self.stack.len() - 2)?;
                }
                b't' => {
                    let mark = self.pop_mark()?;
                    let items = self.stack.len() - mark;
                    self.build_tuple(items)?;
                }
                b'.' => {
                    self.input.seek(cursor);
                    return self.stop();
                }
                _ => {
                    self.input.seek(cursor);
                    self.rare(opcode)?;
                    cursor = self.input.cursor();
                }
            }
        }
    }

    fn stop(&mut self) -> Result<Owned, Raised> {
        let value = self.pop()?;
        self.before_reading();
        self.input.finish()?;
        if self.options.guard.is_some() && !self.known.is_collecting() {
            self.refuse_unfinished()?;
        }
        Ok(value)
    }

    #[inline(never)]
    fn rare(&mut self, opcode: u8) -> Result<(), Raised> {
        self.before_reading();
        match opcode {
            0x8a => {
                let [len] = self.input.array()?;
                let long = build::long(self.input.take(usize::from(len))?)?;
                self.push(long);
            }
            0x95 => {
                let len = u64::from_le_bytes(self.input.array()?);
                self.input.frame(len)?;
            }
            b'0' => return self.pop_one(),
            b'1' => {
                let mark = self.pop_mark()?;
                self.bury(mark);
            }
            b'2' => {
                let top = self.top()?.to_owned();
                self.push(top);
            }
            b'l' => {
                let mark = self.pop_mark()?;
                let list = build::list(self.stack.drain(mark..))?;
                self.push(list);
            }
            b'd' => return self.build_dict(),
            0x8f => self.push(build::empty_set()?),
            0x90 => return self.add_items(),
            0x91 => return self.build_frozenset(),
            b'C' => {
                let [len] = self.input.array()?;
                let bytes = build::bytes(self.input.take(usize::from(len))?)?;
                self.push(bytes);
            }
            b'B' => {
                let len = u32::from_le_bytes(self.input.array()?);
                return self.large_bytes(u64::from(len), false);
            }
            0x8e => {
                let len = u64::from_le_bytes(self.input.array()?);
                return self.large_bytes(len, false);
            }
            0x96 => {
                let len = u64::from_le_bytes(self.input.array()?);
                return self.large_bytes(len, true);
            }
            0x8d => {
                let len = u64::from_le_bytes(self.input.array()?);
                let Ok(len) = isize::try_from(len) else {
                    return self.too_large("BINUNICODE");
                };
                let text = build::text(self.input.take(len.unsigned_abs())?)?;
                self.push(text);
            }
            0x8b => {
                let len = i32::from_le_bytes(self.input.array()?);
                let Ok(len) = usize::try_from(len) else {
                    return self.fail("LONG pickle has negative byte count");
                };
                let long = build::long(self.input.take(len)?)?;
                self.push(long);
            }
            0x80 => {
                let [protocol] = self.input.array()?;
                if protocol > crate::encode::HIGHEST_PROTOCOL {
                    return Err(pyo3::exceptions::PyValueError::new_err(format!(
                        "unsupported pickle protocol: {protocol}"
                    ))
                    .into());
                }
                self.protocol = protocol;
                if let Some(seen) = &self.options.seen_protocol {
                    seen.set(protocol);
                }
            }
            _ => return self.rarer(opcode),
        }
        Ok(())
    }

    /// What imports or calls, or is read from text.
    fn rarer(&mut self, opcode: u8) -> Result<(), Raised> {
        self.strengthen();
        match opcode {
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            0x81 => self.newobj(),
            0x92 => self.newobj_ex(),
            b'o' => self.obj(),
            b'i' => self.inst(),
            0x82 => {
                let [code] = self.input.array()?;
                self.extension(i64::from(code))
            }
            0x83 => {
                let code = u16::from_le_bytes(self.input.array()?);
                self.extension(i64::from(code))
            }
            0x84 => {
                let code = i32::from_le_bytes(self.input.array()?);
                self.extension(i64::from(code))
            }
            b'P' => self.persistent_text(),
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)
            }
            0x97 => self.next_buffer(),
            0x98 => self.readonly_buffer(),
            b'I' => self.text_int(),
            b'L' => self.text_long(),
            b'F' => self.text_float(),
            b'S' => self.text_string(),
            b'T' => {
                let len = u32::from_le_bytes(self.input.array()?);
                self.py2_string(len as usize)
            }
            b'U' => {
                let [len] = self.input.array()?;
                self.py2_string(usize::from(len))
            }
            b'V' => self.text_unicode(),
            b'g' => {
                let index = self.text_index()?;
                self.get_signed(index)
            }
            b'p' => {
                // C looks for an object after the line and before its number.
                if self.stack.len() <= self.fence {
                    self.text_line()?;
                    return self.underflow();
                }
                let index = self.text_index()?;
                let Ok(index) = u64::try_from(index) else {
                    return Err(
                        pyo3::exceptions::PyValueError::new_err("negative PUT argument").into()
                    );
                };
                self.put(index)
            }
            _ => self.unknown(opcode),
        }
    }

    #[cold]
    fn unknown(&self, opcode: u8) -> Result<(), Raised> {
        if (0x20..=0x7e).contains(&opcode) && opcode != b'\'' && opcode != b'\\' {
            return self.fail(format!("invalid load key, '{}'.", char::from(opcode)));
        }
        self.fail(format!("invalid load key, '\\x{opcode:02x}'."))
    }

    #[inline(always)]
    fn get(&mut self, index: u64) -> Result<(), Raised> {
        match self.memo.get(index) {
            Some(value) => {
                let value = value.to_owned();
                self.push(value);
                Ok(())
            }
            None => self.fail(format!("Memo value not found at index {index}")),
        }
    }

    fn get_signed(&mut self, index: i64) -> Result<(), Raised> {
        match u64::try_from(index) {
            Ok(index) => self.get(index),
            Err(_) => self.fail(format!("Memo value not found at index {index}")),
        }
    }

    #[inline(always)]
    fn put(&mut self, index: u64) -> Result<(), Raised> {
        let top = self.top()?;
        self.memo.put(index, top);
        if !self.pending_dtypes.is_empty() {
            self.note_dtype(top, index);
        }
        Ok(())
    }

    #[cold]
    fn note_dtype(&mut self, top: Obj, index: u64) {
        if let Some((_, indexes)) = self.pending_dtypes.get_mut(&(top.ptr() as usize)) {
            indexes.push(index);
        }
    }

    /// POP: the topmost object, or a mark with nothing behind it.
    fn pop_one(&mut self) -> Result<(), Raised> {
        if self.marks.last() == Some(&self.stack.len()) {
            return self.pop_mark().map(drop);
        }
        if self.stack.len() <= self.fence {
            return self.underflow();
        }
        self.bury(self.stack.len() - 1);
        Ok(())
    }
}
