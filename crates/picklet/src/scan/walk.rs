//! One file, with all that is in it.

use std::collections::HashSet;
use std::io::{self, BufReader};

use picklet_codec::policy::{Builtin, Policy};
use picklet_codec::scan::{
    Damage, Finding, Look, MAX_FINDINGS, Options as PickleOptions, Report, Rule, Severity,
    Source as _, scan as scan_pickles,
};

use super::data::{Copied, Data};
use super::npy::{self, Body};
use super::sniff::{Format, Sniffed, sniff};
use super::tar_header::Unsigned;
use super::{FileFinding, FileReport, Options, expand, zip};

/// Scans `data`, which the caller knows as `path`.
pub(super) fn scan(path: &str, data: &Data<'_>, options: &Options) -> FileReport {
    let mut walk = Walk {
        options,
        report: FileReport { path: path.to_owned(), bytes: data.len(), ..FileReport::default() },
        formats: HashSet::new(),
        expanded_left: options.limits.expanded,
    };
    let place = Place { member: String::new(), name: path.to_owned(), depth: 0, torch: false };
    walk.any(data, &place);
    walk.report
}

/// Where in the file some bytes are.
#[derive(Clone)]
pub(super) struct Place {
    /// The way through the containers.
    pub(super) member: String,
    /// The last part of it, or the file's own name.
    pub(super) name: String,
    pub(super) depth: u32,
    /// Within a container that torch wrote.
    pub(super) torch: bool,
}

impl Place {
    pub(super) fn below(&self, name: &str) -> Place {
        let member = match self.member.as_str() {
            "" => name.to_owned(),
            member => format!("{member}!{name}"),
        };
        Place { member, name: name.to_owned(), depth: self.depth + 1, torch: false }
    }
}

/// Zeros behind a stream that are nothing but padding.
const PADDING: usize = 512;

/// The scan of one file.
pub(super) struct Walk<'o> {
    pub(super) options: &'o Options,
    pub(super) report: FileReport,
    formats: HashSet<Format>,
    /// Bytes that members may still expand to.
    pub(super) expanded_left: u64,
}

impl Walk<'_> {
    /// Scans bytes, whatever they are.
    pub(super) fn any(&mut self, data: &Data<'_>, place: &Place) {
        if let Err(error) = self.try_any(data, place) {
            self.damage(place, 0, format!("cannot be read: {error}"));
        }
    }

    fn try_any(&mut self, data: &Data<'_>, place: &Place) -> io::Result<()> {
        let sniffed = sniff(data)?;
        let Sniffed { format, look, zip_behind } = sniffed;
        self.note(format);
        let is_container = format.is_stream() || matches!(format, Format::Zip | Format::Tar);
        if is_container && place.depth >= self.options.limits.depth {
            let depth = self.options.limits.depth;
            self.unscanned(place, format!("it lies more than {depth} containers deep"));
            return Ok(());
        }
        if is_container && look == Look::Pickle {
            self.pickles(data, place, true)?;
            self.add(
                place,
                Rule::HiddenPickle,
                Severity::Suspicious,
                0,
                format!(
                    "it is a pickle and a {format} at once: what it is depends on who reads it"
                ),
            );
        }
        // No other container's first bytes are opcodes that C's unpickler runs: zip's ask for a
        // persistent id, which it refuses.
        if format == Format::Tar && look == Look::Broken {
            self.broken(format, data, place)?;
        }
        match format {
            Format::Pickle => self.pickles(data, place, false)?,
            Format::TorchLegacy => {
                let place = Place { torch: true, ..place.clone() };
                self.pickles(data, &place, true)?;
            }
            Format::Npy => self.npy(data, place)?,
            Format::Zip => {
                if !zip::members(self, data, place)? {
                    self.damage(place, 0, "it begins as a zip archive but has no directory".into());
                    self.search(data, place, 0)?;
                }
            }
            Format::Tar => self.tar(data, place)?,
            Format::Else | Format::TorchZip => self.foreign(data, place)?,
            stream => self.stream(stream, data, place)?,
        }
        if zip_behind && place.depth < self.options.limits.depth {
            zip::members(self, data, place)?;
        }
        Ok(())
    }

    /// A container that runs for a while as a pickle: what it does until it fails is reported.
    fn broken(&mut self, format: Format, data: &Data<'_>, place: &Place) -> io::Result<()> {
        let mut report = self.scan_part(data, place, true)?;
        report.damage = None;
        if !report.findings.is_empty() {
            self.merge(report, place, 0);
            self.add(
                place,
                Rule::HiddenPickle,
                Severity::Suspicious,
                0,
                format!("it is a {format} that runs as a pickle until that fails"),
            );
        }
        Ok(())
    }

    fn stream(&mut self, format: Format, data: &Data<'_>, place: &Place) -> io::Result<()> {
        let inner = place.below(&format!("({format})"));
        let (copied, end) = expand::expand(format, data, self.expanded_left)?;
        let nothing = copied.data.is_empty() && copied.error.is_some();
        if nothing && place.depth == 0 && matches!(format, Format::Zlib | Format::Lzma) {
            // A few bytes are a weak sign of these.
            return self.foreign(data, place);
        }
        let whole = copied.error.is_none() && !copied.cut;
        self.copied(copied, &inner);
        if whole && end < data.len() {
            self.behind_stream(format, data, end, place)?;
        }
        Ok(())
    }

    /// What stands behind a stream and is none of its kind: other readers may begin there.
    fn behind_stream(
        &mut self,
        format: Format,
        data: &Data<'_>,
        end: u64,
        place: &Place,
    ) -> io::Result<()> {
        let rest = data.part(end, data.len() - end);
        let blanks = rest.bytes(0, PADDING + 1)?;
        if blanks.len() <= PADDING && blanks.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.add(
            place,
            Rule::ForeignData,
            Severity::Suspicious,
            end,
            format!(
                "{} bytes stand behind the {format} stream: some programs read on there",
                rest.len()
            ),
        );
        self.any(&rest, &place.below(&format!("(behind the {format} stream)")));
        Ok(())
    }

    /// Scans what was expanded.
    pub(super) fn copied(&mut self, copied: Copied, place: &Place) {
        self.report.members += 1;
        self.expanded_left = self.expanded_left.saturating_sub(copied.data.len());
        self.any(&copied.data, place);
        if copied.cut {
            let cap = self.options.limits.expanded;
            self.unscanned(place, format!("the file expands to more than {cap} bytes"));
        }
        if let Some(error) = copied.error {
            self.damage(
                place,
                copied.data.len(),
                format!("it cannot be expanded further: {error}"),
            );
        }
    }

    fn tar(&mut self, data: &Data<'_>, place: &Place) -> io::Result<()> {
        let mut archive = tar::Archive::new(Unsigned::new(BufReader::new(data.reader(0))));
        archive.set_ignore_zeros(true);
        let mut names = HashSet::new();
        for entry in archive.entries()? {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.damage(place, 0, format!("its members cannot be read further: {error}"));
                    self.search(data, place, 0)?;
                    break;
                }
            };
            if !self.one_more_member(place) {
                break;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let inner = place.below(&name);
            if entry.header().entry_type().is_file() && !names.insert(name.clone()) {
                self.duplicate(place, &name);
            }
            let (start, size) = (entry.raw_file_position(), entry.size());
            drop(entry);
            self.any(&data.part(start, size), &inner);
        }
        Ok(())
    }

    fn npy(&mut self, data: &Data<'_>, place: &Place) -> io::Result<()> {
        match npy::body(data)? {
            Body::Pickle(at) => {
                let part = data.part(at, u64::MAX);
                let report = self.scan_part(&part, place, false)?;
                self.merge(report, place, at);
            }
            Body::Raw(at) => self.search(data, place, at)?,
            Body::Broken(why) => {
                self.damage(place, 0, format!("it is no array file that can be read: {why}"));
                self.search(data, place, 0)?;
            }
        }
        Ok(())
    }

    /// What is no pickle from its first byte on.
    fn foreign(&mut self, data: &Data<'_>, place: &Place) -> io::Result<()> {
        let report = self.scan_part(data, place, false)?;
        // By its name it was meant to be one.
        let meant = is_pickle_name(&place.name);
        if !report.findings.is_empty() || meant {
            self.merge(report, place, 0);
        }
        Ok(())
    }

    /// Searches data that have another use for pickles.
    pub(super) fn search(&mut self, data: &Data<'_>, place: &Place, from: u64) -> io::Result<()> {
        let part = data.part(from, u64::MAX);
        if part.is_empty() {
            return Ok(());
        }
        let mut report = self.scan_part(&part, place, true)?;
        report.damage = None;
        if !report.findings.is_empty() {
            self.merge(report, place, from);
        }
        Ok(())
    }

    /// Pickles from the first byte on.
    fn pickles(&mut self, data: &Data<'_>, place: &Place, trailing: bool) -> io::Result<()> {
        let report = self.scan_part(data, place, trailing)?;
        self.merge(report, place, 0);
        Ok(())
    }

    fn scan_part(&mut self, data: &Data<'_>, place: &Place, trailing: bool) -> io::Result<Report> {
        let mut options = PickleOptions { trailing_data: trailing, ..PickleOptions::default() };
        if place.torch && !self.options.policy_only {
            options.persistent_ids = true;
            let policy = self.with_torch();
            return scan_pickles(data, &policy, &options);
        }
        scan_pickles(data, &self.options.policy, &options)
    }

    /// The caller's policy with that of a container that was recognised.
    fn with_torch(&mut self) -> Policy {
        let policy = self.options.policy.clone();
        match "torch".parse::<Builtin>() {
            Ok(torch) => {
                if !self.report.added_policies.contains(&"torch") {
                    self.report.added_policies.push("torch");
                }
                policy.with(torch)
            }
            Err(_) => policy,
        }
    }

    fn merge(&mut self, report: Report, place: &Place, base: u64) {
        self.report.pickles += report.pickles;
        self.report.more_findings += report.more_findings;
        for mut finding in report.findings {
            finding.offset += base;
            finding.pickle += base;
            self.push(place, finding);
        }
        for mut import in report.imports {
            import.offset += base;
            self.report.imports.push((place.member.clone(), import));
        }
        if let Some(damage) = report.damage {
            self.damage(place, damage.offset + base, damage.what);
        }
    }

    fn push(&mut self, place: &Place, finding: Finding) {
        if self.report.findings.len() >= MAX_FINDINGS {
            self.report.more_findings += 1;
            return;
        }
        self.report.findings.push(FileFinding { member: place.member.clone(), finding });
    }

    /// Adds a finding about a container.
    pub(super) fn add(
        &mut self,
        place: &Place,
        rule: Rule,
        severity: Severity,
        offset: u64,
        reason: String,
    ) {
        let severity = if self.options.policy.is_strict() { Severity::Dangerous } else { severity };
        self.push(
            place,
            Finding {
                rule,
                severity,
                offset,
                opcode: None,
                pickle: offset,
                callable: None,
                arguments: None,
                reason,
                times: 1,
            },
        );
    }

    pub(super) fn unscanned(&mut self, place: &Place, why: String) {
        let reason = format!("it was not looked at, or not wholly: {why}");
        self.add(place, Rule::UnscannedMember, Severity::Suspicious, 0, reason);
    }

    pub(super) fn duplicate(&mut self, place: &Place, name: &str) {
        let name: String = name.escape_debug().take(200).collect();
        self.add(
            place,
            Rule::DuplicateMember,
            Severity::Suspicious,
            0,
            format!("there are two members {name}: readers may see the one or the other"),
        );
    }

    /// Counts a member; false, once, when there are too many.
    pub(super) fn one_more_member(&mut self, place: &Place) -> bool {
        self.report.members += 1;
        if self.report.members <= self.options.limits.members {
            return true;
        }
        let cap = self.options.limits.members;
        self.unscanned(place, format!("the file has more than {cap} members"));
        false
    }

    pub(super) fn damage(&mut self, place: &Place, offset: u64, what: String) {
        if self.report.damages.len() < MAX_FINDINGS {
            self.report.damages.push((place.member.clone(), Damage { offset, what }));
        }
    }

    pub(super) fn note(&mut self, format: Format) {
        if self.formats.insert(format) {
            self.report.formats.push(format);
        }
    }
}

/// Whether a file of this name is meant to be a pickle.
fn is_pickle_name(name: &str) -> bool {
    let extension = name.rsplit(['/', '\\']).next().and_then(|name| name.rsplit_once('.'));
    extension.is_some_and(|(_, extension)| {
        let extension = extension.to_ascii_lowercase();
        ["pkl", "pickle", "pck", "pcl", "p", "joblib", "pt", "pth", "ckpt", "dill", "sav"]
            .contains(&extension.as_str())
    })
}
