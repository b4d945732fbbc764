//! picklet-segments.
#![forbid(unsafe_code)]
