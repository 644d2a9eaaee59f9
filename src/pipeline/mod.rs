//! What a pipeline file may say: [`Pipeline`], read from TOML, overridden from the command line, checked once.
//!
//! Everything after this module works on a resolved pipeline: defaults filled in, lists in canonical order (so that
//! the order in which somebody wrote them changes no byte of a dataset), contradictions refused. The JSON Schema in
//! `schemas/pipeline.schema.json` is made from these types; the manifest of a dataset carries the resolved form.

pub(crate) mod language;
mod load;
mod value;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::load::Override;
pub(crate) use self::load::read_toml;
pub use self::value::{Ratio, Weighting};

/// A pipeline: from source files to hybrid batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Names the output directory: `out/<name>`.
    pub name: String,
    /// Every random decision is a function of this seed.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Greatest share of bad records, of all records, before the build fails. Default 0.01.
    #[serde(default = "default_max_rejects")]
    pub max_rejects: Ratio,
    /// The source corpora.
    pub corpora: Vec<CorpusSpec>,
    /// Records to leave out.
    #[serde(default)]
    pub filters: Filters,
    /// Repeated texts to merge. Off by default: it changes published counts.
    #[serde(default)]
    pub deduplicate: Deduplicate,
    /// What is held out for evaluation. Without it everything is trained and evaluated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
    /// A Hugging Face `tokenizer.json` below `--data`: the batches then hold the token ids of their texts, too. Changes
    /// no digest of a batch and not the dataset id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// How batches are drawn.
    #[serde(default)]
    pub batches: Batches,
    /// How batches are laid out on disk. Changes no digest of a batch and not the dataset id.
    #[serde(default)]
    pub shards: Shards,
}

/// One source corpus: a dataset in one or more languages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusSpec {
    /// The dataset's name, which begins every id: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// How the files are laid out.
    pub format: Format,
    /// File below `--data`; `{lang}` stands for the language (`{language}` for its name in English), `*` for anything within
    /// one name. It may lead into an archive: `mkqa_dev.zip/mkqa_dev/mkqa-{lang}.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of `path`: a path for each language whose file has a name of its own, or for each pair of languages
    /// (`"sw:en"`: of the questions, of the passages).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, String>,
    /// Where each file is of a question's and a passage's language (`{query_lang}` and `{passage_lang}` in `path`): the
    /// pairs that have one, as `fon:fr`. Default: all of `languages`, each with itself, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
    /// Language tags (BCP 47) to read.
    pub languages: Vec<String>,
    /// What a passage is, in formats with contexts.
    #[serde(default)]
    pub unit: Unit,
    /// Whether equal ids in two languages are translations of one question. Default: false for `beir`, `collection`,
    /// `tevatron` and `tydiqa`, true for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// Read for its question ids only (`split.eval.ids_from`); its texts stay out of the dataset.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ids_only: bool,
    /// `table`: which column holds what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// `beir`: the qrels file to read, `qrels/<qrels>.tsv` (`test`, say). Default: every `.tsv` file in `qrels/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qrels: Option<String>,
    /// `collection`: where its parts are, instead of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// `synth`: how far to blow up the corpus that the rest of this section describes in SQuAD format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synth: Option<Synth>,
    /// Where it comes from, for the dataset's card, citation and manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its licence, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What to cite for it, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
}

impl CorpusSpec {
    /// Whether equal ids in two languages are one question.
    #[must_use]
    pub fn is_parallel(&self) -> bool {
        self.parallel.unwrap_or(!matches!(
            self.format,
            Format::Beir | Format::Collection | Format::Tevatron | Format::Tydiqa
        ))
    }

    /// Whether every text is a question and a passage at once. Such a corpus has no monolingual pools: their pairs
    /// would be a text and itself.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        match self.format {
            Format::Bitext | Format::Captions | Format::Mkqa | Format::Synsets | Format::WordLists => true,
            _ => self.unit == Unit::Question,
        }
    }

    /// Whether each file is of the languages of a question and a passage.
    pub(crate) fn is_of_pairs(&self) -> bool {
        match &self.path {
            Some(path) => path.contains(QUERY_LANG) || path.contains(PASSAGE_LANG),
            None => self.paths.keys().any(|key| key.contains(':')),
        }
    }

    /// The languages of the questions and passages of its files.
    pub(crate) fn language_pairs(&self) -> Vec<(&str, &str)> {
        let all = || {
            let of = |q| self.languages.iter().map(move |p: &String| (q, p.as_str()));
            self.languages.iter().map(String::as_str).flat_map(of).collect()
        };
        match &self.path {
            None => self.paths.keys().filter_map(|pair| pair.split_once(':')).collect(),
            Some(_) if self.pairs.is_empty() => all(),
            Some(_) => self.pairs.iter().filter_map(|pair| pair.split_once(':')).collect(),
        }
    }

    /// Where the files of a pair are.
    pub(crate) fn path_of_pair(&self, (query, passage): (&str, &str)) -> Option<String> {
        match &self.path {
            Some(path) => Some(path.replace(QUERY_LANG, query).replace(PASSAGE_LANG, passage)),
            None => self.paths.get(&format!("{query}:{passage}")).cloned(),
        }
    }
}

/// What a path has for the language of the questions and of the passages.
pub(crate) const QUERY_LANG: &str = "{query_lang}";
pub(crate) const PASSAGE_LANG: &str = "{passage_lang}";

/// How source files are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// SQuAD v1.1 JSON, with `sentence_breaks` (XQuAD-R, MLQA-R) or without; `.gz` and `.zst` as they are.
    Squad,
    /// A BEIR folder: `corpus.jsonl`, `queries.jsonl`, `qrels/*.tsv`.
    Beir,
    /// One row a (question, passage) pair: `.jsonl`, `.csv`, `.tsv` or `.parquet`, columns named in `columns`.
    Table,
    /// MKQA's questions without passages, each a question and a passage at once: JSON lines, one language to a file
    /// (MIA 2022) or all in one.
    Mkqa,
    /// A wordnet of Open Multilingual Wordnet, `synset TAB lang:lemma TAB word`: each word is a question and a passage at
    /// once, its synset the group.
    Synsets,
    /// AfriQA's gold passages, JSON lines in files of pairs of languages: a question in an African language and its
    /// translation, both answered by a passage in English or French.
    Afriqa,
    /// TyDi QA's primary task: JSON lines of a question, an article and its paragraphs, with offsets in bytes; all languages
    /// in one file.
    Tydiqa,
    /// Passages, questions and judgements in `files` of their own: MIRACL, Mr. TyDi, mMARCO, MTEB's datasets; `.tsv`,
    /// `.jsonl` or `.parquet`.
    Collection,
    /// Questions with positive and negative passages in one line of JSON: the training files of Mr. TyDi and MIRACL.
    Tevatron,
    /// Captions of images, JSON lines with all languages (Crossmodal-3600): each is a question and a passage at once, its
    /// image the group.
    Captions,
    /// Translations: `text TAB translation` in files of pairs of languages, or a file for each language, line by line
    /// (Moses). Each text is a question and a passage at once.
    Bitext,
    /// Words by concept, a file for each language: a line is a concept, its columns synonyms (PanLex). Likewise.
    WordLists,
    /// SQuAD files repeated and perturbed to any number of groups and languages, to measure with.
    Synth,
}

/// What a passage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A sentence of a context: by the file's breaks, else by Unicode's rules (UAX #29).
    #[default]
    Sentence,
    /// A whole context.
    Paragraph,
    /// A translation of the question: each question is a question and a passage at once, and contexts are not read.
    Question,
}

/// Columns of a `table`. Texts are required; what is left out is made from the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Text of the question.
    pub query: String,
    /// Text of a passage that answers it.
    pub passage: String,
    /// Id of the question, shared by its translations. Default: the row's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// Id of the passage. Default: the digest of its text, so that equal passages are one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage_id: Option<String>,
    /// Language of the question. Default: the file's, `{lang}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_lang: Option<String>,
    /// Language of the passage. Default: the question's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage_lang: Option<String>,
    /// Title of the passage's document, for splits by title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Relevance, an integer; 0 is judged not relevant. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relevance: Option<String>,
}

/// Where the parts of a `collection` are: paths below `--data`, with `{lang}` or `{language}` where they differ by
/// language, and `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Passages: `id TAB text`, or JSON lines or Parquet with `docid`, `title`, `text`, by whatever name.
    pub corpus: String,
    /// Questions (topics), likewise.
    pub queries: String,
    /// Judgements: TREC's four columns, BEIR's three, or JSON lines or Parquet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qrels: Option<String>,
    /// Instead, or besides: ids of a question, a relevant passage and one that is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triples: Option<String>,
}

impl Files {
    /// Every path that is given.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &String> {
        [&self.corpus, &self.queries].into_iter().chain(&self.qrels).chain(&self.triples)
    }
}

/// How far `synth` blows its corpus up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synth {
    /// Question groups to make.
    pub groups: NonZeroU64,
    /// Languages to make; those beyond the corpus's own are called `de-x-s1` and so on. Default: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<NonZeroU32>,
}

/// Records to leave out; they are listed in `rejects.parquet` with a reason that begins with `filter_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Length of a question in characters (Unicode code points).
    #[serde(default, skip_serializing_if = "Length::is_any")]
    pub query_chars: Length,
    /// Length of a passage in characters.
    #[serde(default, skip_serializing_if = "Length::is_any")]
    pub passage_chars: Length,
    /// Keep these languages only. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Keep groups that have a question in at least so many languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_group_languages: Option<NonZeroU32>,
}

/// Bounds, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

impl Length {
    fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

/// Repeated texts to merge, within one dataset and language. The smallest id stays and takes over what the others
/// were relevant to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deduplicate {
    #[serde(default)]
    pub queries: Sameness,
    #[serde(default)]
    pub passages: Sameness,
}

/// When two texts are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Sameness {
    /// Never: nothing is merged.
    #[default]
    Off,
    /// Byte for byte.
    Exact,
    /// After NFKC, lower case, and white space folded.
    Normalised,
}

/// What is held out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitSpec {
    /// Without it nothing is held out: everything that is not excluded is trained and evaluated on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<EvalSplit>,
    /// Leave out every question whose id occurs in one of these corpora, with its translations and paragraphs: what may
    /// not be trained on when those corpora are the evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_ids_from: Vec<String>,
    /// Greatest share of held-out questions, or of held-out passages, that stand in training texts too, before the build
    /// fails: equal after normalisation, or with 13 words in a row in common. Default 0.01.
    #[serde(default = "default_max_overlap")]
    pub max_overlap: Ratio,
}

fn default_max_overlap() -> Ratio {
    Ratio::new(1, 100)
}

impl SplitSpec {
    /// The corpora whose ids it asks for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let held_out = self.eval.as_ref().and_then(|eval| eval.ids_from.as_deref());
        held_out.into_iter().chain(self.exclude_ids_from.iter().map(String::as_str))
    }
}

/// The held-out side. A group with all its translations, and every question of a paragraph, falls on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalSplit {
    /// What `fraction` counts; `title` also keeps all paragraphs of a title together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SplitBy>,
    /// Share to hold out, between 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Ratio>,
    /// Instead: one of so many parts, which together hold everything out once. Which part a title (group, paragraph) is
    /// in follows from its name and the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<NonZeroU32>,
    /// With `folds`: which part to hold out, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<u32>,
    /// What is held out follows from it. Default: the seed of the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Instead: hold out every question whose id occurs in the corpus of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids_from: Option<String>,
    /// Which passages evaluation searches.
    #[serde(default)]
    pub pool: EvalPool,
}

/// What the held-out fraction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    Title,
    Group,
    Paragraph,
}

/// The passages that evaluation searches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvalPool {
    /// Those that are held out.
    #[default]
    Eval,
    /// Every passage of the corpus.
    All,
}

/// How batches are drawn (`schemas/SAMPLING.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batches {
    #[serde(default)]
    pub strategy: Strategy,
    /// `hybrid`: the share of monolingual batches. Default 0.5.
    #[serde(default = "default_alpha")]
    pub alpha: Ratio,
    /// Rows of a batch. Default 100.
    #[serde(default = "default_batch_size")]
    pub batch_size: NonZeroU32,
    /// Number of batches. Either this or `epochs`; default: one epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<NonZeroU64>,
    /// Number of epochs; one is the sum of all pool sizes divided by the batch size, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<NonZeroU64>,
    /// How often each language is drawn, and each ordered pair `q:p` in `x-y` and `pair`.
    #[serde(default = "default_language_weights")]
    pub language_weights: Weighting,
    /// How often each dataset of one language or pair is drawn.
    #[serde(default = "default_dataset_weights")]
    pub dataset_weights: Weighting,
    /// Hard negatives per row, from the same context.
    #[serde(default)]
    pub negatives: u32,
    /// Greatest sum of the sources' weights that is kept exact. Default 1000.
    #[serde(default = "default_cycle_batches")]
    pub cycle_batches: NonZeroU64,
    /// Greatest sum of the weights of one source's pools that is kept exact. Default 10000.
    #[serde(default = "default_cycle_rows")]
    pub cycle_rows: NonZeroU64,
}

/// What a batch may mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A batch is either of `x-x-mono` (a share of `alpha`) or of `x-y`.
    #[default]
    Hybrid,
    /// One language to a batch.
    XXMono,
    /// Query and passage of one language, languages mixed in a batch.
    XX,
    /// Query and passage languages differ in every row.
    XY,
    /// One ordered pair of languages to a batch.
    Pair,
}

/// How batches are laid out on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shards {
    /// Batches to a shard file. Either this or `target_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_per_shard: Option<NonZeroU64>,
    /// Bytes of text (before compression) that a shard file aims at. Default 256 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<NonZeroU64>,
    /// Batches to a row group: what a reader of one batch decodes. Default: as many as make 51,200 rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps_per_row_group: Option<NonZeroU64>,
    /// Compression level of zstd, 1 to 22. Default 1.
    #[serde(default = "default_zstd_level")]
    pub zstd_level: i32,
}

/// The seed of a pipeline that names none.
pub const DEFAULT_SEED: u64 = 42;
/// Rows of a batch, as in the paper.
pub const DEFAULT_BATCH_SIZE: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// Draws in which the shares of sources are apportioned where they cannot be kept exact.
pub const DEFAULT_CYCLE_BATCHES: NonZeroU64 = NonZeroU64::new(1_000).expect("not zero");
/// The same for the pools of a source.
pub const DEFAULT_CYCLE_ROWS: NonZeroU64 = NonZeroU64::new(10_000).expect("not zero");
/// Fastest of zstd's standard levels; level 3 is smaller by a tenth and slower by a third.
pub const DEFAULT_ZSTD_LEVEL: i32 = 1;
/// Bytes of text of a shard.
pub const DEFAULT_TARGET_BYTES: u64 = 256 << 20;
/// Rows of a row group.
pub const DEFAULT_ROWS_PER_ROW_GROUP: u64 = 51_200;

fn default_seed() -> u64 {
    DEFAULT_SEED
}
fn default_max_rejects() -> Ratio {
    Ratio::new(1, 100)
}
fn default_alpha() -> Ratio {
    Ratio::new(1, 2)
}
fn default_batch_size() -> NonZeroU32 {
    DEFAULT_BATCH_SIZE
}
fn default_language_weights() -> Weighting {
    Weighting::Uniform
}
fn default_dataset_weights() -> Weighting {
    Weighting::Proportional
}
fn default_cycle_batches() -> NonZeroU64 {
    DEFAULT_CYCLE_BATCHES
}
fn default_cycle_rows() -> NonZeroU64 {
    DEFAULT_CYCLE_ROWS
}
fn default_zstd_level() -> i32 {
    DEFAULT_ZSTD_LEVEL
}

impl Default for Batches {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            alpha: default_alpha(),
            batch_size: DEFAULT_BATCH_SIZE,
            steps: None,
            epochs: None,
            language_weights: default_language_weights(),
            dataset_weights: default_dataset_weights(),
            negatives: 0,
            cycle_batches: DEFAULT_CYCLE_BATCHES,
            cycle_rows: DEFAULT_CYCLE_ROWS,
        }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            steps_per_shard: None,
            target_bytes: None,
            steps_per_row_group: None,
            zstd_level: DEFAULT_ZSTD_LEVEL,
        }
    }
}
