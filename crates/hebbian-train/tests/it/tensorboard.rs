//! Event files, read back by a parser written from the format's definition.

use hebbian_train::{EventFile, Picture};

/// CRC-32C bit by bit, then TensorFlow's mask.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in data {
        for bit in 0..8 {
            let feedback = (crc ^ u32::from(byte >> bit)) & 1;
            crc >>= 1;
            if feedback == 1 {
                crc ^= 0x82f63b78;
            }
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282ead8)
}

fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(file[8..12].try_into().unwrap()), masked_crc(&file[..8]));
        let data = &file[12..12 + length];
        let crc = u32::from_le_bytes(file[12 + length..16 + length].try_into().unwrap());
        assert_eq!(crc, masked_crc(data));
        records.push(data.to_vec());
        file = &file[16 + length..];
    }
    records
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Number(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

/// The fields of a protocol-buffer message with their numbers.
fn fields(mut data: &[u8]) -> Vec<(u64, Field)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    fn take<'a>(data: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (head, tail) = data.split_at(count);
        *data = tail;
        head
    }
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut data)),
            1 => Field::Eight(take(&mut data, 8).try_into().unwrap()),
            2 => {
                let length = varint(&mut data) as usize;
                Field::Bytes(take(&mut data, length).to_vec())
            }
            5 => Field::Four(take(&mut data, 4).try_into().unwrap()),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn message(field: &Field) -> Vec<(u64, Field)> {
    match field {
        Field::Bytes(bytes) => fields(bytes),
        other => panic!("{other:?} is no message"),
    }
}

fn text(text: &str) -> Field {
    Field::Bytes(text.as_bytes().to_vec())
}

#[test]
fn events_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventFile::create(folder.path()).unwrap();
    events.scalars(300, &[("accuracy", 0.5), ("layer 0/radius", -2.0)]).unwrap();
    let mut picture = Picture::new(200, 3, [10, 20, 30]);
    picture.set(199, 2, [1, 2, 3]);
    events.picture(1 << 40, "filters", &picture).unwrap();

    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    assert!(path.file_name().unwrap().to_string_lossy().starts_with("events.out.tfevents."));
    let records = records(&std::fs::read(path).unwrap());
    assert_eq!(records.len(), 3);

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let events: Vec<_> = records.iter().map(|record| fields(record)).collect();
    for event in &events {
        let (1, Field::Eight(time)) = event[0] else { panic!("{event:?}") };
        assert!((f64::from_le_bytes(time) - now.as_secs_f64()).abs() < 60.0);
    }
    assert_eq!(events[0][1..], [(3, text("brain.Event:2"))]);

    assert_eq!(events[1][1], (2, Field::Number(300)));
    assert_eq!(events[1][2].0, 5);
    let values = message(&events[1][2].1);
    let four = |value: f32| Field::Four(value.to_le_bytes());
    assert_eq!(values.len(), 2);
    assert_eq!(message(&values[0].1), [(1, text("accuracy")), (2, four(0.5))]);
    assert_eq!(message(&values[1].1), [(1, text("layer 0/radius")), (2, four(-2.0))]);

    assert_eq!(events[2][1], (2, Field::Number(1 << 40)));
    let value = message(&message(&events[2][2].1)[0].1);
    assert_eq!(value[0], (1, text("filters")));
    assert_eq!(value[1].0, 4);
    let image = message(&value[1].1);
    let sizes = [(1, Field::Number(3)), (2, Field::Number(200)), (3, Field::Number(3))];
    assert_eq!(image[..3], sizes);
    let (4, Field::Bytes(png)) = &image[3] else { panic!("{image:?}") };
    let decoded = image::load_from_memory(png).unwrap().to_rgb8();
    assert_eq!(decoded.dimensions(), (200, 3));
    assert_eq!(decoded.get_pixel(0, 0).0, [10, 20, 30]);
    assert_eq!(decoded.get_pixel(199, 2).0, [1, 2, 3]);
}

#[test]
fn two_files_of_one_second_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    (0..5).for_each(|_| drop(EventFile::create(folder.path()).unwrap()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5);
}
