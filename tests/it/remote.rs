//! Sources that lie elsewhere, and datasets that go there: a hub and a store on local ports.

use std::fs;

use serde_json::{Value, json};

use crate::hub_server::{Asked, COMMIT, Fault, HubServer, Site, Stored};
use crate::store_server::StoreServer;
use crate::util::{Folder, Ran, files, prep_command};

const NAME: &str = "datasets/org/questions";

/// Runs `prep` with caches of the test's own; `set` is for the environment.
fn prep(folder: &Folder, set: &[(&str, &str)], arguments: &str) -> Ran {
    let mut command = prep_command();
    for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_TOKEN_PATH"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HF_HOME", folder.path("hf")).env("PREP_CACHE", folder.path("cache"));
    command.envs(set.iter().copied());
    Ran::of(command.args(arguments.split(' ')).current_dir(folder.path("")).output().unwrap())
}

fn lines(lang: &str) -> String {
    let row = |n: u32| {
        json!({"id": n, "q": format!("Frage {n} {lang}?"), "p": format!("Antwort {n} {lang}.")}).to_string()
    };
    (0..6).map(|n| row(n) + "\n").collect()
}

fn write_pipeline(folder: &Folder, path: &str) {
    let text = format!(
        "name = \"p\"\n[[corpora]]\nname = \"p\"\nformat = \"table\"\npath = \"{path}\"\nlanguages = [\"de\", \"en\"]\n\
         columns = {{ query = \"q\", passage = \"p\", query_id = \"id\" }}\n[batches]\nbatch_size = 2\nsteps = 4\n"
    );
    folder.write("p.toml", text);
}

/// The dataset that the same files give when they lie in a folder.
fn local(folder: &Folder) -> Value {
    for lang in ["de", "en"] {
        folder.write(&format!("data/a/{lang}.jsonl"), lines(lang));
    }
    write_pipeline(folder, "a/{lang}.jsonl");
    prep(folder, &[], "build-shards p.toml --data data --out local --json --quiet").done().json()["dataset_id"].clone()
}

fn manifest(folder: &Folder, dataset: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.path(&format!("{dataset}/manifest.json"))).unwrap()).unwrap()
}

fn hub() -> HubServer {
    let files = vec![
        Stored::small("a/de.jsonl", lines("de")),
        Stored::large("a/en.jsonl", lines("en")),
        Stored::small("README.md", "a card"),
    ];
    HubServer::start(Site::new(NAME, files))
}

/// Requests of bodies.
fn bodies(asked: &[Asked]) -> Vec<&str> {
    let is_body = |asked: &&Asked| asked.method == "GET" && !asked.path.starts_with("/api/datasets/");
    asked.iter().filter(is_body).map(|asked| asked.path.as_str()).collect()
}

const BUILD: &str = "build-shards p.toml --json --quiet --out";

#[test]
fn sources_of_a_hub_are_fetched_pinned_and_used_again() {
    let folder = Folder::new();
    let expected = local(&folder);
    let server = hub();
    let endpoint = server.endpoint();
    let online = [("HF_ENDPOINT", endpoint.as_str()), ("HF_TOKEN", "secret")];
    write_pipeline(&folder, "hf://datasets/org/questions@v1.0/a/{lang}.jsonl");
    let fetched = prep(&folder, &online, "fetch p.toml --json --quiet").done().json();
    let url = |lang: &str| format!("hf://datasets/org/questions@{COMMIT}/a/{lang}.jsonl");
    let names: Vec<&Value> = fetched.as_array().unwrap().iter().map(|input| &input["name"]).collect();
    assert_eq!(names, [&json!(url("de")), &json!(url("en"))]);
    let asked = server.asked();
    assert!(asked.iter().any(|asked| asked.path.starts_with("/cdn/")));
    for asked in asked {
        let is_elsewhere = asked.path.starts_with("/cdn/");
        assert_eq!(asked.authorization.is_some(), !is_elsewhere, "{asked:?}");
    }

    // There is no data folder, and nothing is fetched twice.
    let report = prep(&folder, &online, &format!("{BUILD} d --data nowhere")).done().json();
    assert_eq!(report["dataset_id"], expected, "the same texts give the same dataset");
    assert!(bodies(&server.asked()).is_empty());
    let manifest = manifest(&folder, "d");
    assert_eq!(manifest["inputs"][0]["name"], url("de"));
    assert_eq!(manifest["pipeline"]["corpora"][0]["path"], url("{lang}"));
    prep(&folder, &online, "verify d --quiet").done();
    prep(&folder, &online, "reproduce d --step 1 --from-sources nowhere --quiet").done();

    drop(server);
    let offline = [("HF_ENDPOINT", endpoint.as_str()), ("HF_HUB_OFFLINE", "1")];
    let report = prep(&folder, &offline, &format!("{BUILD} again --data nowhere")).done().json();
    assert_eq!(report["dataset_id"], expected);
}

/// A cache may hold a part of what a pattern stands for. Nobody is told that, so nothing is built from it.
#[test]
fn a_pattern_stands_offline_for_what_it_stood_for_online() {
    let folder = Folder::new();
    let server = hub();
    let endpoint = server.endpoint();
    let online = [("HF_ENDPOINT", endpoint.as_str())];
    let offline = [("HF_ENDPOINT", endpoint.as_str()), ("HF_HUB_OFFLINE", "1")];
    write_pipeline(&folder, "hf://datasets/org/questions@v1.0/a/{lang}.jsonl");
    prep(&folder, &online, "fetch p.toml --quiet --set corpora.p.languages=['de']").done();
    write_pipeline(&folder, "hf://datasets/org/questions@v1.0/a/*.jsonl");
    let one = "--set corpora.p.languages=['de']";
    prep(&folder, &offline, &format!("{BUILD} d {one}"))
        .failed_with(&["/a/*.jsonl`: no file of such a name there", "only the cache was looked at"]);
    prep(&folder, &online, &format!("fetch p.toml --quiet {one}")).done();
    prep(&folder, &offline, &format!("{BUILD} d {one} --set max_rejects=1 --set batches.strategy=x-x-mono"))
        .done();
    assert_eq!(manifest(&folder, "d")["inputs"].as_array().unwrap().len(), 2);
}

#[test]
fn what_a_hub_does_not_give_is_told() {
    let folder = Folder::new();
    let server = hub();
    let endpoint = server.endpoint();
    let online = [("HF_ENDPOINT", endpoint.as_str())];
    let fails = |path: &str, parts: &[&str]| {
        write_pipeline(&folder, path);
        prep(&folder, &online, &format!("{BUILD} d")).failed_with(parts);
        assert!(!folder.path("d").exists());
    };
    fails(
        "hf://datasets/org/other/{lang}.jsonl",
        &["cannot fetch `datasets/org/other`", "knows no such dataset (404)"],
    );
    fails("hf://datasets/org/questions@v9/a/{lang}.jsonl", &["knows no revision `v9` of it (404)"]);
    fails("hf://datasets/org/questions/b/{lang}.jsonl", &["/b/de.jsonl", "no file of such a name there"]);
    fails("hf://datasets/org/{lang}.jsonl", &["setting `corpora.p`", "hf://datasets/ORG/NAME@REVISION/PATH"]);
    server.change(|site| site.faults = vec![Fault::Changed { path: "a/en.jsonl" }]);
    fails(
        "hf://datasets/org/questions/a/{lang}.jsonl",
        &["`a/en.jsonl` is not what the hub has", "removed from the cache"],
    );
    server.change(|site| {
        site.faults.clear();
        site.token = Some("another");
    });
    fails(
        "hf://datasets/org/questions@main/a/{lang}.jsonl",
        &[
            "refuses it (401: Invalid username or password.)",
            "hint: a private or gated dataset needs `HF_TOKEN`",
        ],
    );
}

#[test]
fn a_cut_body_of_a_hub_goes_on_where_it_ended() {
    let folder = Folder::new();
    let expected = local(&folder);
    let server = hub();
    server.change(|site| site.faults = vec![Fault::Cut { path: "a/en.jsonl", after: 40, times: 2 }]);
    let endpoint = server.endpoint();
    write_pipeline(&folder, "hf://datasets/org/questions/a/{lang}.jsonl");
    let report = prep(&folder, &[("HF_ENDPOINT", &endpoint)], &format!("{BUILD} d")).done().json();
    assert_eq!(report["dataset_id"], expected);
    let ranges: Vec<_> = server.asked().into_iter().filter_map(|asked| asked.range).collect();
    assert!(ranges.iter().any(|range| range.starts_with("bytes=40-")), "{ranges:?}");
}

/// The environment of a store that takes a key.
fn keys(endpoint: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "me"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ]
}

fn store() -> StoreServer {
    let server = StoreServer::start();
    server.change(|store| {
        for lang in ["de", "en"] {
            store.put(&format!("/bucket/a/{lang}.jsonl"), lines(lang));
        }
    });
    server
}

fn object_bodies(server: &StoreServer) -> Vec<Asked> {
    let is_body = |asked: &Asked| asked.method == "GET" && !asked.path.contains('?');
    server.asked().into_iter().filter(is_body).collect()
}

#[test]
fn sources_of_a_store_are_fetched_and_used_again() {
    let folder = Folder::new();
    let expected = local(&folder);
    let server = store();
    let endpoint = server.endpoint();
    write_pipeline(&folder, "s3://bucket/a/{lang}*.jsonl");
    let build = |out: &str| {
        prep(&folder, &keys(&endpoint), &format!("{BUILD} {out}")).done().json()["dataset_id"].clone()
    };
    server.change(|store| store.cut = Some((50, 2)));
    assert_eq!(build("d"), expected);
    let ranges: Vec<Option<String>> = object_bodies(&server).into_iter().map(|asked| asked.range).collect();
    assert!(ranges.iter().flatten().any(|range| range.starts_with("bytes=50-")), "{ranges:?}");
    assert_eq!(manifest(&folder, "d")["inputs"][0]["name"], "s3://bucket/a/de.jsonl");

    assert_eq!(build("again"), expected);
    assert!(object_bodies(&server).is_empty(), "what is in the cache is fetched again");
    // What was damaged there is.
    let cached = files(&folder.path("cache"));
    let (path, _) = cached.iter().find(|(_, bytes)| **bytes == lines("de").into_bytes()).unwrap();
    fs::write(folder.path("cache").join(path), "damaged").unwrap();
    assert_eq!(build("third"), expected);
    assert_eq!(object_bodies(&server).len(), 1);
    // Without a network, what was fetched last is taken, of a pattern too; and nothing else.
    let offline = [&keys(&endpoint)[..], &[("HF_HUB_OFFLINE", "1")]].concat();
    server.asked();
    let report = prep(&folder, &offline, &format!("{BUILD} offline")).done().json();
    assert_eq!(report["dataset_id"], expected);
    assert!(server.asked().is_empty(), "offline, and yet somebody is asked");
    write_pipeline(&folder, "s3://bucket/a/{lang}.json*");
    prep(&folder, &offline, &format!("{BUILD} x"))
        .failed_with(&["s3://bucket/a/de.json*", "only the cache was looked at"]);
    write_pipeline(&folder, "s3://bucket/b/{lang}.jsonl");
    prep(&folder, &offline, &format!("{BUILD} x"))
        .failed_with(&["s3://bucket/b/de.jsonl", "it is not in the cache"]);
    write_pipeline(&folder, "s3://bucket/a/{lang}*.jsonl");
    // And what has changed in the store, which is another dataset.
    server.change(|store| store.put("/bucket/a/de.jsonl", lines("de").replace("Frage", "Question")));
    assert_ne!(build("other"), expected);

    prep(
        &folder,
        &[("AWS_ENDPOINT_URL", &endpoint), ("AWS_ALLOW_HTTP", "true"), ("AWS_SKIP_SIGNATURE", "true")],
        &format!("{BUILD} x"),
    )
    .failed_with(&["s3://bucket/a/", "it is refused (401 or 403)", "AWS_ACCESS_KEY_ID"]);
    write_pipeline(&folder, "s3://bucket/b/{lang}.jsonl");
    prep(&folder, &keys(&endpoint), &format!("{BUILD} x"))
        .failed_with(&["s3://bucket/b/de.jsonl", "there is no such file (404)"]);
}

#[test]
fn a_server_is_asked_without_a_key() {
    let folder = Folder::new();
    let expected = local(&folder);
    let server = store();
    server.change(|store| store.is_public = true);
    let endpoint = server.endpoint();
    write_pipeline(&folder, &format!("{endpoint}/bucket/a/{{lang}}.jsonl"));
    let report = prep(&folder, &keys(&endpoint), &format!("{BUILD} d")).done().json();
    assert_eq!(report["dataset_id"], expected);
    assert!(server.asked().iter().all(|asked| asked.authorization.is_none()));
    // A transfer that is cut begins anew where the server gives no part of a file.
    server.change(|store| {
        (store.is_whole_only, store.cut) = (true, Some((50, 1)));
        store.put("/bucket/a/de.jsonl", lines("de"));
    });
    let report = prep(&folder, &keys(&endpoint), &format!("{BUILD} cut")).done().json();
    assert_eq!(report["dataset_id"], expected);
    assert!(server.asked().iter().any(|asked| asked.range.is_some()), "it was not cut");
    // Where the server says nothing by which a file could be known, it is fetched each time.
    server.change(|store| store.is_plain = true);
    let report = prep(&folder, &keys(&endpoint), &format!("{BUILD} plain")).done().json();
    assert_eq!(report["dataset_id"], expected);
    let changed = lines("de").replace("Frage", "fRAGE");
    server.change(|store| store.put("/bucket/a/de.jsonl", changed));
    let report = prep(&folder, &keys(&endpoint), &format!("{BUILD} changed")).done().json();
    assert_ne!(report["dataset_id"], expected);
    server.change(|store| {
        for lang in ["de", "en"] {
            store.put(&format!("/bucket/two words/{lang}.jsonl"), lines(lang));
        }
    });
    write_pipeline(&folder, &format!("{endpoint}/bucket/two%20words/{{lang}}.jsonl"));
    let report = prep(&folder, &[], &format!("{BUILD} spaced")).done().json();
    assert_eq!(report["dataset_id"], expected);
}

#[test]
fn a_dataset_is_published_whole_or_not_at_all() {
    let folder = Folder::new();
    local(&folder);
    let server = StoreServer::start();
    let endpoint = server.endpoint();
    let publish = format!("{BUILD} s3://bucket/sets/one --data data");
    prep(&folder, &keys(&endpoint), &publish).done();
    let there = server.below("/bucket/sets/one/");
    assert!(there == files(&folder.path("local")), "the store has other files");
    let puts: Vec<String> =
        server.asked().into_iter().filter(|asked| asked.method == "PUT").map(|asked| asked.path).collect();
    assert!(puts.last().unwrap().ends_with("/manifest.json"), "{puts:?}");
    assert!(files(&folder.path("cache")).is_empty(), "what was sent is kept");

    prep(&folder, &keys(&endpoint), &publish)
        .failed_with(&["there is a dataset at `s3://bucket/sets/one`", "--force"]);
    assert!(server.below("/bucket/sets/one/") == there);
    // Fewer files than before: what is no longer of it goes.
    let smaller = format!("{publish} --force --set batches.steps=1 --set shards.steps_per_shard=1");
    let larger = format!("{publish} --force --set shards.steps_per_shard=1");
    prep(&folder, &keys(&endpoint), &larger).done();
    assert!(server.below("/bucket/sets/one/").contains_key("train/batches-00003.parquet"));
    prep(&folder, &keys(&endpoint), &smaller).done();
    assert!(!server.below("/bucket/sets/one/").contains_key("train/batches-00003.parquet"));

    // What an interrupted one left is no part of the next one: readers take whatever lies in train/.
    server.change(|store| {
        store.objects.remove("/bucket/sets/one/manifest.json");
        store.put("/bucket/sets/one/.prep-publishing", "");
        store.put("/bucket/sets/one/train/batches-00007.parquet", "left over");
    });
    prep(&folder, &keys(&endpoint), &publish)
        .failed_with(&["somebody publishes at `s3://bucket/sets/one`, or was interrupted there", "--force"]);
    prep(&folder, &keys(&endpoint), &format!("{publish} --force")).done();
    assert!(server.below("/bucket/sets/one/") == there);

    // Nobody else's files are touched.
    server.change(|store| {
        store.put("/bucket/home/notes.txt", "mine");
        store.put("/bucket/project/train/cat.png", "a cat");
        store.put("/bucket/project/README.md", "about cats");
    });
    let before = server.below("/bucket/project/");
    for force in ["", " --force"] {
        prep(&folder, &keys(&endpoint), &format!("{BUILD} s3://bucket/project --data data{force}"))
            .failed_with(&["setting `--out`", "which is of no dataset"]);
    }
    assert!(server.below("/bucket/project/") == before);
    prep(&folder, &keys(&endpoint), &format!("{BUILD} s3://bucket/home --data data --force"))
        .failed_with(&["setting `--out`", "`s3://bucket/home` holds `notes.txt`, which is of no dataset"]);
    prep(&folder, &keys(&endpoint), &format!("{BUILD} s3://bucket --data data"))
        .failed_with(&["s3://BUCKET/KEY"]);

    prep(&folder, &keys(&endpoint), &format!("{BUILD} https://host.example/d --data data")).failed_with(&[
        "setting `--out`",
        "is no store",
        "s3://BUCKET/PATH",
    ]);
}

/// What is long goes in parts, a few at a time.
#[test]
fn a_long_file_is_published_in_parts() {
    let folder = Folder::new();
    // Text that does not compress: every word is the digest of its number.
    let word = |n: u64| {
        use sha2::{Digest, Sha256};
        Sha256::digest(n.to_le_bytes()).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    let row = |n: u64| {
        let passage: String = (0..1000).map(|i| word(n * 1000 + i) + " ").collect();
        json!({"id": n, "q": format!("{n}?"), "p": passage}).to_string()
    };
    folder.write("data/long.jsonl", (0..400).map(|n| row(n) + "\n").collect::<String>());
    folder.write(
        "p.toml",
        "name = \"p\"\n[[corpora]]\nname = \"p\"\nformat = \"table\"\npath = \"long.jsonl\"\nlanguages = [\"de\"]\n\
         columns = { query = \"q\", passage = \"p\", query_id = \"id\" }\n\
         [batches]\nstrategy = \"x-x-mono\"\nbatch_size = 2\nsteps = 1\n",
    );
    let server = StoreServer::start();
    let endpoint = server.endpoint();
    prep(&folder, &[], "build-shards p.toml --data data --out local --quiet").done();
    prep(&folder, &keys(&endpoint), &format!("{BUILD} s3://bucket/long --data data")).done();
    assert!(server.below("/bucket/long/") == files(&folder.path("local")));
    assert!(server.asked().iter().any(|asked| asked.path.contains("partNumber=2")), "it was short");
}

/// What is wrong with a URL is told without what nobody else may read.
#[test]
fn a_refused_url_is_not_repeated_with_its_secrets() {
    let folder = Folder::new();
    local(&folder);
    for url in [
        "https://me:secret@host.example/",
        "https://me:secret@host.example/a.jsonl",
        "https://host.example/a.jsonl?signature=secret",
        "ftp://me:secret@host.example/a.jsonl",
    ] {
        write_pipeline(&folder, url);
        let ran = prep(&folder, &[], &format!("{BUILD} d")).failed_with(&["setting `corpora.p`"]);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    write_pipeline(&folder, "a/{lang}.jsonl");
    let ran = prep(&folder, &[], &format!("{BUILD} https://me:secret@host.example/d --data data"))
        .failed_with(&["setting `--out`"]);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}
