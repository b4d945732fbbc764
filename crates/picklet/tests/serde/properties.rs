//! Any value of a type comes back from its pickle, at every protocol; any bytes end.

use std::collections::BTreeMap;

use picklet::{from_slice, to_vec_at};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    name: String,
    letter: char,
    wide: i128,
    unsigned: u128,
    weight: f64,
    half: f32,
    flag: Option<bool>,
    raw: ByteBuf,
    choice: Choice,
    pair: (i8, u16),
    by_name: BTreeMap<String, Vec<i64>>,
    by_number: BTreeMap<i32, Newtype>,
    internal: Vec<Internal>,
    untagged: Vec<Untagged>,
    nested: Option<Box<Record>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Newtype(i64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Choice {
    Unit,
    New(Newtype),
    Tuple(u8, String),
    Struct { x: f64, y: Option<()> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { value: i64 },
    B,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<i64>),
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(-0.0), Just(5e-324)]
        .prop_filter("a NaN equals nothing", |value| !value.is_nan())
}

fn choices() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::Unit),
        any::<i64>().prop_map(|value| Choice::New(Newtype(value))),
        (any::<u8>(), any::<String>()).prop_map(|(a, b)| Choice::Tuple(a, b)),
        finite().prop_map(|x| Choice::Struct { x, y: None }),
    ]
}

fn untagged() -> impl Strategy<Value = Untagged> {
    prop_oneof![
        any::<bool>().prop_map(Untagged::Bool),
        any::<i64>().prop_map(Untagged::Int),
        any::<String>().prop_map(Untagged::Text),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(Untagged::List),
    ]
}

fn internal() -> impl Strategy<Value = Internal> {
    prop_oneof![Just(Internal::B), any::<i64>().prop_map(|value| Internal::A { value })]
}

fn records() -> impl Strategy<Value = Record> {
    let scalars = (
        any::<u64>(),
        any::<String>(),
        any::<char>(),
        any::<i128>(),
        any::<u128>(),
        finite(),
        finite().prop_map(|value| value as f32),
        any::<Option<bool>>(),
    );
    let rest = (
        prop::collection::vec(any::<u8>(), 0..300),
        choices(),
        any::<(i8, u16)>(),
        prop::collection::btree_map(
            any::<String>(),
            prop::collection::vec(any::<i64>(), 0..4),
            0..4,
        ),
        prop::collection::btree_map(any::<i32>(), any::<i64>().prop_map(Newtype), 0..4),
        prop::collection::vec(internal(), 0..3),
        prop::collection::vec(untagged(), 0..3),
    );
    let record = (scalars, rest).prop_map(|(a, b)| Record {
        id: a.0,
        name: a.1,
        letter: a.2,
        wide: a.3,
        unsigned: a.4,
        weight: a.5,
        half: a.6,
        flag: a.7,
        raw: ByteBuf::from(b.0),
        choice: b.1,
        pair: b.2,
        by_name: b.3,
        by_number: b.4,
        internal: b.5,
        untagged: b.6,
        nested: None,
    });
    let record = record.boxed();
    (record.clone(), prop::option::of(record))
        .prop_map(|(outer, inner)| Record { nested: inner.map(Box::new), ..outer })
}

proptest! {
    #[test]
    fn what_is_written_is_read(records in prop::collection::vec(records(), 0..4)) {
        for protocol in 0..=5 {
            let pickle = to_vec_at(&records, protocol).unwrap();
            prop_assert_eq!(&from_slice::<Vec<Record>>(&pickle).unwrap(), &records);
            // And is a pickle that the value model reads.
            picklet::Value::from_slice(&pickle).unwrap();
        }
    }

    #[test]
    fn damaged_pickles_give_a_value_or_an_error(
        record in records(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        protocol in 0..=5_u8,
    ) {
        let mut pickle = to_vec_at(&record, protocol).unwrap();
        let at = at.index(pickle.len());
        pickle[at] = byte;
        let _ = from_slice::<Record>(&pickle);
        let _ = from_slice::<Record>(&pickle[..at]);
    }

    #[test]
    fn any_opcodes_give_a_value_or_an_error(
        pickle in prop::collection::vec(
            prop_oneof![
                prop::sample::select(&b"()]}\x8f\x85\x86\x87aseubtldo0122N\x88\x89h\x94q\0\x01\x93R\x81\x92b\x90\x91."[..]),
                any::<u8>(),
            ],
            0..200,
        )
    ) {
        #[derive(Debug, Deserialize)]
        #[serde(untagged)]
        #[allow(dead_code)]
        enum Any { None, Bool(bool), Int(i64), List(Vec<Any>), Map(BTreeMap<String, Any>) }
        let _ = from_slice::<Any>(&pickle);
        let _ = from_slice::<Record>(&pickle);
    }
}
