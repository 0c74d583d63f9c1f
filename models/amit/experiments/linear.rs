//! Fig. 12: the linear case.

use super::super::figure_12::{Figure12Config, LinearCurve, figure_12};
use super::arm::Runner;
use candle_hebbian::Rng;
use hebbian_train::{Figure, LineChart, Result, Series, Spread, Table, draw_panels};
use serde_json::json;

/// Number of runs for the table of hitting times.
const HITTING_RUNS: usize = 20;

/// Number of runs that are drawn.
const SHOWN: usize = 3;

/// Simulates and draws the curves and the table of hitting times. The curves start from weights with the
/// same spread as the feedback. From much smaller weights back-propagation would start near its saddle
/// point and stay there for long, which says nothing about feedback. The table of hitting times starts
/// from weights of 0, for which learning the feedback is proved to speed up the scalar case; it therefore
/// leaves out back-propagation.
pub(super) fn draw(runner: &Runner) -> Result<Figure> {
    let rng = Rng::new(runner.study.options.seed);
    let config = Figure12Config {
        weight_std: 0.2,
        runs: runner.study.options.seeds,
        ..Figure12Config::default()
    };
    let drawn = figure_12(&config, &rng)?;
    let canonical = Figure12Config {
        weight_std: 0.0,
        runs: HITTING_RUNS,
        backprop: false,
        record_every: config.iterations,
        ..Figure12Config::default()
    };
    let canonical = figure_12(&canonical, &rng)?;

    let (levels, shown) = (config.sizes.len() - 1, config.runs.min(SHOWN));
    let columns = ["run", "feedback", "iteration", "relative_error"].map(str::to_string);
    let columns = columns.into_iter().chain((2..=levels).map(|l| format!("correlation_{l}")));
    let mut table = Table::new(columns);
    for curve in &drawn.curves {
        for (at, iteration) in curve.iterations.iter().enumerate() {
            let mut row = vec![curve.run.into(), name(curve).into(), (*iteration).into()];
            row.push(curve.relative_errors[at].into());
            row.extend(curve.correlations.iter().map(|level| level[at].into()));
            table.row(row)?;
        }
    }
    let (drawn_times, times) = (hitting(&drawn.curves)?, hitting(&canonical.curves)?);
    let text = format!(
        "steps until the relative error is below {}, weights as large as the feedback\n\
         {drawn_times:.0}\nthe same, weights of 0 ({HITTING_RUNS} runs)\n{times:.0}",
        config.arrival
    );
    Ok(Figure {
        table,
        more_tables: vec![("hitting_times.csv", times)],
        picture: draw_panels(&panels(&drawn.curves, shown, levels), shown)?,
        numbers: json!({ "figure": drawn, "hitting_times": canonical }),
        text,
    })
}

fn name(curve: &LinearCurve) -> String {
    curve.feedback_rate.map_or("BP".to_string(), |rate| format!("ε = {rate}"))
}

/// One column of panels for each of the first runs: the error and, below it, the correlation of weights
/// and feedback for each level but the first.
fn panels(curves: &[LinearCurve], runs: usize, levels: usize) -> Vec<LineChart> {
    let panel =
        |title: String, run, y_label: &str, log_y, y: &dyn Fn(&LinearCurve, usize) -> f64| {
            let lines = curves.iter().filter(|curve| curve.run == run).enumerate();
            let lines = lines.map(|(colour, curve)| {
                let points = curve.iterations.iter().enumerate();
                let points =
                    points.map(|(at, &iteration)| (iteration as f64, y(curve, at))).collect();
                Series { name: name(curve), points, colour, ..Default::default() }
            });
            let (x_label, y_label) = ("iteration".to_string(), y_label.to_string());
            let series = lines.collect();
            LineChart { title, x_label, y_label, log_y, series, ..Default::default() }
        };
    let errors = (0..runs).map(|run| {
        let title = format!("run {}, error", run + 1);
        panel(title, run, "relative error", true, &|curve, at| curve.relative_errors[at])
    });
    let mut panels: Vec<LineChart> = errors.collect();
    for level in 2..=levels {
        panels.extend((0..runs).map(|run| {
            let title = format!("run {}, level {level}", run + 1);
            panel(title, run, "correlation of W and R", false, &|curve, at| {
                curve.correlations[level - 2][at].unwrap_or(f64::NAN)
            })
        }));
    }
    panels
}

/// Mean and spread of the number of steps until arrival for each kind of feedback; empty if any of its
/// runs never arrived.
fn hitting(curves: &[LinearCurve]) -> Result<Table> {
    let mut table = Table::new(["feedback", "runs", "mean", "sd"]);
    for first in curves.iter().filter(|curve| curve.run == 0) {
        let same = curves.iter().filter(|curve| curve.feedback_rate == first.feedback_rate);
        let times: Vec<Option<f64>> =
            same.map(|curve| curve.arrived_after.map(|steps| steps as f64)).collect();
        let runs = times.len();
        let times: Option<Vec<f64>> = times.into_iter().collect();
        let spread = times.and_then(|times| Spread::of(&times));
        let (mean, sd) = (spread.map(|spread| spread.mean), spread.and_then(|spread| spread.sd));
        table.row([name(first).into(), runs.into(), mean.into(), sd.into()])?;
    }
    Ok(table)
}
