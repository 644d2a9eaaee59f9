//! Loss and gradients of one batch, whole or in parts.
//!
//! In parts, gradients are cached (Gao et al. 2021): all parts are encoded once without a graph, the loss gives the
//! gradient of every vector, and each part is encoded again to carry its share of it to the weights. Memory is that of
//! one part; the gradients are those of the whole batch.

use std::ops::Range;
use std::time::Instant;

use candle_core::{DType, Tensor};

use super::data::TrainBatch;
use super::frozen::Frozen;
use super::ranks::{Communicator, share};
use crate::error::Result;
use crate::kernels::{InfoNce, Node, Operand as _, Tape, Times, add, info_nce_with_gradients};
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
    /// Seconds that each op took.
    pub(super) times: Times,
}

/// How a batch is computed.
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    /// What the network computes with.
    pub(super) values: &'a Weights,
    /// What has no gradient.
    pub(super) frozen: &'a Frozen,
    pub(super) loss: &'a InfoNce,
    pub(super) mode: Mode,
    pub(super) parts: Parts,
    pub(super) ranks: &'a dyn Communicator,
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
    /// Cuts a run of texts.
    fn cut(self, texts: &[Vec<u32>], run: Range<usize>) -> Vec<Range<usize>> {
        let (mut ranges, mut start, mut n_tokens) = (Vec::new(), run.start, 0);
        for n in run.clone() {
            let text = &texts[n];
            let too_many = self.texts.is_some_and(|most| most <= n - start)
                || self.tokens.is_some_and(|most| most < n_tokens + text.len());
            if start < n && too_many {
                ranges.push(start..n);
                (start, n_tokens) = (n, 0);
            }
            n_tokens += text.len();
        }
        ranges.push(start..run.end);
        ranges
    }

    /// Whether nothing is cut.
    fn are_whole(self) -> bool {
        self.texts.is_none() && self.tokens.is_none()
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
        let values = self.network.parameters().iter().zip(self.values.iter()).map(|((id, _), value)| {
            if id != words {
                return Ok(value.clone());
            }
            let rows = Tensor::new(touched.as_slice(), value.device())?;
            value.index_select(&rows, 0)
        });
        let weights = Weights::new(values.collect::<candle_core::Result<Vec<_>>>()?);

        let mut first_tokens = vec![0];
        for text in &batch.texts {
            first_tokens.push(first_tokens[first_tokens.len() - 1] + text.len() as u64);
        }
        let mut parts = Vec::new();
        for range in share(batch, self.ranks).into_iter().flat_map(|run| self.parts.cut(&batch.texts, run)) {
            let texts = batch.texts[range.clone()].iter().map(Vec::as_slice);
            let tokens = Tokens::pack(texts, first_tokens[range.start])?.over(&touched);
            parts.push((range, tokens));
        }
        let mut times = Times::new();
        let mut sums = vec![None; self.values.as_slice().len()];
        let of_part =
            |of_vectors: &Tensor, range: &Range<usize>| of_vectors.narrow(0, range.start, range.len());
        let (loss, vectors) = if self.parts.are_whole() || parts.len() == 1 {
            let traced = parts.iter().map(|(_, tokens)| Traced::new(self, &weights, tokens));
            let traced = traced.collect::<Result<Vec<_>>>()?;
            let own: Vec<Tensor> = traced.iter().map(|traced| traced.vectors.tensor().clone()).collect();
            let vectors = self.of_all_ranks(batch, &parts, &own)?;
            let (loss, of_vectors) = self.loss_of(&vectors, batch, &mut times)?;
            for (traced, (range, _)) in traced.into_iter().zip(&parts) {
                traced.backward(of_part(&of_vectors, range)?, &mut sums, &mut times)?;
            }
            (loss, vectors)
        } else {
            let constant = weights.constant();
            let own = parts
                .iter()
                .map(|(_, tokens)| Ok(self.network.forward(&constant, tokens, self.mode)?.tensor().clone()));
            let vectors = self.of_all_ranks(batch, &parts, &own.collect::<Result<Vec<_>>>()?)?;
            let (loss, of_vectors) = self.loss_of(&vectors, batch, &mut times)?;
            for (range, tokens) in &parts {
                let traced = Traced::new(self, &weights, tokens)?;
                traced.backward(of_part(&of_vectors, range)?, &mut sums, &mut times)?;
            }
            (loss, vectors)
        };
        let of = self.over_ranks(sums)?;
        // Only now: on a GPU all before this is queued work, which reading a number waits for.
        let loss = loss.to_dtype(DType::F64)?.to_scalar()?;
        Ok(Gradients { loss, touched, of, vectors, times })
    }

    /// (B + M, D), the vectors of all texts: each rank puts its own between zeros, and these add up.
    fn of_all_ranks(
        &self,
        batch: &TrainBatch,
        parts: &[(Range<usize>, Tokens)],
        own: &[Tensor],
    ) -> Result<Tensor> {
        if self.ranks.size() == 1 {
            return Ok(Tensor::cat(own, 0)?);
        }
        let (mut rows, mut next) = (Vec::new(), 0);
        let (dtype, width) = (own[0].dtype(), own[0].dim(1)?);
        // Not all GPUs have memory of no bytes.
        let zeros =
            |n: usize| (0 < n).then(|| Tensor::zeros((n, width), DType::F32, own[0].device())).transpose();
        for ((range, _), vectors) in parts.iter().zip(own) {
            rows.extend(zeros(range.start - next)?);
            rows.push(vectors.to_dtype(DType::F32)?);
            next = range.end;
        }
        rows.extend(zeros(batch.texts.len() - next)?);
        let [vectors] = self.ranks.sum(vec![Tensor::cat(&rows, 0)?])?.try_into().expect("one of one");
        Ok(vectors.to_dtype(dtype)?)
    }

    /// The gradients of all ranks together.
    fn over_ranks(&self, sums: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
        if self.ranks.size() == 1 {
            return Ok(sums);
        }
        let mut summed = self.ranks.sum(sums.iter().flatten().cloned().collect())?.into_iter();
        Ok(sums.into_iter().map(|own| own.and_then(|_| summed.next())).collect())
    }

    /// The loss, and its gradient by the vectors.
    fn loss_of(&self, vectors: &Tensor, batch: &TrainBatch, times: &mut Times) -> Result<(Tensor, Tensor)> {
        let begun = Instant::now();
        let n_queries = batch.n_queries;
        let queries = vectors.narrow(0, 0, n_queries)?;
        let passages = vectors.narrow(0, n_queries, vectors.dim(0)? - n_queries)?;
        let how = InfoNce { mask: batch.mask.clone(), ..self.loss.clone() };
        let (loss, of_queries, of_passages) = info_nce_with_gradients(&queries, &passages, &how)?;
        let gradient = Tensor::cat(&[of_queries, of_passages], 0)?.to_dtype(vectors.dtype())?;
        times.entry("info_nce").or_default()[0] += begun.elapsed().as_secs_f64();
        Ok((loss, gradient))
    }
}

/// A forward pass on a tape.
struct Traced {
    tape: Tape,
    leaves: Weights<Node>,
    vectors: Node,
}

impl Traced {
    fn new(pass: &Pass, weights: &Weights, tokens: &Tokens) -> Result<Self> {
        let tape = Tape::new();
        let leaves = weights.on(&tape, |id| !pass.frozen.has(id));
        let vectors = pass.network.forward(&leaves, tokens, pass.mode)?;
        Ok(Self { tape, leaves, vectors })
    }

    /// Adds the gradients of the weights to `sums`.
    fn backward(self, of_vectors: Tensor, sums: &mut [Option<Tensor>], times: &mut Times) -> Result<()> {
        let gradients = self.tape.backward(&self.vectors, of_vectors, self.leaves.as_slice())?;
        for (sum, gradient) in sums.iter_mut().zip(gradients) {
            *sum = match (sum.take(), gradient) {
                (Some(sum), Some(gradient)) => Some(add(&sum, &gradient)?),
                (sum, gradient) => sum.or(gradient),
            };
        }
        for (op, [forward, backward]) in self.tape.times() {
            let sum = times.entry(op).or_default();
            sum[0] += forward;
            sum[1] += backward;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use candle_core::{DType, Device, Tensor};

    use super::super::ranks::{Alone, connect};
    use super::*;
    use crate::kernels::{Direction, GroupMask};
    use crate::model::{Encoder, HeadSource, Preset, Vocabulary};

    /// Encoders of transformers with vectors and gradients in f64; `make.py` beside them made them.
    fn fixture(kind: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/parity").join(kind)
    }

    /// TEXTS of make.py.
    fn texts() -> Vec<Vec<u32>> {
        let passages: [&[u32]; 4] = [
            &[7, 6, 30],
            &[14, 9, 31, 32, 33, 34, 35, 36, 37, 38],
            &[15, 39],
            &[16, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
        ];
        let queries: [&[u32]; 4] = [&[5, 6, 7], &[8, 9, 10, 11, 12, 13, 14], &[15], &[16, 17, 18, 16, 5]];
        queries.into_iter().chain(passages).map(<[u32]>::to_vec).collect()
    }

    fn batch(mask: Option<GroupMask>) -> TrainBatch {
        TrainBatch { step: 0, n_queries: 4, texts: texts(), negatives: vec![0; 5], mask, masked_pairs: 0 }
    }

    fn gradients(encoder: &Encoder, parts: Parts, mode: Mode, batch: &TrainBatch) -> Gradients {
        gradients_of_rank(encoder, parts, mode, batch, &Alone)
    }

    fn gradients_of_rank(
        encoder: &Encoder,
        parts: Parts,
        mode: Mode,
        batch: &TrainBatch,
        ranks: &dyn Communicator,
    ) -> Gradients {
        let values = encoder.weights();
        let loss = InfoNce { temperature: 0.05, direction: Direction::QueryToPassage, mask: None };
        let frozen = Frozen::none(values.as_slice().len());
        let pass =
            Pass { network: encoder.network(), values, frozen: &frozen, loss: &loss, mode, parts, ranks };
        pass.gradients(batch).unwrap()
    }

    /// The greatest difference, and the greatest value to hold it against.
    fn difference(found: &Tensor, expected: &Tensor) -> (f64, f64) {
        let double = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
        let largest =
            |t: Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap();
        (largest((double(found) - double(expected)).unwrap()), largest(double(expected)))
    }

    #[test]
    fn vectors_and_gradients_are_those_of_transformers() {
        for kind in ["bert", "xlmr", "mt5"] {
            let encoder = Encoder::open(&fixture(kind), HeadSource::Described).unwrap();
            let expected =
                candle_core::safetensors::load(fixture(kind).join("expected.safetensors"), &Device::Cpu);
            let expected = expected.unwrap();
            let found = gradients(&encoder, Parts::default(), Mode::Evaluate, &batch(None));
            let (error, _) = difference(&found.vectors, &expected["vectors"]);
            assert!(error < 1e-5, "{kind}: vectors differ by {error}");
            let loss = expected["loss"].to_vec1::<f32>().unwrap()[0];
            assert!((found.loss - f64::from(loss)).abs() < 1e-4, "{kind}: loss {} and {loss}", found.loss);
            let mut compared = 0;
            for ((id, declared), gradient) in encoder.network().parameters().iter().zip(&found.of) {
                let mut gradient = gradient.clone().unwrap();
                if id == encoder.network().words() {
                    // The touched rows, in a table of zeros.
                    let rows = Tensor::new(found.touched.as_slice(), &Device::Cpu).unwrap();
                    let table =
                        Tensor::zeros(declared.shape.as_slice(), gradient.dtype(), &Device::Cpu).unwrap();
                    gradient = table.index_add(&rows, &gradient, 0).unwrap();
                }
                for (part, gradient) in declared.parts.iter().zip(declared.split(&gradient).unwrap()) {
                    let (error, largest) = difference(&gradient, &expected[&part.name]);
                    // The largest gradients are about 1; those of key biases are 0 but for rounding.
                    let tolerance = 1e-4 * largest.max(0.01);
                    assert!(error < tolerance, "{kind}: {} differs by {error} of {largest}", part.name);
                    compared += 1;
                }
            }
            assert_eq!(compared, expected.len() - 2, "{kind}: parameters with a gradient");
        }
    }

    #[test]
    fn parts_give_the_gradients_of_the_whole() {
        let mask = GroupMask::new([0, 1, 2, 0], [0, 1, 2, 3, 4], [0, 1, 2, 0]).unwrap();
        let batch = batch(Some(mask));
        let bert = Encoder::open(&fixture("bert"), HeadSource::Described).unwrap();
        // In f64, where rounding does not hide a mistake.
        let double = bert.weights().iter().map(|value| value.to_dtype(DType::F64).unwrap()).collect();
        let bert = bert.with_weights(Weights::new(double));
        // Its dropout is 0.1, and its draws are those of the tokens, wherever they are computed.
        let mode = Mode::Train { seed: 3, step: 5 };
        let whole = gradients(&bert, Parts::default(), mode, &batch);
        for parts in [
            Parts { texts: Some(1), tokens: None },
            Parts { texts: Some(3), tokens: None },
            Parts { texts: None, tokens: Some(12) },
            Parts { texts: None, tokens: Some(1) },
        ] {
            let cut = gradients(&bert, parts, mode, &batch);
            assert!((whole.loss - cut.loss).abs() < 1e-12, "{parts:?}: {} and {}", whole.loss, cut.loss);
            assert_eq!(whole.touched, cut.touched);
            for ((_, declared), (a, b)) in
                bert.network().parameters().iter().zip(whole.of.iter().zip(&cut.of))
            {
                let (error, largest) = difference(b.as_ref().unwrap(), a.as_ref().unwrap());
                assert!(error <= 1e-12 * largest.max(1.0), "{parts:?}: {} by {error}", declared.name());
            }
        }
    }

    #[test]
    fn ranks_give_the_gradients_of_one_device() {
        let mask = GroupMask::new([0, 1, 2, 0], [0, 1, 2, 3, 4], [0, 1, 2, 0]).unwrap();
        let batch = batch(Some(mask));
        let bert = Encoder::open(&fixture("bert"), HeadSource::Described).unwrap();
        let mode = Mode::Train { seed: 3, step: 5 };
        let whole = gradients(&bert, Parts::default(), mode, &batch);
        for (size, texts) in [(2, None), (4, None), (2, Some(1))] {
            let parts = Parts { texts, tokens: None };
            let found: Vec<Gradients> = std::thread::scope(|scope| {
                let (bert, batch) = (&bert, &batch);
                let run = |ranks: Box<dyn Communicator>| {
                    scope.spawn(move || gradients_of_rank(bert, parts, mode, batch, &*ranks))
                };
                let ranks = connect(&vec![Device::Cpu; size]).unwrap();
                let threads: Vec<_> = ranks.into_iter().map(run).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let first = &found[0];
            for (rank, found) in found.iter().enumerate() {
                assert!(
                    (whole.loss - found.loss).abs() < 1e-5,
                    "{size} ranks: {} and {}",
                    whole.loss,
                    found.loss
                );
                for (n, (a, b)) in whole.of.iter().zip(&found.of).enumerate() {
                    let (error, largest) = difference(b.as_ref().unwrap(), a.as_ref().unwrap());
                    assert!(
                        error <= 1e-5 * largest.max(0.1),
                        "rank {rank} of {size}: {n} by {error} of {largest}"
                    );
                }
                // The same bits on every rank.
                for (a, b) in found.of.iter().zip(&first.of) {
                    assert!(difference(a.as_ref().unwrap(), b.as_ref().unwrap()).0 <= 0.0);
                }
            }
        }
    }

    #[test]
    fn a_directory_that_was_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        for kind in ["bert", "xlmr", "mt5"] {
            let encoder = Encoder::open(&fixture(kind), HeadSource::Described).unwrap();
            encoder.save(folder.path()).unwrap();
            let again = Encoder::open(folder.path(), HeadSource::Described).unwrap();
            for (a, b) in encoder.weights().iter().zip(again.weights().iter()) {
                assert!(difference(a, b).0 <= 0.0, "{kind}");
            }
        }
        let vocabulary = Vocabulary::read(&fixture("bert").join("tokenizer.json")).unwrap();
        let preset = Preset::Static.architecture(vocabulary.len(), 0);
        let encoder = Encoder::start(preset, crate::model::Head::default(), vocabulary, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        encoder.save(folder.path()).unwrap();
        let again = Encoder::open(folder.path(), HeadSource::Described).unwrap();
        let encode = |encoder: &Encoder| {
            encoder.encode(crate::model::Role::Query, &["w5 w6", "w7"], &crate::progress::Silent).unwrap()
        };
        assert_eq!(encode(&encoder), encode(&again));
    }
}
