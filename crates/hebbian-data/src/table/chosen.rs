//! The choice of the columns of pictures and labels.

use std::collections::BTreeSet;

use parquet::basic::Type as PhysicalType;
use parquet::data_type::{BoolType, ByteArrayType, Int32Type, Int64Type};
use serde_json::Value;

use super::file::{Table, describe};
use super::labels::{Written, words};
use crate::{Error, LoadOptions, Result};

/// The types that labels may have.
const LABELS: [PhysicalType; 4] =
    [PhysicalType::INT64, PhysicalType::INT32, PhysicalType::BOOLEAN, PhysicalType::BYTE_ARRAY];

/// The columns of pictures and labels in a file.
pub(super) struct Chosen {
    pub image: usize,
    /// `None` for images without labels.
    pub label: Option<(usize, PhysicalType)>,
    /// Whether the column of labels is neither named nor declared nor called `label`.
    pub is_guess: bool,
    /// The names of the classes in the file.
    pub names: Option<Vec<String>>,
}

impl Chosen {
    /// Chooses the columns that the options name; or else those that the file declares to be an `Image` and a
    /// `ClassLabel`; or else the only column of pictures and, of labels, the one called `label` or, if no other column
    /// could be labels, one of whole numbers.
    pub fn of(table: &Table, only_images: bool, options: &LoadOptions) -> Result<Self> {
        let features = table.features();
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
    pub fn written(&self, table: &Table) -> Result<Written> {
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

/// The only item of an iterator, or `None` if there are none or several.
fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.next().is_none().then_some(first)
}
