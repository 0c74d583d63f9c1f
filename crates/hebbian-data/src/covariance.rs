//! Sums of products of rows, added a few at a time, and inverses computed from their eigenvectors.

use candle::{Device, Tensor};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, MatRef, Par, Side};

use crate::{Error, Result};

/// The covariance `C = XᵀX/n − x̄x̄ᵀ` of n rows X of F values with mean x̄, only some of which need to be in
/// memory at a time. Only the lower triangle of the products is computed, in `f64`.
///
/// ```
/// use candle::{Device, Tensor};
/// use hebbian_data::Covariance;
/// let mut covariance = Covariance::new(2);
/// for rows in [[[1f64, 2.], [3., 1.]], [[0., -1.], [-2., 0.]]] {
///     covariance.add(&Tensor::new(&rows, &Device::Cpu)?)?;
/// }
/// // The means are 0.5 and 0.5, so C = [[3.25, 1], [1, 1.25]], and its eigenvalues 2.25 ± √2.
/// let inverse = covariance.inverse(0.)?;
/// assert!((inverse.eigenvalues[1] - 2.25 - 2f64.sqrt()).abs() < 1e-12);
/// let (rows, determinant) = (inverse.matrix.to_vec2::<f64>()?, 3.25 * 1.25 - 1.);
/// assert!((rows[0][0] - 1.25 / determinant).abs() < 1e-12 && (rows[0][1] + 1. / determinant).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Covariance {
    /// The lower triangle of `XᵀX`.
    pub(crate) products: Mat<f64>,
    total: Vec<f64>,
    pub(crate) rows: usize,
}

/// `(C + ε I)⁻¹` of a [`Covariance`].
#[derive(Debug, Clone)]
pub struct Inverse {
    /// `(F, F)`, of `f64` on the host.
    pub matrix: Tensor,
    /// The eigenvalues of `C`, in ascending order.
    pub eigenvalues: Vec<f64>,
}

/// Eigenvectors in columns, and the eigenvalues, all of them positive and in ascending order.
pub(crate) struct Eigen {
    pub vectors: Mat<f64>,
    pub values: Vec<f64>,
}

impl Covariance {
    /// Creates an empty covariance for this many columns.
    pub fn new(columns: usize) -> Self {
        Self { products: Mat::zeros(columns, columns), total: vec![0.; columns], rows: 0 }
    }

    /// Adds rows `(n, F)` of `f64`.
    ///
    /// # Errors
    /// If the rows have another length or type.
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        let (rows, found) = x.dims2()?;
        let expected = self.total.len();
        if found != expected {
            return Err(Error::Size { what: "columns of rows to whiten by", found, expected });
        }
        let values = x.flatten_all()?.to_vec1::<f64>()?;
        for row in values.chunks_exact(found.max(1)) {
            self.total.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        let x = MatRef::from_row_major_slice(&values, rows, found);
        add_lower(&mut self.products, x.transpose(), x);
        self.rows += rows;
        Ok(())
    }

    /// The mean `x̄` of the rows; NaN if there are none.
    pub fn mean(&self) -> Vec<f64> {
        self.total.iter().map(|sum| sum / self.rows as f64).collect()
    }

    /// Computes the lower triangle of `n C = XᵀX − n x̄x̄ᵀ`, column by column: `F·F` values, of which those above the
    /// diagonal are 0. `n C` loses precision where a mean is large beside the deviation: subtract a common row close
    /// to the mean before adding rows.
    ///
    /// ```
    /// use candle::{Device, Tensor};
    /// use hebbian_data::Covariance;
    /// let mut all = Covariance::new(2);
    /// for rows in [[[1f64, 2.], [3., 1.]], [[0., -1.], [-2., 0.]]] {
    ///     all.add(&Tensor::new(&rows, &Device::Cpu)?)?;
    /// }
    /// assert_eq!(all.mean(), [0.5, 0.5]);
    /// assert_eq!(all.scatter(), [13., 4., 0., 5.]); // C = [[3.25, 1], [1, 1.25]]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scatter(mut self) -> Vec<f64> {
        self.centre();
        self.products()
    }

    /// Returns the lower triangle of `XᵀX`, in the form of [`scatter`](Self::scatter). If the rows `X` are the features
    /// of samples, one feature a row, these are the products of the samples.
    ///
    /// ```
    /// use candle::{Device, Tensor};
    /// use hebbian_data::Covariance;
    /// let mut all = Covariance::new(2);
    /// all.add(&Tensor::new(&[[1f64, 2.], [3., 1.]], &Device::Cpu)?)?;
    /// assert_eq!(all.products(), [10., 5., 0., 5.]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn products(self) -> Vec<f64> {
        let columns = self.products.col_iter();
        columns.flat_map(|column| column.iter().copied()).collect()
    }

    /// Computes `(C + ε I)⁻¹`.
    ///
    /// # Errors
    /// If there are no rows or columns, if values are not finite, or if `C + ε I` is singular up to rounding.
    pub fn inverse(self, epsilon: f64) -> Result<Inverse> {
        let Eigen { vectors, values } = self.centred(epsilon)?;
        let size = values.len();
        let mut scaled = vectors.clone();
        for (mut column, value) in scaled.col_iter_mut().zip(&values) {
            column *= value.recip();
        }
        let mut inverse = Mat::zeros(size, size);
        add_lower(&mut inverse, scaled.as_ref(), vectors.transpose());
        let eigenvalues = values.iter().map(|value| value - epsilon).collect();
        Ok(Inverse { matrix: symmetric(&inverse)?, eigenvalues })
    }

    /// Computes `(C + ε I)^(−1/2)`, symmetric, `(F, F)` of `f64` on the host. Rows minus their mean, multiplied
    /// by it, have the identity as their covariance if ε is 0.
    ///
    /// # Errors
    /// As [`inverse`](Self::inverse).
    pub fn inverse_root(self, epsilon: f64) -> Result<Tensor> {
        self.centred(epsilon)?.inverse_root()
    }

    /// The eigenvectors and eigenvalues of `C + ε I`.
    fn centred(mut self, epsilon: f64) -> Result<Eigen> {
        if self.rows == 0 || self.total.is_empty() {
            return Err(Error::Size { what: "rows to whiten by", found: 0, expected: 1 });
        }
        self.centre();
        let count = self.rows as f64;
        self.eigen(count, epsilon)
    }

    /// Subtracts the products of the means from the products.
    fn centre(&mut self) {
        let count = (self.rows as f64).max(1.);
        for column in 0..self.total.len() {
            for row in column..self.total.len() {
                self.products[(row, column)] -= self.total[row] * self.total[column] / count;
            }
        }
    }

    /// The eigenvectors and eigenvalues of the products divided by `divisor`, plus ε on the diagonal.
    pub(crate) fn eigen(mut self, divisor: f64, epsilon: f64) -> Result<Eigen> {
        let features = self.total.len();
        self.products /= divisor;
        for column in 0..features {
            self.products[(column, column)] += epsilon;
            let variance = self.products[(column, column)];
            // If the diagonal is finite, so is the rest: |C_ij|² is at most C_ii C_jj.
            if !variance.is_finite() {
                return Err(Error::NotFinite { column, variance });
            }
        }
        let eigen =
            self.products.self_adjoint_eigen(Side::Lower).map_err(|_| Error::Eigen(features))?;
        let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect();

        // The values are in ascending order. Rounding alone can produce values up to this size.
        let (smallest, largest) = (values[0], values[features - 1]);
        let rounding = features as f64 * f64::EPSILON * largest;
        let singular = values.iter().filter(|&&value| value <= rounding).count();
        if singular > 0 {
            let rows = self.rows;
            return Err(Error::RankDeficient { singular, smallest, features, rows, epsilon });
        }
        Ok(Eigen { vectors: eigen.U().to_owned(), values })
    }
}

impl Eigen {
    /// Computes `E diag(λ^(−1/2)) Eᵀ`.
    pub fn inverse_root(self) -> Result<Tensor> {
        let Self { vectors: mut half, values } = self;
        // As B Bᵀ with B = E diag(λ^(−1/4)), which takes half the products and is exactly symmetric.
        for (mut column, value) in half.col_iter_mut().zip(&values) {
            column *= value.sqrt().sqrt().recip();
        }
        let mut root = Mat::zeros(values.len(), values.len());
        add_lower(&mut root, half.as_ref(), half.transpose());
        symmetric(&root)
    }
}

/// Adds the lower triangle of a product to `sum`.
pub(crate) fn add_lower(sum: &mut Mat<f64>, left: MatRef<'_, f64>, right: MatRef<'_, f64>) {
    triangular::matmul(
        sum.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Add,
        left,
        BlockStructure::Rectangular,
        right,
        BlockStructure::Rectangular,
        1.,
        Par::rayon(0),
    );
}

/// The symmetric matrix with this lower triangle.
pub(crate) fn symmetric(lower: &Mat<f64>) -> Result<Tensor> {
    let size = lower.nrows();
    let values: Vec<f64> = (0..size)
        .flat_map(|i| (0..size).map(move |j| (i.max(j), i.min(j))))
        .map(|place| lower[place])
        .collect();
    Ok(Tensor::from_vec(values, (size, size), &Device::Cpu)?)
}
