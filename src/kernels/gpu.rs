//! What an op needs of a GPU: memory, launches of its kernels, and matrix products.
//!
//! Two things are a [`Gpu`]: a CUDA device, and in tests the emulator, which compiles the same kernels for the CPU and
//! takes the same launches. So what is computed on the host for a launch, such as grids and the order of arguments, is
//! tested where there is no GPU.

use std::any::Any;

use candle_core::{CpuStorage, CudaStorage, DType, Device, Layout, Result, Shape, bail};

use super::dropout::Dropout;
use super::op::Op;

/// Threads of a warp.
pub(super) const WARP: usize = 32;

/// A contiguous tensor of a GPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub address: u64,
    pub dtype: DType,
    pub dims: &'a [usize],
}

/// Memory of a GPU that is freed with this.
pub(super) struct Memory {
    pub address: u64,
    /// The storage, of the type that candle has for the device.
    pub owner: Box<dyn Any>,
}

pub(super) trait Gpu {
    /// Memory that nobody has written.
    fn allocate(&self, dtype: DType, len: usize) -> Result<Memory>;

    fn zeros(&self, dtype: DType, len: usize) -> Result<Memory>;

    fn upload(&self, values: CpuStorage) -> Result<Memory>;

    /// Puts a kernel into the queue; a grid without blocks is no launch.
    fn launch(&self, kernel: &Kernel, dims: Dims, args: &Args) -> Result<()>;

    /// Puts a matrix product into the queue.
    fn multiply(&self, product: &Product) -> Result<()>;
}

/// An entry of a `.cu` file.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// The stem of the file.
    pub file: &'static str,
    pub entry: String,
}

impl Kernel {
    /// The entry `name_f32` or `name_bf16`.
    pub(super) fn new(file: &'static str, name: &str, dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 | DType::BF16 => Ok(Self { file, entry: format!("{name}_{}", dtype.as_str()) }),
            other => bail!("{name}: floats on a GPU must be f32 or bf16, found {}", other.as_str()),
        }
    }
}

/// How a kernel is launched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dims {
    /// Blocks; the last two at most 65,535.
    pub grid: [usize; 3],
    /// Threads of a block: whole warps, 1,024 at most.
    pub threads: usize,
    /// Of dynamic shared memory.
    pub shared_bytes: usize,
}

impl Dims {
    pub(super) fn blocks(n: usize, threads: usize) -> Self {
        Self { grid: [n, 1, 1], threads, shared_bytes: 0 }
    }

    /// A warp for each of n rows, eight to a block.
    pub(super) fn warp_each(n: usize) -> Self {
        Self::blocks(n.div_ceil(8), 8 * WARP)
    }
}

/// The fields of a kernel's one argument, a struct, laid out as C does.
#[derive(Clone, Debug, Default)]
pub(super) struct Args(pub Vec<u8>);

impl Args {
    fn field(&mut self, bytes: &[u8]) {
        let start = self.0.len().next_multiple_of(bytes.len());
        self.0.resize(start, 0);
        self.0.extend_from_slice(bytes);
    }

    /// With the padding at the end that an alignment of 8 asks for.
    pub(super) fn finished(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }
}

/// A field of a kernel's argument.
pub(super) trait Arg {
    fn write(&self, args: &mut Args);
}

impl Arg for u64 {
    fn write(&self, args: &mut Args) {
        args.field(&self.to_le_bytes());
    }
}

impl Arg for u32 {
    fn write(&self, args: &mut Args) {
        args.field(&self.to_le_bytes());
    }
}

impl Arg for f32 {
    fn write(&self, args: &mut Args) {
        args.field(&self.to_le_bytes());
    }
}

/// `uint64_t`.
impl Arg for usize {
    fn write(&self, args: &mut Args) {
        (*self as u64).write(args);
    }
}

impl Arg for View<'_> {
    fn write(&self, args: &mut Args) {
        self.address.write(args);
    }
}

impl Arg for Memory {
    fn write(&self, args: &mut Args) {
        self.address.write(args);
    }
}

/// `Dropout` of common.cuh; a threshold of 0 where there is none.
impl Arg for Option<Dropout> {
    fn write(&self, args: &mut Args) {
        let (threshold, key, scale) = self.map_or((0, 0, 1.0), Dropout::fields);
        threshold.write(args);
        key.write(args);
        (scale as f32).write(args);
        *args = std::mem::take(args).finished();
    }
}

/// The argument of a kernel from its fields, in the order of its struct in the `.cu` file.
macro_rules! args {
    ($($field:expr),* $(,)?) => {{
        let mut args = $crate::kernels::gpu::Args::default();
        $($crate::kernels::gpu::Arg::write(&$field, &mut args);)*
        args.finished()
    }};
}
pub(super) use args;

/// `c = alpha a b + beta c` of matrices that lie row by row, with sums in f32. a: (rows, inner), b: (inner, columns).
#[derive(Clone, Copy, Debug)]
pub(super) struct Product {
    pub a: Factor,
    pub b: Factor,
    /// Address and type of c, (rows, columns): that of the factors, or f32.
    pub c: (u64, DType),
    pub rows: usize,
    pub inner: usize,
    pub columns: usize,
    pub alpha: f32,
    /// 0 where c has not been written.
    pub beta: f32,
}

/// A matrix, or where `transposed` its transpose is what lies in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    pub address: u64,
    pub dtype: DType,
    pub transposed: bool,
}

impl<'a> View<'a> {
    /// Its elements.
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// (rows, columns); a vector is one row.
    pub(super) fn matrix(&self) -> (usize, usize) {
        let columns = self.dims.last().copied().unwrap_or(1);
        (self.dims.iter().rev().skip(1).product(), columns)
    }

    pub(super) fn factor(&self, transposed: bool) -> Factor {
        Factor { address: self.address, dtype: self.dtype, transposed }
    }

    /// The elements from number `start` on.
    pub(super) fn from(&self, start: usize, dims: &'a [usize]) -> Self {
        Self { address: self.address + (start * self.dtype.size_in_bytes()) as u64, dims, ..*self }
    }
}

/// Opens an NVIDIA GPU by its number.
///
/// # Errors
/// When this program was built without the feature `cuda`, or there is no such GPU.
#[cfg(not(feature = "cuda"))]
pub(crate) fn open_gpu(_: usize) -> Result<Device> {
    Err(candle_core::Error::NotCompiledWithCudaSupport)
}

/// With a stream of its own, which all of our work on the device goes into, from whatever thread.
#[cfg(feature = "cuda")]
pub(crate) fn open_gpu(number: usize) -> Result<Device> {
    super::cuda::open(number)
}

/// Runs an op on the device of its tensors.
#[cfg(not(feature = "cuda"))]
pub(super) fn on_cuda<const N: usize, const M: usize>(
    _: &impl Op<N, M>,
    _: [(&CudaStorage, &Layout); N],
) -> Result<[(CudaStorage, Shape); M]> {
    Err(candle_core::Error::NotCompiledWithCudaSupport)
}

#[cfg(feature = "cuda")]
pub(super) fn on_cuda<const N: usize, const M: usize>(
    op: &impl Op<N, M>,
    inputs: [(&CudaStorage, &Layout); N],
) -> Result<[(CudaStorage, Shape); M]> {
    super::cuda::run(op, inputs)
}
