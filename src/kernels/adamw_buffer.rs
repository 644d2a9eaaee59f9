//! The parameters of a model in one buffer, updated in one pass on a CPU or a GPU, and the norm of their gradients.
//!
//! On the CPU each parameter goes through [`AdamW::update`], the definition. On a GPU a table of chunks of all parameters
//! is one launch; a table of embeddings, of which a step touches few rows, is another.

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, bail};

use super::adamw::{AdamW, AdamWState, Scalars, SparseRows, squared_norm};
use super::check::elements;
use super::gpu::{Arg, Args, Dims, Gpu, Kernel, Memory, args};
use super::op::{address_of, to_tensor, with_gpu};

const OP: &str = "adamw";

/// Elements that a block of a GPU updates, or whose squares it adds up.
const CHUNK: usize = 1 << 14;

/// Threads of a block.
const THREADS: usize = 256;

/// A parameter in a buffer, and its gradient.
#[derive(Clone, Copy, Debug)]
pub struct Updated<'a> {
    /// Where it begins in a row of the buffer: a multiple of 8.
    pub offset: usize,
    /// Its elements.
    pub len: usize,
    /// f32, contiguous, of these elements, or of some rows of them.
    pub gradient: &'a Tensor,
    /// The rows, ascending, if the gradient is (rows, width) of a table.
    pub rows: Option<&'a [u32]>,
    pub decays: bool,
}

/// Updates parameters that lie in one buffer, (3, N) f32 of values, first and second moments. `rounded`, (N) bf16, gets
/// the new values too, on a GPU. Where a parameter does not decay, `how.weight_decay` does not count.
///
/// # Errors
/// When a tensor is not what it must be.
pub fn adamw(buffer: &Tensor, rounded: Option<&Tensor>, how: &AdamW, updated: &[Updated]) -> Result<()> {
    let (kinds, n_values) = buffer.dims2()?;
    if kinds != 3 || buffer.dtype() != DType::F32 || !buffer.is_contiguous() {
        bail!("{OP}: the buffer must be a contiguous (3, N) of f32, found {:?}", buffer.shape());
    }
    for part in updated {
        let is_f32 = part.gradient.dtype() == DType::F32 && part.gradient.is_contiguous();
        let fits = match part.rows {
            None => part.gradient.elem_count() == part.len,
            Some(rows) => part.gradient.dims2().is_ok_and(|(n, width)| {
                n == rows.len()
                    && part.len.is_multiple_of(width)
                    && rows.is_sorted_by(|a, b| a < b)
                    && rows.last().is_none_or(|&last| (last as usize + 1) * width <= part.len)
            }),
        };
        if !(is_f32 && fits && part.offset.is_multiple_of(8) && part.offset + part.len <= n_values) {
            bail!("{OP}: a gradient {:?} does not fit {} elements", part.gradient, part.len);
        }
    }
    match with_gpu(buffer, |gpu| how.update_on(gpu, buffer, rounded, n_values, updated)) {
        Some(done) => done,
        None => buffer.inplace_op1(&InPlace { how, updated }),
    }
}

/// The root of the sum of squares of all elements of all gradients, f32.
///
/// # Errors
/// When a gradient is not f32 or not contiguous.
pub fn gradient_norm(gradients: &[&Tensor]) -> Result<f64> {
    let Some(first) = gradients.first() else { return Ok(0.0) };
    if let Some(other) = gradients.iter().find(|g| g.dtype() != DType::F32 || !g.is_contiguous()) {
        bail!("gradient norm: gradients must be contiguous f32, found {other:?}");
    }
    let on_gpu = with_gpu(first, |gpu| {
        let mut table = Vec::new();
        for gradient in gradients {
            chunks(&mut table, address_of(gradient)?, 0, gradient.elem_count(), 0.0);
        }
        let n_chunks = table.len() / 3;
        let table = gpu.upload(CpuStorage::I64(table))?;
        let parts = gpu.allocate(DType::F64, n_chunks)?;
        let sum = gpu.allocate(DType::F64, 1)?;
        let kernel = |name| Kernel::new(OP, name, DType::F32);
        gpu.launch(&kernel("squared_norm")?, Dims::blocks(n_chunks, THREADS), &args![table, parts])?;
        gpu.launch(&kernel("sum_norm")?, Dims::blocks(1, THREADS), &args![parts, sum, n_chunks])?;
        to_tensor(sum, ()).to_scalar::<f64>()
    });
    let squares = match on_gpu {
        Some(squares) => squares?,
        None => gradients.iter().map(|gradient| with_values(gradient, squared_norm)).sum::<Result<f64>>()?,
    };
    Ok(squares.sqrt())
}

/// Looks at the elements of a gradient on the CPU.
fn with_values<R>(gradient: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = gradient.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(elements(storage, layout)?)),
        _ => bail!("{OP}: parameters are on the CPU, and a gradient is not"),
    }
}

/// Adds the chunks of a parameter to a table of `Chunk`s of adamw.cu, three words each.
fn chunks(table: &mut Vec<i64>, gradient: u64, offset: usize, len: usize, decay: f32) {
    for start in (0..len).step_by(CHUNK) {
        let n = CHUNK.min(len - start) as u64;
        let words =
            [gradient + 4 * start as u64, (offset + start) as u64, n | u64::from(decay.to_bits()) << 32];
        table.extend(words.map(u64::cast_signed));
    }
}

impl AdamW {
    fn update_on(
        &self,
        gpu: &dyn Gpu,
        buffer: &Tensor,
        rounded: Option<&Tensor>,
        n_values: usize,
        updated: &[Updated],
    ) -> Result<()> {
        let (buffer, rounded) = (address_of(buffer)?, rounded.map_or(Ok(0), address_of)?);
        let scalars = Scalars::of(self);
        let decay = |part: &Updated| if part.decays { scalars.decay } else { 1.0 };
        let kernel = |name| Kernel::new(OP, name, DType::F32);
        let mut table = Vec::new();
        for part in updated {
            let gradient = address_of(part.gradient)?;
            let Some(rows) = part.rows else {
                chunks(&mut table, gradient, part.offset, part.len, decay(part));
                continue;
            };
            let width = part.gradient.dim(1)?;
            let n_rows = part.len / width;
            let touched = gpu.upload(CpuStorage::U32(rows.to_vec()))?;
            let args = args![
                buffer,
                rounded,
                touched,
                gradient,
                n_values,
                part.offset,
                n_rows,
                width,
                rows.len(),
                scalars,
                decay(part),
            ];
            gpu.launch(&kernel("adamw_rows")?, Dims::warp_each(n_rows), &args)?;
        }
        let dims = Dims::blocks(table.len() / 3, THREADS);
        let table: Memory = gpu.upload(CpuStorage::I64(table))?;
        gpu.launch(&kernel(OP)?, dims, &args![buffer, rounded, table, n_values, scalars])
    }
}

/// [`adamw`] on the CPU.
struct InPlace<'a> {
    how: &'a AdamW,
    updated: &'a [Updated<'a>],
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(values) = storage else { bail!("{OP}: parameters are f32") };
        let n_values = layout.dims()[1];
        let (start, end) = layout.contiguous_offsets().expect("it is contiguous");
        let (values, moments) = values[start..end].split_at_mut(n_values);
        let (first, second) = moments.split_at_mut(n_values);
        for part in self.updated {
            let range = part.offset..part.offset + part.len;
            let state = AdamWState {
                parameter: &mut values[range.clone()],
                first: &mut first[range.clone()],
                second: &mut second[range],
            };
            let weight_decay = if part.decays { self.how.weight_decay } else { 0.0 };
            let how = AdamW { weight_decay, ..*self.how };
            with_values(part.gradient, |gradient| match part.rows {
                None => how.update(state, gradient),
                Some(rows) => {
                    let width = gradient.len() / rows.len().max(1);
                    how.update_rows(state, SparseRows { rows, gradient, width });
                }
            })?;
        }
        Ok(())
    }
}

/// `Scalars` of adamw.cu.
impl Arg for Scalars {
    fn write(&self, args: &mut Args) {
        let scalars = [
            self.gradient_scale,
            self.one_minus_beta1,
            self.beta2,
            self.one_minus_beta2,
            self.root_of_correction2,
            self.eps,
            self.minus_step_size,
        ];
        scalars.iter().for_each(|scalar| scalar.write(args));
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulated::on_gpu;
    use super::super::testing::{assert_close, tensor, values};
    use super::*;

    fn how(step: u64) -> AdamW {
        AdamW {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            step,
            gradient_scale: 0.3,
        }
    }

    /// Parameters of several sizes, one of them a table of which some rows are touched.
    #[test]
    fn a_gpu_updates_a_buffer_as_the_cpu_does() {
        use candle_core::Device;

        let sizes = [(0, 1, None), (8, 37, None), (48, 3 * CHUNK + 5, None), (49_216, 70 * 33, Some(33))];
        let n_values = 51_528;
        let rows = [0, 3, 4, 69];
        let start: Vec<f32> =
            values(&tensor(3 * n_values, 1)).into_iter().map(|value| value.abs() as f32).collect();
        let gradients: Vec<Tensor> = (2..)
            .zip(&sizes)
            .map(|(seed, &(_, len, width))| match width {
                None => tensor(len, seed),
                Some(width) => tensor((rows.len(), width), seed),
            })
            .map(|gradient| gradient.to_dtype(DType::F32).unwrap())
            .collect();
        let run = |device: &Device| {
            let buffer = Tensor::from_vec(start.clone(), (3, n_values), device).unwrap();
            let rounded = Tensor::zeros(n_values, DType::BF16, device).unwrap();
            let gradients: Vec<Tensor> = gradients.iter().map(|g| g.to_device(device).unwrap()).collect();
            let norm = gradient_norm(&gradients.iter().collect::<Vec<_>>()).unwrap();
            for step in 1..3 {
                let part = |(i, &(offset, len, width)): (usize, &(usize, usize, Option<usize>))| Updated {
                    offset,
                    len,
                    gradient: &gradients[i],
                    rows: width.map(|_| rows.as_slice()),
                    decays: i != 1,
                };
                let updated: Vec<Updated> = sizes.iter().enumerate().map(part).collect();
                adamw(&buffer, Some(&rounded), &how(step), &updated).unwrap();
            }
            vec![buffer, rounded, Tensor::new(norm, &Device::Cpu).unwrap()]
        };
        let (found, expected) = (on_gpu(run), run(&Device::Cpu));
        assert_close(&found[0], &expected[0], 4.0 * f64::from(f32::EPSILON));
        assert_close(&found[2], &expected[2], 1e-12);
        // On the CPU nothing is rounded; a parameter's values are in the first row.
        for &(offset, len, _) in &sizes {
            let values = found[0].get(0).unwrap().narrow(0, offset, len).unwrap();
            assert_close(
                &found[1].narrow(0, offset, len).unwrap(),
                &values.to_dtype(DType::BF16).unwrap(),
                0.0,
            );
        }
    }
}
