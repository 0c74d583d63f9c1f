//! What is read out of the features.

use super::config::Augmentation;
use super::head::Head;
use super::label_assignment::LabelAssignment;
use super::network::Network;
use super::recipe::{Run, collect};
use candle::{DType, Tensor};
use candle_hebbian::Geometry;
use hebbian_train::Result;
use hebbian_train::{NearestClassMean, Progress, Readout, Ridge, check_finite};
use std::collections::BTreeMap;

/// Ridge regression reads at most this many features, pooled over positions where there are more.
const RIDGE_FEATURES: usize = 2048;

impl Run<'_> {
    /// Trains the head on features computed once (or anew for each epoch when images are
    /// augmented); returns its accuracy on the test set. Metrics are logged under `name`.
    pub(super) fn train_head(
        &mut self,
        head: &mut Head,
        network: &Network,
        train: &Tensor,
        test: &Tensor,
        name: &str,
    ) -> Result<f64> {
        let training = self.options.preset.training;
        let labels = self.data.train.labels();
        let mut rng = self.rng.stream("head.batches");
        let mut crops = self.rng.stream("head.augmentation");
        let total = (training.head_epochs * labels.len()) as u64;
        let mut progress = Progress::new(total, name, self.options.run.quiet);
        let key = |what: &str| format!("{}.{what}", name.replace(' ', "_"));
        let (epoch_key, seen_key) = (key("epoch"), key("train_accuracy"));
        let test_key = key("test_accuracy");
        let mut last = None;
        for epoch in 1..=training.head_epochs {
            let fresh = match training.augmentation {
                Augmentation::None => None,
                Augmentation::CropFlip => {
                    let batch = |indices: &[usize]| self.supervised_batch(indices, &mut crops);
                    Some(collect(network, labels.len(), self.device, batch)?)
                }
            };
            let seen = head
                .train_epoch(fresh.as_ref().unwrap_or(train), labels, &mut rng)
                .and_then(|seen| {
                    for (name, tensor) in head.tensors() {
                        check_finite(&name, self.step, &tensor)?;
                    }
                    Ok(seen)
                })
                .map_err(|error| self.diverged(error, &format!("the read-out '{name}'")))?;
            progress.advance(labels.len() as u64);
            let mut values = vec![(epoch_key.as_str(), epoch as f64), (seen_key.as_str(), seen)];
            let at_end = epoch == training.head_epochs;
            if epoch == 1 || epoch % 10 == 0 || at_end {
                let accuracy = head.accuracy(test, self.data.test.labels())?;
                values.push((test_key.as_str(), accuracy));
                progress.message(format!("test {:.2} %", 100.0 * accuracy));
                last = Some(accuracy);
            }
            self.step += 1;
            self.folder.log(self.step, &values)?;
        }
        progress.finish();
        match last {
            Some(accuracy) => Ok(accuracy),
            None => Ok(head.accuracy(test, self.data.test.labels())?),
        }
    }

    /// Read-outs that take seconds, and for dense networks the one that needs no head.
    pub(super) fn other_readouts(
        &self,
        network: &Network,
        train: &Tensor,
        test: &Tensor,
        extras: &mut BTreeMap<String, serde_json::Value>,
    ) -> Result<()> {
        let classes = self.data.class_names.len();
        let (train_labels, test_labels) = (self.data.train.labels(), self.data.test.labels());
        let nearest = NearestClassMean::fit(train, train_labels, classes)?;
        let accuracy = nearest.accuracy(test, test_labels)?;
        extras.insert("nearest_class_mean_test_accuracy".into(), accuracy.into());
        if let Some(block) = network.stack().blocks().last() {
            let pooled = (pool_to(train, block.output())?, pool_to(test, block.output())?);
            if let (Some(train), Some(test)) = pooled {
                let ridge = Ridge::fit(&train, train_labels, classes, 1.0)?;
                let accuracy = ridge.accuracy(&test, test_labels)?;
                extras.insert("ridge_test_accuracy".into(), accuracy.into());
                extras.insert("ridge_features".into(), train.dim(1)?.into());
            }
            if block.layer()?.geometry() == Geometry::Dense {
                let assignment = LabelAssignment::fit(train, train_labels, classes)?;
                let accuracy = assignment.accuracy(test, test_labels)?;
                extras.insert("label_assignment_test_accuracy".into(), accuracy.into());
            }
        }
        Ok(())
    }

    /// The same head on raw pixels and on the features of random weights.
    pub(super) fn baselines(
        &mut self,
        extras: &mut BTreeMap<String, serde_json::Value>,
    ) -> Result<()> {
        let preset = &self.options.preset;
        let shape = self.data.train.shape();
        let pixels = Network::pixels(shape)?;
        let random = Network::new(preset, shape, &self.rng, DType::F32, self.device)?;
        self.calibrate(&random)?;
        for (network, label) in [(pixels, "raw pixels"), (random, "random features")] {
            let train = self.features(&network, &self.data.train, label)?;
            let test = self.features(&network, &self.data.test, label)?;
            let mut head = Head::new(
                &preset.head,
                &preset.training,
                train.dim(1)?,
                self.data.class_names.len(),
                self.device,
                &mut self.rng.stream("head.weight"),
            )?;
            let accuracy = self.train_head(&mut head, &network, &train, &test, label)?;
            extras.insert(format!("{}_test_accuracy", label.replace(' ', "_")), accuracy.into());
        }
        Ok(())
    }
}

/// Features of shape `(C, H, W)` averaged over positions until they are few enough for ridge
/// regression; `None` where that cannot be.
fn pool_to(features: &Tensor, shape: &[usize]) -> Result<Option<Tensor>> {
    let (rows, width) = features.dims2()?;
    if width <= RIDGE_FEATURES {
        return Ok(Some(features.clone()));
    }
    let &[channels, height, columns] = shape else { return Ok(None) };
    if channels > RIDGE_FEATURES {
        return Ok(None);
    }
    let mean = features.reshape((rows, channels, height * columns))?.mean(2)?;
    Ok(Some(mean))
}
