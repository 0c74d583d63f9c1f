//! Pictures in folders: PNG, JPEG, WebP and BMP.
#![no_main]

use std::io::Cursor;

use hebbian_data::{LoadOptions, load};
use hebbian_fuzz::{folder, put};
use image::ImageReader;
use libfuzzer_sys::fuzz_target;

/// The most pixels of a picture here: for the 100 million that are otherwise allowed, a decoder takes seconds under the
/// sanitizer.
const MOST_PIXELS: u64 = 1 << 22;

fn pixels(bytes: &[u8]) -> Option<u64> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some(u64::from(width) * u64::from(height))
}

fuzz_target!(|bytes: &[u8]| {
    if pixels(bytes).is_some_and(|pixels| pixels > MOST_PIXELS) {
        return;
    }
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
