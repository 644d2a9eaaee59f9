//! The texts of a benchmark to vectors, by an encoder.

use std::path::Path;

use super::{Benchmark, Embeddings};
use crate::error::Result;
use crate::model::{Encoder, Role};
use crate::progress::Observer;

/// Encodes all questions and passages. Equal texts of one role get equal vectors, so they tie.
///
/// # Errors
/// [`crate::Error::Compute`], and [`crate::Error::Evaluate`] when a vector is not finite.
pub fn encode(benchmark: &Benchmark, encoder: &Encoder, observer: &dyn Observer) -> Result<Embeddings> {
    let queries: Vec<&str> = benchmark.query_texts().collect();
    let passages: Vec<&str> = benchmark.passage_texts().collect();
    let queries = encoder.encode(Role::Query, &queries, observer)?;
    let passages = encoder.encode(Role::Passage, &passages, observer)?;
    Embeddings::new(
        benchmark,
        Path::new("the encoder's vectors"),
        encoder.network().width(),
        queries,
        passages,
    )
}
