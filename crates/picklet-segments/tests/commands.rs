//! Whole commands (split, map, append, merge, repair), with the machine going
//! down before every single call that changes the disk: whatever a reader is
//! then shown is whole and true, what was reported done is there, and the same
//! command run again ends as if nothing had happened. And that this is no
//! accident: without any one fsync, or with any two steps the other way round,
//! it does not hold.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use picklet_segments::engine::{Answer, Done, MapOptions, Output, PublishTo, Task, map_in_process};
use picklet_segments::store::WholeFile;
use picklet_segments::{
    Compression, EntryMeta, Error, Existing, Input, Location, MergeOptions, Origin, Progress,
    Publisher, Result, Segments, SegmentsWriter, SplitOptions, Target, VerifyOptions, merge,
    repair, split, verify,
};
use support::{FakeDisk, Mutation, Survives, step};

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

/// The segments that a command has reported done, by file.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Progress for Told {
    fn segment(&self, file: &str) {
        self.0.lock().unwrap().push(file.to_owned());
    }
}

/// A command, and what there is before it runs.
struct Command {
    name: &'static str,
    /// The directory that it makes or changes.
    makes: &'static str,
    before: fn(&FakeDisk) -> Result<()>,
    run: fn(&FakeDisk, &Told) -> Result<()>,
    /// Fewer calls than this, and it did not do what it is tested for.
    calls: usize,
}

fn split_as(disk: &FakeDisk, options: &SplitOptions<'_>) -> Result<()> {
    let input = Input::bytes("numbers.pickle", numbers(4));
    let options = SplitOptions { target: Target::Items(1), ..options.clone() };
    split(&input, &at(disk, "in"), &options).map(drop)
}

fn split_resumed(disk: &FakeDisk, told: &Told) -> Result<()> {
    let existing = Existing::Resume;
    split_as(disk, &SplitOptions { existing, progress: told, ..SplitOptions::default() })
}

fn split_before(disk: &FakeDisk) -> Result<()> {
    split_resumed(disk, &Told::default())
}

fn split_stored(disk: &FakeDisk, told: &Told) -> Result<()> {
    split_as(
        disk,
        &SplitOptions {
            existing: Existing::Overwrite,
            compression: Some(Compression::Gzip),
            sha256: true,
            progress: told,
            ..SplitOptions::default()
        },
    )
}

/// Maps in this process: each output is `[n]` for segment n.
fn map(disk: &FakeDisk, told: &Told) -> Result<()> {
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
    map_in_process(&segments, &out, &mut run, &MapOptions::default(), told, &|| false).map(drop)
}

/// Adds `[200]` as the fifth segment, if it is not there yet.
fn append(disk: &FakeDisk, told: &Told) -> Result<()> {
    let mut writer = SegmentsWriter::append(&at(disk, "in"))?;
    if writer.next_index() == 4 {
        let mut draft = writer.draft("data-00004")?;
        draft.write_all(b"\x80\x04]K\xc8a.").map_err(|e| draft.error(e))?;
        let meta = EntryMeta { index: 4, items: Some(1), ..EntryMeta::default() };
        told.segment(&writer.commit(draft, meta)?.file);
    }
    writer.finish().map(drop)
}

fn merged(disk: &FakeDisk, _: &Told) -> Result<()> {
    let segments = Segments::open(&at(disk, "in"))?;
    let mut file = WholeFile::on_disk(Arc::new(disk.clone()), format!("{FOLDER}/merged.pickle"))?;
    merge(&segments, &mut file, &MergeOptions::default())?;
    file.finish()
}

/// A whole directory of which one segment and the manifest are damaged.
fn damaged(disk: &FakeDisk) -> Result<()> {
    split_before(disk)?;
    disk.put(format!("{FOLDER}/in/data-00002.pickle"), b"damage");
    disk.put(format!("{FOLDER}/in/segments.json"), b"damage");
    Ok(())
}

const COMMANDS: [Command; 8] = [
    Command { name: "split", makes: "in", before: |_| Ok(()), run: split_resumed, calls: 25 },
    Command {
        name: "split over another, compressed, with SHA256SUMS",
        makes: "in",
        before: split_before,
        run: split_stored,
        calls: 40,
    },
    Command { name: "map", makes: "out", before: split_before, run: map, calls: 25 },
    Command {
        name: "map over an earlier map of other segments",
        makes: "out",
        before: |disk| {
            let input = Input::bytes("numbers.pickle", numbers(3));
            let options = SplitOptions { target: Target::Items(1), ..SplitOptions::default() };
            split(&input, &at(disk, "in"), &options)?;
            map(disk, &Told::default())?;
            split_as(
                disk,
                &SplitOptions { existing: Existing::Overwrite, ..SplitOptions::default() },
            )
        },
        run: map,
        calls: 10,
    },
    Command { name: "append", makes: "in", before: split_before, run: append, calls: 10 },
    Command { name: "merge", makes: "in", before: split_before, run: merged, calls: 4 },
    Command {
        name: "merge over an earlier one",
        makes: "in",
        before: |disk| {
            split_before(disk)?;
            disk.put(format!("{FOLDER}/merged.pickle"), b"earlier");
            Ok(())
        },
        run: merged,
        calls: 4,
    },
    Command {
        name: "repair",
        makes: "in",
        before: damaged,
        run: |disk, _| repair(&at(disk, "in"), &VerifyOptions::default()).map(drop),
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

/// That what the command has reported done is there, and is shown.
fn told_is_there(
    disk: &FakeDisk,
    command: &Command,
    told: &Told,
    expected: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<(), String> {
    let told = told.0.lock().unwrap();
    if told.is_empty() || command.name.starts_with("merge") {
        return Ok(());
    }
    let shown = Segments::open(&at(disk, command.makes)).map_err(|e| format!("{told:?}: {e}"))?;
    // While segments are added and none is replaced, readers are shown the manifest from before; the
    // next run goes on from the journal, which the caller sees by its end.
    let adds = ["append", "map over an earlier map of other segments"].contains(&command.name);
    let before = adds && shown.origin() == Origin::Manifest;
    for file in told.iter() {
        let path = PathBuf::from(format!("{FOLDER}/{}/{file}", command.makes));
        if pickles(disk).get(&path) != expected.get(&path) {
            return Err(format!("{file} was reported done, and is not there"));
        }
        let kept = before && journal_says_done(disk, command.makes, file);
        if !kept && !shown.entries().iter().any(|entry| entry.file == *file) {
            return Err(format!("{file} was reported done, and is not shown"));
        }
    }
    Ok(())
}

/// Whether the next run will know that `file` is done.
fn journal_says_done(disk: &FakeDisk, directory: &str, file: &str) -> bool {
    let journal = PathBuf::from(format!("{FOLDER}/{directory}/.picklet/journal"));
    let text = disk.files().remove(&journal).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .any(|line| line.contains(r#""record":"done""#) && line.contains(&format!("\"{file}\"")))
}

/// What is left of the damaged segment: moved, never removed.
fn damage_is_kept(disk: &FakeDisk) -> Result<(), String> {
    let kept = disk.files().into_iter().any(|(path, bytes)| {
        path.to_string_lossy().ends_with("data-00002.pickle") && bytes == b"damage"
    });
    if kept { Ok(()) } else { Err("what was left of the damaged segment is gone".to_owned()) }
}

/// Goes down before every call of a command and looks at what is left. The number of states, or
/// the first in which something does not hold. `mutation` makes the program another than ours.
fn explore(command: &Command, mutation: Mutation, seeds: u64) -> Result<usize, String> {
    let undisturbed = FakeDisk::default();
    (command.before)(&undisturbed).unwrap();
    let before = pickles(&undisturbed);
    (command.run)(&undisturbed, &Told::default()).unwrap();
    let expected = pickles(&undisturbed);
    let mut states = 0;
    for call in 1.. {
        let disk = FakeDisk::default();
        (command.before)(&disk).unwrap();
        disk.mutate(mutation);
        disk.crash_at(call);
        let told = Told::default();
        let result = (command.run)(&disk, &told);
        if !disk.crashed() {
            disk.make_up().map_err(|e| format!("undisturbed: {e}"))?;
        }
        let some = (0..seeds).map(|seed| Survives::Some(seed * 7919 + call as u64));
        for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(some) {
            let after = disk.after_crash(survives);
            let look = || {
                shown_is_true(&after, &before, &expected)?;
                told_is_there(&after, command, &told, &expected)?;
                if command.name == "repair" {
                    damage_is_kept(&after)?;
                }
                if result.is_ok() && pickles(&after) != expected {
                    return Err("it was reported done, and is not there".to_owned());
                }
                let done = Segments::open(&at(&after, command.makes));
                if result.is_ok() && !done.is_ok_and(|s| s.origin() == Origin::Manifest) {
                    return Err("it was reported done, and there is no manifest".to_owned());
                }
                (command.run)(&after, &Told::default()).map_err(|e| format!("run again: {e}"))?;
                let end = pickles(&after.after_crash(Survives::Nothing));
                if end != expected {
                    return Err(format!("run again it ends as {:?}", end.keys()));
                }
                for directory in ["in", "out"] {
                    if let Ok(segments) = Segments::open(&at(&after, directory))
                        && segments.origin() != Origin::Manifest
                    {
                        return Err("run again it leaves no manifest".to_owned());
                    }
                }
                Ok(())
            };
            look().map_err(|e| {
                format!("{}: down before call {call}, {survives:?}: {e}", command.name)
            })?;
            states += 1;
        }
        if !disk.crashed() {
            result.map_err(|e| format!("{}: undisturbed: {e}", command.name))?;
            assert!(call > command.calls, "{}: only {call} calls", command.name);
            return Ok(states);
        }
    }
    unreachable!()
}

#[test]
fn every_command_survives_a_crash_before_each_of_its_calls() {
    for command in &COMMANDS {
        let states = explore(command, Mutation::None, 5).unwrap_or_else(|e| panic!("{e}"));
        println!("{}: {states} states", command.name);
    }
}

/// The steps that a command takes, in order.
fn steps(command: &Command) -> Vec<&'static str> {
    let disk = FakeDisk::default();
    (command.before)(&disk).unwrap();
    let from = disk.log().len();
    (command.run)(&disk, &Told::default()).unwrap();
    let log = disk.log();
    (from + 1..=log.len()).map(|to| &*step(&log[..to]).leak()).collect()
}

fn is_sync(step: &str) -> bool {
    step.starts_with("Sync ") || step.starts_with("SyncDir ")
}

/// The fsyncs of which the loss breaks no promise on this disk, and why each is made all the same.
const DOUBLED_SYNCS: [(&str, &str); 6] = [
    (
        "SyncDir /, after Create /home/user/out/.picklet/lock",
        "the split before has synced it; a map into another folder needs it",
    ),
    (
        "SyncDir /home, after Create /home/user/out/.picklet/lock",
        "the split before has synced it; a map into another folder needs it",
    ),
    (
        "SyncDir /home/user/in, after Rename /home/user/in/SHA256SUMS",
        "the manifest's rename, which follows, syncs the same directory before anything is reported",
    ),
    (
        "SyncDir /home/user/in/.picklet/quarantine, after Rename /home/user/in/.picklet/quarantine/data*",
        "local file systems keep a rename between two directories in one piece; others need both",
    ),
    (
        "SyncDir /home/user/out, after Create /home/user/out/.picklet/lock",
        "the first segment's rename syncs the same directory before anything is reported",
    ),
    (
        "SyncDir /home/user/out, after Rename /home/user/in/segments.json",
        "the earlier map has synced it; one that died just after it made the directory has not",
    ),
];

/// Pairs of steps that may change places, by the reason why no promise is broken.
const FREE_ORDERS: [(&str, &[(&str, &str)]); 7] = [
    (
        "both sync directories above the new one, and nothing is reported between them",
        &[
            (
                "SyncDir /home, after Create /home/user/in/.picklet/lock",
                "SyncDir /, after Create /home/user/in/.picklet/lock",
            ),
            (
                "SyncDir /home, after Create /home/user/out/.picklet/lock",
                "SyncDir /, after Create /home/user/out/.picklet/lock",
            ),
            (
                "SyncDir /home/user, after Create /home/user/in/.picklet/lock",
                "SyncDir /home, after Create /home/user/in/.picklet/lock",
            ),
            (
                "SyncDir /home/user, after Create /home/user/out/.picklet/lock",
                "SyncDir /home, after Create /home/user/out/.picklet/lock",
            ),
            (
                "SyncDir /home/user/in, after Create /home/user/in/.picklet/lock",
                "SyncDir /home/user, after Create /home/user/in/.picklet/lock",
            ),
            (
                "SyncDir /home/user/out, after Create /home/user/out/.picklet/lock",
                "SyncDir /home/user, after Create /home/user/out/.picklet/lock",
            ),
        ],
    ),
    (
        "the second makes a temporary file or folder that nobody is told of",
        &[
            ("MakeDir /home/user/in/.picklet/tmp/*", "Create /home/user/in/.picklet/new*"),
            ("MakeDir /home/user/in/.picklet/tmp/*", "MakeDir /home/user/in/.picklet/quarantine"),
            ("MakeDir /home/user/out/.picklet/tmp/*", "Create /home/user/out/.picklet/new*"),
            ("Sync /home/user/out/.picklet/journal", "Create /home/user/out/.picklet/tmp/*/*"),
            ("Sync /home/user/in/.picklet/journal", "Create /home/user/in/.picklet/tmp/*/*"),
            (
                "SyncDir /, after Create /home/user/in/.picklet/lock",
                "MakeDir /home/user/in/.picklet/tmp",
            ),
            (
                "SyncDir /, after Create /home/user/out/.picklet/lock",
                "MakeDir /home/user/out/.picklet/tmp",
            ),
            (
                "SyncDir /home/user/in, after Rename /home/user/in/.picklet/quarantine/data*",
                "Create /home/user/in/.picklet/new*",
            ),
            (
                "SyncDir /home/user/in, after Rename /home/user/in/SHA256SUMS",
                "Create /home/user/in/.picklet/new*",
            ),
            (
                "SyncDir /home/user/in/.picklet, after Rename /home/user/in/.picklet/journal",
                "Create /home/user/in/.picklet/new*",
            ),
            (
                "SyncDir /home/user/in/.picklet, after Rename /home/user/in/.picklet/journal",
                "Create /home/user/in/.picklet/tmp/*/*",
            ),
        ],
    ),
    (
        "the second removes the empty folder of a session, which the next run would do",
        &[
            ("Remove /home/user/in/data*", "RemoveDir /home/user/in/.picklet/tmp/*"),
            (
                "SyncDir /home/user/in, after Rename /home/user/in/segments.json",
                "RemoveDir /home/user/in/.picklet/tmp/*",
            ),
            (
                "SyncDir /home/user/out, after Rename /home/user/in/segments.json",
                "RemoveDir /home/user/out/.picklet/tmp/*",
            ),
        ],
    ),
    (
        "the fsync is one of those that another doubles",
        &[
            (
                "Rename /home/user/in/.picklet/quarantine/data*",
                "SyncDir /home/user/in/.picklet/quarantine, after Rename /home/user/in/.picklet/quarantine/data*",
            ),
            (
                "Rename /home/user/in/SHA256SUMS",
                "SyncDir /home/user/in, after Rename /home/user/in/SHA256SUMS",
            ),
            (
                "SyncDir /home/user/in/.picklet/quarantine, after Rename /home/user/in/.picklet/quarantine/data*",
                "SyncDir /home/user/in, after Rename /home/user/in/.picklet/quarantine/data*",
            ),
        ],
    ),
    (
        "found out of a split, which takes the same steps; of a map's one group no tried state shows it",
        &[(
            "SyncDir /home/user/out, after Rename /home/user/out/data*",
            "Write /home/user/out/.picklet/journal done",
        )],
    ),
    (
        "the folder is in place before anything that is moved into it is reported",
        &[(
            "SyncDir /home/user/in/.picklet, after MakeDir /home/user/in/.picklet/quarantine",
            "Rename /home/user/in/.picklet/quarantine/data*",
        )],
    ),
    (
        "the earlier journal and the one that takes its place say the same of what is done",
        &[
            (
                "SyncDir /home/user/in/.picklet, after Rename /home/user/in/.picklet/journal",
                "Remove /home/user/in/segments.json",
            ),
            (
                "SyncDir /home/user/in/.picklet, after Rename /home/user/in/.picklet/journal",
                "Write /home/user/in/.picklet/journal names",
            ),
            (
                "SyncDir /home/user/out/.picklet, after Rename /home/user/out/.picklet/journal",
                "Write /home/user/out/.picklet/journal names",
            ),
        ],
    ),
];

/// Each fsync of each command, left out; the crash tests must find a broken promise, in this or
/// another of the commands.
#[test]
fn a_command_without_any_one_of_its_fsyncs_is_found_out() {
    let mut syncs: BTreeMap<&str, Vec<&Command>> = BTreeMap::new();
    for command in &COMMANDS {
        for step in steps(command).into_iter().filter(|step| is_sync(step)) {
            let commands = syncs.entry(step).or_default();
            if !commands.iter().any(|known| known.name == command.name) {
                commands.push(command);
            }
        }
    }
    let mut unseen = Vec::new();
    for (step, commands) in &syncs {
        let found = commands.iter().find_map(|c| explore(c, Mutation::WithoutStep(step), 3).err());
        match found {
            Some(violation) => println!("without {step}\n    {violation}"),
            None => unseen.push(*step),
        }
    }
    println!("{} fsyncs", syncs.len());
    assert!(syncs.len() > 12, "{syncs:?}", syncs = syncs.keys());
    let expected: Vec<&str> = DOUBLED_SYNCS.iter().map(|(step, _why)| *step).collect();
    assert_eq!(unseen, expected, "each of these is either a lost promise or doubled by another");
}

/// Any two steps that follow one another, the other way round.
#[test]
fn a_command_with_any_two_of_its_steps_the_other_way_round_is_found_out() {
    let mut tried = 0;
    let mut unseen = std::collections::BTreeSet::new();
    let mut found = std::collections::BTreeSet::new();
    for command in &COMMANDS {
        let steps = steps(command);
        let pairs: std::collections::BTreeSet<_> =
            steps.windows(2).filter(|two| two[0] != two[1]).map(|two| (two[0], two[1])).collect();
        for (first, second) in pairs {
            tried += 1;
            match explore(command, Mutation::SwapSteps(first, second), 3) {
                Err(violation) => {
                    println!("{second}\n  before {first}\n    {violation}");
                    found.insert((first, second));
                }
                Ok(_) => {
                    unseen.insert((first, second));
                }
            }
        }
    }
    unseen.retain(|pair| !found.contains(pair));
    println!("{tried} pairs of steps, {} found out", found.len());
    let expected: std::collections::BTreeSet<(&str, &str)> =
        FREE_ORDERS.iter().flat_map(|(_why, pairs)| pairs.iter().copied()).collect();
    assert_eq!(unseen, expected, "each of these is either a lost promise or free");
}
