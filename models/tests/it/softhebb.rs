//! SoftHebb as the engine runs it: it ends in the same bits however often it stops, is checked before it learns, and is
//! loaded without data.

use crate::common::{Result, stopping_after};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::transforms::InputConfig;
use hebbian_data::{Dataset, ImageSet, digits};
use hebbian_models::softhebb::{
    BlockConfig, Experiment, HeadConfig, HeadLayers, LayerConfig, Learner, Learning, Mode, Model,
    Network, Options, Preset, Rate, Softhebb, preset,
};
use hebbian_train::{
    Checkpoint, Clock, Counts, Error, Figures, Learner as _, LogLine, Measured, Method, Model as _,
    Picture, Progress, Recorder, Run, RunFolder, RunOptions, Start, State, Stop, Study,
    StudyOptions, evaluate, save_checkpoint, train,
};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

const CPU: &Device = &Device::Cpu;

/// Two small convolutions for the digits, three epochs each.
fn small(mode: Mode) -> Result<Preset> {
    let mut preset = preset("softhebb-cnn-digits")?;
    preset.name = "small".to_string();
    for (block, units) in preset.blocks.iter_mut().zip([8, 12]) {
        if let LayerConfig::Conv2d { channels, kernel, padding, .. } = &mut block.layer {
            (*channels, *kernel, *padding) = (units, 3, 1);
        }
    }
    preset.training.mode = mode;
    preset.training.epochs = 3;
    preset.training.head_epochs = 2;
    Ok(preset)
}

/// The same with a head that reads both layers.
fn reading_all(mode: Mode) -> Result<Preset> {
    let mut preset = small(mode)?;
    preset.head = HeadConfig::Linear { dropout: 0.2, layers: HeadLayers::All, mirrored: false };
    Ok(preset)
}

fn backprop() -> Result<Preset> {
    let mut preset = small(Mode::Successive)?;
    for block in &mut preset.blocks {
        block.learning = Learning::Backprop;
        block.activation = candle_hebbian::Activation::Relu {};
    }
    preset.training.head_epochs = 3;
    preset.input.augmentation = "random-crop:padding=4:reflect,flip".parse()?;
    Ok(preset)
}

/// A head that learns by the rule, and rates that depend on the progress of learning.
fn decaying(mode: Mode) -> Result<Preset> {
    let mut preset = small(mode)?;
    let rate = Rate::LinearDecay { learning_rate: 0.045 };
    preset.head = HeadConfig::SupervisedHebbian { rate, radius: 35.0 };
    if let Learning::Hebbian { rate, .. } = &mut preset.blocks[0].learning {
        *rate = Rate::LinearDecay { learning_rate: 0.01 };
    }
    Ok(preset)
}

/// Dense layers with batch norm, for which a batch of one image has no variance.
fn dense() -> Result<Preset> {
    let mut preset = small(Mode::Successive)?;
    for block in &mut preset.blocks {
        *block =
            BlockConfig { layer: LayerConfig::Dense { units: 9 }, pool: None, ..block.clone() };
    }
    Ok(preset)
}

/// The first of the digits: 61 images are six batches of ten and one of one.
fn data(train: usize) -> Dataset {
    let mut data = digits();
    (data.train, data.test) = (data.train.take(train), data.test.take(40));
    data
}

fn options(preset: Preset) -> Options {
    Options { preset, baselines: false }
}

fn how() -> RunOptions {
    RunOptions { seed: 4, device: "cpu".to_string(), quiet: true, ..RunOptions::default() }
}

thread_local! {
    /// The step at which the run is asked to stop, if it is.
    static STOP: RefCell<Option<(u64, Stop)>> = const { RefCell::new(None) };
}

/// SoftHebb, with a learner that asks for the stop itself.
struct Stopping;

struct StopsAt(Learner);

impl Method for Stopping {
    const NAME: &'static str = Softhebb::NAME;
    const MAY_GROW: &'static [&'static str] = Softhebb::MAY_GROW;
    type Preset = Preset;
    type Options = Options;
    type Learner = StopsAt;

    fn preset(options: &Options) -> &Preset {
        Softhebb::preset(options)
    }

    fn preset_mut(options: &mut Options) -> &mut Preset {
        Softhebb::preset_mut(options)
    }

    fn learner(
        options: &Options,
        data: &Dataset,
        start: &Start,
    ) -> std::result::Result<StopsAt, Error> {
        Softhebb::learner(options, data, start).map(StopsAt)
    }

    fn counts(options: &Options, data: &Dataset) -> Counts {
        Softhebb::counts(options, data)
    }

    fn model(
        options: &Options,
        image: (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> std::result::Result<Model, Error> {
        Softhebb::model(options, image, classes, device)
    }
}

impl hebbian_train::Learner for StopsAt {
    type Model = Model;

    fn model(&self) -> &Model {
        self.0.model()
    }
    fn model_mut(&mut self) -> &mut Model {
        self.0.model_mut()
    }
    fn uses_labels(&self) -> bool {
        self.0.uses_labels()
    }
    fn clock(&self) -> Clock {
        self.0.clock()
    }
    fn total(&self) -> Clock {
        self.0.total()
    }
    fn into_model(self) -> Model {
        self.0.into_model()
    }
    fn step(&mut self) -> std::result::Result<(), Error> {
        self.0.step()?;
        STOP.with_borrow(|stop| match stop {
            Some((at, stop)) if *at == self.0.clock().steps => stop.ask(15),
            _ => {}
        });
        Ok(())
    }
    fn stage(&self) -> String {
        self.0.stage()
    }
    fn is_due(&self) -> bool {
        self.0.is_due()
    }
    fn measure(&mut self) -> std::result::Result<Measured, Error> {
        self.0.measure()
    }
    fn state(&self) -> std::result::Result<State, Error> {
        self.0.state()
    }
    fn go_on(
        &mut self,
        clock: Clock,
        state: &Value,
        take: &mut Checkpoint,
    ) -> std::result::Result<(), Error> {
        self.0.go_on(clock, state, take)
    }
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> std::result::Result<(), Error> {
        self.0.start_from(checkpoint)
    }
    fn pictures(&self) -> std::result::Result<Vec<(String, Picture)>, Error> {
        self.0.pictures()
    }
    fn finish(&mut self, recorder: &mut Recorder<'_>) -> std::result::Result<Figures, Error> {
        self.0.finish(recorder)
    }
}

/// Runs until it is at `step`, where it must stop.
fn stop_at(step: u64, options: &Options, data: &Dataset, resume: bool, out: &Path) -> Result {
    let how = RunOptions { resume, ..how() };
    if step == 0 {
        how.stop.ask(15);
    }
    STOP.set(Some((step, how.stop.clone())));
    let stopped = train::<Stopping>(options, data, CPU, &how, out);
    STOP.set(None);
    match stopped {
        Err(Error::Stopped { signal: 15, .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err(format!("it did not stop at {step}").into()),
    }
}

type Bits = BTreeMap<String, Vec<u32>>;

fn bits(tensors: &[(String, Tensor)]) -> Result<Bits> {
    let bits = |tensor: &Tensor| -> Result<Vec<u32>> {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    tensors.iter().map(|(name, tensor)| Ok((name.clone(), bits(tensor)?))).collect()
}

/// Everything that a run measured except times and memory. Of the times it is only known which is the longer one.
fn figures(out: &Path) -> Result<(Vec<LogLine>, Value)> {
    let mut lines = hebbian_train::RunFolder::history(out)?.0;
    lines.iter_mut().for_each(|line| line.seconds = 0.0);
    let mut results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json"))?)?;
    fn forget(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !name.contains("second") && !name.contains("memory"));
                fields.values_mut().for_each(forget);
            }
            Value::Array(items) => items.iter_mut().for_each(forget),
            _ => {}
        }
    }
    let seconds = |name: &str| results[name].as_f64();
    assert!(seconds("total_seconds") >= seconds("training_seconds"), "{results}");
    forget(&mut results);
    Ok((lines, results))
}

/// The tensors of a state, and its other values except the time.
fn state(out: &Path) -> Result<(Bits, BTreeMap<String, String>)> {
    let checkpoint = Checkpoint::load(out.join("state.safetensors"), CPU)?;
    let mut metadata = checkpoint.metadata.clone();
    metadata.retain(|name, _| !["training_seconds", "total_seconds"].contains(&&name[..]));
    Ok((bits(&tensors(&checkpoint)?)?, metadata))
}

fn tensors(checkpoint: &Checkpoint) -> Result<Vec<(String, Tensor)>> {
    let named = |name: &str| Ok((name.to_string(), checkpoint.tensor(name)?));
    checkpoint.names().map(named).collect()
}

/// Each mode ends in the same bits if it is stopped before the first step, in the middle of epochs, at their ends,
/// between stages and before the read-outs.
#[test]
fn every_mode_goes_on_to_the_same_bits() -> Result {
    let cases = [
        ("successive", small(Mode::Successive)?, 42),
        ("consecutive", small(Mode::Consecutive)?, 21),
        ("simultaneous", small(Mode::Simultaneous)?, 21),
        ("successive, decaying", decaying(Mode::Successive)?, 42),
        ("simultaneous, by the rule", decaying(Mode::Simultaneous)?, 21),
        ("simultaneous, all layers", reading_all(Mode::Simultaneous)?, 21),
        ("back-propagation", backprop()?, 6),
        ("random-calibrated", small(Mode::RandomCalibrated)?, 0),
    ];
    for (name, preset, steps) in cases {
        let folder = tempfile::tempdir()?;
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let (options, data) = (options(preset), data(61));
        let run = train::<Softhebb>(&options, &data, CPU, &how(), &whole)?;
        assert_eq!(run.results.training_steps, steps, "{name}");
        assert!(run.history.0.len() >= 2, "{name}");
        let stops = [0, 1, 3, 5, 7, 11, 14, 20, 21, 22, 29, 42];
        for (i, step) in stops.into_iter().filter(|&step| step <= steps).enumerate() {
            stop_at(step, &options, &data, i > 0, &parts).map_err(|e| format!("{name}: {e}"))?;
        }
        let resume = RunOptions { resume: true, ..how() };
        let resumed = train::<Softhebb>(&options, &data, CPU, &resume, &parts)?;
        let tensors = |run: &Run<Learner>| bits(&run.learner.model().tensors());
        assert_eq!(tensors(&run)?, tensors(&resumed)?, "{name}");
        let model = |out: &Path| std::fs::read(out.join("model.safetensors"));
        assert!(model(&whole)? == model(&parts)?, "{name}");
        assert_eq!(figures(&whole)?, figures(&parts)?, "{name}");
        assert_eq!(state(&whole)?, state(&parts)?, "{name}");
    }
    Ok(())
}

/// The moments in a state matter: without them, a run would learn differently.
#[test]
fn a_state_without_its_moments_is_refused() -> Result {
    let folder = tempfile::tempdir()?;
    for preset in [small(Mode::Simultaneous)?, backprop()?] {
        let out = folder.path().join("out");
        let (options, data) = (options(preset), data(61));
        stop_at(3, &options, &data, false, &out)?;
        let path = out.join("state.safetensors");
        let checkpoint = Checkpoint::load(&path, CPU)?;
        let mut kept = tensors(&checkpoint)?;
        let all = kept.len();
        kept.retain(|(name, _)| name != "state.head.bias.v");
        assert_eq!(kept.len(), all - 1);
        save_checkpoint(&path, &kept, &checkpoint.metadata)?;
        let resume = RunOptions { resume: true, ..how() };
        let refused = train::<Softhebb>(&options, &data, CPU, &resume, &out);
        let error = refused.expect_err("no moments").to_string();
        assert!(error.contains("state.head.bias.v"), "{error}");
    }
    Ok(())
}

#[test]
fn a_state_of_another_mode_is_refused() -> Result {
    let start = Start { rng: Rng::new(0), device: Device::Cpu, quiet: true };
    let learner = |preset: Preset| Softhebb::learner(&options(preset), &data(61), &start);
    let (mut one, other) = (learner(small(Mode::Successive)?)?, learner(backprop()?)?);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state.safetensors");
    save_checkpoint(&path, &other.model().tensors(), &BTreeMap::new())?;
    let mut checkpoint = Checkpoint::load(&path, CPU)?;
    let clock = Clock { steps: 3, images: 30 };
    let refused = one.go_on(clock, &other.state()?.values, &mut checkpoint);
    let error = refused.expect_err("another learner").to_string();
    assert!(error.contains("does not fit") && error.contains("--resume"), "{error}");
    Ok(())
}

/// A complete run can continue with more epochs of the head, and ends as one that had them from the start. With
/// back-propagation it cannot, because the rates of the first epochs would have been others.
#[test]
fn the_head_may_learn_longer() -> Result {
    for mode in [Mode::Successive, Mode::Simultaneous, Mode::RandomCalibrated] {
        let folder = tempfile::tempdir()?;
        let (whole, grown) = (folder.path().join("whole"), folder.path().join("grown"));
        let (mut options, data) = (options(small(mode)?), data(61));
        train::<Softhebb>(&options, &data, CPU, &how(), &grown)?;
        options.preset.training.head_epochs = 21;
        let resume = RunOptions { resume: true, ..how() };
        train::<Softhebb>(&options, &data, CPU, &resume, &grown)?;
        train::<Softhebb>(&options, &data, CPU, &how(), &whole)?;
        assert_eq!(figures(&whole)?, figures(&grown)?, "{mode:?}");
        let model = |out: &Path| std::fs::read(out.join("model.safetensors"));
        assert!(model(&whole)? == model(&grown)?, "{mode:?}");
    }
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let (mut options, data) = (options(backprop()?), data(61));
    train::<Softhebb>(&options, &data, CPU, &how(), &out)?;
    let before = std::fs::read(out.join("results.json"))?;
    options.preset.training.head_epochs = 4;
    let resume = RunOptions { resume: true, ..how() };
    let refused = train::<Softhebb>(&options, &data, CPU, &resume, &out);
    let error = refused.expect_err("other rates").to_string();
    assert!(error.contains("3 head_epochs, not of 4"), "{error}");
    assert_eq!(std::fs::read(out.join("results.json"))?, before);
    Ok(())
}

/// Runs until an image is read after `line` has come into the log. There it must stop.
fn stop_after(line: &'static str, options: &Options, resume: bool, out: &Path) -> Result {
    let (how, log) = (RunOptions { resume, ..how() }, out.join("metrics.jsonl"));
    let data = stopping_after(line, &log, &how.stop, data(61))?;
    let stopped = train::<Softhebb>(options, &data, CPU, &how, out);
    assert!(matches!(stopped, Err(Error::Stopped { signal: 15, .. })), "{line}");
    assert!(std::fs::read_to_string(log)?.contains(line), "it stopped before {line}");
    Ok(())
}

/// A run that stops while its controls learn goes on with the one that had not finished: the log still has the times at
/// which the others were trained. It ends in the same bits.
#[test]
fn finished_readouts_are_not_trained_again() -> Result {
    let modes = [Mode::Successive, Mode::Simultaneous, Mode::RandomCalibrated];
    let linear = modes.into_iter().map(small).collect::<Result<Vec<_>>>()?;
    for preset in linear.into_iter().chain([decaying(Mode::Successive)?]) {
        let folder = tempfile::tempdir()?;
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        let options = Options { preset, baselines: true };
        train::<Softhebb>(&options, &data(61), CPU, &how(), &whole)?;

        stop_after(r#""readout":"head","epoch":2.0"#, &options, false, &parts)?;
        // As if it had been killed before the other read-outs of the features.
        let kept = parts.join("readouts.safetensors");
        let checkpoint = Checkpoint::load(&kept, CPU)?;
        let mut metadata = checkpoint.metadata.clone();
        assert!(metadata.remove("readout: all of the features").is_some());
        save_checkpoint(&kept, &tensors(&checkpoint)?, &metadata)?;
        let line = r#""readout":"head on random features, draw 1","epoch":2.0"#;
        stop_after(line, &options, true, &parts)?;
        let before = RunFolder::history(&parts)?.0;

        let resume = RunOptions { resume: true, ..how() };
        let run = train::<Softhebb>(&options, &data(61), CPU, &resume, &parts)?;
        assert_eq!(&run.history.0[..before.len()], &before[..]);
        // An event has as many bytes whenever it was written.
        let events = |out: &Path| -> Result<u64> {
            let name = |file: &std::fs::DirEntry| file.file_name().to_string_lossy().into_owned();
            let mut files = out.read_dir()?.flatten();
            let events = files.find(|file| name(file).ends_with(".readouts"));
            Ok(events.ok_or("no events of read-outs")?.metadata()?.len())
        };
        assert_eq!(events(&whole)?, events(&parts)?);
        assert_eq!(figures(&whole)?, figures(&parts)?);
        let model = |out: &Path| std::fs::read(out.join("model.safetensors"));
        assert!(model(&whole)? == model(&parts)?);
        assert!(!kept.exists());
    }
    Ok(())
}

/// What short heads gave is not taken for that of long ones, and if the longer run stops too, it goes on with its own.
#[test]
fn heads_that_learn_longer_are_all_trained_again() -> Result {
    let folder = tempfile::tempdir()?;
    let (whole, grown) = (folder.path().join("whole"), folder.path().join("grown"));
    let mut options = Options { preset: small(Mode::Successive)?, baselines: true };
    let line = r#""readout":"head on random features, draw 1","epoch":2.0"#;
    stop_after(line, &options, false, &grown)?;
    options.preset.training.head_epochs = 21;
    stop_after(r#""readout":"head on raw pixels","epoch":21.0"#, &options, true, &grown)?;
    let resume = RunOptions { resume: true, ..how() };
    train::<Softhebb>(&options, &data(61), CPU, &resume, &grown)?;
    train::<Softhebb>(&options, &data(61), CPU, &how(), &whole)?;
    assert_eq!(figures(&whole)?, figures(&grown)?);
    let model = |out: &Path| std::fs::read(out.join("model.safetensors"));
    assert!(model(&whole)? == model(&grown)?);
    Ok(())
}

/// A batch that cannot be learned from is found before any folder is made, and the check changes nothing.
#[test]
fn a_last_batch_without_a_variance_is_refused() -> Result {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let refused = train::<Softhebb>(&options(dense()?), &data(61), CPU, &how(), &out);
    let error = refused.expect_err("a batch of one").to_string();
    for part in ["'small'", "a batch of 1 image", "block 1", "expected at least 2"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!out.exists());
    // Controls learn nothing, and 60 images leave no such batch.
    let mut control = dense()?;
    control.training.mode = Mode::RandomIdentity;
    train::<Softhebb>(&options(control), &data(61), CPU, &how(), &out)?;
    train::<Softhebb>(&options(dense()?), &data(60), CPU, &how(), &out)?;
    // With images of 64 pixels in one channel as the input of a dense layer, a batch of one has a variance.
    let mut first = dense()?;
    first.blocks.truncate(1);
    train::<Softhebb>(&options(first), &data(61), CPU, &how(), &out)?;

    let (preset, rng) = (small(Mode::Successive)?, Rng::new(0));
    let start = Start { rng: rng.clone(), device: Device::Cpu, quiet: true };
    let learner = Softhebb::learner(&options(preset.clone()), &data(61), &start)?;
    let fresh = Network::new(&preset, (1, 8, 8), &rng, DType::F32, CPU)?;
    assert_eq!(bits(&learner.model().tensors())?, bits(&fresh.stack().tensors())?);
    Ok(())
}

/// Weights of such a radius would be 0, or infinite in f32, and a head of such a rate would not learn.
#[test]
fn a_radius_or_a_rate_out_of_range_is_refused() -> Result {
    let start = Start { rng: Rng::new(0), device: Device::Cpu, quiet: true };
    let refused = |preset: &Preset, says: &str| {
        let error = Softhebb::learner(&options(preset.clone()), &data(20), &start).unwrap_err();
        assert!(error.to_string().contains(says), "{says}: {error}");
    };
    for (wrong, shown) in [(0.0, "0"), (-25.0, "-25"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let mut preset = small(Mode::Successive)?;
        if let Learning::Hebbian { radius, .. } = &mut preset.blocks[1].learning {
            *radius = wrong;
        }
        refused(&preset, &format!("block 1 of preset 'small': the radius is {shown}, expected"));
        let mut preset = decaying(Mode::Successive)?;
        if let HeadConfig::SupervisedHebbian { radius, .. } = &mut preset.head {
            *radius = wrong;
        }
        refused(&preset, &format!("the head of preset 'small': the radius is {shown}, expected"));
    }
    for mut preset in [small(Mode::Successive)?, backprop()?] {
        preset.training.head_learning_rate = -1e-3;
        refused(&preset, "the head's learning_rate is -0.001, expected a finite number");
    }
    Ok(())
}

/// Back-propagation trains all layers at once: it has no modes, and least of all those in which nothing learns.
#[test]
fn back_propagation_has_no_other_modes() -> Result {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    for mode in
        [Mode::Consecutive, Mode::Simultaneous, Mode::RandomCalibrated, Mode::RandomIdentity]
    {
        let mut preset = preset("backprop-cnn1-cifar")?;
        preset.training.mode = mode;
        let refused = train::<Softhebb>(&options(preset), &data(20), CPU, &how(), &out);
        let error = refused.expect_err("a mode").to_string();
        assert!(error.contains("back-propagation") && error.contains("modes"), "{error}");
    }
    assert!(!out.exists());
    Ok(())
}

/// No folder is made for images that are too small to be mirrored four pixels outwards.
#[test]
fn images_too_small_to_be_cropped_are_refused() -> Result {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let mut preset = dense()?;
    preset.input.augmentation = "random-crop:padding=4:reflect,flip".parse()?;
    let mut data = data(20);
    for set in [&mut data.train, &mut data.test] {
        *set = ImageSet::new(vec![7; 20 * 9], vec![0; 20], 1, 3, 3)?;
    }
    let refused = train::<Softhebb>(&options(preset.clone()), &data, CPU, &how(), &out);
    let error = refused.expect_err("too small").to_string();
    assert!(error.contains("3") && error.contains("pad"), "{error}");
    assert!(!out.exists());
    preset.input = InputConfig::NONE;
    train::<Softhebb>(&options(preset), &data, CPU, &how(), &out)?;
    Ok(())
}

/// A model is made from its options and the shape of an image alone, and classifies as it did in its run.
#[test]
fn a_model_is_loaded_without_data() -> Result {
    for preset in [small(Mode::Consecutive)?, decaying(Mode::Simultaneous)?, backprop()?] {
        let folder = tempfile::tempdir()?;
        let (options, data) = (options(preset), data(61));
        let run = train::<Softhebb>(&options, &data, CPU, &how(), folder.path())?;
        let mut model = Softhebb::model(&options, (1, 8, 8), 10, CPU)?;
        let (images, _) = data.test.batch(&[0, 1, 2], DType::F32, CPU)?;
        let error = model.predict(&images).expect_err("an untrained head").to_string();
        assert!(error.contains("not trained"), "{error}");
        model.restore(&mut Checkpoint::load(folder.path(), CPU)?)?;
        assert_eq!(bits(&model.tensors())?, bits(&run.learner.model().tensors())?);
        let mut progress = Progress::new(40, "test", true);
        let evaluation = evaluate(&model, &data.test, 10, CPU, &mut progress)?;
        assert_eq!(evaluation.accuracy, run.results.test_accuracy);
        assert_eq!(Some(evaluation.confusion), run.results.confusion);

        assert_eq!(model.layers(), 2);
        let features = model.layer_features(1, &images)?.flatten_from(1)?;
        assert_eq!(features.to_vec2::<f32>()?, model.features(&images)?.to_vec2::<f32>()?);
        assert_eq!(model.layer_features(0, &images)?.dims(), [3, 8, 4, 4]);
        for layer in [2, usize::MAX] {
            let error = model.layer_features(layer, &images).unwrap_err().to_string();
            assert!(error.contains(&format!("there is no layer {layer}")), "{error}");
        }
    }
    Ok(())
}

/// A head may read all layers: their features in order, both in evaluation and while it learns beside them.
#[test]
fn a_head_on_all_layers_reads_one_after_the_other() -> Result {
    for mode in [Mode::Successive, Mode::Simultaneous] {
        let folder = tempfile::tempdir()?;
        let (options, data) = (options(reading_all(mode)?), data(61));
        let run = train::<Softhebb>(&options, &data, CPU, &how(), folder.path())?;
        let names = run.results.readouts.iter().map(|readout| (&*readout.name, readout.features));
        // 8 channels of 4×4 positions, then 12 of 2×2.
        let all = 8 * 16 + 12 * 4;
        let expected = [("head", all), ("nearest class mean", all), ("ridge", all)];
        assert_eq!(names.collect::<Vec<_>>(), expected);

        let mut model = Softhebb::model(&options, (1, 8, 8), 10, CPU)?;
        model.restore(&mut Checkpoint::load(folder.path(), CPU)?)?;
        let (images, _) = data.test.batch(&[0, 1, 2], DType::F32, CPU)?;
        let images = candle::Var::from_tensor(&images)?;
        let (first, second) =
            (model.layer_features(0, &images)?, model.layer_features(1, &images)?);
        let side_by_side = Tensor::cat(&[first.flatten_from(1)?, second.flatten_from(1)?], 1)?;
        let features = model.features(&images)?;
        assert_eq!(features.to_vec2::<f32>()?, side_by_side.to_vec2::<f32>()?);

        // The gradient of a sum is the sum of the gradients.
        let gradient = |of: &Tensor| -> Result<Vec<f32>> {
            let gradient = of.sum_all()?.backward()?.get(&images).cloned().ok_or("no gradient")?;
            Ok(gradient.flatten_all()?.to_vec1()?)
        };
        let (found, of_first, of_second) =
            (gradient(&features)?, gradient(&first)?, gradient(&second)?);
        assert!(of_first.iter().chain(&of_second).any(|&slope| slope != 0.0));
        let largest = found.iter().fold(0f32, |most, slope| most.max(slope.abs()));
        for (found, parts) in found.iter().zip(of_first.iter().zip(&of_second)) {
            let expected = parts.0 + parts.1;
            assert!((found - expected).abs() <= 1e-5 * largest, "{found} and {expected}");
        }
        // The labels train only the head; the layers are those of the network whose head reads the last layer.
        let other = tempfile::tempdir()?;
        let last = Options { preset: small(mode)?, baselines: false };
        let last = train::<Softhebb>(&last, &data, CPU, &how(), other.path())?;
        for name in ["layers.0.weight", "layers.1.weight"] {
            let weight = |run: &Run<Learner>| {
                let mut tensors = run.learner.model().tensors().into_iter();
                tensors.find(|(known, _)| known == name).map(|(_, weight)| weight)
            };
            let (one, other) = (weight(&run).ok_or("none")?, weight(&last).ok_or("none")?);
            assert_eq!(bits(&[(name.into(), one)])?, bits(&[(name.into(), other)])?, "{mode:?}");
        }
    }
    let mut preset = backprop()?;
    preset.head = HeadConfig::Linear { dropout: 0.0, layers: HeadLayers::All, mirrored: false };
    let folder = tempfile::tempdir()?;
    let refused = train::<Softhebb>(&options(preset), &data(61), CPU, &how(), folder.path());
    let error = refused.expect_err("the gradient comes from the last layer").to_string();
    assert!(error.contains("back-propagation") && error.contains("last layer"), "{error}");

    // What learns together with the head gives it the features of an image alone.
    for mut preset in [backprop()?, small(Mode::Simultaneous)?] {
        let layers = HeadLayers::Last;
        preset.head = HeadConfig::Linear { dropout: 0.0, layers, mirrored: true };
        let folder = tempfile::tempdir()?;
        let refused = train::<Softhebb>(&options(preset), &data(61), CPU, &how(), folder.path());
        let error = refused.expect_err("the head is mirrored").to_string();
        assert!(error.contains("mirrored") && error.contains("simultaneous"), "{error}");
    }
    Ok(())
}

/// With as many augmented copies as epochs, each epoch has a new one; with one copy, each epoch has the first.
#[test]
fn augmented_copies_are_taken_in_turn() -> Result {
    let trained = |copies: Option<usize>, epochs: usize| -> Result<Bits> {
        let folder = tempfile::tempdir()?;
        let mut preset = small(Mode::RandomCalibrated)?;
        preset.input.augmentation = "random-crop:padding=2,flip".parse()?;
        preset.training.head_epochs = epochs;
        preset.training.augmented_copies = copies;
        let run = train::<Softhebb>(&options(preset), &data(61), CPU, &how(), folder.path())?;
        bits(&run.learner.model().head().tensors())
    };
    let fresh = trained(None, 3)?;
    assert_eq!(trained(Some(3), 3)?, fresh);
    assert_eq!(trained(Some(7), 3)?, fresh, "more than are needed");
    assert_ne!(trained(Some(2), 3)?, fresh, "the third epoch has the first copy");
    assert_eq!(trained(Some(1), 1)?, trained(None, 1)?);
    Ok(())
}

/// Weights to start from are the network's: the head, which belongs to other features, starts from scratch.
#[test]
fn a_run_starts_from_the_network_of_another() -> Result {
    let folder = tempfile::tempdir()?;
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let (mut options, data) = (options(small(Mode::Successive)?), data(61));
    let run = train::<Softhebb>(&options, &data, CPU, &how(), &first)?;
    options.preset.training.epochs = 0;
    let load = RunOptions { load: Some(first), ..how() };
    let again = train::<Softhebb>(&options, &data, CPU, &load, &second)?;
    assert_eq!(again.results.training_steps, 0);
    assert_eq!(
        bits(&run.learner.model().tensors())?,
        bits(&again.learner.model().tensors())?,
        "the same features and the same seed make the same head"
    );
    Ok(())
}

/// Each read-out reports its accuracy, what it read and how long it took; the main one is first.
#[test]
fn read_outs_are_typed() -> Result {
    let folder = tempfile::tempdir()?;
    let mut dense = dense()?;
    dense.blocks.truncate(1);
    for (preset, more) in [(small(Mode::Successive)?, &[][..]), (dense, &["label assignment"])] {
        let options = Options { preset, baselines: true };
        let run = train::<Softhebb>(&options, &data(61), CPU, &how(), folder.path())?;
        let readouts = &run.results.readouts;
        let names: Vec<&str> = readouts.iter().map(|readout| readout.name.as_str()).collect();
        let first = ["head", "nearest class mean", "ridge"];
        let last = [&["head on raw pixels"][..], &["head on random features"; 5]].concat();
        assert_eq!(names, [&first[..], more, &last].concat());
        assert_eq!(run.results.test_accuracy, readouts[0].test_accuracy);
        for readout in readouts {
            let confusion = readout.confusion.as_ref().ok_or("no confusion")?;
            assert_eq!(confusion.accuracy(), readout.test_accuracy, "{}", readout.name);
            assert_eq!(confusion.counts.iter().flatten().sum::<u64>(), 40);
            assert!(readout.seconds > 0.0);
        }
        assert_eq!(readouts.iter().find(|r| r.name == last[0]).map(|r| r.features), Some(64));
        let report = hebbian_models::softhebb::report(&run, folder.path())?;
        for line in ["head on raw pixels", "head on 5 random networks", "ridge", "metrics.jsonl"] {
            assert!(report.contains(line), "{report}");
        }
        assert_eq!(report.contains("label assignment"), !more.is_empty());
    }
    Ok(())
}

/// The networks for the digits show learning: most units of every layer leave the direction that they were drawn in,
/// which untrained ones keep, and nearly all units of the network that a user sees first converge to norm 1.
#[test]
fn the_networks_for_the_digits_learn_in_every_layer() -> Result {
    for (name, most, normed) in
        [("softhebb-mlp-digits", 0.95, Some(0.95)), ("softhebb-cnn-digits", 0.75, None)]
    {
        let folder = tempfile::tempdir()?;
        let mut preset = preset(name)?;
        preset.training.head_epochs = 1;
        let data = hebbian_data::digits();
        let start = Network::new(&preset, (1, 8, 8), &Rng::new(how().seed), DType::F32, CPU)?;
        let rows = |network: &Network, at: usize| -> Result<Vec<Vec<f64>>> {
            let weight = network.stack().blocks()[at].layer()?.weight().detach();
            Ok(weight.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2()?)
        };
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let left = |network: &Network| -> Result<Vec<f64>> {
            let share = |at: usize| -> Result<f64> {
                let (now, start) = (rows(network, at)?, rows(&start, at)?);
                let cosine = |(a, b): (&Vec<f64>, &Vec<f64>)| {
                    product(a, b) / (product(a, a) * product(b, b)).sqrt()
                };
                let count = now.len() as f64;
                Ok(now.iter().zip(&start).filter(|&pair| cosine(pair) < 0.5).count() as f64 / count)
            };
            (0..preset.blocks.len()).map(share).collect()
        };
        let run = train::<Softhebb>(&options(preset.clone()), &data, CPU, &how(), folder.path())?;
        let network = run.learner.model().network();
        let found = left(network)?;
        assert!(found.iter().all(|&share| share > most), "{name}: {found:?}");
        assert_eq!(run.results.extras["units_that_left_their_start"], serde_json::json!(found));
        if let Some(normed) = normed {
            let units = rows(network, 0)?;
            let near = units.iter().filter(|w| (product(w, w).sqrt() - 1.0).abs() < 0.05).count();
            assert!(near as f64 > normed * units.len() as f64, "{name}: {near}");
        }
        let still = vec![0.0; preset.blocks.len()];
        let mut preset = preset.clone();
        preset.training.epochs = 0;
        let run = train::<Softhebb>(&options(preset), &data, CPU, &how(), folder.path())?;
        assert_eq!(run.results.extras["units_that_left_their_start"], serde_json::json!(still));
    }
    Ok(())
}

/// The networks show what learning is worth: with few labels, their features beat those of random weights by more than
/// random networks differ from each other. Those of the first network beat the raw pixels too, by more than this
/// difference.
#[test]
fn the_features_of_the_networks_for_the_digits_need_fewer_labels() -> Result {
    for (name, beats_pixels) in [("softhebb-mlp-digits", true), ("softhebb-cnn-digits", false)] {
        let folder = tempfile::tempdir()?;
        let options = Options { baselines: true, ..options(preset(name)?) };
        let how = RunOptions { seed: 0, ..how() };
        let run = train::<Softhebb>(&options, &hebbian_data::digits(), CPU, &how, folder.path())?;
        let few = &run.results.extras["few_labels"];
        assert_eq!(few["labels"], 50);
        let spread = |name: &str| {
            let draws = few[name].as_array().expect("a list").iter();
            let draws: Vec<f64> = draws.map(|one| one.as_f64().expect("an accuracy")).collect();
            assert_eq!(draws.len(), 5);
            hebbian_train::Spread::of(&draws).expect("five")
        };
        let [learned, random, pixels] = ["learned", "random_features", "raw_pixels"].map(spread);
        let sd = random.sd.expect("several");
        assert!(learned.mean > random.mean + sd, "{name}: {few}");
        assert!(!beats_pixels || learned.mean > pixels.mean + sd, "{name}: {few}");
    }
    Ok(())
}

/// Fifty labels cannot show all classes if there are more than fifty: the comparison is left out, not the run.
#[test]
fn few_labels_are_too_few_for_many_classes() -> Result {
    let of_classes = |classes: u32| -> Result<Dataset> {
        let mut data = digits();
        for set in [&mut data.train, &mut data.test] {
            let (images, _) = set.batch(&(0..set.len()).collect::<Vec<_>>(), DType::F32, CPU)?;
            let pixels = (images * 255.0)?.flatten_all()?.to_vec1::<f32>()?;
            let pixels = pixels.iter().map(|pixel| pixel.round() as u8).collect();
            let labels = (0..set.len() as u32).map(|at| at % classes).collect();
            *set = ImageSet::new(pixels, labels, 1, 8, 8)?;
        }
        data.class_names = (0..classes).map(|class| class.to_string()).collect();
        Ok(data)
    };
    for (classes, compared) in [(50, true), (51, false)] {
        let folder = tempfile::tempdir()?;
        let options = Options { baselines: true, ..options(small(Mode::RandomCalibrated)?) };
        let run = train::<Softhebb>(&options, &of_classes(classes)?, CPU, &how(), folder.path())?;
        assert_eq!(run.results.extras.contains_key("few_labels"), compared, "{classes}");
    }
    Ok(())
}

/// A loss that is not finite stops the run at its step, and says where the last good weights are.
#[test]
fn a_loss_that_explodes_stops_the_run() -> Result {
    let folder = tempfile::tempdir()?;
    let mut preset = backprop()?;
    preset.training.head_learning_rate = 1e38;
    let stopped = train::<Softhebb>(&options(preset), &data(61), CPU, &how(), folder.path());
    let error = stopped.expect_err("an explosion").to_string();
    for part in ["the loss is not finite at step", "by back-propagation", "state.safetensors"] {
        assert!(error.contains(part), "{error}");
    }
    Ok(())
}

/// Learning without labels sees all images, in the same batches: how many of them have labels makes no difference to
/// the network. Learning that needs labels sees only images that have them.
#[test]
fn labels_make_no_difference_to_a_network_that_learns_without() -> Result<()> {
    let all = data(61);
    let some = all.clone().with_labelled(20, 1)?;
    let trained = |preset: Preset, data: &Dataset| -> Result<_> {
        let folder = tempfile::tempdir()?;
        let run = train::<Softhebb>(&options(preset), data, CPU, &how(), folder.path())?;
        let network = run.learner.model().tensors().into_iter();
        let network = network.filter(|(name, _)| !name.starts_with("head"));
        let bits = network.map(|(name, tensor)| {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok((name, values.into_iter().map(f32::to_bits).collect::<Vec<_>>()))
        });
        Ok((run.results, bits.collect::<Result<Vec<_>>>()?))
    };
    let preset = small(Mode::Successive)?;
    let ((whole, weights), (part, same)) =
        (trained(preset.clone(), &all)?, trained(preset, &some)?);
    assert!(weights == same);
    assert_eq!((whole.train_images, whole.unlabelled_images), (61, 0));
    assert_eq!((part.train_images, part.unlabelled_images), (20, 41));
    assert_eq!(whole.training_images, part.training_images);
    assert_eq!(part.training_epochs, 6.0, "three of each of two layers");
    for preset in [small(Mode::Simultaneous)?, backprop()?] {
        let (results, _) = trained(preset, &some)?;
        assert_eq!((results.train_images, results.unlabelled_images), (20, 0));
        assert_eq!(results.training_images, 60, "three epochs of 20");
    }
    Ok(())
}

/// In each stage anew, the largest change of a weight of the layer that learns is η·(1 − j/21) in step j of 21; the
/// other layer stays as it is.
#[test]
fn the_rate_falls_evenly_over_the_steps_of_each_stage() -> Result {
    let (rates, mut preset) = ([0.3, 0.08], small(Mode::Successive)?);
    for (block, learning_rate) in preset.blocks.iter_mut().zip(rates) {
        if let Learning::Hebbian { rate, .. } = &mut block.learning {
            *rate = Rate::LinearDecay { learning_rate };
        }
    }
    let start = Start { rng: Rng::new(4), device: Device::Cpu, quiet: true };
    let mut learner = Softhebb::learner(&options(preset), &data(61), &start)?;
    assert_eq!(learner.total(), Clock { steps: 42, images: 2 * 3 * 61 });
    let weights = |learner: &Learner| -> Result<Vec<Vec<f32>>> {
        let blocks = learner.model().network().stack().blocks().iter();
        blocks.map(|block| Ok(block.layer()?.weight().flatten_all()?.to_vec1::<f32>()?)).collect()
    };
    for step in 0..42 {
        let before = weights(&learner)?;
        learner.step()?;
        for (at, (before, after)) in before.iter().zip(&weights(&learner)?).enumerate() {
            let moved = before.iter().zip(after).map(|(before, after)| (after - before).abs());
            let moved = f64::from(moved.fold(0f32, f32::max));
            let left = 1.0 - (step % 21) as f64 / 21.0;
            let want = if at == step / 21 { rates[at] * left } else { 0.0 };
            // Weights of up to 32 are rounded to 2e-6.
            assert!((moved - want).abs() < 1e-5, "step {step}, layer {at}: {moved}, {want}");
        }
    }
    Ok(())
}

/// The random networks that learned features are compared with have batch-norm statistics of the training images, in
/// every mode: the first of them, which has the weights that the network started from, is the one that is read out if
/// nothing learns and statistics are estimated. Without the estimate, other images are confused.
#[test]
fn random_features_are_those_of_calibrated_networks() -> Result {
    let mut data = digits();
    (data.train, data.test) = (data.train.take(200), data.test.take(100));
    let read_out = |mode: Mode| -> Result<_> {
        let folder = tempfile::tempdir()?;
        let options = Options { preset: small(mode)?, baselines: true };
        let run = train::<Softhebb>(&options, &data, CPU, &how(), folder.path())?;
        let first = |name: &str| {
            let found = run.results.readouts.iter().find(|readout| readout.name == name);
            found.and_then(|readout| readout.confusion.clone()).ok_or("no confusion")
        };
        Ok((first("head")?, first("head on random features")?))
    };
    let (calibrated, random) = read_out(Mode::RandomCalibrated)?;
    assert_eq!(random, calibrated);
    let (identity, random) = read_out(Mode::RandomIdentity)?;
    assert_eq!(random, calibrated);
    assert_ne!(identity, calibrated, "the estimate makes a difference");
    Ok(())
}

/// The networks of an experiment, as the configurations of their runs have them, and R1 of the weights that they saved:
/// the share of units of norm 1 ± 0.005.
fn networks(out: &Path) -> Result<Vec<(Value, f64)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(out)? {
        let run = entry?.path().join("seed-0");
        if !run.is_dir() {
            continue;
        }
        let config: Value =
            serde_json::from_str(&std::fs::read_to_string(run.join("config.json"))?)?;
        let units = hebbian_models::Model::load(&run)?.network().units()?;
        let weight = units.first().ok_or("no units")?.weight.to_dtype(DType::F64)?;
        let norms = weight.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?.to_vec1::<f64>()?;
        let near = norms.iter().filter(|&&norm| (norm - 1.0).abs() < 0.005).count();
        all.push((config["options"]["preset"].clone(), near as f64 / norms.len() as f64));
    }
    Ok(all)
}

/// Each run of an experiment is that of the network it names, with the R1 of its weights.
#[test]
fn experiments_vary_what_they_say() -> Result {
    let folder = tempfile::tempdir()?;
    let run = |experiment: Experiment| -> Result<_> {
        let out = folder.path().join(experiment.name());
        let options = StudyOptions { epochs: Some(1), quiet: true, ..StudyOptions::default() };
        experiment.run(&Study::new(&options, CPU, &out), &data(100))?;
        let results = std::fs::read_to_string(out.join("results.json"))?;
        let results: Value = serde_json::from_str(&results)?;
        Ok((results["runs"].as_array().cloned().ok_or("no runs")?, networks(&out)?))
    };
    // The row of a network, by what distinguishes it.
    let holds = |(runs, networks): &(Vec<Value>, Vec<(Value, f64)>),
                 row: &dyn Fn(&Value) -> Value| {
        assert_eq!(runs.len(), networks.len());
        for (preset, r1) in networks {
            let row = row(preset);
            let of = |run: &&Value| {
                row.as_object().is_some_and(|row| row.iter().all(|(key, value)| run[key] == *value))
            };
            let found: Vec<&Value> = runs.iter().filter(of).collect();
            assert_eq!(found.len(), 1, "{row} in {runs:?}");
            assert_eq!(found[0]["r1"], *r1, "{row}");
            assert_eq!(preset["training"]["epochs"], 1);
        }
    };
    let learning = |preset: &Value| preset["blocks"][0]["learning"].clone();
    let by_rate = |preset: &Value| match learning(preset)["rate"]["kind"].as_str() {
        Some("norm_dependent") => "norm-dependent rate",
        Some("linear_decay") => "linear decay",
        other => panic!("{other:?}"),
    };

    let temperatures = run(Experiment::Temperature)?;
    assert_eq!(temperatures.0.len(), 31);
    holds(&temperatures, &|preset| {
        let competition = &learning(preset)["competition"];
        let temperature = competition["inverse_temperature"].as_f64().map(f64::recip);
        match competition["kind"].as_str() {
            Some("soft_wta") => json!({ "group": "soft WTA", "temperature": temperature }),
            Some("soft_wta_anti_hebbian") => {
                json!({ "group": "soft WTA, anti-Hebbian losers", "temperature": temperature })
            }
            _ => json!({ "group": "hard WTA", "temperature": null }),
        }
    });
    let radii = run(Experiment::Radius)?;
    assert_eq!(radii.0.len(), 24);
    holds(
        &radii,
        &|preset| json!({ "group": by_rate(preset), "initial_radius": learning(preset)["radius"] }),
    );
    let speed = run(Experiment::Speed)?;
    assert_eq!(speed.0.len(), 2);
    holds(&speed, &|preset| {
        let competition = &learning(preset)["competition"]["kind"];
        assert_eq!(
            (competition, &preset["training"]["batch_size"]),
            (&json!("hard_wta"), &json!(50))
        );
        assert_eq!(learning(preset)["radius"], 10.0);
        json!({ "group": by_rate(preset) })
    });
    let table = std::fs::read_to_string(folder.path().join("speed/table.csv"))?;
    // 100 images in steps of 50 are a window of 2 steps.
    assert!(table.starts_with("rate,images,r1,r1_sd\n") && table.contains(",100,"), "{table}");
    Ok(())
}

/// For CIFAR-10 the release has a network for each rate of Fig. B.3 B: one begins at 0.05 and depends on the radius to
/// the power ½, the other falls linearly from 0.025.
#[test]
fn the_rates_of_speed_are_those_of_the_release() -> Result {
    let folder = tempfile::tempdir()?;
    let data = Dataset { name: "cifar10".to_string(), ..data(100) };
    let options = StudyOptions { epochs: Some(1), quiet: true, ..StudyOptions::default() };
    Experiment::Speed.run(&Study::new(&options, CPU, folder.path()), &data)?;
    let of = |(preset, _): (Value, f64)| preset["blocks"][0]["learning"]["rate"].clone();
    let rates: Vec<Value> = networks(folder.path())?.into_iter().map(of).collect();
    assert_eq!(rates.len(), 2);
    for rate in [
        json!({ "kind": "norm_dependent", "learning_rate": 0.05, "power": 0.5 }),
        json!({ "kind": "linear_decay", "learning_rate": 0.025 }),
    ] {
        assert!(rates.contains(&rate), "{rate} in {rates:?}");
    }
    Ok(())
}
