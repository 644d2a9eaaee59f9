//! `[code_switch]`: words of questions and passages that stand in another language, and the lexicons to take them from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Pipeline;
use super::sources::{CorpusSpec, Format, Unit};
use super::value::Ratio;

/// Words to replace by translations (Litschko, Artemova and Plank 2023, arXiv 2305.05295; `schemas/SAMPLING.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeSwitchSpec {
    /// Into which language.
    pub kind: SwitchKind,
    /// Of each word that has a translation, that it is replaced. Between 0 and 1.
    pub probability: Ratio,
    /// Whose words.
    #[serde(default)]
    pub sides: SwitchSides,
    /// Of the batches, how many have words replaced. Default: all.
    #[serde(default = "default_share")]
    pub share: Ratio,
    /// Where translations come from.
    pub lexicons: Vec<LexiconSpec>,
}

/// Into which language a word is switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchKind {
    /// That of the row's other side: of the passage for a question, of the question for a passage. Rows of one language
    /// stay as they are.
    Bilingual,
    /// One drawn for each word, among those that the lexicons translate it to.
    Multilingual,
}

/// Whose words are switched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchSides {
    Queries,
    /// Positives and hard negatives alike, or a positive could be told by its language alone.
    Passages,
    #[default]
    Both,
}

impl SwitchSides {
    #[must_use]
    pub fn has_queries(self) -> bool {
        self != Self::Passages
    }

    #[must_use]
    pub fn has_passages(self) -> bool {
        self != Self::Queries
    }
}

/// A lexicon: words and their translations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LexiconSpec {
    /// Letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// How the files are laid out.
    pub format: LexiconFormat,
    /// File below `--data`, as of a corpus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of `path`: a path for each language, or for each pair of languages (`"th:tr"`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub paths: BTreeMap<String, String>,
    /// `tsv` with `{query_lang}` and `{passage_lang}` in `path` (the languages of its two columns): the pairs that have a
    /// file. Default: all of `languages`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<String>,
    /// Language tags (BCP 47) to read.
    pub languages: Vec<String>,
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

/// How the files of a lexicon are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LexiconFormat {
    /// `word TAB translation`, in files of pairs of languages; or one file with a column for each language, and a first
    /// line that names them.
    Tsv,
    /// Wordnets: as the corpus format `synsets`. The words of a synset are translations of one another.
    Synsets,
    /// PanLex: as the corpus format `word-lists`. The words of a line are.
    WordLists,
}

impl LexiconSpec {
    /// The corpus of its words, as which its files are found and read.
    pub(crate) fn as_corpus(&self) -> CorpusSpec {
        CorpusSpec {
            name: self.name.clone(),
            format: match self.format {
                LexiconFormat::Tsv => Format::Bitext,
                LexiconFormat::Synsets => Format::Synsets,
                LexiconFormat::WordLists => Format::WordLists,
            },
            path: self.path.clone(),
            paths: self.paths.clone(),
            pairs: self.pairs.clone(),
            languages: self.languages.clone(),
            unit: Unit::default(),
            parallel: None,
            shares_ids_with: None,
            ids_only: false,
            columns: None,
            qrels: None,
            files: None,
            synth: None,
            source: self.source.clone(),
            licence: self.licence.clone(),
            citation: self.citation.clone(),
        }
    }
}

impl Pipeline {
    /// Its corpora, and its lexicons as corpora of words.
    pub(crate) fn with_lexicons(&self) -> Vec<CorpusSpec> {
        let lexicons = self.code_switch.iter().flat_map(|code_switch| &code_switch.lexicons);
        self.corpora.iter().cloned().chain(lexicons.map(LexiconSpec::as_corpus)).collect()
    }
}

fn default_share() -> Ratio {
    Ratio::new(1, 1)
}
