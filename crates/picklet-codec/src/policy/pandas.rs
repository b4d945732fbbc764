//! The part of the `data` policy that is pandas: frames, series, indexes, its arrays, dtypes,
//! points in time and offsets, as versions 1.0 to 3 pickle them, and pyarrow's flat arrays
//! under them.
//!
//! pandas' own state-setters believe what they are given: where a frame's columns lie and which
//! category a code means become places in memory. What shapes cannot tell is checked by the
//! loader on the live objects ([`Sound`]).

use super::shape::{Args, Class, Entry, Kind, Makes, Sound, State, call, each, mention};

use Args::{Each, Exactly};
use Kind::{Any, Bool, Dict, Every, Int, IntBelow, IntOrNone, Keys, Made, OneOf, Scalar, Str};
use Kind::{Text, TupleOf};

const NONE: Kind = Kind::None;
const MISSING: Kind =
    OneOf(&[Kind::Global("pandas._libs.missing", "NA"), Kind::Global("pandas", "NA")]);
const ARRAY: Kind = Made(Makes::Array);
const INDEX: Kind = Made(Makes::Index);
const DTYPE: Kind = OneOf(&[Made(Makes::ExtensionDtype), Made(Makes::Dtype)]);
const ZONE: Kind = OneOf(&[NONE, Made(Makes::TimeZone), Kind::NoPath]);
const FREQUENCY: Kind = OneOf(&[NONE, Made(Makes::Offset), Str]);
/// What a column or an index holds.
const VALUES: Kind = OneOf(&[ARRAY, Made(Makes::ExtensionArray), INDEX]);
/// A bound of an interval, a fill value.
const ONE: Kind =
    OneOf(&[Scalar, Made(Makes::Time), Made(Makes::TimeDelta), Made(Makes::NumpyScalar)]);

const READ_ONLY: (&str, Kind) = ("_readonly", Bool);
/// Attributes that are computed anew when they are missing: the loader empties them.
const CACHE: (&str, Kind) = ("_cache", Dict);

const FRAME: State = State::Fields(&[
    ("_mgr", Made(Makes::Manager)),
    ("_data", Made(Makes::Manager)),
    ("_typ", OneOf(&[Text("dataframe"), Text("series")])),
    ("_metadata", Every(&OneOf(&[Text("name"), Text("_name")]))),
    ("attrs", Dict),
    ("_flags", Keys(&[("allows_duplicate_labels", Bool)])),
    ("name", Any),
    ("_name", Any),
]);

const fn frame() -> Entry {
    mention("", "").remade_with(FRAME).needing_state().making(Makes::Frame).checked(Sound::Frame)
}

/// Frames and series.
pub(super) static FRAMES: &[Entry] = &each(
    frame(),
    [
        ("pandas", "DataFrame"),
        ("pandas", "Series"),
        ("pandas.core.frame", "DataFrame"),
        ("pandas.core.series", "Series"),
    ],
);

/// `(axes, values, items, {'0.14.1': {…}})`: only the last is read.
const MANAGER: State = State::Is(TupleOf(&[
    Every(&INDEX),
    Every(&VALUES),
    Every(&Any),
    Keys(&[(
        "0.14.1",
        Keys(&[
            ("axes", Every(&INDEX)),
            (
                "blocks",
                Every(&Keys(&[
                    ("values", VALUES),
                    ("mgr_locs", OneOf(&[Made(Makes::Slice), ARRAY])),
                ])),
            ),
        ]),
    )]),
]));

const fn manager() -> Entry {
    call(
        "",
        "",
        &[
            Exactly(&[Every(&Made(Makes::Block)), Every(&INDEX)]),
            Exactly(&[Made(Makes::Block), INDEX]),
        ],
    )
    .remade_with(MANAGER)
    .needing_state()
    .making(Makes::Manager)
    .checked(Sound::Manager)
}

/// What holds a frame's columns.
pub(super) static MANAGERS: &[Entry] = &each(
    manager(),
    [
        ("pandas.core.internals.managers", "BlockManager"),
        ("pandas.core.internals.managers", "SingleBlockManager"),
        ("pandas.core.internals", "BlockManager"),
        ("pandas.core.internals", "SingleBlockManager"),
    ],
);

/// The attributes that an index is made of.
const INDEX_ATTRIBUTES: Kind = Keys(&[
    ("data", VALUES),
    ("name", Any),
    ("names", Every(&Any)),
    ("levels", Every(&VALUES)),
    ("codes", Every(&ARRAY)),
    ("labels", Every(&ARRAY)),
    ("sortorder", IntOrNone),
    ("start", Int),
    ("stop", Int),
    ("step", Int),
    ("freq", FREQUENCY),
    ("tz", ZONE),
    ("left", VALUES),
    ("right", VALUES),
    ("closed", OneOf(&[NONE, Str])),
    ("dtype", OneOf(&[Str, DTYPE])),
    ("categories", INDEX),
    ("ordered", Bool),
]);

const NEW_INDEX: &[Args] = &[Exactly(&[Kind::ClassOf(Makes::Index), INDEX_ATTRIBUTES])];

const fn new_index(module: &'static str, name: &'static str) -> Entry {
    call(module, name, NEW_INDEX).of(Class::Argument(0))
}

const fn index() -> Entry {
    mention("", "").making(Makes::Index).checked(Sound::Index)
}

/// Indexes.
pub(super) static INDEXES: &[Entry] = &each(
    index(),
    [
        ("pandas", "Index"),
        ("pandas", "RangeIndex"),
        ("pandas", "MultiIndex"),
        ("pandas", "DatetimeIndex"),
        ("pandas", "TimedeltaIndex"),
        ("pandas", "PeriodIndex"),
        ("pandas", "IntervalIndex"),
        ("pandas", "CategoricalIndex"),
        ("pandas.core.indexes.base", "Index"),
        ("pandas.core.indexes.range", "RangeIndex"),
        ("pandas.core.indexes.numeric", "Int64Index"),
        ("pandas.core.indexes.numeric", "UInt64Index"),
        ("pandas.core.indexes.numeric", "Float64Index"),
        ("pandas.core.indexes.multi", "MultiIndex"),
        ("pandas.core.indexes.datetimes", "DatetimeIndex"),
        ("pandas.core.indexes.timedeltas", "TimedeltaIndex"),
        ("pandas.core.indexes.period", "PeriodIndex"),
        ("pandas.core.indexes.interval", "IntervalIndex"),
        ("pandas.core.indexes.category", "CategoricalIndex"),
    ],
);

/// `(array, dtype, {…})` in either order, with or without the rest; or a dict of the same.
const ARRAY_BACKED: State = State::Is(OneOf(&[
    TupleOf(&[ARRAY, DTYPE]),
    TupleOf(&[DTYPE, ARRAY]),
    TupleOf(&[ARRAY, DTYPE, REST]),
    TupleOf(&[DTYPE, ARRAY, REST]),
    TupleOf(&[ATTRIBUTES]),
    ATTRIBUTES,
]));
const REST: Kind = Keys(&[("_freq", FREQUENCY), READ_ONLY, CACHE]);
const ATTRIBUTES: Kind = Keys(&[
    ("_ndarray", ARRAY),
    ("_data", ARRAY),
    ("_codes", ARRAY),
    ("_dtype", DTYPE),
    ("_freq", FREQUENCY),
    READ_ONLY,
    CACHE,
]);

const fn array_backed() -> Entry {
    extension(ARRAY_BACKED, Sound::ArrayBacked)
}

const fn extension(state: State, sound: Sound) -> Entry {
    mention("", "").remade_with(state).needing_state().making(Makes::ExtensionArray).checked(sound)
}

/// Arrays over one of numpy's.
pub(super) static ARRAY_BACKED_ARRAYS: &[Entry] = &each(
    array_backed(),
    [
        ("pandas", "Categorical"),
        ("pandas.arrays", "DatetimeArray"),
        ("pandas.arrays", "TimedeltaArray"),
        ("pandas.arrays", "PeriodArray"),
        ("pandas.arrays", "StringArray"),
        ("pandas.arrays", "NumpyExtensionArray"),
        ("pandas.core.arrays.categorical", "Categorical"),
        ("pandas.core.arrays.datetimes", "DatetimeArray"),
        ("pandas.core.arrays.timedeltas", "TimedeltaArray"),
        ("pandas.core.arrays.period", "PeriodArray"),
        ("pandas.core.arrays.string_", "StringArray"),
        ("pandas.core.arrays.string_", "StringArrayNumpySemantics"),
        ("pandas.core.arrays.numpy_", "PandasArray"),
        ("pandas.core.arrays.numpy_", "NumpyExtensionArray"),
    ],
);

const MASKED: State =
    State::Fields(&[("_data", ARRAY), ("_mask", ARRAY), ("_dtype", DTYPE), READ_ONLY, CACHE]);

/// Arrays of data and a mask.
pub(super) static MASKED_ARRAYS: &[Entry] = &each(
    extension(MASKED, Sound::Masked),
    [
        ("pandas.arrays", "IntegerArray"),
        ("pandas.arrays", "FloatingArray"),
        ("pandas.arrays", "BooleanArray"),
        ("pandas.core.arrays.integer", "IntegerArray"),
        ("pandas.core.arrays.floating", "FloatingArray"),
        ("pandas.core.arrays.boolean", "BooleanArray"),
    ],
);

const INTERVAL: Kind = Keys(&[
    ("_left", VALUES),
    ("_right", VALUES),
    ("_closed", Str),
    ("_dtype", DTYPE),
    READ_ONLY,
    CACHE,
]);
const SPARSE: State = State::Fields(&[
    ("_sparse_index", Made(Makes::SparseIndex)),
    ("_sparse_values", ARRAY),
    ("_dtype", DTYPE),
    READ_ONLY,
    CACHE,
]);
const ARROW: State = State::Fields(&[
    ("_pa_array", Made(Makes::ArrowArray)),
    ("_data", Made(Makes::ArrowArray)),
    ("_dtype", DTYPE),
    READ_ONLY,
    CACHE,
]);

const fn named(mut entry: Entry, module: &'static str, name: &'static str) -> Entry {
    entry.module = module;
    entry.name = name;
    entry
}

const fn interval_array() -> Entry {
    let state = State::Is(OneOf(&[INTERVAL, TupleOf(&[INTERVAL])]));
    extension(state, Sound::Interval)
}

const fn arrow_array() -> Entry {
    extension(ARROW, Sound::ArrowBacked)
}

/// The other arrays, and the functions that make what waits for a state.
pub(super) static ARRAYS: &[Entry] = &[
    named(interval_array(), "pandas.arrays", "IntervalArray"),
    named(interval_array(), "pandas.core.arrays.interval", "IntervalArray"),
    named(extension(SPARSE, Sound::Sparse), "pandas.arrays", "SparseArray"),
    named(extension(SPARSE, Sound::Sparse), "pandas.core.arrays.sparse.array", "SparseArray"),
    named(arrow_array(), "pandas.arrays", "ArrowStringArray"),
    named(arrow_array(), "pandas.arrays", "ArrowExtensionArray"),
    named(arrow_array(), "pandas.core.arrays.string_arrow", "ArrowStringArray"),
    named(arrow_array(), "pandas.core.arrays.string_arrow", "ArrowStringArrayNumpySemantics"),
    named(arrow_array(), "pandas.core.arrays.arrow.array", "ArrowExtensionArray"),
    call("pandas._libs.sparse", "IntIndex", &[Exactly(&[Int, ARRAY])]).making(Makes::SparseIndex),
    call("pandas._libs.sparse", "BlockIndex", &[Exactly(&[Int, ARRAY, ARRAY])])
        .making(Makes::SparseIndex),
    unpickler("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
    unpickler("pandas._libs.tslibs.period", "__pyx_unpickle_PeriodMixin"),
    unpickler("pandas._libs.interval", "__pyx_unpickle_IntervalMixin"),
    new_index("pandas.core.indexes.base", "_new_Index"),
    new_index("pandas.core.indexes.datetimes", "_new_DatetimeIndex"),
    new_index("pandas.core.indexes.timedeltas", "_new_TimedeltaIndex"),
    new_index("pandas.core.indexes.period", "_new_PeriodIndex"),
    new_index("pandas.core.indexes.interval", "_new_IntervalIndex"),
    call(
        "pandas._libs.internals",
        "_unpickle_block",
        &[Exactly(&[VALUES, OneOf(&[Made(Makes::Slice), ARRAY]), IntBelow(3)])],
    )
    .making(Makes::Block)
    .checked(Sound::Block),
    call("pandas.core.indexes.frozen", "FrozenList", &[Exactly(&[]), Exactly(&[Kind::List])]),
];

/// Cython's helpers: `(class, checksum, None)`, and then BUILD.
const fn unpickler(module: &'static str, name: &'static str) -> Entry {
    let args = &[Exactly(&[Kind::ClassOf(Makes::ExtensionArray), Int, NONE])];
    let mut entry = call(module, name, args).of(Class::Argument(0));
    entry.needs_state = true;
    entry
}

const DTYPE_STATE: State = State::Fields(&[
    ("categories", OneOf(&[NONE, INDEX])),
    ("ordered", OneOf(&[NONE, Bool])),
    ("unit", Str),
    ("tz", ZONE),
    ("freq", FREQUENCY),
    ("subtype", OneOf(&[NONE, DTYPE])),
    ("_subtype", OneOf(&[NONE, DTYPE])),
    ("closed", OneOf(&[NONE, Str])),
    ("_closed", OneOf(&[NONE, Str])),
    ("_dtype", DTYPE),
    ("_name", Str),
    ("_type", Kind::ClassOf(Makes::NumpyScalar)),
    ("_fill_value", ONE),
    ("storage", Str),
    ("_storage", Str),
    ("_na_value", OneOf(&[Kind::Float, MISSING])),
    ("_metadata", Every(&Str)),
    ("pyarrow_dtype", Made(Makes::ArrowType)),
    CACHE,
]);

const fn dtype() -> Entry {
    call(
        "",
        "",
        &[
            Exactly(&[Kind::NoPath]),
            Exactly(&[Made(Makes::Offset)]),
            Exactly(&[Made(Makes::Dtype)]),
            Exactly(&[Made(Makes::ArrowType)]),
            Exactly(&[OneOf(&[NONE, Str]), OneOf(&[Kind::Float, MISSING])]),
        ],
    )
    .remade_with(DTYPE_STATE)
    .making(Makes::ExtensionDtype)
    .checked(Sound::Cache)
}

/// pandas' dtypes.
pub(super) static DTYPES: &[Entry] = &each(
    dtype(),
    [
        ("pandas", "CategoricalDtype"),
        ("pandas", "DatetimeTZDtype"),
        ("pandas", "PeriodDtype"),
        ("pandas", "IntervalDtype"),
        ("pandas", "SparseDtype"),
        ("pandas", "StringDtype"),
        ("pandas", "BooleanDtype"),
        ("pandas", "ArrowDtype"),
        ("pandas", "Int8Dtype"),
        ("pandas", "Int16Dtype"),
        ("pandas", "Int32Dtype"),
        ("pandas", "Int64Dtype"),
        ("pandas", "UInt8Dtype"),
        ("pandas", "UInt16Dtype"),
        ("pandas", "UInt32Dtype"),
        ("pandas", "UInt64Dtype"),
        ("pandas", "Float32Dtype"),
        ("pandas", "Float64Dtype"),
        ("pandas.core.dtypes.dtypes", "CategoricalDtype"),
        ("pandas.core.dtypes.dtypes", "DatetimeTZDtype"),
        ("pandas.core.dtypes.dtypes", "PeriodDtype"),
        ("pandas.core.dtypes.dtypes", "IntervalDtype"),
        ("pandas.core.dtypes.dtypes", "SparseDtype"),
        ("pandas.core.dtypes.dtypes", "PandasDtype"),
        ("pandas.core.dtypes.dtypes", "NumpyEADtype"),
        ("pandas.core.dtypes.dtypes", "ArrowDtype"),
        ("pandas.core.arrays.sparse.dtype", "SparseDtype"),
        ("pandas.core.arrays.numpy_", "PandasDtype"),
        ("pandas.core.arrays.arrow.dtype", "ArrowDtype"),
        ("pandas.core.arrays.string_", "StringDtype"),
        ("pandas.core.arrays.boolean", "BooleanDtype"),
        ("pandas.core.arrays.integer", "Int8Dtype"),
        ("pandas.core.arrays.integer", "Int16Dtype"),
        ("pandas.core.arrays.integer", "Int32Dtype"),
        ("pandas.core.arrays.integer", "Int64Dtype"),
        ("pandas.core.arrays.integer", "UInt8Dtype"),
        ("pandas.core.arrays.integer", "UInt16Dtype"),
        ("pandas.core.arrays.integer", "UInt32Dtype"),
        ("pandas.core.arrays.integer", "UInt64Dtype"),
        ("pandas.core.arrays.floating", "Float32Dtype"),
        ("pandas.core.arrays.floating", "Float64Dtype"),
    ],
);

const TIMESTAMP_ZONE: Kind = OneOf(&[NONE, Made(Makes::TimeZone)]);
/// numpy's units from seconds to nanoseconds.
const UNIT: Kind = IntBelow(11);

const fn timestamp(module: &'static str, name: &'static str) -> Entry {
    call(
        module,
        name,
        &[
            Exactly(&[Int, FREQUENCY, TIMESTAMP_ZONE]),
            Exactly(&[Int, FREQUENCY, TIMESTAMP_ZONE, UNIT]),
        ],
    )
    .making(Makes::Time)
}

/// Points in time and their kin.
pub(super) static TIMES: &[Entry] = &[
    timestamp("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"),
    timestamp("pandas._libs.tslibs.timestamps", "Timestamp"),
    timestamp("pandas", "Timestamp"),
    call(
        "pandas._libs.tslibs.timedeltas",
        "_timedelta_unpickle",
        &[Exactly(&[Int]), Exactly(&[Int, UNIT])],
    )
    .making(Makes::Time),
    call("pandas._libs.tslibs.timedeltas", "Timedelta", &[Exactly(&[Int])]).making(Makes::Time),
    call("pandas", "Timedelta", &[Exactly(&[Int])]).making(Makes::Time),
    call("pandas._libs.tslibs.period", "Period", PERIOD).making(Makes::Time),
    call("pandas", "Period", PERIOD).making(Makes::Time),
    call("pandas._libs.interval", "Interval", INTERVAL_ARGS).making(Makes::Time),
    call("pandas", "Interval", INTERVAL_ARGS).making(Makes::Time),
    call("pandas._libs.tslibs.nattype", "__nat_unpickle", &[Exactly(&[NONE])]).making(Makes::Time),
    call("pandas._libs.tslibs.nattype", "_nat_unpickle", &[Exactly(&[NONE])]).making(Makes::Time),
    mention("pandas._libs.missing", "NA"),
    mention("pandas", "NA"),
    call("pytz", "_UTC", &[Exactly(&[])]).making(Makes::TimeZone),
    call("pytz", "_p", &[Exactly(&[Str]), Exactly(&[Str, Int, Int, Str])]).making(Makes::TimeZone),
    call("dateutil.tz.tz", "tzutc", &[Exactly(&[])])
        .remade_with(State::Refused)
        .making(Makes::TimeZone),
];

const PERIOD: &[Args] = &[Exactly(&[NONE, Made(Makes::Offset), Int])];
const INTERVAL_ARGS: &[Args] = &[Exactly(&[ONE, ONE, Str])];

/// What offsets are made of: numbers, flags, times of day.
const OFFSET_PART: Kind = OneOf(&[
    Scalar,
    Made(Makes::Time),
    Made(Makes::TimeDelta),
    Every(&OneOf(&[Scalar, Made(Makes::Time), Made(Makes::NumpyScalar)])),
]);

const OFFSET_STATE: State = State::Fields(&[
    ("n", Int),
    ("normalize", Bool),
    ("kwds", Dict),
    ("_offset", OneOf(&[Made(Makes::Offset), Made(Makes::TimeDelta)])),
    ("offset", OneOf(&[Made(Makes::Offset), Made(Makes::TimeDelta)])),
    ("_use_relativedelta", Bool),
    ("startingMonth", Int),
    ("month", IntOrNone),
    ("weekday", IntOrNone),
    ("week", Int),
    ("day_of_month", Int),
    ("variation", Str),
    ("weekmask", Str),
    ("holidays", Every(&Made(Makes::NumpyScalar))),
    ("calendar", NONE),
    ("start", OFFSET_PART),
    ("end", OFFSET_PART),
    ("years", Int),
    ("months", Int),
    ("weeks", Int),
    ("days", Int),
    ("hours", Int),
    ("minutes", Int),
    ("seconds", Int),
    ("milliseconds", Int),
    ("microseconds", Int),
    ("nanoseconds", Int),
    ("year", IntOrNone),
    ("day", IntOrNone),
    ("hour", IntOrNone),
    ("minute", IntOrNone),
    ("second", IntOrNone),
    ("microsecond", IntOrNone),
    ("nanosecond", IntOrNone),
    ("leapdays", Int),
    ("_has_time", Int),
    CACHE,
]);

const fn offset() -> Entry {
    call("", "", &[Each(OFFSET_PART)])
        .remade_with(OFFSET_STATE)
        .making(Makes::Offset)
        .checked(Sound::Cache)
}

macro_rules! offsets {
    ($($name:literal)*) => {
        &each(offset(), [
            $(("pandas._libs.tslibs.offsets", $name), ("pandas.tseries.offsets", $name),)*
            ("pandas", "DateOffset"),
            ("dateutil.relativedelta", "relativedelta"),
        ])
    };
}

/// Offsets, whose names are of two modules, and what one of them is made of.
pub(super) static OFFSETS: &[Entry] = offsets![
    "DateOffset" "Day" "Hour" "Minute" "Second" "Milli" "Micro" "Nano" "BusinessDay"
    "BusinessHour" "BusinessMonthBegin" "BusinessMonthEnd" "CustomBusinessDay"
    "CustomBusinessHour" "CustomBusinessMonthBegin" "CustomBusinessMonthEnd" "MonthBegin"
    "MonthEnd" "SemiMonthBegin" "SemiMonthEnd" "QuarterBegin" "QuarterEnd" "BQuarterBegin"
    "BQuarterEnd" "YearBegin" "YearEnd" "BYearBegin" "BYearEnd" "HalfYearBegin" "HalfYearEnd"
    "BHalfYearBegin" "BHalfYearEnd" "Week" "WeekOfMonth" "LastWeekOfMonth" "FY5253"
    "FY5253Quarter" "Easter"
];

/// `(type, length, nulls, offset, buffers, children, dictionary)`: flat ones only.
const ARROW_DATA: Kind = TupleOf(&[
    Made(Makes::ArrowType),
    IntBelow(1 << 48),
    Int,
    IntBelow(1 << 48),
    Every(&OneOf(&[NONE, Made(Makes::ArrowBuffer)])),
    Every(&NONE),
    NONE,
]);

/// pyarrow's flat arrays, which pandas' strings and arrow columns are made of.
pub(super) static PYARROW: &[Entry] = &[
    call("pyarrow.lib", "type_for_alias", &[Exactly(&[Str])]).making(Makes::ArrowType),
    call("pyarrow.lib", "timestamp", &[Exactly(&[Str]), Exactly(&[Str, OneOf(&[NONE, Str])])])
        .making(Makes::ArrowType),
    call("pyarrow.lib", "duration", &[Exactly(&[Str])]).making(Makes::ArrowType),
    call("pyarrow.lib", "py_buffer", &[Exactly(&[Kind::Buffer])]).making(Makes::ArrowBuffer),
    call("pyarrow.lib", "_restore_array", &[Exactly(&[ARROW_DATA])])
        .making(Makes::ArrowArray)
        .checked(Sound::Arrow),
    call(
        "pyarrow.lib",
        "chunked_array",
        &[
            Exactly(&[Every(&Made(Makes::ArrowArray))]),
            Exactly(&[Every(&Made(Makes::ArrowArray)), Made(Makes::ArrowType)]),
        ],
    )
    .making(Makes::ArrowArray),
];
