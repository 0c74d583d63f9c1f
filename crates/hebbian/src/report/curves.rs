//! What runs logged, as curves.

use super::glossary::{TERMS, find};
use hebbian_train::{History, Moment, Spread};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A chart with one curve or several over the same clock.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Chart {
    /// Its name in the glossary.
    #[serde(skip)]
    pub term: String,
    /// Whether it describes a read-out.
    #[serde(skip)]
    pub of_readout: bool,
    pub title: String,
    about: &'static str,
    /// Whether it describes how the rule is doing.
    of_rule: bool,
    /// Whether its numbers are shares, to be shown in percent.
    pub percent: bool,
    /// The possible x axes, with their values; the first is images shown, or epochs of a read-out.
    pub clocks: Vec<Clock>,
    pub series: Vec<Series>,
}

impl Chart {
    /// Whether there is anything to draw: more than one moment.
    pub(super) fn is_drawn(&self) -> bool {
        self.clocks.iter().all(|clock| clock.values.len() > 1)
    }

    /// Returns the name of each curve with its mean at the first moment.
    pub(super) fn first(&self) -> impl Iterator<Item = (String, f64)> {
        self.series.iter().filter_map(|series| {
            let name = match series.name.as_str() {
                "" => self.title.clone(),
                of => format!("{}: {of}", self.title),
            };
            Some((name, (*series.mean.first()?)?))
        })
    }
}

#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Clock {
    pub name: &'static str,
    pub values: Vec<f64>,
}

/// A curve: the mean over the runs of a group, and how far they spread.
#[derive(Debug, Serialize, PartialEq)]
pub(crate) struct Series {
    pub name: String,
    /// The group of runs that it belongs to.
    pub group: usize,
    /// NaN where a run logged what is not finite.
    pub mean: Vec<Option<f64>>,
    /// The lower end of the band: the mean minus one standard deviation, over runs with different seeds or draws of a
    /// control, or, for a single run, the smallest of the values whose mean it logged. `high` is the upper end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub high: Vec<Option<f64>>,
}

/// The name of a value in a log, split into its parts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Name {
    /// Its name in the glossary.
    term: String,
    /// What it is of: `layer 1`, `training`.
    of: String,
}

impl Name {
    fn of(logged: &str) -> Self {
        let name = |term: &str, of: String| Self { term: term.to_string(), of };
        let of_layer = || {
            let (layer, term) = logged.strip_prefix("layers.")?.split_once('.')?;
            Some(name(term, format!("layer {}", layer.parse::<usize>().ok()?.checked_add(1)?)))
        };
        let of_part = || {
            let (part, term) = logged.split_once('_')?;
            let part = match part {
                "train" => "training",
                "validation" | "test" => part,
                _ => return None,
            };
            ["accuracy", "error", "loss"].contains(&term).then(|| name(term, part.to_string()))
        };
        let of_other = || logged.split_once('/').map(|(term, of)| name(term, of.to_string()));
        let of_way = || logged.split_once('.').map(|(of, term)| name(term, of.to_string()));
        let found = of_layer().or_else(of_part).or_else(of_other).or_else(of_way);
        found.unwrap_or_else(|| name(logged, String::new()))
    }
}

/// Returns a read-out's name without the number of the draw: if a control is drawn more than once, all draws are one
/// curve.
fn of_all_draws(readout: &str) -> &str {
    readout.split_once(", draw ").map_or(readout, |(name, _)| name)
}

/// The number of moments of which a page shows values of each curve.
pub(crate) const MOMENTS: usize = 1000;

/// Returns at most `most` of these moments, at least 2, evenly spaced, among them the first and the last.
fn thinned(all: &[u64], most: usize) -> Vec<u64> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|at| all[at * (all.len() - 1) / (most - 1)]).collect()
}

/// The values of a curve in each run of a group, by the number on their clock.
type Points = BTreeMap<u64, Vec<f64>>;

/// Returns the charts of groups of runs: of learning, against the images shown, and of read-outs, against their epochs.
/// If there is only one run, the charts of learning have more clocks. Of each curve, at most `most` moments are chosen
/// by themselves, so that a long run beside a short one leaves no gaps in it.
pub(crate) fn charts(groups: &[Vec<&History>], most: usize) -> Vec<Chart> {
    let mut all: BTreeMap<(bool, String), BTreeMap<(usize, String), Points>> = BTreeMap::new();
    let mut moments: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    for (group, runs) in groups.iter().enumerate() {
        for line in runs.iter().flat_map(|history| &history.0) {
            let (readout, x) = match &line.moment {
                Moment::Readout { readout, epoch } => (Some(readout), *epoch),
                Moment::Learning { images, epoch, .. } => {
                    moments.insert(*images, (*epoch, line.seconds));
                    (None, *images)
                }
            };
            for (logged, value) in &line.values {
                let Name { term, of } = Name::of(logged);
                let series = match readout.map(|readout| of_all_draws(readout)) {
                    Some(readout) if of.is_empty() => readout.to_string(),
                    Some(readout) => format!("{readout}, {of}"),
                    None => of,
                };
                let chart = all.entry((readout.is_some(), term)).or_default();
                let points = chart.entry((group, series)).or_default();
                // What was not finite is NaN, so that no mean leaves it out.
                points.entry(x).or_default().push(value.unwrap_or(f64::NAN));
            }
        }
    }
    let is_finite = |points: &Points| points.values().flatten().any(|value| value.is_finite());
    all.retain(|_, curves| {
        curves.retain(|_, points| is_finite(points));
        !curves.is_empty()
    });
    let single = matches!(groups, [runs] if runs.len() == 1);
    let mut ranges = BTreeMap::new();
    if single && all.contains_key(&(false, "mean_radius".to_string())) {
        for name in ["min_radius", "max_radius"] {
            ranges.insert(name, all.remove(&(false, name.to_string())).unwrap_or_default());
        }
    }
    let mut keys: Vec<(bool, String)> = all.keys().cloned().collect();
    let place = |term: &str| TERMS.iter().position(|known| known.name == term);
    keys.sort_by_key(|(readout, term)| {
        (!readout, place(term).unwrap_or(TERMS.len()), term.clone())
    });
    let chart = |key: (bool, String)| {
        let (term, curves) = (find(&key.1), &all[&key]);
        let of_curve = |points: &Points| thinned(&points.keys().copied().collect::<Vec<_>>(), most);
        let xs: BTreeSet<u64> = curves.values().flat_map(of_curve).collect();
        let xs: Vec<u64> = xs.into_iter().collect();
        let at = |values: &dyn Fn(u64) -> f64| xs.iter().map(|&x| values(x)).collect::<Vec<_>>();
        let clocks = match (key.0, single) {
            (true, _) => vec![Clock { name: "epochs of the read-out", values: at(&|x| x as f64) }],
            (false, false) => vec![Clock { name: "images shown", values: at(&|x| x as f64) }],
            (false, true) => vec![
                Clock { name: "images shown", values: at(&|x| x as f64) },
                Clock { name: "epochs", values: at(&|x| moments[&x].0) },
                Clock { name: "seconds", values: at(&|x| moments[&x].1) },
            ],
        };
        let series = curves.iter().map(|((group, name), points)| {
            let of = |points: &Points, pick: &dyn Fn(Spread) -> Option<f64>| {
                let one = |x: &u64| points.get(x).and_then(|values| pick(Spread::of(values)?));
                xs.iter().map(one).collect::<Vec<_>>()
            };
            let mean = of(points, &|spread| Some(spread.mean));
            let range = |which| {
                let of_range: Option<&Points> = ranges.get(which)?.get(&(*group, name.clone()));
                of_range.map(|points| of(points, &|spread| Some(spread.mean)))
            };
            let (low, high) = match key.1 == "mean_radius" && single {
                true => (range("min_radius"), range("max_radius")),
                false if points.values().any(|values| values.len() > 1) => (
                    Some(of(points, &|spread| Some(spread.mean - spread.sd?))),
                    Some(of(points, &|spread| Some(spread.mean + spread.sd?))),
                ),
                false => (None, None),
            };
            let (low, high) = (low.unwrap_or_default(), high.unwrap_or_default());
            Series { name: name.clone(), group: *group, mean, low, high }
        });
        let title = term.map_or(key.1.replace('_', " "), |term| term.title.to_string());
        Chart {
            term: key.1.clone(),
            of_readout: key.0,
            title: if key.0 { format!("{title} of the read-out") } else { title },
            about: term.map_or("", |term| term.about),
            of_rule: !key.0 && term.is_none_or(|term| term.of_rule),
            percent: ["accuracy", "error"].contains(&key.1.as_str()),
            clocks,
            series: series.collect(),
        }
    };
    keys.into_iter().map(chart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hebbian_train::LogLine;

    fn line(images: u64, values: &[(&str, f64)]) -> LogLine {
        let moment = Moment::Learning { step: images / 10, images, epoch: images as f64 / 100.0 };
        let values = values.iter().map(|(name, value)| (name.to_string(), Some(*value)));
        LogLine { moment, seconds: images as f64 / 50.0, values: values.collect() }
    }

    /// 2,997 = 3·999 moments after the first: every third is kept.
    #[test]
    fn long_curves_are_thinned() {
        let all: Vec<u64> = (0..2998).map(|at| 10 * at).collect();
        let kept: Vec<u64> = (0..1000).map(|at| 30 * at).collect();
        assert_eq!(thinned(&all, MOMENTS), kept);
        assert_eq!(thinned(&all[..1000], MOMENTS), &all[..1000]);
        let log = |all: &[u64]| {
            History(all.iter().map(|&images| line(images, &[("loss", images as f64)])).collect())
        };
        let long = log(&all);
        let alone = charts(&[vec![&long]], MOMENTS);
        let last = alone[0].series[0].mean.last().copied().flatten();
        assert_eq!((alone[0].series[0].mean.len(), last), (1000, Some(29970.0)));
        // A run that logged at other moments keeps all of its own, and the long one its thousand.
        let other: Vec<u64> = (0..7).map(|at| 5 + 1000 * at).collect();
        let both = charts(&[vec![&long], vec![&log(&other)]], MOMENTS);
        let values =
            |at: usize| both[0].series[at].mean.iter().flatten().copied().collect::<Vec<_>>();
        assert_eq!(values(0).len(), 1000);
        assert_eq!(values(1), other.iter().map(|&images| images as f64).collect::<Vec<_>>());
        // An analysis reads all moments.
        let whole = charts(&[vec![&long], vec![&log(&other)]], usize::MAX);
        assert_eq!(whole[0].series[0].mean.iter().flatten().count(), all.len());
    }

    #[test]
    fn names_are_taken_apart() {
        for (logged, term, of) in [
            ("layers.1.mean_radius", "mean_radius", "layer 2"),
            ("train_error", "error", "training"),
            ("test_accuracy", "accuracy", "test"),
            ("angle/conv1", "angle", "conv1"),
            ("backprop.loss", "loss", "backprop"),
            ("mean_norm", "mean_norm", ""),
            ("layers.x.y", "x.y", "layers"),
        ] {
            assert_eq!(Name::of(logged), Name { term: term.into(), of: of.into() });
        }
    }

    /// Two networks of random weights: a mean of 0.5, a deviation of √(2·0.1²) = 0.141.
    #[test]
    fn draws_of_a_control_are_one_curve() {
        let line = |readout: &str, value| LogLine {
            moment: Moment::Readout { readout: readout.to_string(), epoch: 1 },
            seconds: 0.0,
            values: [("test_accuracy".to_string(), Some(value))].into(),
        };
        let history = History(vec![line("head on noise", 0.4), line("head on noise, draw 2", 0.6)]);
        let charts = charts(&[vec![&history]], MOMENTS);
        let [Series { name, mean, low, high, .. }] = &charts[0].series[..] else {
            panic!("{charts:?}")
        };
        assert_eq!(name, "head on noise, test");
        let near = |found: &[Option<f64>], expected: f64| {
            assert!((found[0].unwrap() - expected).abs() < 1e-3, "{found:?}")
        };
        near(mean, 0.5);
        near(low, 0.359);
        near(high, 0.641);
    }

    /// A single moment is not a curve: its numbers are listed as text.
    #[test]
    fn of_one_moment_nothing_is_drawn() {
        let values = [("empty_centroids", 3.0), ("layers.1.mean_radius", 2.5)];
        let runs = [line(0, &values), line(100, &values)];
        let [one, two] = [&runs[..1], &runs].map(|lines| History(lines.to_vec()));
        let all = charts(&[vec![&one]], MOMENTS);
        assert!(all.iter().all(|chart| !chart.is_drawn()));
        let told: Vec<(String, f64)> = all.iter().flat_map(Chart::first).collect();
        let expected = [("Radius: layer 2", 2.5), ("Empty centroids", 3.0)];
        assert_eq!(told, expected.map(|(name, value)| (name.to_string(), value)));
        assert!(charts(&[vec![&two]], MOMENTS).iter().all(Chart::is_drawn));
    }

    #[test]
    fn means_and_bands_of_hand_worked_values() {
        let runs = [1.0, 2.0, 3.0].map(|value| {
            History(vec![line(100, &[("loss", value)]), line(200, &[("loss", 2.0 * value)])])
        });
        let other = History(vec![line(200, &[("loss", 7.0)])]);
        let all = charts(&[runs.iter().collect(), vec![&other]], MOMENTS);
        let [chart] = &all[..] else { panic!("{all:?}") };
        assert_eq!(chart.clocks, [Clock { name: "images shown", values: vec![100.0, 200.0] }]);
        // Deviations −1, 0, 1 and −2, 0, 2 of samples of three.
        assert_eq!(chart.series[0].mean, [Some(2.0), Some(4.0)]);
        assert_eq!(chart.series[0].low, [Some(1.0), Some(2.0)]);
        assert_eq!(chart.series[0].high, [Some(3.0), Some(6.0)]);
        assert_eq!(chart.series[1].mean, [None, Some(7.0)]);
        assert!(chart.series[1].low.is_empty());
    }

    /// The mean of two runs is none where one of them logged what is not finite. Nothing is drawn of what never was
    /// finite.
    #[test]
    fn no_mean_leaves_out_a_run() {
        let log = |losses: [Option<f64>; 2]| {
            let line = |(images, loss)| {
                let values = [("loss".to_string(), loss), ("angle".to_string(), None)];
                LogLine { values: values.into(), ..line(images, &[]) }
            };
            History([100, 200].into_iter().zip(losses).map(line).collect())
        };
        let runs = [log([Some(1.0), None]), log([Some(3.0), Some(5.0)])];
        let all = charts(&[runs.iter().collect()], MOMENTS);
        let [Chart { title, series, .. }] = &all[..] else { panic!("{all:?}") };
        let shown = serde_json::to_value(&series[0]).unwrap();
        assert_eq!((&**title, &shown["mean"]), ("Loss", &serde_json::json!([2.0, null])));
        assert!(shown["low"][1].is_null() && shown["high"][1].is_null(), "{shown}");
    }

    #[test]
    fn a_single_run_has_clocks_and_the_range_of_its_radii() {
        let values = [
            ("layers.0.mean_radius", 2.0),
            ("layers.0.min_radius", 1.5),
            ("layers.0.max_radius", 2.5),
        ];
        let readout = Moment::Readout { readout: "head".to_string(), epoch: 1 };
        let values_of_readout = [("train_accuracy".to_string(), Some(0.5))].into();
        let head = LogLine { moment: readout, seconds: 9.0, values: values_of_readout };
        let run = History(vec![line(100, &values), head]);
        let all = charts(&[vec![&run]], MOMENTS);
        assert_eq!(
            all.iter().map(|chart| &*chart.title).collect::<Vec<_>>(),
            ["Accuracy of the read-out", "Radius"]
        );
        assert!(all[0].percent && !all[0].of_rule && all[1].of_rule);
        assert_eq!(all[0].series[0].name, "head, training");
        let clocks: Vec<f64> = all[1].clocks.iter().map(|clock| clock.values[0]).collect();
        assert_eq!(clocks, [100.0, 1.0, 2.0]);
        let [radius] = &all[1].series[..] else { panic!("one series") };
        assert_eq!(
            (&*radius.name, radius.low[0], radius.high[0]),
            ("layer 1", Some(1.5), Some(2.5))
        );
    }
}
