//! Parquet files of whole batches: a row group ends with a batch.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::error::{Error, Result};
use crate::pipeline::DEFAULT_ROWS_PER_ROW_GROUP;

/// The level of the shards.
const ZSTD_LEVEL: i32 = 1;
/// So large that texts which recur within a row group are stored once; see `shards`.
const DICTIONARY_PAGE_BYTES: usize = 32 << 20;
/// Rows that are read at a time.
const ROWS_AT_ONCE: usize = 1 << 12;

pub(super) struct ParquetFile {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
}

impl ParquetFile {
    pub(super) fn create(path: &Path, schema: SchemaRef, batch_size: u32) -> Result<Self> {
        let broken = Error::parquet("write", path);
        let batches = (DEFAULT_ROWS_PER_ROW_GROUP / u64::from(batch_size)).max(1);
        let rows = usize::try_from(batches * u64::from(batch_size)).expect("a batch fits into memory");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(&broken)?))
            .set_dictionary_page_size_limit(DICTIONARY_PAGE_BYTES)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(rows))
            .build();
        let file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(Error::io("create", path))?);
        let writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(&broken)?;
        Ok(Self { path: path.to_owned(), writer })
    }

    pub(super) fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(Error::parquet("write", &self.path))
    }

    pub(super) fn finish(self) -> Result<()> {
        let file = self.writer.into_inner().map_err(Error::parquet("write", &self.path))?;
        let flushed = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        flushed.and_then(|file| file.sync_all()).map_err(Error::io("write", &self.path))
    }
}

/// The rows of a file, some at a time.
pub(super) fn read(path: &Path) -> Result<impl Iterator<Item = Result<RecordBatch>> + use<>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let broken = Error::parquet("read", path);
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(&broken)?;
    let batches = reader.with_batch_size(ROWS_AT_ONCE).build().map_err(&broken)?;
    let path = path.to_owned();
    Ok(batches.map(move |batch| batch.map_err(|e| Error::parquet("read", &path)(e.into()))))
}
