//! Pictures of a network.

use super::monitor::Monitor;
use super::network::Network;
use super::receptive_fields::receptive_fields;
use candle_hebbian::device::to_host;
use hebbian_train::{Histogram, LineChart, Picture, Result, Series, draw_panels, filter_picture};

/// Number of bars in a histogram.
const BINS: usize = 100;
/// Number of panels side by side.
const COLUMNS: usize = 3;

/// Pictures of every layer, by name: receptive fields, weights and, once the monitor has statistics, the
/// winners in the last epoch and how often units won.
pub(super) fn all(network: &Network, monitor: &Monitor) -> Result<Vec<(String, Picture)>> {
    let top_left = network.preset().quirks.top_left_receptive_fields;
    let mut pictures = Vec::new();
    for (at, fields) in receptive_fields(network, top_left)?.iter().enumerate() {
        let title = format!("layer {}, receptive fields", at + 1);
        let picture = filter_picture(fields, &title)?;
        pictures.push((format!("receptive_fields_{}", at + 1), picture));
    }
    pictures.push(("weights".to_string(), histograms(network)?));
    if !monitor.win_rates(0).is_empty() {
        pictures.push(("winners".to_string(), raster(monitor)?));
        pictures.push(("win_rates".to_string(), win_rates(monitor)?));
    }
    Ok(pictures)
}

/// Histograms of the weights of existing connections, with logarithmic counts.
fn histograms(network: &Network) -> Result<Picture> {
    let panel = |at, values: Vec<f64>| {
        let weights = vec![Histogram::new(&values, BINS)?.series(0.5)];
        let labels = ("weight", "number of weights");
        Ok(LineChart { log_y: true, ..panel(at, "weights", labels, weights) })
    };
    let layers = network.stack().blocks().iter().enumerate();
    let panels = layers
        .map(|(at, block)| {
            let values = |tensor: &candle::Tensor| -> Result<Vec<f64>> {
                Ok(to_host(tensor)?.flatten_all()?.to_vec1()?)
            };
            let weights = values(block.layer()?.weight())?;
            match network.mask(at) {
                None => panel(at, weights),
                Some(mask) => {
                    let kept = weights.into_iter().zip(values(mask)?);
                    panel(at, kept.filter(|(_, kept)| *kept != 0.0).map(|(w, _)| w).collect())
                }
            }
        })
        .collect::<Result<Vec<_>>>()?;
    draw_panels(&panels, COLUMNS)
}

/// Winners at the first position of the first image of the epoch's latest batches.
fn raster(monitor: &Monitor) -> Result<Picture> {
    let layers = 0..monitor.layers();
    let panels = layers
        .map(|at| {
            let raster = monitor.raster(at)?;
            let points = raster.iter().enumerate().flat_map(|(batch, winners)| {
                winners.iter().map(move |&unit| (batch as f64, unit as f64))
            });
            let series = Series { points: points.collect(), dots: true, ..Default::default() };
            let labels = (&*format!("batch, the latest {}", raster.len()), "unit");
            Ok(panel(at, "winners at one position", labels, vec![series]))
        })
        .collect::<Result<Vec<LineChart>>>()?;
    let seen = |panel: &LineChart| panel.series.iter().any(|series| !series.points.is_empty());
    let panels: Vec<LineChart> = panels.into_iter().filter(seen).collect();
    draw_panels(&panels, COLUMNS)?.titled(
        "Each dot is a unit that won. Scattered dots: many units take turns. A horizontal row: one unit wins again \
         and again.",
    )
}

/// Histograms of win rates divided by their target, with the target as a line.
fn win_rates(monitor: &Monitor) -> Result<Picture> {
    let layers = 0..monitor.layers();
    let panels = layers
        .map(|at| {
            let rates = monitor.win_rates(at);
            let histogram = Histogram::new(&rates, (rates.len() / 8).clamp(8, 40))?;
            let most = histogram.counts.iter().max().map_or(0.0, |&most| most as f64);
            let target = Series {
                name: "target".to_string(),
                points: vec![(1.0, 0.0), (1.0, most)],
                dashed: true,
                colour: 1,
                ..Default::default()
            };
            let rates = Series { name: "units".to_string(), ..histogram.series(0.0) };
            let labels = ("win rate / target", "number of units");
            Ok(panel(at, "win rates", labels, vec![rates, target]))
        })
        .collect::<Result<Vec<_>>>()?;
    draw_panels(&panels, COLUMNS)
}

fn panel(at: usize, what: &str, labels: (&str, &str), series: Vec<Series>) -> LineChart {
    LineChart {
        title: format!("layer {}, {what}", at + 1),
        x_label: labels.0.to_string(),
        y_label: labels.1.to_string(),
        series,
        ..LineChart::default()
    }
}
