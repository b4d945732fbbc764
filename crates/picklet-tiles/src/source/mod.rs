//! Arrays in files: opened, described, and read block by block.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use picklet_segments::array::{Dtype, Encoding, Found, recognise};
use picklet_segments::{Error, Input, ReadAt, Result, Source};

mod jpeg;
mod npz;
mod png;
mod tiff;

use crate::block::{Place, copy, elements};
use crate::npy;
use crate::raw::{Raw, zeros};
use crate::text;

use tiff::TiffArray;

/// Which array of a file that holds several.
#[derive(Debug, Clone, Default)]
pub struct ArrayOptions {
    /// The member of a `.npz` file; needed when it has more than one.
    pub member: Option<String>,
    /// The page of a TIFF, from 0; without it all pages are one array.
    pub page: Option<usize>,
}

impl ArrayOptions {
    fn part(&self) -> String {
        let page = self.page.map(|page| format!("page {page}"));
        self.member.clone().or(page).unwrap_or_default()
    }
}

/// An array in a file, opened for reading.
pub struct Array {
    name: String,
    format: &'static str,
    fingerprint: String,
    part: String,
    source: Source,
    dtype: Dtype,
    shape: Vec<u64>,
    pub(crate) reader: Reader,
}

/// How an array's elements are had.
pub(crate) enum Reader {
    /// Any block at any time.
    Raw(Raw),
    /// Any block at any time, by decoding what it lies in.
    Tiff(Box<TiffArray>),
    /// Row after row from the first, each once.
    Rows(Box<dyn Rows>),
}

/// A decoder that gives an array's rows (its blocks along the first axis) in order.
pub(crate) trait Rows: Send {
    /// Adds the next `rows` rows to `out`, as bytes in C order.
    fn read(&mut self, rows: u64, out: &mut Vec<u8>) -> Result<()>;
}

/// What an array is, once its file's beginning was read.
pub(crate) struct Opened {
    pub(crate) format: &'static str,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) reader: Reader,
}

/// An input that several threads read.
pub(crate) struct Shared(pub(crate) Arc<Input>);

impl ReadAt for Shared {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.data().read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.size())
    }
}

impl Array {
    /// Opens the array in `input`: `.npy`, a member of `.npz`, a pickled `numpy.ndarray`, TIFF, PNG
    /// or JPEG, told apart by the
    /// first bytes.
    ///
    /// # Errors
    /// [`Error::Input`] when it holds no array, or one that cannot be cut; [`Error::Io`].
    pub fn open(input: Input, options: &ArrayOptions) -> Result<Array> {
        let name = input.name().to_owned();
        let (fingerprint, source) = (input.fingerprint()?, input.describe());
        let input = Arc::new(input);
        let opened = open(&input, options)?;
        Ok(Array {
            name,
            format: opened.format,
            fingerprint,
            part: options.part(),
            source,
            dtype: opened.dtype,
            shape: opened.shape,
            reader: opened.reader,
        })
    }

    /// Its name as the caller gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its file is: `npy`, `npz`, `pickle`, `tiff`, `png`, `jpeg`.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// The type of its elements.
    pub fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    /// Its shape.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Which array of its file this is, for the run's fingerprint.
    pub(crate) fn part(&self) -> &str {
        &self.part
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Array")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

fn open(input: &Arc<Input>, options: &ArrayOptions) -> Result<Opened> {
    let mut first = [0u8; 16];
    let there = usize::try_from(input.size()).unwrap_or(16).min(16);
    let first = first.get_mut(..there).unwrap_or_default();
    input.data().read_exact_at(0, first).map_err(|e| Error::io("read", input.path(), e))?;
    let is_zip = first.starts_with(npz::MAGIC);
    let is_tiff = tiff::MAGICS.iter().any(|magic| first.starts_with(*magic));
    if options.member.is_some() && !is_zip {
        return Err(Error::input(input.path(), None, "is no .npz file, and has no members"));
    }
    if options.page.is_some() && !is_tiff {
        return Err(Error::input(input.path(), None, "is no TIFF, and has no pages"));
    }
    if first.starts_with(npy::MAGIC) {
        open_npy(input, "npy")
    } else if is_zip {
        npz::open(input, options.member.as_deref())
    } else if is_tiff {
        tiff::open(input, options.page)
    } else if first.starts_with(png::MAGIC) {
        png::open(input)
    } else if first.starts_with(jpeg::MAGIC) {
        jpeg::open(input)
    } else {
        open_pickle(input)
    }
}

fn open_npy(input: &Arc<Input>, format: &'static str) -> Result<Opened> {
    let header = npy::read(input.data(), input.path())?;
    let axes = if header.fortran {
        (0..header.shape.len()).rev().collect()
    } else {
        (0..header.shape.len()).collect()
    };
    let raw = raw(input, header.end, &header.dtype, &header.shape, axes)?;
    let Raw { shape, .. } = &raw;
    Ok(Opened { format, shape: shape.clone(), dtype: header.dtype, reader: Reader::Raw(raw) })
}

/// An array whose elements stand in `input` from `offset` on.
fn raw(
    input: &Arc<Input>,
    offset: u64,
    dtype: &Dtype,
    shape: &[u64],
    axes: Vec<usize>,
) -> Result<Raw> {
    let path = input.path();
    let item = item_size(dtype, path)?;
    let bytes = elements(shape).saturating_mul(item as u64);
    if offset.saturating_add(bytes) > input.size() {
        return Err(Error::input(
            path,
            input.size(),
            format!("the file ends here, and its array of {bytes} bytes begins at byte {offset}"),
        ));
    }
    Ok(Raw {
        data: Arc::new(Shared(input.clone())),
        path: path.to_owned(),
        offset,
        shape: shape.to_vec(),
        axes,
        item,
    })
}

/// Bytes of an element.
pub(crate) fn item_size(dtype: &Dtype, path: &Path) -> Result<usize> {
    let size = dtype.size().and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
    size.ok_or_else(|| Error::input(path, None, "has elements without bytes: nothing to cut"))
}

fn open_pickle(input: &Arc<Input>) -> Result<Opened> {
    let path = input.path();
    let found = match recognise(input.data(), path)? {
        Found::Array(found) => found,
        Found::Unfit(why) => return Err(Error::input(path, None, why)),
        Found::Other if is_cut_off(input)? => {
            return Err(Error::input(
                path,
                input.size(),
                "the file ends here, within a pickle: it was cut off",
            ));
        }
        Found::Other => {
            return Err(Error::input(
                path,
                None,
                "holds no array that can be cut into tiles: it is neither .npy, .npz, TIFF, PNG, \
                 JPEG, nor one pickled numpy.ndarray; without --tile its items can be split",
            ));
        }
    };
    let raw = match found.encoding {
        Encoding::Raw => raw(input, found.payload.start, &found.dtype, &found.shape, found.axes)?,
        encoding => {
            let (mut at, end) = (found.payload.start, found.payload.end);
            let read = |block: &mut [u8]| {
                let rest = usize::try_from(end - at).unwrap_or(usize::MAX).min(block.len());
                let read = input.data().read_at(at, block.get_mut(..rest).unwrap_or_default())?;
                at += read as u64;
                Ok(read)
            };
            let spooled = spool(path, |file| text::spool(read, encoding, file))?;
            let spooled = Arc::new(spooled);
            raw(&spooled, 0, &found.dtype, &found.shape, found.axes)?
        }
    };
    let (dtype, shape) = (found.dtype, found.shape);
    Ok(Opened { format: "pickle", dtype, shape, reader: Reader::Raw(raw) })
}

/// Whether a file begins as a pickle of protocol 2 or newer and does not end as one.
fn is_cut_off(input: &Input) -> Result<bool> {
    let read = |offset: u64| {
        let mut byte = [0u8];
        let read = input.data().read_exact_at(offset, &mut byte);
        read.map(|()| byte).map_err(|e| Error::io("read", input.path(), e))
    };
    let Some(last) = input.size().checked_sub(1) else { return Ok(false) };
    Ok(read(0)? == [0x80] && read(last)? != *b".")
}

/// A temporary file with what `write` writes, for elements that lie nowhere as they are. It has
/// no name and goes away with the process.
pub(crate) fn spool(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<Input> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::InvalidData => Error::input(path, None, format!("is damaged: {e}")),
        _ => Error::io("unpack into a temporary file", path, e),
    };
    let mut file = tempfile::tempfile().map_err(failed)?;
    write(&mut file).map_err(failed)?;
    Input::read_at(path.to_string_lossy(), Box::new(file))
}

/// Bytes of pixels that are decoded whole: of a JPEG, of an interlaced PNG, whose rows come in
/// passes, of one strip or tile of a TIFF.
pub const IMAGE_LIMIT: u64 = 2 << 30;

fn too_large(path: &Path, what: &str, bytes: u64) -> Error {
    Error::input(
        path,
        None,
        format!(
            "is {what}, which has to be decoded whole: {bytes} bytes of pixels, and the limit is \
             {IMAGE_LIMIT}; save it as TIFF or as a PNG that is not interlaced"
        ),
    )
}

/// An array that is in memory, in C order.
fn in_memory(path: &Path, bytes: Vec<u8>, shape: &[u64], item: usize) -> Raw {
    Raw {
        data: Arc::new(bytes),
        path: path.to_owned(),
        offset: 0,
        shape: shape.to_vec(),
        axes: (0..shape.len()).collect(),
        item,
    }
}

/// A decoder's message as the end of one line.
fn one_line(what: &str, error: &dyn std::fmt::Display) -> String {
    let text: String =
        error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{what} ({text})")
}

/// An input for decoders, which read and seek.
pub(crate) struct Seeking {
    input: Arc<Input>,
    at: u64,
}

impl Seeking {
    pub(crate) fn new(input: &Arc<Input>) -> Self {
        Seeking { input: input.clone(), at: 0 }
    }
}

impl io::Read for Seeking {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.data().read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl io::Seek for Seeking {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            io::SeekFrom::Start(at) => (at, 0),
            io::SeekFrom::Current(by) => (self.at, by),
            io::SeekFrom::End(by) => (self.input.size(), by),
        };
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        self.at = base.checked_add_signed(by).ok_or_else(invalid)?;
        Ok(self.at)
    }
}

/// Rows of an array that are in memory.
pub(crate) struct Band {
    pub(crate) shape: Vec<u64>,
    pub(crate) item: usize,
    /// The first row that is here.
    pub(crate) first: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Band {
    pub(crate) fn new(shape: &[u64], item: usize) -> Self {
        Band { shape: shape.to_vec(), item, first: 0, bytes: Vec::new() }
    }

    fn row_bytes(&self) -> u64 {
        let rest = self.shape.get(1..).unwrap_or_default();
        elements(rest).saturating_mul(self.item as u64)
    }

    /// The row after the last that is here.
    fn end(&self) -> u64 {
        self.first + (self.bytes.len() as u64).checked_div(self.row_bytes()).unwrap_or(0)
    }

    /// Lets go of the rows before `low` and reads on to before `high`.
    pub(crate) fn advance(&mut self, rows: &mut dyn Rows, low: u64, high: u64) -> Result<()> {
        let row = self.row_bytes();
        if low > self.first {
            let gone = low.min(self.end()) - self.first;
            let gone_bytes = usize::try_from(gone * row).unwrap_or(self.bytes.len());
            self.bytes.drain(..gone_bytes.min(self.bytes.len()));
            self.first += gone;
        }
        let wanted = high.saturating_sub(self.end());
        if wanted > 0 {
            rows.read(wanted, &mut self.bytes)?;
        }
        Ok(())
    }

    fn read(&self, hull: &[(u64, u64)], path: &Path) -> Result<Vec<u8>> {
        let extent: Vec<u64> = hull.iter().map(|(low, high)| high - low).collect();
        let mut block = zeros(elements(&extent).saturating_mul(self.item as u64), path)?;
        let mut shape = self.shape.clone();
        let mut start: Vec<u64> = hull.iter().map(|(low, _)| *low).collect();
        if let (Some(rows), Some(first)) = (shape.first_mut(), start.first_mut()) {
            *rows = self.end() - self.first;
            *first = first.saturating_sub(self.first);
        }
        let source = Place { shape: &shape, start: &start };
        let zero = vec![0; extent.len()];
        let target = Place { shape: &extent, start: &zero };
        copy(&self.bytes, source, &mut block, target, &extent, self.item);
        Ok(block)
    }
}

/// What tiles are cut from at one time.
pub(crate) enum View<'v> {
    Raw(&'v Raw),
    Tiff(&'v TiffArray),
    Band(&'v Band, &'v Path),
}

impl View<'_> {
    /// The block `hull` in C order.
    pub(crate) fn read(&self, hull: &[(u64, u64)]) -> Result<Vec<u8>> {
        match self {
            View::Raw(raw) => raw.read(hull),
            View::Tiff(tiff) => tiff.read(hull),
            View::Band(band, path) => band.read(hull, path),
        }
    }
}
