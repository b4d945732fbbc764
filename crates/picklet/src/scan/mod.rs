//! Files, folders and containers scanned for what their pickles would do.
//!
//! [`scan_file`], [`scan_bytes`] and [`scan_input`] scan one file, whatever it is: what a file is
//! is told from its bytes, never from its name. Zip (torch's, numpy's `.npz`, any other), tar,
//! gzip, bzip2, xz, lzma, zstd, zlib and lz4 are opened, containers within containers too, within
//! the caller's [`Limits`]; what lies beyond them is a finding. [`find`] lists the files under
//! folders and patterns, [`scan_all`] scans many of them at a time.
//!
//! What is judged, and how, is [`picklet_codec::scan`]'s; [`json`] and [`sarif`](mod@sarif) are
//! the reports that programs read. Nothing here imports, calls or unpacks anything into a folder.
//!
//! ```
//! use picklet::scan::{Options, Verdict, scan_bytes};
//!
//! let report = scan_bytes("model.pkl", b"cos\nsystem\n(S'id'\ntR.".to_vec(), &Options::default());
//! assert_eq!(report.verdict(), Verdict::Dangerous);
//! assert_eq!(report.findings[1].finding.callable.as_deref(), Some("os.system"));
//! ```

mod data;
mod expand;
pub mod json;
mod npy;
mod paths;
pub mod sarif;
mod sniff;
mod tar_header;
mod walk;
mod zip;

use std::path::Path;

use picklet_codec::policy::Policy;
use picklet_segments::{Input, Segments};

pub use paths::{NotFound, find, scan_all};
pub use picklet_codec::scan::{Damage, Finding, Import, Rule, Severity, Verdict};
pub use sniff::Format;

/// How files are scanned. Start from [`Options::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What is listed, and so is no finding.
    pub policy: Policy,
    /// How far containers are opened.
    pub limits: Limits,
    /// A recognised container adds no policy of its own.
    pub policy_only: bool,
}

/// How far containers are opened, for each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers within one another.
    pub depth: u32,
    /// Members of all of them.
    pub members: u64,
    /// Bytes that all members have together when they are expanded.
    pub expanded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 5, members: 100_000, expanded: 16 << 30 }
    }
}

/// A finding, and where in the file it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFinding {
    /// The member of the container, `inner.zip!data.pkl` for one within another; empty for the
    /// file itself.
    pub member: String,
    /// The finding; its offset is that in the member, expanded.
    pub finding: Finding,
}

/// What a scan found out about one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// The file, as the caller named it.
    pub path: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// What it and its members are, in the order in which they were met, each once.
    pub formats: Vec<Format>,
    /// Members of containers that were looked at.
    pub members: u64,
    /// Pickles that were read to their end.
    pub pickles: u64,
    /// What was found.
    pub findings: Vec<FileFinding>,
    /// Findings that are only counted, because there were too many.
    pub more_findings: u64,
    /// Every global that is named, with the member that names it.
    pub imports: Vec<(String, Import)>,
    /// What could not be read, with the member.
    pub damages: Vec<(String, Damage)>,
    /// Policies that a recognised container added to the caller's.
    pub added_policies: Vec<&'static str>,
}

impl FileReport {
    /// The verdict. A finding outranks what could not be read; a file without any pickle is
    /// unreadable.
    pub fn verdict(&self) -> Verdict {
        let worst = self.findings.iter().map(|found| Verdict::from(found.finding.severity)).max();
        match worst {
            Some(verdict) => verdict,
            None if self.is_foreign() || !self.damages.is_empty() => Verdict::Unreadable,
            None => Verdict::Clean,
        }
    }

    /// Whether there is nothing in the file that a scan could judge: no pickle, whole or broken,
    /// and no container. Such a file is passed over when a folder is scanned.
    pub fn is_foreign(&self) -> bool {
        self.pickles == 0
            && self.findings.is_empty()
            && self.damages.is_empty()
            && self.formats.iter().all(|format| *format == Format::Else)
    }

    /// For a file that somebody named: that there is nothing to judge in it is damage, and not a
    /// reason to pass it over as in a folder.
    pub fn expect_pickle(&mut self) {
        if self.is_foreign() {
            let what = "there is no pickle in it; name a file that holds one, or its folder";
            self.damages.push((String::new(), Damage { offset: 0, what: what.to_owned() }));
        }
    }

    /// The file could not be opened or read at all.
    fn unreadable(path: &str, what: String) -> FileReport {
        let damage = Damage { offset: 0, what };
        FileReport {
            path: path.to_owned(),
            damages: vec![(String::new(), damage)],
            ..FileReport::default()
        }
    }
}

/// Scans the file at `path`. What cannot be read is a part of the report.
pub fn scan_file(path: &Path, options: &Options) -> FileReport {
    // As it lies there: what is compressed is for the walk, which reads damaged streams as far as
    // they go and keeps to the limits.
    let opened = match std::fs::File::open(path) {
        Ok(file) if file.metadata().is_ok_and(|about| about.is_file()) => {
            Input::read_at(path.to_string_lossy(), Box::new(file))
        }
        _ => Input::file(path),
    };
    match opened {
        Ok(input) => scan_input(&input, options),
        Err(error) => FileReport::unreadable(&path.to_string_lossy(), error.to_string()),
    }
}

/// Scans bytes under a name for the report.
pub fn scan_bytes(name: impl Into<String>, bytes: Vec<u8>, options: &Options) -> FileReport {
    let name = name.into();
    walk::scan(&name, &data::Data::Memory(bytes), options)
}

/// Scans whatever can be read at any place: a file, a pipe's temporary copy, an object in a store.
pub fn scan_input(input: &Input, options: &Options) -> FileReport {
    let data = data::Data::Root { data: input.data(), size: input.size() };
    walk::scan(&input.path().to_string_lossy(), &data, options)
}

/// Scans every segment of a segments directory; one report each.
pub fn scan_segments(segments: &Segments, options: &Options) -> Vec<FileReport> {
    let scan = |index: usize| {
        let path = match segments.path(index) {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(error) => {
                return FileReport::unreadable(&format!("segment {index}"), error.to_string());
            }
        };
        let opened =
            segments.open_segment(index).and_then(|data| Input::read_at(path.clone(), data));
        match opened {
            Ok(input) => scan_input(&input, options),
            Err(error) => FileReport::unreadable(&path, error.to_string()),
        }
    };
    (0..segments.len()).map(scan).collect()
}

/// The worst verdict of several reports; files without any pickle do not count unless there is
/// nothing else.
pub fn overall<'r>(reports: impl IntoIterator<Item = &'r FileReport>) -> Verdict {
    let mut worst = None;
    let mut any = false;
    for report in reports {
        any = true;
        if !report.is_foreign() {
            worst = worst.max(Some(report.verdict()));
        }
    }
    worst.unwrap_or(if any { Verdict::Clean } else { Verdict::Unreadable })
}
