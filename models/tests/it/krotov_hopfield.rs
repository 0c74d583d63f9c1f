//! Krotov & Hopfield 2019: the hand-worked step and head, the schedule, runs that stop and are resumed.

use crate::common::{Result, near};
use candle::{DType, Device, Tensor};
use candle_hebbian::{RankedWta, Rng};
use hebbian_data::{Dataset, digits};
use hebbian_models::krotov_hopfield::{KrotovHopfield, Learner, Network, Options, Preset};
use hebbian_train::{
    Checkpoint, Error, Learner as _, Method, Model as _, Preset as _, RunOptions, Start, Stop,
    Unsupervised as _, all_presets, find_preset, save_checkpoint, train,
};
use std::path::Path;

const CPU: &Device = &Device::Cpu;

fn preset() -> Result<Preset> {
    Ok(find_preset("krotov-hopfield-digits")?)
}

/// p = 3, Δ = 0.4, ε = 0.02; three units, two images.
mod by_hand {
    use super::*;

    const W: [[f64; 3]; 3] = [[0.5, -0.2, 0.1], [0.3, 0.4, -0.1], [-0.2, 0.1, 0.6]];

    fn network(k: usize, weights: &[[f64; 3]; 3]) -> Result<Network> {
        network_in(DType::F64, k, weights)
    }

    fn network_in(dtype: DType, k: usize, weights: &[[f64; 3]; 3]) -> Result<Network> {
        let mut preset = preset()?;
        (preset.units, preset.norm, preset.learning_rate) = (3, 3.0, 0.02);
        preset.competition = RankedWta { k, delta: 0.4 };
        let network = Network::new(&preset, 3, &Rng::new(0), dtype, CPU)?;
        network.layer().var()?.set(&Tensor::new(weights, CPU)?.to_dtype(dtype)?)?;
        Ok(network)
    }

    fn images() -> Result<Tensor> {
        let images = Tensor::new(&[[1.0, 0.5, 0.0], [0.0, 1.0, 0.5]], CPU)?;
        Ok(images.reshape((2, 1, 1, 3))?)
    }

    /// Q = (.23, .17, −.035), (−.035, .155, .19); g = (1, −.4, 0), (0, −.4, 1); Σ g Q = (.23, −.13, .19); so
    /// for unit 0 D = (1, .5, 0) − .23·(.5, −.2, .1), and so on.
    #[test]
    fn a_step() -> Result {
        let d = [0.885, 0.546, -0.023, -0.361, -0.548, -0.213, 0.038, 0.981, 0.386];
        for (progress, rate) in [(0.0, 0.02), (0.25, 0.015), (1.0, 0.0)] {
            let mut network = network(2, &W)?;
            network.learn(&images()?, progress)?;
            let want: Vec<f64> =
                W.as_flattened().iter().zip(d).map(|(w, d)| w + rate * d / 0.981).collect();
            near("W′", network.layer().weight(), &want, 1e-12)?;
        }
        let mut network = network(2, &W)?;
        network.learn(&images()?, 0.0)?;
        let first = network.layer().weight().get(0)?;
        near("W′ of unit 0", &first, &[0.5180428135, -0.1888685015, 0.0995310907], 1e-10)
    }

    /// The first of these steps in f32, and the features that follow, of an image of norm 1.
    #[test]
    fn a_step_in_f32() -> Result {
        let d = [0.885, 0.546, -0.023, -0.361, -0.548, -0.213, 0.038, 0.981, 0.386];
        let mut network = network_in(DType::F32, 2, &W)?;
        network.learn(&images()?.to_dtype(DType::F32)?, 0.0)?;
        let want: Vec<f64> =
            W.as_flattened().iter().zip(d).map(|(w, d)| w + 0.02 * d / 0.981).collect();
        near("W′", network.layer().weight(), &want, 1e-6)?;
        let image = Tensor::new(&[0f32, 0.0, 1.0], CPU)?.reshape((1, 1, 1, 3))?;
        let last = [want[2], want[5], want[8]].map(|w| w.max(0.0).powf(4.5));
        near("h", &network.features(&image)?, &last, 1e-6)
    }

    /// With k = 3, g = (1, 0, −.4), (−.4, 0, 1); Σ g Q = (.244, 0, .204). Of unit 0 D = (1, .1, −.2) −
    /// .244·(.5, −.2, .1); unit 1 stays; of unit 2 D = (−.4, .8, .5) − .204·(−.2, .1, .6). max|D| = .878.
    #[test]
    fn another_rank() -> Result {
        let d = [0.878, 0.1488, -0.2244, 0.0, 0.0, 0.0, -0.3592, 0.7796, 0.3776];
        let mut network = network(3, &W)?;
        network.learn(&images()?, 0.0)?;
        let want: Vec<f64> =
            W.as_flattened().iter().zip(d).map(|(w, d)| w + 0.02 * d / 0.878).collect();
        near("W′", network.layer().weight(), &want, 1e-12)
    }

    /// W·v = (.2, .8, −.3) for an image of twice the norm; with the paper's head, whose weights are S = (1, 2, 0),
    /// (−1, .5, 3), c = tanh(0.01·S h) and targets (1, −1), the loss Σ|c − t|⁶ is 1.9677918129.
    #[test]
    fn features_and_the_papers_head() -> Result {
        let network = network(2, &[[0.2, 0.0, 0.0], [0.8, 0.0, 0.0], [-0.3, 0.0, 0.0]])?;
        let image = Tensor::new(&[2.0, 0.0, 0.0], CPU)?.reshape((1, 1, 1, 3))?;
        let h = network.features(&image)?;
        near("h", &h, &[0.2f64.powf(4.5), 0.8f64.powf(4.5), 0.0], 1e-12)?;
        let s = Tensor::new(&[[1.0, 2.0, 0.0], [-1.0, 0.5, 3.0]], CPU)?;
        let c = (h.matmul(&s.t()?)? * 0.01)?.tanh()?;
        near("c", &c, &[0.0073341715, 0.0018246294], 1e-10)?;
        let loss = (c - Tensor::new(&[[1.0, -1.0]], CPU)?)?.powf(6.0)?.sum_all()?;
        near("loss", &loss, &[1.9677918129], 1e-9)
    }

    #[test]
    fn a_black_image_has_no_features() -> Result {
        for dtype in [DType::F64, DType::F32, DType::F16] {
            let black = Tensor::zeros((1, 1, 1, 3), dtype, CPU)?;
            near("h", &network_in(dtype, 2, &W)?.features(&black)?, &[0.0; 3], 0.0)?;
        }
        Ok(())
    }

    /// Half precision is summed in f32: 4,096 pixels of 1 have a norm of 64, and weights of 1/32 respond to them, once
    /// scaled, with 2, whose square is 4. Neither f16 nor bf16 could count so many ones. The weights have the 3-norm ½.
    #[test]
    fn many_pixels_in_half_precision() -> Result {
        let mut preset = preset()?;
        (preset.units, preset.norm, preset.power) = (2, 3.0, 2.0);
        for dtype in [DType::F16, DType::BF16] {
            let network = Network::new(&preset, 4096, &Rng::new(0), dtype, CPU)?;
            network.layer().var()?.set(&(Tensor::ones((2, 4096), dtype, CPU)? / 32.0)?)?;
            let h = network.features(&Tensor::ones((1, 1, 64, 64), dtype, CPU)?)?;
            assert_eq!(h.dtype(), dtype);
            near("h", &h, &[4.0, 4.0], 0.0)?;
            let measured = network.measure()?;
            let (name, norm) = &measured.values[0];
            assert!(name == "mean_norm" && (norm - 0.5).abs() < 1e-5, "{name} {norm}");
        }
        Ok(())
    }

    /// The feature of a unit that has diverged is NaN, and so are all features of an image with a pixel that is no
    /// number. The others are ½^4.5 and 0, for W·v = ½ and −.2.
    #[test]
    fn nan_stays() -> Result {
        let network = network(2, &[[0.5, 0.0, 0.0], [f64::NAN, 0.0, 0.0], [-0.2, 0.0, 0.0]])?;
        let images =
            Tensor::new(&[1.0, 0.0, 0.0, 1.0, f64::NAN, 0.0], CPU)?.reshape((2, 1, 1, 3))?;
        let h = network.features(&images)?.to_vec2::<f64>()?;
        assert!((h[0][0] - 0.5f64.powf(4.5)).abs() < 1e-12 && h[0][2] == 0.0, "{h:?}");
        assert!(h[0][1].is_nan() && h[1].iter().all(|h| h.is_nan()), "{h:?}");
        Ok(())
    }
}

/// With one image alone, its unit ends at x/‖x‖_p.
#[test]
fn a_unit_becomes_its_image() -> Result {
    let mut preset = preset()?;
    (preset.units, preset.norm, preset.learning_rate) = (2, 3.0, 0.02);
    let mut network = Network::new(&preset, 3, &Rng::new(1), DType::F64, CPU)?;
    network.layer().var()?.set(&Tensor::new(&[[0.3, 0.6, 0.2], [-0.1, 0.1, -0.2]], CPU)?)?;
    let image = Tensor::new(&[0.9, 0.3, 0.6], CPU)?.reshape((1, 1, 1, 3))?;
    for step in 0..2000 {
        network.learn(&image, f64::from(step) / 2000.0)?;
    }
    let norm = [0.9f64, 0.3, 0.6].iter().map(|x| x.powi(3)).sum::<f64>().cbrt();
    near("w", &network.layer().weight().get(0)?, &[0.9, 0.3, 0.6].map(|x| x / norm), 1e-3)
}

fn fresh(preset: &Preset, data: &Dataset) -> Result<Learner> {
    let start = Start { rng: Rng::new(3), device: Device::Cpu, quiet: true };
    Ok(KrotovHopfield::learner(&Options { preset: preset.clone() }, data, &start)?)
}

/// 1,442 images in batches of 500: three steps an epoch.
fn short() -> Result<Preset> {
    let mut preset = preset()?;
    (preset.units, preset.batch_size, preset.epochs, preset.head.epochs) = (20, 500, 4, 3);
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

/// The largest change of a weight is ε₀·(1 − epoch/epochs), in each step of an epoch.
#[test]
fn the_rate_falls_from_epoch_to_epoch() -> Result {
    let mut learner = fresh(&short()?, &digits())?;
    assert_eq!((learner.total().steps, learner.total().images), (12, 4 * 1442));
    for step in 0..12 {
        assert_eq!(learner.is_due(), step % 3 == 0, "{step}");
        let weight = learner.model().network.layer().weight();
        let before = weight.force_contiguous()?;
        learner.step()?;
        let after = learner.model().network.layer().weight().detach();
        let moved = (after - before)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
        let want = 0.04 * (1.0 - f64::from(step / 3) / 4.0);
        assert!((f64::from(moved) - want).abs() < 1e-6, "{step}: {moved}, expected {want}");
    }
    assert!(learner.is_due() && learner.clock() == learner.total());
    Ok(())
}

/// Training that is resumed after any step in a new learner equals uninterrupted training.
#[test]
fn resumed_is_uninterrupted() -> Result {
    let (folder, data, preset) = (tempfile::tempdir()?, digits(), short()?);
    let path = folder.path().join("state.safetensors");
    let mut whole = fresh(&preset, &data)?;
    let first = bits(&whole)?;
    (0..12).try_for_each(|_| whole.step())?;
    assert_ne!(first, bits(&whole)?);
    for stop in [0, 1, 3, 5, 11, 12] {
        let mut first = fresh(&preset, &data)?;
        (0..stop).try_for_each(|_| first.step())?;
        save_checkpoint(&path, &first.model().tensors(), &Default::default())?;
        let mut second = fresh(&preset, &data)?;
        let mut checkpoint = Checkpoint::load(&path, CPU)?;
        second.model_mut().restore(&mut checkpoint)?;
        second.go_on(first.clock(), &first.state()?.values, &mut checkpoint)?;
        (stop..12).try_for_each(|_| second.step())?;
        assert_eq!(bits(&whole)?, bits(&second)?, "{stop}");
        assert_eq!(whole.clock(), second.clock());
    }
    Ok(())
}

fn run(options: &Options, how: &RunOptions, out: &Path) -> hebbian_train::Result<Learner> {
    train::<KrotovHopfield>(options, &digits(), CPU, how, out).map(|run| run.learner)
}

/// A run that was asked to stop and is resumed ends in the bits of one that was not; a complete run can be read out for
/// longer, but its learning keeps the length that it was started with.
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
    let resume = RunOptions { resume: true, ..how };
    let resumed = run(&options, &resume, &parts)?;
    assert_eq!(bits(&whole)?, bits(&resumed)?);
    assert!(bits(&whole)?.iter().any(|(name, _)| name == "head.weight"));

    let mut longer = options.clone();
    longer.preset.head.epochs = 5;
    let longer = run(&longer, &resume, &parts)?;
    assert_eq!(bits(&whole)?[0], bits(&longer)?[0]);
    assert_ne!(bits(&whole)?[1], bits(&longer)?[1]);
    let mut other = options;
    other.preset.epochs = 5;
    let error = run(&other, &resume, &parts).err().ok_or("accepted")?.to_string();
    assert!(error.contains("epochs is 4 there, 5 here"), "{error}");
    assert!(parts.join("filters.png").exists());
    Ok(())
}

/// Competition finds better features than random weights, which err more than twice as often.
#[test]
fn digits_are_learned() -> Result {
    let folder = tempfile::tempdir()?;
    let how = RunOptions { quiet: true, ..RunOptions::default() };
    let accuracy = |epochs: usize| -> Result<f64> {
        let mut preset = preset()?;
        (preset.epochs, preset.head.epochs) = (epochs, 50);
        let out = folder.path().join(epochs.to_string());
        let options = Options { preset };
        let run = train::<KrotovHopfield>(&options, &digits(), CPU, &how, &out)?;
        Ok(run.results.test_accuracy)
    };
    let (learned, random) = (accuracy(50)?, accuracy(0)?);
    assert!(learned > 0.95 && 2.0 * (1.0 - learned) < 1.0 - random, "{learned}, random {random}");
    Ok(())
}

/// The tables of the specification: units, p, k, Δ, ε₀, batch size, epochs.
#[test]
fn presets_are_the_papers() -> Result {
    let presets = all_presets::<Preset>()?;
    let found = presets.iter().map(|one| {
        let RankedWta { k, delta } = one.competition;
        let numbers = (one.norm, delta, one.learning_rate, one.power);
        (one.name.as_str(), one.units, k, one.batch_size, one.epochs, numbers)
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("krotov-hopfield-digits", 100, 2, 10, 100, (3.0, 0.4, 0.04, 4.5)),
            ("krotov-hopfield-mnist", 2000, 7, 100, 1000, (3.0, 0.4, 0.04, 4.5)),
            ("krotov-hopfield-mnist-100", 100, 2, 100, 200, (2.0, 0.4, 0.02, 4.5)),
        ]
    );
    Ok(())
}

#[test]
fn wrong_presets_are_refused() -> Result {
    type Change = fn(&mut Preset);
    let cases: [(Change, &str); 7] = [
        (|p| p.competition.k = 1, "competition.k is 1, expected a finite number from 2 to 100"),
        (|p| p.competition.k = 101, "competition.k is 101"),
        (|p| p.competition.delta = f64::NAN, "competition.delta is NaN"),
        (|p| p.norm = 0.5, "norm is 0.5"),
        (|p| p.learning_rate = f64::INFINITY, "learning_rate is inf"),
        (|p| p.batch_size = 0, "batch_size is 0"),
        (|p| p.power = -1.0, "power is -1"),
    ];
    for (change, says) in cases {
        let mut preset = preset()?;
        change(&mut preset);
        let error = preset.validate().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(fresh(&preset, &digits()).err().ok_or("accepted")?.to_string(), error);
    }
    let mut preset = preset()?;
    preset.head.dropout = 1.5;
    let error = fresh(&preset, &digits()).err().ok_or("accepted")?.to_string();
    assert!(error.contains("1.5"), "{error}");
    (preset.head.dropout, preset.head.epochs) = (0.0, usize::MAX);
    let error = fresh(&preset, &digits()).err().ok_or("accepted")?.to_string();
    assert!(error.contains("epochs of 1442 are too many to count: give fewer epochs"), "{error}");
    Ok(())
}
