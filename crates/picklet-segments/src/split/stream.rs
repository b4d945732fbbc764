//! Splitting a file of several pickles, one after another: each is one item,
//! and segments are lists of them.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::thread;

use super::background::{Background, Behind};
use super::join::{Joining, Merged, Objects};
use super::ops::*;
use super::window::Fault;
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

/// Where a segment goes.
enum Out<'o> {
    Here(Box<BufWriter<Guarded<'o>>>),
    /// Through another thread.
    Behind(Behind<Guarded<'o>>),
}

impl<'o> Out<'o> {
    /// Writes what is left; gives back what it was made of.
    fn end(self) -> io::Result<(Guarded<'o>, Option<Background<Guarded<'o>>>)> {
        match self {
            Out::Here(mut out) => {
                out.flush()?;
                Ok((out.into_parts().0, None))
            }
            Out::Behind(behind) => {
                behind.end().map(|(guarded, background)| (guarded, Some(background)))
            }
        }
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Here(out) => out.write(bytes),
            Out::Behind(behind) => behind.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Here(out) => out.flush(),
            Out::Behind(behind) => behind.flush(),
        }
    }
}

/// A segment being made.
struct Open<'m, 'o> {
    first: u64,
    from: u64,
    file: String,
    /// `None` for a segment that an earlier run has made.
    joining: Option<Joining<'m, Out<'o>>>,
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
    thread::scope(|scope| {
        let background = if input.size() > AHEAD && cores() > 1 {
            let started = Background::start(scope);
            Some(started.map_err(|e| Error::io("start a thread for", input.path(), e))?)
        } else {
            None
        };
        Stream {
            input,
            out,
            options,
            merged: &merged,
            writer,
            background,
            done,
            segments: 0,
            items: 0,
            resumed: 0,
        }
        .run()
    })
}

struct Stream<'s, 'o> {
    input: &'s Input,
    out: &'s Location,
    options: &'s SplitOptions<'o>,
    merged: &'s Merged,
    writer: SegmentsWriter,
    /// The thread that writes, unless a segment is open or there is one core only.
    background: Option<Background<Guarded<'o>>>,
    done: HashMap<u64, Entry>,
    segments: u64,
    items: u64,
    resumed: u64,
}

impl<'s, 'o> Stream<'s, 'o> {
    fn run(mut self) -> Result<SplitReport> {
        let size = self.input.size();
        let mut objects = Objects::new(self.input);
        let mut open: Option<Open<'s, 'o>> = None;
        let mut offset = 0;
        loop {
            let more = match objects.ahead(offset) {
                _ if offset == 0 => true,
                Some(bytes) => can_begin(&bytes),
                None => offset < size && begins(self.input, offset)?,
            };
            if !more {
                break;
            }
            if (self.options.interrupt)() {
                return Err(Error::Interrupted);
            }
            let end = objects.read(offset).map_err(|fault| self.at(fault))?;
            if open.as_ref().is_some_and(|open| self.is_full(open, offset)) {
                self.close(open.take(), offset)?;
            }
            let segment = match open.take() {
                Some(segment) => open.insert(segment),
                None => open.insert(self.open(offset)?),
            };
            if let Some(joining) = &mut segment.joining {
                let read = joining.read_object(self.input, &mut objects);
                read.map_err(|error| self.stopped(error))?;
            }
            self.items += 1;
            offset = end;
        }
        self.close(open.take(), offset)?;
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
        let out = match self.background.take() {
            Some(background) => Out::Behind(background.begin(guarded)),
            None => Out::Here(Box::new(BufWriter::with_capacity(1 << 15, guarded))),
        };
        let joining = self.merged.begin(out, &path)?;
        Ok(Open { first, from, file, joining: Some(joining) })
    }

    fn close(&mut self, open: Option<Open<'s, 'o>>, end: u64) -> Result<()> {
        let Some(open) = open else { return Ok(()) };
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
                let ended = joining
                    .finish()
                    .and_then(|out| out.end().map_err(|e| Error::io("write", &path, e)));
                let (guarded, background) = ended.map_err(|error| self.stopped(error))?;
                self.background = background;
                let meta = EntryMeta { index, items: Some(count), ..EntryMeta::default() };
                let done = self.writer.stage(guarded.draft, meta)?;
                self.tell(done);
            }
        }
        self.options.progress.bytes(end - open.from);
        self.options.progress.items(count);
        Ok(())
    }
}
