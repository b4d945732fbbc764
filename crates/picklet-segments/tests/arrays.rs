//! Pickled arrays, with numpy as the oracle: every protocol's pickles are recognised, and those
//! made here are opened by stock pickle as the same arrays.

use std::path::Path;
use std::process::Command;

use picklet_segments::array::{Encoding, Envelope, Found, recognise};

/// The interpreter with numpy; `None` after saying loudly that there is none.
fn python() -> Option<String> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let numpy = Command::new(&python).args(["-c", "import numpy"]).output();
    if numpy.is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED: {python} has no numpy; set PICKLET_PYTHON to compare arrays with it");
    None
}

fn run(python: &str, folder: &Path, code: &str) -> String {
    let common = format!(
        "import pickle, json, sys, os\nimport numpy as np\nfolder = {folder:?}\n{ARRAYS}\n{code}"
    );
    let output = Command::new(python).arg("-c").arg(common).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const ARRAYS: &str = r#"
rng = np.random.default_rng(7)
def make():
    yield 'f8', rng.random((3, 4))
    yield 'big', rng.integers(0, 255, (70, 1000, 3), dtype='u1')
    yield 'bigger', rng.integers(0, 2**31, (300, 1000), dtype='i4')
    yield 'fortran', np.asfortranarray(rng.random((30, 40, 5)))
    yield 'swapped', rng.random((3, 4)).astype('>f4')
    yield 'bool', rng.random((5, 5)) > .5
    yield 'complex', rng.random((5,)) + 1j
    yield 'half', rng.random((5, 1)).astype('f2')
    yield 'text', np.array([['a', 'bcd'], ['서울', '']])
    yield 'bytes', np.array([b'a', b'bcd\0x'])
    yield 'void', np.zeros((3,), 'V5')
    yield 'dates', np.array(['2026-01-01', 'NaT'], 'M8[ns]')
    yield 'steps', np.array([1, 2], 'm8[25s]')
    yield 'generic', np.array([1, 2], 'm8')
    yield 'empty', np.zeros((0, 4))
    yield 'scalar', np.array(3.5)
    yield 'record', np.zeros((4, 2), [('a', 'i4'), ('b', 'f8', (2, 3)), ('c', [('x', 'u1'), ('y', '>i2')])])
    yield 'aligned', np.zeros(4, np.dtype([('a', 'u1'), ('b', 'f8')], align=True))
    yield 'titled', np.zeros(4, [(('the a', 'a'), 'u1'), ('b', 'f8')])
    yield 'offsets', np.zeros(4, {'names': ['b', 'a'], 'formats': ['f4', 'u1'], 'offsets': [4, 0], 'itemsize': 12})
    yield 'permuted', rng.random((4, 5, 6)).transpose(1, 0, 2)
    yield 'strided', rng.random((40, 50))[::2, ::3]
    readonly = rng.random((3, 3)); readonly.flags.writeable = False
    yield 'readonly', readonly
"#;

#[test]
fn arrays_of_every_protocol_are_recognised_and_come_back_equal() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run(
        &python,
        folder.path(),
        r#"
for name, a in make():
    for protocol in range(6):
        pickle.dump(a, open(f'{folder}/{name}-{protocol}.pickle', 'wb'), protocol)
        with open(f'{folder}/{name}-{protocol}-python.pickle', 'wb') as f:
            pickle._Pickler(f, protocol).dump(a)
"#,
    );
    let mut pickles: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    pickles.sort();
    assert!(pickles.len() > 200);
    let mut again = 0;
    for path in pickles {
        let bytes = std::fs::read(&path).unwrap();
        let found = match recognise(&bytes, &path).unwrap() {
            Found::Array(found) => found,
            other => panic!("{path:?}: {other:?}"),
        };
        assert_eq!(found.end, bytes.len() as u64, "{path:?}");
        let protocol = path.file_stem().unwrap().to_string_lossy().contains("-0");
        if found.encoding != Encoding::Raw {
            assert_eq!(protocol, found.encoding == Encoding::Escaped, "{path:?}");
            continue;
        }
        let payload = &bytes[found.payload.start as usize..found.payload.end as usize];
        let reversed: Vec<usize> = (0..found.shape.len()).rev().collect();
        let fortran = !found.is_c_order() && found.axes == reversed;
        if !fortran && !found.is_c_order() {
            continue;
        }
        let envelope = Envelope::new(&found.dtype, &found.shape, fortran).unwrap();
        let mut out = Vec::new();
        envelope.write(&mut out, payload).unwrap();
        assert_eq!(out.len() as u64, envelope.size());
        std::fs::write(path.with_extension("again"), &out).unwrap();
        // What is made here is recognised here.
        let Found::Array(second) = recognise(&out, &path).unwrap() else { panic!("{path:?}") };
        assert_eq!((&second.dtype, &second.shape), (&found.dtype, &found.shape));
        again += 1;
    }
    assert!(again > 100, "{again}");
    let count = run(
        &python,
        folder.path(),
        r#"
import pickletools, io
count = 0
for name, a in make():
    # As numpy's own pickle of it: unpickling turns swapped bytes into this machine's order.
    a = pickle.loads(pickle.dumps(a, 4))
    for file in sorted(os.listdir(folder)):
        if file.startswith(name + '-') and file.endswith('.again'):
            data = open(f'{folder}/{file}', 'rb').read()
            pickletools.dis(data, io.StringIO())
            for load in pickle.loads, pickle._loads:
                b = load(data)
                assert b.dtype == a.dtype and b.shape == a.shape, (file, a.dtype, b.dtype)
                assert b.dtype.isalignedstruct == a.dtype.isalignedstruct, file
                assert b.tobytes() == a.tobytes(), file
                assert repr(b) == repr(a), file
            count += 1
print(count)
"#,
    );
    assert_eq!(count.trim(), again.to_string());
}

#[test]
fn what_is_no_plain_array_is_told_apart() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    run(
        &python,
        folder.path(),
        r#"
def put(name, value, **how):
    open(f'{folder}/{name}', 'wb').write(pickle.dumps(value, **how))
put('unfit-objects', np.array([{}, 1], object))
put('unfit-fields', np.zeros(2, [('a', 'O')]))
put('unfit-matrix', np.matrix([[1, 2]]))
put('unfit-buffer', np.zeros(3), protocol=5, buffer_callback=lambda b: None)
put('other-list', [np.zeros(3)])
put('other-tuple', (np.zeros(3), 1))
put('other-dict', {'a': np.zeros(3)})
put('other-int', 3)
put('other-scalar', np.float64(3))
put('other-nested', [[]] * 3)
open(f'{folder}/other-empty', 'wb')
data = pickle.dumps(np.zeros((300, 300)), 4)
open(f'{folder}/other-cut', 'wb').write(data[:-2])
open(f'{folder}/unfit-short', 'wb').write(data.replace(b'M,\x01', b'M-\x01', 1))
"#,
    );
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let found = recognise(&bytes, &path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let right = match &found {
            Found::Unfit(why) => name.starts_with("unfit") && !why.contains('\n'),
            Found::Other => name.starts_with("other"),
            Found::Array(_) => false,
        };
        assert!(right, "{name}: {found:?}");
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[test]
fn damaged_and_hostile_pickles_end_without_a_panic() {
    let dtype = picklet_segments::array::Dtype::plain("<f8").unwrap();
    let envelope = Envelope::new(&dtype, &[3, 2], false).unwrap();
    let mut whole = Vec::new();
    envelope.write(&mut whole, &[7; 48]).unwrap();
    let path = Path::new("x");
    assert!(matches!(recognise(&whole, path), Ok(Found::Array(_))));
    for end in 0..whole.len() {
        assert!(!matches!(recognise(&whole[..end].to_vec(), path).unwrap(), Found::Array(_)));
    }
    for place in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << bit;
            if let Found::Array(found) = recognise(&bytes, path).unwrap() {
                assert!(found.payload.end <= bytes.len() as u64);
            }
        }
    }
    // Tuples without end, and a type that is its own base.
    let mut deep = b"\x80\x04)".to_vec();
    deep.extend([0x85].repeat(1 << 20));
    assert_eq!(recognise(&deep, path).unwrap(), Found::Other);
    let own_base = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\nU\x02V8\x89\x88\x87Rq\x00(K\x03U\x01|h\x00K\x02\x86NNK\x08K\x01K\x00tb\x89U\x08aaaaaaaatb.";
    assert!(matches!(recognise(&own_base.to_vec(), path).unwrap(), Found::Unfit(_)));
}
