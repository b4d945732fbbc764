//! Fields that this picklet does not know, put into a manifest by a newer one or by another
//! program, stay there when it rewrites the manifest: for the whole, the source and each segment.

mod support;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use picklet_segments::engine::{Answer, Done, MapOptions, Output, PublishTo, Task, map_in_process};
use picklet_segments::{
    EntryMeta, Existing, Input, Location, Manifest, NoProgress, Publisher, Segments,
    SegmentsWriter, SplitOptions, Target, VerifyOptions, repair, split,
};
use serde_json::json;
use support::FakeDisk;

fn at(disk: &FakeDisk, name: &str) -> Location {
    Location::on_disk(Arc::new(disk.clone()), format!("/{name}"))
}

fn split_into(disk: &FakeDisk, existing: Existing) {
    let input = Input::bytes("four.pickle", b"\x80\x04](K\x00K\x01K\x02K\x03e.".to_vec());
    let options = SplitOptions { target: Target::Items(1), existing, ..SplitOptions::default() };
    split(&input, &at(disk, "in"), &options).unwrap();
}

/// Maps each segment to itself.
fn map(disk: &FakeDisk) {
    let out = at(disk, "out");
    let input = Segments::open(&at(disk, "in")).unwrap();
    let mut run = |task: &Task, to: &PublishTo| {
        let mut draft = Publisher::new(&out, &to.session, false)?.draft(&task.output)?;
        let index = task.index as usize;
        draft.write_all(&input.read(index)?).map_err(|e| draft.error(e))?;
        Ok(Answer::Done(Box::new(Done {
            task: task.task,
            outputs: vec![Output { receipt: draft.publish()?, holds: "list".to_owned(), items: 1 }],
            load_seconds: 0.0,
            run_seconds: 0.0,
            dump_seconds: 0.0,
            peak_rss: None,
        })))
    };
    map_in_process(&input, &out, &mut run, &MapOptions::default(), &NoProgress, &|| false).unwrap();
}

/// Adds fields everywhere, as another program would; the journal knows nothing of them.
fn add_fields(disk: &FakeDisk, directory: &str) {
    let path = format!("/{directory}/segments.json");
    let bytes = disk.read(&path).unwrap();
    let mut manifest = Manifest::from_bytes(&bytes, Path::new(&path)).unwrap();
    manifest.header.extra.insert("licence".to_owned(), json!({"of": ["CC0", null, 1.5]}));
    let source = manifest.header.source.as_mut().unwrap();
    source.extra.insert("fetched".to_owned(), json!("2026-11-26"));
    for entry in &mut manifest.segments {
        entry.extra.insert("place".to_owned(), json!(entry.index * 10));
    }
    disk.put(&path, &manifest.to_bytes().unwrap());
}

/// That they are there still, in all segments but those that came later.
fn fields_are_kept(disk: &FakeDisk, directory: &str, what: &str) {
    let segments = Segments::open(&at(disk, directory)).unwrap();
    let header = &segments.manifest().header;
    assert_eq!(header.extra["licence"], json!({"of": ["CC0", null, 1.5]}), "{what}");
    assert_eq!(header.source.as_ref().unwrap().extra["fetched"], "2026-11-26", "{what}");
    let mut kept = 0;
    for entry in segments.entries().iter().filter(|entry| entry.extra.contains_key("place")) {
        assert_eq!(entry.extra["place"], json!(entry.index * 10), "{what}");
        kept += 1;
    }
    let made_anew = if what.contains("damage") { 1 } else { 0 };
    assert_eq!(kept, 4 - made_anew, "{what}");
}

fn append(disk: &FakeDisk) {
    let mut writer = SegmentsWriter::append(&at(disk, "in")).unwrap();
    let index = writer.next_index();
    let mut draft = writer.draft("more").unwrap();
    draft.write_all(b"\x80\x04]K\x09a.").unwrap();
    writer.commit(draft, EntryMeta { index, items: Some(1), ..EntryMeta::default() }).unwrap();
    writer.finish().unwrap();
}

#[test]
fn unknown_fields_are_kept_by_append_repair_split_and_map() {
    let disk = FakeDisk::default();
    split_into(&disk, Existing::Refuse);
    add_fields(&disk, "in");
    append(&disk);
    fields_are_kept(&disk, "in", "append");
    split_into(&disk, Existing::Resume);
    fields_are_kept(&disk, "in", "split --resume");
    repair(&at(&disk, "in"), &VerifyOptions::default()).unwrap();
    fields_are_kept(&disk, "in", "repair");
    disk.put("/in/data-00001.pickle", b"damage");
    repair(&at(&disk, "in"), &VerifyOptions::default()).unwrap();
    fields_are_kept(&disk, "in", "repair of damage");
    split_into(&disk, Existing::Resume);
    fields_are_kept(&disk, "in", "split --resume after damage");

    let disk = FakeDisk::default();
    split_into(&disk, Existing::Refuse);
    map(&disk);
    add_fields(&disk, "out");
    map(&disk);
    fields_are_kept(&disk, "out", "map that resumes");
    disk.put("/out/data-00002.pickle", b"damage");
    repair(&at(&disk, "out"), &VerifyOptions::default()).unwrap();
    map(&disk);
    fields_are_kept(&disk, "out", "map that resumes after damage");
}

#[test]
fn a_field_of_a_segment_that_was_made_anew_is_not_believed_of_the_new_one() {
    let disk = FakeDisk::default();
    split_into(&disk, Existing::Refuse);
    map(&disk);
    add_fields(&disk, "out");
    // Another input: every output is made anew.
    let input = Input::bytes("four.pickle", b"\x80\x04](K\x05K\x06K\x07K\x08e.".to_vec());
    let existing = Existing::Overwrite;
    let options = SplitOptions { target: Target::Items(1), existing, ..SplitOptions::default() };
    split(&input, &at(&disk, "in"), &options).unwrap();
    map(&disk);
    let out = Segments::open(&at(&disk, "out")).unwrap();
    assert_eq!(out.manifest().header.extra["licence"]["of"][0], "CC0");
    assert!(out.entries().iter().all(|entry| !entry.extra.contains_key("place")));
}
