use std::path::PathBuf;

use clap::Args;
use prep::corpus::{ListedCorpus, ListedPipeline, Presence, list};

use super::output::{self, Outcome, count};
use super::page::Page;
use super::table::Table;

/// More languages than this are shown by their number, where lines have an end.
const LANGUAGES_SHOWN: usize = 4;

/// List pipelines and their corpora, and whether the files are there
///
/// A corpus is there when every path that its pipeline names leads to a file below DATA. Nothing is read.
#[derive(Args)]
pub(super) struct Corpora {
    /// Pipeline file, or folder of pipelines
    #[arg(default_value = "pipelines")]
    pipelines: PathBuf,
    /// Folder that the paths in the pipelines start from
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Corpora {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let listed = list(&self.pipelines, &self.data)?;
        let text = if self.json { output::json(&listed) } else { describe(&listed, Page::stdout()) };
        Ok(Outcome::done(text))
    }
}

fn describe(listed: &[ListedPipeline], page: Page) -> String {
    let mut table = Table::new()
        .left("pipeline")
        .left("corpus")
        .left("files")
        .left("format")
        .left("languages")
        .left("licence");
    let corpora =
        || listed.iter().flat_map(|pipeline| pipeline.corpora.iter().map(move |corpus| (pipeline, corpus)));
    for (pipeline, corpus) in corpora() {
        table.row([
            pipeline.name.clone(),
            corpus.name.clone(),
            files(corpus),
            corpus.format.to_string(),
            languages(&corpus.languages, page),
            corpus.licence.clone().unwrap_or_default(),
        ]);
    }
    let mut text = table.on(page);
    let missing: Vec<_> = corpora().filter(|(_, corpus)| !corpus.missing.is_empty()).collect();
    if !missing.is_empty() {
        text.push_str("\nmissing\n");
    }
    for (pipeline, corpus) in missing {
        let head = format!("  {}, {}: ", pipeline.name, corpus.name);
        text.push_str(&page.paragraph(&head, &first_of(&corpus.missing)));
    }
    let is_ready =
        |pipeline: &&ListedPipeline| pipeline.corpora.iter().all(|corpus| corpus.missing.is_empty());
    let (all, ready) = (listed.len() as u64, listed.iter().filter(is_ready).count() as u64);
    text.push_str(&format!("\npipelines with all their files: {} of {}\n", count(ready), count(all)));
    text
}

fn files(corpus: &ListedCorpus) -> String {
    let (paths, missing) = (corpus.paths as u64, corpus.missing.len() as u64);
    match corpus.present {
        Presence::All => "all".to_owned(),
        Presence::Some => format!("{} of {}", count(paths - missing), count(paths)),
        Presence::None => "none".to_owned(),
        Presence::Elsewhere => "elsewhere".to_owned(),
    }
}

/// All of them in a pipe: the next program counts on it.
fn languages(tags: &[String], page: Page) -> String {
    match page.columns {
        Some(_) if LANGUAGES_SHOWN < tags.len() => tags.len().to_string(),
        _ => tags.join(" "),
    }
}

/// The first path, and how many more.
fn first_of(paths: &[String]) -> String {
    match paths {
        [first, rest @ ..] if !rest.is_empty() => format!("{first} and {} more", count(rest.len() as u64)),
        _ => paths.concat(),
    }
}
