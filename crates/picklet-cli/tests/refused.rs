//! What the operating system refuses to the program: writing to a directory that belongs to
//! somebody else, and a byte more on a file system that is full. Real users and a real file system,
//! not injected errors (`picklet-segments/tests/faults.rs` has those).
#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ran, numbers, run};
use picklet_segments::{EntryMeta, Error, Location, Segments, SegmentsWriter};

/// The user and group that own nothing.
const NOBODY: u32 = 65534;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything below a folder, with its content and its mode.
fn all_below(folder: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if metadata.is_dir() {
                todo.push(path.clone());
            }
            found.insert(path, (metadata.mode(), content));
        }
    }
    found
}

/// Runs the program as a user who owns nothing: as nobody where this is root, and as this user
/// otherwise, for whom modes count.
fn as_another(program: &Path, folder: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env_remove("CLICOLOR_FORCE");
    // Nobody has no home to keep an index in.
    command.env("HOME", "/nonexistent").env_remove("XDG_CACHE_HOME");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ran::from(command.output().unwrap())
}

#[test]
fn a_read_only_directory_is_read_by_all_that_reads_and_named_by_all_that_writes() {
    let temp = tempfile::tempdir().unwrap();
    mode(temp.path(), 0o755);
    // Where the build is another user may not be able to go.
    let program = temp.path().join("picklet");
    fs::copy(env!("CARGO_BIN_EXE_picklet"), &program).unwrap();
    mode(&program, 0o755);
    let theirs = temp.path().join("읽기 전용");
    let own = temp.path().join("own");
    fs::create_dir(&theirs).unwrap();
    fs::create_dir(&own).unwrap();
    mode(&own, 0o777);
    // Large enough for an index, which cannot be kept here.
    fs::write(theirs.join("a.pickle"), numbers(300_000)).unwrap();
    run(&theirs, ["split", "a.pickle", "-o", "in", "--parts", "1"]).good();
    run(&theirs, ["split", "a.pickle", "-o", "torn", "--parts", "3"]).good();
    fs::write(theirs.join("torn/data-00001.pickle"), "damaged").unwrap();
    for (path, (_, content)) in all_below(&theirs) {
        mode(&path, if path.is_dir() || content.is_empty() { 0o555 } else { 0o444 });
    }
    mode(&theirs, 0o555);
    let before = all_below(&theirs);
    let ask = |args: &[&str]| as_another(&program, &theirs, args);

    ask(&["verify", "in", "--deep"]).good();
    ask(&["ls", "in"]).good();
    ask(&["info", "in"]).good();
    assert_eq!(ask(&["get", "in", "299999"]).good().trim(), "299999");
    ask(&["cat", "in", "--limit", "2"]).good();
    ask(&["merge", "in", "-o", "../own/merged.pickle"]).good();
    let last = as_another(&program, &own, &["get", "merged.pickle", "-1"]);
    assert_eq!(last.good().trim(), "299999");
    let found = ask(&["verify", "torn"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.out.contains("damaged: data-00001.pickle"), "{found:?}");
    as_another(&program, &own, &["split", "../읽기 전용/a.pickle", "-o", "in"]).good();
    as_another(&program, &own, &["map", "../읽기 전용/in", "-o", "out", "--", "cat"]).good();

    for (args, named) in [
        (&["split", "a.pickle", "-o", "new"][..], "new"),
        (&["split", "a.pickle", "-o", "in", "--resume", "--parts", "1"], "in/.picklet"),
        (&["split", "a.pickle", "-o", "in", "--overwrite"], "in/.picklet"),
        (&["map", "in", "-o", "out", "--", "cat"], "out"),
        (&["run", "a.pickle", "-o", "out", "--", "cat"], "out"),
        (&["merge", "in", "-o", "merged.pickle"], "merged.pickle"),
        (&["repair", "torn"], "torn/.picklet"),
        (&["optimize", "a.pickle", "-o", "small.pickle"], "small.pickle"),
    ] {
        let told = ask(args).refused(&[named, "ermission denied"]);
        assert!(told.contains("may write to"), "{args:?}: {told}");
    }
    assert!(all_below(&theirs) == before, "something was changed in a read-only directory");
    // So that the folder can be removed.
    mode(&theirs, 0o755);
    for path in all_below(&theirs).into_keys().filter(|path| path.is_dir()) {
        mode(&path, 0o755);
    }
}

/// A file system of its own size, unmounted with the value.
struct Small(tempfile::TempDir);

impl Small {
    /// `None`, said loudly, where this user may not mount.
    fn mount() -> Option<Small> {
        let small = Small(common::folder());
        if small.ask(&["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs"]) {
            return Some(small);
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root; tests/faults.rs injects the same errors");
        None
    }

    fn ask(&self, words: &[&str]) -> bool {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.path());
        command.output().is_ok_and(|output| output.status.success())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self) {
        assert!(self.ask(&["mount", "-o", "remount,size=16m"]));
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("fill");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.ask(&["umount", "-l"]);
    }
}

/// That every segment which the directory shows is whole.
fn shown_is_whole(directory: &Path) -> usize {
    match Segments::open(&Location::local(directory)) {
        Ok(segments) => {
            (0..segments.len()).for_each(|index| drop(segments.read(index).unwrap()));
            segments.len()
        }
        Err(Error::NoSegments(_) | Error::Unfinished(_) | Error::NoDirectory(_)) => 0,
        Err(other) => panic!("{other}"),
    }
}

fn pickles(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let pickles = files.filter(|path| path.extension().is_some_and(|e| e == "pickle"));
    pickles.map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap())).collect()
}

#[test]
fn on_a_full_file_system_every_command_says_so_and_goes_on_when_there_is_space() {
    let Some(small) = Small::mount() else { return };
    let (dir, other) = (small.path(), common::folder());
    fs::write(other.path().join("a.pickle"), numbers(100_000)).unwrap();
    let source = other.path().join("a.pickle").to_string_lossy().into_owned();
    let full = |ran: Ran| ran.refused(&["o space left on device"]);
    let split = ["split", &*source, "-o", "in", "--size", "40KB", "--resume"];
    let reference = ["split", &*source, "-o", "in", "--size", "40KB"];
    run(other.path(), reference).good();

    // 500 kB do not fit 256 KiB.
    let told = full(run(dir, split));
    assert!(told.contains("--resume") && told.contains("in/"), "{told}");
    let kept = shown_is_whole(&dir.join("in"));
    assert!((2..12).contains(&kept), "{kept} segments");
    small.grow();
    let told = run(dir, split).good();
    assert!(told.contains(&format!("{kept} of them from an earlier run")), "{told}");
    assert!(pickles(&dir.join("in")) == pickles(&other.path().join("in")));

    // A map, whose outputs do not fit.
    let filling = small.fill();
    let file = fs::OpenOptions::new().write(true).open(&filling).unwrap();
    file.set_len(fs::metadata(&filling).unwrap().len() - (200 << 10)).unwrap();
    let map = ["map", "in", "-o", "out", "-j", "2", "--", "cat"];
    let ran = run(dir, map);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("o space left on device"), "{ran:?}");
    shown_is_whole(&dir.join("out"));
    // The room of a file that is open is not free.
    drop(file);
    fs::remove_file(&filling).unwrap();
    run(dir, map).good();
    assert!(pickles(&dir.join("out")) == pickles(&dir.join("in")));

    // A merge, over an earlier one: that one stays.
    fs::write(dir.join("merged.pickle"), "earlier").unwrap();
    let filling = small.fill();
    full(run(dir, ["merge", "in", "-o", "merged.pickle"]));
    assert_eq!(fs::read(dir.join("merged.pickle")).unwrap(), b"earlier");
    let left = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().ends_with(".part")));

    // Appending.
    let at = Location::local(dir.join("in"));
    let append = || -> Result<(), Error> {
        let mut writer = SegmentsWriter::append(&at)?;
        let index = writer.next_index();
        let mut draft = writer.draft("more")?;
        draft.write_all(&numbers(10_000)).map_err(|e| draft.error(e))?;
        writer.commit(draft, EntryMeta { index, items: Some(10_000), ..EntryMeta::default() })?;
        writer.finish().map(drop)
    };
    let error = append().unwrap_err().to_string();
    assert!(error.contains("o space left on device") && error.contains("in/"), "{error}");
    let segments = shown_is_whole(&dir.join("in"));

    // Repairing: what is damaged is not lost sight of, what is whole stays.
    fs::remove_file(&filling).unwrap();
    fs::write(dir.join("in/data-00001.pickle"), "damaged").unwrap();
    let filling = small.fill();
    full(run(dir, ["repair", "in"]));
    let damaged = all_below(&dir.join("in")).into_values().filter(|(_, b)| b == b"damaged").count();
    assert_eq!(damaged, 1);
    fs::remove_file(&filling).unwrap();
    let ran = run(dir, ["repair", "in"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("lost: data-00001.pickle"), "{ran:?}");
    assert_eq!(shown_is_whole(&dir.join("in")), segments - 1);
    run(dir, split).good();
    append().unwrap();
    run(dir, ["merge", "in", "-o", "merged.pickle"]).good();
    let merged = fs::read(dir.join("merged.pickle")).unwrap();
    assert!(merged.len() >= numbers(110_000).len() - 64, "{}", merged.len());
}
