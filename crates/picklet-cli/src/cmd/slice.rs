//! What cannot be cut as bytes is loaded and sliced by Python: the part of `split` that makes
//! objects.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use clap::Args;
use picklet::policy::{self, Policy};
use picklet_segments::{Error, Input};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::failure::Interrupted;
use crate::source::is_dash;

/// How Python loads a source that cannot be cut as bytes.
#[derive(Debug, Args)]
pub(crate) struct Loading {
    /// The Python interpreter that loads a source which cannot be cut as bytes (a table, an array
    /// of objects), to slice it; picklet must be installed in it
    #[arg(long, value_name = "EXE")]
    python: Option<OsString>,
    /// Allow such a source to import this global, module.*, or a built-in policy (may be repeated)
    #[arg(long, value_name = "GLOBAL")]
    allow: Vec<String>,
    /// Allow what this TOML file lists: its keys are policies, allow and strict
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Load such a source as pickle does: runs whatever it says
    #[arg(long, conflicts_with_all = ["allow", "policy"])]
    trust: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Warnings(Vec<String>),
    /// One line for the user.
    Error(String),
}

impl Loading {
    /// The names that the source may import.
    pub(crate) fn allowed(&self) -> Result<Vec<String>> {
        let mut policy = match &self.policy {
            Some(file) => policy::read(file)?,
            None => Policy::data(),
        };
        for name in &self.allow {
            policy.allow(name)?;
        }
        Ok(policy.names())
    }

    /// Has Python load `input`, which holds `what`, and split it as `how` says. Gives the lines
    /// that the user should read.
    pub(crate) fn slice(
        &self,
        input: &Input,
        what: &str,
        python: &OsString,
        mut how: Value,
    ) -> Result<Vec<String>> {
        let refused =
            |message: String| -> anyhow::Error { Error::input(input.path(), None, message).into() };
        if is_dash(Path::new(input.name())) {
            return Err(refused(format!(
                "holds {what}, which must be loaded to be cut; name a file instead of -"
            )));
        }
        let Some(request) = how.as_object_mut() else { return Ok(Vec::new()) };
        request.insert("source".to_owned(), json!(input.name()));
        request.insert("allow".to_owned(), json!(self.allowed()?));
        request.insert("trust".to_owned(), json!(self.trust));
        let python = self.python.as_ref().unwrap_or(python);
        let name = python.to_string_lossy();
        let mut command = Command::new(python);
        command.args(["-m", "picklet.slicing"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            refused(format!(
                "holds {what}, which Python must load to cut it, and the interpreter {name:?} \
                 cannot be started: {error}"
            ))
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A process that does not start says why by itself.
            let _ = stdin.write_all(how.to_string().as_bytes());
        }
        let output = child.wait_with_output()?;
        match serde_json::from_slice(&output.stdout) {
            Ok(Answer::Warnings(warnings)) => Ok(warnings),
            Ok(Answer::Error(message)) => Err(refused(format!("holds {what}: {message}"))),
            Err(_) if output.status.code() == Some(130) => {
                Err(Interrupted("interrupted; what is finished is kept").into())
            }
            Err(_) => Err(refused(format!(
                "holds {what}, which Python must load to cut it, and {name:?} -m picklet.slicing \
                 ended with {}; is picklet installed there?",
                output.status
            ))),
        }
    }
}
