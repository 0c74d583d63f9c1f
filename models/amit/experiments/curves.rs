//! Figs. 4 and 7: error against epoch.

use super::arm::{BP, FRFB, Runner, Trained, URFB, arm, error_series, numbers, summary};
use hebbian_train::{Figure, LineChart, Result, Table};

/// Trains `network` by back-propagation, URFB and FRFB.
pub(super) fn draw(runner: &Runner, network: &str) -> Result<Figure> {
    let base = runner.network(network)?;
    let arms = [BP, URFB, FRFB].map(|variation| arm(network, &base, variation));
    let trained = runner.train(arms.to_vec())?;
    let chart = chart(&trained, runner.title(&format!("{network}, "))?);
    Ok(Figure {
        table: points(&trained)?,
        more_tables: Vec::new(),
        numbers: numbers(&trained),
        text: format!("{:.2}", summary(&trained, true)?),
        picture: chart.draw()?,
    })
}

/// The errors of every arm, one colour per arm.
pub(super) fn chart(trained: &[Trained], title: String) -> LineChart {
    let series = trained.iter().enumerate();
    LineChart {
        title,
        x_label: "epoch".to_string(),
        y_label: "error, % (values below 0.1 are not shown)".to_string(),
        log_y: true,
        series: series.flat_map(|(colour, one)| error_series(one, colour)).collect(),
        ..LineChart::default()
    }
}

/// The points of the chart, with their spread over seeds.
pub(super) fn points(trained: &[Trained]) -> Result<Table> {
    let names = ["train_error", "validation_error"];
    let columns = ["network", "arm", "epoch"].map(str::to_string).into_iter();
    let mut table =
        Table::new(columns.chain(names.iter().flat_map(|n| [n.to_string(), format!("{n}_sd")])));
    for one in trained {
        for epoch in one.epochs() {
            let mut row =
                vec![one.arm.group.as_str().into(), one.arm.label.as_str().into(), epoch.into()];
            for name in names {
                let spread = one.at(name, Some(epoch));
                row.push(spread.map(|spread| spread.mean).into());
                row.push(spread.and_then(|spread| spread.sd).into());
            }
            table.row(row)?;
        }
    }
    Ok(table)
}
