//! Splitting: a pickle is cut into plain pickles of the same type without
//! making its objects, in memory that does not grow with it.
//!
//! ```text
//! source ─ root ─ items (scan) ─ planner (cuts) ─ emitter ─ segment files
//!                     │                              │
//!                     └─ checkpoints ── resolver ────┘ objects from before
//! ```
//!
//! * [`split`] is the way in.
//! * A scan keeps stack height, marks and memo count and so finds where items
//!   begin; the planner says where to cut; the emitter writes the bytes
//!   between two cuts with what they refer to in front.
//!
//! Nothing here imports, calls or builds what a pickle names.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::directory::Segments;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::input::{Format, Input};
use crate::manifest::{Entry, Header, Kind, SharedCounts};
use crate::name;
use crate::progress::{NoProgress, Progress, Totals};
use crate::store::Location;
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

mod checkpoint;
mod emit;
mod external;
mod extract;
mod items;
mod join;
mod ops;
mod plan;
mod rebase;
mod root;
mod scan;
#[cfg(test)]
mod scan_tests;
mod stream;
mod walk;
mod window;

pub use extract::{Contents, count_items, extract};
pub(crate) use join::{Member, Merged};

use emit::{Emitter, Halt, Plan};
use external::Resolver;
use extract::top;
use items::{Items, Step};
use plan::Planner;
use root::{Container, Root};
use window::{Fault, Window};

/// How large segments are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// So many bytes of the source, at least; a segment ends with the item
    /// that reaches them.
    Bytes(u64),
    /// So many items; the last segment may have fewer.
    Items(u64),
    /// So many segments, of about the same number of bytes. Fewer where there
    /// are fewer items, or where one item is larger than a part.
    Parts(u64),
}

impl Default for Target {
    /// 64 MB.
    fn default() -> Self {
        Target::Bytes(64_000_000)
    }
}

/// What to do when items of different segments share an object that can
/// change: each segment gets its own copy, and a change of one is not seen in
/// the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shared {
    /// Say so in [`SplitReport::warnings`].
    #[default]
    Warn,
    /// Refuse.
    Error,
    /// Say nothing.
    Copy,
}

/// How segments are named.
#[derive(Clone)]
pub enum Names<'o> {
    /// `base-00000.pickle`, `base-00001.pickle`, …
    Numbered(&'o str),
    /// These, in order; there must be as many as segments come out.
    Listed(&'o [String]),
    /// What the function says of a segment's number and its first item's.
    By(&'o dyn Fn(u64, u64) -> Result<String>),
}

impl fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Names::Numbered(base) => write!(f, "Numbered({base:?})"),
            Names::Listed(names) => write!(f, "Listed({} names)", names.len()),
            Names::By(_) => f.write_str("By(a function)"),
        }
    }
}

/// How to split.
#[derive(Clone)]
pub struct SplitOptions<'o> {
    /// How large segments are to be.
    pub target: Target,
    /// How they are named.
    pub names: Names<'o>,
    /// What to do about objects that items of different segments share.
    pub shared: Shared,
    /// What to do about what the output directory holds.
    pub existing: Existing,
    /// Whether segments get a SHA-256 too.
    pub sha256: bool,
    /// Bytes of shared objects that segments may repeat in all; `None` is
    /// twice the source and 64 MB.
    pub copied_bytes: Option<u64>,
    /// Hears of segments done.
    pub progress: &'o dyn Progress,
    /// Asked often whether to stop (Ctrl-C).
    pub interrupt: &'o (dyn Fn() -> bool + Sync),
}

impl Default for SplitOptions<'_> {
    fn default() -> Self {
        SplitOptions {
            target: Target::default(),
            names: Names::Numbered("data"),
            shared: Shared::default(),
            existing: Existing::default(),
            sha256: false,
            copied_bytes: None,
            progress: &NoProgress,
            interrupt: &|| false,
        }
    }
}

impl fmt::Debug for SplitOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitOptions")
            .field("target", &self.target)
            .field("names", &self.names)
            .field("shared", &self.shared)
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

/// What a split did.
#[derive(Debug)]
pub struct SplitReport {
    /// The segments.
    pub segments: Segments,
    /// Items in all.
    pub items: u64,
    /// Segments kept from an interrupted run.
    pub resumed: u64,
    /// Objects that segments share and now have their own copies of, summed
    /// over the segments.
    pub shared: SharedCounts,
    /// What the user should know, a line each.
    pub warnings: Vec<String>,
}

/// Bytes looked at before anything is written, so that a small file that
/// cannot be split leaves nothing behind.
const LOOK_FIRST: u64 = 64 << 20;

/// Splits `input` into segments in `out`.
///
/// A pickle that holds a list, tuple, dict, set, frozenset, or one of
/// `collections`' OrderedDict, defaultdict, Counter and deque gives segments of
/// the same type, each with its share in order; an empty one gives one empty
/// segment. Several pickles in one file give lists of their objects, and JSON
/// Lines lists of what the lines hold. Bytes
/// after the last pickle that cannot begin another are left out, and
/// [`SplitReport::warnings`] says so.
///
/// # Errors
/// [`Error::Input`] with a byte offset when the input is no pickle, is cut off,
/// holds no container, or shares too much between items; those of
/// [`SegmentsWriter`]; [`Error::Interrupted`].
pub fn split(input: &Input, out: &Location, options: &SplitOptions<'_>) -> Result<SplitReport> {
    check(options)?;
    if input.size() == 0 {
        return Err(Error::input(input.path(), None, "is empty: there is nothing to split"));
    }
    let mut existing = options.existing;
    if input.format()? == Format::JsonLines {
        let fingerprint = format!("json lines {}", fingerprint(input, options)?);
        return crate::jsonl::split_lines(input, out, options, existing, fingerprint);
    }
    for by_end in [false, true] {
        let root = match top(input, by_end)? {
            Ok(root) => root,
            Err(what) => {
                if follows(input, first_end(input)?)? {
                    return several(input, out, options, existing);
                }
                return Err(Error::NotAContainer { path: input.path().to_owned(), what });
            }
        };
        let outcome = Run::new(input, &root, out, options, existing).run();
        match outcome.map_err(|halt| told(halt, input.path()))? {
            Outcome::Done(report) => return Ok(*report),
            Outcome::Several { begun } => {
                let existing = if begun { Existing::Overwrite } else { existing };
                return several(input, out, options, existing);
            }
            Outcome::Unfit { begun } => {
                if begun {
                    existing = Existing::Overwrite;
                }
            }
        }
    }
    Err(Error::input(input.path(), None, "holds a container of an unknown form"))
}

/// Whether another pickle begins at `end`.
fn follows(input: &Input, end: u64) -> Result<bool> {
    Ok(end < input.size() && stream::begins(input, end)?)
}

/// Where the first pickle ends.
fn first_end(input: &Input) -> Result<u64> {
    let window = Window::new(input.data(), input.size());
    let mut scanner = scan::Scanner::new(window, 0, 0, false);
    join::object(&mut scanner, 0).map_err(|fault| told(fault.into(), input.path()))
}

/// Splits a file of several pickles.
fn several(
    input: &Input,
    out: &Location,
    options: &SplitOptions<'_>,
    existing: Existing,
) -> Result<SplitReport> {
    stream::split_stream(input, out, options, existing, fingerprint(input, options)?)
}

fn check(options: &SplitOptions<'_>) -> Result<()> {
    let (number, what) = match options.target {
        Target::Bytes(n) => (n, "bytes in a segment"),
        Target::Items(n) => (n, "items in a segment"),
        Target::Parts(n) => (n, "segments"),
    };
    if number == 0 {
        return Err(Error::usage(format!("the number of {what} must be at least 1")));
    }
    match options.names {
        Names::Numbered(base) => name::validate(base),
        Names::Listed(names) => name::validate_names(names.iter().map(String::as_str)),
        Names::By(_) => Ok(()),
    }
}

/// A fault or error with the file's name.
fn told(halt: Halt, path: &Path) -> Error {
    match halt {
        Halt::Error(error) => error,
        Halt::Fault(Fault::Io(error)) => Error::io("read", path, error),
        Halt::Fault(Fault::Bad(offset, message)) => Error::input(path, offset, message),
    }
}

fn kind(container: Container) -> Kind {
    match container {
        Container::List => Kind::List,
        Container::Tuple => Kind::Tuple,
        Container::Dict => Kind::Dict,
        Container::Set => Kind::Set,
        Container::FrozenSet => Kind::Frozenset,
    }
}

/// What a run was: two with the same fingerprint make the same segments.
fn fingerprint(input: &Input, options: &SplitOptions<'_>) -> Result<String> {
    Ok(format!(
        "split 1 {} {:?} sha256={} names={}",
        input.fingerprint()?,
        options.target,
        options.sha256,
        match options.names {
            Names::Numbered(base) => format!("numbered {base}"),
            Names::Listed(names) => {
                crate::manifest::Xxh3::of(names.join("/").as_bytes()).to_string()
            }
            Names::By(_) => "function".to_owned(),
        }
    ))
}

/// What came of a run.
enum Outcome {
    Done(Box<SplitReport>),
    /// Other pickles follow the first. `begun`: segments were written.
    Several {
        begun: bool,
    },
    /// The container at the beginning is not the whole value.
    Unfit {
        begun: bool,
    },
}

/// One run over one source.
struct Run<'r> {
    input: &'r Input,
    root: &'r Root,
    out: &'r Location,
    options: &'r SplitOptions<'r>,
    existing: Existing,
    shared: SharedCounts,
    resumed: u64,
    /// Where the last segment ended, for progress.
    reported: u64,
}

impl<'r> Run<'r> {
    fn new(
        input: &'r Input,
        root: &'r Root,
        out: &'r Location,
        options: &'r SplitOptions<'r>,
        existing: Existing,
    ) -> Self {
        Run {
            input,
            root,
            out,
            options,
            existing,
            shared: SharedCounts::default(),
            resumed: 0,
            reported: 0,
        }
    }

    fn run(&mut self) -> Result<Outcome, Halt> {
        if let Some(outcome) = self.look_first()? {
            return Ok(outcome);
        }
        let mut header =
            Header::new(kind(self.root.container), fingerprint(self.input, self.options)?);
        header.source = Some(self.input.describe());
        header.sha256 = self.options.sha256;
        if let Some(class) = &self.root.class {
            header.extra.insert("class".to_owned(), class.clone().into());
        }
        let mut writer = SegmentsWriter::create(self.out, self.existing, header)?;
        let done: HashMap<u64, Entry> =
            writer.done().into_iter().map(|entry| (entry.index, entry.clone())).collect();
        self.options
            .progress
            .totals(Totals { bytes: Some(self.input.size()), ..Totals::default() });

        let data = self.input.data();
        let size = self.input.size();
        let budget = self.options.copied_bytes.unwrap_or(2 * size + 64_000_000);
        let mut items = Items::new(Window::new(data, size), self.root)?;
        let mut emitter = Emitter {
            source: data,
            root: self.root,
            resolver: Resolver::new(data, size, 16 * size + (1 << 30)),
            copied: 0,
            copy_budget: budget,
        };
        let mut planner = Planner::new(self.options.target, self.root, size);
        let mut warnings = loop {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted.into());
            }
            match items.step()? {
                Step::Unfit => return Ok(Outcome::Unfit { begun: true }),
                Step::Piece => {
                    planner.begin_piece(&items);
                    while let Some(plan) = planner.next_cut(&mut items) {
                        self.segment(&plan, &planner, &items, &mut emitter, &mut writer, &done)?;
                    }
                    planner.end_piece(&items);
                }
                Step::End { body_end, end } => {
                    if let Some(plan) = planner.last_cut(&mut items, body_end) {
                        self.segment(&plan, &planner, &items, &mut emitter, &mut writer, &done)?;
                    }
                    if follows(self.input, end)? {
                        return Ok(Outcome::Several { begun: true });
                    }
                    break self.after(end);
                }
            }
        };
        if self.shared.mutable > 0 && self.options.shared == Shared::Warn {
            warnings.push(format!(
                "{} objects that can change were shared by items that are now in different \
                 segments; each segment has its own copy of them",
                self.shared.mutable
            ));
        }
        let segments = writer.finish()?;
        Ok(Outcome::Done(Box::new(SplitReport {
            segments,
            items: planner.items(),
            resumed: self.resumed,
            shared: self.shared,
            warnings,
        })))
    }

    /// Goes over the first bytes without writing anything; gives an outcome
    /// when that is clear already and not to be written.
    fn look_first(&self) -> Result<Option<Outcome>, Halt> {
        let mut items = Items::new(Window::new(self.input.data(), self.input.size()), self.root)?;
        loop {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted.into());
            }
            match items.step()? {
                Step::Unfit => return Ok(Some(Outcome::Unfit { begun: false })),
                Step::End { end, .. } => {
                    let several = follows(self.input, end)?;
                    return Ok(several.then_some(Outcome::Several { begun: false }));
                }
                Step::Piece if items.piece().end.start > LOOK_FIRST => return Ok(None),
                Step::Piece => {}
            }
        }
    }

    /// What to say of bytes that follow the pickle and are none.
    fn after(&self, end: u64) -> Vec<String> {
        let rest = self.input.size() - end;
        if rest == 0 {
            return Vec::new();
        }
        vec![format!(
            "{}: {rest} bytes after the pickle's end at byte {end} are left out",
            self.input.path().display()
        )]
    }

    /// Writes one segment, unless an earlier run has.
    fn segment(
        &mut self,
        plan: &Plan,
        planner: &Planner,
        items: &Items<'_>,
        emitter: &mut Emitter<'_>,
        writer: &mut SegmentsWriter,
        done: &HashMap<u64, Entry>,
    ) -> Result<(), Halt> {
        let index = planner.segments() - 1;
        let count = plan.to.item - plan.from.item;
        let file = file_name(&self.options.names, index, plan.from.item)?;
        if let Some(entry) = done.get(&index) {
            if entry.file == file && entry.items == Some(count) {
                self.resumed += 1;
                let shared = entry.shared.unwrap_or_default();
                self.add(shared);
                self.tell(plan, &file, count);
                return Ok(());
            }
            writer.discard(&entry.file)?;
        }
        let draft = writer.draft(&file)?;
        let mut out =
            BufWriter::with_capacity(64 * 1024, Guarded::new(draft, self.options.interrupt));
        let path = self.out.path().join(&file);
        let written = emitter
            .emit(plan, planner.checkpoints(), &items.container_ids, &mut out, &mut |error| {
                Error::io("write", &path, error).into()
            })
            .and_then(|shared| {
                out.flush().map_err(|error| Halt::Error(Error::io("write", &path, error)))?;
                Ok(shared)
            });
        let (guarded, _) = out.into_parts();
        if guarded.stopped {
            return Err(Error::Interrupted.into());
        }
        let shared = written?;
        if shared.mutable > 0 && self.options.shared == Shared::Error {
            return Err(Fault::Bad(
                plan.from.offset,
                format!(
                    "items {} to {} share {} objects that can change with items before them; \
                     --shared copy gives each segment its own copy",
                    plan.from.item,
                    plan.to.item.saturating_sub(1),
                    shared.mutable
                ),
            )
            .into());
        }
        self.add(shared);
        let meta =
            EntryMeta { index, items: Some(count), shared: Some(shared), ..EntryMeta::default() };
        writer.commit(guarded.draft, meta)?;
        self.tell(plan, &file, count);
        Ok(())
    }

    fn tell(&mut self, plan: &Plan, file: &str, count: u64) {
        self.options.progress.bytes(plan.to.offset.saturating_sub(self.reported));
        self.reported = plan.to.offset;
        self.options.progress.items(count);
        self.options.progress.segment(file);
    }

    fn add(&mut self, shared: SharedCounts) {
        self.shared.atoms += shared.atoms;
        self.shared.immutable += shared.immutable;
        self.shared.mutable += shared.mutable;
    }
}

/// The file of segment `index`, whose first item has the number `item`.
pub(crate) fn file_name(names: &Names<'_>, index: u64, item: u64) -> Result<String> {
    match names {
        Names::Numbered(base) => Ok(name::segment_file(base, index, 5)),
        Names::Listed(names) => {
            let name = usize::try_from(index).ok().and_then(|index| names.get(index));
            name.map_or_else(
                || {
                    Err(Error::usage(format!(
                        "there are {} names and more segments than that; give a name for each \
                         segment, or larger segments",
                        names.len()
                    )))
                },
                |name| name::named_file(name),
            )
        }
        Names::By(function) => name::named_file(&function(index, item)?),
    }
}

/// A draft that stops when the caller is asked to.
struct Guarded<'o> {
    draft: Draft,
    interrupt: &'o (dyn Fn() -> bool + Sync),
    since: usize,
    stopped: bool,
}

impl<'o> Guarded<'o> {
    fn new(draft: Draft, interrupt: &'o (dyn Fn() -> bool + Sync)) -> Self {
        Guarded { draft, interrupt, since: 0, stopped: false }
    }
}

/// Bytes written between two looks at whether to stop.
const LOOK_UP: usize = 8 << 20;

impl Write for Guarded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.since += bytes.len();
        if self.since >= LOOK_UP {
            self.since = 0;
            if (self.interrupt)() {
                self.stopped = true;
                return Err(io::Error::other("stopped"));
            }
        }
        self.draft.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draft.flush()
    }
}
