//! How many labels a read-out needs.
//!
//! For a share `p` of `N` training images, `n = max(round(p·N), classes)` of them keep their labels: the share `p` of
//! each class, rounded so that the sum is `n`, and at least one image. Ridge regression learns from these; its
//! features are standardised over all `N` images, for which no labels are needed. This is repeated for several draws
//! of labels, which are the same for the network that has learned, for random networks of the same preset (used in
//! turn), and for raw pixels:
//!
//! ```text
//! mean = Σ_d a_d / D      sd = √(Σ_d (a_d − mean)² / (D − 1))      a_d the test accuracy of draw d
//! ```

use super::findings::{Findings, How, each};
use super::lines::{self, Line};
use super::opened::Opened;
use crate::rows::{Of, Ridged, rows};
use anyhow::Result;
use candle_hebbian::Rng;
use hebbian_data::ImageSet;
use hebbian_models::Model;
use hebbian_train::{LineChart, Progress, Series, Spread, Table};
use serde::Serialize;
use serde_json::json;

/// The results of a run with few labels.
#[derive(Debug, Serialize)]
struct Run {
    name: String,
    train_images: usize,
    test_images: usize,
    curves: Vec<Curve>,
    /// Whether the network has learned with the labels of all its training images.
    trained_with_labels: bool,
    /// Why there is no random network, if there is none.
    no_random_network: Option<String>,
}

/// Accuracies of one kind of features.
#[derive(Debug, Serialize)]
struct Curve {
    features: &'static str,
    points: Vec<Point>,
}

/// The accuracies for one share of labels.
#[derive(Debug, Serialize)]
struct Point {
    /// In percent.
    share: f64,
    labels: usize,
    /// The labels of the first draw, by class.
    labels_of_class: Vec<usize>,
    accuracies: Vec<f64>,
}

const LEARNED: &str = "learned";
const RANDOM: &str = "random network";
const PIXELS: &str = "raw pixels";

pub(super) fn analyse(runs: &[Opened], how: &How) -> Result<Findings> {
    let mut notes = Vec::new();
    let all = each(runs, &mut notes, |run| few(run, how))?;
    let columns = ["run", "features", "labels, %", "labels", "mean", "sd", "draws"];
    let (mut table, mut drawn) = (Table::new(columns), Vec::new());
    for (at, run) in &all {
        if run.trained_with_labels {
            notes.push(format!(
                "{}: the network has learned with all labels; only those of the read-out are few",
                run.name
            ));
        }
        let why = run.no_random_network.iter();
        notes.extend(why.map(|why| format!("{}: no random network: {why}", run.name)));
        for Curve { features, points } in &run.curves {
            let spreads = points
                .iter()
                .filter_map(|one| Some((one, Spread::of(&one.accuracies)?.times(100.0))));
            for (Point { share, labels, accuracies, .. }, Spread { mean, sd }) in spreads.clone() {
                let (name, draws) = (run.name.clone(), accuracies.len());
                let row = [name.into(), (*features).into(), (*share).into(), (*labels).into()];
                table.row(row.into_iter().chain([mean.into(), sd.into(), draws.into()]))?;
            }
            let means = spreads.map(|(point, spread)| (point.share, spread));
            let line = Series::of_means(features, means);
            let series = Series { dashed: *features != LEARNED, ..line };
            drawn.push(Line { run: (*features != PIXELS).then_some(*at), series });
        }
    }
    let chart = LineChart {
        title: "Few labels: mean ± sd over draws, or over seeds".to_string(),
        x_label: "labels, % of the training images".to_string(),
        y_label: "test accuracy of ridge regression, %".to_string(),
        log_x: true,
        series: lines::series(runs, drawn),
        ..LineChart::default()
    };
    let figures = json!(all.iter().map(|(_, run)| run).collect::<Vec<_>>());
    Ok(Findings { picture: chart.draw()?, table, figures, notes })
}

/// Draws of labels from the training images, the same for everything that is compared.
struct Drawn {
    share: f64,
    /// For each draw, the images that keep their labels.
    draws: Vec<Vec<usize>>,
}

/// Returns the draws for each share; there is only one draw of all labels.
fn drawn(train: &ImageSet, classes: usize, how: &How) -> Result<Vec<Drawn>> {
    let settings = &how.settings;
    let mut seeds = Rng::new(settings.seed).stream("few labels");
    let draw = |&share: &f64| {
        let count = labels(share, train.len(), classes);
        let times = if count == train.len() { 1 } else { settings.draws };
        let draws =
            (0..times).map(|_| Ok(train.draw_labelled(count, seeds.below(1 << 32) as u64)?.0));
        Ok(Drawn { share, draws: draws.collect::<Result<_>>()? })
    };
    settings.shares.iter().map(draw).collect()
}

/// Returns how many of `images` keep their labels for a share in percent.
fn labels(share: f64, images: usize, classes: usize) -> usize {
    ((share / 100.0 * images as f64).round() as usize).max(classes).min(images)
}

fn few(run: &Opened, how: &How) -> Result<Run> {
    let (model, (train, test)) = (run.model()?, run.some_images(&how.settings)?);
    let (classes, penalties) = (model.class_names().len(), &how.settings.penalty);
    let drawn = drawn(&train, classes, how)?;
    let (random, no_random_network) = random(run, model, how)?;
    let images = (train.len() + test.len()) * (random.len() + 2);
    let label = format!("{}, few labels", run.name);
    let mut progress = Progress::new(images as u64, &label, how.quiet);
    let mut ridged = |model, of| {
        let learned = rows(model, of, &train, &how.device, &mut progress)?;
        let seen = rows(model, of, &test, &how.device, &mut progress)?;
        Ridged::new(learned, &seen, classes)
    };
    let curve = |features, all: &[Ridged]| -> Result<Curve> {
        let point = |drawn: &Drawn| {
            // The draws are divided among the random networks; if there is only one draw, each network gets it.
            let count = drawn.draws.len().max(all.len());
            let accuracies = (0..count).map(|draw| {
                let chosen = &drawn.draws[draw % drawn.draws.len()];
                all[draw % all.len()].accuracy_of(chosen, train.labels(), test.labels(), penalties)
            });
            let mut labels_of_class = vec![0; classes];
            drawn.draws[0].iter().for_each(|&at| labels_of_class[train.labels()[at] as usize] += 1);
            Ok(Point {
                share: drawn.share,
                labels: drawn.draws[0].len(),
                labels_of_class,
                accuracies: accuracies.collect::<Result<_>>()?,
            })
        };
        Ok(Curve { features, points: drawn.iter().map(point).collect::<Result<_>>()? })
    };
    let mut curves = vec![curve(LEARNED, &[ridged(model, Of::Features)?])?];
    if !random.is_empty() {
        let all = random.iter().map(|model| ridged(model, Of::Features));
        curves.push(curve(RANDOM, &all.collect::<Result<Vec<_>>>()?)?);
    }
    curves.push(curve(PIXELS, &[ridged(model, Of::Pixels)?])?);
    progress.finish();
    let (train_images, test_images) = (train.len(), test.len());
    Ok(Run {
        name: run.name.clone(),
        train_images,
        test_images,
        curves,
        trained_with_labels: model.results()?.is_some_and(|results| results.trained_with_labels),
        no_random_network,
    })
}

/// Returns random networks of the model's preset, the first with the seed of its run, or why there are none.
fn random(run: &Opened, model: &Model, how: &How) -> Result<(Vec<Model>, Option<String>)> {
    let own = model.config()["seed"].as_u64().unwrap_or_default();
    let mut seeds = Rng::new(how.settings.seed).stream("random networks");
    let mut all = Vec::new();
    for draw in 0..how.settings.random_networks {
        let seed = if draw == 0 { own } else { seeds.below(1 << 32) as u64 };
        match model.random(run.data()?, seed, &how.device) {
            Ok(Some(random)) => all.push(random),
            Ok(None) => {
                let why = format!("{} took no steps of learning", model.method());
                return Ok((all, Some(why)));
            }
            Err(error) => return Ok((Vec::new(), Some(format!("{error:#}")))),
        }
    }
    Ok((all, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hebbian_data::digits;

    #[test]
    fn as_many_labels_as_stated() {
        // 1 % of 1,442 is 14.42, so 14; but at least one for each of 20 classes makes 20.
        assert_eq!(labels(1.0, 1442, 10), 14);
        assert_eq!(labels(1.0, 1442, 20), 20);
        assert_eq!(labels(100.0, 1442, 10), 1442);
        assert_eq!(labels(50.0, 5, 10), 5);
    }

    /// Each class has about a tenth of the digits, so 5 % of them, 72 labels, are seven or eight of each class.
    #[test]
    fn each_class_keeps_its_share_of_labels() -> Result<()> {
        let train = digits().train;
        let count = labels(5.0, train.len(), 10);
        assert_eq!(count, 72);
        let (kept, _) = train.draw_labelled(count, 3)?;
        let mut of_class = [0; 10];
        kept.iter().for_each(|&at| of_class[train.labels()[at] as usize] += 1);
        assert_eq!(of_class.iter().sum::<usize>(), 72);
        for (class, &found) in (0u32..).zip(&of_class) {
            let whole = train.labels().iter().filter(|&&label| label == class).count();
            let share = whole as f64 * count as f64 / train.len() as f64;
            assert!((found as f64 - share).abs() <= 1.0, "{class}: {found} of {share}");
        }
        Ok(())
    }
}
