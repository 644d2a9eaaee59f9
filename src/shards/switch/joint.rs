//! Where a replaced word and its neighbour meet with no space between them, as Chinese and Thai write and German does not.
//!
//! `schemas/SAMPLING.md`, section 9. By code points alone: neither a language nor a dictionary is asked.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Blocks of scripts written without spaces between words: those with letters of the classes SA, ID, CJ and NS of UAX #14.
/// Of these classes the letters of Hangul and the wide and enclosed forms of Latin letters and digits are left out.
const WITHOUT_SPACES: [(u32, u32); 18] = [
    (0x0E00, 0x0EFF),   // Thai, Lao
    (0x1000, 0x109F),   // Myanmar
    (0x1780, 0x17FF),   // Khmer
    (0x1950, 0x19FF),   // Tai Le, New Tai Lue, Khmer Symbols
    (0x1A20, 0x1AAF),   // Tai Tham
    (0x2E80, 0x312F),   // CJK and Kangxi Radicals, CJK Symbols, Hiragana, Katakana, Bopomofo
    (0x3190, 0x31FF),   // Kanbun, Bopomofo Extended, CJK Strokes, Katakana Phonetic Extensions
    (0x3400, 0x9FFF),   // CJK Unified Ideographs with Extension A
    (0xA000, 0xA4CF),   // Yi
    (0xA9E0, 0xA9FF),   // Myanmar Extended-B
    (0xAA60, 0xAADF),   // Myanmar Extended-A, Tai Viet
    (0xF900, 0xFAFF),   // CJK Compatibility Ideographs
    (0xFF66, 0xFF9F),   // halfwidth Katakana
    (0x116D0, 0x116FF), // Myanmar Extended-C
    (0x11700, 0x1174F), // Ahom
    (0x16FE0, 0x18DFF), // Ideographic Symbols, Tangut, Khitan Small Script
    (0x1AFF0, 0x1B2FF), // Kana Extended and Supplement, Nushu
    (0x20000, 0x3FFFF), // the planes of further ideographs
];

/// Appends what follows in a text with words switched, behind a space where it would run into what stands there.
pub(super) fn append(text: &mut String, next: &str) {
    // A mark belongs to what it stands on: an ideograph or an emoji may end in a variation selector.
    let last = text.chars().rev().find(|c| c.general_category_group() != GeneralCategoryGroup::Mark);
    if last.zip(next.chars().next()).is_some_and(|(last, first)| needs_space(last, first)) {
        text.push(' ');
    }
    text.push_str(next);
}

fn needs_space(last: char, first: char) -> bool {
    [last, first].into_iter().all(|c| is_of_word(c) && !is_without_spaces(c))
}

fn is_of_word(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Mark, Number};
    matches!(c.general_category_group(), Letter | Mark | Number)
}

fn is_without_spaces(c: char) -> bool {
    let c = u32::from(c);
    WITHOUT_SPACES.iter().any(|&(first, last)| first <= c && c <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(parts: &[&str]) -> String {
        let mut text = String::new();
        parts.iter().for_each(|part| append(&mut text, part));
        text
    }

    /// The test vectors of the specification, as parts: what is before a switched word, its translation, what is after.
    #[test]
    fn a_space_stands_where_two_words_would_run_together() {
        for (parts, expected) in [
            (&["", "und", "", "Stelle", ""][..], "und Stelle"),
            (&["abc", "und", ""], "abc und"),
            (&["", "Haus", "abc"], "Haus abc"),
            (&["3", "years", ""], "3 years"),
            (&["", "year", "2"], "year 2"),
            (&["３", "years", ""], "３ years"),
            (&["는", "house", "서"], "는 house 서"),
            (&["cafe\u{301}", "house", ""], "cafe\u{301} house"),
            (&["की", "house", ""], "की house"),
            // A script without spaces on either side.
            (&["", "house", "は"], "houseは"),
            (&["abc", "บ้าน", "abc"], "abcบ้านabc"),
            (&["ー", "house", "ｱ"], "ーhouseｱ"),
            (&["漢\u{E0100}", "house", ""], "漢\u{E0100}house"),
            (&["か\u{3099}", "house", ""], "か\u{3099}house"),
            (&["๓", "years", ""], "๓years"),
            // Nothing that is part of a word.
            (&["„", "house", "“"], "„house“"),
            (&["a ", "house", " b"], "a house b"),
            (&["-", "house", "-"], "-house-"),
            (&["😀", "house", "😀"], "😀house😀"),
            (&["\u{2764}\u{FE0F}", "house", ""], "\u{2764}\u{FE0F}house"),
            (&["བོད་", "house", ""], "བོད་house"),
            (&["\u{301}", "house", ""], "\u{301}house"),
            (&["", "house", ""], "house"),
        ] {
            assert_eq!(joined(parts), expected);
        }
    }

    #[test]
    fn blocks_ascend_and_do_not_overlap() {
        assert!(WITHOUT_SPACES.is_sorted_by(|a, b| a.0 <= a.1 && a.1 < b.0));
    }
}
