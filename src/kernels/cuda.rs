//! A CUDA device as a [`Gpu`]: memory and streams are candle's, products cuBLAS's, kernels ours.
//!
//! Everything goes into the one stream that candle has for a device, so that memory is free for the next op as soon as
//! the last one that reads it is queued.

use std::any::Any;

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::cuda_backend::cudarc::cublas::{self, sys as blas};
use candle_core::cuda_backend::cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute};
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::{CpuStorage, CudaDevice, CudaStorage, DType, Device, Error, Layout, Result, Shape, bail};

use super::gpu::{Args, Dims, Factor, Gpu, Kernel, Memory, Product, View, WARP};
use super::op::Op;

include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

/// A device with a stream of its own, whose memory stays with the process.
pub(super) fn open(number: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(number)?;
    let Device::Cuda(cuda) = &device else { unreachable!("it is one") };
    let ordinal = i32::try_from(number).map_err(|_| Error::msg(format!("there is no GPU {number}")))?;
    let (mut handle, mut pool) = (0, std::ptr::null_mut());
    let mut most = u64::MAX;
    // SAFETY: the pointers are to variables of the types that the calls write and read. There is one stream, so nothing
    // has to be ordered between streams, which is what the events are for.
    #[expect(unsafe_code, reason = "the driver's interface, and a promise about streams")]
    unsafe {
        cuda.disable_event_tracking();
        // By default the pool gives free memory back whenever the host waits, which is every step, and maps it anew.
        sys::cuDeviceGet(&raw mut handle, ordinal).result().w()?;
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, handle).result().w()?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut most).cast()).result().w()?;
    }
    Ok(device)
}

/// What every block may have without asking: 48 KiB, of which the arrays that a kernel declares are a part.
const PLAIN_SHARED_BYTES: usize = 16 << 10;

pub(super) fn run<const N: usize, const M: usize>(
    op: &impl Op<N, M>,
    inputs: [(&CudaStorage, &Layout); N],
) -> Result<[(CudaStorage, Shape); M]> {
    let mut views = Vec::with_capacity(N);
    for (storage, layout) in inputs {
        views.push(view(storage, layout)?);
    }
    let views = views.try_into().unwrap_or_else(|_| unreachable!("as many as there were"));
    Ok(op.gpu(inputs[0].0.device(), views)?.map(|(memory, shape)| (storage(memory), shape)))
}

/// A contiguous tensor.
pub(super) fn view<'a>(storage: &CudaStorage, layout: &'a Layout) -> Result<View<'a>> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("a tensor of shape {:?} is not contiguous", layout.dims());
    };
    let dtype = storage.dtype();
    Ok(View {
        address: address(storage)? + (start * dtype.size_in_bytes()) as u64,
        dtype,
        dims: layout.dims(),
    })
}

pub(super) fn storage(memory: Memory) -> CudaStorage {
    *memory.owner.downcast::<CudaStorage>().expect("memory of a CUDA device")
}

fn address(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device().cuda_stream();
    // The guard that comes with an address orders streams; there is one.
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::U32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::F64(slice) => slice.device_ptr(&stream).0,
        _ => bail!("no kernel takes {}", storage.dtype().as_str()),
    })
}

/// The driver has no memory of no bytes.
fn some(len: usize) -> usize {
    len.max(1)
}

fn memory(storage: CudaStorage) -> Result<Memory> {
    Ok(Memory { address: address(&storage)?, owner: Box::new(storage) as Box<dyn Any> })
}

/// The argument of any kernel: a launch reads as much of it as the kernel's struct has.
#[repr(C, align(8))]
struct Parameter([u8; Self::MOST]);

impl Parameter {
    const MOST: usize = 512;

    fn of(args: &Args) -> Self {
        let mut bytes = [0; Self::MOST];
        bytes[..args.0.len()].copy_from_slice(&args.0);
        Self(bytes)
    }
}

// SAFETY: plain bytes, which may be copied to the device.
#[expect(unsafe_code, reason = "the trait is a promise")]
unsafe impl DeviceRepr for Parameter {}

impl Gpu for CudaDevice {
    fn allocate(&self, dtype: DType, len: usize) -> Result<Memory> {
        // SAFETY: what is allocated here is written by a kernel before anything reads it: the emulator fills such memory
        // with NaN, and the tests compare every element.
        #[expect(unsafe_code, reason = "memory is not cleared before it is written")]
        let storage = unsafe { self.alloc_uninit(&Shape::from(some(len)), dtype)? };
        memory(storage)
    }

    fn zeros(&self, dtype: DType, len: usize) -> Result<Memory> {
        memory(self.zeros_impl(&Shape::from(some(len)), dtype)?)
    }

    fn upload(&self, values: CpuStorage) -> Result<Memory> {
        let is_empty = match &values {
            CpuStorage::U32(values) => values.is_empty(),
            CpuStorage::I64(values) => values.is_empty(),
            _ => false,
        };
        if is_empty {
            return self.allocate(values.dtype(), 1);
        }
        memory(self.storage_from_cpu_storage_owned(values)?)
    }

    fn launch(&self, kernel: &Kernel, dims: Dims, args: &Args) -> Result<()> {
        let Dims { grid: [x, y, z], threads, shared_bytes } = dims;
        assert!(
            y <= 65_535 && z <= 65_535 && threads.is_multiple_of(WARP) && 0 < threads && threads <= 1024,
            "{}: {dims:?}",
            kernel.entry
        );
        if [x, y, z].contains(&0) {
            return Ok(());
        }
        let stream = self.cuda_stream();
        let capability = |attribute| stream.context().attribute(attribute).w();
        let major = capability(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let (_, for_80, for_90a) =
            PTX.iter().find(|(stem, ..)| *stem == kernel.file).expect("a kernel names its file");
        let text = match major {
            ..=7 => bail!("the kernels need compute capability 8.0 (Ampere) or later, found {major}.x"),
            9 => for_90a,
            _ => for_80,
        };
        let function = self.get_or_load_custom_func(&kernel.entry, &format!("prep_{}", kernel.file), text)?;
        if PLAIN_SHARED_BYTES < shared_bytes {
            let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(most, shared_bytes as i32).w()?;
        }
        let grid =
            [x, y, z].map(|n| u32::try_from(n).map_err(|_| Error::msg(format!("{dims:?} is too much"))));
        let [x, y, z] = grid;
        let config = LaunchConfig {
            grid_dim: (x?, y?, z?),
            block_dim: (threads as u32, 1, 1),
            shared_mem_bytes: shared_bytes as u32,
        };
        let parameter = Parameter::of(args);
        let mut builder = function.builder();
        builder.arg(&parameter);
        // SAFETY: the parameter has at least as many bytes as the kernel's struct, whose fields the op gave in order (the
        // emulator asserts that their bytes are as many); its addresses are of tensors that the op holds, contiguous and
        // of the shapes that it checked; threads and shared memory are within the limits asserted above.
        #[expect(unsafe_code, reason = "a launch")]
        unsafe {
            builder.launch(config).w()?;
        }
        Ok(())
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        let Product { a, b, c, rows, inner, columns, alpha, beta } = *product;
        if rows == 0 || columns == 0 {
            return Ok(());
        }
        let int =
            |n: usize| i32::try_from(n).map_err(|_| Error::msg(format!("a product of {n} rows or columns")));
        let kind = |dtype: DType| match dtype {
            DType::F32 => Ok(blas::cudaDataType::CUDA_R_32F),
            DType::BF16 => Ok(blas::cudaDataType::CUDA_R_16BF),
            other => Err(Error::msg(format!("no product of {}", other.as_str()))),
        };
        // cuBLAS takes no stride of 0, though a product of no inner elements has one: it is all zeros.
        let inner_or_one = inner.max(1);
        let operation = |factor: Factor| match factor.transposed {
            true => blas::cublasOperation_t::CUBLAS_OP_T,
            false => blas::cublasOperation_t::CUBLAS_OP_N,
        };
        let stride = |factor: Factor, rows, columns| int(if factor.transposed { rows } else { columns });
        // Our launches and allocations see to it that this thread uses this device; a call of cuBLAS does not.
        self.cuda_stream().context().bind_to_thread().w()?;
        // cuBLAS knows columns: to it, these are the transposed matrices, and cᵀ = bᵀ aᵀ.
        // SAFETY: the op holds the memory of all three, of these sizes; alpha and beta live through the call.
        #[expect(unsafe_code, reason = "cuBLAS takes addresses")]
        unsafe {
            cublas::result::gemm_ex(
                *self.cublas_handle().handle(),
                operation(b),
                operation(a),
                int(columns)?,
                int(rows)?,
                int(inner)?,
                (&raw const alpha).cast(),
                b.address as *const _,
                kind(b.dtype)?,
                stride(b, inner_or_one, columns)?,
                a.address as *const _,
                kind(a.dtype)?,
                stride(a, rows, inner_or_one)?,
                (&raw const beta).cast(),
                c.0 as *mut _,
                kind(c.1)?,
                int(columns)?,
                // Sums in f32, and products of f32 in f32: not in TF32, which cuBLAS takes only when it is told to.
                blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
            .map_err(|e| Error::Cuda(Box::new(e)))
        }
    }
}
