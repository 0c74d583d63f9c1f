//! The linear head against autograd, a scalar Adam and the recipe's numbers.

use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use hebbian_train::{
    Checkpoint, Error, LinearHead, LinearHeadConfig, NearestClassMean, Readout, Ridge, halvings,
    save_checkpoint,
};
use serde_json::json;

fn config(batch_size: usize, learning_rate: f64, dropout: f64) -> LinearHeadConfig {
    LinearHeadConfig { epochs: 10, batch_size, learning_rate, dropout }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

#[test]
fn schedule_of_the_released_code() {
    assert_eq!(halvings(50), [10, 17, 25, 30, 35, 40, 45]);
    assert_eq!(halvings(100), [20, 35, 50, 60, 70, 80, 90]);
    assert_eq!(halvings(200), [40, 70, 100, 120, 140, 160, 180]);
    assert_eq!(halvings(49), [24, 36]);
    assert_eq!(halvings(20), [10, 15]);
    assert!(halvings(19).is_empty());

    let features = Tensor::new(&[[1f32]], &Device::Cpu).unwrap();
    let mut rng = Rng::new(0);
    let config = LinearHeadConfig::default();
    let mut head = LinearHead::new(config, 1, 2, DType::F32, &Device::Cpu, &mut rng).unwrap();
    let rates: Vec<f64> = (0..50)
        .map(|_| head.train_epoch(&features, &[0], &mut rng).unwrap().learning_rate)
        .collect();
    // Epochs count from 1: the tenth still has the full rate, the eleventh half of it.
    assert_eq!((rates[9], rates[10], rates[16], rates[17]), (1e-3, 5e-4, 5e-4, 2.5e-4));
    assert_eq!((rates[44], rates[45], rates[49]), (1.5625e-5, 7.8125e-6, 7.8125e-6));
    // Twenty epochs have two halvings, and the rate stays when they are over.
    let short = LinearHeadConfig { epochs: 20, learning_rate: 0.5, ..Default::default() };
    let rates = [0, 9, 10, 14, 15, 20, 1000].map(|epochs| short.learning_rate_after(epochs));
    assert_eq!(rates, [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125]);
}

#[test]
fn initial_weights_fill_their_range() {
    let mut rng = Rng::new(1);
    let head =
        LinearHead::new(Default::default(), 400, 50, DType::F32, &Device::Cpu, &mut rng).unwrap();
    let tensors = head.tensors();
    assert_eq!((tensors[0].0.as_str(), tensors[0].1.dims()), ("head.weight", &[50, 400][..]));
    assert_eq!((tensors[1].0.as_str(), tensors[1].1.dims()), ("head.bias", &[50][..]));
    // U(±1/20): 20,000 draws come within a thousandth of the ends, and have a standard deviation of
    // 0.05/√3.
    let weight = flat(&tensors[0].1);
    let largest = weight.iter().fold(0f64, |largest, w| largest.max(w.abs()));
    assert!(largest <= 0.05 && largest > 0.04995, "{largest}");
    let variance = weight.iter().map(|w| w * w).sum::<f64>() / weight.len() as f64;
    assert!((variance.sqrt() - 0.05 / 3f64.sqrt()).abs() < 3e-4);
    assert!(flat(&tensors[1].1).iter().all(|b| b.abs() <= 0.05));
}

/// Three steps on the whole set: gradients by autograd, Adam entry by entry.
#[test]
fn steps_equal_autograd_and_a_scalar_adam() {
    let cpu = &Device::Cpu;
    let (n, f, classes) = (7, 5, 3);
    let mut rng = Rng::new(2);
    let x = rng.normal(0.5, 2.0, (n, f), DType::F64, cpu).unwrap();
    let labels = [0u32, 1, 2, 2, 1, 0, 2];
    let weight = rng.normal(0.0, 0.3, (classes, f), DType::F64, cpu).unwrap();
    let bias = rng.normal(0.0, 0.3, classes, DType::F64, cpu).unwrap();

    let mut head =
        LinearHead::from_tensors(config(64, 0.01, 0.0), weight.clone(), bias.clone()).unwrap();
    let (w, b) = (Var::from_tensor(&weight).unwrap(), Var::from_tensor(&bias).unwrap());
    let target = Tensor::new(&labels, cpu).unwrap();
    let mut state = vec![(0f64, 0f64); classes * f + classes];
    for t in 1..=3 {
        let logits = x.matmul(&w.t().unwrap()).unwrap().broadcast_add(&b).unwrap();
        let loss = candle_nn::loss::cross_entropy(&logits, &target).unwrap();
        let stats = head.train_epoch(&x, &labels, &mut rng).unwrap();
        assert!((stats.loss - loss.to_scalar::<f64>().unwrap()).abs() < 1e-6);

        let gradients = loss.backward().unwrap();
        let mut values = [flat(&w), flat(&b)].concat();
        let gradient =
            [flat(gradients.get(&w).unwrap()), flat(gradients.get(&b).unwrap())].concat();
        for ((value, g), (m, v)) in values.iter_mut().zip(gradient).zip(&mut state) {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let m_hat = *m / (1.0 - 0.9f64.powi(t));
            let v_hat = *v / (1.0 - 0.999f64.powi(t));
            *value -= 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
        }
        w.set(&Tensor::from_slice(&values[..classes * f], (classes, f), cpu).unwrap()).unwrap();
        b.set(&Tensor::from_slice(&values[classes * f..], classes, cpu).unwrap()).unwrap();

        let tensors = head.tensors();
        let found = [flat(&tensors[0].1), flat(&tensors[1].1)].concat();
        for (found, expected) in found.iter().zip(&values) {
            assert!((found - expected).abs() < 1e-12, "step {t}: {found} {expected}");
        }
    }
}

#[test]
fn loss_and_accuracy_are_per_sample_with_a_short_last_batch() {
    // Without learning: logits (x, 0), loss ln(1 + e^-x) for class 0 and ln(1 + e^x) for class 1.
    let cpu = &Device::Cpu;
    let weight = Tensor::new(&[[1f64], [0.]], cpu).unwrap();
    let bias = Tensor::zeros(2, DType::F64, cpu).unwrap();
    let mut head = LinearHead::from_tensors(config(2, 0.0, 0.0), weight, bias).unwrap();
    let x = Tensor::new(&[[1f64], [-2.], [3.], [-4.], [30.]], cpu).unwrap();
    let labels = [0, 1, 1, 0, 1];
    let stats = head.train_epoch(&x, &labels, &mut Rng::new(0)).unwrap();
    let loss = |x: f64| (1.0 + x.exp()).ln();
    let expected = (loss(-1.) + loss(-2.) + loss(3.) + loss(4.) + loss(30.)) / 5.0;
    assert!((stats.loss - expected).abs() < 1e-6, "{} {expected}", stats.loss);
    assert_eq!((stats.epoch, stats.accuracy), (1, 0.4));
    assert_eq!(head.accuracy(&x, &labels).unwrap(), 0.4);
    assert_eq!(head.predict(&x).unwrap().to_vec1::<u32>().unwrap(), [0, 1, 0, 1, 0]);
}

/// Ten classes in sixty dimensions, each around its own axis.
fn separable(n: usize, device: &Device) -> (Tensor, Vec<u32>) {
    let labels: Vec<u32> = (0..n).map(|i| (i % 10) as u32).collect();
    let centres: Vec<f32> = labels
        .iter()
        .flat_map(|&label| (0..60).map(move |f| if f % 10 == label { 3.0 } else { 0.0 }))
        .collect();
    let noise = Rng::new(3).normal(0.0, 0.5, (n, 60), DType::F32, device).unwrap();
    ((Tensor::from_vec(centres, (n, 60), device).unwrap() + noise).unwrap(), labels)
}

fn train(device: &Device, seed: u64, epochs: usize) -> (LinearHead, f64) {
    let (features, labels) = separable(500, device);
    let mut rng = Rng::new(seed).stream("head");
    let mut head =
        LinearHead::new(config(64, 1e-2, 0.5), 60, 10, DType::F32, device, &mut rng).unwrap();
    for _ in 0..epochs {
        head.train_epoch(&features, &labels, &mut rng).unwrap();
    }
    let accuracy = head.accuracy(&features, &labels).unwrap();
    (head, accuracy)
}

#[test]
fn a_separable_problem_is_solved() {
    assert_eq!(train(&Device::Cpu, 4, 20).1, 1.0);
}

#[test]
fn the_seed_decides_every_bit() {
    let weights = |seed| flat(&train(&Device::Cpu, seed, 2).0.tensors()[0].1);
    assert_eq!(weights(5), weights(5));
    assert_ne!(weights(5), weights(6));
}

#[test]
fn a_head_comes_back_from_its_tensors() {
    let (head, accuracy) = train(&Device::Cpu, 7, 3);
    let tensors = head.tensors();
    let [weight, bias] = [&tensors[0].1, &tensors[1].1].map(Clone::clone);
    let again = LinearHead::from_tensors(head.config().clone(), weight, bias).unwrap();
    let (features, labels) = separable(500, &Device::Cpu);
    assert_eq!(again.accuracy(&features, &labels).unwrap(), accuracy);
    assert_eq!(flat(&again.logits(&features).unwrap()), flat(&head.logits(&features).unwrap()));
}

/// With Adam's moments and the numbers of steps and epochs, a head goes on to the same bits: here in the eleventh of
/// twenty epochs, at half the rate.
#[test]
fn a_head_goes_on_from_its_state() {
    let cpu = &Device::Cpu;
    let (features, labels) = separable(50, cpu);
    let config = LinearHeadConfig { epochs: 20, ..config(16, 1e-2, 0.5) };
    let mut rng = Rng::new(8);
    let mut head = LinearHead::new(config.clone(), 60, 10, DType::F32, cpu, &mut rng).unwrap();
    for _ in 0..10 {
        head.train_epoch(&features, &labels, &mut rng).unwrap();
    }
    let state = head.state();
    // Four steps an epoch: three of sixteen images and one of two.
    assert_eq!(state.values, json!({ "step": 40, "epoch": 10 }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    save_checkpoint(&path, &state.tensors, &Default::default()).unwrap();
    let mut checkpoint = Checkpoint::load(&path, cpu).unwrap();

    let (weight, bias) = (head.weight().clone(), head.bias().clone());
    let mut again = LinearHead::from_tensors(config, weight, bias).unwrap();
    assert_eq!(again.learning_rate(), 1e-2);
    for (values, missing) in [(json!({ "step": 40 }), "epoch"), (json!({ "epoch": 10 }), "step")] {
        let error = again.go_on(&values, &mut checkpoint).unwrap_err().to_string();
        assert!(error.contains(&format!("no number {missing:?}")), "{error}");
    }
    again.go_on(&state.values, &mut checkpoint).unwrap();
    assert_eq!(again.learning_rate(), 5e-3);
    for one in [&mut head, &mut again] {
        assert_eq!(one.train_epoch(&features, &labels, &mut Rng::new(9)).unwrap().epoch, 11);
    }
    assert_eq!(flat(again.weight()), flat(head.weight()));
    assert_eq!(flat(again.bias()), flat(head.bias()));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let cpu = &Device::Cpu;
    let rng = &mut Rng::new(0);
    let x = Tensor::zeros((3, 4), DType::F32, cpu).unwrap();
    let mut head = LinearHead::new(config(2, 1e-3, 0.5), 4, 2, DType::F32, cpu, rng).unwrap();
    let error = head.train_epoch(&x, &[0, 1], rng).unwrap_err().to_string();
    assert!(error.contains("2 labels") && error.contains("[3, 4]"), "{error}");
    let error = head.train_epoch(&x, &[0, 1, 2], rng).unwrap_err().to_string();
    assert!(error.contains("label 2 is not below the number of classes, 2"), "{error}");
    let wide = Tensor::zeros((3, 5), DType::F32, cpu).unwrap();
    assert!(head.train_epoch(&wide, &[0, 1, 1], rng).is_err());
    let error = head.accuracy(&x, &[]).unwrap_err().to_string();
    assert!(error.contains("0 labels do not fit features of shape [3, 4]"), "{error}");
    let rows = Tensor::zeros((2, 1), DType::U32, cpu).unwrap();
    let error = head.train_batch(&x, &rows, 1e-3, rng).unwrap_err().to_string();
    assert!(error.contains("3 features with labels of shape [2, 1]"), "{error}");
    let mut new = |config: LinearHeadConfig, features: usize, classes: usize| {
        let head = LinearHead::new(config, features, classes, DType::F32, cpu, rng);
        head.unwrap_err().to_string()
    };
    for dropout in [-0.1, 1.0, f64::NAN] {
        let error = new(config(2, 1e-3, dropout), 4, 2);
        assert!(error.contains(&format!("dropout is {dropout}")), "{error}");
    }
    let error = new(config(0, 1e-3, 0.5), 4, 2);
    assert!(error.contains("batch_size is 0"), "{error}");
    for (features, classes) in [(4, 0), (0, 2)] {
        let error = new(config(2, 1e-3, 0.5), features, classes);
        let says = format!("weight [{classes}, {features}] and bias [{classes}]");
        assert!(error.contains(&says), "{error}");
    }
    for (rate, says) in [(-1e-3, "is -0.001"), (f64::NAN, "is NaN"), (f64::INFINITY, "is inf")] {
        let error = new(config(2, rate, 0.5), 4, 2);
        assert!(error.contains(&format!("learning_rate {says}, expected a finite")), "{error}");
    }
    let (weight, bias) = (x.clone(), Tensor::zeros(2, DType::F32, cpu).unwrap());
    let error = LinearHead::from_tensors(config(2, 1e-3, 0.5), weight, bias).unwrap_err();
    assert!(error.to_string().contains("weight [3, 4] and bias [2]"), "{error}");
    let bad = Tensor::full(f32::NAN, (3, 4), cpu).unwrap();
    let error = head.train_epoch(&bad, &[0, 1, 1], rng).unwrap_err().to_string();
    assert!(error.contains("not finite"), "{error}");
    // Logits of ±3·10³⁸, whose difference overflows. Their squared gradients do too, so that Adam moves no weight.
    let weight = Tensor::new(&[[-3f32], [3.]], cpu).unwrap();
    let bias = Tensor::zeros(2, DType::F32, cpu).unwrap();
    let mut head = LinearHead::from_tensors(config(1, 1e-3, 0.0), weight, bias).unwrap();
    let large = Tensor::new(&[[1e38f32]], cpu).unwrap();
    let error = head.train_epoch(&large, &[0], rng).unwrap_err();
    let of_loss = matches!(&error, Error::NotFinite { name, .. } if name == "the head's loss");
    assert!(of_loss, "{error}");
}

#[test]
fn presets_with_unknown_fields_are_refused() {
    let read = serde_json::from_str::<LinearHeadConfig>;
    assert_eq!(read(r#"{"epochs": 100}"#).unwrap().batch_size, 64);
    assert!(read(r#"{"epoch": 100}"#).is_err());
}

/// Features in half precision give the same learning as their widened values, to the last bit: they are widened a batch
/// at a time. The other read-outs also give the same predictions, which they make a part at a time.
#[test]
fn features_in_half_precision_are_those_values() {
    let device = &Device::Cpu;
    // More rows than are widened at once.
    let (features, labels) = separable(1500, device);
    let halves = features.to_dtype(DType::BF16).unwrap();
    let widened = halves.to_dtype(DType::F32).unwrap();
    let of = |features: &Tensor| {
        let mut rng = Rng::new(5);
        let mut head =
            LinearHead::new(config(64, 1e-2, 0.5), 60, 10, DType::F32, device, &mut rng).unwrap();
        let stats = head.train_epoch(features, &labels, &mut rng).unwrap();
        let nearest = NearestClassMean::fit(features, &labels, 10).unwrap();
        let ridge = Ridge::fit(features, &labels, 10, 1.0).unwrap();
        let predicted: [&dyn Readout; 3] = [&head, &nearest, &ridge];
        let predicted =
            predicted.map(|readout| readout.predict(features).unwrap().to_vec1::<u32>().unwrap());
        (stats, flat(head.weight()), predicted)
    };
    assert_eq!(of(&halves), of(&widened));
}

/// Sample i has feature i alone, so its weights begin to move in the step that sees it, and have moved the less at the
/// end of the epoch the later that was: by Adam's equations a gradient g in step s of eight, and 0 in the others, moves
/// a weight in step t by η·(0.1·0.9ᵗ⁻ˢ/(1 − 0.9ᵗ))/√(0.001·0.999ᵗ⁻ˢ/(1 − 0.999ᵗ)), whatever g is.
#[test]
fn each_epoch_has_an_order_of_its_own() {
    let cpu = &Device::Cpu;
    let x = Tensor::eye(8, DType::F64, cpu).unwrap();
    let labels = [0u32, 1, 0, 1, 0, 1, 0, 1];
    let moves_if_seen_in = |seen: i32| -> f64 {
        let step = |t: i32| {
            let m = 0.1 * 0.9f64.powi(t - seen) / (1.0 - 0.9f64.powi(t));
            let v = 0.001 * 0.999f64.powi(t - seen) / (1.0 - 0.999f64.powi(t));
            1e-3 * m / v.sqrt()
        };
        (seen..=8).map(step).sum()
    };
    let mut rng = Rng::new(3);
    let mut order = || -> Vec<usize> {
        let weight = Tensor::zeros((2, 8), DType::F64, cpu).unwrap();
        let bias = Tensor::zeros(2, DType::F64, cpu).unwrap();
        let mut head = LinearHead::from_tensors(config(1, 1e-3, 0.0), weight, bias).unwrap();
        head.train_epoch(&x, &labels, &mut rng).unwrap();
        let moved: Vec<f64> =
            flat(&head.weight().get(0).unwrap()).iter().map(|w| w.abs()).collect();
        let mut order: Vec<usize> = (0..8).collect();
        order.sort_by(|&one, &other| moved[other].total_cmp(&moved[one]));
        for (&sample, step) in order.iter().zip(1..) {
            let (found, want) = (moved[sample], moves_if_seen_in(step));
            assert!((found - want).abs() < 1e-6 * want, "step {step}: {found}, expected {want}");
        }
        order
    };
    let (first, second) = (order(), order());
    let unshuffled: Vec<usize> = (0..8).collect();
    assert!(first != second && first != unshuffled && second != unshuffled, "{first:?} {second:?}");
}
