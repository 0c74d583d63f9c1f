//! Parquet files as the hub has them: a column of structs with a picture in `bytes`, and one of labels.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::basic::Type as PhysicalType;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::SchemaDescriptor;
use serde_json::Value;

use crate::collect::{Encoded, Fit, Parts, collect};
use crate::error::FETCH_AGAIN;
use crate::footer;
use crate::guard::caught;
use crate::images::MOST_IMAGES;
use crate::pictures::{Pictures, Problem};
use crate::{DatasetName, Error, ImageSet, LoadOptions, OnProgress, Progress, Result};

/// The least bytes that an image takes in a table: no PNG is shorter.
const LEAST_BYTES: u64 = 57;
/// A file whose head has been looked at.
struct Table {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    rows: usize,
}

impl Table {
    fn open(path: &Path) -> Result<Self> {
        footer::check(path)?;
        let file = File::open(path).map_err(Error::io(path))?;
        let bytes = file.metadata().map_err(Error::io(path))?.len();
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(broken(path))?;
        let total = reader.metadata().file_metadata().num_rows().max(0) as u64;
        let groups = reader.metadata().row_groups().iter();
        let rows = groups.fold(0, |rows: u64, group| rows.saturating_add(group.num_rows() as u64));
        let most = (bytes / LEAST_BYTES).min(MOST_IMAGES as u64);
        if let Some(rows) = [rows, total].into_iter().find(|&rows| rows > most) {
            let expected = format!("{most} at most in a file of {bytes} bytes");
            return Err(Error::bad_file(path, format!("{rows} rows"), expected));
        }
        if rows == 0 {
            return Err(Error::bad_file(path, "no rows", "at least one image"));
        }
        Ok(Self { path: path.to_path_buf(), reader, rows: rows as usize })
    }

    fn schema(&self) -> &SchemaDescriptor {
        self.reader.metadata().file_metadata().schema_descr()
    }

    /// The values of a column, a row group at a time.
    fn groups<T: DataType>(&self, column: usize) -> impl Iterator<Item = Result<Vec<T::T>>> {
        (0..self.reader.num_row_groups()).map(move |group| {
            guarded(|| values::<T>(&*self.reader.get_row_group(group)?, column))
                .map_err(broken(&self.path))
        })
    }
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error + '_ {
    move |error| {
        Error::bad_file(path, format!("a broken parquet file ({error})"), "a whole parquet file")
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
    let (mut pictures, mut labels) = (Pictures::exactly(shape), Vec::new());
    for (table, (image_column, label_column)) in tables {
        let (path, before) = (&table.path, labels.len());
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let groups = table.groups::<ByteArrayType>(image_column);
        for (encoded, classes) in groups.zip(table.groups::<Int64Type>(label_column)) {
            let (encoded, first) = (encoded?, labels.len() - before);
            let encoded: Vec<&[u8]> = encoded.iter().map(ByteArray::data).collect();
            pictures.extend(&encoded).map_err(|(row, problem)| {
                let found = match problem {
                    Problem::Bad(found) => found,
                    _ => "another size".to_string(),
                };
                bad_row(path, first + row, found, expected_image(shape))
            })?;
            // The first group vouches for the size of the rest: no doubling, no copy.
            pictures.expect(total)?;
            for class in classes? {
                labels.push(label(path, labels.len() - before, class, name.classes().len())?);
            }
            let (done, total) = (labels.len() as u64, total as u64);
            on_progress(Progress::Decode { file: &file_name, done, total });
        }
    }
    pictures.with_labels(labels)
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

/// The columns of images and labels, by number.
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

/// parquet 60 has assertions that a damaged page can fail.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught(read).unwrap_or_else(|said| {
        Err(ParquetError::General(format!("its pages contradict each other: {said}")))
    })
}

/// All values of a column in a row group; none may be null.
fn values<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
) -> Result<Vec<T::T>, ParquetError> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let name = group.metadata().column(column).column_path().string();
    let mut reader = T::get_column_reader(group.get_column_reader(column)?)
        .ok_or_else(|| ParquetError::General(format!("column {name} changes its type")))?;
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    if values.len() != rows {
        let found = values.len();
        return Err(ParquetError::General(format!(
            "column {name} has {found} values for {rows} rows"
        )));
    }
    Ok(values)
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

/// The splits of a data set of which nothing is known: files with pictures and labels in columns that its
/// own metadata tell.
pub(crate) struct Tables {
    /// Of each split its name and its files, in order.
    pub splits: Vec<(String, Vec<PathBuf>)>,
}

impl Tables {
    /// The images of every split, and the name of each class.
    pub fn read(
        &self,
        options: &LoadOptions,
        on_progress: &OnProgress,
    ) -> Result<(Vec<ImageSet>, Vec<String>)> {
        let open = |(name, paths): &(String, Vec<PathBuf>)| {
            let tables = paths.iter().map(|path| {
                let table = Table::open(path)?;
                let chosen = Chosen::of(&table, options)?;
                Ok((table, chosen))
            });
            Ok((name.clone(), tables.collect::<Result<Vec<_>>>()?))
        };
        let opened = self.splits.iter().map(open).collect::<Result<Vec<_>>>()?;
        let all = || opened.iter().flat_map(|(_, tables)| tables);
        let written =
            all().map(|(table, chosen)| chosen.written(table)).collect::<Result<Vec<_>>>()?;
        let names = class_names(all().find_map(|(_, chosen)| chosen.names.clone()), &written);
        let mut written = written.into_iter();
        let splits: Vec<Split> = opened
            .into_iter()
            .map(|(name, tables)| {
                let tables = tables.into_iter().map(|(table, chosen)| {
                    let labels = written.next().unwrap_or_default().labels(&table.path, &names)?;
                    Ok((table, chosen.image, labels))
                });
                Ok(Split { name, tables: tables.collect::<Result<_>>()? })
            })
            .collect::<Result<_>>()?;
        Ok((collect(&splits, Fit::of(options), on_progress)?, names))
    }
}

/// Files with the column of pictures and the label of each row.
struct Split {
    name: String,
    tables: Vec<(Table, usize, Vec<u32>)>,
}

impl Parts for Split {
    type Bytes = ByteArray;

    fn len(&self) -> usize {
        self.tables.iter().map(|(table, ..)| table.rows).sum()
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn parts(&self) -> impl Iterator<Item = Result<Vec<Encoded<ByteArray>>>> {
        self.tables.iter().flat_map(|(table, column, labels)| {
            let mut rows = labels.iter().copied().enumerate();
            table.groups::<ByteArrayType>(*column).map(move |pictures| {
                let rows = pictures?.into_iter().zip(rows.by_ref());
                let encoded = rows.map(|(bytes, (row, label))| Encoded {
                    bytes,
                    label,
                    path: table.path.clone(),
                    row: Some(row),
                });
                Ok(encoded.collect())
            })
        })
    }
}

/// The columns of pictures and labels in a file.
struct Chosen {
    image: usize,
    label: usize,
    /// The labels are words.
    are_words: bool,
    /// What the file calls the classes.
    names: Option<Vec<String>>,
}

impl Chosen {
    /// Those that the options name; else those that the file says are an `Image` and a `ClassLabel`; else the
    /// only ones that can be.
    fn of(table: &Table, options: &LoadOptions) -> Result<Self> {
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
        let class = |name: &str| leaf(name, &[PhysicalType::INT64, PhysicalType::BYTE_ARRAY]);
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
        let label = match (&options.label_column, of_type("ClassLabel")[..].first()) {
            (Some(name), _) => class(name),
            (None, Some(name)) if of_type("ClassLabel").len() == 1 => class(name),
            (None, Some(_)) => None,
            (None, None) => class("label").or_else(|| {
                only(roots.iter().filter_map(|name| leaf(name, &[PhysicalType::INT64])))
            }),
        };
        let (Some(image), Some(label)) = (image, label) else {
            return Err(Error::BadFile {
                path: table.path.clone(),
                found: format!("the columns {}", describe(schema)),
                expected: "one of pictures (its bytes) and one of labels (INT64, or words)"
                    .to_string(),
                advice: "name them with --image-column and --label-column".to_string(),
            });
        };
        let root = schema.column(label).path().parts().first().cloned().unwrap_or_default();
        let names = features.as_ref().and_then(|all| all.get(&root)?["names"].as_array().cloned());
        let names = names.map(|names| {
            names.iter().map(|name| name.as_str().unwrap_or_default().to_string()).collect()
        });
        let are_words = schema.column(label).physical_type() == PhysicalType::BYTE_ARRAY;
        Ok(Self { image, label, are_words, names })
    }

    /// The labels as they are written.
    fn written(&self, table: &Table) -> Result<Written> {
        if !self.are_words {
            let groups = table.groups::<Int64Type>(self.label).collect::<Result<Vec<_>>>()?;
            return Ok(Written::Numbers(groups.concat()));
        }
        let mut words = Vec::new();
        for group in table.groups::<ByteArrayType>(self.label) {
            words.extend(
                group?.iter().map(|word| String::from_utf8_lossy(word.data()).into_owned()),
            );
        }
        Ok(Written::Words(words))
    }
}

/// The only one of them.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// What the hub's library says in the file of its columns: by name, each with its `_type`.
fn features(table: &Table) -> Option<serde_json::Map<String, Value>> {
    let pairs = table.reader.metadata().file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == "huggingface")?.value.as_deref()?;
    let about: Value = serde_json::from_str(text).ok()?;
    about.pointer("/info/features")?.as_object().cloned()
}

/// The labels of a file.
enum Written {
    Numbers(Vec<i64>),
    Words(Vec<String>),
}

impl Default for Written {
    fn default() -> Self {
        Self::Numbers(Vec::new())
    }
}

impl Written {
    /// Each as a place in the names.
    fn labels(self, path: &Path, names: &[String]) -> Result<Vec<u32>> {
        match self {
            Self::Numbers(numbers) => {
                let numbers = numbers.into_iter().enumerate();
                numbers.map(|(row, class)| label(path, row, class, names.len())).collect()
            }
            Self::Words(words) => {
                let place = |(row, word): (usize, String)| match names
                    .iter()
                    .position(|name| *name == word)
                {
                    Some(place) => Ok(place as u32),
                    None => Err(bad_row(path, row, format!("label {word:?}"), names.join(", "))),
                };
                words.into_iter().enumerate().map(place).collect()
            }
        }
    }
}

/// What the file calls the classes, else the words in order, else the numbers up to the largest.
fn class_names(told: Option<Vec<String>>, written: &[Written]) -> Vec<String> {
    /// More than that are no classes.
    const MOST: i64 = 100_000;
    if let Some(told) = told {
        return told;
    }
    let mut words = BTreeSet::new();
    let mut largest = -1;
    for one in written {
        match one {
            Written::Words(these) => words.extend(these.iter().cloned()),
            Written::Numbers(these) => largest = these.iter().copied().fold(largest, i64::max),
        }
    }
    match words.is_empty() {
        true => (0..=largest.min(MOST)).map(|number| number.to_string()).collect(),
        false => words.into_iter().collect(),
    }
}
