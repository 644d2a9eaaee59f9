//! The experiment's pages say what its results say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::util::repository;

const STRATEGIES: [&str; 4] = ["x-x-mono", "x-y", "x-x", "hybrid"];
const MEASURES: [&str; 4] = ["Mo", "Cr", "Mul", "rank_distance"];

fn rows() -> Vec<Value> {
    let text = fs::read_to_string(repository().join("pipelines/experiments/results.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The means over the folds that chose nothing.
fn main_table() -> BTreeMap<&'static str, [f64; 4]> {
    let rows = rows();
    let means = STRATEGIES.map(|name| {
        let runs: Vec<&Value> = rows
            .iter()
            .filter(|row| row["part"] == "main" && row["label"] == name && row["fold"] != 0)
            .collect();
        let seeds_and_folds: BTreeSet<(u64, u64)> =
            runs.iter().map(|row| (row["seed"].as_u64().unwrap(), row["fold"].as_u64().unwrap())).collect();
        assert_eq!(seeds_and_folds.len(), runs.len(), "{name}: a run counts once");
        assert_eq!(runs.len(), 5 * 4, "{name}: five seeds, four folds");
        let mean = |measure: &str| {
            runs.iter().map(|row| row[measure].as_f64().unwrap()).sum::<f64>() / runs.len() as f64
        };
        (name, MEASURES.map(mean))
    });
    means.into()
}

/// The lines of a block that `run.py` fills in.
fn block(page: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let (begin, end) = (format!("<!-- run.py: {name} -->"), format!("<!-- end of {name} -->"));
    let inside = text.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end));
    let (inside, _) = inside.unwrap_or_else(|| panic!("{page} has no block {name}"));
    inside.lines().map(str::to_owned).collect()
}

#[test]
fn the_tables_are_the_means_of_the_lines() {
    for (name, [mo, cr, mul, distance]) in main_table() {
        let line = |page: &str, block_name: &str| {
            let lines = block(page, block_name);
            let found = lines.iter().find(|line| line.starts_with(&format!("| {name} |")));
            found.unwrap_or_else(|| panic!("{page}: no line {name} in {lines:#?}")).replace("**", "")
        };
        let page = line("pipelines/experiments/RESULTS.md", "main");
        let cells: Vec<&str> = page.split('|').map(str::trim).collect();
        for (cell, mean) in cells[2..].iter().zip([mo, cr, mul]) {
            assert!(cell.starts_with(&format!("{mean:.4} (")), "{name}: {mean} in {page}");
        }
        assert!(cells[5].starts_with(&format!("{distance:.1} (")), "{name}: {distance} in {page}");
        let thousands = format!("{},{:03}", distance as u64 / 1000, distance.round() as u64 % 1000);
        let expected = format!("| {name} | {mo:.3} | {cr:.3} | {mul:.3} | {thousands} |");
        assert_eq!(line("README.md", "summary"), expected);
    }
}

/// What the words beside the tables say.
#[test]
fn the_words_are_what_the_tables_say() {
    let of = main_table();
    let [mono, cross, any, hybrid] = STRATEGIES.map(|name| of[name]);
    for measure in 0..4 {
        let (low, high) = (mono[measure].min(cross[measure]), mono[measure].max(cross[measure]));
        assert!((low..high).contains(&hybrid[measure]), "hybrid lies between in {}", MEASURES[measure]);
        let share = (hybrid[measure] - mono[measure]) / (cross[measure] - mono[measure]);
        match MEASURES[measure] {
            "Mo" => assert!(share < 0.65, "it pays a smaller part of what X-Y pays: {share}"),
            name => assert!(0.65 < share, "it goes most of the way in {name}: {share}"),
        }
    }
    assert!(mono[0] > cross[0] && mono[3] > hybrid[3]);
    assert!(any[2] < 0.55 * cross[2] && any[3] > mono[3], "X-X fails");
}

#[test]
fn every_line_says_how_it_was_made() {
    let mut names = BTreeSet::new();
    for row in rows() {
        let name = row["name"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} stands there twice");
        let commands = row["commands"].as_array().unwrap();
        assert!(!commands.is_empty(), "{name}");
        for command in commands {
            let command = command.as_str().unwrap();
            assert!(command.starts_with("prep "), "{name}: {command}");
            let words = command.split(' ');
            let mut paths = words.filter(|word| word.starts_with('/'));
            assert_eq!(paths.next(), None, "{name}: no machine's path");
        }
        if row["part"] != "check" {
            assert_eq!(row["dataset_id"].as_str().unwrap().len(), 64, "{name}");
        }
    }
}
