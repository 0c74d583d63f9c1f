//! How well classes are read out of each layer.
//!
//! ```text
//! ridge             W = argmin Σ_i ‖W·x̂_i + b − y_i‖² + α‖W‖²    x̂ standardised features, y one-hot labels    class argmax_c (W·x̂ + b)_c
//! ridge, augmented  the same, with the same α, where i goes over the training images and augmented copies of them
//! ridge, mirrored   ridge, where the features of an image are the mean of its own and of its mirror image's
//! means             class argmin_c ‖x − μ_c‖²                    μ_c the mean features of class c, as they are
//! chance            the share of test images of the class that most training images have
//! ```

use super::findings::{Findings, How, each};
use super::lines::{self, Line};
use super::opened::Opened;
use super::settings::Settings;
use crate::rows::{Of, Ridged, augmented_rows, mirrored_rows, rows};
use anyhow::Result;
use candle::Tensor;
use candle_hebbian::Rng;
use hebbian_data::transforms::Pipeline;
use hebbian_train::{Cell, LineChart, NearestClassMean, Progress, Readout, Series, Table};
use serde::Serialize;
use serde_json::json;

/// How well the classes are read out of a layer.
#[derive(Debug, Serialize)]
struct Decoded {
    name: String,
    features: usize,
    ridge: f64,
    penalty: f64,
    /// The accuracy if ridge regression learns from augmented copies too.
    #[serde(skip_serializing_if = "Option::is_none")]
    ridge_augmented: Option<f64>,
    /// The accuracy if ridge regression reads the mean of the features of an image and of its mirror image.
    #[serde(skip_serializing_if = "Option::is_none")]
    ridge_mirrored: Option<f64>,
    nearest_class_mean: f64,
}

/// The results of a run.
#[derive(Debug, Serialize)]
struct Run {
    name: String,
    train_images: usize,
    test_images: usize,
    chance: f64,
    /// Raw pixels, then layer by layer.
    layers: Vec<Decoded>,
    /// The features of all layers together; `None` if there is only one layer.
    all: Option<Decoded>,
}

pub(super) fn analyse(runs: &[Opened], how: &How) -> Result<Findings> {
    let mut notes = Vec::new();
    let all = each(runs, &mut notes, |run| decode(run, how))?;
    let ways = ways(&how.settings);
    let heads = ["run", "layer", "features"].into_iter().chain(ways.iter().map(|way| way.0));
    let mut table = Table::new(heads);
    let mut drawn = Vec::new();
    let most = all.iter().map(|(_, run)| run.layers.len()).max().unwrap_or(1) - 1;
    for (at, run) in &all {
        let chance = 100.0 * run.chance;
        let shared = [run.name.clone().into(), "chance".into(), Cell::Empty];
        table.row(shared.into_iter().chain(ways.iter().map(|_| chance.into())))?;
        for layer in run.layers.iter().chain(&run.all) {
            let shared =
                [run.name.clone().into(), layer.name.clone().into(), layer.features.into()];
            let accuracies = ways.iter().map(|(_, accuracy)| accuracy(layer));
            let percent = accuracies.map(|share| share.map(|share| 100.0 * share).into());
            table.row(shared.into_iter().chain(percent))?;
        }
        let line = |what: &str, dashed, accuracy: &dyn Fn(&Decoded) -> f64| {
            let points = (0u32..)
                .zip(&run.layers)
                .map(|(layer, decoded)| (layer.into(), 100.0 * accuracy(decoded)))
                .collect();
            let series = Series { name: what.to_string(), points, dashed, ..Series::default() };
            Line { run: Some(*at), series }
        };
        drawn.push(line("ridge", false, &|decoded| decoded.ridge));
        drawn.push(line("nearest class mean", true, &|decoded| decoded.nearest_class_mean));
        let points = vec![(0.0, chance), (most as f64, chance)];
        let series = Series { name: "chance".to_string(), points, ..Series::default() };
        drawn.push(Line { run: None, series });
    }
    let chart = LineChart {
        title: "What is read out of each layer".to_string(),
        x_label: "layer (0: raw pixels)".to_string(),
        y_label: "test accuracy, %".to_string(),
        series: lines::series(runs, drawn),
        ..LineChart::default()
    };
    let figures = json!(all.iter().map(|(_, run)| run).collect::<Vec<_>>());
    Ok(Findings { picture: chart.draw()?, table, figures, notes })
}

/// The name of a way to read classes out, and its accuracy in a layer.
type Way = (&'static str, fn(&Decoded) -> Option<f64>);

/// The ways to read classes out that these settings ask for.
fn ways(settings: &Settings) -> Vec<Way> {
    let ways: [(bool, Way); 4] = [
        (true, ("ridge", |layer| Some(layer.ridge))),
        (settings.augment.is_some(), ("ridge, augmented", |layer| layer.ridge_augmented)),
        (settings.mirrored, ("ridge, mirrored", |layer| layer.ridge_mirrored)),
        (true, ("nearest class mean", |layer| Some(layer.nearest_class_mean))),
    ];
    ways.into_iter().filter(|(asked, _)| *asked).map(|(_, way)| way).collect()
}

/// The features of training images and of test images.
#[derive(Clone)]
struct Rows {
    train: Tensor,
    /// Those of the training images and of augmented copies of them.
    augmented: Option<Tensor>,
    /// The means of the features of an image and of its mirror image: for training, and for the test.
    mirrored: Option<(Tensor, Tensor)>,
    test: Tensor,
}

impl Rows {
    /// Puts the features of several layers next to each other.
    fn together(layers: &[Self]) -> candle::Result<Self> {
        let cat = |rows: Vec<&Tensor>| Tensor::cat(&rows, 1);
        let augmented: Vec<_> = layers.iter().filter_map(|rows| rows.augmented.as_ref()).collect();
        let mirrored: Vec<_> = layers.iter().filter_map(|rows| rows.mirrored.as_ref()).collect();
        Ok(Self {
            train: cat(layers.iter().map(|rows| &rows.train).collect())?,
            augmented: if augmented.is_empty() { None } else { Some(cat(augmented)?) },
            mirrored: match mirrored.is_empty() {
                true => None,
                false => Some((
                    cat(mirrored.iter().map(|(train, _)| train).collect())?,
                    cat(mirrored.iter().map(|(_, test)| test).collect())?,
                )),
            },
            test: cat(layers.iter().map(|rows| &rows.test).collect())?,
        })
    }

    /// Reads classes out of the features.
    fn decoded(
        self,
        name: String,
        (labels, test_labels): (&[u32], &[u32]),
        classes: usize,
        penalties: &[f64],
    ) -> Result<Decoded> {
        let Self { train, augmented, mirrored, test } = self;
        let (images, features) = train.dims2()?;
        let means = NearestClassMean::fit(&train, labels, classes)?;
        let ridged = Ridged::new(train, &test, classes)?;
        let (ridge, penalty) = ridged.accuracy(labels, test_labels, penalties)?;
        drop(ridged);
        // Copies of held-out images would not be held out, so the penalty is not chosen again.
        let of_all = |rows: Tensor| {
            let labels = labels.repeat(rows.dim(0)? / images);
            Ridged::new(rows, &test, classes)?.accuracy(&labels, test_labels, &[penalty])
        };
        let of_means = |(train, test): (Tensor, Tensor)| {
            Ridged::new(train, &test, classes)?.accuracy(labels, test_labels, penalties)
        };
        Ok(Decoded {
            name,
            features,
            ridge,
            penalty,
            ridge_augmented: augmented.map(of_all).transpose()?.map(|(accuracy, _)| accuracy),
            ridge_mirrored: mirrored.map(of_means).transpose()?.map(|(accuracy, _)| accuracy),
            nearest_class_mean: means.accuracy(&test, test_labels)?,
        })
    }
}

fn decode(run: &Opened, how: &How) -> Result<Run> {
    let Settings { augment, augmented_copies, mirrored, penalty, seed, .. } = &how.settings;
    let (model, (train, test)) = (run.model()?, run.some_images(&how.settings)?);
    let copies = if augment.is_some() { *augmented_copies } else { 0 };
    let augmentation = Pipeline::new(&augment.clone().unwrap_or_default())?;
    let train = train.with_transforms(train.transforms().clone(), augmentation)?;
    let rng = Rng::new(*seed).stream("layers");
    let (classes, units) = (model.class_names().len(), model.network().units()?);
    let sides = if *mirrored { 2 } else { 1 };
    let images = (sides * (train.len() + test.len()) + copies * train.len()) * (model.layers() + 1);
    let mut progress = Progress::new(images as u64, &format!("{}, layers", run.name), how.quiet);
    let mut rows = |of| -> Result<Rows> {
        let device = &how.device;
        let mut all = vec![rows(model, of, &train, device, &mut progress)?];
        for copy in 0..copies {
            all.push(augmented_rows(model, of, &train, (copy, &rng), device, &mut progress)?);
        }
        let (train_rows, test_rows) =
            (all[0].clone(), rows(model, of, &test, device, &mut progress)?);
        let mut mean = |rows: &Tensor, set| -> Result<Tensor> {
            let mirrored = mirrored_rows(model, of, set, device, &mut progress)?;
            Ok(((rows + mirrored)? * 0.5)?)
        };
        Ok(Rows {
            augmented: if copies > 0 { Some(Tensor::cat(&all, 0)?) } else { None },
            mirrored: match mirrored {
                true => Some((mean(&train_rows, &train)?, mean(&test_rows, &test)?)),
                false => None,
            },
            train: train_rows,
            test: test_rows,
        })
    };
    let labels = (train.labels(), test.labels());
    let decoded = |name, rows: Rows| rows.decoded(name, labels, classes, penalty);
    let mut layers = vec![decoded("raw pixels".to_string(), rows(Of::Pixels)?)?];
    let mut together = Vec::new();
    for layer in 0..model.layers() {
        let of_layer = rows(Of::Layer(layer))?;
        let name = match units.len() == model.layers() {
            true => units[layer].name.clone(),
            false => format!("layer {}", layer + 1),
        };
        if model.layers() > 1 {
            together.push(of_layer.clone());
        }
        layers.push(decoded(name, of_layer)?);
    }
    progress.finish();
    let all = match together.is_empty() {
        true => None,
        false => Some(decoded("all layers".to_string(), Rows::together(&together)?)?),
    };
    Ok(Run {
        name: run.name.clone(),
        train_images: train.len(),
        test_images: test.len(),
        chance: chance(train.labels(), test.labels()),
        layers,
        all,
    })
}

/// Returns the share of the test images that are of the class with most training images, the first of equally frequent
/// ones.
fn chance(train: &[u32], test: &[u32]) -> f64 {
    let count = |labels: &[u32], class| labels.iter().filter(|&&label| label == class).count();
    let most = train.iter().max_by_key(|&&class| (count(train, class), std::cmp::Reverse(class)));
    most.map_or(0.0, |&class| count(test, class) as f64 / test.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_the_most_frequent_class() {
        assert_eq!(chance(&[2, 1, 2, 0, 1], &[0, 1, 1, 1, 2]), 0.6); // 1 before 2
        assert_eq!(chance(&[2, 1, 2], &[0, 1, 1, 1, 2]), 0.2);
    }
}
