//! The configuration of a preset.

use super::head::HeadConfig;
use hebbian_data::transforms::InputConfig;
use hebbian_train::{Error, Result, check_fields};
use serde::{Deserialize, Serialize};

/// Patches, their code and the read-out.
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
    /// The number of patches, `N`, up to 65,536; each position has twice as many features.
    pub units: usize,
    /// The frame in which images and patches are compared.
    pub frame: Frame,
    /// Means and standard deviations of the channels, for the frame `code`. Default: those of the training images.
    #[serde(default)]
    pub scaling: Option<[Vec<f64>; 2]>,
    /// `λ`, the constant that is added to the diagonal of the covariance of patches.
    pub epsilon: f64,
    /// `K/N`, the share of each half of the code that is active at a position.
    pub active: f64,
    /// `T` of the soft code. Default: the hard code.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Side and step of the windows that the code is averaged over. Default: quadrants.
    #[serde(default)]
    pub windows: Option<(usize, usize)>,
    /// The side of the grid that these averages are averaged to, as by PyTorch's `AdaptiveAvgPool2d`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<usize>,
    /// Penalties of ridge regression; the best one is chosen on a part of the training images. Without any, there is a
    /// [`head`](Self::head).
    #[serde(default)]
    pub alphas: Vec<f64>,
    /// The paper's head, in place of ridge regression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
}

/// The frame in which an image is compared with patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// As in the authors' code: images are scaled, and patches are not.
    Code,
    /// The mean of each channel is subtracted from both, so the nearest patches are active.
    Pixel,
}

impl Preset {
    /// `K = ⌊active·N⌋`
    pub(super) fn winners(&self) -> usize {
        (self.active * self.units as f64) as usize
    }
}

impl hebbian_train::Preset for Preset {
    const METHOD: &'static str = "Patches 2021";
    const EMBEDDED: &'static [&'static str] = &[
        include_str!("presets/patches-cifar.json"),
        include_str!("presets/patches-cifar-128.json"),
        include_str!("presets/patches-cifar-head.json"),
        include_str!("presets/patches-cifar-2048-head.json"),
        include_str!("presets/patches-digits.json"),
    ];
    const RECORD: &'static [&'static str] = &[
        include_str!("record/cifar10.json"),
        include_str!("record/digits.json"),
        include_str!("record/same-read-outs.json"),
    ];

    hebbian_train::preset_fields!();

    fn validate(&self) -> Result<()> {
        let Self { kernel, units, epsilon, active, temperature, windows, alphas, head, .. } = self;
        if alphas.is_empty() == head.is_none() || head.iter().any(|head| !head.is_valid()) {
            return Err(Error::Argument(format!(
                "alphas {alphas:?}, head {head:?}: expected either penalties of ridge regression or a head with numbers \
                 above 0 and a momentum below 1"
            )));
        }
        let is_positive = |x: &f64| *x > 0.0 && x.is_finite();
        let (soft, (side, step)) = (temperature.unwrap_or(1.0), windows.unwrap_or((1, 1)));
        let mut deviations = self.scaling.iter().flat_map(|[_, deviations]| deviations);
        check_fields([
            (*kernel > 0, format!("kernel is {kernel}, expected 1 or more")),
            ((1..=1 << 16).contains(units), format!("units is {units}, expected 1 to 65,536")),
            (
                (1..*units).contains(&self.winners()),
                format!(
                    "active is {active}, so that {} of {units} units are active in each half, expected 1 or more, and \
                     not all",
                    self.winners()
                ),
            ),
            (
                step > 0 && step <= side,
                format!(
                    "windows are {side} wide with a step of {step}, expected a step from 1 to their side"
                ),
            ),
            (is_positive(epsilon), format!("epsilon is {epsilon}, expected a number above 0")),
            (is_positive(&soft), format!("temperature is {soft}, expected a number above 0")),
            (
                alphas.iter().all(is_positive),
                format!("alphas are {alphas:?}, expected numbers above 0"),
            ),
            (
                deviations.all(is_positive),
                "a deviation in scaling is not above 0, expected those of the channels".to_string(),
            ),
        ])
    }
}
