//! `corpus/lookup.bin`: the [`Index`] of a corpus as flat arrays, so that one batch of a large corpus can be derived by
//! reading a few hundred numbers instead of every id.
//!
//! It is a cache of the corpus tables and no part of the dataset id: it may be deleted, and `prep verify` compares it
//! with what the tables give. Layout: the magic line, the length of a JSON header (u64le), the header (each array's
//! name, place and length), then the arrays, little-endian, each at a multiple of 8 bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::StringViewArray;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pairs::{Candidates, Contexts, Groups, Index, Lists, Numbers, Side, Stored, read_at};

pub(super) const LOOKUP: &str = "corpus/lookup.bin";
const MAGIC: &[u8; 16] = b"prep lookup 1\n\0\0";

#[derive(Default, Serialize, Deserialize)]
struct Header {
    queries: Vec<SideEntry>,
    passages: Vec<SideEntry>,
    /// Array name to (first byte, elements).
    arrays: BTreeMap<String, (u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct SideEntry {
    dataset: String,
    lang: String,
    first_group: u32,
}

/// The bytes of the file.
pub(super) fn to_bytes(index: &Index, groups: &Groups) -> Vec<u8> {
    let mut header = Header::default();
    let mut body = Body::default();
    for (kind, sides, entries) in [
        ("queries", &index.queries, &mut header.queries),
        ("passages", &index.passages, &mut header.passages),
    ] {
        for (at, ((dataset, lang), side)) in sides.iter().enumerate() {
            entries.push(SideEntry {
                dataset: dataset.clone(),
                lang: lang.clone(),
                first_group: side.first_group,
            });
            body.words(format!("{kind}.{at}.present"), &side.present);
            body.numbers(format!("{kind}.{at}.rows"), &side.rows);
            if let Some(starts) = &side.starts {
                body.numbers(format!("{kind}.{at}.starts"), starts);
            }
        }
    }
    body.lists("answers", &index.answers);
    match &index.candidates {
        None => {}
        Some(Candidates::Contexts(contexts)) => {
            body.numbers("contexts.of_passage".to_owned(), &contexts.of_passage);
            body.lists("contexts", &contexts.passages);
        }
        Some(Candidates::Mined(lists)) => body.lists("mined", lists),
    }
    let ids = groups.ids();
    let mut end = 0;
    let ends: Vec<u64> = std::iter::once(0)
        .chain(ids.iter().map(|id| {
            end += id.map_or(0, str::len) as u64;
            end
        }))
        .collect();
    body.words("groups.starts".to_owned(), &ends);
    body.begin("groups.bytes".to_owned(), end);
    ids.iter().flatten().for_each(|id| body.bytes.extend_from_slice(id.as_bytes()));

    // The header holds places in the file, and its length moves them: places count from the first array.
    header.arrays = body.arrays;
    let header = serde_json::to_vec(&header).expect("a header is plain data");
    let mut bytes = Vec::with_capacity(24 + header.len() + 8 + body.bytes.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(header.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&body.bytes);
    bytes
}

#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    arrays: BTreeMap<String, (u64, u64)>,
}

impl Body {
    fn begin(&mut self, name: String, len: u64) {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.arrays.insert(name, (self.bytes.len() as u64, len));
    }

    fn words(&mut self, name: String, words: &[u64]) {
        self.begin(name, words.len() as u64);
        words.iter().for_each(|word| self.bytes.extend_from_slice(&word.to_le_bytes()));
    }

    fn numbers(&mut self, name: String, numbers: &Numbers) {
        self.begin(name, numbers.len() as u64);
        let numbers = numbers.range(0..numbers.len()).expect("an index is stored from memory");
        numbers.iter().for_each(|n| self.bytes.extend_from_slice(&n.to_le_bytes()));
    }

    fn lists(&mut self, name: &str, lists: &Lists) {
        self.numbers(format!("{name}.starts"), &lists.starts);
        self.numbers(format!("{name}.items"), &lists.items);
    }
}

/// A stored index, with the group ids that it numbers.
pub(super) struct Lookup {
    pub(super) index: Index,
    arrays: Arrays,
}

struct Arrays {
    file: Arc<(File, std::path::PathBuf)>,
    first: u64,
    places: BTreeMap<String, (u64, u64)>,
}

impl Lookup {
    /// Reads header and bitmaps; everything else stays in the file until it is asked for.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let path = root.join(LOOKUP);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let read = |offset: u64, len: usize| -> Result<Vec<u8>> {
            let mut bytes = vec![0; len];
            read_at(&file, &mut bytes, offset).map_err(Error::io("read", &path))?;
            Ok(bytes)
        };
        let damaged = |found: &str| {
            Error::dataset(&path, found).with_hint("delete the file: it can be done without, slower")
        };
        let bytes = file.metadata().map_err(Error::io("read", &path))?.len();
        let head = read(0, 24)?;
        let (magic, length) = head.split_at(16);
        let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
        if magic != MAGIC || bytes < length {
            return Err(damaged("not a lookup file of this version"));
        }
        let header = read(24, usize::try_from(length).map_err(|_| damaged("a header that is too long"))?)?;
        let header: Header = serde_json::from_slice(&header).map_err(|e| damaged(&e.to_string()))?;
        let first = (24 + length).next_multiple_of(8);
        let arrays = Arrays { file: Arc::new((file, path.clone())), first, places: header.arrays };
        let index = Index {
            queries: arrays.sides("queries", header.queries)?,
            passages: arrays.sides("passages", header.passages)?,
            answers: arrays.lists("answers")?,
            candidates: arrays.candidates()?,
        };
        Ok(Self { index, arrays })
    }

    /// The ids of these groups.
    pub(super) fn group_ids(&self, groups: &[u32]) -> Result<StringViewArray> {
        let (starts, n_starts) = self.arrays.place("groups.starts")?;
        let (bytes, _) = self.arrays.place("groups.bytes")?;
        let (file, path) = &*self.arrays.file;
        let mut ids = Vec::with_capacity(groups.len());
        for &group in groups {
            if n_starts <= u64::from(group) + 1 {
                return Err(Error::dataset(path, format!("no group {group}: the file is damaged")));
            }
            let mut bounds = [0; 16];
            read_at(file, &mut bounds, starts + u64::from(group) * 8).map_err(Error::io("read", path))?;
            let (start, end) = bounds.split_at(8);
            let start = u64::from_le_bytes(start.try_into().expect("eight bytes"));
            let end = u64::from_le_bytes(end.try_into().expect("eight bytes"));
            let length =
                end.checked_sub(start).and_then(|n| usize::try_from(n).ok()).filter(|n| *n < 1 << 20);
            let length =
                length.ok_or_else(|| Error::dataset(path, "a group id of no length: the file is damaged"))?;
            let mut id = vec![0; length];
            read_at(file, &mut id, bytes + start).map_err(Error::io("read", path))?;
            ids.push(String::from_utf8(id).map_err(|_| Error::dataset(path, "a group id that is no UTF-8"))?);
        }
        Ok(StringViewArray::from_iter_values(ids))
    }
}

impl Arrays {
    /// First byte in the file, and elements.
    fn place(&self, name: &str) -> Result<(u64, u64)> {
        let place = self.places.get(name);
        place
            .map(|&(offset, len)| (self.first + offset, len))
            .ok_or_else(|| Error::dataset(&self.file.1, format!("no array `{name}`: the file is damaged")))
    }

    fn numbers(&self, name: &str) -> Result<Numbers> {
        let (offset, len) = self.place(name)?;
        let len =
            usize::try_from(len).map_err(|_| Error::dataset(&self.file.1, "an array that is too long"))?;
        Ok(Numbers::Stored(Stored { file: Arc::clone(&self.file), offset, len }))
    }

    fn lists(&self, name: &str) -> Result<Lists> {
        Ok(Lists {
            starts: self.numbers(&format!("{name}.starts"))?,
            items: self.numbers(&format!("{name}.items"))?,
        })
    }

    fn candidates(&self) -> Result<Option<Candidates>> {
        if self.places.contains_key("mined.starts") {
            return self.lists("mined").map(|lists| Some(Candidates::Mined(lists)));
        }
        if !self.places.contains_key("contexts.of_passage") {
            return Ok(None);
        }
        let contexts =
            Contexts { of_passage: self.numbers("contexts.of_passage")?, passages: self.lists("contexts")? };
        Ok(Some(Candidates::Contexts(contexts)))
    }

    fn words(&self, name: &str) -> Result<Vec<u64>> {
        let (offset, len) = self.place(name)?;
        let (file, path) = &*self.file;
        let bytes = file.metadata().map_err(Error::io("read", path))?.len();
        if bytes < offset || (bytes - offset) / 8 < len {
            return Err(Error::dataset(path, format!("array `{name}` leaves the file: it is damaged")));
        }
        let mut words = vec![0; usize::try_from(len * 8).expect("less than the file")];
        read_at(file, &mut words, offset).map_err(Error::io("read", path))?;
        Ok(words.as_chunks::<8>().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect())
    }

    fn sides(&self, kind: &str, entries: Vec<SideEntry>) -> Result<BTreeMap<(String, String), Side>> {
        entries
            .into_iter()
            .enumerate()
            .map(|(at, entry)| {
                let starts = format!("{kind}.{at}.starts");
                let starts = self.places.contains_key(&starts).then(|| self.numbers(&starts)).transpose()?;
                let side = Side::new(
                    entry.first_group,
                    self.words(&format!("{kind}.{at}.present"))?,
                    self.numbers(&format!("{kind}.{at}.rows"))?,
                    starts,
                );
                Ok(((entry.dataset, entry.lang), side))
            })
            .collect()
    }
}
