//! Figs. 5, 6 and 9: final test errors.

use super::arm::{
    BP, BP_H, FRFB, FRFB_50, Runner, Trained, URFB, URFB_50, Variation, numbers, summary,
};
use hebbian_train::{BarChart, BarSeries, Figure, Result, Spread};

const VARIATIONS: [Variation; 6] = [BP, BP_H, URFB, FRFB, URFB_50, FRFB_50];

/// Figs. 5 and 6: every protocol and loss.
pub(super) fn protocols(runner: &Runner, networks: &[&str]) -> Result<Figure> {
    let mut arms = Vec::new();
    for &network in networks {
        let base = runner.network(network)?;
        for variation in VARIATIONS {
            arms.push(runner.arm(network, &base, variation)?);
        }
    }
    let trained = runner.train(arms)?;
    let groups = networks.iter().map(ToString::to_string).collect();
    let series = (0..VARIATIONS.len()).map(|at| {
        let bars = trained.iter().skip(at).step_by(VARIATIONS.len());
        bar_series(VARIATIONS[at].label, bars.map(Trained::test_error))
    });
    figure(runner, &trained, groups, series.collect())
}

/// Fig. 9: tied convolutions beside untied ones.
pub(super) fn untied(runner: &Runner, networks: &[&str]) -> Result<Figure> {
    let (mut arms, mut groups) = (Vec::new(), Vec::new());
    for &network in networks {
        let tied = runner.network(network)?;
        let name = format!("{network}-untied");
        let untied = runner.network(&name)?;
        for variation in VARIATIONS {
            groups.push(format!("{network} {}", variation.label));
            arms.push(runner.arm(network, &tied, variation)?);
            arms.push(runner.arm(&name, &untied, variation)?);
        }
    }
    let trained = runner.train(arms)?;
    let series = ["tied", "untied"].into_iter().enumerate();
    let series = series.map(|(at, name)| {
        bar_series(name, trained.iter().skip(at).step_by(2).map(Trained::test_error))
    });
    figure(runner, &trained, groups, series.collect())
}

/// A series of bars in percent, from values that are shares of 1.
pub(super) fn bar_series(name: &str, bars: impl Iterator<Item = Option<Spread>>) -> BarSeries {
    let values = bars.map(|share| share.map(|share| share.times(100.0))).collect();
    BarSeries { name: name.to_string(), values }
}

fn figure(
    runner: &Runner,
    trained: &[Trained],
    groups: Vec<String>,
    series: Vec<BarSeries>,
) -> Result<Figure> {
    let title = runner.title("")?;
    let y_label = "test error, %".to_string();
    Ok(Figure {
        table: summary(trained, false)?,
        more_tables: Vec::new(),
        numbers: numbers(trained),
        text: format!("{:.2}", summary(trained, true)?),
        picture: BarChart { title, y_label, decimals: 2, groups, series }.draw()?,
    })
}
