//! Lexicons, whatever their format: concepts, each with words in several languages. The words of a concept in two
//! languages are translations of one another.
//!
//! Files are those of a corpus of words, and are found and read as one: a group is a concept. Pairs of words are never
//! listed: a wordnet of 20 languages has some 100,000 concepts, and many times as many pairs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use rayon::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::corpus::ingest::read_unit;
use crate::corpus::records::RawTables;
use crate::corpus::source::{Unit, units};
use crate::corpus::{Input, Reason, Reject};
use crate::engine::normalise;
use crate::error::Result;
use crate::pipeline::{CodeSwitchSpec, LexiconSpec};
use crate::progress::Observer;
use crate::words::has_dotless_i;

/// All lexicons of a pipeline as one.
pub(in crate::corpus) struct Lexicon {
    /// Tags and names, in byte order.
    languages: Vec<String>,
    names: Vec<String>,
    concepts: Vec<Concept>,
    /// By (language, form), and so numbered in that order.
    keys: Vec<Key>,
    numbers: HashMap<(usize, String), usize>,
    /// What was refused of how many words, and where it stood.
    pub(in crate::corpus) rejects: Vec<Reject>,
    pub(in crate::corpus) n_records: u64,
    pub(in crate::corpus) inputs: Vec<Input>,
}

#[derive(Default)]
struct Concept {
    /// Index into the names.
    lexicon: usize,
    /// Language and word.
    words: Vec<(usize, String)>,
}

struct Key {
    lang: usize,
    form: String,
    concepts: Vec<usize>,
}

/// The translations of a word: by language, each with the name of the lexicon that has it.
pub(super) type Translations<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>;

impl Lexicon {
    /// Reads the files. Runs on the calling thread's rayon pool.
    ///
    /// # Errors
    /// [`crate::Error::Source`] for a file that is not what the format asks for, or in which a language has no words.
    pub(in crate::corpus) fn read(
        spec: &CodeSwitchSpec,
        data: &Path,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let corpora: Vec<_> = spec.lexicons.iter().map(LexiconSpec::as_corpus).collect();
        let mut all: Vec<(usize, Unit)> = Vec::new();
        for (number, corpus) in corpora.iter().enumerate() {
            all.extend(units(corpus, data, observer)?.into_iter().map(|unit| (number, unit)));
        }
        let read: Vec<(RawTables, Vec<Input>)> =
            all.par_iter().map(|(_, unit)| read_unit(unit)).collect::<Result<_>>()?;
        let mut languages: Vec<String> = corpora.iter().flat_map(|c| c.languages.iter().cloned()).collect();
        languages.sort();
        languages.dedup();
        let mut lexicon = Self {
            languages,
            names: corpora.iter().map(|corpus| corpus.name.clone()).collect(),
            concepts: Vec::new(),
            keys: Vec::new(),
            numbers: HashMap::new(),
            rejects: Vec::new(),
            n_records: 0,
            inputs: Vec::new(),
        };
        let mut numbers: HashMap<String, usize> = HashMap::new();
        for ((number, _), (raw, inputs)) in all.iter().zip(read) {
            lexicon.inputs.extend(inputs);
            lexicon.add_concepts(*number, &raw, &mut numbers);
            lexicon.rejects.extend(raw.rejects);
            lexicon.n_records += raw.n_records;
        }
        lexicon.index();
        Ok(lexicon)
    }

    /// Ids of groups begin with the name of their lexicon, so that concepts of two never mix.
    fn add_concepts(&mut self, lexicon: usize, raw: &RawTables, numbers: &mut HashMap<String, usize>) {
        let column = |name| raw.queries.column_by_name(name).expect("a column of questions");
        let texts = ["query_id", "group_id", "text"].map(|name| column(name).as_string_view());
        let [ids, groups, texts] = texts;
        let langs = column("lang").as_dictionary::<Int32Type>();
        let lang_names = langs.values().as_string::<i32>();
        for row in 0..texts.len() {
            let word = texts.value(row).trim();
            if is_affix(word) {
                self.rejects.push(Reject {
                    source: self.names[lexicon].clone(),
                    place: ids.value(row).to_owned(),
                    reason: Reason::Affix,
                    detail: "begins or ends with a hyphen or a tilde: a part of a word".to_owned(),
                    raw: word.to_owned(),
                });
                continue;
            }
            let lang = lang_names.value(langs.keys().value(row) as usize);
            let lang = self.number_of(lang).expect("a file is of a language that the pipeline names");
            let concept = *numbers.entry(groups.value(row).to_owned()).or_insert_with(|| {
                self.concepts.push(Concept { lexicon, words: Vec::new() });
                self.concepts.len() - 1
            });
            self.concepts[concept].words.push((lang, word.to_owned()));
        }
    }

    /// The words that have a translation, by the form under which they are looked up.
    fn index(&mut self) {
        let mut keys: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
        for (number, concept) in self.concepts.iter().enumerate() {
            for (lang, word) in &concept.words {
                if concept.words.iter().any(|(other, _)| other != lang) {
                    let key = (*lang, form_of(word, &self.languages[*lang]));
                    keys.entry(key).or_default().push(number);
                }
            }
        }
        self.numbers = keys.keys().cloned().zip(0..).collect();
        self.keys = keys.into_iter().map(|((lang, form), concepts)| Key { lang, form, concepts }).collect();
    }

    pub(super) fn languages(&self) -> &[String] {
        &self.languages
    }

    /// The number of a language.
    pub(super) fn number_of(&self, lang: &str) -> Option<usize> {
        self.languages.binary_search_by(|known| known.as_str().cmp(lang)).ok()
    }

    /// The number of a word of this language as a text has it, if it has a translation. Numbers ascend as (language,
    /// form) do.
    pub(super) fn find(&self, lang: usize, word: &str) -> Option<usize> {
        self.numbers.get(&(lang, form_of(word, &self.languages[lang]))).copied()
    }

    /// Tag and form of the word of a number.
    pub(super) fn word(&self, number: usize) -> (&str, &str) {
        let Key { lang, form, .. } = &self.keys[number];
        (&self.languages[*lang], form)
    }

    /// What the word of a number may become.
    pub(super) fn translations(&self, number: usize) -> Translations<'_> {
        let Key { lang, concepts, .. } = &self.keys[number];
        let mut translations = Translations::new();
        for concept in concepts.iter().map(|&concept| &self.concepts[concept]) {
            let name = self.names[concept.lexicon].as_str();
            for (target, word) in concept.words.iter().filter(|(target, _)| target != lang) {
                let words = translations.entry(self.languages[*target].as_str()).or_default();
                let first = words.entry(word.as_str()).or_insert(name);
                *first = name.min(first);
            }
        }
        translations
    }
}

/// Whether an entry is written as what other words are made with: `un-`, `-heit`, `～的`.
fn is_affix(entry: &str) -> bool {
    let ends = [entry.chars().next(), entry.chars().next_back()];
    ends.into_iter().flatten().any(|c| {
        // Minus, and tildes, among which only some are dashes to Unicode.
        c.general_category() == GeneralCategory::DashPunctuation
            || matches!(c, '\u{2212}' | '~' | '\u{2DC}' | '\u{2053}' | '\u{223C}' | '\u{FF5E}')
    })
}

/// The form under which a word is looked up: NFKC in lower case, where Turkish and Azerbaijani have two letters i.
fn form_of(word: &str, lang: &str) -> String {
    if !has_dotless_i(lang) {
        return normalise(word);
    }
    let word: String = word.nfkc().collect();
    normalise(&word.replace('I', "ı").replace('İ', "i"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_word_is_told_by_its_dash() {
        for affix in ["un-", "-heit", "\u{2010}de", "от‑", "—", "~的", "化学～", "〜的", "ה־", "\u{2212}1"]
        {
            assert!(is_affix(affix), "{affix}");
        }
        for word in ["mother-in-law", "スキー", "a~b", "Haus", "", "'s", "_"] {
            assert!(!is_affix(word), "{word}");
        }
    }

    #[test]
    fn a_word_is_looked_up_by_its_form() {
        assert_eq!(form_of("ＨＡＵＳ", "de"), "haus");
        assert_eq!(form_of("Cafe\u{301}", "fr"), "café");
        assert_eq!(form_of("IRMAK", "tr"), "ırmak");
        assert_eq!(form_of("I\u{307}stanbul", "tr-TR"), "istanbul");
        assert_eq!(form_of("IN", "en"), "in");
    }
}
