//! What some bytes are, told from the bytes.

use std::fmt;
use std::io;

use picklet_codec::scan::{Look, Source as _, look};

use super::data::Data;
use super::tar_header;

/// What a file or a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One pickle, or several one after another.
    Pickle,
    /// torch's zip container.
    TorchZip,
    /// torch's format before version 1.6: pickles and raw data in one file.
    TorchLegacy,
    /// A zip archive.
    Zip,
    /// A tar archive.
    Tar,
    /// numpy's file of one array.
    Npy,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// lzma without a container.
    Lzma,
    /// zstd.
    Zstd,
    /// zlib.
    Zlib,
    /// lz4's frame.
    Lz4,
    /// zlib behind a length, as the first versions of joblib wrote it.
    Zfile,
    /// None of these: passed over, once it was searched for pickles.
    Else,
}

impl Format {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Pickle => "pickle",
            Format::TorchZip => "torch zip",
            Format::TorchLegacy => "torch legacy",
            Format::Zip => "zip",
            Format::Tar => "tar",
            Format::Npy => "npy",
            Format::Gzip => "gzip",
            Format::Bzip2 => "bzip2",
            Format::Xz => "xz",
            Format::Lzma => "lzma",
            Format::Zstd => "zstd",
            Format::Zlib => "zlib",
            Format::Lz4 => "lz4",
            Format::Zfile => "joblib zfile",
            Format::Else => "no pickle",
        }
    }

    /// Whether it is one stream of compressed bytes.
    pub(super) const fn is_stream(self) -> bool {
        matches!(
            self,
            Format::Gzip
                | Format::Bzip2
                | Format::Xz
                | Format::Lzma
                | Format::Zstd
                | Format::Zlib
                | Format::Lz4
                | Format::Zfile
        )
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The number that torch's old format begins with, as a pickle, without its protocol.
const TORCH_MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether torch's old format begins here, of whatever protocol; from 4 on there is a frame.
fn is_torch_legacy(head: &[u8]) -> bool {
    match head {
        [0x80, 2..=5, 0x95, _, _, _, _, _, _, _, _, rest @ ..] | [0x80, 2..=5, rest @ ..] => {
            rest.starts_with(TORCH_MAGIC)
        }
        _ => false,
    }
}

/// What some bytes are.
pub(super) struct Sniffed {
    pub(super) format: Format,
    /// How they begin as a pickle, beside being what they are.
    pub(super) look: Look,
    /// They end as a zip archive does, though they do not begin as one.
    pub(super) zip_behind: bool,
}

/// Bytes at the end in which a zip archive's last record may begin.
const ZIP_TAIL: usize = (1 << 16) + 22;

/// Tells what `data` is.
pub(super) fn sniff(data: &Data<'_>) -> io::Result<Sniffed> {
    let head = data.bytes(0, 512)?;
    let look = look(data)?;
    let format = by_magic(&head).unwrap_or(match look {
        Look::Pickle | Look::Broken => Format::Pickle,
        Look::Else => Format::Else,
    });
    let zip_behind = format != Format::Zip && {
        let start = data.len().saturating_sub(ZIP_TAIL as u64);
        let tail = data.bytes(start, ZIP_TAIL)?;
        tail.windows(4).any(|four| four == b"PK\x05\x06")
    };
    Ok(Sniffed { format, look, zip_behind })
}

/// What bytes begin as, told by their first few alone.
pub(super) fn by_magic(head: &[u8]) -> Option<Format> {
    Some(match head {
        _ if is_torch_legacy(head) => Format::TorchLegacy,
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Format::Zip,
        [0x1f, 0x8b, 8, ..] => Format::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Format::Lz4,
        [b'Z', b'F', b'0', b'x', ..] => Format::Zfile,
        _ if is_lzma(head) => Format::Lzma,
        [0x78, flags @ (0x01 | 0x5e | 0x9c | 0xda), ..]
            if (0x7800 | u16::from(*flags)) % 31 == 0 =>
        {
            Format::Zlib
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Format::Npy,
        _ if tar_header::is_one(head) => Format::Tar,
        _ => return None,
    })
}

/// The header of lzma without a container, as liblzma recognises it: it has no magic, but only a
/// few sizes of its window, and lengths below 256 GiB, are taken.
fn is_lzma(head: &[u8]) -> bool {
    let [properties, a, b, c, d, length @ ..] = head else { return false };
    let Some(length) = length.first_chunk::<8>().map(|length| u64::from_le_bytes(*length)) else {
        return false;
    };
    let window = u32::from_le_bytes([*a, *b, *c, *d]);
    // 2^n, or half as much again. joblib looks only for 0x5D and a zero.
    let usual = window == u32::MAX
        || window.is_power_of_two()
        || window.is_multiple_of(3) && (window / 3).is_power_of_two();
    let for_joblib = *properties == 0x5d && *a == 0;
    *properties < 225 && (usual || for_joblib) && (length == u64::MAX || length < 1 << 38)
}
