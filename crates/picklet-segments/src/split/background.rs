//! Writing on a thread of its own: a second core digests and writes what the
//! first has put together.
//!
//! ```text
//! first  ── Begin(out), Block(bytes), …, End ──▶  second
//!        ◀── Written(block), Failed, Ended(out) ──
//! ```
//!
//! A few blocks go round, so that the first can be ahead by no more than these.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};

/// Bytes of a block.
const BLOCK: usize = 256 << 10;
/// Blocks that go round.
const BLOCKS: usize = 4;

enum Order<W> {
    Begin(W),
    Block(Vec<u8>),
    End,
}

enum Answer<W> {
    Written(Vec<u8>),
    Failed(io::Error),
    Ended(W),
}

/// A thread that writes to one output after another.
pub(crate) struct Background<W> {
    orders: Sender<Order<W>>,
    answers: Receiver<Answer<W>>,
    /// The blocks that are not at the thread.
    free: Vec<Vec<u8>>,
}

impl<W: Write + Send> Background<W> {
    /// Starts the thread. It ends when this goes away.
    ///
    /// # Errors
    /// When there can be no other thread.
    pub(crate) fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> io::Result<Self>
    where
        W: 'scope,
    {
        let (orders, ordered) = channel();
        let (answer, answers) = channel();
        let work = move || work(&ordered, &answer);
        Builder::new().name("picklet write".to_owned()).spawn_scoped(scope, work)?;
        Ok(Background { orders, answers, free: vec![Vec::new(); BLOCKS] })
    }

    /// Begins to write to `out`.
    pub(crate) fn begin(mut self, out: W) -> Behind<W> {
        let lost = self.orders.send(Order::Begin(out)).is_err();
        let mut block = self.free.pop().unwrap_or_default();
        block.clear();
        Behind { background: self, block, lost }
    }
}

/// What the thread does.
fn work<W: Write>(orders: &Receiver<Order<W>>, answers: &Sender<Answer<W>>) {
    let mut open = None;
    for order in orders {
        let answer = match order {
            Order::Begin(out) => {
                open = Some(out);
                continue;
            }
            Order::Block(block) => match open.as_mut().map(|out| out.write_all(&block)) {
                Some(Err(error)) => {
                    open = None;
                    Answer::Failed(error)
                }
                Some(Ok(())) | None => Answer::Written(block),
            },
            Order::End => match open.take() {
                Some(out) => Answer::Ended(out),
                None => continue,
            },
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

/// An output that the thread writes to.
pub(crate) struct Behind<W> {
    background: Background<W>,
    block: Vec<u8>,
    /// Whether the thread is gone.
    lost: bool,
}

impl<W: Write + Send> Behind<W> {
    /// Hands the block over, and takes another once there is one.
    fn hand_over(&mut self) -> io::Result<()> {
        while self.background.free.is_empty() {
            match self.background.answers.recv() {
                Ok(Answer::Written(block)) => self.background.free.push(block),
                Ok(Answer::Failed(error)) => return Err(error),
                Ok(Answer::Ended(_)) | Err(_) => return Err(gone()),
            }
        }
        let mut next = self.background.free.pop().unwrap_or_default();
        next.clear();
        let block = std::mem::replace(&mut self.block, next);
        self.lost |= self.background.orders.send(Order::Block(block)).is_err();
        if self.lost { Err(gone()) } else { Ok(()) }
    }

    /// Writes what is left, and gives back the output and the thread.
    ///
    /// # Errors
    /// That of any write to the output.
    pub(crate) fn end(mut self) -> io::Result<(W, Background<W>)> {
        self.hand_over()?;
        let Behind { mut background, block, .. } = self;
        background.free.push(block);
        background.orders.send(Order::End).map_err(|_| gone())?;
        loop {
            match background.answers.recv() {
                Ok(Answer::Written(block)) => background.free.push(block),
                Ok(Answer::Failed(error)) => return Err(error),
                Ok(Answer::Ended(out)) => return Ok((out, background)),
                Err(_) => return Err(gone()),
            }
        }
    }
}

impl<W: Write + Send> Write for Behind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() + bytes.len() > BLOCK && !self.block.is_empty() {
            self.hand_over()?;
        }
        self.block.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cold]
fn gone() -> io::Error {
    io::Error::other("the thread that writes has ended")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test")]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn several_outputs_get_what_was_written_to_each_in_order() {
        thread::scope(|scope| {
            let mut background = Background::start(scope).unwrap();
            for length in [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 3] {
                let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let mut behind = background.begin(Vec::new());
                for piece in bytes.chunks(10_007) {
                    behind.write_all(piece).unwrap();
                }
                let out;
                (out, background) = behind.end().unwrap();
                assert!(out == bytes, "{length} bytes");
                assert_eq!(background.free.len(), BLOCKS);
            }
        });
    }

    /// Takes so many bytes.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_reaches_the_writer_while_it_writes_or_at_the_end() {
        thread::scope(|scope| {
            let mut behind = Background::start(scope).unwrap().begin(Full(BLOCK));
            let error = loop {
                if let Err(error) = behind.write_all(&[7; 1000]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            let mut behind = Background::start(scope).unwrap().begin(Full(10));
            behind.write_all(&[7; 11]).unwrap();
            let error = behind.end().err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        });
    }
}
