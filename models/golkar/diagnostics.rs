//! How close a circuit is to its theory.

use super::circuit::{Activity, Circuit, Nonlinearity};
use super::task::Samples;
use candle::{Result, Tensor};
use candle_hebbian::device::to_host;
use faer::{MatRef, Side};

/// Measures of a circuit's teaching signal, interneurons and activity.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostics {
    /// Cosine, over all samples, between the plateau `c` and the error `W₂ᵀ(y − ŷ)` that back-propagation
    /// would send, both only where the neurons are active.
    pub alignment: f64,
    /// `‖QQᵀ − W₂ᵀW₂‖ / ‖W₂ᵀW₂‖`: 0 at the optimum of a linear circuit.
    pub interneuron_gap: f64,
    /// Eigenvalues of `C_zz`, descending: `ρ`, by default 1, where the constraint is tight.
    pub spectrum: Vec<f64>,
}

/// Measures a circuit on the samples that it learns.
///
/// # Errors
/// As for [`Circuit::activity`], or if there are no samples or the activity is not finite.
pub fn diagnose(circuit: &Circuit, samples: &Samples) -> Result<Diagnostics> {
    let Activity { h, z, c, .. } = circuit.activity(&samples.x, &samples.y)?;
    let [w2, q] = [circuit.w2(), circuit.q()].map(|var| var.as_detached_tensor());
    let sent = (&samples.y - z.matmul(&w2.t()?)?)?.matmul(&w2)?;
    let gated = |signal: Tensor| match circuit.config().nonlinearity {
        Nonlinearity::Identity => Ok(signal),
        Nonlinearity::Relu => h.gt(0.0)?.to_dtype(signal.dtype())? * signal,
    };
    let (c, sent) = (gated(c)?, gated(sent)?);
    let sum = |a: &Tensor, b: &Tensor| -> Result<f64> {
        to_host(&(a * b)?.sum_all()?)?.to_scalar::<f64>()
    };
    let (apical, inner) = (w2.t()?.matmul(&w2)?, q.matmul(&q.t()?)?);
    let gap = (&inner - &apical)?;
    Ok(Diagnostics {
        alignment: sum(&c, &sent)? / (sum(&c, &c)? * sum(&sent, &sent)?).sqrt(),
        interneuron_gap: (sum(&gap, &gap)? / sum(&apical, &apical)?).sqrt(),
        spectrum: spectrum(&z)?,
    })
}

/// Eigenvalues of `zᵀz / T`, descending.
fn spectrum(z: &Tensor) -> Result<Vec<f64>> {
    let (samples, units) = z.dims2()?;
    let z = to_host(z)?;
    let moments = (z.t()?.matmul(&z)? / samples as f64)?.flatten_all()?.to_vec1::<f64>()?;
    let values = MatRef::from_row_major_slice(&moments, units, units)
        .self_adjoint_eigenvalues(Side::Lower)
        .map_err(|_| candle::Error::msg("the activity has no spectrum: is it finite?"))?;
    Ok(values.into_iter().rev().collect())
}
