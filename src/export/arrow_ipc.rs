//! `arrow`: the columns of `train/batches` as one Arrow IPC file, a record batch a batch.
//!
//! Texts are plain utf8, which every reader knows, where they are views in memory.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use super::row::Rows;
use super::{Encoded, ReadBack, Target, Writer};
use crate::error::{Error, Result};
use crate::schema::Table;

/// Rows of a file that is read back, at a time, follow from its record batches: one is a batch.
pub(super) fn create(path: &Path, table: Table) -> Result<Target> {
    let schema = plain_schema(table);
    let file = File::create(path).map_err(Error::io("create", path))?;
    let file = FileWriter::try_new_buffered(file, &schema).map_err(broken("write", path))?;
    Ok(Target {
        // Batches that are derived have no tokens.
        encode: Box::new(move |batch| match batch.num_columns() == schema.fields().len() {
            true => Ok(Encoded::Rows(converted(batch, &schema))),
            false => Err(Error::setting("--virtual", "batches that are derived have no tokens")
                .with_hint("leave it out, or build the dataset without a tokenizer")),
        }),
        writer: Box::new(Ipc { path: path.to_owned(), file }),
    })
}

/// The columns of the table with plain texts: an IPC file has one dictionary a column, and batches have their own.
fn plain_schema(table: Table) -> SchemaRef {
    let plain = |field: &FieldRef| match field.data_type() {
        DataType::Dictionary(_, _) => Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())),
        _ => field.clone(),
    };
    Arc::new(Schema::new(table.stored_schema().fields().iter().map(plain).collect::<Vec<_>>()))
}

fn converted(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let column = |(column, field): (&ArrayRef, &FieldRef)| {
        cast(column, field.data_type()).expect("texts are texts, however they lie in memory")
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(column).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).expect("the columns of the schema")
}

struct Ipc {
    path: PathBuf,
    file: FileWriter<BufWriter<File>>,
}

impl Writer for Ipc {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Rows(rows) = batch else { unreachable!("record batches") };
        self.file.write(&rows).map_err(broken("write", &self.path))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.file.finish().map_err(broken("write", &self.path))?;
        let file = self.file.into_inner().map_err(broken("write", &self.path))?;
        let file = file.into_inner().map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        file.sync_all().map_err(Error::io("write", &self.path))
    }
}

pub(super) fn read(path: &Path) -> Result<ReadBack> {
    let path = path.to_owned();
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let batches = FileReader::try_new_buffered(file, None).map_err(broken("read", &path))?;
    let loaded = Table::Batches.loaded_schema();
    let rows = move |batch: std::result::Result<RecordBatch, ArrowError>| -> Vec<Result<_>> {
        match batch {
            Ok(batch) => {
                Rows::of(&converted(&batch, &loaded)).iter().map(|row| Ok(row.into_owned())).collect()
            }
            Err(e) => vec![Err(broken("read", &path)(e))],
        }
    };
    Ok(Box::new(batches.flat_map(rows)))
}

fn broken(action: &'static str, path: &Path) -> impl FnOnce(ArrowError) -> Error {
    move |e| match e {
        ArrowError::IoError(_, source) => Error::io(action, path)(source),
        other => Error::export(path, other.to_string()),
    }
}
