//! The file of mined negatives: a table of [`Table::Mined`], with where it comes from in its metadata.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::Field;
use parquet::file::metadata::KeyValue;
use serde_json::{Value, json};

use super::ranking::{Choice, Chosen};
use super::training_side::TrainingSide;
use super::{Bm25, ByQuery};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pipeline::DEFAULT_ZSTD_LEVEL;
use crate::schema::Table;
use crate::shards::{Dataset, Encoding, FORMAT_VERSION, FileEntry, ParquetFile, RowGroupEncoder};
use crate::staging::Staging;

/// Questions of a row group: what is put together in memory at once.
const ROWS_PER_GROUP: usize = 1 << 14;

/// Where the negatives come from, and how they were chosen: `prep.mined_from` and `prep.settings`.
pub(super) struct Origin {
    from: &'static str,
    settings: Value,
}

pub(super) fn of_bm25(bm25: Bm25, choice: &Choice) -> Origin {
    let mut settings = settings(choice);
    settings["k1"] = json!(bm25.k1);
    settings["b"] = json!(bm25.b);
    Origin { from: "bm25", settings }
}

pub(super) fn of_judgements(choice: &Choice) -> Origin {
    Origin { from: "judgements", settings: settings(choice) }
}

/// A run is named by its digest: paths are of one machine.
pub(super) fn of_run(digest: Digest, choice: &Choice) -> Origin {
    let mut settings = settings(choice);
    settings["run"] = json!(digest);
    Origin { from: "run", settings }
}

fn settings(choice: &Choice) -> Value {
    let Choice { ranks, margin, per_query } = choice;
    json!({ "ranks": format!("{}..{}", ranks.start, ranks.end), "margin": margin, "per_query": per_query })
}

/// Writes the lists that are not empty, by question.
pub(super) fn write(
    staging: &Staging,
    out: &Path,
    dataset: &Dataset,
    side: &TrainingSide,
    chosen: &ByQuery,
    origin: &Origin,
) -> Result<FileEntry> {
    let name = out.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::dataset(out, "a file name that is not UTF-8"))?;
    let encoding = Encoding { zstd_level: DEFAULT_ZSTD_LEVEL, texts_recur: false };
    let encoder = RowGroupEncoder::new(Table::Mined, encoding)?;
    let footer = [
        ("prep.format_version", FORMAT_VERSION.to_string()),
        ("prep.dataset_id", dataset.manifest().dataset_id.to_string()),
        ("prep.mined_from", origin.from.to_owned()),
        ("prep.settings", origin.settings.to_string()),
    ];
    let footer = footer.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec();
    let mut file = ParquetFile::create(staging.folder(), name, Table::Mined, encoding, footer)?;
    let lists: Vec<(u32, &Chosen)> = chosen
        .iter()
        .filter(|(_, chosen)| !chosen.hits.is_empty())
        .map(|(&query, chosen)| (query, chosen))
        .collect();
    for lists in lists.chunks(ROWS_PER_GROUP) {
        file.append(encoder.encode(&rows(side, lists))?, lists.len())?;
    }
    file.finish()
}

fn rows(side: &TrainingSide, lists: &[(u32, &Chosen)]) -> RecordBatch {
    let hits = || lists.iter().flat_map(|(_, chosen)| &chosen.hits);
    let ids = |column: &dyn Array, rows: UInt32Array| take(column, &rows, None).expect("rows of this column");
    let list = |items: ArrayRef| -> ArrayRef {
        let field = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(|(_, chosen)| chosen.hits.len()));
        Arc::new(ListArray::new(field, offsets, items, None))
    };
    let queries = UInt32Array::from_iter_values(lists.iter().map(|(query, _)| *query));
    let passages = UInt32Array::from_iter_values(hits().map(|hit| hit.passage));
    let scores = Float32Array::from_iter_values(hits().map(|hit| hit.score));
    let columns =
        vec![ids(side.query_ids(), queries), list(ids(side.passage_ids(), passages)), list(Arc::new(scores))];
    RecordBatch::try_new(Table::Mined.loaded_schema(), columns).expect("the columns of mined negatives")
}
