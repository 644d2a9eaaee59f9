//! Questions that stand in two corpora under one id: XQuAD-R has SQuAD's, and so have SQuAD's translations.
//!
//! Where the pipeline says so (`shares_ids_with`), what answers a question in one corpus answers it in the other. So
//! a translation that came from elsewhere is no negative, and counts as found when it is found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use serde::Serialize;

use crate::pipeline::{CorpusSpec, Pipeline};

/// Two parallel corpora with equal ids of which the pipeline does not say that they are the same questions. Of corpora that
/// share their ids it is the one that the others name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EqualIds {
    pub corpora: [String; 2],
    /// Groups of the one whose id a group of the other bears.
    pub groups: u64,
}

/// For the number of a group, those of the groups of other corpora that are the same question.
#[derive(Default)]
pub(super) struct SameQuestions(HashMap<u32, Vec<u32>>);

impl SameQuestions {
    /// `group_ids` in the order of their numbers.
    pub(super) fn among<'a>(pipeline: &Pipeline, group_ids: impl Iterator<Item = &'a str>) -> Self {
        if pipeline.corpora.iter().all(|corpus| corpus.shares_ids_with.is_none()) {
            return Self::default();
        }
        let spaces: HashMap<&str, &str> =
            pipeline.corpora.iter().map(|corpus| (corpus.name.as_str(), space(corpus))).collect();
        let mut by_id: HashMap<(&str, &str), Vec<u32>> = HashMap::new();
        for (number, (dataset, id)) in (0..).zip(group_ids.map(parts)) {
            by_id.entry((spaces[dataset], id)).or_default().push(number);
        }
        let others = |same: &[u32], number: u32| same.iter().copied().filter(|&n| n != number).collect();
        let several = by_id.into_values().filter(|same| 1 < same.len());
        Self(several.flat_map(|same| same.clone().into_iter().map(move |n| (n, others(&same, n)))).collect())
    }

    /// Those that are a question of another corpus, too.
    pub(super) fn groups(&self) -> impl Iterator<Item = u32> {
        self.0.keys().copied()
    }

    pub(super) fn of(&self, group: u32) -> &[u32] {
        self.0.get(&group).map_or(&[], Vec::as_slice)
    }
}

/// Pairs of parallel corpora with equal ids that no `shares_ids_with` ties, by name. Numbers of lines are no ids.
pub(super) fn equal_ids(pipeline: &Pipeline, queries: &RecordBatch) -> Vec<EqualIds> {
    let has_ids = |c: &&CorpusSpec| c.is_parallel() && c.has_ids();
    let spaces: HashMap<&str, &str> =
        pipeline.corpora.iter().filter(has_ids).map(|corpus| (corpus.name.as_str(), space(corpus))).collect();
    let mut spaces_of: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    if 1 < spaces.len() {
        let groups = queries.column(1).as_string_view();
        for (dataset, id) in (0..groups.len()).map(|row| parts(groups.value(row))) {
            if let Some(space) = spaces.get(dataset) {
                spaces_of.entry(id).or_default().insert(space);
            }
        }
    }
    let mut counts: BTreeMap<[&str; 2], u64> = BTreeMap::new();
    for spaces in spaces_of.into_values().filter(|spaces| 1 < spaces.len()) {
        let spaces: Vec<&str> = spaces.into_iter().collect();
        for (at, a) in spaces.iter().enumerate() {
            for b in &spaces[at + 1..] {
                *counts.entry([a, b]).or_default() += 1;
            }
        }
    }
    counts.into_iter().map(|(pair, groups)| EqualIds { corpora: pair.map(str::to_owned), groups }).collect()
}

/// The corpus whose ids these are.
fn space(corpus: &CorpusSpec) -> &str {
    corpus.shares_ids_with.as_deref().unwrap_or(&corpus.name)
}

/// Of a group of a parallel corpus: dataset, and the id that the source gave it.
fn parts(group_id: &str) -> (&str, &str) {
    group_id.split_once('/').expect("an id begins with its dataset")
}
