//! A tokenizer from the texts of datasets: words, a Unigram model of their pieces, and a `tokenizer.json` of both.
//!
//! What is a word is decided by the code that will decide it when the file is used: texts go through the file's own
//! normaliser (NFKC, white space folded) and pre-tokeniser (`▁` in front of every word) before pieces are counted. Each
//! distinct text counts once, so that one which is a question and a passage, or stands in two datasets, weighs no more.

use std::collections::HashMap;

use hashbrown::HashSet;
use rayon::prelude::*;
use serde::Serialize;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFKC, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer,
};

use super::unigram::{self, UnigramConfig};
use crate::corpus::Corpus;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::schema::Table;

/// XLM-R's names; the number of each is its place.
const SPECIAL: [&str; 5] = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"];
const BEGIN: usize = 1;
const END: usize = 2;
const UNKNOWN: usize = 3;

/// Stands for the space in front of a word, as in SentencePiece.
const SPACE: char = '▁';

/// How a tokenizer is trained.
#[derive(Clone, Copy, Debug)]
pub struct TokenizerConfig {
    /// V: ids of the vocabulary, special tokens included.
    pub vocab_size: usize,
    /// Share of the running characters that get a piece of their own; what is rarer becomes `<unk>`.
    pub coverage: f64,
    /// Whether capital letters are made small.
    pub lowercase: bool,
}

/// A trained tokenizer, and how it does on the texts that it was trained on.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// The bytes of a `tokenizer.json`.
    #[serde(skip)]
    pub json: Vec<u8>,
    /// Of these bytes.
    pub digest: Digest,
    /// Less than was asked for where the texts have not enough pieces.
    pub vocab_size: usize,
    pub texts: usize,
    pub words: u64,
    pub distinct_words: usize,
    pub pieces_per_word: f64,
    /// Of the pieces of these texts.
    pub fraction_unknown: f64,
}

/// Each distinct text of these corpora, in byte order: questions and passages.
#[must_use]
pub fn training_texts(corpora: &[Corpus]) -> Vec<&str> {
    let mut texts: HashSet<&str> = HashSet::new();
    for corpus in corpora {
        for table in [Table::Queries, Table::Passages] {
            texts.extend(corpus.texts(table, "text").iter().flatten());
        }
    }
    let mut texts: Vec<&str> = texts.into_iter().collect();
    texts.par_sort_unstable();
    texts
}

/// Trains a Unigram tokenizer. The bytes follow from the texts and the configuration, whatever their order, the
/// number of threads, the process or the machine. Runs on the calling thread's rayon pool.
///
/// # Errors
/// [`Error::Setting`] when there are no words, or more characters than the vocabulary has room for.
pub fn train_tokenizer(texts: &[&str], config: TokenizerConfig, observer: &dyn Observer) -> Result<Trained> {
    observer.begin("counting words", Some(texts.len() as u64));
    let words = count_words(texts, &normalizer(config.lowercase), observer);
    let (n_words, distinct_words) = (words.iter().map(|(_, n)| n).sum(), words.len());
    if words.is_empty() {
        return Err(Error::setting("--vocab", "there is no word to train on"));
    }
    let n_pieces = config.vocab_size.saturating_sub(SPECIAL.len());
    let pieces = unigram::train(&words, UnigramConfig { n_pieces, coverage: config.coverage }, observer)?;
    let vocab: Vec<(String, f64)> =
        SPECIAL.iter().map(|token| ((*token).to_owned(), 0.0)).chain(pieces).collect();
    let vocab_size = vocab.len();
    let tokenizer = assembled(vocab, normalizer(config.lowercase));

    observer.begin("measuring the tokenizer", Some(texts.len() as u64));
    let (n_tokens, n_unknown) = texts
        .par_iter()
        .map(|text| {
            observer.advance(1);
            let encoding =
                tokenizer.encode_fast(*text, false).expect("a model with an unknown token takes all");
            let unknown = encoding.get_ids().iter().filter(|id| **id == UNKNOWN as u32).count();
            (encoding.get_ids().len() as u64, unknown as u64)
        })
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let mut json = tokenizer.to_string(false).expect("a tokenizer is plain data").into_bytes();
    json.push(b'\n');
    Ok(Trained {
        digest: Digest::of(&json),
        json,
        vocab_size,
        texts: texts.len(),
        words: n_words,
        distinct_words,
        pieces_per_word: n_tokens as f64 / n_words as f64,
        fraction_unknown: n_unknown as f64 / n_tokens as f64,
    })
}

fn normalizer(lowercase: bool) -> NormalizerWrapper {
    let white_space = ReplacePattern::Regex(r"\s+".to_owned());
    let mut steps: Vec<NormalizerWrapper> = vec![NFKC.into()];
    if lowercase {
        steps.push(Lowercase.into());
    }
    steps.push(Replace::new(white_space, " ").expect("a valid expression").into());
    steps.push(Strip::new(true, true).into());
    Sequence::new(steps).into()
}

fn pre_tokenizer() -> Metaspace {
    Metaspace::new(SPACE, PrependScheme::Always, true)
}

/// How often each word occurs, in byte order of the words.
fn count_words(
    texts: &[&str],
    normalizer: &NormalizerWrapper,
    observer: &dyn Observer,
) -> Vec<(String, u64)> {
    let pre_tokenizer = pre_tokenizer();
    let counts = texts
        .par_iter()
        .fold(HashMap::<String, u64>::new, |mut counts, text| {
            let mut normalized = NormalizedString::from(*text);
            normalizer.normalize(&mut normalized).expect("these normalisers take all texts");
            let mut words = PreTokenizedString::from(normalized);
            pre_tokenizer.pre_tokenize(&mut words).expect("this pre-tokeniser takes all texts");
            for (word, ..) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
                match counts.get_mut(word) {
                    Some(n) => *n += 1,
                    None => drop(counts.insert(word.to_owned(), 1)),
                }
            }
            observer.advance(1);
            counts
        })
        .reduce(HashMap::new, |a, b| {
            let (mut into, from) = if a.len() < b.len() { (b, a) } else { (a, b) };
            from.into_iter().for_each(|(word, n)| *into.entry(word).or_default() += n);
            into
        });
    let mut words: Vec<(String, u64)> = counts.into_iter().collect();
    words.par_sort_unstable();
    words
}

fn assembled(vocab: Vec<(String, f64)>, normalizer: NormalizerWrapper) -> tokenizers::Tokenizer {
    let model = Unigram::from(vocab, Some(UNKNOWN), false).expect("the vocabulary has the unknown token");
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let [begin, end] = [BEGIN, END].map(|id| (SPECIAL[id].to_owned(), id as u32));
    let template = TemplateProcessing::builder()
        .try_single(format!("{} $A {}", SPECIAL[BEGIN], SPECIAL[END]))
        .expect("a valid template")
        .try_pair(format!("{0} $A {1} {1} $B {1}", SPECIAL[BEGIN], SPECIAL[END]))
        .expect("a valid template")
        .special_tokens(vec![begin, end])
        .build()
        .expect("the tokens of the templates are given");
    tokenizer.with_normalizer(Some(normalizer)).expect("no added token is normalised yet");
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer()));
    tokenizer.with_post_processor(Some(template));
    tokenizer.with_decoder(Some(pre_tokenizer()));
    let special = SPECIAL.map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).expect("these tokens are in the vocabulary");
    tokenizer
}
