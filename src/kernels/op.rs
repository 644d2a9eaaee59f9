//! The frame of an op: one definition on the CPU, one launch on a GPU, and who calls which.
//!
//! An op is a value that says what to do beside its tensors. [`Op::cpu`] is its definition, in f32 and f64; [`Op::gpu`]
//! launches the kernels that are held against it, in f32 and bf16. A gradient is an op of its own, which has several
//! outputs and is called by [`evaluate`]; an op that has one is [`Differentiable`], and [`Fused`] makes it what candle's
//! graph takes.

use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Storage, Tensor,
    bail,
};

use super::check::elements;
use super::gpu::{Gpu, Memory, View, on_cuda};
use super::real::Real;

/// A contiguous tensor of the CPU.
#[derive(Clone, Copy)]
pub(super) struct Input<'a, T> {
    pub data: &'a [T],
    pub dims: &'a [usize],
}

/// From N tensors of one type, on one device, contiguous and of fitting shapes, to M. Whoever makes an op checks that.
pub(super) trait Op<const N: usize, const M: usize = 1> {
    const NAME: &'static str;

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; N]) -> Result<[(Vec<T>, Shape); M]>;

    fn gpu(&self, gpu: &dyn Gpu, inputs: [View<'_>; N]) -> Result<[(Memory, Shape); M]>;
}

/// An op with a gradient.
pub(super) trait Differentiable<const N: usize>: Op<N> + Send + Sync + 'static {
    /// The gradients of the inputs, `dy` being that of the output `y`; nothing where none is wanted.
    fn gradients(&self, inputs: [&Tensor; N], y: &Tensor, dy: &Tensor) -> Result<[Option<Tensor>; N]>;
}

/// Applies an op, without candle's graph.
pub(super) fn evaluate<const N: usize, const M: usize>(
    op: &impl Op<N, M>,
    inputs: [&Tensor; N],
) -> Result<[Tensor; M]> {
    let guards = inputs.map(Tensor::storage_and_layout);
    let tensor =
        |storage: Storage, shape: Shape| Tensor::from_storage(storage, shape, BackpropOp::none(), false);
    match &*guards[0].0 {
        Storage::Cpu(_) => {
            let inputs = each(&guards, |storage| match storage {
                Storage::Cpu(storage) => Some(storage),
                _ => None,
            })?;
            Ok(on_cpu(op, inputs)?.map(|(storage, shape)| tensor(Storage::Cpu(storage), shape)))
        }
        Storage::Cuda(_) => {
            let inputs = each(&guards, |storage| match storage {
                Storage::Cuda(storage) => Some(storage),
                _ => None,
            })?;
            Ok(on_cuda(op, inputs)?.map(|(storage, shape)| tensor(Storage::Cuda(storage), shape)))
        }
        Storage::Metal(_) => bail!("there are no kernels for Metal"),
    }
}

fn each<'a, S, const N: usize>(
    guards: &'a [(impl std::ops::Deref<Target = Storage>, &'a Layout); N],
    of: impl Fn(&'a Storage) -> Option<&'a S>,
) -> Result<[(&'a S, &'a Layout); N]> {
    let mut found = Vec::with_capacity(N);
    for (storage, layout) in guards {
        let Some(storage) = of(storage) else { bail!("tensors are on different devices") };
        found.push((storage, *layout));
    }
    Ok(found.try_into().unwrap_or_else(|_| unreachable!("as many as there were")))
}

pub(super) fn on_cpu<const N: usize, const M: usize>(
    op: &impl Op<N, M>,
    inputs: [(&CpuStorage, &Layout); N],
) -> Result<[(CpuStorage, Shape); M]> {
    fn typed<T: Real, const N: usize, const M: usize>(
        op: &impl Op<N, M>,
        inputs: [(&CpuStorage, &Layout); N],
    ) -> Result<[(CpuStorage, Shape); M]> {
        let mut slices = [Input { data: &[], dims: &[] }; N];
        for (slice, (storage, layout)) in slices.iter_mut().zip(inputs) {
            *slice = Input { data: elements::<T>(storage, layout)?, dims: layout.dims() };
        }
        Ok(op.cpu(slices)?.map(|(data, shape)| (T::to_cpu_storage_owned(data), shape)))
    }
    #[cfg(test)]
    if super::emulated::is_on() {
        return super::emulated::on_emulated(op, inputs);
    }
    match candle_core::backend::BackendStorage::dtype(inputs[0].0) {
        DType::F32 => typed::<f32, N, M>(op, inputs),
        DType::F64 => typed::<f64, N, M>(op, inputs),
        other => bail!("floats on the CPU must be f32 or f64, found {}", other.as_str()),
    }
}

/// Runs `f` with the GPU that a tensor is on, if it is on one.
pub(super) fn with_gpu<R>(tensor: &Tensor, f: impl FnOnce(&dyn Gpu) -> Result<R>) -> Option<Result<R>> {
    #[cfg(test)]
    if super::emulated::is_on() {
        return Some(f(&super::emulated::Emulated));
    }
    match tensor.device() {
        #[cfg(feature = "cuda")]
        candle_core::Device::Cuda(device) => Some(f(device)),
        _ => {
            drop(f);
            None
        }
    }
}

/// Where a contiguous tensor lies on a GPU.
pub(super) fn address_of(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        #[cfg(test)]
        Storage::Cpu(storage) if super::emulated::is_on() => {
            Ok(super::emulated::view(storage, layout).address)
        }
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => Ok(super::cuda::view(storage, layout)?.address),
        _ => bail!("a tensor of shape {:?} is not on a GPU", layout.dims()),
    }
}

/// A tensor of memory of a GPU.
pub(super) fn to_tensor(memory: Memory, shape: impl Into<Shape>) -> Tensor {
    let storage = match memory.owner.downcast::<CpuStorage>() {
        Ok(storage) => Storage::Cpu(*storage),
        Err(owner) => Storage::Cuda(*owner.downcast().expect("memory of a GPU")),
    };
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

/// An op as candle takes it.
pub(super) struct Fused<O>(pub O);

impl<O: Differentiable<1>> CustomOp1 for Fused<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(only(on_cpu(&self.0, [(x, x_layout)])?))
    }

    fn cuda_fwd(&self, x: &CudaStorage, x_layout: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok(only(on_cuda(&self.0, [(x, x_layout)])?))
    }

    fn bwd(&self, x: &Tensor, value: &Tensor, of_value: &Tensor) -> Result<Option<Tensor>> {
        Ok(only(self.0.gradients([x], value, &of_value.contiguous()?)?))
    }
}

impl<O: Differentiable<2>> CustomOp2 for Fused<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(only(on_cpu(&self.0, [(x, x_layout), (y, y_layout)])?))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok(only(on_cuda(&self.0, [(x, x_layout), (y, y_layout)])?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        value: &Tensor,
        of_value: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_y] = self.0.gradients([x, y], value, &of_value.contiguous()?)?;
        Ok((of_x, of_y))
    }
}

impl<O: Differentiable<3>> CustomOp3 for Fused<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
        z: &CpuStorage,
        z_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(only(on_cpu(&self.0, [(x, x_layout), (y, y_layout), (z, z_layout)])?))
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
        z: &CudaStorage,
        z_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok(only(on_cuda(&self.0, [(x, x_layout), (y, y_layout), (z, z_layout)])?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        value: &Tensor,
        of_value: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_y, of_z] = self.0.gradients([x, y, z], value, &of_value.contiguous()?)?;
        Ok((of_x, of_y, of_z))
    }
}

fn only<T>([one]: [T; 1]) -> T {
    one
}
