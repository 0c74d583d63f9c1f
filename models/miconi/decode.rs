//! Reading classes out of every layer.

use super::config::Quirks;
use super::learner::Learner;
use super::patches::TINY;
use candle::{DType, Device, Tensor};
use candle_hebbian::AdaptiveThreshold;
use candle_hebbian::ops::{avg_pool2d, standardise};
use hebbian_data::ImageSet;
use hebbian_train::{
    ConfusionMatrix, EpochStats, Error, LinearReadout, Progress, ReadoutResult, Result,
    check_finite, collect_features,
};
use std::time::Instant;

/// Images per batch when nothing learns.
const EVALUATION_BATCH: usize = 100;

/// Features of a set of images.
#[derive(Debug, Clone)]
pub struct Features {
    /// For each layer, `(N, 4 K)`: the means of its channels over the four quadrants, quadrant by
    /// quadrant from the top left. The means are taken over what the next layer sees (standardised).
    /// For the last layer they are taken over its output as it is, as in the notebook, unless
    /// `standardise_last` is set.
    pub layers: Vec<Tensor>,
    /// The last layer's output, `(N, K·H·W)`, in channel-major order.
    pub output: Tensor,
}

/// Computes the means of `map (B, C, H, W)` over its four quadrants, `(B, 4 C)`, quadrant-major: top
/// left, top right, bottom left, bottom right. Quadrants of a map of odd size share its middle line; a
/// map of one pixel has one quadrant.
///
/// # Errors
/// If the map is not square.
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

/// The read-out of one layer.
pub(super) struct Decoded {
    pub result: ReadoutResult,
    /// The linear read-out that a model keeps; `None` for nearest neighbours.
    pub head: Option<LinearReadout>,
}

impl Learner {
    /// Computes the features of the labelled training images and of the test images. The network is left
    /// unchanged.
    ///
    /// # Errors
    /// If features are not finite.
    pub fn features(&self, quiet: bool) -> Result<[Features; 2]> {
        let Quirks { adapt_in_evaluation, .. } = self.options.preset.quirks;
        let kept = if adapt_in_evaluation { self.thresholds()? } else { Vec::new() };
        let both = self
            .features_of(&self.train, "training features", quiet)
            .and_then(|train| Ok([train, self.features_of(&self.test, "test features", quiet)?]));
        for (threshold, kept) in kept {
            threshold.set(&kept)?;
        }
        both
    }

    /// The thresholds, with copies of their current values.
    fn thresholds(&self) -> Result<Vec<(&AdaptiveThreshold, Tensor)>> {
        let blocks = self.model.network.stack().blocks().iter();
        blocks
            .filter_map(|block| block.threshold())
            .map(|threshold| Ok((threshold, threshold.values().force_contiguous()?)))
            .collect()
    }

    fn features_of(&self, set: &ImageSet, label: &str, quiet: bool) -> Result<Features> {
        let moment = format!("features.{label}");
        let mut progress = Progress::new(set.len() as u64, label, quiet);
        let mut widths = Vec::new();
        let all = collect_features(set.in_order(EVALUATION_BATCH)?, &Device::Cpu, |indices| {
            progress.advance(indices.len() as u64);
            let rows = self.rows(set, indices, &moment)?;
            widths = rows.iter().map(|rows| rows.dim(1)).collect::<candle::Result<_>>()?;
            Ok(Tensor::cat(&rows, 1)?)
        })?;
        progress.finish();
        check_finite(label, self.steps(), &all)?;
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

    /// The features of a batch: of each layer, then the output.
    fn rows(&self, set: &ImageSet, indices: &[usize], moment: &str) -> Result<Vec<Tensor>> {
        let network = &self.model.network;
        let Quirks { flip_in_evaluation, adapt_in_evaluation, .. } = self.options.preset.quirks;
        let device = &self.model.device;
        let (x, _) = match flip_in_evaluation {
            true => set.augmented_batch(indices, &self.rng, moment, DType::F32, device)?,
            false => set.batch(indices, DType::F32, device)?,
        };
        let maps = if adapt_in_evaluation {
            network.collect(&x)?.into_iter().map(|activity| activity.output).collect()
        } else {
            network.stack().maps(&x)?
        };
        let last = maps.len() - 1;
        let mut rows: Vec<Tensor> = maps
            .iter()
            .enumerate()
            .map(|(at, map)| match at == last && !self.options.standardise_last {
                true => quadrants(map),
                false => quadrants(&standardise(map, TINY)?),
            })
            .collect::<Result<_>>()?;
        rows.push(maps[last].flatten_from(1)?);
        Ok(rows)
    }

    /// Fits the decoder to the features of the last layer's output, then to those of every layer, on
    /// the training images, and scores it on the test images. `watch` is called with the name of each
    /// read-out before it is fitted, and again after each epoch of the fit.
    pub(super) fn decode(
        &self,
        quiet: bool,
        mut watch: impl FnMut(&str, Option<EpochStats>) -> Result<()>,
    ) -> Result<Vec<Decoded>> {
        let mut started = Instant::now();
        let [train, test] = self.features(quiet)?;
        let (labels, test_labels) = (self.train.labels(), self.test.labels());
        let Quirks { resubstitution, .. } = self.options.preset.quirks;
        let (classes, all_labels) = (self.model.classes(), [labels, test_labels].concat());
        let device = &self.model.device;
        let mut progress =
            Progress::of(train.layers.len() as u64 + 1, "read-outs", "decoding", quiet);
        let layers = train.layers.iter().zip(&test.layers).enumerate();
        let layers = layers.map(|(at, (train, test))| (format!("layer {}", at + 1), train, test));
        let output = ("output".to_string(), &train.output, &test.output);
        let mut decoded = Vec::new();
        for (name, train, test) in std::iter::once(output).chain(layers) {
            watch(&name, None)?;
            let epoch = |stats| watch(&name, Some(stats));
            let decoder = self.options.decoder;
            let (fitted, labels) = if resubstitution {
                let all = Tensor::cat(&[train, test], 0)?;
                let fitted = decoder.fit(&all, &all_labels, &all, classes, &self.rng, epoch)?;
                (fitted, &all_labels[..])
            } else {
                let fitted = decoder.fit(train, labels, test, classes, &self.rng, epoch)?;
                (fitted, test_labels)
            };
            let confusion = ConfusionMatrix::new(labels, &fitted.predicted, classes)?;
            let head = fitted.head.map(|head| head.to(device)).transpose()?;
            let result = ReadoutResult {
                name,
                test_accuracy: confusion.accuracy(),
                seconds: started.elapsed().as_secs_f64(),
                features: train.dim(1)?,
                confusion: Some(confusion),
            };
            decoded.push(Decoded { result, head });
            progress.advance(1);
            started = Instant::now();
        }
        progress.finish();
        Ok(decoded)
    }
}
