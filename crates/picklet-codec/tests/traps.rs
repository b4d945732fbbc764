//! The places where readers of pickles go wrong, each answered as CPython's C `_pickle` does.

mod common;

use common::{load, load_with};
use picklet_codec::{ErrorKind, Limits};

#[track_caller]
fn is(pickle: &[u8], told: &str) {
    match load(pickle) {
        Ok(text) => assert_eq!(text, told, "{:?}", pickle.escape_ascii().to_string()),
        Err(error) => panic!("{}: {error}", pickle.escape_ascii()),
    }
}

#[track_caller]
fn fails(pickle: &[u8], text: &str) {
    match load(pickle) {
        Ok(value) => panic!("{} gave {value}", pickle.escape_ascii()),
        Err(error) => assert_eq!(error.to_string(), text, "{}", pickle.escape_ascii()),
    }
}

#[test]
fn long1_is_signed_little_endian_and_empty_is_zero() {
    is(b"\x80\x02\x8a\x01\xff.", "-1");
    is(b"\x80\x02\x8a\x00.", "0");
    is(b"\x80\x02\x8a\x02\xff\x00.", "255");
    is(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "9223372036854775808");
    is(b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "-9223372036854775808");
    is(b"\x8b\x0a\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff.", "-1");
    fails(b"\x8b\xff\xff\xff\xff.", "LONG4: the length is negative: -1, at byte 0");
}

#[test]
fn text_ints_are_read_as_c_reads_them() {
    is(b"I01\n.", "True");
    is(b"I00\n.", "False");
    is(b"I1\n.", "1");
    is(b"I0x10\n.", "16");
    is(b"I1_000\n.", "1000");
    is(b"I5\r\n.", "5");
    is(b"I010\n.", "8");
    is(b"I9223372036854775808\n.", "9223372036854775808");
    is(b"I-0x8000000000000001\n.", "-9223372036854775809");
    fails(b"I08\n.", "INT: the text is no integer, at byte 0");
    fails(b"I\n.", "INT: the text argument is empty, at byte 0");
    is(b"L12L\n.", "12");
    is(b"L-12\n.", "-12");
    is(b"L1_0L\n.", "10");
    fails(b"L010L\n.", "LONG: the text is no integer, at byte 0");
    is(b"L123456789012345678901234567890L\n.", "123456789012345678901234567890");
}

#[test]
fn binfloat_is_big_endian_and_text_floats_may_be_inf_or_nan() {
    is(b"G\x3f\xf0\x00\x00\x00\x00\x00\x00.", "float:3ff0000000000000");
    is(b"Finf\n.", "float:7ff0000000000000");
    is(b"F-Infinity\n.", "float:fff0000000000000");
    is(b"Fnan\n.", "float:7ff8000000000000");
    is(b"F1e-05\n.", "float:3ee4f8b588e368f1");
    fails(b"F1e400\n.", "FLOAT: the number is too large for a float, at byte 0");
    fails(b"F1_0\n.", "FLOAT: the text is no float, at byte 0");
    fails(b"F 1\n.", "FLOAT: the text is no float, at byte 0");
}

#[test]
fn python_2_strings_have_signed_lengths_and_repr_escapes() {
    is(b"T\x02\x00\x00\x00hi.", "str:6869");
    fails(b"T\xff\xff\xff\xffhi.", "BINSTRING: the length is negative: -1, at byte 0");
    is(b"S'a\\x41\\101\\n\\q'\n.", "str:6141410a5c71");
    is(b"S\"it's\"\n.", "str:69742773");
    fails(b"S'a\n.", "STRING: the string is not between two equal quotes, at byte 0");
    fails(b"S'a\\x4'\n.", "STRING: the string holds a bad backslash escape, at byte 0");
}

#[test]
fn unicode_lines_are_raw_unicode_escape() {
    is(b"V\\x41\n.", "str:5c783431");
    is(b"V\xe9\n.", "str:c3a9");
    is(b"V\\u20ac\\U0001f600\n.", "str:e282acf09f9880");
    is(b"V\\\\u0041\n.", "str:5c5c7530303431");
    is(b"V\n.", "str:");
    fails(b"V\\u12\n.", "UNICODE: the str holds a bad \\u escape, at byte 0");
    fails(b"V\\U00110000\n.", "UNICODE: the str holds a bad \\u escape, at byte 0");
}

#[test]
fn surrogates_pass_and_are_not_joined() {
    is(b"\x8c\x06\xed\xa0\xbd\xed\xb8\x80.", "str:eda0bdedb880");
    is(b"V\\ud83d\\ude00\n.", "str:eda0bdedb880");
    fails(b"\x8c\x01\xff.", "SHORT_BINUNICODE: the str is not UTF-8, at byte 0");
}

#[test]
fn what_is_memoised_then_changed_is_one_object() {
    is(b"\x80\x04]\x94K\x01ah\x00\x86.", "tuple#0(list#1(1),#1)");
    is(b"]q\x00h\x00a.", "list#0(#0)");
}

#[test]
fn a_huge_memo_index_costs_nothing() {
    is(b"K\x01r\xff\xff\xff\xff.", "1");
    is(b"K\x01p9223372036854775807\n0g9223372036854775807\n.", "1");
    fails(
        b"K\x01p9223372036854775808\n.",
        "PUT: the memo index is negative or too large, at byte 2",
    );
    fails(b"K\x01h\x05.", "BINGET: the memo has no entry 5, at byte 2");
}

#[test]
fn memoize_counts_entries_not_indexes() {
    // BINPUT 7 makes one entry, so MEMOIZE takes index 1.
    is(b"K\x05q\x07K\x06\x94h\x01h\x07\x86.", "tuple#0(6,5)");
}

#[test]
fn pop_may_take_a_mark_and_stop_leaves_the_rest() {
    is(b"N(0.", "None");
    is(b"K\x01K\x02(K\x03.", "3");
    fails(b"N(.", "STOP: a mark stands where an object is needed, at byte 2");
    fails(b".", "STOP: the stack holds too little, at byte 0");
    fails(b"0.", "POP: the stack holds too little, at byte 0");
    fails(b"1.", "POP_MARK: no mark is open, at byte 0");
}

#[test]
fn nothing_below_a_mark_can_be_taken() {
    fails(b"N(\x85.", "TUPLE1: a mark stands where an object is needed, at byte 2");
    fails(b"]N(a.", "APPEND: a mark stands where an object is needed, at byte 3");
    fails(b"N(2.", "DUP: a mark stands where an object is needed, at byte 2");
    fails(b"N(\x94.", "MEMOIZE: a mark stands where an object is needed, at byte 2");
    fails(b"(o.", "OBJ: the stack holds too little, at byte 1");
    fails(b"((e.", "APPENDS: a mark stands where an object is needed, at byte 2");
}

#[test]
fn with_nothing_to_add_the_target_is_not_looked_at() {
    is(b"K\x01(e.", "1");
    is(b"K\x01(u.", "1");
    is(b"K\x01(\x90.", "1");
    fails(b"K\x01(K\x02e.", "APPENDS: wrong target, at byte 5");
}

#[test]
fn pairs_must_be_whole() {
    fails(b"}(K\x01u.", "SETITEMS: a key has no value: the number of items is odd, at byte 4");
    fails(b"(K\x01d.", "DICT: a key has no value: the number of items is odd, at byte 3");
}

#[test]
fn frames_may_nest_but_not_pass_the_end() {
    is(
        b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x02\x00\x00\x00\x00\x00\x00\x00N.",
        "None",
    );
    fails(
        b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00N.",
        "FRAME: the argument needs 3 bytes and the input has 2 left, at byte 2",
    );
}

#[test]
fn protocols_up_to_5_are_read_wherever_proto_stands() {
    is(b"N\x80\x00\x80\x05.", "None");
    fails(b"\x80\x06N.", "PROTO: protocol 6 is not supported (0 to 5 are), at byte 0");
}

#[test]
fn globals_are_two_lines_and_neither_is_empty() {
    is(b"cmod.sub\nA.b\n.", "global mod.sub A.b");
    is("cm\u{f6}d\nA\n.".as_bytes(), "global m\u{f6}d A");
    fails(b"c\nA\n.", "GLOBAL: the text argument is empty, at byte 0");
    fails(b"(im\xc3\xb6d\nA\n.", "INST: the text is not ASCII, at byte 1");
    fails(b"cm\xff\nA\n.", "GLOBAL: the str is not UTF-8, at byte 0");
    is(b"(K\x01imod\nA\n.", "inst mod A#0(1)");
    is(b"(cmod\nA\nK\x01o.", "obj#0(global mod A,1)");
}

#[test]
fn persistent_ids_and_extension_codes() {
    is(b"Pabc\n.", "persid abc");
    is(b"P\n.", "persid ");
    fails(b"P\xe9\n.", "PERSID: the text is not ASCII, at byte 0");
    is(b"K\x01Q.", "binpersid#0(1)");
    is(b"\x82\x07.", "ext 7");
    is(b"\x84\xff\xff\xff\x7f.", "ext 2147483647");
    fails(b"\x82\x00.", "EXT1: the extension code 0 is not positive, at byte 0");
    fails(b"\x84\xff\xff\xff\xff.", "EXT4: the extension code -1 is not positive, at byte 0");
}

#[test]
fn declared_lengths_are_checked_before_anything_is_allocated() {
    fails(
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffab.",
        "BINBYTES8: the argument needs 18446744073709551615 bytes and the input has 3 left, at byte 0",
    );
    fails(
        b"B\xff\xff\xff\xffab.",
        "BINBYTES: the argument needs 4294967295 bytes and the input has 3 left, at byte 0",
    );
}

#[test]
fn limits_name_their_cap_and_the_byte() {
    let limits = Limits {
        stack_items: 3,
        open_marks: 2,
        memo_entries: 1,
        decimal_digits: 5,
        argument_bytes: 20,
    };
    for (pickle, limit, offset) in [
        (&b"NNNN."[..], "stack_items", 3),
        (b"(((.", "open_marks", 2),
        (b"N\x94N\x94.", "memo_entries", 3),
        (b"NI9223372036854775808\n.", "decimal_digits", 1),
        (b"NC\x15123456789012345678901.", "argument_bytes", 1),
    ] {
        let error = load_with(pickle, limits).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Limit { limit: found, .. } if *found == limit),
            "{error}"
        );
        assert_eq!(error.offset(), Some(offset), "{error}");
    }
    assert!(load_with(b"NNN0NN.", Limits { stack_items: 4, ..limits }).is_ok());
}

#[test]
fn bytes_after_stop_are_left_alone() {
    is(b"K\x01.junk", "1");
    let mut reader = picklet_codec::Reader::new(b"K\x01.K\x02.");
    let mut tree = common::Tree::default();
    let mut told = Vec::new();
    loop {
        told.push(common::tell(&picklet_codec::run(&mut reader, &mut tree).unwrap()));
        if !reader.next_pickle() {
            break;
        }
    }
    assert_eq!(told, ["1", "2"]);
}
