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

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, Picture, Result};

/// TensorBoard recognises event files by this part of their name.
pub(crate) const PREFIX: &str = "events.out.tfevents.";

/// An event file being written: scalars and pictures that `tensorboard --logdir FOLDER` shows.
///
/// Each call writes to the file at once, so a run can be watched while it goes on.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
    /// The events in an earlier file of the step from which a run continues; the run may write them again.
    last: Vec<Vec<u8>>,
}

impl EventFile {
    /// Starts a new event file in an existing folder.
    ///
    /// # Errors
    /// When the folder does not exist, or no file can be made or written in it.
    pub fn create(folder: impl AsRef<Path>) -> Result<Self> {
        Self::create_as(|name| Ok(folder.as_ref().join(name)))
    }

    /// Starts a new event file at the path that `place` returns for the file's name.
    pub(crate) fn create_as(place: impl FnMut(&str) -> Result<PathBuf>) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (file, path) = Self::open(place, now)?;
        let mut events = Self { file, path, last: Vec::new() };
        events.write(&bytes_field(3, b"brain.Event:2"))?;
        Ok(events)
    }

    /// Adds the events in `earlier`, event files of this program, up to and including `step`, and each event once: if
    /// the program was killed in here, one of the files is a copy of another, or of its beginning. If events of that
    /// step are written again later, they are not added twice either.
    ///
    /// # Errors
    /// When one of the files cannot be used.
    pub(crate) fn append(&mut self, earlier: &[PathBuf], step: u64) -> Result<()> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(Error::io("read", path));
        let files = earlier.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut known = HashSet::new();
        let all = files.iter().flat_map(|bytes| records(bytes));
        let kept: Vec<&[u8]> = all
            .filter(|record| step_of(record).is_some_and(|at| at <= step) && known.insert(*record))
            .collect();
        let last = kept.iter().filter(|record| step_of(record) == Some(step));
        self.last.extend(last.filter_map(|record| Some(after_time(record)?.to_vec())));
        let kept = kept.concat();
        self.file.write_all(&kept).map_err(Error::io("write", &self.path))
    }

    /// Names start with the time in seconds so that TensorBoard reads the files in order of time; a number
    /// follows so that runs resumed within the same second do not share a file.
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
    ///
    /// # Errors
    /// When the file cannot be written.
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

    /// Adds a picture at `step`, under the name `tag`.
    ///
    /// # Errors
    /// When the picture has no pixels, or the file cannot be written.
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
        if self.last.contains(&event) {
            return Ok(());
        }
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

/// Bytes of a record before its data and after them.
const HEAD: usize = 12;
const TAIL: usize = 4;

/// The complete records of a file, without one that was being written when its program was killed.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u64::from_le_bytes(*bytes.first_chunk()?);
        let length = usize::try_from(length).ok()?.checked_add(HEAD + TAIL)?;
        let (record, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(record)
    })
}

/// An event that this program wrote, without its time.
fn after_time(record: &[u8]) -> Option<&[u8]> {
    record.get(HEAD + 9..record.len().checked_sub(TAIL)?)
}

/// The step of a record with a summary that this program wrote: the field after the time.
fn step_of(record: &[u8]) -> Option<u64> {
    let (&first, varint) = after_time(record)?.split_first()?;
    if first != key(2, VARINT) {
        return None;
    }
    let mut step = 0;
    for (at, byte) in varint.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
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
/// contain checksums stays meaningful.
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
    use super::*;

    /// Steps of one, two and three bytes; the file of a killed program ends in half a record.
    #[test]
    fn what_came_later_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = |steps: &[u64]| {
            let mut file = EventFile::create(folder.path()).unwrap();
            steps.iter().for_each(|&step| file.scalars(step, &[("loss", step as f64)]).unwrap());
            file
        };
        let earlier = file(&[1, 100, 300, 20_000, 70_000]).path;
        let mut bytes = std::fs::read(&earlier).unwrap();
        bytes.truncate(bytes.len() - 3);
        std::fs::write(&earlier, bytes).unwrap();
        let steps = |path: &Path| -> Vec<u64> {
            records(&std::fs::read(path).unwrap()).filter_map(step_of).collect()
        };
        assert_eq!(steps(&earlier), [1, 100, 300, 20_000]);
        // The copy of a program that was killed while it made it.
        let mut half = file(&[]);
        half.append(std::slice::from_ref(&earlier), 100).unwrap();
        assert_eq!(steps(&half.path), [1, 100]);
        let mut new = file(&[]);
        new.append(&[earlier, half.path], 300).unwrap();
        assert_eq!(steps(&new.path), [1, 100, 300]);
        // At the last step, existing events are not written again, but new ones are.
        new.scalars(300, &[("loss", 300.0)]).unwrap();
        assert_eq!(steps(&new.path), [1, 100, 300]);
        new.scalars(300, &[("accuracy", 1.0)]).unwrap();
        new.scalars(301, &[("loss", 0.0)]).unwrap();
        assert_eq!(steps(&new.path), [1, 100, 300, 300, 301]);
    }

    #[test]
    fn crc_of_the_check_string() {
        // The check value of CRC-32C in the catalogue of CRC algorithms, and RFC 3720's vector.
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
