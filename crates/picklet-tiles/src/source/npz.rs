//! Members of `.npz` files, which are zip files of `.npy` files: stored ones are read where they
//! lie, compressed ones are unpacked into a temporary file.

use std::io::{self, BufReader};
use std::sync::Arc;

use picklet_segments::{Error, Input, ReadAt, Result};
use zip::{CompressionMethod, ZipArchive, result::ZipError};

use super::{Opened, Seeking, Shared, one_line, open_npy, spool};

/// What a zip file with at least one member begins with.
pub(super) const MAGIC: &[u8; 4] = b"PK\x03\x04";

/// Arrays named in one message.
const NAMED: usize = 8;

/// Opens the array `member`; without one, the only array there is.
pub(super) fn open(input: &Arc<Input>, member: Option<&str>) -> Result<Opened> {
    let path = input.path();
    let bad = |e: ZipError| match e {
        ZipError::Io(e) if e.kind() != io::ErrorKind::UnexpectedEof => Error::io("read", path, e),
        e => Error::input(path, None, one_line("is a damaged .npz file", &e)),
    };
    let mut archive =
        ZipArchive::new(BufReader::with_capacity(64 << 10, Seeking::new(input))).map_err(bad)?;
    let mut arrays: Vec<String> = archive
        .file_names()
        .filter_map(|name| name.ok().map(|name| name.into_owned()))
        .filter(|name| name.ends_with(".npy"))
        .collect();
    arrays.sort();
    let stem = |name: &str| name.strip_suffix(".npy").unwrap_or(name).to_owned();
    let chosen = match (member, arrays.as_slice()) {
        (Some(member), _) => arrays.iter().find(|name| **name == member || stem(name) == member),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let Some(chosen) = chosen else {
        let mut names: Vec<String> = arrays.iter().take(NAMED).map(|name| stem(name)).collect();
        if arrays.len() > NAMED {
            names.push(format!("{} more", arrays.len() - NAMED));
        }
        let said = member.map(|m| format!("has no array {m:?}; ")).unwrap_or_default();
        return Err(Error::input(
            path,
            None,
            format!(
                "{said}it holds {} arrays ({}); choose one by its name as the member",
                arrays.len(),
                names.join(", ").escape_debug()
            ),
        ));
    };
    let mut file = archive.by_name(chosen).map_err(bad)?;
    let named = path.join(chosen);
    if file.compression() == CompressionMethod::Stored
        && let Some(start) = file.data_start()
    {
        let part = Part { input: input.clone(), start, size: file.size() };
        let inner = Input::read_at(named.to_string_lossy(), Box::new(part))?;
        return open_npy(&Arc::new(inner), "npz");
    }
    let unpacked = spool(&named, |out| {
        let mut reader = BufReader::with_capacity(256 << 10, &mut file);
        io::copy(&mut reader, out).map(drop)
    })?;
    open_npy(&Arc::new(unpacked), "npz")
}

/// A part of an input.
struct Part {
    input: Arc<Input>,
    start: u64,
    size: u64,
}

impl ReadAt for Part {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.size.saturating_sub(offset);
        let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let place = buffer.get_mut(..want).unwrap_or_default();
        Shared(self.input.clone()).read_at(self.start.saturating_add(offset), place)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
