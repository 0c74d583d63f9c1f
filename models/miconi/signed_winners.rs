use candle::{Result, Tensor};
use candle_hebbian::Competition;
use candle_hebbian::competition::over_rows;
use candle_hebbian::ops::kth_largest;

/// The `k` units with the largest `u` have `y = min(u, 50)`, even if that is negative; the others have 0.
///
/// A quirk of the released code with graded winners: see
/// [`Quirks::negative_winners`](super::Quirks::negative_winners). Ties at the `k`-th place all win.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedWinners {
    /// Number of winners.
    pub k: usize,
}

impl Competition for SignedWinners {
    fn compete(&self, u: &Tensor) -> Result<Tensor> {
        over_rows(u, |u| {
            let won = u.broadcast_ge(&kth_largest(u, self.k)?)?;
            won.where_cond(&u.minimum(50.0)?, &u.zeros_like()?)
        })
    }
}
