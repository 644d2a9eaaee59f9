//! The whole of ranking and scoring, beside the matrix product that it cannot do without: all scores, in one product of
//! the same crate on as many threads, into memory that is there.

use std::path::Path;

use candle_core::Device;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use prep::eval::{Benchmark, Embeddings, RECALL_AT, Scores, evaluate, standard_measures};
use prep::keys::mix64;
use prep::pipeline::{Override, Pipeline};
use prep::progress::Silent;
use prep::shards::{BuildRequest, Dataset, Part, build};

/// Of a small sentence encoder.
const WIDTH: usize = 384;

/// XQuAD-R where it is at hand, else the demo corpus.
fn benchmark(folder: &Path) -> Benchmark {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let real = repository.join("../shared/data");
    let (name, data) = if real.is_dir() { ("xquad-r", real) } else { ("demo", repository.join("data")) };
    let steps: Override = "batches.steps=10".parse().expect("key=value");
    let file = repository.join(format!("pipelines/{name}.toml"));
    let pipeline = Pipeline::from_file(&file, &[steps]).expect("a pipeline that ships");
    let out = folder.join("dataset");
    let request = BuildRequest {
        pipeline: &pipeline,
        data: &data,
        out: &out,
        replace: true,
        strict: false,
        tokenizer: None,
        threads: 2,
    };
    build(request, &Silent).expect("a build");
    Benchmark::read(&Dataset::open(&out).expect("a dataset"), Part::Eval).expect("a benchmark")
}

fn made(rows: usize, seed: u64) -> Vec<f32> {
    (0..rows * WIDTH).map(|i| (mix64(seed ^ mix64(i as u64)) >> 40) as f32 / (1 << 24) as f32 - 0.5).collect()
}

#[expect(unsafe_code, reason = "gemm takes pointers and strides")]
fn product(queries: &[f32], passages: &[f32], out: &mut [f32], threads: usize) {
    let (n_queries, n_passages) = (queries.len() / WIDTH, passages.len() / WIDTH);
    assert_eq!(out.len(), n_queries * n_passages);
    let parallelism = gemm::Parallelism::Rayon(threads);
    // SAFETY: the shapes are those of the slices: passages by WIDTH, WIDTH by queries, and passages by queries.
    unsafe {
        gemm::gemm(
            n_passages,
            n_queries,
            WIDTH,
            out.as_mut_ptr(),
            n_passages as isize,
            1,
            false,
            passages.as_ptr(),
            1,
            WIDTH as isize,
            queries.as_ptr(),
            WIDTH as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

fn eval(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let benchmark = benchmark(folder.path());
    let (n_queries, n_passages) = (benchmark.n_queries(), benchmark.n_passages());
    let (queries, passages) = (made(n_queries, 1), made(n_passages, 2));
    let embeddings = Embeddings::new(&benchmark, Path::new("made"), WIDTH, queries.clone(), passages.clone())
        .expect("finite");
    let measures = standard_measures(&RECALL_AT);

    let mut group = c.benchmark_group(format!("{n_queries} x {n_passages} x {WIDTH}"));
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .throughput(Throughput::Elements((n_queries * n_passages) as u64));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let mut out = vec![0.0; n_queries * n_passages];
        group.bench_function(format!("matrix product alone, {threads} threads"), |b| {
            b.iter(|| pool.install(|| product(&queries, &passages, &mut out, threads)));
        });
        drop(out);
        group.bench_function(format!("ranks and measures, {threads} threads"), |b| {
            let rank = || Scores::of_embeddings(&benchmark, &embeddings, &measures, &Device::Cpu, &Silent);
            b.iter(|| pool.install(rank));
        });
        let scores = Scores::of_embeddings(&benchmark, &embeddings, &measures, &Device::Cpu, &Silent)
            .expect("the CPU ranks");
        group.bench_function(format!("means and intervals, {threads} threads"), |b| {
            b.iter(|| pool.install(|| evaluate(&benchmark, &scores, 42)));
        });
    }
    group.finish();
}

criterion_group!(benches, eval);
criterion_main!(benches);
