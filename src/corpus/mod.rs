//! The corpus: questions, passages and judgements, from whatever format they came in.
//!
//! [`ingest`] reads source files, keeps what it must refuse ([`Reject`]), and refines the rest in the query engine to
//! three tables in canonical order. Relevance belongs to the *group* (a question with all its translations), so the
//! tables grow with the languages, never with their square.

#[cfg(feature = "pipeline")]
mod formats;
#[cfg(feature = "pipeline")]
mod ingest;
#[cfg(feature = "pipeline")]
mod leakage;
mod overlap;
#[cfg(feature = "pipeline")]
mod records;
#[cfg(feature = "pipeline")]
mod refine;
mod rank;
mod reject;
mod source;
#[cfg(feature = "pipeline")]
mod split;

use arrow::array::{Array, AsArray, RecordBatch, StringArray, StringViewArray, TypedDictionaryArray};
use arrow::datatypes::Int32Type;

#[cfg(feature = "pipeline")]
pub use self::ingest::{IngestRequest, Ingested, fetch_sources, ingest};
pub use self::overlap::{Overlap, Overlaps};
pub(crate) use self::rank::Ranks;
pub use self::reject::{Reason, Reject};
pub use self::source::Input;
use crate::schema::Table;

/// The canonical corpus: the tables of `corpus/`, sorted by id, with every text in memory once.
#[derive(Clone, Debug)]
pub struct Corpus {
    queries: RecordBatch,
    passages: RecordBatch,
    qrels: RecordBatch,
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
        Self { queries, passages, qrels }
    }

    /// # Panics
    /// When the table is none of the corpus.
    #[must_use]
    pub fn table(&self, table: Table) -> &RecordBatch {
        match table {
            Table::Queries => &self.queries,
            Table::Passages => &self.passages,
            Table::Qrels => &self.qrels,
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
