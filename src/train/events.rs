//! TensorBoard's event files: records of a length, its check sum, a protocol buffer and its check sum.
//!
//! The few messages that scalars need (`Event`, `Summary`, `SessionLog`) are written by hand: their fields have been the same since
//! 2015 (tensorboard/compat/proto/{event,summary}.proto).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

pub(super) struct EventFile {
    file: BufWriter<File>,
    path: PathBuf,
}

impl EventFile {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut events = Self { file: BufWriter::new(file), path: path.to_owned() };
        // Event.file_version = 3
        let mut event = wall_time();
        put_bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Says that whatever earlier files have from this step on is taken again: readers forget it.
    pub(super) fn restart(&mut self, step: u64) -> Result<()> {
        // Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } }
        let mut event = wall_time();
        event.push(2 << 3);
        put_varint(&mut event, step);
        put_bytes(&mut event, 7, &[1 << 3, 1]);
        self.record(&event)
    }

    pub(super) fn scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            // Summary.Value { tag = 1, simple_value = 2 }
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((*value as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &entry);
        }
        // Event { wall_time = 1, step = 2, summary = 5 }
        let mut event = wall_time();
        event.push(2 << 3);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::io("write", &self.path))
    }

    fn record(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] =
            [&length, &masked_crc(&length).to_le_bytes(), event, &masked_crc(event).to_le_bytes()];
        self.file.write_all(&parts.concat()).map_err(Error::io("write", &self.path))
    }
}

/// The field `wall_time` of an event, a double, in seconds.
fn wall_time() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    let mut event = vec![1 << 3 | 1];
    event.extend(now.to_le_bytes());
    event
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while 0x80 <= n {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// CRC-32C, rotated and moved as TensorFlow's records have it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_sums_are_those_of_the_standard() {
        // RFC 3720, B.4: 32 bytes of zeros have CRC-32C 0x8A9136AA.
        assert_eq!(masked_crc(&[0; 32]), 0x8A91_36AA_u32.rotate_right(15).wrapping_add(0xA282_EAD8));
    }

    #[test]
    fn numbers_have_seven_bits_a_byte() {
        let mut out = Vec::new();
        put_varint(&mut out, 300);
        assert_eq!(out, [0xAC, 0x02]);
    }
}
