//! What a scan says: rules, findings, verdicts.

use std::fmt;

use crate::opcode::Opcode;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing that the policy knows to be data. It may be harmless.
    Suspicious,
    /// Loading it would hand the machine to whoever wrote it, or try to.
    Dangerous,
}

impl Severity {
    /// `suspicious` or `dangerous`.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Suspicious => "suspicious",
            Severity::Dangerous => "dangerous",
        }
    }
}

/// The answer for one file, or for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Read to its end; all that it imports and calls is what the policy lists.
    Clean,
    /// It could not be read to its end, and nothing was found before that.
    Unreadable,
    /// At least one finding.
    Suspicious,
    /// At least one dangerous finding.
    Dangerous,
}

impl Verdict {
    /// `clean`, `unreadable`, `suspicious` or `dangerous`.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Unreadable => "unreadable",
            Verdict::Suspicious => "suspicious",
            Verdict::Dangerous => "dangerous",
        }
    }
}

impl From<Severity> for Verdict {
    fn from(severity: Severity) -> Verdict {
        match severity {
            Severity::Suspicious => Verdict::Suspicious,
            Severity::Dangerous => Verdict::Dangerous,
        }
    }
}

macro_rules! rules {
    ($($variant:ident = $id:literal, $doc:literal;)+) => {
        /// What a finding is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = $doc] $variant,)+
        }

        impl Rule {
            /// All rules.
            pub const ALL: &'static [Rule] = &[$(Rule::$variant,)+];

            /// Its name in reports.
            pub const fn id(self) -> &'static str {
                match self {
                    $(Rule::$variant => $id,)+
                }
            }

            /// What it is about, in a sentence.
            pub const fn about(self) -> &'static str {
                match self {
                    $(Rule::$variant => $doc,)+
                }
            }
        }
    };
}

rules! {
    DangerousImport = "dangerous-import",
        "The pickle imports something that is known to run code or to reach the system.";
    DangerousCall = "dangerous-call",
        "The pickle calls something that is known to run code or to reach the system.";
    UnlistedImport = "unlisted-import",
        "The pickle imports something that the policy does not list.";
    UnlistedCall = "unlisted-call",
        "The pickle calls something that the policy does not list.";
    UnusualArguments = "unusual-arguments",
        "The pickle calls something that the policy lists, but not with such arguments.";
    IndirectCall = "indirect-call",
        "The pickle calls an object that it made or was given, not one that it imported.";
    UnusualState = "unusual-state",
        "The pickle gives an object a state that the policy does not list for it.";
    ChangedImport = "changed-import",
        "The pickle changes a class, function or module that it imported.";
    ForeignGrowth = "foreign-growth",
        "The pickle adds items to an object that is no list, dict or set, which calls its methods.";
    ComputedName = "computed-name",
        "The pickle imports something whose name is not written in it.";
    LookalikeName = "lookalike-name",
        "The pickle imports a name with letters that look like others.";
    ExtensionCode = "extension-code",
        "The pickle uses an extension code, which stands for whatever the reader registered.";
    PersistentId = "persistent-id",
        "The pickle asks its reader for an object by a persistent id.";
    SharedMemo = "shared-memo",
        "The pickle refers to what an earlier pickle of the same file stored.";
    BadFrame = "bad-frame",
        "The pickle's frames do not fit its opcodes: readers may see different pickles.";
    HiddenPickle = "hidden-pickle",
        "There is a pickle where none is expected: before, behind or in other data.";
    ForeignData = "foreign-data",
        "There are bytes before or behind the pickle that belong to no pickle.";
    Bomb = "bomb",
        "The pickle asks for more than anything honest does.";
    EncryptedMember = "encrypted-member",
        "A member of the archive is encrypted and could not be looked at.";
    DuplicateMember = "duplicate-member",
        "Two members of the archive have one name: readers may see either.";
    MismatchedMember = "mismatched-member",
        "An archive's directory and its members disagree: readers may see different files.";
    UnscannedMember = "unscanned-member",
        "A part of the file was not looked at, because it lies deeper or is larger than the limits.";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The byte offset of the opcode, from the beginning of what was scanned.
    pub offset: u64,
    /// The opcode, where it is about one.
    pub opcode: Option<Opcode>,
    /// Where the pickle begins that holds it.
    pub pickle: u64,
    /// What is imported, called or changed: `os.system`.
    pub callable: Option<String>,
    /// The arguments as far as they are known, written as Python writes them; `…` where not.
    pub arguments: Option<String>,
    /// Why it is reported, in a sentence.
    pub reason: String,
    /// How often the same was found; offset and arguments are those of the first.
    pub times: u64,
}

/// One global that a pickle names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Its module as Python 3 names it.
    pub module: String,
    /// Its name in the module.
    pub name: String,
    /// Where it is named first.
    pub offset: u64,
    /// How often it is named.
    pub times: u64,
    /// How often it is called, or an object is made of it.
    pub calls: u64,
    /// How often BUILD gives what it made a state.
    pub states: u64,
    /// Whether the policy lists it.
    pub listed: bool,
}

impl Import {
    /// `module.name`.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }
}

/// Why a scan could not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The byte offset at which it ended.
    pub offset: u64,
    /// What was wrong there.
    pub what: String,
}

/// What a scan found out about one file, or one part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Pickles that were read to their STOP, those in other data not counted.
    pub pickles: u64,
    /// What was found, in the order of the file.
    pub findings: Vec<Finding>,
    /// Findings beyond [`MAX_FINDINGS`], which are only counted.
    pub more_findings: u64,
    /// Every global that is named, in the order of the file.
    pub imports: Vec<Import>,
    /// What could not be read.
    pub damage: Option<Damage>,
}

/// Findings that one report lists.
pub const MAX_FINDINGS: usize = 1000;

impl Report {
    /// The verdict. A finding outranks what could not be read.
    pub fn verdict(&self) -> Verdict {
        let worst = self.findings.iter().map(|finding| Verdict::from(finding.severity)).max();
        match (worst, &self.damage) {
            (Some(verdict), _) => verdict,
            (None, Some(_)) => Verdict::Unreadable,
            (None, None) => Verdict::Clean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_outranks_what_could_not_be_read() {
        assert!(Verdict::Suspicious > Verdict::Unreadable && Verdict::Unreadable > Verdict::Clean);
        assert!(Verdict::Dangerous > Verdict::Suspicious);
    }

    #[test]
    fn rules_have_one_name_each_and_a_sentence() {
        let mut ids: Vec<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Rule::ALL.len());
        assert!(Rule::ALL.iter().all(|rule| rule.about().ends_with('.')));
    }
}
