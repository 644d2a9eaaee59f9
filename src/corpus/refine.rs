//! From raw tables to the canonical corpus: filter, deduplicate, join, split, order, as plans over registered tables.
//!
//! The plans see ids, lengths and keys, and answer with row numbers; texts stay where the formats put them and are
//! taken once, at the end. Every plan ends in ORDER BY on a unique key, so nothing depends on how it was run.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::iter;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{filter_record_batch, is_null, take};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, UInt32Type};

use super::Corpus;
use super::rank::Ranks;
use super::records::RawTables;
use super::reject::{Reason, Reject};
use super::shared_ids::SameQuestions;
use super::split::{self, Inputs};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::pipeline::{Length, Pipeline, Sameness};
use crate::schema::Table;

/// A column that numbers the rows of a registered table.
const ROW: &str = "row";

/// `ids` are those of the corpora that the split names.
pub(super) fn refine(
    engine: &Engine,
    pipeline: &Pipeline,
    raw: RawTables,
    ids: &HashMap<&str, HashSet<String>>,
) -> Result<(Corpus, Vec<Reject>)> {
    let RawTables { queries, passages, qrels, mut rejects, .. } = raw;
    let group_ids = Arc::clone(queries.column(1));
    let Ranks { of_row: groups, rows: group_rows, .. } = Ranks::of(group_ids.as_string_view());
    let QueriesKept { queries, rows: kept, heirs } = refine_queries(engine, pipeline, queries, &mut rejects)?;
    let (passages, landing) = refine_passages(engine, pipeline, passages, &mut rejects)?;
    let ids_of_groups = group_rows.iter().map(|&row| group_ids.as_string_view().value(row as usize));
    let same = SameQuestions::among(pipeline, ids_of_groups);
    let joined = join(engine, qrels, judged_groups(&groups, &kept, &heirs, &same), landing)?;
    let refined = Refined { queries, passages, joined };
    let excluded = pipeline.split.as_ref().map_or(&[][..], |split| &split.exclude_ids_from);
    let Refined { queries, passages, joined } = match excluded {
        [] => refined,
        names => {
            let ids = names
                .iter()
                .filter_map(|name| ids.get(name.as_str()))
                .flatten()
                .map(String::as_str)
                .collect();
            let qrels = named_qrels((&group_ids, group_rows.clone()), &refined.passages, &refined.joined);
            refined.without(pipeline, &ids, &qrels, &mut rejects)
        }
    };
    let qrels = named_qrels((&group_ids, group_rows), &passages, &joined);

    let held_out = pipeline.split.as_ref().and_then(|split| split.eval.as_ref());
    let (query_sides, passage_sides) = match held_out {
        None => (None, None),
        Some(eval) => {
            let inputs = Inputs {
                queries: &queries,
                passages: &passages,
                qrel_groups: qrels.column(0).as_string_view(),
                qrel_passages: joined.column(1).as_primitive::<UInt32Type>(),
            };
            let none = HashSet::new();
            let ids = eval.ids_from.as_deref().and_then(|name| ids.get(name)).unwrap_or(&none);
            let sides = split::sides(pipeline, eval, ids, &inputs)?;
            engine.register("queries", &numbered(&queries))?;
            engine.register("passages", &numbered(&passages))?;
            engine.register("group_sides", &sides.groups)?;
            engine.register("context_sides", &sides.contexts)?;
            let of = |table, key, id| side_sql(table, key, id);
            (
                Some(engine.query("split the questions", &of("queries", "group_id", "query_id"))?),
                Some(engine.query("split the passages", &of("passages", "context_id", "passage_id"))?),
            )
        }
    };
    check_unique(&queries, "question")?;
    check_unique(&passages, "passage")?;
    let corpus = Corpus::new(
        with_split(&queries, query_sides.as_ref(), Table::Queries),
        with_split(&passages, passage_sides.as_ref(), Table::Passages),
        qrels,
    );
    Ok((corpus, rejects))
}

/// What has stayed: questions and passages by id, judgements by number of the group and row of the passage.
struct Refined {
    queries: RecordBatch,
    passages: RecordBatch,
    joined: RecordBatch,
}

impl Refined {
    /// The rest, when the questions of these ids go, with all that is tied to them.
    fn without(
        self,
        pipeline: &Pipeline,
        ids: &HashSet<&str>,
        qrels: &RecordBatch,
        rejects: &mut Vec<Reject>,
    ) -> Self {
        let Self { queries, passages, joined } = self;
        let judged = joined.column(1).as_primitive::<UInt32Type>();
        let inputs = Inputs {
            queries: &queries,
            passages: &passages,
            qrel_groups: qrels.column(0).as_string_view(),
            qrel_passages: judged,
        };
        let (groups, contexts) = split::tied_to(pipeline, ids, &inputs);
        let stays = |column: &ArrayRef, gone: &HashSet<&str>| -> BooleanArray {
            column.as_string_view().iter().map(|id| id.map(|id| !gone.contains(id))).collect()
        };
        let (query_stays, passage_stays) =
            (stays(queries.column(1), &groups), stays(passages.column(4), &contexts));
        let query_ids = queries.column(0).as_string_view();
        let texts = queries.column_by_name("text").expect("a table of texts").as_string_view();
        for row in (0..queries.num_rows()).filter(|&row| !query_stays.value(row)) {
            let id = query_ids.value(row);
            rejects.push(Reject {
                source: id.split('/').next().unwrap_or_default().to_owned(),
                place: id.to_owned(),
                reason: Reason::FilterExcluded,
                detail: "tied to a question of `split.exclude_ids_from`".to_owned(),
                raw: texts.value(row).to_owned(),
            });
        }
        // Passages move up into the rows of those that go.
        let mut next = 0;
        let new_rows: Vec<u32> = (0..passages.num_rows())
            .map(|row| {
                next += u32::from(passage_stays.value(row));
                next.saturating_sub(1)
            })
            .collect();
        let judgement_stays: BooleanArray =
            judged.values().iter().map(|&passage| Some(passage_stays.value(passage as usize))).collect();
        let filtered = |table: &RecordBatch, stays: &BooleanArray| {
            filter_record_batch(table, stays).expect("a mask of the table's length")
        };
        let joined = filtered(&joined, &judgement_stays);
        let passage_rows = joined.column(1).as_primitive::<UInt32Type>();
        let passage_rows =
            UInt32Array::from_iter_values(passage_rows.values().iter().map(|&row| new_rows[row as usize]));
        let columns =
            vec![Arc::clone(joined.column(0)), Arc::new(passage_rows), Arc::clone(joined.column(2))];
        let joined = RecordBatch::try_new(joined.schema(), columns).expect("the columns of judgements");
        Self {
            queries: filtered(&queries, &query_stays),
            passages: filtered(&passages, &passage_stays),
            joined,
        }
    }
}

/// Formats tell the records of one corpus apart; ids that were made up may meet those of the source all the same.
fn check_unique(table: &RecordBatch, what: &str) -> Result<()> {
    let ids = table.column(0).as_string_view();
    match (1..ids.len()).find(|&row| ids.value(row) == ids.value(row - 1)) {
        None => Ok(()),
        Some(row) => Err(Error::setting("corpora", format!("two records are {what} `{}`", ids.value(row)))
            .with_hint("rename the files or the languages that give both the same id")),
    }
}

/// The questions that stay, by id.
struct QueriesKept {
    queries: RecordBatch,
    /// Their rows in the source.
    rows: UInt32Array,
    /// (row of a merged question, row of the one that stands for it), in the source.
    heirs: Vec<(u32, u32)>,
}

fn refine_queries(
    engine: &Engine,
    pipeline: &Pipeline,
    raw: RecordBatch,
    rejects: &mut Vec<Reject>,
) -> Result<QueriesKept> {
    let filters = &pipeline.filters;
    let rule = Rule {
        table: "raw_queries",
        id: "query_id",
        chars: (filters.query_chars, Reason::FilterQueryChars),
        languages: filters.languages.as_deref(),
        sameness: pipeline.deduplicate.queries,
    };
    engine.register(rule.table, &numbered(&raw))?;
    let judged = engine.query("filter and deduplicate the questions", &rule.sql())?;
    engine.forget(rule.table)?;
    let numbers = |column: usize| judged.column(column).as_primitive::<UInt32Type>().values().iter().copied();
    let heirs = numbers(0).zip(numbers(2)).filter(|(row, heir)| row != heir).collect();
    let (queries, rows) = judge(raw, &judged, rejects);
    let Some(least) = filters.min_group_languages else { return Ok(QueriesKept { queries, rows, heirs }) };
    engine.register("queries", &numbered(&queries))?;
    let judged = engine.query("count the languages of the groups", &group_languages(least.get()))?;
    engine.forget("queries")?;
    let (queries, fewer) = judge(queries, &judged, rejects);
    let rows = take(&rows, &fewer, None).expect("rows of those kept");
    Ok(QueriesKept { queries, rows: rows.as_primitive().clone(), heirs })
}

/// The passages that stay, by id, and where each of the source's lands among them.
fn refine_passages(
    engine: &Engine,
    pipeline: &Pipeline,
    raw: RecordBatch,
    rejects: &mut Vec<Reject>,
) -> Result<(RecordBatch, RecordBatch)> {
    let filters = &pipeline.filters;
    let rule = Rule {
        table: "raw_passages",
        id: "passage_id",
        chars: (filters.passage_chars, Reason::FilterPassageChars),
        languages: filters.languages.as_deref(),
        sameness: pipeline.deduplicate.passages,
    };
    engine.register(rule.table, &numbered(&raw))?;
    let judged = engine.query("filter and deduplicate the passages", &rule.sql())?;
    engine.forget(rule.table)?;
    let (passages, kept) = judge(raw, &judged, rejects);
    let landing = landing(&judged, &kept);
    Ok((passages, landing))
}

/// (row of a question in the source, a group that its judgements count for): its own, those of the questions that
/// questions of its group were merged into, and those of the same questions in other corpora; where they still have a
/// question.
fn judged_groups(
    groups: &[u32],
    kept: &UInt32Array,
    heirs: &[(u32, u32)],
    same: &SameQuestions,
) -> RecordBatch {
    let n_groups = groups.iter().max().map_or(0, |&last| last as usize + 1);
    let mut alive = vec![false; n_groups];
    kept.values().iter().for_each(|&row| alive[groups[row as usize] as usize] = true);
    let mut heirs_of: HashMap<u32, BTreeSet<u32>> = HashMap::new();
    for &(row, heir) in heirs {
        heirs_of.entry(groups[row as usize]).or_default().insert(groups[heir as usize]);
    }
    let with_same = |group: u32| iter::once(group).chain(same.of(group).iter().copied());
    // Most groups count for themselves alone.
    let mut others: HashMap<u32, BTreeSet<u32>> = HashMap::new();
    for group in heirs_of.keys().copied().chain(same.groups()) {
        let inherited = with_same(group).filter_map(|group| heirs_of.get(&group)).flatten().copied();
        let all = with_same(group).chain(inherited.flat_map(with_same));
        others.insert(group, all.filter(|other| *other != group).collect());
    }
    let judged = (0_u32..).zip(groups).flat_map(|(row, &group)| {
        let others = others.get(&group).into_iter().flatten().copied();
        iter::once(group).chain(others).map(move |group| (row, group))
    });
    let (rows, groups): (Vec<u32>, Vec<u32>) = judged.filter(|(_, group)| alive[*group as usize]).unzip();
    numbers([(ROW, rows), ("grp", groups)])
}

/// Judgements between what has stayed.
fn join(
    engine: &Engine,
    qrels: RecordBatch,
    judged_groups: RecordBatch,
    landing: RecordBatch,
) -> Result<RecordBatch> {
    let tables = [("raw_qrels", qrels), ("judged_groups", judged_groups), ("landing", landing)];
    for (name, table) in &tables {
        engine.register(name, table)?;
    }
    let joined = engine.query("join the judgements", JOIN)?;
    for (name, _) in &tables {
        engine.forget(name)?;
    }
    Ok(joined)
}

/// What decides whether a question or passage stays.
struct Rule<'a> {
    table: &'a str,
    id: &'a str,
    chars: (Length, Reason),
    languages: Option<&'a [String]>,
    sameness: Sameness,
}

impl Rule<'_> {
    /// (row, reason or null, row of the record that stands for it), by id.
    fn sql(&self) -> String {
        let mut cases = String::new();
        if let Some(languages) = self.languages {
            let list: Vec<_> = languages.iter().map(|lang| format!("'{lang}'")).collect();
            write_case(&mut cases, &format!("lang NOT IN ({})", list.join(", ")), Reason::FilterLanguage);
        }
        if let Some(min) = self.chars.0.min {
            write_case(&mut cases, &format!("character_length(text) < {min}"), self.chars.1);
        }
        if let Some(max) = self.chars.0.max {
            write_case(&mut cases, &format!("{max} < character_length(text)"), self.chars.1);
        }
        let reason =
            if cases.is_empty() { "CAST(NULL AS VARCHAR)".to_owned() } else { format!("CASE{cases} END") };
        let (table, id) = (self.table, self.id);
        let key = match self.sameness {
            Sameness::Off => {
                return format!(
                    "SELECT row, {reason} AS reason, row AS canonical FROM {table} ORDER BY {id}"
                );
            }
            Sameness::Exact => "text",
            Sameness::Normalised => "normalise(text)",
        };
        format!(
            "WITH measured AS (SELECT row, {id}, dataset, lang, {key} AS same, {reason} AS reason FROM {table}),
                  firsts AS (SELECT row, first_value(row) OVER (PARTITION BY dataset, lang, same ORDER BY {id}) AS canonical
                             FROM measured WHERE reason IS NULL)
             SELECT m.row, coalesce(m.reason, CASE WHEN f.canonical <> m.row THEN '{}' END) AS reason,
                    coalesce(f.canonical, m.row) AS canonical
             FROM measured m LEFT JOIN firsts f ON f.row = m.row ORDER BY m.{id}",
            Reason::DuplicateText
        )
    }
}

fn write_case(cases: &mut String, condition: &str, reason: Reason) {
    write!(cases, " WHEN {condition} THEN '{reason}'").expect("a string takes all");
}

fn group_languages(least: u32) -> String {
    format!(
        "SELECT q.row, CASE WHEN g.n < {least} THEN '{}' END AS reason, q.row AS canonical
         FROM queries q JOIN (SELECT group_id, count(DISTINCT lang) AS n FROM queries GROUP BY group_id) g
           ON g.group_id = q.group_id
         ORDER BY q.query_id",
        Reason::FilterGroupLanguages
    )
}

/// Judgements of groups and passages that are still there: (number of the group, row of the passage that stands for
/// the judged one, greatest relevance). A group's number is the rank of its id, so numbers order as ids do. It grows
/// with the judgements, never with pairs of languages; where corpora share their ids, with pairs of these corpora.
const JOIN: &str = "
    SELECT g.grp AS grp, l.passage AS passage, max(r.relevance) AS relevance
    FROM raw_qrels r
      JOIN judged_groups g ON g.row = r.query
      JOIN landing l ON l.row = r.passage
    GROUP BY g.grp, l.passage
    ORDER BY g.grp, l.passage";

fn side_sql(table: &str, key: &str, id: &str) -> String {
    format!(
        "SELECT t.row, CASE WHEN s.eval THEN 'eval' ELSE 'train' END AS split
         FROM {table} t JOIN {key_table}_sides s ON s.{key} = t.{key} ORDER BY t.{id}",
        key_table = key.trim_end_matches("_id"),
    )
}

/// The rows without a reason, in the order of the judgement, and their numbers; the others are rejected.
fn judge(table: RecordBatch, judged: &RecordBatch, rejects: &mut Vec<Reject>) -> (RecordBatch, UInt32Array) {
    let rows = judged.column(0).as_primitive::<UInt32Type>();
    let reasons = arrow::compute::cast(judged.column(1), &DataType::Utf8).expect("a column of codes");
    let reasons: &StringArray = reasons.as_string();
    if reasons.null_count() < reasons.len() {
        let ids = table.column(0).as_string_view();
        let texts = table.column_by_name("text").expect("a table of texts").as_string_view();
        let datasets =
            table.column_by_name("dataset").expect("a table of texts").as_dictionary::<Int32Type>();
        let datasets = datasets.downcast_dict::<StringArray>().expect("a dictionary of names");
        for at in (0..reasons.len()).filter(|&at| reasons.is_valid(at)) {
            let row = rows.value(at) as usize;
            rejects.push(Reject {
                source: arrow::array::ArrayAccessor::value(&datasets, row).to_owned(),
                place: ids.value(row).to_owned(),
                reason: Reason::from_code(reasons.value(at)).expect("a code that the plan was given"),
                detail: "left out as the pipeline asks".to_owned(),
                raw: texts.value(row).to_owned(),
            });
        }
    }
    let kept =
        filter_record_batch(judged, &is_null(&reasons).expect("a column of codes")).expect("of equal length");
    let rows = kept.column(0).as_primitive::<UInt32Type>().clone();
    // Column by column, and what is taken from is freed at once.
    let (schema, columns, _) = table.into_parts();
    let columns: Vec<ArrayRef> =
        columns.into_iter().map(|column| take(&column, &rows, None).expect("rows of this table")).collect();
    (RecordBatch::try_new(schema, columns).expect("columns of one length"), rows)
}

/// (row of a passage in the source, row of the passage that stands for it), for those that are kept and those that
/// are duplicates of one.
fn landing(judged: &RecordBatch, kept: &UInt32Array) -> RecordBatch {
    // Every row of the source was judged.
    let mut lands_at = vec![None; judged.num_rows()];
    for (row, &raw) in (0_u32..).zip(kept.values()) {
        lands_at[raw as usize] = Some(row);
    }
    let canonical = judged.column(2).as_primitive::<UInt32Type>();
    let raw = judged.column(0).as_primitive::<UInt32Type>();
    let pairs = raw.values().iter().zip(canonical.values());
    let (rows, passages): (Vec<u32>, Vec<u32>) =
        pairs.filter_map(|(&raw, &canonical)| Some((raw, lands_at[canonical as usize]?))).unzip();
    numbers([(ROW, rows), ("passage", passages)])
}

fn numbers<const N: usize>(columns: [(&str, Vec<u32>); N]) -> RecordBatch {
    let columns =
        columns.map(|(name, values)| (name, Arc::new(UInt32Array::from(values)) as ArrayRef, false));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// With ids for numbers. A group's id stands in the row of any of its questions.
fn named_qrels(
    (raw_group_ids, group_rows): (&ArrayRef, Vec<u32>),
    passages: &RecordBatch,
    joined: &RecordBatch,
) -> RecordBatch {
    let groups = take(&UInt32Array::from(group_rows), joined.column(0), None).expect("numbers of groups");
    let columns = vec![
        take(raw_group_ids, &groups, None).expect("rows of the questions"),
        take(passages.column(0), joined.column(1), None).expect("rows of the passages"),
        Arc::clone(joined.column(2)),
    ];
    RecordBatch::try_new(Table::Qrels.loaded_schema(), columns).expect("the columns of qrels")
}

fn with_split(table: &RecordBatch, sides: Option<&RecordBatch>, of: Table) -> RecordBatch {
    let mut columns = table.columns().to_vec();
    let split = match sides {
        Some(sides) => {
            assert!(
                sides.num_rows() == table.num_rows(),
                "every group and every context has one side of the split"
            );
            Arc::clone(sides.column(1))
        }
        None => arrow::array::new_null_array(&DataType::Utf8, table.num_rows()),
    };
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    columns.push(arrow::compute::cast(&split, &dictionary).expect("texts become a dictionary"));
    RecordBatch::try_new(of.loaded_schema(), columns).expect("the columns of the table")
}

/// The table with a column `row` in front.
fn numbered(table: &RecordBatch) -> RecordBatch {
    let n = u32::try_from(table.num_rows()).expect("checked when the tables were put together");
    let rows = UInt32Array::from_iter_values(0..n);
    let mut fields = vec![Arc::new(Field::new(ROW, DataType::UInt32, false))];
    fields.extend(table.schema().fields().iter().cloned());
    let mut columns: Vec<ArrayRef> = vec![Arc::new(rows)];
    columns.extend_from_slice(table.columns());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("one more column of the same length")
}
