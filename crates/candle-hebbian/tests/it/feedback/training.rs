//! What the update rules imply for any number of steps.

use super::*;
use crate::largest::largest;
use candle::Module;
use candle_hebbian::HingeHebb;
use candle_hebbian::ops::{Edge, Ties, max_pool2d_same, ramp};
use candle_nn::Optimizer;

/// Two convolutions with a pool between them, a dense layer and a class layer. Their draws depend
/// on the seed only; `W` and `R` have separate streams.
pub struct Net {
    pub layers: Vec<FeedbackLayer>,
    pairing: Pairing,
}

const SHAPES: [&[usize]; 4] = [&[4, 1, 3, 3], &[4, 4, 2, 2], &[8, 36], &[3, 8]];

impl Net {
    fn new(protocol: Protocol, dtype: DType) -> Result<Self> {
        let make = |w: &Tensor, r: &Tensor, geometry| layer(w, r, geometry, protocol);
        Self::of(make, protocol.pairing(), dtype)
    }

    pub fn with(config: FeedbackConfig, dtype: DType) -> Result<Self> {
        let make = |w: &Tensor, r: &Tensor, geometry| {
            FeedbackLayer::from_tensors(w, Some(r), geometry, config)
        };
        Self::of(make, Pairing::Independent, dtype)
    }

    fn of(
        make: impl Fn(&Tensor, &Tensor, Geometry) -> Result<FeedbackLayer>,
        pairing: Pairing,
        dtype: DType,
    ) -> Result<Self> {
        let layers = SHAPES.iter().enumerate().map(|(i, shape)| {
            let draw = |what| {
                let mut rng = Rng::new(13).stream(&format!("{what} {i}"));
                rng.draw(init::glorot_uniform(*shape), *shape, dtype, CPU)
            };
            let geometry = match shape {
                &&[_, _, kernel, _] => Geometry::Conv2d(Conv2dConfig::same(kernel)),
                _ => Geometry::Dense,
            };
            make(&draw("w")?, &draw("r")?, geometry)
        });
        Ok(Self { layers: layers.collect::<Result<_>>()?, pairing })
    }

    pub fn thinned(self, probability: f64) -> Result<Self> {
        let mut rng = Rng::new(14);
        let Self { layers, pairing } = self;
        let thin = |layer: FeedbackLayer| layer.thinned(probability, pairing, &mut rng);
        Ok(Self { layers: layers.into_iter().map(thin).collect::<Result<_>>()?, pairing })
    }

    pub fn loss(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let [conv1, conv2, dense, classes] = &self.layers[..] else { unreachable!() };
        let x = ramp(&conv1.forward(x)?, 0.5)?;
        let x = max_pool2d_same(&x, 3, 2, Edge::Zeros, Ties::All)?;
        let x = ramp(&conv2.forward(&x)?, 0.5)?.flatten_from(1)?;
        let x = ramp(&dense.forward(&x)?, 0.5)?;
        HingeHebb::new(1.0)?.loss(&classes.forward(&x)?, labels)
    }

    /// Trains for `steps` steps and calls `after` with the gradients of each step once it is taken.
    fn train(&self, steps: u64, mut after: impl FnMut(&GradStore) -> Result<()>) -> Result<()> {
        let mut descent = descent(&self.layers.iter().collect::<Vec<_>>())?;
        for step in 0..steps {
            let (x, labels) = batch(step, self.layers[0].weight().dtype())?;
            for layer in &self.layers {
                layer.redraw(&mut Rng::new(step))?;
            }
            let grads = self.loss(&x, &labels)?.backward()?;
            descent.step(&grads)?;
            after(&grads)?;
        }
        Ok(())
    }
}

/// Images that are brighter in a quarter that depends on the class.
pub fn batch(step: u64, dtype: DType) -> Result<(Tensor, Tensor)> {
    let mut rng = Rng::new(step).stream("batch");
    let labels: Vec<u32> = (0..10).map(|_| rng.below(3) as u32).collect();
    let mean: Vec<f64> = labels
        .iter()
        .flat_map(|&label| {
            (0..36).map(move |at| {
                let quarter = (at / 18 * 2 + usize::from(at % 6 >= 3)) as u32;
                if quarter == label { 0.8 } else { 0.2 }
            })
        })
        .collect();
    let noise = rng.normal(0.0, 0.2, (10, 1, 6, 6), DType::F64, CPU)?;
    let x = (tensor(&mean, &[10, 1, 6, 6])? + noise)?.to_dtype(dtype)?;
    Ok((x, Tensor::new(labels, CPU)?))
}

fn copies(net: &Net) -> Result<Vec<(Tensor, Option<Tensor>)>> {
    let copy = |weights: &Tensor| weights.copy()?.detach().contiguous();
    net.layers
        .iter()
        .map(|layer| Ok((copy(layer.weight())?, layer.feedback().map(copy).transpose()?)))
        .collect()
}

/// Zipser & Rumelhart 1990: feedback weights that start identical to the weights stay identical,
/// and learning is back-propagation.
#[test]
fn identical_feedback_is_backprop() -> Result<()> {
    for thin in [None, Some(0.5)] {
        let make = |protocol| -> Result<Net> {
            let net = Net::new(protocol, DType::F32)?;
            thin.map_or(Ok(net), |p| Net::new(protocol, DType::F32)?.thinned(p))
        };
        let (identical, backprop) = (make(Protocol::Identical)?, make(Protocol::Backprop)?);
        identical.train(150, |_| Ok(()))?;
        backprop.train(150, |_| Ok(()))?;
        for (a, b) in identical.layers.iter().zip(&backprop.layers) {
            let r = a.feedback().expect("feedback weights");
            assert_eq!(bits(a.weight())?, bits(r)?);
            assert_eq!(bits(a.weight())?, bits(b.weight())?);
        }
        // The networks did learn.
        let (x, labels) = batch(1000, DType::F32)?;
        let loss = |net: &Net| net.loss(&x, &labels)?.to_scalar::<f32>();
        assert!(loss(&identical)? < loss(&make(Protocol::Identical)?)?);
    }
    Ok(())
}

#[test]
fn fixed_feedback_does_not_move() -> Result<()> {
    for protocol in [Protocol::Frfb, Protocol::FixedRandomSign, Protocol::Partial { rate: 0.0 }] {
        let net = Net::new(protocol, DType::F32)?;
        let before = copies(&net)?;
        net.train(100, |_| Ok(()))?;
        for (layer, (w, r)) in net.layers.iter().zip(before) {
            let r = r.expect("feedback weights");
            assert_eq!(bits(layer.feedback().expect("feedback weights"))?, bits(&r)?);
            assert_ne!(bits(layer.weight())?, bits(&w)?);
        }
    }
    Ok(())
}

/// `R − εW` never changes, except by rounding.
#[test]
fn difference_is_invariant() -> Result<()> {
    let partial = [0.1, 0.5, 1.0].map(|rate| (Protocol::Partial { rate }, rate));
    for (protocol, rate) in [(Protocol::Urfb, 1.0)].into_iter().chain(partial) {
        for (dtype, allowed) in [(DType::F32, 3e-6), (DType::F64, 1e-14)] {
            let net = Net::new(protocol, dtype)?;
            let invariant = |w: &Tensor, r: &Tensor| r - (w * rate)?;
            let before = copies(&net)?;
            net.train(300, |_| Ok(()))?;
            for (layer, (w, r)) in net.layers.iter().zip(before) {
                let now = invariant(layer.weight(), layer.feedback().expect("feedback weights"))?;
                let then = invariant(&w, &r.expect("feedback weights"))?;
                let off = largest(&(now - then)?)?;
                assert!(off < allowed, "{protocol} {dtype:?} {:?}: {off:e}", w.dims());
                assert!(flat(&(layer.weight() - &w)?)?.iter().any(|d| d.abs() > 1e-2));
            }
        }
    }
    Ok(())
}

/// Which layers have other weights than those of `before`.
fn moved(net: &Net, before: &[(Tensor, Option<Tensor>)]) -> Result<Vec<bool>> {
    let layers = net.layers.iter().zip(before);
    layers.map(|(layer, (w, _))| Ok(flat(layer.weight())? != flat(w)?)).collect()
}

/// Feedback weights that start at 0 are `W − W(0)` at any time. So they send no error in the first step, in which only
/// the class layer learns, and each further step reaches one layer more, from the top. The error comes to the first
/// layer through three matrices of the order η, η² and η⁴, so that its first changes, of the order η⁸, may be lost in
/// rounding.
#[test]
fn feedback_from_zero_follows_the_weights() -> Result<()> {
    let make =
        |w: &Tensor, r: &Tensor, geometry| layer(w, &r.zeros_like()?, geometry, Protocol::Urfb);
    let net = Net::of(make, Pairing::Independent, DType::F64)?;
    let (before, mut step) = (copies(&net)?, 0);
    net.train(6, |_| {
        step += 1;
        let want: Vec<bool> = (0..4).map(|at| at + step >= 4).collect();
        let moved = moved(&net, &before)?;
        assert_eq!(moved[1..], want[1..], "step {step}");
        assert!(want[0] || !moved[0], "step {step}");
        Ok(())
    })?;
    for (layer, (w, _)) in net.layers.iter().zip(&before) {
        let r = layer.feedback().expect("feedback weights");
        assert_close("W(0) + R", &(w + r)?, layer.weight(), 1e-12)?;
    }
    Ok(())
}

/// Weights of 0 respond with 0, but the error still goes back through random feedback weights (Lillicrap et al. 2016):
/// the first layer learns in the first step, and each further step reaches one layer more, from below. By
/// back-propagation nothing ever moves.
#[test]
fn weights_of_zero_learn_through_the_feedback() -> Result<()> {
    for protocol in [Protocol::Urfb, Protocol::Frfb, Protocol::Backprop] {
        let make =
            |w: &Tensor, r: &Tensor, geometry| layer(&w.zeros_like()?, r, geometry, protocol);
        let net = Net::of(make, Pairing::Independent, DType::F64)?;
        let (before, mut step) = (copies(&net)?, 0);
        net.train(5, |_| {
            step += 1;
            let want: Vec<bool> =
                (0..4).map(|at| at < step && protocol != Protocol::Backprop).collect();
            assert_eq!(moved(&net, &before)?, want, "{protocol}, step {step}");
            Ok(())
        })?;
    }
    Ok(())
}

/// A weight of exactly 0 is a connection like any other. In the authors' code, which tells missing connections by a
/// value of 0, it would never learn again.
#[test]
fn a_weight_of_zero_learns() -> Result<()> {
    let (x, loss) = (tensor(&[1.0, 1.0], &[1, 2])?, |out: Tensor| out.sum_all());
    let (w, r) = (tensor(&[0.0, 0.5], &[1, 2])?, tensor(&[0.0, 0.25], &[1, 2])?);
    let mut dense = layer(&w, &r, Geometry::Dense, Protocol::Urfb)?;
    let all = tensor(&[1.0, 1.0], &[1, 2])?;
    dense.set_masks(Some(all.clone()), Some(all))?;
    descent(&[&dense])?.backward_step(&loss(dense.forward(&x)?)?)?;
    near("W", dense.weight(), &[-0.1, 0.4], 1e-12)?;
    near("R", dense.feedback().expect("R"), &[-0.1, 0.15], 1e-12)?;

    // A kernel with a single weight that is not 0, untied: at each of 3×3 positions the taps in the image learn.
    let config = Conv2dConfig::same(2);
    let w = tensor(&[0.0, 0.5, 0.0, 0.0], &[1, 1, 2, 2])?;
    let r = tensor(&[0.25, 0.0, 0.0, 0.0], &[1, 1, 2, 2])?;
    let untied = layer(&w, &r, Geometry::Conv2d(config), Protocol::Urfb)?.untied((3, 3))?;
    let x = Tensor::ones((1, 1, 3, 3), DType::F64, CPU)?;
    descent(&[&untied])?.backward_step(&loss(untied.forward(&x)?)?)?;
    let inside = config.taps_in_image((3, 3), (2, 2))?;
    assert_eq!(inside.iter().filter(|&&inside| inside).count(), 25);
    let after = |kernel: [f64; 4]| -> Vec<f64> {
        let taps = inside.iter().zip(kernel.iter().cycle());
        taps.map(|(&inside, weight)| if inside { weight - 0.1 } else { 0.0 }).collect()
    };
    near("W", untied.weight(), &after([0.0, 0.5, 0.0, 0.0]), 1e-12)?;
    near("R", untied.feedback().expect("R"), &after([0.25, 0.0, 0.0, 0.0]), 1e-12)
}

/// With the same weights, the class layer's first gradient is the same under every protocol.
#[test]
fn first_step_of_the_class_layer() -> Result<()> {
    let (x, labels) = batch(0, DType::F32)?;
    let mut seen: Vec<Vec<Vec<u32>>> = Vec::new();
    for protocol in PROTOCOLS {
        let net = Net::new(protocol, DType::F32)?;
        let grads = net.loss(&x, &labels)?.backward()?;
        let layers = net.layers.iter().map(|layer| bits(&gradient(&grads, layer.weight())));
        seen.push(layers.collect::<Result<_>>()?);
    }
    for (protocol, of) in PROTOCOLS.iter().zip(&seen) {
        assert_eq!(of[3], seen[0][3], "{protocol}");
        let same = matches!(protocol, Protocol::Backprop | Protocol::Identical);
        for (below, backprop) in of[..3].iter().zip(&seen[0]) {
            assert_eq!(below == backprop, same, "{protocol}");
        }
    }
    Ok(())
}

/// Without a hidden layer, all protocols learn the same weights.
#[test]
fn one_layer() -> Result<()> {
    let mut ends = Vec::new();
    for protocol in PROTOCOLS {
        let mut rng = Rng::new(15);
        let w = normal(&mut rng, &[3, 36], DType::F32)?;
        let layer = layer(&w, &normal(&mut rng, &[3, 36], DType::F32)?, Geometry::Dense, protocol)?;
        let mut descent = descent(&[&layer])?;
        for step in 0..100 {
            let (x, labels) = batch(step, DType::F32)?;
            let h = layer.forward(&x.flatten_from(1)?)?;
            descent.backward_step(&HingeHebb::new(1.0)?.loss(&h, &labels)?)?;
        }
        assert_ne!(bits(layer.weight())?, bits(&w)?, "{protocol}");
        ends.push(bits(layer.weight())?);
    }
    assert!(ends.iter().all(|end| *end == ends[0]));
    Ok(())
}

/// Connections that do not exist stay at 0, get no gradient, and send no error.
#[test]
fn masked_connections_stay_zero() -> Result<()> {
    for protocol in PROTOCOLS {
        let net = Net::new(protocol, DType::F32)?.thinned(0.5)?;
        let zero_where = |values: &Tensor, mask: &Tensor, what: &str| -> Result<()> {
            for (value, mask) in flat(values)?.into_iter().zip(flat(mask)?) {
                assert!(mask == 1.0 || value == 0.0, "{protocol} {what}: {value}");
            }
            Ok(())
        };
        net.train(50, |grads| {
            for layer in &net.layers {
                let (mask_w, mask_r) = layer.masks();
                let sends = mask_r.or(mask_w).expect("a mask");
                zero_where(&layer.error_weight()?, sends, "error")?;
                let of_weight = Some(gradient(grads, layer.weight()));
                let of_feedback = layer.feedback_gradient(grads)?;
                let pairs = [
                    (Some(layer.weight()), mask_w, of_weight),
                    (layer.feedback(), mask_r, of_feedback),
                ];
                for (weights, mask, grad) in pairs {
                    let (Some(weights), Some(mask)) = (weights, mask) else {
                        assert!(weights.is_none() && mask.is_none(), "{protocol}");
                        continue;
                    };
                    zero_where(weights, mask, "value")?;
                    if let Some(grad) = grad {
                        zero_where(&grad, mask, "gradient")?;
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Masks of `W` and `R` are independent: each keeps a share `p`, both together `p²`.
#[test]
fn masks_are_independent() -> Result<()> {
    let n = 200 * 300;
    for p in [0.5, 0.8] {
        let mut rng = Rng::new(16);
        let layer = random(&mut rng, &[200, 300], Geometry::Dense, Protocol::Urfb)?;
        let before = layer.weight().copy()?;
        let layer = layer.thinned(p, Pairing::Independent, &mut rng)?;
        let (Some(w), Some(r)) = layer.masks() else { panic!("two masks") };
        for (mask, share) in [(w.clone(), p), (r.clone(), p), ((w * r)?, p * p)] {
            let found = flat(&mask)?.iter().sum::<f64>() / f64::from(n);
            let error = (share * (1.0 - share) / f64::from(n)).sqrt();
            assert!((found - share).abs() < 4.0 * error, "{found}, expected {share} ± {error}");
        }
        // Kept weights are not rescaled.
        assert_close("kept", layer.weight(), &(before * w)?, 0.0)?;
    }
    Ok(())
}

/// Thinning again makes no connection: with probability 1 it keeps all that there are or, if weights and feedback
/// weights are to connect the same units, those that both have.
#[test]
fn thinned_again() -> Result<()> {
    let mut rng = Rng::new(19);
    let layer = random(&mut rng, &[20, 30], Geometry::Dense, Protocol::Urfb)?;
    let once = layer.thinned(0.5, Pairing::Independent, &mut rng)?;
    let masks = |layer: &FeedbackLayer| -> Result<[Vec<f64>; 2]> {
        let (Some(w), Some(r)) = layer.masks() else { panic!("two masks") };
        Ok([flat(w)?, flat(r)?])
    };
    let [w, r] = masks(&once)?;
    let both: Vec<f64> = w.iter().zip(&r).map(|(w, r)| w * r).collect();
    for (pairing, want) in [
        (Pairing::Independent, [w.clone(), r.clone()]),
        (Pairing::Mutual, [both.clone(), both.clone()]),
    ] {
        let again = once.clone().thinned(1.0, pairing, &mut rng)?;
        assert_eq!(masks(&again)?, want, "{pairing:?}");
        let fewer = masks(&once.clone().thinned(0.5, pairing, &mut rng)?)?;
        for (fewer, all) in fewer.iter().zip(&want) {
            assert!(fewer.iter().zip(all).all(|(fewer, all)| fewer <= all), "{pairing:?}");
            assert!(fewer.iter().sum::<f64>() < all.iter().sum::<f64>());
        }
    }
    Ok(())
}

/// Taps outside the image stay 0 through training, in `W` and in `R`.
#[test]
fn taps_outside_the_image_stay_zero() -> Result<()> {
    for kernel in [2, 3, 5] {
        for protocol in PROTOCOLS {
            let mut rng = Rng::new(17);
            let config = Conv2dConfig::same(kernel);
            let shape = [3, 1, kernel, kernel];
            let layer = random(&mut rng, &shape, Geometry::Conv2d(config), protocol)?;
            let layer = layer.untied((6, 6))?;
            let inside = config.taps_in_image((6, 6), (kernel, kernel))?;
            let class = random(&mut rng, &[3, 108], Geometry::Dense, protocol)?;
            let start = layer.weight().copy()?;
            let mut descent = descent(&[&layer, &class])?;
            for step in 0..50 {
                let (x, labels) = batch(step, DType::F32)?;
                layer.redraw(&mut rng)?;
                let x = ramp(&layer.forward(&x)?, 0.5)?.flatten_from(1)?;
                let loss = HingeHebb::new(1.0)?.loss(&class.forward(&x)?, &labels)?;
                descent.backward_step(&loss)?;
            }
            assert_ne!(bits(layer.weight())?, bits(&start)?);
            let taps = kernel * kernel;
            let mut seen = vec![layer.weight().clone(), layer.error_weight()?];
            if let (Some(r), true) = (layer.feedback(), protocol != Protocol::BatchwiseRandomSign) {
                seen.push(r.clone());
            }
            for values in seen {
                for (at, value) in flat(&values)?.into_iter().enumerate() {
                    // (OH·OW, K·C, kh·kw)
                    let exists = inside[at / (3 * taps) * taps + at % taps];
                    assert!(exists || value == 0.0, "{protocol} {kernel}: {value} at {at}");
                }
            }
        }
    }
    Ok(())
}
