//! Which (question, passage) pairs a pool holds, which groups a passage answers, and what may be a hard negative.
//!
//! An [`Index`] is made from a corpus and holds numbers only: groups by rank of their id, questions and passages by
//! row. The cross product of languages is counted and indexed, never listed. Every number follows from the corpus, so
//! a stored index is a cache that can be checked against it.

mod build;
mod numbers;
mod side;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;

pub use self::build::Groups;
pub(crate) use self::numbers::{Lists, Numbers, Stored, read_at};
pub(crate) use self::side::Side;
pub use self::side::{Example, Pool};
use crate::error::Result;
use crate::pipeline::NegativeSource;

/// A pool: one dataset, one query language, one passage language. Printed `D/q:p`, and ordered as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolName {
    pub dataset: String,
    pub query_lang: String,
    pub passage_lang: String,
}

impl PoolName {
    #[must_use]
    pub fn is_monolingual(&self) -> bool {
        self.query_lang == self.passage_lang
    }

    /// The language of a monolingual pool, `q:p` of another.
    #[must_use]
    pub fn key(&self) -> String {
        if self.is_monolingual() {
            self.query_lang.clone()
        } else {
            format!("{}:{}", self.query_lang, self.passage_lang)
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.dataset, self.query_lang, self.passage_lang)
    }
}

impl FromStr for PoolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(d, pair)| Some((d, pair.split_once(':')?)));
        let (dataset, (q, p)) = parts.ok_or_else(|| format!("`{text}` is not a pool `DATASET/q:p`"))?;
        Ok(Self { dataset: dataset.to_owned(), query_lang: q.to_owned(), passage_lang: p.to_owned() })
    }
}

/// What an index knows of, in numbers.
#[derive(Clone, Debug)]
pub struct Index {
    /// Sides by (dataset, language).
    pub(crate) queries: BTreeMap<(String, String), Side>,
    pub(crate) passages: BTreeMap<(String, String), Side>,
    /// For each passage, every group that it answers, ascending: by a judgement of its own, or of a passage of equal
    /// language and text; in every split and every dataset.
    pub(crate) answers: Lists,
    /// Only where hard negatives are drawn.
    pub(crate) candidates: Option<Candidates>,
}

/// What hard negatives are drawn from.
#[derive(Clone, Debug)]
pub(crate) enum Candidates {
    Contexts(Contexts),
    /// The passages mined for each question, ascending.
    Mined(Lists),
}

/// The context of each passage, and the passages of each, ascending.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    pub(crate) of_passage: Numbers,
    pub(crate) passages: Lists,
}

impl Index {
    /// The pool of this name; one without examples where the corpus has none of its languages.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where the index lies in a file that cannot be read.
    pub fn pool(&self, name: &PoolName) -> Result<Option<Pool<'_>>> {
        let queries = self.queries.get(&(name.dataset.clone(), name.query_lang.clone()));
        let passages = self.passages.get(&(name.dataset.clone(), name.passage_lang.clone()));
        queries.zip(passages).map(|(queries, passages)| Pool::new(queries, passages)).transpose()
    }

    /// Every pool that has examples, and its size, in byte order of the names.
    ///
    /// # Errors
    /// As [`Index::pool`].
    pub fn pool_sizes(&self) -> Result<Vec<(PoolName, u64)>> {
        let names: Vec<PoolName> = self
            .queries
            .keys()
            .flat_map(|(dataset, query_lang)| {
                let passages = self.passages.keys().filter(move |(d, _)| d == dataset);
                passages.map(move |(_, passage_lang)| PoolName {
                    dataset: dataset.clone(),
                    query_lang: query_lang.clone(),
                    passage_lang: passage_lang.clone(),
                })
            })
            .collect();
        let sizes: Vec<u64> = names
            .par_iter()
            .map(|name| Ok(self.pool(name)?.map_or(0, |pool| pool.size())))
            .collect::<Result<_>>()?;
        let mut sizes: Vec<_> = names.into_iter().zip(sizes).filter(|(_, size)| *size != 0).collect();
        sizes.sort_by_cached_key(|(name, _)| name.to_string());
        Ok(sizes)
    }

    /// Every group that a passage answers, ascending.
    ///
    /// # Errors
    /// As [`Index::pool`].
    pub fn groups_answered(&self, passage: u32) -> Result<std::borrow::Cow<'_, [u32]>> {
        self.answers.get(passage as usize)
    }

    /// Where [`Index::negative_candidates`] come from, if it was made with any.
    pub(crate) fn draws_from(&self) -> Option<NegativeSource> {
        self.candidates.as_ref().map(|candidates| match candidates {
            Candidates::Contexts(_) => NegativeSource::SameContext,
            Candidates::Mined(_) => NegativeSource::Mined,
        })
    }

    /// What may be a hard negative of a row with this example: the passages of the positive's context and language, or
    /// those mined for the question, less those that answer the group; ascending.
    ///
    /// # Errors
    /// As [`Index::pool`].
    ///
    /// # Panics
    /// When the index was made without candidates.
    pub fn negative_candidates(&self, example: Example) -> Result<Vec<u32>> {
        let passages = match self.candidates.as_ref().expect("an index for hard negatives has candidates") {
            Candidates::Contexts(contexts) => {
                let context = contexts.of_passage.get(example.passage as usize)?;
                contexts.passages.get(context as usize)?
            }
            Candidates::Mined(lists) => lists.get(example.query as usize)?,
        };
        let mut candidates = Vec::with_capacity(passages.len());
        for &passage in &*passages {
            if self.groups_answered(passage)?.binary_search(&example.group).is_err() {
                candidates.push(passage);
            }
        }
        Ok(candidates)
    }
}
