//! Adversarial changes to images, which make a network assign another class.
//!
//! ```text
//! L(x)  = −log p_y(x)        p = softmax of the read-out's scores s(x), y the label
//! FGSM  x' = clip(x + ε·sign ∇L(x))
//! PGD   x_0 = clip(x + u), u from U[−ε, ε]      x_{t+1} = Π(x_t + α·sign ∇L(x_t))      α = 2.5 ε / T
//! ```
//!
//! `clip` limits pixels to [0, 1], and `Π` also to [x − ε, x + ε], so that the distance in L∞ is at most `ε`. Sources:
//! Goodfellow et al. 2015 (FGSM), Madry et al. 2018 (PGD, and its step).
//!
//! If a read-out is certain, `p_y` is 1 to all digits of f32 and the computed gradient of `L` is 0. With
//! `M = log Σ_{c≠y} exp s_c − s_y`, `L = log(1 + exp M)` and `∇L = (1 − p_y)·∇M`, so `∇M` has the same sign and does
//! not vanish. The code therefore computes `∇M`.

use anyhow::Result;
use candle::{Tensor, Var};
use candle_hebbian::Rng;
use hebbian_train::one_hot_of;

/// What is attacked: a function that returns a read-out's scores `(B, classes)` for images.
pub(super) type Scores<'a> = &'a dyn Fn(&Tensor) -> hebbian_train::Result<Tensor>;

/// Subtracted from the score of an image's own class, to remove it from a sum of exponentials.
const OUT: f64 = 1e9;

/// Returns the sign of `∇L` for each pixel of images `(B, C, H, W)` with labels `(B)`, u32; `None` if no gradient
/// reaches the images.
pub(super) fn sign(scores: Scores<'_>, images: &Tensor, labels: &Tensor) -> Result<Option<Tensor>> {
    let var = Var::from_tensor(&images.detach())?;
    let scores = scores(var.as_tensor())?;
    let own = one_hot_of(labels, scores.dim(1)?, scores.dtype())?;
    let others = (&scores - (&own * OUT)?)?.log_sum_exp(1)?;
    let margin = (others - (scores * own)?.sum(1)?)?;
    let grads = margin.sum_all()?.backward()?;
    Ok(grads.get(&var).map(|gradient| gradient.detach().sign()).transpose()?)
}

/// Returns images after a step of FGSM of strength `epsilon` in the direction of [`sign`].
pub(super) fn fgsm(images: &Tensor, sign: &Tensor, epsilon: f64) -> Result<Tensor> {
    Ok((images + (sign * epsilon)?)?.clamp(0.0, 1.0)?)
}

/// Returns images after `steps` steps of PGD of strength `epsilon`; `None` if no gradient reaches the images.
pub(super) fn pgd(
    scores: Scores<'_>,
    images: &Tensor,
    labels: &Tensor,
    (epsilon, steps): (f64, usize),
    rng: &mut Rng,
) -> Result<Option<Tensor>> {
    let (low, high) = ((images - epsilon)?, (images + epsilon)?);
    let inside = |x: Tensor| x.maximum(&low)?.minimum(&high)?.clamp(0.0, 1.0);
    let start = rng.uniform(-epsilon, epsilon, images.shape(), images.dtype(), images.device())?;
    let mut x = inside((images + start)?)?;
    for _ in 0..steps {
        let Some(sign) = sign(scores, &x, labels)? else { return Ok(None) };
        x = inside((x + (sign * (2.5 * epsilon / steps as f64))?)?)?;
    }
    Ok(Some(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle::{DType, Device};

    const CPU: &Device = &Device::Cpu;

    /// Scores `W·x` of the pixels of images `(B, 1, 1, 3)`.
    fn linear(weight: &Tensor) -> impl Fn(&Tensor) -> hebbian_train::Result<Tensor> + '_ {
        |images| Ok(images.flatten_from(1)?.matmul(&weight.t()?)?)
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        let all = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all());
        all.and_then(|all| all.to_vec1()).unwrap()
    }

    /// With two classes, the changed image is `x + ε·sign(w_wrong − w_label)`, in [0, 1].
    #[test]
    fn a_linear_readout_of_two_classes_has_a_closed_form() -> Result<()> {
        let weight = Tensor::new(&[[1f64, -2., 0.5], [3., -3., 0.5]], CPU)?;
        let scores = linear(&weight);
        let images = Tensor::new(&[[0.5f64, 0.5, 0.5], [0.05, 0.95, 0.5]], CPU)?;
        let images = images.reshape((2, 1, 1, 3))?;
        let labels = Tensor::new(&[0u32, 1], CPU)?;
        let sign = sign(&scores, &images, &labels)?.expect("a gradient");
        // w_1 − w_0 = (2, −1, 0), and its negative for the label 1.
        assert_eq!(values(&sign), [1., -1., 0., -1., 1., 0.]);
        let attacked = values(&fgsm(&images, &sign, 0.1)?);
        let by_hand = [0.6, 0.4, 0.5, 0.0, 1.0, 0.5];
        assert!(attacked.iter().zip(by_hand).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12));
        // PGD ends in the same corner, and keeps the pixel that does not count within ε.
        let pgd = pgd(&scores, &images, &labels, (0.1, 10), &mut Rng::new(0))?;
        let pgd = values(&pgd.expect("a gradient"));
        for at in [0, 1, 3, 4] {
            assert!((pgd[at] - by_hand[at]).abs() < 1e-12, "{pgd:?}");
        }
        assert!([2, 5].iter().all(|&at: &usize| (pgd[at] - 0.5).abs() <= 0.1), "{pgd:?}");
        Ok(())
    }

    /// For a network with three classes, the sign is that of the gradient of the cross-entropy by central differences.
    #[test]
    fn the_sign_is_that_of_the_cross_entropy() -> Result<()> {
        let mut rng = Rng::new(7);
        let (first, second) = (
            rng.normal(0.0, 1.0, (6, 5), DType::F64, CPU)?,
            rng.normal(0.0, 1.0, (3, 6), DType::F64, CPU)?,
        );
        let scores = |images: &Tensor| -> hebbian_train::Result<Tensor> {
            let hidden = images.flatten_from(1)?.matmul(&first.t()?)?.tanh()?;
            Ok(hidden.matmul(&second.t()?)?)
        };
        let images = rng.uniform(0.1, 0.9, (4, 1, 1, 5), DType::F64, CPU)?;
        let labels = [0u32, 2, 1, 2];
        let found = sign(&scores, &images, &Tensor::new(&labels, CPU)?)?.expect("a gradient");
        let loss = |pixels: &[f64]| -> Result<f64> {
            let images = Tensor::from_slice(pixels, (4, 1, 1, 5), CPU)?;
            let rows = scores(&images)?.to_vec2::<f64>()?;
            Ok(rows
                .iter()
                .zip(labels)
                .map(|(row, label)| {
                    let sum: f64 = row.iter().map(|score| score.exp()).sum();
                    sum.ln() - row[label as usize]
                })
                .sum())
        };
        let pixels = values(&images);
        for (at, sign) in values(&found).into_iter().enumerate() {
            let moved = |by: f64| {
                let mut pixels = pixels.clone();
                pixels[at] += by;
                loss(&pixels)
            };
            let slope = (moved(1e-5)? - moved(-1e-5)?) / 2e-5;
            assert!(slope.abs() > 1e-6 && slope.signum() == sign, "{at}: {slope}, {sign}");
        }
        Ok(())
    }

    /// A read-out that is certain is attacked although its cross-entropy has no slope in f32.
    #[test]
    fn a_sure_readout_is_attacked() -> Result<()> {
        let weight = Tensor::new(&[[500f32, 0., 0.], [0., 500., 0.]], CPU)?;
        let images = Tensor::new(&[[1f32, 0., 0.]], CPU)?.reshape((1, 1, 1, 3))?;
        let sign = sign(&linear(&weight), &images, &Tensor::new(&[0u32], CPU)?)?;
        assert_eq!(values(&sign.expect("a gradient")), [-1., 1., 0.]);
        Ok(())
    }

    #[test]
    fn a_constant_has_no_gradient() -> Result<()> {
        let scores = |images: &Tensor| -> hebbian_train::Result<Tensor> {
            Ok(images.detach().flatten_from(1)?)
        };
        let images = Tensor::zeros((2, 1, 1, 3), DType::F32, CPU)?;
        let labels = Tensor::new(&[0u32, 1], CPU)?;
        assert!(sign(&scores, &images, &labels)?.is_none());
        assert!(pgd(&scores, &images, &labels, (0.1, 2), &mut Rng::new(0))?.is_none());
        Ok(())
    }
}
