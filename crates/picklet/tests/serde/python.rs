//! What is written is what Python reads, at every protocol.

use std::collections::BTreeMap;

use picklet::{to_vec, to_vec_at};
use serde::Serialize;
use serde_bytes::Bytes;

use crate::{hex, run_python};

#[derive(Serialize)]
enum Choice {
    Unit,
    New(u8),
    Pair(i8, f64),
    Fields { x: u8 },
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Wrapped(u8);

type Tuples = ((), (u8,), (u8, u8), (u8, u8, u8), (u8, u8, u8, u8));

#[derive(Serialize)]
struct Everything<'a> {
    none: Option<u8>,
    some: Option<u8>,
    unit: (),
    unit_struct: Unit,
    wrapped: Wrapped,
    truth: bool,
    ints: Vec<i128>,
    large: u64,
    largest: u128,
    float: f64,
    letter: char,
    text: &'a str,
    bytes: &'a Bytes,
    no_bytes: &'a Bytes,
    tuples: Tuples,
    map: BTreeMap<i64, &'a str>,
    choices: Vec<Choice>,
    empty: (Vec<u8>, BTreeMap<u8, u8>),
}

const EVERYTHING: &str =
    "{'none': None, 'some': 1, 'unit': None, 'unit_struct': None, 'wrapped': 5,
 'truth': True, 'ints': [0, -1, 255, 256, 65536, -2**31, 2**31, 2**63, -2**127, 2**127 - 1],
 'large': 2**64 - 1, 'largest': 2**128 - 1, 'float': -1.5, 'letter': 'é', 'text': 'a\\n\\\\€😀',
 'bytes': bytes([0, 10, 92, 128, 255]), 'no_bytes': b'',
 'tuples': (None, (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), 'map': {-1: 'a', 2**40: 'b'},
 'choices': ['Unit', {'New': 1}, {'Pair': (-1, 0.5)}, {'Fields': {'x': 2}}, 'Unit'],
 'empty': ([], {})}";

fn everything() -> Everything<'static> {
    Everything {
        none: None,
        some: Some(1),
        unit: (),
        unit_struct: Unit,
        wrapped: Wrapped(5),
        truth: true,
        ints: vec![0, -1, 255, 256, 65536, -(1 << 31), 1 << 31, 1 << 63, i128::MIN, i128::MAX],
        large: u64::MAX,
        largest: u128::MAX,
        float: -1.5,
        letter: 'é',
        text: "a\n\\€😀",
        bytes: Bytes::new(&[0, 10, 92, 128, 255]),
        no_bytes: Bytes::new(&[]),
        tuples: ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        map: BTreeMap::from([(-1, "a"), (1 << 40, "b")]),
        choices: vec![
            Choice::Unit,
            Choice::New(1),
            Choice::Pair(-1, 0.5),
            Choice::Fields { x: 2 },
            Choice::Unit,
        ],
        empty: (Vec::new(), BTreeMap::new()),
    }
}

/// Python reads each pickle as equal to `expected`, types included.
fn assert_python_reads(pickles: &[Vec<u8>], expected: &str) {
    let program = format!(
        "import pickle, sys\nexpected = {expected}\n\
         for line in sys.stdin:\n\
         \x20   value = pickle.loads(bytes.fromhex(line))\n\
         \x20   assert repr(value) == repr(expected), (line[:99], repr(value)[:999])\n"
    );
    let lines: Vec<String> = pickles.iter().map(|pickle| hex(pickle)).collect();
    run_python(&program, lines.join("\n").as_bytes());
}

#[test]
fn every_form_at_every_protocol() {
    let pickles: Vec<_> =
        (0..=5).map(|protocol| to_vec_at(&everything(), protocol).unwrap()).collect();
    assert_python_reads(&pickles, EVERYTHING);
}

#[test]
fn containers_around_the_batch_size() {
    for size in [0, 1, 2, 999, 1000, 1001, 2000, 2001] {
        let list: Vec<usize> = (0..size).collect();
        let map: BTreeMap<usize, Vec<usize>> = (0..size).map(|at| (at, vec![at])).collect();
        let pickles: Vec<_> =
            (0..=5).map(|protocol| to_vec_at(&(&list, &map), protocol).unwrap()).collect();
        let expected = format!("(list(range({size})), {{at: [at] for at in range({size})}})");
        assert_python_reads(&pickles, &expected);
    }
}

#[test]
fn large_strings_stand_outside_of_frames() {
    let text = "é".repeat(100_000);
    let value = vec![(text.as_str(), Bytes::new(text.as_bytes())); 2];
    let pickles: Vec<_> = (0..=5).map(|protocol| to_vec_at(&value, protocol).unwrap()).collect();
    assert_python_reads(&pickles, "[('é' * 100_000, ('é' * 100_000).encode())] * 2");
}

#[derive(Serialize)]
struct Record {
    identifier: u32,
    description: String,
    measurements: Vec<f64>,
}

#[test]
fn records_are_no_larger_than_pythons() {
    let records: Vec<Record> = (0..5000)
        .map(|at| Record {
            identifier: at,
            description: format!("record {at}"),
            measurements: vec![f64::from(at), 0.5],
        })
        .collect();
    let program = "import pickle, sys\n\
        rows = [{'identifier': at, 'description': f'record {at}', 'measurements': [float(at), 0.5]} \
                for at in range(5000)]\n\
        for protocol in range(6): print(len(pickle.dumps(rows, protocol)))\n";
    let printed = run_python(program, b"").unwrap_or_default();
    for (protocol, line) in String::from_utf8(printed).unwrap().lines().enumerate() {
        let theirs: usize = line.parse().unwrap();
        let ours = to_vec_at(&records, protocol as u8).unwrap().len();
        assert!(ours <= theirs, "protocol {protocol}: {ours} bytes, Python's {theirs}");
    }
    assert!(to_vec(&records).unwrap().len() < 250_000);
}
