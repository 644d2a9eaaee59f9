//! Which pairs of a batch are no negatives: the query's group is among those that the passage answers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, bail};

/// The group of each query, and the groups that each passage answers: all that a mask needs, without a cell a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMask {
    query_groups: Arc<[u32]>,
    offsets: Arc<[u32]>,
    passage_groups: Arc<[u32]>,
}

impl GroupMask {
    /// `query_groups`: B numbers. Passage j answers `passage_groups[offsets[j]..offsets[j + 1]]`, in ascending order.
    ///
    /// # Errors
    /// When the offsets do not lead from 0 to the end of the groups, or the groups of a passage do not ascend.
    pub fn new(
        query_groups: impl Into<Arc<[u32]>>,
        offsets: impl Into<Arc<[u32]>>,
        passage_groups: impl Into<Arc<[u32]>>,
    ) -> Result<Self> {
        let (offsets, passage_groups) = (offsets.into(), passage_groups.into());
        let n_groups = passage_groups.len();
        if offsets.first() != Some(&0) || offsets.last().map(|&last| last as usize) != Some(n_groups) {
            bail!("group mask: offsets must lead from 0 to {n_groups}");
        }
        for (j, pair) in offsets.windows(2).enumerate() {
            let groups = passage_groups.get(pair[0] as usize..pair[1] as usize);
            if !groups.is_some_and(|groups| groups.is_sorted_by(|a, b| a < b)) {
                bail!("group mask: the groups of passage {j} do not ascend");
            }
        }
        Ok(Self { query_groups: query_groups.into(), offsets, passage_groups })
    }

    /// How many pairs are masked.
    ///
    /// # Errors
    /// When there are fewer passages than queries.
    pub fn n_masked(&self) -> Result<usize> {
        let pairs = self.pairs(self.query_groups.len(), self.offsets.len() - 1)?;
        Ok(pairs.passages.iter().map(Vec::len).sum())
    }

    /// The pairs of a query and a passage that is not its own positive but answers its group.
    pub(super) fn pairs(&self, n_queries: usize, n_passages: usize) -> Result<MaskedPairs> {
        if (self.query_groups.len(), self.offsets.len() - 1) != (n_queries, n_passages) {
            bail!(
                "info_nce: a mask of {} queries and {} passages for {n_queries} and {n_passages}",
                self.query_groups.len(),
                self.offsets.len() - 1
            );
        }
        let mut queries_of: HashMap<u32, Vec<usize>> = HashMap::new();
        for (query, &group) in self.query_groups.iter().enumerate() {
            queries_of.entry(group).or_default().push(query);
        }
        let mut passages = vec![Vec::new(); n_queries];
        for (passage, pair) in self.offsets.windows(2).enumerate() {
            for group in &self.passage_groups[pair[0] as usize..pair[1] as usize] {
                for &query in queries_of.get(group).into_iter().flatten().filter(|&&query| query != passage) {
                    passages[query].push(passage);
                }
            }
        }
        Ok(MaskedPairs { passages })
    }
}

/// The masked passages of each query, ascending.
pub(super) struct MaskedPairs {
    passages: Vec<Vec<usize>>,
}

impl MaskedPairs {
    pub(super) fn none(n_queries: usize) -> Self {
        Self { passages: vec![Vec::new(); n_queries] }
    }

    /// All in one list, and where in it those of each query begin, with the list's end.
    pub(super) fn lists(&self) -> (Vec<u32>, Vec<u32>) {
        let mut starts = vec![0];
        let mut all = Vec::new();
        for passages in &self.passages {
            all.extend(passages.iter().map(|&passage| passage as u32));
            starts.push(all.len() as u32);
        }
        assert!(u32::try_from(all.len()).is_ok(), "there are fewer than 2^32 masked pairs");
        (starts, all)
    }

    /// Those of one query within a range of passages.
    pub(super) fn within(&self, query: usize, range: &Range<usize>) -> &[usize] {
        let passages = &self.passages[query];
        let position = |end: usize| passages.partition_point(|&passage| passage < end);
        &passages[position(range.start)..position(range.end)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries of groups 7, 8 and 7; passages that answer 7, 7 and 8, 7, none.
    #[test]
    fn pairs_by_hand() {
        let mask = GroupMask::new(vec![7, 8, 7], vec![0, 1, 3, 4, 4], vec![7, 7, 8, 7]).unwrap();
        let pairs = mask.pairs(3, 4).unwrap();
        assert_eq!(pairs.passages, [vec![1, 2], vec![], vec![0, 1]]);
        assert_eq!(pairs.within(2, &(1..4)), [1]);
        assert_eq!(pairs.lists(), (vec![0, 2, 2, 4], vec![1, 2, 0, 1]));
        assert!(mask.pairs(3, 5).is_err());
    }

    #[test]
    fn refuses_offsets_and_groups_out_of_order() {
        assert!(GroupMask::new(vec![1], vec![0, 2], vec![1]).is_err());
        assert!(GroupMask::new(vec![1], vec![1, 1], vec![1]).is_err());
        assert!(GroupMask::new(vec![1], vec![0, 2], vec![2, 1]).is_err());
        assert!(GroupMask::new(vec![1, 1], vec![0, 2, 1, 3], vec![1, 2, 3]).is_err());
    }
}
