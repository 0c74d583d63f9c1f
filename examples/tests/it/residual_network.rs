//! The network of the example `residual_network`, against the same network in PyTorch.

#[path = "../../residual_network/network.rs"]
mod network;

use candle::{DType, Device, ModuleT, Tensor};
use candle_hebbian::{FeedbackConfig, Rng, seeded};
use candle_nn::VarMap;
use network::ResNet20;

/// Numbers from −1 to 1 that look random: the fraction of 43758.5453 sin(12.9898 i + phase), doubled, minus 1.
fn waves(shape: &[usize], phase: f64) -> candle::Result<Tensor> {
    let count = shape.iter().product::<usize>();
    let wave = |i| 43758.5453 * (12.9898 * i as f64 + phase).sin();
    let values: Vec<f64> = (0..count).map(|i| 2.0 * wave(i).rem_euclid(1.0) - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// `residual_network/pytorch.py` prints the logits, in f64. The order of the blocks, the pixels and channels of the
/// shortcuts, and ε of batch normalisation all change them by more than 1e-3.
#[test]
fn the_weights_of_pytorch_give_its_logits() -> candle::Result<()> {
    let varmap = VarMap::new();
    let vb = seeded(&varmap, &Rng::new(0), DType::F32, &Device::Cpu);
    let network = ResNet20::new((3, 10), FeedbackConfig::default(), vb)?;
    for (name, var) in varmap.data().lock().unwrap().iter() {
        let wave = waves(var.dims(), name.bytes().map(f64::from).sum())?;
        let value = if name.ends_with("running_mean") || name.ends_with("bias") {
            (wave * 0.1)?
        } else if name.contains("norm") {
            wave.affine(0.5, 1.0)?
        } else {
            (wave * (6.0 / (var.elem_count() / var.dim(0)?) as f64).sqrt())?
        };
        var.set(&value.to_dtype(DType::F32)?)?;
    }
    assert_eq!(network.layers().count(), 20);
    let images = waves(&[2, 3, 32, 32], 0.0)?.to_dtype(DType::F32)?;
    let logits = network.forward_t(&images, false)?.to_vec2::<f32>()?;
    let wanted = [
        [30.3310, 11.6199, 41.8499, 83.9977, 88.1365, 99.4744, -2.7126, 47.4769, 78.8950, 123.4055],
        [
            32.0936, 12.6260, 42.2630, 85.9756, 89.4590, 100.7797, -1.3990, 48.3991, 80.2383,
            124.3422,
        ],
    ];
    for (found, wanted) in logits.iter().flatten().zip(wanted.as_flattened()) {
        assert!((found - wanted).abs() < 1e-3, "{found}, expected {wanted}");
    }
    Ok(())
}
