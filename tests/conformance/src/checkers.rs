//! Judges of histories, by checkers from the registry. Each is tested on histories that are known to be bad.

pub(crate) mod lists;
pub(crate) mod registers;
