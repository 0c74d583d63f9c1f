//! The flags of Miconi 2021.

use crate::{Asked, CommonArgs, Door, Work};
use anyhow::{Result, bail};
use hebbian_data::Dataset;
use hebbian_models::RuleKind;
use hebbian_models::miconi::{
    self, Decoder, Experiment, Learner, Miconi, Options, Plasticity, Preset, Triangle,
};
use hebbian_train::{Run, Start};
use std::path::Path;

/// Flags of a single run, which an experiment sets itself.
const SINGLE: [&str; 13] = [
    "preset",
    "rule",
    "plasticity",
    "triangle",
    "pruning",
    "winners",
    "freeze",
    "batch_size",
    "learning_rate_factor",
    "standardise_last",
    "load",
    "save",
    "eval_only",
];

/// Flags of Miconi 2021.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Compare networks: a name from --list [default without flags of a single network:
    /// interventions]
    #[arg(long, value_name = "NAME", conflicts_with_all = SINGLE)]
    experiment: Option<Experiment>,
    /// How many seeds an experiment trains each network with, from --seed on [default: 3; with
    /// --dataset other than digits 1]
    #[arg(long, value_name = "N", conflicts_with_all = SINGLE)]
    seeds: Option<usize>,
    /// Read classes out with ridge, svm, logistic or knn [default: ridge]
    #[arg(long, value_name = "NAME")]
    readout: Option<Decoder>,
    /// Learning rule: hebb, instar or oja [default: the preset's]
    #[arg(long)]
    rule: Option<String>,
    /// Activity of winners: binary or graded [default: the preset's]
    #[arg(long)]
    plasticity: Option<Plasticity>,
    /// Pass on triangle responses: always, never, or for features only [default: the preset's]
    #[arg(long)]
    triangle: Option<Triangle>,
    /// Probability of a missing connection, in every layer but the first [default: the preset's]
    #[arg(long, value_name = "P")]
    pruning: Option<f64>,
    /// Number of winners at each position, in every layer [default: the preset's]
    #[arg(short = 'k', long, value_name = "K")]
    winners: Option<usize>,
    /// Learn no weights: the control with random weights
    #[arg(long)]
    freeze: bool,
    /// Images per batch; learning rates are scaled so that a step changes the weights as much
    #[arg(long)]
    batch_size: Option<usize>,
    /// Multiply the learning rate of every layer
    #[arg(long, value_name = "FACTOR")]
    learning_rate_factor: Option<f64>,
    /// Follow the notebook where the default differs from it: ZCA of 9,000 images, flips and adapting thresholds
    /// while features are collected, and more (listed in the model card)
    #[arg(long)]
    author: bool,
    /// Standardise the last layer's output before its quadrants are read out, as in the other layers
    #[arg(long)]
    standardise_last: bool,
    /// Passes over the training images [default: the preset's]
    #[arg(long)]
    epochs: Option<usize>,
}

impl Flags {
    /// Returns the experiment asked for; if there is none, the default one, unless a flag is for a single network.
    fn experiment(&self, common: &CommonArgs) -> Option<Experiment> {
        let Self { rule, plasticity, triangle, pruning, winners, .. } = self;
        let single = common.is_single()
            || [rule.is_some(), plasticity.is_some(), triangle.is_some()].contains(&true)
            || [pruning.is_some(), winners.is_some(), self.batch_size.is_some()].contains(&true)
            || self.learning_rate_factor.is_some()
            || [self.freeze, self.author, self.standardise_last].contains(&true);
        self.experiment.or((!single || self.seeds.is_some()).then_some(Experiment::Interventions))
    }

    fn preset(&self, common: &CommonArgs) -> Result<Preset> {
        let name = common.preset.as_deref().unwrap_or(match common.dataset.as_deref() {
            None | Some("digits") => "miconi-digits",
            _ => "miconi-cifar",
        });
        let mut preset = miconi::preset(name)?;
        let training = &mut preset.training;
        training.rule = match self.rule.as_deref() {
            None => training.rule,
            Some("hebb") => RuleKind::Hebb,
            Some("instar") => RuleKind::Instar,
            Some("oja") => RuleKind::Oja,
            Some(other) => bail!("there is no rule '{other}'; rules are: hebb, instar, oja"),
        };
        training.plasticity = self.plasticity.unwrap_or(training.plasticity);
        training.triangle = self.triangle.unwrap_or(training.triangle);
        training.epochs = self.epochs.unwrap_or(training.epochs);
        let mut factor = self.learning_rate_factor.unwrap_or(1.0);
        if let Some(batch_size) = self.batch_size {
            factor *= training.batch_size as f64 / batch_size.max(1) as f64;
            training.batch_size = batch_size;
        }
        for layer in &mut preset.layers {
            layer.learning_rate *= factor;
            layer.k = self.winners.unwrap_or(layer.k);
            layer.frozen |= self.freeze;
        }
        if let Some(p) = self.pruning {
            if preset.layers.len() == 1 {
                bail!(
                    "--pruning {p}: '{name}' has only a first layer, whose connections all exist"
                );
            }
            preset.prune(p);
        }
        if self.author {
            preset.as_the_author();
        }
        preset.check()?;
        let factor = self.learning_rate_factor.map(|factor| factor.to_string());
        let of_weights = [("--rule", self.rule.clone()), ("--learning-rate-factor", factor)];
        let given = of_weights.into_iter().find_map(|(flag, value)| Some((flag, value?)));
        let are_frozen = preset.layers.iter().all(|layer| layer.frozen);
        if let (true, Some((flag, value))) = (are_frozen, given) {
            bail!("{flag} {value}: no weights are learned where all layers are frozen (--freeze)");
        }
        Ok(preset)
    }
}

impl Door for Miconi {
    const ABOUT: &'static str = "Miconi 2021: Hebbian convolutional networks by gradients";
    const EXPERIMENTS: &'static [(&'static str, &'static str)] = Experiment::LIST;
    const NUMBERS: &'static [&'static str] =
        &["active", "least_win_rate", "fourth_power", "features"];
    const BESIDE_PRESET: &'static [&'static str] = &["--readout", "--standardise-last"];
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags, run: Option<&Options>) -> Result<Options> {
        Ok(Options {
            preset: flags.preset(common)?,
            decoder: flags.readout.or(run.map(|run| run.decoder)).unwrap_or_default(),
            standardise_last: flags.standardise_last || run.is_some_and(|run| run.standardise_last),
        })
    }

    fn study(common: &CommonArgs, flags: &Flags) -> Result<Option<Asked>> {
        let Some(experiment) = flags.experiment(common) else { return Ok(None) };
        let (decoder, author) = (flags.readout.unwrap_or_default(), flags.author);
        Ok(Some(Asked {
            name: experiment.name(),
            epochs: flags.epochs,
            seeds: flags.seeds.unwrap_or(if common.on_digits() { 3 } else { 1 }),
            as_stated: flags.readout.is_none() && !author,
            swapped: None,
            next: "--list for networks and experiments, --preset miconi-digits for one run",
            work: Work::OnImages(Box::new(move |study, data| {
                Ok(experiment.run(study, data, decoder, author)?)
            })),
        }))
    }

    /// Evaluates how well classes are read out of every layer, by read-outs that are fitted again as the flags say.
    fn evaluate(
        options: &Options,
        checkpoint: &Path,
        data: &Dataset,
        start: &Start,
    ) -> Result<String> {
        let decoding = miconi::evaluate(options, checkpoint, data, start)?;
        let table = miconi::decoding_table(&decoding, &options.preset)?;
        Ok(format!("test accuracy {:.2} %\n\n{table}", 100.0 * decoding.output))
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        let preset = hebbian_train::Learner::model(&run.learner).network().preset();
        Ok(miconi::report(&run.results, &run.history, preset, out)?)
    }
}
