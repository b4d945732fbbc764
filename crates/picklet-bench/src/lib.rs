//! picklet-bench.
#![forbid(unsafe_code)]
