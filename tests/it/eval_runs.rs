//! Runs of other systems, comparisons of two, and what `prep eval` refuses.

use std::fs;

use serde_json::{Value, json};

use crate::eval::{EVAL, Language, QUERIES, TWO, close, dataset, mean, npy, two, write_rows};
use crate::util::Folder;

// Runs.

/// What is written as a run and scored again is what was evaluated; trec_eval's columns are where they belong.
#[test]
fn a_full_run_scores_as_its_embeddings() {
    let folder = two();
    let mut expected = folder.prep(&format!("{EVAL} --run-out r.txt --qrels-out qrels.txt")).done().json();
    let run = fs::read_to_string(folder.path("r.txt")).unwrap();
    // By hand, see `two_languages_worked_by_hand`.
    assert_eq!(
        run.lines().take(5).collect::<Vec<_>>(),
        [
            "d/aa/g Q0 d/aa/1 1 0.9 prep",
            "d/aa/g Q0 d/aa/3 2 0.8 prep",
            "d/aa/g Q0 d/ab/1 3 0.7 prep",
            "d/aa/g Q0 d/ab/2 4 0.5 prep",
            "d/aa/g Q0 d/aa/2 5 0.5 prep"
        ]
    );
    let mut qrels: Vec<_> =
        fs::read_to_string(folder.path("qrels.txt")).unwrap().lines().map(str::to_owned).collect();
    qrels.sort();
    assert_eq!(
        qrels,
        [
            "d/aa/g 0 d/aa/3 1",
            "d/aa/g 0 d/ab/1 0",
            "d/aa/g 0 d/ab/2 1",
            "d/aa/h 0 d/aa/1 1",
            "d/ab/g 0 d/aa/3 1",
            "d/ab/g 0 d/ab/1 0",
            "d/ab/g 0 d/ab/2 1"
        ]
    );
    let seen = folder.prep("eval d --trec-run r.txt --quiet --json").done().json();
    expected["queries_in_run"] = json!(3);
    assert_eq!(seen, expected);
}

/// By hand: of each query the first two. d/aa/g: aa/1, aa/3: AP in all (1/2) / 2, in aa 1/2, in ab 0. d/aa/h: aa/1. d/ab/g
/// is not in the run: 0. No distances, as ranks are missing.
#[test]
fn what_a_run_lacks_is_not_found() {
    let folder = two();
    folder.write(
        "r.txt",
        "d/aa/g Q0 d/aa/3 7 0.8 x\nd/aa/g Q0 d/aa/1 9 0.9 x\n\nd/aa/h\tQ0\td/aa/1\t1\t1e3\tx\n",
    );
    let seen = folder.prep("eval d --trec-run r.txt --quiet --json").done().json();
    close(&seen["settings"]["Mul"]["means"]["mAP"]["macro"], mean([mean([0.25, 1.0]), 0.0]));
    close(&seen["settings"]["Mo"]["means"]["mAP"]["macro"], mean([mean([0.5, 1.0]), 0.0]));
    close(&seen["settings"]["Cr"]["means"]["mAP"]["macro"], 0.0);
    assert_eq!(seen["rank_distance"], Value::Null);
    assert_eq!(seen["queries_in_run"], 2);
}

#[test]
fn a_run_that_is_none_is_refused_with_its_line() {
    let folder = two();
    for (line, found) in [
        (
            "d/aa/g Q0 d/aa/1 1 0.9",
            "`r.txt` at line 2: 5 fields: expected query, Q0, passage, rank, score, tag",
        ),
        ("d/aa/x Q0 d/aa/1 1 0.9 x", "at line 2: query `d/aa/x` is not in the dataset"),
        ("d/aa/g Q0 d/x/1 1 0.9 x", "at line 2: passage `d/x/1` is not in the dataset"),
        ("d/aa/g Q0 d/aa/1 1 nan x", "at line 2: score `nan` is not a finite number"),
        ("d/aa/h Q0 d/aa/1 1 0.5 x", "at line 2: passage `d/aa/1` a second time for its query"),
    ] {
        folder.write("r.txt", format!("d/aa/h Q0 d/aa/1 1 1.0 x\n{line}\n"));
        folder.prep("eval d --trec-run r.txt --quiet").failed_with(&[found]);
    }
}

#[test]
fn ids_with_white_space_do_not_go_into_trec_files() {
    let languages = &[Language {
        tag: "aa",
        documents: &["1 2"],
        questions: &[("g", "Was?")],
        judgements: &[("g", "1 2", 1)],
    }];
    let folder = dataset(languages, "");
    write_rows(&folder, "q", &["d/aa/g"], &[vec![1.0]]);
    write_rows(&folder, "p", &["d/aa/1 2"], &[vec![1.0]]);
    folder.prep(EVAL).done();
    for option in ["--run-out r.txt", "--qrels-out r.txt"] {
        folder.prep(&format!("{EVAL} {option}")).failed_with(&["id `d/aa/1 2` has white space"]);
        assert!(!folder.path("r.txt").exists());
    }
}

// Comparisons.

/// With itself there is no difference. With the negated queries, by hand: d/aa/g ranks aa/2, aa/3, aa/1 in aa, AP 1/2 as
/// before; d/aa/h has its passage last of three, AP 1/3; d/ab/g ranks ab/1, ab/2, AP 1/2.
#[test]
fn two_systems_are_compared_query_by_query() {
    let folder = two();
    folder.prep(&format!("{EVAL} --per-query one.jsonl")).done();
    let same = folder.prep(&format!("{EVAL} --against one.jsonl")).done().json();
    for difference in [
        &same["comparison"]["mAP"]["Mo"],
        &same["comparison"]["mAP"]["Mul"],
        &same["comparison"]["rank_distance"],
    ] {
        close(&difference["difference"], 0.0);
        close(&difference["p_value"], 1.0);
        assert_eq!(difference["interval"], json!([0.0, 0.0]));
    }
    write_rows(&folder, "n", &QUERIES, &[vec![-1.0], vec![-1.0], vec![1.0]]);
    let other = folder.prep(&format!("{EVAL} --against n.npy p.npy")).done().json();
    let mo = &other["comparison"]["mAP"]["Mo"];
    close(&mo["this"], 0.875);
    close(&mo["other"], mean([mean([0.5, 1.0 / 3.0]), 0.5]));
    close(&mo["difference"], 0.875 - mean([5.0 / 12.0, 0.5]));
    // Two groups have four signings; two of them are as far from 0 as the observed one unless the groups' shares are
    // equal. g gives (0 / 2 + (1 - 1/2)) / 2 = 1/4, h gives (1 - 1/3) / 2 / 2 = 1/6: p is a half, up to chance.
    let p = mo["p_value"].as_f64().unwrap();
    assert!((p - 0.5).abs() < 0.03, "{p}");
    // From files and from embeddings alike.
    folder.prep("eval d --embeddings n.npy p.npy --quiet --per-query n.jsonl").done();
    let from_file = folder.prep(&format!("{EVAL} --against n.jsonl")).done().json();
    assert_eq!(from_file, other);
}

/// One digest whatever batches are beside; another where a text or a judgement differs. Its value is that of EVAL.md's
/// words in Python:
///
/// ```python
/// n = lambda k: k.to_bytes(8, "little")
/// s = lambda t: n(len(t.encode())) + t.encode()
/// rows = lambda rs: n(len(rs)) + b"".join(s(str(c)) for r in rs for c in r)
/// q = [("d/aa/g", "d/g", "aa", "Was?"), ("d/ab/g", "d/g", "ab", "What?"), ("d/aa/h", "d/h", "aa", "Wer?")]
/// p = [(f"d/{l}/{i}", l, f"Text {i} in {l}.") for l, ids in (("aa", "123"), ("ab", "12")) for i in ids]
/// j = [(0, 2, 1), (0, 4, 1), (1, 0, 1)]
/// blake3.blake3(rows(q) + rows(p) + rows(j) + s("0")).hexdigest()
/// ```
#[test]
fn what_can_be_compared_has_one_digest() {
    let digest = |folder: &Folder| {
        folder.write("run.txt", "");
        folder.prep("eval d --trec-run run.txt --json --quiet").done().json()["benchmark"].clone()
    };
    let known = digest(&two());
    assert_eq!(known, "ac48522dd4e0a7bfbab4a26757fd9c2c1608718fc867c15a7809e177f16dda6b");
    assert_eq!(digest(&dataset(TWO, "steps = 3")), known);
    let [of_a, of_b] = TWO else { panic!("two languages") };
    let asked = Language { questions: &[("g", "Which?")], ..*of_b };
    assert_ne!(digest(&dataset(&[*of_a, asked], "")), known);
    let judged = Language { judgements: &[("g", "2", 2), ("g", "1", 0)], ..*of_b };
    assert_ne!(digest(&dataset(&[*of_a, judged], "")), known);
}

#[test]
fn per_query_scores_have_a_line_a_pool() {
    let folder = two();
    folder.prep(&format!("{EVAL} --per-query one.jsonl")).done();
    let text = fs::read_to_string(folder.path("one.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["query_id"], line["passage_lang"], line["AP"], line["rank_distance"])
        })
        .collect();
    assert_eq!(
        names.join("\n").replace('"', ""),
        "d/aa/g aa 0.5 null\nd/aa/g ab 0.5 null\nd/aa/g null 0.5 2\nd/ab/g aa 0.5 null\nd/ab/g ab 1.0 null\n\
         d/ab/g null 0.75 3\nd/aa/h aa 1.0 null\nd/aa/h null 1.0 null"
    );
    let cut = text.lines().skip(1).collect::<Vec<_>>().join("\n");
    folder.write("cut.jsonl", cut);
    folder
        .prep(&format!("{EVAL} --against cut.jsonl"))
        .failed_with(&["setting `--against`: query `d/aa/g` is scored in other pools there"]);
    let digest = lines[0]["benchmark"].as_str().unwrap();
    for (from, to, found) in [
        ("\"d/aa/g\"", "\"x\"", "query `x` is not in the dataset"),
        (digest, &"0".repeat(64), "it is of benchmark 0000000000"),
        (":0.5", ":1.5", "AP is `1.5`"),
        (":0.5", ":1e999", "AP is `1e999`"),
        ("\"passage_lang\":\"aa\"", "\"passage_lang\":\"ce\"", "no passages in `ce`"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        folder.write("other.jsonl", text.replacen(from, to, 1));
        let said = format!("`other.jsonl` at line 1: {found}");
        folder.prep(&format!("{EVAL} --against other.jsonl")).failed_with(&[&said]);
    }
    let first = text.lines().next().unwrap();
    folder.write("other.jsonl", format!("{text}{first}\n"));
    folder
        .prep(&format!("{EVAL} --against other.jsonl"))
        .failed_with(&["`other.jsonl` at line 9: query `d/aa/g` stands there twice with this pool"]);
}

// What is refused.

#[test]
fn embeddings_that_do_not_fit_are_refused_by_name() {
    let folder = two();
    let refused = |found: &str| folder.prep(EVAL).failed_with(&[found]);
    let good = || {
        write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![1.0], vec![-1.0]]);
    };

    write_rows(&folder, "q", &QUERIES[..2], &[vec![1.0], vec![1.0]]);
    refused("cannot evaluate `q.ids.txt`: no embedding of 1 of 3 queries: `d/ab/g`");
    write_rows(
        &folder,
        "q",
        &["d/aa/g", "d/aa/h", "d/ab/g", "x"],
        &[vec![1.0], vec![1.0], vec![1.0], vec![1.0]],
    );
    refused("1 ids that are none of the queries: `x`");
    write_rows(&folder, "q", &["d/aa/g", "d/aa/h", "d/aa/h"], &[vec![1.0], vec![1.0], vec![1.0]]);
    refused("`d/aa/h` stands there twice");
    write_rows(&folder, "q", &["d/aa/g"], &[vec![1.0], vec![1.0], vec![1.0]]);
    refused("1 ids for the 3 rows of `q.npy`");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0, 0.0], vec![1.0, 0.0], vec![1.0, 0.0]]);
    refused("embeddings of passages are 1 wide, those of queries 2");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![f32::NAN], vec![1.0]]);
    refused("query `d/aa/h`: number 0 of its embedding is NaN");
    write_rows(&folder, "q", &QUERIES, &[vec![1.0], vec![1.0], vec![f32::NEG_INFINITY]]);
    refused("query `d/ab/g`: number 0 of its embedding is -inf");
    write_rows(&folder, "q", &QUERIES, &[vec![f32::MAX], vec![1.0], vec![1.0]]);
    refused("their products leave f32");
    folder.write("q.npy", npy(&[]));
    refused("embeddings of passages are 1 wide, those of queries 0");
    good();
    fs::remove_file(folder.path("q.ids.txt")).unwrap();
    refused("there is no `q.ids.txt`");
    good();

    let bytes = npy(&[vec![1.0], vec![1.0], vec![1.0]]);
    folder.write("q.npy", &bytes[..bytes.len() - 1]);
    refused("are too few for 3 rows of 1 numbers");
    folder.write("q.npy", String::from_utf8_lossy(&bytes).replace("<f4", ">f4").as_bytes());
    refused("not an `.npy` file");
    let replaced = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        folder.write("q.npy", bytes);
    };
    replaced(b"<f4", b">f4");
    refused("its type is `>f4`, not `<f2`, `<f4` or `<f8`");
    replaced(b"False", b"True ");
    refused("its columns are contiguous, not its rows");
    replaced(b"(3, 1)", b"(3,)  ");
    refused("its shape is [3]: expected rows and columns");
    good();

    folder
        .prep("eval d --embeddings q.npy --quiet")
        .failed_with(&["one `.npy` file: expected queries and passages"]);
    folder
        .prep("eval d --embeddings p.toml p.npy --quiet")
        .failed_with(&["expected `.safetensors` or `.npy`"]);
    folder.write("x.safetensors", [255_u8; 16]);
    folder.prep("eval d --embeddings x.safetensors --quiet").failed_with(&["ends within its header"]);
    folder.prep("eval nothing --embeddings q.npy p.npy --quiet").failed_with(&["no manifest.json"]);
    assert_eq!(folder.prep("eval d").code, Some(2));
    assert_eq!(folder.prep(&format!("{EVAL} --trec-run r.txt")).code, Some(2));
    assert_eq!(folder.prep(&format!("{EVAL} --k 0")).code, Some(2));
    // Each cut-off has one column, however often it is named.
    let stdout = |k: &str| folder.prep(&format!("{EVAL} --k {k}")).done().stdout;
    assert_eq!(stdout("3,1,3"), stdout("1,3"));
    for output in ["--per-query", "--run-out", "--qrels-out", "--embeddings-out"] {
        folder
            .prep(&format!("{EVAL} {output} none/x.safetensors"))
            .failed_with(&[&format!("setting `{output}`: there is no folder `none`")]);
    }
}
