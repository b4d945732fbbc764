//! Whether a command's output is one whole pickle, and what it holds.
//!
//! The opcodes are read and their effect on the stack is followed, from the codec's table;
//! nothing is built, imported or called. Memory is that of the largest argument.

use std::io::Read;

use picklet_codec::{Opcode, Reader, StackKind};

/// What a whole pickle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// `list`, `tuple`, `dict`, `set`, `frozenset` or `object`.
    pub holds: String,
    /// How many items it holds; 1 for what is no container.
    pub items: u64,
}

/// How much is read at once, in bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// Reads one pickle to its end, and nothing after it but the end.
///
/// # Errors
/// What is wrong with it, in one line.
pub(crate) fn whole_pickle(source: &mut impl Read) -> Result<Whole, String> {
    let mut stack = Stack::default();
    let mut window: Vec<u8> = Vec::new();
    let mut base = 0u64;
    loop {
        let known = window.len();
        let wanted = BLOCK_BYTES.max(known) as u64;
        let read = source.by_ref().take(wanted).read_to_end(&mut window);
        let read = read.map_err(|error| format!("its output cannot be read: {error}"))?;
        if window.is_empty() {
            return Err("it wrote nothing to standard output, where a pickle was due".to_owned());
        }
        let mut reader = Reader::new(&window).at_offset(base);
        let mut consumed = 0usize;
        let error = loop {
            match reader.next_op() {
                Ok(Some(op)) => {
                    if !stack.step(op.opcode) {
                        return Err(not_whole(&format!(
                            "{} at byte {} finds too little on the stack",
                            op.opcode, op.offset
                        )));
                    }
                    consumed = usize::try_from(op.end.saturating_sub(base)).unwrap_or(usize::MAX);
                    if op.opcode == Opcode::Stop {
                        let rest = reader.rest().len();
                        return end(source, rest, op.end).map(|()| stack.whole());
                    }
                }
                Ok(None) => return Err(not_whole("it has no STOP")),
                Err(error) => break error,
            }
        };
        if !error.is_truncation() || read == 0 {
            return Err(not_whole(&error.to_string()));
        }
        window.drain(..consumed.min(window.len()));
        base = base.saturating_add(consumed as u64);
    }
}

/// What one whole pickle holds, as manifests say it (`list`, `tuple`, `dict`, `set`, `frozenset` or
/// `object`), and how many items; 1 for what is no container. `None` when it is none.
pub fn contents(pickle: &[u8]) -> Option<(String, u64)> {
    let whole = whole_pickle(&mut { pickle }).ok()?;
    Some((whole.holds, whole.items))
}

/// Sees to it that nothing follows.
fn end(source: &mut impl Read, rest: usize, offset: u64) -> Result<(), String> {
    let more = rest > 0 || !matches!(source.read(&mut [0u8; 1]), Ok(0));
    if more {
        return Err(not_whole(&format!("something follows its end at byte {offset}")));
    }
    Ok(())
}

fn not_whole(why: &str) -> String {
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("its standard output is not one whole pickle: {why}; print to standard error instead")
}

/// The pickle machine's stack as far as heights go, and its bottom object.
struct Stack {
    /// The height above each mark; the first is the bottom's.
    levels: Vec<u64>,
    holds: &'static str,
    items: u64,
}

impl Default for Stack {
    fn default() -> Stack {
        Stack { levels: vec![0], holds: "object", items: 1 }
    }
}

impl Stack {
    /// Takes one opcode; false when the stack does not hold what it needs.
    fn step(&mut self, opcode: Opcode) -> bool {
        let info = opcode.info();
        let mut slice = 0u64;
        if opcode == Opcode::Mark {
            self.levels.push(0);
            return true;
        }
        // POP takes a mark away when that is what is on top.
        if opcode == Opcode::Pop && self.levels.len() > 1 && self.levels.last() == Some(&0) {
            self.levels.pop();
            return true;
        }
        let mut takes = info.before.len() as u64;
        if info.before.contains(&StackKind::Mark) {
            if self.levels.len() < 2 {
                return false;
            }
            slice = self.levels.pop().unwrap_or(0);
            takes = info.before.iter().take_while(|kind| **kind != StackKind::Mark).count() as u64;
            if opcode == Opcode::Obj && slice == 0 {
                return false;
            }
        }
        let Some(height) = self.levels.last_mut() else { return false };
        let needed = if info.peek { 1 } else { takes };
        if *height < needed {
            return false;
        }
        *height = height.saturating_sub(takes).saturating_add(info.after.len() as u64);
        if *height == 1 && self.levels.len() == 1 {
            self.at_bottom(opcode, slice);
        }
        true
    }

    /// The opcode left one object, the bottom one: what is it now?
    fn at_bottom(&mut self, opcode: Opcode, slice: u64) {
        let (holds, items) = match opcode {
            Opcode::EmptyList | Opcode::List => ("list", slice),
            Opcode::EmptyTuple | Opcode::Tuple => ("tuple", slice),
            Opcode::Tuple1 => ("tuple", 1),
            Opcode::Tuple2 => ("tuple", 2),
            Opcode::Tuple3 => ("tuple", 3),
            Opcode::EmptyDict | Opcode::Dict => ("dict", slice / 2),
            Opcode::EmptySet => ("set", 0),
            Opcode::FrozenSet => ("frozenset", slice),
            Opcode::Append | Opcode::SetItem => (self.holds, self.grown(1)),
            Opcode::Appends | Opcode::AddItems => (self.holds, self.grown(slice)),
            Opcode::SetItems => (self.holds, self.grown(slice / 2)),
            _ if opcode.info().after.is_empty() => return,
            Opcode::Memoize | Opcode::Build => return,
            _ => ("object", 1),
        };
        (self.holds, self.items) = (holds, items);
    }

    fn grown(&self, by: u64) -> u64 {
        if self.holds == "object" { 1 } else { self.items.saturating_add(by) }
    }

    fn whole(&self) -> Whole {
        Whole { holds: self.holds.to_owned(), items: self.items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<Whole, String> {
        whole_pickle(&mut { bytes })
    }

    fn holds(bytes: &[u8]) -> (String, u64) {
        let whole = check(bytes).unwrap();
        (whole.holds, whole.items)
    }

    #[test]
    fn containers_are_named_and_counted() {
        assert_eq!(holds(b"\x80\x04]\x94(K\x01K\x02K\x03e."), ("list".into(), 3));
        assert_eq!(holds(b"]K\x01aK\x02a."), ("list".into(), 2));
        assert_eq!(holds(b"}(K\x01](K\x01K\x02eK\x03Nu."), ("dict".into(), 2));
        assert_eq!(holds(b"K\x01K\x02\x86."), ("tuple".into(), 2));
        assert_eq!(holds(b"\x8f(K\x01K\x02\x90."), ("set".into(), 2));
        assert_eq!(holds(b"(K\x01\x91."), ("frozenset".into(), 1));
        assert_eq!(holds(b"K\x01."), ("object".into(), 1));
        assert_eq!(holds(b"cbuiltins\ndict\n)R(K\x01K\x02u."), ("object".into(), 1));
    }

    #[test]
    fn what_is_longer_than_a_block_is_read_through() {
        let mut bytes = b"](".to_vec();
        for _ in 0..5 {
            bytes.push(b'B');
            bytes.extend_from_slice(&200_000u32.to_le_bytes());
            bytes.extend(std::iter::repeat_n(7u8, 200_000));
        }
        bytes.extend_from_slice(b"e.");
        assert_eq!(holds(&bytes), ("list".into(), 5));
        for cut in [1, 3, 200_000, bytes.len() - 1] {
            assert!(check(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_pickle_is_told_in_one_line() {
        for bytes in
            [&b""[..], b"hello\n", b"K\x01.K\x02.", b"K\x01.\n", b".", b"e.", b"(.", b"Na.", b"(0."]
        {
            let message = check(bytes).unwrap_err();
            assert!(!message.contains('\n') && message.contains("standard output"), "{message}");
        }
    }
}
