//! The corpus: questions, passages and judgements, from whatever format they came in.
//!
//! [`ingest`] reads source files, keeps what it must refuse ([`Reject`]), and refines the rest in the query engine to
//! three tables in canonical order. Relevance belongs to the *group* (a question with all its translations), so the
//! tables grow with the languages, never with their square.

mod code_switch;
#[cfg(feature = "pipeline")]
mod formats;
#[cfg(feature = "pipeline")]
mod ingest;
#[cfg(feature = "pipeline")]
mod leakage;
mod listing;
#[cfg(feature = "pipeline")]
mod mined;
mod overlap;
#[cfg(feature = "pipeline")]
mod records;
#[cfg(feature = "pipeline")]
mod refine;
mod rank;
mod reject;
#[cfg(feature = "pipeline")]
mod shared_ids;
mod source;
#[cfg(feature = "pipeline")]
mod split;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringViewArray, TypedDictionaryArray};
use arrow::datatypes::Int32Type;

pub use self::code_switch::CodeSwitch;
#[cfg(feature = "pipeline")]
pub use self::ingest::{IngestRequest, Ingested, fetch_sources, ingest};
pub use self::listing::{ListedCorpus, ListedPipeline, Presence, list};
pub use self::overlap::{Overlap, Overlaps};
pub(crate) use self::rank::{Ranks, Rows};
pub use self::reject::{Reason, Reject};
#[cfg(feature = "pipeline")]
pub use self::shared_ids::EqualIds;
pub use self::source::Input;
use crate::schema::Table;

/// The canonical corpus: the tables of `corpus/`, sorted by id, with every text in memory once.
#[derive(Clone, Debug)]
pub struct Corpus {
    queries: RecordBatch,
    passages: RecordBatch,
    qrels: RecordBatch,
    negatives: Option<RecordBatch>,
    code_switch: Option<CodeSwitch>,
}

/// A column of few distinct values.
pub type Names<'a> = TypedDictionaryArray<'a, Int32Type, StringArray>;

impl Corpus {
    /// The tables have the loaded schemas of [`Table::Queries`], [`Table::Passages`] and [`Table::Qrels`].
    ///
    /// # Panics
    /// When they have not.
    #[must_use]
    pub fn new(queries: RecordBatch, passages: RecordBatch, qrels: RecordBatch) -> Self {
        for (table, batch) in Table::CORPUS.into_iter().zip([&queries, &passages, &qrels]) {
            assert!(
                batch.schema().fields() == table.loaded_schema().fields(),
                "the columns of {} are those of its schema",
                table.name()
            );
        }
        Self { queries, passages, qrels, negatives: None, code_switch: None }
    }

    /// With mined hard negatives, in the loaded schema of [`Table::Negatives`].
    #[must_use]
    pub(crate) fn with_negatives(self, negatives: RecordBatch) -> Self {
        assert!(
            negatives.schema().fields() == Table::Negatives.loaded_schema().fields(),
            "the columns of negatives are those of its schema"
        );
        Self { negatives: Some(negatives), ..self }
    }

    /// Mined hard negatives, where the plan draws from them.
    #[must_use]
    pub fn negatives(&self) -> Option<&RecordBatch> {
        self.negatives.as_ref()
    }

    /// The same corpus with the words that its batches switch.
    #[must_use]
    pub fn with_code_switch(self, code_switch: Option<CodeSwitch>) -> Self {
        Self { code_switch, ..self }
    }

    /// Only where batches switch words.
    #[must_use]
    pub fn code_switch(&self) -> Option<&CodeSwitch> {
        self.code_switch.as_ref()
    }

    /// All that there are, in the order in which the dataset id takes them.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (Table, &RecordBatch)> {
        let tables = Table::CORPUS.into_iter().map(|table| (table, self.table(table)));
        let words = self.code_switch().into_iter();
        let words =
            words.flat_map(|found| [(Table::Words, found.words()), (Table::Lexicon, found.lexicon())]);
        tables.chain(self.negatives().map(|rows| (Table::Negatives, rows))).chain(words)
    }

    /// # Panics
    /// When the table is none of the corpus, or is not there.
    #[must_use]
    pub fn table(&self, table: Table) -> &RecordBatch {
        match table {
            Table::Queries => &self.queries,
            Table::Passages => &self.passages,
            Table::Qrels => &self.qrels,
            Table::Negatives => self.negatives().expect("asked for where the corpus has them"),
            _ => panic!("{} is no table of a corpus", table.name()),
        }
    }

    #[must_use]
    pub fn texts(&self, table: Table, column: &str) -> &StringViewArray {
        self.column(table, column).as_string_view()
    }

    #[must_use]
    pub fn names(&self, table: Table, column: &str) -> Names<'_> {
        self.column(table, column)
            .as_dictionary::<Int32Type>()
            .downcast_dict()
            .expect("names are dictionaries of texts")
    }

    /// Of [`Table::Qrels`].
    #[must_use]
    pub fn relevance(&self) -> &[i32] {
        self.qrels.column(2).as_primitive::<Int32Type>().values()
    }

    fn column(&self, table: Table, column: &str) -> &dyn Array {
        self.table(table).column_by_name(column).expect("the columns were checked")
    }
}
