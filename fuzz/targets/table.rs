//! Parquet files, of known data sets and of an unknown one, in memory and read on demand.
#![no_main]

use candle::{DType, Device};
use hebbian_data::{Dataset, LoadOptions, load};
use hebbian_fuzz::{folder, put};
use libfuzzer_sys::fuzz_target;

fn look(data: &Dataset) {
    let all: Vec<usize> = (0..data.train.len()).collect();
    let _ = data.train.pixels(&all);
    let _ = data.train.batch(&all, DType::F32, &Device::Cpu);
    assert!(data.train.labels().iter().all(|&label| (label as usize) < data.class_names.len()));
}

fuzz_target!(|bytes: &[u8]| {
    for split in ["train", "test"] {
        put(&format!("{split}/0000.parquet"), bytes);
    }
    let options = LoadOptions { data_dir: Some(folder().into()), ..LoadOptions::default() };
    for name in ["mnist", "cifar10"] {
        if let Ok(data) = load(name, &options) {
            look(&data);
        }
    }
    for (memory, skip_bad) in [(1 << 20, false), (0, false), (0, true)] {
        let options = LoadOptions { memory, skip_bad, image_size: Some(8), ..options.clone() };
        if let Ok(data) = load("any", &options) {
            look(&data);
        }
    }
});
