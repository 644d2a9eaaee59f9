//! `numpy`: a folder of .npy files, an array of token ids each, and the tokenizer that they are of.
//!
//! Version 1.0 of the format (numpy/lib/format.py). How long an array is stands in its header, which is written twice:
//! it has the same length for any number of elements.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::arrays::{self, ARRAYS, Arrays, Element, Place};
use super::{Content, Encoded, ExportRequest, Target, Writer, tokens};
use crate::error::{Error, Result};

/// Magic number, version and length of the text that follows.
const PREAMBLE_BYTES: usize = 10;
/// A multiple of 64, as the format asks for, with room for any length.
const HEADER_BYTES: usize = 128;

fn header(element: Element, n: u64) -> Vec<u8> {
    let descr = descr(element);
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n},), }}");
    let width = HEADER_BYTES - PREAMBLE_BYTES;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((width as u16).to_le_bytes());
    bytes.extend(format!("{dict:<text$}\n", text = width - 1).bytes());
    bytes
}

fn descr(element: Element) -> &'static str {
    match element {
        Element::I32 => "<i4",
        Element::I64 => "<i8",
    }
}

pub(super) fn create(folder: &Path, request: &ExportRequest) -> Result<Target> {
    tokens::check(request)?;
    if let Some(tokenizer) = request.dataset.tokenizer()? {
        let path = folder.join("tokenizer.json");
        fs::write(&path, tokenizer.json())
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(Error::io("write", &path))?;
    }
    let arrays = Arrays::create(|name| folder.join(format!("{name}.npy")), &[0; HEADER_BYTES])?;
    Ok(Target { encode: Box::new(|batch| Ok(tokens::encoded(batch))), writer: Box::new(Npy(arrays)) })
}

struct Npy(Arrays);

impl Writer for Npy {
    fn append(&mut self, batch: Encoded) -> Result<()> {
        let Encoded::Tokens(batch) = batch else { unreachable!("tokens") };
        self.0.append(&batch)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        for (array, (_, element)) in self.0.finish().into_iter().zip(ARRAYS) {
            let (path, mut file, n) = array.finish()?;
            file.seek(SeekFrom::Start(0))
                .and_then(|_| file.write_all(&header(element, n)))
                .and_then(|()| file.sync_all())
                .map_err(Error::io("write", &path))?;
        }
        Ok(())
    }
}

pub(super) fn read(folder: &Path) -> Result<Content> {
    let place = |(name, element): (&str, Element)| -> Result<Place> {
        let path = folder.join(format!("{name}.npy"));
        let mut found = [0; HEADER_BYTES];
        let mut file = File::open(&path).map_err(Error::io("open", &path))?;
        file.read_exact(&mut found).map_err(Error::io("read", &path))?;
        let bytes = file.metadata().map_err(Error::io("read", &path))?.len();
        let n = (bytes - HEADER_BYTES as u64) / element.bytes();
        if found != *header(element, n) || !bytes.is_multiple_of(element.bytes()) {
            return Err(Error::export(&path, "its header is not that of its elements"));
        }
        Ok(Place { path, first_byte: HEADER_BYTES as u64, n })
    };
    let places = ARRAYS.into_iter().map(place).collect::<Result<Vec<_>>>()?;
    arrays::read(folder, places.try_into().unwrap_or_else(|_| unreachable!("a place for each array")))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::{Texts, Tokens};
    use super::*;

    fn texts(of: &[&[i32]]) -> Texts {
        Texts { ids: of.concat(), lengths: of.iter().map(|ids| ids.len() as i64).collect() }
    }

    fn batch(step: i64) -> Tokens {
        Tokens {
            step,
            queries: texts(&[&[1, 2], &[]]),
            positives: texts(&[&[3], &[4, 5, 6]]),
            negatives: texts(&[&[7], &[8, 9], &[-1]]),
            n_negatives: vec![0, 3],
        }
    }

    /// How the batches of a folder compare with what was written.
    fn found(folder: &Path) -> Result<Vec<bool>> {
        let Content::Tokens(batches) = read(folder)? else { unreachable!("tokens") };
        batches.zip(7..).map(|(found, step)| Ok(found? == batch(step))).collect()
    }

    #[test]
    fn what_is_read_is_what_was_written_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut arrays = Arrays::create(|name| path.join(format!("{name}.npy")), &[0; HEADER_BYTES]).unwrap();
        [7, 8].iter().for_each(|&step| arrays.append(&batch(step)).unwrap());
        Box::new(Npy(arrays)).finish().unwrap();
        assert_eq!(found(path).unwrap(), [true, true]);

        // numpy.save of numpy 2.4.6 begins so: np.save("a.npy", np.array([0, 2, 2, 4, 4]))
        let offsets = path.join("query_offsets.npy");
        let bytes = fs::read(&offsets).unwrap();
        let head = b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }   ";
        assert!(bytes.starts_with(head) && bytes[127] == b'\n');
        assert_eq!(bytes[128..], [0_i64, 2, 2, 4, 4].map(i64::to_le_bytes).concat());

        let mut other = bytes.clone();
        other[128 + 8] = 1;
        fs::write(&offsets, &other).unwrap();
        assert!(found(path).unwrap().contains(&false));
        other[128 + 8] = 3;
        fs::write(&offsets, &other).unwrap();
        assert!(found(path).is_err(), "offsets run backwards");
        fs::write(&offsets, &bytes[..bytes.len() - 8]).unwrap();
        assert!(found(path).is_err(), "a header of more than is there");
    }
}
