//! Gradient descent with momentum, which candle lacks.

use candle::backprop::GradStore;
use candle::{Result, Var};
use candle_hebbian::Decoupled;
use candle_nn::Optimizer;

/// `v ← μv + G`, `w ← (1 − ηλ)w − ηv`; with `in_gradient` instead `v ← μv + G + λw`, `w ← w − ηv`.
#[derive(Debug)]
pub struct Momentum {
    vars: Vec<(Var, Var)>,
    config: Config,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    pub learning_rate: f64,
    pub mu: f64,
    pub weight_decay: f64,
    pub in_gradient: bool,
}

impl Optimizer for Momentum {
    type Config = Config;

    fn new(vars: Vec<Var>, config: Config) -> Result<Self> {
        let with_velocity = |var: Var| {
            let velocity = Var::zeros(var.shape(), var.dtype(), var.device())?;
            Ok((var, velocity))
        };
        Ok(Self { vars: vars.into_iter().map(with_velocity).collect::<Result<_>>()?, config })
    }

    fn step(&mut self, grads: &GradStore) -> Result<()> {
        let Config { learning_rate, mu, weight_decay, in_gradient } = self.config;
        for (var, velocity) in &self.vars {
            let Some(grad) = grads.get(var) else { continue };
            let old = var.as_detached_tensor();
            let (grad, keep) = match in_gradient {
                true => ((grad + (&old * weight_decay)?)?, 1.0),
                false => (grad.clone(), 1.0 - learning_rate * weight_decay),
            };
            velocity.set(&((velocity.as_detached_tensor() * mu)? + grad)?)?;
            var.set(&((old * keep)? - (velocity.as_detached_tensor() * learning_rate)?)?)?;
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.config.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.config.learning_rate = learning_rate;
    }
}

impl Decoupled for Momentum {
    fn weight_decay(&self) -> Result<f64> {
        if self.config.in_gradient && self.config.weight_decay != 0.0 {
            candle::bail!("momentum with its decay inside the gradient steps by the weights' past")
        }
        Ok(self.config.weight_decay)
    }
}
