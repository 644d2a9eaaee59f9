//! The launches of `layer_norm`, `add_norm`, `rms_norm` and `add_rms_norm`, whose kernels are instances of `norm_rows.cuh`.

use candle_core::{DType, Result};

use super::dropout::DropoutOp;
use super::gpu::{Args, Dims, Gpu, Kernel, Memory, View, WARP, args};
use super::rows::Parts;

/// A norm of the rows of x, or of `drop(x + bias) + residual`, of which `add_rms_norm` has no bias.
pub(super) struct Norm<'a> {
    /// The op, and the file of its kernels.
    pub op: &'static str,
    /// Of the gradient of `add_rms_norm` the sum.
    pub x: View<'a>,
    /// Of the gradient of `add_rms_norm` that of the sum as an output.
    pub residual: Option<View<'a>>,
    /// Rows of x's width: bias if there is one, gain, and shift if there is one.
    pub params: View<'a>,
    pub eps: f64,
    pub dropout: Option<DropoutOp>,
}

/// What a launch of a gradient has written.
pub(super) struct Gradients {
    /// That of the rows that are normalised, which is that of x too where nothing is dropped.
    pub dh: Memory,
    /// That of x, where some is dropped.
    pub dx: Option<Memory>,
    /// f32.
    pub dparams: Memory,
}

impl Norm<'_> {
    pub(super) fn forward(&self, gpu: &dyn Gpu) -> Result<Memory> {
        self.forward_into(gpu, 0)
    }

    /// The norm, and the sum that it is of: `add_rms_norm`.
    pub(super) fn forward_and_sum(&self, gpu: &dyn Gpu) -> Result<(Memory, Memory)> {
        let sum = gpu.allocate(self.x.dtype, self.x.len())?;
        Ok((self.forward_into(gpu, sum.address)?, sum))
    }

    fn forward_into(&self, gpu: &dyn Gpu, sum: u64) -> Result<Memory> {
        let (rows, _) = self.x.matrix();
        let y = gpu.allocate(self.x.dtype, self.x.len())?;
        let team = self.team(&[]);
        let (name, dims) = match team {
            Some(team) => {
                let teams = (4 / team.warps).max(1);
                // `NORM_BATCH`: as many bytes of each row's inputs together, of one tensor or of two.
                let rows_of_team = if self.residual.is_some() { 4 } else { 8 } / self.x.dtype.size_in_bytes();
                let threads = teams * team.warps * WARP;
                (self.op.to_owned(), Dims::blocks(rows.div_ceil(teams * rows_of_team), threads))
            }
            None => (format!("{}_plain", self.op), Dims::warp_each(rows)),
        };
        let args = self.args(team, 0, [0, y.address, sum, 0]);
        gpu.launch(&Kernel::new(self.op, &name, self.x.dtype)?, dims, &args)?;
        Ok(y)
    }

    pub(super) fn gradient(&self, gpu: &dyn Gpu, dy: View<'_>) -> Result<Gradients> {
        let (rows, _) = self.x.matrix();
        let allocate = || gpu.allocate(self.x.dtype, self.x.len());
        let (dh, dx) = (allocate()?, self.dropout.map(|_| allocate()).transpose()?);
        let dx_address = dx.as_ref().map_or(0, |dx| dx.address);
        let team = self.team(&[dy]);
        let (name, block_rows, threads, shared_bytes) = match team {
            Some(team) => {
                let threads = (Team::GRADIENT_WARPS / team.warps).max(1) * team.warps * WARP;
                let block_rows = rows.div_ceil(Team::GRADIENT_BLOCKS).max(1);
                (format!("{}_gradient", self.op), block_rows, threads, threads * Team::COLUMNS * 4)
            }
            None => (format!("{}_gradient_plain", self.op), Team::PLAIN_ROWS, 8 * WARP, 0),
        };
        let parts = Parts::of_blocks(gpu, rows.div_ceil(block_rows), self.params.len())?;
        let dims = Dims { shared_bytes, ..Dims::blocks(parts.n, threads) };
        let args = self.args(team, block_rows, [dy.address, dh.address, dx_address, parts.memory.address]);
        gpu.launch(&Kernel::new(self.op, &name, self.x.dtype)?, dims, &args)?;
        Ok(Gradients { dh, dx, dparams: parts.sum(gpu)? })
    }

    /// `Rows` of `norm_rows.cuh`: dy, y or dh, dx or the sum, and parts.
    fn args(&self, team: Option<Team>, block_rows: usize, [dy, y, dx, parts]: [u64; 4]) -> Args {
        let (rows, width) = self.x.matrix();
        let residual = self.residual.map_or(0, |residual| residual.address);
        let first_draw = self.dropout.map_or(0, |op| op.first_token.wrapping_mul(width as u64));
        let team_warps = team.map_or(0, |team| team.warps as u32);
        let per_width = (1.0 / width as f64) as f32;
        let dropout = self.dropout.map(|op| op.dropout);
        args![
            self.x,
            residual,
            self.params,
            dy,
            y,
            dx,
            parts,
            rows,
            width,
            block_rows,
            first_draw,
            team_warps,
            per_width,
            self.eps as f32,
            dropout,
        ]
    }

    /// Nothing where rows take the plain path.
    fn team(&self, others: &[View<'_>]) -> Option<Team> {
        let (_, width) = self.x.matrix();
        let mut views = [self.x, self.params].into_iter().chain(self.residual).chain(others.iter().copied());
        let is_aligned = views.all(|view| view.address.is_multiple_of(16));
        Team::of(width, self.x.dtype).filter(|_| is_aligned)
    }
}

/// The warps that have a row together.
#[derive(Clone, Copy, Debug)]
struct Team {
    warps: usize,
}

impl Team {
    /// `ELEMENTS`: columns of a thread.
    const COLUMNS: usize = 8;
    const MOST_WARPS: usize = 16;
    /// Of a block, in whole teams, or one team. Two such blocks fit a multiprocessor, at 96 registers a thread.
    const GRADIENT_WARPS: usize = 10;
    /// Two for each multiprocessor of an H100 or H200: every one is at work, and none has a third to itself in the end. A
    /// constant, so that the order of sums does not depend on the GPU.
    const GRADIENT_BLOCKS: usize = 264;
    const PLAIN_ROWS: usize = 64;

    fn of(width: usize, dtype: DType) -> Option<Self> {
        let is_whole_packs = (width * dtype.size_in_bytes()).is_multiple_of(16);
        let warps = width.div_ceil(Self::COLUMNS * WARP);
        (is_whole_packs && warps <= Self::MOST_WARPS).then_some(Self { warps })
    }
}
