//! The cells of a table, one encoding for all types: what every digest of content is made of.

use arrow::array::{Array, ArrayAccessor, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type, UInt32Type, UInt64Type};
use serde_json::Value;

use crate::corpus::Names;
use crate::digest::{Sink, put_bytes, put_count, put_integer, put_null, put_unsigned};

/// A column whose cells can be encoded. Columns have the types of the loaded schemas.
pub(super) enum Cells<'a> {
    Text(&'a StringViewArray),
    Names(Names<'a>),
    UInt64(&'a [u64]),
    UInt32(&'a [u32]),
    Int32(&'a [i32]),
    List(&'a OffsetBuffer<i32>, Box<Cells<'a>>),
}

impl<'a> Cells<'a> {
    pub(super) fn of(array: &'a ArrayRef) -> Self {
        match array.data_type() {
            DataType::Utf8View => Self::Text(array.as_string_view()),
            DataType::Dictionary(_, _) => Self::Names(
                array.as_dictionary::<Int32Type>().downcast_dict().expect("names are dictionaries of texts"),
            ),
            DataType::UInt64 => Self::UInt64(array.as_primitive::<UInt64Type>().values()),
            DataType::UInt32 => Self::UInt32(array.as_primitive::<UInt32Type>().values()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>().values()),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list.offsets(), Box::new(Self::of(list.values())))
            }
            other => unreachable!("no loaded schema has a column of {other}"),
        }
    }

    /// All columns of a table.
    pub(super) fn all(table: &'a RecordBatch) -> Vec<Self> {
        table.columns().iter().map(Self::of).collect()
    }

    pub(super) fn put(&self, sink: &mut impl Sink, row: usize) {
        match self {
            Self::Text(texts) if texts.is_null(row) => put_null(sink),
            Self::Text(texts) => put_bytes(sink, texts.value(row).as_bytes()),
            Self::Names(names) if names.is_null(row) => put_null(sink),
            Self::Names(names) => put_bytes(sink, names.value(row).as_bytes()),
            Self::UInt64(numbers) => put_unsigned(sink, numbers[row]),
            Self::UInt32(numbers) => put_unsigned(sink, numbers[row].into()),
            Self::Int32(numbers) => put_integer(sink, numbers[row].into()),
            Self::List(offsets, items) => {
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                put_count(sink, end - start);
                (start..end).for_each(|item| items.put(sink, item));
            }
        }
    }

    /// The cell as JSON.
    pub(super) fn to_json(&self, row: usize) -> Value {
        match self {
            Self::Text(texts) if texts.is_null(row) => Value::Null,
            Self::Text(texts) => texts.value(row).into(),
            Self::Names(names) if names.is_null(row) => Value::Null,
            Self::Names(names) => names.value(row).into(),
            Self::UInt64(numbers) => numbers[row].into(),
            Self::UInt32(numbers) => numbers[row].into(),
            Self::Int32(numbers) => numbers[row].into(),
            Self::List(offsets, items) => {
                (offsets[row] as usize..offsets[row + 1] as usize).map(|item| items.to_json(item)).collect()
            }
        }
    }

    /// The cell as a person would read it.
    pub(super) fn show(&self, row: usize) -> String {
        self.to_json(row).to_string()
    }
}
