//! Matrices in files: safetensors, and NumPy's `.npy` (versions 1 to 3), read row by row to where the rows belong.
//!
//! The file is never in memory whole: a model's embeddings of a large corpus fill it once already.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::{ArrowPrimitiveType, Float16Type};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::json;

use crate::error::{Error, Result};

/// A safetensors header that is longer than this is none (the format's own limit).
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// IEEE half precision, as Arrow has it.
type F16 = <Float16Type as ArrowPrimitiveType>::Native;

/// A matrix in a file, little-endian, row after row.
pub(super) struct ArrayFile {
    path: PathBuf,
    number: Number,
    n_rows: usize,
    width: usize,
    /// Where the first row begins.
    offset: u64,
    ids_key: &'static str,
    metadata: HashMap<String, String>,
}

/// What names the rows of a matrix, and where it stands.
pub(super) struct Ids {
    pub(super) path: PathBuf,
    pub(super) ids: Vec<String>,
}

#[derive(Clone, Copy)]
enum Number {
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    fn n_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The nearest f32 of each number.
    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
            let (numbers, rest) = bytes.as_chunks::<N>();
            assert!(rest.is_empty() && numbers.len() == out.len(), "whole rows are read");
            out.iter_mut().zip(numbers).for_each(|(out, bytes)| *out = number(*bytes));
        }
        match self {
            Self::F16 => each(bytes, out, |bytes| F16::from_le_bytes(bytes).to_f32()),
            // The upper half of an f32.
            Self::Bf16 => each(bytes, out, |[lo, hi]| f32::from_le_bytes([0, 0, lo, hi])),
            Self::F32 => each(bytes, out, f32::from_le_bytes),
            Self::F64 => each(bytes, out, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}

impl ArrayFile {
    /// Opens a matrix: of a `.safetensors` file the named tensor, or its only one; of an `.npy` file the array. The
    /// names of its rows are found under `ids_key`.
    pub(super) fn open(path: &Path, tensor: Option<&str>, ids_key: &'static str) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let n_bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let header = Header { path, file: BufReader::new(file), n_bytes };
        let extension = path.extension().and_then(|extension| extension.to_str());
        match (extension, tensor) {
            (Some("safetensors"), _) => header.safetensors(tensor, ids_key),
            (Some("npy"), None) => header.npy(ids_key),
            (Some("npy"), Some(_)) => {
                Err(Error::evaluate(path, "one `.npy` file: expected queries and passages")
                    .with_hint("`--embeddings queries.npy passages.npy`"))
            }
            _ => Err(Error::evaluate(path, "not a file of embeddings: expected `.safetensors` or `.npy`")),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The names of the rows: a list in the file's own metadata, or one a line in `STEM.KEY.txt` beside it.
    pub(super) fn ids(&self) -> Result<Ids> {
        let split = |text: &str| text.lines().map(str::to_owned).collect();
        if let Some(text) = self.metadata.get(self.ids_key) {
            return Ok(Ids { path: self.path.clone(), ids: split(text) });
        }
        let path = self.path.with_extension(format!("{}.txt", self.ids_key));
        if !path.is_file() {
            let found = format!("nothing says whose rows these are: there is no `{}`", path.display());
            return Err(Error::evaluate(&self.path, found)
                .with_hint("one id a line, in the order of the rows; `prep eval --help` has the rules"));
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Ok(Ids { ids: split(&text), path })
    }

    /// The matrix (`places.len()`, `width`), row i of the file at `places[i]`.
    pub(super) fn read(&self, places: &[usize]) -> Result<Vec<f32>> {
        let failed = || Error::io("read", &self.path);
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path).map_err(failed())?);
        file.seek(SeekFrom::Start(self.offset)).map_err(failed())?;
        let mut matrix = vec![0.0; self.n_rows * self.width];
        let mut bytes = vec![0; self.width * self.number.n_bytes()];
        for &place in places {
            file.read_exact(&mut bytes).map_err(failed())?;
            self.number.decode(&bytes, &mut matrix[place * self.width..][..self.width]);
        }
        Ok(matrix)
    }
}

/// A matrix that is to be written: (rows, width).
pub(super) struct Matrix<'a> {
    pub(super) name: &'static str,
    pub(super) width: usize,
    pub(super) rows: &'a [f32],
    /// The names of the rows, and where they stand in the metadata.
    pub(super) ids_key: &'static str,
    pub(super) ids: String,
}

/// Writes a `.safetensors` file; its bytes follow from the matrices. The library would write the metadata in the order
/// of a hash map.
pub(super) fn write_safetensors(path: &Path, matrices: &[Matrix]) -> Result<()> {
    let (mut header, mut metadata) = (serde_json::Map::new(), serde_json::Map::new());
    let mut offset = 0;
    for matrix in matrices {
        let end = offset + size_of_val(matrix.rows);
        let shape = [matrix.rows.len() / matrix.width, matrix.width];
        let tensor = json!({"dtype": "F32", "shape": shape, "data_offsets": [offset, end]});
        header.insert(matrix.name.to_owned(), tensor);
        metadata.insert(matrix.ids_key.to_owned(), matrix.ids.as_str().into());
        offset = end;
    }
    header.insert("__metadata__".to_owned(), metadata.into());
    let mut header = serde_json::Value::from(header).to_string();
    // Numbers begin at a multiple of 8.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(Error::io("create", path))?);
    let mut write = || {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for number in matrices.iter().flat_map(|matrix| matrix.rows) {
            file.write_all(&number.to_le_bytes())?;
        }
        file.flush()
    };
    write().map_err(Error::io("write", path))
}

/// A file of which the beginning is to be read.
struct Header<'a> {
    path: &'a Path,
    file: BufReader<File>,
    n_bytes: u64,
}

impl Header<'_> {
    fn wrong(&self, found: impl Into<String>) -> Error {
        Error::evaluate(self.path, found)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|_| self.wrong("ends within its header"))?;
        Ok(bytes)
    }

    fn text(&mut self, n_bytes: u64) -> Result<String> {
        if self.n_bytes < n_bytes || MAX_HEADER_BYTES < n_bytes {
            return Err(self.wrong("ends within its header"));
        }
        let mut bytes = vec![0; n_bytes as usize];
        self.file.read_exact(&mut bytes).map_err(|_| self.wrong("ends within its header"))?;
        String::from_utf8(bytes).map_err(|_| self.wrong("its header is not text"))
    }

    /// <https://huggingface.co/docs/safetensors>: the header's length (u64le), the header (JSON), the numbers.
    fn safetensors(mut self, tensor: Option<&str>, ids_key: &'static str) -> Result<ArrayFile> {
        let n_header = u64::from_le_bytes(self.bytes()?);
        let header = self.text(n_header)?;
        let metadata: Metadata =
            serde_json::from_str(&header).map_err(|e| self.wrong(format!("not a safetensors file: {e}")))?;
        let mut names: Vec<String> = metadata.tensors().into_keys().collect();
        names.sort();
        let name = match (tensor, names.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, _) => return Err(self.wrong(format!("expected one tensor, found {names:?}"))),
        };
        let Some(info) = metadata.info(name) else {
            return Err(self.wrong(format!("no tensor `{name}` among {names:?}")));
        };
        let number = match info.dtype {
            Dtype::F16 => Number::F16,
            Dtype::BF16 => Number::Bf16,
            Dtype::F32 => Number::F32,
            Dtype::F64 => Number::F64,
            other => {
                return Err(self.wrong(format!("tensor `{name}` holds {other:?}, not F16, BF16, F32 or F64")));
            }
        };
        let offset = (8 + n_header).saturating_add(info.data_offsets.0 as u64);
        let metadata_of_file = metadata.metadata().clone().unwrap_or_default();
        self.array(number, &info.shape, offset, ids_key, metadata_of_file)
    }

    /// <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>: magic, version, the header's length
    /// (u16le, from version 2 on u32le), the header (a Python dictionary), the numbers.
    fn npy(mut self, ids_key: &'static str) -> Result<ArrayFile> {
        if self.bytes()? != *b"\x93NUMPY" {
            return Err(self.wrong("not an `.npy` file"));
        }
        let [major, _] = self.bytes()?;
        let (n_header, n_before) = match major {
            1 => (u64::from(u16::from_le_bytes(self.bytes()?)), 10),
            2 | 3 => (u64::from(u32::from_le_bytes(self.bytes()?)), 12),
            _ => return Err(self.wrong(format!("version {major} of `.npy`, known are 1 to 3"))),
        };
        let header = self.text(n_header)?;
        let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, value)| value.trim_start());
        let (Some(descr), Some(order), Some(shape)) =
            (value("descr"), value("fortran_order"), value("shape"))
        else {
            return Err(self.wrong("its header lacks `descr`, `fortran_order` or `shape`"));
        };
        let descr = descr.split('\'').nth(1).unwrap_or(descr);
        let number = match descr {
            "<f2" => Number::F16,
            "<f4" => Number::F32,
            "<f8" => Number::F64,
            _ => return Err(self.wrong(format!("its type is `{descr}`, not `<f2`, `<f4` or `<f8`"))),
        };
        if !order.starts_with("False") {
            return Err(self
                .wrong("its columns are contiguous, not its rows")
                .with_hint("`numpy.save` what `numpy.ascontiguousarray` gives"));
        }
        let shape = shape.trim_start_matches('(').split(')').next().unwrap_or_default();
        let shape: Option<Vec<usize>> =
            shape.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect();
        let shape = shape.ok_or_else(|| self.wrong("its header has no shape"))?;
        self.array(number, &shape, n_before + n_header, ids_key, HashMap::new())
    }

    fn array(
        self,
        number: Number,
        shape: &[usize],
        offset: u64,
        ids_key: &'static str,
        metadata: HashMap<String, String>,
    ) -> Result<ArrayFile> {
        let &[n_rows, width] = shape else {
            return Err(self.wrong(format!("its shape is {shape:?}: expected rows and columns")));
        };
        let end = n_rows
            .checked_mul(width)
            .and_then(|n| n.checked_mul(number.n_bytes()))
            .and_then(|n| offset.checked_add(n as u64));
        if end.is_none_or(|end| self.n_bytes < end) {
            let found =
                format!("its {} bytes are too few for {n_rows} rows of {width} numbers", self.n_bytes);
            return Err(self.wrong(found));
        }
        Ok(ArrayFile { path: self.path.to_owned(), number, n_rows, width, offset, ids_key, metadata })
    }
}
