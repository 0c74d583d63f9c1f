//! Figures of the units of a block, gathered over the steps between two log lines.

use candle::{D, DType, Tensor};
use candle_hebbian::device::to_host;
use candle_hebbian::{Geometry, Layer};
use hebbian_train::{Deferred, Result};
use serde::{Deserialize, Serialize};

/// Figures of one block. `convergence` and `converged` are defined as in the release, but per block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockStats {
    /// Mean radius `‖w_k‖`.
    pub mean_radius: f64,
    /// Smallest radius.
    pub min_radius: f64,
    /// Largest radius.
    pub max_radius: f64,
    /// `mean_k |r_k − 1|`
    pub convergence: f64,
    /// The number of units with `|r_k − 1|` below 0.01, or below 0.005 in a dense layer: "R1" in the paper.
    pub converged: usize,
    /// Mean activity of winners.
    pub winner_share: f64,
    /// Entropy of the distribution of wins, divided by its largest possible value: 1 if all units win equally often.
    pub winner_entropy: f64,
    /// The number of units that won none of the observed competitions: in a dense layer all since the last log line, in
    /// a convolution those of one step in ten. A unit that wins rarely may be counted too.
    pub silent_units: usize,
}

/// Counts winners over steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Monitor {
    wins: Vec<u64>,
    winner_activity: f64,
    competitions: u64,
    /// The winners of the last steps and the sum of their activity, with the numbers of sites and units.
    #[serde(skip)]
    latest: Deferred<(usize, usize)>,
}

impl Monitor {
    /// Counts the winners of one step, in which the excitation `u (S, P, K)` competed and gave the activity `post`.
    ///
    /// # Errors
    /// An error from the device.
    pub fn observe(&mut self, u: &Tensor, post: &Tensor) -> Result<()> {
        let (sites, _, units) = u.dims3()?;
        let winners = u.argmax(D::Minus1)?.flatten_all()?.to_dtype(DType::F32)?;
        let activity = post.abs()?.max(D::Minus1)?.sum_all()?.to_dtype(DType::F32)?;
        let figures = Tensor::cat(&[winners, activity.reshape(1)?], 0)?;
        self.latest.push(&figures, (sites, units))?;
        if self.latest.is_due() {
            self.settle()?;
        }
        Ok(())
    }

    /// Counts the winners of the last steps that are still on the device.
    ///
    /// # Errors
    /// An error from the device.
    pub fn settle(&mut self) -> Result<()> {
        for (figures, (sites, units)) in self.latest.take()? {
            let Some((activity, winners)) = figures.split_last() else { continue };
            self.wins.resize(sites * units, 0);
            for (site, winners) in winners.chunks((winners.len() / sites).max(1)).enumerate() {
                for &winner in winners {
                    self.wins[site * units + winner as usize] += 1;
                }
            }
            self.competitions += winners.len() as u64;
            self.winner_activity += f64::from(*activity);
        }
        Ok(())
    }

    /// Returns the figures since the last call, with the current radii of the layer.
    ///
    /// # Errors
    /// An error from the device.
    pub fn report(&mut self, layer: &Layer) -> Result<BlockStats> {
        self.settle()?;
        let radii = to_host(&layer.radii()?.flatten_all()?)?.to_vec1::<f64>()?;
        let count = radii.len() as f64;
        let near = if layer.geometry() == Geometry::Dense { 0.005 } else { 0.01 };
        let total = self.competitions.max(1) as f64;
        let entropy: f64 = self
            .wins
            .iter()
            .filter(|&&wins| wins > 0)
            .map(|&wins| wins as f64 / total)
            .map(|share| -share * share.ln())
            .sum();
        let stats = BlockStats {
            mean_radius: radii.iter().sum::<f64>() / count,
            min_radius: radii.iter().copied().fold(f64::INFINITY, f64::min),
            max_radius: radii.iter().copied().fold(0.0, f64::max),
            convergence: radii.iter().map(|r| (r - 1.0).abs()).sum::<f64>() / count,
            converged: radii.iter().filter(|&&r| (r - 1.0).abs() < near).count(),
            winner_share: self.winner_activity / total,
            winner_entropy: if count > 1.0 { entropy / count.ln() } else { 1.0 },
            silent_units: self.wins.iter().filter(|&&wins| wins == 0).count(),
        };
        *self = Self::default();
        Ok(stats)
    }
}

impl BlockStats {
    /// Returns the names and values for a log of block `index`.
    pub fn named(&self, index: usize) -> Vec<(String, f64)> {
        [
            ("mean_radius", self.mean_radius),
            ("min_radius", self.min_radius),
            ("max_radius", self.max_radius),
            ("convergence", self.convergence),
            ("converged_units", self.converged as f64),
            ("winner_share", self.winner_share),
            ("winner_entropy", self.winner_entropy),
            ("silent_units", self.silent_units as f64),
        ]
        .map(|(name, value)| (format!("layers.{index}.{name}"), value))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    /// The release calls a unit of a dense layer converged within 0.005 of radius 1, one of a convolution within 0.01.
    #[test]
    fn what_has_converged_depends_on_the_geometry() -> Result<()> {
        let weight = Tensor::new(&[[1.004f64], [1.007], [1.02]], &Device::Cpu)?;
        let dense = Layer::from_tensor(&weight, Geometry::Dense)?;
        assert_eq!(Monitor::default().report(&dense)?.converged, 1);
        let geometry = Geometry::Conv2d(candle_hebbian::Conv2dConfig::default());
        let conv = Layer::from_tensor(&weight.reshape((3, 1, 1, 1))?, geometry)?;
        assert_eq!(Monitor::default().report(&conv)?.converged, 2);
        Ok(())
    }
}
