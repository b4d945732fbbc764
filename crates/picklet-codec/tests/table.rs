//! The opcode table: equal to `pickletools.opcodes` of every Python found, and `docs/opcodes.md`
//! made from it.

mod common;

use std::fmt::Write as _;
use std::path::Path;

use picklet_codec::{ArgExtent, OPCODES, OpcodeInfo, StackKind};

const SCRIPT: &str = r"
import pickletools
for o in pickletools.opcodes:
    kinds = lambda kinds: ','.join(k.name for k in kinds)
    print('|'.join([hex(ord(o.code)), o.name, str(o.proto), o.arg.name if o.arg else '-',
                    kinds(o.stack_before), kinds(o.stack_after), o.doc.split('\n', 1)[0].strip()]))
";

fn names(kinds: &[StackKind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
}

fn row(info: &OpcodeInfo) -> String {
    format!(
        "{:#x}|{}|{}|{}|{}|{}|{}",
        info.byte,
        info.name,
        info.protocol,
        info.arg.pickletools_name().unwrap_or("-"),
        names(info.before),
        names(info.after),
        info.doc
    )
}

#[test]
fn the_table_is_that_of_pickletools_in_every_python_found() {
    let ours: Vec<String> = OPCODES.iter().map(row).collect();
    for python in common::pythons() {
        let theirs = String::from_utf8(common::ask(&python, SCRIPT, b"")).unwrap();
        // Mended in CPython 3.13.
        let theirs = theirs.replace("using found-byte length", "using four-byte length");
        let theirs: Vec<&str> = theirs.lines().collect();
        assert_eq!(ours, theirs, "{}", python.display());
    }
}

#[test]
fn only_the_memo_puts_peek() {
    let peeking: Vec<_> = OPCODES.iter().filter(|row| row.peek).map(|row| row.name).collect();
    assert_eq!(peeking, ["PUT", "BINPUT", "LONG_BINPUT"]);
}

#[test]
fn effects_are_told_for_each_opcode_that_can_run_code() {
    let impure: Vec<_> = OPCODES
        .iter()
        .filter(|row| row.effect.name() != "pure")
        .map(|row| format!("{} {}", row.name, row.effect.name()))
        .collect();
    assert_eq!(
        impure,
        [
            "APPEND mutate",
            "APPENDS mutate",
            "SETITEM mutate",
            "SETITEMS mutate",
            "ADDITEMS mutate",
            "EXT1 ext",
            "EXT2 ext",
            "EXT4 ext",
            "GLOBAL import",
            "STACK_GLOBAL import",
            "REDUCE call",
            "BUILD call",
            "INST import+call",
            "OBJ call",
            "NEWOBJ call",
            "NEWOBJ_EX call",
            "PERSID persid",
            "BINPERSID persid",
        ]
    );
}

const HEAD: &str = "\
# The opcodes of pickle

A pickle is a program: a run of opcodes, each one byte, some followed by an argument. A machine
with a stack and a memo runs it, and what lies on top of the stack at STOP is the value. These
are the 68 opcodes of protocols 0 to 5, in the order of CPython's `pickletools`.

- **Byte**: its value, and its character where it has one.
- **Since**: the first protocol that has the opcode.
- **Argument**: what follows the byte. `n` bytes; `n+` bytes of length and then as many bytes as
  they say; or lines, each ended by a newline.
- **Stack**: what it takes → what it leaves, the top on the right. `mark …` is the topmost mark
  and all objects above it. In brackets: what it only looks at.
- **Effect**: `pure` runs nothing. `mutate` changes the object below, through that object's own
  methods where it is no list, dict or set. `import`, `call`, `persid` (the application is asked
  for an object) and `ext` (the `copyreg` registry is asked) can run code.

The descriptions are those of CPython's `pickletools` as of 3.13 (see `NOTICE`). This page is
made from the table in `crates/picklet-codec/src/opcode.rs` by
`PICKLET_BLESS=1 cargo test -p picklet-codec --test table`.

| Byte | Opcode | Since | Argument | Stack | Effect | What it does |
|---|---|---|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for info in &OPCODES {
        let character = match info.byte {
            b'|' => " `\\|`".to_owned(),
            byte if byte.is_ascii_graphic() => format!(" `{}`", char::from(byte)),
            _ => String::new(),
        };
        let before = if info.peek { "[any]".to_owned() } else { stack(info.before) };
        let after = if info.peek { "[any]".to_owned() } else { stack(info.after) };
        writeln!(
            page,
            "| 0x{:02x}{character} | {} | {} | {} | {before} → {after} | {} | {} |",
            info.byte,
            info.name,
            info.protocol,
            argument(info),
            info.effect.name(),
            info.doc
        )
        .unwrap();
    }
    page
}

fn stack(kinds: &[StackKind]) -> String {
    if kinds.is_empty() {
        return "∅".to_owned();
    }
    let words: Vec<_> = kinds
        .iter()
        .map(|kind| if *kind == StackKind::StackSlice { "…" } else { kind.name() })
        .collect();
    words.join(" ")
}

fn argument(info: &OpcodeInfo) -> String {
    let extent = match info.arg.extent() {
        ArgExtent::Bytes(0) => return "none".to_owned(),
        ArgExtent::Bytes(1) => "1 byte".to_owned(),
        ArgExtent::Bytes(count) => format!("{count} bytes"),
        ArgExtent::Counted(count) => format!("{count}+ bytes"),
        ArgExtent::Lines(1) => "1 line".to_owned(),
        ArgExtent::Lines(count) => format!("{count} lines"),
    };
    let name = info.arg.pickletools_name().unwrap_or("");
    format!("{extent} (`{name}`)")
}

/// A file that is made from the table, rewritten where PICKLET_BLESS is set.
#[track_caller]
fn made_file(name: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if std::env::var_os("PICKLET_BLESS").is_some() {
        std::fs::write(&path, content).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == content,
        "{name} is stale: run PICKLET_BLESS=1 cargo test -p picklet-codec --test table"
    );
}

#[test]
fn docs_opcodes_md_is_made_from_the_table() {
    made_file("docs/opcodes.md", &page());
}

#[test]
fn the_fuzz_dictionary_is_made_from_the_table() {
    let lines = OPCODES.iter().map(|info| format!("{}=\"\\x{:02x}\"\n", info.name, info.byte));
    made_file("fuzz/opcodes.dict", &lines.collect::<String>());
}
