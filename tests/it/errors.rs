//! What goes wrong: the message says what and where, the exit code tells failure from misuse, nothing is left behind.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

use crate::util::{Folder, Ran, files, parquet, pipeline, prep_command, squad, texts};

const BUILD: &str = "build-shards p.toml --data data --out d --quiet";

/// The question that every good source here has: 13 characters of context.
const GOOD: (&str, &str, i64, &str) = ("q", "Was ist kalt?", 0, "Eis");
const CONTEXT: &str = "Eis ist kalt.";

/// A second question whose answer starts far behind the end of the context, as it stands in [`two_questions`].
const OUTSIDE: &str = r#"{"id": "r",  "question": "Wo?", "answers": [{"answer_start": 99, "text": "Eis"}]}"#;

/// One paragraph with a good question and this one, of which every byte is known.
fn two_questions(second: &str) -> String {
    format!(
        r#"{{"data": [{{"title": "T", "paragraphs": [{{"context": "{CONTEXT}", "qas": [{{"id": "q", "question": "Was?", "answers": [{{"answer_start": 0, "text": "Eis"}}]}}, {second}]}}]}}]}}"#
    )
}

/// A folder with `data/de.json` and a pipeline that reads it.
fn with_source(bytes: impl AsRef<[u8]>) -> Folder {
    with_file("de.json", bytes)
}

/// The same with a file of another name.
fn with_file(name: &str, bytes: impl AsRef<[u8]>) -> Folder {
    let folder = Folder::new();
    folder.write(&format!("data/{name}"), bytes);
    folder.write("p.toml", pipeline(&["de"], "").replace("{lang}.json", name));
    folder
}

/// A folder with a good source.
fn good() -> Folder {
    with_source(squad(CONTEXT, &[GOOD]))
}

/// A folder with a table and a pipeline that reads its columns `id`, `q` and `p`.
fn with_table(name: &str, bytes: impl AsRef<[u8]>) -> Folder {
    let folder = with_file(name, bytes);
    let columns = "format = \"table\"\ncolumns = { query_id = \"id\", query = \"q\", passage = \"p\" }";
    let text = pipeline(&["de"], "").replace("{lang}.json", name).replace("format = \"squad\"", columns);
    folder.write("p.toml", text);
    folder
}

/// A good source, and a pipeline with a tenth line.
fn with_line_ten(line: &str) -> Folder {
    let folder = good();
    folder.write("p.toml", pipeline(&["de"], line));
    folder
}

/// Everything in a folder, empty folders too.
fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs something that fails with these words, and asserts that it leaves the folder as it was.
#[track_caller]
fn refused(folder: &Folder, arguments: &str, parts: &[&str]) -> Ran {
    refused_by(folder, parts, |folder| folder.prep(arguments))
}

#[track_caller]
fn refused_by(folder: &Folder, parts: &[&str], run: impl FnOnce(&Folder) -> Ran) -> Ran {
    let before = (names(folder), files(&folder.path("")));
    let ran = run(folder).failed_with(parts);
    assert_eq!(ran.stdout, "");
    assert_eq!(names(folder), before.0);
    assert!(files(&folder.path("")) == before.1, "a file has changed");
    ran
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A Parquet file with these columns of one text each.
fn parquet_bytes(columns: &[&str]) -> Vec<u8> {
    let column = |name: &&str| ((*name).to_owned(), Arc::new(StringArray::from(vec!["Eis"])) as ArrayRef);
    let batch = RecordBatch::try_from_iter(columns.iter().map(column)).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

// Sources.

#[test]
fn a_missing_source_is_named_with_the_folder_that_was_searched() {
    let folder = good();
    fs::remove_file(folder.path("data/de.json")).unwrap();
    let ran = refused(&folder, BUILD, &[]);
    insta::assert_snapshot!(ran.stderr, @"
    error: cannot read source `de.json`: no such file or folder
    hint: looked in `data`; `--data` names the folder that pipeline paths start from
    ");
}

#[test]
fn a_pattern_that_no_file_fits_is_an_error() {
    let folder = good();
    folder.write("p.toml", pipeline(&["de"], "").replace("{lang}.json", "{lang}-*.json"));
    refused(&folder, BUILD, &["cannot read source `de-*.json`: no file of such a name", "looked in `data`"]);
}

#[test]
fn a_missing_data_folder_is_named() {
    let folder = good();
    refused(
        &folder,
        "build-shards p.toml --data elsewhere --out d --quiet",
        &["cannot read source `elsewhere`: no such folder", "hint: `--data`"],
    );
}

#[test]
fn bad_json_is_named_with_its_byte() {
    for (text, byte, found) in [
        // `{"data": [` are ten bytes.
        (r#"{"data": [}"#, 10, "expected value"),
        ("{\"data\": [\n}", 11, "expected value"),
        // Ten bytes, 21 of `{"title": "ü"` (ü is two), two of `, ` and 14 of `"paragraphs": `.
        (r#"{"data": [{"title": "ü", "paragraphs": !}]}"#, 10 + 14 + 2 + 14, "expected value"),
        // Within a paragraph, which is read in a second step: 38 bytes to `[` and eight to `tru `.
        (r#"{"data": [{"title": "T", "paragraphs": [{"a": tru }]}]}"#, 49, "expected ident"),
        // A whole document of twelve bytes and a space.
        (r#"{"data": []} x"#, 13, "trailing characters"),
    ] {
        let found =
            format!("cannot read source `de.json` at byte {byte}: bad JSON of the SQuAD family: {found}");
        refused(&with_source(text), BUILD, &[&found]);
    }
}

/// What careless exports hold most often: a raw tab or line feed in a text.
#[test]
fn a_control_character_is_named_with_its_byte() {
    for (text, byte) in [
        // `{"data": [{"title": "a` are 22 bytes.
        ("{\"data\": [{\"title\": \"a\tb\", \"paragraphs\": []}]}", 22),
        ("{\"data\": [{\"title\": \"a\nb\", \"paragraphs\": []}]}", 22),
        // `{"data": [{"title": "T", "paragraphs": [{"a": "a` are 48.
        ("{\"data\": [{\"title\": \"T\", \"paragraphs\": [{\"a\": \"a\tb\"}]}]}", 48),
        ("{\"data\": [{\"title\": \"T\", \"paragraphs\": [{\"a\": \"a\nb\"}]}]}", 48),
    ] {
        assert!(text.as_bytes()[byte].is_ascii_control());
        let found = format!("cannot read source `de.json` at byte {byte}: ");
        refused(&with_source(text), BUILD, &[&found, "control character"]);
    }
}

#[test]
fn json_that_breaks_off_is_named_with_its_last_byte() {
    let whole = squad(CONTEXT, &[GOOD]);
    for length in [1, whole.len() / 2, whole.len() - 1] {
        let found = format!("cannot read source `de.json` at byte {}: ", length - 1);
        refused(&with_source(&whole[..length]), BUILD, &[&found, "EOF while parsing"]);
    }
    // The line feed is the eleventh byte and the last.
    refused(&with_source("{\"data\": [\n"), BUILD, &["`de.json` at byte 10: ", "EOF while parsing"]);
}

#[test]
fn json_of_another_shape_says_what_is_missing() {
    refused(&with_source(r#"{"version": "1.1"}"#), BUILD, &["`de.json` at byte", "missing field `data`"]);
    refused(&with_source(r#"{"data": 5}"#), BUILD, &["`de.json` at byte 9:", "invalid type: integer `5`"]);
}

#[test]
fn invalid_utf_8_in_json_is_named_with_its_byte() {
    // `{"data": [] ` are twelve bytes.
    let folder = with_source(b"{\"data\": [] \xff}");
    refused(&folder, BUILD, &["cannot read source `de.json` at byte 12: invalid UTF-8"]);
}

#[test]
fn invalid_utf_8_in_json_lines_is_named_with_byte_and_line() {
    // A line of 26 bytes and its line feed, then `{"id":"2","q":"a`, which is 16.
    let first = br#"{"id":"1","q":"a","p":"b"}"#;
    let text = [&first[..], b"\n{\"id\":\"2\",\"q\":\"a\xff\",\"p\":\"b\"}\n"].concat();
    let folder = with_table("de.jsonl", text);
    refused(&folder, BUILD, &["cannot read source `de.jsonl` at byte 43 (line 2): invalid UTF-8"]);
}

#[test]
fn invalid_utf_8_in_csv_is_named_with_its_line() {
    let folder = with_table("de.csv", b"id,q,p\n1,Was?,Eis\n2,W\xff,Eis\n");
    refused(&folder, BUILD, &["cannot read source `de.csv` at byte ", "(line 3): invalid UTF-8"]);
}

#[test]
fn a_missing_column_is_named_with_those_that_are_there() {
    for (name, bytes) in [
        ("de.csv", b"id,q,text\n1,Was?,Eis\n".to_vec()),
        ("de.tsv", b"id\tq\ttext\n1\tWas?\tEis\n".to_vec()),
        ("de.parquet", parquet_bytes(&["id", "q", "text"])),
    ] {
        let found = format!("cannot read source `{name}`: no column `p`");
        refused(&with_table(name, bytes), BUILD, &[&found, "hint: the columns are id, q, text; `columns`"]);
    }
}

#[test]
fn a_missing_optional_column_is_missed_all_the_same() {
    let folder = with_table("de.csv", "number,q,p\n1,Was?,Eis\n");
    refused(&folder, BUILD, &["cannot read source `de.csv`: no column `id`"]);
}

#[test]
fn a_row_of_json_lines_without_a_column_is_a_bad_record() {
    let folder = with_table("de.jsonl", "{\"id\":1,\"q\":\"a\",\"p\":\"b\"}\n\n{\"id\":2,\"q\":\"c\"}\n");
    // The blank line counts as a line and not as a record.
    refused(&folder, BUILD, &["1 of 2 records", "`de.jsonl` at line 3: column `p` is missing or null"]);
}

#[test]
fn a_table_of_an_unknown_kind_is_refused() {
    refused(&with_table("de.xlsx", ""), BUILD, &["`de.xlsx`: `xlsx` is no kind of table", ".parquet"]);
}

#[test]
fn parquet_that_breaks_off_is_refused() {
    let bytes = parquet_bytes(&["id", "q", "p"]);
    let folder = with_table("de.parquet", &bytes[..bytes.len() - 9]);
    refused(&folder, BUILD, &["cannot read source `de.parquet`: bad Parquet: "]);
}

#[test]
fn a_language_without_questions_is_an_error() {
    let folder = with_source(r#"{"data": []}"#);
    refused(
        &folder,
        BUILD,
        &[
            "cannot read source `de.json`: no question in language `de`",
            "out of `languages`, or mend the file",
        ],
    );
    let folder = with_table("de.csv", "id,q,p\n");
    refused(&folder, BUILD, &["cannot read source `de.csv`: no question in language `de`"]);
}

#[test]
fn compressed_data_that_breaks_off_is_refused() {
    let json = squad(CONTEXT, &[GOOD]).into_bytes();
    let (gz, zst) = (gzipped(&json), zstd::encode_all(&json[..], 3).unwrap());
    for (name, bytes) in [
        ("de.json.gz", &gz[..gz.len() / 2]),
        // All of the data, without the checksum.
        ("de.json.gz", &gz[..gz.len() - 4]),
        ("de.json.gz", b""),
        ("de.json.zst", &zst[..zst.len() / 2]),
        ("de.json.zst", b""),
    ] {
        let found = format!("cannot read source `{name}`: the compressed data breaks off before its end");
        refused(&with_file(name, bytes), BUILD, &[&found, "compare its checksum"]);
    }
}

#[test]
fn a_compressed_table_that_breaks_off_is_refused() {
    let csv = gzipped(b"id,q,p\n1,Was ist kalt?,Eis ist kalt.\n");
    let lines = gzipped(br#"{"id":"1","q":"Was ist kalt?","p":"Eis ist kalt."}"#);
    for (name, bytes) in [("de.csv.gz", csv), ("de.jsonl.gz", lines)] {
        let found = format!("cannot read source `{name}`: the compressed data breaks off before its end");
        refused(&with_table(name, &bytes[..bytes.len() / 2]), BUILD, &[&found, "compare its checksum"]);
    }
}

#[test]
fn a_file_that_is_not_compressed_as_its_name_says_is_refused() {
    let json = squad(CONTEXT, &[GOOD]);
    refused(
        &with_file("de.json.gz", &json),
        BUILD,
        &["cannot read source `de.json.gz`: invalid gzip header", "compare its checksum"],
    );
    refused(
        &with_file("de.json.zst", &json),
        BUILD,
        &["cannot read source `de.json.zst`: ", "frame descriptor", "compare its checksum"],
    );
}

// Records.

#[test]
fn too_many_bad_records_are_counted_and_the_first_is_shown() {
    let ran = refused(&with_source(two_questions(OUTSIDE)), BUILD, &[]);
    insta::assert_snapshot!(ran.stderr, @"
    error: 1 of 2 records are bad, more than `max_rejects` = 1/100 allows; the first: `de.json` at /data/0/paragraphs/0/qas/1: answer_start 99, the context has 13 characters (answer_outside_context)
    hint: mend the source, or raise `max_rejects` in the pipeline: the refused records are then listed in rejects.parquet
    ");
}

#[test]
fn strict_allows_no_bad_record() {
    refused(
        &with_source(two_questions(OUTSIDE)),
        &format!("{BUILD} --strict --set max_rejects=0.5"),
        &["1 of 2 records are bad", "`max_rejects` = 0 allows", "answer_outside_context"],
    );
}

#[test]
fn bad_records_that_are_allowed_are_listed_as_they_stand() {
    let folder = with_source(two_questions(OUTSIDE));
    folder.prep(&format!("{BUILD} --set max_rejects=0.5")).done();
    let rejects = parquet(&folder.path("d/rejects.parquet"));
    let row: Vec<_> = ["source", "place", "reason", "detail", "raw"]
        .into_iter()
        .flat_map(|column| texts(&rejects, column))
        .map(Option::unwrap)
        .collect();
    assert_eq!(
        row,
        [
            "de.json",
            "/data/0/paragraphs/0/qas/1",
            "answer_outside_context",
            "answer_start 99, the context has 13 characters",
            OUTSIDE
        ]
    );
    let queries = parquet(&folder.path("d/corpus/queries-00000.parquet"));
    assert_eq!(texts(&queries, "query_id"), [Some("d/de/q".to_owned())]);
}

#[test]
fn as_many_bad_records_as_allowed_are_allowed_and_no_more() {
    let folder = with_source(two_questions(&format!("{OUTSIDE}, {}", OUTSIDE.replace("\"r\"", "\"s\""))));
    refused(
        &folder,
        &format!("{BUILD} --set max_rejects=0.66"),
        &["2 of 3 records are bad", "`max_rejects` = 33/50"],
    );
    folder.prep_args(&["build-shards", "p.toml", "--out", "d", "--set", "max_rejects=\"2/3\""]).done();
}

#[test]
fn every_kind_of_bad_record_has_its_reason() {
    let answer = |answers: &str| format!(r#"{{"id": "r", "question": "Wo?", "answers": [{answers}]}}"#);
    for (question, reason) in [
        (answer(""), "no_answer"),
        (answer(r#"{"answer_start": 0, "text": ""}"#), "answer_empty"),
        (answer(r#"{"answer_start": -1, "text": "Eis"}"#), "answer_start_invalid"),
        (answer(r#"{"text": "Eis"}"#), "answer_start_invalid"),
        // One behind the last of 13 characters.
        (answer(r#"{"answer_start": 13, "text": "."}"#), "answer_outside_context"),
        (answer(r#"{"answer_start": 1, "text": "Eis"}"#), "answer_not_at_offset"),
        (answer(r#"{"answer_start": 12, "text": ".!"}"#), "answer_not_at_offset"),
        (answer(r#"{"answer_start": 0, "text": "Eis"}"#).replace("Wo?", " "), "query_empty"),
        (answer(r#"{"answer_start": 0, "text": "Eis"}"#).replace("question", "frage"), "malformed"),
    ] {
        let place = format!("({reason})");
        let folder = with_source(two_questions(&question));
        refused(&folder, BUILD, &["1 of 2 records", "`de.json` at /data/0/paragraphs/0/qas/1: ", &place]);
    }
}

#[test]
fn an_id_that_stands_twice_in_a_language_is_refused() {
    let second = r#"{"id": "q", "question": "Wie?", "answers": [{"answer_start": 8, "text": "kalt"}]}"#;
    refused(
        &with_source(two_questions(second)),
        BUILD,
        &["/data/0/paragraphs/0/qas/1: `q` was the id of an earlier question (duplicate_id)"],
    );
}

#[test]
fn a_table_says_one_thing_under_one_id() {
    for (row, found) in [
        ("1,Wer?,Eis", "question `1` had another text before (duplicate_id)"),
        ("1,Was?,Eis", "the same pair stood in an earlier row (duplicate_id)"),
        ("2,,Eis", "(malformed)"),
        ("2,Wer? ,Eis,x", "4 columns instead of 3 (malformed)"),
    ] {
        let folder = with_table("de.csv", format!("id,q,p\n1,Was?,Eis\n{row}\n"));
        refused(&folder, BUILD, &["1 of 2 records", "`de.csv` at line 3: ", found]);
    }
}

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

// The target.

#[test]
fn what_is_there_already_stays() {
    let folder = good();
    folder.write("d/notes.txt", "mine");
    refused(&folder, BUILD, &["error: `d`: is there already", "hint: `--force` replaces it"]);
    fs::remove_dir_all(folder.path("d")).unwrap();
    folder.prep(BUILD).done();
    refused(&folder, BUILD, &["error: `d`: is there already"]);
}

#[test]
fn force_replaces_datasets_and_nothing_else() {
    let found = [
        "error: `d`: is there already, and is no dataset",
        "replaces what is such a dataset, and nothing else",
    ];
    let folder = good();
    folder.write("d/notes.txt", "mine");
    refused(&folder, &format!("{BUILD} --force"), &found);
    fs::remove_dir_all(folder.path("d")).unwrap();
    folder.write("d", "a file");
    refused(&folder, &format!("{BUILD} --force"), &found);
    fs::remove_file(folder.path("d")).unwrap();
    // A link could lead anywhere, even where it leads to a dataset.
    folder.prep("build-shards p.toml --data data --out e").done();
    symlink(folder.path("e"), folder.path("d")).unwrap();
    refused(&folder, &format!("{BUILD} --force"), &found);
    assert!(fs::symlink_metadata(folder.path("d")).unwrap().is_symlink());
}

#[test]
fn a_build_that_fails_leaves_the_old_dataset_whole() {
    let folder = good();
    folder.prep(BUILD).done();
    folder.write("data/de.json", r#"{"data": [}"#);
    refused(&folder, &format!("{BUILD} --force"), &["at byte 10"]);
    // The same late, when most of the new dataset has been written.
    folder.write("data/de.json", squad(CONTEXT, &[GOOD]));
    refused_by(&folder, &["File too large"], |folder| {
        limited(folder, 32, &format!("{BUILD} --force --set batches.steps=4000"))
    });
    folder.prep("verify d").done();
}

/// Runs `prep` in a shell in which no file may grow beyond so many blocks (of 512 or 1,024 bytes, as the shell has it).
/// Without the signal a write fails as it does on a full disk.
fn limited(folder: &Folder, blocks: u32, arguments: &str) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {arguments}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_prep")]).current_dir(folder.path(""));
    Ran::of(shell.output().unwrap())
}

#[test]
fn a_disk_that_fills_up_leaves_nothing_behind() {
    // Forty passages of 960 digits of half a byte are about 19,000 bytes however they are compressed; their questions
    // are far below 4,096.
    let digits =
        |i: usize| (0..15).map(|j| blake3::hash(&[i as u8, j]).to_hex().to_string()).collect::<String>();
    let paragraphs: Vec<_> = (0..40)
        .map(|i| {
            let answer = serde_json::json!([{"answer_start": 0, "text": digits(i)}]);
            let question = serde_json::json!({"id": format!("q{i}"), "question": "Was?", "answers": answer});
            serde_json::json!({"context": digits(i), "qas": [question]})
        })
        .collect();
    let folder =
        with_source(serde_json::json!({"data": [{"title": "T", "paragraphs": paragraphs}]}).to_string());
    let found =
        ["cannot write `./.d.partial/corpus/passages-00000.parquet`", "caused by: File too large", "hint: "];
    refused_by(&folder, &found, |folder| limited(folder, 8, BUILD));
    // 4,000 digests of 32 bytes are more than 32 KiB, and everything of the corpus is less than 16.
    let found = ["cannot write `./.d.partial/train/", "caused by: File too large", "hint: "];
    refused_by(&good(), &found, |folder| limited(folder, 32, &format!("{BUILD} --set batches.steps=4000")));
}

/// Runs `prep` with `disk` in the folder being a disk of so many KiB that only this command sees, and lists what is left
/// on that disk into the file `left`. Nothing where the system lets nobody mount one.
fn on_small_disk(folder: &Folder, kib: u32, arguments: &str) -> Option<Ran> {
    let mounts = "mount -t tmpfs -o size=$1k tmpfs disk || exit 125";
    let script = format!(r#"{mounts}; "$0" {arguments}; code=$?; ls -A disk > left; exit $code"#);
    // Root may mount in a mount namespace; anybody else needs a user namespace around it.
    [["-m", "--"], ["-rm", "--"]].iter().find_map(|flags| {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", &script, env!("CARGO_BIN_EXE_prep"), &kib.to_string()]);
        let output = command.current_dir(folder.path("")).output().ok()?;
        let mounted = fs::exists(folder.path("left")).unwrap();
        mounted.then(|| Ran::of(output))
    })
}

#[test]
fn no_space_left_on_the_device_leaves_nothing_behind() {
    for (kib, steps, written) in [(8, 10, "corpus/"), (96, 100_000, "train/")] {
        let folder = good();
        fs::create_dir(folder.path("disk")).unwrap();
        let arguments =
            format!("build-shards p.toml --data data --out disk/d --quiet --set batches.steps={steps}");
        let Some(ran) = on_small_disk(&folder, kib, &arguments) else {
            println!(
                "no_space_left_on_the_device_leaves_nothing_behind: skipped, nothing can be mounted here"
            );
            return;
        };
        let place = format!("`disk/.d.partial/{written}");
        ran.failed_with(&[&place, "caused by: No space left on device", "hint: "]);
        assert_eq!(fs::read_to_string(folder.path("left")).unwrap(), "", "{kib} KiB");
    }
}

/// Runs `prep` as a user whom modes bind: root may do anything, so it steps down.
fn as_nobody(folder: &Folder, arguments: &str) -> Ran {
    fs::set_permissions(folder.path(""), Permissions::from_mode(0o755)).unwrap();
    let mut command = prep_command();
    if fs::metadata(folder.path("p.toml")).unwrap().uid() == 0 {
        // The program may lie below a folder that is root's alone, so it takes a name in this one.
        let (program, here) = (Path::new(env!("CARGO_BIN_EXE_prep")), folder.path("prep"));
        // A copy is left to another process: a file that is open for writing here cannot be run.
        if fs::hard_link(program, &here).is_err() {
            assert!(Command::new("cp").arg(program).arg(&here).status().unwrap().success());
        }
        command = Command::new(here);
        command.uid(65_534);
    }
    let ran = Ran::of(command.args(arguments.split(' ')).current_dir(folder.path("")).output().unwrap());
    let _ = fs::remove_file(folder.path("prep"));
    ran
}

#[test]
fn a_folder_that_may_not_be_written_to_is_named() {
    let folder = good();
    fs::create_dir(folder.path("locked")).unwrap();
    fs::set_permissions(folder.path("locked"), Permissions::from_mode(0o555)).unwrap();
    let found =
        ["cannot create `locked/.d.partial`", "caused by: Permission denied", "hint: check the owner"];
    refused_by(&folder, &found, |folder| as_nobody(folder, &BUILD.replace("--out d", "--out locked/d")));
    assert_eq!(fs::read_dir(folder.path("locked")).unwrap().count(), 0);
}

#[test]
fn a_source_that_may_not_be_read_is_named() {
    let folder = good();
    fs::set_permissions(folder.path("data/de.json"), Permissions::from_mode(0o000)).unwrap();
    fs::create_dir(folder.path("out")).unwrap();
    fs::set_permissions(folder.path("out"), Permissions::from_mode(0o777)).unwrap();
    let ran = as_nobody(&folder, &BUILD.replace("--out d", "--out out/d"));
    ran.failed_with(&["`data/de.json`", "caused by: Permission denied", "hint: check the owner"]);
    assert_eq!(fs::read_dir(folder.path("out")).unwrap().count(), 0);
}

#[test]
fn a_folder_without_a_dataset_is_no_dataset() {
    let folder = good();
    fs::create_dir(folder.path("empty")).unwrap();
    for command in ["verify", "inspect", "reproduce --step 0"] {
        for name in ["empty", "nowhere", "p.toml"] {
            let found = format!("error: `{name}`: no manifest.json, so no dataset");
            refused(
                &folder,
                &format!("{command} --quiet {name}"),
                &[&found, "hint: `prep build-shards` makes one"],
            );
        }
    }
}

#[test]
fn a_dataset_of_another_version_is_refused() {
    let folder = good();
    folder.write("d/manifest.json", r#"{"format_version": 2, "whatever": []}"#);
    for command in ["verify", "inspect", "reproduce --step 0"] {
        let found = "`d/manifest.json`: format version 2, this program reads 1";
        refused(&folder, &format!("{command} --quiet d"), &[found]);
    }
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

// Output.

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn standard_output_that_takes_nothing_is_an_error() {
    let folder = good();
    let ran = Ran::of(prep_command().args(["schema"]).stdout(full()).output().unwrap());
    ran.failed_with(&["error: cannot write to standard output", "caused by: No space left"]);
    // The dataset is complete by the time the report is printed, and stays.
    let mut build = prep_command();
    build.args(BUILD.split(' ')).current_dir(folder.path("")).stdout(full());
    Ran::of(build.output().unwrap()).failed_with(&["error: cannot write to standard output"]);
    folder.prep("verify d").done();
}

/// As when the log is on the disk that is full.
#[test]
fn standard_error_that_takes_nothing_changes_no_exit_code() {
    let folder = good();
    let code = |arguments: &str| {
        let mut command = prep_command();
        command.args(arguments.split(' ')).current_dir(folder.path("")).stderr(full());
        command.output().unwrap().status.code()
    };
    assert_eq!(code("build-shards nowhere.toml"), Some(1));
    assert_eq!(code("build-shards p.toml --data data --out d"), Some(0));
    assert_eq!(names(&folder), ["d", "data", "p.toml"]);
}
