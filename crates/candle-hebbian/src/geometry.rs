//! Geometries: each is a way to unfold its input into rows, and to put responses back in shape.
//!
//! Rules and competitions see only `(sites, rows, …)`. A site is a group of units with weights and
//! a competition of its own: one for a dense layer, one per channel group for a convolution, one
//! per position for a locally connected layer.

use crate::ops::{Sites, Taps, unfold};
use candle::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// What a window reads outside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingMode {
    /// `00|1234|00`
    #[default]
    Zeros,
    /// `32|1234|32`, mirrored without repeating the edge.
    Reflect,
}

/// The window of a convolutional or locally connected layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conv2dConfig {
    /// Step between windows, in pixels; 1.
    pub stride: usize,
    /// Pixels added on each side; 0.
    pub padding: usize,
    /// Pixels added below and on the right beside `padding`; 0. An even kernel needs one for an
    /// output of the input's size.
    pub trailing_padding: usize,
    /// Step between the taps of a window, in pixels; 1.
    pub dilation: usize,
    /// Groups of channels that do not see each other; 1. Each group has its own competition.
    pub groups: usize,
    /// What the padding holds; zeros.
    pub padding_mode: PaddingMode,
}

impl Default for Conv2dConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: 0,
            trailing_padding: 0,
            dilation: 1,
            groups: 1,
            padding_mode: PaddingMode::Zeros,
        }
    }
}

impl Conv2dConfig {
    /// Stride 1 and zeros around, so that the output has the input's size. An even kernel reaches
    /// one pixel further below and on the right (TensorFlow's `SAME`).
    pub fn same(kernel: usize) -> Self {
        let around = kernel.saturating_sub(1);
        Self { padding: around / 2, trailing_padding: around % 2, ..Self::default() }
    }

    /// The side of an image of side `size` with its padding.
    pub(crate) fn padded(&self, size: usize) -> usize {
        size + 2 * self.padding + self.trailing_padding
    }

    /// `⌊(padded − dilation·(kernel − 1) − 1) / stride⌋ + 1` for `padded = size + 2·padding +
    /// trailing_padding`.
    ///
    /// # Errors
    /// A window larger than the padded image; reflection by as much as the image or more; a
    /// stride, dilation or kernel of 0.
    pub fn output_size(&self, size: usize, kernel: usize) -> Result<usize> {
        let Self { stride, dilation, padding_mode, .. } = *self;
        let padding = self.padding + self.trailing_padding;
        if stride == 0 || dilation == 0 || kernel == 0 {
            candle::bail!(
                "stride {stride}, dilation {dilation} and kernel {kernel} must all be at least 1"
            )
        }
        if padding_mode == PaddingMode::Reflect && padding >= size {
            candle::bail!(
                "reflection padding of {padding} needs an image of more than {padding} pixels, \
                 found {size}"
            )
        }
        let window = dilation * (kernel - 1) + 1;
        match self.padded(size).checked_sub(window) {
            Some(room) => Ok(room / stride + 1),
            None => candle::bail!(
                "image too small: {size} pixels with padding {padding} is less than the {window} \
                 that a kernel of {kernel} with dilation {dilation} covers"
            ),
        }
    }
}

impl Conv2dConfig {
    /// For each output position and tap, in the order `(OH, OW, kh, kw)`, whether the tap lies in
    /// the image of size `(height, width)` and not in its padding.
    ///
    /// # Errors
    /// Reflection, whose padding repeats pixels of the image; an image that is too small.
    pub fn taps_in_image(
        &self,
        (height, width): (usize, usize),
        (kh, kw): (usize, usize),
    ) -> Result<Vec<bool>> {
        if self.padding_mode == PaddingMode::Reflect {
            candle::bail!("taps in the image: expected zero padding, found reflection")
        }
        let (rows, columns) = (Taps::new(height, kh, self)?, Taps::new(width, kw, self)?);
        let mut inside = Vec::with_capacity(rows.source.len() * columns.source.len());
        for row in rows.source.chunks_exact(kh) {
            for column in columns.source.chunks_exact(kw) {
                for h in row {
                    inside.extend(column.iter().map(|w| h.is_some() && w.is_some()));
                }
            }
        }
        Ok(inside)
    }
}

/// Which inputs a unit sees, and which units share weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// Input `(…, F)`, weights `(K, F)`, output `(…, K)`.
    Dense,
    /// Input `(B, C, H, W)`, weights `(K, C/groups, kh, kw)`, output `(B, K, OH, OW)`.
    Conv2d(Conv2dConfig),
    /// As a convolution, but with weights of its own at each position:
    /// `(OH, OW, K, C, kh, kw)`. No groups.
    LocallyConnected2d(Conv2dConfig),
}

/// The weights of a layer as matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightDims {
    /// Groups of units that compete among themselves (`S`).
    pub sites: usize,
    /// Units per site (`K`).
    pub units: usize,
    /// Inputs per unit (`F`).
    pub fan_in: usize,
}

impl Geometry {
    /// The matrices that `weight` holds.
    ///
    /// # Errors
    /// A weight whose rank does not fit the geometry, or whose channels the groups do not divide.
    pub fn weight_dims(&self, weight: &[usize]) -> Result<WeightDims> {
        let dims = |sites, units, fan_in| Ok(WeightDims { sites, units, fan_in });
        match (self, weight) {
            (Self::Dense, &[k, f]) => dims(1, k, f),
            (Self::Conv2d(config), &[k, c, kh, kw]) => {
                if config.groups == 0 || k % config.groups != 0 {
                    candle::bail!("{k} output channels do not divide into {} groups", config.groups)
                }
                dims(config.groups, k / config.groups, c * kh * kw)
            }
            (Self::LocallyConnected2d(config), &[oh, ow, k, c, kh, kw]) => {
                if config.groups != 1 {
                    candle::bail!(
                        "a locally connected layer has no groups, found {}",
                        config.groups
                    )
                }
                dims(oh * ow, k, c * kh * kw)
            }
            (Self::Dense, _) => {
                candle::bail!("a dense weight has shape (K, F), found {weight:?}")
            }
            (Self::Conv2d(_), _) => {
                candle::bail!("a conv2d weight has shape (K, C/groups, kh, kw), found {weight:?}")
            }
            (Self::LocallyConnected2d(_), _) => candle::bail!(
                "a locally connected weight has shape (OH, OW, K, C, kh, kw), found {weight:?}"
            ),
        }
    }

    /// The rows `(S, P, F)` of the input `x`; differentiable in `x`.
    ///
    /// # Errors
    /// An input whose shape does not fit the weights.
    pub(crate) fn unfold(&self, x: &Tensor, weight: &[usize]) -> Result<Tensor> {
        let dims = self.weight_dims(weight)?;
        match *self {
            Self::Dense => match x.dims() {
                &[ref leading @ .., f] if f == dims.fan_in => {
                    x.reshape((1, leading.iter().product::<usize>(), f))
                }
                found => candle::bail!(
                    "a dense layer with weights {weight:?} takes input (…, {}), found {found:?}",
                    dims.fan_in
                ),
            },
            Self::Conv2d(config) => {
                let kernel = (weight[2], weight[3]);
                self.check_channels(x, weight[1] * config.groups, weight)?;
                unfold(x, kernel, &config, Sites::Groups(config.groups))
            }
            Self::LocallyConnected2d(config) => {
                let kernel = (weight[4], weight[5]);
                self.check_channels(x, weight[3], weight)?;
                let patches = unfold(x, kernel, &config, Sites::Positions)?;
                if patches.dim(0)? != dims.sites {
                    candle::bail!(
                        "an input of {:?} has {} windows, the untied weights {weight:?} have {}",
                        x.dims(),
                        patches.dim(0)?,
                        dims.sites
                    )
                }
                Ok(patches)
            }
        }
    }

    pub(crate) fn check_channels(
        &self,
        x: &Tensor,
        channels: usize,
        weight: &[usize],
    ) -> Result<()> {
        match x.dims() {
            &[_, c, _, _] if c == channels => Ok(()),
            found => candle::bail!(
                "a layer with weights {weight:?} takes input (B, {channels}, H, W), found {found:?}"
            ),
        }
    }

    /// Rows `(S, P, K)` in the shape of the layer's output for the input shape `x`. For an
    /// ungrouped convolution this is a view: channels stay adjacent in memory.
    pub(crate) fn fold(&self, rows: &Tensor, x: &[usize], weight: &[usize]) -> Result<Tensor> {
        let (sites, _, units) = rows.dims3()?;
        match *self {
            Self::Dense => {
                let mut shape = x.to_vec();
                shape.pop();
                shape.push(units);
                rows.reshape(shape)
            }
            Self::Conv2d(config) => {
                let oh = config.output_size(x[2], weight[2])?;
                let ow = config.output_size(x[3], weight[3])?;
                if sites == 1 {
                    return rows.reshape((x[0], oh, ow, units))?.permute((0, 3, 1, 2));
                }
                rows.reshape((sites, x[0], oh * ow, units))?.permute((1, 0, 3, 2))?.reshape((
                    x[0],
                    sites * units,
                    oh,
                    ow,
                ))
            }
            Self::LocallyConnected2d(_) => {
                let (oh, ow) = (weight[0], weight[1]);
                rows.reshape((oh, ow, x[0], units))?.permute((2, 3, 0, 1))
            }
        }
    }

    /// The inverse of [`fold`](Self::fold): an output-shaped tensor as rows `(S, P, K)`.
    pub(crate) fn rows(&self, out: &Tensor, weight: &[usize]) -> Result<Tensor> {
        let WeightDims { sites, units, .. } = self.weight_dims(weight)?;
        match *self {
            Self::Dense => {
                let rows = out.elem_count() / units.max(1);
                out.reshape((1, rows, units))
            }
            Self::Conv2d(_) => {
                let (b, _, oh, ow) = out.dims4()?;
                out.reshape((b, sites, units, oh * ow))?.permute((1, 0, 3, 2))?.reshape((
                    sites,
                    b * oh * ow,
                    units,
                ))
            }
            Self::LocallyConnected2d(_) => {
                let (b, _, _, _) = out.dims4()?;
                out.permute((2, 3, 0, 1))?.reshape((sites, b, units))
            }
        }
    }
}
