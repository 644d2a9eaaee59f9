//! `add_norm`: the layer norm after a residual connection, with the bias of the product before it, as one op.

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument, matrix};
use super::dropout::{Dropout, DropoutOp};
use super::gpu::{Gpu, Memory, View};
use super::layer_norm::NormRows;
use super::norm_rows::Norm;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
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
    x.apply3(residual, params, Fused(AddNormOp(how)))
}

struct AddNormOp(AddNorm);

impl Op<3> for AddNormOp {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, residual, params]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 1]> {
        let rows = NormRows::of_two(x.data, residual.data, params.data, self.0.draws());
        Ok([(rows.forward(self.0.eps), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, inputs: [View<'_>; 3]) -> Result<[(Memory, Shape); 1]> {
        let shape = inputs[0].dims.into();
        Ok([(self.0.norm(inputs).forward(gpu)?, shape)])
    }
}

impl Differentiable<3> for AddNormOp {
    fn gradients(&self, inputs: [&Tensor; 3], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let [x, residual, params] = inputs;
        let inputs = [x, residual, params, dy];
        let [dx, dresidual, dparams] = match self.0.draws() {
            None => {
                let [dh, dparams] = evaluate(&Gradient(self.0), inputs)?;
                [dh.clone(), dh, dparams]
            }
            Some(draws) => evaluate(&DroppingGradient(self.0, draws), inputs)?,
        };
        Ok([dx, dresidual, dparams].map(Some))
    }
}

impl AddNorm {
    fn draws(self) -> Option<DropoutOp> {
        self.dropout.map(|(dropout, first_token)| DropoutOp { dropout, first_token })
    }

    fn norm(self, [x, residual, params]: [View<'_>; 3]) -> Norm<'_> {
        Norm { op: OP, x, residual: Some(residual), params, eps: self.eps, dropout: self.draws() }
    }

    fn backward<T: Real>(self, [x, residual, params, dy]: [Input<'_, T>; 4]) -> (Vec<T>, Vec<T>) {
        NormRows::of_two(x.data, residual.data, params.data, self.draws()).backward(dy.data, self.eps)
    }
}

/// Without dropout: (x, residual, params, dy) -> the gradient of x, which is that of the residual (T, D), then dparams
/// (3, D).
struct Gradient(AddNorm);

impl Op<4, 2> for Gradient {
    const NAME: &'static str = "add_norm_gradient";

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 4]) -> Result<[(Vec<T>, Shape); 2]> {
        let (dh, dparams) = self.0.backward(inputs);
        Ok([(dh, inputs[0].dims.into()), (dparams, inputs[2].dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, residual, params, dy]: [View<'_>; 4]) -> Result<[(Memory, Shape); 2]> {
        let of = self.0.norm([x, residual, params]).gradient(gpu, dy)?;
        Ok([(of.dh, x.dims.into()), (of.dparams, params.dims.into())])
    }
}

/// With dropout: (x, residual, params, dy) -> dx (T, D), dresidual (T, D), dparams (3, D).
struct DroppingGradient(AddNorm, DropoutOp);

impl Op<4, 3> for DroppingGradient {
    const NAME: &'static str = "add_norm_gradient";

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 4]) -> Result<[(Vec<T>, Shape); 3]> {
        let (dh, dparams) = self.0.backward(inputs);
        let Input { dims, .. } = inputs[0];
        let dx = self.1.forward(&dh, dims[1]);
        Ok([(dx, dims.into()), (dh, dims.into()), (dparams, inputs[2].dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, residual, params, dy]: [View<'_>; 4]) -> Result<[(Memory, Shape); 3]> {
        let of = self.0.norm([x, residual, params]).gradient(gpu, dy)?;
        let dx = of.dx.expect("a gradient with dropout writes that of x");
        Ok([(dx, x.dims.into()), (of.dh, x.dims.into()), (of.dparams, params.dims.into())])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::dropout::dropout;
    use super::super::layer_norm::layer_norm;
    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
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
    fn a_gpu_computes_the_same() {
        for (rows, width) in [(3, 31), (67, 33), (1, 4104), (9, 8), (20, 768)] {
            let inputs = [tensor((rows, width), 1), tensor((rows, width), 2), tensor((3, width), 3)];
            for how in [PLAIN, AddNorm { eps: PLAIN.eps, ..dropping() }] {
                check_gpu(|i| add_norm(&i[0], &i[1], &i[2], how), &inputs, width + rows);
            }
        }
        // A team of 6 warps, of which a block has one, and three rows for it.
        let inputs = [tensor((530, 1288), 1), tensor((530, 1288), 2), tensor((3, 1288), 3)];
        check_gpu(|i| add_norm(&i[0], &i[1], &i[2], dropping()), &inputs, 1288);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = add_norm(&tensor((3, 5), 1), &tensor((3, 4), 1), &tensor((3, 5), 2), PLAIN).unwrap_err();
        assert!(e.to_string().contains("`residual` must have shape [3, 5], found [3, 4]"), "{e}");
    }
}
