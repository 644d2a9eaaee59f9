//! Pipelines that ship, over the real corpora: what is held out is not trained on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::real::{Paragraph, build, ids, source, usable};
use crate::real_squad::squad;
use crate::util::{real_corpora, repository};

#[test]
fn no_question_of_xquad_is_trained_on_in_translation() {
    const TEST: &str = "no_question_of_xquad_is_trained_on_in_translation";
    let Some(data) = real_corpora(TEST) else { return };
    let xquad = source(&data.join("xquad-r/en.json"));
    let (_, _, spanish) = squad("squad-es").sources(&data).remove(0);
    let (_, _, italian) = squad("squad-it").sources(&data).remove(0);
    let held_out = ids(&xquad);
    // Counted: 732 and 778 ids are XQuAD's; 4,539 stand in both languages, 4,029 of them not in XQuAD.
    assert_eq!(ids(&spanish).intersection(&held_out).count(), 732);
    assert_eq!(ids(&italian).intersection(&held_out).count(), 778);
    let parallel = |of: fn(&[Paragraph]) -> BTreeSet<&str>| -> BTreeSet<String> {
        of(&spanish).intersection(&of(&italian)).map(|id| (*id).to_owned()).collect()
    };
    let leakage_free =
        |ids: &BTreeSet<String>| ids.iter().filter(|id| !held_out.contains(id.as_str())).count();
    let (all, good) = (parallel(ids), parallel(usable));
    assert_eq!((all.len(), leakage_free(&all)), (4_539, 4_029));
    // Less those without a good Italian answer: 26 of the 4,029, and 4 that are XQuAD's.
    assert_eq!((good.len(), leakage_free(&good)), (4_509, 4_003));

    let pipeline = fs::read_to_string(repository().join("pipelines/squad-es-it.toml")).unwrap();
    let built = build(&data, &pipeline, &[]);
    let of_split = |split: &str| -> BTreeSet<&str> {
        let queries = built.queries.values().filter(|q| q.split.as_deref() == Some(split));
        queries.map(|q| q.group.strip_prefix("squad/").unwrap()).collect()
    };
    let (train, eval) = (of_split("train"), of_split("eval"));
    assert_eq!((train.len(), eval.len()), (4_003, 506));
    assert!(train.is_disjoint(&held_out) && eval.is_subset(&held_out));
    assert_eq!(built.queries.len(), 2 * (4_003 + 506), "a question in both languages");
    // No row has a question of XQuAD, or a sentence of a paragraph that XQuAD asks about.
    let asked = |lang: &'static str, paragraphs: &[Paragraph]| -> Vec<String> {
        let with = |p: &Paragraph| p.questions.iter().any(|q| held_out.contains(q.id.as_str()));
        let numbered = paragraphs.iter().enumerate().filter(|(_, p)| with(p));
        numbered.map(|(p, _)| format!("squad/{lang}/p{p}")).collect()
    };
    let asked: BTreeSet<String> = asked("es", &spanish).into_iter().chain(asked("it", &italian)).collect();
    assert_eq!(built.rows.len(), 161 * 100);
    for (group, positive) in &built.rows {
        assert!(!held_out.contains(group.strip_prefix("squad/").unwrap()), "{group}");
        assert!(!asked.contains(&built.passages[positive].context), "{positive}");
    }
    // The ids came from a file whose texts are not in the dataset.
    assert!(built.queries.keys().chain(built.passages.keys()).all(|id| id.starts_with("squad/")));
    let inputs = built.manifest["inputs"].as_array().unwrap();
    assert!(inputs.iter().any(|input| input["name"] == "xquad-r/en.json"));
}

#[test]
fn no_title_straddles_the_split_of_the_mixed_pipeline() {
    const TEST: &str = "no_title_straddles_the_split_of_the_mixed_pipeline";
    let Some(data) = real_corpora(TEST) else { return };
    let pipeline = fs::read_to_string(repository().join("pipelines/mixed.toml")).unwrap();
    let built = build(&data, &pipeline, &["batches.steps=20"]);
    let corpus_of = |id: &str| id.split_once('/').unwrap().0.to_owned();
    let mut splits: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut titles: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut untitled: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (id, passage) in &built.passages {
        let split = passage.split.as_deref().unwrap();
        if passage.title.is_empty() {
            assert_eq!(split, "train", "{id} has no title to be held out by");
            untitled.entry(corpus_of(id)).or_default().insert(&passage.context);
        } else {
            splits.entry(&passage.title).or_default().insert(split);
            titles.entry(corpus_of(id)).or_default().insert(&passage.title);
        }
    }
    assert!(splits.values().all(|sides| sides.len() == 1), "{splits:?}");
    // Counted with Python over the files. Those of the words are synsets by language.
    let counted: BTreeMap<&str, usize> = [
        ("afriqa", 4_893),
        ("arcd", 77),
        ("cmrc", 1_102),
        ("drcd", 383),
        ("jaquad", 116),
        ("squad", 92),
        ("xquad-r", 48),
    ]
    .into();
    assert_eq!(
        titles.iter().map(|(name, titles)| (name.as_str(), titles.len())).collect::<BTreeMap<_, _>>(),
        counted
    );
    assert_eq!(untitled.keys().collect::<Vec<_>>(), ["afriqa", "cmrc", "synsets"]);
    assert_eq!((splits.len(), untitled["afriqa"].len(), untitled["cmrc"].len()), (6_705, 17, 2));
    // Each title is in one fold of five by its own name: of hundreds a fifth, give or take.
    for (name, titles) in &titles {
        let n_eval = titles.iter().filter(|title| splits[*title].contains("eval")).count();
        assert!(
            n_eval * 10 >= titles.len() && n_eval * 3 <= titles.len(),
            "{name}: {n_eval} of {}",
            titles.len()
        );
    }
    // A question of XQuAD-R and its translations in the other corpus are one.
    let of = |name: &str| -> BTreeMap<&str, &Option<String>> {
        let groups = built.queries.values().filter_map(|query| {
            let (corpus, id) = query.group.split_once('/')?;
            (corpus == name).then_some((id, &query.split))
        });
        groups.collect()
    };
    let (xquad, squad) = (of("xquad-r"), of("squad"));
    let shared: Vec<&str> = xquad.keys().filter(|id| squad.contains_key(*id)).copied().collect();
    assert!(shared.iter().all(|id| xquad[id] == squad[id]) && 700 < shared.len(), "{}", shared.len());
    assert_eq!(
        shared.iter().map(|id| xquad[id].as_deref()).collect::<BTreeSet<_>>(),
        [Some("eval"), Some("train")].into()
    );
    for (group, positive) in &built.rows {
        assert_eq!(built.passages[positive].split.as_deref(), Some("train"));
        assert!(built.relevant[group].contains(positive));
    }
    // Every question goes where the passages that answer it are.
    for query in built.queries.values() {
        let sides = built.relevant[&query.group].iter().map(|id| &built.passages[id].split);
        assert!(sides.into_iter().all(|split| *split == query.split), "{}", query.group);
    }
}
