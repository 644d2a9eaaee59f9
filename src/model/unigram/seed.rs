//! The pieces to begin with: every character, and the substrings that recur, the best by count times length.
//!
//! Suffixes of the words are sorted by their first sixteen characters. Substrings that occur at the same places but
//! for their last characters are one: only the longest counts, as at the nodes of a suffix tree.

use rayon::prelude::*;

use super::{MAX_PIECE_CHARS, Pieces, Words};

/// A substring of `words.chars`.
#[derive(Clone, Copy)]
struct Candidate {
    first: u32,
    len: u32,
    /// Count times length.
    score: u64,
}

/// At most `n` pieces, in order, with the logarithms of their shares of all scores.
pub(super) fn pieces(words: &Words, n: usize) -> Pieces {
    let mut candidates = candidates(words);
    let text = |c: &Candidate| &words.chars[c.first as usize..(c.first + c.len) as usize];
    let n = n.saturating_sub(words.alphabet.len()).min(candidates.len());
    if n < candidates.len() {
        candidates.select_nth_unstable_by(n, |a, b| b.score.cmp(&a.score).then_with(|| text(a).cmp(text(b))));
        candidates.truncate(n);
    }
    let mut pieces: Vec<(Box<[char]>, u64)> =
        words.alphabet.iter().map(|&(c, count)| (Box::from([c]), count)).collect();
    pieces.extend(candidates.iter().map(|c| (Box::from(text(c)), c.score)));
    pieces.par_sort_unstable();
    let log_total = libm::log(pieces.iter().map(|(_, score)| *score as f64).sum());
    let (texts, log_p) =
        pieces.into_iter().map(|(text, score)| (text, libm::log(score as f64) - log_total)).unzip();
    Pieces { texts, log_p }
}

fn candidates(words: &Words) -> Vec<Candidate> {
    let suffixes = Suffixes::sorted(words);
    let n = suffixes.order.len();
    let mut found = Vec::new();
    // Prefixes that the suffixes before this one share and that are still open: (length, count so far).
    let mut open: Vec<(usize, u64)> = Vec::new();
    let mut shared_before = 0;
    for at in 0..n {
        let (suffix, mut count) = (suffixes.text(at), suffixes.count(at));
        let shared = if at + 1 < n { shared_prefix(suffix, suffixes.text(at + 1)) } else { 0 };
        let candidate = |len: usize, count: u64| Candidate {
            first: suffixes.order[at].1,
            len: len as u32,
            score: count * len as u64,
        };
        // The end of a word that occurs twice is a substring that recurs, though no other word has it.
        if 2 <= suffix.len() && 2 <= count && shared_before.max(shared) < suffix.len() {
            found.push(candidate(suffix.len(), count));
        }
        while let Some((len, before)) = open.pop_if(|(len, _)| shared < *len) {
            count += before;
            if 2 <= len {
                found.push(candidate(len, count));
            }
        }
        match open.last_mut() {
            Some((len, before)) if *len == shared => *before += count,
            _ if 0 < shared => open.push((shared, count)),
            _ => {}
        }
        shared_before = shared;
    }
    found
}

fn shared_prefix(a: &[char], b: &[char]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The suffixes of all words, cut to sixteen characters, in ascending order.
struct Suffixes<'a> {
    words: &'a Words,
    /// (the first three characters as one number, where it starts), sorted by text.
    order: Vec<(u64, u32)>,
    /// The word of each character.
    word_of: Vec<u32>,
}

impl<'a> Suffixes<'a> {
    fn sorted(words: &'a Words) -> Self {
        let mut word_of = Vec::with_capacity(words.chars.len());
        for word in 0..words.len() {
            word_of.resize(words.starts[word + 1], word as u32);
        }
        let mut suffixes = Self { words, order: Vec::new(), word_of };
        // Most comparisons end within three characters, and need not look at the text then.
        let mut order: Vec<(u64, u32)> = (0..words.chars.len() as u32)
            .into_par_iter()
            .map(|first| {
                let text = suffixes.at(first);
                let key = (0..3).fold(0, |key, i| key << 21 | text.get(i).map_or(0, |&c| u64::from(c) + 1));
                (key, first)
            })
            .collect();
        order.par_sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| suffixes.at(a.1).cmp(suffixes.at(b.1))).then(a.1.cmp(&b.1))
        });
        suffixes.order = order;
        suffixes
    }

    fn at(&self, first: u32) -> &'a [char] {
        let first = first as usize;
        let end = self.words.starts[self.word_of[first] as usize + 1];
        &self.words.chars[first..end.min(first + MAX_PIECE_CHARS)]
    }

    fn text(&self, at: usize) -> &'a [char] {
        self.at(self.order[at].1)
    }

    fn count(&self, at: usize) -> u64 {
        self.words.counts[self.word_of[self.order[at].1 as usize] as usize]
    }
}
