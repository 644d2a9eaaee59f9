//! AdamW over all parameters, with moments that can be saved: candle's own hides them.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var, bail};

use super::frozen::Frozen;
use super::gradients::Gradients;
use super::settings::OptimizerSettings;
use crate::error::Result;
use crate::kernels::{AdamW, AdamWState, SparseRows, squared_norm};
use crate::model::Network;

/// First and second moment of every parameter; of a frozen one there are none.
pub(super) struct Optimizer {
    pub(super) first: Vec<Vec<f32>>,
    pub(super) second: Vec<Vec<f32>>,
}

/// What one update is made with.
#[derive(Clone, Copy)]
pub(super) struct Update<'a> {
    pub(super) network: &'a Network,
    pub(super) settings: &'a OptimizerSettings,
    pub(super) learning_rate: f64,
    /// Counted from 1.
    pub(super) number: u64,
}

impl Optimizer {
    pub(super) fn new(network: &Network, frozen: &Frozen) -> Self {
        let zeros = || {
            let parameters = network.parameters().iter();
            parameters
                .map(|(id, declared)| vec![0.0; if frozen.has(id) { 0 } else { declared.n_values() }])
                .collect()
        };
        Self { first: zeros(), second: zeros() }
    }

    /// Updates the values; gives the norm of all gradients together, before clipping.
    ///
    /// # Errors
    /// [`crate::Error::Compute`] when a gradient is no f32 on the CPU.
    pub(super) fn update(&mut self, update: Update, values: &[Var], gradients: &Gradients) -> Result<f64> {
        let flat = gradients.of.iter().map(|gradient| gradient.as_ref().map(read).transpose());
        let flat: Vec<Option<Vec<f32>>> = flat.collect::<Result<_>>()?;
        let norm = flat.iter().flatten().map(|gradient| squared_norm(gradient)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            // The caller stops; the values stay as they were.
            return Ok(norm);
        }
        let settings = update.settings;
        let most = settings.clip_norm;
        let scale = if most < norm { most / (norm + 1e-6) } else { 1.0 };
        let moments = self.first.iter_mut().zip(&mut self.second);
        let parameters = update.network.parameters().iter().zip(values).zip(flat).zip(moments);
        for ((((id, declared), value), gradient), (first, second)) in parameters {
            let Some(gradient) = gradient else { continue };
            let is_table = id == update.network.words();
            value.inplace_op1(&InPlace {
                how: AdamW {
                    learning_rate: update.learning_rate,
                    beta1: settings.beta1,
                    beta2: settings.beta2,
                    eps: settings.epsilon,
                    weight_decay: if declared.decays() { settings.weight_decay } else { 0.0 },
                    step: update.number,
                    gradient_scale: scale as f32,
                },
                gradient: &gradient,
                touched: is_table.then_some(gradients.touched.as_slice()),
                moments: Mutex::new((first, second)),
            })?;
        }
        Ok(norm)
    }
}

/// Values of a gradient, on the CPU.
fn read(gradient: &Tensor) -> Result<Vec<f32>> {
    Ok(gradient.flatten_all()?.to_vec1()?)
}

struct InPlace<'a> {
    how: AdamW,
    gradient: &'a [f32],
    /// Where the gradient is of these rows alone.
    touched: Option<&'a [u32]>,
    moments: Mutex<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp1 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else { bail!("adamw: parameters are f32") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("adamw: parameters are contiguous")
        };
        let mut moments = self.moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, second) = &mut *moments;
        let state = AdamWState { parameter: &mut values[start..end], first, second };
        match self.touched {
            None => self.how.update(state, self.gradient),
            Some(rows) => {
                let width = layout.dims()[1];
                self.how.update_rows(state, SparseRows { rows, gradient: self.gradient, width });
            }
        }
        Ok(())
    }
}
