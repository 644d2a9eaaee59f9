//! The recipes of `pipelines/recipes/README.md`, as they stand on the page: each exports the demo and reads it with the
//! library that the format is for. `PREP_EXPORT_PYTHON` names a Python that has what tests/torch.txt, tests/export.txt
//! and tests/export-mds.txt list; without it these tests say so and pass. `recipes.py` holds the results against the dataset.

use std::collections::BTreeSet;
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
    let (mut recipes, mut command) = (Vec::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match language {
            "sh" => command = block.join("\n"),
            "python" => recipes.push(Recipe { command: command.clone(), code: block.join("\n") + "\n" }),
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
