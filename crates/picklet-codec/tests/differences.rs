//! Where the codec and CPython answer differently, as docs/differences.md tells it: each test
//! shows both answers.

mod common;

use std::path::Path;

use common::Tree;
use picklet_codec::{
    DisError, DisOptions, Driver, ErrorKind, Limits, Opcode, StreamReader, Writer,
};
use picklet_codec::{dis, optimize};

/// What a Python expression gives, by `repr`, or the exception's name. It sees `data`, `pickle`,
/// `pickletools` and `io`, and has a gigabyte.
fn python_says(python: &Path, expression: &str, data: &[u8]) -> String {
    let script = format!(
        "import io, pickle, pickletools, resource, sys, types\n\
         resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n\
         data = sys.stdin.buffer.read()\n\
         try: print(repr({expression}))\n\
         except Exception as error: print(type(error).__name__)"
    );
    String::from_utf8(common::ask(python, &script, data)).unwrap().trim().to_owned()
}

fn from_stream(pickle: &[u8]) -> picklet_codec::Result<String> {
    Driver::new(Limits::default())
        .run_stream(&mut StreamReader::new(pickle), &mut Tree::default())
        .map(|value| common::tell(&value))
}

#[test]
fn a_huge_put_index_costs_one_entry_where_c_allocates_them_all() {
    let pickle = b"K\x01r\xff\xff\xff\xff.";
    assert_eq!(common::load(pickle).unwrap(), "1");
    let Some(python) = common::python() else { return };
    assert_eq!(python_says(&python, "pickle.loads(data)", pickle), "MemoryError");
}

#[test]
fn an_opcode_across_a_frames_end_is_read_whole_where_c_load_loses_bytes() {
    let pickle = b"\x80\x04\x95\x04\0\0\0\0\0\0\0X\x05\0\0\0hello.";
    assert_eq!(common::load(pickle).unwrap(), "str:68656c6c6f");
    assert_eq!(from_stream(pickle).unwrap(), "str:68656c6c6f");
    let Some(python) = common::python() else { return };
    assert_eq!(python_says(&python, "pickle.loads(data)", pickle), "'hello'");
    assert_eq!(python_says(&python, "pickle.load(io.BytesIO(data))", pickle), "UnpicklingError");
}

#[test]
fn a_stream_lets_a_frame_reach_past_its_end_where_c_reads_ahead_and_refuses() {
    let pickle = b"\x80\x04\x95\x64\0\0\0\0\0\0\0N.";
    assert!(matches!(common::load(pickle).unwrap_err().kind(), ErrorKind::Truncated { .. }));
    assert_eq!(from_stream(pickle).unwrap(), "None");
    let Some(python) = common::python() else { return };
    assert_eq!(python_says(&python, "pickle.loads(data)", pickle), "UnpicklingError");
    assert_eq!(python_says(&python, "pickle.load(io.BytesIO(data))", pickle), "UnpicklingError");
}

#[test]
fn a_short_read_is_continued_where_c_takes_it_for_the_end() {
    struct Drip<'a>(&'a [u8]);
    impl std::io::Read for Drip<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let count = to.len().min(self.0.len()).min(3);
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let pickle = b"\x8c\x05hello.";
    let mut stream = StreamReader::new(Drip(pickle));
    let value = Driver::new(Limits::default()).run_stream(&mut stream, &mut Tree::default());
    assert_eq!(common::tell(&value.unwrap()), "str:68656c6c6f");
    let Some(python) = common::python() else { return };
    let drip = "pickle.load(type('Drip', (), {\
                'read': lambda self, n, file=io.BytesIO(data): file.read(min(n, 3)), \
                'readline': lambda self: b''})())";
    assert_eq!(python_says(&python, drip, pickle), "UnpicklingError");
}

#[test]
fn a_newline_in_a_global_is_refused_where_c_writes_what_nothing_can_load() {
    let mut writer = Writer::new(Vec::new(), 2).unwrap();
    writer.start().unwrap();
    let error = writer.global("odd", "a\nb").unwrap_err();
    assert!(error.to_string().contains("newline"), "{error}");
    let Some(python) = common::python() else { return };
    let written = "(lambda module, thing: (\
                   setattr(module, 'a\\nb', thing), sys.modules.update(odd=module), \
                   setattr(thing, '__module__', 'odd'), setattr(thing, '__qualname__', 'a\\nb'), \
                   pickle.dumps(thing, 2))[-1])(types.ModuleType('odd'), lambda: None)";
    assert_eq!(python_says(&python, written, b""), r"b'\x80\x02codd\na\nb\nq\x00.'");
    assert_eq!(python_says(&python, &format!("pickle.loads({written})"), b""), "AttributeError");
}

#[test]
fn optimize_says_that_a_get_has_no_put_where_python_slips() {
    for (pickle, theirs) in
        [(&b"g0\n."[..], r"b'gNone\n.'"), (b"Np1\n0g1\n0h\x02\x8c\x01a\x94.", "TypeError")]
    {
        let error = optimize(pickle).unwrap_err();
        assert!(matches!(error, DisError::Invalid { .. }), "{error}");
        let Some(python) = common::python() else { return };
        assert_eq!(python_says(&python, "pickletools.optimize(data)", pickle), theirs);
    }
}

#[test]
fn a_listing_ends_at_1000_open_marks_where_python_indents_on() {
    let pickle = [&b"(".repeat(1001)[..], b"N", &b"1".repeat(1001), b"N."].concat();
    let error = dis(&pickle[..], &mut Vec::new(), &DisOptions::default()).unwrap_err();
    assert!(matches!(error, DisError::TooManyOpenMarks { cap: 1000, .. }), "{error}");
    let raised = DisOptions { max_open_marks: 2000, ..DisOptions::default() };
    let mut listing = Vec::new();
    dis(&pickle[..], &mut listing, &raised).unwrap();
    let Some(python) = common::python() else { return };
    let lines = "len((lambda out: (pickletools.dis(data, out), out.getvalue())[1])(io.StringIO()))";
    assert_eq!(python_says(&python, lines, &pickle), listing.len().to_string());
}

#[test]
fn every_error_names_its_opcode_and_byte_where_c_names_neither() {
    let error = common::load(b"K\x01h\x05.").unwrap_err();
    assert_eq!((error.offset(), error.opcode()), (Some(2), Some(Opcode::BinGet)));
    assert_eq!(error.to_string(), "BINGET: the memo has no entry 5, at byte 2");
    let Some(python) = common::python() else { return };
    assert_eq!(python_says(&python, "pickle.loads(data)", b"K\x01h\x05."), "UnpicklingError");
}

#[test]
fn decimal_digits_are_capped_by_each_reader_and_not_by_the_process() {
    let pickle = [b"L", &b"9".repeat(4301)[..], b"L\n."].concat();
    let error = common::load(&pickle).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit { limit: "decimal_digits", cap: 4300 }));
    let limits = Limits { decimal_digits: 5000, ..Limits::default() };
    assert_eq!(common::load_with(&pickle, limits).unwrap(), "9".repeat(4301));
    let Some(python) = common::python() else { return };
    assert_eq!(
        python_says(
            &python,
            "hasattr(sys, 'set_int_max_str_digits') and pickle.loads(data)",
            &pickle
        ),
        "ValueError"
    );
}
