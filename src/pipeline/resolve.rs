//! From what a pipeline file says to a pipeline that can be built: lists in canonical order, contradictions refused.
//!
//! It is checked whole before a source file is opened, so that a slip in its last line does not cost an hour.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use super::language;
use super::{
    CodeSwitchSpec, CorpusSpec, EvalSplit, Files, Format, Length, LexiconFormat, NegativeSource, Negatives,
    PASSAGE_LANG, Pipeline, QUERY_LANG, Ratio, Unit,
};
use crate::error::{Error, Result};
use crate::remote;

/// Fills in, sorts and checks what a pipeline says.
///
/// # Errors
/// [`Error::Setting`] for the first setting that cannot be, or contradicts another.
pub(super) fn resolve(mut pipeline: Pipeline) -> Result<Pipeline> {
    check_name("name", &pipeline.name)?;
    check_share("max_rejects", pipeline.max_rejects)?;
    if pipeline.corpora.iter().all(|corpus| corpus.ids_only) {
        return Err(Error::setting("corpora", "no corpus to take questions and passages from"));
    }
    pipeline.corpora.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = pipeline.corpora.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::setting("corpora", format!("two corpora are called `{}`", pair[0].name)));
    }
    for corpus in &mut pipeline.corpora {
        let name = corpus.name.clone();
        resolve_corpus(corpus).map_err(|found| Error::Setting {
            key: format!("corpora.{name}"),
            found,
            hint: None,
        })?;
    }
    check_shared_ids(&pipeline.corpora)?;
    if let Some(languages) = &mut pipeline.filters.languages {
        languages.sort();
        languages.dedup();
        if languages.is_empty() {
            return Err(Error::setting("filters.languages", "an empty list keeps nothing"));
        }
        for tag in languages {
            check_tag(tag).map_err(|found| Error::setting("filters.languages", found))?;
        }
    }
    check_length("filters.query_chars", pipeline.filters.query_chars)?;
    check_length("filters.passage_chars", pipeline.filters.passage_chars)?;
    if let Some(split) = &mut pipeline.split {
        split.exclude_ids_from.sort();
        split.exclude_ids_from.dedup();
        if let Some(eval) = &split.eval {
            check_split(eval, &pipeline.corpora)?;
        } else if split.exclude_ids_from.is_empty() {
            return Err(Error::setting("split", "neither `eval` nor `exclude_ids_from`: it splits nothing"));
        }
        check_excluded(&split.exclude_ids_from, &pipeline.corpora)?;
        check_share("split.max_overlap", split.max_overlap)?;
    }
    let asks =
        |name: &str| pipeline.split.as_ref().is_some_and(|split| split.names().any(|asked| asked == name));
    if let Some(corpus) = pipeline.corpora.iter().find(|c| c.ids_only && !asks(&c.name)) {
        let found =
            "`ids_only`, but neither `split.eval.ids_from` nor `split.exclude_ids_from` asks for its ids";
        return Err(Error::setting(format!("corpora.{}", corpus.name), found));
    }
    if let Some(path) = &pipeline.tokenizer {
        check_local(path).map_err(|found| Error::Setting {
            key: "tokenizer".to_owned(),
            found,
            hint: Some("`--tokenizer` takes a path from anywhere".to_owned()),
        })?;
    }
    check_negatives(&pipeline.negatives, pipeline.batches.negatives)?;
    if let Some(code_switch) = &mut pipeline.code_switch {
        resolve_code_switch(code_switch)?;
    }
    check_share("batches.alpha", pipeline.batches.alpha)?;
    if pipeline.batches.steps.is_some() && pipeline.batches.epochs.is_some() {
        return Err(Error::setting("batches", "both `steps` and `epochs` are given"));
    }
    if pipeline.shards.steps_per_shard.is_some() && pipeline.shards.target_bytes.is_some() {
        return Err(Error::setting("shards", "both `steps_per_shard` and `target_bytes` are given"));
    }
    if !(1..=22).contains(&pipeline.shards.zstd_level) {
        let found = format!("{} is not between 1 and 22", pipeline.shards.zstd_level);
        return Err(Error::setting("shards.zstd_level", found));
    }
    Ok(pipeline)
}

/// A file and the wish for one go together.
fn check_negatives(negatives: &Negatives, n_per_row: u32) -> Result<()> {
    match (negatives.source, &negatives.path) {
        (NegativeSource::SameContext, None) => Ok(()),
        (NegativeSource::SameContext, Some(_)) => {
            Err(Error::setting("negatives.path", "goes with `negatives.source = \"mined\"` only"))
        }
        (NegativeSource::Mined, None) => {
            let found = "`mined` negatives come from a file, and `negatives.path` names none";
            Err(Error::setting("negatives.source", found).with_hint("`prep mine` writes such a file"))
        }
        (NegativeSource::Mined, Some(_)) if n_per_row == 0 => {
            let found = "`mined` negatives, but `batches.negatives` asks for none";
            Err(Error::setting("negatives.source", found)
                .with_hint("`batches.negatives` is how many a row gets"))
        }
        (NegativeSource::Mined, Some(path)) => {
            check_local(path).map_err(|found| Error::setting("negatives.path", found))
        }
    }
}

fn resolve_code_switch(code_switch: &mut CodeSwitchSpec) -> Result<()> {
    check_share("code_switch.probability", code_switch.probability)?;
    check_share("code_switch.share", code_switch.share)?;
    let lexicons = &mut code_switch.lexicons;
    lexicons.sort_by(|a, b| a.name.cmp(&b.name));
    if lexicons.is_empty() {
        return Err(Error::setting("code_switch.lexicons", "is empty: where would translations come from?"));
    }
    if let Some(pair) = lexicons.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let found = format!("two lexicons are called `{}`", pair[0].name);
        return Err(Error::setting("code_switch.lexicons", found));
    }
    for lexicon in lexicons {
        let mut words = lexicon.as_corpus();
        let resolved = resolve_corpus(&mut words).and_then(|()| match lexicon.format {
            _ if words.languages.len() == 1 => {
                Err("translates between no two languages: `languages` names one".to_owned())
            }
            LexiconFormat::Tsv if !words.is_of_pairs() && words.path.as_deref().is_none_or(language::is_in) => {
                Err(format!(
                    "format `tsv` has its languages in columns: a `path` with `{QUERY_LANG}` and `{PASSAGE_LANG}`, `paths` \
                     of pairs, or one file for all"
                ))
            }
            _ => Ok(()),
        });
        resolved.map_err(|found| Error::setting(lexicon_key(&lexicon.name), found))?;
        (lexicon.languages, lexicon.pairs) = (words.languages, words.pairs);
    }
    Ok(())
}

fn lexicon_key(name: &str) -> String {
    format!("code_switch.lexicons.{name}")
}

/// Ids and pool names are put together with `/` and `:`, so names hold neither.
fn check_name(key: &str, name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
        return Err(Error::setting(
            key,
            format!("`{name}` is not a name of letters, digits, `.`, `_` and `-`"),
        ));
    }
    Ok(())
}

/// Both sides have ids of questions, and one corpus is the one that all others name.
fn check_shared_ids(corpora: &[CorpusSpec]) -> Result<()> {
    for corpus in corpora {
        let Some(name) = &corpus.shares_ids_with else { continue };
        let refuse =
            |found: String| Err(Error::setting(format!("corpora.{}.shares_ids_with", corpus.name), found));
        let Some(other) = corpora.iter().find(|other| other.name == *name) else {
            return refuse(format!("no corpus is called `{name}`"));
        };
        if other.name == corpus.name {
            return refuse("names the corpus itself".to_owned());
        }
        if let Some(first) = &other.shares_ids_with {
            return refuse(format!("`{name}` shares its ids with `{first}`; name that one here, too"));
        }
        if let Some(other) = [corpus, other].into_iter().find(|one| !one.is_parallel()) {
            let found =
                format!("`{}` is not parallel: its ids are no questions in several languages", other.name);
            return refuse(found);
        }
        if let Some(other) = [corpus, other].into_iter().find(|one| !one.has_ids()) {
            return refuse(format!("`{}` has no ids: its records go by their numbers", other.name));
        }
    }
    Ok(())
}

/// A corpus whose own questions are in the dataset would leave itself out.
fn check_excluded(names: &[String], corpora: &[CorpusSpec]) -> Result<()> {
    for name in names {
        let key = "split.exclude_ids_from";
        match corpora.iter().find(|corpus| corpus.name == *name) {
            None => return Err(Error::setting(key, format!("no corpus is called `{name}`"))),
            Some(corpus) if !corpus.ids_only => {
                return Err(Error::setting(key, format!("corpus `{name}` would leave all of itself out"))
                    .with_hint(format!("say `ids_only = true` of `{name}`")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_share(key: &str, share: Ratio) -> Result<()> {
    if Ratio::new(1, 1) < share {
        return Err(Error::setting(key, format!("{share} is not between 0 and 1")));
    }
    Ok(())
}

fn check_length(key: &str, length: Length) -> Result<()> {
    match (length.min, length.max) {
        (Some(min), Some(max)) if max < min => {
            Err(Error::setting(key, format!("min = {min} is above max = {max}")))
        }
        _ => Ok(()),
    }
}

fn check_split(eval: &EvalSplit, corpora: &[CorpusSpec]) -> Result<()> {
    let refuse = |key: &str, found: String| Err(Error::setting(format!("split.eval{key}"), found));
    match (eval.folds, eval.fold) {
        (Some(folds), Some(fold)) => {
            return match (eval.by, folds.get()) {
                (_, 1) => refuse(".folds", "1 would hold everything out".to_owned()),
                (_, n) if n <= fold => {
                    refuse(".fold", format!("{fold} is not one of the folds 0 to {}", n - 1))
                }
                (None, _) => refuse(".by", "is missing: what do `folds` count?".to_owned()),
                _ if eval.fraction.is_some() || eval.ids_from.is_some() => {
                    refuse("", "give one of `fraction`, `folds` and `ids_from`".to_owned())
                }
                _ => Ok(()),
            };
        }
        (None, None) => {}
        _ => return refuse("", "`folds` and `fold` go together".to_owned()),
    }
    match (&eval.by, &eval.fraction, &eval.ids_from) {
        (Some(_), Some(fraction), None) => {
            if *fraction == Ratio::new(0, 1) || Ratio::new(1, 1) <= *fraction {
                let found = format!("{fraction} is not strictly between 0 and 1");
                return Err(Error::setting("split.eval.fraction", found));
            }
            Ok(())
        }
        (None, None, Some(name)) if corpora.iter().any(|corpus| &corpus.name == name) => Ok(()),
        (None, None, Some(name)) => {
            Err(Error::setting("split.eval.ids_from", format!("no corpus is called `{name}`")))
        }
        _ => refuse("", "give `by` and `fraction`, `by`, `folds` and `fold`, or `ids_from`".to_owned()),
    }
}

/// A language tag that could be taken for the name of another source would make a plan ambiguous.
const RESERVED_TAGS: [&str; 3] = ["batches", "x-x", "x-y"];

fn resolve_corpus(corpus: &mut CorpusSpec) -> Result<(), String> {
    check_name("name", &corpus.name)
        .map_err(|_| "the name may hold letters, digits, `.`, `_` and `-`".to_owned())?;
    corpus.languages.sort();
    if corpus.languages.is_empty() {
        return Err("`languages` is empty".to_owned());
    }
    if let Some([tag, ..]) = corpus.languages.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("language `{tag}` is named twice"));
    }
    for tag in &corpus.languages {
        check_tag(tag)?;
    }
    match (&corpus.path, corpus.paths.is_empty()) {
        (Some(_), true) => {}
        (None, false) if corpus.is_of_pairs() => {}
        (None, false) => {
            let given: BTreeSet<_> = corpus.paths.keys().collect();
            let wanted: BTreeSet<_> = corpus.languages.iter().collect();
            if given != wanted {
                return Err("`paths` and `languages` do not name the same languages".to_owned());
            }
        }
        (None, true) if corpus.files.is_some() => {}
        _ => return Err("give either `path` or `paths`".to_owned()),
    }
    let parts = corpus.files.iter().flat_map(Files::paths);
    for path in corpus.path.iter().chain(corpus.paths.values()).chain(parts) {
        check_path(path)?;
    }
    corpus.pairs.sort();
    check_pairs(corpus)?;
    let language_column = corpus.columns.as_ref().is_some_and(|columns| columns.query_lang.is_some());
    let records_name_languages = language_column
        || matches!(corpus.format, Format::Bitext | Format::Captions | Format::Mkqa | Format::Tydiqa);
    if let Some(path) = &corpus.path
        && 1 < corpus.languages.len()
        && !language::is_in(path)
        && !corpus.is_of_pairs()
        && !records_name_languages
    {
        return Err(format!(
            "path `{path}` has no `{{lang}}`, but there are {} languages",
            corpus.languages.len()
        ));
    }
    let only = |set: bool, key: &str, format: Format, name: &str| {
        (set && corpus.format != format).then(|| format!("`{key}` goes with format `{name}` only"))
    };
    let misplaced = only(corpus.columns.is_some(), "columns", Format::Table, "table")
        .or_else(|| only(corpus.synth.is_some(), "synth", Format::Synth, "synth"))
        .or_else(|| only(corpus.qrels.is_some(), "qrels", Format::Beir, "beir"))
        .or_else(|| only(corpus.files.is_some(), "files", Format::Collection, "collection"))
        .or_else(|| {
            let of = if corpus.format == Format::Afriqa { Format::Afriqa } else { Format::Squad };
            only(corpus.unit == Unit::Question, "unit = \"question\"", of, "squad` or `afriqa")
        });
    if let Some(found) = misplaced {
        return Err(found);
    }
    check_format(corpus)
}

/// What each format needs besides.
fn check_format(corpus: &CorpusSpec) -> Result<(), String> {
    match corpus.format {
        Format::Table if corpus.columns.is_none() => Err("format `table` needs `columns`".to_owned()),
        Format::Collection => match &corpus.files {
            None => Err("format `collection` needs `files` with `corpus`, `queries` and `qrels`".to_owned()),
            Some(_) if corpus.path.is_some() || !corpus.paths.is_empty() => {
                Err("`files` stands instead of `path` and `paths`".to_owned())
            }
            Some(files) if files.qrels.is_none() && files.triples.is_none() => {
                Err("`files` has neither `qrels` nor `triples`".to_owned())
            }
            Some(files) if 1 < corpus.languages.len() && !language::is_in(&files.corpus) => {
                Err(format!("`files.corpus` `{}` has no `{{lang}}`", files.corpus))
            }
            Some(_) => Ok(()),
        },
        Format::Captions if corpus.path.as_deref().is_none_or(language::is_in) => {
            Err("format `captions` has all languages in each record: one `path`, without `{lang}`".to_owned())
        }
        Format::Beir if corpus.is_remote() => Err(
            "format `beir` reads a folder, and a URL names a file: `collection` takes its parts by `files`"
                .to_owned(),
        ),
        Format::Afriqa if !corpus.is_of_pairs() => Err(format!(
            "format `afriqa` needs a path with `{QUERY_LANG}` and `{PASSAGE_LANG}`, or `paths` of pairs such as `\"sw:en\"`"
        )),
        Format::Synth => match corpus.synth {
            None => Err("format `synth` needs `synth = { groups = N }`".to_owned()),
            Some(synth) if synth.languages.is_some_and(|n| (n.get() as usize) < corpus.languages.len()) => {
                Err(format!(
                    "`synth.languages` is fewer than the {} languages that are there",
                    corpus.languages.len()
                ))
            }
            Some(synth) => {
                let languages = synth.languages.map_or(corpus.languages.len() as u64, |n| n.get().into());
                match synth.groups.get().checked_mul(languages) {
                    Some(n) if u32::try_from(n).is_ok() => Ok(()),
                    _ => Err("`synth` would make more than 2^32 questions".to_owned()),
                }
            }
        },
        _ => Ok(()),
    }
}

fn check_pairs(corpus: &CorpusSpec) -> Result<(), String> {
    if !corpus.is_of_pairs() {
        return match corpus.pairs.is_empty() {
            true => Ok(()),
            false => Err(format!("`pairs` needs a path with `{QUERY_LANG}` and `{PASSAGE_LANG}`")),
        };
    }
    if let Some(path) = &corpus.path
        && (!path.contains(QUERY_LANG) || !path.contains(PASSAGE_LANG) || language::is_in(path))
    {
        return Err(format!("path `{path}` needs `{QUERY_LANG}` and `{PASSAGE_LANG}`, and no `{{lang}}`"));
    }
    if corpus.path.is_none() && !corpus.pairs.is_empty() {
        return Err("`pairs` goes with `path`: the keys of `paths` are pairs themselves".to_owned());
    }
    if !matches!(corpus.format, Format::Squad | Format::Table | Format::Afriqa | Format::Bitext) {
        return Err("its files are of pairs of languages, which this format does not have".to_owned());
    }
    if let Some([pair, ..]) = corpus.pairs.windows(2).find(|two| two[0] == two[1]) {
        return Err(format!("pair `{pair}` is named twice"));
    }
    let is_listed = |lang: &str| corpus.languages.iter().any(|tag| tag == lang);
    for pair in corpus.pairs.iter().chain(corpus.paths.keys()) {
        match pair.split_once(':') {
            Some((query, passage)) if is_listed(query) && is_listed(passage) => {}
            _ => return Err(format!("pair `{pair}` is not `q:p` with both among `languages`")),
        }
    }
    let used: BTreeSet<&str> = corpus.language_pairs().into_iter().flat_map(|(q, p)| [q, p]).collect();
    match corpus.languages.iter().find(|lang| !used.contains(lang.as_str())) {
        Some(lang) => Err(format!("language `{lang}` is in none of `pairs`")),
        None => Ok(()),
    }
}

/// Only sources are fetched.
fn check_local(path: &str) -> Result<(), String> {
    match remote::is_remote(path) {
        true => Err(format!("`{path}` is a URL: fetch it, and give its path below the data folder")),
        false => check_path(path),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    if remote::is_remote(path) {
        return remote::check(path);
    }
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if Path::new(path).components().all(inside) {
        return Ok(());
    }
    Err(format!("path `{path}` leads out of the data folder; paths are relative to `--data`"))
}

/// Well-formed, and not reserved.
fn check_tag(tag: &str) -> Result<(), String> {
    if !language::is_tag(tag) {
        return Err(format!("`{tag}` is not a language tag such as `de` or `zh-Hant`"));
    }
    if RESERVED_TAGS.contains(&tag) {
        return Err(format!("language tag `{tag}` is the name of a source of batches"));
    }
    Ok(())
}
