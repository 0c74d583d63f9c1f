//! A look at the footer of a parquet file before the parquet crate reads it.
//!
//! Version 60 of that crate follows a schema as deep as it is, until the stack is full, and takes memory
//! for as many columns, row groups and children as a few bytes claim. The footer is a struct in Thrift's
//! compact protocol; here it is walked from its first byte to its last, which takes no memory, and what
//! it claims is compared with what it holds.
//!
//! ```text
//! FileMetaData  { 2: list<SchemaElement> schema, in the order of a walk from the root }
//! SchemaElement { 5: i32 num_children }
//! ```

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::{Error, Result};

/// Bytes of a footer. That of 60,000 images in 600 groups has a third of a megabyte.
const LONGEST: usize = 16 << 20;
/// Columns, and groups of columns.
const MOST_COLUMNS: usize = 1000;
/// Groups in groups, of columns and of everything else in the footer.
const DEEPEST: usize = 16;

/// Refuses a file whose footer claims more than it holds or than any data set of images needs.
pub(crate) fn check(path: &Path) -> Result<()> {
    let wrong = |found: String| {
        let expected = format!(
            "a whole parquet file, with a footer of {LONGEST} bytes, {MOST_COLUMNS} columns and \
             {DEEPEST} levels at most"
        );
        Error::bad_file(path, format!("a broken parquet file ({found})"), expected)
    };
    let mut file = File::open(path).map_err(Error::io(path))?;
    let whole = file.metadata().map_err(Error::io(path))?.len();
    let mut end = [0; 8];
    if whole < 12 {
        return Err(wrong(format!("a file of {whole} bytes")));
    }
    file.seek(SeekFrom::End(-8)).map_err(Error::io(path))?;
    file.read_exact(&mut end).map_err(Error::io(path))?;
    let [a, b, c, d, magic @ ..] = end;
    let length = u32::from_le_bytes([a, b, c, d]);
    if &magic != b"PAR1" || u64::from(length) > whole - 12 || length as usize > LONGEST {
        return Err(wrong(format!(
            "{length} bytes, {:?} at the end",
            magic.escape_ascii().to_string()
        )));
    }
    let mut footer = vec![0; length as usize];
    file.seek(SeekFrom::End(-8 - i64::from(length))).map_err(Error::io(path))?;
    file.read_exact(&mut footer).map_err(Error::io(path))?;
    let mut walk = Walk { rest: &footer, columns: 0, open: Vec::new() };
    match walk.structure(Place::File, 0) {
        Some(()) if walk.open.is_empty() => Ok(()),
        _ => Err(wrong(format!("{length} bytes that does not hold what it says"))),
    }
}

/// Which struct is walked.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    File,
    SchemaElement,
    Other,
}

struct Walk<'a> {
    rest: &'a [u8],
    columns: usize,
    /// Children to come of each group that is not complete, from the root.
    open: Vec<usize>,
}

/// None at whatever is wrong.
impl Walk<'_> {
    fn structure(&mut self, place: Place, depth: usize) -> Option<()> {
        let (mut field, mut children) = (0, 0);
        loop {
            let head = self.byte()?;
            if head == 0 {
                break;
            }
            field = match head >> 4 {
                0 => self.number()?,
                more => field + i64::from(more),
            };
            match (head & 15, place, field) {
                // A boolean, in the head.
                (1 | 2, _, _) => {}
                (5, Place::SchemaElement, 5) => children = self.number()?,
                (kind, Place::File, 2) => self.value(kind, Place::SchemaElement, depth)?,
                (kind, _, _) => self.value(kind, Place::Other, depth)?,
            }
        }
        if place == Place::SchemaElement {
            self.column(usize::try_from(children).ok()?)
        } else {
            Some(())
        }
    }

    /// Notes a column, or a group with children.
    fn column(&mut self, children: usize) -> Option<()> {
        self.columns += 1;
        match self.open.last_mut() {
            Some(to_come) => *to_come -= 1,
            // Nothing comes after the root's last child.
            None if self.columns > 1 => return None,
            None => {}
        }
        self.open.push(children);
        // Each child takes some bytes.
        let fits = self.columns <= MOST_COLUMNS
            && self.open.len() <= DEEPEST
            && children <= self.rest.len();
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        fits.then_some(())
    }

    /// A value of a type; a struct is a `place`, and so is each in a list.
    fn value(&mut self, kind: u8, place: Place, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    count => u64::from(count),
                };
                (0..count).try_for_each(|_| self.value(head & 15, place, depth + 1))
            }
            11 => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                (0..count).try_for_each(|_| {
                    self.value(kinds >> 4, Place::Other, depth + 1)?;
                    self.value(kinds & 15, Place::Other, depth + 1)
                })
            }
            12 => self.structure(place, depth + 1),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A zigzag number.
    fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}
