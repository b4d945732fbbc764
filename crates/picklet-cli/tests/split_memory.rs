//! The bound on the memory of a split, measured on small sources by the script
//! that measures it on large ones.

use std::path::Path;
use std::process::Command;

#[test]
fn the_memory_of_a_split_stays_under_its_bound_whatever_the_shape() {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).arg("--version").output().is_ok_and(|o| o.status.success()) {
        eprintln!("SKIPPED: {python} does not run; set PICKLET_PYTHON to measure memory");
        return;
    }
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../picklet-bench/python/split_memory.py");
    let memory = Path::new("/dev/shm");
    let mut command = Command::new(python);
    command.arg(script).args(["--size", "40MB", "--program", env!("CARGO_BIN_EXE_picklet")]);
    if memory.is_dir() {
        command.arg("--folder").arg(memory);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    assert_eq!(said.lines().count(), 10, "{said}");
}
