//! Payloads that old protocols hold as text: characters that are the bytes.
//!
//! Protocols 1 and 2 write bytes as UTF-8 of their Latin-1 characters, protocol 0 as a line with
//! `\u` escapes for what a line cannot hold. Both are turned back here, whole or block by block
//! into a spool file.

use std::io::{self, Write};

use picklet_segments::array::Encoding;

/// The bytes that `text` stands for; `None` when it is no such text.
pub(crate) fn decode(text: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut decoder = Decoder::new(encoding);
    decoder.push(text, &mut out).ok()?;
    decoder.is_done().then_some(out)
}

/// Decodes block by block.
pub(crate) struct Decoder {
    encoding: Encoding,
    /// Bytes of a character whose end has not come yet.
    begun: Vec<u8>,
}

/// The text is no such text.
#[derive(Debug)]
pub(crate) struct Bad;

impl Decoder {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Decoder { encoding, begun: Vec::new() }
    }

    /// Whether no character is left half.
    pub(crate) fn is_done(&self) -> bool {
        self.begun.is_empty()
    }

    /// Decodes the next block into `out`.
    pub(crate) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        match self.encoding {
            Encoding::Raw => {
                out.extend_from_slice(text);
                Ok(())
            }
            Encoding::Utf8 => self.utf8(text, out),
            Encoding::Escaped => self.escaped(text, out),
        }
    }

    fn utf8(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        for byte in text {
            match (self.begun.pop(), byte) {
                (None, 0..=0x7f) => out.push(*byte),
                (None, 0xc2 | 0xc3) => self.begun.push(*byte),
                (Some(first), 0x80..=0xbf) => out.push((first << 6) | (byte & 0x3f)),
                _ => return Err(Bad),
            }
        }
        Ok(())
    }

    /// `\u000a` for a line feed, and the like; a backslash before anything else is itself.
    fn escaped(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
        for byte in text {
            self.begun.push(*byte);
            match self.begun.as_slice() {
                [b'\\'] | [b'\\', b'u'] => {}
                [b'\\', b'u', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit) => {
                    if let [b'0', b'0', high, low] = digits {
                        let digit = |c: u8| char::from(c).to_digit(16);
                        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                            return Err(Bad);
                        };
                        out.push(u8::try_from(high * 16 + low).map_err(|_| Bad)?);
                        self.begun.clear();
                    } else if digits.len() > 3 {
                        return Err(Bad);
                    }
                }
                [b'\\', b'u', ..] => return Err(Bad),
                _ => out.append(&mut self.begun),
            }
        }
        Ok(())
    }
}

/// Decodes what `read` gives until it gives nothing into `out`.
///
/// # Errors
/// Those of both; [`io::ErrorKind::InvalidData`] when it is no such text.
pub(crate) fn spool(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    encoding: Encoding,
    out: &mut impl Write,
) -> io::Result<()> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "its array is no text of bytes");
    let mut block = vec![0; 256 << 10];
    let mut decoded = Vec::new();
    let mut decoder = Decoder::new(encoding);
    loop {
        let there = read(&mut block)?;
        if there == 0 {
            break;
        }
        decoded.clear();
        decoder.push(block.get(..there).unwrap_or_default(), &mut decoded).map_err(|_| bad())?;
        out.write_all(&decoded)?;
    }
    if decoder.is_done() { Ok(()) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_from_either_text_cut_anywhere() {
        let bytes: Vec<u8> = (0..=255).chain([b'\\', b'x', b'\\']).collect();
        let utf8: Vec<u8> = bytes.iter().map(|b| char::from(*b)).collect::<String>().into_bytes();
        let mut escaped = Vec::new();
        for byte in &bytes {
            match byte {
                0 | b'\n' | b'\r' | 0x1a | b'\\' => {
                    escaped.extend(format!("\\u{byte:04x}").bytes())
                }
                byte => escaped.push(*byte),
            }
        }
        for (text, encoding) in [(utf8, Encoding::Utf8), (escaped, Encoding::Escaped)] {
            assert_eq!(decode(&text, encoding).as_ref(), Some(&bytes));
            for step in 1..8 {
                let mut out = Vec::new();
                let mut parts = text.chunks(step);
                let read = |block: &mut [u8]| {
                    let part = parts.next().unwrap_or_default();
                    block[..part.len()].copy_from_slice(part);
                    Ok(part.len())
                };
                spool(read, encoding, &mut out).unwrap();
                assert_eq!(out, bytes);
            }
        }
        assert_eq!(decode("€".as_bytes(), Encoding::Utf8), None);
        assert_eq!(decode(b"\\u0100", Encoding::Escaped), None);
        assert_eq!(decode(b"\xc3", Encoding::Utf8), None);
    }
}
