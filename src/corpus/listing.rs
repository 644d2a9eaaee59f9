//! Which pipelines there are, and whether the files of their corpora are: what can be built here, before anything is read.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::source::is_there;
use crate::error::Result;
use crate::pipeline::{CorpusSpec, Format, Pipeline};
use crate::remote::is_remote;

/// A pipeline, and what its corpora need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedPipeline {
    pub file: PathBuf,
    pub name: String,
    pub corpora: Vec<ListedCorpus>,
}

/// A corpus of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedCorpus {
    pub name: String,
    pub format: Format,
    pub languages: Vec<String>,
    pub source: Option<String>,
    pub licence: Option<String>,
    pub present: Presence,
    /// Paths below the data folder: of each language, pair and part.
    pub paths: usize,
    /// Those of them that lead to no file.
    pub missing: Vec<String>,
}

/// How much of what a corpus names is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Presence {
    All,
    Some,
    None,
    /// What is not fetched as it is built, or by `prep fetch`, is.
    Elsewhere,
}

/// Lists a pipeline, or those that lie in a folder ([`Pipeline::all`]). `data` is the folder that their paths start from.
///
/// # Errors
/// See [`Pipeline::all`].
pub fn list(pipelines: &Path, data: &Path) -> Result<Vec<ListedPipeline>> {
    let listed = |(file, pipeline): (PathBuf, Pipeline)| ListedPipeline {
        file,
        corpora: pipeline.with_lexicons().iter().map(|corpus| listed_corpus(corpus, data)).collect(),
        name: pipeline.name,
    };
    Ok(Pipeline::all(pipelines)?.into_iter().map(listed).collect())
}

fn listed_corpus(corpus: &CorpusSpec, data: &Path) -> ListedCorpus {
    let paths: Vec<String> = corpus.all_paths().iter().flat_map(|path| parts(corpus, path)).collect();
    let (remote, local): (Vec<&String>, Vec<&String>) = paths.iter().partition(|path| is_remote(path));
    let missing: Vec<String> = local.into_iter().filter(|path| !is_there(path, data)).cloned().collect();
    ListedCorpus {
        name: corpus.name.clone(),
        format: corpus.format,
        languages: corpus.languages.clone(),
        source: corpus.source.clone(),
        licence: corpus.licence.clone(),
        present: match missing.len() {
            0 if !remote.is_empty() => Presence::Elsewhere,
            0 => Presence::All,
            n if n == paths.len() => Presence::None,
            _ => Presence::Some,
        },
        paths: paths.len(),
        missing,
    }
}

/// What a path stands for: itself, or the parts of a BEIR folder, packed or not.
fn parts(corpus: &CorpusSpec, path: &str) -> Vec<String> {
    if corpus.format != Format::Beir || path.contains('*') {
        return vec![path.to_owned()];
    }
    let qrels = corpus.qrels.as_deref().unwrap_or("*");
    ["corpus.jsonl*", "queries.jsonl*", &format!("qrels/{qrels}.tsv")]
        .map(|part| format!("{}/{part}", path.trim_end_matches('/')))
        .to_vec()
}
