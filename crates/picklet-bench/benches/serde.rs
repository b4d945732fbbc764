//! Derived types beside serde-pickle's: reading and writing, in one run.
//!
//! `cargo bench -p picklet-bench --bench serde [-- MEGABYTES]`. Python writes the pickles that
//! are read. Each figure is the best of several turns, the two crates taking turns, so that what
//! else the machine does falls on both. Rates are of the bytes of Python's pickle, for writing
//! too; ratios above 1 are in picklet's favour. `drop` of what was read is counted in.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Turns that each of the two takes, and the least time that one takes.
const TURNS: usize = 5;
const LEAST: Duration = Duration::from_millis(120);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    name: String,
    score: f64,
    active: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nested {
    tags: Vec<String>,
    points: Vec<(i64, f64)>,
    children: BTreeMap<i64, Vec<u32>>,
    note: Option<String>,
}

/// What `expression` gives at protocol 4, `count` being its number of items.
fn python(expression: &str, count: usize) -> Outcome<Vec<u8>> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let program = format!(
        "import pickle, sys\ncount = {count}\n\
         sys.stdout.buffer.write(pickle.dumps({expression}, 4))"
    );
    Ok(Command::new(python).args(["-c", &program]).output()?.stdout)
}

/// Seconds for one call, the best of a turn.
fn turn(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < LEAST {
        let one = Instant::now();
        work();
        best = best.min(one.elapsed().as_secs_f64());
    }
    best
}

/// Seconds for ours and theirs, taking turns.
fn race(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (f64, f64) {
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TURNS {
        best.0 = best.0.min(turn(&mut ours));
        best.1 = best.1.min(turn(&mut theirs));
    }
    best
}

fn row(name: &str, what: &str, bytes: usize, seconds: (f64, f64)) {
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    println!(
        "{name:<9} {what:<6} {bytes:>10} {:>12.0} {:>14.0} {:>9.2}",
        rate(seconds.0),
        rate(seconds.1),
        seconds.1 / seconds.0
    );
}

fn compare<T>(name: &str, expression: &str, count: usize) -> Outcome<()>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let pickle = &python(expression, count)?[..];
    let read = serde_pickle::DeOptions::new;
    let value: Vec<T> = picklet::from_slice(pickle)?;
    if value != serde_pickle::from_slice::<Vec<T>>(pickle, read())? {
        return Err(format!("{name}: the two read different values").into());
    }
    let seconds = race(
        || drop(black_box(picklet::from_slice::<Vec<T>>(black_box(pickle)))),
        || drop(black_box(serde_pickle::from_slice::<Vec<T>>(black_box(pickle), read()))),
    );
    row(name, "read", pickle.len(), seconds);
    let write = serde_pickle::SerOptions::new;
    let seconds = race(
        || drop(black_box(picklet::to_vec(black_box(&value)))),
        || drop(black_box(serde_pickle::to_vec(black_box(&value), write()))),
    );
    row(name, "write", pickle.len(), seconds);
    let (ours, theirs) =
        (picklet::to_vec(&value)?.len(), serde_pickle::to_vec(&value, write())?.len());
    println!("{:26} written: {ours} bytes, serde-pickle {theirs}", "");
    Ok(())
}

fn main() -> Outcome<()> {
    // cargo passes --bench.
    let megabytes: usize = match std::env::args().skip(1).find(|word| !word.starts_with('-')) {
        Some(word) => word.parse()?,
        None => 10,
    };
    println!(
        "{:<9} {:<6} {:>10} {:>12} {:>14} {:>9}",
        "payload", "", "bytes", "picklet MB/s", "serde-pickle", "times"
    );
    for bytes in [1_000, megabytes * 1_000_000] {
        let records = "[{'id': i * 7919, 'name': f'person number {i}', 'score': i / 7.0, \
                       'active': i % 3 == 0} for i in range(count)]";
        compare::<Record>("records", records, bytes / 57)?;
        compare::<i64>(
            "ints",
            "[i * 2654435769 >> i % 5 * 8 & 0xffffffff for i in range(count)]",
            bytes / 4,
        )?;
        compare::<f64>("floats", "[i / 3.0 for i in range(count)]", bytes / 9)?;
        compare::<String>(
            "strings",
            "[f'string {i} ' + 'of some length, é'[:i % 16] for i in range(count)]",
            bytes / 27,
        )?;
        let nested = "[{'tags': ['a', f'tag {i}'], 'points': [(i, i / 2.0), (-i, 0.5)], \
                      'children': {i: [1, 2, 3], -1: []}, 'note': None} for i in range(count)]";
        compare::<Nested>("nested", nested, bytes / 105)?;
        compare::<ByteBuf>(
            "bytes",
            "[bytes([i % 256]) * (i % 4000) for i in range(count)]",
            bytes / 2000 + 1,
        )?;
    }
    Ok(())
}
