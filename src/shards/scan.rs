//! Reading `corpus/` for whoever searches it: some columns whole, texts a row group at a time, and which passage answers
//! which group. Memory does not grow with the texts.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::dataset::Dataset;
use super::lookup::{LOOKUP, Lookup};
use super::tables::TableFile;
use crate::error::{Error, Result};
use crate::pairs::{Index, Lists};
use crate::progress::Observer;
use crate::schema::Table;

impl Dataset {
    /// Some columns of a table of `corpus/`, in the table's order.
    pub(crate) fn columns(&self, table: Table, columns: &[&str]) -> Result<RecordBatch> {
        let mut parts = Vec::new();
        self.scan(
            table,
            columns,
            |_| true,
            |_, rows| {
                parts.push(rows);
                Ok(())
            },
        )?;
        let first = parts.first().ok_or_else(|| {
            Error::dataset(&self.root().join("corpus"), format!("no row in {}", table.name()))
        })?;
        Ok(concat_batches(&first.schema(), &parts).expect("batches of one schema"))
    }

    /// Calls `each` with the row groups of a table of `corpus/` whose rows are wanted, in order, and the number of the
    /// first row of each.
    pub(crate) fn scan(
        &self,
        table: Table,
        columns: &[&str],
        wanted: impl Fn(Range<usize>) -> bool,
        mut each: impl FnMut(usize, RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        for entry in self.files("corpus", table) {
            let file = TableFile::open_columns(&self.root().join(&entry.path), table, columns)?;
            for group in 0..file.n_row_groups() {
                let end = first + file.n_rows(group) as usize;
                if wanted(first..end) {
                    each(first, file.row_group(group)?)?;
                }
                first = end;
            }
        }
        Ok(())
    }

    /// For each passage of `corpus/`, by row, the groups that it answers, by the rank of their id. From lookup.bin, or
    /// where that was deleted from the tables, which then are in memory meanwhile.
    pub(crate) fn answers(&self, observer: &dyn Observer) -> Result<Lists> {
        match self.manifest().files.iter().find(|file| file.path == LOOKUP) {
            Some(file) if self.root().join(LOOKUP).is_file() => {
                self.check_file(file)?;
                Ok(Lookup::open(self.root())?.index.answers)
            }
            _ => {
                observer.begin("indexing the corpus", None);
                Ok(Index::build(&self.corpus("corpus")?, None)?.0.answers)
            }
        }
    }
}
