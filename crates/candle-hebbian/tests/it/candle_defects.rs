//! Defects of candle 0.11.1 that this library works around. For each of them, one test checks by
//! the definition that this library is right, and another that candle is still wrong. The latter
//! fails once candle fixes the defect, and then the workaround can be reconsidered.

use candle::{CpuStorage, CustomOp1, DType, Device, Layout, Module, Result, Shape, Tensor, Var};
use candle_hebbian::ops::{Ties, avg_pool2d, max_pool2d, normalise, pad_reflect, repu, triangle};
use candle_hebbian::{Competition, Conv2dConfig, Geometry, HardWta, Layer, Rng};

fn mended(what: &str, workaround: &str) -> String {
    format!("candle now {what}: is {workaround} still needed?")
}

/// The gradient of the sum of `f(x)`.
fn gradient(x: &Var, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<f64>> {
    let grads = f(x)?.sum_all()?.backward()?;
    grads.get(x).expect("a gradient").flatten_all()?.to_vec1()
}

/// 0, 1, 2, … as an image of one channel.
fn image(height: usize, width: usize) -> Result<Var> {
    let count = (height * width) as f64;
    let values = Tensor::arange(0f64, count, &Device::Cpu)?.reshape((1, 1, height, width))?;
    Var::from_tensor(&values)
}

mod max_pool_scale {
    use super::*;

    /// Only the largest pixel of the window affects the output, with a slope of 1.
    const RIGHT: [f64; 4] = [0.0, 0.0, 0.0, 1.0];

    #[test]
    fn ours() -> Result<()> {
        let got = gradient(&image(2, 2)?, |x| max_pool2d(x, 2, 2, 0, Ties::First))?;
        assert_eq!(got, RIGHT);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let got = gradient(&image(2, 2)?, |x| x.max_pool2d(2))?;
        let message = mended("has max_pool2d's gradient right", "ops::max_pool2d");
        assert_eq!(got, [0.0, 0.0, 0.0, 0.25], "{message}");
        Ok(())
    }
}

mod overlapping_pools {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        // Windows of 2 with stride 1 on 2×3: both hold the middle column, maxima are 4 and 5.
        let got = gradient(&image(2, 3)?, |x| max_pool2d(x, 2, 1, 0, Ties::First))?;
        assert_eq!(got, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let got = gradient(&image(2, 3)?, |x| avg_pool2d(x, 2, 1, 0))?;
        assert_eq!(got, [0.25, 0.5, 0.25, 0.25, 0.5, 0.25]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let x = image(2, 3)?;
        let max = x.max_pool2d_with_stride(2, 1)?.sum_all()?.backward();
        assert!(max.is_err(), "{}", mended("takes max_pool2d kernel ≠ stride", "ops::max_pool2d"));
        let avg = x.avg_pool2d_with_stride(2, 1)?.sum_all()?.backward();
        assert!(avg.is_err(), "{}", mended("takes avg_pool2d kernel ≠ stride", "ops::avg_pool2d"));
        Ok(())
    }
}

mod convolution_of_an_untracked_image {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        let mut rng = Rng::new(0);
        let x = rng.normal(0.0, 1.0, (2, 3, 6, 6), DType::F64, &Device::Cpu)?;
        let weight = rng.normal(0.0, 1.0, (4, 3, 3, 3), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(Conv2dConfig::default()))?;
        let grads = layer.forward(&x)?.sqr()?.sum_all()?.backward()?;
        let ids: Vec<_> = grads.get_ids().copied().collect();
        assert_eq!(ids, [layer.weight().id()]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let mut rng = Rng::new(0);
        let x = rng.normal(0.0, 1.0, (2, 3, 6, 6), DType::F64, &Device::Cpu)?;
        let weight = rng.normal(0.0, 1.0, (4, 3, 3, 3), DType::F64, &Device::Cpu)?;
        let weight = Var::from_tensor(&weight)?;
        let grads = x.conv2d(&weight, 0, 1, 1, 1)?.sqr()?.sum_all()?.backward()?;
        let formed = grads.get_id(x.id()).is_some();
        assert!(formed, "{}", mended("skips conv2d's input gradient", "the unfolded response"));
        Ok(())
    }
}

mod product_with_an_untracked_matrix {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        let mut rng = Rng::new(0);
        let x = rng.normal(0.0, 1.0, (5, 3), DType::F64, &Device::Cpu)?;
        let weight = rng.normal(0.0, 1.0, (4, 3), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&weight, Geometry::Dense)?;
        let grads = layer.forward(&x)?.sqr()?.sum_all()?.backward()?;
        let ids: Vec<_> = grads.get_ids().copied().collect();
        assert_eq!(ids, [layer.weight().id()]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let mut rng = Rng::new(0);
        let x = rng.normal(0.0, 1.0, (5, 3), DType::F64, &Device::Cpu)?;
        let weight = Var::from_tensor(&rng.normal(0.0, 1.0, (3, 4), DType::F64, &Device::Cpu)?)?;
        let grads = x.matmul(&weight)?.sqr()?.sum_all()?.backward()?;
        let formed = grads.get_id(x.id()).is_some();
        assert!(formed, "{}", mended("skips matmul's idle gradient", "the response's custom op"));
        Ok(())
    }
}

/// A stride that leaves different remainders along the height and the width of an image.
mod convolution_of_an_oblong_image {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        let config = Conv2dConfig { stride: 2, ..Default::default() };
        let weight = Tensor::ones((1, 1, 2, 2), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(config))?;
        // The windows do not overlap, and none contains the fifth column.
        let got = gradient(&image(2, 5)?, |x| layer.forward(x))?;
        assert_eq!(got, [1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let weight = Var::ones((1, 1, 2, 2), DType::F64, &Device::Cpu)?;
        let grads = image(2, 5)?.conv2d(&weight, 0, 2, 1, 1)?.sum_all()?.backward();
        assert!(grads.is_err(), "{}", mended("takes oblong images", "the unfolded response"));
        Ok(())
    }
}

mod overlapping_windows {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        let weight = Tensor::ones((1, 1, 1, 2), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(Conv2dConfig::default()))?;
        assert_eq!(gradient(&image(1, 3)?, |x| layer.forward(x))?, [1.0, 2.0, 1.0]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let grads = image(1, 3)?.unfold(3, 2, 1)?.contiguous()?.sum_all()?.backward();
        assert!(grads.is_err(), "{}", mended("differentiates unfold", "our own unfolding"));
        Ok(())
    }
}

mod seeds {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        let draw = |seed: u64| {
            Rng::new(seed).normal(0.0, 1.0, 9, DType::F64, &Device::Cpu)?.to_vec1::<f64>()
        };
        assert_eq!(draw(1)?, draw(1)?);
        assert_ne!(draw(1)?, draw(2)?);
        Ok(())
    }

    #[test]
    fn candle() {
        let seeded = Device::Cpu.set_seed(1);
        assert!(seeded.is_err(), "{}", mended("seeds its CPU generator", "Rng"));
    }
}

mod slope_of_relu_at_zero {
    use super::*;

    #[test]
    fn ours() -> Result<()> {
        let x = Var::new(&[[-1f64, 0.0, 2.0]], &Device::Cpu)?;
        for power in [1.0, 1.4, 2.0] {
            let slope = power * 2f64.powf(power - 1.0);
            let got = gradient(&x, |x| repu(x, power))?;
            assert_eq!(got[..2], [0.0, 0.0]);
            assert!((got[2] - slope).abs() < 1e-12);
        }
        // All channels equal: nothing is above the mean.
        let x = Var::new(&[[3f64, 3.0, 3.0]], &Device::Cpu)?;
        for constant_mean in [true, false] {
            assert_eq!(gradient(&x, |x| triangle(x, 0.7, constant_mean))?, [0.0; 3]);
        }
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let got = gradient(&Var::new(&[[-1f64, 0.0, 2.0]], &Device::Cpu)?, Tensor::relu)?;
        assert_eq!(got, [0.0, 1.0, 1.0], "{}", mended("takes relu'(0) = 0", "ops::repu"));
        Ok(())
    }
}

mod relu_of_nan {
    use super::*;
    use candle_hebbian::HingeHebb;

    /// A loss that stays finite would hide that training went wrong.
    #[test]
    fn ours() -> Result<()> {
        let fields = Tensor::new(&[[f64::NAN, 0.0]], &Device::Cpu)?;
        let loss = HingeHebb::new(1.0)?.loss(&fields, &Tensor::new(&[0u32], &Device::Cpu)?)?;
        assert!(loss.to_scalar::<f64>()?.is_nan());
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let got = Tensor::new(&[f64::NAN], &Device::Cpu)?.relu()?.to_vec1::<f64>()?;
        assert_eq!(got, [0.0], "{}", mended("keeps NaN in relu", "HingeHebb's own product"));
        Ok(())
    }
}

/// A custom op that has no gradient for an argument which is itself computed.
mod custom_op_without_a_gradient {
    use super::*;

    struct Silent;

    impl CustomOp1 for Silent {
        fn name(&self) -> &'static str {
            "silent"
        }

        fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
            Ok((storage.clone(), layout.shape().clone()))
        }

        fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
            Ok(None)
        }
    }

    /// This library's ops accept computed arguments; one without a gradient detaches its argument.
    #[test]
    fn ours() -> Result<()> {
        let mut rng = Rng::new(0);
        let var =
            Var::from_tensor(&rng.normal(0.0, 1.0, (2, 3, 6, 6), DType::F64, &Device::Cpu)?)?;
        let weight = rng.normal(0.0, 1.0, (4, 3, 3, 3), DType::F64, &Device::Cpu)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(Conv2dConfig::default()))?;
        let x = (var.as_tensor() * 2.0)?;
        for out in [
            layer.forward(&x)?,
            pad_reflect(&x, 1)?,
            max_pool2d(&x, 2, 1, 0, Ties::First)?,
            avg_pool2d(&x, 2, 1, 0)?,
            triangle(&x, 1.4, true)?,
            normalise(&x, 1e-5)?.0,
        ] {
            let grads = out.sqr()?.sum_all()?.backward()?;
            assert_eq!(grads.get(&var).expect("a gradient").dims(), var.dims());
        }
        let activity = HardWta.compete(&x)?;
        assert!(!activity.track_op());
        (activity.sum_all()? + x.sum_all()?)?.backward()?;
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let var = Var::ones(3, DType::F64, &Device::Cpu)?;
        let out = (var.as_tensor() * 2.0)?.apply_op1(Silent)?.sum_all()?;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| out.backward()));
        let message = mended("lets a custom op have no gradient", "cutting arguments off first");
        assert!(outcome.is_err(), "{message}");
        Ok(())
    }
}

mod memory_of_a_detached_variable {
    use super::*;

    /// A layer made from a tensor holds a copy, and a response does not change with the weights.
    #[test]
    fn ours() -> Result<()> {
        let var = Var::new(&[[1f64, 2.0]], &Device::Cpu)?;
        let layer = Layer::from_tensor(&var.as_detached_tensor(), Geometry::Dense)?;
        var.set(&var.zeros_like()?)?;
        assert_eq!(layer.weight().to_vec2::<f64>()?, [[1.0, 2.0]]);
        let response = layer.response(&Tensor::new(&[[1f64, 1.0]], &Device::Cpu)?)?;
        layer.var()?.set(&var.zeros_like()?)?;
        assert_eq!(response.output()?.to_vec2::<f64>()?, [[3.0]]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let var = Var::new(&[1f64, 2.0], &Device::Cpu)?;
        let detached = var.as_tensor().detach();
        var.set(&var.zeros_like()?)?;
        let message = mended("copies on detach or replaces on set", "Layer::from_tensor's copy");
        assert_eq!(detached.to_vec1::<f64>()?, [0.0, 0.0], "{message}");
        Ok(())
    }
}

mod memory_of_a_copied_view {
    use super::*;
    use candle::Storage;

    /// The number of values in a tensor's memory.
    fn held(tensor: &Tensor) -> usize {
        match &*tensor.storage_and_layout().0 {
            Storage::Cpu(CpuStorage::F64(values)) => values.len(),
            other => panic!("{other:?}"),
        }
    }

    /// A layer made from a part of a tensor holds no more than its weights.
    #[test]
    fn ours() -> Result<()> {
        let whole = Tensor::arange(0f64, 50.0, &Device::Cpu)?.reshape((10, 5))?;
        let layer = Layer::from_tensor(&whole.narrow(0, 2, 3)?, Geometry::Dense)?;
        assert_eq!(held(layer.weight()), 15);
        assert_eq!(layer.weight().get(0)?.to_vec1::<f64>()?, [10.0, 11.0, 12.0, 13.0, 14.0]);
        Ok(())
    }

    #[test]
    fn candle() -> Result<()> {
        let whole = Tensor::zeros((10, 5), DType::F64, &Device::Cpu)?;
        let part = whole.narrow(0, 2, 3)?;
        assert_eq!(held(&part.force_contiguous()?), 15);
        let message =
            mended("copies only the values of a view", "force_contiguous in place of copy");
        assert_eq!(held(&part.copy()?), 50, "{message}");
        Ok(())
    }
}
