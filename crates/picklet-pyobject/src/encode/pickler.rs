//! What a `Pickler` keeps from one dump to the next: its memo.
//!
//! A memo that outlives a dump sees every object, so that the dump is in full-memo mode from the
//! beginning. The memo is taken out of its object while a dump runs: hooks that reach back find
//! it busy, never half changed.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::memo::Hold;
use super::output::Output;
use super::segment::Parts;
use super::{Done, EncodeOptions, Encoder, Hooks, Memo, Mode, Stop};
use crate::object::{Obj, Owned, Raised};

/// The memo of a `Pickler`.
pub struct PicklerMemo {
    memo: Memo,
    next_index: u32,
}

impl Default for PicklerMemo {
    fn default() -> Self {
        PicklerMemo { memo: Memo::new(Hold::Strong), next_index: 0 }
    }
}

impl PicklerMemo {
    /// The memo as pickle shows it: `{id(obj): (index, obj)}`.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (obj, index) in self.memo.iter() {
            dict.set_item(obj.ptr() as usize, (index, obj.bound(py)))?;
        }
        Ok(dict)
    }

    /// A memo of what [`PicklerMemo::to_dict`] gave.
    ///
    /// # Errors
    /// `TypeError` for values that are no pairs of an index and an object.
    pub fn from_dict(dict: &Bound<'_, PyDict>) -> PyResult<PicklerMemo> {
        let mut memo = PicklerMemo::default();
        for value in dict.values() {
            let pair = value.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let Some(pair) = pair else {
                let message = "'memo' values must be 2-item tuples";
                return Err(pyo3::exceptions::PyTypeError::new_err(message));
            };
            memo.memo.put(Obj::of(&pair.get_item(1)?), pair.get_item(0)?.extract()?);
        }
        memo.next_index = memo.memo.len() as u32;
        Ok(memo)
    }

    /// For the cyclic collector.
    ///
    /// # Errors
    /// What the visitor answers.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.memo.traverse(visit)
    }
}

/// Pickles one object into `write`, remembering in `memo` what it wrote.
///
/// # Errors
/// As [`super::dump`]; what was memoised until then stays in the memo.
pub fn dump_with<'py>(
    obj: &Bound<'py, PyAny>,
    write: &Bound<'py, PyAny>,
    options: EncodeOptions,
    hooks: &Hooks<'py>,
    memo: &mut PicklerMemo,
) -> PyResult<()> {
    let write = Owned::from_bound(write.clone());
    let out = Output::new(Some(write)).map_err(Raised::take)?;
    let taken = std::mem::take(memo);
    let parts = Parts { out, memo: taken.memo, next_index: taken.next_index };
    let mut encoder = match Encoder::resume(obj.py(), options, hooks, Mode::Full, parts) {
        Ok(encoder) => encoder,
        Err(_) => return Err(Raised.take()),
    };
    let done = (|| -> Done {
        encoder.header()?;
        encoder.save(Obj::of(obj), false)?;
        encoder.finish().map(drop)
    })();
    // The error is taken before anything is dropped, which may run Python code.
    let done = match done {
        Ok(()) => Ok(()),
        Err(Stop::Raised) => Err(Raised.take()),
        Err(Stop::Restart) => Err(super::internal_error()),
    };
    let parts = encoder.into_parts();
    memo.memo = parts.memo;
    memo.next_index = parts.next_index;
    done
}
