//! Compressed streams, expanded within what is left of the limits.

use std::io::{self, BufReader, Read};

use super::data::{Copied, Data, copy};
use super::sniff::Format;

/// Memory that a decoder of xz or lzma may use for its window, in KiB.
const WINDOW_KIB: u32 = 256 * 1024;

/// Expands `data`, which is such a stream, to at most `most` bytes.
///
/// # Errors
/// Those of the temporary file. What is wrong with the stream comes with what it gave.
pub(super) fn expand(format: Format, data: &Data<'_>, most: u64) -> io::Result<Copied> {
    let reader = BufReader::with_capacity(64 * 1024, data.reader(0));
    match format {
        Format::Gzip => copy(flate2::bufread::MultiGzDecoder::new(reader), most),
        Format::Zlib => copy(flate2::bufread::ZlibDecoder::new(reader), most),
        Format::Bzip2 => copy(bzip2::bufread::MultiBzDecoder::new(reader), most),
        Format::Xz => copy(lzma_rust2::XzReader::new_mem_limit(reader, true, WINDOW_KIB), most),
        Format::Lzma => match lzma_rust2::LzmaReader::new_mem_limit(reader, WINDOW_KIB, None) {
            Ok(reader) => copy(reader, most),
            Err(error) => Ok(failed(error)),
        },
        Format::Zstd => copy(Zstd::new(reader), most),
        _ => copy(lz4_flex::frame::FrameDecoder::new(reader), most),
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

fn failed(error: io::Error) -> Copied {
    Copied { data: Data::Memory(Vec::new()), cut: false, error: Some(error) }
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
