//! Tiles made with any shape, tile, overlap, edge rule, type and memory order, and stitched
//! unchanged, are the source, bit for bit.

use std::path::Path;

use picklet_segments::{Existing, Input, Location, Segments};
use picklet_tiles::{Array, ArrayOptions, CutOptions, Edge, Grid, StitchOptions, cut, stitch};
use proptest::prelude::*;

/// A folder in memory where there is such a place: each tile is synced to the disk.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

/// A `.npy` file around `payload`, written without this crate's own code.
fn npy(descr: &str, fortran: bool, shape: &[u64], payload: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let sides: String = shape.iter().map(|side| format!("{side},")).collect();
    let text = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': ({sides})}}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(payload);
    bytes
}

/// The elements of a `.npy` file.
fn payload(bytes: &[u8]) -> &[u8] {
    let length = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    &bytes[10 + length..]
}

/// Fortran's order turned into C's, element by element.
fn c_order(payload: &[u8], shape: &[u64], item: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let count: u64 = shape.iter().product();
    for number in 0..count {
        let (mut rest, mut at) = (number, vec![0; shape.len()]);
        for axis in (0..shape.len()).rev() {
            at[axis] = rest % shape[axis];
            rest /= shape[axis];
        }
        let place = at.iter().zip(shape).rev().fold(0, |sum, (at, side)| sum * side + at) as usize;
        out.extend(&payload[place * item..][..item]);
    }
    out
}

const TYPES: [(&str, usize); 8] = [
    ("'|u1'", 1),
    ("'|b1'", 1),
    ("'>i2'", 2),
    ("'<f4'", 4),
    ("'<M8[ns]'", 8),
    ("'<c16'", 16),
    ("'|S3'", 3),
    ("[('a', '<i2'), ('b', '|u1', (2,))]", 4),
];

#[derive(Debug, Clone)]
struct Case {
    shape: Vec<u64>,
    tile: Vec<Option<u64>>,
    overlap: Vec<u64>,
    edge: Edge,
    dtype: (&'static str, usize),
    fortran: bool,
    workers: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    const EDGES: [Edge; 4] = [Edge::Shrink, Edge::Shift, Edge::Reflect, Edge::Constant];
    (1usize..=4)
        .prop_flat_map(|axes| {
            (
                prop::collection::vec(1u64..=if axes > 2 { 6 } else { 23 }, axes),
                prop::collection::vec(prop::option::weighted(0.8, 1u64..=9), axes),
                prop::collection::vec(0u64..=11, axes),
                prop::sample::select(&EDGES[..]),
                prop::sample::select(&TYPES[..]),
                any::<bool>(),
                1usize..4,
            )
        })
        .prop_map(|(shape, mut tile, overlap, edge, dtype, fortran, workers)| {
            if tile.iter().all(Option::is_none) {
                tile[0] = Some(3);
            }
            let overlap = tile
                .iter()
                .zip(overlap)
                .map(|(side, overlap)| side.map_or(0, |_| overlap))
                .collect();
            Case { shape, tile, overlap, edge, dtype, fortran, workers }
        })
        .prop_filter("few tiles", |case| {
            Grid::new(&case.shape, &case.tile, &case.overlap, case.edge)
                .is_ok_and(|grid| grid.len() <= 60)
        })
}

fn runs() -> u32 {
    std::env::var("PICKLET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: runs(), failure_persistence: None, ..Default::default() })]

    #[test]
    fn tiles_stitched_unchanged_are_the_source(case in cases(), seed in any::<u64>()) {
        let folder = folder();
        let (descr, item) = case.dtype;
        let count: u64 = case.shape.iter().product();
        let mut state = seed | 1;
        let elements: Vec<u8> = (0..count as usize * item)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as u8
            })
            .collect();
        let source = npy(descr, case.fortran, &case.shape, &elements);
        let array = Array::open(Input::bytes("a.npy", source), &ArrayOptions::default()).unwrap();
        let tiles = Location::local(folder.path().join("tiles"));
        let options = CutOptions {
            tile: case.tile.clone(),
            overlap: case.overlap.clone(),
            edge: case.edge,
            workers: case.workers,
            ..CutOptions::default()
        };
        let report = cut(array, &tiles, &options).unwrap();
        prop_assert_eq!(report.segments.len() as u64, report.layout.grid.len());
        let out = folder.path().join("whole.npy");
        let options = StitchOptions { workers: case.workers, ..StitchOptions::default() };
        stitch(&Segments::open(&tiles).unwrap(), &out, &options).unwrap();
        let whole = std::fs::read(&out).unwrap();
        let expected =
            if case.fortran { c_order(&elements, &case.shape, item) } else { elements };
        prop_assert_eq!(payload(&whole), &expected[..]);
    }
}

fn small(folder: &Path) -> (Location, Vec<u8>) {
    let elements: Vec<u8> = (0..=255).collect();
    let source = npy("'|u1'", false, &[16, 16], &elements);
    let array = Array::open(Input::bytes("a.npy", source), &ArrayOptions::default()).unwrap();
    let tiles = Location::local(folder.join("tiles"));
    let options =
        CutOptions { tile: vec![Some(6), Some(6)], overlap: vec![2], ..CutOptions::default() };
    cut(array, &tiles, &options).unwrap();
    (tiles, elements)
}

#[test]
fn missing_tiles_are_named_and_refused_or_filled() {
    let folder = folder();
    let (tiles, elements) = small(folder.path());
    std::fs::remove_file(tiles.path().join("data-00004.pickle")).unwrap();
    let segments = Segments::open(&tiles).unwrap();
    let out = folder.path().join("whole.npy");
    let error = stitch(&segments, &out, &StitchOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    let message = error.to_string();
    assert!(message.contains("1 of 9 tiles") && message.contains("data-00004"), "{message}");
    assert!(message.contains("6:12, 6:12") && !message.contains('\n'), "{message}");
    assert!(!out.exists());

    let options = StitchOptions { fill: Some("200"), ..StitchOptions::default() };
    let report = stitch(&segments, &out, &options).unwrap();
    assert_eq!(report.filled, ["data-00004"]);
    let mut expected = elements;
    for row in 6..12 {
        expected[row * 16 + 6..row * 16 + 12].fill(200);
    }
    assert_eq!(payload(&std::fs::read(&out).unwrap()), expected);
    for bad in ["256", "-1", "1.5", "x", ""] {
        let options = StitchOptions { fill: Some(bad), ..StitchOptions::default() };
        assert_eq!(stitch(&segments, &out, &options).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn a_cut_that_was_interrupted_goes_on_and_another_cut_is_refused() {
    let folder = folder();
    let elements: Vec<u8> = (0..=255).collect();
    let open = || {
        let source = npy("'|u1'", false, &[16, 16], &elements);
        Array::open(Input::bytes("a.npy", source), &ArrayOptions::default()).unwrap()
    };
    let tiles = Location::local(folder.path().join("tiles"));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let interrupt = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 5;
    let options = |side| CutOptions {
        tile: vec![Some(side), Some(side)],
        existing: Existing::Resume,
        workers: 1,
        ..CutOptions::default()
    };
    let stopped = CutOptions { interrupt: &interrupt, ..options(2) };
    cut(open(), &tiles, &stopped).unwrap_err();
    let done = Segments::open(&tiles).unwrap().len() as u64;
    assert!(done < 64);
    assert!(cut(open(), &tiles, &options(3)).is_err());
    let report = cut(open(), &tiles, &options(2)).unwrap();
    assert_eq!((report.resumed, report.segments.len()), (done, 64));
    let out = folder.path().join("whole.npy");
    stitch(&report.segments, &out, &StitchOptions::default()).unwrap();
    assert_eq!(payload(&std::fs::read(&out).unwrap()), elements);
}

#[test]
fn sources_that_are_no_arrays_or_cut_off_are_told_in_one_line() {
    let whole = npy("'<f8'", false, &[4, 4], &[0; 128]);
    let cut_off = whole[..whole.len() - 1].to_vec();
    let sources: [(&str, Vec<u8>, &str); 6] = [
        ("cut.npy", cut_off, "the file ends here"),
        ("list.pickle", b"\x80\x04]\x94.".to_vec(), "holds no array"),
        ("empty", Vec::new(), "holds no array"),
        ("text", b"hello".to_vec(), "holds no array"),
        ("objects.npy", npy("'|O'", false, &[2], &[0; 16]), "Python objects"),
        ("huge.npy", npy("'<f8'", false, &[1 << 62, 1 << 62], &[]), "the file ends here"),
    ];
    for (name, bytes, part) in sources {
        let error = Array::open(Input::bytes(name, bytes), &ArrayOptions::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(name) && message.contains(part), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}
