//! Inputs, outputs and a Python for the engine's tests.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use picklet_segments::{EntryMeta, Existing, Header, Kind, Location, Segments, SegmentsWriter};
use tempfile::TempDir;

/// The interpreter that the tests use.
pub(crate) fn python() -> OsString {
    std::env::var_os("PICKLET_PYTHON").unwrap_or_else(|| "python3".into())
}

/// The folder with the stand-in package and the functions.
#[allow(dead_code, reason = "each test binary uses a part")]
pub(crate) fn python_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// An input of some segments of three items each, and a place for the output.
pub(crate) struct Setting {
    folder: PathBuf,
    /// Removes the folder in the end, where this test made it.
    _owned: Option<TempDir>,
}

impl Setting {
    /// Segment `n` holds the list `[10 n, 10 n + 1, 10 n + 2]`.
    pub(crate) fn new(segments: u8) -> Setting {
        let owned = tempfile::tempdir().unwrap();
        let setting = Setting { folder: owned.path().to_owned(), _owned: Some(owned) };
        let header = Header::new(Kind::List, "test");
        let location = Location::local(setting.folder.join("in"));
        let mut writer = SegmentsWriter::create(&location, Existing::Refuse, header).unwrap();
        for n in 0..segments {
            let pickle = [b']', b'(', b'K', 10 * n, b'K', 10 * n + 1, b'K', 10 * n + 2, b'e', b'.'];
            let mut draft = writer.draft(&format!("data-{n:05}")).unwrap();
            std::io::Write::write_all(&mut draft, &pickle).unwrap();
            let meta = EntryMeta { index: n.into(), items: Some(3), ..EntryMeta::default() };
            writer.commit(draft, meta).unwrap();
        }
        writer.finish().unwrap();
        setting
    }

    /// What another process has made.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn at(folder: PathBuf) -> Setting {
        Setting { folder, _owned: None }
    }

    pub(crate) fn input(&self) -> Segments {
        Segments::open(&Location::local(self.folder.join("in"))).unwrap()
    }

    pub(crate) fn out(&self) -> Location {
        Location::local(self.folder.join("out"))
    }

    /// What a worker needs to find the stand-in package, the functions and the real worker.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../picklet-python/python/picklet");
        vec![
            ("PYTHONPATH".into(), python_folder().into()),
            ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
            ("PICKLET_WORKER_SOURCE".into(), worker.into()),
            ("ONCE".into(), self.folder.join("once").into()),
        ]
    }

    /// Gives segment `index` other items.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn change(&self, index: usize) {
        self.replace(index, b"](K\x63K\x62K\x61e.");
    }

    /// Gives segment `index` this content.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn replace(&self, index: usize, pickle: &[u8]) {
        let location = Location::local(self.folder.join("in"));
        let mut writer = SegmentsWriter::append(&location).unwrap();
        let mut draft = writer.draft(&format!("data-{index:05}")).unwrap();
        std::io::Write::write_all(&mut draft, pickle).unwrap();
        let meta = EntryMeta { index: index as u64, items: Some(3), ..EntryMeta::default() };
        writer.commit(draft, meta).unwrap();
        writer.finish().unwrap();
    }

    /// A path in the test's own folder.
    #[allow(dead_code, reason = "each test binary uses a part")]
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What stock pickle loads from a file, as Python prints it.
pub(crate) fn unpickled(path: &Path) -> String {
    let script = "import pickle, sys; print(ascii(pickle.load(open(sys.argv[1], 'rb'))))";
    let output = Command::new(python()).args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::metadata(path).unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
