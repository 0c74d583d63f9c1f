//! The initialisers of the papers, as candle's [`Init`] for a weight of a given shape.
//!
//! Each takes the shape that the weight has in its layer, so that `VarBuilder::get_with_hints`, a
//! [`seeded`](crate::seeded) builder and [`Rng::draw`](crate::Rng::draw) draw from the same
//! distribution. With `F` inputs per unit:
//!
//! | function | distribution | source |
//! |---|---|---|
//! | [`radius_normal`] | `N(0, (R/√F)²)` | SoftHebb after batch norm |
//! | [`radius_uniform`] | `U(0, √(3R²/F))` | SoftHebb on inputs ≥ 0 |
//! | [`fan_in_uniform`] | `U(−1/√F, 1/√F)` | PyTorch's layers |
//! | [`glorot_uniform`] | `U(−√(6/(F + F′)), √(6/(F + F′)))` | Glorot & Bengio; Amit |
//! | [`standard_normal`] | `N(0, 1)` | Miconi; Krotov & Hopfield |
//!
//! The shape is `(K, F)` for a dense layer, `(K, C, kh, kw)` for a convolution, and
//! `(OH, OW, K, C, kh, kw)` for a locally connected layer, of which only the last four sizes count.

use candle::Shape;
use candle_nn::Init;

/// `N(0, σ²)` with `σ = R/√F`, so that the expected square of a unit's norm is `radius²`.
///
/// Source: Journé et al. 2023 (SoftHebb), for layers whose inputs are normalised.
///
/// ```
/// use candle_hebbian::init;
/// use candle_nn::Init;
/// let Init::Randn { mean, stdev } = init::radius_normal((96, 4, 5, 5), 25.0) else { panic!() };
/// assert_eq!((mean, stdev), (0.0, 2.5)); // 25/√(4·5·5)
/// ```
pub fn radius_normal<S: Into<Shape>>(shape: S, radius: f64) -> Init {
    Init::Randn { mean: 0.0, stdev: radius / fan_in(&shape.into()).sqrt() }
}

/// `U(0, √(3R²/F))`, so that the expected square of a unit's norm is `radius²`; no weight is below 0.
///
/// Source: Journé et al. 2023 (SoftHebb), for layers whose inputs are not negative.
pub fn radius_uniform<S: Into<Shape>>(shape: S, radius: f64) -> Init {
    Init::Uniform { lo: 0.0, up: radius * (3.0 / fan_in(&shape.into())).sqrt() }
}

/// `U(−1/√F, 1/√F)`, the distribution of the weights of PyTorch's `Linear` and `Conv2d`.
pub fn fan_in_uniform<S: Into<Shape>>(shape: S) -> Init {
    let bound = 1.0 / fan_in(&shape.into()).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// `U(−a, a)` with `a = √(6/(F + F′))`, where `F` is the number of inputs of a unit and `F′` the
/// number of outputs of an input. For a kernel, these are its channels and its units, each times
/// its taps.
///
/// Source: Glorot & Bengio 2010, Eq. 16; Amit 2019 draws weights and feedback weights from it.
///
/// ```
/// use candle_hebbian::init;
/// use candle_nn::Init;
/// let Init::Uniform { lo, up } = init::glorot_uniform((4, 2)) else { panic!() };
/// assert!((up - 1.0).abs() < 1e-15 && lo == -up); // √(6/(2 + 4))
/// ```
pub fn glorot_uniform<S: Into<Shape>>(shape: S) -> Init {
    let limit = 3f64.sqrt() * glorot_deviation(&shape.into());
    Init::Uniform { lo: -limit, up: limit }
}

/// `N(0, 1)`.
///
/// Source: Miconi 2021 and Krotov & Hopfield 2019, whose rules bring the norms to 1 or `R`.
pub fn standard_normal() -> Init {
    Init::Randn { mean: 0.0, stdev: 1.0 }
}

/// `√(2/(F + F′))`, the standard deviation of [`glorot_uniform`].
pub(crate) fn glorot_deviation(shape: &Shape) -> f64 {
    let (units, inputs, taps) = kernel(shape);
    (2.0 / ((units + inputs) * taps).max(1.0)).sqrt()
}

/// The number of inputs of a unit, at least 1.
fn fan_in(shape: &Shape) -> f64 {
    let (_, inputs, taps) = kernel(shape);
    (inputs * taps).max(1.0)
}

/// The numbers of units, of channels or inputs, and of taps. They are floats, so no shape
/// overflows.
fn kernel(shape: &Shape) -> (f64, f64, f64) {
    let dims = shape.dims();
    let kernel = &dims[dims.len().saturating_sub(4)..];
    let size = |at: usize| kernel.get(at).map_or(1.0, |&size| size as f64);
    (size(0), size(1), size(2) * size(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2·3·3 inputs and 8·3·3 outputs, in a convolution and at each of 5×7 positions.
    #[test]
    fn the_last_four_sizes_of_an_untied_weight_count() {
        let up = |init: Init| match init {
            Init::Uniform { up, .. } => up,
            Init::Randn { stdev, .. } => stdev,
            other => panic!("{other:?}"),
        };
        for shape in [Shape::from((8, 2, 3, 3)), Shape::from(vec![5, 7, 8, 2, 3, 3])] {
            let near = |init, want: f64| assert!((up(init) - want).abs() < 1e-15, "{init:?}");
            near(radius_normal(&shape, 3.0), 3.0 / 18f64.sqrt());
            near(radius_uniform(&shape, 3.0), 1.5f64.sqrt()); // √(3·9/18)
            near(fan_in_uniform(&shape), 1.0 / 18f64.sqrt());
            near(glorot_uniform(&shape), (6f64 / 90.0).sqrt());
        }
    }

    #[test]
    fn any_shape_has_a_finite_distribution() {
        let hostile = Shape::from(vec![usize::MAX, usize::MAX, 3, usize::MAX]);
        for shape in [hostile, Shape::from(()), Shape::from((0, 0)), Shape::from(3)] {
            for init in [glorot_uniform(&shape), fan_in_uniform(&shape)] {
                assert!(matches!(init, Init::Uniform { up, .. } if up.is_finite() && up > 0.0));
            }
        }
    }
}
