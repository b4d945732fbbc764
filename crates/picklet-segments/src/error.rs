//! What can go wrong with segments, as one enum.
//!
//! Every message is one line that names the file, the byte offset where one is
//! known, and the way out. No message holds a line break, whatever the name or
//! the pickle that caused it, because the command line prints one line an error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which of the command line's exit codes an [`Error`] belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// The caller asked for something that cannot be: a bad name, a bad option.
    Usage,
    /// What was read is not what it should be: no pickle, no segments, cut off.
    Input,
    /// The operating system refused.
    Io,
    /// It ran, and the answer is bad: a damaged segment, a failed function.
    Bad,
}

/// An error of this crate. Displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to do `action` with `path`.
    #[error("cannot {action} {}: {source}{}", Shown(path), io_hint(source))]
    Io {
        /// What was tried, as a verb: `write`, `rename`, `read`.
        action: &'static str,
        /// The file or directory it was tried with.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory is not there at all.
    #[error("{}: no such directory; make one with `picklet split`", Shown(.0))]
    NoDirectory(PathBuf),
    /// The path is there and is no directory.
    #[error("{}: is a file, and a segments directory is needed here; `picklet split` makes one of a pickle", Shown(.0))]
    NotADirectory(PathBuf),
    /// The directory is there and holds neither a manifest nor a segment.
    #[error("{}: holds no segments (no segments.json and no *.pickle); make some with `picklet split`", Shown(.0))]
    NoSegments(PathBuf),
    /// The output directory holds something, and the caller did not say what
    /// to do with it.
    #[error(
        "{}: is not empty (it holds {}); --resume continues an interrupted run, --overwrite replaces one",
        Shown(dir),
        Shown(Path::new(file))
    )]
    NotEmpty {
        /// The output directory.
        dir: PathBuf,
        /// One of the things it holds.
        file: String,
    },
    /// The directory holds a file that picklet did not put there, where
    /// picklet would have to replace or remove it.
    #[error(
        "{}: {} was not made by picklet and is left alone; move it away or choose another directory",
        Shown(dir),
        Shown(Path::new(file))
    )]
    Foreign {
        /// The output directory.
        dir: PathBuf,
        /// The file in it that is not picklet's.
        file: String,
    },
    /// Another writer holds the directory.
    #[error(
        "{}: is being written by {holder}; wait until it ends, or choose another directory",
        Shown(dir)
    )]
    Locked {
        /// The output directory.
        dir: PathBuf,
        /// Who holds it, for instance `process 4711`.
        holder: String,
    },
    /// Another writer has taken the directory while this process still wrote.
    #[error("{}: another run has taken this directory over; this one ends", Shown(.0))]
    TakenOver(PathBuf),
    /// What is in the directory came from another source or other options.
    #[error(
        "{}: was begun by another run ({had}) than this one ({want}); --overwrite replaces it, or choose another directory",
        Shown(dir)
    )]
    OtherRun {
        /// The output directory.
        dir: PathBuf,
        /// Fingerprint of the run that began it.
        had: String,
        /// Fingerprint of the run that was to continue it.
        want: String,
    },
    /// An interrupted run has to be finished before anything else can be done.
    #[error("{}: its last run was interrupted; finish it with the same command and --resume, or run `picklet repair`", Shown(.0))]
    Unfinished(PathBuf),
    /// A segment name that cannot be a file name everywhere.
    #[error("segment name {name:?} {reason}")]
    BadName {
        /// The name that was given.
        name: String,
        /// What is wrong with it, as the rest of a sentence.
        reason: &'static str,
    },
    /// Two segments would have the same file.
    #[error(
        "segment names {first:?} and {second:?} are the same file name; give each segment its own name"
    )]
    SameName {
        /// The name that came first.
        first: String,
        /// The name that equals it after Unicode NFC.
        second: String,
    },
    /// The manifest is there and cannot be used.
    #[error("{}: {reason}; run `picklet repair` to rebuild it from the segments", Shown(path))]
    BadManifest {
        /// The manifest's path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest was written by a newer picklet.
    #[error(
        "{}: has format version {found}, this picklet reads up to {supported}; install a newer picklet",
        Shown(path)
    )]
    NewerManifest {
        /// The manifest's path.
        path: PathBuf,
        /// The version it says.
        found: u64,
        /// The newest version this code reads.
        supported: u64,
    },
    /// A line of the journal other than the last is damaged.
    #[error(
        "{}: line {line} is damaged; run `picklet repair`, or --overwrite to begin anew",
        Shown(path)
    )]
    BadJournal {
        /// The journal's path.
        path: PathBuf,
        /// The damaged line, counted from 1.
        line: usize,
    },
    /// A segment is not what its manifest says.
    #[error(
        "{}: segment is damaged: {reason}; the others are readable; run `picklet repair` to set it aside",
        Shown(path)
    )]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// What differs from the manifest.
        reason: String,
    },
    /// A segment that the manifest names is gone.
    #[error("{}: segment is missing; the others are readable; run `picklet repair` to take it off the manifest", Shown(.0))]
    Missing(PathBuf),
    /// A segment number beyond the last.
    #[error("{}: there is no segment {index}; it has {len}, counted from 0", Shown(dir))]
    NoSuchSegment {
        /// The segments directory.
        dir: PathBuf,
        /// The number that was asked for.
        index: usize,
        /// How many segments there are.
        len: usize,
    },
    /// The input is not what it must be. The message is the whole line after
    /// the file's name.
    #[error("{}:{} {message}", Shown(path), At(*offset))]
    Input {
        /// The file that was read.
        path: PathBuf,
        /// Byte offset of what is wrong, where one is known.
        offset: Option<u64>,
        /// What is wrong and what can be done.
        message: String,
    },
    /// A pickle to be split holds a value that has no items.
    #[error(
        "{}: holds {what} at the top, which has no items to split; picklet splits a list, tuple, \
         dict, set, frozenset, OrderedDict, defaultdict, Counter, deque, or several pickles in \
         one file; in Python, picklet.split() takes any iterable",
        Shown(path)
    )]
    NotAContainer {
        /// The file that was read.
        path: PathBuf,
        /// What it holds, a noun with its article: `an int`.
        what: String,
    },
    /// The caller's mistake, told in one line.
    #[error("{0}")]
    Usage(String),
    /// It ran, and the answer is bad.
    #[error("{0}")]
    Bad(String),
    /// The caller asked to stop (Ctrl-C). What was finished is kept.
    #[error("interrupted; what was finished is kept for a run that resumes")]
    Interrupted,
}

impl Error {
    /// An I/O error of doing `action` (a verb) with `path`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { action, path: path.into(), source }
    }

    /// An input error at a byte `offset` of `path`.
    pub fn input(
        path: impl Into<PathBuf>,
        offset: impl Into<Option<u64>>,
        message: impl Into<String>,
    ) -> Self {
        Error::Input { path: path.into(), offset: offset.into(), message: message.into() }
    }

    /// A mistake of the caller.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// What kind of error this is.
    pub fn category(&self) -> Category {
        match self {
            Error::Io { .. } => Category::Io,
            Error::NotEmpty { .. }
            | Error::Foreign { .. }
            | Error::Locked { .. }
            | Error::TakenOver(_)
            | Error::OtherRun { .. }
            | Error::Unfinished(_)
            | Error::BadName { .. }
            | Error::SameName { .. }
            | Error::NoSuchSegment { .. }
            | Error::Interrupted
            | Error::Usage(_) => Category::Usage,
            Error::NoDirectory(_)
            | Error::NotADirectory(_)
            | Error::NoSegments(_)
            | Error::BadManifest { .. }
            | Error::NewerManifest { .. }
            | Error::BadJournal { .. }
            | Error::Damaged { .. }
            | Error::Missing(_)
            | Error::NotAContainer { .. }
            | Error::Input { .. } => Category::Input,
            Error::Bad(_) => Category::Bad,
        }
    }

    /// The command line's exit code: 1 when it ran and the answer is bad, 2
    /// for usage, bad input and I/O.
    pub fn exit_code(&self) -> u8 {
        match self.category() {
            Category::Bad => 1,
            Category::Usage | Category::Input | Category::Io => 2,
        }
    }
}

/// What to do about an I/O error, where there is something to do.
fn io_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; what was finished is kept: free some space, then run the same command with --resume"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a place that you may write to, or ask its owner"
        }
        io::ErrorKind::CrossesDevices => {
            "; .picklet must be on the same file system as the segments"
        }
        _ => "",
    }
}

/// A path as one printable line: control characters escaped, the rest as is.
pub(crate) struct Shown<'a>(pub(crate) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// ` at byte N:` or nothing.
struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " byte {offset}:"),
            None => Ok(()),
        }
    }
}
