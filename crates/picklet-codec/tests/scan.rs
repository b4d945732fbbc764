//! The scanner on plain pickles: what it finds, what it lets pass, and what it costs.

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
fn the_page_on_scanning_lists_every_rule_in_its_words() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scan.md");
    let page = std::fs::read_to_string(page).unwrap();
    for rule in Rule::ALL {
        let row = format!("| `{}` | {} |", rule.id(), rule.about());
        assert!(page.contains(&row), "docs/scan.md lacks: {row}");
    }
}
