//! Containers: opened as far as the limits go, and what lies beyond is a finding.
#![cfg(feature = "scan")]

use std::io::Write as _;

use picklet::scan::{FileReport, Limits, Options, Rule, Verdict, scan_bytes};

const CALL: &[u8] = b"cos\nsystem\n(S'id'\ntR.";

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, data) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, *data).unwrap();
    }
    out.into_inner().unwrap()
}

fn scanned(data: Vec<u8>, limits: Limits) -> FileReport {
    scan_bytes("it", data, &Options { limits, ..Options::default() })
}

fn beyond(report: &FileReport) -> Vec<&str> {
    let beyond = |found: &&picklet::scan::FileFinding| found.finding.rule == Rule::UnscannedMember;
    report.findings.iter().filter(beyond).map(|found| found.finding.reason.as_str()).collect()
}

#[test]
fn containers_are_opened_to_the_depth_that_the_limit_says() {
    let limits = Limits { depth: 2, ..Limits::default() };
    let report = scanned(gzip(&tar(&[("a.pkl", CALL)])), limits);
    assert_eq!((report.verdict(), beyond(&report).len()), (Verdict::Dangerous, 0));
    let report = scanned(gzip(&gzip(&tar(&[("a.pkl", CALL)]))), limits);
    assert_eq!(report.verdict(), Verdict::Suspicious);
    assert_eq!(beyond(&report).len(), 1);
    assert!(beyond(&report)[0].contains("2 containers"), "{report:?}");
}

#[test]
fn members_are_counted_and_those_over_the_limit_are_a_finding() {
    let limits = Limits { members: 3, ..Limits::default() };
    let clean: &[u8] = b"\x80\x04N.";
    let few = tar(&[("a", clean), ("b", clean), ("c", clean)]);
    assert_eq!(scanned(few, limits).verdict(), Verdict::Clean);
    let many = tar(&[("a", clean), ("b", clean), ("c", clean), ("d", CALL)]);
    let report = scanned(many, limits);
    assert_eq!(report.verdict(), Verdict::Suspicious);
    assert!(beyond(&report)[0].contains("3 members"), "{report:?}");
}

#[test]
fn what_a_bomb_expands_to_is_cut_at_the_limit_over_all_members() {
    let limits = Limits { expanded: 1 << 20, ..Limits::default() };
    let zeros = gzip(&vec![0; 700_000]);
    let report = scanned(tar(&[("a.gz", &zeros[..]), ("b.gz", &zeros[..])]), limits);
    assert_eq!(report.verdict(), Verdict::Suspicious);
    assert_eq!(beyond(&report).len(), 1, "{report:?}");
    let report = scanned(tar(&[("a.gz", &zeros[..])]), limits);
    assert_eq!(beyond(&report).len(), 0, "{report:?}");
    // 64 MiB in a few hundred bytes: no more than the limit is ever expanded.
    let bomb = gzip(&gzip(&vec![0; 1 << 26]));
    let report = scanned(bomb, Limits { expanded: 1 << 22, ..Limits::default() });
    assert_eq!(beyond(&report).len(), 1, "{report:?}");
}
