//! One container pickled item by item, so that a segment can be closed when it is large enough
//! and a Python iterable is never held as a whole.

use pyo3::prelude::*;

use super::memo::Hold;
use super::output::Output;
use super::{Done, EncodeOptions, Encoder, Hooks, Memo, Mode, Stop};
use crate::object::{Obj, Raised};

/// Items between a MARK and the opcode that takes them.
const BATCH: u32 = 1000;

/// What a [`SegmentEncoder`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// A list of the items.
    List,
    /// A tuple of the items.
    Tuple,
    /// A dict of the pairs.
    Dict,
    /// A set of the items.
    Set,
}

/// Pickles a container whose items come one at a time.
///
/// Objects that items share are shared in the pickle, as if the whole container had been pickled
/// at once: every object written stays alive until the encoder goes.
///
/// After an error the encoder cannot be used any more.
pub struct SegmentEncoder {
    container: Container,
    options: EncodeOptions,
    /// Taken out while an item is written; gone after an error.
    parts: Option<Parts>,
    items: u64,
    in_batch: u32,
}

/// What an encoder keeps from one item to the next.
pub(super) struct Parts {
    pub(super) out: Output,
    pub(super) memo: Memo,
    pub(super) next_index: u32,
}

impl SegmentEncoder {
    /// Begins an empty container, at protocol 4 or 5.
    ///
    /// # Errors
    /// `ValueError` below protocol 4.
    pub fn new(
        py: Python<'_>,
        container: Container,
        options: EncodeOptions,
    ) -> PyResult<SegmentEncoder> {
        if options.protocol < 4 {
            let message = "segments need protocol 4 or 5";
            return Err(pyo3::exceptions::PyValueError::new_err(message));
        }
        let out = Output::new(None).map_err(Raised::take)?;
        let parts = Parts { out, memo: Memo::new(Hold::Strong), next_index: 0 };
        let mut segment =
            SegmentEncoder { container, options, parts: Some(parts), items: 0, in_batch: 0 };
        segment.with(py, |encoder| {
            encoder.header()?;
            match container {
                Container::List => encoder.out.write(&[b']', 0x94])?,
                Container::Dict => encoder.out.write(&[b'}', 0x94])?,
                Container::Set => encoder.out.write(&[0x8f, 0x94])?,
                // A tuple has no batches: all of its items stand behind one mark.
                Container::Tuple => return Ok(encoder.out.byte(b'(')?),
            }
            // The container is memoised as the first object, though nothing can refer to it:
            // indexes are counted by MEMOIZE.
            encoder.next_index = 1;
            Ok(())
        })?;
        Ok(segment)
    }

    fn with(
        &mut self,
        py: Python<'_>,
        write: impl FnOnce(&mut Encoder<'_, '_>) -> Done,
    ) -> PyResult<()> {
        let Some(parts) = self.parts.take() else {
            let message = "the segment was finished, or an item of it failed";
            return Err(pyo3::exceptions::PyValueError::new_err(message));
        };
        let hooks = Hooks::default();
        let done = (|| {
            let mut encoder = Encoder::resume(py, self.options, &hooks, Mode::Full, parts)?;
            write(&mut encoder)?;
            Ok(encoder.into_parts())
        })();
        match done {
            Ok(parts) => {
                self.parts = Some(parts);
                Ok(())
            }
            Err(Stop::Raised) => Err(Raised.take()),
            Err(Stop::Restart) => Err(super::internal_error()),
        }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// As `dumps`; `TypeError` for a dict, which takes pairs.
    pub fn append(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.container == Container::Dict {
            let message = "a dict takes pairs: append_pair(key, value)";
            return Err(pyo3::exceptions::PyTypeError::new_err(message));
        }
        self.add(item, None)
    }

    /// Adds a key and its value.
    ///
    /// # Errors
    /// As `dumps`; `TypeError` for anything but a dict.
    pub fn append_pair(
        &mut self,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if self.container != Container::Dict {
            let message = "only a dict takes pairs: append(item)";
            return Err(pyo3::exceptions::PyTypeError::new_err(message));
        }
        self.add(key, Some(value))
    }

    fn add(&mut self, item: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let container = self.container;
        let opens = container != Container::Tuple && self.in_batch == 0;
        let closes = container != Container::Tuple && self.in_batch + 1 == BATCH;
        self.with(item.py(), |encoder| {
            if opens {
                encoder.out.byte(b'(')?;
            }
            encoder.save(Obj::of(item), false)?;
            if let Some(value) = value {
                encoder.save(Obj::of(value), false)?;
            }
            if closes {
                encoder.out.byte(container.batch_end())?;
            }
            Ok(())
        })?;
        self.items += 1;
        self.in_batch = if closes { 0 } else { self.in_batch + 1 };
        Ok(())
    }

    /// Bytes of the pickle so far, without what [`SegmentEncoder::finish`] adds: at most 2.
    pub fn bytes_so_far(&self) -> u64 {
        self.parts.as_ref().map_or(0, |parts| parts.out.written())
    }

    /// Items, or pairs, so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Ends the container and gives the pickle.
    ///
    /// # Errors
    /// `ValueError` when it was ended before, or an item of it failed.
    pub fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (container, in_batch) = (self.container, self.in_batch);
        self.with(py, |encoder| {
            match container {
                Container::Tuple => encoder.out.byte(b't')?,
                _ if in_batch > 0 => encoder.out.byte(container.batch_end())?,
                _ => {}
            }
            Ok(encoder.out.byte(b'.')?)
        })?;
        let Some(mut parts) = self.parts.take() else { return Err(super::internal_error()) };
        match parts.out.finish() {
            Ok(Some(bytes)) => Ok(bytes.into_bound(py)),
            Ok(None) => Err(super::internal_error()),
            Err(raised) => Err(raised.take()),
        }
    }
}

impl Container {
    /// The opcode that takes what lies above the mark.
    fn batch_end(self) -> u8 {
        match self {
            Container::List => b'e',
            Container::Dict => b'u',
            Container::Set => 0x90,
            Container::Tuple => b't',
        }
    }
}
