//! Figures of the units of a block, gathered over the steps between two log lines.

use crate::extremes::{larger, smaller};
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
    /// Mean activity of winners; NaN if there was a competition without a winner.
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
    /// Counts the winners of one step, in which the excitation `u (S, P, K)` competed and gave the activity `post`. A
    /// competition has no winner if its excitations are not all finite.
    ///
    /// # Errors
    /// An error from the device.
    pub fn observe(&mut self, u: &Tensor, post: &Tensor) -> Result<()> {
        let (sites, _, units) = u.dims3()?;
        // 0, or NaN where there is no winner: candle's `argmax` has one for NaN too.
        let none = (u.to_dtype(DType::F32)?.sum(D::Minus1)? * 0.0)?;
        let winners = (u.argmax(D::Minus1)?.to_dtype(DType::F32)? + &none)?.flatten_all()?;
        let activity = post.abs()?.max(D::Minus1)?.to_dtype(DType::F32)?;
        let activity = (activity + none)?.sum_all()?;
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
                for winner in winners.iter().filter(|winner| !winner.is_nan()) {
                    self.wins[site * units + *winner as usize] += 1;
                    self.competitions += 1;
                }
            }
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
            min_radius: radii.iter().copied().fold(f64::INFINITY, smaller),
            max_radius: radii.iter().copied().fold(0.0, larger),
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

    /// Units 0, 1, 0 and 0 win, in two steps. The entropy of the shares 3/4 and 1/4 is 0.5623351446, and the largest
    /// possible one ln 3; unit 2 never wins. The winners' activity is 0.7, 0.8, 0.5 and 0.9.
    #[test]
    fn wins_are_counted_over_the_steps() -> Result<()> {
        let device = &Device::Cpu;
        let u = Tensor::new(&[[2f64, 1., 0.], [0., 3., 1.], [1., 0., 0.5], [5., 0., 0.]], device)?;
        let post = [[0.7f64, -0.2, -0.1], [-0.1, 0.8, -0.1], [0.5, -0.2, -0.3], [0.9, -0.1, 0.]];
        let post = Tensor::new(&post, device)?;
        let layer =
            Layer::from_tensor(&Tensor::ones((3, 1), DType::F64, device)?, Geometry::Dense)?;
        let mut monitor = Monitor::default();
        for at in [0, 2] {
            let step = |all: &Tensor| all.narrow(0, at, 2)?.unsqueeze(0);
            monitor.observe(&step(&u)?, &step(&post)?)?;
        }
        monitor.settle()?;
        assert_eq!(monitor.wins, [3, 1, 0]);
        let stats = monitor.report(&layer)?;
        assert_eq!(stats.silent_units, 1);
        assert!((stats.winner_entropy - 0.5118595071).abs() < 1e-9, "{}", stats.winner_entropy);
        assert!((stats.winner_share - 0.725).abs() < 1e-6, "{}", stats.winner_share);
        // The next figures begin at 0.
        monitor.observe(&u.narrow(0, 1, 1)?.unsqueeze(0)?, &post.narrow(0, 1, 1)?.unsqueeze(0)?)?;
        let stats = monitor.report(&layer)?;
        assert_eq!((stats.silent_units, stats.winner_entropy), (2, 0.0));
        assert!((stats.winner_share - 0.8).abs() < 1e-6, "{}", stats.winner_share);
        Ok(())
    }

    /// Unit 1 wins the second of three competitions; the others hold a NaN and an infinity, and have no winner. Of the
    /// one win that is left, the entropy is 0.
    #[test]
    fn what_is_not_finite_has_no_winner() -> Result<()> {
        let device = &Device::Cpu;
        let u = [[2f64, 1., f64::NAN], [0., 3., 1.], [f64::INFINITY, 0., 1.]];
        let post = [[f64::NAN; 3], [0.1, 0.8, 0.1], [f64::NAN; 3]];
        let [u, post] = [u, post].map(|rows| Tensor::new(&rows, device)?.unsqueeze(0));
        let mut monitor = Monitor::default();
        monitor.observe(&u?, &post?)?;
        monitor.settle()?;
        assert_eq!((&*monitor.wins, monitor.competitions), (&[0, 1, 0][..], 1));
        let weight = Tensor::new(&[[1f64], [f64::NAN], [2.0]], device)?;
        let stats = monitor.report(&Layer::from_tensor(&weight, Geometry::Dense)?)?;
        assert_eq!((stats.silent_units, stats.winner_entropy), (2, 0.0));
        let hidden = [stats.winner_share, stats.min_radius, stats.max_radius, stats.mean_radius];
        assert!(hidden.into_iter().all(f64::is_nan), "{stats:?}");
        Ok(())
    }

    /// Two groups of two channels compete three times each. Channels 0, 0 and 1 win in the first group, and the first
    /// channel of the second group always: the shares are 2/6, 1/6, 3/6 and 0, whose entropy is 0.7295739585 of ln 4.
    #[test]
    fn the_groups_of_a_convolution_have_winners_of_their_own() -> Result<()> {
        let device = &Device::Cpu;
        let u = Tensor::new(&[1f64, 0., 2., 0., 0., 1., 3., 1., 3., 0., 1., 0.], device)?;
        let u = u.reshape((2, 3, 2))?;
        let config = candle_hebbian::Conv2dConfig { groups: 2, ..Default::default() };
        let weight = Tensor::ones((4, 1, 1, 1), DType::F64, device)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(config))?;
        let mut monitor = Monitor::default();
        monitor.observe(&u, &u)?;
        monitor.settle()?;
        assert_eq!(monitor.wins, [2, 1, 3, 0]);
        let stats = monitor.report(&layer)?;
        assert_eq!(stats.silent_units, 1);
        assert!((stats.winner_entropy - 0.7295739585).abs() < 1e-9, "{}", stats.winner_entropy);
        assert!((stats.winner_share - 11.0 / 6.0).abs() < 1e-6, "{}", stats.winner_share);
        Ok(())
    }
}
