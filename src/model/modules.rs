//! `modules.json` of sentence-transformers and the settings of the modules that it lists.
//!
//! What is read are the chains `Transformer, Pooling, [Dense], [Normalize]` and `StaticEmbedding, [Normalize]`. A setting
//! that changes a vector is followed, or refused with its file, key and value; none is passed over. A directory of
//! `transformers` alone has no such file: it is a transformer and the mean, as the library takes it.

use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::{Value, json};

use super::head::{Dense, Head};
use super::json_file::{JsonFile, read_json};
use super::prompts::{Prompts, Similarity};
use crate::error::{Error, Result};
use crate::kernels::Pooling;

pub(super) const FILE: &str = "modules.json";
/// Settings of a transformer. The first that is there counts; the others are what old releases wrote.
pub(super) const TRANSFORMER_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
const CHAINS: &str =
    "`Transformer, Pooling, [Dense], [Normalize]` and `StaticEmbedding, [Normalize]` can be computed";

/// What stands where below a directory.
pub(super) struct Modules {
    /// Without the length of texts, which is the transformer's setting or the tokenizer's.
    pub(super) head: Head,
    /// Folder of the transformer or of the static embeddings.
    pub(super) body: String,
    pub(super) is_static: bool,
    /// Folder of the dense layer.
    pub(super) dense: Option<String>,
    /// What the transformer's settings say of the length of texts.
    pub(super) max_seq_length: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transformer,
    StaticEmbedding,
    Pooling,
    Dense,
    Normalize,
}

struct Module {
    kind: Kind,
    path: String,
}

impl Modules {
    /// Reads modules.json and what it names.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let mut read = Self {
            head: Head::default(),
            body: String::new(),
            is_static: false,
            dense: None,
            max_seq_length: None,
        };
        let path = directory.join(FILE);
        if !path.is_file() {
            return Ok(read);
        }
        let modules = listed(&path)?;
        let mut include_prompt = None;
        for Module { kind, path } in &modules {
            let folder = directory.join(path);
            match kind {
                Kind::Transformer => {
                    read.body.clone_from(path);
                    read.max_seq_length = read_transformer(&folder)?;
                }
                Kind::StaticEmbedding => {
                    read.body.clone_from(path);
                    read.is_static = true;
                }
                Kind::Pooling => {
                    let config = JsonFile::read(&folder.join("config.json"))?;
                    read.head.pooling = pooling(&config)?;
                    include_prompt = (config.flag("include_prompt")? == Some(false)).then_some(config);
                }
                Kind::Dense => {
                    let config = JsonFile::read(&folder.join("config.json"))?;
                    read.head.dense = Some(dense(&config)?);
                    read.dense = Some(path.clone());
                }
                Kind::Normalize => of_the_text(&JsonFile::read_if_there(&folder.join("config.json"))?)?,
            }
        }
        let (prompts, file) = Prompts::read(directory)?;
        let is_normal = modules.iter().any(|module| module.kind == Kind::Normalize);
        match (prompts.similarity, is_normal) {
            (Similarity::Cosine, _) | (Similarity::AsCosineOfUnits, true) => {}
            _ => {
                let e = file.refused("similarity_fn_name", "and vectors are compared by their cosine here");
                return Err(e.with_hint("a model for the cosine says `cosine`, or ends with a `Normalize`"));
            }
        }
        let has_prompt = !(prompts.query.is_empty() && prompts.passage.is_empty());
        if let Some(config) = include_prompt.filter(|_| has_prompt) {
            let e = config
                .refused("include_prompt", "and the model has prompts: pooling them cannot be left out");
            return Err(e.with_hint("set it to true, or leave the prompts empty"));
        }
        read.head.query_prefix = prompts.query;
        read.head.passage_prefix = prompts.passage;
        Ok(read)
    }
}

impl Kind {
    /// Releases differ in the folders of the package, not in the last part.
    fn of(name: &str) -> Option<Self> {
        match name.strip_prefix("sentence_transformers.")?.rsplit('.').next()? {
            "Transformer" => Some(Self::Transformer),
            "StaticEmbedding" => Some(Self::StaticEmbedding),
            "Pooling" => Some(Self::Pooling),
            "Dense" => Some(Self::Dense),
            "Normalize" => Some(Self::Normalize),
            _ => None,
        }
    }
}

/// The modules in their order, which is one that can be computed.
fn listed(path: &Path) -> Result<Vec<Module>> {
    #[derive(Deserialize)]
    struct Entry {
        path: String,
        #[serde(rename = "type")]
        kind: String,
    }
    let entries: Vec<Entry> = serde_json::from_value(read_json(path)?)
        .map_err(|e| Error::model(path, format!("not a list of modules: {e}")))?;
    let module = |(n, Entry { path: folder, kind: name }): (usize, Entry)| {
        let kind = Kind::of(&name).ok_or_else(|| {
            let found = format!("`type` of module {n} is `{name}`, which this program cannot compute");
            Error::model(path, found).with_hint(CHAINS)
        })?;
        let mut parts = Path::new(&folder).components();
        if parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Ok(Module { kind, path: folder });
        }
        let found = format!("`path` of module {n} is `{folder}`, which leaves the model's directory");
        Err(Error::model(path, found).with_hint("name a folder below it"))
    };
    let modules: Vec<Module> = entries.into_iter().enumerate().map(module).collect::<Result<_>>()?;
    let kinds: Vec<Kind> = modules.iter().map(|module| module.kind).collect();
    let chain = match kinds.as_slice() {
        [rest @ .., Kind::Normalize] => rest,
        all => all,
    };
    if matches!(
        chain,
        [Kind::StaticEmbedding]
            | [Kind::Transformer, Kind::Pooling]
            | [Kind::Transformer, Kind::Pooling, Kind::Dense]
    ) {
        return Ok(modules);
    }
    Err(Error::model(path, format!("its modules are {kinds:?}")).with_hint(CHAINS))
}

/// The length of texts, in tokens with special ones, and that no other setting changes a vector.
fn read_transformer(folder: &Path) -> Result<Option<usize>> {
    let Some(path) = TRANSFORMER_FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let file = JsonFile::read(&path)?;
    for (key, value) in file.iter() {
        let known = match key.as_str() {
            // How a batch is laid out, and what computes it.
            "max_seq_length" | "unpad_inputs" | "backend" => continue,
            "do_lower_case" => json!(false),
            "transformer_task" => json!("feature-extraction"),
            "modality_config" => {
                json!({"text": {"method": "forward", "method_output_name": "last_hidden_state"}})
            }
            "module_output_name" => json!("token_embeddings"),
            "processing_kwargs" | "model_args" | "model_kwargs" | "tokenizer_args" | "processor_kwargs"
            | "config_args" | "config_kwargs" => json!({}),
            _ => return Err(file.refused(key, "a setting that this program does not know")),
        };
        if *value != known {
            let e = file.refused(key, &format!("and only {known} can be computed"));
            return Err(match key.as_str() {
                "do_lower_case" => {
                    e.with_hint("put a `Lowercase` first into the normalizer of tokenizer.json instead")
                }
                _ => e.with_hint("leave the key out if the model does without it"),
            });
        }
    }
    file.count("max_seq_length")
}

fn pooling(config: &JsonFile) -> Result<Pooling> {
    let hint = "only `mean` or `cls`, alone, can be computed";
    let mode = match config.get("pooling_mode") {
        Some(Value::Array(modes)) => match modes.as_slice() {
            [mode] => mode.as_str(),
            _ => None,
        },
        Some(mode) => mode.as_str(),
        None => return pooling_of_flags(config, hint),
    };
    match mode {
        Some("mean") => Ok(Pooling::Mean),
        Some("cls") => Ok(Pooling::Cls),
        _ => Err(config.refused("pooling_mode", "neither `mean` nor `cls`").with_hint(hint)),
    }
}

/// Before release 6 there was a flag for each way; with none of them set it is the mean.
fn pooling_of_flags(config: &JsonFile, hint: &str) -> Result<Pooling> {
    let mut set = Vec::new();
    for (key, _) in config.iter().filter(|(key, _)| key.starts_with("pooling_mode_")) {
        if config.flag(key)? == Some(true) {
            set.push(key.as_str());
        }
    }
    match set.as_slice() {
        [] | ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        [key] => Err(config.refused(key, "neither mean nor cls").with_hint(hint)),
        [key, .., other] => Err(config.refused(key, &format!("and so is `{other}`")).with_hint(hint)),
    }
}

fn dense(config: &JsonFile) -> Result<Dense> {
    of_the_text(config)?;
    if config.flag("use_residual")? == Some(true) {
        let e = config.refused("use_residual", "and a residual cannot be computed");
        return Err(e.with_hint("only a dense layer with or without bias and tanh can"));
    }
    let count =
        |key: &str| config.count(key)?.ok_or_else(|| config.refused(key, "and a dense layer needs it"));
    let activation = config.text("activation_function")?.unwrap_or("torch.nn.modules.activation.Tanh");
    let name = activation.strip_prefix("torch.").and_then(|name| name.rsplit('.').next());
    let is_tanh = match name {
        Some("Tanh") => true,
        Some("Identity") => false,
        _ => {
            let e = config.refused("activation_function", "neither Tanh nor Identity of `torch`");
            return Err(e.with_hint("no other can be computed"));
        }
    };
    Ok(Dense {
        width_in: count("in_features")?,
        width_out: count("out_features")?,
        has_bias: config.flag("bias")?.unwrap_or(true),
        is_tanh,
    })
}

/// A module may work on other vectors than that of the text.
fn of_the_text(config: &JsonFile) -> Result<()> {
    for key in ["module_input_name", "module_output_name"] {
        if config.text(key)?.is_some_and(|name| name != "sentence_embedding") {
            let e = config.refused(key, "not `sentence_embedding`");
            return Err(e.with_hint("only the vector of a whole text goes through modules here"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CHAIN: [(&str, &str); 4] =
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")];

    fn write(directory: &Path, name: &str, value: &Value) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    }

    fn write_modules(directory: &Path, modules: &[(&str, &str)]) {
        let module = |(path, kind): &(&str, &str)| json!({"path": path, "type": format!("sentence_transformers.models.{kind}")});
        write(directory, FILE, &Value::Array(modules.iter().map(module).collect()));
    }

    /// A directory that is read, with one file written anew.
    fn read(name: &str, value: &Value) -> Result<Modules, String> {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write_modules(at, &CHAIN);
        write(at, "sentence_bert_config.json", &json!({"max_seq_length": 7, "do_lower_case": false}));
        write(at, "1_Pooling/config.json", &json!({"embedding_dimension": 8, "pooling_mode": "cls"}));
        write(at, "2_Dense/config.json", &json!({"in_features": 8, "out_features": 4}));
        write(at, name, value);
        Modules::read(at).map_err(|e| {
            let hint = e.hint().unwrap_or_default();
            format!("{e}\n{hint}").replace(&at.display().to_string(), "")
        })
    }

    fn chain(modules: &[(&str, &str)]) -> Value {
        let module = |(path, kind): &(&str, &str)| json!({"path": path, "type": kind});
        Value::Array(modules.iter().map(module).collect())
    }

    #[test]
    fn a_chain_is_read_with_its_settings() {
        let modules = read("README.md", &json!(null)).unwrap();
        assert_eq!((modules.body.as_str(), modules.is_static, modules.max_seq_length), ("", false, Some(7)));
        assert_eq!(modules.dense.as_deref(), Some("2_Dense"));
        // The library's defaults: a bias, and tanh.
        let dense = Dense { width_in: 8, width_out: 4, has_bias: true, is_tanh: true };
        assert_eq!((modules.head.pooling, modules.head.dense), (Pooling::Cls, Some(dense)));
        let none = tempfile::tempdir().unwrap();
        assert_eq!(Modules::read(none.path()).unwrap().head, Head::default());
    }

    #[test]
    fn poolings_are_read_as_all_releases_write_them() {
        for (config, pooling) in [
            (json!({"pooling_mode": "mean"}), Pooling::Mean),
            (json!({"pooling_mode": ["cls"], "include_prompt": true}), Pooling::Cls),
            (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}), Pooling::Cls),
            (json!({"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false}), Pooling::Mean),
            // sentence_transformers.sentence_transformer.modules.pooling._convert_legacy_pooling_kwargs
            (json!({"pooling_mode_mean_tokens": false}), Pooling::Mean),
        ] {
            assert_eq!(read("1_Pooling/config.json", &config).unwrap().head.pooling, pooling, "{config}");
        }
    }

    // Of `SentenceTransformer(DIR).encode_query` and `.encode_document`; but for files without the name, where both put
    // nothing and `encode` the default.
    #[test]
    fn a_prompt_of_the_role_goes_before_the_default() {
        for (settings, query, passage) in [
            (json!({"prompts": {"query": "q: ", "passage": "p: "}}), "q: ", "p: "),
            (json!({"prompts": {"query": "q: ", "passage": "p: ", "document": ""}}), "q: ", ""),
            (
                json!({"prompts": {"corpus": "c: ", "document": "d: "}, "default_prompt_name": "query"}),
                "",
                "d: ",
            ),
            (json!({"prompts": {"r": "r: "}, "default_prompt_name": "r"}), "r: ", "r: "),
            (json!({"prompts": {"r": "r: ", "query": null}, "default_prompt_name": "r"}), "", "r: "),
            (json!({"prompts": {"r": "r: "}}), "", ""),
        ] {
            let head = read("config_sentence_transformers.json", &settings).unwrap().head;
            assert_eq!(
                (head.query_prefix.as_str(), head.passage_prefix.as_str()),
                (query, passage),
                "{settings}"
            );
        }
    }

    #[test]
    fn what_would_change_vectors_is_refused_by_name() {
        let st = |kind: &str| format!("sentence_transformers.models.{kind}");
        let [transformer, pooling, dense, normalize, fixed] =
            ["Transformer", "Pooling", "Dense", "Normalize", "StaticEmbedding"].map(st);
        let (t, p, d, n) = (
            ("", &*transformer),
            ("1_Pooling", &*pooling),
            ("2_Dense", &*dense),
            ("3_Normalize", &*normalize),
        );
        let settings = "config_sentence_transformers.json";
        let (bert, pool, layer) =
            ("sentence_bert_config.json", "1_Pooling/config.json", "2_Dense/config.json");
        for (name, value, found) in [
            (
                FILE,
                chain(&[t, p, d, d, n]),
                "its modules are [Transformer, Pooling, Dense, Dense, Normalize]\n`Tra",
            ),
            (FILE, chain(&[t, p, n, d]), "its modules are [Transformer, Pooling, Normalize, Dense]"),
            (FILE, chain(&[t, n]), "its modules are [Transformer, Normalize]"),
            (FILE, chain(&[("", &*fixed), d]), "its modules are [StaticEmbedding, Dense]"),
            (FILE, chain(&[t, ("", "mine.Pooling")]), "`type` of module 1 is `mine.Pooling`"),
            (FILE, chain(&[t, ("../../p", &*pooling)]), "`path` of module 1 is `../../p`, which leaves"),
            (FILE, chain(&[("/tmp", &*transformer), p]), "`path` of module 0 is `/tmp`, which leaves"),
            (bert, json!({"do_lower_case": true}), "`do_lower_case` is true, and only false"),
            (bert, json!({"max_seq_length": 0}), "`max_seq_length` is 0, not a positive integer"),
            (bert, json!({"processing_kwargs": {"text": {"max_length": 16}}}), "`processing_kwargs` is {"),
            (bert, json!({"query_length": 5}), "`query_length` is 5, a setting that"),
            (pool, json!({"pooling_mode": ["cls", "mean"]}), "`pooling_mode` is [\"cls\",\"mean\"], neither"),
            (pool, json!({"pooling_mode": "max"}), "`pooling_mode` is \"max\", neither"),
            (pool, json!({"pooling_mode_max_tokens": true}), "`pooling_mode_max_tokens` is true, neither"),
            (
                pool,
                json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}),
                "`pooling_mode_cls_token` is true, and so is `pooling_mode_mean_tokens`",
            ),
            (layer, json!({"in_features": 8}), "`out_features` is null, and a dense layer needs it"),
            (
                layer,
                json!({"in_features": 8, "out_features": 4, "activation_function": "torch.nn.modules.activation.ReLU"}),
                "`activation_function` is \"torch.nn.modules.activation.ReLU\", neither Tanh nor Identity",
            ),
            (
                layer,
                json!({"in_features": 8, "out_features": 4, "use_residual": true}),
                "`use_residual` is true",
            ),
            (
                layer,
                json!({"in_features": 8, "out_features": 4, "module_input_name": "token_embeddings"}),
                "`module_input_name` is \"token_embeddings\", not `sentence_embedding`",
            ),
            (settings, json!({"similarity_fn_name": "manhattan"}), "`similarity_fn_name` is \"manhattan\""),
            (
                settings,
                json!({"default_prompt_name": "r"}),
                "`default_prompt_name` is \"r\", none of the names",
            ),
            (settings, json!({"prompts": {"query": 1}}), "`prompts` is {\"query\":1}, not texts by name"),
            (settings, json!({"model_type": "SparseEncoder"}), "`model_type` is \"SparseEncoder\""),
        ] {
            let Err(error) = read(name, &value) else { panic!("{name} with {value} was read") };
            assert!(error.contains(found), "{error}");
            assert!(error.contains(&format!("`/{name}`")), "{error}");
        }
    }

    /// Two settings that are refused together only.
    #[test]
    fn a_dot_product_wants_unit_vectors_and_prompts_are_pooled() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        write_modules(at, &CHAIN[..2]);
        write(at, "1_Pooling/config.json", &json!({"pooling_mode": "mean", "include_prompt": false}));
        Modules::read(at).unwrap();
        let refused = |settings: Value, found: &str| {
            write(at, "config_sentence_transformers.json", &settings);
            let error = Modules::read(at).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(found), "{error}");
        };
        refused(json!({"prompts": {"query": "q: "}}), "`include_prompt` is false, and the model has prompts");
        refused(
            json!({"similarity_fn_name": "dot"}),
            "`similarity_fn_name` is \"dot\", and vectors are compared",
        );
        write(at, "config_sentence_transformers.json", &json!({"similarity_fn_name": "dot"}));
        write_modules(at, &[CHAIN[0], CHAIN[1], CHAIN[3]]);
        Modules::read(at).unwrap();
    }
}
