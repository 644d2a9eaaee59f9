//! The main job: a pipeline and its sources to a committed dataset.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, StringViewArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::Int32Type;
use parquet::file::metadata::KeyValue;
use rayon::prelude::*;
use serde::Serialize;

use super::card::card;
use super::cells::Cells;
use super::citation::citation;
use super::eval_part::eval_part;
use super::layout::Layout;
use super::lookup::{self, LOOKUP};
use super::manifest::{
    CARD, CITATION, Counts, FORMAT_VERSION, FileEntry, MANIFEST, Manifest, PLAN, TOKENIZER, TokenizerEntry,
    pipeline_digest,
};
use super::ordered::in_order;
use super::parquet_file::{ParquetFile, RowGroupEncoder};
use super::rows::{Assembler, Picker, batch_digest, dataset_id, masked_pairs};
use super::switch::{Switches, Tally, add, check_reach};
use super::tables::{write_one, write_table};
use super::tokens::CorpusTokens;
use crate::corpus::{Corpus, EqualIds, IngestRequest, Ingested, Overlaps, Reject, ingest};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pairs::{Groups, Index};
use crate::pipeline::{EvalPool, EvalSplit, Pipeline};
use crate::plan::{Plan, PlanRequest, make_plan};
use crate::progress::Observer;
use crate::schema::Table;
use crate::staging::{Form, Kind, Staging};
use crate::tokens::Tokenizer;

/// What a build makes.
const DATASET: Kind =
    Kind { noun: "dataset", form: Form::Folder { mark: MANIFEST, parts: &["corpus", "train", "eval"] } };

/// What [`build`] works on.
#[derive(Clone, Copy)]
pub struct BuildRequest<'a> {
    pub pipeline: &'a Pipeline,
    /// The folder that the pipeline's paths start from.
    pub data: &'a Path,
    /// The dataset directory to write.
    pub out: &'a Path,
    /// Instead of the pipeline's.
    pub tokenizer: Option<&'a Path>,
    /// Replace a dataset that is there, once the new one is complete.
    pub replace: bool,
    /// A single bad record fails the build.
    pub strict: bool,
    /// Threads to work on; part of no result.
    pub threads: usize,
}

/// What was built.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    pub dataset_id: Digest,
    pub queries: usize,
    pub passages: usize,
    pub steps: u64,
    pub rows: u64,
    /// Of all files together.
    pub bytes: u64,
    pub masked_pairs: u64,
    /// What of the held-out part stands in training texts too; nothing without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlaps: Option<Overlaps>,
    /// Corpora that may have the same questions without saying so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal_ids: Vec<EqualIds>,
    /// Words that may be switched and that are, by language; nothing without code switching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_switch: Option<Switches>,
    pub rejects: BTreeMap<String, u64>,
}

/// What would be built.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// The resolved pipeline.
    pub pipeline: Pipeline,
    pub queries: usize,
    pub passages: usize,
    pub pools: usize,
    /// Weight of each source in the cycle.
    pub sources: BTreeMap<String, u64>,
    pub steps: u64,
    pub rows: u64,
    pub steps_per_shard: u64,
    pub shards: u64,
    /// Of the batches, before compression.
    pub text_bytes: u64,
    /// Of the shard files, estimated from the first row group.
    pub expected_bytes: u64,
    /// (query, passage) pairs that are no negatives, over all batches.
    pub masked_pairs: u64,
    /// Corpora that may have the same questions without saying so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal_ids: Vec<EqualIds>,
    /// Words that may be switched and that would be, by language; nothing without code switching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_switch: Option<Switches>,
    pub rejects: BTreeMap<String, u64>,
}

/// A corpus with its index and plan: all that batches follow from.
pub(super) struct Prepared {
    pub(super) corpus: Corpus,
    pub(super) index: Index,
    pub(super) groups: Groups,
    pub(super) plan: Plan,
    pub(super) overlaps: Option<Overlaps>,
    pub(super) equal_ids: Vec<EqualIds>,
    pub(super) rejects: Vec<Reject>,
    pub(super) inputs: Vec<crate::corpus::Input>,
}

pub(super) fn prepare(request: IngestRequest, observer: &dyn Observer) -> Result<Prepared> {
    let pipeline = request.pipeline;
    let Ingested { corpus, overlaps, equal_ids, rejects, inputs } = ingest(request, observer)?;
    observer.begin("indexing pools", None);
    let candidates = (pipeline.batches.negatives != 0).then_some(pipeline.negatives.source);
    let (index, groups) = Index::build(&corpus, candidates)?;
    let mut pools = index.pool_sizes()?;
    let is_symmetric = |name: &str| pipeline.corpora.iter().any(|c| c.name == name && c.is_symmetric());
    pools.retain(|(pool, _)| !(pool.is_monolingual() && is_symmetric(&pool.dataset)));
    let mut plan = make_plan(PlanRequest {
        seed: pipeline.seed,
        pools: &pools,
        batches: &pipeline.batches,
        negatives: pipeline.negatives.source,
    })?;
    if let Some(code_switch) = &pipeline.code_switch {
        plan = plan.with_code_switch(code_switch.into())?;
        check_reach(&plan, corpus.code_switch().expect("ingested with lexicons"))?;
    }
    Ok(Prepared { corpus, index, groups, plan, overlaps, equal_ids, rejects, inputs })
}

/// Builds a dataset. Runs on the calling thread's rayon pool.
///
/// The bytes of every file are a function of pipeline and sources: of no thread count, source order or clock.
///
/// # Errors
/// Whatever can be wrong with sources, settings and disk; the target is then as it was before.
pub fn build(request: BuildRequest, observer: &dyn Observer) -> Result<BuildReport> {
    let BuildRequest { pipeline, data, out, replace, strict, threads, .. } = request;
    let tokenizer = open_tokenizer(&request)?;
    let staging = Staging::open(DATASET, out, replace)?;
    let pipeline = &pipeline.pinned()?;
    let prepared = prepare(IngestRequest { pipeline, data, strict, threads }, observer)?;
    let Prepared { corpus, index, groups, plan, .. } = &prepared;
    let tokens = tokenizer.as_ref().map(|(t, _)| CorpusTokens::of(corpus, t, observer)).transpose()?;
    let root = staging.folder();
    let mut files = Vec::new();

    let plan_json = plan.to_json();
    let plan_digest = Digest::of(&plan_json);
    files.push(write_small(&staging, PLAN, &plan_json)?);
    observer.begin("writing the corpus", None);
    files.extend(write_corpus(root, pipeline, corpus, threads)?);
    files.push(write_small(&staging, LOOKUP, &lookup::to_bytes(index, groups))?);
    let rejects = write_rejects(root, pipeline, &prepared.rejects, threads)?;
    files.push(rejects);
    if let Some((tokenizer, _)) = &tokenizer {
        files.push(write_small(&staging, TOKENIZER, tokenizer.json())?);
    }

    observer.begin("writing batches", Some(plan.steps() * u64::from(plan.batch_size())));
    let assembler = Assembler::of_corpus(plan, corpus, groups, tokens.as_ref())?;
    let layout = Layout::new(pipeline, plan, &assembler, index)?;
    let train = write_train(root, &prepared, pipeline, (layout, &assembler), threads, observer)?;
    files.extend(train.files);

    observer.begin("committing", None);
    let dataset_id = dataset_id(&plan_json, train.index.iter().map(|row| row.digest), corpus);
    let resolved = serde_json::to_value(pipeline).expect("a pipeline is plain data");
    let mut manifest = Manifest {
        format_version: FORMAT_VERSION,
        prep_version: env!("CARGO_PKG_VERSION").to_owned(),
        dataset_id,
        plan_digest,
        pipeline_digest: pipeline_digest(&resolved),
        pipeline: resolved,
        eval_is_trained_on: held_out(pipeline).is_none(),
        overlaps: prepared.overlaps.clone(),
        code_switch: train.switches,
        tokenizer: tokenizer.map(|(_, entry)| entry),
        inputs: prepared.inputs.clone(),
        files,
        counts: Counts::of(corpus, plan),
        rejects: by_reason(&prepared.rejects),
    };
    let card = card(&manifest, plan, assembler.table(), &(0..plan.steps()));
    manifest.files.push(write_small(&staging, CARD, card.as_bytes())?);
    manifest.files.push(write_small(&staging, CITATION, citation(&manifest).as_bytes())?);
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    staging.write(MANIFEST, &manifest.to_json())?;
    staging.commit()?;
    Ok(BuildReport {
        dataset_id,
        queries: corpus.table(Table::Queries).num_rows(),
        passages: corpus.table(Table::Passages).num_rows(),
        steps: plan.steps(),
        rows: plan.steps() * u64::from(plan.batch_size()),
        bytes,
        masked_pairs: train.index.iter().map(|row| u64::from(row.masked_pairs)).sum(),
        overlaps: manifest.overlaps,
        equal_ids: prepared.equal_ids,
        code_switch: manifest.code_switch,
        rejects: manifest.rejects,
    })
}

/// Everything but the writing: what [`build`] would do, and how large it would be.
///
/// # Errors
/// As [`build`], as far as it gets without writing.
pub fn dry_run(request: BuildRequest, observer: &dyn Observer) -> Result<DryRun> {
    let BuildRequest { pipeline, data, strict, threads, .. } = request;
    let tokenizer = open_tokenizer(&request)?;
    let pipeline = &pipeline.pinned()?;
    let prepared = prepare(IngestRequest { pipeline, data, strict, threads }, observer)?;
    let Prepared { corpus, index, groups, plan, .. } = &prepared;
    let tokens = tokenizer.as_ref().map(|(t, _)| CorpusTokens::of(corpus, t, observer)).transpose()?;
    let assembler = Assembler::of_corpus(plan, corpus, groups, tokens.as_ref())?;
    let layout = Layout::new(pipeline, plan, &assembler, index)?;
    let rows = plan.steps() * u64::from(plan.batch_size());

    observer.begin("counting masked pairs", Some(rows));
    let picker = Picker::new(plan, index)?;
    let tally = Tally::new(assembler.switcher(), corpus);
    let (masked, switched) = (0..plan.steps())
        .into_par_iter()
        .map_init(
            || picker.clone(),
            |picker, step| {
                observer.advance(plan.batch_size().into());
                let picked = [picker.pick(step)?];
                Ok::<_, Error>((u64::from(masked_pairs(&picked[0], index)?), tally.batches(&picked)?))
            },
        )
        .try_reduce(Default::default, |mut a, b| {
            add(&mut a.1, b.1);
            Ok((a.0 + b.0, a.1))
        })?;
    let first = layout.row_group(0);
    let mut picker = picker;
    let picked = (first.first_step..first.first_step + first.steps).map(|s| picker.pick(s));
    let batch = assembler.assemble(&picked.collect::<Result<Vec<_>>>()?, index)?;
    let encoded: u64 = RowGroupEncoder::new(assembler.table(), layout.encoding)?
        .encode(&batch)?
        .iter()
        .map(|chunk| chunk.close().bytes_written)
        .sum();
    let scale =
        |bytes: u64| u64::try_from(u128::from(bytes) * u128::from(plan.steps()) / u128::from(first.steps));
    let overflow = |_| Error::setting("batches.steps", "more bytes than can be counted");
    Ok(DryRun {
        queries: corpus.table(Table::Queries).num_rows(),
        passages: corpus.table(Table::Passages).num_rows(),
        pools: plan.pools().len(),
        sources: plan.sources().iter().map(|s| (s.name.clone(), s.weight)).collect(),
        steps: plan.steps(),
        rows,
        steps_per_shard: layout.steps_per_shard,
        shards: layout.steps.div_ceil(layout.steps_per_shard),
        text_bytes: layout.bytes_per_step.saturating_mul(plan.steps()),
        expected_bytes: scale(encoded).map_err(overflow)?,
        masked_pairs: masked,
        equal_ids: prepared.equal_ids.clone(),
        code_switch: tally.with_corpus(switched)?,
        rejects: by_reason(&prepared.rejects),
        pipeline: pipeline.clone(),
    })
}

/// The tokenizer that the request or its pipeline names, if any, and what the manifest says of it.
fn open_tokenizer(request: &BuildRequest) -> Result<Option<(Tokenizer, TokenizerEntry)>> {
    let below_data = request.pipeline.tokenizer.as_ref().map(|path| request.data.join(path));
    let Some(path) = request.tokenizer.map(Path::to_owned).or(below_data) else { return Ok(None) };
    let tokenizer = Tokenizer::open(&path)?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let entry = TokenizerEntry { name, digest: tokenizer.digest() };
    Ok(Some((tokenizer, entry)))
}

struct Train {
    files: Vec<FileEntry>,
    index: Vec<TrainRow>,
    switches: Option<Switches>,
}

struct TrainRow {
    source: usize,
    shard: u64,
    first_row: u64,
    masked_pairs: u32,
    digest: Digest,
}

fn write_train(
    root: &Path,
    prepared: &Prepared,
    pipeline: &Pipeline,
    (layout, assembler): (Layout, &Assembler),
    threads: usize,
    observer: &dyn Observer,
) -> Result<Train> {
    let Prepared { corpus, index, plan, .. } = prepared;
    let tally = Tally::new(assembler.switcher(), corpus);
    let batch_size = u64::from(plan.batch_size());
    let table = assembler.table();
    let encoder = RowGroupEncoder::new(table, layout.encoding)?;
    let picker = Picker::new(plan, index)?;
    let plan_digest = Digest::of(&plan.to_json());
    let create = |shard: u64| {
        let first_step = shard * layout.steps_per_shard;
        let steps = layout.steps_per_shard.min(layout.steps - first_step);
        let footer = footer(&plan_digest, first_step, steps);
        let name = format!("train/batches-{shard:05}.parquet");
        Ok::<_, Error>((ParquetFile::create(root, &name, table, layout.encoding, footer)?, first_step, steps))
    };
    let finish = |(file, first_step, steps): (ParquetFile, u64, u64)| {
        let entry = file.finish()?;
        Ok::<_, Error>(FileEntry { first_step: Some(first_step), steps: Some(steps), ..entry })
    };

    let (mut files, mut rows, mut switched) = (Vec::new(), Vec::new(), Switches::new());
    let mut open: Option<(u64, (ParquetFile, u64, u64))> = None;
    in_order(
        layout.n_row_groups()?,
        threads,
        || (picker.clone(), Vec::new()),
        |(picker, buffer), number| {
            // A row group in one piece. In pieces of 2,048 rows, to stay in the cache, a build took a tenth longer.
            let group = layout.row_group(number);
            let steps = group.first_step..group.first_step + group.steps;
            let picked = steps.map(|step| picker.pick(step)).collect::<Result<Vec<_>>>()?;
            let batch = assembler.assemble(&picked, index)?;
            let columns = Cells::all(&batch);
            let mut index_rows = Vec::with_capacity(picked.len());
            for (at, step) in picked.iter().enumerate() {
                let first = at * batch_size as usize;
                index_rows.push(TrainRow {
                    source: step.source,
                    shard: group.shard,
                    first_row: (step.step - group.shard * layout.steps_per_shard) * batch_size,
                    masked_pairs: masked_pairs(step, index)?,
                    digest: batch_digest(&columns, first..first + step.rows.len(), buffer),
                });
            }
            let switched = tally.batches(&picked)?;
            Ok((group.shard, encoder.encode(&batch)?, batch.num_rows(), index_rows, switched))
        },
        |_, (shard, chunks, n_rows, index_rows, of_group)| {
            add(&mut switched, of_group);
            if let Some((_, done)) = open.take_if(|(current, _)| *current != shard) {
                files.push(finish(done)?);
            }
            let (_, (file, ..)) = match &mut open {
                Some(open) => open,
                None => open.insert((shard, create(shard)?)),
            };
            file.append(chunks, n_rows)?;
            rows.extend(index_rows);
            observer.advance(n_rows as u64);
            Ok(())
        },
    )?;
    if let Some((_, last)) = open {
        files.push(finish(last)?);
    }
    let table = index_table(plan, &rows);
    files.push(write_one(
        root,
        "train/index.parquet",
        Table::Index,
        &table,
        pipeline.shards.zstd_level,
        threads,
    )?);
    Ok(Train { files, index: rows, switches: tally.with_corpus(switched)? })
}

fn footer(plan_digest: &Digest, first_step: u64, steps: u64) -> Vec<KeyValue> {
    [
        ("prep.format_version", FORMAT_VERSION.to_string()),
        ("prep.plan_digest", plan_digest.to_string()),
        ("prep.first_step", first_step.to_string()),
        ("prep.steps", steps.to_string()),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .to_vec()
}

fn index_table(plan: &Plan, rows: &[TrainRow]) -> RecordBatch {
    let names = StringArray::from_iter_values(plan.sources().iter().map(|s| s.name.as_str()));
    let keys = Int32Array::from_iter_values(rows.iter().map(|row| row.source as i32));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(0..rows.len() as u64)),
        Arc::new(
            DictionaryArray::<Int32Type>::try_new(keys, Arc::new(names)).expect("keys are numbers of names"),
        ),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.shard as u32))),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.first_row))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.masked_pairs))),
        Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.digest.to_string()))),
    ];
    RecordBatch::try_new(Table::Index.loaded_schema(), columns).expect("the columns of the index")
}

fn held_out(pipeline: &Pipeline) -> Option<&EvalSplit> {
    pipeline.split.as_ref()?.eval.as_ref()
}

/// corpus/ and eval/. Where there is no split the two are alike, and copying costs less than encoding twice.
fn write_corpus(root: &Path, pipeline: &Pipeline, corpus: &Corpus, threads: usize) -> Result<Vec<FileEntry>> {
    let level = pipeline.shards.zstd_level;
    let mut files = Vec::new();
    for (table, rows) in corpus.tables() {
        let stem = format!("corpus/{}", table.name());
        files.extend(write_table(root, &stem, table, rows, level, threads)?);
    }
    let Some(eval) = held_out(pipeline) else {
        let is_evaluated_on = |entry: &&FileEntry| {
            Table::CORPUS.iter().any(|table| entry.path.starts_with(&format!("corpus/{}-", table.name())))
        };
        let copies = files.iter().filter(is_evaluated_on).map(|entry| {
            let path = entry.path.replacen("corpus/", "eval/", 1);
            fs::copy(root.join(&entry.path), root.join(&path))
                .map_err(Error::io("write", &root.join(&path)))?;
            let copy = fs::File::open(root.join(&path)).and_then(|file| file.sync_all());
            copy.map_err(Error::io("write", &root.join(&path)))?;
            Ok(FileEntry { path, ..entry.clone() })
        });
        let copies = copies.collect::<Result<Vec<_>>>()?;
        files.extend(copies);
        return Ok(files);
    };
    let pool: EvalPool = eval.pool;
    for (table, rows) in Table::CORPUS.into_iter().zip(eval_part(corpus, pool)) {
        let stem = format!("eval/{}", table.name());
        files.extend(write_table(root, &stem, table, &rows, level, threads)?);
    }
    Ok(files)
}

fn write_rejects(root: &Path, pipeline: &Pipeline, rejects: &[Reject], threads: usize) -> Result<FileEntry> {
    let text = |of: fn(&Reject) -> &str| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(rejects.iter().map(of)))
    };
    let columns = vec![
        text(|r| &r.source),
        text(|r| &r.place),
        text(|r| r.reason.code()),
        text(|r| &r.detail),
        text(|r| &r.raw),
    ];
    let table =
        RecordBatch::try_new(Table::Rejects.loaded_schema(), columns).expect("the columns of rejects");
    write_one(root, "rejects.parquet", Table::Rejects, &table, pipeline.shards.zstd_level, threads)
}

fn write_small(staging: &Staging, name: &str, bytes: &[u8]) -> Result<FileEntry> {
    staging.write(name, bytes)?;
    Ok(FileEntry {
        path: name.to_owned(),
        rows: None,
        bytes: bytes.len() as u64,
        digest: Digest::of(bytes),
        first_step: None,
        steps: None,
    })
}

fn by_reason(rejects: &[Reject]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for reject in rejects {
        *counts.entry(reject.reason.code().to_owned()).or_default() += 1;
    }
    counts
}
