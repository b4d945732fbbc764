//! Splitting sources of unusual shapes and sizes, with stock pickle as the oracle.

mod split_support;

use picklet_segments::{
    Existing, Input, Location, MergeOptions, SplitOptions, Target, extract, merge, resplit,
};
use split_support::{cut, cut_with, folder, python, run_python};

/// Larger than what is looked at first, so that the scan runs in a thread of
/// its own; numbers of all widths, at every place of a block.
#[test]
fn a_source_of_many_blocks_keeps_its_values_and_sharing_at_every_protocol() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "r = random.Random(5)
early = [('early', i) for i in range(400)]
def item(i, near):
    shared = ['s', i]
    near.append(shared)
    return {'id': i, 'name': 'n%d' % r.randrange(10**9), 'a': shared, 'b': shared, 'near': near[-20:][0],
            'early': early[r.randrange(400)], 'pad': 'x' * r.randrange(900)}
near = []
value = [item(i, near) for i in range(50_000)]
for protocol in (1, 4): pickle.dump(value, open(f'{folder}/list{protocol}.pickle', 'wb'), protocol)
pickle.dump(tuple(value), open(f'{folder}/tuple3.pickle', 'wb'), 3)
pickle.dump(tuple(value), open(f'{folder}/tuple5.pickle', 'wb'), 5)
pickle.dump(dict(enumerate(value)), open(f'{folder}/dict2.pickle', 'wb'), 2)",
    );
    for name in ["list1", "list4", "tuple3", "tuple5", "dict2"] {
        let report = cut(folder.path(), name, Target::Bytes(1_500_000)).unwrap();
        assert_eq!(report.items, 50_000, "{name}");
        assert!(report.segments.len() > 6, "{name}: {} segments", report.segments.len());
        assert!(report.shared.immutable > 0, "{name}: {:?}", report.shared);
    }
    run_python(
        &python,
        folder.path(),
        "for name in 'list1', 'list4', 'tuple3', 'tuple5', 'dict2':
    with open(f'{folder}/{name}.pickle', 'rb') as f: whole = pickle.load(f)
    if isinstance(whole, dict): whole = list(whole.values())
    at = 0
    for part in segments(name):
        if isinstance(part, dict): part = list(part.values())
        for i, item in enumerate(part):
            want = whole[at + i]
            assert item == want, (name, at + i)
            assert item['a'] is item['b']
            if want['near'] is whole[at + i - 19]['a'] and i >= 19: assert item['near'] is part[i - 19]['a']
        at += len(part)
    assert at == len(whole), name",
    );
}

/// More values under one mark than are kept: items of one batch, or parts of
/// one item, which only the end of them tells.
#[test]
fn a_mark_with_many_values_is_a_batch_or_an_item_as_its_end_says() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "n = 200_000
ints = b''.join(b'M' + (i % 65536).to_bytes(2, 'little') for i in range(n))
pairs = b''.join(b'J' + i.to_bytes(4, 'little') + b'(K\\x01K\\x02t' for i in range(n))
tuples = b''.join(b'(J' + i.to_bytes(4, 'little') + b'Nt' for i in range(n))
shapes = {'list': b'](' + ints + b'e.', 'dict': b'}(' + pairs + b'u.', 'set': b'\\x8f(' + pairs.replace(b'(K\\x01K\\x02t', b'') + b'\\x90.',
    'tuple': b'(' + tuples + b't.', 'single': b'](' + ints + b'ta.', 'singles': b'](' + ints + b'ta(' + ints + b'laK\\x07a.',
    'inner': b'](K\\x01(' + ints + b'tK\\x02e(' + ints + b'e.'}
for name, body in shapes.items():
    with open(f'{folder}/{name}.pickle', 'wb') as f: f.write(b'\\x80\\x04' + body)"
            .replace("\\\\", "\\")
            .as_str(),
    );
    for (name, items, least) in [
        ("list", 200_000, 5),
        ("dict", 200_000, 5),
        ("set", 200_000, 5),
        ("tuple", 200_000, 5),
        ("single", 1, 1),
        ("singles", 3, 2),
        ("inner", 200_003, 5),
    ] {
        let report = cut(folder.path(), name, Target::Bytes(100_000)).unwrap();
        assert_eq!(report.items, items, "{name}");
        assert!(report.segments.len() >= least, "{name}: {} segments", report.segments.len());
    }
    run_python(
        &python,
        folder.path(),
        "for name in 'list', 'dict', 'set', 'tuple', 'single', 'singles', 'inner':
    with open(f'{folder}/{name}.pickle', 'rb') as f: whole = pickle.load(f)
    joined = []
    for part in segments(name):
        assert type(part) is type(whole), name
        joined += part.items() if type(part) is dict else part
    want = list(whole.items() if type(whole) is dict else whole)
    assert sorted(joined) == sorted(want) if name == 'set' else joined == want, name",
    );
}

/// What was finished stands; nothing half-written looks like a segment; no
/// manifest promises the rest.
#[test]
fn damage_far_into_a_source_leaves_whole_segments_and_no_manifest() {
    let folder = folder();
    let whole = {
        let mut pickle = b"\x80\x02](".to_vec();
        for i in 0..25_000u32 {
            pickle.extend_from_slice(b"(J");
            pickle.extend_from_slice(&i.to_le_bytes());
            pickle.extend_from_slice(b"T\xe8\x03\x00\x00");
            pickle.extend_from_slice(&[b'x'; 1000]);
            pickle.push(b't');
            if i % 1000 == 999 {
                pickle.extend_from_slice(b"e(");
            }
        }
        pickle.extend_from_slice(b"e.");
        pickle
    };
    let size = whole.len();
    // The offset in bytes; what the message says.
    for (name, at, damage, want) in [
        ("cut", size - 1_000_500, None, "cut off"),
        ("junk", size - 2_000_000, Some([0xff; 2000]), "no pickle opcode"),
    ] {
        let mut bytes = whole.clone();
        match damage {
            None => bytes.truncate(at),
            Some(damage) => bytes[at..at + damage.len()].copy_from_slice(&damage),
        }
        std::fs::write(folder.path().join(format!("{name}.pickle")), &bytes).unwrap();
        let said = cut(folder.path(), name, Target::Bytes(1_000_000)).unwrap_err().to_string();
        assert!(said.contains(want) && said.contains("byte"), "{said}");
        let out = folder.path().join(name);
        assert!(!out.join("segments.json").exists(), "{name}");
        let mut finished = 0;
        for entry in std::fs::read_dir(&out).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "pickle") {
                let segment = std::fs::read(&path).unwrap();
                assert_eq!(segment.last(), Some(&b'.'), "{}", path.display());
                extract(&Input::bytes("segment", segment), 0..1).unwrap();
                finished += 1;
            }
        }
        assert!(finished > 10, "{name}: {finished} segments");
        let drafts = out.join(".picklet/tmp");
        let left = std::fs::read_dir(drafts).into_iter().flatten().flatten();
        assert!(
            left.flat_map(|dir| std::fs::read_dir(dir.path()).into_iter().flatten())
                .next()
                .is_none()
        );
        // The same directory serves the source once it is whole.
        std::fs::write(folder.path().join(format!("{name}.pickle")), &whole).unwrap();
        let options = SplitOptions {
            target: Target::Bytes(1_000_000),
            existing: Existing::Overwrite,
            ..SplitOptions::default()
        };
        assert_eq!(cut_with(folder.path(), name, &options).unwrap().items, 25_000);
    }
}

/// Instances that are containers themselves: of subclasses, with and without a state of their own.
#[test]
fn instances_with_items_are_split_with_their_class_and_state() {
    let Some(python) = python() else { return };
    let folder = folder();
    let classes = "
import types
own = types.ModuleType('own'); sys.modules['own'] = own
exec('''
import collections
class List(list): pass
class Dict(dict): pass
class Deque(collections.deque): pass
class Named(collections.OrderedDict): pass
''', own.__dict__)
for c in own.List, own.Dict, own.Deque, own.Named: c.__module__ = 'own'
def state(v):
    v.note, v.itself, v.inner = 'a note', None, ['note', {'deep': ['er']}]
    return v
def items(kind, v):
    each = [('early', i) for i in range(9)]
    values = [[i, each[i % 9], 'x' * (i % 30)] for i in range(500)]
    if kind in ('Dict', 'Named', 'OrderedDict'): v.update((f'k{i}', x) for i, x in enumerate(values))
    else: v.extend(values)
    return v
kinds = {'List': own.List, 'Dict': own.Dict, 'Deque': own.Deque, 'Named': own.Named, 'OrderedDict': collections.OrderedDict}
def make(kind, form):
    v = items(kind, kinds[kind]())
    if form == 'plain': return v
    v = state(v)
    if form == 'self': v.itself = v
    if form == 'item': v.inner.append(list(v.values())[450] if hasattr(v, 'values') else v[450]); v.inner.append(list(v.values())[3] if hasattr(v, 'values') else v[3])
    return v
";
    let code = format!(
        "{classes}
for kind in kinds:
    for form in 'plain', 'state', 'self', 'item':
        for protocol in range(6):
            if form == 'self' and protocol < 2: continue
            with open(f'{{folder}}/{{kind}}-{{form}}-{{protocol}}.pickle', 'wb') as f: pickle.dump(make(kind, form), f, protocol)"
    );
    run_python(&python, folder.path(), &code);
    let mut count = 0;
    for kind in ["List", "Dict", "Deque", "Named", "OrderedDict"] {
        for form in ["plain", "state", "self", "item"] {
            for protocol in 0..6 {
                let name = format!("{kind}-{form}-{protocol}");
                if !folder.path().join(format!("{name}.pickle")).exists() {
                    continue;
                }
                let report = cut(folder.path(), &name, Target::Items(70))
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!((report.items, report.segments.len()), (500, 8), "{name}");
                let merged = folder.path().join(format!("{name}.merged"));
                let mut file = std::fs::File::create(&merged).unwrap();
                merge(&report.segments, &mut file, &MergeOptions::default()).unwrap();
                let anew = Location::local(folder.path().join(format!("{name}-anew")));
                let options = SplitOptions { target: Target::Items(99), ..Default::default() };
                assert_eq!(resplit(&report.segments, &anew, &options).unwrap().items, 500);
                count += 1;
            }
        }
    }
    assert!(count > 100);
    let code = format!(
        "{classes}
def same_state(a, b, name):
    if a.__dict__ or b.__dict__:
        x, y = dict(a.__dict__), dict(b.__dict__)
        assert (x.pop('itself') is a) == (y.pop('itself') is b), name
        assert x == y, (name, x, y)
for kind in kinds:
    for form in 'plain', 'state', 'self', 'item':
        for protocol in range(6):
            name = f'{{kind}}-{{form}}-{{protocol}}'
            if not os.path.exists(f'{{folder}}/{{name}}.pickle'): continue
            whole = pickle.load(open(f'{{folder}}/{{name}}.pickle', 'rb'))
            joined = pickle.load(open(f'{{folder}}/{{name}}.merged', 'rb'))
            assert type(joined) is type(whole) and list(joined) == list(whole), name
            same_state(whole, joined, name)
            for way in name, name + '-anew':
                at, all_items = 0, list(whole.items() if hasattr(whole, 'items') else whole)
                for part in segments(way):
                    assert type(part) is type(whole), way
                    got = list(part.items() if hasattr(part, 'items') else part)
                    assert got == all_items[at:at + len(got)], way
                    same_state(whole, part, way)
                    at += len(got)
                assert at == 500, way"
    );
    run_python(&python, folder.path(), &code);
}

/// A date that items share is no list: nobody can change it.
#[test]
fn shared_results_of_calls_are_counted_as_what_they_are() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "import datetime, decimal, uuid
day, price, key = datetime.date(2026, 1, 2), decimal.Decimal('1.5'), uuid.UUID(int=7)
some, stamp = frozenset(['a', 'b']), datetime.datetime(2026, 1, 2, 3, 4)
values = {'fixed': [[day, price, key, some, stamp, i] for i in range(100)],
          'mixed': [[day, other, i] for other in [collections.OrderedDict(a=1)] for i in range(100)],
          'twice': [(datetime.date(2026, 1, 2), day, i) for i in range(100)]}
for name, value in values.items():
    for protocol in range(6):
        with open(f'{folder}/{name}{protocol}.pickle', 'wb') as f: pickle.dump(value, f, protocol)",
    );
    for protocol in 0..6 {
        for (name, mutable, immutable) in [("fixed", 0, 5), ("mixed", 1, 1), ("twice", 0, 1)] {
            let name = format!("{name}{protocol}");
            let report = cut(folder.path(), &name, Target::Items(50)).unwrap();
            assert_eq!(report.segments.len(), 2);
            assert_eq!(report.shared.mutable, mutable, "{name}: {:?}", report.shared);
            assert!(report.shared.immutable >= immutable, "{name}: {:?}", report.shared);
        }
    }
}
