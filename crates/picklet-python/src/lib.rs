//! picklet-python.
