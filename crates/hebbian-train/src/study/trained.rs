//! What a study has trained.

use super::arm::Arm;
use crate::{History, Picture, Results, Spread, Table};
use serde_json::Value;

/// A run of an arm with one seed.
#[derive(Debug, Clone)]
pub struct ArmRun {
    /// Its results.
    pub results: Results,
    /// What it logged.
    pub history: History,
}

/// An arm with its runs, one for each seed.
#[derive(Debug, Clone)]
pub struct Trained<O> {
    /// The arm.
    pub arm: Arm<O>,
    /// One run for each seed.
    pub runs: Vec<ArmRun>,
}

impl<O> Trained<O> {
    /// The spread of a number over the runs that have it.
    pub fn spread(&self, value: impl Fn(&ArmRun) -> Option<f64>) -> Option<Spread> {
        Spread::of(&self.runs.iter().filter_map(value).collect::<Vec<_>>())
    }

    /// The share of test images classified wrongly.
    pub fn test_error(&self) -> Option<Spread> {
        self.spread(|run| Some(1.0 - run.results.test_accuracy))
    }

    /// A number that the method reports in `results.json`.
    pub fn extra(&self, name: &str) -> Option<Spread> {
        self.spread(|run| run.results.extras.get(name)?.as_f64())
    }

    /// The value called `name` that was logged after `epoch` epochs; after the last epoch if `None`.
    pub fn at(&self, name: &str, epoch: Option<u64>) -> Option<Spread> {
        self.spread(|run| {
            let mut epochs = run.history.by_epoch();
            let (_, values) = match epoch {
                Some(epoch) => epochs.find(|(at, _)| *at == epoch as f64),
                None => epochs.last(),
            }?;
            values.get(name).copied()
        })
    }

    /// Every whole epoch after which something was measured.
    pub fn epochs(&self) -> std::collections::BTreeSet<u64> {
        let all = self.runs.iter().flat_map(|run| run.history.by_epoch());
        all.filter(|(epoch, _)| epoch.fract() == 0.0).map(|(epoch, _)| epoch as u64).collect()
    }

    /// The value called `name` against the epoch.
    pub fn curve(&self, name: &str) -> Vec<(f64, Spread)> {
        let point = |epoch| Some((epoch as f64, self.at(name, Some(epoch))?));
        self.epochs().into_iter().filter_map(point).collect()
    }
}

/// The outcome of an experiment.
#[derive(Debug)]
pub struct Figure {
    /// The table, for other programs.
    pub table: Table,
    /// Further tables, with the names of their files.
    pub more_tables: Vec<(&'static str, Table)>,
    /// Numbers for `results.json`.
    pub numbers: Value,
    /// The report for the terminal.
    pub text: String,
    /// The picture of the results.
    pub picture: Picture,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogLine, Moment};
    use std::collections::BTreeMap;

    /// A value that is NaN in one of two runs has no mean, rather than that of the other run.
    #[test]
    fn no_run_is_left_out_of_a_mean() {
        let run = |loss: Option<f64>| {
            let moment = Moment::Learning { step: 1, images: 10, epoch: 1.0 };
            let values = BTreeMap::from([("loss".to_string(), loss)]);
            let history = History(vec![LogLine { moment, seconds: 0.0, values }]);
            ArmRun { results: Results::default(), history }
        };
        let arm = Arm { group: String::new(), label: String::new(), options: () };
        let mut trained = Trained { arm, runs: vec![run(Some(0.5)), run(Some(1.5))] };
        assert_eq!(trained.at("loss", None).unwrap().mean, 1.0);
        trained.runs[1] = run(None);
        for epoch in [None, Some(1)] {
            assert!(trained.at("loss", epoch).unwrap().mean.is_nan());
        }
    }

    /// Of two runs, the second stops after an epoch. They deviate from their mean by 1, and at their ends by ½.
    #[test]
    fn curves_are_of_whole_epochs() {
        let line = |&(epoch, x): &(f64, f64)| LogLine {
            moment: Moment::Learning { step: 1, images: 1, epoch },
            seconds: 0.0,
            values: [("x".to_string(), Some(x))].into(),
        };
        let run = |lines: &[(f64, f64)]| ArmRun {
            results: Results::default(),
            history: History(lines.iter().map(line).collect()),
        };
        let arm = Arm { group: String::new(), label: String::new(), options: () };
        let whole = run(&[(0.0, 1.0), (0.5, 9.0), (1.0, 4.0), (2.0, 7.0)]);
        let trained = Trained { arm, runs: vec![whole, run(&[(0.0, 3.0), (1.0, 6.0)])] };
        let both = |mean| Spread { mean, sd: Some(2f64.sqrt()) };
        let one = Spread { mean: 7.0, sd: None };
        assert_eq!(trained.curve("x"), [(0.0, both(2.0)), (1.0, both(5.0)), (2.0, one)]);
        let ends = Spread { mean: 6.5, sd: Some(0.5f64.sqrt()) };
        assert_eq!(trained.at("x", None), Some(ends));
        assert_eq!(trained.at("y", None), None);
    }
}
