//! Segments that are stored compressed: which, by their names, and back again,
//! by their first bytes.
//!
//! What the manifest says of a segment (size, digests) is about the file as it
//! is stored, so that any tool can check it. Writers go by the file's name
//! (`.pickle.zst`, `.pickle.gz`); readers go by what is in it, so a file that
//! somebody compressed or expanded under its old name is read all the same.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::name::EXTENSION;

/// Bytes that a compressed file may hold. A few kilobytes can claim to hold
/// more than any disk does.
pub const MAX_EXPANDED_BYTES: u64 = 64 << 30;

/// Level 3 of zstd compresses pickles about as fast as a disk writes.
#[cfg(feature = "compression")]
const ZSTD_LEVEL: i32 = 3;

/// How segments are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Zstandard: files end in `.pickle.zst`.
    Zstd,
    /// gzip: files end in `.pickle.gz`.
    Gzip,
}

impl Compression {
    /// What is put behind `.pickle`.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::Zstd => ".zst",
            Compression::Gzip => ".gz",
        }
    }

    /// How the segment `file` is to be stored, by its name.
    pub fn of_file(file: &str) -> Option<Self> {
        [Compression::Zstd, Compression::Gzip].into_iter().find(|way| {
            file.strip_suffix(way.suffix()).is_some_and(|rest| rest.ends_with(EXTENSION))
        })
    }

    /// How the bytes that begin like this are stored. No pickle begins so.
    pub fn sniff(first: &[u8]) -> Option<Self> {
        if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Compression::Zstd)
        } else if first.starts_with(&[0x1f, 0x8b]) {
            Some(Compression::Gzip)
        } else {
            None
        }
    }

    /// The name that `file` has when it is stored so.
    pub fn name(self, file: &str) -> String {
        match Compression::of_file(file) {
            Some(_) => file.to_owned(),
            None => format!("{file}{}", self.suffix()),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Zstd => "zstd",
            Compression::Gzip => "gzip",
        })
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "zstd" => Ok(Compression::Zstd),
            "gzip" => Ok(Compression::Gzip),
            _ => Err(Error::usage(format!("compression is zstd or gzip, not {text:?}"))),
        }
    }
}

/// What `file` holds, with the compression put behind its name where one is asked for.
pub(crate) fn stored_name(file: String, how: Option<Compression>) -> String {
    match how {
        Some(how) => how.name(&file),
        None => file,
    }
}

/// Compresses what is written through it, or not.
pub(crate) enum Coder<W: Write> {
    Plain(W),
    #[cfg(feature = "compression")]
    Zstd(zstd::Encoder<'static, W>),
    #[cfg(feature = "compression")]
    Gzip(flate2::write::GzEncoder<W>),
}

impl<W: Write> Coder<W> {
    /// A coder for the segment `file`.
    ///
    /// # Errors
    /// What the library says.
    #[cfg(feature = "compression")]
    pub(crate) fn for_file(file: &str, inner: W) -> io::Result<Self> {
        Ok(match Compression::of_file(file) {
            None => Coder::Plain(inner),
            Some(Compression::Zstd) => Coder::Zstd(zstd::Encoder::new(inner, ZSTD_LEVEL)?),
            Some(Compression::Gzip) => {
                // No time and no name in it: equal segments are equal files.
                Coder::Gzip(flate2::GzBuilder::new().write(inner, flate2::Compression::default()))
            }
        })
    }

    #[cfg(not(feature = "compression"))]
    pub(crate) fn for_file(file: &str, inner: W) -> io::Result<Self> {
        match Compression::of_file(file) {
            None => Ok(Coder::Plain(inner)),
            Some(_) => Err(without()),
        }
    }

    /// What is written to.
    pub(crate) fn get_ref(&self) -> &W {
        match self {
            Coder::Plain(inner) => inner,
            #[cfg(feature = "compression")]
            Coder::Zstd(coder) => coder.get_ref(),
            #[cfg(feature = "compression")]
            Coder::Gzip(coder) => coder.get_ref(),
        }
    }

    /// Writes the end.
    ///
    /// # Errors
    /// What writing says.
    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Coder::Plain(inner) => Ok(inner),
            #[cfg(feature = "compression")]
            Coder::Zstd(coder) => coder.finish(),
            #[cfg(feature = "compression")]
            Coder::Gzip(coder) => coder.finish(),
        }
    }
}

impl<W: Write> Write for Coder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Coder::Plain(inner) => inner.write(bytes),
            #[cfg(feature = "compression")]
            Coder::Zstd(coder) => coder.write(bytes),
            #[cfg(feature = "compression")]
            Coder::Gzip(coder) => coder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Coder::Plain(inner) => inner.flush(),
            // A flush in the middle costs compression, and makes nothing durable.
            #[cfg(feature = "compression")]
            Coder::Zstd(_) | Coder::Gzip(_) => Ok(()),
        }
    }
}

#[cfg(not(feature = "compression"))]
fn without() -> io::Error {
    let message = "this picklet was built without compression";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

/// The expanded bytes of what `source` gives.
///
/// # Errors
/// What the library says.
#[cfg(feature = "compression")]
pub(crate) fn expand<'a>(
    how: Compression,
    source: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match how {
        Compression::Zstd => Box::new(zstd::Decoder::new(source)?),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
    })
}

#[cfg(not(feature = "compression"))]
pub(crate) fn expand<'a>(
    _how: Compression,
    _source: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    Err(without())
}

/// The pickle in `bytes`: themselves where they are not compressed.
///
/// # Errors
/// In one line, what is wrong with them.
pub(crate) fn plain(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let Some(how) = Compression::sniff(&bytes) else { return Ok(bytes) };
    let mut expanded = Vec::new();
    copy(how, bytes.as_slice(), |block| {
        if expanded.try_reserve(block.len()).is_err() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        expanded.extend_from_slice(block);
        Ok(())
    })?;
    Ok(expanded)
}

/// Hands the expanded bytes of `source` to `take`, block by block.
///
/// # Errors
/// In one line, what is wrong with them, or what `take` said.
pub(crate) fn copy(
    how: Compression,
    source: impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), String> {
    let told = |e: io::Error| format!("it cannot be expanded ({how}): {e}");
    let mut expanded = expand(how, source).map_err(told)?;
    let mut block = vec![0; 256 << 10];
    let mut total = 0u64;
    loop {
        let read = match expanded.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(told(e)),
        };
        total += read as u64;
        if total > MAX_EXPANDED_BYTES {
            return Err(format!(
                "it cannot be expanded ({how}): it holds more than {MAX_EXPANDED_BYTES} bytes"
            ));
        }
        take(block.get(..read).unwrap_or_default()).map_err(told)?;
    }
}
