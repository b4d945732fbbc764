//! tar's headers: blocks that end in nothing but a sum of their bytes.

use std::io::{self, Read};

/// Bytes of a block.
const BLOCK: usize = 512;

/// Where a header keeps the sum of its bytes, in octal.
const FIELD: std::ops::Range<usize> = 148..156;

/// Whether a block is a header. Some programs add its bytes as signed ones, and tarfile takes that
/// as well.
pub(super) fn is_one(block: &[u8]) -> bool {
    let told = told(block);
    told.is_some() && (told == Some(unsigned(block)) || told == Some(signed(block)))
}

fn told(block: &[u8]) -> Option<i64> {
    let field = block.get(FIELD).filter(|_| block.len() == BLOCK)?;
    let digits: String = field
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|c| *c == ' ')
        .take_while(|c| c.is_digit(8))
        .collect();
    i64::from_str_radix(&digits, 8).ok()
}

/// The bytes, with those of the sum taken as blanks.
fn summed(block: &[u8]) -> impl Iterator<Item = u8> {
    block.iter().enumerate().map(|(at, byte)| if FIELD.contains(&at) { b' ' } else { *byte })
}

fn unsigned(block: &[u8]) -> i64 {
    summed(block).map(i64::from).sum()
}

fn signed(block: &[u8]) -> i64 {
    summed(block).map(|byte| i64::from(byte.cast_signed())).sum()
}

/// Gives an archive as it is, but for the sums of signed bytes, which the tar crate refuses.
pub(super) struct Unsigned<R> {
    inner: R,
    block: [u8; BLOCK],
    left: std::ops::Range<usize>,
}

impl<R: Read> Unsigned<R> {
    pub(super) fn new(inner: R) -> Self {
        Unsigned { inner, block: [0; BLOCK], left: 0..0 }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = self.block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.left = 0..filled;
        if filled == BLOCK && is_one(&self.block) {
            let sum = format!("{:06o}\0 ", unsigned(&self.block));
            if let Some(field) = self.block.get_mut(FIELD).filter(|field| field.len() == sum.len())
            {
                field.copy_from_slice(sum.as_bytes());
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Unsigned<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            self.next_block()?;
        }
        let block = self.block.get(self.left.clone()).unwrap_or_default();
        let count = block.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), block.get(..count)) {
            to.copy_from_slice(from);
        }
        self.left.start += count;
        Ok(count)
    }
}
