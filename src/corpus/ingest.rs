//! Source files to corpus: find, read in parallel, check the share of bad records, refine.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::concat_batches;
use arrow::datatypes::UInt32Type;
use rayon::prelude::*;

use super::code_switch::Lexicon;
use super::leakage::Elsewhere;
use super::overlap::Overlaps;
use super::records::{RawTables, qrels_schema, raw_schema};
use super::shared_ids::{EqualIds, equal_ids};
use super::source::{Input, Unit, units};
use super::{Corpus, Reject, code_switch, formats, leakage, mined, refine, split};
use crate::engine::Engine;
use crate::error::{Error, FirstReject, Result};
use crate::pipeline::{Pipeline, Ratio};
use crate::progress::Observer;
use crate::schema::Table;

/// What [`ingest`] works on.
#[derive(Clone, Copy)]
pub struct IngestRequest<'a> {
    pub pipeline: &'a Pipeline,
    /// The folder that the pipeline's paths start from.
    pub data: &'a Path,
    /// A single bad record fails the build.
    pub strict: bool,
    pub threads: usize,
}

/// A corpus, and what became of the rest.
pub struct Ingested {
    pub corpus: Corpus,
    /// What of the held-out part stands in training texts too; nothing without one.
    pub overlaps: Option<Overlaps>,
    /// Corpora that may have the same questions without saying so.
    pub equal_ids: Vec<EqualIds>,
    /// Sorted.
    pub rejects: Vec<Reject>,
    /// Sorted by name.
    pub inputs: Vec<Input>,
}

/// Reads the pipeline's source files into a corpus. Runs on the calling thread's rayon pool.
///
/// # Errors
/// [`Error::Source`] for a bad file, [`Error::Rejects`] for too many bad records, [`Error::Setting`] for a split that
/// holds out nothing.
pub fn ingest(request: IngestRequest, observer: &dyn Observer) -> Result<Ingested> {
    let IngestRequest { pipeline, data, strict, threads } = request;
    if !data.is_dir() && !pipeline.is_remote() {
        return Err(Error::source(&data.display().to_string(), "no such folder")
            .with_hint("`--data` names the folder that pipeline paths start from"));
    }
    let allowed = if strict { Ratio::new(0, 1) } else { pipeline.max_rejects };
    if let Some(path) = &pipeline.negatives.path {
        // Before hours of reading.
        mined::find(path, data)?;
    }
    let lexicon = match &pipeline.code_switch {
        Some(spec) => {
            observer.begin("reading lexicons", None);
            let lexicon = Lexicon::read(spec, data, observer)?;
            check_rejects(&lexicon.rejects, lexicon.n_records, allowed)?;
            Some((spec.sides, lexicon))
        }
        None => None,
    };
    let mut all = Vec::new();
    for corpus in &pipeline.corpora {
        all.extend(units(corpus, data, observer)?);
    }
    observer.begin("reading sources", Some(all.len() as u64));
    let read: Vec<(RawTables, Vec<Input>)> = all
        .par_iter()
        .map(|unit| {
            let read = read_unit(unit);
            observer.advance(1);
            read
        })
        .collect::<Result<_>>()?;

    let mut inputs = Vec::new();
    let mut tables = Vec::new();
    // Of the corpora that the split names.
    let mut ids: HashMap<&str, HashSet<String>> = HashMap::new();
    let mut elsewhere = Elsewhere::default();
    let excluded = pipeline.split.as_ref().map_or(&[][..], |split| &split.exclude_ids_from);
    for (unit, (raw, files)) in all.iter().zip(read) {
        inputs.extend(files);
        let name = unit.corpus.name.as_str();
        if pipeline.split.as_ref().is_some_and(|split| split.names().any(|asked| asked == name)) {
            let ids = ids.entry(name).or_default();
            let groups = raw.queries.column(1).as_string_view();
            ids.extend(groups.iter().flatten().map(|group| split::bare_id(pipeline, group).to_owned()));
            ids.extend(raw.refused_ids.iter().cloned());
        }
        if excluded.iter().any(|excluded| excluded == name) {
            elsewhere.queries.push(raw.queries.clone());
            elsewhere.passages.push(raw.passages.clone());
        }
        // Of a corpus that is read for its ids, the rejects count all the same.
        tables.push(if unit.corpus.ids_only { raw.without_texts() } else { raw });
    }
    let raw = together(tables)?;
    check_rejects(&raw.rejects, raw.n_records, allowed)?;

    observer.begin("refining the corpus", None);
    let engine = Engine::new(threads)?;
    let (mut corpus, mut rejects) = refine::refine(&engine, pipeline, raw, &ids)?;
    if let Some(path) = &pipeline.negatives.path {
        observer.begin("reading mined negatives", None);
        let mined = mined::read(path, data, &corpus)?;
        check_rejects(&mined.rejects, mined.n_ids, allowed)?;
        corpus = corpus.with_negatives(mined.negatives);
        rejects.extend(mined.rejects);
        inputs.push(mined.input);
    }
    if let Some((sides, lexicon)) = lexicon {
        observer.begin("finding words to switch", None);
        let found = code_switch::find(sides, &corpus, &lexicon)?;
        rejects.extend(lexicon.rejects);
        inputs.extend(lexicon.inputs);
        corpus = corpus.with_code_switch(Some(found));
    }
    rejects.sort();
    inputs.sort();
    inputs.dedup();
    let overlaps = pipeline.split.as_ref().map(|_| leakage::overlaps(&corpus, &elsewhere));
    if let (Some(found), Some(split)) = (&overlaps, &pipeline.split) {
        leakage::check(found, split.max_overlap)?;
    }
    let equal_ids = equal_ids(pipeline, corpus.table(Table::Queries));
    Ok(Ingested { corpus, overlaps, equal_ids, rejects, inputs })
}

/// Fetches the sources that lie elsewhere, so that a later build finds them in the cache; gives their URLs and sizes.
///
/// # Errors
/// [`Error::Hub`] and [`Error::Source`] for what cannot be fetched.
pub fn fetch_sources(pipeline: &Pipeline, data: &Path, observer: &dyn Observer) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for corpus in pipeline.with_lexicons().iter().filter(|corpus| corpus.is_remote()) {
        for unit in units(corpus, data, observer)? {
            for file in unit.files {
                inputs.extend(file.inputs()?);
            }
        }
    }
    inputs.sort();
    inputs.dedup();
    Ok(inputs)
}

pub(super) fn read_unit(unit: &Unit) -> Result<(RawTables, Vec<Input>)> {
    let mut inputs = Vec::new();
    for file in &unit.files {
        inputs.extend(file.inputs()?);
    }
    Ok((formats::read(unit)?, inputs))
}

/// One table of each kind from those of all units; texts are not copied.
fn together(units: Vec<RawTables>) -> Result<RawTables> {
    let qrels = concat_qrels(&units);
    let n_records = units.iter().map(|unit| unit.n_records).sum();
    let (mut queries, mut passages) = (Vec::new(), Vec::new());
    let (mut rejects, mut refused_ids) = (Vec::new(), Vec::new());
    for unit in units {
        queries.push(unit.queries);
        passages.push(unit.passages);
        rejects.extend(unit.rejects);
        refused_ids.extend(unit.refused_ids);
    }
    Ok(RawTables {
        queries: concat(Table::Queries, queries)?,
        passages: concat(Table::Passages, passages)?,
        qrels,
        rejects,
        refused_ids,
        n_records,
    })
}

/// Column by column, and what is copied is freed at once: views weigh as much as short texts do.
fn concat(table: Table, parts: Vec<RecordBatch>) -> Result<RecordBatch> {
    let n: usize = parts.iter().map(RecordBatch::num_rows).sum();
    if u32::try_from(n).is_err() {
        return Err(Error::setting("corpora", format!("{n} {}, more than 2^32", table.name())));
    }
    let schema = raw_schema(table);
    let mut columns: Vec<Vec<ArrayRef>> = vec![Vec::new(); schema.fields().len()];
    for part in parts {
        let (_, of_part, _) = part.into_parts();
        columns.iter_mut().zip(of_part).for_each(|(column, part)| column.push(part));
    }
    let columns: Vec<ArrayRef> = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(parts, field)| match parts.len() {
            0 => new_empty_array(field.data_type()),
            _ => {
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                arrow::compute::concat(&parts).expect("parts of one type")
            }
        })
        .collect();
    Ok(RecordBatch::try_new(schema, columns).expect("columns of one length"))
}

/// Rows of questions and passages count from the first unit on.
fn concat_qrels(units: &[RawTables]) -> RecordBatch {
    let (mut query, mut passage) = (0, 0);
    let shifted: Vec<RecordBatch> = units
        .iter()
        .map(|unit| {
            let shift = |column: usize, by: u32| -> ArrayRef {
                let rows = unit.qrels.column(column).as_primitive::<UInt32Type>();
                Arc::new(UInt32Array::from_iter_values(rows.values().iter().map(|row| row + by)))
            };
            let columns = vec![shift(0, query), shift(1, passage), Arc::clone(unit.qrels.column(2))];
            query += unit.queries.num_rows() as u32;
            passage += unit.passages.num_rows() as u32;
            RecordBatch::try_new(qrels_schema(), columns).expect("the columns of judgements")
        })
        .collect();
    concat_batches(&qrels_schema(), &shifted).expect("tables of one schema")
}

fn check_rejects(rejects: &[Reject], n_records: u64, allowed: Ratio) -> Result<()> {
    let bad: Vec<&Reject> = rejects.iter().filter(|reject| reject.reason.is_bad()).collect();
    let n = bad.len() as u128;
    if n * u128::from(allowed.denominator()) <= u128::from(n_records) * u128::from(allowed.numerator()) {
        return Ok(());
    }
    let first = bad.into_iter().min().expect("more than none");
    Err(Error::Rejects {
        bad: n as u64,
        records: n_records,
        allowed: allowed.to_string(),
        first: Box::new(FirstReject {
            source: first.source.clone(),
            place: first.place.clone(),
            reason: first.reason.code().to_owned(),
            detail: first.detail.clone(),
        }),
    })
}
