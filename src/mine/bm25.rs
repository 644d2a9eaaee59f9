//! BM25 over the passages of one language, for questions that are known beforehand.
//!
//! So only their words are indexed: passages are read once, one after another, and what stays in memory is a byte or two
//! for each occurrence of such a word in a passage, and the passage's length. The score of a passage for a question is
//!
//! ```text
//! sum over the words of the question, each as often as it stands there:
//!     ln(1 + (N - n + 0.5) / (n + 0.5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * length / mean length))
//! ```
//!
//! N passages, n of them with the word, f times in this one; lengths are in words (Robertson and Zaragoza 2009, with the
//! logarithm of Lucene, which is never negative). Sums are of doubles in the order of the question's words, so no thread
//! changes a bit of them.
//!
//! tantivy 0.27, which was tried for this, has k1 and b as constants and rounds a length to one of 256. With all words
//! of all passages on disk, it would also be 32 crates more.

use std::collections::HashMap;

use super::ranking::Hit;

/// Of BM25.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bm25 {
    /// How soon further occurrences of a word count no more, at least 0.
    pub k1: f64,
    /// How much a passage's length counts, 0 to 1.
    pub b: f64,
}

impl Default for Bm25 {
    /// As in the published baselines of MIRACL and Mr. TyDi (Anserini's).
    fn default() -> Self {
        Self { k1: 0.9, b: 0.4 }
    }
}

/// The distinct terms of a question, by number in order of appearance, with how often each stands there.
pub(super) type Terms = Vec<(u32, u32)>;

/// The words of all questions of a language.
#[derive(Default)]
pub(super) struct Vocabulary {
    numbers: HashMap<String, u32>,
}

impl Vocabulary {
    /// Takes the terms of a question in.
    pub(super) fn add(&mut self, terms: impl Iterator<Item = String>) -> Terms {
        let mut counts = Terms::new();
        for term in terms {
            let next = self.numbers.len() as u32;
            let number = *self.numbers.entry(term).or_insert(next);
            match counts.iter_mut().find(|(known, _)| *known == number) {
                Some((_, n)) => *n += 1,
                None => counts.push((number, 1)),
            }
        }
        counts
    }

    /// What a passage has of these words.
    pub(super) fn passage(&self, terms: impl Iterator<Item = String>) -> Passage {
        let (mut length, mut found) = (0, Vec::new());
        for term in terms {
            length += 1;
            found.extend(self.numbers.get(&term));
        }
        found.sort_unstable();
        let counts = found.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)).collect();
        Passage { length, counts }
    }
}

/// A passage on its way into the index.
pub(super) struct Passage {
    /// In words.
    length: u32,
    /// How often each word stands in it.
    counts: Vec<(u32, u32)>,
}

/// Which passages have which word, how often.
pub(super) struct Bm25Index {
    parameters: Bm25,
    /// Numbers of the passages, as whoever searches knows them, ascending.
    passages: Vec<u32>,
    lengths: Vec<u32>,
    /// The sum of all lengths.
    n_words: u64,
    postings: Vec<Postings>,
}

/// The passages that have a word: from one to the next how many places further, and how often there, seven bits a byte.
#[derive(Clone, Default)]
struct Postings {
    bytes: Vec<u8>,
    n: u32,
    /// One behind the place of the last.
    end: u32,
}

impl Bm25Index {
    pub(super) fn new(parameters: Bm25, vocabulary: &Vocabulary) -> Self {
        Self {
            parameters,
            passages: Vec::new(),
            lengths: Vec::new(),
            n_words: 0,
            postings: vec![Postings::default(); vocabulary.numbers.len()],
        }
    }

    /// `number` is greater than all before.
    pub(super) fn push(&mut self, number: u32, passage: &Passage) {
        debug_assert!(self.passages.last().is_none_or(|last| *last < number), "passages come in order");
        let place = self.passages.len() as u32;
        self.passages.push(number);
        self.lengths.push(passage.length);
        self.n_words += u64::from(passage.length);
        for &(word, count) in &passage.counts {
            let postings = &mut self.postings[word as usize];
            put(&mut postings.bytes, place - postings.end);
            put(&mut postings.bytes, count);
            (postings.n, postings.end) = (postings.n + 1, place + 1);
        }
    }

    /// What a thread needs to search: a score a passage.
    pub(super) fn scores(&self) -> Vec<f64> {
        vec![0.0; self.passages.len()]
    }

    /// Every passage that shares a word with the question, in the order of the passages. `scores` are those of
    /// [`Bm25Index::scores`], and are so again afterwards.
    pub(super) fn search(&self, question: &Terms, scores: &mut [f64]) -> Vec<Hit> {
        let Bm25 { k1, b } = self.parameters;
        let n_passages = self.passages.len() as f64;
        let mean_length = self.n_words as f64 / n_passages;
        for &(word, times) in question {
            let postings = &self.postings[word as usize];
            let n = f64::from(postings.n);
            let weight = f64::from(times) * libm::log(1.0 + (n_passages - n + 0.5) / (n + 0.5)) * (k1 + 1.0);
            for (place, count) in postings.iter() {
                let length = f64::from(self.lengths[place]);
                let count = f64::from(count);
                scores[place] += weight * count / (count + k1 * (1.0 - b + b * length / mean_length));
            }
        }
        let mut hits = Vec::new();
        for (score, &passage) in scores.iter_mut().zip(&self.passages) {
            if 0.0 < *score {
                hits.push(Hit { passage, score: *score as f32 });
                *score = 0.0;
            }
        }
        hits
    }
}

impl Postings {
    /// Place of each passage, and how often it has the word.
    fn iter(&self) -> impl Iterator<Item = (usize, u32)> {
        let (mut rest, mut end) = (self.bytes.as_slice(), 0);
        std::iter::from_fn(move || {
            let place = end + take(&mut rest)?;
            end = place + 1;
            Some((place as usize, take(&mut rest)?))
        })
    }
}

fn put(bytes: &mut Vec<u8>, mut n: u32) {
    while 0x80 <= n {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u32> {
    let mut n = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        n |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Some(n)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> impl Iterator<Item = String> {
        text.split(' ').map(str::to_owned)
    }

    /// By hand, and with the same result by this Python:
    ///
    /// ```python
    /// from math import log
    /// docs = ["a b", "a a c", "b c c c d"]; k1, b = 1.2, 0.75; avg = 10 / 3
    /// def score(q, d):
    ///     s = 0
    ///     for w in q.split():
    ///         n = sum(w in x.split() for x in docs); f = d.split().count(w); l = len(d.split())
    ///         s += log(1 + (3 - n + .5) / (n + .5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * l / avg))
    ///     return s
    /// print([score("a a d", d) for d in docs])  # [1.123_922, 1.329_914, 0.814_273]
    /// ```
    #[test]
    fn scores_are_those_of_the_formula() {
        let mut vocabulary = Vocabulary::default();
        let question = vocabulary.add(words("a a d"));
        assert_eq!(question, [(0, 2), (1, 1)]);
        let mut index = Bm25Index::new(Bm25 { k1: 1.2, b: 0.75 }, &vocabulary);
        for (number, text) in [(3, "a b"), (5, "a a c"), (9, "b c c c d")] {
            index.push(number, &vocabulary.passage(words(text)));
        }
        let mut scores = index.scores();
        let found = index.search(&question, &mut scores);
        let expected = [1.123_922, 1.329_914, 0.814_273];
        assert_eq!(found.iter().map(|hit| hit.passage).collect::<Vec<_>>(), [3, 5, 9]);
        for (hit, expected) in found.iter().zip(expected) {
            assert!((f64::from(hit.score) - expected).abs() < 1e-6, "{hit:?}, not {expected}");
        }
        assert_eq!(index.search(&question, &mut scores), found, "a search leaves nothing behind");
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_put(numbers: Vec<u32>) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|n| put(&mut bytes, *n));
            let mut rest = bytes.as_slice();
            let found: Vec<u32> = std::iter::from_fn(|| take(&mut rest)).collect();
            prop_assert_eq!(found, numbers);
        }
    }
}
