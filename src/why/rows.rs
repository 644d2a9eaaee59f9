//! The rows of a batch as a person asks for them, and which passages stand against which question.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pairs::PoolName;
use crate::shards::Batch;
use crate::train::{LossForm, LossSettings};

/// A row of a batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub row: usize,
    /// The corpus that it comes from.
    pub dataset: String,
    pub query_id: String,
    pub query_lang: String,
    pub query: String,
    /// As it stands in the corpus, where words of it were switched; so with the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_original: Option<String>,
    pub positive_id: String,
    pub positive_lang: String,
    pub positive: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive_original: Option<String>,
    /// Of its question against the passages, by the model that scored it.
    pub loss: Option<f64>,
    /// Of its own passage among those that it stands against, from 1.
    pub rank: Option<usize>,
    /// The passage that it stands against with the greatest score.
    pub rival: Option<Rival>,
    /// What looks wrong.
    pub remarks: Vec<String>,
}

/// A passage that a question stands against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rival {
    /// The row that it belongs to, as positive or as hard negative.
    pub row: usize,
    pub is_hard_negative: bool,
    pub passage_id: String,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// Its cosine with the question less that of the question's own passage.
    pub margin: f64,
}

/// The passages of a batch: the positives, then the hard negatives of all rows; and which stand against which question.
pub(super) struct Masks {
    pub(super) passages: Vec<Passage>,
    /// By question: the passages that it is to be told from, its own left out.
    pub(super) negatives: Vec<Vec<usize>>,
}

pub(super) struct Passage {
    pub(super) row: usize,
    pub(super) is_hard_negative: bool,
    pub(super) id: String,
    pub(super) text: String,
    pub(super) original: Option<String>,
    groups: HashSet<String>,
}

/// The columns that this page needs; originals are there with code switching alone.
#[derive(Deserialize)]
struct Columns {
    row: usize,
    pool: String,
    group_id: String,
    query_id: String,
    query_lang: String,
    query: String,
    query_original: Option<String>,
    positive_id: String,
    positive_lang: String,
    positive: String,
    positive_original: Option<String>,
    positive_group_ids: HashSet<String>,
    negative_ids: Vec<String>,
    negatives: Vec<String>,
    #[serde(default)]
    negatives_original: Vec<Option<String>>,
    negative_group_ids: Vec<HashSet<String>>,
}

fn columns(batch: &Batch) -> Vec<Columns> {
    let rows = batch.rows_json().into_iter();
    rows.map(|row| serde_json::from_value(row).expect("a batch has the columns of its table")).collect()
}

pub(super) fn rows(batch: &Batch) -> Result<Vec<Row>> {
    let row = |row: Columns| {
        let pool: PoolName = row.pool.parse().map_err(|found| Error::Plan { found })?;
        Ok(Row {
            row: row.row,
            dataset: pool.dataset,
            query_id: row.query_id,
            query_lang: row.query_lang,
            query: row.query,
            query_original: row.query_original,
            positive_id: row.positive_id,
            positive_lang: row.positive_lang,
            positive: row.positive,
            positive_original: row.positive_original,
            loss: None,
            rank: None,
            rival: None,
            remarks: Vec::new(),
        })
    };
    columns(batch).into_iter().map(row).collect()
}

/// `schemas/TRAIN.md`, section 3: a passage that answers the group of a question does not stand against it, unless the
/// run masked nothing.
pub(super) fn masks(batch: &Batch, loss: &LossSettings) -> Masks {
    let rows = columns(batch);
    let groups: Vec<String> = rows.iter().map(|row| row.group_id.clone()).collect();
    let (mut passages, mut hard) = (Vec::new(), Vec::new());
    for row in rows {
        passages.push(Passage {
            row: row.row,
            is_hard_negative: false,
            id: row.positive_id,
            text: row.positive,
            original: row.positive_original,
            groups: row.positive_group_ids,
        });
        let originals = row.negatives_original.into_iter().chain(std::iter::repeat(None));
        let texts = row.negatives.into_iter().zip(originals);
        let negatives = row.negative_ids.into_iter().zip(texts).zip(row.negative_group_ids);
        hard.extend(negatives.map(|((id, (text, original)), groups)| Passage {
            row: row.row,
            is_hard_negative: true,
            id,
            text,
            original,
            groups,
        }));
    }
    passages.append(&mut hard);
    let stands_against = |row: usize, group: &str, j: usize| {
        let passage: &Passage = &passages[j];
        let in_form = loss.form != LossForm::Paper || passage.is_hard_negative;
        j != row && in_form && !(loss.mask && passage.groups.contains(group))
    };
    let negatives = groups
        .iter()
        .enumerate()
        .map(|(row, group)| (0..passages.len()).filter(|&j| stands_against(row, group, j)).collect())
        .collect();
    Masks { passages, negatives }
}

/// Says of each row what a person would want to look at.
pub(super) fn remark(rows: &mut [Row], masks: &Masks) {
    let mut rows_with: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for row in rows.iter() {
        rows_with.entry(row.query.clone()).or_default().push(row.row);
    }
    for row in rows {
        if row.query == row.positive {
            row.remarks.push("question and passage are one text".to_owned());
        }
        if let Some(other) = rows_with[&row.query].iter().find(|&&other| other != row.row) {
            row.remarks.push(format!("its question stands in row {other} too"));
        }
        let own = &masks.passages[row.row].text;
        let twin = masks.negatives[row.row].iter().map(|&j| &masks.passages[j]).find(|p| p.text == *own);
        if let Some(twin) = twin {
            let place = if twin.is_hard_negative { "as a hard negative of" } else { "in" };
            row.remarks.push(format!(
                "the text of its passage stands {place} row {}, and is no answer there",
                twin.row
            ));
        }
    }
}
