//! Hand-worked numbers in f64. Those of SoftHebb follow Journé et al. 2023 (arXiv 2209.11883) with
//! the released code's normalised step; those of Hebb, instar and Oja follow Miconi 2021 (arXiv
//! 2107.01729) with the loss `−Σ sg(y)·s`. Each was worked out from the rule on paper and is given
//! here with the digits it was rounded to.

use candle::{DType, Device, Result, Tensor};
use candle_hebbian::ops::{BatchNorm, avg_pool2d, max_pool2d, pad_reflect, triangle};
use candle_hebbian::{
    AdaptiveThreshold, Competition, Conv2dConfig, ExponentialDecay, Geometry, HardWta, Hebb,
    Instar, KWta, LargestEntry, Layer, LinearDecay, NoCompetition, NormDependent, Oja, PaddingMode,
    Response, Rule, SoftHebb, SoftWta, SoftWtaAntiHebbian, State, Steps, StepsBuilder, UnitNorm,
    ops::Ties,
};

/// Half a unit in the sixth decimal, plus a little for digits dropped in intermediate results.
const SIX_DIGITS: f64 = 6e-7;
/// Numbers that are exact in decimal, up to rounding in f64.
const EXACT: f64 = 1e-12;

fn near(name: &str, got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
    let got = got.flatten_all()?.to_vec1::<f64>()?;
    assert_eq!(got.len(), want.len(), "{name}: {got:?}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{name}[{i}]: {got}, expected {want}");
    }
    Ok(())
}

fn tensor(values: &[f64], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(values, shape, &Device::Cpu)
}

fn dense(weight: &[f64], units: usize) -> Result<Layer> {
    Layer::from_tensor(&tensor(weight, &[units, weight.len() / units])?, Geometry::Dense)
}

fn conv(weight: &[f64], units: usize, config: Conv2dConfig) -> Result<Layer> {
    Layer::from_tensor(&tensor(weight, &[units, 1, 2, 2])?, Geometry::Conv2d(config))
}

/// Checks a rule in three ways: the update as minus the gradient of the loss, the result of
/// `update`, and the value of the loss if one is given.
fn check_rule(
    name: &str,
    rule: &dyn Rule,
    (response, post): (&Response, &Tensor),
    (update, loss): (&[f64], Option<f64>),
    tolerance: f64,
) -> Result<Tensor> {
    let value = response.synapses(post)?.loss(rule)?;
    let mut grads = value.backward()?;
    let gradient = grads.remove(response.weight()).expect("a gradient for the weight");
    near(&format!("{name}, gradient"), &gradient.neg()?, update, tolerance)?;
    let direct = response.synapses(post)?.update(rule)?;
    near(&format!("{name}, update"), &direct, update, tolerance)?;
    if let Some(loss) = loss {
        near(&format!("{name}, loss"), &value, &[loss], tolerance)?;
    }
    Ok(direct)
}

/// `d (S, K)` of a rule of the decay form.
fn decay(rule: &dyn Rule, response: &Response, post: &Tensor) -> Result<Tensor> {
    let update = rule.update(&response.synapses(post)?, &mut State::default())?;
    Ok(update.decay().expect("a decay").clone())
}

pub const SOFTHEBB_WEIGHT: [f64; 6] = [1.0, 0.0, 0.5, 0.5, -1.0, 1.0];

/// These weights after each of five steps.
#[rustfmt::skip]
pub const FIVE_STEPS: [[f64; 6]; 5] = [
    [1.000000, -0.000001, 0.497408, 0.521902, -1.005338, 0.960060],
    [1.000000, -0.000002, 0.495058, 0.542966, -1.008491, 0.923383],
    [1.000000, -0.000002, 0.492909, 0.563124, -1.010054, 0.889776],
    [1.000000, -0.000003, 0.490929, 0.582327, -1.010472, 0.858997],
    [1.000000, -0.000004, 0.489089, 0.600548, -1.010070, 0.830795],
];

/// Takes a step of the layer's weights with `chain`.
fn take(chain: StepsBuilder, layer: &Layer, gradient: &Tensor) -> Result<()> {
    let mut steps = chain.build([(layer.var()?, layer.dims())])?;
    steps.descend(|_| Some(gradient.clone()))
}

/// The released code's step.
fn released(learning_rate: f64, power: f64) -> StepsBuilder {
    unit(learning_rate).then(NormDependent { power })
}

/// A step whose largest entry is the learning rate.
fn unit(learning_rate: f64) -> StepsBuilder {
    Steps::builder(learning_rate).then(LargestEntry)
}

mod softhebb {
    use super::*;

    #[test]
    fn one_sample() -> Result<()> {
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let response = layer.response(&tensor(&[1.0, 2.0], &[1, 2])?)?;
        near("u", response.u(), &[1.0, 1.5, 1.0], EXACT)?;

        let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
        near("y", &post, &[0.274069, 0.451863, 0.274069], SIX_DIGITS)?;
        let update = [0.0, 0.548137, 0.112966, 0.564828, 0.548137, 0.274069];
        check_rule("soft", &SoftHebb, (&response, &post), (&update, None), SIX_DIGITS)?;

        let post = HardWta.compete(response.u())?;
        near("one-hot", &post, &[0.0, 1.0, 0.0], EXACT)?;
        let update = [0.0, 0.0, 0.25, 1.25, 0.0, 0.0];
        check_rule("hard", &SoftHebb, (&response, &post), (&update, None), EXACT)?;

        let post = SoftWtaAntiHebbian { inverse_temperature: 1.0 }.compete(response.u())?;
        near("signed y", &post, &[-0.274069, 0.451863, -0.274069], SIX_DIGITS)?;
        let update = [0.0, -0.548137, 0.112966, 0.564828, -0.548137, -0.274069];
        let update =
            check_rule("signed", &SoftHebb, (&response, &post), (&update, None), SIX_DIGITS)?;

        near("r", &layer.radii()?, &[1.0, 0.5f64.sqrt(), 2f64.sqrt()], EXACT)?;
        take(released(0.08, 0.5), &layer, &update.neg()?)?;
        let weight = [1.0, -7.8e-7, 0.508659, 0.543296, -1.049966, 0.975017];
        near("new w", layer.weight(), &weight, SIX_DIGITS)?;
        near("new r", &layer.radii()?, &[1.0, 0.744247, 1.432860], SIX_DIGITS)?;
        // The first row moves by η₀·1e-5 times −0.970449, far below six digits.
        let moved = layer.weight().to_vec2::<f64>()?[0][1];
        assert!((moved / (-0.970449 * 8e-7) - 1.0).abs() < 1e-5, "{moved}");
        Ok(())
    }

    #[test]
    fn rates_of_one_sample() -> Result<()> {
        // With a gradient of −1 everywhere, every weight moves by its unit's rate.
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let before = layer.weight().copy()?;
        take(released(0.08, 0.5), &layer, &tensor(&[-1.0; 6], &[3, 2])?)?;
        // The rates in column 1, where the first weight is 0, so that adding to it loses no digits.
        let rates = (layer.weight() - before)?.narrow(1, 1, 1)?.t()?;
        near("η", &rates, &[8e-7, 0.043296, 0.051488], SIX_DIGITS)?;
        near("η at r = 1", &rates.narrow(1, 0, 1)?, &[8e-7], 1e-18)
    }

    #[test]
    fn batch_of_two() -> Result<()> {
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let x = tensor(&[1.0, 2.0, 2.0, -1.0], &[2, 2])?;
        let response = layer.response(&x)?;
        near("u", response.u(), &[1.0, 1.5, 1.0, 2.0, 0.5, -3.0], EXACT)?;
        let signed = SoftWtaAntiHebbian { inverse_temperature: 2.0 };
        let post = signed.compete(response.u())?;
        let y = [-0.211942, 0.576117, -0.211942, 0.952533, -0.047424, -0.000043];
        near("signed y", &post, &y, SIX_DIGITS)?;
        let decay = decay(&SoftHebb, &response, &post)?;
        near("s", &decay, &[1.693124, 0.840463, -0.211812], SIX_DIGITS)?;
        let pre = response.synapses(&post)?.update(&Hebb)?;
        let a = [1.693124, -1.376416, 0.481269, 1.199658, -0.212028, -0.423840];
        near("A", &pre, &a, SIX_DIGITS)?;
        let update = [0.0, -1.376416, 0.061038, 0.779426, -0.423840, -0.212028];
        let expected = (&update[..], Some(-1.476910));
        let once = check_rule("batch", &SoftHebb, (&response, &post), expected, SIX_DIGITS)?;

        // D̂ is what a step at a constant rate of 1 adds; repeating the batch does not change it.
        let normalised = [0.0, -1.0, 0.044345, 0.566272, -0.307930, -0.154044];
        let before = layer.weight().copy()?;
        take(unit(1.0), &layer, &once.neg()?)?;
        let moved = (layer.weight() - &before)?;
        near("D̂", &moved, &normalised, SIX_DIGITS)?;
        layer.var()?.set(&before)?;
        let twice = layer.response(&Tensor::cat(&[&x, &x], 0)?)?;
        let update = twice.synapses(&signed.compete(twice.u())?)?.update(&SoftHebb)?;
        near("D of two batches", &(update.clone() / 2.0)?, &once.flatten_all()?.to_vec1()?, EXACT)?;
        take(unit(1.0), &layer, &update.neg()?)?;
        near("D̂ of two batches", &(layer.weight() - &before)?, &normalised, SIX_DIGITS)
    }

    #[test]
    fn convolution() -> Result<()> {
        let layer = conv(&[0.5, 0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.0], 2, Default::default())?;
        let x = tensor(&[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 1.0, 0.0, 1.0], &[1, 1, 3, 3])?;
        let response = layer.response(&x)?;
        #[rustfmt::skip]
        let patches = [
            1.0, 0.0, 0.0, 3.0,
            0.0, 2.0, 3.0, 0.0,
            0.0, 3.0, 1.0, 0.0,
            3.0, 0.0, 0.0, 1.0,
        ];
        near("patches", response.pre()?, &patches, EXACT)?;
        near("u", response.u(), &[2.0, 0.0, 0.0, 2.5, 0.0, 2.0, 2.0, 0.0], EXACT)?;
        let output = [2.0, 0.0, 0.0, 2.0, 0.0, 2.5, 2.0, 0.0]; // channels first
        near("output", &response.output()?, &output, EXACT)?;

        let post = SoftWtaAntiHebbian { inverse_temperature: 1.0 }.compete(response.u())?;
        #[rustfmt::skip]
        let y = [
            0.880797, -0.119203,
            -0.075858, 0.924142,
            -0.119203, 0.880797,
            0.880797, -0.119203,
        ];
        near("signed y", &post, &y, SIX_DIGITS)?;
        #[rustfmt::skip]
        let a = [
            3.523188, -0.509325, -0.346777, 3.523188,
            -0.476812, 4.490675, 3.653223, -0.476812,
        ];
        near("A", &response.synapses(&post)?.update(&Hebb)?, &a, SIX_DIGITS)?;
        let decay = decay(&SoftHebb, &response, &post)?;
        near("s", &decay, &[3.523188, 4.071949], SIX_DIGITS)?;
        #[rustfmt::skip]
        let update = [
            1.761594, -0.509325, -0.346777, 1.761594,
            -0.476812, 2.454701, 1.617248, -0.476812,
        ];
        let expected = (&update[..], Some(-5.696353));
        let update = check_rule("conv", &SoftHebb, (&response, &post), expected, SIX_DIGITS)?;
        take(released(0.08, 0.5), &layer, &update.neg()?)?;
        #[rustfmt::skip]
        let weight = [
            0.531071, -0.008983, -0.006116, 0.531071,
            -0.008410, 0.543296, 0.528525, -0.008410,
        ];
        near("new w", layer.weight(), &weight, SIX_DIGITS)
    }

    #[test]
    fn five_steps() -> Result<()> {
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let x = tensor(&[1.0, 2.0, 2.0, -1.0, -1.0, 0.5], &[3, 2])?;
        let competition = SoftWtaAntiHebbian { inverse_temperature: 1.0 };
        for (i, weight) in FIVE_STEPS.iter().enumerate() {
            let response = layer.response(&x)?;
            let post = competition.compete(response.u())?;
            let gradient = response.synapses(&post)?.update(&SoftHebb)?.neg()?;
            take(released(0.08, 0.5), &layer, &gradient)?;
            near(&format!("w after step {}", i + 1), layer.weight(), weight, SIX_DIGITS)?;
        }
        Ok(())
    }

    /// A single unit that always fires turns towards the input and reaches norm 1.
    #[test]
    fn norm_dynamics() -> Result<()> {
        let half = 0.5f64.sqrt();
        let x = tensor(&[half, half], &[1, 2])?;
        let always = tensor(&[1.0], &[1, 1, 1])?;
        let run =
            |layer: &Layer, move_by: &dyn Fn(&Tensor) -> Result<()>, after: &[(usize, f64)]| {
                let mut wanted = after.iter().peekable();
                for i in 1..=after.last().map_or(0, |last| last.0) {
                    move_by(&layer.response(&x)?.synapses(&always)?.update(&SoftHebb)?)?;
                    if let Some(&(_, r)) = wanted.next_if(|want| want.0 == i) {
                        near(&format!("r after {i}"), &layer.radii()?, &[r], SIX_DIGITS)?;
                    }
                }
                assert!(wanted.next().is_none());
                Ok::<_, candle::Error>(())
            };

        let plain = dense(&[3.0, 0.0], 1)?;
        let by_rate = |update: &Tensor| {
            let weight = plain.var()?;
            weight.set(&(weight.as_detached_tensor() + (update * 0.05)?)?)
        };
        let radii = [(1, 2.717387), (5, 2.009082), (10, 1.566433), (50, 1.008731), (200, 1.000000)];
        run(&plain, &by_rate, &radii)?;
        near("w after 200", plain.weight(), &[half, half], 1e-4)?;

        let normalised = dense(&[3.0, 0.0], 1)?;
        let by_step = |update: &Tensor| take(released(0.08, 0.5), &normalised, &update.neg()?);
        let radii = [(1, 2.886898), (5, 2.467820), (10, 2.020021), (20, 1.386616), (50, 1.001823)];
        run(&normalised, &by_step, &radii)?;
        // The norm ends in a small oscillation: (η₀·√2/2)^2 = 0.0032.
        for _ in 0..200 {
            by_step(&normalised.response(&x)?.synapses(&always)?.update(&SoftHebb)?)?;
            near("r at the end", &normalised.radii()?, &[1.0], 0.0033)?;
        }
        Ok(())
    }
}

mod parts {
    use super::*;

    const REFLECTED: [f64; 25] = [
        5.0, 4.0, 5.0, 6.0, 5.0, 2.0, 1.0, 2.0, 3.0, 2.0, 5.0, 4.0, 5.0, 6.0, 5.0, 8.0, 7.0, 8.0,
        9.0, 8.0, 5.0, 4.0, 5.0, 6.0, 5.0,
    ];

    #[test]
    fn reflection() -> Result<()> {
        let x = Tensor::arange(1f64, 10.0, &Device::Cpu)?.reshape((1, 1, 3, 3))?;
        near("pad_reflect", &pad_reflect(&x, 1)?, &REFLECTED, 0.0)?;
        // The layer's own padding, seen through a window of one pixel.
        let config =
            Conv2dConfig { padding: 1, padding_mode: PaddingMode::Reflect, ..Default::default() };
        let layer = Layer::from_tensor(&tensor(&[1.0], &[1, 1, 1, 1])?, Geometry::Conv2d(config))?;
        near("layer", &layer.response(&x)?.output()?, &REFLECTED, 0.0)
    }

    #[test]
    fn triangle_powers() -> Result<()> {
        let u = tensor(&[3.0, 1.0, -1.0, 5.0], &[1, 4, 1, 1])?;
        near("0.7", &triangle(&u, 0.7, true)?, &[1.0, 0.0, 0.0, 2.157669], SIX_DIGITS)?;
        near("1", &triangle(&u, 1.0, true)?, &[1.0, 0.0, 0.0, 3.0], EXACT)?;
        near("1.4", &triangle(&u, 1.4, true)?, &[1.0, 0.0, 0.0, 4.655537], SIX_DIGITS)
    }

    #[test]
    fn batch_norm() -> Result<()> {
        let x = tensor(&[1.0, 2.0, 3.0, 6.0], &[4, 1])?;
        let norm = BatchNorm::new(1, DType::F64, &Device::Cpu)?;
        let identity = (1.0 + 1e-5f64).sqrt().recip();
        let fresh: Vec<f64> = [1.0, 2.0, 3.0, 6.0].iter().map(|x| x * identity).collect();
        near("before training", &norm.forward(&x)?, &fresh, EXACT)?;
        let out = norm.forward_train(&x)?;
        near("training", &out, &[-1.069043, -0.534522, 0.0, 1.603565], SIX_DIGITS)?;
        near("running mean", norm.running_mean(), &[0.3], EXACT)?;
        near("running var", norm.running_var(), &[0.9 + 0.1 * 14.0 / 3.0], EXACT)?;
        let sigma = (0.9 + 1.4 / 3.0 + 1e-5f64).sqrt();
        let evaluated: Vec<f64> = [1.0, 2.0, 3.0, 6.0].iter().map(|x| (x - 0.3) / sigma).collect();
        near("evaluation", &norm.forward(&x)?, &evaluated, EXACT)
    }

    #[test]
    fn pools() -> Result<()> {
        let x = Tensor::arange(1f64, 17.0, &Device::Cpu)?.reshape((1, 1, 4, 4))?;
        let max = max_pool2d(&x, 4, 2, 1, Ties::First)?;
        near("max", &max, &[11.0, 12.0, 15.0, 16.0], 0.0)?;
        near("avg", &avg_pool2d(&x, 4, 2, 1)?, &[3.375, 3.9375, 5.625, 6.1875], EXACT)?;
        // The padding holds −∞, not 0.
        let max = max_pool2d(&(x.neg()? - 1.0)?, 4, 2, 1, Ties::First)?;
        near("max of negatives", &max, &[-2.0, -3.0, -6.0, -7.0], 0.0)
    }

    #[test]
    fn decaying_rates() -> Result<()> {
        // Weights of 0 with a gradient of −1 move to the learning rate.
        let check = |chain: StepsBuilder, progress: f64, want: f64, tolerance: f64| {
            let name = format!("{chain:?} at {progress}");
            let layer = dense(&[0.0, 0.0], 2)?;
            let mut steps = chain.build([layer.var()?])?;
            steps.set_progress(progress);
            steps.descend(|weight| weight.ones_like().and_then(|one| one.neg()).ok())?;
            near(&name, layer.weight(), &[want, want], tolerance)
        };
        let constant = || Steps::builder(0.05);
        check(constant(), 0.7, 0.05, 0.0)?;

        let linear = || constant().then(LinearDecay);
        for j in 0..=10 {
            check(linear(), 0.1 * f64::from(j), 0.05 - 0.005 * f64::from(j), EXACT)?;
        }
        check(linear(), 1.0, 0.0, 0.0)?;
        // Beyond the end, the rate stays 0.
        check(linear(), 1.1, 0.0, 0.0)?;

        let exponential = || constant().then(ExponentialDecay { speed: 7.0, divisor: 96.0 });
        for (j, want) in [0.05, 0.025069, 0.012688, 0.006540, 0.003487].into_iter().enumerate() {
            check(exponential(), 0.1 * j as f64, want, SIX_DIGITS)?;
        }
        check(exponential(), 1.0, 0.05 / 96.0, EXACT)?;

        // The release's recurrence η ← (η − m)·e^{−speed/steps} + m, with its defaults for dense layers.
        let (speed, divisor, steps) = (0.4f64, 100.0, 20);
        let slow = || constant().then(ExponentialDecay { speed, divisor });
        let end = (-speed).exp();
        let floor = (0.05 / divisor - 0.05 * end) / (1.0 - end);
        let mut rate = 0.05;
        for j in 0..=steps {
            check(slow(), f64::from(j) / f64::from(steps), rate, EXACT)?;
            rate = (rate - floor) * (-speed / f64::from(steps)).exp() + floor;
        }
        Ok(())
    }
}

mod miconi {
    use super::*;

    /// x = (1, 2), w = (0.5, 0.75): u = 2 and ‖w‖² = 0.8125; `y` is supplied.
    #[test]
    fn one_synapse_pair() -> Result<()> {
        let layer = dense(&[0.5, 0.75], 1)?;
        let response = layer.response(&tensor(&[1.0, 2.0], &[1, 2])?)?;
        near("u", response.u(), &[2.0], EXACT)?;
        #[rustfmt::skip]
        let table: [(f64, [[f64; 2]; 3], [f64; 3]); 4] = [
            (2.0, [[2.0, 4.0], [1.0, 2.5], [0.0, 1.0]], [-4.0, -3.1875, -2.375]),
            (1.0, [[1.0, 2.0], [0.5, 1.25], [0.5, 1.25]], [-2.0, -1.59375, -1.59375]),
            (3.0, [[3.0, 6.0], [1.5, 3.75], [-1.5, -0.75]], [-6.0, -4.78125, -2.34375]),
            (0.0, [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 0.0, 0.0]),
        ];
        for (y, updates, losses) in table {
            let post = tensor(&[y], &[1, 1, 1])?;
            let rules: [(&str, &dyn Rule); 3] =
                [("hebb", &Hebb), ("instar", &Instar), ("oja", &Oja)];
            for (((name, rule), update), loss) in rules.into_iter().zip(updates).zip(losses) {
                let name = format!("{name} with y = {y}");
                check_rule(&name, rule, (&response, &post), (&update, Some(loss)), EXACT)?;
            }
        }
        Ok(())
    }

    #[test]
    fn batch_with_one_winner() -> Result<()> {
        let layer = dense(&[0.6, 0.8, 1.0, 0.0], 2)?;
        let response = layer.response(&tensor(&[1.0, 0.0, 0.0, 2.0], &[2, 2])?)?;
        near("u", response.u(), &[0.6, 1.0, 1.6, 0.0], EXACT)?;

        let binary = KWta::binary(1).compete(response.u())?;
        near("y", &binary, &[0.0, 1.0, 1.0, 0.0], 0.0)?;
        let (hebb, other) = ([0.0, 2.0, 1.0, 0.0], [-0.6, 1.2, 0.0, 0.0]);
        check_rule("hebb", &Hebb, (&response, &binary), (&hebb, None), EXACT)?;
        let instar = check_rule("instar", &Instar, (&response, &binary), (&other, None), EXACT)?;
        check_rule("oja", &Oja, (&response, &binary), (&other, None), EXACT)?;

        let graded = KWta::graded(1).compete(response.u())?;
        near("graded y", &graded, &[0.0, 1.0, 1.6, 0.0], EXACT)?;
        let hebb = [0.0, 3.2, 1.0, 0.0];
        check_rule("hebb", &Hebb, (&response, &graded), (&hebb, None), EXACT)?;
        let update = [-0.96, 1.92, 0.0, 0.0];
        check_rule("instar", &Instar, (&response, &graded), (&update, None), EXACT)?;
        let update = [-1.536, 1.152, 0.0, 0.0];
        check_rule("oja", &Oja, (&response, &graded), (&update, None), EXACT)?;

        // After a step of 0.1 and scaling to norm 1; plain Hebb at rate 0.1/0.9 ends there too.
        let renormalised = |update: &Tensor, rate: f64| -> Result<Tensor> {
            let moved = (layer.weight().detach() + (update * rate)?)?.narrow(0, 0, 1)?;
            moved.broadcast_div(&moved.sqr()?.sum_keepdim(1)?.sqrt()?)
        };
        let want = [0.506201, 0.862416];
        near("instar", &renormalised(&instar, 0.1)?, &want, SIX_DIGITS)?;
        let plain = response.synapses(&binary)?.update(&Hebb)?;
        near("plain", &renormalised(&plain, 0.1 / 0.9)?, &want, SIX_DIGITS)
    }

    const IMAGE: [f64; 9] = [1.0, 2.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0];

    /// Post-synaptic activity, rule, update and loss.
    type Case<'a> = (&'a [f64; 4], &'a dyn Rule, [f64; 4], f64);

    /// Losses: −Σ y·u + ½·d·‖w‖² with ‖w‖² = 0.5.
    #[test]
    fn convolution() -> Result<()> {
        let layer = conv(&[0.5, 0.0, 0.0, 0.5], 1, Default::default())?;
        let response = layer.response(&tensor(&IMAGE, &[1, 1, 3, 3])?)?;
        near("u", response.u(), &[1.0, 2.5, 0.0, 1.0], EXACT)?;
        #[rustfmt::skip]
        let cases: [Case; 6] = [
            (&[1.0, 2.5, 0.0, 1.0], &Hebb, [7.0, 5.0, 2.5, 9.5], -8.25),
            (&[1.0, 2.5, 0.0, 1.0], &Instar, [4.75, 5.0, 2.5, 7.25], -8.25 + 4.5 / 4.0),
            (&[1.0, 2.5, 0.0, 1.0], &Oja, [2.875, 5.0, 2.5, 5.375], -8.25 + 8.25 / 4.0),
            (&[1.0, 1.0, 0.0, 1.0], &Hebb, [4.0, 5.0, 1.0, 5.0], -4.5),
            (&[1.0, 1.0, 0.0, 1.0], &Instar, [2.5, 5.0, 1.0, 3.5], -4.5 + 3.0 / 4.0),
            (&[1.0, 1.0, 0.0, 1.0], &Oja, [2.5, 5.0, 1.0, 3.5], -4.5 + 3.0 / 4.0),
        ];
        for (y, rule, update, loss) in cases {
            let name = format!("y = {y:?}, loss {loss}");
            let post = tensor(y, &[1, 4, 1])?;
            check_rule(&name, rule, (&response, &post), (&update, Some(loss)), EXACT)?;
        }
        Ok(())
    }

    /// Both filters respond with 1 at the first position, so both win there.
    #[test]
    fn tie() -> Result<()> {
        let layer = conv(&[0.5, 0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.0], 2, Default::default())?;
        let response = layer.response(&tensor(&IMAGE, &[1, 1, 3, 3])?)?;
        let output = [1.0, 2.5, 0.0, 1.0, 1.0, 0.5, 1.5, 1.5];
        near("u", &response.output()?, &output, EXACT)?;
        let post = KWta::binary(1).compete(response.u())?;
        let winners = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
        near("y", &response.fold(&post)?, &winners, 0.0)?;
        let update = [2.0, 2.0, 1.0, 3.0, 2.0, 4.5, 0.5, 2.0];
        check_rule("instar", &Instar, (&response, &post), (&update, None), EXACT)?;
        let update = [3.0, 2.0, 1.0, 4.0, 2.0, 6.0, 2.0, 2.0];
        check_rule("hebb", &Hebb, (&response, &post), (&update, None), EXACT)?;
        // Hard winner-take-all has no ties: only the first unit wins.
        let hard = response.fold(&HardWta.compete(response.u())?)?;
        near("hard", &hard, &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0], 0.0)?;

        let out = triangle(&response.output()?, 1.0, false)?;
        near("triangle", &out, &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.75, 0.25], EXACT)?;
        near("pooled", &avg_pool2d(&out, 2, 2, 0)?, &[0.25, 0.25], EXACT)?;

        // Win rates of 0.5 and 0.75, with a target of 0.5.
        let threshold = AdaptiveThreshold::new((1, 2), 3.0, 0.5, DType::F64, &Device::Cpu)?;
        near("r", &threshold.apply(response.u())?, &response.u().flatten_all()?.to_vec1()?, 0.0)?;
        threshold.adapt(&post)?;
        near("θ", threshold.values(), &[0.0, 0.75], EXACT)?;
        let excess = response.fold(&threshold.apply(response.u())?)?;
        near("r", &excess, &[1.0, 2.5, 0.0, 1.0, 0.25, -0.25, 0.75, 0.75], EXACT)
    }

    #[test]
    fn stride_two() -> Result<()> {
        let config = Conv2dConfig { stride: 2, ..Default::default() };
        let layer = conv(&[1.0, 0.0, 0.0, 0.0], 1, config)?;
        let x = Tensor::arange(0f64, 16.0, &Device::Cpu)?.reshape((1, 1, 4, 4))?;
        let response = layer.response(&x)?;
        near("u", response.u(), &[0.0, 2.0, 8.0, 10.0], EXACT)?;
        let post = tensor(&[0.0, 2.0, 0.0, 1.0], &[1, 4, 1])?;
        let cases: [(&dyn Rule, [f64; 4]); 3] = [
            (&Hebb, [14.0, 17.0, 26.0, 29.0]),
            (&Instar, [11.0, 17.0, 26.0, 29.0]),
            (&Oja, [9.0, 17.0, 26.0, 29.0]),
        ];
        for (rule, update) in cases {
            check_rule(&format!("{update:?}"), rule, (&response, &post), (&update, None), EXACT)?;
        }
        Ok(())
    }

    fn descend(
        layer: &Layer,
        x: &Tensor,
        rule: &dyn Rule,
        fixed: Option<f64>,
        rate: f64,
    ) -> Result<()> {
        let response = layer.response(x)?;
        let post = match fixed {
            Some(y) => (response.u().ones_like()? * y)?,
            None => NoCompetition.compete(response.u())?,
        };
        let update = response.synapses(&post)?.update(rule)?;
        layer.var()?.set(&(layer.weight().detach() + (update * rate)?)?)
    }

    /// With y = u, Oja's rule finds the first principal component and norm 1.
    #[test]
    fn oja_reaches_norm_one() -> Result<()> {
        let layer = dense(&[0.5, 0.5], 1)?;
        let x = tensor(&[2.0, 0.0, -2.0, 0.0, 0.0, 1.0, 0.0, -1.0], &[4, 2])?;
        for i in 1..=50 {
            descend(&layer, &x, &Oja, None, 0.05)?;
            match i {
                1 => near("step 1", layer.weight(), &[0.6375, 0.4875], EXACT)?,
                2 => near("step 2", layer.weight(), &[0.7737158, 0.4454150], 1e-7)?,
                5 => near("step 5", layer.weight(), &[0.9785160, 0.2122457], 1e-7)?,
                10 => near("step 10", layer.weight(), &[0.9995309, 0.0367695], 1e-7)?,
                _ => {}
            }
        }
        near("step 50", layer.weight(), &[1.0, 2.3e-8], 1e-9)
    }

    /// Without a decay, nothing stops the growth: u grows with w, and w with u.
    #[test]
    fn plain_hebb_grows_without_bound() -> Result<()> {
        let layer = dense(&[0.1, 0.1], 1)?;
        let x = tensor(&[2.0, 0.0, -2.0, 0.0, 0.0, 1.0, 0.0, -1.0], &[4, 2])?;
        // Σ u x = (8 w₁, 2 w₂), so a step of 0.05 multiplies them by 1.4 and 1.1.
        for i in 1..=50 {
            descend(&layer, &x, &Hebb, None, 0.05)?;
            let want = [0.1 * 1.4f64.powi(i), 0.1 * 1.1f64.powi(i)];
            near(&format!("step {i}"), layer.weight(), &want, 1e-9 * want[0])?;
        }
        Ok(())
    }

    #[test]
    fn units_are_scaled_to_norm_one() -> Result<()> {
        let layer = dense(&[3.0, 4.0, 0.0, 0.0], 2)?;
        Steps::builder(0.0).then(UnitNorm).build([layer.var()?])?.constrain()?;
        // A unit whose weights are all 0 keeps them.
        near("w", layer.weight(), &[0.6, 0.8, 0.0, 0.0], 1e-10)
    }

    /// With y = 1, both rules move to the mean of the inputs, halving the distance at each step.
    #[test]
    fn instar_reaches_the_mean() -> Result<()> {
        for rule in [&Instar as &dyn Rule, &Oja] {
            let layer = dense(&[0.0, 0.0], 1)?;
            let x = tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
            for i in 1..=10 {
                descend(&layer, &x, rule, Some(1.0), 0.25)?;
                let left = 0.5f64.powi(i);
                let want = [2.0 * (1.0 - left), 3.0 * (1.0 - left)];
                near(&format!("step {i}"), layer.weight(), &want, EXACT)?;
            }
        }
        Ok(())
    }
}
