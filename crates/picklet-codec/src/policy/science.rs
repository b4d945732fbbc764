//! The part of the `data` policy that is scipy's sparse matrices and joblib's wrapper of arrays.

use super::shape::{Entry, Kind, Makes, Sound, State, each, mention};

use Kind::{Bool, Every, Int, Made, OneOf};

const ARRAY: Kind = Made(Makes::Array);

const SPARSE: State = State::Fields(&[
    ("_shape", Every(&OneOf(&[Int, Made(Makes::NumpyScalar)]))),
    ("maxprint", Int),
    ("indices", ARRAY),
    ("indptr", ARRAY),
    ("data", ARRAY),
    ("row", ARRAY),
    ("col", ARRAY),
    ("coords", Every(&ARRAY)),
    ("offsets", ARRAY),
    ("_has_canonical_format", Bool),
    ("_has_sorted_indices", Bool),
    ("has_canonical_format", Bool),
]);

const fn sparse() -> Entry {
    mention("", "")
        .remade_with(SPARSE)
        .needing_state()
        .making(Makes::SparseMatrix)
        .checked(Sound::SparseMatrix)
}

/// Sparse matrices and arrays whose parts are arrays of numbers.
#[rustfmt::skip]
pub(super) static SPARSE_MATRICES: &[Entry] = &each(sparse(), [
    ("scipy.sparse._csr", "csr_matrix"), ("scipy.sparse._csr", "csr_array"),
    ("scipy.sparse._csc", "csc_matrix"), ("scipy.sparse._csc", "csc_array"),
    ("scipy.sparse._coo", "coo_matrix"), ("scipy.sparse._coo", "coo_array"),
    ("scipy.sparse._bsr", "bsr_matrix"), ("scipy.sparse._bsr", "bsr_array"),
    ("scipy.sparse._dia", "dia_matrix"), ("scipy.sparse._dia", "dia_array"),
    ("scipy.sparse._arrays", "csr_array"), ("scipy.sparse._arrays", "csc_array"),
    ("scipy.sparse._arrays", "coo_array"), ("scipy.sparse._arrays", "bsr_array"),
    ("scipy.sparse._arrays", "dia_array"),
    ("scipy.sparse.csr", "csr_matrix"), ("scipy.sparse.csc", "csc_matrix"),
    ("scipy.sparse.coo", "coo_matrix"), ("scipy.sparse.bsr", "bsr_matrix"),
    ("scipy.sparse.dia", "dia_matrix"),
]);

/// What joblib puts where an array's bytes follow in the file. It holds no more than a
/// description; only joblib reads the bytes.
pub(super) static JOBLIB: &[Entry] = &[mention("joblib.numpy_pickle", "NumpyArrayWrapper")
    .remade_with(State::Fields(&[
        ("subclass", Kind::ClassOf(Makes::Array)),
        ("shape", Every(&Int)),
        ("order", OneOf(&[Kind::Text("C"), Kind::Text("F")])),
        ("dtype", Made(Makes::Dtype)),
        ("allow_mmap", Bool),
        ("numpy_array_alignment_bytes", OneOf(&[Kind::None, Int])),
    ]))];
