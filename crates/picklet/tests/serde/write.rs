//! The bytes that are written.

use picklet::{ser, to_vec, to_vec_at, to_writer};
use serde::ser::{Error as _, SerializeTuple as _};
use serde::{Serialize, Serializer};

#[derive(Serialize)]
struct Point {
    x: i32,
    y: i32,
}

#[test]
fn names_are_written_once() {
    let points = [Point { x: 1, y: 2 }, Point { x: 3, y: 4 }];
    let options = ser::Options { protocol: 3, ..Default::default() };
    assert_eq!(
        options.to_vec(&points[..]).unwrap(),
        b"\x80\x03](}(X\x01\0\0\0xq\0K\x01X\x01\0\0\0yq\x01K\x02u}(h\0K\x03h\x01K\x04ue."
    );
}

#[test]
fn equal_names_of_many_structs_are_each_right() {
    // Enough fields to pass the cache of recent names.
    macro_rules! wide {
        ($($field:ident)*) => {
            #[derive(Serialize, Clone, Copy)]
            struct Wide { $($field: u8,)* }
            const WIDE: Wide = Wide { $($field: 1,)* };
            const NAMES: &[&str] = &[$(stringify!($field),)*];
        };
    }
    wide!(a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 b0 b1 b2 b3 b4 b5 b6 b7 b8 b9 c0 c1 c2 c3 c4 c5 c6 c7 c8 c9
          d0 d1 d2 d3 d4 d5 d6 d7 d8 d9 e0 e1 e2 e3 e4 e5 e6 e7 e8 e9 f0 f1 f2 f3 f4 f5 f6 f7 f8 f9
          g0 g1 g2 g3 g4 g5 g6 g7 g8 g9 h0 h1 h2 h3 h4 h5 h6 h7 h8 h9 i0 i1 i2 i3 i4 i5 i6 i7 i8 i9);
    for protocol in 0..=5 {
        let pickle = to_vec_at(&[WIDE; 4], protocol).unwrap();
        type Rows = Vec<std::collections::BTreeMap<String, u8>>;
        let rows: Rows = picklet::from_slice(&pickle).unwrap();
        for row in rows {
            assert!(row.keys().eq(NAMES.iter()));
        }
    }
}

#[test]
fn a_writer_gets_what_to_vec_gives() {
    let mut written = Vec::new();
    let points = vec![1.5; 100_000];
    to_writer(&mut written, &points).unwrap();
    assert_eq!(written, to_vec(&points).unwrap());
}

#[test]
fn a_failing_writer_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(to_writer(Full, &1).unwrap_err().to_string().contains("storage"));
}

#[test]
fn there_is_no_protocol_6() {
    assert_eq!(
        to_vec_at(&1, 6).unwrap_err().to_string(),
        "protocol 6 is not supported (0 to 5 are)"
    );
}

struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("not today"))
    }
}

#[test]
fn an_error_tells_the_path() {
    #[derive(Serialize)]
    struct Outer {
        inner: Vec<(u8, Refuses)>,
    }
    let error = to_vec(&Outer { inner: vec![(1, Refuses)] }).unwrap_err();
    assert_eq!(error.to_string(), "$.inner[0][1]: not today");
    assert_eq!((error.offset(), error.opcode()), (None, None));
}

#[test]
fn a_tuple_that_breaks_its_word_is_refused() {
    struct Liar;
    impl Serialize for Liar {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut tuple = serializer.serialize_tuple(2)?;
            tuple.serialize_element(&1)?;
            tuple.end()
        }
    }
    assert_eq!(to_vec(&Liar).unwrap_err().to_string(), "a tuple of 2 items was given 1");
}

#[test]
fn sequences_of_unknown_length_are_lists() {
    struct Unknown(usize);
    impl Serialize for Unknown {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq((0..self.0).filter(|at| *at < usize::MAX))
        }
    }
    for size in [0, 1, 999, 1000, 1001] {
        for protocol in 0..=5 {
            let pickle = to_vec_at(&Unknown(size), protocol).unwrap();
            let items: Vec<usize> = picklet::from_slice(&pickle).unwrap();
            assert!(items.into_iter().eq(0..size));
        }
    }
}
