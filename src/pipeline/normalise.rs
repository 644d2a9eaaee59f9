//! Languages as people write them (`zh_cn`, `cmn`, `thai`) become tags of BCP 47, wherever a pipeline names them.
//!
//! Equal languages of two corpora meet in one tag. A path keeps what was written: the files of `languages = ["zh_cn"]`
//! are called `zh_cn`, and their ids say `zh-CN`.

use std::collections::{BTreeMap, BTreeSet};

use super::language::{self, LANG, normalised};
use super::{CorpusSpec, Files, PASSAGE_LANG, Pipeline, QUERY_LANG, Weighting};
use crate::error::{Error, Result};

/// # Errors
/// [`Error::Setting`] for what is no language, with the one that was probably meant.
pub(super) fn normalise(pipeline: &mut Pipeline) -> Result<()> {
    for corpus in &mut pipeline.corpora {
        of_corpus(corpus).map_err(|found| Error::setting(format!("corpora.{}", corpus.name), found))?;
    }
    for lexicon in pipeline.code_switch.iter_mut().flat_map(|code_switch| &mut code_switch.lexicons) {
        let mut words = lexicon.as_corpus();
        of_corpus(&mut words)
            .map_err(|found| Error::setting(format!("code_switch.lexicons.{}", lexicon.name), found))?;
        CorpusSpec {
            path: lexicon.path,
            paths: lexicon.paths,
            pairs: lexicon.pairs,
            languages: lexicon.languages,
            ..
        } = words;
    }
    check_lexicons(pipeline)?;
    for tag in pipeline.filters.languages.iter_mut().flatten() {
        *tag = normalised(tag).map_err(|found| Error::setting("filters.languages", found))?;
    }
    if let Weighting::Explicit(weights) = &mut pipeline.batches.language_weights {
        let named = std::mem::take(weights).into_iter();
        // What is no language here is no source either, and whoever looks for it knows which there are.
        for (name, weight) in named {
            let tag = of_key(&name).unwrap_or(name);
            if weights.insert(tag.clone(), weight).is_some() {
                return Err(Error::setting(
                    "batches.language_weights",
                    format!("two weights are of `{tag}`"),
                ));
            }
        }
    }
    Ok(())
}

/// Words and texts meet by their tags: a lexicon of `zh` has no word for texts in `zh-CN`, and whoever wrote it meant it to.
fn check_lexicons(pipeline: &Pipeline) -> Result<()> {
    let Some(code_switch) = &pipeline.code_switch else { return Ok(()) };
    let of_texts: BTreeSet<&String> = pipeline.corpora.iter().flat_map(|corpus| &corpus.languages).collect();
    let of_words: BTreeSet<&String> =
        code_switch.lexicons.iter().flat_map(|lexicon| &lexicon.languages).collect();
    let primary = |tag: &String| tag.split('-').next().map(str::to_owned);
    for lexicon in &code_switch.lexicons {
        for words in lexicon.languages.iter().filter(|tag| !of_texts.contains(tag)) {
            let is_meant = |tag: &&&String| !of_words.contains(**tag) && primary(tag) == primary(words);
            let Some(texts) = of_texts.iter().find(is_meant) else { continue };
            let found =
                format!("`{words}` is no language of the corpora, whose texts in `{texts}` get no words");
            return Err(Error::setting(format!("code_switch.lexicons.{}", lexicon.name), found)
                .with_hint(format!("call it `{texts}`, too, and give its file in `paths`")));
        }
    }
    Ok(())
}

fn of_corpus(corpus: &mut CorpusSpec) -> Result<(), String> {
    let written = std::mem::take(&mut corpus.languages);
    corpus.languages = written.iter().map(|name| normalised(name)).collect::<Result<_, _>>()?;
    corpus.pairs = corpus.pairs.iter().map(|pair| of_key(pair)).collect::<Result<_, _>>()?;
    let n_paths = corpus.paths.len();
    let paths = std::mem::take(&mut corpus.paths).into_iter();
    corpus.paths = paths.map(|(key, path)| Ok((of_key(&key)?, path))).collect::<Result<_, String>>()?;
    if corpus.paths.len() != n_paths {
        return Err("two of `paths` are of the same language".to_owned());
    }
    let names: BTreeMap<&str, &str> =
        corpus.languages.iter().map(String::as_str).zip(written.iter().map(String::as_str)).collect();
    if names.len() != written.len() || names.iter().all(|(tag, name)| tag == name) {
        return Ok(());
    }
    let is_by_tag = |path: &&String| path.contains(LANG);
    if let Some(path) = corpus.files.iter().flat_map(Files::paths).find(is_by_tag) {
        return Err(format!(
            "`files` has `{path}`, and {} would be called otherwise: write tags of BCP 47, and rename the files",
            names
                .iter()
                .filter(|(tag, name)| tag != name)
                .map(|(tag, _)| format!("`{tag}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    let Some(path) = corpus.path.clone() else { return Ok(()) };
    if corpus.is_of_pairs() {
        if !path.contains(QUERY_LANG) || !path.contains(PASSAGE_LANG) || language::is_in(&path) {
            // The checks of paths refuse it.
            return Ok(());
        }
        let pairs = corpus.language_pairs();
        if pairs.iter().any(|(query, passage)| !names.contains_key(query) || !names.contains_key(passage)) {
            // Of a language that is not listed, which the checks of pairs refuse.
            return Ok(());
        }
        let of_pair = |(query, passage): (&str, &str)| {
            let path = path.replace(QUERY_LANG, names[query]).replace(PASSAGE_LANG, names[passage]);
            (format!("{query}:{passage}"), path)
        };
        corpus.paths = pairs.into_iter().map(of_pair).collect();
        (corpus.path, corpus.pairs) = (None, Vec::new());
    } else if path.contains(LANG) {
        let of_language =
            |(tag, name): (&&str, &&str)| ((*tag).to_owned(), language::fill(&path.replace(LANG, name), tag));
        corpus.paths = names.iter().map(of_language).collect();
        corpus.path = None;
    }
    Ok(())
}

/// A language, or a pair of two.
fn of_key(key: &str) -> Result<String, String> {
    match key.split_once(':') {
        None => normalised(key),
        Some((query, passage)) => Ok(format!("{}:{}", normalised(query)?, normalised(passage)?)),
    }
}
