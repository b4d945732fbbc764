//! picklet.
#![forbid(unsafe_code)]
