//! Sizes that a preset or a caller chose: those too large for any memory are errors, and no size causes a panic.

use candle::{DType, Device, Module, Result, Tensor};
use candle_hebbian::ops::{
    Edge, Pool, Ties, avg_pool2d, channels_last, composed, max_pool2d, max_pool2d_same, pad_reflect,
};
use candle_hebbian::{Conv2dConfig, Geometry, Layer, PaddingMode};

const HOSTILE: [usize; 3] = [1_000_000, 1 << 62, usize::MAX];

fn refused<T>(result: Result<T>, says: &[&str]) {
    match result {
        Ok(_) => panic!("taken, expected an error with {says:?}"),
        Err(error) => {
            let error = error.to_string();
            assert!(says.iter().all(|says| error.contains(says)), "{says:?} in {error}");
        }
    }
}

/// Runs `check` with the kernels and with the compositions.
fn both_ways(check: impl Fn() -> Result<()>) -> Result<()> {
    check()?;
    composed(check)
}

fn images() -> Result<Tensor> {
    Tensor::arange(0f32, 16.0, &Device::Cpu)?.reshape((1, 1, 4, 4))
}

#[test]
fn windows_of_layers() -> Result<()> {
    both_ways(|| {
        let x = images()?;
        let weight = Tensor::ones((1, 1, 2, 2), DType::F32, &Device::Cpu)?;
        let untied = Tensor::ones((3, 3, 1, 1, 2, 2), DType::F32, &Device::Cpu)?;
        let refuse = |config: Conv2dConfig, says: &[&str]| -> Result<()> {
            let layer = Layer::new(weight.clone(), Geometry::Conv2d(config))?;
            refused(layer.response(&x), says);
            refused(layer.forward(&x), says);
            let layer = Layer::new(untied.clone(), Geometry::LocallyConnected2d(config))?;
            refused(layer.response(&x), says);
            refused(layer.forward(&x), says);
            Ok(())
        };
        let plain = Conv2dConfig::default();
        for size in HOSTILE {
            refuse(Conv2dConfig { dilation: size, ..plain }, &["too small"])?;
            let padding_mode = PaddingMode::Reflect;
            let mirrored = format!("reflection padding of {size}");
            refuse(Conv2dConfig { padding: size, padding_mode, ..plain }, &[&mirrored])?;
        }
        for padding in [1 << 62, usize::MAX] {
            refuse(Conv2dConfig { padding, ..plain }, &["too large", &padding.to_string()])?;
            refuse(Conv2dConfig { trailing_padding: padding, ..plain }, &["too large"])?;
        }
        // Each side alone would fit, but not the image of both.
        for padding in [1_000_000, 1_000_000_000] {
            refuse(Conv2dConfig { padding, ..plain }, &["bytes", "smaller", "padding"])?;
        }
        for stride in HOSTILE {
            let config = Conv2dConfig { stride, ..plain };
            let layer = Layer::from_tensor(&weight, Geometry::Conv2d(config))?;
            // The only window, at the top left, holds 0, 1, 4, 5.
            let grads = layer.forward(&x)?.backward()?;
            let pre = Tensor::new(&[[[[0f32, 1.0], [4.0, 5.0]]]], &Device::Cpu)?;
            let grad = grads.get(layer.weight()).expect("a gradient").flatten_all()?;
            assert_eq!(grad.to_vec1::<f32>()?, pre.flatten_all()?.to_vec1::<f32>()?);
            assert_eq!(layer.forward(&x)?.flatten_all()?.to_vec1::<f32>()?, [10.0]);
            assert_eq!(layer.response(&x)?.u().flatten_all()?.to_vec1::<f32>()?, [10.0]);
        }
        Ok(())
    })
}

#[test]
fn weights() {
    for size in [1 << 40, usize::MAX] {
        let plain = Conv2dConfig::default();
        refused(Geometry::Conv2d(plain).weight_dims(&[1, size, size, size]), &["weights", "bytes"]);
        let untied = Geometry::LocallyConnected2d(plain);
        refused(untied.weight_dims(&[size, size, 0, 1, 1, 1]), &["weights", "bytes"]);
    }
}

/// Kernels without units may have any number of groups.
#[test]
fn groups_of_nothing() -> Result<()> {
    let config = Conv2dConfig { groups: 1 << 62, ..Default::default() };
    let weight = Tensor::ones((0, 4, 1, 1), DType::F32, &Device::Cpu)?;
    let layer = Layer::new(weight, Geometry::Conv2d(config))?;
    both_ways(|| {
        refused(layer.forward(&images()?), &["[1, 1, 4, 4]"]);
        refused(layer.response(&images()?), &["[1, 1, 4, 4]"]);
        Ok(())
    })
}

#[test]
fn windows_of_pools() -> Result<()> {
    both_ways(|| {
        let x = images()?;
        for size in HOSTILE {
            let padding = size / 2;
            for stride in [1, size] {
                let max = Pool::Max { kernel: size, stride, padding: 0 };
                refused(max.forward(&x), &["too small", &size.to_string()]);
                refused(max.output_size(4), &["too small", &size.to_string()]);
            }
            let avg = Pool::Avg { kernel: 2, stride: 1, padding };
            refused(avg.forward(&x), &["at most half the kernel"]);
            for pooled in
                [max_pool2d(&x, size, 1, padding, Ties::All), avg_pool2d(&x, size, 1, padding)]
            {
                match pooled {
                    // Every window sees the whole image, whose sum is 120.
                    Ok(pooled) if size == 1_000_000 => {
                        let all = pooled.flatten_all()?.to_vec1::<f32>()?;
                        assert_eq!(all.len(), 25);
                        assert!(all == [15.0; 25] || all == [120e-12; 25], "{all:?}");
                    }
                    pooled => refused(pooled, &["too large", "pixels"]),
                }
            }
            // A single window that sees the whole image.
            for pooled in [
                max_pool2d_same(&x, size, size, Edge::Zeros, Ties::All)?,
                max_pool2d_same(&x, size, 4, Edge::Excluded, Ties::First)?,
                channels_last::max_pool2d_same(
                    &x.permute((0, 2, 3, 1))?,
                    size,
                    4,
                    Edge::Zeros,
                    Ties::First,
                )?,
            ] {
                assert_eq!(pooled.flatten_all()?.to_vec1::<f32>()?[0], 15.0);
            }
            refused(pad_reflect(&x, size), &["reflection padding", &size.to_string()]);
        }
        Ok(())
    })
}

/// A response to rows cannot be put in a shape if the shape of their input is not that of images.
#[test]
fn shapes_of_responses() -> Result<()> {
    let weight = Tensor::ones((1, 1, 2, 2), DType::F32, &Device::Cpu)?;
    let layer = Layer::new(weight, Geometry::Conv2d(Conv2dConfig::default()))?;
    let rows = layer.unfold(&images()?)?;
    for input in [&[][..], &[1, 9], &[1, 1, 4, 4, 1]] {
        refused(layer.response_to(&rows, input)?.output(), &["(B, C, H, W)"]);
    }
    Ok(())
}

/// As many windows, but in other rows: each would meet the weights of another place.
#[test]
fn untied_weights_meet_windows_at_their_own_places() -> Result<()> {
    let weight = Tensor::ones((2, 3, 1, 1, 1, 1), DType::F64, &Device::Cpu)?;
    let untied = Geometry::LocallyConnected2d(Conv2dConfig::default());
    let layer = Layer::from_tensor(&weight, untied)?;
    let [fits, turned] =
        [(1, 1, 2, 3), (1, 1, 3, 2)].map(|shape| Tensor::ones(shape, DType::F64, &Device::Cpu));
    assert!(layer.response(&fits?).is_ok());
    let message = layer.response(&turned?).map(drop).unwrap_err().to_string();
    assert!(message.contains("3 x 2 windows") && message.contains("2 x 3"), "{message}");
    Ok(())
}
