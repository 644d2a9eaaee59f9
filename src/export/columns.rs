//! The columns of a row one by one, for formats that write each by its name and its type.

use super::row::{Row, Text};

/// What a column holds, and how it is taken from a row.
pub(super) enum Column {
    Integer(fn(&Row) -> u64),
    Text(for<'a> fn(&'a Row<'a>) -> &'a str),
    Texts(for<'a> fn(&'a Row<'a>) -> &'a [Text<'a>]),
    Lists(for<'a> fn(&'a Row<'a>) -> &'a [Vec<Text<'a>>]),
}

/// All of them by their names, in the order of these: MDS needs that, and a map of protobuf that is written
/// so is the same bytes each time.
pub(super) const COLUMNS: [(&str, Column); 16] = [
    ("example", Column::Integer(|row| row.example)),
    ("group_id", Column::Text(|row| &row.group_id)),
    ("negative_group_ids", Column::Lists(|row| &row.negative_group_ids)),
    ("negative_ids", Column::Texts(|row| &row.negative_ids)),
    ("negatives", Column::Texts(|row| &row.negatives)),
    ("pool", Column::Text(|row| &row.pool)),
    ("positive", Column::Text(|row| &row.positive)),
    ("positive_group_ids", Column::Texts(|row| &row.positive_group_ids)),
    ("positive_id", Column::Text(|row| &row.positive_id)),
    ("positive_lang", Column::Text(|row| &row.positive_lang)),
    ("query", Column::Text(|row| &row.query)),
    ("query_id", Column::Text(|row| &row.query_id)),
    ("query_lang", Column::Text(|row| &row.query_lang)),
    ("row", Column::Integer(|row| u64::from(row.row))),
    ("source", Column::Text(|row| &row.source)),
    ("step", Column::Integer(|row| row.step)),
];

/// The integer, where a format has none that are larger than this.
pub(super) fn signed(name: &str, value: u64) -> Result<i64, String> {
    i64::try_from(value).map_err(|_| format!("`{name}` is {value}; integers of this format end at 2^63 - 1"))
}

/// A row that was read, by column. An error says what the column holds instead.
pub(super) trait Cells {
    fn integer(&self, name: &str) -> Result<u64, String>;
    fn text(&self, name: &str) -> Result<Text<'static>, String>;
    fn texts(&self, name: &str) -> Result<Vec<Text<'static>>, String>;
    fn lists(&self, name: &str) -> Result<Vec<Vec<Text<'static>>>, String>;

    fn row(&self) -> Result<Row<'static>, String> {
        let row = self.integer("row")?;
        Ok(Row {
            step: self.integer("step")?,
            row: u32::try_from(row).map_err(|_| format!("`row` is {row}"))?,
            source: self.text("source")?,
            pool: self.text("pool")?,
            example: self.integer("example")?,
            group_id: self.text("group_id")?,
            query_id: self.text("query_id")?,
            query_lang: self.text("query_lang")?,
            query: self.text("query")?,
            positive_id: self.text("positive_id")?,
            positive_lang: self.text("positive_lang")?,
            positive: self.text("positive")?,
            positive_group_ids: self.texts("positive_group_ids")?,
            negative_ids: self.texts("negative_ids")?,
            negatives: self.texts("negatives")?,
            negative_group_ids: self.lists("negative_group_ids")?,
        })
    }
}
