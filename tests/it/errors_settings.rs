//! What is wrong in a pipeline or on the command line is named before a source is read.

use crate::errors::{BUILD, good, names, refused, with_line_ten};
use crate::util::pipeline;

// Settings.

#[test]
fn a_missing_pipeline_is_named() {
    let folder = good();
    refused(
        &folder,
        "build-shards other.toml --data data --out d",
        &["cannot read pipeline `other.toml`", "caused by: No such file"],
    );
    folder.write("p.toml", b"name = \"\xff\"");
    refused(&folder, BUILD, &["cannot read `p.toml`: invalid UTF-8 at byte 8"]);
}

#[test]
fn an_unknown_key_is_named_with_line_and_column() {
    let ran = refused(&with_line_ten("  batchsize = 3"), BUILD, &[]);
    insta::assert_snapshot!(ran.stderr, @"error: cannot read `p.toml` at line 10 column 3: unknown field `batchsize`, expected one of `strategy`, `alpha`, `batch_size`, `steps`, `epochs`, `language_weights`, `dataset_weights`, `negatives`, `cycle_batches`, `cycle_rows`");
}

#[test]
fn a_value_of_a_wrong_type_is_named_with_line_and_column() {
    for (line, column, found) in [
        (r#"negatives = "two""#, 13, "invalid type: string \"two\""),
        ("steps = 0", 9, "invalid value: integer `0`"),
        ("epochs = 1.5", 10, "invalid type: floating point `1.5`"),
        ("alpha = -1", 9, "`-1` is not a non-negative number"),
        ("dataset_weights = \"evenly\"", 19, "\"evenly\""),
        // Columns count characters: ö and ß are one each.
        ("language_weights = { \"größe\" = -1 }", 32, "`-1` is not a non-negative number"),
    ] {
        let place = format!("cannot read `p.toml` at line 10 column {column}: ");
        refused(&with_line_ten(line), BUILD, &[&place, found]);
    }
}

#[test]
fn a_slip_in_toml_is_named_with_line_and_column() {
    // The bracket is missed behind the eight characters that are there.
    refused(&with_line_ten("[filters"), BUILD, &["`p.toml` at line 10 column 9: unclosed table"]);
    refused(&with_line_ten("seed 5"), BUILD, &["cannot read `p.toml` at line 10 column "]);
    refused(&with_line_ten("batch_size = 2"), BUILD, &["`p.toml` at line 10 column 1: duplicate key"]);
}

#[test]
fn an_unknown_key_to_set_is_named() {
    let folder = good();
    for (set, found) in [
        (
            "batches.batchsize=3",
            "setting `batches.batchsize`: unknown field `batchsize`, expected one of `strategy`",
        ),
        ("batchez.steps=3", "setting `batchez.steps`: unknown field `batchez`"),
        ("corpora.d.lang=de", "setting `corpora.d.lang`: unknown field `lang`"),
        ("name.first=a", "setting `name.first`: `name` is a value and has no keys"),
        ("batches.strategy=mono", "unknown variant `mono`, expected one of `hybrid`, `x-x-mono`"),
        ("batches.steps=many", "setting `batches.steps`: invalid type: string \"many\""),
    ] {
        refused(&folder, &format!("{BUILD} --set {set}"), &[found]);
    }
}

#[test]
fn a_corpus_to_set_a_key_of_has_to_be_there() {
    refused(
        &good(),
        &format!("{BUILD} --set corpora.e.unit=paragraph"),
        &["setting `corpora.e.unit`: `corpora` has no entry `e`"],
    );
}

#[test]
fn an_unknown_strategy_is_named_with_those_there_are() {
    let folder = good();
    folder.write("p.toml", pipeline(&["de"], "").replace("x-x-mono", "mono"));
    refused(
        &folder,
        BUILD,
        &["line 8 column 12: unknown variant `mono`", "`x-x-mono`, `x-x`, `x-y`, `pair`"],
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let folder = good();
    for (sets, found) in [
        ("batches.steps=1 batches.epochs=1", "setting `batches`: both `steps` and `epochs` are given"),
        ("batches.alpha=1.5", "setting `batches.alpha`: 3/2 is not between 0 and 1"),
        ("max_rejects=2", "setting `max_rejects`: 2 is not between 0 and 1"),
        ("shards.zstd_level=23", "setting `shards.zstd_level`: 23 is not between 1 and 22"),
        ("shards.steps_per_shard=1 shards.target_bytes=1", "setting `shards`: both"),
        ("filters.query_chars.min=5 filters.query_chars.max=4", "min = 5 is above max = 4"),
        ("filters.languages=[]", "setting `filters.languages`: an empty list keeps nothing"),
        (
            "split.eval.by=group",
            "`split.eval`: give `by` and `fraction`, `by`, `folds` and `fold`, or `ids_from`",
        ),
        ("split.eval.by=group split.eval.folds=2", "setting `split.eval`: `folds` and `fold` go together"),
        (
            "split.eval.folds=2 split.eval.fold=1",
            "setting `split.eval.by`: is missing: what do `folds` count?",
        ),
        (
            "split.eval.by=group split.eval.folds=2 split.eval.fold=2",
            "`split.eval.fold`: 2 is not one of the folds",
        ),
        (
            "split.eval.by=group split.eval.folds=1 split.eval.fold=0",
            "`split.eval.folds`: 1 would hold everything out",
        ),
        ("split.eval.by=group split.eval.fraction=1", "`split.eval.fraction`: 1 is not strictly between"),
        ("split.eval.ids_from=e", "setting `split.eval.ids_from`: no corpus is called `e`"),
        ("name=../d", "setting `name`: `../d` is not a name"),
        ("corpora.d.path=../de.json", "setting `corpora.d`: path `../de.json` leads out of the data folder"),
        (
            "corpora.d.languages=['de','en'] corpora.d.path=a.json",
            "has no `{lang}`, but there are 2 languages",
        ),
        ("corpora.d.qrels=test", "setting `corpora.d`: `qrels` goes with format `beir` only"),
        (
            "corpora.d.format=table corpora.d.unit=question",
            "`unit = \"question\"` goes with format `squad` or `afriqa` only",
        ),
        ("corpora.d.format=table", "setting `corpora.d`: format `table` needs `columns`"),
        (
            "corpora.d.format=beir corpora.d.path=s3://bucket/{lang}",
            "format `beir` reads a folder, and a URL names a file: `collection` takes its parts by `files`",
        ),
        (
            "corpora.d.format=captions corpora.d.path={lang}.json",
            "format `captions` has all languages in each record",
        ),
        (
            "tokenizer=s3://bucket/tokenizer.json",
            "setting `tokenizer`: `s3://bucket/tokenizer.json` is a URL",
        ),
        ("corpora.d.ids_only=true", "setting `corpora`: no corpus to take questions and passages from"),
    ] {
        refused(&folder, &format!("{BUILD} --set {}", sets.replace(' ', " --set ")), &[found]);
    }
}

#[test]
fn a_language_is_a_tag() {
    let folder = good();
    for (languages, found) in [
        (
            vec![""],
            "setting `corpora.d`: `` is no language that is known; a tag is such as `de` or `zh-Hant`",
        ),
        (vec!["d e"], "setting `corpora.d`: `d e` is no language"),
        (vec!["deutschland"], "setting `corpora.d`: `deutschland` is no language"),
        (vec!["x-y"], "language tag `x-y` is the name of a source of batches"),
        (vec!["de", "de"], "setting `corpora.d`: language `de` is named twice"),
        (vec![], "setting `corpora.d`: `languages` is empty"),
    ] {
        folder.write("p.toml", pipeline(&languages, ""));
        refused(&folder, BUILD, &[found]);
    }
}

#[test]
fn a_batch_that_is_larger_than_a_pool_is_refused() {
    refused(
        &good(),
        &format!("{BUILD} --set batches.batch_size=7"),
        &["setting `batches.batch_size`: a batch of 7 rows", "pool `d/de:de` than its 1 examples", "hint: "],
    );
}

#[test]
fn a_split_that_holds_out_nothing_is_refused() {
    // A tenth of one group is rounded to none.
    refused(
        &good(),
        &format!("{BUILD} --set split.eval.by=group --set split.eval.fraction=0.1"),
        &["setting `split.eval.fraction`: 1/10 of 1 is too little to hold one out whole", "hint: "],
    );
}

// Misuse.

#[test]
fn wrong_usage_exits_with_two() {
    let folder = good();
    let before = names(&folder);
    for (arguments, found) in [
        ("build-shards p.toml --data data --out d --fast", "unexpected argument '--fast'"),
        ("build-shards p.toml --data data --out d --seed -1", "'-1'"),
        ("build-shards p.toml --data data --out d --seed 18446744073709551616", "--seed"),
        ("build-shards p.toml --data data --out d --threads 0", "0 is not in 1..=1024"),
        ("build-shards p.toml --data data --out d --set batches.steps", "expected `key=value`"),
        (
            "build-shards p.toml --data data --out d --set batches..steps=1",
            "`batches..steps` is not a dotted key",
        ),
        ("reproduce d", "--step"),
        ("reproduce d --step 5..3", "`5..3` holds no step"),
        ("reproduce d --step 5..5", "`5..5` holds no step"),
        ("reproduce d --step -1", "'-1'"),
        ("reproduce d --step 1..x", "`x` is not a step"),
        ("reproduce d --step 18446744073709551615", "the last step is 2^64 - 2"),
        ("inspect d --step 1 --query q", "cannot be used with"),
        ("verify", "<DATASET>"),
        ("schema nothing", "'nothing'"),
        ("build", "unrecognized subcommand 'build'"),
    ] {
        let ran = folder.prep(arguments);
        assert_eq!(ran.code, Some(2), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(found), "{arguments}: no `{found}` in {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(names(&folder), before);
}
