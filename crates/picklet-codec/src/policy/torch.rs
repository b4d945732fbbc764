//! The `torch` policy: state dicts, tensors and parameters, as `torch.save` writes them.
//!
//! A tensor is made of a storage, which is a persistent id: the file's container, or the caller's
//! `persistent_load`, gives it. `torch` itself checks that size and strides stay within it.

use super::shape::{Args, Entry, Kind, Makes, call, each, mention};

use Args::Exactly;
use Kind::{Any, Bool, Every, Int, Keys, OneOf, Str};

/// The storage that a persistent id stands for: what the pickle's reader made of it.
const STORAGE: Kind = Any;
const SIZE: Kind = Every(&Int);
const HOOKS: Kind = OneOf(&[Kind::None, Kind::Made(Makes::OrderedDict)]);
/// Whether the numbers are to be read as their conjugates or negatives.
const BITS: Kind = OneOf(&[Kind::None, Keys(&[("conj", Bool), ("neg", Bool)])]);
/// A numeric type that has no storage of its own.
const DTYPE: Kind = Kind::ClassOf(Makes::TorchType);
const TENSOR: Kind = Kind::Made(Makes::Tensor);

/// Storages and numeric types, which are only named.
#[rustfmt::skip]
pub(super) static TORCH_NAMES: &[Entry] = &each(mention("", "").making(Makes::TorchType), [
    ("torch", "FloatStorage"), ("torch", "DoubleStorage"), ("torch", "HalfStorage"),
    ("torch", "BFloat16Storage"), ("torch", "LongStorage"), ("torch", "IntStorage"),
    ("torch", "ShortStorage"), ("torch", "CharStorage"), ("torch", "ByteStorage"),
    ("torch", "BoolStorage"), ("torch", "ComplexFloatStorage"), ("torch", "ComplexDoubleStorage"),
    ("torch", "QInt8Storage"), ("torch", "QUInt8Storage"), ("torch", "QInt32Storage"),
    ("torch.storage", "UntypedStorage"), ("torch.storage", "TypedStorage"),
    ("torch", "UntypedStorage"),
    ("torch", "float16"), ("torch", "float32"), ("torch", "float64"), ("torch", "bfloat16"),
    ("torch", "uint8"), ("torch", "int8"), ("torch", "int16"), ("torch", "int32"),
    ("torch", "int64"), ("torch", "bool"), ("torch", "complex64"), ("torch", "complex128"),
    ("torch", "uint16"), ("torch", "uint32"), ("torch", "uint64"), ("torch", "complex32"),
    ("torch", "float8_e4m3fn"), ("torch", "float8_e4m3fnuz"), ("torch", "float8_e5m2"),
    ("torch", "float8_e5m2fnuz"), ("torch", "float8_e8m0fnu"),
]);

/// What makes tensors, parameters and the small values beside them.
pub(super) static TENSORS: &[Entry] = &[
    call("torch._utils", "_rebuild_tensor", &[Exactly(&[STORAGE, Int, SIZE, SIZE])])
        .making(Makes::Tensor),
    call(
        "torch._utils",
        "_rebuild_tensor_v2",
        &[
            Exactly(&[STORAGE, Int, SIZE, SIZE, Bool, HOOKS]),
            Exactly(&[STORAGE, Int, SIZE, SIZE, Bool, HOOKS, BITS]),
        ],
    )
    .making(Makes::Tensor),
    call(
        "torch._utils",
        "_rebuild_tensor_v3",
        &[
            Exactly(&[STORAGE, Int, SIZE, SIZE, Bool, HOOKS, DTYPE]),
            Exactly(&[STORAGE, Int, SIZE, SIZE, Bool, HOOKS, DTYPE, BITS]),
        ],
    )
    .making(Makes::Tensor),
    call("torch._utils", "_rebuild_parameter", &[Exactly(&[TENSOR, Bool, HOOKS])])
        .making(Makes::Tensor),
    call("torch", "Size", &[Exactly(&[SIZE])]),
    call("torch", "device", &[Exactly(&[Str]), Exactly(&[Str, Int])]),
];
