//! What is split: a file, standard input through a spool file, or bytes.
//!
//! An [`Input`] can be read at any place, so that the splitter's memory does
//! not depend on its size. What only flows (a pipe) is written into a
//! temporary file first, block by block.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3 as Xxh3State;

use crate::directory::{expanded, sniff};
use crate::error::{Error, Result};
use crate::manifest::{Source, Xxh3};
use crate::store::{Location, ReadAt, is_url};

/// How the bytes of an [`Input`] are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Found out from the name and the first bytes.
    #[default]
    Auto,
    /// One pickle, or several one after another.
    Pickle,
    /// JSON Lines: one JSON value on each line.
    JsonLines,
}

/// Something to be split.
pub struct Input {
    name: String,
    path: PathBuf,
    data: Box<dyn ReadAt>,
    size: u64,
    format: Format,
    // Dropped last: the file goes away with it.
    _spool: Option<File>,
}

/// Bytes at both ends that tell one source from another.
const ENDS: usize = 64 * 1024;
/// Bytes copied at once from a pipe.
const SPOOL_BLOCK: usize = 256 * 1024;

impl Input {
    /// The file at `path`. One that is compressed by gzip or zstd is expanded
    /// into a temporary file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened; [`Error::Input`] when it is a
    /// directory.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path).map_err(|e| Error::io("open", &path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io("read", &path, e))?;
        if metadata.is_dir() {
            return Err(Error::input(&path, None, "is a directory, and a file is needed here"));
        }
        let name = path.to_string_lossy().into_owned();
        if !metadata.is_file() {
            // A pipe or a device: its bytes come once.
            return Input::reader(name, file, None);
        }
        Input::expanded(name, path, Box::new(file))
    }

    /// The bytes of `data`; those in it, by way of a temporary file, where it is compressed.
    fn expanded(name: String, path: PathBuf, data: Box<dyn ReadAt>) -> Result<Self> {
        let compression = sniff(&*data).map_err(|e| Error::io("read", &path, e))?;
        let data = match compression {
            None => data,
            Some(how) => Box::new(expanded(how, data, path.clone())?),
        };
        let size = data.size().map_err(|e| Error::io("read", &path, e))?;
        Ok(Input { name, path, data, size, format: Format::Auto, _spool: None })
    }

    /// The file at a path, or the object at a URL ([`Location::new`] says
    /// which URLs there are).
    ///
    /// # Errors
    /// As [`Input::file`] and [`Location::new`]; [`Error::Missing`] when there
    /// is no such object.
    pub fn open(text: impl AsRef<Path>) -> Result<Self> {
        let path = text.as_ref();
        let Some(url) = path.to_str().filter(|_| is_url(path)) else { return Input::file(path) };
        let Some((folder, file)) = url.rsplit_once('/').filter(|(_, file)| !file.is_empty()) else {
            return Err(Error::usage(format!(
                "{url:?}: names a folder, and a file is needed here"
            )));
        };
        let object = Location::new(folder)?.store().open(file).map_err(|error| match error {
            Error::Missing(path) => Error::input(path, None, "there is no such object"),
            error => error,
        })?;
        Input::expanded(url.to_owned(), path.to_owned(), object)
    }

    /// Standard input, read to its end into a temporary file in `folder`, or
    /// in the system's folder for such files.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stdin(folder: Option<&Path>) -> Result<Self> {
        Input::reader("-", io::stdin().lock(), folder)
    }

    /// What `reader` gives until its end, by way of a temporary file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reader(
        name: impl Into<String>,
        mut reader: impl Read,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let name = name.into();
        let path = PathBuf::from(if name == "-" { "standard input" } else { name.as_str() });
        let spool = match folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        };
        let mut spool = spool.map_err(|e| {
            let folder = folder.map_or_else(std::env::temp_dir, Path::to_path_buf);
            Error::io("make a temporary file in", folder, e)
        })?;
        let mut block = vec![0; SPOOL_BLOCK];
        let mut size = 0;
        loop {
            let read = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read", &path, e)),
            };
            spool
                .write_all(block.get(..read).unwrap_or_default())
                .map_err(|e| Error::io("write a temporary copy of", &path, e))?;
            size += read as u64;
        }
        let data = spool.try_clone().map_err(|e| Error::io("read", &path, e))?;
        Ok(Input {
            name,
            path,
            data: Box::new(data),
            size,
            format: Format::Auto,
            _spool: Some(spool),
        })
    }

    /// Bytes in memory.
    pub fn bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let name = name.into();
        Input {
            path: PathBuf::from(&name),
            name,
            size: bytes.len() as u64,
            data: Box::new(bytes),
            format: Format::Auto,
            _spool: None,
        }
    }

    /// Anything that can be read at any place.
    ///
    /// # Errors
    /// [`Error::Io`] when its size cannot be told.
    pub fn read_at(name: impl Into<String>, data: Box<dyn ReadAt>) -> Result<Self> {
        let name = name.into();
        let path = PathBuf::from(&name);
        let size = data.size().map_err(|e| Error::io("read", &path, e))?;
        Ok(Input { name, path, data, size, format: Format::Auto, _spool: None })
    }

    /// Says how the bytes are to be read.
    #[must_use]
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Gives it another name, for messages and the manifest.
    #[must_use]
    pub fn called(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.path = PathBuf::from(&self.name);
        self
    }

    /// Takes a path for messages.
    pub(crate) fn rename(&mut self, path: PathBuf) {
        self.name = path.to_string_lossy().into_owned();
        self.path = path;
    }

    /// The name that the caller gave; `-` is standard input.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes.
    pub fn data(&self) -> &dyn ReadAt {
        &*self.data
    }

    /// How it is to be read: found out from the name and the first bytes
    /// unless the caller said it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn format(&self) -> Result<Format> {
        if self.format != Format::Auto {
            return Ok(self.format);
        }
        let plain = ["zst", "gz"].iter().any(|end| self.path.extension() == Some(end.as_ref()));
        let path = if plain { self.path.with_extension("") } else { self.path.clone() };
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if extension.eq_ignore_ascii_case("jsonl") || extension.eq_ignore_ascii_case("ndjson") {
            return Ok(Format::JsonLines);
        }
        let mut block = [0; 512];
        let want = self.size.min(512) as usize;
        let first = block.get_mut(..want).unwrap_or_default();
        self.data.read_exact_at(0, first).map_err(|e| Error::io("read", &self.path, e))?;
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
        // None of these can begin a pickle: they are no opcodes, or take from
        // the stack.
        Ok(match text.first() {
            Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Format::JsonLines,
            _ => Format::Pickle,
        })
    }

    /// What tells this input from others and from its own later states: size
    /// and a digest of both ends.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn fingerprint(&self) -> Result<String> {
        let mut state = Xxh3State::new();
        let ends = [0, self.size.saturating_sub(ENDS as u64)];
        for start in ends {
            let mut block = vec![0; ENDS.min(usize::try_from(self.size - start).unwrap_or(ENDS))];
            self.data
                .read_exact_at(start, &mut block)
                .map_err(|e| Error::io("read", &self.path, e))?;
            state.update(&block);
        }
        Ok(format!("{}-{}", self.size, Xxh3(state.digest128())))
    }

    /// What the manifest says of it.
    pub fn describe(&self) -> Source {
        Source { name: self.name.clone(), bytes: Some(self.size), ..Source::default() }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("size", &self.size)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
