//! From what was retrieved for a question to its hard negatives.

use std::cmp::Ordering;
use std::ops::Range;

/// A passage that was retrieved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hit {
    /// By its row in `corpus/`.
    pub(super) passage: u32,
    pub(super) score: f32,
}

impl Hit {
    /// By score, descending; ties by passage id, descending, as in every run (`schemas/EVAL.md`). Rows are in the order
    /// of their ids.
    fn order(self, other: Self) -> Ordering {
        other.score.total_cmp(&self.score).then(other.passage.cmp(&self.passage))
    }
}

/// Which of the passages that were retrieved become hard negatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Of the ranking without what answers the question; from 1, and the end is not among them.
    pub ranks: Range<usize>,
    /// How far they must stay below the best passage that answers the question.
    pub margin: Option<f64>,
    /// The first so many; all if not given.
    pub per_query: Option<usize>,
}

/// The ranks that are taken when nothing else is asked for: the first hundred.
pub const DEFAULT_RANKS: Range<usize> = 1..101;

/// The hard negatives of a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Chosen {
    /// The best one first.
    pub(super) hits: Vec<Hit>,
    /// Passages that answer the question and stood before the last rank that was wanted.
    pub(super) n_answers: u64,
}

impl Choice {
    /// `hits` are in any order, each passage once; `answers` are the passages that answer the question, ascending.
    pub(super) fn of(&self, hits: Vec<Hit>, answers: &[u32]) -> Chosen {
        let is_answer = |hit: &Hit| answers.binary_search(&hit.passage).is_ok();
        let (found, mut hits): (Vec<Hit>, Vec<Hit>) = hits.into_iter().partition(is_answer);
        let n_ranks = self.ranks.end - 1;
        if n_ranks < hits.len() {
            hits.select_nth_unstable_by(n_ranks, |a, b| a.order(*b));
            hits.truncate(n_ranks);
        }
        hits.sort_unstable_by(|a, b| a.order(*b));
        let last = hits.get(n_ranks.wrapping_sub(1));
        let stands_before = |hit: &&Hit| last.is_none_or(|last| hit.order(*last).is_lt());
        let n_answers = found.iter().filter(stands_before).count() as u64;

        hits.drain(..hits.len().min(self.ranks.start - 1));
        if let Some(margin) = self.margin {
            let best = found.iter().map(|hit| f64::from(hit.score)).reduce(f64::max);
            // Where no answer was retrieved there is nothing to stay below, and what stands on top may be one.
            hits.retain(|hit| best.is_some_and(|best| f64::from(hit.score) <= best - margin));
        }
        hits.truncate(self.per_query.unwrap_or(usize::MAX));
        // Of a million passages that were scored a hundred stay, for every question: without the space of the others.
        hits.shrink_to_fit();
        Chosen { hits, n_answers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passage n has score `scores[n]`.
    fn hits(scores: &[f32]) -> Vec<Hit> {
        (0..).zip(scores).map(|(passage, &score)| Hit { passage, score }).collect()
    }

    fn passages(choice: &Choice, scores: &[f32], answers: &[u32]) -> (Vec<u32>, u64) {
        let chosen = choice.of(hits(scores), answers);
        (chosen.hits.iter().map(|hit| hit.passage).collect(), chosen.n_answers)
    }

    const ALL: Choice = Choice { ranks: DEFAULT_RANKS, margin: None, per_query: None };

    #[test]
    fn ranks_count_what_does_not_answer_from_one_without_the_end() {
        let scores = [5.0, 1.0, 4.0, 3.0, 3.0, 2.0];
        assert_eq!(passages(&ALL, &scores, &[]), (vec![0, 2, 4, 3, 5, 1], 0));
        assert_eq!(passages(&ALL, &scores, &[0, 1]), (vec![2, 4, 3, 5], 2));
        let ranks = |ranks| Choice { ranks, ..ALL };
        assert_eq!(passages(&ranks(1..3), &scores, &[0, 1]), (vec![2, 4], 1));
        assert_eq!(passages(&ranks(2..4), &scores, &[0, 1]), (vec![4, 3], 1));
        assert_eq!(passages(&ranks(4..5), &scores, &[2]), (vec![5], 1));
        assert_eq!(passages(&ranks(7..9), &scores, &[]), (vec![], 0));
    }

    #[test]
    fn a_margin_is_counted_from_the_best_answer() {
        let scores = [5.0, 1.0, 4.0, 3.0, 3.0, 2.0];
        let margin = |margin| Choice { margin: Some(margin), ..ALL };
        assert_eq!(passages(&margin(0.0), &scores, &[1, 2]).0, [4, 3, 5]);
        assert_eq!(passages(&margin(1.0), &scores, &[2]).0, [4, 3, 5, 1]);
        assert_eq!(passages(&margin(1.5), &scores, &[2]).0, [5, 1]);
        assert_eq!(passages(&margin(-2.0), &scores, &[3]).0, [0, 2, 4, 5, 1]);
        assert_eq!(passages(&margin(0.0), &scores, &[9]).0, [0_u32; 0], "no answer was retrieved");
    }

    #[test]
    fn the_first_so_many_are_those_that_the_margin_left() {
        let choice = Choice { ranks: 2..6, margin: Some(0.5), per_query: Some(2) };
        assert_eq!(passages(&choice, &[5.0, 1.0, 4.0, 3.0, 3.0, 2.0], &[2]).0, [4, 3]);
        let choice = Choice { ranks: 3..6, ..choice };
        assert_eq!(passages(&choice, &[5.0, 1.0, 4.0, 3.0, 3.0, 2.0], &[2]).0, [3, 5]);
    }
}
