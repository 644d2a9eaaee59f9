use std::path::PathBuf;

use clap::Args;
use console::Style;
use prep::doctor::{Check, DoctorOptions, State, examine};

use super::output::{self, Outcome};
use super::page::Page;

/// From here on advice stands below what was found, else below the name.
const ROOMY_COLUMNS: usize = 72;

/// Look at the machine: what works, and what to do about the rest
///
/// CPU, memory, disk, GPU, CUDA, hub. Exit code 1 when something does not work that every command needs; what only some
/// need is a note.
#[derive(Args)]
pub(super) struct Doctor {
    /// Folder that is to be written to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Make no request to the hub
    #[arg(long)]
    offline: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Outcome {
        let checks = examine(&DoctorOptions { out: self.out, offline: self.offline });
        let problems = count(&checks, State::Problem);
        let failed = (problems != 0).then(|| {
            let name = if problems == 1 { "problem" } else { "problems" };
            format!("error: {problems} {name} found")
        });
        let text = if self.json { output::json(&checks) } else { describe(&checks, Page::stdout()) };
        Outcome { text, failed }
    }
}

fn describe(checks: &[Check], page: Page) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let width_of_word = checks.iter().map(|check| word(check.state).len()).max().unwrap_or(0);
    let mut text = String::new();
    for Check { name, state, found, advice } in checks {
        let style = match state {
            State::Ok => Style::new().green(),
            State::Note => Style::new().yellow(),
            State::Problem => Style::new().red().bold(),
        };
        let word = word(*state);
        let pad = " ".repeat(width_of_word - word.len());
        let head = format!("{}{pad}  {name:<width$}  ", page.styled(word, &style));
        text.push_str(&page.paragraph(&head, found));
        if let Some(advice) = advice {
            let has_room = page.columns.is_none_or(|columns| ROOMY_COLUMNS <= columns);
            let indent = if has_room { width_of_word + 2 + width + 2 } else { width_of_word + 2 };
            text.push_str(&page.paragraph(&format!("{:indent$}-> ", ""), advice));
        }
    }
    let (notes, problems) = (count(checks, State::Note), count(checks, State::Problem));
    text.push_str(&format!("\n{} ok, {notes} to note, {problems} wrong\n", count(checks, State::Ok)));
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Note => "note",
        State::Problem => "problem",
    }
}

fn count(checks: &[Check], state: State) -> usize {
    checks.iter().filter(|check| check.state == state).count()
}
