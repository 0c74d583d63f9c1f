//! Learning without labels, in stages: in each, one block learns or all blocks do.

use super::config::{Mode, Preset};
use super::head::Head;
use super::material::Material;
use super::model::Model;
use super::monitor::Monitor;
use super::network::Network;
use super::order::Order;
use super::saved::{from_values, of_another, position, to_values};
use candle::Tensor;
use candle_hebbian::{Geometry, Rng};
use hebbian_train::{Checkpoint, Clock, Measured, Result, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// In a convolution, which has a competition at every position, the winners are counted in one of this many steps; in a
/// dense layer, which has one per image, they are counted in every step.
const OBSERVE_EVERY: u64 = 10;

/// The stages, one after the other, each with all epochs. Blocks below the one that learns are frozen.
#[derive(Debug)]
pub(super) struct Stages {
    /// The blocks that learn in each stage.
    learning: Vec<Vec<usize>>,
    /// The number of steps of each stage.
    steps: u64,
    order: Order,
    /// The generator of the head's dropout masks, if the head learns too.
    dropout: Option<Rng>,
    /// The wins in each block since its last measurement.
    monitors: Vec<Monitor>,
}

/// What continuing needs.
#[derive(Serialize, Deserialize)]
struct Saved {
    dropout: Option<String>,
    monitors: Vec<Monitor>,
    head: Value,
}

impl Stages {
    pub(super) fn new(network: &Network, material: &Material) -> Result<Self> {
        let (preset, count) = (material.preset(), material.seen.len());
        let steps = (preset.training.epochs * count.div_ceil(preset.training.batch_size)) as u64;
        let learning = if steps == 0 { Vec::new() } else { stages(preset, network) };
        let also_head = preset.training.mode == Mode::Simultaneous;
        let first = learning.first().map_or_else(String::new, |learning| name(learning));
        Ok(Self {
            order: order(&first, material)?,
            dropout: also_head.then(|| material.rng.stream("head.simultaneous")),
            monitors: vec![Monitor::default(); network.stack().blocks().len()],
            learning,
            steps,
        })
    }

    /// The steps of all stages, and the images that they show.
    pub(super) fn total(&self, material: &Material) -> Clock {
        let stages = self.learning.len() as u64;
        let shown = (material.preset().training.epochs * material.seen.len()) as u64;
        Clock { steps: stages * self.steps, images: stages * shown }
    }

    /// Returns the stage of the last step before `clock`, and the number of steps of this stage that are done by then.
    fn at(&self, clock: Clock) -> (usize, u64) {
        match clock.steps.checked_sub(1) {
            Some(last) if self.steps > 0 => ((last / self.steps) as usize, last % self.steps + 1),
            _ => (0, 0),
        }
    }

    /// Returns the name of the stage of the last step.
    pub(super) fn name(&self, clock: Clock) -> String {
        self.learning.get(self.at(clock).0).map_or_else(String::new, |learning| name(learning))
    }

    /// Learns from the next batch and returns its number of images.
    pub(super) fn step(
        &mut self,
        model: &mut Model,
        material: &Material,
        clock: Clock,
    ) -> Result<usize> {
        let (stage, done) = (clock.steps / self.steps, clock.steps % self.steps);
        let learning = &self.learning[stage as usize];
        if done == 0 {
            self.order = order(&name(learning), material)?;
        }
        let indices = self.order.next()?;
        let (images, labels) = match material.preset().training.augment_layers {
            true => {
                let epoch = done / (self.steps / material.preset().training.epochs as u64).max(1);
                let moment = format!("augmentation.{}.{epoch}", name(learning));
                material.augmented_batch(&material.seen, &indices, &moment)?
            }
            false => material.batch(&indices)?,
        };
        let share = done as f64 / self.steps as f64;
        let Model { network, head, trained } = model;
        let taken: Vec<(Tensor, Tensor)> = match (&learning[..], &mut self.dropout) {
            (&[index], None) => vec![network.learn_block(index, &images, share)?],
            (_, dropout) => {
                let (features, taken) = network.learn(&images, share)?;
                if let Some(dropout) = dropout {
                    let now = (done, self.steps, material.preset().training.epochs);
                    head.train_batch(&features, &labels, now, dropout)?;
                    *trained = true;
                }
                taken.into_iter().map(|activity| (activity.u, activity.post)).collect()
            }
        };
        for (&index, (u, post)) in learning.iter().zip(&taken) {
            let dense = network.stack().blocks()[index].layer()?.geometry() == Geometry::Dense;
            if dense || done % OBSERVE_EVERY == 0 {
                self.monitors[index].observe(u, post)?;
            }
        }
        Ok(indices.len())
    }

    /// Whether a window of steps has ended. The windows of a stage are equal, of 10 to about 100 steps, and the last
    /// one ends with the stage.
    pub(super) fn is_due(&self, clock: Clock) -> bool {
        let done = self.at(clock).1;
        let windows = (self.steps / (self.steps / 50).clamp(10, 100)).max(1);
        let ended =
            |done: u64| u128::from(done) * u128::from(windows) / u128::from(self.steps.max(1));
        done > 0 && ended(done) > ended(done - 1)
    }

    /// Returns the figures of the blocks that learn, since the last measurement.
    pub(super) fn measure(&mut self, network: &Network, clock: Clock) -> Result<Measured> {
        let learning = self.learning.get(self.at(clock).0).cloned().unwrap_or_default();
        let (mut values, mut messages) = (Vec::new(), Vec::new());
        for index in learning {
            let stats = self.monitors[index].report(network.stack().blocks()[index].layer()?)?;
            messages.push(format!(
                "radius {:.2}, entropy {:.2}, silent {}",
                stats.mean_radius, stats.winner_entropy, stats.silent_units
            ));
            values.extend(stats.named(index));
        }
        Ok(Measured { values, message: messages.join(" | ") })
    }

    pub(super) fn state(&self, head: &Head) -> Result<State> {
        let head = if self.dropout.is_some() { head.state() } else { State::default() };
        let mut monitors = self.monitors.clone();
        monitors.iter_mut().try_for_each(Monitor::settle)?;
        let saved = Saved {
            dropout: self.dropout.as_ref().map(|rng| rng.position().to_string()),
            monitors,
            head: head.values,
        };
        Ok(State { tensors: head.tensors, values: to_values(&saved)? })
    }

    pub(super) fn go_on(
        &mut self,
        clock: Clock,
        values: &Value,
        head: &mut Head,
        material: &Material,
        checkpoint: &mut Checkpoint,
    ) -> Result<()> {
        let saved: Saved = from_values(values)?;
        let (stage, done) = self.at(clock);
        if let Some(learning) = self.learning.get(stage) {
            self.order = order(&name(learning), material)?;
            self.order.skip(done)?;
        }
        if saved.monitors.len() != self.monitors.len() {
            return Err(of_another(format!("{} blocks", saved.monitors.len())));
        }
        self.monitors = saved.monitors;
        match (&mut self.dropout, &saved.dropout) {
            (Some(rng), Some(drawn)) => {
                *rng = rng.clone().at(position(drawn)?);
                head.go_on(&saved.head, checkpoint)
            }
            (None, None) => Ok(()),
            (_, dropout) => Err(of_another(format!("dropout {dropout:?}"))),
        }
    }
}

/// The blocks that learn in each stage.
fn stages(preset: &Preset, network: &Network) -> Vec<Vec<usize>> {
    let all = network.hebbian();
    match preset.training.mode {
        Mode::Successive => all.into_iter().map(|index| vec![index]).collect(),
        Mode::Consecutive | Mode::Simultaneous => vec![all],
        Mode::RandomCalibrated | Mode::RandomIdentity => Vec::new(),
    }
}

fn name(learning: &[usize]) -> String {
    match learning {
        [index] => format!("layer {}", index + 1),
        _ => "all layers".to_string(),
    }
}

/// The order of the images in a stage.
fn order(stage: &str, material: &Material) -> Result<Order> {
    let rng = material.rng.stream(&format!("batches.{stage}"));
    Order::new(rng, material.seen.clone(), material.preset().training.batch_size)
}
