//! A learning problem with a known answer: if thresholds keep all units winning, the units find the
//! prototypes that the inputs are made of.

use candle::{DType, Device, Result, Tensor};
use candle_hebbian::{
    AdaptiveThreshold, Competition, Geometry, Instar, KWta, Layer, Rng, Steps, UnitNorm,
    ops::column_counts,
};
use candle_nn::Optimizer;

const UNITS: usize = 8;
const INPUTS: usize = 16;
const BATCH: usize = 64;
const ETA: f64 = 0.02;
const BURN_IN: usize = 50;
const BATCHES: usize = 600;

/// The outcome of a network of `UNITS` units that learns `UNITS` random unit prototypes with noise.
#[derive(Debug)]
struct Found {
    /// The number of prototypes that are the most similar one to some unit.
    distinct: usize,
    /// The smallest, over prototypes, of the best cosine with a unit.
    worst_cosine: f64,
    /// The smallest and the largest ratio of a win rate to its target, in the last 100 batches.
    win_rates: (f64, f64),
}

fn unit_rows(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)
}

fn learn(seed: u64, threshold_rate: f64) -> Result<Found> {
    let device = Device::Cpu;
    let mut rng = Rng::new(seed);
    let mut normal = |sd, shape: (usize, usize)| rng.normal(0.0, sd, shape, DType::F64, &device);
    let prototypes = unit_rows(&normal(1.0, (UNITS, INPUTS))?)?;
    let layer = Layer::from_tensor(&normal(1.0, (UNITS, INPUTS))?, Geometry::Dense)?;
    let mut steps = Steps::builder(ETA).then(UnitNorm).build([layer.var()?])?;
    steps.constrain()?;
    let target = 1.0 / UNITS as f64;
    let threshold =
        AdaptiveThreshold::new((1, UNITS), threshold_rate, target, DType::F64, &device)?;
    let mut order = Rng::new(seed).stream("order");
    let mut wins = Tensor::zeros((1, UNITS), DType::F64, &device)?;
    for batch in 0..BATCHES {
        let shown: Vec<u32> = (0..BATCH).map(|_| order.below(UNITS) as u32).collect();
        let shown = prototypes.index_select(&Tensor::new(shown, &device)?, 0)?;
        let response = layer.response(&(shown + normal(0.1, (BATCH, INPUTS))?)?)?;
        let post = KWta::binary(1).compete(&threshold.apply(response.u())?)?;
        if batch >= BURN_IN {
            steps.backward_step(&response.synapses(&post)?.loss(&Instar)?)?;
        }
        threshold.adapt(&post)?;
        if batch >= BATCHES - 100 {
            wins = (wins + column_counts(&post)?)?;
        }
    }
    let cosines = layer.weight().detach().matmul(&prototypes.t()?)?;
    let best = cosines.argmax(1)?.to_vec1::<u32>()?;
    let wins = (wins / ((100 * BATCH) as f64 * target))?.squeeze(0)?;
    let win_rates = (wins.min(0)?.to_scalar()?, wins.max(0)?.to_scalar()?);
    Ok(Found {
        distinct: best.into_iter().collect::<std::collections::BTreeSet<_>>().len(),
        worst_cosine: cosines.max(0)?.min(0)?.to_scalar()?,
        win_rates,
    })
}

/// With μ·k/N = 0.0025 or 0.03 every prototype has its unit. A prototype is shown 800 ± 26 times in the last batches,
/// so win rates vary by 13 % (four standard deviations). At a rate a hundred times as large, thresholds make units win
/// equally often in every batch, whatever they are shown, and a prototype is missed now and then.
#[test]
fn thresholds_let_every_unit_find_a_prototype() -> Result<()> {
    for (threshold_rate, missed, least_cosine, spread) in
        [(0.02, 0, 0.99, 0.13), (0.24, 0, 0.98, 0.13), (3.0, 1, 0.8, 0.05)]
    {
        for seed in 0..20 {
            let found = learn(seed, threshold_rate)?;
            let name = format!("μ {threshold_rate}, seed {seed}: {found:?}");
            assert!(found.distinct + missed >= UNITS, "{name}");
            assert!(found.worst_cosine > least_cosine, "{name}");
            let (least, most) = found.win_rates;
            assert!(least > 1.0 - spread && most < 1.0 + spread, "{name}");
        }
    }
    Ok(())
}

/// Without thresholds the units that win at first win everything near them.
#[test]
fn without_thresholds_units_die() -> Result<()> {
    let found: Vec<Found> = (0..20).map(|seed| learn(seed, 0.0)).collect::<Result<_>>()?;
    let dead = found.iter().filter(|found| found.win_rates.0 == 0.0).count();
    assert!(dead >= 10, "in {dead} of 20 seeds a unit never won");
    let missed = found.iter().filter(|found| found.distinct < UNITS).count();
    assert!(missed >= 10, "in {missed} of 20 seeds a prototype was missed");
    Ok(())
}
