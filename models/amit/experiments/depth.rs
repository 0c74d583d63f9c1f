//! Error against depth on the mixture task, where fixed feedback falls behind as layers are added.

use super::super::protocol::Protocol;
use super::arm::{
    BP, BP_H, FRFB, FRFB_50, Runner, Trained, URFB, URFB_50, Variation, arm, numbers,
};
use super::bars::bar_series;
use super::mixture::{self, ERRORS, early, errors};
use super::protocols::each;
use hebbian_train::{BarChart, Figure, Result, Spread, Table};

const fn partial(label: &'static str, rate: f64) -> Variation {
    Variation { label, protocol: Protocol::Partial { rate }, ..URFB }
}

/// Trains networks of 1, 2 and 4 hidden layers.
pub(super) fn draw(runner: &Runner) -> Result<Figure> {
    let mut arms = Vec::new();
    for (depth, more) in [
        (1, vec![]),
        (2, vec![BP, URFB_50, FRFB_50]),
        (4, vec![partial("ε = 0.5", 0.5), partial("ε = 0.25", 0.25)]),
    ] {
        let base = mixture::network(runner, depth);
        let all = [BP_H, URFB, FRFB].into_iter().chain(more);
        arms.extend(all.map(|variation| arm(&depth.to_string(), &base, variation)));
    }
    let splits = mixture::splits()?;
    let trained = mixture::train(runner, &splits, arms)?;

    let mut table = Table::new(["hidden_layers", "arm", "seeds"].into_iter().chain(ERRORS));
    let headings = ["hidden", "arm", "after 20 epochs", "test error %", "W-R correlation"];
    let mut text = Table::new(headings);
    for one in &trained {
        let (network, label) = (one.arm.group.as_str(), one.arm.label.as_str());
        let row = [network.into(), label.into(), one.runs.len().into()];
        table.row(row.into_iter().chain(errors(one)))?;
        text.row([
            network.into(),
            label.into(),
            early(one).map(Spread::percent).into(),
            one.test_error().map(Spread::percent).into(),
            each(one, &one.arm.options.preset.weight_layers(), "correlation", 2).into(),
        ])?;
    }
    let ridge = mixture::ridge_error(&splits)?;
    let mut numbers = numbers(&trained);
    numbers["ridge_error"] = ridge.into();
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers,
        text: format!("{text}\nridge regression of the inputs: {:.2} %\n", 100.0 * ridge),
        picture: chart(&trained, &runner.study.options.averaged()).draw()?,
    })
}

fn chart(trained: &[Trained], averaged: &str) -> BarChart {
    let depths = ["1", "2", "4"];
    let series = [BP_H, URFB, FRFB].map(|Variation { label, .. }| {
        let of = |depth: &&str| {
            trained.iter().find(|one| one.arm.group == **depth && one.arm.label == label)
        };
        bar_series(label, depths.iter().map(|depth| of(depth)?.test_error()))
    });
    BarChart {
        title: format!("mixture task, {averaged}"),
        y_label: "test error, %".to_string(),
        decimals: 2,
        groups: depths.map(|depth| format!("hidden layers: {depth}")).to_vec(),
        series: series.to_vec(),
    }
}
