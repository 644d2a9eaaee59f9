use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Arg, Args, Command, CommandFactory};

use super::Cli;
use super::output::Outcome;

/// Print the manual page, or write those of all commands
///
/// `prep man | man -l -` shows it; with `--out` each command gets a page `prep-COMMAND.1`.
#[derive(Args)]
pub(super) struct Man {
    /// Folder to write the pages of all commands to
    #[arg(long, value_name = "FOLDER", conflicts_with = "markdown")]
    out: Option<PathBuf>,
    /// Print the reference of all commands as one page of Markdown
    #[arg(long)]
    markdown: bool,
}

impl Man {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        if self.markdown {
            return Ok(Outcome::done(reference()));
        }
        if let Some(folder) = &self.out {
            let wrong = || format!("cannot write the pages to `{}`", folder.display());
            std::fs::create_dir_all(folder).with_context(wrong)?;
            clap_mangen::generate_to(Cli::command(), folder).with_context(wrong)?;
            return Ok(Outcome::done(String::new()));
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        Ok(Outcome::done(String::from_utf8(page)?))
    }
}

/// Every command with its arguments, from their own help.
fn reference() -> String {
    let mut program = Cli::command();
    program.build();
    let mut page = format!(
        "# Commands\n\n{}\n\nThis page is what `prep man --markdown` prints; `prep help COMMAND` says the same in a terminal.\n",
        long_about(&program)
    );
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(command, &format!("prep {}", command.get_name()), &mut page);
    }
    page
}

fn describe(command: &Command, name: &str, page: &mut String) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").replace("\n       ", "\n    ");
    page.push_str(&format!("\n## {name}\n\n    {usage}\n\n{}\n", long_about(command)));
    let arguments: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    if !arguments.is_empty() {
        page.push_str("\n| argument | what |\n| --- | --- |\n");
    }
    for arg in arguments {
        // Writing to a string does not fail.
        let _ = writeln!(page, "| `{}` | {} |", signature(arg), cell(&explanation(arg)));
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        describe(inner, &format!("{name} {}", inner.get_name()), page);
    }
}

fn long_about(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

/// `-q, --quiet`, `--steps <A..B>`, or `<DATASET>`.
fn signature(arg: &Arg) -> String {
    let names: Vec<String> = arg
        .get_short()
        .map(|short| format!("-{short}"))
        .into_iter()
        .chain(arg.get_long().map(|long| format!("--{long}")))
        .collect();
    let takes_values = arg.get_num_args().is_some_and(|n| n.takes_values());
    let values: Vec<String> = match takes_values {
        true => arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect(),
        false => vec![],
    };
    let all = [names.join(", "), values.join(" ")];
    all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Help, possible values and default.
fn explanation(arg: &Arg) -> String {
    let mut text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let takes_values = arg.get_num_args().is_some_and(|n| n.takes_values());
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| takes_values)
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {help}", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        let _ = write!(text, ". Values: {}", values.join("; "));
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
    if takes_values && !defaults.is_empty() {
        let _ = write!(text, ". Default: `{}`", defaults.join(","));
    }
    text
}

/// A cell of a table of Markdown.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|").replace('<', "&lt;")
}
