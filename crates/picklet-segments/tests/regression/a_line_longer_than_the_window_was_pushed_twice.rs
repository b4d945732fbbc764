//! The scanner counted a text of protocol 0 twice when its line was longer than
//! the window: it had pushed the value before it saw that the line goes on.

use picklet_segments::{Input, count_items};

#[test]
fn a_long_line_is_one_value() {
    for length in [1, 70_000, 262_143, 300_000, 1_000_000] {
        let mut pickle = b"(lp0\nV".to_vec();
        pickle.resize(pickle.len() + length, b'z');
        pickle.extend_from_slice(b"\np1\nag1\na.");
        let contents = count_items(&Input::bytes("lines", pickle)).unwrap();
        assert_eq!(contents.items, Some(2), "{length} letters");
    }
}
