//! The paper's head on patches: the same as convolutions and batch norm written out, and as one linear map.

use crate::common::{self, Result};
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use hebbian_data::digits;
use hebbian_models::patches::{FactorisedHead, HeadConfig, Options, Patches, Preset, Weights};
use hebbian_train::{
    Learner, Model, Preset as _, RunFolder, RunOptions, Start, find_preset, train,
};

const CPU: &Device = &Device::Cpu;
const IMAGES: usize = 5;
const SIDE: usize = 4;
const CHANNELS: usize = 6;
const CLASSES: usize = 3;

fn config() -> HeadConfig {
    HeadConfig { bottleneck: 2, kernel: 3, ..HeadConfig::default() }
}

fn weights() -> Result<Weights> {
    let head = FactorisedHead::new(&config(), SIDE, CHANNELS)?;
    let weights = head.weights(CLASSES, &Rng::new(3), CPU)?;
    // Not where batch norm begins.
    for (var, name) in [(&weights.gamma, "gamma"), (&weights.beta, "beta")] {
        var.set(&Rng::new(3).stream(name).normal(0.7, 0.5, CHANNELS, DType::F32, CPU)?)?;
    }
    Ok(weights)
}

fn averages(name: &str) -> Result<Tensor> {
    let shape = (IMAGES, SIDE * SIDE * CHANNELS);
    Ok(Rng::new(5).stream(name).uniform(0.0, 1.0, shape, DType::F32, CPU)?)
}

/// The head as the paper has it, on averages `(B, C, S, S)` with these statistics: batch norm, a 1×1 convolution for
/// each half of the channels, their sum, a 3×3 convolution, and the mean over places.
fn written_out(
    weights: &Weights,
    x: &Tensor,
    (mean, var): (&Tensor, &Tensor),
) -> candle::Result<Tensor> {
    let column = |tensor: &Tensor| tensor.reshape((1, (), 1, 1));
    let x = x.reshape((IMAGES, SIDE, SIDE, CHANNELS))?.permute((0, 3, 1, 2))?.contiguous()?;
    let x = x.broadcast_sub(&column(mean)?)?.broadcast_div(&column(&(var + 1e-5)?.sqrt()?)?)?;
    let x = x.broadcast_mul(&column(&weights.gamma)?)?.broadcast_add(&column(&weights.beta)?)?;
    let half = CHANNELS / 2;
    let one = |at: usize| -> candle::Result<Tensor> {
        let weight = weights.first.narrow(1, at * half, half)?.contiguous()?;
        let x = x.narrow(1, at * half, half)?.contiguous()?;
        let h = x.conv2d(&weight.reshape(((), half, 1, 1))?, 0, 1, 1, 1)?;
        h.broadcast_add(&column(&weights.first_bias.get(at)?)?)
    };
    let h = (one(0)? + one(1)?)?;
    let second = weights.second.reshape((CLASSES, 3, 3, ()))?.permute((0, 3, 1, 2))?;
    let scores = h.conv2d(&second.contiguous()?, 0, 1, 1, 1)?;
    scores.flatten_from(2)?.mean(2)?.broadcast_add(&weights.second_bias)
}

/// The mean and the variances, biased and not, of each channel.
fn moments(x: &Tensor) -> candle::Result<[Tensor; 3]> {
    let rows = x.reshape(((), CHANNELS))?;
    let count = rows.dim(0)? as f64;
    let mean = rows.mean(0)?;
    let squares = rows.broadcast_sub(&mean)?.sqr()?.sum(0)?;
    Ok([mean, (&squares / count)?, (squares / (count - 1.0))?])
}

fn near(name: &str, found: &Tensor, want: &Tensor) -> Result {
    let want = want.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    let size = want.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    common::near(name, found, &want, 1e-5 * (1.0 + size))
}

#[test]
fn scores_and_gradients_are_those_of_the_convolutions() -> Result {
    let (mut weights, x) = (weights()?, averages("batch")?);
    let [mean, var, _] = moments(&x)?;
    let other = Rng::new(9).normal(0.0, 1.0, (IMAGES, CLASSES), DType::F32, CPU)?;
    let gradients = |scores: &Tensor, vars: [&Var; 6]| -> Result<Vec<Tensor>> {
        let store = (scores * &other)?.sum_all()?.backward()?;
        Ok(vars.iter().map(|var| store.get(var).expect("a gradient").clone()).collect())
    };
    let want = written_out(&weights, &x, (&mean, &var))?;
    let slopes = gradients(&want, weights.vars())?;
    let found = weights.forward_train(&x)?;
    near("scores", &found, &want)?;
    for (at, (found, want)) in gradients(&found, weights.vars())?.iter().zip(&slopes).enumerate() {
        near(&format!("gradient {at}"), found, want)?;
    }
    Ok(())
}

/// Averages whose squares are infinite have no variance, rather than one of 0: their mean square less the square of
/// their mean is ∞ − ∞.
#[test]
fn averages_that_are_too_large_give_nan() -> Result {
    let mut weights = weights()?;
    let x = (averages("batch")? * 1e30)?;
    let scores = weights.forward_train(&x)?.flatten_all()?.to_vec1::<f32>()?;
    assert!(scores.iter().all(|score| score.is_nan()), "{scores:?}");
    Ok(())
}

/// The statistics move by a tenth towards each batch; in evaluation the head is one linear map with them.
#[test]
fn folded_into_one_linear_map() -> Result {
    let mut weights = weights()?;
    let mut running =
        [Tensor::zeros(CHANNELS, DType::F32, CPU)?, Tensor::ones(CHANNELS, DType::F32, CPU)?];
    for name in ["one", "two"] {
        let x = averages(name)?;
        weights.forward_train(&x)?;
        let [mean, _, unbiased] = moments(&x)?;
        running =
            [((&running[0] * 0.9)? + (mean * 0.1)?)?, ((&running[1] * 0.9)? + (unbiased * 0.1)?)?];
    }
    let x = averages("three")?;
    let want = written_out(&weights, &x, (&running[0], &running[1]))?.detach();
    near("scores", &weights.folded()?.scores(&x)?, &want)
}

/// Batch norm begins as the identity, and weights and biases as PyTorch's do: uniform in ±1/√fan-in, where the fan-in
/// is `N` for the 1×1 convolutions and 36·128 for the one of 6×6. The largest of `n` draws is above `1 − 20/n` of the
/// bound, except with probability e⁻²⁰, and their mean square is a third of its square, to four standard errors.
#[test]
fn weights_begin_as_pytorchs() -> Result {
    let units = 2048;
    let head = FactorisedHead::new(&HeadConfig::default(), 6, 2 * units)?;
    let weights = head.weights(10, &Rng::new(7), CPU)?;
    let numbers =
        |var: &Var| -> Result<Vec<f64>> { Ok(var.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?) };
    assert!(numbers(&weights.gamma)?.iter().all(|&gamma| gamma == 1.0));
    assert!(numbers(&weights.beta)?.iter().all(|&beta| beta == 0.0));
    for (name, var, count, fan_in) in [
        ("first", &weights.first, 128 * 2 * units, units),
        ("biases of first", &weights.first_bias, 2 * 128, units),
        ("second", &weights.second, 10 * 36 * 128, 36 * 128),
        ("bias of second", &weights.second_bias, 10, 36 * 128),
    ] {
        let (values, bound) = (numbers(var)?, 1.0 / (fan_in as f64).sqrt());
        assert_eq!(values.len(), count, "{name}");
        let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs())) / bound;
        let least = (1.0 - 20.0 / count as f64).max(0.0);
        assert!(largest <= 1.0 + 1e-6 && largest > least, "{name}: {largest}");
        let squares = values.iter().map(|value| (value / bound).powi(2)).sum::<f64>();
        let (mean, error) = (squares / count as f64, (4.0 / 45.0 / count as f64).sqrt());
        assert!((mean - 1.0 / 3.0).abs() < 4.0 * error, "{name}: {mean}");
    }
    Ok(())
}

/// The numbers of parameters that the authors log.
#[test]
fn so_many_parameters() -> Result {
    for (units, side, count) in [(2048, 6, 578_826), (16_384, 9, 4_306_186)] {
        let head = FactorisedHead::new(&HeadConfig::default(), side, 2 * units)?;
        let weights = head.weights(10, &Rng::new(0), CPU)?;
        let found: usize = weights.vars().iter().map(|var| var.elem_count()).sum();
        assert_eq!(found, count);
    }
    Ok(())
}

fn preset(epochs: usize) -> Result<Preset> {
    let head = HeadConfig {
        bottleneck: 16,
        kernel: 2,
        epochs,
        batch_size: 32,
        learning_rate: 0.01,
        drops: vec![3],
        ..HeadConfig::default()
    };
    let digits = find_preset::<Preset>("patches-digits")?;
    Ok(Preset { windows: Some((2, 2)), alphas: Vec::new(), head: Some(head), ..digits })
}

#[test]
fn digits_are_read_out() -> Result {
    let folder = tempfile::tempdir()?;
    let how = RunOptions { quiet: true, device: "cpu".to_string(), ..RunOptions::default() };
    let once = |name: &str| -> Result<_> {
        let out = folder.path().join(name);
        Ok(train::<Patches>(&Options { preset: preset(4)? }, &digits(), CPU, &how, &out)?)
    };
    let (run, same) = (once("one")?, once("two")?);
    assert!(run.results.test_accuracy > 0.95, "{}", run.results.test_accuracy);
    assert_eq!(run.results.test_accuracy, same.results.test_accuracy);
    let history = RunFolder::history(folder.path().join("one"))?;
    assert_eq!(
        history.0.iter().filter(|line| line.values.contains_key("train_accuracy")).count(),
        4
    );
    // The read-out belongs to the model.
    let test = digits().test;
    let (images, labels) = test.batch(&(0..test.len()).collect::<Vec<_>>(), DType::F32, CPU)?;
    let right = run.learner.model().predict(&images)?.eq(&labels)?.to_dtype(DType::F32)?;
    let accuracy = f64::from(right.mean_all()?.to_scalar::<f32>()?);
    assert!((accuracy - run.results.test_accuracy).abs() < 1e-6, "{accuracy}");
    Ok(())
}

#[test]
fn heads_that_are_wrong_are_refused() -> Result {
    let right = preset(1)?;
    right.validate()?;
    let head = right.head.clone().expect("a head");
    let with = |head: HeadConfig| Preset { head: Some(head), ..right.clone() };
    for wrong in [
        Preset { alphas: vec![1.0], ..right.clone() },
        Preset { head: None, ..right.clone() },
        with(HeadConfig { bottleneck: 0, ..head.clone() }),
        with(HeadConfig { kernel: 0, ..head.clone() }),
        with(HeadConfig { epochs: 0, ..head.clone() }),
        with(HeadConfig { batch_size: 0, ..head.clone() }),
        with(HeadConfig { learning_rate: f64::NAN, ..head.clone() }),
        with(HeadConfig { momentum: 1.0, ..head.clone() }),
    ] {
        let error = wrong.validate().unwrap_err().to_string();
        assert!(error.contains("head"), "{error}");
    }
    let options = Options { preset: with(HeadConfig { kernel: 4, ..head }) };
    let start = Start { rng: Rng::new(0), device: CPU.clone(), quiet: true };
    let refused = <Patches as hebbian_train::Method>::learner(&options, &digits(), &start);
    let error = refused.map(drop).unwrap_err().to_string();
    assert!(error.contains("kernel is 4, expected 1 to 3"), "{error}");
    Ok(())
}

/// One batch an epoch, and two epochs: the head learns by `v ← μ·v + g` and `w ← w − η·v`. Without a drop, the second
/// step is η·(μ·g₀ + g₁). After a drop, η is a tenth and v begins at 0 again, so it is η·g₁/10.
#[test]
fn momentum_begins_again_when_the_rate_drops() -> Result {
    const COUNT: usize = 100;
    let folder = tempfile::tempdir()?;
    let mut data = digits();
    (data.train, data.test) = (data.train.take(COUNT), data.test.take(20));
    let how = RunOptions { quiet: true, device: "cpu".to_string(), ..RunOptions::default() };
    let (images, labels) = data.train.batch(&(0..COUNT).collect::<Vec<_>>(), DType::F32, CPU)?;
    for (name, drops, momentum, rate) in
        [("a drop", vec![1], 0.0f64, 0.005), ("none", vec![], 0.9, 0.05)]
    {
        let head = preset(2)?.head.expect("a head");
        let head =
            HeadConfig { batch_size: COUNT, learning_rate: 0.05, momentum: 0.9, drops, ..head };
        let recipe = Preset { head: Some(head.clone()), ..preset(2)? };
        let options = Options { preset: recipe.clone() };
        let run = train::<Patches>(&options, &data, CPU, &how, &folder.path().join(name))?;
        let tensors = run.learner.model().tensors().into_iter();
        let found = tensors.filter(|(name, _)| name.starts_with("head"));
        let found = found.map(|(_, tensor)| tensor.flatten_all());
        let found = Tensor::cat(&found.collect::<candle::Result<Vec<_>>>()?, 0)?;

        // Features are kept in 16 bits. Windows of 2×2, 2 apart, make a map of 3×3 averages.
        let x =
            run.learner.model().features(&images)?.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let mut weights = FactorisedHead::new(&head, 3, 2 * recipe.units)?.weights(
            data.class_names.len(),
            &Rng::new(how.seed),
            CPU,
        )?;
        let gradients = |weights: &mut Weights| -> Result<Vec<Tensor>> {
            let scores = weights.forward_train(&x)?;
            let store = candle_nn::loss::cross_entropy(&scores, &labels)?.backward()?;
            let vars = weights.vars();
            Ok(vars.iter().map(|var| store.get(var).expect("a gradient").detach()).collect())
        };
        let descend = |weights: &Weights, velocities: &[Tensor], rate: f64| -> Result {
            for (var, velocity) in weights.vars().into_iter().zip(velocities) {
                var.set(&(var.as_detached_tensor() - (velocity * rate)?)?)?;
            }
            Ok(())
        };
        let folded = |weights: &Weights| -> Result<Tensor> {
            let [(_, weight), (_, bias)] = weights.folded()?.tensors();
            Ok(Tensor::cat(&[weight.flatten_all()?, bias], 0)?)
        };
        let first = gradients(&mut weights)?;
        descend(&weights, &first, 0.05)?;
        let second = gradients(&mut weights)?;
        let before = folded(&weights)?;
        let velocities = first.iter().zip(&second).map(|(g0, g1)| (g0 * momentum)? + g1);
        descend(&weights, &velocities.collect::<candle::Result<Vec<_>>>()?, rate)?;
        let want = folded(&weights)?;

        let size = |difference: Tensor| -> Result<f64> {
            Ok(f64::from(difference.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?))
        };
        let (step, off) = (size((&want - &before)?)?, size((&found - &want)?)?);
        assert!(step > 0.0 && off < 0.02 * step, "{name}: {off}, after a step of {step}");
    }
    Ok(())
}
