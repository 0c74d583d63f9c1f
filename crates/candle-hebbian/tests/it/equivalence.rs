//! Single rules and ops, each computed in two ways; `table` tests what holds for all of them.

use crate::common::RuleName;
use candle::{DType, Device, Result, Tensor, Var};
use candle_hebbian::ops::{Ties, max_pool2d, triangle};
use candle_hebbian::{
    Competition, Conv2dConfig, Geometry, KWta, Layer, Rng, SoftWta, Steps, UnitNorm,
};

const RULES: [RuleName; 4] = [RuleName::Hebb, RuleName::Instar, RuleName::Oja, RuleName::Softhebb];

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// `max|got − want| ≤ tolerance·max(1, max|want|)`
fn agree(name: &str, got: &Tensor, want: &[f64], tolerance: f64) -> Result<()> {
    let got = numbers(got)?;
    assert_eq!(got.len(), want.len(), "{name}");
    let scale = want.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs() / scale;
        assert!(error <= tolerance, "{name}[{i}]: {got}, expected {want}");
    }
    Ok(())
}

/// In f32, `u` is rounded, so a competition could decide differently than in f64 if two units are
/// within rounding of each other. Values on a grid of 1/8 and 1/4 keep every `u` exact in both.
fn on_grid(rng: &mut Rng, shape: &[usize], step: f64) -> Result<Tensor> {
    rng.normal(0.0, 1.0 / step, shape, DType::F64, &Device::Cpu)?.round()? * step
}

/// Sizes that are split over several blocks of work. A loop would take long, so the reference here
/// is the definition in candle's matrix products, in f64.
#[test]
fn large_layers() -> Result<()> {
    let mut rng = Rng::new(11);
    let (rows, fan_in, units) = (1500, 90, 70);
    let x = rng.normal(0.0, 1.0, (rows, fan_in), DType::F64, &Device::Cpu)?;
    let w = rng.normal(0.0, 0.3, (units, fan_in), DType::F64, &Device::Cpu)?;
    let u = x.matmul(&w.t()?)?;
    let softmax = u.broadcast_sub(&u.max_keepdim(1)?)?.exp()?;
    let y = softmax.broadcast_div(&softmax.sum_keepdim(1)?)?;
    for rule in RULES {
        let decay = match rule {
            RuleName::Hebb => y.zeros_like()?,
            RuleName::Instar => y.clone(),
            RuleName::Oja => y.sqr()?,
            RuleName::Softhebb => (&y * &u)?,
        };
        let decay = decay.sum(0)?.unsqueeze(1)?;
        let want = numbers(&(y.t()?.matmul(&x)? - w.broadcast_mul(&decay)?)?)?;
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
            let name = format!("{rule:?} {dtype:?}");
            let layer = Layer::from_tensor(&w.to_dtype(dtype)?, Geometry::Dense)?;
            let response = layer.response(&x.to_dtype(dtype)?)?;
            agree(&name, response.u(), &numbers(&u)?, tolerance)?;
            let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
            agree(&name, &post, &numbers(&y)?, tolerance)?;
            let grads = response.synapses(&post)?.loss(rule.rule())?.backward()?;
            let gradient = grads.get(layer.weight()).expect("a gradient");
            agree(&name, &gradient.neg()?, &want, tolerance)?;
            agree(&name, &response.synapses(&post)?.update(rule.rule())?, &want, tolerance)?;
        }
    }
    Ok(())
}

/// Losses of rules can be scaled and added: the surrogate is an ordinary node of the graph.
#[test]
fn loss_can_be_scaled_and_added() -> Result<()> {
    let mut rng = Rng::new(2);
    let layer = Layer::from_tensor(&on_grid(&mut rng, &[4, 5], 0.25)?, Geometry::Dense)?;
    let response = layer.response(&on_grid(&mut rng, &[6, 5], 0.125)?)?;
    let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
    let [oja, hebb] = [RuleName::Oja, RuleName::Hebb].map(RuleName::rule);
    let sum = ((response.synapses(&post)?.loss(oja)? * 0.25)?
        - (response.synapses(&post)?.loss(hebb)? * 3.0)?)?;
    let want = ((response.synapses(&post)?.update(hebb)? * 3.0)?
        - (response.synapses(&post)?.update(oja)? * 0.25)?)?;
    let grads = sum.backward()?;
    agree("sum", grads.get(layer.weight()).expect("a gradient"), &numbers(&want)?, 1e-12)
}

/// Of equal maxima, either the first in row order gets the gradient or each gets all of it.
#[test]
fn pool_ties() -> Result<()> {
    let x = Tensor::new(&[[[[2f64, 5.0, 5.0], [5.0, 1.0, 0.0]]]], &Device::Cpu)?;
    for (ties, want) in
        [(Ties::First, [0.0, 8.0, 0.0, 0.0, 0.0, 0.0]), (Ties::All, [0.0, 8.0, 5.0, 3.0, 0.0, 0.0])]
    {
        let var = Var::from_tensor(&x)?;
        let out = max_pool2d(&var, 2, 1, 0, ties)?;
        let g = Tensor::new(&[[[[3f64, 5.0]]]], &Device::Cpu)?;
        let grads = (out * g)?.sum_all()?.backward()?;
        agree(&format!("{ties:?}"), grads.get(&var).expect("a gradient"), &want, 0.0)?;
    }
    Ok(())
}

/// A constant added to all channels does not change a triangle, so its exact gradient sums to 0
/// over the channels.
#[test]
fn triangle_gradient_sums_to_zero_over_channels() -> Result<()> {
    let mut rng = Rng::new(10);
    let u = Var::from_tensor(&rng.normal(0.0, 1.0, (2, 5, 3, 3), DType::F64, &Device::Cpu)?)?;
    let grads = triangle(&u, 1.4, false)?.sqr()?.sum_all()?.backward()?;
    let sums = grads.get(&u).expect("a gradient").sum(1)?;
    agree("sums", &sums, &[0.0; 18], 1e-12)?;
    Ok(())
}

/// Scales every unit to norm 1.
fn unit_norms(layer: &Layer) -> Result<()> {
    Steps::builder(0.0).then(UnitNorm).build([layer.var()?])?.constrain()
}

/// Layer 1 on a batch as in Miconi's check of the gradient: 27 standardised colour images, 100 filters
/// of 5×5, stride 12, ten winners. The gradient of every weight is compared with the sum over columns.
#[test]
fn gradient_is_the_sum_over_columns() -> Result<()> {
    let mut rng = Rng::new(27);
    let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu);
    let x = candle_hebbian::ops::standardise(&normal((27, 3, 32, 32))?, 1e-10)?;
    let config = Conv2dConfig { stride: 12, ..Default::default() };
    let layer = Layer::from_tensor(&normal((100, 3, 5, 5))?, Geometry::Conv2d(config))?;
    unit_norms(&layer)?;
    let response = layer.response(&x)?;
    let (pixels, w) = (numbers(&x)?, numbers(layer.weight())?);
    for competition in [KWta::binary(10), KWta::graded(10)] {
        let post = competition.compete(response.u())?;
        let y = numbers(&post)?;
        assert!(y.chunks(100).all(|column| column.iter().filter(|&&y| y > 0.0).count() == 10));
        for rule in [RuleName::Hebb, RuleName::Instar, RuleName::Oja] {
            let mut want = vec![0f64; w.len()];
            for (column, y) in y.chunks(100).enumerate() {
                let (image, top, left) = (column / 9, column / 3 % 3 * 12, column % 3 * 12);
                for (filter, &y) in y.iter().enumerate().filter(|(_, y)| **y != 0.0) {
                    let decay = match rule {
                        RuleName::Instar => y,
                        RuleName::Oja => y * y,
                        _ => 0.0,
                    };
                    for at in 0..75 {
                        let (channel, row, col) = (at / 25, at / 5 % 5, at % 5);
                        let pixel = ((image * 3 + channel) * 32 + top + row) * 32 + left + col;
                        let weight = filter * 75 + at;
                        want[weight] += y * pixels[pixel] - decay * w[weight];
                    }
                }
            }
            let grads = response.synapses(&post)?.loss(rule.rule())?.backward()?;
            let gradient = grads.get(layer.weight()).expect("a gradient").neg()?;
            let name = format!("{rule:?} {competition:?}");
            let largest = want.iter().fold(0f64, |most, value| most.max(value.abs()));
            assert!(largest > 1.0, "{name}: {largest}");
            agree(&name, &gradient, &want, 1e-6)?;
        }
    }
    Ok(())
}

/// With binary winners and norm 1 after each step, Oja's rule equals instar, and instar at rate η
/// equals plain Hebb at rate η/(1 − ηn) for a unit that wins n times.
#[test]
fn renormalisation_makes_the_rules_alike() -> Result<()> {
    let mut rng = Rng::new(28);
    let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu);
    let (weight, x) = (normal((1, 5, 12))?.squeeze(0)?, normal((1, 40, 12))?.squeeze(0)?);
    let eta = 0.02;
    let layer = |rule: RuleName, rate: &dyn Fn(f64) -> f64| -> Result<Vec<f64>> {
        let layer = Layer::from_tensor(&weight.clone(), Geometry::Dense)?;
        unit_norms(&layer)?;
        let response = layer.response(&x)?;
        let post = KWta::binary(2).compete(response.u())?;
        let wins = candle_hebbian::ops::column_counts(&post)?.flatten_all()?.to_vec1::<f64>()?;
        let rates: Vec<f64> = wins.into_iter().map(rate).collect();
        let update = response.synapses(&post)?.update(rule.rule())?;
        let step = update.broadcast_mul(&Tensor::new(rates, &Device::Cpu)?.unsqueeze(1)?)?;
        layer.var()?.set(&(layer.weight().detach() + step)?)?;
        unit_norms(&layer)?;
        numbers(layer.weight())
    };
    let instar = layer(RuleName::Instar, &|wins| {
        assert!(wins > 0.0 && eta * wins < 1.0, "{wins} wins");
        eta
    })?;
    assert_eq!(layer(RuleName::Oja, &|_| eta)?, instar);
    let plain = layer(RuleName::Hebb, &|wins| eta / (1.0 - eta * wins))?;
    for (plain, instar) in plain.iter().zip(&instar) {
        assert!((plain - instar).abs() < 1e-9, "{plain}, {instar}");
    }
    Ok(())
}
