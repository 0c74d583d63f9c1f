//! A preset in a file, of any method: it is refused, or its network is made and learns a step from a few images.
#![no_main]

use candle::Device;
use candle_hebbian::Rng;
use hebbian_fuzz::{choice, few_digits, put};
use hebbian_models::{amit, ghl, golkar, k_means, krotov_hopfield, miconi, patches, softhebb};
use hebbian_train::{Learner as _, Method, Start, find_preset, with_input};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Whether all numbers in a preset are small enough for a fuzzer: larger networks may legitimately take long and need
/// much memory.
fn is_small(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_u64().is_none_or(|number| number <= 20),
        Value::Array(values) => values.len() <= 4 && values.iter().all(is_small),
        Value::Object(values) => values.values().all(is_small),
        _ => true,
    }
}

fn one_step<M: Method>(text: &[u8]) {
    let path = put("preset.json", text);
    let Some(name) = path.to_str() else { return };
    if find_preset::<M::Preset>(name).is_err() {
        return;
    }
    let Ok(preset) = serde_json::from_slice::<Value>(text) else { return };
    if !is_small(&preset) {
        return;
    }
    let Ok(options) = serde_json::from_value::<M::Options>(json!({ "preset": preset })) else {
        return;
    };
    let start = Start { rng: Rng::new(0), device: Device::Cpu, quiet: true };
    let Ok(data) = with_input::<M>(&options, &few_digits(), &start, None) else { return };
    let _ = M::model(&options, data.train.shape(), data.class_names.len(), &start.device);
    let Ok(mut learner) = M::learner(&options, &data, &start) else { return };
    if learner.begin().is_ok() && learner.clock() != learner.total() && learner.step().is_ok() {
        let _ = learner.measure();
        learner.state().expect("a learner that has learned has a state");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((method, text)) = choice(bytes, 8) else { return };
    match method {
        0 => one_step::<amit::Amit>(text),
        1 => one_step::<golkar::Golkar>(text),
        2 => one_step::<krotov_hopfield::KrotovHopfield>(text),
        3 => one_step::<miconi::Miconi>(text),
        4 => one_step::<patches::Patches>(text),
        5 => one_step::<softhebb::Softhebb>(text),
        6 => one_step::<ghl::Ghl>(text),
        _ => one_step::<k_means::KMeans>(text),
    }
});
