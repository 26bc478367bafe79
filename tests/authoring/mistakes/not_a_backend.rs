//! The type has no implementation of the trait.
struct Nope;

keyway_sdk::export_backend!(Nope);

fn main() {}
