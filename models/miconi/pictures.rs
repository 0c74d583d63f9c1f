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
/// winners in the last epoch and how often units won. Layers without connections have no panel for their weights, and
/// those without winners none for these.
pub(super) fn all(network: &Network, monitor: &Monitor) -> Result<Vec<(String, Picture)>> {
    let top_left = network.preset().quirks.top_left_receptive_fields;
    let mut pictures = Vec::new();
    for (at, fields) in receptive_fields(network, top_left)?.iter().enumerate() {
        let title = format!("layer {}, receptive fields", at + 1);
        let picture = filter_picture(fields, &title)?;
        pictures.push((format!("receptive_fields_{}", at + 1), picture));
    }
    pictures.extend(histograms(network)?.map(|picture| ("weights".to_string(), picture)));
    if !monitor.win_rates(0).is_empty() {
        pictures.extend(raster(monitor)?.map(|picture| ("winners".to_string(), picture)));
        pictures.push(("win_rates".to_string(), win_rates(monitor)?));
    }
    Ok(pictures)
}

/// Draws panels side by side; `None` if there are none.
fn side_by_side(panels: &[LineChart]) -> Result<Option<Picture>> {
    match panels {
        [] => Ok(None),
        panels => draw_panels(panels, COLUMNS).map(Some),
    }
}

/// Histograms of the weights of existing connections, with logarithmic counts.
fn histograms(network: &Network) -> Result<Option<Picture>> {
    let panel = |at: usize, values: Vec<f64>| -> Result<LineChart> {
        let weights = vec![Histogram::new(&values, BINS)?.series(0.5)];
        let labels = ("weight", "number of weights");
        Ok(LineChart { log_y: true, ..panel(at, "weights", labels, weights) })
    };
    let values = |tensor: &candle::Tensor| -> Result<Vec<f64>> {
        Ok(to_host(tensor)?.flatten_all()?.to_vec1()?)
    };
    let mut panels = Vec::new();
    for (at, block) in network.stack().blocks().iter().enumerate() {
        let mut weights = values(block.layer()?.weight())?;
        if let Some(mask) = network.mask(at) {
            let kept = weights.into_iter().zip(values(mask)?);
            weights = kept.filter(|(_, kept)| *kept != 0.0).map(|(w, _)| w).collect();
        }
        if !weights.is_empty() {
            panels.push(panel(at, weights)?);
        }
    }
    side_by_side(&panels)
}

/// Winners at the first position of the first image of the epoch's latest batches.
fn raster(monitor: &Monitor) -> Result<Option<Picture>> {
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
    let title = "Each dot is a unit that won. Scattered dots: many units take turns. A horizontal \
                 row: one unit wins again and again.";
    side_by_side(&panels)?.map(|picture| picture.titled(title)).transpose()
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

#[cfg(test)]
mod tests {
    use super::super::presets::preset;
    use super::*;
    use candle::{DType, Device, Tensor};
    use candle_hebbian::{Activity, Rng};

    /// All connections of the layers above the first one are missing, and at the only position no unit wins.
    #[test]
    fn without_connections_or_winners_there_is_nothing_to_draw() -> Result<()> {
        let device = &Device::Cpu;
        let mut preset = preset("miconi-digits")?;
        preset.prune(1.0 - f64::EPSILON);
        let network = Network::new(&preset, (1, 8, 8), &Rng::new(0), DType::F32, device)?;
        for at in [1, 2] {
            let kept =
                network.mask(at).map(|mask| mask.sum_all()?.to_scalar::<f32>()).transpose()?;
            assert_eq!(kept, Some(0.0), "layer {at}");
        }
        let mut monitor = Monitor::new(&preset);
        let names = |monitor: &Monitor| -> Result<Vec<String>> {
            Ok(all(&network, monitor)?.into_iter().map(|(name, _)| name).collect())
        };
        let fields = [1, 2, 3].map(|layer| format!("receptive_fields_{layer}"));
        assert_eq!(names(&monitor)?, [&fields[..], &["weights".to_string()]].concat());

        let silent = preset.layers.iter().map(|layer| -> Result<Activity> {
            let post = Tensor::zeros((1, 1, layer.units), DType::F32, device)?;
            let output = post.reshape((1, layer.units, 1, 1))?;
            let (u, unpooled) = (post.clone(), output.clone());
            Ok(Activity { u, post, unpooled, output })
        });
        let silent = silent.collect::<Result<Vec<_>>>()?;
        monitor.winners(&silent)?;
        monitor.observe(&silent)?;
        let more = ["weights", "win_rates"].map(String::from);
        assert_eq!(names(&monitor)?, [&fields[..], &more[..]].concat());
        Ok(())
    }
}
