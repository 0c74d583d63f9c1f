//! Pictures of the units of a network, before and after learning.

use candle::{DType, Device, Tensor};
use candle_hebbian::device::to_host;
use hebbian_data::{ImageSet, evenly};

use crate::chart::text_picture;
use crate::engine::Model;
use crate::picture::{GAP, Picture, drawn};
use crate::units::{Fields, Units, multiplications, win_shares};
use crate::{Checkpoint, Result};

/// The most units of a layer that are drawn.
const DRAWN: usize = 100;
/// How many images wins are counted in: at most if each is one competition, at most if each position of an image is
/// one, and at least. Between these, as many as take so many multiplications.
const IMAGES: (usize, usize) = (5_000, 500);
const FEW_IMAGES: usize = 100;
const COUNTING: u64 = 20_000_000_000;
/// Layers whose receptive fields take more multiplications are not drawn.
const SEEING: usize = 20_000_000_000;
/// Images whose responses are in memory at the same time.
const BATCH: usize = 100;
/// The least size, in pixels, to which the longer side of a filter is magnified; the gap between the two of a unit; and
/// the space around them.
const SIDE: usize = 60;
const INSIDE: usize = 3;
const AROUND: usize = 12;
/// The colours of the text below a unit, and below a unit without wins.
const INK: [u8; 3] = [34; 3];
const DEAD: [u8; 3] = [176, 58, 0];
/// The width and height of the scale.
const SCALE: (usize, usize) = (200, 14);

/// The units of a network before learning, for [pictures](Self::pictures) of what became of them.
#[derive(Debug, Clone)]
pub struct UnitsBefore {
    units: Vec<Units>,
    loaded: bool,
}

impl UnitsBefore {
    /// Copies the units of a network with fresh weights. They are not part of a state, because the seed determines
    /// them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fresh(model: &dyn Model) -> Result<Self> {
        let mut units = model.units()?;
        for layer in &mut units {
            // Not `copy`, which shares memory on Metal.
            layer.weight = layer.weight.detach().force_contiguous()?;
        }
        Ok(Self { units, loaded: false })
    }

    /// Copies the units of a network that starts with the weights of a checkpoint.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loaded(model: &dyn Model) -> Result<Self> {
        Ok(Self { loaded: true, ..Self::fresh(model)? })
    }

    /// The units, if their weights were fresh.
    pub fn if_fresh(&self) -> Option<&[Units]> {
        (!self.loaded).then_some(&self.units)
    }

    /// The tensors of a learner's [state](crate::State): the weights, unless they were fresh.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let saved = self.units.iter().filter(|_| self.loaded);
        saved.map(|layer| (name(layer), layer.weight.clone())).collect()
    }

    /// Restores the weights from a learner's state, if they are in it.
    ///
    /// # Errors
    /// If the state belongs to another network.
    pub fn restore(&mut self, state: &Checkpoint) -> Result<()> {
        for layer in &mut self.units {
            if state.dims(&name(layer)).is_some() {
                let weight = &layer.weight;
                layer.weight = state.take(&name(layer), weight.shape(), weight.dtype())?;
                self.loaded = true;
            }
        }
        Ok(())
    }

    /// Draws the units of the network as they are now beside what they were: those of the first layer as `filters`,
    /// those of the layers above as `receptive_fields_2` and so on, by linear back-projection, see
    /// [`receptive_fields`](crate::receptive_fields). Layers whose receptive fields take more than 2·10¹⁰
    /// multiplications are left out.
    ///
    /// The unit that responds most strongly of all at most positions of images comes first, and at most a hundred are
    /// drawn. Below each are its number, its radius `‖w‖` and its share of these positions, which are its wins if the
    /// units compete; then a unit without any is marked. Up to 5,000 `images`, evenly spread, are looked at.
    ///
    /// # Errors
    /// If the network does not accept such images.
    pub fn pictures(
        &self,
        model: &dyn Model,
        images: &ImageSet,
        device: &Device,
    ) -> Result<Vec<(String, Picture)>> {
        let now = model.units()?;
        let mut before = Fields::new(&self.units, images.shape());
        let mut after = Fields::new(&now, images.shape());
        let mut pictures = Vec::new();
        for (at, layer) in now.iter().enumerate() {
            if at > 0 && after.cost() > SEEING {
                break;
            }
            let (before, after) = match (before.next(), after.next()) {
                (Some(Ok(before)), Some(Ok(after))) => (before, after),
                (Some(Err(error)), _) | (_, Some(Err(error))) if at == 0 => return Err(error),
                // More than can be drawn.
                _ => break,
            };
            let (shares, counted) = shares(model, at, images, device)?;
            let (what, name) = match at {
                0 => ("filters", "filters".to_string()),
                _ => ("receptive fields", format!("receptive_fields_{}", at + 1)),
            };
            let wins = if layer.competes { "wins" } else { "strongest responses" };
            let title = format!("{what} of {} ({wins} in {counted} training images)", layer.name);
            let patterns = (&before.pattern, &after.pattern);
            pictures.push((name, picture(layer, patterns, &shares, &title)?));
        }
        Ok(pictures)
    }
}

/// The name of a layer's weights in a state.
fn name(layer: &Units) -> String {
    format!("before.{}.weight", layer.name)
}

/// The share of positions at which each unit of a layer responds most strongly, and the number of images looked at.
fn shares(
    model: &dyn Model,
    at: usize,
    images: &ImageSet,
    device: &Device,
) -> Result<(Vec<f64>, usize)> {
    let batch = |indices: &[usize]| images.batch(indices, DType::F32, device);
    let (first, _) = batch(&[0])?;
    let cost = multiplications(model, at, &first)?;
    let most = if model.responses(at, &first)?.rank() == 2 { IMAGES.0 } else { IMAGES.1 };
    let affordable = usize::try_from(COUNTING / cost.max(1)).unwrap_or(usize::MAX);
    let some = evenly(images.len(), affordable.clamp(FEW_IMAGES, most));
    let mut shares = Vec::new();
    for indices in some.chunks(BATCH) {
        let part = win_shares(&model.responses(at, &batch(indices)?.0)?)?;
        shares.resize(part.len(), 0.0);
        let weight = indices.len() as f64 / some.len() as f64;
        shares.iter_mut().zip(part).for_each(|(share, part)| *share += weight * part);
    }
    Ok((shares, some.len()))
}

/// Draws the patterns `(K, C, h, w)` of a layer's units, before and after learning, under a title and a scale.
fn picture(
    layer: &Units,
    (before, after): (&Tensor, &Tensor),
    shares: &[f64],
    title: &str,
) -> Result<Picture> {
    let (count, channels, height, width) = after.dims4()?;
    let weights = to_host(&layer.weight)?.to_dtype(DType::F32)?;
    let radii = weights.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?.to_vec1::<f32>()?;
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(radii[b].total_cmp(&radii[a])));
    order.truncate(DRAWN);
    let captions = order.iter().map(|&unit| {
        let (share, colour) = match shares[unit] {
            none if none <= 0.0 && layer.competes => ("none".to_string(), DEAD),
            none if none <= 0.0 => ("0 %".to_string(), INK),
            share if share < 0.0005 => (format!("{:.2} %", 100.0 * share), INK),
            share => (format!("{:.1} %", 100.0 * share), INK),
        };
        text_picture(&format!("{unit}  r {:.2}  {share}", radii[unit]), colour)
    });
    let captions = captions.collect::<Result<Vec<_>>>()?;

    let factor = SIDE.div_ceil(height.max(width));
    let (across, down) = (width * factor, height * factor);
    let below = captions.iter().map(Picture::height).max().unwrap_or_default();
    let widest = captions.iter().map(Picture::width).max().unwrap_or_default();
    let cell = (widest.max(2 * across + INSIDE) + AROUND, down + INSIDE + below + AROUND);
    let columns = (1..).find(|n| n * n * cell.0 >= order.len() * cell.1).unwrap_or(1);
    let rows =
        Tensor::new(order.iter().map(|&unit| unit as u32).collect::<Vec<_>>(), &Device::Cpu)?;
    let shown = |patterns: &Tensor| drawn(&patterns.index_select(&rows, 0)?);
    let (before, after) = (shown(before)?, shown(after)?);
    let mut grid =
        Picture::new(columns * cell.0 + AROUND, order.len().div_ceil(columns) * cell.1, GAP);
    for (at, ((before, after), caption)) in before.iter().zip(&after).zip(&captions).enumerate() {
        let (left, top) = (AROUND + at % columns * cell.0, at / columns * cell.1);
        grid.paste((left, top), &before.magnified(factor));
        grid.paste((left + across + INSIDE, top), &after.magnified(factor));
        grid.paste((left, top + down + INSIDE), caption);
    }
    let mut bar = Picture::new(SCALE.0, SCALE.1 + AROUND, GAP);
    for x in 0..SCALE.0 {
        bar.fill((x, 0), (1, SCALE.1), [(x * 255 / (SCALE.0 - 1)) as u8; 3]);
    }
    let of = if channels == 3 { "each colour" } else { "each filter" };
    let scale = text_picture(&format!("of {of}: -largest |w|, 0, +largest |w|"), INK)?;
    let mut legend = Picture::new(AROUND + SCALE.0 + scale.width(), SCALE.1 + AROUND, GAP);
    legend.paste((AROUND, 0), &bar);
    legend.paste((AROUND + SCALE.0, 0), &scale);
    let shown = match order.len() < count {
        true => format!("{title}, the first {} of {count}", order.len()),
        false => title.to_string(),
    };
    let share = match layer.competes {
        true => "share of wins (none: dead)",
        false => "how often it responds most strongly",
    };
    let about = format!(
        "left before learning, right after; ordered by share; below: unit, radius r, {share}"
    );
    legend.above(&grid).titled(&format!("{shown}\n{about}"))
}
