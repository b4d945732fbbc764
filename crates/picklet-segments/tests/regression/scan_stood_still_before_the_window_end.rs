//! The scanner never ended when an operation began right before the last bytes
//! of a window: it took the window for ready and left those bytes to the next one.

use picklet_segments::{Input, Location, SplitOptions, Target, split};

/// A list of one bytes object of `padding` bytes and many ints, so that over all
/// paddings an operation begins at every place near the end of each window.
fn list_of_ints(padding: u8, ints: usize) -> Vec<u8> {
    let mut pickle = b"\x80\x03](C".to_vec();
    pickle.push(padding);
    pickle.resize(pickle.len() + usize::from(padding), b'x');
    for _ in 0..ints {
        pickle.extend_from_slice(b"K\x07");
    }
    pickle.extend_from_slice(b"e.");
    pickle
}

#[test]
fn operations_may_begin_at_any_place_of_a_window() {
    let folder = tempfile::tempdir().unwrap();
    for padding in 0..32 {
        let source = folder.path().join(format!("{padding}.pickle"));
        std::fs::write(&source, list_of_ints(padding, 300_000)).unwrap();
        let out = Location::local(folder.path().join(padding.to_string()));
        let options = SplitOptions { target: Target::Parts(2), ..SplitOptions::default() };
        let report = split(&Input::file(&source).unwrap(), &out, &options).unwrap();
        assert_eq!(report.items, 300_001, "padding {padding}");
        assert_eq!(report.segments.len(), 2);
    }
}
