//! One language on one side of the pools: which groups have a question (or a relevant passage) in it.
//!
//! A pool is two sides. Its examples are never listed: bitmaps say which groups both sides have, counts of their
//! intersection say how many examples stand before a block, and the k-th is found by selecting in one block. So N
//! languages cost N lists, and N^2 pools cost N^2 short directories.

use super::numbers::Numbers;
use crate::error::Result;

/// Groups of one word of a bitmap.
const WORD: usize = 64;
/// Words between two entries of a pool's directory.
const BLOCK_WORDS: usize = 64;

/// Rows of one language, by group.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// The bitmaps count groups from here: the first of the dataset.
    pub(crate) first_group: u32,
    /// Bit g: group `first_group + g` has a row.
    pub(crate) present: Vec<u64>,
    /// Groups present before each word.
    ranks: Vec<u32>,
    /// Rows by (group, id).
    pub(crate) rows: Numbers,
    /// Where the rows of the n-th group that is present start, where some group has several; else row n is its.
    pub(crate) starts: Option<Numbers>,
}

impl Side {
    /// From (group, row) pairs, which stand in order.
    pub(super) fn from_sorted(first_group: u32, n_groups: u32, pairs: &[(u32, u32)]) -> Self {
        let mut present = vec![0_u64; (n_groups as usize).div_ceil(WORD)];
        let (mut starts, mut before) = (Vec::new(), None);
        for (at, &(group, _)) in pairs.iter().enumerate() {
            if before != Some(group) {
                let g = (group - first_group) as usize;
                present[g / WORD] |= 1 << (g % WORD);
                starts.push(u32::try_from(at).expect("rows are numbered in 32 bits"));
                before = Some(group);
            }
        }
        let several = starts.len() != pairs.len();
        starts.push(u32::try_from(pairs.len()).expect("rows are numbered in 32 bits"));
        let rows = Numbers::Memory(pairs.iter().map(|&(_, row)| row).collect());
        Self::new(first_group, present, rows, several.then_some(Numbers::Memory(starts)))
    }

    pub(crate) fn new(first_group: u32, present: Vec<u64>, rows: Numbers, starts: Option<Numbers>) -> Self {
        let ranks = present
            .iter()
            .scan(0, |rank, word| {
                let before = *rank;
                *rank += word.count_ones();
                Some(before)
            })
            .collect();
        Self { first_group, present, ranks, rows, starts }
    }

    fn has(&self, g: usize) -> bool {
        self.present[g / WORD] >> (g % WORD) & 1 == 1
    }

    /// Groups present before group g.
    fn rank(&self, g: usize) -> usize {
        let below = self.present[g / WORD] & ((1 << (g % WORD)) - 1);
        (self.ranks[g / WORD] + below.count_ones()) as usize
    }

    /// Where the rows of group g, which is present, stand in `rows`.
    fn span(&self, g: usize) -> Result<(usize, usize)> {
        let rank = self.rank(g);
        Ok(match &self.starts {
            None => (rank, rank + 1),
            Some(starts) => {
                let bounds = starts.range(rank..rank + 2)?;
                (bounds[0] as usize, bounds[1] as usize)
            }
        })
    }
}

/// One example: a group, a question of it, a passage that is relevant to it. All are row numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    pub group: u32,
    pub query: u32,
    pub passage: u32,
}

/// The examples of a pool, by number.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    queries: &'a Side,
    passages: &'a Side,
    /// Examples before each block of words, and in all.
    before: Vec<u64>,
}

impl<'a> Pool<'a> {
    pub(super) fn new(queries: &'a Side, passages: &'a Side) -> Result<Self> {
        let n_words = queries.present.len();
        let mut before = Vec::with_capacity(n_words.div_ceil(BLOCK_WORDS) + 1);
        before.push(0);
        let mut sum = 0;
        for block in (0..n_words).step_by(BLOCK_WORDS) {
            for word in block..n_words.min(block + BLOCK_WORDS) {
                sum += count(queries, passages, word)?;
            }
            before.push(sum);
        }
        Ok(Self { queries, passages, before })
    }

    /// Number of examples.
    #[must_use]
    pub fn size(&self) -> u64 {
        *self.before.last().expect("begins with 0")
    }

    /// The k-th example, by group id, then query id, then passage id.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where the rows lie in a file that cannot be read.
    ///
    /// # Panics
    /// When `k` is not below the size.
    pub fn example(&self, k: u64) -> Result<Example> {
        assert!(k < self.size(), "example {k} of a pool of {}", self.size());
        let block = self.before.partition_point(|&n| n <= k) - 1;
        let mut left = k - self.before[block];
        let mut word = block * BLOCK_WORDS;
        loop {
            let n = count(self.queries, self.passages, word)?;
            if left < n {
                return self.within(word, left);
            }
            left -= n;
            word += 1;
        }
    }

    /// The example of this number among those of a word.
    fn within(&self, word: usize, mut left: u64) -> Result<Example> {
        let mut both = self.queries.present[word] & self.passages.present[word];
        if self.queries.starts.is_none() && self.passages.starts.is_none() {
            // One example a group: no need to look at those before. (A fifth of a build went into looking.)
            both = 1 << select(both, left as u32);
            left = 0;
        }
        loop {
            let g = word * WORD + both.trailing_zeros() as usize;
            let (first_query, end_query) = self.queries.span(g)?;
            let (first_passage, end_passage) = self.passages.span(g)?;
            let n_passages = (end_passage - first_passage) as u64;
            let n = (end_query - first_query) as u64 * n_passages;
            if left < n {
                let at = |offset: u64| usize::try_from(offset).expect("below a count of rows");
                return Ok(Example {
                    group: self.queries.first_group
                        + u32::try_from(g).expect("groups are numbered in 32 bits"),
                    query: self.queries.rows.get(first_query + at(left / n_passages))?,
                    passage: self.passages.rows.get(first_passage + at(left % n_passages))?,
                });
            }
            left -= n;
            both &= both - 1;
        }
    }
}

/// The place of the k-th bit that is set, by halves.
fn select(mut word: u64, mut k: u32) -> u32 {
    let mut place = 0;
    for half in [32, 16, 8, 4, 2, 1] {
        let low = word & ((1 << half) - 1);
        let n = low.count_ones();
        if n <= k {
            (k, place, word) = (k - n, place + half, word >> half);
        } else {
            word = low;
        }
    }
    place
}

/// Examples of the groups of one word.
fn count(queries: &Side, passages: &Side, word: usize) -> Result<u64> {
    let mut both = queries.present[word] & passages.present[word];
    if queries.starts.is_none() && passages.starts.is_none() {
        return Ok(u64::from(both.count_ones()));
    }
    let mut sum = 0;
    while both != 0 {
        let g = word * WORD + both.trailing_zeros() as usize;
        debug_assert!(queries.has(g) && passages.has(g), "a bit of the intersection");
        let (queries, passages) = (queries.span(g)?, passages.span(g)?);
        sum += (queries.1 - queries.0) as u64 * (passages.1 - passages.0) as u64;
        both &= both - 1;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// (group, row) pairs with up to three rows a group; rows are numbered as they come.
    fn pairs(counts: &[u8]) -> Vec<(u32, u32)> {
        let groups = counts.iter().enumerate().flat_map(|(g, &n)| vec![g as u32 + 7; n as usize]);
        groups.enumerate().map(|(row, group)| (group, row as u32)).collect()
    }

    proptest! {
        #[test]
        fn select_finds_the_kth_bit(word: u64) {
            let places: Vec<u32> = (0..64).filter(|place| word >> place & 1 == 1).collect();
            let selected: Vec<u32> = (0..word.count_ones()).map(|k| select(word, k)).collect();
            prop_assert_eq!(selected, places);
        }

        /// The examples of a pool are those that listing and sorting all pairs gives, in that order.
        #[test]
        fn a_pool_is_the_list_of_its_pairs(
            counts in prop::collection::vec((0_u8..4, 0_u8..4), 0..600),
            single: bool,
        ) {
            let cap = if single { 1 } else { 3 };
            let (q, p): (Vec<u8>, Vec<u8>) = counts.iter().map(|&(q, p)| (q.min(cap), p.min(cap))).unzip();
            let (q, p) = (pairs(&q), pairs(&p));
            let n = counts.len() as u32;
            let (queries, passages) = (Side::from_sorted(7, n, &q), Side::from_sorted(7, n, &p));
            let pool = Pool::new(&queries, &passages).unwrap();
            let listed: Vec<Example> = q
                .iter()
                .flat_map(|&(group, query)| {
                    p.iter().filter(move |pair| pair.0 == group).map(move |&(_, passage)| Example { group, query, passage })
                })
                .collect();
            let selected: Vec<Example> = (0..pool.size()).map(|k| pool.example(k).unwrap()).collect();
            prop_assert_eq!(selected, listed);
        }
    }
}
