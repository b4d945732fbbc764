//! Items that share much with one another: the work grows with the source and
//! not with its square, or ends in an error that says what would allow it.
//!
//! Work is counted in bytes and calls of reading, not in seconds.

mod split_support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use picklet_segments::{Input, Location, ReadAt, Shared, SplitOptions, SplitReport, Target, split};
use split_support::{folder, python, run_python};

/// A source that counts how it is read.
struct Counted {
    bytes: Vec<u8>,
    read: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
}

impl ReadAt for Counted {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read_at(offset, buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

/// Splits `folder/NAME.pickle` in eight; gives the report, and bytes and calls
/// of reading.
fn work(
    folder: &Path,
    name: &str,
    copied: Option<u64>,
) -> (picklet_segments::Result<SplitReport>, [u64; 2]) {
    let bytes = std::fs::read(folder.join(format!("{name}.pickle"))).unwrap();
    let (read, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counted = Counted { bytes, read: read.clone(), calls: calls.clone() };
    let input = Input::read_at(name, Box::new(counted)).unwrap();
    let options = SplitOptions {
        target: Target::Parts(8),
        shared: Shared::Copy,
        copied_bytes: copied,
        ..SplitOptions::default()
    };
    let report = split(&input, &Location::local(folder.join(name)), &options);
    (report, [read.load(Ordering::Relaxed), calls.load(Ordering::Relaxed)])
}

const SHAPES: &str = "
r = random.Random(3)
def shapes(n):
    lists = [[i] for i in range(n)]
    yield 'lists', lists + [[r.choice(lists), r.choice(lists), i] for i in range(n)]
    texts = ['string %d' % i for i in range(n)]
    yield 'texts', texts + [[r.choice(texts), r.choice(texts), i] for i in range(n)]
    chain, last = [], None
    for i in range(n):
        last = [i, last]
        chain.append(last)
    yield 'chain', chain
    table = [['row', i] for i in range(n)]
    yield 'rows', [table] + [[i, table[r.randrange(n)]] for i in range(n)]
    yield 'nested', [[[[i, x], x], x] for i, x in enumerate(lists)] + [(x, [x]) for x in lists]
for n in (10_000, 20_000, 40_000):
    for name, value in shapes(n):
        for protocol in (2, 4):
            pickle.dump(value, open(f'{folder}/{name}{protocol}-{n}.pickle', 'wb'), protocol)
";

#[test]
fn reading_grows_with_the_source_and_values_come_back() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(&python, folder.path(), SHAPES);
    for name in ["lists", "texts", "chain", "rows", "nested"] {
        for protocol in [2, 4] {
            let mut before: Option<[u64; 2]> = None;
            for count in [10_000, 20_000, 40_000] {
                let name = format!("{name}{protocol}-{count}");
                let (report, now) = work(folder.path(), &name, None);
                let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(report.segments.len() > 2, "{name}");
                assert!(report.shared.atoms + report.shared.mutable > 0, "{name}");
                if let Some(before) = before {
                    for (now, before) in now.iter().zip(before) {
                        // Twice as much to do twice, and some for blocks half used; four times
                        // would be the square.
                        assert!(*now < 3 * before, "{name}: {before} and then {now}");
                    }
                }
                before = Some(now);
            }
        }
    }
    run_python(
        &python,
        folder.path(),
        "for name in 'lists', 'texts', 'chain', 'rows', 'nested':
    for protocol in 2, 4:
        for n in 10_000, 40_000:
            stem = f'{name}{protocol}-{n}'
            with open(f'{folder}/{stem}.pickle', 'rb') as f: whole = pickle.load(f)
            at = 0
            for part in segments(stem):
                known, back = {}, {}
                todo = list(zip(part, whole[at:at + len(part)], strict=True))
                at += len(part)
                while todo:
                    a, b = todo.pop()
                    assert type(a) is type(b), stem
                    if isinstance(a, (int, str, type(None))):
                        assert a == b, stem
                    elif id(a) in known or id(b) in back:
                        assert known.get(id(a)) == id(b) and back.get(id(b)) == id(a), stem
                    else:
                        known[id(a)], back[id(b)] = id(b), id(a)
                        todo.extend(zip(a, b, strict=True))
            assert at == len(whole), stem",
    );
}

#[test]
fn a_table_that_every_item_points_at_ends_in_an_error_with_the_option_that_allows_it() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "table = {i: 'row %d' % i for i in range(20_000)}
pickle.dump([{'i': i, 'table': table} for i in range(20_000)], open(f'{folder}/table.pickle', 'wb'))",
    );
    let (report, [read, _]) = work(folder.path(), "table", Some(500_000));
    let said = report.unwrap_err().to_string();
    for want in ["would repeat", "3 objects", "distinct", "larger segments", "--copy-limit"] {
        assert!(said.contains(want), "{said}");
    }
    assert!(read < 16_000_000, "{read} bytes read for an error");
    assert!(!folder.path().join("table/segments.json").exists());
    std::fs::remove_dir_all(folder.path().join("table")).unwrap();
    let (report, _) = work(folder.path(), "table", None);
    assert_eq!(report.unwrap().items, 20_000);
    run_python(
        &python,
        folder.path(),
        "whole = pickle.load(open(f'{folder}/table.pickle', 'rb'))
joined = []
for part in segments('table'):
    assert all(item['table'] is part[0]['table'] for item in part)
    joined += part
assert joined == whole",
    );
}
