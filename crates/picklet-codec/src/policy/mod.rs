//! Which globals a pickle may import, and how it may call them.
//!
//! A name alone is not safe: bytes smuggled into a `numpy.dtype`'s state crash the interpreter,
//! and `getattr` reaches anything. So an [`Entry`] is a *call shape*: the argument lists that the
//! callable may be given, what state it may be handed, and what may be added to it.
//!
//! A [`Policy`] is a value: some of the built-in tables, and names of the caller's own.
//! [`Policy::rule`] says what it holds of a global, [`Policy::judge`] whether a step (a call, a
//! state, an addition) is as listed. The loader asks about live objects and the scanner about
//! symbols, both through [`Subject`], so that a report and a load cannot disagree. Nothing here
//! touches Python.

mod data;
mod judge;
mod numpy;
mod pandas;
mod science;
mod shape;
mod sklearn;
mod torch;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use rustc_hash::FxBuildHasher;

pub use data::{DATA, FACTORIES};
pub use judge::{Admitted, Dtype, Facts, Nature, Step, Subject, Verdict, fits};
pub use shape::{
    Args, Class, Entry, Grows, Kind, Makes, NUMERAL_DIGITS, SMALL_INT_BITS, Sound, Special, State,
};

/// What a policy says about one global.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Listed in a built-in table, with its call shape.
    Listed(&'static Entry),
    /// Listed by the caller: may be imported and called with anything.
    Vouched,
    /// In a module of which the caller listed all names: as [`Rule::Vouched`], but only what
    /// is defined there, not what the module imports from elsewhere.
    VouchedIfDefinedThere,
    /// Not listed.
    Unlisted,
}

/// The built-in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Builtin {
    /// Python's own data types, the standard library's, numpy's and pandas', scipy's sparse
    /// matrices.
    Data,
    /// Tensors and parameters of torch.
    Torch,
    /// Estimators of scikit-learn.
    Sklearn,
}

impl Builtin {
    /// All of them.
    pub const ALL: &'static [Builtin] = &[Builtin::Data, Builtin::Torch, Builtin::Sklearn];

    /// `data`.
    pub fn name(self) -> &'static str {
        match self {
            Builtin::Data => "data",
            Builtin::Torch => "torch",
            Builtin::Sklearn => "sklearn",
        }
    }

    /// The groups of entries that the policy holds.
    pub fn tables(self) -> &'static [Table] {
        match self {
            Builtin::Data => DATA_TABLES,
            Builtin::Torch => TORCH_TABLES,
            Builtin::Sklearn => SKLEARN_TABLES,
        }
    }

    /// All its entries.
    pub fn entries(self) -> impl Iterator<Item = &'static Entry> {
        self.tables().iter().flat_map(|table| table.entries)
    }

    /// What it admits, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Builtin::Data => {
                "Python's own data types, the standard library's, numpy's arrays, pandas' frames \
                 and scipy's sparse matrices: what nearly every load needs. It is part of every \
                 policy."
            }
            Builtin::Torch => "Tensors and parameters, as in a state dict that `torch.save` wrote.",
            Builtin::Sklearn => {
                "Estimators of scikit-learn. Loading one runs nothing of the pickle's; using it \
                 runs scikit-learn's code on numbers that the pickle chose."
            }
        }
    }

    fn names() -> String {
        let names: Vec<&str> = Builtin::ALL.iter().map(|builtin| builtin.name()).collect();
        names.join(", ")
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Builtin {
    type Err = String;

    fn from_str(name: &str) -> Result<Builtin, String> {
        Builtin::ALL.iter().copied().find(|builtin| builtin.name() == name).ok_or_else(|| {
            format!("no built-in policy is called {name:?}; there are {}", Builtin::names())
        })
    }
}

/// A group of entries that one reason admits.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// What the group is called.
    pub title: &'static str,
    /// Why the policy admits it, in a sentence or two.
    pub why: &'static str,
    /// Its entries.
    pub entries: &'static [Entry],
}

static DATA_TABLES: &[Table] = &[
    Table {
        title: "Python, its standard library, numpy",
        why: "Each is data, and is made by its own constructor of arguments that cost no more \
              than they hold. `getattr` is listed for one method, which reads a time zone. A \
              numpy dtype is made anew of its description, an array gets its state only if it \
              has as many bytes, or objects, as shape and dtype say.",
        entries: DATA,
    },
    Table {
        title: "pandas: frames and series",
        why: "Nothing but their own attributes are set, over a manager that is checked.",
        entries: pandas::FRAMES,
    },
    Table {
        title: "pandas: what holds a frame's columns",
        why: "pandas writes to the places that a pickle names without looking; the loader looks \
              first whether each row has exactly one block.",
        entries: pandas::MANAGERS,
    },
    Table {
        title: "pandas: indexes",
        why: "The codes of a multi-index are checked against its levels.",
        entries: pandas::INDEXES,
    },
    Table {
        title: "pandas: arrays over one of numpy's",
        why: "The dtype is checked, and codes against their categories.",
        entries: pandas::ARRAY_BACKED_ARRAYS,
    },
    Table {
        title: "pandas: arrays of data and a mask",
        why: "Data and mask are checked to be of one shape.",
        entries: pandas::MASKED_ARRAYS,
    },
    Table {
        title: "pandas: other arrays and what makes them",
        why: "Bounds, places and buffers are checked when the array is whole; an array that \
              never gets its state is not let out.",
        entries: pandas::ARRAYS,
    },
    Table {
        title: "pandas: dtypes",
        why: "They describe; what they say was computed is computed anew.",
        entries: pandas::DTYPES,
    },
    Table {
        title: "pandas: points in time, their kin, time zones",
        why: "Numbers, and the name of a time zone, whose own file is all that is read.",
        entries: pandas::TIMES,
    },
    Table { title: "pandas: offsets", why: "Numbers and flags.", entries: pandas::OFFSETS },
    Table {
        title: "pyarrow: flat arrays",
        why: "pandas' strings lie in them. pyarrow's full validation follows.",
        entries: pandas::PYARROW,
    },
    Table {
        title: "scipy: sparse matrices",
        why: "Their indexes are checked against their shape.",
        entries: science::SPARSE_MATRICES,
    },
    Table {
        title: "scipy: sparse matrices of lists",
        why: "Each row's columns are checked, and copied, so that nothing changes them afterwards.",
        entries: science::SPARSE_LISTS,
    },
    Table {
        title: "scipy: sparse matrices that are dicts",
        why: "Places are checked against the shape; values are numbers.",
        entries: science::SPARSE_DICTS,
    },
    Table {
        title: "joblib: the wrapper of an array",
        why: "A description of the bytes that follow it in the file, which only joblib reads.",
        entries: science::JOBLIB,
    },
];

static TORCH_TABLES: &[Table] = &[
    Table {
        title: "Storages and types",
        why: "They are named, never called.",
        entries: torch::TORCH_NAMES,
    },
    Table {
        title: "Tensors",
        why: "A tensor is a view of a storage that the file's container or the caller gives; \
              torch checks that it lies within.",
        entries: torch::TENSORS,
    },
];

static SKLEARN_TABLES: &[Table] = &[
    Table {
        title: "Estimators and their parts",
        why: "Each is written in Python, makes its objects as `object` does, and takes its state \
              as `BaseEstimator` does. `testdata/policy/list_sklearn.py` looked at each; what \
              has its own ways is left out.",
        entries: sklearn::ESTIMATORS,
    },
    Table {
        title: "Trees",
        why: "The nodes of a tree name each other by number; the loader checks the numbers.",
        entries: sklearn::TREES,
    },
];

type Index = HashMap<(&'static str, &'static str), (&'static Entry, u8), FxBuildHasher>;

/// Every built-in entry by its names, with the bit of its policy.
static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let entries = Builtin::ALL.iter().flat_map(|builtin| {
        builtin.entries().map(|entry| ((entry.module, entry.name), (entry, builtin.bit())))
    });
    entries.collect()
});

/// The globals that a load may import: built-in tables, and names of the caller's own.
///
/// ```
/// use picklet_codec::policy::{Policy, Rule};
///
/// let mut policy = Policy::data();
/// policy.allow("shop.Order")?;
/// assert!(matches!(policy.rule("shop", "Order"), Rule::Vouched));
/// assert!(matches!(policy.rule("datetime", "date"), Rule::Listed(_)));
/// assert!(matches!(policy.rule("os", "system"), Rule::Unlisted));
/// # Ok::<(), picklet_codec::policy::BadName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    builtins: u8,
    names: BTreeSet<String>,
    modules: BTreeSet<String>,
    strict: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::data()
    }
}

/// A name given to [`Policy::allow`] that is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName {
    name: String,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "allow: {:?} is neither a full name such as \"package.module.Class\", nor all names of \
             a module, \"package.module.*\", nor a built-in policy ({})",
            self.name,
            Builtin::names()
        )
    }
}

impl std::error::Error for BadName {}

impl Policy {
    /// The built-in `data` policy.
    pub fn data() -> Policy {
        Policy::empty().with(Builtin::Data)
    }

    /// A policy that lists nothing.
    pub fn empty() -> Policy {
        Policy { builtins: 0, names: BTreeSet::new(), modules: BTreeSet::new(), strict: false }
    }

    /// With a built-in policy's entries as well.
    #[must_use]
    pub fn with(mut self, builtin: Builtin) -> Policy {
        self.builtins |= builtin.bit();
        self
    }

    /// With all that another policy lists as well; strict if either is.
    #[must_use]
    pub fn and(mut self, other: &Policy) -> Policy {
        self.builtins |= other.builtins;
        self.names.extend(other.names.iter().cloned());
        self.modules.extend(other.modules.iter().cloned());
        self.strict |= other.strict;
        self
    }

    /// A strict policy lists no whole modules (what `package.module.*` listed is not admitted),
    /// and a scan under it takes whatever it cannot vouch for as dangerous.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Policy {
        self.strict = strict;
        self
    }

    /// Whether the policy is [`strict`](Policy::strict).
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The built-in policies that it holds.
    pub fn builtins(&self) -> impl Iterator<Item = Builtin> {
        let bits = self.builtins;
        Builtin::ALL.iter().copied().filter(move |builtin| bits & builtin.bit() != 0)
    }

    /// What [`Policy::allow`] would have to be told for all but the `data` policy: built-in
    /// policies first.
    pub fn names(&self) -> Vec<String> {
        let builtins = self.builtins().filter(|builtin| *builtin != Builtin::Data);
        builtins.map(|builtin| builtin.name().to_owned()).chain(self.allowed()).collect()
    }

    /// The caller's own names, in order, and then `package.module.*`.
    pub fn allowed(&self) -> impl Iterator<Item = String> {
        let modules = self.modules.iter().map(|module| format!("{module}.*"));
        self.names.iter().cloned().chain(modules)
    }

    /// Adds `package.module.Class`, `package.module.*` for every name directly in that module, or
    /// a built-in policy by its name, `torch`.
    ///
    /// # Errors
    /// [`BadName`] for anything else: another bare name, `*` alone or elsewhere than at the end.
    pub fn allow(&mut self, name: &str) -> Result<(), BadName> {
        if let Ok(builtin) = name.parse::<Builtin>() {
            self.builtins |= builtin.bit();
            return Ok(());
        }
        let bad = || BadName { name: name.to_owned() };
        let (module, last) = name.rsplit_once('.').ok_or_else(bad)?;
        let plain = |part: &str| {
            !part.is_empty() && !part.contains(['*', ' ']) && !part.contains(char::is_control)
        };
        if !module.split('.').all(plain) || !(last == "*" || plain(last)) {
            return Err(bad());
        }
        if last == "*" {
            self.modules.insert(module.to_owned());
        } else {
            self.names.insert(name.to_owned());
        }
        Ok(())
    }

    /// What the policy says about `module.name`. The caller's list comes first. A dotted `name`
    /// is allowed only by the whole of it.
    pub fn rule(&self, module: &str, name: &str) -> Rule {
        if !self.names.is_empty() && self.names.contains(&format!("{module}.{name}")) {
            return Rule::Vouched;
        }
        if !self.strict && self.modules.contains(module) && !name.contains('.') {
            return Rule::VouchedIfDefinedThere;
        }
        match INDEX.get(&(module, name)) {
            Some((entry, bit)) if self.builtins & bit != 0 => Rule::Listed(entry),
            _ => Rule::Unlisted,
        }
    }

    /// What the policy says about a step of a pickle: a call, a state, an addition.
    ///
    /// The globals in it are what [`Policy::rule`] said of them when they were imported, which
    /// each [`Subject`] remembers.
    pub fn judge<S: Subject>(step: Step<'_, S>) -> Verdict {
        judge::judge(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_listed_twice() {
        let mut seen = BTreeSet::new();
        for entry in Builtin::ALL.iter().flat_map(|builtin| builtin.entries()) {
            assert!(seen.insert(entry.dotted()), "{} twice", entry.dotted());
        }
    }

    #[test]
    fn factories_are_listed_themselves() {
        for (module, name) in FACTORIES {
            assert!(matches!(Policy::data().rule(module, name), Rule::Listed(_)));
        }
    }

    #[test]
    fn names_are_exact_and_dotted_ones_need_the_whole() {
        let mut policy = Policy::data();
        assert!(matches!(policy.rule("os", "system"), Rule::Unlisted));
        assert!(matches!(policy.rule("builtins", "eval"), Rule::Unlisted));
        assert!(matches!(policy.rule("builtins", "int.__new__"), Rule::Unlisted));
        policy.allow("shop.Order").unwrap();
        policy.allow("shop.models.*").unwrap();
        assert!(matches!(policy.rule("shop", "Order"), Rule::Vouched));
        assert!(matches!(policy.rule("shop", "Order.run"), Rule::Unlisted));
        assert!(matches!(policy.rule("shop", "Orders"), Rule::Unlisted));
        let item = policy.rule("shop.models", "Item");
        assert!(matches!(item, Rule::VouchedIfDefinedThere));
        assert!(matches!(policy.rule("shop.models", "os.system"), Rule::Unlisted));
        assert!(matches!(policy.rule("shop.models.deep", "Item"), Rule::Unlisted));
        assert!(matches!(policy.rule("shop", "models"), Rule::Unlisted));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for name in ["", "*", "os", ".x", "x.", "a.*.b", "*.b", "a b.c", "a..b", "a.\n"] {
            assert!(Policy::data().allow(name).is_err(), "{name:?}");
        }
    }
}
