//! Variables drawn from a seed.

use crate::Rng;
use candle::{DType, Device, Result, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder, VarMap};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Returns a `VarBuilder` that makes the variables of `varmap` as `VarBuilder::from_varmap` does, but draws them on the
/// host from the seed of `rng`. So the values are the same on every device, unlike those that candle draws (its CPU
/// generator takes no seed).
///
/// A name that already exists in `varmap` returns that variable, in its own type. A new name makes a variable of the
/// builder's type, drawn with [`Rng::draw`]. Each module, that is each prefix, has its own stream, named after the
/// first tensor drawn for it: the weight `layers.0.weight` is drawn from `rng.stream("layers.0.weight")`, and a later
/// `layers.0.feedback` continues the same stream. So what one layer draws does not depend on the others, but within a
/// layer the order of requests matters. Constants draw nothing and open no stream.
///
/// ```
/// use candle::{DType, Device};
/// use candle_hebbian::{Rng, init, seeded};
/// use candle_nn::VarMap;
/// let (varmap, rng) = (VarMap::new(), Rng::new(7));
/// let vb = seeded(&varmap, &rng, DType::F32, &Device::Cpu).pp("layers").pp(0);
/// let weight = vb.get_with_hints((2, 3), "weight", init::standard_normal())?;
/// let feedback = vb.get_with_hints((2, 3), "feedback", init::standard_normal())?;
///
/// let mut stream = rng.stream("layers.0.weight");
/// let mut normal = || stream.normal(0.0, 1.0, (2, 3), DType::F32, &Device::Cpu);
/// assert_eq!(weight.to_vec2::<f32>()?, normal()?.to_vec2::<f32>()?);
/// assert_eq!(feedback.to_vec2::<f32>()?, normal()?.to_vec2::<f32>()?);
/// assert_eq!(varmap.all_vars().len(), 2);
/// # Ok::<(), candle::Error>(())
/// ```
///
/// # Errors
/// The builder's requests fail if the name exists with another shape, or if [`Rng::draw`] fails.
pub fn seeded(varmap: &VarMap, rng: &Rng, dtype: DType, device: &Device) -> VarBuilder<'static> {
    let backend =
        Seeded { varmap: varmap.clone(), rng: rng.clone(), streams: Mutex::new(HashMap::new()) };
    VarBuilder::from_backend(Box::new(backend), dtype, device.clone())
}

struct Seeded {
    varmap: VarMap,
    rng: Rng,
    /// The generator of each prefix for which something has been drawn.
    streams: Mutex<HashMap<String, Rng>>,
}

impl Seeded {
    fn draw(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if let Init::Const(_) = init {
            return self.rng.clone().draw(init, shape, dtype, device);
        }
        let module = name.rsplit_once('.').map_or("", |(module, _)| module);
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = streams.entry(module.to_string()).or_insert_with(|| self.rng.stream(name));
        stream.draw(init, shape, dtype, device)
    }
}

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut vars = self.varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(var) = vars.get(name) {
            if var.shape() != &shape {
                candle::bail!(
                    "variable {name} has shape {:?}, expected {:?}: it was made or loaded for another \
                     configuration",
                    var.dims(),
                    shape.dims()
                )
            }
            return Ok(var.as_tensor().clone());
        }
        let var = Var::from_tensor(&self.draw(shape, name, init, dtype, device)?)?;
        let tensor = var.as_tensor().clone();
        vars.insert(name.to_string(), var);
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        let vars = self.varmap.data().lock().unwrap_or_else(PoisonError::into_inner);
        match vars.get(name) {
            Some(var) => Ok(var.as_tensor().clone()),
            None => candle::bail!("no variable {name}: to make one, ask for it with its shape"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.varmap.data().lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init;

    const CPU: &Device = &Device::Cpu;

    /// A module draws the same values whatever is requested before it, in either type; constants in between change
    /// nothing.
    #[test]
    fn streams_are_of_modules() -> Result<()> {
        let rng = Rng::new(3);
        let ask = |order: &[usize], dtype| {
            let varmap = VarMap::new();
            let vb = seeded(&varmap, &rng, dtype, CPU);
            for &layer in order {
                let vb = vb.pp("layers").pp(layer);
                vb.get_with_hints(4, "running_var", Init::Const(1.0))?;
                vb.get_with_hints((4, 5), "weight", init::glorot_uniform((4, 5)))?;
                vb.get_with_hints(4, "running_mean", Init::Const(0.0))?;
                vb.get_with_hints((4, 5), "feedback", init::glorot_uniform((4, 5)))?;
            }
            Ok::<_, candle::Error>(varmap)
        };
        for dtype in [DType::F32, DType::F64] {
            let (one, other) = (ask(&[0, 1], dtype)?, ask(&[1, 0], dtype)?);
            let (one, other) = (one.data().lock().unwrap(), other.data().lock().unwrap());
            let values = |var: &Var| var.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
            assert_eq!(one.len(), 8);
            for (name, var) in one.iter() {
                assert_eq!(values(var)?, values(&other[name])?, "{name}");
            }
            for layer in ["layers.0", "layers.1"] {
                let mut stream = rng.stream(&format!("{layer}.weight"));
                let bound = (6f64 / 9.0).sqrt();
                for name in ["weight", "feedback"] {
                    let want = stream.uniform(-bound, bound, (4, 5), dtype, CPU)?;
                    let want = want.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
                    let found = values(&one[&format!("{layer}.{name}")])?;
                    for (found, want) in found.iter().zip(want) {
                        assert!((found - want).abs() < 1e-7, "{layer}.{name}: {found} {want}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn what_exists_is_returned() -> Result<()> {
        let (varmap, rng) = (VarMap::new(), Rng::new(3));
        let vb = seeded(&varmap, &rng, DType::F32, CPU);
        let first = vb.get_with_hints((2, 3), "weight", init::standard_normal())?;
        let second = vb.get_with_hints((2, 3), "weight", init::standard_normal())?;
        assert_eq!(first.id(), second.id());
        assert!(first.is_variable());
        assert_eq!(first.id(), vb.get_unchecked("weight")?.id());
        assert_eq!(first.id(), varmap.all_vars()[0].id());
        let error = vb.get((3, 3), "weight").unwrap_err().to_string();
        assert!(error.contains("weight") && error.contains("[2, 3]") && error.contains("[3, 3]"));
        assert!(vb.get_unchecked("bias").unwrap_err().to_string().contains("bias"));
        assert!(vb.contains_tensor("weight") && !vb.contains_tensor("bias"));
        Ok(())
    }

    /// A shape that cannot be allocated is an error and leaves no variable behind.
    #[test]
    fn a_hostile_shape_is_an_error() {
        let varmap = VarMap::new();
        let vb = seeded(&varmap, &Rng::new(3), DType::F32, CPU);
        for shape in [vec![usize::MAX, 2], vec![1 << 60], vec![1 << 40, 1 << 20]] {
            for init in [init::standard_normal(), Init::Const(0.5)] {
                assert!(vb.get_with_hints(shape.clone(), "weight", init).is_err(), "{shape:?}");
            }
        }
        assert!(varmap.all_vars().is_empty());
    }
}
