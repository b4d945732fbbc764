//! Arrays cut into rows, cut anew and joined, with numpy as the oracle.

mod split_support;

use picklet_segments::{
    Error, Input, Kind, Location, MergeOptions, SplitOptions, Target, extract_rows, merge, resplit,
};
use split_support::{cut, folder, python, run_python};
use std::process::Command;

/// The interpreter with numpy; `None` after saying loudly that there is none.
fn with_numpy() -> Option<String> {
    let python = python()?;
    if Command::new(&python).args(["-c", "import numpy"]).status().is_ok_and(|s| s.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED: {python} has no numpy; set PICKLET_PYTHON to compare arrays with it");
    None
}

const ARRAYS: &str = r#"
import numpy as np
rng = np.random.default_rng(7)
record = [('a', 'i4'), ('b', 'f8', (2, 3)), ('c', [('x', 'u1'), ('y', '>i2')])]
arrays = {
    'flat': rng.random(101), 'rows': rng.random((101, 7)), 'images': rng.integers(0, 255, (101, 20, 30, 3), dtype='u1'),
    'fortran': np.asfortranarray(rng.random((101, 40, 5))), 'wide': np.asfortranarray(rng.random((101, 3000))),
    'swapped': rng.random((101, 4)).astype('>f4'), 'swappedf': np.asfortranarray(rng.random((101, 4)).astype('>f4')),
    'text': np.array([['a%d' % i, '서울'] for i in range(101)]), 'dates': np.arange(101).astype('M8[s]'),
    'record': np.array([(i, np.ones((2, 3)) * i, (i, -i)) for i in range(101)], record),
    'aligned': np.zeros(101, np.dtype([('a', 'u1'), ('b', 'f8')], align=True)),
    'recordf': np.asfortranarray(np.zeros((101, 2), record)),
    'empty': np.zeros((0, 4)), 'thin': np.zeros((101, 0)), 'void': np.zeros((101,), 'V5'),
}
def alike(a, b, name):
    # numpy gives arrays of a plain type the byte order of the machine when it loads them by
    # __setstate__, as it does with every protocol but 5.
    if b.dtype.names is None: a, b = (x.astype(x.dtype.newbyteorder('='), order='K') for x in (a, b))
    assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape, (name, a.dtype, b.dtype, a.shape, b.shape)
    assert a.tobytes() == b.tobytes(), name
"#;

#[test]
fn rows_are_cut_out_cut_anew_and_joined_again() {
    let Some(python) = with_numpy() else { return };
    let folder = folder();
    let code = format!(
        "{ARRAYS}
for name, array in arrays.items():
    for protocol in 3, 4, 5:
        with open(f'{{folder}}/{{name}}-{{protocol}}.pickle', 'wb') as f: pickle.dump(array, f, protocol)
        if protocol == 5:
            with open(f'{{folder}}/{{name}}-6.pickle', 'wb') as f: pickle._Pickler(f, 5).dump(array)"
    );
    run_python(&python, folder.path(), &code);
    let names = run_python(
        &python,
        folder.path(),
        "print(*(f[:-7] for f in os.listdir(folder) if f.endswith('.pickle')))",
    );
    assert!(names.split(' ').count() > 50);
    for name in names.split(' ') {
        for (way, target, most) in [
            ("count", Target::Items(13), 8),
            ("size", Target::Bytes(2000), 101),
            ("parts", Target::Parts(4), 4),
            ("one", Target::Parts(1), 1),
        ] {
            let input = Input::file(folder.path().join(format!("{name}.pickle"))).unwrap();
            let out = Location::local(folder.path().join(format!("{name}.{way}")));
            let options = SplitOptions { target, ..SplitOptions::default() };
            let report = picklet_segments::split(&input, &out, &options)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(report.segments.kind(), Kind::Array, "{name}");
            assert_eq!(report.items, if name.starts_with("empty") { 0 } else { 101 }, "{name}");
            assert!(report.segments.len() <= most, "{name}, {way}");
            let merged = folder.path().join(format!("{name}.{way}.merged"));
            let mut file = std::fs::File::create(merged).unwrap();
            merge(&report.segments, &mut file, &MergeOptions::default()).unwrap();
            let anew = Location::local(folder.path().join(format!("{name}.{way}.anew")));
            let options = SplitOptions { target: Target::Items(17), ..SplitOptions::default() };
            let anew = resplit(&report.segments, &anew, &options).unwrap();
            assert_eq!(anew.items, report.items);
        }
        let input = Input::file(folder.path().join(format!("{name}.pickle"))).unwrap();
        if !name.starts_with("empty") {
            let rows = extract_rows(&input, 40..47).unwrap().unwrap();
            std::fs::write(folder.path().join(format!("{name}.rows")), rows).unwrap();
            assert!(extract_rows(&input, 101..102).is_err());
        }
    }
    let code = format!(
        "{ARRAYS}
checked = 0
for file in sorted(os.listdir(folder)):
    name = file.split('-')[0]
    array = arrays[name]
    if file.endswith('.merged'):
        alike(pickle.load(open(f'{{folder}}/{{file}}', 'rb')), array, file)
        joined = pickle.load(open(f'{{folder}}/{{file}}', 'rb'))
        assert joined.flags.f_contiguous or array.flags.c_contiguous, file
    elif file.endswith('.rows'):
        alike(pickle.load(open(f'{{folder}}/{{file}}', 'rb')), array[40:47], file)
    elif os.path.isdir(f'{{folder}}/{{file}}'):
        at = 0
        for part in segments(file):
            alike(part, array[at:at + len(part)], file)
            assert part.flags.writeable and part.flags.f_contiguous >= array.flags.fnc
            at += len(part)
        assert at == len(array), file
    else: continue
    checked += 1
print(checked)"
    );
    let checked: u64 = run_python(&python, folder.path(), &code).parse().unwrap();
    assert!(checked > 600, "{checked}");
}

#[test]
fn what_has_no_ranges_of_bytes_is_named() {
    let Some(python) = with_numpy() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "import numpy as np
shapes = {'objects': np.array([1, 'two', None]), 'scalar': np.array(3.5), 'permuted': np.zeros((4, 5, 6)).transpose(1, 0, 2)}
for name, value in shapes.items():
    with open(f'{folder}/{name}.pickle', 'wb') as f: pickle.dump(value, f, 5)
with open(f'{folder}/text.pickle', 'wb') as f: pickle.dump(np.zeros(5), f, 2)",
    );
    for name in ["objects", "scalar", "text"] {
        let error = cut(folder.path(), name, Target::Items(2)).unwrap_err();
        let Error::NotAContainer { what, .. } = &error else { panic!("{name}: {error}") };
        assert!(what.starts_with("an array"), "{name}: {what}");
        assert!(!folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_damaged_array_leaves_no_finished_segment() {
    let Some(python) = with_numpy() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "import numpy as np
with open(f'{folder}/whole.pickle', 'wb') as f: pickle.dump(np.zeros((1000, 30)), f)",
    );
    let whole = std::fs::read(folder.path().join("whole.pickle")).unwrap();
    for length in [60, 1000, whole.len() - 9, whole.len() - 1] {
        std::fs::write(folder.path().join("part.pickle"), &whole[..length]).unwrap();
        let said = cut(folder.path(), "part", Target::Items(10)).unwrap_err().to_string();
        assert!(said.contains("cut off"), "{length}: {said}");
        assert!(!folder.path().join("part").exists());
    }
}
