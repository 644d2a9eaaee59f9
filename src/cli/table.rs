//! Tables for people: aligned columns, the best values marked, and never wider than the terminal.
//!
//! A row is never wrapped and a number never cut. A table that is too wide is written as several, one below the other,
//! each with the first column.

use std::ops::Range;

use console::{Style, measure_text_width};

use super::page::{Page, printable};

/// Behind a cell that is marked. Where the page has style, the cell is bold and green as well.
pub(super) const MARK: char = '*';

/// Columns before every column.
const GAP: usize = 2;

#[derive(Default)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// Which end of a column stands in one line.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

struct Column {
    name: String,
    side: Side,
}

struct Cell {
    text: String,
    is_marked: bool,
}

/// Which of the numbers of a column.
#[derive(Clone, Copy)]
pub(super) enum Best {
    Greatest,
    Smallest,
}

impl Table {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// With another column, of names.
    pub(super) fn left(self, name: &str) -> Self {
        self.column(name, Side::Left)
    }

    /// With another column, of numbers.
    pub(super) fn right(self, name: &str) -> Self {
        self.column(name, Side::Right)
    }

    fn column(mut self, name: &str, side: Side) -> Self {
        self.columns.push(Column { name: printable(name), side });
        self
    }

    /// Adds a row: a cell a column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<_> =
            cells.into_iter().map(|text| Cell { text: printable(&text), is_marked: false }).collect();
        assert!(row.len() == self.columns.len(), "a cell a column");
        self.rows.push(row);
    }

    /// Marks the best number of a column, and all that read the same. One number alone is not compared.
    pub(super) fn mark_best(&mut self, column: usize, best: Best) {
        let numbers: Vec<(usize, f64)> = self
            .rows
            .iter()
            .enumerate()
            .filter_map(|(row, cells)| Some((row, cells[column].text.parse().ok()?)))
            .collect();
        let values = numbers.iter().map(|(_, number)| *number);
        let best = match best {
            Best::Greatest => values.max_by(f64::total_cmp),
            Best::Smallest => values.min_by(f64::total_cmp),
        };
        if 1 < numbers.len() {
            numbers
                .iter()
                .filter(|(_, number)| Some(*number) == best)
                .for_each(|(row, _)| self.mark(*row, column));
        }
    }

    pub(super) fn mark(&mut self, row: usize, column: usize) {
        self.rows[row][column].is_marked = true;
    }

    pub(super) fn has_marks(&self) -> bool {
        self.rows.iter().flatten().any(|cell| cell.is_marked)
    }

    /// The lines, each indented by two columns.
    pub(super) fn on(&self, page: Page) -> String {
        let widths: Vec<Width> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let blocks: Vec<String> = blocks(&widths, page.columns)
            .into_iter()
            .map(|block| {
                let columns: Vec<usize> = std::iter::once(0).chain(block).collect();
                self.block(&columns, &widths, page)
            })
            .collect();
        blocks.join("\n")
    }

    fn width(&self, column: usize) -> Width {
        let cells = || self.rows.iter().map(|row| &row[column]);
        let name = measure_text_width(&self.columns[column].name);
        let text = cells().map(|cell| measure_text_width(&cell.text)).fold(name, usize::max);
        Width { text, mark: usize::from(cells().any(|cell| cell.is_marked)) }
    }

    fn block(&self, columns: &[usize], widths: &[Width], page: Page) -> String {
        let best = Style::new().green().bold();
        let mut lines = String::new();
        let mut line = String::new();
        let mut end = |line: &mut String| {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line.clear();
        };
        for &column in columns {
            let Column { name, side } = &self.columns[column];
            line.push_str(&side.aligned(name, name, widths[column], " "));
        }
        end(&mut line);
        for row in &self.rows {
            for &column in columns {
                let Cell { text, is_marked } = &row[column];
                let side = self.columns[column].side;
                line.push_str(&match is_marked {
                    true => side.aligned(text, &page.styled(text, &best), widths[column], &MARK.to_string()),
                    false => side.aligned(text, text, widths[column], " "),
                });
            }
            end(&mut line);
        }
        lines
    }
}

/// Of a column.
#[derive(Clone, Copy)]
struct Width {
    text: usize,
    /// 1 where a cell is marked: the mark stands beside the numbers, which stay in line.
    mark: usize,
}

impl Width {
    fn with_gap(self) -> usize {
        GAP + self.text + self.mark
    }
}

impl Side {
    /// `shown` is `text`, perhaps with a style, which takes no columns.
    fn aligned(self, text: &str, shown: &str, width: Width, mark: &str) -> String {
        let gap = " ".repeat(GAP);
        let pad = " ".repeat(width.text - measure_text_width(text));
        let mark = if width.mark == 0 { "" } else { mark };
        match self {
            Self::Left => format!("{gap}{shown}{mark}{pad}"),
            Self::Right => format!("{gap}{pad}{shown}{mark}"),
        }
    }
}

/// Which columns stand side by side, with the first: as many as fit, and one where none does.
fn blocks(widths: &[Width], columns: Option<usize>) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let mut start = 1;
    let first = widths.first().map_or(0, |width| width.with_gap());
    let mut used = first;
    for (column, width) in widths.iter().enumerate().skip(1) {
        let width = width.with_gap();
        if start < column && columns.is_some_and(|columns| columns < used + width) {
            blocks.push(start..column);
            start = column;
            used = first;
        }
        used += width;
    }
    blocks.push(start..widths.len().max(1));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Page = Page { columns: None, is_styled: false };

    fn narrow(columns: usize) -> Page {
        Page { columns: Some(columns), ..PIPE }
    }

    fn matrix() -> Table {
        let mut table = Table::new().left("mAP").right("de").right("zh-Hant").right("rank distance");
        for row in [["de", "0.9100", "0.5000", "12.0"], ["zh-Hant", "0.4000", "0.8800", "9.5"]] {
            table.row(row.map(str::to_owned));
        }
        table.mark_best(1, Best::Greatest);
        table.mark_best(2, Best::Greatest);
        table.mark_best(3, Best::Smallest);
        table
    }

    #[test]
    fn columns_are_aligned_and_marks_stand_beside_them() {
        assert_eq!(
            matrix().on(PIPE),
            concat!(
                "  mAP          de   zh-Hant   rank distance\n",
                "  de       0.9100*   0.5000            12.0\n",
                "  zh-Hant  0.4000    0.8800*            9.5*\n",
            )
        );
    }

    #[test]
    fn style_changes_no_column() {
        let styled = matrix().on(Page { is_styled: true, ..PIPE });
        assert!(styled.contains("\u{1b}[32m\u{1b}[1m0.9100\u{1b}[0m*"), "{styled:?}");
        assert_eq!(console::strip_ansi_codes(&styled), matrix().on(PIPE));
    }

    #[test]
    fn a_table_that_is_too_wide_is_written_as_several() {
        let text = concat!(
            "  mAP          de   zh-Hant\n",
            "  de       0.9100*   0.5000\n",
            "  zh-Hant  0.4000    0.8800*\n",
            "\n",
            "  mAP      rank distance\n",
            "  de                12.0\n",
            "  zh-Hant            9.5*\n",
        );
        assert_eq!(matrix().on(narrow(40)), text);
        assert_eq!(matrix().on(narrow(28)), text);
        assert_eq!(matrix().on(narrow(44)), matrix().on(PIPE));
        // One column at a time, however narrow.
        assert_eq!(matrix().on(narrow(1)).matches("mAP").count(), 3);
    }

    #[test]
    fn hundreds_of_columns_keep_their_numbers() {
        let names: Vec<String> = (0..400).map(|n| format!("l{n}")).collect();
        let mut table = names.iter().fold(Table::new().left("mAP"), |table, name| table.right(name));
        table.row(std::iter::once("de".to_owned()).chain((0..400).map(|n| format!("0.{n:04}"))));
        assert_eq!(table.on(PIPE).lines().count(), 2);
        let text = table.on(narrow(80));
        assert!(text.lines().all(|line| line.len() <= 80));
        let numbers = text.split_whitespace().filter(|word| word.starts_with("0.")).count();
        assert_eq!(numbers, 400);
    }

    #[test]
    fn widths_are_those_that_a_terminal_shows() {
        let mut table = Table::new().left("language").right("n").left("name");
        for row in [["中文", "1", "Chinese"], ["ภาษาไทยที่นี่", "1,190", "Thai"], ["e\u{301}", "7", "é"]]
        {
            table.row(row.map(str::to_owned));
        }
        assert_eq!(
            table.on(PIPE),
            concat!(
                "  language       n  name\n",
                "  中文           1  Chinese\n",
                "  ภาษาไทยที่นี่  1,190  Thai\n",
                "  e\u{301}              7  é\n",
            )
        );
    }

    #[test]
    fn equal_numbers_are_all_best_and_one_alone_is_none() {
        let marked = |numbers: &[&str]| {
            let mut table = Table::new().left("").right("n");
            numbers.iter().for_each(|n| table.row([String::new(), (*n).to_owned()]));
            table.mark_best(1, Best::Greatest);
            table.on(PIPE).matches(MARK).count()
        };
        assert_eq!(marked(&["0.5", "0.7", "0.7"]), 2);
        assert_eq!(marked(&["-0.5", "-0.7", "-"]), 1);
        assert_eq!(marked(&["0.5", "-"]), 0);
        assert_eq!(marked(&[]), 0);
    }

    #[test]
    fn a_table_without_rows_or_with_one_column_is_its_header() {
        assert_eq!(Table::new().left("query").right("step").on(narrow(10)), "  query  step\n");
        assert_eq!(Table::new().left("query").on(PIPE), "  query\n");
    }

    #[test]
    fn no_cell_speaks_to_the_terminal() {
        let mut table = Table::new().left("id");
        table.row(["a\u{1b}[2J\nb".to_owned()]);
        assert_eq!(table.on(PIPE), "  id\n  a [2J b\n");
    }
}
