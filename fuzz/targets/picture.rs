//! Pictures in folders: PNG, JPEG, WebP and BMP.
#![no_main]

use hebbian_data::{LoadOptions, load};
use hebbian_fuzz::{folder, put};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    put("train/a/1.png", bytes);
    put("test/a/1.png", bytes);
    for (memory, image_size) in [(1 << 20, None), (1 << 20, Some(8)), (0, Some(8))] {
        let data_dir = Some(folder().into());
        let options = LoadOptions { data_dir, memory, image_size, ..LoadOptions::default() };
        let Ok(data) = load("any", &options) else { continue };
        if let Ok(pixels) = data.train.pixels(&[0]) {
            let (channels, height, width) = data.train.stored_shape();
            assert_eq!(pixels.len(), channels * height * width);
        }
    }
});
