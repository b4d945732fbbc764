//! picklet-codec.
#![forbid(unsafe_code)]
