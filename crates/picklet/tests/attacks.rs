//! Every attack ends within stated bounds as a value: read, printed, compared, cloned, written
//! and dropped. The bounds are kept by the system, as in the codec's own test.

#[path = "../../../testdata/attacks/attacks.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared by several crates' tests")]
mod attacks;

use std::process::Command;

use picklet::{Value, json, repr};

const SCALE: usize = 300_000;
/// Bytes of address space per byte of pickle, beyond what a process needs anyway: the value, a
/// clone of it and what writing both takes.
const BYTES_PER_BYTE: usize = 600;
const BASE_BYTES: usize = 256 << 20;
/// Processor seconds for all attacks together.
const SECONDS: u32 = 120;

fn withstand(pickle: &[u8]) {
    let value = match Value::from_slice(pickle) {
        Ok(value) => value,
        Err(error) => {
            assert!(error.offset().is_some_and(|offset| offset <= pickle.len() as u64), "{error}");
            return;
        }
    };
    assert!(repr::repr(value.root(), 1000).len() <= 1000 + '…'.len_utf8());
    let _ = json::to_json(value.root(), 1000);
    let _ = format!("{value:?}");
    let written = value.to_vec();
    // At protocol 0 each memoised object takes a line.
    if let Ok(written) = &written {
        println!("  written: {:.2} bytes a byte", written.len() as f64 / pickle.len() as f64);
        assert!(written.len() < 12 * pickle.len() + 1000, "{} bytes", written.len());
    }
    // An int of 8 MiB has no decimal text that Python would read back.
    assert!(value == value.clone() || written.is_err());
}

/// Not a test of its own: what the child does.
#[test]
fn child() {
    if std::env::var_os("PICKLET_ATTACKS").is_none() {
        return;
    }
    for attack in attacks::all(SCALE) {
        println!("{}: {}", attack.name, attack.what);
        withstand(&attack.bytes);
    }
}

#[test]
fn every_attack_on_values_ends_in_bounded_time_and_memory() {
    let all = attacks::all(SCALE);
    // An int's own text takes more than its bytes.
    let largest = all.iter().map(|attack| attack.bytes.len()).filter(|size| *size < 4 << 20).max();
    let whole: usize = all.iter().map(|attack| attack.bytes.len()).sum();
    let kib = (BASE_BYTES + 2 * whole + BYTES_PER_BYTE * largest.unwrap()) / 1024;
    let limits = format!("ulimit -v {kib} && ulimit -t {SECONDS}");
    let output = Command::new("sh")
        .args(["-c", &format!("{limits} && exec \"$0\" --exact child --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env("PICKLET_ATTACKS", "all")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\nlast: {}\n{}",
        output.status,
        told.lines().rev().take(3).collect::<Vec<_>>().join(" / "),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(told.lines().count() > all.len(), "the child did not meet all attacks");
}
