//! Golkar 2020 on the digits, with rates connected to the right weights, and to the wrong ones.

use crate::common::{Result, near, refused};
use crate::numpy::Legacy;
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use hebbian_data::{Dataset, ImageSet, digits};
use hebbian_models::golkar::{
    Diagnostics, Experiment, Golkar, Learner, Nonlinearity, Optimum, Options, Preset, Rates, Rule,
    Task, Way, diagnose, preset,
};
use hebbian_train::{
    Checkpoint, Learner as _, Method, Model, Progress, Start, evaluate, one_hot, save_checkpoint,
};
use std::path::Path;

const CPU: &Device = &Device::Cpu;

fn fresh_on(data: &Dataset, preset: Preset, backprop: bool) -> Result<Learner> {
    let task = Task::of(&preset, data, CPU)?;
    Ok(Learner::new(&Options { preset, backprop }, task, &Rng::new(0), CPU)?)
}

fn fresh(preset: Preset, backprop: bool) -> Result<Learner> {
    fresh_on(&digits(), preset, backprop)
}

/// Learns to the end, or until a measurement fails.
fn learn(learner: &mut Learner) -> hebbian_train::Result<()> {
    while learner.clock().steps < learner.total().steps {
        learner.step()?;
        if learner.is_due() {
            learner.measure()?;
        }
    }
    Ok(())
}

fn learned(change: impl FnOnce(&mut Preset), backprop: bool) -> Result<(f64, Learner)> {
    let mut preset = preset("golkar-digits")?;
    change(&mut preset);
    let mut learner = fresh(preset, backprop)?;
    learn(&mut learner)?;
    Ok((learner.point()?.test_accuracy, learner))
}

/// Training that is resumed after any step in a new learner equals uninterrupted training: with a read-out of its
/// own and without, online and in batches, and by back-propagation.
#[test]
fn resumed_is_uninterrupted() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state.safetensors");
    let bits = |learner: &Learner| -> Result<Vec<(String, Vec<u64>)>> {
        let tensors = learner.model().tensors().into_iter();
        let bits = tensors.map(|(name, tensor)| {
            let values = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
            Ok((name, values.into_iter().map(f64::to_bits).collect()))
        });
        bits.collect()
    };
    for (batch, readout, backprop) in
        [(1, None, false), (7, None, false), (7, Some(0.1), false), (1, None, true)]
    {
        let mut preset = preset("golkar-digits")?;
        preset.training.epochs = 2;
        (preset.training.batch_size, preset.training.readout) = (batch, readout);
        preset.backprop.batch_size = 50;
        let mut whole = fresh(preset.clone(), backprop)?;
        learn(&mut whole)?;
        for stop in [0, 1, 5, 17] {
            let mut first = fresh(preset.clone(), backprop)?;
            for _ in 0..stop {
                first.step()?;
            }
            save_checkpoint(&path, &first.model().tensors(), &Default::default())?;
            let mut second = fresh(preset.clone(), backprop)?;
            let mut checkpoint = Checkpoint::load(&path, CPU)?;
            second.model_mut().restore(&mut checkpoint)?;
            second.go_on(first.clock(), &first.state()?.values, &mut checkpoint)?;
            learn(&mut second)?;
            assert_eq!(bits(&whole)?, bits(&second)?, "{batch} {readout:?} {stop}");
            assert_eq!(whole.point()?, second.point()?);
        }
    }
    Ok(())
}

/// The predictions of a model are those that the learner measures, with the scaling from its file.
#[test]
fn a_model_needs_no_training_set() -> Result {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    let (accuracy, learner) = learned(|preset| preset.training.epochs = 5, false)?;
    save_checkpoint(&path, &learner.model().tensors(), &Default::default())?;
    let mut preset = preset("golkar-digits")?;
    preset.training.epochs = 5;
    let options = Options { preset, backprop: false };
    let mut model = Golkar::model(&options, (1, 8, 8), 10, CPU)?;
    model.restore(&mut Checkpoint::load(&path, CPU)?)?;
    let test = hebbian_data::digits().test;
    let mut silent = Progress::new(0, "", true);
    let found = evaluate(&model, &test, 10, CPU, &mut silent)?;
    assert_eq!(found.accuracy, accuracy);
    let (images, _) = test.batch(&[0, 1, 2], DType::F32, CPU)?;
    assert_eq!(model.features(&images)?.dims(), [3, 64]);
    Ok(())
}

/// Ink from 0 to 16 and labels of scikit-learn's digits, in the order of `RandomState(0).permutation(1797)`: 1,297 to
/// learn, then 500 to test with.
fn scikit_learns() -> Result<(Vec<u8>, Vec<u32>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/hebbian-data/data/digits.bin");
    let records = std::fs::read(file)?;
    let (records, _) = records.as_chunks::<65>();
    let order = Legacy::new(0).permutation(records.len());
    let ink = order.iter().flat_map(|&at| records[at][1..].to_vec()).collect();
    Ok((ink, order.iter().map(|&at| u32::from(records[at][0])).collect()))
}

fn scikit_learns_split() -> Result<Dataset> {
    let (ink, labels) = scikit_learns()?;
    // The circuit's inputs are standardised, so ink needs no other scale.
    let set = |rows: std::ops::Range<usize>| {
        let pixels = ink[rows.start * 64..rows.end * 64].to_vec();
        ImageSet::new(pixels, labels[rows].to_vec(), 1, 8, 8)
    };
    Ok(Dataset { train: set(0..1297)?, test: set(1297..1797)?, ..digits() })
}

fn diagnosed(learner: &Learner) -> Result<Diagnostics> {
    let Rule::Local { circuit, .. } = &learner.model().rule else {
        return Err("no circuit".into());
    };
    Ok(diagnose(circuit, &learner.task().train)?)
}

/// The best losses with two, four and eight hidden units, computed independently with NumPy.
#[test]
fn optima_of_the_digits() -> Result {
    let (ink, labels) = scikit_learns()?;
    let ink: Vec<f64> = ink[..1297 * 64].iter().map(|&ink| f64::from(ink)).collect();
    let ink = Tensor::from_vec(ink, (1297, 64), CPU)?;
    let mean = ink.mean_all()?;
    let apart = ink.broadcast_sub(&mean)?;
    let x = apart.broadcast_div(&apart.sqr()?.mean_all()?.sqrt()?)?;
    let y = (one_hot(&labels[..1297], 10, DType::F64, CPU)? - 0.1)?;
    let known = [(2, 0.7278595032117314), (4, 0.5696088451427542), (8, 0.34264194678240467)];
    for (k, want) in known {
        let found = Optimum::of(&x, &y, k, 0.0)?.loss;
        assert!((found - want).abs() < 1e-12, "k = {k}: {found}, expected {want}");
    }
    Ok(())
}

#[test]
fn linear_circuits_come_near_the_optimum() -> Result {
    let data = scikit_learns_split()?;
    for (k, most) in [(4, 0.005), (8, 0.015)] {
        let mut preset = preset("golkar-digits")?;
        (preset.units, preset.circuit.nonlinearity) = (k, Nonlinearity::Identity);
        preset.circuit.mean_rate = 0.0;
        let mut learner = fresh_on(&data, preset, false)?;
        learn(&mut learner)?;
        let gap = learner.point()?.loss - learner.task().linear_optimum()?;
        assert!((0.0..=most).contains(&gap), "k = {k}: {gap}");
        let spectrum = diagnosed(&learner)?.spectrum;
        assert!(spectrum.iter().all(|value| (0.9..=1.1).contains(value)), "k = {k}: {spectrum:?}");
    }
    Ok(())
}

#[test]
fn the_circuit_keeps_up_with_backprop() -> Result {
    let data = scikit_learns_split()?;
    let mut learner = fresh_on(&data, preset("golkar-digits")?, false)?;
    learn(&mut learner)?;
    let mut backprop = fresh_on(&data, preset("golkar-digits")?, true)?;
    learn(&mut backprop)?;
    let [bmvr, backprop] = [learner.point()?.test_accuracy, backprop.point()?.test_accuracy];
    assert!(bmvr >= 0.965 && backprop >= 0.97, "{bmvr} {backprop}");
    assert!(backprop - bmvr <= 0.02, "{bmvr} {backprop}");
    // The constraint is tight in the nine directions that tell classes apart, and in no other.
    let Diagnostics { spectrum, alignment, .. } = diagnosed(&learner)?;
    assert!(alignment >= 0.9, "{alignment}");
    assert!(spectrum[0] <= 1.08 && spectrum[8] >= 0.84 && spectrum[9] < 0.75, "{spectrum:?}");
    Ok(())
}

/// The hidden layer has to learn: random basal weights carry far less to the apical read-out.
#[test]
fn random_basal_weights_are_worse() -> Result {
    let random = |preset: &mut Preset| {
        preset.training.epochs = 30;
        preset.training.rates.w1 = 0.0;
    };
    let accuracy = learned(random, false)?.0;
    assert!((0.6..0.9).contains(&accuracy), "{accuracy}");
    Ok(())
}

#[test]
fn without_interneurons_the_run_stops_with_advice() -> Result {
    let mut preset = preset("golkar-digits")?;
    preset.training.rates.q = 0.0;
    preset.training.epochs = 100;
    let mut learner = fresh(preset, false)?;
    if let Rule::Local { circuit, .. } = &learner.model().rule {
        circuit.q().set(&Tensor::zeros((64, 64), DType::F32, CPU)?)?;
    }
    let error = learn(&mut learner).err().ok_or("it never stopped")?.to_string();
    assert!(error.contains("diverged") && error.contains("rates.q above 0"), "{error}");
    Ok(())
}

#[test]
fn a_decoupled_circuit_has_no_ridge() -> Result {
    let wrong = |preset: &mut Preset| {
        (preset.circuit.decoupled, preset.circuit.ridge) = (true, 0.1);
        preset.training.way = Way::Explicit;
    };
    let error = learned(wrong, false).err().ok_or("it went well")?.to_string();
    assert!(error.contains("decoupled") && error.contains("0.1"), "{error}");
    Ok(())
}

/// `Q (k, k)` of 2³¹ − 1 units would take more memory than there is anywhere.
#[test]
fn too_many_units_are_refused_before_they_take_memory() -> Result {
    for units in [65_537, 2_147_483_647] {
        let wrong = |preset: &mut Preset| preset.units = units;
        let error = learned(wrong, false).err().ok_or("it went well")?.to_string();
        assert!(error.contains(&units.to_string()) && error.contains("65536"), "{error}");
    }
    Ok(())
}

/// Where `Q` is 0, `Qᵀz` and so `ΔQ` are 0: it stays 0, and nothing would hold the basal weights.
#[test]
fn interneurons_without_weights_are_refused() -> Result {
    let wrong = |preset: &mut Preset| preset.initial.q = 0.0;
    let error = learned(wrong, false).err().ok_or("it went well")?.to_string();
    assert!(error.contains("initial.q is 0, expected a number above 0"), "{error}");
    Ok(())
}

/// The check makes no samples, and refuses what the learner refuses.
#[test]
fn a_circuit_is_checked_as_it_is_made() -> Result {
    let start = Start { rng: Rng::new(0), device: Device::Cpu, quiet: true };
    let one_class = Dataset { class_names: vec!["zero".to_string()], ..digits() };
    let no_test = Dataset { test: digits().test.take(0), ..digits() };
    for (units, epochs, data, problem) in [
        (64, 1, digits(), None),
        (0, 1, digits(), Some("units: found 0")),
        (64, usize::MAX, digits(), Some("too many to count")),
        (64, 1, one_class, Some("labels below 1")),
        (64, 1, no_test, Some("0 test images")),
    ] {
        let mut preset = preset("golkar-digits")?;
        (preset.units, preset.training.epochs) = (units, epochs);
        let options = Options { preset, backprop: false };
        let made = Golkar::learner(&options, &data, &start).map(drop);
        for outcome in [Golkar::check(&options, &data, &start), made] {
            let error = outcome.err().map(|error| error.to_string());
            let is_right = match (&error, problem) {
                (Some(error), Some(problem)) => error.contains(problem),
                (error, problem) => error.is_none() && problem.is_none(),
            };
            assert!(is_right, "{error:?}, expected {problem:?}");
        }
    }
    Ok(())
}

/// Every network is checked before the experiment replaces another one.
#[test]
fn a_refused_experiment_leaves_the_earlier_one() -> Result {
    for (experiment, says) in [
        (Experiment::Digits, "the network 'golkar-digits-linear BMVR' cannot be trained: "),
        (Experiment::Alignment, "epochs of 1442"),
    ] {
        let error = refused(|study| experiment.run(study, &digits()))?;
        assert!(error.contains(says) && error.contains("too many to count"), "{error}");
    }
    Ok(())
}

#[test]
fn rates_that_are_too_high_are_named() -> Result {
    for (w1, w2, backprop, advice) in [
        (0.1, 5.0, false, "lower rates.w2 (5) and rates.q (0.02) to at most rates.w1/5 (0.02)"),
        (50.0, 0.02, false, "lower rates.w1 (50)"),
        (0.1, 0.02, true, "lower back-propagation's rate (50, --rate)"),
    ] {
        let wrong = |preset: &mut Preset| {
            // Rectified units may die instead.
            preset.circuit.nonlinearity = Nonlinearity::Identity;
            preset.training.epochs = 3;
            preset.training.rates.w1 = w1;
            preset.training.rates.w2 = w2;
            preset.backprop.rate = 50.0;
        };
        let error = learned(wrong, backprop).err().ok_or("it went well")?.to_string();
        assert!(error.contains("diverged") && error.contains(advice), "{error}");
    }
    Ok(())
}

/// With η₂ = η₁ there is no damping.
#[test]
fn equal_rates_are_worse() -> Result {
    let short = |preset: &mut Preset| preset.training.epochs = 20;
    let equal = |preset: &mut Preset| {
        preset.training.epochs = 20;
        preset.training.rates.w2 = preset.training.rates.w1;
        preset.training.rates.q = preset.training.rates.w1;
    };
    let good = learned(short, false)?.0;
    // The run diverges, or is clearly worse.
    match learned(equal, false) {
        Ok((accuracy, ..)) => assert!(accuracy < good - 0.01, "{accuracy} {good}"),
        Err(error) => assert!(error.to_string().contains("diverged"), "{error}"),
    }
    Ok(())
}

/// Weights that are loaded learn from the images at hand, as these are scaled; so the saved model classifies as
/// measured.
#[test]
fn loaded_weights_keep_the_scaling_of_the_images() -> Result {
    let folder = tempfile::tempdir()?;
    let [few, loaded] = ["few", "loaded"].map(|name| folder.path().join(name));
    let all = digits();
    // Eights are blacker than others.
    let eights = (0..all.train.len()).filter(|&at| all.train.labels()[at] == 8).collect::<Vec<_>>();
    let few_images = Dataset { train: all.train.select(&eights)?, ..digits() };
    let mut preset = preset("golkar-digits")?;
    preset.training.epochs = 2;
    let other = fresh_on(&few_images, preset.clone(), false)?;
    save_checkpoint(&few, &other.model().tensors(), &Default::default())?;
    let mut learner = fresh_on(&all, preset.clone(), false)?;
    let scaling = learner.model().scaling;
    assert!((other.model().scaling.mean - scaling.mean).abs() > 0.01);
    learner.start_from(&mut Checkpoint::load(&few, CPU)?)?;
    assert_eq!(learner.model().scaling, scaling);
    learn(&mut learner)?;
    save_checkpoint(&loaded, &learner.model().tensors(), &Default::default())?;
    let options = Options { preset, backprop: false };
    let mut model = Golkar::model(&options, (1, 8, 8), 10, CPU)?;
    model.restore(&mut Checkpoint::load(&loaded, CPU)?)?;
    let mut silent = Progress::new(0, "", true);
    let found = evaluate(&model, &all.test, 10, CPU, &mut silent)?;
    assert_eq!(found.accuracy, learner.point()?.test_accuracy);
    Ok(())
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// A learner for four digits in batches of `batch`, with rates that halve after two samples.
fn halving(batch: usize, readout: Option<f64>, backprop: bool) -> Result<Learner> {
    let mut preset = preset("golkar-digits")?;
    let four = Dataset { train: digits().train.take(4), ..digits() };
    preset.training.half_time = Some(2.0);
    preset.training.batch_size = batch;
    preset.training.readout = readout;
    preset.training.epochs = 1;
    preset.backprop.half_time = Some(6.0);
    preset.backprop.batch_size = batch;
    fresh_on(&four, preset, backprop)
}

/// The samples of an epoch in the order in which they are learned, in batches.
fn in_order(learner: &Learner, batch: usize) -> Result<Vec<(Tensor, Tensor)>> {
    let train = &learner.task().train;
    let order = Rng::new(0).stream("order.0").permutation(train.count());
    let batches = order.chunks(batch).map(|batch| {
        let at = Tensor::new(batch.iter().map(|&at| at as u32).collect::<Vec<_>>(), CPU)?;
        Ok((train.x.index_select(&at, 0)?, train.y.index_select(&at, 0)?))
    });
    batches.collect()
}

/// The rate after `t` samples is `η/(1 + t/t₀)`: for t₀ = 2 and samples one by one, it is η times 1, 2/3, 1/2 and 2/5,
/// whether the samples are learned on the host or, beside a read-out, as tensors. The read-out learns by the delta
/// rule, `ΔM = ρ(y − Mz)zᵀ`, and its t₀ is 6.
#[test]
fn the_rate_falls_with_every_sample() -> Result {
    for readout in [None, Some(0.1)] {
        let mut learner = halving(1, readout, false)?;
        let samples = in_order(&learner, 1)?;
        let Rule::Local { circuit: mut wanted, readout: start } =
            halving(1, readout, false)?.into_model().rule
        else {
            panic!("a circuit");
        };
        let Rates { w1, w2, q } = preset("golkar-digits")?.training.rates;
        let mut wanted_readout = start;
        let factors = [1.0, 2.0 / 3.0, 0.5, 0.4];
        let readout_factors = [1.0, 6.0 / 7.0, 0.75, 2.0 / 3.0];
        for ((x, y), (factor, of_readout)) in
            samples.iter().zip(factors.into_iter().zip(readout_factors))
        {
            if let Some(m) = &mut wanted_readout {
                let z = wanted.forward(x)?;
                let error = (y - z.matmul(&m.t()?)?)?;
                *m = (&*m + (error.t()?.matmul(&z)? * (0.1 * of_readout))?)?;
            }
            let rates = Rates { w1: factor * w1, w2: factor * w2, q: factor * q };
            wanted.step(x, y, rates, Way::Explicit)?;
        }
        learn(&mut learner)?;
        let Rule::Local { circuit, readout: found } = &learner.model().rule else {
            panic!("a circuit")
        };
        for ((name, got), (_, want)) in circuit.tensors().iter().zip(wanted.tensors()) {
            near(name, got, &numbers(&want)?, 1e-6)?;
        }
        assert_eq!(found.is_some(), readout.is_some());
        if let (Some(found), Some(want)) = (found, &wanted_readout) {
            near("M", found, &numbers(want)?, 1e-6)?;
        }
    }
    Ok(())
}

/// Back-propagation has a schedule of its own: with t₀ = 6 and batches of two, the second step has 3/4 of the rate.
#[test]
fn the_rate_of_back_propagation_is_its_own() -> Result {
    let mut learner = halving(2, None, true)?;
    let batches = in_order(&learner, 2)?;
    let Rule::Backprop(mut wanted) = halving(2, None, true)?.into_model().rule else {
        panic!("back-propagation");
    };
    for ((x, y), rate) in batches.iter().zip([0.05, 0.0375]) {
        wanted.step(x, y, (rate, rate))?;
    }
    learn(&mut learner)?;
    for ((name, got), (_, want)) in learner.model().tensors().iter().zip(wanted.tensors()) {
        near(name, got, &numbers(&want)?, 1e-7)?;
    }
    Ok(())
}
