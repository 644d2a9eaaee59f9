//! A Unigram language model over pieces of words (Kudo 2018, arXiv 1804.10959), trained as SentencePiece trains it.
//!
//! Seeds are all substrings that recur, the best of them by count times length. Expectation maximisation gives each a
//! probability; pieces are then pruned by how much likelihood the text would lose without them, a quarter at a time,
//! until a tenth more than wanted are left, and the most probable of these stay.
//!
//! The result is the same to the byte wherever it is computed, which is why this is not left to the trainer of
//! the `tokenizers` crate: that one breaks ties in the order of a hash map. Pieces stand in the order of their characters
//! throughout, sums are taken in an order that knows nothing of threads, and logarithms are computed by code of ours
//! (libm's), because those of the system differ in the last digit from one machine to the next.

mod lattice;
mod seed;

use rayon::prelude::*;

use self::lattice::{Lattice, Trie};
use crate::error::{Error, Result};
use crate::progress::Observer;

/// Characters of the longest piece.
const MAX_PIECE_CHARS: usize = 16;
/// Pieces to begin with.
const SEED_PIECES: usize = 1_000_000;
/// Rounds of expectation and maximisation before each pruning.
const ROUNDS: usize = 2;
/// Share of the pieces that a pruning leaves.
const KEPT: f64 = 0.75;
/// Pruning ends, and the least probable go, at this many times the pieces that are wanted.
const SURPLUS: f64 = 1.1;
/// Pieces that are expected less often than this are dropped at once.
const LEAST_EXPECTED: f64 = 0.5;
/// Parts of the text whose expectations are summed apart, then in their order: the same number for any threads.
const PARTS: usize = 16;

/// How a model is trained.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnigramConfig {
    pub(super) n_pieces: usize,
    /// Share of the running characters that get a piece of their own.
    pub(super) coverage: f64,
}

/// Pieces, in ascending order of their characters, with the logarithms of their probabilities.
struct Pieces {
    texts: Vec<Box<[char]>>,
    log_p: Vec<f64>,
}

/// Words, without the characters that are too rare for a piece: where one stands, a word is cut in two.
struct Words {
    chars: Vec<char>,
    /// Where each word starts in `chars`, and the end.
    starts: Vec<usize>,
    counts: Vec<u64>,
    /// The characters that get a piece, ascending, and how often they occur.
    alphabet: Vec<(char, u64)>,
}

/// The pieces of a model and the logarithms of their probabilities, most probable first. Words are distinct and in byte
/// order.
///
/// # Errors
/// [`Error::Setting`] when the characters alone are more than the pieces.
pub(super) fn train(
    words: &[(String, u64)],
    config: UnigramConfig,
    observer: &dyn Observer,
) -> Result<Vec<(String, f64)>> {
    let words = Words::new(words, config.coverage);
    if config.n_pieces < words.alphabet.len() {
        let found = format!(
            "{} pieces besides the special tokens, fewer than the {} characters of the texts",
            config.n_pieces,
            words.alphabet.len()
        );
        return Err(
            Error::setting("--vocab", found).with_hint("a larger vocabulary, or a smaller `--coverage`")
        );
    }
    observer.begin("finding pieces", None);
    let mut pieces = seed::pieces(&words, SEED_PIECES);
    let enough = (config.n_pieces as f64 * SURPLUS) as usize;
    observer.begin("training pieces", None);
    loop {
        for _ in 0..ROUNDS {
            pieces = maximise(pieces_expected(&words, &pieces), pieces);
        }
        if pieces.texts.len() <= enough {
            break;
        }
        pieces = prune(&words, pieces, enough);
        observer.advance(1);
    }
    Ok(most_probable(pieces, config.n_pieces))
}

impl Words {
    fn new(words: &[(String, u64)], coverage: f64) -> Self {
        let mut counts: std::collections::BTreeMap<char, u64> = std::collections::BTreeMap::new();
        for (word, n) in words {
            word.chars().for_each(|c| *counts.entry(c).or_default() += n);
        }
        let alphabet = covering(counts.into_iter().collect(), coverage);
        let is_known = |c: char| alphabet.binary_search_by_key(&c, |&(known, _)| known).is_ok();
        let mut found = Self { chars: Vec::new(), starts: vec![0], counts: Vec::new(), alphabet: Vec::new() };
        for (word, n) in words {
            for part in word.split(|c| !is_known(c)).filter(|part| !part.is_empty()) {
                found.chars.extend(part.chars());
                found.starts.push(found.chars.len());
                found.counts.push(*n);
            }
        }
        found.alphabet = alphabet;
        found
    }

    fn len(&self) -> usize {
        self.counts.len()
    }

    fn word(&self, at: usize) -> &[char] {
        &self.chars[self.starts[at]..self.starts[at + 1]]
    }

    /// Ranges of words with about equally many characters.
    fn parts(&self) -> Vec<std::ops::Range<usize>> {
        let bounds: Vec<usize> = (0..=PARTS)
            .map(|part| self.starts.partition_point(|&start| start < self.chars.len() * part / PARTS))
            .map(|at| at.min(self.len()))
            .collect();
        bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }
}

/// The fewest characters that make up this share of all, frequent ones first; ascending.
fn covering(mut counts: Vec<(char, u64)>, coverage: f64) -> Vec<(char, u64)> {
    let total: u64 = counts.iter().map(|(_, n)| n).sum();
    counts.sort_by_key(|&(c, n)| (std::cmp::Reverse(n), c));
    let mut covered = 0;
    let enough = counts.iter().position(|(_, n)| {
        covered += n;
        total as f64 * coverage <= covered as f64
    });
    counts.truncate(enough.map_or(counts.len(), |last| last + 1));
    counts.sort_unstable();
    counts
}

/// How often each piece is expected, over all segmentations of all words by their probability.
fn pieces_expected(words: &Words, pieces: &Pieces) -> Vec<f64> {
    let trie = Trie::new(&pieces.texts);
    let probabilities: Vec<f64> = pieces.log_p.iter().map(|&log_p| libm::exp(log_p)).collect();
    let parts: Vec<Vec<f64>> = words
        .parts()
        .into_par_iter()
        .map(|part| {
            let mut expected = vec![0.0; pieces.texts.len()];
            let mut lattice = Lattice::default();
            for at in part {
                lattice.add_expected(
                    &trie,
                    words.word(at),
                    words.counts[at] as f64,
                    &probabilities,
                    &mut expected,
                );
            }
            expected
        })
        .collect();
    (0..pieces.texts.len()).into_par_iter().map(|piece| parts.iter().map(|part| part[piece]).sum()).collect()
}

/// Probabilities from expected counts, by the digamma function instead of the logarithm: the variational form, which
/// makes rare pieces rarer (Liang and Klein 2007). Pieces that are hardly expected go; characters stay.
fn maximise(expected: Vec<f64>, pieces: Pieces) -> Pieces {
    let kept = pieces.texts.into_iter().zip(expected).filter_map(|(text, expected)| match text.len() {
        1 => Some((text, expected.max(LEAST_EXPECTED))),
        _ => (LEAST_EXPECTED <= expected).then_some((text, expected)),
    });
    let (texts, counts): (Vec<_>, Vec<f64>) = kept.unzip();
    let of_all = digamma(counts.iter().sum());
    let log_p = counts.into_iter().map(|n| digamma(n) - of_all).collect();
    Pieces { texts, log_p }
}

/// The derivative of ln Γ at x > 0: recurrence up to 7, then the asymptotic series.
fn digamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 7.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let x = x - 0.5;
    let x2 = 1.0 / (x * x);
    let x4 = x2 * x2;
    sum + libm::log(x) + x2 / 24.0 - 7.0 / 960.0 * x4 + 31.0 / 8064.0 * x4 * x2 - 127.0 / 30720.0 * x4 * x4
}

/// Keeps the pieces without which the likelihood of the words would fall most: three quarters of them, and at least
/// `enough`. The loss of a piece is estimated as if its best other segmentation took its place everywhere.
fn prune(words: &Words, pieces: Pieces, enough: usize) -> Pieces {
    let trie = Trie::new(&pieces.texts);
    let n = pieces.texts.len();
    let counts = words
        .parts()
        .into_par_iter()
        .map(|part| {
            let mut counts = vec![0_u64; n];
            let mut lattice = Lattice::default();
            for at in part {
                let best = lattice.best(&trie, words.word(at), &pieces.log_p, None);
                best.iter().for_each(|&piece| counts[piece as usize] += words.counts[at]);
            }
            counts
        })
        .reduce(
            || vec![0; n],
            |mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                a
            },
        );
    let n_words: u64 = words.counts.iter().sum();
    let total = counts.iter().sum::<u64>() as f64;
    // Words that are cut elsewhere never use the piece, so it can go.
    let losses: Vec<Option<f64>> = (0..n)
        .into_par_iter()
        .map_init(Lattice::default, |lattice, piece| {
            let text = &pieces.texts[piece];
            if text.len() == 1 {
                return Some(f64::INFINITY);
            }
            let count = counts[piece] as f64;
            if counts[piece] == 0 {
                return None;
            }
            let instead = lattice.best(&trie, text, &pieces.log_p, Some(piece as u32));
            let log_total = libm::log(total + count * (instead.len() - 1) as f64);
            let without: f64 = instead
                .iter()
                .map(|&other| libm::log(counts[other as usize] as f64 + count) - log_total)
                .sum();
            Some(count / n_words as f64 * (libm::log(count) - libm::log(total) - without))
        })
        .collect();
    let mut order: Vec<(f64, usize)> =
        losses.into_iter().zip(0..).filter_map(|(loss, piece)| Some((loss?, piece))).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order.truncate(enough.max((n as f64 * KEPT) as usize));
    let mut kept: Vec<usize> = order.into_iter().map(|(_, piece)| piece).collect();
    kept.sort_unstable();
    let Pieces { mut texts, log_p } = pieces;
    Pieces {
        log_p: kept.iter().map(|&piece| log_p[piece]).collect(),
        texts: kept.into_iter().map(|piece| std::mem::take(&mut texts[piece])).collect(),
    }
}

/// All characters and the most probable of the others, most probable first; ties by their characters.
fn most_probable(pieces: Pieces, n: usize) -> Vec<(String, f64)> {
    let mut order: Vec<(Box<[char]>, f64)> = pieces.texts.into_iter().zip(pieces.log_p).collect();
    order.sort_by(|a, b| (1 < a.0.len()).cmp(&(1 < b.0.len())).then(b.1.total_cmp(&a.1)).then(a.0.cmp(&b.0)));
    order.truncate(n);
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.into_iter().map(|(text, log_p)| (text.iter().collect(), log_p)).collect()
}

#[cfg(test)]
mod tests;
