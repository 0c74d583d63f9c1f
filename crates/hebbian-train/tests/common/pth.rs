//! Writes what `torch.save` writes, by hand: an archive, a pickle, a `state_dict`.

use candle::{DType, Tensor};

/// A zip archive of these parts, uncompressed, in the plain form or that for large files.
pub fn archive(parts: &[(&str, &[u8])], large: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in parts {
        let local = file.len();
        let (length, crc) = (bytes.len() as u32, crc32(bytes));
        // Version, flags and method; time and date; sum and lengths; lengths of name and extra field.
        let mut head = [20u16, 0, 0, 0, 0].map(u16::to_le_bytes).concat();
        head.extend([crc, length, length].map(u32::to_le_bytes).concat());
        head.extend((name.len() as u16).to_le_bytes());
        file.extend([&b"PK\x03\x04"[..], &head, &[0, 0], name.as_bytes(), bytes].concat());

        let mut extra = Vec::new();
        let mut entry = [&[20, 0], &head[..]].concat();
        if large {
            extra = [&[1, 0, 24, 0][..], &u64::from(length).to_le_bytes()].concat();
            extra.extend([u64::from(length), local as u64].map(u64::to_le_bytes).concat());
            entry[16..24].fill(0xff);
        }
        // Lengths of extra field and comment; disk, attributes; where it begins.
        entry.extend((extra.len() as u16).to_le_bytes());
        entry.extend([0; 10]);
        entry.extend((if large { u32::MAX } else { local as u32 }).to_le_bytes());
        directory.extend([&b"PK\x01\x02"[..], &entry, name.as_bytes(), &extra].concat());
    }
    let (start, count) = (file.len() as u64, parts.len() as u64);
    file.extend(&directory);
    if large {
        let end = file.len() as u64;
        let sizes = [count, count, directory.len() as u64, start].map(u64::to_le_bytes).concat();
        file.extend([&b"PK\x06\x06"[..], &44u64.to_le_bytes(), &[0; 12], &sizes].concat());
        file.extend([&b"PK\x06\x07"[..], &[0; 4], &end.to_le_bytes(), &[1, 0, 0, 0]].concat());
        file.extend([&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0; 2]].concat());
        return file;
    }
    let counts = [count as u16, count as u16].map(u16::to_le_bytes).concat();
    let sizes = [directory.len() as u32, start as u32].map(u32::to_le_bytes).concat();
    file.extend([&b"PK\x05\x06"[..], &[0; 4], &counts, &sizes, &[0; 2]].concat());
    file
}

/// The CRC-32 of zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

/// A `.pth` of f32 and f64 tensors, which lie in rows.
pub fn pth(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}(".to_vec();
    let mut numbers = Vec::new();
    for (at, (name, tensor)) in tensors.iter().enumerate() {
        let tensor = tensor.flatten_all().unwrap();
        let (kind, bytes): (_, Vec<u8>) = match tensor.dtype() {
            DType::F32 => {
                let values = tensor.to_vec1::<f32>().unwrap();
                ("FloatStorage", values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            DType::F64 => {
                let values = tensor.to_vec1::<f64>().unwrap();
                ("DoubleStorage", values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            other => panic!("{name} is of type {other:?}"),
        };
        let shape = tensors[at].1.dims();
        let strides = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product::<usize>());
        pickle.extend(text(name));
        pickle.extend(tensor_of(kind, at, bytes.len(), 0, shape, &strides.collect::<Vec<_>>()));
        numbers.push((format!("a/data/{at}"), bytes));
    }
    pickle.extend(b"u.");
    let mut parts = vec![("a/data.pkl", &pickle[..])];
    parts.extend(numbers.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
    archive(&parts, false)
}

/// The instructions that make a tensor of the part `key`.
pub fn tensor_of(
    kind: &str,
    key: usize,
    count: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
) -> Vec<u8> {
    let sizes = |sizes: &[usize]| {
        let numbers: Vec<u8> = sizes.iter().flat_map(|&size| number(size)).collect();
        [b"(", &numbers[..], b"t"].concat()
    };
    [
        &b"ctorch._utils\n_rebuild_tensor_v2\n(("[..],
        &text("storage"),
        format!("ctorch\n{kind}\n").as_bytes(),
        &text(&key.to_string()),
        &text("cpu"),
        &number(count),
        b"tQ",
        &number(offset),
        &sizes(shape),
        &sizes(strides),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The instruction for a number of 8 bytes.
fn number(number: usize) -> Vec<u8> {
    [&[0x8a, 8], &(number as u64).to_le_bytes()[..]].concat()
}
