//! Modules form a total order: a module uses only what stands above it. The order is that of `src/lib.rs`.

use std::fs;
use std::path::Path;

use crate::util::repository;

#[test]
fn modules_use_only_what_stands_above_them() {
    let source = repository().join("src");
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let order: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(10 <= order.len(), "{order:?}");
    for (rank, module) in order.iter().enumerate() {
        for (path, text) in sources(&source, module) {
            for used in text.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(at) = order.iter().position(|name| *name == used) else { continue };
                assert!(at <= rank, "{path}: `{module}` uses `{used}`, which stands below it");
            }
        }
    }
}

/// The wall: the query engine stops where the shards are read, so that a trainer builds without it.
#[test]
fn only_engine_and_corpus_speak_to_datafusion() {
    let source = repository().join("src");
    for entry in fs::read_dir(&source).unwrap() {
        let module = entry.unwrap().file_name().into_string().unwrap();
        let module = module.trim_end_matches(".rs").to_owned();
        if module == "engine" {
            continue;
        }
        for (path, text) in sources(&source, &module) {
            assert!(!text.contains("datafusion::"), "{path} imports datafusion");
        }
    }
}

/// The other wall: what makes data knows nothing of tensors.
#[test]
fn candle_starts_at_kernels() {
    let source = repository().join("src");
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in modules.take_while(|module| *module != "kernels") {
        for (path, text) in sources(&source, module) {
            assert!(!text.contains("candle_"), "{path} names candle");
        }
    }
}

fn sources(source: &Path, module: &str) -> Vec<(String, String)> {
    let file = source.join(format!("{module}.rs"));
    if file.is_file() {
        return vec![(file.display().to_string(), fs::read_to_string(&file).unwrap())];
    }
    let mut found = Vec::new();
    let mut folders = vec![source.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
