//! `picklet scan` as a user sees it, on pickles that hide what they run and on ordinary data.

mod common;

use std::path::Path;

use common::{ask_python, folder, run};
use serde_json::Value;

const CALL: &[u8] = b"cos\nsystem\n(S'echo hi'\ntR.";

fn json_of(folder: &Path, args: &[&str]) -> (Option<i32>, Value) {
    let mut all = vec!["scan", "--format", "json"];
    all.extend(args);
    let ran = run(folder, all);
    let value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"));
    (ran.code, value)
}

/// Writes the evasions; each that can run in CPython is run there, and must.
fn evasions(folder: &Path) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/attacks/evasions.py");
    let program = "import runpy, sys; sys.argv = sys.argv[1:]; \
                   runpy.run_path(sys.argv[0], run_name='__main__')";
    ask_python(folder, program, &[script.to_str().unwrap(), "evasions", "--execute"])?;
    let manifest = std::fs::read_to_string(folder.join("evasions/manifest.json")).unwrap();
    Some(serde_json::from_str(&manifest).unwrap())
}

#[test]
fn no_way_of_hiding_what_runs_is_clean() {
    let folder = folder();
    let Some(manifest) = evasions(folder.path()) else { return };
    let (code, report) = json_of(folder.path(), &["evasions"]);
    assert_eq!(code, Some(1));
    let files = report["files"].as_array().unwrap();
    let mut missed = Vec::new();
    let mut dangerous = 0;
    for evasion in manifest.as_array().unwrap() {
        let name = evasion["file"].as_str().unwrap();
        let file = files.iter().find(|file| file["path"].as_str().unwrap().ends_with(name));
        match file.map_or("not looked at", |file| file["verdict"].as_str().unwrap()) {
            "dangerous" => dangerous += 1,
            "suspicious" => {}
            other => missed.push(format!("{name}: {other}")),
        }
    }
    assert_eq!(missed, Vec::<String>::new());
    assert!(dangerous >= 85, "{dangerous} are called dangerous");
    let ways: Vec<&str> =
        manifest.as_array().unwrap().iter().map(|one| one["class"].as_str().unwrap()).collect();
    for way in WAYS {
        assert!(ways.contains(way), "no file hides by {way}: {ways:?}");
    }
}

/// The ways of hiding that have to have files.
const WAYS: &[&str] = &[
    "memo across pickles",
    "EXT",
    "persistent ids",
    "BUILD on imported things",
    "dotted names",
    "discarded results",
    "frames",
    "junk before or after",
    "truncated tails",
    "odd extensions",
    "zip members",
    "encrypted members",
    "duplicate members",
    "tar",
    "gzip",
    "zip in zip",
    "pickles in bytes",
    "INST and OBJ",
    "names built through the memo",
    "unicode look-alikes",
    "Python 2 names",
    "raw data of joblib",
    "streams behind a stream",
];

#[test]
fn state_dicts_as_torch_writes_them_are_clean_and_what_hides_in_them_is_not() {
    let folder = folder();
    let path = folder.path();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/torch/layout.py");
    let program = "import runpy, sys; sys.argv = sys.argv[1:]; \
                   runpy.run_path(sys.argv[0], run_name='__main__')";
    if ask_python(path, program, &[script.to_str().unwrap(), "torch"]).is_none() {
        return;
    }
    for (file, format) in
        [("torch/layout.pt", "torch zip"), ("torch/layout_legacy.pt", "torch legacy")]
    {
        let (code, report) = json_of(path, &[file]);
        let found = &report["files"][0];
        assert_eq!((code, &found["verdict"]), (Some(0), &Value::from("clean")), "{found:#}");
        assert_eq!(found["added_policies"], serde_json::json!(["torch"]));
        let formats: Vec<&str> =
            found["formats"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(formats.contains(&format), "{formats:?}");
        let whole = std::fs::read(path.join(file)).unwrap();
        let at = whole.windows(11).position(|name| name == b"OrderedDict").unwrap();
        let mut changed = whole.clone();
        changed[at..at + 11].copy_from_slice(b"namedtuple\n");
        std::fs::write(path.join("changed.pt"), changed).unwrap();
        assert_ne!(json_of(path, &["changed.pt"]).0, Some(0), "{file}");
    }
}

/// What people really pickle. Made by the interpreter at hand; numpy's part where it has numpy.
const ORDINARY: &str = r"
import array, collections, datetime, decimal, fractions, gzip, bz2, lzma, pickle, uuid, zipfile, pathlib
import ipaddress, zlib, io, tarfile, os
values = {
    'plain': [None, True, 1, -2**70, 1.5, 'é\ud800', b'b', (), (1,), [2], {'k': 3}, {4}, frozenset([5]), bytearray(b'x')],
    'time': [datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), datetime.date(2020, 1, 1),
             datetime.time(1, 2), datetime.timedelta(1, 2, 3)],
    'numbers': [decimal.Decimal('1.5'), fractions.Fraction(1, 3), 3j, range(3), slice(1, None)],
    'collections': [collections.OrderedDict(a=1), collections.Counter('abca'), collections.deque([1], 3),
                    collections.defaultdict(list, a=[1]), collections.ChainMap({}), collections.UserDict(a=1)],
    'others': [uuid.UUID(int=5), pathlib.PurePosixPath('a/b'), ipaddress.ip_address('127.0.0.1'),
               array.array('i', [1, 2]), ValueError('x'), Ellipsis, NotImplemented, int],
    'many': [{'id': i, 'name': f'n{i}', 'tags': ('a', 'b')} for i in range(5000)],
}
os.mkdir('ordinary'); os.chdir('ordinary')
for name, value in values.items():
    for protocol in range(6):
        with open(f'{name}_{protocol}.pkl', 'wb') as f: pickle.dump(value, f, protocol)
        with open(f'{name}_{protocol}_python.pkl', 'wb') as f: pickle._Pickler(f, protocol).dump(value)
with open('stream.pkl', 'wb') as f:
    for value in values.values(): pickle.dump(value, f)
data = pickle.dumps(values['many'])
for name, compressed in dict(gz=gzip.compress(data), bz2=bz2.compress(data), xz=lzma.compress(data),
        lzma=lzma.compress(data, format=lzma.FORMAT_ALONE), zlib=zlib.compress(data)).items():
    open(f'data.{name}', 'wb').write(compressed)
with zipfile.ZipFile('data.zip', 'w', zipfile.ZIP_DEFLATED) as archive: archive.writestr('data.pkl', data)
with tarfile.open('data.tar', 'w') as archive:
    info = tarfile.TarInfo('data.pkl'); info.size = len(data); archive.addfile(info, io.BytesIO(data))
try:
    import numpy as np
except ImportError:
    np = None
if np is not None:
    arrays = {'dtypes': [np.zeros(3, t) for t in '? i1 u2 i4 f2 f8 c16 U5 S3 M8[s] m8[D] V4'.split()],
              'structured': np.zeros(2, [('a', 'f4'), ('b', 'U3'), ('c', [('d', 'i8', (2, 2))])]),
              'objects': np.array([1, 'a', None, [1]], dtype=object),
              'scalars': [np.float64(1), np.int8(2), np.datetime64('2020-01-01')],
              'big': np.arange(100000.0)}
    for name, value in arrays.items():
        for protocol in range(6):
            with open(f'{name}_{protocol}.pkl', 'wb') as f: pickle.dump(value, f, protocol)
    np.save('objects.npy', arrays['objects'], allow_pickle=True)
    np.save('big.npy', arrays['big'])
    np.savez('arrays.npz', **{k: v for k, v in arrays.items() if isinstance(v, np.ndarray)})
open('notes.txt', 'w').write('The cat sat.\nconfig\nvalues\n(see below)\n' * 50)
open('noise.bin', 'wb').write(bytes((i * i * 7 + i // 3) % 256 for i in range(300000)))
";

#[test]
fn ordinary_data_is_clean_at_every_protocol_and_in_every_container() {
    let folder = folder();
    if ask_python(folder.path(), ORDINARY, &[]).is_none() {
        return;
    }
    let (code, report) = json_of(folder.path(), &["ordinary"]);
    let bad: Vec<&Value> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["verdict"] != "clean")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(code, Some(0));
    assert_eq!(report["files_without_pickles"], 2);
    assert!(report["files_scanned"].as_u64().unwrap() > 70, "{report}");
}

#[test]
fn exit_codes_say_clean_found_and_unreadable_and_a_finding_outranks() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("clean.pkl"), b"\x80\x04N.").unwrap();
    std::fs::write(path.join("bad.pkl"), CALL).unwrap();
    std::fs::write(path.join("cut.pkl"), b"\x80\x04](").unwrap();
    std::fs::write(path.join("notes.txt"), "no pickle here\n").unwrap();
    assert_eq!(run(path, ["scan", "clean.pkl"]).good(), "clean.pkl: clean (pickle)\n");
    assert_eq!(run(path, ["scan", "bad.pkl"]).code, Some(1));
    run(path, ["scan", "cut.pkl"]).refused(&["cut.pkl", "byte 4"]);
    run(path, ["scan", "notes.txt"]).refused(&["notes.txt", "no pickle"]);
    run(path, ["scan", "missing.pkl"]).refused(&["missing.pkl"]);
    assert_eq!(run(path, ["scan", "cut.pkl", "bad.pkl"]).code, Some(1));
    let all = run(path, ["scan", "."]);
    assert_eq!(all.code, Some(1));
    let last = all.out.lines().last().unwrap();
    assert_eq!(last, "4 files scanned: 1 dangerous, 1 unreadable, 1 clean, 1 without pickles");
    assert_eq!(run(path, ["scan", "clean.pkl", "notes.txt"]).code, Some(2));
    assert_eq!(run(path, ["scan", "*.txt", "clean.pkl"]).code, Some(0));
}

#[test]
fn standard_input_and_segments_are_scanned_too() {
    let folder = folder();
    let path = folder.path();
    let mut command = common::picklet(path);
    let output = command.args(["scan", "-"]).write_stdin(CALL).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("os.system(b'echo hi')"), "{text}");
    std::fs::write(path.join("n.pkl"), common::numbers(100)).unwrap();
    run(path, ["split", "n.pkl", "-o", "out", "--count", "10"]);
    let (code, report) = json_of(path, &["out"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("clean")));
    assert!(report["files"].as_array().unwrap().len() >= 10);
}

#[test]
fn what_is_allowed_by_name_is_no_finding_and_strict_makes_findings_dangerous() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("own.pkl"), b"\x80\x04\x8c\x04shop\x8c\x05Order\x93)\x81.").unwrap();
    let (code, report) = json_of(path, &["own.pkl"]);
    assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("suspicious")));
    assert_eq!(json_of(path, &["own.pkl", "--strict"]).1["verdict"], "dangerous");
    let (code, report) = json_of(path, &["own.pkl", "--allow", "shop.Order"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("clean")));
    run(path, ["scan", "own.pkl", "--allow", "shop"]).refused(&["allow", "shop"]);
}

fn valid(schema: &Path, report: &Value) {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    let index = compiler.compile(schema.to_str().unwrap(), &mut schemas).unwrap();
    if let Err(error) = schemas.validate(report, index) {
        panic!("{error:#}");
    }
}

/// Reports of findings, members, damage and imports.
fn mixed(path: &Path) {
    std::fs::write(path.join("bad.pkl"), CALL).unwrap();
    std::fs::write(path.join("한글 1.pkl"), b"\x80\x04\x82\x01Pid\n\x86").unwrap();
    std::fs::write(path.join("cut.pkl"), b"\x80\x04](").unwrap();
    std::fs::write(path.join("clean.pkl"), b"\x80\x04N.").unwrap();
}

#[test]
fn json_reports_keep_to_their_schema() {
    let folder = folder();
    mixed(folder.path());
    let (_, report) = json_of(folder.path(), &["."]);
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scan.schema.json");
    valid(&docs, &report);
    assert_eq!(report["files"].as_array().unwrap().len(), 4);
}

/// The standard's own schema, in the sources of a crate that `make test` fetches.
fn official_schema() -> Option<std::path::PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/sarif/Cargo.toml");
    let told = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    if !told.status.success() && std::env::var_os("CI").is_some() {
        panic!("{}", String::from_utf8_lossy(&told.stderr));
    }
    let told: Value = serde_json::from_slice(&told.stdout).ok()?;
    let package = told["packages"].as_array()?.iter().find(|one| one["name"] == "serde-sarif")?;
    Some(Path::new(package["manifest_path"].as_str()?).with_file_name("src").join("schema.json"))
}

#[test]
fn sarif_reports_keep_to_sarif_2_1_0() {
    let folder = folder();
    mixed(folder.path());
    let ran = run(folder.path(), ["scan", "--format", "sarif", "."]);
    assert_eq!(ran.code, Some(1));
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sarif.schema.json");
    valid(&own, &report);
    match official_schema() {
        Some(official) => valid(&official, &report),
        None => {
            eprintln!("SKIPPED: `cargo fetch --manifest-path testdata/sarif/Cargo.toml` brings it")
        }
    }
    let results = report["runs"][0]["results"].as_array().unwrap();
    let rules = report["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    for result in results {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]), "{result}");
    }
    let call = results.iter().find(|result| result["ruleId"] == "dangerous-call").unwrap();
    assert_eq!(call["level"], "error");
    let region = &call["locations"][0]["physicalLocation"]["region"];
    assert_eq!(region["byteOffset"], CALL.len() - 2);
}

#[test]
fn explain_shows_imports_calls_sharing_and_what_ran_before_an_error() {
    let folder = folder();
    let path = folder.path();
    std::fs::write(path.join("call.pkl"), CALL).unwrap();
    let told = run(path, ["explain", "call.pkl"]).good();
    assert_eq!(
        told,
        "# call.pkl, pickle 0, byte 0\n\
         from os import system  # byte 0: dangerous, runs commands of the system\n\
         _1 = os.system(b'echo hi')  # byte 24: dangerous, runs commands of the system\n\
         result = _1\n"
    );
    std::fs::write(path.join("shared.pkl"), b"\x80\x04]\x94(h\x00h\x00t.").unwrap();
    let told = run(path, ["explain", "shared.pkl"]).good();
    assert!(told.ends_with("_1 = []  # used 3 times\nresult = (_1, _1)\n"), "{told}");
    std::fs::write(path.join("cycle.pkl"), b"\x80\x04]\x94h\x00a.").unwrap();
    let told = run(path, ["explain", "cycle.pkl"]).good();
    assert!(told.contains("_1 = [_1]"), "{told}");
    std::fs::write(path.join("cut.pkl"), &CALL[..CALL.len() - 1]).unwrap();
    let ran = run(path, ["explain", "cut.pkl"]);
    assert!(ran.out.contains("_1 = os.system"), "{ran:?}");
    ran.refused(&["cut.pkl", "STOP"]);
}

#[test]
fn explain_is_bounded_whatever_the_pickle() {
    let folder = folder();
    let path = folder.path();
    let many = [&b"("[..], &b"cos\nsystem\n)R".repeat(5000), b"t."].concat();
    std::fs::write(path.join("many.pkl"), many).unwrap();
    let told = run(path, ["explain", "--lines", "10", "many.pkl"]).good();
    assert_eq!(told.lines().count(), 13, "{told}");
    assert!(told.contains("# 4991 more lines are left out"), "{told}");
    let tower = [&b"\x80\x04N"[..], &b"2\x86".repeat(20_000), b"."].concat();
    std::fs::write(path.join("tower.pkl"), tower).unwrap();
    let told = run(path, ["explain", "tower.pkl"]).good();
    assert!(told.lines().count() < 210 && told.len() < 100_000, "{}", told.len());
    let deep = [&b"\x80\x04"[..], &b"]".repeat(200_000), &b"a".repeat(199_999), b"."].concat();
    std::fs::write(path.join("deep.pkl"), deep).unwrap();
    assert!(run(path, ["explain", "deep.pkl"]).good().len() < 1000);
}
