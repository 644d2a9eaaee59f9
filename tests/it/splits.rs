//! What is held out, and that no training text is tied to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::beir::beir;
use crate::built::{BUILD, build, build_with, corpus, manifest, passages, rows};
use crate::util::{Folder, parquet, squad, texts};

/// Six titles of two paragraphs of three questions, in two languages; English paragraphs are in another order.
fn for_splits() -> Folder {
    let folder = Folder::new();
    for lang in ["de", "en"] {
        let paragraph = |p: usize| {
            let question = |q: usize| {
                let answer = json!([{"answer_start": 0, "text": "Satz"}]);
                json!({"id": format!("{p}-{q}"), "question": format!("{lang} {p} {q}?"), "answers": answer})
            };
            let questions: Vec<_> = (0..3).map(question).collect();
            json!({"context": format!("Satz {lang} {p}. Noch einer, {lang} {p}."), "qas": questions})
        };
        let article = |a: usize| {
            let mut paragraphs = vec![paragraph(2 * a), paragraph(2 * a + 1)];
            if lang == "en" {
                paragraphs.reverse();
            }
            json!({"title": format!("T{a}"), "paragraphs": paragraphs})
        };
        let articles: Vec<_> = (0..6).map(article).collect();
        folder.write(&format!("data/{lang}.json"), json!({"data": articles}).to_string());
    }
    folder
}

/// The side of everything of this kind; fails where one thing stands on two.
#[track_caller]
fn sides(folder: &Folder, table: &str, of: &str) -> BTreeMap<String, String> {
    let mut sides = BTreeMap::new();
    for row in rows(folder, &format!("corpus/{table}-00000"), &[of, "split"]) {
        let (name, side) = row.rsplit_once(" | ").unwrap();
        assert!(side == "train" || side == "eval", "{row}");
        let before = sides.insert(name.to_owned(), side.to_owned());
        assert!(before.is_none_or(|before| before == side), "{name} stands on both sides");
    }
    sides
}

fn n_eval(sides: &BTreeMap<String, String>) -> usize {
    sides.values().filter(|side| *side == "eval").count()
}

/// What every split promises, whatever it counts.
#[track_caller]
fn check_split(folder: &Folder) {
    folder.prep("verify d").done();
    let (groups, contexts) = (sides(folder, "queries", "group_id"), sides(folder, "passages", "context_id"));
    assert!(0 < n_eval(&groups) && n_eval(&groups) < groups.len());
    let passages = sides(folder, "passages", "passage_id");
    let qrels = rows(folder, "corpus/qrels-00000", &["group_id", "passage_id"]);
    // A judgement ties a question to its context: never across.
    for row in &qrels {
        let (group, passage) = row.split_once(" | ").unwrap();
        assert_eq!(groups[group], passages[passage], "{row}");
    }
    // eval/ is the eval side and nothing else.
    let all = |table: &str, columns: &[&str], keep: &dyn Fn(&str) -> bool| -> Vec<String> {
        let rows = rows(folder, &format!("corpus/{table}-00000"), columns);
        rows.into_iter().filter(|row| keep(row)).collect()
    };
    let columns = ["query_id", "group_id", "dataset", "lang", "text", "split"];
    let held_out = |row: &str| row.ends_with(" | eval");
    assert_eq!(rows(folder, "eval/queries-00000", &columns), all("queries", &columns, &held_out));
    let columns = ["passage_id", "dataset", "lang", "text", "context_id", "title", "split"];
    assert_eq!(rows(folder, "eval/passages-00000", &columns), all("passages", &columns, &held_out));
    let columns = ["group_id", "passage_id", "relevance"];
    let judged = |row: &str| groups[row.split_once(" | ").unwrap().0] == "eval";
    assert_eq!(rows(folder, "eval/qrels-00000", &columns), all("qrels", &columns, &judged));
    // Nothing that is held out is trained on.
    for row in rows(folder, "train/batches-00000", &["group_id", "positive_id"]) {
        let (group, passage) = row.split_once(" | ").unwrap();
        assert_eq!((groups[group].as_str(), passages[passage].as_str()), ("train", "train"));
    }
    let n_train = groups.len() - n_eval(&groups);
    let trained: BTreeSet<_> = rows(folder, "train/batches-00000", &["group_id"]).into_iter().collect();
    assert_eq!(trained.len(), n_train, "one epoch takes every group that is left");
    assert_eq!(manifest(folder)["eval_is_trained_on"], json!(false));
    assert!(contexts.values().any(|side| side == "eval"));
}

fn split(by: &str, fraction: &str) -> Folder {
    let folder = for_splits();
    let section = format!("[split.eval]\nby = {by:?}\nfraction = {fraction}\n");
    build_with(
        &folder,
        &format!("{}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")),
        "--strict",
    );
    check_split(&folder);
    folder
}

#[test]
fn a_split_by_title_keeps_titles_whole() {
    let folder = split("title", "\"1/3\"");
    // A third of six; each has two paragraphs of three questions.
    assert_eq!(n_eval(&sides(&folder, "passages", "title")), 2);
    assert_eq!(n_eval(&sides(&folder, "queries", "group_id")), 12);
}

#[test]
fn a_split_by_group_keeps_paragraphs_whole() {
    let folder = split("group", "0.3");
    // 0.3 of 36 groups is 10.8, rounded to 11; paragraphs of three fit three times.
    assert_eq!(n_eval(&sides(&folder, "queries", "group_id")), 9);
    assert_eq!(n_eval(&sides(&folder, "queries", "query_id")), 18);
}

#[test]
fn a_split_by_paragraph_keeps_translations_together() {
    let folder = split("paragraph", "0.25");
    // A quarter of 24 paragraphs: three, each with its translation.
    assert_eq!(n_eval(&sides(&folder, "passages", "context_id")), 6);
    assert_eq!(n_eval(&sides(&folder, "queries", "group_id")), 9);
}

/// By hand, seed 5 and three folds: `subkey(5, "split", "T0", 0) * 3 >> 64` and so on are 0, 0, 1, 1, 0, 2.
#[test]
fn the_fold_of_a_title_follows_from_its_name_and_the_seed() {
    let folder = for_splits();
    let corpora = corpus("squad", "{lang}.json", &["de", "en"], "");
    let mut of_fold = Vec::new();
    for fold in 0..3 {
        let section = format!("[split.eval]\nby = \"title\"\nfolds = 3\nfold = {fold}\nseed = 5\n");
        // The seed of the plan has no say.
        build_with(&folder, &format!("{corpora}{section}"), &format!("--strict --seed {fold}"));
        check_split(&folder);
        let titles = sides(&folder, "passages", "title");
        let held_out = titles.into_iter().filter(|(_, side)| side == "eval").map(|(title, _)| title);
        of_fold.push(held_out.collect::<Vec<_>>());
    }
    assert_eq!(of_fold, [vec!["T0", "T1", "T4"], vec!["T2", "T3"], vec!["T5"]]);
    let section = "[split.eval]\nby = \"title\"\nfolds = 6\nfold = 5\nseed = 4\n";
    let failed = format!("name = \"test\"\n{corpora}{section}[batches]\nbatch_size = 1\n");
    folder.write("p.toml", failed);
    folder
        .prep(BUILD)
        .failed_with(&["setting `split.eval.folds`: fold 5 of 6 got none of the 6 parts", "hint: "]);
}

/// Of six articles T0 lost its title in both languages, T5 in German alone.
#[test]
fn a_context_without_a_title_is_held_out_with_what_it_is_tied_to_or_not_at_all() {
    let folder = for_splits();
    let corpora = corpus("squad", "{lang}.json", &["de", "en"], "");
    let untitle = |articles: &[(&str, usize)]| {
        for (lang, article) in articles {
            let name = format!("data/{lang}.json");
            let text = fs::read_to_string(folder.path(&name)).unwrap();
            let mut document: Value = serde_json::from_str(&text).unwrap();
            // Blank in one language, missing in the other: neither is a title.
            match *lang {
                "de" => document["data"][article]["title"] = json!(" "),
                _ => _ = document["data"][article].as_object_mut().unwrap().remove("title"),
            }
            folder.write(&name, document.to_string());
        }
    };
    untitle(&[("de", 0), ("en", 0), ("de", 5)]);
    let mut of_fold = Vec::new();
    for fold in 0..3 {
        let section = format!("[split.eval]\nby = \"title\"\nfolds = 3\nfold = {fold}\nseed = 5\n");
        build_with(&folder, &format!("{corpora}{section}"), "--strict");
        check_split(&folder);
        let questions = sides(&folder, "queries", "group_id").into_iter().filter(|(_, side)| side == "eval");
        // Two paragraphs to an article, three questions to a paragraph: `d/11-2` is the last of T5.
        let article =
            |group: &str| group["d/".len()..].split_once('-').unwrap().0.parse::<usize>().unwrap() / 2;
        of_fold.push(questions.map(|(group, _)| article(&group)).collect::<BTreeSet<_>>());
    }
    // As in the test above, but that no fold has T0.
    assert_eq!(of_fold, [BTreeSet::from([1, 4]), BTreeSet::from([2, 3]), BTreeSet::from([5])]);

    untitle(&(0..6).flat_map(|article| [("de", article), ("en", article)]).collect::<Vec<_>>());
    let section = "[split.eval]\nby = \"title\"\nfraction = 0.5\n";
    folder.write("p.toml", format!("name = \"test\"\n{corpora}{section}[batches]\nbatch_size = 1\n"));
    folder.prep(BUILD).failed_with(&[
        "setting `split.eval.by`: no context of `d` has a title",
        "hint: split by `paragraph`",
    ]);
}

#[test]
fn another_seed_holds_out_something_else() {
    let folder = for_splits();
    let section = "[split.eval]\nby = \"title\"\nfraction = 0.5\n";
    let corpus = format!("{}{section}", corpus("squad", "{lang}.json", &["de", "en"], ""));
    let chosen: BTreeSet<_> = (0..8)
        .map(|seed| {
            build_with(&folder, &corpus, &format!("--seed {seed}"));
            let titles = sides(&folder, "passages", "title");
            assert_eq!(n_eval(&titles), 3);
            format!("{titles:?}")
        })
        .collect();
    // Eight draws out of 20 that all agree would be chance of one in 20^7.
    assert!(1 < chosen.len());
}

#[test]
fn evaluation_may_search_all_passages() {
    let folder = for_splits();
    let section = "[split.eval]\nby = \"title\"\nfraction = 0.5\npool = \"all\"\n";
    build(&folder, &format!("{}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    let columns = ["passage_id", "split"];
    let all = rows(&folder, "corpus/passages-00000", &columns);
    assert_eq!(rows(&folder, "eval/passages-00000", &columns), all);
    assert_eq!(all.len(), 48); // two sentences of twelve paragraphs in two languages
    let held_out = rows(&folder, "eval/queries-00000", &["split"]);
    assert_eq!(held_out, vec!["eval"; 36]);
}

#[test]
fn questions_that_share_a_passage_fall_on_one_side() {
    // A and B hang together by q1, C and D by q4.
    let folder = Folder::new();
    folder.write(
        "data/de.csv",
        "id,q,pid,p\nq1,1?,A,a\nq1,1?,B,b\nq2,2?,B,b\nq3,3?,C,c\nq4,4?,C,c\nq4,4?,D,d\n",
    );
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\" }";
    let section = "[split.eval]\nby = \"group\"\nfraction = 0.5\n";
    build(&folder, &format!("{}{section}", corpus("table", "de.csv", &["de"], columns)));
    check_split(&folder);
    let groups = sides(&folder, "queries", "group_id");
    assert_eq!((&groups["d/q1"], &groups["d/q3"]), (&groups["d/q2"], &groups["d/q4"]));
    assert_ne!(groups["d/q1"], groups["d/q3"]);
}

#[test]
fn a_split_without_parallel_groups_may_part_languages() {
    // One group in each of two languages, with one id: they are strangers.
    let folder = Folder::new();
    beir(&folder, "de", "q1\tp1\t1\n");
    beir(&folder, "en", "q1\tp1\t1\n");
    for lang in ["de", "en"] {
        folder.write(&format!("data/{lang}/queries.jsonl"), "{\"_id\": \"q1\", \"text\": \"Was?\"}\n");
    }
    let section = "[split.eval]\nby = \"group\"\nfraction = 0.5\n";
    build(&folder, &format!("{}{section}", corpus("beir", "{lang}", &["de", "en"], "")));
    check_split(&folder);
    let groups = sides(&folder, "queries", "group_id");
    assert_ne!(groups["d/de/q1"], groups["d/en/q1"]);
}

#[test]
fn the_ids_of_another_corpus_are_held_out() {
    let folder = for_splits();
    folder.write(
        "data/held.json",
        squad("Held out.", &[("4-1", "Which?", 0, "Held"), ("none", "Who?", 0, "Held")]),
    );
    let held =
        corpus("squad", "held.json", &["en"], "ids_only = true").replace("name = \"d\"", "name = \"h\"");
    let section = "[split.eval]\nids_from = \"h\"\n";
    build(&folder, &format!("{}{held}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    check_split(&folder);
    // The other questions of its paragraph go with it; nothing of the other corpus is in the dataset.
    let groups = sides(&folder, "queries", "group_id");
    let eval: Vec<_> = groups.iter().filter(|(_, side)| *side == "eval").map(|(group, _)| group).collect();
    assert_eq!(eval, ["d/4-0", "d/4-1", "d/4-2"]);
    assert_eq!(groups.len(), 36);
    assert_eq!(passages(&folder).len(), 48);
    // Where the ids are from is a source like any other.
    assert!(manifest(&folder)["inputs"].to_string().contains("held.json"));
}

#[test]
fn a_corpus_that_is_trained_on_can_give_the_ids_too() {
    // `e` has the ids of two questions of `d`, so it is held out whole and they with their paragraph.
    let folder = for_splits();
    folder.write(
        "data/e.json",
        squad("Wieder. Anders.", &[("0-0", "Was?", 0, "Wieder"), ("0-2", "Wer?", 8, "Anders")]),
    );
    let other = corpus("squad", "e.json", &["de"], "").replace("name = \"d\"", "name = \"e\"");
    let section = "[split.eval]\nids_from = \"e\"\n";
    build(&folder, &format!("{}{other}{section}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    check_split(&folder);
    let groups = sides(&folder, "queries", "group_id");
    let eval: Vec<_> = groups.iter().filter(|(_, side)| *side == "eval").map(|(group, _)| group).collect();
    assert_eq!(eval, ["d/0-0", "d/0-1", "d/0-2", "e/0-0", "e/0-2"]);
}

/// A question that the ids corpus had to refuse is held out all the same, and the refusal is kept.
#[test]
fn ids_of_refused_questions_are_held_out_too() {
    let folder = Folder::new();
    let questions = |start: i64| {
        let texts = ["Was ist kalt?", "Wie ist Eis?", "Was ist es?"];
        let ids = ["q1", "q2", "q3"];
        let rows: Vec<_> = ids.into_iter().zip(texts).map(|(id, text)| (id, text, 0, "Eis")).collect();
        let mut document: Value = serde_json::from_str(&squad("Eis ist kalt.", &rows[..2])).unwrap();
        let other: Value = serde_json::from_str(&squad("Eis liegt hier.", &rows[2..])).unwrap();
        document["data"].as_array_mut().unwrap().push(other["data"][0].clone());
        document["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = start.into();
        document
    };
    folder.write("data/de.json", questions(0).to_string());
    // The ids are q1, which is refused, and q2 of the same paragraph.
    let mut ids = questions(-1);
    ids["data"].as_array_mut().unwrap().pop();
    folder.write("data/ids.json", ids.to_string());
    folder.write(
        "p.toml",
        "name = \"t\"\nmax_rejects = 0.5\n[[corpora]]\nname = \"d\"\nformat = \"squad\"\npath = \"{lang}.json\"\nlanguages = [\"de\"]\n\
         [[corpora]]\nname = \"i\"\nformat = \"squad\"\npath = \"ids.json\"\nlanguages = [\"de\"]\nids_only = true\n\
         [split.eval]\nids_from = \"i\"\n[batches]\nstrategy = \"x-x-mono\"\nbatch_size = 1\n",
    );
    folder.prep("build-shards p.toml --data data --out d").done();
    let queries = parquet(&folder.path("d/corpus/queries-00000.parquet"));
    let split: Vec<_> = texts(&queries, "split").into_iter().flatten().collect();
    assert_eq!(split, ["eval", "eval", "train"]);
    let rejects = parquet(&folder.path("d/rejects.parquet"));
    assert_eq!(texts(&rejects, "source"), [Some("ids.json".to_owned())]);
    folder
        .prep("build-shards p.toml --data data --out e --strict")
        .failed_with(&["ids.json", "answer_start"]);
}
