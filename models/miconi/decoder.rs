//! Classifiers of features, and how accurate they are.

use candle::Tensor;
use candle_hebbian::Rng;
use hebbian_train::{
    EpochStats, Error, LinearHead, LinearHeadConfig, LinearReadout, LinearSvm, LinearSvmConfig,
    NearestNeighbours, Readout, ReadoutResult, Result, Ridge, Standardisation, choose, shown,
};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A classifier of features.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoder {
    /// [`Ridge`] regression onto one-hot targets, as in the paper.
    Ridge {
        /// The ridge penalty.
        alpha: f64,
    },
    /// [`LinearSvm`].
    Svm {
        /// The weight of errors.
        c: f64,
    },
    /// Logistic regression, a [`LinearHead`] without dropout on features of mean 0 and variance 1.
    Logistic {
        /// Number of passes over the images.
        epochs: usize,
    },
    /// [`NearestNeighbours`].
    NearestNeighbours {
        /// Number of neighbours.
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

/// The predictions of a decoder for test rows, and the read-out that a model keeps.
pub(super) struct Fitted {
    pub predicted: Vec<u32>,
    pub head: Option<LinearReadout>,
}

impl Decoder {
    /// Checks that the decoder can be fitted to `rows` rows of `width` features.
    pub(super) fn check(self, rows: usize, width: usize) -> Result<()> {
        match self {
            Self::Ridge { alpha } => Ridge::check(rows, width, alpha),
            Self::Svm { c } => LinearSvmConfig { c, ..Default::default() }.check(),
            Self::Logistic { epochs } => shown(rows, epochs).map(drop),
            Self::NearestNeighbours { k } => NearestNeighbours::check(rows, k),
        }
    }

    /// Fits the `train` rows, then predicts the classes of the `test` rows; `epoch` is called after each epoch.
    pub(super) fn fit(
        self,
        train: &Tensor,
        labels: &[u32],
        test: &Tensor,
        classes: usize,
        rng: &Rng,
        mut epoch: impl FnMut(EpochStats) -> Result<()>,
    ) -> Result<Fitted> {
        let (readout, head): (Box<dyn Readout>, _) = match self {
            Self::Ridge { alpha } => {
                let ridge = Ridge::fit(train, labels, classes, alpha)?;
                let head = LinearReadout::new(&ridge.weight().t()?, ridge.bias())?;
                (Box::new(ridge), Some(head))
            }
            Self::Svm { c } => {
                let config = LinearSvmConfig { c, ..Default::default() };
                let svm = LinearSvm::fit(train, labels, classes, &config, |_, _| ())?;
                let head = LinearReadout::new(&svm.weight().t()?, svm.bias())?;
                (Box::new(svm), Some(head))
            }
            Self::Logistic { epochs } => {
                let scale = Standardisation::of(train)?;
                let (x, mut order) = (scale.apply(train)?, rng.stream("decoder.batches"));
                let config = LinearHeadConfig { epochs, dropout: 0.0, ..Default::default() };
                let (inputs, device) = (x.dim(1)?, x.device());
                let mut weights = rng.stream("decoder.weight");
                let mut head =
                    LinearHead::new(config, inputs, classes, x.dtype(), device, &mut weights)?;
                for _ in 0..epochs {
                    epoch(head.train_epoch(&x, labels, &mut order)?)?;
                }
                let linear = scale.fold(head.weight(), head.bias())?;
                (Box::new(Scaled { scale, head }), Some(linear))
            }
            Self::NearestNeighbours { k } => {
                (Box::new(NearestNeighbours::fit(train, labels, classes, k)?), None)
            }
        };
        Ok(Fitted { predicted: readout.predict(test)?.to_vec1()?, head })
    }
}

/// A linear head on scaled features.
struct Scaled {
    scale: Standardisation,
    head: LinearHead,
}

impl Readout for Scaled {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        self.head.predict(&self.scale.apply(features)?)
    }
}

/// The accuracies of the read-outs, as shares of the test images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// The accuracy for each layer, from the means of its channels over the four quadrants of the image.
    pub layers: Vec<f64>,
    /// The accuracy for the last layer's whole output.
    pub output: f64,
}

impl Decoding {
    /// Collects the accuracies of a run's read-outs, the first of which is that of the output.
    ///
    /// # Errors
    /// If there are no read-outs.
    pub fn of(readouts: &[ReadoutResult]) -> Result<Self> {
        match readouts {
            [output, layers @ ..] => Ok(Self {
                layers: layers.iter().map(|layer| layer.test_accuracy).collect(),
                output: output.test_accuracy,
            }),
            [] => Err(Error::Argument(
                "there are no read-outs of layers: the results are of another method".to_string(),
            )),
        }
    }
}
