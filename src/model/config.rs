//! What an encoder is made of: `config.json` of Hugging Face for BERT, XLM-RoBERTa and the encoder of T5, and presets
//! of our own.
//!
//! Keys that a file leaves out have the values that the library `transformers` gives them, because files are written
//! so. What this crate cannot compute (relative position embeddings of BERT, a decoder) is refused, never ignored.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::kernels::Activation;

/// Kind and sizes of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Post-norm transformer with learned absolute positions: BERT (LaBSE, mBERT, MiniLM) and XLM-RoBERTa.
    Bert(BertConfig),
    /// Pre-norm transformer with RMS norm and relative positions: the encoder of T5 and mT5.
    T5(T5Config),
    /// No layer at all: a text is the mean of its tokens' embeddings, each scaled by a weight that is learned.
    Static { vocab_size: usize, width: usize },
}

/// Sizes of a BERT-like encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    pub family: BertFamily,
    pub vocab_size: usize,
    pub width: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub feed_forward: usize,
    pub activation: Activation,
    pub hidden_dropout: f64,
    pub attention_dropout: f64,
    pub max_positions: usize,
    pub n_types: usize,
    pub norm_epsilon: f64,
    pub pad_id: u32,
}

/// Where positions begin, and what the weights are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BertFamily {
    /// Positions from 0.
    Bert,
    /// Positions from `pad_id + 1`.
    XlmRoberta,
}

/// Sizes of a T5 encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct T5Config {
    pub vocab_size: usize,
    pub width: usize,
    /// Of one head; heads times this need not be the width.
    pub head_size: usize,
    pub n_layers: usize,
    pub n_heads: usize,
    pub feed_forward: usize,
    /// Two input projections, one of them through `gelu_new`, multiplied (T5 v1.1, mT5); else one through `relu` (T5).
    pub gated: bool,
    pub dropout: f64,
    pub norm_epsilon: f64,
    pub n_buckets: usize,
    pub max_distance: usize,
    pub pad_id: u32,
}

/// The names that `transformers` has for a non-linearity.
fn activation_of(name: &str) -> Result<Activation, String> {
    match name {
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(format!("activation `{other}` is none of gelu, gelu_new, gelu_pytorch_tanh, relu")),
    }
}

fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_new",
        Activation::Relu => "relu",
    }
}

/// Encoders of our own, which start from seeded random weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// 2 layers, 128 wide, 2 heads.
    Tiny,
    /// 4 layers, 256 wide, 4 heads.
    Small,
    /// 8 layers, 512 wide, 8 heads.
    Base,
    /// 12 layers, 768 wide, 12 heads.
    Large,
    /// No layer, 256 wide: a bag of tokens.
    Static,
}

impl Preset {
    pub const ALL: [Self; 5] = [Self::Tiny, Self::Small, Self::Base, Self::Large, Self::Static];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Base => "base",
            Self::Large => "large",
            Self::Static => "static",
        }
    }

    /// The sizes of this preset over a vocabulary.
    #[must_use]
    pub fn architecture(self, vocab_size: usize, pad_id: u32) -> Architecture {
        let (n_layers, width) = match self {
            Self::Tiny => (2, 128),
            Self::Small => (4, 256),
            Self::Base => (8, 512),
            Self::Large => (12, 768),
            Self::Static => return Architecture::Static { vocab_size, width: 256 },
        };
        Architecture::Bert(BertConfig {
            family: BertFamily::Bert,
            vocab_size,
            width,
            n_layers,
            n_heads: width / 64,
            feed_forward: 4 * width,
            activation: Activation::Gelu,
            // A run over a few thousand pairs is too short to overfit, and draws cost time.
            hidden_dropout: 0.0,
            attention_dropout: 0.0,
            max_positions: 512,
            n_types: 2,
            norm_epsilon: 1e-12,
            pad_id,
        })
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| format!("`{name}` is none of tiny, small, base, large, static"))
    }
}

impl Architecture {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// What is missing, of another type, or beyond this crate, in words.
    pub fn from_json(config: &Value) -> Result<Self, String> {
        let keys = Keys(config.as_object().ok_or("not a JSON object")?);
        let model_type = keys.text("model_type", "")?;
        match model_type {
            "bert" => bert(&keys, BertFamily::Bert).map(Self::Bert),
            "xlm-roberta" | "roberta" => bert(&keys, BertFamily::XlmRoberta).map(Self::Bert),
            "t5" | "mt5" => t5(&keys, model_type == "mt5").map(Self::T5),
            "" => Err("no `model_type`".to_owned()),
            other => Err(format!("`model_type` is `{other}`, none of bert, xlm-roberta, roberta, t5, mt5")),
        }
    }

    /// `config.json` as `transformers` reads it. The static encoder has none.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Bert(c) => {
                let (model_type, architecture) = match c.family {
                    BertFamily::Bert => ("bert", "BertModel"),
                    BertFamily::XlmRoberta => ("xlm-roberta", "XLMRobertaModel"),
                };
                json!({
                    "architectures": [architecture],
                    "model_type": model_type,
                    "vocab_size": c.vocab_size,
                    "hidden_size": c.width,
                    "num_hidden_layers": c.n_layers,
                    "num_attention_heads": c.n_heads,
                    "intermediate_size": c.feed_forward,
                    "hidden_act": activation_name(c.activation),
                    "hidden_dropout_prob": c.hidden_dropout,
                    "attention_probs_dropout_prob": c.attention_dropout,
                    "max_position_embeddings": c.max_positions,
                    "type_vocab_size": c.n_types,
                    "layer_norm_eps": c.norm_epsilon,
                    "pad_token_id": c.pad_id,
                    "position_embedding_type": "absolute",
                    "torch_dtype": "float32",
                })
            }
            Self::T5(c) => json!({
                "architectures": [if c.gated { "MT5EncoderModel" } else { "T5EncoderModel" }],
                "model_type": if c.gated { "mt5" } else { "t5" },
                "vocab_size": c.vocab_size,
                "d_model": c.width,
                "d_kv": c.head_size,
                "num_layers": c.n_layers,
                "num_heads": c.n_heads,
                "d_ff": c.feed_forward,
                "feed_forward_proj": if c.gated { "gated-gelu" } else { "relu" },
                "dropout_rate": c.dropout,
                "layer_norm_epsilon": c.norm_epsilon,
                "relative_attention_num_buckets": c.n_buckets,
                "relative_attention_max_distance": c.max_distance,
                "pad_token_id": c.pad_id,
                "is_encoder_decoder": false,
                "use_cache": false,
                "torch_dtype": "float32",
            }),
            Self::Static { vocab_size, width } => json!({"vocab_size": vocab_size, "width": width}),
        }
    }

    /// Width of a token's vector.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Bert(config) => config.width,
            Self::T5(config) => config.width,
            Self::Static { width, .. } => *width,
        }
    }

    #[must_use]
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
            Self::Static { vocab_size, .. } => *vocab_size,
        }
    }

    /// The longest text in tokens that positions are there for.
    #[must_use]
    pub fn max_tokens(&self) -> Option<usize> {
        match self {
            Self::Bert(config) => Some(config.max_positions - config.first_position() as usize),
            Self::T5(_) | Self::Static { .. } => None,
        }
    }
}

impl BertConfig {
    /// The position of a text's first token.
    #[must_use]
    pub fn first_position(&self) -> u32 {
        match self.family {
            BertFamily::Bert => 0,
            BertFamily::XlmRoberta => self.pad_id + 1,
        }
    }
}

fn bert(keys: &Keys, family: BertFamily) -> Result<BertConfig, String> {
    let position = keys.text("position_embedding_type", "absolute")?;
    if position != "absolute" {
        return Err(format!("`position_embedding_type` is `{position}`, only `absolute` is known"));
    }
    if keys.flag("is_decoder")? {
        return Err(
            "`is_decoder` is true: a decoder reads from left to right only, it is no encoder".to_owned()
        );
    }
    let pad_id = match family {
        BertFamily::Bert => 0,
        BertFamily::XlmRoberta => 1,
    };
    let config = BertConfig {
        family,
        vocab_size: keys.count("vocab_size", 30_522)?,
        width: keys.count("hidden_size", 768)?,
        n_layers: keys.count("num_hidden_layers", 12)?,
        n_heads: keys.count("num_attention_heads", 12)?,
        feed_forward: keys.count("intermediate_size", 3072)?,
        activation: activation_of(keys.text("hidden_act", "gelu")?)?,
        hidden_dropout: keys.fraction("hidden_dropout_prob", 0.1)?,
        attention_dropout: keys.fraction("attention_probs_dropout_prob", 0.1)?,
        max_positions: keys.count("max_position_embeddings", 512)?,
        n_types: keys.count("type_vocab_size", 2)?,
        norm_epsilon: keys.fraction("layer_norm_eps", 1e-12)?,
        pad_id: keys.id("pad_token_id", pad_id)?,
    };
    if !config.width.is_multiple_of(config.n_heads) {
        let (width, n_heads) = (config.width, config.n_heads);
        return Err(format!("`hidden_size` {width} is no multiple of `num_attention_heads` {n_heads}"));
    }
    if config.max_positions <= config.first_position() as usize {
        return Err(format!("`max_position_embeddings` {} leaves no position", config.max_positions));
    }
    Ok(config)
}

fn t5(keys: &Keys, is_mt5: bool) -> Result<T5Config, String> {
    let projection = keys.text("feed_forward_proj", if is_mt5 { "gated-gelu" } else { "relu" })?;
    let gated = match projection {
        // The library reads this name as `gelu_new`, for the sake of old files.
        "gated-gelu" => true,
        "relu" => false,
        other => return Err(format!("`feed_forward_proj` is `{other}`, neither gated-gelu nor relu")),
    };
    let n_buckets = keys.count("relative_attention_num_buckets", 32)?;
    let max_distance = keys.count("relative_attention_max_distance", 128)?;
    // Half of the buckets for each direction, half of those for a distance each; logarithms divide by both numbers.
    if n_buckets < 4 {
        return Err(format!("`relative_attention_num_buckets` is {n_buckets}, fewer than 4"));
    }
    let n_exact = n_buckets / 4;
    if max_distance <= n_exact {
        return Err(format!(
            "`relative_attention_max_distance` is {max_distance}, not above the {n_exact} distances that have a bucket \
             of their own"
        ));
    }
    Ok(T5Config {
        vocab_size: keys.count("vocab_size", if is_mt5 { 250_112 } else { 32_128 })?,
        width: keys.count("d_model", 512)?,
        head_size: keys.count("d_kv", 64)?,
        n_layers: keys.count("num_layers", if is_mt5 { 8 } else { 6 })?,
        n_heads: keys.count("num_heads", if is_mt5 { 6 } else { 8 })?,
        feed_forward: keys.count("d_ff", if is_mt5 { 1024 } else { 2048 })?,
        gated,
        dropout: keys.fraction("dropout_rate", 0.1)?,
        norm_epsilon: keys.fraction("layer_norm_epsilon", 1e-6)?,
        n_buckets,
        max_distance,
        pad_id: keys.id("pad_token_id", 0)?,
    })
}

/// Keys of `config.json`, each with the value that stands for it when it is left out.
struct Keys<'a>(&'a Map<String, Value>);

impl<'a> Keys<'a> {
    fn get<T>(
        &self,
        key: &str,
        default: T,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => read(value).ok_or_else(|| format!("`{key}` is {value}, not {what}")),
        }
    }

    fn text(&self, key: &str, default: &'a str) -> Result<&'a str, String> {
        self.get(key, default, "a text", Value::as_str)
    }

    fn count(&self, key: &str, default: usize) -> Result<usize, String> {
        let read = |value: &Value| value.as_u64().filter(|n| 0 < *n).and_then(|n| usize::try_from(n).ok());
        self.get(key, default, "a positive integer", read)
    }

    fn id(&self, key: &str, default: u32) -> Result<u32, String> {
        self.get(key, default, "a token id", |value| value.as_u64().and_then(|n| u32::try_from(n).ok()))
    }

    fn fraction(&self, key: &str, default: f64) -> Result<f64, String> {
        let read = |value: &Value| value.as_f64().filter(|x| (0.0..1.0).contains(x));
        self.get(key, default, "a number from 0 to below 1", read)
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        self.get(key, false, "true or false", Value::as_bool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_the_librarys_values() {
        let bert = Architecture::from_json(&json!({"model_type": "bert", "num_hidden_layers": 3})).unwrap();
        let Architecture::Bert(config) = &bert else { panic!("{bert:?}") };
        // transformers.BertConfig()
        assert_eq!((config.vocab_size, config.width, config.n_layers, config.n_heads), (30_522, 768, 3, 12));
        assert_eq!((config.feed_forward, config.max_positions, config.n_types), (3072, 512, 2));
        let mt5 = Architecture::from_json(&json!({"model_type": "mt5"})).unwrap();
        let Architecture::T5(config) = &mt5 else { panic!("{mt5:?}") };
        // transformers.MT5Config()
        assert_eq!(
            (config.vocab_size, config.width, config.head_size, config.n_layers),
            (250_112, 512, 64, 8)
        );
        assert_eq!((config.n_heads, config.feed_forward, config.gated), (6, 1024, true));
    }

    #[test]
    fn what_is_written_reads_back() {
        let xlmr = json!({"model_type": "xlm-roberta", "hidden_act": "relu", "pad_token_id": 1, "type_vocab_size": 1});
        let t5 = json!({"model_type": "t5", "feed_forward_proj": "relu"});
        for config in [xlmr, t5, json!({"model_type": "mt5"}), Preset::Small.architecture(100, 0).to_json()] {
            let read = Architecture::from_json(&config).unwrap();
            assert_eq!(Architecture::from_json(&read.to_json()), Ok(read));
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        for (config, found) in [
            (json!([]), "not a JSON object"),
            (json!({}), "no `model_type`"),
            (json!({"model_type": "gpt2"}), "`gpt2`"),
            (json!({"model_type": "bert", "position_embedding_type": "relative_key"}), "`relative_key`"),
            (json!({"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}), "no multiple"),
            (json!({"model_type": "bert", "hidden_size": -1}), "`hidden_size` is -1"),
            (json!({"model_type": "bert", "hidden_act": "silu"}), "`silu`"),
            (json!({"model_type": "bert", "is_decoder": true}), "is_decoder"),
            (json!({"model_type": "xlm-roberta", "max_position_embeddings": 2}), "no position"),
            // T5Attention._relative_position_bucket divides by zero: num_buckets // 4, log(max_distance / that).
            (
                json!({"model_type": "t5", "relative_attention_num_buckets": 3}),
                "_num_buckets` is 3, fewer than 4",
            ),
            (
                json!({"model_type": "mt5", "relative_attention_max_distance": 8}),
                "_max_distance` is 8, not above the 8",
            ),
        ] {
            let error = Architecture::from_json(&config).unwrap_err();
            assert!(error.contains(found), "{error}");
        }
    }
}
