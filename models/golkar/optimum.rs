//! The best that a linear network of `k` hidden units can do.

use candle::{Device, Result, Tensor};
use candle_hebbian::device::to_host;
use faer::{Mat, MatRef, Side};

/// Reduced-rank regression in closed form, in f64:
///
/// ```text
/// min ‖y − Bx‖²  over B of rank k  =  Tr C_yy − Σ_{i ≤ k} μ_i        B = V_k V_kᵀ C_yx C_xx⁻¹
/// ```
///
/// where `C` are second moments (means over samples), and `μ` (descending) and `V` are the eigenvalues and
/// eigenvectors of `C_yx C_xx⁻¹ C_xy`. With a ridge, `C_xx + λI` takes the place of `C_xx` in `B` and `μ`; the
/// loss is that of this `B` on the samples as they are, and therefore slightly above the minimum.
///
/// Source: Golkar et al. 2020, arXiv 2011.15031, supplement A.
#[derive(Debug, Clone)]
pub struct Optimum {
    /// The loss of `B`.
    pub loss: f64,
    /// `Tr C_yy`, the loss of predicting 0.
    pub total: f64,
    /// All `μ`, descending.
    pub modes: Vec<f64>,
    /// `B (n, m)`
    pub weights: Tensor,
}

impl Optimum {
    /// Computes the optimum for inputs `x (T, m)` and targets `y (T, n)`, with rank `k` and a ridge `λ`.
    ///
    /// # Errors
    /// If there are no samples, or if values are not finite.
    pub fn of(x: &Tensor, y: &Tensor, k: usize, ridge: f64) -> Result<Self> {
        let (x, y) = (to_host(x)?, to_host(y)?);
        let (samples, inputs) = x.dims2()?;
        let outputs = y.dim(1)?;
        let moment = |a: &Tensor, b: &Tensor| -> Result<Mat<f64>> {
            let values = (a.t()?.matmul(b)? / samples as f64)?.flatten_all()?.to_vec1::<f64>()?;
            Ok(MatRef::from_row_major_slice(&values, a.dim(1)?, b.dim(1)?).to_owned())
        };
        let (mut xx, xy, yy) = (moment(&x, &x)?, moment(&x, &y)?, moment(&y, &y)?);
        let plain = xx.clone();
        for at in 0..inputs {
            xx[(at, at)] += ridge;
        }
        let eigen = |matrix: &Mat<f64>, name: &str| {
            matrix.self_adjoint_eigen(Side::Lower).map_err(|_| {
                candle::Error::msg(format!("the {name} have no eigenvalues: are they all finite?"))
            })
        };
        // C_xx⁻¹ C_xy, without the directions in which the inputs never vary.
        let basis = eigen(&xx, "inputs' moments")?;
        let values = basis.S().column_vector();
        let least = inputs as f64 * f64::EPSILON * values[inputs - 1].abs();
        let mut projected = basis.U().transpose() * &xy;
        for at in 0..inputs {
            let scale = if values[at] > least { values[at].recip() } else { 0.0 };
            projected.row_mut(at).iter_mut().for_each(|value| *value *= scale);
        }
        let full = basis.U() * &projected;
        let explained = xy.transpose() * &full;
        let found = eigen(&explained, "explained moments")?;
        let modes: Vec<f64> = found.S().column_vector().iter().rev().copied().collect();
        let rank = k.min(outputs);
        let top = found.U().subcols(outputs - rank, rank);
        let weights = top * (top.transpose() * full.transpose());
        let values = (0..outputs).flat_map(|i| (0..inputs).map(move |j| (i, j)));
        let values: Vec<f64> = values.map(|at| weights[at]).collect();
        let total: f64 = (0..outputs).map(|at| yy[(at, at)]).sum();
        // Tr C_yy − 2 Tr BC_xy + Tr BC_xxBᵀ
        let (fitted, spread) = (&weights * &xy, &weights * &plain * weights.transpose());
        let fit: f64 = (0..outputs).map(|at| 2.0 * fitted[(at, at)] - spread[(at, at)]).sum();
        Ok(Self {
            loss: total - fit,
            total,
            modes,
            weights: Tensor::from_vec(values, (outputs, inputs), &Device::Cpu)?,
        })
    }
}
