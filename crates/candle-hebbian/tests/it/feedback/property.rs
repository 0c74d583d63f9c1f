//! Invariants over random shapes, strides, paddings and groups.

use super::*;
use candle::Module;

const SEEDS: u64 = 60;

/// A random case with a random layer of a random protocol.
fn draw(seed: u64) -> Result<(String, Case, FeedbackLayer, Rng)> {
    let mut rng = Rng::new(seed);
    let mut within = |low: usize, high: usize| low + rng.below(high - low + 1);
    let (batch, units, channels) = (within(1, 4), within(1, 18), within(1, 4));
    let case = if seed.is_multiple_of(4) {
        let fan_in = within(1, 40);
        case(Geometry::Dense, &[batch, fan_in], &[units, fan_in])
    } else {
        let (kh, kw, dilation) = (within(1, 4), within(1, 4), within(1, 2));
        let height = within(dilation * (kh - 1) + 1, 9);
        let width = within(dilation * (kw - 1) + 1, 9);
        let config = Conv2dConfig {
            stride: within(1, 3),
            padding: within(0, 2),
            trailing_padding: within(0, 1),
            dilation,
            groups: if seed % 4 == 1 { 1 } else { within(1, 3) },
            ..Default::default()
        };
        let groups = config.groups;
        if seed % 4 == 1 {
            let (oh, ow) = (config.output_size(height, kh)?, config.output_size(width, kw)?);
            case(
                Geometry::LocallyConnected2d(config),
                &[batch, channels, height, width],
                &[oh, ow, units, channels, kh, kw],
            )
        } else {
            case(
                Geometry::Conv2d(config),
                &[batch, channels * groups, height, width],
                &[units * groups, channels, kh, kw],
            )
        }
    };
    let protocol = PROTOCOLS[within(0, PROTOCOLS.len() - 1)];
    let (w, r) =
        (normal(&mut rng, &case.weight, DType::F64)?, normal(&mut rng, &case.weight, DType::F64)?);
    let layer = layer(&w, &r, case.geometry, protocol)?;
    Ok((format!("seed {seed}: {protocol} {case:?}"), case, layer, rng))
}

/// The response and all gradients equal those from the list of connections.
#[test]
fn equals_the_connections() -> Result<()> {
    for seed in 0..SEEDS {
        let (name, case, layer, mut rng) = draw(seed)?;
        let x = Var::from_tensor(&normal(&mut rng, &case.input, DType::F64)?)?;
        let out = layer.forward(&x)?;
        let delta = normal(&mut rng, out.dims(), DType::F64)?;
        let want = oracle(&case, &x, layer.weight(), &layer.error_weight()?, &delta)?;
        let grads = send(&layer, &x, &delta)?;
        assert_close(&name, &out, &want.out, 1e-12)?;
        assert_close(&name, &gradient(&grads, &x), &want.grad_x, 1e-12)?;
        assert_close(&name, &gradient(&grads, layer.weight()), &want.grad_w, 1e-12)?;
    }
    Ok(())
}

/// Channels last only changes the order of the numbers, forwards and backwards.
#[test]
fn channels_last_is_a_permutation() -> Result<()> {
    for seed in 0..SEEDS {
        let (name, case, layer, mut rng) = draw(seed)?;
        let x = Var::from_tensor(&normal(&mut rng, &case.input, DType::F64)?)?;
        let (to_last, to_first) = ([0, 2, 3, 1], [0, 3, 1, 2]);
        let turned = |t: &Tensor, order: [usize; 4]| {
            if t.rank() == 4 { t.permute(order) } else { Ok(t.clone()) }
        };
        let first = layer.forward(&x)?;
        let last = turned(&layer.forward_channels_last(&turned(&x, to_last)?)?, to_first)?;
        assert_close(&name, &last, &first, 1e-13)?;
        let delta = normal(&mut rng, first.dims(), DType::F64)?;
        let want = (first * &delta)?.sum_all()?.backward()?;
        let got = (last * &delta)?.sum_all()?.backward()?;
        let (phi, want_phi) = (gradient(&got, &x), gradient(&want, &x));
        assert_close(&name, &phi, &want_phi, 1e-13)?;
        for (got, want) in gradients(&layer, &got)?.iter().zip(gradients(&layer, &want)?) {
            assert_close(&name, got, &want, 1e-13)?;
        }
    }
    Ok(())
}

/// Repeating the batch doubles the gradient of the weights and repeats `φ`.
#[test]
fn twice_the_batch() -> Result<()> {
    for seed in 0..SEEDS {
        let (name, case, layer, mut rng) = draw(seed)?;
        let x = normal(&mut rng, &case.input, DType::F64)?;
        let delta = normal(&mut rng, layer.forward(&x)?.dims(), DType::F64)?;
        let (once, twice) = (Var::from_tensor(&x)?, Var::from_tensor(&Tensor::cat(&[&x, &x], 0)?)?);
        let want = send(&layer, &once, &delta)?;
        let got = send(&layer, &twice, &Tensor::cat(&[&delta, &delta], 0)?)?;
        for (got, want) in gradients(&layer, &got)?.iter().zip(gradients(&layer, &want)?) {
            assert_close(&name, got, &(want * 2.0)?, 1e-12)?;
        }
        let phi = gradient(&want, &once);
        assert_close(&name, &gradient(&got, &twice), &Tensor::cat(&[&phi, &phi], 0)?, 1e-13)?;
    }
    Ok(())
}

/// `φ` and the gradients are linear in `δ`.
#[test]
fn linear_in_the_error() -> Result<()> {
    for seed in 0..SEEDS {
        let (name, case, layer, mut rng) = draw(seed)?;
        let x = Var::from_tensor(&normal(&mut rng, &case.input, DType::F64)?)?;
        let shape = layer.forward(&x)?.dims().to_vec();
        let (a, b) = (normal(&mut rng, &shape, DType::F64)?, normal(&mut rng, &shape, DType::F64)?);
        let both = send(&layer, &x, &((&a * 2.0)? - (&b * 0.5)?)?)?;
        let (a, b) = (send(&layer, &x, &a)?, send(&layer, &x, &b)?);
        let all = |grads: &GradStore| -> Result<Vec<Tensor>> {
            Ok([gradients(&layer, grads)?, vec![gradient(grads, &x)]].concat())
        };
        for ((got, a), b) in all(&both)?.iter().zip(all(&a)?).zip(all(&b)?) {
            assert_close(&name, got, &((a * 2.0)? - (b * 0.5)?)?, 1e-12)?;
        }
    }
    Ok(())
}

/// Dropout keeps the mean; with probability 0, it keeps everything.
#[test]
fn dropout_keeps_the_mean() -> Result<()> {
    use candle_hebbian::ops::Dropout;
    let x = tensor(&[0.5, -2.0, 3.0, 0.0], &[1, 4])?;
    let draws = 20_000;
    let many = x.broadcast_as((draws, 4))?.contiguous()?;
    for p in [0.3, 0.5, 0.8] {
        let out = Dropout::new(p)?.apply(&many, &mut Rng::new(18))?;
        for (mean, x) in flat(&out.mean(0)?)?.into_iter().zip(flat(&x)?) {
            // The variance of x·b/(1−p) for a Bernoulli b of 1−p is x²·p/(1−p).
            let error = (x * x * p / (1.0 - p) / draws as f64).sqrt();
            assert!((mean - x).abs() <= 4.5 * error, "{mean}, expected {x} ± {error}");
        }
    }
    assert_close("p = 0", &Dropout::new(0.0)?.apply(&many, &mut Rng::new(0))?, &many, 0.0)
}
