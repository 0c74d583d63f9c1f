//! Statistics of the units of each layer, gathered over the batches of an epoch.

use super::config::Preset;
use super::network::Network;
use crate::extremes::{larger, smaller};
use candle::Tensor;
use candle_hebbian::Activity;
use candle_hebbian::device::to_host;
use candle_hebbian::ops::column_counts;
use hebbian_train::{Deferred, Result};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Number of batches whose winners are kept for the raster.
const RASTER: usize = 150;

/// Statistics of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerStats {
    /// Share of outputs above 0, before pooling.
    pub active: f64,
    /// Mean output, before pooling.
    pub mean_output: f64,
    /// Largest output, before pooling.
    pub max_output: f64,
    /// Smallest win rate of a unit, divided by its target `k/N`.
    pub least_win_rate: f64,
    /// Largest win rate of a unit, divided by its target.
    pub largest_win_rate: f64,
    /// `Σ θ`
    pub threshold_sum: f64,
    /// Mean of `Σ w⁴` over filters: 1 if each has a single connection, `3/(F + 2)` for a random Gaussian
    /// filter with `F` connections and norm 1.
    pub fourth_power: f64,
}

impl LayerStats {
    /// Returns the names and values of these statistics, for the log of layer `index`.
    pub fn named(&self, index: usize) -> Vec<(String, f64)> {
        [
            ("active", self.active),
            ("mean_output", self.mean_output),
            ("max_output", self.max_output),
            ("least_win_rate", self.least_win_rate),
            ("largest_win_rate", self.largest_win_rate),
            ("threshold_sum", self.threshold_sum),
            ("fourth_power", self.fourth_power),
        ]
        .map(|(name, value)| (format!("layers.{index}.{name}"), value))
        .to_vec()
    }
}

/// Statistics of the activity of all layers.
#[derive(Debug, Clone)]
pub struct Monitor {
    /// The target win rate of each layer's units.
    targets: Vec<f64>,
    /// The statistics of each layer, without the winners of the last batches, which are in `latest`.
    layers: Vec<Seen>,
    /// For each layer, the outputs at the first position of the first image of the last batches.
    latest: Vec<Deferred<()>>,
}

/// Sums and winners of one layer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    wins: Vec<f64>,
    columns: f64,
    active: f64,
    sum: f64,
    largest: f64,
    outputs: f64,
    /// The units that won at the first position of the first image of the epoch's latest batches.
    raster: VecDeque<Vec<usize>>,
}

impl Seen {
    /// Adds to the raster the units that won at one position in each of the latest batches, given the
    /// outputs there.
    fn with_winners(mut self, outputs: Vec<(Vec<f32>, ())>) -> Self {
        for (outputs, ()) in outputs {
            let winners = outputs.iter().enumerate().filter(|(_, output)| **output > 0.0);
            self.raster.push_back(winners.map(|(unit, _)| unit).collect());
            if self.raster.len() > RASTER {
                self.raster.pop_front();
            }
        }
        self
    }
}

impl Monitor {
    pub(super) fn new(preset: &Preset) -> Self {
        let targets: Vec<f64> = preset.layers.iter().map(|layer| layer.target_rate()).collect();
        Self {
            layers: vec![Seen::default(); targets.len()],
            latest: vec![Deferred::default(); targets.len()],
            targets,
        }
    }

    /// The number of layers.
    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The statistics of every layer, including the latest winners.
    pub(super) fn seen(&self) -> Result<Vec<Seen>> {
        let layers = self.layers.iter().zip(&self.latest);
        layers.map(|(seen, latest)| Ok(seen.clone().with_winners(latest.read()?))).collect()
    }

    /// Continues from saved statistics of every layer.
    pub(super) fn go_on(&mut self, seen: Vec<Seen>) {
        self.latest.fill_with(Deferred::default);
        self.layers = seen;
    }

    /// Discards all statistics.
    pub(super) fn restart(&mut self) {
        self.layers.fill_with(Seen::default);
        self.latest.fill_with(Deferred::default);
    }

    /// Records the units that won at the first position of the first image.
    pub(super) fn winners(&mut self, activities: &[Activity]) -> Result<()> {
        for (latest, activity) in self.latest.iter_mut().zip(activities) {
            latest.push(&activity.post.narrow(1, 0, 1)?, ())?;
        }
        if self.latest.iter().any(Deferred::is_due) {
            self.layers = self.seen()?;
            self.latest.fill_with(Deferred::default);
        }
        Ok(())
    }

    /// Counts the winners of one batch, and adds up the outputs for its first image.
    pub(super) fn observe(&mut self, activities: &[Activity]) -> Result<()> {
        for (seen, activity) in self.layers.iter_mut().zip(activities) {
            let wins = column_counts(&activity.post)?.squeeze(0)?;
            let wins = to_host(&wins)?.to_vec1::<f64>()?;
            seen.wins.resize(wins.len(), 0.0);
            seen.wins.iter_mut().zip(&wins).for_each(|(sum, wins)| *sum += wins);
            seen.columns += activity.post.dim(1)? as f64;
            let first = activity.unpooled.narrow(0, 0, 1)?.flatten_all()?;
            let first = to_host(&first)?.to_vec1::<f64>()?;
            // It is unknown whether NaN is above 0.
            let above = |output: f64| match output.is_nan() {
                true => output,
                false => f64::from(output > 0.0),
            };
            seen.active += first.iter().copied().map(above).sum::<f64>();
            seen.sum += first.iter().sum::<f64>();
            seen.largest = first.iter().copied().fold(seen.largest, larger);
            seen.outputs += first.len() as f64;
        }
        Ok(())
    }

    /// Returns the win rate of every unit of layer `index`, divided by its target, in the observed batches.
    pub fn win_rates(&self, index: usize) -> Vec<f64> {
        let (Some(seen), Some(target)) = (self.layers.get(index), self.targets.get(index)) else {
            return Vec::new();
        };
        let scale = 1.0 / (seen.columns.max(1.0) * target);
        seen.wins.iter().map(|wins| wins * scale).collect()
    }

    /// Returns the units of layer `index` that won at the first position of the first image in each of
    /// the epoch's latest 150 batches, the oldest first.
    ///
    /// # Errors
    /// If the device fails.
    pub fn raster(&self, index: usize) -> Result<Vec<Vec<usize>>> {
        Ok(self.seen()?.into_iter().nth(index).map(|seen| seen.raster.into()).unwrap_or_default())
    }

    /// The statistics since the last [`restart`](Self::restart), with the current weights and thresholds.
    pub(super) fn report(&self, network: &Network) -> Result<Vec<LayerStats>> {
        let sum = |tensor: &Tensor| -> Result<f64> {
            Ok(to_host(tensor)?.sum_all()?.to_scalar::<f64>()?)
        };
        let layers = self.layers.iter().enumerate().zip(network.stack().blocks());
        layers
            .map(|((index, seen), block)| {
                let rates = self.win_rates(index);
                let weight = block.layer()?.weight().detach();
                let thresholds = block.threshold().map(|threshold| sum(threshold.values()));
                Ok(LayerStats {
                    active: seen.active / seen.outputs,
                    mean_output: seen.sum / seen.outputs,
                    max_output: seen.largest,
                    least_win_rate: rates.iter().copied().fold(f64::INFINITY, smaller),
                    largest_win_rate: rates.iter().copied().fold(0.0, larger),
                    threshold_sum: thresholds.transpose()?.unwrap_or_default(),
                    fourth_power: sum(&weight.sqr()?.sqr()?)? / weight.dim(0)? as f64,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets::preset;
    use super::*;
    use candle::Device;

    /// Of the outputs 2 and NaN, neither the largest nor the number above 0 is known.
    #[test]
    fn nan_is_not_hidden() -> Result<()> {
        let mut monitor = Monitor::new(&preset("miconi-digits")?);
        let output = Tensor::new(&[[[[2f32, f32::NAN]]]], &Device::Cpu)?;
        let post = output.reshape((1, 2, 1))?;
        let (u, unpooled) = (post.clone(), output.clone());
        monitor.observe(&[Activity { u, post, unpooled, output }])?;
        let seen = &monitor.layers[0];
        assert!(seen.largest.is_nan() && seen.active.is_nan() && seen.wins[0].is_nan());
        Ok(())
    }
}
