//! Adam without autograd.

use candle::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use candle_hebbian::ops::has_kernels;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The state of Adam (Kingma & Ba 2015) for one tensor w with gradient g at step t = 1, 2, …:
///
/// ```text
/// m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
/// w ← w − η · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)          β₁ = 0.9    β₂ = 0.999    ε = 10⁻⁸
/// ```
///
/// These are the steps of `candle_nn::AdamW` without weight decay, whose moments cannot be saved. Gradients are
/// arguments, so that no graph is needed.
#[derive(Debug, Clone)]
pub struct Adam {
    m: Tensor,
    v: Tensor,
    step: i32,
}

impl Adam {
    /// The state before the first step of a tensor like `parameter`.
    ///
    /// # Errors
    /// If there is no memory for the moments.
    pub fn new(parameter: &Tensor) -> Result<Self> {
        Ok(Self { m: parameter.zeros_like()?, v: parameter.zeros_like()?, step: 0 })
    }

    /// `m`, `v` and the number of steps done.
    pub fn state(&self) -> (&Tensor, &Tensor, i32) {
        (&self.m, &self.v, self.step)
    }

    /// Continues from the given state.
    pub fn go_on(&mut self, m: Tensor, v: Tensor, step: i32) {
        (self.m, self.v, self.step) = (m, v, step);
    }

    /// Takes one step with the learning rate `η` and returns the new parameter.
    ///
    /// # Errors
    /// If the gradient, or the parameter, has another shape than at first.
    pub fn step(&mut self, w: &Tensor, g: &Tensor, learning_rate: f64) -> Result<Tensor> {
        if [w, g].iter().any(|tensor| tensor.shape() != self.m.shape()) {
            candle::bail!(
                "Adam: a parameter {:?} with a gradient {:?}: expected {:?} for both, the shape that it began with",
                w.dims(),
                g.dims(),
                self.m.dims()
            )
        }
        self.step = self.step.saturating_add(1);
        let rate = learning_rate / (1.0 - BETA_1.powi(self.step));
        let scale = 1.0 / (1.0 - BETA_2.powi(self.step));
        if has_kernels(w.device()) && w.dtype() == DType::F32 {
            return self.step_on_cpu(w, g, rate as f32, scale as f32);
        }
        self.m = ((&self.m * BETA_1)? + (g * (1.0 - BETA_1))?)?;
        self.v = ((&self.v * BETA_2)? + (g.sqr()? * (1.0 - BETA_2))?)?;
        w - ((&self.m * rate)? / ((&self.v * scale)?.sqrt()? + EPSILON)?)?
    }

    /// Takes a step in three passes over the tensors; the thirteen of separate operations take a fifth of the time
    /// of the head's whole step.
    fn step_on_cpu(&mut self, w: &Tensor, g: &Tensor, rate: f32, scale: f32) -> Result<Tensor> {
        const B1: f32 = BETA_1 as f32;
        const B2: f32 = BETA_2 as f32;
        // Rounded by themselves: in f32, 1 − β₂ would be off by 1.3·10⁻⁵ of itself.
        const REST_1: f32 = (1.0 - BETA_1) as f32;
        const REST_2: f32 = (1.0 - BETA_2) as f32;
        let (w, g) = (w.contiguous()?, g.contiguous()?);
        self.m = self.m.apply_op3_no_bwd(&g, &w, &Map(|m, g, _| B1 * m + REST_1 * g))?;
        self.v = self.v.apply_op3_no_bwd(&g, &w, &Map(|v, g, _| B2 * v + REST_2 * g * g))?;
        let step = |w, m, v: f32| w - rate * m / ((scale * v).sqrt() + EPSILON as f32);
        w.apply_op3_no_bwd(&self.m, &self.v, &Map(step))
    }
}

/// An elementwise function of three contiguous f32 tensors of one shape, on the CPU.
struct Map<F>(F);

impl<F: Fn(f32, f32, f32) -> f32> CustomOp3 for Map<F> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        c: &CpuStorage,
        c_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn entries<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
            match layout.contiguous_offsets() {
                Some((start, end)) => Ok(&storage.as_slice()?[start..end]),
                None => candle::bail!("adam needs contiguous tensors"),
            }
        }
        let (a, b, c) = (entries(a, a_layout)?, entries(b, b_layout)?, entries(c, c_layout)?);
        let out = a.iter().zip(b).zip(c).map(|((&a, &b), &c)| (self.0)(a, b, c)).collect();
        Ok((CpuStorage::F32(out), a_layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle::{Device, Var};
    use candle_hebbian::Rng;
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    use super::*;

    /// The steps are those of candle's optimiser, also when the learning rate changes: of f32 in one pass and of f64 by
    /// the formulas, for gradients that are contiguous or not.
    #[test]
    fn steps_are_those_of_candle() -> Result<()> {
        for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
            let mut rng = Rng::new(0);
            let mut draw = || rng.normal(0.0, 1.0, (4, 9), dtype, &Device::Cpu);
            let start = draw()?;
            let (mut ours, theirs) = (start.clone(), Var::from_tensor(&start)?);
            let mut adam = Adam::new(&ours)?;
            let config = ParamsAdamW { weight_decay: 0.0, ..Default::default() };
            let mut adam_w = AdamW::new(vec![theirs.clone()], config)?;
            for step in 0..20 {
                let (slope, rate) = (draw()?, 0.1 / f64::from(step + 1));
                let g = ((theirs.as_tensor() * &slope)? * 2.0)?.detach();
                let g = g.t()?.contiguous()?.t()?;
                ours = adam.step(&ours, &g, rate)?;
                adam_w.set_learning_rate(rate);
                adam_w.backward_step(&(theirs.as_tensor().sqr()? * &slope)?.sum_all()?)?;
                let [ours, theirs] = [&ours, theirs.as_tensor()]
                    .map(|tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>());
                for (ours, theirs) in ours?.into_iter().zip(theirs?) {
                    assert!((ours - theirs).abs() <= tolerance, "{step}: {ours} and {theirs}");
                }
            }
        }
        Ok(())
    }
    #[test]
    fn other_shapes_are_refused() -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            let zeros = |shape: (usize, usize)| Tensor::zeros(shape, dtype, &Device::Cpu);
            let mut adam = Adam::new(&zeros((2, 3))?)?;
            adam.go_on(zeros((2, 3))?, zeros((2, 3))?, i32::MAX);
            for (w, g) in [((2, 3), (3, 2)), ((2, 3), (2, 2)), ((1, 3), (2, 3))] {
                let error = adam.step(&zeros(w)?, &zeros(g)?, 0.1).unwrap_err().to_string();
                assert!(error.contains("expected [2, 3]"), "{error}");
            }
            assert_eq!(adam.step(&zeros((2, 3))?, &zeros((2, 3))?, 0.1)?.dims(), [2, 3]);
        }
        Ok(())
    }
}
