//! The read-outs of the features.

use super::head::Head;
use super::label_assignment::LabelAssignment;
use super::material::Material;
use super::model::Model;
use super::network::Network;
use candle::{DType, Tensor};
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_train::{
    NearestClassMean, Progress, Readout, ReadoutResult, Recorder, Result, Ridge, in_parts,
};
use serde::Serialize;
use std::time::Instant;

/// Ridge regression reads at most this many features; if there are more, they are averaged over positions.
const RIDGE_FEATURES: usize = 2048;

/// The number of random networks that the learned one is compared with, and of draws of few images. One is not enough:
/// their spread can be as large as the difference.
const DRAWS: usize = 5;
/// A number of labels small enough to show differences between features that training with all labels hides.
const FEW_LABELS: usize = 50;
/// The name by which the read-outs of the network's features are kept together.
const OF_FEATURES: &str = "all of the features";

/// The accuracies of a head that learns from few labels, for each of [`DRAWS`] draws of the images that have them.
#[derive(Debug, Serialize)]
pub(super) struct FewLabels {
    labels: usize,
    /// On the features of the network.
    learned: Vec<f64>,
    raw_pixels: Vec<f64>,
    /// On the features of another random network for each draw.
    random_features: Vec<f64>,
}

/// Trains read-outs and tests them.
pub(super) struct Readouts<'a, 'b> {
    pub(super) material: &'a Material,
    pub(super) recorder: &'a mut Recorder<'b>,
}

impl Readouts<'_, '_> {
    /// Trains and tests the head, then the read-outs that take seconds and, for dense networks, the one without a head.
    pub(super) fn of_features(&mut self, model: &mut Model) -> Result<Vec<ReadoutResult>> {
        let Model { network, head, trained } = model;
        let main = self.recorder.kept::<ReadoutResult>("head")?;
        let main = main.map(|(main, mut checkpoint)| head.restore(&mut checkpoint).map(|()| main));
        let main = main.transpose()?;
        *trained |= main.is_some();
        if let Some((all, _)) = self.recorder.kept(OF_FEATURES)? {
            return Ok(all);
        }
        let labels = self.material.data.train.labels();
        let classes = self.material.classes();
        let started = Instant::now();
        let train = self.features(network, &self.material.data.train, "train features")?;
        let test = self.features(network, &self.material.data.test, "test features")?;
        let main = match main {
            Some(main) => main,
            None => {
                let main = self.head(head, network, &train, &test, ("head", started))?;
                self.recorder.keep("head", &main, &head.tensors())?;
                *trained = true;
                main
            }
        };
        let mut all = vec![main];
        let mut fitted = |name: &str, started, readout: &dyn Readout, test: &Tensor| {
            all.push(self.judge(name, started, readout, test)?);
            self.recorder.go_on()
        };

        let started = Instant::now();
        let nearest = NearestClassMean::fit(&train, labels, classes)?;
        fitted("nearest class mean", started, &nearest, &test)?;
        let shapes: Vec<&[usize]> = network.read().iter().map(|block| block.output()).collect();
        let started = Instant::now();
        if let (Some(train), Some(test)) = (pooled(&train, &shapes)?, pooled(&test, &shapes)?) {
            let ridge = Ridge::fit(&train, labels, classes, 1.0)?;
            fitted("ridge", started, &ridge, &test)?;
        }
        if shapes.iter().all(|shape| shape.len() == 1) {
            let started = Instant::now();
            let assignment = LabelAssignment::fit(&train, labels, classes)?;
            fitted("label assignment", started, &assignment, &test)?;
        }
        self.recorder.keep(OF_FEATURES, &all, &[])?;
        Ok(all)
    }

    /// Tests the head that has learned together with the network.
    pub(super) fn of_whole(&mut self, model: &Model) -> Result<ReadoutResult> {
        let test = self.features(&model.network, &self.material.data.test, "test features")?;
        // The head is trained already: the time does not begin before its features are computed.
        self.material.device.synchronize()?;
        self.judge("head", Instant::now(), &model.head, &test)
    }

    /// Trains and tests the same head on raw pixels, and on the features of [`DRAWS`] networks with random weights: the
    /// one that the network started from, and others.
    pub(super) fn baselines(&mut self) -> Result<Vec<ReadoutResult>> {
        let name = "head on raw pixels";
        let mut all = vec![self.control(name, name, Self::pixels)?];
        for draw in 0..DRAWS {
            let name = "head on random features";
            let logged = format!("{name}, draw {}", draw + 1);
            all.push(self.control(name, &logged, |readouts| readouts.random_network(draw))?);
        }
        Ok(all)
    }

    fn pixels(&self) -> Result<Network> {
        Ok(Network::pixels(self.material.data.train.shape(), &self.material.preset().head)?)
    }

    /// Returns a network with random weights; `draw` 0 has those that the network started from.
    fn random_network(&self, draw: usize) -> Result<Network> {
        let Material { data, device, rng, .. } = self.material;
        let rng = match draw {
            0 => rng.clone(),
            _ => {
                let mut seeds = rng.stream(&format!("random network {draw}"));
                Rng::new(seeds.below(usize::MAX) as u64)
            }
        };
        let (preset, shape) = (self.material.preset(), data.train.shape());
        let network = Network::new(preset, shape, &rng, DType::F32, device)?;
        self.material.calibrate(&network)?;
        Ok(network)
    }

    /// Returns the accuracies of a head that learns from [`FEW_LABELS`] images, with the classes in proportion. `None`
    /// if there are fewer than ten times as many training images, or more classes than labels.
    pub(super) fn with_few_labels(&mut self, network: &Network) -> Result<Option<FewLabels>> {
        let Material { data, rng, .. } = self.material;
        if data.train.len() < 10 * FEW_LABELS || self.material.classes() > FEW_LABELS {
            return Ok(None);
        }
        let mut seeds = rng.stream("few labels");
        let few = (0..DRAWS).map(|_| {
            let seed = seeds.below(usize::MAX) as u64;
            Ok((data.clone().with_labelled(FEW_LABELS, seed)?.train, Rng::new(seed)))
        });
        let few = few.collect::<Result<Vec<_>>>()?;
        let random = few.iter().enumerate().map(|(draw, few)| {
            let network = self.random_network(draw)?;
            Ok(self.of_few(&network, std::slice::from_ref(few))?[0])
        });
        Ok(Some(FewLabels {
            labels: FEW_LABELS,
            learned: self.of_few(network, &few)?,
            raw_pixels: self.of_few(&self.pixels()?, &few)?,
            random_features: random.collect::<Result<_>>()?,
        }))
    }

    /// Returns the accuracies of fresh heads, each of which learns from one of the sets of images, with its own
    /// generator.
    fn of_few(&self, network: &Network, few: &[(ImageSet, Rng)]) -> Result<Vec<f64>> {
        let Material { data, device, .. } = self.material;
        let (preset, classes) = (self.material.preset(), self.material.classes());
        let features = |set: &ImageSet| {
            self.material.features(network, set, |rows| Ok(set.batch(rows, DType::F32, device)?))
        };
        let test = features(&data.test)?;
        let accuracy = |(few, rng): &(ImageSet, Rng)| {
            let train = features(few)?;
            let (width, mut drawn) = (train.dim(1)?, rng.stream("head.weight"));
            let training = &preset.training;
            let mut head = Head::new(&preset.head, training, width, classes, device, &mut drawn)?;
            let mut batches = rng.stream("head.batches");
            for _ in 0..training.head_epochs {
                head.train_epoch(&train, few.labels(), &mut batches)?;
            }
            head.accuracy(&test, data.test.labels())
        };
        few.iter().map(accuracy).collect()
    }

    /// Trains and tests a fresh head on the features of a network that does not learn. The log has it as `logged`.
    fn control(
        &mut self,
        name: &str,
        logged: &str,
        network: impl FnOnce(&Self) -> Result<Network>,
    ) -> Result<ReadoutResult> {
        if let Some((kept, _)) = self.recorder.kept(logged)? {
            return Ok(kept);
        }
        let network = &network(self)?;
        let Material { data, device, rng, .. } = self.material;
        let preset = self.material.preset();
        let started = Instant::now();
        let train = self.features(network, &data.train, logged)?;
        let test = self.features(network, &data.test, logged)?;
        let mut head = Head::new(
            &preset.head,
            &preset.training,
            train.dim(1)?,
            self.material.classes(),
            device,
            &mut rng.stream("head.weight"),
        )?;
        let found = self.head(&mut head, network, &train, &test, (logged, started))?;
        let found = ReadoutResult { name: name.to_string(), ..found };
        self.recorder.keep(logged, &found, &[])?;
        Ok(found)
    }

    /// Trains and tests the head: on features that are computed once or, if images are augmented, on those of an
    /// augmented copy for each epoch.
    fn head(
        &mut self,
        head: &mut Head,
        network: &Network,
        train: &Tensor,
        test: &Tensor,
        (name, started): (&str, Instant),
    ) -> Result<ReadoutResult> {
        let training = self.material.preset().training;
        let labels = self.material.data.train.labels();
        let mut rng = self.material.rng.stream("head.batches");
        let mut progress = self.recorder.progress(training.head_epochs * labels.len(), name);
        let what = format!("the read-out '{name}'");
        let mut copies = Vec::new();
        for epoch in 1..=training.head_epochs {
            self.recorder.go_on()?;
            let fresh = self.augmented(network, &mut copies, epoch)?;
            let seen = head
                .train_epoch(fresh.as_ref().unwrap_or(train), labels, &mut rng)
                .map_err(|error| self.recorder.diverged(error, &what))?;
            self.recorder.check(&what, epoch, &head.tensors())?;
            progress.advance(labels.len() as u64);
            let mut values = vec![("train_accuracy", seen)];
            if epoch == 1 || epoch % 10 == 0 || epoch == training.head_epochs {
                let accuracy = head.accuracy(test, self.material.data.test.labels())?;
                values.push(("test_accuracy", accuracy));
                progress.message(format!("test {:.2} %", 100.0 * accuracy));
            }
            self.recorder.log(name, epoch, &values)?;
        }
        progress.finish();
        self.judge(name, started, head, test)
    }

    /// Returns the features of the augmented copy that the head learns from in this epoch, counted from 1; `None` if
    /// images are not augmented. `copies` holds the features that are kept.
    fn augmented(
        &self,
        network: &Network,
        copies: &mut Vec<Tensor>,
        epoch: usize,
    ) -> Result<Option<Tensor>> {
        let train = &self.material.data.train;
        if train.augmentation().is_empty() {
            return Ok(None);
        }
        let kept = self.material.preset().training.augmented_copies;
        let copy = kept.map_or(epoch, |kept| (epoch - 1) % kept + 1);
        if let Some(features) = copies.get(copy - 1) {
            return Ok(Some(features.clone()));
        }
        let moment = format!("head.augmentation.{copy}");
        let batch = |rows: &[usize]| self.material.augmented_batch(train, rows, &moment);
        let features = self.material.features(network, train, batch)?;
        if kept.is_some() {
            copies.push(features.clone());
        }
        Ok(Some(features))
    }

    /// Tests a read-out on the test images. Its time is from `started` to the end of its training, with the features
    /// that are computed in between.
    fn judge(
        &self,
        name: &str,
        started: Instant,
        readout: &dyn Readout,
        test: &Tensor,
    ) -> Result<ReadoutResult> {
        let labels = self.material.data.test.labels();
        ReadoutResult::judge(name, started, readout, test, labels, self.material.classes())
    }

    fn features(&self, network: &Network, set: &ImageSet, label: &str) -> Result<Tensor> {
        // Raw pixels take no time to compute, so they need no progress bar.
        let quiet = self.recorder.is_quiet() || network.stack().blocks().is_empty();
        let mut progress = Progress::new(set.len() as u64, label, quiet);
        let features = self.material.features(network, set, |indices| {
            progress.advance(indices.len() as u64);
            Ok(set.batch(indices, DType::F32, &self.material.device)?)
        })?;
        progress.finish();
        Ok(features)
    }
}

/// Returns the features of blocks whose outputs have these shapes, averaged over positions if they are too many for
/// ridge regression; `None` if they are too many even then.
fn pooled(features: &Tensor, shapes: &[&[usize]]) -> Result<Option<Tensor>> {
    if features.dim(1)? <= RIDGE_FEATURES {
        return Ok(Some(features.clone()));
    }
    let shapes = shapes.iter().map(|&shape| match *shape {
        [channels, height, width] => (channels, height * width),
        _ => (shape.iter().product(), 1),
    });
    let shapes = shapes.collect::<Vec<_>>();
    if shapes.iter().map(|(channels, _)| channels).sum::<usize>() > RIDGE_FEATURES {
        return Ok(None);
    }
    let means = in_parts(features, |part, _| {
        let mut from = 0;
        let means = shapes.iter().map(|&(channels, positions)| {
            let of_block = part.narrow(1, from, channels * positions)?;
            from += channels * positions;
            of_block.reshape(((), channels, positions))?.mean(2)
        });
        Ok(Tensor::cat(&means.collect::<candle::Result<Vec<_>>>()?, 1)?)
    })?;
    Ok(Some(means))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;
    use hebbian_train::Error;

    #[test]
    fn features_are_averaged_over_the_positions_of_each_block() -> Result<()> {
        // Two channels of 30×20 numbers and a block of 1,000 units: too many for ridge regression, but not the 1,002
        // means.
        let block = |values: [f32; 2], positions| {
            let values = values.iter().flat_map(|&value| vec![value; positions]);
            Tensor::from_iter(values, &Device::Cpu)
        };
        let (maps, units) = (block([1.0, -2.0], 600)?, block([3.0, 5.0], 500)?);
        let features = Tensor::cat(&[maps, units.clone()], 0)?.unsqueeze(0)?;
        let shapes: [&[usize]; 2] = [&[2, 30, 20], &[1000]];
        let means = pooled(&features, &shapes)?.map(|means| means.squeeze(0)).transpose()?;
        let means = means.ok_or_else(|| Error::Argument("too many".to_string()))?;
        assert_eq!(means.narrow(0, 0, 2)?.to_vec1::<f32>()?, [1.0, -2.0]);
        assert_eq!(means.narrow(0, 2, 1000)?.to_vec1::<f32>()?, units.to_vec1::<f32>()?);

        // Few features stay as they are; if too many are left after averaging, the result is `None`.
        let few = features.narrow(1, 0, RIDGE_FEATURES)?;
        let kept = pooled(&few, &[&[RIDGE_FEATURES]])?.map(|few| few.dims().to_vec());
        assert_eq!(kept, Some(vec![1, RIDGE_FEATURES]));
        assert!(pooled(&features, &[&[2200]])?.is_none());
        Ok(())
    }
}
