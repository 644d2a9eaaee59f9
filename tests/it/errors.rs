//! What goes wrong: the message says what and where, the exit code tells failure from misuse, nothing is left behind.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

use crate::util::{Folder, Ran, files, parquet, pipeline, squad, texts};

pub const BUILD: &str = "build-shards p.toml --data data --out d --quiet";

/// The question that every good source here has: 13 characters of context.
pub const GOOD: (&str, &str, i64, &str) = ("q", "Was ist kalt?", 0, "Eis");
pub const CONTEXT: &str = "Eis ist kalt.";

/// A second question whose answer starts far behind the end of the context, as it stands in [`two_questions`].
const OUTSIDE: &str = r#"{"id": "r",  "question": "Wo?", "answers": [{"answer_start": 99, "text": "Eis"}]}"#;

/// One paragraph with a good question and this one, of which every byte is known.
fn two_questions(second: &str) -> String {
    format!(
        r#"{{"data": [{{"title": "T", "paragraphs": [{{"context": "{CONTEXT}", "qas": [{{"id": "q", "question": "Was?", "answers": [{{"answer_start": 0, "text": "Eis"}}]}}, {second}]}}]}}]}}"#
    )
}

/// A folder with `data/de.json` and a pipeline that reads it.
pub fn with_source(bytes: impl AsRef<[u8]>) -> Folder {
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
pub fn good() -> Folder {
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
pub fn with_line_ten(line: &str) -> Folder {
    let folder = good();
    folder.write("p.toml", pipeline(&["de"], line));
    folder
}

/// Everything in a folder, empty folders too.
pub fn names(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path("")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs something that fails with these words, and asserts that it leaves the folder as it was.
#[track_caller]
pub fn refused(folder: &Folder, arguments: &str, parts: &[&str]) -> Ran {
    refused_by(folder, parts, |folder| folder.prep(arguments))
}

#[track_caller]
pub fn refused_by(folder: &Folder, parts: &[&str], run: impl FnOnce(&Folder) -> Ran) -> Ran {
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
    // What is no text is none.
    let folder =
        with_table("de.jsonl", "{\"id\":1,\"q\":\"a\",\"p\":\"b\"}\n{\"id\":2,\"q\":\"c\",\"p\":[\"d\"]}\n");
    refused(&folder, BUILD, &["1 of 2 records", "`de.jsonl` at line 2: column `p` is missing or null"]);
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
        (answer(r#"{"answer_start": 0, "text": "Eis"}"#).replace("\"r\"", "\"  \""), "malformed"),
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
