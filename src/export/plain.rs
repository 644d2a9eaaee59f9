//! The table of batches with plain utf8, which every reader knows; in memory texts are views and names dictionaries.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::row::{Row, Rows};
use crate::error::{Error, Result};
use crate::schema::Table;

/// The columns of a table, names as texts: dictionaries differ from batch to batch, and not every reader takes them.
pub(super) fn schema(table: Table) -> SchemaRef {
    let plain = |field: &FieldRef| match field.data_type() {
        DataType::Dictionary(_, _) => Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())),
        _ => field.clone(),
    };
    Arc::new(Schema::new(table.stored_schema().fields().iter().map(plain).collect::<Vec<_>>()))
}

/// A batch in the columns of a plain schema.
pub(super) fn converted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    match batch.num_columns() == schema.fields().len() {
        true => Ok(cast_to(batch, schema).expect("the batch has the columns of the schema")),
        // The one reason for which a batch may have fewer.
        false => Err(Error::setting("--virtual", "batches that are derived have no tokens")
            .with_hint("leave it out, or build the dataset without a tokenizer")),
    }
}

/// The rows of a batch that was read from `path`, whatever other columns it has.
pub(super) fn rows(batch: Result<RecordBatch>, path: &Path) -> Vec<Result<Row<'static>>> {
    let loaded = batch.and_then(|batch| {
        cast_to(&batch, &Table::Batches.loaded_schema())
            .ok_or_else(|| Error::export(path, "it has not the columns of the table of batches"))
    });
    match loaded {
        Ok(batch) => Rows::of(&batch).iter().map(|row| Ok(row.into_owned())).collect(),
        Err(e) => vec![Err(e)],
    }
}

fn cast_to(batch: &RecordBatch, schema: &SchemaRef) -> Option<RecordBatch> {
    let column = |field: &FieldRef| -> Option<ArrayRef> {
        cast(batch.column_by_name(field.name())?, field.data_type()).ok()
    };
    let columns = schema.fields().iter().map(column).collect::<Option<_>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).ok()
}
