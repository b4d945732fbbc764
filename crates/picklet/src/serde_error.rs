//! [`SerdeError`]: what goes wrong between a pickle and a type, and where.

use std::fmt::{self, Write as _};

use picklet_codec::{ErrorKind, Opcode};

/// Why a pickle could not be made a `T`, or a `T` a pickle. One word, boxed.
///
/// It prints the path to the value, the opcode and its byte offset:
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// struct User { age: u8 }
/// let error = picklet::from_slice::<Vec<User>>(b"](}\x8c\x03ageM\x2c\x01se.").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "$[0].age: BININT2: invalid value: integer `300`, expected u8, at byte 8",
/// );
/// ```
pub struct SerdeError(Box<Inner>);

struct Inner {
    kind: SerdeErrorKind,
    /// `u64::MAX` where no opcode is at fault.
    offset: u64,
    opcode: Option<Opcode>,
    /// Innermost first.
    path: Vec<Step>,
    has_path: bool,
}

enum Step {
    Index(usize),
    Key(String),
    /// A key that is no str, as it is to be printed.
    Other(String),
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum SerdeErrorKind {
    /// The bytes are no pickle, or the writer failed: an error of the codec.
    Pickle(ErrorKind),
    /// The type refused the value, or the value the format; the text says why.
    Message(Box<str>),
    /// An object of a class that serde has no form for. [`Value`](crate::Value) reads it.
    NoForm {
        /// Its class, `module.name`.
        class: Box<str>,
    },
    /// An int of more than 128 bits.
    IntTooLarge,
    /// A str with a lone surrogate, which no Rust `str` can hold.
    Surrogate,
    /// An object that holds itself.
    Cycle,
    /// More levels of nesting than [`de::Options::max_depth`](crate::de::Options::max_depth)
    /// or [`ser::Options::max_depth`](crate::ser::Options::max_depth).
    Depth {
        /// The cap.
        cap: u32,
    },
    /// Shared references expand to more than [`de::Options::max_expansion`](crate::de::Options::max_expansion).
    Expansion {
        /// The cap, in bytes.
        cap: u64,
    },
}

impl SerdeError {
    #[cold]
    pub(crate) fn new(kind: SerdeErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            offset: u64::MAX,
            opcode: None,
            path: Vec::new(),
            has_path: false,
        }))
    }

    /// Places it, unless it has a place.
    #[cold]
    pub(crate) fn or_at(mut self, offset: u64, opcode: Option<Opcode>) -> Self {
        self.0.has_path = true;
        if self.0.offset == u64::MAX {
            self.0.offset = offset;
            self.0.opcode = opcode;
        }
        self
    }

    #[cold]
    pub(crate) fn in_item(mut self, index: usize) -> Self {
        self.push(Step::Index(index));
        self
    }

    #[cold]
    pub(crate) fn in_key(mut self, key: &str) -> Self {
        self.push(Step::Key(key.to_owned()));
        self
    }

    #[cold]
    pub(crate) fn in_other_key(mut self, key: String) -> Self {
        self.push(Step::Other(key));
        self
    }

    fn push(&mut self, step: Step) {
        self.0.has_path = true;
        self.0.path.push(step);
    }

    /// What went wrong.
    pub fn kind(&self) -> &SerdeErrorKind {
        &self.0.kind
    }

    /// The byte offset of the opcode that made the value at fault; `None` when writing, and
    /// where reading the input itself failed.
    pub fn offset(&self) -> Option<u64> {
        (self.0.offset != u64::MAX).then_some(self.0.offset)
    }

    /// That opcode.
    pub fn opcode(&self) -> Option<Opcode> {
        self.0.opcode
    }

    /// The way to the value from the root, such as `$.users[3].name`; `None` where the pickle
    /// was not even read.
    pub fn path(&self) -> Option<String> {
        self.0.has_path.then(|| {
            let mut text = String::from("$");
            for step in self.0.path.iter().rev() {
                // Writing to a String does not fail.
                let _ = match step {
                    Step::Index(index) => write!(text, "[{index}]"),
                    Step::Key(key) if is_plain(key) => write!(text, ".{key}"),
                    Step::Key(key) => write!(text, "[{key:?}]"),
                    Step::Other(key) => write!(text, "[{key}]"),
                };
            }
            text
        })
    }
}

/// Whether a key can stand behind a dot.
fn is_plain(key: &str) -> bool {
    let mut letters = key.chars();
    letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
}

impl fmt::Display for SerdeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pickle(kind) => write!(f, "{kind}"),
            Self::Message(text) => f.write_str(text),
            Self::NoForm { class } => {
                write!(f, "{class} has no serde form (Value::from_slice reads it)")
            }
            Self::IntTooLarge => f.write_str("the int has more than 128 bits"),
            Self::Surrogate => {
                f.write_str("the str holds a lone surrogate (read it as bytes to keep it)")
            }
            Self::Cycle => f.write_str("the object holds itself"),
            Self::Depth { cap } => write!(
                f,
                "the nesting is deeper than {cap} levels (raise `max_depth`, with stack to spare)"
            ),
            Self::Expansion { cap } => write!(
                f,
                "shared references expand to more than {cap} bytes (raise `max_expansion` if the \
                 pickle is to be trusted)"
            ),
        }
    }
}

impl fmt::Display for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = self.path() {
            write!(f, "{path}: ")?;
        }
        if let Some(opcode) = self.0.opcode {
            write!(f, "{opcode}: ")?;
        }
        write!(f, "{}", self.0.kind)?;
        match self.offset() {
            Some(offset) => write!(f, ", at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for SerdeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerdeError")
            .field("kind", &self.0.kind)
            .field("path", &self.path())
            .field("offset", &self.offset())
            .field("opcode", &self.0.opcode)
            .finish()
    }
}

impl std::error::Error for SerdeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            SerdeErrorKind::Pickle(ErrorKind::Io(error)) => Some(error),
            _ => None,
        }
    }
}

impl From<picklet_codec::Error> for SerdeError {
    fn from(error: picklet_codec::Error) -> Self {
        let (offset, opcode) = (error.offset(), error.opcode());
        let mut own = Self::new(SerdeErrorKind::Pickle(error.into_kind()));
        own.0.offset = offset.unwrap_or(u64::MAX);
        own.0.opcode = opcode;
        own
    }
}

impl From<std::io::Error> for SerdeError {
    fn from(error: std::io::Error) -> Self {
        Self::new(SerdeErrorKind::Pickle(ErrorKind::Io(error)))
    }
}

impl serde::de::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(SerdeErrorKind::Message(message.to_string().into()))
    }
}

impl serde::ser::Error for SerdeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(SerdeErrorKind::Message(message.to_string().into()))
    }
}
