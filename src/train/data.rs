//! Batches of rows to batches of tokens, ahead of the trainer on a thread of their own.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringViewArray};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::kernels::GroupMask;
use crate::model::{Encoder, Role};
use crate::shards::{Dataset, Origin, stream_batches};

/// Batches that are ready before the trainer asks for them.
const AHEAD: usize = 4;

/// A batch as the trainer takes it: B queries, then M passages, of which the first B are the positives.
#[derive(Clone, Debug)]
pub(super) struct TrainBatch {
    pub(super) step: u64,
    pub(super) n_queries: usize,
    /// Token ids of queries, positives and hard negatives.
    pub(super) texts: Vec<Vec<u32>>,
    /// B + 1 numbers: row i has the hard negatives `negatives[i]..negatives[i + 1]`.
    pub(super) negatives: Vec<u32>,
    pub(super) mask: Option<GroupMask>,
    /// Pairs that the exact rule takes out of the negatives, whether or not they are masked.
    pub(super) masked_pairs: u64,
}

/// What becomes of rows.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) origin: Origin,
    pub(super) encoder: &'a Encoder,
    /// Whether false negatives are masked.
    pub(super) mask: bool,
}

impl<'a> Reading<'a> {
    /// Reads the batches of `steps` on a thread; the receiver has them in order, and an error as the last.
    pub(super) fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        steps: Range<u64>,
    ) -> Receiver<Result<TrainBatch>>
    where
        'a: 'scope,
    {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            let read = stream_batches(self.dataset, self.origin, steps, |step, rows| {
                let gone = sender.send(Ok(self.batch(step, rows)?)).is_err();
                Ok(if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            });
            if let Err(e) = read {
                // The trainer may have stopped first.
                let _ = sender.send(Err(e));
            }
        });
        receiver
    }

    fn batch(&self, step: u64, rows: &RecordBatch) -> Result<TrainBatch> {
        let texts = |name| column(rows, name).as_string_view();
        let (queries, positives) = (texts("query"), texts("positive"));
        let negatives = flat(list(rows, "negatives"));
        let roles = queries
            .iter()
            .map(|text| (Role::Query, text))
            .chain(positives.iter().chain(negatives.iter()).map(|text| (Role::Passage, text)));
        let roles: Vec<(Role, &str)> =
            roles.map(|(role, text)| (role, text.expect("texts are never null"))).collect();
        let texts = roles
            .par_iter()
            .map(|(role, text)| self.encoder.tokenise(*role, text))
            .collect::<Result<Vec<_>>>()?;
        let mask = Groups::of(rows).mask()?;
        let offsets = list(rows, "negatives").value_offsets();
        let masked_pairs = mask.n_masked()? as u64;
        Ok(TrainBatch {
            step,
            n_queries: rows.num_rows(),
            texts,
            negatives: offsets.iter().map(|&offset| (offset - offsets[0]) as u32).collect(),
            masked_pairs,
            mask: self.mask.then_some(mask),
        })
    }
}

/// The groups of a batch, numbered as they come.
struct Groups<'a> {
    of_query: &'a StringViewArray,
    /// Groups that each positive, then each hard negative, answers.
    of_passage: Vec<Vec<&'a str>>,
}

impl<'a> Groups<'a> {
    fn of(rows: &'a RecordBatch) -> Self {
        let positives = list(rows, "positive_group_ids");
        let negatives = list(rows, "negative_group_ids");
        let (first, end) = bounds(negatives);
        let inner = negatives.values().as_list::<i32>();
        let of_passage = items(positives, 0..positives.len()).chain(items(inner, first..end)).collect();
        Self { of_query: column(rows, "group_id").as_string_view(), of_passage }
    }

    fn mask(&self) -> Result<GroupMask> {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut number = |id| {
            let next = numbers.len() as u32;
            *numbers.entry(id).or_insert(next)
        };
        let of_query: Vec<u32> =
            self.of_query.iter().map(|id| number(id.expect("ids are never null"))).collect();
        let (mut offsets, mut groups) = (vec![0], Vec::new());
        for ids in &self.of_passage {
            let start = groups.len();
            groups.extend(ids.iter().map(|id| number(id)));
            groups[start..].sort_unstable();
            offsets.push(u32::try_from(groups.len()).map_err(|_| {
                Error::setting("batches.batch_size", "the passages of a batch answer more than 2^32 groups")
            })?);
        }
        Ok(GroupMask::new(of_query, offsets, groups)?)
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str) -> &'a dyn Array {
    rows.column_by_name(name).expect("a column of the table of batches").as_ref()
}

fn list<'a>(rows: &'a RecordBatch, name: &str) -> &'a ListArray {
    column(rows, name).as_list::<i32>()
}

/// Where the items of a list's rows begin and end among its values.
fn bounds(list: &ListArray) -> (usize, usize) {
    let offsets = list.value_offsets();
    (offsets[0] as usize, offsets[list.len()] as usize)
}

/// All items of all rows.
fn flat(list: &ListArray) -> StringViewArray {
    let (first, end) = bounds(list);
    list.values().as_string_view().slice(first, end - first)
}

fn items(list: &ListArray, rows: Range<usize>) -> impl Iterator<Item = Vec<&str>> {
    let (offsets, values) = (list.value_offsets(), list.values().as_string_view());
    rows.map(move |row| (offsets[row]..offsets[row + 1]).map(|at| values.value(at as usize)).collect())
}
