//! `attention`: softmax(q kᵀ scale + rel) v within each sequence, from the product with the three stacked weights.
//!
//! Work is dealt by sequence and head, the longest first. The products are those of `product`: with 64 elements a head
//! they run at half to nine tenths of the speed of `gemm` on one thread for sequences of 30 to 512 tokens; a call of
//! candle's product would add an allocation and a fork to each.

use std::ops::Range;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::Segments;
use super::attention_head::{Head, Inputs};
use super::attention_tiles::{self, Source};
use super::check::{alike, argument, matrix};
use super::dropout::Dropout;
use super::gpu::{Gpu, Memory, View};
use super::lanes::add;
use super::op::{Differentiable, Fused, Input, Op, evaluate};
use super::real::Real;
use super::rows::by_segment;
use super::tape::Operand;

const OP: &str = "attention";

/// What attention does beside its tensors.
#[derive(Clone, Debug)]
pub struct Attention {
    pub n_heads: usize,
    /// Scores are multiplied by it: 1 / sqrt(d), or 1 in T5.
    pub scale: f64,
    /// Which sequence a token belongs to; it attends to all tokens of it.
    pub segments: Segments,
    /// On the probabilities. That of query i, key j and head h is drawn from the number of token i in the batch, h and
    /// j.
    pub dropout: Option<Dropout>,
}

/// qkv: (T, 3 H d) of queries, keys and values, each of H heads side by side; bias: (3 H d), added to qkv; rel:
/// (H, 2 L - 1), `rel[h, j - i + L - 1]` being added to the score of query i and key j -> (T, H d).
///
/// # Errors
/// When shapes or types do not fit, a tensor is not contiguous, or a sequence is longer than L; on a GPU, when d is
/// neither 32 nor 64.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use prep::kernels::{Attention, Segments, attention};
///
/// # fn main() -> candle_core::Result<()> {
/// // One head of one element: queries of 0 give all keys of a sequence the same weight.
/// let qkv = Tensor::new(&[[0_f32, 9.0, 1.0], [0.0, 7.0, 3.0], [0.0, 8.0, 5.0]], &Device::Cpu)?;
/// let how = Attention { n_heads: 1, scale: 1.0, segments: Segments::new(vec![0, 2, 3], 0)?, dropout: None };
/// assert_eq!(attention(&qkv, None, None, &how)?.to_vec2::<f32>()?, [[2.0], [2.0], [5.0]]);
/// # Ok(())
/// # }
/// ```
pub fn attention<V: Operand>(qkv: &V, bias: Option<&V>, rel: Option<&V>, how: &Attention) -> Result<V> {
    let (rows, width) = matrix(OP, "qkv", qkv.tensor())?;
    if how.n_heads == 0 || !width.is_multiple_of(3 * how.n_heads) {
        bail!("{OP}: `qkv` has {width} columns, which are not three times {} heads", how.n_heads);
    }
    if rows != how.segments.n_tokens() {
        bail!("{OP}: `qkv` has {rows} rows for segments of {} tokens", how.segments.n_tokens());
    }
    if let Some(bias) = bias.map(Operand::tensor) {
        argument(OP, "bias", bias, width)?;
        alike(OP, ("qkv", qkv.tensor()), &[("bias", bias)])?;
    }
    if let Some(rel) = rel.map(Operand::tensor) {
        let (_, distances) = matrix(OP, "rel", rel)?;
        argument(OP, "rel", rel, (how.n_heads, distances))?;
        alike(OP, ("qkv", qkv.tensor()), &[("rel", rel)])?;
        let longest = how.segments.longest();
        if distances % 2 == 0 || distances / 2 + 1 < longest {
            bail!(
                "{OP}: `rel` has {distances} columns, fewer than twice {longest} tokens less one, or an even number"
            );
        }
    }
    let op = Fused(AttentionOp { how: how.clone(), has_bias: bias.is_some(), has_rel: rel.is_some() });
    // An op has as many arguments as its trait says: qkv stands in for one that is not there, and is not read as such.
    qkv.apply3(bias.unwrap_or(qkv), rel.unwrap_or(qkv), op)
}

/// (qkv, bias or a stand-in, rel or a stand-in) -> y.
#[derive(Clone)]
struct AttentionOp {
    how: Attention,
    has_bias: bool,
    has_rel: bool,
}

impl Op<3> for AttentionOp {
    const NAME: &'static str = OP;

    fn cpu<T: Real>(&self, inputs: [Input<'_, T>; 3]) -> Result<[(Vec<T>, Shape); 1]> {
        let (rows, part) = self.shape(inputs[0].dims);
        Ok([(forward(self.on_cpu(inputs), &self.how.segments), (rows, part).into())])
    }

    fn gpu(&self, gpu: &dyn Gpu, inputs: [View<'_>; 3]) -> Result<[(Memory, Shape); 1]> {
        let (rows, part) = self.shape(inputs[0].dims);
        Ok([(attention_tiles::forward(gpu, &self.on_gpu(inputs))?, (rows, part).into())])
    }
}

impl Differentiable<3> for AttentionOp {
    fn gradients(
        &self,
        [qkv, bias, rel]: [&Tensor; 3],
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [dqkv, dbias, drel] = evaluate(&Gradient(self.clone()), [qkv, bias, rel, dy])?;
        Ok([Some(dqkv), self.has_bias.then_some(dbias), self.has_rel.then_some(drel)])
    }
}

impl AttentionOp {
    /// Rows, and elements of a row of y.
    fn shape(&self, qkv: &[usize]) -> (usize, usize) {
        (self.how.segments.n_tokens(), qkv[1] / 3)
    }

    fn on_gpu<'a>(&'a self, [qkv, bias, rel]: [View<'a>; 3]) -> Source<'a> {
        let (bias, rel) = (self.has_bias.then_some(bias), self.has_rel.then_some(rel));
        Source { qkv, bias, rel, how: &self.how }
    }

    fn on_cpu<'a, T>(&self, [qkv, bias, rel]: [Input<'a, T>; 3]) -> Inputs<'a, T> {
        Inputs {
            qkv: qkv.data,
            bias: self.has_bias.then_some(bias.data),
            rel: self.has_rel.then_some(rel.data),
            n_heads: self.how.n_heads,
            dim: qkv.dims[1] / (3 * self.how.n_heads),
            scale: self.how.scale,
            dropout: self.how.dropout,
            first_token: self.how.segments.first_token(),
        }
    }
}

/// (qkv, bias or a stand-in, rel or a stand-in, dy) -> dqkv (T, 3 H d), the gradient of the bias (3 H d) and that of rel
/// (H, 2 L - 1); no elements in place of one that is not there.
struct Gradient(AttentionOp);

impl Op<4, 3> for Gradient {
    const NAME: &'static str = "attention_gradient";

    fn cpu<T: Real>(&self, [qkv, bias, rel, dy]: [Input<'_, T>; 4]) -> Result<[(Vec<T>, Shape); 3]> {
        let [bias_shape, rel_shape] = self.shapes(bias.dims, rel.dims);
        let inputs = self.0.on_cpu([qkv, bias, rel]);
        let [dqkv, dbias, drel] = backward(inputs, &self.0.how.segments, dy.data);
        Ok([(dqkv, qkv.dims.into()), (dbias, bias_shape), (drel, rel_shape)])
    }

    fn gpu(&self, gpu: &dyn Gpu, [qkv, bias, rel, dy]: [View<'_>; 4]) -> Result<[(Memory, Shape); 3]> {
        let [bias_shape, rel_shape] = self.shapes(bias.dims, rel.dims);
        let [dqkv, dbias, drel] = attention_tiles::gradients(gpu, &self.0.on_gpu([qkv, bias, rel]), dy)?;
        Ok([(dqkv, qkv.dims.into()), (dbias, bias_shape), (drel, rel_shape)])
    }
}

impl Gradient {
    /// Of the gradients of bias and rel.
    fn shapes(&self, bias: &[usize], rel: &[usize]) -> [Shape; 2] {
        let shape = |is_there: bool, dims: &[usize]| if is_there { dims.into() } else { 0.into() };
        [shape(self.0.has_bias, bias), shape(self.0.has_rel, rel)]
    }
}

fn forward<T: Real>(inputs: Inputs<'_, T>, segments: &Segments) -> Vec<T> {
    let mut y = vec![T::zero(); inputs.qkv.len() / 3];
    tasks(&mut y, &inputs, segments).into_par_iter().with_max_len(1).for_each(|mut task| {
        Head::load(inputs, task.tokens, task.head).forward(&mut task.rows);
    });
    y
}

/// The gradients of qkv, bias and rel.
fn backward<T: Real>(inputs: Inputs<'_, T>, segments: &Segments, dy: &[T]) -> [Vec<T>; 3] {
    let (n_bias, n_rel) = (inputs.bias.map_or(0, <[T]>::len), inputs.rel.map_or(0, <[T]>::len));
    let distances = n_rel / inputs.n_heads;
    let [mut dqkv, mut dbias, mut drel] = [inputs.qkv.len(), n_bias, n_rel].map(|len| vec![T::zero(); len]);
    let parts: Vec<(usize, Vec<T>, Vec<T>)> = tasks(&mut dqkv, &inputs, segments)
        .into_par_iter()
        .with_max_len(1)
        .map(|mut task| {
            let mut drel = vec![T::zero(); distances];
            Head::load(inputs, task.tokens, task.head).backward(dy, &mut task.rows, &mut drel);
            let mut dbias = vec![T::zero(); 3 * inputs.dim];
            if 0 < n_bias {
                for (i, row) in task.rows.iter().enumerate() {
                    add(&mut dbias[i % 3 * inputs.dim..][..inputs.dim], row);
                }
            }
            (task.head, dbias, drel)
        })
        .collect();
    for (head, dbias_part, drel_part) in parts {
        if 0 < n_bias {
            for (part, sums) in dbias_part.chunks_exact(inputs.dim).enumerate() {
                add(&mut dbias[(part * inputs.n_heads + head) * inputs.dim..], sums);
            }
        }
        add(&mut drel[head * distances..], &drel_part);
    }
    [dqkv, dbias, drel]
}

/// One head of one sequence, with its slices of d elements in the rows that the op writes: one a token, or three of
/// query, key and value.
struct Task<'a, T> {
    tokens: Range<usize>,
    head: usize,
    rows: Vec<&'a mut [T]>,
}

/// In an order that follows from the segments alone: by descending length, so that the end of the work is in small
/// pieces.
fn tasks<'a, T>(out: &'a mut [T], inputs: &Inputs<'_, T>, segments: &Segments) -> Vec<Task<'a, T>> {
    let width = out.len() / segments.n_tokens().max(1);
    let mut tasks = Vec::with_capacity(segments.len() * inputs.n_heads);
    for (rows, tokens) in by_segment(out, segments, width).into_iter().zip(segments.ranges()) {
        let first = tasks.len();
        tasks.extend((0..inputs.n_heads).map(|head| Task { tokens: tokens.clone(), head, rows: Vec::new() }));
        for (i, slice) in rows.chunks_exact_mut(inputs.dim).enumerate() {
            tasks[first + i % inputs.n_heads].rows.push(slice);
        }
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.tokens.len()));
    tasks
}

#[cfg(test)]
mod tests {
    use candle_core::{D, DType};

    use super::super::emulated::{is_real, on_gpu};
    use super::super::tape::Node;
    use super::super::testing::{
        assert_close, check_gpu, check_gradients, one_to_three_threads, tensor, values,
    };
    use super::*;

    fn how(offsets: &[u32], n_heads: usize) -> Attention {
        Attention { n_heads, scale: 0.6, segments: Segments::new(offsets, 0).unwrap(), dropout: None }
    }

    fn dropping(offsets: &[u32], n_heads: usize) -> Attention {
        Attention { dropout: Some(Dropout::new(0.3, 5).unwrap()), ..how(offsets, n_heads) }
    }

    /// The definition, one sequence and one head after the other.
    fn composed(qkv: &Tensor, bias: &Tensor, rel: &Tensor, how: &Attention) -> Result<Tensor> {
        let qkv = qkv.broadcast_add(bias)?;
        let model_width = qkv.dim(1)? / 3;
        let dim = model_width / how.n_heads;
        let mut sequences = Vec::new();
        for range in how.segments.ranges() {
            let mut heads = Vec::new();
            for head in 0..how.n_heads {
                let part =
                    |i| qkv.narrow(0, range.start, range.len())?.narrow(1, i * model_width + head * dim, dim);
                let (q, k, v): (Tensor, Tensor, Tensor) = (part(0)?, part(1)?, part(2)?);
                let zero = rel.dim(1)? / 2;
                let distances: Vec<Tensor> = (0..range.len())
                    .map(|i| rel.get(head)?.narrow(0, zero - i, range.len()))
                    .collect::<Result<_>>()?;
                let scores = ((q.matmul(&k.t()?)? * how.scale)? + Tensor::stack(&distances, 0)?)?;
                let powers = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
                let p = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
                heads.push(p.matmul(&v.contiguous()?)?);
            }
            sequences.push(Tensor::cat(&heads, 1)?);
        }
        Tensor::cat(&sequences, 0)
    }

    /// Lengths about the sizes of tiles and blocks; heads of one element, of an odd number and of several tiles.
    #[test]
    fn is_the_composed_form() {
        let offsets = [0, 1, 3, 19, 50, 82, 115];
        for (n_heads, dim) in [(1, 1), (3, 5), (2, 33)] {
            let width = 3 * n_heads * dim;
            let how = how(&offsets, n_heads);
            let (qkv, bias, rel) = (tensor((115, width), 1), tensor(width, 2), tensor((n_heads, 79), 3));
            let exact = composed(&qkv, &bias, &rel, &how).unwrap();
            assert_close(&attention(&qkv, Some(&bias), Some(&rel), &how).unwrap(), &exact, 1e-12);
            let without =
                composed(&qkv, &bias.zeros_like().unwrap(), &rel.zeros_like().unwrap(), &how).unwrap();
            assert_close(&attention(&qkv, None, None, &how).unwrap(), &without, 1e-12);
            // Scores are sums of up to 33 products below 4; an error of 33 * 4 * 2^-24 in each is one of 2e-5 in p.
            let [qkv, bias, rel] = [qkv, bias, rel].map(|tensor| tensor.to_dtype(DType::F32).unwrap());
            assert_close(&attention(&qkv, Some(&bias), Some(&rel), &how).unwrap(), &exact, 2e-5);
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        let offsets = [0, 1, 6, 8];
        for how in [how(&offsets, 2), dropping(&offsets, 2)] {
            let inputs = [tensor((8, 18), 1), tensor(18, 2), tensor((2, 11), 3)];
            check_gradients(|i| attention(&i[0], Some(&i[1]), Some(&i[2]), &how), &inputs, 1e-7);
            check_gradients(|i| attention(&i[0], Some(&i[1]), None, &how), &inputs[..2], 1e-7);
            check_gradients(|i| attention(&i[0], None, None, &how), &inputs[..1], 1e-7);
            let inputs = [inputs[0].clone(), inputs[2].clone()];
            check_gradients(|i| attention(&i[0], None, Some(&i[1]), &how), &inputs, 1e-7);
        }
    }

    /// Two blocks of queries and several tiles of keys.
    #[test]
    fn gradients_of_a_long_sequence_are_those_of_the_composed_form() {
        let how = how(&[0, 70], 1);
        let inputs = [tensor((70, 9), 1), tensor(9, 2), tensor((1, 139), 3)];
        let gradients = |op: &dyn Fn(&[Tensor]) -> Result<Tensor>| -> Vec<Tensor> {
            let variables = inputs.clone().map(|input| candle_core::Var::from_tensor(&input).unwrap());
            let tracked = variables.map(|variable| variable.as_tensor().clone());
            let store = op(&tracked).unwrap().sqr().unwrap().sum_all().unwrap().backward().unwrap();
            tracked.iter().map(|variable| store.get(variable).unwrap().clone()).collect()
        };
        let ours = gradients(&|i| attention(&i[0], Some(&i[1]), Some(&i[2]), &how));
        let theirs = gradients(&|i| composed(&i[0], &i[1], &i[2], &how));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_close(ours, theirs, 1e-11);
        }
    }

    #[test]
    fn parts_of_a_batch_drop_what_the_batch_drops() {
        let qkv = tensor((9, 12), 1);
        let whole = attention(&qkv, None, None, &dropping(&[0, 4, 6, 9], 2)).unwrap();
        let first = attention(&qkv.narrow(0, 0, 4).unwrap(), None, None, &dropping(&[0, 4], 2)).unwrap();
        let segments = Segments::new(vec![0, 2, 5], 4).unwrap();
        let rest = Attention { segments, ..dropping(&[0], 2) };
        let rest = attention(&qkv.narrow(0, 4, 5).unwrap(), None, None, &rest).unwrap();
        let parts = [values(&first), values(&rest)].concat();
        assert_eq!(values(&whole), parts);
        assert_ne!(whole.to_vec2::<f64>().unwrap(), {
            let kept = attention(&qkv, None, None, &how(&[0, 4, 6, 9], 2)).unwrap();
            kept.to_vec2::<f64>().unwrap()
        });
    }

    #[test]
    fn threads_do_not_show() {
        let offsets: Vec<u32> = (0..=60).map(|s| s * (s + 1) / 2).collect();
        let inputs = [tensor((1830, 24), 1), tensor(24, 2), tensor((2, 119), 3)];
        let how = dropping(&offsets, 2);
        one_to_three_threads(&inputs, |i| attention(&i[0], Some(&i[1]), Some(&i[2]), &how));
    }

    /// Sequences of one tile of 16, 32 and 64 tokens and of several, with and without each input.
    #[test]
    fn a_gpu_computes_the_same() {
        let offsets = [0, 1, 8, 24, 57, 121, 186, 316];
        let check = |offsets: &[u32], n_heads: usize, dim: usize, is_dropped: bool| {
            let how = if is_dropped { dropping(offsets, n_heads) } else { how(offsets, n_heads) };
            let (rows, width) = (how.segments.n_tokens(), 3 * n_heads * dim);
            let inputs = [tensor((rows, width), 1), tensor(width, 2), tensor((n_heads, 261), 3)];
            check_gpu(|i| attention(&i[0], Some(&i[1]), Some(&i[2]), &how), &inputs, dim + rows);
        };
        check(&offsets, 2, 32, true);
        check(&offsets[..6], 1, 64, false);
        check(&[0, 130], 1, 64, true);
    }

    #[test]
    fn a_gpu_takes_bias_or_rel_or_neither() {
        let offsets = [0, 3, 20, 53];
        let how = Attention { scale: 1.0, ..how(&offsets, 3) };
        let (qkv, bias, rel) = (tensor((53, 288), 1), tensor(288, 2), tensor((3, 65), 3));
        check_gpu(|i| attention(&i[0], None, None, &how), std::slice::from_ref(&qkv), 85);
        check_gpu(|i| attention(&i[0], None, Some(&i[1]), &how), &[qkv.clone(), rel], 85);
        check_gpu(|i| attention(&i[0], Some(&i[1]), None, &how), &[qkv, bias], 85);
    }

    /// As in training: twelve heads of 64, questions and passages.
    #[test]
    fn a_gpu_computes_the_same_of_real_sizes() {
        let offsets = [0, 12, 29, 70, 115];
        let inputs = [tensor((115, 2304), 1), tensor(2304, 2)];
        let how = Attention { scale: 0.125, ..dropping(&offsets, 12) };
        check_gpu(|i| attention(&i[0], Some(&i[1]), None, &how), &inputs, 64 + 115);
    }

    /// The longest that encoders take; a real GPU has time for twelve heads of several such.
    #[test]
    fn a_gpu_computes_the_same_of_long_sequences() {
        let (heads, offsets) = if is_real() { (12, &[0, 512, 1023, 1535][..]) } else { (1, &[0, 512][..]) };
        let n = offsets[offsets.len() - 1] as usize;
        let (width, distances) = (heads * 64, 2 * 512 - 1);
        let inputs = [tensor((n, 3 * width), 1), tensor(3 * width, 2), tensor((heads, distances), 3)];
        let how = Attention { scale: 0.125, ..how(offsets, heads) };
        check_gpu(|i| attention(&i[0], Some(&i[1]), Some(&i[2]), &how), &inputs, 64 + 512);
    }

    /// More sequences than groups, which one block then adds up.
    #[test]
    fn a_gpu_takes_many_sequences() {
        let offsets: Vec<u32> = (0..=530).collect();
        let inputs = [tensor((530, 96), 1), tensor(96, 2), tensor((1, 1), 3)];
        check_gpu(|i| attention(&i[0], Some(&i[1]), Some(&i[2]), &how(&offsets, 1)), &inputs, 530);
    }

    #[test]
    fn a_gpu_takes_tensors_at_any_address() {
        let how = how(&[0, 5, 40], 1);
        let all = tensor(40 * 96 + 1, 1);
        check_gpu(
            |i| {
                let qkv =
                    Node::compose(&[&i[0]], "narrow", |i| i[0].narrow(0, 1, 40 * 96)?.reshape((40, 96)))?;
                attention(&qkv, None, None, &how)
            },
            &[all],
            72,
        );
    }

    #[test]
    fn a_gpu_refuses_heads_of_other_sizes() {
        on_gpu(|device| {
            let qkv = tensor((4, 144), 1).to_dtype(DType::F32).unwrap().to_device(device).unwrap();
            let e = attention(&qkv, None, None, &how(&[0, 4], 1)).unwrap_err().to_string();
            assert!(e.contains("heads of 32 or 64 elements, found 48"), "{e}");
            Vec::new()
        });
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let qkv = tensor((4, 12), 1);
        let message = |bias: Option<&Tensor>, rel: Option<&Tensor>, how: &Attention| {
            attention(&qkv, bias, rel, how).unwrap_err().to_string()
        };
        let e = message(None, None, &how(&[0, 3], 2));
        assert!(e.contains("`qkv` has 4 rows for segments of 3 tokens"), "{e}");
        let e = message(None, None, &how(&[0, 4], 5));
        assert!(e.contains("not three times 5 heads"), "{e}");
        let e = message(Some(&tensor(4, 2)), None, &how(&[0, 4], 2));
        assert!(e.contains("`bias` must have shape [12], found [4]"), "{e}");
        let e = message(None, Some(&tensor((2, 5), 2)), &how(&[0, 4], 2));
        assert!(e.contains("`rel` has 5 columns"), "{e}");
    }
}
