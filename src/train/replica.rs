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
