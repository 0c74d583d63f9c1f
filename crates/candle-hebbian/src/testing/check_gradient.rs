//! Comparison of backward passes with central differences.

use super::agreement::{failed, near};
use super::synapse::numbers;
use crate::Rng;
use crate::device::to_host;
use candle::{DType, Device, Result, Tensor, Var};

/// The number of random directions for each argument.
const DIRECTIONS: usize = 3;

/// How far apart gradient and differences may be, relative to the gradient's norm.
const TOLERANCE: f64 = 1e-6;

/// Checks that the gradient of `f` at `args` is its derivative.
///
/// ```text
/// ⟨∂L/∂a, v⟩ = (L(a + h·v) − L(a − h·v)) / 2h        L = Σ g ⊙ f(a)
/// ```
///
/// for each argument `a`, with a random `g` and three random directions `v` each. These are the
/// same in every call and have standard normal entries, so that an error in any entry of the
/// gradient shows in each direction, whatever the size of `a`. All is computed in f64 on the CPU.
/// `h` is 10⁻⁵ times the root mean square of `a`: `a` must be further than that from any kink of
/// `f`.
///
/// ```
/// use candle::{Device, Tensor, op};
/// use candle_hebbian::ops::{Value, custom_vjp};
/// use candle_hebbian::testing::check_gradient;
/// let square = |slope: f64| {
///     move |[x]: [&Tensor; 1]| {
///         custom_vjp(
///             "square",
///             [x],
///             |[x]| Ok((Value::unary::<op::Sqr>(x)?, x.clone())),
///             move |pass| Ok([Some((pass.grad * (pass.residuals * slope)?)?)]),
///         )
///     }
/// };
/// let x = Tensor::new(&[0.5f64, -1.0, 2.0], &Device::Cpu)?;
/// check_gradient("square", [&x], square(2.0))?;
/// let error = check_gradient("a wrong square", [&x], square(1.0)).unwrap_err().to_string();
/// assert!(error.contains("a wrong square") && error.contains("argument 0"));
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// If a gradient is not the derivative, with the argument and both numbers; if the value changes in
/// none of the directions, since then nothing was checked; or if `f` fails.
pub fn check_gradient<const N: usize>(
    name: &str,
    args: [&Tensor; N],
    f: impl Fn([&Tensor; N]) -> Result<Tensor>,
) -> Result<()> {
    check_gradient_of(name, args, &f, &f)
}

/// Like [`check_gradient`], for a gradient of `f` that is meant to be the derivative of another
/// function: `reference`, which is `f` with everything that its backward pass treats as a constant
/// held at its value for `args`.
///
/// # Errors
/// As for [`check_gradient`].
pub fn check_gradient_of<const N: usize>(
    name: &str,
    args: [&Tensor; N],
    f: impl Fn([&Tensor; N]) -> Result<Tensor>,
    reference: impl Fn([&Tensor; N]) -> Result<Tensor>,
) -> Result<()> {
    let what = |what: &str, error| failed("check_gradient", name, what, &error);
    let mut rng = Rng::new(0).stream("check_gradient");
    let vars: [Tensor; N] =
        each(|at| Ok(Var::from_tensor(&to_host(args[at])?.force_contiguous()?)?.into_inner()))?;
    let out = f(vars.each_ref()).map_err(|error| what("forward", error))?;
    let g = rng.normal(0.0, 1.0, out.shape(), DType::F64, &Device::Cpu)?;
    let grads = (&out * &g)
        .and_then(|weighted| weighted.sum_all()?.backward())
        .map_err(|error| what("backward", error))?;
    let values: [Tensor; N] = each(|at| Ok(vars[at].detach()))?;

    let mut changes = false;
    for at in 0..N {
        let grad = match grads.get(&vars[at]) {
            Some(grad) => grad.detach(),
            None => values[at].zeros_like()?,
        };
        let norm = numbers(&grad)?.iter().map(|grad| grad * grad).sum::<f64>().sqrt();
        let count = values[at].elem_count().max(1) as f64;
        let square = numbers(&values[at])?.iter().map(|x| x * x).sum::<f64>() / count;
        let h = 1e-5 * if square > 0.0 { square.sqrt() } else { 1.0 };
        for direction in 0..DIRECTIONS {
            let v = rng.normal(0.0, 1.0, values[at].shape(), DType::F64, &Device::Cpu)?;
            let moved = |by: f64| -> Result<f64> {
                let moved = (&values[at] + (&v * by)?)?;
                let mut args = values.each_ref();
                args[at] = &moved;
                (reference(args)?.detach() * &g)?.sum_all()?.to_scalar()
            };
            let what = |what: &str, error| {
                failed("check_gradient", name, &format!("argument {at}, {what}"), &error)
            };
            let difference = moved(h)
                .and_then(|up| Ok((up - moved(-h)?) / (2.0 * h)))
                .map_err(|error| what("forward", error))?;
            let slope = (&grad * &v)?.sum_all()?.to_scalar::<f64>()?;
            changes |= slope != 0.0;
            if !near(slope, difference, TOLERANCE * norm.max(difference.abs())) {
                candle::bail!(
                    "check_gradient of {name}: argument {at}, direction {direction}: by its gradient \
                     the value changes by {slope}, by central differences by {difference}; the norm \
                     of the gradient is {norm}"
                )
            }
        }
    }
    if !changes {
        candle::bail!(
            "check_gradient of {name}: the value changes in no direction of any argument, so nothing \
             was checked: take other arguments"
        )
    }
    Ok(())
}

fn each<T, const N: usize>(of: impl Fn(usize) -> Result<T>) -> Result<[T; N]> {
    let all = (0..N).map(of).collect::<Result<Vec<T>>>()?;
    match all.try_into() {
        Ok(all) => Ok(all),
        Err(_) => candle::bail!("expected {N} arguments"),
    }
}
