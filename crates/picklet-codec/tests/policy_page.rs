//! docs/policy.md is made from the policy's tables.

use std::fmt::Write as _;
use std::path::Path;

use picklet_codec::policy::{Args, Builtin, Entry, Grows, Kind, Makes, Sound, Special, State};

const HEAD: &str = "\
# What a safe load admits

A pickle names globals, and calls them. picklet imports a global only if the policy lists it, and
calls it only as the policy says: with arguments of the kinds listed here, with a state of the
form listed here. `picklet scan` and every safe load ask the same function. What is not listed
raises `UntrustedGlobalError` before it is imported; list it with `allow=` or in a file if you
trust it.

```toml
# policy.toml: picklet.load(file, allow=\"policy.toml\"), picklet map … --policy policy.toml
policies = [\"torch\"]                        # built-in ones; data is always part of it
allow = [\"shop.Order\", \"shop.models.*\"]     # names; all names that a module defines
strict = false                              # true: no whole modules
```

What you list yourself may be called with anything: list classes, not functions. `*` stands only
at the end, for what is defined directly in that module and not for what it imports from others.

Types are exact in what follows: a subclass is something else. *A whole …* is an object that was
made by an entry of this page and has its state. This page is made from the tables in
`crates/picklet-codec/src/policy` by
`PICKLET_BLESS=1 cargo test -p picklet-codec --test policy_page`.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for builtin in Builtin::ALL {
        write!(page, "\n## `{builtin}`\n\n{}\n", builtin.about()).unwrap();
        for table in builtin.tables() {
            write!(page, "\n### {}\n\n{}\n", table.title, table.why).unwrap();
            page += "\n| Global | Called with | State, additions |\n|---|---|---|\n";
            for group in groups(table.entries) {
                let names: Vec<String> = group.iter().map(name).collect();
                let Some(entry) = group.first() else { continue };
                let cells = [names.join(", "), calls(entry), after(entry)];
                writeln!(page, "| {} |", cells.join(" | ")).unwrap();
            }
        }
    }
    page
}

fn name(entry: &Entry) -> String {
    format!("`{}`", entry.dotted())
}

/// Entries that follow each other and differ in nothing but their names.
fn groups(entries: &[Entry]) -> Vec<&[Entry]> {
    entries.chunk_by(|one, next| calls(one) == calls(next) && after(one) == after(next)).collect()
}

fn calls(entry: &Entry) -> String {
    let mut ways: Vec<String> = entry.calls.iter().map(args).collect();
    if entry.remade {
        let ignored: Vec<String> = entry.news.iter().map(args).collect();
        let ignored = match ignored.as_slice() {
            [] => String::new(),
            some => format!(" ({} is ignored)", some.join("; or ")),
        };
        ways.insert(0, format!("made without a call{ignored}"));
    }
    match ways.is_empty() {
        true => "named only".to_owned(),
        false => ways.join("; or "),
    }
}

fn args(args: &Args) -> String {
    match args {
        Args::Exactly([]) => "nothing".to_owned(),
        Args::Exactly(kinds) => list(kinds, ", "),
        Args::Each(kind) => format!("any number of {}", words(kind)),
        Args::Special(special) => match special {
            Special::NumpyDtype => "a type's letter and size",
            Special::NumpyStringDtype => "int; or int, and what says that one is missing",
            Special::NumpyScalar => "a whole numpy dtype without objects, as many bytes",
            Special::NumpyFromBuffer => {
                "a buffer, a whole numpy dtype without objects, a shape of as many bytes, an order"
            }
            Special::NumpyReconstruct => "a class of numpy's arrays, `(0,)`, `b'b'`",
            Special::NumpyMaskedReconstruct => "two classes of numpy's arrays, `(0,)`, `'b'`",
        }
        .to_owned(),
    }
}

fn list(kinds: &[Kind], between: &str) -> String {
    kinds.iter().map(words).collect::<Vec<_>>().join(between)
}

fn words(kind: &Kind) -> String {
    match kind {
        Kind::Any => "anything".to_owned(),
        Kind::Scalar => "None, bool, int, float or str".to_owned(),
        Kind::None => "None".to_owned(),
        Kind::Bool => "bool".to_owned(),
        Kind::Int => "int".to_owned(),
        Kind::SmallInt => "int of few digits".to_owned(),
        Kind::IntBelow(end) => format!("int from 0 to {}", end - 1),
        Kind::Float => "float".to_owned(),
        Kind::Str => "str".to_owned(),
        Kind::NoPath => "str without `dateutil/`".to_owned(),
        Kind::Numeral => "str of digits".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::BytesOrStr => "bytes or str".to_owned(),
        Kind::Buffer => "bytes or a buffer".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Sequence => "list or tuple".to_owned(),
        Kind::Tuple => "tuple".to_owned(),
        Kind::Dict => "dict".to_owned(),
        Kind::IntOrNone => "int or None".to_owned(),
        Kind::Factory => "None, or a type that makes empty values".to_owned(),
        Kind::Singleton => "None, `...` or NotImplemented".to_owned(),
        Kind::Text(text) => format!("`{text:?}`"),
        Kind::Global(module, name) => format!("`{module}.{name}`"),
        Kind::ClassOf(makes) => format!("a class of {}", sort(*makes)),
        Kind::Made(makes) => format!("a whole {}", sort(*makes)),
        Kind::RemadeClass => "a class made without a call".to_owned(),
        Kind::OneOf(kinds) => list(kinds, " or "),
        Kind::TupleOf(kinds) => format!("({})", list(kinds, ", ")),
        Kind::Every(kind) => format!("list or tuple of ({})", words(kind)),
        Kind::Keys(fields) => format!("dict of {}", keys(fields)),
    }
}

fn keys(fields: &[(&str, Kind)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, kind)| format!("`{name}`: {}", words(kind))).collect();
    fields.join(", ")
}

fn sort(makes: Makes) -> &'static str {
    match makes {
        Makes::Other => "something else",
        Makes::Dtype => "numpy dtype",
        Makes::Array => "numpy array",
        Makes::NumpyScalar => "numpy scalar",
        Makes::Slice => "slice",
        Makes::OrderedDict => "OrderedDict",
        Makes::TimeDelta => "timedelta",
        Makes::TimeZone => "time zone",
        Makes::Time => "point in time",
        Makes::Offset => "offset",
        Makes::ExtensionDtype => "pandas dtype",
        Makes::ExtensionArray => "pandas array",
        Makes::Index => "index",
        Makes::Block => "block",
        Makes::Manager => "manager",
        Makes::Frame => "frame or series",
        Makes::SparseIndex => "sparse index",
        Makes::ArrowType => "pyarrow type",
        Makes::ArrowBuffer => "pyarrow buffer",
        Makes::ArrowArray => "pyarrow array",
        Makes::SparseMatrix => "sparse matrix",
        Makes::DictSparseMatrix => "sparse matrix that is a dict",
        Makes::Storage => "torch storage",
        Makes::Tensor => "tensor",
        Makes::TorchType => "torch type",
        Makes::Estimator => "estimator",
    }
}

fn after(entry: &Entry) -> String {
    let mut parts = Vec::new();
    match entry.state {
        State::Refused => {}
        State::Fields(fields) => parts.push(keys(fields)),
        State::Attributes => parts.push("any attributes".to_owned()),
        State::Is(kind) => parts.push(words(&kind)),
        State::NumpyArray => {
            parts.push("shape, whole dtype, and as many bytes or objects".to_owned());
        }
        State::NumpyMaskedArray => {
            parts.push("shape, whole dtype, as many bytes or objects, a mask".to_owned());
        }
        State::NumpyDtype => parts.push("a description with no hidden objects".to_owned()),
    }
    match entry.grows {
        Grows::No => {}
        Grows::Items => parts.push("items may be added".to_owned()),
        Grows::Pairs => parts.push("pairs may be added".to_owned()),
    }
    if entry.sound != Sound::AsMade {
        parts.push("checked when whole".to_owned());
    }
    match parts.is_empty() {
        true => "none".to_owned(),
        false => parts.join("; "),
    }
}

#[test]
fn docs_policy_md_is_made_from_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy.md");
    let page = page();
    if std::env::var_os("PICKLET_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/policy.md is stale: run PICKLET_BLESS=1 cargo test -p picklet-codec --test policy_page"
    );
}

#[test]
fn every_group_of_the_policy_says_why_it_is_admitted() {
    for builtin in Builtin::ALL {
        for table in builtin.tables() {
            assert!(!table.entries.is_empty(), "{} is empty", table.title);
            assert!(table.why.ends_with('.') && table.why.len() > 10, "{}", table.title);
        }
    }
}

#[test]
fn no_entry_reaches_what_is_known_to_run_code() {
    for builtin in Builtin::ALL {
        for entry in builtin.entries() {
            let danger = picklet_codec::scan::known_danger(entry.module, entry.name);
            // `getattr` is listed for one method by name, and called with nothing else.
            let excepted = entry.dotted() == "builtins.getattr";
            assert!(danger.is_none() || excepted, "{} {danger:?}", entry.dotted());
        }
    }
}
