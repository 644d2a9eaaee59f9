//! Loss and gradients of one batch, whole or in parts.
//!
//! In parts, gradients are cached (Gao et al. 2021): all parts are encoded once without a graph, the loss gives the
//! gradient of every vector, and each part is encoded again to carry its share of it to the weights. Memory is that of
//! one part; the gradients are those of the whole batch.

use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::data::TrainBatch;
use crate::error::Result;
use crate::kernels::{InfoNce, info_nce};
use crate::model::{Mode, Network, Tokens, Weights};

/// What a batch gives to the optimiser.
pub(super) struct Gradients {
    pub(super) loss: f64,
    /// Rows of the table of word embeddings that the batch touches, ascending.
    pub(super) touched: Vec<u32>,
    /// One for each parameter, in order, where there is one; for the table, of the touched rows alone.
    pub(super) of: Vec<Option<Tensor>>,
    /// (B + M, D), the vectors of queries and passages.
    pub(super) vectors: Tensor,
}

/// How a batch is computed.
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    pub(super) values: &'a [Var],
    pub(super) loss: &'a InfoNce,
    pub(super) mode: Mode,
    pub(super) parts: Parts,
}

/// Where a batch is cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    /// Most texts of a part.
    pub(super) texts: Option<usize>,
    /// Most tokens of a part; a longer text is a part of its own.
    pub(super) tokens: Option<usize>,
}

impl Parts {
    fn ranges(self, texts: &[Vec<u32>]) -> Vec<Range<usize>> {
        let (mut ranges, mut start, mut n_tokens) = (Vec::new(), 0, 0);
        for (n, text) in texts.iter().enumerate() {
            let too_many = self.texts.is_some_and(|most| most <= n - start)
                || self.tokens.is_some_and(|most| most < n_tokens + text.len());
            if start < n && too_many {
                ranges.push(start..n);
                (start, n_tokens) = (n, 0);
            }
            n_tokens += text.len();
        }
        ranges.push(start..texts.len());
        ranges
    }
}

impl Pass<'_> {
    /// # Errors
    /// [`crate::Error::Compute`].
    pub(super) fn gradients(&self, batch: &TrainBatch) -> Result<Gradients> {
        let words = self.network.words();
        let mut touched: Vec<u32> = batch.texts.iter().flatten().copied().collect();
        touched.sort_unstable();
        touched.dedup();
        let table = words.of(self.values);
        let rows = Tensor::new(touched.as_slice(), table.device())?;
        let rows = Var::from_tensor(&table.as_detached_tensor().index_select(&rows, 0)?)?;
        let variables: Vec<&Var> = self
            .network
            .parameters()
            .iter()
            .zip(self.values)
            .map(|((id, _), var)| if id == words { &rows } else { var })
            .collect();
        let weights = Weights::new(variables.iter().map(|var| var.as_tensor().clone()).collect());

        let ranges = self.parts.ranges(&batch.texts);
        let mut parts = Vec::with_capacity(ranges.len());
        let mut first_token = 0;
        for range in ranges {
            let texts = &batch.texts[range.clone()];
            let tokens = Tokens::pack(texts.iter().map(Vec::as_slice), first_token)?.over(&touched);
            first_token += tokens.segments.n_tokens() as u64;
            parts.push((range, tokens));
        }
        if let [(_, tokens)] = parts.as_slice() {
            let vectors = self.network.forward(&weights, tokens, self.mode)?;
            let loss = self.loss_of(&vectors, batch)?;
            let store = loss.backward()?;
            let of = variables.iter().map(|var| store.get(var.as_tensor()).cloned()).collect();
            return Ok(Gradients { loss: scalar(&loss)?, touched, of, vectors: vectors.detach() });
        }
        let detached = Weights::new(variables.iter().map(|var| var.as_detached_tensor()).collect());
        let vectors = parts.iter().map(|(_, tokens)| self.network.forward(&detached, tokens, self.mode));
        let vectors = Var::from_tensor(&Tensor::cat(&vectors.collect::<Result<Vec<_>>>()?, 0)?)?;
        let loss = self.loss_of(vectors.as_tensor(), batch)?;
        let of_vectors = loss.backward()?;
        let of_vectors = of_vectors.get(vectors.as_tensor()).expect("the loss depends on the vectors").detach();
        let mut of: Vec<Option<Tensor>> = vec![None; variables.len()];
        for (range, tokens) in &parts {
            let part = self.network.forward(&weights, tokens, self.mode)?;
            let share = of_vectors.narrow(0, range.start, range.len())?;
            let store = (part * share)?.sum_all()?.backward()?;
            add(&mut of, &variables, &store)?;
        }
        Ok(Gradients { loss: scalar(&loss)?, touched, of, vectors: vectors.as_detached_tensor() })
    }

    fn loss_of(&self, vectors: &Tensor, batch: &TrainBatch) -> Result<Tensor> {
        let n_queries = batch.n_queries;
        let queries = vectors.narrow(0, 0, n_queries)?;
        let passages = vectors.narrow(0, n_queries, vectors.dim(0)? - n_queries)?;
        Ok(info_nce(&queries, &passages, &InfoNce { mask: batch.mask.clone(), ..self.loss.clone() })?)
    }
}

fn add(sums: &mut [Option<Tensor>], variables: &[&Var], store: &GradStore) -> Result<()> {
    for (sum, var) in sums.iter_mut().zip(variables) {
        if let Some(gradient) = store.get(var.as_tensor()) {
            *sum = Some(match sum.take() {
                Some(sum) => (sum + gradient)?,
                None => gradient.clone(),
            });
        }
    }
    Ok(())
}

fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(candle_core::DType::F64)?.to_scalar()?)
}
