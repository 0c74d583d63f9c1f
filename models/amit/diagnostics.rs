//! The agreement of feedback and weights, layer by layer.

use super::network::Network;
use candle::{Device, Result, Tensor};
use candle_hebbian::FeedbackLayer;
use candle_hebbian::device::to_host;
use candle_hebbian::feedback::Source;
use candle_hebbian::ops::sign;
use serde::{Deserialize, Serialize};

/// How the feedback of one layer compares with back-propagation. What is computed from a NaN is NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDiagnostics {
    /// The name of the layer.
    pub layer: String,
    /// Pearson's correlation of the weights and the weights that the error goes back through, over all connections
    /// that exist in both directions; `None` if these are the weights themselves, or if either is constant.
    pub weight_feedback_correlation: Option<f64>,
    /// The angle of the same weights `W` and feedback weights `R`, in degrees: `arccos(⟨W, R⟩/(‖W‖·‖R‖))`.
    pub weight_feedback_angle: Option<f64>,
    /// The ratio of their norms, `‖R‖/‖W‖`.
    pub weight_feedback_norm_ratio: Option<f64>,
    /// The share of these connections for which both have the same sign.
    pub same_sign: Option<f64>,
    /// The mean over examples of the angle, in degrees, between the error `δ` at the layer's field and
    /// the error `δ_bp` that back-propagation through the same weights would send. Examples in which
    /// either error is 0 are left out.
    pub error_angle: Option<f64>,
    /// The mean over the same examples of the ratio of their norms, `‖δ‖/‖δ_bp‖`.
    pub error_norm_ratio: Option<f64>,
    /// The mean over all examples of `‖δ‖`, where `δ` is that of the example's own loss. Where it is tiny, the angle
    /// says little.
    pub error_norm: Option<f64>,
    /// The angle, in degrees, between the gradient of the weights for the whole batch by the protocol and the one by
    /// back-propagation, each as one vector; `None` if either is 0.
    pub update_angle: Option<f64>,
}

impl LayerDiagnostics {
    /// The name in the log and the heading in a table of each of the [`values`](Self::values).
    pub const MEASURES: [(&str, &str); 8] = [
        ("correlation", "W-R correlation"),
        ("weight_angle", "W-R angle °"),
        ("weight_norm_ratio", "‖R‖/‖W‖"),
        ("same_sign", "same sign"),
        ("angle", "error angle °"),
        ("norm_ratio", "error norm ratio"),
        ("error_norm", "‖δ‖"),
        ("update_angle", "update angle °"),
    ];

    /// What was measured, in the order of [`MEASURES`](Self::MEASURES).
    pub fn values(&self) -> [Option<f64>; 8] {
        [
            self.weight_feedback_correlation,
            self.weight_feedback_angle,
            self.weight_feedback_norm_ratio,
            self.same_sign,
            self.error_angle,
            self.error_norm_ratio,
            self.error_norm,
            self.update_angle,
        ]
    }
}

/// Compares feedback and weights of every layer on one batch of images `x (N, C, H, W)` with `labels (N)`, without
/// dropout.
///
/// # Errors
/// As for [`Network::errors`].
pub fn diagnose(network: &Network, x: &Tensor, labels: &Tensor) -> Result<Vec<LayerDiagnostics>> {
    let sent = network.errors(x, labels, false)?;
    let wanted = network.errors(x, labels, true)?;
    let by_protocol = network.gradients(x, labels, false)?;
    let by_backprop = network.gradients(x, labels, true)?;
    let errors = sent.iter().zip(&wanted);
    let gradients = by_protocol.iter().zip(&by_backprop);
    network
        .weight_layers()
        .zip(errors.zip(gradients))
        .map(|(layer, ((sent, wanted), (gradient, by_backprop)))| {
            let both = match layer.layer().config().source {
                Source::Weights => None,
                _ => Some(weights_and_feedback(layer.layer())?),
            };
            let of = |measure: &dyn Fn(&Tensor, &Tensor) -> Result<f64>| -> Result<Option<f64>> {
                let Some((weight, feedback)) = &both else { return Ok(None) };
                defined(measure(weight, feedback)?, weight, feedback)
            };
            let (angle, ratio) = compare(sent, wanted)?;
            let (gradient, by_backprop) = (flat(gradient)?, flat(by_backprop)?);
            let update = angle_between(&gradient, &by_backprop)?;
            Ok(LayerDiagnostics {
                layer: layer.name().to_string(),
                weight_feedback_correlation: of(&correlation)?,
                weight_feedback_angle: of(&angle_between)?,
                weight_feedback_norm_ratio: of(&|w, r| Ok((dot(r, r)? / dot(w, w)?).sqrt()))?,
                same_sign: of(&same_sign)?,
                error_angle: angle,
                error_norm_ratio: ratio,
                error_norm: Some(mean_norm(sent)?),
                update_angle: defined(update, &gradient, &by_backprop)?,
            })
        })
        .collect()
}

/// All entries, on the host.
fn flat(t: &Tensor) -> Result<Tensor> {
    to_host(t)?.flatten_all()
}

/// The weights and the feedback weights of the connections that exist in both directions, each as a list.
fn weights_and_feedback(layer: &FeedbackLayer) -> Result<(Tensor, Tensor)> {
    let (weight, feedback) = (flat(&layer.weight().detach())?, flat(&layer.error_weight()?)?);
    let both = match layer.masks() {
        (None, None) => return Ok((weight, feedback)),
        (Some(mask), None) | (None, Some(mask)) => mask.clone(),
        (Some(forward), Some(backward)) => (forward * backward)?,
    };
    let both = flat(&both)?.to_vec1::<f64>()?;
    let kept: Vec<u32> = (0..both.len() as u32).filter(|&at| both[at as usize] != 0.0).collect();
    let kept = Tensor::new(kept, &Device::Cpu)?;
    Ok((weight.index_select(&kept, 0)?, feedback.index_select(&kept, 0)?))
}

/// Computes Pearson's correlation of all entries of two tensors of the same shape; NaN if one is constant.
///
/// # Errors
/// If one has more entries than the other, or a tensor cannot be read back from its device.
pub fn correlation(a: &Tensor, b: &Tensor) -> Result<f64> {
    let centred = |t: &Tensor| {
        let t = flat(t)?;
        t.broadcast_sub(&t.mean_all()?)
    };
    cosine(&centred(a)?, &centred(b)?)
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    (a * b)?.sum_all()?.to_scalar()
}

fn cosine(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(dot(a, b)? / (dot(a, a)? * dot(b, b)?).sqrt())
}

/// A measure of two tensors: `None` if it is undefined although all their entries are finite.
fn defined(value: f64, a: &Tensor, b: &Tensor) -> Result<Option<f64>> {
    let are_finite = dot(a, a)?.is_finite() && dot(b, b)?.is_finite();
    Ok(Some(value).filter(|value| value.is_finite() || !are_finite))
}

/// The angle of two vectors in degrees; NaN if either is 0.
fn angle_between(a: &Tensor, b: &Tensor) -> Result<f64> {
    Ok(cosine(a, b)?.clamp(-1.0, 1.0).acos().to_degrees())
}

/// The mean over examples of the norm of their own errors; `errors` are those of a loss that is a mean over examples.
fn mean_norm(errors: &Tensor) -> Result<f64> {
    let norms = to_host(errors)?.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?;
    norms.sum_all()?.to_scalar()
}

/// The share of entries with the same sign in both; NaN if one holds a NaN.
fn same_sign(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (sign(a)?, sign(b)?);
    let same = a.eq(&b)?.to_dtype(a.dtype())?;
    // `eq` loses NaN.
    (same + ((a + b)? * 0.0)?)?.mean_all()?.to_scalar()
}

/// The mean angle (in degrees) and the mean ratio of norms of two errors, over the examples in which neither is 0.
fn compare(sent: &Tensor, wanted: &Tensor) -> Result<(Option<f64>, Option<f64>)> {
    let rows = |t: &Tensor| to_host(t)?.flatten_from(1);
    let (sent, wanted) = (rows(sent)?, rows(wanted)?);
    let dots = |a: &Tensor, b: &Tensor| (a * b)?.sum(1)?.to_vec1::<f64>();
    let products = dots(&sent, &wanted)?;
    let squares = dots(&sent, &sent)?.into_iter().zip(dots(&wanted, &wanted)?);
    let (mut angles, mut ratios, mut count) = (0.0, 0.0, 0);
    for (product, (sent, wanted)) in products.into_iter().zip(squares) {
        if sent != 0.0 && wanted != 0.0 {
            let cosine = product / (sent * wanted).sqrt();
            angles += cosine.clamp(-1.0, 1.0).acos().to_degrees();
            ratios += (sent / wanted).sqrt();
            count += 1;
        }
    }
    let mean = |sum: f64| (count > 0).then(|| sum / f64::from(count));
    Ok((mean(angles), mean(ratios)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what exists in both directions is compared, whichever direction lacks it.
    #[test]
    fn connections_in_both_directions() -> Result<()> {
        use candle_hebbian::feedback::{Learning, Source};
        use candle_hebbian::{FeedbackConfig, Geometry};
        let tensor = |values: [[f64; 2]; 2]| Tensor::new(&values, &Device::Cpu);
        let (w, r) = (tensor([[1.0, 2.0], [3.0, 4.0]])?, tensor([[5.0, 6.0], [7.0, 8.0]])?);
        let (diagonal, left) =
            (tensor([[1.0, 0.0], [0.0, 1.0]])?, tensor([[1.0, 0.0], [1.0, 0.0]])?);
        let config = FeedbackConfig { source: Source::Own, learning: Learning::Fixed };
        for (masks, weights, feedback) in [
            ((None, None), vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0]),
            ((None, Some(&diagonal)), vec![1.0, 4.0], vec![5.0, 8.0]),
            ((Some(&left), None), vec![1.0, 3.0], vec![5.0, 7.0]),
            ((Some(&left), Some(&diagonal)), vec![1.0], vec![5.0]),
        ] {
            let mut layer = FeedbackLayer::from_tensors(&w, Some(&r), Geometry::Dense, config)?;
            layer.set_masks(masks.0.cloned(), masks.1.cloned())?;
            let (of_weights, of_feedback) = weights_and_feedback(&layer)?;
            assert_eq!(of_weights.to_vec1::<f64>()?, weights, "{masks:?}");
            assert_eq!(of_feedback.to_vec1::<f64>()?, feedback, "{masks:?}");
        }
        Ok(())
    }

    #[test]
    fn correlation_of_hand_worked_values() -> Result<()> {
        let tensor = |values: &[f64]| Tensor::new(values, &Device::Cpu);
        // Deviations (−1, 0, 1) and (−1, 1, 0): 1 / (√2·√2).
        let r = correlation(&tensor(&[1.0, 2.0, 3.0])?, &tensor(&[4.0, 6.0, 5.0])?)?;
        assert!((r - 0.5).abs() < 1e-15, "{r}");
        Ok(())
    }

    /// Of (3, 4, 0) and (4, −3, 0), then of (1, −2) and (2, 2): −2/(√5·√8).
    #[test]
    fn signs_and_cosines_of_hand_worked_values() -> Result<()> {
        let tensor = |values: &[f64]| Tensor::new(values, &Device::Cpu);
        let (a, b) = (tensor(&[3.0, 4.0, 0.0])?, tensor(&[4.0, -3.0, 0.0])?);
        assert_eq!((cosine(&a, &b)?, same_sign(&a, &b)?), (0.0, 2.0 / 3.0));
        let (a, b) = (tensor(&[1.0, -2.0])?, tensor(&[2.0, 2.0])?);
        assert!((cosine(&a, &b)? + 0.1f64.sqrt()).abs() < 1e-15);
        assert_eq!(same_sign(&a, &b)?, 0.5);
        Ok(())
    }

    /// Of `W = (1, 2, 3, 4)`, of length √30: `W·R` is −1, 1.25 and 1.4, and the lengths are √2, √2.01875 and √1.48625.
    #[test]
    fn angles_of_hand_worked_weights() -> Result<()> {
        let tensor = |values: [f64; 4]| Tensor::new(&values, &Device::Cpu);
        let w = tensor([1.0, 2.0, 3.0, 4.0])?;
        for (r, degrees) in [
            ([0.0, 1.0, -1.0, 0.0], 97.417556),
            ([0.075, 1.15, -0.775, 0.3], 80.756933),
            ([0.075, 1.0, -0.625, 0.3], 77.897405),
        ] {
            let found = angle_between(&w, &tensor(r)?)?;
            assert!((found - degrees).abs() < 1e-6, "{found}, expected {degrees}");
        }
        Ok(())
    }

    #[test]
    fn angle_and_ratio_of_hand_worked_errors() -> Result<()> {
        let sent = Tensor::new(&[[2f64, 0.0], [0.0, 0.0], [0.0, 3.0]], &Device::Cpu)?;
        let wanted = Tensor::new(&[[0f64, 1.0], [1.0, 1.0], [0.0, 3.0]], &Device::Cpu)?;
        // 90° and 0°, ratios 2 and 1; the second example is left out.
        assert_eq!(compare(&sent, &wanted)?, (Some(45.0), Some(1.5)));
        Ok(())
    }

    /// A NaN is not left out of a mean and has no sign, and what is computed from it is not undefined; the angle to a
    /// vector of zeros is.
    #[test]
    fn nan_is_not_hidden() -> Result<()> {
        let rows = |x: f64| Tensor::new(&[[2f64, 0.0], [x, 1.0]], &Device::Cpu);
        let (sent, wanted) = (rows(f64::NAN)?, rows(3.0)?);
        for (sent, wanted) in [(&sent, &wanted), (&wanted, &sent)] {
            let (angle, ratio) = compare(sent, wanted)?;
            assert!(angle.is_some_and(f64::is_nan) && ratio.is_some_and(f64::is_nan));
            assert!(same_sign(sent, wanted)?.is_nan());
            let angle = angle_between(sent, wanted)?;
            assert!(defined(angle, sent, wanted)?.is_some_and(f64::is_nan));
        }
        let zeros = wanted.zeros_like()?;
        assert_eq!(defined(angle_between(&wanted, &zeros)?, &wanted, &zeros)?, None);
        Ok(())
    }
}
