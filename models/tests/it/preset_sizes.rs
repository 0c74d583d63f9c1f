//! Presets with sizes that no machine can hold are refused with a message, before memory is taken for them.

use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_models::{Error, amit, ghl, golkar, krotov_hopfield, miconi, softhebb};
use hebbian_train::find_preset;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const CPU: &Device = &Device::Cpu;

fn value(preset: impl serde::Serialize) -> Value {
    serde_json::to_value(preset).unwrap()
}

fn parse<P: DeserializeOwned>(preset: &Value) -> Result<P> {
    Ok(serde_json::from_value(preset.clone())?)
}

/// The preset for digits, with layers that include the convolutions and pools that it lacks.
fn amit_preset() -> Value {
    let mut preset = value(amit::preset("amit-digits").unwrap());
    preset["layers"] = json!([
        {"kind": "conv", "units": 4, "kernel": 3},
        {"kind": "max_pool", "kernel": 2, "stride": 2, "edge": "excluded"},
        {"kind": "conv", "units": 4, "kernel": 3},
        {"kind": "avg_pool", "kernel": 2, "stride": 2, "padding": 1},
        {"kind": "dense", "units": 8},
        {"kind": "classes"},
    ]);
    preset
}

fn softhebb_preset() -> Value {
    value(softhebb::preset("softhebb-cnn-digits").unwrap())
}

fn krotov_hopfield_preset() -> Value {
    value(find_preset::<krotov_hopfield::Preset>("krotov-hopfield-digits").unwrap())
}

fn ghl_preset() -> Value {
    value(find_preset::<ghl::Preset>("ghl-digits").unwrap())
}

/// Finds the places of all whole numbers in `value`, below `at`.
fn numbers(at: String, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Number(number) if number.is_u64() => found.push(at),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, v)| numbers(format!("{at}/{i}"), v, found));
        }
        Value::Object(values) => {
            values.iter().for_each(|(key, v)| numbers(format!("{at}/{key}"), v, found));
        }
        _ => {}
    }
}

/// Checks that a file with a number past 32 bits is refused, whatever the number is for: no size
/// and no count is that large.
fn files_are_refused<P>(preset: &Value, read: fn(&str) -> std::result::Result<P, Error>) -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mine.json");
    let name = path.to_str().ok_or("a path")?;
    let mut places = Vec::new();
    numbers(String::new(), preset, &mut places);
    assert!(places.len() >= 4, "{places:?}");
    for at in places {
        for size in [1 << 31, 1 << 62, u64::MAX] {
            let mut preset = preset.clone();
            *preset.pointer_mut(&at).ok_or("a place")? = size.into();
            std::fs::write(&path, preset.to_string())?;
            let Err(error) = read(name) else { panic!("{at} may be {size}") };
            let error = error.to_string();
            let expected = format!("{at} is {size}, expected at most 2147483647");
            assert!(error.contains("mine.json") && error.contains(&expected), "{error}");
        }
    }
    std::fs::write(&path, preset.to_string())?;
    assert!(read(name).is_ok());
    Ok(())
}

#[test]
fn a_file_with_a_size_past_32_bits_is_refused() -> Result {
    files_are_refused(&amit_preset(), amit::preset)?;
    files_are_refused(&softhebb_preset(), softhebb::preset)?;
    files_are_refused(&value(miconi::preset("miconi-digits")?), miconi::preset)?;
    files_are_refused(&krotov_hopfield_preset(), find_preset::<krotov_hopfield::Preset>)?;
    files_are_refused(&ghl_preset(), find_preset::<ghl::Preset>)?;
    files_are_refused(&value(golkar::preset("golkar-digits")?), golkar::preset)
}

/// Checks that a network with one size replaced is refused, with all of `parts` in the message.
fn network_is_refused(
    mut preset: Value,
    (at, size, parts): (&str, u64, &[&str]),
    build: impl FnOnce(&Value) -> Result,
) {
    *preset.pointer_mut(at).unwrap() = size.into();
    let Err(error) = build(&preset) else { panic!("{at} may be {size}") };
    let error = error.to_string();
    for part in parts {
        assert!(error.contains(part), "{at} = {size}: no {part:?} in: {error}");
    }
}

const IMAGE: (usize, usize, usize) = (1, 8, 8);

#[test]
fn amits_network_of_a_size_that_no_machine_has_is_refused() {
    let cases: [(&str, u64, &[&str]); 6] = [
        // 4 · (2³¹ − 1)² weights
        ("/layers/2/kernel", (1 << 31) - 1, &["layer 2", "entries"]),
        // 2⁶⁰ · 4 · 9 weights
        ("/layers/2/units", 1 << 60, &["layer 2", "entries"]),
        ("/layers/2/kernel", 1 << 62, &["layer 2"]),
        ("/layers/3/padding", 1 << 62, &["layer 3"]),
        ("/layers/3/kernel", 1 << 62, &["layer 3"]),
        ("/layers/4/units", 1 << 62, &["layer 4", "entries"]),
    ];
    for case in cases {
        network_is_refused(amit_preset(), case, |preset| {
            let (preset, rng) = (parse(preset)?, Rng::new(0));
            amit::Network::new(&preset, IMAGE, 10, &rng, DType::F32, CPU)?;
            Ok(())
        });
    }
}

#[test]
fn softhebbs_network_of_a_size_that_no_machine_has_is_refused() {
    let cases: [(&str, u64, &[&str]); 6] = [
        ("/blocks/0/layer/channels", 1 << 60, &["block 0", "elements"]),
        ("/blocks/0/layer/kernel", 1 << 62, &["block 0"]),
        ("/blocks/0/layer/kernel", 1_000_000, &["block 0"]),
        ("/blocks/0/layer/padding", 1 << 62, &["block 0"]),
        ("/blocks/0/layer/padding", 1_000_000, &["block 0"]),
        ("/blocks/1/layer/channels", 1 << 62, &["block 1", "elements"]),
    ];
    for case in cases {
        network_is_refused(softhebb_preset(), case, |preset| {
            let (preset, rng) = (parse(preset)?, Rng::new(0));
            softhebb::Network::new(&preset, IMAGE, &rng, DType::F32, CPU)?;
            Ok(())
        });
    }
}

#[test]
fn a_ghl_network_of_a_size_that_no_machine_has_is_refused() {
    let cases: [(&str, u64, &[&str]); 5] = [
        ("/blocks/0/channels", 1 << 60, &["block 0", "elements"]),
        ("/blocks/0/kernel", 1 << 62, &["block 0"]),
        ("/blocks/0/padding", 1 << 62, &["block 0"]),
        ("/blocks/1/channels", 1 << 62, &["block 1", "elements"]),
        ("/hidden", 1 << 60, &["ghl-digits", "entries"]),
    ];
    for case in cases {
        let mut preset = ghl_preset();
        preset["hidden"] = 16.into();
        network_is_refused(preset, case, |preset| {
            let (preset, rng) = (parse(preset)?, Rng::new(0));
            ghl::Network::new(&preset, IMAGE, 10, &rng, DType::F32, CPU)?;
            Ok(())
        });
    }
}

#[test]
fn krotovs_network_of_a_size_that_no_machine_has_is_refused() {
    for units in [1_u64 << 60, 1 << 62] {
        let case: (_, _, &[&str]) = ("/units", units, &["entries"]);
        network_is_refused(krotov_hopfield_preset(), case, |preset| {
            let (preset, rng) = (parse(preset)?, Rng::new(0));
            krotov_hopfield::Network::new(&preset, 64, &rng, DType::F32, CPU)?;
            Ok(())
        });
    }
}

#[test]
fn miconis_network_of_a_size_that_no_machine_has_is_refused() {
    let preset = value(miconi::preset("miconi-digits").unwrap());
    let cases: [(&str, u64, &[&str]); 5] = [
        ("/layers/0/kernel", 1_000_000, &["layer 1", "receptive field", "1000000"]),
        ("/layers/0/kernel", 1 << 40, &["layer 1", "receptive field"]),
        ("/layers/1/pool", 1_000_000, &["layer"]),
        ("/layers/0/units", 1 << 60, &["layer 1", "elements"]),
        ("/layers/0/k", 1 << 62, &["layer 1", "expected 1 to 32"]),
    ];
    for case in cases {
        network_is_refused(preset.clone(), case, |preset| {
            let (preset, rng) = (parse(preset)?, Rng::new(0));
            miconi::Network::new(&preset, IMAGE, &rng, DType::F32, CPU)?;
            Ok(())
        });
    }
}
