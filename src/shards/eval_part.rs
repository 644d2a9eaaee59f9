//! What eval/ holds: the held-out questions, the passages to search, and the judgements between them. And the rest.

use std::collections::HashSet;

use arrow::array::{Array, ArrayAccessor, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;

use crate::corpus::Corpus;
use crate::pipeline::EvalPool;
use crate::schema::Table;

/// The tables of eval/; all of the corpus where there is no split.
pub(super) fn eval_part(corpus: &Corpus, pool: EvalPool) -> [RecordBatch; 3] {
    let held_out = |table: Table| -> BooleanArray {
        let splits = corpus.names(table, "split");
        (0..splits.len()).map(|row| Some(splits.is_null(row) || splits.value(row) != "train")).collect()
    };
    let kept = |table: Table, mask: &BooleanArray| {
        filter_record_batch(corpus.table(table), mask).expect("one bit a row")
    };
    let queries = held_out(Table::Queries);
    let passages = match pool {
        EvalPool::Eval => held_out(Table::Passages),
        EvalPool::All => vec![true; corpus.table(Table::Passages).num_rows()].into(),
    };
    let ids = |table: Table, column: &str, mask: &BooleanArray| -> HashSet<&str> {
        let ids = corpus.texts(table, column);
        (0..ids.len()).filter(|&row| mask.value(row)).map(|row| ids.value(row)).collect()
    };
    let qrels: BooleanArray = if queries.true_count() == queries.len()
        && passages.true_count() == passages.len()
    {
        vec![true; corpus.table(Table::Qrels).num_rows()].into()
    } else {
        let groups = ids(Table::Queries, "group_id", &queries);
        let found = ids(Table::Passages, "passage_id", &passages);
        let (of_group, of_passage) =
            (corpus.texts(Table::Qrels, "group_id"), corpus.texts(Table::Qrels, "passage_id"));
        (0..of_group.len())
            .map(|row| Some(groups.contains(of_group.value(row)) && found.contains(of_passage.value(row))))
            .collect()
    };
    [kept(Table::Queries, &queries), kept(Table::Passages, &passages), kept(Table::Qrels, &qrels)]
}

/// What may be trained on; all of the corpus where there is no split. Judgements stay, even of what is not there.
pub(super) fn train_part(corpus: &Corpus) -> Corpus {
    let kept = |table: Table| {
        let splits = corpus.names(table, "split");
        let mask: BooleanArray =
            (0..splits.len()).map(|row| Some(splits.is_null(row) || splits.value(row) != "eval")).collect();
        filter_record_batch(corpus.table(table), &mask).expect("one bit a row")
    };
    Corpus::new(kept(Table::Queries), kept(Table::Passages), corpus.table(Table::Qrels).clone())
}
