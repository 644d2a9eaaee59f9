//! Which steps stand in which shard and row group. Arithmetic only, so it has no size.

use super::cells::Cells;
use super::parquet_file::Encoding;
use super::rows::{Assembler, Picker, batch_digest};
use crate::error::{Error, Result};
use crate::pairs::Index;
use crate::pipeline::{DEFAULT_ROWS_PER_ROW_GROUP, DEFAULT_TARGET_BYTES, Pipeline};
use crate::plan::Plan;

/// How the batches of a plan are laid out in files.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) steps: u64,
    pub(super) steps_per_shard: u64,
    steps_per_group: u64,
    /// Of text, before compression.
    pub(super) bytes_per_step: u64,
    pub(super) encoding: Encoding,
}

/// The batches of one row group.
pub(super) struct RowGroup {
    pub(super) shard: u64,
    pub(super) first_step: u64,
    pub(super) steps: u64,
}

/// Shards are numbered with five digits.
const MAX_SHARDS: u64 = 100_000;

/// Batches that are looked at to estimate the size of one.
const SAMPLED_STEPS: u64 = 32;

impl Layout {
    pub(super) fn new(
        pipeline: &Pipeline,
        plan: &Plan,
        assembler: &Assembler,
        index: &Index,
    ) -> Result<Self> {
        let (steps, batch_size) = (plan.steps(), u64::from(plan.batch_size()));
        let bytes_per_step = bytes_per_step(plan, assembler, index)?;
        let per_group = DEFAULT_ROWS_PER_ROW_GROUP.div_euclid(batch_size).max(1);
        let per_group = pipeline.shards.steps_per_row_group.map_or(per_group, std::num::NonZero::get);
        let steps_per_shard = match pipeline.shards.steps_per_shard {
            Some(steps) => steps.get(),
            None => {
                let target =
                    pipeline.shards.target_bytes.map_or(DEFAULT_TARGET_BYTES, std::num::NonZero::get);
                // Whole row groups, and at least one.
                ((target / bytes_per_step.max(1)) / per_group).max(1) * per_group
            }
        };
        let steps_per_shard = steps_per_shard.min(steps);
        let steps_per_group = per_group.min(steps_per_shard);
        if MAX_SHARDS < steps.div_ceil(steps_per_shard) {
            let found = format!("{} shard files, more than {MAX_SHARDS}", steps.div_ceil(steps_per_shard));
            return Err(
                Error::setting("shards", found).with_hint("a larger `steps_per_shard` or `target_bytes`")
            );
        }
        // Texts recur when a row group draws each of them more than once.
        let rows_per_group = steps_per_group.min(steps) * batch_size;
        let n_texts = plan.pools().iter().map(|(_, size)| *size).max().unwrap_or(0);
        let languages = plan.sources().len() as u64;
        let encoding = Encoding {
            zstd_level: pipeline.shards.zstd_level,
            texts_recur: n_texts.saturating_mul(languages) <= rows_per_group,
        };
        Ok(Self { steps, steps_per_shard, steps_per_group, bytes_per_step, encoding })
    }

    fn groups_per_shard(&self) -> u64 {
        self.steps_per_shard.div_ceil(self.steps_per_group)
    }

    pub(super) fn n_row_groups(&self) -> Result<usize> {
        let whole = self.steps / self.steps_per_shard;
        let rest = self.steps % self.steps_per_shard;
        usize::try_from(whole * self.groups_per_shard() + rest.div_ceil(self.steps_per_group))
            .map_err(|_| Error::setting("batches.steps", "more row groups than can be counted"))
    }

    pub(super) fn row_group(&self, number: usize) -> RowGroup {
        let number = number as u64;
        let (shard, within) = (number / self.groups_per_shard(), number % self.groups_per_shard());
        let first_step = shard * self.steps_per_shard + within * self.steps_per_group;
        let end = ((shard + 1) * self.steps_per_shard).min(self.steps);
        RowGroup { shard, first_step, steps: self.steps_per_group.min(end - first_step) }
    }
}

/// The mean size of a batch as its digest takes it, over steps that are spread evenly.
fn bytes_per_step(plan: &Plan, assembler: &Assembler, index: &Index) -> Result<u64> {
    let mut picker = Picker::new(plan, index)?;
    let n = SAMPLED_STEPS.min(plan.steps());
    let (mut sum, mut buffer) = (0, Vec::new());
    for i in 0..n {
        let step =
            u64::try_from(u128::from(plan.steps()) * u128::from(i) / u128::from(n)).expect("below the steps");
        let batch = assembler.assemble(&[picker.pick(step)?], index)?;
        batch_digest(&Cells::all(&batch), 0..batch.num_rows(), &mut buffer);
        sum += buffer.len() as u64;
    }
    Ok(sum / n)
}
