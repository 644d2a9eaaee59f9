//! The `prep` command: arguments to configuration, one library call, and what it gave, printed.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
