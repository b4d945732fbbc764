//! `dis` and `optimize` held to `pickletools` of the Python found: on real pickles, hand-made
//! ones and mutated ones, text, bytes and the way they fail.

use std::process::{Command, Stdio};

use picklet_codec::{DisError, DisOptions, dis, optimize};

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

/// What the oracle writes, or `None` (said loudly) where there is no Python.
fn oracle(count: u32) -> Option<Vec<u8>> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pickletools_oracle.py");
    let output = Command::new(&python)
        .args(["-X", "utf8", script, &count.to_string()])
        .stderr(Stdio::inherit())
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{python} {script} failed");
            Some(output.stdout)
        }
        Err(error) => {
            eprintln!("SKIPPED: pickletools is not compared, {python} does not run: {error}");
            None
        }
    }
}

fn ending(result: Result<(), DisError>) -> String {
    match result {
        Ok(()) => String::new(),
        Err(DisError::Invalid { exception, message, .. }) => format!("{exception}: {message}"),
        Err(other) => format!("{other:?}"),
    }
}

#[test]
fn listings_and_optimised_bytes_are_those_of_pickletools() {
    let count = std::env::var("PICKLET_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
    let Some(cases) = oracle(count) else { return };
    let mut blobs = Blobs(&cases);
    let mut seen = 0;
    let mut failed = 0;
    while let Some(pickle) = blobs.next() {
        let arguments = String::from_utf8(blobs.next().unwrap().to_vec()).unwrap();
        let (indent, annotate) = arguments.split_once(',').unwrap();
        let listing = String::from_utf8(blobs.next().unwrap().to_vec()).unwrap();
        let end = String::from_utf8(blobs.next().unwrap().to_vec()).unwrap();
        let small = blobs.next().unwrap();
        seen += 1;

        let options = DisOptions {
            indent: indent.parse().unwrap(),
            annotate: Some(annotate.parse().unwrap()),
            ..Default::default()
        };
        let mut ours = Vec::new();
        let ours_end = ending(dis(pickle, &mut ours, &options));
        let ours = String::from_utf8(ours).unwrap();
        let shown = pickle.escape_ascii().to_string();
        let shown = shown.get(..400).unwrap_or(&shown);
        if (&ours, &ours_end) != (&listing, &end) {
            failed += 1;
            if failed < 10 {
                let at = ours.lines().zip(listing.lines()).find(|(a, b)| a != b);
                eprintln!("dis {shown}\n  ours {ours_end:?}\n  python {end:?}\n  {at:?}");
            }
        }
        let ours = optimize(pickle);
        if let Some((b'=', python)) = small.split_first() {
            let again = blobs.next().unwrap();
            if let (Ok(ours), Some((b'=', again))) = (optimize(python), again.split_first())
                && ours != again
            {
                failed += 1;
                eprintln!("optimize again {shown}\n  ours {}", ours.escape_ascii());
            }
        }
        let same = match (&ours, small.split_first().unwrap()) {
            (Ok(ours), (b'=', python)) => ours == python,
            // For a GET before its PUT Python raises an accidental error, or writes `gNone`,
            // which nothing can load.
            (Err(DisError::Invalid { exception, .. }), (_, python))
                if *exception == "TypeError" =>
            {
                python.starts_with(b"TypeError") || python.windows(6).any(|part| part == b"gNone\n")
            }
            (Err(DisError::Invalid { exception, message, .. }), (_, python)) => {
                format!("{exception}: {message}").as_bytes() == python
            }
            _ => false,
        };
        if !same {
            failed += 1;
            if failed < 10 {
                let python = small.escape_ascii().to_string();
                let python = python.get(..300).unwrap_or(&python);
                let ours = ours.map(|bytes| bytes.escape_ascii().to_string());
                eprintln!("optimize {shown}\n  ours {ours:?}\n  python {python}");
            }
        }
    }
    assert!(seen > 1000, "the oracle gave {seen} cases");
    assert_eq!(failed, 0, "of {seen} cases");
}

/// Two PUTs of one object come out under two numbers of which one may be unused, so that a second
/// pass finds more. Python's does the same.
#[test]
fn optimising_again_may_find_more_as_python_does() {
    let once = optimize(b"Nq\x01h\x01\x94.").unwrap();
    assert_eq!(once, b"Nq\x00h\x00q\x01.");
    let twice = optimize(&once).unwrap();
    assert_eq!(twice, b"Nq\x00h\x00.");
    assert_eq!(optimize(&twice).unwrap(), twice);
}

#[test]
fn past_the_cap_of_open_marks_the_listing_ends_with_an_error_that_names_it() {
    let mut pickle = vec![b'('; 1001];
    pickle.extend_from_slice(b"N.");
    let mut listing = Vec::new();
    let error = dis(&pickle[..], &mut listing, &DisOptions::default()).unwrap_err();
    assert!(matches!(error, DisError::TooManyOpenMarks { cap: 1000, offset: 1000 }), "{error}");
    assert!(error.to_string().contains("max_open_marks"));
    let raised = DisOptions { max_open_marks: 1001, ..Default::default() };
    let error = dis(&pickle[..], &mut Vec::new(), &raised).unwrap_err();
    assert!(ending(Err(error)).starts_with("ValueError: stack not empty after STOP: [mark, mark"));
}
