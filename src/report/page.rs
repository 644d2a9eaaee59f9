//! The page around everything: one HTML file that needs nothing else, no script, no network.
//!
//! `maud` escapes every text that is put into markup, so what a file says can never become markup. What it cannot see
//! are characters that HTML has no place for and those that turn the direction of the text around them; they are shown
//! by their numbers.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");
/// Fetches nothing, runs nothing: a browser holds the page to it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// A part of the page, with a heading of its own.
pub(super) struct Section {
    /// What links lead to.
    pub(super) id: String,
    pub(super) heading: String,
    pub(super) body: Markup,
}

/// The whole page.
pub(super) fn page(title: &str, lead: &str, sections: &[Section]) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "prep " (env!("CARGO_PKG_VERSION")) };
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    p.eyebrow { "prep report" }
                    h1 { bdi { (title) } }
                    p.lead { (lead) }
                    nav aria-label="Sections" {
                        ul { @for section in sections { li { a href={ "#" (section.id) } { bdi { (section.heading) } } } } }
                    }
                }
                main #content tabindex="-1" {
                    @for Section { id, heading, body } in sections {
                        section #(id) aria-labelledby={ (id) "-heading" } {
                            h2 id={ (id) "-heading" } { bdi { (heading) } }
                            (body)
                        }
                    }
                }
                footer {
                    p { "Made by prep " (env!("CARGO_PKG_VERSION")) ". This page is complete in itself." }
                }
            }
        }
    };
    let mut text = visible(&markup.into_string());
    text.push('\n');
    text
}

/// A table that is scrolled sideways where it is too wide; the keyboard gets there, too.
pub(super) fn scrolled(label: &str, table: &Markup) -> Markup {
    html! { div.scroll role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// The table behind a chart.
pub(super) fn numbers(label: &str, table: &Markup) -> Markup {
    html! {
        details {
            summary { "Numbers" span.hidden { ": " (label) } }
            (scrolled(label, table))
        }
    }
}

/// A chart with its heading, what is to be known to read it, and the table behind it.
pub(super) fn figure(heading: &str, note: &str, chart: &Markup, behind: &Markup) -> Markup {
    html! {
        figure {
            figcaption {
                h4 { bdi { (heading) } }
                @if !note.is_empty() { p { (note) } }
            }
            (chart)
            (behind)
        }
    }
}

/// Names and values.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! { dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}

/// A text of a file, with its direction and language.
pub(super) fn quoted(text: &str, lang: &str) -> Markup {
    html! { span dir="auto" lang=(lang) { (text) } }
}

/// The same with the numbers of characters that cannot be seen but change what is: controls, marks and overrides of
/// direction, breaks of lines and paragraphs.
fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
            || (c.is_control() && !matches!(c, '\n' | '\t'))
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_text_around_is_shown_by_its_number() {
        assert_eq!(visible("a\u{202e}b\u{0}\n\tc\u{200f}"), "a⟨U+202E⟩b⟨U+0000⟩\n\tc⟨U+200F⟩");
        assert_eq!(visible("فارسی می\u{200c}نویسد"), "فارسی می\u{200c}نویسد", "joiners belong to words");
    }

    #[test]
    fn markup_in_a_text_is_text() {
        let hostile = r#"</title></style><script>alert("1")</script>]]>' & -->"#;
        let section =
            Section { id: "a".to_owned(), heading: hostile.to_owned(), body: quoted(hostile, hostile) };
        let page = page(hostile, hostile, &[section]);
        assert!(!page.contains("<script") && !page.contains("alert(\""), "{page}");
        assert_eq!(page.matches("</style>").count(), 1);
    }
}
