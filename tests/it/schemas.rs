//! `schemas/` is what the program prints, and the pipelines that ship are what the schema admits.

use std::fs;

use crate::util::{Folder, files, repository};

#[test]
fn schemas_are_those_that_the_program_prints() {
    let folder = Folder::new();
    for name in ["queries", "passages", "qrels", "batches", "index", "rejects"] {
        let kept = fs::read_to_string(repository().join(format!("schemas/{name}.json"))).unwrap();
        assert_eq!(folder.prep(&format!("schema {name}")).done().stdout, kept, "`prep schema {name}`");
    }
    for name in ["pipeline", "plan", "manifest"] {
        let kept = fs::read_to_string(repository().join(format!("schemas/{name}.schema.json"))).unwrap();
        assert_eq!(folder.prep(&format!("schema {name}")).done().stdout, kept, "`prep schema {name}`");
    }
    let all = folder.prep("schema").done().json();
    assert_eq!(all.as_object().unwrap().len(), 9);
    assert_eq!(folder.prep("schema nothing").code, Some(2));
}

#[test]
fn every_pipeline_that_ships_reads() {
    for (name, bytes) in files(&repository().join("pipelines")) {
        let text = String::from_utf8(bytes).unwrap();
        let pipeline =
            prep::pipeline::Pipeline::from_toml(&name, &text, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(format!("{}.toml", pipeline.name), name, "a pipeline is called as its file");
    }
}
