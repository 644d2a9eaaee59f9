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
