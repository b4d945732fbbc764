//! What the benchmarks share: payloads that Python wrote, and the racing of peers.
//!
//! Time is measured in one process and in turns, so that what else the machine does falls on all
//! peers alike. Memory is counted in a process of its own, because counting slows an allocator
//! down, and most where there are many allocations.
#![forbid(unsafe_code)]

pub mod payloads;
pub mod race;
pub mod results;
