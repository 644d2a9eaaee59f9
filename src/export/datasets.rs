//! `datasets`: a folder that `datasets.load_dataset` reads, of Parquet files and a card that names them.
//!
//! A shard of which every step is wanted is copied, byte for byte, and so is the eval part: these files are held
//! against their digests, and nothing needs to be encoded. What is left of other shards is written anew.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::parquet_file::{self, ParquetFile};
use super::{Encoded, ExportRequest, ReadBack, Target, Writer, plain};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::schema::Table;
use crate::shards::{Dataset, FileEntry, Origin, card};

/// Rows of a file that is written anew: as many as one of the corpus has, rounded down to whole batches.
const ROWS_PER_FILE: u64 = 1 << 20;

/// What the token columns, if there are any, are ids of.
const TOKENIZER: &str = "tokenizer.json";

/// Steps that follow one another in `train/`.
struct Part<'a> {
    steps: Range<u64>,
    /// The shard that has these steps and no other; else they are written anew.
    copied: Option<&'a FileEntry>,
}

/// What `train/` holds, in order.
fn parts<'a>(request: &ExportRequest<'a>, wanted: &Range<u64>) -> Vec<Part<'a>> {
    let shards = match request.origin {
        Origin::Shards => request.dataset.files("train", Table::Batches),
        Origin::Derived => Vec::new(),
    };
    let mut parts = Vec::new();
    let mut next = wanted.start;
    for shard in shards {
        let (Some(first), Some(steps)) = (shard.first_step, shard.steps) else { continue };
        let steps = first..first + steps;
        if wanted.start <= steps.start && steps.end <= wanted.end {
            parts.push(Part { steps: next..steps.start, copied: None });
            next = steps.end;
            parts.push(Part { steps, copied: Some(shard) });
        }
    }
    parts.push(Part { steps: next..wanted.end, copied: None });
    parts.retain(|part| !part.steps.is_empty());
    parts
}

pub(super) fn encoded(request: &ExportRequest, steps: &Range<u64>) -> Vec<Range<u64>> {
    let anew = parts(request, steps).into_iter().filter(|part| part.copied.is_none());
    anew.map(|part| part.steps).collect()
}

pub(super) fn create(folder: &Path, request: &ExportRequest, steps: &Range<u64>) -> Result<Target> {
    let dataset = request.dataset;
    let batch_size = dataset.plan().batch_size();
    let batches_per_file = (ROWS_PER_FILE / u64::from(batch_size)).max(1);
    let (mut anew, mut number) = (VecDeque::new(), 0);
    for Part { steps, copied } in parts(request, steps) {
        if let Some(shard) = copied {
            copy(dataset, shard, &folder.join(file_name(number)))?;
            number += 1;
        } else {
            let batches = steps.end - steps.start;
            anew.push_back(Run { number, batches });
            number += batches.div_ceil(batches_per_file);
        }
    }
    for table in Table::CORPUS {
        for file in dataset.files("eval", table) {
            copy(dataset, file, &folder.join(&file.path))?;
        }
    }
    if let Some(tokenizer) = dataset.manifest().files.iter().find(|file| file.path == TOKENIZER) {
        copy(dataset, tokenizer, &folder.join(TOKENIZER))?;
    }
    let path = folder.join("README.md");
    let text = card(dataset.manifest(), dataset.plan(), dataset.batches(), steps);
    fs::write(&path, text).and_then(|()| File::open(&path)?.sync_all()).map_err(Error::io("write", &path))?;
    let schema = plain::schema(dataset.batches());
    let plain = schema.clone();
    Ok(Target {
        encode: Box::new(move |batch| Ok(Encoded::Rows(plain::converted(batch, &plain)?))),
        writer: Box::new(Files {
            folder: folder.to_owned(),
            anew,
            schema,
            batch_size,
            batches_per_file,
            open: None,
        }),
    })
}

fn file_name(number: u64) -> String {
    format!("train/batches-{number:05}.parquet")
}

/// Copies a file of the dataset, and looks whether what arrived is what the manifest names.
fn copy(dataset: &Dataset, file: &FileEntry, to: &Path) -> Result<()> {
    let from = dataset.root().join(&file.path);
    fs::copy(&from, to).map_err(Error::io("copy", &from))?;
    if Digest::of_file(to)?.0 != file.digest {
        return Err(Error::dataset(&from, "is not the file that the manifest names")
            .with_hint("`prep verify` says what differs; `--virtual` derives batches from plan and corpus"));
    }
    File::open(to).and_then(|copy| copy.sync_all()).map_err(Error::io("write", to))
}

/// Batches in files that follow one another.
struct Run {
    /// Of the next file.
    number: u64,
    /// That are still to come.
    batches: u64,
}

/// The files that are written anew, one after another.
struct Files {
    folder: PathBuf,
    anew: VecDeque<Run>,
    schema: SchemaRef,
    batch_size: u32,
    batches_per_file: u64,
    /// The file that is being written, and how many batches it still takes.
    open: Option<(ParquetFile, u64)>,
}

impl Files {
    fn append(&mut self, rows: &RecordBatch) -> Result<()> {
        let (mut file, left) = match self.open.take() {
            Some(open) => open,
            None => self.next_file()?,
        };
        file.append(rows)?;
        match left {
            1 => file.finish()?,
            _ => self.open = Some((file, left - 1)),
        }
        Ok(())
    }

    fn next_file(&mut self) -> Result<(ParquetFile, u64)> {
        let run = self.anew.front_mut().expect("every batch has a file");
        let path = self.folder.join(file_name(run.number));
        let batches = run.batches.min(self.batches_per_file);
        run.number += 1;
        run.batches -= batches;
        if run.batches == 0 {
            self.anew.pop_front();
        }
        Ok((ParquetFile::create(&path, self.schema.clone(), self.batch_size)?, batches))
    }
}

impl Writer for Files {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        match batch {
            Encoded::Rows(rows) => self.append(&rows),
            _ => unreachable!("record batches"),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        assert!(self.open.is_none() && self.anew.is_empty(), "the last batch closes the last file");
        Ok(())
    }
}

pub(super) fn read(folder: &Path) -> Result<ReadBack> {
    let train = folder.join("train");
    let entries = fs::read_dir(&train).map_err(Error::io("list", &train))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>().map_err(Error::io("list", &train))?;
    paths.sort();
    Ok(Box::new(paths.into_iter().flat_map(|path| -> ReadBack {
        match parquet_file::read(&path) {
            Ok(batches) => Box::new(batches.flat_map(move |batch| plain::rows(batch, &path))),
            Err(e) => Box::new(std::iter::once(Err(e))),
        }
    })))
}
