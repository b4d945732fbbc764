//! Real pickles out of packages, all read: by the reader, by the stream reader, and into values
//! that are written again. `make corpora` fetches them and runs this; see testdata/README.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use picklet::{Limits, Value};
use picklet_codec::{DisOptions, Reader, StreamReader, dis, optimize};

const START: &str = "<!-- made by `make corpora` from here -->\n";
const END: &str = "<!-- to here -->\n";

/// One line of the index that `testdata/corpora.py` writes.
struct Entry {
    package: String,
    file: String,
    bytes: u64,
    opcodes: u64,
    protocol: u8,
    pickle: Vec<u8>,
}

fn folder() -> PathBuf {
    std::env::var_os("PICKLET_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/corpora"),
        PathBuf::from,
    )
}

fn entries() -> Vec<Entry> {
    let folder = folder();
    let index = fs::read_to_string(folder.join("index.tsv")).unwrap_or_else(|error| {
        panic!("{} has no index ({error}): make corpora", folder.display())
    });
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        Entry {
            package: fields[1].replace("==", " "),
            file: fields[2].to_owned(),
            bytes: fields[3].parse().unwrap(),
            opcodes: fields[4].parse().unwrap(),
            protocol: fields[5].parse().unwrap(),
            pickle: fs::read(folder.join(format!("{}.pickle", fields[0]))).unwrap(),
        }
    };
    index.lines().map(entry).collect()
}

#[derive(Default)]
struct Row {
    files: u64,
    bytes: u64,
    opcodes: u64,
    protocols: [u64; 6],
    same: u64,
}

/// Reads the pickle in every way; whether it was written again as the same bytes.
fn read(entry: &Entry) -> bool {
    let name = &entry.file;
    let pickle = &entry.pickle[..];
    assert_eq!(pickle.len() as u64, entry.bytes);

    let mut reader = Reader::new(pickle);
    let mut stream = StreamReader::new(pickle).without_read_ahead();
    let mut count = 0;
    while let Some(op) = reader.next_op().unwrap_or_else(|error| panic!("{name}: {error}")) {
        let streamed = stream.next_op().unwrap();
        // A NaN is not equal to itself, but prints alike.
        assert!(
            streamed == Some(op) || format!("{streamed:?}") == format!("{:?}", Some(op)),
            "{name}: {op:?}"
        );
        count += 1;
    }
    assert_eq!(stream.next_op().unwrap(), None, "{name}");
    assert_eq!((count, reader.rest().len()), (entry.opcodes, 0), "{name}");

    let options = DisOptions { annotate: Some(30), ..DisOptions::default() };
    let mut listing = Vec::new();
    dis(pickle, &mut listing, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
    let small = optimize(pickle).unwrap_or_else(|error| panic!("{name}: {error}"));

    let value = value_of(pickle, name);
    let written = value.to_vec().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(value_of(&written, name).to_vec().unwrap(), written, "{name}");
    let of_small = value_of(&small, name).to_string();
    assert_eq!(value.to_string(), of_small, "{name}");
    written == pickle
}

fn value_of(pickle: &[u8], name: &str) -> Value {
    let (value, length) = Value::from_prefix(pickle, Limits::default())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(length, pickle.len(), "{name}");
    value
}

fn table(rows: &BTreeMap<&str, Row>) -> String {
    let mut table =
        "\n| package | pickles | bytes | opcodes | by protocol 0 / 1 / 2 / 3 / 4 / 5 | \
                     written again as the same bytes |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let mut line = |package: &str, row: &Row| {
        let protocols = row.protocols.map(|count| count.to_string()).join(" / ");
        let Row { files, bytes, opcodes, same, .. } = row;
        writeln!(table, "| {package} | {files} | {bytes} | {opcodes} | {protocols} | {same} |")
    };
    let mut whole = Row::default();
    for (package, row) in rows {
        line(package, row).unwrap();
        whole.files += row.files;
        whole.bytes += row.bytes;
        whole.opcodes += row.opcodes;
        whole.same += row.same;
        whole.protocols.iter_mut().zip(row.protocols).for_each(|(sum, count)| *sum += count);
    }
    line("**all**", &whole).unwrap();
    table.push('\n');
    table
}

#[test]
#[ignore = "needs the corpora, which need the network: make corpora"]
fn every_pickle_of_the_corpora_is_read_and_the_table_says_so() {
    let entries = entries();
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for entry in &entries {
        let same = read(entry);
        let row = rows.entry(&entry.package).or_default();
        row.files += 1;
        row.bytes += entry.bytes;
        row.opcodes += entry.opcodes;
        row.protocols[usize::from(entry.protocol)] += 1;
        row.same += u64::from(same);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/README.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(START).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let wanted = table(&rows);
    if std::env::var_os("PICKLET_BLESS").is_some() {
        fs::write(&path, [before, START, &wanted, END, after].concat()).unwrap();
    } else {
        assert_eq!(found, wanted, "testdata/README.md: PICKLET_BLESS=1 make corpora sets it right");
    }
}
