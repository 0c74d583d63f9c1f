//! The comparison: the same architecture trained end to end by back-propagation.

use super::head::Head;
use super::network::Network;
use super::recipe::Run;
use candle::{DType, Device, Tensor, Var};
use candle_hebbian::Rng;
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use hebbian_data::Batches;
use hebbian_train::Result;
use hebbian_train::{LinearHead, Progress};

/// A network and its linear head under one optimiser: Adam, mean softmax cross-entropy, the
/// head's schedule and dropout.
struct Backprop {
    weight: Var,
    bias: Var,
    head: LinearHead,
    optimiser: AdamW,
}

impl Backprop {
    fn new(network: &Network, head: LinearHead) -> Result<Self> {
        let tensors = head.tensors();
        let (weight, bias) = (Var::from_tensor(&tensors[0].1)?, Var::from_tensor(&tensors[1].1)?);
        let mut vars: Vec<Var> = network
            .stack()
            .blocks()
            .iter()
            .map(|block| block.layer()?.var())
            .collect::<candle::Result<_>>()?;
        vars.extend([weight.clone(), bias.clone()]);
        let adam = ParamsAdamW { weight_decay: 0.0, ..Default::default() };
        Ok(Self { weight, bias, head, optimiser: AdamW::new(vars, adam)? })
    }

    /// Sets the rate of the epoch that follows `done` epochs.
    fn start_epoch(&mut self, done: usize) {
        self.optimiser.set_learning_rate(self.head.config().learning_rate_after(done));
    }

    /// One step on a batch; returns its mean loss.
    fn step(
        &mut self,
        network: &Network,
        images: &Tensor,
        labels: &Tensor,
        rng: &mut Rng,
    ) -> Result<f64> {
        let features = network.stack().forward_train(images, rng)?.flatten_from(1)?;
        let keep = 1.0 - self.head.config().dropout;
        let features = if keep < 1.0 {
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
    fn head(&self) -> Result<Head> {
        // `copy` shares memory on Metal.
        let [weight, bias] = [&self.weight, &self.bias].map(|var| var.force_contiguous());
        let (weight, bias) = (weight?, bias?);
        let head = LinearHead::from_tensors(self.head.config().clone(), weight, bias)?;
        Ok(Head::Linear(Box::new(head)))
    }
}

impl Run<'_> {
    /// End-to-end training, as long as the head would have been trained.
    pub(super) fn backprop(&mut self, network: &Network, head: Head) -> Result<Head> {
        let training = self.options.preset.training;
        // Any other head was refused before the run began.
        let Head::Linear(linear) = head else { return Ok(head) };
        let mut backprop = Backprop::new(network, *linear)?;
        let mut rng = self.rng.stream("batches.backprop");
        let mut masks = self.rng.stream("dropout.backprop");
        let mut crops = self.rng.stream("augmentation.backprop");
        let count = self.data.train.len();
        let total = (training.head_epochs * count) as u64;
        let mut progress = Progress::new(total, "back-propagation", self.options.run.quiet);
        for epoch in 0..training.head_epochs {
            backprop.start_epoch(epoch);
            let mut loss = 0.0;
            for indices in Batches::shuffled(count, training.head_batch_size, &mut rng)? {
                let (images, labels) = self.supervised_batch(&indices, &mut crops)?;
                loss += backprop.step(network, &images, &labels, &mut masks)?
                    * indices.len() as f64
                    / count as f64;
                progress.advance(indices.len() as u64);
                self.step += 1;
            }
            progress.message(format!("loss {loss:.4}"));
            let values = [("backprop.epoch", (epoch + 1) as f64), ("backprop.loss", loss)];
            self.folder.log(self.step, &values)?;
            self.check_and_save(network, "by back-propagation", false)?;
        }
        progress.finish();
        backprop.head()
    }
}
