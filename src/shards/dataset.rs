//! A dataset that is there: its manifest, its plan, its tables.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrow::array::{ArrayAccessor, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, UInt32Type, UInt64Type};
use serde::Serialize;

use super::eval_part::train_part;
use super::manifest::{FileEntry, Manifest, PLAN, TOKENIZER};
use super::tables::{read_rows, read_table};
use crate::corpus::{CodeSwitch, Corpus};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::schema::{Extra, Table};
use crate::tokens::Tokenizer;

/// A dataset directory, open for reading. What it holds is believed until [`super::verify`] has looked.
pub struct Dataset {
    root: PathBuf,
    manifest: Manifest,
    plan: Plan,
    plan_json: Vec<u8>,
}

/// A part of the corpus of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// `eval/`: what was held out, or everything where there is no split.
    Eval,
    /// What may be trained on: `corpus/` without the rows whose split is `eval`.
    Train,
    /// `corpus/`.
    All,
}

/// What `train/index.parquet` says of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IndexRow {
    pub step: u64,
    pub source: String,
    pub shard: u32,
    pub first_row: u64,
    pub masked_pairs: u32,
    pub digest: Digest,
}

impl Dataset {
    /// # Errors
    /// [`Error::Dataset`] and [`Error::Plan`] when manifest or plan cannot be read.
    pub fn open(root: &Path) -> Result<Self> {
        let manifest = Manifest::read(root)?;
        let path = root.join(PLAN);
        let plan_json = fs::read(&path).map_err(Error::io("read", &path))?;
        if Digest::of(&plan_json) != manifest.plan_digest {
            return Err(Error::dataset(&path, "is not the plan that the manifest names"));
        }
        Ok(Self { root: root.to_owned(), manifest, plan: Plan::from_json(&plan_json)?, plan_json })
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn plan_json(&self) -> &[u8] {
        &self.plan_json
    }

    /// What the rows of a batch are: with tokens where there is a tokenizer, with originals where words are switched.
    #[must_use]
    pub fn batches(&self) -> Table {
        let (tokens, originals) = (self.manifest.tokenizer.is_some(), self.plan.code_switch().is_some());
        Table::batches(Extra { tokens, originals })
    }

    /// Files of a table, in order: `folder/name-NNNNN.parquet`.
    pub(crate) fn files(&self, folder: &str, table: Table) -> Vec<&FileEntry> {
        let prefix = format!("{folder}/{}-", table.name());
        let mut files: Vec<_> =
            self.manifest.files.iter().filter(|file| file.path.starts_with(&prefix)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// Reads a part of the corpus, whole, each file held against its digest.
    ///
    /// # Errors
    /// [`Error::Dataset`] and [`Error::Io`] when its tables cannot be read, or are not those of the manifest.
    pub fn part(&self, part: Part) -> Result<Corpus> {
        match part {
            Part::Eval => self.checked_corpus("eval"),
            Part::Train => Ok(train_part(&self.checked_corpus("corpus")?)),
            Part::All => self.checked_corpus("corpus"),
        }
    }

    fn checked_corpus(&self, folder: &str) -> Result<Corpus> {
        self.check_files(folder)?;
        self.corpus(folder)
    }

    /// Holds the tables of `corpus/` (`corpus`) or of its held-out part (`eval`) against their digests.
    pub(crate) fn check_files(&self, folder: &str) -> Result<()> {
        let tables = Table::CORPUS.into_iter().chain([Table::Negatives]).chain(Table::CODE_SWITCH);
        for table in tables {
            for file in self.files(folder, table) {
                self.check_file(file)?;
            }
        }
        Ok(())
    }

    pub(super) fn check_file(&self, file: &FileEntry) -> Result<()> {
        let path = self.root.join(&file.path);
        if Digest::of_file(&path)?.0 == file.digest {
            return Ok(());
        }
        Err(Error::dataset(&path, "is not the file that the manifest names")
            .with_hint("`prep verify` says what else differs"))
    }

    /// Reads the canonical corpus (`corpus`), or its held-out part (`eval`). The words that batches switch belong to the
    /// first alone.
    ///
    /// # Errors
    /// [`Error::Dataset`] when its files are not the tables that they are named for.
    pub fn corpus(&self, folder: &str) -> Result<Corpus> {
        let table = |table| read_table(&self.root, table, &self.files(folder, table));
        let corpus = Corpus::new(table(Table::Queries)?, table(Table::Passages)?, table(Table::Qrels)?);
        let corpus = match self.files(folder, Table::Negatives).is_empty() {
            true => corpus,
            false => corpus.with_negatives(table(Table::Negatives)?),
        };
        if folder != "corpus" || self.plan.code_switch().is_none() {
            return Ok(corpus);
        }
        Ok(corpus.with_code_switch(Some(CodeSwitch::new(table(Table::Words)?, table(Table::Lexicon)?))))
    }

    /// The tokenizer of the batches' tokens, where they have any.
    ///
    /// # Errors
    /// [`Error::Dataset`] when it is not the one that the manifest names; else as [`Tokenizer::open`].
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        let Some(entry) = &self.manifest.tokenizer else { return Ok(None) };
        let path = self.root.join(TOKENIZER);
        let tokenizer = Tokenizer::open(&path)?;
        if tokenizer.digest() != entry.digest {
            return Err(Error::dataset(&path, "is not the tokenizer that the manifest names"));
        }
        Ok(Some(tokenizer))
    }

    fn index_file(&self) -> Option<&FileEntry> {
        let file = self.manifest.files.iter().find(|file| file.path == "train/index.parquet")?;
        self.root.join(&file.path).is_file().then_some(file)
    }

    /// The whole index, where there is one.
    ///
    /// # Errors
    /// [`Error::Dataset`] when it cannot be read.
    pub fn index(&self) -> Result<Option<Vec<IndexRow>>> {
        let table =
            self.index_file().map(|file| read_table(&self.root, Table::Index, &[file])).transpose()?;
        table.map(|table| self.index_rows(&table)).transpose()
    }

    /// What the index says of these steps; nothing where train/ is gone or one of them is beyond its end.
    pub(super) fn index_of(&self, steps: Range<u64>) -> Result<Option<Vec<IndexRow>>> {
        let Some(file) = self.index_file().filter(|file| file.rows.is_some_and(|rows| steps.end <= rows))
        else {
            return Ok(None);
        };
        let columns: Vec<&str> = Table::Index.columns().iter().map(|column| column.name).collect();
        let number = |step| {
            u32::try_from(step).map_err(|_| Error::dataset(&self.root, "an index of more than 2^32 steps"))
        };
        let rows: Vec<u32> = steps.map(number).collect::<Result<_>>()?;
        let table = read_rows(&self.root, Table::Index, &columns, &[file], &rows)?;
        let index = self.index_rows(&table)?;
        let is_right = index.iter().zip(&rows).all(|(found, &step)| found.step == u64::from(step));
        if !is_right {
            return Err(Error::dataset(&self.root.join(&file.path), "is not in the order of its steps"));
        }
        Ok(Some(index))
    }

    fn index_rows(&self, table: &RecordBatch) -> Result<Vec<IndexRow>> {
        let steps = table.column(0).as_primitive::<UInt64Type>();
        let sources = table.column(1).as_dictionary::<Int32Type>();
        let sources = sources.downcast_dict::<arrow::array::StringArray>().expect("of the loaded schema");
        let shards = table.column(2).as_primitive::<UInt32Type>();
        let first_rows = table.column(3).as_primitive::<UInt64Type>();
        let masked_pairs = table.column(4).as_primitive::<UInt32Type>();
        let digests = table.column(5).as_string_view();
        (0..table.num_rows())
            .map(|row| {
                let digest = Digest::from_str(digests.value(row)).map_err(|found| {
                    Error::dataset(&self.root.join("train/index.parquet"), format!("step {row}: {found}"))
                })?;
                Ok(IndexRow {
                    step: steps.value(row),
                    source: sources.value(row).to_owned(),
                    shard: shards.value(row),
                    first_row: first_rows.value(row),
                    masked_pairs: masked_pairs.value(row),
                    digest,
                })
            })
            .collect()
    }
}
