//! The DataFusion session that the corpus is refined in, with every knob that could change a result pinned.
//!
//! Order is only what ORDER BY says: every statement of ours ends in one on a unique key, so that neither partitions
//! nor thread timing reach a dataset. Async ends here; callers hand over SQL and get batches.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewBuilder};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::datasource::MemTable;
use datafusion::execution::context::{SessionConfig, SessionContext};
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};

/// Rows that the engine handles at a time; part of no result.
const BATCH_ROWS: usize = 8192;

/// An embedded query engine over tables in memory.
pub struct Engine {
    runtime: tokio::runtime::Runtime,
    session: SessionContext,
}

impl Engine {
    /// # Errors
    /// [`Error::Engine`] when threads cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .build()
            .map_err(|e| failed("start the query engine", e))?;
        let config = SessionConfig::new()
            .with_target_partitions(threads)
            .with_batch_size(BATCH_ROWS)
            .with_collect_statistics(false)
            .with_information_schema(false)
            .set_bool("datafusion.sql_parser.enable_ident_normalization", false);
        let session = SessionContext::new_with_config(config);
        session.register_udf(create_udf(
            "normalise",
            vec![DataType::Utf8View],
            DataType::Utf8View,
            Volatility::Immutable,
            Arc::new(normalise_column),
        ));
        Ok(Self { runtime, session })
    }

    /// Makes a table known to SQL, in place of one of the same name.
    ///
    /// # Errors
    /// [`Error::Engine`], only from a bug of ours.
    pub fn register(&self, name: &str, table: &RecordBatch) -> Result<()> {
        let at = "register a table";
        let slices = (0..table.num_rows())
            .step_by(BATCH_ROWS)
            .map(|start| table.slice(start, BATCH_ROWS.min(table.num_rows() - start)))
            .collect();
        let table = MemTable::try_new(table.schema(), vec![slices]).map_err(|e| failed(at, e))?;
        self.session.deregister_table(name).map_err(|e| failed(at, e))?;
        self.session.register_table(name, Arc::new(table)).map_err(|e| failed(at, e))?;
        Ok(())
    }

    /// Drops a table; what it alone held is freed.
    ///
    /// # Errors
    /// As [`Engine::register`].
    pub fn forget(&self, name: &str) -> Result<()> {
        self.session.deregister_table(name).map_err(|e| failed("forget a table", e))?;
        Ok(())
    }

    /// Runs one SELECT. `action` says what for, should it fail.
    ///
    /// # Errors
    /// [`Error::Engine`] when the engine runs out of memory or disk.
    pub fn query(&self, action: &'static str, sql: &str) -> Result<RecordBatch> {
        let batches = self.runtime.block_on(async {
            let frame = self.session.sql(sql).await?;
            let schema = Arc::clone(frame.schema().inner());
            let batches = frame.collect().await?;
            Ok::<_, DataFusionError>(concat_batches(&schema, &batches)?)
        });
        batches.map_err(|e| failed(action, e))
    }
}

fn failed(action: &'static str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Engine { action, source: Box::new(e) }
}

/// The key under which two texts are the same after normalisation: NFKC, lower case, white space folded.
#[must_use]
pub fn normalise(text: &str) -> String {
    let folded: String = text.nfkc().flat_map(char::to_lowercase).nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn normalise_column(arguments: &[ColumnarValue]) -> Result<ColumnarValue, DataFusionError> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let texts = arrays[0].as_string_view();
    let mut keys = StringViewBuilder::with_capacity(texts.len());
    for text in texts {
        keys.append_option(text.map(normalise));
    }
    Ok(ColumnarValue::Array(Arc::new(keys.finish()) as ArrayRef))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_folds_width_case_and_white_space() {
        assert_eq!(normalise("  Ｆｏｏ\u{a0}\n BAR "), "foo bar");
        assert_eq!(normalise("e\u{301}"), "é");
    }
}
