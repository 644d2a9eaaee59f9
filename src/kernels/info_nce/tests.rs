//! What the loss and its gradients must be, on the CPU and on a GPU.

use candle_core::{DType, Device};

use super::super::emulated::{is_real, on_gpu};
use super::super::testing::{assert_close, check_gradients, one_to_three_threads, tensor, values};
use super::*;

const DIRECTIONS: [Direction; 3] =
    [Direction::QueryToPassage, Direction::Symmetric, Direction::OwnPositivePlusAllNegatives];

fn loss(direction: Direction, mask: Option<GroupMask>) -> InfoNce {
    InfoNce { temperature: 0.4, direction, mask }
}

/// Every third query is of group 0, the others of groups of their own; every fifth passage answers group 0.
fn mask(n_queries: u32, n_passages: u32) -> GroupMask {
    let query_groups: Vec<u32> = (0..n_queries).map(|i| if i % 3 == 0 { 0 } else { i }).collect();
    let offsets: Vec<u32> = (0..=n_passages).map(|j| j.div_ceil(5)).collect();
    GroupMask::new(query_groups, offsets, vec![0; n_passages.div_ceil(5) as usize]).unwrap()
}

/// Whether passage j is a candidate of query i, and query i of passage j.
fn is_candidate(loss: &InfoNce, n_queries: usize, i: usize, j: usize) -> bool {
    let masked = loss.mask.is_some() && i.is_multiple_of(3) && j.is_multiple_of(5);
    let foreign = loss.direction == Direction::OwnPositivePlusAllNegatives && j < n_queries;
    i == j || !masked && !foreign
}

/// The definition, pair by pair, under [`mask`] or without.
fn by_definition(queries: &Tensor, passages: &Tensor, loss: &InfoNce) -> f64 {
    let (queries, passages) = (queries.to_vec2::<f64>().unwrap(), passages.to_vec2::<f64>().unwrap());
    let n = queries.len();
    let score = |i: usize, j: usize| {
        queries[i].iter().zip(&passages[j]).map(|(q, p)| q * p).sum::<f64>() / loss.temperature
    };
    let row = |i: usize| {
        let candidates = (0..passages.len()).filter(|&j| is_candidate(loss, n, i, j));
        candidates.map(|j| score(i, j).exp()).sum::<f64>().ln() - score(i, i)
    };
    let column = |j: usize| {
        let candidates = (0..n).filter(|&i| is_candidate(loss, n, i, j));
        candidates.map(|i| score(i, j).exp()).sum::<f64>().ln() - score(j, j)
    };
    let mean = |one: &dyn Fn(usize) -> f64| (0..n).map(one).sum::<f64>() / n as f64;
    match loss.direction {
        Direction::Symmetric => f64::midpoint(mean(&row), mean(&column)),
        _ => mean(&row),
    }
}

/// Sizes within a block, and of several blocks with remainders.
#[test]
fn is_the_definition() {
    for (n_queries, n_passages) in [(1, 1), (7, 7), (5, 13), (300, 1100)] {
        let (queries, passages) = (tensor((n_queries, 6), 1), tensor((n_passages, 6), 2));
        for direction in DIRECTIONS {
            for mask in [None, Some(mask(n_queries as u32, n_passages as u32))] {
                let loss = loss(direction, mask);
                let exact = by_definition(&queries, &passages, &loss);
                let exact = Tensor::new(exact, &Device::Cpu).unwrap();
                assert_close(&info_nce(&queries, &passages, &loss).unwrap(), &exact, 1e-12);
                let (queries, passages) =
                    (queries.to_dtype(DType::F32).unwrap(), passages.to_dtype(DType::F32).unwrap());
                // Scores below 15 have an error of 15 * 2^-22 at most, and so has the loss.
                assert_close(&info_nce(&queries, &passages, &loss).unwrap(), &exact, 4e-6);
            }
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    for (n_queries, n_passages) in [(1, 3), (6, 6), (5, 13)] {
        let inputs = [tensor((n_queries, 3), 1), tensor((n_passages, 3), 2)];
        for direction in DIRECTIONS {
            for mask in [None, Some(mask(n_queries as u32, n_passages as u32))] {
                let loss = loss(direction, mask);
                check_gradients(|i| info_nce(&i[0], &i[1], &loss), &inputs, 1e-7);
            }
        }
    }
}

/// Several blocks: along any direction the loss changes as the gradient says.
#[test]
fn gradient_over_several_blocks() {
    let (queries, passages) = (tensor((300, 6), 1), tensor((1100, 6), 2));
    for direction in DIRECTIONS {
        let loss = loss(direction, Some(mask(300, 1100)));
        let variables = [&queries, &passages].map(|input| candle_core::Var::from_tensor(input).unwrap());
        let gradients = info_nce(&variables[0], &variables[1], &loss).unwrap().backward().unwrap();
        for (seed, argument) in (3..).zip(0..2) {
            let way = tensor(variables[argument].shape(), seed);
            let gradient = gradients.get(&variables[argument]).unwrap();
            let slope = values(&(gradient * &way).unwrap().sum_all().unwrap())[0];
            let at = |step: f64| {
                let mut moved = [queries.clone(), passages.clone()];
                moved[argument] = (&moved[argument] + (&way * step).unwrap()).unwrap();
                values(&info_nce(&moved[0], &moved[1], &loss).unwrap())[0]
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((slope - difference).abs() < 1e-8, "{slope}, difference {difference}");
        }
    }
}

#[test]
fn a_row_with_nothing_but_its_positive_loses_nothing() {
    let every = GroupMask::new(vec![4, 4], vec![0, 1, 2, 3], vec![4, 4, 4]).unwrap();
    let inputs = [tensor((2, 3), 1), tensor((3, 3), 2)].map(|t| t.to_dtype(DType::F32).unwrap());
    let [queries, passages] = inputs.map(|input| candle_core::Var::from_tensor(&input).unwrap());
    let found = info_nce(&queries, &passages, &loss(Direction::Symmetric, Some(every))).unwrap();
    let gradients = found.backward().unwrap();
    assert_eq!(values(&found), [0.0]);
    assert_eq!(values(gradients.get(&queries).unwrap()), [0.0; 6]);
    assert_eq!(values(gradients.get(&passages).unwrap()), [0.0; 9]);
}

#[test]
fn large_scores_do_not_overflow() {
    let scale = |tensor: Tensor| (tensor * 100.0).unwrap().to_dtype(DType::F32).unwrap();
    let (queries, passages) = (scale(tensor((40, 8), 1)), scale(tensor((40, 8), 2)));
    let found = info_nce(&queries, &passages, &loss(Direction::Symmetric, None)).unwrap();
    assert!(values(&found)[0].is_finite());
}

#[test]
fn threads_do_not_show() {
    let inputs = [tensor((300, 17), 1), tensor((900, 17), 2)];
    for direction in DIRECTIONS {
        let loss = loss(direction, Some(mask(300, 900)));
        one_to_three_threads(&inputs, |i| info_nce(&i[0], &i[1], &loss));
    }
}

#[test]
fn gradients_in_one_sweep_are_those_of_the_graph() {
    let (queries, passages) = (tensor((300, 6), 1), tensor((700, 6), 2));
    for dtype in [DType::F32, DType::F64] {
        let inputs = [&queries, &passages].map(|input| input.to_dtype(dtype).unwrap());
        for direction in DIRECTIONS {
            let loss = loss(direction, Some(mask(300, 700)));
            let variables = inputs.each_ref().map(|input| candle_core::Var::from_tensor(input).unwrap());
            let expected = info_nce(&variables[0], &variables[1], &loss).unwrap();
            let gradients = expected.backward().unwrap();
            let (found, dqueries, dpassages) =
                info_nce_with_gradients(&inputs[0], &inputs[1], &loss).unwrap();
            assert_eq!(values(&found), values(&expected));
            assert_eq!(values(&dqueries), values(gradients.get(&variables[0]).unwrap()));
            assert_eq!(values(&dpassages), values(gradients.get(&variables[1]).unwrap()));
        }
    }
}

fn unit_rows(tensor: &Tensor) -> Tensor {
    let length = tensor.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
    tensor.broadcast_div(&length).unwrap()
}

/// For each element of dqueries and dpassages, what its terms are together without their signs; rounding the shares
/// of pairs is wrong by a multiple of it.
fn sizes_of_terms(queries: &Tensor, passages: &Tensor, loss: &InfoNce) -> [Tensor; 2] {
    let (n, m) = (queries.dims()[0], passages.dims()[0]);
    let scores = (queries.matmul(&passages.t().unwrap()).unwrap() / loss.temperature).unwrap();
    let scores = scores.to_vec2::<f64>().unwrap();
    let exponents: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let of = |j: usize| if is_candidate(loss, n, i, j) { scores[i][j].exp() } else { 0.0 };
            (0..m).map(of).collect()
        })
        .collect();
    let is_symmetric = loss.direction == Direction::Symmetric;
    let n_sums = if is_symmetric { 2 * n } else { n };
    let mut shares = vec![0.0; n * m];
    for i in 0..n {
        let row: f64 = exponents[i].iter().sum();
        for j in 0..m {
            let share = &mut shares[i * m + j];
            *share += exponents[i][j] / row + f64::from(u8::from(i == j));
            if is_symmetric && j < n {
                let column: f64 = exponents.iter().map(|row| row[j]).sum();
                *share += exponents[i][j] / column + f64::from(u8::from(i == j));
            }
            *share /= n_sums as f64 * loss.temperature;
        }
    }
    let shares = Tensor::from_vec(shares, (n, m), &Device::Cpu).unwrap();
    let size = |tensor: &Tensor| tensor.abs().unwrap();
    let of_passages = shares.t().unwrap().contiguous().unwrap().matmul(&size(queries)).unwrap();
    [shares.matmul(&size(passages)).unwrap(), of_passages]
}

/// Scores are below 1 / temperature and have an error of that times a few roundings for each doubling of the width,
/// which is what a share is wrong by, relatively; and what is rounded to bf16 on the way are shares and, in the
/// graph, gradients.
fn check(queries: &Tensor, passages: &Tensor, loss: &InfoNce, cuts: &[Cut]) {
    for dtype in [DType::F32, DType::BF16] {
        let inputs = [queries, passages].map(|input| input.to_dtype(dtype).unwrap());
        let exact = inputs.each_ref().map(|input| input.to_dtype(DType::F64).unwrap());
        let (value, dqueries, dpassages) = info_nce_with_gradients(&exact[0], &exact[1], loss).unwrap();
        let [of_queries, of_passages] = sizes_of_terms(&exact[0], &exact[1], loss);
        let (n_terms, width) = (passages.dims()[0] as f64, passages.dims()[1] as f64);
        let of_f32 = f64::from(f32::EPSILON)
            * (32.0 + 4.0 * n_terms.log2() + (8.0 + 2.0 * width.log2()) / loss.temperature);
        let tolerance = of_f32 + if dtype == DType::BF16 { 2.0 * 2_f64.powi(-8) } else { 0.0 };
        for &cut in cuts {
            let found = on_gpu(|device| {
                let inputs = inputs.each_ref().map(|input| input.to_device(device).unwrap());
                let op = InfoNceOp { cut, ..InfoNceOp::new(&inputs[0], &inputs[1], loss).unwrap() };
                let both = evaluate(&Both(op.clone()), [&inputs[0], &inputs[1]]).unwrap();
                let variables = inputs.map(|input| candle_core::Var::from_tensor(&input).unwrap());
                let statistics = variables[0].apply_op2(&variables[1], Fused(op)).unwrap();
                let value = statistics.narrow(0, 0, 1).unwrap().reshape(()).unwrap();
                let gradients = value.backward().unwrap();
                let of = |i: usize| gradients.get(&variables[i]).unwrap().clone();
                both.into_iter().chain([value, of(0), of(1)]).collect()
            });
            let one = Tensor::new(1.0 + values(&value)[0], &Device::Cpu).unwrap();
            let expected = [(&value, &one), (&dqueries, &of_queries), (&dpassages, &of_passages)];
            for (n, (found, (expected, size))) in found.iter().zip(expected.iter().cycle()).enumerate() {
                assert_eq!(found.dims(), expected.dims(), "number {n}");
                // The loss is not rounded to bf16.
                let tolerance = if n % 3 == 0 { of_f32 } else { tolerance };
                let (found, expected, size) = (values(found), values(expected), values(size));
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let off = (found - expected).abs();
                    assert!(
                        off <= tolerance * size[i],
                        "{dtype:?}, {:?}, {cut:?}: element {i} of number {n} is {found}, expected {expected}: off \
                         by {off:e} of {:e}",
                        loss.direction,
                        size[i]
                    );
                }
            }
        }
    }
}

/// Rows that are made of 16 bytes and others, chunks of one row, of some and of all, scores in and beyond shared
/// memory, columns in several pieces.
#[test]
fn a_gpu_computes_the_same() {
    let cut = |least_rows, most_cached| Cut { most_bytes: 0, least_rows, most_cached };
    for (n, m, width, temperature, cuts) in [
        (1, 1, 8, 0.05, &[Cut::DEFAULT][..]),
        (3, 5, 8, 0.01, &[cut(1, 0)]),
        (17, 40, 96, 0.05, &[Cut::DEFAULT, cut(5, 16)]),
        (64, 64, 33, 0.01, &[Cut::DEFAULT, cut(40, 32)]),
        (70, 133, 24, 0.05, &[cut(32, 8)]),
    ] {
        let (queries, passages) = (unit_rows(&tensor((n, width), 1)), unit_rows(&tensor((m, width), 2)));
        for direction in DIRECTIONS {
            for mask in [None, Some(mask(n as u32, m as u32))] {
                let loss = InfoNce { temperature, ..loss(direction, mask) };
                check(&queries, &passages, &loss, cuts);
            }
        }
    }
    let (queries, passages) = (unit_rows(&tensor((300, 8), 1)), unit_rows(&tensor((304, 8), 2)));
    let symmetric = InfoNce { temperature: 0.05, ..loss(Direction::Symmetric, Some(mask(300, 304))) };
    check(&queries, &passages, &symmetric, &[Cut::DEFAULT]);
    // As in training; on a real GPU in several chunks of the size that a user gets.
    let (n, m) = if is_real() { (4096, 40_000) } else { (128, 512) };
    let (queries, passages) = (unit_rows(&tensor((n, 768), 1)), unit_rows(&tensor((m, 768), 2)));
    let real =
        InfoNce { temperature: 0.05, ..loss(Direction::QueryToPassage, Some(mask(n as u32, m as u32))) };
    check(&queries, &passages, &real, &[Cut::DEFAULT]);
}

#[test]
fn a_gpu_loses_nothing_on_a_row_with_nothing_but_its_positive() {
    let every = GroupMask::new(vec![4, 4], vec![0, 1, 2, 3], vec![4, 4, 4]).unwrap();
    let inputs = [tensor((2, 3), 1), tensor((3, 3), 2)].map(|t| t.to_dtype(DType::F32).unwrap());
    for direction in DIRECTIONS {
        let loss = loss(direction, Some(every.clone()));
        let found = on_gpu(|device| {
            let inputs = inputs.each_ref().map(|input| input.to_device(device).unwrap());
            let (loss, dqueries, dpassages) = info_nce_with_gradients(&inputs[0], &inputs[1], &loss).unwrap();
            vec![loss, dqueries, dpassages]
        });
        assert!(found.iter().flat_map(values).all(|x| x.abs() < 1e-6), "{found:?}");
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let queries = tensor((3, 5), 1);
    let message =
        |passages: &Tensor, loss: &InfoNce| info_nce(&queries, passages, loss).unwrap_err().to_string();
    let plain = loss(Direction::Symmetric, None);
    let e = message(&tensor((2, 5), 2), &plain);
    assert!(e.contains("3 queries and 2 passages"), "{e}");
    let e = message(&tensor((3, 4), 2), &plain);
    assert!(e.contains("`queries` has 5 columns and `passages` has 4"), "{e}");
    let e = message(&tensor((3, 5), 2), &InfoNce { temperature: 0.0, ..plain.clone() });
    assert!(e.contains("temperature must be above 0"), "{e}");
    let e = message(&tensor((4, 5), 2), &InfoNce { mask: Some(mask(3, 3)), ..plain });
    assert!(e.contains("a mask of 3 queries and 3 passages for 3 and 4"), "{e}");
}
