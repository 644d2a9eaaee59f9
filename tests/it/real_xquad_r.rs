//! XQuAD-R as it is: sentences, offsets, repeated texts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::OnceLock;

use unicode_normalization::is_nfc;

use crate::real::{Built, Paragraph, build, has_outer_white_space, source};
use crate::util::{real_corpora, repository};

/// One language of XQuAD-R: candidates and answers in the table that its publishers give, the others counted.
struct Language {
    tag: &'static str,
    candidates: usize,
    /// Candidates that answer some question.
    answering: usize,
    /// Answers that reach beyond the end of the sentence that they start in.
    crossing: usize,
    /// Questions that begin or end with white space.
    padded: usize,
    /// Questions that would get another sentence if offsets were bytes.
    wrong_by_bytes: usize,
    /// Contexts that hold U+FEFF.
    with_marks: usize,
    /// Contexts and questions that are not in NFC.
    not_nfc: (usize, usize),
}

#[rustfmt::skip]
const XQUAD_R: [Language; 11] = [
    Language { tag: "ar", candidates: 1222, answering: 790, crossing: 10, padded: 19, wrong_by_bytes: 724, with_marks: 9, not_nfc: (28, 20) },
    Language { tag: "de", candidates: 1276, answering: 818, crossing: 8, padded: 30, wrong_by_bytes: 86, with_marks: 6, not_nfc: (0, 0) },
    Language { tag: "el", candidates: 1234, answering: 798, crossing: 13, padded: 22, wrong_by_bytes: 737, with_marks: 7, not_nfc: (0, 0) },
    Language { tag: "en", candidates: 1180, answering: 787, crossing: 3, padded: 42, wrong_by_bytes: 11, with_marks: 0, not_nfc: (0, 0) },
    Language { tag: "es", candidates: 1215, answering: 796, crossing: 12, padded: 37, wrong_by_bytes: 74, with_marks: 2, not_nfc: (0, 0) },
    Language { tag: "hi", candidates: 1244, answering: 798, crossing: 11, padded: 10, wrong_by_bytes: 790, with_marks: 8, not_nfc: (101, 75) },
    Language { tag: "ru", candidates: 1219, answering: 787, crossing: 2, padded: 82, wrong_by_bytes: 730, with_marks: 7, not_nfc: (0, 0) },
    // The breaker of the publishers found few boundaries in Thai: 852 candidates.
    Language { tag: "th", candidates: 852, answering: 603, crossing: 9, padded: 71, wrong_by_bytes: 628, with_marks: 7, not_nfc: (0, 0) },
    Language { tag: "tr", candidates: 1167, answering: 764, crossing: 20, padded: 61, wrong_by_bytes: 234, with_marks: 5, not_nfc: (0, 0) },
    Language { tag: "vi", candidates: 1209, answering: 794, crossing: 13, padded: 9, wrong_by_bytes: 516, with_marks: 2, not_nfc: (0, 0) },
    Language { tag: "zh", candidates: 1196, answering: 784, crossing: 11, padded: 5, wrong_by_bytes: 774, with_marks: 6, not_nfc: (0, 0) },
];

/// The benchmark as `pipelines/xquad-r.toml` has it, ten batches of it, and its files.
pub fn xquad_r(test: &str) -> Option<&'static (Built, BTreeMap<&'static str, Vec<Paragraph>>)> {
    static BUILT: OnceLock<(Built, BTreeMap<&'static str, Vec<Paragraph>>)> = OnceLock::new();
    let data = real_corpora(test)?;
    Some(BUILT.get_or_init(|| {
        let pipeline = fs::read_to_string(repository().join("pipelines/xquad-r.toml")).unwrap();
        let read = |l: &Language| (l.tag, source(&data.join(format!("xquad-r/{}.json", l.tag))));
        (build(&data, &pipeline, &["batches.steps=10"]), XQUAD_R.iter().map(read).collect())
    }))
}

#[test]
fn xquad_r_has_its_published_size() {
    let Some((built, _)) = xquad_r("xquad_r_has_its_published_size") else { return };
    // Published: 13,090 questions, 13,014 candidates, one relevant candidate a question in each of 11 languages.
    assert_eq!((built.queries.len(), built.passages.len()), (13_090, 13_014));
    assert_eq!(built.relevant.len(), 1_190);
    let every: BTreeSet<&str> = XQUAD_R.iter().map(|l| l.tag).collect();
    for (group, passages) in &built.relevant {
        let languages: BTreeSet<&str> = passages.iter().map(|id| built.passages[id].lang.as_str()).collect();
        assert_eq!((passages.len(), &languages), (11, &every), "{group}");
    }
    assert_eq!(built.rejects.len(), 0);
    assert_eq!(built.manifest["eval_is_trained_on"], true);
    for language in &XQUAD_R {
        let n_queries = built.queries.values().filter(|q| q.lang == language.tag).count();
        let passages: BTreeMap<_, _> =
            built.passages.iter().filter(|(_, p)| p.lang == language.tag).collect();
        let answering: BTreeSet<_> =
            built.relevant.values().flatten().filter(|id| passages.contains_key(id)).collect();
        let found = (n_queries, passages.len(), answering.len());
        assert_eq!(found, (1_190, language.candidates, language.answering), "{}", language.tag);
        let contexts: BTreeSet<_> = passages.values().map(|p| &p.context).collect();
        let titles: BTreeSet<_> = passages.values().map(|p| &p.title).collect();
        assert_eq!((contexts.len(), titles.len()), (240, 48), "{}", language.tag);
    }
}

#[test]
fn the_answer_sentence_is_the_one_that_holds_the_offset() {
    let Some((built, sources)) = xquad_r("the_answer_sentence_is_the_one_that_holds_the_offset") else {
        return;
    };
    for language in &XQUAD_R {
        let lang = language.tag;
        let (mut crossing, mut wrong_by_bytes) = (0, 0);
        for (p, paragraph) in sources[lang].iter().enumerate() {
            for question in &paragraph.questions {
                let [(text, start)] = &question.answers[..] else { panic!("one answer") };
                let start = usize::try_from(*start).unwrap();
                let sentence = paragraph.sentence_at(start).unwrap();
                let found = built.relevant(&format!("xquad-r/{}", question.id), &format!("xquad-r/{lang}/"));
                assert_eq!(found, [format!("xquad-r/{lang}/p{p}/s{sentence}")], "{lang} {}", question.id);
                crossing += usize::from(paragraph.breaks[sentence].1 < start + text.len());
                let before = |n: usize| {
                    let bytes = paragraph.context.iter().scan(0, |at, c| {
                        *at += c.len_utf8();
                        Some(*at)
                    });
                    bytes.take_while(|end| *end <= n).count()
                };
                wrong_by_bytes += usize::from(paragraph.sentence_at(before(start)) != Some(sentence));
            }
        }
        // That the answer fits its sentence is not asked for, and bytes would have been noticed above.
        assert_eq!((crossing, wrong_by_bytes), (language.crossing, language.wrong_by_bytes), "{lang}");
    }
}

#[test]
fn three_answers_that_bytes_or_a_text_search_would_misplace() {
    let Some((built, _)) = xquad_r("three_answers_that_bytes_or_a_text_search_would_misplace") else {
        return;
    };
    // Counted. The sentence by offset is 9, 4, 2; offsets taken for bytes give 8, 2, 1; the first sentence with the text
    // of the answer is 6, 3, 0.
    for (lang, id, passage, text) in [
        (
            "de",
            "573380e0d058e614000b5beb",
            "p8/s9",
            "Die Bezirke in Krakau besitzen jedoch beispielsweise keine Powiat-Anrechte.",
        ),
        (
            "ru",
            "57268e2bf1498d1400e8e3b4",
            "p75/s4",
            "Гренландия подписала договор в 1985 году, получив особый статус.",
        ),
        (
            "zh",
            "570967c4ed30961900e840be",
            "p41/s2",
            "旧的位置与来自几个欧洲国家的广播公司进行了共享，而位于 28.5°E 的新位置几乎只用于向英国广播的频道。",
        ),
    ] {
        let found = built.relevant(&format!("xquad-r/{id}"), &format!("xquad-r/{lang}/"));
        assert_eq!(found, [format!("xquad-r/{lang}/{passage}")]);
        assert_eq!(built.passages[found[0]].text, text);
    }
}

#[test]
fn the_text_of_a_sentence_is_the_slice_of_its_context() {
    let Some((built, sources)) = xquad_r("the_text_of_a_sentence_is_the_slice_of_its_context") else {
        return;
    };
    let mut differ = Vec::new();
    for (lang, paragraphs) in sources {
        for (p, paragraph) in paragraphs.iter().enumerate() {
            for (s, &span) in paragraph.breaks.iter().enumerate() {
                let id = format!("xquad-r/{lang}/p{p}/s{s}");
                assert_eq!(built.passages[&id].text, paragraph.slice(span), "{id}");
                if built.passages[&id].text != paragraph.sentences[s] {
                    differ.push(id);
                }
            }
        }
    }
    // Counted: a fraction slash is three characters in the context and one in `sentences`, so two breaks lie early.
    assert_eq!(differ, ["xquad-r/tr/p48/s2", "xquad-r/tr/p48/s3"]);
}

#[test]
fn repeated_sentences_stay_candidates_of_their_own() {
    let Some((built, _)) = xquad_r("repeated_sentences_stay_candidates_of_their_own") else { return };
    let distinct: BTreeSet<&str> = built.passages.values().map(|p| p.text.as_str()).collect();
    // Counted: 14 of the 13,014 texts are repeats.
    assert_eq!(distinct.len(), 13_000);
    // Within one paragraph, too: `De` of two names, each cut at its dots.
    let twice = ["xquad-r/zh/p234/s5", "xquad-r/zh/p234/s9"];
    for id in twice {
        assert_eq!(built.passages[id].text, "德");
        assert!(built.relevant.values().flatten().all(|relevant| relevant != id));
    }
}

#[test]
fn questions_are_as_the_source_has_them() {
    let Some((built, sources)) = xquad_r("questions_are_as_the_source_has_them") else { return };
    for language in &XQUAD_R {
        let lang = language.tag;
        let (mut padded, mut distinct) = (0, BTreeSet::new());
        for question in sources[lang].iter().flat_map(|p| &p.questions) {
            let query = &built.queries[&format!("xquad-r/{lang}/{}", question.id)];
            assert_eq!((&query.text, &query.lang[..]), (&question.text, lang));
            assert_eq!(query.group, format!("xquad-r/{}", question.id));
            padded += usize::from(has_outer_white_space(&query.text));
            distinct.insert(&query.text);
        }
        assert_eq!(padded, language.padded, "{lang}");
        // Counted: texts repeat within a language, so nothing may be joined by text.
        assert!((1_181..=1_187).contains(&distinct.len()), "{lang}: {}", distinct.len());
    }
}

#[test]
fn texts_are_neither_normalised_nor_cleaned() {
    let Some((built, _)) = xquad_r("texts_are_neither_normalised_nor_cleaned") else { return };
    let contexts = built.contexts();
    for language in &XQUAD_R {
        let prefix = format!("xquad-r/{}/", language.tag);
        let with = |test: fn(&str) -> bool| {
            let of_language = contexts.iter().filter(|(id, _)| id.starts_with(&prefix));
            of_language.filter(|(_, sentences)| sentences.iter().any(|(_, text)| test(text))).count()
        };
        let queries = built.queries.values().filter(|q| q.lang == language.tag);
        let not_nfc = (with(|text| !is_nfc(text)), queries.filter(|q| !is_nfc(&q.text)).count());
        assert_eq!(with(|text| text.contains('\u{feff}')), language.with_marks, "{}", language.tag);
        assert_eq!(not_nfc, language.not_nfc, "{}", language.tag);
    }
}

#[test]
fn sentences_are_parallel_by_question_and_not_by_position() {
    let Some((built, _)) = xquad_r("sentences_are_parallel_by_question_and_not_by_position") else { return };
    let position = |group: &str, lang: &str| {
        let id = built.relevant(group, &format!("xquad-r/{lang}/"))[0];
        id.strip_prefix(&format!("xquad-r/{lang}/")).unwrap().to_owned()
    };
    let agree = built.relevant.keys().filter(|group| position(group, "th") == position(group, "en")).count();
    // Counted: Thai agrees with English for 544 of the 1,190 answers.
    assert_eq!(agree, 544);
}
