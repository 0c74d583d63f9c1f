//! Operations on patches, one per row.

use candle::{D, Device, Result, Tensor};
use candle_hebbian::device::send;
use candle_hebbian::ops::repu;

/// Normalises the contrast of rows `p (n, F)`: `(p − p̄)/√(var p + c)`, with the sample variance (over `F − 1`).
///
/// # Errors
/// If the device fails.
pub fn contrast(rows: &Tensor, c: f64) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let freedom = rows.dim(D::Minus1)?.saturating_sub(1).max(1) as f64;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / freedom)?;
    centred.broadcast_div(&(variance + c)?.sqrt()?)
}

/// Returns the distances `z_k = ‖x − c_k‖₂ (n, N)` of rows `x (n, F)` from `centroids (N, F)`.
///
/// # Errors
/// Rows of another length; no centroids.
pub fn distances(rows: &Tensor, centroids: &Tensor) -> Result<Tensor> {
    let squares = |rows: &Tensor| rows.sqr()?.sum(D::Minus1);
    let products = (rows.matmul(&centroids.t()?)? * -2.0)?;
    let sums = products.broadcast_add(&squares(centroids)?)?;
    // Rounding may make the square of a distance of 0 negative.
    repu(&sums.broadcast_add(&squares(rows)?.unsqueeze(1)?)?, 1.0)?.sqrt()
}

/// Returns `f_k = max(0, z̄ − z_k)` for `distances (n, N)`: how much nearer a centroid is than the average centroid.
///
/// # Errors
/// No centroids.
pub fn triangle(distances: &Tensor) -> Result<Tensor> {
    repu(&distances.mean_keepdim(D::Minus1)?.broadcast_sub(distances)?, 1.0)
}

/// Does one iteration of k-means (Lloyd's algorithm). Returns, for each of `centroids (N, F)`, the mean of the rows
/// `(n, F)` that it is nearest to, and their number. A centroid that is nearest to no row becomes 0, as in the authors'
/// code.
///
/// This is the batch limit of [instar](candle_hebbian::Instar) with [hard winners](candle_hebbian::HardWta): the winner
/// of a row moves towards that row, here all the way to the mean of the rows that it wins.
///
/// # Errors
/// Rows of another length.
pub fn lloyd(rows: &Tensor, centroids: &Tensor, together: usize) -> Result<(Tensor, Vec<usize>)> {
    let (count, units) = (rows.dim(0)?, centroids.dim(0)?);
    // The nearest centroid has the largest x·c − ½‖c‖².
    let half = (centroids.sqr()?.sum(D::Minus1)? * 0.5)?;
    let (mut sums, mut won) = (centroids.zeros_like()?, vec![0usize; units]);
    for start in (0..count).step_by(together.max(1)) {
        let rows = rows.narrow(0, start, together.max(1).min(count - start))?;
        let nearest = rows.matmul(&centroids.t()?)?.broadcast_sub(&half)?.argmax(D::Minus1)?;
        sums = sums.index_add(&nearest, &rows, 0)?;
        nearest.to_vec1::<u32>()?.into_iter().for_each(|unit| won[unit as usize] += 1);
    }
    let counts: Vec<f64> = won.iter().map(|&count| count.max(1) as f64).collect();
    let counts = Tensor::from_vec(counts, (units, 1), &Device::Cpu)?.to_dtype(rows.dtype())?;
    let counts = send(&counts, rows.device())?;
    Ok((sums.broadcast_div(&counts)?, won))
}
