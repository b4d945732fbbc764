//! What is to be done in this run and what is done already; and the keeping of books about it.
//!
//! An output is kept when it was made from the same input segment (by digest) with the same
//! `version`, in the same place; never by looking at the function. The number of workers has no
//! say in it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3 as Xxh3State;

use super::protocol::{Done, PublishTo, Task};
use super::replay::Replay;
use super::report::{Failure, MapReport, Mapped};
use super::{Fan, MapOptions, OnError, Trouble};
use crate::compress::stored_name;
use crate::directory::{Origin, Segments};
use crate::draft::Publisher;
use crate::error::{Error, Result};
use crate::manifest::{Entry, GRID_FIELD, Header, Kind, Source, WINDOW_FIELD, Xxh3};
use crate::name;
use crate::progress::{Progress, Totals};
use crate::store::Location;
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

/// What every map's manifest gives as its fingerprint: any map may continue any other, because
/// each output says for itself which input and version it was made from.
const FINGERPRINT: &str = "map";

pub(crate) struct Run<'a> {
    pub options: MapOptions,
    pub progress: Box<dyn Progress + 'a>,
    pub tasks: Vec<Task>,
    pub output: PublishTo,
    pub report: MapReport,
    writer: SegmentsWriter,
    /// What the segments of the input are.
    input_kind: Kind,
    /// Digest of each task's input.
    digests: Vec<Xxh3>,
    /// Bytes of each task's input.
    sizes: Vec<u64>,
    /// Whether a manifest is due at the end even if segments are missing.
    complete_before: bool,
    settled: usize,
    private: PathBuf,
    replay: Replay,
    began: Instant,
}

/// The segments of one task, and the name of its output.
struct Pair<'i> {
    entries: &'i [Entry],
    /// The place of the first among the segments.
    position: usize,
    /// The task's place in the order of outputs.
    index: u64,
    output: String,
}

/// How many outputs a segment may have; the index of an output is that of its segment times this,
/// and its own number.
const OUTPUTS_LIMIT: u64 = 1 << 20;

/// How many names a task gets at first where it may have several outputs.
const FIRST_NAMES: u64 = 16;

/// For how many tasks such names are written into the journal at once.
const NAMED_AHEAD: usize = 64;

impl<'a> Run<'a> {
    /// Looks at both directories, takes the output's lock and decides what to run. `replay`
    /// tells how one segment is run again.
    pub(crate) fn plan(
        input: &Segments,
        out: &Location,
        options: &MapOptions,
        replay: Replay,
        progress: Box<dyn Progress + 'a>,
    ) -> Result<Run<'a>> {
        let began = Instant::now();
        refuse_same(input.location(), out)?;
        let pairs = pairs(input, options)?;
        let only = only(&pairs, options.only.as_deref())?;
        let resume = options.resume || only.is_some();
        let existing = if resume { Existing::Resume } else { Existing::Overwrite };
        let finished = |out: &Location| {
            Segments::open(out).is_ok_and(|segments| segments.origin() == Origin::Manifest)
        };
        let complete_before = only.is_some() && finished(out);
        let source = Source {
            name: input.location().path().to_string_lossy().into_owned(),
            ..Source::default()
        };
        let mut header = Header::new(Kind::Objects, FINGERPRINT).with_source(source);
        header.made_by.clone_from(&options.made_by);
        let mut writer = SegmentsWriter::create(out, existing, header)?;
        // With its grid, outputs of tiles can be stitched without their inputs. What an earlier
        // run said of other inputs goes.
        let grid = input.manifest().header.extra.get(GRID_FIELD);
        let extra = &mut writer.header_mut().extra;
        match grid.filter(|_| options.fan == Fan::One) {
            Some(grid) => drop(extra.insert(GRID_FIELD.to_owned(), grid.clone())),
            None => drop(extra.remove(GRID_FIELD)),
        }
        let private = if out.is_url() {
            // Commands need files for what they write and say.
            std::env::temp_dir().join(format!("picklet-{}", writer.publisher().session()))
        } else {
            absolute(out)?.join(name::PRIVATE)
        };
        let mut run = Run {
            options: options.clone(),
            progress,
            tasks: Vec::new(),
            output: PublishTo {
                directory: text(&absolute(out)?)?,
                session: writer.publisher().session().to_owned(),
            },
            report: MapReport { segments: input.entries().len() as u64, ..MapReport::default() },
            writer,
            input_kind: input.kind(),
            digests: Vec::new(),
            sizes: Vec::new(),
            complete_before,
            settled: 0,
            private,
            replay,
            began,
        };
        run.sort_out(input, pairs, only.as_ref())?;
        run.progress.totals(Totals {
            segments: Some(run.tasks.len() as u64),
            items: run.tasks.iter().try_fold(0u64, |sum, t| sum.checked_add(t.items?)),
            bytes: Some(run.sizes.iter().sum()),
        });
        Ok(run)
    }

    /// Makes tasks of what is not done, and takes back what nobody wants any more.
    fn sort_out(
        &mut self,
        input: &Segments,
        pairs: Vec<Pair<'_>>,
        only: Option<&HashSet<String>>,
    ) -> Result<()> {
        let from = absolute(input.location())?;
        let fan_out = self.options.fan == Fan::Out;
        let mut earlier: HashMap<u64, Vec<Entry>> = HashMap::new();
        for entry in self.writer.done() {
            let index = if fan_out { entry.index / OUTPUTS_LIMIT } else { entry.index };
            earlier.entry(index).or_default().push(entry.clone());
        }
        let mut unwanted: HashSet<String> =
            earlier.values().flatten().map(|entry| entry.file.clone()).collect();
        let mut announced = Vec::new();
        for pair in pairs {
            let [first, rest @ ..] = pair.entries else { continue };
            let wanted = only.map(|only| only.contains(first.file.as_str()));
            let kept = earlier.get(&pair.index).map(Vec::as_slice).unwrap_or_default();
            let whole = self.is_whole(&pair, kept);
            let count = pair.entries.len() as u64;
            if wanted == Some(false) {
                kept.iter().for_each(|entry| {
                    unwanted.remove(&entry.file);
                });
                let done = if whole { &mut self.report.resumed } else { &mut self.report.not_run };
                *done = done.saturating_add(count);
                continue;
            }
            let digest = digests(input, &pair)?;
            let same = |entry: &Entry| {
                entry.input == Some(digest) && entry.version == self.options.version
            };
            let window = first.extra.get(WINDOW_FIELD).filter(|_| rest.is_empty());
            // The function is told where a tile lies: the same one elsewhere is another input.
            let moved = kept.first().is_none_or(|entry| entry.extra.get(WINDOW_FIELD) != window);
            if wanted.is_none() && whole && !moved && kept.iter().all(same) {
                kept.iter().for_each(|entry| {
                    unwanted.remove(&entry.file);
                });
                self.report.resumed = self.report.resumed.saturating_add(count);
                continue;
            }
            let paths = pair.entries.iter().map(|entry| text(&from.join(&entry.file)));
            let mut paths = paths.collect::<Result<Vec<String>>>()?.into_iter();
            let named = if rest.is_empty() { &first.file } else { &pair.output };
            announced.push(pair.output.clone());
            self.digests.push(digest);
            self.sizes.push(pair.entries.iter().map(|entry| entry.bytes).sum());
            self.tasks.push(Task {
                task: self.tasks.len(),
                name: stem(named).to_owned(),
                index: pair.index,
                path: paths.next().unwrap_or_default(),
                first_item: first.first_item,
                items: pair.entries.iter().try_fold(0u64, |n, e| n.checked_add(e.items?)),
                more: paths.collect(),
                window: window.cloned(),
                output: pair.output,
                outputs: Vec::new(),
                next: None,
            });
        }
        if fan_out {
            announced.clear();
        }
        // What is made anew is taken back by its announcement, and everything else here.
        let anew: HashSet<&String> = announced.iter().collect();
        unwanted.retain(|file| !anew.contains(file));
        announced.extend(unwanted);
        if announced.is_empty() { Ok(()) } else { self.writer.announce(&announced) }
    }

    /// Whether these are all the outputs of the segment.
    fn is_whole(&self, pair: &Pair<'_>, kept: &[Entry]) -> bool {
        if self.options.fan != Fan::Out {
            return matches!(kept, [entry] if entry.file == pair.output);
        }
        let Some(first) = kept.first() else { return false };
        let made = first.extra.get(OUTPUTS).and_then(Value::as_u64);
        let in_place = |(number, entry): (usize, &Entry)| {
            let number = number as u64;
            entry.index % OUTPUTS_LIMIT == number
                && entry.file == several(stem(&pair.output), number)
        };
        made == Some(kept.len() as u64) && kept.iter().enumerate().all(in_place)
    }

    /// The task as it is handed out; `next` is the one that comes after it.
    pub(crate) fn task(&mut self, task: usize, next: Option<usize>) -> Result<Option<Task>> {
        if self.options.fan == Fan::Out {
            self.name_outputs(task, 0)?;
        }
        let next = next.and_then(|next| self.tasks.get(next)).map(|next| next.path.clone());
        Ok(self.tasks.get(task).map(|task| Task { next, ..task.clone() }))
    }

    /// Sees to it that the task has `needed` names for its outputs, and some for those after it.
    pub(crate) fn name_outputs(&mut self, task: usize, needed: u64) -> Result<()> {
        let has = |task: &Task| task.outputs.len() as u64;
        let Some(first) = self.tasks.get(task) else { return Ok(()) };
        if needed > OUTPUTS_LIMIT {
            return Err(Error::usage(format!(
                "segment {} has more than {OUTPUTS_LIMIT} outputs; yield lists of them",
                first.name
            )));
        }
        let wanted = match has(first) {
            0 => needed.max(FIRST_NAMES),
            has if has < needed => needed.max(has.saturating_mul(4)).min(OUTPUTS_LIMIT),
            _ => return Ok(()),
        };
        let mut announced = Vec::new();
        let after = self.tasks.iter_mut().skip(task.saturating_add(1)).take(NAMED_AHEAD);
        for other in after.filter(|task| task.outputs.is_empty()) {
            other.outputs = (0..FIRST_NAMES).map(|n| several(stem(&other.output), n)).collect();
            announced.extend(other.outputs.iter().cloned());
        }
        if let Some(task) = self.tasks.get_mut(task) {
            let new = has(task)..wanted;
            let new: Vec<String> = new.map(|n| several(stem(&task.output), n)).collect();
            announced.extend(new.iter().cloned());
            task.outputs.extend(new);
        }
        self.writer.announce(&announced)
    }

    /// What publishes outputs from this process.
    pub(crate) fn publisher(&self) -> Publisher {
        self.writer.publisher()
    }

    /// picklet's own folder in the output.
    pub(crate) fn private(&self) -> PathBuf {
        self.private.clone()
    }

    /// Writes published outputs into the journal, at once: while the disk took the last ones in,
    /// others may have come. With each task comes its time in seconds.
    pub(crate) fn done(&mut self, receipts: Vec<(Done, f64)>) -> Result<()> {
        let mut published = Vec::with_capacity(receipts.len());
        let mut finished = Vec::with_capacity(receipts.len());
        for (done, seconds) in receipts {
            let (Some(task), Some(digest)) =
                (self.tasks.get(done.task), self.digests.get(done.task))
            else {
                return Err(Error::usage(format!("a worker speaks of task {}", done.task)));
            };
            let several = self.options.fan == Fan::Out;
            let names =
                if several { &task.outputs[..] } else { std::slice::from_ref(&task.output) };
            let made = done.outputs.iter().map(|output| &output.receipt.file);
            if !made.eq(names.iter().take(if several { done.outputs.len() } else { 1 })) {
                return Err(Error::usage(format!(
                    "a worker published {:?} where {:?} was asked for",
                    done.outputs.iter().map(|output| &output.receipt.file).collect::<Vec<_>>(),
                    task.output
                )));
            }
            let bytes = done.outputs.iter().map(|output| output.receipt.bytes).sum();
            finished.push((task.task, bytes, seconds, done.peak_rss));
            let count = done.outputs.len() as u64;
            for (number, output) in (0u64..).zip(&done.outputs) {
                let mut meta = EntryMeta {
                    index: task.index,
                    items: Some(output.items),
                    kind: kind(&output.holds),
                    shared: None,
                    input: Some(*digest),
                    version: self.options.version.clone(),
                    extra: Map::new(),
                };
                if several {
                    meta.index = task.index.saturating_mul(OUTPUTS_LIMIT).saturating_add(number);
                }
                if number == 0 {
                    meta.extra = figures(task, &done, seconds);
                    if several {
                        meta.extra.insert(OUTPUTS.to_owned(), count.into());
                    }
                }
                published.push((output.receipt.clone(), meta));
            }
        }
        self.writer.adopt_all(published)?;
        for (task, bytes, seconds, peak_rss) in finished {
            self.count(task, bytes, seconds, peak_rss);
        }
        Ok(())
    }

    /// Counts an output that is in the journal.
    fn count(&mut self, task: usize, bytes: u64, seconds: f64, peak_rss: Option<u64>) {
        let Some(task) = self.tasks.get(task) else { return };
        // Of an earlier run; mostly there is none.
        let _ = self.writer.location().store().remove_note(&record_name(&task.name));
        self.progress.bytes(self.sizes.get(task.task).copied().unwrap_or(0));
        self.progress.items(task.items.unwrap_or(0));
        self.progress.segment(&task.output);
        self.report.add(Mapped {
            name: stem(&task.output).to_owned(),
            index: task.index,
            items: task.items,
            bytes,
            seconds,
            peak_rss,
        });
        self.settled = self.settled.saturating_add(1);
    }

    /// Books a segment that failed for good.
    pub(crate) fn failed(
        &mut self,
        task: usize,
        trouble: Trouble,
        tries: u32,
        seconds: f64,
    ) -> Result<()> {
        let Some(task) = self.tasks.get(task) else { return Ok(()) };
        let failure = Failure {
            name: task.name.clone(),
            index: task.index,
            path: task.path.clone(),
            first_item: task.first_item,
            items: task.items,
            item: trouble.item,
            kind: trouble.kind,
            error: trouble.error,
            message: trouble.message,
            traceback: trouble.traceback,
            tries,
            seconds,
            peak_rss: trouble.peak_rss,
            stderr: trouble.stderr,
        };
        if self.options.on_error == OnError::Quarantine {
            self.record(&failure)?;
        }
        self.progress.bytes(self.sizes.get(task.task).copied().unwrap_or(0));
        self.progress.failure(&task.output, &failure.to_string());
        self.report.failed.push(failure);
        self.settled = self.settled.saturating_add(1);
        Ok(())
    }

    /// Writes down all that is needed to replay a failure.
    fn record(&self, failure: &Failure) -> Result<()> {
        let note = record_name(&failure.name);
        let path = self.writer.location().path().join(name::PRIVATE).join("quarantine").join(&note);
        let io = |error| Error::io("write", &path, error);
        let mut value = serde_json::to_value(failure).map_err(|error| io(error.into()))?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("version".into(), self.options.version.clone().into());
            fields.insert("replay".into(), self.replay.words(&failure.name).into());
        }
        let mut bytes = serde_json::to_vec_pretty(&value).map_err(|error| io(error.into()))?;
        bytes.push(b'\n');
        self.writer.location().store().write_note(&note, &bytes)
    }

    /// Ends the run: writes the manifest unless segments were left for another run.
    pub(crate) fn finish(mut self) -> Result<MapReport> {
        let open = self.tasks.len().saturating_sub(self.settled) as u64;
        let left_out = self.report.not_run;
        self.report.not_run = left_out.saturating_add(open);
        self.report.failed.sort_by_key(|failure| failure.index);
        self.report.seconds = self.began.elapsed().as_secs_f64();
        if open == 0 && (left_out == 0 || self.complete_before) {
            // Lists run on from one to the next. Tuples and dicts are as often one result each (a
            // pair, a table of sums): they do so only if those of the input did.
            let kinds: HashSet<Option<Kind>> =
                self.writer.done().iter().map(|entry| entry.kind).collect();
            if let (1, Some(Some(kind))) = (kinds.len(), kinds.into_iter().next())
                && (kind == Kind::List || kind == self.input_kind)
            {
                self.writer.header_mut().kind = kind;
            }
            self.writer.finish()?;
        }
        Ok(self.report)
    }
}

/// The field of the manifest that says how many outputs a segment has.
const OUTPUTS: &str = "outputs";

/// The file of one of several outputs.
fn several(stem: &str, number: u64) -> String {
    name::segment_file(stem, number, 5)
}

/// What the manifest is to say of how a task went.
fn figures(task: &Task, done: &Done, seconds: f64) -> Map<String, Value> {
    let mut extra = Map::new();
    let mut note = |key: &str, value: Option<Value>| {
        extra.extend(value.map(|value| (key.to_owned(), value)));
    };
    note("seconds", Some(rounded(seconds)));
    note("run_seconds", Some(rounded(done.run_seconds)));
    note("input_items", task.items.map(Value::from));
    note("peak_rss", done.peak_rss.map(Value::from));
    note(WINDOW_FIELD, task.window.clone());
    extra
}

fn pairs<'i>(input: &'i Segments, options: &MapOptions) -> Result<Vec<Pair<'i>>> {
    let entries = input.entries();
    if let Fan::In(size) = options.fan {
        let size = size.max(1);
        let groups = entries.chunks(size).enumerate().map(|(number, entries)| Pair {
            entries,
            position: number.saturating_mul(size),
            index: number as u64,
            output: stored_name(name::segment_file("data", number as u64, 5), options.compression),
        });
        return Ok(groups.collect());
    }
    if let Some(names) = &options.names {
        if names.len() != entries.len() {
            return Err(Error::usage(format!(
                "{} names were given for {} segments; give one for each",
                names.len(),
                entries.len()
            )));
        }
        name::validate_names(names.iter().map(String::as_str))?;
    }
    let names = options.names.as_deref().unwrap_or_default();
    let pair = |(position, entry): (usize, &'i Entry)| {
        Ok(Pair {
            entries: std::slice::from_ref(entry),
            position,
            index: entry.index,
            // Whether the input is compressed says nothing about what the output is to be.
            output: stored_name(
                name::named_file(names.get(position).map_or(stem(&entry.file), String::as_str))?,
                options.compression,
            ),
        })
    };
    entries.iter().enumerate().map(pair).collect()
}

/// The files of the segments that are to be run alone.
fn only(pairs: &[Pair<'_>], names: Option<&[String]>) -> Result<Option<HashSet<String>>> {
    let Some(names) = names else { return Ok(None) };
    let files: HashMap<&str, &str> = pairs
        .iter()
        .flat_map(|pair| pair.entries)
        .map(|entry| (stem(&entry.file), entry.file.as_str()))
        .collect();
    let mut only = HashSet::new();
    for name in names {
        let Some(&file) = files.get(stem(name)) else {
            return Err(Error::usage(format!(
                "there is no segment {name:?} to run; `picklet ls` shows their names"
            )));
        };
        only.insert(file.to_owned());
    }
    Ok(Some(only))
}

/// The digest of a task's segments.
fn digests(input: &Segments, pair: &Pair<'_>) -> Result<Xxh3> {
    if let [entry] = pair.entries {
        return digest(input, pair.position, entry);
    }
    let mut all = Vec::with_capacity(pair.entries.len().saturating_mul(16));
    for (position, entry) in (pair.position..).zip(pair.entries) {
        all.extend_from_slice(&digest(input, position, entry)?.0.to_be_bytes());
    }
    Ok(Xxh3::of(&all))
}

/// The digest of an input segment: from its manifest, else by reading it.
fn digest(input: &Segments, position: usize, entry: &Entry) -> Result<Xxh3> {
    if let Some(digest) = entry.xxh3 {
        return Ok(digest);
    }
    let path = input.path(position)?;
    let source = input.open_segment(position)?;
    let mut state = Xxh3State::new();
    let mut buffer = vec![0u8; 1 << 20];
    let mut offset = 0u64;
    loop {
        let read = source.read_at(offset, &mut buffer).map_err(|e| Error::io("read", &path, e))?;
        if read == 0 {
            return Ok(Xxh3(state.digest128()));
        }
        state.update(buffer.get(..read).unwrap_or_default());
        offset = offset.saturating_add(read as u64);
    }
}

/// Makes the output directory ready for a map, or says why it cannot be one's output: what comes
/// before a map may take hours. Without `resume` what earlier maps made there is removed.
///
/// # Errors
/// Those of [`SegmentsWriter::create`].
pub fn prepare(out: &Location, resume: bool) -> Result<()> {
    let existing = if resume { Existing::Resume } else { Existing::Overwrite };
    SegmentsWriter::create(out, existing, Header::new(Kind::Objects, FINGERPRINT)).map(drop)
}

fn refuse_same(input: &Location, out: &Location) -> Result<()> {
    let same = match (input.local_path(), out.local_path()) {
        (Some(input), Some(out)) => {
            matches!((input.canonicalize(), out.canonicalize()), (Ok(a), Ok(b)) if a == b)
        }
        _ => input.is_url() && input.path() == out.path(),
    };
    if same {
        return Err(Error::usage(format!(
            "{out}: is the input and the output; give the outputs a directory of their own"
        )));
    }
    Ok(())
}

fn absolute(location: &Location) -> Result<PathBuf> {
    let path = location.path();
    if location.is_url() {
        return Ok(path.to_owned());
    }
    std::path::absolute(path).map_err(|error| Error::io("find", path, error))
}

fn record_name(segment: &str) -> String {
    format!("{segment}.json")
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let message = "has a path that is not UTF-8, which workers cannot be told; rename it";
        Error::input(path, None, message)
    })
}

fn stem(file: &str) -> &str {
    name::stem(file)
}

fn kind(holds: &str) -> Option<Kind> {
    Some(match holds {
        "list" => Kind::List,
        "tuple" => Kind::Tuple,
        "dict" => Kind::Dict,
        "set" => Kind::Set,
        "frozenset" => Kind::Frozenset,
        _ => return None,
    })
}

fn rounded(seconds: f64) -> Value {
    Value::from((seconds * 1e6).round() / 1e6)
}

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
