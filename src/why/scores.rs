//! What a model makes of the rows of a batch: the loss of each, and the passage that it is hardest to tell from.

use super::rows::{Masks, Rival, Row};
use crate::error::Result;
use crate::model::{Encoder, Role};
use crate::progress::Observer;

/// Scores all rows and sorts them by loss, greatest first; returns the mean. The loss of a row is its question's against
/// the passages (`schemas/TRAIN.md`, section 3), also where the run took the symmetric form.
pub(super) fn score(
    rows: &mut [Row],
    masks: &Masks,
    encoder: &Encoder,
    temperature: f64,
    observer: &dyn Observer,
) -> Result<f64> {
    let queries: Vec<&str> = rows.iter().map(|row| row.query.as_str()).collect();
    let passages: Vec<&str> = masks.passages.iter().map(|passage| passage.text.as_str()).collect();
    let width = encoder.network().width();
    let queries = unit(&encoder.encode(Role::Query, &queries, observer)?, width);
    let passages = unit(&encoder.encode(Role::Passage, &passages, observer)?, width);
    let cosine = |i: usize, j: usize| -> f64 {
        queries[i * width..][..width].iter().zip(&passages[j * width..][..width]).map(|(q, p)| q * p).sum()
    };
    let mut sum = 0.0;
    for (i, row) in rows.iter_mut().enumerate() {
        let own = cosine(i, i);
        let others: Vec<(usize, f64)> = masks.negatives[i].iter().map(|&j| (j, cosine(i, j))).collect();
        // log(sum exp s_j) - s_i, of differences that overflow nothing.
        let greatest = others.iter().map(|(_, score)| *score).fold(own, f64::max);
        let weight = |score: f64| ((score - greatest) / temperature).exp();
        let total = weight(own) + others.iter().map(|(_, score)| weight(*score)).sum::<f64>();
        let loss = total.ln() + (greatest - own) / temperature;
        sum += loss;
        row.loss = Some(loss);
        row.rank = Some(1 + others.iter().filter(|(_, score)| own < *score).count());
        let hardest = others.iter().copied().reduce(|a, b| if a.1 < b.1 { b } else { a });
        row.rival = hardest.map(|(j, score)| {
            let passage = &masks.passages[j];
            Rival {
                row: passage.row,
                is_hard_negative: passage.is_hard_negative,
                passage_id: passage.id.clone(),
                text: passage.text.clone(),
                original: passage.original.clone(),
                margin: score - own,
            }
        });
    }
    let mean = sum / rows.len() as f64;
    rows.sort_by(|a, b| b.loss.unwrap_or(0.0).total_cmp(&a.loss.unwrap_or(0.0)));
    Ok(mean)
}

/// Rows of unit length.
fn unit(vectors: &[f32], width: usize) -> Vec<f64> {
    let mut units = Vec::with_capacity(vectors.len());
    for vector in vectors.chunks(width) {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        units.extend(vector.iter().map(|x| f64::from(*x) / length));
    }
    units
}
