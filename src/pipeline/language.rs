//! Names of languages: BCP 47 tags, and what corpora call the same languages (`zh_cn`, `cmn`, `thai`, `swa`).
//!
//! A pipeline's tags name pools and stand in every id. What its author writes is brought to BCP 47 once ([`normalised`]); what
//! a manifest has is read as it is. What a *record* calls its language is matched to the pipeline's tags by [`among`].

use std::collections::HashMap;
use std::iter;
use std::sync::LazyLock;

use isolang::Language;

/// A language to a line: its tag, the codes of ISO 639-2 and 639-3 for it and what it encompasses where corpora write one
/// for the other, its name in English. The two-letter codes of ISO 639-1, and the languages without one that retrieval
/// corpora have.
const LANGUAGES: &str = include_str!("languages.txt");

/// The tag of each name: records of a corpus name their languages, one after another.
static TAGS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let named = lines().flat_map(|names| {
        let tag = names[0];
        names.into_iter().map(move |name| (name, tag))
    });
    named.collect()
});

/// The tag that a name stands for: `thai` is `th`, `zh_cn` is `zh-CN`, `zho_Hans` is `zh-Hans`. None for what is no
/// language that anybody here knows of, and for what no tag of BCP 47 has behind its language.
pub(crate) fn tag_of(name: &str) -> Option<String> {
    let name = name.replace('_', "-");
    let mut parts = name.split('-');
    let language = parts.next()?.to_ascii_lowercase();
    let known = TAGS.get(language.as_str()).copied();
    // Codes of three letters that the list has no other name for are what ISO 639-3 makes of them.
    let tag = known.or_else(|| is_code(&language).then_some(language.as_str()))?;
    let rest: Vec<&str> = parts.collect();
    subtags(&rest).map(|rest| iter::once(tag.to_owned()).chain(rest).collect::<Vec<_>>().join("-"))
}

/// Of ISO 639-3; `qaa` to `qtz` are for private use.
fn is_code(language: &str) -> bool {
    Language::from_639_3(language).is_some() || is_private(language)
}

fn is_private(code: &str) -> bool {
    matches!(code.as_bytes(), [b'q', b'a'..=b't', b'a'..=b'z'])
}

/// What stands behind the language, in the order and the letters of BCP 47 (RFC 5646, 2.1): a script (`Hant`), a region
/// (`CN`, `419`), variants, and from a single letter on whatever its extension has. None where it is none of these.
fn subtags(parts: &[&str]) -> Option<Vec<String>> {
    let is = |part: &str, n: usize, of: fn(&u8) -> bool| part.len() == n && part.bytes().all(|b| of(&b));
    let letters = |part: &str, n: usize| is(part, n, u8::is_ascii_alphabetic);
    if !parts.iter().all(|part| is_tag(part)) {
        return None;
    }
    let mut all = Vec::new();
    let mut rest = parts;
    if let [script, more @ ..] = rest
        && letters(script, 4)
    {
        all.push(script[..1].to_ascii_uppercase() + &script[1..].to_ascii_lowercase());
        rest = more;
    }
    if let [region, more @ ..] = rest
        && (letters(region, 2) || is(region, 3, u8::is_ascii_digit))
    {
        all.push(region.to_ascii_uppercase());
        rest = more;
    }
    while let [variant, more @ ..] = rest
        && (5..=8).contains(&variant.len()) | (variant.len() == 4 && variant.as_bytes()[0].is_ascii_digit())
    {
        all.push(variant.to_ascii_lowercase());
        rest = more;
    }
    match rest {
        [] => Some(all),
        // What is private keeps its letters.
        [single, _, ..] if single.len() == 1 => {
            all.extend(rest.iter().map(|part| (*part).to_owned()));
            Some(all)
        }
        _ => None,
    }
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
pub(super) const LANG: &str = "{lang}";
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

/// The tag of BCP 47 for what a pipeline calls a language, or what is wrong with it.
pub(super) fn normalised(name: &str) -> Result<String, String> {
    // Private tags (`x-...`) are nobody's business.
    if name.starts_with("x-") && is_tag(name) {
        return Ok(name.to_owned());
    }
    tag_of(name).ok_or_else(|| match name.split(['-', '_']).next().and_then(tag_of) {
        Some(language) if is_tag(&name.replace('_', "-")) => format!(
            "`{name}` is no tag of BCP 47: what stands behind `{language}` is not a script (`Hant`), a region (`CN`) or a variant"
        ),
        _ => format!("`{name}` is no language that is known; {}", meant(name)),
    })
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

/// What was probably meant by a name that is no language, as the end of a message: the one whose name is nearest.
fn meant(name: &str) -> String {
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
    match slip().or_else(nearest) {
        Some(tag) => format!("did you mean `{tag}`? Files that are called otherwise go into `paths`"),
        None => "a tag is such as `de` or `zh-Hant`".to_owned(),
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
            ("EN-gb", "en-GB"),
            ("zh-hant-hk", "zh-Hant-HK"),
            ("es-419", "es-419"),
            ("sl-rozaj-1994", "sl-rozaj-1994"),
            ("de-x-S1", "de-x-S1"),
            ("qab", "qab"),
        ] {
            assert_eq!(tag_of(name).as_deref(), Some(tag), "{name}");
        }
        for name in [
            "",
            "klingonese",
            "xx",
            "1",
            "deutsh",
            "xqq",
            "en-foo",
            "en--",
            "de-ab!cd",
            "de-CH-Latn",
            "en-x",
            "zh-",
        ] {
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
