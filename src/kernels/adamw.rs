//! `AdamW`: the update of parameters, in place, with moments that can be saved and restored. [`adamw`] updates all
//! parameters of a model in one buffer, on a CPU or a GPU; [`AdamW::update`] is the definition.
//!
//! No op, as it takes no part in a gradient. The order of operations is that of PyTorch's `AdamW` on one tensor
//! (Loshchilov and Hutter 2019), in f32 with the scalars computed in f64. Clipping is a factor on the gradient, since
//! the norm is that of all parameters together: see [`squared_norm`].

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

use super::check::elements;
use super::gpu::{Arg, Args, Dims, Gpu, Kernel, Memory, args};
use super::lanes::vectorised;
use super::op::{address_of, to_tensor, with_gpu};

const OP: &str = "adamw";

/// Elements that a block of a GPU updates, or whose squares it adds up.
const CHUNK: usize = 1 << 14;

/// Threads of a block.
const THREADS: usize = 256;

/// Elements of a task, and of a partial sum of [`squared_norm`], where it decides the rounding.
const BLOCK: usize = 1 << 13;

/// The settings of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Decoupled: the parameter shrinks by `learning_rate * weight_decay`, whatever its gradient.
    pub weight_decay: f64,
    /// Counted from 1.
    pub step: u64,
    /// The gradient is multiplied by this before anything else.
    pub gradient_scale: f32,
}

/// A parameter with its first and second moment, all of one length.
#[derive(Debug)]
pub struct AdamWState<'a> {
    pub parameter: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
}

/// The gradient of a table of which a step touches few rows; all other rows of it are 0.
#[derive(Clone, Copy, Debug)]
pub struct SparseRows<'a> {
    /// Ascending numbers of rows.
    pub rows: &'a [u32],
    /// Their gradients, one after another.
    pub gradient: &'a [f32],
    pub width: usize,
}

impl AdamW {
    /// Updates a parameter by its gradient.
    ///
    /// ```
    /// use prep::kernels::{AdamW, AdamWState};
    ///
    /// let settings = AdamW {
    ///     learning_rate: 0.5, beta1: 0.9, beta2: 0.999, eps: 0.0, weight_decay: 0.0, step: 1, gradient_scale: 1.0,
    /// };
    /// let (mut w, mut m, mut v) = ([1.0], [0.0], [0.0]);
    /// let state = AdamWState { parameter: &mut w, first: &mut m, second: &mut v };
    /// settings.update(state, &[3.0]); // the first step has the size of the learning rate
    /// assert!((w[0] - 0.5_f32).abs() < 1e-6);
    /// ```
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn update(&self, state: AdamWState<'_>, gradient: &[f32]) {
        let AdamWState { parameter, first, second } = state;
        assert!(
            [first.len(), second.len(), gradient.len()] == [parameter.len(); 3],
            "a parameter, its moments and its gradient have one length"
        );
        let scalars = Scalars::of(self);
        parameter
            .par_chunks_mut(BLOCK)
            .zip(first.par_chunks_mut(BLOCK))
            .zip(second.par_chunks_mut(BLOCK))
            .zip(gradient.par_chunks(BLOCK))
            .for_each(|(((parameter, first), second), gradient)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (((w, m), v), &g) in parameter.iter_mut().zip(first).zip(second).zip(gradient) {
                            scalars.update(w, m, v, g);
                        }
                    },
                );
            });
    }

    /// [`AdamW::update`] of a table by a gradient that is 0 in all rows but some: the same bits, without the table of
    /// zeros. Rows that are not touched still decay, and their moments fade.
    ///
    /// # Panics
    /// When the lengths differ, or the rows do not ascend or stand outside the table.
    pub fn update_rows(&self, state: AdamWState<'_>, gradient: SparseRows<'_>) {
        let AdamWState { parameter, first, second } = state;
        let SparseRows { rows, gradient, width } = gradient;
        assert!(
            [first.len(), second.len()] == [parameter.len(); 2],
            "a parameter and its moments have one length"
        );
        assert!(rows.len() * width == gradient.len(), "a gradient for each row that is touched");
        assert!(rows.is_sorted_by(|a, b| a < b), "touched rows ascend");
        assert!(
            rows.last().is_none_or(|&last| (last as usize + 1) * width <= parameter.len()),
            "touched rows stand in the table"
        );
        let scalars = Scalars::of(self);
        let block_rows = (BLOCK / width).max(1);
        let block = block_rows * width;
        parameter
            .par_chunks_mut(block)
            .zip(first.par_chunks_mut(block))
            .zip(second.par_chunks_mut(block))
            .enumerate()
            .for_each(|(i, ((parameter, first), second))| {
                let first_row = i * block_rows;
                let mut next = rows.partition_point(|&row| (row as usize) < first_row);
                vectorised(
                    #[inline(always)]
                    || {
                        let moments = first.chunks_mut(width).zip(second.chunks_mut(width));
                        for (row, (w, (m, v))) in parameter.chunks_mut(width).zip(moments).enumerate() {
                            if rows.get(next).is_some_and(|&touched| touched as usize == first_row + row) {
                                let gradient = &gradient[next * width..][..width];
                                next += 1;
                                for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(gradient) {
                                    scalars.update(w, m, v, g);
                                }
                            } else {
                                for ((w, m), v) in w.iter_mut().zip(m).zip(v) {
                                    scalars.update(w, m, v, 0.0);
                                }
                            }
                        }
                    },
                );
            });
    }
}

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

/// What a step multiplies by, the same for every element.
#[derive(Clone, Copy)]
struct Scalars {
    gradient_scale: f32,
    decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    root_of_correction2: f32,
    eps: f32,
    minus_step_size: f32,
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

impl Scalars {
    fn of(settings: &AdamW) -> Self {
        let power = |beta: f64| beta.powf(settings.step as f64);
        let step_size = settings.learning_rate / (1.0 - power(settings.beta1));
        Self {
            gradient_scale: settings.gradient_scale,
            decay: (1.0 - settings.learning_rate * settings.weight_decay) as f32,
            one_minus_beta1: (1.0 - settings.beta1) as f32,
            beta2: settings.beta2 as f32,
            one_minus_beta2: (1.0 - settings.beta2) as f32,
            root_of_correction2: (1.0 - power(settings.beta2)).sqrt() as f32,
            eps: settings.eps as f32,
            minus_step_size: -step_size as f32,
        }
    }

    #[inline(always)]
    fn update(&self, w: &mut f32, m: &mut f32, v: &mut f32, gradient: f32) {
        let g = gradient * self.gradient_scale;
        *w *= self.decay;
        *m += self.one_minus_beta1 * (g - *m);
        *v = *v * self.beta2 + self.one_minus_beta2 * g * g;
        let divisor = v.sqrt() / self.root_of_correction2 + self.eps;
        *w += self.minus_step_size * *m / divisor;
    }
}

/// The sum of squares, in f64 and in an order that threads do not change: what a norm over all gradients adds up.
#[must_use]
pub fn squared_norm(values: &[f32]) -> f64 {
    /// Chains of additions that do not wait for each other.
    const LANES: usize = 16;
    let parts: Vec<f64> = values
        .par_chunks(BLOCK)
        .map(|values| {
            vectorised(
                #[inline(always)]
                || {
                    let mut lanes = [0.0; LANES];
                    let (chunks, rest) = values.as_chunks::<LANES>();
                    for chunk in chunks.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
                        for (lane, &value) in lanes.iter_mut().zip(chunk) {
                            *lane += f64::from(value) * f64::from(value);
                        }
                    }
                    lanes.iter().sum()
                },
            )
        })
        .collect();
    parts.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::emulated::on_gpu;
    use super::super::testing::{assert_close, tensor, values};
    use super::*;

    const SETTINGS: AdamW = AdamW {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 1,
        gradient_scale: 1.0,
    };

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        values(&tensor(n, seed)).into_iter().map(|value| value as f32).collect()
    }

    /// The algorithm in PyTorch's documentation of `AdamW`, in f64 in Python:
    ///
    /// ```python
    /// w, m, v = [1.0, -2.0, 0.5], [0.0] * 3, [0.0] * 3
    /// for t, g in enumerate([[0.1, -0.2, 0.0], [0.3, 0.1, 0.0], [-0.2, 0.4, 1e-3]], 1):
    ///     for i in range(3):
    ///         w[i] -= 0.1 * 0.01 * w[i]
    ///         m[i] = 0.9 * m[i] + 0.1 * g[i]
    ///         v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2
    ///         w[i] -= 0.1 * (m[i] / (1 - 0.9**t)) / ((v[i] / (1 - 0.999**t)) ** 0.5 + 1e-8)
    /// ```
    #[test]
    fn three_steps_by_the_published_algorithm() {
        let mut w = [1.0, -2.0, 0.5];
        let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
        for (step, gradient) in (1..).zip([[0.1, -0.2, 0.0], [0.3, 0.1, 0.0], [-0.2, 0.4, 1e-3]]) {
            let state = AdamWState { parameter: &mut w, first: &mut m, second: &mut v };
            AdamW { step, ..SETTINGS }.update(state, &gradient);
        }
        for (found, expected) in w.iter().zip([0.779_726_199_978, -1.913_332_011_684, 0.434_621_245_445]) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{found}, expected {expected}");
        }
    }

    #[test]
    fn fifty_steps_are_those_of_candle_nn() {
        use candle_core::{Device, Tensor, Var};
        use candle_nn::{Optimizer as _, ParamsAdamW};

        let n = 1003;
        let mut w = numbers(n, 1);
        let theirs = Var::from_tensor(&Tensor::new(w.as_slice(), &Device::Cpu).unwrap()).unwrap();
        let AdamW { learning_rate: lr, beta1, beta2, eps, weight_decay, .. } = SETTINGS;
        let params = ParamsAdamW { lr, beta1, beta2, eps, weight_decay };
        let mut optimizer = candle_nn::AdamW::new(vec![theirs.clone()], params).unwrap();
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        for step in 1..=50 {
            let gradient = numbers(n, 100 + step);
            // The gradient of <w, g> is g.
            let loss =
                (theirs.as_tensor() * Tensor::new(gradient.as_slice(), &Device::Cpu).unwrap()).unwrap();
            optimizer.backward_step(&loss.sum_all().unwrap()).unwrap();
            let state = AdamWState { parameter: &mut w, first: &mut m, second: &mut v };
            AdamW { step, ..SETTINGS }.update(state, &gradient);
        }
        for (ours, theirs) in w.iter().zip(theirs.to_vec1::<f32>().unwrap()) {
            assert!((ours - theirs).abs() < 1e-5, "{ours}, candle-nn has {theirs}");
        }
    }

    #[test]
    fn touched_rows_alone_give_the_bits_of_the_dense_gradient() {
        for (n_rows, width, rows) in
            [(1, 1, vec![]), (7, 3, vec![0, 2, 6]), (5000, 5, (0..1200).map(|i| i * 4).collect())]
        {
            let gradient = numbers(rows.len() * width, 4);
            let mut dense = vec![0.0; n_rows * width];
            for (i, &row) in rows.iter().enumerate() {
                dense[row as usize * width..][..width].copy_from_slice(&gradient[i * width..][..width]);
            }
            let start = numbers(n_rows * width, 1);
            let run = |sparse: bool| {
                let (mut w, mut m, mut v) =
                    (start.clone(), start.clone(), start.iter().map(|x| x * x).collect::<Vec<_>>());
                for step in 3..5 {
                    let state = AdamWState { parameter: &mut w, first: &mut m, second: &mut v };
                    let settings = AdamW { step, gradient_scale: 0.3, ..SETTINGS };
                    match sparse {
                        false => settings.update(state, &dense),
                        true => settings
                            .update_rows(state, SparseRows { rows: &rows, gradient: &gradient, width }),
                    }
                }
                [w, m, v].map(|values| values.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            assert_eq!(run(false), run(true));
        }
    }

    #[test]
    fn the_norm_is_the_sum_of_squares_for_any_number_of_threads() {
        assert_eq!(squared_norm(&[3.0, 4.0]).to_bits(), 25_f64.to_bits());
        let values = numbers(40_003, 1);
        let expected: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| squared_norm(&values))
        };
        assert!((on(1) - expected).abs() < 1e-9);
        assert_eq!(on(1).to_bits(), on(2).to_bits());
        assert_eq!(on(1).to_bits(), on(3).to_bits());
    }

    /// Parameters of several sizes, one of them a table of which some rows are touched.
    #[test]
    fn a_gpu_updates_a_buffer_as_the_cpu_does() {
        use candle_core::Device;

        let sizes = [(0, 1, None), (8, 37, None), (48, 3 * CHUNK + 5, None), (49_216, 70 * 33, Some(33))];
        let n_values = 51_528;
        let rows = [0, 3, 4, 69];
        let start: Vec<f32> = numbers(3 * n_values, 1).into_iter().map(f32::abs).collect();
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
                adamw(&buffer, Some(&rounded), &AdamW { step, gradient_scale: 0.3, ..SETTINGS }, &updated)
                    .unwrap();
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
