//! `safetensors`: one file of token ids, a tensor an array.
//!
//! The header at the front says how long every tensor is, so each grows in a file of its own beside the target, and
//! all are put together at the end. For that moment the disk holds one tensor twice.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::arrays::{self, ARRAYS, Arrays, Element, Place};
use super::{Content, Encoded, ExportRequest, Target, Writer, tokens};
use crate::error::{Error, Result};

/// The length of the header, little-endian, before it.
const LENGTH_BYTES: u64 = 8;
/// The longest header that readers of the format take.
const MAX_HEADER_BYTES: u64 = 100_000_000;

pub(super) fn create(path: &Path, request: &ExportRequest) -> Result<Target> {
    tokens::check(request)?;
    let manifest = request.dataset.manifest();
    let about = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("dataset_id".to_owned(), manifest.dataset_id.to_string()),
        ("batch_size".to_owned(), request.dataset.plan().batch_size().to_string()),
    ]);
    let part = |name: &str| {
        let mut part = path.as_os_str().to_owned();
        part.push(format!(".{name}.part"));
        PathBuf::from(part)
    };
    let arrays = Arrays::create(part, &[])?;
    let writer = Tensors { path: path.to_owned(), arrays, about };
    Ok(Target { encode: Box::new(|batch| Ok(tokens::encoded(batch))), writer: Box::new(writer) })
}

struct Tensors {
    path: PathBuf,
    arrays: Arrays,
    about: HashMap<String, String>,
}

impl Writer for Tensors {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Tokens(batch) = batch else { unreachable!("tokens") };
        self.arrays.append(&batch)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let Self { path, arrays, about } = *self;
        let (mut tensors, mut files, mut end) = (Vec::new(), Vec::new(), 0);
        for (array, (name, element)) in arrays.finish().into_iter().zip(ARRAYS) {
            let (part, file, n) = array.finish()?;
            let begin = end;
            end += (n * element.bytes()) as usize;
            let info =
                TensorInfo { dtype: dtype(element), shape: vec![n as usize], data_offsets: (begin, end) };
            tensors.push((name.to_owned(), info));
            files.push((part, file));
        }
        let metadata = Metadata::new(Some(about), tensors).expect("tensors that follow one another");
        let mut header = serde_json::to_vec(&metadata).expect("plain data");
        header.resize(header.len().next_multiple_of(8), b' ');

        let write = Error::io("write", &path);
        let put_together = || -> std::io::Result<()> {
            let mut out = File::create(&path)?;
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for (part, mut file) in files {
                file.seek(SeekFrom::Start(0))?;
                std::io::copy(&mut file, &mut out)?;
                fs::remove_file(part)?;
            }
            out.sync_all()
        };
        put_together().map_err(write)
    }
}

fn dtype(element: Element) -> Dtype {
    match element {
        Element::I32 => Dtype::I32,
        Element::I64 => Dtype::I64,
    }
}

pub(super) fn read(path: &Path) -> Result<Content> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(Error::io("read", path))?;
    let length = u64::from_le_bytes(length);
    let mut header = Vec::new();
    file.take(length.min(MAX_HEADER_BYTES)).read_to_end(&mut header).map_err(Error::io("read", path))?;
    let wrong = |found: String| Error::export(path, found);
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| wrong(format!("its header: {e}")))?;
    let place = |(name, element): (&str, Element)| match metadata.info(name) {
        Some(TensorInfo { dtype: found, shape, data_offsets })
            if *found == dtype(element) && shape.len() == 1 =>
        {
            let first_byte = LENGTH_BYTES + length + data_offsets.0 as u64;
            Ok(Place { path: path.to_owned(), first_byte, n: shape[0] as u64 })
        }
        _ => Err(wrong(format!("no tensor `{name}` of one dimension and the type that it should have"))),
    };
    let places = ARRAYS.into_iter().map(place).collect::<Result<Vec<_>>>()?;
    arrays::read(path, places.try_into().unwrap_or_else(|_| unreachable!("a place for each array")))
}
