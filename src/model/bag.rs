//! The static encoder: no layer, a text is the mean of its tokens' embeddings, each scaled by a weight that is learned.
//!
//! The weights begin at 1, or at the inverse document frequencies of the tokens. On export they are multiplied into the rows, and
//! the file is a StaticEmbedding of sentence-transformers.

use super::packed::Tokens;
use super::params::{Declarations, Id, Start, Weights};
use crate::error::Result;
use crate::kernels::{Node, embedding, scale_rows};

/// What a StaticEmbedding calls its table.
pub(super) const TABLE: &str = "embedding.weight";

/// Which parameter stands where.
#[derive(Clone, Debug)]
pub(super) struct Bag {
    pub(super) words: Id,
    /// (V, 1).
    pub(super) scales: Id,
}

impl Bag {
    pub(super) fn declare(vocab_size: usize, width: usize, params: &mut Declarations) -> Self {
        Self {
            words: params.matrix(TABLE, [vocab_size, width], Start::Normal((width as f64).powf(-0.5))),
            scales: params.joined(&["scales"], vocab_size, Start::Ones),
        }
    }

    /// (T, D), the vectors of the tokens.
    pub(super) fn forward(&self, weights: &Weights<Node>, tokens: &Tokens) -> Result<Node> {
        let rows = embedding(weights.get(self.words), tokens.rows.clone())?;
        let ids = tokens.ids.clone();
        let scales = Node::compose(&[weights.get(self.scales)], "scales", move |x| {
            embedding(&x[0].unsqueeze(1)?, ids.clone())?.flatten_all()
        })?;
        Ok(scale_rows(&rows, &scales)?)
    }
}
