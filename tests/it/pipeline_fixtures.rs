//! Small files, made by hand, that lie below a data folder as the heads of `pipelines/*.toml` say that the corpora lie: for
//! those whose files nobody can hand on with this project. The files are as their publishers lay them out, and not as a
//! pipeline names them; that the two meet is what is tested.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::built::gzipped;
use crate::symmetric::zipped;
use crate::util::{Folder, squad};

/// Files for one pipeline, and what it has to make of them.
pub struct Fixture {
    pub pipeline: &'static str,
    pub write: fn(&Folder),
    /// Questions of every language.
    pub questions: u64,
    pub passages: u64,
    pub pools: usize,
    /// Refused records by reason.
    pub rejects: &'static [(&'static str, u64)],
}

const fn fixture(
    pipeline: &'static str,
    write: fn(&Folder),
    [questions, passages, pools]: [u64; 3],
    rejects: &'static [(&'static str, u64)],
) -> Fixture {
    Fixture { pipeline, write, questions, passages, pools: pools as usize, rejects }
}

/// Counted by hand: languages times questions, and times sentences where a passage is one (two to a paragraph here).
pub const FIXTURES: [Fixture; 17] = [
    fixture("beir-nl", beir_nl, [1, 2, 1], &[]),
    fixture("beir-pl", beir_pl, [1, 2, 1], &[]),
    fixture("faq", faq, [2 * 2, 2 * 2, 2], &[]),
    // One of three sites of each of 21 languages: 63 titles, of which 0.01 is one.
    fixture("mfaq", mfaq, [21 * 3, 21 * 3, 21], &[]),
    fixture("miracl", miracl, [16, 16 * 2, 16], &[]),
    fixture("mlqa", mlqa, [7, 7 * 2, 7 * 7], &[]),
    fixture("mlqa-r", mlqa_r, [7, 7 * 2, 7 * 7], &[]),
    fixture("mmarco", mmarco, [14, 14 * 2, 14 * 14], &[]),
    fixture("mr-tydi", mr_tydi, [11, 11 * 2, 11], &[]),
    fixture("mteb-germanquad", mteb, [1, 2, 1], &[]),
    fixture("opus-tatoeba", opus, [2 * 2, 2 * 2, 2], &[]),
    // Two questions in nine languages of each of six sets, less one of the first set, which XQuAD-R asks.
    fixture(
        "paper",
        paper,
        [6 * 2 * 9 - 9 + 11 + 21 * 3 + 14, 6 * 2 * 9 - 9 + 11 * 2 + 21 * 3 + 14 * 2, 6 * 81 + 11 + 21 + 196],
        &[("filter_excluded", 9)],
    ),
    // A question of the training part and one of the other.
    fixture("tydiqa-goldp", goldp, [9 * 2, 9 * 4, 9], &[]),
    fixture("wmt-news-commentary", wmt, [4 + 2, 4 + 2, 4], &[]),
    // Two pictures, one with a second caption in English.
    fixture("xm3600", xm3600, [36 * 2 + 1, 36 * 2 + 1, 36 * 35], &[]),
    // An answer that translation lost, in Thai.
    fixture("xtreme-squad", xtreme, [11 * 2 - 1, 11 * 2, 11 * 11], &[("answer_start_invalid", 1)]),
    fixture("xtreme-squad-tsv", xtreme_tsv, [10, 10, 10 * 10], &[]),
];

const MLQA: [&str; 7] = ["ar", "de", "en", "es", "hi", "vi", "zh"];
const XQUAD: [&str; 11] = ["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"];
const MFAQ: [&str; 21] = [
    "cs", "da", "de", "en", "es", "fi", "fr", "he", "hr", "hu", "id", "it", "nl", "no", "pl", "pt", "ro",
    "ru", "sv", "tr", "vi",
];
const XM3600: [&str; 36] = [
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu", "id",
    "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sv", "sw", "te", "th", "tr", "uk",
    "vi", "zh",
];
/// What Mr. TyDi calls its folders.
const TYDI: [&str; 11] = [
    "arabic",
    "bengali",
    "english",
    "finnish",
    "indonesian",
    "japanese",
    "korean",
    "russian",
    "swahili",
    "telugu",
    "thai",
];
/// What mMARCO calls its files.
const MMARCO: [&str; 14] = [
    "arabic",
    "chinese",
    "dutch",
    "english",
    "french",
    "german",
    "hindi",
    "indonesian",
    "italian",
    "japanese",
    "portuguese",
    "russian",
    "spanish",
    "vietnamese",
];

/// Two sentences about something, and a question that the first answers.
fn about(what: &str) -> (String, String) {
    (format!("{what} is cold. It melts."), format!("What is {what}?"))
}

fn squad_about(what: &str, id: &str) -> String {
    let (context, question) = about(what);
    squad(&context, &[(id, &question, 0, &context[..1])])
}

fn lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().map(|value| value.to_string() + "\n").collect()
}

fn table(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter(columns.iter().map(|(name, column)| (*name, Arc::clone(column)))).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A question that is asked of all seven contexts, in one file for each pair.
fn mlqa(folder: &Folder) {
    let mut files = BTreeMap::new();
    for passage in MLQA {
        for query in MLQA {
            let (context, question) = (about(passage).0, about(query).1);
            let name = format!("MLQA_V1/test/test-context-{passage}-question-{query}.json");
            files.insert(name, squad(&context, &[("q1", &question, 0, &context[..1])]));
        }
    }
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    folder.write("data/mlqa/MLQA_V1.zip", zipped(&files));
}

/// With sentence breaks, as LAReQA has them.
fn mlqa_r(folder: &Folder) {
    for lang in MLQA {
        let mut document: Value = serde_json::from_str(&squad_about(lang, "q1")).unwrap();
        let paragraph = &mut document["data"][0]["paragraphs"][0];
        let context = paragraph["context"].as_str().unwrap().to_owned();
        let first = context.find('.').unwrap() + 1;
        paragraph["sentence_breaks"] = json!([[0, first], [first + 1, context.len()]]);
        paragraph["sentences"] = json!([context[..first], context[first + 1..]]);
        folder.write(&format!("data/mlqa-r/{lang}.json"), document.to_string());
    }
}

fn xtreme(folder: &Folder) {
    for lang in XQUAD {
        let (context, question) = about(lang);
        let start = if lang == "th" { -1 } else { 0 };
        let questions =
            [("56be", question.as_str(), 0, &context[..1]), ("57aa", "Does it melt?", start, &context[..1])];
        let path = match lang {
            "en" => "data/squad/train-v1.1.json".to_owned(),
            _ => format!("data/xtreme/SQuAD/translate-train/squad.translate.train.en-{lang}.json"),
        };
        folder.write(&path, squad(&context, &questions));
    }
}

fn xtreme_tsv(folder: &Folder) {
    for lang in XQUAD.into_iter().filter(|lang| *lang != "en") {
        let (context, question) = about(lang);
        let path = format!("data/xtreme/SQuAD/translate-train/squad.translate.train.en-{lang}.tsv");
        folder.write(&path, format!("id\tquestion\tcontext\n56be\t{question}\t{context}\n"));
    }
}

fn document(id: &str, text: &str) -> Value {
    json!({"docid": id, "title": "T", "text": text})
}

fn mr_tydi(folder: &Folder) {
    for language in TYDI {
        let (context, question) = about(language);
        let line = json!({"query_id": "1", "query": question, "positive_passages": [document("7#0", &context)],
                          "negative_passages": [document("7#1", "Sand.")]});
        let path = format!("data/mr-tydi/mrtydi-v1.1-{language}/train.jsonl.gz");
        folder.write(&path, gzipped(lines([line]).as_bytes()));
    }
}

fn goldp(folder: &Folder) {
    let languages = [
        ("ar", "arabic"),
        ("bn", "bengali"),
        ("en", "english"),
        ("fi", "finnish"),
        ("id", "indonesian"),
        ("ko", "korean"),
        ("ru", "russian"),
        ("sw", "swahili"),
        ("te", "telugu"),
    ];
    for (lang, language) in languages {
        let train = squad_about(lang, &format!("{language}-1-1"));
        folder.write(&format!("data/tydiqa/tydiqa-goldp-v1.1-train/tydiqa.goldp.{lang}.train.json"), train);
        let context = format!("{language} sand is warm. There is much of it.");
        let dev = squad(&context, &[(&format!("{language}-2-1"), "How is the sand?", 0, &context[..1])]);
        folder.write(&format!("data/tydiqa/tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-{language}.json"), dev);
    }
}

/// Corpus, queries, judgements of training and of the test part, which is not read.
fn beir(lang: &str) -> [String; 4] {
    let (context, question) = about(lang);
    let corpus = lines([
        json!({"_id": "d1", "title": "T", "text": context, "metadata": {}}),
        json!({"_id": "d2", "title": "", "text": "Sand."}),
    ]);
    let queries = lines([json!({"_id": "q1", "text": question, "metadata": {}})]);
    let judged = |document: &str| format!("query-id\tcorpus-id\tscore\nq1\t{document}\t1\n");
    [corpus, queries, judged("d1"), judged("d9")]
}

fn beir_nl(folder: &Folder) {
    let [corpus, queries, train, test] = beir("nl");
    folder.write("data/beir-nl/nfcorpus/corpus.jsonl", corpus);
    folder.write("data/beir-nl/nfcorpus/queries.jsonl", queries);
    folder.write("data/beir-nl/nfcorpus/qrels/train.tsv", train);
    folder.write("data/beir-nl/nfcorpus/qrels/test.tsv", test);
}

fn beir_pl(folder: &Folder) {
    let [corpus, queries, train, test] = beir("pl");
    folder.write("data/beir-pl/scifact/corpus.jsonl.gz", gzipped(corpus.as_bytes()));
    folder.write("data/beir-pl/scifact/queries.jsonl.gz", gzipped(queries.as_bytes()));
    folder.write("data/beir-pl/scifact/qrels/train.tsv", train);
    folder.write("data/beir-pl/scifact/qrels/test.tsv", test);
}

fn mteb(folder: &Folder) {
    let (context, question) = about("de");
    let passages = [
        ("_id", texts(["p1", "p2"])),
        ("title", texts(["", ""])),
        ("text", texts([context.as_str(), "Sand."])),
    ];
    let root = "data/mteb/germanquad-retrieval";
    folder.write(&format!("{root}/corpus/corpus/0000.parquet"), table(&passages));
    let queries = [("_id", texts(["q1"])), ("text", texts([question.as_str()]))];
    folder.write(&format!("{root}/queries/queries/0000.parquet"), table(&queries));
    let score = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let judged = [("query-id", texts(["q1"])), ("corpus-id", texts(["p1"])), ("score", score)];
    folder.write(&format!("{root}-qrels/default/test/0000.parquet"), table(&judged));
}

/// In an archive, an image to a line; what is no language is passed over.
fn xm3600(folder: &Folder) {
    let image = |key: &str, more: &[&str]| {
        let mut line = json!({"image/key": key, "image/locale": "de"});
        for lang in XM3600 {
            let mut captions = vec![format!("{lang} {key}")];
            captions.extend(more.iter().filter(|_| lang == "en").map(|text| (*text).to_owned()));
            line[lang] = json!({"caption": captions, "caption/tokenized": captions});
        }
        line
    };
    let text = lines([image("000a", &[]), image("000b", &["another"])]);
    folder.write("data/xm3600/captions.zip", zipped(&[("captions.jsonl", text.as_bytes())]));
}

fn opus(folder: &Folder) {
    let files: [(&str, &[u8]); 3] = [
        ("README", b"about"),
        ("Tatoeba.de-en.de", "Eis.\nSand.\n".as_bytes()),
        ("Tatoeba.de-en.en", b"Ice.\nSand is warm.\n"),
    ];
    folder.write("data/opus/Tatoeba/de-en.txt.zip", zipped(&files));
}

/// A line with nothing in it parts documents.
fn wmt(folder: &Folder) {
    let german = "Eis.\tIce.\n\t\nMeer.\tSea.\n";
    folder.write("data/wmt/news-commentary-v18.de-en.tsv.gz", gzipped(german.as_bytes()));
    folder.write("data/wmt/news-commentary-v18.en-zh.tsv.gz", gzipped("Rain.\t雨。\n".as_bytes()));
}

/// A question to a row, as the hub's conversion to Parquet has them.
fn mfaq(folder: &Folder) {
    for lang in MFAQ {
        let sites = ["a", "b", "c"].map(|site| format!("{site}.{lang}"));
        let number = || Arc::new(Int64Array::from(vec![0, 1, 2])) as ArrayRef;
        let all = |text: &dyn Fn(&str) -> String| {
            Arc::new(StringArray::from_iter_values(sites.iter().map(|site| text(site)))) as ArrayRef
        };
        let columns = [
            ("domain_id", number()),
            ("pair_id", number()),
            ("language", texts([lang; 3])),
            ("domain", all(&str::to_owned)),
            ("question", all(&|site| format!("What is {site}?"))),
            ("answer", all(&|site| format!("{site} is a site."))),
        ];
        folder.write(&format!("data/mfaq/{lang}_flat/train/0000.parquet"), table(&columns));
    }
}

fn faq(folder: &Folder) {
    for lang in ["de", "en"] {
        let pair = |n: u32| json!({"question": format!("{lang} {n}?"), "answer": format!("{lang} {n}."), "page": "P", "votes": n});
        folder.write(&format!("data/faq/{lang}.jsonl"), lines([pair(1), pair(2)]));
    }
}

/// One passage is relevant, and one was judged not to be.
fn miracl(folder: &Folder) {
    for lang in
        ["ar", "bn", "en", "es", "fa", "fi", "fr", "hi", "id", "ja", "ko", "ru", "sw", "te", "th", "zh"]
    {
        let (context, question) = about(lang);
        let docs = lines([document("7#0", &context), document("7#1", "Sand.")]);
        folder.write(
            &format!("data/miracl/miracl-corpus-v1.0-{lang}/docs-0.jsonl.gz"),
            gzipped(docs.as_bytes()),
        );
        let topics = format!("data/miracl/topics/topics.miracl-v1.0-{lang}-train.tsv");
        folder.write(&topics, format!("3#0\t{question}\n"));
        let qrels = format!("data/miracl/qrels/qrels.miracl-v1.0-{lang}-train.tsv");
        folder.write(&qrels, "3#0\tQ0\t7#0\t1\n3#0\tQ0\t7#1\t0\n");
    }
}

fn mmarco(folder: &Folder) {
    for language in MMARCO {
        let (context, question) = about(language);
        let collection = format!("data/mmarco/google/collections/{language}_collection.tsv");
        folder.write(&collection, format!("0\t{context}\n1\tSand.\n"));
        let queries = format!("data/mmarco/google/queries/train/{language}_queries.train.tsv");
        folder.write(&queries, format!("9\t{question}\n"));
    }
    folder.write("data/mmarco/qrels.train.tsv", "9\t0\t0\t1\n");
}

fn paper(folder: &Folder) {
    for set in 1..=6 {
        for lang in ["ar", "de", "en", "es", "hi", "ru", "th", "vi", "zh"] {
            let line = |id: &str| json!({"id": id, "question": format!("{lang} {id}?"), "passage": format!("{lang} {id}.")});
            let ids = [format!("{set}-1"), format!("{set}-2")];
            let text = lines(ids.iter().map(|id| line(id)));
            folder.write(&format!("data/paper/translated-{set}/{lang}.jsonl"), text);
        }
    }
    folder.write("data/xquad-r/en.json", squad_about("en", "1-2"));
    mr_tydi(folder);
    mfaq(folder);
    mmarco(folder);
}
