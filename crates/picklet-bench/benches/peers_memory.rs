//! Allocations and peak memory of picklet, serde-pickle and deser-pickle.
//!
//! `cargo bench -p picklet-bench --bench peers_memory [-- MEGABYTES]`, 10 by default. Counted by
//! the allocator, so the same in each run: allocations per item of the payload, and the most
//! bytes held at once for each byte of the pickle, input and what is written not counted in for
//! reading, and what is written counted in for writing. With `PICKLET_BENCH_RESULTS=FILE` each row
//! goes there too, as a line of JSON.

use allocation_counter::measure;
use picklet::Value;
use picklet_bench::payloads::{self, Blob, Nested, Payload, Record, Source};
use picklet_bench::results;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn row(
    name: &str,
    way: &str,
    items: usize,
    bytes: usize,
    works: &mut [Box<dyn FnMut() + '_>],
) -> Outcome<()> {
    print!("{name:<8} {way:<13} {bytes:>10}");
    let infos: Vec<_> = works.iter_mut().map(measure).collect();
    for info in &infos {
        print!(" {:>8.2}", info.count_total as f64 / items as f64);
    }
    for _ in infos.len()..3 {
        print!(" {:>8}", "");
    }
    for info in &infos {
        print!(" {:>8.2}", info.bytes_max as f64 / bytes as f64);
    }
    println!();
    let counts: Vec<u64> = infos.iter().map(|info| info.count_total).collect();
    let peaks: Vec<u64> = infos.iter().map(|info| info.bytes_max).collect();
    results::keep(&json!({
        "payload": name, "way": way, "bytes": bytes, "allocations": counts, "peaks": peaks,
    }))
}

/// All that is counted of one pickle of a list of `T`.
fn compare<T: Payload>(source: Source, bytes: usize) -> Outcome<()> {
    let pickle = &source.pickle(bytes)?[..];
    let read = serde_pickle::DeOptions::new;
    let written = serde_pickle::SerOptions::new;
    let name = source.name;
    let rows: Vec<T> = picklet::from_slice(pickle)?;
    let (items, length) = (rows.len(), pickle.len());
    row(
        name,
        "read struct",
        items,
        length,
        &mut [
            Box::new(|| drop(picklet::from_slice::<Vec<T>>(pickle))),
            Box::new(|| drop(serde_pickle::from_slice::<Vec<T>>(pickle, read()))),
            Box::new(|| drop(deser_pickle::from_slice::<Vec<T>>(pickle))),
        ],
    )?;
    row(
        name,
        "write struct",
        items,
        length,
        &mut [
            Box::new(|| drop(picklet::to_vec(&rows))),
            Box::new(|| drop(serde_pickle::to_vec(&rows, written()))),
            Box::new(|| drop(deser_pickle::to_vec(&rows))),
        ],
    )?;
    drop(rows);
    let value = Value::from_slice(pickle)?;
    let peer = serde_pickle::value_from_slice(pickle, read())?;
    row(
        name,
        "read value",
        items,
        length,
        &mut [
            Box::new(|| drop(Value::from_slice(pickle))),
            Box::new(|| drop(serde_pickle::value_from_slice(pickle, read()))),
        ],
    )?;
    row(
        name,
        "write value",
        items,
        length,
        &mut [
            Box::new(|| drop(value.to_vec())),
            Box::new(|| drop(serde_pickle::value_to_vec(&peer, written()))),
        ],
    )?;
    Ok(())
}

fn main() -> Outcome<()> {
    let megabytes = payloads::megabytes(10)?;
    println!("{:<22} {:>10} {:^27}{:^27}", "", "", "allocations per item", "peak bytes per byte");
    println!(
        "{:<8} {:<13} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "payload",
        "",
        "bytes",
        "picklet",
        "serde-p.",
        "deser-p.",
        "picklet",
        "serde-p.",
        "deser-p."
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
