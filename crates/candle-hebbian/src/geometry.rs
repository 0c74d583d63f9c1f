//! Geometries: each defines how an input is unfolded into rows and how responses are put back in
//! shape.
//!
//! Rules and competitions see only `(sites, rows, …)`. A site is a group of units with weights and
//! a competition of its own: one for a dense layer, one per channel group for a convolution, one
//! per position for a locally connected layer.

use crate::memory;
use crate::ops::layout::{to_channels_first, to_channels_last};
use crate::ops::{Presynaptic, Sites, Windows, check_windows, unfold};
use crate::window::Conv2dConfig;
use candle::{Error, Result, Tensor};
use std::sync::Arc;

/// Which inputs a unit sees, and which units share weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// Input `(…, F)`, weights `(K, F)`, output `(…, K)`.
    Dense,
    /// Input `(B, C, H, W)`, weights `(K, C/groups, kh, kw)`, output `(B, K, OH, OW)`.
    Conv2d(Conv2dConfig),
    /// Like `Conv2d`, but with separate weights at each position: `(OH, OW, K, C, kh, kw)`. No
    /// groups.
    LocallyConnected2d(Conv2dConfig),
}

/// The dimensions of a layer's weights as matrices.
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
    /// The matrices that a weight of the shape `weight` holds.
    ///
    /// # Errors
    /// If the rank of the weight does not fit the geometry, the groups do not divide its channels,
    /// or there are more weights than any memory holds.
    pub fn weight_dims(&self, weight: &[usize]) -> Result<WeightDims> {
        memory::count("weights", weight, size_of::<f32>())?;
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
    /// If the shape of the input does not fit the weights.
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
                self.check_channels(x, weight[1].saturating_mul(config.groups), weight)?;
                unfold(x, kernel, &config, Sites::Groups(config.groups))
            }
            Self::LocallyConnected2d(config) => {
                let kernel = (weight[4], weight[5]);
                self.check_channels(x, weight[3], weight)?;
                let patches = unfold(x, kernel, &config, Sites::Positions)?;
                let (_, _, height, width) = x.dims4()?;
                let windows =
                    (config.output_size(height, kernel.0)?, config.output_size(width, kernel.1)?);
                check_windows(x, windows, weight)?;
                Ok(patches)
            }
        }
    }

    /// What units with weights like `weight` see of the input `x`, and the tensor from which it was made: the input
    /// itself, or its rows with their graph.
    ///
    /// # Errors
    /// If the shape of the input does not fit the weights.
    pub(crate) fn presynaptic(&self, x: &Tensor, weight: &Tensor) -> Result<(Tensor, Presynaptic)> {
        if let Self::Conv2d(config) = *self {
            let dims = weight.dims();
            let groups = self.weight_dims(dims)?.sites;
            self.check_channels(x, dims[1].saturating_mul(groups), dims)?;
            if let Some(windows) = Windows::of(x, weight, config, false)? {
                return Ok((x.clone(), Presynaptic::Windows(Arc::new(windows))));
            }
        }
        with_rows(self.unfold(x, weight.dims())?)
    }

    /// [`presynaptic`](Self::presynaptic) of images `x (B, H, W, C)`, for a convolution.
    pub(crate) fn presynaptic_channels_last(
        &self,
        x: &Tensor,
        weight: &Tensor,
    ) -> Result<(Tensor, Presynaptic)> {
        if let Self::Conv2d(config) = *self
            && let Some(windows) = Windows::of(x, weight, config, true)?
        {
            return Ok((x.clone(), Presynaptic::Windows(Arc::new(windows))));
        }
        with_rows(self.unfold(&to_channels_first(x)?, weight.dims())?)
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

    /// [`fold`](Self::fold) into `(B, OH, OW, K)` for images `(B, H, W, C)`, for a convolution with one group.
    pub(crate) fn fold_channels_last(
        &self,
        rows: &Tensor,
        x: &[usize],
        weight: &[usize],
    ) -> Result<Tensor> {
        let &[batch, height, width, channels] = x else { return Err(not_images(x)) };
        let folded = self.fold(&rows.detach(), &[batch, channels, height, width], weight)?;
        rows.reshape(to_channels_last(&folded)?.shape())
    }

    /// Brings rows `(S, P, K)` into the shape of the layer's output for the input shape `x`. For an
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
                let &[batch, _, height, width] = x else { return Err(not_images(x)) };
                let oh = config.output_size(height, weight[2])?;
                let ow = config.output_size(width, weight[3])?;
                if sites == 1 {
                    return rows.reshape((batch, oh, ow, units))?.permute((0, 3, 1, 2));
                }
                rows.reshape((sites, batch, oh * ow, units))?.permute((1, 0, 3, 2))?.reshape((
                    batch,
                    sites * units,
                    oh,
                    ow,
                ))
            }
            Self::LocallyConnected2d(_) => {
                let (oh, ow) = (weight[0], weight[1]);
                let &[batch, _, _, _] = x else { return Err(not_images(x)) };
                rows.reshape((oh, ow, batch, units))?.permute((2, 3, 0, 1))
            }
        }
    }

    /// The inverse of [`fold`](Self::fold): an output-shaped tensor as contiguous rows `(S, P, K)`. For an ungrouped
    /// convolution whose channels are adjacent in memory this is a view.
    ///
    /// # Errors
    /// If the shape is not one that the layer's output has.
    pub(crate) fn rows(&self, out: &Tensor, weight: &[usize]) -> Result<Tensor> {
        let WeightDims { sites, units, .. } = self.weight_dims(weight)?;
        let expected = match (self, out.dims()) {
            (Self::Dense, &[ref leading @ .., k]) if k == units => {
                return out.reshape((1, leading.iter().product::<usize>(), k));
            }
            (Self::Conv2d(_), &[b, k, oh, ow]) if k == sites * units => {
                let rows = out.permute((0, 2, 3, 1))?.reshape((b * oh * ow, sites, units))?;
                return rows.transpose(0, 1)?.contiguous();
            }
            (Self::LocallyConnected2d(_), &[b, k, oh, ow])
                if [k, oh, ow] == [units, weight[0], weight[1]] =>
            {
                return out.permute((2, 3, 0, 1))?.reshape((sites, b, units));
            }
            (Self::Dense, _) => format!("(…, {units})"),
            (Self::Conv2d(_), _) => format!("(B, {}, OH, OW)", sites * units),
            (Self::LocallyConnected2d(_), _) => {
                format!("(B, {units}, {}, {})", weight[0], weight[1])
            }
        };
        candle::bail!(
            "a layer with weights {weight:?} has output {expected}, found {:?}: give the tensor the \
             shape and the order of axes of the layer's output",
            out.dims()
        )
    }
}

/// Rows, with and without their graph.
///
/// # Errors
/// If they do not have three axes.
pub(crate) fn with_rows(rows: Tensor) -> Result<(Tensor, Presynaptic)> {
    let pre = Presynaptic::rows_of(&rows)?;
    Ok((rows, pre))
}

fn not_images(found: &[usize]) -> Error {
    Error::Msg(format!("expected the shape of images (B, C, H, W), found {found:?}"))
}
