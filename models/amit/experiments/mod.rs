//! The paper's figures, each as one experiment: networks trained side by side, a table, a picture.

mod arm;
mod bars;
mod correlations;
mod curves;
mod depth;
mod filters;
mod linear;
mod protocols;

use crate::error::{Error, Result};
use arm::{DIGITS, Runner};
use candle::Device;
use hebbian_data::{Dataset, DatasetName};
use hebbian_train::{Picture, Table, save_json};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

/// A figure of the paper, or a comparison of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experiment {
    /// URFB, FRFB and back-propagation in a deep network for small images. Not in the paper.
    Protocols,
    /// Fig. 4: error against epoch, simpnet.
    Fig4,
    /// Fig. 5: error of each protocol and loss, simpnet.
    Fig5,
    /// Fig. 6: the same, deepnet and deepernet.
    Fig6,
    /// Fig. 7: error against epoch, deepernet.
    Fig7,
    /// Fig. 8: filters of untied simpnet at four places of the image.
    Fig8,
    /// Fig. 9: tied against untied, simpnet and deepernet-s.
    Fig9,
    /// Fig. 10: correlation of weights and feedback against epoch, simpnet.
    Fig10,
    /// Fig. 11: the same, the seven layers of untied deepernet-s that learn.
    Fig11,
    /// Fig. 12: the linear case.
    Fig12,
    /// Error against depth on the [`Mixture`](super::Mixture). Not in the paper.
    Depth,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Protocols,
        Self::Fig4,
        Self::Fig5,
        Self::Fig6,
        Self::Fig7,
        Self::Fig8,
        Self::Fig9,
        Self::Fig10,
        Self::Fig11,
        Self::Fig12,
        Self::Depth,
    ];

    /// The name that [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// One line for lists.
    pub fn description(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Protocols => ("protocols", "URFB, FRFB and BP-H in four hidden layers"),
            Self::Fig4 => ("fig4", "simpnet: error against epoch, by protocol"),
            Self::Fig5 => ("fig5", "simpnet: test error by protocol and loss"),
            Self::Fig6 => ("fig6", "deepnet and deepernet: test error by protocol and loss"),
            Self::Fig7 => ("fig7", "deepernet: error against epoch, by protocol"),
            Self::Fig8 => ("fig8", "simpnet untied: filters at four places of the image"),
            Self::Fig9 => ("fig9", "simpnet and deepernet-s: test error tied and untied"),
            Self::Fig10 => ("fig10", "simpnet: correlation of weights and feedback"),
            Self::Fig11 => ("fig11", "deepernet-s untied: correlation of weights and feedback"),
            Self::Fig12 => ("fig12", "the linear case: error and correlation (simulated)"),
            Self::Depth => ("depth", "error by protocol with 1, 2 and 4 hidden layers (synthetic)"),
        }
    }

    /// Whether it learns images of a data set. The others make their own.
    pub fn needs_images(self) -> bool {
        !matches!(self, Self::Fig12 | Self::Depth)
    }

    /// Runs it and writes the folder `out`: `table.csv`, `results.json`, `figure.png`, and a run
    /// folder for each network and seed. Returns a report for the terminal.
    ///
    /// # Errors
    /// Options that do not fit the experiment, a folder that holds another's files, and what
    /// [`train`](super::train) refuses.
    pub fn run(
        self,
        options: &ExperimentOptions,
        data: Option<&Dataset>,
        device: &Device,
        out: &Path,
    ) -> Result<String> {
        let started = Instant::now();
        let refuse = |what: String| Err(Error::Options(format!("{}: {what}", self.name())));
        if options.seeds == 0 {
            return refuse("0 seeds, expected 1 or more".to_string());
        }
        match options.epochs {
            Some(0) => return refuse("0 epochs compare nothing: give 1 or more".to_string()),
            Some(_) if self == Self::Fig12 => {
                return refuse("a simulation has no epochs: leave them out".to_string());
            }
            _ => {}
        }
        let data = match (data, self.needs_images()) {
            (None, true) => return refuse("learns images: give a data set".to_string()),
            (Some(data), false) => {
                return refuse(format!("makes its own data: leave out {}", data.name));
            }
            (data, _) => data,
        };
        self.prepare(options, data, out)?;
        let runner = Runner { options, data, device, out };
        let figure = match self {
            Self::Protocols => protocols::draw(&runner),
            Self::Fig4 => curves::draw(&runner, "simpnet"),
            Self::Fig5 => bars::protocols(&runner, &["simpnet"]),
            Self::Fig6 => bars::protocols(&runner, &["deepnet", "deepernet"]),
            Self::Fig7 => curves::draw(&runner, "deepernet"),
            Self::Fig8 => filters::draw(&runner),
            Self::Fig9 => bars::untied(&runner, &["simpnet", "deepernet-s"]),
            Self::Fig10 => correlations::draw(&runner, "simpnet"),
            Self::Fig11 => correlations::draw(&runner, "deepernet-s-untied"),
            Self::Fig12 => linear::draw(&runner),
            Self::Depth => depth::draw(&runner),
        }?;
        let mut text = figure.text;
        let digits = data.is_some_and(|data| data.name == DatasetName::Digits);
        if digits && self != Self::Protocols {
            text = text + "\n" + DIGITS;
        }
        let mut files = vec!["table.csv".to_string(), "results.json".into(), "figure.png".into()];
        figure.table.save_csv(out.join("table.csv"))?;
        for (name, table) in &figure.more_tables {
            table.save_csv(out.join(name))?;
            files.insert(1, name.to_string());
        }
        figure.picture.save_png(out.join("figure.png"))?;
        let mut results = json!({
            "experiment": self.name(),
            "dataset": data.map(|data| data.name.as_str()),
            "seconds": started.elapsed().as_secs_f64(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let (Some(results), Value::Object(numbers)) = (results.as_object_mut(), figure.numbers) {
            results.extend(numbers);
        }
        save_json(out.join("results.json"), &results)?;
        let _ = write!(
            text,
            "\n{:.0} s; wrote {}: {}\n",
            started.elapsed().as_secs_f64(),
            out.display(),
            files.join(", ")
        );
        Ok(text)
    }

    /// Makes the folder and removes what an earlier experiment left at the top of it, so that none
    /// of it can pass for this one's.
    fn prepare(
        self,
        options: &ExperimentOptions,
        data: Option<&Dataset>,
        out: &Path,
    ) -> Result<()> {
        let mark = out.join("experiment.json");
        let own = ["results.json", "table.csv", "figure.png"];
        if !mark.exists()
            && let Some(file) = own.into_iter().find(|file| out.join(file).exists())
        {
            return Err(hebbian_train::Error::NotARunFolder { folder: out.into(), file }.into());
        }
        let io = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source| hebbian_train::Error::Io { action, path, source }
        };
        std::fs::create_dir_all(out).map_err(io("make the folder", out))?;
        save_json(
            &mark,
            &json!({
                "experiment": self.name(),
                "dataset": data.map(|data| data.name.as_str()),
                "epochs": options.epochs,
                "seeds": options.seeds,
                "first_seed": options.seed,
                "version": env!("CARGO_PKG_VERSION"),
            }),
        )?;
        for path in own.map(|file| out.join(file)).into_iter().filter(|path| path.exists()) {
            std::fs::remove_file(&path).map_err(io("remove", &path))?;
        }
        Ok(())
    }
}

impl FromStr for Experiment {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|experiment| experiment.name() == name).ok_or_else(|| {
            Error::Options(format!("there is no experiment '{name}'; experiments are: {}", known()))
        })
    }
}

/// What an experiment needs beside its data.
#[derive(Debug, Clone)]
pub struct ExperimentOptions {
    /// Epochs of each network; none for those of the preset, or on the digits a number that takes
    /// minutes.
    pub epochs: Option<usize>,
    /// How many seeds each network is trained with.
    pub seeds: usize,
    /// The first of them.
    pub seed: u64,
    /// The device, as `cpu`, `cuda` or `metal`.
    pub device: String,
    /// Read back the networks whose training is complete, and go on with the one interrupted.
    pub resume: bool,
    /// No progress.
    pub quiet: bool,
}

/// What an experiment ends with.
struct Figure {
    /// For other programs.
    table: Table,
    /// Further ones, with the names of their files.
    more_tables: Vec<(&'static str, Table)>,
    /// For `results.json`.
    numbers: Value,
    /// For the terminal.
    text: String,
    picture: Picture,
}
