//! Real processes on the real file system, killed at random moments, and two
//! of them at once.
//!
//! The writer is this test binary itself, started again with the directory in
//! its environment. `PICKLET_KILLS` sets how many are killed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, Segments, SegmentsWriter, VerifyOptions,
    verify,
};

const SEGMENTS: u64 = 12;
const DIRECTORY: &str = "PICKLET_TEST_WRITER_DIRECTORY";

fn content(index: u64) -> Vec<u8> {
    (0..20_000u64).flat_map(|n| (n * (index + 1)).to_le_bytes()).collect()
}

/// What the started process does: resumes the run, tells of each segment that
/// is done, finishes. It is no test of its own.
#[test]
fn writer_process() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let location = Location::local(Path::new(&directory));
    let header = Header::new(Kind::Objects, "kill test");
    let mut writer = match SegmentsWriter::create(&location, Existing::Resume, header) {
        Ok(writer) => writer,
        Err(Error::Locked { holder, .. }) => {
            println!("\nlocked by {holder}");
            return;
        }
        Err(other) => panic!("{other}"),
    };
    let kept: Vec<u64> = writer.done().iter().map(|entry| entry.index).collect();
    for index in (0..SEGMENTS).filter(|index| !kept.contains(index)) {
        let mut draft = writer.draft(&format!("부분-{index:05}")).unwrap();
        for piece in content(index).chunks(4096) {
            draft.write_all(piece).unwrap();
        }
        writer.commit(draft, EntryMeta { index, ..EntryMeta::default() }).unwrap();
        println!("\ndone {index}");
    }
    writer.finish().unwrap();
    println!("\nfinished");
}

fn start(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the process has said until its end, killed by then or not.
fn listen(child: &mut Child, mut each: impl FnMut(&mut Child, usize)) -> Vec<String> {
    let mut said = Vec::new();
    let out = BufReader::new(child.stdout.take().unwrap());
    each(child, 0);
    for line in out.lines() {
        let line = line.unwrap();
        if ["done ", "locked ", "finished"].iter().any(|word| line.starts_with(word)) {
            said.push(line);
            each(child, said.len());
        }
    }
    child.wait().unwrap();
    said
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn done_in(said: &[String]) -> impl Iterator<Item = u64> {
    said.iter().filter_map(|line| line.strip_prefix("done ")?.parse().ok())
}

/// Numbers that look random and are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn all_is_there(directory: &Path, done: &BTreeSet<u64>) {
    for index in done {
        let path = directory.join(format!("부분-{index:05}.pickle"));
        assert!(fs::read(&path).ok() == Some(content(*index)), "{} was done", path.display());
    }
    match Segments::open(&Location::local(directory)) {
        Ok(segments) => {
            let shown: BTreeSet<u64> = segments.entries().iter().map(|e| e.index).collect();
            assert!(done.is_subset(&shown), "done {done:?}, shown {shown:?}");
            assert!(verify(&segments, &VerifyOptions::default()).unwrap().is_good());
        }
        Err(Error::NoDirectory(_) | Error::NoSegments(_) | Error::Unfinished(_)) => {
            assert!(done.is_empty(), "done {done:?} and nothing is shown");
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn nothing_that_was_reported_is_lost_when_writers_are_killed() {
    let rounds: u64 =
        std::env::var("PICKLET_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let temp = tempfile::tempdir().unwrap();
    let undisturbed = temp.path().join("undisturbed");
    listen(&mut start(&undisturbed), |_, _| {});
    let expected = files(&undisturbed);
    assert_eq!(expected.len() as u64, SEGMENTS + 1);

    let mut random = Random(2026);
    let (mut killed, mut number) = (0, 0);
    while killed < rounds {
        number += 1;
        let directory = temp.path().join(format!("run-{number}"));
        let mut done = BTreeSet::new();
        loop {
            let after = random.below(4) as usize;
            let moments = random.below(400_000);
            let mut was_killed = false;
            let said = listen(&mut start(&directory), |child, lines| {
                if lines == after {
                    // Some way into the next step, wherever that is.
                    (0..moments).for_each(|n| {
                        std::hint::black_box(n);
                    });
                    was_killed = child.kill().is_ok();
                }
            });
            done.extend(done_in(&said));
            all_is_there(&directory, &done);
            if said.iter().any(|line| line == "finished") {
                break;
            }
            assert!(was_killed, "it ended by itself: {said:?}");
            killed += 1;
        }
        assert!(files(&directory) == expected, "{} is not as undisturbed", directory.display());
        fs::remove_dir_all(&directory).unwrap();
    }
    println!("{killed} killed in {number} runs");
}

#[test]
fn of_two_writers_at_once_one_writes_each_segment_and_nothing_is_lost() {
    let temp = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for round in 0..100 {
        let directory = temp.path().join(format!("{round}"));
        let mut both = [start(&directory), start(&directory)];
        let said = both.each_mut().map(|child| listen(child, |_, _| {}));
        refused +=
            said.iter().flatten().filter(|line| line.starts_with("locked by process ")).count();
        let mut done: Vec<u64> = said.iter().flat_map(|lines| done_in(lines)).collect();
        done.sort_unstable();
        assert_eq!(done, (0..SEGMENTS).collect::<Vec<_>>(), "round {round}: {said:?}");
        all_is_there(&directory, &done.into_iter().collect());
        fs::remove_dir_all(&directory).unwrap();
    }
    println!("{refused} of 100 second writers were refused");
    assert!(refused > 0, "the two were never at it at once");
}
