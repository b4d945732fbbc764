//! Splitting a file of several pickles, one after another: each is one item,
//! and segments are lists of them.

use std::collections::HashMap;
use std::io::{BufWriter, Write as _};
use std::sync::mpsc::{RecvError, sync_channel};
use std::thread;

use super::join::{Joining, Merged, Object, Objects};
use super::ops::*;
use super::splice::Splice;
use super::window::{BLOCK, Fault, Window};
use super::{AHEAD, Guarded, SplitOptions, SplitReport, Target, cores, file_name, told};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::{Entry, Header, Kind, SharedCounts};
use crate::progress::Totals;
use crate::store::Location;
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

/// Whether what is at `offset` looks like the beginning of a pickle: one that
/// says its protocol, or begins with a value.
pub(crate) fn begins(input: &Input, offset: u64) -> Result<bool> {
    let mut bytes = [0; 2];
    let want = input.size().saturating_sub(offset).min(2) as usize;
    let room = bytes.get_mut(..want).unwrap_or_default();
    let read = input.data().read_exact_at(offset, room);
    read.map_err(|e| Error::io("read", input.path(), e))?;
    Ok(want == 2 && can_begin(&bytes))
}

/// Whether a pickle can begin with these bytes.
fn can_begin(bytes: &[u8; 2]) -> bool {
    match bytes {
        [PROTO, protocol] => *protocol <= 5,
        [
            MARK | EMPTY_LIST | EMPTY_DICT | EMPTY_TUPLE | GLOBAL | INT | LONG | FLOAT | STRING
            | UNICODE | NONE | BININT | BININT1 | BININT2 | BINFLOAT | BINUNICODE | BINSTRING
            | SHORT_BINSTRING,
            _,
        ] => true,
        _ => false,
    }
}

/// Finds the pickles, one after another.
struct Finder<'s> {
    input: &'s Input,
    objects: Objects<'s>,
    /// Where the next one begins.
    offset: u64,
    /// How many there were.
    items: u64,
}

impl<'s> Finder<'s> {
    fn new(input: &'s Input) -> Self {
        Finder { input, objects: Objects::new(input), offset: 0, items: 0 }
    }

    /// The next pickle, `None` where nothing begins like one.
    fn next(&mut self) -> Result<Option<Object>> {
        let begins = match self.objects.ahead(self.offset) {
            _ if self.offset == 0 => true,
            Some(bytes) => can_begin(&bytes),
            None => self.offset < self.input.size() && begins(self.input, self.offset)?,
        };
        if !begins {
            return Ok(None);
        }
        let object = self.objects.read(self.offset).map_err(|fault| self.at(fault))?;
        self.offset = object.end;
        self.items += 1;
        Ok(Some(object))
    }

    /// A fault with the number of the pickle that has it.
    fn at(&self, fault: Fault) -> Error {
        let fault = match fault {
            Fault::Bad(at, message) => {
                Fault::Bad(at, format!("in pickle {} of the file: {message}", self.items))
            }
            fault => fault,
        };
        told(fault.into(), self.input.path())
    }
}

/// A segment being made.
struct Open<'m, 'o> {
    first: u64,
    from: u64,
    file: String,
    /// `None` for a segment that an earlier run has made.
    joining: Option<Joining<'m, BufWriter<Guarded<'o>>>>,
}

/// Splits a file of several pickles.
pub(super) fn split_stream(
    input: &Input,
    out: &Location,
    options: &SplitOptions<'_>,
    existing: Existing,
    fingerprint: String,
) -> Result<SplitReport> {
    let mut header = Header::new(Kind::List, fingerprint);
    header.source = Some(input.describe());
    header.made_by = options.made_by.map(str::to_owned);
    header.sha256 = options.sha256;
    let writer = SegmentsWriter::create(out, existing, header)?;
    let done = writer.done().into_iter().map(|entry| (entry.index, entry.clone())).collect();
    options.progress.totals(Totals { bytes: Some(input.size()), ..Totals::default() });
    let mut merged = Merged::new(Kind::List, true);
    merged.look(&super::Member { input, objects: true, held: None })?;
    let mut stream = Stream {
        input,
        out,
        options,
        merged: &merged,
        writer,
        done,
        open: None,
        offset: 0,
        segments: 0,
        items: 0,
        resumed: 0,
    };
    if input.size() > AHEAD && cores() > 1 {
        stream.side_by_side()?;
    } else {
        stream.in_turn()?;
    }
    stream.finish()
}

/// Pickles that are found ahead at most, if they are small.
const AT_ONCE: usize = 1 << 10;

struct Stream<'s, 'o> {
    input: &'s Input,
    out: &'s Location,
    options: &'s SplitOptions<'o>,
    merged: &'s Merged,
    writer: SegmentsWriter,
    done: HashMap<u64, Entry>,
    open: Option<Open<'s, 'o>>,
    /// Where the last pickle ended.
    offset: u64,
    segments: u64,
    items: u64,
    resumed: u64,
}

impl<'s, 'o> Stream<'s, 'o> {
    /// Finds a pickle and writes it, by turns.
    fn in_turn(&mut self) -> Result<()> {
        let mut finder = Finder::new(self.input);
        let mut splice = self.splice();
        while let Some(object) = finder.next()? {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted);
            }
            // What the finder has in memory is not read again.
            std::mem::swap(splice.window(), finder.objects.window());
            self.add(&object, &mut splice)?;
            std::mem::swap(splice.window(), finder.objects.window());
        }
        Ok(())
    }

    /// Finds pickles in a thread of its own, which runs ahead of the writing by a block or a
    /// pickle.
    fn side_by_side(&mut self) -> Result<()> {
        let (input, interrupt) = (self.input, self.options.interrupt);
        let (sender, receiver) = sync_channel(1);
        thread::scope(|scope| {
            let find = move || {
                let mut finder = Finder::new(input);
                loop {
                    let (from, mut found) = (finder.offset, Vec::new());
                    let more = loop {
                        match finder.next() {
                            Ok(Some(object)) => found.push(object),
                            Ok(None) => break Ok(false),
                            Err(error) => break Err(error),
                        }
                        if found.len() >= AT_ONCE || finder.offset - from >= BLOCK as u64 {
                            break Ok(true);
                        }
                    };
                    let last = !matches!(more, Ok(true));
                    // The writer has given up, or will for the same reason.
                    if interrupt() || sender.send((found, more)).is_err() || last {
                        return;
                    }
                }
            };
            let find =
                thread::Builder::new().name("picklet scan".to_owned()).spawn_scoped(scope, find);
            find.map_err(|error| Error::io("start a thread for", input.path(), error))?;
            // The receiver goes away with this closure's end, and the thread then ends too.
            let receiver = receiver;
            let mut splice = self.splice();
            loop {
                let (found, more) = match receiver.recv() {
                    Ok(found) => found,
                    Err(RecvError) => return Err(Error::Interrupted),
                };
                for object in &found {
                    if interrupt() {
                        return Err(Error::Interrupted);
                    }
                    self.add(object, &mut splice)?;
                }
                if !more? {
                    return Ok(());
                }
            }
        })
    }

    fn splice(&self) -> Splice<'s> {
        Splice::pickles(Window::new(self.input.data(), self.input.size()))
    }

    /// Adds the next pickle.
    fn add(&mut self, object: &Object, splice: &mut Splice<'_>) -> Result<()> {
        let offset = self.offset;
        if self.open.as_ref().is_some_and(|open| self.is_full(open, offset)) {
            self.close()?;
        }
        if self.open.is_none() {
            self.open = Some(self.open(offset)?);
        }
        if let Some(Open { joining: Some(joining), .. }) = &mut self.open {
            let added = joining.add_object(self.input, object, splice);
            added.map_err(|error| self.stopped(error))?;
        }
        self.items += 1;
        self.offset = object.end;
        Ok(())
    }

    fn finish(mut self) -> Result<SplitReport> {
        self.close()?;
        let (offset, size) = (self.offset, self.input.size());
        let mut warnings = Vec::new();
        if offset < size {
            warnings.push(format!(
                "{}: {} bytes after the last pickle's end at byte {offset} are left out",
                self.input.path().display(),
                size - offset
            ));
        }
        let done = self.writer.settle()?;
        self.tell(done);
        Ok(SplitReport {
            segments: self.writer.finish()?,
            items: self.items,
            resumed: self.resumed,
            shared: SharedCounts::default(),
            warnings,
        })
    }

    /// What an error is: that nothing was written when it was to stop, or itself.
    fn stopped(&self, error: Error) -> Error {
        if (self.options.interrupt)() { Error::Interrupted } else { error }
    }

    /// Says which segments are done.
    fn tell(&self, done: Vec<Entry>) {
        for entry in done {
            self.options.progress.segment(&entry.file);
        }
    }

    /// Whether a segment ends before the pickle at `offset`.
    fn is_full(&self, open: &Open<'_, '_>, offset: u64) -> bool {
        match self.options.target {
            Target::Items(most) => self.items - open.first >= most,
            Target::Bytes(bytes) => offset - open.from >= bytes,
            Target::Parts(parts) => {
                let part = |at: u64| {
                    u128::from(at) * u128::from(parts) / u128::from(self.input.size().max(1))
                };
                part(offset) > part(open.from)
            }
        }
    }

    fn open(&mut self, from: u64) -> Result<Open<'s, 'o>> {
        let file = file_name(self.options, self.segments, self.items)?;
        let first = self.items;
        if let Some(entry) = self.done.get(&self.segments) {
            if entry.file == file {
                return Ok(Open { first, from, file, joining: None });
            }
            self.writer.discard(&entry.file)?;
        }
        let draft = self.writer.draft(&file)?;
        let guarded = Guarded::new(draft, self.options.interrupt);
        let path = self.out.path().join(&file);
        let joining = self.merged.begin(BufWriter::with_capacity(1 << 15, guarded), &path)?;
        Ok(Open { first, from, file, joining: Some(joining) })
    }

    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let count = self.items - open.first;
        let index = self.segments;
        self.segments += 1;
        match open.joining {
            None => {
                self.resumed += 1;
                self.options.progress.segment(&open.file);
            }
            Some(joining) => {
                let path = self.out.path().join(&open.file);
                let ended = joining.finish().and_then(|mut out| {
                    out.flush().map_err(|e| Error::io("write", &path, e))?;
                    Ok(out.into_parts().0)
                });
                let guarded = ended.map_err(|error| self.stopped(error))?;
                let meta = EntryMeta { index, items: Some(count), ..EntryMeta::default() };
                let done = self.writer.stage(guarded.draft, meta)?;
                self.tell(done);
            }
        }
        self.options.progress.bytes(self.offset - open.from);
        self.options.progress.items(count);
        Ok(())
    }
}
