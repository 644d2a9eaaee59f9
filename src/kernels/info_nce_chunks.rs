//! The scores of a batch on a GPU, in chunks of whole rows, with what the loss and its gradient take from each chunk.
//!
//! Products are cuBLAS's, and `info_nce.cu` does all between them. Chunks come in a fixed order and have a size that
//! follows from those of the batch, which decides the rounding of the sums over them.

use std::cell::Cell;
use std::ops::Range;

use candle_core::{CpuStorage, DType, Result};

use super::gpu::{Arg, Args, Dims, Factor, Gpu, Kernel, Memory, Product, View, WARP, args};
use super::info_nce::{Direction, InfoNceOp};

/// The `.cu` file.
const FILE: &str = "info_nce";

/// Threads of a block at most: `MOST_THREADS` of the kernels.
const MOST_THREADS: usize = 512;

/// Rows that a block of the kernel `columns` reads: its `PIECE_ROWS`.
const PIECE_ROWS: usize = 256;

/// How many rows of scores are in memory at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Most bytes of scores, unless that is fewer rows than the least.
    pub most_bytes: usize,
    pub least_rows: usize,
    /// Scores of a row that its block keeps in shared memory between its two passes; a multiple of 8.
    pub most_cached: usize,
}

impl Cut {
    /// 512 MiB hold 2,048 rows of 65,536 scores. The gradient of the passages is read and written once a chunk, which
    /// with 1,024 rows takes a fifth as long as the products. With 96 KiB a block, a processor of Hopper has two blocks,
    /// and a smaller one has one.
    pub(super) const DEFAULT: Self = Self { most_bytes: 512 << 20, least_rows: 1024, most_cached: 24 << 10 };

    /// Rows of a chunk; above 128, which is what products are cut into, a multiple of it.
    pub(super) fn rows(self, n_queries: usize, n_passages: usize) -> usize {
        let rows = (self.most_bytes / (n_passages * size_of::<f32>())).max(self.least_rows).max(1);
        n_queries.min(if rows < 128 { rows } else { rows / 128 * 128 })
    }
}

/// A batch, and the memory of a chunk.
pub(super) struct Chunks<'a> {
    gpu: &'a dyn Gpu,
    queries: View<'a>,
    passages: View<'a>,
    op: &'a InfoNceOp,
    /// The masked passages of query i are `masked[starts[i]..starts[i + 1]]`.
    starts: Memory,
    masked: Memory,
    /// Of a chunk.
    rows: usize,
    /// (rows, M) f32.
    scores: Memory,
    /// The first query of the chunk that is in memory: where there is one chunk, a second sweep finds it there.
    held: Cell<Option<usize>>,
}

/// A chunk as the kernels take it.
struct Scores<'a> {
    chunks: &'a Chunks<'a>,
    first_query: usize,
}

impl Arg for Scores<'_> {
    fn write(&self, args: &mut Args) {
        let Chunks { scores, starts, masked, op, .. } = self.chunks;
        for memory in [scores, starts, masked] {
            memory.write(args);
        }
        for number in [self.first_query, self.chunks.n_queries(), self.chunks.n_passages()] {
            number.write(args);
        }
        u64::from(op.direction == Direction::OwnPositivePlusAllNegatives).write(args);
    }
}

/// The gradients of both tensors, f32.
pub(super) struct Gradients {
    pub(super) queries: Memory,
    pub(super) passages: Memory,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(
        gpu: &'a dyn Gpu,
        op: &'a InfoNceOp,
        queries: View<'a>,
        passages: View<'a>,
    ) -> Result<Self> {
        let ((n_queries, _), (n_passages, _)) = (queries.matrix(), passages.matrix());
        let rows = op.cut.rows(n_queries, n_passages);
        let (starts, mut masked) = op.masked.lists();
        // Memory of no bytes is not to be had.
        masked.resize(masked.len().max(1), 0);
        let (starts, masked) = (gpu.upload(CpuStorage::U32(starts))?, gpu.upload(CpuStorage::U32(masked))?);
        let scores = gpu.allocate(DType::F32, rows * n_passages)?;
        Ok(Self { gpu, queries, passages, op, starts, masked, rows, scores, held: Cell::new(None) })
    }

    /// The loss, then the log-sum-exp of each query's candidates, then, if symmetric, of each positive's; f32.
    pub(super) fn forward(&self) -> Result<(Memory, usize)> {
        let len = 1 + self.n_sums();
        let statistics = self.gpu.allocate(DType::F32, len)?;
        let sums = statistics.address + size_of::<f32>() as u64;
        let losses = self.sums(sums, None)?;
        self.add_up(&losses, statistics.address)?;
        Ok((statistics, len))
    }

    /// The gradients, from what [`Self::forward`] returned and the gradient of the loss.
    pub(super) fn backward(&self, statistics: View<'_>, upstream: View<'_>) -> Result<Gradients> {
        let sums = statistics.address + size_of::<f32>() as u64;
        self.gradients_from(sums, upstream.address)
    }

    /// The loss, a scalar in f32, and the gradients; in one sweep, unless columns have sums, too.
    pub(super) fn both(&self) -> Result<(Memory, Gradients)> {
        let loss = self.gpu.allocate(DType::F32, 1)?;
        let sums = self.gpu.allocate(DType::F32, self.n_sums())?;
        let (losses, gradients) = if self.is_symmetric() {
            let losses = self.sums(sums.address, None)?;
            let upstream = self.gpu.upload(CpuStorage::F32(vec![1.0]))?;
            (losses, self.gradients_from(sums.address, upstream.address)?)
        } else {
            let (slopes, gradients) = (self.slopes()?, self.empty_gradients()?);
            let losses = self.sums(sums.address, Some((&slopes, &gradients)))?;
            (losses, gradients)
        };
        self.add_up(&losses, loss.address)?;
        Ok((loss, gradients))
    }

    /// A sweep that finds the log-sum-exps, and the gradients on its way if they are wanted. Gives the losses of rows and
    /// columns.
    fn sums(&self, sums: u64, gradients: Option<(&Memory, &Gradients)>) -> Result<Memory> {
        let (gpu, n_queries, n_passages) = (self.gpu, self.n_queries(), self.n_passages());
        let positives = gpu.allocate(DType::F32, n_queries)?;
        let losses = gpu.allocate(DType::F32, self.n_sums())?;
        let columns = match self.is_symmetric() {
            true => Some(Columns::new(self)?),
            false => None,
        };
        // The second read of a row is that of its gradient.
        let n_cached = if gradients.is_some() { n_passages.min(self.op.cut.most_cached) } else { 0 };
        let kernel = Kernel::new(FILE, "info_nce_rows", self.queries.dtype)?;
        for chunk in self.ranges() {
            self.multiply(&chunk)?;
            let slopes = gradients.map_or(0, |(slopes, _)| slopes.address);
            let args = args![self.scores(&chunk), slopes, sums, positives, losses, n_cached, self.weight(),];
            gpu.launch(&kernel, self.block_a_row(chunk.len(), n_cached), &args)?;
            if let Some((slopes, gradients)) = gradients {
                self.add_gradients(&chunk, slopes, gradients)?;
            }
            if let Some(columns) = &columns {
                columns.add(self, &chunk, sums, &positives, &losses)?;
            }
        }
        Ok(losses)
    }

    /// A sweep for the gradients, from known sums.
    fn gradients_from(&self, sums: u64, upstream: u64) -> Result<Gradients> {
        let (slopes, gradients) = (self.slopes()?, self.empty_gradients()?);
        let columns = if self.is_symmetric() { sums + bytes(self.n_queries()) } else { 0 };
        let kernel = Kernel::new(FILE, "info_nce_slopes", self.queries.dtype)?;
        for chunk in self.ranges() {
            self.multiply(&chunk)?;
            let args = args![self.scores(&chunk), slopes, sums, columns, upstream, self.weight()];
            self.gpu.launch(&kernel, self.block_a_row(chunk.len(), 0), &args)?;
            self.add_gradients(&chunk, &slopes, &gradients)?;
        }
        Ok(gradients)
    }

    /// Writes the scores of a chunk of queries, if they are not there.
    fn multiply(&self, chunk: &Range<usize>) -> Result<()> {
        if self.held.replace(Some(chunk.start)) == Some(chunk.start) {
            return Ok(());
        }
        let (_, width) = self.queries.matrix();
        self.gpu.multiply(&Product {
            a: self.rows_of_queries(chunk),
            b: self.passages.factor(true),
            c: (self.scores.address, DType::F32),
            rows: chunk.len(),
            inner: width,
            columns: self.n_passages(),
            alpha: (1.0 / self.op.temperature) as f32,
            beta: 0.0,
        })
    }

    fn add_gradients(&self, chunk: &Range<usize>, slopes: &Memory, gradients: &Gradients) -> Result<()> {
        let ((_, width), n_passages) = (self.queries.matrix(), self.n_passages());
        let slopes = Factor { address: slopes.address, dtype: self.queries.dtype, transposed: false };
        self.gpu.multiply(&Product {
            a: slopes,
            b: self.passages.factor(false),
            c: (gradients.queries.address + bytes(chunk.start * width), DType::F32),
            rows: chunk.len(),
            inner: n_passages,
            columns: width,
            alpha: 1.0,
            beta: 0.0,
        })?;
        self.gpu.multiply(&Product {
            a: Factor { transposed: true, ..slopes },
            b: self.rows_of_queries(chunk),
            c: (gradients.passages.address, DType::F32),
            rows: n_passages,
            inner: chunk.len(),
            columns: width,
            alpha: 1.0,
            beta: if chunk.start == 0 { 0.0 } else { 1.0 },
        })
    }

    /// The mean of the losses.
    fn add_up(&self, losses: &Memory, to: u64) -> Result<()> {
        let kernel = Kernel::new(FILE, "info_nce_loss", DType::F32)?;
        self.gpu.launch(&kernel, Dims::blocks(1, 1024), &args![losses.address, to, self.n_sums()])
    }

    fn scores<'b>(&'b self, chunk: &Range<usize>) -> Scores<'b> {
        Scores { chunks: self, first_query: chunk.start }
    }

    fn slopes(&self) -> Result<Memory> {
        self.gpu.allocate(self.queries.dtype, self.rows * self.n_passages())
    }

    fn empty_gradients(&self) -> Result<Gradients> {
        let empty = |like: View<'_>| self.gpu.allocate(DType::F32, like.len());
        Ok(Gradients { queries: empty(self.queries)?, passages: empty(self.passages)? })
    }

    fn rows_of_queries(&self, chunk: &Range<usize>) -> Factor {
        let (_, width) = self.queries.matrix();
        self.queries.from(chunk.start * width, &[]).factor(false)
    }

    /// Two loads of 16 bytes of each tensor a thread, as far as there are as many; the order of sums over a row follows
    /// from it.
    fn block_a_row(&self, rows: usize, n_cached: usize) -> Dims {
        let per_warp = 2 * WARP * 16 / self.queries.dtype.size_in_bytes();
        let n_warps = self.n_passages().div_ceil(per_warp).min(MOST_THREADS / WARP);
        Dims { shared_bytes: n_cached * size_of::<f32>(), ..Dims::blocks(rows, n_warps * WARP) }
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let (n_queries, rows) = (self.n_queries(), self.rows);
        (0..n_queries).step_by(rows).map(move |first| first..n_queries.min(first + rows))
    }

    /// Of a slope.
    fn weight(&self) -> f32 {
        (1.0 / (self.op.temperature * self.n_sums() as f64)) as f32
    }

    fn n_sums(&self) -> usize {
        self.n_queries() * if self.is_symmetric() { 2 } else { 1 }
    }

    fn n_queries(&self) -> usize {
        self.queries.dims[0]
    }

    fn n_passages(&self) -> usize {
        self.passages.dims[0]
    }

    fn is_symmetric(&self) -> bool {
        self.op.direction == Direction::Symmetric
    }
}

/// The sums of the first B columns, chunk by chunk: each is a largest score and a sum of powers relative to it.
struct Columns {
    /// (pieces of a chunk, B, 2)
    parts: Memory,
    /// (B, 2)
    state: Memory,
}

impl Columns {
    fn new(chunks: &Chunks) -> Result<Self> {
        let pairs = 2 * chunks.n_queries();
        Ok(Self {
            parts: chunks.gpu.allocate(DType::F32, chunks.rows.div_ceil(PIECE_ROWS) * pairs)?,
            state: chunks.gpu.allocate(DType::F32, pairs)?,
        })
    }

    /// Adds a chunk, which `rows` has masked; after the last, writes log-sum-exps and losses behind those of the rows.
    fn add(
        &self,
        chunks: &Chunks,
        chunk: &Range<usize>,
        sums: u64,
        positives: &Memory,
        losses: &Memory,
    ) -> Result<()> {
        let (n_queries, n_pieces) = (chunks.n_queries(), chunk.len().div_ceil(PIECE_ROWS));
        let dims = Dims { grid: [n_queries.div_ceil(WARP), n_pieces, 1], ..Dims::blocks(1, 8 * WARP) };
        let kernel = Kernel::new(FILE, "info_nce_columns", DType::F32)?;
        chunks.gpu.launch(&kernel, dims, &args![chunks.scores(chunk), self.parts, chunk.len()])?;
        let args = args![
            self.parts,
            self.state,
            sums + bytes(n_queries),
            positives.address,
            losses.address + bytes(n_queries),
            n_pieces,
            n_queries,
            u32::from(chunk.start == 0),
            u32::from(chunk.end == n_queries),
        ];
        let kernel = Kernel::new(FILE, "info_nce_merge", DType::F32)?;
        chunks.gpu.launch(&kernel, Dims::blocks(n_queries.div_ceil(256), 256), &args)
    }
}

/// Of so many f32.
fn bytes(len: usize) -> u64 {
    (len * size_of::<f32>()) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::Layout;
    use half::bf16;

    use super::super::emulated::{allocated_bytes, view};
    use super::super::group_mask::MaskedPairs;
    use super::*;

    /// What cuBLAS allocates for itself on Hopper.
    const CUBLAS_BYTES: usize = 32 << 20;

    /// Bytes of a GPU that loss and gradients take beside their inputs and results, in bf16: a chunk of scores (R, M) in
    /// f32 and of their gradient; for each row its log-sum-exp, positive, loss and the place of its masked pairs; for each
    /// column of a symmetric loss its log-sum-exp, loss and state, and a part for each piece of a chunk, and the gradient
    /// of the loss; the masked pairs. The width is not among what it depends on.
    fn working_bytes(
        [n_queries, n_passages]: [usize; 2],
        n_masked: usize,
        direction: Direction,
        cut: Cut,
    ) -> usize {
        let rows = cut.rows(n_queries, n_passages);
        let chunk = rows * n_passages * (size_of::<f32>() + DType::BF16.size_in_bytes());
        let of_row = 4 * size_of::<f32>();
        let (of_column, more) = match direction {
            Direction::Symmetric => (4 + 2 * rows.div_ceil(PIECE_ROWS), 1),
            _ => (0, 0),
        };
        let lists = (1 + n_masked.max(1)) * size_of::<u32>();
        chunk + n_queries * (of_row + of_column * size_of::<f32>()) + more * size_of::<f32>() + lists
    }

    #[test]
    fn what_is_allocated_is_counted() {
        let width = 8;
        for [n, m] in [[1, 1], [40, 70], [300, 304]] {
            for direction in
                [Direction::QueryToPassage, Direction::Symmetric, Direction::OwnPositivePlusAllNegatives]
            {
                for cut in [Cut::DEFAULT, Cut { most_bytes: 0, least_rows: 33, most_cached: 8 }] {
                    let masked = Arc::new(MaskedPairs::none(n));
                    let op = InfoNceOp { temperature: 0.05, direction, masked, cut };
                    let vectors = |n: usize| CpuStorage::BF16(vec![bf16::ONE; n * width]);
                    let (queries, passages) = (vectors(n), vectors(m));
                    let layouts = [n, m].map(|n| Layout::contiguous((n, width)));
                    let found = allocated_bytes(|gpu| {
                        let views = [view(&queries, &layouts[0]), view(&passages, &layouts[1])];
                        Chunks::new(gpu, &op, views[0], views[1]).unwrap().both().unwrap()
                    });
                    let results = (1 + (n + m) * width) * size_of::<f32>();
                    let expected = results + working_bytes([n, m], 0, direction, cut);
                    assert_eq!(found, expected, "{n} x {m}, {direction:?}, {cut:?}");
                }
            }
        }
    }

    /// The bounds that users plan with: 1 GiB for a batch of 65,536, and a million rows on a GPU of 100 GiB.
    #[test]
    fn memory_is_bounded() {
        for direction in [Direction::QueryToPassage, Direction::Symmetric] {
            let bytes = |n: usize| working_bytes([n, n], 16 * n, direction, Cut::DEFAULT) + CUBLAS_BYTES;
            assert!(bytes(1 << 16) < 1 << 30);
            let inputs = 2 * (1 << 20) * 768 * 2;
            let gradients = 2 * inputs;
            let all = inputs + gradients + bytes(1 << 20);
            assert!(all < 100 << 30, "{all}");
        }
    }

    #[test]
    fn rows_of_a_chunk_follow_from_sizes() {
        for (n_queries, n_passages, rows) in [
            (1, 1, 1),
            (512, 1024, 512),
            (32_768, 32_768, 4096),
            (65_536, 65_536, 2048),
            (1 << 20, 1 << 20, 1024),
        ] {
            assert_eq!(Cut::DEFAULT.rows(n_queries, n_passages), rows);
        }
        assert_eq!(Cut::DEFAULT.rows(10_000, 20_000), 6656);
        let least = Cut { most_bytes: 0, least_rows: 7, most_cached: 0 };
        assert_eq!([least.rows(3, 5), least.rows(70, 133)], [3, 7]);
    }
}
