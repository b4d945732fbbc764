//! TIFF and BigTIFF, strip by strip or tile by tile: gray, colour, any number of channels, several
//! pages of one size.
//!
//! A tile of ours needs some of the file's blocks; a block that several of ours need is kept, as
//! far as one band of tiles goes. Each thread has a decoder of its own.

use std::collections::{HashMap, VecDeque};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use picklet_segments::array::Dtype;
use picklet_segments::{Error, Input, Result};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use super::{IMAGE_LIMIT, Opened, Reader, Seeking, one_line};
use crate::block::{Place, copy, elements};
use crate::raw::zeros;

/// What TIFF and BigTIFF files begin with, low or high byte first.
pub(super) const MAGICS: [&[u8; 4]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];

/// Pages of one file at most.
const PAGES: usize = 1 << 20;

/// Bytes of decoded blocks that are kept in any case.
const KEPT: usize = 16 << 20;

type Tiff = Decoder<BufReader<Seeking>>;

/// One page, as its tags tell of it.
#[derive(Clone, PartialEq)]
struct Page {
    width: u64,
    height: u64,
    samples: u64,
    /// A block's sides.
    block: (u64, u64),
    /// Whether each sample has blocks of its own.
    planar: bool,
    sample: Sample,
}

#[derive(Clone, Copy, PartialEq)]
struct Sample {
    kind: char,
    bytes: usize,
}

/// The pages of a TIFF as one array.
pub(crate) struct TiffArray {
    input: Arc<Input>,
    path: PathBuf,
    page: Page,
    /// The number in the file of each page of the array.
    pages: Vec<usize>,
    /// Whether the array has an axis of pages.
    stacked: bool,
    /// Decoders that no thread uses, each with the page that it is at.
    decoders: Mutex<Vec<(Tiff, usize)>>,
    kept: Mutex<Kept>,
}

/// Decoded blocks, the oldest of which go first.
#[derive(Default)]
struct Kept {
    blocks: HashMap<(usize, u32), Arc<Vec<u8>>>,
    order: VecDeque<(usize, u32)>,
    bytes: usize,
    limit: usize,
}

/// Opens a TIFF. `page` chooses one of its pages, from 0; without it all pages are one array, if
/// there are several, with the pages as the first axis.
pub(super) fn open(input: &Arc<Input>, page: Option<usize>) -> Result<Opened> {
    let path = input.path();
    let mut decoder = decoder(input)?;
    let (first, pages) = match page {
        Some(number) => {
            decoder.seek_to_image(number).map_err(|e| failed(e, path))?;
            (describe(&mut decoder, path)?, vec![number])
        }
        None => {
            let first = describe(&mut decoder, path)?;
            let mut pages = vec![0];
            while decoder.more_images() && pages.len() < PAGES {
                decoder.next_image().map_err(|e| failed(e, path))?;
                let next = describe(&mut decoder, path)?;
                if next != first {
                    return Err(Error::input(
                        path,
                        None,
                        format!(
                            "has pages of different sizes or types (page {} is {} x {}, the first \
                             {} x {}); choose one by its number, from 0, as the page",
                            pages.len(),
                            next.height,
                            next.width,
                            first.height,
                            first.width
                        ),
                    ));
                }
                pages.push(pages.len());
            }
            (first, pages)
        }
    };
    let stacked = pages.len() > 1;
    let mut shape = Vec::new();
    if stacked {
        shape.push(pages.len() as u64);
    }
    shape.extend([first.height, first.width]);
    if first.samples > 1 {
        shape.push(first.samples);
    }
    let Sample { kind, bytes } = first.sample;
    let Some(dtype) = Dtype::plain(&format!("<{kind}{bytes}")) else {
        return Err(Error::input(path, None, "is a TIFF of an unknown type of samples"));
    };
    let array = TiffArray {
        input: input.clone(),
        path: path.to_owned(),
        page: first,
        pages,
        stacked,
        decoders: Mutex::new(Vec::new()),
        kept: Mutex::new(Kept { limit: KEPT, ..Kept::default() }),
    };
    Ok(Opened { format: "tiff", dtype, shape, reader: Reader::Tiff(Box::new(array)) })
}

fn decoder(input: &Arc<Input>) -> Result<Tiff> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(IMAGE_LIMIT).unwrap_or(usize::MAX);
    limits.intermediate_buffer_size = limits.decoding_buffer_size;
    // The offsets of the blocks of a huge image.
    limits.ifd_value_size = 256 << 20;
    let reader = BufReader::with_capacity(64 << 10, Seeking::new(input));
    let decoder = Decoder::new(reader).map_err(|e| failed(e, input.path()))?;
    Ok(decoder.with_limits(limits))
}

fn describe(decoder: &mut Tiff, path: &Path) -> Result<Page> {
    let bad = |e: TiffError| failed(e, path);
    let (width, height) = decoder.dimensions().map_err(bad)?;
    let color = decoder.colortype().map_err(bad)?;
    let unknown = |what: String| {
        let message =
            format!("is a TIFF of {what}, which is not read here; save it in another form");
        Err(Error::input(path, None, message))
    };
    let samples = match color {
        ColorType::Gray(_) | ColorType::Palette(_) => 1,
        ColorType::GrayA(_) => 2,
        ColorType::RGB(_) | ColorType::YCbCr(_) | ColorType::Lab(_) => 3,
        ColorType::RGBA(_) | ColorType::CMYK(_) => 4,
        ColorType::CMYKA(_) => 5,
        ColorType::Multiband { num_samples, .. } => u64::from(num_samples),
        _ => return unknown("an unknown kind of colours".into()),
    };
    let bits = color.bit_depth();
    if !matches!(bits, 8 | 16 | 32 | 64) {
        return unknown(format!("{bits} bits a sample"));
    }
    let format: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(Tag::SampleFormat).map_err(bad)?;
    let kind = match format.as_deref().and_then(<[u16]>::first) {
        None | Some(1 | 4) => 'u',
        Some(2) => 'i',
        Some(3) => 'f',
        Some(other) => return unknown(format!("sample format {other}")),
    };
    let planar: Option<u16> = decoder.find_tag_unsigned(Tag::PlanarConfiguration).map_err(bad)?;
    let (block_width, block_height) = decoder.chunk_dimensions();
    if width == 0 || height == 0 || block_width == 0 || block_height == 0 {
        return unknown("no pixels".into());
    }
    Ok(Page {
        width: u64::from(width),
        height: u64::from(height),
        samples,
        block: (u64::from(block_width), u64::from(block_height).min(u64::from(height))),
        planar: planar == Some(2) && samples > 1,
        sample: Sample { kind, bytes: usize::from(bits / 8) },
    })
}

impl TiffArray {
    /// Says how many rows a band of tiles has, for what is kept.
    pub(crate) fn keep_rows(&self, rows: u64) {
        let page = &self.page;
        let row = page.width * page.samples * page.sample.bytes as u64;
        let bytes = row.saturating_mul(rows.saturating_add(2 * page.block.1));
        let mut kept = lock(&self.kept);
        kept.limit = usize::try_from(bytes).unwrap_or(usize::MAX).max(KEPT);
    }

    /// Which axis the rows are.
    pub(crate) fn row_axis(&self) -> usize {
        usize::from(self.stacked)
    }

    /// Reads the block `hull` (along each axis from the first to before the second) in C order.
    pub(crate) fn read(&self, hull: &[(u64, u64)]) -> Result<Vec<u8>> {
        let page = &self.page;
        let mut axes = hull.iter().copied();
        let pages = if self.stacked { axes.next().unwrap_or((0, 0)) } else { (0, 1) };
        let rows = axes.next().unwrap_or((0, 0));
        let columns = axes.next().unwrap_or((0, 0));
        let samples = axes.next().unwrap_or((0, 1));
        let side = |(low, high): (u64, u64)| high.saturating_sub(low);
        let shape = [side(pages), side(rows), side(columns), side(samples)];
        let item = page.sample.bytes;
        let mut out = zeros(elements(&shape).saturating_mul(item as u64), &self.path)?;
        let (block_width, block_height) = page.block;
        let across = page.width.div_ceil(block_width);
        let down = page.height.div_ceil(block_height);
        let over = |low: u64, high: u64, side: u64| low / side..high.div_ceil(side);
        for number in pages.0..pages.1 {
            for row in over(rows.0, rows.1, block_height) {
                for column in over(columns.0, columns.1, block_width) {
                    let planes = if page.planar { samples.0..samples.1 } else { 0..1 };
                    for plane in planes {
                        let index = plane * across * down + row * across + column;
                        let block = self.block(number, index)?;
                        let at = Corner { page: number, row, column, plane };
                        self.paste(&block, at, [pages, rows, columns, samples], &mut out, &shape)?;
                    }
                }
            }
        }
        Ok(out)
    }

    /// Copies the part of a block that lies in `hull`.
    fn paste(
        &self,
        block: &[u8],
        at: Corner,
        hull: [(u64, u64); 4],
        out: &mut [u8],
        shape: &[u64],
    ) -> Result<()> {
        let page = &self.page;
        let (block_width, block_height) = page.block;
        let [pages, rows, columns, samples] = hull;
        let (top, left) = (at.row * block_height, at.column * block_width);
        // Blocks at the right and lower end are cut to the image.
        let bottom = (top + block_height).min(page.height);
        let right = (left + block_width).min(page.width);
        let own = if page.planar { (at.plane, at.plane + 1) } else { (0, page.samples) };
        let mut block_shape = [1, bottom - top, right - left, own.1 - own.0];
        let bytes = |shape: &[u64]| elements(shape).saturating_mul(page.sample.bytes as u64);
        if at.plane > 0 && block.len() as u64 != bytes(&block_shape) {
            // The decoder cuts rows from those of the first plane only.
            block_shape = [1, block_height, right - left, 1];
        }
        if block.len() as u64 != bytes(&block_shape) {
            return Err(Error::input(
                &self.path,
                None,
                "is a damaged TIFF (a strip or tile of another size than its tags say)",
            ));
        }
        let origin = [at.page, top, left, own.0];
        let ends = [at.page + 1, bottom, right, own.1];
        let wanted = [pages, rows, columns, samples];
        let mut from = Vec::with_capacity(4);
        let mut to = Vec::with_capacity(4);
        let mut extent = Vec::with_capacity(4);
        for ((origin, end), (low, high)) in origin.iter().zip(ends).zip(wanted) {
            let (begin, stop) = (low.max(*origin), high.min(end));
            from.push(begin.saturating_sub(*origin));
            to.push(begin.saturating_sub(low));
            extent.push(stop.saturating_sub(begin));
        }
        copy(
            block,
            Place { shape: &block_shape, start: &from },
            out,
            Place { shape, start: &to },
            &extent,
            page.sample.bytes,
        );
        Ok(())
    }

    /// A decoded block of a page.
    fn block(&self, page: u64, index: u64) -> Result<Arc<Vec<u8>>> {
        let number = usize::try_from(page).ok().and_then(|page| self.pages.get(page)).copied();
        let (Some(number), Ok(index)) = (number, u32::try_from(index)) else {
            return Err(Error::input(&self.path, None, "is a TIFF of too many blocks"));
        };
        let key = (number, index);
        if let Some(block) = lock(&self.kept).blocks.get(&key) {
            return Ok(block.clone());
        }
        let spare = lock(&self.decoders).pop();
        let (mut tiff, at) = match spare {
            Some(spare) => spare,
            None => (decoder(&self.input)?, 0),
        };
        if at != number {
            tiff.seek_to_image(number).map_err(|e| failed(e, &self.path))?;
        }
        let block = tiff.read_chunk(index).map_err(|e| failed(e, &self.path))?;
        lock(&self.decoders).push((tiff, number));
        let block = Arc::new(little_endian(block));
        lock(&self.kept).put(key, block.clone());
        Ok(block)
    }
}

/// Where a block lies.
struct Corner {
    page: u64,
    row: u64,
    column: u64,
    plane: u64,
}

impl Kept {
    fn put(&mut self, key: (usize, u32), block: Arc<Vec<u8>>) {
        let bytes = block.len();
        if self.blocks.insert(key, block).is_some() {
            return;
        }
        self.order.push_back(key);
        self.bytes = self.bytes.saturating_add(bytes);
        while self.bytes > self.limit && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(gone) = self.blocks.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(gone.len());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked with the lock leaves a whole value behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A block's samples, low byte first.
fn little_endian(block: DecodingResult) -> Vec<u8> {
    macro_rules! bytes {
        ($samples:expr) => {
            $samples.into_iter().flat_map(|sample| sample.to_le_bytes()).collect()
        };
    }
    match block {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => bytes!(samples),
        DecodingResult::U32(samples) => bytes!(samples),
        DecodingResult::U64(samples) => bytes!(samples),
        DecodingResult::F16(samples) => bytes!(samples),
        DecodingResult::F32(samples) => bytes!(samples),
        DecodingResult::F64(samples) => bytes!(samples),
        DecodingResult::I8(samples) => bytes!(samples),
        DecodingResult::I16(samples) => bytes!(samples),
        DecodingResult::I32(samples) => bytes!(samples),
        DecodingResult::I64(samples) => bytes!(samples),
    }
}

fn failed(error: TiffError, path: &Path) -> Error {
    match error {
        TiffError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io("read", path, error)
        }
        error => Error::input(
            path,
            None,
            one_line("is a damaged TIFF, or one of an unknown kind", &error),
        ),
    }
}
