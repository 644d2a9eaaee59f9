//! What text for people is laid out for: a terminal with its width and colours, or a pipe, which has neither.
//!
//! In a pipe or a file nothing is cut, wrapped or styled: the next program counts on whole lines. Nothing is said by
//! style alone.

use std::borrow::Cow;
use std::env;

use console::{Style, Term, measure_text_width, truncate_str};

/// Columns that running text has at least: less beside its name than this, and it begins on a line of its own.
const MIN_TEXT_COLUMNS: usize = 20;

/// Columns that such a text is indented by.
const INDENT: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// Of the terminal; where there is none, lines have no end.
    pub(super) columns: Option<usize>,
    pub(super) is_styled: bool,
}

impl Page {
    /// Standard output. `COLUMNS` goes before what the terminal says of itself; `NO_COLOR`, `CLICOLOR` and
    /// `TERM=dumb` mean no style, and `CLICOLOR_FORCE` one in a pipe as well.
    pub(super) fn stdout() -> Self {
        let terminal = Term::stdout();
        let columns = terminal.is_term().then(|| {
            let named = env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
            named.filter(|columns| *columns != 0).or_else(|| terminal.size_checked().map(|(_, n)| n.into()))
        });
        let is = |name: &str, value: &str| env::var_os(name).is_some_and(|found| found == value);
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        // Not what `console` makes of them: an empty `NO_COLOR` says nothing (no-color.org).
        let wanted = terminal.is_term() && !is("TERM", "dumb") && !is("CLICOLOR", "0");
        let forced = is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0");
        Self { columns: columns.flatten(), is_styled: !is_set("NO_COLOR") && (wanted || forced) }
    }

    pub(super) fn styled(self, text: &str, style: &Style) -> String {
        if self.is_styled {
            style.clone().force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }

    /// One line, and in a terminal no longer than that: an ellipsis says that there is more.
    pub(super) fn line(self, text: &str) -> String {
        let text = printable(text);
        let cut = self.columns.map_or(Cow::Borrowed(&*text), |columns| truncate_str(&text, columns, "…"));
        format!("{cut}\n")
    }

    /// `text` behind `head`. In a terminal it goes on in the lines below, in the same column, and breaks between words
    /// only: an id or a path can be copied. Where there is no room beside the head it begins below it.
    pub(super) fn paragraph(self, head: &str, text: &str) -> String {
        let text = &printable(text);
        let beside = measure_text_width(head);
        let Some(columns) = self.columns.filter(|columns| *columns < beside + measure_text_width(text))
        else {
            return format!("{head}{text}\n");
        };
        let first_word = text.split(' ').next().map_or(0, measure_text_width);
        let room = MIN_TEXT_COLUMNS.max(first_word);
        let (mut written, indent) = if columns < beside + room && !head.trim().is_empty() {
            (format!("{}\n{}", head.trim_end(), " ".repeat(INDENT)), INDENT)
        } else {
            (head.to_owned(), beside)
        };
        let mut at = indent;
        for word in text.split(' ') {
            let width = measure_text_width(word);
            if at == indent {
                // The first of its line.
            } else if columns < at + 1 + width {
                written.push_str(&format!("\n{}", " ".repeat(indent)));
                at = indent;
            } else {
                written.push(' ');
                at += 1;
            }
            written.push_str(word);
            at += width;
        }
        written.push('\n');
        written
    }

    /// `name  value` paragraphs, values aligned.
    pub(super) fn fields(self, fields: &[(&str, String)]) -> String {
        let width = fields.iter().map(|(name, _)| measure_text_width(name)).max().unwrap_or(0);
        let paragraphs: Vec<_> =
            fields.iter().map(|(name, value)| self.paragraph(&format!("{name:<width$}  "), value)).collect();
        paragraphs.concat()
    }

    /// A remark on what stands above it.
    pub(super) fn note(self, text: &str) -> String {
        self.paragraph("  ", text)
    }
}

/// Without line feeds, and without what a terminal would take for a command, or for an order to turn what follows around.
pub(super) fn printable(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.replace(breaks, " ").replace(turns, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Page = Page { columns: None, is_styled: false };

    fn narrow(columns: usize) -> Page {
        Page { columns: Some(columns), ..PIPE }
    }

    #[test]
    fn a_line_is_cut_in_a_terminal_only() {
        assert_eq!(PIPE.line("Wo\nliegt\tder Fluss?"), "Wo liegt der Fluss?\n");
        assert_eq!(narrow(10).line("Wo liegt der Fluss?"), "Wo liegt …\n");
        assert_eq!(narrow(10).line("Wo liegt?"), "Wo liegt?\n");
        // Two columns a character, and none for the vowel signs: kept with their letters.
        assert_eq!(narrow(8).line("河流在哪里?"), "河流在…\n");
        assert_eq!(narrow(5).line("แม่น้ำอยู่ที่ไหน"), "แม่น้ำ…\n");
        assert_eq!(PIPE.line("\u{1b}[31mred"), " [31mred\n");
    }

    #[test]
    fn a_paragraph_breaks_between_words_and_keeps_its_column() {
        let text = "the batches of this dataset hold these questions";
        assert_eq!(PIPE.paragraph("beware  ", text), format!("beware  {text}\n"));
        assert_eq!(
            narrow(40).paragraph("beware  ", text),
            "beware  the batches of this dataset hold\n        these questions\n"
        );
        assert_eq!(
            narrow(25).paragraph("beware  ", text),
            "beware\n    the batches of this\n    dataset hold these\n    questions\n"
        );
        let id = "0123456789012345678901234567890123456789";
        assert_eq!(narrow(20).paragraph("", id), format!("{id}\n"));
        assert_eq!(narrow(20).note("a b"), "  a b\n");
    }
}
