//! The recipes of `pipelines/recipes/README.md`, as they stand on the page: each exports the demo and reads it with the
//! library that the format is for. `PREP_EXPORT_PYTHON` names a Python that has what tests/torch.txt, tests/export.txt
//! and tests/export-mds.txt list; without it these tests say so and pass. `recipes.py` holds the results against the dataset.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::train::folder;
use crate::util::{Folder, repository};

/// A block of Python, and the command before it that makes what it reads.
struct Recipe {
    command: String,
    code: String,
}

fn recipes() -> Vec<Recipe> {
    let page = fs::read_to_string(repository().join("pipelines/recipes/README.md")).unwrap();
    let (mut recipes, mut command) = (Vec::<Recipe>::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match language {
            "sh" => command = block.join("\n"),
            "python" => {
                let mut code = block.join("\n") + "\n";
                // A block may stand on the one before it.
                if let (true, Some(before)) = (code.starts_with("# Goes on"), recipes.last()) {
                    code.insert_str(0, &before.code);
                }
                recipes.push(Recipe { command: command.clone(), code });
            }
            other => panic!("a block of `{other}`"),
        }
    }
    recipes
}

impl Recipe {
    /// What is exported; nothing for a recipe that reads the dataset itself.
    fn format(&self) -> Option<&str> {
        self.command.split_whitespace().skip_while(|word| *word != "--to").nth(1)
    }
}

/// The formats that `prep export --help` lists.
fn formats() -> BTreeSet<String> {
    let help = Folder::new().prep("export --help").done().stdout;
    let to = help.split("--to <FORMAT>").nth(1).unwrap().split("\n  -").next().unwrap();
    let name = |line: &str| Some(line.trim().strip_prefix("- ")?.split(':').next()?.to_owned());
    to.lines().filter_map(name).collect()
}

fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("PREP_EXPORT_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("{test}: skipped, PREP_EXPORT_PYTHON names no Python with the packages of tests/export.txt");
    }
    python
}

/// The demo with all that a format may ask for, several shards and several row groups to a shard.
fn demo() -> Folder {
    let folder = folder();
    let data = repository().join("data");
    let pipeline = repository().join("pipelines/demo.toml");
    let build = format!(
        "build-shards {} --data {} --out out/demo --tokenizer tokenizer.json --quiet --set batches.negatives=2 \
         --set split.eval.by=group --set split.eval.fraction=0.2 --set batches.steps=60 \
         --set shards.steps_per_shard=25 --set shards.steps_per_row_group=4",
        pipeline.display(),
        data.display(),
    );
    folder.prep(&build).done();
    folder.prep("export out/demo --to jsonl --out expected.jsonl --quiet").done();
    folder
}

/// Runs a recipe and checks what it ends with.
fn run(folder: &Folder, python: &Path, code: &str, more: &[&str]) {
    folder.write("recipe.py", code);
    let program = repository().join("tests/it/recipes.py");
    run_program(folder, python, &program, &[&["recipe.py"], more].concat());
}

fn run_program(folder: &Folder, python: &Path, program: &Path, arguments: &[&str]) {
    let output = Command::new(python)
        .arg(program)
        .args(arguments)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HF_HOME", folder.path("hf"))
        .env("HF_HUB_OFFLINE", "1")
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{arguments:?}\n{stdout}\n{stderr}");
}

#[test]
fn every_format_has_a_recipe() {
    let recipes = recipes();
    let shown: BTreeSet<&str> = recipes.iter().filter_map(Recipe::format).collect();
    for format in formats() {
        assert!(shown.contains(format.as_str()), "no recipe of `{format}`");
    }
}

/// The modules that a recipe imports, by the packages that they come in; what comes with Python is no package.
fn packages(code: &str) -> BTreeSet<&'static str> {
    const PACKAGES: [(&str, &str); 11] = [
        ("datasets", "datasets"),
        ("numpy", "numpy"),
        ("polars", "polars"),
        ("pyarrow", "pyarrow"),
        ("safetensors", "safetensors"),
        ("sentence_transformers", "sentence-transformers"),
        ("streaming", "mosaicml-streaming"),
        ("tfrecord", "tfrecord"),
        ("torch", "torch"),
        ("webdataset", "webdataset"),
        ("zstandard", "zstandard"),
    ];
    let module = |line: &str| {
        let name = line.strip_prefix("import ").or_else(|| line.strip_prefix("from "))?;
        let name = name.split([' ', '.', ',']).next()?;
        PACKAGES.iter().find(|(module, _)| *module == name).map(|(_, package)| *package)
    };
    code.lines().filter_map(module).collect()
}

/// What CI installs, `package==version` by package.
fn versions() -> BTreeMap<String, String> {
    let lists = ["tests/readers.txt", "tests/torch.txt", "tests/export.txt", "tests/export-mds.txt"];
    let lists = lists.map(|list| fs::read_to_string(repository().join(list)).unwrap());
    let pinned = lists.iter().flat_map(|list| list.lines()).filter_map(|line| line.split_once("=="));
    pinned.map(|(package, version)| (package.to_owned(), version.to_owned())).collect()
}

/// The table of README, of the recipes, of what CI installs, and of the tests above and below. After a change:
/// `PREP_KEEP_FORMATS=1 cargo test --test it -- the_readme_names_who_reads_each_format`.
#[test]
fn the_readme_names_who_reads_each_format() {
    const NONE: &str = "dataset directory";
    let versions = versions();
    let mut readers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for recipe in recipes() {
        let format = recipe.format().map_or(NONE.to_owned(), |format| format!("`{format}`"));
        readers.entry(format).or_default().extend(packages(&recipe.code));
    }
    readers.entry(NONE.to_owned()).or_default().insert("datasets");
    readers.entry("`trec-qrels`".to_owned()).or_default().insert("pytrec_eval-terrier");
    let mut table = "| format | read back by | test |\n| --- | --- | --- |\n".to_owned();
    for (format, packages) in &readers {
        let named = packages.iter().map(|package| format!("{package} {}", versions[*package]));
        let named: Vec<String> = named.collect();
        let tests = match format.as_str() {
            NONE => "`ranks_and_workers_change_no_batch`, `a_dataset_is_loaded_by_its_card`",
            "`trec-qrels`" => "`pytrec_eval_reads_the_judgements`",
            "`beir`" | "`numpy`" | "`safetensors`" => "`recipes_read_the_batches_that_the_dataset_has`",
            _ => "`recipes_read_the_batches_that_the_dataset_has`, `every_library_finds_every_column`",
        };
        table.push_str(&format!("| {format} | {} | {tests} |\n", named.join(", ")));
    }
    let path = repository().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once("<!-- formats -->\n").unwrap();
    let (kept, after) = rest.split_once("<!-- end of formats -->").unwrap();
    if std::env::var_os("PREP_KEEP_FORMATS").is_some() {
        let page = format!("{before}<!-- formats -->\n{table}<!-- end of formats -->{after}");
        return fs::write(path, page).unwrap();
    }
    assert_eq!(kept, table);
}

#[test]
fn recipes_read_the_batches_that_the_dataset_has() {
    let test = "recipes_read_the_batches_that_the_dataset_has";
    let Some(python) = python(test) else { return };
    let (folder, formats) = (demo(), formats());
    let mut exported = String::new();
    for recipe in recipes() {
        // That every format has a recipe, and not one of another name, is the test above.
        if !recipe.format().is_some_and(|format| formats.contains(format)) {
            continue;
        }
        println!("{}", recipe.command);
        if recipe.command != exported {
            let arguments = recipe.command.strip_prefix("prep ").unwrap();
            folder.prep(&format!("{arguments} --verify --quiet")).done();
            exported.clone_from(&recipe.command);
        }
        run(&folder, &python, &recipe.code, &[]);
    }
}

/// Not what a recipe takes of a row, but all of it: `export_content.py`.
#[test]
fn every_library_finds_every_column() {
    let test = "every_library_finds_every_column";
    let Some(python) = python(test) else { return };
    let folder = demo();
    let program = repository().join("tests/it/export_content.py");
    let formats =
        ["jsonl", "arrow", "datasets", "tevatron", "flag-embedding", "mds", "webdataset", "tfrecord"];
    for (format, more) in
        formats.into_iter().map(|format| (format, "")).chain([("sentence-transformers", "--negatives 1")])
    {
        let path = format!("content-{format}");
        folder.prep(&format!("export out/demo --to {format} --out {path} --quiet {more}")).done();
        run_program(&folder, &python, &program, &[format, &path]);
    }
}

/// schemas/SAMPLING.md, section 6.
#[test]
fn ranks_and_workers_change_no_batch() {
    let test = "ranks_and_workers_change_no_batch";
    let Some(python) = python(test) else { return };
    let folder = demo();
    let recipe = recipes().into_iter().find(|recipe| recipe.format().is_none());
    run(&folder, &python, &recipe.expect("a recipe that reads the shards").code, &["ranks"]);
}

/// `datasets` knows what it has in its cache by the name of a folder, and not by what its files hold.
#[test]
fn a_folder_is_not_taken_for_another_of_its_name() {
    let test = "a_folder_is_not_taken_for_another_of_its_name";
    let Some(python) = python(test) else { return };
    let folder = demo();
    for steps in ["0..2", "2..4"] {
        let export = format!("export out/demo --to datasets --out {steps}/same --steps {steps} --quiet");
        folder.prep(&export).done();
    }
    let program = folder.write(
        "program.py",
        "from datasets import load_dataset\n\
         first = [load_dataset(f'./{steps}/same', split='train')['step'][0] for steps in ['0..2', '2..4']]\n\
         assert first == [0, 2], first\n",
    );
    run_program(&folder, &python, &program, &[]);
}

/// The card in a dataset's own folder says where its files are, and its citation is YAML with what that format requires.
#[test]
fn a_dataset_is_loaded_by_its_card() {
    let test = "a_dataset_is_loaded_by_its_card";
    let Some(python) = python(test) else { return };
    let folder = demo();
    let program = folder.write(
        "program.py",
        "import json, yaml\n\
         from datasets import load_dataset\n\
         expected = [json.loads(line) for line in open('expected.jsonl', encoding='utf-8')]\n\
         found = load_dataset('out/demo', split='train')\n\
         assert len(found) == len(expected) == 960, len(found)\n\
         for key in ['step', 'row', 'query_id', 'query', 'positive', 'negatives']:\n\
         \x20   assert found[key][:] == [row[key] for row in expected], key\n\
         queries = load_dataset('out/demo', 'queries', split='eval')\n\
         assert set(queries['split']) == {'eval'}\n\
         manifest = json.load(open('out/demo/manifest.json'))\n\
         head = open('out/demo/README.md', encoding='utf-8').read().split('---\\n')[1]\n\
         head = yaml.safe_load(head)\n\
         assert head['language'] == manifest['pipeline']['corpora'][0]['languages'], head\n\
         assert head['license'] == ['cc0-1.0'], head\n\
         citation = yaml.safe_load(open('out/demo/CITATION.cff', encoding='utf-8'))\n\
         assert {'cff-version', 'message', 'title', 'authors'} <= citation.keys(), citation\n\
         assert citation['identifiers'][0]['value'] == manifest['dataset_id'], citation\n\
         assert 'CC0-1.0' in citation['references'][0]['notes'], citation\n",
    );
    run_program(&folder, &python, &program, &[]);
}
