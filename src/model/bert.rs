//! BERT and XLM-RoBERTa: learned absolute positions, and layers that normalise after each block (Devlin et al. 2019).

use std::sync::Arc;

use super::config::{BertConfig, BertFamily};
use super::packed::{Mode, Tokens};
use super::params::{Declarations, Id, Start, Weights};
use crate::error::Result;
use crate::kernels::{
    AddNorm, Attention, Node, TokenIds, add_norm, attention, bias_activation, dropout, layer_norm, linear,
    token_embeddings,
};

/// Standard deviation of weights at the start, as BERT has it.
const DEVIATION: f64 = 0.02;

/// Which parameter stands where.
#[derive(Clone, Debug)]
pub(super) struct Bert {
    pub(super) config: BertConfig,
    pub(super) words: Id,
    positions: Id,
    types: Id,
    norm: Id,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    qkv: Id,
    qkv_bias: Id,
    out: Id,
    /// Bias of `out`, gain and shift of the norm behind it.
    out_norm: Id,
    up: Id,
    up_bias: Id,
    down: Id,
    down_norm: Id,
}

impl Bert {
    pub(super) fn declare(config: &BertConfig, params: &mut Declarations) -> Self {
        let (width, normal) = (config.width, Start::Normal(DEVIATION));
        let norm = |at: &str| {
            [(format!("{at}.LayerNorm.weight"), Start::Ones), (format!("{at}.LayerNorm.bias"), Start::Zeros)]
        };
        let words = params.matrix("embeddings.word_embeddings.weight", [config.vocab_size, width], normal);
        let positions =
            params.matrix("embeddings.position_embeddings.weight", [config.max_positions, width], normal);
        let types = params.matrix("embeddings.token_type_embeddings.weight", [config.n_types, width], normal);
        let [gain, shift] = norm("embeddings");
        let embedding_norm = params.rows(&[(&gain.0, gain.1), (&shift.0, shift.1)], width);
        let layers = (0..config.n_layers).map(|n| {
            let at = format!("encoder.layer.{n}");
            let qkv = ["query", "key", "value"].map(|name| format!("{at}.attention.self.{name}"));
            let weights = qkv.each_ref().map(|name| format!("{name}.weight"));
            let biases = qkv.map(|name| format!("{name}.bias"));
            let block = |dense: &str| {
                let bias = format!("{dense}.dense.bias");
                let [gain, shift] = norm(dense);
                [(bias, Start::Zeros), gain, shift]
            };
            let (out, down) = (format!("{at}.attention.output"), format!("{at}.output"));
            let (out_norm, down_norm) = (block(&out), block(&down));
            let up = format!("{at}.intermediate.dense");
            Layer {
                qkv: params.stacked(&weights.each_ref().map(String::as_str), [width, width], normal),
                qkv_bias: params.joined(&biases.each_ref().map(String::as_str), width, Start::Zeros),
                out: params.matrix(&format!("{out}.dense.weight"), [width, width], normal),
                out_norm: params
                    .rows(&out_norm.each_ref().map(|(name, start)| (name.as_str(), *start)), width),
                up: params.matrix(&format!("{up}.weight"), [config.feed_forward, width], normal),
                up_bias: params.joined(&[&format!("{up}.bias")], config.feed_forward, Start::Zeros),
                down: params.matrix(&format!("{down}.dense.weight"), [width, config.feed_forward], normal),
                down_norm: params
                    .rows(&down_norm.each_ref().map(|(name, start)| (name.as_str(), *start)), width),
            }
        });
        let layers = layers.collect();
        Self { config: config.clone(), words, positions, types, norm: embedding_norm, layers }
    }

    /// (T, D), the vectors of the tokens.
    pub(super) fn forward(&self, weights: &Weights<Node>, tokens: &Tokens, mode: Mode) -> Result<Node> {
        let config = &self.config;
        let ids = TokenIds { words: tokens.rows.clone(), positions: config.positions(tokens) };
        let tables = [self.words, self.positions, self.types].map(|id| weights.get(id));
        let embedded = token_embeddings(tables[0], tables[1], tables[2], &ids)?;
        let mut hidden = layer_norm(&embedded, weights.get(self.norm), config.norm_epsilon)?;
        if let Some(draws) = mode.dropout("embeddings", config.hidden_dropout)? {
            hidden = dropout(&hidden, draws, tokens.segments.first_token())?;
        }
        for (n, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(config, n, weights, &hidden, tokens, mode)?;
        }
        Ok(hidden)
    }
}

impl Layer {
    fn forward(
        &self,
        config: &BertConfig,
        n: usize,
        weights: &Weights<Node>,
        hidden: &Node,
        tokens: &Tokens,
        mode: Mode,
    ) -> Result<Node> {
        let end = |x: Node, residual: &Node, params: Id, place: &str| -> Result<Node> {
            let draws = mode.dropout(&format!("{n}.{place}"), config.hidden_dropout)?;
            let how = AddNorm {
                eps: config.norm_epsilon,
                dropout: draws.map(|draws| (draws, tokens.segments.first_token())),
            };
            Ok(add_norm(&x, residual, weights.get(params), how)?)
        };
        let how = Attention {
            n_heads: config.n_heads,
            scale: ((config.width / config.n_heads) as f64).sqrt().recip(),
            segments: tokens.segments.clone(),
            dropout: mode.dropout(&format!("{n}.probabilities"), config.attention_dropout)?,
        };
        let qkv = linear(hidden, weights.get(self.qkv))?;
        let mixed = attention(&qkv, Some(weights.get(self.qkv_bias)), None, &how)?;
        let out = linear(&mixed, weights.get(self.out))?;
        let hidden = end(out, hidden, self.out_norm, "attention")?;
        let up = linear(&hidden, weights.get(self.up))?;
        let up = bias_activation(&up, weights.get(self.up_bias), config.activation)?;
        let down = linear(&up, weights.get(self.down))?;
        end(down, &hidden, self.down_norm, "feed_forward")
    }
}

impl BertConfig {
    /// The row of each token in the table of positions. BERT counts the tokens of a text from 0; XLM-R those that are no
    /// padding, from the padding id plus 1, and gives padding, which only a text that spells it holds, the id itself.
    fn positions(&self, tokens: &Tokens) -> Arc<[u32]> {
        let mut positions = Vec::with_capacity(tokens.ids.len());
        for range in tokens.segments.ranges() {
            match self.family {
                BertFamily::Bert => positions.extend((0..).take(range.len())),
                BertFamily::XlmRoberta => {
                    let mut last = self.pad_id;
                    positions.extend(tokens.ids[range].iter().map(|&id| {
                        if id == self.pad_id {
                            return id;
                        }
                        last += 1;
                        last
                    }));
                }
            }
        }
        positions.into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::Architecture;
    use super::*;

    // transformers' create_position_ids_from_input_ids(torch.tensor([[0, 7, 1, 8]]), 1): 2, 3, 1, 4.
    #[test]
    fn positions_are_counted_as_each_family_counts_them() {
        let texts: [&[u32]; 2] = [&[0, 7, 1, 8], &[0, 2]];
        let tokens = Tokens::pack(texts, 0).unwrap();
        for (kind, expected) in [("bert", [0, 1, 2, 3, 0, 1]), ("xlm-roberta", [2, 3, 1, 4, 2, 3])] {
            let config = json!({"model_type": kind, "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
                "num_attention_heads": 1, "intermediate_size": 4, "max_position_embeddings": 8, "type_vocab_size": 1,
                "pad_token_id": 1});
            let Ok(Architecture::Bert(config)) = Architecture::from_json(&config) else { panic!("{kind}") };
            assert_eq!(*config.positions(&tokens), expected);
        }
    }
}
