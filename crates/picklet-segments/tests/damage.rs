//! Damage of every kind: always a clear error or the right answer, never a
//! wrong "ok"; the rest stays readable; repair says what was lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use picklet_segments::{
    EntryMeta, Error, Existing, Header, Input, Inspected, Kind, Location, Origin, ReadAt, Segments,
    SegmentsWriter, SplitOptions, Target, VerifyOptions, repair, split, verify,
};

fn pickle(n: u8) -> Vec<u8> {
    let mut bytes = b"\x80\x02](".to_vec();
    bytes.extend((0..n).flat_map(|i| [b'K', i]));
    bytes.extend(b"e.");
    bytes
}

/// Counts the items of what [`pickle`] makes.
fn inspect(data: &dyn ReadAt) -> Result<Inspected, String> {
    let mut bytes = vec![0; data.size().unwrap() as usize];
    data.read_exact_at(0, &mut bytes).unwrap();
    let body = bytes.strip_prefix(b"\x80\x02](").and_then(|b| b.strip_suffix(b"e."));
    let body = body.ok_or("it does not begin and end as a list does")?;
    Ok(Inspected { kind: Some(Kind::List), items: Some(body.len() as u64 / 2) })
}

fn header() -> Header {
    Header::new(Kind::List, "split x")
}

fn make(dir: &Path, existing: Existing) -> Segments {
    let mut writer = SegmentsWriter::create(&Location::local(dir), existing, header()).unwrap();
    for (index, name) in ["data-00000", "서울", "data-00002"].into_iter().enumerate() {
        if writer.done().iter().any(|entry| entry.index == index as u64) {
            continue;
        }
        let items = index as u8 + 2;
        let mut draft = writer.draft(name).unwrap();
        draft.write_all(&pickle(items)).unwrap();
        let meta =
            EntryMeta { index: index as u64, items: Some(items.into()), ..EntryMeta::default() };
        writer.commit(draft, meta).unwrap();
    }
    writer.finish().unwrap()
}

fn open(dir: &Path) -> Segments {
    Segments::open(&Location::local(dir)).unwrap()
}

fn deep() -> VerifyOptions<'static> {
    VerifyOptions { inspect: Some(&inspect), ..VerifyOptions::default() }
}

#[test]
fn a_damaged_segment_is_named_and_the_others_stay_readable() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    let file = temp.path().join("서울.pickle");
    let mut bytes = fs::read(&file).unwrap();
    bytes[5] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let segments = open(temp.path());
    let error = segments.read(1).unwrap_err();
    assert!(matches!(&error, Error::Damaged { path, .. } if *path == file), "{error}");
    assert_eq!(segments.read(2).unwrap(), pickle(4));

    fs::write(&file, &bytes[..7]).unwrap();
    assert!(segments.read(1).unwrap_err().to_string().contains("it has 7 bytes"));
    assert!(segments.open_segment(1).is_err());
    fs::remove_file(&file).unwrap();
    assert!(matches!(segments.read(1), Err(Error::Missing(_))));
}

#[test]
fn verify_finds_what_is_damaged_missing_and_extra() {
    let temp = tempfile::tempdir().unwrap();
    let segments = make(temp.path(), Existing::Refuse);
    let report = verify(&segments, &deep()).unwrap();
    assert!(report.is_good());
    assert_eq!((report.segments, report.bytes), (3, segments.bytes()));

    fs::write(temp.path().join("data-00000.pickle"), pickle(9)).unwrap();
    fs::remove_file(temp.path().join("서울.pickle")).unwrap();
    fs::write(temp.path().join("mine.pickle"), pickle(1)).unwrap();
    for threads in [1, 4] {
        let report = verify(&segments, &VerifyOptions { threads, ..deep() }).unwrap();
        assert!(!report.is_good());
        assert_eq!((report.damaged.len(), report.damaged[0].position), (1, 0));
        assert_eq!(report.missing[0].file, "서울.pickle");
        assert_eq!(report.extra, ["mine.pickle"]);
    }
}

#[test]
fn deep_verify_finds_a_segment_that_was_never_a_pickle() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    let mut writer = SegmentsWriter::create(&dir, Existing::Refuse, header()).unwrap();
    let mut draft = writer.draft("a").unwrap();
    draft.write_all(b"not a pickle").unwrap();
    writer.commit(draft, EntryMeta { index: 0, ..EntryMeta::default() }).unwrap();
    let mut draft = writer.draft("b").unwrap();
    draft.write_all(&pickle(3)).unwrap();
    writer.commit(draft, EntryMeta { index: 1, items: Some(4), ..EntryMeta::default() }).unwrap();
    let segments = writer.finish().unwrap();
    assert!(verify(&segments, &VerifyOptions::default()).unwrap().is_good());
    let reasons: Vec<String> =
        verify(&segments, &deep()).unwrap().damaged.into_iter().map(|d| d.reason).collect();
    assert!(reasons[0].contains("no whole pickle"), "{reasons:?}");
    assert!(reasons[1].contains("3 items, the manifest says 4"), "{reasons:?}");
}

#[test]
fn repair_sets_aside_what_is_damaged_and_resuming_makes_it_anew() {
    let temp = tempfile::tempdir().unwrap();
    let before = make(temp.path(), Existing::Refuse);
    fs::write(temp.path().join("서울.pickle"), "damaged").unwrap();
    let report = repair(&Location::local(temp.path()), &deep()).unwrap();
    assert!(!report.nothing_lost());
    let lost = &report.lost[0];
    assert_eq!((lost.entry.file.as_str(), lost.entry.first_item), ("서울.pickle", Some(2)));
    assert_eq!(fs::read(lost.quarantined.as_ref().unwrap()).unwrap(), b"damaged");
    let segments = open(temp.path());
    assert_eq!((segments.len(), segments.items()), (2, Some(6)));
    assert!(verify(&segments, &deep()).unwrap().is_good());
    assert_eq!(make(temp.path(), Existing::Resume).manifest(), before.manifest());
}

#[test]
fn repair_of_a_whole_directory_changes_no_byte_of_its_manifest() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    let manifest = temp.path().join("segments.json");
    let before = fs::read(&manifest).unwrap();
    let report = repair(&Location::local(temp.path()), &deep()).unwrap();
    assert!(report.nothing_lost() && report.taken_in.is_empty() && report.left_alone.is_empty());
    assert_eq!(fs::read(&manifest).unwrap(), before);
}

#[test]
fn repair_rebuilds_the_manifest_from_the_journal() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    let manifest = temp.path().join("segments.json");
    let before = fs::read(&manifest).unwrap();
    for damaged in [None, Some(&b"{"[..]), Some(&before[..before.len() / 2])] {
        match damaged {
            None => fs::remove_file(&manifest).unwrap(),
            Some(bytes) => fs::write(&manifest, bytes).unwrap(),
        }
        repair(&Location::local(temp.path()), &VerifyOptions::default()).unwrap();
        assert_eq!(fs::read(&manifest).unwrap(), before);
    }
}

#[test]
fn repair_rebuilds_the_manifest_from_the_files_alone() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    fs::remove_file(temp.path().join("segments.json")).unwrap();
    fs::remove_dir_all(temp.path().join(".picklet")).unwrap();
    fs::write(temp.path().join("broken.pickle"), "x").unwrap();
    let report = repair(&Location::local(temp.path()), &deep()).unwrap();
    assert_eq!(report.taken_in, ["data-00000.pickle", "data-00002.pickle", "서울.pickle"]);
    assert_eq!(report.lost[0].entry.file, "broken.pickle");
    let segments = open(temp.path());
    assert_eq!((segments.origin(), segments.items()), (Origin::Manifest, Some(9)));
    assert_eq!(segments.kind(), Kind::List);
}

#[test]
fn repair_with_a_damaged_manifest_and_a_damaged_journal_loses_no_segment() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    fs::write(temp.path().join("segments.json"), "x").unwrap();
    let journal = temp.path().join(".picklet/journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("서울.pickle\",\"index\":1", "서울.pickle\",\"index\":7", 1))
        .unwrap();
    let report = repair(&Location::local(temp.path()), &deep()).unwrap();
    assert!(report.journal_was_damaged && report.manifest_was.is_some());
    assert_eq!((report.taken_in.len(), report.lost.len()), (1, 0));
    assert_eq!(open(temp.path()).items(), Some(9));
}

#[test]
fn a_damaged_journal_is_never_continued() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    let journal = temp.path().join(".picklet/journal");
    let mut bytes = fs::read(&journal).unwrap();
    bytes[40] ^= 4;
    fs::write(&journal, bytes).unwrap();
    let dir = Location::local(temp.path());
    let error = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap_err();
    assert!(matches!(error, Error::BadJournal { line: 1, .. }), "{error}");
    assert!(matches!(SegmentsWriter::append(&dir), Err(Error::BadJournal { .. })));
    SegmentsWriter::create(&dir, Existing::Overwrite, header()).unwrap();
}

#[test]
fn a_last_journal_line_that_is_cut_short_is_as_if_it_was_never_begun() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    fs::remove_file(temp.path().join("segments.json")).unwrap();
    let journal = temp.path().join(".picklet/journal");
    let bytes = fs::read(&journal).unwrap();
    let last = bytes[..bytes.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    for cut in last..bytes.len() {
        fs::write(&journal, &bytes[..cut]).unwrap();
        assert_eq!(open(temp.path()).len(), 2, "cut at {cut}");
    }
    make(temp.path(), Existing::Resume);
    assert_eq!(open(temp.path()).items(), Some(9));
}

/// Every byte of every file, one after another, changed in one bit and then in
/// all of them; and every file cut at every length.
#[test]
fn no_flipped_or_missing_byte_of_a_small_directory_is_ever_a_wrong_ok() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    let original: BTreeMap<String, Vec<u8>> =
        ["data-00000.pickle", "서울.pickle", "data-00002.pickle", "segments.json"]
            .into_iter()
            .map(|file| (file.to_owned(), fs::read(temp.path().join(file)).unwrap()))
            .collect();
    let mut tried = 0;
    for (file, bytes) in &original {
        let path = temp.path().join(file);
        let flips = (0..bytes.len()).flat_map(|at| {
            [1 << (at % 8), 0xff].map(|bits| {
                let mut changed = bytes.clone();
                changed[at] ^= bits;
                changed
            })
        });
        let cuts = (0..bytes.len()).map(|at| bytes[..at].to_vec());
        for changed in flips.chain(cuts) {
            fs::write(&path, &changed).unwrap();
            not_a_wrong_ok(temp.path(), file == "segments.json");
            tried += 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(tried > 2000, "{tried}");
    not_damaged(temp.path());
}

fn not_damaged(dir: &Path) {
    let segments = open(dir);
    for index in 0..3 {
        assert_eq!(segments.read(index).unwrap(), pickle(index as u8 + 2));
    }
}

fn not_a_wrong_ok(dir: &Path, manifest_is_damaged: bool) {
    match Segments::open(&Location::local(dir)) {
        Err(e) => {
            assert!(manifest_is_damaged, "{e}");
            assert!(matches!(e, Error::BadManifest { .. } | Error::NewerManifest { .. }), "{e}");
            assert!(!e.to_string().contains('\n'));
        }
        Ok(segments) => {
            assert!(!manifest_is_damaged, "a damaged manifest was believed");
            let bad = (0..3).filter(|&index| segments.read(index).is_err()).count();
            assert_eq!(bad, 1);
            assert!(!verify(&segments, &VerifyOptions::default()).unwrap().is_good());
        }
    }
}

#[test]
fn a_manifest_that_names_files_elsewhere_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    make(temp.path(), Existing::Refuse);
    let manifest = open(temp.path()).manifest().clone();
    for file in ["../x.pickle", "/etc/passwd", "a/b.pickle", "x.txt", ".x.pickle"] {
        let mut bad = manifest.clone();
        bad.segments[0].file = file.to_owned();
        fs::write(temp.path().join("segments.json"), bad.to_bytes().unwrap()).unwrap();
        let error = Segments::open(&Location::local(temp.path())).unwrap_err();
        assert!(matches!(error, Error::BadManifest { .. }), "{error}");
    }
    let mut huge = manifest;
    huge.segments[1].bytes = u64::MAX;
    fs::write(temp.path().join("segments.json"), huge.to_bytes().unwrap()).unwrap();
    assert!(matches!(open(temp.path()).read(1), Err(Error::Damaged { .. })));
}

/// Every byte of the journal, of the lock and of the list of digests, one after another: with the
/// manifest there they change nothing that is read; without it no reader is shown anything wrong,
/// and going on ends as if nothing had been, or is refused.
#[test]
fn no_flipped_byte_of_picklets_own_files_is_ever_a_wrong_ok() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("d");
    let copy = temp.path().join("copy");
    let made = make(&dir, Existing::Refuse);
    let copy_anew = || {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir_all(copy.join(".picklet")).unwrap();
        for file in ["data-00000.pickle", "서울.pickle", "data-00002.pickle", "segments.json"] {
            fs::copy(dir.join(file), copy.join(file)).unwrap();
        }
        for file in ["journal", "lock"] {
            fs::copy(dir.join(".picklet").join(file), copy.join(".picklet").join(file)).unwrap();
        }
    };
    for file in [".picklet/journal", ".picklet/lock"] {
        let bytes = fs::read(dir.join(file)).unwrap();
        assert!(!bytes.is_empty());
        for at in 0..bytes.len() {
            copy_anew();
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(copy.join(file), &changed).unwrap();
            not_damaged(&copy);
            fs::remove_file(copy.join("segments.json")).unwrap();
            match Segments::open(&Location::local(&copy)) {
                Ok(shown) => {
                    for index in 0..shown.len() {
                        let name = &shown.entries()[index].file;
                        let whole = fs::read(dir.join(name)).unwrap();
                        assert_eq!(shown.read(index).unwrap(), whole, "{file} byte {at}");
                    }
                    // What is not shown is named.
                    let report = verify(&shown, &VerifyOptions::default()).unwrap();
                    assert_eq!(shown.len() + report.extra.len(), 3, "{file} byte {at}");
                }
                Err(Error::Unfinished(_)) => {}
                Err(other) => panic!("{file} byte {at}: {other}"),
            }
            match SegmentsWriter::create(&Location::local(&copy), Existing::Resume, header()) {
                Ok(writer) => drop(writer),
                Err(Error::BadJournal { .. } | Error::Foreign { .. }) => {
                    repair(&Location::local(&copy), &deep()).unwrap();
                    // Nothing tells the order any more; every segment is there, whole.
                    let repaired = open(&copy);
                    let mut held: Vec<_> = (0..3).map(|at| repaired.read(at).unwrap()).collect();
                    let mut wanted: Vec<_> = (0..3).map(|at| pickle(at + 2)).collect();
                    held.sort();
                    wanted.sort();
                    assert_eq!(held, wanted, "{file} byte {at}");
                    continue;
                }
                Err(other) => panic!("{file} byte {at}: {other}"),
            }
            assert_eq!(make(&copy, Existing::Resume).manifest(), made.manifest());
        }
    }
}

#[test]
fn repair_makes_the_indexes_of_items_fit_what_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let numbers = (0..400_000u32).flat_map(|n| {
        let [a, b, c, d] = n.to_le_bytes();
        [b'J', a, b, c, d]
    });
    let source: Vec<u8> = b"\x80\x04](".iter().copied().chain(numbers).chain(*b"e.").collect();
    let dir = Location::local(temp.path());
    let options = SplitOptions { target: Target::Items(250_000), ..SplitOptions::default() };
    split(&Input::bytes("numbers.pickle", source), &dir, &options).unwrap();
    let report = repair(&dir, &VerifyOptions::default()).unwrap();
    // The second is too small to be worth one.
    assert_eq!(report.indexed, 1);
    let folder = temp.path().join(".picklet/index");
    let index = folder.join("data-00000.pickle.index");
    let good = fs::read(&index).unwrap();
    fs::write(&index, "damaged").unwrap();
    fs::write(folder.join("gone.pickle.index"), &good).unwrap();
    repair(&dir, &VerifyOptions::default()).unwrap();
    assert!(fs::read(&index).unwrap() == good);
    assert!(!folder.join("gone.pickle.index").exists());
    // A segment that is lost takes its index along.
    fs::write(temp.path().join("data-00000.pickle"), "damaged").unwrap();
    let report = repair(&dir, &VerifyOptions::default()).unwrap();
    assert_eq!((report.lost.len(), report.indexed), (1, 0));
    assert!(!index.exists());
}

#[test]
fn what_was_appended_is_told_from_what_a_run_can_make_anew() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path());
    make(temp.path(), Existing::Refuse);
    let mut writer = SegmentsWriter::append(&dir).unwrap();
    let mut draft = writer.draft("more").unwrap();
    draft.write_all(&pickle(3)).unwrap();
    writer.commit(draft, EntryMeta { index: 3, items: Some(3), ..EntryMeta::default() }).unwrap();
    writer.finish().unwrap();
    fs::remove_file(temp.path().join("more.pickle")).unwrap();
    let report = repair(&dir, &deep()).unwrap();
    assert_eq!(report.way_back().len(), 1);
    assert!(report.way_back()[0].contains("(more.pickle): append it again"));
    fs::remove_file(temp.path().join("data-00002.pickle")).unwrap();
    let report = repair(&dir, &deep()).unwrap();
    assert!(report.way_back()[0].contains("run again what made this directory"));
}

#[test]
fn a_verify_or_repair_that_is_interrupted_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let segments = make(temp.path(), Existing::Refuse);
    fs::write(temp.path().join("서울.pickle"), "damaged").unwrap();
    let before = fs::read(temp.path().join("segments.json")).unwrap();
    for threads in [1, 3] {
        let options = VerifyOptions { threads, interrupt: &|| true, ..deep() };
        assert!(matches!(verify(&segments, &options), Err(Error::Interrupted)));
        let repaired = repair(&Location::local(temp.path()), &options);
        assert!(matches!(repaired, Err(Error::Interrupted)));
    }
    assert_eq!(fs::read(temp.path().join("segments.json")).unwrap(), before);
    assert_eq!(fs::read(temp.path().join("서울.pickle")).unwrap(), b"damaged");
}
