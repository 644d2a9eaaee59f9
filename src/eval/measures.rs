//! Measures of one ranking, one short function each.
//!
//! All take the relevant passages of a query in rank order and nothing else: no list of what was retrieved, so full
//! depth costs nothing. A relevant passage that a run does not have counts as not found.

use std::fmt;

use super::rank::Rank;

/// A measure of a ranking, from 0 to 1; greater is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Average precision: the mean of the precisions at the ranks of the relevant passages, at full depth.
    Ap,
    /// The same with a cut-off, divided by min(relevant, k) as XTREME does.
    ApAt(u32),
    /// Recall: found among the first k, of all relevant.
    Recall(u32),
    /// Normalised discounted cumulative gain: the gain is the relevance itself, the discount log2(rank + 1).
    Ndcg(u32),
    /// The reciprocal of the first relevant rank, 0 beyond k.
    Rr(u32),
}

/// Its name for one query; [`Measure::mean_name`] is that of the mean.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Ap => write!(f, "AP"),
            Self::ApAt(k) => write!(f, "AP@{k}"),
            Self::Recall(k) => write!(f, "R@{k}"),
            Self::Ndcg(k) => write!(f, "nDCG@{k}"),
            Self::Rr(k) => write!(f, "RR@{k}"),
        }
    }
}

impl Measure {
    /// What the literature calls its mean over queries.
    #[must_use]
    pub fn mean_name(self) -> String {
        match self {
            Self::Ap | Self::ApAt(_) | Self::Rr(_) => format!("m{self}").replace("mRR", "MRR"),
            Self::Recall(_) | Self::Ndcg(_) => self.to_string(),
        }
    }

    pub(super) fn of(self, ranking: &Ranking) -> f64 {
        match self {
            Self::Ap => average_precision(ranking),
            Self::ApAt(k) => average_precision_at(ranking, k),
            Self::Recall(k) => recall(ranking, k),
            Self::Ndcg(k) => ndcg(ranking, k),
            Self::Rr(k) => reciprocal_rank(ranking, k),
        }
    }
}

/// The relevant passages of a query in one pool: at least one.
pub(super) struct Ranking {
    /// Of those that were found, ascending.
    ranks: Vec<u32>,
    /// Of these, in the same order.
    gains: Vec<f64>,
    /// Of all relevant passages, descending.
    ideal_gains: Vec<f64>,
}

impl Ranking {
    /// Rank and relevance of each relevant passage, in any order.
    pub(super) fn new(relevant: impl Iterator<Item = (Rank, i32)>) -> Self {
        let mut relevant: Vec<(Rank, f64)> =
            relevant.map(|(rank, relevance)| (rank, f64::from(relevance))).collect();
        let mut ideal_gains: Vec<f64> = relevant.iter().map(|(_, gain)| *gain).collect();
        ideal_gains.sort_unstable_by(|a, b| b.total_cmp(a));
        relevant.retain(|(rank, _)| rank.is_some());
        relevant.sort_unstable_by_key(|(rank, _)| *rank);
        let (ranks, gains) =
            relevant.into_iter().filter_map(|(rank, gain)| rank.map(|rank| (rank.get(), gain))).unzip();
        Self { ranks, gains, ideal_gains }
    }

    fn n_relevant(&self) -> usize {
        self.ideal_gains.len()
    }

    /// The sum of the precisions at the relevant ranks up to k: the i-th of them, at rank r, has i / r.
    fn precisions(&self, k: u32) -> f64 {
        (1..)
            .zip(&self.ranks)
            .take_while(|(_, rank)| **rank <= k)
            .map(|(i, rank)| f64::from(i) / f64::from(*rank))
            .sum()
    }
}

fn average_precision(ranking: &Ranking) -> f64 {
    ranking.precisions(u32::MAX) / ranking.n_relevant() as f64
}

fn average_precision_at(ranking: &Ranking, k: u32) -> f64 {
    ranking.precisions(k) / (ranking.n_relevant() as f64).min(f64::from(k))
}

fn recall(ranking: &Ranking, k: u32) -> f64 {
    ranking.ranks.partition_point(|&rank| rank <= k) as f64 / ranking.n_relevant() as f64
}

fn ndcg(ranking: &Ranking, k: u32) -> f64 {
    let discounted = |rank: u32, gain: f64| gain / (f64::from(rank) + 1.0).log2();
    let found = ranking.ranks.iter().zip(&ranking.gains).take_while(|(rank, _)| **rank <= k);
    let ideal = (1..=k).zip(&ranking.ideal_gains);
    found.map(|(rank, gain)| discounted(*rank, *gain)).sum::<f64>()
        / ideal.map(|(rank, gain)| discounted(rank, *gain)).sum::<f64>()
}

fn reciprocal_rank(ranking: &Ranking, k: u32) -> f64 {
    ranking.ranks.first().filter(|&&rank| rank <= k).map_or(0.0, |&rank| 1.0 / f64::from(rank))
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    fn ranking(relevant: &[(u32, i32)]) -> Ranking {
        Ranking::new(relevant.iter().map(|&(rank, relevance)| (NonZero::new(rank), relevance)))
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
    }

    /// By hand: relevant passages at ranks 1, 3 and 6, so AP = (1/1 + 2/3 + 3/6) / 3 = 13/18.
    #[test]
    fn measures_worked_by_hand() {
        let binary = ranking(&[(6, 1), (1, 1), (3, 1)]);
        close(Measure::Ap.of(&binary), 13.0 / 18.0);
        // Up to rank 3: (1/1 + 2/3) / min(3, 3), up to rank 2: 1 / min(3, 2).
        close(Measure::ApAt(3).of(&binary), 5.0 / 9.0);
        close(Measure::ApAt(2).of(&binary), 0.5);
        close(Measure::Recall(1).of(&binary), 1.0 / 3.0);
        close(Measure::Recall(5).of(&binary), 2.0 / 3.0);
        close(Measure::Recall(6).of(&binary), 1.0);
        close(Measure::Rr(10).of(&ranking(&[(4, 1), (9, 1)])), 0.25);
        close(Measure::Rr(3).of(&ranking(&[(4, 1), (9, 1)])), 0.0);
    }

    /// By hand: relevance 3 at rank 1, 2 at rank 6, 1 at rank 3. DCG = 3/log2(2) + 1/log2(4) + 2/log2(7); ideal is
    /// 3/log2(2) + 2/log2(3) + 1/log2(4).
    #[test]
    fn the_gain_is_the_relevance_itself() {
        let graded = ranking(&[(6, 2), (1, 3), (3, 1)]);
        let ideal = 3.0 + 2.0 / 3.0_f64.log2() + 0.5;
        close(Measure::Ndcg(10).of(&graded), (3.0 + 0.5 + 2.0 / 7.0_f64.log2()) / ideal);
        // The cut-off cuts both: at 2, DCG is 3 and the ideal 3 + 2/log2(3).
        close(Measure::Ndcg(2).of(&graded), 3.0 / (3.0 + 2.0 / 3.0_f64.log2()));
    }

    /// By hand: of three relevant passages a run has two, at ranks 2 and 4: AP = (1/2 + 2/4 + 0) / 3.
    #[test]
    fn what_a_run_does_not_have_is_not_found() {
        let cut = ranking(&[(2, 1), (0, 1), (4, 1)]);
        close(Measure::Ap.of(&cut), 1.0 / 3.0);
        close(Measure::Recall(100).of(&cut), 2.0 / 3.0);
        close(Measure::Ap.of(&ranking(&[(0, 1)])), 0.0);
    }

    #[test]
    fn means_have_the_names_of_the_literature() {
        let all = [Measure::Ap, Measure::ApAt(20), Measure::Recall(1), Measure::Ndcg(10), Measure::Rr(10)];
        assert_eq!(all.map(|m| m.to_string()).join(" "), "AP AP@20 R@1 nDCG@10 RR@10");
        assert_eq!(all.map(Measure::mean_name).join(" "), "mAP mAP@20 R@1 nDCG@10 MRR@10");
    }
}
