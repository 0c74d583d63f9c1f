//! The flags of Amit 2019.

use crate::selection::Selection;
use crate::{Asked, CommonArgs, Door, Work};
use anyhow::{Result, bail};
use hebbian_models::amit::{
    self, Amit, Experiment, Learner, Loss, Options, Preset, Protocol, Tied,
};
use hebbian_train::Run;
use std::path::Path;

/// Flags of a single run, which an experiment sets itself.
const SINGLE: [&str; 10] = [
    "preset",
    "protocol",
    "loss",
    "connection_probability",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "load",
    "save",
    "eval_only",
];

/// Flags of Amit 2019.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// Repeat a figure: a name from --list [default without flags of a single network: protocols]
    #[arg(long, value_name = "NAME", conflicts_with_all = SINGLE)]
    experiment: Option<Experiment>,
    /// How many seeds an experiment trains each network with, from --seed on [default: 3; with
    /// --dataset other than digits 1]
    #[arg(long, value_name = "N", conflicts_with_all = SINGLE)]
    seeds: Option<usize>,
    /// How the error returns to lower layers: bp, urfb, frfb (or fa), partial:RATE, identical, kp, wm (or
    /// wm:RATE), dfa, usf, brsf, frsf [default: the preset's]
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Loss of the class layer: hinge or softmax [default: the preset's]
    #[arg(long)]
    loss: Option<String>,
    /// Keep each connection with this probability, except those of the class layer [default: the preset's]
    #[arg(long, value_name = "P")]
    connection_probability: Option<f64>,
    /// Passes over the training images, after those before layers are untied; 0 only measures the initial network. In
    /// an experiment, layers that are untied later train tied for at most a tenth of these epochs first [default: the
    /// preset's]
    #[arg(long)]
    epochs: Option<usize>,
    /// Images per step, once layers are untied [default: the preset's]
    #[arg(long)]
    batch_size: Option<usize>,
    /// Learning rate of gradient descent, once layers are untied [default: the preset's]
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Decay of the weights, and of the feedback weights of kp, which needs one [default: the preset's]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
}

impl Flags {
    /// Returns the experiment asked for; if there is none, the default one, unless a flag is for a single network.
    fn experiment(&self, common: &CommonArgs) -> Option<Experiment> {
        let Self { protocol, loss, connection_probability: p, batch_size, .. } = self;
        let single = common.is_single()
            || (protocol.is_some() || p.is_some() || batch_size.is_some())
            || (loss.is_some() || self.learning_rate.is_some() || self.weight_decay.is_some());
        self.experiment.or((!single || self.seeds.is_some()).then_some(Experiment::Protocols))
    }

    fn preset(&self, common: &CommonArgs) -> Result<Preset> {
        let name = common.preset.as_deref().unwrap_or(match common.dataset.as_deref() {
            None | Some("digits") => "amit-digits",
            _ => "amit-simpnet",
        });
        let mut preset = amit::preset(name)?;
        let training = &mut preset.training;
        training.protocol = self.protocol.unwrap_or(training.protocol);
        training.loss = match (self.loss.as_deref(), training.loss) {
            (None, loss) | (Some("hinge"), loss @ Loss::Hinge { .. }) => loss,
            (Some("hinge"), _) => Loss::Hinge { mu: None },
            (Some("softmax"), _) => Loss::Softmax {},
            (Some(other), _) => bail!("there is no loss '{other}'; losses are: hinge, softmax"),
        };
        training.connection_probability =
            self.connection_probability.or(training.connection_probability);
        training.epochs = self.epochs.unwrap_or(training.epochs);
        if self.epochs == Some(0) {
            training.tied = training.tied.map(|tied| Tied { epochs: 0, ..tied });
        }
        training.batch_size = self.batch_size.unwrap_or(training.batch_size);
        training.learning_rate = self.learning_rate.unwrap_or(training.learning_rate);
        training.weight_decay = self.weight_decay.unwrap_or(training.weight_decay);
        preset.check()?;
        Ok(preset)
    }
}

impl Door for Amit {
    const ABOUT: &'static str =
        "Amit 2019: deep networks with asymmetric feedback and Hebbian updates";
    const NEXT: &'static str =
        "--protocol bp, frfb or partial:0.5 to compare, --experiment fig5, --list";
    const EXPERIMENTS: &'static [(&'static str, &'static str)] = Experiment::LIST;
    const NUMBERS: &'static [&'static str] = &[
        "error",
        "correlation",
        "weight_angle",
        "weight_norm_ratio",
        "same_sign",
        "angle",
        "norm_ratio",
        "error_norm",
        "update_angle",
    ];
    type Flags = Flags;

    fn options(common: &CommonArgs, flags: &Flags, _: Option<&Options>) -> Result<Options> {
        Ok(Options { preset: flags.preset(common)? })
    }

    fn study(common: &CommonArgs, flags: &Flags) -> Result<Option<Asked>> {
        let Some(experiment) = flags.experiment(common) else { return Ok(None) };
        let chosen = common.selection != Selection::default()
            || common.validation.is_some()
            || common.labelled.is_some();
        let images = common.dataset.is_some() || common.data_dir.is_some();
        if !experiment.needs_images() && (chosen || images) {
            bail!(
                "{} makes its own data: leave out --dataset, --data-dir, --validation, --labelled and the flags that \
                 choose images, as --limit-train or --image-size",
                experiment.name()
            );
        }
        Ok(Some(Asked {
            name: experiment.name(),
            epochs: flags.epochs,
            seeds: flags.seeds.unwrap_or(if common.on_digits() { 3 } else { 1 }),
            as_stated: true,
            swapped: None,
            next: match experiment {
                Experiment::Protocols => {
                    "--list for the paper's figures and networks, --protocol urfb for one run"
                }
                _ => "",
            },
            work: match experiment.needs_images() {
                true => Work::OnImages(Box::new(move |study, data| {
                    Ok(experiment.run(study, Some(data))?)
                })),
                false => Work::OnItsOwn(Box::new(move |study| Ok(experiment.run(study, None)?))),
            },
        }))
    }

    fn report(run: &Run<Learner>, out: &Path) -> Result<String> {
        Ok(amit::report(run, out)?)
    }
}
