//! Where `Value` and CPython answer differently, as docs/differences.md tells it: each test shows
//! both answers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use picklet::{Kind, Value};

/// What `pickle.loads` gives: `repr`, the exception's name, or that the process died.
fn python_loads(pickle: &[u8]) -> Option<String> {
    let script = "import pickle, sys\n\
                  try: print(repr(pickle.loads(sys.stdin.buffer.read()))[:200])\n\
                  except Exception as error: print(type(error).__name__)";
    python(script, pickle)
}

/// What `script` prints, given `input`, or that the process died.
fn python(script: &str, input: &[u8]) -> Option<String> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let child = Command::new(&python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: {python} does not run, so that its answers are not compared");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Some("died".to_owned());
    }
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[track_caller]
fn differ(pickle: &[u8], ours: &str, theirs: &str) {
    let value = Value::from_slice(pickle).unwrap();
    assert_eq!(value.to_string(), ours);
    let again = Value::from_slice(&value.to_vec().unwrap()).unwrap();
    assert_eq!(again.to_string(), ours);
    if let Some(answer) = python_loads(pickle) {
        assert_eq!(answer, theirs, "{}", pickle.escape_ascii());
    }
}

#[test]
fn what_fails_only_in_a_call_reads_as_a_call() {
    differ(b"cbuiltins\nlen\n(K\x01tR.", "builtins.len(1)", "TypeError");
    differ(b"cno_such_module\nthing\n(tR.", "no_such_module.thing()", "ModuleNotFoundError");
    differ(
        b"cbuiltins\nobject\n)\x81}Va\nNsb.",
        "builtins.object().__setstate__({'a': None})",
        "AttributeError",
    );
}

#[test]
fn a_call_of_data_or_with_arguments_that_are_no_tuple_is_refused_as_in_python() {
    for pickle in [
        &b"K\x01)R."[..],
        b"](K\x01tR.",
        b"cbuiltins\nlen\nK\x01R.",
        b"\x80\x02K\x01)\x81.",
        b"\x80\x02cbuiltins\nobject\nK\x01\x81.",
        b"\x80\x04cbuiltins\nobject\n)K\x01\x92.",
        b"(K\x01K\x02o.",
    ] {
        let error = Value::from_slice(pickle).unwrap_err();
        assert!(error.to_string().contains("call"), "{}: {error}", pickle.escape_ascii());
        if let Some(answer) = python_loads(pickle) {
            assert!(["TypeError", "UnpicklingError"].contains(&answer.as_str()), "{answer}");
        }
    }
}

#[test]
fn a_python_2_str_stays_one_and_needs_no_encoding() {
    let pickle = b"U\x02\xc3\xa9.";
    let value = Value::from_slice(pickle).unwrap();
    assert!(matches!(value.kind(), Kind::Py2Str(b"\xc3\xa9")));
    assert_eq!(value.to_vec().unwrap(), pickle);
    if let Some(answer) = python_loads(pickle) {
        assert_eq!(answer, "UnicodeDecodeError");
    }
}

#[test]
fn what_lies_outside_of_the_pickle_is_kept_by_its_name() {
    for (pickle, theirs) in [
        (&b"Prow 7\n."[..], "UnpicklingError"),
        (b"\x80\x02\x82\x11.", "ValueError"),
        (b"\x80\x05\x97.", "UnpicklingError"),
    ] {
        let value = Value::from_slice(pickle).unwrap();
        assert!(matches!(
            value.kind(),
            Kind::PersistentId("row 7") | Kind::Extension(0x11) | Kind::Buffer(0)
        ));
        assert_eq!(value.to_vec().unwrap(), pickle);
        if let Some(answer) = python_loads(pickle) {
            assert_eq!(answer, theirs, "{}", pickle.escape_ascii());
        }
    }
}

#[test]
fn a_batch_for_an_instance_is_one_call_an_item_at_protocol_0_as_c_writes_it() {
    let value = Value::from_slice(b"\x80\x02c__main__\nMany\n)R(K\x07K\x08e.").unwrap();
    assert_eq!(value.to_string(), "__main__.Many().extend([7, 8])");
    let lines = value.to_vec_at(0).unwrap();
    let again = Value::from_slice(&lines).unwrap();
    assert_eq!(again.to_string(), "__main__.Many().extend([7]).extend([8])");
    assert_eq!(again.to_vec().unwrap(), lines);
    let script = "import pickle, sys\n\
        class Many:\n    \
            def __init__(self): self.calls = []\n    \
            def extend(self, items): self.calls.append(list(items))\n    \
            def append(self, item): self.calls.append(item)\n    \
            def __reduce__(self): return Many, (), None, iter([7, 8])\n\
        low, high = (pickle.loads(pickle.dumps(Many(), p)).calls for p in (0, 2))\n\
        print(low, high, pickle.loads(sys.stdin.buffer.read()).calls)";
    if let Some(answer) = python(script, &lines) {
        assert_eq!(answer, "[[7], [8]] [[7, 8]] [[7], [8]]");
    }
}

#[test]
fn a_key_too_deep_for_cpython_is_read() {
    let pickle = [b"}N", &b"\x85".repeat(1_000_000)[..], b"Ns."].concat();
    let value = Value::from_slice(&pickle).unwrap();
    assert!(matches!(value.kind(), Kind::Dict(pairs) if pairs.len() == 1));
    if let Some(answer) = python_loads(&pickle) {
        assert!(answer == "died" || answer == "RecursionError", "{answer}");
    }
}
