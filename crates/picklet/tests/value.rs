//! The value graph held to CPython: what C's pickler writes comes back as the same bytes, and
//! built-in objects print as `repr` prints them.

use std::process::{Command, Stdio};

use picklet::{ErrorKind, Kind, Value, json, repr};

struct Blobs<'a>(&'a [u8]);

impl<'a> Iterator for Blobs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (blob, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        self.0 = rest;
        Some(blob)
    }
}

fn oracle(count: u32) -> Option<Vec<u8>> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/value_oracle.py");
    let output = Command::new(&python)
        .args(["-X", "utf8", script, "pickles", &count.to_string()])
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{python} {script} failed");
            Some(output.stdout)
        }
        Err(error) => {
            eprintln!("SKIPPED: values are not compared with Python, {python}: {error}");
            None
        }
    }
}

#[test]
fn what_the_c_pickler_writes_comes_back_as_the_same_bytes() {
    let count = std::env::var("PICKLET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let Some(cases) = oracle(count) else { return };
    let mut blobs = Blobs(&cases);
    let (mut seen, mut failed) = (0, 0);
    while let (Some(name), Some(pickle), Some(text)) = (blobs.next(), blobs.next(), blobs.next()) {
        let name = String::from_utf8_lossy(name);
        seen += 1;
        let value = Value::from_slice(pickle).unwrap_or_else(|error| panic!("{name}: {error}"));
        let written = value.to_vec().unwrap_or_else(|error| panic!("{name}: {error}"));
        if written != pickle {
            failed += 1;
            let at = written.iter().zip(pickle).take_while(|(ours, theirs)| ours == theirs).count();
            let cut = |bytes: &[u8]| {
                let end = bytes.len().min(at + 60);
                bytes[at.saturating_sub(60).min(end)..end].escape_ascii().to_string()
            };
            if failed < 12 {
                eprintln!(
                    "{name} at byte {at}\n  ours   {}\n  python {}",
                    cut(&written),
                    cut(pickle)
                );
            }
        }
        if !text.is_empty() {
            let ours = repr::repr(value.root(), usize::MAX);
            assert!(ours.as_bytes() == text, "{name}: {:.200}", ours);
        }
    }
    assert!(seen > 1500, "the oracle gave {seen} cases");
    assert_eq!(failed, 0, "of {seen} pickles");
}

#[test]
fn nesting_a_million_deep_reads_writes_compares_prints_and_drops() {
    for (open, close) in [(&b"]"[..], &b"a"[..]), (b"(", b"t"), (b"}K\x01", b"s")] {
        let mut pickle = vec![0x80, 4];
        pickle.extend(open.repeat(1_000_000));
        pickle.extend_from_slice(b"]");
        pickle.extend(close.repeat(1_000_000));
        pickle.push(b'.');
        let value = Value::from_slice(&pickle).unwrap();
        let written = value.to_vec().unwrap();
        let again = Value::from_slice(&written).unwrap();
        assert!(value == again);
        assert!(value.to_string().len() > 2_000_000);
        assert!(json::to_json(value.root(), usize::MAX).unwrap().len() > 2_000_000);
        drop(value.clone());
    }
}

#[test]
fn a_memo_bomb_stays_linear_and_its_printing_is_cut() {
    // Each list holds the one before twice.
    let mut pickle = b"\x80\x04]\x94".to_vec();
    for level in 0..60u8 {
        pickle.extend_from_slice(&[b']', 0x94, b'(', b'h', level, b'h', level, b'e']);
    }
    pickle.push(b'.');
    let value = Value::from_slice(&pickle).unwrap();
    assert!(value.to_vec().unwrap().len() < 2 * pickle.len());
    assert!(repr::repr(value.root(), 1000).len() < 1100);
    assert!(json::to_json(value.root(), 1000).is_err());
}

#[test]
fn shared_and_recursive_objects_stay_one_object() {
    let value = Value::from_slice(b"\x80\x04]\x94K\x01ah\x00\x86.").unwrap();
    let (first, second) = (value.item(0).unwrap(), value.item(1).unwrap());
    assert!(first.is(second));
    assert_eq!(value.to_string(), "([1], [1])");
    let value = Value::from_slice(b"]\x94h\x00a.").unwrap();
    assert_eq!(value.to_string(), "[[...]]");
    assert!(value.root().is(value.item(0).unwrap()));
    assert!(json::to_json(value.root(), 1000).is_err());
    // Shared through DUP, without a memo.
    let value = Value::from_slice(b"]2a.").unwrap();
    assert!(Value::from_slice(&value.to_vec().unwrap()).unwrap().root().item(0).is_some());
}

#[test]
fn instances_print_as_calls_and_never_run() {
    let value = Value::from_slice(b"cos\nsystem\n(Vrm -rf /\ntR.").unwrap();
    assert_eq!(value.to_string(), "os.system('rm -rf /')");
    let Kind::Instance(instance) = value.kind() else { panic!("{value}") };
    assert_eq!(instance.callable_name().as_deref(), Some("os.system"));
    let value = Value::from_slice(b"(imain\nPoint\n(dVx\nI1\nsb.").unwrap();
    assert_eq!(value.to_string(), "main.Point().__setstate__({'x': 1})");
    assert_eq!(
        json::to_json(value.root(), 1000).unwrap(),
        r#"{"$call": "main.Point", "args": [], "then": [{"state": {"x": 1}}]}"#,
    );
}

#[test]
fn json_spells_what_it_has_no_word_for_as_documented() {
    for (pickle, json) in [
        (
            &b"\x80\x03(K\x01C\x04abcdNG\x7f\xf8\0\0\0\0\0\0t."[..],
            r#"[1, {"$bytes": "YWJjZA=="}, null, null]"#,
        ),
        (b"}(K\x05K\x02\x88NVa\nG?\xf8\0\0\0\0\0\0u.", r#"{"5": 2, "true": null, "a": 1.5}"#),
        (b"})K\x01s.", r#"{"$pairs": [[[], 1]]}"#),
        (b"X\x05\0\0\0\xed\xa0\xbd\"\n.", r#""\ud83d\"\n""#),
        (b"cos\nsystem\n.", r#"{"$global": "os.system"}"#),
        (b"\x8a\x09\0\0\0\0\0\0\0\0\x01.", "18446744073709551616"),
    ] {
        let value = Value::from_slice(pickle).unwrap();
        assert_eq!(json::to_json(value.root(), 1000).unwrap(), json);
    }
}

#[test]
fn names_of_globals_follow_the_protocol_written() {
    let value = Value::from_slice(b"c__builtin__\nxrange\n(K\x03tR.").unwrap();
    assert!(value.to_vec_at(4).unwrap().windows(15).any(|part| part == b"cbuiltins\nrange"));
    assert_eq!(value.to_vec_at(1).unwrap(), b"c__builtin__\nxrange\n(K\x03tR.");
    let value = Value::from_slice(b"\x80\x04C\x01x.").unwrap();
    assert!(value.to_vec_at(2).unwrap_err().to_string().contains("protocol 3"));
}

#[test]
fn impossible_mutations_are_errors_with_their_offset() {
    for (pickle, offset) in [
        (&b"K\x01K\x01a."[..], 4),
        (b")K\x01K\x01s.", 5),
        (b"N}b.", 2),
        (b"}]K\x01s.", 4),
        (b"K\x01K\x02\x93.", 4),
        (b"NNR.", 2),
        // Unhashable inside a tuple, at any depth.
        (b"}]\x85K\x01s.", 5),
        (b"\x8f(}\x85\x85\x90.", 5),
        (b"(\x8f\x85\x85\x91.", 4),
        (b"]K\x00K\x01s.", 5),
    ] {
        let error = Value::from_slice(pickle).unwrap_err();
        assert_eq!(error.offset(), Some(offset), "{error}");
        assert!(matches!(error.kind(), ErrorKind::WrongType(_)), "{error}");
    }
}

#[test]
fn values_built_here_are_values_read() {
    let built = Value::dict([
        ("a".into(), Value::list([1_i64.into(), 2.5.into(), Value::none(), true.into()]).unwrap()),
        ("b".into(), Value::tuple([Value::bytes(b"x"), "y".into()]).unwrap()),
    ])
    .unwrap();
    assert_eq!(built.to_string(), "{'a': [1, 2.5, None, True], 'b': (b'x', 'y')}");
    assert_eq!(Value::from_slice(&built.to_vec().unwrap()).unwrap(), built);
    assert_ne!(built, Value::none());
    assert_eq!(
        built.get("a").and_then(|list| list.item(1)).and_then(|item| item.as_f64()),
        Some(2.5)
    );
}

#[test]
fn keys_compare_as_python_compares_them() {
    for (pickle, shown) in [
        (&b"}(K\x01K\x02\x88K\x03u."[..], "{1: 3}"),
        (b"}(G\0\0\0\0\0\0\0\0K\x02G\x80\0\0\0\0\0\0\0K\x03\x89K\x04u.", "{0.0: 4}"),
        (b"}(G\x7f\xf8\0\0\0\0\0\0NG\x7f\xf8\0\0\0\0\0\0Nu.", "{nan: None, nan: None}"),
        (
            b"}(G\x43\xf0\0\0\0\0\0\0N\x8a\x09\0\0\0\0\0\0\0\0\x01K\x01u.",
            "{1.8446744073709552e+19: 1}",
        ),
        (b"}(K\x01\x85N\x88\x85K\x02u.", "{(1,): 2}"),
        (b"}(Va\nK\x01Va\nK\x02C\x01aK\x03u.", "{'a': 2, b'a': 3}"),
        (b"\x8f(K\x01\x88K\x02G@\0\0\0\0\0\0\0\x90.", "{1, 2}"),
        (b"(K\x05K\x05Va\n\x91.", "frozenset({5, 'a'})"),
        (b"}((K\x01K\x02\x91K\x01(K\x02\x88\x91K\x03u.", "{frozenset({1, 2}): 3}"),
        (b"\x8f((K\x01\x91\x85(\x88\x88\x91\x85\x90.", "{(frozenset({1}),)}"),
    ] {
        assert_eq!(Value::from_slice(pickle).unwrap().to_string(), shown);
    }
}

#[test]
fn lists_and_bytearrays_change_as_c_lets_them() {
    for (pickle, shown) in [
        (&b"\x96\x01\0\0\0\0\0\0\0xK\x01a(K\x02K\x03e."[..], r"bytearray(b'x\x01\x02\x03')"),
        (b"\x96\x02\0\0\0\0\0\0\0xyK\x01K\x41s.", "bytearray(b'xA')"),
        (b"](K\x05K\x06e(\x88K\x07J\xfe\xff\xff\xffK\x08u.", "[8, 7]"),
        (b"]Nb.", "[]"),
        (b"]N}\x86b.", "[]"),
    ] {
        assert_eq!(Value::from_slice(pickle).unwrap().to_string(), shown);
    }
}

#[test]
fn calls_whose_results_are_thrown_away_are_written_again_in_their_place() {
    // What is read, and what is written of it.
    for (pickle, written) in [
        (&b"cos\nputenv\n)R0N."[..], &b"Ncos\nputenv\n)R0."[..]),
        (b"](cos\nputenv\n)R0K\x01K\x02e.", b"](cos\nputenv\n)R0K\x01K\x02e."),
        (b"](cos\na\n)Rcos\nb\n)R1(K\x01K\x02e.", b"](cos\na\n)R0cos\nb\n)R0K\x01K\x02e."),
        // Inside a container that is popped, left on the stack, replaced in a dict.
        (b"]cos\na\n)Ra0]K\x01a.", b"cos\na\n)R0]K\x01a."),
        (b"cos\na\n)RK\x01.", b"cos\na\n)R0K\x01."),
        (b"}K\x01cos\na\n)RsK\x01K\x02s.", b"}K\x01cos\na\n)R0K\x02s."),
        // Imports and persistent ids.
        (b"cmine\nmodule\n0Ppid\n0K\x01.", b"cmine\nmodule\n0Ppid\n0K\x01."),
    ] {
        let value = Value::from_slice(pickle).unwrap();
        let again = value.to_vec().unwrap();
        assert_eq!(again.escape_ascii().to_string(), written.escape_ascii().to_string());
        assert_eq!(Value::from_slice(&again).unwrap(), value);
        let inside = Value::list([K1.into(), value.clone()]).unwrap().to_vec().unwrap();
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'R').count();
        assert_eq!(count(&inside), count(pickle), "{}", inside.escape_ascii());
    }
}

const K1: i64 = 1;

#[test]
fn buffers_keep_their_numbers_where_the_pickle_takes_them_in_another_order() {
    let value = Value::from_slice(b"\x80\x05\x97\x940\x97h\x00\x86.").unwrap();
    assert_eq!(value.to_vec().unwrap(), b"\x80\x05\x95\x08\0\0\0\0\0\0\0\x97\x940\x97h\x00\x86.",);
}

#[test]
fn globals_are_named_as_the_last_proto_says_and_written_as_the_highest_protocol_needs() {
    let value = Value::from_slice(b"\x8c\x0b__builtin__\x8c\x06xrange\x93.").unwrap();
    assert_eq!(value.protocol(), 4);
    let written = value.to_vec().unwrap();
    assert!(written.windows(15).any(|part| part == b"cbuiltins\nrange"), "{written:?}");
    let value = Value::from_slice(b"\x80\x02\x80\x04\x80\x02c__builtin__\nxrange\n.").unwrap();
    let written = value.to_vec().unwrap();
    assert!(written.windows(15).any(|part| part == b"cbuiltins\nrange"), "{written:?}");
}

#[test]
fn a_change_to_what_lies_outside_of_the_pickle_is_refused() {
    for pickle in [&b"cos\nenviron\n}b."[..], b"Pid\nNb.", b"NQK\x01a.", b"\x82\x01}K\x01b."] {
        let error = Value::from_slice(pickle).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WrongType(_)), "{error}");
    }
}

#[test]
fn a_thrown_away_call_finds_its_place_by_the_objects_around_it() {
    // f(C) is popped and C is the value: C's import comes first now, f's second.
    let value = Value::from_slice(b"cm\nf\ncm\nC\nq\x00\x85R0h\x00.").unwrap();
    let written = value.to_vec_at(2).unwrap();
    assert_eq!(
        written.escape_ascii().to_string(),
        b"\x80\x02cm\nC\nq\x00cm\nf\nh\x00\x85R0.".escape_ascii().to_string()
    );
}

#[test]
fn large_equal_tuples_are_one_key_and_doubling_ones_cost_nothing() {
    let tuple = [&b"("[..], &b"K\x01".repeat(5000), b"t"].concat();
    let pickle = [b"}(", &tuple[..], b"K\x01", &tuple, b"K\x02u."].concat();
    let value = Value::from_slice(&pickle).unwrap();
    assert!(matches!(value.kind(), Kind::Dict(pairs) if pairs.len() == 1));
    // Two towers of 2^64 leaves, equal, neither the other.
    let tower = [&b"N"[..], &b"2\x86".repeat(64)].concat();
    let pickle = [b"}(", &tower[..], b"K\x01", &tower, b"K\x02u."].concat();
    let value = Value::from_slice(&pickle).unwrap();
    assert!(matches!(value.kind(), Kind::Dict(pairs) if pairs.len() == 1));
}

#[test]
fn a_global_whose_names_are_python_2_strs_prints_as_any_other() {
    let value = Value::from_slice(b"U\x0bcollectionsU\x05deque\x93.").unwrap();
    assert_eq!(value.to_string(), "collections.deque");
    let at_2 = Value::from_slice(&value.to_vec_at(2).unwrap()).unwrap();
    assert_eq!(at_2.to_string(), "collections.deque");
}

#[test]
fn honest_data_of_any_size_passes_at_the_default_limits() {
    // A million memo entries, as a list of a million strings has.
    let mut pickle = b"\x80\x04](".to_vec();
    for number in 0..1_000_000 {
        let text = format!("{number}");
        pickle.extend([0x8c, text.len() as u8]);
        pickle.extend(text.as_bytes());
        pickle.push(0x94);
    }
    pickle.extend(b"e.");
    let value = Value::from_slice(&pickle).unwrap();
    let Kind::List(items) = value.kind() else { panic!("no list") };
    assert_eq!(items.count(), 1_000_000);
    assert_eq!(picklet::from_slice::<Vec<String>>(&pickle).unwrap().len(), 1_000_000);

    // A hundred thousand levels.
    let deep = [&b"]".repeat(100_000)[..], &b"a".repeat(99_999), b"."].concat();
    let value = Value::from_slice(&deep).unwrap();
    assert_eq!(Value::from_slice(&value.to_vec().unwrap()).unwrap(), value);
}

/// The memory is asked for and never touched: the bytes are borrowed.
#[cfg(target_pointer_width = "64")]
#[test]
fn four_gigabytes_of_bytes_are_one_argument() {
    const LENGTH: usize = (4 << 30) + 1;
    let mut pickle = vec![0; LENGTH + 10];
    pickle[0] = 0x8e;
    pickle[1..9].copy_from_slice(&(LENGTH as u64).to_le_bytes());
    pickle[LENGTH + 9] = b'.';
    let mut reader = picklet::codec::Reader::new(&pickle);
    let op = reader.next_op().unwrap().unwrap();
    assert!(matches!(op.arg, picklet::codec::Arg::Bytes(bytes) if bytes.len() == LENGTH));
    assert_eq!(reader.next_op().unwrap().unwrap().opcode, picklet::codec::Opcode::Stop);
}
