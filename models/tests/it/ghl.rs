//! GHL: the worked step, presets of the specification, the controls, runs that stop and are resumed.

use crate::common::{Result, near};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::Pool;
use hebbian_data::{Dataset, digits};
use hebbian_models::ghl::{
    BlockConfig, Descents, Ghl, Learner, Learning, Network, Options, Preset,
};
use hebbian_train::{
    Checkpoint, Error, Learner as _, Method, Model as _, Preset as _, RunOptions, Start, Stop,
    all_presets, find_preset, save_checkpoint, train,
};
use std::collections::BTreeMap;
use std::path::Path;

const CPU: &Device = &Device::Cpu;

fn preset() -> Result<Preset> {
    Ok(find_preset("ghl-digits")?)
}

/// Two units that see one pixel.
fn two_units() -> BlockConfig {
    BlockConfig {
        batch_norm: false,
        channels: 2,
        kernel: 1,
        padding: 0,
        inverse_temperature: 1.0,
        pool: None,
    }
}

/// Two units that see one pixel of two channels, and two classes.
fn worked(dtype: DType, learning: Learning) -> Result<Network> {
    let mut preset = preset()?;
    preset.blocks = vec![two_units()];
    let training = &mut preset.training;
    training.learning = learning;
    (training.conv_learning_rate, training.weight_decay, training.learning_rate) =
        (0.01, 0.05, 0.005);
    let mut network = Network::new(&preset, (2, 1, 1), 2, &Rng::new(0), dtype, CPU)?;
    let tensor =
        |values: &[f64], shape: &[usize]| Tensor::from_slice(values, shape, CPU)?.to_dtype(dtype);
    let tensors = [
        ("layers.0.weight", tensor(&[0.6, -0.2, 0.1, 0.4], &[2, 2, 1, 1])?),
        ("head.weight", tensor(&[0.3, -0.4, -0.1, 0.2], &[2, 2])?),
        ("head.bias", tensor(&[0.05, -0.05], &[2])?),
    ];
    let tensors = tensors.map(|(name, tensor)| (name.to_string(), tensor));
    restore(&mut network, &tensors)?;
    Ok(network)
}

/// Gives a network these tensors, by way of a file.
fn restore(network: &mut Network, tensors: &[(String, Tensor)]) -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("worked.safetensors");
    save_checkpoint(&path, tensors, &BTreeMap::new())?;
    Ok(network.restore(&mut Checkpoint::load(&path, CPU)?)?)
}

/// One step on X = (1, 0.5), (−0.5, 1.5) of classes 0 and 1, which pixels p with 2p − 1 = X give.
fn step(network: &Network) -> Result<Tensor> {
    let dtype = network.tensors()[0].1.dtype();
    let x = Tensor::new(&[1.0, 0.5, -0.5, 1.5], CPU)?.reshape((2, 2, 1, 1))?;
    let (x, labels) = (((x + 1.0)? / 2.0)?.to_dtype(dtype)?, Tensor::new(&[0u32, 1], CPU)?);
    let loss = network.loss(&network.forward_train(&x, &mut Rng::new(0))?, &labels)?;
    Descents::new(network)?.step(&loss.backward()?)?;
    Ok(loss.unsqueeze(0)?)
}

/// Numbers of nine digits, which PyTorch's autograd gave too.
#[test]
fn a_worked_step() -> Result {
    for (dtype, tolerance) in [(DType::F64, 6e-10), (DType::F32, 1e-5)] {
        let network = worked(dtype, Learning::GlobalDirection {})?;
        near("L", &step(&network)?, &[0.609845629], tolerance)?;
        let tensors: BTreeMap<String, Tensor> = network.tensors().into_iter().collect();
        let w = [0.602772113, -0.194111390, 0.099817635, 0.409800000];
        near("W", &tensors["layers.0.weight"], &w, tolerance)?;
        let v = [0.300587545, -0.400256257, -0.100587545, 0.200256257];
        near("V", &tensors["head.weight"], &v, tolerance)?;
        near("b", &tensors["head.bias"], &[0.050068210, -0.050068210], tolerance)?;
    }
    Ok(())
}

/// W − 0.01·(c + 0.05·W), where c is what each control has in place of C, of the gradient G = (−.094…, −.047…, .207…,
/// −.128…); the head learns the same.
#[test]
fn the_controls() -> Result {
    let w = [0.6, -0.2, 0.1, 0.4];
    let g = [-0.094007190, -0.047003595, 0.207423606, -0.128733073];
    let cases: [(Learning, [f64; 4], f64, f64); 4] = [
        (Learning::SignOnly { size: 0.15 }, g.map(|g| 0.15 * f64::signum(g)), 0.01, 0.05),
        (Learning::Backprop { learning_rate: None }, g, 0.01, 0.05),
        (Learning::Backprop { learning_rate: Some(0.5) }, g, 0.5, 0.05),
        (Learning::Frozen {}, [0.0; 4], 0.0, 0.0),
    ];
    for (learning, c, rate, decay) in cases {
        let network = worked(DType::F64, learning)?;
        step(&network)?;
        let want: Vec<f64> = w.iter().zip(c).map(|(w, c)| w - rate * (c + decay * w)).collect();
        let tensors: BTreeMap<String, Tensor> = network.tensors().into_iter().collect();
        near(&format!("{learning:?}"), &tensors["layers.0.weight"], &want, 6e-10)?;
        near("b", &tensors["head.bias"], &[0.050068210, -0.050068210], 6e-10)?;
    }
    Ok(())
}

/// A = (2, 4), a = −1, γ = 3 and β = ½ make h of f = relu(X), and h makes the logits h + ¼ and −2h. For X = (1, ½) and
/// (−1, −1), A f + a is 3 and −1, of which relu leaves 3 and 0. With a running mean of 1 and a deviation of 2, h is 3½
/// and −1; with those of the batch, 1½ each, it is 3½ and −2½.
#[test]
fn a_hidden_layer() -> Result {
    let network = with_hidden(-1.0)?;
    let images = Tensor::new(&[1.0, 0.75, 0.0, 0.0], CPU)?.reshape((2, 2, 1, 1))?; // (X + 1) / 2
    near("logits", &network.scores(&images)?, &[3.75, -7.0, -0.75, 2.0], 1e-9)?;
    let logits = network.forward_train(&images, &mut Rng::new(0))?;
    near("logits in training", &logits, &[3.75, -7.0, -2.25, 5.0], 1e-4) // ε of a variance of 2.25
}

/// The same layer has a gradient only where A f + a is above 0. For X = (1, ½), (−1, −1) and (½, 0) it is 3, −1 and 0.
/// The sum of the logits is ¼ − h, and h rises by 3/2 with it: A has the gradient −3/2·(1, ½), and a has −3/2.
#[test]
fn the_gradient_of_a_hidden_layer() -> Result {
    let network = with_hidden(-1.0)?;
    let images = Tensor::new(&[1.0, 0.75, 0.0, 0.0, 0.75, 0.5], CPU)?.reshape((3, 2, 1, 1))?;
    let grads = network.scores(&images)?.sum_all()?.backward()?;
    let vars = network.head_vars();
    for (name, var, want) in [("A", &vars[0], &[-1.5, -0.75][..]), ("a", &vars[1], &[-1.5])] {
        near(name, grads.get(var).ok_or(name)?, want, 1e-9)?;
    }
    Ok(())
}

/// A layer that has diverged gives NaN, in evaluation and in training, where a rectifier could make 0 of it.
#[test]
fn a_hidden_layer_of_nan() -> Result {
    let network = with_hidden(f64::NAN)?;
    let images = Tensor::new(&[1.0, 0.75, 0.0, 0.0], CPU)?.reshape((2, 2, 1, 1))?;
    let logits = [network.scores(&images)?, network.forward_train(&images, &mut Rng::new(0))?];
    for logits in logits {
        let logits = logits.flatten_all()?.to_vec1::<f64>()?;
        assert!(logits.iter().all(|logit| logit.is_nan()), "{logits:?}");
    }
    Ok(())
}

/// A network with one hidden unit, whose bias is given.
fn with_hidden(bias: f64) -> Result<Network> {
    let mut preset = preset()?;
    preset.blocks = vec![two_units()];
    (preset.output_norm, preset.hidden, preset.dropout) = (false, Some(1), 0.0);
    let mut network = Network::new(&preset, (2, 1, 1), 2, &Rng::new(0), DType::F64, CPU)?;
    let values: [(&str, &[f64], &[usize]); 9] = [
        ("layers.0.weight", &[1.0, 0.0, 0.0, 1.0], &[2, 2, 1, 1]),
        ("hidden.weight", &[2.0, 4.0], &[1, 2]),
        ("hidden.bias", &[bias], &[1]),
        ("hidden.scale", &[3.0], &[1]),
        ("hidden.shift", &[0.5], &[1]),
        ("hidden.running_mean", &[1.0], &[1]),
        ("hidden.running_var", &[4.0 - 1e-5], &[1]), // ε is 1e-5
        ("head.weight", &[1.0, -2.0], &[2, 1]),
        ("head.bias", &[0.25, 0.0], &[2]),
    ];
    let mut tensors = Vec::new();
    for (name, values, shape) in values {
        tensors.push((name.to_string(), Tensor::from_slice(values, shape, CPU)?));
    }
    restore(&mut network, &tensors)?;
    Ok(network)
}

/// A batch norm that sees one value of each channel of an image cannot take the variance of one image: 1,442 are eleven
/// batches of 131 and one, or 1,442 of one. It may be that of a hidden layer, or stand behind a kernel as large as the
/// image.
#[test]
fn a_last_batch_of_one_image_is_refused() -> Result {
    let hidden = short()?;
    let small = Preset { hidden: None, ..hidden.clone() };
    let whole = BlockConfig { kernel: 8, ..two_units() };
    let normed = BlockConfig { batch_norm: true, ..two_units() };
    let blocks =
        Preset { blocks: vec![whole.clone(), normed], output_norm: false, ..small.clone() };
    let output = Preset { blocks: vec![whole], ..small.clone() };
    for (norm, mut preset) in
        [("of the hidden layer", hidden), ("of block 1", blocks), ("of the output", output)]
    {
        for size in [131, 1] {
            preset.training.batch_size = size;
            let error = fresh(&preset, &digits()).err().ok_or("accepted")?.to_string();
            let says = [norm, "of 1 of the 1442", "--batch-size"];
            assert!(says.iter().all(|part| error.contains(part)), "{error}");
        }
        preset.training.batch_size = 132;
        fresh(&preset, &digits())?;
    }
    // Maps of 8×8, 4×4 and 2×2 have a variance.
    for size in [131, 1] {
        let mut preset = small.clone();
        preset.training.batch_size = size;
        let mut learner = fresh(&preset, &digits())?;
        let before = bits(&learner)?;
        learner.calibrate()?;
        assert_ne!(before, bits(&learner)?, "{size}");
    }
    Ok(())
}

/// Only back-propagation may have a rate of its own.
#[test]
fn convolutions_begin_at_the_rate_of_their_way_to_learn() -> Result {
    let mut training = preset()?.training;
    training.conv_learning_rate = 0.25;
    for (learning, want) in [
        (Learning::GlobalDirection {}, 0.25),
        (Learning::SignOnly { size: 0.1 }, 0.25),
        (Learning::Frozen {}, 0.25),
        (Learning::Backprop { learning_rate: None }, 0.25),
        (Learning::Backprop { learning_rate: Some(2.0) }, 2.0),
    ] {
        training.learning = learning;
        assert_eq!(training.first_conv_rate(), want, "{learning:?}");
    }
    Ok(())
}

/// The tables of the specification: channels, kernel, padding, t; pools; rates, decay.
#[test]
fn presets_are_the_papers() -> Result {
    let (max4, max2) = (
        Some(Pool::Max { kernel: 4, stride: 2, padding: 1 }),
        Some(Pool::Max { kernel: 2, stride: 2, padding: 0 }),
    );
    let avg2 = Some(Pool::Avg { kernel: 2, stride: 2, padding: 0 });
    for (name, width, weights) in [
        ("deephebb-cifar", 96, Some((5_647_392, 245_770))),
        ("deephebb-cifar-half-width", 48, None),
        ("deephebb-cifar-quarter-width", 24, None),
        ("deephebb-cifar-eighth-width", 12, None),
    ] {
        let preset: Preset = find_preset(name)?;
        let found: Vec<_> = preset
            .blocks
            .iter()
            .map(|b| (b.batch_norm, b.channels, b.kernel, b.padding, b.inverse_temperature, b.pool))
            .collect();
        let want = [
            (true, width, 5, 2, 1.0, max4),
            (true, 4 * width, 3, 1, 0.65, max4),
            (true, 16 * width, 3, 1, 0.25, avg2),
        ];
        assert_eq!(found, want, "{name}");
        assert_eq!((preset.hidden, preset.output_norm, preset.dropout), (None, false, 0.5));
        assert!(preset.dataset == "cifar10" && preset.input.is_empty(), "{name}");
        let t = &preset.training;
        assert_eq!((t.conv_learning_rate, t.weight_decay, t.learning_rate), (0.01, 0.05, 0.005));
        assert_eq!((t.batch_size, t.epochs, t.learning), (64, 100, Learning::GlobalDirection {}));
        if let Some((convolutions, head)) = weights {
            let network = Network::new(&preset, (3, 32, 32), 10, &Rng::new(0), DType::F32, CPU)?;
            let found: usize = network.convolutions().map(|c| c.weight().elem_count()).sum();
            assert_eq!(found, convolutions);
            let vars = network.head_vars();
            assert_eq!(vars.iter().map(|var| var.elem_count()).sum::<usize>(), head);
            // σ = √(2/F), to three standard errors of a deviation.
            for (layer, sigma) in network.convolutions().zip([0.163299, 0.048113, 0.024056]) {
                let (weight, count) = (layer.weight().detach(), layer.weight().elem_count() as f64);
                let found = weight.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt();
                let error = 3.0 * sigma / (2.0 * count).sqrt();
                assert!((f64::from(found) - sigma).abs() < error, "{found}, expected {sigma}");
            }
        }
    }
    let preset: Preset = find_preset("fasthebb-cifar")?;
    let found =
        preset.blocks.iter().map(|b| (b.batch_norm, b.channels, b.kernel, b.padding, b.pool));
    let want = [
        (false, 96, 5, 0, max2),
        (true, 128, 3, 0, None),
        (true, 192, 3, 0, max2),
        (true, 256, 3, 0, None),
    ];
    assert_eq!(found.collect::<Vec<_>>(), want);
    assert!(preset.blocks.iter().all(|block| block.inverse_temperature == 1.0));
    assert_eq!((preset.hidden, preset.output_norm, preset.dropout), (Some(4096), true, 0.5));
    let t = &preset.training;
    assert_eq!((t.conv_learning_rate, t.weight_decay, t.learning_rate), (0.05, 0.01, 1e-4));
    assert_eq!((t.batch_size, t.epochs, t.learning), (64, 100, Learning::GlobalDirection {}));
    assert!(preset.dataset == "cifar10" && preset.input.is_empty());
    let network = Network::new(&preset, (3, 32, 32), 10, &Rng::new(0), DType::F32, CPU)?;
    assert_eq!(network.stack().output(), [256, 3, 3]);
    let dense = 4096 * 2304 + 3 * 4096 + 10 * 4096 + 10; // weights, biases, γ, β
    assert_eq!(network.head_vars().iter().map(|var| var.elem_count()).sum::<usize>(), dense);
    assert_eq!(all_presets::<Preset>()?.len(), 6);
    Ok(())
}

fn fresh(preset: &Preset, data: &Dataset) -> Result<Learner> {
    let start = Start { rng: Rng::new(3), device: Device::Cpu, quiet: true };
    Ok(Ghl::learner(&Options { preset: preset.clone() }, data, &start)?)
}

/// A learner for the digits, as a run with that seed begins.
fn fresh_with(preset: &Preset, seed: u64) -> Result<Learner> {
    let start = Start { rng: Rng::new(seed), device: Device::Cpu, quiet: true };
    Ok(Ghl::learner(&Options { preset: preset.clone() }, &digits(), &start)?)
}

/// 1,442 images in batches of 500, the last of 442: three steps an epoch. With a hidden layer and dropout.
fn short() -> Result<Preset> {
    let mut preset = preset()?;
    (preset.output_norm, preset.hidden, preset.dropout) = (true, Some(16), 0.25);
    (preset.training.batch_size, preset.training.epochs) = (500, 3);
    Ok(preset)
}

fn bits(learner: &Learner) -> Result<Vec<(String, Vec<u32>)>> {
    let tensors = learner.model().tensors().into_iter();
    let bits = tensors.map(|(name, tensor)| {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        Ok((name, values.into_iter().map(f32::to_bits).collect()))
    });
    bits.collect()
}

/// Without decay, the largest change of a convolution's weight in step j is η₀·½(1 + cos(πj/9)).
#[test]
fn the_rate_falls_along_a_cosine() -> Result {
    let mut preset = short()?;
    preset.training.weight_decay = 0.0;
    let mut learner = fresh(&preset, &digits())?;
    assert_eq!((learner.total().steps, learner.total().images), (9, 3 * 1442));
    for step in 0..9 {
        assert_eq!(learner.is_due(), step % 3 == 0, "{step}");
        let weights = |learner: &Learner| -> Result<Vec<Tensor>> {
            let layers = learner.model().convolutions();
            Ok(layers.map(|layer| layer.weight().copy()).collect::<candle::Result<_>>()?)
        };
        let before = weights(&learner)?;
        learner.step()?;
        let want = 0.01 * 0.5 * (1.0 + (std::f64::consts::PI * f64::from(step) / 9.0).cos());
        for (after, before) in weights(&learner)?.iter().zip(before) {
            let moved = (after - before)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!((f64::from(moved) - want).abs() < 1e-6, "{step}: {moved}, expected {want}");
        }
    }
    assert!(learner.is_due() && learner.clock() == learner.total());
    Ok(())
}

/// Step sizes are shares of the largest; norms are those of the weights; and measuring changes nothing.
#[test]
fn what_is_measured() -> Result {
    let mut learner = fresh(&short()?, &digits())?;
    let before = bits(&learner)?;
    let start: BTreeMap<String, f64> = learner.measure()?.values.into_iter().collect();
    assert_eq!(before, bits(&learner)?);
    assert!((1.1..1.7).contains(&start["norm/layer 1"]), "{start:?}"); // √2 but for the draw
    assert!(!start.contains_key("train_loss"));
    (0..3).try_for_each(|_| learner.step())?;
    let values: BTreeMap<String, f64> = learner.measure()?.values.into_iter().collect();
    for name in ["step_size/layer 1", "step_size/layer 2"] {
        assert!(0.0 < values[name] && values[name] < 1.0, "{values:?}");
    }
    assert!(values["train_loss"] > 0.0 && (0.0..=1.0).contains(&values["train_error"]));
    // Convolutions that do not learn have a step size of 0.
    let mut preset = short()?;
    preset.training.learning = Learning::Frozen {};
    let mut frozen = fresh(&preset, &digits())?;
    frozen.step()?;
    let values: BTreeMap<String, f64> = frozen.measure()?.values.into_iter().collect();
    assert_eq!((values["step_size/layer 1"], values["step_size/layer 2"]), (0.0, 0.0));
    let images = digits().test.batch(&[0, 1], DType::F32, CPU)?.0;
    let before = bits(&learner)?;
    learner.model().predict(&images)?;
    assert_eq!(before, bits(&learner)?);
    Ok(())
}

/// The measured size is the change of the weights divided by the rate, in the first step and without decay.
#[test]
fn the_size_of_a_step_is_that_of_the_change() -> Result {
    let mut preset = short()?;
    preset.training.weight_decay = 0.0;
    let mut learner = fresh(&preset, &digits())?;
    let first = |learner: &Learner| -> Result<Tensor> {
        Ok(learner.model().convolutions().next().ok_or("a convolution")?.weight().copy()?)
    };
    let before = first(&learner)?;
    learner.step()?;
    let change = (first(&learner)? - before)?.abs()?.mean_all()?.to_scalar::<f32>()?;
    let values: BTreeMap<String, f64> = learner.measure()?.values.into_iter().collect();
    let (found, want) = (values["step_size/layer 1"], f64::from(change) / 0.01);
    assert!((found - want).abs() < 1e-3 * want, "{found}, expected {want}");
    Ok(())
}

/// One batch of all images moves the running mean of the first batch norm, which sees them from −1 to 1, by a tenth of
/// the way to their mean; weights stay.
#[test]
fn calibration_moves_statistics_alone() -> Result {
    let (mut preset, data) = (short()?, digits());
    preset.training.batch_size = data.train.len();
    let mut learner = fresh(&preset, &data)?;
    let tensors = |learner: &Learner| -> BTreeMap<String, Vec<u32>> {
        bits(learner).expect("tensors").into_iter().collect()
    };
    let before = tensors(&learner);
    learner.calibrate()?;
    let after = tensors(&learner);
    let all: Vec<usize> = (0..data.train.len()).collect();
    let mean = data.train.batch(&all, DType::F64, CPU)?.0.mean_all()?.to_scalar::<f64>()?;
    let found = f32::from_bits(after["layers.0.running_mean"][0]);
    assert!((f64::from(found) - 0.1 * (2.0 * mean - 1.0)).abs() < 1e-6, "{found}, {mean}");
    for (name, values) in &before {
        let moves = name.contains("running_");
        assert_eq!(*values != after[name], moves, "{name}");
    }
    Ok(())
}

/// Images without labels are not learned from, and not counted.
#[test]
fn images_without_labels_are_not_seen() -> Result {
    let folder = tempfile::tempdir()?;
    let how = RunOptions { quiet: true, labelled: Some(100), ..RunOptions::default() };
    let data = digits().with_labelled(100, 0)?;
    let mut preset = short()?;
    preset.training.epochs = 2;
    let run = train::<Ghl>(&Options { preset }, &data, CPU, &how, folder.path())?;
    assert_eq!((run.results.train_images, run.results.unlabelled_images), (100, 0));
    assert_eq!(run.results.training_epochs, 2.0);
    Ok(())
}

/// Training that is resumed after any step in a new learner equals uninterrupted training, for the rule and for each
/// control.
#[test]
fn resumed_is_uninterrupted() -> Result {
    let (folder, data) = (tempfile::tempdir()?, digits());
    let path = folder.path().join("state.safetensors");
    for (name, learning) in Learning::ALL {
        let mut preset = short()?;
        preset.training.learning = learning;
        let mut whole = fresh(&preset, &data)?;
        let first = bits(&whole)?;
        (0..9).try_for_each(|_| whole.step())?;
        assert_ne!(first, bits(&whole)?);
        let measured = whole.measure()?;
        for stop in [0, 1, 3, 8, 9] {
            let mut first = fresh(&preset, &data)?;
            (0..stop).try_for_each(|_| first.step())?;
            save_checkpoint(&path, &first.model().tensors(), &Default::default())?;
            let mut second = fresh(&preset, &data)?;
            let mut checkpoint = Checkpoint::load(&path, CPU)?;
            second.model_mut().restore(&mut checkpoint)?;
            second.go_on(first.clock(), &first.state()?.values, &mut checkpoint)?;
            (stop..9).try_for_each(|_| second.step())?;
            assert_eq!(bits(&whole)?, bits(&second)?, "{name} {stop}");
            assert_eq!(whole.clock(), second.clock());
            assert_eq!(measured, second.measure()?, "{name} {stop}");
        }
    }
    Ok(())
}

fn run(options: &Options, how: &RunOptions, out: &Path) -> hebbian_train::Result<Learner> {
    train::<Ghl>(options, &digits(), CPU, how, out).map(|run| run.learner)
}

/// A run that was asked to stop and is resumed ends in the bits of one that was not; a complete run is not continued
/// for longer, because its rates are those of its length.
#[test]
fn a_run_that_stops_goes_on() -> Result {
    let (folder, preset) = (tempfile::tempdir()?, short()?);
    let options = Options { preset };
    let how = RunOptions { quiet: true, ..RunOptions::default() };
    let whole = run(&options, &how, &folder.path().join("whole"))?;
    let parts = folder.path().join("parts");
    let asked = Stop::default();
    asked.ask(15);
    let stopped = run(&options, &RunOptions { stop: asked, ..how.clone() }, &parts);
    assert!(matches!(stopped, Err(Error::Stopped { signal: 15, .. })));
    // Then it stops in the second epoch, after that epoch's second step.
    let (mut part, steps) = (fresh_with(&options.preset, 0)?, 5);
    part.begin()?;
    (0..steps).try_for_each(|_| part.step())?;
    let state = parts.join("state.safetensors");
    let saved = Checkpoint::load(&state, CPU)?;
    let mut metadata = saved.metadata.clone();
    drop(saved);
    for (key, value) in [
        ("steps", part.clock().steps.to_string()),
        ("images", part.clock().images.to_string()),
        ("state", part.state()?.values.to_string()),
    ] {
        assert!(metadata.insert(key.to_string(), value).is_some(), "{key}");
    }
    save_checkpoint(&state, &part.model().tensors(), &metadata)?;
    let resume = RunOptions { resume: true, ..how };
    assert_eq!(bits(&whole)?, bits(&run(&options, &resume, &parts)?)?);
    let mut other = options;
    other.preset.training.epochs = 5;
    let error = run(&other, &resume, &parts).err().ok_or("accepted")?.to_string();
    assert!(error.contains("epochs is 3 there, 5 here"), "{error}");
    assert!(parts.join("filters.png").exists());
    Ok(())
}

/// The preset learns the digits; with its convolutions frozen, it fits the training images less well.
#[test]
fn digits_are_learned() -> Result {
    let folder = tempfile::tempdir()?;
    let how = RunOptions { quiet: true, ..RunOptions::default() };
    let trained = |name: &str, learning| -> Result<(f64, f64)> {
        let mut preset = preset()?;
        preset.training.learning = learning;
        let out = folder.path().join(name);
        let run = train::<Ghl>(&Options { preset }, &digits(), CPU, &how, &out)?;
        let (_, last) = run.history.by_epoch().last().ok_or("a last epoch")?;
        Ok((run.results.test_accuracy, last["train_loss"]))
    };
    let (accuracy, loss) = trained("ghl", Learning::GlobalDirection {})?;
    let (_, frozen_loss) = trained("frozen", Learning::Frozen {})?;
    // Convolutions that learn fit the training images better than random ones.
    assert!(accuracy > 0.9 && loss < 0.8 * frozen_loss, "{accuracy}, {loss}, frozen {frozen_loss}");
    Ok(())
}

#[test]
fn wrong_presets_are_refused() -> Result {
    type Change = fn(&mut Preset);
    let cases: [(Change, &str); 10] = [
        (|p| p.blocks.clear(), "there are no blocks"),
        (|p| p.hidden = Some(0), "hidden is 0"),
        (|p| p.blocks[1].inverse_temperature = 0.0, "blocks[1].inverse_temperature is 0"),
        (|p| p.dropout = 1.0, "dropout is 1"),
        (|p| p.training.conv_learning_rate = f64::NAN, "training.conv_learning_rate is NaN"),
        (|p| p.training.weight_decay = -0.5, "training.weight_decay is -0.5"),
        (|p| p.training.learning_rate = f64::INFINITY, "training.learning_rate is inf"),
        (|p| p.training.batch_size = 0, "training.batch_size is 0"),
        (
            |p| p.training.learning = Learning::SignOnly { size: -1.0 },
            "training.learning.size is -1",
        ),
        (
            |p| p.training.learning = Learning::Backprop { learning_rate: Some(-0.5) },
            "training.learning.learning_rate is -0.5",
        ),
    ];
    for (change, says) in cases {
        let mut preset = preset()?;
        change(&mut preset);
        let error = preset.validate().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(fresh(&preset, &digits()).err().ok_or("accepted")?.to_string(), error);
    }
    Ok(())
}
