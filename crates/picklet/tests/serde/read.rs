//! Pickles written by hand and by Python, into derived types.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use picklet::{from_reader, from_slice};
use serde::Deserialize;
use serde_bytes::{ByteBuf, Bytes};

use crate::pickles;

#[derive(Debug, Deserialize, PartialEq)]
struct User<'a> {
    name: &'a str,
    age: u8,
    #[serde(default)]
    tags: Vec<Cow<'a, str>>,
    score: Option<f64>,
}

#[test]
fn a_struct_borrows_its_strings_from_the_pickle() {
    for pickle in
        pickles("", "{'name': 'Jörg', 'age': 30, 'tags': ['a', 'b'], 'score': None, 'more': [1]}")
            .iter()
            .skip(1)
    {
        let user: User<'_> = from_slice(pickle).unwrap();
        assert_eq!(
            user,
            User { name: "Jörg", age: 30, tags: vec!["a".into(), "b".into()], score: None }
        );
        let range = pickle.as_ptr_range();
        assert!(range.contains(&user.name.as_ptr()));
    }
}

#[test]
fn ascii_text_lines_of_protocol_0_are_borrowed_and_escaped_ones_are_not() {
    assert_eq!(from_slice::<&str>(b"Vplain\n.").unwrap(), "plain");
    assert_eq!(from_slice::<&str>(b"S'quoted'\n.").unwrap(), "quoted");
    assert_eq!(from_slice::<String>(b"V\\u00e9\xe9\n.").unwrap(), "éé");
    assert_eq!(from_slice::<String>(b"S'a\\'b'\n.").unwrap(), "a'b");
    let error = from_slice::<&str>(b"V\\u00e9\n.").unwrap_err();
    assert_eq!(
        error.to_string(),
        "$: UNICODE: invalid type: string \"é\", expected a borrowed string, at byte 0"
    );
}

#[test]
fn bytes_are_borrowed() {
    assert_eq!(from_slice::<&Bytes>(b"C\x02\x00\xff.").unwrap().as_ref(), [0, 255]);
    assert_eq!(from_slice::<&[u8]>(b"C\x02\x00\xff.").unwrap(), [0, 255]);
    assert_eq!(from_slice::<&[u8]>(b"U\x02\x00\xff.").unwrap(), [0, 255]);
    assert_eq!(from_slice::<&[u8]>(b"\x8c\x02hi.").unwrap(), b"hi");
}

#[test]
fn bytes_of_every_protocol_arrive_as_bytes_and_as_sequences() {
    for value in ["b'\\x00\\xffabc'", "bytearray(b'\\x00\\xffabc')"] {
        for pickle in pickles("", value) {
            assert_eq!(from_slice::<ByteBuf>(&pickle).unwrap(), &b"\0\xffabc"[..]);
            assert_eq!(from_slice::<Vec<u8>>(&pickle).unwrap(), b"\0\xffabc");
        }
    }
    for value in ["b''", "bytearray()"] {
        for pickle in pickles("", value) {
            assert_eq!(from_slice::<ByteBuf>(&pickle).unwrap(), &b""[..]);
        }
    }
}

#[test]
fn ints_of_every_width_arrive_or_are_refused() {
    let pickles = pickles("", "[2**63-1, -2**63, 2**63, 2**64-1, -2**127, 2**127-1]");
    for pickle in &pickles {
        assert_eq!(
            from_slice::<Vec<i128>>(pickle).unwrap(),
            [i64::MAX.into(), i64::MIN.into(), 1 << 63, u64::MAX.into(), i128::MIN, i128::MAX]
        );
    }
    for pickle in crate::pickles("", "2**128-1") {
        assert_eq!(from_slice::<u128>(&pickle).unwrap(), u128::MAX);
        assert!(from_slice::<i128>(&pickle).is_err());
    }
    for pickle in crate::pickles("", "2**128") {
        let error = from_slice::<u128>(&pickle).unwrap_err();
        assert!(matches!(error.kind(), picklet::SerdeErrorKind::IntTooLarge), "{error}");
    }
    assert_eq!(
        from_slice::<u64>(b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0.").unwrap(),
        u64::MAX
    );
}

#[test]
fn maps_take_keys_of_any_type() {
    for pickle in pickles("", "{1: 'a', 2: 'b'}") {
        let map: BTreeMap<u8, String> = from_slice(&pickle).unwrap();
        assert_eq!(map, BTreeMap::from([(1, "a".to_owned()), (2, "b".to_owned())]));
    }
    for pickle in pickles("", "{(1, 'x'): None, (2, 'y'): None}") {
        let map: HashMap<(u8, String), ()> = from_slice(&pickle).unwrap();
        assert_eq!(map.len(), 2);
    }
}

#[test]
fn sets_and_deques_are_sequences() {
    for value in ["{1, 2, 3}", "frozenset([1, 2, 3])", "collections.deque([1, 2, 3], 5)"] {
        for pickle in pickles("import collections", value) {
            assert_eq!(from_slice::<BTreeSet<u8>>(&pickle).unwrap(), BTreeSet::from([1, 2, 3]));
        }
    }
}

#[test]
fn dict_subclasses_of_the_standard_library_are_maps() {
    let values = [
        "collections.OrderedDict([('a', 1), ('b', 2)])",
        "collections.defaultdict(int, {'a': 1, 'b': 2})",
        "collections.Counter({'a': 1, 'b': 2})",
    ];
    for value in values {
        for pickle in pickles("import collections", value) {
            let map: BTreeMap<String, u8> = from_slice(&pickle).unwrap();
            assert_eq!(map, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]), "{value}");
        }
    }
}

#[test]
fn long_containers_keep_their_order() {
    for pickle in pickles("", "[[i, [i]] for i in range(5001)]") {
        let items: Vec<(u32, [u32; 1])> = from_slice(&pickle).unwrap();
        assert!(items.iter().enumerate().all(|(at, item)| *item == (at as u32, [at as u32])));
        assert_eq!(items.len(), 5001);
    }
    for pickle in pickles("", "{i: {'i': [i]} for i in range(2001)}") {
        let map: BTreeMap<u32, BTreeMap<String, Vec<u32>>> = from_slice(&pickle).unwrap();
        assert!(map.iter().all(|(key, value)| value["i"] == [*key]));
        assert_eq!(map.len(), 2001);
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct Point {
    x: i32,
    y: i32,
}

const CLASSES: &str = "
import dataclasses, collections
sys.modules['shapes'] = sys.modules['__main__']
class Plain:
    def __init__(self): self.x, self.y = 1, 2
class Slotted:
    __slots__ = ('x', 'y')
    def __init__(self): self.x, self.y = 1, 2
class Both(Slotted):
    def __init__(self): self.x, self.y, self.z = 1, 2, 3
@dataclasses.dataclass
class Data:
    x: int
    y: int
@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int
    y: int
Named = collections.namedtuple('Named', 'x y')
class Ints(list): pass
class Words(dict): pass
class Small(int): pass
class Text(str): pass
class Pair(tuple): pass
class Keywords:
    def __new__(cls, *, x, y):
        self = super().__new__(cls); self.__dict__ = {}; return self
    def __getnewargs_ex__(self): return (), {'x': 1, 'y': 2}
class Loud:
    def __reduce__(self): return (print, ('hello',))
";

#[test]
fn instances_become_structs() {
    // Below protocol 2 Python refuses slots without a __getstate__.
    for (value, from) in [
        ("Plain()", 0),
        ("Slotted()", 2),
        ("Both()", 2),
        ("Data(1, 2)", 0),
        ("Frozen(1, 2)", 2),
        ("Named(1, 2)", 0),
    ] {
        let made = format!("{CLASSES}\nfrom pickle import dumps\n");
        let program = format!(
            "import pickle, sys\n{made}\nvalue = {value}\n\
             for protocol in range({from}, 6): print(pickle.dumps(value, protocol).hex())\n"
        );
        let printed = crate::run_python(&program, b"").unwrap_or_default();
        for line in String::from_utf8(printed).unwrap().lines() {
            let pickle = crate::unhex(line);
            assert_eq!(from_slice::<Point>(&pickle).unwrap(), Point { x: 1, y: 2 }, "{value}");
        }
    }
}

#[test]
fn subclasses_are_what_they_are_subclasses_of() {
    for pickle in pickles(CLASSES, "Ints([1, 2])") {
        assert_eq!(from_slice::<Vec<u8>>(&pickle).unwrap(), [1, 2]);
    }
    for pickle in pickles(CLASSES, "Ints()") {
        assert!(from_slice::<Vec<u8>>(&pickle).unwrap().is_empty());
    }
    for pickle in pickles(CLASSES, "Words(a=1)") {
        assert_eq!(from_slice::<HashMap<String, u8>>(&pickle).unwrap()["a"], 1);
    }
    for pickle in pickles(CLASSES, "Small(7)") {
        assert_eq!(from_slice::<i64>(&pickle).unwrap(), 7);
    }
    for pickle in pickles(CLASSES, "Text('seven')") {
        assert_eq!(from_slice::<String>(&pickle).unwrap(), "seven");
    }
}

#[derive(Debug, Deserialize, PartialEq)]
enum External {
    Unit,
    New(u8),
    Pair(u8, u8),
    Fields { x: u8 },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "type")]
enum Internal {
    Circle { radius: f64 },
    Square { side: f64 },
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum Untagged {
    Int(i64),
    Text(String),
    List(Vec<Untagged>),
    Point { x: i32, y: i32 },
}

#[test]
fn enums_of_every_tagging() {
    for pickle in pickles(
        "",
        "['Unit', {'Unit': None}, {'New': 1}, {'Pair': (1, 2)}, {'Pair': [3, 4]}, {'Fields': {'x': 5}}]",
    ) {
        use External::{Fields, New, Pair, Unit};
        assert_eq!(
            from_slice::<Vec<External>>(&pickle).unwrap(),
            [Unit, Unit, New(1), Pair(1, 2), Pair(3, 4), Fields { x: 5 }]
        );
    }
    for pickle in pickles("", "[{'type': 'Circle', 'radius': 1.5}, {'side': 2, 'type': 'Square'}]")
    {
        assert_eq!(
            from_slice::<Vec<Internal>>(&pickle).unwrap(),
            [Internal::Circle { radius: 1.5 }, Internal::Square { side: 2.0 }]
        );
    }
    for pickle in pickles(CLASSES, "[1, 'a', [2, ['b']], {'x': 1, 'y': 2}, Data(3, 4)]") {
        use Untagged::{Int, List, Point, Text};
        assert_eq!(
            from_slice::<Vec<Untagged>>(&pickle).unwrap(),
            [
                Int(1),
                Text("a".into()),
                List(vec![Int(2), List(vec![Text("b".into())])]),
                Point { x: 1, y: 2 },
                Point { x: 3, y: 4 }
            ]
        );
    }
}

#[derive(Debug, Deserialize, PartialEq)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, i64>,
}

#[test]
fn flattened_structs() {
    for pickle in pickles("", "{'id': 1, 'a': 2, 'b': 3}") {
        let flat: Flat = from_slice(&pickle).unwrap();
        assert_eq!((flat.id, flat.rest["a"], flat.rest["b"]), (1, 2, 3));
    }
}

#[test]
fn python_2_strings_are_text_where_they_can_be() {
    assert_eq!(from_slice::<String>(b"U\x02hi.").unwrap(), "hi");
    assert_eq!(from_slice::<ByteBuf>(b"U\x02\xff\xfe.").unwrap(), &[255, 254][..]);
    assert!(from_slice::<String>(b"U\x02\xff\xfe.").is_err());
    #[derive(Debug, Deserialize, PartialEq)]
    struct Old {
        x: i32,
    }
    // An old-style class of Python 2, by INST.
    let pickle = b"(i__main__\nOld\np0\n(dp1\nS'x'\np2\nI5\nsb.";
    assert_eq!(from_slice::<Old>(pickle).unwrap(), Old { x: 5 });
}

#[test]
fn what_is_shared_is_delivered_for_each_reference() {
    for pickle in pickles("a = [1]", "[a, a, {'a': a}['a']]") {
        assert_eq!(from_slice::<Vec<Vec<u8>>>(&pickle).unwrap(), [[1], [1], [1]]);
    }
    // Memoised first, changed later.
    assert_eq!(from_slice::<[Vec<u8>; 2]>(b"\x80\x04]\x94K\x01ah\0\x86.").unwrap(), [[1], [1]]);
}

#[test]
fn newtypes_chars_units_and_options() {
    #[derive(Debug, Deserialize, PartialEq)]
    struct Metres(f64);
    #[derive(Debug, Deserialize, PartialEq)]
    struct Nothing;
    for pickle in pickles("", "(1.5, 'é', None, None, 3, None)") {
        type Row = (Metres, char, (), Nothing, Option<u8>, Option<u8>);
        let row: Row = from_slice(&pickle).unwrap();
        assert_eq!(row, (Metres(1.5), 'é', (), Nothing, Some(3), None));
    }
}

#[test]
fn readers_are_read_to_their_end() {
    assert_eq!(from_reader::<Vec<u8>>(&b"](K\x01K\x02e.rest"[..]).unwrap(), [1, 2]);
}
