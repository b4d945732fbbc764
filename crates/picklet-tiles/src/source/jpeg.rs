//! JPEG: decoded whole, since the decoder gives no rows; gray `(H, W)`, otherwise `(H, W, 3)` RGB.

use std::path::Path;
use std::sync::Arc;

use picklet_segments::array::Dtype;
use picklet_segments::{Error, Input, Result};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{IMAGE_LIMIT, Opened, Reader, in_memory, one_line, too_large};
use crate::raw::zeros;

/// What every JPEG begins with.
pub(super) const MAGIC: &[u8; 3] = b"\xff\xd8\xff";

/// Longest side that the format has.
const LONGEST_SIDE: usize = 65_535;

pub(super) fn open(input: &Arc<Input>) -> Result<Opened> {
    let path = input.path();
    if input.size() > IMAGE_LIMIT {
        return Err(too_large(path, "a JPEG", input.size()));
    }
    let mut bytes = zeros(input.size(), path)?;
    input.data().read_exact_at(0, &mut bytes).map_err(|e| Error::io("read", path, e))?;
    let (pixels, width, height, channels) = decode(&bytes, path)?;
    let mut shape = vec![height, width];
    if channels > 1 {
        shape.push(channels);
    }
    let Some(dtype) = Dtype::plain("|u1") else {
        return Err(Error::input(path, None, "is a JPEG of an unknown depth"));
    };
    let reader = Reader::Raw(in_memory(path, pixels, &shape, 1));
    Ok(Opened { format: "jpeg", dtype, shape, reader })
}

/// Pixels, width, height and channels.
fn decode(bytes: &[u8], path: &Path) -> Result<(Vec<u8>, u64, u64, u64)> {
    let bad = |e: &dyn std::fmt::Debug| {
        let text = format!("{e:?}");
        Error::input(path, None, one_line("is a damaged JPEG, or one of an unknown kind", &text))
    };
    // Strict: otherwise the decoder makes up the rest of a file that was cut off.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(LONGEST_SIDE)
        .set_max_height(LONGEST_SIDE);
    if !is_whole(bytes) {
        return Err(Error::input(path, bytes.len() as u64, "the JPEG ends here: it was cut off"));
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| bad(&e))?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let color = if gray { ColorSpace::Luma } else { ColorSpace::RGB };
    let Some((width, height)) = decoder.dimensions() else { return Err(bad(&"no size")) };
    let channels = if gray { 1 } else { 3 };
    let size = (width as u64).saturating_mul(height as u64).saturating_mul(channels);
    if size > IMAGE_LIMIT {
        return Err(too_large(path, "a JPEG", size));
    }
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let pixels = decoder.decode().map_err(|e| bad(&e))?;
    if pixels.len() as u64 != size {
        return Err(bad(&"its pixels are not as many as its header says"));
    }
    Ok((pixels, width as u64, height as u64, channels))
}

/// Whether the end of an image comes after the last beginning of a scan. Within a scan neither
/// marker can stand: there a byte 0xff is followed by zero. The decoder takes what is left of a
/// last row for all of it.
fn is_whole(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}
