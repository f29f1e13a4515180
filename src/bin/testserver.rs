//! The chatnode command, under the name that the specification starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    chatnode::cli::main()
}
