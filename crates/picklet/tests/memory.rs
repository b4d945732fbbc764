//! How much memory a pickle can ask for: bytes for each byte of it, at the worst that is known,
//! to read it into a value and to write it again.

use peak_alloc::PeakAlloc;
use picklet::Value;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes at the peak for each byte of pickle, as `Value`'s documentation promises. At 10 MB the
/// worst were 91 to read and 105 to write; where a vector just doubled there may be half more.
const BOUND: usize = 200;

fn repeated(start: &[u8], middle: &[u8], size: usize, end: &[u8]) -> Vec<u8> {
    [start, &middle.repeat(size / middle.len()), end].concat()
}

/// Bytes of the heap at the peak of `work`, above what was there before, and what it made.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let made = work();
    (MEMORY.peak_usage().saturating_sub(before), made)
}

#[test]
fn memory_stays_within_a_multiple_of_the_pickle() {
    const SIZE: usize = 3_000_000;
    for (name, pickle) in [
        ("50 MB of None", repeated(b"\x80\x04(", b"N", 50_000_000, b"l.")),
        ("50 MB of None left on the stack", repeated(b"\x80\x04", b"N", 50_000_000, b".")),
        ("empty lists", repeated(b"(", b"]", SIZE, b"l.")),
        (
            "nested lists",
            repeated(b"", b"]", SIZE / 2, &[&b"a".repeat(SIZE / 2 - 1), &b"."[..]].concat()),
        ),
        ("nested tuples of one", repeated(b"N", b"\x85", SIZE, b".")),
        ("nested persistent ids", repeated(b"N", b"Q", SIZE, b".")),
        ("lists of one", repeated(b"(", b"]Na", SIZE, b"l.")),
        ("dicts of one", repeated(b"(", b"}NNs", SIZE, b"l.")),
        ("frozensets", repeated(b"(", b"(\x91", SIZE, b"l.")),
        ("empty strings", repeated(b"(", b"U\x00", SIZE, b"l.")),
        ("ints", repeated(b"(", b"K\x01", SIZE, b"l.")),
        ("memoised ints", repeated(b"\x80\x04(", b"K\x01\x94", SIZE, b"l.")),
        ("calls of calls", repeated(b"cm\nf\n)R", b"2R", SIZE, b".")),
        ("new objects of themselves", repeated(b"cm\nf\n)\x81", b"2\x81", SIZE, b".")),
        ("states", repeated(b"cm\nf\n)R", b"Nb", SIZE, b".")),
        ("appends to an instance", repeated(b"cm\nf\n)R", b"(Ne", SIZE, b".")),
        ("popped calls", repeated(b"cm\nf\np0\n", b"g0\n)R0", SIZE, b".")),
        ("calls left on the stack", repeated(b"cm\nf\np0\n", b"g0\n)R", SIZE, b"N.")),
        ("marks", repeated(b"", b"(", SIZE, b"N.")),
        ("globals", repeated(b"(", b"ca\nb\n", SIZE, b"l.")),
        ("short keys", repeated(b"(", b"K\x01N", SIZE, b"d.")),
        ("a set's members", repeated(b"\x8f(", b"K\x01", SIZE, b"\x90.")),
    ] {
        let (read, value) = peak(|| Value::from_slice(&pickle));
        let per_byte = read / pickle.len();
        let Ok(value) = value else { panic!("{name}: {value:?}") };
        let (written, bytes) = peak(|| value.to_vec());
        let per_written = written / pickle.len();
        println!("{name}: {per_byte} to read, {per_written} more to write");
        assert!(bytes.is_ok(), "{name}: {bytes:?}");
        assert!(per_byte <= BOUND && per_written <= BOUND, "{name}: {per_byte} {per_written}");
    }
}
