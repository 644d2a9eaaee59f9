//! The recipes of `pipelines/COOKBOOK.md`, as they stand on the page: each runs in a folder of its own that has `data/` and
//! `pipelines/`, and prints what the page says it prints. Those texts are snapshots: after a change of what `prep` prints,
//! `PREP_KEEP_COOKBOOK=1 cargo test --test it -- every_recipe_runs` writes them anew, for a review of the difference.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::util::{Folder, Ran, files, repository};

/// A task, and the block that does it.
struct Recipe {
    title: String,
    block: String,
    /// The block of text behind it: all that it prints on standard output.
    printed: Option<String>,
}

fn page() -> String {
    fs::read_to_string(repository().join("pipelines/COOKBOOK.md")).unwrap()
}

fn recipes(page: &str) -> Vec<Recipe> {
    let mut recipes: Vec<Recipe> = Vec::new();
    let mut title = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            heading.clone_into(&mut title);
        }
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: String =
            lines.by_ref().take_while(|line| *line != "```").flat_map(|line| [line, "\n"]).collect();
        match language {
            "sh" => recipes.push(Recipe { title: title.clone(), block, printed: None }),
            "text" => {
                let recipe =
                    recipes.last_mut().filter(|recipe| recipe.title == title && recipe.printed.is_none());
                recipe.unwrap_or_else(|| panic!("`{title}`: no block prints this text")).printed =
                    Some(block);
            }
            other => panic!("`{title}`: a block of `{other}`"),
        }
    }
    recipes
}

/// A folder with copies of what the recipes start from.
fn fresh() -> Folder {
    let folder = Folder::new();
    for part in ["data", "pipelines"] {
        for (name, bytes) in files(&repository().join(part)) {
            folder.write(&format!("{part}/{name}"), bytes);
        }
    }
    folder
}

/// The search path of this process, behind the folder of the program under test.
fn search_path() -> OsString {
    let program = Path::new(env!("CARGO_BIN_EXE_prep"));
    let mut folders: Vec<PathBuf> = vec![program.parent().unwrap().to_owned()];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(folders).unwrap()
}

/// Runs a recipe, which must end well, say something, and write below `out/` alone.
fn run(recipe: &Recipe) -> Result<String, String> {
    let folder = fresh();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &recipe.block])
        .env("PATH", search_path())
        .env("LC_ALL", "C")
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let Ran { stdout, stderr, code } = Ran::of(output);
    let mut left: Vec<String> = fs::read_dir(folder.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let fault = if code != Some(0) {
        format!("exit code {code:?}")
    } else if left != ["data", "out", "pipelines"] {
        format!("leaves {left:?}, and not `out` alone")
    } else if stdout.is_empty() {
        "prints nothing".to_owned()
    } else {
        return Ok(stdout);
    };
    let Recipe { title, block, .. } = recipe;
    Err(format!("## {title}\n{fault}\n--- block\n{block}--- stdout\n{stdout}--- stderr\n{stderr}"))
}

#[test]
fn every_recipe_runs_and_prints_what_the_page_says() {
    let mut page = page();
    let recipes = recipes(&page);
    assert!(5 <= recipes.iter().filter(|recipe| recipe.printed.is_some()).count());
    let keep = env::var_os("PREP_KEEP_COOKBOOK").is_some();
    let mut faults = Vec::new();
    for recipe in &recipes {
        let Recipe { title, block, printed } = recipe;
        match (run(recipe), printed) {
            (Err(fault), _) => faults.push(fault),
            (Ok(now), Some(before)) if now != *before && keep => {
                let text = |printed: &str| format!("{block}```\n\n```text\n{printed}```\n");
                page = page.replacen(&text(before), &text(&now), 1);
            }
            (Ok(now), Some(before)) if now != *before => {
                faults.push(format!("## {title}\n--- the page says\n{before}--- it prints\n{now}"));
            }
            (Ok(_), _) => {}
        }
    }
    if keep {
        fs::write(repository().join("pipelines/COOKBOOK.md"), page).unwrap();
    }
    assert!(faults.is_empty(), "{} of {} recipes:\n\n{}", faults.len(), recipes.len(), faults.join("\n"));
}

#[test]
fn every_heading_is_a_task_with_one_block() {
    let page = page();
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let recipes = recipes(&page);
    let titles: Vec<&str> = recipes.iter().map(|recipe| recipe.title.as_str()).collect();
    assert_eq!(headings, titles);
}
