//! The disassembler: prints what `python -m pickletools` prints, byte for byte, as of 3.13.
//!
//! One pass over a stream. Kept besides the current argument: one byte for each object on the
//! stack, a position for each open mark and one byte for each memo entry. A listing indents by
//! open marks, so its size grows with the square of their number; past
//! [`DisOptions::max_open_marks`] it ends with an error.

use std::fmt;
use std::io::{self, BufRead, Write};

use num_bigint::BigInt;
use rustc_hash::FxHashMap;

use crate::genops::{GenArg, GenError, GenOp, GenOps};
use crate::limits::MEMO_DENSE_SLACK;
use crate::opcode::{Opcode, OpcodeInfo, StackKind};

/// Open marks past which a listing ends with [`DisError::TooManyOpenMarks`].
pub const DEFAULT_MAX_OPEN_MARKS: usize = 1000;

/// The column `python -m pickletools -a` asks annotations to start at.
pub const ANNOTATE_COLUMN: usize = 30;

/// How to print a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisOptions {
    /// Blanks for each open mark (`-l`). 4 by default.
    pub indent: usize,
    /// The column at which a short description of each opcode starts, counted without the
    /// position in front; `None` (the default) or 0 prints none. `-a` is [`ANNOTATE_COLUMN`].
    pub annotate: Option<usize>,
    /// Marks that may be open at one time: [`DEFAULT_MAX_OPEN_MARKS`].
    pub max_open_marks: usize,
}

impl Default for DisOptions {
    fn default() -> Self {
        DisOptions { indent: 4, annotate: None, max_open_marks: DEFAULT_MAX_OPEN_MARKS }
    }
}

/// Why a listing ended before its last line, or after it. What could be printed has been.
#[derive(Debug)]
#[non_exhaustive]
pub enum DisError {
    /// Reading the pickle or writing the listing failed.
    Io(io::Error),
    /// The pickle is at fault; `pickletools` raises the same.
    Invalid {
        /// The exception's name: `ValueError`, `UnicodeDecodeError` or `IndexError`.
        exception: &'static str,
        /// The exception's text.
        message: String,
        /// The position of the opcode at fault.
        offset: u64,
    },
    /// More marks are open than [`DisOptions::max_open_marks`] allows.
    TooManyOpenMarks {
        /// The cap.
        cap: usize,
        /// The position of the MARK that passed it.
        offset: u64,
    },
}

impl fmt::Display for DisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DisError::Io(error) => error.fmt(f),
            DisError::Invalid { message, offset, .. } => write!(f, "{message} (at byte {offset})"),
            DisError::TooManyOpenMarks { cap, offset } => write!(
                f,
                "more than {cap} marks are open (cap max_open_marks), which a listing indents by \
                 (at byte {offset})"
            ),
        }
    }
}

impl std::error::Error for DisError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DisError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for DisError {
    fn from(error: io::Error) -> Self {
        DisError::Io(error)
    }
}

impl DisError {
    pub(crate) fn from_gen(error: GenError, offset: u64) -> Self {
        match error {
            GenError::Io(error) => DisError::Io(error),
            GenError::Python { exception, message } => {
                DisError::Invalid { exception, message, offset }
            }
        }
    }

    fn value_error(message: String, offset: u64) -> Self {
        DisError::Invalid { exception: "ValueError", message, offset }
    }
}

/// What the memo of one or several listings holds. Hand the same one to several calls of
/// [`dis_with_memo`] to list pickles that one pickler wrote (`-m`).
#[derive(Debug, Default, Clone)]
pub struct DisMemo {
    /// Indexes near the number of entries, which is nearly all of them.
    dense: Vec<Option<StackKind>>,
    sparse: FxHashMap<BigInt, StackKind>,
    length: usize,
}

impl DisMemo {
    fn get(&self, key: &BigInt) -> Option<StackKind> {
        match usize::try_from(key) {
            Ok(index) if index < self.dense.len() => self.dense.get(index).copied().flatten(),
            _ => self.sparse.get(key).copied(),
        }
    }

    fn get_small(&self, key: i64) -> Option<StackKind> {
        let dense = usize::try_from(key).ok().and_then(|index| self.dense.get(index));
        match dense {
            Some(entry) if entry.is_some() => *entry,
            _ if self.sparse.is_empty() => None,
            _ => self.sparse.get(&BigInt::from(key)).copied(),
        }
    }

    fn insert(&mut self, key: &Key, kind: StackKind) {
        self.length += 1;
        let slack = usize::try_from(MEMO_DENSE_SLACK).unwrap_or(usize::MAX);
        match key {
            Key::Small(key) => match usize::try_from(*key) {
                Ok(index) if index < self.length.saturating_add(slack) => {
                    if index >= self.dense.len() {
                        self.dense.resize(index + 1, None);
                    }
                    if let Some(entry) = self.dense.get_mut(index) {
                        *entry = Some(kind);
                    }
                }
                _ => {
                    self.sparse.insert(BigInt::from(*key), kind);
                }
            },
            Key::Big(key) => {
                self.sparse.insert(key.clone(), kind);
            }
        }
    }

    fn look_up(&self, key: &Key) -> Option<StackKind> {
        match key {
            Key::Small(key) => self.get_small(*key),
            Key::Big(key) => self.get(key),
        }
    }
}

enum Key {
    Small(i64),
    Big(BigInt),
}

impl Key {
    fn of(arg: &GenArg<'_>) -> Key {
        match arg {
            GenArg::Bool(value) => Key::Small((*value).into()),
            GenArg::Int(value) => Key::Small(*value),
            GenArg::BigInt(value) => Key::Big(value.clone()),
            // Memo opcodes have no other arguments.
            _ => Key::Small(-1),
        }
    }
}

/// Prints the listing of the first pickle in `pickle` to `out`, which should be buffered.
///
/// # Errors
/// [`DisError`]; the lines before the fault have been printed, as `pickletools` does.
///
/// ```
/// let mut listing = Vec::new();
/// picklet_codec::dis(&b"K\x01."[..], &mut listing, &Default::default())?;
/// assert_eq!(
///     String::from_utf8_lossy(&listing),
///     "    0: K    BININT1    1\n    2: .    STOP\nhighest protocol among opcodes = 1\n",
/// );
/// # Ok::<(), picklet_codec::DisError>(())
/// ```
pub fn dis(pickle: impl BufRead, out: impl Write, options: &DisOptions) -> Result<(), DisError> {
    dis_with_memo(pickle, 0, out, options, &mut DisMemo::default()).map(drop)
}

/// As [`dis`], for one of several pickles: `offset` is what the first byte's position is
/// called, `memo` is kept from listing to listing. Gives the position after STOP.
///
/// # Errors
/// As [`dis`].
pub fn dis_with_memo(
    pickle: impl BufRead,
    offset: u64,
    out: impl Write,
    options: &DisOptions,
    memo: &mut DisMemo,
) -> Result<u64, DisError> {
    let mut ops = GenOps::new(pickle, offset);
    let mut listing = Listing {
        out,
        options,
        memo,
        stack: Vec::new(),
        marks: Vec::new(),
        line: String::new(),
        note: String::new(),
        column: options.annotate.unwrap_or(0),
    };
    let mut highest = 0;
    loop {
        let position = ops.position();
        let op = ops.next_op().map_err(|error| DisError::from_gen(error, position))?;
        highest = highest.max(op.info.protocol);
        let last = op.info.opcode == Opcode::Stop;
        listing.print(&op)?;
        if last {
            break;
        }
    }
    writeln!(listing.out, "highest protocol among opcodes = {highest}")?;
    if !listing.stack.is_empty() {
        return Err(left_over(&listing.stack, ops.position().saturating_sub(1)));
    }
    Ok(ops.position())
}

fn left_over(stack: &[StackKind], offset: u64) -> DisError {
    let names: Vec<&str> = stack.iter().map(|kind| kind.name()).collect();
    let message = format!("stack not empty after STOP: [{}]", names.join(", "));
    DisError::value_error(message, offset)
}

struct Listing<'a, W> {
    out: W,
    options: &'a DisOptions,
    memo: &'a mut DisMemo,
    stack: Vec<StackKind>,
    marks: Vec<u64>,
    line: String,
    /// What follows the argument: `(MARK at 3)`, `(as 0)`.
    note: String,
    /// Where the next annotation goes, carried from line to line.
    column: usize,
}

/// What one opcode does to the stack, once marks and memo have had their say.
struct Change {
    pops: usize,
    /// What GET pushes in place of the table's column.
    pushed: Option<StackKind>,
    fault: Option<String>,
}

impl<W: Write> Listing<'_, W> {
    fn print(&mut self, op: &GenOp<'_>) -> Result<(), DisError> {
        write!(self.out, "{:5}: ", op.position)?;
        self.line.clear();
        let code = char::from(op.info.byte);
        if code.is_ascii() {
            self.line.push(code);
            self.line.push_str("   ");
        } else {
            self.line.push_str(&format!("\\x{:02x}", op.info.byte));
        }
        self.line.push(' ');
        let blanks = self.options.indent.saturating_mul(self.marks.len());
        self.line.extend(std::iter::repeat_n(' ', blanks));
        self.line.push_str(op.info.name);

        self.note.clear();
        let mut change = self.close_mark(op)?;
        self.memorise(op, &mut change)?;
        self.finish_line(op)?;
        if let Some(fault) = change.fault {
            return Err(DisError::value_error(fault, op.position));
        }
        self.apply(op, &change)
    }

    /// Takes the topmost mark away where the opcode ends at one.
    fn close_mark(&mut self, op: &GenOp<'_>) -> Result<Change, DisError> {
        let before = op.info.before;
        let mark_in_table = before.iter().position(|kind| *kind == StackKind::Mark);
        let pops_mark =
            op.info.opcode == Opcode::Pop && self.stack.last() == Some(&StackKind::Mark);
        let mut change = Change { pops: before.len(), pushed: None, fault: None };
        if mark_in_table.is_none() && !pops_mark {
            return Ok(change);
        }
        let Some(position) = self.marks.pop() else {
            self.note.push_str("no MARK exists on stack");
            change.fault = Some(self.note.clone());
            return Ok(change);
        };
        self.note.push_str("(MARK at ");
        self.note.push_str(itoa::Buffer::new().format(position));
        self.note.push(')');
        let Some(mark) = self.stack.iter().rposition(|kind| *kind == StackKind::Mark) else {
            // An opcode of fixed arity took the mark: Python runs off its list here.
            return Err(DisError::Invalid {
                exception: "IndexError",
                message: "list index out of range".to_owned(),
                offset: op.position,
            });
        };
        self.stack.truncate(mark);
        change.pops = mark_in_table.unwrap_or(0);
        Ok(change)
    }

    /// Stores into and reads from the memo, and notes what is wrong with that.
    fn memorise(&mut self, op: &GenOp<'_>, change: &mut Change) -> Result<(), DisError> {
        let repr = |arg: &GenArg<'_>| {
            let mut shown = String::new();
            arg.push_repr(&mut shown).map_err(|error| DisError::from_gen(error, op.position))?;
            // MEMOIZE carries no argument, and Python prints that it is None.
            Ok::<_, DisError>(if shown.is_empty() { "None".to_owned() } else { shown })
        };
        match op.info.opcode {
            Opcode::Put | Opcode::BinPut | Opcode::LongBinPut | Opcode::Memoize => {
                let key = if op.info.opcode == Opcode::Memoize {
                    self.note.push_str("(as ");
                    self.note.push_str(itoa::Buffer::new().format(self.memo.length));
                    self.note.push(')');
                    Key::Small(i64::try_from(self.memo.length).unwrap_or(i64::MAX))
                } else {
                    Key::of(&op.arg)
                };
                if self.memo.look_up(&key).is_some() {
                    change.fault = Some(format!("memo key {} already defined", repr(&op.arg)?));
                    return Ok(());
                }
                match self.stack.last() {
                    None => {
                        change.fault = Some("stack is empty -- can't store into memo".to_owned());
                    }
                    Some(StackKind::Mark) => {
                        change.fault = Some("can't store markobject in the memo".to_owned());
                    }
                    Some(kind) => self.memo.insert(&key, *kind),
                }
            }
            Opcode::Get | Opcode::BinGet | Opcode::LongBinGet => {
                change.pushed = self.memo.look_up(&Key::of(&op.arg));
                if change.pushed.is_none() {
                    let key = repr(&op.arg)?;
                    change.fault = Some(format!("memo key {key} has never been stored into"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds argument, note and annotation, and prints the line.
    fn finish_line(&mut self, op: &GenOp<'_>) -> Result<(), DisError> {
        let has_arg = op.arg != GenArg::None;
        if has_arg || !self.note.is_empty() {
            let blanks = 10usize.saturating_sub(op.info.name.len());
            self.line.extend(std::iter::repeat_n(' ', blanks));
            if has_arg {
                self.line.push(' ');
                op.arg
                    .push_repr(&mut self.line)
                    .map_err(|error| DisError::from_gen(error, op.position))?;
            }
            if !self.note.is_empty() {
                self.line.push(' ');
                self.line.push_str(&self.note);
            }
        }
        if let Some(annotate) = self.options.annotate.filter(|column| *column > 0) {
            let length = self.line.chars().count();
            self.line.extend(std::iter::repeat_n(' ', self.column.saturating_sub(length)));
            self.column = self.column.max(length);
            if self.column > 50 {
                self.column = annotate;
            }
            self.line.push(' ');
            self.line.push_str(op.info.doc);
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())?;
        Ok(())
    }

    /// Moves the stack on.
    fn apply(&mut self, op: &GenOp<'_>, change: &Change) -> Result<(), DisError> {
        let info: &OpcodeInfo = op.info;
        let Some(kept) = self.stack.len().checked_sub(change.pops) else {
            let message = format!(
                "tries to pop {} items from stack with only {} items",
                change.pops,
                self.stack.len()
            );
            return Err(DisError::value_error(message, op.position));
        };
        self.stack.truncate(kept);
        if info.opcode == Opcode::Mark {
            if self.marks.len() >= self.options.max_open_marks {
                let cap = self.options.max_open_marks;
                return Err(DisError::TooManyOpenMarks { cap, offset: op.position });
            }
            self.marks.push(op.position);
        }
        match change.pushed {
            Some(kind) => self.stack.push(kind),
            None => self.stack.extend_from_slice(info.after),
        }
        Ok(())
    }
}
