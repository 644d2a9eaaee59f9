//! Arguments, dispatch, errors and exit codes: 0 done, 1 failed, 2 wrong usage.
//!
//! Results go to stdout, everything else to stderr. Commands are one file each, and as short as what they print.

#[cfg(feature = "pipeline")]
mod build_shards;
mod completions;
mod corpora;
mod diff;
mod doctor;
mod eval;
mod eval_text;
mod export;
#[cfg(feature = "pipeline")]
mod fetch;
mod inspect;
mod man;
mod memory;
mod mine;
mod output;
mod page;
mod progress;
mod reference;
mod report;
mod reproduce;
mod schema;
mod switches;
mod table;
mod tokenizer;
mod train;
mod verify;
mod why;

use std::io::{self, Write};
use std::process::ExitCode;

use candle_core::Device;
use clap::{Args, Parser, Subcommand};
use prep::model::DeviceName;

use self::output::Outcome;

/// Hybrid batches for multilingual retrieval: built once, provable for ever.
///
/// A batch is a pure function of (plan, step): hashed, re-derivable in another language, and byte-equal for any
/// thread count, engine or crash in between.
#[derive(Parser)]
#[command(name = "prep", version, max_term_width = 110, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "pipeline")]
    BuildShards(build_shards::BuildShards),
    Corpora(corpora::Corpora),
    #[cfg(feature = "pipeline")]
    Fetch(fetch::Fetch),
    Verify(verify::Verify),
    Reproduce(reproduce::Reproduce),
    Inspect(inspect::Inspect),
    Diff(diff::Diff),
    Eval(eval::Eval),
    Export(export::Export),
    Mine(mine::Mine),
    Report(report::Report),
    Schema(schema::Schema),
    Tokenizer(tokenizer::Tokenizer),
    Train(train::Train),
    Why(why::Why),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Threads to work on; changes no result [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

impl Common {
    fn threads(&self) -> usize {
        self.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            usize::from,
        )
    }

    /// Sizes the pool that the library works on.
    fn start(&self) -> anyhow::Result<progress::Progress> {
        rayon::ThreadPoolBuilder::new().num_threads(self.threads()).build_global()?;
        Ok(progress::Progress::new(self.quiet))
    }
}

pub(crate) fn main() -> ExitCode {
    let command = Cli::parse().command;
    match command {
        Command::Eval(_) | Command::Train(_) => memory::keep_when_freed(),
        _ => memory::return_when_freed(),
    }
    let outcome = match command {
        #[cfg(feature = "pipeline")]
        Command::BuildShards(command) => command.run(),
        Command::Corpora(command) => command.run(),
        #[cfg(feature = "pipeline")]
        Command::Fetch(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Reproduce(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Mine(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Schema(command) => Ok(command.run()),
        Command::Tokenizer(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::Why(command) => command.run(),
        Command::Doctor(command) => Ok(command.run()),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    let outcome = outcome.unwrap_or_else(|e| Outcome { text: String::new(), failed: Some(describe(&e)) });
    if let Err(e) = write_out(&outcome.text) {
        // A reader that has seen enough (`prep inspect | head`) is no failure of ours.
        if e.kind() != io::ErrorKind::BrokenPipe {
            complain(&format!("error: cannot write to standard output\ncaused by: {e}"));
            return ExitCode::FAILURE;
        }
    }
    match outcome.failed {
        None => ExitCode::SUCCESS,
        Some(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Opens a device, and says so where a GPU was hoped for in vain.
fn open_device(name: DeviceName) -> prep::Result<Device> {
    let (device, reason) = name.open()?;
    if let Some(reason) = reason {
        complain(&format!("prep: on the CPU, since there is no GPU to use: {reason}"));
    }
    Ok(device)
}

/// Lines on stderr, and nothing in them that a terminal would take for a command: ids and paths come from elsewhere. Where
/// that takes nothing (a log on a full disk) there is nobody left to tell.
fn complain(lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(io::stderr(), "{}", page::printable(line));
    }
}

/// The chain of causes, one line each, and what to do about it.
fn describe(e: &anyhow::Error) -> String {
    let mut message = format!("error: {e}");
    for cause in e.chain().skip(1) {
        message.push_str(&format!("\ncaused by: {cause}"));
    }
    if let Some(hint) = e.downcast_ref::<prep::Error>().and_then(prep::Error::hint) {
        message.push_str(&format!("\nhint: {hint}"));
    }
    message
}
