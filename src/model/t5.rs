//! The encoder of T5 and mT5: RMS norm before each block, and a bias of the attention scores by the distance of two
//! tokens instead of positions (Raffel et al. 2020).

use super::config::T5Config;
use super::packed::{Mode, Tokens};
use super::params::{Declarations, Id, Start, Weights};
use crate::error::Result;
use crate::kernels::{
    AddRmsNorm, Attention, Node, add_rms_norm, attention, dropout, embedding, gated_gelu, linear, rms_norm,
};

/// Which parameter stands where.
#[derive(Clone, Debug)]
pub(super) struct T5 {
    pub(super) config: T5Config,
    pub(super) words: Id,
    /// (buckets, H), of all layers.
    distances: Id,
    layers: Vec<Layer>,
    norm: Id,
}

#[derive(Clone, Debug)]
struct Layer {
    attention_norm: Id,
    qkv: Id,
    out: Id,
    feed_forward_norm: Id,
    up: Id,
    down: Id,
}

impl T5 {
    pub(super) fn declare(config: &T5Config, params: &mut Declarations) -> Self {
        let (width, inner) = (config.width, config.n_heads * config.head_size);
        // Mesh TensorFlow's factors: a product keeps the scale of what goes in.
        let of_width = Start::Normal((width as f64).powf(-0.5));
        let words = params.matrix("shared.weight", [config.vocab_size, width], Start::Normal(1.0));
        let distances = params.matrix(
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            [config.n_buckets, config.n_heads],
            of_width,
        );
        let layers = (0..config.n_layers).map(|n| {
            let attention = format!("encoder.block.{n}.layer.0");
            let feed_forward = format!("encoder.block.{n}.layer.1");
            let qkv = ["q", "k", "v"].map(|name| format!("{attention}.SelfAttention.{name}.weight"));
            let ups: &[&str] = if config.gated { &["wi_0", "wi_1"] } else { &["wi"] };
            let ups: Vec<String> =
                ups.iter().map(|name| format!("{feed_forward}.DenseReluDense.{name}.weight")).collect();
            let ups: Vec<&str> = ups.iter().map(String::as_str).collect();
            Layer {
                attention_norm: params.joined(
                    &[&format!("{attention}.layer_norm.weight")],
                    width,
                    Start::Ones,
                ),
                qkv: params.stacked(&qkv.each_ref().map(String::as_str), [inner, width], of_width),
                out: params.matrix(
                    &format!("{attention}.SelfAttention.o.weight"),
                    [width, inner],
                    Start::Normal((inner as f64).powf(-0.5)),
                ),
                feed_forward_norm: params.joined(
                    &[&format!("{feed_forward}.layer_norm.weight")],
                    width,
                    Start::Ones,
                ),
                up: params.stacked(&ups, [config.feed_forward, width], of_width),
                down: params.matrix(
                    &format!("{feed_forward}.DenseReluDense.wo.weight"),
                    [width, config.feed_forward],
                    Start::Normal((config.feed_forward as f64).powf(-0.5)),
                ),
            }
        });
        let layers = layers.collect();
        let norm = params.joined(&["encoder.final_layer_norm.weight"], width, Start::Ones);
        Self { config: config.clone(), words, distances, layers, norm }
    }

    /// (T, D), the vectors of the tokens.
    pub(super) fn forward(&self, weights: &Weights<Node>, tokens: &Tokens, mode: Mode) -> Result<Node> {
        let config = &self.config;
        let drop = |x: Node, place: String| -> Result<Node> {
            Ok(match mode.dropout(&place, config.dropout)? {
                Some(draws) => dropout(&x, draws, tokens.segments.first_token())?,
                None => x,
            })
        };
        let mut hidden =
            drop(embedding(weights.get(self.words), tokens.rows.clone())?, "embeddings".to_owned())?;
        let rel = self.score_biases(weights, tokens.segments.longest())?;
        // Each residual connection is one op with the norm after it, which belongs to the next block, or ends the encoder.
        let first_norm = self.layers.first().map_or(self.norm, |layer| layer.attention_norm);
        let mut normed = rms_norm(&hidden, weights.get(first_norm), config.norm_epsilon)?;
        let connect = |x: &Node, hidden: &Node, gain: Id, place: String| -> Result<[Node; 2]> {
            let dropout =
                mode.dropout(&place, config.dropout)?.map(|draws| (draws, tokens.segments.first_token()));
            let how = AddRmsNorm { eps: config.norm_epsilon, dropout };
            Ok(add_rms_norm(x, hidden, weights.get(gain), how)?)
        };
        for (n, layer) in self.layers.iter().enumerate() {
            let how = Attention {
                n_heads: config.n_heads,
                // T5 puts the scale into the weights' start.
                scale: 1.0,
                segments: tokens.segments.clone(),
                dropout: mode.dropout(&format!("{n}.probabilities"), config.dropout)?,
            };
            let qkv = linear(&normed, weights.get(layer.qkv))?;
            let mixed = attention(&qkv, None, Some(&rel), &how)?;
            let out = linear(&mixed, weights.get(layer.out))?;
            [hidden, normed] = connect(&out, &hidden, layer.feed_forward_norm, format!("{n}.attention"))?;
            let up = linear(&normed, weights.get(layer.up))?;
            let up =
                if config.gated { gated_gelu(&up)? } else { Node::compose(&[&up], "relu", |x| x[0].relu())? };
            let up = drop(up, format!("{n}.inner"))?;
            let down = linear(&up, weights.get(layer.down))?;
            let next_norm = self.layers.get(n + 1).map_or(self.norm, |next| next.attention_norm);
            [hidden, normed] = connect(&down, &hidden, next_norm, format!("{n}.feed_forward"))?;
        }
        drop(normed, "end".to_owned())
    }

    /// (H, 2 L - 1): what is added to the score of two tokens at the distances 1 - L to L - 1.
    fn score_biases(&self, weights: &Weights<Node>, longest: usize) -> Result<Node> {
        let longest = i64::try_from(longest).expect("a text has fewer than 2^63 tokens");
        let buckets = (1 - longest..longest).map(|distance| self.config.bucket(distance)).collect();
        let biases = embedding(weights.get(self.distances), buckets)?;
        Ok(Node::compose(&[&biases], "transpose", |x| x[0].t()?.contiguous())?)
    }
}

impl T5Config {
    /// The bucket of a key that stands `distance` tokens behind its query: half of the buckets for each direction; near
    /// ones for themselves, further ones by the logarithm, all beyond `max_distance` in the last. In f32, as the
    /// checkpoints were trained.
    fn bucket(&self, distance: i64) -> u32 {
        let n_buckets = self.n_buckets / 2;
        let offset = if 0 < distance { n_buckets } else { 0 };
        let n = usize::try_from(distance.unsigned_abs()).unwrap_or(usize::MAX);
        let exact = n_buckets / 2;
        let bucket = if n < exact {
            n
        } else {
            let scale = (self.max_distance as f32 / exact as f32).ln();
            let beyond = (n as f32 / exact as f32).ln() / scale * (n_buckets - exact) as f32;
            (exact + beyond as usize).min(n_buckets - 1)
        };
        (offset + bucket) as u32
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::Architecture;

    // transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket(torch.tensor([..]))
    #[test]
    fn distances_fall_into_the_librarys_buckets() {
        let Ok(Architecture::T5(config)) = Architecture::from_json(&json!({"model_type": "t5"})) else {
            panic!()
        };
        let distances = [-200, -128, -127, -64, -16, -8, -7, -1, 0, 1, 7, 8, 11, 12, 16, 31, 91, 127, 500];
        let buckets = [15, 15, 15, 14, 10, 8, 7, 1, 0, 17, 23, 24, 24, 25, 26, 27, 31, 31, 31];
        assert_eq!(distances.map(|distance| config.bucket(distance)), buckets);
    }
}
