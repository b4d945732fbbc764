//! Reports as SARIF 2.1.0, the form that code hosts and editors show beside the code.
//!
//! A byte offset becomes a `byteOffset` region; a member of a container stands in the logical
//! location, since SARIF's own nesting of files is shown by few.

use picklet_codec::scan::{Rule, Severity};
use serde_json::{Value, json};

use super::FileReport;

/// The schema that the report keeps to.
pub const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Where the rules are described.
const HELP: &str = "https://docs.rs/picklet";

/// The rule of what could not be read.
const UNREADABLE: &str = "unreadable";

/// All reports as one run.
pub fn to_sarif(reports: &[FileReport]) -> Value {
    let mut rules: Vec<Value> = Rule::ALL
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id(),
                "shortDescription": { "text": rule.about() },
                "helpUri": HELP,
            })
        })
        .collect();
    rules.push(json!({
        "id": UNREADABLE,
        "shortDescription": { "text": "The file, or a part of it, could not be read to its end." },
        "helpUri": HELP,
    }));
    let results: Vec<Value> = reports.iter().flat_map(results).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "picklet",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": HELP,
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn results(report: &FileReport) -> Vec<Value> {
    if report.is_foreign() {
        return Vec::new();
    }
    let mut results: Vec<Value> = report
        .findings
        .iter()
        .map(|found| {
            let finding = &found.finding;
            let level = match finding.severity {
                Severity::Suspicious => "warning",
                Severity::Dangerous => "error",
            };
            let mut text = sentence(&finding.reason);
            if finding.times > 1 {
                text.push_str(&format!(" ({} times)", finding.times));
            }
            let mut properties = json!({ "severity": finding.severity.name() });
            if let (Some(fields), Some(callable)) = (properties.as_object_mut(), &finding.callable)
            {
                fields.insert("callable".into(), callable.as_str().into());
            }
            if let (Some(fields), Some(arguments)) =
                (properties.as_object_mut(), &finding.arguments)
            {
                fields.insert("arguments".into(), arguments.as_str().into());
            }
            json!({
                "ruleId": finding.rule.id(),
                "level": level,
                "message": { "text": text },
                "locations": [location(&report.path, &found.member, finding.offset)],
                "properties": properties,
            })
        })
        .collect();
    results.extend(report.damages.iter().map(|(member, damage)| {
        json!({
            "ruleId": UNREADABLE,
            "level": "warning",
            "message": { "text": sentence(&damage.what) },
            "locations": [location(&report.path, member, damage.offset)],
        })
    }));
    results
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).chain(['.']).collect(),
        None => String::new(),
    }
}

fn location(path: &str, member: &str, offset: u64) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(path) },
            "region": { "byteOffset": offset, "byteLength": 1 },
        },
    });
    if let (Some(fields), false) = (location.as_object_mut(), member.is_empty()) {
        fields.insert(
            "logicalLocations".into(),
            json!([{ "fullyQualifiedName": format!("{path}!{member}"), "kind": "member" }]),
        );
    }
    location
}

/// A path as a URI reference: relative ones stay so; bytes that URIs do not have are escaped.
fn uri(path: &str) -> String {
    let path = path.replace('\\', "/");
    let mut uri = String::with_capacity(path.len());
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte);
        if plain {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("a b/한.pkl"), "a%20b/%ED%95%9C.pkl");
        assert_eq!(uri("/tmp/x.pkl"), "file:///tmp/x.pkl");
    }
}
