//! Sums between GPUs of one machine, by NVIDIA's NCCL.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::cuda_backend::cudarc::nccl::{Comm, ReduceOp, group_end, group_start, result::NcclError};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Device, Error, Result, Storage, Tensor, bail};

use super::ranks::Communicator;

struct Nccl(Comm);

// SAFETY: a communicator is used by one thread at a time, that of its rank; NCCL does not ask for the thread that made it.
#[expect(unsafe_code, reason = "a promise about threads")]
unsafe impl Send for Nccl {}

/// A communicator for each device, all of them GPUs.
pub(super) fn connect(devices: &[Device]) -> Result<Vec<Box<dyn Communicator>>> {
    let streams = devices.iter().map(|device| Ok(device.as_cuda_device()?.cuda_stream()));
    let comms = Comm::from_devices(streams.collect::<Result<_>>()?).map_err(failed)?;
    Ok(comms.into_iter().map(|comm| Box::new(Nccl(comm)) as Box<dyn Communicator>).collect())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn failed(e: NcclError) -> Error {
    Error::msg(format!("NCCL: {:?}", e.0))
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.0.rank()
    }

    fn size(&self) -> usize {
        self.0.world_size()
    }

    /// One group: NCCL puts the transfers of all tensors together. Nothing else can fail within it, since a group that is
    /// left open takes in what the thread asks of NCCL next.
    fn sum(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let guards: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
        let mut slices = Vec::with_capacity(tensors.len());
        let mut sums: Vec<CudaSlice<f32>> = Vec::with_capacity(tensors.len());
        for ((storage, layout), tensor) in guards.iter().zip(&tensors) {
            let (Storage::Cuda(storage), Some((start, end))) = (&**storage, layout.contiguous_offsets())
            else {
                bail!("NCCL sums contiguous tensors of GPUs, found {tensor:?}");
            };
            slices.push(storage.as_cuda_slice::<f32>()?.slice(start..end));
            sums.push(storage.device().alloc_zeros::<f32>(end - start)?);
        }
        group_start().map_err(failed)?;
        let asked = slices
            .iter()
            .zip(&mut sums)
            .try_for_each(|(slice, sum)| self.0.all_reduce(slice, sum, &ReduceOp::Sum).map(drop));
        let ended = group_end();
        asked.and(ended.map(drop)).map_err(failed)?;
        let device = |tensor: &Tensor| tensor.device().as_cuda_device().cloned();
        tensors
            .iter()
            .zip(sums)
            .map(|(tensor, sum)| {
                let storage = CudaStorage::wrap_cuda_slice(sum, device(tensor)?);
                let storage = Storage::Cuda(storage);
                Ok(Tensor::from_storage(storage, tensor.shape(), BackpropOp::none(), false))
            })
            .collect()
    }

    /// NCCL has no word for it: the other ranks wait in their next sum.
    fn leave(&self) {}
}
