//! Units in terms of the image: what they see of it, how often each wins, and what excites them most.

use candle::{D, DType, Device, Tensor, Var};
use candle_hebbian::device::{to_host, upload};
use candle_hebbian::{Competition, HardWta, Rng};

use crate::engine::Model;
use crate::{Error, Result};

/// A layer whose units can be drawn.
#[derive(Debug, Clone)]
pub struct Units {
    /// The layer's name, such as `layer 1` or `conv1`.
    pub name: String,
    /// The weights of each unit on the output of the layer below, or on the image: `(K, C, h, w)`, or `(K, F)` on all
    /// of it, flattened.
    pub weight: Tensor,
    /// Whether the units compete, so that a unit that never wins does not learn.
    pub competes: bool,
    /// The stride of the units' window; its kernel size is that of the weights.
    pub stride: usize,
    /// Pixels added on each side of the input.
    pub padding: usize,
    /// The windows over which the responses are pooled, one after the other, before the next layer reads them.
    pub pools: Vec<Window>,
}

/// A square window that moves over a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The side of the window.
    pub kernel: usize,
    /// The step between neighbouring places of the window.
    pub stride: usize,
    /// Pixels added on each side.
    pub padding: usize,
}

/// The receptive fields of a layer's units in an image.
#[derive(Debug, Clone)]
pub struct Field {
    /// `(K, C, H, W)`: how much each pixel counts, by linear back-projection.
    pub pattern: Tensor,
    /// The distance in pixels between the fields of neighbouring units of the map.
    pub step: usize,
    /// How many rows and columns the field of the map's first unit extends beyond the upper left corner of the image.
    pub beyond: usize,
}

/// Computes the receptive fields of every layer by linear back-projection, as if there were no non-linearity, for
/// images `(C, H, W)`:
///
/// ```text
/// R_1[k] = w_1[k]      R_l[k] = Σ_{i,j} Σ_c w_l[k, c, i, j] · R̄_{l−1}[c] moved by (i, j) steps
/// ```
///
/// where `R̄` is the mean of `R` over the places of the pooling windows. `R` is the gradient of the linear response if
/// pools average and nothing else lies between the layers. Max pooling is treated as average pooling, and operations
/// that only rescale units, such as batch norm, are left out.
///
/// ```
/// use candle::{DType, Device, Tensor};
/// use hebbian_train::{Units, Window, receptive_fields};
/// let weight = |shape| Tensor::ones(shape, DType::F32, &Device::Cpu);
/// let pools = vec![Window { kernel: 2, stride: 2, padding: 0 }];
/// let (name, competes) = (String::new(), true);
/// let layer = |weight, pools| {
///     Units { name: name.clone(), weight, competes, stride: 1, padding: 2, pools }
/// };
/// let layers = [layer(weight((1, 1, 5, 5))?, pools), layer(weight((1, 1, 3, 3))?, Vec::new())];
/// let fields = receptive_fields(&layers, (1, 8, 8))?;
/// // 5 pixels, one more for the pool, and twice two more for the kernel.
/// assert_eq!(fields[1].pattern.dims(), [1, 1, 10, 10]);
/// assert_eq!((fields[1].step, fields[1].beyond), (2, 2 + 2 * 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When weights do not fit the layer below, or patterns have more than 2²⁸ values, as with very large strides.
pub fn receptive_fields(layers: &[Units], image: (usize, usize, usize)) -> Result<Vec<Field>> {
    Fields::new(layers, image).collect()
}

/// The [receptive fields](receptive_fields) of one layer after the other.
pub(crate) struct Fields<'a> {
    layers: std::slice::Iter<'a, Units>,
    image: (usize, usize, usize),
    /// For the map that the next layer reads: the patterns of its channels at one place, the step between places, and
    /// where the first place begins. `None` below the first layer.
    below: Option<(Patterns, usize, usize)>,
}

impl<'a> Fields<'a> {
    /// Fields in images `(C, H, W)`.
    pub(crate) fn new(layers: &'a [Units], image: (usize, usize, usize)) -> Self {
        Self { layers: layers.iter(), image, below: None }
    }

    /// Returns the multiplications that the fields of the next layer take.
    pub(crate) fn cost(&self) -> usize {
        let read = self.below.as_ref().map_or(1, |(patterns, ..)| {
            let Patterns { channels, height, width, .. } = patterns;
            channels * height * width
        });
        self.layers.as_slice().first().map_or(0, |layer| layer.weight.elem_count() * read)
    }

    fn field(&mut self, layer: &Units) -> Result<Field> {
        let (channels, height, width) = self.image;
        let weight = to_host(&layer.weight)?.to_dtype(DType::F32)?;
        let weight = match (&self.below, weight.rank()) {
            (_, 4) => weight,
            (None, _) => weight.reshape(((), channels, height, width))?,
            (Some((below, ..)), _) => weight.reshape(((), below.count, 1, 1))?,
        };
        let (below, mut step, mut beyond) =
            self.below.take().unwrap_or_else(|| (Patterns::of_pixels(channels), 1, 0));
        let mut seen = below.read_by(&layer.name, &weight, step)?;
        // Distances that saturate are further away than any pixel.
        beyond = layer.padding.saturating_mul(step).saturating_add(beyond);
        step = step.saturating_mul(layer.stride);
        let field = Field { pattern: seen.tensor()?, step, beyond };
        for &Window { kernel, stride, padding } in &layer.pools {
            seen = seen.averaged(&layer.name, kernel, step)?;
            beyond = padding.saturating_mul(step).saturating_add(beyond);
            step = step.saturating_mul(stride);
        }
        self.below = Some((seen, step, beyond));
        Ok(field)
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field>;

    fn next(&mut self) -> Option<Self::Item> {
        let layer = self.layers.next()?;
        Some(self.field(layer))
    }
}

/// Patterns of one size in an image, one after the other.
struct Patterns {
    count: usize,
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Patterns {
    /// The pattern of each channel of an image: the pixel itself.
    fn of_pixels(channels: usize) -> Self {
        let mut values = vec![0.0; channels * channels];
        (0..channels).for_each(|channel| values[channel * channels + channel] = 1.0);
        Self { count: channels, channels, height: 1, width: 1, values }
    }

    /// Zeros for `count` units of the layer `name`, large enough for these patterns at `rows` × `columns` places,
    /// `step` pixels apart.
    fn blank(
        &self,
        name: &str,
        count: usize,
        (rows, columns): (usize, usize),
        step: usize,
    ) -> Result<Self> {
        /// 1 GiB.
        const MOST_VALUES: usize = 1 << 28;
        let Self { channels, .. } = *self;
        let larger = |side: usize, places: usize| {
            places.saturating_sub(1).saturating_mul(step).saturating_add(side)
        };
        let (height, width) = (larger(self.height, rows), larger(self.width, columns));
        let values = [channels, height, width].into_iter().fold(count, usize::saturating_mul);
        if values > MOST_VALUES {
            return Err(Error::Argument(format!(
                "{name}: {count} units that see {channels}x{height}x{width} values are more than {MOST_VALUES}, \
                 which is too much to draw"
            )));
        }
        Ok(Self { count, channels, height, width, values: vec![0.0; values] })
    }

    /// Adds `share` times `values`, patterns of the size `height` × `width`, at `top` and `left`.
    fn add(
        &mut self,
        values: &[f32],
        (height, width): (usize, usize),
        (top, left): (usize, usize),
        share: f32,
    ) {
        let canvases = self.values.chunks_exact_mut(self.height * self.width);
        for (plane, canvas) in values.chunks_exact(height * width).zip(canvases) {
            for (y, line) in plane.chunks_exact(width).enumerate() {
                let to = &mut canvas[(top + y) * self.width + left..][..width];
                to.iter_mut().zip(line).for_each(|(to, value)| *to += share * value);
            }
        }
    }

    /// The patterns of units with weights `(K, C, h, w)` for these patterns, whose places are `step` pixels apart.
    fn read_by(&self, name: &str, weight: &Tensor, step: usize) -> Result<Self> {
        let (units, inputs, rows, columns) = weight.dims4()?;
        if inputs != self.count {
            return Err(Error::Argument(format!(
                "{name}: weights of shape {:?}, expected (K, {}, h, w): one input for each channel",
                weight.dims(),
                self.count
            )));
        }
        let mut seen = self.blank(name, units, (rows, columns), step)?;
        let patterns = Tensor::from_slice(&self.values, (inputs, ()), &Device::Cpu)?;
        for i in 0..rows {
            for j in 0..columns {
                let weights = weight.narrow(2, i, 1)?.narrow(3, j, 1)?.reshape((units, inputs))?;
                let part = weights.contiguous()?.matmul(&patterns)?.flatten_all()?;
                let (part, size) = (part.to_vec1::<f32>()?, (self.height, self.width));
                seen.add(&part, size, (i * step, j * step), 1.0);
            }
        }
        Ok(seen)
    }

    /// The mean of the patterns over `kernel` × `kernel` places, `step` pixels apart.
    fn averaged(&self, name: &str, kernel: usize, step: usize) -> Result<Self> {
        let mut mean = self.blank(name, self.count, (kernel, kernel), step)?;
        let share = 1.0 / (kernel * kernel) as f32;
        for place in 0..kernel * kernel {
            let at = (place / kernel * step, place % kernel * step);
            mean.add(&self.values, (self.height, self.width), at, share);
        }
        Ok(mean)
    }

    fn tensor(&self) -> Result<Tensor> {
        let shape = (self.count, self.channels, self.height, self.width);
        Ok(Tensor::from_slice(&self.values, shape, &Device::Cpu)?)
    }
}

/// The share of competitions that each unit wins, where `responses` is `(B, K)` or `(B, K, h, w)`: there is one
/// competition at every position of every image, and among equal responses the first wins.
///
/// # Errors
/// When the responses have another shape, or there are none.
pub fn win_shares(responses: &Tensor) -> Result<Vec<f64>> {
    if responses.rank() < 2 || responses.elem_count() == 0 {
        let shape = responses.dims();
        return Err(Error::Argument(format!(
            "responses of {shape:?} have no winner: expected (B, K) or (B, K, h, w), not empty"
        )));
    }
    let units = responses.dim(1)?;
    let rows = responses.detach().transpose(1, D::Minus1)?.contiguous()?.reshape(((), units))?;
    // Not by `argmax`: which of equal responses it finds depends on the device. Half precision could not count them.
    let wins = HardWta.compete(&rows)?.to_dtype(DType::F32)?.sum(0)?;
    let (wins, all) = (to_host(&wins)?.to_vec1::<f64>()?, rows.dim(0)? as f64);
    Ok(wins.into_iter().map(|wins| wins / all).collect())
}

/// Returns the multiplications that the layers up to `layer` take for one image `(1, C, H, W)`, as far as their units
/// are [known](Model::units).
///
/// # Errors
/// When the model does not accept such an image.
pub fn multiplications(model: &dyn Model, layer: usize, image: &Tensor) -> Result<u64> {
    let mut all = 0;
    for (at, units) in model.units()?.iter().enumerate().take(layer + 1) {
        let positions: usize = model.responses(at, image)?.dims()[2..].iter().product();
        all += (units.weight.elem_count() * positions) as u64;
    }
    Ok(all)
}

/// The settings of the search for an image that excites a unit most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ascent {
    /// The number of ascent steps.
    pub steps: usize,
    /// The length of each step, as a fraction of the image's norm.
    pub rate: f64,
    /// The norm that images keep.
    pub norm: f64,
}

/// Finds, for each of `units` of a layer, an image `(C, H, W)` that excites the unit most among images of the given
/// norm, by projected gradient ascent from noise on the response `u` at the middle of the map; `None` if the model's
/// responses have no gradient with respect to the image:
///
/// ```text
/// x ← ρ·y/‖y‖,   y = x + η·ρ·g/‖g‖,   g = ∂u_k(x)/∂x
/// ```
///
/// with `ρ` the [`norm`](Ascent::norm) and `η` the [`rate`](Ascent::rate). For a linear unit, the image is its weights,
/// scaled to that norm. Source: Journé et al. 2023 (SoftHebb), Fig. 2, where images are found this way.
///
/// # Errors
/// When the model does not accept such a layer or such images, or a unit does not exist.
pub fn exciting_images(
    model: &dyn Model,
    layer: usize,
    units: &[usize],
    (channels, height, width): (usize, usize, usize),
    ascent: Ascent,
    (rng, device): (&Rng, &Device),
) -> Result<Option<Tensor>> {
    let Ascent { steps, rate, norm } = ascent;
    let shape = (units.len(), channels, height, width);
    let noise = rng.stream("ascent").normal(0.0, 1.0, shape, DType::F32, device)?;
    let mut images = of_norm(&noise, norm)?;
    for _ in 0..steps {
        let var = Var::from_tensor(&images)?;
        let mut responses = model.responses(layer, var.as_tensor())?;
        while responses.rank() > 2 {
            let middle = responses.dim(2)? / 2;
            responses = responses.narrow(2, middle, 1)?.squeeze(2)?;
        }
        let all = responses.dim(1)?;
        let mut chosen = vec![0f32; units.len() * all];
        for (row, &unit) in units.iter().enumerate() {
            if unit >= all {
                return Err(Error::Argument(format!(
                    "there is no unit {unit}: the layer has {all}, counted from 0"
                )));
            }
            chosen[row * all + unit] = 1.0;
        }
        let chosen = upload(chosen, (units.len(), all), device)?;
        let grads = (responses * chosen)?.sum_all()?.backward()?;
        let Some(gradient) = grads.get(&var) else { return Ok(None) };
        let uphill = of_norm(gradient, rate * norm)?;
        images = of_norm(&(images + uphill)?, norm)?;
    }
    Ok(Some(images))
}

/// Images `(N, …)`, each scaled to `norm`; zeros stay zeros.
fn of_norm(images: &Tensor, norm: f64) -> Result<Tensor> {
    let flat = images.detach().flatten_from(1)?;
    let norms = flat.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(f32::MIN_POSITIVE)?;
    Ok((flat.broadcast_div(&norms)? * norm)?.reshape(images.shape())?)
}
