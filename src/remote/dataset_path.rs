//! `hf://datasets/ORGANISATION/NAME@REVISION/PATH`, as `huggingface_hub`'s file system writes it.

/// The revision of a URL that has none.
const DEFAULT_REVISION: &str = "main";
const PREFIX: &str = "hf://datasets/";

/// A file, or a pattern of files, of a dataset repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatasetPath {
    /// `organisation/name`
    pub(super) repository: String,
    pub(super) revision: String,
    pub(super) path: String,
}

impl DatasetPath {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let wrong = |found: &str| format!("`{url}` {found}: write `hf://datasets/ORG/NAME@REVISION/PATH`");
        let rest = url.strip_prefix(PREFIX).ok_or_else(|| wrong("names no dataset"))?;
        let (organisation, rest) = rest.split_once('/').ok_or_else(|| wrong("names no file"))?;
        let end = rest.find(['/', '@']).ok_or_else(|| wrong("names no file"))?;
        let (name, rest) = rest.split_at(end);
        let (revision, path) = match rest.strip_prefix('@') {
            None => (DEFAULT_REVISION.to_owned(), &rest[1..]),
            Some(rest) => revision_and_path(rest).ok_or_else(|| wrong("names no file"))?,
        };
        let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if organisation.is_empty() || name.is_empty() || revision.is_empty() {
            return Err(wrong("names no dataset"));
        }
        if !path.split('/').all(plain) {
            return Err(wrong("has a path that leads elsewhere"));
        }
        if crate::pattern::folder_and_name(path).0.contains('*') {
            return Err(wrong("has a `*` before the last part of its path"));
        }
        Ok(Self { repository: format!("{organisation}/{name}"), revision, path: path.to_owned() })
    }

    /// The URL of a file at a revision.
    pub(super) fn url(&self, revision: &str, path: &str) -> String {
        format!("{PREFIX}{}@{}/{path}", self.repository, revision.replace('/', "%2F"))
    }
}

/// A revision ends at the first `/`. Its own are written `%2F`; of the refs that the hub makes itself (pull requests,
/// conversions to Parquet) they may stand as they are.
fn revision_and_path(text: &str) -> Option<(String, &str)> {
    let own =
        ["refs/pr/", "refs/convert/"].iter().find(|own| text.starts_with(**own)).map_or(0, |own| own.len());
    let end = own + text[own..].find('/')?;
    Some((text[..end].replace("%2F", "/").replace("%2f", "/"), &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_dataset_a_revision_and_a_path() {
        for (url, repository, revision, path) in [
            ("hf://datasets/o/n/a/b.parquet", "o/n", "main", "a/b.parquet"),
            ("hf://datasets/o/n@v1.0/a-*.jsonl", "o/n", "v1.0", "a-*.jsonl"),
            ("hf://datasets/o/n@refs/convert/parquet/x/a", "o/n", "refs/convert/parquet", "x/a"),
            ("hf://datasets/o/n@refs%2Fpr%2F2/a", "o/n", "refs/pr/2", "a"),
            ("hf://datasets/o/n@my%2Fbranch/a", "o/n", "my/branch", "a"),
        ] {
            let parsed = DatasetPath::parse(url).unwrap();
            let found = (parsed.repository.as_str(), parsed.revision.as_str(), parsed.path.as_str());
            assert_eq!(found, (repository, revision, path));
            let again = parsed.url(&parsed.revision, &parsed.path);
            assert_eq!(DatasetPath::parse(&again).unwrap(), parsed);
        }
        for bad in [
            "hf://models/o/n/a",
            "hf://datasets/n",
            "hf://datasets/o/n",
            "hf://datasets/o/n@v1",
            "hf://datasets/o/n/",
            "hf://datasets/o/n/../a",
            "hf://datasets/o/n/*/a",
            "hf://datasets//n/a",
        ] {
            assert!(
                DatasetPath::parse(bad).unwrap_err().contains("hf://datasets/ORG/NAME@REVISION/PATH"),
                "{bad}"
            );
        }
    }
}
