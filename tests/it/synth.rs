//! Synthetic corpora.

use std::collections::{BTreeMap, BTreeSet};

use crate::built::{build, build_with, corpus, passages, qrels, queries, rows};
use crate::util::{Folder, files, squad};

fn for_synth() -> Folder {
    let folder = Folder::new();
    let de = [("1", "Was ist kalt hier?", 0, "Eis"), ("2", "Was ist heiß hier?", 14, "Feuer")];
    let en = [("1", "What is cold here?", 0, "Ice"), ("2", "What is hot here?", 13, "Fire")];
    folder.write("data/de.json", squad("Eis ist kalt. Feuer ist heiß.", &de));
    folder.write("data/en.json", squad("Ice is cold. Fire is hot.", &en));
    folder
}

#[test]
fn synth_makes_as_many_groups_and_languages_as_asked_for() {
    let folder = for_synth();
    let section = corpus("synth", "{lang}.json", &["de", "en"], "synth = { groups = 5, languages = 3 }");
    build_with(&folder, &section, "--strict");
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(&folder, "corpus/queries-00000", &["group_id", "lang"]) {
        let (group, lang) = row.split_once(" | ").unwrap();
        groups.entry(group.to_owned()).or_default().push(lang.to_owned());
    }
    // Two groups of the source, two of copy 1, one of copy 2; the third language is made of the first, and comes
    // before it, as `-` comes before `/`.
    assert_eq!(groups.keys().collect::<Vec<_>>(), ["d/1", "d/1-c1", "d/1-c2", "d/2", "d/2-c1"]);
    assert!(groups.values().all(|langs| *langs == ["de-x-s1", "de", "en"]), "{groups:?}");
    // Three copies of two sentences in three languages.
    assert_eq!(passages(&folder).len(), 18);
    assert_eq!(qrels(&folder).len(), 15);
    let first = files(&folder.path("d"));
    build_with(&folder, &section, "--strict --threads 1");
    assert!(files(&folder.path("d")) == first);
}

#[test]
fn synth_begins_with_the_source_as_it_is() {
    let folder = for_synth();
    build(&folder, &corpus("squad", "{lang}.json", &["de", "en"], ""));
    let (queries_of_source, passages_of_source, qrels_of_source) =
        (queries(&folder), passages(&folder), qrels(&folder));
    build(&folder, &corpus("synth", "{lang}.json", &["de", "en"], "synth = { groups = 4, languages = 4 }"));
    let of_source = |rows: Vec<String>| -> Vec<String> {
        rows.into_iter().filter(|row| !row.contains("-c1") && !row.contains("-x-s1")).collect()
    };
    assert_eq!(of_source(queries(&folder)), queries_of_source);
    assert_eq!(of_source(passages(&folder)), passages_of_source);
    assert_eq!(of_source(qrels(&folder)), qrels_of_source);
    // Copies and languages differ from it and from one another.
    let texts = rows(&folder, "corpus/queries-00000", &["text"]);
    assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 16);
    let answer = "d/1-c1 | d/en-x-s1/p0-c1/s0 | 1".to_owned();
    assert!(qrels(&folder).contains(&answer), "{:?}", qrels(&folder));
}
