//! The token ids of a batch, as the formats without texts hold them: flat, with the length of every text.

use arrow::array::{Array, AsArray, ListArray, RecordBatch};
use arrow::datatypes::{Int32Type, UInt64Type};

use super::{Encoded, ExportRequest};
use crate::error::{Error, Result};
use crate::schema::Table;
use crate::shards::Origin;

/// Of each text of a batch.
#[derive(PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) step: i64,
    pub(super) queries: Texts,
    pub(super) positives: Texts,
    /// Of all rows, one after another.
    pub(super) negatives: Texts,
    /// Hard negatives of each row.
    pub(super) n_negatives: Vec<i64>,
}

#[derive(PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) ids: Vec<i32>,
    /// Tokens of each text.
    pub(super) lengths: Vec<i64>,
}

impl Tokens {
    /// Of a table of [`Table::TokenisedBatches`].
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name).expect("a column of tokenised batches");
        let list = |name: &str| column(name).as_list::<i32>();
        let negatives = list("negative_input_ids");
        let of_rows = bounds(negatives);
        let inner = negatives.values().as_list::<i32>().slice(of_rows.0, of_rows.1 - of_rows.0);
        Self {
            step: column("step").as_primitive::<UInt64Type>().value(0) as i64,
            queries: Texts::of(list("query_input_ids")),
            positives: Texts::of(list("positive_input_ids")),
            negatives: Texts::of(&inner),
            n_negatives: lengths(negatives),
        }
    }
}

impl Texts {
    fn of(list: &ListArray) -> Self {
        let (start, end) = bounds(list);
        let ids = list.values().as_primitive::<Int32Type>().values();
        Self { ids: ids[start..end].to_vec(), lengths: lengths(list) }
    }
}

/// Where the items of all rows begin and end.
fn bounds(list: &ListArray) -> (usize, usize) {
    let offsets = list.value_offsets();
    (offsets[0] as usize, offsets[list.len()] as usize)
}

fn lengths(list: &ListArray) -> Vec<i64> {
    list.offsets().lengths().map(|length| length as i64).collect()
}

/// What a batch becomes in these formats.
pub(super) fn encoded(batch: &RecordBatch) -> Encoded {
    Encoded::Tokens(Tokens::of(batch))
}

/// Refuses batches that have no tokens.
pub(super) fn check(request: &ExportRequest) -> Result<()> {
    if request.dataset.batches() != Table::TokenisedBatches {
        return Err(Error::export(request.out, "the format holds token ids, and the dataset has none")
            .with_hint("`prep build-shards --tokenizer FILE` puts them beside the texts"));
    }
    if request.origin == Origin::Derived {
        return Err(
            Error::setting("--virtual", "batches that are derived have no tokens").with_hint("leave it out")
        );
    }
    Ok(())
}
