//! A first comparison: the protocols side by side in a network in which they differ.

use super::arm::{BP_H, FRFB, Runner, Trained, URFB, arm, numbers};
use super::curves;
use hebbian_train::{Figure, Result, Spread, Table};

/// Trains networks of four hidden layers, all with the hinge loss, so that only the feedback differs.
pub(super) fn draw(runner: &Runner) -> Result<Figure> {
    let base = runner.network("digits")?;
    let arms = [BP_H, URFB, FRFB].map(|variation| arm("digits", &base, variation));
    let trained = runner.train(arms.to_vec())?;
    let layers = base.weight_layers();
    let mut text = Table::new(["protocol", "test error %", "W-R correlation", "error angle °"]);
    for one in &trained {
        text.row([
            one.arm.label.as_str().into(),
            one.test_error().map(Spread::percent).into(),
            each(one, &layers, "correlation", 2).into(),
            // Without the class layer, which receives the error of the loss itself.
            each(one, &layers[..layers.len() - 1], "angle", 0).into(),
        ])?;
    }
    let notes = "\n\
        correlation of the weights and the feedback weights of each layer, the first one first;\n\
        angle between each hidden layer's error and the one that back-propagation would send;\n\
        both after the last epoch, means over seeds\n";
    Ok(Figure {
        table: curves::points(&trained)?,
        more_tables: Vec::new(),
        numbers: numbers(&trained),
        text: format!("{text}{notes}"),
        picture: curves::chart(&trained, runner.title("four hidden layers, ")?).draw()?,
    })
}

/// The last value of each layer, side by side; `-` for a layer without one.
pub(super) fn each(one: &Trained, layers: &[String], name: &str, decimals: usize) -> String {
    let values = layers.iter().map(|layer| match one.at(&format!("{name}/{layer}"), None) {
        Some(spread) => format!("{:.decimals$}", spread.mean),
        None => "-".to_string(),
    });
    values.collect::<Vec<_>>().join(" ")
}
