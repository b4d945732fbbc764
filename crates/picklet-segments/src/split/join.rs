//! Joins whole pickles: the items of several containers in one, or several
//! objects as the items of a list.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::emit::Halt;
use super::extract::top;
use super::items::{Items, Step};
use super::ops::*;
use super::rebase::{Framer, Joiner, Stretch};
use super::root::{Found, Root, find};
use super::scan::{Event, NoTrace, Scanner};
use super::splice::Texts;
use super::symbols::{Nodes, look};
use super::window::{Fault, Window};
use super::{kind, told};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Kind;

/// A pickle to be joined with others.
pub(crate) struct Member<'i> {
    pub(crate) input: &'i Input,
    /// Whether it is one item and not a container of items.
    pub(crate) objects: bool,
}

/// What the members have in common.
pub(crate) struct Merged {
    kind: Kind,
    objects: bool,
    protocol: u8,
    /// The form of the first container.
    form: Option<Root>,
    /// What the first member holds, until it is added.
    first: RefCell<Option<Held>>,
    /// Texts that members refer to and that others before them may have.
    wanted: HashSet<Box<[u8]>>,
    wanted_bytes: usize,
}

/// Bytes of texts looked for, at most.
const MOST_WANTED: usize = 128 << 20;

/// What a member holds: its root, where its items end, and the memo entries
/// that are the container.
type Held = (Root, u64, Vec<u64>);

/// The root of a member and, scanned to its end, where its items end.
fn contents(input: &Input) -> Result<Held> {
    for by_end in [false, true] {
        let root = match top(input, by_end)? {
            Ok(root) => root,
            Err(what) => {
                return Err(Error::NotAContainer { path: input.path().to_owned(), what });
            }
        };
        // What stands on the stack was scanned by whoever found its end.
        if let (0, Some(end), 1) = (root.batch_closer, root.body_end, root.stride()) {
            return Ok((root, end, Vec::new()));
        }
        let inner = || -> Result<Option<(u64, Vec<u64>)>, Fault> {
            let mut items = Items::new(Window::new(input.data(), input.size()), &root)?;
            loop {
                match items.step()? {
                    Step::Unfit => return Ok(None),
                    Step::Piece => {}
                    Step::End { body_end, .. } => return Ok(Some((body_end, items.container_ids))),
                }
            }
        };
        if let Some((end, ids)) = inner().map_err(|fault| told(fault.into(), input.path()))? {
            return Ok((root, end, ids));
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
        let held = contents(input)?;
        let root = &held.0;
        if kind(root.container) != self.kind {
            return Err(different(input, self.kind, root));
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

fn different(input: &Input, want: Kind, root: &Root) -> Error {
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
            return self.object(input, 0);
        }
        let held = self.merged.first.borrow_mut().take();
        let (root, body_end, container_ids) = held.map_or_else(|| contents(input), Ok)?;
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
            alike: root.prefix == form.prefix,
            share: true,
            container_ids: &container_ids,
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

    /// Adds the pickle that begins at `start`, which was found sound, as an
    /// item of a list.
    pub(crate) fn object(&mut self, input: &Input, start: u64) -> Result<()> {
        let mut bytes = [0; 2];
        let want = input.size().saturating_sub(start).min(2) as usize;
        let room = bytes.get_mut(..want).unwrap_or_default();
        let read = input.data().read_exact_at(start, room);
        read.map_err(|e| Error::io("read", input.path(), e))?;
        let (from, protocol) =
            if bytes[0] == PROTO { (start + 2, bytes[1].min(5)) } else { (start, 0) };
        self.speak(protocol)?;
        let name = &self.name;
        let mut failed = |error| -> Halt { Error::io("write", name, error).into() };
        let stretch = Stretch {
            source: input.data(),
            protocol,
            from,
            to: input.size(),
            before: 0,
            alike: false,
            share: false,
            container_ids: &[],
        };
        self.joiner
            .add(&stretch, &mut failed)
            .and_then(|()| self.joiner.plain(&[APPEND], &mut failed))
            .map_err(|halt| told(halt, input.path()))
    }

    /// Closes the container.
    pub(crate) fn finish(mut self) -> Result<W> {
        let suffix: &[u8] = match (&self.merged.form, self.merged.objects, self.merged.kind) {
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

/// Goes over the pickle that begins at `start` and makes sure that it leaves
/// exactly one value. Returns where it ends.
pub(crate) fn object(scanner: &mut Scanner<'_>, start: u64) -> Result<u64, Fault> {
    scanner.restart(start);
    loop {
        match scanner.run(&mut NoTrace)? {
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
