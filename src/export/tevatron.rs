//! `tevatron`: a query with its passages a line, as Tevatron's trainers read them. What they have no name for stands under
//! `prep`, which they leave alone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json_lines::{self, put_json};
use super::rest::Rest;
use super::row::{Row, Text};
use super::{ExportRequest, ReadBack, Target, fill};
use crate::error::Result;

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    query_id: Text<'a>,
    query: Text<'a>,
    positive_passages: Vec<Passage<'a>>,
    negative_passages: Vec<Passage<'a>>,
    prep: Rest<'a>,
}

#[derive(Serialize, Deserialize)]
struct Passage<'a> {
    docid: Text<'a>,
    /// Batches have none: texts are what was drawn.
    title: Text<'a>,
    text: Text<'a>,
}

pub(super) fn create(path: &Path, request: &ExportRequest) -> Result<Target> {
    json_lines::create_filled(path, request, |row, bytes| put_json(&Line::from(row), bytes))
}

pub(super) fn read(path: &Path) -> Result<ReadBack> {
    json_lines::read(path, |line: Line<'static>| line.try_into())
}

impl<'a> From<Row<'a>> for Line<'a> {
    fn from(row: Row<'a>) -> Self {
        let passage = |(docid, text)| Passage { docid, title: Text::Borrowed(""), text };
        let (rest, (query_id, query), positive, (negative_ids, negatives)) = Rest::of(row);
        Self {
            query_id,
            query,
            positive_passages: vec![passage(positive)],
            negative_passages: negative_ids.into_iter().zip(negatives).map(passage).collect(),
            prep: rest,
        }
    }
}

impl TryFrom<Line<'static>> for Row<'static> {
    type Error = String;

    fn try_from(line: Line<'static>) -> std::result::Result<Self, String> {
        let Ok([positive]) = <[Passage<'static>; 1]>::try_from(line.positive_passages) else {
            return Err("there is one positive passage in a row of ours".to_owned());
        };
        let (ids, texts) =
            line.negative_passages.into_iter().map(|passage| (passage.docid, passage.text)).unzip();
        let negatives = fill::own(ids, texts, &line.prep.negative_group_ids);
        Ok(line.prep.with((line.query_id, line.query), (positive.docid, positive.text), negatives))
    }
}
