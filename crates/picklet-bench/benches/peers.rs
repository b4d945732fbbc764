//! picklet beside serde-pickle and deser-pickle: reading and writing, in one run.
//!
//! `cargo bench -p picklet-bench --bench peers [-- MEGABYTES]`, 10 by default. Python writes the
//! pickles. The peers take turns: each rate is the best of them, each ratio the median of theirs,
//! above 1 in picklet's favour. Rates are of bytes of Python's pickle, for writing too, though each
//! writes a pickle of its own. Dropping what was read is counted in. `--bench peers_memory` counts
//! allocations and the peak. With `PICKLET_BENCH_RESULTS=FILE` each row goes there too, as a line
//! of JSON.

use std::hint::black_box;

use picklet::Value;
use picklet::codec::{Arg, Reader};
use picklet_bench::payloads::{self, Blob, Nested, Payload, Record, Source};
use picklet_bench::race::{Work, race};
use picklet_bench::results;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn row(name: &str, way: &str, bytes: usize, seconds: &[[f64; 5]]) -> Outcome<()> {
    print!("{name:<8} {way:<13} {bytes:>10}");
    for turns in seconds {
        let best = turns.iter().copied().fold(f64::INFINITY, f64::min);
        print!(" {:>8.0}", bytes as f64 / 1e6 / best);
    }
    let mut ratios = Vec::new();
    for peer in seconds.iter().skip(1) {
        let of_turns: Vec<f64> =
            peer.iter().zip(&seconds[0]).map(|(peer, own)| peer / own).collect();
        let mut sorted = of_turns.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        print!(" {:>8.2}", sorted[sorted.len() / 2]);
        ratios.push(of_turns);
    }
    println!();
    results::keep(&json!({ "payload": name, "way": way, "bytes": bytes, "ratios": ratios }))
}

/// All that is measured of one pickle of a list of `T`.
fn compare<T: Payload>(source: Source, bytes: usize) -> Outcome<()> {
    let pickle = &source.pickle(bytes)?[..];
    let read = serde_pickle::DeOptions::new;
    let written = serde_pickle::SerOptions::new;
    let name = source.name;

    let rows: Vec<T> = picklet::from_slice(pickle)?;
    if rows != serde_pickle::from_slice::<Vec<T>>(pickle, read())?
        || rows != deser_pickle::from_slice::<Vec<T>>(pickle)?
        || rows != picklet::from_slice::<Vec<T>>(&picklet::to_vec(&rows)?)?
    {
        return Err(format!("{name}: the peers read different values").into());
    }
    let seconds = race(&mut [
        Box::new(|| drop(black_box(picklet::from_slice::<Vec<T>>(black_box(pickle))))) as Work<'_>,
        Box::new(|| drop(black_box(serde_pickle::from_slice::<Vec<T>>(black_box(pickle), read())))),
        Box::new(|| drop(black_box(deser_pickle::from_slice::<Vec<T>>(black_box(pickle))))),
    ]);
    row(name, "read struct", pickle.len(), &seconds)?;
    let seconds = race(&mut [
        Box::new(|| drop(black_box(picklet::to_vec(black_box(&rows))))) as Work<'_>,
        Box::new(|| drop(black_box(serde_pickle::to_vec(black_box(&rows), written())))),
        Box::new(|| drop(black_box(deser_pickle::to_vec(black_box(&rows))))),
    ]);
    row(name, "write struct", pickle.len(), &seconds)?;
    drop(rows);

    let value = Value::from_slice(pickle)?;
    let peer = serde_pickle::value_from_slice(pickle, read())?;
    if value.to_vec()? != pickle {
        return Err(format!("{name} is not written as it was read").into());
    }
    let seconds = race(&mut [
        Box::new(|| drop(black_box(Value::from_slice(black_box(pickle))))) as Work<'_>,
        Box::new(|| drop(black_box(serde_pickle::value_from_slice(black_box(pickle), read())))),
    ]);
    row(name, "read value", pickle.len(), &seconds)?;
    let seconds = race(&mut [
        Box::new(|| drop(black_box(black_box(&value).to_vec()))) as Work<'_>,
        Box::new(|| drop(black_box(serde_pickle::value_to_vec(black_box(&peer), written())))),
    ]);
    row(name, "write value", pickle.len(), &seconds)?;

    // Every argument is looked at, and no value is made.
    let seconds = race(&mut [Box::new(|| {
        let mut reader = Reader::new(black_box(pickle));
        let mut sum = 0_u64;
        while let Ok(Some(op)) = reader.next_op() {
            sum = sum.wrapping_add(match op.arg {
                Arg::Int(value) => value.cast_unsigned(),
                Arg::UInt(value) => value,
                Arg::Float(value) => value.to_bits(),
                Arg::Str(text) => text.as_bytes().len() as u64,
                Arg::Bytes(bytes) => bytes.len() as u64,
                _ => op.opcode.byte().into(),
            });
        }
        black_box(sum);
    })]);
    row(name, "reader alone", pickle.len(), &seconds)?;
    Ok(())
}

fn main() -> Outcome<()> {
    let megabytes = payloads::megabytes(10)?;
    println!(
        "{:<8} {:<13} {:>10} {:>8} {:>8} {:>8} {:>17}",
        "payload", "", "bytes", "picklet", "serde-p.", "deser-p.", "MB/s; times"
    );
    for bytes in [1_000, megabytes * 1_000_000] {
        compare::<Record>(payloads::RECORDS, bytes)?;
        compare::<i64>(payloads::INTS, bytes)?;
        compare::<f64>(payloads::FLOATS, bytes)?;
        compare::<String>(payloads::STRINGS, bytes)?;
        compare::<Nested>(payloads::NESTED, bytes)?;
        compare::<Blob>(payloads::BYTES, bytes)?;
    }
    Ok(())
}
