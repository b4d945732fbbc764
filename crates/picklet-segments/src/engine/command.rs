//! External commands: one process for each segment, the segment's file as its standard input, its
//! standard output as the output.
//!
//! The command's arguments are passed as they are, without a shell. An exit code other than 0 is a
//! failure, with the end of standard error as its report. A command that does not read its input
//! to the end has done nothing wrong. What it writes must be one whole pickle, which is checked by
//! reading its opcodes; nothing is run.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use super::check::{self, Whole};
use super::process::{Letter, Mailbox, News, Process, describe, was_signalled};
use super::protocol::{Done, Task};
use super::report::FailureKind;
use super::{Happened, Trouble};
use crate::draft::{Draft, Publisher};
use crate::error::{Error, Result};

/// A program in any language that turns one segment into one output.
#[derive(Clone, Debug)]
pub struct ExternalCommand {
    /// The program and its arguments. In each, `{}` stands for the segment's file, `{name}` for
    /// its name, `{index}` for its place from 0. Other braces stay as they are.
    pub arguments: Vec<OsString>,
    /// The directory that it runs in; this process's own when `None`.
    pub directory: Option<PathBuf>,
}

/// How long a command's output may stay open after it ended, held by a process that it started.
const OUTPUT_GRACE: Duration = Duration::from_secs(10);

/// What came of a command's output.
pub(crate) struct Output {
    draft: std::result::Result<Draft, Error>,
    whole: std::result::Result<Whole, String>,
}

struct Run {
    process: Process,
    generation: u64,
    task: usize,
    began: Instant,
    output: Option<Box<Output>>,
    killed: bool,
}

pub(crate) struct CommandCrew<'a> {
    command: &'a ExternalCommand,
    publisher: Publisher,
    sender: SyncSender<Letter>,
    runs: HashMap<usize, Run>,
    /// Slots that are ready or dead though no process is in them.
    news: Vec<Happened>,
    generation: u64,
}

impl<'a> CommandCrew<'a> {
    pub(crate) fn new(
        command: &'a ExternalCommand,
        publisher: Publisher,
        sender: SyncSender<Letter>,
    ) -> CommandCrew<'a> {
        let (runs, news) = (HashMap::new(), Vec::new());
        CommandCrew { command, publisher, sender, runs, news, generation: 0 }
    }

    /// A slot needs no process before it has a task.
    pub(crate) fn start(&mut self, slot: usize) {
        self.news.push(Happened::Ready { slot });
    }

    pub(crate) fn assign(&mut self, slot: usize, task: &Task) -> Result<()> {
        self.generation += 1;
        let generation = self.generation;
        let mailbox = Mailbox { sender: self.sender.clone(), slot, generation };
        let input = File::open(&task.path).map_err(|e| Error::io("open", &task.path, e))?;
        let draft = self.publisher.draft(&task.output)?;
        let mut arguments = self.command.arguments.iter().map(|a| expand(a, task));
        let program = arguments.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::from(input)).stdout(Stdio::piped());
        if let Some(directory) = &self.command.directory {
            command.current_dir(directory);
        }
        let failed = |error| cannot_start(&program, &error);
        let mut process = Process::start(&mut command, &mailbox, false).map_err(failed)?;
        if let Some(stdout) = process.child().stdout.take() {
            thread::Builder::new()
                .name("picklet-output".into())
                .spawn(move || keep_output(stdout, draft, &mailbox))
                .map_err(failed)?;
        }
        let began = Instant::now();
        let run = Run { process, generation, task: task.task, began, output: None, killed: false };
        self.runs.insert(slot, run);
        Ok(())
    }

    pub(crate) fn kill(&mut self, slot: usize) {
        match self.runs.get_mut(&slot) {
            Some(run) => {
                run.killed = true;
                run.process.kill();
            }
            None => self.news.push(Happened::Died { slot, trouble: Trouble::default() }),
        }
    }

    pub(crate) fn take(&mut self, letter: Letter, happened: &mut Vec<Happened>) {
        let Some(run) = self.runs.get_mut(&letter.slot) else { return };
        if run.generation != letter.generation {
            return;
        }
        match letter.news {
            News::Output(output) => run.output = Some(output),
            News::Stderr(bytes) => happened.extend(run.process.stderr(bytes).map(Happened::Stderr)),
            News::StderrEnd => run.process.stderr_ended(),
            News::Said(_) | News::Silent(_) => {}
        }
    }

    pub(crate) fn poll(&mut self, happened: &mut Vec<Happened>) -> Result<()> {
        happened.append(&mut self.news);
        let mut gone = Vec::new();
        for (&slot, run) in &mut self.runs {
            let quiet = run.output.is_some() || run.killed;
            if let Some(status) = run.process.verdict(quiet, OUTPUT_GRACE) {
                gone.push((slot, status));
            }
        }
        for (slot, status) in gone {
            let Some(run) = self.runs.remove(&slot) else { continue };
            if was_signalled(status) || run.killed {
                let (error, message) = describe(status);
                let kind = FailureKind::Died;
                let traceback = run.process.tail();
                let trouble = Trouble { kind, error, message, traceback, ..Trouble::default() };
                happened.push(Happened::Died { slot, trouble });
                continue;
            }
            let task = run.task;
            match settle(run, status)? {
                Ok(done) => happened.push(Happened::Done { slot, done: Box::new(done) }),
                Err(trouble) => happened.push(Happened::Failed { slot, task, trouble }),
            }
        }
        Ok(())
    }

    /// Whether a process is about to end, so that it is worth to look soon.
    pub(crate) fn restless(&self) -> bool {
        !self.news.is_empty() || self.runs.values().any(|run| run.output.is_some() || run.killed)
    }

    pub(crate) fn kill_all(&mut self) {
        for run in self.runs.values_mut() {
            run.process.kill();
        }
    }
}

/// What a command that ended by itself has brought about.
fn settle(
    run: Run,
    status: std::process::ExitStatus,
) -> Result<std::result::Result<Done, Trouble>> {
    let traceback = run.process.tail();
    if !status.success() {
        let (error, message) = describe(status);
        let last = traceback.lines().last().unwrap_or_default();
        let message = if last.is_empty() { message } else { last.to_owned() };
        let kind = FailureKind::Exit;
        return Ok(Err(Trouble { kind, error, message, traceback, ..Trouble::default() }));
    }
    let bad = |message: String| Trouble {
        kind: FailureKind::Output,
        error: "bad output".to_owned(),
        message,
        traceback: traceback.clone(),
        ..Trouble::default()
    };
    let Some(output) = run.output else {
        return Ok(Err(bad(
            "the command ended and left a process behind that holds its standard output".into(),
        )));
    };
    let draft = output.draft?;
    let whole = match output.whole {
        Ok(whole) => whole,
        Err(message) => return Ok(Err(bad(message))),
    };
    let receipt = draft.publish()?;
    Ok(Ok(Done {
        task: run.task,
        receipt,
        holds: whole.holds,
        items: whole.items,
        load_seconds: 0.0,
        run_seconds: run.began.elapsed().as_secs_f64(),
        dump_seconds: 0.0,
        peak_rss: None,
    }))
}

/// Copies a command's output into its draft, checking it on the way.
fn keep_output(stdout: impl Read, draft: Draft, mailbox: &Mailbox) {
    let mut tee = Tee { stdout, draft, failed: None };
    let whole = check::whole_pickle(&mut tee);
    // What follows is read as well: a command that is still writing is to end as it would.
    let mut rest = [0u8; 16 << 10];
    while !matches!(tee.read(&mut rest), Ok(0) | Err(_)) {}
    let draft = match tee.failed {
        Some(error) => Err(tee.draft.error(error)),
        None => Ok(tee.draft),
    };
    mailbox.send(News::Output(Box::new(Output { draft, whole })));
}

/// Reads from a pipe and writes what it read to a draft.
struct Tee<R> {
    stdout: R,
    draft: Draft,
    failed: Option<std::io::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stdout.read(buffer)?;
        if self.failed.is_none() {
            self.failed = self.draft.write_all(buffer.get(..read).unwrap_or_default()).err();
        }
        Ok(read)
    }
}

/// Whether the program can be found, asked before any segment runs.
///
/// # Errors
/// [`Error::Usage`] that names it.
pub(crate) fn find_program(command: &ExternalCommand) -> Result<()> {
    let Some(program) = command.arguments.first() else {
        return Err(Error::usage("no command was given after --"));
    };
    let text = program.to_string_lossy();
    if text.contains('{') {
        return Ok(());
    }
    let found = if text.contains('/') {
        let base = command.directory.as_deref().unwrap_or(Path::new("."));
        base.join(program).is_file()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    if found || cfg!(windows) {
        Ok(())
    } else {
        Err(cannot_start(program, &std::io::Error::from(std::io::ErrorKind::NotFound)))
    }
}

fn cannot_start(program: &OsStr, error: &std::io::Error) -> Error {
    Error::usage(format!(
        "cannot start the command {:?}: {error}; give a program of the PATH or its path (no shell \
         is involved: for a pipeline use sh -c '…')",
        program.to_string_lossy()
    ))
}

/// Puts the task's particulars in the place of `{}`, `{name}` and `{index}`.
fn expand(argument: &OsStr, task: &Task) -> OsString {
    // What is not UTF-8 can hold no placeholder worth the trouble.
    let Some(text) = argument.to_str() else { return argument.to_owned() };
    let index = task.index.to_string();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let values: [(&str, &str); 3] =
            [("{}", &task.path), ("{name}", &task.name), ("{index}", &index)];
        if let Some((placeholder, value)) = values.iter().find(|(p, _)| rest.starts_with(p)) {
            out.push_str(value);
            rest = rest.strip_prefix(placeholder).unwrap_or_default();
        } else {
            out.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_expanded_once_and_other_braces_stay() {
        let task = Task {
            task: 0,
            name: "{index}".into(),
            index: 7,
            path: "/in/a b.pickle".into(),
            first_item: None,
            items: None,
            output: "x.pickle".into(),
        };
        let expanded = |text: &str| expand(OsStr::new(text), &task).into_string().unwrap();
        assert_eq!(expanded("{}"), "/in/a b.pickle");
        assert_eq!(expanded("--n={index}-{name}"), "--n=7-{index}");
        assert_eq!(expanded("{x} {"), "{x} {");
        assert_eq!(expanded("{if(x){print $1}}"), "{if(x){print $1}}");
    }
}
