//! What a run changes: the values of all parameters, and the moments of their gradients.
//!
//! All that is trained lies in one buffer, so that an update is one pass over it. The network computes with these
//! values, or on a GPU with the same rounded to bf16, which the update writes as it goes. What is frozen lies beside it,
//! without moments.

use candle_core::{D, DType, Tensor};

use super::frozen::Frozen;
use super::gradients::Gradients;
use super::settings::OptimizerSettings;
use crate::error::Result;
use crate::kernels::{AdamW, Updated, adamw, gradient_norm};
use crate::model::{Compute, Declarations, Network, Weights};

/// Parameters begin at multiples of this many elements: 16 bytes of bf16, so that both rows are read in whole vectors.
const ALIGNMENT: usize = 8;

pub(super) struct Parameters {
    /// (3, N) f32: values, first moments, second moments.
    buffer: Tensor,
    /// (N) bf16, the values rounded, where that is what the network computes with.
    rounded: Option<Tensor>,
    places: Vec<Place>,
}

/// Where a parameter is.
enum Place {
    /// In the buffer, from this column on.
    Trained { offset: usize, shape: Vec<usize> },
    /// The value, and what the network computes with.
    Frozen { value: Tensor, computed: Tensor },
}

/// A parameter as a checkpoint has it, f32.
pub(super) struct Stored {
    pub(super) value: Tensor,
    /// First and second; of a frozen one there are none.
    pub(super) moments: Option<[Tensor; 2]>,
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

impl Parameters {
    /// Of a run that begins: moments are zero.
    pub(super) fn start(
        values: &Weights,
        declared: &Declarations,
        frozen: &Frozen,
        compute: &Compute,
    ) -> Result<Self> {
        let zeros = |value: &Tensor| -> Result<[Tensor; 2]> {
            let zeros = value.zeros_like()?;
            Ok([zeros.clone(), zeros])
        };
        let stored = declared.iter().zip(values.iter()).map(|((id, _), value)| {
            let moments = if frozen.has(id) { None } else { Some(zeros(value)?) };
            Ok(Stored { value: value.clone(), moments })
        });
        Self::new(stored.collect::<Result<_>>()?, declared, compute)
    }

    /// Parameters in their order, on any device.
    pub(super) fn new(stored: Vec<Stored>, declared: &Declarations, compute: &Compute) -> Result<Self> {
        let device = compute.device();
        let mut places = Vec::with_capacity(stored.len());
        let mut rows: [Vec<Tensor>; 3] = Default::default();
        let mut n_values = 0;
        for ((_, declared), Stored { value, moments }) in declared.iter().zip(stored) {
            let Some([first, second]) = moments else {
                let value = value.to_device(device)?.reshape(declared.shape.as_slice())?;
                let computed = value.to_dtype(compute.dtype())?;
                places.push(Place::Frozen { value, computed });
                continue;
            };
            let len = declared.n_values();
            places.push(Place::Trained { offset: n_values, shape: declared.shape.clone() });
            n_values += len.next_multiple_of(ALIGNMENT);
            for (row, tensor) in rows.iter_mut().zip([value, first, second]) {
                let flat = tensor.flatten_all()?.to_device(device)?;
                row.push(flat.pad_with_zeros(0, 0, len.next_multiple_of(ALIGNMENT) - len)?);
            }
        }
        let rows = rows.iter().map(|row| Tensor::cat(row, 0)).collect::<candle_core::Result<Vec<_>>>()?;
        let buffer = Tensor::stack(&rows, 0)?;
        let rounded = match compute.dtype() {
            DType::F32 => None,
            dtype => Some(rows[0].to_dtype(dtype)?),
        };
        Ok(Self { buffer, rounded, places })
    }

    /// What the network computes with.
    pub(super) fn computed(&self) -> Result<Weights> {
        let row = match &self.rounded {
            Some(rounded) => rounded.clone(),
            None => self.buffer.get(0)?,
        };
        let computed = |place: &Place| match place {
            Place::Frozen { computed, .. } => Ok(computed.clone()),
            Place::Trained { offset, shape } => part(&row, *offset, shape),
        };
        Ok(Weights::new(self.places.iter().map(computed).collect::<Result<_>>()?))
    }

    /// The values, unrounded.
    pub(super) fn values(&self) -> Result<Weights> {
        Ok(Weights::new(self.stored()?.into_iter().map(|stored| stored.value).collect()))
    }

    /// All that a checkpoint holds, as views.
    pub(super) fn stored(&self) -> Result<Vec<Stored>> {
        let rows = [self.buffer.get(0)?, self.buffer.get(1)?, self.buffer.get(2)?];
        let stored = |place: &Place| {
            Ok(match place {
                Place::Frozen { value, .. } => Stored { value: value.clone(), moments: None },
                Place::Trained { offset, shape } => Stored {
                    value: part(&rows[0], *offset, shape)?,
                    moments: Some([part(&rows[1], *offset, shape)?, part(&rows[2], *offset, shape)?]),
                },
            })
        };
        self.places.iter().map(stored).collect()
    }

    /// Updates the values; gives the norm of all gradients together, before clipping.
    ///
    /// # Errors
    /// [`crate::Error::Compute`].
    pub(super) fn update(&mut self, update: Update, gradients: &Gradients) -> Result<f64> {
        let flat: Vec<&Tensor> = gradients.of.iter().flatten().collect();
        let norm = gradient_norm(&flat)?;
        if !norm.is_finite() {
            // The caller stops; the values stay as they were.
            return Ok(norm);
        }
        let settings = update.settings;
        let most = settings.clip_norm;
        let scale = if most < norm { most / (norm + 1e-6) } else { 1.0 };
        let declared = update.network.parameters().iter();
        let updated =
            declared.zip(&self.places).zip(&gradients.of).filter_map(|(((id, declared), place), of)| {
                let (Place::Trained { offset, .. }, Some(gradient)) = (place, of) else { return None };
                let is_table = id == update.network.words();
                Some(Updated {
                    offset: *offset,
                    len: declared.n_values(),
                    gradient,
                    rows: is_table.then_some(gradients.touched.as_slice()),
                    decays: declared.decays(),
                })
            });
        let how = AdamW {
            learning_rate: update.learning_rate,
            beta1: settings.beta1,
            beta2: settings.beta2,
            eps: settings.epsilon,
            weight_decay: settings.weight_decay,
            step: update.number,
            gradient_scale: scale as f32,
        };
        adamw(&self.buffer, self.rounded.as_ref(), &how, &updated.collect::<Vec<_>>())?;
        Ok(norm)
    }
}

/// A parameter of a row of the buffer.
fn part(row: &Tensor, offset: usize, shape: &[usize]) -> Result<Tensor> {
    Ok(row.narrow(D::Minus1, offset, shape.iter().product())?.reshape(shape)?)
}
