//! The units of each layer: what they read, how often they win, what excites them.

use super::images::{Images, multiplications};
use super::sheet::{Shades, Sheet};
use anyhow::Result;
use candle::{DType, Device, IndexOp, Tensor};
use candle_hebbian::Rng;
use candle_hebbian::device::to_host;
use hebbian_models::Model;
use hebbian_train::{Ascent, Field, Units, exciting_images, receptive_fields, win_shares};
use serde::Serialize;

/// How many units of a layer are shown, and how many of them with what excites them, at most and at least: a page of
/// several runs shows fewer of each.
const SHOWN: (usize, usize) = (256, 32);
const DETAILED: (usize, usize) = (24, 8);
/// How many patches are shown for a unit: those that excite it most.
const PATCHES: usize = 9;
/// How many images are looked at, at most and at least, and how many multiplications this may take.
const IMAGES: usize = 1000;
const FEW_IMAGES: usize = 100;
const LOOKING: u64 = 20_000_000_000;
/// The search for the image that excites a unit most: steps, rate, multiplications that it may take, and the number of
/// units for which it is always made.
const STEPS: usize = 30;
const RATE: f64 = 0.3;
const SEEKING: u64 = 20_000_000_000;
const FEW_UNITS: usize = 8;
/// Images whose responses are in memory at the same time.
const BATCH: usize = 100;
/// A unit whose share of wins is below this has won nowhere.
const EPSILON: f64 = 1e-12;

/// A layer in the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Layer {
    name: String,
    /// `48 units, weights 1 × 5 × 5`
    about: String,
    /// Whether its units compete.
    competes: bool,
    /// Whether it sees the image itself.
    first: bool,
    /// Height and width of what a unit sees of an image.
    field: [usize; 2],
    units: Vec<Unit>,
    /// The number of units, shown or not.
    count: usize,
    /// If the units compete, how many of all units won nowhere in these images.
    without_win: Option<usize>,
    /// Images in which wins were counted.
    images: usize,
    /// Weights, or receptive fields.
    filters: Sheet,
    /// The filters before the first step, if they are known.
    start: Option<Sheet>,
    /// How many of the first units are shown with what excites them most: an image, and `per_unit` patches.
    detailed: usize,
    exciting: Option<Sheet>,
    patches: Option<Sheet>,
    per_unit: usize,
}

/// A unit; units are in the order of their wins.
#[derive(Debug, Clone, Serialize)]
struct Unit {
    unit: usize,
    radius: f64,
    /// The share of positions at which it responds most strongly of all units.
    share: Option<f64>,
}

/// Returns every layer whose units can be drawn; `start` is the network before learning, and the page shows the layers
/// of this many `runs`.
pub(super) fn layers(
    model: &Model,
    start: Option<&Model>,
    images: Option<&Images>,
    device: &Device,
    runs: usize,
) -> Result<Vec<Layer>> {
    let units = model.network().units()?;
    let fields = |units: &[Units]| receptive_fields(units, model.seen());
    let starts = start.map(|start| fields(&start.network().units()?)).transpose()?;
    let layer = |(at, (units, field)): (usize, (&Units, &Field))| {
        let start = starts.as_ref().and_then(|fields| fields.get(at));
        layer((model, device, runs), images, at, units, (field, start))
    };
    units.iter().zip(&fields(&units)?).enumerate().map(layer).collect()
}

fn layer(
    (model, device, runs): (&Model, &Device, usize),
    images: Option<&Images>,
    at: usize,
    units: &Units,
    (field, start): (&Field, Option<&Field>),
) -> Result<Layer> {
    let count = units.weight.dim(0)?;
    let radii = to_host(&units.weight.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?)?.to_vec1::<f64>()?;
    let seen = images.map(|images| Seen::new(model, images, device, at, count)).transpose()?;
    let shares = seen.as_ref().map(|seen| &seen.shares);
    let mut order: Vec<usize> = (0..count).collect();
    let share = |unit: usize| shares.map_or(0.0, |shares| shares[unit]);
    order.sort_by(|&a, &b| {
        share(b).total_cmp(&share(a)).then(match shares {
            Some(_) => radii[b].total_cmp(&radii[a]),
            None => a.cmp(&b),
        })
    });
    let few = |(most, least): (usize, usize)| (most / runs.max(1)).max(least);
    order.truncate(few(SHOWN));
    let rows =
        Tensor::new(order.iter().map(|&unit| unit as u32).collect::<Vec<_>>(), &Device::Cpu)?;
    let (_, _, height, width) = field.pattern.dims4()?;
    let detailed = order.len().min(few(DETAILED));
    let (mut exciting, mut patches) = (None, None);
    if let (Some(seen), Some(images)) = (&seen, images) {
        patches = Some(seen.patches(images, field, &order[..detailed])?);
        if at > 0 {
            exciting = excite(model, device, at, &order[..detailed], field, seen)?;
        }
    }
    let drawn = |field: &Field| Sheet::new(&field.pattern.index_select(&rows, 0)?, Shades::Signed);
    let weights: Vec<String> = units.weight.dims()[1..].iter().map(usize::to_string).collect();
    Ok(Layer {
        name: units.name.clone(),
        about: format!("{count} units, weights {}", weights.join(" × ")),
        competes: units.competes,
        first: at == 0,
        field: [height, width],
        units: order
            .iter()
            .map(|&unit| Unit { unit, radius: radii[unit], share: shares.map(|all| all[unit]) })
            .collect(),
        count,
        without_win: shares
            .filter(|_| units.competes)
            .map(|shares| shares.iter().filter(|&&share| share < EPSILON).count()),
        images: seen.as_ref().map_or(0, |seen| seen.images),
        filters: drawn(field)?,
        start: start.map(drawn).transpose()?,
        detailed,
        exciting,
        patches,
        per_unit: PATCHES,
    })
}

/// The place in an image at which a unit responds most strongly.
#[derive(Clone, Copy)]
struct Place {
    response: f32,
    image: usize,
    row: usize,
    column: usize,
}

/// How the units of a layer respond to images.
struct Seen {
    images: usize,
    shares: Vec<f64>,
    /// For each unit, the places in images that excite it most, best first.
    best: Vec<Vec<Place>>,
    /// Rows and columns of the map.
    map: (usize, usize),
    /// Multiplications per image.
    cost: u64,
    /// The mean norm of the images as the network sees them.
    norm: f64,
}

impl Seen {
    fn new(model: &Model, set: &Images, device: &Device, at: usize, units: usize) -> Result<Self> {
        let cost = multiplications(model, set, device, at)?;
        let images = set.affordable(cost, LOOKING, FEW_IMAGES).min(IMAGES);
        let mut seen = Self {
            images,
            shares: vec![0.0; units],
            best: vec![Vec::new(); units],
            map: (1, 1),
            cost,
            norm: 0.0,
        };
        for indices in set.some(images).chunks(BATCH) {
            let batch = set.seen(model, indices, device)?;
            let norms = batch.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?;
            seen.norm += to_host(&norms)?.sum_all()?.to_scalar::<f64>()? / images as f64;
            let responses = model.network().responses(at, &batch)?.detach();
            let part = indices.len() as f64 / images as f64;
            let shares = win_shares(&responses)?;
            seen.shares.iter_mut().zip(shares).for_each(|(all, share)| *all += part * share);
            seen.note(&responses, indices)?;
        }
        Ok(seen)
    }

    /// Updates the best places of each unit with its responses to `images`, which are numbers of images.
    fn note(&mut self, responses: &Tensor, images: &[usize]) -> Result<()> {
        let (height, width) = match *responses.dims() {
            [_, _, height, width] => (height, width),
            _ => (1, 1),
        };
        self.map = (height, width);
        let (units, positions) = (self.best.len(), height * width);
        let values = responses.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let values = values.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        for (&image, maps) in images.iter().zip(values.chunks_exact(units * positions)) {
            for (best, map) in self.best.iter_mut().zip(maps.chunks_exact(positions)) {
                let mut most = 0;
                for (at, &response) in map.iter().enumerate() {
                    if response > map[most] {
                        most = at;
                    }
                }
                let (row, column) = (most / width, most % width);
                let place = Place { response: map[most], image, row, column };
                let at = best.partition_point(|one| one.response >= place.response);
                if at < PATCHES {
                    best.insert(at, place);
                    best.truncate(PATCHES);
                }
            }
        }
        Ok(())
    }

    /// Returns the patches that excite units most, `PATCHES` for each unit.
    fn patches(&self, set: &Images, field: &Field, units: &[usize]) -> Result<Sheet> {
        let mut patches = Vec::new();
        for &unit in units {
            let best = &self.best[unit];
            let images = set.shown(&best.iter().map(|place| place.image).collect::<Vec<_>>())?;
            for (index, place) in best.iter().enumerate() {
                patches.push(cut(&images.i(index)?, field, (place.row, place.column))?);
            }
            // If there are very few images, the rest is blank.
            let blank = patches[patches.len() - 1].zeros_like()?;
            patches.extend((best.len()..PATCHES).map(|_| blank.clone()));
        }
        Sheet::new(&Tensor::stack(&patches, 0)?, set.shades())
    }
}

/// Cuts out what a unit at a position of the map sees of an image `(C, H, W)`. If it sees beyond the edge, the patch is
/// moved inside; if the image is smaller than the patch, it is returned whole.
fn cut(image: &Tensor, field: &Field, (row, column): (usize, usize)) -> Result<Tensor> {
    let mut image = image.clone();
    for (axis, position) in [(1, row), (2, column)] {
        let (length, whole) = (field.pattern.dim(axis + 1)?, image.dim(axis)?);
        let length = length.min(whole);
        let start = (position * field.step).saturating_sub(field.beyond).min(whole - length);
        image = image.narrow(axis, start, length)?;
    }
    Ok(image.contiguous()?)
}

/// Computes the images that excite units most, cut to what the units see.
fn excite(
    model: &Model,
    device: &Device,
    at: usize,
    units: &[usize],
    field: &Field,
    seen: &Seen,
) -> Result<Option<Sheet>> {
    // The backward pass, to the image and to the weights, costs twice as much as the forward pass.
    let afford = SEEKING / (3 * STEPS as u64 * seen.cost).max(1);
    let units = &units[..units.len().min((afford as usize).max(FEW_UNITS))];
    let ascent = Ascent { steps: STEPS, rate: RATE, norm: seen.norm };
    let rng = Rng::new(0);
    let network = model.network();
    let found = exciting_images(network, at, units, model.seen(), ascent, (&rng, device))?;
    let Some(found) = found else { return Ok(None) };
    let middle = (seen.map.0 / 2, seen.map.1 / 2);
    let cut = |index| cut(&found.i(index)?, field, middle);
    let parts = (0..units.len()).map(cut).collect::<Result<Vec<_>>>()?;
    Ok(Some(Sheet::new(&Tensor::stack(&parts, 0)?, Shades::Signed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_where_the_unit_looks() -> Result<()> {
        let image = Tensor::arange(0f32, 36.0, &Device::Cpu)?.reshape((1, 6, 6))?;
        let pattern = Tensor::zeros((1, 1, 3, 3), DType::F32, &Device::Cpu)?;
        let field = Field { pattern, step: 2, beyond: 1 };
        // Rows 2·1 − 1 = 1 to 3, columns 2·2 − 1 = 3 to 5.
        let patch = cut(&image, &field, (1, 2))?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(patch, [9., 10., 11., 15., 16., 17., 21., 22., 23.]);
        // The first sees one row and column beyond the edge.
        let first = cut(&image, &field, (0, 0))?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(first[..3], [0., 1., 2.]);
        let pattern = Tensor::zeros((1, 1, 9, 9), DType::F32, &Device::Cpu)?;
        let whole = cut(&image, &Field { pattern, step: 2, beyond: 4 }, (1, 1))?;
        assert_eq!(whole.dims(), [1, 6, 6]);
        Ok(())
    }
}
