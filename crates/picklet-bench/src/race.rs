//! Peers that do the same thing, in turns.

use std::time::{Duration, Instant};

/// Turns that each peer takes, and the least time that one takes.
const TURNS: usize = 5;
const LEAST: Duration = Duration::from_millis(60);

/// One peer's work.
pub type Work<'w> = Box<dyn FnMut() + 'w>;

/// The seconds of one call of each, the best of all turns.
pub fn race(works: &mut [Work<'_>]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; works.len()];
    for _ in 0..TURNS {
        for (work, best) in works.iter_mut().zip(&mut best) {
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
    best
}
