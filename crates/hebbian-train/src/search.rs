//! Search for the numbers of a preset: random, or by successive halving.

use crate::chart::{LineChart, Series, draw_panels};
use crate::engine::{Method, RunOptions, train};
use crate::study::{Arm, Figure, Study, check_arm};
use crate::{Cell, Error, Result, Spread, Table};
use candle_hebbian::Rng;
use hebbian_data::{Dataset, ImageSet};
use serde_json::{Value, json};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// A field of a preset that is searched, and the values that it may have. It is parsed from `PATH=VALUES`, where the
/// path joins field names and indices into lists by dots, and the values are
///
/// | text | drawn |
/// |---|---|
/// | `a,b,c` | one of them, all equally likely: numbers, `true`, `null`, other JSON, or plain words |
/// | `low..high` | uniformly from the range; an integer if both bounds are integers |
/// | `low..high:log` | from the range, so that the logarithm is uniform |
///
/// Numbers other than integers are rounded to four significant digits.
///
/// ```
/// use hebbian_train::Dimension;
/// use candle_hebbian::Rng;
/// let rate: Dimension = "training.head_learning_rate=0.0001..0.01:log".parse()?;
/// let drawn = rate.draw(&mut Rng::new(0)).as_f64().unwrap_or_default();
/// assert!((0.0001..0.01).contains(&drawn));
/// # Ok::<(), hebbian_train::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    /// The text it was parsed from.
    text: String,
    path: String,
    values: Values,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    Choice(Vec<Value>),
    Range { low: f64, high: f64, log: bool, whole: bool },
}

impl FromStr for Dimension {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem: &str| {
            Error::Argument(format!(
                "'{text}' is nothing to search: {problem}; expected PATH=a,b,c or PATH=low..high or \
                 PATH=low..high:log, as training.epochs=1..5"
            ))
        };
        let Some((path, values)) = text.split_once('=') else { return Err(bad("it has no =")) };
        if path.is_empty() || path.split('.').any(str::is_empty) {
            return Err(bad("the path has an empty part"));
        }
        let (path, whole_text) = (path.to_string(), text.to_string());
        let Some((low, high)) = values.split_once("..") else {
            let json = |word: &str| serde_json::from_str(word).unwrap_or_else(|_| json!(word));
            // The values are JSON, which may contain commas, or else words between commas.
            let all: Vec<Value> = serde_json::from_str(&format!("[{values}]"))
                .unwrap_or_else(|_| values.split(',').map(|word| json(word.trim())).collect());
            return match all.is_empty() || all.iter().any(|value| *value == json!("")) {
                true => Err(bad("a value is empty")),
                false => Ok(Self { text: whole_text, path, values: Values::Choice(all) }),
            };
        };
        let (high, log) = match high.split_once(':') {
            None => (high, false),
            Some((high, "log")) => (high, true),
            Some((_, other)) => return Err(bad(&format!("there is no scale '{other}'"))),
        };
        let whole = low.parse::<i32>().is_ok() && high.parse::<i32>().is_ok();
        let (Ok(low), Ok(high)) = (low.parse::<f64>(), high.parse::<f64>()) else {
            return Err(bad("a bound is no number"));
        };
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(bad("the lower bound is not below the upper one"));
        }
        if log && low <= 0.0 {
            return Err(bad("a logarithm needs bounds above 0"));
        }
        Ok(Self { text: whole_text, path, values: Values::Range { low, high, log, whole } })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Dimension {
    /// Draws a value.
    pub fn draw(&self, rng: &mut Rng) -> Value {
        match &self.values {
            Values::Choice(all) => all[rng.below(all.len())].clone(),
            &Values::Range { low, high, log: false, whole: true } => {
                json!(low as i64 + rng.below((high - low) as usize + 1) as i64)
            }
            &Values::Range { low, high, log: false, whole: false } => {
                json!(short(rng.between(low, high)).clamp(low, high))
            }
            &Values::Range { low, high, log: true, whole: false } => {
                json!(short(rng.between(low.ln(), high.ln()).exp()).clamp(low, high))
            }
            // Each integer stands for the logarithms of the numbers within ±½ of it.
            &Values::Range { low, high, log: true, whole: true } => {
                let drawn = rng.between((low - 0.5).ln(), (high + 0.5).ln()).exp();
                json!(drawn.round().clamp(low, high) as i64)
            }
        }
    }

    /// Puts `value` into `preset` at the path. The last part of the path may be a new field, because a preset may leave
    /// out a number that has a default; a field that the preset does not know is refused when it is parsed.
    ///
    /// # Errors
    /// If the path leads nowhere.
    fn put(&self, preset: &mut Value, value: Value) -> Result<()> {
        let mut place = preset;
        let parts = self.path.split('.').count();
        for (at, part) in self.path.split('.').enumerate() {
            if let (true, Value::Object(fields)) = (at + 1 == parts, &mut *place) {
                fields.insert(part.to_string(), value);
                return Ok(());
            }
            let known: Vec<String> = match &place {
                Value::Object(fields) => fields.keys().cloned().collect(),
                Value::Array(items) => (0..items.len()).map(|at| at.to_string()).collect(),
                _ => Vec::new(),
            };
            let next = match place {
                Value::Object(fields) => fields.get_mut(part),
                Value::Array(items) => part.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
                _ => None,
            };
            place = next.ok_or_else(|| {
                Error::Argument(format!(
                    "the preset has no {}: there is no '{part}' among {}",
                    self.path,
                    if known.is_empty() { "nothing".to_string() } else { known.join(", ") }
                ))
            })?;
        }
        *place = value;
        Ok(())
    }

    fn is_log(&self) -> bool {
        matches!(self.values, Values::Range { log: true, .. })
    }

    /// The position of a value on the axis of a chart.
    fn position(&self, value: &Value) -> f64 {
        match (&self.values, value.as_f64()) {
            (Values::Range { .. }, Some(number)) => number,
            (Values::Choice(all), Some(number)) if all.iter().all(Value::is_number) => number,
            (Values::Choice(all), _) => {
                all.iter().position(|known| known == value).unwrap_or(all.len()) as f64
            }
            (Values::Range { .. }, None) => f64::NAN,
        }
    }

    /// The label of that axis.
    fn label(&self) -> String {
        match &self.values {
            Values::Choice(all) if !all.iter().all(Value::is_number) => {
                let names = all.iter().enumerate().map(|(at, value)| format!("{at} = {value}"));
                format!("{}: {}", self.path, names.collect::<Vec<_>>().join(", "))
            }
            _ => self.path.clone(),
        }
    }
}

/// Rounds a number to four significant digits, for people to read and to type.
fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// The most trials of a search.
const MOST_TRIALS: usize = 100_000;

/// The size and kind of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How many combinations of values are drawn.
    pub trials: usize,
    /// The factor η of successive halving (Jamieson & Talwalkar 2016, with the rungs of Hyperband, Li et al. 2018,
    /// Algorithm 1); `None` to train every trial on all images.
    pub halving: Option<usize>,
}

impl Plan {
    /// The rungs of the search as pairs `(trials, part)`: how many trials are left, and that each of them learns from
    /// one in `part` of the training images. With η, n trials and s the largest number for which ηˢ ≤ n, rung i = 0 … s
    /// has the best ⌊n/ηⁱ⌋ trials with one image in ηˢ⁻ⁱ.
    ///
    /// ```
    /// let plan = hebbian_train::Plan { trials: 9, halving: Some(3) };
    /// assert_eq!(plan.rungs()?, [(9, 9), (3, 3), (1, 1)]);
    /// # Ok::<(), hebbian_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there are no trials or more than 100,000, or the factor is below 2.
    pub fn rungs(&self) -> Result<Vec<(usize, usize)>> {
        if !(1..=MOST_TRIALS).contains(&self.trials) {
            let trials = self.trials;
            return Err(Error::Argument(format!(
                "a search of {trials} trials: expected 1 to {MOST_TRIALS}"
            )));
        }
        let Some(factor) = self.halving else { return Ok(vec![(self.trials, 1)]) };
        if factor < 2 {
            return Err(Error::Argument(format!(
                "halving by a factor of {factor}: expected 2 or more"
            )));
        }
        // 1, η, … ηˢ
        let powers = std::iter::successors(Some(1_usize), |power| power.checked_mul(factor));
        let powers: Vec<usize> = powers.take_while(|power| *power <= self.trials).collect();
        let left = powers.iter().map(|power| self.trials / power);
        Ok(left.zip(powers.iter().rev().copied()).collect())
    }
}

/// A combination of values with its result.
#[derive(Debug, Clone)]
struct Trial<O> {
    number: usize,
    values: Vec<Value>,
    options: O,
    /// The last rung that the trial was in, counted from 1, the number of images that it learned from there, and its
    /// accuracy over seeds; `None` if it diverged or its features are not finite.
    reached: (usize, usize, Option<Spread>),
}

impl<O> Trial<O> {
    /// The trial as a network of the study, in the rung with this number.
    fn arm(&self, rung: usize) -> Arm<&O> {
        Arm {
            group: format!("rung {rung}"),
            label: format!("trial {}", self.number),
            options: &self.options,
        }
    }
}

/// Draws combinations of values for the preset in `base`, trains each, and compares them by the accuracy on the images
/// that replace the test images: a part of the training images that was held out. All that is drawn follows from the
/// study's seed, and an interrupted search that is resumed reads back the trials that are complete. `again` is the
/// command that trains a single network on the same images; the report adds the best preset to it.
///
/// # Errors
/// If the preset lacks a path or refuses a value, if a trial does not fit the images of every rung, which is found out
/// before the search begins, or if training fails. A trial that diverges, or whose features are not finite, is ranked
/// last and is no error.
pub fn search<M: Method>(
    study: &Study<'_>,
    base: &M::Options,
    space: &[Dimension],
    plan: Plan,
    data: &Dataset,
    again: &str,
) -> Result<Figure> {
    if space.is_empty() {
        return Err(Error::Argument(
            "there is nothing to search: say what with --set PATH=VALUES".to_string(),
        ));
    }
    let twice = space
        .iter()
        .enumerate()
        .find(|(at, one)| space[..*at].iter().any(|earlier| earlier.path == one.path));
    if let Some((_, Dimension { path, .. })) = twice {
        return Err(Error::Argument(format!(
            "{path} is searched twice: give all of its values in one --set {path}=VALUES"
        )));
    }
    if study.options.validation.is_none() {
        return Err(Error::Argument(
            "a search needs images to choose by that are not the test images: hold out a share of the training \
             images with --validation"
                .to_string(),
        ));
    }
    let rungs = plan.rungs()?;
    let rng = Rng::new(study.options.seed).stream("search");
    let mut trials = (1..=plan.trials)
        .map(|number| drawn::<M>(base, space, number, &rng))
        .collect::<Result<Vec<_>>>()?;
    for (rung, (_, part)) in (1..).zip(&rungs) {
        let fewer = one_in(*part, data, &rng)?;
        let arms: Vec<Arm<&M::Options>> = trials.iter().map(|trial| trial.arm(rung)).collect();
        study.check(&arms, |options, start| check_arm::<M>(options, &fewer, start))?;
    }
    study.begin()?;
    for (rung, (left, part)) in (1..).zip(rungs.iter().copied()) {
        let fewer = one_in(part, data, &rng)?;
        let seen = fewer.train.len() + fewer.unlabelled.iter().map(ImageSet::len).sum::<usize>();
        let accuracies = study.each(left.min(trials.len()), |at, device| {
            let trial = &trials[at];
            let mut accuracies = Vec::new();
            for seed in study.options.seeds() {
                let arm = trial.arm(rung);
                let folder = study.folder(&arm, seed);
                let label = format!(
                    "rung {rung} of {}, {} of {left}, trial {}, seed {seed}",
                    rungs.len(),
                    at + 1,
                    trial.number
                );
                let how = RunOptions {
                    labelled: study.options.labelled.map(|_| fewer.train.len()),
                    ..study.run_options(&folder, seed, label)
                };
                match train::<M>(arm.options, &fewer, device, &how, &folder) {
                    Ok(run) => accuracies.push(run.results.test_accuracy),
                    Err(Error::NotFinite { .. } | Error::Diverged { .. }) => {
                        accuracies.clear();
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(Spread::of(&accuracies))
        })?;
        for (trial, accuracy) in trials.iter_mut().zip(accuracies) {
            trial.reached = (rung, seen, accuracy);
        }
        trials.sort_by(|a, b| {
            let rank = |trial: &Trial<M::Options>| {
                let (rung, _, accuracy) = trial.reached;
                (accuracy.is_some(), rung, accuracy.map_or(0.0, |accuracy| accuracy.mean))
            };
            let ((of_a, rung_a, a_mean), (of_b, rung_b, b_mean)) = (rank(a), rank(b));
            let better = of_b.cmp(&of_a).then(rung_b.cmp(&rung_a)).then(b_mean.total_cmp(&a_mean));
            better.then(a.number.cmp(&b.number))
        });
    }
    figure::<M>(study, space, &trials, again)
}

/// Draws one in `part` of the training images, and of the images without labels: of each class in proportion, unless
/// these are fewer images than classes.
fn one_in(part: usize, data: &Dataset, rng: &Rng) -> Result<Dataset> {
    if part == 1 {
        return Ok(data.clone());
    }
    let some = |set: &ImageSet, purpose: &str| -> Result<ImageSet> {
        let (count, mut rng) = (set.len().div_ceil(part), rng.stream(purpose));
        let mut chosen = match set.draw_labelled(count, rng.below(usize::MAX) as u64) {
            Ok((chosen, _)) => chosen,
            Err(hebbian_data::Error::Labelled { .. }) => {
                rng.permutation(set.len())[..count].to_vec()
            }
            Err(error) => return Err(error.into()),
        };
        chosen.sort_unstable();
        Ok(set.select(&chosen)?)
    };
    let unlabelled = data.unlabelled.iter().enumerate();
    let unlabelled = unlabelled.map(|(at, set)| some(set, &format!("unlabelled.{at}")));
    let (train, unlabelled) = (some(&data.train, "images")?, unlabelled.collect::<Result<_>>()?);
    Ok(Dataset { train, unlabelled, ..data.clone() })
}

/// Draws the values of a trial that is still to be trained.
fn drawn<M: Method>(
    base: &M::Options,
    space: &[Dimension],
    number: usize,
    rng: &Rng,
) -> Result<Trial<M::Options>> {
    let mut rng = rng.stream(&format!("trial.{number}"));
    let mut options = base.clone();
    let mut preset = serde_json::to_value(M::preset(base))
        .map_err(|source| Error::Json { what: "the preset".to_string(), source })?;
    let mut values = Vec::new();
    for dimension in space {
        let value = dimension.draw(&mut rng);
        dimension.put(&mut preset, value.clone())?;
        values.push(value);
    }
    let refused = |problem: &dyn fmt::Display| {
        let set = space
            .iter()
            .zip(&values)
            .map(|(dimension, value)| format!("{}={value}", dimension.path));
        let set = set.collect::<Vec<_>>().join(", ");
        Error::Argument(format!("the preset cannot have {set} (trial {number}): {problem}"))
    };
    *M::preset_mut(&mut options) =
        serde_json::from_value(preset).map_err(|error| refused(&error))?;
    crate::Preset::validate(M::preset(&options)).map_err(|error| refused(&error))?;
    Ok(Trial { number, values, options, reached: (0, 0, None) })
}

fn figure<M: Method>(
    study: &Study<'_>,
    space: &[Dimension],
    trials: &[Trial<M::Options>],
    again: &str,
) -> Result<Figure> {
    let paths = space.iter().map(|dimension| dimension.path.as_str());
    let columns = ["trial", "rung", "images", "accuracy", "sd"].into_iter().chain(paths);
    let mut table = Table::new(columns);
    for Trial { number, values, reached: (rung, images, accuracy), .. } in trials {
        let first: [Cell; 5] = [
            (*number as i64).into(),
            (*rung as i64).into(),
            (*images as i64).into(),
            accuracy.map(|accuracy| accuracy.mean).into(),
            accuracy.and_then(|accuracy| accuracy.sd).into(),
        ];
        // As text, because tables show four decimals, which leave a rate of 0.0001 only one digit.
        let values = values.iter().map(|value| {
            Cell::from(value.as_str().map_or_else(|| value.to_string(), str::to_string))
        });
        table.row(first.into_iter().chain(values))?;
    }
    let panels: Vec<LineChart> = space
        .iter()
        .enumerate()
        .map(|(at, dimension)| panel(dimension, at, trials))
        .filter(|panel| panel.series.iter().any(|series| !series.points.is_empty()))
        .collect();
    let picture = match panels.is_empty() {
        true => Err(Error::Argument(format!(
            "all trials diverged: search lower learning rates\n\n{table}"
        )))?,
        false => draw_panels(&panels, 2)?,
    };
    let best = trials.first().filter(|trial| trial.reached.2.is_some());
    let mut text = format!("{table}");
    let all: Vec<Value> = trials
        .iter()
        .map(|trial| {
            let (rung, images, accuracy) = trial.reached;
            let set: serde_json::Map<String, Value> = space
                .iter()
                .zip(&trial.values)
                .map(|(dimension, value)| (dimension.path.clone(), value.clone()))
                .collect();
            json!({
                "trial": trial.number, "rung": rung, "images": images,
                "accuracy": accuracy.map(|accuracy| accuracy.mean), "set": set,
            })
        })
        .collect();
    if let Some(best) = best {
        let arm = best.arm(best.reached.0);
        let config = study.folder(&arm, study.options.seed).join("config.json");
        let _ = write!(
            text,
            "\nThe accuracies are those of images held out of the training set. The test images have not been \
             looked at; to look once:\n  {again} --preset '{}'\n",
            config.display().to_string().replace('\'', "'\\''")
        );
    }
    Ok(Figure {
        table,
        more_tables: Vec::new(),
        numbers: json!({ "trials": all, "best": best.map(|best| best.number) }),
        text,
        picture,
    })
}

/// A chart of the accuracy of every trial against its value of a dimension, with a colour for each rung.
fn panel<O>(dimension: &Dimension, at: usize, trials: &[Trial<O>]) -> LineChart {
    let rungs = trials.iter().map(|trial| trial.reached.0).max().unwrap_or_default();
    let series = (1..=rungs).map(|rung| {
        let points = trials.iter().filter(|trial| trial.reached.0 == rung).filter_map(|trial| {
            let value = dimension.position(trial.values.get(at)?);
            Some((value, 100.0 * trial.reached.2?.mean))
        });
        Series {
            name: if rungs > 1 { format!("rung {rung}") } else { String::new() },
            points: points.collect(),
            dots: true,
            colour: rung - 1,
            ..Series::default()
        }
    });
    LineChart {
        title: String::new(),
        x_label: dimension.label(),
        y_label: "accuracy on held-out images, %".to_string(),
        log_x: dimension.is_log(),
        series: series.collect(),
        ..LineChart::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OfPreset;
    use crate::engine::toy::{Preset, Toy, images};
    use crate::study::StudyOptions;
    use candle::Device;

    fn dimension(text: &str) -> Dimension {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (text, problem) in [
            ("a", "no ="),
            ("=1", "empty part"),
            ("a..b=1", "empty part"),
            ("a=1,,2", "a value is empty"),
            ("a=", "a value is empty"),
            ("a= ", "a value is empty"),
            ("a=2..1", "not below"),
            ("a=1..1", "not below"),
            ("a=0..1:log", "bounds above 0"),
            ("a=1..2:cubic", "no scale 'cubic'"),
            ("a=x..2", "no number"),
            ("a=1..inf", "not below"),
        ] {
            let error = text.parse::<Dimension>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn words_numbers_and_other_json_are_values() {
        let values = |text: &str| match dimension(text).values {
            Values::Choice(all) => all,
            range => panic!("{range:?}"),
        };
        assert_eq!(values("a=soft, hard"), [json!("soft"), json!("hard")]);
        let objects = values(r#"a={"kind":"frozen"},{"kind":"sign_only","size":0.1}"#);
        assert_eq!(objects, [json!({"kind": "frozen"}), json!({"kind": "sign_only", "size": 0.1})]);
        assert_eq!(values("a=1,0.5,null,true"), [json!(1), json!(0.5), json!(null), json!(true)]);
    }

    /// Uniform: the mean is 5.5, and all ten numbers occur; that of 2 to 4 is 3. Uniform in the logarithm: half of the
    /// draws are below 1, the middle of 0.01 and 100; of whole numbers, 1 stands for ½ to 1½ of ½ to 100½. The standard
    /// errors are 0.03, 0.006, 0.005 and 0.004.
    #[test]
    fn draws_are_spread_as_they_are_said_to_be() {
        let mut rng = Rng::new(3);
        let count = 10_000;
        let mut draws = |text: &str| -> Vec<f64> {
            let dimension = dimension(text);
            (0..count).filter_map(|_| dimension.draw(&mut rng).as_f64()).collect()
        };
        let whole = draws("a=1..10");
        assert!(whole.iter().all(|value| value.fract() == 0.0 && (1.0..=10.0).contains(value)));
        assert!((1..=10).all(|value| whole.contains(&f64::from(value))));
        assert!((whole.iter().sum::<f64>() / f64::from(count) - 5.5).abs() < 0.12);
        let log = draws("a=0.01..100.0:log");
        assert!(log.iter().all(|value| (0.01..=100.0).contains(value)));
        let below = log.iter().filter(|value| **value < 1.0).count() as f64 / f64::from(count);
        assert!((below - 0.5).abs() < 0.02, "{below}");
        let whole = draws("a=1..100:log");
        assert!(whole.iter().all(|value| value.fract() == 0.0 && (1.0..=100.0).contains(value)));
        assert!(whole.contains(&1.0) && whole.iter().any(|value| *value > 90.0));
        let ones = whole.iter().filter(|value| **value == 1.0).count() as f64 / f64::from(count);
        assert!((ones - 3f64.ln() / 201f64.ln()).abs() < 0.02, "{ones}");
        let real = draws("a=2.0..4.0");
        assert!((real.iter().sum::<f64>() / f64::from(count) - 3.0).abs() < 0.03);
        assert!(real.iter().all(|value| (2.0..=4.0).contains(value)));
        // Four digits, of which three are behind the point.
        let digits = |value: &f64| (1000.0 * value - (1000.0 * value).round()).abs() < 1e-9;
        assert!(real.iter().all(digits) && real.iter().any(|value| value.fract() != 0.0));
    }

    /// Numbers are where they are, and words in the order in which they were given.
    #[test]
    fn values_have_places_on_an_axis() {
        let words = dimension("a=soft,hard");
        assert_eq!(words.position(&json!("hard")), 1.0);
        assert_eq!(words.label(), r#"a: 0 = "soft", 1 = "hard""#);
        let numbers = dimension("a=10,20");
        assert_eq!((numbers.position(&json!(20)), numbers.label().as_str()), (20.0, "a"));
        let range = dimension("a=0.1..0.5:log");
        assert_eq!(range.position(&json!(0.2)), 0.2);
        assert!(range.is_log() && !dimension("a=0.1..0.5").is_log() && !numbers.is_log());
    }

    #[test]
    fn a_path_leads_into_fields_and_lists() {
        let mut preset = json!({ "blocks": [{ "units": 1 }, { "units": 2 }] });
        dimension("blocks.1.units=5,6").put(&mut preset, json!(5)).unwrap();
        assert_eq!(preset, json!({ "blocks": [{ "units": 1 }, { "units": 5 }] }));
        let refused = |text: &str| {
            dimension(text).put(&mut preset.clone(), json!(1)).unwrap_err().to_string()
        };
        assert!(refused("blocks.2.units=1").contains("no '2' among 0, 1"));
        assert!(refused("block.0.units=1").contains("no 'block' among blocks"));
        let mut more = preset.clone();
        dimension("blocks.0.rate=5,6").put(&mut more, json!(6)).unwrap();
        assert_eq!(more, json!({ "blocks": [{ "units": 1, "rate": 6 }, { "units": 5 }] }));
        assert!(refused("blocks.0.units.x=1").contains("no 'x' among nothing"));
    }

    /// Read-outs cannot be trained on features that are NaN. Such trials come last, with no accuracy, and a search that
    /// is resumed gets past them too.
    #[test]
    fn trials_without_finite_features_come_last() {
        let folder = tempfile::tempdir().unwrap();
        let found = |resume: bool| {
            let options = StudyOptions {
                resume,
                replace: true,
                quiet: true,
                validation: Some(0.5),
                ..StudyOptions::default()
            };
            let study = Study::new(&options, &Device::Cpu, folder.path());
            let (base, plan) = (Preset::of_epochs(1), Plan { trials: 16, halving: None });
            let space = [dimension("features_fail=true,false")];
            let base = OfPreset { preset: base };
            search::<Toy>(&study, &base, &space, plan, &images(), "train").unwrap().numbers
        };
        let numbers = found(false);
        let trials = numbers["trials"].as_array().unwrap();
        let failed: Vec<bool> =
            trials.iter().map(|trial| trial["set"]["features_fail"] == json!(true)).collect();
        // Both values are drawn, but for once in 2¹⁵ seeds.
        assert!(failed.contains(&true) && failed.contains(&false) && failed.is_sorted());
        for (trial, failed) in trials.iter().zip(failed) {
            assert_eq!(trial["accuracy"].is_null(), failed, "{trial}");
        }
        assert_eq!(found(true), numbers);
    }

    /// Something is varied, each path is varied once, and the test images choose nothing.
    #[test]
    fn a_search_that_means_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |space: &[&str], validation: Option<f64>| {
            let options = StudyOptions { validation, ..StudyOptions::default() };
            let study = Study::new(&options, &Device::Cpu, folder.path());
            let (base, plan) =
                (OfPreset { preset: Preset::of_epochs(1) }, Plan { trials: 2, halving: None });
            let space: Vec<Dimension> = space.iter().map(|text| dimension(text)).collect();
            let found = search::<Toy>(&study, &base, &space, plan, &images(), "train");
            found.map(drop).unwrap_err().to_string()
        };
        for (space, validation, says) in [
            (&["epochs=1,2", "epochs=3,4"][..], Some(0.5), "epochs is searched twice"),
            (&[], Some(0.5), "there is nothing to search"),
            (&["epochs=1,2"], None, "--validation"),
        ] {
            let error = refused(space, validation);
            assert!(error.contains(says), "{error}");
        }
    }

    /// A quarter of 1,442 images is 361, of which each class has its share, rounded up or down; drawn from all alike,
    /// the share of a class would have a standard deviation of five images. Images without labels are of one class. If
    /// there are too few for all classes, as many are drawn from all.
    #[test]
    fn a_rung_has_the_share_of_each_class() {
        let rng = Rng::new(3);
        let digits = hebbian_data::digits();
        let counts = |set: &ImageSet| -> Vec<f64> {
            let of = |class| set.labels().iter().filter(|&&label| label == class).count() as f64;
            (0..10).map(of).collect()
        };
        let rung = one_in(4, &digits, &rng).unwrap();
        assert_eq!((digits.train.len(), rung.train.len()), (1442, 361));
        for (all, found) in counts(&digits.train).into_iter().zip(counts(&rung.train)) {
            let share = all * 361.0 / 1442.0;
            assert!((found - share).abs() < 1.0, "{found}, {share}");
        }
        assert_eq!(rung.test.len(), digits.test.len());
        let rung = one_in(4, &digits.with_labelled(100, 0).unwrap(), &rng).unwrap();
        assert_eq!((rung.train.len(), rung.unlabelled[0].len()), (25, 336));
        assert_eq!(one_in(3, &images(), &rng).unwrap().train.len(), 7);
    }

    /// By hand: 3² ≤ 12 < 3³, so s = 2; 12, ⌊12/3⌋ = 4 and ⌊12/9⌋ = 1 trials learn from a ninth, a third and all of the
    /// images.
    #[test]
    fn the_best_go_on_to_more_images() {
        let rungs = |trials, halving| Plan { trials, halving }.rungs();
        assert_eq!(rungs(12, Some(3)).unwrap(), [(12, 9), (4, 3), (1, 1)]);
        assert_eq!(rungs(5, None).unwrap(), [(5, 1)]);
        assert_eq!(rungs(1, Some(2)).unwrap(), [(1, 1)]);
        for (trials, halving, says) in [
            (0, None, "a search of 0 trials"),
            (MOST_TRIALS + 1, None, "expected 1 to"),
            (4, Some(1), "halving by a factor of 1"),
        ] {
            let error = rungs(trials, halving).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
