//! What a caller sees of a segments directory on a real file system.

use std::fs;
use std::io::Write;
use std::path::Path;

use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, Origin, Segments, SegmentsWriter, Xxh3,
};

/// A list of `n` small ints as a pickle of protocol 2.
fn pickle(n: u8) -> Vec<u8> {
    let mut bytes = b"\x80\x02](".to_vec();
    bytes.extend((0..n).flat_map(|i| [b'K', i]));
    bytes.extend(b"e.");
    bytes
}

fn header() -> Header {
    Header::new(Kind::List, "split source.pickle count=3")
}

fn put(writer: &mut SegmentsWriter, name: &str, index: u64, items: u8) {
    let mut draft = writer.draft(name).unwrap();
    draft.write_all(&pickle(items)).unwrap();
    let meta = EntryMeta { index, items: Some(items.into()), ..EntryMeta::default() };
    writer.commit(draft, meta).unwrap();
}

/// Three numbered segments of 3, 4 and 5 items, finished.
fn three(dir: &Path) -> Segments {
    let mut writer =
        SegmentsWriter::create(&Location::local(dir), Existing::Refuse, header()).unwrap();
    for index in 0..3u8 {
        let name = picklet_segments::segment_file("data", index.into(), 5);
        put(&mut writer, &name, index.into(), 3 + index);
    }
    writer.finish().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_written_is_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("deep/er/out");
    let written = three(&dir);
    let read = Segments::open(&Location::local(&dir)).unwrap();
    assert_eq!(read.manifest(), written.manifest());
    assert_eq!(read.origin(), Origin::Manifest);
    assert_eq!((read.len(), read.items(), read.kind()), (3, Some(12), Kind::List));
    assert_eq!(read.read(1).unwrap(), pickle(4));
    assert_eq!(read.entries()[1].xxh3, Some(Xxh3::of(&pickle(4))));
    assert_eq!(read.locate_item(0), Some((0, 0)));
    assert_eq!(read.locate_item(3), Some((1, 0)));
    assert_eq!(read.locate_item(11), Some((2, 4)));
    assert_eq!(read.locate_item(12), None);
    assert_eq!(
        names(&dir),
        [
            ".picklet",
            "data-00000.pickle",
            "data-00001.pickle",
            "data-00002.pickle",
            "segments.json"
        ]
    );
    assert!(matches!(read.read(3), Err(Error::NoSuchSegment { len: 3, .. })));
}

#[test]
fn an_interrupted_run_is_resumed_and_keeps_what_was_done() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Location::local(temp.path().join("out"));
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    put(&mut writer, "data-00000", 0, 3);
    drop(writer);
    assert_eq!(Segments::open(&dir).unwrap().origin(), Origin::Journal);
    let mut writer = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    assert_eq!(writer.done().len(), 1);
    put(&mut writer, "data-00001", 1, 4);
    assert_eq!(writer.finish().unwrap().items(), Some(7));
    let again = SegmentsWriter::create(&dir, Existing::Resume, header()).unwrap();
    assert_eq!(again.done().len(), 2);
}
