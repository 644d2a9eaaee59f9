//! The `prep` command: arguments to configuration, one library call, and what it gave, printed.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
