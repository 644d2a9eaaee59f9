//! The columns of a row that formats of queries and passages have no place for.

use serde::{Deserialize, Serialize};

use super::row::{Row, Text};

/// The other columns of a row.
#[derive(Serialize, Deserialize)]
pub(super) struct Rest<'a> {
    pub(super) step: u64,
    pub(super) row: u32,
    pub(super) source: Text<'a>,
    pub(super) pool: Text<'a>,
    pub(super) example: u64,
    pub(super) group_id: Text<'a>,
    pub(super) query_lang: Text<'a>,
    pub(super) positive_lang: Text<'a>,
    pub(super) positive_group_ids: Vec<Text<'a>>,
    pub(super) negative_group_ids: Vec<Vec<Text<'a>>>,
}

/// Id and text.
type Identified<'a> = (Text<'a>, Text<'a>);
/// Ids and texts.
type AllIdentified<'a> = (Vec<Text<'a>>, Vec<Text<'a>>);

impl<'a> Rest<'a> {
    /// A row as its other columns, its query, its positive and its hard negatives.
    pub(super) fn of(row: Row<'a>) -> (Self, Identified<'a>, Identified<'a>, AllIdentified<'a>) {
        let rest = Self {
            step: row.step,
            row: row.row,
            source: row.source,
            pool: row.pool,
            example: row.example,
            group_id: row.group_id,
            query_lang: row.query_lang,
            positive_lang: row.positive_lang,
            positive_group_ids: row.positive_group_ids,
            negative_group_ids: row.negative_group_ids,
        };
        let negatives = (row.negative_ids, row.negatives);
        (rest, (row.query_id, row.query), (row.positive_id, row.positive), negatives)
    }

    /// The row that [`Rest::of`] took apart.
    pub(super) fn with(
        self,
        (query_id, query): Identified<'a>,
        (positive_id, positive): Identified<'a>,
        (negative_ids, negatives): AllIdentified<'a>,
    ) -> Row<'a> {
        Row {
            step: self.step,
            row: self.row,
            source: self.source,
            pool: self.pool,
            example: self.example,
            group_id: self.group_id,
            query_id,
            query_lang: self.query_lang,
            query,
            positive_id,
            positive_lang: self.positive_lang,
            positive,
            positive_group_ids: self.positive_group_ids,
            negative_ids,
            negatives,
            negative_group_ids: self.negative_group_ids,
        }
    }
}
