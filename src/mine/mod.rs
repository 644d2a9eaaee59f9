//! Hard negatives for the questions that may be trained on: passages that a search ranks high and that do not answer.
//!
//! [`mine`] takes what BM25 finds in the language of the question, what people judged not relevant, or what a model
//! retrieved (any TREC run), leaves out what answers the question's group in any language by the rule of `schemas/SAMPLING.md`, section 5, and writes the
//! rest to a file, which `build-shards` takes: `negatives.source = "mined"`. Texts of passages are read as they come.
//! The bytes of the file are a function of dataset, run and settings, and of no thread count.

mod analyser;
mod bm25;
mod file;
mod judged;
mod ranking;
mod run;
mod training_side;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use self::analyser::Analyser;
pub use self::bm25::Bm25;
use self::bm25::{Bm25Index, Terms, Vocabulary};
use self::ranking::Chosen;
pub use self::ranking::{Choice, DEFAULT_RANKS};
use self::training_side::TrainingSide;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::shards::Dataset;
use crate::staging::{Form, Kind, Staging};

/// What is written.
const MINED: Kind = Kind { noun: "file of mined negatives", form: Form::File };

/// What [`mine`] works on.
#[derive(Clone, Copy)]
pub struct MineRequest<'a> {
    pub dataset: &'a Dataset,
    pub from: Retriever<'a>,
    pub choice: &'a Choice,
    /// The file to write.
    pub out: &'a Path,
    /// Replace a file that is there.
    pub replace: bool,
}

/// What finds passages for a question.
#[derive(Clone, Copy, Debug)]
pub enum Retriever<'a> {
    /// A search for its words among the passages of its language.
    Bm25(Bm25),
    /// Those who judged passages for it: what is not relevant.
    Judgements,
    /// A TREC run over questions and passages of the dataset, in any languages.
    Run(&'a Path),
}

/// What was mined.
#[derive(Clone, Debug, Serialize)]
pub struct MineReport {
    pub dataset_id: Digest,
    /// Of the file.
    pub digest: Digest,
    pub bytes: u64,
    /// By language of the questions.
    pub languages: BTreeMap<String, MinedQueries>,
}

/// Questions of a language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MinedQueries {
    pub queries: u64,
    /// With a hard negative at least.
    pub with_negatives: u64,
    pub without_negatives: u64,
    /// Over all of them.
    pub negatives: u64,
    /// Passages that answer their question, and were left out of the ranks that were wanted.
    pub answers_left_out: u64,
}

impl MinedQueries {
    fn count(&mut self, chosen: &Chosen) {
        self.queries += 1;
        if chosen.hits.is_empty() {
            self.without_negatives += 1;
        } else {
            self.with_negatives += 1;
        }
        self.negatives += chosen.hits.len() as u64;
        self.answers_left_out += chosen.n_answers;
    }

    /// Hard negatives of a question that has any.
    #[must_use]
    pub fn mean_negatives(&self) -> f64 {
        self.negatives as f64 / (self.with_negatives.max(1)) as f64
    }
}

/// Mines hard negatives and writes them to a file, which appears whole or not at all. Runs on the calling thread's rayon
/// pool.
///
/// # Errors
/// [`Error::Dataset`] when the dataset is not what its manifest says, or nothing is found; [`Error::Source`] for a run
/// that is none of this dataset.
pub fn mine(request: MineRequest, observer: &dyn Observer) -> Result<MineReport> {
    let MineRequest { dataset, from, choice, out, replace } = request;
    let staging = Staging::open(MINED, out, replace)?;
    if let Retriever::Run(path) = from {
        fs::metadata(path).map_err(Error::io("read", path))?;
    }
    let side = TrainingSide::read(dataset, observer)?;
    let (of_queries, origin) = match from {
        Retriever::Bm25(bm25) => (by_bm25(&side, bm25, choice, observer)?, file::of_bm25(bm25, choice)),
        Retriever::Judgements => (judged::choose(&side, choice)?, file::of_judgements(choice)),
        Retriever::Run(path) => {
            observer.begin("reading the run", None);
            (run::choose(&side, path, choice)?, file::of_run(Digest::of_file(path)?.0, choice))
        }
    };
    let mut languages: BTreeMap<String, MinedQueries> = BTreeMap::new();
    for (lang, queries) in side.queries() {
        let counts = languages.entry(lang.to_owned()).or_default();
        queries.iter().for_each(|query| counts.count(&of_queries[query]));
    }
    if languages.values().all(|counts| counts.negatives == 0) {
        return Err(Error::dataset(dataset.root(), "no question gets a hard negative").with_hint(
            match from {
                Retriever::Judgements => {
                    "its corpora have no judgements of relevance 0: `--from bm25` needs none"
                }
                _ => "ranks that begin earlier, or a smaller margin, leave more of what was retrieved",
            },
        ));
    }
    observer.begin("writing", None);
    let entry = file::write(&staging, out, dataset, &side, &of_queries, &origin)?;
    staging.commit()?;
    let dataset_id = dataset.manifest().dataset_id;
    Ok(MineReport { dataset_id, digest: entry.digest, bytes: entry.bytes, languages })
}

/// What was chosen for each question, by its row: every question that may be trained on is there.
type ByQuery = BTreeMap<u32, Chosen>;

/// One language after another, so that one index is in memory.
fn by_bm25(side: &TrainingSide, bm25: Bm25, choice: &Choice, observer: &dyn Observer) -> Result<ByQuery> {
    let mut all = ByQuery::new();
    for (lang, queries) in side.queries() {
        let analyser = Analyser::of(lang);
        let terms: Vec<Vec<String>> =
            queries.par_iter().map(|&query| analyser.terms(side.query_text(query)).collect()).collect();
        let mut vocabulary = Vocabulary::default();
        let questions: Vec<Terms> =
            terms.into_iter().map(|terms| vocabulary.add(terms.into_iter())).collect();

        let passages = side.passages(lang);
        observer.begin(&format!("indexing passages in {lang}"), Some(passages.len() as u64));
        let mut index = Bm25Index::new(bm25, &vocabulary);
        side.for_each_text(&passages, |rows, texts| {
            let analysed: Vec<_> =
                texts.par_iter().map(|text| vocabulary.passage(analyser.terms(text))).collect();
            rows.iter().zip(&analysed).for_each(|(&row, passage)| index.push(row, passage));
            observer.advance(rows.len() as u64);
        })?;

        observer.begin(&format!("searching in {lang}"), Some(queries.len() as u64));
        let chosen = queries.par_iter().zip(&questions).map_init(
            || index.scores(),
            |scores, (&query, question)| {
                let hits = index.search(question, scores);
                observer.advance(1);
                Ok((query, choice.of(hits, &side.answers_of(query)?)))
            },
        );
        all.extend(chosen.collect::<Result<Vec<_>>>()?);
    }
    Ok(all)
}
