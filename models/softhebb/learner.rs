//! A SoftHebb network in training.

use super::backprop::Backprop;
use super::check;
use super::config::{BlockConfig, Learning, Mode, Preset};
use super::material::Material;
use super::model::Model;
use super::options::Options;
use super::readouts::Readouts;
use super::stages::Stages;
use candle::Tensor;
use candle_hebbian::device::to_host;
use hebbian_data::Dataset;
use hebbian_train::{
    Checkpoint, Clock, Figures, Measured, Picture, Recorder, Result, Start, State, Units,
    UnitsBefore,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A model with the data that it learns from, step by step: without labels, or as a whole by back-propagation.
#[derive(Debug)]
pub struct Learner {
    model: Model,
    material: Material,
    way: Way,
    clock: Clock,
    total: Clock,
    before: UnitsBefore,
}

#[derive(Debug)]
enum Way {
    Stages(Box<Stages>),
    Backprop(Box<Backprop>),
}

impl Learner {
    pub(super) fn new(options: &Options, data: &Dataset, start: &Start) -> Result<Self> {
        let preset = &options.preset;
        check::preset(preset)?;
        check::data(preset, data)?;
        let (device, rng) = (start.device.clone(), start.rng.clone());
        let image = data.train.shape();
        let mut model = Model::new(preset, image, data.class_names.len(), &rng, &device)?;
        let seen = match with_labels(preset) {
            true => data.train.clone(),
            false => data.seen()?,
        };
        let material = Material { options: options.clone(), data: data.clone(), seen, device, rng };
        check::smallest_batch(&model.network, &material)?;
        let (way, total) = if model.network.hebbian().is_empty() {
            let backprop = Backprop::new(&mut model, &material)?;
            let total = backprop.total(&material);
            (Way::Backprop(Box::new(backprop)), total)
        } else {
            let stages = Stages::new(&model.network, &material)?;
            let total = stages.total(&material);
            (Way::Stages(Box::new(stages)), total)
        };
        let before = UnitsBefore::fresh(&model)?;
        let clock = Clock::default();
        Ok(Self { model, material, way, clock, total, before })
    }
}

/// Whether learning from a batch of images needs their labels. It does with back-propagation, and if the head learns
/// together with the network.
pub(super) fn with_labels(preset: &Preset) -> bool {
    let hebbian = |block: &BlockConfig| matches!(block.learning, Learning::Hebbian { .. });
    !preset.blocks.iter().any(hebbian) || preset.training.mode == Mode::Simultaneous
}

impl hebbian_train::Learner for Learner {
    type Model = Model;

    fn model(&self) -> &Model {
        &self.model
    }

    fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    fn uses_labels(&self) -> bool {
        matches!(self.way, Way::Backprop(_))
    }

    fn clock(&self) -> Clock {
        self.clock
    }

    fn total(&self) -> Clock {
        self.total
    }

    fn calibrate(&mut self) -> Result<()> {
        self.material.calibrate(&self.model.network)
    }

    fn into_model(self) -> Model {
        self.model
    }

    fn step(&mut self) -> Result<()> {
        let Self { model, material, way, clock, .. } = self;
        let images = match way {
            Way::Stages(stages) => stages.step(model, material, *clock)?,
            Way::Backprop(backprop) => backprop.step(model, material, *clock)?,
        };
        clock.tick(images);
        Ok(())
    }

    fn stage(&self) -> String {
        match &self.way {
            Way::Stages(stages) => stages.name(self.clock),
            Way::Backprop(_) => "by back-propagation".to_string(),
        }
    }

    fn is_due(&self) -> bool {
        match &self.way {
            Way::Stages(stages) => stages.is_due(self.clock),
            Way::Backprop(backprop) => backprop.is_due(self.clock),
        }
    }

    fn measure(&mut self) -> Result<Measured> {
        match &mut self.way {
            Way::Stages(stages) => stages.measure(&self.model.network, self.clock),
            Way::Backprop(backprop) => backprop.measure(self.clock),
        }
    }

    fn state(&self) -> Result<State> {
        let State { mut tensors, values } = match &self.way {
            Way::Stages(stages) => stages.state(&self.model.head)?,
            Way::Backprop(backprop) => backprop.state(self.clock)?,
        };
        tensors.extend(self.before.tensors());
        Ok(State { tensors, values: json!({ "way": values }) })
    }

    fn go_on(&mut self, clock: Clock, state: &Value, take: &mut Checkpoint) -> Result<()> {
        let Self { model, material, way, before, .. } = self;
        before.restore(take)?;
        let state = &state["way"];
        match way {
            Way::Stages(stages) => stages.go_on(clock, state, &mut model.head, material, take)?,
            Way::Backprop(backprop) => {
                **backprop = Backprop::go_on(clock, state, model, material, take)?;
            }
        }
        self.clock = clock;
        Ok(())
    }

    /// Restores only the network: the head is trained from the start, on the features that the network will have.
    fn start_from(&mut self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.model.restore_network(checkpoint)?;
        self.before = UnitsBefore::loaded(&self.model)?;
        Ok(())
    }

    fn pictures(&self) -> Result<Vec<(String, Picture)>> {
        self.before.pictures(&self.model, &self.material.seen, &self.material.device)
    }

    fn finish(&mut self, recorder: &mut Recorder<'_>) -> Result<Figures> {
        let Self { model, material, before, .. } = self;
        if material.preset().training.mode == Mode::RandomCalibrated
            && matches!(self.way, Way::Stages(_))
        {
            material.calibrate(&model.network)?;
        }
        let mut readouts = Readouts { material, recorder };
        let mut all = match &self.way {
            Way::Stages(_) => readouts.of_features(model)?,
            Way::Backprop(_) => vec![readouts.of_whole(model)?],
        };
        let mut extras = BTreeMap::new();
        if material.options.baselines {
            all.extend(readouts.baselines()?);
            if let (Way::Stages(_), Some(few)) =
                (&self.way, readouts.with_few_labels(&model.network)?)
            {
                extras.insert("few_labels".to_string(), json!(few));
            }
        }
        if let Some(start) = before.if_fresh() {
            let moved = from_start(start, &hebbian_train::Model::units(&*model)?)?;
            let (left, cosines): (Vec<f64>, Vec<f64>) = moved.into_iter().unzip();
            extras.insert("units_that_left_their_start".to_string(), json!(left));
            extras.insert("median_cosine_with_start".to_string(), json!(cosines));
        }
        let main = all.first().cloned().unwrap_or_default();
        Ok(Figures {
            test_accuracy: main.test_accuracy,
            confusion: main.confusion,
            readouts: all,
            extras,
        })
    }
}

/// Units whose weights have this cosine or more with their initial weights have hardly learned.
const NEAR: f64 = 0.5;

/// Returns, for each layer, the share of units whose weights have a cosine below [`NEAR`] with their initial weights,
/// and the median of the cosines.
fn from_start(start: &[Units], now: &[Units]) -> Result<Vec<(f64, f64)>> {
    let of_layer = |(start, now): (&Units, &Units)| {
        let rows =
            |layer: &Units| -> candle::Result<Tensor> { to_host(&layer.weight.flatten_from(1)?) };
        let (now, start) = (rows(now)?, rows(start)?);
        let product = |a: &Tensor, b: &Tensor| (a * b)?.sum(1);
        let lengths = (product(&now, &now)? * product(&start, &start)?)?.sqrt()?;
        let mut cosines = (product(&now, &start)? / lengths)?.to_vec1::<f64>()?;
        cosines.sort_by(f64::total_cmp);
        let left = cosines.iter().filter(|&&cosine| cosine < NEAR).count();
        let count = cosines.len();
        let [low, high] = [count.saturating_sub(1) / 2, count / 2];
        let median = |cosines: &[f64]| Some((cosines.get(low)? + cosines.get(high)?) / 2.0);
        Ok((left as f64 / count.max(1) as f64, median(&cosines).unwrap_or(f64::NAN)))
    };
    start.iter().zip(now).map(of_layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    /// The median of an even number of cosines is the mean of the two in the middle.
    #[test]
    fn the_median_of_an_even_number_of_cosines() {
        let units = |rows: &[[f32; 2]]| Units {
            name: "layer 1".to_string(),
            weight: Tensor::from_vec(rows.concat(), (rows.len(), 2), &Device::Cpu).unwrap(),
            competes: true,
            stride: 1,
            padding: 0,
            pools: Vec::new(),
        };
        // The cosines are 1, 0.6, 0 and −1.
        let start = [[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [3.0, 0.0]];
        let now = [[2.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]];
        let median = |count: usize| {
            let of = from_start(&[units(&start[..count])], &[units(&now[..count])]).unwrap();
            of[0]
        };
        for (count, share, expected) in [(4, 0.5, 0.3), (3, 1.0 / 3.0, 0.6), (2, 0.0, 0.8)] {
            let (left, middle) = median(count);
            assert!((left - share).abs() < 1e-12 && (middle - expected).abs() < 1e-6, "{count}");
        }
    }
}
