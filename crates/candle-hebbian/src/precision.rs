//! The precision of products of f32 matrices.

use candle::cuda::set_gemm_reduced_precision_f32;
use std::sync::atomic::{AtomicU8, Ordering};

/// The precision of products of f32 matrices.
///
/// The names and their order are those of PyTorch's `set_float32_matmul_precision`. Settings below
/// [`Highest`](Self::Highest) apply to the large products of this crate's layers and rules on
/// processors with a matrix unit (AMX, on Linux), and to all of candle's products on NVIDIA GPUs,
/// which use TF32 for both. [`Medium`](Self::Medium) also applies to such products on processors
/// with vectors of bf16 (AVX-512-BF16, on Linux), except for convolutions by 3×3 kernels with a
/// stride and a dilation of 1, which bf16 makes slower there. On the CPU, both need the feature
/// `x86-v4`, a default one. Nothing else is affected. Sums are in f32 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MatmulPrecision {
    /// The precision of f32: a relative error of about 2⁻²⁴ for each product of two values. On the CPU, convolutions
    /// by 3×3 kernels with many channels compute 4×4 positions together, with fewer multiplications; their rounding
    /// error is about six times that of a direct sum, relative to the largest values that these positions see.
    #[default]
    Highest,
    /// Each value is split into a sum of two bf16 values: a relative error of about 2⁻¹⁶. TF32 has
    /// 2⁻¹¹.
    High,
    /// Each value is rounded to bf16: a relative error of about 2⁻⁸. TF32 has 2⁻¹¹.
    Medium,
}

impl MatmulPrecision {
    /// All settings, the most exact first.
    pub const ALL: [Self; 3] = [Self::Highest, Self::High, Self::Medium];

    /// The name of the setting: `highest`, `high` or `medium`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Highest => "highest",
            Self::High => "high",
            Self::Medium => "medium",
        }
    }
}

static PRECISION: AtomicU8 = AtomicU8::new(0);

/// Sets the precision of products of f32 matrices, for the whole process.
///
/// ```
/// use candle_hebbian::{MatmulPrecision, matmul_precision, set_matmul_precision};
/// assert_eq!(matmul_precision(), MatmulPrecision::Highest);
/// set_matmul_precision(MatmulPrecision::High);
/// assert_eq!(matmul_precision(), MatmulPrecision::High);
/// ```
pub fn set_matmul_precision(precision: MatmulPrecision) {
    PRECISION.store(precision as u8, Ordering::Relaxed);
    set_gemm_reduced_precision_f32(precision != MatmulPrecision::Highest);
}

/// Returns the precision of products of f32 matrices.
pub fn matmul_precision() -> MatmulPrecision {
    MatmulPrecision::ALL[usize::from(PRECISION.load(Ordering::Relaxed))]
}
