//! `sentence-transformers`: Parquet with a column a text, and what its trainer has no use for beside it.
//!
//! The trainer takes every column for a text to encode, so `train.parquet` has nothing else; row i of `rows.parquet`
//! has the other columns of row i. Batches are rows that follow one another, `batch_size` of `batches.json` each.

use std::fs::{self, File};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;

use super::parquet_file::{self, ParquetFile};
use super::row::{Row, Rows};
use super::{Encoded, ExportRequest, ReadBack, Target, Writer, fill, plain};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::schema::Table;

const TRAIN: &str = "train.parquet";
const ROWS: &str = "rows.parquet";

/// `batches.json`.
#[derive(Serialize)]
struct Batches {
    batch_size: u32,
    first_step: u64,
    steps: u64,
    /// Hard negatives that are columns.
    negatives: u32,
    dataset_id: Digest,
}

pub(super) fn create(folder: &Path, request: &ExportRequest, steps: &Range<u64>) -> Result<Target> {
    let plan = request.dataset.plan();
    let k = plan.hard_negatives().k;
    let negatives = request.negatives.unwrap_or(k);
    if k < negatives {
        return Err(Error::setting("--negatives", format!("{negatives} are more than the {k} of the plan"))
            .with_hint("`batches.negatives` of a pipeline says how many a row has"));
    }
    let about = Batches {
        batch_size: plan.batch_size(),
        first_step: steps.start,
        steps: steps.end - steps.start,
        negatives,
        dataset_id: request.dataset.manifest().dataset_id,
    };
    let path = folder.join("batches.json");
    let json = serde_json::to_vec_pretty(&about).expect("plain data");
    fs::write(&path, json).and_then(|()| File::open(&path)?.sync_all()).map_err(Error::io("write", &path))?;

    let texts = texts_schema(negatives);
    let rest = rest_schema();
    let file = |name: &str, schema: &SchemaRef| {
        ParquetFile::create(&folder.join(name), Arc::clone(schema), plan.batch_size())
    };
    let files =
        Files { train: file(TRAIN, &texts)?, rows: file(ROWS, &rest)?, n_texts: texts.fields().len() };
    let columns = [texts.fields().as_ref(), rest.fields()].concat();
    let schema = Arc::new(Schema::new(columns));
    let out = request.out.to_owned();
    Ok(Target {
        encode: Box::new(move |batch| Ok(Encoded::Rows(encoded(batch, &schema, negatives, &out)?))),
        writer: Box::new(files),
    })
}

fn texts_schema(negatives: u32) -> SchemaRef {
    let names = ["anchor".to_owned(), "positive".to_owned()].into_iter().chain((1..=negatives).map(negative));
    Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, false)).collect::<Vec<_>>()))
}

/// The name of the column of a hard negative, before its number.
const NEGATIVE: &str = "negative_";

/// Counted from 1.
fn negative(number: u32) -> String {
    format!("{NEGATIVE}{number}")
}

/// Every column but the two texts that each row has once.
fn rest_schema() -> SchemaRef {
    let columns = plain::schema(Table::Batches);
    let is_rest = |name: &str| !["query", "positive"].contains(&name);
    let fields = columns.fields().iter().filter(|field| is_rest(field.name())).cloned();
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of both files.
fn encoded(batch: &RecordBatch, schema: &SchemaRef, negatives: u32, out: &Path) -> Result<RecordBatch> {
    let rows: Vec<Row> = Rows::of(batch).iter().collect();
    let filled = fill::fill(&rows, negatives, out)?;
    let column = |field: &Arc<Field>| {
        let name = match field.name().as_str() {
            "anchor" => "query",
            name => match name.strip_prefix(NEGATIVE).and_then(|number| number.parse().ok()) {
                Some(number) => return nth(&rows, &filled, number),
                None => name,
            },
        };
        let column = batch.column_by_name(name).expect("a column of the table of batches");
        cast(column, field.data_type()).expect("texts are texts, however they lie in memory")
    };
    let columns = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns).expect("the columns of the schema"))
}

/// The text of each row's hard negative of this number, counted from 1.
fn nth(rows: &[Row], filled: &[Vec<usize>], number: usize) -> ArrayRef {
    let texts = rows.iter().zip(filled).map(|(row, filled)| match row.negatives.get(number - 1) {
        Some(own) => own,
        None => &rows[filled[number - 1 - row.negatives.len()]].positive,
    });
    Arc::new(StringArray::from_iter_values(texts))
}

struct Files {
    train: ParquetFile,
    rows: ParquetFile,
    /// Columns of the first file; those of the other follow.
    n_texts: usize,
}

impl Writer for Files {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Rows(rows) = batch else { unreachable!("record batches") };
        let columns =
            |of: Range<usize>| rows.project(&of.collect::<Vec<_>>()).expect("columns that are there");
        self.train.append(&columns(0..self.n_texts))?;
        self.rows.append(&columns(self.n_texts..rows.num_columns()))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.train.finish()?;
        self.rows.finish()
    }
}

pub(super) fn read(folder: &Path) -> Result<ReadBack> {
    let path = folder.join(TRAIN);
    let (mut texts, mut rows) = (parquet_file::read(&path)?, parquet_file::read(&folder.join(ROWS))?);
    let joined = std::iter::from_fn(move || match (texts.next(), rows.next()) {
        (None, None) => None,
        (Some(Ok(texts)), Some(Ok(rows))) if texts.num_rows() == rows.num_rows() => {
            Some(joined(&texts, &rows, &path))
        }
        (Some(Err(e)), _) | (_, Some(Err(e))) => Some(vec![Err(e)]),
        _ => Some(vec![Err(Error::export(&path, "it has not as many rows as rows.parquet"))]),
    });
    Ok(Box::new(joined.flatten()))
}

/// The rows of both files. Texts that both have must be the same.
fn joined(texts: &RecordBatch, rows: &RecordBatch, path: &Path) -> Vec<Result<Row<'static>>> {
    let text = |name: &str| -> Result<ArrayRef, String> {
        texts.column_by_name(name).cloned().ok_or_else(|| format!("no column `{name}`"))
    };
    let with_texts = || -> Result<RecordBatch, String> {
        let fields = rows.schema_ref().fields().iter().cloned();
        let added = ["query", "positive"].map(|name| Arc::new(Field::new(name, DataType::Utf8, false)));
        let columns = [rows.columns(), &[text("anchor")?, text("positive")?]].concat();
        let schema = Schema::new(fields.chain(added).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| e.to_string())
    };
    let wrong = |found: String| Error::export(path, found);
    let columns: Vec<&StringArray> = texts.columns()[2..].iter().map(AsArray::as_string::<i32>).collect();
    let checked = |(i, row): (usize, Result<Row<'static>>)| {
        let row = row?;
        let is_same = |(column, negative): (&&StringArray, _)| column.value(i) == negative;
        match columns.iter().zip(&row.negatives).all(is_same) {
            true => Ok(row),
            false => Err(wrong(format!(
                "row {} of step {} has other hard negatives in rows.parquet",
                row.row, row.step
            ))),
        }
    };
    plain::rows(with_texts().map_err(wrong), path).into_iter().enumerate().map(checked).collect()
}
