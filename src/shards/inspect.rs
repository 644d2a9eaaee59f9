//! What is in a dataset, and where a question occurs in it.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray};
use rayon::prelude::*;
use serde::Serialize;

use super::dataset::Dataset;
use super::histogram::Histogram;
use super::rows::Picker;
use super::switch::Switches;
use crate::corpus::Corpus;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pairs::Index;
use crate::plan::Sampler;
use crate::progress::Observer;
use crate::schema::Table;

/// What is in a dataset.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub dataset_id: Digest,
    pub eval_is_trained_on: bool,
    pub steps: u64,
    pub batch_size: u32,
    pub groups: u64,
    /// Of all files together.
    pub bytes: u64,
    /// By language.
    pub languages: BTreeMap<String, Language>,
    /// Examples by pool.
    pub pools: BTreeMap<String, u64>,
    /// Batches by source.
    pub batches: BTreeMap<String, u64>,
    /// Per batch; none where train/ is gone.
    pub masked_pairs: Option<Lengths>,
    /// Lists of mined hard negatives; none where the plan does not draw from any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mined: Option<MinedLists>,
    /// Words that may be switched and that are, by language; nothing without code switching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_switch: Option<Switches>,
    /// Refused records by reason.
    pub rejects: BTreeMap<String, u64>,
}

/// One language of a dataset.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Language {
    pub queries: u64,
    pub passages: u64,
    /// Of those, in eval/.
    pub eval_queries: u64,
    pub eval_passages: u64,
    /// Characters (Unicode code points) of a question.
    pub query_chars: Lengths,
    /// Characters of a passage.
    pub passage_chars: Lengths,
    /// The same two, in classes: for pictures.
    #[serde(skip)]
    pub query_histogram: Histogram,
    #[serde(skip)]
    pub passage_histogram: Histogram,
}

/// Lists of mined hard negatives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MinedLists {
    /// With a list.
    pub queries: u64,
    /// Passages of a list.
    pub passages: Lengths,
}

/// Smallest, middle (the lower of two), 95th percentile, greatest, and mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    pub min: u64,
    pub median: u64,
    pub p95: u64,
    pub max: u64,
    pub mean: f64,
}

impl Lengths {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let Some(last) = values.len().checked_sub(1) else { return Self::default() };
        let sum: u64 = values.iter().sum();
        Self {
            min: values[0],
            median: values[last / 2],
            p95: values[last * 95 / 100],
            max: values[last],
            mean: sum as f64 / values.len() as f64,
        }
    }
}

/// A row that a question stands in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Occurrence {
    pub step: u64,
    pub row: u32,
    pub source: String,
    pub pool: String,
    pub query_id: String,
    pub positive_id: String,
}

/// Sums a dataset up.
///
/// # Errors
/// [`Error::Dataset`] when corpus/ cannot be read.
pub fn summary(dataset: &Dataset, observer: &dyn Observer) -> Result<Summary> {
    let (manifest, plan) = (dataset.manifest(), dataset.plan());
    observer.begin("reading the corpus", None);
    let corpus = dataset.corpus("corpus")?;
    let mut languages: BTreeMap<String, Language> = BTreeMap::new();
    for (lang, side) in by_language(&corpus, Table::Queries) {
        let language = languages.entry(lang).or_default();
        (language.queries, language.eval_queries) = (side.chars.len() as u64, side.n_eval);
        language.query_histogram = Histogram::of(&side.chars);
        language.query_chars = Lengths::of(side.chars);
    }
    for (lang, side) in by_language(&corpus, Table::Passages) {
        let language = languages.entry(lang).or_default();
        (language.passages, language.eval_passages) = (side.chars.len() as u64, side.n_eval);
        language.passage_histogram = Histogram::of(&side.chars);
        language.passage_chars = Lengths::of(side.chars);
    }
    let groups: std::collections::HashSet<&str> =
        corpus.texts(Table::Queries, "group_id").iter().flatten().collect();

    observer.begin("counting batches", None);
    let sampler = Sampler::new(plan);
    let counts = (0..plan.steps())
        .into_par_iter()
        .fold(
            || (sampler.clone(), vec![0_u64; plan.sources().len()]),
            |(mut sampler, mut counts), step| {
                counts[sampler.source(step)] += 1;
                (sampler, counts)
            },
        )
        .map(|(_, counts)| counts)
        .reduce(|| vec![0; plan.sources().len()], |a, b| a.iter().zip(b).map(|(a, b)| a + b).collect());
    let masked =
        dataset.index()?.map(|rows| Lengths::of(rows.iter().map(|row| row.masked_pairs.into()).collect()));
    Ok(Summary {
        dataset_id: manifest.dataset_id,
        eval_is_trained_on: manifest.eval_is_trained_on,
        steps: plan.steps(),
        batch_size: plan.batch_size(),
        groups: groups.len() as u64,
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        languages,
        pools: manifest.counts.pools.clone(),
        batches: plan.sources().iter().map(|source| source.name.clone()).zip(counts).collect(),
        masked_pairs: masked,
        mined: corpus.negatives().map(mined_lists),
        code_switch: manifest.code_switch.clone(),
        rejects: manifest.rejects.clone(),
    })
}

fn mined_lists(rows: &RecordBatch) -> MinedLists {
    let lengths = rows.column(1).as_list::<i32>().offsets().lengths();
    MinedLists { queries: rows.num_rows() as u64, passages: Lengths::of(lengths.map(|n| n as u64).collect()) }
}

#[derive(Default)]
struct LanguageSide {
    chars: Vec<u64>,
    n_eval: u64,
}

fn by_language(corpus: &Corpus, table: Table) -> BTreeMap<String, LanguageSide> {
    let texts: &StringViewArray = corpus.texts(table, "text");
    let (langs, splits) = (corpus.names(table, "lang"), corpus.names(table, "split"));
    let mut sides: BTreeMap<String, LanguageSide> = BTreeMap::new();
    for ((text, lang), split) in texts.iter().zip(langs).zip(splits) {
        let lang = lang.unwrap_or_default();
        if !sides.contains_key(lang) {
            sides.insert(lang.to_owned(), LanguageSide::default());
        }
        let side = sides.get_mut(lang).expect("just inserted");
        side.chars.push(text.unwrap_or_default().chars().count() as u64);
        side.n_eval += u64::from(split != Some("train"));
    }
    sides
}

/// Every row of the plan's batches that a question stands in, by step and row. `id` is that of a question in one
/// language or of a group.
///
/// # Errors
/// [`Error::Dataset`] when no question bears the id.
pub fn occurrences(dataset: &Dataset, id: &str, observer: &dyn Observer) -> Result<Vec<Occurrence>> {
    let plan = dataset.plan();
    observer.begin("indexing the corpus", None);
    let corpus = dataset.corpus("corpus")?;
    let (query_ids, group_ids) =
        (corpus.texts(Table::Queries, "query_id"), corpus.texts(Table::Queries, "group_id"));
    let passage_ids = corpus.texts(Table::Passages, "passage_id");
    let wanted: Vec<u32> = (0..query_ids.len())
        .filter(|&row| query_ids.value(row) == id || group_ids.value(row) == id)
        .map(|row| row as u32)
        .collect();
    if wanted.is_empty() {
        return Err(Error::dataset(dataset.root(), format!("no question has the id `{id}`")).with_hint(
            "ids look like `xquad-r/de/56beb4343aeaaa14008c925b`, or without the language for a group",
        ));
    }
    let (index, _) = Index::build(&corpus, plan.hard_negatives().candidates())?;
    let pools = plan.pools();
    observer.begin("deriving batches", Some(plan.steps()));
    let picker = Picker::new(plan, &index)?.without_negatives();
    let mut found: Vec<Occurrence> = (0..plan.steps())
        .into_par_iter()
        .map_init(
            || picker.clone(),
            |picker, step| {
                let batch = picker.pick(step)?;
                observer.advance(1);
                let rows =
                    batch.rows.iter().zip(0..).filter(|(row, _)| wanted.binary_search(&row.query).is_ok());
                Ok(rows
                    .map(|(picked, row)| Occurrence {
                        step,
                        row,
                        source: plan.sources()[batch.source].name.clone(),
                        pool: pools[picked.pool].0.to_owned(),
                        query_id: query_ids.value(picked.query as usize).to_owned(),
                        positive_id: passage_ids.value(picked.positive as usize).to_owned(),
                    })
                    .collect::<Vec<_>>())
            },
        )
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    found.sort();
    Ok(found)
}
