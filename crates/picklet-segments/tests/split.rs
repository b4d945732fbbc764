//! Splitting, with stock pickle as the oracle.

use std::path::{Path, PathBuf};
use std::process::Command;

use picklet_segments::{
    Error, Existing, Input, Kind, Location, MergeOptions, Names, Shared, SplitOptions, SplitReport,
    Target, count_items, extract, merge, resplit, split,
};

/// The interpreter to compare with; `None` after saying loudly that there is
/// none.
fn python() -> Option<String> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if Command::new(&python)
        .arg("-c")
        .arg("import pickle")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        return Some(python);
    }
    eprintln!("SKIPPED: {python} does not run; set PICKLET_PYTHON to compare with stock pickle");
    None
}

fn oracle(python: &str, arguments: &[&str]) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let output = Command::new(python)
        .arg(tests.join("split_oracle.py"))
        .args(arguments)
        .env("PYTHONPATH", &tests)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "oracle {arguments:?}: {out}{err}");
    out.into_owned()
}

/// Runs `code` in Python with `pickle`, `io` imported and `folder` set.
fn run_python(python: &str, folder: &Path, code: &str) -> String {
    let code =
        format!("import pickle, io, pickletools, sys, collections\nfolder = {folder:?}\n{code}");
    let output = Command::new(python).arg("-c").arg(code).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A temporary folder, in memory where there is such a place: these tests make
/// tens of thousands of segments, each of which is synced to the disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

fn cut(source: &Path, out: &Path, target: Target) -> picklet_segments::Result<SplitReport> {
    let options = SplitOptions { target, shared: Shared::Copy, ..SplitOptions::default() };
    split(&Input::file(source)?, &Location::local(out), &options)
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "pickle"))
        .collect();
    all.sort();
    all
}

#[test]
fn segments_of_random_graphs_are_the_source_with_its_sharing() {
    let Some(python) = python() else { return };
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    let seed = std::env::var("PICKLET_SEED").unwrap_or_else(|_| "1".to_owned());
    let count = std::env::var("PICKLET_CASES").unwrap_or_else(|_| "60".to_owned());
    oracle(&python, &["make", path, &seed, &count]);
    let targets = [
        ("one", Target::Items(1)),
        ("seven", Target::Items(7)),
        ("bytes", Target::Bytes(300)),
        ("kilobytes", Target::Bytes(5_000)),
        ("parts", Target::Parts(3)),
        ("all", Target::Items(1_000_000)),
    ];
    for source in sources(folder.path()) {
        let large = source.metadata().unwrap().len() > 4_000;
        for (name, target) in targets {
            if large && (name == "one" || name == "bytes") {
                continue;
            }
            let out = source.with_extension(name);
            let report = match cut(&source, &out, target) {
                Ok(report) => report,
                Err(error) => panic!("{}: {target:?}: {error}", source.display()),
            };
            let merged = folder
                .path()
                .join(format!("{}.{name}.merged", source.file_stem().unwrap().to_str().unwrap()));
            let mut file = std::fs::File::create(&merged).unwrap();
            let options = MergeOptions { name: merged.clone(), ..MergeOptions::default() };
            merge(&report.segments, &mut file, &options).unwrap();
            for (anew, target) in targets.into_iter().filter(|(anew, _)| *anew != name) {
                if large && (anew == "one" || anew == "bytes") {
                    continue;
                }
                let options = SplitOptions { target, shared: Shared::Copy, ..Default::default() };
                let out = source.with_extension(format!("{name}.anew-{anew}"));
                resplit(&report.segments, &Location::local(&out), &options)
                    .unwrap_or_else(|error| panic!("{}: {target:?}: {error}", out.display()));
            }
        }
    }
    let said = oracle(&python, &["check", path]);
    eprintln!("{said}");
}

#[test]
fn what_is_no_container_is_named_in_the_error() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "import datetime, types
class Own: pass
Own.__module__ = 'own'; sys.modules['own'] = types.ModuleType('own'); sys.modules['own'].Own = Own
values = {'int': 7, 'str': 'x' * 70000, 'none': None, 'date': datetime.date(2024, 1, 2),
          'float': 1.5, 'bytes': b'x', 'global': len, 'own': Own(), 'bool': True}
for name, value in values.items():
    for protocol in range(6):
        pickle.dump(value, open(f'{folder}/{name}-{protocol}.pickle', 'wb'), protocol)",
    );
    for source in sources(folder.path()) {
        let name = source.file_stem().unwrap().to_str().unwrap();
        let out = folder.path().join("out");
        let said = cut(&source, &out, Target::Items(1)).unwrap_err().to_string();
        let want = match name.split('-').next().unwrap() {
            "int" => "an int",
            "str" => "a str",
            "none" => "None",
            "date" => "an instance of datetime.date",
            "float" => "a float",
            "bytes" => "a bytes object",
            "global" => "the global ",
            "bool" => "bool",
            _ => "an instance of own.Own",
        };
        // Protocols 0 and 1 write True as an int.
        let early = name.starts_with("bool") && said.contains("an int at the top");
        assert!(said.contains(want) || early, "{name}: {said}");
        assert!(said.contains("picklet.split()"), "{said}");
        assert!(!out.exists(), "{name}: something was made");
    }
}

#[test]
fn broken_input_gives_an_error_with_its_offset_and_leaves_nothing() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "data = [{'n': i, 's': 'x' * (i % 50)} for i in range(300)]
for protocol in range(6):
    pickle.dump(data, open(f'{folder}/whole-{protocol}.pickle', 'wb'), protocol)
top = []; top.append([top]); pickle.dump(top, open(f'{folder}/itself.pickle', 'wb'))
t = ([], 1, 2, 3, 4); t[0].append(t); pickle.dump(t, open(f'{folder}/itself2.pickle', 'wb'))",
    );
    let out = folder.path().join("out");
    for protocol in 0..6 {
        let whole = std::fs::read(folder.path().join(format!("whole-{protocol}.pickle"))).unwrap();
        let part = folder.path().join("part");
        for length in (1..whole.len()).step_by(whole.len() / 97) {
            std::fs::write(&part, &whole[..length]).unwrap();
            let said = cut(&part, &out, Target::Items(10)).unwrap_err().to_string();
            assert!(said.contains(" byte ") && said.contains("cut off"), "{length}: {said}");
            assert!(!out.exists());
        }
    }
    for (name, bytes, want) in [
        ("empty", &b""[..], "is empty"),
        ("text", b"hello\n", "not a pickle"),
        ("words", b"this is text\n", "line 1"),
        ("zeros", &[0; 4096], "not a pickle"),
        ("undefined", b"](h\x07e.", "memo entry 7"),
        ("underflow", b"](ee.", "takes more from the stack"),
        ("huge", b"](\x8d\xff\xff\xff\xff\xff\xff\xff\x7fxe.", "cut off"),
        ("negative", b"](T\xff\xff\xff\xffxe.", "negative"),
        ("frame", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff].", "cut off"),
    ] {
        let source = folder.path().join(name);
        std::fs::write(&source, bytes).unwrap();
        let said = cut(&source, &out, Target::Items(10)).unwrap_err().to_string();
        assert!(said.contains(want), "{name}: {said}");
        assert!(!out.exists(), "{name}");
    }
    for name in ["itself", "itself2"] {
        let source = folder.path().join(format!("{name}.pickle"));
        let said = cut(&source, &out, Target::Items(1)).unwrap_err().to_string();
        assert!(said.contains("itself") || said.contains("whole container"), "{said}");
    }
}

#[test]
fn items_taken_out_of_a_pickle_are_those_of_the_slice() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "from collections import *
shared = ['shared', {'k': 1}]
items = [{'n': i, 's': shared, 't': (i, 'x' * (i % 70))} for i in range(2500)]
values = {'list': items, 'tuple': tuple(items), 'dict': {f'k{i}': v for i, v in enumerate(items)},
          'set': set(range(2500)), 'deque': deque(items), 'pair': tuple(items[:2])}
for name, value in values.items():
    for protocol in range(6):
        pickle.dump(value, open(f'{folder}/{name}-{protocol}.pickle', 'wb'), protocol)",
    );
    let ranges =
        [(0, 1), (1, 2), (999, 1001), (1000, 1001), (1234, 1300), (2499, 2500), (2400, 9999)];
    for source in sources(folder.path()) {
        let input = Input::file(&source).unwrap();
        let contents = count_items(&input).unwrap();
        let small = source.to_str().unwrap().contains("pair");
        assert_eq!(contents.items, Some(if small { 2 } else { 2500 }));
        assert_eq!(contents.end, Some(input.size()));
        for (from, to) in ranges {
            match extract(&input, from..to) {
                Ok(bytes) => {
                    std::fs::write(source.with_extension(format!("{from}-{to}")), bytes).unwrap();
                }
                Err(error) => {
                    assert!(small && from >= 2, "{error}");
                    assert!(error.to_string().contains("it has 2"), "{error}");
                }
            }
        }
        assert!(extract(&input, 3000..3001).is_err());
    }
    let said = run_python(
        &python,
        folder.path(),
        "import os
from itertools import islice
checked = 0
for name in sorted(os.listdir(folder)):
    if name.endswith('.pickle'): continue
    stem, span = name.split('.')
    a, b = map(int, span.split('-'))
    whole = pickle.load(open(f'{folder}/{stem}.pickle', 'rb'))
    part = pickle.load(open(f'{folder}/{name}', 'rb'))
    assert type(part) is type(whole), (name, type(part))
    if isinstance(whole, dict):
        assert list(part.items()) == list(whole.items())[a:b], name
    else:
        assert sorted(map(repr, part)) == sorted(map(repr, islice(whole, a, b))), name
    if 'list' in name: assert all(i['s'] is part[0]['s'] for i in part)
    checked += 1
print(checked)",
    );
    assert_eq!(said, "222");
}

#[test]
fn several_pickles_in_one_file_become_lists_of_them() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "def make(i):
    a = ['a', i]
    return [{'n': i, 'a': a, 'b': a}, (a, a), i, 'text', None, {i, i + 1}, b'x' * 70000][i % 7]
for protocol in list(range(6)) + ['mixed']:
    with open(f'{folder}/stream-{protocol}.pickle', 'wb') as f:
        for i in range(300):
            pickle.dump(make(i), f, i % 6 if protocol == 'mixed' else protocol)",
    );
    for source in sources(folder.path()) {
        for (name, target) in [
            ("ten", Target::Items(10)),
            ("bytes", Target::Bytes(100_000)),
            ("parts", Target::Parts(4)),
        ] {
            let report = cut(&source, &source.with_extension(name), target).unwrap();
            assert_eq!((report.items, report.segments.kind()), (300, Kind::List));
            assert_eq!(report.warnings, Vec::<String>::new());
            let count = report.segments.len();
            match target {
                Target::Items(_) => assert_eq!(count, 30),
                Target::Parts(_) => assert_eq!(count, 4),
                Target::Bytes(_) => assert!((20..50).contains(&count), "{count}"),
            }
        }
    }
    run_python(
        &python,
        folder.path(),
        "import os
for stem in sorted(n[:-7] for n in os.listdir(folder) if n.endswith('.pickle')):
    objects = []
    with open(f'{folder}/{stem}.pickle', 'rb') as f:
        for i in range(300): objects.append(pickle.load(f))
    for split in 'ten', 'bytes', 'parts':
        joined = []
        d = f'{folder}/{stem}.{split}'
        for name in sorted(n for n in os.listdir(d) if n.endswith('.pickle')):
            data = open(f'{d}/{name}', 'rb').read()
            part = pickle.loads(data)
            assert pickle._loads(data) == part and type(part) is list
            joined += part
        assert joined == objects, (stem, split)
        for o in joined:
            if isinstance(o, dict): assert o['a'] is o['b']
            if isinstance(o, tuple): assert o[0] is o[1]",
    );
    // Something else after the pickles is left out, and said so; a pickle that
    // is cut off is an error.
    let whole = std::fs::read(folder.path().join("stream-4.pickle")).unwrap();
    let source = folder.path().join("tail");
    std::fs::write(&source, [&whole[..], b"\n\n"].concat()).unwrap();
    let report = cut(&source, &folder.path().join("tail-out"), Target::Items(100)).unwrap();
    assert!(report.warnings[0].contains("2 bytes after"), "{:?}", report.warnings);
    std::fs::write(&source, &whole[..whole.len() - 5]).unwrap();
    let said =
        cut(&source, &folder.path().join("cut"), Target::Items(100)).unwrap_err().to_string();
    assert!(said.contains("pickle 299") && said.contains("cut off"), "{said}");
}

#[test]
fn large_pickles_of_a_stream_share_their_first_texts_and_are_what_they_were() {
    let Some(python) = python() else { return };
    let folder = folder();
    // More than 256 memo entries, referred to near and far; equal texts that are two objects;
    // pickles of more than one block; headers of another shape in between; numbers left out.
    run_python(
        &python,
        folder.path(),
        "import random, pickletools
r = random.Random(11)
towns = [f'town {i}' for i in range(400)]
shared = [['shared', i] for i in range(300)]
def make(i):
    twins = ['twin ' + str(r.randrange(3))[:] for _ in range(4)]
    head = {'version': i, 'twins': [t + '!' for t in twins], 'self': []}
    head['self'].append(head)
    if i % 5 == 0: return head
    return [{'id': r.randrange(10**6), 'town': r.choice(towns), 'list': r.choice(shared),
             'name': f'name {r.random()}', 'tags': (r.choice(towns), 'x' * r.choice((3, 300)))}
            for _ in range((5000, 3, 300)[i % 3])] + [head, head]
for protocol in list(range(6)) + ['mixed', 'optimized']:
    with open(f'{folder}/stream-{protocol}.pickle', 'wb') as f:
        for i in range(30):
            if protocol == 'optimized':
                f.write(pickletools.optimize(pickle.dumps(make(i), 2)))
            else:
                pickle.dump(make(i), f, i % 6 if protocol == 'mixed' else protocol)",
    );
    for source in sources(folder.path()) {
        for (name, target) in [("all", Target::Parts(1)), ("few", Target::Items(8))] {
            let report = cut(&source, &source.with_extension(name), target).unwrap();
            assert_eq!((report.items, report.segments.kind()), (30, Kind::List));
        }
    }
    let said = run_python(
        &python,
        folder.path(),
        "import os, io
sizes = []
for stem in sorted(n[:-7] for n in os.listdir(folder) if n.endswith('.pickle')):
    with open(f'{folder}/{stem}.pickle', 'rb') as f:
        objects = [pickle.load(f) for _ in range(30)]
        size = f.tell()
    # With a memo of its own for each, so that only what is shared within it shows.
    alone = [pickle.dumps(o, 2) for o in objects]
    for split in 'all', 'few':
        joined = []
        d = f'{folder}/{stem}.{split}'
        written = 0
        for name in sorted(n for n in os.listdir(d) if n.endswith('.pickle')):
            data = open(f'{d}/{name}', 'rb').read()
            written += len(data)
            joined += pickle.loads(data)
            assert len(pickle._loads(data)) > 0
        assert [pickle.dumps(o, 2) for o in joined] == alone, (stem, split)
        sizes.append((stem, split, round(written / size, 3)))
print(max(s for _, _, s in sizes), sizes)",
    );
    let largest: f64 = said.split(' ').next().unwrap().parse().unwrap();
    assert!(largest < 1.08, "{said}");
    // So large that another thread writes.
    let large =
        sources(folder.path()).iter().all(|path| std::fs::metadata(path).unwrap().len() > 4 << 20);
    assert!(large);
}

#[test]
fn names_shared_objects_and_resuming_follow_the_options() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "shared = ['shared']
pickle.dump([(i, shared, 'text') for i in range(5)], open(f'{folder}/s.pickle', 'wb'))",
    );
    let source = folder.path().join("s.pickle");
    let input = Input::file(&source).unwrap();
    let out = Location::local(folder.path().join("out"));
    let names: Vec<String> = (1..=5).map(|i| format!("segment{i}")).collect();
    let options = SplitOptions {
        target: Target::Items(1),
        names: Names::Listed(&names),
        ..SplitOptions::default()
    };
    let report = split(&input, &out, &options).unwrap();
    assert!(folder.path().join("out/segment5.pickle").is_file());
    assert_eq!((report.shared.mutable, report.shared.atoms), (4, 4));
    assert!(report.warnings[0].contains("4 objects that can change"), "{:?}", report.warnings);

    assert!(matches!(split(&input, &out, &options), Err(Error::NotEmpty { .. })));
    let again = SplitOptions { existing: Existing::Resume, ..options.clone() };
    assert_eq!(split(&input, &out, &again).unwrap().resumed, 5);

    let strict =
        SplitOptions { existing: Existing::Overwrite, shared: Shared::Error, ..options.clone() };
    let said = split(&input, &out, &strict).unwrap_err().to_string();
    assert!(said.contains("items 1 to 1") && said.contains("--shared copy"), "{said}");

    let few = SplitOptions {
        existing: Existing::Overwrite,
        names: Names::Listed(&names[..3]),
        ..options.clone()
    };
    assert!(split(&input, &out, &few).unwrap_err().to_string().contains("3 names"));

    // Stopped after two segments; the same command goes on from there.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let dir = Location::local(folder.path().join("stopped"));
    let by_one = Names::By(&|index, _| {
        asked.store(index as usize, std::sync::atomic::Ordering::Relaxed);
        Ok(format!("n{index}"))
    });
    let stop = || asked.load(std::sync::atomic::Ordering::Relaxed) >= 2;
    let big = folder.path().join("big.pickle");
    run_python(
        &python,
        folder.path(),
        "pickle.dump(['x' * 3000000 + str(i) for i in range(8)], open(f'{folder}/big.pickle', 'wb'))",
    );
    let input = Input::file(&big).unwrap();
    let options = SplitOptions { names: by_one, interrupt: &stop, ..options };
    assert!(matches!(split(&input, &dir, &options), Err(Error::Interrupted)));
    let options = SplitOptions { existing: Existing::Resume, interrupt: &|| false, ..options };
    let report = split(&input, &dir, &options).unwrap();
    assert_eq!((report.resumed > 0, report.segments.len()), (true, 8));
}

#[test]
fn lines_of_json_become_what_json_loads_makes_of_them() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        r#"import json, random
r = random.Random(3)
def value(depth=0):
    k = r.randrange(9 if depth < 4 else 7)
    if k == 0: return r.choice([None, True, False])
    if k == 1: return r.randrange(-300, 70000)
    if k == 2: return r.choice([-1, 1]) * r.getrandbits(r.choice([31, 32, 33, 63, 64, 65, 2048, 9000]))
    if k == 3: return r.random() * 10 ** r.randrange(-300, 300)
    if k == 4: return r.choice(['', 'é漢😀', 'lone \ud800 half', '\x00\n\t"\\/', 's' * 300])
    if k == 5: return r.choice([float('inf'), float('-inf'), 0.0, -0.0, 1e22])
    if k == 6: return 2 ** r.randrange(70) * r.choice([1, -1])
    if k == 7: return [value(depth + 1) for _ in range(r.randrange(5))]
    return {r.choice(['id', 'name', 'é', 'x' * r.randrange(1, 400)]): value(depth + 1) for _ in range(r.randrange(6))}
with open(f'{folder}/data.jsonl', 'w', encoding='utf-8', newline='') as f:
    for i in range(2500):
        f.write(json.dumps(value(), ensure_ascii=i % 2 == 0 or True) + ('\n\n' if i % 50 == 0 else '\n'))
    f.write('{"a": 1, "b": 2, "a": [3]}\n  "raw é \\ud83d\\ude00 漢"  \r\n[NaN]')
"#,
    );
    let source = folder.path().join("data.jsonl");
    for (name, target) in
        [("ten", Target::Items(10)), ("bytes", Target::Bytes(30_000)), ("parts", Target::Parts(4))]
    {
        let report = cut(&source, &folder.path().join(name), target).unwrap();
        assert_eq!((report.items, report.segments.kind()), (2503, Kind::List));
    }
    run_python(
        &python,
        folder.path(),
        "import json, os
want = [json.loads(l) for l in open(f'{folder}/data.jsonl', encoding='utf-8') if l.strip()]
for split in 'ten', 'bytes', 'parts':
    joined = []
    d = f'{folder}/{split}'
    for name in sorted(n for n in os.listdir(d) if n.endswith('.pickle')):
        data = open(f'{d}/{name}', 'rb').read()
        part = pickle.loads(data)
        assert repr(pickle._loads(data)) == repr(part)
        joined += part
    assert len(joined) == len(want)
    for a, b in zip(joined, want): assert repr(a) == repr(b), (split, a, b)",
    );
    for (text, want) in [
        ("{\"a\": 1}\n{\"a\": }\n", "line 2"),
        ("[1,]\n", "line 1"),
        ("1\n2\n\n[1] 2\n", "line 4"),
        ("\"open\n", "line 1"),
        ("01\n", "line 1"),
        ("{1: 2}\n", "line 1"),
        ("[1", "line 1"),
        ("tru\n", "line 1"),
    ] {
        let source = folder.path().join("bad.jsonl");
        std::fs::write(&source, text).unwrap();
        let out = tempfile::tempdir_in(folder.path()).unwrap();
        let said = cut(&source, &out.path().join("x"), Target::Items(10)).unwrap_err().to_string();
        assert!(said.contains(want), "{text:?}: {said}");
    }
    std::fs::write(&source, "[".repeat(1_000_000)).unwrap();
    let said =
        cut(&source, &folder.path().join("deep"), Target::Items(10)).unwrap_err().to_string();
    assert!(said.contains("brackets"), "{said}");
}

#[test]
fn a_block_of_the_source_may_end_anywhere_in_an_operation() {
    // Blocks have 256 KiB; items of every length from 1 to 40 bytes end at
    // every distance from a block's end.
    let folder = folder();
    let source = folder.path().join("source");
    for lead in 0..64 {
        let mut pickle = b"\x80\x04](".to_vec();
        pickle.extend_from_slice(&[b'U', lead]);
        pickle.extend(std::iter::repeat_n(b'x', usize::from(lead)));
        let mut items = 1;
        while pickle.len() < 600_000 {
            for op in
                [&b"K\x01"[..], b"M\x01\x02", b"J\x01\x02\x03\x04", b"G12345678", b"N", b"I5\n"]
            {
                pickle.extend_from_slice(op);
                items += 1;
            }
        }
        pickle.extend_from_slice(b"e.");
        std::fs::write(&source, &pickle).unwrap();
        let contents = count_items(&Input::file(&source).unwrap()).unwrap();
        assert_eq!(contents.items, Some(items));
    }
}
