//! Uncompressed TIFF, written around the elements: a head, the pixels in C order, and behind them
//! the directories of the pages. BigTIFF where 4 GB are not enough.
//!
//! Own code, where reading is a library's: the library encodes one of a few pixel types whole
//! pages at a time, and here bands come in any order of axes, with any number of channels.

use picklet_segments::array::{ByteOrder, Dtype};
use picklet_segments::{Error, Result};

/// Bytes of one strip: readers take them one by one.
const STRIP: u64 = 1 << 18;

/// Bytes that offsets of 32 bits reach.
const CLASSIC: u64 = u32::MAX as u64;

/// Bytes before the pixels, those after them.
pub(super) struct Parts {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

/// Pages, rows, columns, channels.
fn sides(shape: &[u64]) -> Option<[u64; 4]> {
    Some(match *shape {
        [height, width] => [1, height, width, 1],
        [height, width, channels] if channels <= 4 => [1, height, width, channels],
        [pages, height, width] => [pages, height, width, 1],
        [pages, height, width, channels] if channels <= 4 => [pages, height, width, channels],
        _ => return None,
    })
}

/// The head and tail of a TIFF of an array of this type and shape.
///
/// # Errors
/// [`Error::Usage`] for types and shapes that are no image.
pub(super) fn parts(dtype: &Dtype, shape: &[u64]) -> Result<Parts> {
    let format = dtype.as_plain().and_then(|plain| match plain.kind {
        'b' | 'u' => Some(1u16),
        'i' => Some(2),
        'f' if plain.size <= 8 => Some(3),
        _ => None,
    });
    let (Some(format), Some(plain), Some([pages, rows, columns, channels])) =
        (format, dtype.as_plain(), sides(shape))
    else {
        return Err(Error::usage(format!(
            "TIFF has no pixels of type {} in shape {}; write .npy",
            dtype.descr().unwrap_or_default(),
            crate::grid::shown(shape)
        )));
    };
    let longest = u64::from(u32::MAX);
    if rows > longest || columns > longest {
        return Err(Error::usage("a TIFF's sides are below 2^32 pixels; write .npy"));
    }
    let row = columns * channels * plain.size;
    let strip_rows = (STRIP / row.max(1)).clamp(1, rows);
    let strips = rows.div_ceil(strip_rows);
    let pixels = pages.saturating_mul(rows).saturating_mul(row);
    // Offsets and lengths of the strips, and a directory, for each page.
    let directories = pages.saturating_mul(strips.saturating_mul(16).saturating_add(1024));
    let big = pixels.saturating_add(directories) > CLASSIC;
    let high_first = plain.order == ByteOrder::Big;
    let mut out = Bytes { bytes: Vec::new(), big, high_first };
    out.bytes.extend(if high_first { b"MM" } else { b"II" });
    let head = if big { 16 } else { 8 };
    if big {
        out.short(43);
        out.short(8);
        out.short(0);
        out.offset(head + pixels);
    } else {
        out.short(42);
        out.offset(head + pixels);
    }
    let first = std::mem::take(&mut out.bytes);
    for page in 0..pages {
        let begin = head + page * rows * row;
        let lengths = (0..strips).map(|strip| strip_rows.min(rows - strip * strip_rows) * row);
        let offsets = (0..strips).map(|strip| begin + strip * strip_rows * row);
        let bits = u16::try_from(plain.size * 8).unwrap_or(8);
        let each = |value: u16| vec![u64::from(value); usize::try_from(channels).unwrap_or(1)];
        let color = channels >= 3;
        let mut tags: Vec<(u16, Values)> = vec![
            (256, Values::Long(vec![columns])),
            (257, Values::Long(vec![rows])),
            (258, Values::Short(each(bits))),
            (259, Values::Short(vec![1])),
            (262, Values::Short(vec![if color { 2 } else { 1 }])),
            (273, Values::Offset(offsets.collect())),
            (277, Values::Short(vec![channels])),
            (278, Values::Long(vec![strip_rows])),
            (279, Values::Offset(lengths.collect())),
            (284, Values::Short(vec![1])),
        ];
        let extra = channels - if color { 3 } else { 1 };
        if extra > 0 {
            tags.push((338, Values::Short(vec![0; usize::try_from(extra).unwrap_or(0)])));
        }
        tags.push((339, Values::Short(each(format))));
        out.directory(head + pixels, &tags, page + 1 == pages);
    }
    Ok(Parts { head: first, tail: out.bytes })
}

enum Values {
    Short(Vec<u64>),
    Long(Vec<u64>),
    Offset(Vec<u64>),
}

/// Bytes of a TIFF from some offset on.
struct Bytes {
    bytes: Vec<u8>,
    big: bool,
    high_first: bool,
}

impl Bytes {
    fn number(&mut self, value: u64, size: usize) {
        let bytes = value.to_le_bytes();
        let bytes = bytes.get(..size).unwrap_or_default();
        if self.high_first {
            self.bytes.extend(bytes.iter().rev());
        } else {
            self.bytes.extend(bytes);
        }
    }

    fn short(&mut self, value: u64) {
        self.number(value, 2);
    }

    /// An offset or a length, of 4 or 8 bytes.
    fn offset(&mut self, value: u64) {
        self.number(value, self.word());
    }

    fn word(&self) -> usize {
        if self.big { 8 } else { 4 }
    }

    /// Adds a directory and what it points to. `base` is the file's offset of the first byte here.
    fn directory(&mut self, base: u64, tags: &[(u16, Values)], last: bool) {
        let word = self.word();
        let entry = 4 + 2 * word;
        let count_size = if self.big { 8 } else { 2 };
        let begin = self.bytes.len();
        let after = begin + count_size + tags.len() * entry + word;
        let mut outside = Bytes { bytes: Vec::new(), big: self.big, high_first: self.high_first };
        self.number(tags.len() as u64, count_size);
        for (tag, values) in tags {
            let (kind, size, values) = match values {
                Values::Short(values) => (3, 2, values),
                Values::Long(values) => (4, 4, values),
                Values::Offset(values) if self.big => (16, 8, values),
                Values::Offset(values) => (4, 4, values),
            };
            self.short(u64::from(*tag));
            self.short(kind);
            self.offset(values.len() as u64);
            let bytes = values.len() * size;
            if bytes <= word {
                for value in values {
                    self.number(*value, size);
                }
                self.bytes.resize(self.bytes.len() + word - bytes, 0);
            } else {
                self.offset(base + (after + outside.bytes.len()) as u64);
                for value in values {
                    outside.number(*value, size);
                }
                // Everything begins at an even offset.
                outside.bytes.resize(outside.bytes.len().next_multiple_of(2), 0);
            }
        }
        let next = base + (after + outside.bytes.len()) as u64;
        self.offset(if last { 0 } else { next });
        self.bytes.append(&mut outside.bytes);
    }
}
