//! What a training step costs, op by op, and how near a whole layer comes to its matrix products alone.
//!
//! The sizes are those of a small encoder: 3,200 tokens in 128 sequences of 5 to 60, 256 wide, 4 heads, 1,024 between
//! the two products of the feed-forward layer. Throughput is in tokens a second.

use std::hint::black_box;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use prep::kernels::{
    Activation, AdamW, AdamWState, AddNorm, Attention, Direction, Dropout, InfoNce, PoolNorm, Pooling,
    Segments, add_norm, attention, bias_activation, dropout, embedding, gated_gelu, info_nce, layer_norm,
    linear, pool_norm, rms_norm, squared_norm,
};
use prep::keys::mix64;

const WIDTH: usize = 256;
const FEED_FORWARD: usize = 1024;
const EPS: f64 = 1e-5;
const ADD_NORM: AddNorm = AddNorm { eps: EPS, dropout: None };
/// Elements of the parameter that is updated.
const PARAMETERS: usize = 4_000_000;

/// 128 sequences of 5 to 60 tokens, 3,200 or nearly.
fn segments() -> Segments {
    let mut offsets = vec![0];
    for i in 0..128_u64 {
        // Short sentences are more frequent than long ones.
        let draw = (mix64(i) >> 40) as f64 / f64::from(1 << 24);
        let length = 5 + (55.0 * draw.powf(1.75)) as u32;
        offsets.push(offsets[i as usize] + length);
    }
    Segments::new(offsets, 0).expect("offsets that ascend")
}

fn variable(shape: impl Into<candle_core::Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    let value = |i| ((mix64((seed << 32) + i) >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.2;
    let values: Vec<f32> = (0..shape.elem_count() as u64).map(value).collect();
    let variable = Var::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has");
    variable.as_tensor().clone()
}

/// Forward, and forward with the gradient of all variables.
fn both(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, op: impl Fn() -> Result<Tensor>) {
    group
        .bench_function(format!("{name}, forward"), |b| b.iter(|| black_box(op()).expect("shapes that fit")));
    group.bench_function(format!("{name}, forward and backward"), |b| {
        b.iter(|| black_box(op().and_then(|y| y.backward())).expect("shapes that fit"));
    });
}

struct Layer {
    x: Tensor,
    qkv: Tensor,
    qkv_bias: Tensor,
    out: Tensor,
    attention_norm: Tensor,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    output_norm: Tensor,
    attention: Attention,
}

impl Layer {
    fn new() -> Self {
        let segments = segments();
        Self {
            x: variable((segments.n_tokens(), WIDTH), 1),
            qkv: variable((3 * WIDTH, WIDTH), 2),
            qkv_bias: variable(3 * WIDTH, 3),
            out: variable((WIDTH, WIDTH), 4),
            attention_norm: variable((3, WIDTH), 5),
            up: variable((FEED_FORWARD, WIDTH), 6),
            up_bias: variable(FEED_FORWARD, 7),
            down: variable((WIDTH, FEED_FORWARD), 8),
            output_norm: variable((3, WIDTH), 9),
            attention: Attention { n_heads: 4, scale: 0.125, segments, dropout: None },
        }
    }

    fn forward(&self) -> Result<Tensor> {
        let qkv = linear(&self.x, &self.qkv)?;
        let mixed = attention(&qkv, Some(&self.qkv_bias), None, &self.attention)?;
        let x = add_norm(&linear(&mixed, &self.out)?, &self.x, &self.attention_norm, ADD_NORM)?;
        let inner = bias_activation(&linear(&x, &self.up)?, &self.up_bias, Activation::Gelu)?;
        add_norm(&linear(&inner, &self.down)?, &x, &self.output_norm, ADD_NORM)
    }

    /// The twelve products of forward and backward, and nothing else.
    fn products(&self) -> Result<()> {
        let n_tokens = self.attention.segments.n_tokens();
        let inner = Tensor::ones((n_tokens, FEED_FORWARD), DType::F32, &Device::Cpu)?;
        for (x, w) in [(&self.x, &self.qkv), (&self.x, &self.out), (&self.x, &self.up), (&inner, &self.down)]
        {
            let (x, w) = (x.detach(), w.detach());
            let y = x.matmul(&w.t()?)?;
            black_box((y.matmul(&w)?, y.t()?.matmul(&x)?));
        }
        Ok(())
    }
}

fn layer(c: &mut Criterion) {
    let layer = Layer::new();
    let mut group = c.benchmark_group("encoder layer");
    group.throughput(Throughput::Elements(layer.attention.segments.n_tokens() as u64));
    group.bench_function("its twelve products", |b| b.iter(|| layer.products().expect("shapes that fit")));
    both(&mut group, "layer", || layer.forward());
    group.finish();
}

fn ops(c: &mut Criterion) {
    let segments = segments();
    let n_tokens = segments.n_tokens();
    let mut group = c.benchmark_group("ops");
    group.throughput(Throughput::Elements(n_tokens as u64));

    let (x, wide, gates) = (
        variable((n_tokens, WIDTH), 1),
        variable((n_tokens, FEED_FORWARD), 2),
        variable((n_tokens, 2 * FEED_FORWARD), 3),
    );
    let weight = variable((FEED_FORWARD, WIDTH), 4);
    both(&mut group, "linear to 1,024", || linear(&x, &weight));
    let bias = variable(FEED_FORWARD, 5);
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
        both(&mut group, &format!("bias_activation {activation:?}"), || {
            bias_activation(&wide, &bias, activation)
        });
    }
    both(&mut group, "gated_gelu", || gated_gelu(&gates));
    let (residual, params) = (variable((n_tokens, WIDTH), 6), variable((3, WIDTH), 7));
    both(&mut group, "add_norm", || add_norm(&x, &residual, &params, ADD_NORM));
    let params = variable((2, WIDTH), 8);
    both(&mut group, "layer_norm", || layer_norm(&x, &params, EPS));
    let gain = variable(WIDTH, 9);
    both(&mut group, "rms_norm", || rms_norm(&x, &gain, EPS));
    let drop = Dropout::new(0.1, 1).expect("a probability");
    both(&mut group, "dropout", || dropout(&x, drop, 0));
    let ids: Arc<[u32]> = (0..n_tokens as u64).map(|t| (mix64(t) % 1500) as u32).collect();
    let table = variable((1500, WIDTH), 10);
    both(&mut group, "embedding", || embedding(&table, ids.clone()));
    let how = PoolNorm { pooling: Pooling::Mean, normalise: true };
    both(&mut group, "pool_norm", || pool_norm(&x, &segments, how));

    let (qkv, qkv_bias) = (variable((n_tokens, 3 * WIDTH), 11), variable(3 * WIDTH, 12));
    for (name, dropout) in [("attention", None), ("attention with dropout", Some(drop))] {
        let how = Attention { n_heads: 4, scale: 0.125, segments: segments.clone(), dropout };
        both(&mut group, name, || attention(&qkv, Some(&qkv_bias), None, &how));
    }
    group.finish();
}

fn long_attention(c: &mut Criterion) {
    let segments =
        Segments::new((0..=8).map(|s| s * 512).collect::<Vec<u32>>(), 0).expect("offsets that ascend");
    let (qkv, bias) = (variable((8 * 512, 3 * WIDTH), 1), variable(3 * WIDTH, 2));
    let how = Attention { n_heads: 4, scale: 0.125, segments, dropout: None };
    let mut group = c.benchmark_group("attention over 512 tokens");
    group.throughput(Throughput::Elements(8 * 512));
    both(&mut group, "8 sequences", || attention(&qkv, Some(&bias), None, &how));
    group.finish();
}

fn loss_and_update(c: &mut Criterion) {
    let mut group = c.benchmark_group("loss");
    let (queries, passages) = (variable((256, WIDTH), 1), variable((1024, WIDTH), 2));
    let loss = InfoNce { temperature: 0.05, direction: Direction::Symmetric, mask: None };
    group.throughput(Throughput::Elements(256 * 1024));
    both(&mut group, "info_nce, 256 queries and 1,024 passages", || info_nce(&queries, &passages, &loss));
    group.finish();

    let mut group = c.benchmark_group("update");
    let gradient = vec![0.01_f32; PARAMETERS];
    let [mut w, mut m, mut v] = [(); 3].map(|()| vec![0.1_f32; PARAMETERS]);
    let settings = AdamW {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 10,
        gradient_scale: 1.0,
    };
    // Four arrays are read and three written, of four bytes an element.
    group.throughput(Throughput::Bytes(28 * PARAMETERS as u64));
    group.bench_function("AdamW", |b| {
        b.iter(|| {
            settings.update(AdamWState { parameter: &mut w, first: &mut m, second: &mut v }, &gradient);
        });
    });
    group.throughput(Throughput::Bytes(4 * PARAMETERS as u64));
    group.bench_function("squared_norm", |b| b.iter(|| black_box(squared_norm(&gradient))));
    group.finish();
}

criterion_group!(benches, layer, ops, long_attention, loss_and_update);
criterion_main!(benches);
