//! The pipelines that ship: each runs as it is, over real files or over small ones that lie as its head says, its head says what
//! its keys say, and `schemas/CORPORA.md` says what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use prep::corpus::{ListedCorpus, ListedPipeline, Presence, list};
use serde_json::{Value, json};

use crate::built::manifest;
use crate::pipeline_fixtures::FIXTURES;
use crate::util::{Folder, parquet, real_corpora, repository, tally};

/// Pipelines whose files are at hand (those of the demo in the repository), and the test that looks closer.
const REAL: [(&str, &str); 16] = [
    ("afriqa", "afriqa_has_the_counts_of_its_files"),
    ("arcd", SQUADS),
    ("cmrc", SQUADS),
    ("demo", "the_demo_corpus_is_parallel_and_whole"),
    ("drcd", SQUADS),
    ("jaquad", "jaquad_in_several_files_is_one_corpus"),
    ("mixed", "no_title_straddles_the_split_of_the_mixed_pipeline"),
    ("mkqa", "mkqa_of_mia_has_its_published_size"),
    ("mkqa-tiny", "the_six_records_of_mkqa_give_a_group_each_in_26_languages"),
    ("panlex", "panlex_has_the_words_of_its_lists"),
    ("squad-es-it", "no_question_of_xquad_is_trained_on_in_translation"),
    ("synsets", "omw_wikt_has_the_pairs_that_its_description_counts"),
    ("tydiqa-tiny", "the_tiny_sample_of_tydi_has_its_candidates"),
    ("xquad-r", "xquad_r_has_its_published_size"),
    ("xquad-r-code-switch", "real_lexicons_switch_real_questions"),
    ("xquad-r-split", "pipelines_that_ship_hold_out_what_is_not_trained_on"),
];
const SQUADS: &str = "chinese_and_arabic_corpora_lose_only_questions_without_a_good_answer";
const RUN_ON_FIXTURES: &str = "pipelines_run_as_they_are_over_files_that_lie_as_their_heads_say";

fn pipelines() -> PathBuf {
    repository().join("pipelines")
}

fn listed(data: &Path) -> BTreeMap<String, ListedPipeline> {
    let listed = list(&pipelines(), data).unwrap();
    listed.into_iter().map(|pipeline| (pipeline.name.clone(), pipeline)).collect()
}

/// Builds `d` from a pipeline as it is, but for a few small batches: a fixture has not the rows of a large one.
fn build(folder: &Folder, name: &str, data: &Path) {
    let file = pipelines().join(format!("{name}.toml"));
    let [file, data] = [file.as_path(), data].map(|path| path.to_str().unwrap());
    let build = ["build-shards", file, "--data", data, "--out", "d", "-q"];
    let small = ["--set", "batches.steps=2", "--set", "batches.batch_size=1"];
    folder.prep_args(&[&build[..], &small[..]].concat()).done();
}

#[test]
fn every_pipeline_runs_over_files() {
    let tried = REAL.iter().map(|(name, _)| *name).chain(FIXTURES.iter().map(|fixture| fixture.pipeline));
    let tried: BTreeSet<&str> = tried.collect();
    let listed = listed(&repository().join("data"));
    assert_eq!(tried.into_iter().collect::<Vec<_>>(), listed.keys().collect::<Vec<_>>());
}

#[test]
fn pipelines_run_as_they_are_over_files_that_lie_as_their_heads_say() {
    for fixture in &FIXTURES {
        let (name, folder) = (fixture.pipeline, Folder::new());
        fs::create_dir(folder.path("data")).unwrap();
        let data = folder.path("data");
        let present =
            |of: &ListedPipeline| of.corpora.iter().map(|corpus| corpus.present).collect::<Vec<_>>();
        assert!(present(&listed(&data)[name]).iter().all(|present| *present == Presence::None), "{name}");
        (fixture.write)(&folder);
        let corpora = &listed(&data)[name].corpora;
        let missing: Vec<&String> = corpora.iter().flat_map(|corpus| &corpus.missing).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");

        build(&folder, name, &data);
        folder.prep("verify d -q").done();
        let manifest = manifest(&folder);
        let sum = |of: &Value| of.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
        let counts = &manifest["counts"];
        let found = [
            sum(&counts["queries"]),
            sum(&counts["passages"]),
            counts["pools"].as_object().unwrap().len() as u64,
        ];
        assert_eq!(found, [fixture.questions, fixture.passages, fixture.pools as u64], "{name}: {counts}");
        let rejects: BTreeMap<&str, u64> = fixture.rejects.iter().copied().collect();
        assert_eq!(manifest["rejects"], json!(rejects), "{name}");
        let languages: BTreeSet<&String> = corpora.iter().flat_map(|corpus| &corpus.languages).collect();
        let asked: BTreeSet<&String> = counts["queries"].as_object().unwrap().keys().collect();
        assert_eq!(asked, languages, "{name}");
    }
}

// Heads.

/// What the comment at the top says behind `# NAME:`, and in the lines that are indented below it.
fn in_head(text: &str, name: &str) -> Option<String> {
    let head = text.lines().take_while(|line| line.starts_with('#')).map(|line| &line[1..]);
    let mut lines = head.skip_while(|line| !line.trim_start().starts_with(&format!("{name}:")));
    let first = lines.next()?.split_once(':')?.1.trim().to_owned();
    let rest = lines.take_while(|line| line.starts_with("      ")).map(str::trim);
    Some(std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join(" "))
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[test]
fn every_head_says_what_its_keys_say() {
    for (name, pipeline) in listed(&repository().join("data")) {
        let text = fs::read_to_string(&pipeline.file).unwrap();
        let [source, licence, citation, languages] = ["Source", "Licence", "Citation", "Languages"]
            .map(|field| in_head(&text, field).unwrap_or_else(|| panic!("{name}: no `{field}` in its head")));
        assert!(!source.is_empty() && !citation.is_empty(), "{name}");
        let said: BTreeSet<&str> =
            languages.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        for ListedCorpus { name: corpus, languages, source, licence: key, .. } in &pipeline.corpora {
            let key = key.as_deref().unwrap_or_else(|| panic!("{name}: no `licence` of {corpus}"));
            assert!(source.is_some(), "{name}: no `source` of {corpus}");
            // `CC-BY-SA-4.0` is `CC BY-SA 4.0` in the head.
            let main = key.split(';').next().unwrap();
            assert!(
                letters(&licence).contains(&letters(main)),
                "{name}: `{key}` of {corpus}, not in `{licence}`"
            );
            for lang in languages {
                assert!(said.contains(lang.as_str()), "{name}: `{lang}` of {corpus} is not in its head");
            }
        }
        // Which the listing leaves out: only the demo has nobody to cite.
        let cited = text.matches("\ncitation = ").count();
        assert_eq!(cited, if name == "demo" { 0 } else { pipeline.corpora.len() }, "{name}");
    }
}

// `prep corpora`.

#[test]
fn corpora_are_listed_with_what_is_there_and_what_is_missing() {
    let folder = Folder::new();
    let corpus =
        |name: &str, more: &str| format!("[[corpora]]\nname = {name:?}\nlicence = \"CC0-1.0\"\n{more}\n");
    let parallel =
        corpus("words", "format = \"squad\"\npath = \"w/{lang}.json\"\nlanguages = [\"fi\", \"de\"]");
    let retrieval = corpus("beir", "format = \"beir\"\npath = \"b\"\nqrels = \"dev\"\nlanguages = [\"en\"]");
    let packed = corpus("zip", "format = \"mkqa\"\npath = \"z.zip/in/*.jsonl\"\nlanguages = [\"en\"]");
    folder.write("p/two.toml", format!("name = \"two\"\n{retrieval}{parallel}"));
    folder.write("p/one.toml", format!("name = \"one\"\n{packed}"));
    folder.write("p/train.toml", "seed = 1\n");
    folder.write("p/deeper/three.toml", "no pipeline");
    folder.write("data/w/fi.json", "");
    folder.write("data/b/corpus.jsonl.gz", "");
    folder.write("data/b/qrels/test.tsv", "");
    folder.write("data/z.zip", crate::symmetric::zipped(&[("in/a.jsonl", b""), ("b.jsonl", b"")]));

    let found = folder.prep("corpora p --data data --json").done().json();
    let row = |name: &str, format: &str, languages: &[&str], present: &str, paths: u64, missing: &[&str]| {
        json!({"name": name, "format": format, "languages": languages, "source": null, "licence": "CC0-1.0",
               "present": present, "paths": paths, "missing": missing})
    };
    let beir = row("beir", "beir", &["en"], "some", 3, &["b/queries.jsonl*", "b/qrels/dev.tsv"]);
    let words = row("words", "squad", &["de", "fi"], "some", 2, &["w/de.json"]);
    let zip = row("zip", "mkqa", &["en"], "all", 1, &[]);
    let expected = json!([
        {"file": "p/one.toml", "name": "one", "corpora": [zip]},
        {"file": "p/two.toml", "name": "two", "corpora": [beir, words]},
    ]);
    assert_eq!(found, expected);
    assert_eq!(
        folder.prep("corpora p --data data").done().stdout,
        concat!(
            "  pipeline  corpus  files   format  languages  licence\n",
            "  one       zip     all     mkqa    en         CC0-1.0\n",
            "  two       beir    1 of 3  beir    en         CC0-1.0\n",
            "  two       words   1 of 2  squad   de fi      CC0-1.0\n",
            "\nmissing\n",
            "  two, beir: b/queries.jsonl* and 1 more\n",
            "  two, words: w/de.json\n",
            "\npipelines with all their files: 1 of 2\n",
        )
    );
    // One pipeline, and no data at all.
    let found = folder.prep("corpora p/one.toml --data nowhere --json").done().json();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["corpora"][0]["present"]), (1, &json!("none")));
    folder.prep("corpora nowhere").failed_with(&["cannot read pipeline `nowhere`"]);
    // Lexicons are files that a pipeline needs, too.
    let lexicon = "[code_switch]\nkind = \"bilingual\"\nprobability = 1\n[[code_switch.lexicons]]\nname = \"swaps\"\n\
                   format = \"tsv\"\npath = \"swaps.tsv\"\nlanguages = [\"de\", \"en\"]\nlicence = \"CC0-1.0\"\n";
    folder.write("q/switch.toml", format!("name = \"switch\"\n{packed}{lexicon}"));
    let found = folder.prep("corpora q --data data --json").done().json();
    let swaps = row("swaps", "bitext", &["de", "en"], "none", 1, &["swaps.tsv"]);
    assert_eq!(found[0]["corpora"], json!([row("zip", "mkqa", &["en"], "all", 1, &[]), swaps]));
    let told = folder.prep("corpora q --data data").done().stdout;
    assert!(told.ends_with("pipelines with all their files: 0 of 1\n"), "{told}");
    folder.write("p/bad.toml", "name = \"bad\"\ncorpora = 3\n");
    folder.prep("corpora p").failed_with(&["p/bad.toml"]);
}

// The page.

/// Questions and passages of each corpus of a built dataset, as the page has them.
fn counts(folder: &Folder) -> BTreeMap<String, String> {
    let tallied = |table: &str| {
        let mut counts = BTreeMap::new();
        for entry in fs::read_dir(folder.path("d/corpus")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(table) {
                for (dataset, n) in tally(&parquet(&path), "dataset") {
                    *counts.entry(dataset).or_default() += n;
                }
            }
        }
        counts
    };
    let (queries, passages) = (tallied("queries"), tallied("passages"));
    let text = |dataset: &String, n: u64| {
        let passages = prep::number::count(passages[dataset]);
        format!("{} questions, {passages} passages", prep::number::count(n))
    };
    queries.iter().map(|(dataset, n)| (dataset.clone(), text(dataset, *n))).collect()
}

const FIXTURE_ONLY: &str = "fixture only";
const IDS_ONLY: &str = "ids alone";
const LEXICON: &str = "words to switch";

/// After a change of a pipeline or of its counts, with the real corpora at hand:
/// `PREP_KEEP_CORPORA=1 cargo test --test it -- the_page_of_corpora`.
#[test]
fn the_page_of_corpora_is_what_pipelines_and_runs_say() {
    let path = repository().join("schemas/CORPORA.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- corpora -->\n").unwrap();
    let (kept, after) = rest.split_once("<!-- end of corpora -->").unwrap();
    let seen_before = |name: &str, corpus: &str| {
        let start = format!("| {corpus} | [{name}]");
        let line = kept.lines().find(|line| line.starts_with(&start));
        line.map_or(String::new(), |line| line.split(" | ").nth(4).unwrap().to_owned())
    };
    let data = real_corpora("the_page_of_corpora_is_what_pipelines_and_runs_say");
    let mut table = "| corpus | pipeline | format | languages | seen here | licence | test |\n\
                     | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for (name, pipeline) in listed(&repository().join("data")) {
        let real = REAL.iter().find(|(real, _)| *real == name);
        let data = if name == "demo" { Some(repository().join("data")) } else { data.clone() };
        let counts = real.and(data).map(|data| {
            let folder = Folder::new();
            build(&folder, &name, &data);
            counts(&folder)
        });
        for corpus in &pipeline.corpora {
            let seen = match (real, &counts) {
                (None, _) => FIXTURE_ONLY.to_owned(),
                (Some(_), Some(counts)) => counts.get(&corpus.name).cloned().unwrap_or_else(|| {
                    let lexicon = format!("[[code_switch.lexicons]]\nname = \"{}\"\n", corpus.name);
                    let text = fs::read_to_string(&pipeline.file).unwrap();
                    if text.contains(&lexicon) { LEXICON } else { IDS_ONLY }.to_owned()
                }),
                (Some(_), None) => seen_before(&name, &corpus.name),
            };
            table.push_str(&format!(
                "| {} | [{name}](../pipelines/{name}.toml) | `{}` | {} | {seen} | {} | `{}` |\n",
                corpus.name,
                corpus.format,
                corpus.languages.join(" "),
                corpus.licence.as_deref().unwrap(),
                real.map_or(RUN_ON_FIXTURES, |(_, test)| test),
            ));
        }
    }
    if std::env::var_os("PREP_KEEP_CORPORA").is_some() {
        let page = format!("{before}<!-- corpora -->\n{table}<!-- end of corpora -->{after}");
        return fs::write(path, page).unwrap();
    }
    assert_eq!(kept, table);
}

#[test]
fn every_test_that_the_page_of_corpora_names_is_there() {
    let folder = repository().join("tests/it");
    let sources = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: String = sources
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for test in REAL.iter().map(|(_, test)| *test).chain([RUN_ON_FIXTURES]) {
        assert!(sources.contains(&format!("#[test]\nfn {test}()")), "no test `{test}`");
    }
}
