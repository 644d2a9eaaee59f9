//! `bias_activation`: f(x + bias) in one pass, f being the activation of a feed-forward layer.
//!
//! The gradient recomputes x + bias, which costs an addition, instead of keeping it.

use candle_core::{Result, Shape, Tensor};

use super::check::{alike, argument, matrix};
use super::gpu::{Gpu, Memory, View, args};
use super::lanes::add;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::{Parts, fold_rows, for_rows};
use super::tape::Operand;
use super::tiles::Tiles;

const OP: &str = "bias_activation";

/// The nonlinearity between the two products of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// u Φ(u), Φ the normal distribution function: `gelu` of BERT and XLM-R (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same with Φ(u) taken as (1 + tanh(sqrt(2/π) (u + 0.044715 u³))) / 2: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// max(u, 0); its slope at 0 is 0.
    Relu,
}

/// x: (T, N), bias: (N) -> (T, N), f(x + bias).
///
/// # Errors
/// When shapes or types do not fit, or a tensor is not contiguous.
pub fn bias_activation<V: Operand>(x: &V, bias: &V, activation: Activation) -> Result<V> {
    let (_, width) = matrix(OP, "x", x.tensor())?;
    argument(OP, "bias", bias.tensor(), width)?;
    alike(OP, ("x", x.tensor()), &[("bias", bias.tensor())])?;
    x.apply2(bias, Fused(BiasActivation(activation)))
}

struct BiasActivation(Activation);

impl Op<2> for BiasActivation {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, [x, bias]: [Input<'_, T>; 2]) -> Result<[(Vec<T>, Shape); 1]> {
        Ok([(forward(self.0, x.data, bias.data), x.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, bias]: [View<'_>; 2]) -> Result<[(Memory, Shape); 1]> {
        let (rows, width) = x.matrix();
        let y = gpu.allocate(x.dtype, x.len())?;
        let tiles = Tiles::of(rows, width, &[x, bias]);
        gpu.launch(&tiles.kernel(OP, self.0.name())?, tiles.dims(), &args![x, bias, y, rows, width])?;
        Ok([(y, x.dims.into())])
    }
}

impl Differentiable<2> for BiasActivation {
    fn gradients(&self, [x, bias]: [&Tensor; 2], _: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok(evaluate(&Gradient(self.0), [x, bias, dy])?.map(Some))
    }
}

/// (x, bias, dy) -> dx (T, N), dbias (N).
struct Gradient(Activation);

impl Op<3, 2> for Gradient {
    const NAME: &'static str = "bias_activation_gradient";

    fn cpu<T: Real>(&self, [x, bias, dy]: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 2]> {
        let (dx, dbias) = backward(self.0, x.data, bias.data, dy.data);
        Ok([(dx, x.dims.into()), (dbias, bias.dims.into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, [x, bias, dy]: [View<'_>; 3]) -> Result<[(Memory, Shape); 2]> {
        let (rows, width) = x.matrix();
        let dx = gpu.allocate(x.dtype, x.len())?;
        let parts = Parts::new(gpu, rows, width)?;
        let tiles = Tiles::of(rows, width, &[x, bias, dy]);
        let kernel = tiles.kernel(OP, &format!("{}_gradient", self.0.name()))?;
        gpu.launch(&kernel, tiles.dims(), &args![x, bias, dy, dx, parts.memory, rows, width])?;
        Ok([(dx, x.dims.into()), (parts.sum(gpu)?, bias.dims.into())])
    }
}

impl Activation {
    /// Of its kernels.
    fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Relu => "relu",
        }
    }
}

fn forward<T: Real>(activation: Activation, x: &[T], bias: &[T]) -> Vec<T> {
    let width = bias.len();
    let mut y = vec![T::zero(); x.len()];
    for_rows(
        &mut y,
        width,
        #[inline(always)]
        |t, y| {
            let x = &x[t * width..][..width];
            match activation {
                Activation::Gelu => set_values(y, x, bias, gelu),
                Activation::GeluTanh => set_values(y, x, bias, gelu_tanh),
                Activation::Relu => set_values(y, x, bias, relu),
            }
        },
    );
    y
}

#[inline(always)]
fn set_values<T: Real>(y: &mut [T], x: &[T], bias: &[T], f: impl Fn(T) -> T) {
    for ((y, &x), &bias) in y.iter_mut().zip(x).zip(bias) {
        *y = f(x + bias);
    }
}

fn backward<T: Real>(activation: Activation, x: &[T], bias: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) {
    let width = bias.len();
    let (mut dx, mut dbias) = (vec![T::zero(); x.len()], vec![T::zero(); width]);
    fold_rows(
        &mut dx,
        width,
        &mut dbias,
        #[inline(always)]
        |t, dx, dbias| {
            let (x, dy) = (&x[t * width..][..width], &dy[t * width..][..width]);
            match activation {
                Activation::Gelu => set_slopes(dx, x, bias, dy, gelu_slope),
                Activation::GeluTanh => set_slopes(dx, x, bias, dy, gelu_tanh_slope),
                Activation::Relu => set_slopes(dx, x, bias, dy, relu_slope),
            }
            add(dbias, dx);
        },
    );
    (dx, dbias)
}

#[inline(always)]
fn set_slopes<T: Real>(dx: &mut [T], x: &[T], bias: &[T], dy: &[T], slope: impl Fn(T) -> T) {
    for (((dx, &x), &bias), &dy) in dx.iter_mut().zip(x).zip(bias).zip(dy) {
        *dx = dy * slope(x + bias);
    }
}

#[inline(always)]
fn gelu<T: Real>(u: T) -> T {
    u * normal_distribution(u)
}

#[inline(always)]
fn gelu_slope<T: Real>(u: T) -> T {
    let density = T::of(1.0 / (2.0 * std::f64::consts::PI).sqrt()) * (T::of(-0.5) * u * u).exp();
    normal_distribution(u) + u * density
}

#[inline(always)]
fn normal_distribution<T: Real>(u: T) -> T {
    T::of(0.5) * (T::one() + (u * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// 2 sqrt(2/π), for (1 + tanh s) / 2 = 1 / (1 + e^(-2s)).
const TWICE_TANH_SCALE: f64 = 1.595_769_121_605_730_8;
const TANH_CUBIC: f64 = 0.044_715;

#[inline(always)]
pub(super) fn gelu_tanh<T: Real>(u: T) -> T {
    u * tanh_distribution(u)
}

#[inline(always)]
pub(super) fn gelu_tanh_slope<T: Real>(u: T) -> T {
    let phi = tanh_distribution(u);
    let inner_slope = T::of(TWICE_TANH_SCALE) * (T::one() + T::of(3.0 * TANH_CUBIC) * u * u);
    phi + u * phi * (T::one() - phi) * inner_slope
}

#[inline(always)]
fn tanh_distribution<T: Real>(u: T) -> T {
    let twice = T::of(TWICE_TANH_SCALE) * (u + T::of(TANH_CUBIC) * u * u * u);
    T::one() / (T::one() + (-twice).exp())
}

#[inline(always)]
fn relu<T: Real>(u: T) -> T {
    if T::zero() < u { u } else { T::zero() }
}

#[inline(always)]
fn relu_slope<T: Real>(u: T) -> T {
    if T::zero() < u { T::one() } else { T::zero() }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::{assert_close, check_gpu, check_gradients, one_to_three_threads, tensor};
    use super::*;

    const ALL: [Activation; 3] = [Activation::Gelu, Activation::GeluTanh, Activation::Relu];

    /// From the definitions, in Python: `0.5*u*(1+math.erf(u/math.sqrt(2)))` and
    /// `0.5*u*(1+math.tanh(math.sqrt(2/math.pi)*(u+0.044715*u**3)))` for u in (-3, -1, -0.5, 0, 0.5, 1, 3).
    #[test]
    fn values_are_those_of_the_definitions() {
        let x = Tensor::new(&[[-3.25_f64, -1.25, -0.75, -0.25, 0.25, 0.75, 2.75]], &Device::Cpu).unwrap();
        let bias = Tensor::full(0.25_f64, 7, &Device::Cpu).unwrap();
        let u: [f64; 7] = [-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0];
        for (activation, expected) in [
            (Activation::Gelu, GELU),
            (Activation::GeluTanh, GELU_TANH),
            (Activation::Relu, u.map(|u| u.max(0.0))),
        ] {
            let expected = Tensor::new(&[expected], &Device::Cpu).unwrap();
            assert_close(&bias_activation(&x, &bias, activation).unwrap(), &expected, 1e-15);
        }
    }

    const GELU: [f64; 7] = [
        -0.004_049_694_094_890_31,
        -0.158_655_253_931_457_07,
        -0.154_268_769_362_993_44,
        0.0,
        0.345_731_230_637_006_56,
        0.841_344_746_068_542_9,
        2.995_950_305_905_11,
    ];
    const GELU_TANH: [f64; 7] = [
        -0.003_637_392_081_772_994_3,
        -0.158_808_009_391_723_24,
        -0.154_285_990_174_856_06,
        0.0,
        0.345_714_009_825_143_94,
        0.841_191_990_608_276_8,
        2.996_362_607_918_227,
    ];

    #[test]
    fn gradients_are_finite_differences() {
        for activation in ALL {
            for (rows, width) in [(1, 1), (3, 17), (67, 5)] {
                let inputs = [tensor((rows, width), 1), tensor(width, 2)];
                check_gradients(|i| bias_activation(&(&i[0] * 3.0)?, &i[1], activation), &inputs, 1e-7);
            }
        }
    }

    /// Errors of 1e-7 in the error function, and of 2^-24 of up to 7 in x + bias, through a slope below 1.13.
    #[test]
    fn f32_is_f64_to_its_precision() {
        for activation in ALL {
            let x = (tensor((50, 33), 3) * 6.0).unwrap();
            let bias = tensor(33, 4);
            let exact = bias_activation(&x, &bias, activation).unwrap();
            let (x, bias) = (x.to_dtype(DType::F32).unwrap(), bias.to_dtype(DType::F32).unwrap());
            let single = bias_activation(&x, &bias, activation).unwrap().to_dtype(DType::F64).unwrap();
            assert_close(&single, &exact, 1.5e-6);
        }
    }

    #[test]
    fn threads_do_not_show() {
        one_to_three_threads(&[tensor((700, 129), 1), tensor(129, 2)], |i| {
            bias_activation(&i[0], &i[1], Activation::Gelu)
        });
    }

    #[test]
    fn a_gpu_computes_the_same() {
        for activation in ALL {
            for (rows, width) in [(1, 1), (3, 31), (67, 33), (1, 8), (130, 264), (45, 768)] {
                let inputs = [(tensor((rows, width), 1) * 6.0).unwrap(), tensor(width, 2)];
                check_gpu(|i| bias_activation(&i[0], &i[1], activation), &inputs, rows);
            }
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let e = bias_activation(&tensor((3, 5), 1), &tensor(4, 2), Activation::Relu).unwrap_err().to_string();
        assert!(e.contains("`bias` must have shape [5], found [4]"), "{e}");
        let single = tensor(5, 2).to_dtype(DType::F32).unwrap();
        let e = bias_activation(&tensor((3, 5), 1), &single, Activation::Relu).unwrap_err().to_string();
        assert!(e.contains("`x` is f64 and `bias` is f32"), "{e}");
    }
}
