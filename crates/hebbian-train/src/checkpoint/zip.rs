//! The parts of a zip archive, found without copying any: PyTorch stores them as they are.

use std::collections::BTreeMap;
use std::ops::Range;

/// The sizes in bytes of the record that ends an archive, and of the longest comment after it.
const END: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;
/// The size of the record before it in archives of more than 4 GB.
const LOCATOR: usize = 20;
/// The value of a field that is too narrow for its number, which is then stored elsewhere.
const ELSEWHERE: u64 = 0xffff_ffff;
/// The sizes of a part's entry in the directory and of the header before the part itself, both without the name.
const ENTRY: usize = 46;
const LOCAL: usize = 30;
/// The kind of the extra field that holds the numbers that are stored elsewhere.
const ZIP64: u64 = 1;

/// A part of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it is in the file, within the file's length.
    pub bytes: Range<usize>,
    /// The CRC-32 that the archive states for it.
    pub crc: u32,
    /// Whether it is compressed or encrypted, so that its bytes are not its content.
    pub is_packed: bool,
}

/// All parts by their names, or what is wrong with the archive.
pub(super) fn parts(file: &[u8]) -> Result<BTreeMap<String, Part>, String> {
    let (count, mut at) = directory(file)
        .ok_or("the directory at the end of the archive is missing, as if it were cut short")?;
    let mut parts = BTreeMap::new();
    for _ in 0..count {
        let (name, part, next) = entry(file, at)
            .ok_or("the directory of the archive, or a part that it names, is not whole")?;
        if let Some(twice) = parts.insert(name.clone(), part) {
            return Err(format!(
                "two parts are called {name:?}, one of {} bytes",
                twice.bytes.len()
            ));
        }
        at = next;
    }
    Ok(parts)
}

/// How many parts there are, and where the directory begins.
fn directory(file: &[u8]) -> Option<(u64, usize)> {
    let tail = file.len().saturating_sub(END + LONGEST_COMMENT);
    let end = tail + file[tail..].windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let comment = number::<2>(file, end + 20)? as usize;
    file.get(end..end + END + comment)?;
    let locator = end.checked_sub(LOCATOR).filter(|&at| file[at..].starts_with(b"PK\x06\x07"));
    let (count, start) = match locator {
        Some(locator) => {
            let end = usize::try_from(number::<8>(file, locator + 8)?).ok()?;
            file.get(end..)?.starts_with(b"PK\x06\x06").then_some(())?;
            (number::<8>(file, end + 32)?, number::<8>(file, end + 48)?)
        }
        None => (number::<2>(file, end + 10)?, number::<4>(file, end + 16)?),
    };
    Some((count, usize::try_from(start).ok()?))
}

/// The entry of the directory at `at`: the name, the part, and where the next entry is.
fn entry(file: &[u8], at: usize) -> Option<(String, Part, usize)> {
    file.get(at..)?.starts_with(b"PK\x01\x02").then_some(())?;
    let [flags, method, name, extra, comment] =
        [8, 10, 28, 30, 32].map(|field| number::<2>(file, at + field));
    let [name, extra, comment] = [name?, extra?, comment?].map(|length| length as usize);
    let crc = number::<4>(file, at + 16)? as u32;
    // In the order in which the extra field lists those that are stored there.
    let mut numbers = [24, 20, 42].map(|field| number::<4>(file, at + field));
    let (name_at, extra_at) = (at + ENTRY, at + ENTRY + name);
    let name = String::from_utf8_lossy(file.get(name_at..extra_at)?).into_owned();
    let mut wide = zip64(file.get(extra_at..extra_at + extra)?);
    for field in numbers.iter_mut().filter(|field| **field == Some(ELSEWHERE)) {
        let (first, rest) = wide.split_at_checked(8)?;
        (*field, wide) = (number::<8>(first, 0), rest);
    }
    let [size, stored, local] = numbers.map(|field| usize::try_from(field?).ok());
    let (size, stored, local) = (size?, stored?, local?);

    file.get(local..)?.starts_with(b"PK\x03\x04").then_some(())?;
    let [name_here, extra_here] = [26, 28].map(|field| number::<2>(file, local + field));
    let start = local + LOCAL + name_here? as usize + extra_here? as usize;
    let bytes = start..start.checked_add(stored)?;
    file.get(bytes.clone())?;
    let is_packed = method? != 0 || flags? & 1 != 0 || size != stored;
    Some((name, Part { bytes, crc, is_packed }, extra_at + extra + comment))
}

/// The content of the extra field of wide numbers; empty if there is none.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let (Some(kind), Some(length)) = (number::<2>(extra, 0), number::<2>(extra, 2)) {
        let Some((field, rest)) = extra[4..].split_at_checked(length as usize) else { break };
        if kind == ZIP64 {
            return field;
        }
        extra = rest;
    }
    &[]
}

/// The little-endian number of `N` bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut all = [0; 8];
    all[..N].copy_from_slice(bytes.get(at..at.checked_add(N)?)?);
    Some(u64::from_le_bytes(all))
}
