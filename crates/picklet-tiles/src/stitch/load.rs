//! One tile, read back: its bytes checked against the manifest, its array found in them.

use std::ops::Range;

use picklet_segments::array::{Dtype, Encoding, Found, recognise};
use picklet_segments::{Error, Result, Segments};

use crate::block::to_c_order;
use crate::source::item_size;

/// A tile's array in memory.
pub(crate) struct Loaded {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) item: usize,
    bytes: Vec<u8>,
    range: Range<usize>,
}

impl Loaded {
    /// Its elements in C order.
    pub(crate) fn elements(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }

    /// The same, to be changed.
    pub(crate) fn elements_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.range.clone()).unwrap_or_default()
    }
}

/// Reads the segment at `position` and finds its array.
///
/// # Errors
/// [`Error::Missing`], [`Error::Damaged`]; [`Error::Input`] when it holds no array.
pub(crate) fn load(segments: &Segments, position: usize) -> Result<Loaded> {
    let path = segments.path(position)?;
    let bytes = segments.read(position)?;
    let found = match recognise(&bytes, &path)? {
        Found::Array(found) => found,
        Found::Unfit(why) => return Err(Error::input(path, None, why)),
        Found::Other => {
            return Err(Error::input(
                path,
                None,
                "holds no numpy array, so it cannot be stitched; let the mapped function return \
                 one array for each tile",
            ));
        }
    };
    let item = item_size(&found.dtype, &path)?;
    let number = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let mut range = number(found.payload.start)..number(found.payload.end);
    let c_order = found.is_c_order();
    let mut bytes = match found.encoding {
        Encoding::Raw => bytes,
        encoding => {
            let text = bytes.get(range).unwrap_or_default();
            let Some(decoded) = crate::text::decode(text, encoding) else {
                return Err(Error::input(path, found.payload.start, "its array is damaged"));
            };
            range = 0..decoded.len();
            decoded
        }
    };
    if bytes.get(range.clone()).map(|payload| payload.len() as u64) != Some(found.bytes()) {
        return Err(Error::input(path, found.payload.start, "its array is cut off"));
    }
    if !c_order {
        let payload = bytes.get(range).unwrap_or_default();
        bytes = to_c_order(payload, &found.shape, &found.axes, item);
        range = 0..bytes.len();
    }
    Ok(Loaded { dtype: found.dtype, shape: found.shape, item, bytes, range })
}
