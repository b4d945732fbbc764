//! Merging, with stock pickle as the oracle.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use picklet_segments::{
    EntryMeta, Existing, Header, Input, Kind, Location, MergeOptions, SegmentsWriter, Shared,
    SplitOptions, Target, merge, split,
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

fn run_python(python: &str, folder: &Path, code: &str) -> String {
    let code = format!("import pickle, os, datetime\nfolder = {folder:?}\n{code}");
    let output = Command::new(python).arg("-c").arg(code).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn merged(folder: &Path, name: &str, target: Target) -> u64 {
    let input = Input::file(folder.join(format!("{name}.pickle"))).unwrap();
    let options = SplitOptions { target, shared: Shared::Copy, ..SplitOptions::default() };
    let out = Location::local(folder.join(name));
    let segments = split(&input, &out, &options).unwrap().segments;
    let mut file = std::fs::File::create(folder.join(format!("{name}.merged"))).unwrap();
    let report = merge(&segments, &mut file, &MergeOptions::default()).unwrap();
    assert_eq!(report.segments, segments.len() as u64);
    report.bytes
}

const RECORDS: &str = "
class Place:
    def __init__(self, n): self.n, self.name = n, f'place {n}'
pool = [f'street {i}' for i in range(300)]
day = datetime.date(2026, 1, 2)
pair = (day, 'until')
def records(kind):
    for i in range(6_000):
        if kind == 'instances': yield Place(i)
        elif kind == 'texts': yield f'{i}' * 3
        else: yield {'id': i, 'name': f'customer {i}', 'street': pool[i * 7 % 300], 'valid': pair,
                     'class': Place, 'data': b'always the same'}
";

#[test]
fn a_merged_pickle_is_no_larger_than_the_one_that_was_split() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let code = format!(
        "{RECORDS}
for kind in 'records', 'instances', 'texts':
    for protocol in range(6):
        items = list(records(kind))
        for name, value in (('list', items), ('tuple', tuple(items)), ('dict', dict(enumerate(items)))):
            pickle.dump(value, open(f'{{folder}}/{{kind}}-{{name}}-{{protocol}}.pickle', 'wb'), protocol)"
    );
    run_python(&python, folder.path(), &code);
    for kind in ["records", "instances", "texts"] {
        for container in ["list", "tuple", "dict"] {
            for protocol in 0..6 {
                let name = format!("{kind}-{container}-{protocol}");
                let source = folder.path().join(format!("{name}.pickle"));
                let size = source.metadata().unwrap().len();
                let bytes = merged(folder.path(), &name, Target::Items(170));
                assert!(bytes * 100 <= size * 102, "{name}: {bytes} bytes merged, {size} before");
            }
        }
    }
    let code = format!(
        "{RECORDS}
for name in sorted(n for n in os.listdir(folder) if n.endswith('.merged')):
    whole = pickle.load(open(f'{{folder}}/{{name[:-7]}}.pickle', 'rb'))
    joined = pickle.load(open(f'{{folder}}/{{name}}', 'rb'))
    if 'instances' in name:
        assert list(whole)[:9] == list(joined)[:9] if isinstance(whole, dict) else True
        values = lambda c: [v.__dict__ for v in (c.values() if isinstance(c, dict) else c)]
        assert values(whole) == values(joined) and type(whole) is type(joined), name
    else:
        assert whole == joined and type(whole) is type(joined), name"
    );
    run_python(&python, folder.path(), &code);
}

#[test]
fn a_none_with_a_memo_number_is_merged() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    // No pickler gives None a number, but an unpickler takes it. Near and far references to it, in
    // segments of more than 256 entries.
    let code = "
empty = b']\\x94' * 300
near = b'\\x80\\x04]\\x94(N\\x94' + (empty + b'h\\x01') * 6 + b'e.'
far = b'\\x80\\x04]\\x94(' + empty + b'N\\x94' + (empty + b'j\\x2d\\x01\\x00\\x00') * 6 + b'e.'
for name, data in ('near', near), ('far', far):
    assert pickle.loads(data).count(None) == 7
    open(f'{folder}/{name}.pickle', 'wb').write(data)";
    run_python(&python, folder.path(), code);
    for name in ["near", "far"] {
        merged(folder.path(), name, Target::Items(450));
    }
    let code = "
for name in 'near', 'far':
    whole, joined = (pickle.load(open(f'{folder}/{name}.{end}', 'rb')) for end in ('pickle', 'merged'))
    assert whole == joined, name";
    run_python(&python, folder.path(), code);
}

#[test]
fn pickles_of_several_blocks_without_frames_are_joined() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Operations and numbers lie across the ends of blocks.
    let code = "
def unframed(items):
    return b'\\x80\\x04]\\x94(' + b''.join(items) + b'e.'
def number(i): return b'J' + i.to_bytes(4, 'little')
def texts(count):
    return unframed(b'\\x8c\\x07%07d\\x94h\\x01j' % i + (i + 1).to_bytes(4, 'little') for i in range(count))
numbers = unframed(map(number, range(230_000)))
stream = texts(60_000) + texts(70_001) + numbers + texts(3)
for name, data in ('whole', numbers), ('stream', stream):
    open(f'{folder}/{name}.pickle', 'wb').write(data)";
    run_python(&python, folder.path(), code);
    merged(folder.path(), "whole", Target::Parts(2));
    merged(folder.path(), "stream", Target::Parts(2));
    let code = "
def load_all(name):
    with open(f'{folder}/{name}', 'rb') as f:
        while f.peek(1):
            yield pickle.load(f)
for name, loads in ('whole', lambda: next(load_all('whole.pickle'))), ('stream', lambda: list(load_all('stream.pickle'))):
    joined = pickle.load(open(f'{folder}/{name}.merged', 'rb'))
    assert joined == loads(), name
    # Read with frames, where there are any, by the other unpickler too.
    assert pickle._loads(open(f'{folder}/{name}.merged', 'rb').read()) == joined, name";
    run_python(&python, folder.path(), code);
}

#[test]
fn segments_that_were_written_one_by_one_share_their_keys_when_merged() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let code = format!(
        "{RECORDS}
os.mkdir(f'{{folder}}/own')
items = [{{k: v for k, v in r.items() if k != 'valid'}} for r in records('records')]
pickle.dump(items, open(f'{{folder}}/whole.pickle', 'wb'))
for i in range(0, 6_000, 200):
    part = pickle.loads(pickle.dumps(items[i:i + 200]))
    pickle.dump(part, open(f'{{folder}}/own/data-{{i:05}}.pickle', 'wb'))"
    );
    run_python(&python, folder.path(), &code);
    let location = Location::local(folder.path().join("segments"));
    let mut writer =
        SegmentsWriter::create(&location, Existing::Refuse, Header::new(Kind::List, "test"))
            .unwrap();
    for (index, i) in (0..6_000).step_by(200).enumerate() {
        let name = format!("data-{i:05}");
        let mut draft = writer.draft(&name).unwrap();
        let own = folder.path().join(format!("own/{name}.pickle"));
        draft.write_all(&std::fs::read(own).unwrap()).unwrap();
        let meta = EntryMeta { index: index as u64, items: Some(200), ..EntryMeta::default() };
        writer.commit(draft, meta).unwrap();
    }
    let segments = writer.finish().unwrap();
    let mut out = std::fs::File::create(folder.path().join("whole.merged")).unwrap();
    let bytes = merge(&segments, &mut out, &MergeOptions::default()).unwrap().bytes;
    let size = segments.bytes();
    assert!(bytes * 100 <= size * 102, "{bytes} bytes merged, {size} in segments");
    run_python(
        &python,
        folder.path(),
        &format!(
            "{RECORDS}
whole = pickle.load(open(f'{{folder}}/whole.pickle', 'rb'))
joined = pickle.load(open(f'{{folder}}/whole.merged', 'rb'))
assert whole == joined
assert all(key is other for item in joined for key, other in zip(item, joined[0]))"
        ),
    );
}
