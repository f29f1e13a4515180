//! The chatnode command.
fn main() {}
