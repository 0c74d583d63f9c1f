//! Checks of the pages of a column before the parquet crate reads them, and where they are.
//!
//! Version 60 of that crate allocates memory for as many bytes and values as the header of a page claims, and walks
//! all earlier headers to find a row, unless it is told where the pages are. A column is a sequence of pages; each
//! consists of a header, a struct in Thrift's compact protocol, and as many bytes as the header says.
//!
//! ```text
//! PageHeader           { 2: i32 uncompressed_page_size, 3: i32 compressed_page_size, 5: DataPageHeader,
//!                        7: DictionaryPageHeader, 8: DataPageHeaderV2 }
//! DataPageHeader, DictionaryPageHeader, DataPageHeaderV2 { 1: i32 num_values }
//! ```

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use parquet::file::page_index::offset_index::PageLocation;

use super::thrift::{I32, STRUCT, Walk};

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

/// Finds the pages that have values in these bytes of a file, which hold a column of `rows` rows without repetition.
///
/// # Errors
/// A description of what is wrong with a page.
pub(crate) fn find(
    mut file: &File,
    start: u64,
    length: u64,
    rows: u64,
) -> Result<Vec<PageLocation>, String> {
    let (mut at, mut left, mut before) = (start, length, 0);
    let mut found = Vec::new();
    while left > 0 {
        let mut most = USUAL;
        let unreadable =
            |error: std::io::Error| format!("no page that can be read at byte {at} ({error})");
        let (page, head) = loop {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(at)).map_err(unreadable)?;
            file.take(most.min(left)).read_to_end(&mut bytes).map_err(unreadable)?;
            let mut walk = Walk::new(&bytes);
            match Page::read(&mut walk) {
                Some(page) => break (page, (bytes.len() - walk.rest.len()) as u64),
                None if most < left.min(LONGEST) => most *= 8,
                None => return Err(format!("no page at byte {at}")),
            }
        };
        let sizes = u64::try_from(page.compressed).ok().zip(u64::try_from(page.size).ok());
        let fits = |packed: u64| packed <= left - head && i32::try_from(head + packed).is_ok();
        let Some((packed, size)) = sizes.filter(|(packed, _)| fits(*packed)) else {
            return Err(format!("a page of {} bytes at byte {at}", page.compressed));
        };
        let values = u64::try_from(page.values).ok();
        // The rows do not limit the values of a dictionary.
        let of_values = values.filter(|_| !page.is_dictionary).unwrap_or(0);
        let unpacked = of_values.saturating_mul(MOST_OF_VALUE);
        if size > unpacked.max(packed.div_ceil(3) * MOST_OF_3) {
            return Err(format!("a page at byte {at} whose {packed} bytes would become {size}"));
        }
        // A dictionary has no null values, which would take no bytes.
        let most = if page.is_dictionary { size / LEAST_BYTES } else { rows - before };
        let Some(values) = values.filter(|&values| values <= most) else {
            let values = page.values;
            return Err(format!("a page at byte {at} of {values} values, where {most} fit"));
        };
        if values > 0 && !page.is_dictionary {
            found.push(PageLocation {
                offset: at as i64,
                compressed_page_size: (head + packed) as i32,
                first_row_index: before as i64,
            });
            before += values;
        }
        (at, left) = (at + head + packed, left - head - packed);
    }
    Ok(found)
}

/// The pages from the one that holds `row` on. The first page of all comes before them, because the parquet crate takes
/// what is before the first one for a dictionary; it takes the first one to have all rows up to the next, and skips it.
pub(crate) fn from(all: &[PageLocation], row: usize) -> Vec<PageLocation> {
    let place = all.partition_point(|page| page.first_row_index <= row as i64).saturating_sub(1);
    all.first().filter(|_| place > 0).into_iter().chain(&all[place..]).cloned().collect()
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

    /// A page of 1,000 values that 40 bytes are said to unpack to 8,000 bytes of: 13 bytes of header, and these.
    /// `field` begins the struct that says what kind of page it is.
    fn page(field: u8) -> Vec<u8> {
        // The fields 1 to 3 are 0, 8,000 and 40; field 1 of the struct is 1,000. All are zigzag numbers: 2n for n.
        let head = [0x15, 0, 0x15, 0x80, 0x7d, 0x15, 0x50, field, 0x15, 0xd0, 0x0f, 0, 0];
        [&head[..], &[0; 40]].concat()
    }

    /// The first row, the first byte and the length of each page of values in a column of `rows` rows.
    fn found(pages: &[Vec<u8>], rows: u64) -> Result<Vec<(i64, i64, i32)>, String> {
        let pages = pages.concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&pages).unwrap();
        let found = find(&file, 0, pages.len() as u64, rows)?.into_iter();
        let place =
            |page: PageLocation| (page.first_row_index, page.offset, page.compressed_page_size);
        Ok(found.map(place).collect())
    }

    const DATA: u8 = 0x2c;
    const DICTIONARY: u8 = 0x4c;

    /// 1,000 labels of 8 bytes that are all the same.
    #[test]
    fn a_page_may_repeat_a_label_for_every_row() {
        assert_eq!(found(&[page(DATA)], 1000), Ok(vec![(0, 0, 53)]));
        let more = found(&[page(DATA)], 999).unwrap_err();
        assert!(more.contains("of 1000 values, where 999 fit"), "{more}");
        // The words of a dictionary differ: 40 bytes become 64 · ⌈40/3⌉ = 896 at most.
        let bomb = found(&[page(DICTIONARY)], 1000).unwrap_err();
        assert!(bomb.contains("whose 40 bytes would become 8000"), "{bomb}");
    }

    /// Pages have no more rows together than the column has.
    #[test]
    fn pages_share_the_rows() {
        let pages = [page(DATA), page(DATA), page(DATA)];
        assert_eq!(found(&pages, 3000), Ok(vec![(0, 0, 53), (1000, 53, 53), (2000, 106, 53)]));
        let more = found(&pages, 2999).unwrap_err();
        assert!(more.contains("at byte 106 of 1000 values, where 999 fit"), "{more}");
    }

    /// A row is found without the pages between the first one and its own.
    #[test]
    fn pages_before_a_row_are_left_out() {
        let all: Vec<PageLocation> = (0..4)
            .map(|page| PageLocation {
                offset: 100 + 50 * page,
                compressed_page_size: 50,
                first_row_index: 10 * page,
            })
            .collect();
        for (row, pages) in [
            (0, &[0, 1, 2, 3][..]),
            (9, &[0, 1, 2, 3]),
            (10, &[0, 1, 2, 3]),
            (20, &[0, 2, 3]),
            (29, &[0, 2, 3]),
            (35, &[0, 3]),
        ] {
            let pages = pages.iter().map(|&page: &usize| all[page].clone());
            assert_eq!(from(&all, row), pages.collect::<Vec<_>>(), "{row}");
        }
        assert!(from(&[], 5).is_empty());
    }
}
