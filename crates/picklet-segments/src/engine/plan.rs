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
use super::report::{Failure, MapReport, Mapped};
use super::{MapOptions, OnError, Trouble};
use crate::directory::{Origin, Segments};
use crate::draft::Publisher;
use crate::error::{Error, Result};
use crate::manifest::{Entry, Header, Kind, Source, Xxh3};
use crate::name;
use crate::progress::{Progress, Totals};
use crate::store::Location;
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

/// What every map's manifest gives as its fingerprint: any map may continue any other, because
/// each output says for itself which input and version it was made from.
const FINGERPRINT: &str = "map";

pub(crate) struct Run<'a> {
    pub options: &'a MapOptions,
    pub progress: &'a dyn Progress,
    pub tasks: Vec<Task>,
    pub output: PublishTo,
    pub report: MapReport,
    writer: SegmentsWriter,
    /// What the segments of the input are.
    input_kind: Kind,
    /// Digest of each task's input.
    digests: Vec<Xxh3>,
    /// Whether a manifest is due at the end even if segments are missing.
    complete_before: bool,
    settled: usize,
    private: PathBuf,
    /// How to run one segment again, up to the segment's name.
    replay: String,
    began: Instant,
}

/// The `.pickle` files of one segment, on both sides.
struct Pair<'a> {
    entry: &'a Entry,
    output: String,
}

impl<'a> Run<'a> {
    /// Looks at both directories, takes the output's lock and decides what to run. `replay` is
    /// the command that runs one segment again, without the segment's name.
    pub(crate) fn plan(
        input: &'a Segments,
        out: &Location,
        options: &'a MapOptions,
        replay: String,
        progress: &'a dyn Progress,
    ) -> Result<Run<'a>> {
        let began = Instant::now();
        refuse_same(input.location(), out)?;
        let pairs = pairs(input, options.names.as_deref())?;
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
        let header = Header::new(Kind::Objects, FINGERPRINT).with_source(source);
        let mut writer = SegmentsWriter::create(out, existing, header)?;
        let kept: HashMap<String, Entry> =
            writer.done().into_iter().map(|entry| (entry.file.clone(), entry.clone())).collect();
        discard_strangers(&mut writer, &pairs, kept.keys())?;

        let from = absolute(input.location())?;
        let private = if out.is_url() {
            // Commands need files for what they write and say.
            std::env::temp_dir().join(format!("picklet-{}", writer.publisher().session()))
        } else {
            absolute(out)?.join(name::PRIVATE)
        };
        let mut run = Run {
            options,
            progress,
            tasks: Vec::new(),
            output: PublishTo {
                directory: text(&absolute(out)?)?,
                session: writer.publisher().session().to_owned(),
            },
            report: MapReport { segments: pairs.len() as u64, ..MapReport::default() },
            writer,
            input_kind: input.kind(),
            digests: Vec::new(),
            complete_before,
            settled: 0,
            private,
            replay,
            began,
        };
        for (position, pair) in pairs.into_iter().enumerate() {
            let wanted = only.as_ref().map(|only| only.contains(pair.entry.file.as_str()));
            let earlier = kept.get(&pair.output);
            if wanted == Some(false) {
                let counted = if earlier.is_some() {
                    &mut run.report.resumed
                } else {
                    &mut run.report.not_run
                };
                *counted = counted.saturating_add(1);
                continue;
            }
            let digest = digest(input, position, pair.entry)?;
            let same = |earlier: &Entry| {
                earlier.input == Some(digest)
                    && earlier.version == options.version
                    && earlier.index == pair.entry.index
            };
            if wanted.is_none() && earlier.is_some_and(same) {
                run.report.resumed = run.report.resumed.saturating_add(1);
                continue;
            }
            run.digests.push(digest);
            run.tasks.push(Task {
                task: run.tasks.len(),
                name: stem(&pair.entry.file).to_owned(),
                index: pair.entry.index,
                path: text(&from.join(&pair.entry.file))?,
                first_item: pair.entry.first_item,
                items: pair.entry.items,
                output: pair.output,
                next: None,
            });
        }
        let outputs: Vec<&str> = run.tasks.iter().map(|task| task.output.as_str()).collect();
        if !outputs.is_empty() {
            run.writer.announce(&outputs)?;
        }
        run.progress.totals(Totals {
            segments: Some(run.tasks.len() as u64),
            items: run.tasks.iter().try_fold(0u64, |sum, t| sum.checked_add(t.items?)),
            bytes: None,
        });
        Ok(run)
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
    /// others may have come. With each comes its time in seconds.
    pub(crate) fn done(&mut self, receipts: Vec<(Done, f64)>) -> Result<()> {
        let mut published = Vec::with_capacity(receipts.len());
        let mut finished = Vec::with_capacity(receipts.len());
        for (done, seconds) in receipts {
            let (Some(task), Some(digest)) =
                (self.tasks.get(done.task), self.digests.get(done.task))
            else {
                return Err(Error::usage(format!("a worker speaks of task {}", done.task)));
            };
            if done.receipt.file != task.output {
                return Err(Error::usage(format!(
                    "a worker published {:?} where {:?} was asked for",
                    done.receipt.file, task.output
                )));
            }
            let meta = meta(task, *digest, &done, seconds, self.options.version.clone());
            finished.push((task.task, done.receipt.bytes, seconds, done.peak_rss));
            published.push((done.receipt, meta));
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
            let replay = format!("{} --only {}", self.replay, quoted(&failure.name));
            fields.insert("version".into(), self.options.version.clone().into());
            fields.insert("replay".into(), replay.into());
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

/// What the manifest is to say of an output.
fn meta(task: &Task, input: Xxh3, done: &Done, seconds: f64, version: Option<String>) -> EntryMeta {
    let mut extra = Map::new();
    let mut note = |key: &str, value: Option<Value>| {
        extra.extend(value.map(|value| (key.to_owned(), value)));
    };
    note("seconds", Some(rounded(seconds)));
    note("run_seconds", Some(rounded(done.run_seconds)));
    note("input_items", task.items.map(Value::from));
    note("peak_rss", done.peak_rss.map(Value::from));
    EntryMeta {
        index: task.index,
        items: Some(done.items),
        kind: kind(&done.holds),
        shared: None,
        input: Some(input),
        version,
        extra,
    }
}

/// Takes back outputs of segments that the input no longer has.
fn discard_strangers<'e>(
    writer: &mut SegmentsWriter,
    pairs: &[Pair<'_>],
    kept: impl Iterator<Item = &'e String>,
) -> Result<()> {
    let wanted: HashSet<&str> = pairs.iter().map(|pair| pair.output.as_str()).collect();
    let strangers: Vec<&String> = kept.filter(|file| !wanted.contains(file.as_str())).collect();
    if strangers.is_empty() { Ok(()) } else { writer.announce(&strangers) }
}

fn pairs<'a>(input: &'a Segments, names: Option<&[String]>) -> Result<Vec<Pair<'a>>> {
    let entries = input.entries();
    let Some(names) = names else {
        let pair = |entry: &'a Entry| Pair { entry, output: entry.file.clone() };
        return Ok(entries.iter().map(pair).collect());
    };
    if names.len() != entries.len() {
        return Err(Error::usage(format!(
            "{} names were given for {} segments; give one for each",
            names.len(),
            entries.len()
        )));
    }
    name::validate_names(names.iter().map(String::as_str))?;
    let pair =
        |(entry, name): (&'a Entry, &String)| Ok(Pair { entry, output: name::named_file(name)? });
    entries.iter().zip(names).map(pair).collect()
}

/// The files of the segments that are to be run alone.
fn only(pairs: &[Pair<'_>], names: Option<&[String]>) -> Result<Option<HashSet<String>>> {
    let Some(names) = names else { return Ok(None) };
    let files: HashSet<&str> = pairs.iter().map(|pair| pair.entry.file.as_str()).collect();
    let mut only = HashSet::new();
    for name in names {
        let file = name::named_file(name)?;
        if !files.contains(file.as_str()) {
            return Err(Error::usage(format!(
                "there is no segment {name:?} to run; `picklet ls` shows their names"
            )));
        }
        only.insert(file);
    }
    Ok(Some(only))
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
    file.strip_suffix(name::EXTENSION).unwrap_or(file)
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
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
