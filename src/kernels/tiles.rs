//! The launches of kernels that work element by element, on the geometry of `tiles.cuh`.

use candle_core::{DType, Result};

use super::gpu::{Dims, Kernel, View, WARP};

const THREADS: usize = 256;

/// Elements of a flat array.
pub(super) struct Flat {
    n: usize,
    run: Run,
}

impl Flat {
    /// Runs of a block's thread.
    const RUNS: usize = 4;

    /// `views`: the inputs, of one length and type.
    pub(super) fn of(views: &[View<'_>]) -> Self {
        let n = views[0].len();
        Self { n, run: Run::of(n, views) }
    }

    pub(super) fn kernel(&self, file: &'static str, name: &str) -> Result<Kernel> {
        self.run.kernel(file, name)
    }

    pub(super) fn dims(&self) -> Dims {
        Dims::blocks(self.n.div_ceil(self.run.len * Self::RUNS * THREADS), THREADS)
    }
}

/// A matrix in tiles of 64 rows and of 32 runs.
pub(super) struct Tiles {
    rows: usize,
    width: usize,
    run: Run,
}

impl Tiles {
    const ROWS: usize = 64;

    /// `views`: the inputs, of one type, read in rows of `width` elements or a multiple.
    pub(super) fn of(rows: usize, width: usize, views: &[View<'_>]) -> Self {
        Self { rows, width, run: Run::of(width, views) }
    }

    pub(super) fn kernel(&self, file: &'static str, name: &str) -> Result<Kernel> {
        self.run.kernel(file, name)
    }

    pub(super) fn dims(&self) -> Dims {
        let strips = self.width.div_ceil(self.run.len * WARP);
        Dims::blocks(self.rows.div_ceil(Self::ROWS) * strips, THREADS)
    }
}

/// Elements that a thread loads at once: 16 bytes of them if they are a whole number and lie at a multiple, else one.
#[derive(Clone, Copy)]
struct Run {
    dtype: DType,
    len: usize,
}

impl Run {
    /// Of arrays that are cut every `n` elements.
    fn of(n: usize, views: &[View<'_>]) -> Self {
        let dtype = views[0].dtype;
        let pack = 16 / dtype.size_in_bytes();
        let is_aligned = views.iter().all(|view| view.address.is_multiple_of(16));
        Self { dtype, len: if n.is_multiple_of(pack) && is_aligned { pack } else { 1 } }
    }

    fn kernel(self, file: &'static str, name: &str) -> Result<Kernel> {
        let plain = if self.len == 1 { "_plain" } else { "" };
        Kernel::new(file, &format!("{name}{plain}"), self.dtype)
    }
}
