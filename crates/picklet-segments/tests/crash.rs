//! The promise, tried at every moment: the machine goes down before each
//! single call that changes the disk, everything that a crash can leave is
//! looked at, and then the run goes on.
//!
//! What must hold: a segment that was reported done is there, whole; whatever
//! a reader is shown reads back as what its entry says; the same run resumed
//! ends as if nothing had happened; the directory can be overwritten.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use picklet_segments::{
    Entry, EntryMeta, Error, Existing, Header, Kind, Location, Result, Segments, SegmentsWriter,
    VerifyOptions, Xxh3,
};
use support::{Call, FakeDisk, Mutation, Op, Survives};

const OUT: &str = "/home/user/out";

fn at(disk: &FakeDisk) -> Location {
    Location::on_disk(Arc::new(disk.clone()), OUT)
}

fn header(run: &str) -> Header {
    Header::new(Kind::List, run)
}

/// The bytes of segment `index` of a run: same length whatever the run.
fn content(run: &str, index: u64) -> Vec<u8> {
    format!("{run:>8} {index:>6}").into_bytes()
}

/// What the callers of a run were told.
#[derive(Default, Debug)]
struct Told {
    done: BTreeMap<String, Vec<u8>>,
    finished: bool,
}

/// One scenario: what was there before, and what is run when the machine goes down.
struct Scenario {
    name: &'static str,
    before: fn(&Location),
    run: fn(&Location, &mut Told) -> Result<()>,
}

fn put(writer: &mut SegmentsWriter, run: &str, index: u64, told: &mut Told) -> Result<Entry> {
    let mut draft = writer.draft(&picklet_segments::segment_file("data", index, 5))?;
    let bytes = content(run, index);
    let (head, tail) = bytes.split_at(5);
    draft.write_all(head).map_err(|e| draft.error(e))?;
    draft.flush().map_err(|e| draft.error(e))?;
    draft.write_all(tail).map_err(|e| draft.error(e))?;
    let meta = EntryMeta {
        index,
        items: Some(index + 1),
        input: Some(Xxh3::of(run.as_bytes())),
        ..EntryMeta::default()
    };
    let entry = writer.commit(draft, meta)?;
    told.done.insert(entry.file.clone(), bytes);
    Ok(entry)
}

/// A run as split and map do it: keep what came from the same input, make the
/// rest, finish. The version `run` of the input decides what segments hold.
fn run_all(at: &Location, existing: Existing, run: &str, told: &mut Told) -> Result<Segments> {
    let mut writer = SegmentsWriter::create(at, existing, header("a run"))?;
    let input = Some(Xxh3::of(run.as_bytes()));
    let done: Vec<(String, u64, bool)> =
        writer.done().iter().map(|e| (e.file.clone(), e.index, e.input == input)).collect();
    for (file, index, same) in &done {
        if *same {
            told.done.insert(file.clone(), content(run, *index));
        } else {
            writer.discard(file)?;
        }
    }
    for index in 0..3 {
        if !done.iter().any(|(_, at, same)| *at == index && *same) {
            put(&mut writer, run, index, told)?;
        }
    }
    let segments = writer.finish()?;
    told.finished = true;
    Ok(segments)
}

fn finished_run(at: &Location) {
    run_all(at, Existing::Refuse, "first", &mut Told::default()).unwrap();
}

fn interrupted_run(at: &Location) {
    let mut writer = SegmentsWriter::create(at, Existing::Refuse, header("a run")).unwrap();
    for index in [0, 2] {
        put(&mut writer, "first", index, &mut Told::default()).unwrap();
    }
}

/// A run whose segments share their fsyncs; what is staged is told of only when it is done.
fn run_in_groups(at: &Location, told: &mut Told) -> Result<()> {
    let mut writer = SegmentsWriter::create(at, Existing::Resume, header("a run"))?;
    let input = Some(Xxh3::of(b"first"));
    let kept: Vec<u64> = writer.done().iter().map(|entry| entry.index).collect();
    for index in (0..3).filter(|index| !kept.contains(index)) {
        let mut draft = writer.draft(&picklet_segments::segment_file("data", index, 5))?;
        draft.write_all(&content("first", index)).map_err(|e| draft.error(e))?;
        let meta = EntryMeta { index, items: Some(index + 1), input, ..EntryMeta::default() };
        let mut done = writer.stage(draft, meta)?;
        if index == 1 {
            done.extend(writer.settle()?);
        }
        told.done.extend(done.into_iter().map(|e| (e.file, content("first", e.index))));
    }
    let done = writer.settle()?;
    told.done.extend(done.into_iter().map(|e| (e.file, content("first", e.index))));
    writer.finish()?;
    told.finished = true;
    Ok(())
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        name: "a fresh run whose segments share fsyncs",
        before: |_| {},
        run: run_in_groups,
    },
    Scenario {
        name: "a fresh run",
        before: |_| {},
        run: |at, told| run_all(at, Existing::Refuse, "first", told).map(|_| ()),
    },
    Scenario {
        name: "an interrupted run, resumed",
        before: interrupted_run,
        run: |at, told| run_all(at, Existing::Resume, "first", told).map(|_| ()),
    },
    Scenario {
        name: "a finished run, resumed after its input changed",
        before: finished_run,
        run: |at, told| run_all(at, Existing::Resume, "second", told).map(|_| ()),
    },
    Scenario {
        name: "a finished run, overwritten",
        before: finished_run,
        run: |at, told| run_all(at, Existing::Overwrite, "second", told).map(|_| ()),
    },
    Scenario {
        name: "a finished run, appended to",
        before: finished_run,
        run: |at, told| {
            let mut writer = SegmentsWriter::append(at)?;
            for index in writer.next_index()..5 {
                put(&mut writer, "first", index, told)?;
            }
            writer.finish()?;
            told.finished = true;
            Ok(())
        },
    },
];

/// Every file under a segment's name is whole, whoever looks, and everything
/// that a reader is shown reads back as its entry says.
fn what_is_shown_is_true(disk: &FakeDisk) -> Result<Option<Segments>, String> {
    for (path, bytes) in visible(disk) {
        if path.to_string_lossy().ends_with(".pickle") && bytes.len() != content("", 0).len() {
            return Err(format!("{} has {} bytes", path.display(), bytes.len()));
        }
    }
    let segments = match Segments::open(&at(disk)) {
        Ok(segments) => segments,
        Err(Error::NoDirectory(_) | Error::NoSegments(_) | Error::Unfinished(_)) => {
            return Ok(None);
        }
        Err(other) => return Err(format!("open: {other}")),
    };
    for (index, entry) in segments.entries().iter().enumerate() {
        let bytes = segments.read(index).map_err(|e| format!("a reader is shown: {e}"))?;
        if entry.xxh3.is_some() && entry.input != Some(Xxh3::of(run_of(&bytes).as_bytes())) {
            return Err(format!("{} holds another run's bytes than its entry says", entry.file));
        }
    }
    Ok(Some(segments))
}

fn run_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..8.min(bytes.len())]).trim().to_owned()
}

fn promise(disk: &FakeDisk, told: &Told) -> Result<(), String> {
    let shown = what_is_shown_is_true(disk)?;
    for (file, bytes) in &told.done {
        let position = shown
            .as_ref()
            .and_then(|segments| segments.entries().iter().position(|e| e.file == *file));
        let by_name = disk.read(format!("{OUT}/{file}"));
        if by_name.as_ref() != Some(bytes) {
            return Err(format!("{file} was reported done and holds {by_name:?}"));
        }
        let finished_before = shown.as_ref().is_some_and(is_from_before);
        if position.is_none() && (told.finished || !finished_before) {
            return Err(format!("{file} was reported done and is not shown"));
        }
    }
    Ok(())
}

/// While segments are added, readers are shown the manifest from before.
fn is_from_before(shown: &Segments) -> bool {
    shown.origin() == picklet_segments::Origin::Manifest
}

/// Runs the scenario undisturbed; the files in the end, without picklet's own.
fn undisturbed(scenario: &Scenario) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let disk = FakeDisk::default();
    (scenario.before)(&at(&disk));
    (scenario.run)(&at(&disk), &mut Told::default()).unwrap();
    visible(&disk)
}

fn visible(disk: &FakeDisk) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = disk.files();
    files.retain(|path, _| !path.to_string_lossy().contains(".picklet"));
    files
}

/// Goes down before every changing call of the scenario and looks at what is
/// left. The number of states looked at, or the first in which the promise
/// does not hold. `mutation` makes the program another than ours.
fn explore(scenario: &Scenario, mutation: Mutation) -> Result<usize, String> {
    let expected = undisturbed(scenario);
    let mut states = 0;
    for call in 1.. {
        let disk = FakeDisk::default();
        (scenario.before)(&at(&disk));
        disk.mutate(mutation);
        disk.crash_at(call);
        let mut told = Told::default();
        let result = (scenario.run)(&at(&disk), &mut told);
        if !disk.crashed() {
            result.map_err(|e| format!("undisturbed: {e}"))?;
        }
        let seeds = (0..6).map(|seed| Survives::Some(seed * 7919 + call as u64));
        for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
            let after = disk.after_crash(survives);
            let place = || format!("{}: down before call {call}, {survives:?}", scenario.name);
            promise(&after, &told).map_err(|e| format!("{}: {e}", place()))?;
            recovers(scenario, &after, &told, &expected)
                .map_err(|e| format!("{}, then going on: {e}", place()))?;
            states += 1;
        }
        if !disk.crashed() {
            return Ok(states);
        }
    }
    unreachable!()
}

/// The run resumed, and a new run over it, end as they must.
fn recovers(
    scenario: &Scenario,
    after: &FakeDisk,
    told: &Told,
    expected: &BTreeMap<std::path::PathBuf, Vec<u8>>,
) -> Result<(), String> {
    let copy = after.after_crash(Survives::Everything);
    run_all(&at(&copy), Existing::Overwrite, "third", &mut Told::default())
        .map_err(|e| format!("overwrite: {e}"))?;
    what_is_shown_is_true(&copy)?;

    let mut again = Told::default();
    if scenario.name.contains("appended") {
        if !told.finished {
            (scenario.run)(&at(after), &mut again).map_err(|e| format!("append: {e}"))?;
        }
    } else {
        let run = if expected.values().any(|bytes| run_of(bytes) == "second") {
            "second"
        } else {
            "first"
        };
        run_all(&at(after), Existing::Resume, run, &mut again)
            .map_err(|e| format!("resume: {e}"))?;
    }
    // It is finished, so it must survive anything now.
    let found = visible(&after.after_crash(Survives::Nothing));
    if found != *expected {
        let names: Vec<_> = found.keys().collect();
        return Err(format!("it does not end as an undisturbed run does: {names:?}"));
    }
    Ok(())
}

#[test]
fn the_promise_holds_after_a_crash_before_every_single_call() {
    for scenario in &SCENARIOS {
        let states =
            explore(scenario, Mutation::None).unwrap_or_else(|violation| panic!("{violation}"));
        println!("{}: {states} states", scenario.name);
        assert!(states > 100, "{}: only {states} states", scenario.name);
    }
}

fn call(log: &[Op], back: usize) -> Option<(Call, String)> {
    let op = log.get(log.len().checked_sub(back + 1)?)?;
    Some((op.call, op.path.to_string_lossy().into_owned()))
}

/// Whether the call in question is `what` on a path that ends in `end`.
fn is(log: &[Op], what: Call, end: &str) -> bool {
    call(log, 0).is_some_and(|(call, path)| call == what && path.ends_with(end))
}

/// Whether the call in question is `what` on a path within `within`.
fn is_in(log: &[Op], what: Call, within: &str) -> bool {
    call(log, 0).is_some_and(|(call, path)| call == what && path.contains(within))
}

/// Whether the call before was `what` on a path that ends in `end`.
fn after(log: &[Op], what: Call, end: &str) -> bool {
    call(log, 1).is_some_and(|(call, path)| call == what && path.ends_with(end))
}

/// Whether the call in question writes this record into the journal.
fn writes(log: &[Op], record: &str) -> bool {
    is(log, Call::Write, "/journal")
        && log.last().is_some_and(|op| {
            String::from_utf8_lossy(&op.bytes).contains(&format!("\"record\":\"{record}\""))
        })
}

/// Every fsync that the store makes, and every order that it keeps.
const MUTATIONS: [(&str, Mutation); 20] = [
    (
        "a segment without its fsync",
        Mutation::LeaveOut(|log| is_in(log, Call::Sync, "/.picklet/tmp/")),
    ),
    (
        "a segment without the directory's fsync",
        Mutation::LeaveOut(|log| {
            is(log, Call::SyncDir, OUT) && after(log, Call::Rename, ".pickle")
        }),
    ),
    ("a journal line without its fsync", Mutation::LeaveOut(|log| is(log, Call::Sync, "/journal"))),
    (
        "a new journal or manifest without its fsync",
        Mutation::LeaveOut(|log| is_in(log, Call::Sync, "/.picklet/new-")),
    ),
    (
        "a new journal without the directory's fsync",
        Mutation::LeaveOut(|log| is(log, Call::SyncDir, "/.picklet")),
    ),
    (
        "a manifest without the directory's fsync",
        Mutation::LeaveOut(|log| {
            is(log, Call::SyncDir, OUT) && after(log, Call::Rename, "segments.json")
        }),
    ),
    (
        "a manifest removed without the directory's fsync",
        Mutation::LeaveOut(|log| {
            is(log, Call::SyncDir, OUT) && after(log, Call::Remove, "segments.json")
        }),
    ),
    (
        "a new directory without its parent's fsync",
        Mutation::LeaveOut(|log| is(log, Call::SyncDir, "/home/user")),
    ),
    (
        "a new parent without its own parent's fsync",
        Mutation::LeaveOut(|log| is(log, Call::SyncDir, "/home")),
    ),
    (
        "picklet's folder without the directory's fsync",
        Mutation::LeaveOut(|log| is(log, Call::SyncDir, OUT) && after(log, Call::Create, "/lock")),
    ),
    (
        "a segment renamed before its fsync",
        Mutation::Swap(
            |log| is_in(log, Call::Sync, "/.picklet/tmp/"),
            |log| is(log, Call::Rename, ".pickle"),
        ),
    ),
    (
        "a segment renamed after the directory's fsync",
        Mutation::Swap(|log| is(log, Call::Rename, ".pickle"), |log| is(log, Call::SyncDir, OUT)),
    ),
    (
        "a segment in the journal before the directory's fsync",
        Mutation::Swap(
            |log| is(log, Call::SyncDir, OUT) && after(log, Call::Rename, ".pickle"),
            |log| is(log, Call::Sync, "/journal"),
        ),
    ),
    (
        "a segment in the journal before it is renamed",
        Mutation::Swap(
            |log| is(log, Call::Rename, ".pickle"),
            |log| {
                is(log, Call::Sync, "/journal")
                    && log.iter().any(|op| writes(std::slice::from_ref(op), "done"))
            },
        ),
    ),
    (
        "a name in the journal after its segment",
        Mutation::Swap(|log| writes(log, "names"), |log| is(log, Call::SyncDir, OUT)),
    ),
    (
        "a segment taken back after it is replaced",
        Mutation::Swap(
            |log| writes(log, "drop"),
            |log| is(log, Call::SyncDir, OUT) && after(log, Call::Rename, ".pickle"),
        ),
    ),
    (
        "a manifest removed after a segment is replaced",
        Mutation::Swap(
            |log| is(log, Call::Remove, "segments.json"),
            |log| is(log, Call::Rename, ".pickle"),
        ),
    ),
    (
        "a manifest removed after the segments it names",
        Mutation::Swap(
            |log| is(log, Call::Remove, "segments.json"),
            |log| is(log, Call::Remove, "data-00001.pickle"),
        ),
    ),
    (
        "a new journal renamed before its fsync",
        Mutation::Swap(
            |log| is_in(log, Call::Sync, "/.picklet/new-"),
            |log| is(log, Call::SyncDir, "/.picklet"),
        ),
    ),
    (
        "a journal line reported before its fsync",
        Mutation::Swap(|log| is(log, Call::Sync, "/journal"), |log| is(log, Call::Create, "")),
    ),
];

#[test]
fn a_program_without_any_one_fsync_or_in_any_other_order_is_found_out() {
    let mut unseen = Vec::new();
    for (what, mutation) in MUTATIONS {
        let found = SCENARIOS.iter().find_map(|scenario| explore(scenario, mutation).err());
        match found {
            Some(violation) => println!("{what}\n    {violation}"),
            None => unseen.push(what),
        }
    }
    assert!(unseen.is_empty(), "not found out: {unseen:#?}");
}

#[test]
fn the_promise_holds_when_the_machine_goes_down_again_while_going_on() {
    let scenario = &SCENARIOS[3];
    let expected = undisturbed(scenario);
    for first in (1..).step_by(3) {
        let disk = FakeDisk::default();
        (scenario.before)(&at(&disk));
        disk.crash_at(first);
        let _ = (scenario.run)(&at(&disk), &mut Told::default());
        for survives in [Survives::Nothing, Survives::Everything, Survives::Some(first as u64)] {
            for second in 1.. {
                let again = disk.after_crash(survives);
                again.crash_at(second);
                let mut told = Told::default();
                let _ = run_all(&at(&again), Existing::Resume, "second", &mut told);
                for survives in [Survives::Nothing, Survives::Some(second as u64)] {
                    let after = again.after_crash(survives);
                    let result = promise(&after, &told)
                        .and_then(|()| recovers(scenario, &after, &told, &expected));
                    if let Err(violation) = result {
                        panic!(
                            "down before call {first}, then {second}, {survives:?}: {violation}"
                        );
                    }
                }
                if !again.crashed() {
                    break;
                }
            }
        }
        if !disk.crashed() {
            break;
        }
    }
}

#[test]
fn a_crash_during_repair_loses_nothing_that_was_whole() {
    let damaged = || {
        let disk = FakeDisk::default();
        finished_run(&at(&disk));
        disk.put(format!("{OUT}/data-00001.pickle"), b"damaged");
        disk
    };
    let repair = |disk: &FakeDisk| picklet_segments::repair(&at(disk), &VerifyOptions::default());
    let expected = undisturbed(&SCENARIOS[1]);
    for call in 1.. {
        let disk = damaged();
        disk.crash_at(call);
        let report = repair(&disk);
        if !disk.crashed() {
            assert_eq!(report.unwrap().lost.len(), 1);
        }
        let seeds = (0..6).map(|seed| Survives::Some(seed * 7919 + call as u64));
        for survives in [Survives::Nothing, Survives::Everything].into_iter().chain(seeds) {
            let after = disk.after_crash(survives);
            let what = format!("down before call {call}, {survives:?}");
            for index in [0, 2] {
                let found = after.read(format!("{OUT}/data-0000{index}.pickle"));
                assert_eq!(found, Some(content("first", index)), "{what}");
            }
            let aside = after.files().values().filter(|bytes| *bytes == b"damaged").count();
            assert!(aside >= 1, "{what}: the damaged file is gone");
            repair(&after).unwrap_or_else(|e| panic!("{what}: {e}"));
            let segments = Segments::open(&at(&after)).unwrap();
            assert_eq!(segments.len(), 2, "{what}");
            what_is_shown_is_true(&after).unwrap_or_else(|e| panic!("{what}: {e}"));
            run_all(&at(&after), Existing::Resume, "first", &mut Told::default()).unwrap();
            assert_eq!(visible(&after.after_crash(Survives::Nothing)), expected, "{what}");
        }
        if !disk.crashed() {
            break;
        }
    }
}

#[test]
fn many_small_segments_share_the_fsyncs_of_directory_and_journal() {
    let syncs = |grouped: bool| {
        let disk = FakeDisk::default();
        let mut writer = SegmentsWriter::create(&at(&disk), Existing::Refuse, header("x")).unwrap();
        let mut told = Vec::new();
        for index in 0..200 {
            let file = picklet_segments::segment_file("data", index, 5);
            let mut draft = writer.draft(&file).unwrap();
            draft.write_all(&content("x", index)).unwrap();
            let meta = EntryMeta { index, ..EntryMeta::default() };
            let done = match grouped {
                true => writer.stage(draft, meta).unwrap(),
                false => vec![writer.commit(draft, meta).unwrap()],
            };
            // Whatever was told is there when the power is cut now.
            told.extend(done.into_iter().map(|entry| entry.file));
            let after = disk.after_crash(Survives::Nothing);
            let shown = Segments::open(&at(&after)).map_or(0, |segments| segments.len());
            assert!(shown >= told.len(), "{shown} shown, {} told", told.len());
        }
        told.extend(writer.settle().unwrap().into_iter().map(|entry| entry.file));
        assert_eq!(told.len(), 200);
        writer.finish().unwrap();
        let log = disk.log();
        let count = |call, end: &str| {
            log.iter().filter(|op| op.call == call && op.path.ends_with(end)).count()
        };
        (count(Call::SyncDir, "out"), count(Call::Sync, ".picklet/journal"))
    };
    let (alone, grouped) = (syncs(false), syncs(true));
    println!("fsyncs of directory and journal for 200 segments: {alone:?}, shared {grouped:?}");
    assert!(alone.0 >= 200 && alone.1 >= 200);
    assert!(grouped.0 <= 50 && grouped.1 <= 50, "{grouped:?}");
}

#[test]
fn a_run_that_is_dropped_keeps_what_it_had_staged() {
    let disk = FakeDisk::default();
    let mut writer = SegmentsWriter::create(&at(&disk), Existing::Refuse, header("a run")).unwrap();
    for index in 0..2 {
        let file = picklet_segments::segment_file("data", index, 5);
        let mut draft = writer.draft(&file).unwrap();
        draft.write_all(&content("first", index)).unwrap();
        let meta = EntryMeta { index, items: Some(index + 1), ..EntryMeta::default() };
        writer.stage(draft, meta).unwrap();
        // Neither its name nor its place is another's from here on.
        assert!(matches!(writer.draft(&file), Err(Error::SameName { .. })));
    }
    assert_eq!(writer.next_index(), 2);
    drop(writer);
    let after = disk.after_crash(Survives::Nothing);
    assert_eq!(Segments::open(&at(&after)).unwrap().len(), 2);
}
