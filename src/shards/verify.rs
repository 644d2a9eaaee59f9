//! The proof: file digests, then every batch derived anew from `plan.json` and `corpus/` and compared with `train/`,
//! then the dataset id. Every difference is named with its file, step and row.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use arrow::array::AsArray;
use arrow::array::{Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{UInt32Type, UInt64Type};
use rayon::prelude::*;
use serde::Serialize;

use super::cells::Cells;
use super::dataset::{Dataset, IndexRow};
use super::eval_part::eval_part;
use super::lookup::{self, LOOKUP};
use super::manifest::{Counts, FORMAT_VERSION, FileEntry, MANIFEST, TOKENIZER};
use super::rows::{Assembler, Picker, batch_digest, dataset_id, masked_pairs};
use super::switch::{Switches, Tally, add, out_of_order};
use super::tables::TableFile;
use super::tokens::CorpusTokens;
use crate::corpus::Corpus;
use crate::digest::Digest;
use crate::error::Result;
use crate::pairs::{Groups, Index};
use crate::pipeline::{EvalPool, NegativeSource};
use crate::progress::Observer;
use crate::schema::{DIGESTED_COLUMNS, Table};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file, below the dataset directory.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    pub found: String,
}

/// What [`verify`] has seen.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// As the content gives it; equal to the manifest's when there is no finding.
    pub dataset_id: Option<Digest>,
    pub files: usize,
    pub batches: u64,
    /// Sorted; empty when everything holds.
    pub findings: Vec<Finding>,
}

/// Batches of one shard with more than this many differences are not listed on.
const MAX_FINDINGS_PER_SHARD: usize = 20;

/// Checks a dataset. Differences are findings, not errors.
///
/// # Errors
/// Only when the dataset cannot be opened at all: no manifest, or no plan.
pub fn verify(root: &Path, observer: &dyn Observer) -> Result<Verification> {
    let dataset = Dataset::open(root)?;
    let mut findings = check_files(&dataset, observer)?;
    let mut seen = Verification {
        dataset_id: None,
        files: dataset.manifest().files.len(),
        batches: 0,
        findings: vec![],
    };
    observer.begin("reading the corpus", None);
    match derive(&dataset, &mut findings, observer) {
        Ok((id, batches)) => (seen.dataset_id, seen.batches) = (id, batches),
        Err(e) => findings.push(finding("corpus", describe(&e))),
    }
    findings.sort();
    seen.findings = findings;
    Ok(seen)
}

fn finding(path: impl Into<String>, found: impl Into<String>) -> Finding {
    Finding { path: path.into(), step: None, row: None, found: found.into() }
}

fn describe(e: &crate::error::Error) -> String {
    let cause = std::error::Error::source(e).map(|cause| format!(": {cause}"));
    format!("{e}{}", cause.unwrap_or_default())
}

/// Bytes and digests of all files; files that the manifest does not know.
fn check_files(dataset: &Dataset, observer: &dyn Observer) -> Result<Vec<Finding>> {
    let (root, manifest) = (dataset.root(), dataset.manifest());
    observer.begin("digesting files", Some(manifest.files.len() as u64));
    let mut findings: Vec<Finding> = manifest
        .files
        .par_iter()
        .filter_map(|file| {
            let found = check_file(root, file);
            observer.advance(1);
            found
        })
        .collect();
    let listed: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    for path in files_below(root, "")? {
        if path != MANIFEST && !listed.contains(path.as_str()) {
            findings.push(finding(path, "is no file of the dataset"));
        }
    }
    let required = ["plan.json", "rejects.parquet", "train/index.parquet"];
    for path in required.into_iter().filter(|path| !listed.contains(path)) {
        findings.push(finding(MANIFEST, format!("does not list {path}")));
    }
    if listed.contains(TOKENIZER) != manifest.tokenizer.is_some() {
        findings.push(finding(MANIFEST, format!("`tokenizer` and {TOKENIZER} do not go together")));
    }
    if super::manifest::pipeline_digest(&manifest.pipeline) != manifest.pipeline_digest {
        findings.push(finding(MANIFEST, "`pipeline` does not have its digest"));
    }
    Ok(findings)
}

fn check_file(root: &Path, file: &FileEntry) -> Option<Finding> {
    let path = root.join(&file.path);
    if !path.is_file() {
        return Some(finding(&file.path, "is missing"));
    }
    match Digest::of_file(&path) {
        Err(e) => Some(finding(&file.path, describe(&e))),
        Ok((_, bytes)) if bytes != file.bytes => {
            Some(finding(&file.path, format!("has {bytes} bytes, not {}", file.bytes)))
        }
        Ok((digest, _)) if digest != file.digest => Some(finding(&file.path, "does not have its digest")),
        Ok(_) => None,
    }
}

fn files_below(root: &Path, folder: &str) -> Result<Vec<String>> {
    let path = root.join(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(&path).map_err(crate::error::Error::io("list", &path))? {
        let entry = entry.map_err(crate::error::Error::io("list", &path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.path().is_dir() { files.extend(files_below(root, &name)?) } else { files.push(name) }
    }
    Ok(files)
}

/// Everything that follows from corpus and plan. Gives the dataset id and the number of batches compared.
fn derive(
    dataset: &Dataset,
    findings: &mut Vec<Finding>,
    observer: &dyn Observer,
) -> Result<(Option<Digest>, u64)> {
    let plan = dataset.plan();
    let corpus = dataset.corpus("corpus")?;
    check_order(&corpus, findings);
    let (index, groups) = Index::build(&corpus, plan.hard_negatives().candidates())?;
    findings.extend(out_of_order(plan, &corpus).into_iter().map(|(table, row, found)| {
        let path = format!("corpus/{}", table.name());
        Finding { path, step: None, row: Some(row as u64), found }
    }));
    check_eval(dataset, &corpus, findings);
    check_negatives(dataset, &corpus, findings);
    let no_split =
        corpus.names(Table::Queries, "split").null_count() == corpus.table(Table::Queries).num_rows();
    if dataset.manifest().eval_is_trained_on != no_split {
        findings.push(finding(MANIFEST, "`eval_is_trained_on` is not what the corpus says"));
    }
    check_lookup(dataset, &index, &groups, findings)?;
    if Counts::of(&corpus, plan) != dataset.manifest().counts {
        findings.push(finding(MANIFEST, "`counts` are not those of the corpus and the plan"));
    }

    let tokenizer = dataset.tokenizer();
    let tokens = tokenizer.and_then(|t| t.map(|t| CorpusTokens::of(&corpus, &t, observer)).transpose());
    let tokens = tokens.unwrap_or_else(|e| {
        // Without it the rest can be compared all the same.
        findings.push(finding(TOKENIZER, describe(&e)));
        None
    });
    observer.begin("deriving batches", Some(plan.steps()));
    let derive = Derive {
        dataset,
        index: &index,
        assembler: Assembler::of_corpus(plan, &corpus, &groups, tokens.as_ref())?,
        picker: Picker::new(plan, &index)?,
        rows: dataset.index().unwrap_or_else(|e| {
            findings.push(finding("train/index.parquet", describe(&e)));
            None
        }),
    };
    if derive.rows.as_ref().is_some_and(|rows| rows.len() as u64 != plan.steps()) {
        findings
            .push(finding("train/index.parquet", format!("does not have {} rows, one a step", plan.steps())));
    }
    let shards = dataset.files("train", Table::Batches);
    let mut covered = Some(0_u64);
    for file in &shards {
        let follows = covered.filter(|&n| file.first_step == Some(n));
        covered = follows.and_then(|n| n.checked_add(file.steps?));
    }
    if covered != Some(plan.steps()) {
        let found = format!("the shards do not follow one another to {} steps", plan.steps());
        findings.push(finding(MANIFEST, found));
        return Ok((None, 0));
    }
    let tally = Tally::new(derive.assembler.switcher(), &corpus);
    let mut switches = Switches::new();
    let derived: Vec<Derived> = shards
        .par_iter()
        .enumerate()
        .map(|(number, file)| derive.shard(number, file, &tally, observer))
        .collect();
    let mut digests = Vec::new();
    for of_shard in derived {
        digests.extend(of_shard.digests);
        findings.extend(of_shard.findings);
        add(&mut switches, of_shard.switches);
    }
    if digests.len() as u64 == plan.steps() && tally.with_corpus(switches)? != dataset.manifest().code_switch
    {
        findings.push(finding(MANIFEST, "`code_switch` is not what the batches switch"));
    }
    let n = digests.len() as u64;
    let id = (n == plan.steps()).then(|| dataset_id(dataset.plan_json(), digests.into_iter(), &corpus));
    if id.is_some_and(|id| id != dataset.manifest().dataset_id) {
        findings.push(finding(MANIFEST, "`dataset_id` is not that of the content"));
    }
    Ok((id, n))
}

/// Ids ascend, each once. (Words and lexicon have an order of their own.)
fn check_order(corpus: &Corpus, findings: &mut Vec<Finding>) {
    let with_ids = corpus.tables().filter(|(table, _)| !Table::CODE_SWITCH.contains(table));
    for (table, rows) in with_ids {
        let keys: Vec<_> = table.sorted_by().iter().map(|column| corpus.texts(table, column)).collect();
        let key = |row: usize| keys.iter().map(|column| column.value(row)).collect::<Vec<_>>();
        if let Some(row) = (1..rows.num_rows()).find(|&row| key(row) <= key(row - 1)) {
            let found = format!("{} does not come after the row before it", key(row).join(", "));
            let path = format!("corpus/{}", table.name());
            findings.push(Finding { path, step: None, row: Some(row as u64), found });
        }
    }
}

/// Mined negatives are there where the plan draws from them, and are of what may be trained on.
fn check_negatives(dataset: &Dataset, corpus: &Corpus, findings: &mut Vec<Finding>) {
    const PATH: &str = "corpus/negatives";
    let Some(rows) = corpus.negatives() else { return };
    if dataset.plan().hard_negatives().candidates() != Some(NegativeSource::Mined) {
        findings.push(finding(PATH, "is there, and the plan does not draw from it"));
    }
    let held_out = |table: Table| -> HashSet<&str> {
        let splits = corpus.names(table, "split").into_iter();
        let ids = corpus.texts(table, table.sorted_by()[0]).iter().flatten();
        ids.zip(splits).filter(|(_, split)| *split == Some("eval")).map(|(id, _)| id).collect()
    };
    let (queries, passages) = (held_out(Table::Queries), held_out(Table::Passages));
    let lists = rows.column(1).as_list::<i32>();
    for row in 0..rows.num_rows() {
        let query = rows.column(0).as_string_view().value(row);
        let list = lists.value(row);
        let passage = list.as_string_view().iter().flatten().find(|id| passages.contains(id));
        if let Some(id) = queries.get(query).copied().or(passage) {
            let found = format!("`{id}` is held out");
            findings.push(Finding { path: PATH.to_owned(), step: None, row: Some(row as u64), found });
        }
    }
}

/// eval/ is the held-out part of corpus/.
fn check_eval(dataset: &Dataset, corpus: &Corpus, findings: &mut Vec<Finding>) {
    let pool = match dataset.manifest().pipeline.pointer("/split/eval/pool").and_then(|pool| pool.as_str()) {
        Some("all") => EvalPool::All,
        _ => EvalPool::Eval,
    };
    let found = match dataset.corpus("eval") {
        Ok(found) => found,
        Err(e) => return findings.push(finding("eval", describe(&e))),
    };
    for (table, expected) in Table::CORPUS.into_iter().zip(eval_part(corpus, pool)) {
        let path = format!("eval/{}", table.name());
        let found = found.table(table);
        if found.num_rows() != expected.num_rows() {
            let text = format!("{} rows, the corpus holds out {}", found.num_rows(), expected.num_rows());
            findings.push(finding(path, text));
        } else if let Some((row, text)) = first_difference(&expected, found, 0..expected.num_rows(), 0) {
            findings.push(Finding { path, step: None, row: Some(row as u64), found: text });
        }
    }
}

fn check_lookup(
    dataset: &Dataset,
    index: &Index,
    groups: &Groups,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let path = dataset.root().join(LOOKUP);
    if path.is_file() {
        let bytes = fs::read(&path).map_err(crate::error::Error::io("read", &path))?;
        if bytes != lookup::to_bytes(index, groups) {
            findings.push(finding(LOOKUP, "is not the index of this corpus"));
        }
    }
    Ok(())
}

/// The first cell that differs: its row, and what is expected and found.
fn first_difference(
    expected: &RecordBatch,
    found: &RecordBatch,
    rows: std::ops::Range<usize>,
    first_found_row: usize,
) -> Option<(usize, String)> {
    let (want, have) = (Cells::all(expected), Cells::all(found));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for row in rows {
        for (column, field) in expected.schema().fields().iter().enumerate() {
            a.clear();
            b.clear();
            want[column].put(&mut a, row);
            have[column].put(&mut b, row + first_found_row);
            if a != b {
                let text = format!(
                    "column `{}`: expected {}, found {}",
                    field.name(),
                    want[column].show(row),
                    have[column].show(row + first_found_row)
                );
                return Some((row, text));
            }
        }
    }
    None
}

struct Derive<'a> {
    dataset: &'a Dataset,
    index: &'a Index,
    assembler: Assembler<'a>,
    picker: Picker<'a>,
    rows: Option<Vec<IndexRow>>,
}

/// What was derived of one shard.
struct Derived {
    digests: Vec<Digest>,
    switches: Switches,
    /// What differs in the file.
    findings: Vec<Finding>,
}

impl Derive<'_> {
    fn shard(&self, number: usize, entry: &FileEntry, tally: &Tally, observer: &dyn Observer) -> Derived {
        let (mut digests, mut findings, mut switches) = (Vec::new(), Vec::new(), Switches::new());
        let first_step = entry.first_step.unwrap_or(0);
        let steps = first_step..first_step + entry.steps.unwrap_or(0);
        let mut picker = self.picker.clone();
        let file = TableFile::open(&self.dataset.root().join(&entry.path), self.assembler.table());
        let mut stored = match &file {
            Ok(file) => {
                self.footer(entry, file, &mut findings);
                Stored { file: Some(file), group: 0, rows: None, first_row: 0, found: None }
            }
            // Its batches are derived all the same, for the dataset id.
            Err(e) => {
                // That it is missing has been said.
                if self.dataset.root().join(&entry.path).is_file() {
                    findings.push(finding(&entry.path, describe(e)));
                }
                Stored { file: None, group: 0, rows: None, first_row: 0, found: None }
            }
        };
        let batch_size = self.dataset.plan().batch_size() as usize;
        let mut buffer = Vec::new();
        for step in steps {
            let derived = picker.pick(step).and_then(|picked| {
                let rows = self.assembler.assemble(std::slice::from_ref(&picked), self.index)?;
                add(&mut switches, tally.batches(std::slice::from_ref(&picked))?);
                Ok((masked_pairs(&picked, self.index)?, picked.source, rows))
            });
            let (masked, source, expected) = match derived {
                Ok(derived) => derived,
                Err(e) => {
                    findings.push(Finding {
                        path: "corpus".to_owned(),
                        step: Some(step),
                        row: None,
                        found: describe(&e),
                    });
                    break;
                }
            };
            let digest = batch_digest(&Cells::all(&expected), 0..expected.num_rows(), &mut buffer);
            digests.push(digest);
            let index_row = IndexRow {
                step,
                source: self.dataset.plan().sources()[source].name.clone(),
                shard: u32::try_from(number).unwrap_or(u32::MAX),
                first_row: (step - first_step) * batch_size as u64,
                masked_pairs: masked,
                digest,
            };
            self.index_row(&index_row, &mut findings);
            if findings.len() < MAX_FINDINGS_PER_SHARD {
                findings.extend(stored.compare(&entry.path, step, &expected));
            }
            observer.advance(1);
        }
        if let Some(found) = stored.rest() {
            findings.push(finding(&entry.path, found));
        }
        Derived { digests, switches, findings }
    }

    fn footer(&self, entry: &FileEntry, file: &TableFile, findings: &mut Vec<Finding>) {
        for (key, value) in [
            ("prep.format_version", FORMAT_VERSION.to_string()),
            ("prep.plan_digest", Digest::of(self.dataset.plan_json()).to_string()),
            ("prep.first_step", entry.first_step.unwrap_or(0).to_string()),
            ("prep.steps", entry.steps.unwrap_or(0).to_string()),
        ] {
            if file.footer(key) != Some(value.as_str()) {
                let found = format!("footer `{key}` is {:?}, not `{value}`", file.footer(key));
                findings.push(finding(&entry.path, found));
            }
        }
    }

    fn index_row(&self, expected: &IndexRow, findings: &mut Vec<Finding>) {
        let Some(rows) = &self.rows else { return };
        let Some(found) = usize::try_from(expected.step).ok().and_then(|step| rows.get(step)) else { return };
        if found != expected {
            findings.push(Finding {
                path: "train/index.parquet".to_owned(),
                step: Some(expected.step),
                row: Some(expected.step),
                found: format!("expected {expected:?}, found {found:?}"),
            });
        }
    }
}

/// The rows of a shard, row group by row group.
struct Stored<'a> {
    file: Option<&'a TableFile>,
    group: usize,
    rows: Option<RecordBatch>,
    /// The next batch's first row in `rows`.
    first_row: usize,
    /// Why the rest cannot be read.
    found: Option<String>,
}

impl Stored<'_> {
    /// Why reading stopped, or what is left over: rows that no step of the plan asks for.
    fn rest(self) -> Option<String> {
        let left = |file: &TableFile| {
            self.group < file.n_row_groups()
                || self.rows.as_ref().is_some_and(|rows| self.first_row < rows.num_rows())
        };
        let too_many = self.file.is_some_and(left);
        self.found.or_else(|| too_many.then(|| "holds more rows than its steps".to_owned()))
    }

    /// Compares the next batch with the one expected.
    fn compare(&mut self, path: &str, step: u64, expected: &RecordBatch) -> Option<Finding> {
        let file = self.file?;
        let n = expected.num_rows();
        if self.rows.as_ref().is_none_or(|rows| rows.num_rows() <= self.first_row) {
            if file.n_row_groups() <= self.group {
                self.file = None;
                self.found = Some(format!("ends before step {step}"));
                return None;
            }
            match file.row_group(self.group) {
                Ok(rows) => (self.rows, self.first_row) = (Some(rows), 0),
                Err(e) => {
                    self.file = None;
                    self.found = Some(format!("row group {} cannot be read: {}", self.group, describe(&e)));
                    return None;
                }
            }
            self.group += 1;
        }
        let rows = self.rows.as_ref().expect("just read");
        let first = self.first_row;
        if rows.num_rows() < first + n {
            self.file = None;
            self.found = Some(format!("row group {} does not hold whole batches", self.group - 1));
            return None;
        }
        self.first_row += n;
        if rows_equal(expected, rows, first) {
            return None;
        }
        let (row, found) = first_difference(expected, rows, 0..n, first)?;
        Some(Finding { path: path.to_owned(), step: Some(step), row: Some(row as u64), found })
    }
}

/// Whether the rows from `first` on are the expected ones; quicker than naming the first that is not.
fn rows_equal(expected: &RecordBatch, found: &RecordBatch, first: usize) -> bool {
    let n = expected.num_rows();
    let steps = |batch: &RecordBatch| -> UInt64Array { batch.column(0).as_primitive::<UInt64Type>().clone() };
    let numbers =
        |batch: &RecordBatch| -> UInt32Array { batch.column(1).as_primitive::<UInt32Type>().clone() };
    if steps(expected).values() != steps(&found.slice(first, n)).values()
        || numbers(expected).values() != numbers(&found.slice(first, n)).values()
    {
        return false;
    }
    let (want, have) = (Cells::all(expected), Cells::all(found));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    batch_digest(&want, 0..n, &mut a);
    batch_digest(&have, first..first + n, &mut b);
    for (want, have) in want.iter().zip(&have).skip(DIGESTED_COLUMNS.end) {
        (0..n).for_each(|row| want.put(&mut a, row));
        (first..first + n).for_each(|row| have.put(&mut b, row));
    }
    a == b
}
