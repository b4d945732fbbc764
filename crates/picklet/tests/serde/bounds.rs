//! Hostile pickles and deep types end, with an error that names the cap.

use picklet::de::{Options, Pickle};
use picklet::{SerdeErrorKind, from_slice, to_vec};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize)]
struct Nested(Vec<Nested>);

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Tree {
    Leaf(i64),
    List(Vec<Tree>),
}

fn nested_lists(levels: usize) -> Vec<u8> {
    let mut pickle = vec![b']'; levels];
    pickle.resize(2 * levels - 1, b'a');
    pickle.push(b'.');
    pickle
}

#[test]
fn a_million_levels_end_at_the_depth_cap() {
    let error = from_slice::<Tree>(&nested_lists(1_000_000)).unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Depth { cap: 128 }), "{error}");
    assert!(error.to_string().contains("max_depth"));
    let error = from_slice::<Nested>(&nested_lists(1_000_000)).unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Depth { .. }), "{error}");
    // What nobody asks for may be as deep as it likes.
    from_slice::<serde::de::IgnoredAny>(&nested_lists(1_000_000)).unwrap();
}

#[test]
fn the_depth_cap_counts_containers() {
    from_slice::<Tree>(&nested_lists(128)).unwrap();
    assert!(from_slice::<Tree>(&nested_lists(129)).is_err());
    let deeper = Options { max_depth: 200, ..Options::default() };
    deeper.from_slice::<Tree>(&nested_lists(200)).unwrap();
}

#[test]
fn what_holds_itself_is_an_error_that_says_so() {
    for pickle in [
        &b"]\x94h\0a."[..],
        b"\x80\x04]\x94}\x94\x8c\x01ah\0sa.",
        b"(lp0\n(g0\nta.",
        b"\x80\x02c__main__\nA\n)\x81q\0}U\x01xh\0sb.",
    ] {
        let error = from_slice::<Tree>(pickle).unwrap_err();
        let said = matches!(error.kind(), SerdeErrorKind::Cycle) || pickle[0] == 0x80;
        assert!(said, "{error}");
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Me {
        x: Box<Me>,
    }
    let error = from_slice::<Me>(b"\x80\x02c__main__\nA\n)\x81q\0}U\x01xh\0sb.").unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Cycle), "{error}");
    assert!(error.to_string().starts_with("$.x.x.x."), "{error}");
}

/// `levels` lists, each holding the one before ten times.
fn bomb(levels: usize) -> Vec<u8> {
    let mut pickle = b"\x80\x04](K\x01K\x02e\x94".to_vec();
    for level in 0..levels {
        pickle.extend(b"](");
        for _ in 0..10 {
            pickle.extend([b'h', level as u8]);
        }
        pickle.extend(b"e\x94");
    }
    pickle.push(b'.');
    pickle
}

#[test]
fn a_memo_bomb_ends_at_the_expansion_cap() {
    let options = Options { max_expansion: 1 << 20, ..Options::default() };
    let error = options.from_slice::<Tree>(&bomb(30)).unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Expansion { cap: 1_048_576 }), "{error}");
    assert!(error.to_string().contains("max_expansion"));
    // Three levels are 1,000 references and well within it.
    options.from_slice::<Tree>(&bomb(3)).unwrap();
}

#[test]
fn a_cycle_of_shared_tuples_is_looked_for_in_linear_time() {
    let mut pickle = b"\x80\x04)\x94".to_vec();
    for _ in 0..60 {
        pickle.extend(b"2\x86\x94");
    }
    pickle.push(b'.');
    let options = Options { max_depth: 20, ..Options::default() };
    let error = options.from_slice::<Tree>(&pickle).unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Depth { cap: 20 }), "{error}");
}

#[test]
fn a_long_string_referred_to_often_is_charged_each_time() {
    let mut pickle = b"\x80\x04B\x00\x00\x10\x00".to_vec();
    pickle.extend(vec![b'x'; 1 << 20]);
    pickle.extend(b"\x940](");
    pickle.extend(b"h\0".repeat(2000));
    pickle.extend(b"e.");
    let error = from_slice::<Vec<serde_bytes::ByteBuf>>(&pickle).unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Expansion { .. }), "{error}");
    let options = Options { max_expansion: 4 << 30, ..Options::default() };
    let borrowed: Vec<&[u8]> = options.from_slice(&pickle).unwrap();
    assert_eq!(borrowed.len(), 2000);
}

#[test]
fn what_is_not_shared_needs_no_expansion() {
    let options = Options { max_expansion: 0, ..Options::default() };
    let value: Vec<(String, Vec<u8>)> =
        (0..3000).map(|at| (at.to_string().repeat(50), vec![1; 9])).collect();
    let pickle = to_vec(&value).unwrap();
    assert_eq!(options.from_slice::<Vec<(String, Vec<u8>)>>(&pickle).unwrap(), value);
}

#[test]
fn a_type_that_holds_only_itself_ends() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Endless(Option<Box<Endless>>);
    assert!(from_slice::<Endless>(b"K\x01.").is_err());
    from_slice::<Endless>(b"N.").unwrap();
}

#[test]
fn writing_ends_at_the_depth_cap_too() {
    let mut tree = Tree::Leaf(1);
    for _ in 0..128 {
        tree = Tree::List(vec![tree]);
    }
    let pickle = to_vec(&tree).unwrap();
    from_slice::<Tree>(&pickle).unwrap();
    let error = to_vec(&Tree::List(vec![tree])).unwrap_err();
    assert!(matches!(error.kind(), SerdeErrorKind::Depth { cap: 128 }), "{error}");
}

#[test]
fn one_pickle_serves_many_types() {
    let pickle = Pickle::read(b"](K\x01K\x02e.", Options::default()).unwrap();
    assert_eq!(pickle.deserialize::<Vec<u8>>().unwrap(), [1, 2]);
    assert_eq!(pickle.deserialize::<(f64, i128)>().unwrap(), (1.0, 2));
}
