//! serde: pickles to types and back, with CPython as the judge.

mod bounds;
mod errors;
mod properties;
mod python;
mod read;
mod write;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a Python program prints, given `stdin`; `None`, loudly, where there is no Python.
fn run_python(program: &str, stdin: &[u8]) -> Option<Vec<u8>> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let child = Command::new(&python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: {python} does not run");
        return None;
    };
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

/// The pickles of a Python expression at protocols 0 to 5. `setup` runs first.
fn pickles(setup: &str, expression: &str) -> Vec<Vec<u8>> {
    let program = format!(
        "import pickle, sys\n{setup}\nvalue = {expression}\n\
         for protocol in range(6): print(pickle.dumps(value, protocol).hex())\n"
    );
    let printed = run_python(&program, b"").unwrap_or_default();
    let printed = String::from_utf8(printed).unwrap();
    printed.lines().map(unhex).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        line.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
