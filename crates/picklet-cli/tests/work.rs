//! `split`, `map` and `run`: commands that make segments directories.

mod common;

use std::fs;

use common::{Ran, ask_python, folder, numbers, picklet, python, run};

/// Whether picklet's worker starts in the Python that tests use.
fn workers_start(dir: &std::path::Path) -> bool {
    let ran = std::process::Command::new(python())
        .args(["-c", "import picklet.worker, picklet._picklet"])
        .current_dir(dir)
        .output();
    let there = ran.is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIPPED: picklet is not installed in {:?}; set PICKLET_PYTHON", python());
    }
    there
}

#[test]
fn what_split_writes_plain_python_reads() {
    let dir = folder();
    let write = "import pickle; pickle.dump([{'번호': i, 'x': [i] * 3} for i in range(5000)], open('입력 자료.pickle', 'wb'))";
    if ask_python(dir.path(), write, &[]).is_none() {
        return;
    }
    let told =
        run(dir.path(), ["split", "입력 자료.pickle", "-o", "나눈 것", "--count", "1500"]).good();
    assert!(told.contains("나눈 것: 4 segments, 5,000 items"), "{told}");
    let read = "
import glob, pickle
files = sorted(glob.glob('나눈 것/*.pickle'))
parts = [pickle.load(open(f, 'rb')) for f in files]
assert [len(p) for p in parts] == [1500, 1500, 1500, 500], parts
assert sum(parts, []) == [{'번호': i, 'x': [i] * 3} for i in range(5000)]
";
    ask_python(dir.path(), read, &[]);
}

#[test]
fn sizes_counts_and_parts_are_what_they_say() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(1000)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "s", "--size", "1KiB", "--json"]).good();
    let parts = run(dir.path(), ["split", "a.pickle", "-o", "p", "--parts", "3", "--json"]).good();
    let json: serde_json::Value = serde_json::from_str(&parts).unwrap();
    assert_eq!((&json["segments"], &json["items"]), (&3.into(), &1000.into()));
    run(dir.path(), ["split", "a.pickle", "-o", "x", "--size", "64M"]).refused(&[
        "64M",
        "64MB",
        "64MiB",
        "picklet split --help",
    ]);
    run(dir.path(), ["split", "a.pickle", "-o", "x", "--count", "0"]).refused(&["1 or more"]);
    run(dir.path(), ["split", "a.pickle", "-o", "x", "--count", "1", "--parts", "2"])
        .refused(&["--parts", "cannot be used with"]);
    assert!(!dir.path().join("x").exists());
}

#[test]
fn a_directory_that_is_not_empty_is_refused_unless_told() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(10)).unwrap();
    let split = |more: &[&str]| {
        let args = ["split", "a.pickle", "-o", "출력", "--count", "3"];
        run(dir.path(), args.iter().chain(more).copied())
    };
    split(&["--resume"]).good();
    split(&[]).refused(&["출력", "not empty", "--resume", "--overwrite"]);
    let told = split(&["--resume"]).good();
    assert!(told.contains("4 of them from an earlier run"), "{told}");
    split(&["--overwrite"]).good();
    split(&["--resume", "--overwrite"]).refused(&["cannot be used with"]);
    fs::write(dir.path().join("출력/mine.txt"), "mine").unwrap();
    split(&["--overwrite"]).refused(&["mine.txt"]);
    assert_eq!(fs::read(dir.path().join("출력/mine.txt")).unwrap(), b"mine");
}

#[test]
fn bad_sources_are_refused_with_file_and_byte_and_leave_nothing_behind() {
    let dir = folder();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("빈 파일.pickle", b"");
    write("text.pickle", b"Dear Sir or Madam,\n");
    write("cut.pickle", &numbers(100)[..60]);
    write("scalar.pickle", b"\x80\x04K\x07.");
    let split = |source: &str| run(dir.path(), ["split", source, "-o", "out"]);
    split("빈 파일.pickle").refused(&["빈 파일.pickle", "empty"]);
    split("text.pickle").refused(&["text.pickle", "byte"]);
    split("cut.pickle").refused(&["cut.pickle", "byte"]);
    split("scalar.pickle").refused(&["scalar.pickle"]);
    split("nowhere.pickle").refused(&["nowhere.pickle", "No such file"]);
    split(".").refused(&["is a directory"]);
    assert!(!dir.path().join("out").exists());
}

#[test]
fn split_reads_standard_input() {
    let dir = folder();
    let args = ["split", "-", "-o", "out", "--count", "4"];
    let output = picklet(dir.path()).args(args).write_stdin(numbers(10)).output().unwrap();
    let told = Ran::from(output).good();
    assert!(told.contains("3 segments, 10 items"), "{told}");
}

#[test]
#[cfg(unix)]
fn a_program_maps_segments_and_resumes() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(10)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "안", "--count", "4"]).good();
    let told = run(dir.path(), ["map", "안", "-o", "밖", "-j", "2", "--", "cat"]).good();
    assert!(told.contains("밖: 3 segments, 10 items in"), "{told}");
    let told = run(dir.path(), ["map", "안", "-o", "밖", "-j", "1", "--", "cat", "{}"]).good();
    assert!(told.contains("3 segments, 3 of them from an earlier run"), "{told}");
    let told = run(dir.path(), ["map", "안", "-o", "밖", "--no-resume", "--", "cat", "{}"]).good();
    assert!(!told.contains("earlier"), "{told}");
    assert_eq!(
        fs::read(dir.path().join("안/data-00001.pickle")).unwrap(),
        fs::read(dir.path().join("밖/data-00001.pickle")).unwrap(),
    );
}

#[test]
#[cfg(unix)]
fn jq_awk_and_a_rust_program_map_segments() {
    let dir = folder();
    fs::write(dir.path().join("a.jsonl"), "{\"n\": 1}\n{\"n\": 22}\n{\"n\": 333}\n").unwrap();
    run(dir.path(), ["split", "a.jsonl", "-o", "in", "--count", "2"]).good();
    let map = |out: &str, more: &[&str]| {
        run(dir.path(), [&["map", "in", "-o", out, "-j", "2"], more].concat()).good();
        run(dir.path(), ["cat", out, "--json"]).good()
    };
    let rust = assert_cmd::cargo::cargo_bin("picklet");
    let rust = rust.to_str().unwrap();
    assert_eq!(map("rust", &["--", rust, "cat", "{}", "--pickle"]).lines().count(), 3);
    let awk = "{ gsub(/[^0-9]/, \"\"); print length($0) }";
    assert_eq!(map("awk", &["--as", "jsonl", "--", "awk", awk]), "1\n2\n3\n");
    let ran = run(dir.path(), ["map", "in", "-o", "no", "--as", "lines", "--", "cat"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("item 0") && ran.err.contains("jsonl"), "{}", ran.err);
    if std::process::Command::new("jq").arg("--version").output().is_err() {
        eprintln!("SKIPPED: jq is not installed");
        return;
    }
    let told = map("jq", &["--as", "jsonl", "--", "jq", "-c", "select(.n > 1) | [.n, \"안\"]"]);
    assert_eq!(told, "[22, \"안\"]\n[333, \"안\"]\n");
    let told = map("sum", &["--as", "json", "--", "jq", "map(.n) | add"]);
    assert_eq!(told, "23\n333\n");
}

#[test]
#[cfg(unix)]
fn a_failed_segment_is_exit_1_and_the_finished_ones_stay() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in", "--count", "3"]).good();
    let script =
        "if [ \"$1\" = data-00001 ] && [ ! -e heal ]; then echo 나쁜 자료 >&2; exit 3; fi; cat";
    let map = |more: &[&str]| {
        let head = ["map", "in", "-o", "out", "-j", "1"];
        let tail = ["--", "sh", "-c", script, "sh", "{name}"];
        run(dir.path(), head.iter().chain(more).chain(&tail).copied())
    };
    let ran = map(&[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in
        ["segment data-00001", "items 3..=5", "exit code 3", "나쁜 자료", "data-00001.pickle"]
    {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    assert!(dir.path().join("out/data-00000.pickle").exists());
    let mut ran = map(&["--on-error", "skip", "--json"]);
    let events: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "failure", "segment", "done"]);
    assert_eq!((&events[0]["segments"], &events[0]["items"]), (&2.into(), &6.into()));
    assert_eq!((&events[2]["done"], &events[2]["items"]), (&1.into(), &3.into()));
    ran.out = events[3].to_string();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["resumed"], &json["failed"][0]["index"]), (&1.into(), &1.into()));
    fs::write(dir.path().join("heal"), "").unwrap();
    let told = map(&["--only", "data-00001"]).good();
    assert!(told.contains("3 segments"), "{told}");
}

#[test]
fn map_refuses_what_cannot_be_run() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in"]).good();
    run(dir.path(), ["map", "in", "-o", "out", "--", "no-such-program"])
        .refused(&["no-such-program"]);
    run(dir.path(), ["map", "in", "-o", "in", "--", "cat"]).refused(&["input and the output"]);
    run(dir.path(), ["map", "nowhere", "-o", "out", "--", "cat"]).refused(&["nowhere"]);
    run(dir.path(), ["map", "in", "-o", "out", "--call", "a:b", "--python", "no-such-python"])
        .refused(&["no-such-python", "--python"]);
    run(dir.path(), ["map", "in", "-o", "out", "--call", "a:b", "--", "cat"])
        .refused(&["cannot be used with"]);
    run(dir.path(), ["map", "in", "-o", "out", "--call", "a:b", "--timeout", "x"])
        .refused(&["seconds"]);
}

#[test]
fn a_python_without_picklet_is_told_apart() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in"]).good();
    if ask_python(dir.path(), "", &[]).is_none() {
        return;
    }
    // Without site-packages no picklet is installed anywhere.
    let wrapper = dir.path().join("bare python");
    fs::write(&wrapper, format!("#!/bin/sh\nexec '{}' -I -S \"$@\"\n", python().display()))
        .unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let args = ["map", "in", "-o", "out", "--call", "a:b", "--python", "./bare python"];
        run(dir.path(), args).refused(&["picklet is not installed", "pip install", "--python"]);
    }
}

#[test]
#[cfg(unix)]
fn a_python_too_old_for_picklet_is_told_apart() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in"]).good();
    let old = dir.path().join("python3.8");
    let script = "#!/bin/sh\ncase $1 in -c) echo 3.8 ;; *) echo 'No module named picklet' >&2; exit 1 ;; esac\n";
    fs::write(&old, script).unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let args = ["map", "in", "-o", "out", "--call", "a:b", "--python", "./python3.8"];
    run(dir.path(), args).refused(&["Python 3.11 or newer", "is Python 3.8", "--python"]);
}

#[test]
fn a_python_function_maps_segments() {
    let dir = folder();
    if !workers_start(dir.path()) {
        return;
    }
    fs::write(dir.path().join("a.pickle"), numbers(10)).unwrap();
    let jobs = "
def double(segment):
    print('손님', len(segment))
    return [2 * number for number in segment]

def halves(segment):
    yield tuple(segment[:2])
    yield set(segment[2:])

def fail(segment):
    raise ValueError(f'나쁜 수 {segment[0]}')
";
    fs::write(dir.path().join("jobs.py"), jobs).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in", "--count", "4"]).good();
    let py = python();
    let map = |out: &str, call: &str| {
        let words: Vec<&str> = call.split(' ').collect();
        let mut command = picklet(dir.path());
        command.args(["map", "in", "-o", out, "-j", "2", "--python"]).arg(&py);
        command.arg("--call").args(words);
        Ran::from(command.output().unwrap())
    };
    for (call, items) in [
        ("operator:neg --items", "0\n-1\n-2\n"),
        ("operator:truth --filter", "1\n2\n3\n"),
        ("builtins:sorted --batch 2", "0\n1\n2\n"),
        ("jobs:halves --yields", "(0, 1)\n{2, 3}\n"),
        ("operator:add --reduce", "0\n1\n2\n"),
    ] {
        assert_eq!(map(call, call).code, Some(0), "{call}");
        let told = run(dir.path(), ["cat", call]).good();
        assert!(told.starts_with(items), "{call}: {told}");
    }
    let ran = map("out", "jobs:double");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("3 segments, 10 items in"), "{ran:?}");
    assert!(ran.err.contains("손님 4"), "what the function prints is seen: {ran:?}");
    let read = "import pickle; print(pickle.load(open('out/data-00002.pickle', 'rb')))";
    assert_eq!(ask_python(dir.path(), read, &[]).unwrap(), "[16, 18]\n");

    let ran = map("bad", "jobs:fail");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["ValueError", "나쁜 수", "items", "jobs.py", "Traceback"] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }
    map("none", "jobs:missing").refused(&["missing"]);
    map("none", "no_such_module:f").refused(&["no_such_module"]);
}

#[test]
#[cfg(unix)]
fn run_splits_and_maps_and_keeps_the_segments_between_only_while_needed() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    let between = dir.path().join("out/.picklet/run-input");
    let script = "if [ ! -e heal ] && [ \"$1\" = data-00002 ]; then exit 1; fi; cat";
    let go = |more: &[&str]| {
        let head = ["run", "a.pickle", "-o", "out", "--count", "3", "-j", "1"];
        let tail = ["--", "sh", "-c", script, "sh", "{name}"];
        run(dir.path(), head.iter().chain(more).chain(&tail).copied())
    };
    assert_eq!(go(&[]).code, Some(1));
    assert!(between.join("data-00000.pickle").exists());
    fs::write(dir.path().join("heal"), "").unwrap();
    let told = go(&[]).good();
    assert!(told.contains("3 segments, 2 of them from an earlier run"), "{told}");
    assert!(!between.exists());
    let told = go(&[]).good();
    assert!(told.contains("3 of them from an earlier run"), "{told}");
    let told = go(&["--no-resume"]).good();
    assert!(!told.contains("earlier"), "{told}");
    // Another source, another size: what was in between is nobody's.
    fs::write(dir.path().join("a.pickle"), numbers(12)).unwrap();
    let told = go(&[]).good();
    assert!(told.contains("4 segments"), "{told}");
    run(dir.path(), ["verify", "out"]).good();
}

#[test]
#[cfg(unix)]
fn run_into_a_strangers_directory_is_refused_before_anything_is_split() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    fs::create_dir(dir.path().join("out")).unwrap();
    fs::write(dir.path().join("out/mine.txt"), "mine").unwrap();
    run(dir.path(), ["run", "a.pickle", "-o", "out", "--", "cat"]).refused(&["mine.txt"]);
    assert!(!dir.path().join("out/.picklet/run-input").exists());
}

/// Ctrl-C in the middle, made certain by a segment that waits until it comes.
#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(9)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in", "--count", "3"]).good();
    let script = "if [ ! -e heal ] && [ \"$1\" = data-00001 ]; then echo waiting >&2; exec sleep 600; fi; cat";
    let args = ["map", "in", "-o", "out", "-j", "1", "--", "sh", "-c", script, "sh", "{name}"];
    // Its standard error goes through a pipe that tells when the second segment is at work.
    let mut child = Command::new(picklet(dir.path()).get_program())
        .args(args)
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "waiting");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert!(rest[0].contains("interrupted") && rest[0].contains("goes on"), "{rest:?}");
    fs::write(dir.path().join("heal"), "").unwrap();
    let told = run(dir.path(), args).good();
    assert!(told.contains("3 segments, 1 of them from an earlier run"), "{told}");
}

#[test]
fn merge_gives_back_what_was_split() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(3000)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in", "--count", "700"]).good();
    let told = run(dir.path(), ["merge", "in", "-o", "합친 것.pickle"]).good();
    assert!(told.contains("list of 5 segments"), "{told}");
    let read =
        "import pickle; assert pickle.load(open('합친 것.pickle', 'rb')) == list(range(3000))";
    ask_python(dir.path(), read, &[]);
    let output = picklet(dir.path()).args(["merge", "in", "-o", "-"]).output().unwrap();
    assert_eq!(output.stdout, fs::read(dir.path().join("합친 것.pickle")).unwrap());
    run(dir.path(), ["merge", "in", "-o", "-", "--json"]).refused(&["--json"]);
    run(dir.path(), ["merge", "nowhere", "-o", "x"]).refused(&["nowhere"]);
    run(dir.path(), ["merge", "in", "-o", "no/such/folder/x"]).refused(&["No such file"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_ends_a_merge_with_its_name() {
    let dir = folder();
    fs::write(dir.path().join("a.pickle"), numbers(3000)).unwrap();
    run(dir.path(), ["split", "a.pickle", "-o", "in", "--count", "700"]).good();
    run(dir.path(), ["merge", "in", "-o", "/dev/full"]).refused(&["/dev/full", "No space left"]);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(picklet(dir.path()).get_program());
    command.args(["merge", "in", "-o", "-"]).current_dir(dir.path()).stdout(full);
    Ran::from(command.output().unwrap()).refused(&["No space left"]);
}

#[test]
fn cat_and_get_print_items_as_python_would() {
    let dir = folder();
    let write = "
import pickle
data = [{'이름': '김', 'n': i, 'x': [1.5, None, (True, b'a')]} for i in range(10)]
pickle.dump(data, open('목록.pickle', 'wb'))
pickle.dump({'a': 1, 'b': [2]}, open('dict.pickle', 'wb'))
with open('many.pickle', 'wb') as f:
    for i in range(4):
        pickle.dump([i, i], f)
print(repr(data[7]))
";
    let Some(want) = ask_python(dir.path(), write, &[]) else { return };
    assert_eq!(run(dir.path(), ["get", "목록.pickle", "7"]).good(), want);
    run(dir.path(), ["split", "목록.pickle", "-o", "in", "--count", "4"]).good();
    assert_eq!(run(dir.path(), ["get", "in", "7"]).good(), want);
    let all = run(dir.path(), ["cat", "in"]).good();
    assert_eq!(all, run(dir.path(), ["cat", "목록.pickle"]).good());
    assert_eq!(all.lines().count(), 10);
    for limit in ["0", "1", "5", "99"] {
        let some = run(dir.path(), ["cat", "in", "--limit", limit]).good();
        assert_eq!(some, run(dir.path(), ["cat", "목록.pickle", "--limit", limit]).good());
        assert_eq!(some.lines().count(), limit.parse::<usize>().unwrap().min(10));
    }
    let json = run(dir.path(), ["get", "in", "9", "--json"]).good();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["이름"], &json["n"]), (&"김".into(), &9.into()));

    assert_eq!(run(dir.path(), ["cat", "dict.pickle"]).good(), "'a': 1\n'b': [2]\n");
    assert_eq!(run(dir.path(), ["get", "dict.pickle", "1", "--json"]).good(), "[\"b\", [2]]\n");
    assert_eq!(run(dir.path(), ["cat", "many.pickle"]).good(), "[0, 0]\n[1, 1]\n[2, 2]\n[3, 3]\n");
    assert_eq!(run(dir.path(), ["get", "many.pickle", "2"]).good(), "[2, 2]\n");
    run(dir.path(), ["get", "many.pickle", "4"]).refused(&["many.pickle", "4 pickles"]);
    let slice = run(dir.path(), ["get", "in", "-3:", "--json"]).good();
    assert_eq!(slice.lines().count(), 3);
    assert_eq!(run(dir.path(), ["get", "목록.pickle", "7:10", "--json"]).good(), slice);
    assert_eq!(run(dir.path(), ["get", "many.pickle", "1:3"]).good(), "[1, 1]\n[2, 2]\n");
    assert_eq!(run(dir.path(), ["get", "dict.pickle", "--key", "b"]).good(), "[2]\n");
    run(dir.path(), ["get", "dict.pickle", "--key", "c"]).refused(&["no key \"c\""]);
    run(dir.path(), ["get", "in", "--key", "c"]).refused(&["no dict"]);
    run(dir.path(), ["get", "in", "x"]).refused(&["no number"]);
    run(dir.path(), ["get", "in", "10"]).refused(&["no item 10", "10 items"]);
    for source in ["in", "목록.pickle"] {
        let last = run(dir.path(), ["get", source, "9"]).good();
        assert_eq!(run(dir.path(), ["get", source, "-1"]).good(), last);
        run(dir.path(), ["get", source, "-11"]).refused(&["no item -11", "10 items"]);
    }
    assert_eq!(run(dir.path(), ["get", "many.pickle", "-2"]).good(), "[2, 2]\n");
    run(dir.path(), ["get", "many.pickle", "-5"]).refused(&["many.pickle", "4 pickles"]);
    run(dir.path(), ["get", "목록.pickle", "10"]).refused(&["목록.pickle"]);

    let piped =
        picklet(dir.path()).args(["cat", "in", "--pickle", "--limit", "6"]).output().unwrap();
    fs::write(dir.path().join("stream"), piped.stdout).unwrap();
    let read = "
import pickle
f = open('stream', 'rb')
assert [d['n'] for d in pickle.load(f) + pickle.load(f)] == [0, 1, 2, 3, 4, 5] and not f.read()
";
    ask_python(dir.path(), read, &[]);
}

#[test]
fn get_reads_the_rows_of_an_array_from_a_file_and_from_segments() {
    let dir = folder();
    // As numpy pickles an array of 20 rows of three bytes.
    let mut array = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\
        \x85q\x02C\x01bq\x03\x87q\x04Rq\x05(K\x01K\x14K\x03\x86q\x06cnumpy\ndtype\nq\x07X\x02\x00\x00\
        \x00u1q\x08\x89\x88\x87q\tRq\n(K\x03X\x01\x00\x00\x00|q\x0bNNNJ\xff\xff\xff\xffJ\xff\xff\xff\
        \xffK\x00tq\x0cb\x89C<"
        .to_vec();
    array.extend(0..60);
    array.extend(b"q\rtq\x0eb.");
    fs::write(dir.path().join("배열.pickle"), array).unwrap();
    run(dir.path(), ["split", "배열.pickle", "-o", "in", "--count", "7"]).good();
    for source in ["배열.pickle", "in"] {
        let row = run(dir.path(), ["get", source, "8", "--json"]).good();
        // `(1, 3)` and the bytes 24, 25 and 26.
        assert!(row.contains("[1, [1, 3]") && row.contains("\"GBka\""), "{row}");
        assert_eq!(run(dir.path(), ["get", source, "-12", "--json"]).good(), row);
        let some = run(dir.path(), ["get", source, "1:3", "--json"]).good();
        assert!(some.contains("[1, [2, 3]") && some.contains("\"AwQFBgcI\""), "{some}");
        run(dir.path(), ["get", source, "20"]).refused(&[source, "there is no", "20"]);
        run(dir.path(), ["get", source, "--key", "a"]).refused(&[source]);
    }
    let across = run(dir.path(), ["get", "in", "5:9", "--json"]).good();
    assert_eq!(across.lines().count(), 2);
}

#[test]
fn cat_and_get_refuse_what_is_no_pickle() {
    let dir = folder();
    fs::write(dir.path().join("빈.pickle"), b"").unwrap();
    fs::write(dir.path().join("cut.pickle"), &numbers(100)[..60]).unwrap();
    fs::write(dir.path().join("text"), b"hello\n").unwrap();
    fs::write(dir.path().join("seven"), b"K\x07.").unwrap();
    for args in [&["cat"][..], &["cat", "--limit", "2"], &["get", "0"]] {
        let of = |name| {
            let (command, more) = args.split_first().unwrap();
            run(dir.path(), std::iter::once(*command).chain([name]).chain(more.iter().copied()))
        };
        of("빈.pickle").refused(&["빈.pickle", "empty"]);
        of("cut.pickle").refused(&["cut.pickle", "byte"]);
        of("text").refused(&["text", "byte"]);
        of("nowhere").refused(&["nowhere"]);
    }
    assert_eq!(run(dir.path(), ["cat", "seven"]).good(), "7\n");
    run(dir.path(), ["get", "seven", "0"]).refused(&["seven"]);
}

#[test]
fn files_of_many_pickles_and_json_lines_are_split_into_lists() {
    let dir = folder();
    let many: Vec<u8> = (0..7).flat_map(numbers).collect();
    fs::write(dir.path().join("many.pickle"), many).unwrap();
    let told = run(dir.path(), ["split", "many.pickle", "-o", "m", "--count", "3"]).good();
    assert!(told.contains("m: 3 segments, 7 items"), "{told}");
    assert_eq!(run(dir.path(), ["get", "m", "4"]).good(), "[0, 1, 2, 3]\n");

    let lines = "{\"이름\": \"김\"}\n[1, 2.5, null]\n\n\"글\"\n";
    fs::write(dir.path().join("줄.jsonl"), lines).unwrap();
    let told = run(dir.path(), ["split", "줄.jsonl", "-o", "j", "--count", "2"]).good();
    assert!(told.contains("j: 2 segments, 3 items"), "{told}");
    assert_eq!(run(dir.path(), ["cat", "j"]).good(), "{'이름': '김'}\n[1, 2.5, None]\n'글'\n");
    let args = ["split", "-", "-o", "k", "--format", "jsonl"];
    let output = picklet(dir.path()).args(args).write_stdin("1\n2\n").output().unwrap();
    assert!(Ran::from(output).good().contains("2 items"));
    run(dir.path(), ["split", "줄.jsonl", "-o", "x", "--format", "pickle"])
        .refused(&["줄.jsonl", "byte"]);
    fs::write(dir.path().join("bad.jsonl"), "{\"a\": 1}\n{oops\n").unwrap();
    run(dir.path(), ["split", "bad.jsonl", "-o", "x"]).refused(&["bad.jsonl"]);
}
