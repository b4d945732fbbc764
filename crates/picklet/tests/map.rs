//! Mapping Rust closures: in parallel, resumed, retried, with failures named.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use picklet::segments::engine::{FailureKind, MapOptions, OnError};
use picklet::segments::{Error, Input, Kind, Location, Segments, SplitOptions, Target, split};
use picklet::{MapSegments as _, Value};
use serde::{Deserialize, Serialize};

struct Setting {
    folder: tempfile::TempDir,
    input: Segments,
}

impl Setting {
    /// Forty rows in ten segments.
    fn new() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Row> = (0..40).map(|id| Row { id, name: format!("행 {id}") }).collect();
        let file = folder.path().join("rows.pickle");
        std::fs::write(&file, picklet::to_vec(&rows).unwrap()).unwrap();
        let options = SplitOptions { target: Target::Items(4), ..SplitOptions::default() };
        let into = Location::local(folder.path().join("in"));
        let report = split(&Input::file(&file).unwrap(), &into, &options).unwrap();
        Setting { folder, input: report.segments }
    }

    fn out(&self) -> Location {
        Location::local(self.folder.path().join("out"))
    }
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Row {
    id: u32,
    name: String,
}

fn quick(workers: usize) -> MapOptions {
    MapOptions { workers: Some(workers), backoff: Duration::ZERO, ..MapOptions::default() }
}

fn ids(rows: Vec<Row>) -> Vec<u32> {
    rows.into_iter().map(|row| row.id).collect()
}

#[test]
fn a_closure_over_serde_types_runs_once_for_each_segment_and_the_next_run_does_nothing() {
    let setting = Setting::new();
    let calls = AtomicUsize::new(0);
    let map = || {
        setting.input.map(&setting.out(), &quick(3), |rows: Vec<Row>, _| {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok(ids(rows))
        })
    };
    let report = map().unwrap();
    assert_eq!((report.done, report.items, report.workers), (10, 40, 3));
    let out = Segments::open(&setting.out()).unwrap();
    assert_eq!((out.kind(), out.items()), (Kind::List, Some(40)));
    assert_eq!(picklet::from_slice::<Vec<u32>>(&out.read(9).unwrap()).unwrap(), [36, 37, 38, 39]);
    assert_eq!(map().unwrap().resumed, 10);
    assert_eq!(calls.into_inner(), 10);
}

#[test]
fn a_closure_over_values_loses_nothing() {
    let setting = Setting::new();
    let report = setting.input.map_values(&setting.out(), &quick(2), |value, _| Ok(value)).unwrap();
    assert!(report.is_complete());
    let out = Segments::open(&setting.out()).unwrap();
    for place in 0..10 {
        let [made, given] = [&out, &setting.input].map(|s| s.read(place).unwrap());
        assert_eq!(
            Value::from_slice(&made).unwrap().to_string(),
            Value::from_slice(&given).unwrap().to_string()
        );
    }
}

#[test]
fn errors_panics_and_what_does_not_deserialise_are_failures_of_their_segments() {
    let setting = Setting::new();
    let options = MapOptions { on_error: OnError::Quarantine, retries: 1, ..quick(2) };
    let tries = Mutex::new(Vec::new());
    let report = setting
        .input
        .map(&setting.out(), &options, |rows: Vec<Row>, task| {
            tries.lock().unwrap().push(task.index);
            match task.index {
                2 => Err("no such city".into()),
                5 => panic!("out of luck"),
                _ => Ok(rows),
            }
        })
        .unwrap();
    assert_eq!((report.done, report.failed.len()), (8, 2));
    let failure = &report.failed[0];
    assert_eq!(
        failure.to_string(),
        "segment data-00002 (items 8..=11): error: no such city (tried 2 times)"
    );
    assert_eq!((&*report.failed[1].error, &*report.failed[1].message), ("panic", "out of luck"));
    assert_eq!(tries.into_inner().unwrap().len(), 12);
    assert!(setting.out().path().join(".picklet/quarantine/data-00002.json").exists());

    let report =
        setting.input.map(&setting.out(), &quick(2), |rows: Vec<u32>, _| Ok(rows)).unwrap();
    assert_eq!(report.failed[0].kind, FailureKind::Raised);
    assert!(report.failed[0].message.contains("$[0]"), "{:?}", report.failed[0]);
    let report = setting.input.map(&setting.out(), &quick(2), |rows: Vec<Row>, _| Ok(rows));
    assert_eq!(report.unwrap().resumed, 8);
}

#[test]
fn with_raise_the_first_failure_ends_the_map_and_an_interrupt_does() {
    let setting = Setting::new();
    let report = setting
        .input
        .map(&setting.out(), &quick(1), |rows: Vec<Row>, task| match task.index {
            3 => Err("no".into()),
            _ => Ok(ids(rows)),
        })
        .unwrap();
    assert_eq!((report.done, report.failed.len(), report.not_run), (3, 1, 6));
    let progress = picklet::segments::NoProgress;
    let copy = |pickle: &[u8], _: &picklet::segments::engine::Task| Ok(pickle.to_vec());
    let result = setting.input.map_pickles(&setting.out(), &quick(2), &progress, &|| true, copy);
    assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
}

#[test]
fn a_closure_that_took_longer_than_the_timeout_gives_no_output() {
    let setting = Setting::new();
    let within = |limit: Duration| MapOptions {
        timeout: Some(limit),
        on_error: OnError::Quarantine,
        retries: 1,
        ..quick(2)
    };
    let map = |options: &MapOptions| {
        setting.input.map_values(&setting.out(), options, |value, _| Ok(value)).unwrap()
    };
    let report = map(&within(Duration::from_nanos(1)));
    assert_eq!((report.done, report.failed.len()), (0, 10));
    let failure = &report.failed[9];
    assert_eq!((failure.kind, failure.tries), (FailureKind::Timeout, 2));
    assert!(failure.message.contains("longer than"), "{failure}");
    let record = setting.folder.path().join("out/.picklet/quarantine/data-00009.json");
    assert!(record.exists());
    let report = map(&within(Duration::from_secs(86_400)));
    assert_eq!((report.done, report.failed.len()), (10, 0));
    assert!(!record.exists());
}

#[test]
fn the_manifest_tells_of_each_segment_how_long_how_much_memory_and_how_many_items() {
    let setting = Setting::new();
    setting.input.map(&setting.out(), &quick(2), |rows: Vec<Row>, _| Ok(ids(rows))).unwrap();
    for entry in Segments::open(&setting.out()).unwrap().entries() {
        assert!(entry.extra["seconds"].as_f64().unwrap() > 0.0);
        assert!(entry.extra["peak_rss"].as_u64().unwrap() > 1 << 20);
        assert_eq!((entry.items, &entry.extra["input_items"]), (Some(4), &4.into()));
    }
}
