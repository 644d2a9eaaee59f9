//! Where a format puts what it reads: questions, passages, judgements and rejects, column by column.
//!
//! Ids are put together here and nowhere else, so that every format's ids say alike where they come from.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, Int32Builder, RecordBatch, StringDictionaryBuilder, StringViewBuilder,
    UInt32Builder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};

use super::reject::Reject;
use crate::pipeline::CorpusSpec;
use crate::schema::Table;

/// Records of one unit of reading: a corpus in one language, or a whole corpus where a column names the language.
pub(super) struct Records {
    queries: Queries,
    passages: Passages,
    qrels: Qrels,
    rejects: Vec<Reject>,
    refused_ids: Vec<String>,
    n_records: u64,
}

#[derive(Default)]
struct Queries {
    query_id: StringViewBuilder,
    group_id: StringViewBuilder,
    dataset: StringDictionaryBuilder<Int32Type>,
    lang: StringDictionaryBuilder<Int32Type>,
    text: StringViewBuilder,
}

#[derive(Default)]
struct Passages {
    passage_id: StringViewBuilder,
    dataset: StringDictionaryBuilder<Int32Type>,
    lang: StringDictionaryBuilder<Int32Type>,
    text: StringViewBuilder,
    context_id: StringViewBuilder,
    title: StringDictionaryBuilder<Int32Type>,
}

/// By row: ids would be most of what judgements weigh.
#[derive(Default)]
struct Qrels {
    query: UInt32Builder,
    passage: UInt32Builder,
    relevance: Int32Builder,
}

/// A question in one language.
pub(super) struct Query<'a> {
    pub(super) query_id: &'a str,
    pub(super) group_id: &'a str,
    pub(super) dataset: &'a str,
    pub(super) lang: &'a str,
    pub(super) text: &'a str,
}

/// A passage in one language.
pub(super) struct Passage<'a> {
    pub(super) passage_id: &'a str,
    pub(super) dataset: &'a str,
    pub(super) lang: &'a str,
    pub(super) text: &'a str,
    pub(super) context_id: &'a str,
    pub(super) title: Option<&'a str>,
}

/// What a unit of reading gave: tables without `split`, in the order of the source.
pub(super) struct RawTables {
    pub(super) queries: RecordBatch,
    pub(super) passages: RecordBatch,
    /// `query` (row of a question of the judged group), `passage` (row), `relevance`.
    pub(super) qrels: RecordBatch,
    pub(super) rejects: Vec<Reject>,
    /// The source's own ids of questions among the rejects.
    pub(super) refused_ids: Vec<String>,
    /// Questions and other judged records, good and bad: what `max_rejects` is a share of.
    pub(super) n_records: u64,
}

impl RawTables {
    /// Rejects and counts only.
    pub(super) fn without_texts(self) -> Self {
        let Self { rejects, refused_ids, n_records, .. } = self;
        Self { rejects, refused_ids, n_records, ..Records::new().finish() }
    }
}

impl Records {
    pub(super) fn new() -> Self {
        Self {
            queries: Queries::default(),
            passages: Passages::default(),
            qrels: Qrels::default(),
            rejects: Vec::new(),
            refused_ids: Vec::new(),
            n_records: 0,
        }
    }

    /// Its row, to judge passages by.
    pub(super) fn query(&mut self, query: &Query) -> u32 {
        self.queries.query_id.append_value(query.query_id);
        self.queries.group_id.append_value(query.group_id);
        self.queries.dataset.append_value(query.dataset);
        self.queries.lang.append_value(query.lang);
        self.queries.text.append_value(query.text);
        self.queries.text.len() as u32 - 1
    }

    /// Its row, to be judged by.
    pub(super) fn passage(&mut self, passage: &Passage) -> u32 {
        self.passages.passage_id.append_value(passage.passage_id);
        self.passages.dataset.append_value(passage.dataset);
        self.passages.lang.append_value(passage.lang);
        self.passages.text.append_value(passage.text);
        self.passages.context_id.append_value(passage.context_id);
        // A title without text is none: articles that have nothing else in common would share it.
        self.passages.title.append_option(passage.title.filter(|title| !title.trim().is_empty()));
        self.passages.text.len() as u32 - 1
    }

    /// A text that is a question and a passage at once, under one id, and relevant to its own group: so each text of a
    /// group is answered by every other. `context`: id and title of where it was asked, if anywhere.
    /// Its row among the questions.
    pub(super) fn text(&mut self, text: &Query, context: Option<(&str, Option<&str>)>) -> u32 {
        let query = self.query(text);
        let (context_id, title) = context.unwrap_or((text.query_id, None));
        let passage = self.passage(&Passage {
            passage_id: text.query_id,
            dataset: text.dataset,
            lang: text.lang,
            text: text.text,
            context_id,
            title,
        });
        self.qrel(query, passage, 1);
        query
    }

    /// Judges a passage for the group of a question.
    pub(super) fn qrel(&mut self, query: u32, passage: u32, relevance: i32) {
        self.qrels.query.append_value(query);
        self.qrels.passage.append_value(passage);
        self.qrels.relevance.append_value(relevance);
    }

    pub(super) fn reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }

    /// The source's own id of a question that was refused: `ids_from` must hold out its translations all the same.
    pub(super) fn refuse_id(&mut self, id: String) {
        self.refused_ids.push(id);
    }

    pub(super) fn n_records(&self) -> u64 {
        self.n_records
    }

    /// Counts a record, whatever becomes of it.
    pub(super) fn count(&mut self) {
        self.n_records += 1;
    }

    pub(super) fn finish(mut self) -> RawTables {
        RawTables {
            queries: batch(
                &raw_schema(Table::Queries),
                vec![
                    Arc::new(self.queries.query_id.finish()),
                    Arc::new(self.queries.group_id.finish()),
                    Arc::new(self.queries.dataset.finish()),
                    Arc::new(self.queries.lang.finish()),
                    Arc::new(self.queries.text.finish()),
                ],
            ),
            passages: batch(
                &raw_schema(Table::Passages),
                vec![
                    Arc::new(self.passages.passage_id.finish()),
                    Arc::new(self.passages.dataset.finish()),
                    Arc::new(self.passages.lang.finish()),
                    Arc::new(self.passages.text.finish()),
                    Arc::new(self.passages.context_id.finish()),
                    Arc::new(self.passages.title.finish()),
                ],
            ),
            qrels: batch(
                &qrels_schema(),
                vec![
                    Arc::new(self.qrels.query.finish()),
                    Arc::new(self.qrels.passage.finish()),
                    Arc::new(self.qrels.relevance.finish()),
                ],
            ),
            rejects: self.rejects,
            refused_ids: self.refused_ids,
            n_records: self.n_records,
        }
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema.clone(), columns).expect("builders of the schema's types, appended together")
}

/// The columns of a corpus table before a split is known.
pub(super) fn raw_schema(table: Table) -> SchemaRef {
    let schema = table.loaded_schema();
    let fields: Vec<_> = schema.fields().iter().filter(|f| f.name() != "split").cloned().collect();
    Arc::new(Schema::new(fields))
}

/// The columns of judgements before they are joined.
pub(super) fn qrels_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("query", DataType::UInt32, false),
        Field::new("passage", DataType::UInt32, false),
        Field::new("relevance", DataType::Int32, false),
    ]))
}

/// Ids of one corpus.
#[derive(Clone, Copy)]
pub(super) struct Ids<'a> {
    pub(super) dataset: &'a str,
    parallel: bool,
}

impl<'a> Ids<'a> {
    pub(super) fn of(corpus: &'a CorpusSpec) -> Self {
        Self { dataset: &corpus.name, parallel: corpus.is_parallel() }
    }

    /// `DATASET/LANG/ID`, of a question, a passage or a context.
    pub(super) fn in_language(&self, lang: &str, id: &str) -> String {
        format!("{}/{lang}/{id}", self.dataset)
    }

    /// The question with all its translations.
    pub(super) fn group(&self, lang: &str, id: &str) -> String {
        if self.parallel { format!("{}/{id}", self.dataset) } else { self.in_language(lang, id) }
    }
}
