//! `schemas/` is what the program prints, and the pipelines that ship are what the schema admits.

use std::fs;

use serde_json::Value;

use crate::util::{Folder, files, repository};

#[test]
fn schemas_are_those_that_the_program_prints() {
    let folder = Folder::new();
    let tables = [
        "queries",
        "passages",
        "qrels",
        "negatives",
        "words",
        "lexicon",
        "batches",
        "index",
        "rejects",
        "mined",
    ];
    for name in tables {
        let kept = fs::read_to_string(repository().join(format!("schemas/{name}.json"))).unwrap();
        assert_eq!(folder.prep(&format!("schema {name}")).done().stdout, kept, "`prep schema {name}`");
    }
    for name in ["pipeline", "plan", "manifest", "train"] {
        let kept = fs::read_to_string(repository().join(format!("schemas/{name}.schema.json"))).unwrap();
        assert_eq!(folder.prep(&format!("schema {name}")).done().stdout, kept, "`prep schema {name}`");
    }
    let all = folder.prep("schema").done().json();
    assert_eq!(all.as_object().unwrap().len(), 14);
    assert_eq!(folder.prep("schema nothing").code, Some(2));
}

/// After a change of a command's help: `prep man --markdown > schemas/COMMANDS.md`.
#[cfg(feature = "hub")]
#[test]
fn the_page_of_commands_is_what_the_program_prints() {
    let kept = fs::read_to_string(repository().join("schemas/COMMANDS.md")).unwrap();
    assert_eq!(Folder::new().prep("man --markdown").done().stdout, kept);
}

/// After a change of the pipeline's keys: `prep schema pipeline --markdown > schemas/PIPELINE.md`.
#[test]
fn the_page_of_pipelines_is_what_the_program_prints_and_has_every_key() {
    let kept = fs::read_to_string(repository().join("schemas/PIPELINE.md")).unwrap();
    let folder = Folder::new();
    assert_eq!(folder.prep("schema pipeline --markdown").done().stdout, kept);
    let schema = folder.prep("schema pipeline").done().json();
    let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for (key, value) in tables.filter_map(|table| table["properties"].as_object()).flatten() {
        let is_there = kept.contains(&format!("`{key}`")) || kept.contains(&format!("{key}]"));
        assert!(is_there, "no line for `{key}`: {value}");
    }
    for name in ["plan", "manifest", "train", "batches"] {
        assert!(
            folder.prep(&format!("schema {name} --markdown")).done().stdout.contains("| --- |"),
            "{name}"
        );
    }
    assert_eq!(folder.prep("schema --markdown").code, Some(2));
}

#[test]
fn every_command_has_a_manual_page_and_is_completed() {
    let folder = Folder::new();
    folder.prep("man --out pages").done();
    assert!(folder.prep("man").done().stdout.contains(".TH prep 1"));
    for command in ["verify", "train", "eval", "export", "report"] {
        let page = fs::read_to_string(folder.path(&format!("pages/prep-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{page}");
        for shell in ["bash", "zsh", "fish"] {
            assert!(folder.prep(&format!("completions {shell}")).done().stdout.contains(command), "{shell}");
        }
    }
}

#[test]
fn every_pipeline_that_ships_reads() {
    let (mut pipelines, mut settings) = (0, 0);
    for (path, bytes) in files(&repository().join("pipelines")) {
        let Some(name) = path.strip_suffix(".toml") else { continue };
        let text = String::from_utf8(bytes).unwrap();
        if text.contains("[[corpora]]") {
            let pipeline =
                prep::pipeline::Pipeline::from_toml(&path, &text, &[]).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(pipeline.name, name.rsplit('/').next().unwrap(), "a pipeline is called as its file");
            pipelines += 1;
        } else {
            prep::train::Settings::from_toml(&path, &text, &[]).unwrap_or_else(|e| panic!("{e}"));
            settings += 1;
        }
    }
    assert!(0 < pipelines && 0 < settings);
}

/// Key, as in `optimizer.beta1`, and default of every setting below an object of a schema.
fn settings(schema: &Value, object: &Value, before: &str, found: &mut Vec<(String, Value)>) {
    for (name, property) in object["properties"].as_object().unwrap() {
        let key = format!("{before}{name}");
        let target = property["$ref"].as_str().and_then(|path| schema.pointer(path.strip_prefix('#')?));
        match target {
            Some(target) if target.get("properties").is_some() => {
                settings(schema, target, &format!("{key}."), found);
            }
            _ => found.push((key, property["default"].clone())),
        }
    }
}

#[test]
fn every_setting_of_the_trainer_has_a_line_with_its_default() {
    let page = fs::read_to_string(repository().join("schemas/TRAIN.md")).unwrap();
    let schema = Folder::new().prep("schema train").done().json();
    let mut found = Vec::new();
    settings(&schema, &schema, "", &mut found);
    assert!(20 < found.len(), "{found:?}");
    for (key, default) in &found {
        let line = page.lines().find(|line| line.starts_with(&format!("| `{key}` | ")));
        let line = line.unwrap_or_else(|| panic!("TRAIN.md has no line for `{key}`"));
        let told = line.split(" | ").nth(1).unwrap();
        if !default.is_null() {
            assert_eq!(told, format!("`{default}`"), "the default of `{key}`");
        }
    }
    let n_lines = page.lines().skip_while(|line| *line != "| key | default | what |").skip(2);
    let n_lines = n_lines.take_while(|line| line.starts_with('|')).count();
    assert_eq!(n_lines, found.len(), "a line of TRAIN.md is of no setting");
}
