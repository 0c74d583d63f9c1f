//! `hebbian study search`.

use crate::door::{Door, DoorArgs, options, told};
use crate::repeat::{arguments, quoted, repeat};
use anyhow::{Result, bail};
use clap::Args;
use hebbian_train::{Dimension, Plan, Preset, Study, search};
use serde_json::json;

/// The share of the training images that is held out by default.
const VALIDATION: f64 = 0.2;

/// Search for the numbers of a preset.
#[derive(Debug, clap::Parser)]
#[command(allow_negative_numbers = true)]
pub struct SearchArgs<F: Args> {
    #[command(flatten)]
    door: DoorArgs<F>,
    /// What to search, repeatable: PATH=a,b,c draws one of the values; PATH=low..high a number in the range, an integer
    /// if both bounds are integers; PATH=low..high:log one whose logarithm is uniform. PATH leads into the preset, as
    /// training.head_learning_rate or blocks.0.learning.radius
    #[arg(long = "set", value_name = "PATH=VALUES", required = true, help_heading = "Search")]
    space: Vec<Dimension>,
    /// Combinations of values to draw
    #[arg(long, value_name = "COUNT", default_value_t = 20, help_heading = "Search")]
    trials: usize,
    /// Successive halving: all trials begin with few images, and the best one in FACTOR continues with FACTOR times as
    /// many
    #[arg(
        long,
        value_name = "FACTOR",
        num_args = 0..=1,
        default_missing_value = "3",
        help_heading = "Search"
    )]
    halving: Option<usize>,
    /// Seeds that each trial is trained with; their mean counts
    #[arg(long, value_name = "COUNT", default_value_t = 1, help_heading = "Search")]
    repeats: usize,
}

impl<F: Args> SearchArgs<F> {
    /// Runs the search, and returns the report.
    ///
    /// # Errors
    /// Flags that do not fit together, and whatever fails on the way.
    pub(crate) fn run<M: Door<Flags = F>>(self) -> Result<String> {
        let Self { door: DoorArgs { mut common, flags }, space, trials, halving, repeats } = self;
        if common.list || common.load.is_some() || common.save.is_some() {
            bail!("--list, --load and --save are for a single network, not for a search");
        }
        if repeats == 0 {
            bail!("--repeats is 0, expected 1 or more");
        }
        common.hold_out(VALIDATION);
        let base = options::<M>(&common, &flags)?;
        let (device, device_name) = common.device()?;
        let preset = M::preset(&base).heading();
        let data = common.dataset(preset.dataset, common.seed())?;
        common.announce(&M::splits(&base, data.clone()), preset.name);
        let name = format!("search-{}", preset.name);
        let options = common.study_options((None, repeats), device_name);
        let out = common.folder(M::NAME, &name, data.name.as_str());
        let study = Study::new(&options, &device, &out);
        let plan = Plan { trials, halving };
        let more = [
            ("options", serde_json::to_value(&base)?),
            ("trials_drawn", json!(trials)),
            ("halving", json!(halving)),
            ("space", json!(space.iter().map(ToString::to_string).collect::<Vec<_>>())),
        ];
        // Flags that a single network has no use for, or whose values the search has chosen. The preset that the
        // command names has the values of the method's flags, except of those beside the preset.
        let own = [
            "--set",
            "--trials",
            "--halving",
            "--repeats",
            "--parallel",
            "--out",
            "--preset",
            "--validation",
        ];
        let of_method = F::augment_args(clap::Command::new(M::NAME));
        let is_in_preset = |flag: &String| !M::BESIDE_PRESET.contains(&flag.as_str());
        let of_method: Vec<String> =
            of_method.get_arguments().flat_map(names).filter(is_in_preset).collect();
        let without: Vec<&str> =
            own.into_iter().chain(of_method.iter().map(String::as_str)).collect();
        let again = repeat(M::NAME, arguments(), &without);
        let mut chosen = out.file_name().unwrap_or_default().to_os_string();
        chosen.push("-chosen");
        let chosen = out.with_file_name(chosen);
        let again = format!("{again} --out {}", quoted(&chosen.to_string_lossy()));
        let report = study.run(&name, Some(&data), &more, || {
            search::<M>(&study, &base, &space, plan, &data, &again)
        })?;
        Ok(told(&study, &common, Some(&data), report))
    }
}

/// The flags of an argument, such as `--winners` and `-k`.
fn names(argument: &clap::Arg) -> impl Iterator<Item = String> {
    let long = argument.get_long().map(|name| format!("--{name}"));
    long.into_iter().chain(argument.get_short().map(|name| format!("-{name}")))
}
