//! The accuracy of the trained read-out on changed images. The changes are those of [`change`](super::change), which do
//! not depend on the network, and those of [`attack`](super::attack), which follow its gradient or ask for its scores.
//! Pixels are from 0 to 1, and images are changed before the network's transforms are applied.

use super::attack::{fgsm, pgd, sign, square};
use super::change::{noisy, occluded};
use super::findings::{Findings, How, each};
use super::lines::{self, Line};
use super::opened::Opened;
use super::settings::Settings;
use crate::rows::BATCH;
use anyhow::Result;
use candle::{DType, Tensor, Var};
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_models::Model;
use hebbian_train::{LineChart, Progress, Series, Table, draw_panels};
use serde::Serialize;
use serde_json::json;

/// The squares that Square Attack tries if a network has no gradient and no number is given.
const QUERIES: usize = 100;

/// The results of a run on changed images.
#[derive(Debug, Serialize)]
struct Run {
    name: String,
    test_images: usize,
    /// The accuracy without any change.
    clean: f64,
    curves: Vec<Curve>,
    /// Why FGSM and PGD are left out, if they are.
    no_attack: Option<String>,
    /// Images that FGSM leaves as they are, because the gradient is 0 for all of their pixels.
    flat_images: usize,
}

/// Accuracies for one way of changing images.
#[derive(Debug, Serialize)]
struct Curve {
    change: Change,
    points: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Noise,
    Occlusion,
    Fgsm,
    Pgd,
    Square,
}

impl Change {
    const ALL: [Self; 5] = [Self::Noise, Self::Occlusion, Self::Fgsm, Self::Pgd, Self::Square];

    fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Noise => ("Gaussian noise", "standard deviation σ"),
            Self::Occlusion => ("Occlusion", "side of the square, pixels"),
            Self::Fgsm => ("FGSM", "ε"),
            Self::Pgd => ("PGD", "ε"),
            Self::Square => ("Square Attack", "ε"),
        }
    }

    /// Returns its strengths, for images with `side` pixels on their shorter side.
    fn strengths(self, settings: &Settings, side: usize) -> Vec<f64> {
        let eighths = || (1..=4).map(|eighths| (side * eighths).div_ceil(8));
        match self {
            Self::Noise => settings.noise.clone(),
            Self::Occlusion if settings.occlusion.is_empty() => {
                let mut sides: Vec<usize> = eighths().collect();
                sides.dedup();
                sides.into_iter().map(|side| side as f64).collect()
            }
            Self::Occlusion => settings.occlusion.iter().map(|&side| side as f64).collect(),
            Self::Fgsm | Self::Pgd | Self::Square => settings.attack.clone(),
        }
    }
}

pub(super) fn analyse(runs: &[Opened], how: &How) -> Result<Findings> {
    let mut notes = Vec::new();
    let all = each(runs, &mut notes, |run| Attacked::new(run, how)?.run())?;
    let mut table = Table::new(["run", "change", "strength", "accuracy"]);
    for (_, run) in &all {
        let name = || run.name.clone().into();
        table.row([name(), "none".into(), 0.0.into(), (100.0 * run.clean).into()])?;
        for Curve { change, points } in &run.curves {
            for &(strength, accuracy) in points {
                let (change, accuracy) = (change.title().0.into(), 100.0 * accuracy);
                table.row([name(), change, strength.into(), accuracy.into()])?;
            }
        }
        if let Some(why) = &run.no_attack {
            notes.push(format!("{}: no FGSM and no PGD: {why}", run.name));
        }
        if run.flat_images > 0 {
            let (flat, of) = (run.flat_images, run.test_images);
            notes.push(format!(
                "{}: {flat} of {of} images have no gradient: FGSM leaves them",
                run.name
            ));
        }
    }
    let panel = |change: Change| -> Option<LineChart> {
        let drawn = all.iter().filter_map(|(at, run)| {
            let curve = run.curves.iter().find(|curve| curve.change == change)?;
            let points = [(0.0, run.clean)].into_iter().chain(curve.points.iter().copied());
            let points = points.map(|(strength, accuracy)| (strength, 100.0 * accuracy)).collect();
            Some(Line { run: Some(*at), series: Series { points, ..Series::default() } })
        });
        let series = lines::series(runs, drawn.collect());
        let (title, x_label) = change.title();
        (!series.is_empty()).then(|| LineChart {
            title: title.to_string(),
            x_label: x_label.to_string(),
            y_label: "test accuracy, %".to_string(),
            series,
            ..LineChart::default()
        })
    };
    let panels: Vec<LineChart> = Change::ALL.into_iter().filter_map(panel).collect();
    let figures = json!(all.iter().map(|(_, run)| run).collect::<Vec<_>>());
    Ok(Findings { picture: draw_panels(&panels, 3)?, table, figures, notes })
}

/// A run whose images are changed.
struct Attacked<'a> {
    name: &'a str,
    model: &'a Model,
    test: ImageSet,
    how: &'a How,
}

impl<'a> Attacked<'a> {
    fn new(run: &'a Opened, how: &'a How) -> Result<Self> {
        Ok(Self {
            name: &run.name,
            model: run.model()?,
            test: run.some_images(&how.settings)?.1,
            how,
        })
    }

    fn run(&self) -> Result<Run> {
        let (settings, (_, height, width)) = (&self.how.settings, self.test.shape());
        let strengths = |change: Change| change.strengths(settings, height.min(width));
        let (no_attack, flat_images) = match self.flat_images()? {
            Ok(flat) => (None, flat),
            Err(why) => (Some(why), 0),
        };
        let can_be = |change: &Change| match change {
            Change::Noise | Change::Occlusion => true,
            Change::Fgsm | Change::Pgd => no_attack.is_none(),
            Change::Square => no_attack.is_some() || settings.queries.is_some(),
        };
        let changes: Vec<Change> = Change::ALL.into_iter().filter(can_be).collect();
        let passes: usize = changes.iter().map(|&change| strengths(change).len()).sum();
        let images = (self.test.len() * (1 + passes)) as u64;
        let label = format!("{}, robustness", self.name);
        let mut progress = Progress::new(images, &label, self.how.quiet);
        let clean = self.accuracy(&mut progress, |images, _| Ok(images.clone()))?;
        let curve = |&change: &Change| {
            let point =
                |&strength: &f64| Ok((strength, self.changed(change, strength, &mut progress)?));
            let points = strengths(change).iter().map(point).collect::<Result<_>>()?;
            Ok(Curve { change, points })
        };
        let curves = changes.iter().map(curve).collect::<Result<_>>()?;
        progress.finish();
        let (name, test_images) = (self.name.to_string(), self.test.len());
        Ok(Run { name, test_images, clean, curves, no_attack, flat_images })
    }

    /// Returns the accuracy on images that are changed with this strength. What is drawn at random is the same for
    /// every strength.
    fn changed(&self, change: Change, strength: f64, progress: &mut Progress) -> Result<f64> {
        let settings = &self.how.settings;
        let mut rng = Rng::new(settings.seed).stream(change.title().0);
        let scores = |images: &Tensor| self.model.scores(images);
        self.accuracy(progress, |images, labels| {
            let gone = || anyhow::anyhow!("no gradient reaches some of the images");
            match change {
                Change::Noise => noisy(images, strength, &mut rng),
                Change::Occlusion => {
                    occluded(images, strength as usize, settings.occluder, &mut rng)
                }
                Change::Fgsm => {
                    let sign = sign(&scores, images, labels)?.ok_or_else(gone)?;
                    fgsm(images, &sign, strength)
                }
                Change::Pgd => {
                    let how = (strength, settings.pgd_steps);
                    pgd(&scores, images, labels, how, &mut rng)?.ok_or_else(gone)
                }
                Change::Square => {
                    let how = (strength, settings.queries.unwrap_or(QUERIES));
                    square(&scores, images, labels, how, &mut rng)
                }
            }
        })
    }

    /// Returns the accuracy on images `(B, C, H, W)` with labels `(B)` after `change`.
    fn accuracy(
        &self,
        progress: &mut Progress,
        mut change: impl FnMut(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<f64> {
        let mut right = 0;
        for indices in self.test.in_order(BATCH)? {
            let (images, labels) = self.test.batch(&indices, DType::F32, &self.how.device)?;
            let predicted = self.model.predict(&change(&images, &labels)?)?.to_vec1::<u32>()?;
            let labels = indices.iter().map(|&index| self.test.labels()[index]);
            right +=
                predicted.iter().zip(labels).filter(|(class, label)| **class == *label).count();
            progress.advance(indices.len() as u64);
        }
        Ok(right as f64 / self.test.len() as f64)
    }

    /// Returns for how many images the gradient is 0, or why no image has a gradient.
    fn flat_images(&self) -> Result<Result<usize, String>> {
        let scores = |images: &Tensor| self.model.scores(images);
        let mut flat = 0;
        for indices in self.test.in_order(BATCH)? {
            let (images, labels) = self.test.batch(&indices, DType::F32, &self.how.device)?;
            let Some(sign) = sign(&scores, &images, &labels)? else {
                return Ok(Err(self.why_constant(&images)?));
            };
            let moved = sign.abs()?.flatten_from(1)?.sum(1)?.to_vec1::<f32>()?;
            flat += moved.iter().filter(|&&pixels| pixels == 0.0).count();
        }
        if flat == self.test.len() {
            return Ok(Err(
                "the gradient is 0 for every image: the features are steps of the pixels"
                    .to_string(),
            ));
        }
        Ok(Ok(flat))
    }

    /// Says why no gradient reaches images `(B, C, H, W)`.
    fn why_constant(&self, images: &Tensor) -> Result<String> {
        let images = Var::from_tensor(images)?;
        let seen = self.model.transforms().apply_to(&images)?;
        Ok(match seen.track_op() {
            false => "no gradient passes the transforms in front of the network".to_string(),
            true => format!(
                "no gradient passes the features of {}, which only say who has won",
                self.model.method()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        settings: Settings,
    }

    #[test]
    fn squares_are_eighths_of_the_image() {
        let strengths = |words: &[&str], side| {
            let flags = Flags::try_parse_from([&["x"], words].concat()).ok().unwrap();
            Change::Occlusion.strengths(&flags.settings, side)
        };
        assert_eq!(strengths(&[], 8), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(strengths(&[], 28), [4.0, 7.0, 11.0, 14.0]);
        assert_eq!(strengths(&[], 2), [1.0]);
        assert_eq!(strengths(&["--occlusion", "3,5"], 8), [3.0, 5.0]);
    }
}
