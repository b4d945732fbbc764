//! Whole commands (split, map, append, merge, repair), with the machine going
//! down before every single call that changes the disk: whatever a reader is
//! then shown is whole and true, and the same command run again ends as if
//! nothing had happened.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use picklet_segments::engine::{Answer, Done, MapOptions, Output, PublishTo, Task, map_in_process};
use picklet_segments::store::WholeFile;
use picklet_segments::{
    Compression, EntryMeta, Error, Existing, Input, Location, MergeOptions, NoProgress, Origin,
    Publisher, Result, Segments, SegmentsWriter, SplitOptions, Target, VerifyOptions, merge,
    repair, split, verify,
};
use support::{FakeDisk, Survives};

const FOLDER: &str = "/home/user";

fn at(disk: &FakeDisk, name: &str) -> Location {
    Location::on_disk(Arc::new(disk.clone()), format!("{FOLDER}/{name}"))
}

/// `[0, 1, … count]` as a pickle.
fn numbers(count: u8) -> Vec<u8> {
    let mut pickle = b"\x80\x04](".to_vec();
    (0..count).for_each(|number| pickle.extend([b'K', number]));
    pickle.extend(b"e.");
    pickle
}

/// A command, and what there is before it runs.
struct Command {
    name: &'static str,
    before: fn(&FakeDisk) -> Result<()>,
    run: fn(&FakeDisk) -> Result<()>,
    /// Fewer calls than this, and it did not do what it is tested for.
    calls: usize,
}

fn split_as(disk: &FakeDisk, options: &SplitOptions<'_>) -> Result<()> {
    let input = Input::bytes("numbers.pickle", numbers(4));
    let options = SplitOptions { target: Target::Items(1), ..options.clone() };
    split(&input, &at(disk, "in"), &options).map(drop)
}

fn split_resumed(disk: &FakeDisk) -> Result<()> {
    split_as(disk, &SplitOptions { existing: Existing::Resume, ..SplitOptions::default() })
}

fn split_stored(disk: &FakeDisk) -> Result<()> {
    split_as(
        disk,
        &SplitOptions {
            existing: Existing::Overwrite,
            compression: Some(Compression::Gzip),
            sha256: true,
            ..SplitOptions::default()
        },
    )
}

/// Maps in this process: each output is `[n]` for segment n.
fn map(disk: &FakeDisk) -> Result<()> {
    let out = at(disk, "out");
    let mut run = |task: &Task, to: &PublishTo| -> Result<Answer> {
        let publisher = Publisher::new(&out, &to.session, false)?;
        let mut draft = publisher.draft(&task.output)?;
        let pickle = [b"\x80\x04]K".as_slice(), &[task.index as u8 + 100], b"a."].concat();
        draft.write_all(&pickle).map_err(|e| draft.error(e))?;
        Ok(Answer::Done(Box::new(Done {
            task: task.task,
            outputs: vec![Output { receipt: draft.publish()?, holds: "list".to_owned(), items: 1 }],
            load_seconds: 0.0,
            run_seconds: 0.0,
            dump_seconds: 0.0,
            peak_rss: None,
        })))
    };
    let segments = Segments::open(&at(disk, "in"))?;
    map_in_process(&segments, &out, &mut run, &MapOptions::default(), &NoProgress, &|| false)
        .map(drop)
}

/// Adds `[200]` as the fifth segment, if it is not there yet.
fn append(disk: &FakeDisk) -> Result<()> {
    let mut writer = SegmentsWriter::append(&at(disk, "in"))?;
    if writer.next_index() == 4 {
        let mut draft = writer.draft("data-00004")?;
        draft.write_all(b"\x80\x04]K\xc8a.").map_err(|e| draft.error(e))?;
        let meta = EntryMeta { index: 4, items: Some(1), ..EntryMeta::default() };
        writer.commit(draft, meta)?;
    }
    writer.finish().map(drop)
}

fn merged(disk: &FakeDisk) -> Result<()> {
    let segments = Segments::open(&at(disk, "in"))?;
    let mut file = WholeFile::on_disk(Arc::new(disk.clone()), format!("{FOLDER}/merged.pickle"))?;
    merge(&segments, &mut file, &MergeOptions::default())?;
    file.finish()
}

/// A whole directory of which one segment and the manifest are damaged.
fn damaged(disk: &FakeDisk) -> Result<()> {
    split_resumed(disk)?;
    disk.put(format!("{FOLDER}/in/data-00002.pickle"), b"damage");
    disk.put(format!("{FOLDER}/in/segments.json"), b"damage");
    Ok(())
}

const COMMANDS: [Command; 7] = [
    Command { name: "split", before: |_| Ok(()), run: split_resumed, calls: 30 },
    Command {
        name: "split over another, compressed, with SHA256SUMS",
        before: split_resumed,
        run: split_stored,
        calls: 40,
    },
    Command { name: "map", before: split_resumed, run: map, calls: 30 },
    Command {
        name: "map over an earlier map of other segments",
        before: |disk| {
            let input = Input::bytes("numbers.pickle", numbers(3));
            let options = SplitOptions { target: Target::Items(1), ..SplitOptions::default() };
            split(&input, &at(disk, "in"), &options)?;
            map(disk)?;
            split_as(
                disk,
                &SplitOptions { existing: Existing::Overwrite, ..SplitOptions::default() },
            )
        },
        run: map,
        calls: 10,
    },
    Command { name: "append", before: split_resumed, run: append, calls: 10 },
    Command { name: "merge", before: split_resumed, run: merged, calls: 4 },
    Command {
        name: "repair",
        before: damaged,
        run: |disk| repair(&at(disk, "in"), &VerifyOptions::default()).map(drop),
        calls: 10,
    },
];

/// What a person sees: the pickles, by path.
fn pickles(disk: &FakeDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = disk.files();
    files.retain(|path, _| {
        let text = path.to_string_lossy();
        !text.contains(".picklet") && !text.ends_with("segments.json")
    });
    files
}

/// That every file is one from before or one that is to be, whole; and that
/// what a reader is shown is true.
fn shown_is_true(
    disk: &FakeDisk,
    before: &BTreeMap<PathBuf, Vec<u8>>,
    expected: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<(), String> {
    for (path, bytes) in pickles(disk) {
        if before.get(&path) != Some(&bytes) && expected.get(&path) != Some(&bytes) {
            return Err(format!("{} holds {bytes:?}", path.display()));
        }
    }
    for directory in ["in", "out"] {
        let segments = match Segments::open(&at(disk, directory)) {
            Ok(segments) => segments,
            Err(Error::NoDirectory(_) | Error::NoSegments(_) | Error::Unfinished(_)) => continue,
            // Of `repair`: it was damaged before.
            Err(Error::BadManifest { .. }) => continue,
            Err(other) => return Err(other.to_string()),
        };
        let report = verify(&segments, &VerifyOptions::default()).map_err(|e| e.to_string())?;
        let was_damaged = |file: &str| {
            before.get(&PathBuf::from(format!("{FOLDER}/in/{file}"))).map(Vec::as_slice)
                == Some(b"damage")
        };
        let wrong = report.damaged.iter().chain(&report.missing);
        if let Some(wrong) = wrong.into_iter().find(|wrong| !was_damaged(&wrong.file)) {
            return Err(format!("a reader is shown {wrong:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_command_survives_a_crash_before_each_of_its_calls() {
    for command in &COMMANDS {
        let undisturbed = FakeDisk::default();
        (command.before)(&undisturbed).unwrap();
        let before = pickles(&undisturbed);
        (command.run)(&undisturbed).unwrap_or_else(|e| panic!("{}: {e}", command.name));
        let expected = pickles(&undisturbed);
        let mut states = 0;
        for call in 1.. {
            let disk = FakeDisk::default();
            (command.before)(&disk).unwrap();
            disk.crash_at(call);
            let result = (command.run)(&disk);
            let seeds = (0..5).map(|seed| Survives::Some(seed * 7919 + call as u64));
            for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
                let what = format!("{}: down before call {call}, {survives:?}", command.name);
                let after = disk.after_crash(survives);
                shown_is_true(&after, &before, &expected).unwrap_or_else(|e| panic!("{what}: {e}"));
                if result.is_ok() {
                    assert!(pickles(&after) == expected, "{what}: reported done, and is not there");
                }
                (command.run)(&after).unwrap_or_else(|e| panic!("{what}: run again: {e}"));
                let end = pickles(&after.after_crash(Survives::Nothing));
                assert!(end == expected, "{what}: run again it ends as {:?}", end.keys());
                for directory in ["in", "out"] {
                    if let Ok(segments) = Segments::open(&at(&after, directory)) {
                        assert_eq!(segments.origin(), Origin::Manifest, "{what}");
                    }
                }
                states += 1;
            }
            if !disk.crashed() {
                result.unwrap_or_else(|e| panic!("{}: {e}", command.name));
                assert!(call > command.calls, "{}: only {call} calls", command.name);
                break;
            }
        }
        println!("{}: {states} states", command.name);
    }
}
