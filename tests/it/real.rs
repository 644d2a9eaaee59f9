//! The traps of the real corpora: counts that were published, offsets, breaks, repeated texts, lost answers, leakage.
//!
//! Each corpus is built once, through the command line, and compared with its own JSON, which is read here with
//! `serde_json` and vectors of characters: no code of the crate decides what is expected. A number that a comment calls
//! published stands in the corpus's own documentation or paper; one that it calls counted was counted over the files with
//! Python, where offsets are code points.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::util::{Folder, parquet, texts};

/// A dataset, read back. The folder that it was built in is gone by then.
pub struct Built {
    /// By id.
    pub queries: BTreeMap<String, Query>,
    /// By id.
    pub passages: BTreeMap<String, Passage>,
    /// Passages of each group, all relevant.
    pub relevant: BTreeMap<String, Vec<String>>,
    pub rejects: Vec<Reject>,
    /// (group, passage) of every row of every batch.
    pub rows: Vec<(String, String)>,
    pub manifest: Value,
}

pub struct Query {
    pub group: String,
    pub lang: String,
    pub text: String,
    pub split: Option<String>,
}

pub struct Passage {
    pub lang: String,
    pub text: String,
    pub context: String,
    pub title: String,
    pub split: Option<String>,
}

pub struct Reject {
    pub source: String,
    pub reason: String,
    pub raw: Value,
}

/// Builds and verifies; `pipeline` is the text of one.
pub fn build(data: &Path, pipeline: &str, sets: &[&str]) -> Built {
    let folder = Folder::new();
    folder.write("p.toml", pipeline);
    let mut arguments = vec!["build-shards", "p.toml", "--data", data.to_str().unwrap(), "--out", "d", "-q"];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    folder.prep_args(&arguments).done();
    folder.prep("verify d -q").done();
    read(&folder.path("d"))
}

fn read(dataset: &Path) -> Built {
    let columns = |file: &str, names: &[&str]| -> Vec<Vec<Option<String>>> {
        let table = parquet(&dataset.join(file));
        let columns: Vec<_> = names.iter().map(|name| texts(&table, name)).collect();
        (0..table.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
    };
    let text = |cell: &Option<String>| cell.clone().unwrap_or_default();
    let queries = columns("corpus/queries-00000.parquet", &["query_id", "group_id", "lang", "text", "split"]);
    let passages = columns(
        "corpus/passages-00000.parquet",
        &["passage_id", "lang", "text", "context_id", "title", "split"],
    );
    let mut relevant: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in columns("corpus/qrels-00000.parquet", &["group_id", "passage_id", "relevance"]) {
        assert_eq!(row[2].as_deref(), Some("1"));
        relevant.entry(text(&row[0])).or_default().push(text(&row[1]));
    }
    let rejects = columns("rejects.parquet", &["source", "reason", "raw"]);
    let rows = columns("train/batches-00000.parquet", &["group_id", "positive_id"]);
    let query = |row: &[Option<String>]| Query {
        group: text(&row[1]),
        lang: text(&row[2]),
        text: text(&row[3]),
        split: row[4].clone(),
    };
    let passage = |row: &[Option<String>]| Passage {
        lang: text(&row[1]),
        text: text(&row[2]),
        context: text(&row[3]),
        title: text(&row[4]),
        split: row[5].clone(),
    };
    let reject = |row: &[Option<String>]| Reject {
        source: text(&row[0]),
        reason: text(&row[1]),
        // What a filter left out is a text, what was refused is JSON.
        raw: serde_json::from_str(&text(&row[2])).unwrap_or(Value::Null),
    };
    Built {
        queries: queries.iter().map(|row| (text(&row[0]), query(row))).collect(),
        passages: passages.iter().map(|row| (text(&row[0]), passage(row))).collect(),
        relevant,
        rejects: rejects.iter().map(|row| reject(row)).collect(),
        rows: rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect(),
        manifest: serde_json::from_slice(&fs::read(dataset.join("manifest.json")).unwrap()).unwrap(),
    }
}

impl Built {
    /// The relevant passages of a group in one corpus and language.
    pub fn relevant(&self, group: &str, prefix: &str) -> Vec<&str> {
        let of_group = self.relevant.get(group).into_iter().flatten();
        of_group.map(String::as_str).filter(|id| id.starts_with(prefix)).collect()
    }

    /// Texts of the sentences of each context, in order.
    pub fn contexts(&self) -> BTreeMap<&str, Vec<(usize, &str)>> {
        let mut contexts: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
        for (id, passage) in &self.passages {
            let (context, sentence) = id.rsplit_once("/s").unwrap();
            assert_eq!(context, passage.context);
            contexts.entry(&passage.context).or_default().push((sentence.parse().unwrap(), &passage.text));
        }
        contexts.values_mut().for_each(|sentences| sentences.sort_unstable());
        contexts
    }

    pub fn reject_counts(&self) -> BTreeMap<(&str, &str), usize> {
        let mut counts = BTreeMap::new();
        for reject in &self.rejects {
            *counts.entry((reject.source.as_str(), reject.reason.as_str())).or_default() += 1;
        }
        counts
    }
}

/// A paragraph as its file has it.
pub struct Paragraph {
    pub context: Vec<char>,
    pub breaks: Vec<(usize, usize)>,
    pub sentences: Vec<String>,
    pub questions: Vec<Question>,
}

pub struct Question {
    pub id: String,
    pub text: String,
    pub answers: Vec<(Vec<char>, i64)>,
}

/// All paragraphs of a file, numbered through it.
pub fn source(path: &Path) -> Vec<Paragraph> {
    let mut bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let compressed = std::mem::take(&mut bytes);
        GzDecoder::new(&compressed[..]).read_to_end(&mut bytes).unwrap();
    }
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let question = |value: &Value| Question {
        id: text(&value["id"]),
        text: text(&value["question"]),
        answers: list(&value["answers"])
            .iter()
            .map(|a| (text(&a["text"]).chars().collect(), a["answer_start"].as_i64().unwrap()))
            .collect(),
    };
    let paragraph = |value: &Value| Paragraph {
        context: text(&value["context"]).chars().collect(),
        breaks: list(&value["sentence_breaks"]).iter().map(|b| (number(&b[0]), number(&b[1]))).collect(),
        sentences: list(&value["sentences"]).iter().map(text).collect(),
        questions: list(&value["qas"]).iter().map(question).collect(),
    };
    let articles = list(&document["data"]);
    articles.iter().flat_map(|article| list(&article["paragraphs"])).map(|value| paragraph(&value)).collect()
}

impl Paragraph {
    pub fn slice(&self, (begin, end): (usize, usize)) -> String {
        self.context[begin..end].iter().collect()
    }

    /// The sentence whose break holds this character.
    pub fn sentence_at(&self, character: usize) -> Option<usize> {
        self.breaks.iter().position(|&(begin, end)| begin <= character && character < end)
    }

    /// Whether the answer stands where it says: an empty one stands nowhere.
    pub fn holds(&self, (text, start): &(Vec<char>, i64)) -> bool {
        let start = usize::try_from(*start).ok();
        !text.is_empty() && start.and_then(|start| self.context.get(start..start + text.len())) == Some(text)
    }

    /// Where the first good answer starts.
    pub fn answer(&self, question: &Question) -> Option<usize> {
        let good = question.answers.iter().find(|answer| self.holds(answer));
        good.map(|(_, start)| usize::try_from(*start).unwrap())
    }

    /// Whether the question has a text and an answer.
    pub fn is_usable(&self, question: &Question) -> bool {
        !question.text.trim().is_empty() && self.answer(question).is_some()
    }
}

/// Ids of the questions that have a text and an answer.
pub fn usable(paragraphs: &[Paragraph]) -> BTreeSet<&str> {
    let questions = paragraphs.iter().flat_map(|p| p.questions.iter().map(move |q| (p, q)));
    questions.filter(|(p, q)| p.is_usable(q)).map(|(_, q)| q.id.as_str()).collect()
}

pub fn ids(paragraphs: &[Paragraph]) -> BTreeSet<&str> {
    paragraphs.iter().flat_map(|p| &p.questions).map(|q| q.id.as_str()).collect()
}

pub fn has_outer_white_space(text: &str) -> bool {
    text.trim() != text
}
