//! Reports as JSON; `docs/scan.schema.json` is their schema.

use serde_json::{Value, json};

use super::{FileReport, overall};

/// The version of the form of the report; a new field does not change it.
pub const SCHEMA_VERSION: u32 = 1;

/// All reports in one value.
pub fn to_json(reports: &[FileReport]) -> Value {
    let files: Vec<Value> =
        reports.iter().filter(|report| !report.is_foreign()).map(file_to_json).collect();
    json!({
        "schema_version": SCHEMA_VERSION,
        "tool": { "name": "picklet", "version": env!("CARGO_PKG_VERSION") },
        "verdict": overall(reports).name(),
        "files_scanned": reports.len(),
        "files_without_pickles": reports.iter().filter(|report| report.is_foreign()).count(),
        "files": files,
    })
}

/// One report.
pub fn file_to_json(report: &FileReport) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|found| {
            let finding = &found.finding;
            json!({
                "rule": finding.rule.id(),
                "severity": finding.severity.name(),
                "member": found.member,
                "offset": finding.offset,
                "opcode": finding.opcode.map(|opcode| opcode.name()),
                "pickle_offset": finding.pickle,
                "callable": finding.callable,
                "arguments": finding.arguments,
                "reason": finding.reason,
                "times": finding.times,
            })
        })
        .collect();
    let imports: Vec<Value> = report
        .imports
        .iter()
        .map(|(member, import)| {
            json!({
                "member": member,
                "module": import.module,
                "name": import.name,
                "offset": import.offset,
                "times": import.times,
                "calls": import.calls,
                "states": import.states,
                "listed": import.listed,
            })
        })
        .collect();
    let damages: Vec<Value> = report
        .damages
        .iter()
        .map(|(member, damage)| {
            json!({ "member": member, "offset": damage.offset, "what": damage.what })
        })
        .collect();
    json!({
        "path": report.path,
        "bytes": report.bytes,
        "verdict": report.verdict().name(),
        "formats": report.formats.iter().map(|format| format.name()).collect::<Vec<_>>(),
        "members": report.members,
        "pickles": report.pickles,
        "added_policies": report.added_policies,
        "findings": findings,
        "more_findings": report.more_findings,
        "imports": imports,
        "damages": damages,
    })
}
