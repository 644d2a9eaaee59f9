//! The pages of the repository: every link leads somewhere, and the index has them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::util::{files, repository};

/// Every page, by its path below the repository.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for folder in ["schemas", "pipelines", "data", "tests/gpu"] {
        for (name, bytes) in files(&repository().join(folder)) {
            if name.ends_with(".md") {
                pages.insert(format!("{folder}/{name}"), String::from_utf8(bytes).unwrap());
            }
        }
    }
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    pages.insert("README.md".to_owned(), readme);
    pages
}

/// What stands outside of fenced blocks.
fn prose(page: &str) -> String {
    let (mut kept, mut fenced) = (String::new(), false);
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The targets of links and pictures that are no addresses of the web. Code between backticks has no links.
fn links(page: &str) -> Vec<String> {
    let text: String = prose(page).split('`').step_by(2).collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings, by GitHub's rule: lower case, punctuation left out, hyphens for spaces, and a number
/// where a heading comes again.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(page).lines() {
        let Some((marks, heading)) = line.split_once(' ') else { continue };
        if marks.is_empty() || marks.chars().any(|c| c != '#') {
            continue;
        }
        let letters = heading.trim().to_lowercase();
        let letters = letters.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let first: String = letters.map(|c| if c == ' ' { '-' } else { c }).collect();
        let (mut anchor, mut again) = (first.clone(), 0);
        while !anchors.insert(anchor) {
            again += 1;
            anchor = format!("{first}-{again}");
        }
    }
    anchors
}

#[test]
fn anchors_follow_the_rule_of_github() {
    let page = "# A `code`, B\n\n```sh\n# none\n```\n## 7. plan.json\n## Twice\n## Twice\nno # heading\n";
    let expected = ["7-planjson", "a-code-b", "twice", "twice-1"];
    assert_eq!(anchors(page).into_iter().collect::<Vec<_>>(), expected);
}

/// What is wrong with a link on a page, if anything.
fn fault(pages: &BTreeMap<String, String>, page: &str, link: &str) -> Option<String> {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let repository = repository().canonicalize().unwrap();
    let parent = repository.join(page).parent().unwrap().to_owned();
    let file = if path.is_empty() { repository.join(page) } else { parent.join(path) };
    let Ok(file) = file.canonicalize() else { return Some(format!("{page}: `{link}` is not there")) };
    let Ok(name) = file.strip_prefix(&repository) else {
        return Some(format!("{page}: `{link}` leaves the repository"));
    };
    if anchor.is_empty() {
        return None;
    }
    let Some(target) = pages.get(&slashed(name)) else {
        return Some(format!("{page}: `{link}` has an anchor, and is no page"));
    };
    (!anchors(target).contains(anchor)).then(|| format!("{page}: `{link}` names no heading"))
}

fn slashed(path: &Path) -> String {
    path.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("/")
}

#[test]
fn every_link_leads_to_something() {
    let pages = pages();
    let mut faults = Vec::new();
    let mut n_links = 0;
    for (page, text) in &pages {
        for link in links(text) {
            n_links += 1;
            faults.extend(fault(&pages, page, &link));
        }
    }
    assert!(20 < n_links, "only {n_links} links found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_index_names_every_page() {
    let pages = pages();
    let folder = repository().join("schemas");
    let linked: BTreeSet<_> = links(&pages["schemas/README.md"])
        .iter()
        .filter_map(|link| folder.join(link).canonicalize().ok())
        .collect();
    for page in pages.keys().filter(|page| *page != "schemas/README.md") {
        let path = repository().join(page).canonicalize().unwrap();
        assert!(linked.contains(&path), "schemas/README.md does not link to {page}");
    }
}
