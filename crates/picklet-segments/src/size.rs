//! Sizes in bytes as people write them: `64MB`, `64MiB`, `1.5 GB`, `1048576`.

use crate::error::{Error, Result};

/// Each unit and its bytes. Decimal as in `MB`, binary as in `MiB`.
const UNITS: [(&str, u64); 10] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("", 1),
];

/// Reads a size: a whole number of bytes, or a number and a unit in any case,
/// `kB MB GB TB` (powers of 1000) or `KiB MiB GiB TiB` (powers of 1024).
///
/// # Errors
/// [`Error::Usage`]: for `64M`, which means both to different people, it names
/// the two ways to write it; also for what is no number, and for less than 1 byte.
///
/// ```
/// use picklet_segments::parse_size;
/// assert_eq!(parse_size("64MB").unwrap(), 64_000_000);
/// assert_eq!(parse_size("64 MiB").unwrap(), 67_108_864);
/// assert_eq!(parse_size("1_000").unwrap(), 1000);
/// assert!(parse_size("64M").unwrap_err().to_string().contains("64MB"));
/// ```
pub fn parse_size(text: &str) -> Result<u64> {
    let trimmed = text.trim();
    let digits_end = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits_end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let Some(&(_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(Error::usage(wrong_unit(text, number, &unit)));
    };
    let bytes = multiply(&number.replace('_', ""), factor).ok_or_else(|| {
        Error::usage(format!("size {text:?} is no number of bytes; write 64MB, 64MiB or 64000000"))
    })?;
    if bytes == 0 {
        return Err(Error::usage(format!("size {text:?} is less than 1 byte")));
    }
    Ok(bytes)
}

fn wrong_unit(text: &str, number: &str, unit: &str) -> String {
    let upper = unit.to_ascii_uppercase();
    match unit {
        "k" | "m" | "g" | "t" if !number.is_empty() => {
            let small = if unit == "k" { "k" } else { upper.as_str() };
            format!(
                "size {text:?} can mean two things: write {number}{small}B (powers of 1000) or \
                 {number}{upper}iB (powers of 1024)"
            )
        }
        _ => format!("size {text:?} is no size; write a number of bytes, or 64MB, or 64MiB"),
    }
}

/// `number` (digits with at most one point) times `factor`, rounded down;
/// `None` where that is no u64. Exact: no floats are involved.
fn multiply(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let mut bytes = whole.parse::<u128>().ok()?.checked_mul(factor.into())?;
    if !fraction.is_empty() {
        let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<u128>().ok()?.checked_mul(factor.into())?;
        bytes = bytes.checked_add(part / scale)?;
    }
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units_in_any_case() {
        for (text, bytes) in [
            ("1", 1),
            ("64000000", 64_000_000),
            ("64mb", 64_000_000),
            ("64Mb", 64_000_000),
            ("64 MiB", 64 << 20),
            ("1.5GB", 1_500_000_000),
            ("0.5KiB", 512),
            (" 2 TB ", 2_000_000_000_000),
            ("10_000 B", 10_000),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn a_bare_letter_is_refused_with_both_ways_to_write_it() {
        let message = parse_size("64M").unwrap_err().to_string();
        assert!(message.contains("64MB") && message.contains("64MiB"), "{message}");
        let message = parse_size("8k").unwrap_err().to_string();
        assert!(message.contains("8kB") && message.contains("8KiB"), "{message}");
    }

    #[test]
    fn what_is_no_size_is_refused_in_one_line() {
        for text in [
            "",
            "MB",
            "M",
            "-1",
            "1e6",
            "1.2.3",
            "64 potatoes",
            "0",
            "0.1B",
            "0MB",
            "1\n2",
            "20000000TB",
            ".5MB",
            "99999999999999999999999999999999999999999999",
            "1,5GB",
            "٣",
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{text}");
            assert!(!error.to_string().contains('\n'), "{text}");
        }
    }
}
