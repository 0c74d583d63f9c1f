//! A parquet file, and its columns.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use parquet::column::reader::{ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::SchemaDescriptor;
use serde_json::Value;

use super::footer;
use super::pages;
use crate::guard::caught;
use crate::images::MOST_IMAGES;
use crate::lock::lock;
use crate::{Error, Result};

/// The fewest bytes that an image takes in a table: no PNG is shorter.
const LEAST_BYTES: u64 = 57;
/// The most pictures that are read together, however long a row group is.
pub(super) const BLOCK: usize = 256;

/// A file whose metadata has been read. The file is open only while there is a reader of a column.
#[derive(Debug)]
pub(super) struct Table {
    pub path: PathBuf,
    metadata: ParquetMetaData,
    pub rows: usize,
    /// Where the pages of a column are, by column and row group. They are kept for row groups that are read in blocks.
    pages: Mutex<HashMap<(usize, usize), Pages>>,
}

/// The pages of a column in a row group.
type Pages = Arc<Vec<PageLocation>>;

impl Table {
    pub fn open(path: &Path) -> Result<Self> {
        footer::check(path)?;
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes = file.metadata().map_err(Error::io(path))?.len();
        let metadata = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&file));
        let metadata = metadata.map_err(broken(path))?;
        let total = metadata.file_metadata().num_rows().max(0) as u64;
        let groups = metadata.row_groups().iter();
        let rows = groups.fold(0, |rows: u64, group| rows.saturating_add(group.num_rows() as u64));
        let most = (bytes / LEAST_BYTES).min(MOST_IMAGES as u64);
        if let Some(rows) = [rows, total].into_iter().find(|&rows| rows > most) {
            let expected = format!("{most} at most in a file of {bytes} bytes");
            return Err(Error::bad_file(path, format!("{rows} rows"), expected));
        }
        if rows == 0 {
            return Err(Error::bad_file(path, "no rows", "at least one image"));
        }
        let pages = Mutex::default();
        Ok(Self { path: path.to_path_buf(), metadata, rows: rows as usize, pages })
    }

    pub fn schema(&self) -> &SchemaDescriptor {
        self.metadata.file_metadata().schema_descr()
    }

    /// The columns as the hub's library declares them in the file: by name, each with its `_type`.
    pub fn features(&self) -> Option<serde_json::Map<String, Value>> {
        let pairs = self.metadata.file_metadata().key_value_metadata()?;
        let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
        let about: Value = serde_json::from_str(text).ok()?;
        about.pointer("/info/features")?.as_object().cloned()
    }

    /// The number of rows of each row group.
    pub fn group_sizes(&self) -> impl Iterator<Item = usize> {
        let groups = self.metadata.row_groups().iter();
        groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The values of a column, one row group at a time.
    pub fn groups<T: DataType>(&self, column: usize) -> impl Iterator<Item = Result<Vec<T::T>>> {
        let sizes = self.group_sizes().enumerate();
        sizes.map(move |(group, rows)| {
            let mut reader = self.reader::<T>(column, group, 0)?;
            self.read(&mut reader, column, rows)
        })
    }

    /// A reader of a column in a row group, from the row `start` of the group on.
    pub fn reader<T: DataType>(
        &self,
        column: usize,
        group: usize,
        start: usize,
    ) -> Result<ColumnReaderImpl<T>> {
        let file = Arc::new(File::open(&self.path).map_err(Error::io(&self.path))?);
        guarded(|| self.reader_of::<T>(file, column, group, start)).map_err(broken(&self.path))
    }

    fn reader_of<T: DataType>(
        &self,
        file: Arc<File>,
        column: usize,
        group: usize,
        start: usize,
    ) -> Result<ColumnReaderImpl<T>, ParquetError> {
        let rows = usize::try_from(self.metadata.row_group(group).num_rows()).unwrap_or(0);
        let chunk = self.metadata.row_group(group).column(column);
        // This refuses compression methods that the crate does not know.
        let mut reader = SerializedPageReader::new(file.clone(), chunk, rows, None)?;
        let pages = self.pages(&file, column, group, rows)?;
        if start > 0 {
            let pages = pages::from(&pages, start);
            reader = SerializedPageReader::new(file, chunk, rows, Some(pages))?;
        }
        let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(reader));
        let mut reader = T::get_column_reader(reader).ok_or_else(|| {
            let name = chunk.column_path().string();
            ParquetError::General(format!("column {name} changes its type"))
        })?;
        reader.skip_records(start)?;
        Ok(reader)
    }

    /// Checks all pages of a column in a group of `rows` rows, and returns where they are.
    fn pages(
        &self,
        file: &File,
        column: usize,
        group: usize,
        rows: usize,
    ) -> Result<Pages, ParquetError> {
        if let Some(pages) = lock(&self.pages).get(&(column, group)) {
            return Ok(pages.clone());
        }
        let chunk = self.metadata.row_group(group).column(column);
        let (start, length) = chunk.byte_range();
        let pages = pages::find(file, start, length, rows as u64).map_err(|problem| {
            let name = chunk.column_path().string();
            ParquetError::General(format!("column {name} has {problem}"))
        })?;
        let pages = Arc::new(pages);
        if rows > BLOCK {
            lock(&self.pages).insert((column, group), pages.clone());
        }
        Ok(pages)
    }

    /// Reads the next `rows` values of a column; none may be null.
    pub fn read<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        column: usize,
        rows: usize,
    ) -> Result<Vec<T::T>> {
        let values = self.read_present(reader, column, rows)?;
        match rows - values.len() {
            0 => Ok(values),
            missing => Err(self.without_values(column, missing, rows)),
        }
    }

    /// Reads the values of a column of labels; `None` if all of them are null.
    pub fn labels<T: DataType>(&self, column: usize) -> Result<Option<Vec<T::T>>> {
        let mut all = Vec::new();
        for (group, rows) in self.group_sizes().enumerate() {
            let mut reader = self.reader::<T>(column, group, 0)?;
            all.extend(self.read_present(&mut reader, column, rows)?);
        }
        match self.rows - all.len() {
            0 => Ok(Some(all)),
            missing if missing == self.rows => Ok(None),
            missing => Err(self.without_values(column, missing, self.rows)),
        }
    }

    /// Reads the values of the next `rows` rows of a column without the null ones.
    fn read_present<T: DataType>(
        &self,
        reader: &mut ColumnReaderImpl<T>,
        column: usize,
        rows: usize,
    ) -> Result<Vec<T::T>> {
        let read = guarded(|| {
            let (mut levels, mut values) = (Vec::new(), Vec::new());
            let (found, ..) = reader.read_records(rows, Some(&mut levels), None, &mut values)?;
            Ok((found, values))
        });
        let (found, values) = read.map_err(broken(&self.path))?;
        if found == rows {
            return Ok(values);
        }
        let name = self.schema().column(column).path().string();
        let problem = format!("column {name} has {} values for {rows} rows", values.len());
        Err(broken(&self.path)(ParquetError::General(problem)))
    }

    /// The error for a column in which `missing` of these rows are null.
    pub fn without_values(&self, column: usize, missing: usize, rows: usize) -> Error {
        let name = self.schema().column(column).path().string();
        Error::BadFile {
            path: self.path.clone(),
            found: format!("{missing} of {rows} rows without a value in the column {name}"),
            expected: "a value in each row".to_string(),
            advice: "fill them in, or leave out these rows".to_string(),
        }
    }
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error + '_ {
    move |error| {
        let error = error.to_string();
        match error.split_once("Disabled feature at compile time: ") {
            Some((_, codec)) => Error::BadFile {
                path: path.into(),
                found: format!("a parquet file that is compressed with {codec}"),
                expected: "snappy, gzip, lz4 or no compression".to_string(),
                advice: match codec {
                    "zstd" => "build with --features zstd, or write it again".to_string(),
                    _ => "write it again with one of these".to_string(),
                },
            },
            None => {
                let found = format!("a broken parquet file ({error})");
                Error::bad_file(path, found, "a whole parquet file")
            }
        }
    }
}

pub(super) fn describe(schema: &SchemaDescriptor) -> String {
    let columns = schema.columns().iter();
    let columns: Vec<String> =
        columns.map(|c| format!("{}: {}", c.path().string(), c.physical_type())).collect();
    columns.join(", ")
}

/// Catches panics: parquet 60 has assertions that a damaged page can violate.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught(read).unwrap_or_else(|said| {
        Err(ParquetError::General(format!("its pages contradict each other: {said}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_that_is_not_built_in_is_named() {
        for (codec, advice) in [("zstd", "--features zstd"), ("brotli", "write it again")] {
            let error = format!("Disabled feature at compile time: {codec}");
            let said = broken(Path::new("a.parquet"))(ParquetError::General(error)).to_string();
            assert!(said.contains(&format!("compressed with {codec}")), "{said}");
            assert!(said.contains(advice) && !said.contains("fetch"), "{said}");
        }
        let said = broken(Path::new("a.parquet"))(ParquetError::General("cut".into())).to_string();
        assert!(
            said.contains("a broken parquet file") && said.contains("fetch it again"),
            "{said}"
        );
    }
}
