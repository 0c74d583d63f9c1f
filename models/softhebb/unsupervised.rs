//! The stages without labels.

use super::config::{Mode, Preset};
use super::head::Head;
use super::monitor::Monitor;
use super::network::Network;
use super::recipe::Run;
use candle::DType;
use hebbian_data::Batches;
use hebbian_train::Progress;
use hebbian_train::Result;

/// A winner is counted in one of this many steps.
const OBSERVE_EVERY: usize = 10;

/// The blocks that learn in each stage.
fn stages(preset: &Preset, network: &Network) -> Vec<Vec<usize>> {
    let all = network.hebbian();
    match preset.training.mode {
        _ if all.is_empty() => Vec::new(),
        Mode::Successive => all.into_iter().map(|index| vec![index]).collect(),
        Mode::Consecutive | Mode::Simultaneous => vec![all],
        Mode::RandomCalibrated | Mode::RandomIdentity => Vec::new(),
    }
}

/// The steps of a stage with `count` images.
fn stage_steps(preset: &Preset, count: usize) -> usize {
    preset.training.epochs * count.div_ceil(preset.training.batch_size)
}

/// The steps of all stages.
pub(super) fn total_steps(preset: &Preset, network: &Network, count: usize) -> usize {
    stages(preset, network).len() * stage_steps(preset, count)
}

impl Run<'_> {
    /// The stages without labels, from where a resumed run was interrupted; simultaneous mode begins
    /// to train the `head` too. Returns how many images were shown.
    pub(super) fn unsupervised(&mut self, network: &mut Network, head: &mut Head) -> Result<usize> {
        let preset = &self.options.preset;
        // What is saved before this is the checkpoint of a resumed run, which was calibrated.
        if preset.training.mode == Mode::RandomCalibrated && self.last_saved.is_none() {
            self.calibrate(network)?;
        }
        let mut shown = 0;
        for (index, learning) in stages(preset, network).iter().enumerate() {
            let before = index * stage_steps(preset, self.data.train.len());
            let head = (preset.training.mode == Mode::Simultaneous).then_some(&mut *head);
            shown += self.stage(network, learning, before, head)?;
        }
        Ok(shown)
    }

    /// Estimates batch-norm statistics on at most 2,000 images.
    pub(super) fn calibrate(&self, network: &Network) -> Result<()> {
        let mut rng = self.rng.stream("calibration");
        let batches = Batches::shuffled(self.data.train.len(), 10, &mut rng)?;
        for indices in batches.take(200).filter(|indices| indices.len() > 1) {
            let (images, _) = self.data.train.batch(&indices, DType::F32, self.device)?;
            network.stack().calibrate(&images)?;
        }
        Ok(())
    }

    /// All unsupervised epochs of the blocks `learning`: one of them, with what is below frozen,
    /// or all. There are `before` steps before this stage; those done already are skipped, with their
    /// batches drawn. Returns how many images were shown.
    fn stage(
        &mut self,
        network: &mut Network,
        learning: &[usize],
        before: usize,
        mut head: Option<&mut Head>,
    ) -> Result<usize> {
        let training = self.options.preset.training;
        let name = match learning {
            [index] => format!("layer {}", index + 1),
            _ => "all layers".to_string(),
        };
        let count = self.data.train.len();
        let steps = stage_steps(&self.options.preset, count);
        let skipped = (self.step as usize - before).min(steps);
        // Equal windows of 10 to 200 steps, the last of which ends with the last step.
        let logs = (steps / (steps / 50).clamp(10, 100)).max(1);
        let logged = |done: usize| (done as u128 * logs as u128 / steps as u128) as usize;
        let mut rng = self.rng.stream(&format!("batches.{name}"));
        let mut dropout = self.rng.stream("head.simultaneous");
        let mut monitors = vec![Monitor::default(); network.stack().blocks().len()];
        let mut progress =
            Progress::new((training.epochs * count) as u64, &name, self.options.run.quiet);
        self.check_and_save(network, &name, skipped == 0)?;
        let (mut done, mut shown) = (0, 0);
        for _ in 0..training.epochs {
            for indices in Batches::shuffled(count, training.batch_size, &mut rng)? {
                if done < skipped {
                    progress.advance(indices.len() as u64);
                    done += 1;
                    continue;
                }
                let (images, labels) = self.data.train.batch(&indices, DType::F32, self.device)?;
                let share = done as f64 / steps as f64;
                let taken = if learning.len() == network.stack().blocks().len() {
                    let (features, taken) = network.learn(&images, share)?;
                    if let Some(head) = head.as_deref_mut() {
                        let labels = labels.to_vec1::<u32>()?;
                        head.train_batch(&features, &labels, share, &mut dropout)?;
                    }
                    taken
                } else {
                    vec![network.learn_block(learning[0], &images, share)?]
                };
                if done % OBSERVE_EVERY == 0 {
                    for (&index, step) in learning.iter().zip(&taken) {
                        monitors[index].observe(step)?;
                    }
                }
                progress.advance(indices.len() as u64);
                shown += indices.len();
                done += 1;
                self.step += 1;
                if logged(done) > logged(done - 1) {
                    progress.message(self.log(network, learning, &mut monitors)?);
                    // The monitors have just been emptied: who resumes from here misses nothing.
                    self.check_and_save(network, &name, logged(done) == 1)?;
                }
            }
        }
        progress.finish();
        Ok(shown)
    }

    /// Writes a log line and returns the short form for the progress display.
    fn log(
        &mut self,
        network: &Network,
        learning: &[usize],
        monitors: &mut [Monitor],
    ) -> Result<String> {
        let mut values = Vec::new();
        let mut message = Vec::new();
        for &index in learning {
            let stats = monitors[index].report(network.stack().blocks()[index].layer()?)?;
            message.push(format!(
                "radius {:.2}, entropy {:.2}, dead {}",
                stats.mean_radius, stats.winner_entropy, stats.dead_units
            ));
            values.extend(stats.named(index));
        }
        let values: Vec<(&str, f64)> =
            values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.folder.log(self.step, &values)?;
        Ok(message.join(" | "))
    }
}
