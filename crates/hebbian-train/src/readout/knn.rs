//! k nearest neighbours.

use candle::{DType, Tensor};
use candle_hebbian::device::upload;
use rayon::prelude::*;

use super::{Readout, check_features, check_labels, in_parts};
use crate::{Error, Result, check_finite};

/// Distances held at a time: 64 MiB in f32.
const DISTANCES: usize = 1 << 24;

/// A classifier that gives each sample the class that most of its k nearest training samples have, in plain
/// Euclidean distance. Among classes with equally many, the one with the nearest sample wins; among equally near
/// samples, the first.
///
/// ‖x − t‖² = ‖x‖² + ‖t‖² − 2x·t, so one matrix product does the work. It is computed in f32 on features centred
/// on the training mean: squared distances below about 10⁻⁶ times ‖x − mean‖² + ‖t − mean‖² are lost in
/// rounding. Features that are not finite are near to nothing, and refused.
#[derive(Debug, Clone)]
pub struct NearestNeighbours {
    mean: Tensor,
    samples: Tensor,
    squares: Vec<f32>,
    labels: Vec<u32>,
    classes: usize,
    k: usize,
}

impl NearestNeighbours {
    /// Keeps a centred copy of `features` `(N, F)` and the labels.
    ///
    /// # Errors
    /// When features and labels do not fit, features are not finite or so large that their squares are not, or k is 0
    /// or exceeds N.
    pub fn fit(features: &Tensor, labels: &[u32], classes: usize, k: usize) -> Result<Self> {
        let (rows, _) = check_labels(features, labels, classes)?;
        Self::check(rows, k)?;
        check_features(features)?;
        let sums = in_parts(&features.detach(), |part, _| Ok(part.sum_keepdim(0)?))?;
        let mean = (sums.sum_keepdim(0)? / rows as f64)?;
        let samples = centred(features, &mean)?;
        let squares = squares(&samples)?.to_vec1()?;
        Ok(Self { mean, samples, squares, labels: labels.to_vec(), classes, k })
    }

    /// Checks that there can be k neighbours among `rows` training samples.
    ///
    /// # Errors
    /// When k is 0 or exceeds `rows`.
    pub fn check(rows: usize, k: usize) -> Result<()> {
        if k == 0 || k > rows {
            return Err(Error::Argument(format!(
                "k is {k}, expected 1 to {rows}, the number of training samples"
            )));
        }
        Ok(())
    }

    /// The class of a sample x by vote of its nearest training samples t, given the products x·t.
    fn vote(&self, products: &[f32]) -> u32 {
        let order = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let mut near = Vec::with_capacity(2 * self.k);
        let mut limit = f32::INFINITY;
        for (sample, (square, product)) in self.squares.iter().zip(products).enumerate() {
            // Without ‖x‖², which is the same for all.
            let distance = square - 2.0 * product;
            if distance < limit {
                near.push((distance, sample));
                if near.len() == 2 * self.k {
                    limit = near.select_nth_unstable_by(self.k - 1, order).1.0;
                    near.truncate(self.k);
                }
            }
        }
        near.sort_unstable_by(order);
        near.truncate(self.k);

        let mut votes = vec![0; self.classes];
        near.iter().for_each(|&(_, sample)| votes[self.labels[sample] as usize] += 1);
        let most = votes.iter().copied().max().unwrap_or(0);
        let mut classes = near.iter().map(|&(_, sample)| self.labels[sample]);
        classes.find(|&class| votes[class as usize] == most).unwrap_or(0)
    }
}

/// The squared lengths `(N)` of centred features.
///
/// # Errors
/// If one of them is beyond f32, in which case the products with other features may be too.
fn squares(centred: &Tensor) -> Result<Tensor> {
    let squares = centred.sqr()?.sum(1)?;
    check_finite("the squared lengths of the centred features", 0, &squares)?;
    Ok(squares)
}

/// The features without the mean, in f32.
fn centred(features: &Tensor, mean: &Tensor) -> Result<Tensor> {
    in_parts(&features.detach(), |part, _| {
        Ok(part.broadcast_sub(&mean.to_dtype(part.dtype())?)?.to_dtype(DType::F32)?)
    })
}

impl Readout for NearestNeighbours {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        check_features(features)?;
        let (rows, samples) = (features.dim(0)?, self.labels.len());
        let step = (DISTANCES / samples).max(1);
        let transposed = self.samples.t()?;
        let mut classes = Vec::with_capacity(rows);
        for start in (0..rows).step_by(step) {
            let x = centred(&features.narrow(0, start, step.min(rows - start))?, &self.mean)?;
            squares(&x)?;
            let products = x.matmul(&transposed)?.flatten_all()?.to_vec1::<f32>()?;
            classes.par_extend(products.par_chunks(samples).map(|products| self.vote(products)));
        }
        Ok(upload(classes, rows, features.device())?)
    }
}
