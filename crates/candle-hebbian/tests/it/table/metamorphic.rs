//! Consequences of the definitions when the input changes in a known way, in random geometries.

use super::cases::near;
use super::entries::{COMPETITIONS, RULES, RuleEntry};
use crate::common::draw::{Draw, SEEDS, draw};
use candle::{DType, Device, Module, Result, Tensor};
use candle_hebbian::ops::{Ties, avg_pool2d, max_pool2d};
use candle_hebbian::{
    Competition, Conv2dConfig, Geometry, LargestEntry, Layer, NormDependent, PaddingMode, Response,
    Rng, State, Steps, Synapses,
};

/// The synapses of a rule in `layer`, with `third` for its rows.
fn synapses(
    entry: &RuleEntry,
    competition: &dyn Competition,
    layer: &Layer,
    x: &Tensor,
    third: Option<&Tensor>,
) -> Result<Synapses> {
    let response = (entry.rule)()?.response(layer.response(x)?)?;
    let synapses = response.synapses(&competition.compete(response.u())?)?;
    match third {
        Some(third) => synapses.with_third(third),
        None => Ok(synapses),
    }
}

fn update(entry: &RuleEntry, synapses: &Synapses) -> Result<Tensor> {
    synapses.update_with(&*(entry.rule)()?, &mut State::default())
}

/// The update of a batch is the sum of the updates of its parts.
#[test]
fn a_batch_is_the_sum_of_its_halves() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let batch = draw.x.dim(0)?;
        if batch < 2 {
            continue;
        }
        let (competition, response, _) = draw.compete()?;
        for entry in RULES.iter().filter(|entry| entry.is_sum) {
            let name = format!("{} {competition:?} {}", draw.name, entry.name);
            let third = (entry.third)(response.u())?;
            let learn = |start: usize, len: usize| -> Result<Tensor> {
                let rows = response.u().dim(1)? / batch; // of each sample, one after the other
                let part = |third: &Tensor| third.narrow(1, start * rows, len * rows);
                let third = third.as_ref().map(part).transpose()?;
                let x = draw.x.narrow(0, start, len)?;
                update(entry, &synapses(entry, &competition, &draw.layer, &x, third.as_ref())?)
            };
            let halves = (learn(0, batch / 2)? + learn(batch / 2, batch - batch / 2)?)?;
            near(&name, &halves, &learn(0, batch)?, 1e-11)?;
        }
    }
    Ok(())
}

/// Relabelling the units relabels activity and update.
#[test]
fn units_have_no_order() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let (competition, response, post) = draw.compete()?;
        let units = draw.layer.dims().units;
        let order = draw.rng.permutation(units).into_iter().map(|unit| unit as u32);
        let order = Tensor::from_iter(order, &Device::Cpu)?;
        let permuted = draw.matrices(draw.layer.weight())?.index_select(&order, 1)?;
        let permuted = permuted.reshape(draw.layer.weight().shape())?;
        let other = Layer::from_tensor(&permuted, draw.layer.geometry())?;
        let other_post = competition.compete(other.response(&draw.x)?.u())?;
        near(&draw.name, &other_post, &post.index_select(&order, 2)?, 1e-12)?;
        for entry in RULES {
            let name = format!("{} {competition:?} {}", draw.name, entry.name);
            let third = (entry.third)(response.u())?;
            let other_third = match &third {
                Some(third) if third.dim(2)? == units => Some(third.index_select(&order, 2)?),
                third => third.clone(),
            };
            let learn = |layer: &Layer, third: &Option<Tensor>| {
                let learnt =
                    update(entry, &synapses(entry, &competition, layer, &draw.x, third.as_ref())?)?;
                draw.matrices(&learnt)
            };
            let want = learn(&draw.layer, &third)?.index_select(&order, 1)?;
            near(&name, &learn(&other, &other_third)?, &want, 1e-11)?;
        }
    }
    Ok(())
}

/// Channel groups act as separate layers: in response, update and step.
#[test]
fn groups_are_layers() -> Result<()> {
    let mut rng = Rng::new(3);
    let config = Conv2dConfig {
        stride: 2,
        padding: 1,
        groups: 2,
        padding_mode: PaddingMode::Reflect,
        ..Default::default()
    };
    let half = Conv2dConfig { groups: 1, ..config };
    let mut normal = |std, shape| rng.normal(0.0, std, shape, DType::F64, &Device::Cpu);
    let x = normal(1.0, (3, 6, 7, 7))?;
    // Halves of different scale, so that a largest entry shared by both would show.
    let parts = [normal(0.3, (5, 3, 3, 3))?, normal(1.5, (5, 3, 3, 3))?];
    for entry in RULES {
        for competition in COMPETITIONS {
            let name = format!("{} of {}", entry.name, competition.name);
            let learn = |layer: &Layer, x: &Tensor, third: Option<&Tensor>| -> Result<Tensor> {
                let synapses = synapses(entry, competition.competition, layer, x, third)?;
                let gradient = update(entry, &synapses)?.neg()?;
                let chain =
                    Steps::builder(0.08).then(LargestEntry).then(NormDependent { power: 0.5 });
                chain.build([(layer.var()?, layer.dims())])?.descend(|_| Some(gradient.clone()))?;
                Ok(gradient)
            };
            let whole = Layer::from_tensor(&Tensor::cat(&parts, 0)?, Geometry::Conv2d(config))?;
            let response = whole.response(&x)?;
            let (third, output) = ((entry.third)(response.u())?, response.output()?);
            let gradient = learn(&whole, &x, third.as_ref())?;
            for (g, weight) in parts.iter().enumerate() {
                let name = format!("{name} group {g}");
                let layer = Layer::from_tensor(weight, Geometry::Conv2d(half))?;
                let x = x.narrow(1, 3 * g, 3)?;
                near(&name, &output.narrow(1, 5 * g, 5)?, &layer.response(&x)?.output()?, 1e-12)?;
                let third = third.as_ref().map(|third| third.narrow(0, g, 1)).transpose()?;
                let part = learn(&layer, &x, third.as_ref())?;
                near(&name, &gradient.narrow(0, 5 * g, 5)?, &part, 1e-12)?;
                near(&name, &whole.weight().narrow(0, 5 * g, 5)?, layer.weight(), 1e-12)?;
            }
        }
    }
    Ok(())
}

/// Checks that the output of `op` for an image without its first `stride` lines (or columns) is its output for the
/// whole image without the first line (or column), where the windows lie in what is left. Returns whether any do.
fn moves_with_its_input(
    name: &str,
    x: &Tensor,
    (stride, padding, covered): (usize, usize, [usize; 2]),
    op: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<bool> {
    let whole = op(x)?;
    let mut checked = false;
    for (dim, covered) in [2, 3].into_iter().zip(covered) {
        let Some(left) = x.dim(dim)?.checked_sub(stride).filter(|&left| left >= covered) else {
            continue;
        };
        let moved = op(&x.narrow(dim, stride, left)?)?;
        for at in 0..moved.dim(dim)? {
            // Only windows that reach neither before the first pixel nor beyond the last.
            let start = at * stride;
            if start >= padding && start - padding + covered <= left {
                let want = whole.narrow(dim, at + 1, 1)?;
                near(name, &moved.narrow(dim, at, 1)?, &want, 1e-13)?;
                checked = true;
            }
        }
    }
    Ok(checked)
}

/// If a picture is shifted, the output of a convolution or a pool is shifted, away from the border.
#[test]
fn windows_move_with_the_picture() -> Result<()> {
    let mut checked = 0;
    for seed in 0..SEEDS {
        let Draw { name, layer, x, .. } = draw(seed)?;
        let Geometry::Conv2d(config) = layer.geometry() else { continue };
        let (_, _, kh, kw) = layer.weight().dims4()?;
        let covered = [kh, kw].map(|kernel| config.dilation * (kernel - 1) + 1);
        let windows = (config.stride, config.padding, covered);
        // Reflection needs an image wider than the padding.
        let x = match x.dims() {
            &[_, _, h, w] if h.min(w) > config.stride + config.padding => x,
            _ => continue,
        };
        checked += usize::from(moves_with_its_input(&name, &x, windows, |x| layer.forward(x))?);
        checked +=
            usize::from(moves_with_its_input(&name, &x, windows, |x| layer.response(x)?.output())?);
    }
    assert!(checked >= 10, "{checked}");
    let x = Rng::new(4).normal(0.0, 1.0, (2, 3, 9, 8), DType::F64, &Device::Cpu)?;
    for (kernel, stride, padding) in [(2, 2, 0), (3, 2, 1), (4, 3, 2), (3, 1, 1)] {
        let windows = (stride, padding, [kernel; 2]);
        let max = |x: &Tensor| max_pool2d(x, kernel, stride, padding, Ties::First);
        assert!(moves_with_its_input("max", &x, windows, max)?);
        let avg = |x: &Tensor| avg_pool2d(x, kernel, stride, padding);
        assert!(moves_with_its_input("mean", &x, windows, avg)?);
    }
    Ok(())
}

/// The response of weights in a geometry to an input.
type Respond = fn(&Tensor, Geometry, &Tensor) -> Result<Tensor>;

/// The response is linear in the input and in the weights.
#[test]
fn responses_are_linear() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let (weight, geometry) = (draw.layer.weight().detach(), draw.layer.geometry());
        let mut other = |t: &Tensor| draw.rng.normal(0.0, 1.0, t.shape(), DType::F64, &Device::Cpu);
        let (x, w) = (other(&draw.x)?, other(&weight)?);
        let ways: [Respond; 2] = [
            |w, geometry, x| Layer::new(w.clone(), geometry)?.forward(x),
            |w, geometry, x| Response::new(w, geometry, x)?.output(),
        ];
        for respond in ways {
            let of = |x: &Tensor| respond(&weight, geometry, x);
            let by = |w: &Tensor| respond(w, geometry, &draw.x);
            let mixed = |a: &Tensor, b: &Tensor| -> Result<Tensor> { (a * 2.5)? - (b * 0.75)? };
            let (name, u) = (&draw.name, of(&draw.x)?);
            near(name, &of(&mixed(&draw.x, &x)?)?, &mixed(&u, &of(&x)?)?, 1e-12)?;
            near(name, &by(&mixed(&weight, &w)?)?, &mixed(&u, &by(&w)?)?, 1e-12)?;
        }
    }
    Ok(())
}
