//! Token ids as eight arrays over all batches, that `numpy` and `safetensors` store each in its way.
//!
//! Text i of an array of ids is `ids[offsets[i]..offsets[i + 1]]`. The hard negatives of row r are the texts
//! `negative_rows[r]..negative_rows[r + 1]`. A batch is `rows / steps` rows.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::Content;
use super::tokens::{Texts, Tokens};
use crate::error::{Error, Result};

/// The type of the elements of an array, little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    I32,
    I64,
}

impl Element {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

/// Names and types, greater elements first, so that each array begins at a multiple of its element.
pub(super) const ARRAYS: [(&str, Element); 8] = [
    ("steps", Element::I64),
    ("query_offsets", Element::I64),
    ("positive_offsets", Element::I64),
    ("negative_offsets", Element::I64),
    ("negative_rows", Element::I64),
    ("query_ids", Element::I32),
    ("positive_ids", Element::I32),
    ("negative_ids", Element::I32),
];

/// An array that grows, in a file of its own.
pub(super) struct Array {
    path: PathBuf,
    file: BufWriter<File>,
    /// Elements so far.
    n: u64,
}

/// A list of ends that grows: each item is as long as the way to the next.
struct Offsets {
    array: Array,
    end: i64,
}

/// All arrays.
pub(super) struct Arrays {
    steps: Array,
    queries: (Offsets, Array),
    positives: (Offsets, Array),
    negatives: (Offsets, Array),
    negative_rows: Offsets,
}

impl Array {
    fn create(path: PathBuf, head: &[u8]) -> Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(Error::io("create", &path))?;
        let mut file = BufWriter::with_capacity(1 << 18, file);
        file.write_all(head).map_err(Error::io("write", &path))?;
        Ok(Self { path, file, n: 0 })
    }

    fn append<const N: usize>(&mut self, elements: impl Iterator<Item = [u8; N]>) -> Result<()> {
        for bytes in elements {
            self.file.write_all(&bytes).map_err(Error::io("write", &self.path))?;
            self.n += 1;
        }
        Ok(())
    }

    /// The file, for reading and writing, and how many elements it has.
    pub(super) fn finish(self) -> Result<(PathBuf, File, u64)> {
        let file = self.file.into_inner().map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        Ok((self.path, file, self.n))
    }
}

impl Offsets {
    fn begin(mut array: Array) -> Result<Self> {
        array.append(std::iter::once(0_i64.to_le_bytes()))?;
        Ok(Self { array, end: 0 })
    }

    fn append(&mut self, lengths: &[i64]) -> Result<()> {
        let ends = lengths.iter().map(|length| {
            self.end += length;
            self.end.to_le_bytes()
        });
        self.array.append(ends)
    }
}

impl Arrays {
    /// Creates a file for each, of the name that `path` gives, that begins with `head`.
    pub(super) fn create(path: impl Fn(&str) -> PathBuf, head: &[u8]) -> Result<Self> {
        let array = |name: &str| Array::create(path(name), head);
        let texts = |name: &str| -> Result<_> {
            Ok((Offsets::begin(array(&format!("{name}_offsets"))?)?, array(&format!("{name}_ids"))?))
        };
        Ok(Self {
            steps: array("steps")?,
            queries: texts("query")?,
            positives: texts("positive")?,
            negatives: texts("negative")?,
            negative_rows: Offsets::begin(array("negative_rows")?)?,
        })
    }

    pub(super) fn append(&mut self, batch: &Tokens) -> Result<()> {
        self.steps.append(std::iter::once(batch.step.to_le_bytes()))?;
        let of_batch = [&batch.queries, &batch.positives, &batch.negatives];
        let all = [&mut self.queries, &mut self.positives, &mut self.negatives];
        for (texts, (offsets, ids)) in of_batch.into_iter().zip(all) {
            offsets.append(&texts.lengths)?;
            ids.append(texts.ids.iter().map(|id| id.to_le_bytes()))?;
        }
        self.negative_rows.append(&batch.n_negatives)
    }

    /// In the order of [`ARRAYS`].
    pub(super) fn finish(self) -> [Array; 8] {
        let ((queries, query_ids), (positives, positive_ids)) = (self.queries, self.positives);
        let (negatives, negative_ids) = self.negatives;
        [
            self.steps,
            queries.array,
            positives.array,
            negatives.array,
            self.negative_rows.array,
            query_ids,
            positive_ids,
            negative_ids,
        ]
    }
}

/// An array that is read, front to back.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    element: Element,
    /// Elements that are left.
    n: u64,
}

/// Where an array lies.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) first_byte: u64,
    pub(super) n: u64,
}

impl Reader {
    fn open(place: Place, element: Element) -> Result<Self> {
        let Place { path, first_byte, n } = place;
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let mut file = BufReader::with_capacity(1 << 18, file);
        file.seek(SeekFrom::Start(first_byte)).map_err(Error::io("read", &path))?;
        Ok(Self { path, file, element, n })
    }

    fn take<const N: usize>(&mut self, n: u64) -> Result<Vec<[u8; N]>> {
        assert_eq!(N as u64, self.element.bytes(), "the type of the array");
        if self.n < n {
            let found = format!("an array has {} elements less than the others ask for", n - self.n);
            return Err(Error::export(&self.path, found));
        }
        self.n -= n;
        let mut elements = vec![[0; N]; n as usize];
        self.file.read_exact(elements.as_flattened_mut()).map_err(Error::io("read", &self.path))?;
        Ok(elements)
    }

    fn i64s(&mut self, n: u64) -> Result<Vec<i64>> {
        Ok(self.take(n)?.into_iter().map(i64::from_le_bytes).collect())
    }
}

/// Offsets and what they cut, read a few items at a time.
struct Lengths {
    offsets: Reader,
    end: i64,
}

impl Lengths {
    fn begin(mut offsets: Reader) -> Result<Self> {
        match offsets.i64s(1)?[0] {
            0 => Ok(Self { offsets, end: 0 }),
            other => Err(Error::export(&offsets.path, format!("offsets begin with {other}, not 0"))),
        }
    }

    fn take(&mut self, n: u64) -> Result<Vec<i64>> {
        let ends = self.offsets.i64s(n)?;
        let lengths: Vec<i64> = ends
            .into_iter()
            .map(|end| {
                let length = end.wrapping_sub(self.end);
                self.end = end;
                length
            })
            .collect();
        match lengths.iter().all(|length| 0 <= *length) {
            true => Ok(lengths),
            false => Err(Error::export(&self.offsets.path, "offsets run backwards")),
        }
    }
}

fn take_texts((lengths, ids): &mut (Lengths, Reader), n: u64) -> Result<Texts> {
    let lengths = lengths.take(n)?;
    let n_ids = lengths.iter().sum::<i64>().unsigned_abs();
    Ok(Texts { ids: ids.take(n_ids)?.into_iter().map(i32::from_le_bytes).collect(), lengths })
}

/// The batches of arrays that lie at these places, in the order of [`ARRAYS`].
pub(super) fn read(path: &Path, places: [Place; 8]) -> Result<Content> {
    let (steps, texts) = (places[0].n, places[1].n);
    let rows_of_batch = match texts.checked_sub(1).and_then(|rows| rows.checked_div(steps)) {
        Some(rows) if rows * steps + 1 == texts => rows,
        _ => return Err(Error::export(path, format!("{steps} batches have {texts} offsets of queries"))),
    };
    let mut readers =
        places.into_iter().zip(ARRAYS).map(|(place, (_, element))| Reader::open(place, element));
    let mut next = || readers.next().expect("eight arrays");
    let mut steps = next()?;
    let (queries, positives, negatives) = (next()?, next()?, next()?);
    let mut negative_rows = Lengths::begin(next()?)?;
    let mut queries = (Lengths::begin(queries)?, next()?);
    let mut positives = (Lengths::begin(positives)?, next()?);
    let mut negatives = (Lengths::begin(negatives)?, next()?);
    let mut batch = move || -> Result<Option<Tokens>> {
        let Some(step) = (steps.n != 0).then(|| steps.i64s(1)).transpose()? else {
            let left = [&queries, &positives, &negatives]
                .iter()
                .any(|(lengths, ids)| lengths.offsets.n + ids.n != 0);
            return match left || negative_rows.offsets.n != 0 {
                true => Err(Error::export(&steps.path, "arrays go on after the last batch")),
                false => Ok(None),
            };
        };
        let n_negatives = negative_rows.take(rows_of_batch)?;
        Ok(Some(Tokens {
            step: step[0],
            queries: take_texts(&mut queries, rows_of_batch)?,
            positives: take_texts(&mut positives, rows_of_batch)?,
            negatives: take_texts(&mut negatives, n_negatives.iter().sum::<i64>().unsigned_abs())?,
            n_negatives,
        }))
    };
    Ok(Content::Tokens(Box::new(std::iter::from_fn(move || batch().transpose()))))
}
