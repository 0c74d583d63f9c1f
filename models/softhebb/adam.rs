//! Adam for variables, with moments that can be saved.

use candle::{DType, Result, Tensor, Var};
use hebbian_train::Checkpoint;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Adam (Kingma & Ba 2015) for variables w with gradients g at step t = 1, 2, …, in the order of operations of
/// `candle_nn::AdamW`, whose moments are private, without weight decay:
///
/// ```text
/// m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
/// w ← w − η · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
#[derive(Debug)]
pub(super) struct Adam {
    moments: Vec<Moments>,
    step: i32,
}

#[derive(Debug)]
struct Moments {
    /// The name of the variable.
    name: String,
    var: Var,
    m: Tensor,
    v: Tensor,
}

impl Adam {
    /// An optimiser for the named variables before its first step.
    pub(super) fn new(vars: Vec<(String, Var)>) -> Result<Self> {
        let moments = vars.into_iter().map(|(name, var)| {
            let (m, v) = (var.zeros_like()?, var.zeros_like()?);
            Ok(Moments { name, var, m, v })
        });
        Ok(Self { moments: moments.collect::<Result<_>>()?, step: 0 })
    }

    /// Takes one step down the gradient of `loss`, with the learning rate `η`.
    pub(super) fn step(&mut self, loss: &Tensor, learning_rate: f64) -> Result<()> {
        let grads = loss.backward()?;
        self.step = self.step.saturating_add(1);
        let scale_m = 1.0 / (1.0 - BETA_1.powi(self.step));
        let scale_v = 1.0 / (1.0 - BETA_2.powi(self.step));
        for Moments { var, m, v, .. } in &mut self.moments {
            let Some(g) = grads.get(var) else { continue };
            *m = ((&*m * BETA_1)? + (g * (1.0 - BETA_1))?)?.detach();
            *v = ((&*v * BETA_2)? + (g.sqr()? * (1.0 - BETA_2))?)?.detach();
            let direction = ((&*m * scale_m)? / ((&*v * scale_v)?.sqrt()? + EPSILON)?)?;
            var.set(&(var.as_detached_tensor() - (direction * learning_rate)?)?)?;
        }
        Ok(())
    }

    /// Returns the moments, named after the variables.
    pub(super) fn tensors(&self) -> Vec<(String, Tensor)> {
        let both = |Moments { name, m, v, .. }: &Moments| {
            [(moment(name, "m"), m.clone()), (moment(name, "v"), v.clone())]
        };
        self.moments.iter().flat_map(both).collect()
    }

    /// Continues after `steps` steps, with the moments of a checkpoint.
    ///
    /// # Errors
    /// Moments that are missing, or belong to other variables.
    pub(super) fn go_on(
        &mut self,
        steps: u64,
        checkpoint: &mut Checkpoint,
    ) -> hebbian_train::Result<()> {
        for Moments { name, m, v, .. } in &mut self.moments {
            for (part, tensor) in [("m", m), ("v", v)] {
                *tensor = checkpoint.take(&moment(name, part), tensor.dims(), DType::F32)?;
            }
        }
        self.step = i32::try_from(steps).unwrap_or(i32::MAX);
        Ok(())
    }
}

fn moment(name: &str, part: &str) -> String {
    format!("state.{name}.{part}")
}

#[cfg(test)]
mod tests {
    use candle::Device;
    use candle_hebbian::Rng;
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    use super::*;

    /// The results are bitwise equal to candle's, also when the learning rate changes.
    #[test]
    fn steps_are_those_of_candle() -> Result<()> {
        let mut rng = Rng::new(0);
        let mut draw = || rng.normal(0.0, 1.0, (3, 5), DType::F32, &Device::Cpu);
        let start = draw()?;
        let (ours, theirs) = (Var::from_tensor(&start)?, Var::from_tensor(&start)?);
        let mut adam = Adam::new(vec![("w".to_string(), ours.clone())])?;
        let config = ParamsAdamW { weight_decay: 0.0, ..Default::default() };
        let mut adam_w = AdamW::new(vec![theirs.clone()], config)?;
        for step in 0..20 {
            let (slope, rate) = (draw()?, 0.1 / f64::from(step + 1));
            let loss = |w: &Var| (w.as_tensor().sqr()? * &slope)?.sum_all();
            adam.step(&loss(&ours)?, rate)?;
            adam_w.set_learning_rate(rate);
            adam_w.backward_step(&loss(&theirs)?)?;
            assert_eq!(ours.to_vec2::<f32>()?, theirs.to_vec2::<f32>()?, "step {step}");
        }
        assert_ne!(ours.to_vec2::<f32>()?, start.to_vec2::<f32>()?);
        Ok(())
    }
}
