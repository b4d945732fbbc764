//! Every attack ends within stated bounds, read and run, from a slice and from a stream.
//!
//! The bounds are kept by the system: the work is done in a child process whose address space
//! and processor time are limited, so that what passes them dies.

#[path = "../../../testdata/attacks/attacks.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared by several crates' tests")]
mod attacks;

use std::process::Command;

use picklet_codec::policy::Policy;
use picklet_codec::scan;
use picklet_codec::{
    Driver, ErrorKind, Items, Limits, Machine, PickleStr, Reader, Result, StreamReader, run,
};

const SCALE: usize = 1_000_000;

/// Bytes of address space per byte of pickle, beyond what a process needs anyway: the stack and
/// the marks take a word for each, and double as they grow.
const BYTES_PER_BYTE: usize = 48;
const BASE_BYTES: usize = 256 << 20;

/// Processor seconds for all attacks of the run together; they need about one.
const SECONDS: u32 = 60;

/// A machine whose values are one word: what is measured is the driver.
struct Words(u64);

macro_rules! word_for {
    ($($name:ident($($arg:ty),*);)+) => {
        $(fn $name(&mut self, $(_: $arg),*) -> Result<u64> {
            self.0 += 1;
            Ok(self.0)
        })+
    };
}

impl Machine for Words {
    type Value = u64;
    word_for! {
        none(); bool(bool); int(i64); big_int(&[u8]); float(f64); str(PickleStr<'_>); bytes(&[u8]);
        byte_array(&[u8]); string(&[u8]); empty_tuple(); tuple(Items<'_, u64>); empty_list();
        list(Items<'_, u64>); empty_dict(); dict(Items<'_, u64>); empty_set();
        frozenset(Items<'_, u64>); global(&str, &str); stack_global(u64, u64); extension(u32);
        reduce(u64, u64); new_object(u64, u64); new_object_ex(u64, u64, u64);
        inst(&str, &str, Items<'_, u64>); obj(u64, Items<'_, u64>); persistent_id(&str);
        binary_persistent_id(u64); next_buffer(); readonly_buffer(u64);
    }
    fn append(&mut self, _: &mut u64, _: u64) -> Result<()> {
        Ok(())
    }
    fn appends(&mut self, _: &mut u64, _: Items<'_, u64>) -> Result<()> {
        Ok(())
    }
    fn set_item(&mut self, _: &mut u64, _: u64, _: u64) -> Result<()> {
        Ok(())
    }
    fn set_items(&mut self, _: &mut u64, _: Items<'_, u64>) -> Result<()> {
        Ok(())
    }
    fn add_items(&mut self, _: &mut u64, _: Items<'_, u64>) -> Result<()> {
        Ok(())
    }
    fn build(&mut self, _: &mut u64, _: u64) -> Result<()> {
        Ok(())
    }
}

fn withstand(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(_)) = reader.next_op() {}
    let from_slice = run(&mut Reader::new(bytes), &mut Words(0));
    let mut stream = StreamReader::new(bytes);
    let from_stream = Driver::new(Limits::default()).run_stream(&mut stream, &mut Words(0));
    match (from_slice, from_stream) {
        (Ok(slice), Ok(stream)) => assert_eq!(slice, stream),
        (Err(slice), Err(stream)) => {
            assert!(slice.offset().is_some_and(|offset| offset <= bytes.len() as u64));
            assert!(!stream.to_string().contains('\n') && !slice.to_string().contains('\n'));
        }
        // A stream cannot know that a frame reaches past its end.
        (slice, _) => assert!(
            matches!(
                slice.as_ref().map_err(|error| error.kind()),
                Err(ErrorKind::Truncated { .. })
            ),
            "{slice:?}"
        ),
    }
}

/// The scanner takes what the machine takes, and calls nothing clean that the machine refuses.
fn scan_withstands(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let ran = run(&mut reader, &mut Words(0));
    let pickle = &bytes[..bytes.len() - reader.rest().len()];
    let options = scan::Options::default();
    match ran {
        Ok(_) => {
            let report = scan::scan(pickle, &Policy::data(), &options).unwrap();
            assert_eq!(report.damage, None, "{}", pickle.escape_ascii());
            assert_eq!(report.pickles, 1);
        }
        Err(error) => {
            let report = scan::scan(bytes, &Policy::data(), &options).unwrap();
            assert_ne!(report.verdict(), scan::Verdict::Clean, "{error}");
        }
    }
}

/// Not a test of its own: what the child does.
#[test]
fn child() {
    let Ok(wanted) = std::env::var("PICKLET_ATTACKS_UP_TO") else { return };
    let wanted: usize = wanted.parse().unwrap();
    for attack in attacks::all(SCALE).iter().filter(|attack| attack.bytes.len() <= wanted) {
        println!("{}: {}", attack.name, attack.what);
        withstand(&attack.bytes);
        scan_withstands(&attack.bytes);
    }
}

#[test]
fn every_attack_ends_in_bounded_time_and_memory() {
    let all = attacks::all(SCALE);
    let largest = all.iter().map(|attack| attack.bytes.len()).max().unwrap();
    let whole: usize = all.iter().map(|attack| attack.bytes.len()).sum();
    // The child makes all attacks first; one after another is then withstood.
    let kib = (BASE_BYTES + 2 * whole + BYTES_PER_BYTE * largest) / 1024;
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            &format!(
                "ulimit -v {kib} && ulimit -t {SECONDS} && exec \"$0\" --exact child --nocapture"
            ),
        ])
        .arg(exe)
        .env("PICKLET_ATTACKS_UP_TO", usize::MAX.to_string())
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

#[test]
fn limits_end_a_flood_early() {
    let limits =
        Limits { stack_items: 1000, open_marks: 1000, memo_entries: 1000, ..Limits::default() };
    for name in ["nones", "dups", "deep_marks", "deep_list", "sparse_puts"] {
        let attack = attacks::all(100_000).into_iter().find(|attack| attack.name == name).unwrap();
        let error =
            run(&mut Reader::with_limits(&attack.bytes, limits), &mut Words(0)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Limit { cap: 1000, .. }), "{name}: {error}");
        assert!(error.offset().unwrap() < 6000, "{name}: {error}");
    }
}

#[test]
fn truncation_of_any_attack_at_any_byte_is_an_answer() {
    for attack in attacks::all(1000) {
        for cut in 0..attack.bytes.len().min(3000) {
            withstand(&attack.bytes[..cut]);
            // A scan makes room for what it keeps, which costs more than reading a few bytes.
            if cut % 31 == 0 {
                scan_withstands(&attack.bytes[..cut]);
            }
        }
    }
}
