//! Numbers of `exact` once more in f32, with the CPU's kernels and with the ops that other devices run. They are exact
//! or have six digits, and must be met to 1e-5.

use crate::exact::{FIVE_STEPS, SOFTHEBB_WEIGHT};
use candle::{DType, Device, Result, Tensor};
use candle_hebbian::ops::{
    BatchNorm, Ties, avg_pool2d, composed, max_pool2d, pad_reflect, triangle,
};
use candle_hebbian::{
    AdaptiveThreshold, Competition, Conv2dConfig, Geometry, HardWta, Hebb, Instar, KWta,
    LargestEntry, Layer, NormDependent, Oja, Response, Rule, SoftHebb, SoftWta, SoftWtaAntiHebbian,
    Steps,
};

const CPU: &Device = &Device::Cpu;
const TOLERANCE: f64 = 1e-5;

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    assert_eq!(tensor.dtype(), DType::F32);
    tensor.detach().to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn near(name: &str, found: &Tensor, want: &[f64]) -> Result<()> {
    let found = numbers(found)?;
    assert_eq!(found.len(), want.len(), "{name}: {found:?}");
    for (at, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= TOLERANCE, "{name}[{at}]: {found}, expected {want}");
    }
    Ok(())
}

fn tensor(values: &[f64], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(values, shape, CPU)?.to_dtype(DType::F32)
}

/// Runs `check` with kernels and with candle's ops.
fn both_ways(check: impl Fn() -> Result<()>) -> Result<()> {
    check()?;
    composed(check)
}

fn dense(weight: &[f64], units: usize) -> Result<Layer> {
    Layer::from_tensor(&tensor(weight, &[units, weight.len() / units])?, Geometry::Dense)
}

fn conv(weight: &[f64], units: usize) -> Result<Layer> {
    let weight = tensor(weight, &[units, 1, 2, 2])?;
    Layer::from_tensor(&weight, Geometry::Conv2d(Conv2dConfig::default()))
}

/// The update of a rule, and minus the gradient of its loss.
fn check_rule(
    name: &str,
    rule: &dyn Rule,
    response: &Response,
    post: &Tensor,
    update: &[f64],
) -> Result<()> {
    let synapses = response.synapses(post)?;
    near(name, &synapses.update(rule)?, update)?;
    let grads = synapses.loss(rule)?.backward()?;
    let gradient = grads.get(response.weight()).expect("a gradient for the weight");
    near(&format!("{name}, gradient"), &gradient.neg()?, update)
}

/// The step of SoftHebb's released code, for the activity `post`.
fn step(layer: &Layer, response: &Response, post: &Tensor) -> Result<()> {
    let gradient = response.synapses(post)?.update(&SoftHebb)?.neg()?;
    let chain = Steps::builder(0.08).then(LargestEntry).then(NormDependent { power: 0.5 });
    chain.build([(layer.var()?, layer.dims())])?.descend(|_| Some(gradient.clone()))
}

const SIGNED: SoftWtaAntiHebbian = SoftWtaAntiHebbian { inverse_temperature: 1.0 };

#[test]
fn softhebb_of_one_sample() -> Result<()> {
    both_ways(|| {
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let response = layer.response(&tensor(&[1.0, 2.0], &[1, 2])?)?;
        near("u", response.u(), &[1.0, 1.5, 1.0])?;
        let soft = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
        near("y", &soft, &[0.274069, 0.451863, 0.274069])?;
        let update = [0.0, 0.548137, 0.112966, 0.564828, 0.548137, 0.274069];
        check_rule("soft", &SoftHebb, &response, &soft, &update)?;
        let hard = HardWta.compete(response.u())?;
        check_rule("hard", &SoftHebb, &response, &hard, &[0.0, 0.0, 0.25, 1.25, 0.0, 0.0])?;
        let signed = SIGNED.compete(response.u())?;
        near("signed y", &signed, &[-0.274069, 0.451863, -0.274069])?;
        let update = [0.0, -0.548137, 0.112966, 0.564828, -0.548137, -0.274069];
        check_rule("signed", &SoftHebb, &response, &signed, &update)?;
        step(&layer, &response, &signed)?;
        let weight = [1.0, -7.8e-7, 0.508659, 0.543296, -1.049966, 0.975017];
        near("new w", layer.weight(), &weight)?;
        near("new r", &layer.radii()?, &[1.0, 0.744247, 1.432860])
    })
}

#[test]
fn softhebb_of_a_batch_of_two() -> Result<()> {
    both_ways(|| {
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let response = layer.response(&tensor(&[1.0, 2.0, 2.0, -1.0], &[2, 2])?)?;
        let post = SoftWtaAntiHebbian { inverse_temperature: 2.0 }.compete(response.u())?;
        let y = [-0.211942, 0.576117, -0.211942, 0.952533, -0.047424, -0.000043];
        near("signed y", &post, &y)?;
        let update = [0.0, -1.376416, 0.061038, 0.779426, -0.423840, -0.212028];
        check_rule("D", &SoftHebb, &response, &post, &update)
    })
}

#[test]
fn softhebb_of_a_convolution() -> Result<()> {
    both_ways(|| {
        let layer = conv(&[0.5, 0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.0], 2)?;
        let x = tensor(&[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 1.0, 0.0, 1.0], &[1, 1, 3, 3])?;
        let response = layer.response(&x)?;
        near("u", response.u(), &[2.0, 0.0, 0.0, 2.5, 0.0, 2.0, 2.0, 0.0])?;
        let post = SIGNED.compete(response.u())?;
        #[rustfmt::skip]
        let update = [
            1.761594, -0.509325, -0.346777, 1.761594,
            -0.476812, 2.454701, 1.617248, -0.476812,
        ];
        check_rule("D", &SoftHebb, &response, &post, &update)?;
        step(&layer, &response, &post)?;
        #[rustfmt::skip]
        let weight = [
            0.531071, -0.008983, -0.006116, 0.531071,
            -0.008410, 0.543296, 0.528525, -0.008410,
        ];
        near("new w", layer.weight(), &weight)
    })
}

#[test]
fn softhebb_over_five_steps() -> Result<()> {
    both_ways(|| {
        let layer = dense(&SOFTHEBB_WEIGHT, 3)?;
        let x = tensor(&[1.0, 2.0, 2.0, -1.0, -1.0, 0.5], &[3, 2])?;
        for (at, weight) in FIVE_STEPS.iter().enumerate() {
            let response = layer.response(&x)?;
            step(&layer, &response, &SIGNED.compete(response.u())?)?;
            near(&format!("w after step {}", at + 1), layer.weight(), weight)?;
        }
        Ok(())
    })
}

/// A single unit that always fires, from radius 3 towards 1, by the released code's step.
#[test]
fn norm_dynamics() -> Result<()> {
    both_ways(|| {
        let half = 0.5f64.sqrt();
        let (x, always) = (tensor(&[half, half], &[1, 2])?, tensor(&[1.0], &[1, 1, 1])?);
        let layer = dense(&[3.0, 0.0], 1)?;
        for at in 1..=250 {
            step(&layer, &layer.response(&x)?, &always)?;
            let radius = numbers(&layer.radii()?)?[0];
            match at {
                1 => near("r after 1", &layer.radii()?, &[2.886898])?,
                5 => near("r after 5", &layer.radii()?, &[2.467820])?,
                10 => near("r after 10", &layer.radii()?, &[2.020021])?,
                20 => near("r after 20", &layer.radii()?, &[1.386616])?,
                50.. => assert!((radius - 1.0).abs() < 0.0033, "r after {at}: {radius}"),
                _ => {}
            }
        }
        Ok(())
    })
}

/// x = (1, 2), w = (0.5, 0.75): u = 2 and ‖w‖² = 0.8125; `y` is supplied.
#[test]
fn miconis_rules_of_one_synapse_pair() -> Result<()> {
    both_ways(|| {
        let layer = dense(&[0.5, 0.75], 1)?;
        let response = layer.response(&tensor(&[1.0, 2.0], &[1, 2])?)?;
        for (y, [hebb, instar, oja]) in [
            (2.0, [[2.0, 4.0], [1.0, 2.5], [0.0, 1.0]]),
            (1.0, [[1.0, 2.0], [0.5, 1.25], [0.5, 1.25]]),
            (3.0, [[3.0, 6.0], [1.5, 3.75], [-1.5, -0.75]]),
        ] {
            let post = tensor(&[y], &[1, 1, 1])?;
            check_rule("hebb", &Hebb, &response, &post, &hebb)?;
            check_rule("instar", &Instar, &response, &post, &instar)?;
            check_rule("oja", &Oja, &response, &post, &oja)?;
        }
        Ok(())
    })
}

/// Two filters that tie at the first position, where both win: rules, triangle, pool and thresholds.
#[test]
fn miconis_convolution_with_a_tie() -> Result<()> {
    both_ways(|| {
        let layer = conv(&[0.5, 0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 0.0], 2)?;
        let x = tensor(&[1.0, 2.0, 0.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0], &[1, 1, 3, 3])?;
        let response = layer.response(&x)?;
        near("u", &response.output()?, &[1.0, 2.5, 0.0, 1.0, 1.0, 0.5, 1.5, 1.5])?;
        let post = KWta::binary(1).compete(response.u())?;
        near("y", &response.fold(&post)?, &[1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0])?;
        let update = [2.0, 2.0, 1.0, 3.0, 2.0, 4.5, 0.5, 2.0];
        check_rule("instar", &Instar, &response, &post, &update)?;
        let update = [3.0, 2.0, 1.0, 4.0, 2.0, 6.0, 2.0, 2.0];
        check_rule("hebb", &Hebb, &response, &post, &update)?;
        let out = triangle(&response.output()?, 1.0, false)?;
        near("triangle", &out, &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.75, 0.25])?;
        near("pooled", &avg_pool2d(&out, 2, 2, 0)?, &[0.25, 0.25])?;
        let threshold = AdaptiveThreshold::new((1, 2), 3.0, 0.5, DType::F32, CPU)?;
        threshold.adapt(&post)?;
        near("θ", threshold.values(), &[0.0, 0.75])?;
        let excess = response.fold(&threshold.apply(response.u())?)?;
        near("r", &excess, &[1.0, 2.5, 0.0, 1.0, 0.25, -0.25, 0.75, 0.75])
    })
}

#[test]
fn parts_of_blocks() -> Result<()> {
    both_ways(|| {
        let u = tensor(&[3.0, 1.0, -1.0, 5.0], &[1, 4, 1, 1])?;
        near("triangle, 0.7", &triangle(&u, 0.7, true)?, &[1.0, 0.0, 0.0, 2.157669])?;
        near("triangle, 1.4", &triangle(&u, 1.4, true)?, &[1.0, 0.0, 0.0, 4.655537])?;
        let norm = BatchNorm::new(1, DType::F32, CPU)?;
        let out = norm.forward_train(&tensor(&[1.0, 2.0, 3.0, 6.0], &[4, 1])?)?;
        near("batch norm", &out, &[-1.069043, -0.534522, 0.0, 1.603565])?;
        near("running mean", norm.running_mean(), &[0.3])?;
        near("running var", norm.running_var(), &[1.366667])?;
        let counting: Vec<f64> = (1..=16).map(f64::from).collect();
        let x = tensor(&counting, &[1, 1, 4, 4])?;
        near("max", &max_pool2d(&x, 4, 2, 1, Ties::First)?, &[11.0, 12.0, 15.0, 16.0])?;
        near("avg", &avg_pool2d(&x, 4, 2, 1)?, &[3.375, 3.9375, 5.625, 6.1875])?;
        let padded = pad_reflect(&tensor(&counting[..9], &[1, 1, 3, 3])?, 1)?;
        near("reflected", &padded.narrow(2, 1, 1)?, &[2.0, 1.0, 2.0, 3.0, 2.0])
    })
}
