//! Parquet files of sets that the library does not know.

use std::sync::Arc;

use parquet::basic::{Compression, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::png;

/// Channels, height and width of the pictures.
pub const COLOUR: (usize, usize, usize) = (3, 4, 6);

/// A parquet file: pictures in `photo`, labels as numbers in `kind` or as words. An empty label is null.
pub fn table(pictures: &[Vec<u8>], labels: &[&str], features: Option<&str>) -> Vec<u8> {
    table_as((PhysicalType::INT64, Compression::UNCOMPRESSED), pictures, labels, features)
}

/// The same with numbers of another type, and with compression.
pub fn table_as(
    (numbers, compression): (PhysicalType, Compression),
    pictures: &[Vec<u8>],
    labels: &[&str],
    features: Option<&str>,
) -> Vec<u8> {
    let levels: Vec<i16> = labels.iter().map(|label| i16::from(!label.is_empty())).collect();
    let present: Vec<&str> = labels.iter().copied().filter(|label| !label.is_empty()).collect();
    let are_words = present.iter().any(|label| label.parse::<i64>().is_err());
    let label = match are_words {
        true => "optional binary kind (UTF8);".to_string(),
        false => format!("optional {} kind;", numbers.to_string().to_lowercase()),
    };
    let schema = format!(
        "message schema {{ optional int64 id; optional group photo {{ optional binary bytes; }} \
         optional group other {{ optional binary bytes; }} {label} }}"
    );
    let pair = features.map(|features| KeyValue {
        key: "huggingface".to_string(),
        value: Some(format!("{{\"info\": {{\"features\": {features}}}}}")),
    });
    let properties = WriterProperties::builder()
        .set_key_value_metadata(pair.map(|pair| vec![pair]))
        .set_compression(compression)
        .build();
    let mut bytes = Vec::new();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    let mut group = file.next_row_group().unwrap();
    let ones = vec![1; labels.len()];
    let words =
        |texts: &[&str]| texts.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
    let mut number = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        match number {
            0 => {
                let ids: Vec<i64> = (0..labels.len() as i64).collect();
                column.typed::<Int64Type>().write_batch(&ids, Some(&ones), None).unwrap();
            }
            1 | 2 => {
                let values: Vec<ByteArray> =
                    pictures.iter().map(|one| ByteArray::from(one.clone())).collect();
                let twos = vec![2; labels.len()];
                column.typed::<ByteArrayType>().write_batch(&values, Some(&twos), None).unwrap();
            }
            _ if are_words => {
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&words(&present), Some(&levels), None)
                    .unwrap();
            }
            _ => {
                let all: Vec<i64> = present.iter().map(|label| label.parse().unwrap()).collect();
                match numbers {
                    PhysicalType::INT32 => {
                        let all: Vec<i32> = all.iter().map(|&label| label as i32).collect();
                        column.typed::<Int32Type>().write_batch(&all, Some(&levels), None).unwrap()
                    }
                    PhysicalType::BOOLEAN => {
                        let all: Vec<bool> = all.iter().map(|&label| label == 1).collect();
                        column.typed::<BoolType>().write_batch(&all, Some(&levels), None).unwrap()
                    }
                    _ => {
                        column.typed::<Int64Type>().write_batch(&all, Some(&levels), None).unwrap()
                    }
                };
            }
        }
        column.close().unwrap();
        number += 1;
    }
    group.close().unwrap();
    file.close().unwrap();
    bytes
}

/// The description of the columns, in the form of the library that writes such files.
pub const FEATURES: &str = r#"{"id": {"dtype": "int64", "_type": "Value"}, "photo": {"_type": "Image"},
    "other": {"dtype": "string", "_type": "Value"}, "kind": {"names": ["wasp", "ant", "bee"], "_type": "ClassLabel"}}"#;

/// Pictures in colour.
pub fn pictures(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|i| png(i, COLOUR)).collect()
}
