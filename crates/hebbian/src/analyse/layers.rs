//! How well classes are read out of each layer.
//!
//! ```text
//! ridge   W = argmin Σ_i ‖W·x̂_i + b − y_i‖² + α‖W‖²    x̂ standardised features, y one-hot labels    class argmax_c (W·x̂ + b)_c
//! means   class argmin_c ‖x − μ_c‖²                    μ_c the mean features of class c, as they are
//! chance  the share of test images of the class that most training images have
//! ```

use super::lines::{self, Line};
use super::opened::Opened;
use super::rows::{Of, Ridged, rows};
use super::{Findings, How, each};
use anyhow::Result;
use candle::Tensor;
use hebbian_train::{Cell, LineChart, NearestClassMean, Progress, Readout, Series, Table};
use serde::Serialize;
use serde_json::json;

/// How well the classes are read out of a layer.
#[derive(Debug, Serialize)]
struct Decoded {
    name: String,
    features: usize,
    ridge: f64,
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
    let mut table = Table::new(["run", "layer", "features", "ridge", "nearest class mean"]);
    let mut drawn = Vec::new();
    let most = all.iter().map(|(_, run)| run.layers.len()).max().unwrap_or(1) - 1;
    for (at, run) in &all {
        let chance = 100.0 * run.chance;
        table.row([
            run.name.clone().into(),
            "chance".into(),
            Cell::Empty,
            chance.into(),
            chance.into(),
        ])?;
        for layer in run.layers.iter().chain(&run.all) {
            let accuracies = [layer.ridge, layer.nearest_class_mean];
            let [ridge, means] = accuracies.map(|accuracy| Cell::from(100.0 * accuracy));
            let (name, features) = (layer.name.clone(), layer.features);
            table.row([run.name.clone().into(), name.into(), features.into(), ridge, means])?;
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

fn decode(run: &Opened, how: &How) -> Result<Run> {
    let (model, (train, test)) = (run.model()?, run.some_images(&how.settings)?);
    let classes = model.class_names().len();
    let units = model.network().units()?;
    let images = (train.len() + test.len()) * (model.layers() + 1);
    let mut progress = Progress::new(images as u64, &format!("{}, layers", run.name), how.quiet);
    let decoded = |name: String, learned: &Tensor, seen: &Tensor| -> Result<Decoded> {
        let means = NearestClassMean::fit(learned, train.labels(), classes)?;
        let ridged = Ridged::new(learned, seen, classes, how.settings.penalty)?;
        Ok(Decoded {
            name,
            features: learned.dim(1)?,
            ridge: ridged.accuracy(train.labels(), test.labels())?,
            nearest_class_mean: means.accuracy(seen, test.labels())?,
        })
    };
    let (mut layers, mut together) = (Vec::new(), [Vec::new(), Vec::new()]);
    for of in [Of::Pixels].into_iter().chain((0..model.layers()).map(Of::Layer)) {
        let learned = rows(model, of, &train, &how.device, &mut progress)?;
        let seen = rows(model, of, &test, &how.device, &mut progress)?;
        let name = match of {
            Of::Layer(layer) if units.len() == model.layers() => units[layer].name.clone(),
            Of::Layer(layer) => format!("layer {}", layer + 1),
            _ => "raw pixels".to_string(),
        };
        layers.push(decoded(name, &learned, &seen)?);
        if of != Of::Pixels && model.layers() > 1 {
            together[0].push(learned);
            together[1].push(seen);
        }
    }
    progress.finish();
    let all = match together[0].is_empty() {
        true => None,
        false => {
            let [learned, seen] = together.map(|layers| Tensor::cat(&layers, 1));
            Some(decoded("all layers".to_string(), &learned?, &seen?)?)
        }
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
