//! Tiles that are not there: named, refused, or filled.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use picklet_segments::array::{ByteOrder, Dtype, Plain};
use picklet_segments::{Error, Result, Segments, name, segment_file};

use crate::layout::Layout;

/// Tiles named in one message.
const NAMED: usize = 5;

/// The tiles that a directory lacks.
pub(crate) struct Missing {
    /// Number, name, and why it is missing, as far as that is known.
    tiles: Vec<(u64, String, &'static str)>,
}

impl Missing {
    /// Finds tiles of the grid that have no entry, or no whole file; the latter are taken out of
    /// `positions`.
    pub(crate) fn find(
        segments: &Segments,
        layout: &Layout,
        positions: &mut HashMap<u64, usize>,
    ) -> Result<Missing> {
        let mut tiles = Vec::new();
        let store = segments.location().store();
        // The record of a map that failed, or the file that a repair set aside.
        let mut set_aside: Option<HashSet<String>> = None;
        let mut is_quarantined = |stem: &str| -> Result<bool> {
            let names = match &mut set_aside {
                Some(names) => names,
                none => none.insert(store.set_aside()?.into_iter().collect()),
            };
            let endings = [".json", ".pickle", ".pickle.zst", ".pickle.gz"];
            Ok(endings.iter().any(|ending| names.contains(&format!("{stem}{ending}"))))
        };
        for number in 0..layout.grid.len() {
            let Some(position) = positions.get(&number) else {
                let file = segment_file(&layout.name, number, name::DEFAULT_WIDTH);
                let stem = name::stem(&file).to_owned();
                let why = if is_quarantined(&stem)? { "quarantined" } else { "missing" };
                tiles.push((number, stem, why));
                continue;
            };
            let entry = segments.entry(*position)?;
            let why = match store.size(&entry.file)? {
                Some(bytes) if bytes == entry.bytes => continue,
                Some(_) => "its file is damaged",
                None => "its file is gone",
            };
            tiles.push((number, name::stem(&entry.file).to_owned(), why));
            positions.remove(&number);
        }
        Ok(Missing { tiles })
    }

    /// Adds a tile whose file turned out to be damaged when it was read.
    pub(crate) fn add_damaged(&mut self, number: u64, file: &str) {
        self.tiles.push((number, name::stem(file).to_owned(), "its file is damaged"));
        self.tiles.sort_unstable();
    }

    /// The names of the tiles.
    pub(crate) fn names(&self) -> Vec<String> {
        self.tiles.iter().map(|(_, name, _)| name.clone()).collect()
    }

    /// The numbers and names of the tiles, and why each is missing.
    pub(crate) fn tiles(&self) -> &[(u64, String, &'static str)] {
        &self.tiles
    }

    /// An error that names the tiles, if there are any.
    pub(crate) fn refuse(&self, dir: &Path, layout: &Layout) -> Result<()> {
        if self.tiles.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = self
            .tiles
            .iter()
            .take(NAMED)
            .map(|(number, name, why)| match layout.grid.tile(*number) {
                Some(tile) => format!("{name} ({why}; {})", tile.core),
                None => format!("{name} ({why})"),
            })
            .collect();
        let more = match self.tiles.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Error::Bad(format!(
            "{}: {} of {} tiles cannot be stitched: {}{more}; make them (the same map goes on \
             where it stopped), or give a value to fill them with",
            dir.display(),
            self.tiles.len(),
            layout.grid.len(),
            named.join(", ")
        )))
    }

    /// The error when there is no tile at all.
    pub(crate) fn all_gone(dir: &Path, layout: &Layout) -> Error {
        Error::Bad(format!(
            "{}: all {} tiles are missing or damaged",
            dir.display(),
            layout.grid.len()
        ))
    }
}

/// The bytes of one element that `text` says.
///
/// # Errors
/// [`Error::Usage`] when the type has no such value.
pub(crate) fn element(text: &str, dtype: &Dtype) -> Result<Vec<u8>> {
    let size = dtype.size().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let found = match dtype {
        Dtype::Plain(plain) => number(text, plain),
        _ => None,
    };
    match found {
        Some(bytes) => Ok(bytes),
        // Zero bytes are a value of every type.
        None if text == "0" => Ok(vec![0; size]),
        None => Err(Error::usage(format!(
            "{text:?} is no value of elements of type {}, or does not fit them; 0 fits every type",
            dtype.descr().unwrap_or_default()
        ))),
    }
}

fn number(text: &str, plain: &Plain) -> Option<Vec<u8>> {
    let size = usize::try_from(plain.size).ok()?;
    let mut bytes = match plain.kind {
        'b' => match text {
            "0" | "false" | "False" => vec![0],
            "1" | "true" | "True" => vec![1],
            _ => return None,
        },
        'u' => {
            let value: u64 = text.parse().ok()?;
            let bytes = value.to_le_bytes();
            let (kept, rest) = bytes.split_at_checked(size)?;
            rest.iter().all(|byte| *byte == 0).then(|| kept.to_vec())?
        }
        'i' => {
            let value: i64 = text.parse().ok()?;
            let bits = u32::try_from(size * 8).ok()?;
            let fits = bits == 64 || (-(1i64 << (bits - 1))..1i64 << (bits - 1)).contains(&value);
            fits.then(|| value.to_le_bytes().get(..size).map(<[u8]>::to_vec))??
        }
        'f' => {
            let value: f64 = text.parse().ok()?;
            match size {
                8 => value.to_le_bytes().to_vec(),
                4 => (value as f32).to_le_bytes().to_vec(),
                _ => return None,
            }
        }
        _ => return None,
    };
    if plain.order == ByteOrder::Big {
        bytes.reverse();
    }
    Some(bytes)
}

/// Fills a block with one element.
pub(crate) fn fill(block: &mut [u8], element: &[u8]) {
    if element.iter().all(|byte| *byte == 0) || element.is_empty() {
        return;
    }
    for place in block.chunks_exact_mut(element.len()) {
        place.copy_from_slice(element);
    }
}
