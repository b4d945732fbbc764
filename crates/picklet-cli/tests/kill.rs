//! The program itself, killed (SIGKILL) at random moments of split, map and
//! merge and run again each time: whatever it had reported done stays, whole,
//! and the end is that of a run that nobody disturbed.
//!
//! `PICKLET_KILLS` is how many are killed; `PICKLET_PROGRAM` is another build
//! of the program to kill, for instance the released one.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use picklet_segments::{Error, Location, Segments, VerifyOptions, verify};

/// Many small segments: many moments that differ.
const LINES: usize = 3000;

fn program() -> PathBuf {
    std::env::var_os("PICKLET_PROGRAM")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_picklet")), PathBuf::from)
}

/// The three commands, in order, in a folder that holds `lines.jsonl`.
fn commands() -> [Vec<&'static str>; 3] {
    [
        vec!["split", "lines.jsonl", "-o", "in", "--size", "8KB", "--resume"],
        vec!["map", "in", "-o", "out", "-j", "2", "--", "cat"],
        vec!["merge", "out", "-o", "merged.pickle"],
    ]
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(program())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn write_lines(folder: &Path) {
    let mut file = fs::File::create(folder.join("lines.jsonl")).unwrap();
    for line in 0..LINES {
        writeln!(file, r#"{{"line": {line}, "text": "{}"}}"#, "가나다".repeat(line % 11)).unwrap();
    }
}

/// What a person sees in the end: every file by its path, manifests aside,
/// which tell how long things took.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == ".picklet" || name == "segments.json" {
                continue;
            }
            // What a killed merge had begun.
            if name.starts_with(".picklet-") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

/// What is reported done in a directory, with digests, all of it checked.
fn done(directory: &Path) -> HashMap<String, String> {
    let segments = match Segments::open(&Location::local(directory)) {
        Ok(segments) => segments,
        Err(Error::NoDirectory(_) | Error::NoSegments(_) | Error::Unfinished(_)) => {
            return HashMap::new();
        }
        Err(other) => panic!("{other}"),
    };
    let report = verify(&segments, &VerifyOptions::default()).unwrap();
    assert!(report.is_good(), "{report:?}");
    let digest = |entry: &picklet_segments::Entry| entry.xxh3.map(|d| d.to_string());
    segments
        .entries()
        .iter()
        .filter_map(|entry| Some((entry.file.clone(), digest(entry)?)))
        .collect()
}

#[test]
fn killed_at_random_moments_and_run_again_nothing_is_lost_and_the_end_is_the_same() {
    let kills: usize = std::env::var("PICKLET_KILLS").map_or(12, |text| text.parse().unwrap());
    let folder = common::folder();
    let reference = folder.path().join("reference");
    fs::create_dir(&reference).unwrap();
    write_lines(&reference);
    let mut takes = Vec::new();
    for arguments in commands() {
        let began = Instant::now();
        let output = start(&reference, &arguments).wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        takes.push(began.elapsed());
    }
    let expected = files(&reference);
    assert!(expected.len() > 30, "{}", expected.len());

    let random = RandomState::new();
    let (mut killed, mut rounds, mut ended) = (0, 0, 0);
    while killed < kills {
        let here = folder.path().join(format!("round-{rounds}"));
        fs::create_dir(&here).unwrap();
        write_lines(&here);
        for (arguments, takes) in commands().iter().zip(&takes) {
            let mut known: [HashMap<String, String>; 2] = Default::default();
            for attempt in 0.. {
                let mut child = start(&here, arguments);
                // At least every eighth is left alone, so that each command comes to its end.
                if killed < kills && attempt % 8 < 7 {
                    let part = random.hash_one((rounds, attempt, killed)) % 1000;
                    thread::sleep(Duration::from_micros(takes.as_micros() as u64 * part / 900));
                    // That it may have ended is as good a moment as any.
                    let _ = child.kill();
                }
                let output = child.wait_with_output().unwrap();
                for (directory, known) in ["in", "out"].iter().zip(&mut known) {
                    let now = done(&here.join(directory));
                    for (file, digest) in known.iter() {
                        let found = now.get(file);
                        assert_eq!(found, Some(digest), "{file} was done, and is gone");
                    }
                    *known = now;
                }
                match output.status.code() {
                    Some(0) => break,
                    Some(code) => {
                        panic!("exit {code}: {}", String::from_utf8_lossy(&output.stderr));
                    }
                    None => killed += 1,
                }
            }
            ended += 1;
        }
        assert!(files(&here) == expected, "round {rounds} does not end as an undisturbed run");
        fs::remove_dir_all(&here).unwrap();
        rounds += 1;
    }
    println!("{killed} killed in {rounds} rounds; {ended} commands came to their end");
}
