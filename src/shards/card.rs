//! The dataset card: a README.md that says what a dataset is, where it comes from and how to make it again, with the
//! head in YAML by which Hugging Face `datasets` finds the files. A build writes one, and so does an export of some steps.
//!
//! Names and texts of the manifest are free: what would be markup, or the end of something, is escaped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

use serde_json::Value;

use super::manifest::Manifest;
use super::switch::LanguageSwitches;
use crate::pipeline::NegativeSource;
use crate::plan::Plan;
use crate::schema::Table;

/// Licences by the names that the hub knows; others are `other` there.
const KNOWN_LICENCES: [&str; 16] = [
    "apache-2.0",
    "bsd-3-clause",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "mit",
    "odc-by",
    "pddl",
    "unknown",
];

/// The card of a folder with these steps in `train/` and the eval part in `eval/`.
pub(crate) fn card(manifest: &Manifest, plan: &Plan, batches: Table, steps: &Range<u64>) -> String {
    let corpora = corpora(&manifest.pipeline);
    [
        head(manifest, &corpora, steps),
        about(manifest, plan, steps),
        sources(&corpora),
        columns(batches),
        remaking(manifest),
    ]
    .join("\n")
}

fn about(manifest: &Manifest, plan: &Plan, steps: &Range<u64>) -> String {
    let held_out = match manifest.eval_is_trained_on {
        true => "Nothing is held out: the questions and passages of `eval/` are those of the batches.",
        false => "The questions of `eval/` are held out: they stand in no batch.",
    };
    let switched = match &manifest.code_switch {
        Some(switches) => {
            let sum = |of: fn(&LanguageSwitches) -> u64| switches.values().map(of).sum::<u64>();
            let (drawn, switched) = (sum(|counts| counts.drawn), sum(|counts| counts.switched));
            let there = sum(|counts| counts.in_switched_batches);
            format!(
                "\nWords are replaced by translations: of {drawn} words in all batches {switched} are, all of them among the\n\
                 {there} of the batches that are switched at all. `query_original`, `positive_original` and\n\
                 `negatives_original` hold what stood there."
            )
        }
        None => String::new(),
    };
    let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    format!(
        "# {name}\n\n\
         Batches for contrastive training of multilingual retrieval, made by `prep`: {n_steps} of {batch_size} rows\n\
         that follow one another, steps {first} to {last} of the plan. Keep their order, and do not shuffle: which rows\n\
         meet in a batch is what was planned. Passage j is no negative of query i when `group_id` of i is among\n\
         `positive_group_ids` of j (of a hard negative: among its list in `negative_group_ids`): mask the pair.\n\
         {held_out}\n{switched}\n\
         | | |\n| --- | --- |\n\
         | dataset id | `{dataset_id}` |\n\
         | plan digest | `{plan_digest}` |\n\
         | questions | {queries} |\n\
         | passages | {passages} |\n\
         | hard negatives of a row | up to {negatives}{mined} |\n\
         | made with | prep {version} |\n",
        name = markdown(manifest.pipeline["name"].as_str().unwrap_or("dataset")),
        n_steps = steps.end - steps.start,
        batch_size = plan.batch_size(),
        first = steps.start,
        last = steps.end - 1,
        dataset_id = manifest.dataset_id,
        plan_digest = manifest.plan_digest,
        queries = total(&manifest.counts.queries),
        passages = total(&manifest.counts.passages),
        negatives = plan.hard_negatives().k,
        mined =
            if plan.hard_negatives().candidates() == Some(NegativeSource::Mined) { ", mined" } else { "" },
        version = markdown(&manifest.prep_version),
    )
}

fn sources(corpora: &[Corpus]) -> String {
    let mut text = "## Sources\n\n| corpus | languages | source | licence | citation |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    for corpus in corpora {
        let stated = |text: Option<&str>| text.map_or_else(|| "not stated".to_owned(), markdown);
        text.push_str(&format!(
            "| {}{} | {} | {} | {} | {} |\n",
            markdown(corpus.name),
            if corpus.is_lexicon { " (lexicon)" } else { "" },
            markdown(&corpus.languages.join(", ")),
            stated(corpus.source),
            stated(corpus.licence),
            stated(corpus.citation),
        ));
    }
    text
}

fn columns(batches: Table) -> String {
    let mut text = "## Columns of a batch\n\n| column | |\n| --- | --- |\n".to_owned();
    for column in batches.columns() {
        text.push_str(&format!("| `{}` | {} |\n", column.name, markdown(column.doc)));
    }
    text
}

fn remaking(manifest: &Manifest) -> String {
    format!(
        "## Making it again\n\n\
         With the sources below `DATA` and this pipeline as `pipeline.toml`:\n\n{command}\n\
         The dataset id is the same on any machine; `prep verify` derives every batch again and compares.\n\n{pipeline}",
        command = fenced("sh", &command(manifest)),
        pipeline = fenced("toml", &pipeline(manifest)),
    )
}

/// A corpus or a lexicon of a pipeline, as far as a card or a citation says something of it.
pub(crate) struct Corpus<'a> {
    pub(crate) name: &'a str,
    /// Of its texts only words stand in the batches.
    is_lexicon: bool,
    languages: Vec<&'a str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) licence: Option<&'a str>,
    pub(crate) citation: Option<&'a str>,
    /// All that the pipeline says of it.
    pub(crate) spec: &'a Value,
}

/// Those whose texts are in the dataset: corpora, then lexicons.
pub(crate) fn corpora(pipeline: &Value) -> Vec<Corpus<'_>> {
    let corpora = pipeline["corpora"].as_array().into_iter().flatten();
    let with_texts = corpora.filter(|corpus| corpus["ids_only"] != true).map(|corpus| (corpus, false));
    let lexicons = pipeline["code_switch"]["lexicons"].as_array().into_iter().flatten();
    let lexicons = lexicons.map(|lexicon| (lexicon, true));
    let described = with_texts.chain(lexicons).map(|(corpus, is_lexicon)| Corpus {
        name: corpus["name"].as_str().unwrap_or_default(),
        is_lexicon,
        languages: corpus["languages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
        source: corpus["source"].as_str(),
        licence: corpus["licence"].as_str(),
        citation: corpus["citation"].as_str(),
        spec: corpus,
    });
    described.collect()
}

/// The YAML.
fn head(manifest: &Manifest, corpora: &[Corpus], steps: &Range<u64>) -> String {
    // The hub knows languages by their first part, which is all of most tags.
    let languages = manifest.counts.queries.keys().chain(manifest.counts.passages.keys());
    let languages = languages.map(|tag| tag.split('-').next().unwrap_or_default().to_ascii_lowercase());
    let languages: BTreeSet<String> = languages.filter(|part| matches!(part.len(), 2 | 3)).collect();
    let licences: BTreeSet<String> = corpora.iter().map(|corpus| licence(corpus.licence)).collect();
    let mut head = "---\n".to_owned();
    let mut list = |key: &str, items: &BTreeSet<String>| {
        if !items.is_empty() {
            head.push_str(&format!("{key}:\n"));
            items.iter().for_each(|item| head.push_str(&format!("- {}\n", yaml(item))));
        }
    };
    list("language", &languages);
    list("license", &licences);
    list("task_categories", &["text-retrieval".to_owned()].into());
    list("source_datasets", &corpora.iter().map(|corpus| corpus.name.to_owned()).collect());
    // `datasets` knows what it has in its cache by the name of the folder and by its configs, and not by what the files
    // hold: without a description of its own, a folder would be taken for another one of its name.
    let mut content = format!("dataset {}, steps {}..{}", manifest.dataset_id, steps.start, steps.end);
    if let Some(tokenizer) = &manifest.tokenizer {
        content.push_str(&format!(", tokenizer {}", tokenizer.digest));
    }
    head.push_str("configs:\n");
    let mut config = |name: &str, split: &str, files: &str| {
        let default = if split == "train" { "  default: true\n" } else { "" };
        head.push_str(&format!(
            "- config_name: {name}\n{default}  description: {}\n  data_files:\n  - split: {split}\n    path: {files}\n",
            yaml(&content),
        ));
    };
    config("batches", "train", "train/batches-*.parquet");
    for table in Table::CORPUS {
        config(table.name(), "eval", &format!("eval/{}-*.parquet", table.name()));
    }
    head.push_str("---\n");
    head
}

fn licence(stated: Option<&str>) -> String {
    let name = stated.map_or_else(|| "unknown".to_owned(), str::to_ascii_lowercase);
    if KNOWN_LICENCES.contains(&name.as_str()) { name } else { "other".to_owned() }
}

/// What builds the dataset anew, of the pipeline without its seed.
fn command(manifest: &Manifest) -> String {
    let seed = &manifest.pipeline["seed"];
    let mut command = format!("prep build-shards pipeline.toml --data DATA --seed {seed}");
    // A tokenizer that the pipeline does not name came from the command line.
    if let (Some(tokenizer), Value::Null) = (&manifest.tokenizer, &manifest.pipeline["tokenizer"]) {
        command.push_str(&format!(" --tokenizer {}", shell(&tokenizer.name)));
    }
    command
}

/// The pipeline as TOML. Its seed may be greater than the integers of TOML and stands in the command.
fn pipeline(manifest: &Manifest) -> String {
    let mut pipeline = manifest.pipeline.clone();
    if let Some(keys) = pipeline.as_object_mut() {
        keys.remove("seed");
    }
    toml::to_string(&pipeline).unwrap_or_else(|e| format!("# no pipeline of TOML: {e}\n"))
}

/// A word of a command line.
fn shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    match !word.is_empty() && !word.starts_with('-') && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A block of code that nothing in it can end.
fn fenced(language: &str, code: &str) -> String {
    let mut fence = "```".to_owned();
    while code.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}{language}\n{}\n{fence}\n", code.trim_end())
}

/// Running text in a line, or in a cell of a table.
fn markdown(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            c if c.is_control() => escaped.push(' '),
            // Every ASCII punctuation character may be escaped; these are those that mean something within a line.
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '|' | '~' | '#' | '!' | '$' => {
                escaped.extend(['\\', c]);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// A text in double quotes, which is never taken for a number, a truth value or the start of something.
pub(super) fn yaml(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c => write!(quoted, "\\U{:08x}", u32::from(c)).expect("a string takes all"),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(markdown("a|b <i> [x](y)\n*"), r"a\|b \<i\> \[x\](y) \*");
        assert_eq!(yaml("no"), "\"no\"");
        assert_eq!(yaml("a\"\\\nü\u{202e}"), "\"a\\\"\\\\\\U0000000a\\U000000fc\\U0000202e\"");
        assert_eq!(fenced("toml", "a = '```'\n"), "````toml\na = '```'\n````\n");
        assert_eq!([shell("t.json"), shell("a b'c"), shell("-x")], ["t.json", r"'a b'\''c'", "'-x'"]);
    }

    #[test]
    fn licences_are_those_of_the_hub_or_other() {
        assert_eq!([Some("CC0-1.0"), Some("mine"), None].map(licence), ["cc0-1.0", "other", "unknown"]);
    }
}
