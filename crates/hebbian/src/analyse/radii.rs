//! Radii of units.
//!
//! ```text
//! r_k = ‖w_k‖₂      R1 = #{k : |r_k − 1| < η} / K      η = 0.01, in a dense layer of SoftHebb 0.005
//! ```
//!
//! SoftHebb's rule drives every unit that learns to radius 1 (Moraitis et al. 2022; R1 is a figure of the release of
//! Journé et al. 2023). If the runs state the inverse temperature with which their units compete, R1 of several runs
//! is drawn against the temperature `T = 1 / inverse_temperature` of the softmax `exp(u/T)`.

use super::findings::{Findings, How, each};
use super::histograms::{Values, panel};
use super::lines;
use super::opened::Opened;
use anyhow::{Result, bail};
use candle::Tensor;
use candle_hebbian::device::to_host;
use hebbian_train::{Cell, LineChart, Series, Spread, Table, draw_panels};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A radius counts for R1 if it is nearer to 1 than this.
const NEAR: f64 = 0.01;
const NEAR_IN_DENSE_SOFTHEBB: f64 = 0.005;
/// Panels side by side.
const COLUMNS: usize = 3;

/// A layer of a run.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    temperature: Option<f64>,
    near: f64,
    r1: f64,
    radii: Vec<f64>,
}

pub(super) fn analyse(runs: &[Opened], how: &How) -> Result<Findings> {
    let mut notes = Vec::new();
    let all = each(runs, &mut notes, |run| layers(run, how.settings.near))?;
    let columns = ["run", "layer", "units", "temperature", "mean", "smallest", "largest", "R1"];
    let mut table = Table::new(columns);
    for (at, layers) in &all {
        for Layer { name, temperature, r1, radii, .. } in layers {
            let mean = radii.iter().sum::<f64>() / radii.len() as f64;
            let smallest = radii.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = radii.iter().copied().fold(0.0, f64::max);
            let row: [Cell; 8] = [
                runs[*at].name.clone().into(),
                name.clone().into(),
                radii.len().into(),
                (*temperature).into(),
                mean.into(),
                smallest.into(),
                largest.into(),
                (*r1).into(),
            ];
            table.row(row)?;
        }
    }
    let most = all.iter().map(|(_, layers)| layers.len()).max().unwrap_or_default();
    let mut panels = Vec::new();
    for layer in 0..most {
        let shown = all.iter().filter_map(|(at, layers)| {
            let Layer { radii, .. } = layers.get(layer)?;
            let group = &runs[*at].group;
            let of_group = all.iter().filter(|(other, _)| runs[*other].group.at == group.at);
            let r1: Vec<f64> =
                of_group.filter_map(|(_, layers)| Some(100.0 * layers.get(layer)?.r1)).collect();
            let name = format!("{}, R1 {} %", group.name, Spread::of(&r1)?.shown(0));
            Some(Values { group: group.at, name, values: radii })
        });
        let title = format!("Layer {}", layer + 1);
        panels.push(panel(shown.collect(), how.settings.bins, title, ("radius", "units"))?);
    }
    panels.extend(against_temperature(all.iter().map(|(_, layers)| &layers[..])));
    let figures =
        all.iter().map(|(at, layers)| json!({ "name": runs[*at].name, "layers": layers }));
    let figures = Value::Array(figures.collect());
    Ok(Findings { picture: draw_panels(&panels, COLUMNS)?, table, figures, notes })
}

/// Returns the layers of a run whose units are known.
fn layers(run: &Opened, near: Option<f64>) -> Result<Vec<Layer>> {
    let model = run.model()?;
    let units = model.network().units()?;
    if units.is_empty() {
        bail!("its method does not say which weights its units have");
    }
    let one = |(at, units): (usize, hebbian_train::Units)| {
        let block =
            |place: &str| model.config().pointer(&format!("/options/preset/blocks/{at}/{place}"));
        let dense = block("layer/kind").is_some_and(|kind| kind == "dense");
        let near = near.unwrap_or(if dense { NEAR_IN_DENSE_SOFTHEBB } else { NEAR });
        let inverse = block("learning/competition/inverse_temperature").and_then(Value::as_f64);
        let radii = radii(&units.weight)?;
        let (temperature, r1) = (inverse.map(f64::recip), r1(&radii, near));
        Ok(Layer { name: units.name, temperature, near, r1, radii })
    };
    units.into_iter().enumerate().map(one).collect()
}

/// Returns `‖w_k‖₂` of the rows of `weight (K, …)`.
fn radii(weight: &Tensor) -> Result<Vec<f64>> {
    Ok(to_host(&weight.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?)?.to_vec1::<f64>()?)
}

/// Returns the share of radii that are nearer to 1 than `near`.
fn r1(radii: &[f64], near: f64) -> f64 {
    radii.iter().filter(|&&radius| (radius - 1.0).abs() < near).count() as f64 / radii.len() as f64
}

/// Draws R1 of each layer against its temperature, as the mean over runs with the same temperature; `None` if no layer
/// has two temperatures.
fn against_temperature<'a>(runs: impl Iterator<Item = &'a [Layer]>) -> Option<LineChart> {
    let mut all: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for (at, layer) in runs.flat_map(|layers| layers.iter().enumerate()) {
        let temperature = layer.temperature.filter(|temperature| temperature.is_finite());
        let points = temperature.map(|temperature| (temperature, 100.0 * layer.r1));
        all.entry(at).or_default().extend(points);
    }
    let series = all.into_iter().filter_map(|(at, points)| {
        let line = lines::means(points);
        let name = format!("layer {}", at + 1);
        (line.points.len() > 1).then_some(Series { name, colour: at, ..line })
    });
    let series: Vec<Series> = series.collect();
    (!series.is_empty()).then(|| LineChart {
        title: "R1 against temperature".to_string(),
        x_label: "temperature".to_string(),
        y_label: "R1, %".to_string(),
        log_x: true,
        series,
        ..LineChart::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    /// Rows of length 5, 1 and 1.02.
    #[test]
    fn radii_of_hand_worked_rows() -> Result<()> {
        let rows = [[[3f32, 4.], [0., 0.]], [[0., 0.6], [0.8, 0.]], [[0., 0.], [0., 1.02]]];
        let radii = radii(&Tensor::new(&rows, &Device::Cpu)?)?;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(near(radii[0], 5.0) && near(radii[1], 1.0) && near(radii[2], 1.02), "{radii:?}");
        assert_eq!([0.01, 0.05, 10.0].map(|near| r1(&radii, near)), [1.0 / 3.0, 2.0 / 3.0, 1.0]);
        Ok(())
    }

    #[test]
    fn runs_of_one_temperature_are_averaged() {
        let layer = |temperature, r1| Layer {
            name: "layer 1".to_string(),
            temperature,
            near: 0.01,
            r1,
            radii: vec![1.0],
        };
        let runs = [
            [layer(Some(2.0), 0.9)],
            [layer(Some(0.5), 0.2)],
            [layer(Some(2.0), 0.7)],
            [layer(None, 0.0)],
        ];
        let chart = against_temperature(runs.iter().map(|run| &run[..])).unwrap();
        let points: Vec<(f64, f64)> =
            chart.series[0].points.iter().map(|&(t, r1)| (t, (r1 * 1e6).round() / 1e6)).collect();
        assert_eq!(points, [(0.5, 20.0), (2.0, 80.0)]);
        let same = runs.iter().filter(|run| run[0].temperature == Some(2.0)).map(|run| &run[..]);
        assert!(against_temperature(same).is_none());
    }
}
