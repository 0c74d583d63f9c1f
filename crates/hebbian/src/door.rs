//! A method as a program.

use crate::asked::{Asked, Work};
use crate::common::CommonArgs;
use crate::folded::folded;
use crate::report::{self, legend, write_study};
use anyhow::{Result, bail};
use candle::Device;
use candle_hebbian::Rng;
use clap::{Args, CommandFactory, Parser};
use hebbian_data::Dataset;
use hebbian_train::{
    Checkpoint, Job, Learner, Method, Model, Preset, Progress, Run, Start, Study, evaluate, list,
    measured_on, records, train, with_input,
};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A method's own flags, and what it prints.
pub trait Door: Method + Sized {
    /// One line for `--help`.
    const ABOUT: &'static str;

    /// Flags to try after a run; may be empty.
    const NEXT: &'static str = "";

    /// Its experiments, with a line of description each.
    const EXPERIMENTS: &'static [(&'static str, &'static str)] = &[];

    /// Whether its networks learn in steps: if they do, the report of a run without steps says that nothing was
    /// learned.
    const STEPS: bool = true;

    /// The numbers on its layers, training and read-outs that the terminal shows, by their names in the glossary of
    /// reports; `--help` explains them.
    const NUMBERS: &'static [&'static str] = &[];

    /// The flags whose values are beside the preset in a configuration.
    const BESIDE_PRESET: &'static [&'static str] = &[];

    /// The method's own flags.
    type Flags: Args + std::fmt::Debug;

    /// Returns the options that the flags choose. What is [beside the preset](Self::BESIDE_PRESET) and no flag says is
    /// that of `run`, the options of the run that the preset is taken from, if it is evaluated.
    ///
    /// # Errors
    /// An unknown preset, or flags that do not fit it.
    fn options(
        common: &CommonArgs,
        flags: &Self::Flags,
        run: Option<&Self::Options>,
    ) -> Result<Self::Options>;

    /// Returns the experiment that the flags ask for, if any. Most methods have none.
    ///
    /// # Errors
    /// Flags that do not fit the experiment.
    fn study(_common: &CommonArgs, _flags: &Self::Flags) -> Result<Option<Asked>> {
        Ok(None)
    }

    /// Evaluates a checkpoint on the test images, and returns the result for the terminal. Nothing is written.
    ///
    /// # Errors
    /// A checkpoint of another network, or one that holds NaN or infinities.
    fn evaluate(
        options: &Self::Options,
        checkpoint: &Path,
        data: &Dataset,
        start: &Start,
    ) -> Result<String> {
        let used = Self::splits(options, data.clone());
        let data = &with_input::<Self>(options, &used, start, Some(checkpoint))?;
        let (classes, device) = (data.class_names.len(), &start.device);
        let mut model = Self::model(options, data.test.shape(), classes, device)?;
        model.restore(&mut Checkpoint::load(checkpoint, device)?)?;
        let mut progress = Progress::new(data.test.len() as u64, "test", start.quiet);
        let found = evaluate(&model, &data.test, classes, device, &mut progress)?;
        progress.finish();
        Ok(format!("test accuracy {:.2} %\n", 100.0 * found.accuracy))
    }

    /// Returns the report on a run, for the terminal.
    ///
    /// # Errors
    /// Results of another version.
    fn report(run: &Run<Self::Learner>, out: &Path) -> Result<String>;
}

/// The flags of a method's program.
#[derive(Debug, clap::Parser)]
#[command(version = crate::VERSION, allow_negative_numbers = true)]
pub struct DoorArgs<F: Args> {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten, next_help_heading = "Options of the method")]
    pub(crate) flags: F,
}

/// Returns the last line of a program's output: the one thing to open.
fn opens(path: &Path) -> String {
    format!("open {}\n", path.display())
}

/// Returns the same line for a run or a study: `written` is the path of its report. If there is none, the run is
/// still complete, and the line names the folder `out`.
fn opens_report(common: &CommonArgs, out: &Path, written: Result<PathBuf>) -> String {
    let open = written.unwrap_or_else(|error| {
        common.tell(&format!("no report: {error:#}"));
        out.to_path_buf()
    });
    opens(&open)
}

/// Returns what a study prints at its end: its report, and the page that shows it.
pub(crate) fn told(
    study: &Study,
    common: &CommonArgs,
    data: Option<&Dataset>,
    report: String,
) -> String {
    let page = write_study(study.out, data, study.device);
    report + &opens_report(common, study.out, page)
}

/// Lists the presets and experiments of a method, folded to the width of a terminal.
///
/// # Errors
/// An embedded preset that is wrong.
pub(crate) fn list_of<M: Door>() -> Result<String> {
    Ok(folded(list::<M::Preset>(M::EXPERIMENTS)?))
}

/// Returns the options that the flags choose, including the transforms of what the network sees.
pub(crate) fn options<M: Door>(common: &CommonArgs, flags: &M::Flags) -> Result<M::Options> {
    let mut options = M::options(common, flags, None)?;
    common.transforms.put_into(M::preset_mut(&mut options).input_mut());
    Ok(options)
}

/// Returns the options to evaluate a checkpoint with. If it is a run of the method, they are the run's, changed by the
/// flags; of a preset that is named, too, the network sees images as it saw them in the run.
fn evaluated<M: Door>(common: &mut CommonArgs, flags: &M::Flags) -> Result<M::Options> {
    let Some(config) = common.loaded()?.filter(|config| config["method"] == M::NAME) else {
        return options::<M>(common, flags);
    };
    let run: M::Options = serde_json::from_value(config["options"].clone())?;
    let mut options = match common.preset {
        Some(_) => M::options(common, flags, None)?,
        None => {
            common.preset = common.loaded_file().map(|file| file.to_string_lossy().into_owned());
            M::options(common, flags, Some(&run))?
        }
    };
    let input = M::preset_mut(&mut options).input_mut();
    *input = M::preset(&run).input().clone();
    common.transforms.put_into(input);
    Ok(options)
}

/// Returns the result to expect of a run with these options, if a command of the record has the same options.
fn expected<M: Door>(common: &CommonArgs, options: &M::Options) -> Result<Option<String>> {
    let heading = M::preset(options).heading();
    let dataset = match (&common.dataset, &common.data_dir) {
        (Some(name), _) => name,
        (None, None) => heading.dataset,
        // The record has no images of a folder without a name.
        (None, Some(_)) => return Ok(None),
    };
    let wanted = serde_json::to_value(options)?;
    for job in records::<M::Preset>()?.iter().flat_map(|record| &record.jobs) {
        if !job.is_of(heading.name) || job.dataset.as_deref() != Some(dataset) {
            continue;
        }
        // Without `train` or `study`: a method's own program has no subcommands, and the method's name is that of
        // the program.
        let words = job.arguments(M::NAME).into_iter().skip(1);
        let Ok(args) = DoorArgs::<M::Flags>::try_parse_from(words) else { continue };
        let same = args.common.is_whole()
            && serde_json::to_value(self::options::<M>(&args.common, &args.flags)?)? == wanted;
        if same {
            return Ok(Job::expected(job));
        }
    }
    Ok(None)
}

/// Runs the program of a method; the `main` of its example calls this.
pub fn door<M: Door>() -> ExitCode {
    let command = DoorArgs::<M::Flags>::command().name(M::NAME).about(M::ABOUT);
    let command = command.after_long_help(legend(M::NUMBERS));
    crate::main_as(command, |args: DoorArgs<M::Flags>| args.run::<M>())
}

impl<F: Args> DoorArgs<F> {
    /// Does what [`run`](Self::run) does; if the command is to run a `study`, flags that ask for no experiment are
    /// an error.
    pub(crate) fn run_as<M: Door<Flags = F>>(mut self, study: bool) -> Result<String> {
        match study && !self.common.list {
            true if M::EXPERIMENTS.is_empty() => Err(anyhow::anyhow!(
                "{0} has no experiments: use hebbian train {0}, or hebbian study search {0}",
                M::NAME
            )),
            true => self.study::<M>()?.ok_or_else(|| {
                anyhow::anyhow!(
                    "no experiment is named: choose one with --experiment (hebbian list {0}), or use hebbian \
                     train {0} for a single network",
                    M::NAME
                )
            }),
            false => self.run::<M>(),
        }
    }

    /// Runs the experiment that the flags ask for, if any.
    fn study<M: Door<Flags = F>>(&mut self) -> Result<Option<String>> {
        let Some(asked) = M::study(&self.common, &self.flags)? else { return Ok(None) };
        if asked.swapped.is_some() {
            self.common.data.selection = self.common.data.selection.clone().swapped();
        }
        let device = self.common.device()?;
        match &asked.work {
            Work::OnImages(work) => {
                let data = self.common.dataset("digits", self.common.seed())?;
                let used = match asked.swapped {
                    Some(count) => data.clone().swapped(count),
                    None => data.clone(),
                };
                self.common.announce(&used, asked.name);
                self.study_of::<M>(&asked, Some(&data), device, |study| work(study, &data))
            }
            Work::OnItsOwn(work) => self.study_of::<M>(&asked, None, device, work),
        }
        .map(Some)
    }

    /// Runs the experiment on `data`, if it needs any, and on a device, which is given with its name.
    fn study_of<M: Door<Flags = F>>(
        &self,
        asked: &Asked,
        data: Option<&Dataset>,
        (device, device_name): (Device, &str),
        work: impl Fn(&Study) -> Result<String>,
    ) -> Result<String> {
        let common = &self.common;
        let (options, out) = common.study::<M>(asked, data, device_name)?;
        let study = Study::new(&options, &device, &out);
        let mut report = work(&study)?;
        if !asked.next.is_empty() {
            let _ = writeln!(report, "next: {}", asked.next);
        }
        Ok(told(&study, common, data, report))
    }

    /// Lists, evaluates, studies or trains, as the flags say; returns the report.
    ///
    /// # Errors
    /// Flags that do not fit together, and whatever fails on the way.
    pub fn run<M: Door<Flags = F>>(mut self) -> Result<String> {
        if self.common.list {
            return list_of::<M>();
        }
        self.common.take_over()?;
        if let Some(report) = self.study::<M>()? {
            return Ok(report);
        }
        let Self { mut common, flags } = self;
        if common.parallel.is_some() {
            bail!(
                "--parallel is for the networks of an experiment or a search: one network uses all cores"
            );
        }
        let options = match common.eval_only {
            true => evaluated::<M>(&mut common, &flags)?,
            false => options::<M>(&common, &flags)?,
        };
        if M::is_swapped(&options) {
            common.data.selection = common.data.selection.clone().swapped();
        }
        let (device, run) = common.run(M::NAME)?;
        let expected = match common.is_whole() {
            true => expected::<M>(&common, &options)?,
            false => None,
        };
        let preset = M::preset(&options).heading();
        let data = common.dataset(preset.dataset, common.seed())?;
        common.announce(&M::splits(&options, data.clone()), preset.name);
        if let (true, Some(path)) = (common.eval_only, &common.load) {
            let config = common.loaded()?.unwrap_or_default();
            let data = match serde_json::from_value::<Vec<String>>(config["class_names"].clone()) {
                Ok(class_names) => data.with_class_names(&class_names)?,
                Err(_) => data,
            };
            let start = Start { rng: Rng::new(common.seed()), device, quiet: common.quiet };
            let measured = measured_on(common.validation, common.labelled);
            return Ok(measured + &M::evaluate(&options, path, &data, &start)?);
        }
        let dataset = data.name.as_str();
        common.tell_expected(expected);
        let out = common.folder(M::NAME, preset.name, dataset);
        common.check_out(&out)?;
        common.check_other(&out, &serde_json::to_value(&options)?, &data, &run)?;
        let run = train::<M>(&options, &data, &device, &run, &out)?;
        let mut report = measured_on(common.validation, common.labelled) + &M::report(&run, &out)?;
        if M::STEPS && run.learner.clock().steps == 0 && run.learner.total().steps == 0 {
            let weights = if common.load.is_some() { "those of --load" } else { "random" };
            let _ = writeln!(report, "nothing was learned: the weights are {weights}");
        }
        if !M::NEXT.is_empty() {
            let _ = writeln!(report, "next: {}", M::NEXT);
        }
        Ok(report + &opens_report(&common, &out, report::write(&out, &data, &device)))
    }
}
