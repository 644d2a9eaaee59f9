//! Names of languages: BCP 47 tags, and what corpora call the same languages (`zh_cn`, `cmn`, `thai`, `swa`).
//!
//! A pipeline's tags name pools and stand in every id, so they are never changed: one that is no tag of BCP 47, or not the
//! shortest for its language, is refused with the one to write (what a manifest has is read as it is). What a *record* calls its language is matched to the
//! pipeline's tags by [`among`].

use std::iter;

/// A language to a line: its tag, the codes of ISO 639-2 and 639-3 for it and what it encompasses where corpora write one
/// for the other, its name in English. The two-letter codes of ISO 639-1, and the languages without one that retrieval
/// corpora have.
const LANGUAGES: &str = include_str!("languages.txt");

/// The tag that a name stands for: `thai` is `th`, `zh_cn` is `zh-CN`, `zho_Hans` is `zh-Hans`. None for what is no
/// language that anybody here knows of.
pub(crate) fn tag_of(name: &str) -> Option<String> {
    let name = name.replace('_', "-");
    let (language, rest) = name.split_once('-').map_or((name.as_str(), None), |(a, b)| (a, Some(b)));
    let language = language.to_ascii_lowercase();
    let known = lines().find(|names| names.contains(&language.as_str())).map(|names| names[0]);
    // Codes of three letters that the list has no other name for are what ISO 639-3 makes of them.
    let is_code = language.len() == 3 && language.bytes().all(|b| b.is_ascii_lowercase());
    let tag = known.or(is_code.then_some(language.as_str()))?;
    let parts = rest.into_iter().flat_map(|rest| rest.split('-')).map(in_usual_case);
    Some(iter::once(tag.to_owned()).chain(parts).collect::<Vec<_>>().join("-"))
}

/// The tag among these that a record means with `name`, if any.
pub(crate) fn among<'a>(tags: &'a [String], name: &str) -> Option<&'a str> {
    let mut tags = tags.iter().map(String::as_str);
    tags.clone().find(|tag| *tag == name).or_else(|| tags.find(|tag| means(tag, name)))
}

/// Whether a record that names its language so means this tag: `zh_cn` means `zh-CN`, `thai` means `th`.
pub(crate) fn means(tag: &str, name: &str) -> bool {
    tag.eq_ignore_ascii_case(&name.replace('_', "-"))
        || tag_of(name).is_some_and(|known| tag.eq_ignore_ascii_case(&known))
}

/// What a path has for the tag of a language, and for its name in English (`thai`).
const LANG: &str = "{lang}";
const LANGUAGE: &str = "{language}";

/// Whether a path differs by language.
pub(crate) fn is_in(path: &str) -> bool {
    path.contains(LANG) || path.contains(LANGUAGE)
}

/// The path of a language. A language without an English name here is called by its tag.
pub(crate) fn fill(path: &str, tag: &str) -> String {
    let language = tag.split('-').next().unwrap_or(tag);
    let names = lines().find(|names| names[0] == language).unwrap_or_default();
    let name = names.into_iter().find(|name| 3 < name.len()).unwrap_or(tag);
    path.replace(LANG, tag).replace(LANGUAGE, name)
}

/// Well-formed as BCP 47 has it: parts of one to eight letters or digits, joined by hyphens.
pub(super) fn is_tag(tag: &str) -> bool {
    let part_fits =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    tag.split('-').all(part_fits)
}

/// Whether a tag is the one for its language, and if not, what to write. Private tags (`x-...`) are nobody's business.
pub(super) fn check(tag: &str) -> Result<(), String> {
    let language = tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    let known = tag_of(tag);
    let is_shortest = known.as_deref().is_some_and(|known| known.split('-').next() == Some(&language));
    // `EN` beside `en` would be another language to every batch. (What is private keeps its letters.)
    let is_in_usual_case = known.as_deref() == Some(tag) || tag.contains("-x-");
    if language == "x" || is_shortest && is_in_usual_case {
        return Ok(());
    }
    if is_shortest {
        return Err(format!("`{tag}` is not in the letters of BCP 47{}", meant(tag)));
    }
    let found =
        if known.is_some() { "is not the tag of its language" } else { "is no language that is known" };
    Err(format!("`{tag}` {found}{}", meant(tag)))
}

/// Slips that are no code of a language, but of its country or an older one.
const SLIPS: [(&str, &str); 9] = [
    ("jp", "ja"),
    ("cn", "zh"),
    ("kr", "ko"),
    ("iw", "he"),
    ("in", "id"),
    ("ua", "uk"),
    ("gr", "el"),
    ("cz", "cs"),
    ("dk", "da"),
];

/// What was probably meant by a name that is no tag, as the end of a message: the language that it names, or the one
/// whose name is nearest.
pub(super) fn meant(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let slip = || SLIPS.iter().find(|(slip, _)| *slip == lower).map(|(_, tag)| (*tag).to_owned());
    let nearest = || {
        let named = lines().flat_map(|names| {
            let tag = names[0];
            names.into_iter().map(move |name| (name, tag))
        });
        let near = named.filter(|(name, _)| 3 < name.len() && 3 < lower.len());
        let is_other = |name: &str| name.chars().next() != lower.chars().next();
        let (least, _, tag) = near.map(|(name, tag)| (distance(name, &lower), is_other(name), tag)).min()?;
        (least <= 2).then(|| tag.to_owned())
    };
    match tag_of(name).or_else(slip).or_else(nearest) {
        Some(tag) => format!("; did you mean `{tag}`? Files that are called otherwise go into `paths`"),
        None => String::new(),
    }
}

/// How many letters to change, add or take away (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn lines() -> impl Iterator<Item = Vec<&'static str>> {
    LANGUAGES.lines().map(|line| line.split(' ').collect())
}

/// As BCP 47 recommends: scripts `Hant`, regions `CN`, all else in small letters.
fn in_usual_case(part: &str) -> String {
    match part.len() {
        2 => part.to_ascii_uppercase(),
        4 if part.bytes().all(|b| b.is_ascii_alphabetic()) => {
            part[..1].to_ascii_uppercase() + &part[1..].to_ascii_lowercase()
        }
        _ => part.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_field_have_one_tag_each() {
        for (name, tag) in [
            ("zh_cn", "zh-CN"),
            ("cmn", "zh"),
            ("zho_Hans", "zh-Hans"),
            ("thai", "th"),
            ("Thai", "th"),
            ("swa", "sw"),
            ("swh", "sw"),
            ("sw", "sw"),
            ("arb", "ar"),
            ("fil", "fil"),
            ("bem", "bem"),
            ("twi", "tw"),
            ("deu_Latn", "de-Latn"),
        ] {
            assert_eq!(tag_of(name).as_deref(), Some(tag), "{name}");
        }
        for name in ["", "klingonese", "xx", "1", "deutsh"] {
            assert_eq!(tag_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_language_has_one_line_and_a_name_means_one_language() {
        let mut names: Vec<&str> = lines().flatten().collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }

    #[test]
    fn a_record_means_the_tag_that_the_pipeline_has() {
        let tags = ["zh-cn", "zh-Hant", "sw", "thai"].map(str::to_owned);
        assert_eq!(among(&tags, "zh_cn"), Some("zh-cn"));
        assert_eq!(among(&tags, "zho_Hant"), Some("zh-Hant"));
        assert_eq!(among(&tags, "swahili"), Some("sw"));
        assert_eq!(among(&tags, "thai"), Some("thai"));
        assert_eq!(among(&tags, "zh"), None);
    }
}
