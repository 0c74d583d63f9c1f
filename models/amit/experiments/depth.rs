//! Error against depth on the mixture task, where fixed feedback falls behind as layers are added.

use super::super::config::{LayerConfig, Preset, Training};
use super::super::learner::{Amit, Learner, Options};
use super::super::mixture::{Mixture, MixtureConfig, Samples};
use super::super::protocol::Protocol;
use super::super::splits::Splits;
use super::arm::{
    BP, BP_H, FRFB, FRFB_50, Runner, Trained, URFB, URFB_50, Variation, arm, numbers,
};
use super::bars::bar_series;
use super::protocols::each;
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_data::transforms::{InputConfig, Pipeline};
use hebbian_train::{About, BarChart, Figure, Method, Result, Spread, Table};
use serde_json::json;

const EPOCHS: usize = 60;
/// The epoch, before the end of training, after which an early error is reported.
const EARLY: u64 = 20;

const fn partial(label: &'static str, rate: f64) -> Variation {
    Variation { label, protocol: Protocol::Partial { rate }, ..URFB }
}

/// Trains networks of 1, 2 and 4 hidden layers. The test set takes the place of the validation set, so
/// that its error is known after every epoch; no choice depends on it.
pub(super) fn draw(runner: &Runner) -> Result<Figure> {
    let mut arms = Vec::new();
    for (depth, more) in [
        (1, vec![]),
        (2, vec![BP, URFB_50, FRFB_50]),
        (4, vec![partial("ε = 0.5", 0.5), partial("ε = 0.25", 0.25)]),
    ] {
        let base = network(depth, runner.study.options.epochs.unwrap_or(EPOCHS));
        let all = [BP_H, URFB, FRFB].into_iter().chain(more);
        arms.extend(all.map(|variation| arm(&depth.to_string(), &base, variation)));
    }
    let splits = splits()?;
    let trained = runner.study.train_by(arms, |arm, how, folder| {
        let Options { preset } = &arm.options;
        let learner =
            Learner::new(preset, splits.clone(), &Rng::new(how.seed), runner.study.device)?;
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
            may_grow: Amit::MAY_GROW,
        };
        let run = hebbian_train::run(&about, learner, runner.study.device, how, folder)?;
        Ok((run.results, run.history))
    })?;

    let early = |one: &Trained| one.at("validation_error", Some(EARLY));
    let mut table = Table::new([
        "hidden_layers",
        "arm",
        "seeds",
        "test_error",
        "sd",
        "test_error_after_20",
        "sd_after_20",
    ]);
    let headings = ["hidden", "arm", "after 20 epochs", "test error %", "W-R correlation"];
    let mut text = Table::new(headings);
    for one in &trained {
        let (network, label) = (one.arm.group.as_str(), one.arm.label.as_str());
        let spreads = [one.test_error(), early(one)];
        let cells = spreads.iter().flat_map(|s| [s.map(|s| s.mean), s.and_then(|s| s.sd)]);
        let row = [network.into(), label.into(), one.runs.len().into()];
        table.row(row.into_iter().chain(cells.map(Into::into)))?;
        text.row([
            network.into(),
            label.into(),
            early(one).map(Spread::percent).into(),
            one.test_error().map(Spread::percent).into(),
            each(one, &one.arm.options.preset.weight_layers(), "correlation", 2).into(),
        ])?;
    }
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: numbers(&trained),
        text: text.to_string(),
        picture: chart(&trained, &runner.study.options.averaged()).draw()?,
    })
}

fn chart(trained: &[Trained], averaged: &str) -> BarChart {
    let depths = ["1", "2", "4"];
    let series = [BP_H, URFB, FRFB].map(|Variation { label, .. }| {
        let of = |depth: &&str| {
            trained.iter().find(|one| one.arm.group == **depth && one.arm.label == label)
        };
        bar_series(label, depths.iter().map(|depth| of(depth)?.test_error()))
    });
    BarChart {
        title: format!("mixture task, {averaged}"),
        y_label: "test error, %".to_string(),
        decimals: 2,
        groups: depths.map(|depth| format!("hidden layers: {depth}")).to_vec(),
        series: series.to_vec(),
    }
}

fn network(depth: usize, epochs: usize) -> Preset {
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
            batch_size: 100,
            epochs,
            validation_images: 0,
            ramp_slope: 0.5,
            connection_probability: None,
            tied: None,
        },
    }
}

/// The task, with values rounded to steps of 1/255. It is the same for all seeds; only the random draws
/// of training differ between them.
fn splits() -> Result<Splits> {
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
