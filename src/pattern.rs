//! Patterns of names, in which `*` stands for any characters.

/// What stands before the last `/` of a path, and what behind it.
pub(crate) fn folder_and_name(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether `name` fits `pattern`.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(tail, &rest[at..]))
        }),
    }
}

/// Whether a path fits a pattern that has its `*` in the last part.
pub(crate) fn fits_path(pattern: &str, path: &str) -> bool {
    let ((pattern_in, pattern), (found_in, found)) = (folder_and_name(pattern), folder_and_name(path));
    pattern_in == found_in && fits(pattern, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("a*.json", "a1.json", true),
            ("a*.json", "a.json", true),
            ("*", "ü", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a*.json", "b1.json", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        assert!(fits_path("a/*.json", "a/b.json") && !fits_path("a/*.json", "a/c/b.json"));
    }
}
