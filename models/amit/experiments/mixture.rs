//! Networks for the mixture task, and their training.

use super::super::config::{LayerConfig, Preset, Training};
use super::super::learner::{Amit, Learner, Options};
use super::super::mixture::{Mixture, MixtureConfig, Samples};
use super::super::splits::Splits;
use super::arm::{Arm, Runner, Trained, URFB};
use candle::{DType, Device};
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_data::transforms::{InputConfig, Pipeline};
use hebbian_train::{About, Cell, Method, Readout as _, Result, Ridge, Spread, Start};
use serde_json::json;

const EPOCHS: usize = 60;
/// The epoch, before the end of training, after which an early error is reported.
const EARLY: u64 = 20;

/// A network of `depth` hidden layers, with the epochs that the study asks for.
pub(super) fn network(runner: &Runner, depth: usize) -> Preset {
    let mut layers = vec![LayerConfig::Dense { units: 128, protocol: None }; depth];
    layers.push(LayerConfig::Classes { protocol: None });
    Preset {
        name: format!("amit-mixture-{depth}"),
        description: format!("{depth} hidden layers of 128 for the mixture task"),
        dataset: "mixture".to_string(),
        input: InputConfig::NONE,
        layers,
        training: Training {
            protocol: URFB.protocol,
            loss: URFB.loss,
            learning_rate: 0.1,
            weight_decay: 0.0,
            batch_size: 100,
            epochs: runner.study.options.epochs.unwrap_or(EPOCHS),
            validation_images: 0,
            ramp_slope: 0.5,
            connection_probability: None,
            tied: None,
        },
    }
}

/// Trains arms on the task. The test set takes the place of the validation set, so that its error is
/// known after every epoch; no choice depends on it.
pub(super) fn train(runner: &Runner, splits: &Splits, arms: Vec<Arm>) -> Result<Vec<Trained>> {
    let learner = |preset: &Preset, rng: &Rng, device: &Device| {
        Learner::new(preset, splits.clone(), rng, device)
    };
    let check = |Options { preset }: &Options, start: &Start| {
        learner(preset, &start.rng, &start.device).map(drop)
    };
    runner.study.train_by(arms, check, |arm, device, how, folder| {
        let Options { preset } = &arm.options;
        let learner = learner(preset, &Rng::new(how.seed), device)?;
        let about = About {
            method: Amit::NAME,
            preset: preset.name.clone(),
            options: json!(arm.options),
            dataset: "mixture".to_string(),
            image: splits.train.shape(),
            input: InputConfig::NONE,
            transforms: Pipeline::default(),
            class_names: (0..splits.classes).map(|class| class.to_string()).collect(),
            counts: splits.counts(),
            parts: ["train", "test"],
            fingerprint: None,
            may_grow: Amit::MAY_GROW,
        };
        let run = hebbian_train::run(&about, learner, device, how, folder)?;
        Ok((run.results, run.history))
    })
}

/// The test error of ridge regression of the inputs, which no network is needed for.
pub(super) fn ridge_error(splits: &Splits) -> Result<f64> {
    let Splits { train, test, classes, .. } = splits;
    let inputs = |set: &ImageSet| -> Result<_> {
        let all: Vec<usize> = (0..set.len()).collect();
        Ok(set.batch(&all, DType::F32, &Device::Cpu)?.0.flatten_from(1)?)
    };
    let ridge = Ridge::fit(&inputs(train)?, train.labels(), *classes, 1.0)?;
    Ok(1.0 - ridge.accuracy(&inputs(test)?, test.labels())?)
}

/// The error after 20 epochs.
pub(super) fn early(one: &Trained) -> Option<Spread> {
    one.at("validation_error", Some(EARLY))
}

/// The columns of [`errors`] in a table.
pub(super) const ERRORS: [&str; 4] = ["test_error", "sd", "test_error_after_20", "sd_after_20"];

/// The mean and standard deviation of the test error, and of the error after 20 epochs.
pub(super) fn errors(one: &Trained) -> impl Iterator<Item = Cell> {
    let spreads = [one.test_error(), early(one)].into_iter();
    spreads.flat_map(|s| [s.map(|s| s.mean), s.and_then(|s| s.sd)]).map(Cell::from)
}

/// The task, with values rounded to steps of 1/255. It is the same for all seeds; only the random draws
/// of training differ between them.
pub(super) fn splits() -> Result<Splits> {
    let config = MixtureConfig::default();
    let task = Mixture::draw(&config, &Rng::new(0))?;
    let images = |samples: Samples| -> Result<ImageSet> {
        let values = samples.inputs.flatten_all()?.to_vec1::<f32>()?;
        let pixels = values.into_iter().map(|value| (255.0 * value).round() as u8).collect();
        Ok(ImageSet::new(pixels, samples.labels, config.features, 1, 1)?)
    };
    let test = images(task.test)?;
    let train = images(task.train)?;
    Ok(Splits { train, validation: test.clone(), test, classes: config.classes })
}
