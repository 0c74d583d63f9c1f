//! Parquet files in the hub's format: a column of structs with a picture in `bytes`, and a column of labels.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReaderImpl, get_column_reader};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::SchemaDescriptor;
use serde_json::Value;

use crate::collect::{Split, all_broken, collect, lost_class};
use crate::error::FETCH_AGAIN;
use crate::footer;
use crate::guard::caught;
use crate::images::MOST_IMAGES;
use crate::lock::lock;
use crate::pages;
use crate::pictures::{Form, How, Pictures, Problem};
use crate::split::is_unlabelled;
use crate::store::{Encoded, Pile};
use crate::{DatasetName, Error, ImageSet, LoadOptions, OnProgress, Progress, Result};

/// The fewest bytes that an image takes in a table: no PNG is shorter.
const LEAST_BYTES: u64 = 57;
/// The most pictures that are read together, however long a row group is.
const BLOCK: usize = 256;
/// The most bytes of a word that is a label.
const LONGEST_LABEL: usize = 64 << 10;

/// A file whose metadata has been read. The file is open only while there is a reader of a column.
#[derive(Debug)]
struct Table {
    path: PathBuf,
    metadata: ParquetMetaData,
    rows: usize,
    /// Where the pages of a column are, by column and row group. They are kept for row groups that are read in blocks.
    pages: Mutex<HashMap<(usize, usize), Pages>>,
}

/// The pages of a column in a row group.
type Pages = Arc<Vec<PageLocation>>;

impl Table {
    fn open(path: &Path) -> Result<Self> {
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

    fn schema(&self) -> &SchemaDescriptor {
        self.metadata.file_metadata().schema_descr()
    }

    /// The number of rows of each row group.
    fn group_sizes(&self) -> impl Iterator<Item = usize> {
        let groups = self.metadata.row_groups().iter();
        groups.map(|group| usize::try_from(group.num_rows()).unwrap_or(0))
    }

    /// The values of a column, one row group at a time.
    fn groups<T: DataType>(&self, column: usize) -> impl Iterator<Item = Result<Vec<T::T>>> {
        let sizes = self.group_sizes().enumerate();
        sizes.map(move |(group, rows)| {
            let mut reader = self.reader::<T>(column, group, 0)?;
            self.read(&mut reader, column, rows)
        })
    }

    /// A reader of a column in a row group, from the row `start` of the group on.
    fn reader<T: DataType>(
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
    fn read<T: DataType>(
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
    fn labels<T: DataType>(&self, column: usize) -> Result<Option<Vec<T::T>>> {
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
    fn without_values(&self, column: usize, missing: usize, rows: usize) -> Error {
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

/// Reads one split of a known data set: all of its files, in order.
pub(crate) fn read(
    paths: &[PathBuf],
    name: DatasetName,
    on_progress: &OnProgress,
) -> Result<ImageSet> {
    let open = |path: &PathBuf| {
        let table = Table::open(path)?;
        let columns = columns(&table, name)?;
        Ok((table, columns))
    };
    let tables = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
    let (shape, total) = (name.shape(), tables.iter().map(|(table, _)| table.rows).sum());
    let how = How { shape, form: Form::Exactly };
    let (mut pictures, mut labels) = (Pictures::new(how), Vec::new());
    for (table, (image_column, label_column)) in tables {
        let (path, before) = (&table.path, labels.len());
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let groups = table.groups::<ByteArrayType>(image_column);
        for (encoded, classes) in groups.zip(table.groups::<Int64Type>(label_column)) {
            let (encoded, first) = (encoded?, labels.len() - before);
            let encoded: Vec<&[u8]> = encoded.iter().map(ByteArray::data).collect();
            if let Some((row, problem)) = pictures.extend(&encoded).into_iter().next() {
                let found = match problem {
                    Problem::Bad(found) => found,
                    _ => "another size".to_string(),
                };
                return Err(bad_row(path, first + row, found, expected_image(shape)));
            }
            // The first group has proved the size of the images, so memory for the rest is reserved at once
            // and need not grow.
            pictures.expect(total)?;
            for class in classes? {
                labels.push(label(path, labels.len() - before, class, name.classes().len())?);
            }
            let (done, total) = (labels.len() as u64, total as u64);
            on_progress(Progress::Decode { file: &file_name, done, total });
        }
    }
    let (channels, height, width) = shape;
    ImageSet::new(pictures.into_pixels(), labels, channels, height, width)
}

fn label(path: &Path, row: usize, class: i64, classes: usize) -> Result<u32> {
    match u32::try_from(class).ok().filter(|&label| (label as usize) < classes) {
        Some(label) => Ok(label),
        None => {
            let expected = format!("labels from 0 to {}", classes.saturating_sub(1));
            Err(bad_row(path, row, format!("label {class}"), expected))
        }
    }
}

/// Finds the columns of images and labels, by number.
fn columns(table: &Table, name: DatasetName) -> Result<(usize, usize)> {
    let label = if name == DatasetName::Cifar100 { "fine_label" } else { "label" };
    let schema = table.schema();
    let find = |wanted: &str, physical: PhysicalType| {
        schema.columns().iter().position(|column| {
            column.path().string() == wanted
                && column.physical_type() == physical
                && column.max_rep_level() == 0
        })
    };
    let images = find("image.bytes", PhysicalType::BYTE_ARRAY)
        .or_else(|| find("img.bytes", PhysicalType::BYTE_ARRAY));
    match (images, find(label, PhysicalType::INT64)) {
        (Some(images), Some(labels)) => Ok((images, labels)),
        _ => Err(Error::BadFile {
            path: table.path.clone(),
            found: format!("the columns {}", describe(schema)),
            expected: format!("image.bytes (or img.bytes): BYTE_ARRAY and {label}: INT64"),
            advice: format!("check that the file belongs to {name}"),
        }),
    }
}

fn describe(schema: &SchemaDescriptor) -> String {
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

fn expected_image((channels, height, width): (usize, usize, usize)) -> String {
    let color = if channels == 1 { "grey" } else { "RGB" };
    format!("a PNG of {height}x{width} pixels, 8-bit {color}")
}

fn bad_row(path: &Path, row: usize, found: String, expected: String) -> Error {
    Error::BadFile {
        path: path.into(),
        found: format!("{found} in row {row}"),
        expected,
        advice: FETCH_AGAIN.into(),
    }
}

/// Whether the images in a file have labels, in the column that [`Tables::read`] would read.
pub(crate) fn is_labelled(path: &Path, options: &LoadOptions) -> Result<bool> {
    let table = Table::open(path)?;
    Ok(Chosen::of(&table, false, options)?.written(&table)?.has_labels())
}

/// The splits of any data set: files with pictures and labels, in columns that the metadata of the files
/// name.
pub(crate) struct Tables {
    /// The name and the files, in order, of each split.
    pub splits: Vec<(String, Vec<PathBuf>)>,
}

impl Tables {
    /// Whether the images of a split have labels: those of the split to learn from do, whatever its name.
    fn has_labels(&self, split: &str) -> bool {
        self.splits.first().is_some_and(|(first, _)| first == split) || !is_unlabelled(split)
    }

    /// The splits whose images have no labels; they come last.
    pub fn unlabelled(&self) -> impl Iterator<Item = &str> {
        self.splits.iter().map(|(name, _)| name.as_str()).filter(|name| !self.has_labels(name))
    }

    /// Reads the images of every split, and the name of each class.
    pub fn read(
        &self,
        options: &LoadOptions,
        on_progress: &OnProgress,
    ) -> Result<(Vec<ImageSet>, Vec<String>)> {
        let open = |(name, paths): &(String, Vec<PathBuf>)| {
            let tables = paths.iter().map(|path| {
                let table = Table::open(path)?;
                let chosen = Chosen::of(&table, !self.has_labels(name), options)?;
                Ok((table, chosen))
            });
            Ok((name.clone(), tables.collect::<Result<Vec<_>>>()?))
        };
        let opened = self.splits.iter().map(open).collect::<Result<Vec<_>>>()?;
        let all = || opened.iter().flat_map(|(_, tables)| tables);
        let written =
            all().map(|(table, chosen)| chosen.written(table)).collect::<Result<Vec<_>>>()?;
        let files: Vec<_> =
            all().map(|(table, chosen)| (table.path.as_path(), chosen.names.as_deref())).collect();
        let mut left = &written[..];
        for (name, tables) in &opened {
            let (these, others) = left.split_at(tables.len());
            left = others;
            if self.has_labels(name) {
                check_labels(name, tables, these)?;
            }
        }
        if let Some((_, tables)) = opened.first() {
            check_guess(tables, &written[..tables.len()])?;
        }
        let (told, written) = with_one_list(&files, written)?;
        let first = files.first().map_or(Path::new(""), |(path, _)| path);
        let names = class_names(first, told, &written)?;
        let mut written = written.into_iter();
        let mut splits = Vec::new();
        for (name, tables) in opened {
            let (mut columns, mut labels) = (Vec::new(), Vec::new());
            for (table, chosen) in tables {
                let written = written.next().unwrap_or_default();
                labels.extend(written.labels(&table.path, &names)?);
                columns.push((table, chosen.image));
            }
            splits.push(Split { name, pile: Arc::new(Rows::of(columns)), labels });
        }
        let sets = collect(&splits, options, on_progress)?;
        if let Some(row) = lost_class(&splits, &sets) {
            let (file, _) = splits[0].pile.place(row);
            return Err(all_broken(file, &names[splits[0].labels[row] as usize]));
        }
        Ok((sets, names))
    }
}

/// The rows of a split's files, with one picture in each.
#[derive(Debug)]
struct Rows {
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
    fn of(tables: Vec<(Table, usize)>) -> Self {
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

/// Checks that the files of a split have labels.
///
/// # Errors
/// If none of them has labels, or if all labels of a file are null.
fn check_labels(split: &str, files: &[(Table, Chosen)], written: &[Written]) -> Result<()> {
    if !written.iter().any(Written::has_labels) {
        return Err(Error::BadFile {
            path: files.first().map(|(table, _)| table.path.clone()).unwrap_or_default(),
            found: format!("the split {split:?} without labels: all are negative or missing"),
            expected: "labels of classes, from 0".to_string(),
            advice: "choose another split with --train-split or --test-split".to_string(),
        });
    }
    for ((table, chosen), written) in files.iter().zip(written) {
        if let (Some((label, _)), Written::Nothing(rows)) = (chosen.label, written) {
            return Err(table.without_values(label, *rows, *rows));
        }
    }
    Ok(())
}

/// Checks that a column that was taken for labels because no other could be does not number the rows of these files.
///
/// # Errors
/// If no number comes twice in a file.
fn check_guess(files: &[(Table, Chosen)], written: &[Written]) -> Result<()> {
    let is_numbering = |((_, chosen), written): (&(Table, Chosen), &Written)| match written {
        Written::Numbers(numbers) => {
            chosen.is_guess && numbers.iter().collect::<HashSet<_>>().len() == numbers.len()
        }
        Written::Words(_) | Written::Nothing(_) => false,
    };
    let several = files.iter().find(|(table, _)| table.rows > 1);
    let Some((table, Chosen { label: Some((label, _)), .. })) = several else { return Ok(()) };
    if !files.iter().zip(written).all(is_numbering) {
        return Ok(());
    }
    let name = table.schema().column(*label).path().string();
    Err(Error::BadFile {
        path: table.path.clone(),
        found: format!("a different number in each row of the only column for labels, {name}"),
        expected: "numbers of classes, of which some have several images".to_string(),
        advice: "name the column of labels with --label-column, even if it is this one".to_string(),
    })
}

/// The types that labels may have.
const LABELS: [PhysicalType; 4] =
    [PhysicalType::INT64, PhysicalType::INT32, PhysicalType::BOOLEAN, PhysicalType::BYTE_ARRAY];

/// The columns of pictures and labels in a file.
struct Chosen {
    image: usize,
    /// `None` for images without labels.
    label: Option<(usize, PhysicalType)>,
    /// Whether the column of labels is neither named nor declared nor called `label`.
    is_guess: bool,
    /// The names of the classes in the file.
    names: Option<Vec<String>>,
}

impl Chosen {
    /// Chooses the columns that the options name; or else those that the file declares to be an `Image` and a
    /// `ClassLabel`; or else the only column of pictures and, of labels, the one called `label` or, if no other column
    /// could be labels, one of whole numbers.
    fn of(table: &Table, only_images: bool, options: &LoadOptions) -> Result<Self> {
        let features = features(table);
        let schema = table.schema();
        let of_type = |kind: &str| -> Vec<&str> {
            let found = features.iter().flat_map(|all| all.iter());
            found.filter(|(_, one)| one["_type"] == kind).map(|(name, _)| name.as_str()).collect()
        };
        let leaf = |path: &str, kinds: &[PhysicalType]| {
            schema.columns().iter().position(|column| {
                column.path().string() == path
                    && kinds.contains(&column.physical_type())
                    && column.max_rep_level() == 0
            })
        };
        let picture = |name: &str| {
            let bytes = &[PhysicalType::BYTE_ARRAY];
            leaf(&format!("{name}.bytes"), bytes).or_else(|| leaf(name, bytes))
        };
        let class = |name: &str| leaf(name, &LABELS);
        let roots: BTreeSet<&str> = schema
            .columns()
            .iter()
            .filter_map(|column| column.path().parts().first())
            .map(String::as_str)
            .collect();
        let image =
            match (&options.image_column, of_type("Image")[..].first()) {
                (Some(name), _) => picture(name),
                (None, Some(name)) if of_type("Image").len() == 1 => picture(name),
                (None, Some(_)) => None,
                (None, None) => only(roots.iter().filter_map(|name| {
                    leaf(&format!("{name}.bytes"), &[PhysicalType::BYTE_ARRAY])
                })),
            };
        let is_whole = |column: &usize| {
            let kind = schema.column(*column).physical_type();
            matches!(kind, PhysicalType::INT64 | PhysicalType::INT32)
        };
        let told = match (&options.label_column, of_type("ClassLabel")[..].first()) {
            (Some(name), _) => Some(class(name)),
            (None, Some(name)) if of_type("ClassLabel").len() == 1 => Some(class(name)),
            (None, Some(_)) => Some(None),
            (None, None) => class("label").map(Some),
        };
        let is_guess = told.is_none();
        let label = told.unwrap_or_else(|| {
            let columns = roots.iter().filter_map(|name| class(name));
            only(columns.filter(|column| Some(*column) != image)).filter(is_whole)
        });
        if let (true, Some(image)) = (only_images, image) {
            return Ok(Self { image, label: None, is_guess: false, names: None });
        }
        let (Some(image), Some(label)) = (image, label) else {
            return Err(Error::BadFile {
                path: table.path.clone(),
                found: format!("the columns {}", describe(schema)),
                expected: "one of pictures (its bytes) and one of labels (whole numbers, words, or true and false)"
                    .to_string(),
                advice: "name them with --image-column and --label-column".to_string(),
            });
        };
        let root = schema.column(label).path().parts().first().cloned().unwrap_or_default();
        let names = features.as_ref().and_then(|all| all.get(&root)?["names"].as_array().cloned());
        // What is not text is named as it is written there.
        let name = |name: &Value| name.as_str().map_or_else(|| name.to_string(), str::to_string);
        let names = names.map(|names| names.iter().map(name).collect());
        let label = Some((label, schema.column(label).physical_type()));
        Ok(Self { image, label, is_guess, names })
    }

    /// Reads the labels as they are written in the file. If all of them are null, there are none.
    fn written(&self, table: &Table) -> Result<Written> {
        fn whole<T: Into<i64>>(numbers: Vec<T>) -> Vec<i64> {
            numbers.into_iter().map(Into::into).collect()
        }
        let nothing = Written::Nothing(table.rows);
        let Some((label, kind)) = self.label else { return Ok(nothing) };
        let numbers = match kind {
            PhysicalType::BYTE_ARRAY => {
                return match table.labels::<ByteArrayType>(label)? {
                    Some(all) => words(&table.path, &all).map(Written::Words),
                    None => Ok(nothing),
                };
            }
            PhysicalType::BOOLEAN => table.labels::<BoolType>(label)?.map(whole),
            PhysicalType::INT32 => table.labels::<Int32Type>(label)?.map(whole),
            _ => table.labels::<Int64Type>(label)?,
        };
        Ok(numbers.map_or(nothing, Written::Numbers))
    }
}

/// The labels of a file that are words. Rows that have the same word share it: a short file may name a long word for
/// each of a million rows.
///
/// # Errors
/// A word that is too long for a label.
fn words(path: &Path, written: &[ByteArray]) -> Result<Vec<Arc<str>>> {
    let mut known: HashSet<Arc<str>> = HashSet::new();
    let word = |(row, word): (usize, &ByteArray)| {
        if word.data().len() > LONGEST_LABEL {
            return Err(Error::BadFile {
                path: path.into(),
                found: format!("a label of {} bytes in row {row}", word.data().len()),
                expected: format!("{LONGEST_LABEL} at most"),
                advice: "name another column with --label-column".to_string(),
            });
        }
        let word = String::from_utf8_lossy(word.data());
        Ok(known.get(&*word).cloned().unwrap_or_else(|| {
            let word: Arc<str> = Arc::from(&*word);
            known.insert(word.clone());
            word
        }))
    };
    written.iter().enumerate().map(word).collect()
}

/// The only item of an iterator, or `None` if there are none or several.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// The columns as the hub's library declares them in the file: by name, each with its `_type`.
fn features(table: &Table) -> Option<serde_json::Map<String, Value>> {
    let pairs = table.metadata.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
    let about: Value = serde_json::from_str(text).ok()?;
    about.pointer("/info/features")?.as_object().cloned()
}

/// The labels of a file, as they are written.
enum Written {
    Numbers(Vec<i64>),
    Words(Vec<Arc<str>>),
    /// This number of images without labels.
    Nothing(usize),
}

impl Default for Written {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl Written {
    /// Whether there are labels: negative numbers alone stand for images without labels.
    fn has_labels(&self) -> bool {
        match self {
            Self::Numbers(numbers) => numbers.iter().any(|&number| number >= 0),
            Self::Words(_) => true,
            Self::Nothing(_) => false,
        }
    }

    /// Converts each label to an index into `names`.
    fn labels(self, path: &Path, names: &[String]) -> Result<Vec<u32>> {
        match self {
            Self::Numbers(numbers) => {
                let numbers = numbers.into_iter().enumerate();
                numbers.map(|(row, class)| label(path, row, class, names.len())).collect()
            }
            Self::Words(words) => {
                let mut places: HashMap<&str, u32> = HashMap::new();
                for (at, name) in (0..).zip(names) {
                    // Of equal names, the first counts.
                    places.entry(name.as_str()).or_insert(at);
                }
                let place = |(row, word): (usize, Arc<str>)| match places.get(&*word) {
                    Some(&place) => Ok(place),
                    None => Err(bad_row(path, row, format!("label {word:?}"), names.join(", "))),
                };
                words.into_iter().enumerate().map(place).collect()
            }
            Self::Nothing(rows) => Ok(vec![ImageSet::NO_LABEL; rows]),
        }
    }
}

/// Returns the list of class names that the files have, and the labels of each file: numbers are places in this list. A
/// file's own numbers are places in its own list. If that is not the list of all files, they become words.
///
/// # Errors
/// A number that is no place in the list of its file; numbers without a list beside words.
fn with_one_list(
    files: &[(&Path, Option<&[String]>)],
    mut written: Vec<Written>,
) -> Result<(Option<Vec<String>>, Vec<Written>)> {
    let mut lists = files.iter().filter_map(|(_, names)| *names);
    let Some(first) = lists.next() else {
        let words = |one: &Written| matches!(one, Written::Words(these) if !these.is_empty());
        let numbers = |one: &Written| matches!(one, Written::Numbers(these) if !these.is_empty());
        return match (written.iter().any(words), written.iter().position(numbers)) {
            (true, Some(at)) => Err(Error::BadFile {
                path: files[at].0.into(),
                found: "numbers as labels, without names".to_string(),
                expected: "words, as in other files of the data set".to_string(),
                advice: FETCH_AGAIN.into(),
            }),
            _ => Ok((None, written)),
        };
    };
    let mut all = first.to_vec();
    if lists.clone().all(|list| list == first) {
        return Ok((Some(all), written));
    }
    for name in lists.flatten() {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    for (one, (path, names)) in written.iter_mut().zip(files) {
        if let (Written::Numbers(numbers), Some(names)) = (&*one, names) {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
            let word = |(row, &class): (usize, &i64)| {
                Ok(names[label(path, row, class, names.len())? as usize].clone())
            };
            *one = Written::Words(numbers.iter().enumerate().map(word).collect::<Result<_>>()?);
        }
    }
    Ok((Some(all), written))
}

/// The class names in the file; or else the labels that are words, in order; or else the numbers up to the
/// largest.
///
/// # Errors
/// More than 32,768 of them: these labels are no classes, and whatever has a row for each class would not fit into the
/// memory.
fn class_names(path: &Path, told: Option<Vec<String>>, written: &[Written]) -> Result<Vec<String>> {
    const MOST: i64 = 1 << 15;
    let refused = |found: String| Error::BadFile {
        path: path.into(),
        found,
        expected: format!("labels of at most {MOST} classes"),
        advice: "name another column with --label-column".to_string(),
    };
    match told {
        Some(told) if told.len() as i64 > MOST => {
            return Err(refused(format!("{} names of classes", told.len())));
        }
        Some(told) => return Ok(told),
        None => {}
    }
    let mut words = BTreeSet::new();
    let mut largest = -1;
    for one in written {
        match one {
            Written::Words(these) => words.extend(these.iter().map(|word| &**word)),
            Written::Nothing(_) => {}
            Written::Numbers(these) => largest = these.iter().copied().fold(largest, i64::max),
        }
    }
    match words.len() {
        0 if largest >= MOST => Err(refused(format!("the label {largest}"))),
        count if count as i64 > MOST => Err(refused(format!("{count} different labels"))),
        0 => Ok((0..=largest).map(|number| number.to_string()).collect()),
        _ => Ok(words.into_iter().map(str::to_string).collect()),
    }
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

    /// Numbers that identify rows are no classes, nor are words that do.
    #[test]
    fn too_many_classes_are_refused() {
        let names = |written| class_names(Path::new("a.parquet"), None, &[written]);
        let words =
            |count: usize| Written::Words((0..count).map(|at| Arc::from(at.to_string())).collect());
        assert_eq!(names(Written::Numbers(vec![3, 32_767])).unwrap().len(), 32_768);
        assert_eq!(names(words(32_768)).unwrap().len(), 32_768);
        for (written, found) in [
            (Written::Numbers(vec![3, 32_768]), "the label 32768"),
            (words(32_769), "32769 different labels"),
        ] {
            let said = names(written).unwrap_err().to_string();
            assert!(said.contains(found) && said.contains("--label-column"), "{said}");
        }
        let listed = |count: usize| {
            let told = (0..count).map(|at| at.to_string()).collect();
            class_names(Path::new("a.parquet"), Some(told), &[])
        };
        assert_eq!(listed(32_768).unwrap().len(), 32_768);
        let said = listed(32_769).unwrap_err().to_string();
        assert!(said.contains("found 32769 names of classes"), "{said}");
    }

    #[test]
    fn a_word_is_the_first_class_of_its_name() {
        let names = ["b", "a", "b"].map(str::to_string);
        let labels = |words: &[&str]| {
            let words = words.iter().map(|word| Arc::<str>::from(*word)).collect();
            Written::Words(words).labels(Path::new("a.parquet"), &names)
        };
        assert_eq!(labels(&["a", "b", "a"]).unwrap(), [1, 0, 1]);
        let said = labels(&["a", "c"]).unwrap_err().to_string();
        assert!(said.contains("label \"c\" in row 1") && said.contains("b, a, b"), "{said}");
    }
}
