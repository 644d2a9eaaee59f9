//! BEIR folders (Thakur et al. 2021): `corpus.jsonl`, `queries.jsonl`, `qrels/*.tsv`.
//!
//! Ids are unique within a folder and mean nothing outside it, so questions of two languages are the same only where
//! the pipeline says `parallel = true`. Every document is a passage and its own context; its title stays a column.

use std::collections::HashMap;

use serde::Deserialize;

use crate::corpus::records::{Ids, Passage, Query, Records};
use crate::corpus::reject::{Reason, Reject};
use crate::corpus::source::{SourceFile, Unit};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

#[derive(Deserialize)]
struct Question {
    #[serde(rename = "_id")]
    id: String,
    text: String,
}

pub(super) fn read(unit: &Unit, records: &mut Records) -> Result<()> {
    let ids = Ids::of(unit.corpus);
    let lang = unit.lang();
    // Row of each document and query that was taken, by its own id.
    let (mut passages, mut queries) = (HashMap::new(), HashMap::new());
    let mut judged = HashMap::new();
    for folder in &unit.files {
        let part = |name: &str| {
            folder
                .child(&[name, &format!("{name}.gz"), &format!("{name}.zst")])
                .ok_or_else(|| Error::source(&folder.join(name).name, "no such file in the BEIR folder"))
        };
        read_corpus(&part("corpus.jsonl")?, ids, lang, &mut passages, records)?;
        read_queries(&part("queries.jsonl")?, ids, lang, &mut queries, records)?;
        for file in qrels_files(folder, unit.corpus.qrels.as_deref())? {
            read_qrels(&file, (&queries, &passages), &mut judged, records)?;
        }
    }
    Ok(())
}

fn read_corpus(
    file: &SourceFile,
    ids: Ids,
    lang: &str,
    seen: &mut HashMap<String, u32>,
    records: &mut Records,
) -> Result<()> {
    file.for_each_line(|number, line| {
        records.count();
        let found = parse(line).and_then(|document: Document| match document {
            d if d.text.trim().is_empty() && d.title.trim().is_empty() => {
                Err((Reason::PassageEmpty, format!("document `{}` has neither title nor text", d.id)))
            }
            d if seen.contains_key(&d.id) => {
                Err((Reason::DuplicateId, format!("`{}` was the id of an earlier document", d.id)))
            }
            d => Ok(d),
        });
        match found {
            Ok(document) => {
                let id = ids.in_language(lang, &document.id);
                let row = records.passage(&Passage {
                    passage_id: &id,
                    dataset: ids.dataset,
                    lang,
                    // A document may be its title alone.
                    text: if document.text.trim().is_empty() { &document.title } else { &document.text },
                    context_id: &id,
                    title: Some(&document.title),
                });
                seen.insert(document.id, row);
            }
            Err(fault) => reject(file, number, line, fault, records),
        }
        Ok(())
    })
}

fn read_queries(
    file: &SourceFile,
    ids: Ids,
    lang: &str,
    seen: &mut HashMap<String, u32>,
    records: &mut Records,
) -> Result<()> {
    file.for_each_line(|number, line| {
        records.count();
        let found = parse(line).and_then(|question: Question| match question {
            q if q.text.trim().is_empty() => {
                Err((Reason::QueryEmpty, format!("query `{}` has no text", q.id)))
            }
            q if seen.contains_key(&q.id) => {
                Err((Reason::DuplicateId, format!("`{}` was the id of an earlier query", q.id)))
            }
            q => Ok(q),
        });
        match found {
            Ok(question) => {
                let row = records.query(&Query {
                    query_id: &ids.in_language(lang, &question.id),
                    group_id: &ids.group(lang, &question.id),
                    dataset: ids.dataset,
                    lang,
                    text: &question.text,
                });
                seen.insert(question.id, row);
            }
            Err(fault) => reject(file, number, line, fault, records),
        }
        Ok(())
    })
}

/// The named file, or all there are.
fn qrels_files(folder: &SourceFile, name: Option<&str>) -> Result<Vec<SourceFile>> {
    if let Some(name) = name {
        return Ok(vec![folder.join(&format!("qrels/{name}.tsv"))]);
    }
    let path = folder.path.join("qrels");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(Error::io("list", &path))? {
        let name = entry.map_err(Error::io("list", &path))?.file_name();
        names.extend(name.to_str().filter(|name| name.ends_with(".tsv")).map(str::to_owned));
    }
    names.sort();
    if names.is_empty() {
        return Err(Error::source(&folder.join("qrels").name, "no .tsv file with judgements"));
    }
    Ok(names.iter().map(|name| folder.join(&format!("qrels/{name}"))).collect())
}

fn read_qrels(
    file: &SourceFile,
    (queries, passages): (&HashMap<String, u32>, &HashMap<String, u32>),
    judged: &mut HashMap<(u32, u32), i32>,
    records: &mut Records,
) -> Result<()> {
    file.for_each_line(|number, line| {
        let fields: Vec<&str> = line.split('\t').collect();
        // The header, or TREC's four columns: query, iteration, document, relevance.
        let (query, document, relevance) = match fields[..] {
            [query, document, relevance] if number != 1 || relevance.trim().parse::<i32>().is_ok() => {
                (query, document, relevance)
            }
            [query, _, document, relevance] => (query, document, relevance),
            [_, _, _] => return Ok(()),
            _ => {
                records.count();
                let detail = format!("{} columns instead of 3 or 4", fields.len());
                reject(file, number, line, (Reason::Malformed, detail), records);
                return Ok(());
            }
        };
        records.count();
        let found = match (relevance.trim().parse::<i32>(), queries.get(query), passages.get(document)) {
            (Err(_), ..) => Err((Reason::Malformed, format!("relevance `{relevance}` is no integer"))),
            (_, None, _) => Err((Reason::UnknownQuery, format!("no query `{query}`"))),
            (_, _, None) => Err((Reason::UnknownPassage, format!("no document `{document}`"))),
            (Ok(relevance), Some(&query), Some(&passage)) => match judged.get(&(query, passage)) {
                None => Ok(Some((query, passage, relevance))),
                Some(before) if *before == relevance => Ok(None),
                Some(before) => {
                    Err((Reason::DuplicateId, format!("judged {before} before, {relevance} here")))
                }
            },
        };
        match found {
            Ok(Some((query, passage, relevance))) => {
                judged.insert((query, passage), relevance);
                records.qrel(query, passage, relevance);
            }
            Ok(None) => {}
            Err(fault) => reject(file, number, line, fault, records),
        }
        Ok(())
    })
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, (Reason, String)> {
    serde_json::from_str(line).map_err(|e| (Reason::Malformed, e.to_string()))
}

fn reject(
    file: &SourceFile,
    number: u64,
    line: &str,
    (reason, detail): (Reason, String),
    records: &mut Records,
) {
    records.reject(Reject {
        source: file.name.clone(),
        place: format!("line {number}"),
        reason,
        detail,
        raw: line.to_owned(),
    });
}
