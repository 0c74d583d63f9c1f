//! Networks trained side by side, each with several seeds.

use super::super::config::{LayerConfig, Loss, Preset, Tied, Training};
use super::super::learner::{Amit, Options};
use super::super::presets::preset;
use super::super::protocol::Protocol;
use hebbian_data::Dataset;
use hebbian_train::{Error, Result, Series, Spread, Study, Table};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;

/// The note on how the presets for larger images are trained on the digits.
pub(super) const DIGITS: &str = "on the digits networks are trained without dropout, with other batches, rate and epochs; for \
     the paper's, --dataset cifar10\n";
/// Images per step on the digits, of which there are too few for the presets' 500: with 10, an epoch
/// has 130 steps instead of 3.
const DIGITS_BATCH: usize = 10;
/// Epochs and `η` of each network on the digits, tied or not, chosen so that the network learns and a
/// figure takes minutes on two cores. With the presets' `η` of 0.1 and dropout, the deeper networks take
/// several times as long to start learning; with 0.3, back-propagation of cross-entropy fails on deepernet.
const DIGITS_RECIPES: [(&str, usize, f64); 4] =
    [("simpnet", 15, 0.1), ("deepnet", 70, 0.2), ("deepernet", 15, 0.2), ("deepernet-s", 15, 0.2)];

/// On the digits, untied networks and thinned ones learn for this many times the epochs: with fewer they have hardly
/// begun.
const SLOW_ON_DIGITS: usize = 4;

/// The changes that an arm of an experiment makes to a preset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variation {
    /// Its name in the figure.
    pub label: &'static str,
    pub protocol: Protocol,
    pub loss: Loss,
    /// The share of connections.
    pub connections: Option<f64>,
    /// `λ`
    pub weight_decay: f64,
}

const HINGE: Loss = Loss::Hinge { mu: None };
const fn hinge(label: &'static str, protocol: Protocol, connections: Option<f64>) -> Variation {
    Variation { label, protocol, loss: HINGE, connections, weight_decay: 0.0 }
}

/// Back-propagation of softmax cross-entropy.
pub(super) const BP: Variation = Variation {
    label: "BP",
    protocol: Protocol::Backprop,
    loss: Loss::Softmax {},
    connections: None,
    weight_decay: 0.0,
};
/// Back-propagation of the hinge loss.
pub(super) const BP_H: Variation = hinge("BP-H", Protocol::Backprop, None);
pub(super) const URFB: Variation = hinge("URFB", Protocol::Urfb, None);
pub(super) const FRFB: Variation = hinge("FRFB", Protocol::Frfb, None);
pub(super) const URFB_50: Variation = hinge("URFB 50 %", Protocol::Urfb, Some(0.5));
pub(super) const FRFB_50: Variation = hinge("FRFB 50 %", Protocol::Frfb, Some(0.5));

/// A network with one way of learning.
pub(super) type Arm = hebbian_train::Arm<Options>;
/// An arm with its runs, one per seed.
pub(super) type Trained = hebbian_train::Trained<Options>;

/// The network `base` with a variation.
pub(super) fn arm(network: &str, base: &Preset, variation: Variation) -> Arm {
    let mut preset = base.clone();
    preset.training.protocol = variation.protocol;
    preset.training.loss = variation.loss;
    preset.training.connection_probability = variation.connections;
    preset.training.weight_decay = variation.weight_decay;
    Arm {
        group: network.to_string(),
        label: variation.label.to_string(),
        options: Options { preset },
    }
}

/// Trains arms.
pub(super) struct Runner<'a> {
    pub study: &'a Study<'a>,
    pub data: Option<&'a Dataset>,
}

impl Runner<'_> {
    /// The images; experiments that need them always have them.
    fn images(&self) -> Result<&Dataset> {
        self.data.ok_or_else(|| Error::Argument("there is no data set".to_string()))
    }

    /// The title of a chart: what it shows, for which data set and how many seeds.
    pub fn title(&self, what: &str) -> Result<String> {
        Ok(format!("{what}{}, {}", self.images()?.name, self.study.options.averaged()))
    }

    /// The preset `amit-NETWORK` as it is trained here: with the requested number of epochs, and on the
    /// digits as [`DIGITS`] says. A tied part of training gets at most a tenth of the epochs.
    pub fn network(&self, network: &str) -> Result<Preset> {
        let mut preset = preset(&format!("amit-{network}"))?;
        let training = &mut preset.training;
        if self.images()?.name == "digits" && preset.dataset != "digits" {
            let name = network.strip_suffix("-untied").unwrap_or(network);
            if let Some((_, epochs, rate)) = DIGITS_RECIPES.iter().find(|recipe| recipe.0 == name) {
                let slow = if name == network { 1 } else { SLOW_ON_DIGITS };
                (training.epochs, training.learning_rate) = (slow * epochs, *rate);
            }
            training.batch_size = DIGITS_BATCH;
            training.tied = training.tied.map(|tied| Tied { batch_size: DIGITS_BATCH, ..tied });
            preset.layers.retain(|layer| !matches!(layer, LayerConfig::Dropout { .. }));
        }
        training.epochs = self.study.options.epochs.unwrap_or(training.epochs);
        if let Some(tied) = &mut training.tied {
            let (all, given) = (tied.epochs, self.study.options.epochs.is_some());
            tied.epochs = all.min(training.epochs.div_ceil(10));
            if given && tied.epochs < all && !self.study.options.quiet {
                let _ = writeln!(
                    std::io::stderr(),
                    "{network}: {} of {} epochs with tied weights, where the preset has {all}",
                    tied.epochs,
                    training.epochs
                );
            }
        }
        Ok(preset)
    }

    /// The network `base` with a variation. A thinned network learns longer on the digits, and elsewhere [as the
    /// author's did](train_as_the_author).
    pub fn arm(&self, network: &str, base: &Preset, variation: Variation) -> Result<Arm> {
        let mut arm = arm(network, base, variation);
        let training = &mut arm.options.preset.training;
        let given = self.study.options.epochs.is_some();
        match (variation.connections, self.images()?.name == "digits") {
            (None, _) => (),
            (Some(_), false) => train_as_the_author(network, training, given),
            (Some(_), true) if given || network.ends_with("-untied") => (),
            (Some(_), true) => training.epochs *= SLOW_ON_DIGITS,
        }
        Ok(arm)
    }

    /// Trains the arms on the images.
    pub fn train(&self, arms: Vec<Arm>) -> Result<Vec<Trained>> {
        self.study.train::<Amit>(arms, self.images()?)
    }
}

/// Lets a thinned network learn as the author's did, on CIFAR-10 too: with `μ = 10` unless it is untied, and the
/// smaller networks with twice the epochs (2,000 instead of 1,000), unless the number of epochs is given.
fn train_as_the_author(network: &str, training: &mut Training, epochs_are_given: bool) {
    if network.ends_with("-untied") {
        return;
    }
    training.loss = Loss::Hinge { mu: Some(10.0) };
    if !epochs_are_given && !network.starts_with("deepernet") {
        training.epochs *= 2;
    }
}

/// The smallest error that is drawn, in percent: the axis is logarithmic.
const LEAST: f64 = 0.1;

/// A solid line for the training error (as measured during training, with dropout), a dashed line for the
/// validation error, and a dot for the final test error, all in percent.
pub(super) fn error_series(one: &Trained, colour: usize) -> Vec<Series> {
    // The dot lies to the right of the curves and apart from the dots of other arms, which would hide it.
    let beside = 1.02 + 0.02 * colour as f64;
    let last = one.epochs().last().map(|&epoch| beside * epoch as f64);
    let test = last.and_then(|at| Some((at, one.test_error()?)));
    [
        ("train", one.curve("train_error")),
        ("validation", one.curve("validation_error")),
        ("test", Vec::from_iter(test)),
    ]
    .into_iter()
    .filter(|(_, errors)| !errors.is_empty())
    .map(|(part, errors)| {
        let percent = errors.into_iter().map(|(epoch, error)| (epoch, error.times(100.0)));
        let drawn = percent.filter(|(_, error)| error.mean >= LEAST);
        let (dashed, dots) = (part == "validation", part == "test");
        let name = format!("{} {part}", one.arm.label);
        let mut series = Series { dashed, dots, colour, ..Series::of_means(&name, drawn) };
        series.band.iter_mut().for_each(|(_, low, _)| *low = low.max(LEAST));
        series
    })
    .collect()
}

/// The runs of an arm for `results.json`: final figures and all curves.
fn runs(one: &Trained) -> impl Iterator<Item = Value> {
    one.runs.iter().map(|run| {
        let (epochs, history): (Vec<f64>, Vec<_>) = run.history.by_epoch().unzip();
        let names: BTreeSet<&String> = history.iter().flat_map(|values| values.keys()).collect();
        let column = |name: &String| -> Vec<Option<f64>> {
            history.iter().map(|values| values.get(name).copied()).collect()
        };
        let mut curves: serde_json::Map<String, Value> =
            names.into_iter().map(|name| (name.clone(), json!(column(name)))).collect();
        curves.insert("epoch".to_string(), json!(epochs));
        let preset = &one.arm.options.preset;
        json!({
            "network": one.arm.group,
            "arm": one.arm.label,
            "preset": preset.name,
            "protocol": preset.training.protocol,
            "loss": preset.training.loss,
            "connection_probability": preset.training.connection_probability,
            "learning_rate": preset.training.learning_rate,
            "weight_decay": preset.training.weight_decay,
            "batch_size": preset.training.batch_size,
            "seed": run.results.seed,
            "epochs": run.results.training_epochs,
            "test_error": 1.0 - run.results.test_accuracy,
            "seconds": run.results.training_seconds,
            "device": run.results.device,
            "curves": curves,
        })
    })
}

/// All runs for `results.json`.
pub(super) fn numbers(trained: &[Trained]) -> Value {
    json!({ "runs": trained.iter().flat_map(runs).collect::<Vec<_>>() })
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
        table.row([
            one.arm.group.as_str().into(),
            one.arm.label.as_str().into(),
            one.runs.len().into(),
            mean(test).into(),
            test.and_then(|test| test.sd).map(|sd| scale * sd).into(),
            mean(one.at("train_error", None)).into(),
            mean(one.at("validation_error", None)).into(),
            one.spread(|run| Some(run.results.training_seconds)).map(|spread| spread.mean).into(),
        ])?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The author's logs: simpnet with half of the connections learned for 2,000 epochs with `μ = 10`, deepernet for
    /// 1,000; untied networks have the loss of their preset.
    #[test]
    fn thinned_networks_learn_as_the_author_s() {
        let trained = |network: &str, given: bool| {
            let mut training = preset(&format!("amit-{network}")).unwrap().training;
            assert_eq!(training.epochs, 1000, "{network}");
            let before = training.loss;
            train_as_the_author(network, &mut training, given);
            (training.epochs, training.loss == before, training.loss)
        };
        let mu = Loss::Hinge { mu: Some(10.0) };
        assert_eq!(trained("simpnet", false), (2000, false, mu));
        assert_eq!(trained("simpnet", true), (1000, false, mu));
        assert_eq!(trained("deepernet", false), (1000, false, mu));
        let (epochs, same, _) = trained("simpnet-untied", false);
        assert_eq!((epochs, same), (1000, true));
    }
}
