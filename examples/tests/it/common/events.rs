//! Event files, as TensorBoard reads them.

use std::path::Path;

/// The step and the tag of each value and picture in a folder's event files, sorted: in those whose name ends in
/// `.readouts`, or in the others. Every record must end where its length says.
pub fn events(folder: &Path, readouts: bool) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("events.out.tfevents.") || name.ends_with(".readouts") != readouts {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u64::from_le_bytes(*length) as usize;
            // The data come after the checksum of the length, and before their own.
            found.extend(event(&after[4..4 + length]));
            rest = &after[length + 8..];
        }
        assert!(rest.is_empty(), "{name} ends in half a record");
    }
    found.sort();
    found
}

/// `Event { 2: step, 5: Summary { 1: Value { 1: tag } } }`.
fn event(data: &[u8]) -> Vec<(u64, String)> {
    let mut step = 0;
    let mut tags = Vec::new();
    for (number, field) in fields(data) {
        match (number, field) {
            (2, Field::Number(number)) => step = number,
            (5, Field::Bytes(summary)) => {
                for (_, value) in fields(summary) {
                    let Field::Bytes(value) = value else { panic!("a value is a message") };
                    tags.extend(fields(value).into_iter().filter_map(|field| match field {
                        (1, Field::Bytes(tag)) => Some(String::from_utf8(tag.to_vec()).unwrap()),
                        _ => None,
                    }));
                }
            }
            _ => {}
        }
    }
    tags.into_iter().map(|tag| (step, tag)).collect()
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message in protocol-buffer form, by their numbers.
fn fields(mut data: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut data)),
            2 => {
                let length = varint(&mut data) as usize;
                Field::Bytes(data.split_off(..length).unwrap())
            }
            width => {
                data.split_off(..if width == 1 { 8 } else { 4 }).unwrap();
                Field::Fixed
            }
        };
        found.push((key >> 3, field));
    }
    found
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut number = 0;
    for at in 0.. {
        let byte = data.split_off_first().unwrap();
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}
