//! Every way of sending the error back, in one network and with one recipe.
//!
//! All networks learn the mixture task with the hinge loss at the same rate. Kolen–Pollack differs from URFB only by a
//! decay of both weights, so a second row of back-propagation has the same decay.

use super::super::protocol::Protocol;
use super::arm::{BP_H, FRFB, Runner, Trained, URFB, Variation, arm, numbers};
use super::bars::bar_series;
use super::mixture::{self, ERRORS, early, errors};
use super::protocols::each;
use hebbian_train::{BarChart, Figure, Result, Spread, Table};

const DEPTH: usize = 4;

const fn by(label: &'static str, protocol: Protocol) -> Variation {
    Variation { label, protocol, ..URFB }
}

const fn decaying(label: &'static str, variation: Variation) -> Variation {
    Variation { label, weight_decay: 0.001, ..variation }
}

/// In the order of how much the backward path knows of the weights.
const VARIATIONS: [Variation; 10] = [
    BP_H,
    decaying("BP-H λ = 0.001", BP_H),
    by("WM", Protocol::WeightMirror { rate: 0.1 }),
    by("uSF", Protocol::UniformSign),
    by("frSF", Protocol::FixedRandomSign),
    by("brSF", Protocol::BatchwiseRandomSign),
    decaying("KP λ = 0.001", by("", Protocol::KolenPollack)),
    URFB,
    by("DFA", Protocol::DirectFeedback),
    FRFB,
];

/// Trains the networks and tabulates their errors, how well the matrix `K` of the backward path agrees with the
/// weights, and the angle between the errors that reach the layers and those of back-propagation.
pub(super) fn draw(runner: &Runner) -> Result<Figure> {
    let base = mixture::network(runner, DEPTH);
    let arms = VARIATIONS.map(|variation| arm(&DEPTH.to_string(), &base, variation));
    let trained = mixture::train(runner, &mixture::splits()?, arms.to_vec())?;
    let layers = base.weight_layers();
    let mut table = Table::new(["feedback", "seeds"].into_iter().chain(ERRORS));
    let headings =
        ["feedback", "after 20 epochs", "test error %", "W-K correlation", "error angle °"];
    let mut text = Table::new(headings);
    for one in &trained {
        let label = one.arm.label.as_str();
        let row = [label.into(), one.runs.len().into()];
        table.row(row.into_iter().chain(errors(one)))?;
        text.row([
            label.into(),
            early(one).map(Spread::percent).into(),
            one.test_error().map(Spread::percent).into(),
            // Without the first layer, through which no error goes back.
            each(one, &layers[1..], "correlation", 2).into(),
            // Without the class layer, which receives the error of the loss itself.
            each(one, &layers[..DEPTH], "angle", 0).into(),
        ])?;
    }
    let notes = "\n\
        correlation of the weights W and the matrix K that the error goes back through, from the second layer to the classes;\n\
        angle between each hidden layer's error and the one that back-propagation would send;\n\
        both after the last epoch, means over seeds\n";
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: numbers(&trained),
        text: format!("{text}{notes}"),
        picture: chart(&trained, &runner.study.options.averaged()).draw()?,
    })
}

fn chart(trained: &[Trained], averaged: &str) -> BarChart {
    BarChart {
        title: format!("mixture task, {DEPTH} hidden layers, {averaged}"),
        y_label: "test error, %".to_string(),
        decimals: 1,
        groups: trained.iter().map(|one| one.arm.label.clone()).collect(),
        series: vec![bar_series("", trained.iter().map(Trained::test_error))],
    }
}
