//! SAFETY.md and docs/differences.md name the tests that hold what they say: each must exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all test functions in Rust and Python sources.
fn tests() -> Vec<String> {
    let mut open = vec![root().join("crates"), root().join("fuzz/src")];
    let mut names = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() {
                open.push(path);
            } else if matches!(ending, "rs" | "py") {
                names.extend(tests_of(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

fn tests_of(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim_start) {
        let function = match line.strip_prefix("fn ") {
            Some(function) if marked => Some(function),
            _ => line.strip_prefix("def ").filter(|function| function.starts_with("test_")),
        };
        names.extend(function.and_then(|text| text.split('(').next()).map(str::to_owned));
        marked = line.starts_with("#[test]") || marked && line.starts_with("#[");
    }
    names
}

#[track_caller]
fn exist(named: &[&str]) {
    let tests = tests();
    for name in named {
        assert!(tests.iter().any(|test| test == name), "no test is called {name}");
    }
}

#[test]
fn every_difference_names_a_test_that_exists() {
    let page = fs::read_to_string(root().join("docs/differences.md")).unwrap();
    let named: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("Test: `")?.strip_suffix('`')).collect();
    let sections = page.lines().filter(|line| line.starts_with("### ")).count();
    assert_eq!(named.len(), sections, "each difference has its test");
    exist(&named);
}

#[test]
fn every_test_that_the_safety_page_names_exists() {
    let page = fs::read_to_string(root().join("SAFETY.md")).unwrap();
    // Names of tests are sentences: several words, and nothing but letters, digits and `_`.
    let named: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() >= 3 && !name.starts_with('_'))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    assert!(named.len() > 15, "{named:?}");
    exist(&named);
}
