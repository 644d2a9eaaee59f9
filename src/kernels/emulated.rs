//! A GPU for tests where there is none: the same kernels, compiled for the CPU by a C++ compiler against `tests/gpu/emulator.h`.
//!
//! Ops run twice, with the threads of a block in ascending and in descending order; what differs is a race.

use std::any::Any;
use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Tensor, WithDType, bail};
use half::bf16;
use libloading::Library;

use super::gpu::{Args, Dims, Factor, Gpu, Kernel, Memory, Product, View, WARP};
use super::op::Op;
use crate::digest::Digest;

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static DESCENDING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Whether ops on tensors of the CPU run their kernels for a GPU, on this thread.
pub(super) fn is_on() -> bool {
    IS_ON.get()
}

/// Runs `f` twice on a GPU, and asserts that its tensors are the same bytes; gives them on the CPU.
///
/// With the feature `cuda` and `PREP_GPU` in the environment that is device 0. Else it is the emulator, to which ops on
/// tensors of the CPU go meanwhile, with the threads of a block in ascending, then in descending order.
#[track_caller]
pub(crate) fn on_gpu(f: impl Fn(&Device) -> Vec<Tensor>) -> Vec<Tensor> {
    let run = |descending| match gpu() {
        Some(device) => f(&device).iter().map(|tensor| tensor.to_device(&Device::Cpu).unwrap()).collect(),
        None => {
            IS_ON.set(true);
            DESCENDING.set(descending);
            let tensors = f(&Device::Cpu);
            IS_ON.set(false);
            tensors
        }
    };
    let (first, second): (Vec<Tensor>, Vec<Tensor>) = (run(false), run(true));
    for (n, (first, second)) in first.iter().zip(&second).enumerate() {
        assert!(bytes(first) == bytes(second), "tensor {n} is not the same twice: threads race");
    }
    first
}

/// Bytes that `f` allocates on the emulator, results included; what is given back meanwhile counts all the same.
pub(super) fn allocated_bytes<R>(f: impl FnOnce(&Emulated) -> R) -> usize {
    ALLOCATED.set(0);
    f(&Emulated);
    ALLOCATED.get()
}

/// The device that tests are to run on, if it is a real one; opened once a thread.
fn gpu() -> Option<Device> {
    thread_local! {
        static DEVICE: OnceCell<Device> = const { OnceCell::new() };
    }
    let open = || super::gpu::open_gpu(0).expect("PREP_GPU asks for a CUDA device");
    is_real().then(|| DEVICE.with(|device| device.get_or_init(open).clone()))
}

/// Whether tests run on a real GPU, which has time for sizes that the emulator has not.
pub(super) fn is_real() -> bool {
    cfg!(feature = "cuda") && std::env::var_os("PREP_GPU").is_some()
}

fn bytes(tensor: &Tensor) -> Vec<u64> {
    let values: Vec<f64> = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f64::to_bits).collect()
}

/// The emulated device.
pub(super) struct Emulated;

pub(super) fn on_emulated<const N: usize, const M: usize>(
    op: &impl Op<N, M>,
    inputs: [(&CpuStorage, &Layout); N],
) -> Result<[(CpuStorage, Shape); M]> {
    let views = inputs.map(|(storage, layout)| view(storage, layout));
    Ok(op.gpu(&Emulated, views)?.map(|(memory, shape)| (storage(memory), shape)))
}

pub(super) fn view<'a>(storage: &CpuStorage, layout: &'a Layout) -> View<'a> {
    let (start, _) = layout.contiguous_offsets().expect("whoever makes an op checks that");
    let dtype = storage.dtype();
    let address = address(storage) + (start * dtype.size_in_bytes()) as u64;
    View { address, dtype, dims: layout.dims() }
}

fn storage(memory: Memory) -> CpuStorage {
    *memory.owner.downcast::<CpuStorage>().expect("memory of the emulator")
}

fn len(storage: &CpuStorage) -> usize {
    match storage {
        CpuStorage::F32(values) => values.len(),
        CpuStorage::BF16(values) => values.len(),
        CpuStorage::U32(values) => values.len(),
        CpuStorage::I64(values) => values.len(),
        CpuStorage::F64(values) => values.len(),
        _ => panic!("no kernel takes {}", storage.dtype().as_str()),
    }
}

fn address(storage: &CpuStorage) -> u64 {
    fn of<T>(values: &[T]) -> u64 {
        values.as_ptr().expose_provenance() as u64
    }
    match storage {
        CpuStorage::F32(values) => of(values),
        CpuStorage::BF16(values) => of(values),
        CpuStorage::U32(values) => of(values),
        CpuStorage::I64(values) => of(values),
        CpuStorage::F64(values) => of(values),
        _ => panic!("no kernel takes {}", storage.dtype().as_str()),
    }
}

impl Gpu for Emulated {
    fn allocate(&self, dtype: DType, len: usize) -> Result<Memory> {
        // What is not written shows.
        self.upload(match dtype {
            DType::F32 => CpuStorage::F32(vec![f32::NAN; len]),
            DType::BF16 => CpuStorage::BF16(vec![bf16::NAN; len]),
            DType::U32 => CpuStorage::U32(vec![u32::MAX; len]),
            DType::F64 => CpuStorage::F64(vec![f64::NAN; len]),
            other => bail!("no kernel takes {}", other.as_str()),
        })
    }

    fn zeros(&self, dtype: DType, len: usize) -> Result<Memory> {
        self.upload(match dtype {
            DType::F32 => CpuStorage::F32(vec![0.0; len]),
            DType::BF16 => CpuStorage::BF16(vec![bf16::ZERO; len]),
            DType::U32 => CpuStorage::U32(vec![0; len]),
            DType::F64 => CpuStorage::F64(vec![0.0; len]),
            other => bail!("no kernel takes {}", other.as_str()),
        })
    }

    fn upload(&self, values: CpuStorage) -> Result<Memory> {
        ALLOCATED.set(ALLOCATED.get() + len(&values) * values.dtype().size_in_bytes());
        Ok(Memory { address: address(&values), owner: Box::new(values) as Box<dyn Any> })
    }

    fn launch(&self, kernel: &Kernel, dims: Dims, args: &Args) -> Result<()> {
        type Entry = unsafe extern "C" fn(*const u8, *const u32, u32, u32, bool);
        type ArgsBytes = unsafe extern "C" fn() -> u32;
        let Dims { grid: [x, y, z], threads, shared_bytes } = dims;
        assert!(y <= 65_535 && z <= 65_535, "{}: a grid of {x} x {y} x {z}", kernel.entry);
        assert!(threads.is_multiple_of(WARP) && 0 < threads && threads <= 1024, "{}", kernel.entry);
        if [x, y, z].contains(&0) {
            return Ok(());
        }
        let library = library(kernel.file);
        let grid = [x, y, z].map(|n| u32::try_from(n).expect("a grid is below 2^32"));
        // SAFETY: the library is ours; its entries have these types, by the macro KERNEL of emulator.h. The argument has
        // as many bytes as the struct, which is asserted; its addresses are of memory that the op holds.
        #[expect(unsafe_code, reason = "the kernels are C++")]
        unsafe {
            let symbol = |suffix: &str| format!("{}_{suffix}\0", kernel.entry);
            let n_bytes = library.get::<ArgsBytes>(symbol("args_bytes").as_bytes()).unwrap_or_else(|e| {
                panic!("{}.cu has no kernel `{}`: {e}", kernel.file, kernel.entry);
            })();
            assert_eq!(
                n_bytes as usize,
                args.0.len(),
                "{}: bytes of the struct and of its fields",
                kernel.entry
            );
            let entry = library.get::<Entry>(symbol("emulated").as_bytes()).expect("made by the same macro");
            entry(args.0.as_ptr(), grid.as_ptr(), threads as u32, shared_bytes as u32, DESCENDING.get());
        }
        Ok(())
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        let Product { a, b, c, rows, inner, columns, alpha, beta } = *product;
        let (a, b) = (read(a, [rows, inner]), read(b, [inner, columns]));
        let sum = a.matmul(&b)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let merge =
            |sum: f32, before: f32| if beta == 0.0 { alpha * sum } else { alpha * sum + beta * before };
        let (address, dtype) = c;
        match dtype {
            DType::F32 => {
                let c = memory::<f32>(address, rows * columns);
                c.iter_mut().zip(sum).for_each(|(c, sum)| *c = merge(sum, *c));
            }
            DType::BF16 => {
                let c = memory::<bf16>(address, rows * columns);
                c.iter_mut().zip(sum).for_each(|(c, sum)| *c = bf16::from_f32(merge(sum, c.to_f32())));
            }
            other => bail!("no product of {}", other.as_str()),
        }
        Ok(())
    }
}

fn read(factor: Factor, [rows, columns]: [usize; 2]) -> Tensor {
    let Factor { address, dtype, transposed } = factor;
    let shape = if transposed { (columns, rows) } else { (rows, columns) };
    let matrix = match dtype {
        DType::F32 => Tensor::from_slice(memory::<f32>(address, rows * columns), shape, &Device::Cpu),
        DType::BF16 => Tensor::from_slice(memory::<bf16>(address, rows * columns), shape, &Device::Cpu),
        other => panic!("no product of {}", other.as_str()),
    };
    let matrix = matrix.unwrap().to_dtype(DType::F32).unwrap();
    if transposed { matrix.t().unwrap().contiguous().unwrap() } else { matrix }
}

/// Memory whose address an op gave.
fn memory<'a, T: WithDType>(address: u64, len: usize) -> &'a mut [T] {
    // SAFETY: addresses are those of storages that the op holds while it runs, and nobody else looks at them.
    #[expect(unsafe_code, reason = "a GPU knows addresses alone")]
    unsafe {
        std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(address as usize), len)
    }
}

/// The kernels of a `.cu` file, compiled once for a state of the sources.
fn library(file: &'static str) -> &'static Library {
    static LIBRARIES: OnceLock<Mutex<HashMap<&'static str, &'static Library>>> = OnceLock::new();
    let libraries = LIBRARIES.get_or_init(Mutex::default);
    let mut libraries = libraries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    libraries.entry(file).or_insert_with(|| {
        let path = compile(file);
        // SAFETY: loading runs no code but that of the C++ runtime.
        #[expect(unsafe_code, reason = "the kernels are C++")]
        let library = unsafe { Library::new(&path) };
        Box::leak(Box::new(library.unwrap_or_else(|e| panic!("cannot load {}: {e}", path.display()))))
    })
}

fn compile(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kernels = root.join("src/kernels");
    let source = kernels.join(format!("{file}.cu"));
    let files = std::fs::read_dir(&kernels).unwrap().map(|entry| entry.unwrap().path());
    let mut sources: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "cuh")).collect();
    sources.sort();
    sources.extend([root.join("tests/gpu/emulator.h"), source.clone()]);
    let mut state = Vec::new();
    for path in &sources {
        state.extend(std::fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display())));
    }
    let folder = std::env::current_exe().unwrap().parent().unwrap().join("emulated");
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join(format!("{file}-{}.so", &Digest::of(&state).to_string()[..16]));
    if !library.exists() {
        let partial = library.with_extension(format!("{}.partial", std::process::id()));
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let mut command = Command::new(compiler);
        command.args([
            "-std=c++17",
            "-O2",
            "-fPIC",
            "-shared",
            "-U_FORTIFY_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
        ]);
        command.args(["-Wno-unknown-pragmas", "-ffp-contract=off", "-DPREP_EMULATED", "-x", "c++"]);
        command.arg("-I").arg(root.join("tests/gpu")).arg(&source).arg("-o").arg(&partial);
        let output = command.output().expect("a C++ compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&partial, &library).unwrap();
    }
    library
}
