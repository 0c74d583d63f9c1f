//! The settings of ZCA whitening.

use serde::{Deserialize, Serialize};

/// How the covariance of [`Zca`](crate::Zca) is computed. The default uses every image once, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZcaConfig {
    /// The ε that is added to each eigenvalue; it damps directions of low variance. The default is 3.4e-4, which for
    /// images of 3,072 values is equivalent to that of [`author`](Self::author).
    pub epsilon: f64,
    /// The divisor of the sum of products.
    pub divisor: Divisor,
    /// How many images to draw at random, without replacement; `None` for all of them.
    pub images: Option<usize>,
    /// Whether to flip each image with probability 1/2.
    pub flip: bool,
}

impl Default for ZcaConfig {
    fn default() -> Self {
        Self { epsilon: 3.4e-4, divisor: Divisor::Images, images: None, flip: false }
    }
}

impl ZcaConfig {
    /// The settings of the code of Miconi (2021): 9,000 images drawn and flipped at random, `XᵀX`
    /// divided by the dimension, ε = 1e-3.
    ///
    /// For images of 3,072 values they give, up to a constant factor, the matrix for ε = 1e-3 · 3072 / 9000 = 3.4e-4
    /// and division by the number of images.
    pub const fn author() -> Self {
        Self { epsilon: 1e-3, divisor: Divisor::Dimension, images: Some(9000), flip: true }
    }
}

/// The divisor of `XᵀX` in the covariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divisor {
    /// The number n of rows, as is usual.
    Images,
    /// The number F of values in a row.
    Dimension,
}
