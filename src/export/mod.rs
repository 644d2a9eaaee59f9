//! Datasets as the files of other frameworks. `schemas/EXPORT.md` specifies every format.
//!
//! [`export`] writes the batches in their order, every column with them, so that what was written proves itself: read
//! back, its rows give the digests of the index. A format is one small file: how a batch becomes records, what writes
//! them, and what reads them back. It streams: memory follows from the size of a batch, not from their number.

mod arrays;
mod arrow_ipc;
mod beir;
mod columns;
mod datasets;
mod fill;
mod flag_embedding;
mod json_lines;
mod jsonl;
mod mds;
mod numbered;
mod numpy;
mod output;
mod parquet_file;
mod plain;
mod rest;
mod row;
mod safetensors;
mod sentence_transformers;
mod tevatron;
mod tfrecord;
mod tokens;
mod trec_qrels;
mod verify;
mod webdataset;

use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use clap::ValueEnum;
use serde::Serialize;

use self::row::{Row, Rows};
use self::tokens::Tokens;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::eval::Benchmark;
use crate::progress::Observer;
use crate::shards::{Dataset, Origin, Part, map_batches};
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
    /// A folder for `datasets.load_dataset`: Parquet files and a dataset card
    Datasets,
    /// Parquet with a column a text, for the trainer of sentence-transformers
    SentenceTransformers,
    /// A folder of MosaicML Streaming's MDS shards
    Mds,
    /// A folder of tar files, as WebDataset reads them
    Webdataset,
    /// A folder of TFRecord files, a tf.train.Example a row
    Tfrecord,
    /// A folder of .npy files: token ids
    Numpy,
    /// One file of tensors: token ids
    Safetensors,
    /// The held-out part as a BEIR folder: corpus.jsonl, queries.jsonl, qrels/test.tsv
    Beir,
    /// The judgements of the held-out part, as trec_eval reads them
    TrecQrels,
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
    /// Of the formats of trainers that want hard negatives in every row ([`Format::takes_negatives`]): how many, filled up
    /// with other passages of the batch. Those of sentence-transformers if not given: all of the plan; of others: as they
    /// are.
    pub negatives: Option<u32>,
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
    #[serde(flatten)]
    pub contents: Contents,
    pub files: u64,
    pub bytes: u64,
    /// Whether all of it was read back and found equal.
    pub verified: bool,
}

/// How much was exported.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Contents {
    Batches { first_step: u64, steps: u64, rows: u64 },
    Evaluation { queries: u64, passages: u64 },
}

/// A batch on its way.
enum Encoded {
    /// Records, one after another, and where each ends.
    Records {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    Rows(RecordBatch),
    Tokens(Tokens),
}

impl Encoded {
    /// A record a row, of what `put` appends for it.
    fn records(batch: &RecordBatch, put: impl FnMut(Row<'_>, &mut Vec<u8>) -> Result<()>) -> Result<Self> {
        Self::of_rows(Rows::of(batch).iter(), put)
    }

    /// The same of rows that are no longer those of the batch.
    fn of_rows<'a>(
        rows: impl ExactSizeIterator<Item = Row<'a>>,
        mut put: impl FnMut(Row<'a>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Self> {
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(rows.len()));
        for row in rows {
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

/// What a batch becomes; called on many threads.
type Encode = Box<dyn Fn(&RecordBatch) -> Result<Encoded> + Sync>;

/// The two halves of writing a format.
struct Target {
    encode: Encode,
    writer: Box<dyn Writer>,
}

/// The rows of an export, in their order.
type ReadBack = Box<dyn Iterator<Item = Result<Row<'static>>>>;

/// What is read back of an export.
enum Content {
    Rows(ReadBack),
    /// Batches, in their order, of a format that has no texts.
    Tokens(Box<dyn Iterator<Item = Result<Tokens>>>),
}

impl Format {
    fn form(self) -> Form {
        let folder = |parts| Form::Folder { mark: MARK, parts };
        match self {
            Self::Datasets => folder(&["train", "eval"]),
            Self::Beir => folder(&["qrels"]),
            Self::SentenceTransformers | Self::Mds | Self::Webdataset | Self::Tfrecord | Self::Numpy => {
                folder(&[])
            }
            Self::Jsonl
            | Self::Arrow
            | Self::Tevatron
            | Self::FlagEmbedding
            | Self::Safetensors
            | Self::TrecQrels => Form::File,
        }
    }

    /// Whether a name that ends in `.zst` compresses it. (FlagEmbedding takes no file of such a name.)
    fn is_compressible(self) -> bool {
        matches!(self, Self::Jsonl | Self::Tevatron)
    }

    /// Whether its trainer wants a number of hard negatives in every row.
    #[must_use]
    pub fn takes_negatives(self) -> bool {
        matches!(self, Self::SentenceTransformers | Self::Tevatron | Self::FlagEmbedding)
    }

    /// The steps whose batches are to be encoded, in order: all of them, but for those of files that are copied.
    fn encoded(self, request: &ExportRequest, steps: &Range<u64>) -> Vec<Range<u64>> {
        match self {
            Self::Datasets => datasets::encoded(request, steps),
            _ => vec![steps.clone()],
        }
    }

    /// Whether it holds batches, and not what is evaluated on.
    fn has_batches(self) -> bool {
        !matches!(self, Self::Beir | Self::TrecQrels)
    }

    /// `path` is that of the file, or of a folder that is there and empty.
    fn create(self, path: &Path, request: &ExportRequest, steps: &Range<u64>) -> Result<Target> {
        match self {
            Self::Jsonl => jsonl::create(path),
            Self::Arrow => arrow_ipc::create(path, request.dataset.batches()),
            Self::Tevatron => tevatron::create(path, request),
            Self::FlagEmbedding => flag_embedding::create(path, request),
            Self::Datasets => datasets::create(path, request, steps),
            Self::SentenceTransformers => sentence_transformers::create(path, request, steps),
            Self::Mds => Ok(mds::create(path)),
            Self::Webdataset => Ok(webdataset::create(path)),
            Self::Tfrecord => Ok(tfrecord::create(path)),
            Self::Numpy => numpy::create(path, request),
            Self::Safetensors => safetensors::create(path, request),
            Self::Beir | Self::TrecQrels => unreachable!("these hold no batches"),
        }
    }

    fn read(self, path: &Path) -> Result<Content> {
        let rows = match self {
            Self::Jsonl => jsonl::read(path),
            Self::Arrow => arrow_ipc::read(path),
            Self::Tevatron => tevatron::read(path),
            Self::FlagEmbedding => flag_embedding::read(path),
            Self::Datasets => datasets::read(path),
            Self::SentenceTransformers => sentence_transformers::read(path),
            Self::Mds => mds::read(path),
            Self::Webdataset => Ok(webdataset::read(path)),
            Self::Tfrecord => Ok(tfrecord::read(path)),
            Self::Numpy => return numpy::read(path),
            Self::Safetensors => return safetensors::read(path),
            Self::Beir | Self::TrecQrels => unreachable!("these hold no batches"),
        };
        Ok(Content::Rows(rows?))
    }
}

/// Exports a dataset. The target appears whole, or not at all.
///
/// # Errors
/// [`Error::Export`] for what a format cannot hold, and for what was read back and is not what was written;
/// [`Error::Setting`] for steps of a format without batches; [`Error::Dataset`] for batches that are not there or cannot
/// be trusted; [`Error::Io`].
pub fn export(request: ExportRequest, observer: &dyn Observer) -> Result<ExportReport> {
    let ExportRequest { dataset, format, out, verify, .. } = request;
    if request.negatives.is_some() && !format.takes_negatives() {
        let found = "this format holds them as they are";
        return Err(Error::setting("--negatives", found).with_hint("leave it out"));
    }
    check_name(format, out)?;
    check_outside_of_datasets(out)?;
    let kind = Kind { noun: "export", form: format.form() };
    let staging = Staging::open(kind, out, request.replace)?;
    let path = match format.form() {
        Form::File => staging.folder().join(out.file_name().expect("a staging area has a name")),
        Form::Folder { .. } => staging.folder().to_owned(),
    };
    let contents = match format.has_batches() {
        true => export_batches(request, &path, observer),
        false => export_evaluation(request, &path, observer),
    };
    let contents = contents.map_err(|e| e.seen_at(&path, out))?;
    let sizes = sizes(&path)?;
    let report = ExportReport {
        format,
        dataset_id: dataset.manifest().dataset_id,
        contents,
        files: sizes.len() as u64,
        bytes: sizes.iter().sum(),
        verified: verify,
    };
    if let Form::Folder { .. } = format.form() {
        staging.write(MARK, &serde_json::to_vec_pretty(&report).expect("a report is plain data"))?;
    }
    staging.commit()?;
    Ok(report)
}

/// A name that promises what is not written, before hours of work.
fn check_name(format: Format, out: &Path) -> Result<()> {
    let is_file = matches!(format.form(), Form::File);
    if is_file && out.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::export(out, "this format is one file, and the name is a folder's")
            .with_hint("leave the `/` at its end away"));
    }
    let ending = out.extension().map(OsStr::to_ascii_lowercase).unwrap_or_default();
    let is_compressed = ["zst", "gz", "bz2", "xz", "lz4", "zip"].iter().any(|known| ending == *known);
    let is_ours = format.is_compressible() && out.extension().is_some_and(|ending| ending == "zst");
    if is_compressed && !is_ours {
        let found = "it would not be compressed as its name says";
        return Err(Error::export(out, found).with_hint(
            "leave the ending away; `jsonl` and `tevatron` are compressed where the name ends in `.zst`",
        ));
    }
    Ok(())
}

/// What is added to a dataset, or takes the place of its files, is damage to it.
fn check_outside_of_datasets(out: &Path) -> Result<()> {
    let parent = out.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    // Of a folder that is yet to be made, those above it.
    let there = parent.ancestors().find_map(|folder| folder.canonicalize().ok());
    let above = there.iter().flat_map(|folder| folder.ancestors());
    match above
        .into_iter()
        .find(|folder| ["manifest.json", "plan.json"].iter().all(|name| folder.join(name).is_file()))
    {
        None => Ok(()),
        Some(dataset) => Err(Error::export(out, format!("it lies in the dataset `{}`", dataset.display()))
            .with_hint("name a place outside: a dataset holds its own files and nothing else")),
    }
}

fn export_batches(request: ExportRequest, path: &Path, observer: &dyn Observer) -> Result<Contents> {
    let ExportRequest { dataset, format, origin, .. } = request;
    let steps = request.steps.cloned().unwrap_or(0..dataset.plan().steps());
    let n_steps = steps.end - steps.start;
    let encoded = format.encoded(&request, &steps);
    observer.begin("exporting batches", Some(encoded.iter().map(|steps| steps.end - steps.start).sum()));
    let Target { encode, mut writer } = format.create(path, &request, &steps)?;
    for steps in encoded {
        map_batches(
            dataset,
            origin,
            steps,
            request.threads,
            |_, rows| encode(rows),
            |_, encoded| {
                observer.advance(1);
                writer.append(encoded)
            },
        )?;
    }
    writer.finish()?;
    if request.verify {
        observer.begin("reading back", Some(n_steps));
        verify::verify(dataset, origin, steps.clone(), format.read(path)?, path, observer)?;
    }
    let rows = n_steps * u64::from(dataset.plan().batch_size());
    Ok(Contents::Batches { first_step: steps.start, steps: n_steps, rows })
}

fn export_evaluation(request: ExportRequest, path: &Path, observer: &dyn Observer) -> Result<Contents> {
    let ExportRequest { dataset, format, steps, .. } = request;
    if steps.is_some() {
        return Err(Error::setting("--steps", "this format holds what is evaluated on, and no batches"));
    }
    observer.begin("exporting what is evaluated on", None);
    let (corpus, benchmark) = (dataset.part(Part::Eval)?, Benchmark::read(dataset, Part::Eval)?);
    match format {
        Format::TrecQrels => trec_qrels::write(&benchmark, path)?,
        _ => beir::write(&corpus, &benchmark, path)?,
    }
    if request.verify {
        observer.begin("reading back", None);
        match format {
            Format::TrecQrels => trec_qrels::verify(&benchmark, path)?,
            _ => beir::verify(&corpus, &benchmark, path)?,
        }
    }
    let [queries, passages] = [benchmark.n_queries(), benchmark.n_passages()].map(|n| n as u64);
    Ok(Contents::Evaluation { queries, passages })
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
