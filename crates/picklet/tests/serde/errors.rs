//! Every error tells what, where in the value, and where in the bytes.

use std::collections::HashMap;

use picklet::{SerdeErrorKind, from_slice};
use serde::Deserialize;

use crate::pickles;

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Team {
    users: Vec<User>,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct User {
    name: String,
}

fn error<'de, T: Deserialize<'de> + std::fmt::Debug>(pickle: &'de [u8]) -> String {
    from_slice::<T>(pickle).unwrap_err().to_string()
}

#[test]
fn the_path_leads_to_the_field() {
    let pickle = b"}\x8c\x05users](}\x8c\x04name\x8c\x01as}\x8c\x04nameK\x07ses.";
    assert_eq!(
        error::<Team>(pickle),
        "$.users[1].name: BININT1: invalid type: integer `7`, expected a string, at byte 28"
    );
    let failure = from_slice::<Team>(pickle).unwrap_err();
    assert_eq!(failure.path().as_deref(), Some("$.users[1].name"));
    assert_eq!(failure.offset(), Some(28));
    assert_eq!(failure.opcode().map(|opcode| opcode.info().name), Some("BININT1"));
}

#[test]
fn a_missing_field_is_placed_at_its_dict() {
    assert_eq!(
        error::<Team>(b"}\x8c\x05users]}as."),
        "$.users[0]: EMPTY_DICT: missing field `name`, at byte 9"
    );
}

#[test]
fn keys_that_are_no_names_are_shown_as_python_shows_them() {
    type Map = HashMap<String, u8>;
    assert_eq!(
        error::<Map>(b"}\x8c\x03a bNs."),
        "$[\"a b\"]: NONE: invalid type: unit value, expected u8, at byte 6"
    );
    assert_eq!(
        error::<HashMap<i64, u8>>(b"}J\xff\xff\xff\xffNs."),
        "$[-1]: NONE: invalid type: unit value, expected u8, at byte 6"
    );
    assert_eq!(
        error::<HashMap<Vec<u8>, u8>>(b"}C\x01\xffNs."),
        "$[b'\\xff']: NONE: invalid type: unit value, expected u8, at byte 4"
    );
    // The key itself may be at fault.
    assert_eq!(
        error::<Map>(b"}K\x05Ns."),
        "$[5]: BININT1: invalid type: integer `5`, expected a string, at byte 1"
    );
}

#[test]
fn enums_name_the_variant() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    enum Shape {
        Dot,
        Circle { radius: f64 },
        Pair(u8, u8),
    }
    assert_eq!(
        error::<Shape>(b"\x8c\x03Box."),
        "$: SHORT_BINUNICODE: unknown variant `Box`, expected one of `Dot`, `Circle`, `Pair`, at byte 0"
    );
    assert_eq!(
        error::<Shape>(b"}\x8c\x06Circle}\x8c\x06radius\x8c\x01xss."),
        "$.Circle.radius: SHORT_BINUNICODE: invalid type: string \"x\", expected f64, at byte 18"
    );
    assert_eq!(
        error::<Shape>(b"\x8c\x04Pair."),
        "$: SHORT_BINUNICODE: invalid type: unit variant, expected a tuple variant, at byte 0"
    );
    assert_eq!(
        error::<Shape>(b"K\x05."),
        "$: BININT1: invalid type: integer `5`, expected a str or a dict with one key for the enum Shape, at byte 0"
    );
    assert_eq!(
        error::<Shape>(b"}."),
        "$: EMPTY_DICT: invalid value: map, expected a dict with one key, the variant's name, at byte 0"
    );
}

#[test]
fn lengths_must_match() {
    assert_eq!(
        error::<(u8, u8)>(b"](K\x01K\x02K\x03e."),
        "$: EMPTY_LIST: invalid length 3, expected 2 items, at byte 0"
    );
    assert_eq!(
        error::<(u8, u8)>(b"](K\x01e."),
        "$: EMPTY_LIST: invalid length 1, expected a tuple of size 2, at byte 0"
    );
}

#[test]
fn what_has_no_form_is_named() {
    let cases = [
        ("import datetime", "datetime.datetime(2020, 1, 1)", "datetime.datetime"),
        ("import datetime", "datetime.timedelta(1)", "datetime.timedelta"),
        ("import decimal", "decimal.Decimal('1.5')", "decimal.Decimal"),
        ("", "complex(1, 2)", "builtins.complex"),
        ("", "range(3)", "builtins.range"),
        ("", "ValueError('x')", "builtins.ValueError"),
        ("", "len", "the global builtins.len"),
        ("import fractions", "fractions.Fraction(1, 3)", "fractions.Fraction"),
    ];
    for (setup, value, class) in cases {
        for pickle in pickles(setup, &format!("{{'at': [{value}]}}")) {
            let error =
                from_slice::<HashMap<String, Vec<HashMap<String, u8>>>>(&pickle).unwrap_err();
            let text = error.to_string();
            assert!(
                matches!(error.kind(), SerdeErrorKind::NoForm { class: c } if **c == *class),
                "{text}"
            );
            assert!(text.starts_with("$.at[0]: "), "{text}");
            assert!(text.contains(&format!("{class} has no serde form")), "{text}");
        }
    }
}

#[test]
fn codes_and_ids_have_no_form() {
    assert_eq!(
        error::<u8>(b"\x82\x05."),
        "$: EXT1: extension code 5 has no serde form (Value::from_slice reads it), at byte 0"
    );
    assert_eq!(
        error::<u8>(b"Pid\n."),
        "$: PERSID: a persistent id has no serde form (Value::from_slice reads it), at byte 0"
    );
}

#[test]
fn ignored_fields_may_hold_anything() {
    for pickle in pickles("import datetime", "{'name': 'a', 'born': datetime.date(2020, 1, 1)}") {
        assert_eq!(from_slice::<User>(&pickle).unwrap().name, "a");
    }
}

#[test]
fn broken_pickles_have_no_path_but_a_place() {
    assert_eq!(error::<u8>(b"](K\x01"), "the input ends before the pickle's STOP, at byte 4");
    assert_eq!(error::<u8>(b"\xff"), "no opcode has the byte 0xff, at byte 0");
    assert_eq!(from_slice::<u8>(b"\xff").unwrap_err().path(), None);
    assert_eq!(error::<u8>(b"}]Ns."), "SETITEM: a dict's key cannot be hashed, at byte 3");
    assert_eq!(
        error::<u8>(b"N]b."),
        "BUILD: BUILD cannot give the object below a state, at byte 2"
    );
}

#[test]
fn a_lone_surrogate_is_no_rust_string_but_may_be_bytes() {
    assert_eq!(
        error::<String>(b"\x8c\x03\xed\xa0\x80."),
        "$: SHORT_BINUNICODE: the str holds a lone surrogate (read it as bytes to keep it), at byte 0"
    );
    let bytes: serde_bytes::ByteBuf = from_slice(b"\x8c\x03\xed\xa0\x80.").unwrap();
    assert_eq!(bytes, &[0xed, 0xa0, 0x80][..]);
}

#[test]
fn arguments_that_are_not_understood_are_never_left_out() {
    for (pickle, class) in [
        // list of a dict, of a str, of an object; keywords and arguments that are objects.
        (&b"c__builtin__\nlist\n(}K\x01K\x02stR."[..], "builtins.list"),
        (b"c__builtin__\nlist\n(X\x02\0\0\0abtR.", "builtins.list"),
        (b"cm\nC\n(cm\nD\n)RtR.", "m.C"),
        (b"c__builtin__\nlist\n(cm\nD\n)RtR.", "builtins.list"),
        (b"\x80\x04cm\nC\ncm\nD\n)R\x81.", "m.C"),
        (b"\x80\x04cm\nC\n)cm\nD\n)R\x92.", "m.C"),
        (b"ccollections\nOrderedDict\n(](K\x01K\x02K\x03\x87etR.", "collections.OrderedDict"),
        // Two states, of which one would win.
        (b"\x80\x02cm\nC\n)\x81}b}b.", "m.C"),
    ] {
        for error in [
            from_slice::<HashMap<u8, u8>>(pickle).unwrap_err(),
            from_slice::<Vec<u8>>(pickle).unwrap_err(),
        ] {
            let named =
                matches!(error.kind(), SerdeErrorKind::NoForm { class: c } if **c == *class);
            assert!(named, "{error}");
        }
    }
}
