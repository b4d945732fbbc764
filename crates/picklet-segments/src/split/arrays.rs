//! Splitting, resplitting and merging arrays: their rows are ranges of bytes, so that nothing is
//! scanned.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::series::Series;
use super::{SplitOptions, SplitReport, Target, told};
use crate::array::{Found, Opened, PickledArray, Rows, recognise};
use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::{Header, Kind, SharedCounts, Source};
use crate::progress::Totals;
use crate::store::Location;
use crate::writer::Existing;

/// What the pickle of an input is, as far as arrays are concerned.
pub(crate) enum Held {
    /// An array whose rows are ranges of bytes.
    Array(Box<PickledArray>),
    /// An array that must be loaded to be cut; what it is, as the rest of a sentence.
    Unfit(String),
    Other,
}

/// Looks whether the input is one array.
pub(crate) fn held(input: &Input) -> Result<Held> {
    Ok(match recognise(input.data(), input.path())? {
        Found::Array(array) => {
            match Rows::new(&|_| Err(Error::usage("not opened"))).add(0, &array) {
                Ok(()) => Held::Array(Box::new(array)),
                Err(what) => Held::Unfit(what),
            }
        }
        Found::Unfit(what) => Held::Unfit(what),
        Found::Other => Held::Other,
    })
}

/// Splits the array that `input` is, along its first axis.
pub(super) fn split_array(
    input: &Input,
    array: &PickledArray,
    out: &Location,
    options: &SplitOptions<'_>,
    existing: Existing,
    fingerprint: String,
) -> Result<SplitReport> {
    let open = |_| Ok(Opened::Held(input));
    let mut rows = Rows::new(&open);
    rows.add(0, array).map_err(|what| Error::input(input.path(), None, what))?;
    let mut report =
        cut(&mut rows, input.describe(), input.path(), out, options, existing, fingerprint)?;
    let rest = input.size().saturating_sub(array.end);
    if rest > 0 {
        report.warnings.push(super::left_out(input.path(), rest, array.end));
    }
    Ok(report)
}

/// Cuts the rows of segments that are arrays anew.
pub(super) fn resplit_arrays(
    segments: &Segments,
    out: &Location,
    options: &SplitOptions<'_>,
    fingerprint: String,
) -> Result<SplitReport> {
    let open = |number| segments.input(number).map(Opened::Own);
    let mut rows = rows_of(segments, &open)?;
    let (name, bytes) = (segments.location().to_string(), Some(segments.bytes()));
    let source = Source { name, bytes, ..Source::default() };
    let path = segments.location().path();
    cut(&mut rows, source, path, out, options, options.existing, fingerprint)
}

/// Joins segments that are arrays into one array.
pub(crate) fn merge_arrays(segments: &Segments, out: &mut dyn Write, name: &Path) -> Result<()> {
    let open = |number| segments.input(number).map(Opened::Own);
    let mut rows = rows_of(segments, &open)?;
    rows.write(0..rows.count(), out, name)
}

fn rows_of<'a>(
    segments: &Segments,
    open: &'a dyn Fn(usize) -> Result<Opened<'a>>,
) -> Result<Rows<'a>> {
    let mut rows = Rows::new(open);
    for number in 0..segments.len() {
        rows.look(number)?;
    }
    Ok(rows)
}

/// How many rows the array has that `input` is; `None` when it is no array whose rows are ranges of
/// bytes.
///
/// # Errors
/// [`Error::Io`].
pub fn count_rows(input: &Input) -> Result<Option<u64>> {
    Ok(match held(input)? {
        Held::Array(array) => array.shape.first().copied(),
        Held::Unfit(_) | Held::Other => None,
    })
}

/// The rows `range` of the array that `input` is, as a pickle of their own; `None` when it is no
/// array whose rows are ranges of bytes. An end beyond the last row is the last row's.
///
/// # Errors
/// [`Error::Usage`] when the range begins beyond the last row; [`Error::Io`].
pub fn extract_rows(input: &Input, range: std::ops::Range<u64>) -> Result<Option<Vec<u8>>> {
    let Held::Array(array) = held(input)? else { return Ok(None) };
    let open = |_| Ok(Opened::Held(input));
    let mut rows = Rows::new(&open);
    rows.add(0, &array).map_err(|what| Error::input(input.path(), None, what))?;
    if range.start >= rows.count() && !range.is_empty() {
        return Err(Error::usage(format!(
            "{}: there is no row {}; it has {}, counted from 0",
            input.path().display(),
            range.start,
            rows.count()
        )));
    }
    let end = range.end.min(rows.count());
    let mut bytes = Vec::new();
    rows.write(range.start.min(end)..end, &mut bytes, input.path())?;
    Ok(Some(bytes))
}

fn cut(
    rows: &mut Rows<'_>,
    source: Source,
    path: &Path,
    out: &Location,
    options: &SplitOptions<'_>,
    existing: Existing,
    fingerprint: String,
) -> Result<SplitReport> {
    let mut header = Header::new(Kind::Array, fingerprint);
    header.made_by = options.made_by.map(str::to_owned);
    header.source = Some(source);
    if let Some((dtype, shape)) = rows.described() {
        header.extra.insert("dtype".to_owned(), dtype);
        header.extra.insert("shape".to_owned(), Value::from(shape));
    }
    let mut series = Series::create(out, options, existing, header)?;
    let (count, row) = (rows.count(), rows.row_bytes());
    let bytes = count.saturating_mul(row);
    options.progress.totals(Totals { bytes: Some(bytes), items: Some(count), ..Totals::default() });
    let mut first = 0u64;
    loop {
        if (options.interrupt)() {
            return Err(Error::Interrupted);
        }
        let end = match options.target {
            Target::Items(most) => first.saturating_add(most),
            Target::Bytes(bytes) => match bytes.div_ceil(row.max(1)) {
                _ if row == 0 => count,
                rows => first.saturating_add(rows.max(1)),
            },
            // Even numbers of rows: part k begins at the row k·count/parts.
            Target::Parts(parts) => {
                let (done, parts, all) = (
                    u128::from(series.index),
                    u128::from(parts.min(count.max(1))),
                    u128::from(count),
                );
                u64::try_from((done + 1) * all / parts).unwrap_or(count)
            }
        }
        .min(count);
        let written = series.write(path, end - first, |out, path| {
            rows.write(first..end, out, path)?;
            Ok(SharedCounts::default())
        });
        written.map_err(|halt| told(halt, path))?;
        options.progress.bytes((end - first).saturating_mul(row));
        first = end;
        if first >= count {
            return series.finish();
        }
    }
}
