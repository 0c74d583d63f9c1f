//! How fast a network learns.
//!
//! Let `a(n)` be the accuracy that a run logged after `n` images, each counted as often as it was shown, or
//! `1 − error` if it logged errors. Then
//!
//! ```text
//! n_q = min { n : a(n) ≥ q·a(last) }      q = 0.9, 0.95, 0.99
//! ```
//!
//! If a run logged no accuracy while it learned, for example because it has no labels, its other logged quantities are
//! shown, except those of the analysis of feedback.

use super::feedback::is_of_feedback;
use super::findings::Findings;
use super::logged::{Logged, logged};
use super::opened::Opened;
use anyhow::{Result, bail};
use hebbian_train::{Cell, Table, draw_panels};
use serde_json::Value;

/// Shares of the last accuracy.
const SHARES: [f64; 3] = [0.9, 0.95, 0.99];
/// Panels side by side.
const COLUMNS: usize = 3;

pub(super) fn analyse(runs: &[Opened]) -> Result<Findings> {
    let mut all = logged(runs);
    let scored: Vec<usize> = all
        .iter()
        .filter(|one| accuracy(&one.term, 0.0).is_some())
        .flat_map(|one| one.curves.iter().map(|curve| curve.run))
        .collect();
    for one in &mut all {
        let is_score = accuracy(&one.term, 0.0).is_some();
        let of_feedback = is_of_feedback(&one.term);
        let none = |run| !scored.contains(&run) && !of_feedback;
        one.curves.retain(|curve| is_score || none(curve.run));
    }
    all.retain(|one| !one.curves.is_empty());
    if all.is_empty() {
        bail!("nothing was logged while learning (metrics.jsonl)");
    }
    let notes = runs.iter().enumerate().filter(|(at, _)| !scored.contains(at)).map(|(_, run)| {
        format!(
            "{}: it logged no accuracy while it learned, so that its other figures are shown",
            run.name
        )
    });
    let columns = ["run", "logged", "of", "first", "last", "90 %", "95 %", "99 %"];
    let mut table = Table::new(columns);
    for one in &all {
        for curve in &one.curves {
            let (Some(&(_, first)), Some(&(_, last))) = (curve.points.first(), curve.points.last())
            else {
                continue;
            };
            let points = curve.points.iter();
            let accuracies: Option<Vec<(f64, f64)>> =
                points.map(|&(x, y)| Some((x, accuracy(&one.term, y)?))).collect();
            let until = SHARES.map(|share| {
                let reached = accuracies.as_ref().and_then(|points| images_until(points, share));
                reached.map_or(Cell::Empty, |images| Cell::from(images as u64))
            });
            let (name, title) = (runs[curve.run].name.clone(), one.title.clone());
            let row = [name.into(), title.into(), curve.of.clone().into(), first.into()];
            table.row(row.into_iter().chain([last.into()]).chain(until))?;
        }
    }
    let charts: Vec<_> = all.iter().map(|one| one.chart(runs)).collect();
    Ok(Findings {
        picture: draw_panels(&charts, COLUMNS)?,
        table,
        figures: all
            .iter()
            .flat_map(|one: &Logged| one.figures(runs))
            .collect::<Vec<Value>>()
            .into(),
        notes: notes.collect(),
    })
}

/// Returns the accuracy that a logged value of that name stands for; `None` if it stands for none.
fn accuracy(term: &str, value: f64) -> Option<f64> {
    match term {
        "accuracy" => Some(value),
        "error" => Some(1.0 - value),
        _ => None,
    }
}

/// Returns the images until the accuracy first reaches that share of the last one.
fn images_until(points: &[(f64, f64)], share: f64) -> Option<f64> {
    let (_, last) = points.last()?;
    points.iter().find(|(_, accuracy)| *accuracy >= share * last).map(|&(images, _)| images)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last accuracy is 0.8. 90 % of it, 0.72, is first reached at 200 images, where it is 0.75, and then lost;
    /// 99 % of it, 0.792, at 500.
    #[test]
    fn images_until_a_share_of_the_last_accuracy() {
        let points = [(100.0, 0.5), (200.0, 0.75), (300.0, 0.7), (400.0, 0.79), (500.0, 0.8)];
        assert_eq!(images_until(&points, 0.9), Some(200.0));
        assert_eq!(images_until(&points, 0.95), Some(400.0));
        assert_eq!(images_until(&points, 0.99), Some(500.0));
        assert_eq!(images_until(&[], 0.9), None);
        assert_eq!(accuracy("error", 0.25), Some(0.75));
        assert_eq!(accuracy("mean_radius", 0.25), None);
    }
}
