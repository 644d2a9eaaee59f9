//! The plan as a user meets it: `plan.json`, and batches that others derive alike.

use std::fs;

use crate::util::{Folder, repository};

/// The bytes of the demo's plan. A copy of our own output, so a snapshot: changing it changes every dataset.
#[test]
fn the_plan_of_the_demo_is_stable() {
    let folder = Folder::new();
    let data = repository().join("data");
    let pipeline = repository().join("pipelines/demo.toml");
    let (data, pipeline) = (data.to_str().unwrap(), pipeline.to_str().unwrap());
    folder
        .prep_args(&[
            "build-shards",
            pipeline,
            "--data",
            data,
            "--out",
            "d",
            "--set",
            "batches.steps=3",
            "--set",
            "batches.epochs=1",
        ])
        .failed_with(&["both `steps` and `epochs`"]);
    folder
        .prep_args(&[
            "build-shards",
            pipeline,
            "--data",
            data,
            "--out",
            "d",
            "--set",
            "corpora.demo.languages=['de', 'zh']",
        ])
        .done();
    let plan = fs::read_to_string(folder.path("d/plan.json")).unwrap();
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_batch_far_beyond_the_last_step_is_defined() {
    let folder = Folder::new();
    let data = repository().join("data");
    let pipeline = repository().join("pipelines/demo.toml");
    folder
        .prep_args(&[
            "build-shards",
            pipeline.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--out",
            "d",
        ])
        .done();
    let far = folder.prep("reproduce d --step 1000000000000000000 --json").done().json();
    assert_eq!(far[0]["rows"].as_array().unwrap().len(), 16);
    assert_eq!(far[0]["agrees_with_index"], serde_json::Value::Null);
}
