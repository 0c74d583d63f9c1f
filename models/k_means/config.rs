//! The configuration of a preset.

use hebbian_data::transforms::InputConfig;
use hebbian_train::{Result, check_fields};
use serde::{Deserialize, Serialize};

/// Patches, their clusters and the read-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// One line for lists.
    pub description: String,
    /// The data set it was made for.
    pub dataset: String,
    /// The transforms of images before the network sees them. Default: none.
    #[serde(default, skip_serializing_if = "InputConfig::is_empty")]
    pub input: InputConfig,
    /// Side of a patch, in pixels.
    pub kernel: usize,
    /// The number of centroids, `N`, up to 65,536.
    pub units: usize,
    /// The number of patches that are clustered.
    pub patches: usize,
    /// The constant that is added to the variance of a patch, for pixels from 0 to 255.
    pub contrast: f64,
    /// The constant that is added to the eigenvalues of the covariance of patches.
    pub epsilon: f64,
    /// How the centroids are initialised.
    pub start: Start,
    /// Iterations of k-means, up to 16,777,216. With 0, the centroids stay as they are initialised: a control.
    pub iterations: usize,
    /// Penalties of ridge regression; the best one is chosen on a part of the training images.
    pub alphas: Vec<f64>,
}

/// How the centroids are initialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Drawn from `0.1·N(0, 1)`, as in the authors' code.
    Gaussian,
    /// The first of the drawn patches.
    Patches,
}

impl hebbian_train::Preset for Preset {
    const METHOD: &'static str = "Coates 2011";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/k-means-cifar.json"),
        include_str!("presets/k-means-cifar-128.json"),
        include_str!("presets/k-means-digits.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/cifar10.json"),
        include_str!("record/digits.json"),
        include_str!("record/same-read-outs.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        let Self { kernel, units, patches, contrast, epsilon, iterations, alphas, .. } = self;
        let is_positive = |x: &f64| *x > 0.0 && x.is_finite();
        check_fields([
            (*kernel > 0, format!("kernel is {kernel}, expected 1 or more")),
            ((1..=1 << 16).contains(units), format!("units is {units}, expected 1 to 65,536")),
            (
                (2..=1 << 24).contains(patches),
                format!("patches is {patches}, expected 2 to 16,777,216"),
            ),
            (
                units <= patches || self.start == Start::Gaussian,
                format!(
                    "units is {units}, expected at most the {patches} patches that they start as: take fewer units, more \
                     patches, or the start gaussian"
                ),
            ),
            (is_positive(contrast), format!("contrast is {contrast}, expected a number above 0")),
            (is_positive(epsilon), format!("epsilon is {epsilon}, expected a number above 0")),
            (
                *iterations <= 1 << 24,
                format!("iterations is {iterations}, expected at most 16,777,216"),
            ),
            (
                !alphas.is_empty() && alphas.iter().all(is_positive),
                format!("alphas are {alphas:?}, expected one or more numbers above 0"),
            ),
        ])
    }
}
