//! From pickles to Rust types, by serde: straight from the opcodes, no [`Value`](crate::Value)
//! in between.
//!
//! [`from_slice`] and [`from_reader`] for most uses; [`Options`] to set the caps; [`Pickle`] to
//! read once and deserialise, perhaps in several ways.
//!
//! | Python | serde |
//! |---|---|
//! | None | unit, or an absent `Option` |
//! | bool, float, str | the same; str borrowed where the pickle holds it as it is |
//! | int | `i64`; larger ones `u64`, `i128`, `u128`; past these an error |
//! | bytes, bytearray (at every protocol) | bytes, borrowed where possible; also a sequence of `u8` |
//! | a Python 2 str | a str if it is UTF-8, else bytes; bytes where bytes are asked for |
//! | list, tuple, set, frozenset, deque | a sequence |
//! | dict, OrderedDict, defaultdict, Counter | a map, or a struct; keys of any type |
//! | an instance with a state (most classes, dataclasses, `__slots__`) | a map, or a struct |
//! | a namedtuple (and whatever passes arguments to `__new__` alone) | a sequence; structs take it by position |
//! | a subclass of int, float, str … | what it is a subclass of, where that is asked for |
//! | `"Variant"`, `{"Variant": …}` | an enum |
//! | any other class (datetime, Decimal, numpy arrays …) | an error that names it |
//!
//! Nothing is imported or called. What is shared in Python is delivered once for each reference,
//! within a budget; what holds itself is an error. A key that a hand-made pickle writes twice is
//! delivered twice. Types see a human-readable format: an `IpAddr` is text, as Python has it.

mod object;
mod tape;
mod walk;

use std::io;

use picklet_codec::Limits;
use serde::de::{Deserialize, DeserializeOwned};

pub use walk::Deserializer;

use crate::serde_error::SerdeError;
use tape::Tape;
use walk::Walk;

/// Levels of nesting that are delivered, by default. serde calls itself for each level, and so
/// the thread's stack bounds this: a level takes up to a few kilobytes in a debug build.
pub const DEFAULT_MAX_DEPTH: u32 = 128;

/// Bytes that shared references may expand to beyond what the pickle itself holds, by default:
/// 1 GiB, counting 16 bytes for an object and the length of longer strings.
pub const DEFAULT_MAX_EXPANSION: u64 = 1 << 30;

/// The caps that deserialising keeps to.
///
/// ```
/// use picklet::de::Options;
///
/// let options = Options { max_depth: 2, ..Options::default() };
/// let error = options.from_slice::<Vec<Vec<Vec<u8>>>>(b"]]]a]aa.").unwrap_err();
/// assert!(error.to_string().contains("deeper than 2 levels"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The codec's own caps.
    pub limits: Limits,
    /// Levels of nesting: [`DEFAULT_MAX_DEPTH`].
    pub max_depth: u32,
    /// Bytes that shared references may expand to: [`DEFAULT_MAX_EXPANSION`].
    pub max_expansion: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_depth: DEFAULT_MAX_DEPTH,
            max_expansion: DEFAULT_MAX_EXPANSION,
        }
    }
}

impl Options {
    /// As [`from_slice`], within these caps.
    ///
    /// # Errors
    /// As [`from_slice`].
    pub fn from_slice<'de, T: Deserialize<'de>>(&self, pickle: &'de [u8]) -> Result<T, SerdeError> {
        Pickle::read(pickle, *self)?.deserialize()
    }

    /// As [`from_reader`], within these caps.
    ///
    /// # Errors
    /// As [`from_reader`].
    pub fn from_reader<T: DeserializeOwned>(
        &self,
        mut reader: impl io::Read,
    ) -> Result<T, SerdeError> {
        let mut pickle = Vec::new();
        reader.read_to_end(&mut pickle)?;
        self.from_slice(&pickle)
    }
}

/// A pickle that was run, not yet made into a type: 16 bytes for each of its objects, strings
/// left in the input.
///
/// ```
/// use picklet::de::{Options, Pickle};
///
/// let pickle = Pickle::read(b"\x80\x04K\x07.", Options::default())?;
/// assert_eq!(pickle.deserialize::<u8>()?, 7);
/// assert_eq!(pickle.deserialize::<f64>()?, 7.0);
/// # Ok::<(), picklet::SerdeError>(())
/// ```
#[derive(Debug)]
pub struct Pickle<'de> {
    tape: Tape<'de>,
    options: Options,
}

impl<'de> Pickle<'de> {
    /// Runs the first pickle of `pickle`; bytes after its STOP are ignored, as Python does.
    ///
    /// # Errors
    /// Bytes that are no pickle.
    pub fn read(pickle: &'de [u8], options: Options) -> Result<Self, SerdeError> {
        Ok(Self { tape: Tape::read(pickle, options.limits)?, options })
    }

    /// Makes a `T` of it.
    ///
    /// # Errors
    /// A pickle that does not fit `T`, what has no serde form, and the caps of [`Options`].
    pub fn deserialize<T: Deserialize<'de>>(&self) -> Result<T, SerdeError> {
        self.deserialize_seed(std::marker::PhantomData)
    }

    /// Makes of it what `seed` makes.
    ///
    /// # Errors
    /// As [`Pickle::deserialize`].
    pub fn deserialize_seed<T: serde::de::DeserializeSeed<'de>>(
        &self,
        seed: T,
    ) -> Result<T::Value, SerdeError> {
        let walk = Walk::new(&self.tape, &self.options);
        seed.deserialize(walk.root())
    }
}

/// Makes a `T` of the first pickle of `pickle`; bytes after its STOP are ignored, as Python
/// does. `T` may borrow `&str` and `&[u8]` from it.
///
/// # Errors
/// Bytes that are no pickle, a pickle that does not fit `T`, what has no serde form, and the
/// caps of [`Options`]. The error tells the path, the opcode and the byte offset.
pub fn from_slice<'de, T: Deserialize<'de>>(pickle: &'de [u8]) -> Result<T, SerdeError> {
    Options::default().from_slice(pickle)
}

/// Reads `reader` to its end and makes a `T` of the first pickle in it.
///
/// # Errors
/// As [`from_slice`], and failures to read.
pub fn from_reader<T: DeserializeOwned>(reader: impl io::Read) -> Result<T, SerdeError> {
    Options::default().from_reader(reader)
}
