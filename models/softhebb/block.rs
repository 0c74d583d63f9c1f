//! A block: batch norm, flatten, response, activation, pool.

use super::config::{Activation, BlockConfig, LayerConfig, Learning};
use candle::{DType, Device, Module, Result, Tensor};
use candle_hebbian::ops::{BatchNorm, repu, triangle};
use candle_hebbian::{Competition, Conv2dConfig, Geometry, Layer, Rng, SoftHebb, Steps};
use candle_nn::Optimizer;

/// One block of a SoftHebb network.
#[derive(Debug)]
pub struct Block {
    config: BlockConfig,
    batch_norm: Option<BatchNorm>,
    layer: Layer,
    /// Of a block that learns by the rule.
    steps: Option<Steps>,
    output: Vec<usize>,
}

/// What one learning step did, for logs.
#[derive(Debug, Clone)]
pub struct Step {
    /// Post-synaptic activity `(S, P, K)`.
    pub post: Tensor,
    /// The response that competed `(S, P, K)`.
    pub u: Tensor,
}

impl Block {
    /// A block with fresh weights for inputs of shape `input` (without the batch): `(C, H, W)` or
    /// `(F)`.
    ///
    /// Hebbian weights are Gaussian with `σ = R/√F`, or uniform on `[0, √(3R²/F))` without batch
    /// norm, so that the expected squared norm is `R²`. Others are PyTorch's `U(±1/√F)`.
    ///
    /// # Errors
    /// An input too small for the kernel or the pool, or a convolution of a flat input; a rate that
    /// [`Steps`] refuse.
    pub fn new(
        config: &BlockConfig,
        input: &[usize],
        rng: &mut Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let (weight_shape, geometry) = geometry(&config.layer, input)?;
        let fan_in: usize = weight_shape[1..].iter().product();
        let weight = match config.learning {
            Learning::Hebbian { radius, .. } if config.batch_norm => {
                let std = radius / (fan_in as f64).sqrt();
                rng.normal(0.0, std, weight_shape, dtype, device)?
            }
            Learning::Hebbian { radius, .. } => {
                let high = radius * (3.0 / fan_in as f64).sqrt();
                rng.uniform(0.0, high, weight_shape, dtype, device)?
            }
            Learning::Backprop => {
                let bound = 1.0 / (fan_in as f64).sqrt();
                rng.uniform(-bound, bound, weight_shape, dtype, device)?
            }
        };
        let batch_norm = match config.batch_norm {
            true => Some(BatchNorm::new(input[0], dtype, device)?),
            false => None,
        };
        let mut output = match geometry {
            Geometry::Conv2d(conv) => vec![
                weight.dim(0)?,
                conv.output_size(input[1], weight.dim(2)?)?,
                conv.output_size(input[2], weight.dim(3)?)?,
            ],
            _ => vec![weight.dim(0)?],
        };
        if let Some(pool) = &config.pool {
            if output.len() != 3 {
                candle::bail!("a dense layer has nothing to pool")
            }
            output[1] = pool.output_size(output[1])?;
            output[2] = pool.output_size(output[2])?;
        }
        let layer = Layer::from_tensor(&weight, geometry)?;
        let steps = match config.learning {
            Learning::Hebbian { rate, .. } => {
                Some(rate.steps().build([(layer.var()?, layer.dims())])?)
            }
            Learning::Backprop => None,
        };
        Ok(Self { config: config.clone(), batch_norm, layer, steps, output })
    }

    /// The shape of one output, without the batch.
    pub fn output(&self) -> &[usize] {
        &self.output
    }

    /// The configuration.
    pub fn config(&self) -> &BlockConfig {
        &self.config
    }

    /// The weights.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The normalisation of the input, where there is one.
    pub fn batch_norm(&self) -> Option<&BatchNorm> {
        self.batch_norm.as_ref()
    }

    /// The same, to put saved statistics back.
    pub fn batch_norm_mut(&mut self) -> Option<&mut BatchNorm> {
        self.batch_norm.as_mut()
    }

    /// Evaluation: running statistics, no learning, no graph.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = match &self.batch_norm {
            Some(norm) => norm.forward(&x.detach())?,
            None => x.detach(),
        };
        let response = self.layer.response(&flat(&self.layer, &x)?)?;
        let u = response.output()?;
        let u = if self.pre_triangle() { triangle(&u, 1.0, true)? } else { u };
        self.activate(&u)
    }

    /// Back-propagation: batch statistics, differentiable in the weights and, where it is part of
    /// a graph, in `x`.
    pub fn forward_backprop(&mut self, x: &Tensor) -> Result<Tensor> {
        let x = match &mut self.batch_norm {
            Some(norm) => norm.forward_train(x)?,
            None => x.clone(),
        };
        let u = self.layer.forward(&flat(&self.layer, &x)?)?;
        self.activate(&u)
    }

    /// Updates the statistics of the input and learns nothing.
    pub fn calibrate(&mut self, x: &Tensor) -> Result<()> {
        match &mut self.batch_norm {
            Some(norm) => norm.forward_train(&x.detach()).map(drop),
            None => Ok(()),
        }
    }

    /// Training: batch statistics, then one step of the block's rule, when the share `progress`
    /// of training is done. The output is that of the weights before the step.
    ///
    /// # Errors
    /// A block that learns by back-propagation.
    pub fn learn(&mut self, x: &Tensor, progress: f64) -> Result<(Tensor, Step)> {
        let (&Learning::Hebbian { competition, pre_triangle, .. }, Some(steps)) =
            (&self.config.learning, &mut self.steps)
        else {
            candle::bail!("this block learns by back-propagation, not by a local rule")
        };
        let x = match &mut self.batch_norm {
            Some(norm) => norm.forward_train(&x.detach())?,
            None => x.detach(),
        };
        let mut response = self.layer.response(&flat(&self.layer, &x)?)?;
        if pre_triangle {
            let rectified = triangle(&response.output()?, 1.0, true)?;
            response = response.with_u(&response.rows(&rectified)?)?;
        }
        let post = competition.compete(response.u())?;
        steps.set_progress(progress);
        steps.backward_step(&response.synapses(&post)?.loss(&SoftHebb)?)?;
        let out = self.activate(&response.output()?)?;
        Ok((out, Step { post, u: response.u().clone() }))
    }

    fn pre_triangle(&self) -> bool {
        matches!(self.config.learning, Learning::Hebbian { pre_triangle: true, .. })
    }

    fn activate(&self, u: &Tensor) -> Result<Tensor> {
        let out = match self.config.activation {
            // The released code treats the channel mean as a constant.
            Activation::Triangle { power } => triangle(u, power, true)?,
            Activation::Repu { power } => repu(u, power)?,
            Activation::Relu => repu(u, 1.0)?,
            Activation::Softmax { scale } => candle_nn::ops::softmax(&(u * scale)?, 1)?,
        };
        match &self.config.pool {
            Some(pool) => pool.forward(&out),
            None => Ok(out),
        }
    }
}

/// `x` as the layer takes it.
fn flat(layer: &Layer, x: &Tensor) -> Result<Tensor> {
    match layer.geometry() {
        Geometry::Dense => x.flatten_from(1),
        _ => Ok(x.clone()),
    }
}

fn geometry(config: &LayerConfig, input: &[usize]) -> Result<(Vec<usize>, Geometry)> {
    match (*config, input) {
        (LayerConfig::Dense { units }, _) => {
            Ok((vec![units, input.iter().product()], Geometry::Dense))
        }
        (LayerConfig::Conv2d { channels, kernel, padding, groups, padding_mode }, &[c, _, _]) => {
            if groups == 0 || c % groups != 0 {
                candle::bail!("{c} input channels do not divide into {groups} groups")
            }
            let conv = Conv2dConfig { padding, groups, padding_mode, ..Default::default() };
            Ok((vec![channels, c / groups, kernel, kernel], Geometry::Conv2d(conv)))
        }
        (LayerConfig::Conv2d { .. }, _) => {
            candle::bail!("a convolution takes images (C, H, W), found an input of shape {input:?}")
        }
    }
}
