//! The `picklet` program.
fn main() {}
