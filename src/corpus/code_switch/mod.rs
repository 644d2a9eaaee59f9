//! Words that a lexicon translates: where they stand in the texts that are trained on, and what they may become.
//!
//! Words are found once, when a dataset is built ([`find`]), and kept as two tables. So whoever derives a batch needs
//! neither the lexicons nor a dictionary of where Thai, Chinese and Japanese words end. Which of these words a batch
//! replaces is no matter of the corpus but of the plan.

#[cfg(feature = "pipeline")]
mod find;
#[cfg(feature = "pipeline")]
mod lexicon;

use arrow::array::RecordBatch;

#[cfg(feature = "pipeline")]
pub(super) use self::{find::find, lexicon::Lexicon};
use crate::schema::Table;

/// The tables [`Table::Words`] and [`Table::Lexicon`] of a corpus.
#[derive(Clone, Debug)]
pub struct CodeSwitch {
    words: RecordBatch,
    lexicon: RecordBatch,
}

impl CodeSwitch {
    /// The tables have the loaded schemas of [`Table::Words`] and [`Table::Lexicon`].
    ///
    /// # Panics
    /// When they have not.
    #[must_use]
    pub fn new(words: RecordBatch, lexicon: RecordBatch) -> Self {
        for (table, batch) in Table::CODE_SWITCH.into_iter().zip([&words, &lexicon]) {
            assert!(
                batch.schema().fields() == table.loaded_schema().fields(),
                "the columns of {} are those of its schema",
                table.name()
            );
        }
        Self { words, lexicon }
    }

    #[must_use]
    pub fn words(&self) -> &RecordBatch {
        &self.words
    }

    #[must_use]
    pub fn lexicon(&self) -> &RecordBatch {
        &self.lexicon
    }
}
