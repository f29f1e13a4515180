//! The chatnode command: the library's, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    chatnode::cli::main()
}
