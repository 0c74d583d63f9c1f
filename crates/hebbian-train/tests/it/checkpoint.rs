//! Checkpoints, through real files.

use std::collections::BTreeMap;
use std::path::Path;

use candle::{DType, Device, Tensor};
use hebbian_train::{Checkpoint, save_checkpoint};
use sha2::{Digest, Sha256};

fn metadata() -> BTreeMap<String, String> {
    let keys = ["method", "preset", "version", "seed", "epoch", "dataset"];
    keys.into_iter().map(|key| (key.to_string(), format!("the \"{key}\""))).collect()
}

fn tensors() -> Vec<(String, Tensor)> {
    let cpu = &Device::Cpu;
    let weight = Tensor::arange(0f32, 6., cpu).unwrap().reshape((2, 3)).unwrap();
    vec![
        ("mask".to_string(), Tensor::new(&[1u8, 0, 1], cpu).unwrap()),
        ("layers.0.weight".to_string(), weight.t().unwrap()),
        ("head.weight".to_string(), weight.narrow(1, 1, 2).unwrap()),
        ("half".to_string(), weight.to_dtype(DType::BF16).unwrap()),
        ("scalar".to_string(), Tensor::new(0.1f64, cpu).unwrap()),
        ("empty".to_string(), Tensor::zeros((0, 4), DType::F32, cpu).unwrap()),
    ]
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save_checkpoint(&path, &tensors(), &metadata()).unwrap();
    assert_eq!(names(folder.path()), ["model.safetensors"]);

    let checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();
    let mut expected = metadata();
    expected.insert("format".to_string(), "pt".to_string());
    assert_eq!(checkpoint.metadata, expected);

    // Views with other strides arrive as the values that they show.
    let weight = checkpoint.take("layers.0.weight", (3, 2), DType::F32).unwrap();
    assert_eq!(weight.to_vec2::<f32>().unwrap(), [[0., 3.], [1., 4.], [2., 5.]]);
    let head = checkpoint.take("head.weight", (2, 2), DType::F64).unwrap();
    assert_eq!(head.to_vec2::<f64>().unwrap(), [[1., 2.], [4., 5.]]);
    let mask = checkpoint.take("mask", 3, DType::U8).unwrap();
    assert_eq!(mask.to_vec1::<u8>().unwrap(), [1, 0, 1]);
    let scalar = checkpoint.take("scalar", (), DType::F64).unwrap();
    assert_eq!(scalar.to_scalar::<f64>().unwrap(), 0.1);
    let names: Vec<&str> = checkpoint.names().collect();
    assert_eq!(names, ["empty", "half", "head.weight", "layers.0.weight", "mask", "scalar"]);
    assert_eq!(checkpoint.dims("layers.0.weight"), Some(&[3, 2][..]));
    assert_eq!(checkpoint.dims("scalar"), Some(&[][..]));
    assert_eq!(checkpoint.dims("head.bias"), None);
    // The tensor as it is in the file: bf16 holds 0 to 5 exactly.
    let half = checkpoint.tensor("half").unwrap();
    assert_eq!((half.dtype(), half.dims()), (DType::BF16, &[2, 3][..]));
    let half = half.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
    assert_eq!(half.to_vec1::<f32>().unwrap(), [0., 1., 2., 3., 4., 5.]);
}

#[test]
fn the_bytes_are_those_of_the_format() {
    // Format: u64 length of the header, the header, the data from offset 0 without gaps.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let weight = Tensor::new(&[1f32, -2.], &Device::Cpu).unwrap();
    save_checkpoint(&path, &[("w".to_string(), weight)], &BTreeMap::new()).unwrap();
    let file = |sum: &str| {
        let sum = format!(r#""hebbian_sha256":"sha256:{sum}""#);
        let tensor = r#""w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
        let header = format!(r#"{{"__metadata__":{{{sum},"format":"pt"}},{tensor}}}"#);
        let length = header.len().next_multiple_of(8);
        let mut bytes = (length as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(8 + length, b' ');
        bytes.extend([0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
        bytes
    };
    let sum = Sha256::digest(file(&"0".repeat(64)));
    let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(std::fs::read(&path).unwrap(), file(&sum));
}

#[test]
fn a_flipped_bit_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save_checkpoint(&path, &tensors(), &metadata()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut named = 0;
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // The file is removed first: one that is truncated and written again may be written through
        // to the disk.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::load(&path, &Device::Cpu).err();
        let error = error.unwrap_or_else(|| panic!("bit {bit} may be flipped")).to_string();
        assert!(error.contains("model.safetensors"), "{error}");
        named += usize::from(error.contains("is damaged"));
    }
    // All bits of the data and most of the header are reported as damage: what breaks the format
    // has another message.
    let data = 8 * (whole.len() - 8 - usize::from(whole[0]) - (usize::from(whole[1]) << 8));
    assert!(named > data, "{named}");
}

#[test]
fn numbers_of_another_type_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save_checkpoint(&path, &tensors(), &metadata()).unwrap();
    let relabel = |file: &[u8]| {
        let entry = br#""head.weight":{"dtype":"F32""#;
        let at = file.windows(entry.len()).position(|part| part == entry).unwrap() + 24;
        let mut bytes = file.to_vec();
        bytes[at..at + 3].copy_from_slice(b"U32");
        std::fs::write(&path, bytes).unwrap();
    };
    relabel(&std::fs::read(&path).unwrap());
    let error = Checkpoint::load(&path, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("model.safetensors is damaged: its SHA-256"), "{error}");

    // A file of another program, which has no checksum, is read, but its tensors are not given as
    // another type.
    let weight = Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap();
    let tensors = [("head.weight", weight.clone()), ("layer", weight)];
    safetensors::serialize_to_file(tensors, None, &path).unwrap();
    assert!(Checkpoint::load(&path, &Device::Cpu).is_ok());
    relabel(&std::fs::read(&path).unwrap());
    let checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();
    checkpoint.take("layer", (2, 2), DType::BF16).unwrap();
    let error = checkpoint.take("head.weight", (2, 2), DType::F32).unwrap_err().to_string();
    for part in ["head.weight", "model.safetensors", "is of type u32", "needs f32"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn equal_input_gives_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let save = |name: &str| {
        let path = folder.path().join(name);
        save_checkpoint(&path, &tensors(), &metadata()).unwrap();
        std::fs::read(path).unwrap()
    };
    let first = save("first");
    (0..20).for_each(|_| assert_eq!(save("again"), first));
}

#[test]
fn nothing_but_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    save_checkpoint(&path, &[], &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();
    assert_eq!(checkpoint.names().count(), 0);
    let error = checkpoint.take("head.weight", 1, DType::F32).unwrap_err().to_string();
    assert!(
        error.ends_with("empty has no tensor \"head.weight\"; it holds no tensors at all"),
        "{error}"
    );
    assert_eq!(checkpoint.metadata["format"], "pt");
}

#[test]
fn a_wrong_name_or_shape_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save_checkpoint(&path, &tensors(), &metadata()).unwrap();
    let checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();

    let error = checkpoint.take("layers.1.weight", 1, DType::F32).unwrap_err().to_string();
    for part in ["model.safetensors", "layers.1.weight", "head.weight, layers.0.weight, mask"] {
        assert!(error.contains(part), "{error}");
    }
    // The message names all that the file holds, whatever was taken before.
    checkpoint.names().for_each(|name| drop(checkpoint.tensor(name).unwrap()));
    assert_eq!(checkpoint.tensor("layers.1.weight").unwrap_err().to_string(), error);
    let error = checkpoint.take("head.weight", (10, 5), DType::F32).unwrap_err().to_string();
    for part in ["model.safetensors", "head.weight", "[2, 2]", "[10, 5]"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let load = || Checkpoint::load(&path, &Device::Cpu).unwrap_err().to_string();
    assert!(load().contains("cannot read"), "{}", load());

    save_checkpoint(&path, &tensors(), &metadata()).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for length in [0, 4, 8, 20, header, header + 1, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(load().contains("not a complete safetensors file"), "{length}: {}", load());
    }
    std::fs::write(&path, "<html>404: no such file, but here is a page</html>").unwrap();
    assert!(load().contains("not a complete safetensors file"), "{}", load());
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let twice = [tensors(), tensors()].concat();
    let error = save_checkpoint(folder.path().join("a"), &twice, &metadata()).unwrap_err();
    assert!(error.to_string().contains("\"mask\" is reserved or used twice"), "{error}");

    // A folder that is in fact a file, and a target that cannot be replaced.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = save_checkpoint(file.join("a"), &tensors(), &metadata()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write"), "{error}");
    let target = folder.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let error = save_checkpoint(&target, &tensors(), &metadata()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write"), "{error}");
    let mut left = names(folder.path());
    left.sort();
    assert_eq!(left, ["file", "target"]);
}

#[cfg(unix)]
#[test]
fn a_checkpoint_can_be_read_by_others_as_any_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode =
        |name: &str| folder.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    std::fs::write(folder.path().join("plain"), "").unwrap();
    save_checkpoint(folder.path().join("model"), &tensors(), &metadata()).unwrap();
    assert_eq!(mode("model"), mode("plain"));
}

/// A file of another program: a header, and whatever follows it.
fn foreign(path: &Path, header: &str, data: &[u8]) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_type_that_candle_lacks_stops_only_who_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    for (stored, bytes) in [("BOOL", 2), ("I8", 2), ("U16", 4), ("U64", 16), ("F8_E8M0", 2)] {
        let (end, all) = (bytes, bytes + 4);
        let header = format!(
            r#"{{"mask":{{"dtype":"{stored}","shape":[2],"data_offsets":[0,{end}]}},
            "w":{{"dtype":"F32","shape":[1],"data_offsets":[{end},{all}]}}}}"#
        );
        let mut data = vec![0; bytes];
        data.extend(2.5f32.to_le_bytes());
        foreign(&path, &header, &data);
        let checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();
        let weight = checkpoint.take("w", 1, DType::F32).unwrap();
        assert_eq!(weight.to_vec1::<f32>().unwrap(), [2.5]);
        let found = format!("is of type {}", stored.to_lowercase());
        let asked = checkpoint.take("mask", 2, DType::U8).unwrap_err();
        for (error, needs) in
            [(asked, "u8"), (checkpoint.tensor("mask").unwrap_err(), "candle has")]
        {
            let error = error.to_string();
            for part in ["a.safetensors", "\"mask\"", &found, needs] {
                assert!(error.contains(part), "{stored}: no {part:?} in: {error}");
            }
        }
    }
}

#[test]
fn the_checkpoint_of_a_folder_is_its_model_or_else_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let load = || Checkpoint::load(folder.path(), &Device::Cpu);
    let save = |name: &str, tensor: &str| {
        let tensor = (tensor.to_string(), Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap());
        save_checkpoint(folder.path().join(name), &[tensor], &BTreeMap::new()).unwrap();
    };
    let held = || load().unwrap().names().map(String::from).collect::<Vec<_>>();
    save("other.safetensors", "other");
    let error = load().unwrap_err().to_string();
    let folder_name = folder.path().to_str().unwrap();
    for part in [folder_name, "neither model.safetensors nor state.safetensors"] {
        assert!(error.contains(part), "{error}");
    }
    save("state.safetensors", "state");
    assert_eq!(held(), ["state"]);
    assert!(load().unwrap().path().ends_with("state.safetensors"));
    save("model.safetensors", "model");
    assert_eq!(held(), ["model"]);
    // A model that exists but is damaged is not passed over.
    std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
    assert!(load().unwrap_err().to_string().contains("model.safetensors is not"));
}

#[test]
fn a_file_of_another_format_is_refused_by_what_it_starts_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.pth");
    let refused = |bytes: &[u8], parts: &[&str]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Checkpoint::load(&path, &Device::Cpu).unwrap_err().to_string();
        for part in [&["model.pth", "not a complete safetensors file"], parts].concat() {
            assert!(error.contains(part), "no {part:?} in: {error}");
        }
    };
    refused(
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j",
        &["pickle", "before 1.6", "torch.load and torch.save"],
    );
    refused(b"version https://git-lfs.github.com/spec/v1\noid", &["Git LFS pointer"]);
    refused(b"<!DOCTYPE html><title>404", &["web page"]);
    refused(b"12345", &["5 bytes", "starts with '12345'"]);
    refused(b"\x1b[31mred and more", &["starts with '\\x1b[31mred"]);

    // The length of the header is checked against the format and the file.
    let with_length = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    refused(&with_length(u64::MAX), &["18446744073709551615 bytes", "100000000 of the format"]);
    refused(&with_length(100_000_001), &["100000001 bytes", "100000000 of the format"]);
    refused(&with_length(100_000_000), &["100000000 bytes, but 2 follow"]);
    refused(&with_length(3), &["3 bytes, but 2 follow"]);
    std::fs::write(&path, with_length(2)).unwrap();
    assert_eq!(Checkpoint::load(&path, &Device::Cpu).unwrap().names().count(), 0);
    // So are shapes: the files hold none of the numbers that these shapes need.
    for shape in ["[1000000000]", "[4611686018427387904, 8]", "[34359738368]"] {
        let header = format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}}}"#);
        refused(&[&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat(), &[]);
    }
}

/// Sparse files that are larger than any memory: reading one whole would not come to an end.
#[cfg(unix)]
#[test]
fn of_a_large_file_only_what_is_asked_for_is_read() {
    const LARGE: u64 = 1 << 37;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let lengthen = |by: u64| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() + by).unwrap();
    };
    let load = || Checkpoint::load(&path, &Device::Cpu);

    let end = 4 + LARGE;
    let (small, large) = (r#""dtype":"F32","shape":[1]"#, r#""dtype":"F32","shape":[34359738368]"#);
    let header = format!(
        r#"{{"w":{{{small},"data_offsets":[0,4]}},"x":{{{large},"data_offsets":[4,{end}]}}}}"#
    );
    foreign(&path, &header, &2.5f32.to_le_bytes());
    lengthen(LARGE);
    let checkpoint = load().unwrap();
    let weight = checkpoint.take("w", 1, DType::F32).unwrap();
    assert_eq!(weight.to_vec1::<f32>().unwrap(), [2.5]);
    assert!(checkpoint.take("x", 5, DType::F32).unwrap_err().to_string().contains("34359738368"));

    for start in [&b"PK\x03\x04"[..], b"", b"no model"] {
        std::fs::write(&path, start).unwrap();
        lengthen(LARGE);
        let error = load().unwrap_err().to_string();
        let format = if start.is_empty() || start.starts_with(b"no") {
            "large is not a complete safetensors file"
        } else {
            "large holds no state_dict of PyTorch that can be read: the directory"
        };
        assert!(error.contains(format), "{error}");
    }
}

/// Prefixes of wrappers are left out, in files of other programs.
#[test]
fn prefixes_are_left_out_and_names_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state_dict.safetensors");
    let named = |prefix: &str| {
        let one = |name: &str, value: f32| {
            (format!("{prefix}{name}"), Tensor::new(&[value], &Device::Cpu).unwrap())
        };
        [one("conv.weight", 1.), one("fc.bias", 2.)]
    };
    for prefix in ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.module."] {
        safetensors::serialize_to_file(named(prefix), None, &path).unwrap();
        let mut checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();
        let number = |checkpoint: &Checkpoint, name: &str| {
            checkpoint.take(name, 1, DType::F32).unwrap().to_vec1::<f32>().unwrap()[0]
        };
        assert_eq!([number(&checkpoint, "conv.weight"), number(&checkpoint, "fc.bias")], [1., 2.]);
        // A name that another tensor has already is not given.
        checkpoint.rename(|_| Some("layers.0.weight".to_string()));
        let names: Vec<&str> = checkpoint.names().collect();
        assert_eq!(names, ["fc.bias", "layers.0.weight"]);
        assert_eq!(number(&checkpoint, "layers.0.weight"), 1.);
        let error = checkpoint.take("layers.0.weight", 2, DType::F32).unwrap_err().to_string();
        assert!(error.contains(&format!("tensor \"{prefix}conv.weight\" of")), "{error}");
    }
    // In this library's own files, names are taken as they are.
    save_checkpoint(&path, &named("module."), &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::load(&path, &Device::Cpu).unwrap();
    assert_eq!(checkpoint.dims("module.fc.bias"), Some(&[1][..]));
    assert_eq!(checkpoint.dims("fc.bias"), None);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused() {
    let error = Checkpoint::load("/dev/null", &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("/dev/null") && error.contains("not a plain file"), "{error}");
}
