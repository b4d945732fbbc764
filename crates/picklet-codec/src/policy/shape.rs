//! What a policy's table is written in: kinds of arguments, call shapes, states.

/// What one argument must be. Types are exact: a subclass is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any object that the load has made.
    Any,
    /// `None`, `bool`, `int`, `float` or `str`.
    Scalar,
    /// `None`.
    None,
    /// `bool`.
    Bool,
    /// `int` or `bool`.
    Int,
    /// `int` of at most [`SMALL_INT_BITS`] bits: what is done with it is not linear.
    SmallInt,
    /// `int` from 0 up to, but not including, this.
    IntBelow(i64),
    /// `float`.
    Float,
    /// `str`.
    Str,
    /// `str` without `dateutil/` in it: as a time zone's name that is a file's path.
    NoPath,
    /// `str` of digits, at most [`NUMERAL_DIGITS`], with one `/` or a leading `-` allowed.
    Numeral,
    /// `bytes`.
    Bytes,
    /// `bytes`, or the `str` that Python 2's bytes become.
    BytesOrStr,
    /// `bytes`, `bytearray`, or an out-of-band buffer.
    Buffer,
    /// `list`.
    List,
    /// `list` or `tuple`.
    Sequence,
    /// `tuple`.
    Tuple,
    /// `dict`.
    Dict,
    /// `None` or `int`.
    IntOrNone,
    /// `None`, or one of the built-in types that make an empty value when called.
    Factory,
    /// One of `None`, `...` and `NotImplemented`.
    Singleton,
    /// Exactly this text.
    Text(&'static str),
    /// Exactly this global.
    Global(&'static str, &'static str),
    /// A listed class whose objects are of this sort.
    ClassOf(Makes),
    /// An object of this sort, whole: its state, if it needs one, has arrived.
    Made(Makes),
    /// A class that may be made with `copyreg`'s helper: its entry has `remade` set.
    RemadeClass,
    /// One of these.
    OneOf(&'static [Kind]),
    /// `tuple` of exactly these.
    TupleOf(&'static [Kind]),
    /// `list` or `tuple`, every item of which is of this kind.
    Every(&'static Kind),
    /// `dict` with none but these keys, each value of its kind.
    Keys(&'static [(&'static str, Kind)]),
}

/// Bits of a [`Kind::SmallInt`].
pub const SMALL_INT_BITS: u64 = 1 << 14;
/// Characters of a [`Kind::Numeral`]; CPython's own limit for decimal text.
pub const NUMERAL_DIGITS: usize = 4300;

/// Sorts of objects that other entries ask for by [`Kind::Made`] and [`Kind::ClassOf`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Makes {
    /// Nothing that any entry asks for.
    Other,
    /// numpy's dtypes.
    Dtype,
    /// numpy's arrays, those of its own subclasses among them.
    Array,
    /// numpy's scalars.
    NumpyScalar,
    /// A pair of bounds and a step.
    Slice,
    /// An ordered dict.
    OrderedDict,
    /// A span of time.
    TimeDelta,
    /// A time zone.
    TimeZone,
    /// A point in time, its kin, and pandas' marks for a missing one.
    Time,
    /// pandas' date offsets.
    Offset,
    /// pandas' dtypes.
    ExtensionDtype,
    /// pandas' arrays.
    ExtensionArray,
    /// pandas' indexes.
    Index,
    /// A piece of a frame.
    Block,
    /// What holds a frame's pieces.
    Manager,
    /// A frame or a series.
    Frame,
    /// Where a sparse array's values stand.
    SparseIndex,
    /// pyarrow's types.
    ArrowType,
    /// pyarrow's buffers.
    ArrowBuffer,
    /// pyarrow's arrays.
    ArrowArray,
    /// scipy's sparse matrices and arrays.
    SparseMatrix,
    /// Those of them that are dicts.
    DictSparseMatrix,
    /// torch's storages.
    Storage,
    /// torch's tensors.
    Tensor,
    /// torch's dtypes, layouts and devices.
    TorchType,
    /// scikit-learn's estimators and what they are made of.
    Estimator,
}

/// The arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Args {
    /// Exactly these.
    Exactly(&'static [Kind]),
    /// Any number of this kind.
    Each(Kind),
    /// Checked by rules of their own: [`Special`].
    Special(Special),
}

/// Calls whose checks do not fit a list of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `numpy.dtype(text, align, copy)`: a type string.
    NumpyDtype,
    /// `numpy…_convert_to_stringdtype_kwargs(coerce, missing)`: numpy 2's strings of any length.
    NumpyStringDtype,
    /// `numpy…scalar(dtype, bytes)`: as many bytes as the dtype says.
    NumpyScalar,
    /// `numpy…_frombuffer(buffer, dtype, shape, order)`: as many bytes as dtype and shape say.
    NumpyFromBuffer,
    /// `numpy…_reconstruct(ndarray, (0,), b'b')`: only the empty array that a state then fills.
    NumpyReconstruct,
    /// `numpy.ma.core._mareconstruct(MaskedArray, ndarray, (0,), 'b')`: as above.
    NumpyMaskedReconstruct,
}

/// What BUILD may give an object of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Refused,
    /// These attributes, each of its kind.
    Fields(&'static [(&'static str, Kind)]),
    /// A dict of any attributes; the class's own handling of it is harmless.
    Attributes,
    /// An object of this kind.
    Is(Kind),
    /// An array's: as many bytes or objects as shape and dtype need.
    NumpyArray,
    /// A masked array's: as above, with a mask of as many bytes as items.
    NumpyMaskedArray,
    /// A dtype's: no field that its flags do not tell of, none beyond its bytes.
    NumpyDtype,
}

/// What may be added to an object of the class after it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grows {
    /// Nothing.
    No,
    /// Items: APPEND, APPENDS.
    Items,
    /// Pairs: SETITEM, SETITEMS.
    Pairs,
}

/// What an object that a call made is, for the states and items that may follow.
#[derive(Debug, Clone, Copy)]
pub enum Class {
    /// The callable is its class, or stands for it.
    Itself,
    /// The class is this argument, counted from 0.
    Argument(u64),
    /// Another entry's.
    Of(&'static Entry),
}

/// What the loader looks at once more when the object is whole, because shapes cannot tell:
/// values that native code takes as places in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// Nothing to look at.
    AsMade,
    /// pandas' arrays over one of numpy's: the dtype fits; codes lie within the categories.
    ArrayBacked,
    /// Data and mask of one shape.
    Masked,
    /// Left and right of one length.
    Interval,
    /// As many values as places.
    Sparse,
    /// An array over one of pyarrow's.
    ArrowBacked,
    /// As many buffers as the type needs; then pyarrow's own full validation.
    Arrow,
    /// A multi-index's codes lie within its levels; others are as their arrays.
    Index,
    /// A block's place is a range that is no larger than the block.
    Block,
    /// Every row has exactly one block, of the length of the axes.
    Manager,
    /// The manager has as many axes as the frame or series.
    Frame,
    /// Computed attributes are computed anew.
    Cache,
    /// Index pointers ascend and indexes lie within the shape.
    SparseMatrix,
    /// Nodes have children behind them, and split by features that there are.
    Tree,
}

impl Sound {
    /// The word by which the loader's checks know it.
    pub fn name(self) -> &'static str {
        match self {
            Sound::AsMade => "as made",
            Sound::ArrayBacked => "array-backed",
            Sound::Masked => "masked",
            Sound::Interval => "interval",
            Sound::Sparse => "sparse",
            Sound::ArrowBacked => "arrow-backed",
            Sound::Arrow => "arrow",
            Sound::Index => "index",
            Sound::Block => "block",
            Sound::Manager => "manager",
            Sound::Frame => "frame",
            Sound::Cache => "cache",
            Sound::SparseMatrix => "sparse matrix",
            Sound::Tree => "tree",
        }
    }
}

/// One global that a policy admits.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its module, by the name that pickles use.
    pub module: &'static str,
    /// Its name in the module.
    pub name: &'static str,
    /// Argument lists it may be called with; none: it may be mentioned, never called.
    pub calls: &'static [Args],
    /// Whether an empty object may be made of the class without calling it (NEWOBJ with no
    /// arguments, or `copyreg._reconstructor`).
    pub remade: bool,
    /// Arguments with which that may also be done, the class's `__new__` taking them for nothing.
    pub news: &'static [Args],
    /// What BUILD may do.
    pub state: State,
    /// Whether an object is unfinished before BUILD: it may not be used until then.
    pub needs_state: bool,
    /// What may be added.
    pub grows: Grows,
    /// What its objects are to other entries.
    pub makes: Makes,
    /// The class of what a call makes.
    pub class: Class,
    /// What a call gives that may itself be called, if that is so.
    pub gives: Option<&'static Entry>,
    /// What the loader checks when an object is whole.
    pub sound: Sound,
}

/// May be named, not called.
pub(super) const fn mention(module: &'static str, name: &'static str) -> Entry {
    Entry {
        module,
        name,
        calls: &[],
        remade: false,
        news: &[],
        state: State::Refused,
        needs_state: false,
        grows: Grows::No,
        makes: Makes::Other,
        class: Class::Itself,
        gives: None,
        sound: Sound::AsMade,
    }
}

/// May be called with these arguments.
pub(super) const fn call(
    module: &'static str,
    name: &'static str,
    calls: &'static [Args],
) -> Entry {
    let mut entry = mention(module, name);
    entry.calls = calls;
    entry
}

/// The same entry under several names, in several modules.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
pub(super) const fn each<const N: usize>(
    entry: Entry,
    names: [(&'static str, &'static str); N],
) -> [Entry; N] {
    let mut entries = [entry; N];
    let mut at = 0;
    while at < N {
        (entries[at].module, entries[at].name) = names[at];
        at += 1;
    }
    entries
}

impl Entry {
    pub(super) const fn growing(mut self, grows: Grows) -> Entry {
        self.grows = grows;
        self
    }

    pub(super) const fn remade_with(mut self, state: State) -> Entry {
        self.remade = true;
        self.state = state;
        self
    }

    pub(super) const fn ignoring(mut self, news: &'static [Args]) -> Entry {
        self.news = news;
        self
    }

    pub(super) const fn with_state(mut self, state: State) -> Entry {
        self.state = state;
        self
    }

    /// An object is no use before its state is there.
    pub(super) const fn needing_state(mut self) -> Entry {
        self.needs_state = true;
        self
    }

    pub(super) const fn making(mut self, makes: Makes) -> Entry {
        self.makes = makes;
        self
    }

    pub(super) const fn of(mut self, class: Class) -> Entry {
        self.class = class;
        self
    }

    pub(super) const fn giving(mut self, entry: &'static Entry) -> Entry {
        self.gives = Some(entry);
        self
    }

    pub(super) const fn checked(mut self, sound: Sound) -> Entry {
        self.sound = sound;
        self
    }

    /// `module.name`.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }
}
