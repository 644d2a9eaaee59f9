use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::output::Outcome;

/// Print completions for a shell
///
/// For bash: `prep completions bash > ~/.local/share/bash-completion/completions/prep`; for zsh a file `_prep` in a
/// folder of fpath; for fish `~/.config/fish/completions/prep.fish`.
#[derive(Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "prep", &mut script);
        Ok(Outcome::done(String::from_utf8(script)?))
    }
}
