//! The rows of files, as a pile of pictures.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};

use super::file::{BLOCK, Table};
use crate::Result;
use crate::lock::lock;
use crate::store::{Encoded, Pile};

/// The rows of a split's files, with one picture in each.
#[derive(Debug)]
pub(super) struct Rows {
    /// The files, each with the number of its column of pictures.
    tables: Vec<(Table, usize)>,
    /// The row groups, with long ones divided into parts.
    blocks: Vec<Block>,
    /// Where each block begins, followed by the end of the last.
    starts: Vec<usize>,
    /// The block that was read last, kept for callers that read a block in parts.
    last: Mutex<Option<Last>>,
}

/// A block that has been read.
struct Last {
    block: usize,
    /// The bytes of its pictures.
    bytes: Arc<Vec<ByteArray>>,
    /// The reader at its end, if the next block is of the same group. Both blocks may be of one page, which is unpacked
    /// once.
    reader: Option<ColumnReaderImpl<ByteArrayType>>,
}

impl fmt::Debug for Last {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Last").field("block", &self.block).finish_non_exhaustive()
    }
}

/// Rows that are read together.
#[derive(Debug)]
struct Block {
    table: usize,
    group: usize,
    /// The rows within the group.
    rows: Range<usize>,
    /// The number of rows of the file before the group.
    before: usize,
}

impl Rows {
    pub fn of(tables: Vec<(Table, usize)>) -> Self {
        let (mut blocks, mut starts, mut count) = (Vec::new(), vec![0], 0);
        for (at, (table, _)) in tables.iter().enumerate() {
            let mut before = 0;
            for (group, size) in table.group_sizes().enumerate() {
                for start in (0..size).step_by(BLOCK) {
                    let rows = start..size.min(start + BLOCK);
                    count += rows.len();
                    starts.push(count);
                    blocks.push(Block { table: at, group, rows, before });
                }
                before += size;
            }
        }
        Self { tables, blocks, starts, last: Mutex::default() }
    }

    /// The block that contains a row.
    fn block(&self, index: usize) -> usize {
        self.starts.partition_point(|&start| start <= index) - 1
    }

    /// Reads the pictures of a block.
    fn bytes(&self, block: usize) -> Result<Arc<Vec<ByteArray>>> {
        if let Some(last) = lock(&self.last).as_ref().filter(|last| last.block == block) {
            return Ok(last.bytes.clone());
        }
        let Block { table, group, rows, .. } = &self.blocks[block];
        let (table, column) = &self.tables[*table];
        let last = lock(&self.last).take().filter(|last| last.block + 1 == block);
        let mut reader = match last.and_then(|last| last.reader) {
            Some(reader) => reader,
            None => table.reader::<ByteArrayType>(*column, *group, rows.start)?,
        };
        let bytes = Arc::new(table.read(&mut reader, *column, rows.len())?);
        let goes_on = self.blocks.get(block + 1).is_some_and(|next| next.rows.start > 0);
        let reader = goes_on.then_some(reader);
        *lock(&self.last) = Some(Last { block, bytes: bytes.clone(), reader });
        Ok(bytes)
    }
}

impl Pile for Rows {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn blocks(&self) -> Option<&[usize]> {
        Some(&self.starts)
    }

    fn read(&self, wanted: &[usize]) -> Result<Vec<Encoded>> {
        let Some(&first) = wanted.first() else { return Ok(Vec::new()) };
        let block = self.block(first);
        let (bytes, start) = (self.bytes(block)?, self.starts[block]);
        let found = wanted.iter().filter_map(|&index| bytes.get(index - start));
        Ok(found.cloned().map(Encoded::new).collect())
    }

    fn place(&self, index: usize) -> (PathBuf, Option<usize>) {
        let block = self.block(index);
        let Block { table, rows, before, .. } = &self.blocks[block];
        let row = before + rows.start + index - self.starts[block];
        (self.tables[*table].0.path.clone(), Some(row))
    }

    fn release(&self) {
        *lock(&self.last) = None;
    }
}
