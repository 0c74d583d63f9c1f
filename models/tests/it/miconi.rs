//! Miconi 2021: structure, hand-worked numbers, refusals.

use candle::{DType, Device, Module, Tensor, Var};
use candle_hebbian::ops::{avg_pool2d, triangle};
use candle_hebbian::{Activity, AdaptiveThreshold, Competition, KWta, Layer, Rng};
use hebbian_data::transforms::{
    InputConfig, Pipeline, Transform as _, TransformConfig, TransformList,
};
use hebbian_data::{Dataset, ImageSet, digits};
use hebbian_models::RuleKind;
use hebbian_models::miconi::{
    Decoder, Decoding, LayerConfig, Learner, Miconi, Network, Options, Patches, Phase, Plasticity,
    Preset, Quirks, Training, Triangle, decoding_table, evaluate, preset, presets, quadrants,
    receptive_fields, report,
};
use hebbian_train::{
    Checkpoint, Clock, Error, Learner as _, Measured, Method, Model as _, Progress, Run, RunFolder,
    RunOptions, Start, State, Stop, save_checkpoint, train, with_input,
};
use std::collections::BTreeMap;
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
const CPU: &Device = &Device::Cpu;

/// Input with these transforms and no augmentation.
fn sees(transforms: &str) -> InputConfig {
    let transforms = transforms.parse().expect("transforms");
    InputConfig { transforms, augmentation: TransformList::default() }
}

/// Whitens images without an epsilon, which is impossible.
fn without_epsilon(preset: &mut Preset) {
    for transform in &mut preset.input.transforms.0 {
        if let TransformConfig::Zca(config) = transform {
            config.epsilon = 0.0;
        }
    }
}

fn layer(units: usize, kernel: usize, pool: usize, k: usize, pruning: f64) -> LayerConfig {
    LayerConfig {
        units,
        kernel,
        stride: 1,
        pool,
        k,
        learning_rate: 1e-3,
        threshold_rate: 1.0,
        pruning,
        patches: Patches::Whole {},
        frozen: false,
    }
}

/// Three layers for images of 16×16 pixels, the second with two winners.
fn small() -> Preset {
    Preset {
        name: "small".into(),
        description: String::new(),
        dataset: "none".into(),
        input: sees("standardise-image"),
        layers: vec![layer(8, 3, 2, 1, 0.0), layer(12, 2, 2, 2, 0.5), layer(10, 2, 1, 1, 0.5)],
        training: Training {
            rule: RuleKind::Instar,
            plasticity: Plasticity::Binary,
            triangle: Triangle::Always,
            normalise: true,
            batch_size: 10,
            epochs: 1,
            burn_in_batches: 0,
        },
        quirks: Quirks::default(),
    }
}

fn network(preset: &Preset) -> Result<Network> {
    Ok(Network::new(preset, (2, 16, 16), &Rng::new(0), DType::F64, CPU)?)
}

fn layer_of(network: &Network, index: usize) -> Result<&Layer> {
    Ok(network.stack().blocks()[index].layer()?)
}

fn threshold_of(network: &Network, index: usize) -> Result<&AdaptiveThreshold> {
    Ok(network.stack().blocks()[index].threshold().ok_or("no thresholds")?)
}

fn images(seed: u64) -> Result<Tensor> {
    Ok(Rng::new(seed).normal(0.0, 1.0, (10, 2, 16, 16), DType::F64, CPU)?)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

fn snapshot(network: &Network, part: &str) -> Result<Vec<Vec<f64>>> {
    let tensors = network.tensors().into_iter();
    tensors.filter(|(name, _)| name.ends_with(part)).map(|(_, tensor)| numbers(&tensor)).collect()
}

#[test]
fn winners_thresholds_and_norms() -> Result<()> {
    let mut network = network(&small())?;
    let masks = snapshot(&network, "mask")?;
    assert_eq!(masks.len(), 2, "the first layer keeps all connections");
    let pruned = |network: &Network| -> Result<Vec<f64>> {
        let weights = snapshot(network, "weight")?;
        let pairs = weights[1..].iter().flatten().zip(masks.iter().flatten());
        Ok(pairs.filter(|(_, kept)| **kept == 0.0).map(|(weight, _)| *weight).collect())
    };
    for step in 0..6 {
        let before = snapshot(&network, "threshold")?;
        let activities = network.step(&images(step)?, Phase::Learn)?;
        for (at, (activity, before)) in activities.iter().zip(before).enumerate() {
            let LayerConfig { k, units, .. } = network.preset().layers[at];
            let (post, excess) = (numbers(&activity.post)?, numbers(&activity.u)?);
            // There are no ties: k win, or as many as are above their thresholds.
            for (y, excess) in post.chunks(units).zip(excess.chunks(units)) {
                let above = excess.iter().filter(|&&excess| excess > 0.0).count();
                assert_eq!(y.iter().sum::<f64>(), k.min(above) as f64);
            }
            let columns = post.len() as f64 / units as f64;
            let surplus = post.iter().sum::<f64>() / columns - k as f64;
            let sum = |values: &[f64]| values.iter().sum::<f64>();
            let moved = sum(&numbers(threshold_of(&network, at)?.values())?) - sum(&before);
            assert!((moved - surplus).abs() < 1e-9, "Σ θ moved by {moved}, winners {surplus}");
            assert!(surplus > -0.2 * k as f64, "most columns have k winners");
            for radius in numbers(&layer_of(&network, at)?.radii()?)? {
                assert!((radius - 1.0).abs() < 1e-5, "{radius}");
            }
            let outputs = numbers(&activity.unpooled)?;
            assert!(outputs.iter().all(|&output| output >= 0.0));
            let active = outputs.iter().filter(|&&output| output > 0.0).count();
            let share = active as f64 / outputs.len() as f64;
            assert!((0.3..0.7).contains(&share), "{share} of the outputs are active");
        }
        let pruned = pruned(&network)?;
        assert!(pruned.len() > 50 && pruned.iter().all(|&weight| weight == 0.0));
    }
    Ok(())
}

/// `Σ θ` falls when no unit wins and rises when more than k win.
#[test]
fn thresholds_follow_the_number_of_winners() -> Result<()> {
    let mut network = network(&small())?;
    let silence = Tensor::zeros((10, 2, 16, 16), DType::F64, CPU)?; // every response is 0: no winner
    let before = snapshot(&network, "threshold")?;
    network.step(&silence, Phase::Learn)?;
    let after = snapshot(&network, "threshold")?;
    for (layer, (before, after)) in network.preset().layers.iter().zip(before.iter().zip(&after)) {
        for (before, after) in before.iter().zip(after) {
            assert!((after - (before - layer.target_rate())).abs() < 1e-12);
        }
    }
    // Two units of equal weights tie, and both win.
    let mut tied = small();
    tied.layers = vec![layer(2, 3, 2, 1, 0.0)];
    let mut network = Network::new(&tied, (2, 16, 16), &Rng::new(0), DType::F64, CPU)?;
    let weight = layer_of(&network, 0)?.weight().narrow(0, 0, 1)?;
    layer_of(&network, 0)?.var()?.set(&Tensor::cat(&[&weight, &weight], 0)?)?;
    let activities = network.step(&images(3)?, Phase::BurnIn)?;
    let post = numbers(&activities[0].post)?;
    let columns = post.len() as f64 / 2.0;
    let wins = post.iter().sum::<f64>() / 2.0;
    assert!(wins > 0.0, "where the response is above 0, both win");
    for theta in numbers(threshold_of(&network, 0)?.values())? {
        assert!((theta - (wins / columns - 0.5)).abs() < 1e-12);
    }
    Ok(())
}

#[test]
fn burn_in_moves_thresholds_and_evaluation_nothing() -> Result<()> {
    let mut network = network(&small())?;
    let (weights, thresholds) = (snapshot(&network, "weight")?, snapshot(&network, "threshold")?);
    network.step(&images(1)?, Phase::BurnIn)?;
    for (before, after) in
        weights.iter().flatten().zip(snapshot(&network, "weight")?.iter().flatten())
    {
        assert!((before - after).abs() < 1e-9, "scaled to norm 1 again at most");
    }
    assert_ne!(snapshot(&network, "threshold")?, thresholds);

    network.step(&images(1)?, Phase::Learn)?;
    let (weights, thresholds) = (snapshot(&network, "weight")?, snapshot(&network, "threshold")?);
    let maps = |network: &Network| -> Result<Vec<Vec<f64>>> {
        network.stack().maps(&images(2)?)?.iter().map(numbers).collect()
    };
    assert_eq!(maps(&network)?, maps(&network)?);
    assert_eq!(snapshot(&network, "weight")?, weights);
    assert_eq!(snapshot(&network, "threshold")?, thresholds);
    // With the quirk, thresholds adapt but weights do not.
    network.collect(&images(2)?)?;
    assert_eq!(snapshot(&network, "weight")?, weights);
    assert_ne!(snapshot(&network, "threshold")?, thresholds);
    Ok(())
}

#[test]
fn a_frozen_layer_learns_no_weights() -> Result<()> {
    let mut preset = small();
    preset.layers[1].frozen = true;
    let mut network = network(&preset)?;
    let before = snapshot(&network, "weight")?;
    for step in 0..3 {
        network.step(&images(step)?, Phase::Learn)?;
    }
    let after = snapshot(&network, "weight")?;
    let moved: Vec<bool> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| before.iter().zip(after).any(|(a, b)| (a - b).abs() > 1e-6))
        .collect();
    assert_eq!(moved, [true, false, true]);
    Ok(())
}

/// No layer's loss has a gradient in another's weights.
#[test]
fn layers_learn_alone() -> Result<()> {
    let network = network(&small())?;
    let mut x = images(1)?;
    for (at, block) in network.stack().blocks().iter().enumerate() {
        let (response, activity) = block.respond(&x, true)?;
        let rule = RuleKind::Instar.rule();
        let grads = response.synapses(&activity.post)?.loss(rule)?.backward()?;
        for other in 0..3 {
            assert_eq!(grads.get(layer_of(&network, other)?.weight()).is_some(), other == at);
        }
        x = activity.output;
    }
    Ok(())
}

#[test]
fn the_paper_network() -> Result<()> {
    let preset = preset("miconi-cifar")?;
    let mut network = Network::new(&preset, (3, 32, 32), &Rng::new(0), DType::F32, CPU)?;
    let shapes: Vec<_> =
        network.stack().blocks().iter().map(|block| block.output().to_vec()).collect();
    assert_eq!(shapes, [[100, 14, 14], [196, 6, 6], [400, 2, 2]]);
    let weights = snapshot(&network, "weight")?;
    assert_eq!(weights.iter().map(Vec::len).collect::<Vec<_>>(), [7_500, 176_400, 705_600]);
    for (weights, norm) in weights.iter().zip([10.0, 14.0, 20.0]) {
        let found = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
        assert!((found - norm).abs() < 1e-3, "{found}");
    }
    // Binomial: 1 % of the connections, within four standard deviations.
    for (mask, (kept, sd)) in
        snapshot(&network, "mask")?.iter().zip([(1764.0, 42.0), (7056.0, 84.0)])
    {
        let found = mask.iter().sum::<f64>();
        assert!((found - kept).abs() < 4.0 * sd, "{found} of {kept}");
    }
    let x = Rng::new(1).normal(0.0, 1.0, (2, 3, 32, 32), DType::F32, CPU)?;
    let activities = network.step(&x, Phase::Learn)?;
    let dims: Vec<_> =
        activities.iter().map(|activity| activity.unpooled.dims().to_vec()).collect();
    assert_eq!(dims, [[2, 100, 28, 28], [2, 196, 12, 12], [2, 400, 4, 4]]);
    // What every layer sees has mean 0 and standard deviation 1 over all channels and positions.
    let below = numbers(&activities[0].output.get(0)?)?;
    let mean = below.iter().sum::<f64>() / below.len() as f64;
    let variance = below.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (below.len() - 1) as f64;
    let (response, _) = network.stack().blocks()[1].respond(&activities[0].output, false)?;
    let seen = response.pre()?.get(0)?;
    let first = numbers(&seen.get(0)?)?;
    for (at, seen) in first.iter().enumerate() {
        let (channel, row, column) = (at / 9, at / 3 % 3, at % 3);
        let value = below[(channel * 14 + row) * 14 + column];
        assert!((seen - (value - mean) / variance.sqrt()).abs() < 1e-4);
    }
    Ok(())
}

/// A receptive field is the gradient of a unit's linear response in the image, if only filters and average pools lie
/// between them.
#[test]
fn receptive_fields_are_gradients() -> Result<()> {
    let mut preset = small();
    preset.layers[0].stride = 2;
    preset.layers[1].pool = 1;
    let rng = Rng::new(5);
    let network = Network::new(&preset, (2, 16, 16), &rng, DType::F32, CPU)?;
    let fields = receptive_fields(&network, false)?;
    let sizes: Vec<usize> = preset.receptive_fields().iter().map(|field| field.size).collect();
    // 3; a pool of two windows 2 apart adds 2, and a kernel of 2 steps of 4 adds 4; again 4.
    assert_eq!(sizes, [3, 9, 13]);
    for (at, (field, size)) in fields.iter().zip(sizes).enumerate() {
        let channels = 2;
        assert_eq!(field.dims()[1..], [channels, size, size]);
        let image = Var::zeros((1, channels, size, size), DType::F32, CPU)?;
        let mut x = image.as_tensor().clone();
        for (below, config) in preset.layers[..at].iter().enumerate() {
            x = avg_pool2d(&layer_of(&network, below)?.forward(&x)?, config.pool, config.pool, 0)?;
        }
        let response = layer_of(&network, at)?.forward(&x)?;
        assert_eq!(response.dims()[2..], [1, 1], "layer {at}");
        for unit in 0..field.dim(0)? {
            let grads = response.narrow(1, unit, 1)?.sum_all()?.backward()?;
            let want = numbers(grads.get(&image).ok_or("no gradient")?)?;
            for (got, want) in numbers(&field.get(unit)?)?.iter().zip(&want) {
                assert!((got - want).abs() < 1e-5, "layer {at}, unit {unit}: {got}, {want}");
            }
        }
    }
    // The notebook's way leaves the last line of the window empty, and has the same sums.
    let quirk = receptive_fields(&network, true)?;
    let last = numbers(&quirk[1].narrow(2, 7, 2)?)?;
    assert!(last.iter().all(|&value| value == 0.0));
    let sums = |fields: &Tensor| numbers(&fields.sum((2, 3)).unwrap());
    for (ours, theirs) in sums(&fields[1])?.iter().zip(sums(&quirk[1])?) {
        assert!((ours - theirs).abs() < 1e-5);
    }
    Ok(())
}

#[test]
fn the_paper_receptive_fields() -> Result<()> {
    for (name, sizes) in [("miconi-cifar", [5, 10, 20]), ("miconi-simple", [5, 10, 20])] {
        let fields = preset(name)?.receptive_fields();
        assert_eq!(fields.iter().map(|field| field.size).collect::<Vec<_>>(), sizes);
        assert_eq!(fields.iter().map(|field| field.step).collect::<Vec<_>>(), [1, 2, 4]);
    }
    Ok(())
}

#[test]
fn quadrants_by_hand() -> Result<()> {
    // One image, two channels of 4×4: 0..16 and its negative.
    let map = Tensor::arange(0f64, 16.0, CPU)?.reshape((1, 1, 4, 4))?;
    let map = Tensor::cat(&[&map, &map.neg()?], 1)?;
    let want = [2.5, -2.5, 4.5, -4.5, 10.5, -10.5, 12.5, -12.5];
    assert_eq!(numbers(&quadrants(&map)?)?, want);
    // The middle line of 3×3 is in both halves: means of 0 1 3 4, of 1 2 4 5, …
    let map = Tensor::arange(0f64, 9.0, CPU)?.reshape((1, 1, 3, 3))?;
    assert_eq!(numbers(&quadrants(&map)?)?, [2.0, 3.0, 5.0, 6.0]);
    let map = Tensor::arange(0f64, 4.0, CPU)?.reshape((1, 1, 2, 2))?;
    assert_eq!(numbers(&quadrants(&map)?)?, [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(numbers(&quadrants(&map.narrow(2, 0, 1)?.narrow(3, 0, 1)?)?)?, [0.0]);
    let oblong = Tensor::zeros((1, 1, 2, 3), DType::F64, CPU)?;
    let error = quadrants(&oblong).unwrap_err().to_string();
    assert!(error.contains("square maps, found 2x3"), "{error}");
    Ok(())
}

/// The triangle subtracts the mean, so a constant added to all units at a position changes nothing; a layer passes on
/// its triangle responses, its winners, or triangle responses for read-outs only.
#[test]
fn what_a_layer_hands_on() -> Result<()> {
    let x = images(4)?;
    let shifted = (&x + 3.0)?;
    let difference = (triangle(&x, 1.0, true)? - triangle(&shifted, 1.0, true)?)?;
    assert!(numbers(&difference)?.iter().all(|value| value.abs() < 1e-12));

    for setting in [Triangle::Always, Triangle::Never, Triangle::Features] {
        let mut preset = small();
        preset.layers.truncate(1);
        preset.training.triangle = setting;
        let mut network = network(&preset)?;
        let (response, _) = network.stack().blocks()[0].respond(&x, true)?;
        let learning = network.step(&x, Phase::BurnIn)?.remove(0); // thresholds were 0
        let winners = response.fold(&KWta::binary(1).compete(response.u())?)?;
        let dense = triangle(&response.output()?, 1.0, true)?;
        let want = if setting == Triangle::Always { &dense } else { &winners };
        // Without a step, a convolution is summed in another order than the product of unfolded rows above.
        let near = |what: &str, found: &Tensor, want: &Tensor| -> Result<()> {
            let (found, want) = (numbers(found)?, numbers(want)?);
            assert_eq!(found.len(), want.len());
            for (found, want) in found.iter().zip(&want) {
                assert!((found - want).abs() < 1e-12, "{setting:?} {what}: {found}, {want}");
            }
            Ok(())
        };
        near("while learning", &learning.unpooled, want)?;

        let fresh = Network::new(&preset, (2, 16, 16), &Rng::new(0), DType::F64, CPU)?;
        let want = if setting == Triangle::Never { &winners } else { &dense };
        near("for read-outs", &fresh.stack().maps(&x)?[0], &avg_pool2d(want, 2, 2, 0)?)?;
    }
    Ok(())
}

/// What competes, wins and is handed on in a step is from before it: from the weights and thresholds that the step and
/// the batch then change. So it is the same whether weights learn in this batch or not, in all layers at once, and the
/// first layer's excitation is its response less the old thresholds.
#[test]
fn a_step_hands_on_what_was_before_it() -> Result<()> {
    let (mut learns, mut waits) = (network(&small())?, network(&small())?);
    for network in [&mut learns, &mut waits] {
        network.step(&images(1)?, Phase::Learn)?;
    }
    let x = images(2)?;
    let thresholds = threshold_of(&learns, 0)?.values().copy()?;
    // Only the norm and the window lie before the thresholds of the first layer.
    let flat = x.flatten_from(1)?;
    let centred = flat.broadcast_sub(&flat.mean_keepdim(1)?)?;
    let count = flat.dim(1)? as f64;
    let deviation = (centred.sqr()?.sum_keepdim(1)? / (count - 1.0))?.sqrt()?;
    let seen = centred.broadcast_div(&deviation)?.reshape(x.shape())?;
    let response = layer_of(&learns, 0)?.response(&seen)?;
    let excitation = response.u().broadcast_sub(&thresholds.unsqueeze(1)?)?;
    let activities = learns.step(&x, Phase::Learn)?;
    for (found, want) in numbers(&activities[0].u)?.iter().zip(numbers(&excitation)?) {
        assert!((found - want).abs() < 1e-8, "{found}, expected {want}");
    }
    let before = waits.step(&x, Phase::BurnIn)?;
    for (at, (found, want)) in activities.iter().zip(&before).enumerate() {
        let values = |activity: &Activity| -> Result<Vec<Vec<f64>>> {
            let Activity { u, post, unpooled, output } = activity;
            [u, post, unpooled, output].into_iter().map(numbers).collect()
        };
        for (found, want) in values(found)?.iter().flatten().zip(values(want)?.iter().flatten()) {
            assert!((found - want).abs() < 1e-9, "layer {at}: {found}, expected {want}");
        }
    }
    // The two differ by what the batch has changed.
    assert_ne!(snapshot(&learns, "weight")?, snapshot(&waits, "weight")?);
    assert_eq!(snapshot(&learns, "threshold")?, snapshot(&waits, "threshold")?);
    assert_ne!(numbers(threshold_of(&learns, 0)?.values())?, numbers(&thresholds)?);
    Ok(())
}

/// Graded winners are not negative, unless the quirk lets them be.
#[test]
fn negative_winners_are_a_quirk() -> Result<()> {
    for negative_winners in [false, true] {
        let mut preset = small();
        preset.training.plasticity = Plasticity::Graded;
        preset.layers = vec![LayerConfig { k: 8, ..layer(8, 3, 2, 1, 0.0) }];
        preset.quirks.negative_winners = negative_winners;
        let activity = network(&preset)?.step(&images(1)?, Phase::BurnIn)?.remove(0);
        let u = numbers(&activity.u)?;
        let post = numbers(&activity.post)?;
        assert!(u.iter().any(|&u| u < 0.0) && u.len() == post.len());
        for (u, y) in u.iter().zip(post) {
            // All eight units are among the eight best.
            assert_eq!(y, if negative_winners { *u } else { u.max(0.0) });
        }
    }
    Ok(())
}

fn options(preset: Preset) -> Options {
    Options { preset, decoder: Decoder::default(), standardise_last: false }
}

/// Some of the digits.
fn some_digits(train: usize, test: usize) -> Dataset {
    let all = digits();
    Dataset { train: all.train.take(train), test: all.test.take(test), ..all }
}

fn start(seed: u64) -> Start {
    Start { rng: Rng::new(seed), device: CPU.clone(), quiet: true }
}

/// A data set as the network sees it.
fn seen(options: &Options, data: &Dataset, seed: u64) -> hebbian_train::Result<Dataset> {
    with_input::<Miconi>(options, data, &start(seed), None)
}

/// A learner that has not begun.
fn made(options: &Options, data: &Dataset, seed: u64) -> hebbian_train::Result<Learner> {
    Miconi::learner(options, &seen(options, data, seed)?, &start(seed))
}

/// A learner at its first step.
fn begun(options: &Options, data: &Dataset, seed: u64) -> hebbian_train::Result<Learner> {
    let mut learner = made(options, data, seed)?;
    learner.begin()?;
    Ok(learner)
}

/// Patches of method 2: the matrix whitens a standardised patch of each image, and filters see the result standardised
/// again. If images are as large as a patch, the patch is the image.
#[test]
fn patches_are_whitened() -> Result<()> {
    const IMAGES: usize = 500;
    let all = digits();
    let middles = |set: &ImageSet, count: usize| -> Result<ImageSet> {
        let pixels = set.pixels(&(0..count).collect::<Vec<_>>())?;
        let middle = |image: &[u8]| [26, 27, 28, 34, 35, 36, 42, 43, 44].map(|at| image[at]);
        let pixels = pixels.chunks_exact(64).flat_map(middle).collect();
        Ok(ImageSet::new(pixels, set.labels()[..count].to_vec(), 1, 3, 3)?)
    };
    let (train, test) = (middles(&all.train, IMAGES)?, middles(&all.test, 10)?);
    let data = Dataset { train, test, ..all };
    let mut preset = small();
    preset.layers = vec![layer(8, 3, 1, 1, 0.0)];
    preset.input = sees("standardise-image");
    preset.layers[0].patches = Patches::Whiten { epsilon: 1e-6 };
    let learner = begun(&options(preset), &data, 0)?;
    let network = learner.model().network();
    let matrix = network.patch_whitening().ok_or("no matrix")?.to_dtype(DType::F64)?;
    let indices: Vec<usize> = (0..IMAGES).collect();
    let (x, _) = data.train.batch(&indices, DType::F64, CPU)?;
    let mean = x.flatten_from(1)?.mean_keepdim(1)?;
    let centred = x.flatten_from(1)?.broadcast_sub(&mean)?;
    // The unbiased deviation, as the notebook has it; no image is of one grey.
    let deviation = (centred.sqr()?.sum_keepdim(1)? / 8.0)?.sqrt()?;
    let rows = centred.broadcast_div(&deviation)?;
    let whitened = rows.matmul(&matrix)?;
    let covariance = numbers(&(whitened.t()?.matmul(&whitened)? / IMAGES as f64)?)?;
    for (at, value) in covariance.iter().enumerate() {
        // 1 in every direction except that of equal pixels, in which standardised patches have no variance.
        let want = if at % 10 == 0 { 1.0 - 1.0 / 9.0 } else { -1.0 / 9.0 };
        assert!((value - want).abs() < 1e-3, "{at}: {value}, {want}");
    }
    let (x, _) = data.train.batch(&indices, DType::F32, CPU)?;
    let (response, _) = network.stack().blocks()[0].respond(&x, false)?;
    let seen = response.pre()?.squeeze(0)?.to_dtype(DType::F64)?;
    let mean = whitened.mean_keepdim(1)?;
    let centred = whitened.broadcast_sub(&mean)?;
    let deviation = (centred.sqr()?.sum_keepdim(1)? / 8.0)?.sqrt()?;
    let expected = numbers(&centred.broadcast_div(&deviation)?)?;
    for (at, (found, want)) in numbers(&seen)?.into_iter().zip(expected).enumerate() {
        assert!((found - want).abs() < 1e-3, "{at}: {found}, {want}");
    }
    Ok(())
}

/// The preset of method 2 is the author's: its ε for this library's divisor, and patches standardised in all layers.
#[test]
fn method_2_is_the_authors() -> Result<()> {
    let layers = preset("miconi-cifar-patches")?.layers;
    let Patches::Whiten { epsilon } = layers[0].patches else { return Err("not whitened".into()) };
    // 5x5x3 values, 9,000 patches, 1e-3 added where the sum is divided by the number of values.
    assert!((epsilon / (1e-3 * 75.0 / 9000.0) - 1.0).abs() < 1e-9, "{epsilon}");
    assert!(layers[1..].iter().all(|layer| layer.patches == Patches::Standardise {}));
    Ok(())
}

mod runs {
    use super::*;

    type Bits = Vec<(String, Vec<u64>)>;

    fn bits(tensors: &[(String, Tensor)]) -> Result<Bits> {
        let one = |(name, tensor): &(String, Tensor)| {
            let values = numbers(tensor)?.into_iter();
            Ok((name.clone(), values.map(f64::to_bits).collect()))
        };
        tensors.iter().map(one).collect()
    }

    /// Two small layers for the digits, with missing connections.
    fn tiny() -> Preset {
        let mut preset = small();
        preset.name = "tiny".into();
        preset.layers = vec![layer(8, 3, 2, 1, 0.0), layer(12, 2, 1, 2, 0.5)];
        preset.input = sees("zca=0.1");
        preset.training.epochs = 3;
        preset.training.burn_in_batches = 7;
        preset
    }

    /// During the first steps only thresholds move. The author has 201 of them.
    #[test]
    fn weights_wait_until_thresholds_have_settled() -> Result<()> {
        assert_eq!(preset("miconi-cifar")?.training.burn_in_batches, 201);
        let (options, data) = (options(tiny()), some_digits(200, 20));
        let mut learner = begun(&options, &data, 5)?;
        let of = |learner: &Learner, part: &str| snapshot(learner.model().network(), part);
        let moved = |before: &[Vec<f64>], after: &[Vec<f64>]| -> f64 {
            let pairs = before.iter().flatten().zip(after.iter().flatten());
            pairs.map(|(before, after)| (before - after).abs()).fold(0.0, f64::max)
        };
        let (weights, mut thresholds) = (of(&learner, "weight")?, of(&learner, "threshold")?);
        for step in 1..=7 {
            learner.step()?;
            let now = of(&learner, "threshold")?;
            assert!(moved(&thresholds, &now) > 0.0, "thresholds in step {step}");
            thresholds = now;
            let weights = moved(&weights, &of(&learner, "weight")?);
            assert!(weights < 1e-6, "weights by {weights} in step {step}"); // scaled to norm 1 again
        }
        learner.step()?;
        assert!(moved(&weights, &of(&learner, "weight")?) > 1e-4);
        Ok(())
    }

    /// Statistics of layers that have not learned: a random unit of norm 1 with `F` inputs has `Σw⁴ = 3/(F + 2)` on
    /// average, and without the triangle one output in `N/k` is active.
    #[test]
    fn statistics_of_random_layers() -> Result<()> {
        let mut preset = tiny();
        preset.training.triangle = Triangle::Never;
        preset.layers = vec![layer(400, 3, 2, 1, 0.0), layer(400, 2, 1, 2, 0.0)];
        preset.training.burn_in_batches = 1000;
        let options = options(preset);
        let mut learner = begun(&options, &some_digits(200, 20), 5)?;
        while !learner.is_due() {
            learner.step()?;
        }
        let Measured { values, .. } = learner.measure()?;
        let value =
            |name: &str| values.iter().find(|(found, _)| found == name).map(|found| found.1);
        for (index, fan_in, k) in [(0, 9.0, 1.0), (1, 1600.0, 2.0)] {
            let of = |name| value(&format!("layers.{index}.{name}")).ok_or("no such value");
            let (active, fourth_power) = (of("active")?, of("fourth_power")?);
            assert!((active * 400.0 / k - 1.0).abs() < 1e-6, "layer {index}: {active}");
            let want = 3.0 / (fan_in + 2.0);
            assert!((fourth_power / want - 1.0).abs() < 0.1, "{fourth_power}, expected {want}");
        }
        Ok(())
    }

    /// Networks that keep more than weights: whitened images and patches, flips, other inputs.
    fn kinds() -> Vec<(&'static str, Options)> {
        let mut all = vec![("plain", options(tiny()))];
        let mut add = |name, change: &dyn Fn(&mut Preset)| {
            let mut preset = tiny();
            change(&mut preset);
            all.push((name, options(preset)));
        };
        let flip = || "flip".parse().expect("a transform");
        add("flips", &|preset| preset.input.augmentation = flip());
        add("patches", &|preset| {
            preset.input = sees("standardise-image,difference-of-gaussians");
            preset.layers[0].patches = Patches::Whiten { epsilon: 0.01 };
        });
        add("author", &|preset| {
            preset.input.augmentation = flip();
            preset.training.plasticity = Plasticity::Graded;
            preset.quirks = Quirks::AUTHOR;
        });
        all
    }

    /// Steps to the end; returns the measurements with their clocks.
    fn learn(learner: &mut Learner) -> Result<Vec<(Clock, Measured)>> {
        let mut measured = Vec::new();
        while learner.clock().steps < learner.total().steps {
            learner.step()?;
            if learner.is_due() {
                measured.push((learner.clock(), learner.measure()?));
            }
        }
        Ok(measured)
    }

    /// What a run saves of `learner`, read back.
    fn saved(learner: &Learner, folder: &Path) -> Result<(serde_json::Value, Checkpoint)> {
        let (path, State { tensors: more, values }) =
            (folder.join("state.safetensors"), learner.state()?);
        let mut tensors = learner.model().tensors();
        tensors.extend(more);
        save_checkpoint(&path, &tensors, &BTreeMap::new())?;
        Ok((serde_json::from_str(&values.to_string())?, Checkpoint::load(path, CPU)?))
    }

    /// Training that stops after any step, also in the middle of an epoch, and is resumed in a new learner: every
    /// tensor, every measurement and every picture is that of one that never stopped.
    #[test]
    fn resumed_is_uninterrupted() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(95, 20));
        for (name, options) in kinds() {
            let mut whole = begun(&options, &data, 3)?;
            let measured = learn(&mut whole)?;
            assert_eq!(whole.clock(), Clock { steps: 30, images: 285 });
            for stop in [0, 1, 7, 9, 10, 13, 20, 29, 30] {
                let mut first = begun(&options, &data, 3)?;
                for _ in 0..stop {
                    first.step()?;
                    if first.is_due() {
                        first.measure()?;
                    }
                }
                let (values, mut checkpoint) = saved(&first, folder.path())?;
                // The learner has not begun, so that nothing is whitened again.
                let mut second = made(&options, &data, 3)?;
                second.model_mut().restore(&mut checkpoint)?;
                second.go_on(first.clock(), &values, &mut checkpoint)?;
                assert_eq!(second.is_due(), first.is_due(), "{name} {stop}");
                let later = learn(&mut second)?;
                assert!(later == measured[stop / 10..], "{name} {stop}: other figures");
                let [ours, theirs] = [&second, &whole].map(|one| bits(&one.model().tensors()));
                assert!(ours? == theirs?, "{name} {stop}: other tensors");
                assert_eq!(second.state()?.values, whole.state()?.values, "{name} {stop}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_state_of_another_learner_is_refused() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(95, 20));
        let mut learner = begun(&options(tiny()), &data, 0)?;
        learner.step()?;
        let (values, mut checkpoint) = saved(&learner, folder.path())?;
        let clock = learner.clock();
        let mut refused = |clock, values: serde_json::Value, word: &str| -> Result<()> {
            let error = learner.go_on(clock, &values, &mut checkpoint).err().ok_or("accepted")?;
            assert!(error.to_string().contains(word), "{error}");
            Ok(())
        };
        refused(clock, serde_json::json!({}), "seen")?;
        let mut other = values.clone();
        other["seen"] = serde_json::json!([]);
        refused(clock, other, "another number of layers")?;
        refused(Clock { images: 11, ..clock }, values, "11 images are not 1 steps")
    }

    fn run_in(
        out: &Path,
        options: &Options,
        data: &Dataset,
        how: RunOptions,
    ) -> hebbian_train::Result<Run<Learner>> {
        let how = RunOptions { seed: 3, device: "cpu".into(), quiet: true, ..how };
        train::<Miconi>(options, data, CPU, &how, out)
    }

    fn resume() -> RunOptions {
        RunOptions { resume: true, ..RunOptions::default() }
    }

    fn asked_to_stop() -> RunOptions {
        let stop = Stop::default();
        stop.ask(15);
        RunOptions { stop, ..RunOptions::default() }
    }

    /// The files of a run that are the same however often it was interrupted.
    fn files(out: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for entry in out.read_dir()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "model.safetensors" || name.ends_with(".png") {
                files.insert(name, std::fs::read(entry.path())?);
            }
        }
        Ok(files)
    }

    fn same_run(a: &Run<Learner>, b: &Run<Learner>) -> Result<()> {
        let values = |run: &Run<Learner>| {
            let lines = run.history.0.iter();
            lines.map(|line| (line.moment.clone(), line.values.clone())).collect::<Vec<_>>()
        };
        assert_eq!(values(a), values(b));
        assert_eq!(a.results.test_accuracy, b.results.test_accuracy);
        assert_eq!(a.results.confusion, b.results.confusion);
        assert_eq!(a.results.extras, b.results.extras);
        assert!(bits(&a.learner.model().tensors())? == bits(&b.learner.model().tensors())?);
        Ok(())
    }

    /// A run that is stopped before its first step and after its last epoch but one, and lengthened: the run, its files
    /// and what is read out are those of one that was never stopped.
    #[test]
    fn a_run_goes_on_and_grows() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(95, 40));
        let out = |name: &str| folder.path().join(name);
        for (name, mut options) in kinds() {
            let whole = run_in(&out("whole"), &options, &data, RunOptions::default())?;
            assert_eq!(
                whole.history.by_epoch().map(|(epoch, _)| epoch).collect::<Vec<_>>(),
                [1.0, 2.0, 3.0]
            );

            options.preset.training.epochs = 1;
            let stopped = run_in(&out("parts"), &options, &data, asked_to_stop());
            assert!(matches!(stopped, Err(Error::Stopped { signal: 15, .. })), "{name}");
            let one = run_in(&out("parts"), &options, &data, resume())?;
            assert_eq!(one.results.training_steps, 10);
            options.preset.training.epochs = 3;
            let again = RunOptions { stop: asked_to_stop().stop, ..resume() };
            let stopped = run_in(&out("parts"), &options, &data, again);
            assert!(matches!(stopped, Err(Error::Stopped { .. })), "{name}");
            assert!(RunFolder::results(out("parts"))?.is_none());
            let parts = run_in(&out("parts"), &options, &data, resume())?;
            same_run(&parts, &whole)?;
            assert!(files(&out("parts"))? == files(&out("whole"))?, "{name}: other files");

            // A complete run is read back, without training.
            let read = run_in(&out("parts"), &options, &data, resume())?;
            same_run(&read, &whole)?;
        }
        Ok(())
    }

    /// A linear read-out is saved in the model, which then predicts what it was scored on, wherever it is loaded;
    /// nearest neighbours are not.
    #[test]
    fn a_model_keeps_its_read_out() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let data = digits();
        let mut preset = preset("miconi-digits")?;
        preset.training.epochs = 1;
        let classes = data.class_names.len();
        let weights =
            |out: &Path| -> Result<Vec<u8>> { Ok(std::fs::read(out.join("model.safetensors"))?) };
        let mut seen = Vec::new();
        for (name, linear) in [("ridge", true), ("svm", true), ("logistic", true), ("knn", false)] {
            let out = folder.path().join(name);
            let options = Options { decoder: name.parse()?, ..options(preset.clone()) };
            let run = run_in(&out, &options, &data, RunOptions::default())?;
            let results = &run.results;
            assert_eq!(results.readouts[0].name, "output");
            let names: Vec<&str> = results.readouts.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, ["output", "layer 1", "layer 2", "layer 3"]);
            let widths: Vec<usize> = results.readouts.iter().map(|one| one.features).collect();
            assert_eq!(widths, [512, 128, 256, 512]); // 128 maps of 2x2; 4 quadrants of each map
            assert!(results.test_accuracy > 0.8, "{name}: {}", results.test_accuracy);
            let confusion = results.confusion.as_ref().ok_or("no confusion matrix")?;
            assert_eq!(confusion.accuracy(), results.test_accuracy);
            assert!(results.readouts.iter().all(|one| one.seconds > 0.0));
            let decoding = Decoding::of(&results.readouts)?;
            assert_eq!(results.extras["decoding"], serde_json::to_value(&decoding)?);
            assert_eq!(decoding.output, results.test_accuracy);
            let text = report(results, &run.history, &options.preset, &out)?;
            assert!(text.contains(&decoding_table(&decoding, &options.preset)?), "{text}");

            // From the files alone.
            let config = RunFolder::config(&out)?.ok_or("no configuration")?;
            let options: Options = serde_json::from_value(config["options"].clone())?;
            let data = with_input::<Miconi>(&options, &data, &start(3), Some(&out))?;
            let mut model = Miconi::model(&options, data.test.shape(), classes, CPU)?;
            model.restore(&mut Checkpoint::load(&out, CPU)?)?;
            assert!(bits(&model.tensors())? == bits(&run.learner.model().tensors())?);
            let mut silent = Progress::new(0, "", true);
            let found = hebbian_train::evaluate(&model, &data.test, classes, CPU, &mut silent);
            match linear {
                true => {
                    assert_eq!(found?.confusion, *confusion, "{name}");
                    let names: Vec<String> = model.tensors().into_iter().map(|one| one.0).collect();
                    assert!(names.ends_with(&["head.weight".into(), "head.bias".into()]));
                }
                false => {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains("nearest neighbours"), "{error}");
                }
            }
            let file = weights(&out)?;
            assert!(!seen.contains(&file), "{name} is the same as another");
            seen.push(file);

            // The weights alone give the same figures, whatever is drawn.
            let start = Start { rng: Rng::new(9), device: CPU.clone(), quiet: true };
            let again = evaluate(&options, &out, &data, &start)?;
            if name != "logistic" {
                assert_eq!(again, decoding, "{name}");
            }
        }
        Ok(())
    }

    /// The features of a model's layers are the maps of the stack for whitened images; a model says if it has no
    /// read-out.
    #[test]
    fn features_of_layers() -> Result<()> {
        let data = some_digits(95, 20);
        let learner = begun(&options(tiny()), &data, 0)?;
        let model = learner.model();
        let (images, _) =
            seen(&options(tiny()), &data, 0)?.test.batch(&[0, 1, 2], DType::F32, CPU)?;
        let maps = model.network().stack().maps(&images)?;
        assert_eq!(model.layers(), 2);
        for (at, map) in maps.iter().enumerate() {
            assert_eq!(model.layer_features(at, &images)?.dims(), map.dims());
            assert_eq!(numbers(&model.layer_features(at, &images)?)?, numbers(map)?);
        }
        // 12 maps of 2x2: 8 less 2, halved, less 1.
        assert_eq!(model.features(&images)?.dims(), [3, 48]);
        assert_eq!(numbers(&model.features(&images)?)?, numbers(&maps[1])?);
        let refused = |result: hebbian_train::Result<Tensor>, word: &str| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        refused(model.layer_features(2, &images), "no layer 2: expected a number below 2");
        refused(model.predict(&images), "read-out is not trained");
        Ok(())
    }

    /// A network for grey images takes colour images, and sees them as the grey ones it learned from.
    #[test]
    fn colours_become_grey_in_the_model() -> Result<()> {
        let mut rng = Rng::new(4);
        let pixels = (0..40 * 3 * 64).map(|_| rng.below(256) as u8).collect();
        let labels: Vec<u32> = (0..40).map(|at| at % 10).collect();
        let colours = ImageSet::new(pixels, labels, 3, 8, 8)?;
        let data = Dataset { train: colours.clone(), test: colours.clone(), ..digits() };
        // The grey of Pillow: see `hebbian_data::transforms::Grey`.
        let pixels = colours.pixels(&(0..40).collect::<Vec<_>>())?;
        let luma = |i: usize| {
            let [r, g, b] = [0, 1, 2].map(|c| u32::from(pixels[i / 64 * 192 + 64 * c + i % 64]));
            ((19595 * r + 38470 * g + 7471 * b + (1 << 15)) >> 16) as u8
        };
        let labels = colours.labels().to_vec();
        let grey = ImageSet::new((0..40 * 64).map(luma).collect(), labels, 1, 8, 8)?;
        let grey_data = Dataset { train: grey.clone(), test: grey.clone(), ..digits() };
        let mut preset = tiny();
        preset.input = sees("grey,zca=0.1");
        let options = options(preset);
        let (mut of_colours, mut of_grey) =
            (begun(&options, &data, 0)?, begun(&options, &grey_data, 0)?);
        for _ in 0..5 {
            of_colours.step()?;
            of_grey.step()?;
        }
        let [ours, theirs] = [&of_colours, &of_grey].map(|one| bits(&one.model().tensors()));
        assert!(ours? == theirs?);
        let indices: Vec<usize> = (0..40).collect();
        let features = |learner: &Learner, data: &Dataset| -> Result<Vec<f64>> {
            let (images, _) = seen(&options, data, 0)?.test.batch(&indices, DType::F32, CPU)?;
            numbers(&learner.model().features(&images)?)
        };
        assert!(features(&of_colours, &data)? == features(&of_grey, &grey_data)?);
        Ok(())
    }

    /// With the quirk, thresholds adapt while features are collected; the network of the run stays as it learned.
    #[test]
    fn reading_out_leaves_the_network_as_it_was() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(150, 40));
        let quirk = |adapt_in_evaluation| {
            let mut preset = tiny();
            preset.quirks.adapt_in_evaluation = adapt_in_evaluation;
            options(preset)
        };
        let run = |name: &str, options: &Options| {
            run_in(&folder.path().join(name), options, &data, RunOptions::default())
        };
        let (ours, author) = (run("ours", &quirk(false))?, run("author", &quirk(true))?);
        let network = |run: &Run<Learner>| bits(&run.learner.model().network().tensors());
        assert!(network(&ours)? == network(&author)?);
        // But the read-out is another, because thresholds have adapted to the first 100 images.
        let head = |run: &Run<Learner>| {
            let tensors = run.learner.model().tensors().into_iter();
            bits(&tensors.filter(|(name, _)| name.starts_with("head")).collect::<Vec<_>>())
        };
        assert!(head(&ours)? != head(&author)?);
        Ok(())
    }

    /// A learner that starts from other weights does not take their read-out.
    #[test]
    fn loaded_weights_come_without_their_read_out() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(95, 40));
        let first = folder.path().join("first");
        run_in(&first, &options(tiny()), &data, RunOptions::default())?;
        let mut learner = made(&options(tiny()), &data, 1)?;
        learner.start_from(&mut Checkpoint::load(&first, CPU)?)?;
        let (images, _) = data.test.batch(&[0], DType::F32, CPU)?;
        let error = learner.model().predict(&images).unwrap_err().to_string();
        assert!(error.contains("not trained"), "{error}");
        assert!(learner.model().features(&images).is_ok());

        // With nearest neighbours, no read-out takes its place.
        let options = Options { decoder: "knn".parse()?, ..options(tiny()) };
        let how = RunOptions { load: Some(first), ..RunOptions::default() };
        let run = run_in(&folder.path().join("second"), &options, &data, how)?;
        let tensors = run.learner.model().tensors();
        assert!(tensors.iter().all(|(name, _)| !name.starts_with("head")));
        Ok(())
    }

    /// A run that loads its whitening from a checkpoint does not compute one, which would be impossible here.
    #[test]
    fn a_loaded_whitening_is_not_fitted_again() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(95, 40));
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        run_in(&first, &options(tiny()), &data, RunOptions::default())?;
        let mut options = options(tiny());
        without_epsilon(&mut options.preset);
        assert!(begun(&options, &data, 3).is_err());
        let load = || RunOptions { load: Some(first.clone()), ..asked_to_stop() };
        let stopped = run_in(&second, &options, &data, load());
        assert!(matches!(stopped, Err(Error::Stopped { .. })), "{stopped:?}");
        let run = run_in(&second, &options, &data, resume())?;
        assert_eq!(run.results.training_steps, 30);
        Ok(())
    }

    /// Such runs are refused before anything is whitened or written.
    #[test]
    fn what_cannot_run_is_refused_first() -> Result<()> {
        let (folder, data) = (tempfile::tempdir()?, some_digits(95, 40));
        let out = folder.path().join("out");
        let refused = |options: &Options, data: &Dataset, words: &[&str]| {
            let error = run_in(&out, options, data, RunOptions::default()).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "no '{word}' in: {error}");
            }
            assert!(!out.exists());
        };
        let with = |change: &dyn Fn(&mut Options)| {
            let mut options = options(tiny());
            // If images were whitened first, this would be the refusal.
            without_epsilon(&mut options.preset);
            change(&mut options);
            options
        };
        refused(&with(&|_| ()), &data, &["epsilon", "64"]);
        let usual = &["epochs of 95", "too many to count"];
        refused(&with(&|options| options.preset.training.epochs = usize::MAX), &data, usual);
        let big = with(&|options| options.preset.layers[1].kernel = 9);
        refused(&big, &data, &["1x8x8", "layer 2", "receptive field"]);
        refused(&with(&|options| options.preset.training.batch_size = 0), &data, &["batch size"]);
        for (decoder, word) in [
            (Decoder::NearestNeighbours { k: 96 }, "k is 96, expected 1 to 95"),
            (Decoder::Svm { c: 0.0 }, "c is 0"),
            (Decoder::Ridge { alpha: -1.0 }, "alpha is -1"),
            (Decoder::Logistic { epochs: usize::MAX }, "epochs of 95 are too many to count"),
        ] {
            refused(&with(&|options| options.decoder = decoder), &data, &[word]);
        }
        let none = Dataset { test: data.test.take(0), ..data.clone() };
        refused(&with(&|_| ()), &none, &["95 training and 0 test images"]);
        let few = Dataset { class_names: vec!["zero".into()], ..data.clone() };
        refused(&with(&|_| ()), &few, &["labels below 1"]);
        let labels = vec![0; 10];
        let wide = ImageSet::new(vec![0; 10 * 8 * 12], labels, 1, 8, 12)?;
        let wide = Dataset { train: wide.clone(), test: wide, ..data.clone() };
        refused(&with(&|_| ()), &wide, &["square", "layer 1 makes maps of 3x5"]);
        let two = ImageSet::new(vec![0; 10 * 2 * 64], vec![0; 10], 2, 8, 8)?;
        let two = Dataset { train: two.clone(), test: two, ..data.clone() };
        refused(&with(&|options| options.preset.input = sees("grey")), &two, &["2", "grey", "3"]);
        Ok(())
    }
}

#[test]
fn what_cannot_be_is_refused() -> Result<()> {
    let refused = |change: &dyn Fn(&mut Preset), words: &[&str]| -> Result<()> {
        let mut preset = small();
        change(&mut preset);
        let error = network(&preset).err().ok_or(format!("accepted: {words:?}"))?.to_string();
        for word in words {
            assert!(error.contains(word), "no '{word}' in: {error}");
        }
        Ok(())
    };
    refused(&|p| p.layers[1].k = 13, &["layer 2", "k is 13", "1 to 12", "filters"])?;
    refused(&|p| p.layers[0].k = 0, &["layer 1", "k is 0"])?;
    for p in [1.0, -0.1, f64::NAN] {
        refused(&|preset| preset.prune(p), &["layer 2", "pruning probability", "below 1"])?;
    }
    refused(&|p| p.layers.clear(), &["no layers"])?;
    refused(&|p| p.layers[2].pool = 0, &["layer 3", "at least 1"])?;
    refused(&|p| p.layers[2].learning_rate = f64::NAN, &["layer 3", "learning rate is NaN"])?;
    refused(&|p| p.layers[1].patches = Patches::Whiten { epsilon: 1.0 }, &["first layer only"])?;
    let epsilon = f64::INFINITY;
    refused(&|p| p.layers[0].patches = Patches::Whiten { epsilon }, &["found epsilon inf"])?;
    refused(&|p| p.training.batch_size = 0, &["batch size is 0"])?;
    refused(&|p| p.training.rule = RuleKind::Softhebb, &["softhebb", "hebb, instar or oja"])?;
    // Receptive fields: 3; with its pool 4; 2·1 + 4; with its pool 8, in steps of 4; 4·5 + 8.
    refused(&|p| p.layers[2].kernel = 6, &["2x16x16", "receptive field of 28x28"])?;
    refused(&|p| p.layers[2].pool = 7, &["layer 3", "2 pixels", "less than the 7"])?;

    // However large a size is, nothing is counted wrongly and no memory is taken.
    for huge in [1 << 33, 1 << 62, usize::MAX] {
        refused(&|p| p.layers[0].kernel = huge, &["layer 1", "receptive field"])?;
        refused(&|p| p.layers[1].kernel = huge, &["layer 2", "receptive field"])?;
        // The one position that is left is less than a pool of two.
        refused(&|p| p.layers[0].stride = huge, &["layer 1", "image too small: 1 pixels"])?;
        let strided = |p: &mut Preset| (p.layers[1].stride, p.layers[1].pool) = (huge, 1);
        refused(&strided, &["layer 3", "receptive field"])?;
        refused(&|p| p.layers[0].pool = huge, &["layer 1", "image too small", &huge.to_string()])?;
        refused(&|p| p.layers[2].pool = huge, &["layer 3", "image too small", &huge.to_string()])?;
        refused(&|p| p.layers[1].units = huge, &["layer 2", "elements", &huge.to_string()])?;
    }

    let cifar = preset("miconi-cifar")?;
    let error = Network::new(&cifar, (1, 8, 8), &Rng::new(0), DType::F32, CPU).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("1x8x8") && error.contains("receptive field of 10x10"), "{error}");

    // Images standardised one by one have no component along equal pixels.
    let mut digits_preset = preset("miconi-digits")?;
    without_epsilon(&mut digits_preset);
    let error = begun(&options(digits_preset), &digits(), 0).unwrap_err().to_string();
    assert!(error.contains("epsilon") && error.contains("64"), "{error}");
    Ok(())
}

#[test]
fn presets_are_sound() -> Result<()> {
    let all = presets()?;
    let names: Vec<&str> = all.iter().map(|preset| preset.name.as_str()).collect();
    assert_eq!(names, ["miconi-cifar", "miconi-cifar-patches", "miconi-digits", "miconi-simple"]);
    for preset in &all {
        preset.check()?;
        let image = if preset.dataset == "digits" { (1, 8, 8) } else { (3, 32, 32) };
        let shape = Pipeline::unfitted(&preset.input.transforms)?.shape(image)?;
        // The simple network sees grey images, a pixel larger.
        let simple = preset.name == "miconi-simple";
        assert_eq!(shape, if simple { (1, 33, 33) } else { image }, "{}", preset.name);
        let network = Network::new(preset, shape, &Rng::new(0), DType::F32, CPU)?;
        assert_eq!(network.stack().output()[1..], [2, 2], "{}", preset.name);
    }
    assert!(preset("miconi-none").unwrap_err().to_string().contains("miconi-simple"));
    Ok(())
}
