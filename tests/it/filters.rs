//! Filters and repeated texts.

use serde_json::json;

use crate::built::{build, build_with, corpus, passages, qrels, queries, rejects, rows};
use crate::util::{Folder, squad};

/// Questions of two to four characters in German, the second of them in English as well.
fn for_filters() -> Folder {
    let folder = Folder::new();
    let de = [("1", "𝄞?", 0, "Eis"), ("2", "Wo?", 0, "Eis"), ("3", "Was?", 6, "Sand")];
    folder.write("data/de.json", squad("Eis.  Sand.", &de));
    folder.write("data/en.json", squad("Ice.", &[("2", "Why?", 0, "Ice")]));
    folder
}

/// Question ids that are left, and what is rejected.
fn filtered(more: &str) -> (Vec<String>, Vec<String>) {
    let folder = for_filters();
    // What is asked for is no bad record.
    build_with(&folder, &format!("{}{more}", corpus("squad", "{lang}.json", &["de", "en"], "")), "--strict");
    folder.prep("verify d").done();
    (rows(&folder, "corpus/queries-00000", &["query_id"]), rejects(&folder))
}

#[test]
fn questions_are_filtered_by_their_length_in_characters() {
    // Both bounds are inclusive, and a character of four bytes is one.
    let (left, rejects) = filtered("[filters]\nquery_chars = { min = 3, max = 3 }");
    assert_eq!(left, ["d/de/2"]);
    assert_eq!(
        rejects,
        [
            "d | d/de/1 | filter_query_chars | 𝄞?",
            "d | d/de/3 | filter_query_chars | Was?",
            "d | d/en/2 | filter_query_chars | Why?",
        ]
    );
    assert_eq!(filtered("[filters]\nquery_chars = { min = 2, max = 4 }").1, Vec::<String>::new());
}

#[test]
fn passages_are_filtered_by_their_length_in_characters() {
    let folder = for_filters();
    let filters = "[filters]\npassage_chars = { min = 5 }";
    build(&folder, &format!("{}{filters}", corpus("squad", "{lang}.json", &["de", "en"], "")));
    assert_eq!(passages(&folder), ["d/de/p0/s1 | d/de/p0 | T | Sand."]);
    // Questions stay, though two of the groups have nothing left that answers them.
    assert_eq!(queries(&folder).len(), 4);
    assert_eq!(qrels(&folder), ["d/3 | d/de/p0/s1 | 1"]);
    assert_eq!(
        rejects(&folder),
        ["d | d/de/p0/s0 | filter_passage_chars | Eis.", "d | d/en/p0/s0 | filter_passage_chars | Ice."]
    );
}

#[test]
fn languages_that_are_not_on_the_list_are_filtered() {
    let (left, rejects) = filtered("[filters]\nlanguages = [\"de\"]");
    assert_eq!(left, ["d/de/1", "d/de/2", "d/de/3"]);
    assert_eq!(rejects, ["d | d/en/2 | filter_language | Why?", "d | d/en/p0/s0 | filter_language | Ice."]);
}

#[test]
fn groups_in_too_few_languages_are_filtered() {
    let (left, rejects) = filtered("[filters]\nmin_group_languages = 2");
    assert_eq!(left, ["d/de/2", "d/en/2"]);
    assert_eq!(
        rejects,
        ["d | d/de/1 | filter_group_languages | 𝄞?", "d | d/de/3 | filter_group_languages | Was?"]
    );
}

/// A table with passage ids `p9` and `p1` for texts that are the same after normalisation.
fn repeated(passages: [&str; 2], questions: [&str; 2], deduplicate: &str) -> Folder {
    let folder = Folder::new();
    let row =
        |id: &str, q: &str, pid: &str, p: &str| json!({"id": id, "q": q, "pid": pid, "p": p}).to_string();
    let lines = [row("a", questions[0], "p9", passages[0]), row("b", questions[1], "p1", passages[1])];
    folder.write("data/de.jsonl", lines.join("\n"));
    // The same text in another language is another text.
    folder.write("data/en.jsonl", row("c", questions[0], "p5", passages[0]));
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\" }";
    let corpus = corpus("table", "{lang}.jsonl", &["de", "en"], columns);
    build_with(&folder, &format!("{corpus}[deduplicate]\n{deduplicate}"), "--strict");
    folder.prep("verify d").done();
    folder
}

#[test]
fn of_equal_passages_the_smallest_id_stays_and_takes_over_the_judgements() {
    let folder = repeated(["Eis.", "Eis."], ["Was?", "Wer?"], "passages = \"exact\"");
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id"]), ["d/de/p1", "d/en/p5"]);
    assert_eq!(qrels(&folder), ["d/a | d/de/p1 | 1", "d/b | d/de/p1 | 1", "d/c | d/en/p5 | 1"]);
    assert_eq!(rejects(&folder), ["d | d/de/p9 | duplicate_text | Eis."]);
    // Nothing is merged unasked.
    let folder = repeated(["Eis.", "Eis."], ["Was?", "Wer?"], "queries = \"exact\"");
    assert_eq!(rejects(&folder), Vec::<String>::new());
}

#[test]
fn normalised_texts_are_equal_after_nfkc_lower_case_and_white_space() {
    // Full-width letters, a no-break space, a capital.
    let texts = ["Ｅｉｓ\u{a0}\n ist", "eis IST"];
    let folder = repeated(texts, ["Was?", "Wer?"], "passages = \"normalised\"");
    assert_eq!(rows(&folder, "corpus/passages-00000", &["passage_id", "text"])[0], "d/de/p1 | eis IST");
    assert_eq!(qrels(&folder), ["d/a | d/de/p1 | 1", "d/b | d/de/p1 | 1", "d/c | d/en/p5 | 1"]);
    assert_eq!(rows(&folder, "rejects", &["place", "reason"]), ["d/de/p9 | duplicate_text"]);
    let folder = repeated(texts, ["Was?", "Wer?"], "passages = \"exact\"");
    assert_eq!(rejects(&folder), Vec::<String>::new());
}

#[test]
fn of_equal_questions_the_smallest_id_stays() {
    let folder = repeated(["Eis.", "Sand."], ["Was?", "Was?"], "queries = \"exact\"");
    assert_eq!(rows(&folder, "corpus/queries-00000", &["query_id"]), ["d/de/a", "d/en/c"]);
    assert_eq!(rejects(&folder), ["d | d/de/b | duplicate_text | Was?"]);
    let folder = repeated(["Eis.", "Sand."], ["Was?", "was ?"], "queries = \"normalised\"");
    assert_eq!(rejects(&folder), Vec::<String>::new());
    let folder = repeated(["Eis.", "Sand."], ["Was?", " WAS？"], "queries = \"normalised\"");
    assert_eq!(rejects(&folder), ["d | d/de/b | duplicate_text |  WAS？"]);
}

/// Otherwise the passage of the question that went would be taken for a negative of the one that stayed.
#[test]
fn of_equal_questions_the_smallest_id_takes_over_the_judgements() {
    let folder = repeated(["Eis.", "Sand."], ["Was?", "Was?"], "queries = \"exact\"");
    assert_eq!(qrels(&folder), ["d/a | d/de/p1 | 1", "d/a | d/de/p9 | 1", "d/c | d/en/p5 | 1"]);
}

/// Two questions are one in German. What answers the one in English answers the other, though they are two there.
#[test]
fn judgements_of_a_group_are_inherited_in_every_language() {
    let folder = Folder::new();
    let row = |id: &str, q: &str, pid: &str| json!({"id": id, "q": q, "pid": pid, "p": pid}).to_string();
    folder.write("data/de.jsonl", [row("a", "Was?", "p1"), row("b", "Was?", "p2")].join("\n"));
    folder.write("data/en.jsonl", [row("a", "What?", "p3"), row("b", "Who?", "p4")].join("\n"));
    let columns = "columns = { query = \"q\", passage = \"p\", query_id = \"id\", passage_id = \"pid\" }";
    let corpus = corpus("table", "{lang}.jsonl", &["de", "en"], columns);
    build_with(&folder, &format!("{corpus}[deduplicate]\nqueries = \"exact\""), "--strict");
    let of_a = ["d/a | d/de/p1 | 1", "d/a | d/de/p2 | 1", "d/a | d/en/p3 | 1", "d/a | d/en/p4 | 1"];
    let of_b = ["d/b | d/de/p2 | 1", "d/b | d/en/p4 | 1"];
    assert_eq!(qrels(&folder), [&of_a[..], &of_b[..]].concat());
}
