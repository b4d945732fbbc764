//! Pickle bytes to and from live Python objects: the one crate of picklet with unsafe code.
//!
//! [`encode`] writes objects as pickle, [`decode`] builds objects from pickle, safely unless told
//! otherwise. Both are called with the GIL held and give pickle's own exceptions. The crate is
//! built for one interpreter version at a time, because it reads CPython's object layouts
//! directly; `object.rs` is the only file that knows them.
//!
//! This crate never opens files or sockets itself, and never imports a module that the policy of
//! the load does not list.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(Py_GIL_DISABLED)]
compile_error!("picklet reads object layouts and reference counts that need the GIL");

mod collector;
pub mod decode;
pub mod encode;
mod object;
mod state;
pub mod stub;

pub use state::{check_interpreter, untrusted_global_error};
