//! Segments stored compressed: read by everything, checked as they are stored.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use picklet_segments::{
    Compression, Error, Existing, Input, Location, MergeOptions, Segments, SplitOptions, Target,
    VerifyOptions, merge, repair, split, verify,
};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compression").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// `[0, 1, … count]` as a pickle.
fn numbers(count: u32) -> Vec<u8> {
    let mut pickle = b"\x80\x04](".to_vec();
    for number in 0..count {
        pickle.push(b'J');
        pickle.extend(number.to_le_bytes());
    }
    pickle.extend(b"e.");
    pickle
}

fn cut(folder: &Path, compression: Option<Compression>) -> Segments {
    let options = SplitOptions {
        target: Target::Items(1000),
        compression,
        sha256: true,
        existing: Existing::Overwrite,
        ..SplitOptions::default()
    };
    let input = Input::bytes("numbers", numbers(3500));
    split(&input, &Location::local(folder), &options).unwrap().segments
}

fn merged(segments: &Segments) -> Vec<u8> {
    let mut out = Vec::new();
    merge(segments, &mut out, &MergeOptions::default()).unwrap();
    out
}

#[test]
fn compressed_segments_hold_the_same_pickles_and_are_smaller() {
    let plain = cut(&folder("plain"), None);
    for (how, ending) in [(Compression::Zstd, ".pickle.zst"), (Compression::Gzip, ".pickle.gz")] {
        let directory = folder(ending);
        let stored = cut(&directory, Some(how));
        assert_eq!(stored.len(), plain.len());
        assert!(stored.bytes() < plain.bytes());
        for index in 0..stored.len() {
            assert!(stored.entry(index).unwrap().file.ends_with(ending));
            let pickle = plain.read(index).unwrap();
            assert_eq!(stored.read(index).unwrap(), pickle);
            let part = stored.open_segment(index).unwrap();
            assert_eq!(part.size().unwrap(), pickle.len() as u64);
            let mut bytes = vec![0; 100];
            part.read_exact_at(50, &mut bytes).unwrap();
            assert_eq!(bytes, pickle[50..150]);
        }
        assert_eq!(merged(&stored), merged(&plain));
        assert!(verify(&stored, &VerifyOptions::default()).unwrap().is_good());
        // Equal segments are equal files: no time is in them.
        let again = cut(&folder(&format!("again{ending}")), Some(how));
        let digests = |s: &Segments| s.entries().iter().map(|e| e.xxh3).collect::<Vec<_>>();
        assert_eq!(digests(&stored), digests(&again));
    }
}

#[test]
fn what_others_compressed_or_expanded_under_the_old_name_is_read_by_its_first_bytes() {
    let directory = folder("sniffed");
    let plain = cut(&directory, None);
    let pickle = plain.read(0).unwrap();
    let other = folder("sniffed-other");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&pickle).unwrap();
    fs::write(other.join("a.pickle"), gzip.finish().unwrap()).unwrap();
    fs::write(other.join("b.pickle.zst"), &pickle).unwrap();
    // Two frames, as `cat a.zst b.zst` makes them.
    let (head, tail) = pickle.split_at(1000);
    let frames = [zstd::encode_all(head, 1).unwrap(), zstd::encode_all(tail, 1).unwrap()].concat();
    fs::write(other.join("c.pickle"), frames).unwrap();
    let segments = Segments::open(&Location::local(&other)).unwrap();
    assert_eq!(segments.len(), 3);
    for index in 0..3 {
        assert_eq!(segments.read(index).unwrap(), pickle);
    }
}

#[test]
fn a_compressed_source_is_split_as_what_is_in_it() {
    let directory = folder("source");
    let path = directory.join("numbers.pickle.zst");
    fs::write(&path, zstd::encode_all(numbers(3500).as_slice(), 1).unwrap()).unwrap();
    let out = directory.join("out");
    let options = SplitOptions { target: Target::Items(1000), ..SplitOptions::default() };
    let report = split(&Input::file(&path).unwrap(), &Location::local(&out), &options).unwrap();
    assert_eq!(report.items, 3500);
    let lines = directory.join("lines.jsonl.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"[1]\n[2]\n").unwrap();
    fs::write(&lines, gzip.finish().unwrap()).unwrap();
    let out = Location::local(directory.join("lines"));
    assert_eq!(split(&Input::file(&lines).unwrap(), &out, &options).unwrap().items, 2);
}

#[test]
fn every_byte_of_a_compressed_segment_flipped_is_found() {
    let directory = folder("flipped");
    let segments = cut(&directory, Some(Compression::Zstd));
    let path = segments.path(0).unwrap();
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        assert!(matches!(segments.read(0), Err(Error::Damaged { .. })), "byte {at}");
    }
    fs::write(&path, &good[..good.len() - 3]).unwrap();
    assert!(matches!(segments.read(0), Err(Error::Damaged { .. })));
    // Without a digest to compare with, what cannot be expanded is found all the same.
    fs::remove_file(directory.join("segments.json")).unwrap();
    fs::remove_dir_all(directory.join(".picklet")).unwrap();
    let unknown = Segments::open(&Location::local(&directory)).unwrap();
    let error = unknown.read(0).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    let inspect = |_: &dyn picklet_segments::ReadAt| Ok(picklet_segments::Inspected::default());
    let options = VerifyOptions { inspect: Some(&inspect), ..VerifyOptions::default() };
    assert_eq!(repair(&Location::local(&directory), &options).unwrap().lost.len(), 1);
}

#[test]
fn sha256sum_agrees_with_the_list_and_finds_damage() {
    let directory = folder("sums");
    for how in [None, Some(Compression::Gzip)] {
        let segments = cut(&directory, how);
        let run = || match Command::new("sha256sum")
            .args(["-c", "--quiet", "SHA256SUMS"])
            .current_dir(&directory)
            .output()
        {
            Ok(output) => Some(output.status.success()),
            Err(_) => None,
        };
        let Some(good) = run() else {
            return eprintln!("SKIPPED: no sha256sum to ask");
        };
        assert!(good);
        let list = fs::read_to_string(directory.join("SHA256SUMS")).unwrap();
        assert_eq!(list.lines().count(), segments.len());
        fs::write(segments.path(1).unwrap(), b"damage").unwrap();
        assert_eq!(run(), Some(false));
    }
    // A run without it, over one with it, leaves no list of what is not there.
    let options = SplitOptions { existing: Existing::Overwrite, ..SplitOptions::default() };
    split(&Input::bytes("numbers", numbers(10)), &Location::local(&directory), &options).unwrap();
    assert!(!directory.join("SHA256SUMS").exists());
}
