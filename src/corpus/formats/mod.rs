//! Source formats: one small file each, all from a [`Unit`] of files to [`Records`].
//!
//! A new format is a new file here and a variant of [`Format`]; nothing else knows which formats there are.

mod afriqa;
mod beir;
mod bitext;
mod captions;
mod collection;
mod context;
mod mkqa;
mod parquet_rows;
mod squad;
mod synsets;
mod synth;
mod table;
mod tevatron;
mod tydiqa;

use crate::corpus::records::{RawTables, Records};
use crate::corpus::reject::Reason;
use crate::corpus::source::{SourceFile, Unit};
use crate::error::{Error, Result};
use crate::pipeline::Format;

/// Why a record is refused, and what was found.
type Fault = (Reason, String);

/// Reads the files of a unit, in order.
///
/// # Errors
/// [`crate::Error::Source`] for a file that is not what the format asks for, or in which a language is empty. Bad
/// records are no errors: they stand among the rejects.
pub(super) fn read(unit: &Unit) -> Result<RawTables> {
    let mut records = Records::new();
    match unit.corpus.format {
        Format::Squad => squad::read(unit, &mut records)?,
        Format::Beir => beir::read(unit, &mut records)?,
        Format::Table => table::read(unit, &mut records)?,
        Format::Mkqa => mkqa::read(unit, &mut records)?,
        Format::Synsets => synsets::read(unit, &mut records)?,
        Format::Afriqa => afriqa::read(unit, &mut records)?,
        Format::Tydiqa => tydiqa::read(unit, &mut records)?,
        Format::Collection => collection::read(unit, &mut records)?,
        Format::Tevatron => tevatron::read(unit, &mut records)?,
        Format::Captions => captions::read(unit, &mut records)?,
        Format::Bitext | Format::WordLists => bitext::read(unit, &mut records)?,
        Format::Synth => {
            squad::read(unit, &mut records)?;
            let base = records.finish();
            if base.queries.num_rows() == 0 {
                return Err(empty(&unit.files));
            }
            records = synth::blow_up(unit, &base);
        }
    }
    let tables = records.finish();
    if tables.n_records == 0 {
        let e = empty(&unit.files);
        return Err(match tables.rejects.first() {
            None => e,
            Some(first) => e.with_hint(format!(
                "{} records are of another shape than `{}` asks for; {}: {}",
                tables.rejects.len(),
                unit.corpus.format,
                first.place,
                first.detail
            )),
        });
    }
    Ok(tables)
}

/// A language without a single record is a slip, not a corpus.
fn empty(files: &[SourceFile]) -> Error {
    without("question", files)
}

/// The same of whatever else a corpus is made of.
fn without(what: &str, files: &[SourceFile]) -> Error {
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    let lang = files.first().and_then(|file| file.lang.as_ref());
    let lang = lang.map(|lang| format!(" in language `{lang}`")).unwrap_or_default();
    Error::source(&names.join("`, `"), format!("no {what}{lang}"))
        .with_hint("take the language out of `languages`, or mend the file")
}

/// The same of a file that holds several.
fn empty_in(files: &[SourceFile], lang: &str) -> Error {
    let files: Vec<_> =
        files.iter().map(|file| SourceFile { lang: Some(lang.to_owned()), ..file.clone() }).collect();
    empty(&files)
}
