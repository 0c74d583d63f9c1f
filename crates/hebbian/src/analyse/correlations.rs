//! How strongly the outputs of a layer's units are correlated.
//!
//! ```text
//! ρ_jk = cov(o_j, o_k) / √(var(o_j)·var(o_k))      o_k the output of unit k at a position of an image
//! ```
//!
//! A sample is a position of a test image, so a dense layer has one for each image. Each pair counts once, and no unit
//! is paired with itself. Units whose output is the same everywhere have no correlation; they are counted as constant.
//! Miconi 2021 draws such a histogram of the last layer, but includes each unit's correlation with itself, 1; on which
//! images it was computed is not known.

use super::findings::{Findings, How, each};
use super::histograms::{Values, panel};
use super::opened::Opened;
use crate::rows::{Of, rows};
use anyhow::{Result, bail};
use candle::{DType, Tensor};
use candle_hebbian::device::upload;
use hebbian_train::{Cell, Progress, Table, draw_panels};
use serde::Serialize;
use serde_json::{Value, json};

/// Panels side by side.
const COLUMNS: usize = 3;

/// A layer of a run.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    units: usize,
    /// How many of them have the same output everywhere.
    constant: usize,
    samples: usize,
    /// The means over pairs of `ρ` and `|ρ|`; `None` if there is no pair.
    mean: Option<f64>,
    mean_size: Option<f64>,
    /// The correlation of each pair of the other units.
    #[serde(skip)]
    correlations: Vec<f64>,
}

pub(super) fn analyse(runs: &[Opened], how: &How) -> Result<Findings> {
    let mut notes = Vec::new();
    let all = each(runs, &mut notes, |run| layers(run, how))?;
    let mut table =
        Table::new(["run", "layer", "units", "constant", "samples", "mean ρ", "mean |ρ|"]);
    for (at, layers) in &all {
        for Layer { name, units, constant, samples, mean, mean_size, .. } in layers {
            let row: [Cell; 7] = [
                runs[*at].name.clone().into(),
                name.clone().into(),
                (*units).into(),
                (*constant).into(),
                (*samples).into(),
                (*mean).into(),
                (*mean_size).into(),
            ];
            table.row(row)?;
        }
    }
    let most = all.iter().map(|(_, layers)| layers.len()).max().unwrap_or_default();
    let mut panels = Vec::new();
    for layer in 0..most {
        let of_layer = all.iter().filter_map(|(at, layers)| Some((*at, layers.get(layer)?)));
        let of_layer = of_layer.filter(|(_, layer)| !layer.correlations.is_empty());
        let shown: Vec<_> = of_layer.collect();
        let Some((_, first)) = shown.first() else { continue };
        let title = first.name.clone();
        let values = shown.into_iter().map(|(run, layer)| Values {
            group: runs[run].group.at,
            name: runs[run].group.name.clone(),
            values: &layer.correlations,
        });
        let labels = ("correlation of two units", "pairs");
        panels.push(panel(values.collect(), how.settings.bins, title, labels)?);
    }
    if panels.is_empty() {
        bail!("no layer has two units whose output changes");
    }
    let figures =
        all.iter().map(|(at, layers)| json!({ "name": runs[*at].name, "layers": layers }));
    let figures = Value::Array(figures.collect());
    Ok(Findings { picture: draw_panels(&panels, COLUMNS)?, table, figures, notes })
}

fn layers(run: &Opened, how: &How) -> Result<Vec<Layer>> {
    let (model, (_, test)) = (run.model()?, run.some_images(&how.settings)?);
    let units = model.network().units()?;
    if units.len() != model.layers() {
        bail!("its method does not say which weights its units have");
    }
    let label = format!("{}, correlations", run.name);
    let mut progress = Progress::new((test.len() * units.len()) as u64, &label, how.quiet);
    let mut all = Vec::new();
    for (at, layer) in units.into_iter().enumerate() {
        let (one, _) = test.batch(&[0], DType::F32, &how.device)?;
        // The outputs of an image are in the order of the units.
        let count = model.layer_features(at, &one)?.dim(1)?;
        let rows = rows(model, Of::Layer(at), &test, &how.device, &mut progress)?;
        let (images, width) = rows.dims2()?;
        let samples = images * (width / count);
        let outputs = rows.reshape((images, count, width / count))?.transpose(0, 1)?;
        let (constant, correlations) = correlations(&outputs.reshape((count, samples))?)?;
        let [mean, mean_size] = means(&correlations);
        all.push(Layer {
            name: layer.name,
            units: count,
            constant,
            samples,
            mean,
            mean_size,
            correlations,
        });
    }
    progress.finish();
    Ok(all)
}

/// Returns the means of `ρ` and of `|ρ|` over pairs; `None` if there is no pair.
fn means(correlations: &[f64]) -> [Option<f64>; 2] {
    let mean = |of: fn(f64) -> f64| {
        let sum: f64 = correlations.iter().map(|&rho| of(rho)).sum();
        match correlations.len() {
            0 => None,
            pairs => Some(sum / pairs as f64),
        }
    };
    [mean(|rho| rho), mean(f64::abs)]
}

/// Returns how many rows of `outputs (K, S)` are constant, and `ρ_jk` of each pair of the others, `j < k`.
fn correlations(outputs: &Tensor) -> Result<(usize, Vec<f64>)> {
    let outputs = outputs.to_dtype(DType::F64)?;
    let least = outputs.min(1)?.to_vec1::<f64>()?;
    let most = outputs.max(1)?.to_vec1::<f64>()?;
    let changing: Vec<u32> =
        (0..).zip(least.iter().zip(&most)).filter(|(_, (a, b))| a < b).map(|(k, _)| k).collect();
    let constant = least.len() - changing.len();
    if changing.is_empty() {
        return Ok((constant, Vec::new()));
    }
    let count = changing.len();
    let outputs = outputs.index_select(&upload(changing, count, outputs.device())?, 0)?;
    let centred = outputs.broadcast_sub(&outputs.mean_keepdim(1)?)?;
    let unit = centred.broadcast_div(&centred.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    let all = unit.matmul(&unit.t()?)?.to_vec2::<f64>()?;
    let above = all.iter().enumerate().flat_map(|(j, row)| row[j + 1..].iter().copied());
    Ok((constant, above.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::Device;

    #[test]
    fn without_a_pair_there_is_no_mean() {
        assert_eq!(means(&[0.5, -0.25]), [Some(0.125), Some(0.375)]);
        assert_eq!(means(&[]), [None, None]);
    }

    /// Of (1, 2, 3), its double, its opposite, (1, 0, 1), which is perpendicular to it about the mean, and a constant.
    #[test]
    fn correlations_of_hand_worked_rows() -> Result<()> {
        let rows = [[1f32, 2., 3.], [2., 4., 6.], [-1., -2., -3.], [7., 7., 7.], [1., 0., 1.]];
        let (constant, found) = correlations(&Tensor::new(&rows, &Device::Cpu)?)?;
        assert_eq!(constant, 1);
        let expected = [1.0, -1.0, 0.0, -1.0, 0.0, 0.0];
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
        }
        assert_eq!(correlations(&Tensor::new(&[[1f32, 1.]], &Device::Cpu)?)?, (1, vec![]));
        Ok(())
    }
}
