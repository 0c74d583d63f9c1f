//! The pre-synaptic side of a batch.

use super::conv::Windows;
use super::gemm::matmul;
use super::response::linear_response;
use super::widen::wide;
use candle::{DType, Result, Tensor};
use std::sync::Arc;

/// The rows `(S, P, F)` that units see. The windows of images are written out as rows only when a rule reads them.
#[derive(Debug, Clone)]
pub(crate) enum Presynaptic {
    Rows(Tensor),
    Windows(Arc<Windows>),
}

impl Presynaptic {
    /// Rows that were written out, without their graph.
    ///
    /// # Errors
    /// If they are not of three axes.
    pub fn rows_of(rows: &Tensor) -> Result<Self> {
        rows.dims3()?;
        Ok(Self::Rows(rows.detach().contiguous()?))
    }

    /// The linear response `u (S, P, K)` of `weight`, with the feedback weights of [`linear_response`].
    ///
    /// # Errors
    /// If the weights do not fit.
    pub fn response(&self, weight: &Tensor, feedback: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rows(rows) => linear_response(rows, weight, feedback),
            Self::Windows(windows) => windows.response(weight),
        }
    }

    /// The error at the rows, or at the images whose windows they are, from the error `grad (S, P, K)` at the response.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn error(&self, grad: &Tensor, feedback: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rows(rows) => {
                let (sites, _, fan_in) = rows.dims3()?;
                let matrices = feedback.reshape((sites, grad.dim(2)?, fan_in))?;
                matmul(grad, &matrices.contiguous()?)
            }
            Self::Windows(windows) => windows.error(grad, feedback),
        }
    }

    /// The rows `(S, P, F)`.
    ///
    /// # Errors
    /// If there is not enough memory for them.
    pub fn rows(&self) -> Result<&Tensor> {
        match self {
            Self::Rows(rows) => Ok(rows),
            Self::Windows(windows) => windows.rows(),
        }
    }

    /// The numbers of sites, rows and inputs.
    pub fn dims(&self) -> [usize; 3] {
        match self {
            Self::Rows(rows) => [0, 1, 2].map(|axis| rows.dims()[axis]),
            Self::Windows(windows) => windows.dims(),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Self::Rows(rows) => rows.dtype(),
            Self::Windows(_) => DType::F32,
        }
    }

    /// The same in f32, if they are f16 or bf16.
    pub fn wide(&self) -> Result<Self> {
        match self {
            Self::Rows(rows) => Ok(Self::Rows(wide(rows)?)),
            Self::Windows(_) => Ok(self.clone()),
        }
    }
}
