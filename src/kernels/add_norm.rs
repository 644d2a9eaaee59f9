//! `add_norm`: the layer norm after a residual connection, with the bias of the product before it, as one op.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::check::{alike, argument, by_dtype, elements, held, matrix, output, parts};
use super::dropout::{Dropout, DropoutOp};
use super::layer_norm::NormRows;
use super::tape::Operand;

const OP: &str = "add_norm";

/// What `add_norm` does beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct AddNorm {
    /// Added to the variance.
    pub eps: f64,
    /// Dropout of x + bias, and the number in the batch of the token in row 0: that of [`dropout`](super::dropout()).
    pub dropout: Option<(Dropout, u64)>,
}

/// x: (T, D), residual: (T, D), params: (3, D) of bias, gain and shift -> (T, D),
/// `norm(drop(x + bias) + residual) * gain + shift`, with the norm of [`layer_norm`](super::layer_norm()).
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn add_norm<V: Operand>(x: &V, residual: &V, params: &V, how: AddNorm) -> Result<V> {
    let (rows, width) = matrix(OP, "x", x.tensor())?;
    argument(OP, "residual", residual.tensor(), (rows, width))?;
    argument(OP, "params", params.tensor(), (3, width))?;
    alike(OP, ("x", x.tensor()), &[("residual", residual.tensor()), ("params", params.tensor())])?;
    x.apply3(residual, params, AddNormOp(how))
}

struct AddNormOp(AddNorm);

impl AddNorm {
    fn draws(self) -> Option<DropoutOp> {
        self.dropout.map(|(dropout, first_token)| DropoutOp { dropout, first_token })
    }
}

impl CustomOp3 for AddNormOp {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        params: &CpuStorage,
        params_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(x, T => {
            let (x, residual) = (elements::<T>(x, x_layout)?, elements(residual, residual_layout)?);
            let rows = NormRows::of_two(x, residual, elements(params, params_layout)?, self.0.draws());
            Ok(output(rows.forward(self.0.eps), x_layout.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        params: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = Gradient { how: self.0, params: params.detach() };
        let flat = x.apply_op3_no_bwd(residual, &dy.contiguous()?, &gradient)?;
        let [dh, dparams] = parts(&flat, [x.shape().clone(), params.shape().clone()])?;
        let dx = match self.0.draws() {
            None => dh.clone(),
            Some(draws) => dh.apply_op1_no_bwd(&draws)?,
        };
        Ok((Some(dx), Some(dh), Some(dparams)))
    }
}

/// (x, residual, dy) -> the gradient of the residual, which before dropout is that of x too (T, D), then that of the
/// parameters (3, D).
struct Gradient {
    how: AddNorm,
    params: Tensor,
}

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "add_norm_gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
        dy: &CpuStorage,
        dy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (params, params_layout) = self.params.storage_and_layout();
        by_dtype!(x, T => {
            let (x, residual) = (elements::<T>(x, x_layout)?, elements(residual, residual_layout)?);
            let rows = NormRows::of_two(x, residual, held(&params, params_layout)?, self.how.draws());
            let flat = rows.backward(elements(dy, dy_layout)?, self.how.eps);
            let len = flat.len();
            Ok(output(flat, len))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::dropout::dropout;
    use super::super::layer_norm::layer_norm;
    use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor};
    use super::*;

    const PLAIN: AddNorm = AddNorm { eps: 1e-5, dropout: None };

    fn dropping() -> AddNorm {
        AddNorm { eps: 1e-2, dropout: Some((Dropout::new(0.3, 5).unwrap(), 41)) }
    }

    #[test]
    fn is_the_layer_norm_of_the_sum() {
        let (x, residual, params) = (tensor((66, 19), 1), tensor((66, 19), 2), tensor((3, 19), 3));
        let sum = (&x + &residual).unwrap().broadcast_add(&params.get(0).unwrap()).unwrap();
        let exact = layer_norm(&sum, &params.narrow(0, 1, 2).unwrap(), PLAIN.eps).unwrap();
        assert_close(&add_norm(&x, &residual, &params, PLAIN).unwrap(), &exact, 1e-12);
        let [x, residual, params] = [x, residual, params].map(|tensor| tensor.to_dtype(DType::F32).unwrap());
        assert_close(&add_norm(&x, &residual, &params, PLAIN).unwrap(), &exact, 1e-5);
    }

    #[test]
    fn drops_what_dropout_drops() {
        let (x, residual, params) = (tensor((66, 19), 1), tensor((66, 19), 2), tensor((3, 19), 3));
        let biased = x.broadcast_add(&params.get(0).unwrap()).unwrap();
        let dropped = dropout(&biased, Dropout::new(0.3, 5).unwrap(), 41).unwrap();
        let norm = params.narrow(0, 1, 2).unwrap();
        let exact = layer_norm(&(dropped + &residual).unwrap(), &norm, dropping().eps).unwrap();
        assert_close(&add_norm(&x, &residual, &params, dropping()).unwrap(), &exact, 1e-12);
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, width) in [(1, 2), (3, 7), (67, 3)] {
            let inputs = [tensor((rows, width), 1), tensor((rows, width), 2), tensor((3, width), 3)];
            for how in [AddNorm { eps: 1e-2, ..PLAIN }, dropping()] {
                check_gradients(|i| add_norm(&i[0], &i[1], &i[2], how), &inputs, 1e-6);
            }
        }
    }

    #[test]
    fn threads_do_not_show() {
        let inputs = [tensor((700, 65), 1), tensor((700, 65), 2), tensor((3, 65), 3)];
        one_to_three_threads(&inputs, |i| add_norm(&i[0], &i[1], &i[2], PLAIN));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = add_norm(&tensor((3, 5), 1), &tensor((3, 4), 1), &tensor((3, 5), 2), PLAIN).unwrap_err();
        assert!(e.to_string().contains("`residual` must have shape [3, 5], found [3, 4]"), "{e}");
    }
}
