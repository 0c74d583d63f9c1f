//! Invariants that follow from the definitions (Journé et al. 2023, arXiv 2209.11883, and what the
//! library promises), over random geometries, shapes, strides, paddings and seeds.

use crate::common::RuleName;
use crate::common::draw::{SEEDS, draw};
use candle::{D, DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::ops::{BatchNorm, Ties, avg_pool2d, max_pool2d, squared_norms, triangle};
use candle_hebbian::{
    Competition, Conv2dConfig, Geometry, HardWta, KWta, LargestEntry, Layer, NoCompetition,
    NormDependent, Oja, PaddingMode, Rng, SoftHebb, SoftWta, SoftWtaAntiHebbian, Steps,
    StepsBuilder,
};

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

fn numbers(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn near(name: &str, a: &Tensor, b: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(a.dims(), b.dims(), "{name}");
    let scale = numbers(b)?.into_iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (i, (a, b)) in numbers(a)?.into_iter().zip(numbers(b)?).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{name}[{i}]: {a} and {b}");
    }
    Ok(())
}

/// The bits of all entries, so that a difference in rounding shows.
fn bits(t: &Tensor) -> Result<Vec<u64>> {
    Ok(numbers(t)?.into_iter().map(f64::to_bits).collect())
}

#[test]
fn soft_activity_sums_to_one() -> Result<()> {
    for seed in 0..SEEDS {
        let draw = draw(seed)?;
        let u = draw.layer.response(&draw.x)?.u().clone();
        for t in [0.25, 1.0, 12.0] {
            let soft = SoftWta { inverse_temperature: t }.compete(&u)?;
            let signed = SoftWtaAntiHebbian { inverse_temperature: t }.compete(&u)?;
            let sums = soft.sum(D::Minus1)?;
            near(&draw.name, &sums, &sums.ones_like()?, 1e-12)?;
            let winner = soft.max(D::Minus1)?;
            near(&draw.name, &signed.sum(D::Minus1)?, &winner.affine(2.0, -1.0)?, 1e-12)?;
            near(&draw.name, &signed.abs()?, &soft, 0.0)?;
            // Exactly one entry of each row keeps its sign, the winner's.
            let kept = signed.gt(0.0)?.to_dtype(DType::F64)?;
            near(&draw.name, &kept, &HardWta.compete(&u)?, 0.0)?;
        }
    }
    Ok(())
}

/// w·D = s(1 − r²), which says in which direction a unit's norm moves.
#[test]
fn softhebb_moves_norms_towards_or_away_from_one() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let (competition, response, post) = draw.compete()?;
        let update = draw.matrices(&response.synapses(&post)?.update(&SoftHebb)?)?;
        let weight = draw.matrices(draw.layer.weight())?;
        let along = (update * &weight)?.sum(2)?;
        let s = (&post * response.u())?.sum(1)?;
        let want = (s * squared_norms(&weight)?.affine(-1.0, 1.0)?)?;
        near(&format!("{} {competition:?}", draw.name), &along, &want, 1e-11)?;
    }
    Ok(())
}

/// w·D = Σu²(1 − ‖w‖²) for Oja's rule with y = u.
#[test]
fn oja_moves_norms_towards_one() -> Result<()> {
    for seed in 0..SEEDS {
        let draw = draw(seed)?;
        let response = draw.layer.response(&draw.x)?;
        let post = NoCompetition.compete(response.u())?;
        let update = draw.matrices(&response.synapses(&post)?.update(&Oja)?)?;
        let weight = draw.matrices(draw.layer.weight())?;
        let along = (update * &weight)?.sum(2)?;
        let squares = response.u().sqr()?.sum(1)?;
        let want = (&squares * squared_norms(&weight)?.affine(-1.0, 1.0)?)?;
        near(&draw.name, &along, &want, 1e-12)?;
    }
    Ok(())
}

/// With weights of their initial size, responses have a standard deviation of 25, and the softmax is nearly hard: the
/// mean of its largest activity over 4,000 rows. In the last row the softmax of 1,536 values varies by 0.01 between
/// draws.
#[test]
fn competition_begins_nearly_hard() -> Result<()> {
    for (units, inverse_temperature, want) in
        [(96, 1.0, 0.93), (384, 0.65, 0.87), (1536, 0.25, 0.61)]
    {
        let u =
            Rng::new(units as u64).normal(0.0, 25.0, (4000, units), DType::F32, &Device::Cpu)?;
        let largest = SoftWta { inverse_temperature }.compete(&u)?.max(1)?;
        let mean = largest.mean(0)?.to_scalar::<f32>()?;
        assert!((mean - want).abs() < 0.04, "{units} units: {mean}, expected {want}");
    }
    Ok(())
}

#[test]
fn a_step_is_as_large_as_its_rate() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let (competition, response, post) = draw.compete()?;
        let name = format!("{} {competition:?}", draw.name);
        let update = response.synapses(&post)?.update(&SoftHebb)?;
        let before = draw.matrices(draw.layer.weight())?.copy()?;
        let distance = (squared_norms(&before)?.sqrt()? - 1.0)?.abs()?;
        let rates = ((distance + 1e-10)?.sqrt()? * 0.08)?;

        take(released(0.08, 0.5), &draw.layer, &update.neg()?)?;
        let moved = (draw.matrices(draw.layer.weight())? - &before)?.abs()?;
        let reach = moved.max(2)?;
        for (moved, rate) in numbers(&reach)?.into_iter().zip(numbers(&rates)?) {
            assert!(moved <= rate + 1e-14, "{name}: moved {moved}, rate {rate}");
        }

        // In units of its rate, the largest move of a site is 1 (0 where nothing was active).
        draw.layer.var()?.set(&before.reshape(draw.layer.weight().shape())?)?;
        take(unit(1.0), &draw.layer, &update.neg()?)?;
        let moved = (draw.matrices(draw.layer.weight())? - &before)?.abs()?;
        let largest = moved.max(2)?.max(1)?;
        let active = draw.matrices(&update)?.abs()?.max(2)?.max(1)?.gt(0.0)?;
        near(&name, &largest, &active.to_dtype(DType::F64)?, 1e-12)?;
    }
    Ok(())
}

/// Relabelling the units relabels the step, as it does activity and update (see the table).
#[test]
fn permuting_units_permutes_the_step() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let (competition, response, post) = draw.compete()?;
        let shape = draw.layer.weight().shape().clone();
        let order: Vec<u32> = draw
            .rng
            .permutation(draw.layer.dims().units)
            .into_iter()
            .map(|unit| unit as u32)
            .collect();
        let order = Tensor::new(order, &Device::Cpu)?;
        let permuted = draw.matrices(draw.layer.weight())?.index_select(&order, 1)?;
        let other = Layer::from_tensor(&permuted.reshape(&shape)?, draw.layer.geometry())?;
        let other_response = other.response(&draw.x)?;
        let other_post = competition.compete(other_response.u())?;
        for rule in [RuleName::Hebb, RuleName::Instar, RuleName::Oja, RuleName::Softhebb] {
            let name = format!("{} {competition:?} {rule:?}", draw.name);
            let update = response.synapses(&post)?.update(rule.rule())?;
            let other_update = other_response.synapses(&other_post)?.update(rule.rule())?;
            let (a, b) = (
                Layer::from_tensor(&draw.layer.weight().detach(), draw.layer.geometry())?,
                Layer::from_tensor(&other.weight().detach(), draw.layer.geometry())?,
            );
            take(released(0.08, 0.5), &a, &update.neg()?)?;
            take(released(0.08, 0.5), &b, &other_update.neg()?)?;
            let want = draw.matrices(a.weight())?.index_select(&order, 1)?;
            near(&name, &draw.matrices(b.weight())?, &want, 1e-9)?;
        }
    }
    Ok(())
}

/// Repeating the batch doubles the update and leaves the step unchanged.
#[test]
fn duplicating_the_batch_leaves_the_step() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let (competition, response, post) = draw.compete()?;
        let twice = draw.layer.response(&Tensor::cat(&[&draw.x, &draw.x], 0)?)?;
        let twice_post = competition.compete(twice.u())?;
        for rule in [RuleName::Hebb, RuleName::Instar, RuleName::Oja, RuleName::Softhebb] {
            let name = format!("{} {competition:?} {rule:?}", draw.name);
            let once = response.synapses(&post)?.update(rule.rule())?;
            let double = twice.synapses(&twice_post)?.update(rule.rule())?;
            near(&name, &double, &(&once * 2.0)?, 1e-11)?;
            let weight = draw.layer.weight().detach();
            let (a, b) = (
                Layer::from_tensor(&weight, draw.layer.geometry())?,
                Layer::from_tensor(&weight, draw.layer.geometry())?,
            );
            take(released(0.08, 0.5), &a, &once.neg()?)?;
            take(released(0.08, 0.5), &b, &double.neg()?)?;
            near(&name, b.weight(), a.weight(), 1e-9)?;
        }
    }
    Ok(())
}

/// A unit of norm 1 ± 1e-9 moves by at most η₀·(1.1e-9)^q.
#[test]
fn a_unit_of_norm_one_stays() -> Result<()> {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let weight = rng.normal(0.0, 2.0, (6, 9), DType::F64, &Device::Cpu)?;
        let norms = weight.sqr()?.sum_keepdim(1)?.sqrt()?;
        let wanted = [1.0, 1.0 + 1e-9, 1.0 - 1e-9, 0.5, 3.0, 5.0];
        let wanted = Tensor::new(&wanted, &Device::Cpu)?.reshape((6, 1))?;
        let layer =
            Layer::from_tensor(&weight.broadcast_mul(&wanted.div(&norms)?)?, Geometry::Dense)?;
        let x = rng.normal(0.0, 1.0, (4, 9), DType::F64, &Device::Cpu)?;
        for power in [0.5, 0.75] {
            let before = layer.weight().copy()?;
            let response = layer.response(&x)?;
            let post = SoftWtaAntiHebbian { inverse_temperature: 0.3 }.compete(response.u())?;
            let gradient = response.synapses(&post)?.update(&SoftHebb)?.neg()?;
            take(released(0.08, power), &layer, &gradient)?;
            let moved = (layer.weight() - &before)?.abs()?.max(1)?.to_vec1::<f64>()?;
            let bound = 0.08 * 1.11e-9f64.powf(power);
            assert!(moved[..3].iter().all(|&moved| moved <= bound), "seed {seed}: {moved:?}");
            assert!(moved[3..].iter().any(|&moved| moved > 1e-4), "seed {seed}: {moved:?}");
            layer.var()?.set(&before)?;
        }
    }
    Ok(())
}

/// Values on a coarse grid, so that ties are common, in rows of up to 70 units, longer than a SIMD vector.
fn with_ties(seed: u64) -> Result<Tensor> {
    let mut rng = Rng::new(seed);
    let (sites, rows, units) = (1 + rng.below(3), 1 + rng.below(30), 1 + rng.below(70));
    rng.uniform(-2.4, 2.4, (sites, rows, units), DType::F64, &Device::Cpu)?.round()
}

#[test]
fn k_winners() -> Result<()> {
    for seed in 0..SEEDS {
        let u = with_ties(seed)?;
        let units = u.dim(2)?;
        for k in [1, units.div_ceil(2), units] {
            let rows = |t: Tensor| t.flatten(0, 1)?.to_vec2::<f64>();
            let binary = rows(KWta::binary(k).compete(&u)?)?;
            let graded = rows(KWta::graded(k).compete(&u)?)?;
            for ((u, binary), graded) in rows(u.clone())?.iter().zip(&binary).zip(&graded) {
                let name = format!("seed {seed}, k {k}: {u:?}");
                for i in 0..units {
                    // With fewer than k larger ones, the unit is among the k largest or ties with the k-th.
                    let larger = u.iter().filter(|&&other| other > u[i]).count();
                    let won = larger < k && u[i] > 0.0;
                    assert_eq!(binary[i], f64::from(u8::from(won)), "{name}");
                    assert_eq!(graded[i], if won { u[i] } else { 0.0 }, "{name}");
                }
            }
        }
    }
    // Without ties and all positive, k units win; with none positive, no unit does.
    let mut rng = Rng::new(0);
    let u = rng.uniform(0.1, 1.0, (2, 50, 33), DType::F64, &Device::Cpu)?;
    for k in 1..=33 {
        let wins = KWta::binary(k).compete(&u)?.sum(2)?;
        near("k", &wins, &wins.ones_like()?.affine(k as f64, 0.0)?, 0.0)?;
        let wins = KWta::binary(k).compete(&u.neg()?)?.sum(2)?;
        near("none", &wins, &wins.zeros_like()?, 0.0)?;
    }
    assert!(KWta::binary(34).compete(&u).is_err());
    assert!(KWta::graded(0).compete(&u).is_err());
    Ok(())
}

#[test]
fn the_first_of_equals_wins() -> Result<()> {
    for seed in 0..SEEDS {
        let tied = with_ties(seed)?;
        for u in [tied.clone(), tied.zeros_like()?, tied.to_dtype(DType::F32)?] {
            let rows = |t: Tensor| t.to_dtype(DType::F64)?.flatten(0, 1)?.to_vec2::<f64>();
            let hard = rows(HardWta.compete(&u)?)?;
            let signed = SoftWtaAntiHebbian { inverse_temperature: 1.0 };
            let signed = rows(signed.compete(&u)?)?;
            for ((u, hard), signed) in rows(u)?.iter().zip(&hard).zip(&signed) {
                let largest = u.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let first = u.iter().position(|&u| u == largest);
                for k in 0..u.len() {
                    let won = first == Some(k);
                    assert_eq!(hard[k], f64::from(u8::from(won)), "seed {seed}: {u:?}");
                    assert_eq!(signed[k] > 0.0, won, "seed {seed}: {u:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn softmax_of_large_responses_is_finite() -> Result<()> {
    let mut rng = Rng::new(0);
    for dtype in [DType::F32, DType::F64] {
        let u = rng.uniform(-100.0, 100.0, (1, 40, 50), dtype, &Device::Cpu)?;
        let peak = u.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        for t in [1000.0 / peak, -1000.0 / peak] {
            for (offset, name) in [(0.0, "around 0"), (100.0, "up"), (-100.0, "down")] {
                let u = (&u + offset)?;
                let soft = SoftWta { inverse_temperature: t }.compete(&u)?;
                let signed = SoftWtaAntiHebbian { inverse_temperature: t }.compete(&u)?;
                let values = numbers(&soft)?;
                assert!(values.iter().all(|y| (0.0..=1.0).contains(y)), "{dtype:?} {t} {name}");
                assert!(numbers(&signed)?.iter().all(|y| y.is_finite()), "{dtype:?} {t} {name}");
                let sums = soft.sum(2)?;
                near(name, &sums, &sums.ones_like()?, 1e-5)?;
            }
        }
    }
    Ok(())
}

#[test]
fn responding_learns_nothing() -> Result<()> {
    for seed in 0..SEEDS {
        let mut draw = draw(seed)?;
        let before = bits(draw.layer.weight())?;
        let (_, response, post) = draw.compete()?;
        response.synapses(&post)?.loss(&SoftHebb)?.backward()?;
        response.synapses(&post)?.update(&SoftHebb)?;
        draw.layer.forward(&draw.x)?;
        assert_eq!(bits(draw.layer.weight())?, before, "{}", draw.name);
        // The output of a response does not change when the weights do.
        let output = bits(&response.output()?)?;
        draw.layer.var()?.set(&draw.layer.weight().zeros_like()?)?;
        assert_eq!(bits(&response.output()?)?, output, "{}", draw.name);
    }
    let norm = BatchNorm::new(3, DType::F64, &Device::Cpu)?;
    let mut rng = Rng::new(1);
    norm.forward_train(&rng.normal(2.0, 3.0, (4, 3, 5, 5), DType::F64, &Device::Cpu)?)?;
    let before = (bits(norm.running_mean())?, bits(norm.running_var())?);
    norm.forward(&rng.normal(-1.0, 0.1, (4, 3, 5, 5), DType::F64, &Device::Cpu)?)?;
    assert_eq!((bits(norm.running_mean())?, bits(norm.running_var())?), before);
    Ok(())
}

/// A variable is shared, so that its steps show everywhere; a tensor that is not a variable is
/// copied by `from_tensor` and does not change.
#[test]
fn a_variable_is_shared_and_a_tensor_copied() -> Result<()> {
    let weight = Var::from_tensor(&Tensor::ones((2, 3), DType::F64, &Device::Cpu)?)?;
    for layer in [
        Layer::new(weight.as_tensor().clone(), Geometry::Dense)?,
        Layer::from_tensor(&weight, Geometry::Dense)?,
    ] {
        weight.set(&weight.ones_like()?)?;
        take(unit(1.0), &layer, &weight.ones_like()?.neg()?)?;
        assert_eq!(weight.to_vec2::<f64>()?, [[2.0; 3]; 2]);
        assert_eq!(layer.weight().to_vec2::<f64>()?, [[2.0; 3]; 2]);
    }
    let weight = Tensor::ones((2, 3), DType::F64, &Device::Cpu)?;
    let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
    take(unit(1.0), &layer, &weight.neg()?)?;
    assert_eq!(weight.to_vec2::<f64>()?, [[1.0; 3]; 2]);
    assert_eq!(layer.weight().to_vec2::<f64>()?, [[2.0; 3]; 2]);
    Ok(())
}

/// Runs everything that a training step consists of, on arrays larger than one block of parallel
/// work, and returns the bits of all results.
fn train(seed: u64, dtype: DType) -> Result<Vec<Vec<u64>>> {
    let mut rng = Rng::new(seed);
    let config =
        Conv2dConfig { padding: 2, padding_mode: PaddingMode::Reflect, ..Default::default() };
    let weight = rng.normal(0.0, 0.5, (96, 8, 5, 5), dtype, &Device::Cpu)?;
    let layer = Layer::from_tensor(&weight, Geometry::Conv2d(config))?;
    let norm = BatchNorm::new(8, dtype, &Device::Cpu)?;
    let mut out = Vec::new();
    let competitions: [&dyn Competition; 3] = [
        &SoftWtaAntiHebbian { inverse_temperature: 1.0 },
        &SoftWta { inverse_temperature: 0.3 },
        &KWta::graded(5),
    ];
    for competition in competitions {
        let x = rng.uniform(0.0, 1.0, (4, 8, 17, 17), dtype, &Device::Cpu)?;
        let response = layer.response(&norm.forward_train(&x)?)?;
        let post = competition.compete(response.u())?;
        let loss = response.synapses(&post)?.loss(&SoftHebb)?;
        let grads = loss.backward()?;
        let gradient = grads.get(layer.weight()).expect("a gradient");
        let features = Var::from_tensor(&response.output()?.contiguous()?)?;
        let active = triangle(&features, 0.7, false)?;
        let pooled = max_pool2d(&active, 4, 2, 1, Ties::First)?;
        let pooled = avg_pool2d(&pooled, 2, 2, 0)?;
        let back = pooled.sqr()?.sum_all()?.backward()?;
        take(released(0.08, 0.5), &layer, gradient)?;
        for t in [layer.weight(), &post, &loss, &pooled, norm.running_var()] {
            out.push(bits(t)?);
        }
        out.push(bits(back.get(&features).expect("a gradient"))?);
    }
    Ok(out)
}

#[test]
fn a_seed_fixes_every_bit() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        assert_eq!(train(7, dtype)?, train(7, dtype)?);
        assert_ne!(train(7, dtype)?[0], train(8, dtype)?[0]);
    }
    Ok(())
}

#[test]
fn the_number_of_threads_changes_nothing() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.map_err(candle::Error::wrap)?.install(|| train(3, dtype))
        };
        let one = run(1)?;
        for threads in [2, 3, 4, 8] {
            for (i, (a, b)) in one.iter().zip(run(threads)?).enumerate() {
                assert!(*a == b, "{dtype:?}: result {i} differs with {threads} threads");
            }
        }
    }
    Ok(())
}
