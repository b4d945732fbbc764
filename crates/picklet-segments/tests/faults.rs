//! What the operating system may refuse: each single call fails once, with
//! each error. The caller is told in one line, what was reported done stays,
//! and the same run goes on when the trouble is over.

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, Result, Segments, SegmentsWriter,
};
use support::{Call, FakeDisk, Survives};

const OUT: &str = "/data/out";
const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn at(disk: &FakeDisk) -> Location {
    Location::on_disk(Arc::new(disk.clone()), OUT)
}

fn content(index: u64) -> Vec<u8> {
    vec![b'a' + index as u8; 200_000]
}

/// Makes three segments, keeping those that are there; tells which were done.
fn run(at: &Location, existing: Existing, told: &mut Vec<String>) -> Result<Segments> {
    let header = Header::new(Kind::Objects, "run");
    let mut writer = SegmentsWriter::create(at, existing, header)?;
    let kept: Vec<u64> = writer.done().iter().map(|entry| entry.index).collect();
    for index in (0..3).filter(|index| !kept.contains(index)) {
        let mut draft = writer.draft(&format!("s{index}"))?;
        for piece in content(index).chunks(70_000) {
            draft.write_all(piece).map_err(|e| draft.error(e))?;
        }
        let entry = writer.commit(draft, EntryMeta { index, ..EntryMeta::default() })?;
        told.push(entry.file);
    }
    writer.finish()
}

fn visible(disk: &FakeDisk) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = disk.files();
    files.retain(|path, _| !path.to_string_lossy().contains(".picklet"));
    files
}

fn whole(disk: &FakeDisk, told: &[String], what: &str) {
    for file in told {
        let index = u64::from(file.as_bytes()[1] - b'0');
        let found = disk.read(format!("{OUT}/{file}"));
        assert!(found == Some(content(index)), "{what}: {file} was reported done");
    }
    match Segments::open(&at(disk)) {
        Ok(segments) => {
            for index in 0..segments.len() {
                segments.read(index).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
            assert!(segments.len() >= told.len(), "{what}");
        }
        Err(e) => assert!(told.is_empty(), "{what}: {e}"),
    }
}

#[test]
fn each_call_may_fail_once_and_nothing_that_was_reported_is_lost() {
    let undisturbed = FakeDisk::default();
    run(&at(&undisturbed), Existing::Refuse, &mut Vec::new()).unwrap();
    let calls = undisturbed.log();
    let expected = visible(&undisturbed);
    for (number, op) in calls.iter().enumerate() {
        for errno in [EIO, ENOSPC, EACCES, EROFS] {
            let what =
                format!("error {errno} of call {number}, {:?} {}", op.call, op.path.display());
            let disk = FakeDisk::default();
            disk.fail_at(number + 1, errno);
            if errno == EACCES && op.call == Call::SyncDir && !op.path.starts_with(OUT) {
                // A parent that may not be read cannot be fsynced by anyone.
                run(&at(&disk), Existing::Refuse, &mut Vec::new()).expect(&what);
                continue;
            }
            let mut told = Vec::new();
            let error = run(&at(&disk), Existing::Refuse, &mut told).expect_err(&what);
            let message = error.to_string();
            assert!(matches!(error, Error::Io { .. }), "{what}: {message}");
            assert!(message.contains(" /") && !message.contains('\n'), "{what}: {message}");
            assert_eq!(message.contains("--resume"), errno == ENOSPC, "{what}: {message}");
            // What was reported is there, even when the power is cut now.
            for survives in [Survives::Nothing, Survives::Everything, Survives::Some(number as u64)]
            {
                let after = disk.after_crash(survives);
                whole(&after, &told, &what);
                run(&at(&after), Existing::Resume, &mut Vec::new())
                    .unwrap_or_else(|e| panic!("{what}, {survives:?}, resumed: {e}"));
                assert!(visible(&after.after_crash(Survives::Nothing)) == expected, "{what}");
            }
            // And the same process may go on at once.
            run(&at(&disk), Existing::Resume, &mut Vec::new()).unwrap();
            assert!(visible(&disk.after_crash(Survives::Nothing)) == expected, "{what}");
        }
    }
}

#[test]
fn a_writer_that_goes_on_after_an_error_breaks_no_promise() {
    let calls = {
        let disk = FakeDisk::default();
        run(&at(&disk), Existing::Refuse, &mut Vec::new()).unwrap();
        disk.log().len()
    };
    for number in 1..=calls {
        let disk = FakeDisk::default();
        disk.fail_at(number, EIO);
        let header = Header::new(Kind::Objects, "run");
        let Ok(mut writer) = SegmentsWriter::create(&at(&disk), Existing::Refuse, header) else {
            continue;
        };
        let mut told = Vec::new();
        for index in 0..3 {
            let committed = writer.draft(&format!("s{index}")).and_then(|mut draft| {
                draft.write_all(&content(index)).map_err(|e| draft.error(e))?;
                writer.commit(draft, EntryMeta { index, ..EntryMeta::default() })
            });
            told.extend(committed.ok().map(|entry| entry.file));
        }
        let finished = writer.finish();
        let after = disk.after_crash(Survives::Nothing);
        whole(&after, &told, &format!("call {number} failed"));
        if let Ok(segments) = finished {
            assert_eq!(Segments::open(&at(&after)).unwrap().manifest(), segments.manifest());
        }
        run(&at(&after), Existing::Resume, &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_draft_that_could_not_be_written_is_never_published() {
    let disk = FakeDisk::default();
    let header = Header::new(Kind::Objects, "run");
    let mut writer = SegmentsWriter::create(&at(&disk), Existing::Refuse, header).unwrap();
    let mut draft = writer.draft("s0").unwrap();
    disk.fail_at(1, ENOSPC);
    assert!(draft.write_all(&content(0)).is_err());
    // There is space again, and the caller did not look at the error.
    draft.write_all(&content(1)).unwrap();
    assert!(writer.commit(draft, EntryMeta::default()).is_err());
    assert_eq!(disk.read(format!("{OUT}/s0.pickle")), None);
    let mut draft = writer.draft("s0").unwrap();
    draft.write_all(&content(0)).unwrap();
    writer.commit(draft, EntryMeta::default()).unwrap();
    assert_eq!(writer.finish().unwrap().read(0).unwrap(), content(0));
}

#[test]
fn a_failed_fsync_is_final_for_its_file() {
    let disk = FakeDisk::default();
    let mut told = Vec::new();
    let dry = FakeDisk::default();
    run(&at(&dry), Existing::Refuse, &mut Vec::new()).unwrap();
    let first_sync = dry
        .log()
        .iter()
        .position(|op| op.call == Call::Sync && op.path.to_string_lossy().contains("/tmp/"))
        .unwrap();
    disk.fail_at(first_sync + 1, EIO);
    let error = run(&at(&disk), Existing::Refuse, &mut told).unwrap_err();
    assert!(error.to_string().contains("fsync"), "{error}");
    assert!(told.is_empty());
    assert_eq!(disk.read(format!("{OUT}/s0.pickle")), None, "it was never shown to anyone");
    let syncs = disk
        .log()
        .iter()
        .filter(|op| op.path == disk.log()[first_sync].path && op.call == Call::Sync)
        .count();
    assert_eq!(syncs, 1, "the fsync was not tried again");
}

#[test]
fn writes_that_take_only_a_part_lose_nothing() {
    let disk = FakeDisk::default();
    disk.write_short();
    let segments = run(&at(&disk), Existing::Refuse, &mut Vec::new()).unwrap();
    let whole = FakeDisk::default();
    run(&at(&whole), Existing::Refuse, &mut Vec::new()).unwrap();
    assert!(visible(&disk) == visible(&whole));
    assert_eq!(segments.read(2).unwrap(), content(2));
}

/// Runs as another user when this one may write everywhere.
#[cfg(unix)]
#[test]
fn a_directory_that_may_not_be_written_is_named_in_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("out");
    std::fs::create_dir(&dir).unwrap();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o555)).unwrap();
    let probe = std::fs::create_dir(dir.join("probe"));
    if probe.is_ok() {
        println!("SKIPPED: this user may write everywhere; the injected errors say the same");
        return;
    }
    let location = Location::local(&dir);
    let error = run(&location, Existing::Refuse, &mut Vec::new()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(".picklet") && message.contains("may write to"), "{message}");
}

/// A file system of one megabyte, really full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_file_system_keeps_what_was_done_and_goes_on_when_there_is_space() {
    let temp = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(temp.path()).output()
    };
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs"]);
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: mounting a tmpfs needs root; the injected errors say the same");
        return;
    }
    let dir = Location::local(temp.path().join("out"));
    let mut told = Vec::new();
    let first = run(&dir, Existing::Refuse, &mut told);
    let grown = mount(&["mount", "-o", "remount,size=4m"]);
    let again = run(&dir, Existing::Resume, &mut Vec::new());
    let read = again.and_then(|segments| segments.read(0).map(|bytes| (segments.len(), bytes)));
    mount(&["umount", "-l"]).unwrap();
    let message = first.unwrap_err().to_string();
    assert!(message.contains("--resume"), "{message}");
    assert_eq!(told, ["s0.pickle"]);
    assert!(grown.is_ok_and(|output| output.status.success()));
    assert_eq!(read.unwrap(), (3, content(0)));
}
