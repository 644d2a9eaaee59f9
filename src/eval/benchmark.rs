//! What is searched, by whom, and what is found: the tables of a part of a dataset, in the order of evaluation.
//!
//! Queries are ordered by (group, language, id), so that a block of neighbours shares its relevant passages. Passages
//! are ordered by (language, id), so that the passages of a language are one range and ids ascend within it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, ArrayAccessor};

use crate::corpus::{Corpus, Ranks};
use crate::digest::{Digest, Hasher, put_bytes, put_count, put_integer, put_unsigned};
use crate::error::{Error, Result};
use crate::schema::Table;
use crate::shards::{Dataset, Part};

/// Queries, passages and judgements to evaluate on. Whatever is indexed by query or passage is in its order.
pub struct Benchmark {
    corpus: Corpus,
    languages: Vec<String>,
    queries: Vec<Query>,
    /// The row of each passage in its table.
    passage_rows: Vec<u32>,
    /// The place of each passage's id among all ids, in byte order: what decides ties.
    id_ranks: Vec<u32>,
    language_ranges: Vec<Range<usize>>,
    groups: Ranks,
    /// By group, in the order of passages.
    relevant: Vec<Vec<Relevant>>,
    relevant_outside_pool: u64,
    digest: Digest,
}

/// A question in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    row: u32,
    pub(super) group: u32,
    /// Its place in [`Benchmark::languages`].
    pub(super) language: usize,
}

/// A passage that answers a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relevant {
    pub(super) passage: usize,
    pub(super) language: usize,
    /// Above 0.
    pub(super) relevance: i32,
}

impl Benchmark {
    /// # Errors
    /// [`Error::Dataset`] when the part cannot be read, has no queries or no passages, or an id stands there twice.
    pub fn read(dataset: &Dataset, part: Part) -> Result<Self> {
        Self::new(dataset.root(), dataset.part(part)?)
    }

    pub(super) fn new(root: &Path, corpus: Corpus) -> Result<Self> {
        let query_languages = corpus.names(Table::Queries, "lang");
        let passage_languages = corpus.names(Table::Passages, "lang");
        let n_queries = corpus.table(Table::Queries).num_rows();
        let n_passages = corpus.table(Table::Passages).num_rows();
        if n_queries == 0 || n_passages == 0 {
            let found = format!("{n_queries} queries and {n_passages} passages to evaluate on");
            return Err(Error::dataset(root, found).with_hint(
                "`--splits all` takes the whole corpus; `split.eval` in the pipeline holds a part out",
            ));
        }
        let languages: BTreeSet<&str> = (0..n_queries)
            .map(|row| query_languages.value(row))
            .chain((0..n_passages).map(|row| passage_languages.value(row)))
            .collect();
        let languages: Vec<String> = languages.into_iter().map(str::to_owned).collect();
        let number = |language: &str| {
            languages
                .binary_search_by(|known| known.as_str().cmp(language))
                .expect("collected from both tables")
        };

        let ids = unique_ids(root, &corpus, Table::Passages)?;
        let language_of_row: Vec<usize> =
            (0..n_passages).map(|row| number(passage_languages.value(row))).collect();
        let mut passage_rows: Vec<u32> = (0..n_passages as u32).collect();
        passage_rows.sort_unstable_by_key(|&row| (language_of_row[row as usize], ids.of_row[row as usize]));
        let id_ranks: Vec<u32> = passage_rows.iter().map(|&row| ids.of_row[row as usize]).collect();
        let mut first = 0;
        let language_ranges: Vec<Range<usize>> = (0..languages.len())
            .map(|language| {
                let rest = &passage_rows[first..];
                let n = rest.partition_point(|&row| language_of_row[row as usize] == language);
                first += n;
                first - n..first
            })
            .collect();

        let query_ids = unique_ids(root, &corpus, Table::Queries)?;
        let group_ids = corpus.texts(Table::Queries, "group_id");
        let groups = Ranks::of(group_ids);
        let mut queries: Vec<Query> = (0..n_queries as u32)
            .map(|row| Query {
                row,
                group: groups.of_row[row as usize],
                language: number(query_languages.value(row as usize)),
            })
            .collect();
        queries.sort_unstable_by_key(|q| (q.group, q.language, query_ids.of_row[q.row as usize]));

        let mut benchmark = Self {
            corpus,
            languages,
            queries,
            passage_rows,
            id_ranks,
            language_ranges,
            groups,
            relevant: Vec::new(),
            relevant_outside_pool: 0,
            digest: Digest::of(&[]),
        };
        benchmark.judge(&ids);
        benchmark.digest = benchmark.contents();
        Ok(benchmark)
    }

    /// The digest of all that numbers follow from (`schemas/EVAL.md`, section 1).
    fn contents(&self) -> Digest {
        let mut hasher = Hasher::default();
        put_count(&mut hasher, self.n_queries());
        let put = |hasher: &mut Hasher, text: &str| put_bytes(hasher, text.as_bytes());
        for (query, text) in self.query_texts().enumerate() {
            let language = &self.languages[self.queries[query].language];
            let row = [self.query_id(query), self.group_id(query), language, text];
            row.into_iter().for_each(|cell| put(&mut hasher, cell));
        }
        put_count(&mut hasher, self.n_passages());
        for (passage, text) in self.passage_texts().enumerate() {
            let row = [self.passage_id(passage), &self.languages[self.language_of(passage)], text];
            row.into_iter().for_each(|cell| put(&mut hasher, cell));
        }
        put_count(&mut hasher, self.relevant.iter().map(Vec::len).sum());
        for (group, relevant) in self.relevant.iter().enumerate() {
            for relevant in relevant {
                put_unsigned(&mut hasher, group as u64);
                put_unsigned(&mut hasher, relevant.passage as u64);
                put_integer(&mut hasher, relevant.relevance.into());
            }
        }
        put_unsigned(&mut hasher, self.relevant_outside_pool);
        hasher.finish()
    }

    /// Sorts the judgements of relevance by group. Those of other parts' groups are no concern of this one.
    fn judge(&mut self, ids: &Ranks) {
        let corpus = &self.corpus;
        let (group_ids, passage_ids) =
            (corpus.texts(Table::Queries, "group_id"), corpus.texts(Table::Passages, "passage_id"));
        let (of_group, of_passage) =
            (corpus.texts(Table::Qrels, "group_id"), corpus.texts(Table::Qrels, "passage_id"));
        let mut place_of_id = vec![0; self.id_ranks.len()];
        self.id_ranks.iter().enumerate().for_each(|(place, &id)| place_of_id[id as usize] = place);
        let mut relevant: Vec<Vec<Relevant>> = vec![Vec::new(); self.groups.rows.len()];
        for (row, &relevance) in
            corpus.relevance().iter().enumerate().filter(|(_, relevance)| 0 < **relevance)
        {
            let Some(group) = self.groups.find(group_ids, of_group.value(row)) else { continue };
            let Some(id) = ids.find(passage_ids, of_passage.value(row)) else {
                self.relevant_outside_pool += 1;
                continue;
            };
            let passage = place_of_id[id as usize];
            let language = self.language_of(passage);
            relevant[group as usize].push(Relevant { passage, language, relevance });
        }
        relevant.iter_mut().for_each(|passages| passages.sort_unstable_by_key(|r| r.passage));
        self.relevant = relevant;
    }

    /// Of queries or passages, in byte order.
    #[must_use]
    pub fn languages(&self) -> &[String] {
        &self.languages
    }

    #[must_use]
    pub fn n_queries(&self) -> usize {
        self.queries.len()
    }

    #[must_use]
    pub fn n_passages(&self) -> usize {
        self.passage_rows.len()
    }

    #[must_use]
    pub fn n_groups(&self) -> usize {
        self.relevant.len()
    }

    #[must_use]
    pub fn query_ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.query_column("query_id")
    }

    /// Equal where numbers can be compared: it covers queries, passages and judgements, but not the batches beside them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What an encoder reads, query by query.
    #[must_use]
    pub fn query_texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.query_column("text")
    }

    #[must_use]
    pub fn passage_ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.passage_column("passage_id")
    }

    /// What an encoder reads, passage by passage.
    #[must_use]
    pub fn passage_texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.passage_column("text")
    }

    /// Judgements of relevance whose passage is not there to be found. They count nowhere.
    #[must_use]
    pub fn relevant_outside_pool(&self) -> u64 {
        self.relevant_outside_pool
    }

    pub(super) fn query_id(&self, query: usize) -> &str {
        self.corpus.texts(Table::Queries, "query_id").value(self.queries[query].row as usize)
    }

    pub(super) fn group_id(&self, query: usize) -> &str {
        self.corpus.texts(Table::Queries, "group_id").value(self.queries[query].row as usize)
    }

    pub(super) fn passage_id(&self, passage: usize) -> &str {
        self.corpus.texts(Table::Passages, "passage_id").value(self.passage_rows[passage] as usize)
    }

    pub(super) fn queries(&self) -> &[Query] {
        &self.queries
    }

    /// The passages of a language; empty where it has queries only.
    pub(super) fn passages_of(&self, language: usize) -> Range<usize> {
        self.language_ranges[language].clone()
    }

    pub(super) fn language_of(&self, passage: usize) -> usize {
        self.language_ranges.partition_point(|range| range.end <= passage)
    }

    pub(super) fn id_ranks(&self) -> &[u32] {
        &self.id_ranks
    }

    /// What answers a query, in the order of passages.
    pub(super) fn relevant(&self, query: usize) -> &[Relevant] {
        &self.relevant[self.queries[query].group as usize]
    }

    /// (query id, passage id, relevance) of every judgement of a passage that is there, zeros too.
    pub(crate) fn judgements(&self) -> impl Iterator<Item = (&str, &str, i32)> {
        let group_ids = self.corpus.texts(Table::Queries, "group_id");
        let of_group = self.corpus.texts(Table::Qrels, "group_id");
        let of_passage = self.corpus.texts(Table::Qrels, "passage_id");
        let known: hashbrown::HashSet<&str> = self.passage_ids().collect();
        (0..of_group.len())
            .filter_map(move |row| {
                let group = self.groups.find(group_ids, of_group.value(row))?;
                let passage = *known.get(of_passage.value(row))?;
                let first = self.queries.partition_point(|q| q.group < group);
                let n = self.queries[first..].partition_point(|q| q.group == group);
                let relevance = self.corpus.relevance()[row];
                Some((first..first + n).map(move |query| (self.query_id(query), passage, relevance)))
            })
            .flatten()
    }

    fn query_column(&self, column: &str) -> impl ExactSizeIterator<Item = &str> {
        let texts = self.corpus.texts(Table::Queries, column);
        self.queries.iter().map(move |query| texts.value(query.row as usize))
    }

    fn passage_column(&self, column: &str) -> impl ExactSizeIterator<Item = &str> {
        let texts = self.corpus.texts(Table::Passages, column);
        self.passage_rows.iter().map(move |&row| texts.value(row as usize))
    }
}

fn unique_ids(root: &Path, corpus: &Corpus, table: Table) -> Result<Ranks> {
    let column = table.sorted_by()[0];
    let ids = corpus.texts(table, column);
    let ranks = Ranks::of(ids);
    let twice = ranks.of_row.iter().enumerate().find(|&(row, &n)| ranks.rows[n as usize] as usize != row);
    match twice {
        None => Ok(ranks),
        Some((row, _)) => Err(Error::dataset(
            root,
            format!("{column} `{}` stands twice in {}", ids.value(row), table.name()),
        )),
    }
}

/// Benchmarks without a dataset, for tests.
#[cfg(test)]
pub(super) mod made {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use arrow::compute::cast;

    use super::Benchmark;
    use crate::corpus::Corpus;
    use crate::schema::Table;

    /// A query or a passage: (id, group, language); passages have no group.
    pub(in crate::eval) type Row<'a> = (&'a str, &'a str, &'a str);

    /// Judgements are (group, passage, relevance).
    pub(in crate::eval) fn benchmark(
        queries: &[Row],
        passages: &[Row],
        judgements: &[(&str, &str, i32)],
    ) -> Benchmark {
        let texts = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
        let table = |table: Table, rows: &[Row]| {
            let schema = table.loaded_schema();
            let columns = schema.fields().iter().map(|field| {
                let of_row = |row: &Row| match field.name().as_str() {
                    "group_id" => Some(row.1.to_owned()),
                    "lang" => Some(row.2.to_owned()),
                    "title" | "split" => None,
                    _ => Some(row.0.to_owned()),
                };
                let column: ArrayRef = Arc::new(rows.iter().map(of_row).collect::<StringArray>());
                cast(&column, field.data_type()).unwrap()
            });
            RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
        };
        let schema = Table::Qrels.loaded_schema();
        let columns: [ArrayRef; 3] = [
            texts(judgements.iter().map(|j| j.0).collect()),
            texts(judgements.iter().map(|j| j.1).collect()),
            Arc::new(judgements.iter().map(|j| j.2).collect::<Int32Array>()),
        ];
        let columns = columns
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| cast(column, field.data_type()).unwrap());
        let qrels = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        let corpus = Corpus::new(table(Table::Queries, queries), table(Table::Passages, passages), qrels);
        Benchmark::new(Path::new("made"), corpus).unwrap()
    }
}
