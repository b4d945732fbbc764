//! PNG, row by row; interlaced ones, whose rows come in seven passes, whole.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use picklet_segments::array::Dtype;
use picklet_segments::{Error, Input, Result};
use png::{BitDepth, ColorType, Decoder, Transformations};

use super::{IMAGE_LIMIT, Opened, Reader, Rows, Seeking, in_memory, too_large};
use crate::block::elements;

/// What every PNG begins with.
pub(super) const MAGIC: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

type Png = png::Reader<BufReader<Seeking>>;

/// Opens a PNG: gray `(H, W)`, otherwise `(H, W, channels)`, 8 or 16 bit. Palettes become their
/// colours, gray of less than 8 bits is spread over 0 to 255.
pub(super) fn open(input: &Arc<Input>) -> Result<Opened> {
    let path = input.path();
    let bad = |e: png::DecodingError| failed(e, path);
    let mut decoder = Decoder::new(BufReader::with_capacity(128 << 10, Seeking::new(input)));
    decoder.set_transformations(Transformations::EXPAND);
    let mut png = decoder.read_info().map_err(bad)?;
    let (color, depth) = png.output_color_type();
    let (width, height) = (u64::from(png.info().width), u64::from(png.info().height));
    let interlaced = png.info().interlaced;
    let channels = match color {
        ColorType::Grayscale | ColorType::Indexed => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
    };
    let wide = depth == BitDepth::Sixteen;
    let mut shape = vec![height, width];
    if channels > 1 {
        shape.push(channels);
    }
    let Some(dtype) = Dtype::plain(if wide { "<u2" } else { "|u1" }) else {
        return Err(Error::input(path, None, "is a PNG of an unknown depth"));
    };
    let reader = if interlaced {
        let bytes = elements(&shape).saturating_mul(if wide { 2 } else { 1 });
        if bytes > IMAGE_LIMIT {
            return Err(too_large(path, "an interlaced PNG", bytes));
        }
        let mut pixels = crate::raw::zeros(bytes, path)?;
        png.next_frame(&mut pixels).map_err(bad)?;
        png.finish().map_err(bad)?;
        if wide {
            swap(&mut pixels);
        }
        Reader::Raw(in_memory(path, pixels, &shape, if wide { 2 } else { 1 }))
    } else {
        Reader::Rows(Box::new(PngRows { png, left: height, wide, path: path.to_owned() }))
    };
    Ok(Opened { format: "png", dtype, shape, reader })
}

struct PngRows {
    png: Png,
    /// Rows that were not read yet.
    left: u64,
    wide: bool,
    path: PathBuf,
}

impl Rows for PngRows {
    fn read(&mut self, rows: u64, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        for _ in 0..rows {
            match self.png.next_row().map_err(|e| failed(e, &self.path))? {
                Some(row) => out.extend_from_slice(row.data()),
                None => return Err(Error::input(&self.path, None, "is a PNG that is cut off")),
            }
        }
        self.left = self.left.saturating_sub(rows);
        if self.left == 0 {
            // What follows the last row tells whether the file is whole.
            self.png.finish().map_err(|e| failed(e, &self.path))?;
        }
        if self.wide {
            swap(out.get_mut(begin..).unwrap_or_default());
        }
        Ok(())
    }
}

/// PNG holds the high byte first.
fn swap(pixels: &mut [u8]) {
    for pair in pixels.chunks_exact_mut(2) {
        pair.reverse();
    }
}

fn failed(error: png::DecodingError, path: &Path) -> Error {
    match error {
        png::DecodingError::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::io("read", path, error)
        }
        error => Error::input(path, None, super::one_line("is a damaged PNG", &error)),
    }
}
