use super::{Rule, State, Update};
use crate::ops::widen::{expect_real, wide, widened};
use crate::ops::{custom_vjp, has_kernels, index};
use crate::synapses::Synapses;
use candle::{D, DType, Result, Tensor};

/// The hinge-Hebbian class layer: each unit potentiates on examples of its own class until its
/// field is 1, and depresses on all others until its field is −1.
///
/// ```text
/// Δw_c = Σ y_c x        y_c = 1          if t_c = 1 and h_c < 1        d_c = 0
///                             −μ/(C−1)   if t_c = −1 and h_c > −1
///                             0          otherwise
/// ```
///
/// where `x` is a row of `synapses.pre()`, `h` of `response` (the linear response, called the field),
/// `t` of the third factor: 1 at the class of the example, −1 at the `C − 1` others
/// ([`targets`](Self::targets)). A unit needs to know only its own field and whether the example is of
/// its class. `μ` is [`mu`](Self::new). The sum is over rows; `post` is not read. The prediction is
/// the class of the largest field.
///
/// The update is that of gradient descent on a loss of the fields, [`loss`](Self::loss), by which
/// networks can be trained.
///
/// Source: Amit 2019, the class layer of §3; μ = 1 for ten classes, 10 for a hundred. The released
/// code divides μ by `C − 1`, as here. Where `h_c` is exactly ±1, the derivative is 0.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// use candle_hebbian::{HingeHebb, Synapses};
/// let hinge = HingeHebb::new(1.0)?;
/// let fields = Var::new(&[[2f64, -3.0, 0.5, -1.0, 1.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32], &Device::Cpu)?;
/// let loss = hinge.loss(&fields, &labels)?;
/// assert_eq!(loss.to_scalar::<f64>()?, 0.875);
/// let grads = loss.backward()?;
/// assert_eq!(grads.get(&fields).unwrap().to_vec2::<f64>()?, [[0.0, 0.0, 0.25, 0.0, 0.25]]);
///
/// // The rule, for units that see one input of 1: y itself.
/// let (w, x) = (fields.reshape((5, 1))?, Tensor::new(&[[[1f64]]], &Device::Cpu)?);
/// let h = fields.unsqueeze(0)?;
/// let synapses = Synapses::new(&w, &x, &h, &h)?.with_third(&hinge.targets(&fields, &labels)?)?;
/// let update = synapses.update(&hinge)?.flatten_all()?;
/// assert_eq!(update.to_vec1::<f64>()?, [0.0, 0.0, -0.25, 0.0, -0.25]);
/// # Ok::<(), candle::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HingeHebb {
    mu: f64,
}

impl HingeHebb {
    /// A class layer in which the other classes together have the weight `mu` (`μ`).
    ///
    /// # Errors
    /// If `mu` is not above 0 or not finite, in f32: at 0 or below, units would never be depressed.
    pub fn new(mu: f64) -> Result<Self> {
        if !(mu as f32 > 0.0 && (mu as f32).is_finite()) {
            candle::bail!(
                "hinge-Hebbian loss: expected a μ above 0 that is finite in f32, found {mu}"
            )
        }
        Ok(Self { mu })
    }

    /// Computes the loss of `fields (N, C)` for `labels (N)`, integers below `C`: the mean over the
    /// batch, as the losses of `candle_nn` are, of
    ///
    /// ```text
    /// ℓ = max(0, 1 − h_y) + μ/(C−1) · Σ_{c≠y} max(0, 1 + h_c)        −∂ℓ/∂h_c = y_c
    /// ```
    ///
    /// with `h_y` the field of the label's class and `y_c` the rule's activity. The loss of an empty batch is 0.
    ///
    /// # Errors
    /// As for [`targets`](Self::targets).
    pub fn loss(&self, fields: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let targets = self.targets(fields, labels)?;
        let (post, samples) = (self.post(fields, &targets)?, fields.dim(0)?.max(1) as f64);
        if post.elem_count() == 0 {
            let zero = Tensor::zeros((), fields.dtype(), fields.device())?;
            let forward = |_: &[Tensor; 1]| Ok((zero.into(), ()));
            return custom_vjp("hinge_hebb", [fields], forward, move |_| Ok([Some(post.clone())]));
        }
        // −Σ y·(h − t) is the sum of the margins that are not met. As a product it keeps NaN,
        // unlike candle's `relu`, whose gradient at 0 would also be wrong here.
        let value = widened(&fields.detach(), |fields| {
            let [post, targets] = [&post, &targets].map(|factor| factor.to_dtype(fields.dtype()));
            let post = post?;
            let margins = (&post * (fields - targets?)?)?;
            // A margin that an infinite field meets is 0 too, and 0·∞ is not.
            post.eq(0.0)?.where_cond(&post, &margins)?.sum_all()? / -samples
        })?;
        // A part of a sample may be out of the range of f16 before a scaled loss is back-propagated.
        let descent = (wide(&post)? / -samples)?;
        custom_vjp(
            "hinge_hebb",
            [fields],
            |_| Ok((value.into(), ())),
            move |pass| {
                let gradient = descent.broadcast_mul(&pass.grad.to_dtype(descent.dtype())?)?;
                Ok([Some(gradient.to_dtype(pass.grad.dtype())?)])
            },
        )
    }

    /// The activity `y`, in the shape of `fields` and `targets`, classes last.
    fn post(&self, fields: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let classes = targets.dim(D::Minus1)?;
        if classes < 2 {
            candle::bail!("hinge-Hebbian layer: expected two or more classes, found {classes}")
        }
        if fields.elem_count() == 0 {
            return Ok(fields.detach());
        }
        let margin = ((fields.detach() * targets)? - 1.0)?;
        let open = margin.lt(0.0)?.to_dtype(margin.dtype())?;
        // NaN is not below 0, and stays NaN.
        let open = margin.ne(&margin)?.where_cond(&margin, &open)?;
        // (1 + t)/2 is 1 at the label and 0 elsewhere, (1 − t)/2 the reverse: no difference has to be rounded.
        let other = self.mu / (classes - 1) as f64;
        let weights = (targets.affine(0.5, 0.5)? + targets.affine(-other / 2.0, other / 2.0)?)?;
        (open * targets)? * weights
    }

    /// Returns the third factor of the rule for `labels (N)`: 1 at the label and −1 elsewhere,
    /// `(N, C)` like `fields`.
    ///
    /// On a device other than the CPU, labels stay on the device. A label that is not a class is no
    /// error there, since checking it would wait for the device at each step; instead, all targets
    /// of its row are NaN, and so is the loss.
    ///
    /// # Errors
    /// If there are fewer than two classes, another number of labels, fields that are integers or labels that are not;
    /// on the CPU, also if a label is not a class.
    pub fn targets(&self, fields: &Tensor, labels: &Tensor) -> Result<Tensor> {
        expect_real(fields)?;
        if labels.dtype().is_float() {
            candle::bail!("hinge-Hebbian loss: labels of {:?}, expected integers", labels.dtype())
        }
        let (samples, classes) = fields.dims2()?;
        if classes < 2 || labels.dims() != [samples] {
            candle::bail!(
                "hinge-Hebbian loss: fields of {:?} with labels of {:?}: expected (N, C) with two \
                 or more classes, and (N)",
                fields.dims(),
                labels.dims()
            )
        }
        if samples == 0 {
            return Ok(fields.detach());
        }
        if has_kernels(fields.device()) {
            check_labels(labels, classes)?;
        }
        // A comparison on the device, so that the labels stay there. It is in 64 bits if they have
        // as many: in 32, a label of 2³² would be class 0.
        let dtype = if labels.dtype() == DType::I64 { DType::I64 } else { DType::U32 };
        let all: Vec<u32> = (0..u32::try_from(classes)?).collect();
        let all = index(&all, fields.device())?.to_dtype(dtype)?.unsqueeze(0)?;
        let is_it = labels.to_dtype(dtype)?.unsqueeze(1)?.broadcast_eq(&all)?;
        let is_it = is_it.to_dtype(fields.dtype())?;
        // 1/1 − 1 = 0 if the label is one of the classes, 0/0 − 1 = NaN if it is not.
        let known = is_it.sum_keepdim(1)?;
        is_it.affine(2.0, -1.0)?.broadcast_add(&known.div(&known)?.affine(1.0, -1.0)?)
    }
}

/// Checks that all labels are classes.
///
/// # Errors
/// If a label is not below `classes`; the message says which.
fn check_labels(labels: &Tensor, classes: usize) -> Result<()> {
    let classes = i64::try_from(classes)?;
    let labels = labels.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    match labels.iter().enumerate().find(|(_, label)| !(0..classes).contains(*label)) {
        Some((at, label)) => candle::bail!(
            "hinge-Hebbian loss: label {label} of example {at}: expected 0 to {}",
            classes - 1
        ),
        None => Ok(()),
    }
}

impl Rule for HingeHebb {
    fn update(&self, synapses: &Synapses, _: &mut State) -> Result<Update> {
        let (fields, targets) = (synapses.response(), synapses.third()?);
        if targets.shape() != fields.shape() {
            candle::bail!(
                "hinge-Hebbian layer: targets of {:?} for fields of {:?}: expected one a unit, see \
                 HingeHebb::targets",
                targets.dims(),
                fields.dims()
            )
        }
        self.post(fields, targets).map(Update::hebbian)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::composed;
    use candle::{Device, Var};

    #[test]
    fn an_empty_batch_has_no_loss() -> Result<()> {
        let fields = Tensor::zeros((0, 3), DType::F64, &Device::Cpu)?;
        let labels = Tensor::zeros(0, DType::U32, &Device::Cpu)?;
        let hinge = HingeHebb::new(1.0)?;
        assert_eq!(hinge.loss(&fields, &labels)?.to_scalar::<f64>()?, 0.0);
        // Nothing is asked of a device.
        assert_eq!(composed(|| hinge.targets(&fields, &labels))?.id(), fields.id());
        assert_eq!(hinge.post(&fields, &fields)?.id(), fields.id());
        let fields = Var::from_tensor(&fields)?;
        let grads = composed(|| hinge.loss(&fields, &labels)?.backward())?;
        assert_eq!(grads.get(&fields).expect("a gradient").dims(), [0, 3]);
        Ok(())
    }

    /// A field that is no number is not one whose margin is met: its gradient is NaN, and those of the
    /// other units are what they are without it, 0 at −3 and μ/(C−1) at ½.
    #[test]
    fn nan_stays() -> Result<()> {
        let hinge = HingeHebb::new(1.0)?;
        let labels = Tensor::new(&[0u32], &Device::Cpu)?;
        let gradient = || {
            let fields = Var::new(&[[f64::NAN, -3.0, 0.5]], &Device::Cpu)?;
            let loss = hinge.loss(&fields, &labels)?;
            assert!(loss.to_scalar::<f64>()?.is_nan());
            let grads = loss.backward()?;
            grads.get(&fields).expect("a gradient").flatten_all()?.to_vec1::<f64>()
        };
        for found in [gradient()?, composed(gradient)?] {
            assert!(found[0].is_nan() && found[1..] == [0.0, 0.5], "{found:?}");
        }
        Ok(())
    }

    /// `max(0, 1 − ∞)` of the label and `max(0, 1 − ∞)` of another class are 0, and so are their gradients; what is
    /// left is `μ/(C−1)·(1 + ½)`. Fields that are infinite on the wrong side have an infinite loss.
    #[test]
    fn infinite_fields_may_meet_their_margins() -> Result<()> {
        let (hinge, inf) = (HingeHebb::new(1.0)?, f64::INFINITY);
        let labels = Tensor::new(&[0u32], &Device::Cpu)?;
        let check = || -> Result<()> {
            for (fields, want, slopes) in [
                ([inf, -inf, 0.5], 0.75, [0.0, 0.0, 0.5]),
                ([-inf, -inf, -1.0], inf, [-1.0, 0.0, 0.0]),
                ([2.0, inf, -3.0], inf, [0.0, 0.5, 0.0]),
            ] {
                let fields = Var::new(&[fields], &Device::Cpu)?;
                let loss = hinge.loss(&fields, &labels)?;
                assert_eq!(loss.to_scalar::<f64>()?, want);
                let grads = loss.backward()?;
                let found = grads.get(&fields).expect("a gradient").to_vec2::<f64>()?;
                assert_eq!(found, [slopes]);
            }
            Ok(())
        };
        check()?;
        composed(check)
    }

    /// The path that GPUs take reads nothing back. It gives the same targets, and NaN for a label
    /// that is not a class.
    #[test]
    fn labels_that_stay_on_the_device() -> Result<()> {
        let fields = Tensor::zeros((3, 4), DType::F64, &Device::Cpu)?;
        let hinge = HingeHebb::new(1.0)?;
        for dtype in [DType::U8, DType::U32, DType::I64] {
            let labels = Tensor::new(&[2u32, 0, 3], &Device::Cpu)?.to_dtype(dtype)?;
            let want = [[-1.0, -1.0, 1.0, -1.0], [1.0, -1.0, -1.0, -1.0], [-1.0, -1.0, -1.0, 1.0]];
            assert_eq!(hinge.targets(&fields, &labels)?.to_vec2::<f64>()?, want);
            let on_device = composed(|| hinge.targets(&fields, &labels))?;
            assert_eq!(on_device.to_vec2::<f64>()?, want);
        }
        for label in [4i64, -1, 1 << 32, (1 << 32) + 2, -(1 << 32), i64::MIN] {
            let labels = Tensor::new(&[2, label, 3], &Device::Cpu)?;
            let error = hinge.targets(&fields, &labels).unwrap_err().to_string();
            assert!(error.contains(&format!("label {label} of example 1:")), "{error}");
            let targets = composed(|| hinge.targets(&fields, &labels))?.to_vec2::<f64>()?;
            assert!(targets[1].iter().all(|target| target.is_nan()));
            assert_eq!(targets[0], [-1.0, -1.0, 1.0, -1.0]);
            let loss = composed(|| hinge.loss(&fields, &labels))?.to_scalar::<f64>()?;
            assert!(loss.is_nan());
        }
        Ok(())
    }
}
