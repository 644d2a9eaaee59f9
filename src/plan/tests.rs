//! Laws of the plan. The golden values stand in `schemas/SAMPLING.md`, section 8, and were produced by an
//! implementation in Python that shares nothing with this one.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};

use proptest::prelude::*;

use super::*;
use crate::pairs::PoolName;
use crate::pipeline::{Batches, Ratio, Strategy, Weighting};

#[test]
fn mix64_is_stable() {
    assert_eq!([0, 1, u64::MAX].map(mix64), [0, 0x5692_161d_100b_05e5, 0xb4d0_55fc_f2cb_bd7b]);
}

#[test]
fn subkey_is_stable() {
    assert_eq!(subkey(42, "mixture", "batches", 0), 0x693d_31d6_bb2c_fb89);
    assert_eq!(subkey(42, "pool", "demo/de:en", 3), 0x46f2_0817_c709_2918);
}

#[test]
fn permute_is_stable() {
    for (key, n, images) in [
        (0, 10, [6, 1, 8, 5, 2]),
        (1, 1190, [891, 741, 115, 889, 43]),
        (0xDEAD_BEEF, 1 << 20, [292_589, 1_032_153, 827_425, 450_638, 291_874]),
        (42, 1_000_000_007, [389_000_613, 602_615_463, 375_985_336, 463_119_835, 569_903_933]),
        (
            u64::MAX,
            1 << 40,
            [958_358_442_345, 403_149_525_981, 742_261_324_172, 177_815_507_945, 616_563_020_696],
        ),
    ] {
        assert_eq!([0, 1, 2, 3, 4].map(|x| permute(key, n, x)), images, "key {key} n {n}");
    }
}

fn assert_bijective(key: u64, n: u64) {
    let permutation = Permutation::new(key, n);
    let mut seen = vec![false; n as usize];
    for x in 0..n {
        let image = permutation.apply(x) as usize;
        assert!(!std::mem::replace(&mut seen[image], true), "{image} twice, key {key} n {n}");
    }
}

#[test]
fn permute_is_a_bijection_for_every_small_n() {
    for n in 1..=1 << 12 {
        assert_bijective(mix64(n), n);
    }
}

#[test]
fn permute_is_a_bijection_around_powers_of_two() {
    for k in 12..=20 {
        for n in [(1 << k) - 1, 1 << k, (1 << k) + 1] {
            assert_bijective(7, n);
        }
    }
}

#[test]
fn permute_reaches_the_largest_n() {
    let permutation = Permutation::new(3, u64::MAX);
    let images: std::collections::HashSet<u64> =
        (0..1000).chain(u64::MAX - 1000..u64::MAX).map(|x| permutation.apply(x)).collect();
    assert_eq!(images.len(), 2000);
}

/// Chi-square of where x goes over many keys, and of which of the pairs (image of 0, image of 1) occur. The bounds are
/// the 99.99 % quantiles for 16 and 271 degrees of freedom (from tables); keys are fixed, so this either holds or not.
#[test]
fn permute_is_uniform() {
    const N: u64 = 17;
    const DRAWS: u64 = 27_200;
    let (mut single, mut pairs) = (vec![0_u64; N as usize], BTreeMap::new());
    for key in 0..DRAWS {
        let permutation = Permutation::new(subkey(key, "pool", "uniformity", 0), N);
        let (a, b) = (permutation.apply(0), permutation.apply(1));
        single[a as usize] += 1;
        *pairs.entry((a, b)).or_insert(0_u64) += 1;
    }
    let chi_square = |counts: &mut dyn Iterator<Item = u64>, expected: f64| -> f64 {
        counts.map(|n| (n as f64 - expected).powi(2) / expected).sum()
    };
    let of_single = chi_square(&mut single.into_iter(), DRAWS as f64 / N as f64);
    assert!(of_single < 46.0, "{of_single}");
    assert_eq!(pairs.len() as u64, N * (N - 1));
    let of_pairs = chi_square(&mut pairs.into_values(), DRAWS as f64 / (N * (N - 1)) as f64);
    assert!(of_pairs < 369.0, "{of_pairs}");
}

fn pool(dataset: &str, q: &str, p: &str, size: u64) -> (PoolName, u64) {
    let name = PoolName { dataset: dataset.to_owned(), query_lang: q.to_owned(), passage_lang: p.to_owned() };
    (name, size)
}

fn square(languages: &[&str], size: u64) -> Vec<(PoolName, u64)> {
    let pairs = languages.iter().flat_map(|q| languages.iter().map(move |p| (q, p)));
    pairs.map(|(q, p)| pool("demo", q, p, size)).collect()
}

fn plan(pools: &[(PoolName, u64)], batches: impl std::borrow::Borrow<Batches>) -> Plan {
    make_plan(PlanRequest {
        seed: 42,
        pools,
        batches: batches.borrow(),
        negatives: NegativeSource::SameContext,
    })
    .unwrap()
}

fn batches(strategy: Strategy, batch_size: u32, steps: u64) -> Batches {
    Batches {
        strategy,
        batch_size: NonZeroU32::new(batch_size).unwrap(),
        steps: NonZeroU64::new(steps),
        ..Batches::default()
    }
}

fn weights(plan: &Plan) -> Vec<(&str, u64)> {
    plan.sources().iter().map(|s| (s.name.as_str(), s.weight)).collect()
}

#[test]
fn a_batch_is_stable() {
    let plan = plan(&square(&["ar", "de", "en"], 10), batches(Strategy::Hybrid, 4, 10));
    assert_eq!(weights(&plan), [("ar", 1), ("de", 1), ("en", 1), ("x-y", 3)]);
    let mut sampler = Sampler::new(&plan);
    for (step, expected) in [
        (0, "x-y  en:ar 8, de:en 6, de:ar 3, ar:de 5"),
        (1, "de  de:de 1, de:de 0, de:de 3, de:de 6"),
        (2, "x-y  de:en 5, de:ar 4, ar:en 7, en:de 6"),
        (3, "en  en:en 2, en:en 5, en:en 4, en:en 0"),
        (6, "de  de:de 2, de:de 7, de:de 5, de:de 8"),
        (1_000_000_000_000, "en  en:en 9, en:en 2, en:en 4, en:en 6"),
    ] {
        let draws = sampler.batch(step);
        let pools = plan.pools();
        let rows: Vec<String> =
            draws.rows.iter().map(|row| format!("{} {}", &pools[row.pool].0[5..], row.example)).collect();
        assert_eq!(
            format!("{}  {}", plan.sources()[draws.source].name, rows.join(", ")),
            expected,
            "step {step}"
        );
    }
}

#[test]
fn a_sampler_remembers_nothing_that_shows() {
    let plan = plan(&square(&["ar", "de", "en"], 10), batches(Strategy::Hybrid, 4, 10));
    let mut used = Sampler::new(&plan);
    for step in [5, 0, u64::MAX - 1, 7, 7, 3, 1 << 40] {
        assert_eq!(used.batch(step), Sampler::new(&plan).batch(step), "step {step}");
    }
}

#[test]
fn strategies_make_the_sources_that_the_specification_lists() {
    let pools = square(&["de", "en"], 10);
    let of = |strategy| plan(&pools, batches(strategy, 4, 10));
    let names = |plan: &Plan| -> Vec<(String, Vec<String>)> {
        let pools = |s: &Source| s.pools.iter().map(|p| p.name.clone()).collect();
        plan.sources().iter().map(|s| (s.name.clone(), pools(s))).collect()
    };
    let source = |name: &str, pools: &[&str]| {
        (name.to_owned(), pools.iter().map(|p| format!("demo/{p}")).collect::<Vec<_>>())
    };
    assert_eq!(names(&of(Strategy::XXMono)), [source("de", &["de:de"]), source("en", &["en:en"])]);
    assert_eq!(names(&of(Strategy::XX)), [source("x-x", &["de:de", "en:en"])]);
    assert_eq!(names(&of(Strategy::XY)), [source("x-y", &["de:en", "en:de"])]);
    assert_eq!(names(&of(Strategy::Pair)), [source("de:en", &["de:en"]), source("en:de", &["en:de"])]);
    assert_eq!(
        names(&of(Strategy::Hybrid)),
        [source("de", &["de:de"]), source("en", &["en:en"]), source("x-y", &["de:en", "en:de"])]
    );
}

/// Worked by hand: alpha/(m) each and 1 - alpha, over their common denominator.
#[test]
fn alpha_divides_between_the_families_exactly() {
    let pools = square(&["ar", "de", "en"], 10);
    let of = |alpha: &str| {
        let alpha: Ratio = alpha.parse().unwrap();
        plan(&pools, Batches { alpha, ..batches(Strategy::Hybrid, 4, 10) })
    };
    assert_eq!(weights(&of("0.3")), [("ar", 1), ("de", 1), ("en", 1), ("x-y", 7)]); // .1 .1 .1 .7
    assert_eq!(weights(&of("1/3")), [("ar", 1), ("de", 1), ("en", 1), ("x-y", 6)]); // 1/9 each, 6/9
    assert_eq!(weights(&of("1")), [("ar", 1), ("de", 1), ("en", 1)]);
    assert_eq!(weights(&of("0")), [("x-y", 1)]);
}

#[test]
fn weightings_are_resolved_to_integers() {
    let pools = [pool("d", "de", "de", 160), pool("d", "en", "en", 40), pool("e", "en", "en", 20)];
    let of = |language_weights, dataset_weights| {
        plan(&pools, Batches { language_weights, dataset_weights, ..batches(Strategy::XXMono, 4, 10) })
    };
    // de has 160 examples, en 60.
    assert_eq!(weights(&of(Weighting::Proportional, Weighting::Proportional)), [("de", 8), ("en", 3)]);
    assert_eq!(weights(&of(Weighting::Uniform, Weighting::Proportional)), [("de", 1), ("en", 1)]);
    // sqrt(160) : sqrt(60) = 12.649 : 7.746 = .62020 : .37980 of 1000, by hand.
    let root = Weighting::Temperature("2".parse().unwrap());
    assert_eq!(weights(&of(root, Weighting::Uniform)), [("de", 620), ("en", 380)]);
    let explicit = |pairs: &[(&str, &str)]| {
        Weighting::Explicit(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.parse().unwrap())).collect())
    };
    let plan = of(explicit(&[("de", "0.5"), ("en", "1.5")]), explicit(&[("d", "1"), ("e", "2")]));
    assert_eq!(weights(&plan), [("de", 1), ("en", 3)]);
    let en: Vec<_> = plan.sources()[1].pools.iter().map(|p| (p.name.as_str(), p.weight)).collect();
    assert_eq!(en, [("d/en:en", 1), ("e/en:en", 2)]);
}

/// A dataset or language of weight 0 takes nothing from the share of its family.
#[test]
fn what_is_left_out_leaves_alpha_alone() {
    let mut pools = square(&["de", "en"], 10);
    pools.push(pool("other", "ja", "ja", 10));
    let explicit = |pairs: &[(&str, u64)]| {
        Weighting::Explicit(pairs.iter().map(|(name, n)| ((*name).to_owned(), Ratio::new(*n, 1))).collect())
    };
    let dataset_weights = explicit(&[("demo", 1), ("other", 0)]);
    let of = plan(&pools, Batches { dataset_weights, ..batches(Strategy::Hybrid, 4, 10) });
    assert_eq!(weights(&of), [("de", 1), ("en", 1), ("x-y", 2)]);
    let language_weights = explicit(&[("de", 1), ("en", 1), ("ja", 0)]);
    let of = plan(&pools, Batches { language_weights, ..batches(Strategy::Hybrid, 4, 10) });
    assert_eq!(weights(&of), [("de", 1), ("en", 1), ("x-y", 2)]);
    // Only a monolingual dataset is left: hybrid cannot be had, and says so.
    let dataset_weights = explicit(&[("demo", 0), ("other", 1)]);
    let refused = Batches { dataset_weights, ..batches(Strategy::Hybrid, 4, 10) };
    let error = make_plan(PlanRequest {
        seed: 42,
        pools: &pools,
        batches: &refused,
        negatives: NegativeSource::SameContext,
    })
    .unwrap_err();
    assert!(error.to_string().contains("no cross-lingual pair"), "{error}");
}

#[test]
fn plain_sizes_stay_exact_beyond_the_cycle() {
    let pools = [pool("d", "de", "de", 1_000_003), pool("d", "en", "en", 999_983)];
    let language_weights = Weighting::Proportional;
    let plan = plan(&pools, Batches { language_weights, ..batches(Strategy::XXMono, 4, 10) });
    assert_eq!(weights(&plan), [("de", 1_000_003), ("en", 999_983)]);
}

#[test]
fn an_epoch_is_all_examples_divided_by_the_batch_size_rounded_up() {
    let pools = square(&["de", "en"], 10);
    let epochs = NonZeroU64::new(3);
    let plan = plan(&pools, Batches { steps: None, epochs, ..batches(Strategy::Hybrid, 7, 1) });
    assert_eq!(plan.steps(), 18); // 40 / 7 = 5.7 -> 6, three times
}

#[test]
fn settings_that_cannot_be_met_are_refused() {
    let refuse = |pools: &[(PoolName, u64)], batches: Batches| {
        make_plan(PlanRequest { seed: 1, pools, batches: &batches, negatives: NegativeSource::SameContext })
            .unwrap_err()
            .to_string()
    };
    let found = refuse(&square(&["de", "en"], 3), batches(Strategy::Hybrid, 4, 1));
    assert!(
        found.contains("batch_size") && found.contains("demo/de:de") && found.contains("3 examples"),
        "{found}"
    );
    let found = refuse(&[pool("d", "de", "de", 9)], batches(Strategy::Hybrid, 4, 1));
    assert!(found.contains("no cross-lingual pair"), "{found}");
    let weights = Weighting::Explicit([("de".to_owned(), Ratio::new(1, 1))].into());
    let language_weights = weights.clone();
    let found =
        refuse(&square(&["de", "en"], 9), Batches { language_weights, ..batches(Strategy::XXMono, 4, 1) });
    assert!(found.contains("no number for `en`"), "{found}");
    let found =
        refuse(&square(&["en"], 9), Batches { language_weights: weights, ..batches(Strategy::XXMono, 4, 1) });
    assert!(found.contains("no examples for `de`"), "{found}");
}

#[test]
fn plan_json_reads_back_and_is_canonical() {
    let plan = plan(&square(&["de", "en"], 10), batches(Strategy::Hybrid, 4, 10));
    let json = plan.to_json();
    let expected = concat!(
        r#"{"version":1,"seed":42,"batch_size":4,"steps":10,"hard_negatives":{"k":0,"source":"same-context"},"sources":["#,
        r#"{"name":"de","weight":1,"pools":[{"name":"demo/de:de","weight":1,"size":10}]},"#,
        r#"{"name":"en","weight":1,"pools":[{"name":"demo/en:en","weight":1,"size":10}]},"#,
        r#"{"name":"x-y","weight":2,"pools":[{"name":"demo/de:en","weight":1,"size":10},{"name":"demo/en:de","weight":1,"size":10}]}]}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
    assert_eq!(Plan::from_json(&json).unwrap(), plan);
}

#[test]
fn a_plan_that_breaks_its_rules_is_refused() {
    let good =
        String::from_utf8(plan(&square(&["de", "en"], 10), batches(Strategy::Hybrid, 4, 10)).to_json())
            .unwrap();
    for (from, to, found) in [
        (r#""version":1"#, r#""version":2"#, "version 2"),
        (r#""batch_size":4"#, r#""batch_size":0"#, "batch_size 0"),
        (r#""name":"en","weight":1"#, r#""name":"de","weight":1"#, "out of byte order"),
        (r#""name":"x-y","weight":2"#, r#""name":"x-y","weight":0"#, "weight 0"),
        (r#""weight":1,"size":10"#, r#""weight":1,"size":0"#, "size 0"),
        (r#""weight":2"#, r#""weight":18446744073709551615"#, "over 2^64"),
        (r#""name":"de","#, r#""name":"batches","#, "reserved"),
        (r#""steps":10"#, r#""steps":10,"more":1"#, "unknown field"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        let error = Plan::from_json(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(found), "{error}");
    }
}

#[test]
fn an_epoch_of_one_seed_is_none_of_the_next_seed() {
    let pools = [pool("demo", "de", "de", 40)];
    let pass = |seed: u64, pass: u64| -> Vec<u64> {
        let batches = batches(Strategy::XXMono, 40, 100);
        let plan = make_plan(PlanRequest {
            seed,
            pools: &pools,
            batches: &batches,
            negatives: NegativeSource::SameContext,
        })
        .unwrap();
        Sampler::new(&plan).batch(pass).rows.iter().map(|row| row.example).collect()
    };
    for seed in 0..50 {
        for epoch in 0..5 {
            assert_ne!(pass(seed, epoch + 1), pass(seed + 1, epoch), "seed {seed} epoch {epoch}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Every example of every pool is drawn exactly once in each pass over its pool.
    #[test]
    fn each_example_is_used_once_per_pass(seed: u64, sizes in prop::collection::vec(1_u64..40, 4), batch_size in 1_u32..6) {
        let names = [("de", "de"), ("en", "en"), ("de", "en"), ("en", "de")];
        let pools: Vec<_> = names.iter().zip(&sizes).map(|((q, p), n)| pool("d", q, p, *n)).collect();
        let request = Batches { batch_size: NonZeroU32::new(batch_size).unwrap(), steps: NonZeroU64::new(400), ..Batches::default() };
        prop_assume!(sizes.iter().all(|n| u64::from(batch_size) <= *n));
        let plan = make_plan(PlanRequest { seed, pools: &pools, batches: &request, negatives: NegativeSource::SameContext }).unwrap();
        let mut sampler = Sampler::new(&plan);
        let mut used: BTreeMap<(usize, u64), Vec<u64>> = BTreeMap::new();
        for step in 0..plan.steps() {
            for row in sampler.batch(step).rows {
                used.entry((row.pool, row.pass)).or_default().push(row.example);
            }
        }
        let last: BTreeMap<usize, u64> = used.keys().copied().collect();
        for ((pool, pass), mut examples) in used {
            let (n, size) = (examples.len() as u64, plan.pools()[pool].1);
            examples.sort_unstable();
            examples.dedup();
            prop_assert_eq!(examples.len() as u64, n, "an example twice in one pass");
            // Rows of one pool are drawn in order of q, so only the last pass may be incomplete... but the mixture
            // permutes occurrences within a cycle, so the two last may be.
            if pass + 1 < last[&pool] {
                prop_assert_eq!(n, size);
            }
        }
    }

    /// Every cycle holds each source exactly as often as its weight says.
    #[test]
    fn shares_are_exact_in_every_cycle(seed: u64, a in 1_u64..20, b in 1_u64..20, first_cycle in 0_u64..1_000_000) {
        let weights = Weighting::Explicit([("de".to_owned(), Ratio::new(a, 1)), ("en".to_owned(), Ratio::new(b, 1))].into());
        let pools = [pool("d", "de", "de", 10), pool("d", "en", "en", 10)];
        let batches = Batches { language_weights: weights, ..batches(Strategy::XXMono, 2, 10) };
        let plan = make_plan(PlanRequest { seed, pools: &pools, batches: &batches, negatives: NegativeSource::SameContext }).unwrap();
        let cycle: u64 = plan.sources().iter().map(|s| s.weight).sum();
        let mut sampler = Sampler::new(&plan);
        for n in first_cycle..first_cycle + 3 {
            let mut counts = vec![0; 2];
            (n * cycle..(n + 1) * cycle).for_each(|step| counts[sampler.source(step)] += 1);
            let expected: Vec<u64> = plan.sources().iter().map(|s| s.weight).collect();
            prop_assert_eq!(counts, expected);
        }
    }
}
