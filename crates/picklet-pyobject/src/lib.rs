//! picklet-pyobject.
