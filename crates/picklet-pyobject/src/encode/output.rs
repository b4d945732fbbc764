//! Where encoded bytes go: a growing `bytes` object, cut into frames from protocol 4 on.
//!
//! The buffer is the `bytes` object that `dumps` returns, so that a large result is never copied.
//! A small one is written into memory that a thread keeps from one dump to the next: making a
//! `bytes` object too large, and giving back what it did not need, took as long as the rest of a
//! dump of one value.
//! Frames follow CPython's C pickler to the byte (`Modules/_pickle.c`): a frame is closed at the
//! first opcode boundary at or past 64 KiB, values of 64 KiB and more are written outside of
//! frames, and a frame that would hold fewer than 4 bytes is left out.

use std::cell::Cell;

use pyo3::ffi;
use pyo3::prelude::Python;

use crate::collector::CollectorPause;
use crate::object::{Obj, Owned, Raised};

/// A frame is closed once it holds this many bytes; larger values go outside of frames.
pub(crate) const FRAME_TARGET: usize = 64 * 1024;
/// Frames of fewer bytes are not written.
const FRAME_MIN: usize = 4;
const FRAME_HEADER: usize = 9;
const FRAME_OPCODE: u8 = 0x95;
/// Bytes that a thread keeps: room for a frame, after which dumps to a file begin anew.
const KEPT: usize = FRAME_TARGET + 2 * SLACK;
/// Closed frames leave for the file once they are this many bytes.
const SEND_AT: usize = 256 * 1024;
/// Room that [`Output::begin_value`] promises: any scalar and its memo opcode.
pub(crate) const SLACK: usize = 512;

thread_local! {
    /// Where the next dump of the thread begins to write.
    static FIRST: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The output of one dump.
pub(crate) struct Output {
    /// Null as long as `first` is large enough.
    buffer: *mut ffi::PyObject,
    first: Vec<u8>,
    /// Where either begins.
    data: *mut u8,
    len: usize,
    capacity: usize,
    framing: bool,
    /// Where the open frame's header is; meaningful while `boundary` is not `usize::MAX`.
    frame_start: usize,
    /// The length at which the next opcode boundary closes the frame.
    boundary: usize,
    /// The length from which [`Output::begin_value`] has something to do.
    watermark: usize,
    /// Bytes that have left for the file.
    flushed: u64,
    /// `file.write`, when the output streams.
    write: Option<Owned>,
    keeping: Keeping,
    /// The collector waits while this is written, but not while `file.write` runs.
    pause: Option<CollectorPause>,
}

/// What becomes of frames that are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// They stay, or leave for the file at once.
    AsTheyCome,
    /// They stay until [`Output::send_closed`].
    UntilSent,
    /// They are counted and thrown away.
    Nothing,
}

impl Output {
    pub(crate) fn new(write: Option<Owned>) -> Result<Output, Raised> {
        let mut first = FIRST.try_with(Cell::take).unwrap_or_default();
        if first.capacity() < KEPT {
            first.try_reserve_exact(KEPT).map_err(|_| no_memory())?;
        }
        Ok(Output {
            buffer: std::ptr::null_mut(),
            data: first.as_mut_ptr(),
            len: 0,
            capacity: first.capacity(),
            first,
            framing: false,
            frame_start: 0,
            boundary: usize::MAX,
            watermark: KEPT - SLACK,
            flushed: 0,
            write,
            keeping: Keeping::AsTheyCome,
            pause: None,
        })
    }

    /// The collector waits from here on.
    pub(crate) fn pause_collector(&mut self, py: Python<'_>) {
        self.pause = Some(CollectorPause::begin(py));
    }

    /// From here on closed frames are dealt with so.
    pub(crate) fn keep(&mut self, keeping: Keeping) {
        self.keeping = keeping;
    }

    /// Whether enough frames are closed to be worth a call of `file.write`.
    #[inline(always)]
    pub(crate) fn is_worth_sending(&self) -> bool {
        self.frame_start >= SEND_AT
    }

    /// Sends the closed frames; the open one stays as it is.
    #[cold]
    #[inline(never)]
    pub(crate) fn send_closed(&mut self) -> Result<(), Raised> {
        let closed = self.frame_start;
        if closed == 0 || self.boundary == usize::MAX {
            return Ok(());
        }
        let open = self.len - closed;
        let mut next = Output::new(None)?;
        next.reserve(open + FRAME_TARGET + SLACK)?;
        // SAFETY: the open frame is the last `open` bytes of this buffer; the other one has room.
        unsafe { std::ptr::copy_nonoverlapping(self.data.add(closed), next.data, open) };
        std::mem::swap(&mut self.buffer, &mut next.buffer);
        std::mem::swap(&mut self.first, &mut next.first);
        std::mem::swap(&mut self.data, &mut next.data);
        std::mem::swap(&mut self.capacity, &mut next.capacity);
        self.len = open;
        self.frame_start = 0;
        self.boundary -= closed;
        self.set_watermark();
        next.len = closed;
        let ready = next.take_bytes()?;
        self.flushed += closed as u64;
        self.send(ready.obj())
    }

    /// Bytes written so far, those that have left included.
    pub(crate) fn written(&self) -> u64 {
        self.flushed + self.len as u64
    }

    #[inline(always)]
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), Raised> {
        if self.capacity - self.len < more { self.grow(more) } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) -> Result<(), Raised> {
        let wanted = self.len.saturating_add(more);
        // Half as much again, as C's pickler grows: peak memory must not exceed its.
        let capacity = wanted.saturating_add(wanted / 2);
        let size = ffi::Py_ssize_t::try_from(capacity).map_err(|_| no_memory())?;
        // SAFETY: `buffer` is null or a bytes object that only we refer to, which is what
        // _PyBytes_Resize asks for; it sets the pointer to null when it fails. A new one is larger
        // than what `data` holds so far.
        unsafe {
            if self.buffer.is_null() {
                self.buffer = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
                if !self.buffer.is_null() {
                    let to = ffi::PyBytes_AsString(self.buffer).cast::<u8>();
                    std::ptr::copy_nonoverlapping(self.data, to, self.len);
                }
            } else {
                _PyBytes_Resize(&mut self.buffer, size);
            }
            if self.buffer.is_null() {
                self.len = 0;
                self.capacity = 0;
                self.boundary = usize::MAX;
                self.watermark = 0;
                return Err(Raised);
            }
            self.data = ffi::PyBytes_AsString(self.buffer).cast::<u8>();
        }
        self.capacity = capacity;
        self.set_watermark();
        Ok(())
    }

    fn set_watermark(&mut self) {
        self.watermark = self.boundary.min(self.capacity.saturating_sub(SLACK));
    }

    /// An opcode boundary that also makes room for [`SLACK`] bytes, in one comparison.
    #[inline(always)]
    pub(crate) fn begin_value(&mut self) -> Result<(), Raised> {
        if self.len < self.watermark { Ok(()) } else { self.begin_value_slowly() }
    }

    #[cold]
    #[inline(never)]
    fn begin_value_slowly(&mut self) -> Result<(), Raised> {
        self.opcode_boundary()?;
        self.reserve(SLACK)
    }

    /// Appends the lowest `len` bytes of `word`, at most 8, after [`Output::begin_value`].
    #[inline(always)]
    pub(crate) fn word(&mut self, word: u64, len: usize) {
        debug_assert!(len <= 8 && self.capacity - self.len >= 8);
        // SAFETY: `begin_value` made room for SLACK bytes, of which a value uses few; what is
        // written beyond `len` lies in that room and is overwritten later.
        unsafe {
            std::ptr::copy_nonoverlapping(
                word.to_le_bytes().as_ptr(),
                self.data.add(self.len),
                size_of::<u64>(),
            );
        }
        self.len += len;
    }

    /// Appends values of up to nine bytes, each with an opcode boundary before it, while `next` gives
    /// them: a byte, a word of which the lowest bytes follow, and the length of it all. Everything
    /// that each changes is kept in registers, which `word` cannot.
    #[inline(always)]
    pub(crate) fn run(
        &mut self,
        mut next: impl FnMut() -> Option<(u8, u64, usize)>,
    ) -> Result<(), Raised> {
        let (mut data, mut len, mut watermark) = (self.data, self.len, self.watermark);
        while let Some((first, word, size)) = next() {
            debug_assert!(size <= 9);
            if len >= watermark {
                self.len = len;
                self.begin_value_slowly()?;
                (data, len, watermark) = (self.data, self.len, self.watermark);
            }
            // SAFETY: below the watermark, and after `begin_value_slowly`, there is room for SLACK
            // bytes; what is written beyond `size` lies in that room and is overwritten later.
            unsafe {
                let end = data.add(len);
                *end = first;
                let word = word.to_le_bytes();
                std::ptr::copy_nonoverlapping(word.as_ptr(), end.add(1), size_of::<u64>());
            }
            len += size;
        }
        self.len = len;
        Ok(())
    }

    /// Appends up to 255 bytes after [`Output::begin_value`].
    #[inline(always)]
    pub(crate) fn short(&mut self, bytes: &[u8]) {
        let len = bytes.len();
        debug_assert!(len < 256 && self.capacity - self.len >= len);
        // SAFETY: `begin_value` made room. Each pair of copies covers `len` bytes, overlapping
        // where they are fewer than two widths; both lie within `bytes` and the room.
        unsafe {
            let (from, to) = (bytes.as_ptr(), self.data.add(self.len));
            match len {
                8..=16 => {
                    std::ptr::copy_nonoverlapping(from, to, 8);
                    std::ptr::copy_nonoverlapping(from.add(len - 8), to.add(len - 8), 8);
                }
                17..=32 => {
                    std::ptr::copy_nonoverlapping(from, to, 16);
                    std::ptr::copy_nonoverlapping(from.add(len - 16), to.add(len - 16), 16);
                }
                4..=7 => {
                    std::ptr::copy_nonoverlapping(from, to, 4);
                    std::ptr::copy_nonoverlapping(from.add(len - 4), to.add(len - 4), 4);
                }
                _ => std::ptr::copy_nonoverlapping(from, to, len),
            }
        }
        self.len += len;
    }

    /// Appends bytes for which [`Output::reserve`] has made room.
    #[inline(always)]
    fn append_reserved(&mut self, bytes: &[u8]) {
        debug_assert!(self.capacity - self.len >= bytes.len());
        // SAFETY: the caller reserved room, and `bytes` is never part of our own buffer.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data.add(self.len), bytes.len());
        }
        self.len += bytes.len();
    }

    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Raised> {
        self.reserve(bytes.len())?;
        self.append_reserved(bytes);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn byte(&mut self, byte: u8) -> Result<(), Raised> {
        self.reserve(1)?;
        // SAFETY: one byte of room was just made.
        unsafe { *self.data.add(self.len) = byte };
        self.len += 1;
        Ok(())
    }

    /// A header and its payload in one go, for payloads below [`FRAME_TARGET`].
    #[inline(always)]
    pub(crate) fn write_two(&mut self, header: &[u8], payload: &[u8]) -> Result<(), Raised> {
        self.reserve(header.len() + payload.len())?;
        self.append_reserved(header);
        self.append_reserved(payload);
        Ok(())
    }

    /// Begins framing; the first frame opens at once.
    pub(crate) fn start_framing(&mut self) -> Result<(), Raised> {
        self.framing = true;
        self.open_frame()
    }

    fn open_frame(&mut self) -> Result<(), Raised> {
        self.frame_start = self.len;
        self.write(&[0; FRAME_HEADER])?;
        self.boundary = self.len + FRAME_TARGET;
        self.set_watermark();
        Ok(())
    }

    /// Called before every value: closes the frame when it is full, and lets it leave.
    #[inline(always)]
    pub(crate) fn opcode_boundary(&mut self) -> Result<(), Raised> {
        if self.len >= self.boundary { self.next_frame() } else { Ok(()) }
    }

    #[cold]
    #[inline(never)]
    fn next_frame(&mut self) -> Result<(), Raised> {
        self.close_frame();
        self.let_go()?;
        self.open_frame()
    }

    /// What was closed leaves, or is thrown away.
    fn let_go(&mut self) -> Result<(), Raised> {
        match self.keeping {
            Keeping::AsTheyCome if self.write.is_some() => self.flush(),
            Keeping::AsTheyCome | Keeping::UntilSent => Ok(()),
            Keeping::Nothing => {
                self.flushed += self.len as u64;
                self.len = 0;
                Ok(())
            }
        }
    }

    fn close_frame(&mut self) {
        if self.boundary == usize::MAX {
            return;
        }
        self.boundary = usize::MAX;
        self.set_watermark();
        let body = self.frame_start + FRAME_HEADER;
        let size = self.len - body;
        // SAFETY: the frame's header lies at frame_start, inside the buffer, before `len`.
        unsafe {
            let at = self.data.add(self.frame_start);
            if size >= FRAME_MIN {
                *at = FRAME_OPCODE;
                std::ptr::copy_nonoverlapping(
                    (size as u64).to_le_bytes().as_ptr(),
                    at.add(1),
                    FRAME_HEADER - 1,
                );
            } else {
                std::ptr::copy(at.add(FRAME_HEADER), at, size);
                self.len -= FRAME_HEADER;
            }
        }
    }

    /// Writes a large value outside of frames; `payload` is the object that holds `data`, handed
    /// to `file.write` uncopied when the output streams and may be sent now.
    pub(crate) fn write_large(
        &mut self,
        header: &[u8],
        data: &[u8],
        payload: Option<Obj>,
        may_send: bool,
    ) -> Result<(), Raised> {
        self.close_frame();
        self.write(header)?;
        if self.keeping == Keeping::Nothing {
            self.flushed += data.len() as u64;
            self.let_go()?;
        } else if self.write.is_some() && may_send {
            match payload {
                Some(obj) => {
                    self.flush()?;
                    self.send(obj)?;
                }
                None => {
                    // Before anything is sent, since `data` may be gone by then.
                    let copy = new_bytes(data)?;
                    self.flush()?;
                    self.send(copy.obj())?;
                }
            }
            self.flushed += data.len() as u64;
        } else {
            // Exactly what is needed, as C's pickler does, would reallocate at the next opcode.
            self.write(data)?;
        }
        if self.framing { self.open_frame() } else { Ok(()) }
    }

    fn send(&self, obj: Obj) -> Result<(), Raised> {
        let Some(write) = &self.write else { return Ok(()) };
        let call = || {
            // SAFETY: both are live objects; a null result means that an exception is set.
            unsafe { Owned::from_new(ffi::PyObject_CallOneArg(write.ptr(), obj.ptr())) }.map(drop)
        };
        match &self.pause {
            Some(pause) => pause.lifted(call),
            None => call(),
        }
    }

    /// Hands the buffered bytes to `file.write`.
    fn flush(&mut self) -> Result<(), Raised> {
        if self.len == 0 {
            return Ok(());
        }
        let ready = self.take_bytes()?;
        self.flushed += crate::object::bytes_of(ready.obj()).len() as u64;
        self.send(ready.obj())?;
        drop(ready);
        self.reserve(FRAME_TARGET)
    }

    fn take_bytes(&mut self) -> Result<Owned, Raised> {
        // SAFETY: `data` holds `len` bytes. A buffer is ours alone; on failure _PyBytes_Resize
        // frees it and sets null.
        let bytes = unsafe {
            if self.buffer.is_null() {
                new_bytes(std::slice::from_raw_parts(self.data, self.len))
            } else {
                _PyBytes_Resize(&mut self.buffer, self.len as ffi::Py_ssize_t);
                Owned::from_new(std::mem::replace(&mut self.buffer, std::ptr::null_mut()))
            }
        };
        self.len = 0;
        self.data = self.first.as_mut_ptr();
        self.capacity = self.first.capacity();
        self.set_watermark();
        bytes
    }

    /// Closes the last frame. Gives the bytes, or sends them to the file and gives none.
    pub(crate) fn finish(&mut self) -> Result<Option<Owned>, Raised> {
        self.close_frame();
        self.framing = false;
        if self.keeping == Keeping::Nothing {
            return Ok(None);
        }
        if self.write.is_some() {
            self.flush()?;
            return Ok(None);
        }
        self.take_bytes().map(Some)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: the buffer is null or a reference of ours.
        unsafe { ffi::Py_XDECREF(self.buffer) }
        let first = std::mem::take(&mut self.first);
        // A thread that is ending keeps nothing.
        let _ = FIRST.try_with(|kept| kept.set(first));
    }
}

unsafe extern "C" {
    /// Changes the size of a bytes object that nobody else refers to (documented C API, which
    /// the bindings leave out).
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> std::ffi::c_int;
}

/// A new `bytes` object holding a copy.
pub(crate) fn new_bytes(data: &[u8]) -> Result<Owned, Raised> {
    // SAFETY: the pointer and length are those of a slice; null means that an exception is set.
    unsafe {
        Owned::from_new(ffi::PyBytes_FromStringAndSize(
            data.as_ptr().cast(),
            data.len() as ffi::Py_ssize_t,
        ))
    }
}

fn no_memory() -> Raised {
    // SAFETY: the GIL is held; this sets the exception.
    unsafe { ffi::PyErr_NoMemory() };
    Raised
}
