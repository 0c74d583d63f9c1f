//! The error of the output, sent straight to a hidden layer.

use crate::ops::widen::check_like;
use crate::ops::{custom_vjp, matmul};
use candle::{Result, Tensor};

/// Returns `output` unchanged, with a second backward path: the error `e (N, M)` at the output
/// reaches `hidden` as `e·B`, where `feedback` is `B (M, F)` and `hidden (N, …)` has `F` values per
/// sample.
///
/// Direct feedback alignment (Nøkland 2016): pass `hidden.detach()` on to the layers above
/// so that this is the only error that `hidden` gets.
///
/// ```
/// use candle::{Device, Tensor, Var};
/// let hidden = Var::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let output = (hidden.detach() * 3.0)?; // a network that the error does not pass
/// let b = Tensor::new(&[[1f64, -1.0], [0.5, 2.0]], &Device::Cpu)?;
/// let output = candle_hebbian::direct_feedback(&output, &hidden, &b)?;
/// let error = Tensor::new(&[[10f64, 100.0]], &Device::Cpu)?;
/// let grads = (output * error)?.sum_all()?.backward()?;
/// assert_eq!(grads.get(&hidden).unwrap().to_vec2::<f64>()?, [[60.0, 190.0]]); // e·B
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// If the shapes do not fit, the types or devices differ, or if there is no path from the output to
/// the layer because `hidden` depends on no variable.
pub fn direct_feedback(output: &Tensor, hidden: &Tensor, feedback: &Tensor) -> Result<Tensor> {
    let (samples, outputs) = output.dims2()?;
    let features: usize = hidden.dims().iter().skip(1).product();
    if hidden.dim(0)? != samples || feedback.dims() != [outputs, features] {
        candle::bail!(
            "direct feedback of {:?} from an output of {:?} to a layer of {:?}: expected weights \
             of ({outputs}, {features}) and as many samples in both",
            feedback.dims(),
            output.dims(),
            hidden.dims()
        )
    }
    // Checked here, because the backward pass is the first to use these weights.
    check_like("direct feedback: an output", output, "a layer", hidden)?;
    check_like("direct feedback: weights", feedback, "a layer", hidden)?;
    if !hidden.track_op() {
        candle::bail!(
            "direct feedback: no path from the output to this layer of {:?}; its activity depends \
             on no variable (was it detached before, or does it have no weights?)",
            hidden.dims()
        )
    }
    let (feedback, shape) = (feedback.detach().unsqueeze(0)?, hidden.shape().clone());
    custom_vjp(
        "direct_feedback",
        [hidden, output],
        |[_, output]| Ok((output.clone().into(), ())),
        move |pass| {
            let sent = matmul(&pass.grad.unsqueeze(0)?, &feedback)?.reshape(&shape)?;
            Ok([Some(sent), Some(pass.grad.clone())])
        },
    )
}
