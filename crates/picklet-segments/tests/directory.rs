//! What a caller sees of a segments directory on a real file system.

use std::fs;
use std::io::Write;
use std::path::Path;

use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, Origin, Segments, SegmentsWriter, Xxh3,
};

/// A list of `n` small ints as a pickle of protocol 2.
fn pickle(n: u8) -> Vec<u8> {
    let mut bytes = b"\x80\x02](".to_vec();
    bytes.extend((0..n).flat_map(|i| [b'K', i]));
    bytes.extend(b"e.");
    bytes
}

fn header() -> Header {
    Header::new(Kind::List, "split source.pickle count=3")
}

fn put(writer: &mut SegmentsWriter, name: &str, index: u64, items: u8) {
    let mut draft = writer.draft(name).unwrap();
    draft.write_all(&pickle(items)).unwrap();
    let meta = EntryMeta { index, items: Some(items.into()), ..EntryMeta::default() };
    writer.commit(draft, meta).unwrap();
}

/// Three numbered segments of 3, 4 and 5 items, finished.
fn three(dir: &Path) -> Segments {
    let mut writer =
        SegmentsWriter::create(&Location::local(dir), Existing::Refuse, header()).unwrap();
    for index in 0..3u8 {
        let name = picklet_segments::segment_file("data", index.into(), 5);
        put(&mut writer, &name, index.into(), 3 + index);
    }
    writer.finish().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("deep/er/out");
    let written = three(&dir);
    let read = Segments::open(&Location::local(&dir)).unwrap();
    assert_eq!(read.manifest(), written.manifest());
    assert_eq!(read.origin(), Origin::Manifest);
    assert_eq!((read.len(), read.items(), read.kind()), (3, Some(12), Kind::List));
    assert_eq!(read.read(1).unwrap(), pickle(4));
    assert_eq!(read.entries()[1].xxh3, Some(Xxh3::of(&pickle(4))));
    assert_eq!(read.locate_item(0), Some((0, 0)));
    assert_eq!(read.locate_item(3), Some((1, 0)));
    assert_eq!(read.locate_item(11), Some((2, 4)));
    assert_eq!(read.locate_item(12), None);
    assert_eq!(
        names(&dir),
        [
            ".picklet",
            "data-00000.pickle",
            "data-00001.pickle",
            "data-00002.pickle",
            "segments.json"
        ]
    );
    assert!(matches!(read.read(3), Err(Error::NoSuchSegment { len: 3, .. })));
}

#[test]
fn an_interrupted_run_is_resumed_and_keeps_what_was_done() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path().join("out"));
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    put(&mut writer, "data-00000", 0, 3);
    drop(writer);
    assert_eq!(Segments::open(&dir).unwrap().origin(), Origin::Journal);
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    assert_eq!(writer.done().len(), 1);
    put(&mut writer, "data-00001", 1, 4);
    assert_eq!(writer.finish().unwrap().items(), Some(7));
    let again = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    assert_eq!(again.done().len(), 2);
}

#[test]
fn a_directory_that_is_not_empty_is_refused_with_the_way_out() {
    let temp = tempfile::tempdir().unwrap();
    three(temp.path());
    let error = SegmentsWriter::create(&Location::local(temp.path()), Existing::Refuse, header())
        .unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }));
    let message = error.to_string();
    assert!(message.contains("--resume") && message.contains("--overwrite"), "{message}");
}

#[test]
fn resume_and_overwrite_work_on_a_directory_that_is_not_there_yet() {
    for existing in [Existing::Resume, Existing::Overwrite] {
        let temp = tempfile::tempdir().unwrap();
        let dir = Location::local(temp.path().join("a/b"));
        let mut writer = SegmentsWriter::create(&dir, existing, header()).unwrap();
        put(&mut writer, "segment1", 0, 3);
        assert_eq!(writer.finish().unwrap().entries()[0].file, "segment1.pickle");
    }
}

#[test]
fn another_run_is_not_continued() {
    let temp = tempfile::tempdir().unwrap();
    three(temp.path());
    let other = Header::new(Kind::List, "split other.pickle count=9");
    let error =
        SegmentsWriter::create(&Location::local(temp.path()), Existing::Resume, other).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("split source.pickle count=3"), "{message}");
    assert!(message.contains("split other.pickle count=9"), "{message}");
    assert_eq!(Segments::open(&Location::local(temp.path())).unwrap().len(), 3);
}

#[test]
fn overwrite_removes_what_picklet_made_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    three(temp.path());
    fs::write(temp.path().join("notes.txt"), "mine").unwrap();
    let error = SegmentsWriter::create(&dir, Existing::Overwrite, header()).unwrap_err();
    assert!(matches!(&error, Error::Foreign { file, .. } if file == "notes.txt"), "{error}");
    assert_eq!(Segments::open(&dir).unwrap().read(2).unwrap(), pickle(5));
    fs::remove_file(temp.path().join("notes.txt")).unwrap();
    fs::create_dir_all(temp.path().join(".picklet/quarantine")).unwrap();
    fs::write(temp.path().join(".picklet/quarantine/x"), "y").unwrap();
    let mut writer = SegmentsWriter::create(&dir, Existing::Overwrite, header()).unwrap();
    put(&mut writer, "only", 0, 2);
    writer.finish().unwrap();
    assert_eq!(names(temp.path()), [".picklet", "only.pickle", "segments.json"]);
    assert!(!temp.path().join(".picklet/quarantine").exists());
}

#[test]
fn overwrite_still_knows_its_files_when_picklets_folder_was_deleted() {
    let temp = tempfile::tempdir().unwrap();
    three(temp.path());
    fs::remove_dir_all(temp.path().join(".picklet")).unwrap();
    let dir = Location::local(temp.path());
    let resumed = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    assert_eq!(resumed.done().len(), 3);
    drop(resumed);
    fs::remove_dir_all(temp.path().join(".picklet")).unwrap();
    SegmentsWriter::create(&dir, Existing::Overwrite, header()).unwrap();
    assert_eq!(names(temp.path()), [".picklet"]);
}

#[test]
fn a_directory_of_foreign_files_is_neither_resumed_nor_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("data-00000.pickle"), pickle(1)).unwrap();
    for existing in [Existing::Resume, Existing::Overwrite] {
        let error =
            SegmentsWriter::create(&Location::local(temp.path()), existing, header()).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    }
    assert_eq!(names(temp.path()), ["data-00000.pickle"], "nothing was made there");
}

#[test]
fn a_foreign_file_in_the_way_of_a_segment_is_not_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    drop(SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap());
    fs::write(temp.path().join("data-00001.pickle"), "mine").unwrap();
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    put(&mut writer, "data-00000", 0, 1);
    let error = writer.draft("data-00001").unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!(fs::read(temp.path().join("data-00001.pickle")).unwrap(), b"mine");
}

#[test]
fn a_kept_segment_whose_file_is_gone_or_short_is_made_anew() {
    let temp = tempfile::tempdir().unwrap();
    three(temp.path());
    fs::remove_file(temp.path().join("data-00000.pickle")).unwrap();
    fs::write(temp.path().join("data-00001.pickle"), "short").unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    let kept: Vec<u64> = writer.done().iter().map(|entry| entry.index).collect();
    assert_eq!(kept, [2]);
    put(&mut writer, "data-00000", 0, 3);
    put(&mut writer, "data-00001", 1, 4);
    let segments = writer.finish().unwrap();
    assert_eq!((segments.items(), segments.read(1).unwrap()), (Some(12), pickle(4)));
}

#[test]
fn a_second_writer_is_told_who_the_first_is_and_readers_are_not_kept_waiting() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut first = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    put(&mut first, "data-00000", 0, 1);
    for existing in [Existing::Refuse, Existing::Resume, Existing::Overwrite] {
        let error = SegmentsWriter::create(&dir, existing, header()).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(matches!(&error, Error::Locked { holder, .. } if holder.contains(&pid)), "{error}");
    }
    assert_eq!(Segments::open(&dir).unwrap().read(0).unwrap(), pickle(1));
    first.finish().unwrap();
    SegmentsWriter::append(&dir).unwrap();
}

#[test]
fn a_child_process_does_not_inherit_the_lock() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(writer);
    SegmentsWriter::create(&dir, Existing::Resume, header()).expect("the child holds no lock");
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn segments_are_added_after_the_last_and_the_header_stays() {
    let temp = tempfile::tempdir().unwrap();
    three(temp.path());
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::append(&dir).unwrap();
    let next = writer.next_index();
    put(&mut writer, &picklet_segments::segment_file("data", next, 5), next, 9);
    let segments = writer.finish().unwrap();
    assert_eq!((segments.len(), segments.items()), (4, Some(21)));
    assert_eq!(segments.manifest().header, header());
    assert_eq!(segments.entries()[3].first_item, Some(12));
}

#[test]
fn an_interrupted_run_is_not_added_to() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    put(&mut writer, "data-00000", 0, 1);
    drop(writer);
    assert!(matches!(SegmentsWriter::append(&dir), Err(Error::Unfinished(_))));
}

#[test]
fn a_process_that_outlived_its_writer_publishes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut first = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    first.announce(&["a", "b"]).unwrap();
    let orphan = first.publisher();
    let mut begun = orphan.draft("a").unwrap();
    begun.write_all(b"old").unwrap();
    drop(first);
    let mut second = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    put(&mut second, "a", 0, 2);
    assert!(matches!(begun.publish(), Err(Error::TakenOver(_))));
    assert!(matches!(orphan.draft("b"), Err(Error::TakenOver(_))));
    let segments = second.finish().unwrap();
    assert_eq!(segments.read(0).unwrap(), pickle(2));
}

#[test]
fn a_worker_publishes_and_its_receipt_is_adopted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    writer.announce(&["segment1"]).unwrap();
    let worker =
        picklet_segments::Publisher::new(&dir, writer.publisher().session(), false).unwrap();
    let mut draft = worker.draft("segment1").unwrap();
    draft.write_all(&pickle(2)).unwrap();
    let receipt = draft.publish().unwrap();
    let over_the_pipe = serde_json::to_string(&receipt).unwrap();
    let receipt = serde_json::from_str(&over_the_pipe).unwrap();
    writer.adopt(receipt, EntryMeta { items: Some(2), ..EntryMeta::default() }).unwrap();
    assert_eq!(writer.finish().unwrap().read(0).unwrap(), pickle(2));
}

#[test]
fn a_receipt_that_lies_is_not_adopted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    let receipt = |file: &str| picklet_segments::Receipt {
        file: file.to_owned(),
        bytes: 3,
        xxh3: Xxh3::of(b"abc"),
        sha256: None,
    };
    let adopt =
        |writer: &mut SegmentsWriter, file| writer.adopt(receipt(file), EntryMeta::default());
    assert!(matches!(adopt(&mut writer, "a.pickle"), Err(Error::Usage(_))));
    writer.announce(&["a"]).unwrap();
    assert!(matches!(adopt(&mut writer, "a.pickle"), Err(Error::Missing(_))));
    fs::write(temp.path().join("a.pickle"), "ab").unwrap();
    assert!(matches!(adopt(&mut writer, "a.pickle"), Err(Error::Damaged { .. })));
}

#[test]
fn two_segments_of_one_name_or_one_index_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    put(&mut writer, "가", 0, 1);
    assert!(matches!(writer.draft("\u{1100}\u{1161}"), Err(Error::SameName { .. })));
    assert!(matches!(writer.draft("가"), Err(Error::SameName { .. })));
    let draft = writer.draft("other").unwrap();
    assert!(matches!(writer.commit(draft, EntryMeta::default()), Err(Error::Usage(_))));
    for bad in ["../x", "a/b", "", "segments.json", ".hidden"] {
        assert!(matches!(writer.draft(bad), Err(Error::BadName { .. })), "{bad}");
    }
}

#[test]
fn a_draft_that_is_dropped_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    let mut draft = writer.draft("data-00000").unwrap();
    draft.write_all(b"half").unwrap();
    drop(draft);
    assert_eq!(names(temp.path()), [".picklet"]);
    let sessions = fs::read_dir(temp.path().join(".picklet/tmp")).unwrap();
    for session in sessions {
        assert_eq!(fs::read_dir(session.unwrap().path()).unwrap().count(), 0);
    }
}

#[test]
fn without_manifest_and_journal_the_pickles_are_read_in_natural_order() {
    let temp = tempfile::tempdir().unwrap();
    for (name, n) in [("d-10", 1), ("d-9", 2), ("서울", 3)] {
        fs::write(temp.path().join(format!("{name}.pickle")), pickle(n)).unwrap();
    }
    fs::write(temp.path().join("notes.txt"), "x").unwrap();
    let segments = Segments::open(&Location::local(temp.path())).unwrap();
    let files: Vec<_> = segments.entries().iter().map(|entry| entry.file.as_str()).collect();
    assert_eq!(files, ["d-9.pickle", "d-10.pickle", "서울.pickle"]);
    assert_eq!((segments.origin(), segments.items()), (Origin::Files, None));
    assert_eq!(segments.read(2).unwrap(), pickle(3));
}

#[test]
fn what_is_no_segments_directory_is_told_apart() {
    let temp = tempfile::tempdir().unwrap();
    let open = |path: &Path| Segments::open(&Location::local(path)).unwrap_err();
    assert!(matches!(open(temp.path()), Error::NoSegments(_)));
    assert!(matches!(open(&temp.path().join("x")), Error::NoDirectory(_)));
    let file = temp.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(open(&file), Error::NotADirectory(_)));
    let made = SegmentsWriter::create(&Location::local(&file), Existing::Resume, header());
    assert!(matches!(made, Err(Error::NotADirectory(_))));
}

#[cfg(target_os = "linux")]
#[test]
fn directories_of_any_name_work() {
    use std::os::unix::ffi::OsStrExt;
    let temp = tempfile::tempdir().unwrap();
    for name in [&b"\xff\xfe"[..], "데이터 폴더".as_bytes(), b"new\nline"] {
        let dir = temp.path().join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(three(&dir).len(), 3);
        let segments = Segments::open(&Location::local(&dir)).unwrap();
        assert_eq!(segments.read(0).unwrap(), pickle(3));
        let message = segments.read(7).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn sha256_is_what_sha256sum_prints() {
    let temp = tempfile::tempdir().unwrap();
    let header = Header { sha256: true, ..header() };
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header).unwrap();
    let mut draft = writer.draft("a").unwrap();
    draft.write_all(b"abc").unwrap();
    let entry = writer.commit(draft, EntryMeta::default()).unwrap();
    let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(entry.sha256.as_deref(), Some(known));
}

#[test]
fn names_that_came_to_nothing_leave_no_old_files_behind() {
    let temp = tempfile::tempdir().unwrap();
    three(temp.path());
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    writer.discard("data-00001.pickle").unwrap();
    assert!(!temp.path().join("segments.json").exists(), "it named what may now change");
    let segments = writer.finish().unwrap();
    let indexes: Vec<_> = segments.entries().iter().map(|entry| entry.index).collect();
    assert_eq!((indexes, segments.items()), (vec![0, 2], Some(8)));
    assert!(!temp.path().join("data-00001.pickle").exists());
}
