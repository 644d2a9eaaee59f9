//! Hard negatives that people found: passages that were judged for a question and are not relevant (relevance 0), as
//! MIRACL, Mr. TyDi and TyDi QA have them.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;

use super::ByQuery;
use super::ranking::{Choice, Hit};
use super::training_side::{TrainingSide, texts};
use crate::corpus::Rows;
use crate::error::Result;

/// They have no ranking: all score 0, so they stand by id, descending.
pub(super) fn choose(side: &TrainingSide, choice: &Choice) -> Result<ByQuery> {
    let judgements = side.judgements()?;
    let relevance = judgements.column_by_name("relevance").expect("it was read").as_primitive::<Int32Type>();
    let (groups, ids) = (texts(&judgements, "group_id"), texts(&judgements, "passage_id"));
    let passages = Rows::of(side.passage_ids());
    let mut of_group: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for row in (0..judgements.num_rows()).filter(|&row| relevance.value(row) == 0) {
        let passage = passages.find(ids.value(row)).filter(|&passage| side.may_train_on_passage(passage));
        of_group.entry(groups.value(row)).or_default().extend(passage);
    }
    let mut chosen = ByQuery::new();
    for query in side.queries().into_values().flatten() {
        let judged = of_group.get(side.group_id(query)).into_iter().flatten();
        let hits = judged.map(|&passage| Hit { passage, score: 0.0 }).collect();
        chosen.insert(query, choice.of(hits, &side.answers_of(query)?));
    }
    Ok(chosen)
}
