//! Two ways to one result. A rule's surrogate gradient, its direct update and a plain loop over
//! samples and synapses, written here from the definition with its own padding and indices, must
//! agree for every rule, competition and geometry; gradients must agree with central differences.

mod common;

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::ops::{
    BatchNorm, Ties, avg_pool2d, max_pool2d, normalise, pad_reflect, repu, triangle,
};
use candle_hebbian::{
    Competition, Conv2dConfig, Geometry, HardWta, KWta, LargestEntry, Layer, NoCompetition,
    NormDependent, PaddingMode, RankedWta, Rng, SoftWta, SoftWtaAntiHebbian, Steps, UnitNorm,
};
use common::RuleName;

const RULES: [RuleName; 4] = [RuleName::Hebb, RuleName::Instar, RuleName::Oja, RuleName::Softhebb];

/// Post-synaptic activity of one row, from the definition of a competition.
type Definition = fn(&[f64]) -> Vec<f64>;

const COMPETITIONS: [(&dyn Competition, Definition); 8] = [
    (&NoCompetition, |u| u.to_vec()),
    (&HardWta, |u| of_units(u, |k| if k == winner(u) { 1.0 } else { 0.0 })),
    (&KWta { k: 2, graded: false }, |u| of_units(u, |k| if wins(u, 2, k) { 1.0 } else { 0.0 })),
    (&KWta { k: 2, graded: true }, |u| of_units(u, |k| if wins(u, 2, k) { u[k] } else { 0.0 })),
    (&SoftWta { inverse_temperature: 0.7 }, |u| of_units(u, |k| soft(u, 0.7, k))),
    (&SoftWtaAntiHebbian { inverse_temperature: 1.0 }, |u| of_units(u, |k| signed(u, 1.0, k))),
    (&SoftWtaAntiHebbian { inverse_temperature: 0.3 }, |u| of_units(u, |k| signed(u, 0.3, k))),
    (&RankedWta { k: 2, delta: 0.4 }, |u| {
        of_units(u, |k| [1.0, -0.4].get(rank(u, k)).copied().unwrap_or(0.0))
    }),
];

fn of_units(u: &[f64], activity: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..u.len()).map(activity).collect()
}

fn winner(u: &[f64]) -> usize {
    (0..u.len()).rev().fold(0, |best, k| if u[k] >= u[best] { k } else { best })
}

/// How many rank before unit `unit`.
fn rank(u: &[f64], unit: usize) -> usize {
    (0..u.len()).filter(|&k| u[k] > u[unit] || (u[k] == u[unit] && k < unit)).count()
}

fn wins(u: &[f64], k: usize, unit: usize) -> bool {
    let mut sorted = u.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    u[unit] >= sorted[k - 1] && u[unit] > 0.0
}

fn soft(u: &[f64], t: f64, unit: usize) -> f64 {
    let shift = u.iter().fold(f64::NEG_INFINITY, |m, &u| m.max(t * u));
    let total: f64 = u.iter().map(|&u| (t * u - shift).exp()).sum();
    (t * u[unit] - shift).exp() / total
}

fn signed(u: &[f64], t: f64, unit: usize) -> f64 {
    if unit == winner(u) { soft(u, t, unit) } else { -soft(u, t, unit) }
}

/// A layer in words: the loop below reads nothing else.
struct Case {
    name: &'static str,
    geometry: Geometry,
    input: Vec<usize>,
    weight: Vec<usize>,
}

fn conv(
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    reflect: bool,
) -> Conv2dConfig {
    let padding_mode = if reflect { PaddingMode::Reflect } else { PaddingMode::Zeros };
    Conv2dConfig { stride, padding, dilation, groups, padding_mode, ..Default::default() }
}

fn cases() -> Vec<Case> {
    let case = |name, geometry, input: &[usize], weight: &[usize]| Case {
        name,
        geometry,
        input: input.to_vec(),
        weight: weight.to_vec(),
    };
    let tied = |name, config, input: &[usize], weight: &[usize]| {
        case(name, Geometry::Conv2d(config), input, weight)
    };
    let untied = |name, config, input: &[usize], weight: &[usize]| {
        case(name, Geometry::LocallyConnected2d(config), input, weight)
    };
    vec![
        case("dense", Geometry::Dense, &[7, 5], &[4, 5]),
        case("one sample", Geometry::Dense, &[1, 3], &[2, 3]),
        tied("conv", conv(1, 0, 1, 1, false), &[2, 3, 6, 5], &[4, 3, 3, 2]),
        tied("stride", conv(2, 0, 1, 1, false), &[2, 3, 7, 6], &[4, 3, 3, 3]),
        tied("zeros", conv(1, 2, 1, 1, false), &[2, 2, 5, 4], &[3, 2, 3, 3]),
        tied("reflect", conv(1, 2, 1, 1, true), &[2, 2, 5, 4], &[3, 2, 3, 3]),
        tied("dilation", conv(1, 1, 2, 1, true), &[2, 2, 6, 7], &[3, 2, 3, 2]),
        tied("all", conv(3, 2, 2, 1, false), &[2, 2, 9, 8], &[3, 2, 3, 3]),
        tied("groups", conv(1, 0, 1, 2, false), &[2, 4, 5, 5], &[6, 2, 2, 3]),
        tied("groups and all", conv(2, 2, 2, 2, true), &[2, 4, 7, 6], &[4, 2, 3, 2]),
        untied("untied", conv(1, 0, 1, 1, false), &[3, 2, 4, 5], &[3, 3, 3, 2, 2, 3]),
        untied("untied zeros", conv(2, 1, 1, 1, false), &[3, 2, 5, 6], &[3, 3, 2, 2, 3, 3]),
        untied("untied reflect", conv(2, 1, 2, 1, true), &[2, 2, 5, 6], &[2, 3, 2, 2, 3, 2]),
    ]
}

/// The sample that unit `unit` at window `(b, oh, ow)` sees, one value a synapse.
fn samples(case: &Case, x: &[f64]) -> Vec<Vec<Vec<f64>>> {
    let (config, [c_in, kh, kw], positions) = match (case.geometry, &case.weight[..]) {
        (Geometry::Dense, &[_, f]) => return vec![x.chunks(f).map(<[f64]>::to_vec).collect()],
        (Geometry::Conv2d(config), &[_, c, kh, kw]) => (config, [c, kh, kw], None),
        (Geometry::LocallyConnected2d(config), &[oh, ow, _, c, kh, kw]) => {
            (config, [c, kh, kw], Some((oh, ow)))
        }
        _ => unreachable!("the cases above"),
    };
    let &[batch, channels, height, width] = &case.input[..] else { unreachable!() };
    let size = |size: usize, kernel: usize| {
        (size + 2 * config.padding - config.dilation * (kernel - 1) - 1) / config.stride + 1
    };
    let (oh, ow) = (size(height, kh), size(width, kw));
    if let Some(positions) = positions {
        assert_eq!(positions, (oh, ow), "{}: the case's own weights", case.name);
    }
    // Where a padded coordinate reads: mirrored at pixel 0 and at the last, or nowhere.
    let source = |at: usize, size: usize| -> Option<usize> {
        let (at, size) = (at as i64 - config.padding as i64, size as i64);
        match config.padding_mode {
            _ if (0..size).contains(&at) => Some(at as usize),
            PaddingMode::Zeros => None,
            PaddingMode::Reflect if at < 0 => Some(-at as usize),
            PaddingMode::Reflect => Some((2 * (size - 1) - at) as usize),
        }
    };
    let patch = |b: usize, group: usize, i: usize, j: usize| {
        let mut patch = Vec::new();
        for c in group * c_in..(group + 1) * c_in {
            for a in 0..kh {
                for e in 0..kw {
                    let h = source(i * config.stride + a * config.dilation, height);
                    let w = source(j * config.stride + e * config.dilation, width);
                    patch.push(match (h, w) {
                        (Some(h), Some(w)) => x[((b * channels + c) * height + h) * width + w],
                        _ => 0.0,
                    });
                }
            }
        }
        patch
    };
    let windows = || (0..oh).flat_map(move |i| (0..ow).map(move |j| (i, j)));
    match case.geometry {
        Geometry::LocallyConnected2d(_) => {
            windows().map(|(i, j)| (0..batch).map(|b| patch(b, 0, i, j)).collect()).collect()
        }
        _ => (0..config.groups)
            .map(|g| {
                (0..batch)
                    .flat_map(|b| windows().map(move |(i, j)| (b, i, j)))
                    .map(|(b, i, j)| patch(b, g, i, j))
                    .collect()
            })
            .collect(),
    }
}

struct Naive {
    update: Vec<f64>,
    loss: f64,
}

/// The per-synapse rule, sample by sample.
fn naive(case: &Case, x: &[f64], w: &[f64], rule: RuleName, compete: Definition) -> Naive {
    let sites = samples(case, x);
    let fan_in = sites[0][0].len();
    let units = w.len() / (fan_in * sites.len());
    let mut update = vec![0.0; w.len()];
    let mut loss = 0.0;
    for (s, rows) in sites.iter().enumerate() {
        let weight = |k: usize| &w[(s * units + k) * fan_in..][..fan_in];
        for x in rows {
            let u: Vec<f64> =
                (0..units).map(|k| x.iter().zip(weight(k)).map(|(x, w)| x * w).sum()).collect();
            for (k, y) in compete(&u).into_iter().enumerate() {
                let decay = match rule {
                    RuleName::Hebb => 0.0,
                    RuleName::Instar => y,
                    RuleName::Oja => y * y,
                    RuleName::Softhebb => y * u[k],
                };
                let norm: f64 = weight(k).iter().map(|w| w * w).sum();
                loss += -y * u[k] + 0.5 * decay * norm;
                for f in 0..fan_in {
                    update[(s * units + k) * fan_in + f] += y * x[f] - decay * weight(k)[f];
                }
            }
        }
    }
    Naive { update, loss }
}

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

/// The same numbers seen through strides: contiguous, permuted, or a slice of something larger.
fn views(x: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
    let rank = x.rank();
    let mut last: Vec<usize> = (0..rank).collect();
    last.rotate_left(1);
    let mut back: Vec<usize> = (0..rank).collect();
    back.rotate_right(1);
    let permuted = x.permute(last)?.contiguous()?.permute(back)?;
    let channels_last = match rank {
        4 => x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))?,
        _ => permuted.clone(),
    };
    let mut sliced = x.clone();
    for dim in 0..rank {
        let edge = sliced.narrow(dim, 0, 1)?.affine(0.0, 1e6)?;
        sliced = Tensor::cat(&[&edge, &sliced, &edge], dim)?;
    }
    for dim in 0..rank {
        sliced = sliced.narrow(dim, 1, x.dim(dim)?)?;
    }
    assert!(!permuted.is_contiguous() || x.dims().iter().filter(|&&d| d > 1).count() < 2);
    Ok(vec![
        ("contiguous", x.clone()),
        ("permuted", permuted),
        ("channels last", channels_last),
        ("sliced", sliced),
    ])
}

/// f32 rounds `u`, so a competition could decide otherwise than in f64 where two units are within
/// rounding of each other; values on a grid of 1/8 and 1/4 keep every `u` exact in both.
fn on_grid(rng: &mut Rng, shape: &[usize], step: f64) -> Result<Tensor> {
    rng.normal(0.0, 1.0 / step, shape, DType::F64, &Device::Cpu)?.round()? * step
}

#[test]
fn gradient_is_update_is_loop() -> Result<()> {
    let mut rng = Rng::new(1);
    let mut checked = 0;
    for case in cases() {
        let x = on_grid(&mut rng, &case.input, 0.125)?;
        let w = on_grid(&mut rng, &case.weight, 0.25)?;
        let (flat_x, flat_w) = (numbers(&x)?, numbers(&w)?);
        for rule in RULES {
            for (competition, definition) in COMPETITIONS {
                let want = naive(&case, &flat_x, &flat_w, rule, definition);
                for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
                    let layer = Layer::from_tensor(&w.to_dtype(dtype)?, case.geometry)?;
                    for (view, x) in views(&x.to_dtype(dtype)?)? {
                        let name =
                            format!("{} {rule:?} {competition:?} {dtype:?} {view}", case.name);
                        let response = layer.response(&x)?;
                        let post = competition.compete(response.u())?;
                        let loss = response.synapses(&post)?.loss(rule.rule())?;
                        let grads = loss.backward()?;
                        // Nothing but the weight has a gradient.
                        assert_eq!(grads.get_ids().count(), 1, "{name}");
                        let gradient = grads.get(layer.weight()).expect("a gradient");
                        assert_eq!(gradient.dims(), case.weight, "{name}");
                        let update = response.synapses(&post)?.update(rule.rule())?;
                        assert_eq!(update.dims(), case.weight, "{name}");
                        agree(&name, &gradient.neg()?, &want.update, tolerance)?;
                        agree(&name, &update, &want.update, tolerance)?;
                        agree(&format!("{name} loss"), &loss, &[want.loss], tolerance)?;
                        checked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(checked, 13 * 4 * 8 * 2 * 4);
    Ok(())
}

/// Sizes that are split over blocks of work: the loop would take long, so the other way here is
/// the definition in candle's products, in f64.
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

/// A rule scaled by a factor: the surrogate is an ordinary node of the graph.
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

/// Channel groups are layers of their own: competition, update and step.
#[test]
fn two_groups_are_two_layers() -> Result<()> {
    let mut rng = Rng::new(3);
    let config = conv(2, 1, 1, 2, true);
    let half = Conv2dConfig { groups: 1, ..config };
    let x = rng.normal(0.0, 1.0, (3, 6, 7, 7), DType::F64, &Device::Cpu)?;
    // Halves of different scale, so that one largest entry for both would show.
    let lower = rng.normal(0.0, 0.3, (5, 3, 3, 3), DType::F64, &Device::Cpu)?;
    let upper = rng.normal(0.0, 1.5, (5, 3, 3, 3), DType::F64, &Device::Cpu)?;
    for rule in RULES {
        for (competition, _) in COMPETITIONS {
            let learn = |layer: &Layer, x: &Tensor| -> Result<Tensor> {
                let response = layer.response(x)?;
                let post = competition.compete(response.u())?;
                let gradient = response.synapses(&post)?.update(rule.rule())?.neg()?;
                let chain =
                    Steps::builder(0.08).then(LargestEntry).then(NormDependent { power: 0.5 });
                let mut steps = chain.build([(layer.var()?, layer.dims())])?;
                steps.descend(|_| Some(gradient.clone()))?;
                response.output()
            };
            let whole =
                Layer::from_tensor(&Tensor::cat(&[&lower, &upper], 0)?, Geometry::Conv2d(config))?;
            let output = learn(&whole, &x)?;
            for (g, weight) in [&lower, &upper].into_iter().enumerate() {
                let name = format!("{rule:?} {competition:?} group {g}");
                let layer = Layer::from_tensor(&weight.clone(), Geometry::Conv2d(half))?;
                let part = learn(&layer, &x.narrow(1, 3 * g, 3)?)?;
                agree(&name, &output.narrow(1, 5 * g, 5)?, &numbers(&part)?, 1e-12)?;
                let moved = whole.weight().narrow(0, 5 * g, 5)?;
                agree(&name, &moved, &numbers(layer.weight())?, 1e-12)?;
            }
        }
    }
    Ok(())
}

/// Central differences of `f` at `x`, one coordinate at a time.
fn differences(x: &Tensor, f: impl Fn(&Tensor) -> Result<f64>) -> Result<Vec<f64>> {
    let values = numbers(x)?;
    let h = 1e-5;
    (0..values.len())
        .map(|i| {
            let at = |shift: f64| {
                let mut values = values.clone();
                values[i] += shift;
                f(&Tensor::from_vec(values, x.shape(), x.device())?)
            };
            Ok((at(h)? - at(-h)?) / (2.0 * h))
        })
        .collect()
}

/// Numbers far from each other and from 0, so that no maximum and no kink is within the step of
/// the central differences.
fn apart(rng: &mut Rng, shape: &[usize]) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = rng
        .permutation(count)
        .into_iter()
        .map(|i| (i as f64 + 0.5) * 0.01 - count as f64 * 0.004)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Checks the gradient of `Σ g·f(x)` for a random `g`; `frozen` is `f` with whatever the backward
/// pass takes for constant held at its value at `x`.
fn check_gradient(
    name: &str,
    rng: &mut Rng,
    x: &Tensor,
    f: impl Fn(&Tensor) -> Result<Tensor>,
    frozen: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let var = Var::from_tensor(x)?;
    let out = f(&var)?;
    let g = rng.normal(0.0, 1.0, out.shape(), DType::F64, &Device::Cpu)?;
    let grads = (&out * &g)?.sum_all()?.backward()?;
    let want = differences(x, |x| (frozen(x)? * &g)?.sum_all()?.to_scalar())?;
    let got = grads.get(&var).expect("a gradient");
    assert_eq!(got.dims(), x.dims(), "{name}");
    agree(name, got, &want, 1e-7)
}

#[test]
fn forward_gradients_are_differences() -> Result<()> {
    let mut rng = Rng::new(4);
    for case in cases() {
        let x = rng.normal(0.0, 1.0, case.input.as_slice(), DType::F64, &Device::Cpu)?;
        let w = rng.normal(0.0, 1.0, case.weight.as_slice(), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&w.clone(), case.geometry)?;
        let forward = |x: &Tensor| layer.forward(x);
        // A square makes the gradient depend on the value of the response.
        check_gradient(case.name, &mut rng, &x, |x| forward(x)?.sqr(), |x| forward(x)?.sqr())?;

        let out = layer.forward(&x)?;
        agree(case.name, &out, &numbers(&layer.response(&x)?.output()?)?, 1e-12)?;
        let grads = out.sqr()?.sum_all()?.backward()?;
        let want = differences(&w, |w| {
            let layer = Layer::from_tensor(&w.clone(), case.geometry)?;
            layer.forward(&x)?.sqr()?.sum_all()?.to_scalar()
        })?;
        agree(case.name, grads.get(layer.weight()).expect("a gradient"), &want, 1e-7)?;
        // An input outside the graph gets no gradient, nor do its patches.
        assert_eq!(grads.get_ids().count(), 1, "{}", case.name);
    }
    Ok(())
}

/// The gradient reaches an input through any strides.
#[test]
fn forward_gradient_through_a_view() -> Result<()> {
    let mut rng = Rng::new(5);
    for case in cases().into_iter().filter(|case| case.input.len() == 4) {
        let x = rng.normal(0.0, 1.0, case.input.as_slice(), DType::F64, &Device::Cpu)?;
        let w = rng.normal(0.0, 1.0, case.weight.as_slice(), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&w, case.geometry)?;
        let contiguous = Var::from_tensor(&x)?;
        let wanted = layer.forward(&contiguous)?.sqr()?.sum_all()?.backward()?;
        let wanted = wanted.get(&contiguous).expect("a gradient").clone();
        let stored = Var::from_tensor(&x.permute((3, 0, 2, 1))?.contiguous()?)?;
        let seen = stored.permute((1, 3, 2, 0))?;
        let got = layer.forward(&seen)?.sqr()?.sum_all()?.backward()?;
        let got = got.get(&stored).expect("a gradient").permute((1, 3, 2, 0))?;
        agree(case.name, &got, &numbers(&wanted)?, 1e-12)?;
    }
    Ok(())
}

#[test]
fn pool_gradients_are_differences() -> Result<()> {
    let mut rng = Rng::new(6);
    let windows = [(2, 2, 0), (4, 2, 1), (3, 2, 1), (3, 1, 1), (2, 3, 0), (3, 3, 0), (1, 2, 0)];
    for (kernel, stride, padding) in windows {
        let name = format!("{kernel} {stride} {padding}");
        let x = apart(&mut rng, &[2, 3, 7, 6])?;
        let max = |x: &Tensor| max_pool2d(x, kernel, stride, padding, Ties::First);
        check_gradient(&format!("max {name}"), &mut rng, &x, max, max)?;
        let all = |x: &Tensor| max_pool2d(x, kernel, stride, padding, Ties::All);
        check_gradient(&format!("max, all ties {name}"), &mut rng, &x, all, all)?;
        let avg = |x: &Tensor| avg_pool2d(x, kernel, stride, padding);
        check_gradient(&format!("avg {name}"), &mut rng, &x, avg, avg)?;
        // Channels last in memory takes another path.
        let last = |x: &Tensor| x.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2));
        check_gradient(&name, &mut rng, &x, |x| max(&last(x)?), max)?;
        check_gradient(&name, &mut rng, &x, |x| avg(&last(x)?), avg)?;
    }
    Ok(())
}

/// Of equal maxima the first in row order gets the gradient, or each of them all of it.
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

#[test]
fn pad_gradient_is_differences() -> Result<()> {
    let mut rng = Rng::new(7);
    for padding in 0..4 {
        let x = apart(&mut rng, &[2, 2, 4, 5])?;
        let pad = |x: &Tensor| pad_reflect(x, padding);
        check_gradient(&format!("pad {padding}"), &mut rng, &x, pad, pad)?;
    }
    Ok(())
}

#[test]
fn batch_norm_gradient_is_differences() -> Result<()> {
    let mut rng = Rng::new(8);
    for shape in [&[6, 3][..], &[4, 3, 5], &[3, 2, 4, 3]] {
        let x = rng.normal(1.0, 2.0, shape, DType::F64, &Device::Cpu)?;
        let normal = |x: &Tensor| Ok(normalise(x, 1e-5)?.0);
        check_gradient(&format!("{shape:?}"), &mut rng, &x, normal, normal)?;
        // Evaluation: an affine map, statistics constant.
        let norm = BatchNorm::new(shape[1], DType::F64, &Device::Cpu)?;
        norm.forward_train(&x)?;
        let evaluate = |x: &Tensor| norm.forward(x);
        check_gradient(&format!("{shape:?} evaluation"), &mut rng, &x, evaluate, evaluate)?;
    }
    Ok(())
}

/// Normal draws, again until none and none less its channel mean is near 0, where powers bend.
fn off_kinks(rng: &mut Rng, shape: &[usize]) -> Result<Tensor> {
    let smallest = |t: &Tensor| t.abs()?.flatten_all()?.min(0)?.to_scalar::<f64>();
    loop {
        let u = rng.normal(0.0, 2.0, shape, DType::F64, &Device::Cpu)?;
        let excess = u.broadcast_sub(&u.mean_keepdim(1)?)?;
        if smallest(&u)?.min(smallest(&excess)?) > 0.03 {
            return Ok(u);
        }
    }
}

#[test]
fn rectified_gradients_are_differences() -> Result<()> {
    let mut rng = Rng::new(9);
    for shape in [&[5, 7][..], &[2, 5, 3, 4]] {
        for power in [0.7, 1.0, 1.4, 2.0] {
            let name = format!("{shape:?}^{power}");
            let u = off_kinks(&mut rng, shape)?;
            let exact = |u: &Tensor| triangle(u, power, false);
            check_gradient(&format!("triangle {name}"), &mut rng, &u, exact, exact)?;

            // The definition with the mean held where it was.
            let mean = u.mean_keepdim(1)?;
            let frozen = |u: &Tensor| {
                let excess = u.broadcast_sub(&mean)?;
                let active = excess.gt(0.0)?.to_dtype(DType::F64)?;
                // Powers of what is not active would be NaN.
                excess.abs()?.powf(power)? * active
            };
            let constant = |u: &Tensor| triangle(u, power, true);
            let name = format!("constant mean {name}");
            check_gradient(&name, &mut rng, &u, constant, frozen)?;
            agree(&name, &constant(&u)?, &numbers(&frozen(&u)?)?, 1e-12)?;

            let rectified = |u: &Tensor| repu(u, power);
            check_gradient(&format!("repu {name}"), &mut rng, &u, rectified, rectified)?;
        }
    }
    Ok(())
}

/// Exact gradients of a triangle do not see a constant added to all channels.
#[test]
fn triangle_gradient_sums_to_zero_over_channels() -> Result<()> {
    let mut rng = Rng::new(10);
    let u = Var::from_tensor(&apart(&mut rng, &[2, 5, 3, 3])?)?;
    let grads = triangle(&u, 1.4, false)?.sqr()?.sum_all()?.backward()?;
    let sums = grads.get(&u).expect("a gradient").sum(1)?;
    agree("sums", &sums, &[0.0; 18], 1e-12)?;
    Ok(())
}

/// Norm 1 for every unit.
fn unit_norms(layer: &Layer) -> Result<()> {
    Steps::builder(0.0).then(UnitNorm).build([layer.var()?])?.constrain()
}

/// Layer 1 on a batch as Miconi's check of the gradient has it: 27 standardised colour images, 100
/// filters of 5×5, stride 12, ten winners. Every weight, beside the sum over columns.
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

/// With binary winners and norm 1 after each step Oja is instar, and instar of rate η is plain Hebb
/// of rate η/(1 − ηn) for a unit that wins n times.
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
