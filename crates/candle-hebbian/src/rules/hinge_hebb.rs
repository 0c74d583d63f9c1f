use crate::ops::custom_vjp;
use candle::{DType, Result, Tensor};

/// The hinge-Hebbian class layer: a loss whose gradient is a local, Hebbian update.
///
/// ```text
/// ℓ = max(0, 1 − h_y) + μ/(C−1) · Σ_{c≠y} max(0, 1 + h_c)        mean over the batch
///
/// −∂ℓ/∂h_c = +1         if c = y and h_y < 1       Δw_c = −∂ℓ/∂h_c · x
///            −μ/(C−1)   if c ≠ y and h_c > −1
///            0          otherwise
/// ```
///
/// where `h (N, C)` is `fields`, the linear responses of the `C` class units, `y` the label and `μ`
/// is [`mu`](Self::new). A unit needs to know only its own field and whether the example is of its
/// class: it potentiates on its own examples until its field is 1, depresses on others until it is
/// −1. The prediction is the class of the largest field.
///
/// Source: Amit 2019, the class layer of §3; μ = 1 for ten classes, 10 for a hundred. The released
/// code divides μ by `C − 1`, as here. At equality the derivative is 0.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// use candle_hebbian::HingeHebb;
/// let fields = Var::new(&[[2f64, -3.0, 0.5, -1.0, 1.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32], &Device::Cpu)?;
/// let loss = HingeHebb::new(1.0)?.loss(&fields, &labels)?;
/// assert_eq!(loss.to_scalar::<f64>()?, 0.875);
/// let grads = loss.backward()?;
/// assert_eq!(grads.get(&fields).unwrap().to_vec2::<f64>()?, [[0.0, 0.0, 0.25, 0.0, 0.25]]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HingeHebb {
    mu: f64,
}

impl HingeHebb {
    /// A class layer whose other classes weigh `mu` (`μ`) together.
    ///
    /// # Errors
    /// A `mu` that is not above 0: units would never be depressed.
    pub fn new(mu: f64) -> Result<Self> {
        if !mu.is_finite() || mu <= 0.0 {
            candle::bail!("hinge-Hebbian loss: expected a finite μ above 0, found {mu}")
        }
        Ok(Self { mu })
    }

    /// The loss of `fields (N, C)` for `labels (N)`, integers below `C`: the mean over the batch.
    ///
    /// # Errors
    /// A label that is no class, fewer than two classes, another number of labels.
    pub fn loss(&self, fields: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let sign = self.signs(fields, labels)?;
        let (post, samples) = (self.post_at(fields, &sign)?, fields.dim(0)? as f64);
        // −Σ y·(h + sign) is the sum of the open margins; a product, so that NaN is not lost as it
        // is in candle's `relu`, whose gradient at 0 would not do either.
        let value = ((&post * (fields.detach() + sign)?)?.sum_all()? / -samples)?;
        let descent = (post / -samples)?;
        custom_vjp(
            "hinge_hebb",
            [fields],
            |_| Ok((value.into(), ())),
            move |pass| Ok([Some(descent.broadcast_mul(pass.grad)?)]),
        )
    }

    /// The post-synaptic activity `(N, C)` of the class units, `−N·∂loss/∂h`: 1, `−μ/(C−1)` or 0.
    /// With it the Hebbian update `Σ y xᵀ` of the class layer is `−N` times the loss's gradient.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub fn post(&self, fields: &Tensor, labels: &Tensor) -> Result<Tensor> {
        self.post_at(fields, &self.signs(fields, labels)?)
    }

    fn post_at(&self, fields: &Tensor, sign: &Tensor) -> Result<Tensor> {
        let open = ((fields.detach() * sign)? + 1.0)?.gt(0.0)?.to_dtype(fields.dtype())?;
        ((open * sign)? * self.weights(sign)?)?.neg()
    }

    /// 1 at the label, `μ/(C−1)` elsewhere.
    fn weights(&self, sign: &Tensor) -> Result<Tensor> {
        let other = self.mu / (sign.dim(1)? - 1) as f64;
        // (1 + sign)/2 is 0 at the label and 1 elsewhere.
        ((sign + 1.0)? * ((other - 1.0) / 2.0))? + 1.0
    }

    /// −1 at the label, 1 elsewhere: `(N, C)`.
    fn signs(&self, fields: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let (samples, classes) = fields.dims2()?;
        if classes < 2 || labels.dims() != [samples] {
            candle::bail!(
                "hinge-Hebbian loss: fields of {:?} with labels of {:?}: expected (N, C) with two \
                 or more classes, and (N)",
                fields.dims(),
                labels.dims()
            )
        }
        let classes = i64::try_from(classes)?;
        let labels = labels.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        if let Some((at, label)) =
            labels.iter().enumerate().find(|(_, label)| !(0..classes).contains(*label))
        {
            candle::bail!(
                "hinge-Hebbian loss: label {label} of example {at}: expected 0 to {}",
                classes - 1
            )
        }
        let row = |label: i64| (0..classes).map(move |c| if c == label { -1f32 } else { 1.0 });
        let sign: Vec<f32> = labels.into_iter().flat_map(row).collect();
        Tensor::from_vec(sign, fields.shape(), fields.device())?.to_dtype(fields.dtype())
    }
}
