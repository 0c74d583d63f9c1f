//! Miconi 2021: structure, hand-worked numbers, refusals.

use candle::{DType, Device, Module, Tensor, Var};
use candle_hebbian::ops::{avg_pool2d, triangle};
use candle_hebbian::{AdaptiveThreshold, Competition, KWta, Layer, Rng};
use hebbian_data::digits;
use hebbian_models::RuleKind;
use hebbian_models::miconi::{
    InputConfig, LayerConfig, Network, Patches, Phase, Plasticity, Preset, Quirks, Trainer,
    Training, Triangle, Whitening, preset, presets, quadrants, receptive_fields,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
const CPU: &Device = &Device::Cpu;

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
        input: InputConfig { grey: false, flip: false, whitening: Whitening::None {} },
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
            // Nothing ties: k win, or as many as are above their thresholds.
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

/// `Σ θ` falls when nobody wins and rises when more than k do.
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
    // The quirk: thresholds adapt, weights do not.
    network.step(&images(2)?, Phase::Collect)?;
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
    let seen = response.pre().get(0)?;
    let first = numbers(&seen.get(0)?)?;
    for (at, seen) in first.iter().enumerate() {
        let (channel, row, column) = (at / 9, at / 3 % 3, at % 3);
        let value = below[(channel * 14 + row) * 14 + column];
        assert!((seen - (value - mean) / variance.sqrt()).abs() < 1e-4);
    }
    Ok(())
}

/// A receptive field is the gradient of a unit's linear response in the image, when nothing but
/// filters and average pools lies between.
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
    // The notebook's way leaves the last line of the window empty, and sums to as much.
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
    assert!(quadrants(&Tensor::zeros((1, 1, 2, 3), DType::F64, CPU)?).is_err());
    Ok(())
}

/// The triangle takes the mean off, so a constant added to all units at a position changes nothing;
/// a layer hands on its triangle responses, its winners, or triangle responses for read-outs only.
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
        assert_eq!(numbers(&learning.unpooled)?, numbers(want)?, "{setting:?} while learning");

        let fresh = Network::new(&preset, (2, 16, 16), &Rng::new(0), DType::F64, CPU)?;
        let features = numbers(&fresh.stack().maps(&x)?[0])?;
        let want = if setting == Triangle::Never { &winners } else { &dense };
        assert_eq!(features, numbers(&avg_pool2d(want, 2, 2, 0)?)?, "{setting:?} for read-outs");
    }
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
        for (u, y) in u.iter().zip(post) {
            // All eight units are among the eight best.
            assert_eq!(y, if negative_winners { *u } else { u.max(0.0) });
        }
    }
    Ok(())
}

/// Patches of method 2: whitened rows have covariance 1 over the images the matrix is of.
#[test]
fn patches_are_whitened() -> Result<()> {
    let data = digits();
    let mut preset = preset("miconi-digits")?;
    preset.input.whitening = Whitening::None {};
    preset.layers[0].patches = Patches::Whiten { epsilon: 1e-6 };
    let train = data.train.take(500);
    let mut trainer = Trainer::new(&preset, &train, &Rng::new(0), CPU, true)?;
    assert_eq!(trainer.network().patch_whitening().ok_or("no matrix")?.dims(), [9, 9]);
    trainer.train_epoch(&train, |_| ())?;
    // The matrix is of the patches of all 500 images.
    let indices: Vec<usize> = (0..500).collect();
    let (x, _) = train.batch(&indices, DType::F32, CPU)?;
    let (response, _) = trainer.network().stack().blocks()[0].respond(&x, false)?;
    let rows = response.pre().squeeze(0)?.to_dtype(DType::F64)?;
    let covariance = numbers(&(rows.t()?.matmul(&rows)? / rows.dim(0)? as f64)?)?;
    for (at, value) in covariance.iter().enumerate() {
        // 1 in every direction but that of equal pixels, in which a standardised patch has nothing.
        let want = if at % 10 == 0 { 1.0 - 1.0 / 9.0 } else { -1.0 / 9.0 };
        assert!((value - want).abs() < 1e-3, "{at}: {value}, {want}");
    }
    Ok(())
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
    refused(&|p| p.training.batch_size = 0, &["batch size is 0"])?;
    refused(&|p| p.training.rule = RuleKind::Softhebb, &["softhebb", "hebb, instar or oja"])?;
    // 3; with its pool 4; 2·1 + 4; with its pool 8, in steps of 4; 4·5 + 8.
    refused(&|p| p.layers[2].kernel = 6, &["2x16x16", "receptive field of 28x28"])?;
    refused(&|p| p.layers[2].pool = 7, &["layer 3", "2 pixels", "less than the 7"])?;

    let cifar = preset("miconi-cifar")?;
    let error = Network::new(&cifar, (1, 8, 8), &Rng::new(0), DType::F32, CPU).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("1x8x8") && error.contains("receptive field of 10x10"), "{error}");

    // Images standardised one by one have no component along equal pixels.
    let mut digits_preset = preset("miconi-digits")?;
    if let Whitening::Zca(config) = &mut digits_preset.input.whitening {
        config.epsilon = 0.0;
    }
    let train = digits().train;
    let error = Trainer::new(&digits_preset, &train, &Rng::new(0), CPU, true).unwrap_err();
    let error = error.to_string();
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
        let side = match preset.input.whitening {
            _ if preset.dataset == "digits" => 8,
            Whitening::DifferenceOfGaussians {} => 33,
            _ => 32,
        };
        let channels = if preset.input.grey || side == 8 { 1 } else { 3 };
        let network = Network::new(preset, (channels, side, side), &Rng::new(0), DType::F32, CPU)?;
        assert_eq!(network.stack().output()[1..], [2, 2], "{}", preset.name);
    }
    assert!(preset("miconi-none").unwrap_err().to_string().contains("miconi-simple"));
    Ok(())
}
