//! `picklet info`: what a pickle, a file of many pickles, or a segments directory holds.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use picklet_codec::StackKind;
use picklet_segments::{Error, Input, Segments};
use serde_json::{Value, json};

use crate::cmd::ls;
use crate::failure::Verdict;
use crate::host::Session;
use crate::show;
use crate::source::Place;
use crate::summary::{Stopped, Summary, Top, summarize};

const EXAMPLES: &str = "\
Examples:
  picklet info big.pickle
  picklet info out                  a segments directory
  picklet info big.pickle --json
  zcat big.pickle.gz | picklet info -";

/// Show what a pickle or a segments directory holds, without loading it
///
/// Of a pickle: what is at its top and how many items that has, its protocol, how many opcodes,
/// frames and memo entries it has, and every global (class or function) that it names. Loading it
/// would import those; this command reads only the opcodes. A file may hold several pickles one
/// after another.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Info {
    /// A pickle, or a segments directory; - is standard input
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How many different globals are listed for a person.
const LISTED_GLOBALS: usize = 30;

/// How many pickles of a file are listed, in words as in JSON; all are counted.
const LISTED_PICKLES: usize = 20;

impl Info {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        match Place::open(&self.path)? {
            Place::Segments(segments) => self.directory(session, &segments),
            Place::File(file) => self.file(session, &file),
        }
    }

    fn directory(&self, session: &mut Session<'_>, segments: &Segments) -> Result<Verdict> {
        if self.json {
            let mut value = ls::as_json(segments)?;
            if let Some(fields) = value.as_object_mut() {
                fields.insert("segments".to_owned(), segments.len().into());
            }
            session.json(&value)?;
            return Ok(Verdict::Good);
        }
        let known = |number: Option<u64>| number.map_or_else(|| "unknown".into(), show::count);
        session.line(&format!("{}: segments directory", show::path(segments.location().path())))?;
        row(session, "kind", segments.kind().as_str())?;
        row(session, "segments", &show::count(segments.len() as u64))?;
        row(session, "items", &known(segments.items()))?;
        row(session, "size", &size(segments.bytes()))?;
        if let Some(source) = &segments.manifest().header.source {
            let bytes = source.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
            row(session, "source", &format!("{}{bytes}", show::printable(&source.name)))?;
        }
        if let Some(note) = ls::note(segments.origin()) {
            session.line(note)?;
        }
        Ok(Verdict::Good)
    }

    fn file(&self, session: &mut Session<'_>, file: &Input) -> Result<Verdict> {
        let found = Found::in_file(file)?;
        if self.json {
            session.json(&found.as_json(file))?;
            return Ok(Verdict::Good);
        }
        found.print(session, file)?;
        Ok(Verdict::Good)
    }
}

/// The pickles of a file: the first ones in full, all of them in sums.
struct Found {
    first: Vec<Summary>,
    pickles: u64,
    opcodes: u64,
    calls: u64,
    globals: Vec<(String, u64)>,
    end: u64,
}

impl Found {
    fn in_file(file: &Input) -> Result<Found> {
        if file.size() == 0 {
            return Err(empty(file.path()).into());
        }
        let mut found = Found {
            first: Vec::new(),
            pickles: 0,
            opcodes: 0,
            calls: 0,
            globals: Vec::new(),
            end: 0,
        };
        let mut places = std::collections::HashMap::new();
        while found.end < file.size() {
            let summary = summarize(file.data(), file.size(), found.end)
                .map_err(|stopped| found.told(stopped, file))?;
            found.end = summary.end;
            found.pickles += 1;
            found.opcodes += summary.opcodes;
            found.calls += summary.calls;
            for (name, times) in &summary.globals {
                let place = *places.entry(name.clone()).or_insert(found.globals.len());
                match found.globals.get_mut(place) {
                    Some((_, sum)) => *sum += times,
                    None => found.globals.push((name.clone(), *times)),
                }
            }
            if found.first.len() < LISTED_PICKLES {
                found.first.push(summary);
            }
        }
        Ok(found)
    }

    /// The error with the file's name, and how far it is good.
    fn told(&self, stopped: Stopped, file: &Input) -> Error {
        match stopped {
            Stopped::Io(error) => Error::io("read", file.path(), error),
            Stopped::Wrong(wrong) if self.pickles == 0 => {
                Error::input(file.path(), wrong.offset, wrong.what)
            }
            Stopped::Wrong(wrong) => Error::input(
                file.path(),
                wrong.offset,
                format!(
                    "{}; the {} before byte {} {} whole",
                    wrong.what,
                    show::counted(self.pickles, "pickle"),
                    self.end,
                    if self.pickles == 1 { "is" } else { "are" }
                ),
            ),
        }
    }

    fn print(&self, session: &mut Session<'_>, file: &Input) -> Result<()> {
        let name = show::path(file.path());
        if let ([only], 1) = (self.first.as_slice(), self.pickles) {
            session.line(&format!("{name}: {}", headline(only)))?;
            row(session, "protocol", &only.protocol.to_string())?;
            row(session, "size", &size(file.size()))?;
            row(session, "opcodes", &show::count(only.opcodes))?;
            row(session, "frames", &show::count(only.frames))?;
            row(session, "memo", &show::counted(only.memo, "entry").replace("entrys", "entries"))?;
        } else {
            session.line(&format!(
                "{name}: {} pickles, one after another",
                show::count(self.pickles)
            ))?;
            row(session, "size", &size(file.size()))?;
            row(session, "opcodes", &show::count(self.opcodes))?;
            for (number, pickle) in self.first.iter().enumerate() {
                let text = format!("{}, protocol {}", headline(pickle), pickle.protocol);
                row(session, &format!("pickle {number}"), &text)?;
            }
            let more = self.pickles - self.first.len() as u64;
            if more > 0 {
                row(session, "", &format!("and {} more", show::count(more)))?;
            }
        }
        self.print_globals(session)
    }

    fn print_globals(&self, session: &mut Session<'_>) -> Result<()> {
        if self.globals.is_empty() {
            return row(session, "globals", "none: loading it imports nothing");
        }
        let calls = show::counted(self.calls, "call");
        let heading = format!("{} named, {calls}", show::count(self.globals.len() as u64));
        row(session, "globals", &heading)?;
        for (name, times) in self.globals.iter().take(LISTED_GLOBALS) {
            let times = if *times == 1 {
                String::new()
            } else {
                format!(" ({} times)", show::count(*times))
            };
            row(session, "", &format!("{}{times}", show::printable(name)))?;
        }
        let more = self.globals.len().saturating_sub(LISTED_GLOBALS);
        if more > 0 {
            row(session, "", &format!("and {more} more; --json lists all"))?;
        }
        Ok(())
    }

    fn as_json(&self, file: &Input) -> Value {
        let globals: serde_json::Map<String, Value> =
            self.globals.iter().map(|(name, times)| (name.clone(), (*times).into())).collect();
        let pickles: Vec<Value> = self.first.iter().map(pickle_json).collect();
        json!({
            "path": file.path().to_string_lossy(),
            "bytes": file.size(),
            "pickles": self.pickles,
            "opcodes": self.opcodes,
            "calls": self.calls,
            "globals": globals,
            "first_pickles": pickles,
        })
    }
}

fn pickle_json(pickle: &Summary) -> Value {
    let (top, global) = match &pickle.top {
        Top::Plain(kind) => (Top::Plain(*kind).describe(), None),
        Top::Global(name) => ("global".to_owned(), Some(name)),
        Top::Made(name) => ("object".to_owned(), Some(name)),
        Top::Persistent => ("persistent id".to_owned(), None),
        Top::Unknown => ("unknown".to_owned(), None),
    };
    json!({
        "first_byte": pickle.start,
        "bytes": pickle.end - pickle.start,
        "protocol": pickle.protocol,
        "top": top,
        "made_by": global,
        "items": items(pickle),
        "opcodes": pickle.opcodes,
        "frames": pickle.frames,
        "memo": pickle.memo,
        "calls": pickle.calls,
    })
}

/// `list, 1,000 items`.
fn headline(pickle: &Summary) -> String {
    let top = show::printable(&pickle.top.describe());
    match items(pickle) {
        Some(items) => format!("{top}, {}", show::counted(items, "item")),
        None => top,
    }
}

/// Items of a container; an instance has some only where it was given any.
fn items(pickle: &Summary) -> Option<u64> {
    match pickle.top {
        Top::Made(_) => pickle.items.filter(|&items| items > 0),
        Top::Plain(
            StackKind::List
            | StackKind::Tuple
            | StackKind::Dict
            | StackKind::Set
            | StackKind::FrozenSet,
        ) => pickle.items,
        _ => None,
    }
}

fn empty(path: &Path) -> Error {
    Error::input(path, None, "is empty: there is no pickle in it")
}

/// `64.0 MB (64,000,123 bytes)`.
fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return show::counted(bytes, "byte");
    }
    format!("{} ({} bytes)", show::bytes(bytes), show::count(bytes))
}

fn row(session: &mut Session<'_>, name: &str, value: &str) -> Result<()> {
    session.line(&format!("  {name:<10} {value}"))
}
