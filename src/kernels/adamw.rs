//! `AdamW`: the update of one parameter, in place, with moments that can be saved and restored. `adamw_buffer.rs` updates
//! all parameters of a model.
//!
//! No op, as it takes no part in a gradient. The order of operations is that of PyTorch's `AdamW` on one tensor
//! (Loshchilov and Hutter 2019), in f32 with the scalars computed in f64. Clipping is a factor on the gradient, since
//! the norm is that of all parameters together: see [`squared_norm`].

use rayon::prelude::*;

use super::lanes::vectorised;

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

/// What a step multiplies by, the same for every element.
#[derive(Clone, Copy)]
pub(super) struct Scalars {
    pub(super) gradient_scale: f32,
    pub(super) decay: f32,
    pub(super) one_minus_beta1: f32,
    pub(super) beta2: f32,
    pub(super) one_minus_beta2: f32,
    pub(super) root_of_correction2: f32,
    pub(super) eps: f32,
    pub(super) minus_step_size: f32,
}

impl Scalars {
    pub(super) fn of(settings: &AdamW) -> Self {
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
    use super::super::testing::{tensor, values};
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
}
