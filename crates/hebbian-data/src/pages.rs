//! Checks of the pages of a column before the parquet crate reads them.
//!
//! Version 60 of that crate allocates memory for as many bytes and values as the header of a page claims. A column is a
//! sequence of pages; each consists of a header, a struct in Thrift's compact protocol, and as many bytes as the header
//! says.
//!
//! ```text
//! PageHeader           { 2: i32 uncompressed_page_size, 3: i32 compressed_page_size, 5: DataPageHeader,
//!                        7: DictionaryPageHeader, 8: DataPageHeaderV2 }
//! DataPageHeader, DictionaryPageHeader, DataPageHeaderV2 { 1: i32 num_values }
//! ```

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use crate::thrift::{I32, STRUCT, Walk};

/// How many bytes of a header are read at first; headers with long statistics have more, up to `LONGEST`.
const USUAL: u64 = 1 << 10;
const LONGEST: u64 = 16 << 20;
/// Snappy unpacks three bytes to at most 64.
const MOST_OF_3: u64 = 64;
/// Other methods pack a label that repeats into almost nothing. Their pages may become this many bytes for each value,
/// which for all rows is hardly more than the file has.
const MOST_OF_VALUE: u64 = 64;
/// Words and pictures are preceded by their length.
const LEAST_BYTES: u64 = 4;

/// Describes what is wrong with the pages in these bytes of a file, which hold a column of `rows` rows. Errors of
/// reading are ignored here, because reading the column finds them again.
pub(crate) fn problem(mut file: &File, start: u64, length: u64, rows: u64) -> Option<String> {
    let (mut at, mut left) = (start, length);
    while left > 0 {
        let mut most = USUAL;
        let (page, head) = loop {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(at)).ok()?;
            file.take(most.min(left)).read_to_end(&mut bytes).ok()?;
            let mut walk = Walk::new(&bytes);
            match Page::read(&mut walk) {
                Some(page) => break (page, (bytes.len() - walk.rest.len()) as u64),
                None if most < left.min(LONGEST) => most *= 8,
                None => return Some(format!("no page at byte {at}")),
            }
        };
        let sizes = u64::try_from(page.compressed).ok().zip(u64::try_from(page.size).ok());
        let Some((packed, size)) = sizes.filter(|(packed, _)| *packed <= left - head) else {
            return Some(format!("a page of {} bytes at byte {at}", page.compressed));
        };
        let values = u64::try_from(page.values).ok();
        // The rows do not limit the values of a dictionary.
        let of_values = values.filter(|_| !page.is_dictionary).unwrap_or(0);
        let unpacked = of_values.saturating_mul(MOST_OF_VALUE);
        if size > unpacked.max(packed.div_ceil(3) * MOST_OF_3) {
            return Some(format!("a page at byte {at} whose {packed} bytes would become {size}"));
        }
        // A dictionary has no null values, which would take no bytes.
        let most = if page.is_dictionary { size / LEAST_BYTES } else { rows };
        if values.is_none_or(|values| values > most) {
            let values = page.values;
            return Some(format!("a page at byte {at} of {values} values, where {most} fit"));
        }
        (at, left) = (at + head + packed, left - head - packed);
    }
    None
}

/// The claims of a page's header.
#[derive(Default)]
struct Page {
    size: i64,
    compressed: i64,
    values: i64,
    is_dictionary: bool,
}

impl Page {
    fn read(walk: &mut Walk<'_>) -> Option<Self> {
        let mut page = Self::default();
        walk.structure(&mut |walk, field, kind| {
            match (field, kind) {
                (2, I32) => page.size = walk.number()?,
                (3, I32) => page.compressed = walk.number()?,
                (5 | 7 | 8, STRUCT) => {
                    page.is_dictionary |= field == 7;
                    walk.structure(&mut |walk, field, kind| match (field, kind) {
                        (1, I32) => {
                            page.values = page.values.max(walk.number()?);
                            Some(true)
                        }
                        _ => Some(false),
                    })?;
                }
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// What is wrong with a page of 1,000 values that 40 bytes are said to unpack to 8,000 bytes of, in a column of
    /// `rows` rows. `field` begins the struct that says what kind of page it is.
    fn found(field: u8, rows: u64) -> Option<String> {
        // The fields 1 to 3 are 0, 8,000 and 40; field 1 of the struct is 1,000. All are zigzag numbers: 2n for n.
        let head = [0x15, 0, 0x15, 0x80, 0x7d, 0x15, 0x50, field, 0x15, 0xd0, 0x0f, 0, 0];
        let page = [&head[..], &[0; 40]].concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&page).unwrap();
        problem(&file, 0, page.len() as u64, rows)
    }

    /// 1,000 labels of 8 bytes that are all the same.
    #[test]
    fn a_page_may_repeat_a_label_for_every_row() {
        let (data, dictionary) = (0x2c, 0x4c);
        assert_eq!(found(data, 1000), None);
        let more = found(data, 999).unwrap();
        assert!(more.contains("of 1000 values, where 999 fit"), "{more}");
        // The words of a dictionary differ: 40 bytes become 64 · ⌈40/3⌉ = 896 at most.
        let bomb = found(dictionary, 1000).unwrap();
        assert!(bomb.contains("whose 40 bytes would become 8000"), "{bomb}");
    }
}
