//! Names of segments: which are allowed, how they are numbered and sorted.
//!
//! A segment's name is its file's name without `.pickle`. It is kept as it was
//! given, case included. What could leave the directory, hide, break a line or
//! stand for two files at once is refused.

use std::cmp::Ordering;
use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::error::{Error, Result};

/// What every segment's file name ends in.
pub const EXTENSION: &str = ".pickle";

/// The file with the segments' SHA-256, as `sha256sum -c` takes it.
pub const SUMS: &str = "SHA256SUMS";

/// What else a segment's file name may end in: [`EXTENSION`], compressed.
const COMPRESSED: [&str; 2] = [".pickle.zst", ".pickle.gz"];

/// A file name taken apart: `("data-00000", ".pickle.zst")`. `None` when it is
/// no segment's.
pub fn split_ending(file: &str) -> Option<(&str, &str)> {
    let endings = COMPRESSED.into_iter().chain([EXTENSION]);
    endings.into_iter().find_map(|ending| file.strip_suffix(ending).map(|stem| (stem, ending)))
}

/// Whether a file of this name is taken for a segment.
pub fn is_segment(file: &str) -> bool {
    split_ending(file).is_some()
}

/// A segment's name: its file's without the ending.
pub fn stem(file: &str) -> &str {
    split_ending(file).map_or(file, |(stem, _)| stem)
}

/// The manifest's file name.
pub const MANIFEST: &str = "segments.json";

/// The folder with picklet's own files inside a segments directory.
pub const PRIVATE: &str = ".picklet";

/// Longest file name, in bytes: what ext4, XFS, APFS and NTFS all take.
pub const MAX_FILE_NAME_BYTES: usize = 255;

/// Digits of a numbered segment when the number of segments is not known
/// beforehand. Larger numbers simply take more digits.
pub const DEFAULT_WIDTH: usize = 5;

/// The file name of segment `index`: `data-00000.pickle` for base `data`,
/// index 0, width 5.
pub fn segment_file(base: &str, index: u64, width: usize) -> String {
    format!("{base}-{index:0width$}{EXTENSION}")
}

/// The file name of a segment that the user named: `segment1.pickle` for
/// `segment1`. A name that already ends in `.pickle`, `.pickle.zst` or
/// `.pickle.gz` is kept.
///
/// # Errors
/// [`Error::BadName`] as [`validate`].
pub fn named_file(name: &str) -> Result<String> {
    let (stem, ending) = split_ending(name).unwrap_or((name, EXTENSION));
    validate(stem)?;
    Ok(format!("{stem}{ending}"))
}

/// Checks a name (without `.pickle`): not empty, no leading `.`, no `/` or
/// `\`, no `..` as a whole, no control characters, no more than 255 bytes
/// with its ending, none that picklet keeps for itself, none of the device
/// names that Windows reserves.
///
/// # Errors
/// [`Error::BadName`], saying what is wrong.
pub fn validate(name: &str) -> Result<()> {
    let refuse = |reason| Err(Error::BadName { name: name.to_owned(), reason });
    if name.is_empty() {
        return refuse("is empty; give each segment a name");
    }
    if name == "." || name == ".." {
        return refuse("is a directory; give a plain name");
    }
    if name.starts_with('.') {
        return refuse("begins with a dot; such files are hidden and kept for picklet");
    }
    if name.contains(['/', '\\']) {
        return refuse("holds a slash; segments have no folders of their own");
    }
    if name.chars().any(char::is_control) {
        return refuse("holds a control character; give a printable name");
    }
    if name.chars().any(is_invisible_format) {
        return refuse(
            "holds an invisible character that changes how text is shown; give a plain name",
        );
    }
    if name.len() + EXTENSION.len() > MAX_FILE_NAME_BYTES {
        return refuse("is longer than a file name can be (255 bytes with .pickle)");
    }
    if is_reserved(name) {
        return refuse("is reserved; give another name");
    }
    Ok(())
}

/// Direction overrides and line separators: they make one name look like
/// another, or one line of output look like two.
fn is_invisible_format(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Names kept for the manifest, and devices on Windows (whatever follows the
/// first dot).
fn is_reserved(name: &str) -> bool {
    const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
    let upper = name.to_ascii_uppercase();
    let stem = upper.split('.').next().unwrap_or_default();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    name.eq_ignore_ascii_case(MANIFEST)
        || DEVICES.contains(&stem)
        || numbered("COM")
        || numbered("LPT")
}

/// Checks a file name that came from a manifest or a journal: a valid name
/// and `.pickle`.
///
/// # Errors
/// [`Error::BadName`].
pub fn validate_file(file: &str) -> Result<()> {
    match split_ending(file) {
        Some((name, _)) => validate(name),
        None => Err(Error::BadName { name: file.to_owned(), reason: "does not end in .pickle" }),
    }
}

/// Checks each name and that no two are the same file: equal, or equal after
/// Unicode NFC (macOS stores `가` in another form than it was given in).
///
/// # Errors
/// [`Error::BadName`] or [`Error::SameName`], for the first that is wrong.
pub fn validate_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut seen: HashMap<String, &'a str> = HashMap::new();
    for name in names {
        validate(stem(name))?;
        if let Some(first) = seen.insert(same_key(name), name) {
            return Err(Error::SameName { first: first.to_owned(), second: name.to_owned() });
        }
    }
    Ok(())
}

/// The form in which two names of one file are equal.
pub(crate) fn same_key(name: &str) -> String {
    let stem = name.strip_suffix(EXTENSION).unwrap_or(name);
    if is_nfc(stem) { stem.to_owned() } else { stem.nfc().collect() }
}

/// Compares names as a person sorts them: `data-2` before `data-10`. Runs of
/// digits compare by value, the rest by its characters.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (digits_left, digits_right) = (digit_run(left), digit_run(right));
        if !digits_left.is_empty() && !digits_right.is_empty() {
            let (x, y) =
                (digits_left.trim_start_matches('0'), digits_right.trim_start_matches('0'));
            match x.len().cmp(&y.len()).then_with(|| x.cmp(y)) {
                Ordering::Equal => {}
                other => return other,
            }
            left = left.strip_prefix(digits_left).unwrap_or_default();
            right = right.strip_prefix(digits_right).unwrap_or_default();
            continue;
        }
        let (mut chars_left, mut chars_right) = (left.chars(), right.chars());
        match (chars_left.next(), chars_right.next()) {
            // `01` and `1` have the same value: the plain order decides, so
            // that different names never compare equal.
            (None, None) => return a.cmp(b),
            (x, y) if x != y => return x.cmp(&y),
            _ => {
                left = chars_left.as_str();
                right = chars_right.as_str();
            }
        }
    }
}

/// The ASCII digits that `text` begins with.
fn digit_run(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    text.strip_suffix(rest).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_are_zero_based_and_padded_and_grow() {
        assert_eq!(segment_file("data", 0, 5), "data-00000.pickle");
        assert_eq!(segment_file("data", 123_456, 5), "data-123456.pickle");
    }

    #[test]
    fn user_names_are_kept_as_they_are() {
        assert_eq!(named_file("segment1").unwrap(), "segment1.pickle");
        assert_eq!(named_file("segment1.pickle").unwrap(), "segment1.pickle");
        assert_eq!(named_file("서울 2026").unwrap(), "서울 2026.pickle");
        assert_eq!(named_file("A.b").unwrap(), "A.b.pickle");
    }

    #[test]
    fn names_that_leave_hide_or_break_are_refused() {
        let long = "가".repeat(83);
        assert_eq!((long.len() + EXTENSION.len()), 256);
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "../a",
            "a\\b",
            "a\nb",
            "a\0b",
            "a\u{7f}",
            "a\u{85}b",
            "a\u{202e}b",
            "segments.json",
            "SEGMENTS.JSON",
            "CON",
            "nul.x",
            "com1",
            &long,
        ] {
            assert!(matches!(validate(bad), Err(Error::BadName { .. })), "{bad:?}");
        }
        for good in
            ["a..b", "com", "com12", "console", "가나다", "a b", "-x", &long[..long.len() - 3]]
        {
            validate(good).unwrap();
        }
        assert!(named_file(".pickle").is_err());
    }

    #[test]
    fn names_equal_after_nfc_are_refused() {
        let composed = "\u{ac00}";
        let decomposed = "\u{1100}\u{1161}";
        assert!(matches!(validate_names([composed, decomposed]), Err(Error::SameName { .. })));
        assert!(validate_names(["a", "a.pickle"]).is_err());
        validate_names(["a", "A", "b"]).unwrap();
    }

    #[test]
    fn digits_sort_by_value_and_no_two_names_are_equal() {
        let mut names = vec!["d-10", "d-9", "d-009", "d", "c-11", "d-10a", "가-2", "가-11"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["c-11", "d", "d-009", "d-9", "d-10", "d-10a", "가-2", "가-11"]);
        assert_eq!(natural_order("d-1", "d-1"), Ordering::Equal);
        assert_ne!(natural_order("d-01", "d-1"), Ordering::Equal);
    }

    #[test]
    fn every_bad_name_message_is_one_line() {
        let message = validate("a\nb").unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
    }
}
