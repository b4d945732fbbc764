//! The part of the `data` policy that is scipy's sparse matrices and joblib's wrapper of arrays.

use super::shape::{Entry, Kind, Makes, Sound, State, each, mention};

use Kind::{Bool, Dict, Every, Int, Made, OneOf};

const ARRAY: Kind = Made(Makes::Array);

const SIDE: Kind = OneOf(&[Int, Made(Makes::NumpyScalar)]);

const SPARSE: State = State::Fields(&[
    ("_shape", Every(&SIDE)),
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

/// Lists of columns and of values, one of each for a row.
const LISTS: State = State::Fields(&[
    ("_shape", Every(&SIDE)),
    ("maxprint", Int),
    ("dtype", Made(Makes::Dtype)),
    ("rows", ARRAY),
    ("data", ARRAY),
]);

/// Values by their row and column.
const KEYED: State = State::Fields(&[
    ("_shape", Every(&SIDE)),
    ("maxprint", Int),
    ("dtype", Made(Makes::Dtype)),
    ("_dict", Dict),
]);

const fn sparse(state: State, makes: Makes) -> Entry {
    mention("", "").remade_with(state).needing_state().making(makes).checked(Sound::SparseMatrix)
}

/// Sparse matrices and arrays whose parts are arrays of numbers.
#[rustfmt::skip]
pub(super) static SPARSE_MATRICES: &[Entry] = &each(sparse(SPARSE, Makes::SparseMatrix), [
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

#[rustfmt::skip]
pub(super) static SPARSE_LISTS: &[Entry] = &each(sparse(LISTS, Makes::SparseMatrix), [
    ("scipy.sparse._lil", "lil_matrix"), ("scipy.sparse._lil", "lil_array"),
    ("scipy.sparse._arrays", "lil_array"), ("scipy.sparse.lil", "lil_matrix"),
]);

/// Made by `copyreg._reconstructor` of a dict, which is their content in scipy before 1.11.
#[rustfmt::skip]
pub(super) static SPARSE_DICTS: &[Entry] = &each(sparse(KEYED, Makes::DictSparseMatrix), [
    ("scipy.sparse._dok", "dok_matrix"), ("scipy.sparse._dok", "dok_array"),
    ("scipy.sparse._arrays", "dok_array"), ("scipy.sparse.dok", "dok_matrix"),
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
