//! As many hard negatives in every row as a trainer asks for. Where a row has fewer, other passages of its batch stand in:
//! those that answer nothing of its group, against which its question stands anyway.

use std::collections::HashSet;
use std::path::Path;

use super::row::{Row, Text};
use crate::error::{Error, Result};

/// For each row, the rows whose positives fill its hard negatives up to `n`: the next ones that do not answer its group, in
/// the order of the batch, after the last comes the first. No text is taken twice.
///
/// # Errors
/// [`Error::Export`] where the batch has not enough of them.
pub(super) fn fill(rows: &[Row], n: u32, out: &Path) -> Result<Vec<Vec<usize>>> {
    (0..rows.len()).map(|i| fill_row(rows, i, n as usize, out)).collect()
}

fn fill_row(rows: &[Row], i: usize, n: usize, out: &Path) -> Result<Vec<usize>> {
    let row = &rows[i];
    let missing = n.saturating_sub(row.negatives.len());
    if missing == 0 {
        return Ok(Vec::new());
    }
    let own = row.negatives.iter().chain([&row.positive]);
    let mut taken: HashSet<&str> = own.map(|text| &**text).collect();
    let others = (i + 1..rows.len()).chain(0..i);
    let filled: Vec<usize> = others
        .filter(|&j| !rows[j].positive_group_ids.contains(&row.group_id) && taken.insert(&rows[j].positive))
        .take(missing)
        .collect();
    if filled.len() < missing {
        let found = format!(
            "row {} of step {} gets {} hard negatives of {n}: it has {}, and its batch {} other passages that are no \
             answers",
            row.row,
            row.step,
            row.negatives.len() + filled.len(),
            row.negatives.len(),
            filled.len(),
        );
        return Err(Error::export(out, found).with_hint("ask for fewer with `--negatives`"));
    }
    Ok(filled)
}

/// Appends what [`fill`] found to a row's hard negatives. Their groups stay those of its own, so that whoever reads it back
/// knows which these are.
pub(super) fn append<'a>(row: &mut Row<'a>, rows: &[Row<'a>], filled: &[usize]) {
    for &j in filled {
        row.negative_ids.push(rows[j].positive_id.clone());
        row.negatives.push(rows[j].positive.clone());
    }
}

/// A row's own hard negatives, of ids and texts that were filled.
pub(super) fn own<'a>(
    mut ids: Vec<Text<'a>>,
    mut texts: Vec<Text<'a>>,
    groups: &[Vec<Text<'a>>],
) -> (Vec<Text<'a>>, Vec<Text<'a>>) {
    ids.truncate(groups.len());
    texts.truncate(groups.len());
    (ids, texts)
}
