//! Hard negatives out of a TREC run.

use std::path::Path;

use arrow::array::Array;

use super::ByQuery;
use super::ranking::{Choice, Hit};
use super::training_side::TrainingSide;
use crate::corpus::Rows;
use crate::error::{Error, Result};
use crate::eval::{Retrieved, check_once, for_each_line};

/// Lines of questions or passages that are held out are passed over.
///
/// # Errors
/// [`Error::Source`] when a line is no line of a run, names what the dataset has not, or a passage of a query twice.
pub(super) fn choose(side: &TrainingSide, path: &Path, choice: &Choice) -> Result<ByQuery> {
    let name = path.display().to_string();
    let wrong = |line: u64, found: String| Error::Source {
        file: name.clone(),
        place: Some(format!("line {line}")),
        found,
        hint: Some("a run for `prep mine` ranks passages of this dataset for questions of it".to_owned()),
    };
    let (queries, passages) = (Rows::of(side.query_ids()), Rows::of(side.passage_ids()));
    let mut found: Vec<Vec<Retrieved>> = vec![Vec::new(); side.query_ids().len()];
    for_each_line(path, wrong, |line| {
        let query = queries.find(line.query).ok_or_else(|| line.unknown_query())?;
        let passage = passages.find(line.passage).ok_or_else(|| line.unknown_passage())?;
        if side.may_train_on_query(query) && side.may_train_on_passage(passage) {
            let hit = Retrieved { passage: passage as usize, score: line.score, line: line.number };
            found[query as usize].push(hit);
        }
        Ok(())
    })?;
    let mut chosen = ByQuery::new();
    for (query, mut hits) in (0..).zip(found) {
        if !side.may_train_on_query(query) {
            continue;
        }
        check_once(&mut hits, |passage| side.passage_ids().value(passage))
            .map_err(|(line, found)| wrong(line, found))?;
        let hits = hits.iter().map(|hit| Hit { passage: hit.passage as u32, score: hit.score }).collect();
        chosen.insert(query, choice.of(hits, &side.answers_of(query)?));
    }
    Ok(chosen)
}
