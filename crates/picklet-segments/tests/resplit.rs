//! Cutting segments anew. That items keep their values and their sharing is tested with splitting,
//! on random graphs.

mod split_support;

use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, Segments, SegmentsWriter, SplitOptions,
    Target, resplit,
};
use split_support::{cut, folder, python, run_python};
use std::io::Write as _;
use std::path::Path;

fn anew(
    segments: &Segments,
    out: &Path,
    target: Target,
) -> picklet_segments::Result<picklet_segments::SplitReport> {
    let options = SplitOptions { target, ..SplitOptions::default() };
    resplit(segments, &Location::local(out), &options)
}

/// A list of `count` ints, in batches of three.
fn ints(from: u32, count: u32) -> Vec<u8> {
    let mut pickle = b"\x80\x04]".to_vec();
    for at in (from..from + count).step_by(3) {
        pickle.push(b'(');
        for number in at..(at + 3).min(from + count) {
            pickle.push(b'J');
            pickle.extend_from_slice(&number.to_le_bytes());
        }
        pickle.push(b'e');
    }
    pickle.push(b'.');
    pickle
}

/// A segments directory of lists with so many ints each.
fn lists(folder: &Path, counts: &[u32]) -> Segments {
    let header = Header::new(Kind::List, "test");
    let mut writer =
        SegmentsWriter::create(&Location::local(folder), Existing::Refuse, header).unwrap();
    let mut first = 0;
    for (index, count) in counts.iter().enumerate() {
        let mut draft = writer.draft(&format!("data-{index:05}")).unwrap();
        draft.write_all(&ints(first, *count)).unwrap();
        let items = Some(u64::from(*count));
        writer
            .commit(draft, EntryMeta { index: index as u64, items, ..EntryMeta::default() })
            .unwrap();
        first += count;
    }
    writer.finish().unwrap()
}

fn counts(segments: &Segments) -> Vec<u64> {
    segments.entries().iter().map(|entry| entry.items.unwrap()).collect()
}

#[test]
fn counts_sizes_and_parts_hold_over_the_old_segments_ends() {
    let folder = folder();
    let old = lists(&folder.path().join("old"), &[10, 0, 1, 25, 4, 0]);
    for (name, target, want) in [
        ("seven", Target::Items(7), vec![7, 7, 7, 7, 7, 5]),
        ("ten", Target::Items(10), vec![10, 10, 10, 10]),
        ("all", Target::Items(1000), vec![40]),
        ("one", Target::Items(1), vec![1; 40]),
        ("whole", Target::Bytes(1), vec![1; 40]),
        ("two", Target::Parts(2), vec![20, 20]),
    ] {
        let report = anew(&old, &folder.path().join(name), target).unwrap();
        assert_eq!(counts(&report.segments), want, "{name}");
        assert_eq!((report.items, report.segments.items()), (40, Some(40)));
    }
    let Some(python) = python() else { return };
    run_python(
        &python,
        folder.path(),
        "for name in 'seven', 'ten', 'all', 'one', 'whole', 'two':
    assert [n for part in segments(name) for n in part] == list(range(40)), name",
    );
}

#[test]
fn nothing_but_empty_segments_gives_one_empty_segment() {
    let folder = folder();
    let old = lists(&folder.path().join("old"), &[0, 0, 0]);
    let report = anew(&old, &folder.path().join("new"), Target::Items(3)).unwrap();
    assert_eq!(counts(&report.segments), [0]);
    assert_eq!(report.segments.read(0).unwrap(), b"\x80\x04].");
}

#[test]
fn segments_that_are_objects_become_lists_of_them() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "os.mkdir(f'{folder}/objects')
for i in range(7): pickle.dump({'n': i, 'again': ['n', i]}, open(f'{folder}/objects/{i}.pickle', 'wb'), i % 6)",
    );
    let old = Segments::open(&Location::local(folder.path().join("objects"))).unwrap();
    assert_eq!(old.kind(), Kind::Objects);
    let report = anew(&old, &folder.path().join("lists"), Target::Items(3)).unwrap();
    assert_eq!((report.segments.kind(), counts(&report.segments)), (Kind::List, vec![3, 3, 1]));
    run_python(
        &python,
        folder.path(),
        "assert list(segments('lists')) == [[{'n': i, 'again': ['n', i]} for i in r] for r in (range(3), range(3, 6), range(6, 7))]",
    );
}

#[test]
fn an_interrupted_run_goes_on_and_a_changed_source_is_another_run() {
    let folder = folder();
    let old = lists(&folder.path().join("old"), &[50, 50]);
    let out = Location::local(folder.path().join("new"));
    let third = folder.path().join("new/data-00002.pickle");
    let interrupt = || third.exists();
    let target = Target::Items(9);
    let options = SplitOptions { target, interrupt: &interrupt, ..SplitOptions::default() };
    assert!(matches!(resplit(&old, &out, &options), Err(Error::Interrupted)));
    let existing = Existing::Resume;
    let options = SplitOptions { target, existing, ..SplitOptions::default() };
    let report = resplit(&old, &out, &options).unwrap();
    assert!(report.resumed > 0 && report.segments.len() == 12, "{report:?}");
    assert_eq!(resplit(&old, &out, &options).unwrap().resumed, 12);
    let other = lists(&folder.path().join("other"), &[50, 51]);
    assert!(matches!(resplit(&other, &out, &options), Err(Error::OtherRun { .. })));
}

#[test]
fn what_cannot_be_cut_anew_is_refused_and_says_why() {
    let folder = folder();
    let old = lists(&folder.path().join("old"), &[5, 5]);
    let options = SplitOptions { existing: Existing::Overwrite, ..SplitOptions::default() };
    let same = folder.path().join("old/../old");
    let said = resplit(&old, &Location::local(same), &options).unwrap_err().to_string();
    assert!(said.contains("choose another directory"), "{said}");
    assert_eq!(Segments::open(old.location()).unwrap().len(), 2);

    std::fs::write(folder.path().join("old/data-00001.pickle"), &ints(5, 5)[..20]).unwrap();
    let said = anew(&old, &folder.path().join("new"), Target::Items(3)).unwrap_err().to_string();
    assert!(said.contains("data-00001.pickle") && said.contains("manifest says"), "{said}");

    let mut cut_off = ints(5, 5);
    let end = cut_off.len();
    cut_off[end - 3..].fill(0xff);
    std::fs::write(folder.path().join("old/data-00001.pickle"), cut_off).unwrap();
    let said = anew(&old, &folder.path().join("new2"), Target::Items(3)).unwrap_err().to_string();
    assert!(said.contains("data-00001.pickle: byte"), "{said}");
    assert!(!folder.path().join("new2/segments.json").exists());
}

#[test]
fn a_tuple_that_begins_like_a_list_is_cut_as_a_tuple() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "pickle.dump(tuple([[1, 2, 3], 'two']), open(f'{folder}/pair.pickle', 'wb'), 4)",
    );
    let report = cut(folder.path(), "pair", Target::Items(2)).unwrap();
    assert_eq!(report.segments.kind(), Kind::Tuple);
    let report = anew(&report.segments, &folder.path().join("ones"), Target::Items(1)).unwrap();
    assert_eq!((report.segments.kind(), counts(&report.segments)), (Kind::Tuple, vec![1, 1]));
    run_python(&python, folder.path(), "assert list(segments('ones')) == [([1, 2, 3],), ('two',)]");
}
