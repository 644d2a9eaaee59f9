//! Tables to Parquet files and back: the whole of one, or a few of its rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::metadata::PageIndexPolicy;
use rayon::prelude::*;

use super::manifest::FileEntry;
use super::ordered::in_order;
use super::parquet_file::{Encoding, ParquetFile, RowGroupEncoder};
use super::positional::Positional;
use crate::error::{Error, Result};
use crate::schema::Table;

/// Rows of one file of corpus/ or eval/.
const ROWS_PER_FILE: usize = 1 << 20;
/// Rows of one of its row groups.
const ROWS_PER_GROUP: usize = 1 << 16;

/// Writes a table as `stem-00000.parquet`, `stem-00001.parquet` and so on: at least one file.
pub(super) fn write_table(
    root: &Path,
    stem: &str,
    table: Table,
    rows: &RecordBatch,
    zstd_level: i32,
    threads: usize,
) -> Result<Vec<FileEntry>> {
    let n_files = rows.num_rows().div_ceil(ROWS_PER_FILE).max(1);
    let names: Vec<String> = (0..n_files).map(|i| format!("{stem}-{i:05}.parquet")).collect();
    write_files(root, &names, table, rows, zstd_level, threads)
}

/// Writes a table as one file.
pub(super) fn write_one(
    root: &Path,
    name: &str,
    table: Table,
    rows: &RecordBatch,
    zstd_level: i32,
    threads: usize,
) -> Result<FileEntry> {
    let mut entries = write_files(root, &[name.to_owned()], table, rows, zstd_level, threads)?;
    Ok(entries.pop().expect("one name, one file"))
}

fn write_files(
    root: &Path,
    names: &[String],
    table: Table,
    rows: &RecordBatch,
    zstd_level: i32,
    threads: usize,
) -> Result<Vec<FileEntry>> {
    let encoding = Encoding { zstd_level, texts_recur: false };
    let encoder = RowGroupEncoder::new(table, encoding)?;
    let create = |i: usize| ParquetFile::create(root, &names[i], table, encoding, vec![]);
    let groups_per_file = if names.len() == 1 { usize::MAX } else { ROWS_PER_FILE / ROWS_PER_GROUP };
    let mut entries = Vec::new();
    let mut file = create(0)?;
    in_order(
        rows.num_rows().div_ceil(ROWS_PER_GROUP),
        threads,
        || (),
        |(), group| {
            let first = group * ROWS_PER_GROUP;
            let slice = rows.slice(first, ROWS_PER_GROUP.min(rows.num_rows() - first));
            Ok((encoder.encode(&slice)?, slice.num_rows()))
        },
        |group, (chunks, n_rows)| {
            if group != 0 && group % groups_per_file == 0 {
                let next = create(group / groups_per_file)?;
                entries.push(std::mem::replace(&mut file, next).finish()?);
            }
            file.append(chunks, n_rows)
        },
    )?;
    entries.push(file.finish()?);
    Ok(entries)
}

/// Reads a table whole, in the loaded schema.
pub(super) fn read_table(root: &Path, table: Table, files: &[&FileEntry]) -> Result<RecordBatch> {
    let schema = table.loaded_schema();
    let parts: Vec<Vec<RecordBatch>> = files
        .par_iter()
        .map(|entry| {
            let file = TableFile::open(&root.join(&entry.path), table)?;
            (0..file.n_row_groups()).into_par_iter().map(|group| file.row_group(group)).collect()
        })
        .collect::<Result<_>>()?;
    Ok(concat_batches(&schema, parts.iter().flatten()).expect("batches of one schema"))
}

/// Reads some columns of some rows of a table. Rows are numbered through all its files, ascending, each once; columns
/// come in the table's order. The cost is that of the pages that the cells lie in.
pub(super) fn read_rows(
    root: &Path,
    table: Table,
    columns: &[&str],
    files: &[&FileEntry],
    rows: &[u32],
) -> Result<RecordBatch> {
    let mut parts = Vec::new();
    let (mut first, mut rest) = (0_u64, rows);
    for entry in files {
        let end = first + entry.rows.unwrap_or(0);
        let n = rest.partition_point(|&row| u64::from(row) < end);
        let (here, after) = rest.split_at(n);
        if !here.is_empty() {
            let here: Vec<usize> = here.iter().map(|&row| (u64::from(row) - first) as usize).collect();
            parts.push((entry, here));
        }
        (first, rest) = (end, after);
    }
    if let Some(row) = rest.first() {
        return Err(Error::dataset(root, format!("no row {row} in {}, which has {first}", table.name())));
    }
    let read: Vec<RecordBatch> = parts
        .par_iter()
        .map(|(entry, rows)| TableFile::open_columns(&root.join(&entry.path), table, columns)?.rows(rows))
        .collect::<Result<_>>()?;
    let schema = projected(table, |name| columns.contains(&name));
    Ok(concat_batches(&schema, &read).expect("batches of one schema"))
}

fn projected(table: Table, keep: impl Fn(&str) -> bool) -> SchemaRef {
    let schema = table.loaded_schema();
    let fields: Vec<_> = schema.fields().iter().filter(|field| keep(field.name())).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// A Parquet file of a known table, open for reading. Dictionary and plain utf8 are read alike.
pub(super) struct TableFile {
    path: PathBuf,
    file: Positional,
    metadata: ArrowReaderMetadata,
    /// The columns to read, in the table's order and types.
    schema: SchemaRef,
    /// Where these stand in the file.
    columns: Vec<usize>,
}

impl TableFile {
    /// To read whole row groups.
    pub(super) fn open(path: &Path, table: Table) -> Result<Self> {
        Self::with_schema(path, table.loaded_schema(), PageIndexPolicy::Skip)
    }

    /// To read a few rows: where the pages lie is needed, the bounds of their values are not.
    pub(super) fn open_columns(path: &Path, table: Table, columns: &[&str]) -> Result<Self> {
        let schema = projected(table, |name| columns.contains(&name));
        Self::with_schema(path, schema, PageIndexPolicy::Optional)
    }

    fn with_schema(path: &Path, schema: SchemaRef, pages: PageIndexPolicy) -> Result<Self> {
        let file = Positional::open(path).map_err(Error::io("open", path))?;
        let options = ArrowReaderOptions::new()
            .with_offset_index_policy(pages)
            .with_column_index_policy(PageIndexPolicy::Skip);
        let plain =
            ArrowReaderMetadata::load(&file, options.clone()).map_err(Error::parquet("read", path))?;
        let found = plain.schema();
        let columns = schema
            .fields()
            .iter()
            .map(|field| {
                let missing = |_| Error::dataset(path, format!("no column `{}`", field.name()));
                found.index_of(field.name()).map_err(missing)
            })
            .collect::<Result<Vec<_>>>()?;
        // Views of the decoded pages spare a copy of every text; files of other writers may need a cast instead.
        let hint = hint(found, &schema);
        let metadata = ArrowReaderMetadata::try_new(plain.metadata().clone(), options.with_schema(hint));
        Ok(Self { path: path.to_owned(), file, metadata: metadata.unwrap_or(plain), schema, columns })
    }

    pub(super) fn n_row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    pub(super) fn n_rows(&self, group: usize) -> u64 {
        self.metadata.metadata().row_group(group).num_rows().unsigned_abs()
    }

    pub(super) fn footer(&self, key: &str) -> Option<&str> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    pub(super) fn row_group(&self, group: usize) -> Result<RecordBatch> {
        self.read(vec![group], None)
    }

    fn rows(&self, rows: &[usize]) -> Result<RecordBatch> {
        let groups = self.metadata.metadata().row_groups();
        let (mut chosen, mut ranges) = (Vec::new(), Vec::new());
        let (mut first, mut skipped, mut rest) = (0, 0, rows);
        for (number, group) in groups.iter().enumerate() {
            let n_rows = group.num_rows() as usize;
            let n = rest.partition_point(|&row| row < first + n_rows);
            let (here, after) = rest.split_at(n);
            if here.is_empty() {
                skipped += n_rows;
            } else {
                chosen.push(number);
                ranges.extend(here.iter().map(|row| row - skipped..row - skipped + 1));
            }
            (first, rest) = (first + n_rows, after);
        }
        let total = first - skipped;
        self.read(chosen, Some(RowSelection::from_consecutive_ranges(ranges.into_iter(), total)))
    }

    fn read(&self, groups: Vec<usize>, selection: Option<RowSelection>) -> Result<RecordBatch> {
        let broken = Error::parquet("read", &self.path);
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), self.columns.iter().copied());
        let n_rows: usize = groups.iter().map(|&group| self.n_rows(group) as usize).sum();
        builder =
            builder.with_projection(mask).with_row_groups(groups).with_batch_size(n_rows.clamp(1, 1 << 16));
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        let batches = builder
            .build()
            .map_err(&broken)?
            .map(|batch| self.loaded(&batch.map_err(|e| broken(e.into()))?))
            .collect::<Result<Vec<_>>>()?;
        Ok(concat_batches(&self.schema, &batches).expect("batches of one schema"))
    }

    /// The columns in the table's order and types.
    fn loaded(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                let column = batch.column_by_name(field.name()).expect("the projection has it");
                if column.data_type() == field.data_type() {
                    return Ok(ArrayRef::clone(column));
                }
                cast(column, field.data_type()).map_err(|_| {
                    let found = format!(
                        "column `{}` is {}, not {}",
                        field.name(),
                        column.data_type(),
                        field.data_type()
                    );
                    Error::dataset(&self.path, found)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::dataset(&self.path, format!("not the table that it is named for: {e}")))
    }
}

/// The file's own schema with the wanted columns in their loaded types.
fn hint(found: &SchemaRef, wanted: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = found
        .fields()
        .iter()
        .map(|field| match wanted.field_with_name(field.name()) {
            Ok(wanted) => Arc::new(field.as_ref().clone().with_data_type(wanted.data_type().clone())),
            Err(_) => Arc::clone(field),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, found.metadata().clone()))
}
