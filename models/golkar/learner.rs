//! A network in training, in batches or one sample at a time.

use super::backprop::loss;
use super::config::{Preset, Scaling, schedule};
use super::diagnostics::diagnose;
use super::network::{Network, Rule};
use super::online::Online;
use super::task::{Samples, Task};
use candle::{Device, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::upload;
use candle_hebbian::ops::has_kernels;
use hebbian_data::{Dataset, split_at};
use hebbian_train::{
    Checkpoint, Clock, ConfusionMatrix, Counts, Figures, History, Measured, Method, Model,
    Recorder, Result, Start, check_finite,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Number of samples whose mean is the initial value of the running mean.
const MEAN_SAMPLES: usize = 1000;
/// Number of samples that are copied out of the tensors together, to be learned one by one.
const ONLINE_SAMPLES: usize = 1000;
/// Number of measurements for each doubling of the number of samples.
const PER_DOUBLING: f64 = 2.0;

/// Local supervision in a cortical microcircuit.
#[derive(Debug, Clone, Copy)]
pub struct Golkar;

/// The options of a run, besides its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The circuit and its training, with overrides applied.
    pub preset: Preset,
    /// Train by back-propagation instead.
    #[serde(default)]
    pub backprop: bool,
}

impl Method for Golkar {
    const NAME: &'static str = "golkar";
    const MAY_GROW: &'static [&'static str] = &["/preset/training/epochs"];
    /// The samples are matrices that are computed once, so images are not augmented.
    const AUGMENTS: bool = false;
    type Preset = Preset;
    type Options = Options;
    type Learner = Learner;

    fn preset(options: &Options) -> &Preset {
        &options.preset
    }

    fn preset_mut(options: &mut Options) -> &mut Preset {
        &mut options.preset
    }

    fn learner(options: &Options, data: &Dataset, start: &Start) -> Result<Learner> {
        options.preset.check()?;
        let task = Task::of(&options.preset, data, &start.device)?;
        Learner::new(options, task, &start.rng, &start.device)
    }

    /// The network is made, but the samples are not: on CIFAR-10 they take more than a gigabyte.
    fn check(options: &Options, data: &Dataset, start: &Start) -> Result<()> {
        Self::model(options, data.train.shape(), data.class_names.len(), &start.device)?;
        Task::check(data)?;
        total(options, data.train.len()).map(drop)
    }

    /// Swapped presets learn the test images, and are tested with training images.
    fn splits(options: &Options, data: Dataset) -> Dataset {
        match options.preset.swapped {
            Some(count) => data.swapped(count),
            None => data,
        }
    }

    fn parts(options: &Options) -> [&'static str; 2] {
        match options.preset.swapped {
            Some(_) => ["test", "train"],
            None => ["train", "test"],
        }
    }

    /// Unlabelled images are not seen.
    fn counts(_: &Options, data: &Dataset) -> Counts {
        Counts { train: data.train.len(), unlabelled: 0, validation: 0, test: data.test.len() }
    }

    fn model(
        options: &Options,
        (channels, height, width): (usize, usize, usize),
        classes: usize,
        device: &Device,
    ) -> Result<Network> {
        let scaling = options.preset.scaling.unwrap_or(Scaling { mean: 0.0, deviation: 1.0 });
        let sizes = (channels * height * width, classes);
        let Options { preset, backprop } = options;
        Network::new(preset, *backprop, sizes, (scaling, None), &Rng::new(0), device)
    }
}

/// The measurements at one moment of training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Number of samples seen.
    pub seen: usize,
    /// `mean ‖y − ŷ‖²` over the samples to learn.
    pub loss: f64,
    /// The share of the samples to learn that are classified correctly.
    pub train_accuracy: f64,
    /// The share of the test samples that are classified correctly.
    pub test_accuracy: f64,
}

/// A network in training. All random draws follow from the seed and the number of the epoch.
#[derive(Debug)]
pub struct Learner {
    network: Network,
    task: Task,
    options: Options,
    rng: Rng,
    clock: Clock,
    total: Clock,
    /// The numbers of samples after which the network is measured.
    moments: Vec<usize>,
    /// The number of an epoch, with the order of the samples in it.
    order: Option<(usize, Vec<usize>)>,
}

impl Learner {
    /// Creates a network with fresh weights for the samples of `task`.
    ///
    /// # Errors
    /// If the preset is invalid or asks for more epochs than can be counted.
    pub fn new(options: &Options, task: Task, rng: &Rng, device: &Device) -> Result<Self> {
        let Options { preset, backprop } = options;
        let (samples, inputs) = task.train.x.dims2()?;
        let labels: Vec<u32> = task.train.labels.to_vec1()?;
        let (first, _) = select(&task.train, &split_at(&labels, MEAN_SAMPLES).0)?;
        let start = (task.scaling, Some(&first));
        let network = Network::new(preset, *backprop, (inputs, task.classes), start, rng, device)?;
        Ok(Self {
            network,
            task,
            options: options.clone(),
            rng: rng.clone(),
            clock: Clock::default(),
            total: total(options, samples)?,
            moments: moments(batch_size(options), samples, preset.training.epochs),
            order: None,
        })
    }

    /// Returns the samples for training and testing.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// Measures the network in its current state.
    ///
    /// # Errors
    /// If a prediction is not finite; the message says what to change.
    pub fn point(&self) -> Result<Point> {
        let (train, test) =
            (self.network.respond(&self.task.train.x)?, self.network.respond(&self.task.test.x)?);
        for prediction in [&train, &test] {
            check_finite("the prediction", self.clock.images, prediction).map_err(|error| {
                let stage = hebbian_train::Learner::stage(self);
                error.while_training(stage, None, Some(self.diverged()))
            })?;
        }
        Ok(Point {
            seen: self.clock.images as usize,
            loss: loss(&train, &self.task.train.y)?,
            train_accuracy: self.task.train.accuracy(&train)?,
            test_accuracy: self.task.test.accuracy(&test)?,
        })
    }

    /// A message that the weights diverged, with the rate to change.
    fn diverged(&self) -> String {
        let advice = match &self.network.rule {
            Rule::Backprop(_) => {
                let rate = self.options.preset.backprop.rate;
                format!("lower back-propagation's rate ({rate}, --rate)")
            }
            Rule::Local { .. } => {
                let rates = self.options.preset.training.rates;
                if rates.w2 > rates.w1 / 5.0 || rates.q > rates.w1 / 5.0 {
                    let (w2, q, most) = (rates.w2, rates.q, rates.w1 / 5.0);
                    format!(
                        "lower rates.w2 ({w2}) and rates.q ({q}) to at most rates.w1/5 ({most})"
                    )
                } else if rates.q == 0.0 {
                    "raise rates.q above 0: nothing holds the basal weights".to_string()
                } else {
                    format!("lower rates.w1 ({}), and the others with it (--rate)", rates.w1)
                }
            }
        };
        format!(
            "the weights diverged before sample {}: {advice}, or raise the batch size \
             (--batch-size)",
            self.clock.images
        )
    }

    /// Learns from the samples at these indices, all at once or one by one.
    fn learn(&mut self, samples: &[usize]) -> Result<()> {
        let Preset { training, backprop, .. } = self.options.preset;
        let (x, y) = select(&self.task.train, samples)?;
        let seen = self.clock.images as usize;
        match &mut self.network.rule {
            Rule::Local { circuit, .. } if is_online(&self.options, x.device()) => {
                let mut online = Online::of(circuit)?;
                let (x, y) = (x.to_vec2::<f32>()?, y.to_vec2::<f32>()?);
                for (at, (x, y)) in x.iter().zip(&y).enumerate() {
                    let factor = schedule(training.half_time, seen + at);
                    online.step(x, y, training.rates.scaled(factor))?;
                }
                online.store(circuit)?;
            }
            Rule::Local { circuit, readout } => {
                let factor = schedule(training.half_time, seen);
                if let (Some(readout), Some(rate)) = (readout.as_mut(), training.readout) {
                    let rate = rate * schedule(backprop.half_time, seen);
                    let z = circuit.forward(&x)?;
                    let error = (&y - z.matmul(&readout.t()?)?)?;
                    let step = error.t()?.matmul(&z)? * (rate / samples.len() as f64);
                    *readout = (&*readout + step?)?;
                }
                circuit.step(&x, &y, training.rates.scaled(factor), training.way)?;
            }
            Rule::Backprop(network) => {
                let rate = backprop.rate * schedule(backprop.half_time, seen);
                network.step(&x, &y, (rate, rate))?;
            }
        }
        Ok(())
    }
}

/// Samples per step of a network.
fn batch_size(options: &Options) -> usize {
    match options.backprop {
        true => options.preset.backprop.batch_size,
        false => options.preset.training.batch_size,
    }
}

/// The end of training with so many `samples`.
fn total(options: &Options, samples: usize) -> Result<Clock> {
    Clock::after_epochs(options.preset.training.epochs, samples, batch_size(options))
}

/// Whether the circuit learns sample by sample on the host, by [`Online`].
fn is_online(options: &Options, device: &Device) -> bool {
    let training = &options.preset.training;
    let alone = !options.backprop && training.readout.is_none();
    alone && training.batch_size == 1 && has_kernels(device)
}

impl hebbian_train::Learner for Learner {
    type Model = Network;

    fn model(&self) -> &Network {
        &self.network
    }

    fn model_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    fn uses_labels(&self) -> bool {
        true
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn total(&self) -> Clock {
        self.total
    }

    fn into_model(self) -> Network {
        self.network
    }

    fn step(&mut self) -> Result<()> {
        let (count, seen) = (self.task.train.count(), self.clock.images as usize);
        let (epoch, at) = (seen / count, seen % count);
        let order = match self.order.take() {
            Some((of, order)) if of == epoch => order,
            _ => self.rng.stream(&format!("order.{epoch}")).permutation(count),
        };
        let together = match is_online(&self.options, self.task.train.x.device()) {
            true => ONLINE_SAMPLES.min(self.next_moment().saturating_sub(seen).max(1)),
            false => batch_size(&self.options),
        };
        let end = count.min(at + together);
        self.learn(&order[at..end])?;
        for batch in order[at..end].chunks(batch_size(&self.options)) {
            self.clock.tick(batch.len());
        }
        self.order = Some((epoch, order));
        Ok(())
    }

    fn stage(&self) -> String {
        let epoch = (self.clock.images as usize).div_ceil(self.task.train.count().max(1));
        format!("epoch {}", epoch.max(1))
    }

    fn is_due(&self) -> bool {
        self.moments.binary_search(&(self.clock.images as usize)).is_ok()
    }

    fn measure(&mut self) -> Result<Measured> {
        let point = self.point()?;
        let values = [
            ("loss", point.loss),
            ("train_accuracy", point.train_accuracy),
            ("test_accuracy", point.test_accuracy),
        ];
        Ok(Measured {
            values: values.map(|(name, value)| (name.to_string(), value)).to_vec(),
            message: format!("loss {:.4}", point.loss),
        })
    }

    fn advice(&self) -> Option<String> {
        Some(self.diverged())
    }

    fn go_on(&mut self, clock: Clock, _: &Value, _: &mut Checkpoint) -> Result<()> {
        self.clock = clock;
        Ok(())
    }

    /// The scaling stays that of the images to learn from.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.network.restore(checkpoint)?;
        self.network.scaling = self.task.scaling;
        Ok(())
    }

    fn finish(&mut self, _: &mut Recorder<'_>) -> Result<Figures> {
        let last = self.point()?;
        let mut figures = Figures { test_accuracy: last.test_accuracy, ..Figures::default() };
        let mut extra = |name: &str, value: Value| figures.extras.insert(name.to_string(), value);
        extra("loss", last.loss.into());
        extra("train_accuracy", last.train_accuracy.into());
        extra("learner", if self.options.backprop { "backprop" } else { "bmvr" }.into());
        if let Rule::Local { circuit, .. } = &self.network.rule {
            let found = diagnose(circuit, &self.task.train)?;
            extra("alignment", found.alignment.into());
            extra("interneuron_gap", found.interneuron_gap.into());
            extra("spectrum", json!(found.spectrum));
        }
        extra("linear_optimum", self.task.linear_optimum()?.into());
        let test = &self.task.test;
        let predicted = self.network.respond(&test.x)?.argmax(1)?.to_vec1::<u32>()?;
        let labels = test.labels.to_vec1::<u32>()?;
        figures.confusion = Some(ConfusionMatrix::new(&labels, &predicted, self.task.classes)?);
        Ok(figures)
    }
}

impl Learner {
    /// The number of samples after which the network is measured next.
    fn next_moment(&self) -> usize {
        let seen = self.clock.images as usize;
        let next = self.moments.partition_point(|&moment| moment <= seen);
        self.moments.get(next).copied().unwrap_or(usize::MAX)
    }
}

/// The measurements that a run has logged.
pub(super) fn points(history: &History) -> Vec<Point> {
    let points = history.by_images().filter_map(|(seen, values)| {
        let value = |name: &str| values.get(name).copied();
        Some(Point {
            seen: seen as usize,
            loss: value("loss")?,
            train_accuracy: value("train_accuracy")?,
            test_accuracy: value("test_accuracy")?,
        })
    });
    points.collect()
}

fn select(samples: &Samples, batch: &[usize]) -> Result<(Tensor, Tensor)> {
    let indices: Vec<u32> = batch.iter().map(|&at| at as u32).collect();
    let indices = upload(indices, batch.len(), samples.x.device())?;
    Ok((samples.x.index_select(&indices, 0)?, samples.y.index_select(&indices, 0)?))
}

/// The numbers of samples after which the network is measured: after the first few batches, then at
/// growing intervals, and after each of the `epochs` of `count` samples or, if there are many, after about
/// a hundred of them.
fn moments(batch: usize, count: usize, epochs: usize) -> Vec<usize> {
    let batches = (0..).map(|at| 2f64.powf(f64::from(at) / PER_DOUBLING).round() as usize);
    let first = batches.map(|batches| batches * batch).take_while(|&upto| upto < count);
    let measured = (0..=epochs).step_by((epochs / 100).max(1)).chain([epochs]);
    let mut moments: Vec<usize> = first.chain(measured.map(|epoch| epoch * count)).collect();
    moments.sort_unstable();
    moments.dedup();
    moments.retain(|&upto| upto <= count * epochs);
    moments
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments_are_whole_batches() {
        assert_eq!(super::moments(1, 10, 2), [0, 1, 2, 3, 4, 6, 8, 10, 20]);
        assert_eq!(super::moments(10, 25, 1), [0, 10, 20, 25]);
        assert_eq!(super::moments(100, 50, 3), [0, 50, 100, 150]);
        assert_eq!(super::moments(10, 50, 0), [0]);
        assert_eq!(super::moments(1, 1, 250)[..4], [0, 2, 4, 6]);
        assert_eq!(super::moments(1, 1, 251).last(), Some(&251));
    }
}
