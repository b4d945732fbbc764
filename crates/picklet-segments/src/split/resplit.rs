//! Resplitting: segments are cut anew, in one pass over them, without a merged pickle in between.
//!
//! Each segment is scanned once. Where a new segment is a stretch of one old segment, it is written
//! as a split writes it. Where it is made of several, the old segments that lie in it whole are
//! joined as they stand, and the stretches at its two ends are cut out first, into memory or, where
//! they are large, into a temporary file.

use std::io::BufWriter;
use std::path::Path;

use tempfile::{SpooledData, spooled_tempfile};

use super::cutter::{Cutter, Job, Next};
use super::emit::{Emitter, Halt};
use super::extract::top;
use super::join::{Held, Member, Merged, contents, different};
use super::plan::{Carried, Planner};
use super::root::Root;
use super::series::Series;
use super::{Guarded, SplitOptions, SplitReport, check, how, kind, told};
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::{Header, Kind, SharedCounts, Source, Xxh3};
use crate::progress::Totals;
use crate::store::Location;
use crate::writer::Existing;

/// Bytes of a stretch that are kept in memory.
const IN_MEMORY: usize = 8 << 20;

/// Cuts the items of `segments` into new segments in `out`, as `options` say, without merging them
/// first and without building an object.
///
/// The new segments are of the same type, with the items in the same order. Segments that are
/// objects of their own come out as lists of these objects. Objects that were shared within an old
/// segment stay shared where its items stay together.
///
/// # Errors
/// [`Error::Usage`] when the segments are of different types, of a kind that cannot be cut anew, or
/// when `out` is where they are; [`Error::Input`] with an offset for a segment that is no pickle;
/// [`Error::Missing`]; those of [`SegmentsWriter`](crate::SegmentsWriter);
/// [`Error::Interrupted`].
pub fn resplit(
    segments: &Segments,
    out: &Location,
    options: &SplitOptions<'_>,
) -> Result<SplitReport> {
    check(options)?;
    let kind = segments.kind();
    if kind == Kind::Tiles {
        return Err(Error::usage(format!(
            "{}: segments of kind {kind} cannot be cut anew without their objects",
            segments.location()
        )));
    }
    if same_place(segments.location(), out) {
        return Err(Error::usage(format!(
            "{out}: is where the segments are that are to be cut anew; choose another directory"
        )));
    }
    if kind == Kind::Array {
        let fingerprint = fingerprint(segments, options)?;
        return super::arrays::resplit_arrays(segments, out, options, fingerprint);
    }
    match Run::new(segments, out, options, options.existing, false)?.run()? {
        Some(report) => Ok(report),
        // A segment began like a container and was something else: this is known only at its end,
        // so now each is scanned to its end before it is cut.
        None => Run::new(segments, out, options, Existing::Overwrite, true)?
            .run()?
            .ok_or_else(|| unfit(segments.location().path())),
    }
}

fn unfit(path: &Path) -> Error {
    Error::input(path, None, "holds a container of an unknown form")
}

/// Whether two locations are one directory.
fn same_place(a: &Location, b: &Location) -> bool {
    match (a.local_path(), b.local_path()) {
        (Some(a), Some(b)) => match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
        (None, None) => a.to_string().trim_end_matches('/') == b.to_string().trim_end_matches('/'),
        _ => false,
    }
}

/// What the run was: two with the same fingerprint make the same segments.
fn fingerprint(segments: &Segments, options: &SplitOptions<'_>) -> Result<String> {
    let mut sources = String::new();
    for (index, entry) in segments.entries().iter().enumerate() {
        let source = match entry.xxh3 {
            Some(digest) => digest.to_string(),
            None => segments.input(index)?.fingerprint()?,
        };
        sources.push_str(&source);
        sources.push('\n');
    }
    Ok(format!("resplit 1 {}{}", Xxh3::of(sources.as_bytes()), how(options)))
}

/// A part of the new segment that is open.
enum Part {
    /// An old segment, all of it, and what a scan has found in it.
    Whole(usize, Option<Box<Held>>),
    /// A stretch of one, as a pickle of its own.
    Stretch(Input),
}

impl Part {
    /// Does `work` with the part. Old segments are opened one at a time: there may be thousands.
    fn with<T>(
        &self,
        segments: &Segments,
        objects: bool,
        work: impl FnOnce(&Member<'_>) -> Result<T>,
    ) -> Result<T> {
        match self {
            Part::Whole(number, held) => {
                let input = &segments.input(*number)?;
                work(&Member { input, objects, held: held.as_deref().cloned() })
            }
            Part::Stretch(input) => work(&Member { input, objects, held: None }),
        }
    }
}

/// The old segment that is being cut.
struct Old<'o> {
    number: usize,
    size: u64,
    root: &'o Root,
    emitter: Emitter<'o>,
}

/// One run over the old segments.
struct Run<'r> {
    segments: &'r Segments,
    options: &'r SplitOptions<'r>,
    /// Whether each segment is scanned to its end before it is cut.
    careful: bool,
    series: Series<'r>,
    /// The new segment that is open: its parts, what these share with other segments, and how
    /// much they are.
    parts: Vec<Part>,
    open: SharedCounts,
    carried: Carried,
}

impl<'r> Run<'r> {
    fn new(
        segments: &'r Segments,
        out: &'r Location,
        options: &'r SplitOptions<'r>,
        existing: Existing,
        careful: bool,
    ) -> Result<Self> {
        let old = &segments.manifest().header;
        let kind = if old.kind == Kind::Objects { Kind::List } else { old.kind };
        let mut header = Header::new(kind, fingerprint(segments, options)?);
        header.made_by = options.made_by.map(str::to_owned);
        let (name, bytes) = (segments.location().to_string(), segments.bytes());
        header.source = Some(Source { name, bytes: Some(bytes), ..Source::default() });
        if let Some(class) = old.extra.get("class") {
            header.extra.insert("class".to_owned(), class.clone());
        }
        let series = Series::create(out, options, existing, header)?;
        let items = segments.items();
        options.progress.totals(Totals { bytes: Some(bytes), items, ..Totals::default() });
        Ok(Run {
            segments,
            options,
            careful,
            series,
            parts: Vec::new(),
            open: SharedCounts::default(),
            carried: Carried { total: bytes, ..Carried::default() },
        })
    }

    /// `None` when a segment turned out to be another container than it began as.
    fn run(mut self) -> Result<Option<SplitReport>> {
        for number in 0..self.segments.len() {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted);
            }
            self.carried.own = self.segments.entry(number)?.bytes;
            if self.carried.items == 0 {
                self.carried.begin = self.carried.before;
            }
            if self.segments.kind() == Kind::Objects {
                self.take(Part::Whole(number, None), 1, self.carried.own);
            } else {
                let input = self.segments.input(number)?;
                if !self.cut(number, &input).map_err(|halt| told(halt, input.path()))? {
                    return Ok(None);
                }
            }
            self.carried.before += self.carried.own;
            self.options.progress.bytes(self.carried.own);
            let position = self.carried.before;
            if self.carried.items > 0 && self.carried.is_full(self.options.target, position) {
                self.close()?;
            }
        }
        if self.carried.items > 0 || self.series.index == 0 {
            self.close()?;
        }
        self.series.finish().map(Some)
    }

    /// Adds a part to the open segment.
    fn take(&mut self, part: Part, items: u64, bytes: u64) {
        self.parts.push(part);
        self.carried.items += items;
        self.carried.bytes += bytes;
    }

    /// Cuts one old segment; false when it turned out to be another container than it began as.
    fn cut(&mut self, number: usize, input: &Input) -> Result<bool, Halt> {
        let (data, size) = (input.data(), input.size());
        let root = if self.careful {
            contents(input)?.root
        } else {
            let what = |what| Error::NotAContainer { path: input.path().to_owned(), what };
            top(input, false)?.map_err(what)?
        };
        let want = self.series.header().kind;
        if kind(root.container) != want {
            return Err(different(input, want, &root).into());
        }
        let planner = Planner::carrying(self.options.target, &root, size, self.carried);
        let mut cutter = Cutter::new(data, size, &root, planner)?;
        let budget = self.options.copied_bytes.unwrap_or(2 * size + 64_000_000);
        let emitter = Emitter::new(data, size, &root, budget, 16 * size + (1 << 30));
        let mut old = Old { number, size, root: &root, emitter };
        // Whether a stretch is the last one is known only when the next comes.
        let mut held: Option<Job> = None;
        loop {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted.into());
            }
            match cutter.next()? {
                None => {}
                Some(Next::Unfit) => return Ok(false),
                Some(Next::Segment(next)) => {
                    if let Some(job) = held.replace(*next) {
                        self.whole_segment(&mut old, job)?;
                    }
                }
                Some(Next::End { .. }) => break,
            }
        }
        if let Some(job) = held {
            self.end_of_old(&mut old, job)?;
        }
        Ok(true)
    }

    /// A stretch with whose end the open segment ends.
    fn whole_segment(&mut self, old: &mut Old<'_>, mut job: Job) -> Result<(), Halt> {
        old.emitter.learn(&mut job);
        let plan = &job.plan;
        let (items, bytes) = (plan.to.item - plan.from.item, plan.to.offset - plan.from.offset);
        if self.parts.is_empty() {
            let emitter = &mut old.emitter;
            self.write(items, |out, path| {
                let failed = &mut |error| Error::io("write", path, error).into();
                emitter.emit(plan, &job.refs, out, failed)
            })?;
        } else {
            let part = self.cut_out(old, &job)?;
            self.take(part, items, bytes);
            self.close()?;
        }
        let inside = u128::from(plan.to.offset) * u128::from(self.carried.own);
        let inside = inside / u128::from(old.size.max(1));
        self.carried.begin = self.carried.before + u64::try_from(inside).unwrap_or(u64::MAX);
        Ok(())
    }

    /// The last stretch of an old segment, after which the open segment goes on.
    fn end_of_old(&mut self, old: &mut Old<'_>, mut job: Job) -> Result<(), Halt> {
        old.emitter.learn(&mut job);
        let plan = &job.plan;
        let (items, bytes) = (plan.to.item - plan.from.item, plan.to.offset - plan.from.offset);
        if items == 0 {
            // An empty one shows what the segments are, where there is no other.
            let last = old.number + 1 == self.segments.len();
            if last && self.series.index == 0 && self.parts.is_empty() {
                self.take(Part::Whole(old.number, None), 0, 0);
            }
            return Ok(());
        }
        let part = if plan.from.item == 0 {
            Part::Whole(
                old.number,
                Some(Box::new(Held {
                    root: old.root.clone(),
                    body_end: plan.to.offset,
                    container_ids: old.emitter.container_ids.clone(),
                    seen: None,
                })),
            )
        } else {
            self.cut_out(old, &job)?
        };
        self.take(part, items, bytes);
        Ok(())
    }

    /// A stretch as a pickle of its own.
    fn cut_out(&mut self, old: &mut Old<'_>, job: &Job) -> Result<Part, Halt> {
        let folder = std::env::temp_dir();
        let failed = |error| Error::io("write a temporary file in", &folder, error);
        let mut spool = BufWriter::with_capacity(1 << 16, spooled_tempfile(IN_MEMORY));
        let emitter = &mut old.emitter;
        self.open += emitter.emit(&job.plan, &job.refs, &mut spool, &mut |e| failed(e).into())?;
        let spool = spool.into_inner().map_err(|error| failed(error.into_error()))?;
        let name = "a stretch of a segment";
        Ok(Part::Stretch(match spool.into_inner() {
            SpooledData::InMemory(bytes) => Input::bytes(name, bytes.into_inner()),
            SpooledData::OnDisk(file) => Input::read_at(name, Box::new(file))?,
        }))
    }

    /// Ends the open segment, which is made of several parts.
    fn close(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.parts);
        let shared = std::mem::take(&mut self.open);
        let (segments, kind) = (self.segments, self.segments.kind());
        let objects = kind == Kind::Objects;
        let written = self.write(self.carried.items, |out, path| {
            let mut merged = Merged::new(kind, objects);
            for part in &parts {
                part.with(segments, objects, |member| merged.look(member))?;
            }
            let mut joining = merged.begin(out, path)?;
            for part in &parts {
                part.with(segments, objects, |member| joining.add(member))?;
            }
            joining.finish()?;
            Ok(shared)
        });
        written.map_err(|halt| told(halt, segments.location().path()))
    }

    /// Writes the open segment and opens the next.
    fn write(
        &mut self,
        items: u64,
        make: impl FnOnce(&mut BufWriter<&mut Guarded<'_>>, &Path) -> Result<SharedCounts, Halt>,
    ) -> Result<(), Halt> {
        self.series.write(self.segments.location().path(), items, make)?;
        (self.carried.items, self.carried.bytes) = (0, 0);
        Ok(())
    }
}
