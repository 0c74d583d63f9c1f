//! A Hebbian layer in an ordinary candle program.

use candle::{DType, Device, Result, Tensor};
use candle_hebbian::{Competition, Geometry, Layer, Rng, SoftHebb, SoftWta};
use candle_nn::{Optimizer, SGD};

const FEATURES: usize = 96;

/// The weights of a dense SoftHebb layer of two units, `(2, FEATURES)`, after 20 steps on noisy
/// rows of two kinds: the first kind is 1 in the first half, the other in the second.
pub fn train() -> Result<Tensor> {
    let device = &Device::Cpu;
    let mut rng = Rng::new(0);
    let noise = rng.uniform(0.0, 0.25, (256, FEATURES), DType::F32, device)?;
    let rows = noise.add(&kinds(device)?.repeat((128, 1))?)?;

    let weight = rng.uniform(0.0, 0.02, (2, FEATURES), DType::F32, device)?;
    let weight = (weight + (kinds(device)? * 0.02)?)?;
    let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
    let mut sgd = SGD::new(vec![layer.var()?], 0.1 / 256.0)?;
    for _ in 0..20 {
        let response = layer.response(&rows)?;
        let post = SoftWta { inverse_temperature: 1.0 }.compete(response.u())?;
        sgd.backward_step(&response.synapses(&post)?.loss(&SoftHebb)?)?;
    }
    Ok(layer.weight().detach())
}

/// What a row of each kind is without noise, `(2, FEATURES)`.
pub fn kinds(device: &Device) -> Result<Tensor> {
    let at = Tensor::arange(0u32, FEATURES as u32, device)?;
    let first = at.lt((FEATURES / 2) as u32)?;
    let second = at.ge((FEATURES / 2) as u32)?;
    Tensor::stack(&[first, second], 0)?.to_dtype(DType::F32)
}

/// Trains, and tells JavaScript where the weights are; null if it failed.
#[unsafe(no_mangle)]
pub extern "C" fn trained() -> *const f32 {
    match train().and_then(|weight| weight.flatten_all()?.to_vec1::<f32>()) {
        Ok(weight) => weight.leak().as_ptr(),
        Err(_) => std::ptr::null(),
    }
}

/// How many weights there are.
#[unsafe(no_mangle)]
pub extern "C" fn count() -> usize {
    2 * FEATURES
}
