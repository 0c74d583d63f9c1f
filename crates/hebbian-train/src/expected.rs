//! The result and the time to expect of a run, as the model card states them.

use crate::engine::Method;
use crate::presets::{Heading, Preset, all_presets, find_preset};
use crate::{Error, Result};
use hebbian_data::{DatasetName, Photographs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// A number on a model card, with what is needed to reproduce it.
///
/// ```
/// use hebbian_train::Expected;
/// let expected: Expected = serde_json::from_str(
///     r#"{"preset": "a", "dataset": "digits", "result": "98 % of the test images", "minutes": 0.05}"#,
/// )?;
/// assert_eq!(expected.to_string(), "98 % of the test images; 3 s on two cores");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The preset, where it is the number of a single run.
    #[serde(default)]
    pub preset: Option<String>,
    /// The experiment, where it is one of several runs.
    #[serde(default)]
    pub experiment: Option<String>,
    /// How many seeds the experiment has.
    #[serde(default)]
    pub seeds: Option<usize>,
    /// The data set, used completely.
    pub dataset: String,
    /// The method's options beside the preset.
    #[serde(default)]
    pub options: Map<String, Value>,
    /// The number, with its unit.
    pub result: String,
    /// How long it takes on two cores of a server CPU.
    pub minutes: f64,
}

/// The number and the time.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; ", self.result)?;
        match self.minutes {
            few if few < 1.0 => write!(f, "{:.0} s", 60.0 * few)?,
            many if many < 120.0 => write!(f, "{many:.0} min")?,
            more => write!(f, "{:.0} h", more / 60.0)?,
        }
        f.write_str(" on two cores")
    }
}

impl Expected {
    /// All that is known of the presets `P`, and of the experiments with them.
    ///
    /// # Errors
    /// An embedded text that is wrong.
    pub fn all<P: Preset>() -> Result<Vec<Self>> {
        let what = || format!("what is expected of {}", P::METHOD);
        serde_json::from_str(P::EXPECTED).map_err(|source| Error::Json { what: what(), source })
    }

    /// What is known of a run with these options on all images of `dataset`; nothing where the preset was
    /// changed.
    ///
    /// # Errors
    /// An embedded text that is wrong.
    pub fn of_run<M: Method>(options: &M::Options, dataset: &str) -> Result<Option<Self>> {
        let preset = M::preset(options);
        let name = preset.heading().name;
        if find_preset::<M::Preset>(name).ok().as_ref() != Some(preset) {
            return Ok(None);
        }
        let options = serde_json::to_value(options)
            .map_err(|source| Error::Json { what: "the options".to_string(), source })?;
        let mut others = options.as_object().cloned().unwrap_or_default();
        others.remove("preset");
        let is_it = |one: &Self| {
            one.preset.as_deref() == Some(name) && one.dataset == dataset && one.options == others
        };
        Ok(Self::all::<M::Preset>()?.into_iter().find(is_it))
    }

    /// What is known of an experiment with so many seeds on all images of `dataset`.
    ///
    /// # Errors
    /// An embedded text that is wrong.
    pub fn of_study<P: Preset>(
        experiment: &str,
        seeds: usize,
        dataset: &str,
    ) -> Result<Option<Self>> {
        let is_it = |one: &Self| {
            one.experiment.as_deref() == Some(experiment)
                && (one.dataset.as_str(), one.seeds) == (dataset, Some(seeds))
        };
        Ok(Self::all::<P>()?.into_iter().find(is_it))
    }
}

/// The presets `P` with their data sets, and experiments, each a name and a line of description; below each
/// what is [`Expected`] of it.
///
/// # Errors
/// An embedded text that is wrong.
pub fn list<P: Preset>(experiments: &[(&str, &str)]) -> Result<String> {
    let (presets, expected) = (all_presets::<P>()?, Expected::all::<P>()?);
    let headings: Vec<Heading<'_>> = presets.iter().map(Preset::heading).collect();
    let names = headings.iter().map(|heading| heading.name);
    let width = names.chain(experiments.iter().map(|(name, _)| *name)).map(str::len).max();
    let width = width.unwrap_or_default();
    let below = |is_it: &dyn Fn(&Expected) -> bool| -> String {
        let known = expected.iter().filter(|one| is_it(one));
        known.map(|one| format!("  {:width$}  {}: {one}\n", "", one.dataset)).collect()
    };
    let mut list = String::from("networks, for --preset\n");
    for Heading { name, alias, description, dataset } in headings {
        let alias = alias.map(|alias| format!(" ({alias})")).unwrap_or_default();
        let unknown = match (dataset.parse::<DatasetName>(), Photographs::find(dataset)) {
            (_, Some(set)) if set.is_gated => {
                " (its terms are to be accepted on the hub: HF_TOKEN; or --data-dir FOLDER)"
                    .to_string()
            }
            (Ok(_), _) | (_, Some(_)) => String::new(),
            (Err(_), None) => {
                " (give images: --data-dir FOLDER, or --dataset OWNER/NAME)".to_string()
            }
        };
        list += &format!("  {name:width$}  {dataset}: {description}{alias}{unknown}\n");
        list += &below(&|one| one.preset.as_deref() == Some(name));
    }
    if !experiments.is_empty() {
        list += "\nexperiments, for --experiment\n";
    }
    for (name, description) in experiments {
        list += &format!("  {name:width$}  {description}\n");
        list += &below(&|one| one.experiment.as_deref() == Some(name));
    }
    Ok(list)
}
