//! What the writer chooses is what C `_pickle` chooses: compared byte by byte, at all protocols.

mod common;

use picklet_codec::writer::{Batch, BatchStyle, batches};
use picklet_codec::{Opcode, PickleString, Result, Writer};

/// A value to write, and the Python expression that makes it. No object appears twice.
enum Sample {
    None,
    Bool(bool),
    Int(i64),
    Big(Vec<u8>),
    Float(f64),
    Str(PickleString),
    Bytes(Vec<u8>),
    ByteArray(Vec<u8>),
    Tuple(Vec<Sample>),
    List(Vec<Sample>),
    Dict(Vec<(Sample, Sample)>),
    Set(Vec<Sample>),
    Global(&'static str, &'static str),
}

type Sink<'s> = Writer<&'s mut Vec<u8>>;

/// Walks a sample as C's `save` does.
fn save(writer: &mut Sink<'_>, sample: &Sample) -> Result<()> {
    writer.boundary()?;
    match sample {
        Sample::None => return writer.none(),
        Sample::Bool(value) => return writer.bool(*value),
        Sample::Int(value) => return writer.int(*value),
        Sample::Big(bytes) => return writer.big_int(bytes),
        Sample::Float(value) => return writer.float(*value),
        Sample::Str(text) => writer.str(text.as_pickle_str())?,
        Sample::Bytes(bytes) => writer.bytes(bytes)?,
        Sample::ByteArray(bytes) => writer.byte_array(bytes)?,
        Sample::Tuple(items) if items.is_empty() => return writer.empty_tuple(),
        Sample::Tuple(items) => {
            if writer.tuple_needs_mark(items.len()) {
                writer.op(Opcode::Mark)?;
            }
            for item in items {
                save(writer, item)?;
            }
            writer.end_tuple(items.len())?;
        }
        Sample::List(items) => {
            writer.empty_list()?;
            writer.memoize()?;
            let ends = [Opcode::Append, Opcode::Appends];
            let items: Vec<_> = items.iter().map(|item| vec![item]).collect();
            return save_batches(writer, BatchStyle::List, ends, &items);
        }
        Sample::Dict(pairs) => {
            writer.empty_dict()?;
            writer.memoize()?;
            let ends = [Opcode::SetItem, Opcode::SetItems];
            let items: Vec<_> = pairs.iter().map(|(key, value)| vec![key, value]).collect();
            return save_batches(writer, BatchStyle::Dict, ends, &items);
        }
        Sample::Set(items) => {
            writer.op(Opcode::EmptySet)?;
            writer.memoize()?;
            let ends = [Opcode::AddItems, Opcode::AddItems];
            let items: Vec<_> = items.iter().map(|item| vec![item]).collect();
            return save_batches(writer, BatchStyle::Set, ends, &items);
        }
        Sample::Global(module, name) if writer.protocol() < 4 => writer.global(module, name)?,
        Sample::Global(module, name) => {
            for text in [module, name] {
                save(writer, &Sample::Str((*text).into()))?;
            }
            writer.op(Opcode::StackGlobal)?;
        }
    }
    writer.memoize()?;
    Ok(())
}

fn save_batches(
    writer: &mut Sink<'_>,
    style: BatchStyle,
    [one, many]: [Opcode; 2],
    items: &[Vec<&Sample>],
) -> Result<()> {
    let mut items = items.iter();
    for batch in batches(style, writer.protocol(), items.len()) {
        let (count, end) = match batch {
            Batch::One => (1, one),
            Batch::Many(count) => {
                writer.op(Opcode::Mark)?;
                (count, many)
            }
        };
        for sample in items.by_ref().take(count).flatten() {
            save(writer, sample)?;
        }
        writer.op(end)?;
    }
    assert!(items.next().is_none());
    Ok(())
}

fn dumps(sample: &Sample, protocol: u8) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, protocol)?;
    writer.start()?;
    save(&mut writer, sample)?;
    writer.stop()?;
    assert_eq!(writer.position(), writer.get_ref().len() as u64);
    Ok(bytes)
}

fn text(text: &str) -> Sample {
    Sample::Str(text.into())
}

fn ints(range: std::ops::Range<i64>) -> Vec<Sample> {
    range.map(Sample::Int).collect()
}

/// Samples, with the first protocol at which C writes them as they are written here.
fn samples() -> Vec<(u8, String, Sample)> {
    let mut samples = vec![
        (0, "None".to_owned(), Sample::None),
        (0, "True".into(), Sample::Bool(true)),
        (0, "False".into(), Sample::Bool(false)),
        (0, "()".into(), Sample::Tuple(vec![])),
        (3, "b''".into(), Sample::Bytes(vec![])),
        (5, "bytearray(b'abc')".into(), Sample::ByteArray(b"abc".to_vec())),
        (4, "set()".into(), Sample::Set(vec![])),
        (0, "__import__('datetime').date".into(), Sample::Global("datetime", "date")),
        (0, "b.join".into(), Sample::Global("posixpath", "join")),
    ];
    for value in [
        0,
        1,
        -1,
        255,
        256,
        65535,
        65536,
        -32768,
        0x7fff_ffff,
        -0x8000_0000,
        0x8000_0000,
        -0x8000_0001,
        0x7f_ffff_ffff,
        0x80_0000_0000,
        i64::MAX,
        i64::MIN,
        i64::MIN + 1,
    ] {
        samples.push((0, value.to_string(), Sample::Int(value)));
    }
    for shift in [63, 64, 127, 500, 2039, 2040, 2047, 5000] {
        for (text, add) in [("", 0), ("-1", -1), ("+1", 1)] {
            for sign in ["", "-"] {
                let value: num_bigint::BigInt = (num_bigint::BigInt::from(1) << shift) + add;
                let value = if sign.is_empty() { value } else { -value };
                let bytes = value.to_signed_bytes_le();
                samples.push((0, format!("{sign}(2**{shift}{text})"), Sample::Big(bytes)));
            }
        }
    }
    for value in [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.1,
        1e15,
        1e16,
        123456789012345680.0,
        1e-4,
        1e-5,
        1.5e-7,
        1e22,
        1e100,
        5e-324,
        f64::MAX,
        f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NEG_INFINITY,
        9007199254740993.0,
        2.5e-310,
        100.0,
        1e300,
    ] {
        samples.push((0, format!("u({:#x})", value.to_bits()), Sample::Float(value)));
    }
    samples.push((0, "float('nan')".into(), Sample::Float(f64::NAN)));
    for value in
        ["", "a", "é\\\n\r\0\u{1a}\t~\u{7f}\u{80}ÿ", "Ā\u{ffff}", "😀", "한국어", "\\u0041"]
    {
        let points: Vec<_> = value.chars().map(|char| char as u32).collect();
        samples.push((0, format!("s({points:?})"), text(value)));
    }
    samples.push((
        0,
        "s([0xd83d, 0xde00])".into(),
        Sample::Str(PickleString::from_code_points([0xd83d, 0xde00]).unwrap()),
    ));
    for len in [255, 256, 65535, 65536, 200_000] {
        samples.push((0, format!("'x' * {len}"), text(&"x".repeat(len))));
        samples.push((3, format!("b'x' * {len}"), Sample::Bytes(vec![b'x'; len])));
        samples.push((5, format!("bytearray({len})"), Sample::ByteArray(vec![0; len])));
    }
    for len in [1, 2, 3, 4, 5] {
        samples.push((0, format!("tuple(range({len}))"), Sample::Tuple(ints(0..len))));
    }
    for len in [0, 1, 2, 999, 1000, 1001, 2000, 2001, 5000, 30_000] {
        samples.push((0, format!("list(range({len}))"), Sample::List(ints(0..len))));
        let pairs = (0..len).map(|key| (Sample::Int(key), Sample::None)).collect();
        samples.push((0, format!("dict.fromkeys(range({len}))"), Sample::Dict(pairs)));
        samples.push((4, format!("set(range({len}))"), Sample::Set(ints(0..len))));
    }
    // Frames close at 64 KiB, and large strings stand between them.
    for len in [65_524, 65_525, 65_526, 65_530, 65_536] {
        let list = vec![text(&"y".repeat(len - 10)), text("tail"), Sample::Int(7)];
        samples.push((0, format!("['y' * ({len} - 10), 'tail', 7]"), Sample::List(list)));
    }
    let strings = (0..20_000).map(|n| text(&format!("item {n}"))).collect();
    samples.push((0, "[f'item {n}' for n in range(20000)]".into(), Sample::List(strings)));
    let mixed = vec![
        text("a"),
        text(&"b".repeat(70_000)),
        text("c"),
        text(&"d".repeat(70_000)),
        text(&"e".repeat(70_001)),
        Sample::None,
    ];
    samples.push((
        0,
        "['a', 'b' * 70000, 'c', 'd' * 70000, 'e' * 70001, None]".into(),
        Sample::List(mixed),
    ));
    samples
}

const SCRIPT: &str = r"
import hashlib, pickle, struct, sys
from posixpath import join
def u(bits): return struct.unpack('<d', struct.pack('<Q', bits))[0]
def s(points): return ''.join(map(chr, points))
class b: join = join
for line in sys.stdin.buffer.read().decode().splitlines():
    protocol, expression = line.split(' ', 1)
    data = pickle.dumps(eval(expression), int(protocol))
    print(hashlib.sha256(data).hexdigest(), len(data), data[:200].hex())
";

#[test]
fn bytes_are_those_of_c_pickle_for_every_kind_and_protocol() {
    let Some(python) = common::python() else {
        return;
    };
    let samples = samples();
    let mut asked = String::new();
    let mut written = Vec::new();
    for (first, expression, sample) in &samples {
        for protocol in *first..=5 {
            asked.push_str(&format!("{protocol} {expression}\n"));
            written.push((protocol, expression, dumps(sample, protocol).unwrap()));
        }
    }
    let answer = String::from_utf8(common::ask(&python, SCRIPT, asked.as_bytes())).unwrap();
    let answers: Vec<&str> = answer.lines().collect();
    assert_eq!(answers.len(), written.len());
    for ((protocol, expression, bytes), answer) in written.iter().zip(answers) {
        let head = common::hex(&bytes[..bytes.len().min(200)]);
        let ours = format!("{} {} {head}", sha256(bytes), bytes.len());
        assert_eq!(ours, answer, "{expression} at protocol {protocol}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    common::hex(&sha2::Sha256::digest(bytes))
}

#[test]
fn what_was_written_reads_back() {
    for (first, expression, sample) in samples() {
        for protocol in first..=5 {
            let bytes = dumps(&sample, protocol).unwrap();
            common::load(&bytes).unwrap_or_else(|error| panic!("{expression}: {error}"));
        }
    }
}

#[test]
fn frames_can_be_left_out() {
    let mut writer = Writer::new(Vec::new(), 4).unwrap().without_frames();
    writer.start().unwrap();
    writer.str("hello".into()).unwrap();
    writer.stop().unwrap();
    assert_eq!(writer.into_inner().unwrap(), b"\x80\x04\x8c\x05hello.");
}

#[test]
fn memo_opcodes_follow_protocol_and_index() {
    for (protocol, index, put, get) in [
        (0, 300, &b"p300\n"[..], &b"g300\n"[..]),
        (1, 255, b"q\xff", b"h\xff"),
        (2, 256, b"r\x00\x01\x00\x00", b"j\x00\x01\x00\x00"),
    ] {
        let mut writer = Writer::new(Vec::new(), protocol).unwrap();
        writer.put_index(index).unwrap();
        assert_eq!(writer.into_inner().unwrap(), put);
        let mut writer = Writer::new(Vec::new(), protocol).unwrap();
        writer.get(index).unwrap();
        assert_eq!(writer.into_inner().unwrap(), get);
    }
    let mut writer = Writer::new(Vec::new(), 2).unwrap();
    assert!(writer.get(1 << 32).is_err());
}

#[test]
fn what_a_protocol_lacks_is_refused_in_words() {
    let mut writer = Writer::new(Vec::new(), 2).unwrap();
    let refused = [
        writer.bytes(b"").unwrap_err().to_string(),
        writer.byte_array(b"").unwrap_err().to_string(),
        writer.op(Opcode::StackGlobal).unwrap_err().to_string(),
        writer.op(Opcode::BinInt).unwrap_err().to_string(),
        writer.global("a\nb", "c").unwrap_err().to_string(),
        writer.extension(0).unwrap_err().to_string(),
    ];
    assert_eq!(
        refused,
        [
            "BINBYTES takes an argument",
            "BYTEARRAY8 takes an argument",
            "STACK_GLOBAL does not exist at protocol 2",
            "BININT takes an argument",
            "a global's name holds a newline",
            "the extension code 0 is not positive",
        ]
    );
    assert!(Writer::new(Vec::new(), 6).is_err());
}

#[test]
fn an_int_too_long_for_decimal_text_is_refused_below_protocol_2() {
    let bytes = vec![0x7f; 100_000];
    let mut writer = Writer::new(Vec::new(), 0).unwrap();
    assert!(writer.big_int(&bytes).is_err());
    let mut writer = Writer::new(Vec::new(), 2).unwrap();
    writer.big_int(&bytes).unwrap();
}

#[test]
fn python_2_strings_are_written_as_their_repr_at_protocol_0() {
    for (bytes, line) in [
        (&b"it's"[..], &b"S\"it's\"\n"[..]),
        (b"both'\"", b"S'both\\'\"'\n"),
        (b"\x00\xff\t\\", b"S'\\x00\\xff\\t\\\\'\n"),
    ] {
        let mut writer = Writer::new(Vec::new(), 0).unwrap();
        writer.string(bytes).unwrap();
        let written = writer.into_inner().unwrap();
        assert_eq!(written, line);
    }
}
