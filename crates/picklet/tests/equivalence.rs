//! Pickles that C did not write (optimised, by Python 2, hand-made, of mixed protocols, mutated,
//! random programs): read into a value and written again they mean the same to CPython, in
//! content, in what is shared and in what they import and call.

use std::process::{Command, Output, Stdio};

use picklet::Value;

struct Blobs<'a>(&'a [u8]);

impl<'a> Iterator for Blobs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (blob, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        self.0 = rest;
        Some(blob)
    }
}

fn oracle(arguments: &[&str]) -> Option<Output> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/equivalence_oracle.py");
    let output = Command::new(&python)
        .args(["-X", "utf8", script])
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{python} {script} {arguments:?} failed");
            Some(output)
        }
        Err(error) => {
            eprintln!("SKIPPED: pickles of others are not judged by Python, {python}: {error}");
            None
        }
    }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// What a value cannot say, though C does it: changes to what a name or an application gives.
fn is_explained_refusal(error: &str) -> bool {
    ["global", "extension", "persistent object", "buffer"].iter().any(|kind| {
        error.contains(&format!("give a {kind} a state"))
            || error.contains(&format!("a {kind} has no"))
            || error.contains(&format!("a {kind} takes no keys"))
    })
}

#[test]
fn pickles_of_others_mean_the_same_to_python_once_read_and_written() {
    let (count, seed) = (setting("PICKLET_CASES", "150"), setting("PICKLET_SEED", "1"));
    let Some(made) = oracle(&["make", &count, &seed]) else { return };
    let mut pairs = Vec::new();
    let mut judged = Vec::new();
    let mut refused = Vec::new();
    for pickle in Blobs(&made.stdout) {
        match Value::from_slice(pickle).and_then(|value| value.to_vec()) {
            Ok(written) => {
                for blob in [pickle, &written] {
                    pairs.extend_from_slice(&(blob.len() as u32).to_le_bytes());
                    pairs.extend_from_slice(blob);
                }
                judged.push((pickle, written));
            }
            Err(error) if is_explained_refusal(&error.to_string()) => {}
            Err(error) => refused.push(format!("{}\n    {error}", pickle.escape_ascii())),
        }
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("equivalence-pairs");
    std::fs::write(&file, pairs).unwrap();
    let answer = oracle(&["judge", &file.to_string_lossy()]).unwrap();
    let mut differences = Vec::new();
    let mut reordered = Vec::new();
    for line in String::from_utf8(answer.stdout).unwrap().lines() {
        let (number, reason) = line.split_once(' ').unwrap();
        let (pickle, written) = &judged[number.parse::<usize>().unwrap()];
        let shown = [pickle.escape_ascii(), written.escape_ascii()].map(|text| text.to_string());
        // A value says what is made of what, and not when: where a mutated pickle throws a call
        // away that is tied to nothing, its place is found by the order of the objects around.
        let list = if reason == "effects in another order or twice" {
            &mut reordered
        } else {
            &mut differences
        };
        list.push(format!("{}\n    as {}\n    {reason}", shown[0], shown[1]));
    }
    println!(
        "{} pickles judged; {} differ, {} in the order of effects alone",
        judged.len(),
        differences.len(),
        reordered.len()
    );
    let show = |list: &[String]| {
        let mut list = list.to_vec();
        list.sort_by_key(String::len);
        list.truncate(15);
        list.join("\n")
    };
    assert!(judged.len() > 20 * count.parse::<usize>().unwrap(), "{} cases", judged.len());
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), show(&refused));
    let share = reordered.len() * 1000 <= judged.len().max(3000);
    assert!(share, "{} reordered:\n{}", reordered.len(), show(&reordered));
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), show(&differences));
}
