//! Numbers, names and tables as a person reads them.

use std::fmt::Write as _;
use std::path::Path;

use unicode_width::UnicodeWidthStr as _;

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 item`, `1,234 items`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Bytes in the unit that keeps the number short: `64.0 MB`. Decimal, as `--size` has it.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1000.0;
    let mut unit = UNITS[0];
    for next in UNITS.into_iter().skip(1) {
        // 999.95 would be shown as 1000.0.
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Seconds: `0.4 s`, `12.0 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..=99 => format!("{seconds:.1} s"),
        100..=5999 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A path in a line of text: control characters escaped, what is no UTF-8 replaced.
pub(crate) fn path(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Text from outside in a line of ours.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Which edge a column's cells share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table: a heading, rows, and under them a last row of totals.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table's lines. Widths are those on a terminal, where 한글 takes two places a letter.
    pub(crate) fn lines(&self) -> Vec<String> {
        let heading: Vec<String> =
            self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(column, _)| {
                std::iter::once(&heading)
                    .chain(&self.rows)
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        std::iter::once(&heading)
            .chain(&self.rows)
            .map(|row| {
                let mut line = String::new();
                for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(&self.columns) {
                    let blanks = " ".repeat(width - cell.width());
                    if !line.is_empty() {
                        line.push_str("  ");
                    }
                    match align {
                        Align::Left => line.extend([cell.as_str(), &blanks]),
                        Align::Right => line.extend([blanks.as_str(), cell]),
                    }
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "item"), "1 item");
        assert_eq!(counted(2, "item"), "2 items");
    }

    #[test]
    fn bytes_have_the_unit_that_keeps_them_short() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_949), "999.9 kB");
        assert_eq!(bytes(999_950), "1.0 MB");
        assert_eq!(bytes(64_000_000), "64.0 MB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
    }

    #[test]
    fn columns_stay_straight_with_wide_letters() {
        let mut table = Table::new(&[("SEGMENT", Align::Left), ("ITEMS", Align::Right)]);
        table.row(vec!["한글".into(), "1".into()]);
        table.row(vec!["a".into(), "1,000".into()]);
        assert_eq!(table.lines(), ["SEGMENT  ITEMS", "한글         1", "a        1,000"]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(0.04), "0.0 s");
        assert_eq!(seconds(125.0), "2 min 5 s");
        assert_eq!(seconds(7_300.0), "2 h 1 min");
    }
}
