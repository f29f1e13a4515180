//! The chatnode command, under the name that the specification starts.
fn main() {}
