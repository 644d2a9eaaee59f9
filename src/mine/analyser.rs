//! From a text to its terms: words of Unicode and ICU's dictionaries, folded, and stemmed by Snowball where it knows the
//! language. What differs between languages is here and nowhere else.

use std::borrow::Cow;

use frostem::Stemmer;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

use crate::words::{has_dotless_i, words};

/// What makes terms of the texts of one language.
pub(super) struct Analyser {
    stemmer: Option<Stemmer>,
    /// The small letter of I is ı, and that of İ is i.
    has_dotless_i: bool,
}

impl Analyser {
    pub(super) fn of(lang: &str) -> Self {
        let language = lang.split('-').next().unwrap_or(lang).to_ascii_lowercase();
        let name = match language.as_str() {
            // Both written forms of Norwegian have one stemmer.
            "nb" | "nn" => "no",
            other => other,
        };
        Self { stemmer: Stemmer::try_from_name(name).ok(), has_dotless_i: has_dotless_i(&language) }
    }

    /// The terms of a text, in order.
    pub(super) fn terms<'a>(&'a self, text: &'a str) -> impl Iterator<Item = String> + 'a {
        words(text).map(move |word| {
            let folded = self.folded(&text[word]);
            match self.stemmer {
                Some(stemmer) => stemmer.stem(&folded).into_owned(),
                None => folded,
            }
        })
    }

    /// NFKC and small letters.
    fn folded(&self, word: &str) -> String {
        let word = match is_nfkc_quick(word.chars()) {
            IsNormalized::Yes => Cow::Borrowed(word),
            _ => Cow::Owned(word.nfkc().collect()),
        };
        match self.has_dotless_i {
            true => word.replace('I', "ı").replace('İ', "i").to_lowercase(),
            false => word.to_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(lang: &str, text: &str) -> Vec<String> {
        Analyser::of(lang).terms(text).collect()
    }

    /// Stems by the demonstration of snowballstem.org; of Thai, Chinese and Vietnamese there is no stemmer.
    #[test]
    fn words_are_folded_and_stemmed_by_language() {
        assert_eq!(terms("en", "Running, the RUNNERS ran"), ["run", "the", "runner", "ran"]);
        assert_eq!(terms("de-CH", "Die Häuser"), ["die", "haus"]);
        assert_eq!(terms("nb", "bilene"), terms("no", "bilene"));
        assert_eq!(terms("tr", "IŞIK İzmir"), ["ışık", "izmir"]);
        assert_eq!(terms("zh", "我们是学生。"), ["我们", "是", "学生"]);
        assert_eq!(terms("x-new", "ＡＢＣ ﬁne"), ["abc", "fine"]);
    }
}
