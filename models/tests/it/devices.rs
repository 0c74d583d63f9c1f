//! On every device, training starts from the same bits and stays close to that on the CPU.

use candle::{DType, Device, Tensor};
use candle_hebbian::ops::Dropout;
use candle_hebbian::{Rng, test_device};
use hebbian_data::transforms::Pipeline;
use hebbian_data::{Batches, digits};
use hebbian_models::{amit, ghl, golkar, k_means, krotov_hopfield, miconi, patches, softhebb};
use hebbian_train::{Learner as _, Method as _, Model as _, Start, find_preset, with_input};

pub(super) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Tensors = Vec<(String, Tensor)>;

pub(super) const STEPS: usize = 20;

/// How far weights may drift apart in [`STEPS`] steps, relative to the largest of a tensor: as for
/// the reference vectors of networks. A sum in another order differs by about 1e-6 of its largest
/// term; the compositions on a CPU stay within 1e-6.
const TOLERANCE: f64 = 1e-4;

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

/// The result of `make` with the CPU's kernels, even if this thread does without them.
fn with_kernels<T: Send>(
    device: &Device,
    make: impl FnOnce(&Device) -> Result<T> + Send,
) -> Result<T> {
    std::thread::scope(|scope| match scope.spawn(|| make(device)).join() {
        Ok(made) => made,
        Err(_) => Err("it panicked".into()),
    })
}

fn same_bits(device: &Device, make: impl Fn(&Device) -> Result<Tensors> + Send + Sync) -> Result {
    let (here, there) = (with_kernels(device, &make)?, with_kernels(&Device::Cpu, &make)?);
    assert!(!here.is_empty() && here.len() == there.len());
    for ((name, here), (_, there)) in here.iter().zip(&there) {
        assert!(here.device().same_device(device), "{name}");
        let (here, there) = (values(here)?, values(there)?);
        assert!(here.iter().any(|&value| value != 0.0) || name.contains("mean"), "{name}");
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(bits(&here) == bits(&there), "{name} starts from other bits");
    }
    Ok(())
}

/// Trains on `device` and on the CPU, which must end with tensors within [`TOLERANCE`] of each other.
fn together(
    device: &Device,
    start: impl Fn(&Device) -> Result<Tensors> + Send + Sync,
    train: impl Fn(&Device) -> Result<Tensors> + Send + Sync,
) -> Result {
    let (first, here, there) =
        (start(device)?, train(device)?, with_kernels(&Device::Cpu, &train)?);
    assert!(!here.is_empty() && here.len() == there.len());
    for ((name, here), (_, there)) in here.iter().zip(&there) {
        let (here, there) = (values(here)?, values(there)?);
        let largest = there.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
        let distance = |a: &[f64], b: &[f64]| {
            assert_eq!(a.len(), b.len(), "{name}");
            assert!(a.iter().all(|value| value.is_finite()), "{name}");
            a.iter().zip(b).fold(0.0, |largest: f64, (a, b)| largest.max((a - b).abs())) / largest
        };
        let apart = distance(&here, &there);
        assert!(apart <= TOLERANCE, "{name} is {apart:.1e} of its largest value apart");
        if let Some((_, first)) = first.iter().find(|(known, _)| known == name)
            && name.ends_with("weight")
        {
            let moved = distance(&there, &values(first)?);
            assert!(moved > 100.0 * TOLERANCE, "{name} moved by {moved:.1e} only");
        }
    }
    Ok(())
}

fn softhebb_network(device: &Device) -> Result<softhebb::Network> {
    let preset = softhebb::preset("softhebb-cnn-digits")?;
    let image = digits().train.shape();
    Ok(softhebb::Network::new(&preset, image, &Rng::new(1), DType::F32, device)?)
}

fn softhebb_20_steps(device: &Device) -> Result {
    let start = |device: &Device| Ok(softhebb_network(device)?.stack().tensors());
    same_bits(device, start)?;
    together(device, start, |device| {
        let (mut network, train) = (softhebb_network(device)?, digits().train);
        let mut rng = Rng::new(2);
        for (step, indices) in Batches::shuffled(train.len(), 10, &mut rng)?.take(STEPS).enumerate()
        {
            let (images, _) = train.batch(&indices, DType::F32, device)?;
            network.learn(&images, step as f64 / STEPS as f64)?;
        }
        Ok(network.stack().tensors())
    })
}

pub(super) fn amit_learner(device: &Device) -> Result<amit::Learner> {
    amit_learner_by(amit::Protocol::Urfb, device)
}

pub(super) fn amit_learner_by(protocol: amit::Protocol, device: &Device) -> Result<amit::Learner> {
    // A convolution, overlapping pools, dropout, dense layers.
    let mut preset = amit::preset("amit-simpnet")?;
    (preset.training.batch_size, preset.training.protocol) = (20, protocol);
    let mut splits = amit::Splits::of(&digits(), 0)?;
    splits.train = splits.train.take(STEPS * 20);
    Ok(amit::Learner::new(&preset, splits, &Rng::new(1), device)?)
}

fn amit_20_steps(device: &Device) -> Result {
    let start = |device: &Device| Ok(amit_learner(device)?.model().tensors());
    same_bits(device, start)?;
    together(device, start, |device| {
        let mut learner = amit_learner(device)?;
        for _ in 0..STEPS {
            learner.step()?;
        }
        Ok(learner.model().tensors())
    })
}

pub(super) fn miconi_learner(device: &Device) -> Result<miconi::Learner> {
    let mut preset = miconi::preset("miconi-digits")?;
    preset.input.transforms = "standardise-image".parse()?;
    preset.training.batch_size = 20;
    preset.training.burn_in_batches = 2;
    let options =
        miconi::Options { preset, decoder: miconi::Decoder::default(), standardise_last: false };
    let mut data = digits();
    data.train = data.train.take(STEPS * 20);
    let start = Start { rng: Rng::new(1), device: device.clone(), quiet: true };
    let data = with_input::<miconi::Miconi>(&options, &data, &start, None)?;
    let mut learner = miconi::Miconi::learner(&options, &data, &start)?;
    learner.begin()?;
    Ok(learner)
}

fn miconi_20_steps(device: &Device) -> Result {
    let start = |device: &Device| Ok(miconi_learner(device)?.model().tensors());
    same_bits(device, |device| {
        let mut tensors = start(device)?;
        tensors.retain(|(name, _)| !name.ends_with("threshold")); // they start at 0
        Ok(tensors)
    })?;
    together(device, start, |device| {
        let mut learner = miconi_learner(device)?;
        for _ in 0..STEPS {
            learner.step()?;
        }
        Ok(learner.model().tensors())
    })
}

pub(super) fn golkar_learner(device: &Device) -> Result<golkar::Learner> {
    let mut preset = golkar::preset("golkar-digits")?;
    preset.training.batch_size = 20;
    let task = golkar::Task::of(&preset, &digits(), device)?;
    let options = golkar::Options { preset, backprop: false };
    Ok(golkar::Learner::new(&options, task, &Rng::new(1), device)?)
}

fn golkar_20_steps(device: &Device) -> Result {
    let tensors = |learner: &golkar::Learner| {
        let mut tensors = learner.model().tensors();
        tensors.retain(|(name, _)| !name.starts_with("input.")); // the same number on every device
        tensors
    };
    let start = |device: &Device| Ok(tensors(&golkar_learner(device)?));
    same_bits(device, |device| {
        let mut tensors = start(device)?;
        tensors.retain(|(name, _)| name != "mean"); // computed, not drawn
        Ok(tensors)
    })?;
    together(device, start, |device| {
        let mut learner = golkar_learner(device)?;
        while learner.clock().images < (STEPS * 20) as u64 {
            learner.step()?;
        }
        Ok(tensors(&learner))
    })
}

pub(super) fn krotov_hopfield_learner(device: &Device) -> Result<krotov_hopfield::Learner> {
    let mut preset: krotov_hopfield::Preset = find_preset("krotov-hopfield-digits")?;
    (preset.batch_size, preset.epochs) = (20, 1);
    let mut data = digits();
    data.train = data.train.take(STEPS * 20);
    let start = Start { rng: Rng::new(1), device: device.clone(), quiet: true };
    let options = krotov_hopfield::Options { preset };
    let mut learner = krotov_hopfield::KrotovHopfield::learner(&options, &data, &start)?;
    learner.begin()?;
    Ok(learner)
}

fn krotov_hopfield_20_steps(device: &Device) -> Result {
    let start = |device: &Device| {
        let mut tensors = krotov_hopfield_learner(device)?.model().tensors();
        tensors.retain(|(name, _)| name == "weight"); // the head starts at 0
        Ok(tensors)
    };
    same_bits(device, start)?;
    together(device, start, |device| {
        let mut learner = krotov_hopfield_learner(device)?;
        for _ in 0..STEPS {
            learner.step()?;
        }
        let images = digits().test.batch(&[0, 1, 2], DType::F32, device)?.0;
        let features = learner.model().features(&images)?;
        let mut tensors = learner.model().tensors();
        tensors.retain(|(name, _)| name == "weight");
        tensors.push(("features".to_string(), features));
        Ok(tensors)
    })
}

pub(super) fn ghl_learner(device: &Device) -> Result<ghl::Learner> {
    let mut preset: ghl::Preset = find_preset("ghl-digits")?;
    preset.dropout = 0.5;
    (preset.output_norm, preset.hidden) = (true, Some(16));
    (preset.training.batch_size, preset.training.epochs) = (20, 1);
    let mut data = digits();
    data.train = data.train.take(STEPS * 20);
    let start = Start { rng: Rng::new(1), device: device.clone(), quiet: true };
    Ok(ghl::Ghl::learner(&ghl::Options { preset }, &data, &start)?)
}

/// In f64, because a sum in another order may change the sign of a gradient that is almost 0, and with it a step of any
/// size. Metal has no f64.
fn ghl_20_steps(device: &Device) -> Result {
    let drawn = |device: &Device| {
        let mut tensors = ghl_learner(device)?.model().tensors();
        tensors.retain(|(name, _)| name.ends_with("weight"));
        Ok(tensors)
    };
    same_bits(device, drawn)?;
    if device.is_metal() {
        return Ok(());
    }
    let network = |device: &Device| -> Result<ghl::Network> {
        let preset = ghl_learner(&Device::Cpu)?.model().preset().clone();
        Ok(ghl::Network::new(&preset, (1, 8, 8), 10, &Rng::new(1), DType::F64, device)?)
    };
    let start = |device: &Device| Ok(network(device)?.tensors());
    together(device, start, |device| {
        let (network, train) = (network(device)?, digits().train);
        let (mut descents, mut rng) = (ghl::Descents::new(&network)?, Rng::new(2));
        let mut masks = rng.stream("masks");
        for (step, indices) in Batches::shuffled(train.len(), 20, &mut rng)?.take(STEPS).enumerate()
        {
            let (images, labels) = train.batch(&indices, DType::F64, device)?;
            let logits = network.forward_train(&images, &mut masks)?;
            descents.set_progress(step as f64 / STEPS as f64);
            descents.step(&network.loss(&logits, &labels)?.backward()?)?;
        }
        Ok(network.tensors())
    })
}

fn k_means_features(device: &Device) -> Result {
    let features = |device: &Device| {
        let preset = k_means::Preset { patches: 1000, ..find_preset("k-means-digits")? };
        let mut data = digits();
        data.train = data.train.take(200);
        let start = Start { rng: Rng::new(1), device: device.clone(), quiet: true };
        let mut learner = k_means::KMeans::learner(&k_means::Options { preset }, &data, &start)?;
        learner.begin()?;
        let images = data.test.batch(&[0, 1, 2], DType::F32, device)?.0;
        Ok(vec![("features".to_string(), learner.model().features(&images)?)])
    };
    together(device, |_| Ok(Vec::new()), features)
}

/// The codes are soft: a hard one may flip if a score is at the threshold.
fn patches_features(device: &Device) -> Result {
    let features = |device: &Device| {
        let mut preset: patches::Preset = find_preset("patches-digits")?;
        preset.temperature = Some(2.0);
        let mut data = digits();
        data.train = data.train.take(200);
        let start = Start { rng: Rng::new(1), device: device.clone(), quiet: true };
        let options = patches::Options { preset };
        let mut learner = patches::Patches::learner(&options, &data, &start)?;
        learner.begin()?;
        let images = data.test.batch(&[0, 1, 2], DType::F32, device)?.0;
        Ok(vec![("features".to_string(), learner.model().features(&images)?)])
    };
    together(device, |_| Ok(Vec::new()), features)
}

fn batches_and_masks(device: &Device) -> Result {
    same_bits(device, |device| {
        let (train, mut rng) = (digits().train, Rng::new(3));
        let indices = Batches::shuffled(train.len(), 50, &mut rng)?.next().unwrap_or_default();
        let (images, labels) = train.batch(&indices, DType::F32, device)?;
        let crops = Pipeline::new(&"random-crop:padding=2:reflect,flip".parse()?)?;
        let train = train.with_transforms(Pipeline::default(), crops)?;
        let (cropped, _) = train.augmented_batch(&indices, &rng, "crops", DType::F32, device)?;
        let ones = Tensor::ones((50, 301), DType::F32, device)?;
        let dropped = Dropout::new(0.3)?.apply(&ones, &mut rng)?;
        let bernoulli = rng.bernoulli(0.3, (20, 30), DType::F32, device)?;
        let tensors = [
            ("images", images),
            ("labels", labels),
            ("cropped", cropped),
            ("dropout", dropped),
            ("connections", bernoulli),
        ];
        Ok(tensors.map(|(name, tensor)| (name.to_string(), tensor)).into())
    })
}

test_device!(
    softhebb_20_steps,
    amit_20_steps,
    miconi_20_steps,
    golkar_20_steps,
    krotov_hopfield_20_steps,
    ghl_20_steps,
    k_means_features,
    patches_features,
    batches_and_masks,
);
