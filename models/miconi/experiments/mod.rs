//! Networks trained side by side: the paper's comparisons, and controls that explain the results.

mod arm;

use super::config::{Plasticity, Preset, Triangle};
use super::decoder::Decoder;
use super::learner::Miconi;
use super::options::Options;
use super::presets::preset;
use crate::RuleKind;
use hebbian_data::Dataset;
use hebbian_train::{Arm, Figure, Result, Study, Trained, experiments};
use serde_json::json;

experiments! {
    /// A comparison of networks.
    pub enum Experiment {
        /// Without and with triangle responses, without and with pruning. Tests the paper's claim that
        /// information falls from layer to layer without them and rises with both.
        Interventions: "interventions", "plain, triangle, pruning, both: by layer";
        /// Both interventions, with different probabilities of a missing connection.
        Pruning: "pruning", "both, with more and fewer connections: by layer";
        /// Learned weights compared with random weights with the same masks, with and without thresholds
        /// that adapt to the random weights; and triangle responses for read-outs only.
        Controls: "controls", "learned and random weights, triangle when: by layer";
        /// The three rules, with binary and with graded winners.
        Rules: "rules", "hebb, instar, oja, binary and graded: by layer";
    }
}

impl Experiment {
    /// Runs the experiment and writes the study's folder: `table.csv`, `results.json`, `figure.png`, and a
    /// run folder for each network and seed. Returns a report for the terminal. If `author`, every network
    /// is set up [like the author's](Preset::as_the_author).
    ///
    /// # Errors
    /// If [`Study::run`] or [`hebbian_train::train`] fails.
    pub fn run(
        self,
        study: &Study,
        data: &Dataset,
        decoder: Decoder,
        author: bool,
    ) -> Result<String> {
        let more = [("decoder", json!(decoder)), ("author", json!(author.then_some(true)))];
        study.run(self.name(), Some(data), &more, || {
            let arms = self.arms(&self.network(study, author, data)?, decoder);
            let title = format!("{}, {}, {}", self.name(), data.name, study.options.averaged());
            figure(&study.train::<Miconi>(arms, data)?, &title)
        })
    }

    /// The preset for the data: `miconi-digits` for the digits, otherwise `miconi-cifar`.
    fn network(self, study: &Study, author: bool, data: &Dataset) -> Result<Preset> {
        let name = if data.name == "digits" { "miconi-digits" } else { "miconi-cifar" };
        let mut preset = preset(name)?;
        preset.training.epochs = study.options.epochs.unwrap_or(preset.training.epochs);
        if author {
            preset.as_the_author();
        }
        Ok(preset)
    }

    fn arms(self, both: &Preset, decoder: Decoder) -> Vec<Arm<Options>> {
        let arm = |label: &str, change: &dyn Fn(&mut Preset)| {
            let mut preset = both.clone();
            change(&mut preset);
            let options = Options { preset, decoder, standardise_last: false };
            Arm { group: String::new(), label: label.to_string(), options }
        };
        let freeze = |preset: &mut Preset| {
            preset.layers.iter_mut().for_each(|layer| layer.frozen = true);
        };
        match self {
            Self::Interventions => vec![
                arm("plain", &|preset| {
                    preset.training.triangle = Triangle::Never;
                    preset.prune(0.0);
                }),
                arm("triangle", &|preset| preset.prune(0.0)),
                arm("pruning", &|preset| preset.training.triangle = Triangle::Never),
                arm("both", &|_| ()),
            ],
            Self::Pruning => [0.0, 0.5, 0.9, 0.95, 0.98, 0.99, 0.999]
                .into_iter()
                .map(|p| arm(&format!("p = {p}"), &|preset| preset.prune(p)))
                .collect(),
            Self::Controls => vec![
                arm("learned", &|_| ()),
                arm("triangle for read-outs", &|preset| {
                    preset.training.triangle = Triangle::Features;
                }),
                arm("random, thresholds", &freeze),
                arm("random", &|preset| {
                    freeze(preset);
                    preset.layers.iter_mut().for_each(|layer| layer.threshold_rate = 0.0);
                }),
            ],
            Self::Rules => [RuleKind::Hebb, RuleKind::Instar, RuleKind::Oja]
                .into_iter()
                .flat_map(|rule| {
                    let winners = [("binary", Plasticity::Binary), ("graded", Plasticity::Graded)];
                    winners.map(|(name, plasticity)| (rule, name, plasticity))
                })
                .map(|(rule, name, plasticity)| {
                    arm(&format!("{} {name}", rule.name()), &|preset| {
                        preset.training.rule = rule;
                        preset.training.plasticity = plasticity;
                    })
                })
                .collect(),
        }
    }
}

fn figure(trained: &[Trained<Options>], title: &str) -> Result<Figure> {
    Ok(Figure {
        table: arm::points(trained)?,
        more_tables: Vec::new(),
        numbers: arm::numbers(trained)?,
        text: arm::summary(trained)?,
        picture: arm::chart(trained, title).draw()?,
    })
}
