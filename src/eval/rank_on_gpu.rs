//! Ranks at full depth on a GPU: the counts of [`rank_count`], for some thousands of queries at a time.
//!
//! All passages lie in its memory at once, and nothing of the size of queries times passages does.

use std::num::NonZero;

use candle_core::{Device, Tensor};

use super::benchmark::Benchmark;
use super::embeddings::Embeddings;
use super::rank::Place;
use crate::error::Result;
use crate::kernels::{Target, Targets, rank_count};
use crate::progress::Observer;

/// Queries that are counted at once: enough for all multiprocessors where passages are few, and so few that progress
/// shows.
const QUERIES: usize = 8192;

/// By query, the places of its relevant passages, in the order of [`Benchmark::relevant`].
pub(super) fn rank_on_gpu(
    benchmark: &Benchmark,
    embeddings: &Embeddings,
    device: &Device,
    observer: &dyn Observer,
) -> Result<Vec<Vec<Place>>> {
    let width = embeddings.width();
    let upload = |rows: &[f32]| Tensor::from_slice(rows, (rows.len() / width, width), device);
    let passages = upload(embeddings.passages())?;
    let mut places = Vec::with_capacity(benchmark.n_queries());
    for (rows, first) in embeddings.queries().chunks(QUERIES * width).zip((0..).step_by(QUERIES)) {
        let queries = first..first + rows.len() / width;
        let mut targets = Targets::new(benchmark.id_ranks());
        for query in queries.clone() {
            targets.push(benchmark.relevant(query).iter().map(|relevant| {
                let language = benchmark.passages_of(relevant.language);
                // Row numbers are u32, as is checked where tables are put together.
                Target {
                    passage: relevant.passage as u32,
                    language: language.start as u32..language.end as u32,
                }
            }));
        }
        let mut counts = rank_count(&upload(rows)?, &passages, &targets)?.into_iter();
        for query in queries {
            let of_query = counts.by_ref().take(benchmark.relevant(query).len());
            let of_query = of_query.map(|[in_language, all]| Place {
                in_language: NonZero::new(in_language + 1),
                pooled: NonZero::new(all + 1),
            });
            places.push(of_query.collect());
            observer.advance(1);
        }
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::benchmark::made::{Row, benchmark};
    use super::super::rank::rank_on_cpu;
    use super::*;
    use crate::kernels::emulated::on_gpu;
    use crate::keys::mix64;
    use crate::progress::Silent;

    fn draw(what: u64, i: usize) -> u64 {
        mix64(what << 32 | i as u64)
    }

    /// Unit rows. Those of `n_distinct` texts repeat, and half of them are off in the last bits of a few numbers: many
    /// scores tie, and many differ by so little that the order of a sum decides between them.
    fn rows(n: usize, n_distinct: usize, width: usize, what: u64) -> Vec<f32> {
        let row = |row: usize| {
            let value =
                move |k| (draw(what, row % n_distinct * width + k) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
            let norm = (0..width).map(|k| value(k) * value(k)).sum::<f64>().sqrt();
            let is_off = draw(what + 1, row).is_multiple_of(2);
            (0..width).map(move |k| {
                let noise = draw(what + 2, row * width + k);
                let bits = if is_off && noise.is_multiple_of(8) { noise >> 61 } else { 0 };
                f32::from_bits(((value(k) / norm) as f32).to_bits() ^ bits as u32)
            })
        };
        (0..n).flat_map(row).collect()
    }

    /// Queries have a relevant passage in every language.
    fn made(n_queries: usize, n_passages: usize, width: usize) -> (Benchmark, Embeddings) {
        let languages = ["a", "b", "c", "d", "e"];
        let query_ids: Vec<String> = (0..n_queries).map(|i| format!("q{i}")).collect();
        let group_ids: Vec<String> = (0..n_queries).map(|i| format!("g{i}")).collect();
        let passage_ids: Vec<String> = (0..n_passages).map(|i| format!("p{:x}", draw(1, i))).collect();
        let queries: Vec<Row> =
            (0..n_queries).map(|i| (&*query_ids[i], &*group_ids[i], languages[i % 5])).collect();
        let passages: Vec<Row> = (0..n_passages).map(|i| (&*passage_ids[i], "", languages[i % 5])).collect();
        let mut judgements: Vec<(&str, &str, i32)> = (0..5 * n_queries)
            .map(|i| {
                let of_language = draw(2, i / 5) as usize % n_passages.div_ceil(5) * 5 + i % 5;
                (&*group_ids[i / 5], &*passage_ids[of_language % n_passages], 1)
            })
            .collect();
        judgements.sort_unstable();
        judgements.dedup();
        let benchmark = benchmark(&queries, &passages, &judgements);
        let of_queries = rows(n_queries, n_queries, width, 10);
        let of_passages = rows(n_passages, n_passages.div_ceil(40), width, 20);
        let embeddings =
            Embeddings::new(&benchmark, Path::new("made"), width, of_queries, of_passages).unwrap();
        (benchmark, embeddings)
    }

    /// By query and relevant passage, the ranks in the language and among all.
    fn flat(places: &[Vec<Place>]) -> Vec<u32> {
        let ranks = places.iter().flatten().flat_map(|place| [place.in_language, place.pooled]);
        ranks.map(|rank| rank.unwrap().get()).collect()
    }

    /// Scores are the same to the bit: ranks among hundreds of passages that differ by a rounding would show it.
    #[test]
    fn ranks_are_those_of_the_cpu() {
        #[cfg(target_arch = "x86_64")]
        if !std::arch::is_x86_feature_detected!("fma") {
            eprintln!("skipped: this CPU has no fused multiply-add, so its scores are rounded differently");
            return;
        }
        let sizes =
            [(1, 1, 1), (2, 7, 3), (131, 67, 2), (7, 601, 64), (17, 257, 384), (5, 401, 768), (3, 131, 1000)];
        for (n_queries, n_passages, width) in sizes {
            let (benchmark, embeddings) = made(n_queries, n_passages, width);
            let expected = flat(&rank_on_cpu(&benchmark, &embeddings, &Silent));
            let found = on_gpu(|device| {
                let ranks = flat(&rank_on_gpu(&benchmark, &embeddings, device, &Silent).unwrap());
                vec![Tensor::new(ranks, &Device::Cpu).unwrap()]
            });
            let found: Vec<u32> = found[0].to_vec1().unwrap();
            assert!(found == expected, "{n_queries} x {n_passages} x {width}: {found:?} {expected:?}");
        }
    }
}
