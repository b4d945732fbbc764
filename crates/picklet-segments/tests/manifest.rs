//! The manifest's format: its schema, its digest, the fields it keeps.

use std::path::Path;

use picklet_segments::{Entry, Error, Header, Kind, Manifest, SharedCounts, Source, Xxh3};
use serde_json::{Map, Value, json};

fn entry(file: &str, index: u64, first: u64, items: u64) -> Entry {
    Entry {
        file: file.to_owned(),
        index,
        first_item: Some(first),
        items: Some(items),
        bytes: 100 + items,
        xxh3: Some(Xxh3(u128::from(index) << 70)),
        sha256: None,
        kind: None,
        shared: None,
        input: None,
        version: None,
        extra: Map::new(),
    }
}

/// A manifest with every field there is.
fn full() -> Manifest {
    let source = Source {
        name: "자료.pickle".to_owned(),
        bytes: Some(1 << 40),
        xxh3: Some(Xxh3(7)),
        extra: Map::from_iter([("from".to_owned(), json!("later"))]),
    };
    let mut second = entry("서울.pickle", 4, 10, 0);
    second.sha256 = Some("ab".repeat(32));
    second.kind = Some(Kind::Dict);
    second.shared = Some(SharedCounts { atoms: 1, immutable: 2, mutable: 3 });
    second.input = Some(Xxh3(9));
    second.version = Some("v1".to_owned());
    second.extra.insert("source_offset".to_owned(), json!(12));
    let mut header = Header::new(Kind::List, "split 자료.pickle count=10").with_source(source);
    header.sha256 = true;
    header.extra.insert("note".to_owned(), json!({"kept": [1, null, "x"]}));
    Manifest { header, segments: vec![entry("data-00000.pickle", 0, 0, 10), second] }
}

fn small() -> Manifest {
    let mut only = entry("a.pickle", 0, 0, 0);
    only.first_item = None;
    only.items = None;
    Manifest { header: Header::new(Kind::Objects, "map"), segments: vec![only] }
}

fn read(bytes: &[u8]) -> Result<Manifest, Error> {
    Manifest::from_bytes(bytes, Path::new("segments.json"))
}

#[test]
fn every_manifest_that_is_written_fits_the_schema() {
    let schema = include_str!("../../../docs/manifest.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("manifest.schema.json", schema).unwrap();
    let mut schemas = boon::Schemas::new();
    let schema = compiler.compile("manifest.schema.json", &mut schemas).unwrap();
    let empty = Manifest { header: Header::new(Kind::Set, ""), segments: Vec::new() };
    for manifest in [full(), small(), empty] {
        let value: Value = serde_json::from_slice(&manifest.to_bytes().unwrap()).unwrap();
        if let Err(error) = schemas.validate(&value, schema) {
            panic!("{error:#}");
        }
    }
    let good: Value = serde_json::from_slice(&full().to_bytes().unwrap()).unwrap();
    for (pointer, bad) in [
        ("/format", json!("other")),
        ("/format_version", json!(2)),
        ("/digest", json!("AB")),
        ("/kind", json!("shelf")),
        ("/segments/0/file", json!("../x.pickle")),
        ("/segments/0/file", json!("x.json")),
        ("/segments/0/bytes", json!(-1)),
        ("/segments/1/sha256", json!("xyz")),
        ("/segments/1/shared", json!({"atoms": 1})),
    ] {
        let mut value = good.clone();
        *value.pointer_mut(pointer).unwrap() = bad;
        assert!(schemas.validate(&value, schema).is_err(), "{pointer} is not checked");
    }
}

#[test]
fn what_is_written_is_read_back_and_written_again_byte_for_byte() {
    for manifest in [full(), small()] {
        let bytes = manifest.to_bytes().unwrap();
        let again = read(&bytes).unwrap();
        assert_eq!(again, manifest);
        assert_eq!(again.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn fields_stand_in_the_same_order_always() {
    let text = String::from_utf8(full().to_bytes().unwrap()).unwrap();
    let order = [
        "format",
        "format_version",
        "digest",
        "kind",
        "items",
        "bytes",
        "source",
        "fingerprint",
        "sha256",
        "note",
        "segments",
        "file",
        "index",
        "first",
    ];
    let places: Vec<usize> =
        order.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn the_digest_is_that_of_the_file_with_the_digest_blanked() {
    let text = String::from_utf8(full().to_bytes().unwrap()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let digest = value["digest"].as_str().unwrap();
    let blanked = text.replacen(digest, &"0".repeat(32), 1);
    assert_eq!(Xxh3::of(blanked.as_bytes()).to_string(), digest);
}

#[test]
fn a_manifest_of_a_newer_format_says_so() {
    let text = String::from_utf8(full().to_bytes().unwrap()).unwrap();
    let newer = text.replacen("\"format_version\": 1", "\"format_version\": 2", 1);
    assert!(matches!(read(newer.as_bytes()), Err(Error::NewerManifest { found: 2, .. })));
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let changed = |change: fn(&mut Manifest)| {
        let mut manifest = full();
        change(&mut manifest);
        read(&manifest.to_bytes().unwrap())
    };
    let cases: [fn(&mut Manifest); 6] = [
        |m| m.segments[1].file = "data-00000.pickle".to_owned(),
        |m| m.segments[1].index = 0,
        |m| m.segments[1].first_item = Some(11),
        |m| m.segments[0].xxh3 = None,
        |m| m.segments[0].file = "\u{1112}\u{1161}\u{11ab}.pickle\u{0}".to_owned(),
        |m| {
            m.segments[0].items = Some(u64::MAX);
            m.segments[1].first_item = None;
            m.segments[1].items = Some(2);
        },
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let result = changed(case);
        assert!(matches!(result, Err(Error::BadManifest { .. })), "case {number}: {result:?}");
    }
    let mut same = full();
    same.segments[0].file = "\u{c11c}\u{c6b8}.pickle".to_owned();
    same.segments[1].file = "\u{1109}\u{1165}\u{110b}\u{116e}\u{11af}.pickle".to_owned();
    assert!(read(&same.to_bytes().unwrap()).is_err(), "equal after NFC");
}
