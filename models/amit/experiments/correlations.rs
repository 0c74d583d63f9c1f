//! Figs. 10 and 11: correlation of weights and feedback weights, layer by layer.

use super::super::config::LayerConfig;
use super::arm::{FRFB, Runner, Trained, URFB, arm, numbers};
use hebbian_train::{Cell, Figure, LineChart, Result, Series, Table, draw_panels};

/// Trains `network` with URFB and with FRFB. For a network that is untied during training, the figure
/// shows only the epochs after untying, and only the layers that learn in them.
pub(super) fn draw(runner: &Runner, network: &str) -> Result<Figure> {
    let base = runner.network(network)?;
    let frozen = base.layers.iter().filter(|l| matches!(l, LayerConfig::Conv { frozen: true, .. }));
    // Frozen layers come first.
    let layers: Vec<String> = base.weight_layers().into_iter().skip(frozen.count()).collect();
    let start = base.training.tied.map_or(0, |tied| tied.epochs as u64);
    let trained =
        runner.train([URFB, FRFB].map(|variation| arm(network, &base, variation)).to_vec())?;

    let epochs = |one: &Trained| one.epochs().into_iter().filter(move |&e| e > start || start == 0);
    let at = |one: &Trained, layer: &str, epoch| one.at(&format!("correlation/{layer}"), epoch);
    let mut table = Table::new(["arm", "layer", "epoch", "correlation", "sd"]);
    let mut text = Table::new(
        ["correlation of W and R".to_string()].into_iter().chain(layers.iter().cloned()),
    );
    let mut panels = Vec::new();
    for one in &trained {
        let mut series = Vec::new();
        for (colour, layer) in layers.iter().enumerate() {
            let mut points = Vec::new();
            for epoch in epochs(one) {
                let Some(spread) = at(one, layer, Some(epoch)) else { continue };
                points.push(((epoch - start) as f64, spread));
                let label = Cell::from(one.arm.label.as_str());
                let epoch = (epoch - start).into();
                let row = [label, layer.as_str().into(), epoch];
                table.row(row.into_iter().chain([spread.mean.into(), spread.sd.into()]))?;
            }
            series.push(Series { colour, ..Series::of_means(layer, points) });
        }
        panels.push(LineChart {
            title: runner.title(&format!("{network}, {}, ", one.arm.label))?,
            x_label: if start > 0 { "epoch after untying" } else { "epoch" }.to_string(),
            y_label: "correlation of W and R".to_string(),
            series,
            ..LineChart::default()
        });
        // Rounded, because the table writes small numbers with an exponent.
        let rounded = |mean: f64| (1000.0 * mean).round() / 1000.0;
        let last = layers.iter().map(|layer| at(one, layer, None).map(|s| rounded(s.mean)).into());
        text.row([Cell::from(one.arm.label.as_str())].into_iter().chain(last))?;
    }
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: numbers(&trained),
        text: format!("{text:.3}"),
        picture: draw_panels(&panels, 2)?,
    })
}
