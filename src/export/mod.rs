//! Datasets as the files of other frameworks. `schemas/EXPORT.md` specifies every format.
//!
//! [`export`] writes the batches in their order, every column with them, so that what was written proves itself: read
//! back, its rows give the digests of the index. A format is one small file: how a batch becomes records, what writes
//! them, and what reads them back. It streams: memory follows from the size of a batch, not from their number.

mod arrow_ipc;
mod columns;
mod flag_embedding;
mod json_lines;
mod jsonl;
mod mds;
mod numbered;
mod output;
mod rest;
mod row;
mod tevatron;
mod tfrecord;
mod verify;
mod webdataset;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use clap::ValueEnum;
use serde::Serialize;

use self::row::{Row, Rows};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::shards::{Dataset, Origin, map_batches};
use crate::staging::{Form, Kind, Staging};

/// What a folder of ours has, which says what it was made of.
const MARK: &str = "export.json";

/// What batches may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A JSON object a row; PATH ends in .jsonl, or .jsonl.zst
    Jsonl,
    /// One Arrow IPC file, for pyarrow, Polars and datasets
    Arrow,
    /// Tevatron's JSON lines
    Tevatron,
    /// FlagEmbedding's JSON lines
    FlagEmbedding,
    /// A folder of MosaicML Streaming's MDS shards
    Mds,
    /// A folder of tar files, as WebDataset reads them
    Webdataset,
    /// A folder of TFRecord files, a tf.train.Example a row
    Tfrecord,
}

/// What to export.
#[derive(Clone, Copy)]
pub struct ExportRequest<'a> {
    pub dataset: &'a Dataset,
    pub format: Format,
    pub out: &'a Path,
    /// All steps of the plan if not given.
    pub steps: Option<&'a Range<u64>>,
    pub origin: Origin,
    /// Whether to read all back and compare every digest, before it appears under its name.
    pub verify: bool,
    /// Whether an export may be replaced.
    pub replace: bool,
    pub threads: usize,
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct ExportReport {
    pub format: Format,
    pub dataset_id: Digest,
    pub first_step: u64,
    pub steps: u64,
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
    /// Batches that were read back and have the digest of the dataset's; nothing where that was not asked for.
    pub verified: Option<u64>,
}

/// A batch on its way.
enum Encoded {
    /// Records, one after another, and where each ends.
    Records {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    Rows(RecordBatch),
}

impl Encoded {
    /// A record a row, of what `put` appends for it.
    fn records(
        batch: &RecordBatch,
        mut put: impl FnMut(Row<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
        for row in Rows::of(batch).iter() {
            put(row, &mut bytes)?;
            ends.push(bytes.len());
        }
        Ok(Self::Records { bytes, ends })
    }
}

/// A format on its way to disk.
trait Writer {
    /// Called in the order of the steps.
    fn append(&mut self, batch: Encoded) -> Result<()>;

    /// Closes and flushes everything.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// The two halves of writing a format.
struct Target {
    /// What a batch becomes; called on many threads.
    encode: Box<dyn Fn(&RecordBatch) -> Result<Encoded> + Sync>,
    writer: Box<dyn Writer>,
}

/// The rows of an export, in their order.
type ReadBack = Box<dyn Iterator<Item = Result<Row<'static>>>>;

impl Format {
    fn form(self) -> Form {
        match self {
            Self::Jsonl | Self::Arrow | Self::Tevatron | Self::FlagEmbedding => Form::File,
            Self::Mds | Self::Webdataset | Self::Tfrecord => Form::Folder { mark: MARK, parts: &[] },
        }
    }

    /// `path` is that of the file, or of a folder that is there and empty.
    fn create(self, path: &Path, dataset: &Dataset) -> Result<Target> {
        match self {
            Self::Jsonl => jsonl::create(path),
            Self::Arrow => arrow_ipc::create(path, dataset.batches()),
            Self::Tevatron => tevatron::create(path),
            Self::FlagEmbedding => flag_embedding::create(path),
            Self::Mds => Ok(mds::create(path)),
            Self::Webdataset => Ok(webdataset::create(path)),
            Self::Tfrecord => Ok(tfrecord::create(path)),
        }
    }

    fn read(self, path: &Path) -> Result<ReadBack> {
        match self {
            Self::Jsonl => jsonl::read(path),
            Self::Arrow => arrow_ipc::read(path),
            Self::Tevatron => tevatron::read(path),
            Self::FlagEmbedding => flag_embedding::read(path),
            Self::Mds => mds::read(path),
            Self::Webdataset => Ok(webdataset::read(path)),
            Self::Tfrecord => Ok(tfrecord::read(path)),
        }
    }
}

/// Exports the batches of a dataset. The target appears whole, or not at all.
///
/// # Errors
/// [`Error::Export`] for what a format cannot hold, and for what was read back and is not what was written;
/// [`Error::Dataset`] for batches that are not there or cannot be trusted; [`Error::Io`].
pub fn export(request: ExportRequest, observer: &dyn Observer) -> Result<ExportReport> {
    let ExportRequest { dataset, format, out, origin, .. } = request;
    let steps = request.steps.cloned().unwrap_or(0..dataset.plan().steps());
    let kind = Kind { noun: "export", form: format.form() };
    let staging = Staging::open(kind, out, request.replace)?;
    let path = match format.form() {
        Form::File => staging.folder().join(out.file_name().expect("a staging area has a name")),
        Form::Folder { .. } => staging.folder().to_owned(),
    };
    let n_steps = steps.end - steps.start;
    observer.begin("exporting batches", Some(n_steps));
    let Target { encode, mut writer } = format.create(&path, dataset)?;
    map_batches(
        dataset,
        origin,
        steps.clone(),
        request.threads,
        |_, rows| encode(rows),
        |_, encoded| {
            observer.advance(1);
            writer.append(encoded)
        },
    )?;
    writer.finish()?;
    let verified = if request.verify {
        observer.begin("reading back", Some(n_steps));
        verify::verify(dataset, origin, steps.clone(), format.read(&path)?, &path, observer)?;
        Some(n_steps)
    } else {
        None
    };
    let sizes = sizes(&path)?;
    let report = ExportReport {
        format,
        dataset_id: dataset.manifest().dataset_id,
        first_step: steps.start,
        steps: n_steps,
        rows: n_steps * u64::from(dataset.plan().batch_size()),
        files: sizes.len() as u64,
        bytes: sizes.iter().sum(),
        verified,
    };
    if let Form::Folder { .. } = format.form() {
        staging.write(MARK, &serde_json::to_vec_pretty(&report).expect("a report is plain data"))?;
    }
    staging.commit()?;
    Ok(report)
}

/// Bytes of the file, or of every file below the folder that is not hidden.
fn sizes(path: &Path) -> Result<Vec<u64>> {
    let metadata = fs::metadata(path).map_err(Error::io("look at", path))?;
    if metadata.is_file() {
        return Ok(vec![metadata.len()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::io("list", path))? {
        let entry: PathBuf = entry.map_err(Error::io("list", path))?.path();
        let is_hidden = entry.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden {
            found.extend(sizes(&entry)?);
        }
    }
    Ok(found)
}
