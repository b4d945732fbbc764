//! `info`, `ls`, `dis`, `optimize`, `verify`, `repair`: commands that look and change nothing else.

mod common;

use std::fs;
use std::path::Path;

use common::{ask_python, folder, numbers, picklet, python, run};
use picklet_segments::{EntryMeta, Existing, Header, Kind, Location, SegmentsWriter};

/// A segments directory of lists of numbers.
fn segments(place: &Path, sizes: &[u32]) {
    use std::io::Write as _;
    let header = Header::new(Kind::List, "by hand");
    let mut writer =
        SegmentsWriter::create(&Location::local(place), Existing::Refuse, header).unwrap();
    for (index, &size) in sizes.iter().enumerate() {
        let mut draft = writer.draft(&format!("데이터-{index}")).unwrap();
        draft.write_all(&numbers(size)).unwrap();
        let meta =
            EntryMeta { index: index as u64, items: Some(size.into()), ..EntryMeta::default() };
        writer.commit(draft, meta).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn info_of_a_list_tells_items_protocol_and_that_nothing_is_imported() {
    let dir = folder();
    fs::write(dir.path().join("손님 목록.pickle"), numbers(1234)).unwrap();
    let told = run(dir.path(), ["info", "손님 목록.pickle"]).good();
    for part in ["손님 목록.pickle: list, 1,234 items", "protocol   4", "imports nothing"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn info_as_json_is_one_line_that_parses() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), b"\x80\x02ccollections\nOrderedDict\n)R.").unwrap();
    let told = run(dir.path(), ["info", "--json", "a.pickle"]).good();
    assert_eq!(told.matches('\n').count(), 1);
    let json: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(json["globals"]["collections.OrderedDict"], 1);
    assert_eq!(json["first_pickles"][0]["made_by"], "collections.OrderedDict");
}

#[test]
fn info_of_many_pickles_and_of_standard_input() {
    let dir = folder();
    let stream = [numbers(3), numbers(4), b"N.".to_vec()].concat();
    let output = picklet(dir.path()).args(["info", "-"]).write_stdin(stream).output().unwrap();
    let told = common::Ran::from(output).good();
    for part in ["3 pickles", "pickle 1   list, 4 items", "pickle 2   None"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn info_agrees_with_what_python_wrote() {
    let dir = folder();
    let program = "
import pickle, sys, collections, datetime
values = [[], [1] * 2500, tuple(range(5)), {i: str(i) for i in range(3000)}, set(range(2000)),
          frozenset('abc'), 'text', b'bytes', 1.5, None, True, 10**50,
          collections.OrderedDict(a=1, b=2), datetime.date(2020, 1, 1)]
for protocol in range(6):
    for number, value in enumerate(values):
        with open(f'{protocol}-{number}.pickle', 'wb') as f:
            pickle.dump(value, f, protocol)
        length = len(value) if isinstance(value, (list, tuple, dict)) else ''
        print(f'{protocol}-{number}.pickle', type(value).__name__, length)
";
    let Some(written) = ask_python(dir.path(), program, &[]) else { return };
    for line in written.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let told = run(dir.path(), ["info", "--json", words[0]]).good();
        let json: serde_json::Value = serde_json::from_str(&told).unwrap();
        let first = &json["first_pickles"][0];
        let top = first["top"].as_str().unwrap();
        if ["list", "tuple", "dict", "str", "float"].contains(&words[1]) {
            assert_eq!(top, words[1], "{line}");
        }
        // Before protocol 4 a set is a call, and an old int or bool has no opcode of its own.
        if let Some(length) = words.get(2).filter(|_| top != "object") {
            assert_eq!(first["items"].to_string(), **length, "{line}");
        }
        let number = words[0].chars().next().unwrap();
        if number >= '2' {
            assert_eq!(first["protocol"].to_string(), number.to_string(), "{line}");
        }
    }
}

#[test]
fn info_refuses_what_is_no_pickle_with_the_byte() {
    let dir = folder();
    fs::write(dir.path().join("empty.pickle"), b"").unwrap();
    fs::write(dir.path().join("글.txt"), "안녕하세요, this is a text\n").unwrap();
    fs::write(dir.path().join("cut.pickle"), &numbers(100)[..50]).unwrap();
    fs::write(dir.path().join("two.pickle"), [numbers(2), b"\x80\x04K".to_vec()].concat()).unwrap();
    run(dir.path(), ["info", "empty.pickle"]).refused(&["empty.pickle", "is empty"]);
    run(dir.path(), ["info", "글.txt"]).refused(&["글.txt", "byte 0", "no pickle"]);
    run(dir.path(), ["info", "cut.pickle"]).refused(&["cut.pickle", "byte 49", "cut off"]);
    run(dir.path(), ["info", "two.pickle"])
        .refused(&["byte 18", "cut off", "1 pickle", "is whole"]);
    run(dir.path(), ["info", "nowhere.pickle"]).refused(&["nowhere.pickle", "No such file"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_name_that_is_no_utf8_is_a_name_like_any_other() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = folder();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.pickle");
    fs::write(dir.path().join(name), numbers(2)).unwrap();
    let told = run(dir.path(), ["info".as_ref(), name]).good();
    assert!(told.contains("list, 2 items"), "{told}");
}

#[test]
fn ls_lists_segments_with_totals() {
    let dir = folder();
    segments(&dir.path().join("나눈 것"), &[3, 1000]);
    let told = run(dir.path(), ["ls", "나눈 것"]).good();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 4, "{told}");
    assert!(lines[0].starts_with("SEGMENT"), "{told}");
    assert!(lines[2].contains("데이터-1.pickle  1,000"), "{told}");
    assert!(lines[3].contains("2 segments") && lines[3].contains("1,003"), "{told}");
    let json = run(dir.path(), ["ls", "나눈 것", "--json"]).good();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["segments"][1]["first"], 3);
    assert_eq!(json["items"], 1003);
}

#[test]
fn ls_and_info_refuse_what_is_no_segments_directory() {
    let dir = folder();
    fs::create_dir(dir.path().join("빈")).unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    run(dir.path(), ["ls", "nowhere"]).refused(&["nowhere", "no such directory"]);
    run(dir.path(), ["ls", "빈"]).refused(&["빈", "holds no segments"]);
    run(dir.path(), ["ls", "file"]).refused(&["file"]);
    run(dir.path(), ["info", "빈"]).refused(&["빈", "holds no segments"]);
}

#[test]
fn dis_prints_what_pickletools_prints() {
    let dir = folder();
    let program = "
import pickle, sys, pickletools
for protocol in range(6):
    with open(f'{protocol}.pickle', 'wb') as f:
        pickle.dump({'이름': ['김', 1, 2.5, (None, True)], b'b': {3}}, f, protocol)
    with open(f'{protocol}.pickle', 'rb') as f, open(f'{protocol}.txt', 'w') as out:
        pickletools.dis(f, out)
";
    if ask_python(dir.path(), program, &[]).is_none() {
        return;
    }
    for protocol in 0..6 {
        let told = run(dir.path(), ["dis", &format!("{protocol}.pickle")]).good();
        let want = fs::read_to_string(dir.path().join(format!("{protocol}.txt"))).unwrap();
        assert_eq!(told, want);
    }
    let theirs = std::process::Command::new(python())
        .args(["-m", "pickletools", "-a", "-m", "-l", "2", "4.pickle", "5.pickle"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let ours = run(dir.path(), ["dis", "-a", "-m", "-l", "2", "4.pickle", "5.pickle"]).good();
    assert_eq!(ours, String::from_utf8(theirs.stdout).unwrap());
}

#[test]
fn dis_prints_every_pickle_of_a_file_when_asked() {
    let dir = folder();
    fs::write(dir.path().join("two"), b"N.K\x01.").unwrap();
    let one = run(dir.path(), ["dis", "two"]).good();
    assert_eq!(one.matches("STOP").count(), 1);
    let all = run(dir.path(), ["dis", "--all", "two"]).good();
    assert_eq!(all.matches("STOP").count(), 2);
    assert!(all.contains("    2: K    BININT1    1"), "{all}");
}

#[test]
fn dis_shows_what_it_could_and_then_the_error() {
    let dir = folder();
    fs::write(dir.path().join("cut"), b"\x80\x04]").unwrap();
    let ran = run(dir.path(), ["dis", "cut"]);
    assert!(ran.out.contains("EMPTY_LIST"), "{ran:?}");
    ran.refused(&["cut", "byte 3"]);
    fs::write(dir.path().join("deep"), [b"(".repeat(2000), b".".to_vec()].concat()).unwrap();
    run(dir.path(), ["dis", "deep"]).refused(&["deep", "byte 1000", "1000 marks", "picklet info"]);
}

#[test]
fn optimize_makes_the_bytes_that_pickletools_makes() {
    let dir = folder();
    let program = "
import pickle, pickletools
data = pickle.dumps([{'a': 1, 'b': ['x'] * 3}] * 2, 4)
open('in.pickle', 'wb').write(data + data)
open('want.pickle', 'wb').write(pickletools.optimize(data) * 2)
";
    if ask_python(dir.path(), program, &[]).is_none() {
        return;
    }
    run(dir.path(), ["optimize", "in.pickle", "-o", "작은 것.pickle"]).good();
    let want = fs::read(dir.path().join("want.pickle")).unwrap();
    assert_eq!(fs::read(dir.path().join("작은 것.pickle")).unwrap(), want);
    run(dir.path(), ["optimize", "in.pickle", "-o", "in.pickle"]).good();
    assert_eq!(fs::read(dir.path().join("in.pickle")).unwrap(), want);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "no temporary file is left");
}

#[test]
fn optimize_of_a_bad_pickle_leaves_the_output_as_it_was() {
    let dir = folder();
    fs::write(dir.path().join("cut"), &numbers(9)[..20]).unwrap();
    fs::write(dir.path().join("out"), b"before").unwrap();
    run(dir.path(), ["optimize", "cut", "-o", "out"]).refused(&["cut", "byte"]);
    assert_eq!(fs::read(dir.path().join("out")).unwrap(), b"before");
    fs::write(dir.path().join("good"), numbers(1)).unwrap();
    run(dir.path(), ["optimize", "good", "-o", "."]).refused(&["directory"]);
}

#[test]
fn verify_is_bad_when_a_segment_is_and_repair_sets_it_aside() {
    let dir = folder();
    let place = dir.path().join("out");
    segments(&place, &[10, 20, 30]);
    let told = run(dir.path(), ["verify", "out"]).good();
    assert!(told.contains("3 segments") && told.contains("all is well"), "{told}");

    let broken = place.join("데이터-1.pickle");
    let mut bytes = fs::read(&broken).unwrap();
    bytes[30] ^= 1;
    fs::write(&broken, bytes).unwrap();
    fs::remove_file(place.join("데이터-2.pickle")).unwrap();
    let ran = run(dir.path(), ["verify", "out"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.out.contains("damaged: 데이터-1.pickle"), "{ran:?}");
    assert!(ran.out.contains("missing: 데이터-2.pickle"), "{ran:?}");
    let ran = run(dir.path(), ["verify", "out", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &json["good"]), (Some(1), &false.into()));

    let ran = run(dir.path(), ["repair", "out"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("1 segment in the manifest, 2 lost"), "{ran:?}");
    run(dir.path(), ["verify", "out"]).good();
    run(dir.path(), ["repair", "out"]).good();
}

#[test]
fn repair_makes_a_manifest_of_plain_pickles() {
    let dir = folder();
    let place = dir.path().join("out");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("a.pickle"), numbers(5)).unwrap();
    fs::write(place.join("b.pickle"), numbers(6)).unwrap();
    let before = run(dir.path(), ["ls", "out"]).good();
    assert!(before.contains("no manifest"), "{before}");
    run(dir.path(), ["repair", "out"]).good();
    let after = run(dir.path(), ["ls", "out"]).good();
    assert!(after.contains("11") && !after.contains("no manifest"), "{after}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_closed_pipe_is_no_error_and_a_full_disk_is() {
    use std::process::{Command, Stdio};
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(200_000)).unwrap();
    let program = picklet(dir.path()).get_program().to_owned();
    let mut child = Command::new(&program)
        .args(["dis", "a.pickle"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0));

    for args in [["dis", "a.pickle"], ["info", "a.pickle"], ["completions", "bash"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ended = Command::new(&program)
            .args(args)
            .current_dir(dir.path())
            .stdout(full)
            .output()
            .unwrap();
        common::Ran::from(ended).refused(&["standard output", "No space left"]);
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = Command::new(&program).arg("--help").stdout(full).output().unwrap();
    common::Ran::from(ended).refused(&["No space left"]);
}
