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
use std::sync::mpsc::{RecvError, sync_channel};
use std::thread;

use crate::compress::{Compression, stored_name};
use crate::directory::Segments;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::input::{Format, Input};
use crate::manifest::{Entry, Header, Kind, SharedCounts};
use crate::name;
use crate::progress::{NoProgress, Progress, Totals};
use crate::store::Location;
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

mod arrays;
mod block;
mod checkpoint;
mod cutter;
mod emit;
mod external;
mod extract;
mod index;
mod items;
mod join;
mod ops;
mod patch;
mod plan;
mod reader;
mod rebase;
mod refs;
mod resplit;
mod root;
mod scan;
#[cfg(test)]
mod scan_tests;
mod series;
mod splice;
mod stream;
mod symbols;
mod walk;
mod window;

pub(crate) use arrays::merge_arrays;
pub use arrays::{count_rows, extract_rows};
pub use extract::{Contents, count_items, extract};
pub(crate) use index::Index;
pub(crate) use join::{Held, Member, Merged, contents};
pub use reader::{Extracted, ItemReader};
pub use resplit::resplit;

use cutter::{Cutter, Job, Next};
use emit::{Emitter, Halt, Plan};
use extract::top;
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
    /// How segments are stored: as they are unless said otherwise.
    pub compression: Option<Compression>,
    /// Bytes of shared objects that segments may repeat in all; `None` is
    /// twice the source and 64 MB.
    pub copied_bytes: Option<u64>,
    /// What to run to make lost segments anew, for the manifest.
    pub made_by: Option<&'o str>,
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
            compression: None,
            copied_bytes: None,
            made_by: None,
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
const LOOK_FIRST: u64 = 16 << 20;
/// Segments found meanwhile that are kept, to be written then.
const HELD: usize = 1 << 10;
/// Bytes that are worth a thread that scans ahead.
pub(crate) const AHEAD: u64 = 4 << 20;

/// Splits `input` into segments in `out`.
///
/// A pickle that holds a list, tuple, dict, set, frozenset, or one of
/// `collections`' OrderedDict, defaultdict, Counter and deque gives segments of
/// the same type, each with its share in order; an empty one gives one empty
/// segment. Several pickles in one file give lists of their objects, and JSON
/// Lines lists of what the lines hold. A `numpy.ndarray` gives arrays of its rows, cut out as
/// ranges of bytes. Bytes after the last pickle that cannot begin another are left out, and
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
                return one_object(input, what, out, options, existing);
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

/// Splits one object that is no container: `what` it is.
fn one_object(
    input: &Input,
    what: String,
    out: &Location,
    options: &SplitOptions<'_>,
    existing: Existing,
) -> Result<SplitReport> {
    let what = match arrays::held(input)? {
        arrays::Held::Array(array) => {
            let fingerprint = fingerprint(input, options)?;
            return arrays::split_array(input, &array, out, options, existing, fingerprint);
        }
        arrays::Held::Unfit(said) => said.strip_prefix("holds ").map_or(what, str::to_owned),
        arrays::Held::Other => what,
    };
    Err(Error::NotAContainer { path: input.path().to_owned(), what })
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
    Ok(format!("split 1 {}{}", input.fingerprint()?, how(options)))
}

/// The part of a fingerprint that tells the options.
fn how(options: &SplitOptions<'_>) -> String {
    let compression = options.compression.map(|how| format!(" {how}")).unwrap_or_default();
    format!(
        " {:?} sha256={} names={}{compression}",
        options.target,
        options.sha256,
        match options.names {
            Names::Numbered(base) => format!("numbered {base}"),
            Names::Listed(names) => {
                crate::manifest::Xxh3::of(names.join("/").as_bytes()).to_string()
            }
            Names::By(_) => "function".to_owned(),
        }
    )
}

/// The warning of mutable objects that segments have their own copies of, if it is wanted.
fn copies_made(shared: SharedCounts, how: Shared) -> Option<String> {
    (shared.mutable > 0 && how == Shared::Warn).then(|| {
        format!(
            "{} objects that can change were shared by items that are now in different segments; \
             each segment has its own copy of them",
            shared.mutable
        )
    })
}

/// The warning of bytes after the pickle.
fn left_out(path: &Path, rest: u64, end: u64) -> String {
    format!("{}: {rest} bytes after the pickle's end at byte {end} are left out", path.display())
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

/// What came of a look at the first bytes.
enum Looked {
    Outcome(Outcome),
    /// Nothing speaks against it; these segments were found.
    Held(Vec<Job>),
    /// Nor here, but they were too many to keep.
    TooMany,
}

/// What segments are written with.
struct Writing<'w> {
    emitter: Emitter<'w>,
    writer: SegmentsWriter,
    /// Segments of an earlier run, by number.
    done: HashMap<u64, Entry>,
    /// The next segment's number.
    index: u64,
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
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
        let (data, size) = (self.input.data(), self.input.size());
        let (root, target) = (self.root, self.options.target);
        let begin = || Cutter::new(data, size, root, Planner::new(target, root, size));
        let mut cutter = begin()?;
        let held = match self.look_first(&mut cutter)? {
            Looked::Outcome(outcome) => return Ok(outcome),
            Looked::Held(held) => held,
            Looked::TooMany => {
                cutter = begin()?;
                Vec::new()
            }
        };
        let mut header =
            Header::new(kind(self.root.container), fingerprint(self.input, self.options)?);
        header.source = Some(self.input.describe());
        header.made_by = self.options.made_by.map(str::to_owned);
        header.sha256 = self.options.sha256;
        if let Some(class) = &self.root.class {
            header.extra.insert("class".to_owned(), class.clone().into());
        }
        let writer = SegmentsWriter::create(self.out, self.existing, header)?;
        let done = writer.done().into_iter().map(|entry| (entry.index, entry.clone())).collect();
        self.options.progress.totals(Totals { bytes: Some(size), ..Totals::default() });
        let budget = self.options.copied_bytes.unwrap_or(2 * size + 64_000_000);
        let emitter = Emitter::new(data, size, self.root, budget, 16 * size + (1 << 30));
        let mut writing = Writing { emitter, writer, done, index: 0 };
        for job in held {
            self.segment(job, &mut writing)?;
        }
        let last = if size - cutter.offset().min(size) > AHEAD && cores() > 1 {
            self.side_by_side(cutter, &mut writing)?
        } else {
            self.in_turn(cutter, &mut writing)?
        };
        let Next::End { items, end } = last else { return Ok(Outcome::Unfit { begun: true }) };
        if follows(self.input, end)? {
            return Ok(Outcome::Several { begun: true });
        }
        let mut warnings = self.after(end);
        warnings.extend(copies_made(self.shared, self.options.shared));
        for entry in writing.writer.settle()? {
            self.options.progress.segment(&entry.file);
        }
        let segments = writing.writer.finish()?;
        Ok(Outcome::Done(Box::new(SplitReport {
            segments,
            items,
            resumed: self.resumed,
            shared: self.shared,
            warnings,
        })))
    }

    /// Scans the first bytes without writing anything; gives an outcome when
    /// that is clear already and not to be written.
    fn look_first(&self, cutter: &mut Cutter<'_>) -> Result<Looked, Halt> {
        let mut held = Vec::new();
        let mut too_many = false;
        while cutter.offset() <= LOOK_FIRST {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted.into());
            }
            match cutter.next()? {
                None => {}
                Some(Next::Segment(job)) => {
                    too_many |= held.len() >= HELD;
                    if too_many {
                        held.clear();
                    } else {
                        held.push(*job);
                    }
                }
                Some(Next::Unfit) => return Ok(Looked::Outcome(Outcome::Unfit { begun: false })),
                Some(Next::End { end, .. }) => {
                    if follows(self.input, end)? {
                        return Ok(Looked::Outcome(Outcome::Several { begun: false }));
                    }
                    break;
                }
            }
        }
        Ok(if too_many { Looked::TooMany } else { Looked::Held(held) })
    }

    /// Scans and writes by turns.
    fn in_turn(&mut self, mut cutter: Cutter<'_>, writing: &mut Writing<'_>) -> Result<Next, Halt> {
        loop {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted.into());
            }
            match cutter.next()? {
                None => {}
                Some(Next::Segment(job)) => self.segment(*job, writing)?,
                Some(last) => return Ok(last),
            }
        }
    }

    /// Scans in a thread of its own, which runs ahead of the writing by two
    /// segments.
    fn side_by_side(
        &mut self,
        mut cutter: Cutter<'_>,
        writing: &mut Writing<'_>,
    ) -> Result<Next, Halt> {
        let interrupt = self.options.interrupt;
        let (sender, receiver) = sync_channel(1);
        thread::scope(|scope| {
            let scan = move || loop {
                let next = if interrupt() { None } else { Some(cutter.next()) };
                match next {
                    Some(Ok(None)) => {}
                    // The writer has given up, or will for the same reason.
                    None => return,
                    Some(next) => {
                        let more = matches!(next, Ok(Some(Next::Segment(_))));
                        if sender.send(next).is_err() || !more {
                            return;
                        }
                    }
                }
            };
            let scan =
                thread::Builder::new().name("picklet scan".to_owned()).spawn_scoped(scope, scan);
            scan.map_err(|error| Error::io("start a thread for", self.input.path(), error))?;
            // The receiver goes away with this closure's end, and the scan then ends too.
            let receiver = receiver;
            loop {
                match receiver.recv() {
                    Ok(Ok(Some(Next::Segment(job)))) => self.segment(*job, writing)?,
                    Ok(Ok(Some(last))) => return Ok(last),
                    Ok(Ok(None)) => {}
                    Ok(Err(fault)) => return Err(fault.into()),
                    Err(RecvError) => return Err(Error::Interrupted.into()),
                }
            }
        })
    }

    /// What to say of bytes that follow the pickle and are none.
    fn after(&self, end: u64) -> Vec<String> {
        match self.input.size() - end {
            0 => Vec::new(),
            rest => vec![left_out(self.input.path(), rest, end)],
        }
    }

    /// Writes one segment, unless an earlier run has.
    fn segment(&mut self, mut job: Job, writing: &mut Writing<'_>) -> Result<(), Halt> {
        let Writing { emitter, writer, done, index } = writing;
        emitter.learn(&mut job);
        let plan = &job.plan;
        let index = std::mem::replace(index, *index + 1);
        let count = plan.to.item - plan.from.item;
        let file = file_name(self.options, index, plan.from.item)?;
        if let Some(entry) = done.get(&index) {
            if entry.file == file && entry.items == Some(count) {
                self.resumed += 1;
                let shared = entry.shared.unwrap_or_default();
                self.shared += shared;
                self.tell(plan, count);
                self.options.progress.segment(&file);
                return Ok(());
            }
            writer.discard(&entry.file)?;
        }
        let draft = writer.draft(&file)?;
        let mut out =
            BufWriter::with_capacity(64 * 1024, Guarded::new(draft, self.options.interrupt));
        let path = self.out.path().join(&file);
        let written = emitter
            .emit(plan, &job.refs, &mut out, &mut |error| Error::io("write", &path, error).into())
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
        self.shared += shared;
        let meta =
            EntryMeta { index, items: Some(count), shared: Some(shared), ..EntryMeta::default() };
        for entry in writer.stage(guarded.draft, meta)? {
            self.options.progress.segment(&entry.file);
        }
        self.tell(plan, count);
        Ok(())
    }

    fn tell(&mut self, plan: &Plan, count: u64) {
        self.options.progress.bytes(plan.to.offset.saturating_sub(self.reported));
        self.reported = plan.to.offset;
        self.options.progress.items(count);
    }
}

/// The file of segment `index`, whose first item has the number `item`.
pub(crate) fn file_name(options: &SplitOptions<'_>, index: u64, item: u64) -> Result<String> {
    Ok(stored_name(plain_name(&options.names, index, item)?, options.compression))
}

fn plain_name(names: &Names<'_>, index: u64, item: u64) -> Result<String> {
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
