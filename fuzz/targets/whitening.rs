//! A whitening in the cache: it is read only if it is what was written.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use candle_hebbian::Rng;
use hebbian_data::{CacheOutcome, ImageSet, Zca, ZcaConfig};
use hebbian_fuzz::folder;
use libfuzzer_sys::fuzz_target;

fn cached() -> CacheOutcome {
    let pixels = (0..5 * 4).map(|at: u32| (at * at * 7 % 256) as u8).collect();
    let images = ImageSet::new(pixels, vec![0; 5], 1, 2, 2).expect("five images");
    let config = ZcaConfig { epsilon: 0.1, ..ZcaConfig::author() };
    let config = ZcaConfig { images: None, flip: false, ..config };
    Zca::fit_cached(&images, &config, &mut Rng::new(0), folder(), |_| ()).expect("a whitening").1
}

/// The path of the cached file, and its content.
static WRITTEN: LazyLock<(PathBuf, Vec<u8>)> = LazyLock::new(|| match cached() {
    CacheOutcome::Written(path) => (path.clone(), fs::read(path).expect("it was written")),
    other => panic!("{other:?}"),
});

fuzz_target!(|bytes: &[u8]| {
    let (path, written) = &*WRITTEN;
    fs::write(path, bytes).expect("a file in the folder");
    match cached() {
        CacheOutcome::Read(_) => assert!(bytes == written),
        CacheOutcome::Replaced(_) => assert!(bytes != written),
        other => panic!("{other:?}"),
    }
    assert!(fs::read(path).expect("it is there") == *written);
});
