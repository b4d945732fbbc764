//! Compressed streams, expanded within what is left of the limits.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use picklet_codec::scan::Source as _;

use super::data::{Copied, Data, Reader, copy};
use super::sniff::{Format, by_magic};

/// Memory that a decoder of xz or lzma may use for its window, in KiB.
const WINDOW_KIB: u32 = 256 * 1024;

/// Bytes before the zlib stream in joblib's oldest format: `ZF` and a length of 19 letters, or of
/// 20 as Python 2 wrote it.
const ZFILE_HEADERS: [u64; 2] = [21, 22];

/// Expands `data`, which is such a stream or several one behind the other, to at most `most` bytes.
/// Gives also where in `data` the last one ends: what is behind it belongs to none.
///
/// # Errors
/// Those of the temporary file. What is wrong with the stream comes with what it gave.
pub(super) fn expand(format: Format, data: &Data<'_>, most: u64) -> io::Result<(Copied, u64)> {
    let reader = BufReader::with_capacity(64 * 1024, data.reader(0));
    let copied = match format {
        Format::Gzip => copy(flate2::bufread::MultiGzDecoder::new(reader), most)?,
        Format::Bzip2 => copy(bzip2::bufread::MultiBzDecoder::new(reader), most)?,
        Format::Xz => copy(lzma_rust2::XzReader::new_mem_limit(reader, true, WINDOW_KIB), most)?,
        Format::Zstd => copy(Zstd::new(reader), most)?,
        _ => {
            let mut streams = Streams::new(format, data)?;
            let copied = copy(&mut streams, most)?;
            let end = streams.end.get();
            return Ok((copied, end));
        }
    };
    Ok((copied, data.len()))
}

/// zlib, lzma or lz4: Python's readers go on with the stream behind the first, in whose midst a
/// pickle may be cut. The crates' decoders end with the first one.
struct Streams<'d> {
    data: &'d Data<'d>,
    format: Format,
    decoder: Option<Decoder<'d>>,
    /// Where this stream begins, and how far it was read.
    start: u64,
    end: Rc<Cell<u64>>,
}

enum Decoder<'d> {
    /// Takes no byte behind its stream.
    Exact(Box<dyn Read + 'd>),
    /// Gives back what it took.
    Lzma(Box<lzma_rust2::LzmaReader<Counted<'d>>>),
}

impl<'d> Streams<'d> {
    fn new(format: Format, data: &'d Data<'d>) -> io::Result<Streams<'d>> {
        let mut start = 0;
        if format == Format::Zfile {
            let [old, older] = ZFILE_HEADERS;
            start = if data.bytes(old, 1)? == b" " { older } else { old };
        }
        let mut streams =
            Streams { data, format, decoder: None, start, end: Rc::new(Cell::new(start)) };
        streams.begin(format);
        Ok(streams)
    }

    fn begin(&mut self, format: Format) {
        self.start = self.end.get();
        let counted = Counted {
            inner: BufReader::with_capacity(64 * 1024, self.data.reader(self.end.get())),
            end: Rc::clone(&self.end),
        };
        self.decoder = Some(match format {
            Format::Zlib | Format::Zfile => {
                Decoder::Exact(Box::new(flate2::bufread::ZlibDecoder::new(counted)))
            }
            // It takes all streams behind it, and nothing else.
            Format::Xz => {
                let reader = lzma_rust2::XzReader::new_mem_limit(counted, true, WINDOW_KIB);
                Decoder::Exact(Box::new(reader))
            }
            Format::Lzma => {
                match lzma_rust2::LzmaReader::new_mem_limit(counted, WINDOW_KIB, None) {
                    Ok(reader) => Decoder::Lzma(Box::new(reader)),
                    Err(error) => Decoder::Exact(Box::new(Failed(Some(error)))),
                }
            }
            _ => Decoder::Exact(Box::new(lz4_flex::frame::FrameDecoder::new(counted))),
        });
    }

    /// Whether a reader of the first stream goes on with one of this format.
    fn goes_on_with(&self, next: Format) -> bool {
        match self.format {
            Format::Lzma => matches!(next, Format::Lzma | Format::Xz),
            Format::Zfile => false,
            own => next == own,
        }
    }
}

impl Read for Streams<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let read = match decoder {
                Decoder::Exact(decoder) => decoder.read(buffer)?,
                Decoder::Lzma(decoder) => decoder.read(buffer)?,
            };
            if read > 0 {
                return Ok(read);
            }
            if let Some(Decoder::Lzma(decoder)) = self.decoder.take() {
                let (_, unused) = decoder.into_parts();
                self.end.set(self.end.get() - unused.len() as u64);
            }
            let at = self.end.get();
            let head = self.data.bytes(at, 16)?;
            if let Some(next) = by_magic(&head).filter(|next| self.goes_on_with(*next))
                && at > self.start
            {
                self.begin(next);
            }
        }
        Ok(0)
    }
}

/// A decoder that could not begin.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Counts what a decoder took, and not what was read ahead for it.
struct Counted<'d> {
    inner: BufReader<Reader<'d>>,
    end: Rc<Cell<u64>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.end.set(self.end.get() + read as u64);
        Ok(read)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.end.set(self.end.get() + count as u64);
        self.inner.consume(count);
    }
}

/// Expands a member of a zip archive; `None` where its method is not known here.
///
/// # Errors
/// As [`expand`].
pub(super) fn inflate(method: u16, data: &Data<'_>, most: u64) -> io::Result<Option<Copied>> {
    let reader = BufReader::with_capacity(64 * 1024, data.reader(0));
    Ok(Some(match method {
        8 => copy(flate2::bufread::DeflateDecoder::new(reader), most)?,
        12 => copy(bzip2::bufread::MultiBzDecoder::new(reader), most)?,
        93 => copy(Zstd::new(reader), most)?,
        95 => copy(lzma_rust2::XzReader::new_mem_limit(reader, true, WINDOW_KIB), most)?,
        _ => return Ok(None),
    }))
}

/// Frames of zstd, one after another.
struct Zstd<R: Read> {
    decoder: Option<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
    source: Option<R>,
}

impl<R: Read> Zstd<R> {
    fn new(source: R) -> Self {
        Zstd { decoder: None, source: Some(source) }
    }
}

impl Read for Zstd<BufReader<super::data::Reader<'_>>> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(decoder) = &mut self.decoder {
                let read = decoder.read(buffer)?;
                if read > 0 {
                    return Ok(read);
                }
                self.source = self.decoder.take().map(|decoder| decoder.into_inner());
            }
            let Some(mut source) = self.source.take() else { return Ok(0) };
            if io::BufRead::fill_buf(&mut source)?.is_empty() {
                return Ok(0);
            }
            let decoder = ruzstd::decoding::StreamingDecoder::new(source);
            self.decoder = Some(decoder.map_err(io::Error::other)?);
        }
    }
}
