//! Pooling by candle's own ops, for the devices that have no kernel here.

use super::{Reduce, Ties, Windows};
use crate::memory;
use crate::ops::custom_vjp;
use crate::ops::index::index;
use crate::window::Axis;
use candle::{DType, Result, Tensor};

/// One tap of every window along an axis.
#[derive(PartialEq)]
struct Tap {
    /// For each window, the pixel that the tap lies on, or the nearest one, which the window covers
    /// anyway.
    pixel: Vec<u32>,
    /// For each window, the pixel that the tap lies on, or the place behind the last pixel.
    place: Vec<u32>,
}

fn taps(axis: &Axis) -> Result<Vec<Tap>> {
    memory::count("taps of a window", &[axis.window.kernel, axis.out], size_of::<Tap>())?;
    let mut taps = Vec::new();
    for i in 0..axis.window.kernel {
        let at = (0..axis.out).map(|o| axis.position(o, i));
        let place = at.clone().map(|at| axis.source(at).unwrap_or(axis.size) as u32).collect();
        taps.push(Tap { pixel: at.map(|at| axis.nearest(at) as u32).collect(), place });
        // Taps that lie outside the image in every window add nothing after the first.
        taps.dedup();
    }
    Ok(taps)
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
        // Outside the image, a window reads zeros, which are in a line and a column behind the last,
        // or, if the outside is excluded, the nearest pixel again, which changes no maximum.
        let zeros = self.zeros_compete || self.reduce == Reduce::Average;
        let read = |tap: &Tap| index(if zeros { &tap.place } else { &tap.pixel }, x.device());
        let x = if zeros { x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)? } else { x.clone() };
        let x = x.contiguous()?;
        let (rows, columns) = (taps(&self.rows)?, taps(&self.columns)?);
        let mut out: Option<Tensor> = None;
        let mut nan: Option<Tensor> = None;
        for row in &rows {
            let line = x.index_select(&read(row)?, 2)?;
            for column in &columns {
                let tap = line.index_select(&read(column)?, 3)?;
                if self.reduce != Reduce::Average {
                    let here = tap.ne(&tap)?;
                    nan = Some(match nan {
                        Some(nan) => nan.maximum(&here)?,
                        None => here,
                    });
                }
                out = Some(match (out, self.reduce) {
                    (None, _) => tap,
                    (Some(out), Reduce::Maximum(_)) => out.maximum(&tap)?,
                    (Some(out), Reduce::Average) => (out + tap)?,
                });
            }
        }
        match (out, nan) {
            // Devices differ in what the maximum of a number and NaN is.
            (Some(out), Some(nan)) => nan.where_cond(&(&out * f64::NAN)?, &out),
            (Some(out), None) => out / self.area,
            (None, _) => candle::bail!("pool: the kernel is empty"),
        }
    }

    fn composed_gradient(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.dims4()?;
        let (dtype, device) = (x.dtype(), x.device());
        let zeros =
            |lines, columns| Tensor::zeros((batch, channels, lines, columns), dtype, device);
        let x = x.contiguous()?;
        let grad = match self.reduce {
            Reduce::Maximum(_) => grad.contiguous()?,
            Reduce::Average => (grad / self.area)?.contiguous()?,
        };
        let nothing = grad.zeros_like()?;
        // The windows that have not given their gradient away yet.
        let mut open = Tensor::ones(out.shape(), DType::U8, device)?;
        // Here, a tap outside the image has the value of the nearest pixel. If the first of equal
        // maxima gets the gradient, it is the same pixel, whichever tap finds it first. If all get it,
        // only taps on the image count, and the gradient of the others is put behind the last line or
        // column, as for a mean.
        let first = self.reduce == Reduce::Maximum(Ties::First);
        let write = |tap: &Tap| index(if first { &tap.pixel } else { &tap.place }, device);
        let mut grad_x = zeros(height + 1, width + 1)?;
        let (rows, columns) = (taps(&self.rows)?, taps(&self.columns)?);
        for row in &rows {
            let line = x.index_select(&index(&row.pixel, device)?, 2)?;
            let mut grad_line = zeros(self.rows.out, width + 1)?;
            for column in &columns {
                let share = if self.reduce == Reduce::Average {
                    grad.clone()
                } else {
                    let tap = line.index_select(&index(&column.pixel, device)?, 3)?;
                    let mut chosen = (tap.eq(out)? + tap.ne(&tap)?)?;
                    if first {
                        chosen = (chosen * &open)?;
                        open = (open - &chosen)?;
                    }
                    chosen.where_cond(&grad, &nothing)?
                };
                grad_line = grad_line.index_add(&write(column)?, &share, 3)?;
            }
            grad_x = grad_x.index_add(&write(row)?, &grad_line, 2)?;
        }
        grad_x.narrow(2, 0, height)?.narrow(3, 0, width)
    }
}
