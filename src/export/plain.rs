//! The table of batches with plain utf8, which every reader knows; in memory texts are views and names dictionaries.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
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
        cast(&own_items(batch.column_by_name(field.name())?), field.data_type()).ok()
    };
    let columns = schema.fields().iter().map(column).collect::<Option<_>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).ok()
}

/// The column with the items of its own lists only. A slice of a list column keeps the items of the whole, and a cast
/// copies all of them: for each batch those of its row group.
fn own_items(column: &ArrayRef) -> ArrayRef {
    let DataType::List(field) = column.data_type() else { return Arc::clone(column) };
    let list = column.as_list::<i32>();
    let (first, end) = (list.offsets()[0] as usize, list.offsets()[list.len()] as usize);
    let items = own_items(&list.values().slice(first, end - first));
    let offsets = OffsetBuffer::from_lengths(list.offsets().lengths());
    Arc::new(ListArray::new(Arc::clone(field), offsets, items, list.nulls().cloned()))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_slice_of_lists_is_cast_without_the_items_of_others() {
        let lists = [vec![Some(1), Some(2)], vec![], vec![Some(3)], vec![Some(4), Some(5)]];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists.into_iter().map(Some));
        let slice: ArrayRef = Arc::new(lists.slice(1, 2));
        let own = own_items(&slice);
        assert_eq!(own.as_list::<i32>().values().len(), 1);
        assert_eq!(&own, &slice);
    }
}
