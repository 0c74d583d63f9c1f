//! TensorBoard event files.
//!
//! A file is a sequence of records, each `length: u64`, `crc(length): u32`, `data`, `crc(data): u32`
//! (little-endian), where `crc` is a masked CRC-32C. The data are an `Event` in protocol-buffer
//! form; only these fields are needed:
//!
//! ```text
//! Event   { 1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary }
//! Summary { 1: repeated Value }
//! Value   { 1: string tag, 2: float simple_value, 4: Image }
//! Image   { 1: int32 height, 2: int32 width, 3: int32 channels, 4: bytes png }
//! ```

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, Picture, Result};

/// TensorBoard knows event files by this part of their name.
pub(crate) const PREFIX: &str = "events.out.tfevents.";

/// An event file being written: scalars and pictures that `tensorboard --logdir FOLDER` shows.
///
/// Each call ends on the disk, so a run can be watched while it goes.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
}

impl EventFile {
    /// Starts a new event file in an existing folder.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        Self::create_as(|name| Ok(folder.as_ref().join(name)))
    }

    /// The same with a path that `place` gives to the file's name.
    pub(crate) fn create_as(place: impl FnMut(&str) -> Result<PathBuf>) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (file, path) = Self::open(place, now)?;
        let mut events = Self { file, path };
        events.write(&bytes_field(3, b"brain.Event:2"))?;
        Ok(events)
    }

    /// Names start with the second so that TensorBoard reads them in order of time; a number
    /// follows so that runs resumed within a second do not share a file.
    fn open(
        mut place: impl FnMut(&str) -> Result<PathBuf>,
        now: Duration,
    ) -> Result<(File, PathBuf)> {
        let mut number = 0_usize;
        loop {
            let path = place(&format!("{PREFIX}{:010}.{number}", now.as_secs()))?;
            match File::create_new(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(Error::io("write", &path)(error)),
            }
        }
    }

    /// Adds one value per tag at `step`.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = bytes_field(1, tag.as_bytes());
            entry.push(key(2, FOUR_BYTES));
            entry.extend((*value as f32).to_le_bytes());
            summary.extend(bytes_field(1, &entry));
        }
        self.write_summary(step, &summary)
    }

    /// Adds a picture at `step`.
    pub fn picture(&mut self, step: u64, tag: &str, picture: &Picture) -> Result<()> {
        let mut image = varint_field(1, picture.height() as u64);
        image.extend(varint_field(2, picture.width() as u64));
        image.extend(varint_field(3, 3));
        image.extend(bytes_field(4, &picture.png()?));
        let mut entry = bytes_field(1, tag.as_bytes());
        entry.extend(bytes_field(4, &image));
        self.write_summary(step, &bytes_field(1, &entry))
    }

    fn write_summary(&mut self, step: u64, summary: &[u8]) -> Result<()> {
        let mut event = varint_field(2, step);
        event.extend(bytes_field(5, summary));
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut data = vec![key(1, EIGHT_BYTES)];
        data.extend(now.as_secs_f64().to_le_bytes());
        data.extend(event);
        let length = (data.len() as u64).to_le_bytes();

        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&data);
        record.extend(masked_crc(&data).to_le_bytes());
        self.file.write_all(&record).map_err(Error::io("write", &self.path))
    }
}

const VARINT: u8 = 0;
const EIGHT_BYTES: u8 = 1;
const BYTES: u8 = 2;
const FOUR_BYTES: u8 = 5;

fn key(field: u8, wire_type: u8) -> u8 {
    (field << 3) | wire_type
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn varint_field(field: u8, value: u64) -> Vec<u8> {
    [vec![key(field, VARINT)], varint(value)].concat()
}

fn bytes_field(field: u8, content: &[u8]) -> Vec<u8> {
    [&[key(field, BYTES)], varint(content.len() as u64).as_slice(), content].concat()
}

/// The record format rotates each checksum and adds a constant, so that the checksum of data that
/// hold checksums stays meaningful.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), a byte at a time.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut remainder = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                remainder = (remainder >> 1) ^ (0x82f6_3b78 * (remainder & 1));
                bit += 1;
            }
            table[byte] = remainder;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc_of_the_check_string() {
        // The check value of CRC-32C in the catalogue of CRC algorithms, and RFC 3720's vector.
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
