//! Unfolding by candle's own ops, for the devices that have no kernel here.

use super::{Sites, Unfold};
use crate::ops::select::select;
use candle::{Result, Tensor};

impl Unfold {
    pub(super) fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, _, _) = self.dims;
        let x = select(x, 2, &self.row_taps)?;
        let x = select(&x, 3, &self.column_taps)?;
        let groups = self.groups();
        let x = x.reshape(&[
            batch,
            groups,
            channels / groups,
            self.rows.out,
            self.rows.window.kernel,
            self.columns.out,
            self.columns.window.kernel,
        ])?;
        let order = match self.sites {
            Sites::Groups(_) => [1, 0, 3, 5, 2, 4, 6],
            Sites::Positions => [3, 5, 0, 1, 2, 4, 6],
        };
        x.permute(order.as_slice())?.contiguous()?.reshape(self.shape)
    }
}
