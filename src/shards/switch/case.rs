//! A translation in the case of the word that it stands for.

use std::borrow::Cow;

use crate::words::has_dotless_i;

/// UPPER CASE and Capitalised words give such translations; for all others it stands as the lexicon has it.
///
/// `lang` is that of the translation. A single capital (`I`, `A`) is a capitalised word.
pub(super) fn in_case_of<'a>(word: &str, translation: &'a str, lang: &str) -> Cow<'a, str> {
    let n_upper = word.chars().filter(|c| c.is_uppercase()).count();
    let has_lower = word.chars().any(char::is_lowercase);
    let upper = |text: &str| match has_dotless_i(lang) {
        true => text.replace('i', "İ").to_uppercase(),
        false => text.to_uppercase(),
    };
    if 2 <= n_upper && !has_lower {
        return upper(translation).into();
    }
    let mut letters = translation.chars();
    match letters.next() {
        Some(first) if word.starts_with(char::is_uppercase) => {
            (upper(first.encode_utf8(&mut [0; 4])) + letters.as_str()).into()
        }
        _ => translation.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_translation_takes_the_case_of_its_word() {
        for (word, translation, lang, expected) in [
            ("house", "Haus", "de", "Haus"),
            ("House", "casa", "es", "Casa"),
            ("HOUSE", "casa grande", "es", "CASA GRANDE"),
            ("I", "ich", "de", "Ich"),
            ("iPhone", "teléfono", "es", "teléfono"),
            ("McDonald", "él", "es", "Él"),
            ("B2B", "straße", "de", "STRASSE"),
            ("River", "ırmak", "tr", "Irmak"),
            ("In", "içinde", "tr", "İçinde"),
            ("IN", "içinde", "tr", "İÇİNDE"),
            ("House", "บ้าน", "th", "บ้าน"),
            ("家", "house", "en", "house"),
            ("1", "eins", "de", "eins"),
        ] {
            assert_eq!(in_case_of(word, translation, lang), expected, "{word}");
        }
    }
}
