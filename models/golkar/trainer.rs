//! Epochs, in batches or one sample at a time.

use super::backprop::{Backprop, loss};
use super::circuit::Circuit;
use super::config::{Preset, schedule};
use super::online::Online;
use super::task::{Samples, Task};
use candle::{DType, Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::ops::has_kernels;
use hebbian_train::check_finite;
use hebbian_train::{Error, Result};

/// Samples of which the running mean starts with the mean.
const MEAN_SAMPLES: usize = 1000;

/// Samples that are taken out of the tensors together, to be learned one by one.
const ONLINE_SAMPLES: usize = 1000;

/// What learns.
#[derive(Debug)]
pub enum Learner {
    /// The circuit, with a read-out `(n, k)` of its own where the preset wants one.
    Local {
        /// The circuit.
        circuit: Box<Circuit>,
        /// The delta-rule read-out.
        readout: Option<Tensor>,
    },
    /// Back-propagation in the same network.
    Backprop(Backprop),
}

impl Learner {
    /// `ŷ (T, n)` for `x (T, m)`.
    pub fn predict(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Local { circuit, readout: None } => circuit.predict(x)?,
            Self::Local { circuit, readout: Some(readout) } => {
                circuit.forward(x)?.matmul(&readout.t()?)?
            }
            Self::Backprop(network) => network.predict(x)?,
        })
    }

    /// Every tensor of a checkpoint.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        match self {
            Self::Local { circuit, readout } => {
                let mut tensors = circuit.tensors();
                tensors.extend(readout.clone().map(|readout| ("head.weight".to_string(), readout)));
                tensors
            }
            Self::Backprop(network) => network.tensors(),
        }
    }
}

/// What a moment of training measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Samples seen.
    pub seen: usize,
    /// `mean ‖y − ŷ‖²` over the samples to learn.
    pub loss: f64,
    /// The share of them that is classified rightly.
    pub train_accuracy: f64,
    /// The same of the samples to test with.
    pub test_accuracy: f64,
}

/// A learner in training.
#[derive(Debug)]
pub struct Trainer {
    learner: Learner,
    preset: Preset,
    rng: Rng,
    seen: usize,
}

impl Trainer {
    /// A fresh circuit, or the same network for back-propagation, which starts from the same weights.
    pub fn new(
        preset: &Preset,
        task: &Task,
        backprop: bool,
        rng: &Rng,
        device: &Device,
    ) -> Result<Self> {
        preset.check()?;
        let (samples, inputs) = task.train.x.dims2()?;
        let sizes = (inputs, preset.units, task.classes);
        let mut circuit =
            Circuit::new(preset.circuit, sizes, preset.initial, rng, DType::F32, device)?;
        circuit.start_mean(&task.train.x.narrow(0, 0, MEAN_SAMPLES.min(samples))?)?;
        let learner = if backprop {
            Learner::Backprop(Backprop::from_circuit(&circuit, preset.circuit.ridge)?)
        } else {
            // Not `copy`, which shares memory on Metal.
            let w2 = || circuit.w2().as_detached_tensor().force_contiguous();
            let readout = preset.training.readout.map(|_| w2());
            Learner::Local { circuit: Box::new(circuit), readout: readout.transpose()? }
        };
        Ok(Self { learner, preset: preset.clone(), rng: rng.clone(), seen: 0 })
    }

    /// Goes on from the tensors that `take(name, shape)` hands out, saved after `seen` samples.
    ///
    /// # Errors
    /// What `take` says.
    pub fn restore(
        &mut self,
        seen: usize,
        mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        match &mut self.learner {
            Learner::Local { circuit, readout } => {
                circuit.restore(&mut take)?;
                if let Some(readout) = readout {
                    *readout = take("head.weight", readout.dims())?;
                }
            }
            Learner::Backprop(network) => network.restore(take)?,
        }
        self.seen = seen;
        Ok(())
    }

    /// What learns.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Samples seen.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Measures the learner as it is.
    ///
    /// # Errors
    /// A prediction that is not finite, with what to do.
    pub fn measure(&self, task: &Task) -> Result<Point> {
        let prediction = |samples: &Samples| self.learner.predict(&samples.x);
        let (train, test) = (prediction(&task.train)?, prediction(&task.test)?);
        check_finite("the prediction", self.seen as u64, &train).map_err(|_| self.diverged())?;
        Ok(Point {
            seen: self.seen,
            loss: loss(&train, &task.train.y)?,
            train_accuracy: task.train.accuracy(&train)?,
            test_accuracy: task.test.accuracy(&test)?,
        })
    }

    fn diverged(&self) -> Error {
        let advice = match &self.learner {
            Learner::Backprop(_) => {
                let rate = self.preset.backprop.rate;
                format!("lower back-propagation's rate ({rate})")
            }
            Learner::Local { .. } => {
                let rates = self.preset.training.rates;
                if rates.w2 > rates.w1 / 5.0 || rates.q > rates.w1 / 5.0 {
                    let (w2, q, most) = (rates.w2, rates.q, rates.w1 / 5.0);
                    format!(
                        "lower rates.w2 ({w2}) and rates.q ({q}) to at most rates.w1/5 ({most})"
                    )
                } else if rates.q == 0.0 {
                    "raise rates.q above 0: nothing holds the basal weights".to_string()
                } else {
                    format!("lower rates.w1 ({}), and the others with it", rates.w1)
                }
            }
        };
        Error::Argument(format!(
            "the weights diverged before sample {}: {advice}, or raise the batch size",
            self.seen
        ))
    }

    /// Learns on until `upto` samples are seen in all, in epochs of random order; `told` is told how
    /// many samples each part had.
    pub fn learn(&mut self, task: &Task, upto: usize, mut told: impl FnMut(usize)) -> Result<()> {
        let count = task.train.count();
        while self.seen < upto {
            let (epoch, at) = (self.seen / count, self.seen % count);
            let order = self.rng.stream(&format!("order.{epoch}")).permutation(count);
            let end = count.min(at + upto - self.seen);
            self.learn_part(&task.train, &order[at..end], &mut told)?;
        }
        Ok(())
    }

    fn learn_part(
        &mut self,
        samples: &Samples,
        order: &[usize],
        told: &mut impl FnMut(usize),
    ) -> Result<()> {
        let Preset { training, backprop, .. } = self.preset;
        match &mut self.learner {
            Learner::Local { circuit, readout: None }
                if training.batch_size == 1 && has_kernels(samples.x.device()) =>
            {
                let mut online = Online::of(circuit)?;
                for part in order.chunks(ONLINE_SAMPLES) {
                    let (x, y) = select(samples, part)?;
                    let (x, y) = (x.to_vec2::<f32>()?, y.to_vec2::<f32>()?);
                    for (x, y) in x.iter().zip(&y) {
                        let factor = schedule(training.half_time, self.seen);
                        online.step(x, y, training.rates.scaled(factor))?;
                        self.seen += 1;
                    }
                    told(part.len());
                }
                online.store(circuit)?;
            }
            Learner::Local { circuit, readout } => {
                for batch in order.chunks(training.batch_size) {
                    let (x, y) = select(samples, batch)?;
                    let factor = schedule(training.half_time, self.seen);
                    if let (Some(readout), Some(rate)) = (readout.as_mut(), training.readout) {
                        let z = circuit.forward(&x)?;
                        let error = (&y - z.matmul(&readout.t()?)?)?;
                        let step = error.t()?.matmul(&z)? * (rate * factor / batch.len() as f64);
                        *readout = (&*readout + step?)?;
                    }
                    circuit.step(&x, &y, training.rates.scaled(factor), training.way)?;
                    self.seen += batch.len();
                    told(batch.len());
                }
            }
            Learner::Backprop(network) => {
                for batch in order.chunks(backprop.batch_size) {
                    let (x, y) = select(samples, batch)?;
                    let rate = backprop.rate * schedule(backprop.half_time, self.seen);
                    network.step(&x, &y, (rate, rate))?;
                    self.seen += batch.len();
                    told(batch.len());
                }
            }
        }
        Ok(())
    }
}

fn select(samples: &Samples, batch: &[usize]) -> Result<(Tensor, Tensor)> {
    let indices: Vec<u32> = batch.iter().map(|&at| at as u32).collect();
    let indices = Tensor::new(indices, samples.x.device())?;
    Ok((samples.x.index_select(&indices, 0)?, samples.y.index_select(&indices, 0)?))
}
