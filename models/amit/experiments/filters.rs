//! Fig. 8: how a filter develops at different places once it is no longer shared.

use super::super::diagnostics::correlation;
use super::arm::{Arm, Runner, URFB, arm, numbers};
use candle::{Device, IndexOp, Tensor};
use hebbian_train::{Checkpoint, Error, Figure, Result, Spread, Table, filter_rows};
use serde_json::json;

/// Row and column of an output.
type Place = (usize, usize);

/// Number of filters that are drawn, one per row.
const SHOWN: usize = 10;

/// Trains untied simpnet with URFB, and draws the filters of the first seed at four places of the
/// image, one column per place.
pub(super) fn draw(runner: &Runner) -> Result<Figure> {
    let network = "simpnet-untied";
    let base = runner.network(network)?;
    let trained = runner.train(vec![arm(network, &base, URFB)])?;
    let mut table =
        Table::new(["seed", "filter", "row", "column", "correlation_with_the_other_places"]);
    let mut text = Table::new(["seed", "filters", "correlation between places", "sd"]);
    let (mut picture, mut drawn) = (None, None);
    for one in &trained {
        for run in &one.runs {
            let seed = run.results.seed;
            let (places, filters) = at_places(&first_layer(runner, &one.arm, seed)?)?;
            let mut means = Vec::new();
            for (index, filter) in filters.iter().enumerate() {
                for (at, (row, column)) in places.iter().enumerate() {
                    let others = (0..places.len()).filter(|&other| other != at);
                    let with = others.map(|other| correlation(&filter[at], &filter[other]));
                    // NaN if a filter has no spread.
                    let with: Vec<f64> = with.collect::<candle::Result<_>>()?;
                    let mean = Spread::of(&with).map(|spread| spread.mean);
                    means.extend(mean.filter(|mean| mean.is_finite()));
                    let place = [seed, index as u64, *row as u64, *column as u64];
                    table.row(place.map(Into::into).into_iter().chain([mean.into()]))?;
                }
            }
            let spread = Spread::of(&means);
            text.row([
                seed.into(),
                filters.len().into(),
                spread.map(|spread| spread.mean).into(),
                spread.and_then(|spread| spread.sd).into(),
            ])?;
            if picture.is_none() {
                let shown: Vec<&Tensor> = filters.iter().take(SHOWN).flatten().collect();
                let shown = Tensor::stack(&shown, 0)?;
                let rows = filter_rows(&shown, places.len())?.magnified(2);
                picture = Some(rows.titled("a filter a row, a place a column")?);
                let weights = shown.flatten_from(1)?.to_vec2::<f32>()?;
                drawn =
                    Some(json!({ "places": places, "shape": shown.dims(), "weights": weights }));
            }
        }
    }
    let picture = picture.ok_or_else(|| Error::Argument("no filter was trained".to_string()))?;
    let mut numbers = numbers(&trained);
    numbers["filters"] = drawn.unwrap_or_default();
    let text =
        format!("{text:.3}\n{SHOWN} filters of seed {} are drawn\n", runner.study.options.seed);
    Ok(Figure { table, more_tables: Vec::new(), numbers, text, picture })
}

/// The untied weights `(OH, OW, K, C, h, w)` of the first layer.
fn first_layer(runner: &Runner, arm: &Arm, seed: u64) -> Result<Tensor> {
    let path = runner.study.folder(arm, seed);
    let (checkpoint, name) = (Checkpoint::load(&path, &Device::Cpu)?, "layers.0.weight");
    if checkpoint.dims(name).is_none_or(|dims| dims.len() != 6) {
        let problem = format!("{}: the first layer is not untied", path.display());
        return Err(Error::Argument(problem));
    }
    checkpoint.tensor(name)
}

/// Returns four places, and each filter `(C, h, w)` at all of them.
fn at_places(weight: &Tensor) -> Result<(Vec<Place>, Vec<Vec<Tensor>>)> {
    let (height, width, units) = (weight.dim(0)?, weight.dim(1)?, weight.dim(2)?);
    // Far apart, but with the whole kernel inside the image.
    let near = |side: usize| (3 * (side - 1)).div_ceil(10).min(side - 1);
    let ends = |side: usize| [near(side), side - 1 - near(side)];
    let rows = ends(height).into_iter();
    let places: Vec<Place> = rows.flat_map(|row| ends(width).map(|column| (row, column))).collect();
    let at = |unit: usize| places.iter().map(move |&(row, column)| weight.i((row, column, unit)));
    let filters = (0..units).map(|unit| at(unit).collect::<candle::Result<_>>());
    let filters = filters.collect::<candle::Result<_>>()?;
    Ok((places, filters))
}
