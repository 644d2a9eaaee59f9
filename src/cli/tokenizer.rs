use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use prep::Error;
use prep::model::{TokenizerConfig, Trained, train_tokenizer, training_texts};
use prep::shards::{Dataset, Part};

use super::Common;
use super::output::{self, Outcome, count, fields};

/// Make a tokenizer for `build-shards --tokenizer`
#[derive(Args)]
pub(super) struct Tokenizer {
    #[command(subcommand)]
    command: TokenizerCommand,
}

#[derive(Subcommand)]
enum TokenizerCommand {
    Train(Train),
}

/// Train a Unigram tokenizer on the texts of datasets
///
/// Writes a Hugging Face tokenizer.json: NFKC, `▁` for spaces, pieces of words (Kudo 2018), `<s>` and `</s>` around each
/// text. Each distinct text counts once. The bytes follow from texts and options, whatever threads or machine.
#[derive(Args)]
struct Train {
    /// Dataset directories
    #[arg(required = true, value_name = "DIR")]
    datasets: Vec<PathBuf>,
    /// Ids of the vocabulary, with five special tokens: <pad> 0, <s> 1, </s> 2, <unk> 3, <mask> 4
    #[arg(long, value_name = "N", default_value_t = 16_000, value_parser = clap::value_parser!(u32).range(6..=10_000_000))]
    vocab: u32,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "out/tokenizer.json")]
    out: PathBuf,
    /// Texts to train on; a dataset without a split is all train
    #[arg(long, value_enum, default_value_t = From::Train)]
    from: From,
    /// Share of the characters of the texts that get a piece of their own; rarer ones become <unk>
    #[arg(long, value_name = "SHARE", default_value_t = 0.9995, value_parser = share)]
    coverage: f64,
    /// Make capital letters small
    #[arg(long)]
    lowercase: bool,
    /// Replace a file at OUT
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    /// What is not held out
    Train,
    /// The held-out texts, too
    All,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if 0.0 < share && share <= 1.0 {
        Ok(share)
    } else {
        Err(format!("`{text}` is not above 0 and at most 1"))
    }
}

impl Tokenizer {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            TokenizerCommand::Train(command) => command.run(),
        }
    }
}

impl Train {
    fn run(self) -> anyhow::Result<Outcome> {
        if self.out.exists() && !self.force {
            let found = format!("`{}` is there already", self.out.display());
            let hint = Some("`--force` replaces it".to_owned());
            return Err(Error::Setting { key: "--out".to_owned(), found, hint }.into());
        }
        let progress = self.common.start()?;
        let part = match self.from {
            From::Train => Part::Train,
            From::All => Part::All,
        };
        let corpora = self
            .datasets
            .iter()
            .map(|path| Dataset::open(path)?.part(part))
            .collect::<prep::Result<Vec<_>>>()?;
        let texts = training_texts(&corpora);
        let config = TokenizerConfig {
            vocab_size: self.vocab as usize,
            coverage: self.coverage,
            lowercase: self.lowercase,
        };
        let trained = train_tokenizer(&texts, config, &progress)?;
        drop(progress);
        write(&self.out, &trained.json)?;
        let text = if self.common.json { output::json(&trained) } else { describe(&trained, &self) };
        Ok(Outcome::done(text))
    }
}

/// Under another name first, so that nobody reads half of it.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("cannot write `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, bytes).with_context(failed)?;
    std::fs::rename(&partial, path).with_context(failed)
}

fn describe(trained: &Trained, command: &Train) -> String {
    fields(&[
        ("tokenizer", command.out.display().to_string()),
        ("digest", trained.digest.to_string()),
        ("ids", format!("{} of {}", count(trained.vocab_size as u64), count(command.vocab.into()))),
        ("texts", count(trained.texts as u64)),
        ("words", format!("{} ({} distinct)", count(trained.words), count(trained.distinct_words as u64))),
        ("pieces a word", format!("{:.3}", trained.pieces_per_word)),
        ("unknown", format!("{:.4} % of the pieces", 100.0 * trained.fraction_unknown)),
    ])
}
