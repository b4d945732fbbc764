//! The rows of one array, or of several that are one along their first axis: cut out and joined as
//! ranges of bytes.
//!
//! ```text
//! C order:        row 0 │ row 1 │ …            one range for any rows
//! Fortran order:  column 0 │ column 1 │ …      one range in each column
//! ```
//!
//! No array is ever held: a block of a payload at most.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use super::dtype::Dtype;
use super::envelope::Envelope;
use super::recognise::{Encoding, Found, PickledArray, recognise};
use crate::error::{Error, Result};
use crate::input::Input;

/// Bytes copied at once.
const BLOCK: u64 = 256 << 10;
/// Bytes from one range to the next up to which they are read together.
const NEAR: u64 = 16 << 10;
/// Pickles that are kept open.
const OPEN: usize = 256;

/// Opens one of several pickles.
pub(crate) type Open<'a> = dyn Fn(usize) -> Result<Opened<'a>> + 'a;

/// A pickle that rows are read from.
pub(crate) enum Opened<'a> {
    Held(&'a Input),
    Own(Input),
}

impl std::ops::Deref for Opened<'_> {
    type Target = Input;

    fn deref(&self) -> &Input {
        match self {
            Opened::Held(input) => input,
            Opened::Own(input) => input,
        }
    }
}

/// One of the pickles that hold the rows.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Its number for [`Open`].
    number: usize,
    /// Where its payload begins.
    payload: u64,
    /// Its first row's number, and how many it has.
    first: u64,
    rows: u64,
}

/// Rows of arrays of one type.
pub(crate) struct Rows<'a> {
    open: &'a Open<'a>,
    opened: HashMap<usize, Opened<'a>>,
    parts: Vec<Part>,
    rows: u64,
    form: Option<Form>,
}

/// What the arrays have in common.
#[derive(Debug, Clone, PartialEq)]
struct Form {
    dtype: Dtype,
    /// The sides but the first.
    sides: Vec<u64>,
    fortran: bool,
}

impl Form {
    fn of(array: &PickledArray) -> Option<Form> {
        let (_, sides) = array.shape.split_first()?;
        let fortran = !array.is_c_order();
        let backward = array.axes.iter().rev().copied();
        if array.encoding != Encoding::Raw || fortran && !backward.eq(0..array.shape.len()) {
            return None;
        }
        Some(Form { dtype: array.dtype.clone(), sides: sides.to_vec(), fortran })
    }

    /// Bytes of a row; `None` when they cannot be counted.
    fn row(&self) -> Option<u64> {
        self.sides.iter().try_fold(self.dtype.size()?, |size, side| size.checked_mul(*side))
    }

    /// How many ranges a row is made of, and how many bytes of one row each has.
    fn ranges(&self) -> Option<(u64, u64)> {
        let row = self.row()?;
        let element = self.dtype.size()?;
        Some(if self.fortran { (row.checked_div(element).unwrap_or(0), element) } else { (1, row) })
    }
}

/// Why an array cannot be cut by bytes.
const NO_FORM: &str = "holds an array whose rows are no ranges of bytes in the pickle";

impl<'a> Rows<'a> {
    /// No rows yet, of pickles that `open` opens.
    pub(crate) fn new(open: &'a Open<'a>) -> Self {
        Rows { open, opened: HashMap::new(), parts: Vec::new(), rows: 0, form: None }
    }

    /// Adds the rows of an array. Says why, as the rest of a sentence, when its rows are no ranges
    /// of bytes, or are other than those before.
    pub(crate) fn add(&mut self, number: usize, array: &PickledArray) -> Result<(), String> {
        let (Some(form), Some(&rows)) = (Form::of(array), array.shape.first()) else {
            return Err(match array.shape.is_empty() {
                true => "holds an array of no axes, which has no rows".to_owned(),
                false => NO_FORM.to_owned(),
            });
        };
        match &self.form {
            Some(first) if *first != form => {
                return Err("holds an array of another type, shape or order than the segments \
                            before it"
                    .to_owned());
            }
            _ => self.form = Some(form),
        }
        self.parts.push(Part { number, payload: array.payload.start, first: self.rows, rows });
        self.rows = self.rows.saturating_add(rows);
        Ok(())
    }

    /// The same for the pickle number `number`.
    pub(crate) fn look(&mut self, number: usize) -> Result<()> {
        let input = (self.open)(number)?;
        let path = input.path();
        let what = match recognise(input.data(), path)? {
            Found::Array(array) => match self.add(number, &array) {
                Ok(()) => return Ok(()),
                Err(what) => what,
            },
            Found::Unfit(what) => what,
            Found::Other => "holds a table or another object that is not joined or cut as bytes; \
                             Segments.load() in Python joins them"
                .to_owned(),
        };
        Err(Error::input(path, None, what))
    }

    /// How many rows there are.
    pub(crate) fn count(&self) -> u64 {
        self.rows
    }

    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> u64 {
        self.form.as_ref().and_then(Form::row).unwrap_or(0)
    }

    /// The text of the type, where it has one, and the whole shape: for manifests.
    pub(crate) fn described(&self) -> Option<(serde_json::Value, Vec<u64>)> {
        let form = self.form.as_ref()?;
        let shape = std::iter::once(self.rows).chain(form.sides.iter().copied()).collect();
        Some((form.dtype.descr()?, shape))
    }

    /// Writes the rows `range` as a pickle of their own. `path` is written to.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] when a pickle has become shorter.
    pub(crate) fn write(
        &mut self,
        range: Range<u64>,
        out: &mut dyn Write,
        path: &Path,
    ) -> Result<()> {
        let Some(form) = self.form.clone() else { return Ok(()) };
        let broken = |error| Error::io("write", path, error);
        let length = range.end.saturating_sub(range.start);
        let shape: Vec<u64> = std::iter::once(length).chain(form.sides.iter().copied()).collect();
        let envelope = Envelope::new(&form.dtype, &shape, form.fortran)?;
        out.write_all(&envelope.head).map_err(broken)?;
        let (ranges, width) = form.ranges().unwrap_or((0, 0));
        let mut block = Block::default();
        for column in 0..if length == 0 { 0 } else { ranges } {
            let begin = self.parts.partition_point(|part| part.first + part.rows <= range.start);
            for at in begin..self.parts.len() {
                let Some(&part) = self.parts.get(at).filter(|part| part.first < range.end) else {
                    break;
                };
                let from = range.start.max(part.first) - part.first;
                let to = range.end.min(part.first + part.rows) - part.first;
                let place = |row: u64| {
                    let rows = column.checked_mul(part.rows)?.checked_add(row)?;
                    part.payload.checked_add(rows.checked_mul(width)?)
                };
                let (Some(from), Some(to)) = (place(from), place(to)) else {
                    return Err(Error::usage("an array of more bytes than can be counted"));
                };
                let next = part.rows.saturating_mul(width);
                let end = part.payload.saturating_add(next.saturating_mul(ranges));
                let input = self.input(part.number)?;
                block.copy(input, part.number, from..to, next, end, out, path)?;
            }
        }
        out.write_all(&envelope.tail).map_err(broken)
    }

    fn input(&mut self, number: usize) -> Result<&Input> {
        if self.opened.len() >= OPEN && !self.opened.contains_key(&number) {
            self.opened.clear();
        }
        let opened = match self.opened.entry(number) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert((self.open)(number)?),
        };
        let input: &Input = opened;
        Ok(input)
    }
}

/// Bytes of one pickle in memory.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    at: u64,
    number: usize,
}

impl Block {
    /// Copies a range. The next one lies `next` bytes further; `end` is where the last one ends.
    #[expect(clippy::too_many_arguments, reason = "one call, in the loop above")]
    fn copy(
        &mut self,
        input: &Input,
        number: usize,
        range: Range<u64>,
        next: u64,
        end: u64,
        out: &mut dyn Write,
        path: &Path,
    ) -> Result<()> {
        let mut offset = range.start;
        while offset < range.end {
            let want = (range.end - offset).min(BLOCK);
            let there = self.number == number
                && offset >= self.at
                && offset + want <= self.at + self.bytes.len() as u64;
            if !there {
                // Ranges that are near each other are read together.
                let most = if next <= NEAR { BLOCK } else { want };
                let length = most.min(end.saturating_sub(offset)).max(want);
                self.bytes.resize(length as usize, 0);
                (self.at, self.number) = (offset, number);
                input.data().read_exact_at(offset, &mut self.bytes).map_err(|error| {
                    self.at = u64::MAX;
                    Error::io("read", input.path(), error)
                })?;
            }
            let from = (offset - self.at) as usize;
            let bytes = self.bytes.get(from..from + want as usize).unwrap_or_default();
            out.write_all(bytes).map_err(|error| Error::io("write", path, error))?;
            offset += want;
        }
        Ok(())
    }
}
