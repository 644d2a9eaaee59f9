//! Ranks: several devices that train one encoder on the same global batch (`schemas/SAMPLING.md`, section 6).
//!
//! A rank is a thread with a device and all parameters. It encodes the texts of its rows, has the vectors of all ranks,
//! computes the loss of the whole batch, and carries the share of it that its own texts have to the weights; the
//! gradients are added up over the ranks, and every rank makes the same update. So the batch, its masks and its dropout
//! are those of one device, for any number of ranks; only roundings differ.
//!
//! All that ranks tell each other is sums of tensors: by NCCL between GPUs, through memory between threads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Result, Tensor, bail};

use super::data::TrainBatch;
use crate::kernels::add;

/// What a sum says where a rank has not come.
pub(super) const ANOTHER: &str = "another rank has failed";

/// What a rank has of the others.
pub(super) trait Communicator: Send {
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// The sum over all ranks of each tensor, the same bits on every rank. All ranks call it in the same order, with
    /// tensors of the same shapes.
    ///
    /// # Errors
    /// When another rank has failed.
    fn sum(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>>;

    /// Keeps no other rank waiting for this one, which has failed.
    fn leave(&self);
}

/// A communicator for each device.
#[cfg_attr(not(feature = "nccl"), expect(clippy::unnecessary_wraps, reason = "NCCL may fail"))]
pub(super) fn connect(devices: &[Device]) -> Result<Vec<Box<dyn Communicator>>> {
    if let [_] = devices {
        return Ok(vec![Box::new(Alone)]);
    }
    #[cfg(feature = "nccl")]
    if devices.iter().all(Device::is_cuda) {
        return super::nccl::connect(devices);
    }
    Ok(Threads::connect(devices))
}

/// The texts of a batch that a rank encodes: those of its rows, (w B / W .. (w + 1) B / W), in ascending order.
pub(super) fn share(batch: &TrainBatch, ranks: &dyn Communicator) -> Vec<Range<usize>> {
    let (rank, size, n_queries) = (ranks.rank(), ranks.size(), batch.n_queries);
    let rows = rank * n_queries / size..(rank + 1) * n_queries / size;
    let negative = |row: usize| 2 * n_queries + batch.negatives[row] as usize;
    let texts = [
        rows.clone(),
        n_queries + rows.start..n_queries + rows.end,
        negative(rows.start)..negative(rows.end),
    ];
    // Ranges that follow one another are one.
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in texts.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

/// One device.
pub(super) struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        Ok(tensors)
    }

    fn leave(&self) {}
}

/// A rank among threads of this process.
struct Threads {
    rank: usize,
    device: Device,
    meeting: Arc<Meeting>,
    /// How many sums this rank has asked for.
    n_sums: Mutex<u64>,
}

/// Where threads leave what they bring to a sum.
struct Meeting {
    size: usize,
    state: Mutex<Brought>,
    changed: Condvar,
}

#[derive(Default)]
struct Brought {
    /// By number.
    sums: BTreeMap<u64, Sum>,
    /// Whether a rank is gone.
    is_broken: bool,
}

/// What each rank brought to a sum, and how many have taken it.
struct Sum {
    brought: Vec<Option<Vec<Tensor>>>,
    n_taken: usize,
}

impl Meeting {
    fn lock(&self) -> MutexGuard<'_, Brought> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    fn connect(devices: &[Device]) -> Vec<Box<dyn Communicator>> {
        let meeting =
            Arc::new(Meeting { size: devices.len(), state: Mutex::default(), changed: Condvar::new() });
        let rank = |(rank, device): (usize, &Device)| -> Box<dyn Communicator> {
            Box::new(Self { rank, device: device.clone(), meeting: meeting.clone(), n_sums: Mutex::new(0) })
        };
        devices.iter().enumerate().map(rank).collect()
    }

    /// What all ranks bring to this sum, in their order.
    fn exchange(&self, tensors: Vec<Tensor>) -> Result<Vec<Vec<Tensor>>> {
        let mut n_sums = self.n_sums.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *n_sums;
        *n_sums += 1;
        let size = self.meeting.size;
        let mut state = self.meeting.lock();
        let none = || Sum { brought: vec![None; size], n_taken: 0 };
        state.sums.entry(number).or_insert_with(none).brought[self.rank] = Some(tensors);
        self.meeting.changed.notify_all();
        loop {
            let sum = state.sums.get_mut(&number).expect("it stays until all have taken it");
            if sum.brought.iter().all(Option::is_some) {
                let all = sum.brought.iter().flatten().cloned().collect();
                sum.n_taken += 1;
                if sum.n_taken == size {
                    state.sums.remove(&number);
                }
                return Ok(all);
            }
            // Only now: who has its last sum may be gone before the others have it.
            if state.is_broken {
                bail!("{ANOTHER}");
            }
            state = self.meeting.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.size
    }

    /// Added in the order of the ranks.
    fn sum(&self, tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let on = |device: &Device, tensors: Vec<Tensor>| -> Result<Vec<Tensor>> {
            tensors.iter().map(|tensor| tensor.to_device(device)).collect()
        };
        // Not from GPU to GPU: memory is used again as soon as the stream that it belongs to has done with it, which does
        // not wait for a copy in the stream of another rank.
        let mut all = self.exchange(on(&Device::Cpu, tensors)?)?.into_iter();
        let here = |tensors| on(&self.device, tensors);
        let mut sums = here(all.next().expect("there is a rank"))?;
        for tensors in all {
            for (sum, tensor) in sums.iter_mut().zip(here(tensors)?) {
                *sum = add(&*sum, &tensor)?;
            }
        }
        Ok(sums)
    }

    fn leave(&self) {
        self.meeting.lock().is_broken = true;
        self.meeting.changed.notify_all();
    }
}

impl Drop for Threads {
    /// By an error or a panic, or at the end, where nobody waits.
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(n_queries: usize, negatives: Vec<u32>) -> TrainBatch {
        let n_texts = 2 * n_queries + *negatives.last().unwrap() as usize;
        TrainBatch {
            step: 0,
            n_queries,
            texts: vec![vec![1]; n_texts],
            mask: None,
            masked_pairs: 0,
            negatives,
        }
    }

    #[test]
    fn shares_are_the_rows_of_a_rank_and_cover_the_batch() {
        let batch = batch(4, vec![0, 2, 3, 3, 6]);
        let ranks = |n| Threads::connect(&vec![Device::Cpu; n]);
        let all = share(&batch, &Alone);
        assert!(all.len() == 1 && all[0] == (0..14));
        let two = ranks(2);
        assert_eq!(share(&batch, &*two[0]), [0..2, 4..6, 8..11]);
        assert_eq!(share(&batch, &*two[1]), [2..4, 6..8, 11..14]);
        let four = ranks(4);
        assert_eq!(share(&batch, &*four[2]), [2..3, 6..7]);
        let mut texts: Vec<usize> = four.iter().flat_map(|rank| share(&batch, &**rank)).flatten().collect();
        texts.sort_unstable();
        assert_eq!(texts, (0..14).collect::<Vec<_>>());
    }

    #[test]
    fn sums_are_those_of_all_ranks_and_a_rank_that_is_gone_is_an_error() {
        let ranks = Threads::connect(&vec![Device::Cpu; 3]);
        let found: Vec<Result<f64>> = std::thread::scope(|scope| {
            let run = |rank: Box<dyn Communicator>| {
                scope.spawn(move || {
                    let one = |x: f64| Tensor::new(x, &Device::Cpu);
                    let first = rank.sum(vec![one(10.0)?, one(rank.rank() as f64)?])?;
                    assert!((first[1].to_scalar::<f64>()? - 3.0).abs() < 1e-12);
                    if rank.rank() == 2 {
                        bail!("it fails by itself");
                    }
                    rank.sum(vec![one(1.0)?])?;
                    first[0].to_scalar::<f64>()
                })
            };
            let threads: Vec<_> = ranks.into_iter().map(run).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for found in &found[..2] {
            assert!(found.as_ref().unwrap_err().to_string().contains("another rank has failed"));
        }
    }
}
