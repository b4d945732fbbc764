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

/// Levels that are open.
#[derive(Default)]
pub(super) struct Depth(u32);

impl Depth {
    /// One level further down. Whether to look at the stack.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> bool {
        self.0 += 1;
        self.0 % LEVELS == 1
    }

    #[inline(always)]
    pub(super) fn leave(&mut self) {
        self.0 -= 1;
    }
}

/// Runs `walk` one level deeper, within the interpreter's limit: with more stack, if it was to be
/// looked at and there is too little.
#[inline(always)]
pub(super) fn deeper<T, E: From<Raised>>(
    look: bool,
    walk: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    // SAFETY: the message is a C string; a non-zero answer means that RecursionError is set.
    if unsafe { ffi::Py_EnterRecursiveCall(c" while pickling an object".as_ptr()) } != 0 {
        return Err(Raised.into());
    }
    let done = if look { stacker::maybe_grow(ROOM, PIECE, walk) } else { walk() };
    // SAFETY: matches the successful enter above.
    unsafe { ffi::Py_LeaveRecursiveCall() };
    done
}
