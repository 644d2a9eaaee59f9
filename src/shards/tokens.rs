//! The token ids of a corpus: each distinct text once, however many questions and passages have it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field};
use hashbrown::HashMap;
use rayon::prelude::*;

use super::switch::Switched;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::schema::Table;
use crate::tokens::Tokenizer;

/// Texts to a call of the tokenizer: between two signs of progress.
const TEXTS_PER_CALL: usize = 1 << 12;

/// Ids by row of the corpus.
pub(super) struct CorpusTokens {
    /// One list a distinct text.
    ids: ListArray,
    /// The list of each query and passage.
    of_query: Vec<u32>,
    of_passage: Vec<u32>,
    tokenizer: Tokenizer,
}

impl CorpusTokens {
    pub(super) fn of(corpus: &Corpus, tokenizer: &Tokenizer, observer: &dyn Observer) -> Result<Self> {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut texts = Vec::new();
        let [of_query, of_passage] = [Table::Queries, Table::Passages].map(|table| {
            let column = corpus.texts(table, "text").iter();
            let number = |text| {
                *numbers.entry(text).or_insert_with(|| {
                    texts.push(text);
                    texts.len() as u32 - 1
                })
            };
            column.flatten().map(number).collect::<Vec<u32>>()
        });
        observer.begin("tokenising", Some(texts.len() as u64));
        let encode = |texts: &[&str]| {
            let ids = tokenizer.encode_all(texts);
            observer.advance(texts.len() as u64);
            ids
        };
        let ids: Vec<Vec<Vec<u32>>> = texts.par_chunks(TEXTS_PER_CALL).map(encode).collect::<Result<_>>()?;
        Ok(Self {
            ids: lists(ids.into_iter().flatten())?,
            of_query,
            of_passage,
            tokenizer: tokenizer.clone(),
        })
    }

    /// `list<int32>`, one for each of these rows of the corpus.
    pub(super) fn of_queries(&self, rows: &UInt32Array) -> ArrayRef {
        self.taken(&self.of_query, rows)
    }

    pub(super) fn of_passages(&self, rows: &UInt32Array) -> ArrayRef {
        self.taken(&self.of_passage, rows)
    }

    /// With the ids of the switched texts where those stand instead of the corpus's.
    pub(super) fn of_switched(&self, ids: &[ArrayRef; 3], switched: &Switched) -> Result<[ArrayRef; 3]> {
        let Switched { texts, originals } = switched;
        let replaced = |column: usize| self.replaced(&ids[column], &texts[column], &originals[column]);
        Ok([replaced(0)?, replaced(1)?, replaced(2)?])
    }

    fn replaced(&self, ids: &ArrayRef, texts: &ArrayRef, originals: &ArrayRef) -> Result<ArrayRef> {
        let texts = texts.as_string_view();
        let switched: Vec<usize> = (0..texts.len()).filter(|&row| originals.is_valid(row)).collect();
        let new: Vec<&str> = switched.iter().map(|&row| texts.value(row)).collect();
        let new = lists(self.tokenizer.encode_all(&new)?.into_iter())?;
        let all = concat(&[ids, &new]).expect("lists of one type");
        let mut rows: Vec<u32> = (0..texts.len() as u32).collect();
        switched.into_iter().zip(texts.len() as u32..).for_each(|(row, at)| rows[row] = at);
        Ok(take(&all, &UInt32Array::from(rows), None).expect("rows of both"))
    }

    fn taken(&self, of_row: &[u32], rows: &UInt32Array) -> ArrayRef {
        let numbers = UInt32Array::from_iter_values(rows.values().iter().map(|&row| of_row[row as usize]));
        take(&self.ids, &numbers, None).expect("numbers of distinct texts")
    }
}

fn lists(ids: impl Iterator<Item = Vec<u32>>) -> Result<ListArray> {
    let too_large = |found: String| Error::setting("tokenizer", found);
    let (mut values, mut offsets) = (Vec::new(), vec![0]);
    for of_text in ids {
        for id in of_text {
            values.push(i32::try_from(id).map_err(|_| too_large(format!("id {id} is not below 2^31")))?);
        }
        let end = i32::try_from(values.len());
        offsets.push(end.map_err(|_| too_large("the corpus has 2^31 tokens or more".to_owned()))?);
    }
    let field = Arc::new(Field::new("item", DataType::Int32, true));
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(ListArray::try_new(field, offsets, Arc::new(Int32Array::from(values)), None)
        .expect("offsets up to the number of ids"))
}
