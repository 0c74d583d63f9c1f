//! Pooling by candle's own ops, for the devices that have no kernel here.

use super::{Reduce, Ties, Windows};
use crate::memory;
use crate::ops::custom_vjp;
use crate::ops::index::{index, numbers};
use crate::window::Axis;
use candle::{DType, Result, Tensor};

/// What the taps of all windows along an axis lie on: the first taps of all windows, then the second ones, and
/// so on.
struct Taps {
    /// The number of taps of a window.
    count: usize,
    /// The pixels that the taps lie on, or the nearest ones, which the windows cover anyway.
    pixels: Vec<u32>,
    /// The pixels that the taps lie on, or the place behind the last pixel.
    places: Vec<u32>,
}

impl Taps {
    fn of(axis: &Axis) -> Result<Self> {
        let kernel = axis.window.kernel;
        memory::count("taps of a window", &[kernel, axis.out], 2 * size_of::<u32>())?;
        let mut each = Vec::new();
        for i in 0..kernel {
            let at = (0..axis.out).map(|o| axis.position(o, i));
            let place = at.clone().map(|at| axis.source(at).unwrap_or(axis.size) as u32);
            let pixel = at.map(|at| axis.nearest(at) as u32);
            each.push((pixel.collect::<Vec<_>>(), place.collect::<Vec<_>>()));
            // Taps that lie outside the image in every window add nothing after the first.
            each.dedup();
        }
        let count = each.len();
        let (pixels, places): (Vec<_>, Vec<_>) = each.into_iter().unzip();
        Ok(Self { count, pixels: pixels.concat(), places: places.concat() })
    }
}

impl Windows {
    pub(super) fn composed(self, x: &Tensor) -> Result<Tensor> {
        custom_vjp(
            "pool",
            [x],
            |[x]| Ok((self.value(x)?.into(), x.clone())),
            move |pass| {
                Ok([Some(self.composed_gradient(pass.residuals, pass.output, pass.grad)?)])
            },
        )
    }

    fn value(&self, x: &Tensor) -> Result<Tensor> {
        if self.reduce == Reduce::Average {
            return self.over_both(x, |a, b| a + b)? / self.area;
        }
        let out = self.over_both(x, |a, b| a.maximum(b))?;
        // Devices differ in what the maximum of a number and NaN is.
        let nan = self.over_both(&x.ne(x)?, |a, b| a.maximum(b))?;
        nan.where_cond(&out.affine(0.0, f64::NAN)?, &out)
    }

    /// Combines the values of each window: first those of a line, then the lines.
    fn over_both(
        &self,
        x: &Tensor,
        combine: fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        // Outside the image, a window reads zeros, which are behind the last pixel, or, if the outside is
        // excluded, the nearest pixel again, which changes no maximum.
        let zeros = self.zeros_compete || self.reduce == Reduce::Average;
        let mut x = x.clone();
        for (dim, axis) in [(3, &self.columns), (2, &self.rows)] {
            let taps = Taps::of(axis)?;
            let (source, read) = match zeros {
                true => (x.pad_with_zeros(dim, 0, 1)?, &taps.places),
                false => (x.clone(), &taps.pixels),
            };
            let all = source.contiguous()?.index_select(&index(read, x.device())?, dim)?;
            let each = (0..taps.count).map(|tap| all.narrow(dim, tap * axis.out, axis.out));
            x = combined(each, combine)?;
        }
        Ok(x)
    }

    fn composed_gradient(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let (dtype, device) = (x.dtype(), x.device());
        let zeros =
            |lines, columns| Tensor::zeros((batch, channels, lines, columns), dtype, device);
        let (rows, columns) = (Taps::of(&self.rows)?, Taps::of(&self.columns)?);
        let (down, across) = (self.rows.out, self.columns.out);
        let taps = (batch * channels, rows.count, down, columns.count, across);
        let of_windows = |t: &Tensor| t.reshape((batch * channels, 1, down, 1, across));
        let first = self.reduce == Reduce::Maximum(Ties::First);
        let share = match self.reduce {
            Reduce::Average => of_windows(&(grad / self.area)?)?.broadcast_as(taps)?,
            Reduce::Maximum(_) => {
                // Here, a tap outside the image has the value of the nearest pixel.
                let read = x.contiguous()?.index_select(&index(&columns.pixels, device)?, 3)?;
                let read = read.index_select(&index(&rows.pixels, device)?, 2)?.reshape(taps)?;
                let mut chosen = (read.broadcast_eq(&of_windows(out)?)? + read.ne(&read)?)?;
                if first {
                    chosen = first_of(&chosen, dtype)?;
                }
                let grad = of_windows(grad)?.broadcast_as(taps)?;
                chosen.where_cond(&grad, &read.zeros_like()?)?
            }
        };
        // If the first of equal maxima gets the gradient, it is the same pixel, whichever tap finds it first.
        // If all get it, only taps on the image count, and the gradient of the others is put behind the last
        // line or column, as for a mean.
        let write = |taps: &Taps| index(if first { &taps.pixels } else { &taps.places }, device);
        let (lines, places) = (rows.count * down, columns.count * across);
        let share = share.contiguous()?.reshape((batch, channels, lines, places))?;
        let share = zeros(lines, width + 1)?.index_add(&write(&columns)?, &share, 3)?;
        let grad = zeros(height + 1, width + 1)?.index_add(&write(&rows)?, &share, 2)?;
        grad.narrow(2, 0, height)?.narrow(3, 0, width)
    }
}

/// Of the taps `chosen (planes, rows, windows down, columns, windows across)`, the first of each window.
fn first_of(chosen: &Tensor, dtype: DType) -> Result<Tensor> {
    let (_, rows, _, columns, _) = chosen.dims5()?;
    let count = rows * columns;
    let numbers = numbers(count + 1, chosen.device())?.to_dtype(dtype)?;
    let number = numbers.narrow(0, 0, count)?.reshape((1, rows, 1, columns, 1))?;
    let beyond = numbers.narrow(0, count, 1)?.reshape((1, 1, 1, 1, 1))?;
    let of_tap = chosen
        .where_cond(&number.broadcast_as(chosen.shape())?, &beyond.broadcast_as(chosen.shape())?)?;
    let of_line = combined((0..columns).map(|at| of_tap.narrow(3, at, 1)), |a, b| a.minimum(b))?;
    let of_window = combined((0..rows).map(|at| of_line.narrow(1, at, 1)), |a, b| a.minimum(b))?;
    number.broadcast_eq(&of_window)
}

/// Combines tensors of the same shape.
fn combined(
    mut each: impl Iterator<Item = Result<Tensor>>,
    combine: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let Some(first) = each.next() else { candle::bail!("pool: the kernel is empty") };
    each.try_fold(first?, |all, next| combine(&all, &next?))
}
