//! Ridge regression onto one-hot targets.

use candle::{DType, Device, Tensor};
use candle_hebbian::device::to_host;
use faer::linalg::solvers::{Llt, LltError, Solve};
use faer::{Mat, MatRef, Side};
use hebbian_data::{Covariance, split_at};

use super::{
    CHUNK, Readout, Standardisation, check_features, check_labels, largest, linear_scores, one_hot,
};
use crate::{Error, Result};

/// The largest system solved: its matrix and the factor are two gigabytes each in f64.
const LARGEST: usize = 16384;

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
    /// When both N and F exceed 16,384, there is not enough memory for the system, features are not finite, or α is
    /// too small for the system to be solved.
    pub fn fit(features: &Tensor, labels: &[u32], classes: usize, alpha: f64) -> Result<Self> {
        let samples = Samples::new(features, None, labels, classes)?;
        Self::check(labels.len(), samples.width, alpha)?;
        check_features(&samples.features)?;
        check_memory(labels.len(), samples.width)?;
        samples.system(&samples.all())?.solve(&samples, alpha)
    }

    /// Fits the map to features that `scale` standardises, with the penalty of `alphas` whose fit to the first seven
    /// eighths of the rows, or of each class if the rows are sorted by class ([`split_at`]), is most accurate on the
    /// others (the first if several are equal). Returns the fit to all rows, which is a map of standardised features,
    /// and this penalty.
    ///
    /// Standardised features are never all in memory. With no fewer rows than features, the products of rows are
    /// computed once for all penalties.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when `alphas` is empty.
    pub fn fit_best(
        features: &Tensor,
        scale: &Standardisation,
        labels: &[u32],
        classes: usize,
        alphas: &[f64],
    ) -> Result<(Self, f64)> {
        let (samples, rows) = (Samples::new(features, Some(scale), labels, classes)?, labels.len());
        let Some(&first) = alphas.first() else {
            let problem = "there is no alpha to choose from: give one or more";
            return Err(Error::Argument(problem.to_string()));
        };
        for &alpha in alphas {
            Self::check(rows, samples.width, alpha)?;
        }
        check_features(&samples.features)?;
        check_memory(rows, samples.width)?;
        let (fitted, held_out) = split_at(labels, rows - rows / 8);
        // Without held-out rows, or with a single penalty, the first one is chosen.
        if held_out.is_empty() || alphas.len() == 1 {
            return Ok((samples.system(&samples.all())?.solve(&samples, first)?, first));
        }
        let system = samples.system(&fitted)?;
        let expected: Vec<u32> = held_out.iter().map(|&row| labels[row]).collect();
        let others = samples.rows(&held_out)?;
        let (mut most, mut best) = (None, first);
        for &alpha in alphas {
            let accuracy = system.clone().solve(&samples, alpha)?.accuracy(&others, &expected)?;
            if most.is_none_or(|most| accuracy > most) {
                (most, best) = (Some(accuracy), alpha);
            }
        }
        drop(others);
        let all = match system {
            System::Products { sums, origin } => samples.products(sums, origin, &held_out)?,
            System::Rows { .. } => samples.system(&samples.all())?,
        };
        Ok((all.solve(&samples, best)?, best))
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
        largest(&linear_scores(features, &self.weight, &self.bias)?)
    }
}

/// Checks that the memory of a fit can be allocated, since a failed allocation during the fit would end the
/// program: the products, their copy for a penalty and its triangle (or the factor), four copies of a part of the
/// features (as it is, in f64, centred, and with targets), and 64 MiB for the buffers of the products and the solver.
fn check_memory(rows: usize, width: usize) -> Result<()> {
    let numbers = 3 * rows.min(width).pow(2) + 4 * CHUNK.min(rows.max(width)) * rows.min(width);
    let bytes = numbers * size_of::<f64>() + (64 << 20);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| {
        Error::Argument(format!(
            "ridge regression on {width} features of {rows} samples needs {} MiB of memory, which \
             the system does not give: free some, pool the features, or use the linear head",
            bytes >> 20
        ))
    })
}

/// Rows of features with their labels.
struct Samples<'a> {
    features: Tensor,
    scale: Option<Standardisation>,
    labels: &'a [u32],
    classes: usize,
    width: usize,
}

/// What is solved for any penalty.
#[derive(Clone)]
enum System {
    /// For no fewer rows than features: the products of features, of which `origin` was subtracted, and of one-hot
    /// targets behind them.
    Products { sums: Covariance, origin: Tensor },
    /// For fewer rows than features: the products of centred rows with each other.
    Rows { rows: Vec<usize>, gram: Covariance },
}

impl<'a> Samples<'a> {
    fn new(
        features: &Tensor,
        scale: Option<&Standardisation>,
        labels: &'a [u32],
        classes: usize,
    ) -> Result<Self> {
        let (_, width) = check_labels(features, labels, classes)?;
        let (features, scale) = (features.detach(), scale.cloned());
        Ok(Self { features, scale, labels, classes, width })
    }

    /// The same rows with a few of their features, from the feature `start`.
    fn columns(&self, start: usize) -> Result<Self> {
        let width = CHUNK.min(self.width - start);
        let features = self.features.narrow(1, start, width)?;
        let scale = self.scale.as_ref().map(|scale| scale.columns(start, width)).transpose()?;
        Ok(Self { features, scale, width, ..*self })
    }

    fn all(&self) -> Vec<usize> {
        (0..self.labels.len()).collect()
    }

    /// These rows, standardised.
    fn rows(&self, rows: &[usize]) -> Result<Tensor> {
        let runs = rows.chunk_by(|one, next| one + 1 == *next);
        let runs = runs.map(|run| self.features.narrow(0, run[0], run.len()));
        let rows = Tensor::cat(&runs.collect::<candle::Result<Vec<_>>>()?, 0)?;
        match &self.scale {
            Some(scale) => scale.apply(&rows),
            None => Ok(rows),
        }
    }

    /// Calls `f` with a few of these rows at a time, in f64 on the host, and their labels.
    fn each(&self, rows: &[usize], mut f: impl FnMut(Tensor, &[u32]) -> Result<()>) -> Result<()> {
        for part in rows.chunks(CHUNK) {
            let labels: Vec<u32> = part.iter().map(|&row| self.labels[row]).collect();
            f(to_host(&self.rows(part)?)?, &labels)?;
        }
        Ok(())
    }

    fn one_hot(&self, labels: &[u32]) -> Result<Tensor> {
        one_hot(labels, self.classes, DType::F64, &Device::Cpu)
    }

    /// The mean of these rows, `(1, F)`.
    fn mean(&self, rows: &[usize]) -> Result<Tensor> {
        let mut sum = Tensor::zeros((1, self.width), DType::F64, &Device::Cpu)?;
        self.each(rows, |x, _| {
            sum = (&sum + x.sum_keepdim(0)?)?;
            Ok(())
        })?;
        Ok((sum / rows.len() as f64)?)
    }

    /// The first feature of each [part](Self::columns).
    fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.width).step_by(CHUNK)
    }

    /// A few features of these rows, from the feature `start`, in f64 on the host, without their mean, and the mean.
    fn centred(&self, start: usize, rows: &[usize]) -> Result<(Tensor, Tensor)> {
        let x = to_host(&self.columns(start)?.rows(rows)?)?;
        let mean = x.mean_keepdim(0)?;
        Ok((x.broadcast_sub(&mean)?, mean))
    }

    fn system(&self, rows: &[usize]) -> Result<System> {
        if rows.len() < self.width {
            let mut gram = Covariance::new(rows.len());
            for start in self.starts() {
                gram.add(&self.centred(start, rows)?.0.t()?)?;
            }
            return Ok(System::Rows { rows: rows.to_vec(), gram });
        }
        self.products(Covariance::new(self.width + self.classes), self.mean(rows)?, rows)
    }

    /// Adds the products of these rows.
    fn products(&self, mut sums: Covariance, origin: Tensor, rows: &[usize]) -> Result<System> {
        self.each(rows, |x, labels| {
            let x = x.broadcast_sub(&origin)?;
            Ok(sums.add(&Tensor::cat(&[x, self.one_hot(labels)?], 1)?)?)
        })?;
        Ok(System::Products { sums, origin })
    }
}

impl System {
    fn solve(self, samples: &Samples<'_>, alpha: f64) -> Result<Ridge> {
        let (weight, bias) = match self {
            Self::Products { sums, origin } => of_products(sums, &origin, samples, alpha)?,
            Self::Rows { rows, gram } => of_rows(gram, &rows, samples, alpha)?,
        };
        // Metal has no f64.
        let device = match samples.features.device() {
            Device::Metal(_) => &Device::Cpu,
            device => device,
        };
        Ok(Ridge { weight: weight.to_device(device)?, bias: bias.to_device(device)? })
    }
}

/// W `(F, classes)` and b from the products of features and targets.
fn of_products(
    sums: Covariance,
    origin: &Tensor,
    samples: &Samples<'_>,
    alpha: f64,
) -> Result<(Tensor, Tensor)> {
    let (width, classes) = (samples.width, samples.classes);
    let (size, mean) = (width + classes, sums.mean());
    let mut scatter = sums.scatter();
    scatter.iter_mut().step_by(size + 1).take(width).for_each(|value| *value += alpha);
    let both = MatRef::from_column_major_slice(&scatter, size, size);
    let right = both.submatrix(width, 0, classes, width).transpose().to_owned();
    let factor = factor(both.submatrix(0, 0, width, width))?;
    drop(scatter);
    let weight = solve(&factor, right)?;
    let row = |values: &[f64]| Tensor::new(values, &Device::Cpu)?.unsqueeze(0);
    let mean_output = (origin + row(&mean[..width])?)?.matmul(&weight)?;
    Ok((weight, (row(&mean[width..])? - mean_output)?.squeeze(0)?))
}

/// W `(F, classes)` and b from the products of rows with each other.
fn of_rows(
    gram: Covariance,
    rows: &[usize],
    samples: &Samples<'_>,
    alpha: f64,
) -> Result<(Tensor, Tensor)> {
    let labels: Vec<u32> = rows.iter().map(|&row| samples.labels[row]).collect();
    let targets = samples.one_hot(&labels)?;
    let target_mean = targets.mean_keepdim(0)?;
    let (count, mut matrix) = (rows.len(), gram.products());
    matrix.iter_mut().step_by(count + 1).for_each(|value| *value += alpha);
    let factor = factor(MatRef::from_column_major_slice(&matrix, count, count))?;
    drop(matrix);
    let right = targets.broadcast_sub(&target_mean)?.flatten_all()?.to_vec1::<f64>()?;
    let right = MatRef::from_row_major_slice(&right, count, samples.classes).to_owned();
    let dual = solve(&factor, right)?;
    let (mut weights, mut bias) = (Vec::new(), target_mean);
    for start in samples.starts() {
        let (x, mean) = samples.centred(start, rows)?;
        let weight = x.t()?.matmul(&dual)?;
        bias = (bias - mean.matmul(&weight)?)?;
        weights.push(weight);
    }
    Ok((Tensor::cat(&weights, 0)?, bias.squeeze(0)?))
}

/// The Cholesky factor of a symmetric matrix, of which the lower triangle is read.
fn factor(matrix: MatRef<'_, f64>) -> Result<Llt<f64>> {
    matrix.llt(Side::Lower).map_err(|LltError::NonPositivePivot { index }| {
        Error::NotPositiveDefinite { pivot: index, size: matrix.nrows() }
    })
}

/// Solves for the columns of `right`; `(n, m)`.
fn solve(factor: &Llt<f64>, mut right: Mat<f64>) -> Result<Tensor> {
    factor.solve_in_place(right.as_mut());
    let values = right.row_iter().flat_map(|row| row.iter().copied()).collect();
    Ok(Tensor::from_vec(values, (right.nrows(), right.ncols()), &Device::Cpu)?)
}
