//! Processes as the engine holds them: each in a group of its own, its standard error passed on
//! with the end of it kept, its death told in words.
//!
//! Nothing here waits without end: pipes are read by threads that send what they read, and
//! whether a process lives is asked for, never waited for.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::Answer;

/// How much of a process's standard error is kept for the report of its death, in bytes.
pub(crate) const KEPT_STDERR_BYTES: usize = 16 << 10;

/// How long after a process's end its pipes are still read. They normally end with it; a process
/// that it started and that outlived it can hold them open.
pub(crate) const PIPE_GRACE: Duration = Duration::from_millis(250);

/// What the threads that read pipes tell the engine.
pub(crate) enum News {
    /// A worker said something.
    Said(Answer),
    /// A worker's pipe ended; the text says why when it was not simply the end.
    Silent(Option<String>),
    /// A command's output is complete, or could not be kept.
    Output(Box<super::command::Output>),
    /// The standard output of a command that writes a file has ended.
    OutputEnd,
    /// A command cannot be given its segment; the text says why.
    Unfit(String),
    /// Some of standard error.
    Stderr(Vec<u8>),
    /// Standard error ended.
    StderrEnd,
}

/// News with its sender. The generation tells a slot's process from the one that was there before.
pub(crate) struct Letter {
    pub slot: usize,
    pub generation: u64,
    pub news: News,
}

/// Where pipe-reading threads send to. It is bounded: a process that prints a lot waits for the
/// engine, instead of filling the memory.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub sender: SyncSender<Letter>,
    pub slot: usize,
    pub generation: u64,
}

impl Mailbox {
    /// False when nobody listens any more.
    pub(crate) fn send(&self, news: News) -> bool {
        let letter = Letter { slot: self.slot, generation: self.generation, news };
        self.sender.send(letter).is_ok()
    }
}

/// A running process. Dropping it kills it and what it started.
pub(crate) struct Process {
    child: Child,
    ended: Option<Instant>,
    status: Option<ExitStatus>,
    /// Its peak memory in bytes, known once it has ended.
    peak_rss: Option<u64>,
    stderr_open: bool,
    tail: Vec<u8>,
    /// What was read of standard error while it was held back.
    held: Option<Vec<u8>>,
    keep: Option<Keep>,
}

impl Process {
    /// Starts the command in a group of its own, so that Ctrl-C on the terminal reaches the
    /// engine alone, and the engine can end the process together with whatever it started.
    /// With `hold`, standard error is not passed on before [`Process::release`]; with `keep`, it
    /// is written to a file as well.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(
        command: &mut Command,
        mailbox: &Mailbox,
        hold: bool,
        keep: Option<Keep>,
    ) -> std::io::Result<Process> {
        command.stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let mut child = command.spawn()?;
        let stderr = child.stderr.take();
        let stderr_open = stderr.is_some();
        if let Some(stderr) = stderr {
            let mailbox = mailbox.clone();
            thread::Builder::new()
                .name("picklet-stderr".into())
                .spawn(move || pass_on(stderr, &mailbox))?;
        }
        let held = hold.then(Vec::new);
        Ok(Process {
            child,
            ended: None,
            status: None,
            peak_rss: None,
            stderr_open,
            tail: Vec::new(),
            held,
            keep,
        })
    }

    /// The child's pipes, to be taken once.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The number of its group.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that its standard error is in, if it wrote any.
    pub(crate) fn kept(&self) -> Option<String> {
        self.keep.as_ref().and_then(Keep::path)
    }

    /// Takes in some of standard error; gives what is to be shown now.
    pub(crate) fn stderr(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        if let Some(keep) = &mut self.keep {
            keep.add(&bytes);
        }
        self.tail.extend_from_slice(&bytes);
        let excess = self.tail.len().saturating_sub(KEPT_STDERR_BYTES);
        self.tail.drain(..excess);
        match &mut self.held {
            Some(held) => {
                held.extend_from_slice(&bytes);
                let excess = held.len().saturating_sub(KEPT_STDERR_BYTES);
                held.drain(..excess);
                None
            }
            None => Some(bytes),
        }
    }

    pub(crate) fn stderr_ended(&mut self) {
        self.stderr_open = false;
    }

    /// Stops holding standard error back; gives what was held.
    pub(crate) fn release(&mut self) -> Option<Vec<u8>> {
        self.held.take().filter(|held| !held.is_empty())
    }

    /// The last of what it wrote to standard error.
    pub(crate) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).trim_end().to_owned()
    }

    /// Forgets the last of standard error: what follows belongs to another task.
    pub(crate) fn clear_tail(&mut self) {
        self.tail.clear();
    }

    /// Whether the process has ended, without waiting for it.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.ended.is_none() && self.look() {
            self.ended = Some(Instant::now());
        }
        self.ended.is_some()
    }

    /// Looks without reaping: until the child is reaped its number stays taken, and with it that
    /// of its group, so that killing the group can hit nobody else.
    #[cfg(unix)]
    fn look(&mut self) -> bool {
        use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }

    #[cfg(not(unix))]
    fn look(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Whether it has ended and its standard error was read to the end, or is held open by
    /// another process.
    pub(crate) fn is_over(&mut self) -> bool {
        let ended = self.has_ended();
        let waited = self.ended.is_some_and(|since| since.elapsed() >= PIPE_GRACE);
        ended && (!self.stderr_open || waited)
    }

    /// How it ended, once all that it said has been read (`quiet`: its output is read to the end)
    /// or it has been dead for longer than `grace`. What it started ends with it.
    pub(crate) fn verdict(&mut self, quiet: bool, grace: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.status {
            return Some(status);
        }
        if !self.has_ended() {
            return None;
        }
        let waited = self.ended?.elapsed();
        let read = (quiet || waited >= grace) && (!self.stderr_open || waited >= PIPE_GRACE);
        if !read {
            return None;
        }
        self.kill_group();
        (self.status, self.peak_rss) = self.reap();
        self.status
    }

    /// The peak memory of a process that has ended, or of one that it has waited for, in bytes,
    /// where the system tells. It is never below this process's own, of which the other came.
    pub(crate) fn peak_rss(&self) -> Option<u64> {
        self.peak_rss
    }

    #[cfg(unix)]
    fn reap(&mut self) -> (Option<ExitStatus>, Option<u64>) {
        match wait4::Wait4::wait4(&mut self.child) {
            Ok(used) => (Some(used.status), Some(used.rusage.maxrss).filter(|&bytes| bytes > 0)),
            Err(_) => (None, None),
        }
    }

    #[cfg(not(unix))]
    fn reap(&mut self) -> (Option<ExitStatus>, Option<u64>) {
        (self.child.wait().ok(), None)
    }

    /// Kills the process and all of its group.
    pub(crate) fn kill(&mut self) {
        if self.status.is_none() {
            self.kill_group();
            let _ = self.child.kill();
        }
    }

    #[cfg(unix)]
    fn kill_group(&self) {
        use rustix::process::{Pid, Signal, kill_process_group};
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    #[cfg(not(unix))]
    fn kill_group(&self) {}
}

/// This process's own peak memory in bytes, where the system tells.
pub(crate) fn own_peak_rss() -> Option<u64> {
    // Not getrusage's: on Linux that begins with the memory of the process that started this one.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// How much of one try's standard error goes to its file, in bytes.
const KEPT_FILE_BYTES: usize = 16 << 20;

/// The file that standard error is kept in. It is made with its first byte.
pub(crate) struct Keep {
    path: PathBuf,
    file: Option<File>,
    left: usize,
}

impl Keep {
    /// Removes what an earlier try left there.
    pub(crate) fn new(path: PathBuf) -> Keep {
        let _ = std::fs::remove_file(&path);
        Keep { path, file: None, left: KEPT_FILE_BYTES }
    }

    /// That it cannot be written is not worth the segment: the end of it is kept in memory too.
    fn add(&mut self, bytes: &[u8]) {
        let bytes = bytes.get(..bytes.len().min(self.left)).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                let _ = std::fs::create_dir_all(folder);
            }
            self.file = File::create(&self.path).ok();
        }
        let written = self.file.as_mut().is_some_and(|file| file.write_all(bytes).is_ok());
        self.left = if written { self.left.saturating_sub(bytes.len()) } else { 0 };
    }

    fn path(&self) -> Option<String> {
        self.file.as_ref().map(|_| self.path.to_string_lossy().into_owned())
    }
}

/// Ends the processes of an engine that was itself killed: a shell that waits for the end of a
/// pipe. What workers have started goes with them, which a signal to them alone would not do.
pub(crate) struct Guard {
    shell: Option<(Child, ChildStdin)>,
}

impl Guard {
    /// Starts the shell. Where there is none, the processes are on their own.
    pub(crate) fn start() -> Guard {
        Guard { shell: if cfg!(unix) { Guard::shell().ok() } else { None } }
    }

    /// It takes lines that list who runs, and believes the last one when the pipe ends.
    fn shell() -> std::io::Result<(Child, ChildStdin)> {
        const SCRIPT: &str = "trap '' HUP INT TERM QUIT; groups=; \
            while read -r line; do [ \"$line\" = end ] && exit; groups=$line; done; \
            for group in $groups; do kill -s KILL -- -$group; done";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        match child.stdin.take() {
            Some(stdin) => Ok((child, stdin)),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says which processes, each the head of its group, run now.
    pub(crate) fn watch(&mut self, groups: impl Iterator<Item = u32>) {
        let mut line = String::new();
        for group in groups {
            line.push_str(&format!("{group} "));
        }
        self.say(&line);
    }

    fn say(&mut self, line: &str) {
        if let Some((_, stdin)) = &mut self.shell {
            // A guard that somebody killed guards no more.
            if stdin.write_all(format!("{line}\n").as_bytes()).is_err() {
                self.shell = None;
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // In words: whoever this process has forked meanwhile may hold the pipe open.
        self.say("end");
        if let Some((mut child, _)) = self.shell.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends standard error on in whole lines (or what a progress bar takes for a line), so that
/// several processes do not write into each other's.
fn pass_on(mut stderr: impl Read, mailbox: &Mailbox) {
    const LONGEST_LINE: usize = 8 << 10;
    let mut pending: Vec<u8> = Vec::new();
    let mut buffer = vec![0u8; 16 << 10];
    loop {
        let read = match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let whole = pending.iter().rposition(|&byte| byte == b'\n' || byte == b'\r');
        let whole = whole.map_or(0, |place| place + 1);
        let whole = if pending.len() > LONGEST_LINE { pending.len() } else { whole };
        if whole > 0 {
            let rest = pending.split_off(whole);
            if !mailbox.send(News::Stderr(std::mem::replace(&mut pending, rest))) {
                return;
            }
        }
    }
    if !pending.is_empty() {
        mailbox.send(News::Stderr(pending));
    }
    mailbox.send(News::StderrEnd);
}

/// How a process ended: its short name (`SIGSEGV`, `exit code 3`) and a sentence.
pub(crate) fn describe(status: ExitStatus) -> (String, String) {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = signal_name(signal);
        let hint = match signal {
            libc::SIGKILL => {
                "; often the out-of-memory killer: smaller segments or fewer workers help"
            }
            libc::SIGSEGV | libc::SIGBUS | libc::SIGILL => "; native code crashed",
            _ => "",
        };
        return (name.clone(), format!("the process was killed by {name}{hint}"));
    }
    let code = status.code().map_or_else(|| "unknown".to_owned(), |code| code.to_string());
    (format!("exit code {code}"), format!("the process ended with exit code {code}"))
}

#[cfg(unix)]
fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// Whether a signal ended the process.
pub(crate) fn was_signalled(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        std::os::unix::process::ExitStatusExt::signal(&status).is_some()
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        false
    }
}
