//! What every op asks of its arguments, said once: floats of one type, contiguous, of the right shape.

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Tensor, bail};

use super::real::Real;

/// Refuses a tensor that is not contiguous, not of a type that its device has kernels for, or not of `shape`.
pub(super) fn argument(op: &str, name: &str, tensor: &Tensor, shape: impl Into<Shape>) -> Result<()> {
    let shape = shape.into();
    let other = if is_on_gpu(tensor) { DType::BF16 } else { DType::F64 };
    if ![DType::F32, other].contains(&tensor.dtype()) {
        bail!("{op}: `{name}` must be f32 or {}, found {}", other.as_str(), tensor.dtype().as_str());
    }
    if tensor.dims() != shape.dims() {
        bail!("{op}: `{name}` must have shape {:?}, found {:?}", shape.dims(), tensor.dims());
    }
    if !tensor.is_contiguous() {
        bail!(
            "{op}: `{name}` must be contiguous, found shape {:?} with strides {:?}; `contiguous()` copies it",
            tensor.dims(),
            tensor.stride()
        );
    }
    Ok(())
}

pub(super) fn is_on_gpu(tensor: &Tensor) -> bool {
    #[cfg(test)]
    if super::emulated::is_on() {
        return true;
    }
    !tensor.device().is_cpu()
}

/// (rows, columns) of a matrix that passes [`argument`] and has columns.
pub(super) fn matrix(op: &str, name: &str, tensor: &Tensor) -> Result<(usize, usize)> {
    let &[rows, columns] = tensor.dims() else {
        bail!("{op}: `{name}` must be a matrix, found shape {:?}", tensor.dims());
    };
    if columns == 0 {
        bail!("{op}: `{name}` has no columns");
    }
    argument(op, name, tensor, (rows, columns))?;
    Ok((rows, columns))
}

/// Refuses tensors of different types, or on different devices.
pub(super) fn alike(op: &str, (name, first): (&str, &Tensor), others: &[(&str, &Tensor)]) -> Result<()> {
    for (other_name, other) in others {
        if first.dtype() != other.dtype() {
            bail!(
                "{op}: `{name}` is {} and `{other_name}` is {}",
                first.dtype().as_str(),
                other.dtype().as_str()
            );
        }
        if !first.device().same_device(other.device()) {
            bail!("{op}: `{name}` and `{other_name}` are on different devices");
        }
    }
    Ok(())
}

/// The elements of a contiguous tensor on the CPU.
pub(super) fn elements<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a tensor of shape {:?} is not contiguous", layout.dims());
    };
    Ok(&T::cpu_storage_as_slice(storage)?[start..end])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tape::Node;
    use super::super::testing::tensor;
    use super::super::*;
    use super::*;

    type Apply = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

    /// Every op of two tensors and more, and of one, with arguments that fit.
    fn ops() -> Vec<(&'static str, Vec<Tensor>, Apply)> {
        fn on_nodes(op: impl Fn(&[Node]) -> Result<Node> + 'static) -> Apply {
            Box::new(move |inputs| {
                let nodes: Vec<Node> = inputs.iter().cloned().map(Node::constant).collect();
                Ok(op(&nodes)?.tensor().clone())
            })
        }
        let ids = || TokenIds { words: Arc::from([0, 2, 1]), positions: Arc::from([0, 1, 2]) };
        let segments = || Segments::new([0, 2, 3], 0).unwrap();
        let attend = move || Attention { n_heads: 1, scale: 1.0, segments: segments(), dropout: None };
        let loss = InfoNce { temperature: 1.0, direction: Direction::Symmetric, mask: None };
        let with_gradients = loss.clone();
        let pooled = || PoolNorm { pooling: Pooling::Mean, normalise: true };
        let x = |seed| tensor((3, 4), seed);
        let qkv = tensor((3, 6), 1);
        vec![
            ("add", vec![x(1), x(2)], on_nodes(|i| add(&i[0], &i[1]))),
            ("linear", vec![x(1), tensor((2, 4), 2)], on_nodes(|i| linear(&i[0], &i[1]))),
            (
                "bias_activation",
                vec![x(1), tensor(4, 2)],
                on_nodes(|i| bias_activation(&i[0], &i[1], Activation::Gelu)),
            ),
            ("layer_norm", vec![x(1), tensor((2, 4), 2)], on_nodes(|i| layer_norm(&i[0], &i[1], 1e-5))),
            ("rms_norm", vec![x(1), tensor(4, 2)], on_nodes(|i| rms_norm(&i[0], &i[1], 1e-5))),
            (
                "add_norm",
                vec![x(1), x(2), tensor((3, 4), 3)],
                on_nodes(|i| add_norm(&i[0], &i[1], &i[2], AddNorm { eps: 1e-5, dropout: None })),
            ),
            (
                "add_rms_norm",
                vec![x(1), x(2), tensor(4, 3)],
                on_nodes(|i| {
                    let how = AddRmsNorm { eps: 1e-5, dropout: None };
                    add_rms_norm(&i[0], &i[1], &i[2], how).map(|[h, _]| h)
                }),
            ),
            (
                "attention",
                vec![qkv, tensor(6, 2), tensor((1, 3), 3)],
                on_nodes(move |i| attention(&i[0], Some(&i[1]), Some(&i[2]), &attend())),
            ),
            ("embedding", vec![x(1)], on_nodes(|i| embedding(&i[0], Arc::from([0, 2])))),
            (
                "token_embeddings",
                vec![x(1), x(2), tensor((2, 4), 3)],
                on_nodes(move |i| token_embeddings(&i[0], &i[1], &i[2], &ids())),
            ),
            ("dropout", vec![x(1)], on_nodes(|i| dropout(&i[0], Dropout::new(0.5, 1)?, 0))),
            ("gated_gelu", vec![x(1)], on_nodes(|i| gated_gelu(&i[0]))),
            ("pool_norm", vec![x(1)], on_nodes(move |i| pool_norm(&i[0], &segments(), pooled()))),
            ("info_nce", vec![x(1), x(2)], Box::new(move |i| info_nce(&i[0], &i[1], &loss))),
            (
                "info_nce",
                vec![x(1), x(2)],
                Box::new(move |i| Ok(info_nce_with_gradients(&i[0], &i[1], &with_gradients)?.0)),
            ),
        ]
    }

    /// The same numbers, with strides.
    fn strided(tensor: &Tensor) -> Tensor {
        let last = tensor.rank() - 1;
        let doubled = Tensor::stack(&[tensor, tensor], last + 1).unwrap();
        let strided = doubled.narrow(last + 1, 0, 1).unwrap().squeeze(last + 1).unwrap();
        assert!(!strided.is_contiguous() && strided.dims() == tensor.dims());
        strided
    }

    #[test]
    fn every_op_refuses_other_types_and_strides_of_every_argument() {
        for (name, inputs, apply) in ops() {
            apply(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
            for argument in 0..inputs.len() {
                let refused = |changed: Tensor, reasons: &[&str]| {
                    let mut inputs = inputs.clone();
                    inputs[argument] = changed;
                    let e = apply(&inputs).expect_err(name).to_string();
                    assert!(e.starts_with(name), "argument {argument} of {name}: {e}");
                    assert!(reasons.iter().any(|reason| e.contains(reason)), "argument {argument}: {e}");
                };
                refused(strided(&inputs[argument]), &["must be contiguous"]);
                let of_type = |dtype| inputs[argument].to_dtype(dtype).unwrap();
                for dtype in [DType::F16, DType::BF16, DType::U32] {
                    refused(of_type(dtype), &["must be f32 or f64"]);
                }
                if 1 < inputs.len() {
                    refused(of_type(DType::F32), &["is f64 and", "is f32 and"]);
                }
            }
        }
    }
}
