//! The scanner on plain pickles: what it finds, what it lets pass, and what it costs.

use std::cell::Cell;

use picklet_codec::policy::Policy;
use picklet_codec::scan::{Options, Report, Rule, Severity, Source, Verdict, scan};

fn scanned(bytes: &[u8]) -> Report {
    scan(bytes, &Policy::data(), &Options::default()).unwrap()
}

fn rules(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.rule.id()).collect()
}

/// Reads a few bytes at a time and is not in memory.
struct Slow<'a>(&'a [u8]);

impl Source for Slow<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(1000);
        self.0.read_at(offset, &mut buffer[..count])
    }
}

#[test]
fn a_shell_command_is_dangerous_and_told_with_its_arguments() {
    let report = scanned(b"cposix\nsystem\n(S'echo hi'\ntR.");
    assert_eq!(report.verdict(), Verdict::Dangerous);
    assert_eq!(rules(&report), ["dangerous-import", "dangerous-call"]);
    let call = &report.findings[1];
    assert_eq!(call.callable.as_deref(), Some("posix.system"));
    assert_eq!(call.arguments.as_deref(), Some("(b'echo hi')"));
    assert_eq!((call.offset, call.opcode.unwrap().name()), (27, "REDUCE"));
    assert_eq!(report.imports.len(), 1);
    assert_eq!((report.imports[0].calls, report.imports[0].listed), (1, false));
}

#[test]
fn plain_data_is_clean_and_names_nothing() {
    for bytes in
        [&b"N."[..], b"\x80\x04](K\x01K\x02e.", b"}(K\x01K\x02\x88K\x03u.", b"(lp0\nS'a'\np1\na."]
    {
        let report = scanned(bytes);
        assert_eq!(report.verdict(), Verdict::Clean, "{report:?}");
        assert!(report.imports.is_empty());
        assert_eq!(report.pickles, 1);
    }
}

#[test]
fn an_error_is_never_clean_and_never_hides_what_ran_before_it() {
    assert_eq!(scanned(b"K\x01").verdict(), Verdict::Unreadable);
    assert_eq!(scanned(b"").verdict(), Verdict::Unreadable);
    let report = scanned(b"cos\nsystem\n(S'id'\ntR");
    assert_eq!(report.verdict(), Verdict::Dangerous);
    assert!(report.damage.is_some());
}

#[test]
fn a_source_in_pieces_gives_the_same_report() {
    let mut bytes = b"\x80\x04](".to_vec();
    for number in 0..200_000u32 {
        bytes.push(b'J');
        bytes.extend(number.to_le_bytes());
        bytes.extend(b"\x8c\x03abc\x94");
    }
    bytes.extend(b"cos\nsystem\n\x8c\x02id\x85Re.");
    let (whole, slow) =
        (scanned(&bytes), { scan(&Slow(&bytes), &Policy::data(), &Options::default()).unwrap() });
    assert_eq!(whole, slow);
    assert_eq!(whole.verdict(), Verdict::Dangerous);
}

#[test]
fn arguments_larger_than_the_window_are_read_past() {
    for opcode in [&b"\x8d"[..], b"\x8e", b"\x96"] {
        let text = "ä€😀x".repeat(100_000);
        let mut bytes = b"\x80\x05(".to_vec();
        bytes.extend(opcode);
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(b"cos\nsystem\n\x8c\x02id\x85Rt.");
        let slow = scan(&Slow(&bytes), &Policy::data(), &Options::default()).unwrap();
        assert_eq!(slow, scanned(&bytes));
        assert_eq!(slow.verdict(), Verdict::Dangerous);
    }
    let mut bad = b"\x80\x05\x8d".to_vec();
    bad.extend(1_000_000u64.to_le_bytes());
    bad.extend(vec![b'a'; 999_999]);
    bad.extend(b"\xff.");
    let slow = scan(&Slow(&bad), &Policy::data(), &Options::default()).unwrap();
    assert_eq!(slow.verdict(), Verdict::Unreadable);
}

#[test]
fn a_name_far_back_in_the_memo_is_still_known() {
    let mut bytes = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94](".to_vec();
    // More entries than are kept, and then the first ones again.
    for _ in 0..1_200_000 {
        bytes.extend(b"]\x94");
    }
    bytes.extend(b"\x8c\x05posix\x94\x8c\x06system\x94");
    for _ in 0..100_000 {
        bytes.extend(b"]\x94");
    }
    let far = 2 + 1_200_000u32;
    bytes.push(b'j');
    bytes.extend(far.to_le_bytes());
    bytes.push(b'j');
    bytes.extend((far + 1).to_le_bytes());
    bytes.extend(b"\x93)Re.");
    let report = scanned(&bytes);
    assert_eq!(rules(&report), ["dangerous-import", "dangerous-call"]);
    assert_eq!(report.imports[0].dotted(), "posix.system");
    assert_eq!(report.imports[0].times, 1);
}

#[test]
fn findings_of_one_kind_are_counted_and_not_repeated() {
    let report = scanned(&[&b"\x80\x02("[..], &b"cos\nsystem\n)R".repeat(10_000), b"t."].concat());
    assert_eq!(report.findings.len(), 2);
    assert_eq!(report.findings[1].times, 10_000);
    assert_eq!(report.imports[0].times, 10_000);
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Dangerous));
    assert!(report.findings.iter().all(|finding| finding.rule != Rule::Bomb));
}

#[test]
fn text_whose_letters_are_opcodes_is_no_pickle_and_names_are() {
    let program = b"class Order(Item):\n    total = 0\n\n    def pay(self):\n        pass\n";
    let report = scanned(program);
    assert_eq!((report.verdict(), report.imports.len()), (Verdict::Unreadable, 0), "{report:?}");
    // A module may be called so, and what imports it is a pickle.
    let report = scanned(b"class\nOrder\n\xff");
    assert_eq!(rules(&report), ["unlisted-import"]);
    let report = scanned(b"class Order(Item):\n    total = 0\n.");
    assert_eq!(rules(&report), ["unlisted-import"], "it goes to its STOP");
}

/// The opcodes up to the BUILD of joblib's wrapper of an array of bytes, without padding.
fn joblib_wrapper(bytes: usize) -> Vec<u8> {
    let text = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes()].concat();
    let mut pickle = b"\x80\x04".to_vec();
    pickle.extend(text("joblib.numpy_pickle"));
    pickle.extend(text("NumpyArrayWrapper"));
    pickle.extend(b"\x93)\x81}(");
    pickle.extend(text("subclass"));
    pickle.extend(b"cnumpy\nndarray\n");
    pickle.extend(text("shape"));
    pickle.push(b'J');
    pickle.extend((bytes as u32).to_le_bytes());
    pickle.push(0x85);
    pickle.extend(text("dtype"));
    pickle.extend(b"cnumpy\ndtype\n");
    pickle.extend(text("u1"));
    pickle.extend(b"\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
    pickle.extend(b"ub");
    pickle
}

#[test]
fn joblibs_arrays_are_passed_and_what_pickle_would_run_of_them_is_reported() {
    let of = |raw: &[u8]| {
        let pickle = [&joblib_wrapper(raw.len())[..], raw, b"."].concat();
        let report = scanned(&pickle);
        assert_eq!(report, scan(&Slow(&pickle), &Policy::data(), &Options::default()).unwrap());
        report
    };
    for harmless in [&b"\x00\x01\x02"[..], b"", b"NNNNNNNNNNNNNNNNNNNNNNNNNN\xff", &[0x28; 100_000]]
    {
        assert_eq!(of(harmless).verdict(), Verdict::Clean);
    }
    let call = b"cos\nsystem\n\x8c\x02id\x85R";
    let report = of(call);
    assert_eq!(rules(&report), ["dangerous-import", "hidden-pickle", "dangerous-call"]);
    // Behind much that does nothing, and behind a STOP.
    let late = [&b"N0".repeat(100_000)[..], call].concat();
    assert_eq!(of(&late).verdict(), Verdict::Dangerous);
    assert_eq!(of(&[&b"N."[..], call].concat()).verdict(), Verdict::Dangerous);
}

#[test]
fn what_pickle_would_import_of_joblibs_arrays_of_objects_with_another_memo_is_reported() {
    // `inner` refers to its own entries 0 and 1; with the memo around it, they are others.
    let of = |around: &[&str], module: &str, name: &str| {
        let text = |text: &str| [&[0x8c, text.len() as u8], text.as_bytes(), b"\x94"].concat();
        let mut pickle = b"\x80\x04(".to_vec();
        around.iter().for_each(|one| pickle.extend(text(one)));
        let wrapper = joblib_wrapper(1)[2..].to_vec();
        let at = wrapper.windows(4).position(|four| four == b"\x8c\x02u1").unwrap();
        pickle.extend(&wrapper[..at]);
        pickle.extend(
            b"\x8c\x02O8\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tbub",
        );
        pickle.extend(b"\x80\x04");
        pickle.extend(text(module));
        pickle.extend(text(name));
        pickle.extend(b"00h\x00h\x01\x93)R.t.");
        scanned(&pickle)
    };
    // Any two names may be there to import, but for this one: each honest array names a dtype.
    let report = of(&["one", "two"], "collections", "OrderedDict");
    assert_eq!(rules(&report), ["hidden-pickle", "unlisted-import", "unlisted-call"]);
    let report = of(&["shape", "dtype"], "collections", "OrderedDict");
    assert!(!rules(&report).contains(&"unlisted-import"), "{report:?}");
    let report = of(&["os", "getcwd"], "collections", "OrderedDict");
    assert_eq!(report.verdict(), Verdict::Dangerous, "{report:?}");
}

#[test]
fn another_reading_of_joblibs_arrays_costs_linear_time() {
    // Each array would be followed to the end of the file, were there no cap.
    let one = [&joblib_wrapper(40)[2..], &b"(".repeat(40), b"0"].concat();
    let pickle = [&b"\x80\x04"[..], &one.repeat(20_000), b"N."].concat();
    let report = scanned(&pickle);
    assert!(rules(&report).contains(&"unscanned-member"), "{:?}", rules(&report));
}

#[test]
fn a_state_that_is_given_again_and_again_ends_in_a_finding() {
    // Each three bytes would have 2000 pairs looked at anew.
    let offset = b"cpandas.tseries.offsets\nDateOffset\n)\x81q\x010";
    let pair = b"\x8c\x09_has_timeK\x01";
    let span = b"\x8c\x07_offsetcdatetime\ntimedelta\nK\x01K\x01K\x01\x87R";
    let state = [&b"}q\x02("[..], &pair.repeat(2000), span, b"u0"].concat();
    let pickle =
        [&b"\x80\x04"[..], offset, &state, &b"h\x01h\x02b0".repeat(50_000), b"N."].concat();
    let report = scanned(&pickle);
    assert!(rules(&report).contains(&"bomb"), "{:?}", rules(&report));
    let few = [&b"\x80\x04"[..], offset, &state, &b"h\x01h\x02b0".repeat(3), b"N."].concat();
    assert_eq!(scanned(&few).verdict(), Verdict::Clean, "{:?}", scanned(&few));
}

#[test]
fn many_forgotten_entries_cost_a_few_readings_and_not_one_each() {
    let entry = |index: u32| [&b"K\x01r"[..], &index.to_le_bytes(), b"0"].concat();
    let all: Vec<u8> = (0..200_000).flat_map(entry).collect();
    let get = |index: u32| [&b"j"[..], &index.to_le_bytes()].concat();
    let list: Vec<u8> = (140_000..144_000).flat_map(get).collect();
    let state = [&b"}(\x8c\x06_shape]("[..], &list, b"eu"].concat();
    let pickle =
        [&b"\x80\x02"[..], &all, b"cscipy.sparse._csr\ncsr_matrix\n)\x81", &state, b"b."].concat();
    let counted = Counted { bytes: &pickle, read: Cell::new(0) };
    let report = scan(&counted, &Policy::data(), &Options::default()).unwrap();
    assert_eq!(rules(&report), Vec::<&str>::new());
    let times = counted.read.get() / pickle.len() as u64;
    assert!(times < 10, "{times} readings");
}

/// Counts what is read of it.
struct Counted<'b> {
    bytes: &'b [u8],
    read: Cell<u64>,
}

impl Source for Counted<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.bytes.read_at(offset, buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

#[test]
fn a_pickle_that_was_cut_off_is_unreadable_though_its_frame_says_more() {
    let whole = b"\x80\x04\x95\x0a\0\0\0\0\0\0\0](K\x01K\x02K\x03e.";
    assert_eq!(scanned(whole).verdict(), Verdict::Clean);
    for end in 12..whole.len() {
        assert_eq!(scanned(&whole[..end]).verdict(), Verdict::Unreadable, "{end}");
    }
    // One that goes on to its STOP is read to its end by some, and refused by others.
    let long = b"\x80\x04\x95\x40\0\0\0\0\0\0\0](K\x01K\x02K\x03e.";
    assert_eq!(rules(&scanned(long)), ["bad-frame"]);
}

#[test]
fn lengths_counted_in_one_pickle_are_not_those_of_the_next() {
    // Texts of different lengths at the same offset of three pickles in bytes.
    let scalar = |letters: usize| {
        let text = "é".repeat(letters);
        let kind = format!("S{letters}");
        let state = b"\x89\x88\x87R(K\x03X\x01\0\0\0|NNNJ";
        let size = (letters as u32).to_le_bytes();
        [
            &b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX"[..],
            &(kind.len() as u32).to_le_bytes(),
            kind.as_bytes(),
            state,
            &size,
            b"K\x01K\x00tbc_codecs\nencode\nX",
            &(text.len() as u32).to_le_bytes(),
            text.as_bytes(),
            b"X\x06\0\0\0latin1\x86R\x86R.",
        ]
        .concat()
    };
    let bytes = |data: &[u8]| [&[b'C', data.len() as u8], data].concat();
    let all: Vec<u8> = [5, 6, 7].iter().flat_map(|letters| bytes(&scalar(*letters))).collect();
    let report = scanned(&[&b"\x80\x04("[..], &all, b"t."].concat());
    assert_eq!(rules(&report), Vec::<&str>::new());
}

#[test]
fn values_of_a_dict_are_known_in_protocol_0_as_in_others() {
    let state = b"(dp0\nVdata\np1\n(lp2\nVa\np3\nasb.";
    let pickle = [&b"ccollections\nUserList\n)\x81"[..], state].concat();
    assert_eq!(scanned(&pickle).verdict(), Verdict::Clean);
    // Each value is made at the height of the stack at which the one before it was.
    let frame = b"cpandas\nDataFrame\n)\x81(dV_metadata\n(lsVattrs\n(dsV_flags\n(dsb.";
    assert_eq!(rules(&scanned(frame)), Vec::<&str>::new());
}

#[test]
fn every_one_of_many_pickles_in_bytes_is_looked_at() {
    let inner = b"cos\nsystem\n\x8c\x02id\x85R.";
    let bytes = |data: &[u8]| [&[b'C', data.len() as u8], data].concat();
    let pickle =
        [&b"\x80\x04("[..], &bytes(b"\x80\x04N.").repeat(20_000), &bytes(inner), b"t."].concat();
    for report in
        [scanned(&pickle), scan(&Slow(&pickle), &Policy::data(), &Options::default()).unwrap()]
    {
        assert_eq!(rules(&report), ["hidden-pickle", "dangerous-import", "dangerous-call"]);
    }
}

#[test]
fn the_page_on_scanning_lists_every_rule_in_its_words() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scan.md");
    let page = std::fs::read_to_string(page).unwrap();
    for rule in Rule::ALL {
        let row = format!("| `{}` | {} |", rule.id(), rule.about());
        assert!(page.contains(&row), "docs/scan.md lacks: {row}");
    }
}
