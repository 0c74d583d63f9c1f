//! Parquet files in the hub's format: a column of structs with a picture in `bytes`, and a column of labels.

mod chosen;
mod file;
mod footer;
mod labels;
mod pages;
mod rows;
mod thrift;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Type as PhysicalType;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};

use self::chosen::Chosen;
use self::file::{Table, describe};
use self::labels::{Written, bad_row, class_names, label, with_one_list};
use self::rows::Rows;
use crate::collect::{Split, all_broken, collect, lost_class};
use crate::pictures::{Form, How, Pictures, Problem};
use crate::split::is_unlabelled;
use crate::{DatasetName, Error, ImageSet, LoadOptions, OnProgress, Progress, Result};

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

fn expected_image((channels, height, width): (usize, usize, usize)) -> String {
    let color = if channels == 1 { "grey" } else { "RGB" };
    format!("a PNG of {height}x{width} pixels, 8-bit {color}")
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
