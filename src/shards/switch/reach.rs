//! Whether lexicons can switch anything at all: told before a batch is made.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;

use super::{items, string_at};
use crate::corpus::CodeSwitch;
use crate::error::{Error, Result};
use crate::pairs::PoolName;
use crate::pipeline::SwitchKind;
use crate::plan::Plan;

/// Refuses tables that hold no translation of a kind that the plan may draw.
///
/// # Errors
/// [`Error::Setting`].
pub(in crate::shards) fn check_reach(plan: &Plan, tables: &CodeSwitch) -> Result<()> {
    let Some(setting) = plan.code_switch() else { return Ok(()) };
    let known = directions(tables);
    let mut wanted = BTreeSet::new();
    for (name, _) in plan.pools() {
        let PoolName { query_lang, passage_lang, .. } =
            name.parse().map_err(|found| Error::Plan { found })?;
        if setting.sides.has_queries() {
            wanted.insert((query_lang.clone(), passage_lang.clone()));
        }
        if setting.sides.has_passages() {
            wanted.insert((passage_lang, query_lang));
        }
    }
    let is_reached = wanted.iter().any(|(from, to)| match setting.kind {
        SwitchKind::Bilingual => from != to && known.contains(&(from, to)),
        SwitchKind::Multilingual => known.iter().any(|(lang, _)| lang == from),
    });
    if is_reached {
        return Ok(());
    }
    let pairs: Vec<String> = known.iter().map(|(from, to)| format!("{from}:{to}")).collect();
    let found = match setting.kind {
        SwitchKind::Bilingual => {
            "`bilingual` switches towards the language of a row's other side, and no pool has two \
                                  languages between which the lexicons translate"
        }
        SwitchKind::Multilingual => "the lexicons translate from no language of the sides that are switched",
    };
    Err(Error::setting("code_switch", found).with_hint(format!(
        "they translate words of these pools in {}; take other lexicons, another `batches.strategy` or another `kind`",
        pairs.join(", ")
    )))
}

/// The languages of the words, each with those that some word has translations in.
fn directions(tables: &CodeSwitch) -> BTreeSet<(&str, &str)> {
    let lexicon = tables.lexicon();
    let column = |name| lexicon.column_by_name(name).expect("a column of a lexicon").as_ref();
    let langs = column("lang").as_dictionary::<Int32Type>();
    let names = langs.values().as_string::<i32>();
    let targets = column("target_langs").as_list::<i32>();
    let mut known = BTreeSet::new();
    for row in 0..targets.len() {
        let lang = names.value(langs.keys().value(row) as usize);
        known.extend(items(targets, row).map(|at| (lang, string_at(targets, at))));
    }
    known
}
