//! PNG, row by row: gray, gray with alpha, RGB, RGBA; 8 or 16 bit; truth values as black and white.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use picklet_segments::array::{ByteOrder, Dtype};
use picklet_segments::{Error, Result};
use png::{BitDepth, ColorType, Encoder, StreamWriter};

use super::{Output, Pending};

/// A PNG being written.
pub(super) struct PngFile {
    pending: Pending,
    stream: StreamWriter<'static, BufWriter<File>>,
    /// Two bytes, the lower first, to be turned round.
    swap: bool,
    truth: bool,
}

impl PngFile {
    pub(super) fn new(path: &Path, dtype: &Dtype, shape: &[u64], axis: usize) -> Result<PngFile> {
        let refuse = || {
            Error::usage(format!(
                "PNG has no pixels of type {} in shape {}: it takes rows x columns, with up to 4 \
                 channels last, of 8 or 16 bits without sign; write .npy or .tif",
                dtype.descr().unwrap_or_default(),
                crate::grid::shown(shape)
            ))
        };
        let (height, width, channels) = match *shape {
            [height, width] => (height, width, 1),
            [height, width, channels] => (height, width, channels),
            _ => return Err(refuse()),
        };
        let color = match channels {
            1 => ColorType::Grayscale,
            2 => ColorType::GrayscaleAlpha,
            3 => ColorType::Rgb,
            4 => ColorType::Rgba,
            _ => return Err(refuse()),
        };
        let plain = dtype.as_plain().ok_or_else(refuse)?;
        let depth = match (plain.kind, plain.size) {
            ('u' | 'b', 1) => BitDepth::Eight,
            ('u', 2) => BitDepth::Sixteen,
            _ => return Err(refuse()),
        };
        let (Ok(width), Ok(height), 0) = (u32::try_from(width), u32::try_from(height), axis) else {
            return Err(refuse());
        };
        let pending = Pending::new(path)?;
        let file = pending.file.as_file().try_clone().map_err(|e| pending.error(e))?;
        let mut encoder = Encoder::new(BufWriter::with_capacity(256 << 10, file), width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        let failed = |e: png::EncodingError| pending.error(e.into());
        let stream = encoder.write_header().and_then(png::Writer::into_stream_writer);
        let stream = stream.map_err(failed)?;
        let swap = depth == BitDepth::Sixteen && plain.order != ByteOrder::Big;
        Ok(PngFile { stream, swap, truth: plain.kind == 'b', pending })
    }
}

impl Output for PngFile {
    fn band(&mut self, _first: u64, _rows: u64, block: &[u8]) -> Result<()> {
        let written = if self.swap || self.truth {
            let mut pixels = block.to_vec();
            if self.truth {
                super::spread(&mut pixels);
            } else {
                pixels.chunks_exact_mut(2).for_each(<[u8]>::reverse);
            }
            self.stream.write_all(&pixels)
        } else {
            self.stream.write_all(block)
        };
        written.map_err(|e| self.pending.error(e))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let PngFile { pending, stream, .. } = *self;
        stream.finish().map_err(|e| pending.error(e.into()))?;
        pending.publish()
    }
}
