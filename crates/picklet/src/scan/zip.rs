//! Zip archives as different readers see them: by their directory, by their local headers, and
//! by what lies between.

use std::collections::HashSet;
use std::io;

use picklet_codec::scan::{Rule, Severity, Source as _};
use rawzip::ZipLocator;

use super::data::Data;
use super::expand;
use super::sniff::Format;
use super::walk::{Place, Walk};

/// How far from its end an archive's last record is looked for: its comment's greatest length.
const END_SEARCH: u64 = (1 << 16) + 22;

/// A data descriptor behind a member's bytes: at most so long.
const DESCRIPTOR: u64 = 24;

struct At<'a>(&'a Data<'a>);

impl rawzip::ReaderAt for At<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }
}

/// One member as the directory lists it.
struct Listed {
    name: Vec<u8>,
    method: u16,
    encrypted: bool,
    described: bool,
    packed: u64,
    size: u64,
    header: u64,
}

/// What stands before a member's bytes.
struct Local {
    name: Vec<u8>,
    method: u16,
    encrypted: bool,
    described: bool,
    packed: u32,
    /// Where the bytes begin.
    start: u64,
}

/// Scans the members of the archive in `data`; false if there is no directory.
pub(super) fn members(walk: &mut Walk<'_>, data: &Data<'_>, place: &Place) -> io::Result<bool> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let locator = ZipLocator::new().max_search_space(END_SEARCH);
    let Ok(archive) = locator.locate_in_reader(At(data), &mut buffer, data.len()) else {
        return Ok(false);
    };
    let directory = archive.directory_offset();
    let mut listed = Vec::new();
    {
        let mut entries = archive.entries(&mut buffer);
        loop {
            let entry = match entries.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(error) => {
                    walk.damage(place, directory, format!("its directory is damaged: {error}"));
                    break;
                }
            };
            if !walk.one_more_member(place) {
                break;
            }
            listed.push(Listed {
                name: entry.file_path().as_bytes().to_vec(),
                method: entry.compression_method().as_u16(),
                encrypted: entry.flags().is_encrypted(),
                described: entry.flags().bits() & 1 << 3 != 0,
                packed: entry.compressed_size_hint(),
                size: entry.uncompressed_size_hint(),
                header: entry.local_header_offset(),
            });
        }
    }
    let ends_with = |end: &[u8]| listed.iter().any(|member| member.name.ends_with(end));
    let torch = ends_with(b"/data.pkl") && (ends_with(b"/version") || ends_with(b"/byteorder"));
    if torch {
        walk.note(Format::TorchZip);
    }
    let mut covered: Vec<(u64, u64)> = Vec::new();
    let mut names = HashSet::new();
    for member in &listed {
        // Some readers end a name at a NUL.
        let plain = member.name.split(|byte| *byte == 0).next().unwrap_or_default();
        if !names.insert(plain.to_vec()) {
            walk.duplicate(place, &shown(&member.name));
        }
        if let Some(range) = one(walk, data, place, member, torch)? {
            covered.push(range);
        }
    }
    covered.push((directory, data.len()));
    covered.sort_unstable();
    between(walk, data, place, &covered)?;
    Ok(true)
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Scans one member; gives the range that it covers.
fn one(
    walk: &mut Walk<'_>,
    data: &Data<'_>,
    place: &Place,
    member: &Listed,
    torch: bool,
) -> io::Result<Option<(u64, u64)>> {
    let mut inner = place.below(&shown(&member.name));
    inner.torch = torch;
    let Some(local) = local(data, member.header)? else {
        walk.add(
            &inner,
            Rule::MismatchedMember,
            Severity::Suspicious,
            member.header,
            format!(
                "the archive's directory lists it at byte {}, where no member begins",
                member.header
            ),
        );
        return Ok(None);
    };
    let sizes_differ = !local.described
        && !member.described
        && local.packed != u32::MAX
        && u64::from(local.packed) != member.packed;
    let what = if local.name != member.name {
        Some(format!("is called {:?} by its own header", shown(&local.name)))
    } else if local.method != member.method {
        Some("is packed in another way by its own header".into())
    } else if local.encrypted != member.encrypted {
        Some("is encrypted by the one and not by the other".into())
    } else if sizes_differ {
        Some("has another size by its own header".into())
    } else {
        None
    };
    let mismatched = what.is_some();
    if let Some(what) = what {
        walk.add(
            &inner,
            Rule::MismatchedMember,
            Severity::Suspicious,
            member.header,
            format!(
                "what the archive's directory lists so {what}: readers may see different files"
            ),
        );
    }
    if member.encrypted || local.encrypted {
        walk.add(
            &inner,
            Rule::EncryptedMember,
            Severity::Suspicious,
            member.header,
            "it is encrypted, or says so: what is in it could not be looked at".into(),
        );
    }
    let end = local.start.saturating_add(member.packed);
    if end > data.len() {
        walk.damage(&inner, local.start, "its bytes reach past the end of the archive".into());
    }
    unpack(walk, data, &inner, local.start, member.packed, member.method, member.size)?;
    if mismatched && (local.method != member.method || sizes_differ) {
        let size = if sizes_differ { u64::from(local.packed) } else { member.packed };
        unpack(walk, data, &inner, local.start, size, local.method, u64::MAX)?;
    }
    let described = if local.described || member.described { DESCRIPTOR } else { 0 };
    Ok(Some((member.header, end.saturating_add(described))))
}

/// Scans `packed` bytes from `start`, which are packed by `method`.
fn unpack(
    walk: &mut Walk<'_>,
    data: &Data<'_>,
    inner: &Place,
    start: u64,
    packed: u64,
    method: u16,
    size: u64,
) -> io::Result<()> {
    let part = data.part(start, packed);
    if method == 0 {
        if !part.is_empty() {
            walk.any(&part, inner);
        }
        return Ok(());
    }
    if part.is_empty() || size == 0 && packed <= 2 {
        return Ok(());
    }
    match expand::inflate(method, &part, walk.expanded_left)? {
        Some(copied) => {
            if copied.error.is_some() && copied.data.is_empty() {
                // It may be stored after all.
                walk.any(&part, inner);
            }
            walk.report.members -= 1;
            walk.copied(copied, inner);
        }
        None => walk.unscanned(inner, format!("zip's method {method} is not known here")),
    }
    Ok(())
}

/// The local header at `offset`.
fn local(data: &Data<'_>, offset: u64) -> io::Result<Option<Local>> {
    let head = data.bytes(offset, 30)?;
    let word = |at: usize| -> u16 {
        match head.get(at..at + 2) {
            Some([low, high]) => u16::from_le_bytes([*low, *high]),
            _ => 0,
        }
    };
    if !head.starts_with(b"PK\x03\x04") || head.len() < 30 {
        return Ok(None);
    }
    let (name_len, extra_len) = (usize::from(word(26)), u64::from(word(28)));
    let name = data.bytes(offset + 30, name_len)?;
    Ok(Some(Local {
        name,
        method: word(8),
        encrypted: word(6) & 1 != 0,
        described: word(6) & 1 << 3 != 0,
        packed: u32::from(word(18)) | u32::from(word(20)) << 16,
        start: offset + 30 + name_len as u64 + extra_len,
    }))
}

/// Looks at what no listed member covers: members that the directory does not list, and bytes
/// before, between and behind them.
fn between(
    walk: &mut Walk<'_>,
    data: &Data<'_>,
    place: &Place,
    covered: &[(u64, u64)],
) -> io::Result<()> {
    let mut at = 0;
    for &(start, end) in covered {
        if start > at {
            gap(walk, data, place, at, start)?;
        }
        at = at.max(end);
    }
    Ok(())
}

fn gap(walk: &mut Walk<'_>, data: &Data<'_>, place: &Place, from: u64, to: u64) -> io::Result<()> {
    let part = data.part(from, to - from);
    let mut at = 0;
    let mut blank = true;
    while at < part.len() {
        let block = part.bytes(at, 1 << 20)?;
        if block.is_empty() {
            break;
        }
        blank &= block.iter().all(|byte| *byte == 0);
        let step = block.len().saturating_sub(3).max(1);
        for (place_in, _) in block.windows(4).enumerate().filter(|(_, four)| *four == b"PK\x03\x04")
        {
            let offset = from + at + place_in as u64;
            let Some(local) = local(data, offset)? else { continue };
            if !walk.one_more_member(place) {
                return Ok(());
            }
            let inner = place.below(&shown(&local.name));
            walk.add(&inner, Rule::MismatchedMember, Severity::Suspicious, offset, format!(
                "it stands in the archive at byte {offset} and the directory does not list it: only \
                 readers that go by local headers see it"
            ));
            let packed =
                if local.described { to - local.start.min(to) } else { local.packed.into() };
            unpack(walk, data, &inner, local.start, packed, local.method, u64::MAX)?;
        }
        at += step as u64;
    }
    if !blank {
        walk.search(&part, place, 0)?;
    }
    Ok(())
}
