//! Where the words of a text are: by Unicode's rules (UAX #29), and by ICU's dictionaries in scripts that put no space
//! between words (Thai, Chinese, Japanese, Khmer, Lao, Burmese).

use std::ops::Range;

use icu_segmenter::WordSegmenter;
use icu_segmenter::options::WordBreakInvariantOptions;

/// Byte ranges of the words of a text, in order: what has a letter or a digit, without spaces and punctuation.
///
/// No language is asked for: a text's script decides what is looked up where.
pub(crate) fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let segmenter = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
    let mut start = 0;
    let mut found = Vec::new();
    for end in segmenter.segment_str(text) {
        // Not by the segmenter's own word types: to them a word that ends in a vowel sign, as most of Hindi do, is none.
        if text[start..end].contains(char::is_alphanumeric) {
            found.push(start..end);
        }
        start = end;
    }
    found.into_iter()
}

/// Whether a language tells i from ı: Turkish and Azerbaijani, whose capitals are İ and I.
pub(crate) fn has_dotless_i(tag: &str) -> bool {
    matches!(tag.split('-').next(), Some("tr" | "az"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        words(text).map(|word| &text[word]).collect()
    }

    /// By UAX #29 and by the dictionaries of these languages.
    #[test]
    fn words_are_found_in_every_script() {
        assert_eq!(split("Can't stop, 3.5 kg!"), ["Can't", "stop", "3.5", "kg"]);
        assert_eq!(split("ภาษาไทยง่าย"), ["ภาษา", "ไทย", "ง่าย"]);
        assert_eq!(split("我们是学生。"), ["我们", "是", "学生"]);
        assert_eq!(split("これは本です"), ["これ", "は", "本", "です"]);
        assert_eq!(split("Привет, мир"), ["Привет", "мир"]);
        assert_eq!(split("नदी में पानी है।"), ["नदी", "में", "पानी", "है"]);
        assert_eq!(split("cafe\u{301}s"), ["cafe\u{301}s"]);
        assert!(split(" … ?").is_empty() && split("").is_empty());
    }
}
