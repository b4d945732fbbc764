//! What the fuzz targets do, as ordinary functions: `fuzz_targets/` only hands them bytes, and
//! the tests here run them over the seeds without a fuzzer.
#![forbid(unsafe_code)]

mod serde_target;

use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use picklet::{Kind, Value, ValueRef, json, repr};
use picklet_codec::policy::Policy;
use picklet_codec::scan as scanner;
use picklet_codec::{
    Arg, DisError, DisOptions, Driver, Error, ErrorKind, Items, Limits, Machine, Op, Opcode,
    PickleStr, Reader, Result, StreamReader, Writer, run,
};
use picklet_segments::{
    EntryMeta, Existing, Header, Input, Location, MergeOptions, Segments, SegmentsWriter, Shared,
    SplitOptions, Target,
};
pub use serde_target::serde;

/// Reads `data` as a pickle from a slice and from a stream that drips, and runs it: the answers
/// must agree, places must follow one another, and nothing may panic.
pub fn read(data: &[u8]) {
    let from_slice = listed(data);
    let mut stream = StreamReader::new(Drip(data));
    let mut count = 0;
    let stream_error = loop {
        match stream.next_op() {
            Ok(Some(op)) => {
                if let Some(expected) = from_slice.0.get(count) {
                    assert_eq!(format!("{op:?}"), *expected);
                }
                count += 1;
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    match (&from_slice.1, &stream_error) {
        (None, None) => assert_eq!(count, from_slice.0.len()),
        (Some(slice), _) if is_frame(slice) => assert!(count >= from_slice.0.len()),
        (Some(slice), Some(stream)) => assert_same(slice, stream),
        (slice, stream) => panic!("slice {slice:?}, stream {stream:?}"),
    }
    let slice = run(&mut Reader::new(data), &mut Words(0));
    let mut stream = StreamReader::new(data).without_read_ahead();
    let streamed = Driver::new(Limits::default()).run_stream(&mut stream, &mut Words(0));
    match (slice, streamed) {
        (Ok(slice), Ok(streamed)) => assert_eq!(slice, streamed),
        (Err(slice), Err(streamed)) if !is_frame(&slice) => {
            assert_same(&slice, &streamed);
        }
        (Err(slice), _) => assert!(is_frame(&slice), "{slice}"),
        (slice, streamed) => panic!("slice {slice:?}, stream {streamed:?}"),
    }
}

/// A slice knows that a declared length is not there; a stream can only hold it to the cap.
fn assert_same(slice: &Error, stream: &Error) {
    let capped = matches!(stream.kind(), ErrorKind::Limit { limit: "argument_bytes", .. });
    if matches!(slice.kind(), ErrorKind::Truncated { .. }) && capped {
        return;
    }
    assert_eq!(slice.to_string(), stream.to_string());
}

/// A frame past the end is an error at once in a slice, and later or never in a stream.
fn is_frame(error: &Error) -> bool {
    error.opcode() == Some(Opcode::Frame)
}

fn listed(data: &[u8]) -> (Vec<String>, Option<Error>) {
    let mut reader = Reader::new(data);
    let mut ops = Vec::new();
    let mut end = 0;
    loop {
        match reader.next_op() {
            Ok(Some(op)) => {
                assert_eq!(op.offset, end);
                assert!(op.end > op.offset && op.end <= data.len() as u64);
                end = op.end;
                ops.push(format!("{op:?}"));
            }
            Ok(None) => return (ops, None),
            Err(error) => return (ops, Some(error)),
        }
    }
}

/// Writes each scalar that `data` holds at each protocol: what is read back must be the same.
pub fn write(data: &[u8]) {
    let mut reader = Reader::new(data);
    while let Ok(Some(op)) = reader.next_op() {
        for protocol in 0..=5 {
            let Some(bytes) = written(op, protocol) else { continue };
            let mut again = Reader::new(&bytes);
            let read = loop {
                let op = again.next_op().expect("what was written is valid").expect("a value");
                if !matches!(op.opcode.name(), "PROTO" | "FRAME") {
                    break op;
                }
            };
            assert!(same(op.arg, read.arg), "{op:?} came back as {read:?}");
        }
    }
}

fn written(op: Op<'_>, protocol: u8) -> Option<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), protocol).ok()?;
    writer.start().ok()?;
    let result = match op.arg {
        Arg::Int(value) => writer.int(value),
        Arg::BigInt(bytes) => writer.big_int(bytes),
        Arg::Float(value) => writer.float(value),
        Arg::Str(text) => writer.str(text),
        Arg::Bytes(bytes) if op.opcode.name().contains("STRING") => writer.string(bytes),
        Arg::Bytes(bytes) => writer.bytes(bytes),
        _ => return None,
    };
    result.ok()?;
    writer.stop().ok()?;
    writer.into_inner().ok()
}

fn same(before: Arg<'_>, after: Arg<'_>) -> bool {
    use picklet_codec::text;
    match (before, after) {
        // 0 and 1 stay ints: only `00` and `01` are bools.
        (Arg::Int(before), Arg::Int(after)) => before == after,
        (Arg::BigInt(before), Arg::BigInt(after)) => {
            text::trim_le_bytes(before) == text::trim_le_bytes(after)
        }
        (Arg::BigInt(before), Arg::IntText(line)) => {
            text::trim_le_bytes(before) == text::trim_le_bytes(&text::int_text_to_le_bytes(line))
        }
        (Arg::Float(before), Arg::Float(after)) => {
            before.to_bits() == after.to_bits() || (before.is_nan() && after.is_nan())
        }
        (Arg::Str(before), Arg::Str(after)) => before == after,
        (Arg::Str(before), Arg::EscapedStr(line)) => {
            text::unescape_unicode(line).is_ok_and(|after| after.as_pickle_str() == before)
        }
        (Arg::Bytes(before), Arg::Bytes(after)) => before == after,
        (Arg::Bytes(before), Arg::EscapedBytes(inner)) => {
            text::unescape_string(inner).is_ok_and(|after| *after == *before)
        }
        _ => false,
    }
}

/// Lists `data`: one line for each opcode, whatever it is, and the same from bytes that drip.
pub fn dis(data: &[u8]) {
    let list = |options: &DisOptions| {
        let mut listing = Vec::new();
        let end = picklet_codec::dis(data, &mut listing, options);
        (listing, end.map_err(|error| error.to_string()))
    };
    let (plain, end) = list(&DisOptions { max_open_marks: 50, ..DisOptions::default() });
    let options = DisOptions { indent: 1, annotate: Some(30), max_open_marks: 50 };
    let (annotated, annotated_end) = list(&options);
    assert_eq!(end, annotated_end);
    let lines = |listing: &[u8]| listing.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines(&plain), lines(&annotated));
    let mut dripped = Vec::new();
    let source = io::BufReader::with_capacity(5, Drip(data));
    let dripped_end = picklet_codec::dis(source, &mut dripped, &options);
    assert_eq!(dripped_end.map_err(|error| error.to_string()), annotated_end);
    assert!(dripped == annotated);
    if end.is_ok() {
        // One line for each opcode and one for the highest protocol; a string's own newlines are
        // escaped.
        let mut reader = Reader::new(data);
        let mut count = 0;
        while let Ok(Some(_)) = reader.next_op() {
            count += 1;
        }
        assert!(!reader.is_stopped() || lines(&plain) == count + 1);
    }
}

/// Optimises `data`: what comes out means the same.
pub fn optimize(data: &[u8]) {
    match picklet_codec::optimize(data) {
        Ok(small) => {
            // Two PUTs of one object come out under two numbers, so that a second pass may still
            // find something, as Python's does: but no pass adds anything.
            let mut last = small.clone();
            for _ in 0..8 {
                let next = picklet_codec::optimize(&last)
                    .unwrap_or_else(|error| panic!("{error}: {}", last.escape_ascii()));
                assert!(next.len() <= last.len(), "{}", last.escape_ascii());
                last = next;
            }
            let before = run(&mut Reader::new(data), &mut Words(0));
            let after = run(&mut Reader::new(&small), &mut Words(0));
            // Frames that lie are cut anew, so that what was refused for them may now be read.
            match (before, after) {
                (Ok(before), Ok(after)) => assert_eq!(before, after),
                (Ok(_), Err(error)) => panic!("{error}: {}", small.escape_ascii()),
                (Err(_), _) => {}
            }
        }
        Err(DisError::Io(error)) => panic!("there is no file: {error}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads `data` into a value, prints it, and writes it: what is read from that must be equal,
/// thrown-away calls and their order included, print alike and give the same bytes. The same
/// text at each other protocol.
pub fn value(data: &[u8]) {
    let Ok(value) = Value::from_slice(data) else { return };
    let _ = repr::repr(value.root(), 2000);
    let _ = json::to_json(value.root(), 2000);
    let written = value.to_vec().expect("a value that was read can be written");
    let again = Value::from_slice(&written)
        .unwrap_or_else(|error| panic!("{error}: {}", written.escape_ascii()));
    assert_eq!(value.to_string(), again.to_string(), "{}", data.escape_ascii());
    assert!(value == again, "{} {}", data.escape_ascii(), written.escape_ascii());
    let settled = again.to_vec().expect("a value that was read can be written");
    assert!(settled == written, "{} {}", written.escape_ascii(), settled.escape_ascii());
    for protocol in 0..=5 {
        let Ok(written) = value.to_vec_at(protocol) else { continue };
        let again = Value::from_slice(&written)
            .unwrap_or_else(|error| panic!("{protocol}: {error}: {}", written.escape_ascii()));
        // Where protocol 3 is crossed names change between Python 2's and Python 3's.
        if (protocol < 3) == (value.protocol() < 3) {
            let [before, after] = [&value, &again].map(|value| repr::repr(value.root(), 2000));
            // Protocol 0 has no batches: two items for an instance are two calls, as C writes them.
            assert!(before == after || protocol == 0 && before.contains('.'), "{protocol}");
        }
        let settled = again.to_vec_at(protocol).expect("it was written at this protocol before");
        assert!(
            settled == written,
            "{protocol}: {} {}",
            written.escape_ascii(),
            settled.escape_ascii()
        );
    }
}

/// Scans `data`, in memory and as a source that is read in pieces: the reports must be one; what
/// the machine takes is not called unreadable, and what it refuses is not called clean.
pub fn scan(data: &[u8]) {
    let (policy, options) = (Policy::data(), scanner::Options::default());
    let report = scanner::scan(data, &policy, &options).expect("memory can be read");
    let pieces = scanner::scan(&Pieces(data), &policy, &options).expect("memory can be read");
    assert_eq!(report, pieces);
    let mut reader = Reader::new(data);
    match run(&mut reader, &mut Words(0)) {
        Ok(_) => {
            let pickle = &data[..data.len() - reader.rest().len()];
            let report = scanner::scan(pickle, &policy, &options).expect("memory can be read");
            assert_eq!(report.damage, None, "{}", pickle.escape_ascii());
        }
        Err(error) => {
            assert_ne!(report.verdict(), scanner::Verdict::Clean, "{error}");
        }
    }
}

/// Splits `data`, cuts the segments anew and merges them: where the full reader understands it as a
/// container, what comes out of each has its items, in their order, and is of its type.
pub fn split(data: &[u8]) {
    let Some((first, pickle)) = data.split_first() else { return };
    let target = match first % 3 {
        0 => Target::Items(u64::from(first / 3 % 7) + 1),
        1 => Target::Bytes(u64::from(*first) + 1),
        _ => Target::Parts(u64::from(first / 3 % 5) + 1),
    };
    let folder = Folder::new();
    let options = SplitOptions { target, shared: Shared::Copy, ..SplitOptions::default() };
    let input = Input::bytes("fuzz", pickle.to_vec());
    let report = picklet_segments::split(&input, &folder.location("in"), &options);
    let Ok(report) = report else {
        assert!(!folder.path("in/segments.json").exists(), "an error and a manifest");
        return;
    };
    let Ok((value, end)) = Value::from_prefix(pickle, Limits::default()) else { return };
    let rest = &pickle[end..];
    if rest.first().is_some_and(|byte| Opcode::from_byte(*byte).is_some()) {
        // Each pickle of a stream is an item. The splitter reads no number that it need not, so a
        // stream that the reader refuses further on is not compared.
        if let Some(rest) = stream(rest) {
            let want = [vec![text(value.root())], rest].concat();
            assert_eq!(joined(&report.segments), want, "{}", pickle.escape_ascii());
        }
        return;
    }
    let Some(want) = items(value.root()) else { return };
    assert_alike(&joined(&report.segments), &want, &value, pickle);
    let anew = SplitOptions { target: Target::Items(3), ..options };
    let anew = picklet_segments::resplit(&report.segments, &folder.location("anew"), &anew);
    let anew = anew.unwrap_or_else(|error| panic!("{error}: {}", pickle.escape_ascii()));
    assert_alike(&joined(&anew.segments), &want, &value, pickle);
    let mut whole = Vec::new();
    picklet_segments::merge(&anew.segments, &mut whole, &MergeOptions::default())
        .unwrap_or_else(|error| panic!("{error}: {}", pickle.escape_ascii()));
    let merged = Value::from_slice(&whole)
        .unwrap_or_else(|error| panic!("{error}: {}", whole.escape_ascii()));
    assert_alike(&items(merged.root()).unwrap_or_default(), &want, &value, pickle);
}

/// Merges two pickles that `data` holds as segments of one directory: where the full reader
/// understands both, the merged one has the items of both.
pub fn merge(data: &[u8]) {
    let Some((first, pickles)) = data.split_first() else { return };
    let cut = Value::from_prefix(pickles, Limits::default())
        .map_or(pickles.len() * usize::from(*first) / 256, |(_, end)| end);
    let parts = [&pickles[..cut], &pickles[cut..]];
    let values = parts.map(|part| Value::from_slice(part).ok());
    let held = values.each_ref().map(|value| value.as_ref().and_then(|v| items(v.root())));
    let kind = match values[0].as_ref().map(Value::kind) {
        Some(Kind::Tuple(_)) => picklet_segments::Kind::Tuple,
        Some(Kind::Dict(_)) => picklet_segments::Kind::Dict,
        Some(Kind::Set(_)) => picklet_segments::Kind::Set,
        Some(Kind::FrozenSet(_)) => picklet_segments::Kind::Frozenset,
        _ if first % 4 == 0 => picklet_segments::Kind::Objects,
        _ => picklet_segments::Kind::List,
    };
    let folder = Folder::new();
    let header = Header::new(kind, "fuzz");
    let mut writer = SegmentsWriter::create(&folder.location("in"), Existing::Refuse, header)
        .expect("a new folder can be written");
    for (index, part) in parts.into_iter().enumerate() {
        let mut draft = writer.draft(&format!("data-{index}")).expect("a name");
        draft.write_all(part).expect("memory can be written");
        let meta = EntryMeta { index: index as u64, ..EntryMeta::default() };
        writer.commit(draft, meta).expect("memory can be written");
    }
    let segments = writer.finish().expect("memory can be written");
    let mut whole = Vec::new();
    let merged = picklet_segments::merge(&segments, &mut whole, &MergeOptions::default());
    let [Some(one), Some(two)] = values else { return };
    let want = match (kind, held) {
        (picklet_segments::Kind::Objects, _) => Some(vec![text(one.root()), text(two.root())]),
        (_, [Some(one), Some(two)]) => Some([one, two].concat()),
        _ => None,
    };
    if let (Ok(_), Some(want)) = (merged, want) {
        let merged = Value::from_slice(&whole)
            .unwrap_or_else(|error| panic!("{error}: {}", whole.escape_ascii()));
        assert_alike(&items(merged.root()).unwrap_or_default(), &want, &merged, pickles);
    }
}

/// The same items in the same order. Keys of a dict and items of a set that come twice count once
/// where they are together, and more often where they are not.
fn assert_alike(got: &[String], want: &[String], value: &Value, pickle: &[u8]) {
    let keyed = matches!(value.kind(), Kind::Dict(_) | Kind::Set(_) | Kind::FrozenSet(_));
    if keyed && got.len() != want.len() {
        let (few, many) = if got.len() < want.len() { (got, want) } else { (want, got) };
        assert!(few.iter().all(|item| many.contains(item)), "{}", pickle.escape_ascii());
    } else {
        assert_eq!(got, want, "{}", pickle.escape_ascii());
    }
}

/// A folder in memory, where there is such a place.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Folder(folder.expect("a folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn location(&self, name: &str) -> Location {
        Location::local(self.path(name))
    }
}

fn text(value: ValueRef<'_>) -> String {
    repr::repr(value, 2000)
}

/// The items of a built-in container as text.
fn items(value: ValueRef<'_>) -> Option<Vec<String>> {
    match value.kind() {
        Kind::List(items) | Kind::Tuple(items) | Kind::Set(items) | Kind::FrozenSet(items) => {
            Some(items.map(text).collect())
        }
        Kind::Dict(pairs) => {
            Some(pairs.map(|(key, value)| format!("{}: {}", text(key), text(value))).collect())
        }
        _ => None,
    }
}

/// The objects of a stream of pickles, where all of it can be read.
fn stream(mut pickles: &[u8]) -> Option<Vec<String>> {
    let mut objects = Vec::new();
    while !pickles.is_empty() {
        let (value, end) = Value::from_prefix(pickles, Limits::default()).ok()?;
        objects.push(text(value.root()));
        pickles = &pickles[end..];
    }
    Some(objects)
}

/// The items of all segments.
fn joined(segments: &Segments) -> Vec<String> {
    let mut all = Vec::new();
    for index in 0..segments.len() {
        let pickle = segments.read(index).expect("a segment that was just written");
        let value = Value::from_slice(&pickle)
            .unwrap_or_else(|error| panic!("{error}: {}", pickle.escape_ascii()));
        all.extend(items(value.root()).expect("a segment of the source's type"));
    }
    all
}

/// A source that is not in memory.
struct Pieces<'a>(&'a [u8]);

impl scanner::Source for Pieces<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(5);
        self.0.read_at(offset, &mut buffer[..count])
    }
}

/// Gives three bytes at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(3).min(to.len()));
        to[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

/// Values that are numbers, given out in the order of their making.
struct Words(u64);

macro_rules! word_for {
    ($($name:ident($($arg:ty),*);)+) => {
        $(fn $name(&mut self, $(_: $arg),*) -> Result<u64> {
            self.0 += 1;
            Ok(self.0)
        })+
    };
}

macro_rules! unit_for {
    ($($name:ident($($arg:ty),*);)+) => {
        $(fn $name(&mut self, $(_: $arg),*) -> Result<()> {
            Ok(())
        })+
    };
}

impl Machine for Words {
    type Value = u64;
    word_for! {
        none(); bool(bool); int(i64); big_int(&[u8]); float(f64); str(PickleStr<'_>); bytes(&[u8]);
        byte_array(&[u8]); string(&[u8]); empty_tuple(); tuple(Items<'_, u64>); empty_list();
        list(Items<'_, u64>); empty_dict(); dict(Items<'_, u64>); empty_set();
        frozenset(Items<'_, u64>); global(&str, &str); stack_global(u64, u64); extension(u32);
        reduce(u64, u64); new_object(u64, u64); new_object_ex(u64, u64, u64);
        inst(&str, &str, Items<'_, u64>); obj(u64, Items<'_, u64>); persistent_id(&str);
        binary_persistent_id(u64); next_buffer(); readonly_buffer(u64);
    }
    unit_for! {
        append(&mut u64, u64); appends(&mut u64, Items<'_, u64>); set_item(&mut u64, u64, u64);
        set_items(&mut u64, Items<'_, u64>); add_items(&mut u64, Items<'_, u64>);
        build(&mut u64, u64);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_passes_every_target() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/read");
        let mut count = 0;
        for entry in std::fs::read_dir(seeds).unwrap() {
            let data = std::fs::read(entry.unwrap().path()).unwrap();
            super::read(&data);
            super::write(&data);
            super::dis(&data);
            super::optimize(&data);
            super::value(&data);
            super::scan(&data);
            super::serde(&data);
            for first in [0, 1, 2, 5, 40, 100] {
                let with_first = [&[first], data.as_slice()].concat();
                super::split(&with_first);
                super::merge(&[with_first, data.clone()].concat());
            }
            count += 1;
        }
        assert!(count > 50, "{count} seeds");
    }
}
