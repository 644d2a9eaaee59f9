//! `prep why`: from a step of a run to its rows, held against the trainer's own loss and against the batch itself.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::train::folder;
use crate::util::{Folder, files};

const STATIC: &str = "train d --init static --tokenizer tokenizer.json --quiet --set optimizer.warmup_fraction=0 \
                      --set optimizer.decay=constant";

fn why(folder: &Folder, arguments: &str) -> Value {
    folder.prep(&format!("why {arguments} --json --quiet")).done().json()
}

fn row_ids(rows: &Value) -> BTreeSet<(u64, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let row = |row: &Value| (row["row"].as_u64().unwrap(), text(row, "query_id"), text(row, "positive_id"));
    rows.as_array().unwrap().iter().map(row).collect()
}

/// The model after 6 steps makes of batch 6 the loss that a run of 7 steps had there, in each form.
#[test]
fn the_rows_have_the_loss_that_the_trainer_had() {
    let folder = folder();
    let forms = ["", "--no-mask", "--set loss.form=paper --temperature 0.1"];
    for (n, form) in forms.into_iter().enumerate() {
        folder.prep(&format!("{STATIC} --steps 6 --out short{n} {form}")).done();
        folder.prep(&format!("{STATIC} --steps 7 --out long{n} {form}")).done();
        let found = why(&folder, &format!("long{n} --step 6 --model short{n}/model"));
        let (then, now) = (found["metrics"]["loss"].as_f64().unwrap(), found["loss_now"].as_f64().unwrap());
        assert!((then - now).abs() <= 1e-5 * then, "{form}: the trainer had {then}, the rows have {now}");
        let losses: Vec<f64> =
            found["rows"].as_array().unwrap().iter().map(|row| row["loss"].as_f64().unwrap()).collect();
        assert!(losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
        for row in found["rows"].as_array().unwrap() {
            let is_best = row["rival"]["margin"].as_f64().is_none_or(|margin| margin <= 0.0);
            assert_eq!(is_best, row["rank"] == 1, "{row}");
        }
    }
}

#[test]
fn a_step_leads_to_its_batch_and_its_corpora() {
    let folder = folder();
    folder.prep(&format!("{STATIC} --steps 12 --out run")).done();
    let found = why(&folder, "run --step 3 --no-model");
    let batch = &folder.prep("reproduce d --step 3 --json --quiet").done().json()[0];
    assert_eq!(found["digest"], batch["digest"]);
    assert_eq!(found["masked_pairs"], batch["masked_pairs"]);
    assert_eq!(row_ids(&found["rows"]), row_ids(&batch["rows"]));
    assert_eq!((&found["loss_now"], &found["agrees_with_index"]), (&Value::Null, &json!(true)));

    let corpus = &found["corpora"][0];
    assert_eq!(
        (&corpus["name"], &corpus["licence"], &corpus["rows"]),
        (&json!("demo"), &json!("CC0-1.0"), &json!(16))
    );
    let pairs = found["languages"].as_object().unwrap();
    let expected: BTreeSet<String> =
        pairs.keys().flat_map(|pair| pair.split(':')).map(|lang| format!("demo/{lang}.json")).collect();
    let named: BTreeSet<String> =
        corpus["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap().to_owned()).collect();
    assert_eq!(named, expected);

    let text = folder.prep("why run --step 3 --rows 2 --quiet").done().stdout;
    assert!(
        text.contains("licence   CC0-1.0") && text.contains("2 of 16 rows, greatest loss first"),
        "{text}"
    );
}

/// Rows are shown, and scored, as they were trained on, each text beside what stands in the corpus.
#[test]
fn switched_texts_stand_beside_their_originals() {
    let folder = folder();
    crate::code_switch_derived::build_demo(&folder);
    let batch =
        |step: u64| folder.prep(&format!("reproduce s --step {step} --json --quiet")).done().json()[0].take();
    let is_switched = |batch: &Value| {
        let is_there = |name: &str| batch["rows"].as_array().unwrap().iter().any(|row| row[name].is_string());
        is_there("query_original") && is_there("positive_original")
    };
    let (step, batch) =
        (1..20).map(|step| (step, batch(step))).find(|(_, found)| is_switched(found)).unwrap();
    let train = STATIC.replace("train d", "train s");
    folder.prep(&format!("{train} --steps {step} --out short")).done();
    folder.prep(&format!("{train} --steps {} --out long", step + 1)).done();
    let found = why(&folder, &format!("long --step {step} --model short/model"));
    let (then, now) = (found["metrics"]["loss"].as_f64().unwrap(), found["loss_now"].as_f64().unwrap());
    assert!((then - now).abs() <= 1e-5 * then, "the trainer had {then}, the rows have {now}");
    let mut n_shown = 0;
    for row in found["rows"].as_array().unwrap() {
        let rows = batch["rows"].as_array().unwrap();
        let of_batch = |row: &Value| &rows[usize::try_from(row["row"].as_u64().unwrap()).unwrap()];
        for column in ["query", "query_original", "positive", "positive_original"] {
            assert_eq!(row[column], of_batch(row)[column], "{column}");
        }
        let rival = &row["rival"];
        let (text, original) = match rival["is_hard_negative"].as_bool().unwrap() {
            true => (&of_batch(rival)["negatives"][0], &of_batch(rival)["negatives_original"][0]),
            false => (&of_batch(rival)["positive"], &of_batch(rival)["positive_original"]),
        };
        assert_eq!((&rival["text"], &rival["original"]), (text, original));
        let originals = [&row["query_original"], &row["positive_original"], original];
        n_shown += originals.iter().filter(|original| original.is_string()).count();
    }
    let text =
        folder.prep(&format!("why long --step {step} --model short/model --rows 99 --quiet")).done().stdout;
    assert_eq!(text.matches("\n         was: ").count(), n_shown);
    // As where the batch itself is shown.
    let shown = folder.prep(&format!("reproduce s --step {step} --quiet")).done().stdout;
    assert!(shown.contains("\n        was: "), "{shown}");
}

/// The greatest rise above batches of its kind is found without being named.
#[test]
fn a_spike_is_found() {
    let folder = folder();
    folder.prep(&format!("{STATIC} --steps 40 --out run")).done();
    let log = folder.path("run/metrics.jsonl");
    let lines = fs::read_to_string(&log).unwrap();
    let spiked = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["step"] == 31 {
            line["loss"] = json!(1e300);
        }
        format!("{line}\n")
    });
    // And a line that a crash has cut.
    fs::write(&log, spiked.collect::<String>() + "{\"step\":40,\"lo").unwrap();
    let found = why(&folder, "run --no-model");
    assert_eq!((&found["metrics"]["step"], &found["spikes"][0]["step"]), (&json!(31), &json!(31)));
    assert_eq!(found["unread_lines"], 1);
    let text = folder.prep("why run --no-model --quiet").done().stdout;
    assert!(
        text.contains("1.0000e300, usually ") && text.contains("damaged lines of metrics.jsonl, left out: 1"),
        "{text}"
    );
    let kind = |step: u64| why(&folder, &format!("run --no-model --step {step}"))["is_monolingual"].clone();
    let losses: Vec<f64> = lines
        .lines()
        .take(31)
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| kind(line["step"].as_u64().unwrap()) == found["is_monolingual"])
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    let mut sorted = losses;
    sorted.sort_by(f64::total_cmp);
    assert_eq!(found["usual"]["loss"].as_f64(), Some(sorted[(sorted.len() - 1) / 2]));
}

/// One text under two ids. The mask knows it by its text; without the mask a person wants to know.
#[test]
fn a_text_that_is_both_answer_and_negative_is_remarked() {
    let folder = folder();
    folder.write(
        "data/pairs.jsonl",
        r#"{"qid":"1","question":"what is red","pid":"a","text":"the same words"}
{"qid":"2","question":"what is blue","pid":"b","text":"the same words"}
"#,
    );
    folder.write(
        "pairs.toml",
        "name = \"pairs\"\n[[corpora]]\nname = \"p\"\nformat = \"table\"\npath = \"pairs.jsonl\"\n\
         languages = [\"en\"]\nlicence = \"\\u001b]0;x\\u0007\\u202eCC0\"\n[corpora.columns]\nquery_id = \"qid\"\nquery = \"question\"\n\
         passage_id = \"pid\"\npassage = \"text\"\n\
         [batches]\nstrategy = \"x-x-mono\"\nbatch_size = 2\nsteps = 3\n",
    );
    folder.prep("build-shards pairs.toml --out p --quiet").done();
    folder.prep("train p --init static --tokenizer tokenizer.json --out run --quiet --no-mask").done();
    let text = folder.prep("why run --step 0 --quiet").done().stdout;
    assert!(text.contains("! the text of its passage stands in row"), "{text}");
    // A licence is foreign text: no command to the terminal.
    assert!(text.contains("]0;x CC0") && !text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
}

#[test]
fn a_run_is_explained_by_its_own_dataset_only() {
    let folder = folder();
    folder.prep(&format!("{STATIC} --steps 6 --out run")).done();
    folder.prep("why run --step 6").failed_with(&["has not taken step 6", "0 to 5"]);
    folder.prep("why d").failed_with(&["`d` is none", "hint: name a folder that `prep train` wrote"]);
    folder.prep("why d --dataset d").failed_with(&["has taken no step"]);

    fs::rename(folder.path("d"), folder.path("moved")).unwrap();
    folder.prep("why run --step 2").failed_with(&["no manifest.json", "--dataset DIR"]);
    assert_eq!(why(&folder, "run --step 2 --dataset moved")["metrics"]["step"], 2);

    // Of an older version, which did not write the name.
    fs::remove_file(folder.path("run/dataset.json")).unwrap();
    folder.prep("why run --step 2").failed_with(&["does not say which dataset", "--dataset DIR"]);
    assert_eq!(why(&folder, "run --step 2 --dataset moved --no-model")["metrics"]["step"], 2);
    folder.prep(&format!("{} --steps 6 --out run --resume", STATIC.replace(" d ", " moved "))).done();
    assert!(files(&folder.path("run")).contains_key("dataset.json"));

    let mut manifest: Value =
        serde_json::from_slice(&fs::read(folder.path("moved/manifest.json")).unwrap()).unwrap();
    manifest["dataset_id"] = json!("0".repeat(64));
    folder.write("moved/manifest.json", manifest.to_string());
    folder.prep("why run --step 2").failed_with(&["was trained on dataset", "prep diff"]);
}
