//! Networks trained side by side, each with several seeds.

use super::super::config::{LayerConfig, Loss, Preset, Tied};
use super::super::presets::preset;
use super::super::protocol::Protocol;
use super::super::run::{Options, Outcome, train_on};
use super::super::trainer::Splits;
use crate::experiment::{ExperimentOptions, Spread, slug};
use candle::Device;
use hebbian_data::{Dataset, DatasetName};
use hebbian_train::{Error, Result};
use hebbian_train::{Series, Table};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How the presets for larger images are trained on the digits.
pub(super) const DIGITS: &str = "on the digits networks are trained without dropout, with other batches, rate and epochs; for \
     the paper's, --dataset cifar10\n";
/// Images per step on the digits, of which there are too few for the presets' 500: with 10 an epoch
/// has 130 steps, instead of 3.
const DIGITS_BATCH: usize = 10;
/// Epochs and `η` of each network on the digits, tied or not: so that it learns, and a figure takes
/// minutes on two cores. At the presets' 0.1, and with dropout, the deeper networks take several
/// times as long to leave the start; at 0.3 back-propagation of cross-entropy loses deepernet.
const DIGITS_RECIPES: [(&str, usize, f64); 4] =
    [("simpnet", 15, 0.1), ("deepnet", 70, 0.2), ("deepernet", 15, 0.2), ("deepernet-s", 15, 0.2)];

/// What an arm of an experiment changes in a preset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variation {
    /// Its name in the figure.
    pub label: &'static str,
    pub protocol: Protocol,
    pub loss: Loss,
    /// The share of connections.
    pub connections: Option<f64>,
}

const HINGE: Loss = Loss::Hinge { mu: None };
const fn hinge(label: &'static str, protocol: Protocol, connections: Option<f64>) -> Variation {
    Variation { label, protocol, loss: HINGE, connections }
}

/// Back-propagation of softmax cross-entropy.
pub(super) const BP: Variation = Variation {
    label: "BP",
    protocol: Protocol::Backprop,
    loss: Loss::Softmax {},
    connections: None,
};
/// Back-propagation of the hinge loss.
pub(super) const BP_H: Variation = hinge("BP-H", Protocol::Backprop, None);
pub(super) const URFB: Variation = hinge("URFB", Protocol::Urfb, None);
pub(super) const FRFB: Variation = hinge("FRFB", Protocol::Frfb, None);
pub(super) const URFB_50: Variation = hinge("URFB 50 %", Protocol::Urfb, Some(0.5));
pub(super) const FRFB_50: Variation = hinge("FRFB 50 %", Protocol::Frfb, Some(0.5));

/// A network with one way of learning.
#[derive(Debug, Clone)]
pub(super) struct Arm {
    /// The network's short name.
    pub network: String,
    /// The way of learning.
    pub label: String,
    pub preset: Preset,
}

impl Arm {
    pub fn new(network: &str, base: &Preset, variation: Variation) -> Self {
        let mut preset = base.clone();
        preset.training.protocol = variation.protocol;
        preset.training.loss = variation.loss;
        preset.training.connection_probability = variation.connections;
        Self { network: network.to_string(), label: variation.label.to_string(), preset }
    }

    /// Its folder's name.
    fn slug(&self) -> String {
        slug(&format!("{} {}", self.network, self.label))
    }
}

/// Trains arms.
pub(super) struct Runner<'a> {
    pub options: &'a ExperimentOptions,
    pub data: Option<&'a Dataset>,
    pub device: &'a Device,
    pub out: &'a Path,
}

impl Runner<'_> {
    /// The images, which an experiment that needs them has.
    fn images(&self) -> Result<&Dataset> {
        self.data.ok_or_else(|| Error::Argument("there is no data set".to_string()))
    }

    /// The data set's name, for titles.
    pub fn dataset(&self) -> Result<String> {
        Ok(self.images()?.name.to_string())
    }

    /// The preset `amit-NETWORK` as it is trained here: with the epochs asked for, and on the digits
    /// as [`DIGITS`] says. A tied part of training gets a tenth of the epochs at most.
    pub fn network(&self, network: &str) -> Result<Preset> {
        let mut preset = preset(&format!("amit-{network}"))?;
        let training = &mut preset.training;
        if self.images()?.name == DatasetName::Digits && preset.dataset != "digits" {
            let name = network.strip_suffix("-untied").unwrap_or(network);
            if let Some((_, epochs, rate)) = DIGITS_RECIPES.iter().find(|recipe| recipe.0 == name) {
                (training.epochs, training.learning_rate) = (*epochs, *rate);
            }
            training.batch_size = DIGITS_BATCH;
            training.tied = training.tied.map(|tied| Tied { batch_size: DIGITS_BATCH, ..tied });
            preset.layers.retain(|layer| !matches!(layer, LayerConfig::Dropout { .. }));
        }
        training.epochs = self.options.epochs.unwrap_or(training.epochs);
        let most = training.epochs.div_ceil(10);
        training.tied = training.tied.map(|tied| Tied { epochs: tied.epochs.min(most), ..tied });
        Ok(preset)
    }

    /// Trains the arms on the images.
    pub fn train(&self, arms: Vec<Arm>) -> Result<Vec<Trained>> {
        let data = self.images()?;
        let splits = |arm: &Arm| Splits::of(data, arm.preset.training.validation_images);
        self.train_on(arms, data.name.as_str(), splits)
    }

    /// Trains the arms, one after the other, with every seed, on what `splits` gives.
    pub fn train_on(
        &self,
        arms: Vec<Arm>,
        dataset: &str,
        splits: impl Fn(&Arm) -> Result<Splits>,
    ) -> Result<Vec<Trained>> {
        let seeds = self.options.seeds;
        let all = arms.len() * seeds;
        let mut trained = Vec::new();
        for arm in arms {
            let splits = splits(&arm)?;
            let mut runs = Vec::new();
            for seed in self.options.seeds() {
                let number = trained.len() * seeds + runs.len() + 1;
                let label = format!("{number}/{all} {} {} seed {seed}", arm.network, arm.label);
                let folder = self.folder(&arm, seed);
                let run = self.options.run(seed, &folder);
                let options = Options { preset: arm.preset.clone(), run };
                runs.push(train_on(&options, &splits, dataset, &label, self.device, &folder)?);
            }
            trained.push(Trained { arm, runs });
        }
        Ok(trained)
    }

    /// The run folder of an arm.
    pub fn folder(&self, arm: &Arm, seed: u64) -> PathBuf {
        self.out.join(arm.slug()).join(format!("seed-{seed}"))
    }
}

/// An arm with its runs, a seed each.
pub(super) struct Trained {
    pub arm: Arm,
    pub runs: Vec<Outcome>,
}

impl Trained {
    pub fn test_error(&self) -> Option<Spread> {
        self.spread(|run| Some(1.0 - run.results.test_accuracy))
    }

    /// Over the runs that have the value.
    pub fn spread(&self, value: impl Fn(&Outcome) -> Option<f64>) -> Option<Spread> {
        Spread::of(&self.runs.iter().filter_map(value).collect::<Vec<_>>())
    }

    /// The value called `name` after `epoch`; after the last when none.
    pub fn at(&self, name: &str, epoch: Option<u64>) -> Option<Spread> {
        self.spread(|run| {
            let (_, values) = match epoch {
                Some(epoch) => run.history.get_key_value(&epoch),
                None => run.history.last_key_value(),
            }?;
            values.get(name).copied()
        })
    }

    /// Every epoch at which something was measured.
    pub fn epochs(&self) -> BTreeSet<u64> {
        self.runs.iter().flat_map(|run| run.history.keys().copied()).collect()
    }

    /// The mean of the value called `name`, times `scale`, against the epoch.
    pub fn curve(&self, name: &str, scale: f64) -> Vec<(f64, f64)> {
        let point = |epoch| Some((epoch as f64, scale * self.at(name, Some(epoch))?.mean));
        self.epochs().into_iter().filter_map(point).collect()
    }

    /// The solid line of the training error (as measured while training, dropout included) and the
    /// dashed one of the validation error, in percent.
    pub fn error_series(&self, colour: usize) -> Vec<Series> {
        [("train", false), ("validation", true)]
            .map(|(part, dashed)| Series {
                name: format!("{} {part}", self.arm.label),
                points: self.curve(&format!("{part}_error"), 100.0),
                dashed,
                colour,
                ..Default::default()
            })
            .into_iter()
            .filter(|series| !series.points.is_empty())
            .collect()
    }

    /// Its runs for `results.json`: final figures and all curves.
    fn numbers(&self) -> impl Iterator<Item = Value> {
        self.runs.iter().map(|run| {
            let names: BTreeSet<&String> = run.history.values().flat_map(|v| v.keys()).collect();
            let column = |name: &String| -> Vec<Option<f64>> {
                run.history.values().map(|values| values.get(name).copied()).collect()
            };
            let mut curves: serde_json::Map<String, Value> =
                names.into_iter().map(|name| (name.clone(), json!(column(name)))).collect();
            curves.insert("epoch".to_string(), json!(run.history.keys().collect::<Vec<_>>()));
            let training = &self.arm.preset.training;
            json!({
                "network": self.arm.network,
                "arm": self.arm.label,
                "preset": self.arm.preset.name,
                "protocol": training.protocol,
                "loss": training.loss,
                "connection_probability": training.connection_probability,
                "learning_rate": training.learning_rate,
                "batch_size": training.batch_size,
                "seed": run.results.seed,
                "epochs": run.results.extras.get("epochs"),
                "test_error": 1.0 - run.results.test_accuracy,
                "seconds": run.results.extras.get("training_seconds"),
                "device": run.results.device,
                "curves": curves,
            })
        })
    }
}

/// All runs for `results.json`.
pub(super) fn numbers(trained: &[Trained]) -> Value {
    json!({ "runs": trained.iter().flat_map(Trained::numbers).collect::<Vec<_>>() })
}

/// A row per arm: final errors, as shares of 1 or in percent.
pub(super) fn summary(trained: &[Trained], percent: bool) -> Result<Table> {
    let (scale, unit) = if percent { (100.0, " %") } else { (1.0, "") };
    let columns = ["test error", "sd", "training error", "validation error"];
    let columns = columns.map(|name| match percent {
        true => format!("{name}{unit}"),
        false => name.replace(' ', "_"),
    });
    let columns = ["network", "arm", "seeds"].map(str::to_string).into_iter().chain(columns);
    let mut table = Table::new(columns.chain(["seconds".to_string()]));
    for one in trained {
        let mean = |spread: Option<Spread>| spread.map(|spread| scale * spread.mean);
        let test = one.test_error();
        let seconds = |run: &Outcome| run.results.extras.get("training_seconds")?.as_f64();
        table.row([
            one.arm.network.as_str().into(),
            one.arm.label.as_str().into(),
            one.runs.len().into(),
            mean(test).into(),
            test.and_then(|test| test.sd).map(|sd| scale * sd).into(),
            mean(one.at("train_error", None)).into(),
            mean(one.at("validation_error", None)).into(),
            one.spread(seconds).map(|spread| spread.mean).into(),
        ])?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_have_folders_of_their_own() -> Result<()> {
        let base = preset("amit-digits")?;
        let all = [BP, BP_H, URFB, FRFB, URFB_50, FRFB_50];
        let slugs: Vec<_> =
            all.iter().map(|&variation| Arm::new("deepernet-s", &base, variation).slug()).collect();
        assert_eq!(slugs[1], "deepernet-s-bp-h");
        assert_eq!(slugs[4], "deepernet-s-urfb-50");
        assert_eq!(slugs.iter().collect::<BTreeSet<_>>().len(), all.len());
        Ok(())
    }
}
