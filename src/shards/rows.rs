//! From the numbers of a plan to the rows of a batch: pick by number, count masked pairs, put the columns together.
//!
//! The rule for false negatives (`schemas/SAMPLING.md`, section 5): passage j is no negative of query i when it answers
//! the group of i. Every row carries the groups that its passages answer, so a reader needs set membership only.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, ListArray, RecordBatch, StringArray,
    StringViewArray, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{Field, Int32Type};
use hashbrown::HashMap;

use super::cells::Cells;
use super::switch::Switcher;
use super::tokens::CorpusTokens;
use crate::corpus::Corpus;
use crate::digest::{Digest, put_bytes};
use crate::error::{Error, Result};
use crate::pairs::{Groups, Index, Pool, PoolName};
use crate::plan::{Plan, Row, Sampler};
use crate::schema::{DIGESTED_COLUMNS, Extra, Table};

/// A row of a batch, by number.
#[derive(Clone, Debug)]
pub(super) struct PickedRow {
    pub(super) pool: usize,
    pub(super) example: u64,
    pub(super) pass: u64,
    pub(super) group: u32,
    pub(super) query: u32,
    pub(super) positive: u32,
    /// Hard negatives, in [`Picked::negatives`].
    pub(super) negatives: Range<usize>,
}

impl PickedRow {
    /// As it was drawn.
    pub(super) fn draw(&self) -> Row {
        Row { pool: self.pool, example: self.example, pass: self.pass }
    }
}

/// A batch, by number.
#[derive(Clone, Debug)]
pub(super) struct Picked {
    pub(super) step: u64,
    pub(super) source: usize,
    pub(super) rows: Vec<PickedRow>,
    pub(super) negatives: Vec<u32>,
}

/// Picks batches; each thread has a clone.
#[derive(Clone)]
pub(super) struct Picker<'a> {
    sampler: Sampler,
    pools: Arc<Vec<Pool<'a>>>,
    index: &'a Index,
    has_negatives: bool,
}

impl<'a> Picker<'a> {
    /// # Errors
    /// [`Error::Plan`] when the plan's pools are not those of the corpus.
    pub(super) fn new(plan: &Plan, index: &'a Index) -> Result<Self> {
        let pools = plan.pools().into_iter().map(|(name, size)| {
            let wrong = |found: String| Error::Plan { found };
            let pool_name: PoolName = name.parse().map_err(wrong)?;
            let pool = index.pool(&pool_name)?.filter(|pool| pool.size() == size);
            pool.ok_or_else(|| {
                let there = index.pool(&pool_name).ok().flatten().map_or(0, |pool| pool.size());
                Error::Plan { found: format!("pool `{name}` of size {size}, the corpus gives {there}") }
            })
        });
        Ok(Self {
            sampler: Sampler::new(plan),
            pools: Arc::new(pools.collect::<Result<_>>()?),
            index,
            has_negatives: plan.hard_negatives().k != 0,
        })
    }

    /// For callers that look at questions and positives only.
    pub(super) fn without_negatives(self) -> Self {
        Self { has_negatives: false, ..self }
    }

    pub(super) fn pick(&mut self, step: u64) -> Result<Picked> {
        let draws = self.sampler.batch(step);
        let mut negatives = Vec::new();
        let mut rows = Vec::with_capacity(draws.rows.len());
        for row in draws.rows {
            let example = self.pools[row.pool].example(row.example)?;
            let first = negatives.len();
            if self.has_negatives {
                let candidates = self.index.negative_candidates(example)?;
                let picks = self.sampler.hard_negatives(row, candidates.len());
                negatives.extend(picks.map(|i| candidates[i]));
            }
            rows.push(PickedRow {
                pool: row.pool,
                example: row.example,
                pass: row.pass,
                group: example.group,
                query: example.query,
                positive: example.passage,
                negatives: first..negatives.len(),
            });
        }
        Ok(Picked { step, source: draws.source, rows, negatives })
    }
}

/// Ordered pairs (query i, passage j) that the rule masks, over the positives and hard negatives of all rows. A row's
/// own positive answers its group and is not masked.
pub(super) fn masked_pairs(batch: &Picked, index: &Index) -> Result<u32> {
    let mut of_group: HashMap<u32, u64> = HashMap::with_capacity(batch.rows.len());
    for row in &batch.rows {
        *of_group.entry(row.group).or_default() += 1;
    }
    let mut masked = 0;
    for &passage in batch.rows.iter().map(|row| &row.positive).chain(&batch.negatives) {
        for group in &*index.groups_answered(passage)? {
            masked += of_group.get(group).copied().unwrap_or(0);
        }
    }
    u32::try_from(masked - batch.rows.len() as u64).map_err(|_| {
        let found = format!("the batch at step {} masks more than 2^32 pairs", batch.step);
        Error::setting("batches.batch_size", found)
    })
}

/// Where the rows that the index numbers stand in columns.
pub(super) enum RowMap {
    /// At their number.
    Whole,
    /// Only these rows are there, ascending.
    Only(Vec<u32>),
}

impl RowMap {
    /// Where a row stands.
    ///
    /// # Panics
    /// When only some rows are there, and this is none of them.
    pub(super) fn position(&self, row: u32) -> usize {
        match self {
            Self::Whole => row as usize,
            Self::Only(known) => known.binary_search(&row).expect("every row that was picked was fetched"),
        }
    }

    fn positions(&self, rows: impl Iterator<Item = u32>) -> UInt32Array {
        UInt32Array::from_iter_values(rows.map(|row| self.position(row) as u32))
    }
}

/// Columns to take questions from.
pub(super) struct QueryColumns<'a> {
    pub(super) rows: RowMap,
    pub(super) group_id: &'a StringViewArray,
    pub(super) query_id: &'a StringViewArray,
    pub(super) lang: &'a DictionaryArray<Int32Type>,
    pub(super) text: &'a StringViewArray,
}

/// Columns to take passages from.
pub(super) struct PassageColumns<'a> {
    pub(super) rows: RowMap,
    pub(super) passage_id: &'a StringViewArray,
    pub(super) lang: &'a DictionaryArray<Int32Type>,
    pub(super) text: &'a StringViewArray,
}

/// Ids of groups, by number.
pub(super) struct GroupColumn<'a> {
    pub(super) rows: RowMap,
    pub(super) ids: &'a StringViewArray,
}

/// Puts batches together from columns and numbers. No text is copied: columns of views point into the corpus.
pub(super) struct Assembler<'a> {
    queries: QueryColumns<'a>,
    passages: PassageColumns<'a>,
    groups: GroupColumn<'a>,
    tokens: Option<&'a CorpusTokens>,
    switcher: Option<Switcher<'a>>,
    source_names: Arc<StringArray>,
    pool_names: Arc<StringArray>,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        plan: &Plan,
        queries: QueryColumns<'a>,
        passages: PassageColumns<'a>,
        groups: GroupColumn<'a>,
    ) -> Self {
        let source_names = StringArray::from_iter_values(plan.sources().iter().map(|s| s.name.as_str()));
        let pool_names = StringArray::from_iter_values(plan.pools().iter().map(|(name, _)| *name));
        Self {
            queries,
            passages,
            groups,
            tokens: None,
            switcher: None,
            source_names: Arc::new(source_names),
            pool_names: Arc::new(pool_names),
        }
    }

    /// The same with words switched, if there is a switcher.
    pub(super) fn switching(self, switcher: Option<Switcher<'a>>) -> Self {
        Self { switcher, ..self }
    }

    /// With `tokens`, batches have token columns.
    ///
    /// # Errors
    /// [`Error::Dataset`] when the plan switches words that the corpus does not have.
    pub(super) fn of_corpus(
        plan: &Plan,
        corpus: &'a Corpus,
        groups: &'a Groups,
        tokens: Option<&'a CorpusTokens>,
    ) -> Result<Self> {
        let lang = |table| {
            corpus.table(table).column_by_name("lang").expect("a corpus has languages").as_dictionary()
        };
        let queries = QueryColumns {
            rows: RowMap::Whole,
            group_id: corpus.texts(Table::Queries, "group_id"),
            query_id: corpus.texts(Table::Queries, "query_id"),
            lang: lang(Table::Queries),
            text: corpus.texts(Table::Queries, "text"),
        };
        let passages = PassageColumns {
            rows: RowMap::Whole,
            passage_id: corpus.texts(Table::Passages, "passage_id"),
            lang: lang(Table::Passages),
            text: corpus.texts(Table::Passages, "text"),
        };
        let groups = GroupColumn { rows: RowMap::Whole, ids: groups.ids() };
        let switcher = Switcher::of_corpus(plan, corpus)?;
        Ok(Self { tokens, ..Self::new(plan, queries, passages, groups) }.switching(switcher))
    }

    /// The table that [`Assembler::assemble`] gives.
    pub(super) fn table(&self) -> Table {
        Table::batches(Extra { tokens: self.tokens.is_some(), originals: self.switcher.is_some() })
    }

    /// What switches words, if anything does.
    pub(super) fn switcher(&self) -> Option<&Switcher<'a>> {
        self.switcher.as_ref()
    }

    /// The rows of these batches. `index` gives the groups that a passage answers.
    pub(super) fn assemble(&self, batches: &[Picked], index: &Index) -> Result<RecordBatch> {
        let rows = || batches.iter().flat_map(|batch| batch.rows.iter());
        let n_rows = rows().count();
        let queries = self.queries.rows.positions(rows().map(|row| row.query));
        let positives = self.passages.rows.positions(rows().map(|row| row.positive));
        let steps = batches.iter().flat_map(|batch| std::iter::repeat_n(batch.step, batch.rows.len()));
        let row_numbers = batches.iter().flat_map(|batch| 0..batch.rows.len() as u32);
        let sources =
            batches.iter().flat_map(|batch| std::iter::repeat_n(batch.source as i32, batch.rows.len()));
        let pools = rows().map(|row| row.pool as i32);
        let negatives = batches.iter().flat_map(|batch| batch.negatives.iter().copied());
        let negative_positions = self.passages.rows.positions(negatives.clone());
        let per_row = OffsetBuffer::from_lengths(rows().map(|row| row.negatives.len()));

        let texts = [
            taken(self.queries.text, &queries),
            taken(self.passages.text, &positives),
            taken(self.passages.text, &negative_positions),
        ];
        let switched = self.switcher.as_ref().map(|switcher| switcher.texts(batches, &texts)).transpose()?;
        let [query, positive, negative] = switched.as_ref().map_or(&texts, |switched| &switched.texts);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(steps)),
            Arc::new(UInt32Array::from_iter_values(row_numbers)),
            named(sources.collect(), &self.source_names),
            named(pools.collect(), &self.pool_names),
            Arc::new(UInt64Array::from_iter_values(rows().map(|row| row.example))),
            taken(self.queries.group_id, &queries),
            taken(self.queries.query_id, &queries),
            taken(self.queries.lang, &queries),
            Arc::clone(query),
            taken(self.passages.passage_id, &positives),
            taken(self.passages.lang, &positives),
            Arc::clone(positive),
            self.groups_of(rows().map(|row| row.positive), index)?,
            list(per_row.clone(), taken(self.passages.passage_id, &negative_positions)),
            list(per_row.clone(), Arc::clone(negative)),
            list(per_row.clone(), self.groups_of(negatives, index)?),
        ];
        if let Some(tokens) = self.tokens {
            let ids = [
                tokens.of_queries(&queries),
                tokens.of_passages(&positives),
                tokens.of_passages(&negative_positions),
            ];
            let [query, positive, negative] = match &switched {
                None => ids,
                Some(switched) => tokens.of_switched(&ids, switched)?,
            };
            columns.extend([query, positive, list(per_row.clone(), negative)]);
        }
        if let Some(switched) = switched {
            let [query, positive, negative] = switched.originals;
            columns.extend([query, positive, list(per_row, negative)]);
        }
        debug_assert!(columns.iter().all(|column| column.len() == n_rows), "columns of one length");
        Ok(RecordBatch::try_new(self.table().loaded_schema(), columns).expect("the columns of a batch"))
    }

    /// For each passage, the list of the groups that it answers.
    fn groups_of(&self, passages: impl Iterator<Item = u32>, index: &Index) -> Result<ArrayRef> {
        let (mut lengths, mut groups) = (Vec::new(), Vec::new());
        for passage in passages {
            let answered = index.groups_answered(passage)?;
            lengths.push(answered.len());
            groups.extend_from_slice(&answered);
        }
        let ids = taken(self.groups.ids, &self.groups.rows.positions(groups.into_iter()));
        Ok(list(OffsetBuffer::from_lengths(lengths), ids))
    }
}

fn taken(column: &dyn Array, rows: &UInt32Array) -> ArrayRef {
    take(column, rows, None).expect("row numbers of this column")
}

fn named(keys: Vec<i32>, names: &Arc<StringArray>) -> ArrayRef {
    Arc::new(
        DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), Arc::clone(names) as ArrayRef)
            .expect("keys are numbers of names"),
    )
}

fn list(offsets: OffsetBuffer<i32>, items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    Arc::new(ListArray::try_new(field, offsets, items, None).expect("offsets up to the items' length"))
}

/// The digest of a batch: the cells of its rows, every column from `source` to `negative_group_ids`.
pub(super) fn batch_digest(columns: &[Cells], rows: Range<usize>, buffer: &mut Vec<u8>) -> Digest {
    buffer.clear();
    for row in rows {
        for column in &columns[DIGESTED_COLUMNS] {
            column.put(buffer, row);
        }
    }
    Digest::of(buffer)
}

/// The dataset id: plan.json, the batch digests in step order, and the tables of the corpus; those of words that are
/// switched where there are any.
pub(super) fn dataset_id(plan_json: &[u8], digests: impl Iterator<Item = Digest>, corpus: &Corpus) -> Digest {
    use crate::digest::{Hasher, Sink};
    let mut hasher = Hasher::default();
    put_bytes(&mut hasher, plan_json);
    digests.for_each(|digest| put_bytes(&mut hasher, digest.as_bytes()));
    let mut buffer = Vec::new();
    for (table, rows) in corpus.tables() {
        put_bytes(&mut hasher, table.name().as_bytes());
        hasher.put(&(rows.num_rows() as u64).to_le_bytes());
        let columns = Cells::all(rows);
        for row in 0..rows.num_rows() {
            columns.iter().for_each(|column| column.put(&mut buffer, row));
            // Hashing much at once is several times faster than cell by cell.
            if 1 << 20 < buffer.len() {
                hasher.put(&buffer);
                buffer.clear();
            }
        }
        hasher.put(&buffer);
        buffer.clear();
    }
    hasher.finish()
}
