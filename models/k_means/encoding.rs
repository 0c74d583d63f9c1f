//! What is done to patches, a row each.

use candle::{D, Result, Tensor};

/// Each row `p (n, F)` less its mean, over its deviation: `(p − p̄)/√(var p + c)`, with the variance of a sample (over `F − 1`).
///
/// # Errors
/// No rows.
pub fn contrast(rows: &Tensor, c: f64) -> Result<Tensor> {
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let freedom = rows.dim(D::Minus1)?.saturating_sub(1).max(1) as f64;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? / freedom)?;
    centred.broadcast_div(&(variance + c)?.sqrt()?)
}

/// `z_k = ‖x − c_k‖₂ (n, N)`, of rows `x (n, F)` and `centroids (N, F)`.
///
/// # Errors
/// Rows of another length.
pub fn distances(rows: &Tensor, centroids: &Tensor) -> Result<Tensor> {
    let squares = |rows: &Tensor| rows.sqr()?.sum(D::Minus1);
    let products = (rows.matmul(&centroids.t()?)? * -2.0)?;
    let sums = products.broadcast_add(&squares(centroids)?)?;
    // Rounding may leave less than 0 of a distance of 0.
    sums.broadcast_add(&squares(rows)?.unsqueeze(1)?)?.relu()?.sqrt()
}

/// `f_k = max(0, z̄ − z_k)`: how much nearer a centroid is than they are on average, of `distances (n, N)`.
///
/// # Errors
/// No centroids.
pub fn triangle(distances: &Tensor) -> Result<Tensor> {
    distances.mean_keepdim(D::Minus1)?.broadcast_sub(distances)?.relu()
}

/// An iteration of k-means (Lloyd's): the mean of the rows `(n, F)` that are nearest to each of `centroids (N, F)`, and how
/// many these are. A centroid that is nearest to none becomes 0, as in the authors' code.
///
/// It is the batch limit of [instar](candle_hebbian::Instar) with [hard winners](candle_hebbian::HardWta): the winner of a row
/// moves towards it, here all the way to the mean of what it wins.
///
/// # Errors
/// Rows of another length.
pub fn lloyd(rows: &Tensor, centroids: &Tensor, together: usize) -> Result<(Tensor, Vec<usize>)> {
    let (count, units) = (rows.dim(0)?, centroids.dim(0)?);
    // The nearest has the largest x·c − ½‖c‖².
    let half = (centroids.sqr()?.sum(D::Minus1)? * 0.5)?;
    let (mut sums, mut won) = (centroids.zeros_like()?, vec![0usize; units]);
    for start in (0..count).step_by(together.max(1)) {
        let rows = rows.narrow(0, start, together.max(1).min(count - start))?;
        let nearest = rows.matmul(&centroids.t()?)?.broadcast_sub(&half)?.argmax(D::Minus1)?;
        sums = sums.index_add(&nearest, &rows, 0)?;
        nearest.to_vec1::<u32>()?.into_iter().for_each(|unit| won[unit as usize] += 1);
    }
    let counts: Vec<f64> = won.iter().map(|&count| count.max(1) as f64).collect();
    let counts = Tensor::from_vec(counts, (units, 1), rows.device())?.to_dtype(rows.dtype())?;
    Ok((sums.broadcast_div(&counts)?, won))
}
