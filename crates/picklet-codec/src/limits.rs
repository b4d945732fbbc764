//! The caps on what a pickle may ask for, as named constants, and [`Limits`], which carries
//! the caller's choice of them.
//!
//! No cap here refuses honest data at its default: lengths that a pickle declares are checked
//! against the bytes that are really there before anything is allocated, so memory follows the
//! input's size and the caps are for callers who want less than that.

/// Decimal digits in one text integer, as CPython's own default (`sys.set_int_max_str_digits`):
/// parsing decimals takes time in the square of their length. Hexadecimal, octal and binary
/// literals are linear and not capped, as in CPython.
pub const DEFAULT_DECIMAL_DIGITS: u64 = 4300;

/// Bytes of one opcode's argument: strings, bytes, big ints and text lines.
pub const DEFAULT_ARGUMENT_BYTES: u64 = 1 << 40;

/// Objects on the machine's stack at one time.
pub const DEFAULT_STACK_ITEMS: u64 = 1 << 32;

/// Marks open at one time, which bounds the nesting of what is under construction.
pub const DEFAULT_OPEN_MARKS: u64 = 1 << 32;

/// Entries in the memo.
pub const DEFAULT_MEMO_ENTRIES: u64 = 1 << 32;

/// How far past the number of entries a memo index may lie and still be kept in the dense
/// array; beyond it goes to a hash map, so that `PUT 4294967295` costs one entry.
pub const MEMO_DENSE_SLACK: u64 = 1024;

/// The caps that a reader and a machine keep to. Start from [`Limits::default`] and lower
/// (or raise) what you care about.
///
/// ```
/// let limits = picklet_codec::Limits { memo_entries: 1_000_000, ..Default::default() };
/// # let _ = limits;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Decimal digits in one text integer: [`DEFAULT_DECIMAL_DIGITS`].
    pub decimal_digits: u64,
    /// Bytes of one opcode's argument: [`DEFAULT_ARGUMENT_BYTES`].
    pub argument_bytes: u64,
    /// Objects on the stack at one time: [`DEFAULT_STACK_ITEMS`].
    pub stack_items: u64,
    /// Marks open at one time: [`DEFAULT_OPEN_MARKS`].
    pub open_marks: u64,
    /// Entries in the memo: [`DEFAULT_MEMO_ENTRIES`].
    pub memo_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            decimal_digits: DEFAULT_DECIMAL_DIGITS,
            argument_bytes: DEFAULT_ARGUMENT_BYTES,
            stack_items: DEFAULT_STACK_ITEMS,
            open_marks: DEFAULT_OPEN_MARKS,
            memo_entries: DEFAULT_MEMO_ENTRIES,
        }
    }
}
