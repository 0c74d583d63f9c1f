//! Blocks and networks: initial weights by statistics, learning by comparison with the pieces of
//! the core library put together here, and what must not change when something else learns.

use candle::{DType, Device, Module, Tensor};
use candle_hebbian::ops::{BatchNorm, Pool, triangle};
use candle_hebbian::{Activation, Block, Competition, PaddingMode, Rng, SoftHebb};
use hebbian_data::transforms::InputConfig;
use hebbian_models::CompetitionKind;
use hebbian_models::softhebb::{
    BlockConfig, HeadConfig, HeadLayers, LabelAssignment, LayerConfig, Learning, Network, Preset,
    Rate, preset,
};
use hebbian_train::Readout;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RATE: Rate = Rate::NormDependent { learning_rate: 0.08, power: 0.5 };

fn conv(channels: usize, kernel: usize) -> LayerConfig {
    LayerConfig::Conv2d {
        channels,
        kernel,
        padding: kernel / 2,
        groups: 1,
        padding_mode: PaddingMode::Reflect,
    }
}

fn hebbian(rate: Rate, radius: f64) -> Learning {
    let competition = CompetitionKind::SoftWtaAntiHebbian { inverse_temperature: 0.5 };
    Learning::Hebbian { competition, rate, radius, pre_triangle: false }
}

fn block(layer: LayerConfig, batch_norm: bool, learning: Learning) -> BlockConfig {
    let pool = match layer {
        LayerConfig::Conv2d { .. } => Some(Pool::Max { kernel: 4, stride: 2, padding: 1 }),
        LayerConfig::Dense { .. } => None,
    };
    let activation = Activation::Triangle { power: 0.7 };
    BlockConfig { layer, batch_norm, learning, activation, pool }
}

/// Three small blocks; radius 3 so that activity is spread over units and steps are large.
fn small() -> Preset {
    Preset {
        name: "small".into(),
        alias: None,
        description: String::new(),
        dataset: "none".into(),
        input: InputConfig::NONE,
        blocks: vec![
            block(conv(6, 5), true, hebbian(RATE, 3.0)),
            block(conv(8, 3), true, hebbian(RATE, 3.0)),
            block(conv(5, 3), true, hebbian(RATE, 3.0)),
        ],
        head: HeadConfig::Linear { dropout: 0.0, layers: HeadLayers::Last, mirrored: false },
        training: Default::default(),
    }
}

/// A network of one block, for inputs of any shape `(C, H, W)`.
fn alone(config: &BlockConfig, input: (usize, usize, usize), dtype: DType) -> Result<Network> {
    let preset = Preset { blocks: vec![config.clone()], ..small() };
    Ok(Network::new(&preset, input, &Rng::new(3), dtype, &Device::Cpu)?)
}

/// The weights of a block.
fn weight(network: &Network, index: usize) -> Result<&Tensor> {
    Ok(network.stack().blocks()[index].layer()?.weight())
}

fn network(preset: &Preset) -> Result<Network> {
    Ok(Network::new(preset, (2, 16, 16), &Rng::new(5), DType::F64, &Device::Cpu)?)
}

fn images(seed: u64) -> Result<Tensor> {
    Ok(Rng::new(seed).uniform(0.0, 1.0, (6, 2, 16, 16), DType::F64, &Device::Cpu)?)
}

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    Ok(t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn near(name: &str, a: &Tensor, b: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "{name}");
    for (a, b) in numbers(a)?.into_iter().zip(numbers(b)?) {
        assert!((a - b).abs() <= tolerance, "{name}: {a} and {b}");
    }
    Ok(())
}

type Snapshot = Vec<(String, Vec<f64>)>;

/// All tensors of a checkpoint, copied.
fn snapshot(network: &Network) -> Result<Snapshot> {
    network.stack().tensors().into_iter().map(|(name, t)| Ok((name, numbers(&t)?))).collect()
}

/// The names of the tensors that differ.
fn changed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0.clone()).collect()
}

mod initial_weights {
    use super::*;

    fn draw(config: &BlockConfig, input: (usize, usize, usize)) -> Result<Vec<f64>> {
        numbers(weight(&alone(config, input, DType::F32)?, 0)?)
    }

    fn mean_and_std(values: &[f64]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    /// σ = R/√F with R = 25. Tolerances are five standard errors: σ/√n of the mean, σ/√(2n) of
    /// the standard deviation, and of the share within one σ (0.6827) its binomial one.
    #[test]
    fn gaussian_after_batch_norm() -> Result<()> {
        let cases: [(usize, usize, f64); 5] = [
            (3, 5, 2.886751),
            (96, 3, 0.850517),
            (384, 3, 0.425259),
            (1536, 3, 0.212629),
            (1, 5, 5.0),
        ];
        for (channels, kernel, sigma) in cases {
            let config = block(conv(96, kernel), true, hebbian(RATE, 25.0));
            let weight = draw(&config, (channels, 8, 8))?;
            assert_eq!(weight.len(), 96 * channels * kernel * kernel);
            let n = weight.len() as f64;
            let (mean, std) = mean_and_std(&weight);
            assert!(mean.abs() < 5.0 * sigma / n.sqrt(), "{sigma}: mean {mean}");
            assert!((std - sigma).abs() < 5.0 * sigma / (2.0 * n).sqrt(), "{sigma}: {std}");
            let within = weight.iter().filter(|w| w.abs() < sigma).count() as f64 / n;
            assert!((within - 0.6827).abs() < 5.0 * (0.6827 * 0.3173 / n).sqrt(), "{within}");
        }
        Ok(())
    }

    /// Uniform on [0, a), a = √(3R²/F): 2.165064 for 784 inputs and R = 35.
    #[test]
    fn uniform_without_batch_norm() -> Result<()> {
        let a = 2.165064;
        let config = block(LayerConfig::Dense { units: 500 }, false, hebbian(RATE, 35.0));
        let weight = draw(&config, (1, 28, 28))?;
        let n = weight.len() as f64;
        let (mean, std) = mean_and_std(&weight);
        let (low, high) = weight.iter().fold((a, 0.0), |(l, h), &w| (w.min(l), w.max(h)));
        // The largest of n draws is within 20/n of the end, except with probability e⁻²⁰.
        assert!(low >= 0.0 && low < a * 20.0 / n, "{low}");
        assert!(high < a + 1e-6 && high > a * (1.0 - 20.0 / n), "{high}");
        assert!((mean - a / 2.0).abs() < 5.0 * a / (12.0 * n).sqrt(), "{mean}");
        assert!((std - a / 12f64.sqrt()).abs() < 5.0 * a / n.sqrt(), "{std}");
        Ok(())
    }

    /// PyTorch's U(±1/√F), also for the fan-in of a channel group.
    #[test]
    fn uniform_for_back_propagation() -> Result<()> {
        for (groups, fan_in) in [(1, 72.0f64), (4, 18.0)] {
            let mut layer = conv(64, 3);
            if let LayerConfig::Conv2d { groups: g, .. } = &mut layer {
                *g = groups;
            }
            let weight = draw(&block(layer, true, Learning::Backprop), (8, 8, 8))?;
            let bound = fan_in.sqrt().recip();
            let (mean, std) = mean_and_std(&weight);
            let n = weight.len() as f64;
            assert_eq!(n, 64.0 * fan_in);
            assert!(weight.iter().all(|w| w.abs() <= bound + 1e-7));
            assert!(mean.abs() < 5.0 * bound / (3.0 * n).sqrt(), "{mean}");
            assert!((std - bound / 3f64.sqrt()).abs() < 5.0 * bound / n.sqrt(), "{std}");
        }
        Ok(())
    }

    /// Each block draws from its own stream, whatever the other blocks are.
    #[test]
    fn blocks_draw_independently() -> Result<()> {
        let (one, mut other) = (small(), small());
        other.blocks[0].layer = conv(6, 3);
        let (one, other) = (network(&one)?, network(&other)?);
        for i in [1, 2] {
            near("w", weight(&one, i)?, weight(&other, i)?, 0.0)?;
        }
        Ok(())
    }
}

/// At speed 0 an exponential decay is 0/0: no network is made, rather than one that learns NaN.
#[test]
fn a_rate_that_makes_nan_is_refused() {
    let mut preset = small();
    let rate = Rate::ExponentialDecay { learning_rate: 0.08, speed: 0.0, divisor: 96.0 };
    preset.blocks[1].learning = hebbian(rate, 3.0);
    let error = network(&preset).expect_err("an error").to_string();
    assert!(error.contains("block 1") && error.contains("the speed is 0"), "{error}");
}

/// The output of a block in training mode and its step, computed from the pieces.
struct Pieces {
    u: Tensor,
    post: Tensor,
    output: Tensor,
    weight: Tensor,
    mean: Tensor,
    var: Tensor,
}

fn pieces(block: &Block<CompetitionKind>, x: &Tensor) -> Result<Pieces> {
    let norm = BatchNorm::new(x.dim(1)?, DType::F64, &Device::Cpu)?;
    let old = block.layer()?.weight().copy()?;
    let layer = candle_hebbian::Layer::from_tensor(&old, block.layer()?.geometry())?;
    let response = layer.response(&norm.forward_train(x)?)?;
    let output = triangle(&response.output()?, 0.7, true)?;
    let output = Pool::Max { kernel: 4, stride: 2, padding: 1 }.forward(&output)?;
    let competition = CompetitionKind::SoftWtaAntiHebbian { inverse_temperature: 0.5 };
    let post = competition.compete(response.u())?;
    let gradient = response.synapses(&post)?.update(&SoftHebb)?.neg()?;
    // The released code's step, from its definition.
    let largest = gradient.abs()?.max_all()?.to_scalar::<f64>()? + 1e-30;
    let distance = ((layer.radii()?.squeeze(0)? - 1.0)?.abs()? + 1e-10)?;
    let rates = (distance.sqrt()? * (0.08 / largest))?.reshape(((), 1, 1, 1))?;
    let weight = (layer.weight().detach() - gradient.broadcast_mul(&rates)?)?;
    Ok(Pieces {
        u: response.u().clone(),
        post,
        output,
        weight,
        mean: norm.running_mean().clone(),
        var: norm.running_var().clone(),
    })
}

/// Each block sees the output of the one below for the batch, computed with its old weights.
#[test]
fn all_blocks_learn_from_old_weights() -> Result<()> {
    let mut network = network(&small())?;
    let x = images(1)?;
    let mut wanted = Vec::new();
    let mut input = x.clone();
    for block in network.stack().blocks() {
        let step = pieces(block, &input)?;
        input = step.output.clone();
        wanted.push(step);
    }
    let (features, steps) = network.learn(&x, 0.0)?;
    assert_eq!(steps.len(), 3);
    near("features", &features, &input.flatten_from(1)?, 1e-12)?;
    for (i, (block, step)) in network.stack().blocks().iter().zip(&wanted).enumerate() {
        let norm = block.batch_norm().expect("a batch norm");
        near(&format!("weight {i}"), block.layer()?.weight(), &step.weight, 1e-12)?;
        near(&format!("mean {i}"), norm.running_mean(), &step.mean, 1e-12)?;
        near(&format!("var {i}"), norm.running_var(), &step.var, 1e-12)?;
    }
    // The order matters: the new weights below would have given the second block another input.
    let moved = pieces(&network.stack().blocks()[0], &x)?.output;
    assert!((moved - &wanted[0].output)?.abs()?.max_all()?.to_scalar::<f64>()? > 1e-4);
    Ok(())
}

#[test]
fn one_block_learns_alone() -> Result<()> {
    for index in 0..3 {
        let mut network = network(&small())?;
        for seed in 0..3 {
            network.learn(&images(seed)?, 0.0)?; // statistics other than the initial ones
        }
        let x = images(9)?;
        let before = snapshot(&network)?;
        // Its input is the output of the blocks below for the images, in evaluation.
        let input = network.stack().features(&x, index)?;
        let wanted_step = pieces(&network.stack().blocks()[index], &input)?;
        let (u, post) = network.learn_block(index, &x, 0.0)?;
        near("u", &u, &wanted_step.u, 1e-12)?;
        near("post", &post, &wanted_step.post, 1e-12)?;
        let own = |part: &str| format!("layers.{index}.{part}");
        let wanted = [own("weight"), own("running_mean"), own("running_var")];
        assert_eq!(changed(&before, &snapshot(&network)?), wanted);
        near("weight", weight(&network, index)?, &wanted_step.weight, 1e-12)?;
    }
    Ok(())
}

#[test]
fn evaluation_and_calibration_learn_nothing() -> Result<()> {
    let mut network = network(&small())?;
    network.learn(&images(1)?, 0.0)?;
    let before = snapshot(&network)?;
    let x = images(2)?;
    let first = numbers(&network.forward(&x)?)?;
    assert_eq!(numbers(&network.forward(&x)?)?, first);
    assert_eq!(changed(&before, &snapshot(&network)?), [""; 0]);
    network.stack().calibrate(&x)?;
    let changed = changed(&before, &snapshot(&network)?);
    assert_eq!(changed.len(), 6);
    assert!(changed.iter().all(|name| name.contains("running")), "{changed:?}");
    Ok(())
}

/// A mirrored head gets the mean of the features of an image and of its mirror image, so the same for both.
#[test]
fn a_mirrored_head_does_not_tell_left_from_right() -> Result<()> {
    for layers in [HeadLayers::Last, HeadLayers::All] {
        let [single, both] = [false, true].map(|mirrored| {
            let head = HeadConfig::Linear { dropout: 0.0, layers, mirrored };
            network(&Preset { head, ..small() })
        });
        let (single, both) = (single?, both?);
        assert_eq!(single.features(), both.features());
        let x = images(2)?;
        let columns = (0..16).rev().map(|column| x.narrow(3, column, 1));
        let mirror_image = Tensor::cat(&columns.collect::<candle::Result<Vec<_>>>()?, 3)?;
        let [one, other] = [single.forward(&x)?, single.forward(&mirror_image)?];
        assert!((&one - &other)?.abs()?.max_all()?.to_scalar::<f64>()? > 1e-3);
        let mean = ((one + other)? / 2.0)?;
        near("features", &both.forward(&x)?, &mean, 1e-15)?;
        assert_eq!(numbers(&both.forward(&mirror_image)?)?, numbers(&both.forward(&x)?)?);
        let turned = x.transpose(2, 3)?;
        let expected = numbers(&both.forward(&turned.contiguous()?)?)?;
        assert_eq!(numbers(&both.forward(&turned)?)?, expected);

        let head = HeadConfig::Linear { dropout: 0.0, layers, mirrored: true };
        let pixels = Network::pixels((2, 16, 16), &head)?.forward(&x)?;
        let mean = ((&x + mirror_image)? / 2.0)?.flatten_from(1)?;
        near("pixels", &pixels, &mean, 1e-15)?;
    }
    Ok(())
}

/// With the batch's own statistics as the running ones, evaluation gives the output of training
/// mode; without batch norm it always does.
#[test]
fn modes_differ_by_batch_norm_only() -> Result<()> {
    for pre_triangle in [false, true] {
        let competition = CompetitionKind::SoftWtaAntiHebbian { inverse_temperature: 0.5 };
        let learning = Learning::Hebbian { competition, rate: RATE, radius: 3.0, pre_triangle };
        for batch_norm in [false, true] {
            let config = block(conv(6, 5), batch_norm, learning.clone());
            let mut network = alone(&config, (2, 16, 16), DType::F64)?;
            let x = (images(4)? * 3.0)?;
            let fresh = network.forward(&x)?;
            if let Some(norm) = network.stack().blocks()[0].batch_norm() {
                let rows = x.transpose(0, 1)?.flatten_from(1)?;
                let mean = rows.mean(1)?;
                let centred = rows.broadcast_sub(&mean.unsqueeze(1)?)?;
                norm.set_running(&mean, &centred.sqr()?.mean(1)?)?;
            }
            let evaluated = network.forward(&x)?;
            let (trained, _) = network.learn(&x, 0.0)?;
            near("output", &trained, &evaluated, 1e-11)?;
            let differs = (fresh - &trained)?.abs()?.max_all()?.to_scalar::<f64>()? > 1e-3;
            assert_eq!(differs, batch_norm);
        }
    }
    Ok(())
}

/// The rectified response is what competes and what the decay reads; the rows stay as they are.
#[test]
fn pre_triangle_changes_the_response_only() -> Result<()> {
    let competition = CompetitionKind::SoftWta { inverse_temperature: 0.5 };
    let learning = Learning::Hebbian { competition, rate: RATE, radius: 3.0, pre_triangle: true };
    let config = block(LayerConfig::Dense { units: 4 }, false, learning);
    let mut network = alone(&config, (5, 1, 1), DType::F64)?;
    let x = Rng::new(4).normal(0.0, 1.0, (3, 5), DType::F64, &Device::Cpu)?;
    let w = weight(&network, 0)?.copy()?;
    let u = x.matmul(&w.t()?)?;
    let u = u.broadcast_sub(&u.mean_keepdim(1)?)?.relu()?;
    let y = candle_nn::ops::softmax(&(&u * 0.5)?, 1)?;
    let decay = (&y * &u)?.sum(0)?.unsqueeze(1)?;
    let update = (y.t()?.matmul(&x)? - w.broadcast_mul(&decay)?)?;
    let largest = update.abs()?.max_all()?.to_scalar::<f64>()?;
    let radii = w.sqr()?.sum_keepdim(1)?.sqrt()?;
    let rates = ((radii - 1.0)?.abs()?.sqrt()? * (0.08 / largest))?;
    let want = (&w + update.broadcast_mul(&rates)?)?;
    network.learn(&x.reshape((3, 5, 1, 1))?, 0.0)?;
    near("w", weight(&network, 0)?, &want, 1e-9)
}

#[test]
fn a_linearly_decaying_rate_ends_at_zero() -> Result<()> {
    let preset = preset("softhebb-mlp-mnist-linear-decay")?;
    let rng = Rng::new(0);
    let mut network = Network::new(&preset, (1, 28, 28), &rng, DType::F32, &Device::Cpu)?;
    let x = Rng::new(1).uniform(0.0, 1.0, (4, 1, 28, 28), DType::F32, &Device::Cpu)?;
    for (progress, rate) in [(0.0, 0.045), (0.5, 0.0225), (1.0, 0.0)] {
        let before = numbers(weight(&network, 0)?)?;
        network.learn(&x, progress)?;
        let after = numbers(weight(&network, 0)?)?;
        let pairs = before.iter().zip(&after);
        let moved = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Weights of up to 2.2 in f32 are 2.4e-7 apart.
        assert!((moved - rate).abs() < 5e-7 && (rate > 0.0 || moved == 0.0), "{moved}");
    }
    Ok(())
}

#[test]
fn an_image_too_small_names_the_block() -> Result<()> {
    let preset = preset("softhebb-cnn3-cifar")?;
    let build = |side: usize| {
        let image = (3, side, side);
        Network::new(&preset, image, &Rng::new(0), DType::F32, &Device::Cpu)
    };
    // 8 → 4 → 2 → 1 is the least; 6 → 3 → 1 leaves the third block an image of one pixel.
    assert_eq!(build(8)?.features(), 1536);
    for (side, name) in [(2, "block 0"), (3, "block 1"), (6, "block 2")] {
        let error = build(side).expect_err("too small").to_string();
        assert!(error.contains(name) && error.contains("softhebb-cnn3-cifar"), "{side}: {error}");
        assert!(error.contains(&format!("{side}x{side}")), "{side}: {error}");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let build = |config: &BlockConfig, input| alone(config, input, DType::F64);
    let dense = block(LayerConfig::Dense { units: 4 }, true, hebbian(RATE, 3.0));
    let convolution = block(conv(4, 3), true, hebbian(RATE, 3.0));
    let flat = Preset { blocks: vec![dense.clone(), convolution], ..small() };
    let error = network(&flat).expect_err("a convolution of a flat input").to_string();
    assert!(error.contains("block 1") && error.contains("images (C, H, W)"), "{error}");
    let pool = Some(Pool::Avg { kernel: 2, stride: 2, padding: 0 });
    let says = |found: Result<()>, words: &str| {
        let error = found.expect_err("accepted").to_string();
        assert!(error.contains(words), "{words:?} in {error}");
    };
    let flat = build(&BlockConfig { pool, ..dense }, (12, 1, 1));
    says(flat.map(drop), "nothing can be pooled");
    let mut groups = conv(4, 3);
    if let LayerConfig::Conv2d { groups, .. } = &mut groups {
        *groups = 2;
    }
    let odd = build(&block(groups, true, hebbian(RATE, 3.0)), (3, 8, 8));
    says(odd.map(drop), "3 input channels do not divide into 2 groups");
    build(&block(groups, true, hebbian(RATE, 3.0)), (4, 8, 8))?;

    let backprop = block(conv(4, 3), true, Learning::Backprop);
    let mut backprop = build(&backprop, (2, 16, 16))?;
    let no_rule = "block 0 learns by back-propagation";
    says(backprop.learn(&images(0)?, 0.0).map(drop).map_err(Into::into), no_rule);
    says(backprop.learn_block(0, &images(0)?, 0.0).map(drop).map_err(Into::into), no_rule);
    Ok(())
}

/// Six rows, four units, three labels. Unit 0 wins rows of labels 2, 2 and 1: label 2. Unit 1
/// wins one row of label 0 and one of label 1: the lower. Unit 2 wins one row, of label 1, though
/// its activity sums to more on label 2. Unit 3 never wins and sums to 0.3, 0.6 and 0.5.
#[test]
fn labels_of_units() -> Result<()> {
    let activity = Tensor::new(
        &[
            [0.9f32, 0.0, 0.2, 0.1], // 2
            [0.5, 0.1, 0.45, 0.4],   // 2
            [0.6, 0.2, 0.0, 0.1],    // 1
            [0.1, 0.8, 0.0, 0.3],    // 0
            [0.2, 0.7, 0.0, 0.2],    // 1
            [0.1, 0.2, 0.5, 0.3],    // 1
        ],
        &Device::Cpu,
    )?;
    let assigned = LabelAssignment::fit(&activity, &[2, 2, 1, 0, 1, 1], 3)?;
    assert_eq!(assigned.labels(), [2, 0, 1, 1]);
    assert_eq!(assigned.predict(&activity)?.to_vec1::<u32>()?, [2, 2, 2, 0, 0, 1]);
    for (labels, says) in [
        (&[2, 2, 1, 0, 1][..], "6 rows need 6 labels, found 5"),
        (&[2, 2, 1, 0, 1, 3], "label 3 is not below the number of classes, 3"),
    ] {
        let error = LabelAssignment::fit(&activity, labels, 3).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    Ok(())
}
