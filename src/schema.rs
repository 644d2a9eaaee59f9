//! The tables of a dataset directory: names, types and meaning of their columns.
//!
//! This is the one place that knows them. `schemas/*.json` is printed from here (`prep schema NAME`) and a test holds
//! the two together, so that readers in other languages can rely on the files.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Utf8,
    /// Utf8 with few distinct values. Readers take plain utf8 as well.
    Dictionary,
    UInt32,
    UInt64,
    Int32,
    Utf8List,
    Utf8ListList,
    Int32List,
    Int32ListList,
    Float32List,
}

impl Kind {
    /// The type that files declare.
    fn stored(self) -> DataType {
        self.data_type(&DataType::Utf8)
    }

    /// The type in memory: views, so that a text is stored once however often it is drawn.
    fn loaded(self) -> DataType {
        self.data_type(&DataType::Utf8View)
    }

    fn data_type(self, text: &DataType) -> DataType {
        let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
        match self {
            Self::Utf8 => text.clone(),
            Self::Dictionary => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 => DataType::UInt64,
            Self::Int32 => DataType::Int32,
            Self::Utf8List => list(text.clone()),
            Self::Utf8ListList => list(list(text.clone())),
            Self::Int32List => list(DataType::Int32),
            Self::Int32ListList => list(list(DataType::Int32)),
            Self::Float32List => list(DataType::Float32),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Dictionary => "dictionary<int32, utf8>",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Int32 => "int32",
            Self::Utf8List => "list<utf8>",
            Self::Utf8ListList => "list<list<utf8>>",
            Self::Int32List => "list<int32>",
            Self::Int32ListList => "list<list<int32>>",
            Self::Float32List => "list<float32>",
        }
    }
}

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
    /// Whether files without the column are whole, too.
    pub optional: bool,
    /// What one unit of it is, where that is a question.
    pub unit: Option<&'static str>,
    pub doc: &'static str,
}

/// A table of a dataset directory, or what one is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Queries,
    Passages,
    Qrels,
    /// Mined hard negatives: a part of the corpus where a plan draws from them.
    Negatives,
    Batches,
    /// [`Table::Batches`] with the token ids of every text: the same files, where a tokenizer was named.
    TokenisedBatches,
    /// [`Table::Batches`] of a plan that switches words, with the texts as they stand in the corpus.
    SwitchedBatches,
    /// Both.
    TokenisedSwitchedBatches,
    /// What of the corpus's texts a lexicon translates; with the next only where words are switched.
    Words,
    Lexicon,
    Index,
    Rejects,
    /// What `prep mine` writes, and [`Table::Negatives`] are taken from.
    Mined,
}

/// Columns of the table of batches that not every dataset has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra {
    /// With a tokenizer.
    pub tokens: bool,
    /// With code switching.
    pub originals: bool,
}

impl Table {
    /// One of each name.
    pub const ALL: [Self; 10] = [
        Self::Queries,
        Self::Passages,
        Self::Qrels,
        Self::Negatives,
        Self::Words,
        Self::Lexicon,
        Self::Batches,
        Self::Index,
        Self::Rejects,
        Self::Mined,
    ];
    /// The canonical corpus, in the order in which the dataset id takes its tables; [`Table::Negatives`] and
    /// [`Table::CODE_SWITCH`] follow where there are any.
    pub const CORPUS: [Self; 3] = [Self::Queries, Self::Passages, Self::Qrels];
    /// What stands behind these where words are switched.
    pub const CODE_SWITCH: [Self; 2] = [Self::Words, Self::Lexicon];

    /// The table of batches with these columns beside those that every dataset has.
    #[must_use]
    pub fn batches(extra: Extra) -> Self {
        match extra {
            Extra { tokens: false, originals: false } => Self::Batches,
            Extra { tokens: true, originals: false } => Self::TokenisedBatches,
            Extra { tokens: false, originals: true } => Self::SwitchedBatches,
            Extra { tokens: true, originals: true } => Self::TokenisedSwitchedBatches,
        }
    }

    /// Whether it is a table of batches, whatever columns it has.
    #[must_use]
    pub fn is_of_batches(self) -> bool {
        self.name() == Self::Batches.name()
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queries => "queries",
            Self::Passages => "passages",
            Self::Qrels => "qrels",
            Self::Negatives => "negatives",
            Self::Batches
            | Self::TokenisedBatches
            | Self::SwitchedBatches
            | Self::TokenisedSwitchedBatches => "batches",
            Self::Words => "words",
            Self::Lexicon => "lexicon",
            Self::Index => "index",
            Self::Rejects => "rejects",
            Self::Mined => "mined",
        }
    }

    /// Where its files lie in a dataset directory; of [`Table::Mined`], anywhere.
    #[must_use]
    pub fn files(self) -> &'static str {
        match self {
            Self::Queries => "{corpus,eval}/queries-NNNNN.parquet",
            Self::Passages => "{corpus,eval}/passages-NNNNN.parquet",
            Self::Qrels => "{corpus,eval}/qrels-NNNNN.parquet",
            Self::Negatives => "corpus/negatives-NNNNN.parquet",
            Self::Words => "corpus/words-NNNNN.parquet",
            Self::Lexicon => "corpus/lexicon-NNNNN.parquet",
            Self::Index => "train/index.parquet",
            Self::Rejects => "rejects.parquet",
            Self::Mined => "the file that `prep mine` wrote",
            _ => "train/batches-NNNNN.parquet",
        }
    }

    /// The columns that its rows are sorted by, in byte order.
    #[must_use]
    pub fn sorted_by(self) -> &'static [&'static str] {
        match self {
            Self::Queries | Self::Negatives | Self::Mined => &["query_id"],
            Self::Passages => &["passage_id"],
            Self::Qrels => &["group_id", "passage_id"],
            Self::Words => &["kind", "text_id"],
            Self::Lexicon => &["lang", "word"],
            Self::Index => &["step"],
            Self::Rejects => &["source", "place", "reason", "detail"],
            _ => &["step", "row"],
        }
    }

    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Queries => QUERIES,
            Self::Passages => PASSAGES,
            Self::Qrels => QRELS,
            Self::Negatives => NEGATIVES,
            Self::Batches => BATCHES,
            Self::TokenisedBatches => TOKENISED_BATCHES,
            Self::SwitchedBatches => &SWITCHED_BATCHES,
            Self::TokenisedSwitchedBatches => &ALL_OF_BATCHES,
            Self::Words => WORDS,
            Self::Lexicon => LEXICON,
            Self::Index => INDEX,
            Self::Rejects => REJECTS,
            Self::Mined => MINED,
        }
    }

    /// The Arrow schema that its files declare.
    #[must_use]
    pub fn stored_schema(self) -> SchemaRef {
        self.schema(Kind::stored)
    }

    /// The Arrow schema of the same columns in memory.
    #[must_use]
    pub fn loaded_schema(self) -> SchemaRef {
        self.schema(Kind::loaded)
    }

    fn schema(self, of: impl Fn(Kind) -> DataType) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns().iter().map(|c| Field::new(c.name, of(c.kind), c.nullable)).collect();
        Arc::new(Schema::new(fields))
    }

    /// The table as `schemas/<name>.json` has it, with the columns that may be there or not.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Described {
            field: &'static str,
            r#type: &'static str,
            nullable: bool,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            optional: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            unit: Option<&'static str>,
            doc: &'static str,
        }
        let columns = if self == Self::Batches { &ALL_OF_BATCHES } else { self.columns() };
        let fields: Vec<Described> = columns
            .iter()
            .map(|c| Described {
                field: c.name,
                r#type: c.kind.name(),
                nullable: c.nullable,
                optional: c.optional,
                unit: c.unit,
                doc: c.doc,
            })
            .collect();
        serde_json::json!({
            "table": self.name(), "files": self.files(), "sorted_by": self.sorted_by(), "fields": fields,
        })
    }
}

const fn column(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, nullable: false, optional: false, unit: None, doc }
}

const fn nullable(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, nullable: true, optional: false, unit: None, doc }
}

const fn counted(name: &'static str, kind: Kind, unit: &'static str, doc: &'static str) -> Column {
    Column { name, kind, nullable: false, optional: false, unit: Some(unit), doc }
}

const fn tokens(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, nullable: false, optional: true, unit: Some("tokens"), doc }
}

const fn original(name: &'static str, kind: Kind, doc: &'static str) -> Column {
    Column { name, kind, nullable: true, optional: true, unit: None, doc }
}

const SPLIT: Column =
    nullable("split", Kind::Dictionary, "train, eval, or null where no split was asked for");

const QUERIES: &[Column] = &[
    column("query_id", Kind::Utf8, "DATASET/LANG/ID, unique"),
    column(
        "group_id",
        Kind::Utf8,
        "the question with all its translations: DATASET/ID, or DATASET/LANG/ID without translations",
    ),
    column("dataset", Kind::Dictionary, "name of the corpus in the pipeline"),
    column("lang", Kind::Dictionary, "BCP 47 tag"),
    column("text", Kind::Utf8, "the question as the source has it"),
    SPLIT,
];

const PASSAGES: &[Column] = &[
    column(
        "passage_id",
        Kind::Utf8,
        "DATASET/LANG/pN/sM (sentence M of paragraph N of the file, from 0) or DATASET/LANG/ID, unique",
    ),
    column("dataset", Kind::Dictionary, "name of the corpus in the pipeline"),
    column("lang", Kind::Dictionary, "BCP 47 tag"),
    column("text", Kind::Utf8, "the slice of its context, or the passage as the source has it"),
    column("context_id", Kind::Utf8, "the paragraph or document that it stands in"),
    nullable("title", Kind::Dictionary, "title of the article, where the source has one"),
    SPLIT,
];

const QRELS: &[Column] = &[
    column("group_id", Kind::Utf8, "the question, in any language"),
    column("passage_id", Kind::Utf8, "a passage judged for it, in any language"),
    column("relevance", Kind::Int32, "above 0: relevant; 0: judged not relevant"),
];

const NEGATIVES: &[Column] = MINED.split_at(2).0;

const MINED: &[Column] = &[
    column("query_id", Kind::Utf8, "a question that may be trained on"),
    column("passage_ids", Kind::Utf8List, "its hard negatives, the best one first"),
    column("scores", Kind::Float32List, "how each was scored, descending"),
];

const BATCHES: &[Column] = TOKENISED_BATCHES.split_at(DIGESTED_COLUMNS.end).0;

const TOKENISED_BATCHES: &[Column] = &[
    counted("step", Kind::UInt64, "batches", "number of the batch, from 0"),
    counted("row", Kind::UInt32, "rows", "number of the row in its batch, from 0"),
    column("source", Kind::Dictionary, "source of the batch, a name in plan.json"),
    column("pool", Kind::Dictionary, "pool of the row, DATASET/QUERY_LANG:PASSAGE_LANG"),
    counted("example", Kind::UInt64, "examples", "index of the example in its pool"),
    column("group_id", Kind::Utf8, "the question, in any language"),
    column("query_id", Kind::Utf8, "the question in its language"),
    column("query_lang", Kind::Dictionary, "BCP 47 tag"),
    column("query", Kind::Utf8, "its text"),
    column("positive_id", Kind::Utf8, "a passage relevant to the group"),
    column("positive_lang", Kind::Dictionary, "BCP 47 tag"),
    column("positive", Kind::Utf8, "its text"),
    column(
        "positive_group_ids",
        Kind::Utf8List,
        "every group that the positive answers, ascending: no negative of their queries",
    ),
    column("negative_ids", Kind::Utf8List, "hard negatives, possibly none"),
    column("negatives", Kind::Utf8List, "their texts"),
    column("negative_group_ids", Kind::Utf8ListList, "for each hard negative, every group that it answers"),
    tokens(
        "query_input_ids",
        Kind::Int32List,
        "ids of the query by tokenizer.json, with special tokens, neither cut nor padded; only with a tokenizer",
    ),
    tokens("positive_input_ids", Kind::Int32List, "the same of the positive"),
    tokens("negative_input_ids", Kind::Int32ListList, "the same of each hard negative"),
];

const ORIGINALS: &[Column] = &[
    original(
        "query_original",
        Kind::Utf8,
        "the query as it stands in the corpus, null where that is `query`; only with code switching",
    ),
    original("positive_original", Kind::Utf8, "the same of the positive"),
    Column {
        nullable: false,
        ..original("negatives_original", Kind::Utf8List, "the same of each hard negative, a text or null")
    },
];

const ALL_OF_BATCHES: [Column; TOKENISED_BATCHES.len() + ORIGINALS.len()] =
    joined(TOKENISED_BATCHES, ORIGINALS);

const SWITCHED_BATCHES: [Column; BATCHES.len() + ORIGINALS.len()] = joined(BATCHES, ORIGINALS);

/// One list behind the other.
const fn joined<const N: usize>(first: &[Column], second: &[Column]) -> [Column; N] {
    let mut all = [first[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}

const WORDS: &[Column] = &[
    column("kind", Kind::Dictionary, "passage or query"),
    column("text_id", Kind::Utf8, "passage_id or query_id"),
    counted("words", Kind::UInt32, "words", "words of the text; 0 of a text that is not trained on"),
    counted(
        "positions",
        Kind::Int32List,
        "words",
        "number, from 0 among all words of the text, of each word that a lexicon translates, ascending",
    ),
    counted("starts", Kind::Int32List, "bytes", "where each of these begins in the text's UTF-8"),
    counted("ends", Kind::Int32List, "bytes", "and ends"),
    column("entries", Kind::Int32List, "the row of each in lexicon, from 0"),
];

const LEXICON: &[Column] = &[
    column("lang", Kind::Dictionary, "BCP 47 tag of the word"),
    column("word", Kind::Utf8, "a word of the corpus after NFKC, in lower case"),
    column("target_langs", Kind::Utf8List, "the other languages that it has translations in, ascending"),
    column("translations", Kind::Utf8ListList, "for each of them the translations, ascending"),
    column(
        "lexicons",
        Kind::Utf8ListList,
        "beside each translation the lexicon that has it; of several the first by name",
    ),
];

const INDEX: &[Column] = &[
    counted("step", Kind::UInt64, "batches", "number of the batch, from 0"),
    column("source", Kind::Dictionary, "source of the batch, a name in plan.json"),
    column("shard", Kind::UInt32, "NNNNN of its file"),
    counted("first_row", Kind::UInt64, "rows", "its first row in that file, from 0"),
    counted(
        "masked_pairs",
        Kind::UInt32,
        "pairs",
        "ordered (query, passage) pairs of the batch that are no negatives",
    ),
    column("digest", Kind::Utf8, "BLAKE3 of its rows, hex"),
];

const REJECTS: &[Column] = &[
    column("source", Kind::Utf8, "the file, below the data folder"),
    column("place", Kind::Utf8, "line or JSON pointer; for filters and duplicates the record's id"),
    column("reason", Kind::Utf8, "a code"),
    nullable("detail", Kind::Utf8, "what was found"),
    nullable("raw", Kind::Utf8, "the record as it stands in the source"),
];

/// The columns that a batch digest covers: from `source` to `negative_group_ids`. Tokens follow from the texts.
pub const DIGESTED_COLUMNS: Range<usize> = 2..16;
