//! A layer that learns: thresholds, competition, its step, and what it hands on.

use super::config::{LayerConfig, Patches};
use candle::{DType, Device, Result, Tensor};
use candle_hebbian::ops::{avg_pool2d, standardise, triangle};
use candle_hebbian::{
    AdaptiveThreshold, Competition, Constraint, Conv2dConfig, Geometry, Layer, Part, Response, Rng,
    Rule, Steps, UnitNorm,
};
use candle_nn::Optimizer;

/// Keeps a division by a standard deviation or a norm finite.
pub(super) const TINY: f64 = 1e-10;

/// A layer of a [`Network`](super::Network).
#[derive(Debug)]
pub struct HebbianLayer {
    config: LayerConfig,
    layer: Layer,
    steps: Steps,
    normalise: bool,
    /// 1 for the connections that exist; none when all do.
    mask: Option<Tensor>,
    threshold: AdaptiveThreshold,
    /// Whitens patches, where that is asked for.
    patch_whitening: Option<Tensor>,
    output: (usize, usize, usize),
}

/// What a layer made of one batch.
#[derive(Debug)]
pub struct Activity {
    /// What it saw and the linear response `u`.
    pub response: Response,
    /// The post-synaptic activity of the rule, `(1, P, K)`: the winners.
    pub post: Tensor,
    /// What it hands on `(B, K, H, W)`, before pooling.
    pub unpooled: Tensor,
    /// The same, pooled.
    pub output: Tensor,
}

impl HebbianLayer {
    /// A layer with fresh weights, of norm 1, for inputs of shape `(C, H, W)`. Its filters keep that
    /// norm, if `normalise`.
    ///
    /// # Errors
    /// An input too small for the kernel or the pool; a learning rate that [`Steps`] refuse.
    pub fn new(
        config: &LayerConfig,
        normalise: bool,
        (channels, height, width): (usize, usize, usize),
        rng: &Rng,
        name: &str,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let LayerConfig { units, kernel, stride, pool, pruning, .. } = *config;
        let conv = Conv2dConfig { stride, ..Default::default() };
        let pooled = |size: usize| match conv.output_size(size, kernel)? / pool {
            0 => candle::bail!("its map of {size} - {kernel} + 1 pixels has no window of {pool}"),
            size => Ok(size),
        };
        let output = (units, pooled(height)?, pooled(width)?);
        let shape = (units, channels, kernel, kernel);
        let mut weights = rng.stream(&format!("{name}.weight"));
        let weight = weights.normal(0.0, 1.0, shape, dtype, &Device::Cpu)?;
        let mask = match pruning {
            0.0 => None,
            p => {
                let mut masks = rng.stream(&format!("{name}.mask"));
                Some(masks.bernoulli(1.0 - p, shape, dtype, &Device::Cpu)?)
            }
        };
        // Scaled on the host as it is drawn there: the same bits on every device.
        let drawn = Layer::from_tensor(&weight, Geometry::Conv2d(conv))?;
        steps(&drawn, 0.0, mask.as_ref(), true)?.constrain()?;
        let weight = drawn.weight().detach().to_device(device)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(conv))?;
        let mask = mask.map(|mask| mask.to_device(device)).transpose()?;
        let steps = steps(&layer, config.learning_rate, mask.as_ref(), normalise)?;
        let target = config.target_rate();
        let threshold =
            AdaptiveThreshold::new((1, units), config.threshold_rate, target, dtype, device)?;
        Ok(Self {
            config: config.clone(),
            layer,
            steps,
            normalise,
            mask,
            threshold,
            patch_whitening: None,
            output,
        })
    }

    /// What the preset says of it.
    pub fn config(&self) -> &LayerConfig {
        &self.config
    }

    /// The weights.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Which connections exist; none when all do.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }

    /// The thresholds.
    pub fn threshold(&self) -> &AdaptiveThreshold {
        &self.threshold
    }

    /// The matrix that whitens patches, where that is asked for.
    pub fn patch_whitening(&self) -> Option<&Tensor> {
        self.patch_whitening.as_ref()
    }

    /// Channels, height and width of what it hands on.
    pub fn output(&self) -> (usize, usize, usize) {
        self.output
    }

    /// The rows that its input `x` unfolds into, each as its filters see it but not whitened.
    pub(super) fn patches(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.layer.unfold(x)?;
        match self.config.patches {
            Patches::Whole {} => Ok(rows),
            Patches::Standardise {} | Patches::Whiten { .. } => {
                standardise(&rows.squeeze(0)?, TINY)?.unsqueeze(0)
            }
        }
    }

    pub(super) fn whiten_patches(&mut self, matrix: Tensor) {
        self.patch_whitening = Some(matrix);
    }

    /// Responds to `x (B, C, H, W)` with the weights and thresholds as they are, and changes none.
    /// Winners are those of `competition`; `dense` hands on triangle responses, else the winners.
    pub fn respond(
        &self,
        x: &Tensor,
        competition: &dyn Competition,
        dense: bool,
    ) -> Result<Activity> {
        let x = standardise(x, TINY)?;
        let mut rows = self.patches(&x)?;
        if let Some(matrix) = &self.patch_whitening {
            rows = rows.broadcast_matmul(matrix)?;
        }
        let response = self.layer.response_to(&rows, x.dims())?;
        let excess = self.threshold.apply(response.u())?;
        let post = competition.compete(&excess)?;
        let unpooled = match dense {
            true => triangle(&response.fold(&excess)?, 1.0, true)?,
            false => response.fold(&post)?,
        };
        let output = match self.config.pool {
            1 => unpooled.clone(),
            pool => avg_pool2d(&unpooled, pool, pool, 0)?,
        };
        Ok(Activity { response, post, unpooled, output })
    }

    /// One step of the rule, none if it is frozen; then [`constrain`](Self::constrain).
    pub fn learn(&mut self, activity: &Activity, rule: &dyn Rule) -> Result<()> {
        if self.config.frozen {
            return self.constrain();
        }
        self.steps.backward_step(&activity.response.synapses(&activity.post)?.loss(rule)?)
    }

    /// Takes away what has no connection; then gives every filter norm 1, if they are to have it.
    pub fn constrain(&mut self) -> Result<()> {
        self.steps.constrain()
    }

    /// Moves the thresholds.
    pub fn adapt(&mut self, activity: &Activity) -> Result<()> {
        self.threshold.adapt(&activity.post)
    }

    /// Its tensors in a checkpoint: `NAME.weight`, `NAME.mask`, `NAME.threshold`,
    /// `NAME.patch_whitening`.
    pub(super) fn tensors(&self, name: &str) -> Result<Vec<(String, Tensor)>> {
        let tensors = [
            ("weight", Some(self.layer.weight().detach())),
            ("mask", self.mask.clone()),
            ("threshold", Some(self.threshold.values().squeeze(0)?)),
            ("patch_whitening", self.patch_whitening.clone()),
        ];
        let named =
            |(part, tensor): (&str, Option<Tensor>)| Some((format!("{name}.{part}"), tensor?));
        Ok(tensors.into_iter().filter_map(named).collect())
    }

    /// Puts them back.
    pub(super) fn restore<E: From<candle::Error>>(
        &mut self,
        name: &str,
        mut take: impl FnMut(&str, &[usize]) -> std::result::Result<Tensor, E>,
    ) -> std::result::Result<(), E> {
        let weight = self.layer.var()?;
        weight.set(&take(&format!("{name}.weight"), weight.dims())?)?;
        if self.mask.is_some() {
            self.mask = Some(take(&format!("{name}.mask"), weight.dims())?);
            let rate = self.config.learning_rate;
            self.steps = steps(&self.layer, rate, self.mask.as_ref(), self.normalise)?;
        }
        let values = take(&format!("{name}.threshold"), &[self.config.units])?;
        self.threshold.set(&values.unsqueeze(0)?)?;
        if let Patches::Whiten { .. } = self.config.patches {
            let fan_in = self.layer.dims().fan_in;
            let matrix = take(&format!("{name}.patch_whitening"), &[fan_in, fan_in])?;
            self.patch_whitening = Some(matrix);
        }
        Ok(())
    }
}

/// Plain descent; what has no connection is taken away, then every filter has norm 1, if `normalise`.
fn steps(
    layer: &Layer,
    learning_rate: f64,
    mask: Option<&Tensor>,
    normalise: bool,
) -> Result<Steps> {
    let mut chain = Steps::builder(learning_rate);
    if let Some(mask) = mask {
        chain = chain.then(Connections { mask: mask.clone() });
    }
    if normalise {
        chain = chain.then(UnitNorm);
    }
    chain.build([layer.var()?])
}

/// Weights are 0 where there is no connection.
#[derive(Debug)]
struct Connections {
    /// 1 for the connections that exist, in the shape of the weights.
    mask: Tensor,
}

impl Part for Connections {
    fn constraint(&self) -> Option<Constraint<'_>> {
        Some(Constraint::Map(Box::new(|weight| {
            weight * self.mask.to_dtype(weight.dtype())?.reshape(weight.shape())?
        })))
    }
}
