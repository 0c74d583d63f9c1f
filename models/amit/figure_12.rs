//! Fig. 12: how fast the linear case converges with and without learning feedback.

use super::linear_theory::{Feedback, LinearSystem};
use candle::{DType, Device, Result, Tensor, bail};
use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

/// The settings of the simulation. The paper's figure compares back-propagation with `ε` of 0, 0.25, 0.5
/// and 1 in three runs; its sizes, step and initial weights are not known, so those are our choice.
///
/// `T` has entries from `N(0, 1/n_0)`, `R_l` from `N(0, 1/n_{l−1})`; all curves of a run start from
/// the same draw. Weights of 0 are a saddle point: back-propagation stays there and is slow nearby,
/// whereas random feedback leaves it at once. For a comparison with back-propagation on equal terms,
/// give the weights the same spread as the feedback: with the default sizes a `weight_std` of about 0.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Figure12Config {
    /// Number of units of each level, the input first. Default: 30, 20, 10.
    pub sizes: Vec<usize>,
    /// Standard deviation of the initial weights. Default: 0.01.
    pub weight_std: f64,
    /// The Euler step. Default: 0.005.
    pub step: f64,
    /// Number of Euler steps of each curve. Default: 2000.
    pub iterations: usize,
    /// Number of steps from one point of a curve to the next. Default: 10.
    pub record_every: usize,
    /// Number of runs with independent draws. Default: 3.
    pub runs: usize,
    /// Whether to include a curve of back-propagation. Default: yes.
    pub backprop: bool,
    /// The `ε` of each further curve. Default: 0, 0.25, 0.5, 1.
    pub feedback_rates: Vec<f64>,
    /// A curve has arrived when `‖E‖²/‖T‖²` is below this. Default: 0.01.
    pub arrival: f64,
}

impl Default for Figure12Config {
    fn default() -> Self {
        Self {
            sizes: vec![30, 20, 10],
            weight_std: 0.01,
            step: 0.005,
            iterations: 2000,
            record_every: 10,
            runs: 3,
            backprop: true,
            feedback_rates: vec![0.0, 0.25, 0.5, 1.0],
            arrival: 1e-2,
        }
    }
}

/// The figure's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure12 {
    /// The settings of the simulation.
    pub config: Figure12Config,
    /// The curves, run by run; within a run, first back-propagation, then the feedback rates in order.
    pub curves: Vec<LinearCurve>,
}

/// The curve of one network in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinearCurve {
    /// The index of the run, which determines the initial draw, from 0.
    pub run: usize,
    /// `ε`; `None` for back-propagation.
    pub feedback_rate: Option<f64>,
    /// The number of steps after which each point was recorded.
    pub iterations: Vec<usize>,
    /// `‖E‖²/‖T‖²` at each point.
    pub relative_errors: Vec<f64>,
    /// For each level from the second up, the correlation of `W` and `Rᵗ` at each point; `None` while
    /// one of them has no spread (as weights that start from 0).
    pub correlations: Vec<Vec<Option<f64>>>,
    /// The number of steps after which the curve first arrived, if it did.
    pub arrived_after: Option<usize>,
}

/// Runs the simulation; run `i` draws from the stream `linear run i` of `rng`.
///
/// # Errors
/// If the configuration is invalid, or the step is so large that the error diverges.
pub fn figure_12(config: &Figure12Config, rng: &Rng) -> Result<Figure12> {
    let Figure12Config { sizes, step, record_every, runs, .. } = config;
    if sizes.len() < 3 || sizes.contains(&0) {
        bail!("sizes {sizes:?}: give at least three (input, hidden, output), none of them 0")
    }
    if *runs == 0 || *record_every == 0 {
        bail!("{runs} runs with a point every {record_every} steps: give at least 1 of each")
    }
    if !(step.is_finite() && *step > 0.0) {
        bail!("a step of {step}: give a positive number")
    }
    let (target, weights, feedback) = draw(config, rng)?;
    let rates = config.feedback_rates.iter().copied().map(Some);
    let mut curves = Vec::new();
    for feedback_rate in config.backprop.then_some(None).into_iter().chain(rates) {
        let feedback = match feedback_rate {
            None => Feedback::Backprop,
            Some(rate) => Feedback::Random { weights: feedback.clone(), rate },
        };
        let system = LinearSystem::new(target.clone(), weights.clone(), feedback)?;
        curves.extend(follow(config, system, feedback_rate)?);
    }
    curves.sort_by_key(|curve| curve.run);
    Ok(Figure12 { config: config.clone(), curves })
}

/// Draws the targets, weights and feedback weights of all runs.
fn draw(config: &Figure12Config, rng: &Rng) -> Result<(Tensor, Vec<Tensor>, Vec<Tensor>)> {
    let sizes = &config.sizes;
    let mut rngs: Vec<Rng> =
        (0..config.runs).map(|run| rng.stream(&format!("linear run {run}"))).collect();
    let mut normal = |std: f64, shape: (usize, usize)| {
        let draw = |rng: &mut Rng| rng.normal(0.0, std, shape, DType::F64, &Device::Cpu);
        Tensor::stack(&rngs.iter_mut().map(draw).collect::<Result<Vec<_>>>()?, 0)
    };
    let narrow = |inputs: usize| (inputs as f64).recip().sqrt();
    let shapes: Vec<_> = sizes.windows(2).map(|pair| (pair[1], pair[0])).collect();
    let target = normal(narrow(sizes[0]), (sizes[sizes.len() - 1], sizes[0]))?;
    let feedback =
        shapes[1..].iter().map(|&shape| normal(narrow(shape.1), shape)).collect::<Result<_>>()?;
    let weights = shapes.iter().map(|&shape| normal(config.weight_std, shape));
    Ok((target, weights.collect::<Result<_>>()?, feedback))
}

fn follow(
    config: &Figure12Config,
    mut system: LinearSystem,
    feedback_rate: Option<f64>,
) -> Result<Vec<LinearCurve>> {
    let empty = |run| LinearCurve {
        run,
        feedback_rate,
        iterations: Vec::new(),
        relative_errors: Vec::new(),
        correlations: vec![Vec::new(); system.weights().len() - 1],
        arrived_after: None,
    };
    let mut curves: Vec<LinearCurve> = (0..config.runs).map(empty).collect();
    for iteration in 0..=config.iterations {
        if iteration > 0 {
            system.step(config.step)?;
        }
        let recorded = iteration % config.record_every == 0;
        let correlations = if recorded { system.correlations()? } else { Vec::new() };
        for (run, (curve, error)) in curves.iter_mut().zip(system.relative_errors()?).enumerate() {
            if !error.is_finite() {
                bail!(
                    "the error is {error} after {iteration} steps of {}: take a smaller step",
                    config.step
                )
            }
            if error < config.arrival && curve.arrived_after.is_none() {
                curve.arrived_after = Some(iteration);
            }
            if recorded {
                curve.iterations.push(iteration);
                curve.relative_errors.push(error);
                for (curve, level) in curve.correlations.iter_mut().zip(&correlations) {
                    curve.push(level[run]);
                }
            }
        }
    }
    Ok(curves)
}
