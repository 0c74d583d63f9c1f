//! The comparison: the same architecture trained end to end by back-propagation.

use super::head::Head;
use super::material::Material;
use super::model::Model;
use super::order::Order;
use super::saved::{from_values, of_another, position, to_values};
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use candle_hebbian::ops::Dropout;
use hebbian_train::{
    Adam, Checkpoint, Clock, Deferred, Error, LinearHead, LinearHeadConfig, Measured, Result,
    State, check_finite,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A network and its linear head under one optimiser: Adam, mean softmax cross-entropy, the
/// head's schedule and dropout.
#[derive(Debug)]
pub(super) struct Backprop {
    /// The weight and bias of the head, which share memory with it.
    weight: Var,
    bias: Var,
    config: LinearHeadConfig,
    dropout: Dropout,
    parameters: Vec<Parameter>,
    per_epoch: u64,
    order: Order,
    masks: Rng,
    /// The sum of this epoch's batch losses so far, without those in `taken`, each weighted by its share of the epoch.
    loss: f64,
    /// The mean losses of the last batches, with their weights in this sum.
    taken: Deferred<f64>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    var: Var,
    adam: Adam,
}

/// What continuing needs.
#[derive(Serialize, Deserialize)]
struct Saved {
    epochs: usize,
    masks: String,
    loss: f64,
}

impl Backprop {
    /// Prepares for the first step of the model, whose head is replaced by one that shares memory with variables.
    pub(super) fn new(model: &mut Model, material: &Material) -> Result<Self> {
        let Head::Linear(head) = &mut model.head else {
            let problem = "back-propagation needs a linear head".to_string();
            return Err(Error::Argument(problem));
        };
        let config = head.config().clone();
        let [weight, bias] = match &head.tensors()[..] {
            [(_, weight), (_, bias)] => [Var::from_tensor(weight)?, Var::from_tensor(bias)?],
            _ => return Err(Error::Argument("a linear head has a weight and a bias".to_string())),
        };
        **head = LinearHead::from_tensors(
            config.clone(),
            weight.as_detached_tensor(),
            bias.as_detached_tensor(),
        )?;
        let blocks = model.network.stack().blocks().iter().enumerate();
        let mut vars = blocks
            .map(|(i, block)| Ok((format!("layers.{i}.weight"), block.layer()?.var()?)))
            .collect::<candle::Result<Vec<_>>>()?;
        vars.push(("head.weight".to_string(), weight.clone()));
        vars.push(("head.bias".to_string(), bias.clone()));
        let with_state = |(name, var): (String, Var)| {
            let adam = Adam::new(&var)?;
            Ok(Parameter { name, var, adam })
        };
        let parameters = vars.into_iter().map(with_state).collect::<candle::Result<Vec<_>>>()?;
        let (rng, count) = (&material.rng, material.data.train.len());
        Ok(Self {
            weight,
            bias,
            parameters,
            per_epoch: count.div_ceil(config.batch_size) as u64,
            order: Order::new(
                rng.stream("batches.backprop"),
                material.data.train.clone(),
                config.batch_size,
            )?,
            masks: rng.stream("dropout.backprop"),
            loss: 0.0,
            taken: Deferred::default(),
            dropout: Dropout::new(config.dropout)?,
            config,
        })
    }

    pub(super) fn total(&self, material: &Material) -> Clock {
        let (epochs, count) = (self.config.epochs as u64, material.data.train.len() as u64);
        Clock { steps: epochs * self.per_epoch, images: epochs * count }
    }

    /// Learns from the next batch and returns its number of images.
    pub(super) fn step(
        &mut self,
        model: &mut Model,
        material: &Material,
        clock: Clock,
    ) -> Result<usize> {
        let indices = self.order.next()?;
        let moment = format!("augmentation.backprop.{}", clock.steps / self.per_epoch);
        let (images, labels) = material.augmented_batch(&material.seen, &indices, &moment)?;
        let stack = model.network.stack();
        let features = stack.forward_train(&images, &mut self.masks)?.flatten_from(1)?;
        let features = self.dropout.apply(&features, &mut self.masks)?;
        let logits = features.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        let loss = candle_nn::loss::cross_entropy(&logits, &labels)?;
        let epoch = (clock.steps / self.per_epoch) as usize;
        let (grads, rate) = (loss.backward()?, self.config.learning_rate_after(epoch));
        for Parameter { var, adam, .. } in &mut self.parameters {
            if let Some(gradient) = grads.get(var) {
                var.set(&adam.step(&var.as_detached_tensor(), gradient, rate)?)?;
            }
        }
        model.trained = true;
        self.taken.push(&loss, indices.len() as f64 / material.data.train.len() as f64)?;
        if self.taken.is_due() {
            self.loss = self.settled(clock.steps + 1)?;
            self.taken = Deferred::default();
        }
        Ok(indices.len())
    }

    /// Returns the loss of the epoch so far, including the batches in `taken`, the latest of which is number `step`.
    fn settled(&self, step: u64) -> Result<f64> {
        let (losses, weights): (Vec<_>, Vec<_>) = self.taken.read()?.into_iter().unzip();
        let losses = losses.concat();
        check_finite("the loss", step, &Tensor::new(&losses[..], &Device::Cpu)?)?;
        let losses = losses.into_iter().zip(weights);
        Ok(losses.fold(self.loss, |sum, (loss, weight)| sum + f64::from(loss) * weight))
    }

    /// Whether an epoch has ended.
    pub(super) fn is_due(&self, clock: Clock) -> bool {
        clock.steps > 0 && clock.steps.is_multiple_of(self.per_epoch)
    }

    /// Returns the mean loss of the epoch.
    pub(super) fn measure(&mut self, clock: Clock) -> Result<Measured> {
        let loss = self.settled(clock.steps)?;
        (self.loss, self.taken) = (0.0, Deferred::default());
        let values = vec![("backprop.loss".to_string(), loss)];
        Ok(Measured { values, message: format!("loss {loss:.4}") })
    }

    pub(super) fn state(&self, clock: Clock) -> Result<State> {
        let saved = Saved {
            epochs: self.config.epochs,
            masks: self.masks.position().to_string(),
            loss: self.settled(clock.steps)?,
        };
        let moments = |Parameter { name, adam, .. }: &Parameter| {
            let (m, v, _) = adam.state();
            [(moment(name, "m"), m.clone()), (moment(name, "v"), v.clone())]
        };
        let tensors = self.parameters.iter().flat_map(moments).collect();
        Ok(State { tensors, values: to_values(&saved)? })
    }

    pub(super) fn go_on(
        clock: Clock,
        values: &Value,
        model: &mut Model,
        material: &Material,
        checkpoint: &mut Checkpoint,
    ) -> Result<Self> {
        let saved: Saved = from_values(values)?;
        let mut all = Self::new(model, material)?;
        if saved.epochs != all.config.epochs {
            let (found, wanted) = (saved.epochs, all.config.epochs);
            return Err(of_another(format!(
                "its learning rates are those of {found} head_epochs, not of {wanted}"
            )));
        }
        let steps = i32::try_from(clock.steps).unwrap_or(i32::MAX);
        for Parameter { name, var, adam } in &mut all.parameters {
            let take = |part| checkpoint.take(&moment(name, part), var.dims(), DType::F32);
            adam.go_on(take("m")?, take("v")?, steps);
        }
        all.order.skip(clock.steps)?;
        all.masks = all.masks.at(position(&saved.masks)?);
        all.loss = saved.loss;
        Ok(all)
    }
}

/// The name of a moment of Adam in a checkpoint.
fn moment(parameter: &str, part: &str) -> String {
    format!("state.{parameter}.{part}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softhebb::{HeadConfig, HeadLayers, Learning, Options, preset};

    /// A dense layer of 100 rectified units without batch norm, and a head that learns 32 images per step.
    fn fresh(epochs: usize, dropout: f64, images: usize) -> Result<(Model, Material, Backprop)> {
        let mut preset = preset("softhebb-mlp-digits")?;
        for block in &mut preset.blocks {
            (block.learning, block.batch_norm) = (Learning::Backprop, false);
            block.activation = candle_hebbian::Activation::Relu {};
        }
        preset.head = HeadConfig::Linear { dropout, layers: HeadLayers::Last, mirrored: false };
        preset.training.head_epochs = epochs;
        let mut data = hebbian_data::digits();
        data.train = data.train.take(images);
        let (rng, device, seen) = (Rng::new(3), Device::Cpu, data.train.clone());
        let mut model = Model::new(&preset, seen.shape(), data.class_names.len(), &rng, &device)?;
        let options = Options { preset, baselines: false };
        let material = Material { options, data, seen, device, rng };
        let backprop = Backprop::new(&mut model, &material)?;
        Ok((model, material, backprop))
    }

    /// Adam's first step moves every weight that has a gradient by the learning rate, which is halved after 10 and 15
    /// of 20 epochs. An epoch has two steps; this is the second one.
    #[test]
    fn rates_are_those_of_the_epoch() -> Result<()> {
        let (mut model, material, mut backprop) = fresh(20, 0.0, 64)?;
        for (epoch, halvings) in [(0, 0), (9, 0), (10, 1), (14, 1), (15, 2), (19, 2)] {
            for Parameter { var, adam, .. } in &mut backprop.parameters {
                *adam = Adam::new(var.as_tensor())?;
            }
            let before = backprop.weight.force_contiguous()?;
            let clock = Clock { steps: 2 * epoch + 1, images: 64 * epoch + 32 };
            backprop.step(&mut model, &material, clock)?;
            let moved = (backprop.weight.as_detached_tensor() - before)?.abs()?.flatten_all()?;
            let moved = moved.to_vec1::<f32>()?.into_iter().map(f64::from);
            let moved: Vec<f64> = moved.filter(|&moved| moved != 0.0).collect();
            let want = 0.005 / 2f64.powi(halvings);
            let count = moved.iter().filter(|&moved| (moved / want - 1.0).abs() < 0.01).count();
            // A few gradients are so small that Adam's ε counts.
            assert!(
                count > 0 && 10 * count > 9 * moved.len(),
                "{epoch}: {count} of {}",
                moved.len()
            );
            assert!(moved.iter().all(|&moved| moved < 1.01 * want), "{epoch}");
        }
        Ok(())
    }

    /// With one image, the weights of a feature move if it is not 0 and was not dropped, as half of the features are.
    #[test]
    fn a_dropped_feature_teaches_the_head_nothing() -> Result<()> {
        let (mut model, material, mut backprop) = fresh(1, 0.5, 1)?;
        let features = model.network.forward(&material.batch(&[0])?.0)?;
        let features = features.squeeze(0)?.to_vec1::<f32>()?;
        let before = backprop.weight.to_vec2::<f32>()?;
        backprop.step(&mut model, &material, Clock::default())?;
        let after = backprop.weight.to_vec2::<f32>()?;
        let moved = |at: usize| before.iter().zip(&after).any(|(was, is)| was[at] != is[at]);
        let (active, silent): (Vec<usize>, Vec<usize>) =
            (0..features.len()).partition(|&at| features[at] != 0.0);
        assert!(silent.into_iter().all(|at| !moved(at)));
        let (count, learned) = (active.len(), active.into_iter().filter(|&at| moved(at)).count());
        // At least 30 of the 100 units are active; of these, half within four standard deviations.
        let share = learned as f64 / count as f64;
        assert!(count >= 30 && (0.13..0.87).contains(&share), "{learned} of {count}");
        Ok(())
    }
}
