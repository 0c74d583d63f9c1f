//! Adapters that fix the mode of modules that differ between training and evaluation.

use candle::{Module, ModuleT, Result, Tensor};

/// A `ModuleT` as a `Module` that always trains or always evaluates: see [`in_training`].
#[derive(Debug)]
pub struct InMode<M> {
    module: M,
    train: bool,
}

/// Wraps `module` so that it always runs in training mode, for containers such as
/// `candle_nn::seq()` that have no modes: batch norm uses the batch's statistics and updates the
/// running ones, dropout drops. The mode is fixed and explicit, so nothing evaluates where training
/// was meant. For evaluation, build the container again with [`in_evaluation`], over the same
/// variables.
///
/// Functions are `Module`s too, so operations without variables can be closures.
///
/// ```
/// use candle::{DType, Device, Module};
/// use candle_hebbian::ops::{Dropout, batch_norm, ramp};
/// use candle_hebbian::{Rng, in_training, init, seeded};
/// use candle_nn::VarMap;
/// let (varmap, rng) = (VarMap::new(), Rng::new(0));
/// let vb = seeded(&varmap, &rng, DType::F32, &Device::Cpu);
/// let network = candle_nn::seq()
///     .add(in_training(batch_norm(3, vb.pp("norm"))?))
///     .add(candle_nn::linear_no_bias(3, 4, vb.pp("layer"))?)
///     .add(|h: &candle::Tensor| ramp(h, 0.5))
///     .add(in_training(Dropout::new(0.5)?.seeded(rng.stream("dropout"))));
/// let x = rng.stream("x").normal(0.0, 1.0, (5, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.forward(&x)?.dims(), [5, 4]);
/// # Ok::<(), candle::Error>(())
/// ```
pub fn in_training<M: ModuleT>(module: M) -> InMode<M> {
    InMode { module, train: true }
}

/// Wraps `module` so that it always runs in evaluation mode: batch norm uses its running
/// statistics, dropout drops nothing. See [`in_training`].
pub fn in_evaluation<M: ModuleT>(module: M) -> InMode<M> {
    InMode { module, train: false }
}

impl<M: ModuleT> Module for InMode<M> {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.module.forward_t(x, self.train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feedback::{FeedbackConfig, FeedbackLayer, Source};
    use crate::ops::{
        Dropout, Ties, avg_pool2d, batch_norm, max_pool2d, pad_reflect, ramp, repu, standardise,
        triangle,
    };
    use crate::{Conv2dConfig, Geometry, Layer, Rng, init, seeded};
    use candle::{DType, Device, Var};
    use candle_nn::{Sequential, VarMap, seq};

    /// A sequence of everything in this crate that maps a tensor to a tensor.
    fn network<M: Module + 'static, D: Module + 'static>(
        norm: M,
        dropout: D,
        rng: &Rng,
    ) -> Result<(Sequential, Var)> {
        let draw = |shape: &[usize]| {
            let rng = &mut rng.stream(&format!("{shape:?}"));
            rng.draw(init::glorot_uniform(shape), shape, DType::F64, &Device::Cpu)
        };
        let conv = Geometry::Conv2d(Conv2dConfig::default());
        let dense = Geometry::Dense;
        let own = FeedbackConfig { source: Source::Own, ..Default::default() };
        let feedback =
            FeedbackLayer::from_tensors(&draw(&[5, 4])?, Some(&draw(&[5, 4])?), dense, own)?;
        let layer = Layer::from_tensor(&draw(&[4, 2, 3, 3])?, conv)?;
        let weight = layer.var()?;
        let network = seq()
            .add(|x: &Tensor| standardise(x, 0.1))
            .add(norm)
            .add(|x: &Tensor| pad_reflect(x, 1)) // 10 × 10
            .add(layer) // 8 × 8
            .add(|u: &Tensor| triangle(u, 0.7, false))
            .add(|u: &Tensor| max_pool2d(u, 2, 2, 0, Ties::First))
            .add(|u: &Tensor| avg_pool2d(u, 4, 4, 0)) // 1 × 1
            .add(|u: &Tensor| u.flatten_from(1))
            .add(dropout)
            .add(feedback)
            .add(|u: &Tensor| repu(u, 1.5))
            .add(|u: &Tensor| ramp(u, 0.5));
        Ok((network, weight))
    }

    /// In training, the statistics move, masks are drawn and the error reaches the weights; in
    /// evaluation, over the same variables, a call changes nothing.
    #[test]
    fn everything_goes_into_a_sequence() -> Result<()> {
        let (varmap, rng) = (VarMap::new(), Rng::new(9));
        let vb = seeded(&varmap, &rng, DType::F64, &Device::Cpu).pp("norm");
        let norm = || batch_norm(2, vb.clone());
        let dropout = || Ok::<_, candle::Error>(Dropout::new(0.5)?.seeded(rng.stream("dropout")));
        let (training, weight) = network(in_training(norm()?), in_training(dropout()?), &rng)?;
        let (evaluation, _) = network(in_evaluation(norm()?), in_evaluation(dropout()?), &rng)?;
        let x = rng.stream("x").normal(3.0, 2.0, (6, 2, 8, 8), DType::F64, &Device::Cpu)?;

        let values = |network: &Sequential| network.forward(&x)?.to_vec2::<f64>();
        let fresh = values(&evaluation)?;
        assert_eq!(values(&evaluation)?, fresh);
        let out = training.forward(&x)?;
        assert_eq!(out.dims(), [6, 5]);
        let grads = out.sqr()?.sum_all()?.backward()?;
        let grad = grads.get(&weight).expect("a gradient").abs()?.sum_all()?.to_scalar::<f64>()?;
        assert!(grad.is_finite() && grad > 0.0);
        assert_ne!(values(&training)?, out.to_vec2::<f64>()?); // another mask
        let trained = values(&evaluation)?;
        assert_ne!(trained, fresh); // the statistics that training moved
        assert_eq!(values(&evaluation)?, trained);
        Ok(())
    }
}
