//! Files that PyTorch saves: read as they were written, refused if they are incomplete, and never trusted.
//!
//! `pth/tensors.pth` was written by PyTorch 2.15, by the script beside it.

#[path = "../common/pth.rs"]
mod written;

use std::path::PathBuf;
use std::process::Command;

use candle::{DType, Device, Tensor};
use hebbian_train::Checkpoint;
use tempfile::TempDir;
use written::{archive, tensor_of, text};

const SAVED: &[u8] = include_bytes!("../pth/tensors.pth");
const CPU: &Device = &Device::Cpu;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("model.pth")
    }

    fn load(&self, file: &[u8]) -> hebbian_train::Result<Checkpoint> {
        // The file is removed first: one that is truncated and written again may be written through
        // to the disk.
        let _ = std::fs::remove_file(self.path());
        std::fs::write(self.path(), file).unwrap();
        Checkpoint::load(self.path(), CPU)
    }

    /// Loads a file whose `data.pkl` is this, with one part of eight numbers beside it.
    fn unpickle(&self, pickle: &[u8]) -> hebbian_train::Result<Checkpoint> {
        let numbers: Vec<u8> = (0..8u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        self.load(&archive(&[("a/data.pkl", pickle), ("a/data/0", &numbers)], false))
    }
}

#[track_caller]
fn says<T: std::fmt::Debug>(found: hebbian_train::Result<T>, parts: &[&str]) {
    let error = found.unwrap_err().to_string();
    for part in [&["model.pth", "holds no state_dict"], parts].concat() {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
}

/// All tensors of a file, as they come.
fn all(checkpoint: &Checkpoint) -> hebbian_train::Result<Vec<(String, String)>> {
    let names = checkpoint.names();
    names
        .map(|name| Ok((name.to_string(), format!("{:?}", bits(&checkpoint.tensor(name)?)))))
        .collect()
}

fn bits(tensor: &Tensor) -> (DType, Vec<usize>, Vec<u64>) {
    let numbers = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    let numbers = numbers.to_vec1::<f64>().unwrap().into_iter().map(f64::to_bits);
    (tensor.dtype(), tensor.dims().to_vec(), numbers.collect())
}

/// Checks that a checkpoint holds what `pth/tensors.py` saves.
#[track_caller]
fn is_what_was_saved(checkpoint: &Checkpoint) {
    let numbers = |name: &str, shape: &[usize]| {
        let tensor = checkpoint.take(name, shape, DType::F32).unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let steps: Vec<f32> = (0..24u8).map(f32::from).collect();
    assert_eq!(numbers("rows", &[2, 3, 2, 2]), steps);
    assert_eq!(numbers("channels_last", &[2, 3, 2, 2]), steps);
    assert_eq!(numbers("last", &[2, 2]), [20., 21., 22., 23.]);
    assert_eq!(numbers("columns", &[3, 2]), [0., 3., 1., 4., 2., 5.]);
    assert_eq!(numbers("every_other", &[5]), [1., 3., 5., 7., 9.]);
    assert_eq!(numbers("parameter", &[2]), [0.5, -0.25]);
    assert_eq!(numbers("f16", &[2]), [1.5, -2.0]);
    assert_eq!(numbers("bf16", &[2]), [1.5, -2.0]);
    assert!(numbers("empty", &[0, 3]).is_empty());
    let double = checkpoint.take("f64", 1, DType::F64).unwrap();
    assert_eq!(double.to_vec1::<f64>().unwrap(), [0.1]);
    let bytes = checkpoint.take("u8", 2, DType::U8).unwrap();
    assert_eq!(bytes.to_vec1::<u8>().unwrap(), [0, 255]);
    let short = checkpoint.take("i16", 2, DType::I16).unwrap();
    assert_eq!(short.to_vec1::<i16>().unwrap(), [-1, 300]);
    let int = checkpoint.take("i32", 2, DType::I32).unwrap();
    assert_eq!(int.to_vec1::<i32>().unwrap(), [-1, 70000]);
    let count = checkpoint.take("num_batches_tracked", (), DType::I64).unwrap();
    assert_eq!(count.to_scalar::<i64>().unwrap(), 5000);

    // A value that is not a tensor is not there; a tensor that cannot be read is an error only when
    // it is asked for.
    assert_eq!(checkpoint.dims("no_tensor"), None);
    let error = checkpoint.tensor("mask").unwrap_err().to_string();
    assert!(error.contains("\"module.mask\"") && error.contains("of type bool"), "{error}");
    for (name, problem) in [
        ("repeated", "[3], with steps of [0] from number 0 on, does not fit the 1 numbers"),
        ("complex", "ComplexFloatStorage"),
        ("sparse", "_rebuild_sparse_tensor"),
    ] {
        says(checkpoint.tensor(name), &[name, problem]);
        says(checkpoint.take(name, 3, DType::F32), &[name, problem]);
    }
    let error = checkpoint.take("weight", 3, DType::F32).unwrap_err().to_string();
    for part in ["model.pth has no tensor \"weight\"", "module.bf16, module.channels_last, "] {
        assert!(error.contains(part), "{error}");
    }
    let error = checkpoint.take("rows", (2, 3), DType::F32).unwrap_err().to_string();
    for part in ["\"module.rows\" of ", "has shape [2, 3, 2, 2]", "needs [2, 3]"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_pytorch_saved_is_loaded() {
    let checkpoint = Place::new().load(SAVED).unwrap();
    is_what_was_saved(&checkpoint);
    assert!(checkpoint.metadata.is_empty());
}

/// For every pickle protocol. The Python is that of `PYTHON`.
#[test]
fn what_pytorch_saves_here_is_loaded() {
    let python = std::env::var_os("PYTHON").unwrap_or("python3".into());
    if !Command::new(&python)
        .args(["-c", "import torch"])
        .output()
        .is_ok_and(|run| run.status.success())
    {
        println!("skipped: {} has no torch; set PYTHON to one that has", python.display());
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pth/tensors.py");
    for protocol in ["2", "3", "4", "5"] {
        let place = Place::new();
        let run =
            Command::new(&python).args([script, protocol]).arg(place.path()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        is_what_was_saved(&Checkpoint::load(place.path(), CPU).unwrap());
    }
}

/// A file with a change anywhere is refused, or the change does not matter.
#[test]
fn no_changed_bit_changes_a_number() {
    let place = Place::new();
    // The tensors that have numbers here.
    let names = place.load(SAVED).unwrap();
    let names: Vec<&str> = names.names().filter(|name| *name != "mask").collect();
    assert_eq!(names.len(), 14);
    let tensors = |file: &[u8]| {
        let checkpoint = place.load(file)?;
        let tensors = names.iter().map(|name| Ok(bits(&checkpoint.tensor(name)?)));
        tensors.collect::<hebbian_train::Result<Vec<_>>>()
    };
    let whole = tensors(SAVED).unwrap();
    let mut refused = 0;
    for at in 0..SAVED.len() {
        let mut file = SAVED.to_vec();
        file[at] ^= 1 << (at % 8);
        match tensors(&file) {
            Ok(found) => assert!(found == whole, "byte {at}"),
            Err(_) => refused += 1,
        }
    }
    // At least the pickle and the numbers of these tensors are refused, except what none of them reads.
    assert!(refused > 2068 + 200, "{refused}");
    for length in 0..SAVED.len() {
        assert!(place.load(&SAVED[..length]).is_err(), "{length} bytes");
    }
    says(place.load(&SAVED[..SAVED.len() - 1]), &["cut short"]);
}

#[test]
fn a_large_archive_is_read_as_a_small_one() {
    let place = Place::new();
    let weight = Tensor::arange(0f32, 6., CPU).unwrap().reshape((2, 3)).unwrap();
    let scale = Tensor::new(0.1f64, CPU).unwrap();
    let tensors = [("a.weight".to_string(), weight), ("scale".to_string(), scale)];
    let found = place.load(&written::pth(&tensors)).unwrap();
    for (name, tensor) in &tensors {
        assert_eq!(bits(&found.tensor(name).unwrap()), bits(tensor));
    }
    let numbers: Vec<u8> = [1f32, 2.].iter().flat_map(|x| x.to_le_bytes()).collect();
    let tensor = tensor_of("FloatStorage", 0, 2, 0, &[2], &[1]);
    let pickle = [b"\x80\x02}", &text("w")[..], &tensor, b"s."].concat();
    let parts = [("data.pkl", &pickle[..]), ("data/0", &numbers)];
    let [small, large] =
        [false, true].map(|large| all(&place.load(&archive(&parts, large)).unwrap()));
    assert_eq!(small.unwrap(), large.unwrap());
}

#[test]
fn archives_of_others_are_refused_by_what_they_hold() {
    let place = Place::new();
    says(
        place.load(&archive(&[("a.npy", b"x"), ("b.npy", b"y")], false)),
        &["no data.pkl", "a.npy, b.npy"],
    );
    let twice = archive(&[("a/data.pkl", b"}."), ("b/data.pkl", b"}.")], false);
    says(place.load(&twice), &["more than one data.pkl", "a/data.pkl, b/data.pkl"]);
    says(place.load(&archive(&[("a", b"x"), ("a", b"")], false)), &["two parts are called \"a\""]);
    let big = archive(&[("a/data.pkl", b"}."), ("a/byteorder", b"big")], false);
    says(place.load(&big), &["highest byte first"]);
    // Compressed by the method in the entry, which torch.save never uses.
    let mut packed = archive(&[("a/data.pkl", b"}.")], false);
    let entry = packed.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    packed[entry + 10] = 8;
    says(place.load(&packed), &["data.pkl is compressed"]);
    says(place.load(b"PK\x03\x04"), &["directory", "cut short"]);
}

#[test]
fn pickles_without_a_state_dict_are_refused_by_what_they_are() {
    let place = Place::new();
    let refused = |pickle: &[u8], parts: &[&str]| says(place.unpickle(pickle), parts);
    let tensor = tensor_of("FloatStorage", 0, 8, 0, &[8], &[1]);
    let dictionary = [b"}", &text("w")[..], &tensor, b"s"].concat();
    let with = |keys: &[&str]| {
        let entries: Vec<u8> =
            keys.iter().flat_map(|key| [&text(key)[..], &dictionary, b"s"].concat()).collect();
        [b"}", &entries[..], b"."].concat()
    };
    assert!(place.unpickle(&with(&["weights"])).unwrap().dims("w").is_some());
    assert!(place.unpickle(&with(&["ema", "model"])).unwrap().dims("w").is_some());
    refused(&with(&["ema", "teacher"]), &["ema, teacher", "state_dict, model_state_dict, model"]);
    refused(&[b"}", &text("epoch")[..], b"K\x01s."].concat(), &["without tensors", "[epoch]"]);
    refused(b"}.", &["without tensors", "[]"]);
    refused(b"cmymodels\nNet\n)\x81}b.", &["an object, mymodels.Net"]);
    refused(&[&tensor[..], b"."].concat(), &["an object, torch._utils._rebuild_tensor_v2"]);
    refused(b"]K\x01a.", &["not a dictionary"]);
    refused(b"", &["data.pkl: its instruction at byte 0"]);
    refused(b"}", &["at byte 1 lacks"]);
    refused(b"}\xf7.", &["byte 1 is 0xf7"]);
    refused(b"0.", &["at byte 0 lacks"]);
    refused(b"(((((u.", &["lacks"]);
}

/// Numbers that a file states are checked against the file.
#[test]
fn tensors_that_their_numbers_do_not_fit_are_refused() {
    let place = Place::new();
    let tensor = |kind, key, offset, shape: &[usize], strides: &[usize]| {
        let tensor = tensor_of(kind, key, usize::MAX, offset, shape, strides);
        let pickle = [b"}", &text("w")[..], &tensor, b"s."].concat();
        place.unpickle(&pickle).unwrap().tensor("w")
    };
    assert_eq!(
        tensor("FloatStorage", 0, 2, &[3, 2], &[1, 3]).unwrap().to_vec2::<f32>().unwrap(),
        [[2., 5.], [3., 6.], [4., 7.]]
    );
    let most = usize::MAX;
    for (kind, key, offset, shape, strides, problem) in [
        ("FloatStorage", 0, 3, &[3, 2][..], &[1, 3][..], "does not fit the 8 numbers"),
        ("FloatStorage", 0, 0, &[9], &[1], "does not fit"),
        ("FloatStorage", 0, 0, &[8], &[0, 1], "does not fit"),
        ("FloatStorage", 0, 0, &[1 << 40], &[0], "does not fit"),
        ("FloatStorage", 0, most >> 1, &[1], &[1], "from number 9223372036854775807 on"),
        ("FloatStorage", 0, 0, &[most, 2], &[0, 0], "not what torch.save writes"),
        ("FloatStorage", 0, 0, &[1 << 62, 1 << 62], &[0, 0], "does not fit"),
        ("FloatStorage", 0, 1, &[2, 2], &[1 << 62, 1 << 62], "does not fit"),
        ("DoubleStorage", 0, 0, &[5], &[1], "the 4 numbers"),
        ("FloatStorage", 7, 0, &[1], &[1], "the part data/7, are not there"),
        ("QInt8Storage", 0, 0, &[1], &[1], "QInt8Storage, a type that is not read"),
    ] {
        says(tensor(kind, key, offset, shape, strides), &["\"w\" cannot be read", problem]);
    }
}

/// Pickles that would take all memory, all time or all of the stack if they were trusted.
#[test]
fn hostile_pickles_are_harmless() {
    let place = Place::new();
    let refused = |pickle: &[u8]| assert!(place.unpickle(pickle).is_err());
    // Texts and bytes of 4 GB and more.
    refused(b"X\xff\xff\xff\xff");
    refused(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff");
    refused(b"\x8b\xff\xff\xff\xff");
    // A number of 255 bytes, which no state dict needs.
    assert!(place.unpickle(&[&b"\x8a\xff"[..], &[1; 255], b"."].concat()).is_err());
    // A tuple of a tuple of a tuple …
    refused(&[&b")"[..], &vec![0x85; 1 << 20], b"."].concat());
    // A pair of twice the same pair of twice the same pair …: 2^100 elements, by references.
    refused(&[&b")q\x00"[..], &b"h\x00h\x00\x86q\x00".repeat(100), b"."].concat());
    // A tensor of 2^18 axes under a hundred thousand names.
    let ones = vec![1; 1 << 18];
    let tensor = tensor_of("FloatStorage", 0, 8, 0, &ones, &ones);
    let entry = |at: u32| [&text(&at.to_string())[..], b"h\x07s"].concat();
    let entries: Vec<u8> = (0..100_000).flat_map(entry).collect();
    let many = place.unpickle(&[&tensor[..], b"q\x070}", &entries, b"."].concat()).unwrap();
    says(many.tensor("7"), &["not what torch.save writes"]);
    // A dictionary that contains itself.
    refused(&[b"}q\x00", &text("state_dict")[..], b"h\x00s."].concat());
    // A parameter of a parameter of a parameter …
    let parameter = b"ctorch._utils\n_rebuild_parameter\n";
    let deep = [&b")"[..], &[&parameter[..], b"q\x010h\x01\x85R"].concat().repeat(1000)].concat();
    refused(&[b"}", &text("w")[..], &deep, b"s."].concat());
    // Calls without the arguments that they need.
    for args in [&b")"[..], b"K\x01", b"K\x01\x85", b"N", b"}"] {
        for callee in ["_rebuild_tensor_v2", "_rebuild_parameter"] {
            let call = [format!("ctorch._utils\n{callee}\n").as_bytes(), args, b"R"].concat();
            let pickle = [b"}", &text("w")[..], &call, b"s."].concat();
            assert!(place.unpickle(&pickle).and_then(|checkpoint| checkpoint.tensor("w")).is_err());
        }
    }
    // A pickle longer than any of a state_dict.
    says(place.unpickle(&vec![b'N'; (1 << 24) + 1]), &["16777217 bytes, more than the 16777216"]);
    // Directories that claim more parts than there are bytes.
    let mut many = archive(&[("a/data.pkl", b"}.")], true);
    let end = many.windows(4).position(|bytes| bytes == b"PK\x06\x06").unwrap();
    // The count is wrong first, then the place too.
    for at in [32, 48] {
        many[end + at..end + at + 8].fill(0xff);
        says(place.load(&many), &["archive"]);
    }
}
