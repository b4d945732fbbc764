//! What the tests of the program share: the program, a Python to ask, a folder to work in.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;

/// The program, in a folder of its own, without the colours of the one who runs the tests.
pub(crate) fn picklet(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("picklet").unwrap();
    command.current_dir(folder).env_remove("CLICOLOR_FORCE").env_remove("PYTHONPATH");
    command
}

/// Runs the program and gives what came of it: exit code, standard output, standard error.
pub(crate) fn run<S: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Ran {
    Ran::from(picklet(folder).args(args).output().unwrap())
}

/// The program's exit code and what it printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// It did what was asked, and had nothing to say on standard error.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// It was refused: exit code 2, one line on standard error, which has all of `parts`.
    #[track_caller]
    pub(crate) fn refused(self, parts: &[&str]) -> String {
        assert_eq!(self.code, Some(2), "{self:?}");
        assert!(self.err.starts_with("picklet: "), "{self:?}");
        assert_eq!(self.err.matches('\n').count(), 1, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in {:?}", self.err);
        }
        self.err
    }
}

/// The interpreter that tests ask.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("PICKLET_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Runs a Python program; `None`, said loudly, where there is no Python.
pub(crate) fn ask_python(folder: &Path, program: &str, args: &[&str]) -> Option<String> {
    let ran = std::process::Command::new(python())
        .args(["-c", program])
        .args(args)
        .current_dir(folder)
        .output();
    match ran {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("SKIPPED: no Python to compare with ({error}); set PICKLET_PYTHON");
            None
        }
    }
}

/// A pickle of `list(range(n))`, protocol 4, in one batch, written by hand.
pub(crate) fn numbers(n: u32) -> Vec<u8> {
    let mut pickle = b"\x80\x04](".to_vec();
    for number in 0..n {
        pickle.push(b'J');
        pickle.extend(number.to_le_bytes());
    }
    pickle.extend(b"e.");
    pickle
}

/// A folder whose name has a blank and is Korean, removed with the value.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("한글 폴더 ").tempdir().unwrap()
}
