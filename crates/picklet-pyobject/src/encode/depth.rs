//! How deep an encoder goes: as deep as the interpreter lets it.
//!
//! The walk calls itself for each level of nesting, and counts the levels in the interpreter's own
//! way, so that RecursionError comes where C's pickler raises it. But `sys.setrecursionlimit` may
//! allow more levels than the thread's stack has room for, up to Python 3.11; C's pickler crashes
//! then, and this one goes on in another piece of stack.

use pyo3::ffi;

use crate::object::Raised;

/// Levels from one look at the stack to the next.
const LEVELS: u32 = 64;
/// What these levels, and the Python code that one of them runs, may take of the stack.
const ROOM: usize = 512 * 1024;
/// Another piece of stack.
const PIECE: usize = 4 * 1024 * 1024;

/// Levels that are open, and those that the interpreter counts.
///
/// Counting costs two calls for each container. Nothing looks at the count while no code of the
/// interpreter runs: then a level that was left stays counted for the next one that opens, until
/// [`Depth::settle`].
pub(super) struct Depth {
    open: u32,
    counted: u32,
    /// Levels that are left are still counted.
    lazy: bool,
}

impl Depth {
    /// `lazy` for a walk that calls [`Depth::settle`] before anything of the interpreter runs.
    #[inline(always)]
    pub(super) fn new(lazy: bool) -> Self {
        Depth { open: 0, counted: 0, lazy }
    }

    /// One level further down, within the interpreter's limit. Whether to look at the stack.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> Result<bool, Raised> {
        if self.open == self.counted {
            enter()?;
            self.counted += 1;
        }
        self.open += 1;
        Ok(self.open % LEVELS == 1)
    }

    /// Whether one level more is counted already and needs no look at the stack.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.open < self.counted && !self.open.is_multiple_of(LEVELS)
    }

    /// One level further down, where [`Depth::has_room`].
    #[inline(always)]
    pub(super) fn enter_counted(&mut self) {
        self.open += 1;
    }

    #[inline(always)]
    pub(super) fn leave(&mut self) {
        self.open -= 1;
        if !self.lazy {
            self.settle();
        }
    }

    /// Makes the interpreter's count that of the levels that are open.
    #[inline(always)]
    pub(super) fn settle(&mut self) {
        while self.counted > self.open {
            self.counted -= 1;
            // SAFETY: each counted level was entered once.
            unsafe { ffi::Py_LeaveRecursiveCall() };
        }
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        self.settle();
    }
}

#[inline(always)]
fn enter() -> Result<(), Raised> {
    // SAFETY: the message is a C string; a non-zero answer means that RecursionError is set.
    match unsafe { ffi::Py_EnterRecursiveCall(c" while pickling an object".as_ptr()) } {
        0 => Ok(()),
        _ => Err(Raised),
    }
}

/// Runs `walk` with more stack, if it was to be looked at and there is too little.
#[inline(always)]
pub(super) fn with_room<T>(look: bool, walk: impl FnOnce() -> T) -> T {
    if look { stacker::maybe_grow(ROOM, PIECE, walk) } else { walk() }
}

/// Runs `walk` one level deeper, within the interpreter's limit, and with the stack that it needs.
pub(super) fn deeper<T>(walk: impl FnOnce() -> Result<T, Raised>) -> Result<T, Raised> {
    enter()?;
    let done = with_room(true, walk);
    // SAFETY: matches the successful enter above.
    unsafe { ffi::Py_LeaveRecursiveCall() };
    done
}
