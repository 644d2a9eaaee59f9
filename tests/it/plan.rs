//! The plan as a user meets it: `plan.json`, and batches that others derive alike.

use std::fs;

use crate::util::{Folder, repository};

/// The bytes of the demo's plan. A copy of our own output, so a snapshot: changing it changes every dataset.
#[test]
fn the_plan_of_the_demo_is_stable() {
    let folder = Folder::new();
    let (data, pipeline) = (repository().join("data"), repository().join("pipelines/demo.toml"));
    let (data, pipeline) = (data.to_str().unwrap(), pipeline.to_str().unwrap());
    let languages = "corpora.demo.languages=['de', 'zh']";
    folder.prep_args(&["build-shards", pipeline, "--data", data, "--out", "d", "--set", languages]).done();
    let plan = fs::read_to_string(folder.path("d/plan.json")).unwrap();
    insta::assert_snapshot!(plan, @r#"{"version":1,"seed":42,"batch_size":16,"steps":19,"hard_negatives":{"k":1,"source":"same-context"},"sources":[{"name":"de","weight":1,"pools":[{"name":"demo/de:de","weight":1,"size":74}]},{"name":"x-y","weight":2,"pools":[{"name":"demo/de:zh","weight":1,"size":74},{"name":"demo/zh:de","weight":1,"size":74}]},{"name":"zh","weight":1,"pools":[{"name":"demo/zh:zh","weight":1,"size":74}]}]}"#);
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
