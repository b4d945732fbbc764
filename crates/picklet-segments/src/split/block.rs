//! The scanner's loop over one block of the source.
//!
//! ```text
//! rest: │op│arguments…│op│…                 │ 15 bytes in which no operation begins │
//!        └─ `ahead`: 16 bytes, so that no argument needs a check of its own
//! ```
//!
//! Operations that nearly always follow one another (a string and its memo
//! number; a dict, its memo number and its mark) are taken in one turn: a turn
//! costs more than what is done in it.

use super::ops::*;
use super::scan::{After, Event, Exit, Frame, MAX_MARKS, Mark, Scanner, Slot, Trace, text_id};
use super::window::{Fault, SLOP, unknown};

/// Four bytes as a number.
macro_rules! four {
    ($ahead:expr) => {
        u64::from(u32::from_le_bytes([$ahead[1], $ahead[2], $ahead[3], $ahead[4]]))
    };
}

/// Eight bytes as a number.
macro_rules! eight {
    ($ahead:expr) => {{
        let a = $ahead;
        u64::from_le_bytes([a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]])
    }};
}

impl Scanner<'_> {
    /// Scans what is in the window.
    #[expect(
        clippy::indexing_slicing,
        clippy::too_many_lines,
        reason = "the one hot loop: an operation's fixed part lies in `ahead`, and what is skipped \
                  of `rest` is no longer than that or is checked; slots are indexed below \
                  `height`, which push! keeps below their number"
    )]
    pub(super) fn block<T: Trace>(&mut self, trace: &mut T) -> Exit {
        let deep = usize::from(self.batches);
        let Scanner { window, slots, marks, frames, odd_frames, .. } = self;
        let base = window.base();
        let end_of_source = window.end();
        let len = window.len();
        let safe = if window.at_end() { len } else { len.saturating_sub(SLOP) };
        let safe = safe.min(self.limit.saturating_sub(base).min(usize::MAX as u64) as usize);
        let view = window.bytes().get(..safe + SLOP - 1).unwrap_or_default();
        let top = base + view.len() as u64;
        let Some(mut rest) = view.get((self.offset - base) as usize..) else {
            return Exit::More;
        };
        let slots = slots.as_mut_slice();
        let room = slots.len();
        let mut h = self.height;
        let mut memo = self.memo;
        let mut gaps = self.gaps;
        let mut producer = self.producer;
        let mut counted = self.counted;
        let mut fence = marks.last().map_or(0, |mark| mark.height);
        let mut nested = !T::ACTIVE && marks.len() > deep;

        macro_rules! here {
            () => {
                top - rest.len() as u64
            };
        }

        let exit = 'ops: loop {
            let Some(ahead) = rest.first_chunk::<SLOP>() else {
                break if here!() > end_of_source { Exit::CutOff } else { Exit::More };
            };
            let op = ahead[0];
            let begin = rest;
            macro_rules! at {
                () => {
                    top - begin.len() as u64
                };
            }
            let mut low = usize::MAX;
            let mut makes = true;

            macro_rules! fail {
                ($fault:expr) => {
                    break 'ops Exit::Fault($fault)
                };
            }
            // A value begins here.
            macro_rules! slot {
                () => {{
                    if !NESTED {
                        if h >= room {
                            break 'ops Exit::Full;
                        }
                        slots[h] = Slot { start: at!(), memo };
                        low = h;
                    }
                    h += 1;
                }};
            }
            // Pushes a value whose operation has so many bytes.
            macro_rules! push {
                ($length:expr) => {{
                    // First: a line that goes on leaves the loop, and then nothing was pushed.
                    let length: usize = $length;
                    slot!();
                    rest = &rest[length..];
                }};
            }
            // The same for one whose length is only known now.
            macro_rules! push_long {
                ($length:expr) => {{
                    let length: usize = $length;
                    slot!();
                    match rest.get(length..) {
                        Some(after) => rest = after,
                        None => {
                            let end = at!() + length as u64;
                            let traced = T::ACTIVE && {
                                producer = op;
                                let (at, bare) = (at!(), fence < h);
                                trace.after(&After {
                                    opcode: op,
                                    at,
                                    low,
                                    height: h,
                                    bare,
                                    end,
                                    memo,
                                })
                            };
                            break 'ops Exit::Beyond { end, traced };
                        }
                    }
                }};
            }
            macro_rules! push_counted {
                ($width:expr, $count:expr, $signed:expr) => {{
                    let count: u64 = $count;
                    if $signed && count > i32::MAX as u64 {
                        fail!(Fault::Bad(at!(), "negative byte count".to_owned()));
                    }
                    if count > end_of_source {
                        break 'ops Exit::CutOff;
                    }
                    push_long!(1 + $width + count as usize)
                }};
            }
            macro_rules! below {
                ($length:expr) => {
                    break 'ops Exit::Event(Event::Op {
                        opcode: op,
                        at: at!(),
                        end: at!() + $length as u64,
                    })
                };
            }
            macro_rules! need {
                ($count:expr) => {
                    if h < fence + $count {
                        below!(1);
                    }
                };
            }
            macro_rules! line {
                ($from:expr) => {{
                    let from: usize = $from;
                    match rest.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                        Some(at) => from + at + 1,
                        None => break 'ops Exit::Line,
                    }
                }};
            }
            macro_rules! define {
                ($id:expr, $length:expr) => {{
                    let id: u64 = $id;
                    let length: usize = $length;
                    if h <= fence {
                        below!(length);
                    }
                    if id < memo {
                        fail!(descending(at!(), id, memo));
                    }
                    gaps |= id > memo;
                    if T::ACTIVE {
                        trace.define(id, h - 1, slots[h - 1], producer);
                    }
                    memo = id + 1;
                    makes = false;
                    rest = &rest[length..];
                }};
            }
            macro_rules! defined {
                ($id:expr) => {
                    if $id >= memo {
                        fail!(undefined(at!(), $id));
                    }
                };
            }
            macro_rules! mark {
                ($at:expr) => {{
                    if marks.len() >= MAX_MARKS {
                        fail!(too_many_marks($at));
                    }
                    marks.push(Mark { height: h, slot: Slot { start: $at, memo }, spilled: 0 });
                    fence = h;
                    nested = !T::ACTIVE && marks.len() > deep;
                    rest = &rest[1..];
                }};
            }
            // The memo number that a value on the stack gets next, and for a container
            // the mark of its items.
            macro_rules! named {
                () => {
                    named!(false)
                };
                ($container:expr) => {
                    if !T::ACTIVE
                        && let Some(ahead) = rest.first_chunk::<SLOP>()
                    {
                        if ahead[0] == MEMOIZE && !gaps {
                            memo += 1;
                            counted = true;
                            rest = &rest[1..];
                        } else if ahead[0] == LONG_BINPUT && four!(ahead) >= memo {
                            let id = four!(ahead);
                            if T::REFS {
                                trace.put(here!());
                            }
                            gaps |= id > memo;
                            memo = id + 1;
                            rest = &rest[5..];
                        }
                        if $container
                            && (NESTED || h < room)
                            && rest.len() >= SLOP
                            && rest[0] == MARK
                        {
                            mark!(here!());
                        }
                    }
                };
            }
            // A value without a memo number, which often follows a key.
            macro_rules! plain {
                ($nested:ident) => {
                    if $nested && let Some(ahead) = rest.first_chunk::<SLOP>() {
                        let length = match ahead[0] {
                            BININT1 => 2,
                            BININT2 => 3,
                            BININT => 5,
                            BINFLOAT => 9,
                            NONE | NEWTRUE | NEWFALSE => 1,
                            _ => 0,
                        };
                        h += usize::from(length > 0);
                        rest = &rest[length..];
                    }
                };
            }
            // A mark was taken off.
            macro_rules! unmark {
                () => {
                    fence = marks.last().map_or(0, |mark| mark.height);
                    nested = !T::ACTIVE && marks.len() > deep;
                };
            }
            // What takes everything from the last mark on leaves one value.
            macro_rules! gather {
                ($length:expr) => {{
                    let length: usize = $length;
                    let Some(mark) = marks.pop() else { below!(length) };
                    h = mark.height;
                    unmark!();
                    if !nested {
                        slots[h] = mark.slot;
                        low = h;
                    }
                    h += 1;
                    rest = &rest[length..];
                }};
            }

            macro_rules! operation {
                ($nested:literal) => {{
                    const NESTED: bool = $nested;
                    match op {
                        EMPTY_LIST | EMPTY_DICT => {
                            push!(1);
                            named!(true);
                        }
                        NONE | NEWTRUE | NEWFALSE | EMPTY_TUPLE => push!(1),
                        EMPTY_SET => {
                            push!(1);
                            named!(true);
                        }
                        BININT1 => push!(2),
                        BININT2 => push!(3),
                        BININT => push!(5),
                        BINFLOAT => push!(9),
                        EXT1 => push!(2),
                        EXT2 => push!(3),
                        EXT4 => push!(5),
                        SHORT_BINUNICODE => {
                            push_long!(2 + usize::from(ahead[1]));
                            named!();
                        }
                        BINUNICODE => {
                            push_counted!(4, four!(ahead), false);
                            named!();
                        }
                        SHORT_BINSTRING | SHORT_BINBYTES => {
                            push_long!(2 + usize::from(ahead[1]));
                            named!();
                        }
                        LONG1 => push_long!(2 + usize::from(ahead[1])),
                        BINBYTES => push_counted!(4, four!(ahead), false),
                        BINSTRING | LONG4 => push_counted!(4, four!(ahead), true),
                        BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => {
                            push_counted!(8, eight!(ahead), false)
                        }
                        BINGET => {
                            let id = ahead[1];
                            defined!(u64::from(id));
                            push!(2);
                            if T::REFS {
                                trace.small_get(at!(), id);
                            }
                            plain!(NESTED);
                        }
                        LONG_BINGET => {
                            let id = four!(ahead);
                            defined!(id);
                            push!(5);
                            if T::REFS {
                                trace.get(at!(), id);
                            }
                        }
                        MEMOIZE => {
                            if gaps {
                                fail!(mixed(at!()));
                            }
                            counted = true;
                            define!(memo, 1)
                        }
                        BINPUT => {
                            define!(u64::from(ahead[1]), 2);
                            if T::REFS {
                                trace.small_put();
                            }
                        }
                        LONG_BINPUT => {
                            define!(four!(ahead), 5);
                            if T::REFS {
                                trace.put(at!());
                            }
                        }
                        MARK => {
                            if !NESTED && h >= room {
                                break 'ops Exit::Full;
                            }
                            mark!(at!());
                        }
                        TUPLE | LIST | DICT | FROZENSET | OBJ => {
                            gather!(1);
                            named!();
                        }
                        APPENDS | SETITEMS | ADDITEMS => {
                            let Some(&mark) = marks.last() else { below!(1) };
                            let under = marks.len().checked_sub(2).map_or(0, |at| marks[at].height);
                            if mark.height <= under {
                                below!(1);
                            }
                            marks.pop();
                            h = mark.height;
                            fence = under;
                            nested = !T::ACTIVE && marks.len() > deep;
                            low = h;
                            rest = &rest[1..];
                        }
                        TUPLE2 | REDUCE | NEWOBJ | STACK_GLOBAL => {
                            need!(2);
                            h -= 1;
                            low = h - 1;
                            rest = &rest[1..];
                            named!();
                        }
                        APPEND | BUILD => {
                            need!(2);
                            h -= 1;
                            low = h;
                            rest = &rest[1..];
                        }
                        TUPLE1 | BINPERSID => {
                            need!(1);
                            low = h - 1;
                            rest = &rest[1..];
                            named!();
                        }
                        TUPLE3 | NEWOBJ_EX => {
                            need!(3);
                            h -= 2;
                            low = h - 1;
                            rest = &rest[1..];
                            named!();
                        }
                        SETITEM => {
                            need!(3);
                            h -= 2;
                            low = h;
                            rest = &rest[1..];
                        }
                        POP => {
                            if h > fence {
                                h -= 1;
                                low = h;
                            } else if marks.pop().is_some() {
                                unmark!();
                            } else {
                                below!(1);
                            }
                            rest = &rest[1..];
                        }
                        POP_MARK => {
                            let Some(mark) = marks.pop() else { below!(1) };
                            h = mark.height;
                            unmark!();
                            low = h;
                            rest = &rest[1..];
                        }
                        DUP => {
                            need!(1);
                            push!(1)
                        }
                        FRAME => {
                            let at = at!();
                            let end = at.saturating_add(9).saturating_add(eight!(ahead));
                            if end > end_of_source {
                                fail!(Fault::Bad(
                                    at,
                                    "a FRAME here is longer than the file: it was cut off"
                                        .to_owned()
                                ));
                            }
                            if let Some(frames) = frames.as_mut() {
                                *odd_frames |= frames.back().is_some_and(|last| at < last.end);
                                frames.push_back(Frame { at, end });
                            }
                            makes = false;
                            rest = &rest[9..];
                        }
                        PROTO => {
                            makes = false;
                            rest = &rest[2..];
                        }
                        READONLY_BUFFER => {
                            need!(1);
                            rest = &rest[1..];
                        }
                        STOP => break 'ops Exit::Event(Event::Stop(at!() + 1)),
                        FLOAT | INT | LONG | PERSID | STRING | UNICODE => push!(line!(1)),
                        GLOBAL => push!(line!(line!(1))),
                        INST => gather!(line!(line!(1))),
                        GET => {
                            let length = line!(1);
                            let Some(id) = text_id(&rest[1..length]) else {
                                fail!(no_number(at!()))
                            };
                            defined!(id);
                            push!(length);
                            if T::REFS {
                                trace.text(Some(id));
                            }
                        }
                        PUT => {
                            let length = line!(1);
                            let Some(id) = text_id(&rest[1..length]) else {
                                fail!(no_number(at!()))
                            };
                            define!(id, length);
                            if T::REFS {
                                trace.text(None);
                            }
                        }
                        NEXT_BUFFER => fail!(outside_buffers(at!())),
                        _ => fail!(unknown(at!(), op)),
                    }
                }};
            }
            if nested {
                operation!(true)
            } else {
                operation!(false)
            }
            if T::ACTIVE {
                if makes {
                    producer = op;
                }
                let bare = op != MARK && fence < h;
                let (at, end) = (at!(), here!());
                let after = After { opcode: op, at, low, height: h, bare, end, memo };
                if trace.after(&after) {
                    break Exit::Event(Event::Traced);
                }
            }
        };
        self.offset = if let Exit::Beyond { end, .. } = exit { end } else { here!() };
        self.height = h;
        self.memo = memo;
        self.gaps = gaps;
        self.producer = producer;
        self.counted = counted;
        match exit {
            Exit::Event(Event::Op { end, .. }) if end > end_of_source => Exit::CutOff,
            Exit::Beyond { traced: true, .. } => Exit::Event(Event::Traced),
            Exit::Beyond { end, .. } if end > end_of_source => Exit::CutOff,
            Exit::Beyond { .. } => Exit::More,
            exit => exit,
        }
    }
}

#[cold]
pub(super) fn no_number(at: u64) -> Fault {
    Fault::Bad(at, "no memo number on this line: the pickle is damaged".to_owned())
}

#[cold]
fn undefined(at: u64, id: u64) -> Fault {
    Fault::Bad(
        at,
        format!(
            "refers to memo entry {id}, which nothing before it in this pickle defines: it is \
             damaged, or was written by one Pickler over several dump() calls"
        ),
    )
}

#[cold]
pub(super) fn descending(at: u64, id: u64, memo: u64) -> Fault {
    Fault::Bad(
        at,
        format!(
            "memo entry {id} is defined after entry {}; memo numbers that do not ascend cannot be \
             split: load and dump it anew with pickle first",
            memo.saturating_sub(1)
        ),
    )
}

#[cold]
pub(super) fn mixed(at: u64) -> Fault {
    Fault::Bad(
        at,
        "counts memo entries with MEMOIZE after numbering them with gaps; this cannot be split: \
         load and dump it anew with pickle first"
            .to_owned(),
    )
}

#[cold]
fn too_many_marks(at: u64) -> Fault {
    Fault::Bad(at, format!("more than {MAX_MARKS} marks are open here; this cannot be split"))
}

#[cold]
fn outside_buffers(at: u64) -> Fault {
    Fault::Bad(
        at,
        "this pickle keeps buffers outside the file (buffer_callback=); write it anew without, \
         then split it"
            .to_owned(),
    )
}
