//! `[[corpora]]`: what a source corpus is, and where its files are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::language;

/// One source corpus: a dataset in one or more languages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorpusSpec {
    /// The dataset's name, which begins every id: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// How the files are laid out.
    pub format: Format,
    /// File below `--data`; `{lang}` stands for the language (`{language}` for its name in English), `*` for anything within
    /// one name. It may lead into an archive: `mkqa_dev.zip/mkqa_dev/mkqa-{lang}.jsonl`. Instead, a URL:
    /// `hf://datasets/ORG/NAME@REVISION/PATH`, `s3://BUCKET/KEY` or `https://HOST/PATH`.
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
    /// Languages to read, by tags of BCP 47. Other names (`zh_cn`, `swa`, `thai`) become tags; `{lang}` in a path stays what is
    /// written here.
    pub languages: Vec<String>,
    /// What a passage is, in formats with contexts.
    #[serde(default)]
    pub unit: Unit,
    /// Whether equal ids in two languages are translations of one question. Default: false for `beir`, `collection`,
    /// `tevatron` and `tydiqa`, true for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// Another parallel corpus that bears the same ids for the same questions, as XQuAD-R and the translations of SQuAD do:
    /// what answers a question there answers it here, and is no negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_ids_with: Option<String>,
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

    /// Whether its records bear ids, and are not merely counted: the lines of two files of translations have nothing to do
    /// with one another.
    pub(crate) fn has_ids(&self) -> bool {
        match self.format {
            Format::Bitext | Format::WordLists => false,
            Format::Table => self.columns.as_ref().is_some_and(|columns| columns.query_id.is_some()),
            _ => true,
        }
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

    /// Every path that it names: one for each language, pair and part that has its own. Sorted.
    pub(crate) fn all_paths(&self) -> BTreeSet<String> {
        if self.is_of_pairs() {
            return self.language_pairs().into_iter().filter_map(|pair| self.path_of_pair(pair)).collect();
        }
        let by_language = self.path.iter().chain(self.files.iter().flat_map(Files::paths));
        let filled =
            by_language.flat_map(|path| self.languages.iter().map(move |lang| language::fill(path, lang)));
        filled.chain(self.paths.values().cloned()).collect()
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
    /// Translations: `text TAB translation` in files of pairs of languages, or a column for each language in one file whose
    /// first line names them, or a file for each language, line by line (Moses). Each text is a question and a passage at once.
    Bitext,
    /// Words by concept, a file for each language: a line is a concept, its columns synonyms (PanLex). Likewise.
    WordLists,
    /// SQuAD files repeated and perturbed to any number of groups and languages, to measure with.
    Synth,
}

/// As a pipeline names it.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
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
