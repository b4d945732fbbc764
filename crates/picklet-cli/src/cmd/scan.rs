//! `picklet scan`: what pickles would do, without doing it.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use picklet::policy::{self, Policy, suggest};
use picklet::scan::{self, FileReport, Options, Severity, Verdict as Found};
use picklet_segments::store::is_url;
use picklet_segments::{Location, Segments};

use crate::failure::Verdict;
use crate::host::Session;
use crate::show;
use crate::source::{is_dash, open};

const EXAMPLES: &str = "\
Examples:
  picklet scan model.pt
  picklet scan models/ 'data/**/*.pkl'
  picklet scan --format sarif models/ > picklet.sarif
  curl -s https://example.com/model.pkl | picklet scan -
Exit codes: 0 clean; 1 findings, suspicious ones included; 2 something could not be read.";

/// Tell what pickles would import, call and change, without loading them
///
/// Every pickle is run on symbols: nothing is imported, called or unpacked. What a policy does not
/// list is a finding: suspicious where it may be harmless, dangerous where it is known to run code
/// or to reach the system. Files are told by their bytes, not their names; zip (torch's and
/// numpy's, too), tar, gzip, bzip2, xz, zstd, zlib and lz4 are looked into, and what stands before
/// and behind pickles is searched.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Scan {
    /// Files, folders, patterns, segments directories or URLs; - is standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// List one more name: package.module.Class, package.module.* for all of a module, or a built-in
    /// policy: torch, sklearn
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// List what this TOML file lists: its keys are policies, allow and strict
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the policy file that would admit what was found, and nothing else
    #[arg(long, conflicts_with = "format")]
    suggest_policy: bool,
    /// Take all that the policy cannot vouch for as dangerous
    #[arg(long)]
    strict: bool,
    /// How many files to scan at a time; every processor by default
    #[arg(short, value_name = "N", default_value_t = 0, hide_default_value = true)]
    jobs: usize,
    /// Print every clean file, too
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person
    Text,
    /// For a program
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

/// Findings of one file that are printed for a person.
const LISTED: usize = 50;

impl Scan {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let options = Options { policy: self.policy()?, ..Options::default() };
        let mut reports = Vec::new();
        let mut named = Vec::new();
        for path in &self.paths {
            if is_dash(path) || is_url(path) {
                let mut streamed = streamed(path, &options)?;
                streamed.iter_mut().for_each(FileReport::expect_pickle);
                reports.extend(streamed);
                continue;
            }
            let files = scan::find(path).map_err(|error| anyhow!("{error}"))?;
            // A file that is named itself is expected to hold a pickle.
            let alone = files.len() == 1 && files.first() == Some(path);
            named.extend(files.into_iter().map(|file| (file, alone)));
        }
        let files: Vec<PathBuf> = named.iter().map(|(file, _)| file.clone()).collect();
        let bar = (files.len() > 1 && io::stderr().is_terminal()).then(|| bar(files.len()));
        let text = self.format == Format::Text && !self.suggest_policy;
        let mut outcome = Ok(());
        // Text is printed as it comes; the other forms need all.
        let threads = match self.jobs {
            0 => std::thread::available_parallelism().map_or(1, Into::into),
            jobs => jobs,
        };
        for report in reports.iter().filter(|_| text) {
            self.print(session, report, true)?;
        }
        let mut scanned = Vec::with_capacity(files.len());
        {
            let (sender, receiver) = std::sync::mpsc::channel();
            let (files, options) = (&files, &options);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    scan::scan_all(files, options, threads, |report| {
                        // Nobody listens any more when standard output is gone.
                        let _ = sender.send(report);
                    });
                });
                for (mut report, (_, alone)) in receiver.into_iter().zip(&named) {
                    if *alone {
                        report.expect_pickle();
                    }
                    if let Some(bar) = &bar {
                        bar.inc(1);
                    }
                    if text && outcome.is_ok() {
                        let mut print = || self.print(session, &report, *alone);
                        outcome = match &bar {
                            Some(bar) => bar.suspend(print),
                            None => print(),
                        };
                    }
                    scanned.push(report);
                }
            });
        }
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        outcome?;
        reports.extend(scanned);
        match self.format {
            _ if self.suggest_policy => {
                let imports = reports.iter().flat_map(|report| &report.imports);
                let suggested = suggest(imports.map(|(_, import)| import), &self.policy()?);
                session.line(suggested.trim_end())?;
            }
            Format::Text => summary(session, &reports)?,
            Format::Json => session.json(&scan::json::to_json(&reports))?,
            Format::Sarif => session.json(&scan::sarif::to_sarif(&reports))?,
        }
        verdict(&reports)
    }

    fn policy(&self) -> Result<Policy> {
        let mut policy = match &self.policy {
            Some(file) => policy::read(file)?,
            None => Policy::data(),
        };
        policy = policy.clone().strict(self.strict || policy.is_strict());
        for name in &self.allow {
            policy.allow(name).map_err(|error| anyhow!("--{error}"))?;
        }
        Ok(policy)
    }

    /// One file's report for a person.
    fn print(&self, session: &mut Session<'_>, report: &FileReport, alone: bool) -> Result<()> {
        let verdict = report.verdict();
        if report.is_foreign() && !alone || verdict == Found::Clean && !alone && !self.verbose {
            return Ok(());
        }
        let formats: Vec<&str> = report.formats.iter().map(|format| format.name()).collect();
        let mut head = format!("{}: {}", show::printable(&report.path), verdict.name());
        if !formats.is_empty() {
            head.push_str(&format!(" ({})", formats.join(", ")));
        }
        session.line(&head)?;
        if !report.added_policies.is_empty() {
            session.line(&format!("  with the policy {}", report.added_policies.join(", ")))?;
        }
        for found in report.findings.iter().take(LISTED) {
            let finding = &found.finding;
            let place = match found.member.as_str() {
                "" => format!("byte {}", finding.offset),
                member => format!("{} byte {}", show::printable(member), finding.offset),
            };
            let times = match finding.times {
                1 => String::new(),
                times => format!(" ({} times)", show::count(times)),
            };
            session.line(&format!(
                "  {} {}, {place}{times}",
                finding.severity.name(),
                finding.rule
            ))?;
            if let (Some(callable), Some(arguments)) = (&finding.callable, &finding.arguments) {
                session.line(&format!(
                    "    {}{}",
                    show::printable(callable),
                    show::printable(arguments)
                ))?;
            }
            session.line(&format!("    {}", show::printable(&finding.reason)))?;
        }
        let more = report.findings.len().saturating_sub(LISTED) as u64 + report.more_findings;
        if more > 0 {
            session.line(&format!(
                "  and {}; --format json lists more",
                show::counted(more, "more finding")
            ))?;
        }
        for (member, damage) in report.damages.iter().take(LISTED) {
            let place = match member.as_str() {
                "" => String::new(),
                member => format!("{}: ", show::printable(member)),
            };
            let what = show::printable(&damage.what);
            session.line(&format!("  unreadable from byte {}: {place}{what}", damage.offset))?;
        }
        Ok(())
    }
}

/// The reports of standard input, or of what is behind a URL.
fn streamed(path: &Path, options: &Options) -> Result<Vec<FileReport>> {
    if is_url(path)
        && let Ok(segments) = Segments::open(&Location::new(path)?)
    {
        return Ok(scan::scan_segments(&segments, options));
    }
    Ok(vec![scan::scan_input(&open(path)?, options)])
}

fn bar(files: usize) -> ProgressBar {
    let bar = ProgressBar::new(files as u64);
    if let Ok(style) =
        ProgressStyle::with_template("scan {wide_bar:.cyan/dim} {pos}/{len} files {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// The last line for a person.
fn summary(session: &mut Session<'_>, reports: &[FileReport]) -> Result<()> {
    if let [_] = reports {
        return Ok(());
    }
    let count = |wanted: Found| {
        reports.iter().filter(|report| !report.is_foreign() && report.verdict() == wanted).count()
    };
    let foreign = reports.iter().filter(|report| report.is_foreign()).count();
    let counts = [
        (count(Found::Dangerous), "dangerous"),
        (count(Found::Suspicious), "suspicious"),
        (count(Found::Unreadable), "unreadable"),
        (count(Found::Clean), "clean"),
        (foreign, "without pickles"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(number, what)| format!("{} {what}", show::count(*number as u64)))
        .collect();
    let files = show::counted(reports.len() as u64, "file");
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    session.line(&format!("{files} scanned{parts}"))
}

/// What the exit code says of all of them.
fn verdict(reports: &[FileReport]) -> Result<Verdict> {
    let mut unreadable = None;
    for report in reports {
        let found =
            report.findings.iter().any(|found| found.finding.severity >= Severity::Suspicious);
        if found {
            return Ok(Verdict::Bad);
        }
        if report.verdict() == Found::Unreadable && !report.is_foreign() {
            unreadable = unreadable.or(Some(report));
        }
    }
    let Some(report) = unreadable else { return Ok(Verdict::Good) };
    let damage = report.damages.first().map(|(_, damage)| (damage.offset, damage.what.as_str()));
    let (offset, what) = damage.unwrap_or((0, "it cannot be read"));
    Err(anyhow!("{}: {what}, at byte {offset}", report.path))
}
