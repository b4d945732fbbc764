//! Reader and machine held to C `_pickle` and to `pickletools.genops`: on pickles of many values
//! at all protocols, on every form of the text literals, and on mutated and made-up pickles.
//!
//! `PICKLET_CASES` sets how many mutated pickles are tried (default 20,000).

mod common;

use std::path::Path;

use common::{Tree, hex, python, tell};
use picklet_codec::{
    Arg, Driver, Limits, OPCODES, Opcode, Reader, Result, StreamReader, run, text,
};

const SCRIPT: &str = include_str!("oracle.py");

fn ask(python: &Path, what: &str, pickles: &[Vec<u8>]) -> Vec<String> {
    let mut input = Vec::new();
    for pickle in pickles {
        input.extend_from_slice(&(pickle.len() as u32).to_le_bytes());
        input.extend_from_slice(pickle);
    }
    // The script is given as text, so its argument is set from within.
    let script = SCRIPT.replace("sys.argv[1]", &format!("{what:?}"));
    let answer = String::from_utf8(common::ask(python, &script, &input)).unwrap();
    answer.lines().map(str::to_owned).collect()
}

fn corpus(python: &Path) -> Vec<Vec<u8>> {
    ask(python, "corpus", &[])
        .iter()
        .map(|line| {
            line.as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
                .collect()
        })
        .collect()
}

/// Opcode, place and argument, as the oracle writes them.
fn ops(pickle: &[u8]) -> Result<String> {
    let mut words = Vec::new();
    let mut reader = Reader::new(pickle);
    while let Some(op) = reader.next_op()? {
        let word = match op.arg {
            Arg::None => "-".to_owned(),
            Arg::Bool(value) => if value { "True" } else { "False" }.to_owned(),
            Arg::Int(value) => value.to_string(),
            Arg::UInt(value) => value.to_string(),
            Arg::BigInt(bytes) => text::le_bytes_to_decimal(bytes),
            Arg::IntText(line) => text::le_bytes_to_decimal(&text::int_text_to_le_bytes(line)),
            Arg::Float(value) => hex(&value.to_be_bytes()),
            Arg::Bytes(bytes) => hex(bytes),
            Arg::EscapedBytes(inner) => hex(&text::unescape_string(inner).unwrap()),
            Arg::Str(text) => hex(text.as_bytes()),
            Arg::EscapedStr(line) => hex(text::unescape_unicode(line).unwrap().as_bytes()),
            Arg::Line(line) => hex(line.as_bytes()),
            Arg::Global(name) => hex(format!("{} {}", name.module(), name.name()).as_bytes()),
            other => panic!("{other:?}"),
        };
        words.push(format!("{}:{}:{word}", op.opcode, op.offset));
    }
    Ok(words.join(" "))
}

#[test]
fn opcodes_places_and_arguments_are_those_of_genops() {
    let Some(python) = python() else { return };
    let pickles = corpus(&python);
    assert!(pickles.len() > 300);
    for (pickle, theirs) in pickles.iter().zip(ask(&python, "ops", &pickles)) {
        assert_eq!(ops(pickle).unwrap(), theirs, "{}", pickle.escape_ascii());
    }
}

#[test]
fn values_are_those_of_c_pickle_from_slice_and_stream() {
    let Some(python) = python() else { return };
    let pickles = corpus(&python);
    for (pickle, theirs) in pickles.iter().zip(ask(&python, "load", &pickles)) {
        let mut tree = Tree::default();
        let ours = run(&mut Reader::new(pickle), &mut tree).unwrap();
        if tree.beyond {
            // Bytes below protocol 3, sets below 4, bytearrays below 5 are calls.
            assert_eq!(theirs, "! RuntimeError: global");
            continue;
        }
        assert_eq!(format!("= {}", tell(&ours)), theirs);
        let mut stream = StreamReader::new(&pickle[..]);
        let streamed = Driver::new(Limits::default()).run_stream(&mut stream, &mut tree).unwrap();
        assert_eq!(tell(&streamed), tell(&ours));
    }
}

/// What we and C make of a pickle differ in a way that is not explained.
fn unexplained(pickle: &[u8], theirs: &str) -> Option<String> {
    let mut tree = Tree::default();
    let ours = run(&mut Reader::new(pickle), &mut tree).map(|value| tell(&value));
    // Objects, calls and odd targets lie beyond the test's builder; so do messages.
    if tree.beyond || theirs.contains("RuntimeError: global") {
        return None;
    }
    match (&ours, theirs.strip_prefix("= ")) {
        (Ok(ours), Some(theirs)) if ours == theirs => None,
        (Err(_), None) => None,
        // C allocates the memo up to the index; here an index costs nothing.
        (Ok(_), None) if theirs.starts_with("! MemoryError") => None,
        _ => Some(format!("{}\n  ours   {ours:?}\n  theirs {theirs}", pickle.escape_ascii())),
    }
}

#[track_caller]
fn compare(python: &Path, pickles: &[Vec<u8>]) {
    let answers = ask(python, "load", pickles);
    assert_eq!(answers.len(), pickles.len());
    let differing: Vec<String> = pickles
        .iter()
        .zip(&answers)
        .filter_map(|(pickle, theirs)| unexplained(pickle, theirs))
        .collect();
    assert!(
        differing.is_empty(),
        "{} of {} differ:\n{}",
        differing.len(),
        pickles.len(),
        differing.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_form_of_the_text_literals_is_read_as_c_reads_it() {
    let Some(python) = python() else { return };
    let pieces: Vec<Vec<&[u8]>> = vec![
        vec![b"", b" ", b"\t", b"\x0b", b"\r"],
        vec![b"", b"-", b"+", b"--", b"- "],
        vec![b"", b"0", b"0x", b"0X", b"0b", b"0o", b"00", b"_"],
        vec![
            b"",
            b"0",
            b"1",
            b"7",
            b"8",
            b"9",
            b"10",
            b"1_0",
            b"1__0",
            b"a",
            b"fF",
            b"0_0",
            b"1_",
            b"9223372036854775807",
            b"9223372036854775808",
            b"777777777777777777777",
            b"7fffffffffffffff",
            b"8000000000000000",
            b"1111",
            b"5\x006",
            b"\x00",
        ],
        vec![b"", b"L", b" ", b"\r", b"\x00", b"\x00z", b"LL", b" 1", b"_"],
    ];
    let mut pickles = Vec::new();
    for_each(&pieces, &mut |literal| {
        for (before, after) in [("I", "."), ("L", "."), ("Np", "."), ("K\x05q\x01g", ".")] {
            pickles.push([before.as_bytes(), literal, b"\n", after.as_bytes()].concat());
        }
    });
    let floats: Vec<Vec<&[u8]>> = vec![
        vec![b"", b" ", b"-", b"+", b"+-"],
        vec![
            b"",
            b"0",
            b"1",
            b"1.",
            b".5",
            b".",
            b"1.5",
            b"inf",
            b"Infinity",
            b"NaN",
            b"nan(1)",
            b"infi",
            b"0x1p3",
            b"1_0",
            b"1e400",
            b"123456789012345678901234567890",
            b"1.7976931348623159e308",
            b"4.9e-324",
            b"1e-400",
            b"2.2250738585072011e-308",
            b"9007199254740993",
        ],
        vec![b"", b"e5", b"e", b"e+", b"E-3", b"e05", b"\r", b" ", b"\x00", b"\x001", b"f", b"L"],
    ];
    for_each(&floats, &mut |literal| pickles.push([b"F", literal, b"\n."].concat()));
    let strings: Vec<Vec<&[u8]>> = vec![
        vec![b"'", b"\"", b"", b" '"],
        vec![
            b"",
            b"a",
            b"\\x41",
            b"\\x4",
            b"\\x",
            b"\\101",
            b"\\8",
            b"\\18",
            b"\\777",
            b"\\q",
            b"\\\\",
            b"\\'",
            b"\\\"",
            b"'",
            b"\"",
            b"\\N{DASH}",
            b"\\u0041",
            b"\xff",
            b"\\a\\b\\t\\n\\v\\f\\r\\0",
        ],
        vec![b"", b"z", b"\\"],
        vec![b"'", b"\"", b"", b"' ", b"'\r"],
    ];
    for_each(&strings, &mut |literal| pickles.push([b"S", literal, b"\n."].concat()));
    let unicodes: Vec<Vec<&[u8]>> = vec![
        vec![b"", b"a", b"\\", b"\\\\", b"\xe9", b"\x00"],
        vec![
            b"",
            b"\\u",
            b"\\u004",
            b"\\u0041",
            b"\\U0001f600",
            b"\\U00110000",
            b"\\U0000d800",
            b"\\ud83d",
            b"\\uD83D\\uDE00",
            b"\\U0001f60",
            b"\\x41",
            b"u0041",
            b"U0001f600",
            b"\\N",
        ],
        vec![b"", b"z", b"\\", b"\r"],
    ];
    for_each(&unicodes, &mut |literal| pickles.push([b"V", literal, b"\n."].concat()));
    compare(&python, &pickles);
}

/// Every choice of one piece from each list.
fn for_each(pieces: &[Vec<&[u8]>], act: &mut impl FnMut(&[u8])) {
    let total: usize = pieces.iter().map(Vec::len).product();
    for mut number in 0..total {
        let mut literal = Vec::new();
        for choices in pieces {
            literal.extend_from_slice(choices[number % choices.len()]);
            number /= choices.len();
        }
        act(&literal);
    }
}

/// A small, repeatable source of choices (xorshift).
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }

    fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

/// One opcode of those that need no object, with an argument that is mostly valid.
fn made_op(choices: &mut Choices) -> Vec<u8> {
    let fixed: &[&[u8]] = &[
        b"N",
        b"\x88",
        b"\x89",
        b"]",
        b"}",
        b")",
        b"\x8f",
        b"(",
        b"(",
        b"(",
        b"0",
        b"1",
        b"2",
        b"\x85",
        b"\x86",
        b"\x87",
        b"t",
        b"l",
        b"d",
        b"\x91",
        b"a",
        b"e",
        b"s",
        b"u",
        b"\x90",
        b"\x94",
        b"\x94",
        b"h\x00",
        b"h\x01",
        b"h\x02",
        b"q\x00",
        b"q\x01",
        b"q\x05",
        b"g0\n",
        b"p1\n",
        b"j\x01\x00\x00\x00",
        b"r\x03\x00\x00\x00",
        b"K\x00",
        b"K\x01",
        b"M\x00\x01",
        b"J\xff\xff\xff\xff",
        b"I01\n",
        b"I7\n",
        b"L5L\n",
        b"F1.0\n",
        b"G\x3f\xf0\x00\x00\x00\x00\x00\x00",
        b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\x8a\x01\x01",
        b"\x8a\x00",
        b"S'a'\n",
        b"U\x01a",
        b"T\x01\x00\x00\x00b",
        b"C\x01a",
        b"B\x01\x00\x00\x00b",
        b"\x8c\x01a",
        b"X\x01\x00\x00\x00b",
        b"Vc\n",
        b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a",
        b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a",
        b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a",
        b"\x80\x04",
        b"\x95\x01\x00\x00\x00\x00\x00\x00\x00",
    ];
    choices.of(fixed).to_vec()
}

fn mutated(choices: &mut Choices, seeds: &[Vec<u8>]) -> Vec<u8> {
    if choices.below(3) == 0 {
        let mut pickle = Vec::new();
        for _ in 0..1 + choices.below(20) {
            pickle.extend(made_op(choices));
        }
        pickle.push(b'.');
        return pickle;
    }
    let mut pickle = choices.of(seeds).clone();
    for _ in 0..1 + choices.below(3) {
        let at = choices.below(pickle.len().max(1)).min(pickle.len());
        match choices.below(6) {
            0 if at < pickle.len() => pickle[at] = choices.below(256) as u8,
            1 => drop(pickle.splice(at..at, made_op(choices))),
            2 => {
                let end = (at + choices.below(6)).min(pickle.len());
                pickle.drain(at..end);
            }
            3 => pickle.truncate(at),
            4 => {
                let opcode = choices.of(&OPCODES).opcode;
                if opcode != Opcode::Stop {
                    pickle.insert(at, opcode.byte());
                }
            }
            _ => {
                let other = choices.of(seeds);
                let from = choices.below(other.len());
                pickle.truncate(at);
                pickle.extend_from_slice(&other[from..]);
            }
        }
    }
    pickle
}

#[test]
fn mutated_pickles_are_taken_or_refused_as_c_does_with_the_same_value() {
    let Some(python) = python() else { return };
    let cases = std::env::var("PICKLET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut seeds = corpus(&python);
    seeds.retain(|pickle| pickle.len() < 400);
    let mut choices = Choices(0x9e37_79b9_7f4a_7c15);
    let mut left: usize = cases;
    while left > 0 {
        let batch = left.min(50_000);
        let pickles: Vec<_> = (0..batch).map(|_| mutated(&mut choices, &seeds)).collect();
        compare(&python, &pickles);
        left -= batch;
    }
}

#[test]
fn truncation_at_every_byte_is_an_error_that_says_so() {
    let Some(python) = python() else { return };
    for pickle in corpus(&python).iter().filter(|pickle| pickle.len() < 2000) {
        for cut in 0..pickle.len() {
            let error = common::load(&pickle[..cut]).unwrap_err();
            assert!(error.is_truncation(), "{error}");
            assert!(error.offset().unwrap() <= cut as u64, "{error}");
        }
    }
}
