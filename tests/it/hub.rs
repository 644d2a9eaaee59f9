//! Models by name, from a hub on a local port. Nothing here leaves this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use prep::hub::{HubModel, HubName, HubOptions, fetch};
use prep::keys::mix64;
use prep::progress::{Observer, Silent};
use tempfile::TempDir;

use crate::hub_server::{Asked, COMMIT, Fault, HubServer, Site, Stored};

const NAME: &str = "org/encoder";
const TOKEN: &str = "hf_secret";
const WEIGHTS: &str = "model.safetensors";
const WEIGHTS_BYTES: usize = 100_000;

/// A hub and a cache of its own.
struct Hub {
    server: HubServer,
    cache: TempDir,
}

impl Hub {
    fn new(files: Vec<Stored>) -> Self {
        Self::of(Site::new(NAME, files))
    }

    fn of(site: Site) -> Self {
        Self { server: HubServer::start(site), cache: tempfile::tempdir().unwrap() }
    }

    fn options(&self) -> HubOptions {
        HubOptions {
            endpoint: Some(self.server.endpoint()),
            cache: Some(self.cache.path().to_owned()),
            token: Some(TOKEN.to_owned()),
            offline: false,
            retries: 0,
        }
    }

    fn fetch(&self) -> prep::Result<HubModel> {
        fetch_as(NAME, &self.options())
    }

    fn cached(&self, path: &str) -> PathBuf {
        self.cache.path().join("models--org--encoder").join(path)
    }

    fn snapshot(&self, file: &str) -> PathBuf {
        self.cached("snapshots").join(COMMIT).join(file)
    }

    fn fault(&self, fault: Fault) {
        self.server.change(|site| site.faults.push(fault));
    }

    /// Fetches until the connection is cut in the weights, and brings nothing more when it is tried again.
    fn fetch_part(&self) -> prep::Result<HubModel> {
        self.fault(Fault::Cut { path: WEIGHTS, after: 60_000, times: 1 });
        self.fault(Fault::Cut { path: WEIGHTS, after: 0, times: 1 });
        self.fetch()
    }
}

/// Bytes that differ everywhere.
fn noise(seed: u64, n: usize) -> Vec<u8> {
    (0..n as u64).map(|at| mix64(seed << 32 | at) as u8).collect()
}

fn weights() -> Stored {
    Stored::large(WEIGHTS, noise(1, WEIGHTS_BYTES))
}

/// An encoder of one file of weights, and what lies beside it in such repositories.
fn encoder() -> Vec<Stored> {
    vec![
        Stored::small("README.md", "# An encoder"),
        Stored::small("config.json", r#"{"model_type": "bert"}"#),
        Stored::large("onnx/model.onnx", noise(2, 1000)),
        Stored::large("pytorch_model.bin", noise(3, 1000)),
        Stored::large("tokenizer.json", noise(4, 20_000)),
        Stored::small("tokenizer_config.json", "{}"),
        weights(),
    ]
}

fn without(path: &str, files: Vec<Stored>) -> Vec<Stored> {
    files.into_iter().filter(|file| file.path != path).collect()
}

fn fetch_as(name: &str, options: &HubOptions) -> prep::Result<HubModel> {
    fetch(&name.parse::<HubName>()?, options, &Silent)
}

fn assert_holds(model: &HubModel, files: &[Stored]) {
    for path in &model.files {
        let file = files.iter().find(|file| file.path == *path).unwrap();
        assert_eq!(fs::read(model.directory.join(path)).unwrap(), file.bytes, "{path}");
    }
}

#[track_caller]
fn assert_refused(result: prep::Result<HubModel>, parts: &[&str]) {
    let e = result.unwrap_err();
    let text = format!("{e}\nhint: {}", e.hint().unwrap_or_default());
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

/// Requests for contents, in order.
fn bodies(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|asked| asked.method == "GET" && !is_question(asked)).collect()
}

fn is_question(asked: &Asked) -> bool {
    asked.path.starts_with("/api/models/")
}

/// How much of the contents was sent: whole files or ranges.
fn ranges_of(asked: &[Asked], file: &Stored) -> Vec<Option<String>> {
    let path = format!("/cdn/{}", file.sha256());
    bodies(asked)
        .iter()
        .filter(|asked| asked.path.starts_with(&path))
        .map(|asked| asked.range.clone())
        .collect()
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[derive(Default)]
struct Watch(Mutex<Vec<(String, u64, u64)>>);

impl Observer for Watch {
    fn begin(&self, stage: &str, total: Option<u64>) {
        self.0.lock().unwrap().push((stage.to_owned(), total.unwrap(), 0));
    }

    fn advance(&self, n: u64) {
        self.0.lock().unwrap().last_mut().unwrap().2 += n;
    }
}

#[test]
fn a_name_becomes_a_directory_with_what_an_encoder_needs() {
    let hub = Hub::new(encoder());
    let watch = Watch::default();
    let model = fetch(&NAME.parse().unwrap(), &hub.options(), &watch).unwrap();
    assert_eq!(model.revision, COMMIT);
    assert_eq!(model.directory, hub.snapshot(""));
    assert_eq!(model.files, ["config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"]);
    assert_holds(&model, &encoder());
    assert_eq!(fs::read_to_string(hub.cached("refs/main")).unwrap(), COMMIT);
    for asked in hub.server.asked() {
        for path in ["README", "onnx", "pytorch_model"] {
            assert!(!asked.path.contains(path), "{asked:?}");
        }
    }
    // 22 + 20,000 + 2 bytes of settings.
    let expected = [("model settings", 20_024, 20_024), ("model weights", 100_000, 100_000)];
    assert_eq!(
        *watch.0.lock().unwrap(),
        expected.map(|(stage, total, done)| (stage.to_owned(), total, done))
    );
}

#[test]
fn a_name_without_an_organisation_is_a_name() {
    let hub = Hub::of(Site::new("encoder", encoder()));
    let model = fetch_as("encoder", &hub.options()).unwrap();
    assert_eq!(model.directory, hub.cache.path().join("models--encoder/snapshots").join(COMMIT));
    assert_holds(&model, &encoder());
}

#[test]
fn what_the_cache_holds_is_not_sent_again() {
    let hub = Hub::new(encoder());
    let first = hub.fetch().unwrap();
    hub.server.asked();
    assert_eq!(hub.fetch().unwrap(), first);
    let asked = hub.server.asked();
    assert!(asked.iter().all(is_question), "{asked:?}");
}

#[test]
fn a_tag_a_pull_request_and_a_commit_are_revisions() {
    let hub = Hub::new(encoder());
    for revision in ["v1.0", "refs/pr/1", COMMIT] {
        let model = fetch_as(&format!("{NAME}@{revision}"), &hub.options()).unwrap();
        assert_eq!(model.revision, COMMIT);
        assert_holds(&model, &encoder());
    }
    assert_eq!(fs::read_to_string(hub.cached("refs/v1.0")).unwrap(), COMMIT);
    assert_eq!(fs::read_to_string(hub.cached("refs/refs/pr/1")).unwrap(), COMMIT);
    assert!(!exists(&hub.cached("refs").join(COMMIT)));
}

#[test]
fn the_modules_of_sentence_transformers_come_along() {
    let mut files = encoder();
    let modules = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"idx": 3, "name": "3", "path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;
    files.extend([
        Stored::small("modules.json", modules),
        Stored::small("sentence_bert_config.json", r#"{"max_seq_length": 512}"#),
        Stored::small("1_Pooling/config.json", r#"{"word_embedding_dimension": 8}"#),
        Stored::small("2_Dense/config.json", r#"{"in_features": 8}"#),
        Stored::large("2_Dense/model.safetensors", noise(5, 3000)),
        Stored::large("2_Dense/pytorch_model.bin", noise(6, 3000)),
        Stored::small("9_Other/config.json", "{}"),
    ]);
    let hub = Hub::new(files.clone());
    let model = hub.fetch().unwrap();
    assert_holds(&model, &files);
    let expected = [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "config.json",
        WEIGHTS,
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(model.files, expected);

    hub.server.change(|site| site.files = without("2_Dense/model.safetensors", site.files.clone()));
    assert_refused(hub.fetch(), &["pickle (`2_Dense/pytorch_model.bin`)", "save_pretrained"]);
}

#[test]
fn weights_in_shards_are_found_by_their_index() {
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let index = format!(
        r#"{{"metadata": {{"total_size": 5}}, "weight_map": {{"a": "{0}", "b": "{1}", "c": "{0}"}}}}"#,
        shards[0], shards[1]
    );
    let mut files = without(WEIGHTS, encoder());
    files.push(Stored::small("model.safetensors.index.json", index));
    files.push(Stored::large(shards[0], noise(7, 2000)));
    files.push(Stored::large(shards[1], noise(8, 3000)));
    let hub = Hub::new(files.clone());
    let model = hub.fetch().unwrap();
    assert!(shards.iter().all(|shard| model.files.iter().any(|file| file == shard)), "{:?}", model.files);
    assert_holds(&model, &files);

    let lacking = Hub::new(without(shards[1], files.clone()));
    assert_refused(lacking.fetch(), &["model.safetensors.index.json", shards[1]]);
    let mut elsewhere = without("model.safetensors.index.json", files);
    elsewhere.push(Stored::small(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "../../x.safetensors"}}"#,
    ));
    assert_refused(Hub::new(elsewhere).fetch(), &["names `../../x.safetensors`"]);
}

#[test]
fn a_pickle_is_refused_before_anything_is_fetched() {
    let hub = Hub::new(without(WEIGHTS, encoder()));
    assert_refused(
        hub.fetch(),
        &[
            "`org/encoder`",
            "pickle (`pytorch_model.bin`)",
            "can run any program",
            "refs/pr/N",
            "save_pretrained",
        ],
    );
    assert_eq!(bodies(&hub.server.asked()).len(), 0);
}

#[test]
fn a_repository_that_lacks_a_part_is_refused_by_name_of_the_part() {
    let no_weights = without("pytorch_model.bin", without(WEIGHTS, encoder()));
    assert_refused(Hub::new(no_weights).fetch(), &["neither `model.safetensors` nor"]);
    let no_tokenizer = without("tokenizer.json", encoder());
    assert_refused(Hub::new(no_tokenizer).fetch(), &["no `tokenizer.json`", "AutoTokenizer", "org/encoder"]);
    let no_config = without("config.json", encoder());
    assert_refused(Hub::new(no_config).fetch(), &["no `config.json`"]);
}

#[test]
fn a_missing_right_is_told_with_what_to_do() {
    let private = Hub::of(Site { token: Some("another"), ..Site::new(NAME, encoder()) });
    assert_refused(private.fetch(), &["(401: Invalid username or password.)", "HF_TOKEN", NAME]);
    let gated = Hub::of(Site { gated: true, ..Site::new(NAME, encoder()) });
    let page = format!("{}/{NAME}", gated.server.endpoint());
    assert_refused(
        gated.fetch(),
        &["(403: Access to this model is restricted.)", "HF_TOKEN", "consent", &page],
    );
}

#[test]
fn a_missing_model_revision_and_file_are_told_apart() {
    let hub = Hub::new(encoder());
    assert_refused(fetch_as("org/encodr", &hub.options()), &["no such model (404)", "`org/encodr`", "./"]);
    assert_refused(fetch_as("org/encoder@v2", &hub.options()), &["no revision `v2`", "(404)", "tag"]);
    hub.fault(Fault::Missing { path: "config.json" });
    assert_refused(hub.fetch(), &["`config.json` is listed", "(404)"]);
}

#[test]
fn an_endpoint_that_nobody_answers_at_is_told() {
    let hub = Hub::new(encoder());
    let options = hub.options();
    let endpoint = hub.server.endpoint();
    let Hub { server, cache: _cache } = hub;
    drop(server);
    let result = fetch_as(NAME, &options);
    assert_refused(
        result,
        &[&format!("cannot reach {endpoint}"), "HF_ENDPOINT", "HF_HUB_OFFLINE", "directory"],
    );
    let nonsense = HubOptions { endpoint: Some("no url".to_owned()), ..options };
    assert_refused(fetch_as(NAME, &nonsense), &["is no URL", "HF_ENDPOINT"]);
}

#[test]
fn the_token_goes_to_the_endpoint_only() {
    let hub = Hub::of(Site { token: Some(TOKEN), ..Site::new(NAME, encoder()) });
    hub.fault(Fault::Cut { path: WEIGHTS, after: 1000, times: 1 });
    let options = HubOptions { retries: 1, ..hub.options() };
    assert_holds(&fetch_as(NAME, &options).unwrap(), &encoder());
    let mut elsewhere = 0;
    for asked in hub.server.asked() {
        let at_endpoint = hub.server.endpoint().ends_with(&asked.host);
        assert_eq!(asked.authorization.is_some(), at_endpoint, "{asked:?}");
        elsewhere += usize::from(!at_endpoint);
    }
    // Tokenizer, weights cut, and the rest of the weights.
    assert!(3 <= elsewhere, "{elsewhere}");
}

#[test]
fn a_cut_transfer_goes_on_where_it_ended() {
    let hub = Hub::new(encoder());
    hub.fault(Fault::Cut { path: WEIGHTS, after: 60_000, times: 1 });
    let options = HubOptions { retries: 1, ..hub.options() };
    let watch = Watch::default();
    let model = fetch(&NAME.parse().unwrap(), &options, &watch).unwrap();
    assert_holds(&model, &encoder());
    assert_eq!(ranges_of(&hub.server.asked(), &weights()), [None, Some("bytes=60000-99999".to_owned())]);
    assert_eq!(watch.0.lock().unwrap()[1], ("model weights".to_owned(), 100_000, 100_000));
}

#[test]
fn a_later_run_goes_on_where_the_cut_one_ended() {
    let hub = Hub::new(encoder());
    assert_refused(hub.fetch_part(), &["the transfer of `model.safetensors` was cut", "run it again"]);
    assert!(!exists(&hub.snapshot(WEIGHTS)));
    assert!(!exists(&hub.cached("refs/main")), "half a model has no name");
    hub.server.asked();
    assert_holds(&hub.fetch().unwrap(), &encoder());
    assert_eq!(ranges_of(&hub.server.asked(), &weights()), [Some("bytes=60000-99999".to_owned())]);
}

#[test]
fn a_connection_that_is_always_cut_is_an_error_and_leaves_no_file() {
    let hub = Hub::new(encoder());
    hub.fault(Fault::Cut { path: WEIGHTS, after: 10, times: usize::MAX });
    let options = HubOptions { retries: 2, ..hub.options() };
    assert_refused(fetch_as(NAME, &options), &["the transfer of `model.safetensors` was cut"]);
    assert!(!exists(&hub.snapshot(WEIGHTS)));
    // The one that brought 10 bytes, and as many without progress as are allowed and one.
    assert_eq!(ranges_of(&hub.server.asked(), &weights()).len(), 1 + 3);
}

#[test]
fn a_small_file_that_is_cut_is_fetched_anew() {
    let hub = Hub::new(encoder());
    hub.fault(Fault::Cut { path: "config.json", after: 5, times: 2 });
    let options = HubOptions { retries: 2, ..hub.options() };
    assert_holds(&fetch_as(NAME, &options).unwrap(), &encoder());
}

#[test]
fn an_end_that_looks_like_the_end_of_the_file_is_a_cut() {
    for path in ["config.json", WEIGHTS] {
        let hub = Hub::new(encoder());
        hub.fault(Fault::CutUnseen { path, after: 7, times: 2 });
        assert_refused(hub.fetch(), &["was cut: expected", "found 7"]);
        assert!(!exists(&hub.snapshot(path)));
        hub.fault(Fault::CutUnseen { path, after: 7, times: 1 });
        let options = HubOptions { retries: 1, ..hub.options() };
        assert_holds(&fetch_as(NAME, &options).unwrap(), &encoder());
    }
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let hub = Hub::of(Site { ranges: false, ..Site::new(NAME, encoder()) });
    hub.fault(Fault::Cut { path: WEIGHTS, after: 60_000, times: 1 });
    let options = HubOptions { retries: 1, ..hub.options() };
    assert_holds(&fetch_as(NAME, &options).unwrap(), &encoder());
}

#[test]
fn the_beginning_of_another_file_is_given_up() {
    let hub = Hub::new(encoder());
    hub.fetch_part().unwrap_err();
    let moved = Stored::large(WEIGHTS, noise(9, WEIGHTS_BYTES));
    hub.server.change(|site| *site.files.last_mut().unwrap() = moved.clone());
    let mut files = without(WEIGHTS, encoder());
    files.push(moved);
    assert_holds(&hub.fetch().unwrap(), &files);
}

#[test]
fn a_file_with_another_hash_is_removed_and_named() {
    for file in encoder() {
        let path = match &*file.path {
            "config.json" => "config.json",
            WEIGHTS => WEIGHTS,
            _ => continue,
        };
        let hub = Hub::new(encoder());
        hub.fault(Fault::Changed { path });
        let expected = if file.large {
            format!("expected SHA-256 {}", file.sha256())
        } else {
            "expected git blob ".to_owned()
        };
        assert_refused(
            hub.fetch(),
            &[&format!("`{path}` is not what the hub has"), &expected, ", found ", "removed"],
        );
        assert!(!exists(&hub.snapshot(path)));
        assert!(!exists(&hub.cached("blobs").join(file.sha256())));
        hub.server.change(|site| site.faults.clear());
        assert_holds(&hub.fetch().unwrap(), &encoder());
    }
}

#[test]
fn a_hash_is_checked_after_a_transfer_was_continued() {
    let hub = Hub::new(encoder());
    hub.fetch_part().unwrap_err();
    hub.fault(Fault::Changed { path: WEIGHTS });
    assert_refused(hub.fetch(), &["`model.safetensors` is not what the hub has"]);
    assert!(!exists(&hub.snapshot(WEIGHTS)));
}

#[test]
fn a_file_that_was_damaged_in_the_cache_is_fetched_again() {
    let hub = Hub::new(encoder());
    let model = hub.fetch().unwrap();
    for path in ["config.json", WEIGHTS] {
        let blob = fs::canonicalize(model.directory.join(path)).unwrap();
        let mut bytes = fs::read(&blob).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&blob, bytes).unwrap();
    }
    assert_holds(&hub.fetch().unwrap(), &encoder());
}

#[test]
fn offline_the_cache_is_used_alone_and_checked() {
    let hub = Hub::new(encoder());
    let offline = HubOptions { offline: true, ..hub.options() };
    assert_refused(fetch_as(NAME, &offline), &["not in the cache", "HF_HUB_OFFLINE"]);
    let online = hub.fetch().unwrap();
    hub.server.asked();
    assert_eq!(fetch_as(NAME, &offline).unwrap(), online);
    assert_eq!(fetch_as(&format!("{NAME}@{COMMIT}"), &offline).unwrap(), online);
    assert_refused(fetch_as("org/encoder@v1.0", &offline), &["not in the cache"]);

    for path in ["config.json", WEIGHTS] {
        let blob = fs::canonicalize(online.directory.join(path)).unwrap();
        let right = fs::read(&blob).unwrap();
        let mut bytes = right.clone();
        bytes[0] ^= 1;
        fs::write(&blob, bytes).unwrap();
        let refusal = format!("`{path}` is not what the hub has: expected");
        assert_refused(fetch_as(NAME, &offline), &[&refusal, "without `HF_HUB_OFFLINE`"]);
        fs::write(&blob, right).unwrap();
    }
    fs::remove_file(fs::canonicalize(online.directory.join(WEIGHTS)).unwrap()).unwrap();
    assert_refused(fetch_as(NAME, &offline), &["neither `model.safetensors` nor"]);
    assert!(hub.server.asked().is_empty());
}

#[test]
fn a_listing_of_many_files_is_not_followed_elsewhere() {
    let mut files: Vec<_> = (0..1200).map(|n| Stored::small(&format!("checkpoints/{n}.txt"), "")).collect();
    files.extend(encoder());
    let hub = Hub::new(files);
    assert_holds(&hub.fetch().unwrap(), &encoder());
    let asked = hub.server.asked();
    assert!(asked.iter().all(|asked| !asked.path.starts_with("/next")), "{asked:?}");
}

#[test]
fn a_path_that_would_leave_the_cache_is_no_file() {
    let mut files = without("modules.json", encoder());
    files.push(Stored::small("modules.json", r#"[{"path": "../../../evil"}, {"path": "/evil"}]"#));
    files.push(Stored::small("../../../evil/config.json", "{}"));
    files.push(Stored::small("/evil/config.json", "{}"));
    let hub = Hub::new(files.clone());
    assert_holds(&hub.fetch().unwrap(), &files);
    assert!(hub.server.asked().iter().all(|asked| !asked.path.contains("evil")));
    assert!(!exists(&hub.cache.path().join("evil")));
}

#[test]
fn an_empty_file_is_a_file() {
    let mut files = without("tokenizer_config.json", encoder());
    files.push(Stored::small("special_tokens_map.json", ""));
    let hub = Hub::new(files.clone());
    assert_holds(&hub.fetch().unwrap(), &files);
}
