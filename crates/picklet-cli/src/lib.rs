//! picklet-cli.
#![forbid(unsafe_code)]
