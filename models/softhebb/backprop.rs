//! The comparison: the same architecture trained end to end by back-propagation.

use super::config::Preset;
use super::error::Result;
use super::head::Head;
use super::network::Network;
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use hebbian_train::{LinearHead, halvings};

/// A network and its linear head under one optimiser: Adam, mean softmax cross-entropy, the
/// head's schedule and dropout.
pub(super) struct Backprop {
    weight: Var,
    bias: Var,
    head: LinearHead,
    dropout: f64,
    optimiser: AdamW,
    learning_rate: f64,
    halvings: Vec<usize>,
}

impl Backprop {
    pub(super) fn new(
        network: &Network,
        head: LinearHead,
        preset: &Preset,
        dropout: f64,
    ) -> Result<Self> {
        let tensors = head.tensors();
        let (weight, bias) = (Var::from_tensor(&tensors[0].1)?, Var::from_tensor(&tensors[1].1)?);
        let mut vars: Vec<Var> =
            network.blocks().iter().map(|block| block.layer().weight().clone()).collect();
        vars.extend([weight.clone(), bias.clone()]);
        let learning_rate = preset.training.head_learning_rate;
        let adam = ParamsAdamW { lr: learning_rate, weight_decay: 0.0, ..Default::default() };
        Ok(Self {
            weight,
            bias,
            head,
            dropout,
            optimiser: AdamW::new(vars, adam)?,
            learning_rate,
            halvings: halvings(preset.training.head_epochs),
        })
    }

    /// Sets the rate of the epoch that follows `done` epochs.
    pub(super) fn start_epoch(&mut self, done: usize) {
        let passed = self.halvings.iter().filter(|&&after| after <= done).count();
        self.optimiser.set_learning_rate(self.learning_rate * 0.5f64.powi(passed as i32));
    }

    /// One step on a batch; returns its mean loss.
    pub(super) fn step(
        &mut self,
        network: &mut Network,
        images: &Tensor,
        labels: &Tensor,
        rng: &mut Rng,
    ) -> Result<f64> {
        let features = network.forward_backprop(images)?;
        let features = if self.dropout > 0.0 {
            let keep = 1.0 - self.dropout;
            let mask = rng.bernoulli(keep, features.shape(), DType::F32, images.device())?;
            (features * (mask / keep)?)?
        } else {
            features
        };
        let logits = features.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        let loss = candle_nn::loss::cross_entropy(&logits, labels)?;
        self.optimiser.backward_step(&loss)?;
        Ok(f64::from(loss.to_device(&Device::Cpu)?.to_scalar::<f32>()?))
    }

    /// The head as it is now.
    pub(super) fn head(&self) -> Result<Head> {
        let (weight, bias) = (self.weight.as_tensor().copy()?, self.bias.as_tensor().copy()?);
        let head = LinearHead::from_tensors(self.head.config().clone(), weight, bias)?;
        Ok(Head::Linear(Box::new(head)))
    }
}
