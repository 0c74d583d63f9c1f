//! The record: the results that every documented command has to reproduce, as data.

use crate::presets::{Heading, Preset, all_presets};
use crate::{Error, Result, Spread};
use hebbian_data::{DatasetName, Photographs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A table of a model card: commands, each with the numbers that it has to reproduce.
///
/// ```
/// use hebbian_train::Record;
/// let record: Record = serde_json::from_str(r#"{
///     "name": "digits", "rows": "network",
///     "jobs": [{
///         "name": "learned", "preset": "a", "dataset": "digits", "seeds": [0, 1], "telling": 1, "minutes": {"cpu": 0.05},
///         "claims": [{
///             "row": "a", "learning": "unsupervised_local", "read_out": "ridge", "unit": "percent", "take": "/test_accuracy",
///             "ours": {"mean": 0.98, "sd": 0.004, "median": null, "count": 2}, "interval": [0.97, 0.99]
///         }]
///     }]
/// }"#)?;
/// let job = &record.jobs[0];
/// assert_eq!(job.command("softhebb"), "hebbian train softhebb --preset a --dataset digits");
/// assert_eq!(job.expected().unwrap(), "a: 98.00 ± 0.40 %; 3 s on two cores");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The name of the record, of its file, and of the table in the card.
    pub name: String,
    /// What the rows of the table are, as the heading of its first column.
    pub rows: String,
    /// The commands.
    pub jobs: Vec<Job>,
}

/// A command with the numbers that it has to reproduce: a preset that is trained once per seed, or an experiment
/// that runs all seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name, unique in the record.
    pub name: String,
    /// The preset that is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// The experiment that is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The data set; `None` if an experiment makes its own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The other arguments of the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The arguments of `hebbian analyse` for each trained network, if the numbers are those of an analysis.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub analysis: Vec<String>,
    /// The seeds; those of an experiment are consecutive.
    pub seeds: Vec<u64>,
    /// How informative the job is about the method: 1 for jobs to repeat first, 9 for jobs to repeat last.
    pub telling: u8,
    /// Minutes of one run of the command, by device: `cpu` is two cores of a server CPU.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub minutes: BTreeMap<String, f64>,
    /// Peak memory in gigabytes, by device.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory: BTreeMap<String, f64>,
    /// The date of our numbers; `None` if it is not known.
    #[serde(default)]
    pub date: Option<String>,
    /// A note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The numbers to reproduce.
    pub claims: Vec<Claim>,
}

/// A number that a command has to reproduce.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Its row in the table.
    pub row: String,
    /// Its column, if there are several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub column: String,
    /// How the network learned.
    pub learning: Learning,
    /// The read-out.
    pub read_out: String,
    /// The unit in which the number is shown.
    pub unit: Unit,
    /// Decimals that are shown, 17 at most. Default: 2.
    #[serde(default = "two")]
    pub decimals: usize,
    /// The list in `results.json` that contains the number, as a JSON pointer; empty if the number is found from the
    /// top level.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The values of fields, by JSON pointer, that select the entry of the list.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub among: BTreeMap<String, Value>,
    /// The place of the number in the entry, as a JSON pointer. For a single run there are also `/last/NAME`, the value
    /// logged last, `/epoch/N/NAME`, the value logged after N epochs (`~1` stands for a slash in the name), and
    /// `/analysis/NAME`, what an analysis of the run has found.
    pub take: String,
    /// The published number; `None` if nothing comparable was published.
    #[serde(default)]
    pub published: Option<Published>,
    /// Our number; `None` if the command was not run.
    #[serde(default)]
    pub ours: Option<Ours>,
    /// The interval in which the mean of a new run has to lie; `None` until there is a number.
    #[serde(default)]
    pub interval: Option<[f64; 2]>,
    /// Whether the median is shown beside the mean, for numbers with a heavy tail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_median: bool,
    /// Whether the number is in the table of the project's README.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub headline: bool,
}

fn two() -> usize {
    2
}

/// How a network learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Learning {
    /// Without labels, but not by plasticity: clustering.
    Unsupervised,
    /// Without labels, by rules local to a synapse.
    UnsupervisedLocal,
    /// With labels, by rules local to a synapse.
    SupervisedLocal,
    /// With labels, by rules that are not local to a synapse but are not back-propagation.
    Supervised,
    /// By back-propagation.
    Backprop,
    /// Not at all: a control.
    None,
}

impl Learning {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsupervised => "unsupervised",
            Self::UnsupervisedLocal => "unsupervised, local",
            Self::SupervisedLocal => "supervised, local",
            Self::Supervised => "supervised",
            Self::Backprop => "back-propagation",
            Self::None => "no learning",
        }
    }
}

/// The unit of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A share of 1, shown in percent.
    Percent,
    /// A number without a unit.
    Plain,
}

/// A published number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Its mean; `None` if we have not seen it.
    pub mean: Option<f64>,
    /// Its spread, as published.
    #[serde(default)]
    pub sd: Option<f64>,
    /// Where we saw it, or why we did not.
    pub source: String,
}

/// Statistics of our numbers over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    /// Their mean.
    pub mean: f64,
    /// The standard deviation of the population that they are a sample of; `None` for a single number.
    #[serde(default)]
    pub sd: Option<f64>,
    /// Their median; `None` if it is not known.
    #[serde(default)]
    pub median: Option<f64>,
    /// How many numbers there are.
    pub count: usize,
}

impl Ours {
    /// Computes the statistics of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let Spread { mean, sd } = Spread::of(values)?;
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        Some(Self { mean, sd, median: Some(median), count: values.len() })
    }
}

impl Claim {
    /// The row and column, separated by a comma.
    pub fn label(&self) -> String {
        let parts = [self.row.as_str(), self.column.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    /// The values of the number in a document of results, see [`take`](Self::take).
    pub fn values(&self, results: &Value) -> Vec<f64> {
        let found = results.pointer(&self.from);
        let entries = match found {
            Some(Value::Array(entries)) => entries.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        };
        let is_it = |entry: &&Value| {
            self.among.iter().all(|(place, value)| entry.pointer(place) == Some(value))
        };
        let found = entries.into_iter().filter(is_it);
        found.filter_map(|entry| entry.pointer(&self.take)?.as_f64()).collect()
    }

    /// Formats a mean and its spread in the unit of the claim, without the unit's sign.
    pub fn shown(&self, mean: f64, sd: Option<f64>) -> String {
        // An f64 needs no more decimals, and formatting panics at too many.
        Spread { mean, sd }.times(self.factor()).shown(self.decimals.min(17))
    }

    /// The factor by which a number is multiplied to be shown.
    fn factor(&self) -> f64 {
        match self.unit {
            Unit::Percent => 100.0,
            Unit::Plain => 1.0,
        }
    }

    /// The unit's sign after a number.
    pub fn sign(&self) -> &'static str {
        match self.unit {
            Unit::Percent => " %",
            Unit::Plain => "",
        }
    }

    /// The interval in which a new mean of as many values has to lie: three standard errors of the difference of two
    /// such means to each side, but at least half a percentage point or, for plain numbers, two percent of the number.
    /// If the spread is not known, it is one percentage point or five percent of the number to each side.
    pub fn interval_of(&self, ours: &Ours) -> [f64; 2] {
        let least = |share: f64, part: f64| match self.unit {
            Unit::Percent => share,
            Unit::Plain => part * ours.mean.abs(),
        };
        let half = match ours.sd {
            Some(sd) => (3.0 * sd * (2.0 / ours.count as f64).sqrt()).max(least(0.005, 0.02)),
            None => least(0.01, 0.05),
        };
        [ours.mean - half, ours.mean + half]
    }
}

impl Job {
    /// The arguments of the program `hebbian`, without seeds.
    pub fn arguments(&self, method: &str) -> Vec<String> {
        let (verb, flag, name) = match (&self.preset, &self.experiment) {
            (Some(preset), _) => ("train", "--preset", preset.as_str()),
            (None, experiment) => {
                ("study", "--experiment", experiment.as_deref().unwrap_or_default())
            }
        };
        let start = [verb, method, flag, name].map(str::to_string);
        let dataset = self.dataset.iter().flat_map(|set| ["--dataset".to_string(), set.clone()]);
        start.into_iter().chain(dataset).chain(self.flags.iter().cloned()).collect()
    }

    /// The command for a terminal: without seeds if a preset is trained, and followed by that of the analysis if there
    /// is one.
    pub fn command(&self, method: &str) -> String {
        let mut command = format!("hebbian {}", self.arguments(method).join(" "));
        if let (Some(_), [first, ..]) = (&self.experiment, &self.seeds[..]) {
            command += &format!(" --seeds {}", self.seeds.len());
            if *first != 0 {
                command += &format!(" --seed {first}");
            }
        }
        if !self.analysis.is_empty() {
            let (name, analysis) = (&self.name, self.analysis.join(" "));
            command += &format!(" --out runs/{name} && hebbian analyse runs/{name} {analysis}");
        }
        command
    }

    /// Whether its numbers are those that runs of the preset of this name end with. What an analysis finds is not.
    pub fn is_of(&self, preset: &str) -> bool {
        self.preset.as_deref() == Some(preset) && self.analysis.is_empty()
    }

    /// The value of a flag.
    pub fn flag(&self, name: &str) -> Option<&str> {
        let at = self.flags.iter().position(|flag| flag == name)?;
        self.flags.get(at + 1).map(String::as_str)
    }

    /// How many runs of the command the job takes: one per seed, but only one for an experiment, which runs all seeds.
    pub fn runs(&self) -> usize {
        if self.preset.is_some() { self.seeds.len() } else { 1 }
    }

    /// One line with the expected numbers and the time that they take: the numbers of the README's table if there are
    /// any, else all. `None` if no number is known.
    pub fn expected(&self) -> Option<String> {
        /// The most numbers that are shown; the card has the others.
        const MOST: usize = 4;
        let leads = self.claims.iter().any(|claim| claim.headline && claim.ours.is_some());
        let chosen = self.claims.iter().filter(|claim| claim.headline || !leads);
        let known = chosen.filter_map(|claim| Some((claim, claim.ours?)));
        let mut numbers: Vec<String> = known
            .map(|(claim, Ours { mean, sd, .. })| {
                format!("{}: {}{}", claim.label(), claim.shown(mean, sd), claim.sign())
            })
            .collect();
        if numbers.is_empty() {
            return None;
        }
        if numbers.len() > MOST {
            numbers.truncate(MOST);
            numbers.push("…".to_string());
        }
        Some(match self.minutes.get("cpu") {
            Some(&minutes) => format!("{}; {} on two cores", numbers.join("; "), duration(minutes)),
            None => numbers.join("; "),
        })
    }
}

/// Formats a number of minutes in seconds, minutes or hours.
pub fn duration(minutes: f64) -> String {
    match minutes {
        few if few < 1.0 => format!("{:.0} s", 60.0 * few),
        some if some < 10.0 => format!("{some:.1} min"),
        many if many < 120.0 => format!("{many:.0} min"),
        more => format!("{:.0} h", more / 60.0),
    }
}

/// Returns the records of the presets `P`.
///
/// # Errors
/// When an embedded text is invalid.
pub fn records<P: Preset>() -> Result<Vec<Record>> {
    let read = |text: &&str| {
        serde_json::from_str(text)
            .map_err(|source| Error::Json { what: format!("the record of {}", P::METHOD), source })
    };
    P::RECORD.iter().map(read).collect()
}

/// Lists the presets `P` with their data sets, and the experiments, each with its name and a line of description; below
/// each are the results that the record expects of it.
///
/// # Errors
/// When an embedded text is invalid.
pub fn list<P: Preset>(experiments: &[(&str, &str)]) -> Result<String> {
    let (presets, records) = (all_presets::<P>()?, records::<P>()?);
    let jobs: Vec<&Job> = records.iter().flat_map(|record| &record.jobs).collect();
    let headings: Vec<Heading<'_>> = presets.iter().map(Preset::heading).collect();
    let names = headings.iter().map(|heading| heading.name);
    let width = names.chain(experiments.iter().map(|(name, _)| *name)).map(str::len).max();
    let width = width.unwrap_or_default();
    let below = |is_it: &dyn Fn(&Job) -> bool| -> String {
        let mut lines = String::new();
        for job in jobs.iter().filter(|job| is_it(job)) {
            let Some(expected) = job.expected() else { continue };
            let what = job.dataset.iter().chain(&job.flags).cloned().collect::<Vec<_>>().join(" ");
            let what = if what.is_empty() { what } else { format!("{what}: ") };
            let _ = writeln!(lines, "  {:width$}  {what}{expected}", "");
        }
        lines
    };
    let mut list = String::from("networks, for --preset\n");
    for Heading { name, alias, description, dataset } in headings {
        let alias = alias.map(|alias| format!(" ({alias})")).unwrap_or_default();
        let unknown = match (dataset.parse::<DatasetName>(), Photographs::find(dataset)) {
            (_, Some(set)) if set.is_gated => {
                " (accept its terms on the hub and set HF_TOKEN; or --data-dir FOLDER)".to_string()
            }
            (Ok(_), _) | (_, Some(_)) => String::new(),
            (Err(_), None) => {
                " (give images: --data-dir FOLDER, or --dataset OWNER/NAME)".to_string()
            }
        };
        list += &format!("  {name:width$}  {dataset}: {description}{alias}{unknown}\n");
        list += &below(&|one| one.is_of(name));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(unit: Unit, from: &str, among: Value, take: &str) -> Claim {
        serde_json::from_value(json!({
            "row": "a", "column": "b", "learning": "none", "read_out": "ridge", "unit": unit, "from": from,
            "where": among, "take": take,
        }))
        .unwrap()
    }

    #[test]
    fn any_number_of_decimals_is_shown() {
        let mut claim = claim(Unit::Plain, "", json!({}), "");
        for (decimals, shown) in [(0, "0 ± 0"), (1, "0.5 ± 0.2"), (3, "0.500 ± 0.250")] {
            claim.decimals = decimals;
            assert_eq!(claim.shown(0.5, Some(0.25)), shown);
        }
        claim.decimals = usize::MAX;
        assert_eq!(claim.shown(0.5, None), "0.50000000000000000");
    }

    #[test]
    fn values_are_found_in_lists_and_from_the_top() {
        let results = json!({
            "test_accuracy": 0.5,
            "runs": [
                {"arm": "x", "preset": {"name": "p"}, "end": [1, 2]},
                {"arm": "y", "preset": {"name": "p"}, "end": [3, 4]},
                {"arm": "y", "preset": {"name": "q"}, "end": [5, 6]},
                {"arm": "y", "preset": {"name": "q"}},
            ],
        });
        let of = |from, among, take| claim(Unit::Plain, from, among, take).values(&results);
        assert_eq!(of("", json!({}), "/test_accuracy"), [0.5]);
        assert_eq!(of("/runs", json!({"/arm": "y"}), "/end/1"), [4.0, 6.0]);
        assert_eq!(of("/runs", json!({"/arm": "y", "/preset/name": "q"}), "/end/0"), [5.0]);
        assert!(of("/runs", json!({"/arm": "z"}), "/end/0").is_empty());
        assert!(of("/none", json!({}), "/end").is_empty());
    }

    #[test]
    fn numbers_of_ours_are_those_of_their_definition() {
        assert_eq!(Ours::of(&[]), None);
        // Deviations −2, −1, 3: variance 14 / 2.
        let odd = Ours::of(&[5.0, 0.0, 1.0]).unwrap();
        assert_eq!(odd, Ours { mean: 2.0, sd: Some(7f64.sqrt()), median: Some(1.0), count: 3 });
        assert_eq!(Ours::of(&[4.0, 0.0, 1.0, 2.0]).unwrap().median, Some(1.5));
    }

    #[test]
    fn an_interval_is_three_standard_errors_of_a_difference() {
        let percent = claim(Unit::Percent, "", json!({}), "");
        // Two means of two values each differ by sd √(2/2).
        let ours = Ours { mean: 0.9, sd: Some(0.01), median: None, count: 2 };
        let [low, high] = percent.interval_of(&ours);
        assert!((low - 0.87).abs() < 1e-12 && (high - 0.93).abs() < 1e-12);
        let narrow = percent.interval_of(&Ours { sd: Some(0.0), ..ours });
        assert!((narrow[0] - 0.895).abs() < 1e-12 && (narrow[1] - 0.905).abs() < 1e-12);
        let one = percent.interval_of(&Ours { sd: None, count: 1, ..ours });
        assert!((one[0] - 0.89).abs() < 1e-12 && (one[1] - 0.91).abs() < 1e-12);
        let plain = claim(Unit::Plain, "", json!({}), "");
        let steps = plain.interval_of(&Ours { mean: -100.0, sd: None, median: None, count: 1 });
        assert_eq!(steps, [-105.0, -95.0]);
    }

    #[test]
    fn durations_are_in_the_unit_that_suits() {
        let all = [0.05, 1.0, 9.94, 16.2, 119.0, 600.0].map(duration);
        assert_eq!(all, ["3 s", "1.0 min", "9.9 min", "16 min", "119 min", "10 h"]);
    }
}
