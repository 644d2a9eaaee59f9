//! The whole build, digests and all, beside arrow-rs's own Parquet writer on the same columns with nothing else to do.
//! That writer works on one thread; the build is measured on one and on two.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use prep::pipeline::{Override, Pipeline};
use prep::progress::Silent;
use prep::shards::{BuildRequest, Dataset, build, reproduce};

/// Twenty row groups.
const ROWS: u64 = 1_024_000;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// XQuAD-R where it is at hand, else the demo corpus.
fn pipeline() -> (Pipeline, PathBuf) {
    let real = repository().join("../shared/data");
    let (name, data) = if real.is_dir() { ("xquad-r", real) } else { ("demo", repository().join("data")) };
    let overrides: Vec<Override> = [
        format!("batches.steps={}", ROWS / 100),
        "batches.batch_size=100".to_owned(),
        "batches.negatives=0".to_owned(),
        "shards.steps_per_shard=512".to_owned(),
    ]
    .iter()
    .map(|text| text.parse().expect("key=value"))
    .collect();
    let file = repository().join(format!("pipelines/{name}.toml"));
    let text = fs::read_to_string(file).expect("a pipeline that ships").replace("epochs = 1\n", "");
    // The demo's languages are smaller than a batch of 100.
    let text = text.replace(
        "strategy = \"hybrid\"",
        if name == "demo" { "strategy = \"x-y\"" } else { "strategy = \"hybrid\"" },
    );
    (Pipeline::from_toml(name, &text, &overrides).expect("a pipeline that reads"), data)
}

fn shards(c: &mut Criterion) {
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().expect("the first pool");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (pipeline, data) = pipeline();
    let out = folder.path().join("dataset");
    let request = BuildRequest {
        pipeline: &pipeline,
        data: &data,
        out: &out,
        replace: true,
        strict: false,
        tokenizer: None,
        threads: 1,
    };
    build(request, &Silent).expect("a build");
    let batches = read_train(&out);

    let mut group = c.benchmark_group(format!("{ROWS} rows"));
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(ROWS));
    group.bench_function("arrow-rs writes the columns", |b| b.iter(|| write(&batches)));
    for threads in [1, 2] {
        let request = BuildRequest { threads, ..request };
        group.bench_function(format!("prep builds the dataset, {threads} threads"), |b| {
            b.iter(|| build(request, &Silent).expect("a build"));
        });
    }
    group.finish();

    let dataset = Dataset::open(&out).expect("a dataset");
    let mut step = 0;
    c.bench_function("reproduce one batch", |b| {
        b.iter(|| {
            step += 1_000_003;
            reproduce(&dataset, step..step + 1, &Silent).expect("a batch")
        });
    });
}

fn read_train(out: &Path) -> Vec<RecordBatch> {
    let mut files: Vec<_> = fs::read_dir(out.join("train"))
        .expect("train/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("batches-"))
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|path| {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("a shard"));
            builder
                .expect("Parquet")
                .with_batch_size(51_200)
                .build()
                .expect("a reader")
                .map(|b| b.expect("rows"))
        })
        .collect()
}

fn write(batches: &[RecordBatch]) {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("a level")))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_dictionary_page_size_limit(32 << 20)
        .set_max_row_group_row_count(Some(51_200))
        .build();
    let mut writer =
        ArrowWriter::try_new(io::sink(), batches[0].schema(), Some(properties)).expect("a writer");
    for batch in batches {
        writer.write(batch).expect("rows");
    }
    writer.close().expect("a file");
}

criterion_group!(benches, shards);
criterion_main!(benches);
