//! Processes as the engine holds them: each in a group of its own, its standard error passed on
//! with the end of it kept, its death told in words.
//!
//! Nothing here waits without end: pipes are read by threads that send what they read, and
//! whether a process lives is asked for, never waited for.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
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
    stderr_open: bool,
    tail: Vec<u8>,
    /// What was read of standard error while it was held back.
    held: Option<Vec<u8>>,
}

impl Process {
    /// Starts the command in a group of its own, so that Ctrl-C on the terminal reaches the
    /// engine alone, and the engine can end the process together with whatever it started.
    /// With `hold`, standard error is not passed on before [`Process::release`].
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn start(
        command: &mut Command,
        mailbox: &Mailbox,
        hold: bool,
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
        Ok(Process { child, ended: None, status: None, stderr_open, tail: Vec::new(), held })
    }

    /// The child's pipes, to be taken once.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Takes in some of standard error; gives what is to be shown now.
    pub(crate) fn stderr(&mut self, bytes: Vec<u8>) -> Option<Vec<u8>> {
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
        self.status = self.child.wait().ok();
        self.status
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
