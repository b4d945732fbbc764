//! What an `Unpickler` keeps from one load to the next: its memo, and in a safe load what the
//! guard knows of the globals in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::guard::Known;
use super::input::{File, Input};
use super::memo::Memo;
use super::{DecodeOptions, run_with};
use crate::object::Obj;

/// The memo of an `Unpickler`.
pub struct UnpicklerMemo {
    pub(super) memo: Memo,
    pub(super) known: Known,
}

// SAFETY: what it holds lives inside a Python object, and whatever uses or drops it holds the
// GIL, on whichever thread.
unsafe impl Send for UnpicklerMemo {}

impl Default for UnpicklerMemo {
    fn default() -> Self {
        UnpicklerMemo { memo: Memo::strong(), known: Known::default() }
    }
}

impl UnpicklerMemo {
    /// The memo as pickle shows it: `{index: obj}`.
    ///
    /// # Errors
    /// `MemoryError`.
    pub fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (index, obj) in self.memo.iter() {
            dict.set_item(index, obj.bound(py))?;
        }
        Ok(dict)
    }

    /// A memo of what [`UnpicklerMemo::to_dict`] gave.
    ///
    /// # Errors
    /// `TypeError` for keys that are no int, `ValueError` for negative ones.
    pub fn from_dict(dict: &Bound<'_, PyDict>) -> PyResult<UnpicklerMemo> {
        let mut memo = UnpicklerMemo::default();
        for (key, value) in dict.iter() {
            if !key.is_instance_of::<pyo3::types::PyInt>() {
                let message = "memo key must be integers";
                return Err(pyo3::exceptions::PyTypeError::new_err(message));
            }
            if key.lt(0)? {
                let message = "memo key must be positive integers.";
                return Err(pyo3::exceptions::PyValueError::new_err(message));
            }
            memo.memo.put(key.extract()?, Obj::of(&value));
        }
        Ok(memo)
    }

    /// For the cyclic collector.
    ///
    /// # Errors
    /// What the visitor answers.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for (_, obj) in self.memo.iter() {
            obj.visit(visit)?;
        }
        Ok(())
    }
}

/// The protocol of the pickle being loaded, for a `find_class` that is called back.
#[derive(Debug, Clone, Default)]
pub struct SeenProtocol(Arc<AtomicU8>);

impl SeenProtocol {
    /// What the last PROTO said; 0 before.
    pub fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, protocol: u8) {
        self.0.store(protocol, Ordering::Relaxed);
    }
}

/// As [`super::load`], going on with `memo`.
///
/// # Errors
/// As [`super::load`]; what was memoised until then stays in the memo.
pub fn load_with<'py>(
    file: &Bound<'py, PyAny>,
    options: &DecodeOptions<'py>,
    memo: &mut UnpicklerMemo,
) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    if let Some(seen) = &options.seen_protocol {
        seen.set(0);
    }
    run_with(py, Input::from_file(py, File::new(file)?), options, memo)
}

/// Whether `file` has the methods that a load needs.
///
/// # Errors
/// `TypeError` if not.
pub fn check_file(file: &Bound<'_, PyAny>) -> PyResult<()> {
    File::new(file).map(drop)
}
