//! From a step of a run back to what was trained on there: the batch, its rows, the corpora and licences behind them.
//!
//! A run is a function of its dataset and settings, so nothing had to be logged: the batch is derived again from the
//! plan, and a model of the run says which of its rows are hard. [`why`] takes a step, or finds the one whose loss stands
//! out most.

mod corpora;
mod rows;
mod scores;
mod spikes;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use self::corpora::CorpusRows;
pub use self::rows::{Rival, Row};
pub use self::spikes::{Spike, Usual};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::Encoder;
use crate::pairs::PoolName;
use crate::plan::{Plan, Sampler};
use crate::progress::Observer;
use crate::shards::{Dataset, reproduce};
use crate::train::{Metrics, SETTINGS, Settings, StepMetrics, TrainedOn, read_metrics};

/// What [`why`] looks at.
#[derive(Clone, Copy)]
pub struct WhyRequest<'a> {
    /// The folder of the run.
    pub run: &'a Path,
    pub dataset: &'a Dataset,
    /// Nothing: the step whose loss stands out most.
    pub step: Option<u64>,
    /// Scores the rows.
    pub encoder: Option<&'a Encoder>,
}

/// A step of a run, and what was trained on there.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    pub dataset_id: Digest,
    pub metrics: StepMetrics,
    /// Lines of the run's log that could not be read: steps that are missing here.
    pub unread_lines: usize,
    /// Around it, of batches of its kind: monolingual or not.
    pub usual: Usual,
    /// The steps whose loss stands out most, greatest first.
    pub spikes: Vec<Spike>,
    pub source: String,
    /// Whether each question and its passage are of one language.
    pub is_monolingual: bool,
    pub digest: Digest,
    /// Nothing where train/ is gone.
    pub agrees_with_index: Option<bool>,
    pub masked_pairs: u32,
    /// Rows by languages, `query:passage`.
    pub languages: BTreeMap<String, u64>,
    pub corpora: Vec<CorpusRows>,
    /// Mean loss of the rows by the model that scored them.
    pub loss_now: Option<f64>,
    /// By loss, greatest first, where a model scored them; else by number.
    pub rows: Vec<Row>,
}

/// The dataset that the run in this folder was trained on.
///
/// # Errors
/// [`Error::Training`] where the folder does not say, or names one that has changed; [`Error::Dataset`].
pub fn dataset_of(run: &Path, instead: Option<&Path>) -> Result<Dataset> {
    let known = TrainedOn::read(run)?;
    let path: PathBuf = match (instead, &known) {
        (Some(path), _) => path.to_owned(),
        (None, Some(known)) => known.path.clone().into(),
        (None, None) if !run.join(SETTINGS).is_file() => {
            return Err(Error::training(run, "is none: it has no settings.toml")
                .with_hint("name a folder that `prep train` wrote"));
        }
        (None, None) => {
            return Err(Error::training(run, "does not say which dataset it was trained on")
                .with_hint("name it: `--dataset DIR`"));
        }
    };
    let dataset = Dataset::open(&path).map_err(|e| match instead {
        Some(_) => e,
        None => e.with_hint("where the dataset was moved, `--dataset DIR` names it"),
    })?;
    let (found, id) = (dataset.manifest().dataset_id, known.map(|known| known.dataset_id));
    match id.filter(|id| *id != found) {
        Some(id) => {
            Err(Error::training(run, format!("was trained on dataset {id}; `{}` is {found}", path.display()))
                .with_hint("`prep diff` says how two datasets differ; `--dataset DIR` names another one"))
        }
        None => Ok(dataset),
    }
}

/// Explains a step.
///
/// # Errors
/// [`Error::Training`] for a folder that is no run, and a step that it has not taken; [`Error::Dataset`] and
/// [`Error::Compute`] from deriving and scoring its batch.
pub fn why(request: WhyRequest, observer: &dyn Observer) -> Result<Why> {
    let WhyRequest { run, dataset, step, encoder } = request;
    let Metrics { steps: metrics, unread_lines } = read_metrics(run)?;
    let (Some(first), Some(last)) = (metrics.first(), metrics.last()) else {
        return Err(Error::training(run, "has taken no step")
            .with_hint("name a folder that `prep train` wrote, with a metrics.jsonl"));
    };
    let steps = kinds(dataset.plan(), &metrics);
    let spikes = spikes::spikes(&steps);
    // Of a loss that only falls, the last step is as good as any.
    let step = step.or_else(|| spikes.first().map(|spike| spike.step)).unwrap_or(last.step);
    let at = metrics.binary_search_by_key(&step, |line| line.step).map_err(|_| {
        Error::training(run, format!("has not taken step {step}: it has {} to {}", first.step, last.step))
    })?;

    let settings = settings(run)?;
    observer.begin("deriving the batch", None);
    let mut batches = reproduce(dataset, step..step + 1, observer)?;
    let batch = batches.pop().expect("one step was asked for");
    let mut rows = rows::rows(&batch)?;
    let masks = rows::masks(&batch, &settings.loss);
    rows::remark(&mut rows, &masks);
    let loss_now = encoder
        .map(|encoder| scores::score(&mut rows, &masks, encoder, settings.loss.temperature, observer))
        .transpose()?;
    let mut languages = BTreeMap::new();
    for row in &rows {
        *languages.entry(format!("{}:{}", row.query_lang, row.positive_lang)).or_default() += 1;
    }
    Ok(Why {
        dataset_id: dataset.manifest().dataset_id,
        metrics: metrics[at].clone(),
        unread_lines,
        usual: spikes::usual(&steps, at),
        is_monolingual: steps[at].1,
        spikes,
        source: batch.source.clone(),
        digest: batch.digest,
        agrees_with_index: batch.agrees(),
        masked_pairs: batch.masked_pairs,
        languages,
        corpora: corpora::corpora(dataset.manifest(), &rows),
        loss_now,
        rows,
    })
}

/// Each step with whether its batch is monolingual.
fn kinds<'a>(plan: &Plan, metrics: &'a [StepMetrics]) -> Vec<(&'a StepMetrics, bool)> {
    let is_monolingual = |name: &str| name.parse::<PoolName>().is_ok_and(|pool| pool.is_monolingual());
    let of_source = plan.sources().iter().map(|s| s.pools.iter().all(|pool| is_monolingual(&pool.name)));
    let of_source: Vec<bool> = of_source.collect();
    let mut sampler = Sampler::new(plan);
    metrics.iter().map(|line| (line, of_source[sampler.source(line.step)])).collect()
}

fn settings(run: &Path) -> Result<Settings> {
    let path = run.join(SETTINGS);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Settings::from_toml(&path.display().to_string(), &text, &[])
}
