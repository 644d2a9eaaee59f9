//! `add_rms_norm`: a residual connection and the RMS norm of its sum, as one op; the sum is an output too, which the next
//! residual connection takes.

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument, matrix};
use super::dropout::{Dropout, DropoutOp};
use super::gpu::{Gpu, Memory, View};
use super::lanes::add;
use super::norm_rows::Norm;
use super::op::{Input, Op, evaluate};
use super::real::Real;
use super::rms_norm;
use super::rows::for_rows;
use super::tape::{Node, Operand};

const OP: &str = "add_rms_norm";

/// What `add_rms_norm` does beside its tensors.
#[derive(Clone, Copy, Debug)]
pub struct AddRmsNorm {
    /// Added to the mean square.
    pub eps: f64,
    /// Dropout of x, and the number in the batch of the token in row 0: that of [`dropout`](super::dropout()).
    pub dropout: Option<(Dropout, u64)>,
}

/// x: (T, D), residual: (T, D), gain: (D) -> `h = drop(x) + residual` and the [`rms_norm`](super::rms_norm()) of h, both
/// (T, D).
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn add_rms_norm(x: &Node, residual: &Node, gain: &Node, how: AddRmsNorm) -> Result<[Node; 2]> {
    let (rows, width) = matrix(OP, "x", x.tensor())?;
    argument(OP, "residual", residual.tensor(), (rows, width))?;
    argument(OP, "gain", gain.tensor(), width)?;
    alike(OP, ("x", x.tensor()), &[("residual", residual.tensor()), ("gain", gain.tensor())])?;
    Node::pair([x, residual, gain], OP, |inputs| {
        let values = evaluate(&Forward(how), inputs)?;
        let (h, gain) = (values[0].clone(), inputs[2].clone());
        let gradients = move |of_values: [Option<Tensor>; 2]| how.gradients(&h, &gain, of_values);
        Ok((values, gradients))
    })
}

impl AddRmsNorm {
    /// Those of x, of the residual and of gain, of those of h and of its norm.
    fn gradients(self, h: &Tensor, gain: &Tensor, of: [Option<Tensor>; 2]) -> Result<[Option<Tensor>; 3]> {
        // An encoder has no use for its last sum, which is a matrix of zeros once in a pass.
        let [of_h, of_norm] = of.map(|of| of.map_or_else(|| h.zeros_like(), |of| of.contiguous()));
        let inputs = [h, gain, &of_norm?, &of_h?];
        let [dx, dresidual, dgain] = match self.draws() {
            None => {
                let [dh, dgain] = evaluate(&Gradient(self), inputs)?;
                [dh.clone(), dh, dgain]
            }
            Some(draws) => evaluate(&DroppingGradient(self, draws), inputs)?,
        };
        Ok([dx, dresidual, dgain].map(Some))
    }

    fn draws(self) -> Option<DropoutOp> {
        self.dropout.map(|(dropout, first_token)| DropoutOp { dropout, first_token })
    }

    fn norm<'a>(self, x: View<'a>, residual: View<'a>, gain: View<'a>) -> Norm<'a> {
        Norm { op: OP, x, residual: Some(residual), params: gain, eps: self.eps, dropout: self.draws() }
    }

    fn backward<T: Real>(self, [h, gain, dy, of_h]: [Input<'_, T>; 4]) -> (Vec<T>, Vec<T>) {
        let (mut dh, dgain) = rms_norm::backward(h.data, gain.data, dy.data, self.eps);
        let width = gain.data.len();
        for_rows(
            &mut dh,
            width,
            #[inline(always)]
            |t, dh| add(dh, &of_h.data[t * width..][..width]),
        );
        (dh, dgain)
    }
}

/// (x, residual, gain) -> h (T, D), its norm (T, D).
struct Forward(AddRmsNorm);

impl Op<3, 2> for Forward {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, residual, gain]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 2]> {
        let width = gain.data.len();
        let draws = self.0.draws();
        let mut h = vec![T::zero(); x.data.len()];
        for_rows(
            &mut h,
            width,
            #[inline(always)]
            |t, h| {
                let (x, residual) = (&x.data[t * width..][..width], &residual.data[t * width..][..width]);
                match draws {
                    Some(draws) => {
                        draws.for_columns(t, width, |c, factor: T| h[c] = x[c] * factor + residual[c]);
                    }
                    None => {
                        h.copy_from_slice(x);
                        add(h, residual);
                    }
                }
            },
        );
        let y = rms_norm::forward(&h, gain.data, self.0.eps);
        Ok([(h, x.dims.into()), (y, x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, residual, gain]: [View<'_>; 3]) -> Result<[(Memory, Shape); 2]> {
        let (y, h) = self.0.norm(x, residual, gain).forward_and_sum(gpu)?;
        Ok([(h, x.dims.into()), (y, x.dims.into())])
    }
}

/// Without dropout: (h, gain, dy, gradient of h as an output) -> the gradient of x, which is that of the residual (T, D),
/// then dgain (D).
struct Gradient(AddRmsNorm);

impl Op<4, 2> for Gradient {
    const NAME: &'static str = "add_rms_norm_gradient";

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 4]) -> Result<[(Vec<T>, Shape); 2]> {
        let (dh, dgain) = self.0.backward(inputs);
        Ok([(dh, inputs[0].dims.into()), (dgain, inputs[1].dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [h, gain, dy, of_h]: [View<'_>; 4]) -> Result<[(Memory, Shape); 2]> {
        let of = self.0.norm(h, of_h, gain).gradient(gpu, dy)?;
        Ok([(of.dh, h.dims.into()), (of.dparams, gain.dims.into())])
    }
}

/// With dropout: the same -> dx (T, D), dresidual (T, D), dgain (D).
struct DroppingGradient(AddRmsNorm, DropoutOp);

impl Op<4, 3> for DroppingGradient {
    const NAME: &'static str = "add_rms_norm_gradient";

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 4]) -> Result<[(Vec<T>, Shape); 3]> {
        let (dh, dgain) = self.0.backward(inputs);
        let Input { dims, .. } = inputs[0];
        let dx = self.1.forward(&dh, dims[1]);
        Ok([(dx, dims.into()), (dh, dims.into()), (dgain, inputs[1].dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [h, gain, dy, of_h]: [View<'_>; 4]) -> Result<[(Memory, Shape); 3]> {
        let of = self.0.norm(h, of_h, gain).gradient(gpu, dy)?;
        let dx = of.dx.expect("a gradient with dropout writes that of x");
        Ok([(dx, h.dims.into()), (of.dh, h.dims.into()), (of.dparams, gain.dims.into())])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::tape::Tape;
    use super::super::testing::{assert_close, check_gpu, check_gradients_on_tape, tensor};
    use super::super::{add, dropout};
    use super::*;

    const PLAIN: AddRmsNorm = AddRmsNorm { eps: 1e-6, dropout: None };

    fn dropping() -> AddRmsNorm {
        AddRmsNorm { dropout: Some((Dropout::new(0.3, 5).unwrap(), 41)), ..PLAIN }
    }

    fn inputs(rows: usize, width: usize) -> [Tensor; 3] {
        [tensor((rows, width), 1), tensor((rows, width), 2), tensor(width, 3)]
    }

    /// The op, of the ops that it puts together.
    fn composed(x: &Node, residual: &Node, gain: &Node, how: AddRmsNorm) -> [Node; 2] {
        let dropped = how
            .dropout
            .map_or_else(|| x.clone(), |(draws, first_token)| dropout(x, draws, first_token).unwrap());
        let h = add(&dropped, residual).unwrap();
        let y = rms_norm(&h, gain, how.eps).unwrap();
        [h, y]
    }

    /// By hand: 1 + 2 and 1 + 3 are 3 and 4, whose mean square is 12.5.
    #[test]
    fn a_row_by_hand() {
        let node = |values: [f64; 2], shape: &[usize]| {
            Node::constant(Tensor::from_slice(&values, shape, &Device::Cpu).unwrap())
        };
        let (x, residual, gain) =
            (node([1.0, 1.0], &[1, 2]), node([2.0, 3.0], &[1, 2]), node([1.0, 2.0], &[2]));
        let [h, y] = add_rms_norm(&x, &residual, &gain, AddRmsNorm { eps: 0.0, dropout: None }).unwrap();
        let rms = 12.5_f64.sqrt();
        assert_close(h.tensor(), node([3.0, 4.0], &[1, 2]).tensor(), 0.0);
        assert_close(y.tensor(), node([3.0 / rms, 8.0 / rms], &[1, 2]).tensor(), 1e-15);
    }

    /// Values and gradients of both outputs, each with a gradient of its own, with one of them, with the other.
    #[test]
    fn is_the_norm_of_the_sum() {
        for how in [PLAIN, dropping()] {
            for ends in [[true, true], [true, false], [false, true]] {
                let run = |op: &dyn Fn(&Node, &Node, &Node) -> [Node; 2]| {
                    let tape = Tape::new();
                    let leaves = inputs(66, 19).map(|input| tape.leaf(input));
                    let [h, y] = op(&leaves[0], &leaves[1], &leaves[2]);
                    let values = [h.tensor().clone(), y.tensor().clone()];
                    // h and 2 y, whose gradients are not alike.
                    let end = match ends {
                        [true, true] => add(&h, &add(&y, &y).unwrap()).unwrap(),
                        [true, false] => h,
                        _ => y,
                    };
                    let gradients = tape.backward(&end, tensor((66, 19), 9), &leaves).unwrap();
                    (values, gradients)
                };
                let (values, gradients) = run(&|x, r, g| add_rms_norm(x, r, g, how).unwrap());
                let (exact, of_exact) = run(&|x, r, g| composed(x, r, g, how));
                for (found, exact) in values.iter().zip(&exact) {
                    assert_close(found, exact, 0.0);
                }
                for (found, exact) in gradients.iter().zip(&of_exact) {
                    let found = found.as_ref().unwrap();
                    // Without use of the norm its gain gets a gradient of zeros, or none.
                    let exact = exact.clone().unwrap_or_else(|| found.zeros_like().unwrap());
                    assert_close(found, &exact, 1e-12);
                }
            }
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for (rows, width) in [(1, 2), (3, 17), (67, 3)] {
            for how in [PLAIN, dropping()] {
                let how = AddRmsNorm { eps: 1e-2, ..how };
                let pair = |i: &[Node]| add_rms_norm(&i[0], &i[1], &i[2], how);
                check_gradients_on_tape(|i| pair(i).map(|[h, y]| add(&h, &y))?, &inputs(rows, width), 1e-6);
                check_gradients_on_tape(|i| pair(i).map(|[_, y]| y), &inputs(rows, width), 1e-6);
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_constants() {
        let [x, residual, gain] = inputs(3, 8).map(Node::constant);
        let pair = add_rms_norm(&x, &residual, &gain, PLAIN).unwrap();
        assert!(pair.iter().all(Node::is_constant));
    }

    #[test]
    fn threads_do_not_show() {
        let run = || {
            let tape = Tape::new();
            let leaves = inputs(700, 65).map(|input| tape.leaf(input.to_dtype(DType::F32).unwrap()));
            let [h, y] = add_rms_norm(&leaves[0], &leaves[1], &leaves[2], dropping()).unwrap();
            let end = add(&h, &y).unwrap();
            let gradients = tape.backward(&end, end.tensor().clone(), &leaves).unwrap();
            let all = std::iter::once(Some(end.tensor().clone())).chain(gradients);
            all.map(|tensor| super::super::testing::values(&tensor.unwrap())).collect::<Vec<_>>()
        };
        let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(3));
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for (rows, width) in [(3, 31), (67, 33), (1, 4104), (9, 8), (20, 768), (530, 1288)] {
            for how in [PLAIN, dropping()] {
                let pair = |i: &[Node]| add_rms_norm(&i[0], &i[1], &i[2], how);
                let inputs = inputs(rows, width);
                check_gpu(|i| pair(i).map(|[h, y]| add(&h, &y))?, &inputs, width + rows);
                check_gpu(|i| pair(i).map(|[h, _]| h), &inputs, width + rows);
                check_gpu(|i| pair(i).map(|[_, y]| y), &inputs, width + rows);
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let [x, _, gain] = inputs(3, 5).map(Node::constant);
        let residual = Node::constant(tensor((3, 4), 1));
        let e = add_rms_norm(&x, &residual, &gain, PLAIN).unwrap_err().to_string();
        assert!(e.contains("add_rms_norm: `residual` must have shape [3, 5], found [3, 4]"), "{e}");
    }
}
