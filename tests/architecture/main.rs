//! Rules on the project's structure that the compiler does not check. Each file owns one kind of rule and reads the
//! sources; none knows what the code does.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod circles;
mod files;
mod layers;
mod packages;
mod page;
mod paths;
mod source;
mod test_names;
