//! The formats in which MNIST, CIFAR and STL-10 were first published.
#![no_main]

use hebbian_data::{LoadOptions, load};
use hebbian_fuzz::{choice, empty_folder, put};
use libfuzzer_sys::fuzz_target;

/// An idx file of zeros with the given sizes: images or labels.
fn idx(sizes: &[u32]) -> Vec<u8> {
    let magic = 0x0800 + sizes.len() as u32;
    let head = [&[magic][..], sizes].concat();
    let zeros = vec![0; sizes.iter().product::<u32>() as usize];
    [head.iter().flat_map(|word| word.to_be_bytes()).collect(), zeros].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = choice(bytes, 5) else { return };
    let folder = empty_folder();
    let (images, labels) = (idx(&[2, 28, 28]), idx(&[2]));
    let name = match which {
        0 | 1 => {
            let (images, labels) =
                if which == 0 { (bytes, &labels[..]) } else { (&images[..], bytes) };
            for split in ["train", "t10k"] {
                put(&format!("{split}-images-idx3-ubyte"), images);
                put(&format!("{split}-labels-idx1-ubyte"), labels);
            }
            "mnist"
        }
        2 => {
            for i in 1..=5 {
                put(&format!("data_batch_{i}.bin"), bytes);
            }
            put("test_batch.bin", bytes);
            "cifar10"
        }
        3 => {
            put("train.bin", bytes);
            put("test.bin", bytes);
            "cifar100"
        }
        _ => {
            let (labels, images) = bytes.split_at(bytes.len() / (3 * 96 * 96 + 1));
            for split in ["train", "test"] {
                put(&format!("{split}_X.bin"), images);
                put(&format!("{split}_y.bin"), labels);
            }
            put("unlabeled_X.bin", images);
            "stl10"
        }
    };
    for memory in [1 << 20, 0] {
        let options =
            LoadOptions { data_dir: Some(folder.into()), memory, ..LoadOptions::default() };
        let Ok(data) = load(name, &options) else { return };
        for set in [&data.train, &data.test].into_iter().chain(&data.unlabelled) {
            set.pixels(&[0, set.len() - 1]).expect("what was loaded is there");
        }
    }
});
