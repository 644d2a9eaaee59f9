//! `rank_count`: how many passages beat a target, for full-depth ranks without a sort and without the scores in memory.
//!
//! A score is a sum in a fixed order ([`runs_of_terms`]), so it depends on its two rows alone and is the same number on
//! every GPU and every CPU with fused multiply-add. No op of a graph: nothing is trained through it.

use std::ops::Range;

use candle_core::{CpuStorage, DType, Device, Result, Shape, Tensor, bail};

use super::check::{alike, matrix};
use super::gpu::{Dims, Gpu, Kernel, Memory, View, WARP, args};
use super::op::{Input, Op, evaluate};
use super::real::Real;

const OP: &str = "rank_count";

/// Terms of the longest run.
const LONGEST_RUN: usize = 512;
/// Runs are of whole such steps, but for the end of the last one.
const STEP: usize = 16;

/// Queries, and passages, of a block.
const TILE: usize = 128;
const THREADS: usize = 256;
/// Two buffers of 16 terms of the rows of both tiles, which are 20 floats apart.
const BUFFER_BYTES: usize = 2 * 2 * TILE * 20 * 4;
/// A score of each pair of a block.
const SUMS_BYTES: usize = TILE * TILE * 4;

/// How a product of rows is summed: a run is a chain of fused multiply-adds from 0 in ascending order, and the runs are
/// added in order. There are as few as have 512 terms at most, and they are as equal as whole sixteens allow.
///
/// ```
/// use prep::kernels::runs_of_terms;
///
/// assert_eq!(runs_of_terms(384).collect::<Vec<_>>(), [0..384]);
/// assert_eq!(runs_of_terms(1000).collect::<Vec<_>>(), [0..512, 512..1000]);
/// ```
pub fn runs_of_terms(width: usize) -> impl Iterator<Item = Range<usize>> {
    let (n_runs, n_steps) = (width.div_ceil(LONGEST_RUN), width.div_ceil(STEP));
    let start = move |run: usize| ((run * n_steps).div_ceil(n_runs) * STEP).min(width);
    (0..n_runs).map(move |run| start(run)..start(run + 1))
}

/// A passage whose rank is wanted for a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub passage: u32,
    /// The passages of its language.
    pub language: Range<u32>,
}

/// The targets of queries, and what decides between equal scores.
#[derive(Clone, Debug)]
pub struct Targets<'a> {
    id_ranks: &'a [u32],
    /// Of query q: `targets[offsets[q]..offsets[q + 1]]`.
    offsets: Vec<u32>,
    targets: Vec<Target>,
}

impl<'a> Targets<'a> {
    /// Of no query. `id_ranks`: (P), the place of a passage's id among all ids; of equal scores the greater is first.
    #[must_use]
    pub fn new(id_ranks: &'a [u32]) -> Self {
        Self { id_ranks, offsets: vec![0], targets: Vec::new() }
    }

    /// Adds a query with its targets.
    ///
    /// # Panics
    /// When there are 2^32 targets.
    pub fn push(&mut self, targets: impl IntoIterator<Item = Target>) {
        self.targets.extend(targets);
        self.offsets.push(u32::try_from(self.targets.len()).expect("targets are fewer than 2^32"));
    }

    fn n_queries(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// queries: (Q, D), passages: (P, D), f32 and finite, for Q queries with targets. Of each target, in order, how many
/// passages stand before it: of its language, and of all. The passages before a target have a greater score, or an
/// equal one and a greater id.
///
/// On the CPU this is the definition, in plain loops.
///
/// # Errors
/// When shapes or types do not fit, a tensor is not contiguous, or a target is not among the passages.
pub fn rank_count(queries: &Tensor, passages: &Tensor, targets: &Targets) -> Result<Vec<[u32; 2]>> {
    let (n_queries, width) = matrix(OP, "queries", queries)?;
    let (n_passages, passage_width) = matrix(OP, "passages", passages)?;
    alike(OP, ("queries", queries), &[("passages", passages)])?;
    if queries.dtype() != DType::F32 {
        bail!("{OP}: `queries` must be f32, found {}", queries.dtype().as_str());
    }
    if width != passage_width {
        bail!("{OP}: `queries` are {width} wide and `passages` {passage_width}");
    }
    if targets.n_queries() != n_queries || targets.id_ranks.len() != n_passages {
        bail!(
            "{OP}: `targets` are of {} queries and {} passages, found {n_queries} and {n_passages}",
            targets.n_queries(),
            targets.id_ranks.len()
        );
    }
    for Target { passage, language } in &targets.targets {
        if n_passages <= *passage as usize || n_passages < language.end as usize {
            bail!("{OP}: target {passage} of passages {language:?} is not among {n_passages}");
        }
    }
    if targets.targets.is_empty() {
        return Ok(Vec::new());
    }
    let [counts] = evaluate(&RankCount { targets }, [queries, passages])?;
    let counts = counts.to_device(&Device::Cpu)?.to_dtype(DType::U32)?.to_vec2()?;
    Ok(counts.into_iter().map(|counts: Vec<u32>| [counts[0], counts[1]]).collect())
}

/// (queries, passages) -> (targets, 2): u32 on a GPU.
struct RankCount<'a> {
    targets: &'a Targets<'a>,
}

impl RankCount<'_> {
    fn shape(&self) -> Shape {
        (self.targets.targets.len(), 2).into()
    }
}

impl Op<2> for RankCount<'_> {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [queries, passages]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        // Counts are floats here, and exact up to 2^24.
        let n_passages = self.targets.id_ranks.len();
        if 1 << f32::MANTISSA_DIGITS < n_passages {
            bail!("{OP}: {n_passages} passages are too many for the definition");
        }
        let width = queries.dims[1];
        let mut counts = Vec::with_capacity(2 * self.targets.targets.len());
        for (query, offsets) in queries.data.chunks_exact(width).zip(self.targets.offsets.windows(2)) {
            let scores: Vec<f32> =
                passages.data.chunks_exact(width).map(|passage| score(query, passage)).collect();
            for Target { passage, language } in
                &self.targets.targets[offsets[0] as usize..offsets[1] as usize]
            {
                let rank = |passage: usize| (scores[passage], self.targets.id_ranks[passage]);
                let beats = |other: &usize| rank(*passage as usize) < rank(*other);
                let n_in_language = (language.start as usize..language.end as usize).filter(beats).count();
                counts.push(T::of(n_in_language as f64));
                counts.push(T::of((0..n_passages).filter(beats).count() as f64));
            }
        }
        Ok([(counts, self.shape())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [queries, passages]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let Targets { id_ranks, offsets, targets } = self.targets;
        let ((n_queries, width), (n_passages, _)) = (queries.matrix(), passages.matrix());
        let wanted = targets.iter().flat_map(|target| {
            let Target { passage, language } = target;
            [*passage, language.start, language.end]
        });
        let upload = |values: Vec<u32>| gpu.upload(CpuStorage::U32(values));
        let (ids, offsets, wanted) =
            (upload(id_ranks.to_vec())?, upload(offsets.clone())?, upload(wanted.collect())?);
        let prepared = gpu.allocate(DType::U32, 4 * targets.len())?;
        let lowest = gpu.allocate(DType::F32, n_queries)?;
        let kernel = Kernel::new(OP, "rank_count_prepare", queries.dtype)?;
        let dims = Dims::blocks(n_queries.div_ceil(THREADS / WARP), THREADS);
        let args = args![queries, passages, ids, offsets, wanted, prepared, lowest, n_queries, width];
        gpu.launch(&kernel, dims, &args)?;

        let counts = gpu.zeros(DType::U32, 2 * targets.len())?;
        let kernel = Kernel::new(OP, Self::NAME, queries.dtype)?;
        let n_tiles = n_queries.div_ceil(TILE) * n_passages.div_ceil(TILE);
        let has_runs = LONGEST_RUN < width;
        let dims = Dims {
            shared_bytes: BUFFER_BYTES + if has_runs { SUMS_BYTES } else { 0 },
            ..Dims::blocks(n_tiles, THREADS)
        };
        let args =
            args![queries, passages, ids, offsets, prepared, lowest, counts, n_queries, n_passages, width];
        gpu.launch(&kernel, dims, &args)?;
        Ok([(counts, self.shape())])
    }
}

fn score<T: Real>(query: &[T], passage: &[T]) -> f32 {
    let run = |terms: Range<usize>| {
        let pairs = query[terms.clone()].iter().zip(&passage[terms]);
        // The rows are f32, as is checked.
        pairs.fold(0.0, |sum, (&q, &p)| (q.to_f64() as f32).mul_add(p.to_f64() as f32, sum))
    };
    runs_of_terms(query.len()).map(run).reduce(|sum, run| sum + run).expect("a row has terms")
}

#[cfg(test)]
mod tests {
    use super::super::emulated::on_gpu;
    use super::*;
    use crate::keys::mix64;

    fn draw(seed: u64, i: usize) -> u64 {
        mix64(seed ^ mix64(i as u64))
    }

    /// Rows of about unit length. Passages are copies of `n_distinct`, some of them off in the last bits of a few
    /// numbers: scores tie, or differ by so little that the order of a sum decides.
    fn rows(n: usize, n_distinct: usize, width: usize, seed: u64) -> Tensor {
        let scale = (width as f64).sqrt().recip();
        let value = |row: usize, k: usize| {
            let value = (draw(seed, row % n_distinct * width + k) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
            let value = (value * scale) as f32;
            let noise = draw(seed + 1, row * width + k);
            if draw(seed + 2, row).is_multiple_of(2) && noise.is_multiple_of(8) {
                f32::from_bits(value.to_bits() ^ (noise >> 60) as u32)
            } else {
                value
            }
        };
        let values: Vec<f32> = (0..n * width).map(|i| value(i / width, i % width)).collect();
        Tensor::from_vec(values, (n, width), &Device::Cpu).unwrap()
    }

    /// Distinct, in no order.
    fn id_ranks(n: usize) -> Vec<u32> {
        let mut by_id: Vec<usize> = (0..n).collect();
        by_id.sort_by_key(|&i| draw(3, i));
        let mut id_ranks = vec![0; n];
        by_id.into_iter().zip(0..).for_each(|(i, rank)| id_ranks[i] = rank);
        id_ranks
    }

    /// Of every third query none, of the others up to `most`. Languages have a fifth of the passages each.
    fn targets(id_ranks: &[u32], n_queries: usize, most: usize) -> Targets<'_> {
        let n_passages = id_ranks.len();
        let mut targets = Targets::new(id_ranks);
        for query in 0..n_queries {
            let n = if query % 3 == 1 { 0 } else { 1 + draw(4, query) as usize % most };
            targets.push((0..n).map(|i| {
                let passage = draw(5, query * most + i) as usize % n_passages;
                let fifth = n_passages.div_ceil(5);
                let first = passage / fifth * fifth;
                let end = (first + fifth).min(n_passages);
                Target { passage: passage as u32, language: first as u32..end as u32 }
            }));
        }
        targets
    }

    #[test]
    fn ranks_by_hand() {
        let queries = Tensor::new(&[[1_f32, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        let passages =
            Tensor::new(&[[0.5_f32, 1.0], [0.5, 3.0], [0.75, 2.0], [0.5, 0.0]], &Device::Cpu).unwrap();
        let mut targets = Targets::new(&[3, 1, 0, 2]);
        targets.push([Target { passage: 1, language: 0..2 }]);
        targets.push([Target { passage: 0, language: 0..2 }, Target { passage: 3, language: 2..4 }]);
        // 0 and 3 tie with 1 for the first query, and have greater ids.
        let expected = [[1, 3], [1, 2], [1, 3]];
        assert_eq!(rank_count(&queries, &passages, &targets).unwrap(), expected);
    }

    #[test]
    fn a_gpu_counts_the_same() {
        let sizes = [
            (1, 1, 1, 1),
            (1, 2, 3, 2),
            (7, 131, 64, 40),
            (130, 129, 17, 3),
            (5, 300, 384, 11),
            (13, 257, 510, 3),
            (3, 140, 768, 300),
            (129, 30, 1000, 2),
            (2, 67, 1600, 5),
        ];
        for (n_queries, n_passages, width, most) in sizes {
            let (queries, passages) =
                (rows(n_queries, n_queries, width, 10), rows(n_passages, n_passages.div_ceil(9), width, 20));
            let ids = id_ranks(n_passages);
            let targets = targets(&ids, n_queries, most);
            let expected = rank_count(&queries, &passages, &targets).unwrap();
            let found = on_gpu(|device| {
                let there = |tensor: &Tensor| tensor.to_device(device).unwrap();
                let counts = rank_count(&there(&queries), &there(&passages), &targets).unwrap();
                let counts = counts.concat();
                vec![Tensor::new(counts, &Device::Cpu).unwrap()]
            });
            let found: Vec<u32> = found[0].to_vec1().unwrap();
            assert_eq!(found, expected.concat(), "{n_queries} x {n_passages} x {width}");
        }
    }

    /// Rows that do not begin at a multiple of 16 bytes, though they are of such a length.
    #[test]
    fn a_gpu_takes_rows_anywhere() {
        let (queries, passages) = (rows(3, 3, 8, 10), rows(20, 3, 8, 20));
        let ids = id_ranks(20);
        let targets = targets(&ids, 3, 4);
        let moved = |tensor: &Tensor| {
            let (n, width) = tensor.dims2().unwrap();
            let flat = Tensor::cat(
                &[&Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap(), &tensor.flatten_all().unwrap()],
                0,
            );
            flat.unwrap().narrow(0, 1, n * width).unwrap().reshape((n, width)).unwrap()
        };
        let expected = rank_count(&queries, &passages, &targets).unwrap().concat();
        let found = on_gpu(|device| {
            let there = |tensor: &Tensor| moved(tensor).to_device(device).unwrap();
            let counts = rank_count(&there(&queries), &there(&passages), &targets).unwrap();
            vec![Tensor::new(counts.concat(), &Device::Cpu).unwrap()]
        });
        assert_eq!(found[0].to_vec1::<u32>().unwrap(), expected);
    }

    #[test]
    fn runs_are_long_and_whole() {
        for width in [1, 15, 16, 511, 512, 513, 528, 768, 1000, 1025, 4096, 8191] {
            let runs: Vec<Range<usize>> = runs_of_terms(width).collect();
            assert_eq!(runs.len(), width.div_ceil(LONGEST_RUN));
            assert_eq!((runs[0].start, runs[runs.len() - 1].end), (0, width));
            for pair in runs.windows(2) {
                assert!(pair[0].end == pair[1].start && pair[0].end % STEP == 0, "{runs:?}");
            }
            let shortest = width.min(LONGEST_RUN / 2 - STEP);
            assert!(runs.iter().all(|run| shortest <= run.len() && run.len() <= LONGEST_RUN), "{runs:?}");
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let (queries, passages) = (rows(2, 2, 3, 1), rows(4, 4, 3, 2));
        let mut targets = Targets::new(&[0, 1, 2, 3]);
        targets.push([Target { passage: 4, language: 0..4 }]);
        let refused = |queries: &Tensor, passages: &Tensor, targets: &Targets| {
            rank_count(queries, passages, targets).unwrap_err().to_string()
        };
        let e = refused(&queries, &passages, &targets);
        assert!(e.contains("are of 1 queries and 4 passages, found 2 and 4"), "{e}");
        targets.push([]);
        let e = refused(&queries, &passages, &targets);
        assert!(e.contains("target 4 of passages 0..4 is not among 4"), "{e}");
        let e = refused(&queries, &rows(4, 4, 2, 2), &targets);
        assert!(e.contains("`queries` are 3 wide and `passages` 2"), "{e}");
        let e = refused(
            &queries.to_dtype(DType::F64).unwrap(),
            &passages.to_dtype(DType::F64).unwrap(),
            &targets,
        );
        assert!(e.contains("`queries` must be f32"), "{e}");
        let e = refused(&queries.t().unwrap(), &passages, &targets);
        assert!(e.contains("`queries` must be contiguous"), "{e}");
    }
}
