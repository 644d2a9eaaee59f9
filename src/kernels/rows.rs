//! Work on the rows of a matrix on all threads, with a result that does not know their number.
//!
//! Rows are dealt in blocks of a fixed size. What is summed over rows is summed within a block first, then over the
//! blocks in their order.

use candle_core::{DType, Result};
use rayon::prelude::*;

use super::Segments;
use super::gpu::{Dims, Gpu, Kernel, Memory, WARP, args};
use super::lanes::{add, vectorised};
use super::real::Real;

/// Part of the definition of every sum over rows: another number is another rounding.
const BLOCK_ROWS: usize = 64;

/// Elements under which a fork costs more than it saves (about 10 microseconds of work).
const TASK_ELEMENTS: usize = 1 << 14;

/// Calls `f(row number, row)` for every row of `out`.
pub(super) fn for_rows<T: Real>(out: &mut [T], width: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    blocks(out, width).for_each(|(first, rows)| {
        vectorised(
            #[inline(always)]
            || {
                for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                    f(first + i, row);
                }
            },
        );
    });
}

/// Calls `f(row number, row, sums)` for every row of `out`, and adds what the calls add to `sums` up in a fixed order.
pub(super) fn fold_rows<T: Real>(
    out: &mut [T],
    width: usize,
    sums: &mut [T],
    f: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    let n_sums = sums.len();
    let parts: Vec<Vec<T>> = blocks(out, width)
        .map(|(first, rows)| {
            let mut part = vec![T::zero(); n_sums];
            vectorised(
                #[inline(always)]
                || {
                    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                        f(first + i, row, &mut part);
                    }
                },
            );
            part
        })
        .collect();
    for part in &parts {
        add(sums, part);
    }
}

fn blocks<T: Real>(out: &mut [T], width: usize) -> impl IndexedParallelIterator<Item = (usize, &mut [T])> {
    let block = BLOCK_ROWS * width;
    out.par_chunks_mut(block)
        .enumerate()
        .with_min_len(TASK_ELEMENTS.div_ceil(block))
        .map(|(i, rows)| (i * BLOCK_ROWS, rows))
}

/// The rows of each segment, `width` wide.
pub(super) fn by_segment<'a, T>(
    mut rows: &'a mut [T],
    segments: &Segments,
    width: usize,
) -> Vec<&'a mut [T]> {
    segments
        .ranges()
        .map(|range| rows.split_off_mut(..range.len() * width).expect("segments cover the rows exactly"))
        .collect()
}

/// What blocks of rows add to sums, on a GPU: (blocks, width) f32, which a kernel writes.
pub(super) struct Parts {
    pub(super) memory: Memory,
    /// Blocks of the grid.
    pub(super) n: usize,
    width: usize,
}

impl Parts {
    /// Rows of a block, where a kernel has no reason for another number.
    const ROWS: usize = 64;

    pub(super) fn new(gpu: &dyn Gpu, rows: usize, width: usize) -> Result<Self> {
        Self::of_blocks(gpu, rows.div_ceil(Self::ROWS), width)
    }

    /// For a kernel whose blocks have rows of their own number.
    pub(super) fn of_blocks(gpu: &dyn Gpu, n: usize, width: usize) -> Result<Self> {
        Ok(Self { memory: gpu.allocate(DType::F32, n * width)?, n, width })
    }

    /// Zeros, for kernels that add to what their n blocks have.
    pub(super) fn zeros(gpu: &dyn Gpu, n: usize, width: usize) -> Result<Self> {
        Ok(Self { memory: gpu.zeros(DType::F32, n * width)?, n, width })
    }

    /// What the block has, an address.
    pub(super) fn of_block(&self, block: usize) -> u64 {
        self.memory.address + (block * self.width * size_of::<f32>()) as u64
    }

    /// The sums, (width) f32.
    pub(super) fn sum(self, gpu: &dyn Gpu) -> Result<Memory> {
        let y = gpu.allocate(DType::F32, self.width)?;
        let kernel = Kernel::new("rows", "sum_parts", DType::F32)?;
        let dims = Dims::blocks(self.width.div_ceil(WARP), 8 * WARP);
        gpu.launch(&kernel, dims, &args![self.memory, y, self.n, self.width])?;
        Ok(y)
    }
}

/// Which rows hold each number below `n_numbers`: those of number `i` are `rows[starts[i]..starts[i + 1]]`, ascending.
pub(super) struct Places {
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Places {
    pub(super) fn new(numbers: &[u32], n_numbers: usize) -> Self {
        let mut starts = vec![0; n_numbers + 1];
        for &number in numbers {
            starts[number as usize + 1] += 1;
        }
        for i in 0..n_numbers {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; numbers.len()];
        for (row, &number) in (0..).zip(numbers) {
            let at = &mut next[number as usize];
            rows[*at as usize] = row;
            *at += 1;
        }
        Self { starts, rows }
    }

    pub(super) fn of(&self, number: usize) -> &[u32] {
        &self.rows[self.starts[number] as usize..self.starts[number + 1] as usize]
    }
}
