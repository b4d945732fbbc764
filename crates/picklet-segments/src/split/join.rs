//! Joins whole pickles: the items of several containers in one, or several
//! objects as the items of a list.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::emit::Halt;
use super::extract::top;
use super::items::{Items, Step};
use super::ops::*;
use super::rebase::{Framer, Joiner, Sharing, Stretch};
use super::refs::{Collector, Refs};
use super::root::{Found, Root, find};
use super::scan::{Event, Frame, NoTrace, Scanner, Trace};
use super::splice::{Splice, Texts};
use super::symbols::{Nodes, look};
use super::window::{BLOCK, Fault, Window};
use super::{kind, told};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Kind;

/// A pickle to be joined with others.
pub(crate) struct Member<'i> {
    pub(crate) input: &'i Input,
    /// Whether it is one item and not a container of items.
    pub(crate) objects: bool,
    /// What is known of it already; it is scanned for it otherwise.
    pub(crate) held: Option<Held>,
}

/// What the members have in common.
pub(crate) struct Merged {
    kind: Kind,
    objects: bool,
    protocol: u8,
    /// The form of the first container.
    form: Option<Root>,
    /// Where that is an instance with a state: the pickle of one without items, and where its
    /// items would be. The merged pickle ends as it does.
    empty: Option<(Vec<u8>, u64)>,
    /// What the first member holds, until it is added.
    first: RefCell<Option<Held>>,
    /// Texts that members refer to and that others before them may have.
    wanted: HashSet<Box<[u8]>>,
    wanted_bytes: usize,
}

/// Bytes of texts looked for, at most.
const MOST_WANTED: usize = 128 << 20;

/// What a member holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) root: Root,
    /// Where its items end.
    pub(crate) body_end: u64,
    /// The memo entries that are the container.
    pub(crate) container_ids: Vec<u64>,
    /// What a scan of all its items has met.
    pub(crate) seen: Option<Seen>,
}

/// What a scan of a member's items has met.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) refs: Refs,
    /// The frames, in order.
    pub(crate) frames: Vec<Frame>,
    /// Memo entries at the items' end.
    pub(crate) memo: u64,
    /// Whether MEMOIZE counts them, and whether numbers are left out.
    pub(crate) counted: bool,
    pub(crate) gaps: bool,
}

/// The root of a member and, scanned to its end, where its items end.
pub(crate) fn contents(input: &Input) -> Result<Held> {
    for by_end in [false, true] {
        let root = match top(input, by_end)? {
            Ok(root) => root,
            Err(what) => {
                return Err(Error::NotAContainer { path: input.path().to_owned(), what });
            }
        };
        let inner = || -> Result<Option<Held>, Fault> {
            let collector = Collector::<true>::new(root.body, root.prefix_memo);
            let window = Window::new(input.data(), input.size());
            let mut items = Items::traced(window, &root, collector)?;
            loop {
                match items.step()? {
                    Step::Unfit => return Ok(None),
                    Step::Piece => {}
                    Step::End { body_end, .. } => {
                        let seen = Some(Seen {
                            refs: items.trace.finish(root.prefix_memo),
                            frames: items.scanner.frames_seen(),
                            memo: items.scanner.memo(),
                            counted: items.scanner.counted(),
                            gaps: items.scanner.gaps,
                        });
                        let container_ids = items.container_ids;
                        return Ok(Some(Held {
                            root: root.clone(),
                            body_end,
                            container_ids,
                            seen,
                        }));
                    }
                }
            }
        };
        if let Some(held) = inner().map_err(|fault| told(fault.into(), input.path()))? {
            return Ok(held);
        }
    }
    Err(Error::input(input.path(), None, "holds a container of an unknown form"))
}

impl Merged {
    pub(crate) fn new(kind: Kind, objects: bool) -> Self {
        Merged {
            kind,
            objects,
            protocol: 0,
            form: None,
            empty: None,
            first: RefCell::new(None),
            wanted: HashSet::new(),
            wanted_bytes: 0,
        }
    }

    /// Takes the beginning of a member into account.
    pub(crate) fn look(&mut self, member: &Member<'_>) -> Result<()> {
        let input = member.input;
        let mut window = Window::new(input.data(), input.size());
        let first = window.op(0).map_err(|fault| told(fault.into(), input.path()))?;
        let protocol = if first.opcode == PROTO {
            let byte = window.copy(first.payload, first.end);
            let byte = byte.map_err(|fault| told(fault.into(), input.path()))?;
            byte.first().copied().unwrap_or(0).min(5)
        } else {
            0
        };
        self.protocol = self.protocol.max(protocol);
        if member.objects {
            return Ok(());
        }
        if self.form.is_some() {
            return self.want(input).map_err(|fault| told(fault.into(), input.path()));
        }
        let held = member.held.clone().map_or_else(|| contents(input), Ok)?;
        let root = &held.root;
        if kind(root.container) != self.kind {
            return Err(different(input, self.kind, root));
        }
        if root.state.is_some() {
            let pickle = super::extract::extract_from(input, root, &(0..0))?.unwrap_or_default();
            let prefix = memchr::memmem::find(&pickle, &root.prefix).unwrap_or(0);
            let after = (prefix + root.prefix.len()) as u64;
            self.empty = Some((pickle, after));
        }
        self.form = Some(root.clone());
        *self.first.borrow_mut() = Some(held);
        Ok(())
    }

    /// Takes note of the texts in front of a member's items. What is odd about
    /// it is found when it is added.
    fn want(&mut self, input: &Input) -> Result<(), Fault> {
        let (data, size) = (input.data(), input.size());
        let mut window = Window::new(data, size);
        let Some((from, before, protocol)) = beginning(&mut window) else { return Ok(()) };
        let mut nodes = Nodes::default();
        let look = look(data, from, size, before, protocol, &mut nodes)?;
        let entries = look.popped.iter().filter(|popped| popped.immutable);
        for id in entries.flat_map(|popped| popped.first..popped.after) {
            let Some(node) = look.node(id).filter(|node| nodes.is_text(*node)) else { continue };
            let operation = nodes.operation(node);
            if self.wanted_bytes < MOST_WANTED && !self.wanted.contains(operation) {
                self.wanted_bytes += operation.len() + 64;
                self.wanted.insert(operation.into());
            }
        }
        Ok(())
    }

    /// Begins to write.
    pub(crate) fn begin<'m, W: Write>(&'m self, mut out: W, name: &Path) -> Result<Joining<'m, W>> {
        let name = name.to_owned();
        let broken = |e: io::Error| Error::io("write", &name, e);
        if self.protocol >= 2 {
            out.write_all(&[PROTO, self.protocol]).map_err(broken)?;
        }
        let mut framer = Framer::new(out, self.protocol >= 4);
        let (prefix, memo): (&[u8], u64) = match (&self.form, self.objects, self.kind) {
            (Some(form), ..) => (&form.prefix, form.prefix_memo),
            (None, false, Kind::Dict) => (&[EMPTY_DICT], 0),
            (None, false, Kind::Tuple) => (&[MARK], 0),
            (None, false, Kind::Set) => (b"c__builtin__\nset\n]", 0),
            (None, false, Kind::Frozenset) => (b"c__builtin__\nfrozenset\n]", 0),
            _ => (&[EMPTY_LIST], 0),
        };
        framer.write_all(prefix).map_err(broken)?;
        let protocol = self.protocol;
        let texts = Texts::seeking(self.wanted.iter().map(AsRef::as_ref));
        Ok(Joining { merged: self, joiner: Joiner::new(framer, memo, texts), name, protocol })
    }
}

/// Where the items of a pickle seem to begin, the memo entries before them, and
/// the protocol; looks at its first operations only.
fn beginning(window: &mut Window<'_>) -> Option<(u64, u64, u8)> {
    let (mut offset, mut protocol) = (0, 0);
    loop {
        let op = window.op(offset).ok()?;
        match op.opcode {
            PROTO => protocol = window.copy(op.payload, op.end).ok()?.first().copied()?,
            FRAME => {}
            MARK if !matches!(window.op(op.end).ok()?.opcode, LIST | DICT) => {
                return Some((op.end, 0, protocol));
            }
            _ => break,
        }
        offset = op.end;
    }
    match find(window, 0).ok()? {
        Found::Root(root) => Some((root.body, root.prefix_memo, root.protocol)),
        Found::Other(_) => None,
    }
}

/// The error of a segment of another type.
pub(crate) fn different(input: &Input, want: Kind, root: &Root) -> Error {
    Error::usage(format!(
        "{}: holds a {}, and the segments to be merged are of kind {want}; only segments of one \
         type can be merged",
        input.path().display(),
        root.class.clone().unwrap_or_else(|| kind(root.container).to_string()),
    ))
}

/// A joined pickle being written.
pub(crate) struct Joining<'m, W: Write> {
    merged: &'m Merged,
    joiner: Joiner<W>,
    name: PathBuf,
    /// The protocol that a loader believes to be reading.
    protocol: u8,
}

impl<W: Write> Joining<'_, W> {
    /// Adds a member.
    pub(crate) fn add(&mut self, member: &Member<'_>) -> Result<()> {
        let input = member.input;
        if member.objects {
            let window = Window::new(input.data(), input.size());
            let mut scanner = Scanner::new(window, 0, 0, false);
            object(&mut scanner, 0).map_err(|fault| told(fault.into(), input.path()))?;
            let mut splice = Splice::new(Window::new(input.data(), input.size()));
            let mut window = Window::new(input.data(), input.size());
            let begun = begun(&mut window, 0).map_err(|fault| told(fault.into(), input.path()))?;
            return self.object(input, begun, (input.size(), scanner.memo()), &mut splice, None);
        }
        let held = self.merged.first.borrow_mut().take().or_else(|| member.held.clone());
        let Held { root, body_end, container_ids, seen } =
            held.map_or_else(|| contents(input), Ok)?;
        let Some(form) = &self.merged.form else { return Ok(()) };
        if root.container != form.container || root.class != form.class {
            return Err(different(input, self.merged.kind, &root));
        }
        // A tuple's items stand on the stack, a list's are in batches: what
        // closes them must be the same.
        if root.batch_closer != form.batch_closer || root.suffix != form.suffix {
            return Err(Error::usage(format!(
                "{}: was written with another protocol than the segments before it, so that they \
                 cannot be merged without their objects; load and dump them in Python",
                input.path().display()
            )));
        }
        self.speak(root.protocol)?;
        let Some(form) = &self.merged.form else { return Ok(()) };
        let stretch = Stretch {
            source: input.data(),
            protocol: root.protocol,
            from: root.body,
            to: body_end,
            before: root.prefix_memo,
            memo: seen.as_ref().map_or(u64::MAX, |seen| seen.memo),
            alike: root.prefix == form.prefix,
            sharing: Sharing::Equal,
            container_ids: &container_ids,
            seen: seen.as_ref(),
        };
        let name = &self.name;
        self.joiner
            .add(&stretch, &mut |error| Error::io("write", name, error).into())
            .map_err(|halt| told(halt, input.path()))?;
        Ok(())
    }

    /// Tells the loader the protocol of what follows: names are looked up
    /// differently in some.
    fn speak(&mut self, protocol: u8) -> Result<()> {
        if protocol == self.protocol {
            return Ok(());
        }
        self.protocol = protocol;
        let name = &self.name;
        self.joiner
            .plain(&[PROTO, protocol], &mut |error| Error::io("write", name, error).into())
            .map_err(|halt| told(halt, name))
    }

    /// Adds a pickle that was found sound, of which [`begun`] tells, as an item
    /// of a list. It has `memo` entries; `splice` copies from its source up to `to`, or to a STOP
    /// before.
    fn object(
        &mut self,
        input: &Input,
        (from, protocol): (u64, u8),
        (to, memo): (u64, u64),
        splice: &mut Splice<'_>,
        seen: Option<&Seen>,
    ) -> Result<()> {
        self.speak(protocol)?;
        let name = &self.name;
        let mut failed = |error| -> Halt { Error::io("write", name, error).into() };
        let stretch = Stretch {
            source: input.data(),
            protocol,
            from,
            to,
            before: 0,
            memo,
            alike: false,
            sharing: Sharing::FirstTexts,
            container_ids: &[],
            seen,
        };
        self.joiner
            .add_by(splice, &stretch, &mut failed)
            .and_then(|()| self.joiner.plain(&[APPEND], &mut failed))
            .map_err(|halt| told(halt, input.path()))
    }

    /// Adds the pickle `object` of a stream; `splice` may have it in memory.
    pub(crate) fn add_object(
        &mut self,
        input: &Input,
        object: &Object,
        splice: &mut Splice<'_>,
    ) -> Result<()> {
        let (begun, to) = ((object.from, object.protocol), object.end - 1);
        // What fits in a block is read once.
        let window = splice.window();
        if to - object.from < BLOCK as u64 && window.held_mut(object.from, to).is_none() {
            window.load(object.from).map_err(|e| Error::io("read", input.path(), e))?;
        }
        if object.refers || self.joiner.leaves_numbers_out() {
            return self.object(input, begun, (to, object.memo), splice, object.seen.as_deref());
        }
        self.speak(object.protocol)?;
        let name = &self.name;
        let mut failed = |error| -> Halt { Error::io("write", name, error).into() };
        self.joiner
            .add_as_it_is(splice.window(), (object.from, to), object, &mut failed)
            .and_then(|()| self.joiner.plain(&[APPEND], &mut failed))
            .map_err(|halt| told(halt, input.path()))
    }

    /// Closes the container.
    pub(crate) fn finish(mut self) -> Result<W> {
        if let (Some((pickle, from)), Some(form)) = (&self.merged.empty, &self.merged.form) {
            let stretch = Stretch {
                source: pickle,
                protocol: form.protocol,
                from: *from,
                to: pickle.len() as u64,
                before: form.prefix_memo,
                memo: u64::MAX,
                alike: true,
                sharing: Sharing::Nothing,
                container_ids: &[],
                seen: None,
            };
            self.speak(form.protocol)?;
            let name = &self.name;
            self.joiner
                .add(&stretch, &mut |error| Error::io("write", name, error).into())
                .map_err(|halt| told(halt, name))?;
        }
        let suffix: &[u8] = match (&self.merged.form, self.merged.objects, self.merged.kind) {
            (Some(form), ..) if form.state.is_some() => &[STOP],
            (Some(form), ..) => &form.suffix,
            (None, false, Kind::Tuple) => &[TUPLE, STOP],
            (None, false, Kind::Set | Kind::Frozenset) => &[TUPLE1, REDUCE, STOP],
            _ => &[STOP],
        };
        let name = self.name;
        let broken = |e: io::Error| Error::io("write", &name, e);
        self.joiner.out.write_all(suffix).map_err(broken)?;
        self.joiner.out.finish().map_err(broken)
    }
}

/// Where the operations of the pickle at `start` begin, after PROTO, and its protocol.
fn begun(window: &mut Window<'_>, start: u64) -> Result<(u64, u8), Fault> {
    let bytes = match ahead(window, start) {
        Some(bytes) => bytes,
        None if start + 2 > window.end() => return Ok((start, 0)),
        None => window.copy(start, start + 2)?.first_chunk().copied().unwrap_or_default(),
    };
    Ok(if bytes[0] == PROTO { (start + 2, bytes[1].min(5)) } else { (start, 0) })
}

/// The two bytes at `offset`, where they are in memory.
fn ahead(window: &Window<'_>, offset: u64) -> Option<[u8; 2]> {
    let at = usize::try_from(offset.checked_sub(window.base())?).ok()?;
    window.bytes().get(..window.len())?.get(at..)?.first_chunk().copied()
}

/// A pickle of a stream, found sound.
pub(crate) struct Object {
    /// Where its operations begin, after PROTO.
    from: u64,
    protocol: u8,
    /// Where it ends, after STOP.
    pub(crate) end: u64,
    /// Its memo entries.
    pub(crate) memo: u64,
    /// Whether memo numbers were met.
    refers: bool,
    /// The first frame, and those after it.
    frame: Option<Frame>,
    frames: Vec<Frame>,
    /// What was met in it, if it is large. In a box: most are small, and there are millions.
    seen: Option<Box<Seen>>,
}

impl Object {
    /// Its frames, in order; those of a large one with memo numbers are in [`Seen`].
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.frame.iter().chain(&self.frames)
    }
}

/// Goes over the pickles of a file one after another.
pub(crate) struct Objects<'a> {
    scanner: Scanner<'a>,
    met: Collector<true>,
    /// Bytes of the last one.
    last: u64,
}

/// Bytes of a pickle that is worth copying by the block: its first operations are looked at one by
/// one in any case. Tests and fuzzers have small pickles, and are to go both ways.
const MANY: u64 = if cfg!(debug_assertions) { 64 } else { 16 << 10 };

impl<'a> Objects<'a> {
    pub(crate) fn new(input: &'a Input) -> Self {
        let window = Window::new(input.data(), input.size());
        let mut scanner = Scanner::with_slots(window, 0, 0, false, 1 << 10);
        scanner.keep_frames(VecDeque::new());
        Objects { scanner, met: Collector::new(0, 0), last: 0 }
    }

    /// Goes over the pickle that begins at `start`.
    pub(crate) fn read(&mut self, start: u64) -> Result<Object, Fault> {
        self.met.restart(start);
        // A pickle that is whole in memory is copied from there, and most are like the one before.
        let (likely, window) = ((2 * self.last).min(BLOCK as u64), self.scanner.window());
        let there = window.base() + window.len() as u64;
        if self.last <= BLOCK as u64 && there < start + likely && !window.at_end() {
            window.load(start)?;
        }
        let (from, protocol) = begun(window, start)?;
        let end = one_object(&mut self.scanner, start, &mut self.met)?;
        self.last = end - start;
        let (refers, memo) = (self.met.refers(), self.scanner.memo());
        let (mut frame, mut frames, mut seen) = (None, Vec::new(), None);
        if !refers {
            frame = self.scanner.next_frame();
            while let Some(frame) = self.scanner.next_frame() {
                frames.push(frame);
            }
        } else if end - from > MANY && !self.scanner.odd_frames() {
            seen = Some(Box::new(Seen {
                refs: self.met.finish(0),
                frames: self.scanner.frames_seen(),
                memo,
                counted: self.scanner.counted(),
                gaps: self.scanner.gaps,
            }));
        }
        Ok(Object { from, protocol, end, memo, refers, frame, frames, seen })
    }

    /// The two bytes at `offset`, where they are in memory.
    pub(crate) fn ahead(&mut self, offset: u64) -> Option<[u8; 2]> {
        ahead(self.scanner.window(), offset)
    }

    /// What is in memory.
    pub(crate) fn window(&mut self) -> &mut Window<'a> {
        self.scanner.window()
    }
}

/// Goes over the pickle that begins at `start` and makes sure that it leaves
/// exactly one value. Returns where it ends.
pub(crate) fn object(scanner: &mut Scanner<'_>, start: u64) -> Result<u64, Fault> {
    one_object(scanner, start, &mut NoTrace)
}

fn one_object<T: Trace>(
    scanner: &mut Scanner<'_>,
    start: u64,
    trace: &mut T,
) -> Result<u64, Fault> {
    scanner.restart(start);
    loop {
        match scanner.run(trace)? {
            Event::Stop(end) => {
                return if scanner.slots().len() == 1 && scanner.marks().is_empty() {
                    Ok(end)
                } else {
                    Fault::bad(end - 1, "ends with other than one value on the stack")
                };
            }
            Event::Op { at, .. } => {
                return Fault::bad(
                    at,
                    "takes more from the stack than is on it: this is not a pickle, or it is \
                     damaged",
                );
            }
            Event::Full => {
                let count = scanner.spillable(1);
                scanner.spill(count);
            }
            Event::Limit | Event::Traced => return Err(Fault::truncated(start)),
        }
    }
}
