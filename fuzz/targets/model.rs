//! The configuration in the folder of a model, as on the hub, beside the weights of a model that is shipped.
#![no_main]

use std::fs;

use candle::{DType, Device, Tensor};
use hebbian_fuzz::{choice, folder, put};
use hebbian_models::Model;
use libfuzzer_sys::fuzz_target;

const WEIGHTS: [&[u8]; 6] = [
    include_bytes!("../../models/zoo/amit-digits/model.safetensors"),
    include_bytes!("../../models/zoo/golkar-digits/model.safetensors"),
    include_bytes!("../../models/zoo/krotov-hopfield-digits/model.safetensors"),
    include_bytes!("../../models/zoo/miconi-digits/model.safetensors"),
    include_bytes!("../../models/zoo/patches-digits/model.safetensors"),
    include_bytes!("../../models/zoo/softhebb-digits/model.safetensors"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((which, config)) = choice(bytes, WEIGHTS.len()) else { return };
    let at = format!("{which}/model.safetensors");
    if !folder().join(&at).exists() {
        put(&at, WEIGHTS[which]);
    }
    put(&format!("{which}/config.json"), config);
    let Ok(model) = Model::load(folder().join(which.to_string())) else { return };
    let (channels, height, width) = model.image();
    let Ok(images) = Tensor::zeros((1, channels, height, width), DType::F32, &Device::Cpu) else {
        return;
    };
    let _ = (model.features(&images), model.predict(&images));
    let saved = folder().join("saved");
    model.save(&saved).expect("what was loaded can be saved");
    fs::remove_dir_all(saved).expect("it was written");
});
