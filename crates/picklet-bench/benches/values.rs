//! Values beside serde-pickle's: reading a pickle into a value and writing it again, in one run.
//!
//! `cargo bench -p picklet-bench --bench values [-- MEGABYTES]`. Each figure is the best of
//! several turns, the two crates taking turns, so that what else the machine does falls on both.
//! Rates are of pickle bytes; ratios above 1 are in picklet's favour. `drop` of what was read is
//! counted in: whoever reads pays for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use picklet::Value;
use picklet_codec::writer::{Batch, BatchStyle, batches};
use picklet_codec::{Opcode, Result, Writer};

/// Turns that each of the two takes, and the least time that one takes.
const TURNS: usize = 5;
const LEAST: Duration = Duration::from_millis(120);

type Emit = fn(&mut Writer<Vec<u8>>, usize) -> Result<()>;

/// A list of `count` items at protocol 4, as C's pickler writes it.
fn list_of(count: usize, item: Emit) -> Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), 4)?;
    writer.start()?;
    writer.boundary()?;
    writer.empty_list()?;
    writer.memoize()?;
    let mut next = 0;
    for batch in batches(BatchStyle::List, 4, count) {
        let (size, end) = match batch {
            Batch::One => (1, Opcode::Append),
            Batch::Many(size) => {
                writer.op(Opcode::Mark)?;
                (size, Opcode::Appends)
            }
        };
        for number in next..next + size {
            item(&mut writer, number)?;
        }
        next += size;
        writer.op(end)?;
    }
    writer.stop()?;
    writer.into_inner()
}

/// The keys are memoised with the first record: its dict is entry 1, they are 2, 3, 5 and 6.
fn record(writer: &mut Writer<Vec<u8>>, number: usize) -> Result<()> {
    let key = |writer: &mut Writer<Vec<u8>>, key: &str, index: u64| {
        if number == 0 {
            writer.boundary()?;
            writer.str(key.into())?;
            return writer.memoize().map(drop);
        }
        writer.boundary()?;
        writer.get(index)
    };
    writer.boundary()?;
    writer.empty_dict()?;
    writer.memoize()?;
    writer.op(Opcode::Mark)?;
    key(writer, "id", 2)?;
    writer.boundary()?;
    writer.int(number as i64 * 7919)?;
    key(writer, "name", 3)?;
    writer.boundary()?;
    writer.str(format!("person number {number}").as_str().into())?;
    writer.memoize()?;
    key(writer, "score", 5)?;
    writer.boundary()?;
    writer.float(number as f64 / 7.0)?;
    key(writer, "active", 6)?;
    writer.boundary()?;
    writer.bool(number.is_multiple_of(3))?;
    writer.op(Opcode::SetItems)
}

fn int(writer: &mut Writer<Vec<u8>>, number: usize) -> Result<()> {
    writer.boundary()?;
    writer.int((number as i64).wrapping_mul(0x9e37_79b9) >> (number % 5 * 8) & 0xffff_ffff)
}

fn float(writer: &mut Writer<Vec<u8>>, number: usize) -> Result<()> {
    writer.boundary()?;
    writer.float(number as f64 / 3.0)
}

fn string(writer: &mut Writer<Vec<u8>>, number: usize) -> Result<()> {
    let text = format!("string {number} {}", &"of some length, é"[..number % 16]);
    writer.boundary()?;
    writer.str(text.as_str().into())?;
    writer.memoize().map(drop)
}

/// `[[i, (i, i)], {i: [i]}]` and the like: small containers in containers.
fn nested(writer: &mut Writer<Vec<u8>>, number: usize) -> Result<()> {
    let number = number as i64;
    writer.boundary()?;
    writer.empty_list()?;
    writer.memoize()?;
    writer.op(Opcode::Mark)?;
    for depth in 0..4 {
        // Once for the tuple, once for its item.
        writer.boundary()?;
        writer.int(number)?;
        writer.boundary()?;
        writer.int(depth)?;
        writer.end_tuple(2)?;
        writer.memoize()?;
        writer.boundary()?;
        writer.empty_dict()?;
        writer.memoize()?;
        writer.boundary()?;
        writer.int(depth)?;
        writer.boundary()?;
        writer.empty_list()?;
        writer.memoize()?;
        writer.boundary()?;
        writer.int(number)?;
        writer.op(Opcode::Append)?;
        writer.op(Opcode::SetItem)?;
    }
    writer.op(Opcode::Appends)
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
        "{name:<9} {what:<6} {:>10} {:>12.0} {:>14.0} {:>9.2}",
        bytes,
        rate(seconds.0),
        rate(seconds.1),
        seconds.1 / seconds.0
    );
}

fn compare(name: &str, pickle: &[u8]) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let options = serde_pickle::DeOptions::new;
    let value = Value::from_slice(pickle)?;
    let peer = serde_pickle::value_from_slice(pickle, options())?;
    if value.to_vec()? != pickle {
        return Err(format!("{name} is not written as it was read").into());
    }
    let seconds = race(
        || drop(black_box(Value::from_slice(black_box(pickle)))),
        || drop(black_box(serde_pickle::value_from_slice(black_box(pickle), options()))),
    );
    row(name, "read", pickle.len(), seconds);
    let written = serde_pickle::value_to_vec(&peer, serde_pickle::SerOptions::new())?.len();
    let (ours, theirs) = race(
        || drop(black_box(black_box(&value).to_vec())),
        || {
            let options = serde_pickle::SerOptions::new();
            drop(black_box(serde_pickle::value_to_vec(black_box(&peer), options)));
        },
    );
    row(name, "write", pickle.len(), (ours, theirs));
    if written > pickle.len() * 11 / 10 {
        println!("          (theirs is {written} bytes: rates are of ours)");
    }
    Ok(())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // cargo passes --bench.
    let megabytes: usize = match std::env::args().skip(1).find(|word| !word.starts_with('-')) {
        Some(word) => word.parse()?,
        None => 10,
    };
    println!(
        "{:<9} {:<6} {:>10} {:>12} {:>14} {:>9}",
        "payload", "", "bytes", "picklet MB/s", "serde-pickle", "times"
    );
    let payloads: [(&str, Emit, usize); 5] = [
        ("records", record, 57),
        ("ints", int, 4),
        ("floats", float, 9),
        ("strings", string, 27),
        ("nested", nested, 80),
    ];
    for bytes in [1_000, megabytes * 1_000_000] {
        for (name, item, size) in payloads {
            compare(name, &list_of(bytes / size, item)?)?;
        }
    }
    Ok(())
}
