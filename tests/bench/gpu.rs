//! What the kernels take on a GPU, a JSON line for each job of `tests/gpu/jobs.json`.
//!
//! Median of many calls, the device synchronised at both ends. `peak_mib` is the most that the device's pool held beyond
//! what it held before, and beyond the gradients that the job is for.

use std::sync::Arc;
use std::time::Instant;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::{DType, Device, Error, Result, Tensor, bail};
use prep::kernels::{
    Activation, AdamW, AddNorm, AddRmsNorm, Attention, Direction, InfoNce, Node, PoolNorm, Pooling, Segments,
    Tape, Target, Targets, Updated, adamw, add_norm, add_rms_norm, attention, bias_activation, embedding,
    gated_gelu, info_nce_with_gradients, linear, pool_norm, rank_count, rms_norm,
};
use prep::model::DeviceName;
use serde::Deserialize;
use serde_json::{Value, json};

const EPS: f64 = 1e-5;

/// The jobs, which `results.py` and `torch_kernels.py` read, too.
const JOBS: &str = include_str!("../gpu/jobs.json");

fn main() -> Result<()> {
    // Built, and not run, by `cargo test --benches`.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    // As the trainer opens it: memory stays with the process, and nothing waits for events.
    let (device, _) = DeviceName::Cuda(0).open().map_err(Error::wrap)?;
    let jobs: Vec<NamedJob> = serde_json::from_str(JOBS).map_err(Error::wrap)?;
    for job in &jobs {
        // What one cannot do takes nothing else with it.
        if let Err(e) = run(&device, job) {
            print(&json!({"name": job.name(), "error": e.to_string().lines().next()}));
        }
    }
    Ok(())
}

/// An op and its sizes.
#[derive(Deserialize)]
struct NamedJob {
    op: String,
    sizes: Vec<usize>,
}

impl NamedJob {
    fn name(&self) -> String {
        let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        format!("{} {}", self.op, sizes.join(" x "))
    }
}

fn run(device: &Device, job: &NamedJob) -> Result<()> {
    let name = job.name();
    match (job.op.as_str(), &job.sizes[..]) {
        ("info_nce", &[queries, passages, width]) => losses(device, &name, [queries, passages, width]),
        ("linear", &[rows, inner, columns]) => products(device, &name, [rows, inner, columns]),
        ("attention", &[n, length, heads, size]) => attentions(device, &name, [n, length, heads, size]),
        ("embedding", &[tokens, words, width]) => embeddings(device, &name, [tokens, words, width]),
        ("pool_norm", &[n, length, width]) => poolings(device, &name, [n, length, width]),
        ("adamw", &[n]) => updates(device, &name, n),
        ("rank_count", &[queries, passages, width]) => ranks(device, &name, [queries, passages, width]),
        (op, &[rows, width]) => row_ops(device, op, &name, [rows, width]),
        _ => bail!("no job `{name}`"),
    }
}

/// The product of the feed-forward layer, forward and backward, which bounds what training can reach.
fn products(device: &Device, name: &str, [rows, inner, columns]: [usize; 3]) -> Result<()> {
    let (x, w) = (bf16((rows, inner), device)?, bf16((columns, inner), device)?);
    let flops = 6 * rows * inner * columns;
    backward(device, name, &[x, w], flops, 0, |i| linear(&i[0], &i[1]))
}

fn losses(device: &Device, name: &str, [n_queries, n_passages, width]: [usize; 3]) -> Result<()> {
    let unit = |rows| -> Result<Tensor> {
        let x = Tensor::randn(0_f32, 1.0, (rows, width), device)?;
        let lengths = x.sqr()?.sum_keepdim(1)?.sqrt()?;
        x.broadcast_div(&lengths)?.to_dtype(DType::BF16)
    };
    let (queries, passages) = (unit(n_queries)?, unit(n_passages)?);
    let how = InfoNce { temperature: 0.05, direction: Direction::QueryToPassage, mask: None };
    let calls = if n_passages < 40_000 { 20 } else { 3 };
    let flops = 6 * n_queries * n_passages * width;
    // Both gradients are f32.
    let gradients = (n_queries + n_passages) * width * 4;
    let job = Job { flops, gradients, calls, ..Job::default() };
    report(device, name, job, || info_nce_with_gradients(&queries, &passages, &how).map(drop))
}

fn row_ops(device: &Device, op: &str, name: &str, [rows, width]: [usize; 2]) -> Result<()> {
    let x = || bf16((rows, width), device);
    // So many matrices (T, D) are read and written, forward and backward.
    let bytes = |n: usize| n * 2 * rows * width;
    match op {
        // x, residual, y; then x, residual, dy, dx.
        "add_norm" => {
            let how = AddNorm { eps: EPS, dropout: None };
            let inputs = [x()?, x()?, bf16((3, width), device)?];
            backward(device, name, &inputs, 0, bytes(7), |i| add_norm(&i[0], &i[1], &i[2], how))
        }
        "rms_norm" => {
            let inputs = [x()?, bf16(width, device)?];
            backward(device, name, &inputs, 0, bytes(5), |i| rms_norm(&i[0], &i[1], EPS))
        }
        // x, residual, h, y; then h, dy, dh as an output, which is zeros here, dx.
        "add_rms_norm" => {
            let how = AddRmsNorm { eps: EPS, dropout: None };
            let inputs = [x()?, x()?, bf16(width, device)?];
            backward(device, name, &inputs, 0, bytes(9), |i| {
                add_rms_norm(&i[0], &i[1], &i[2], how).map(|[_, y]| y)
            })
        }
        "bias_activation" => {
            let inputs = [x()?, bf16(width, device)?];
            backward(device, name, &inputs, 0, bytes(5), |i| bias_activation(&i[0], &i[1], Activation::Gelu))
        }
        // x is twice as wide: x, y; then x, dy, dx.
        "gated_gelu" => {
            let inputs = [bf16((rows, 2 * width), device)?];
            backward(device, name, &inputs, 0, bytes(8), |i| gated_gelu(&i[0]))
        }
        _ => bail!("no job `{name}`"),
    }
}

/// Rows of the table that a step touches, a word more often the lower its number.
fn embeddings(device: &Device, name: &str, [tokens, words, width]: [usize; 3]) -> Result<()> {
    let rank = |i: usize| (i as f64 + 0.5) / tokens as f64;
    let ids: Arc<[u32]> = (0..tokens).map(|i| ((words as f64).powf(rank(i)) - 1.0) as u32).collect();
    let table = bf16((words, width), device)?;
    // Rows out of the table, and the result; then the gradient of that, and of the table in f32.
    let bytes = 3 * 2 * tokens * width + 4 * words * width;
    backward(device, name, &[table], 0, bytes, |i| embedding(&i[0], ids.clone()))
}

fn poolings(device: &Device, name: &str, [n, length, width]: [usize; 3]) -> Result<()> {
    let offsets: Vec<u32> = (0..=n).map(|i| (i * length) as u32).collect();
    let segments = Segments::new(offsets, 0)?;
    let how = PoolNorm { pooling: Pooling::Mean, normalise: true };
    let bytes = 3 * 2 * n * length * width;
    backward(device, name, &[bf16((n * length, width), device)?], 0, bytes, |i| {
        pool_norm(&i[0], &segments, how)
    })
}

fn attentions(device: &Device, name: &str, [n, length, heads, size]: [usize; 4]) -> Result<()> {
    let offsets: Vec<u32> = (0..=n).map(|i| (i * length) as u32).collect();
    let segments = Segments::new(offsets, 0)?;
    let how = Attention { n_heads: heads, scale: 0.125, segments, dropout: None };
    let qkv = bf16((n * length, 3 * heads * size), device)?;
    // Two products forward; five backward.
    let flops = 14 * n * heads * length * length * size;
    backward(device, name, &[qkv], flops, 0, |i| attention(&i[0], None, None, &how))
}

fn updates(device: &Device, name: &str, n: usize) -> Result<()> {
    let buffer = Tensor::zeros((3, n), DType::F32, device)?;
    let rounded = Tensor::zeros(n, DType::BF16, device)?;
    let gradient = Tensor::ones(n, DType::F32, device)?;
    let how = AdamW {
        learning_rate: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 1,
        gradient_scale: 1.0,
    };
    let updated = [Updated { offset: 0, len: n, gradient: &gradient, rows: None, decays: true }];
    let job = Job { bytes: 30 * n, ..Job::default() };
    report(device, name, job, || adamw(&buffer, Some(&rounded), &how, &updated))
}

fn ranks(device: &Device, name: &str, [queries, passages, width]: [usize; 3]) -> Result<()> {
    let rows = |n: usize| Tensor::randn(0_f32, 1.0, (n, width), device);
    let (q, p) = (rows(queries)?, rows(passages)?);
    let per_query = 11;
    let ids: Vec<u32> = (0..passages as u32).collect();
    let mut targets = Targets::new(&ids);
    for query in 0..queries {
        let passage = |i| ((query * 7 + i * passages / per_query) % passages) as u32;
        let target = |i| Target { passage: passage(i), language: 0..passages as u32 };
        targets.push((0..per_query).map(target));
    }
    let job = Job { flops: 2 * queries * passages * width, ..Job::default() };
    report(device, name, job, || rank_count(&q, &p, &targets).map(drop))
}

fn bf16(shape: impl Into<candle_core::Shape>, device: &Device) -> Result<Tensor> {
    Tensor::randn(0_f32, 1.0, shape, device)?.to_dtype(DType::BF16)
}

/// Forward and backward of an op.
fn backward<const N: usize>(
    device: &Device,
    name: &str,
    inputs: &[Tensor; N],
    flops: usize,
    bytes: usize,
    op: impl Fn(&[Node]) -> Result<Node>,
) -> Result<()> {
    let pass = |dy: Option<&Tensor>| -> Result<(Tensor, usize)> {
        let tape = Tape::new();
        let leaves: Vec<Node> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
        let y = op(&leaves)?;
        let value = prep::kernels::Operand::tensor(&y).clone();
        let Some(dy) = dy else { return Ok((value, 0)) };
        let gradients = tape.backward(&y, dy.clone(), &leaves)?;
        Ok((value, gradients.iter().flatten().map(n_bytes).sum()))
    };
    let (dy, _) = pass(None)?;
    let (_, gradients) = pass(Some(&dy))?;
    report(device, name, Job { flops, bytes, gradients, ..Job::default() }, || pass(Some(&dy)).map(drop))
}

fn n_bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

/// What a job does; 0 where that is not counted.
#[derive(Clone, Copy)]
struct Job {
    flops: usize,
    /// Read and written, at least.
    bytes: usize,
    /// Bytes of results that are gradients.
    gradients: usize,
    calls: usize,
}

impl Default for Job {
    fn default() -> Self {
        Self { flops: 0, bytes: 0, gradients: 0, calls: 20 }
    }
}

fn report(device: &Device, name: &str, job: Job, f: impl Fn() -> Result<()>) -> Result<()> {
    let Job { flops, bytes, gradients, calls } = job;
    let pool = Pool::of(device)?;
    device.synchronize()?;
    let before = pool.used()?;
    pool.reset_high()?;
    for _ in 0..3 {
        f()?;
    }
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        device.synchronize()?;
        let begun = Instant::now();
        f()?;
        device.synchronize()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let secs = times[times.len() / 2];
    let rate = |n: usize, unit: f64| if n == 0 { Value::Null } else { json!(n as f64 / secs / unit) };
    let line = json!({
        "name": name,
        "ms": 1e3 * secs,
        "fastest_ms": 1e3 * times[0],
        "tflops": rate(flops, 1e12),
        "gb_per_s": rate(bytes, 1e9),
        "peak_mib": pool.high()?.saturating_sub(before + gradients as u64) as f64 / f64::from(1 << 20),
    });
    print(&line);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(line: &Value) {
    println!("{line}");
}

/// The pool that the driver allocates from.
struct Pool(sys::CUmemoryPool);

impl Pool {
    fn of(device: &Device) -> Result<Self> {
        let ordinal = device.as_cuda_device()?.cuda_stream().context().ordinal();
        let (mut handle, mut pool) = (0, std::ptr::null_mut());
        // SAFETY: both pointers are to variables that the calls write.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe {
            sys::cuDeviceGet(&raw mut handle, ordinal as i32).result().w()?;
            sys::cuDeviceGetDefaultMemPool(&raw mut pool, handle).result().w()?;
        }
        Ok(Self(pool))
    }

    fn get(&self, attribute: sys::CUmemPool_attribute) -> Result<u64> {
        let mut value = 0_u64;
        // SAFETY: both attributes that are asked for are of 64 bits.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe {
            sys::cuMemPoolGetAttribute(self.0, attribute, (&raw mut value).cast()).result().w()?;
        }
        Ok(value)
    }

    fn used(&self) -> Result<u64> {
        self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
    }

    fn high(&self) -> Result<u64> {
        self.get(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH)
    }

    fn reset_high(&self) -> Result<()> {
        let mut zero = 0_u64;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        // SAFETY: the attribute is of 64 bits, and 0 is what it takes.
        #[expect(unsafe_code, reason = "the driver's interface")]
        unsafe {
            sys::cuMemPoolSetAttribute(self.0, attribute, (&raw mut zero).cast()).result().w()
        }
    }
}
