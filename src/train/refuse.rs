//! What a run must not go on with: another dataset, tokenizer or settings than it began with, a parameter without a
//! gradient, and a number that is none.

use std::fs;
use std::path::Path;

use candle_core::Tensor;

use super::checkpoint::State;
use super::data::TrainBatch;
use super::frozen::Frozen;
use super::gradients::Gradients;
use super::{SETTINGS, Settings};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::model::{Network, Vocabulary};
use crate::shards::Dataset;

/// Tokens that shards hold are those of the encoder. How long a text may be and how it is padded are no matter of a
/// dataset, and a static encoder is saved with a limit of its own in its tokenizer.json.
///
/// # Errors
/// [`Error::Dataset`] with the digests of both files.
pub(super) fn other_tokens(dataset: &Dataset, vocabulary: &Vocabulary) -> Result<()> {
    let Some(of_shards) = &dataset.manifest().tokenizer else { return Ok(()) };
    if of_shards.digest == vocabulary.digest()
        || dataset.tokenizer()?.is_some_and(|tokenizer| tokenizer.has_the_ids_of(vocabulary.tokenizer()))
    {
        return Ok(());
    }
    let found = format!(
        "its batches hold tokens of tokenizer {}, the encoder's is {}",
        of_shards.digest,
        vocabulary.digest()
    );
    Err(Error::dataset(dataset.root(), found)
        .with_hint("build the dataset with the encoder's tokenizer.json, or without `--tokenizer`"))
}

/// Ranks have equal shares of a batch.
///
/// # Errors
/// [`Error::Setting`] when the batch size is not a multiple of their number.
pub(super) fn uneven_ranks(dataset: &Dataset, n_ranks: usize) -> Result<()> {
    let batch_size = dataset.plan().batch_size() as usize;
    if batch_size.is_multiple_of(n_ranks) {
        return Ok(());
    }
    let found = format!("{n_ranks} devices cannot share batches of {batch_size} rows equally");
    Err(Error::setting("--device", found)
        .with_hint("the batch size must be a multiple of the number of devices"))
}

/// What differs between a checkpoint and what is asked for, if anything does.
pub(super) fn other_run(run: &Path, was: &State, is: &State, settings: &Settings) -> Option<Error> {
    let inputs = [
        ("dataset", was.dataset_id, is.dataset_id),
        ("tokenizer", was.tokenizer_digest, is.tokenizer_digest),
    ];
    let other = |(what, was, is): (&str, Digest, Digest)| {
        let found = format!("was begun with {what} {was}, not {is}");
        let hint = format!("a run goes on with the {what} that it began with");
        (was != is).then(|| Error::training(run, found).with_hint(hint))
    };
    if let Some(e) = inputs.into_iter().find_map(other) {
        return Some(e);
    }
    if was.settings_digest == is.settings_digest {
        return other(("first encoder", was.start_digest, is.start_digest));
    }
    // The digest decides; the file only says more of it.
    let begun = fs::read_to_string(run.join(SETTINGS)).ok();
    let begun = begun.and_then(|text| Settings::from_toml(SETTINGS, &text, &[]).ok());
    let keys = begun.map(|begun| begun.differences(settings)).unwrap_or_default();
    let keys = if keys.is_empty() { String::new() } else { format!(" of `{}`", keys.join("`, `")) };
    let hint = format!(
        "a run goes on with the settings that it began with: `--config {}`",
        run.join(SETTINGS).display()
    );
    Some(Error::training(run, format!("was begun with other settings{keys}")).with_hint(hint))
}

/// Every parameter that is trained has a gradient that is finite and not all zero: an op without a backward would leave
/// it out without a word. Nor is a loss of 0 anything to train on.
///
/// # Errors
/// [`Error::Training`] with the names of all others.
pub(super) fn missing_gradients(
    network: &Network,
    frozen: &Frozen,
    gradients: &Gradients,
    run: &Path,
) -> Result<()> {
    if gradients.loss == 0.0 {
        return Err(Error::training(
            run,
            "has a loss of 0 at step 0: no question of its batch has a negative",
        )
        .with_hint("batches of one row have none, and `loss.form = \"paper\"` takes hard negatives alone"));
    }
    let mut without = Vec::new();
    for ((id, declared), gradient) in network.parameters().iter().zip(&gradients.of) {
        if frozen.has(id) {
            continue;
        }
        let Some(gradient) = gradient else {
            without.push(format!("`{}` has none", declared.name()));
            continue;
        };
        // That of the table of words has the touched rows alone: not to be split, and one part anyway.
        let parts = match declared.parts.as_slice() {
            [_] => vec![gradient.clone()],
            _ => declared.split(gradient)?,
        };
        for (part, gradient) in declared.parts.iter().zip(parts) {
            let largest = gradient.abs()?.max_all()?.to_scalar::<f32>()?;
            // A bias of all keys moves all scores of a query alike, which its softmax does not see.
            if largest == 0.0 && !part.name.ends_with(".key.bias") {
                without.push(format!("that of `{}` is zero", part.name));
            } else if !largest.is_finite() {
                without.push(format!("that of `{}` is {largest}", part.name));
            }
        }
    }
    if without.is_empty() {
        return Ok(());
    }
    Err(Error::training(run, format!("has no gradients at step 0: {}", without.join(", "))))
}

/// What to say when a number is none: the step, and the rows whose vectors are none, if it is theirs.
pub(super) fn no_number(
    what: &str,
    found: f64,
    batch: &TrainBatch,
    vectors: &Tensor,
    dataset: &Dataset,
) -> Result<Error> {
    let vectors = vectors.to_vec2::<f32>()?;
    let broken = |n: usize| vectors[n].iter().any(|x| !x.is_finite());
    let n_rows = batch.n_queries;
    let rows: Vec<String> =
        (0..n_rows).filter(|&row| broken(row) || broken(n_rows + row)).map(|row| row.to_string()).collect();
    let n_negatives = (2 * n_rows..vectors.len()).filter(|&n| broken(n)).count();
    let mut whose = Vec::new();
    if rows.len() == n_rows {
        whose.push(format!("of all {n_rows} rows"));
    } else if !rows.is_empty() {
        whose.push(format!("of rows {}", rows.join(", ")));
    }
    if 0 < n_negatives {
        whose.push(format!("of {n_negatives} hard negatives"));
    }
    let whose = match whose.as_slice() {
        [] => format!("the vectors of its {n_rows} rows are finite"),
        _ => format!("the vectors {} are not finite", whose.join(" and ")),
    };
    let step = batch.step;
    Ok(Error::Training {
        path: None,
        found: format!("the {what} of step {step} is {found}; {whose}"),
        hint: Some(format!(
            "`prep inspect {} --step {step}` shows the rows; a lower learning rate, a longer warm-up or clipping help \
             where the texts are not to blame",
            dataset.root().display()
        )),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::kernels::Times;
    use crate::model::{Encoder, HeadSource};

    /// Gradients of ones for a small BERT, changed by `change`, which is told their names.
    fn judged(change: impl Fn(&str, &mut Option<Tensor>), frozen: &[&str]) -> Result<()> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/parity/bert");
        let encoder = Encoder::open(&fixture, HeadSource::Described).unwrap();
        let parameters = encoder.network().parameters();
        let of = parameters.iter().zip(encoder.weights().iter()).map(|((_, declared), value)| {
            let mut gradient = Some(value.ones_like().unwrap());
            change(declared.name(), &mut gradient);
            gradient
        });
        let vectors = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        let gradients =
            Gradients { loss: 1.0, touched: vec![], of: of.collect(), vectors, times: Times::new() };
        let frozen: Vec<String> = frozen.iter().map(|name| (*name).to_owned()).collect();
        let frozen = Frozen::find(&frozen, parameters)?;
        missing_gradients(encoder.network(), &frozen, &gradients, Path::new("run"))
    }

    #[test]
    fn a_parameter_without_a_gradient_is_named() {
        const OUTPUT: &str = "encoder.layer.0.output.dense.weight";
        const WORDS: &str = "embeddings.word_embeddings.weight";
        assert!(judged(|_, _| {}, &[]).is_ok());
        let e = judged(|name, gradient| drop((name == OUTPUT).then(|| gradient.take())), &[]).unwrap_err();
        assert!(e.to_string().contains(&format!("no gradients at step 0: `{OUTPUT}` has none")), "{e}");
        let scaled = |by: f64| {
            move |name: &str, gradient: &mut Option<Tensor>| {
                if name == WORDS {
                    *gradient = gradient.take().map(|gradient| (gradient * by).unwrap());
                }
            }
        };
        let e = judged(scaled(0.0), &[]).unwrap_err().to_string();
        assert!(e.contains(&format!("that of `{WORDS}` is zero")), "{e}");
        let e = judged(scaled(f64::INFINITY), &[]).unwrap_err().to_string();
        assert!(e.contains(&format!("that of `{WORDS}` is inf")), "{e}");
        // What is declared frozen needs none.
        assert!(judged(scaled(0.0), &[WORDS]).is_ok());
    }
}
