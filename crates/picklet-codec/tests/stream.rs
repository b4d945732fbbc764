//! Pickles out of a stream: the same opcodes as out of a slice, however the bytes arrive.

mod common;

use std::io::{self, Read};

use common::Tree;
use picklet_codec::{Driver, ErrorKind, Limits, Opcode, Reader, StreamReader};

/// Gives at most `step` bytes at a time, and counts them.
struct Drip<'a> {
    bytes: &'a [u8],
    step: usize,
    given: usize,
}

impl<'a> Drip<'a> {
    fn new(bytes: &'a [u8], step: usize) -> Self {
        Self { bytes, step, given: 0 }
    }
}

impl Read for Drip<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = to.len().min(self.step).min(self.bytes.len());
        to[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        self.given += count;
        Ok(count)
    }
}

fn pickles() -> Vec<Vec<u8>> {
    vec![
        b"K\x01.".to_vec(),
        b"(lp0\nI1\naVtext\np1\nag1\na.".to_vec(),
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x05hello\x94N\x86.".to_vec(),
        b"cmodule\nname\n.".to_vec(),
        [b"\x80\x03B\x00\x00\x03\x00".as_slice(), &vec![b'x'; 0x30000], b"."].concat(),
        b"\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00\x8b\x02\x00\x00\x00\x01\x02\x86."
            .to_vec(),
    ]
}

fn listed(op: picklet_codec::Op<'_>, base: u64) -> String {
    format!("{} {} {:?} {:?}", op.offset - base, op.end - base, op.opcode, op.arg)
}

#[test]
fn a_stream_gives_the_opcodes_of_the_slice_however_it_drips() {
    let pickles = pickles();
    let all = pickles.concat();
    let mut expected = Vec::new();
    for pickle in &pickles {
        let mut reader = Reader::new(pickle);
        while let Some(op) = reader.next_op().unwrap() {
            expected.push(listed(op, 0));
        }
    }
    for step in [1, 2, 3, 7, 64, 70_000, usize::MAX] {
        for read_ahead in [true, false] {
            let mut drip = Drip::new(&all, step);
            let mut stream = StreamReader::new(&mut drip);
            if !read_ahead {
                stream = stream.without_read_ahead();
            }
            let mut found = Vec::new();
            while stream.next_pickle().unwrap() {
                let base = stream.offset();
                while let Some(op) = stream.next_op().unwrap() {
                    found.push(listed(op, base));
                }
            }
            assert_eq!(found, expected, "{step} {read_ahead}");
            assert_eq!(stream.offset(), all.len() as u64);
        }
    }
}

#[test]
fn without_read_ahead_no_byte_beyond_stop_is_taken() {
    let pickles = pickles();
    let all = [pickles.concat(), vec![b'N'; 100_000]].concat();
    let mut drip = Drip::new(&all, usize::MAX);
    let mut end = 0;
    for pickle in &pickles {
        let mut stream = StreamReader::new(&mut drip).without_read_ahead();
        while stream.next_op().unwrap().is_some() {}
        assert_eq!(stream.offset(), pickle.len() as u64);
        assert!(stream.into_inner().1.is_empty());
        end += pickle.len();
        assert_eq!(drip.given, end);
    }
}

#[test]
fn truncation_at_every_byte_is_an_error_as_in_the_slice() {
    for pickle in pickles() {
        let last = pickle.len().min(3000);
        for cut in 0..last {
            let cut_pickle = &pickle[..cut];
            let from_slice = common::load(cut_pickle).unwrap_err();
            assert!(from_slice.is_truncation(), "{from_slice}");
            let mut stream = StreamReader::new(Drip::new(cut_pickle, 5));
            let from_stream = Driver::new(Limits::default())
                .run_stream(&mut stream, &mut Tree::default())
                .map(|value| common::tell(&value))
                .unwrap_err();
            assert!(from_stream.is_truncation(), "{from_stream}");
            // A slice knows at once that a frame is cut, a stream only where it ends.
            if from_slice.opcode() != Some(Opcode::Frame) {
                assert_eq!(from_slice.to_string(), from_stream.to_string());
            }
        }
    }
}

/// Endless bytes, of which only so many may be asked for.
struct Counted {
    left: usize,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        assert!(to.len() <= 1 << 20, "{} bytes asked for at once", to.len());
        let count = to.len().min(self.left);
        self.left -= count;
        to[..count].fill(b'x');
        Ok(count)
    }
}

#[test]
fn a_declared_length_allocates_only_what_arrives() {
    let head: &[u8] = b"\x8e\x00\x00\x00\x00\x80\x00\x00\x00";
    let mut stream = StreamReader::new(head.chain(Counted { left: 300_000 }));
    let error = stream.next_op().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Truncated { left: 300_000, .. }), "{error}");
    let limits = Limits { argument_bytes: 1000, ..Limits::default() };
    let mut stream = StreamReader::with_limits(head, limits);
    let error = stream.next_op().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { cap: 1000, .. }));
    let line = [b"V".as_slice(), &[b'a'; 200_000]].concat();
    let mut stream = StreamReader::with_limits(&line[..], limits);
    let error = stream.next_op().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { cap: 1000, .. }));
}

#[test]
fn a_memo_may_be_shared_between_pickles_or_not() {
    let bytes = b"]\x94.h\x00.";
    let mut driver = Driver::new(Limits::default());
    let mut stream = StreamReader::new(&bytes[..]);
    let mut tree = Tree::default();
    let first = driver.run_stream(&mut stream, &mut tree).unwrap();
    assert!(stream.next_pickle().unwrap());
    let second = driver.run_stream(&mut stream, &mut tree).unwrap();
    assert!(std::rc::Rc::ptr_eq(&first, &second));
    let mut stream = StreamReader::new(&bytes[3..]);
    driver.clear_memo();
    assert!(driver.run_stream(&mut stream, &mut tree).is_err());
}

#[test]
fn a_failing_source_is_told_with_its_offset() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let mut stream = StreamReader::new(b"K\x01".chain(Broken));
    stream.next_op().unwrap();
    let error = stream.next_op().unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone, at byte 2");
}
