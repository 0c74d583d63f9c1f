//! Layers and whole networks, compared with independent computations of the same numbers.

use super::*;
use candle::Module;
use candle_hebbian::ops::{Dropout, Edge, Ties, channels_last, max_pool2d_same, ramp};
use candle_hebbian::{HingeHebb, direct_feedback};

/// The weights `K` through which the error goes back, by the definition of each protocol.
fn error_weight(protocol: Protocol, w: &Tensor, r: &Tensor) -> Result<Tensor> {
    let sign = |w: &f64| if *w == 0.0 { 0.0 } else { w.signum() };
    let signed = |size: Vec<f64>| -> Result<Tensor> {
        let signed: Vec<f64> = flat(w)?.iter().zip(size).map(|(w, size)| sign(w) * size).collect();
        tensor(&signed, w.dims())
    };
    match protocol {
        Protocol::Backprop | Protocol::Identical => Ok(w.clone()),
        Protocol::UniformSign => {
            let kernel = if w.rank() == 6 { &w.dims()[2..] } else { w.dims() };
            let taps: usize = kernel[2..].iter().product();
            let std = (2.0 / ((kernel[0] + kernel[1]) * taps) as f64).sqrt();
            signed(vec![std; w.elem_count()])
        }
        Protocol::BatchwiseRandomSign | Protocol::FixedRandomSign => {
            signed(flat(r)?.into_iter().map(f64::abs).collect())
        }
        _ => Ok(r.clone()),
    }
}

/// `ε`, if the feedback weights learn.
fn rate(protocol: Protocol) -> Option<f64> {
    match protocol {
        Protocol::Urfb | Protocol::Identical => Some(1.0),
        Protocol::Partial { rate } => Some(rate),
        _ => None,
    }
}

/// Every protocol on every geometry, with all connections and with only some of them.
#[test]
fn every_protocol_on_every_geometry() -> Result<()> {
    let mut rng = Rng::new(3);
    for case in cases() {
        for protocol in PROTOCOLS {
            for thin in [false, true] {
                let name = format!("{protocol}, thin {thin}: {case:?}");
                let x = Var::from_tensor(&normal(&mut rng, &case.input, DType::F64)?)?;
                let w = normal(&mut rng, &case.weight, DType::F64)?;
                let r = normal(&mut rng, &case.weight, DType::F64)?;
                let mut layer = layer(&w, &r, case.geometry, protocol)?;
                if thin {
                    layer = layer.thinned(0.6, protocol.pairing(), &mut rng)?;
                }
                let w = layer.weight().copy()?;
                let r = layer.feedback().map_or(Ok(r), |r| r.copy())?;
                let k = error_weight(protocol, &w, &r)?;
                assert_close(&name, &layer.error_weight()?, &k, 1e-14)?;
                let out = layer.forward(&x)?;
                let delta = normal(&mut rng, out.dims(), DType::F64)?;
                let want = oracle(&case, &x, &w, &k, &delta)?;
                assert_close(&format!("h of {name}"), &out, &want.out, 1e-13)?;
                let grads = send(&layer, &x, &delta)?;
                assert_close(&format!("φ of {name}"), &gradient(&grads, &x), &want.grad_x, 1e-13)?;
                let masked = |mask: Option<&Tensor>, scale: f64| match mask {
                    Some(mask) => (&want.grad_w * mask)? * scale,
                    None => &want.grad_w * scale,
                };
                let (mask_w, mask_r) = layer.masks();
                let got = gradient(&grads, layer.weight());
                assert_close(&format!("G of {name}"), &got, &masked(mask_w, 1.0)?, 1e-13)?;
                assert!(layer.feedback().is_none_or(|r| grads.get(r).is_none()), "{name}");
                let got = layer.feedback_gradient(&grads)?;
                assert_eq!(got.is_some(), rate(protocol).is_some(), "{name}");
                if let (Some(got), Some(rate)) = (got, rate(protocol)) {
                    assert_close(&format!("∂R of {name}"), &got, &masked(mask_r, rate)?, 1e-13)?;
                }
            }
        }
    }
    Ok(())
}

/// The signs are those of the current weights, and only the batchwise sizes are redrawn.
#[test]
fn signs_follow_the_weights() -> Result<()> {
    let mut rng = Rng::new(4);
    for protocol in [
        Protocol::UniformSign,
        Protocol::BatchwiseRandomSign,
        Protocol::FixedRandomSign,
        Protocol::Urfb,
        Protocol::Frfb,
    ] {
        let w = tensor(&[1.0, -2.0, 0.0, 3.0, -4.0, 5.0], &[2, 3])?;
        let r = tensor(&[0.3, 0.2, 0.7, -0.1, -0.4, -0.5], &[2, 3])?;
        let layer = layer(&w, &r, Geometry::Dense, protocol)?;
        let before = layer.error_weight()?.copy()?;
        layer.var()?.set(&w.neg()?)?;
        let signed = !matches!(protocol, Protocol::Urfb | Protocol::Frfb);
        let want = if signed { before.neg()? } else { before };
        assert_close("−w", &layer.error_weight()?, &want, 0.0)?;
        layer.redraw(&mut rng)?;
        let redrawn = flat(&layer.error_weight()?)?;
        assert_eq!(redrawn != flat(&want)?, protocol == Protocol::BatchwiseRandomSign);
        for (k, want) in redrawn.iter().zip(flat(&want)?) {
            assert!(k * want >= 0.0 && (*k == 0.0) == (want == 0.0), "{protocol}: {k} for {want}");
        }
    }
    Ok(())
}

/// A weight that has diverged has no sign, and sends back an error that is no number, although candle's `sign` of NaN
/// is 0.
#[test]
fn the_sign_of_nan_is_nan() -> Result<()> {
    let w = tensor(&[f64::NAN, -2.0, 0.0], &[1, 3])?;
    for protocol in [Protocol::UniformSign, Protocol::FixedRandomSign] {
        let layer = layer(&w, &w.ones_like()?, Geometry::Dense, protocol)?;
        let k = flat(&layer.error_weight()?)?;
        assert!(k[0].is_nan() && k[1] < 0.0 && k[2] == 0.0, "{protocol}: {k:?}");
    }
    Ok(())
}

/// The uniform size is `√(2/(fan-in + fan-out))`; the numbers are those of a ResNet with 16, 32 and 64 channels. At the
/// start, where weights are uniform in `±a`, the cosine of `W` and `K` is `E|w|/√E[w²] = √3/2` with one size, and its
/// square with sizes of the same distribution.
#[test]
fn sizes_of_signs_and_the_first_angle() -> Result<()> {
    let kernel = |inputs, outputs| vec![outputs, inputs, 3, 3];
    let conv = Geometry::Conv2d(Conv2dConfig { padding: 1, ..Default::default() });
    let mut rng = Rng::new(6);
    for (shape, geometry, size) in [
        (kernel(3, 16), conv, 0.108148),
        (kernel(16, 16), conv, 0.083333),
        (kernel(16, 32), conv, 0.068041),
        (kernel(32, 32), conv, 0.058926),
        (kernel(32, 64), conv, 0.048113),
        (kernel(64, 64), conv, 0.041667),
        (vec![10, 64], Geometry::Dense, 0.164399),
    ] {
        let shape = shape.as_slice();
        let mut draw = || rng.draw(init::glorot_uniform(shape), shape, DType::F64, CPU);
        let (w, r) = (draw()?, draw()?);
        let uniform = layer(&w, &r, geometry, Protocol::UniformSign)?.error_weight()?;
        assert!(flat(&uniform)?.iter().all(|k| (k.abs() - size).abs() < 5e-7), "{shape:?}");
        if w.elem_count() < 10_000 {
            continue;
        }
        let sized = layer(&w, &r, geometry, Protocol::FixedRandomSign)?.error_weight()?;
        for (k, degrees) in [(uniform, 30.0), (sized, 0.75f64.acos().to_degrees())] {
            let sum = |t: Tensor| t.sum_all()?.to_scalar::<f64>();
            let cosine = sum((&w * &k)?)? / (sum(w.sqr()?)? * sum(k.sqr()?)?).sqrt();
            assert!((cosine.acos().to_degrees() - degrees).abs() < 1.0, "{shape:?}: {cosine}");
        }
    }
    Ok(())
}

/// Redrawn batchwise sizes stay on the connections that exist.
#[test]
fn redraw_keeps_the_mask() -> Result<()> {
    let mut rng = Rng::new(5);
    let protocol = Protocol::BatchwiseRandomSign;
    let layer = random(&mut rng, &[20, 30], Geometry::Dense, protocol)?;
    let layer = layer.thinned(0.5, protocol.pairing(), &mut rng)?;
    layer.redraw(&mut rng)?;
    let (_, mask) = layer.masks();
    let pairs =
        flat(layer.feedback().expect("sizes"))?.into_iter().zip(flat(mask.expect("a mask"))?);
    for (size, mask) in pairs {
        assert_eq!(size != 0.0, mask != 0.0);
    }
    Ok(())
}

/// If nothing below a layer learns, no error is formed: a first layer has no input gradient under any protocol.
#[test]
fn no_input_gradient_of_a_first_layer() -> Result<()> {
    let mut rng = Rng::new(6);
    for case in cases() {
        for protocol in PROTOCOLS {
            let w = normal(&mut rng, &case.weight, DType::F32)?;
            let layer =
                layer(&w, &normal(&mut rng, &case.weight, DType::F32)?, case.geometry, protocol)?;
            let x = normal(&mut rng, &case.input, DType::F32)?;
            let grads = layer.forward(&x)?.sum_all()?.backward()?;
            assert!(grads.get(&x).is_none(), "{protocol} {case:?}");
            let ids: Vec<_> = grads.get_ids().copied().collect();
            let wanted = vec![layer.weight().id()];
            assert_eq!(ids, wanted, "{protocol} {case:?}");
        }
    }
    Ok(())
}

/// A network of everything: convolutions of 5×5, 3×3 and 2×2, both pools, dropout with a fixed mask,
/// a residual sum, dense layers, the ramp and the class layer's loss.
mod network {
    use super::*;

    const SHAPES: [&[usize]; 6] =
        [&[4, 2, 5, 5], &[4, 4, 3, 3], &[3, 4, 2, 2], &[3, 3, 3, 3], &[6, 12], &[3, 6]];
    const SEED: u64 = 7;

    fn geometry(weight: &[usize]) -> Geometry {
        match weight {
            &[_, _, kernel, _] => Geometry::Conv2d(Conv2dConfig::same(kernel)),
            _ => Geometry::Dense,
        }
    }

    struct Net {
        x: Tensor,
        labels: Tensor,
        weights: Vec<Tensor>,
    }

    impl Net {
        fn new(dtype: DType) -> Result<Self> {
            let mut rng = Rng::new(SEED);
            // Wide enough that some units of every layer are saturated.
            let weights = SHAPES.map(|shape| {
                let fan_in: usize = shape[1..].iter().product();
                rng.normal(0.0, 2.5 / (fan_in as f64).sqrt(), shape, dtype, CPU)
            });
            let x = normal(&mut rng, &[5, 2, 8, 8], dtype)?;
            let labels = Tensor::new(&[0u32, 1, 2, 0, 1], CPU)?;
            Ok(Self { x, labels, weights: weights.into_iter().collect::<Result<_>>()? })
        }

        /// The loss, with the operations of this crate.
        fn ours(&self, layers: &[FeedbackLayer]) -> Result<Tensor> {
            let [c5, c3, c2, residual, dense, classes] = layers else { unreachable!() };
            let x = ramp(&c5.forward(&self.x)?, 0.5)?;
            let x = max_pool2d_same(&x, 3, 2, Edge::Zeros, Ties::All)?;
            let x = Dropout::new(0.5)?.apply(&x, &mut Rng::new(SEED))?;
            let x = ramp(&c3.forward(&x)?, 0.5)?;
            let x = candle_hebbian::ops::avg_pool2d(&x, 2, 2, 0)?;
            let x = ramp(&c2.forward(&x)?, 0.5)?;
            let x = (ramp(&residual.forward(&x)?, 0.5)? + &x)?;
            let x = ramp(&dense.forward(&x.flatten_from(1)?)?, 0.5)?;
            HingeHebb::new(1.0)?.loss(&classes.forward(&x)?, &self.labels)
        }

        /// The same loss, with channels last up to the first dense layer.
        fn ours_channels_last(&self, layers: &[FeedbackLayer]) -> Result<Tensor> {
            let [c5, c3, c2, residual, dense, classes] = layers else { unreachable!() };
            let x = self.x.permute((0, 2, 3, 1))?;
            let x = ramp(&c5.forward_channels_last(&x)?, 0.5)?;
            let x = channels_last::max_pool2d_same(&x, 3, 2, Edge::Zeros, Ties::All)?;
            // The mask that is drawn with channels first.
            let first = x.permute((0, 3, 1, 2))?.contiguous()?;
            let x = Dropout::new(0.5)?.apply(&first, &mut Rng::new(SEED))?.permute((0, 2, 3, 1))?;
            let x = ramp(&c3.forward_channels_last(&x)?, 0.5)?;
            let x = channels_last::avg_pool2d(&x, 2, 2, 0)?;
            let x = ramp(&c2.forward_channels_last(&x)?, 0.5)?;
            let x = (ramp(&residual.forward_channels_last(&x)?, 0.5)? + &x)?;
            let x = x.permute((0, 3, 1, 2))?.flatten_from(1)?;
            let x = ramp(&dense.forward_channels_last(&x)?, 0.5)?;
            HingeHebb::new(1.0)?.loss(&classes.forward_channels_last(&x)?, &self.labels)
        }

        /// The same loss with candle's own operations, whose gradients are right here: there are no ties.
        fn candles(&self, weights: &[Var]) -> Result<Tensor> {
            let clip = |h: Tensor| (h * 0.5)?.maximum(-1.0)?.minimum(1.0);
            let conv = |x: &Tensor, w: &Var| {
                let kernel = w.dim(2)?;
                let (before, after) = ((kernel - 1) / 2, kernel / 2);
                let x = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
                clip(x.conv2d(w, 0, 1, 1, 1)?)
            };
            let [c5, c3, c2, residual, dense, classes] = weights else { unreachable!() };
            let x = conv(&self.x, c5)?.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
            // Every second row and column of the maximum over three.
            let thinned = |x: &Tensor, dim: usize| -> Result<Tensor> {
                let tap = |first: u32| {
                    let at: Vec<u32> = (0..4).map(|o| first + 2 * o).collect();
                    x.index_select(&Tensor::new(at, CPU)?, dim)
                };
                tap(0)?.maximum(&tap(1)?)?.maximum(&tap(2)?)
            };
            let x = thinned(&thinned(&x, 2)?.contiguous()?, 3)?;
            let mask = Dropout::new(0.5)?.apply(&x.ones_like()?, &mut Rng::new(SEED))?;
            let x = conv(&(x * mask.detach())?, c3)?;
            let x = x.reshape((5, 4, 2, 2, 2, 2))?.mean(5)?.mean(3)?;
            let x = conv(&x, c2)?;
            let x = (conv(&x, residual)? + &x)?;
            let x = clip(x.flatten_from(1)?.matmul(&dense.t()?)?)?;
            let h = x.matmul(&classes.t()?)?;
            let own: Vec<f64> = self
                .labels
                .to_vec1::<u32>()?
                .into_iter()
                .flat_map(|label| (0..3).map(move |c| if c == label { 1.0 } else { 0.0 }))
                .collect();
            let own = tensor(&own, &[5, 3])?.to_dtype(h.dtype())?;
            let wrong = ((own.ones_like()? - &own)? * 0.5)?; // μ/(C − 1)
            let lacks = (own * (h.neg()? + 1.0)?.relu()?)?;
            (lacks + (wrong * (h + 1.0)?.relu()?)?)?.sum_all()? / 5.0
        }
    }

    /// The layers with `R = W`, for which all protocols in `SAME` have the gradients of back-propagation.
    fn layers(net: &Net, protocol: Protocol) -> Result<Vec<FeedbackLayer>> {
        let one = |w: &Tensor| layer(w, w, geometry(w.dims()), protocol);
        net.weights.iter().map(one).collect()
    }

    const SAME: [Protocol; 4] =
        [Protocol::Backprop, Protocol::Identical, Protocol::Urfb, Protocol::Frfb];

    #[test]
    fn equals_candles_autograd() -> Result<()> {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-10)] {
            let net = Net::new(dtype)?;
            let vars: Vec<Var> = net.weights.iter().map(Var::from_tensor).collect::<Result<_>>()?;
            let loss = net.candles(&vars)?;
            let want = loss.backward()?;
            for protocol in SAME {
                let layers = layers(&net, protocol)?;
                for (order, ours) in
                    [("first", net.ours(&layers)?), ("last", net.ours_channels_last(&layers)?)]
                {
                    let name = format!("{protocol} {dtype:?}, channels {order}");
                    assert_close(&name, &ours, &loss, tolerance)?;
                    let grads = ours.backward()?;
                    for (layer, var) in layers.iter().zip(&vars) {
                        let (got, want) = (gradient(&grads, layer.weight()), gradient(&want, var));
                        let name = format!("{name}: {:?}", want.dims());
                        assert!(
                            want.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()? > 0.0
                        );
                        assert_close(&name, &got, &want, tolerance)?;
                        let of_feedback = layer.feedback_gradient(&grads)?;
                        assert_eq!(of_feedback.is_some(), rate(protocol).is_some());
                        if let Some(got) = of_feedback {
                            assert_close(&name, &got, &want, tolerance)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The loss is piecewise linear in each weight, so differences are exact except at a kink, where the slopes on the
    /// two sides differ.
    #[test]
    fn equals_central_differences() -> Result<()> {
        let net = Net::new(DType::F64)?;
        let layers = layers(&net, Protocol::Urfb)?;
        let loss = net.ours(&layers)?;
        let (grads, loss) = (loss.backward()?, loss.to_scalar::<f64>()?);
        let (step, mut used, mut all) = (1e-5, 0, 0);
        for layer in &layers {
            let (values, got) = (flat(layer.weight())?, flat(&gradient(&grads, layer.weight()))?);
            let moved = |at: usize, by: f64| -> Result<f64> {
                let mut values = values.clone();
                values[at] += by;
                layer.var()?.set(&tensor(&values, layer.weight().dims())?)?;
                net.ours(&layers)?.to_scalar()
            };
            for at in (0..values.len()).step_by(1 + values.len() / 40) {
                let (up, down) =
                    ((moved(at, step)? - loss) / step, (loss - moved(at, -step)?) / step);
                all += 1;
                if (up - down).abs() < 1e-9 {
                    used += 1;
                    let want = (up + down) / 2.0;
                    assert!(
                        (got[at] - want).abs() < 1e-9,
                        "{:?} {at}: {} {want}",
                        layer.weight().dims(),
                        got[at]
                    );
                }
            }
            layer.var()?.set(&tensor(&values, layer.weight().dims())?)?;
        }
        assert!(used * 10 > all * 9, "{used} of {all} weights are at no kink");
        Ok(())
    }
}

mod untied {
    use super::*;

    /// The response, `φ`, and the gradients summed over positions equal those of the convolution.
    #[test]
    fn equals_the_convolution() -> Result<()> {
        let mut rng = Rng::new(8);
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            for kernel in [2, 3, 5] {
                for protocol in PROTOCOLS {
                    for thin in [false, true] {
                        let name = format!("{protocol} {kernel} {dtype:?}, thin {thin}");
                        let shape = [5, 3, kernel, kernel];
                        let (w, r) =
                            (normal(&mut rng, &shape, dtype)?, normal(&mut rng, &shape, dtype)?);
                        let geometry = Geometry::Conv2d(Conv2dConfig::same(kernel));
                        let mut tied = layer(&w, &r, geometry, protocol)?;
                        if thin {
                            tied = tied.thinned(0.5, protocol.pairing(), &mut rng)?;
                        }
                        let untied = tied.untied((7, 6))?;
                        let x = Var::from_tensor(&normal(&mut rng, &[4, 3, 7, 6], dtype)?)?;
                        let out = tied.forward(&x)?;
                        assert_close(&name, &untied.forward(&x)?, &out, tolerance)?;
                        let delta = normal(&mut rng, out.dims(), dtype)?;
                        let (want, got) = (send(&tied, &x, &delta)?, send(&untied, &x, &delta)?);
                        assert_close(
                            &format!("φ {name}"),
                            &gradient(&got, &x),
                            &gradient(&want, &x),
                            tolerance,
                        )?;
                        let (got, want) = (gradients(&untied, &got)?, gradients(&tied, &want)?);
                        assert_eq!(got.len(), want.len());
                        for (got, want) in got.iter().zip(want) {
                            let sum = got.flatten_to(1)?.sum(0)?;
                            assert_close(&format!("G {name}"), &sum, &want, tolerance)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The number of connections that exist in the untied layers of the paper's networks.
    #[test]
    fn connections_that_exist() -> Result<()> {
        // Sides of the image and of the kernel, channels in and out, taps per dimension, connections.
        let layers = [
            ("simpnet conv1", 32, 5, (3, 32), 154, 2_276_736),
            ("deepernet_s conv1", 32, 3, (3, 16), 94, 424_128),
            ("deepernet_s conv2", 32, 3, (16, 16), 94, 2_262_016),
            ("deepernet_s conv3", 11, 3, (16, 64), 31, 984_064),
            ("deepernet_s conv4", 11, 3, (64, 64), 31, 3_936_256),
            ("deepernet_s conv5", 6, 2, (64, 64), 11, 495_616),
            ("deepernet2_s conv1", 32, 5, (3, 16), 154, 1_138_368),
        ];
        for (name, side, kernel, (channels, units), taps, count) in layers {
            let inside =
                Conv2dConfig::same(kernel).taps_in_image((side, side), (kernel, kernel))?;
            assert_eq!(inside.len(), side * side * kernel * kernel, "{name}");
            let inside = inside.into_iter().filter(|&inside| inside).count();
            assert_eq!(inside, taps * taps, "{name}");
            assert_eq!(inside * channels * units, count, "{name}");
        }
        Ok(())
    }

    #[test]
    fn connections_of_a_layer() -> Result<()> {
        let mut rng = Rng::new(9);
        for (side, kernel, (channels, units), count) in
            [(6, 2, (64, 64), 495_616), (11, 3, (16, 64), 984_064)]
        {
            let geometry = Geometry::Conv2d(Conv2dConfig::same(kernel));
            let shape = [units, channels, kernel, kernel];
            let tied = random(&mut rng, &shape, geometry, Protocol::Urfb)?;
            let untied = tied.untied((side, side))?;
            for weights in [Some(untied.weight()), untied.feedback()] {
                let values = weights.expect("weights").flatten_all()?.to_vec1::<f32>()?;
                assert_eq!(values.into_iter().filter(|value| *value != 0.0).count(), count);
            }
        }
        Ok(())
    }
}

/// A network in which each layer has a different protocol: each layer's error follows from the error above by the
/// definition of its own protocol.
#[test]
fn mixed_protocols() -> Result<()> {
    let mut rng = Rng::new(10);
    let shapes: [&[usize]; 4] = [&[6, 5], &[7, 6], &[4, 7], &[3, 4]];
    for chosen in [
        [Protocol::Urfb, Protocol::Backprop, Protocol::Frfb, Protocol::UniformSign],
        [
            Protocol::Backprop,
            Protocol::FixedRandomSign,
            Protocol::Partial { rate: 0.5 },
            Protocol::Identical,
        ],
    ] {
        let layers: Vec<(FeedbackLayer, Protocol)> = shapes
            .iter()
            .zip(chosen)
            .map(|(shape, protocol)| {
                let (w, r) =
                    (normal(&mut rng, shape, DType::F64)?, normal(&mut rng, shape, DType::F64)?);
                Ok((layer(&w, &r, Geometry::Dense, protocol)?, protocol))
            })
            .collect::<Result<_>>()?;
        let mut x = normal(&mut rng, &[3, 5], DType::F64)?;
        let (mut inputs, mut fields) = (Vec::new(), Vec::new());
        for (layer, _) in &layers {
            inputs.push(x.detach());
            let h = layer.forward(&x)?;
            fields.push(h.detach());
            x = ramp(&h, 0.5)?;
        }
        let error = normal(&mut rng, &[3, 3], DType::F64)?;
        let grads = (x * &error)?.sum_all()?.backward()?;
        // δ = σ′(h) ⊙ φ, G = δᵀx, φ = δK.
        let mut phi = error;
        for (((layer, protocol), x), h) in layers.iter().zip(&inputs).zip(&fields).rev() {
            let open = (h * 0.5)?.abs()?.lt(1.0)?.to_dtype(DType::F64)?;
            let delta = ((phi * open)? * 0.5)?;
            let want = delta.t()?.matmul(x)?;
            assert_close("G", &gradient(&grads, layer.weight()), &want, 1e-13)?;
            let of_feedback = layer.feedback_gradient(&grads)?;
            assert_eq!(of_feedback.is_some(), rate(*protocol).is_some());
            if let (Some(got), Some(rate)) = (of_feedback, rate(*protocol)) {
                assert_close("∂R", &got, &(want * rate)?, 1e-13)?;
            }
            phi = delta.matmul(&layer.error_weight()?)?;
        }
    }
    Ok(())
}

/// Direct feedback: each hidden layer gets `e·B` and nothing from the layer above; the output keeps its own error. A
/// layer below one with direct feedback gets its error from that layer.
#[test]
fn direct_feedback_of_two_hidden_layers() -> Result<()> {
    let mut rng = Rng::new(11);
    let mut make = |shape: &[usize]| {
        let w = normal(&mut rng, shape, DType::F64)?;
        layer(&w, &w, Geometry::Dense, Protocol::Backprop)
    };
    let (l0, l1, l2, l3) = (make(&[5, 4])?, make(&[6, 5])?, make(&[7, 6])?, make(&[3, 7])?);
    let (b1, b2) = (normal(&mut rng, &[3, 6], DType::F64)?, normal(&mut rng, &[3, 7], DType::F64)?);
    let (x, error) =
        (normal(&mut rng, &[2, 4], DType::F64)?, normal(&mut rng, &[2, 3], DType::F64)?);
    let x0 = l0.forward(&x)?;
    let x1 = l1.forward(&x0)?;
    let x2 = l2.forward(&x1.detach())?;
    let out = l3.forward(&x2.detach())?;
    let with = direct_feedback(&direct_feedback(&out, &x1, &b1)?, &x2, &b2)?;
    assert_close("output", &with, &out, 0.0)?;
    let grads = (with * &error)?.sum_all()?.backward()?;
    let (e1, e2) = (error.matmul(&b1)?, error.matmul(&b2)?);
    let e0 = e1.matmul(l1.weight())?;
    for (name, layer, error, x) in
        [("0", &l0, e0, &x), ("1", &l1, e1, &x0), ("2", &l2, e2, &x1), ("3", &l3, error, &x2)]
    {
        assert_close(name, &gradient(&grads, layer.weight()), &error.t()?.matmul(x)?, 1e-13)?;
    }
    Ok(())
}

/// Direct feedback also reaches a hidden layer of images.
#[test]
fn direct_feedback_to_images() -> Result<()> {
    let mut rng = Rng::new(12);
    let hidden = Var::from_tensor(&normal(&mut rng, &[2, 3, 2, 2], DType::F32)?)?;
    let b = normal(&mut rng, &[4, 12], DType::F32)?;
    let error = normal(&mut rng, &[2, 4], DType::F32)?;
    let out = direct_feedback(&normal(&mut rng, &[2, 4], DType::F32)?, &hidden, &b)?;
    let grads = (out * &error)?.sum_all()?.backward()?;
    let want = error.matmul(&b)?.reshape((2, 3, 2, 2))?;
    assert_close("e·B", &gradient(&grads, &hidden), &want, 0.0)
}
