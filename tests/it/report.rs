//! `prep report`: the page says what the files say, whatever stands in them, and a browser has nothing to complain of.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::train::folder_with_held_out;
use crate::util::{Folder, pipeline, squad};

/// What a careless page would run, break off at, or print backwards.
const HOSTILE: &str = "</title></style><script>alert(\"1\")</script>]]>'&\u{202e}x\u{200f}";
/// The same on a page.
const ESCAPED: &str = "&lt;/title&gt;&lt;/style&gt;&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;]]&gt;'&amp;⟨U+202E⟩x⟨U+200F⟩";

/// The page of a report on these paths.
fn page(folder: &Folder, paths: &str) -> String {
    folder.prep(&format!("report {paths} --quiet")).done();
    fs::read_to_string(folder.path("report.html")).unwrap()
}

/// The texts of the cells of the table that is called so, row by row.
#[track_caller]
fn table(page: &str, label: &str) -> Vec<Vec<String>> {
    let (_, rest) =
        page.split_once(&format!("aria-label=\"{label}\"")).unwrap_or_else(|| panic!("no `{label}`"));
    let table = &rest[..rest.find("</table>").unwrap()];
    let rows = table.split("<tr>").skip(1);
    let row =
        |row: &str| row.split("</td>").flat_map(|part| part.split("</th>")).map(text).collect::<Vec<_>>();
    rows.map(row).map(|mut row| (row.pop(), row).1).collect()
}

/// Markup without its tags.
fn text(markup: &str) -> String {
    let parts = markup.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    parts.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn step(step: u64) -> Value {
    let x = step as f64;
    json!({
        "step": step, "loss": 3.0 / (1.0 + x), "learning_rate": 1e-5 * x, "gradient_norm": 1.0 + (x * 0.7).sin(),
        "examples_per_sec": 512.5, "tokens_per_sec": 20_000.0 + x, "masked_pairs": 7 * step, "wait_fraction": 0.0125,
    })
}

/// A run of so many steps, each changed by `change`.
fn write_run(folder: &Folder, name: &str, steps: u64, change: impl Fn(u64, &mut Value)) {
    let lines = (0..steps).map(|number| {
        let mut line = step(number);
        change(number, &mut line);
        format!("{line}\n")
    });
    folder.write(&format!("{name}/metrics.jsonl"), lines.collect::<String>());
    folder.write(
        &format!("{name}/settings.toml"),
        "seed = 1\n[model]\ninit = \"small\"\n[loss]\nmask = true\n",
    );
    folder.write(
        &format!("{name}/evaluations.jsonl"),
        "{\"steps\":2,\"map_mo\":0.5,\"map_cr\":0.25,\"map_mul\":0.125}\n{\"steps\":4,\"map_mo\":0.625,\"map_cr\":0.5}\n",
    );
}

/// What `prep eval --json` prints, of numbers that follow from `shift`.
fn evaluation(shift: f64, benchmark: &str) -> Value {
    let mean = |x: f64| json!({"macro": x + shift, "micro": x + shift + 0.011, "interval": [x + shift - 0.03, x + shift + 0.04]});
    let languages = ["ar", "de", "zh-Hant"];
    let cells = languages.iter().enumerate().flat_map(|(q, query)| {
        let cell = move |setting: &str, passage: Option<&str>, x: f64| {
            json!({"setting": setting, "query_lang": query, "passage_lang": passage, "queries": 5,
                   "queries_without_relevant": 0, "means": {"mAP": x, "R@10": x / 2.0}})
        };
        let within = languages.iter().enumerate().map(move |(p, passage)| {
            cell(if q == p { "Mo" } else { "Cr" }, Some(passage), shift + 0.0731 * (3 * q + p) as f64)
        });
        within.chain([cell("Mul", None, shift + 0.1117 * q as f64)])
    });
    let setting = |x: f64| {
        json!({"cells": 3, "queries": 1234, "queries_without_relevant": 0,
               "means": {"mAP": mean(x), "R@10": mean(x / 2.0), "R@2": mean(x / 3.0)}})
    };
    json!({
        "dataset_id": "ab".repeat(32), "splits": "eval", "eval_is_trained_on": false, "ties": "passage id descending",
        "benchmark": benchmark, "queries": 15, "groups": 5, "passages": 4321, "languages": languages,
        "relevant_outside_pool": 0,
        "settings": {"Mo": setting(0.5), "Cr": setting(0.3), "Mul": setting(0.2)},
        "rank_distance": {"queries": 15, "macro": 1234.5 + shift, "micro": 1300.25, "interval": [1100.0, 1400.0],
                          "by_query_lang": {"ar": 1000.25, "de": 1500.75 + shift, "zh-Hant": 900.0}},
        "cells": cells.collect::<Vec<_>>(),
        "bootstrap": {"level": 0.95, "resamples": 10000, "seed": 42},
    })
}

/// As `prep eval` writes it: settings and measures in their own order, where a map would sort them by name.
fn written(value: &Value) -> String {
    const FIRST: [&str; 4] = ["Mo", "Cr", "Mul", "mAP"];
    let Value::Object(object) = value else {
        return match value {
            Value::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(",")),
            leaf => leaf.to_string(),
        };
    };
    let mut keys: Vec<&String> = object.keys().collect();
    keys.sort_by_key(|key| (FIRST.iter().position(|first| key == first).unwrap_or(FIRST.len()), *key));
    let fields: Vec<String> =
        keys.into_iter().map(|key| format!("{}:{}", json!(key), written(&object[key]))).collect();
    format!("{{{}}}", fields.join(","))
}

/// Of a float in JSON, with so many digits.
fn fixed(value: &Value, digits: usize) -> String {
    format!("{:.digits$}", value.as_f64().unwrap())
}

#[test]
fn tables_of_runs_say_what_the_files_say() {
    let folder = Folder::new();
    write_run(&folder, "a", 20, |_, _| ());
    write_run(&folder, "b", 5, |_, line| line["loss"] = json!(1.5));
    folder.write("b/settings.toml", "seed = 2\n[model]\ninit = \"small\"\n[loss]\nmask = true\n");
    let page = page(&folder, "a b");
    assert!(page.contains("2 runs"));
    let rows = table(&page, "Runs");
    assert_eq!(
        rows[1..],
        [
            vec![
                "1 a",
                "20",
                "3.000",
                "0.1500",
                "0.1500 step 19",
                "1.988 step 11",
                "1.900e−4",
                "20,010",
                "0.5625 4 steps"
            ],
            vec![
                "2 b",
                "5",
                "1.500",
                "1.500",
                "1.500 step 0",
                "1.985 step 2",
                "4.000e−5",
                "20,002",
                "0.5625 4 steps"
            ],
        ]
        .map(|row| row.into_iter().map(str::to_owned).collect::<Vec<_>>())
    );
    let lines = table(&page, "steps of a");
    assert_eq!(lines.len(), 1 + 20);
    for (number, row) in lines[1..].iter().enumerate() {
        let line = step(number as u64);
        assert_eq!(row[0], line["step"].to_string());
        assert_eq!(row[4], line["masked_pairs"].to_string());
        let shown = [
            (1, "loss"),
            (2, "learning_rate"),
            (3, "gradient_norm"),
            (6, "tokens_per_sec"),
            (7, "wait_fraction"),
        ];
        for (column, name) in shown {
            let value = line[name].as_f64().unwrap();
            let shown: f64 = row[column].replace(',', "").replace('−', "-").parse().unwrap();
            assert!(
                (shown - value).abs() <= value.abs() * 5e-4,
                "{name} of step {number}: {shown} for {value}"
            );
        }
    }
    let maps = table(&page, "mAP Mo on the held-out part");
    assert_eq!(
        maps[1..],
        [["2", "0.5000", "0.5000"], ["4", "0.6250", "0.6250"]].map(|row| row.map(str::to_owned))
    );
    assert_eq!(table(&page, "Settings that differ")[1..], [["seed", "1", "2"].map(str::to_owned)]);
}

#[test]
fn tables_of_evaluations_say_what_the_files_say() {
    let folder = Folder::new();
    let results = [evaluation(0.0, "x"), evaluation(0.0456, "x")];
    folder.write("e1.json", written(&results[0]));
    folder.write("e2.json", written(&results[1]));
    let page = page(&folder, "e1.json e2.json");
    let rows = table(&page, "All measures");
    assert_eq!(
        rows[0],
        ["setting", "evaluation", "questions", "mAP", "interval", "micro", "R@10", "R@2"],
        "measures stand in the order of the file"
    );
    let settings = ["Mo", "Mo", "Cr", "Cr", "Mul", "Mul"];
    for (n, (row, setting)) in rows[1..].iter().zip(settings).enumerate() {
        let which = n % 2;
        let means = &results[which]["settings"][setting]["means"];
        let best = if which == 1 { " (best)" } else { "" };
        let map = &means["mAP"];
        let (lo, hi) = (fixed(&map["interval"][0], 4), fixed(&map["interval"][1], 4));
        let expected = [
            setting.to_owned(),
            format!("{} e{}", which + 1, which + 1),
            "1,234".to_owned(),
            format!("{}{best}", fixed(&map["macro"], 4)),
            format!("{lo} to {hi}"),
            fixed(&map["micro"], 4),
            format!("{}{best}", fixed(&means["R@10"]["macro"], 4)),
            format!("{}{best}", fixed(&means["R@2"]["macro"], 4)),
        ];
        assert_eq!(row[..], expected);
    }
    for (results, name) in results.iter().zip(["e1", "e2"]) {
        let map = table(&page, &format!("mAP by language: {name}"));
        assert_eq!(map[0], ["", "ar", "de", "zh-Hant", "all"]);
        let cells = results["cells"].as_array().unwrap();
        for (row, (cells, language)) in map[1..].iter().zip(cells.chunks(4).zip(["ar", "de", "zh-Hant"])) {
            let values = cells.iter().map(|cell| fixed(&cell["means"]["mAP"], 3));
            let expected: Vec<String> = [language.to_owned()].into_iter().chain(values).collect();
            assert_eq!(row[..], expected);
        }
    }
    assert_eq!(
        table(&page, "rank distance by language")[4],
        ["mean", "1,234.5", "1,234.5"].map(str::to_owned)
    );
}

#[test]
fn evaluations_of_two_benchmarks_are_not_compared() {
    let folder = Folder::new();
    folder.write("e1.json", evaluation(0.0, "x").to_string());
    folder.write("e2.json", evaluation(0.1, "y").to_string());
    let page = page(&folder, "e1.json e2.json");
    assert!(page.contains("Evaluation, benchmark 1") && page.contains("Evaluation, benchmark 2"));
    assert!(!page.contains("(best)"));
}

#[test]
fn a_step_without_a_number_is_a_gap() {
    let folder = Folder::new();
    write_run(&folder, "run", 12, |number, line| match number {
        3 => line["loss"] = Value::Null,
        4 => drop(line.as_object_mut().unwrap().remove("gradient_norm")),
        _ => {}
    });
    let path = folder.path("run/metrics.jsonl");
    let mut lines = fs::read_to_string(&path).unwrap();
    lines.push_str("{\"step\":12,\"loss\":NaN,\"learning_rate\":-Infinity}\n{\"step\":13,\"lo");
    fs::write(&path, lines).unwrap();
    let page = page(&folder, "run");
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    assert_eq!(table(&page, "Runs")[1][..3], ["1 run", "13", "3.000"].map(str::to_owned));
    assert_eq!(table(&page, "steps of run")[4][1], "–");
    assert!(page.contains("2 steps have no number (×)"));
    assert!(page.contains("1 line could not be read"));

    let nothing = Folder::new();
    write_run(&nothing, "run", 3, |_, line| line["loss"] = Value::Null);
    nothing.write("run/metrics.jsonl", "");
    nothing.prep("report run --quiet").done();
}

#[test]
fn a_long_run_is_thinned() {
    let folder = Folder::new();
    write_run(&folder, "run", 100_000, |number, line| {
        if number == 77_777 {
            line["loss"] = json!(123.0);
        }
    });
    let page = page(&folder, "run");
    assert!(page.len() < 300_000, "{} bytes", page.len());
    assert_eq!(table(&page, "Runs")[1][1], "100,000");
    assert!(page.contains("greatest 123.0 at step 77,777"), "the spike is said");
    assert!(page.contains("Mean of 512 steps"));
}

#[test]
fn hostile_texts_are_texts() {
    let folder = Folder::new();
    let name = HOSTILE.replace('/', "∕");
    write_run(&folder, &name, 3, |_, _| ());
    folder.write(
        &format!("{name}/settings.toml"),
        format!("{} = {}", json!(HOSTILE), json!("<img src=x onerror=alert(1)>")),
    );
    // Each place has a letter of its own, so that each is looked for.
    let hostile = |letter: &str| format!("{letter}{HOSTILE}");
    let mut results = evaluation(0.0, HOSTILE);
    results["languages"][1] = json!(hostile("l"));
    for cell in results["cells"].as_array_mut().unwrap() {
        for key in ["query_lang", "passage_lang"] {
            if cell[key] == "de" {
                cell[key] = json!(hostile("l"));
            }
        }
    }
    results["dataset_id"] = json!(hostile("i"));
    for setting in results["settings"].as_object_mut().unwrap().values_mut() {
        setting["means"][hostile("m")] = setting["means"]["mAP"].clone();
    }
    results["rank_distance"]["by_query_lang"][hostile("r")] = json!(3.0);
    folder.write("e.json", results.to_string());
    folder.prep_args(&["report", &name, "e.json", "--quiet"]).done();
    let page = fs::read_to_string(folder.path("report.html")).unwrap();
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{202e}'));
    for letter in ["l", "i", "m", "r", ""] {
        assert!(page.contains(&format!("{letter}{ESCAPED}")), "`{letter}` is not shown");
    }
    assert!(page.contains(&ESCAPED.replace("&lt;/", "&lt;∕")), "the run's name");
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn a_question_that_holds_a_script_is_shown() {
    let folder = Folder::new();
    let context = "</td></table><img src=x>. Second.";
    folder.write("en.json", squad(context, &[("q1", HOSTILE, 0, "</td>")]));
    folder.write("p.toml", pipeline(&["en"], "steps = 3"));
    folder.prep("build-shards p.toml --data . --out d --quiet").done();
    let page = page(&folder, "d");
    assert!(page.contains(ESCAPED), "{page}");
    assert!(page.contains("&lt;/td&gt;&lt;/table&gt;&lt;img src=x&gt;"));
    assert!(!page.contains("<script") && !page.contains("<img"));
}

#[test]
fn tables_of_a_dataset_say_what_inspect_says() {
    let folder = folder_with_held_out();
    let page = page(&folder, "d");
    let summary = folder.prep("inspect d --json --quiet").done().json();
    assert!(page.contains(summary["dataset_id"].as_str().unwrap()));
    let languages = summary["languages"].as_object().unwrap();
    let rows = table(&page, "Languages and lengths");
    assert_eq!(rows.len(), 2 + languages.len() + 1);
    for (row, (lang, l)) in rows[2..].iter().zip(languages) {
        let side = |n: &str, n_eval: &str, chars: &str| {
            let c = &l[chars];
            [&l[n], &l[n_eval], &Value::Null, &c["median"], &c["p95"], &c["max"]].map(Value::to_string)
        };
        let sides = [
            side("queries", "eval_queries", "query_chars"),
            side("passages", "eval_passages", "passage_chars"),
        ];
        let expected: Vec<String> = [lang.clone()].into_iter().chain(sides.concat()).collect();
        assert_eq!(row[..], expected.iter().map(|cell| cell.replace("null", "")).collect::<Vec<_>>());
    }
    let rows = table(&page, "batches by source and steps");
    for row in &rows[1..] {
        assert_eq!(row[2], summary["batches"][&row[0]].to_string());
        let by_span: u64 = row[3..].iter().map(|cell| cell.parse::<u64>().unwrap()).sum();
        assert_eq!(row[2], by_span.to_string());
    }
    let masked = table(&page, "masked pairs");
    assert_eq!(masked[1][1], summary["masked_pairs"]["min"].to_string());
    assert_eq!(masked[2][1], summary["masked_pairs"]["max"].to_string());
    // `train/` is a cache of what the plan says.
    fs::remove_dir_all(folder.path("d/train")).unwrap();
    let without = folder.prep("report d --out without.html --quiet").done();
    assert!(without.stderr.is_empty());
    let without = fs::read_to_string(folder.path("without.html")).unwrap();
    assert_eq!(table(&without, "batches by source and steps"), rows);
    assert!(without.contains("unknown: train/ is gone"));
}

#[test]
fn the_same_files_give_the_same_page() {
    let (one, two) = (Folder::new(), Folder::new());
    for folder in [&one, &two] {
        write_run(folder, "run", 50, |_, _| ());
        folder.write("e.json", evaluation(0.0, "x").to_string());
    }
    assert_eq!(page(&one, "run e.json"), page(&two, "run e.json --threads 1"));
    assert_eq!(page(&one, "run e.json"), page(&one, "e.json run"), "kinds have an order of their own");
    let left: Vec<String> =
        crate::util::files(&one.path("")).into_keys().filter(|name| name.contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
    let printed = one.prep("report run e.json --out other.html --json --quiet").done().json();
    assert_eq!(
        (&printed["runs"], &printed["evaluations"], &printed["datasets"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(printed["bytes"], fs::metadata(one.path("other.html")).unwrap().len());
}

#[test]
fn what_is_no_input_is_refused() {
    let folder = Folder::new();
    let refused = |arguments: &str, parts: &[&str]| {
        drop(folder.prep(&format!("report {arguments} --quiet")).failed_with(parts));
    };
    folder.write("empty/x", "");
    folder.write("empty.html/x", "");
    refused("empty", &["cannot report on `empty`: is neither a dataset", "hint: name a dataset directory"]);
    write_run(&folder, "run", 1, |_, _| ());
    folder.write("run/model/config.json", "{}");
    refused("run/model", &["cannot report on `run/model`", "hint: name `run`"]);
    folder.write("begun/settings.toml", "");
    refused("begun", &["hint: this run has taken no step yet"]);
    refused("run/settings.toml", &["`run/settings.toml`: not what `prep eval --json` prints", "hint: "]);
    refused("run/model/config.json", &["not what `prep eval --json` prints: missing field"]);
    refused("nothing", &["cannot read `nothing`"]);
    folder.write("bad/metrics.jsonl", "");
    folder.write("bad/settings.toml", "= 3");
    refused("bad", &["cannot report on `bad/settings.toml`: not the settings of a run"]);
    refused("run --out run/metrics.jsonl", &["setting `--out`: `run/metrics.jsonl` does not end in `.html`"]);
    refused("run --out empty.html", &["setting `--out`: `empty.html` is there, and is no file"]);
    assert!(!folder.path("report.html").exists());
}

#[test]
fn the_page_needs_nothing_else() {
    let folder = Folder::new();
    write_run(&folder, "run", 400, |_, _| ());
    folder.write("e.json", evaluation(0.0, "x").to_string());
    let page = page(&folder, "run e.json");
    for outside in
        ["http:", "https:", "src=", "url(", "@import", "<script", "<iframe", "<object", "javascript:"]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    let links = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    assert!(links.into_iter().all(|link| link.starts_with('#') || link == "data:,"));
    assert!(page.contains("default-src 'none'"), "and the browser holds it to that");
}

/// Headings go down one level at a time, everything that is named exists, every picture has a text.
#[test]
fn the_page_can_be_heard() {
    let folder = Folder::new();
    write_run(&folder, "run", 40, |_, _| ());
    write_run(&folder, "run2", 40, |_, _| ());
    folder.write("e.json", evaluation(0.0, "x").to_string());
    let page = page(&folder, "run run2 e.json");
    let levels = page.match_indices("<h").filter_map(|(at, _)| page[at + 2..].chars().next()?.to_digit(10));
    let mut before = 0;
    for level in levels {
        assert!(level <= before + 1, "h{level} after h{before}");
        before = level;
    }
    assert_eq!(page.matches("<h1").count(), 1);
    for landmark in ["<header", "<nav", "<main", "<footer"] {
        assert_eq!(page.matches(landmark).count(), 1, "{landmark}");
    }
    let named = |attribute: &str| -> Vec<&str> {
        page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    };
    for target in named("href=\"#").into_iter().chain(named("aria-labelledby=\"")) {
        assert_eq!(page.matches(&format!(" id=\"{target}\"")).count(), 1, "{target}");
    }
    for picture in page.split("<svg").skip(1).map(|rest| &rest[..rest.find('>').unwrap()]) {
        let is_inner = picture.contains("viewBox") || picture.contains("class=\"mark");
        assert!(
            is_inner || picture.contains("aria-hidden") || picture.contains("role=\"img\" aria-label=\""),
            "{picture}"
        );
    }
}

/// A browser, where there is one: `PREP_CHROMIUM`, or `chromium` on the path.
fn chromium(test: &str) -> Option<PathBuf> {
    let named = env::var_os("PREP_CHROMIUM").map(PathBuf::from);
    let paths = env::var_os("PATH").unwrap_or_default();
    let found = named
        .or_else(|| env::split_paths(&paths).map(|path| path.join("chromium")).find(|path| path.is_file()));
    if found.is_none() {
        println!("{test}: skipped, there is no chromium (PREP_CHROMIUM)");
    }
    found
}

/// Opens a page, `height` pixels high, and returns what the browser logged.
fn screenshot(chromium: &Path, page: &Path, picture: &Path, height: u32, more: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size=1200,{height}"))
        .arg(format!("--screenshot={}", picture.display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    log
}

/// Width, height and bytes of a PNG.
fn png(path: &Path) -> (u32, u32, usize) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20), bytes.len())
}

/// Pixels of the README's picture: down to the end of the heat maps.
const KEPT_HEIGHT: u32 = 1810;

/// The README's picture is made here:
/// `PREP_KEEP_SCREENSHOT=data/report.png cargo test --test it -- a_browser_shows_the_report`.
#[test]
fn a_browser_shows_the_report() {
    let Some(chromium) = chromium("a_browser_shows_the_report") else { return };
    let folder = folder_with_held_out();
    // Pieces of words: the other tokenizer of these tests takes a Chinese sentence for one word.
    folder.prep("tokenizer train d --vocab 1500 --out pieces.json --quiet").done();
    let train = "train d --init static --tokenizer pieces.json --steps 120 --eval-every 20 --quiet";
    for (run, more) in [("masked", ""), ("unmasked", "--no-mask")] {
        folder.prep(&format!("{train} --out {run} {more}")).done();
        let results = folder.prep(&format!("eval d --model {run}/model --json --quiet")).done();
        folder.write(&format!("{run}.json"), results.stdout);
    }
    folder.prep("report d masked unmasked masked.json unmasked.json --quiet").done();
    for (name, more) in [("light", &[][..]), ("dark", &["--blink-settings=preferredColorScheme=0"])] {
        let picture = folder.path(&format!("{name}.png"));
        let log = screenshot(&chromium, &folder.path("report.html"), &picture, 1600, more);
        assert!(!log.contains("CONSOLE"), "{log}");
        let (width, height, bytes) = png(&picture);
        assert_eq!((width, height), (1200, 1600));
        assert!(20_000 < bytes, "{name}: {bytes} bytes are an empty page");
    }
    let theme = |name: &str| fs::read(folder.path(&format!("{name}.png"))).unwrap();
    assert!(theme("light") != theme("dark"));
    if let Some(path) = env::var_os("PREP_KEEP_SCREENSHOT") {
        // What the runs came to; dataset and training fill screens of their own.
        folder.prep("report masked.json unmasked.json --out evaluations.html --quiet").done();
        let picture = crate::util::repository().join(path);
        let log = screenshot(&chromium, &folder.path("evaluations.html"), &picture, KEPT_HEIGHT, &[]);
        assert!(!log.contains("CONSOLE"), "{log}");
    }
}

/// A browser that is asked to run or to fetch something says so: what the test above would fail on.
#[test]
fn a_browser_complains_of_a_page_that_reaches_out() {
    let Some(chromium) = chromium("a_browser_complains_of_a_page_that_reaches_out") else { return };
    let folder = Folder::new();
    write_run(&folder, "run", 5, |_, _| ());
    let page = page(&folder, "run").replace("</main>", "<img src=\"https://example.invalid/x\"></main>");
    let page = folder.write("broken.html", page);
    let log = screenshot(&chromium, &page, &folder.path("broken.png"), 400, &[]);
    assert!(log.contains("CONSOLE"), "{log}");
}
