//! The encoder: texts to vectors of unit length.
//!
//! An [`Encoder`] is an [`Architecture`], a [`Head`], values of its parameters, and the tokenizer that its vocabulary
//! belongs to. It is read from a directory of `transformers` or sentence-transformers (or a hub), or started from a
//! preset, and written as a sentence-transformers directory that both libraries load with the same vectors.
//!
//! All of the forward pass is ops of [`crate::kernels`] on packed tokens, so every parameter has a gradient and no
//! padding is computed.

mod bag;
mod bert;
mod compute;
pub mod config;
mod directory;
mod encoder;
pub mod head;
mod json_file;
mod modules;
mod packed;
mod params;
mod prompts;
mod t5;
mod tokenizer;
mod tokenizer_config;
mod unigram;
mod vocabulary;
mod weights;

use std::path::Path;

use self::bag::Bag;
use self::bert::Bert;
pub use self::compute::{Compute, DeviceName, Precision};
pub use self::config::{Architecture, Preset};
pub use self::directory::HeadSource;
pub use self::encoder::{Encoder, Role};
pub use self::head::{Dense, Head, HeadPooling};
pub use self::packed::{Mode, Tokens};
pub(crate) use self::params::{Declarations, Id, Weights, moved};
use self::t5::T5;
pub use self::tokenizer::{TokenizerConfig, Trained, train_tokenizer, training_texts};
pub use self::vocabulary::Vocabulary;
use crate::error::{Error, Result};
pub use crate::kernels::Pooling;
use crate::kernels::{Node, PoolNorm, linear, pool_norm};
use crate::progress::Observer;

/// Opens a model that is a directory, or else a name on the hub.
///
/// # Errors
/// [`Error::Model`], [`Error::Tokenizer`] and [`Error::Hub`], with the file and what is wrong with it.
pub fn open(model: &str, head: HeadSource, observer: &dyn Observer) -> Result<Encoder> {
    let directory = Path::new(model);
    if directory.is_dir() {
        return Encoder::open(directory, head);
    }
    let is_path = directory.is_absolute() || model.starts_with('.') || 1 < model.matches('/').count();
    if is_path || directory.exists() {
        return Err(Error::model(directory, "is not a directory"));
    }
    from_hub(model, head, observer)
}

#[cfg(feature = "hub")]
fn from_hub(model: &str, head: HeadSource, observer: &dyn Observer) -> Result<Encoder> {
    use crate::hub;

    let fetched = hub::fetch(&model.parse()?, &hub::HubOptions::from_environment(), observer)?;
    Encoder::open(&fetched.directory, head)
}

#[cfg(not(feature = "hub"))]
fn from_hub(model: &str, _: HeadSource, _: &dyn Observer) -> Result<Encoder> {
    Err(Error::model(
        Path::new(model),
        "is not a directory, and this program was built without the feature `hub`",
    ))
}

/// The network: which parameter stands where, without their values.
#[derive(Clone, Debug)]
pub struct Network {
    architecture: Architecture,
    head: Head,
    declarations: Declarations,
    body: Body,
    dense: Option<DenseIds>,
}

#[derive(Clone, Debug)]
enum Body {
    Bert(Bert),
    T5(T5),
    Bag(Bag),
}

#[derive(Clone, Debug)]
struct DenseIds {
    weight: Id,
    bias: Option<Id>,
}

impl Network {
    #[must_use]
    pub fn new(architecture: Architecture, head: Head) -> Self {
        let mut declarations = Declarations::default();
        let body = match &architecture {
            Architecture::Bert(config) => Body::Bert(Bert::declare(config, &mut declarations)),
            Architecture::T5(config) => Body::T5(T5::declare(config, &mut declarations)),
            Architecture::Static { vocab_size, width } => {
                Body::Bag(Bag::declare(*vocab_size, *width, &mut declarations))
            }
        };
        let dense = head.dense.map(|dense| DenseIds {
            weight: declarations.matrix(
                "linear.weight",
                [dense.width_out, dense.width_in],
                params::Start::Normal((dense.width_in as f64).powf(-0.5)),
            ),
            bias: dense
                .has_bias
                .then(|| declarations.joined(&["linear.bias"], dense.width_out, params::Start::Zeros)),
        });
        Self { architecture, head, declarations, body, dense }
    }

    /// The table of word embeddings, of which a step touches few rows.
    pub(crate) fn words(&self) -> Id {
        match &self.body {
            Body::Bert(bert) => bert.words,
            Body::T5(t5) => t5.words,
            Body::Bag(bag) => bag.words,
        }
    }

    /// (T, D), the vectors of the tokens.
    fn hidden(&self, weights: &Weights<Node>, tokens: &Tokens, mode: Mode) -> Result<Node> {
        match &self.body {
            Body::Bert(bert) => bert.forward(weights, tokens, mode),
            Body::T5(t5) => t5.forward(weights, tokens, mode),
            Body::Bag(bag) => bag.forward(weights, tokens),
        }
    }

    /// (S, D), the vectors of the texts, of unit length.
    pub(crate) fn forward(&self, weights: &Weights<Node>, tokens: &Tokens, mode: Mode) -> Result<Node> {
        let hidden = self.hidden(weights, tokens, mode)?;
        let pooling = self.head.pooling;
        let Some((dense, ids)) = self.head.dense.zip(self.dense.as_ref()) else {
            return Ok(pool_norm(&hidden, &tokens.segments, PoolNorm { pooling, normalise: true })?);
        };
        let pooled = pool_norm(&hidden, &tokens.segments, PoolNorm { pooling, normalise: false })?;
        let projected = linear(&pooled, weights.get(ids.weight))?;
        let bias = ids.bias.map(|bias| weights.get(bias));
        let inputs: Vec<&Node> = std::iter::once(&projected).chain(bias).collect();
        Ok(Node::compose(&inputs, "dense", move |inputs| {
            let mut out = inputs[0].clone();
            if let Some(bias) = inputs.get(1) {
                out = out.broadcast_add(bias)?;
            }
            if dense.is_tanh {
                out = out.tanh()?;
            }
            let length = out.sqr()?.sum_keepdim(1)?.sqrt()?.clamp(1e-12, f64::INFINITY)?;
            out.broadcast_div(&length)
        })?)
    }

    /// Whether there is no layer: tokens have the same vector wherever they stand.
    pub(crate) fn is_static(&self) -> bool {
        matches!(self.body, Body::Bag(_))
    }

    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The parameters, in the order of their values.
    pub(crate) fn parameters(&self) -> &Declarations {
        &self.declarations
    }

    /// Width of a text's vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.head.dense.map_or(self.architecture.width(), |dense| dense.width_out)
    }
}
