//! Source files: which ones a corpus names, their bytes (whatever they are compressed with, or packed in), their digests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zip::ZipArchive;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::pattern::{fits, fits_path, folder_and_name};
use crate::pipeline::{CorpusSpec, Files, Format, language};
use crate::progress::{Observer, Silent};
use crate::remote;

/// A source file as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// Path below the data folder, or a URL (of a hub: with the commit).
    pub name: String,
    pub bytes: u64,
    pub digest: String,
}

/// What some editors put in front of UTF-8; no part of the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Where a path leads into an archive.
const ZIP_AND_SLASH: &str = ".zip/";
/// Of an archive without the file that was asked for.
const NAMES_SHOWN: usize = 5;

/// One file below the data folder.
#[derive(Clone, Debug)]
pub(super) struct SourceFile {
    /// Path below the data folder, with `/`, or a URL; of a file in an archive it goes on behind that:
    /// `a.zip/folder/b.json`.
    pub(super) name: String,
    /// Of the file, or of the archive that it lies in.
    pub(super) path: PathBuf,
    /// Its name in that archive.
    pub(super) member: Option<String>,
    /// The language that its path stands for; none where a column names it.
    pub(super) lang: Option<String>,
    /// Where its path stands for two: that of the passages, beside `lang` of the questions.
    pub(super) passage_lang: Option<String>,
    pub(super) part: Part,
}

/// What a file is of its corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    /// A file like all others.
    #[default]
    Whole,
    /// Of a collection: its passages.
    Corpus,
    Queries,
    Qrels,
    /// Ids of a question, a relevant passage and one that is not.
    Triples,
}

/// Files that are read one after another, by one reader that knows all their ids: those of a corpus in one language,
/// or of a whole corpus where one file may speak of passages in another language.
pub(super) struct Unit<'a> {
    pub(super) corpus: &'a CorpusSpec,
    pub(super) files: Vec<SourceFile>,
}

impl Unit<'_> {
    /// The language of all its files.
    pub(super) fn lang(&self) -> &str {
        let lang = self.files.first().and_then(|file| file.lang.as_deref());
        lang.expect("only a table reads its languages from a column, and a pattern finds at least one file")
    }
}

/// The units of a corpus, with files found (fetched, where they lie elsewhere) and sorted by name. Nothing is read yet.
pub(super) fn units<'a>(
    corpus: &'a CorpusSpec,
    data: &Path,
    observer: &dyn Observer,
) -> Result<Vec<Unit<'a>>> {
    let unit = |lang: Option<&str>, pattern: &str| -> Result<Unit<'a>> {
        let mut files = find(pattern, data, observer)?;
        check_stems(&files)?;
        files.iter_mut().for_each(|file| file.lang = lang.map(str::to_owned));
        Ok(Unit { corpus, files })
    };
    if corpus.is_of_pairs() {
        let mut files = Vec::new();
        for (query, passage) in corpus.language_pairs() {
            let pattern =
                corpus.path_of_pair((query, passage)).expect("pairs and paths were checked together");
            let of_pair = unit(Some(query), &pattern)?.files;
            let passage_lang = Some(passage.to_owned());
            files.extend(
                of_pair.into_iter().map(|file| SourceFile { passage_lang: passage_lang.clone(), ..file }),
            );
        }
        return Ok(vec![Unit { corpus, files }]);
    }
    if let Some(files) = &corpus.files {
        return corpus.languages.iter().map(|lang| collection(corpus, files, lang, &unit)).collect();
    }
    let units: Vec<Unit> = match &corpus.path {
        None => corpus.paths.iter().map(|(lang, path)| unit(Some(lang), path)).collect::<Result<_>>()?,
        Some(path) if !language::is_in(path) && 1 < corpus.languages.len() => vec![unit(None, path)?],
        Some(path) => {
            let of = |lang: &String| unit(Some(lang), &language::fill(path, lang));
            corpus.languages.iter().map(of).collect::<Result<_>>()?
        }
    };
    if matches!(corpus.format, Format::Table | Format::Bitext | Format::WordLists) {
        let files = units.into_iter().flat_map(|unit| unit.files).collect();
        return Ok(vec![Unit { corpus, files }]);
    }
    Ok(units)
}

/// The parts of a collection in one language.
fn collection<'a>(
    corpus: &'a CorpusSpec,
    files: &Files,
    lang: &str,
    unit: &dyn Fn(Option<&str>, &str) -> Result<Unit<'a>>,
) -> Result<Unit<'a>> {
    let parts = [
        (Part::Corpus, Some(&files.corpus)),
        (Part::Queries, Some(&files.queries)),
        (Part::Qrels, files.qrels.as_ref()),
        (Part::Triples, files.triples.as_ref()),
    ];
    let mut all = Vec::new();
    for (part, path) in parts {
        let Some(path) = path else { continue };
        let found = unit(Some(lang), &language::fill(path, lang)).map_err(|e| match part {
            Part::Corpus => {
                e.with_hint("without its passages a collection has nothing to find: get its corpus, too")
            }
            _ => e,
        })?;
        all.extend(found.files.into_iter().map(|file| SourceFile { part, ..file }));
    }
    Ok(Unit { corpus, files: all })
}

/// Ids of several files carry the file's stem, so two equal ones would mix.
fn check_stems(files: &[SourceFile]) -> Result<()> {
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    for file in files {
        if let Some(other) = known.insert(file.stem(), &file.name) {
            let found = format!("`{other}` has the same name but for its extension, and ids would mix");
            return Err(file.error(None, found).with_hint("rename one, or name a single file"));
        }
    }
    Ok(())
}

/// Whether a pattern names a file. What cannot be looked into is not there.
pub(super) fn is_there(pattern: &str, data: &Path) -> bool {
    find(pattern, data, &Silent).is_ok()
}

/// The files that a pattern names: `*` in its last part stands for anything.
fn find(pattern: &str, data: &Path, observer: &dyn Observer) -> Result<Vec<SourceFile>> {
    if let Some((archive, member)) = pattern.split_once(ZIP_AND_SLASH) {
        let name = format!("{archive}{}", ZIP_AND_SLASH.trim_end_matches('/'));
        if remote::is_remote(&name) {
            let archives = remote::find(&name, observer)?;
            let members = archives
                .into_iter()
                .map(|file| find_in_archive(&SourceFile::at(file.name, file.path), member));
            return Ok(members.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect());
        }
        let path = data.join(&name);
        if path.is_file() {
            return find_in_archive(&SourceFile::at(name, path), member);
        }
    }
    if remote::is_remote(pattern) {
        let fetched = remote::find(pattern, observer)?;
        return Ok(fetched.into_iter().map(|file| SourceFile::at(file.name, file.path)).collect());
    }
    let (folder, name) = folder_and_name(pattern);
    if !name.contains('*') {
        let path = data.join(pattern);
        if !path.exists() {
            return Err(Error::source(pattern, "no such file or folder").with_hint(format!(
                "looked in `{}`; `--data` names the folder that pipeline paths start from",
                data.display()
            )));
        }
        return Ok(vec![SourceFile::at(pattern.to_owned(), path)]);
    }
    let folder_path = data.join(folder);
    let mut names = Vec::new();
    if !folder_path.is_dir() {
        return Err(Error::source(pattern, "no such folder").with_hint(format!(
            "looked for `{}`; `prep corpora` says what else a pipeline needs",
            folder_path.display()
        )));
    }
    for entry in fs::read_dir(&folder_path).map_err(Error::io("list", &folder_path))? {
        let entry = entry.map_err(Error::io("list", &folder_path))?;
        if let Some(found) = entry.file_name().to_str().filter(|found| fits(name, found)) {
            names.push(if folder.is_empty() { found.to_owned() } else { format!("{folder}/{found}") });
        }
    }
    names.sort();
    if names.is_empty() {
        return Err(Error::source(pattern, "no file of such a name")
            .with_hint(format!("looked in `{}`", data.display())));
    }
    let file = |name: String| {
        let path = data.join(&name);
        SourceFile::at(name, path)
    };
    Ok(names.into_iter().map(file).collect())
}

/// The same among the files of a `.zip`.
fn find_in_archive(archive: &SourceFile, pattern: &str) -> Result<Vec<SourceFile>> {
    let zip = archive.open_archive()?;
    let names = zip.file_names().map(|name| name.map(Cow::into_owned));
    let mut names: Vec<String> =
        names.collect::<Result<_, _>>().map_err(|e| archive.unreadable(&e.into()))?;
    names.retain(|name| !name.ends_with('/'));
    names.sort();
    let is_wanted = |found: &str| fits_path(pattern, found);
    if !names.iter().any(|found| is_wanted(found)) {
        let more = if names.len() <= NAMES_SHOWN { "" } else { " and more" };
        names.truncate(NAMES_SHOWN);
        return Err(archive
            .error(None, format!("no file `{pattern}` in it"))
            .with_hint(format!("it holds `{}`{more}", names.join("`, `"))));
    }
    let members = names.into_iter().filter(|found| is_wanted(found));
    let file = |member: String| {
        let name = format!("{}/{member}", archive.name);
        SourceFile { member: Some(member), ..SourceFile::at(name, archive.path.clone()) }
    };
    Ok(members.map(file).collect())
}

impl SourceFile {
    fn at(name: String, path: PathBuf) -> Self {
        Self { name, path, member: None, lang: None, passage_lang: None, part: Part::Whole }
    }

    /// A file inside this one, which is a folder; the first of `names` that is there.
    pub(super) fn child(&self, names: &[&str]) -> Option<Self> {
        names.iter().map(|name| self.join(name)).find(|file| file.path.is_file())
    }

    pub(super) fn join(&self, name: &str) -> Self {
        Self {
            name: format!("{}/{name}", self.name.trim_end_matches('/')),
            path: self.path.join(name),
            member: None,
            lang: self.lang.clone(),
            passage_lang: self.passage_lang.clone(),
            part: self.part,
        }
    }

    /// The languages of its questions and passages, as far as its path stands for them.
    pub(super) fn languages(&self) -> (Option<&str>, Option<&str>) {
        (self.lang.as_deref(), self.passage_lang.as_deref())
    }

    /// Name without folders and extension, compression aside: tells the files of one language apart.
    pub(super) fn stem(&self) -> &str {
        let name = self.plain_name();
        let name = name.rsplit_once('/').map_or(name, |(_, name)| name);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }

    fn plain_name(&self) -> &str {
        self.name.strip_suffix(".gz").or(self.name.strip_suffix(".zst")).unwrap_or(&self.name)
    }

    /// What kind of file it is, by its extension, compression aside: `json`, `jsonl`, `csv`...
    pub(super) fn extension(&self) -> &str {
        self.plain_name().rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// This file (or the archive that it lies in) for the manifest, or the files of this folder and of the folders in
    /// it.
    pub(super) fn inputs(&self) -> Result<Vec<Input>> {
        if !self.path.is_dir() {
            let (digest, bytes) = Digest::of_file(&self.path)?;
            let inside = self.member.as_ref().map_or(0, |member| member.len() + 1);
            let name = self.name[..self.name.len() - inside].to_owned();
            return Ok(vec![Input { name, bytes, digest: digest.to_string() }]);
        }
        let mut inputs = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(Error::io("list", &self.path))? {
            let name = entry.map_err(Error::io("list", &self.path))?.file_name();
            let name = name.to_str().ok_or_else(|| self.error(None, "a file name that is not UTF-8"))?;
            inputs.extend(self.join(name).inputs()?);
        }
        Ok(inputs)
    }

    /// The whole text.
    pub(super) fn text(&self) -> Result<String> {
        let mut bytes = Vec::new();
        self.reader()?.read_to_end(&mut bytes).map_err(|e| self.unreadable(&e))?;
        if bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        String::from_utf8(bytes)
            .map_err(|e| self.error(Some(format!("byte {}", e.utf8_error().valid_up_to())), "invalid UTF-8"))
    }

    /// Calls `each` with every line that is not blank, and its number from 1.
    pub(super) fn for_each_line(&self, mut each: impl FnMut(u64, &str) -> Result<()>) -> Result<()> {
        self.for_every_line(|number, line| if line.trim().is_empty() { Ok(()) } else { each(number, line) })?;
        Ok(())
    }

    /// The same with blank lines; how many lines there are.
    pub(super) fn for_every_line(&self, mut each: impl FnMut(u64, &str) -> Result<()>) -> Result<u64> {
        let mut reader = self.reader()?;
        let (mut line, mut number, mut at) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line).map_err(|e| self.unreadable(&e))?;
            if n == 0 {
                return Ok(number);
            }
            number += 1;
            let text = std::str::from_utf8(&line).map_err(|e| {
                let place = format!("byte {} (line {number})", at + e.valid_up_to());
                self.error(Some(place), "invalid UTF-8")
            })?;
            let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
            each(number, text.trim_end_matches(['\n', '\r']))?;
            at += n;
        }
    }

    /// The bytes, decompressed.
    pub(super) fn reader(&self) -> Result<Box<dyn BufRead>> {
        let packed: Box<dyn BufRead> = match &self.member {
            Some(member) => Box::new(Cursor::new(self.unpacked(member)?)),
            None => {
                let file = File::open(&self.path).map_err(Error::io("open source", &self.path))?;
                Box::new(BufReader::with_capacity(1 << 16, file))
            }
        };
        Ok(match self.name.rsplit_once('.') {
            Some((_, "gz")) => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(packed))),
            Some((_, "zst")) => {
                Box::new(BufReader::new(zstd::Decoder::with_buffer(packed).map_err(|e| self.unreadable(&e))?))
            }
            _ => packed,
        })
    }

    /// A file of the archive, whole; its checksum is compared on the way.
    fn unpacked(&self, member: &str) -> Result<Vec<u8>> {
        let mut zip = self.open_archive()?;
        let mut file = zip.by_name(member).map_err(|e| self.unreadable(&e.into()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|e| self.unreadable(&e))?;
        Ok(bytes)
    }

    fn open_archive(&self) -> Result<ZipArchive<BufReader<File>>> {
        let file = File::open(&self.path).map_err(Error::io("open source", &self.path))?;
        ZipArchive::new(BufReader::new(file)).map_err(|e| self.unreadable(&e.into()))
    }

    pub(super) fn error(&self, place: Option<String>, found: impl Into<String>) -> Error {
        Error::Source { file: self.name.clone(), place, found: found.into(), hint: None }
    }

    /// A file that breaks off, or is not compressed as its name says.
    pub(super) fn unreadable(&self, e: &io::Error) -> Error {
        let found = match e.kind() {
            io::ErrorKind::UnexpectedEof => "the compressed data breaks off before its end".to_owned(),
            _ => e.to_string(),
        };
        self.error(None, found).with_hint("copy or download the file again, and compare its checksum")
    }
}
