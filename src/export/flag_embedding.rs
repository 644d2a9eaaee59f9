//! `flag-embedding`: a query with `pos` and `neg` a line, as FlagEmbedding's trainers read them. What they have no name for
//! stands under `prep`, which they leave alone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json_lines::{self, put_json};
use super::rest::Rest;
use super::row::{Row, Text};
use super::{ExportRequest, ReadBack, Target, fill};
use crate::error::Result;

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    query: Text<'a>,
    pos: Vec<Text<'a>>,
    neg: Vec<Text<'a>>,
    query_id: Text<'a>,
    pos_id: Vec<Text<'a>>,
    neg_id: Vec<Text<'a>>,
    prep: Rest<'a>,
}

pub(super) fn create(path: &Path, request: &ExportRequest) -> Result<Target> {
    json_lines::create_filled(path, request, |row, bytes| {
        let (rest, (query_id, query), (positive_id, positive), (negative_ids, negatives)) = Rest::of(row);
        let line = Line {
            query,
            pos: vec![positive],
            neg: negatives,
            query_id,
            pos_id: vec![positive_id],
            neg_id: negative_ids,
            prep: rest,
        };
        put_json(&line, bytes);
    })
}

pub(super) fn read(path: &Path) -> Result<ReadBack> {
    json_lines::read(path, |line: Line<'static>| {
        let (Ok([id]), Ok([text])) =
            (<[Text<'static>; 1]>::try_from(line.pos_id), <[Text<'static>; 1]>::try_from(line.pos))
        else {
            return Err("there is one `pos` in a row of ours".to_owned());
        };
        let negatives = fill::own(line.neg_id, line.neg, &line.prep.negative_group_ids);
        Ok::<Row, _>(line.prep.with((line.query_id, line.query), (id, text), negatives))
    })
}
