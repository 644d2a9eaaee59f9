//! A corpus repeated and perturbed, deterministically, to any number of groups and languages: to measure with.
//!
//! In copy c of a text two words have changed places and a word of five letters, drawn from (language, c, text), is
//! added: texts differ between copies and languages but keep length and script, and equal texts stay equal. Copy 0 of
//! a language that the corpus has is the corpus itself. Ids carry the copy: `ID-c7`, `p17-c7/s3`.

use arrow::array::{Array, AsArray, StringArray, StringViewArray};
use arrow::datatypes::{Int32Type, UInt32Type};

use crate::corpus::records::{Ids, Passage, Query, RawTables, Records};
use crate::corpus::source::Unit;
use crate::keys::{mix64, subkey};

pub(super) fn blow_up(unit: &Unit, base: &RawTables) -> Records {
    let synth = unit.corpus.synth.expect("checked with the pipeline");
    let own = unit.lang();
    let n_own = unit.corpus.languages.len();
    let wanted = synth.languages.map_or(n_own, |n| n.get() as usize);
    let at =
        unit.corpus.languages.iter().position(|lang| lang == own).expect("a unit's language is its corpus's");
    let mut records = Records::new();
    for extra in 0..(wanted - at).div_ceil(n_own) {
        let lang = if extra == 0 { own.to_owned() } else { format!("{own}-x-s{extra}") };
        Copier { base: Base::of(base), ids: Ids::of(unit.corpus), own, lang: &lang }
            .copy(synth.groups.get(), &mut records);
    }
    for reject in &base.rejects {
        records.reject(reject.clone());
    }
    records
}

struct Base<'a> {
    query_ids: &'a StringViewArray,
    queries: &'a StringViewArray,
    passage_ids: &'a StringViewArray,
    context_ids: &'a StringViewArray,
    passages: &'a StringViewArray,
    titles: (&'a arrow::array::Int32Array, &'a StringArray),
    /// Row of the passage that answers each question: SQuAD's questions have one each, in their order.
    relevant: &'a [u32],
}

impl<'a> Base<'a> {
    fn of(tables: &'a RawTables) -> Self {
        let title = tables.passages.column(5).as_dictionary::<Int32Type>();
        Self {
            query_ids: tables.queries.column(0).as_string_view(),
            queries: tables.queries.column(4).as_string_view(),
            passage_ids: tables.passages.column(0).as_string_view(),
            passages: tables.passages.column(3).as_string_view(),
            context_ids: tables.passages.column(4).as_string_view(),
            titles: (title.keys(), title.values().as_string()),
            relevant: tables.qrels.column(1).as_primitive::<UInt32Type>().values(),
        }
    }
}

struct Copier<'a> {
    base: Base<'a>,
    ids: Ids<'a>,
    /// The language of the source, and the one that is made of it.
    own: &'a str,
    lang: &'a str,
}

impl Copier<'_> {
    fn copy(&self, groups: u64, records: &mut Records) {
        let n_base = self.base.query_ids.len() as u64;
        for copy in 0..groups.div_ceil(n_base.max(1)) {
            let suffix = if copy == 0 { String::new() } else { format!("-c{copy}") };
            let is_source = copy == 0 && self.own == self.lang;
            let key = (!is_source).then(|| subkey(0, "synth", self.lang, copy));
            let first_passage = self.passages(&suffix, key, records);
            let n = usize::try_from(n_base.min(groups - copy * n_base)).expect("at most the base");
            self.queries(n, first_passage, (&suffix, key), records);
        }
    }

    /// The row of the first of them.
    fn passages(&self, suffix: &str, key: Option<u64>, records: &mut Records) -> u32 {
        let mut first = None;
        for at in 0..self.base.passages.len() {
            let (passage_id, context_id) = self.passage_ids(at, suffix);
            let (keys, titles) = self.base.titles;
            let title = keys.is_valid(at).then(|| {
                let title = titles.value(usize::try_from(keys.value(at)).expect("a dictionary key"));
                format!("{title}{suffix}")
            });
            let row = records.passage(&Passage {
                passage_id: &passage_id,
                dataset: self.ids.dataset,
                lang: self.lang,
                text: &perturb(self.base.passages.value(at), key),
                context_id: &context_id,
                title: title.as_deref(),
            });
            first = first.or(Some(row));
        }
        first.unwrap_or(0)
    }

    fn queries(
        &self,
        n: usize,
        first_passage: u32,
        (suffix, key): (&str, Option<u64>),
        records: &mut Records,
    ) {
        for at in 0..n {
            records.count();
            let id = format!("{}{suffix}", self.tail(self.base.query_ids.value(at)));
            let query = records.query(&Query {
                query_id: &self.ids.in_language(self.lang, &id),
                group_id: &self.ids.group(self.lang, &id),
                dataset: self.ids.dataset,
                lang: self.lang,
                text: &perturb(self.base.queries.value(at), key),
            });
            records.qrel(query, first_passage + self.base.relevant[at], 1);
        }
    }

    fn passage_ids(&self, at: usize, suffix: &str) -> (String, String) {
        let context = self.base.context_ids.value(at);
        let sentence = &self.base.passage_ids.value(at)[context.len()..];
        let context = self.ids.in_language(self.lang, &format!("{}{suffix}", self.tail(context)));
        (format!("{context}{sentence}"), context)
    }

    /// An id of the base without `DATASET/LANG/`.
    fn tail<'b>(&self, id: &'b str) -> &'b str {
        &id[self.ids.dataset.len() + self.own.len() + 2..]
    }
}

fn perturb(text: &str, key: Option<u64>) -> String {
    let Some(key) = key else { return text.to_owned() };
    let key = text.as_bytes().chunks(8).fold(key, |key, chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        mix64(key ^ u64::from_le_bytes(bytes)).wrapping_add(chunk.len() as u64)
    });
    let mut words: Vec<&str> = text.split(' ').collect();
    let n = words.len() as u64;
    let place = |z: u64| usize::try_from(mix64(z) % n).expect("below a length");
    words.swap(place(key), place(key.wrapping_add(1)));
    let letters = (0..5).map(|i| char::from(b'a' + u8::try_from((key >> (8 * i)) % 26).expect("a letter")));
    let mark: String = letters.collect();
    words.push(&mark);
    words.join(" ")
}
