//! The rows of a Parquet file, every cell as text: integers as decimals, dictionaries unpacked, null as none.

use std::fs::File;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::corpus::source::SourceFile;
use crate::error::{Error, Result};

/// A row of a file.
pub(super) struct Row<'a> {
    /// From 1.
    pub(super) number: u64,
    batch: &'a RecordBatch,
    at: usize,
}

impl Row<'_> {
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let column = self.batch.column_by_name(name)?.as_string::<i64>();
        column.is_valid(self.at).then(|| column.value(self.at).to_owned())
    }

    /// The row as JSON, for the rejects.
    pub(super) fn raw(&self) -> String {
        let schema = self.batch.schema();
        let fields = schema.fields().iter().map(|field| {
            let name = field.name();
            (name.clone(), serde_json::json!(self.value(name)))
        });
        serde_json::Value::Object(fields.collect()).to_string()
    }
}

/// Calls `check` with the names of the columns, then `each` with every row.
pub(super) fn for_each(
    file: &SourceFile,
    check: impl FnOnce(&[String]) -> Result<()>,
    mut each: impl FnMut(&Row),
) -> Result<()> {
    if file.member.is_some() {
        return Err(file.error(None, "Parquet is not read out of an archive").with_hint("unpack it"));
    }
    let bad = |e: &dyn std::fmt::Display| file.error(None, format!("bad Parquet: {e}"));
    let open = File::open(&file.path).map_err(Error::io("open source", &file.path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(open).map_err(|e| bad(&e))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|f| f.name().clone()).collect();
    check(&names)?;
    let mut number = 0;
    for batch in builder.build().map_err(|e| bad(&e))? {
        let batch = as_text(&batch.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
        for at in 0..batch.num_rows() {
            number += 1;
            each(&Row { number, batch: &batch, at });
        }
    }
    Ok(())
}

fn as_text(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let castable = |t: &DataType| arrow::compute::can_cast_types(t, &DataType::LargeUtf8);
    let schema = batch.schema();
    let columns =
        schema.fields().iter().zip(batch.columns()).filter(|(field, _)| castable(field.data_type())).map(
            |(field, column)| {
                Ok((field.name().clone(), arrow::compute::cast(column, &DataType::LargeUtf8)?, true))
            },
        );
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}
