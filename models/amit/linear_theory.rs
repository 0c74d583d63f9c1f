//! The linear case: gradient flow of a linear network whose error travels down through separate
//! feedback weights.
//!
//! A network `y = W_L…W_1·x` of `L ≥ 2` levels learns the matrix `T` from white input
//! (`E[xxᵀ] = I`) and squared error `½‖E‖²`, `E = T − W_L…W_1`. In expectation over the input, with
//! error signals `δ_L = E` and `δ_{l−1} = R_lᵀ·δ_l`, the weights follow
//!
//! ```text
//! dW_l/dt = δ_l·(W_{l−1}…W_1)ᵀ        dR_l/dt = ε·dW_l/dt
//! ```
//!
//! Back-propagation has `W_l` in place of `R_l`. As everywhere in this library, `R_l` has the shape and
//! index order of `W_l` and is used transposed. In the usual form of the two-level system, `dW₁/dt = RE`,
//! `dW₂/dt = EW₁ᵀ`, `dR/dt = εW₁Eᵀ`, the matrix `R` is `R₂ᵀ` (`n₁ × n₂`).
//!
//! Source: Amit 2019, section 5, which claims that learning the feedback speeds up convergence. The
//! equations are the paper's update rules in the linear case, for any number of levels.

use candle::{D, DType, Result, Tensor, bail};

/// The weights that carry the error down.
#[derive(Debug, Clone)]
pub enum Feedback {
    /// The weights themselves.
    Backprop,
    /// Separate feedback weights.
    Random {
        /// `R_2…R_L`, each in the shape of the forward weights of its level. The first level needs none.
        weights: Vec<Tensor>,
        /// `ε`: how fast the feedback weights learn, relative to the weights. 0 keeps them fixed.
        rate: f64,
    },
}

/// Linear networks that learn their targets in Euler steps.
///
/// The leading dimension of all tensors counts independent runs: many small runs are much faster side by
/// side than one after the other.
///
/// ```
/// use candle::{Device, Tensor};
/// use hebbian_models::amit::{Feedback, LinearSystem};
///
/// let scalar = |x: f64| Tensor::new(&[[[x]]], &Device::Cpu);
/// let feedback = Feedback::Random { weights: vec![scalar(0.5)?], rate: 1.0 };
/// let mut system = LinearSystem::new(scalar(1.0)?, vec![scalar(0.0)?, scalar(0.0)?], feedback)?;
/// system.step(0.1)?; // w₁ = 0.1·0.5·1, w₂ and r stay
/// system.step(0.1)?; // w₁ = 0.05 + 0.1·0.5·1, w₂ = 0.1·1·0.05, e = 1 − 0.1·0.005
/// assert!((system.relative_errors()?[0] - 0.9995f64.powi(2)).abs() < 1e-15);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearSystem {
    target: Tensor,
    weights: Vec<Tensor>,
    feedback: Feedback,
    /// `W_l…W_1` for each level `l`.
    products: Vec<Tensor>,
    error: Tensor,
}

/// The quantities that the flow conserves for a level `l ≥ 2` and the level below it.
#[derive(Debug, Clone)]
pub struct Conserved {
    /// `R_l − ε·W_l`, which Euler steps conserve up to rounding. Zero for back-propagation.
    pub difference: Tensor,
    /// `W_{l−1}W_{l−1}ᵀ + ε·W_lᵀW_l − R_lᵀW_l − W_lᵀR_l`, which Euler steps conserve up to order `dt`. For
    /// back-propagation, where `R_l = W_l` and `ε = 1`, it is `W_{l−1}W_{l−1}ᵀ − W_lᵀW_l`.
    pub balance: Tensor,
}

impl LinearSystem {
    /// Creates networks with `weights` `W_1…W_L`, each `(runs, n_l, n_{l−1})`, that learn
    /// `target (runs, n_L, n_0)`; all tensors are `f64`.
    ///
    /// # Errors
    /// If there are fewer than two levels, the shapes do not fit each other, or a tensor is not `f64`.
    pub fn new(target: Tensor, weights: Vec<Tensor>, feedback: Feedback) -> Result<Self> {
        if weights.len() < 2 {
            bail!("a linear system of {} levels: give the weights of at least two", weights.len())
        }
        let (runs, outputs, inputs) = target.dims3()?;
        let mut below = inputs;
        for (index, weight) in weights.iter().enumerate() {
            let units = if index + 1 == weights.len() { outputs } else { weight.dim(D::Minus2)? };
            if weight.dims() != [runs, units, below] {
                let (level, found) = (index + 1, weight.dims());
                bail!(
                    "weights of {found:?} at level {level}, expected {:?}: runs, units, inputs",
                    [runs, units, below]
                )
            }
            below = units;
        }
        let shadows: &[Tensor] = match &feedback {
            Feedback::Backprop => &[],
            Feedback::Random { weights: shadows, .. } => {
                let dims = |ws: &[Tensor]| ws.iter().map(|w| w.dims().to_vec()).collect::<Vec<_>>();
                let (found, expected) = (dims(shadows), dims(&weights[1..]));
                if found != expected {
                    bail!(
                        "feedback weights of {found:?}, expected {expected:?}: the shapes of the \
                         weights from the second level up"
                    )
                }
                shadows
            }
        };
        let tensors = weights.iter().chain(shadows).chain([&target]);
        if let Some(other) = tensors.map(Tensor::dtype).find(|&dtype| dtype != DType::F64) {
            bail!("a linear system of {}: convert all of it to f64", other.as_str())
        }
        let (products, error) = respond(&target, &weights)?;
        Ok(Self { target, weights, feedback, products, error })
    }

    /// Takes one Euler step of length `dt`: all weights move at once, along their derivatives before the step.
    ///
    /// # Errors
    /// If the feedback weights are on another device than the weights, or the device lacks the memory.
    pub fn step(&mut self, dt: f64) -> Result<()> {
        let mut delta = self.error.clone();
        let mut derivatives = Vec::with_capacity(self.weights.len());
        for level in (1..self.weights.len()).rev() {
            derivatives.push(delta.matmul(&self.products[level - 1].t()?)?);
            delta = self.carrier(level).t()?.matmul(&delta)?;
        }
        derivatives.push(delta);
        derivatives.reverse();
        euler(&mut self.weights, &derivatives, dt)?;
        if let Feedback::Random { weights, rate } = &mut self.feedback {
            euler(weights, &derivatives[1..], dt * *rate)?;
        }
        (self.products, self.error) = respond(&self.target, &self.weights)?;
        Ok(())
    }

    /// `W_1…W_L`
    pub fn weights(&self) -> &[Tensor] {
        &self.weights
    }

    /// Returns the weights that carry the error down, with their current values.
    pub fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// `E = T − W_L…W_1`
    pub fn error(&self) -> &Tensor {
        &self.error
    }

    /// Computes `‖E‖²/‖T‖²` of each run.
    ///
    /// # Errors
    /// If the device lacks the memory, or fails while the result is read back.
    pub fn relative_errors(&self) -> Result<Vec<f64>> {
        let square = |t: &Tensor| t.sqr()?.sum((1, 2));
        (square(&self.error)? / square(&self.target)?)?.to_vec1()
    }

    /// Computes the conserved quantities of each level from the second up.
    ///
    /// # Errors
    /// As for [`step`](Self::step).
    pub fn conserved(&self) -> Result<Vec<Conserved>> {
        let rate = match &self.feedback {
            Feedback::Backprop => 1.0,
            Feedback::Random { rate, .. } => *rate,
        };
        let of_level = |level: usize| {
            let (below, w, r) =
                (&self.weights[level - 1], &self.weights[level], self.carrier(level));
            let cross = r.t()?.matmul(w)?;
            let own = (w.t()?.matmul(w)? * rate)?;
            Ok(Conserved {
                difference: (r - (w * rate)?)?,
                balance: (((below.matmul(&below.t()?)? + own)? - &cross)? - cross.t()?)?,
            })
        };
        (1..self.weights.len()).map(of_level).collect()
    }

    /// Computes the Pearson correlation of `W_l` and `R_l`, entry by entry (in the paper's notation, of `W`
    /// and `Rᵗ`), for each level from the second up and each run; `None` if one of them has no spread.
    ///
    /// # Errors
    /// As for [`step`](Self::step), or if the device fails while the result is read back.
    pub fn correlations(&self) -> Result<Vec<Vec<Option<f64>>>> {
        (1..self.weights.len())
            .map(|level| pearson(&self.weights[level], self.carrier(level)))
            .collect()
    }

    /// The weights that carry the error down from the level that has `level` levels below it.
    fn carrier(&self, level: usize) -> &Tensor {
        match &self.feedback {
            Feedback::Backprop => &self.weights[level],
            Feedback::Random { weights, .. } => &weights[level - 1],
        }
    }
}

/// Computes `W_l…W_1` for each level, and the error.
fn respond(target: &Tensor, weights: &[Tensor]) -> Result<(Vec<Tensor>, Tensor)> {
    let mut product = weights[0].clone();
    let mut products = vec![product.clone()];
    for weight in &weights[1..] {
        product = weight.matmul(&product)?;
        products.push(product.clone());
    }
    Ok((products, (target - product)?))
}

fn euler(state: &mut [Tensor], derivatives: &[Tensor], dt: f64) -> Result<()> {
    for (x, derivative) in state.iter_mut().zip(derivatives) {
        *x = (&*x + (derivative * dt)?)?;
    }
    Ok(())
}

/// The Pearson correlation of `a` and `b` in each run.
fn pearson(a: &Tensor, b: &Tensor) -> Result<Vec<Option<f64>>> {
    let centred = |t: &Tensor| -> Result<Tensor> {
        let rows = t.flatten_from(1)?;
        rows.broadcast_sub(&rows.mean_keepdim(1)?)
    };
    let (a, b) = (centred(a)?, centred(b)?);
    let dots = |a: &Tensor, b: &Tensor| (a * b)?.sum(1)?.to_vec1::<f64>();
    let squares = dots(&a, &a)?.into_iter().zip(dots(&b, &b)?);
    let correlation = |(dot, (a, b)): (f64, (f64, f64))| {
        let norms = a.sqrt() * b.sqrt();
        (norms != 0.0).then_some(dot / norms)
    };
    Ok(dots(&a, &b)?.into_iter().zip(squares).map(correlation).collect())
}
