//! Training: the batches of a dataset in the order of their steps, a contrastive loss that takes no answer for a
//! negative, AdamW.
//!
//! A run is a function of dataset, settings and first weights. Its state after a step is values, moments and the number
//! of the step: every draw follows from (seed, step), so a run that was killed goes on from its last checkpoint to the
//! same bytes. It refuses to train wrong: on another dataset than it began with, on batches that are not what the index
//! names, on a parameter that gets no gradient, and past a loss that is no number.

mod checkpoint;
mod data;
mod events;
mod frozen;
mod gradients;
mod lock;
mod log;
#[cfg(feature = "nccl")]
mod nccl;
mod parameters;
mod ranks;
mod refuse;
mod replica;
mod schedule;
mod settings;
mod start;
mod trained_on;
mod validation;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use candle_core::Device;
use serde::Serialize;

use self::checkpoint::State;
use self::data::{Reading, TrainBatch};
use self::frozen::Frozen;
use self::log::Log;
pub use self::log::{Metrics, StepMetrics, read_metrics};
use self::parameters::Parameters;
use self::replica::{Replica, Team};
pub use self::schedule::Decay;
use self::schedule::Schedule;
pub use self::settings::{
    BatchSettings, CheckpointSettings, EvalSettings, LossForm, LossSettings, ModelSettings,
    OptimizerSettings, Settings,
};
pub use self::start::{Start, starting_encoder};
pub use self::trained_on::TrainedOn;
use self::validation::{Validated, Validation};
use crate::error::{Error, Result};
use crate::kernels::Times;
use crate::model::{Compute, DeviceName, Encoder, Precision};
use crate::progress::Observer;
use crate::shards::{Dataset, Origin};

/// The settings of a run, in its folder.
pub(crate) const SETTINGS: &str = "settings.toml";
/// The encoder at the end of a run, and where it was best.
const MODEL: &str = "model";
const BEST: &str = "best";

/// What [`train`] works on.
#[derive(Clone, Copy)]
pub struct TrainRequest<'a> {
    pub dataset: &'a Dataset,
    pub settings: &'a Settings,
    /// First weights, vocabulary and head, as [`starting_encoder`] gives them.
    pub encoder: &'a Encoder,
    /// The folder of the run.
    pub out: &'a Path,
    /// Go on from the last checkpoint in `out`.
    pub resume: bool,
    /// Where it computes: a rank each. A run that goes on elsewhere gives other roundings from there on.
    pub devices: &'a [Device],
    pub origin: Origin,
    /// When it becomes true, the run writes a checkpoint and ends.
    pub stop: &'a AtomicBool,
}

/// How a run went.
#[derive(Clone, Debug, Serialize)]
pub struct TrainReport {
    /// Steps that are done, those before a resumption included.
    pub steps: u64,
    /// Whether all steps are done; else the run was stopped, and can go on.
    pub finished: bool,
    /// Of the last step; nothing where this call took none.
    pub last: Option<StepMetrics>,
    pub examples: u64,
    pub tokens: u64,
    /// Of the steps that this call took, without set-up and checkpoints.
    pub secs: f64,
    pub examples_per_sec: f64,
    pub tokens_per_sec: f64,
    /// Of that time, spent waiting for batches.
    pub wait_fraction: f64,
    /// Of each rank.
    pub devices: Vec<DeviceName>,
    /// What the network computed in.
    pub precision: Precision,
    pub n_parameters: usize,
    /// Of these, what stays as it is.
    pub n_frozen: usize,
    /// Seconds of that time by op, forward and backward; `adamw` is the update. Nothing on a GPU.
    pub seconds_by_op: Times,
}

/// A run between two steps.
struct Run<'a> {
    request: TrainRequest<'a>,
    steps: u64,
    schedule: Schedule,
    /// Of the first rank.
    replica: Replica<'a>,
    /// Of the other ranks, until the first step.
    others: Vec<Replica<'a>>,
    /// Where evaluations are asked for.
    validation: Option<Validation>,
    state: State,
    totals: Totals,
}

#[derive(Clone, Debug, Default)]
struct Totals {
    examples: u64,
    tokens: u64,
    secs: f64,
    wait_secs: f64,
    by_op: Times,
}

/// Trains an encoder; the result lies in `out/model`, a sentence-transformers directory, and that of the best evaluation
/// in `out/best`.
///
/// # Errors
/// [`Error::Setting`] for settings out of range, [`Error::Dataset`] for batches that cannot be trusted,
/// [`Error::Training`] for what must not be trained on, [`Error::Io`] for what cannot be written.
pub fn train(request: TrainRequest, observer: &dyn Observer) -> Result<TrainReport> {
    request.settings.check()?;
    let settings = &request.settings.resolved(request.encoder, request.dataset, &request.devices[0]);
    let request = TrainRequest { settings, ..request };
    let TrainRequest { dataset, encoder, out, resume, devices, .. } = request;
    refuse::uneven_ranks(dataset, devices.len())?;
    let precision = settings.model.precision.expect("it is resolved");
    let computes = devices.iter().map(|device| Compute::new(device.clone(), precision, "model.precision"));
    let computes = computes.collect::<Result<Vec<_>>>()?;
    refuse::other_tokens(dataset, encoder.vocabulary())?;
    let steps = settings.steps.unwrap_or(dataset.plan().steps());
    let state = State {
        steps: 0,
        dataset_id: dataset.manifest().dataset_id,
        tokenizer_digest: encoder.vocabulary().digest(),
        start_digest: encoder.digest()?,
        settings_digest: settings.digest(),
        best: None,
    };
    let frozen = Frozen::find(&settings.model.frozen, encoder.network().parameters())?;
    if resume && !out.join(SETTINGS).exists() {
        return Err(Error::training(out, "holds nothing to resume")
            .with_hint("start it without `--resume`, or name the folder of a run"));
    }
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let _lock = lock::lock(out)?;
    let (mut replicas, state) = begin(request, &computes, &frozen, state)?;
    let others = replicas.split_off(1);
    let replica = replicas.pop().expect("there is a device");
    let mut run = Run {
        request,
        steps,
        schedule: Schedule {
            warmup_steps: (settings.optimizer.warmup_fraction * steps as f64).round() as u64,
            steps,
            decay: settings.optimizer.decay,
        },
        replica,
        others,
        validation: settings.eval.every.map(|_| Validation::read(dataset)).transpose()?,
        state,
        totals: Totals::default(),
    };
    let resolved = toml::to_string_pretty(settings).expect("settings are plain data");
    checkpoint::replace(&out.join(SETTINGS), resolved.as_bytes())?;
    TrainedOn::write(dataset, out)?;
    let mut log = Log::open(out, run.state.steps)?;
    let last = run.steps(&mut log, observer);
    log.flush(out)?;
    let last = last?;
    let finished = run.state.steps == steps;
    if finished {
        run.save(MODEL)?;
    }
    let Totals { examples, tokens, secs, wait_secs, ref by_op } = run.totals;
    let per_sec = |n: u64| if 0.0 < secs { n as f64 / secs } else { 0.0 };
    Ok(TrainReport {
        steps: run.state.steps,
        finished,
        last,
        examples,
        tokens,
        secs,
        examples_per_sec: per_sec(examples),
        tokens_per_sec: per_sec(tokens),
        wait_fraction: if 0.0 < secs { wait_secs / secs } else { 0.0 },
        devices: devices.iter().map(DeviceName::from).collect(),
        precision,
        n_parameters: encoder.network().parameters().iter().map(|(_, declared)| declared.n_values()).sum(),
        n_frozen: run.replica.frozen.n_values(encoder.network().parameters()),
        // A GPU's clock is not this one: here an op is only put into its queue.
        seconds_by_op: if devices[0].is_cpu() { by_op.clone() } else { Times::new() },
    })
}

/// The ranks, with values and moments from the last checkpoint, or from the start.
fn begin<'a>(
    request: TrainRequest<'a>,
    computes: &[Compute],
    frozen: &Frozen,
    state: State,
) -> Result<(Vec<Replica<'a>>, State)> {
    let TrainRequest { out, encoder, settings, resume, devices, .. } = request;
    let network = encoder.network();
    let saved = match (checkpoint::last(out)?, resume) {
        (Some(_), false) => {
            return Err(Error::training(out, "holds a run already")
                .with_hint("`--resume` goes on with it; or name another folder"));
        }
        (Some(saved), true) => match refuse::other_run(out, &saved.state, &state, settings) {
            Some(e) => return Err(e),
            None => Some(saved),
        },
        // A run that was cut off before its first checkpoint begins again.
        (None, _) => None,
    };
    let mut replicas = Vec::with_capacity(devices.len());
    for (compute, ranks) in computes.iter().zip(ranks::connect(devices)?) {
        let parameters = match &saved {
            Some(saved) => Parameters::new(saved.restore(network, frozen)?, network.parameters(), compute)?,
            None => Parameters::start(encoder.weights(), network.parameters(), frozen, compute)?,
        };
        let (loss, frozen) = (settings.loss.info_nce(), frozen.clone());
        replicas.push(Replica { network, settings, loss, frozen, parameters, ranks });
    }
    Ok((replicas, saved.map_or(state, |saved| saved.state)))
}

impl Run<'_> {
    /// Takes the steps that are left.
    fn steps(&mut self, log: &mut Log, observer: &dyn Observer) -> Result<Option<StepMetrics>> {
        let TrainRequest { dataset, settings, encoder, out, origin, stop, .. } = self.request;
        let reading = Reading { dataset, origin, encoder, mask: settings.loss.mask };
        let left = self.state.steps..self.steps;
        observer.begin("training", Some(left.end - left.start));
        std::thread::scope(|scope| {
            let batches = reading.start(scope, left.clone());
            let mut last = None;
            let team = Team::gather(scope, std::mem::take(&mut self.others));
            for step in left {
                let metrics = match self.step(step, &batches, &team) {
                    Ok(metrics) => metrics,
                    Err(e) => {
                        self.replica.ranks.leave();
                        return Err(team.dismiss().err().unwrap_or(e));
                    }
                };
                log.step(out, &metrics)?;
                observer.note(&format!(
                    "loss {:.4}  lr {:.1e}  |g| {:.2}  {:.0} tokens/s  {:.0} rows/s  {} masked",
                    metrics.loss,
                    metrics.learning_rate,
                    metrics.gradient_norm,
                    metrics.tokens_per_sec,
                    metrics.examples_per_sec,
                    metrics.masked_pairs
                ));
                observer.advance(1);
                last = Some(metrics);
                if settings.eval.every.is_some_and(|every| self.state.steps.is_multiple_of(every)) {
                    self.validate(log, observer)?;
                    observer.begin("training", Some(self.steps - self.state.steps));
                }
                let stopped = stop.load(Ordering::Relaxed);
                let is_best = self.state.best.is_some_and(|(_, steps)| steps == self.state.steps);
                let due = is_best || self.state.steps.is_multiple_of(settings.checkpoint.every);
                if due || stopped || self.state.steps == self.steps {
                    log.flush(out)?;
                    self.checkpoint()?;
                }
                if stopped {
                    break;
                }
            }
            Ok(last)
        })
    }

    /// One step: batch, loss, gradients, update.
    fn step(
        &mut self,
        step: u64,
        batches: &Receiver<Result<TrainBatch>>,
        team: &Team,
    ) -> Result<StepMetrics> {
        let TrainRequest { dataset, settings, encoder, out, .. } = self.request;
        let begun = Instant::now();
        let batch = Arc::new(batches.recv().expect("the reader gives every step or an error")?);
        let waited = begun.elapsed().as_secs_f64();
        assert_eq!(batch.step, step, "batches come in order");
        let learning_rate =
            settings.optimizer.learning_rate.expect("it is resolved") * self.schedule.factor(step);
        team.ask(&batch, learning_rate);
        let gradients = self.replica.gradients(&batch)?;
        let refused = |what, found| refuse::no_number(what, found, &batch, &gradients.vectors, dataset);
        if !gradients.loss.is_finite() {
            return Err(refused("loss", gradients.loss)?);
        }
        if step == 0 {
            refuse::missing_gradients(encoder.network(), &self.replica.frozen, &gradients, out)?;
        }
        let updating = Instant::now();
        let norm = self.replica.update(step, learning_rate, &gradients)?;
        let updated = updating.elapsed().as_secs_f64();
        if !norm.is_finite() {
            return Err(refused("gradient norm", norm)?);
        }
        self.state.steps = step + 1;
        let secs = begun.elapsed().as_secs_f64();
        let (examples, tokens) = (batch.n_queries as u64, batch.n_tokens());
        self.totals.examples += examples;
        self.totals.tokens += tokens;
        self.totals.secs += secs;
        self.totals.wait_secs += waited;
        for (op, secs) in gradients.times.into_iter().chain([("adamw", [0.0, updated])]) {
            let sum = self.totals.by_op.entry(op).or_default();
            sum[0] += secs[0];
            sum[1] += secs[1];
        }
        Ok(StepMetrics {
            step,
            loss: gradients.loss,
            learning_rate,
            gradient_norm: norm,
            examples_per_sec: examples as f64 / secs,
            tokens_per_sec: tokens as f64 / secs,
            masked_pairs: batch.masked_pairs,
            wait_fraction: waited / secs,
        })
    }

    /// mAP on the held-out part; the best encoder so far is saved.
    fn validate(&mut self, log: &mut Log, observer: &dyn Observer) -> Result<()> {
        let Some(validation) = &self.validation else { return Ok(()) };
        let encoder = self.request.encoder.with_weights(self.replica.parameters.computed()?);
        let map = validation.score(&encoder, observer)?;
        log.validated(self.request.out, &Validated { steps: self.state.steps, map })?;
        if let Some(mean) = map.mean()
            && self.state.best.is_none_or(|(best, _)| best < mean)
        {
            self.state.best = Some((mean, self.state.steps));
            // Before the checkpoint that names it, so that a run which goes on from there has it.
            self.save(BEST)?;
        }
        Ok(())
    }

    /// Writes the encoder as it is now into a folder of the run, which is there whole or not at all.
    fn save(&self, name: &str) -> Result<()> {
        let folder = self.request.out.join(name);
        let partial = folder.with_extension(checkpoint::PARTIAL);
        let remove = |folder: &Path| match folder.exists() {
            true => fs::remove_dir_all(folder).map_err(Error::io("remove", folder)),
            false => Ok(()),
        };
        remove(&partial)?;
        let values = self.replica.parameters.values()?.on_device(&Device::Cpu)?;
        self.request.encoder.with_weights(values).save(&partial)?;
        remove(&folder)?;
        checkpoint::rename(&partial, &folder)
    }

    fn checkpoint(&self) -> Result<()> {
        let TrainRequest { out, encoder, settings, .. } = self.request;
        checkpoint::write(
            out,
            encoder.network(),
            &self.replica.parameters,
            &self.state,
            settings.checkpoint.keep,
        )
    }
}

impl TrainBatch {
    fn n_tokens(&self) -> u64 {
        self.texts.iter().map(|text| text.len() as u64).sum()
    }
}
