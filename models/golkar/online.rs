//! Online learning on the host, one sample per step.

use super::circuit::{Circuit, CircuitConfig, Nonlinearity, Rates};
use candle::{DType, Result, Tensor};
use pulp::NullaryFnOnce;
use std::sync::LazyLock;

static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// A circuit in plain memory, for online learning: a step on one sample is a few products of a matrix
/// and a vector, which take less time than handling the tensors that would hold them.
///
/// A step equals that of [`Circuit::step`] with a batch of one, in any [`Way`](super::Way), up to
/// rounding.
#[derive(Debug, Clone)]
pub struct Online {
    config: CircuitConfig,
    /// `w1 (k, m)`, `w2t (k, n)`, `q (k, k)` and, if the circuit is decoupled, `r (k, k)`.
    w1: Vec<f32>,
    w2t: Vec<f32>,
    q: Vec<f32>,
    r: Option<Vec<f32>>,
    mean: Vec<f32>,
    inputs: usize,
    outputs: usize,
    scratch: Scratch,
}

#[derive(Debug, Clone)]
struct Scratch {
    h: Vec<f32>,
    z: Vec<f32>,
    nu: Vec<f32>,
    c: Vec<f32>,
    /// `QᵀW₁`, the transpose of `W₁ᵀQ`, for the ridge.
    pulled: Vec<f32>,
}

impl Online {
    /// Copies the circuit, in f32.
    ///
    /// # Errors
    /// If the weights cannot be read back from their device.
    pub fn of(circuit: &Circuit) -> Result<Self> {
        let host = |tensor: &Tensor| -> Result<Vec<f32>> {
            tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()
        };
        let (units, inputs) = circuit.w1().dims2()?;
        let outputs = circuit.w2().dim(0)?;
        let zeros = || vec![0f32; units];
        let pulled = if circuit.config().ridge > 0.0 { units * inputs } else { 0 };
        Ok(Self {
            config: *circuit.config(),
            w1: host(circuit.w1())?,
            w2t: host(&circuit.w2().t()?)?,
            q: host(circuit.q())?,
            r: circuit.r().map(|r| host(r)).transpose()?,
            mean: host(circuit.mean())?,
            inputs,
            outputs,
            scratch: Scratch {
                h: zeros(),
                z: zeros(),
                nu: zeros(),
                c: zeros(),
                pulled: vec![0.0; pulled],
            },
        })
    }

    /// Writes the weights and the mean into `circuit`, which must have the same sizes.
    ///
    /// # Errors
    /// If `circuit` has other sizes, is not in f32, or is decoupled while the one that was copied is not. Some of its
    /// weights may have been written then.
    pub fn store(&self, circuit: &mut Circuit) -> Result<()> {
        let device = circuit.w1().device().clone();
        let units = self.mean.len();
        circuit.restore(|name, shape| {
            let tensor =
                |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &device);
            match name {
                "w1" => tensor(&self.w1, shape),
                "w2" => tensor(&self.w2t, &[units, self.outputs])?.t()?.contiguous(),
                "q" => tensor(&self.q, shape),
                "r" => tensor(self.r.as_deref().unwrap_or_default(), shape),
                _ => tensor(&self.mean, shape),
            }
        })
    }

    /// Takes one step on the sample `x (m)`, `y (n)`.
    ///
    /// # Errors
    /// If `x` or `y` has another number of values.
    pub fn step(&mut self, x: &[f32], y: &[f32], rates: Rates) -> Result<()> {
        if (x.len(), y.len()) != (self.inputs, self.outputs) {
            candle::bail!(
                "online: expected a sample of {} and {} values, found {} and {}",
                self.inputs,
                self.outputs,
                x.len(),
                y.len()
            )
        }
        ARCH.dispatch(Step { circuit: self, x, y, rates });
        Ok(())
    }
}

struct Step<'a> {
    circuit: &'a mut Online,
    x: &'a [f32],
    y: &'a [f32],
    rates: Rates,
}

impl NullaryFnOnce for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { circuit, x, y, rates } = self;
        let Online { config, w1, w2t, q, r, mean, inputs, outputs, scratch } = circuit;
        let Scratch { h, z, nu, c, pulled } = scratch;
        let (m, n, k) = (*inputs, *outputs, mean.len());
        let relu = config.nonlinearity == Nonlinearity::Relu;
        for i in 0..k {
            h[i] = dot(&w1[i * m..][..m], x);
            z[i] = if relu { rectified(h[i]) - mean[i] } else { h[i] };
        }
        match r {
            Some(r) => (0..k).for_each(|i| nu[i] = dot(&r[i * k..][..k], z)),
            None => {
                nu.fill(0.0);
                (0..k).for_each(|i| add(nu, z[i], &q[i * k..][..k]));
            }
        }
        for i in 0..k {
            c[i] = dot(&w2t[i * n..][..n], y) - dot(&q[i * k..][..k], nu);
        }
        let level = config.level as f32;
        let (eta1, eta2, etaq) = (rates.w1 as f32, rates.w2 as f32, rates.q as f32);
        // The terms of the ridge come first, because each needs the old values of both W₁ and Q.
        if config.ridge > 0.0 {
            let (lambda1, lambdaq) = (eta1 * config.ridge as f32, etaq * config.ridge as f32);
            pulled.fill(0.0);
            for i in 0..k {
                for j in 0..k {
                    add(&mut pulled[j * m..][..m], q[i * k + j], &w1[i * m..][..m]);
                }
            }
            // W₁W₁ᵀQ, computed before W₁ changes and added to Q afterwards.
            let mut spread = vec![0f32; k * k];
            for i in 0..k {
                for j in 0..k {
                    spread[i * k + j] = dot(&w1[i * m..][..m], &pulled[j * m..][..m]);
                }
            }
            for i in 0..k {
                for j in 0..k {
                    add(&mut w1[i * m..][..m], -lambda1 * q[i * k + j], &pulled[j * m..][..m]);
                }
            }
            hebb(q, z, nu, etaq, level);
            add(q, lambdaq, &spread);
        } else {
            hebb(q, z, nu, etaq, level);
        }
        for i in 0..k {
            if !relu || h[i] > 0.0 || h[i].is_nan() {
                add(&mut w1[i * m..][..m], eta1 * c[i], x);
            }
        }
        hebb(w2t, z, y, eta2, level);
        if let Some(r) = r {
            hebb(r, nu, z, etaq, level);
        }
        if relu {
            let share = config.mean_rate.min(1.0) as f32;
            for (mean, h) in mean.iter_mut().zip(h) {
                *mean += share * (rectified(*h) - *mean);
            }
        }
    }
}

/// `max(0, h)`, but NaN for NaN, of which `f32::max` makes 0.
#[inline(always)]
fn rectified(h: f32) -> f32 {
    if h <= 0.0 { 0.0 } else { h }
}

/// `w ← w + η (post preᵀ − ρw)`
#[inline(always)]
fn hebb(w: &mut [f32], post: &[f32], pre: &[f32], eta: f32, level: f32) {
    for (w, &post) in w.chunks_exact_mut(pre.len()).zip(post) {
        for (w, &pre) in w.iter_mut().zip(pre) {
            *w += eta * (post * pre - level * *w);
        }
    }
}

/// `to ← to + factor·from`
#[inline(always)]
fn add(to: &mut [f32], factor: f32, from: &[f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}

/// The dot product in thirty-two running sums, so that the order is fixed and the compiler can use vectors.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 32];
    let (a_chunks, b_chunks) = (a.chunks_exact(32), b.chunks_exact(32));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f32 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    rest + lanes.iter().sum::<f32>()
}
