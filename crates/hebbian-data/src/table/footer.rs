//! Checks of the footer of a parquet file before the parquet crate reads it.
//!
//! Version 60 of that crate recurses into a schema of any depth until the stack overflows, and allocates
//! memory for as many columns, row groups and children as a few bytes claim. The footer is a struct in
//! Thrift's compact protocol; here it is [walked](super::thrift), and its claims are compared with its
//! contents.
//!
//! ```text
//! FileMetaData  { 2: list<SchemaElement> schema, in the order of a walk from the root }
//! SchemaElement { 5: i32 num_children }
//! ```

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::thrift::{DEEPEST, I32, LIST, Walk};
use crate::{Error, Result};

/// The most bytes of a footer. The footer for 60,000 images in 600 groups has a third of a megabyte.
const LONGEST: usize = 16 << 20;
/// The most columns and groups of columns.
const MOST_COLUMNS: usize = 1000;

/// Refuses a file whose footer claims more than it holds, or more than any data set of images needs.
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
    let (mut walk, mut schema) = (Walk::new(&footer), Schema::default());
    let walked = walk.structure(&mut |walk, field, kind| match (field, kind) {
        (2, LIST) => walk.structures(|walk| schema.element(walk)).map(|()| true),
        (2, _) => None,
        _ => Some(false),
    });
    match walked {
        Some(()) if schema.open.is_empty() => Ok(()),
        _ => Err(wrong(format!("{length} bytes that does not hold what it says"))),
    }
}

#[derive(Default)]
struct Schema {
    columns: usize,
    /// How many children are still to come in each open group, from the root on.
    open: Vec<usize>,
}

/// The method returns `None` if anything is wrong.
impl Schema {
    /// Reads a column, or a group with children.
    fn element(&mut self, walk: &mut Walk<'_>) -> Option<()> {
        let mut children = 0;
        walk.structure(&mut |walk, field, kind| match (field, kind) {
            (5, I32) => {
                children = walk.number()?;
                Some(true)
            }
            _ => Some(false),
        })?;
        let children = usize::try_from(children).ok()?;
        self.columns += 1;
        match self.open.last_mut() {
            Some(to_come) => *to_come -= 1,
            // No element may follow the root's last child.
            None if self.columns > 1 => return None,
            None => {}
        }
        self.open.push(children);
        // Each child takes at least one byte.
        let fits = self.columns <= MOST_COLUMNS
            && self.open.len() <= DEEPEST
            && children <= walk.rest.len();
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        fits.then_some(())
    }
}
