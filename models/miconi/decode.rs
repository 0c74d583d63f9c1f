//! Reading classes out of every layer.

use super::config::Quirks;
use super::input::Input;
use super::network::{Network, Phase};
use super::patches::TINY;
use super::trainer::Trainer;
use crate::names::choose;
use candle::{Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::{avg_pool2d, standardise};
use hebbian_data::{Dataset, ImageSet};
use hebbian_train::{Error, Result};
use hebbian_train::{
    LinearHead, LinearHeadConfig, LinearSvm, LinearSvmConfig, NearestNeighbours, Progress, Readout,
    Ridge, collect_features,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::str::FromStr;

/// Images per batch where nothing learns.
const EVALUATION_BATCH: usize = 100;

/// A classifier of features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoder {
    /// [`Ridge`] regression onto one-hot targets: the paper's.
    Ridge {
        /// Its penalty.
        alpha: f64,
    },
    /// [`LinearSvm`].
    Svm {
        /// The weight of errors.
        c: f64,
    },
    /// Logistic regression, a [`LinearHead`] without dropout on features of mean 0 and variance 1.
    Logistic {
        /// How often each image is seen.
        epochs: usize,
    },
    /// [`NearestNeighbours`].
    NearestNeighbours {
        /// How many.
        k: usize,
    },
}

impl Default for Decoder {
    fn default() -> Self {
        Self::Ridge { alpha: 1.0 }
    }
}

impl FromStr for Decoder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let all = [
            ("ridge", Self::default()),
            ("svm", Self::Svm { c: 1.0 }),
            ("logistic", Self::Logistic { epochs: 20 }),
            ("knn", Self::NearestNeighbours { k: 10 }),
        ];
        choose("read-out", name, &all)
    }
}

impl Decoder {
    /// The share of test rows whose class is read out rightly, after fitting the training rows.
    fn accuracy(
        self,
        train: (&Tensor, &[u32]),
        test: (&Tensor, &[u32]),
        classes: usize,
        rng: &Rng,
    ) -> Result<f64> {
        let readout: Box<dyn Readout> = match self {
            Self::Ridge { alpha } => Box::new(Ridge::fit(train.0, train.1, classes, alpha)?),
            Self::Svm { c } => {
                let config = LinearSvmConfig { c, ..Default::default() };
                Box::new(LinearSvm::fit(train.0, train.1, classes, &config, |_, _| ())?)
            }
            Self::Logistic { epochs } => {
                let mean = train.0.mean_keepdim(0)?;
                let deviation =
                    (train.0.broadcast_sub(&mean)?.sqr()?.mean_keepdim(0)?.sqrt()? + TINY)?;
                let scaled = |x: &Tensor| x.broadcast_sub(&mean)?.broadcast_div(&deviation);
                let (x, mut order) = (scaled(train.0)?, rng.stream("decoder.batches"));
                let config = LinearHeadConfig { epochs, dropout: 0.0, ..Default::default() };
                let (inputs, device) = (x.dim(1)?, x.device());
                let mut weights = rng.stream("decoder.weight");
                let mut head =
                    LinearHead::new(config, inputs, classes, x.dtype(), device, &mut weights)?;
                for _ in 0..epochs {
                    head.train_epoch(&x, train.1, &mut order)?;
                }
                return head.accuracy(&scaled(test.0)?, test.1);
            }
            Self::NearestNeighbours { k } => {
                Box::new(NearestNeighbours::fit(train.0, train.1, classes, k)?)
            }
        };
        readout.accuracy(test.0, test.1)
    }
}

/// How well classes are read out, as shares of the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// Of each layer, from the means of its channels over the four quadrants of the image.
    pub layers: Vec<f64>,
    /// Of the last layer's whole output.
    pub output: f64,
}

/// Features of a set of images.
#[derive(Debug, Clone)]
pub struct Features {
    /// Of each layer, `(N, 4 K)`: its channels' means over the four quadrants, quadrant by quadrant
    /// from the top left. They are taken of what the next layer sees (standardised); those of the
    /// last layer of its output as it is, as in the notebook, unless asked for.
    pub layers: Vec<Tensor>,
    /// The last layer's output, `(N, K·H·W)`, channel-major.
    pub output: Tensor,
}

/// The means of `map (B, C, H, W)` over its four quadrants, `(B, 4 C)`, quadrant-major: top left,
/// top right, bottom left, bottom right. Quadrants of a map of odd size share its middle line; a map
/// of one pixel has one quadrant.
///
/// # Errors
/// A map that is not square.
pub fn quadrants(map: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = map.dims4()?;
    if height != width {
        return Err(Error::Argument(format!(
            "quadrants are of square maps, found {height}x{width}: crop the images to squares"
        )));
    }
    let means = avg_pool2d(map, height.div_ceil(2), (height / 2).max(1), 0)?;
    Ok(means.permute((0, 2, 3, 1))?.flatten_from(1)?)
}

impl Trainer {
    /// Features of all images of `set`, for read-outs. Nothing changes, unless the preset's quirks
    /// say so.
    pub fn features(
        &mut self,
        set: &ImageSet,
        standardise_last: bool,
        label: &str,
        quiet: bool,
    ) -> Result<Features> {
        let (network, input, rng) = self.parts();
        let mut rng = rng.stream(&format!("features.{label}"));
        let mut progress = Progress::new(set.len() as u64, label, quiet);
        let mut widths = Vec::new();
        let all = collect_features(set.len(), EVALUATION_BATCH, &Device::Cpu, |range| {
            progress.advance(range.len() as u64);
            let rows = batch(network, input, set, range, standardise_last, &mut rng)
                .map_err(candle::Error::wrap)?;
            widths = rows.iter().map(|rows| rows.dim(1)).collect::<candle::Result<_>>()?;
            Ok(Tensor::cat(&rows, 1)?)
        })?;
        progress.finish();
        let mut start = 0;
        let mut parts = Vec::new();
        for width in widths {
            parts.push(all.narrow(1, start, width)?);
            start += width;
        }
        let Some(output) = parts.pop() else {
            return Err(Error::Argument("there are no layers".to_string()));
        };
        Ok(Features { layers: parts, output })
    }

    /// Fits `decoder` to the features of every layer on the training images, and scores it on the
    /// test images.
    ///
    /// # Errors
    /// Features that the decoder cannot be fitted to.
    pub fn decode(
        &mut self,
        data: &Dataset,
        decoder: Decoder,
        standardise_last: bool,
        quiet: bool,
    ) -> Result<Decoding> {
        let train = self.features(&data.train, standardise_last, "training features", quiet)?;
        let test = self.features(&data.test, standardise_last, "test features", quiet)?;
        let (labels, test_labels) = (data.train.labels(), data.test.labels());
        let Quirks { resubstitution, .. } = self.network().preset().quirks;
        let classes = data.class_names.len();
        let rng = self.parts().2.clone();
        let mut progress =
            Progress::of(train.layers.len() as u64 + 1, "read-outs", "decoding", quiet);
        let mut score = |train: &Tensor, test: &Tensor| -> Result<f64> {
            let accuracy = if resubstitution {
                let (all, labels) =
                    (Tensor::cat(&[train, test], 0)?, [labels, test_labels].concat());
                decoder.accuracy((&all, &labels), (&all, &labels), classes, &rng)
            } else {
                decoder.accuracy((train, labels), (test, test_labels), classes, &rng)
            };
            progress.advance(1);
            accuracy
        };
        let output = score(&train.output, &test.output)?;
        let mut layers = Vec::new();
        for (train_rows, test_rows) in train.layers.iter().zip(&test.layers) {
            layers.push(score(train_rows, test_rows)?);
        }
        progress.finish();
        Ok(Decoding { layers, output })
    }
}

/// The features of a batch: of each layer, then the output.
fn batch(
    network: &mut Network,
    input: &Input,
    set: &ImageSet,
    range: Range<usize>,
    standardise_last: bool,
    rng: &mut Rng,
) -> Result<Vec<Tensor>> {
    let indices: Vec<usize> = range.collect();
    let Quirks { flip_in_evaluation, adapt_in_evaluation, .. } = network.preset().quirks;
    let x = input.batch(set, &indices, flip_in_evaluation.then_some(rng))?;
    let maps = if adapt_in_evaluation {
        network.step(&x, Phase::Collect)?.into_iter().map(|activity| activity.output).collect()
    } else {
        network.stack().maps(&x)?
    };
    let last = maps.len() - 1;
    let mut rows: Vec<Tensor> = maps
        .iter()
        .enumerate()
        .map(|(at, map)| match at == last && !standardise_last {
            true => quadrants(map),
            false => quadrants(&standardise(map, TINY)?),
        })
        .collect::<Result<_>>()?;
    rows.push(maps[last].flatten_from(1)?);
    Ok(rows)
}
