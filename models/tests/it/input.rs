//! The images that networks see: transforms and augmentation in runs, in their folders, and in models loaded from
//! these.

use crate::common::Result;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::transforms::{InputConfig, Transform as _};
use hebbian_data::{Dataset, digits};
use hebbian_models::krotov_hopfield::{self, KrotovHopfield};
use hebbian_models::{Model, amit, golkar, k_means, miconi, patches, softhebb};
use hebbian_train::{
    Checkpoint, Error, Learner as _, Method, Model as _, Preset, Run, RunFolder, RunOptions, Start,
    Stop, find_preset, train, with_input,
};
use std::path::Path;

const CPU: &Device = &Device::Cpu;

fn input(transforms: &str, augmentation: &str) -> InputConfig {
    let list = |text: &str| text.parse().expect("transforms");
    InputConfig { transforms: list(transforms), augmentation: list(augmentation) }
}

fn some_digits() -> Dataset {
    let all = digits();
    Dataset { train: all.train.take(120), test: all.test.take(50), ..all }
}

fn quiet() -> RunOptions {
    RunOptions { seed: 3, device: "cpu".into(), quiet: true, ..RunOptions::default() }
}

fn krotov(input: InputConfig) -> Result<krotov_hopfield::Options> {
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    (preset.units, preset.epochs, preset.head.epochs, preset.input) = (20, 3, 3, input);
    Ok(krotov_hopfield::Options { preset })
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

/// Trains a method on images seen through `input` and loads the model from its folder: it classifies the images of the
/// data set as the run did, and each image by itself.
fn is_whole<M: Method>(mut options: M::Options, input: InputConfig) -> Result {
    let (folder, data) = (tempfile::tempdir()?, some_digits());
    *M::preset_mut(&mut options).input_mut() = input.clone();
    let run = train::<M>(&options, &data, CPU, &quiet(), folder.path())?;
    assert_eq!(run.results.input, input, "{}", M::NAME);
    let config = RunFolder::config(folder.path())?.ok_or("no configuration")?;
    assert_eq!(config["image"], serde_json::json!([1, 8, 8]), "{}", M::NAME);
    let card = std::fs::read_to_string(folder.path().join("README.md"))?;
    assert!(card.contains(&format!("`{}`", input.transforms)), "{}: {card}", M::NAME);

    let model = Model::load(folder.path())?;
    let (images, labels) = data.test.batch(&(0..50).collect::<Vec<_>>(), DType::F32, CPU)?;
    let predicted = model.predict(&images)?.to_vec1::<u32>()?;
    let right = predicted.iter().zip(labels.to_vec1::<u32>()?).filter(|(a, b)| **a == *b).count();
    let accuracy = run.results.test_accuracy;
    assert!((accuracy - right as f64 / 50.0).abs() < 1e-12, "{}: {accuracy} {right}", M::NAME);
    // The transforms were not fitted to these images: an image alone has the same features.
    let start = Start { rng: Rng::new(3), device: Device::Cpu, quiet: true };
    let seen = with_input::<M>(&options, &data, &start, Some(folder.path()))?;
    let (one, _) = seen.test.batch(&[7], DType::F32, CPU)?;
    let features = model.features(&images.narrow(0, 7, 1)?)?;
    assert_eq!(bits(&features)?, bits(&run.learner.model().features(&one)?)?, "{}", M::NAME);
    Ok(())
}

#[test]
fn every_method_sees_through_transforms() -> Result {
    let sees = |augmentation| input("resize=10x9,centre-crop=8,standardise", augmentation);
    let drawn = "random-crop:padding=1:reflect,flip=0.25";
    is_whole::<KrotovHopfield>(krotov(InputConfig::NONE)?, sees(drawn))?;
    let mut preset = softhebb::preset("softhebb-cnn-digits")?;
    (preset.training.epochs, preset.training.head_epochs) = (1, 2);
    let options = softhebb::Options { preset, baselines: false };
    is_whole::<softhebb::Softhebb>(options.clone(), sees("none"))?;
    let mut layers_too = options;
    layers_too.preset.training.augment_layers = true;
    is_whole::<softhebb::Softhebb>(layers_too, sees(drawn))?;
    let mut preset = amit::preset("amit-digits")?;
    preset.training.epochs = 1;
    is_whole::<amit::Amit>(amit::Options { preset }, sees(drawn))?;
    let mut preset = miconi::preset("miconi-digits")?;
    (preset.training.epochs, preset.training.burn_in_batches) = (2, 1);
    let options =
        miconi::Options { preset, decoder: miconi::Decoder::default(), standardise_last: false };
    is_whole::<miconi::Miconi>(options, input("resize=10x9,centre-crop=8,zca=0.1", drawn))?;
    let mut preset = golkar::preset("golkar-digits")?;
    preset.training.epochs = 2;
    is_whole::<golkar::Golkar>(golkar::Options { preset, backprop: false }, sees("none"))?;
    let mut preset: patches::Preset = find_preset("patches-digits")?;
    preset.units = 40;
    is_whole::<patches::Patches>(patches::Options { preset }, sees("none"))?;
    let mut preset: k_means::Preset = find_preset("k-means-digits")?;
    (preset.units, preset.patches) = (40, 1000);
    is_whole::<k_means::KMeans>(k_means::Options { preset }, sees("none"))
}

/// A model takes images of any size that its transforms turn into the network's, and no others.
#[test]
fn a_stranger_s_images_are_resized() -> Result {
    let (folder, data) = (tempfile::tempdir()?, some_digits());
    let options = krotov(input("grey,resize=6,centre-crop=6", "none"))?;
    train::<KrotovHopfield>(&options, &data, CPU, &quiet(), folder.path())?;
    let model = Model::load(folder.path())?;
    assert_eq!(model.image(), (1, 8, 8));
    assert_eq!(model.transforms().shape((1, 8, 8))?, (1, 6, 6));
    let mut rng = Rng::new(1);
    let mut images =
        |c: usize, h: usize, w: usize| rng.uniform(0.0, 1.0, (2, c, h, w), DType::F32, CPU);
    let sizes = [(1, 8, 8), (1, 6, 6), (3, 20, 31)].map(|(c, h, w)| images(c, h, w));
    for images in sizes {
        assert_eq!(model.predict(&images?)?.dims(), [2]);
    }
    let error = model.features(&images(2, 8, 8)?).unwrap_err().to_string();
    assert!(error.contains("[2, 2, 8, 8]") && error.contains("(batch, 1, 8, 8)"), "{error}");
    // A saved copy is a model again.
    let copy = folder.path().join("copy");
    model.save(&copy)?;
    let (one, again) = (images(1, 8, 8)?, Model::load(&copy)?);
    assert_eq!(bits(&model.features(&one)?)?, bits(&again.features(&one)?)?);
    Ok(())
}

fn run(
    out: &Path,
    options: &krotov_hopfield::Options,
    how: RunOptions,
) -> hebbian_train::Result<Run<krotov_hopfield::Learner>> {
    train::<KrotovHopfield>(options, &some_digits(), CPU, &how, out)
}

/// A stopped run that is resumed ends in the same bits, and refuses other transforms; fitted transforms that are known
/// are not fitted again.
#[test]
fn transforms_and_draws_go_on_where_they_were() -> Result {
    let folder = tempfile::tempdir()?;
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let options = krotov(input("standardise", "random-crop:padding=2,flip"))?;
    run(&whole, &options, quiet())?;
    let stop = Stop::default();
    stop.ask(15);
    let stopped = run(&parts, &options, RunOptions { stop, ..quiet() });
    assert!(matches!(stopped, Err(Error::Stopped { .. })));
    let resume = || RunOptions { resume: true, ..quiet() };
    for (other, at) in [
        (input("none", "random-crop:padding=2,flip"), "input/transforms"),
        (input("zca=0.1", "random-crop:padding=2,flip"), "input/transforms"),
        (input("standardise", "flip"), "input/augmentation"),
        (input("standardise", "random-crop:padding=1,flip"), "input/augmentation/0/padding"),
    ] {
        let error = run(&parts, &krotov(other)?, resume()).unwrap_err().to_string();
        assert!(error.contains(at) && error.contains("another run"), "{error}");
    }
    run(&parts, &options, resume())?;
    let file = |folder: &Path| std::fs::read(folder.join("model.safetensors"));
    assert!(file(&whole)? == file(&parts)?);
    let checkpoint = Checkpoint::load(&whole, CPU)?;
    assert_eq!(checkpoint.dims("transforms.0.mean"), Some(&[1][..]));

    // Without the augmentation it is another network.
    let plain = folder.path().join("plain");
    run(&plain, &krotov(input("standardise", "none"))?, quiet())?;
    assert!(file(&whole)? != file(&plain)?);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused_before_a_folder_is_made() -> Result {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    for (input, words) in [
        (input("flip", "none"), ["'flip'", "augmentation"]),
        (input("none", "zca"), ["zca", "fitted"]),
        (input("none", "random-crop=6"), ["1x6x6", "1x8x8"]),
        (input("none", "random-crop:padding=8:reflect"), ["random-crop", "at least 9 pixels"]),
        (input("zca=0", "none"), ["epsilon", "64"]),
        (input("none", "colour-jitter"), ["1 channels", "expected 3"]),
    ] {
        let error = run(&out, &krotov(input)?, quiet()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
        assert!(!out.exists());
    }
    let mut preset = golkar::preset("golkar-digits")?;
    preset.input = input("none", "flip");
    let options = golkar::Options { preset, backprop: false };
    let refused = train::<golkar::Golkar>(&options, &some_digits(), CPU, &quiet(), &out);
    let error = refused.err().ok_or("accepted")?.to_string();
    assert!(error.contains("golkar") && error.contains("augmentation flip"), "{error}");
    Ok(())
}
