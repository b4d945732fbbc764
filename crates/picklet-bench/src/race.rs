//! Peers that do the same thing, in turns.

use std::time::{Duration, Instant};

/// Turns that each peer takes, and the least time that one takes.
const TURNS: usize = 5;
const LEAST: Duration = Duration::from_millis(60);

/// One peer's work.
pub type Work<'w> = Box<dyn FnMut() + 'w>;

/// The seconds of one call of each peer: the best of each of its turns.
pub fn race(works: &mut [Work<'_>]) -> Vec<[f64; TURNS]> {
    let mut seconds = vec![[f64::INFINITY; TURNS]; works.len()];
    for turn in 0..TURNS {
        for (work, turns) in works.iter_mut().zip(&mut seconds) {
            let best = &mut turns[turn];
            let start = Instant::now();
            // What is shorter than the clock's own call is measured many at a time.
            let mut calls = 1_u32;
            while start.elapsed() < LEAST {
                let one = Instant::now();
                for _ in 0..calls {
                    work();
                }
                let spent = one.elapsed();
                *best = best.min(spent.as_secs_f64() / f64::from(calls));
                if spent < Duration::from_micros(50) {
                    calls *= 2;
                }
            }
        }
    }
    seconds
}
