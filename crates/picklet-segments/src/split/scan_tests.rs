//! The scanner beside the codec's reader: the same operations at the same places.

use std::path::{Path, PathBuf};

use picklet_codec::{Opcode, Reader};

use super::scan::{After, Event, Scanner, Trace};
use super::window::Window;

/// Notes every operation that the scanner says it did.
#[derive(Default)]
struct Operations(Vec<(u64, u64, u8)>);

impl Trace for Operations {
    const ACTIVE: bool = true;

    fn after(&mut self, after: &After) -> bool {
        self.0.push((after.at, after.end, after.opcode));
        false
    }
}

/// The pickles that the codec's fuzz targets begin with.
fn seeds() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/read");
    let mut paths: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn the_scanner_sees_the_operations_that_the_reader_reads() {
    let (mut whole, mut operations) = (0, 0);
    for path in seeds() {
        let pickle = std::fs::read(&path).unwrap();
        let mut reader = Reader::new(&pickle);
        let mut expected = Vec::new();
        // What pushes nothing and takes nothing is not the trace's business.
        while let Ok(Some(op)) = reader.next_op() {
            if !matches!(op.opcode, Opcode::Proto | Opcode::Frame | Opcode::Stop) {
                expected.push((op.offset, op.end, op.opcode.byte()));
            }
        }
        if !reader.is_stopped() {
            continue;
        }
        let size = pickle.len() as u64;
        let mut window = Window::new(&pickle, size);
        window.load(0).unwrap();
        let mut seen = Operations::default();
        let end = Scanner::new(window, 0, 0, true).run(&mut seen);
        seen.0.retain(|(_, _, opcode)| ![0x80, 0x95].contains(opcode));
        assert_eq!(seen.0, expected[..seen.0.len().min(expected.len())], "{}", path.display());
        operations += seen.0.len();
        if let Ok(Event::Stop(end)) = end {
            assert_eq!(
                (end, seen.0.len()),
                (reader.offset(), expected.len()),
                "{}",
                path.display()
            );
            whole += 1;
        }
    }
    assert!(whole >= 100, "only {whole} seeds were scanned to their end, {operations} operations");
}
