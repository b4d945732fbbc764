//! Policies from files: which globals a load may import, beyond Python's, numpy's and pandas' data.
//!
//! A policy file is TOML, each of its three keys optional:
//!
//! ```toml
//! policies = ["torch"]                        # built-in ones; data is always part of it
//! allow = ["shop.Order", "shop.models.*"]     # names; all names defined in a module
//! strict = false                              # true: no whole modules
//! ```
//!
//! [`read`] and [`from_toml`] make a [`Policy`] of it, [`to_toml`] writes one, and [`suggest`]
//! writes the one that would admit what a scan found.

use std::fmt::{self, Write as _};
use std::path::Path;

pub use picklet_codec::policy::{BadName, Builtin, Entry, Policy, Rule};
use picklet_codec::scan::{Import, known_danger};
use serde::Deserialize;

/// Bytes of a policy file that are read.
pub const MAX_POLICY_BYTES: u64 = 16 << 20;

/// A policy file that cannot be used: which, and why.
#[derive(Debug)]
pub struct PolicyError {
    path: Option<String>,
    why: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "the policy {path}: {}", self.why),
            None => write!(f, "the policy: {}", self.why),
        }
    }
}

impl std::error::Error for PolicyError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    strict: bool,
}

/// The policy that a TOML text describes, on top of the built-in `data`.
///
/// ```
/// use picklet::policy::{Rule, from_toml};
///
/// let policy = from_toml("allow = ['shop.Order']")?;
/// assert!(matches!(policy.rule("shop", "Order"), Rule::Vouched));
/// assert!(matches!(policy.rule("datetime", "date"), Rule::Listed(_)));
/// # Ok::<(), picklet::policy::PolicyError>(())
/// ```
///
/// # Errors
/// What is no TOML, an unknown key, a built-in policy that there is not, what is no name, and a
/// whole module in a strict policy.
pub fn from_toml(text: &str) -> Result<Policy, PolicyError> {
    let error = |why: String| PolicyError { path: None, why };
    let file: File = toml::from_str(text).map_err(|wrong| error(in_one_line(&wrong, text)))?;
    let mut policy = Policy::data().strict(file.strict);
    for name in &file.policies {
        policy = policy.with(name.parse().map_err(error)?);
    }
    for name in &file.allow {
        if file.strict && name.ends_with(".*") {
            let why = format!("{name:?} is a whole module, and the policy is strict");
            return Err(error(why));
        }
        if !name.contains('.') {
            return Err(error(format!(
                "{name:?} is no full name such as \"package.module.Class\""
            )));
        }
        policy.allow(name).map_err(|bad| error(bad.to_string()))?;
    }
    Ok(policy)
}

fn in_one_line(wrong: &toml::de::Error, text: &str) -> String {
    let before = wrong.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(1, |before| before.matches('\n').count() + 1);
    let message = wrong.message().lines().map(str::trim).collect::<Vec<_>>().join("; ");
    format!("line {line}: {message}")
}

/// The policy in a TOML file; see [`from_toml`].
///
/// # Errors
/// Those of reading the file, and of [`from_toml`]; each names the file.
pub fn read(path: impl AsRef<Path>) -> Result<Policy, PolicyError> {
    let path = path.as_ref();
    let named = |why: String| PolicyError { path: Some(path.display().to_string()), why };
    let size = std::fs::metadata(path).map_err(|error| named(error.to_string()))?.len();
    if size > MAX_POLICY_BYTES {
        return Err(named(format!(
            "{size} bytes are more than the {MAX_POLICY_BYTES} it may have"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
    from_toml(&text).map_err(|error| named(error.why))
}

/// The TOML text of a policy, which [`from_toml`] reads to the same.
pub fn to_toml(policy: &Policy) -> String {
    let builtins: Vec<_> = policy.builtins().filter(|one| *one != Builtin::Data).collect();
    let mut text = String::new();
    if !builtins.is_empty() {
        let names: Vec<String> = builtins.iter().map(|one| quoted(one.name())).collect();
        let _ = writeln!(text, "policies = [{}]", names.join(", "));
    }
    let names: Vec<String> =
        policy.allowed().map(|name| format!("    {},\n", quoted(&name))).collect();
    match names.is_empty() {
        true => text.push_str("allow = []\n"),
        false => {
            let _ = writeln!(text, "allow = [\n{}]", names.concat());
        }
    }
    if policy.is_strict() {
        text.push_str("strict = true\n");
    }
    text
}

/// The TOML text of the policy that would admit what a scan found, on top of `policy`.
///
/// What is known to run code is left out, with the reason beside it: a name that no policy
/// should hold. The names are those that the pickle gives; whether to trust them is for a person
/// to say.
pub fn suggest<'a>(imports: impl IntoIterator<Item = &'a Import>, policy: &Policy) -> String {
    let mut suggested = policy.clone();
    let mut refused = Vec::new();
    for import in imports {
        if !matches!(policy.rule(&import.module, &import.name), Rule::Unlisted) {
            continue;
        }
        let builtin = Builtin::ALL.iter().copied().find(|builtin| {
            let table = Policy::empty().with(*builtin);
            matches!(table.rule(&import.module, &import.name), Rule::Listed(_))
        });
        if let Some(builtin) = builtin {
            suggested = suggested.with(builtin);
        } else if let Some(why) = known_danger(&import.module, &import.name) {
            refused.push((import.dotted(), why.to_owned()));
        } else if suggested.allow(&import.dotted()).is_err() {
            refused.push((import.dotted(), "is no name that a policy can hold".to_owned()));
        }
    }
    let mut text = to_toml(&suggested);
    refused.sort();
    refused.dedup();
    if !refused.is_empty() {
        text.push_str("\n# Left out; load with trust=True only if you trust the pickle wholly:\n");
    }
    for (name, why) in refused {
        let _ = writeln!(text, "#   {} {why}", quoted(&name));
    }
    text
}

/// A TOML string, which no character of a pickle's can leave.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            plain if !plain.is_control() && !('\u{2028}'..='\u{202e}').contains(&plain) => {
                quoted.push(plain);
            }
            other => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(other));
            }
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(module: &str, name: &str) -> Import {
        Import {
            module: module.to_owned(),
            name: name.to_owned(),
            offset: 0,
            times: 1,
            calls: 1,
            states: 0,
            listed: false,
        }
    }

    #[test]
    fn a_policy_is_the_same_after_it_was_written_and_read() {
        let text = "allow = ['shop.Order', 'shop.models.*', 'a.\\\"b']\n";
        let mut policy = from_toml("allow = ['shop.Order', 'shop.models.*']").unwrap();
        assert_eq!(from_toml(&to_toml(&policy)).unwrap(), policy);
        assert!(from_toml(text).is_ok(), "single quotes take backslashes as they are");
        policy.allow("a.b\"c\\d").unwrap();
        for builtin in Builtin::ALL {
            policy = policy.with(*builtin);
        }
        assert_eq!(from_toml(&to_toml(&policy)).unwrap(), policy);
        let strict = from_toml("strict = true\nallow = ['shop.Order']").unwrap();
        assert!(strict.is_strict());
        assert_eq!(from_toml(&to_toml(&strict)).unwrap(), strict);
    }

    #[test]
    fn what_is_wrong_with_a_policy_file_is_said_in_one_line() {
        for (text, says) in [
            ("allow = [", "line 1"),
            ("\n\nallows = []", "line 3: unknown field `allows`"),
            ("policies = ['tourch']", "no built-in policy is called \"tourch\""),
            ("allow = ['os']", "\"os\" is no full name"),
            ("allow = ['data']", "\"data\" is no full name"),
            ("allow = ['*.x']", "\"*.x\""),
            ("strict = true\nallow = ['shop.*']", "\"shop.*\" is a whole module"),
        ] {
            let message = from_toml(text).unwrap_err().to_string();
            assert!(message.contains(says), "{message:?} does not say {says:?}");
            assert!(!message.contains('\n'), "{message:?}");
        }
        let missing = read("no/such.toml").unwrap_err().to_string();
        assert!(missing.contains("no/such.toml"), "{missing}");
    }

    #[test]
    fn a_suggested_policy_admits_what_was_found_but_nothing_dangerous() {
        let found = [
            import("shop", "Order"),
            import("datetime", "date"),
            import("os", "system"),
            import("shop", "a\u{2028}b"),
        ];
        let text = suggest(&found, &Policy::data());
        let policy = from_toml(&text).unwrap();
        assert!(matches!(policy.rule("shop", "Order"), Rule::Vouched));
        assert!(matches!(policy.rule("shop", "a\u{2028}b"), Rule::Vouched));
        assert!(matches!(policy.rule("os", "system"), Rule::Unlisted));
        assert!(text.contains("#   \"os.system\" runs commands of the system"), "{text}");
        assert_eq!(policy.allowed().count(), 2, "{text}");
    }
}
