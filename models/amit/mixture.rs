//! A synthetic task whose classes are mixtures of blurred points of a cube.

use candle::{DType, Device, Result, Tensor, bail};
use candle_hebbian::Rng;
use serde::{Deserialize, Serialize};

/// The settings of the task, which is not in the paper. With the default values, deep networks with fixed
/// random feedback fall behind on it, so that the protocols can be ranked without a data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixtureConfig {
    /// Number of classes. Default: 10.
    pub classes: usize,
    /// Number of centres per class, drawn uniformly from the cube `[0, 1]^features`. Default: 3.
    pub centres: usize,
    /// Number of features per example. Default: 32.
    pub features: usize,
    /// Standard deviation of the normal noise added to a centre, before clipping. Default: 0.28.
    pub noise: f64,
    /// Number of training examples. Default: 5,000.
    pub train: usize,
    /// Number of test examples. Default: 2,000.
    pub test: usize,
}

impl Default for MixtureConfig {
    fn default() -> Self {
        Self { classes: 10, centres: 3, features: 32, noise: 0.28, train: 5000, test: 2000 }
    }
}

/// A random draw of the task.
#[derive(Debug, Clone)]
pub struct Mixture {
    /// `(classes, centres, features)`, f32.
    pub centres: Tensor,
    /// The training examples.
    pub train: Samples,
    /// The test examples.
    pub test: Samples,
}

/// Examples with their class labels.
#[derive(Debug, Clone)]
pub struct Samples {
    /// `(N, features)`, f32, in `[0, 1]`.
    pub inputs: Tensor,
    /// The class of each example.
    pub labels: Vec<u32>,
}

impl Mixture {
    /// Draws the centres, the training examples and the test examples, each from a random stream of its
    /// own. An example is a centre, chosen uniformly from all centres, plus noise, clipped to `[0, 1]`.
    ///
    /// # Errors
    /// If there are no classes or no centres.
    pub fn draw(config: &MixtureConfig, rng: &Rng) -> Result<Self> {
        let MixtureConfig { classes, centres: per_class, features, .. } = *config;
        if classes == 0 || per_class == 0 {
            bail!("a mixture of {classes} classes with {per_class} centres: give at least one each")
        }
        let shape = (classes, per_class, features);
        let centres =
            rng.stream("mixture centres").uniform(0.0, 1.0, shape, DType::F32, &Device::Cpu)?;
        let samples = |count, purpose| samples(config, &centres, count, rng.stream(purpose));
        let train = samples(config.train, "mixture train")?;
        let test = samples(config.test, "mixture test")?;
        Ok(Self { centres, train, test })
    }
}

fn samples(
    config: &MixtureConfig,
    centres: &Tensor,
    count: usize,
    mut rng: Rng,
) -> Result<Samples> {
    let per_class = config.centres;
    let drawn: Vec<u32> =
        (0..count).map(|_| rng.below(config.classes * per_class) as u32).collect();
    let labels = drawn.iter().map(|centre| centre / per_class as u32).collect();
    let drawn = Tensor::from_vec(drawn, count, &Device::Cpu)?;
    let shape = (count, config.features);
    let noise = rng.normal(0.0, config.noise, shape, DType::F32, &Device::Cpu)?;
    let inputs = (centres.flatten_to(1)?.index_select(&drawn, 0)? + noise)?.clamp(0f32, 1f32)?;
    Ok(Samples { inputs, labels })
}
