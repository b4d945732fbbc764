//! The cyclic collector, kept from running while what it might do would be in the way.
//!
//! It finalises whatever garbage there is, and a finaliser is Python code that may change any
//! object. Up to Python 3.11 it runs inside of whatever allocates a container; from 3.12 on, only
//! between the bytecodes of Python code.

use pyo3::ffi;
use pyo3::prelude::*;

/// Keeps the cyclic collector from running; dropping it restores what was.
pub(crate) struct CollectorPause {
    was_enabled: bool,
}

impl CollectorPause {
    pub(crate) fn begin(_py: Python<'_>) -> CollectorPause {
        // SAFETY: the GIL is held, which `_py` stands for.
        CollectorPause { was_enabled: unsafe { ffi::PyGC_Disable() } != 0 }
    }

    /// Runs Python code: with the collector as it was before the pause.
    pub(crate) fn lifted<T>(&self, run: impl FnOnce() -> T) -> T {
        if !self.was_enabled {
            return run();
        }
        // SAFETY: the GIL is held: a pause does not leave the thread that began it.
        unsafe { ffi::PyGC_Enable() };
        let answer = run();
        // Code that turned the collector off meant it; there is no telling for how long, so it
        // stays off until the pause ends, which turns it on again as it was.
        // SAFETY: as above.
        unsafe { ffi::PyGC_Disable() };
        answer
    }
}

impl Drop for CollectorPause {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: as above.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}
