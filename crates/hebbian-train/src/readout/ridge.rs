//! Ridge regression onto one-hot targets.

use candle::{DType, Device, Tensor};
use faer::linalg::solvers::{LltError, Solve};
use faer::{MatMut, MatRef, Side};
use hebbian_data::split_at;

use super::{Readout, check_labels, linear_scores, one_hot};
use crate::{Error, Result};

/// The largest system solved: its matrix and the factor are two gigabytes each in f64.
const LARGEST: usize = 16384;
/// Rows (or columns) converted to f64 at a time.
const CHUNK: usize = 4096;

/// The linear map that minimises ‖X·W + 1·b − Y‖² + α‖W‖², with Y the one-hot labels; the largest
/// output is the class.
///
/// With X and Y centred on their means x̄ and ȳ, W = (XcᵀXc + αI)⁻¹ XcᵀYc and b = ȳ − x̄W (the
/// intercept is not penalised), as in scikit-learn's `Ridge`. Everything is computed in f64. With fewer samples
/// than features, the same W is computed as W = Xcᵀ(XcXcᵀ + αI)⁻¹Yc.
#[derive(Debug, Clone)]
pub struct Ridge {
    weight: Tensor,
    bias: Tensor,
}

impl Ridge {
    /// Fits the map to `features` `(N, F)`.
    ///
    /// # Errors
    /// When both N and F exceed 16,384, there is not enough memory for the system, or α is too small for the
    /// system to be solved.
    pub fn fit(features: &Tensor, labels: &[u32], classes: usize, alpha: f64) -> Result<Self> {
        let (rows, width) = check_labels(features, labels, classes)?;
        Self::check(rows, width, alpha)?;
        check_memory(rows, width)?;
        // Metal has no f64.
        let device = match features.device() {
            Device::Metal(_) => Device::Cpu,
            device => device.clone(),
        };
        let features = features.detach();
        let part = |axis: usize, start: usize| -> Result<Tensor> {
            let length = CHUNK.min(features.dim(axis)? - start);
            let part = features.narrow(axis, start, length)?;
            Ok(part.to_device(&device)?.to_dtype(DType::F64)?.contiguous()?)
        };
        let mut mean = Tensor::zeros((1, width), DType::F64, &device)?;
        for start in (0..rows).step_by(CHUNK) {
            mean = (mean + part(0, start)?.sum_keepdim(0)?)?;
        }
        let mean = (mean / rows as f64)?;
        let targets = one_hot(labels, classes, DType::F64, &device)?;
        let target_mean = targets.mean_keepdim(0)?;
        let targets = targets.broadcast_sub(&target_mean)?;

        let weight = if width <= rows {
            let mut gram = Tensor::zeros((width, width), DType::F64, &device)?;
            let mut right = Tensor::zeros((width, classes), DType::F64, &device)?;
            for start in (0..rows).step_by(CHUNK) {
                let x = part(0, start)?.broadcast_sub(&mean)?;
                let y = targets.narrow(0, start, x.dim(0)?)?;
                gram = (gram + x.t()?.matmul(&x)?)?;
                right = (right + x.t()?.matmul(&y)?)?;
            }
            solve(gram, &right, alpha)?
        } else {
            let centred = |start| -> Result<Tensor> {
                let x = part(1, start)?;
                Ok(x.broadcast_sub(&mean.narrow(1, start, x.dim(1)?)?)?)
            };
            let mut gram = Tensor::zeros((rows, rows), DType::F64, &device)?;
            for start in (0..width).step_by(CHUNK) {
                let x = centred(start)?;
                gram = (gram + x.matmul(&x.t()?)?)?;
            }
            let dual = solve(gram, &targets, alpha)?;
            let parts = (0..width)
                .step_by(CHUNK)
                .map(|start| Ok(centred(start)?.t()?.matmul(&dual)?))
                .collect::<Result<Vec<_>>>()?;
            Tensor::cat(&parts, 0)?
        };
        let bias = (target_mean - mean.matmul(&weight)?)?.squeeze(0)?;
        Ok(Self { weight, bias })
    }

    /// [`fit`](Self::fit) with the penalty of `alphas` whose fit to the first seven eighths of the rows, or of each class
    /// if the rows are sorted by class ([`split_at`]), is most accurate on the others (the first if several are equal).
    /// Returns the fit to all rows, and this penalty.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when `alphas` is empty.
    pub fn fit_best(
        features: &Tensor,
        labels: &[u32],
        classes: usize,
        alphas: &[f64],
    ) -> Result<(Self, f64)> {
        let (rows, _) = check_labels(features, labels, classes)?;
        let (fitted, held_out) = split_at(labels, rows - rows / 8);
        let of = |rows: &[usize]| -> Result<(Tensor, Vec<u32>)> {
            // Rows that follow each other, as in a set that is not sorted, are not copied.
            let features = match rows {
                [first, .., last] if last - first + 1 == rows.len() => {
                    features.narrow(0, *first, rows.len())?
                }
                _ => {
                    let rows: Vec<u32> = rows.iter().map(|&row| row as u32).collect();
                    features.index_select(&Tensor::new(rows, features.device())?, 0)?
                }
            };
            Ok((features, rows.iter().map(|&row| labels[row]).collect()))
        };
        // Without held-out rows, or with a single penalty, the first one is chosen.
        let parts = match !held_out.is_empty() && alphas.len() > 1 {
            true => Some((of(&fitted)?, of(&held_out)?)),
            false => None,
        };
        let mut best = None;
        for &alpha in alphas {
            let accuracy = match &parts {
                Some(((part, labels), (others, expected))) => {
                    Self::fit(part, labels, classes, alpha)?.accuracy(others, expected)?
                }
                None => 0.0,
            };
            if best.is_none_or(|(most, _)| accuracy > most) {
                best = Some((accuracy, alpha));
            }
        }
        let (_, alpha) = best.ok_or_else(|| {
            Error::Argument("there is no alpha to choose from: give one or more".to_string())
        })?;
        Ok((Self::fit(features, labels, classes, alpha)?, alpha))
    }

    /// Checks that `rows` rows of `width` features can be fitted, before any features are computed.
    ///
    /// # Errors
    /// When both exceed 16,384, or α is negative or not finite.
    pub fn check(rows: usize, width: usize, alpha: f64) -> Result<()> {
        if rows.min(width) > LARGEST {
            return Err(Error::Argument(format!(
                "ridge regression on {width} features of {rows} samples needs too large a matrix: \
                 pool the features to at most {LARGEST}, or use the linear head"
            )));
        }
        if !(alpha >= 0.0 && alpha.is_finite()) {
            return Err(Error::Argument(format!("alpha is {alpha}, expected a number ≥ 0")));
        }
        Ok(())
    }

    /// W, f64 `(F, classes)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// b, f64 `(classes,)`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}

impl Readout for Ridge {
    fn predict(&self, features: &Tensor) -> Result<Tensor> {
        Ok(linear_scores(features, &self.weight, &self.bias)?.argmax(1)?)
    }
}

/// Checks that the memory of a fit can be allocated, since a failed allocation during the fit would end the
/// program: the matrix, the product that is added to it and their sum (or the factor), a part of the features as it
/// is, centred and transposed, and 64 MiB for the buffers of the products and the solver.
fn check_memory(rows: usize, width: usize) -> Result<()> {
    let numbers = 3 * rows.min(width).pow(2) + 3 * CHUNK.min(rows.max(width)) * rows.min(width);
    let bytes = numbers * size_of::<f64>() + (64 << 20);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| {
        Error::Argument(format!(
            "ridge regression on {width} features of {rows} samples needs {} MiB of memory, which \
             the system does not give: free some, pool the features, or use the linear head",
            bytes >> 20
        ))
    })
}

/// (gram + αI)⁻¹ · right, by Cholesky factorisation.
fn solve(gram: Tensor, right: &Tensor, alpha: f64) -> Result<Tensor> {
    let (n, m) = right.dims2()?;
    let mut matrix = gram.flatten_all()?.to_vec1::<f64>()?;
    drop(gram);
    matrix.iter_mut().step_by(n + 1).for_each(|value| *value += alpha);
    let factor = MatRef::from_row_major_slice(&matrix, n, n).llt(Side::Lower);
    drop(matrix);
    let factor = factor.map_err(|LltError::NonPositivePivot { index }| {
        Error::NotPositiveDefinite { pivot: index, size: n }
    })?;
    let mut solution = right.flatten_all()?.to_vec1::<f64>()?;
    factor.solve_in_place(MatMut::from_row_major_slice_mut(&mut solution, n, m));
    Ok(Tensor::from_vec(solution, (n, m), right.device())?)
}
