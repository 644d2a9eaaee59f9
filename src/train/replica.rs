//! What one rank does in a step: the gradients of a batch, and the update.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::data::TrainBatch;
use super::frozen::Frozen;
use super::gradients::{Gradients, Parts, Pass};
use super::parameters::{Parameters, Update};
use super::ranks::{ANOTHER, Communicator};
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::kernels::InfoNce;
use crate::model::{Mode, Network};

/// A device with all parameters.
pub(super) struct Replica<'a> {
    pub(super) network: &'a Network,
    pub(super) settings: &'a Settings,
    pub(super) loss: InfoNce,
    pub(super) frozen: Frozen,
    pub(super) parameters: Parameters,
    pub(super) ranks: Box<dyn Communicator>,
}

/// A step that the first rank asks the others to take.
struct Job {
    batch: Arc<TrainBatch>,
    learning_rate: f64,
}

/// The other ranks, each on a thread.
pub(super) struct Team<'scope> {
    ranks: Vec<(Sender<Job>, ScopedJoinHandle<'scope, Result<()>>)>,
}

impl<'scope> Team<'scope> {
    pub(super) fn gather<'a: 'scope>(scope: &'scope Scope<'scope, '_>, others: Vec<Replica<'a>>) -> Self {
        let start = |replica: Replica<'a>| {
            let (sender, jobs) = channel();
            (sender, scope.spawn(move || replica.follow(&jobs)))
        };
        Self { ranks: others.into_iter().map(start).collect() }
    }

    /// Has all ranks take a step, while the first takes it.
    pub(super) fn ask(&self, batch: &Arc<TrainBatch>, learning_rate: f64) {
        for (sender, _) in &self.ranks {
            // One that is gone has failed, which the next sum says.
            let _ = sender.send(Job { batch: batch.clone(), learning_rate });
        }
    }

    /// Ends them.
    ///
    /// # Errors
    /// That of the first rank that failed by itself.
    pub(super) fn dismiss(self) -> Result<()> {
        let mut failed = Ok(());
        for (sender, thread) in self.ranks {
            drop(sender);
            let ended = thread.join().expect("a rank does not panic");
            let by_itself = ended.as_ref().is_err_and(|e| !is_of_another_rank(e));
            if failed.is_ok() && by_itself {
                failed = ended;
            }
        }
        failed
    }
}

/// Whether a rank failed since another had.
fn is_of_another_rank(e: &Error) -> bool {
    std::error::Error::source(e).is_some_and(|source| source.to_string().contains(ANOTHER))
}

impl Replica<'_> {
    pub(super) fn gradients(&self, batch: &TrainBatch) -> Result<Gradients> {
        let batch_settings = &self.settings.batch;
        let pass = Pass {
            network: self.network,
            values: &self.parameters.computed()?,
            frozen: &self.frozen,
            loss: &self.loss,
            mode: Mode::Train { seed: self.settings.seed, step: batch.step },
            parts: Parts { texts: batch_settings.micro_batch, tokens: batch_settings.tokens },
            ranks: &*self.ranks,
        };
        pass.gradients(batch)
    }

    /// Gives the norm of the gradients; if it is no number, nothing was updated.
    pub(super) fn update(&mut self, step: u64, learning_rate: f64, gradients: &Gradients) -> Result<f64> {
        let update = Update {
            network: self.network,
            settings: &self.settings.optimizer,
            learning_rate,
            number: step + 1,
        };
        self.parameters.update(update, gradients)
    }

    /// Takes the steps that the first rank takes, until there are no more.
    fn follow(mut self, jobs: &Receiver<Job>) -> Result<()> {
        while let Ok(Job { batch, learning_rate }) = jobs.recv() {
            let gradients = self.gradients(&batch)?;
            // Where the first rank stops, so that all ranks have made the same updates.
            if !gradients.loss.is_finite() || !self.update(batch.step, learning_rate, &gradients)?.is_finite()
            {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};
    use serde_json::json;

    use super::super::ranks::Alone;
    use super::*;
    use crate::kernels::GroupMask;
    use crate::kernels::emulated::on_gpu;
    use crate::model::{Architecture, Compute, Dense, Encoder, Head, Precision, Preset, Vocabulary};

    /// Of 40 words; made here, as this test runs on machines without the repository.
    fn vocabulary() -> Vocabulary {
        let words = (0..38).map(|n| format!("w{n}"));
        let words = ["<pad>", "<unk>"].map(str::to_owned).into_iter().chain(words).zip(0..);
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {
                "type": "WordLevel", "unk_token": "<unk>",
                "vocab": words.collect::<std::collections::BTreeMap<String, u32>>(),
            },
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, tokenizer.to_string()).unwrap();
        Vocabulary::read(&path).unwrap()
    }

    fn batch(step: u64) -> TrainBatch {
        // Lengths of 1 to 40, so that attention has tiles that are full and tiles that are not.
        let text =
            |n: u64| (0..=(n * 7 + step) % 40).map(|i| 5 + ((n * 31 + i * 13 + step) % 33) as u32).collect();
        let texts: Vec<Vec<u32>> = (0..18).map(text).collect();
        let mask = GroupMask::new(
            [0, 1, 2, 3, 4, 5, 0, 7],
            (0..=10).collect::<Vec<u32>>(),
            [0, 1, 2, 3, 4, 5, 0, 7, 1, 9],
        );
        let negatives = vec![0, 1, 1, 1, 1, 2, 2, 2, 2];
        TrainBatch { step, n_queries: 8, texts, negatives, mask: Some(mask.unwrap()), masked_pairs: 0 }
    }

    /// Losses of three steps, then all values after them.
    fn three_steps(encoder: &Encoder, settings: &Settings, compute: &Compute) -> Vec<Tensor> {
        let network = encoder.network();
        let frozen = Frozen::none(encoder.weights().as_slice().len());
        let parameters =
            Parameters::start(encoder.weights(), network.parameters(), &frozen, compute).unwrap();
        let loss = settings.loss.info_nce();
        let mut replica = Replica { network, settings, loss, frozen, parameters, ranks: Box::new(Alone) };
        let mut losses = Vec::new();
        for step in 0..3 {
            let gradients = replica.gradients(&batch(step)).unwrap();
            losses.push(gradients.loss);
            assert!(replica.update(step, 1e-3, &gradients).unwrap().is_finite());
        }
        let values = replica.parameters.values().unwrap();
        let losses = Tensor::new(losses, &Device::Cpu).unwrap();
        std::iter::once(losses).chain(values.iter().map(|value| value.copy().unwrap())).collect()
    }

    /// The length of the difference, relative to that of what is expected.
    fn distance(found: &Tensor, expected: &Tensor) -> f64 {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
        let square = |tensor: Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        (square((double(found) - double(expected)).unwrap()) / square(double(expected)).max(1e-12)).sqrt()
    }

    /// Every kernel that training needs, in the order and with the tensors that it has there.
    #[test]
    fn a_gpu_trains_as_the_cpu_does() {
        let vocabulary = vocabulary();
        let n_words = vocabulary.len();
        let t5 = json!({
            "model_type": "mt5", "vocab_size": n_words, "d_model": 64, "d_kv": 32, "num_heads": 2, "d_ff": 96,
            "num_layers": 1, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.1,
        });
        let architectures = [
            Preset::Tiny.architecture(n_words, 0),
            Architecture::from_json(&t5).unwrap(),
            Preset::Static.architecture(n_words, 0),
        ];
        for (architecture, form) in architectures.into_iter().zip(["query-to-passage", "symmetric", "paper"])
        {
            let is_static = matches!(architecture, Architecture::Static { .. });
            let settings = format!("[loss]\nform = {form:?}\n");
            let settings = Settings::from_toml("settings", &settings, &[]).unwrap();
            // The ops of a dense layer are candle's.
            let dense = Dense { width_in: 64, width_out: 48, has_bias: true, is_tanh: true };
            let head = Head { dense: (form == "symmetric").then_some(dense), ..Head::default() };
            let encoder = Encoder::start(architecture, head, vocabulary.clone(), 7).unwrap();
            let encoder = encoder.with_dropout(Some(0.1));
            let expected = three_steps(&encoder, &settings, &Compute::cpu());
            for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 2e-2)] {
                if is_static && precision == Precision::Bf16 {
                    continue;
                }
                let compute = |device: &Device| Compute::on_gpu(device.clone(), precision);
                let found = on_gpu(|device| three_steps(&encoder, &settings, &compute(device)));
                assert_eq!(found.len(), expected.len());
                let off = distance(&found[0], &expected[0]);
                assert!(off < tolerance, "{form}, {precision:?}: losses are off by {off}");
                let values = found[1..].iter().zip(&expected[1..]);
                for ((_, declared), (found, expected)) in encoder.network().parameters().iter().zip(values) {
                    let [found, expected] = [found, expected].map(|value| declared.split(value).unwrap());
                    for (part, (found, expected)) in declared.parts.iter().zip(found.iter().zip(&expected)) {
                        // Its gradient is rounding alone, of which Adam makes whole steps.
                        if part.name.ends_with(".key.bias") {
                            continue;
                        }
                        let off = distance(found, expected);
                        // Biases begin at 0: all that they are is three steps of Adam, nearly as long for a small
                        // gradient, whose rounding shows. Seen were 0.16 in bf16.
                        let most = if part.name.ends_with(".bias") { 10.0 * tolerance } else { tolerance };
                        assert!(off < most, "{form}, {precision:?}: `{}` is off by {off}", part.name);
                    }
                }
            }
        }
    }
}
