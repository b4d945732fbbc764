//! What the engine and a Python worker say to each other.
//!
//! Over two pipes go messages: a length (u32, little-endian) and that many bytes of JSON.
//!
//! ```text
//! engine                                   worker (python -m picklet.worker)
//!   hello   function, policy, where to       →
//!           ←  ready   | refused  the function cannot be found, imported …
//!   task    id, the segment's file           →
//!           ←  done    id, the receipt
//!           |  failed  id, error, traceback as text
//!           |  names   id, how many names its outputs need
//!   …
//!   (the pipe closes)                        →  the worker ends
//! ```
//!
//! Objects never cross: a worker reads its segment's file and publishes its output itself.
//! This module reads and writes bytes; it starts nothing and decides nothing.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::draft::Receipt;

/// The version of this protocol, which both sides compare.
pub(crate) const PROTOCOL_VERSION: u32 = 2;

/// The largest message that is read from a worker, in bytes. Its tracebacks are cut far below.
pub(crate) const MAX_MESSAGE_BYTES: u32 = 16 << 20;

/// Which function the workers run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// `module:name`, imported by each worker; the name may have dots.
    Call(String),
    /// What `cloudpickle.dumps(function)` gave, in hexadecimal digits: for lambdas, closures and
    /// what lives in `__main__`. It comes from the process that asked for the map and is trusted.
    Cloudpickle(String),
}

/// How the function is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Once for each segment, with the whole of it.
    #[default]
    Segment,
    /// Once for each item; the outputs make a list (for a dict: a dict, of pairs in and out).
    Items,
    /// Once for each item; the items for which it is true are kept.
    Filter,
    /// Once for so many items at a time, as a list; the outputs are joined.
    Batch(u64),
    /// A generator, called once for each segment: each thing that it yields is an output of its
    /// own. Goes with [`Fan::Out`](super::Fan::Out).
    Outputs,
    /// `combine(a, b)`: the segments of a task are folded into one. Goes with
    /// [`reduce`](super::reduce()).
    Reduce,
}

/// Which globals a segment may import when a worker loads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPolicy {
    /// Names to allow beyond the default policy, as in `picklet.load(allow=…)`.
    pub allow: Vec<String>,
    /// Load with pickle's full behaviour.
    pub trust: bool,
}

/// Where a worker publishes its outputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PublishTo {
    /// The output directory, absolute.
    pub directory: String,
    /// The writer's session; a worker that outlives it can publish nothing.
    pub session: String,
}

/// The first message to a worker.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Hello<'a> {
    pub protocol: u32,
    /// The engine's process id; a worker whose parent is another ends with its pipe instead.
    pub parent: u32,
    pub function: &'a Function,
    pub form: Form,
    /// Put before the worker's own `sys.path`.
    pub sys_path: &'a [String],
    pub policy: &'a LoadPolicy,
    pub output: &'a PublishTo,
}

/// One segment to run the function over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// Its number in this run.
    pub task: usize,
    /// The segment's name: its file's name without `.pickle`.
    pub name: String,
    /// Its place among the segments, from 0.
    pub index: u64,
    /// The segment's file, absolute.
    pub path: String,
    /// The number of its first item in the whole data set, where known.
    pub first_item: Option<u64>,
    /// How many items it holds, where known.
    pub items: Option<u64>,
    /// Further segments that the task takes, each a file, after the first.
    pub more: Vec<String>,
    /// What the manifest of the input says of the segment's place in an array, where it is a tile.
    pub window: Option<serde_json::Value>,
    /// The file name of the output.
    pub output: String,
    /// The file names of the outputs where it may have several; [`Answer::Names`] asks for more.
    pub outputs: Vec<String>,
    /// The file of the segment that is handed out next, to this worker or another of the same
    /// machine, which may have it read ahead.
    pub next: Option<String>,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Answer {
    /// It waits for a task.
    Ready,
    /// It cannot work: no such module, no such function, an import that fails.
    Refused {
        /// One line for the user.
        message: String,
    },
    /// The output is published.
    Done(Box<Done>),
    /// The function raised, or its output could not be written.
    Failed(Box<Failed>),
    /// It has more outputs than names: it is run again with more.
    Names {
        /// The task's number.
        task: usize,
        /// How many names it needs at least.
        needed: u64,
    },
}

/// A published output.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Output {
    /// The published file, its size and digest.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// What the output is: list, tuple, dict, set, frozenset or object.
    pub holds: String,
    /// How many items it holds; 1 for what is no container.
    pub items: u64,
}

/// A task's outputs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Done {
    /// The task's number.
    pub task: usize,
    /// What was published: one output, or with [`Fan::Out`](super::Fan::Out) any number.
    pub outputs: Vec<Output>,
    /// Seconds to read and load the segment.
    pub load_seconds: f64,
    /// Seconds in the function.
    pub run_seconds: f64,
    /// Seconds to pickle and publish the output.
    pub dump_seconds: f64,
    /// The worker's peak memory since it started, in bytes.
    #[serde(default)]
    pub peak_rss: Option<u64>,
}

/// What went wrong inside a worker that lives on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Failed {
    /// The task's number.
    pub task: usize,
    /// The exception's class, `ValueError` or `package.module.Name`.
    pub error: String,
    /// Its message.
    pub message: String,
    /// The whole traceback as Python prints it.
    pub traceback: String,
    /// The number of the item, in the whole data set, that the function failed at, where it is
    /// called item by item.
    #[serde(default)]
    pub item: Option<u64>,
    /// How long it took until then.
    pub seconds: f64,
    /// Whether all that is wrong is that it took too long.
    #[serde(default)]
    pub timed_out: bool,
    /// The worker's peak memory since it started, in bytes.
    #[serde(default)]
    pub peak_rss: Option<u64>,
}

/// Writes one message.
///
/// # Errors
/// What the pipe says; `InvalidInput` for a message that does not fit a u32.
pub(crate) fn send(pipe: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the message is over 4 GiB"))?;
    let mut bytes = Vec::with_capacity(json.len().saturating_add(4));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&json);
    pipe.write_all(&bytes)?;
    pipe.flush()
}

/// Reads one message; `None` at the end of the pipe.
///
/// # Errors
/// What the pipe says; `InvalidData` for what is no message.
pub(crate) fn receive(pipe: &mut impl Read) -> io::Result<Option<Answer>> {
    let mut length = [0u8; 4];
    // Nothing at all is the end; a part of a length is a worker that died in the middle of a
    // message, which is the end as well.
    match pipe.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE_BYTES {
        let text = format!("a message of {length} bytes: something else writes to the pipe");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut json = Vec::new();
    let read = pipe.take(u64::from(length)).read_to_end(&mut json)?;
    if read < length as usize {
        return Ok(None);
    }
    serde_json::from_slice(&json).map(Some).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_pipe_and_a_cut_one_is_the_end() {
        let mut pipe = Vec::new();
        let json = serde_json::json!({"type": "failed", "task": 3, "error": "E", "message": "m",
            "traceback": "t", "seconds": 0.5, "later": "fields are ignored"});
        send(&mut pipe, &json).unwrap();
        let whole = pipe.clone();
        match receive(&mut pipe.as_slice()).unwrap() {
            Some(Answer::Failed(failed)) => assert_eq!((failed.task, failed.item), (3, None)),
            other => panic!("{other:?}"),
        }
        for cut in 0..whole.len() {
            assert_eq!(receive(&mut &whole[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error_and_costs_no_memory() {
        assert!(receive(&mut &b"\xff\xff\xff\xffprinted"[..]).is_err());
        assert!(receive(&mut &b"\x02\x00\x00\x00{}"[..]).is_err());
        assert!(receive(&mut &b"\x03\x00\x00\x00\xff\xff\xff"[..]).is_err());
    }
}
