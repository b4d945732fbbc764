//! External commands: one process for each segment, the segment's file as its standard input, its
//! standard output as the output.
//!
//! The command's arguments are passed as they are, without a shell. An exit code other than 0 is a
//! failure, with the end of standard error as its report; all of standard error is kept in
//! `.picklet/stderr/NAME.txt` of the output. A command that does not read its input to the end has
//! done nothing wrong. What it writes must be one whole pickle, which is checked by reading its
//! opcodes; nothing is run. With a [`Text`] form it reads and writes text instead.

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
use super::process::{Guard, Keep, Letter, Mailbox, News, Process, describe, was_signalled};
use super::protocol::{self, Answer, Done, Task};
use super::report::FailureKind;
use super::text::{self, Fed, Text, TextForm};
use super::{Happened, Trouble};
use crate::compress::Compression;
use crate::directory::read_file;
use crate::draft::{Draft, Publisher};
use crate::error::{Error, Result};
use crate::name;
use crate::store::is_url;

/// A program in any language that turns one segment into one output.
#[derive(Clone, Debug)]
pub struct ExternalCommand {
    /// The program and its arguments. In each, `{}` stands for the segment's file, `{name}` for
    /// its name, `{index}` for its place from 0, and `{out}` for a file that the command is to
    /// write; then its standard output goes where its standard error goes. Other braces stay as
    /// they are.
    pub arguments: Vec<OsString>,
    /// The directory that it runs in; this process's own when `None`.
    pub directory: Option<PathBuf>,
    /// What it reads and writes; pickles when `None`.
    pub text: Option<Text>,
}

impl ExternalCommand {
    /// The program and its arguments, with pickles on both sides.
    pub fn new(arguments: Vec<OsString>) -> ExternalCommand {
        ExternalCommand { arguments, directory: None, text: None }
    }

    fn writes_file(&self) -> bool {
        self.arguments.iter().any(|a| a.to_str().is_some_and(|text| text.contains(OUT)))
    }
}

/// What stands for the file that a command writes.
const OUT: &str = "{out}";

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
    /// Its standard output has ended.
    quiet: bool,
    /// The segment has not the form that was asked for.
    unfit: Option<String>,
    /// The file that it is to write, and the name of the output that this becomes.
    file: Option<(PathBuf, String)>,
    killed: bool,
    /// Removed when the command has ended.
    _fetched: Option<tempfile::NamedTempFile>,
}

pub(crate) struct CommandCrew<'a> {
    command: &'a ExternalCommand,
    publisher: Publisher,
    sender: SyncSender<Letter>,
    guard: Guard,
    /// Where standard error is kept.
    kept: PathBuf,
    /// Where commands write their files; removed in the end.
    scratch: Option<tempfile::TempDir>,
    runs: HashMap<usize, Run>,
    /// Slots that are ready or dead though no process is in them.
    news: Vec<Happened>,
    generation: u64,
}

impl<'a> CommandCrew<'a> {
    /// `private` is picklet's own folder in the output.
    pub(crate) fn new(
        command: &'a ExternalCommand,
        publisher: Publisher,
        private: &Path,
        sender: SyncSender<Letter>,
    ) -> Result<CommandCrew<'a>> {
        let kept = private.join("stderr");
        let scratch = if command.writes_file() {
            // What a crash leaves there goes when the next session begins.
            let parent = private.join("tmp").join(publisher.session());
            let made = std::fs::create_dir_all(&parent)
                .and_then(|()| tempfile::Builder::new().prefix("out-").tempdir_in(&parent));
            Some(made.map_err(|error| Error::io("make directory", parent, error))?)
        } else {
            None
        };
        let (runs, news, guard) = (HashMap::new(), Vec::new(), Guard::start());
        Ok(CommandCrew {
            command,
            publisher,
            sender,
            guard,
            kept,
            scratch,
            runs,
            news,
            generation: 0,
        })
    }

    /// A slot needs no process before it has a task.
    pub(crate) fn start(&mut self, slot: usize) {
        self.news.push(Happened::Ready { slot });
    }

    pub(crate) fn assign(&mut self, slot: usize, task: &Task) -> Result<()> {
        let fetched = fetch(&task.path)?;
        let local = fetched
            .as_ref()
            .map(|file| Task { path: file.path().to_string_lossy().into_owned(), ..task.clone() });
        let task = local.as_ref().unwrap_or(task);
        self.generation += 1;
        let generation = self.generation;
        let mailbox = Mailbox { sender: self.sender.clone(), slot, generation };
        let extension = self.form().map_or("pickle", TextForm::extension);
        let file = self
            .scratch
            .as_ref()
            .map(|folder| folder.path().join(format!("{}.{extension}", task.name)));
        let out = file.as_ref().map(|file| file.to_string_lossy().into_owned());
        let mut arguments = self.command.arguments.iter().map(|a| expand(a, task, out.as_deref()));
        let program = arguments.next().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(arguments).stdout(Stdio::piped());
        command.stdin(match &self.command.text {
            None => File::open(&task.path).map_err(|e| Error::io("open", &task.path, e))?.into(),
            Some(_) => Stdio::piped(),
        });
        if let Some(directory) = &self.command.directory {
            command.current_dir(directory);
        }
        let failed = |error| cannot_start(&program, &error);
        let keep = Keep::new(self.kept.join(format!("{}.txt", task.name)));
        let process = Process::start(&mut command, &mailbox, false, Some(keep));
        let mut process = process.map_err(failed)?;
        if let (Some(stdin), Some(text)) = (process.child().stdin.take(), &self.command.text) {
            let (text, path, mailbox) = (text.clone(), task.path.clone(), mailbox.clone());
            spawn("picklet-text", move || {
                let mut stdin = stdin;
                // Told before the pipe closes, so that it is known before the command can end.
                if let Fed::Unfit(why) = text::feed(&path, &text, &mut stdin) {
                    mailbox.send(News::Unfit(why));
                }
            })
            .map_err(failed)?;
        }
        if let Some(stdout) = process.child().stdout.take() {
            let reader = if file.is_some() {
                // It belongs to what the command says, and is shown with it.
                spawn("picklet-output", move || {
                    pass_on_output(stdout, &mailbox);
                    mailbox.send(News::OutputEnd);
                })
            } else {
                let draft = self.publisher.draft(&task.output)?;
                let form = self.form();
                spawn("picklet-output", move || {
                    let output = keep_output(stdout, draft, form);
                    mailbox.send(News::Output(Box::new(output)));
                })
            };
            reader.map_err(failed)?;
        }
        let run = Run {
            process,
            generation,
            task: task.task,
            began: Instant::now(),
            output: None,
            quiet: false,
            unfit: None,
            file: file.map(|file| (file, task.output.clone())),
            killed: false,
            _fetched: fetched,
        };
        self.runs.insert(slot, run);
        self.watch();
        Ok(())
    }

    fn form(&self) -> Option<TextForm> {
        self.command.text.as_ref().map(|text| text.form)
    }

    /// Tells the guard who runs.
    fn watch(&mut self) {
        self.guard.watch(self.runs.values().map(|run| run.process.id()));
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
            News::Output(output) => {
                run.quiet = true;
                run.output = Some(output);
            }
            News::OutputEnd => run.quiet = true,
            News::Unfit(why) => {
                // It was not given its segment, and whatever it makes of that is not wanted.
                run.process.kill();
                run.unfit = Some(why);
            }
            News::Stderr(bytes) => happened.extend(run.process.stderr(bytes).map(Happened::Stderr)),
            News::StderrEnd => run.process.stderr_ended(),
            News::Said(_) | News::Silent(_) => {}
        }
    }

    pub(crate) fn poll(&mut self, happened: &mut Vec<Happened>) -> Result<()> {
        happened.append(&mut self.news);
        let mut gone = Vec::new();
        for (&slot, run) in &mut self.runs {
            let quiet = run.quiet || run.killed;
            if let Some(status) = run.process.verdict(quiet, OUTPUT_GRACE) {
                gone.push((slot, status));
            }
        }
        let over = !gone.is_empty();
        for (slot, status) in gone {
            let Some(mut run) = self.runs.remove(&slot) else { continue };
            if let Some(message) = run.unfit.take().filter(|_| !run.killed) {
                let error = "bad input".to_owned();
                let trouble =
                    Trouble { kind: FailureKind::Input, error, message, ..Trouble::default() };
                happened.push(Happened::Failed { slot, task: run.task, trouble });
                continue;
            }
            if was_signalled(status) || run.killed {
                let (error, message) = describe(status);
                let kind = FailureKind::Died;
                let traceback = run.process.tail();
                let (stderr, peak_rss) = (run.process.kept(), run.process.peak_rss());
                let item = None;
                let trouble = Trouble { kind, error, message, traceback, item, peak_rss, stderr };
                happened.push(Happened::Died { slot, trouble });
                continue;
            }
            let task = run.task;
            match settle(run, status, &self.publisher, self.form())? {
                Ok(done) => {
                    let answer = Answer::Done(Box::new(done));
                    happened.push(Happened::Answered { slot, answer });
                }
                Err(trouble) => happened.push(Happened::Failed { slot, task, trouble }),
            }
        }
        if over {
            self.watch();
        }
        Ok(())
    }

    /// Whether a process is about to end, so that it is worth to look soon.
    pub(crate) fn restless(&self) -> bool {
        !self.news.is_empty() || self.runs.values().any(|run| run.quiet || run.killed)
    }

    pub(crate) fn kill_all(&mut self) {
        for run in self.runs.values_mut() {
            run.process.kill();
        }
    }
}

/// What a command that ended by itself has brought about.
fn settle(
    mut run: Run,
    status: std::process::ExitStatus,
    publisher: &Publisher,
    form: Option<TextForm>,
) -> Result<std::result::Result<Done, Trouble>> {
    let (traceback, stderr) = (run.process.tail(), run.process.kept());
    let peak_rss = run.process.peak_rss();
    if !status.success() {
        let (error, message) = describe(status);
        let last = traceback.lines().last().unwrap_or_default();
        let message = if last.is_empty() { message } else { last.to_owned() };
        let (kind, item) = (FailureKind::Exit, None);
        return Ok(Err(Trouble { kind, error, message, traceback, item, peak_rss, stderr }));
    }
    let bad = |message: String| Trouble {
        kind: FailureKind::Output,
        error: "bad output".to_owned(),
        message,
        traceback: traceback.clone(),
        stderr: stderr.clone(),
        item: None,
        peak_rss,
    };
    let output = match (run.output.take(), run.file.take()) {
        (Some(output), _) => *output,
        (None, Some((path, output))) => match File::open(&path) {
            Ok(file) => {
                let output = keep_output(file, publisher.draft(&output)?, form);
                let _ = std::fs::remove_file(&path);
                output
            }
            Err(error) => {
                return Ok(Err(bad(format!("it did not write the file {{out}}: {error}"))));
            }
        },
        (None, None) => {
            return Ok(Err(bad(
                "the command ended and left a process behind that holds its standard output".into(),
            )));
        }
    };
    let draft = output.draft?;
    let whole = match output.whole {
        Ok(whole) => whole,
        Err(message) => return Ok(Err(bad(message))),
    };
    let receipt = draft.publish()?;
    Ok(Ok(Done {
        task: run.task,
        outputs: vec![protocol::Output { receipt, holds: whole.holds, items: whole.items }],
        load_seconds: 0.0,
        run_seconds: run.began.elapsed().as_secs_f64(),
        dump_seconds: 0.0,
        peak_rss,
    }))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}

/// Shows the standard output of a command that writes a file.
fn pass_on_output(mut stdout: impl Read, mailbox: &Mailbox) {
    let mut buffer = vec![0u8; 16 << 10];
    loop {
        match stdout.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                let bytes = buffer.get(..read).unwrap_or_default().to_vec();
                if !mailbox.send(News::Stderr(bytes)) {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Copies a command's output into its draft, checking it on the way, or pickles its text.
fn keep_output(mut stdout: impl Read, mut draft: Draft, form: Option<TextForm>) -> Output {
    let mut rest = [0u8; 16 << 10];
    if let Some(form) = form {
        let (draft, whole) = match text::to_pickle(form, &mut stdout, &mut draft) {
            Ok(whole) => (Ok(draft), whole),
            Err(error) => (Err(draft.error(error)), Err(String::new())),
        };
        while !matches!(stdout.read(&mut rest), Ok(0) | Err(_)) {}
        return Output { draft, whole };
    }
    let mut tee = Tee { stdout, draft, failed: None };
    let whole = check::whole_pickle(&mut tee);
    // What follows is read as well: a command that is still writing is to end as it would.
    while !matches!(tee.read(&mut rest), Ok(0) | Err(_)) {}
    let draft = match tee.failed {
        Some(error) => Err(tee.draft.error(error)),
        None => Ok(tee.draft),
    };
    Output { draft, whole }
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

/// The segment's pickle in a temporary file, where programs cannot read the segment itself: it is
/// at a URL, or compressed.
fn fetch(path: &str) -> Result<Option<tempfile::NamedTempFile>> {
    if !is_url(path) && Compression::of_file(path).is_none() {
        return Ok(None);
    }
    let failed = |e| Error::io("make a temporary file in", std::env::temp_dir(), e);
    let mut file = tempfile::Builder::new().suffix(name::EXTENSION).tempfile().map_err(failed)?;
    file.write_all(&read_file(path)?).map_err(failed)?;
    Ok(Some(file))
}

/// Puts the task's particulars in the place of `{}`, `{name}`, `{index}` and `{out}`.
fn expand(argument: &OsStr, task: &Task, out_file: Option<&str>) -> OsString {
    // What is not UTF-8 can hold no placeholder worth the trouble.
    let Some(text) = argument.to_str() else { return argument.to_owned() };
    let index = task.index.to_string();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let values: [(&str, &str); 4] = [
            ("{}", &task.path),
            ("{name}", &task.name),
            ("{index}", &index),
            (OUT, out_file.unwrap_or(OUT)),
        ];
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
            more: Vec::new(),
            window: None,
            output: "x.pickle".into(),
            outputs: Vec::new(),
            next: None,
        };
        let expanded =
            |text: &str| expand(OsStr::new(text), &task, Some("/o")).into_string().unwrap();
        assert_eq!(expanded("--to={out}"), "--to=/o");
        assert_eq!(expanded("{}"), "/in/a b.pickle");
        assert_eq!(expanded("--n={index}-{name}"), "--n=7-{index}");
        assert_eq!(expanded("{x} {"), "{x} {");
        assert_eq!(expanded("{if(x){print $1}}"), "{if(x){print $1}}");
    }
}
