//! Pictures of a trained network.

use super::monitor::RASTER;
use super::receptive_fields::receptive_fields;
use super::trainer::Trainer;
use candle_hebbian::device::to_host;
use hebbian_train::Result;
use hebbian_train::{Histogram, LineChart, Picture, RunFolder, Series, draw_panels, filter_grid};

/// Bars of a histogram.
const BINS: usize = 100;

/// Draws into the run folder, of every layer: receptive fields and weights.
pub(super) fn weights(trainer: &Trainer, folder: &mut RunFolder) -> Result<()> {
    let step = trainer.epoch() as u64;
    let quirks = trainer.network().preset().quirks;
    let fields = receptive_fields(trainer.network(), quirks.top_left_receptive_fields)?;
    for (at, fields) in fields.iter().enumerate() {
        let name = format!("receptive_fields_{}", at + 1);
        folder.picture(&name, step, &filter_grid(fields)?)?;
    }
    folder.picture("weights", step, &histograms(trainer)?)?;
    Ok(())
}

/// Draws into the run folder, of every layer: who won in the last epoch, how often.
pub(super) fn winners(trainer: &Trainer, folder: &mut RunFolder) -> Result<()> {
    let step = trainer.epoch() as u64;
    // Nothing was seen of a network that did not train.
    if !trainer.monitor().win_rates(0).is_empty() {
        folder.picture("winners", step, &raster(trainer)?)?;
        folder.picture("win_rates", step, &win_rates(trainer)?)?;
    }
    Ok(())
}

/// Histograms of the weights that exist, counts logarithmic.
fn histograms(trainer: &Trainer) -> Result<Picture> {
    let panel = |at, values: Vec<f64>| {
        let outline = Histogram::new(&values, BINS)?.outline(0.5);
        Ok(panel(at, ("weight", "how many"), vec![line(outline)], true))
    };
    let layers = trainer.network().stack().blocks().iter().enumerate();
    let panels = layers
        .map(|(at, block)| {
            let values = |tensor: &candle::Tensor| -> Result<Vec<f64>> {
                Ok(to_host(tensor)?.flatten_all()?.to_vec1()?)
            };
            let weights = values(block.layer()?.weight())?;
            match trainer.network().mask(at) {
                None => panel(at, weights),
                Some(mask) => {
                    let kept = weights.into_iter().zip(values(mask)?);
                    panel(at, kept.filter(|(_, kept)| *kept != 0.0).map(|(w, _)| w).collect())
                }
            }
        })
        .collect::<Result<Vec<_>>>()?;
    draw_panels(&panels, panels.len())
}

/// Winners at the first position of the first image of the epoch's latest batches.
fn raster(trainer: &Trainer) -> Result<Picture> {
    let layers = 0..trainer.network().stack().blocks().len();
    let panels: Vec<LineChart> = layers
        .map(|at| {
            let raster = trainer.monitor().raster(at);
            let points = raster.iter().enumerate().flat_map(|(batch, winners)| {
                winners.iter().map(move |&unit| (batch as f64, unit as f64))
            });
            let series = Series { points: points.collect(), dots: true, ..Default::default() };
            panel(at, (&format!("the latest {RASTER} batches"), "winner"), vec![series], false)
        })
        .filter(|panel| panel.series.iter().any(|series| !series.points.is_empty()))
        .collect();
    draw_panels(&panels, panels.len().max(1))
}

/// Histograms of how often units won, over their target, with the target as a line.
fn win_rates(trainer: &Trainer) -> Result<Picture> {
    let layers = 0..trainer.network().stack().blocks().len();
    let panels = layers
        .map(|at| {
            let rates = trainer.monitor().win_rates(at);
            let histogram = Histogram::new(&rates, (rates.len() / 8).clamp(8, 40))?;
            let outline = histogram.outline(0.0);
            let most = outline.iter().fold(0.0, |most: f64, point| most.max(point.1));
            let target = Series {
                points: vec![(1.0, 0.0), (1.0, most)],
                dashed: true,
                colour: 1,
                ..Default::default()
            };
            let labels = ("win rate / target", "how many units");
            Ok(panel(at, labels, vec![line(outline), target], false))
        })
        .collect::<Result<Vec<_>>>()?;
    draw_panels(&panels, panels.len())
}

fn line(points: Vec<(f64, f64)>) -> Series {
    Series { points, ..Default::default() }
}

fn panel(at: usize, labels: (&str, &str), series: Vec<Series>, log_y: bool) -> LineChart {
    LineChart {
        title: format!("layer {}", at + 1),
        x_label: labels.0.to_string(),
        y_label: labels.1.to_string(),
        log_y,
        series,
    }
}
