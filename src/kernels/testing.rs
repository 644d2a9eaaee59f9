//! How the tests of all ops look at them: reproducible inputs, finite differences, threads.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};

use super::emulated::on_gpu;
use super::tape::{Node, Operand as _, Tape};
use crate::keys::mix64;

/// Values in (-1, 1) that follow from `seed`, f64.
pub(super) fn tensor(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let value = |i| (mix64((seed << 32) + i) >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0;
    let values: Vec<f64> = (0..shape.elem_count() as u64).map(value).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(super) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Asserts that no element is further off than `tolerance * (1 + |expected|)`.
#[track_caller]
pub(super) fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims());
    for (i, (found, expected)) in values(found).into_iter().zip(values(expected)).enumerate() {
        let off = (found - expected).abs();
        assert!(off <= tolerance * (1.0 + expected.abs()), "element {i}: {found}, expected {expected}");
    }
}

/// Asserts that every input gets a gradient from `op`, and that it is the central difference of a weighted sum of the
/// output. Inputs are f64.
#[track_caller]
pub(super) fn check_gradients(op: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], tolerance: f64) {
    let total = |inputs: &[Tensor]| -> Tensor {
        let y = op(inputs).unwrap();
        let weights = tensor(y.shape(), 99);
        (y * weights).unwrap().sum_all().unwrap()
    };
    let variables: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let tracked: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let gradients = total(&tracked).backward().unwrap();
    let gradients: Vec<Option<Tensor>> = tracked.iter().map(|input| gradients.get(input).cloned()).collect();
    are_differences(&gradients, total, inputs, tolerance);
}

/// The same for an op on nodes of a tape.
#[track_caller]
pub(super) fn check_gradients_on_tape(
    op: impl Fn(&[Node]) -> Result<Node>,
    inputs: &[Tensor],
    tolerance: f64,
) {
    let tape = Tape::new();
    let leaves: Vec<Node> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
    let y = op(&leaves).unwrap();
    let gradients = tape.backward(&y, tensor(y.tensor().shape(), 99), &leaves).unwrap();
    let total = |inputs: &[Tensor]| -> Tensor {
        let constants: Vec<Node> = inputs.iter().cloned().map(Node::constant).collect();
        let y = op(&constants).unwrap();
        let weights = tensor(y.tensor().shape(), 99);
        (y.tensor() * weights).unwrap().sum_all().unwrap()
    };
    are_differences(&gradients, total, inputs, tolerance);
}

/// Asserts that there is a gradient for every input, and that it is the central difference of `total`.
#[track_caller]
fn are_differences(
    gradients: &[Option<Tensor>],
    total: impl Fn(&[Tensor]) -> Tensor,
    inputs: &[Tensor],
    tolerance: f64,
) {
    const STEP: f64 = 1e-5;
    for (i, input) in inputs.iter().enumerate() {
        let gradient = gradients[i].as_ref().unwrap_or_else(|| panic!("no gradient for argument {i}"));
        assert_eq!(gradient.dims(), input.dims(), "the gradient of argument {i}");
        let (gradient, at) = (values(gradient), values(input));
        for j in 0..at.len() {
            let moved = |by: f64| {
                let mut at = at.clone();
                at[j] += by;
                let mut inputs = inputs.to_vec();
                inputs[i] = Tensor::from_vec(at, input.shape(), &Device::Cpu).unwrap();
                total(&inputs).to_scalar::<f64>().unwrap()
            };
            let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let off = (gradient[j] - difference).abs();
            assert!(
                off <= tolerance * (1.0 + difference.abs()),
                "argument {i}, element {j}: the gradient is {}, the difference {difference}",
                gradient[j]
            );
        }
    }
}

/// Asserts that output and gradients of `op` in f32 are the same bytes on one, two and three threads.
#[track_caller]
pub(super) fn one_to_three_threads(inputs: &[Tensor], op: impl Fn(&[Tensor]) -> Result<Tensor> + Sync) {
    let run = || -> Vec<Vec<u64>> {
        let variables: Vec<Var> = inputs
            .iter()
            .map(|input| Var::from_tensor(&input.to_dtype(DType::F32).unwrap()).unwrap())
            .collect();
        let tracked: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let y = op(&tracked).unwrap();
        let gradients = (y.sqr().unwrap()).sum_all().unwrap().backward().unwrap();
        std::iter::once(&y)
            .chain(tracked.iter().map(|variable| gradients.get(variable).unwrap()))
            .map(|tensor| values(tensor).into_iter().map(f64::to_bits).collect())
            .collect()
    };
    let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(3));
}

/// Asserts that the kernels of `op` and of its gradients, on a GPU or emulated, give what the definition gives: in f32, and in bf16
/// from inputs that are rounded to it. Inputs are f64; the longest sum adds up `n_terms`.
///
/// The tolerance is relative to the largest element, or 1 as inputs are, since a sum may cancel: 4 roundings for each doubling of the terms
/// and 32 more, of f32; and where something between is rounded to bf16, 4 such roundings.
#[track_caller]
pub(super) fn check_gpu(op: impl Fn(&[Node]) -> Result<Node>, inputs: &[Tensor], n_terms: usize) {
    for dtype in [DType::F32, DType::BF16] {
        let rounded: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(dtype).unwrap()).collect();
        let pass = |dtype: DType, device: &Device| -> Vec<Tensor> {
            let there = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap().to_device(device).unwrap();
            let tape = Tape::new();
            let leaves: Vec<Node> = rounded.iter().map(|input| tape.leaf(there(input))).collect();
            let y = op(&leaves).unwrap();
            let dy = tensor(y.tensor().shape(), 99).to_dtype(rounded[0].dtype()).unwrap();
            let gradients = tape.backward(&y, there(&dy), &leaves).unwrap();
            let gradients = gradients.into_iter().map(|gradient| gradient.expect("a gradient for each"));
            std::iter::once(y.tensor().clone()).chain(gradients).collect()
        };
        let (expected, found) = (pass(DType::F64, &Device::Cpu), on_gpu(|device| pass(dtype, device)));
        let of_f32 = (32.0 + 4.0 * (n_terms as f64).log2()) * f64::from(f32::EPSILON);
        let tolerance = if dtype == DType::F32 { of_f32 } else { of_f32 + 4.0 * 2_f64.powi(-8) };
        for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found.dims(), expected.dims(), "output and gradients, number {n}");
            let (found, expected) = (values(found), values(expected));
            let largest = expected.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
            // What is no number is the furthest off.
            let off = |i: usize| {
                let off = (found[i] - expected[i]).abs();
                if off.is_nan() { f64::INFINITY } else { off }
            };
            let Some(worst) = (0..found.len()).max_by(|&i, &j| off(i).total_cmp(&off(j))) else { continue };
            assert!(
                off(worst) <= tolerance * largest.max(1.0),
                "{dtype:?}: element {worst} of number {n} is {}, expected {}: off by {:e} of {largest:e}, the furthest",
                found[worst],
                expected[worst],
                off(worst)
            );
        }
    }
}
