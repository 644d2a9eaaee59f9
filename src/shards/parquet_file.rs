//! One Parquet file: row groups are encoded anywhere, and appended here in order. Bytes are digested on their way out.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::manifest::FileEntry;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::schema::{Kind, Table};

/// Rows of a data page of corpus/ and eval/: what fetching one row decodes.
const ROWS_PER_PAGE: usize = 128;
/// Dictionary pages may hold all texts of a small corpus: then a row group stores each once, however often it is
/// drawn. (At the default of 1 MiB the batches of XQuAD-R fall back to plain texts and take three times the space.)
const DICTIONARY_PAGE_BYTES: usize = 32 << 20;

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) zstd_level: i32,
    /// Whether texts recur within a row group, so that a dictionary of them pays.
    pub(crate) texts_recur: bool,
}

/// Encodes row groups of one table; shared by threads.
pub(crate) struct RowGroupEncoder {
    factory: ArrowRowGroupWriterFactory,
}

impl RowGroupEncoder {
    pub(crate) fn new(table: Table, encoding: Encoding) -> Result<Self> {
        let writer =
            open_writer(io::sink(), table, encoding, vec![]).map_err(broken(Path::new(table.name())))?;
        Ok(Self { factory: ArrowRowGroupWriterFactory::new(&writer, table.stored_schema()) })
    }

    pub(crate) fn encode(&self, rows: &RecordBatch) -> Result<Vec<ArrowColumnChunk>> {
        let mut writers = self.factory.create_column_writers(0).map_err(broken(Path::new("a row group")))?;
        let mut leaf = 0;
        // The fields of the rows, not of the file: views are written as the plain texts that the file declares.
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            for leaves in compute_leaves(field, column).map_err(broken(Path::new("a row group")))? {
                writers[leaf].write(&leaves).map_err(broken(Path::new("a row group")))?;
                leaf += 1;
            }
        }
        writers.into_iter().map(|w| w.close().map_err(broken(Path::new("a row group")))).collect()
    }
}

/// A file that is being written.
pub(crate) struct ParquetFile {
    writer: SerializedFileWriter<BufWriter<DigestingFile>>,
    /// Below the dataset directory.
    name: String,
    path: PathBuf,
    rows: u64,
}

impl ParquetFile {
    pub(crate) fn create(
        root: &Path,
        name: &str,
        table: Table,
        encoding: Encoding,
        footer: Vec<KeyValue>,
    ) -> Result<Self> {
        let path = root.join(name);
        let file = File::create_new(&path).map_err(Error::io("create", &path))?;
        let out = DigestingFile { file, hasher: Box::default(), bytes: 0 };
        let writer = open_writer(BufWriter::with_capacity(1 << 20, out), table, encoding, footer)
            .map_err(broken(&path))?;
        Ok(Self { writer, name: name.to_owned(), path, rows: 0 })
    }

    pub(crate) fn append(&mut self, chunks: Vec<ArrowColumnChunk>, n_rows: usize) -> Result<()> {
        let mut group = self.writer.next_row_group().map_err(broken(&self.path))?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group).map_err(broken(&self.path))?;
        }
        group.close().map_err(broken(&self.path))?;
        self.rows += n_rows as u64;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<FileEntry> {
        self.writer.finish().map_err(broken(&self.path))?;
        let out = self.writer.inner_mut();
        out.flush().map_err(Error::io("write", &self.path))?;
        let out = out.get_ref();
        out.file.sync_all().map_err(Error::io("write", &self.path))?;
        Ok(FileEntry {
            path: self.name,
            rows: Some(self.rows),
            bytes: out.bytes,
            digest: Digest::from(out.hasher.finalize()),
            first_step: None,
            steps: None,
        })
    }
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error {
    Error::parquet("write", path)
}

fn open_writer<W: Write + Send>(
    out: W,
    table: Table,
    encoding: Encoding,
    footer: Vec<KeyValue>,
) -> parquet::errors::Result<SerializedFileWriter<W>> {
    let schema = table.stored_schema();
    let parquet_schema = ArrowSchemaConverter::new().convert(&schema)?;
    let mut properties = properties(table, encoding)?.set_key_value_metadata(Some(footer)).build();
    add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
    SerializedFileWriter::new(out, parquet_schema.root_schema_ptr(), Arc::new(properties))
}

fn properties(table: Table, encoding: Encoding) -> parquet::errors::Result<WriterPropertiesBuilder> {
    let sorted: Vec<SortingColumn> = table
        .columns()
        .iter()
        .zip(0..)
        .filter(|(column, _)| table.sorted_by().contains(&column.name))
        .map(|(_, column_idx)| SortingColumn { column_idx, descending: false, nulls_first: false })
        .collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(encoding.zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_dictionary_page_size_limit(DICTIONARY_PAGE_BYTES)
        .set_sorting_columns((table != Table::Rejects).then_some(sorted));
    if !table.is_of_batches() {
        properties =
            properties.set_data_page_row_count_limit(ROWS_PER_PAGE).set_write_batch_size(ROWS_PER_PAGE);
    }
    for column in table.columns() {
        let leaf = match column.kind {
            Kind::Utf8List | Kind::Int32List | Kind::Float32List => format!("{}.list.item", column.name),
            Kind::Utf8ListList | Kind::Int32ListList => format!("{}.list.item.list.item", column.name),
            _ => column.name.to_owned(),
        };
        let path = ColumnPath::new(leaf.split('.').map(str::to_owned).collect());
        let recurs = match column.kind {
            Kind::Dictionary => true,
            Kind::Utf8 | Kind::Utf8List | Kind::Utf8ListList => encoding.texts_recur,
            _ => false,
        };
        properties = properties.set_column_dictionary_enabled(path.clone(), recurs);
        // Bounds of every page of a text help nobody find it, and cost much to read.
        let is_text = matches!(
            column.name,
            "text" | "query" | "positive" | "negatives" | "raw" | "detail" | "translations"
        ) || column.name.ends_with("_original");
        if is_text {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
        }
    }
    Ok(properties)
}

/// A file that knows the digest of what went into it.
struct DigestingFile {
    file: File,
    hasher: Box<blake3::Hasher>,
    bytes: u64,
}

impl Write for DigestingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.file.write(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
