//! Adversarial changes to images, which make a network assign another class.
//!
//! ```text
//! L(x)  = −log p_y(x)        p = softmax of the read-out's scores s(x), y the label
//! FGSM  x' = clip(x + ε·sign ∇L(x))
//! PGD   x_0 = clip(x + u), u from U[−ε, ε]      x_{t+1} = Π(x_t + α·sign ∇L(x_t))      α = 2.5 ε / T
//!
//! Square Attack, with the margin m = s_y − max_{c≠y} s_c
//!       x_0 = clip(x + ε·v)                     v = ±1 for each column of each channel
//!       x'  = clip(x + ε·v) in a square, else x_t      v = ±1 for each channel, h × h pixels at a random place
//!       x_{t+1} = x' if m(x') < m(x_t), else x_t       h = √(p·H·W), p from 0.8 down
//! ```
//!
//! `clip` limits pixels to [0, 1], and `Π` also to [x − ε, x + ε], so that the distance in L∞ is at most `ε`. Sources:
//! Goodfellow et al. 2015 (FGSM), Madry et al. 2018 (PGD, and its step), Andriushchenko et al. 2020 (Square Attack,
//! which needs no gradient; the first `p` is that of Croce & Hein 2020).
//!
//! If a read-out is certain, `p_y` is 1 to all digits of f32 and the computed gradient of `L` is 0. With
//! `M = log Σ_{c≠y} exp s_c − s_y`, `L = log(1 + exp M)` and `∇L = (1 − p_y)·∇M`, so `∇M` has the same sign and does
//! not vanish. The code therefore computes `∇M`.

use super::change::squares;
use anyhow::Result;
use candle::{D, Tensor, Var};
use candle_hebbian::Rng;
use candle_hebbian::device::upload;
use hebbian_train::one_hot_of;

/// What is attacked: a function that returns a read-out's scores `(B, classes)` for images.
pub(super) type Scores<'a> = &'a dyn Fn(&Tensor) -> hebbian_train::Result<Tensor>;

/// Subtracted from the score of an image's own class, to remove it from a sum of exponentials.
const OUT: f64 = 1e9;

/// Returns the sign of `∇L` for each pixel of images `(B, C, H, W)` with labels `(B)`, u32; `None` if no gradient
/// reaches the images.
pub(super) fn sign(scores: Scores<'_>, images: &Tensor, labels: &Tensor) -> Result<Option<Tensor>> {
    let var = Var::from_tensor(&images.detach())?;
    let (own, others) = own_and_others(&scores(var.as_tensor())?, labels)?;
    let grads = (others.log_sum_exp(1)? - own)?.sum_all()?.backward()?;
    Ok(grads.get(&var).map(|gradient| gradient.detach().sign()).transpose()?)
}

/// Returns the score of each image's own class, `(B)`, and `scores (B, classes)` without it.
fn own_and_others(scores: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    let own = one_hot_of(labels, scores.dim(1)?, scores.dtype())?;
    Ok(((scores * &own)?.sum(1)?, (scores - (own * OUT)?)?))
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

/// The share of pixels in the first squares of Square Attack.
const FIRST_SHARE: f64 = 0.8;

/// The share of pixels is halved when these shares of all queries are made.
const HALVED: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8];

/// Returns images after `queries` steps of Square Attack of strength `epsilon`.
pub(super) fn square(
    scores: Scores<'_>,
    images: &Tensor,
    labels: &Tensor,
    (epsilon, queries): (f64, usize),
    rng: &mut Rng,
) -> Result<Tensor> {
    let (count, channels, height, width) = images.dims4()?;
    let (low, high) = ((images - epsilon)?.clamp(0.0, 1.0)?, (images + epsilon)?.clamp(0.0, 1.0)?);
    let raised = |columns: usize, rng: &mut Rng| -> Result<Tensor> {
        let signs = (0..count * channels * columns).map(|_| rng.below(2) as u8).collect();
        let signs = upload(signs, (count, channels, 1, columns), images.device())?;
        Ok(signs.broadcast_as(images.shape())?.contiguous()?.where_cond(&high, &low)?)
    };
    let margins = |x: &Tensor| -> Result<Tensor> {
        let (own, others) = own_and_others(&scores(x)?.detach(), labels)?;
        Ok((own - others.max(D::Minus1)?)?)
    };
    let mut x = raised(width, rng)?;
    let mut margin = margins(&x)?;
    for query in 0..queries {
        let side = side_of(query as f64 / queries as f64, (height, width));
        let square = squares(images, side, rng)?;
        let tried = square.where_cond(&raised(1, rng)?, &x)?;
        let found = margins(&tried)?;
        let better = found.lt(&margin)?;
        margin = better.where_cond(&found, &margin)?;
        let better =
            better.reshape((count, 1, 1, 1))?.broadcast_as(images.shape())?.contiguous()?;
        x = better.where_cond(&tried, &x)?;
    }
    Ok(x)
}

/// The side of the square when this share of the queries is made.
fn side_of(done: f64, (height, width): (usize, usize)) -> usize {
    let halvings = HALVED.iter().filter(|&&share| done > share).count();
    let share = FIRST_SHARE / 2f64.powi(halvings as i32);
    let side = (share * (height * width) as f64).sqrt().round() as usize;
    side.clamp(1, height.min(width))
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

    /// By hand: √(0.8·64) is 7.2 pixels. After half of the queries the share has been halved seven times, to 1/160: of
    /// 64 pixels, 0.6 a side, and of 1,024, 2.5.
    #[test]
    fn squares_become_smaller() {
        let sides = |size: usize| [0.0, 0.03, 0.5, 0.99].map(|done| side_of(done, (size, size)));
        assert_eq!(sides(8), [7, 3, 1, 1]);
        assert_eq!(sides(32), [29, 10, 3, 1]);
        assert_eq!(side_of(0.0, (1, 9)), 1);
    }

    /// If no square can turn the decision, the search ends in the corner of the closed form. It needs no gradient: it
    /// turns the decision of a read-out of steps.
    #[test]
    fn squares_find_what_a_gradient_would() -> Result<()> {
        let weight = Tensor::new(&[[10f64, -2., 9.], [3., -3., 11.]], CPU)?;
        let images = Tensor::new(&[[0.5f64, 0.5, 0.4], [0.5, 0.05, 0.4]], CPU)?;
        let images = images.reshape((2, 1, 1, 3))?;
        let labels = Tensor::new(&[0u32, 0], CPU)?;
        let found = square(&linear(&weight), &images, &labels, (0.1, 100), &mut Rng::new(1))?;
        // w_1 − w_0 = (−7, −1, 2).
        let by_hand = [0.4, 0.4, 0.5, 0.4, 0.0, 0.5];
        assert!(
            values(&found).iter().zip(by_hand).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12)
        );

        // Class 1 has one more point for each of four pixels that is brighter than 0.55, class 0 has two.
        let steps = |images: &Tensor| -> hebbian_train::Result<Tensor> {
            let points = images.flatten_from(1)?.gt(0.55)?.to_dtype(DType::F64)?.sum_keepdim(1)?;
            Ok(Tensor::cat(&[(points.zeros_like()? + 2.0)?, points], 1)?)
        };
        let images = (Tensor::ones((3, 1, 2, 2), DType::F64, CPU)? * 0.5)?;
        let labels = Tensor::zeros(3, DType::U32, CPU)?;
        let attack = |epsilon: f64| {
            let x = square(&steps, &images, &labels, (epsilon, 50), &mut Rng::new(1))?;
            Ok::<_, anyhow::Error>(steps(&x)?.argmax(1)?.to_vec1::<u32>()?)
        };
        assert_eq!(attack(0.1)?, [1, 1, 1]);
        assert_eq!(attack(0.04)?, [0, 0, 0]);
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
