//! What every store promises, one function a promise. [`every_store_promises!`]
//! makes the tests of one store out of them.
//!
//! Each is given an empty place, and two handles on it where it speaks of two
//! processes.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::thread;

use picklet_segments::store::{EntryKind, Sequential, Store};
use picklet_segments::{Error, Location};

/// Makes a module of tests, one for each promise. `$place` gives an empty
/// place, or `None` where the store is not to be had on this machine.
#[macro_export]
macro_rules! every_store_promises {
    ($module:ident, $place:expr) => {
        $crate::every_store_promises!($module, $place,
            nothing_is_there_before_anything_was_made,
            a_segment_is_invisible_until_it_is_published_and_whole_then,
            a_segment_that_is_dropped_leaves_nothing,
            a_large_segment_reads_back_whole_and_in_parts,
            an_empty_segment_is_a_segment,
            publishing_replaces_what_had_the_name,
            a_missing_segment_is_an_error_that_names_it,
            removing_what_is_not_there_is_no_error,
            the_manifest_is_replaced_whole_and_can_be_taken_back,
            the_journal_keeps_what_was_added_in_order,
            a_new_session_goes_on_with_the_journal_of_the_one_before,
            the_journal_is_replaced_whole,
            a_second_writer_is_refused_and_told_who_writes,
            the_lock_ends_with_its_guard,
            readers_never_wait_for_a_writer,
            an_earlier_session_can_publish_nothing_any_more,
            an_earlier_session_cannot_finish_a_segment_that_it_had_begun,
            what_is_set_aside_is_no_longer_a_segment_and_is_not_overwritten,
            clearing_leaves_the_journal_and_the_lock,
            segments_written_at_once_do_not_mix,
            names_of_any_script_are_kept,
        );
    };
    ($module:ident, $place:expr, $($promise:ident,)*) => {
        mod $module {
            $(
                #[test]
                fn $promise() {
                    let place: Option<picklet_segments::Location> = $place;
                    if let Some(place) = place {
                        $crate::promises::$promise(&place);
                    }
                }
            )*
        }
    };
}

/// Bytes that differ at every place, and from those of another `seed`.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..length.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(length).collect()
}

fn publish(store: &dyn Store, session: &str, file: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut publication = store.create(session, file)?;
    publication.write_all(bytes).unwrap();
    publication.publish()
}

fn contents(store: &dyn Store, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Sequential::new(store.open(file).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn names(store: &dyn Store) -> Vec<String> {
    let listed = store.list().unwrap().unwrap_or_default();
    let mut names: Vec<String> =
        listed.into_iter().map(|found| found.name.into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn nothing_is_there_before_anything_was_made(place: &Location) {
    let store = place.store();
    assert_eq!(store.list().unwrap(), None);
    assert_eq!(store.read_manifest().unwrap(), None);
    assert_eq!(store.read_journal().unwrap(), None);
    assert_eq!(store.size("a.pickle").unwrap(), None);
}

pub fn a_segment_is_invisible_until_it_is_published_and_whole_then(place: &Location) {
    let (store, reader) = (place.store(), place.store());
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    let mut publication = store.create("one", "a.pickle").unwrap();
    for piece in bytes(1, 100_000).chunks(977) {
        publication.write_all(piece).unwrap();
        publication.flush().unwrap();
    }
    assert_eq!(reader.size("a.pickle").unwrap(), None);
    assert!(names(&*reader).is_empty());
    publication.publish().unwrap();
    assert_eq!(reader.size("a.pickle").unwrap(), Some(100_000));
    assert_eq!(names(&*reader), ["a.pickle"]);
    assert_eq!(contents(&*reader, "a.pickle"), bytes(1, 100_000));
    let found = reader.list().unwrap().unwrap().remove(0);
    assert_eq!((found.kind, found.bytes), (EntryKind::File, 100_000));
}

pub fn a_segment_that_is_dropped_leaves_nothing(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    for length in [10, 20 << 20] {
        let mut publication = store.create("one", "a.pickle").unwrap();
        publication.write_all(&bytes(1, length)).unwrap();
        drop(publication);
        assert!(names(&*store).is_empty());
    }
}

pub fn a_large_segment_reads_back_whole_and_in_parts(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    let all = bytes(7, (35 << 20) + 12_345);
    publish(&*store, "one", "large.pickle", &all).unwrap();
    assert_eq!(store.size("large.pickle").unwrap(), Some(all.len() as u64));
    let file = store.open("large.pickle").unwrap();
    assert_eq!(file.size().unwrap(), all.len() as u64);
    let mut whole = vec![0; all.len()];
    file.read_exact_at(0, &mut whole).unwrap();
    assert!(whole == all);
    for (offset, length) in [(0, 1), (all.len() - 1, 1), (9 << 20, 100_000), (3, 5 << 20)] {
        let mut part = vec![0; length];
        file.read_exact_at(offset as u64, &mut part).unwrap();
        assert!(part == all[offset..offset + length], "{offset} {length}");
    }
    let mut beyond = [0; 4];
    assert_eq!(file.read_at(all.len() as u64, &mut beyond).unwrap(), 0);
    assert_eq!(file.read_at(u64::MAX, &mut beyond).unwrap(), 0);
    assert!(contents(&*store, "large.pickle") == all);
}

pub fn an_empty_segment_is_a_segment(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    publish(&*store, "one", "empty.pickle", &[]).unwrap();
    assert_eq!(store.size("empty.pickle").unwrap(), Some(0));
    assert!(contents(&*store, "empty.pickle").is_empty());
}

pub fn publishing_replaces_what_had_the_name(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    for (seed, length) in [(1, 50), (2, 40), (3, 18 << 20), (4, 30)] {
        publish(&*store, "one", "a.pickle", &bytes(seed, length)).unwrap();
        assert!(contents(&*store, "a.pickle") == bytes(seed, length));
    }
    assert_eq!(names(&*store), ["a.pickle"]);
}

pub fn a_missing_segment_is_an_error_that_names_it(place: &Location) {
    let store = place.store();
    let Err(error) = store.open("gone.pickle") else { panic!("it is there") };
    assert!(matches!(error, Error::Missing(_)), "{error:?}");
    assert!(error.to_string().contains("gone.pickle"), "{error}");
}

pub fn removing_what_is_not_there_is_no_error(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    store.remove("gone.pickle").unwrap();
    publish(&*store, "one", "a.pickle", b"x").unwrap();
    store.remove("a.pickle").unwrap();
    store.sync().unwrap();
    assert!(names(&*store).is_empty());
}

pub fn the_manifest_is_replaced_whole_and_can_be_taken_back(place: &Location) {
    let (store, reader) = (place.store(), place.store());
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    for text in [&b"first"[..], b"the second one", b"3"] {
        store.replace_manifest(text).unwrap();
        assert_eq!(reader.read_manifest().unwrap().as_deref(), Some(text));
    }
    for _ in 0..2 {
        store.remove_manifest().unwrap();
        assert_eq!(reader.read_manifest().unwrap(), None);
        assert!(names(&*reader).is_empty());
    }
    store.replace_manifest(b"again").unwrap();
    assert_eq!(reader.read_manifest().unwrap().as_deref(), Some(&b"again"[..]));
}

pub fn the_journal_keeps_what_was_added_in_order(place: &Location) {
    let (store, reader) = (place.store(), place.store());
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    store.replace_journal(b"0\n").unwrap();
    let mut all = b"0\n".to_vec();
    for number in 1..40 {
        let line = format!("{number}\n");
        store.append_journal(line.as_bytes()).unwrap();
        all.extend_from_slice(line.as_bytes());
    }
    assert_eq!(reader.read_journal().unwrap(), Some(all));
}

pub fn a_new_session_goes_on_with_the_journal_of_the_one_before(place: &Location) {
    let first = place.store();
    let guard = first.lock().unwrap();
    first.begin_session("one").unwrap();
    first.replace_journal(b"a\n").unwrap();
    first.append_journal(b"b\n").unwrap();
    drop((guard, first));
    for session in ["two", "three"] {
        let next = place.store();
        let _guard = next.lock().unwrap();
        next.begin_session(session).unwrap();
        assert_eq!(next.read_journal().unwrap().as_deref(), Some(&b"a\nb\n"[..]));
    }
    let last = place.store();
    let _guard = last.lock().unwrap();
    last.begin_session("four").unwrap();
    last.replace_journal(b"c\n").unwrap();
    last.append_journal(b"d\n").unwrap();
    assert_eq!(last.read_journal().unwrap().as_deref(), Some(&b"c\nd\n"[..]));
}

pub fn the_journal_is_replaced_whole(place: &Location) {
    let (store, reader) = (place.store(), place.store());
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    for text in [&b"a longer one\n"[..], b"b\n"] {
        store.replace_journal(text).unwrap();
        assert_eq!(reader.read_journal().unwrap().as_deref(), Some(text));
        store.append_journal(b"more\n").unwrap();
    }
    assert_eq!(reader.read_journal().unwrap().as_deref(), Some(&b"b\nmore\n"[..]));
}

pub fn a_second_writer_is_refused_and_told_who_writes(place: &Location) {
    let (first, second) = (place.store(), place.store());
    let _guard = first.lock().unwrap();
    match second.lock() {
        Err(Error::Locked { holder, .. }) => {
            assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two have the lock"),
    }
}

pub fn the_lock_ends_with_its_guard(place: &Location) {
    for _ in 0..3 {
        drop(place.store().lock().unwrap());
    }
}

pub fn readers_never_wait_for_a_writer(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    store.replace_journal(b"a\n").unwrap();
    let _begun = store.create("one", "b.pickle").unwrap();
    let reader = place.store();
    assert_eq!(reader.list().unwrap().unwrap_or_default(), []);
    assert_eq!(reader.read_manifest().unwrap(), None);
    assert_eq!(reader.read_journal().unwrap().as_deref(), Some(&b"a\n"[..]));
}

pub fn an_earlier_session_can_publish_nothing_any_more(place: &Location) {
    let (store, worker) = (place.store(), place.store());
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    publish(&*worker, "one", "a.pickle", b"early").unwrap();
    store.begin_session("two").unwrap();
    let late = publish(&*worker, "one", "b.pickle", b"late");
    assert!(matches!(late, Err(Error::TakenOver(_))), "{late:?}");
    publish(&*worker, "two", "c.pickle", b"new").unwrap();
    assert_eq!(names(&*store), ["a.pickle", "c.pickle"]);
}

pub fn an_earlier_session_cannot_finish_a_segment_that_it_had_begun(place: &Location) {
    let (store, worker) = (place.store(), place.store());
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    for length in [40, 20 << 20] {
        let mut begun = worker.create("one", "a.pickle").unwrap();
        begun.write_all(&bytes(1, length)).unwrap();
        store.begin_session("two").unwrap();
        publish(&*store, "two", "a.pickle", b"of the second session").unwrap();
        let late = begun.publish();
        assert!(matches!(late, Err(Error::TakenOver(_))), "{late:?}");
        assert_eq!(contents(&*store, "a.pickle"), b"of the second session");
        store.remove("a.pickle").unwrap();
        store.begin_session("one").unwrap();
    }
}

pub fn what_is_set_aside_is_no_longer_a_segment_and_is_not_overwritten(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    assert!(store.set_aside().unwrap().is_empty());
    let mut asides = Vec::new();
    for seed in 0..3 {
        publish(&*store, "one", "bad.pickle", &bytes(seed, 100)).unwrap();
        asides.push(store.quarantine("bad.pickle").unwrap());
        assert_eq!(store.size("bad.pickle").unwrap(), None);
    }
    asides.sort();
    asides.dedup();
    assert_eq!(asides.len(), 3, "{asides:?}");
    assert!(names(&*store).is_empty());
    store.write_note("bad.json", b"{}").unwrap();
    let mut listed = place.store().set_aside().unwrap();
    listed.sort();
    let file = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut expected: Vec<String> = asides.iter().map(file).collect();
    expected.push("bad.json".into());
    expected.sort();
    assert_eq!(listed, expected);
}

pub fn clearing_leaves_the_journal_and_the_lock(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    store.replace_journal(b"a\n").unwrap();
    publish(&*store, "one", "bad.pickle", b"x").unwrap();
    let aside = store.quarantine("bad.pickle").unwrap();
    store.clear_private().unwrap();
    store.begin_session("one").unwrap();
    assert_eq!(store.read_journal().unwrap().as_deref(), Some(&b"a\n"[..]));
    assert!(matches!(place.store().lock(), Err(Error::Locked { .. })));
    // Its place is free again.
    publish(&*store, "one", "bad.pickle", b"y").unwrap();
    assert_eq!(store.quarantine("bad.pickle").unwrap(), aside);
}

pub fn segments_written_at_once_do_not_mix(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    thread::scope(|scope| {
        for number in 0..4u64 {
            scope.spawn(move || {
                let worker = place.store();
                for round in 0..3u64 {
                    let file = format!("{number}-{round}.pickle");
                    let all = bytes(number * 10 + round, 3000 * (round as usize + 1));
                    publish(&*worker, "one", &file, &all).unwrap();
                }
            });
        }
    });
    assert_eq!(names(&*store).len(), 12);
    for number in 0..4 {
        for round in 0..3 {
            let all = bytes(number * 10 + round, 3000 * (round as usize + 1));
            assert!(contents(&*store, &format!("{number}-{round}.pickle")) == all);
        }
    }
}

pub fn names_of_any_script_are_kept(place: &Location) {
    let store = place.store();
    let _guard = store.lock().unwrap();
    store.begin_session("one").unwrap();
    let mut files =
        ["부분 1.pickle", "a+b=c&d.pickle", "50% #1?.pickle", "~é{x}[y].pickle", "A.pickle"];
    for (seed, file) in files.iter().enumerate() {
        publish(&*store, "one", file, &bytes(seed as u64, 50)).unwrap();
    }
    for (seed, file) in files.iter().enumerate() {
        assert_eq!(contents(&*store, file), bytes(seed as u64, 50), "{file}");
    }
    files.sort_unstable();
    assert_eq!(names(&*store), files);
}
