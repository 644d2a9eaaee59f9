//! What a batch costs in numbers: permutations, batches near and far.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prep::pairs::PoolName;
use prep::pipeline::{Batches, NegativeSource};
use prep::plan::{Permutation, PlanRequest, Sampler, make_plan};

fn plan(c: &mut Criterion) {
    let permutation = Permutation::new(42, 1190);
    c.bench_function("permute one of 1,190", |b| {
        let mut x = 0;
        b.iter(|| {
            x = (x + 1) % 1190;
            black_box(permutation.apply(x))
        });
    });

    for n_languages in [11, 120] {
        let languages: Vec<String> = (0..n_languages).map(|i| format!("l{i}")).collect();
        let pools: Vec<(PoolName, u64)> = languages
            .iter()
            .flat_map(|q| languages.iter().map(move |p| (q, p)))
            .map(|(q, p)| {
                let (query_lang, passage_lang) = (q.clone(), p.clone());
                (PoolName { dataset: "d".to_owned(), query_lang, passage_lang }, 1190)
            })
            .collect();
        let plan = make_plan(PlanRequest {
            seed: 42,
            pools: &pools,
            batches: &Batches::default(),
            negatives: NegativeSource::SameContext,
        })
        .expect("a plan of uniform pools");
        let mut group = c.benchmark_group(format!("batch of 100, {n_languages} languages"));
        group.throughput(Throughput::Elements(100));
        for first in [0, 1_000_000_000_000_u64] {
            let mut sampler = Sampler::new(&plan);
            let mut step = first;
            group.bench_function(format!("from step {first}"), |b| {
                b.iter(|| {
                    step += 1;
                    black_box(sampler.batch(step))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, plan);
criterion_main!(benches);
