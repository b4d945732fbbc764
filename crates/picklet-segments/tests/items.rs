//! Reading items by their numbers, with stock pickle as the oracle.

use std::path::{Path, PathBuf};
use std::process::Command;

use picklet_segments::{
    Extracted, Input, ItemReader, Location, Shared, SplitOptions, Target, extract, split,
};

fn python() -> Option<String> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let works = Command::new(&python).args(["-c", "import pickle"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED: {python} does not run; set PICKLET_PYTHON to compare with stock pickle");
    None
}

fn run_python(python: &str, folder: &Path, code: &str) {
    let code = format!("import pickle, os, pickletools\nfolder = {folder:?}\n{code}");
    let output = Command::new(python).arg("-c").arg(code).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "pickle")).collect();
    all.sort();
    all
}

const MAKE: &str = "
from collections import *
shared = ['shared', {'k': 1}]
items = [{'n': i, 's': shared, 't': (i, 'x' * (i % 70 if i % 500 else 40_000))} for i in range(2500)]
values = {'list': items, 'tuple': tuple(items), 'dict': {f'k{i}': v for i, v in enumerate(items)},
          'set': set(range(2500)), 'frozenset': frozenset(map(str, range(900))), 'deque': deque(items),
          'ordered': OrderedDict(enumerate(items)), 'pair': tuple(items[:2]), 'empty': [], 'no': (),
          'one': [items[0]], 'kilo': items[:1000], 'large': ['y' * 70_000, [], 'z' * 300_000] * 3}
for name, value in values.items():
    for protocol in range(6):
        pickle.dump(value, open(f'{folder}/{name}-{protocol}.pickle', 'wb'), protocol)
        data = pickletools.optimize(pickle.dumps(value, protocol))
        if protocol in (0, 2, 5): open(f'{folder}/{name}-o{protocol}.pickle', 'wb').write(data)
";

/// Ranges at, around and across the places where batches begin.
fn ranges(items: u64) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = (0..items).step_by(97).map(|at| (at, at + 1)).collect();
    all.extend([
        (0, 1),
        (1, 2),
        (0, 0),
        (5, 5),
        (0, 9999),
        (999, 1001),
        (999, 1000),
        (1000, 1001),
        (1000, 2000),
        (1001, 1500),
        (1234, 1300),
        (1999, 2001),
        (2499, 2500),
        (2400, 9999),
        (3, 4),
    ]);
    all.retain(|(from, to)| *from < items || from == to && *from <= items);
    all
}

#[test]
fn items_read_by_way_of_an_index_are_those_of_the_slice() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run_python(&python, folder.path(), MAKE);
    for source in sources(folder.path()) {
        let place = source.with_extension("index");
        let places = std::slice::from_ref(&place);
        let first = ItemReader::open(Input::file(&source).unwrap(), places).unwrap();
        assert!(place.exists(), "{}", source.display());
        let again = ItemReader::open(Input::file(&source).unwrap(), places).unwrap();
        assert_eq!(first.items(), again.items());
        std::fs::remove_file(&place).unwrap();
        for (from, to) in ranges(first.items()) {
            let Extracted::Items(bytes) = first.read(from..to).unwrap() else { panic!() };
            assert_eq!(again.read(from..to).unwrap(), Extracted::Items(bytes.clone()));
            std::fs::write(source.with_extension(format!("{from}-{to}")), bytes).unwrap();
        }
        let beyond = first.items();
        assert!(first.read(beyond..beyond + 1).unwrap_err().to_string().contains("no item"));
    }
    run_python(
        &python,
        folder.path(),
        "
from itertools import islice
wholes = {}
for name in sorted(os.listdir(folder)):
    stem, span = name.split('.')
    if stem not in wholes: wholes[stem] = pickle.load(open(f'{folder}/{stem}.pickle', 'rb'))
    if span == 'pickle': continue
    a, b = map(int, span.split('-'))
    whole = wholes[stem]
    part = pickle.load(open(f'{folder}/{name}', 'rb'))
    assert type(part) is type(whole), (name, type(part))
    if isinstance(whole, dict): assert list(part.items()) == list(whole.items())[a:b], name
    elif isinstance(whole, (set, frozenset)): assert len(part) == len(list(whole)[a:b]) and part <= whole, name
    else: assert list(part) == list(islice(whole, a, b)), name
    if stem.startswith('list') and b > a: assert all(i['s'] is part[0]['s'] for i in part)
assert len(wholes) == 13 * 9",
    );
}

#[test]
fn no_damage_of_an_index_gives_a_wrong_item() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run_python(
        &python,
        folder.path(),
        "pickle.dump([('item', i) for i in range(3000)], open(f'{folder}/a.pickle', 'wb'))",
    );
    let source = folder.path().join("a.pickle");
    let place = folder.path().join("a.index");
    let open = || {
        let places = std::slice::from_ref(&place);
        ItemReader::open(Input::file(&source).unwrap(), places).unwrap()
    };
    let right: Vec<Extracted> =
        [0u64, 1500, 2999].map(|item| open().read(item..item + 1).unwrap()).into();
    let whole = std::fs::read(&place).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&place, &damaged).unwrap();
        let reader = open();
        for (item, right) in [0u64, 1500, 2999].into_iter().zip(&right) {
            assert_eq!(&reader.read(item..item + 1).unwrap(), right, "byte {at}");
        }
        assert_eq!(std::fs::read(&place).unwrap(), whole, "byte {at}: not made anew");
    }
    for length in 0..whole.len() {
        std::fs::write(&place, &whole[..length]).unwrap();
        assert_eq!(open().read(1500..1501).unwrap(), right[1], "cut at {length}");
    }
    // Another pickle under the same name: the index is of no use for it.
    run_python(
        &python,
        folder.path(),
        "pickle.dump([('other', i) for i in range(3000)], open(f'{folder}/a.pickle', 'wb'))",
    );
    assert!(open().is_current().unwrap());
    let Extracted::Items(bytes) = open().read(1500..1501).unwrap() else { panic!() };
    std::fs::write(folder.path().join("item"), bytes).unwrap();
    run_python(
        &python,
        folder.path(),
        "assert pickle.load(open(f'{folder}/item', 'rb')) == [('other', 1500)]",
    );
}

#[test]
fn large_pickles_and_segments_keep_an_index_and_small_ones_none() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run_python(
        &python,
        folder.path(),
        "pickle.dump({f'key {i}': [i] for i in range(200_000)}, open(f'{folder}/big.pickle', 'wb'))
pickle.dump([1, 2], open(f'{folder}/small.pickle', 'wb'))
with open(f'{folder}/many.pickle', 'wb') as f:
    for i in range(20_000): pickle.dump({'n': i, 'text': 'x' * 50}, f)",
    );
    let path = |name: &str| folder.path().join(name);
    assert_eq!(ItemReader::file(path("small.pickle")).unwrap().items(), 2);
    assert!(!path(".small.pickle.picklet-index").exists());
    let big = ItemReader::file(path("big.pickle")).unwrap();
    assert_eq!(big.items(), 200_000);
    let index = path(".big.pickle.picklet-index").metadata().unwrap().len();
    assert!(index < 200_000 / 50, "{index} bytes for 200,000 items");
    assert_eq!(big.find_key("key 123456").unwrap(), [123_456]);
    assert_eq!(big.find_key("key 1234567").unwrap(), Vec::<u64>::new());

    let many = ItemReader::file(path("many.pickle")).unwrap();
    assert_eq!((many.items(), many.kind()), (20_000, None));
    let Extracted::Object(pickle) = many.read(17_777..17_778).unwrap() else { panic!() };
    std::fs::write(path("object"), pickle).unwrap();
    run_python(
        &python,
        folder.path(),
        "assert pickle.load(open(f'{folder}/object', 'rb'))['n'] == 17_777",
    );

    let options =
        SplitOptions { target: Target::Parts(2), shared: Shared::Copy, ..SplitOptions::default() };
    let input = Input::file(path("big.pickle")).unwrap();
    let segments = split(&input, &Location::local(path("in")), &options).unwrap().segments;
    let (at, within) = segments.locate_item(150_000).unwrap();
    let reader = ItemReader::segment(&segments, at).unwrap();
    assert!(path("in/.picklet/index/data-00001.pickle.index").exists());
    let segment = Input::file(path("in/data-00001.pickle")).unwrap();
    let Extracted::Items(item) = reader.read(within..within + 1).unwrap() else { panic!() };
    std::fs::write(path("item"), item).unwrap();
    std::fs::write(path("item2"), extract(&segment, within..within + 1).unwrap()).unwrap();
    run_python(
        &python,
        folder.path(),
        "
for name in 'item', 'item2':
    assert pickle.load(open(f'{folder}/{name}', 'rb')) == {'key 150000': [150_000]}",
    );
}

/// A list of bytes of these lengths, each filled with its own number.
fn list_of_bytes(lengths: &[usize]) -> Vec<u8> {
    let mut pickle = b"\x80\x04](".to_vec();
    for (number, length) in lengths.iter().enumerate() {
        pickle.push(b'B');
        pickle.extend((*length as u32).to_le_bytes());
        pickle.extend(std::iter::repeat_n(number as u8, *length));
    }
    pickle.extend(b"e.");
    pickle
}

#[test]
fn a_pickle_whose_time_of_change_nobody_knows_is_not_read_by_an_index_of_another_state() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("kept.index");
    let mut lengths = vec![100_000; 20];
    let before = list_of_bytes(&lengths);
    (lengths[9], lengths[10]) = (50_000, 150_000);
    let after = list_of_bytes(&lengths);
    assert_eq!(before.len(), after.len());
    for (pickle, length) in [(before, 100_000), (after, 150_000)] {
        let input = Input::read_at("remote", Box::new(pickle)).unwrap();
        let reader = ItemReader::open(input, std::slice::from_ref(&place)).unwrap();
        let Extracted::Items(item) = reader.read(10..11).unwrap() else { panic!() };
        let found = item.iter().filter(|byte| **byte == 10).count();
        assert!(found >= length, "{found} bytes");
    }
    assert!(!place.exists());
}
