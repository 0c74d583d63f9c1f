//! `HEBBIAN_CACHE`, `HF_HOME` and `HF_HUB_OFFLINE`, and candle's own loaders on the same cache.
//! There is one test only, because the environment belongs to the whole process.

mod common;

use std::path::Path;

use candle::{DType, Device, Tensor};
use common::{assert_images, assert_says, split, write};
use hebbian_data::{DatasetName, ImageSet, LoadOptions, default_cache, load};

fn tensor(set: &ImageSet) -> Tensor {
    let all: Vec<usize> = (0..set.len()).collect();
    set.batch(&all, DType::F32, &Device::Cpu).unwrap().0
}

fn distance(a: &Tensor, b: &Tensor) -> f32 {
    let apart = (a - b).unwrap().abs().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(apart.iter().all(|apart| !apart.is_nan()));
    apart.into_iter().fold(0.0, f32::max)
}

#[test]
fn the_environment_is_honoured() {
    let dir = tempfile::tempdir().unwrap();
    let commit = "c".repeat(40);
    for (name, folder, files) in [
        (DatasetName::Mnist, "datasets--ylecun--mnist", "mnist"),
        (DatasetName::Cifar10, "datasets--cifar10", "plain_text"),
    ] {
        let repo = dir.path().join("home/hub").join(folder);
        write(&repo.join("refs/refs/convert/parquet"), commit.as_bytes());
        for (part, first, count) in [("train", 0, 5), ("test", 5, 2)] {
            let file = format!("snapshots/{commit}/{files}/{part}/0000.parquet");
            write(&repo.join(file), &split(name, first, count));
        }
    }
    // A relative path, as people write it in a shell.
    std::env::set_current_dir(dir.path()).unwrap();
    // SAFETY: this binary has one test, and no other thread has been started yet that reads the
    // environment.
    unsafe {
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            std::env::remove_var(name);
        }
        std::env::set_var("HF_HOME", "home");
        std::env::set_var("HF_HUB_OFFLINE", "1");
        std::env::set_var("XDG_CACHE_HOME", dir.path());
        std::env::set_var("HEBBIAN_CACHE", "");
        let users = default_cache().unwrap();
        assert_eq!(users.file_name().unwrap(), "candle-hebbian");
        if cfg!(target_os = "linux") {
            assert_eq!(users.parent().unwrap(), dir.path());
            std::env::remove_var("XDG_CACHE_HOME");
            std::env::set_var("HOME", "/home/someone");
            let users = default_cache().unwrap();
            assert_eq!(users, Path::new("/home/someone/.cache/candle-hebbian"));
        }
        std::env::set_var("HEBBIAN_CACHE", "whitening");
        assert_eq!(default_cache().unwrap(), Path::new("whitening"));
    }
    let options = LoadOptions::default();
    let mnist = load("mnist", &options).unwrap();
    assert_images(&mnist.train, DatasetName::Mnist, 0, 5);
    let cifar = load("cifar10", &options).unwrap();
    assert_images(&cifar.test, DatasetName::Cifar10, 5, 2);
    let error = load("fashion-mnist", &options).unwrap_err().to_string();
    assert_says(&error, &["offline", "home/hub", "fashion_mnist/train/0000.parquet"]);

    let theirs = candle_datasets::vision::mnist::load().unwrap();
    let ours = tensor(&mnist.train).flatten_from(1).unwrap();
    assert!(distance(&ours, &theirs.train_images) < 1e-6);

    let theirs = candle_datasets::vision::cifar::load().unwrap();
    let ours = tensor(&cifar.train);
    // candle-datasets 0.11.1 exchanges rows and columns. When this fails, candle has fixed it.
    assert!(distance(&ours, &theirs.train_images) > 0.1);
    assert!(distance(&ours.transpose(2, 3).unwrap(), &theirs.train_images) < 1e-6);
}
