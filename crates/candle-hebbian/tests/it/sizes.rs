//! Sizes that a preset or a caller chose: those too large for any memory are errors, and no size causes a panic.

use candle::{DType, Device, Module, Result, Tensor, Var};
use candle_hebbian::ops::{
    BatchNorm, Edge, Pool, Ties, avg_pool2d, batch_norm, channels_last, composed, max_pool2d,
    max_pool2d_same, pad_reflect,
};
use candle_hebbian::{
    AdaptiveThreshold, BlockConfig, Conv2dConfig, FeedbackConfig, FeedbackLayer, Geometry, KWta,
    Layer, LayerConfig, ModulatedHebb, Norm, PaddingMode, Stack, Steps, WeightDims,
    adaptive_threshold, conv2d, dense, response_by_rule, with_most_bytes,
};
use candle_nn::{Init, VarBuilder, VarMap};

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

/// Lines whose windows all lie in the padding: they respond with 0 and send no error back.
#[test]
fn windows_in_the_padding() -> Result<()> {
    both_ways(|| {
        for (dtype, channels, units) in [(DType::F32, 1, 1), (DType::F64, 1, 1), (DType::F64, 4, 4)]
        {
            let x = Var::ones((1, channels, 10, 1), dtype, &Device::Cpu)?;
            let weight = Tensor::ones((units, channels, 1, 1), dtype, &Device::Cpu)?;
            let window = Conv2dConfig { padding: 3, stride: 7, ..Conv2dConfig::default() };
            let layer = Layer::from_tensor(&weight, Geometry::Conv2d(window))?;
            // Columns −3 and 4 of one column are padding; so the three rows see nothing.
            let out = layer.forward(&x)?;
            assert_eq!(out.dims(), [1, units, 3, 1]);
            let grads = out.sum_all()?.backward()?;
            for zeros in [&out, grads.get(&x).unwrap(), grads.get(layer.weight()).unwrap()] {
                assert_eq!(crate::largest::largest(zeros)?, 0.0);
            }
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

/// Nothing is allocated before its size is checked.
#[test]
fn builders() -> Result<()> {
    let huge = ["bytes", "more than"];
    let vb = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let zeros = |_: &[usize]| Init::Const(0.0);
    for (inputs, units) in [(1 << 40, 1 << 40), (1 << 31, 1 << 30), (usize::MAX, 2)] {
        refused(dense(inputs, units, zeros, vb()).map(drop), &huge);
        let plain = Conv2dConfig::default();
        refused(conv2d(inputs, units, 1, plain, zeros, vb()).map(drop), &huge);
        let sites = (inputs, units);
        refused(adaptive_threshold(sites, 0.1, 0.1, vb()).map(drop), &huge);
        let own = AdaptiveThreshold::new(sites, 0.1, 0.1, DType::F32, &Device::Cpu);
        refused(own.map(drop), &huge);
        // A variable of two values, of so many units.
        let var = Var::zeros(2, DType::F32, &Device::Cpu)?;
        let dims = WeightDims { sites: inputs, units, fan_in: 2 };
        refused(Steps::builder(0.1).build([(var, dims)]).map(drop), &["[2]"]);
    }
    for channels in [1 << 61, usize::MAX] {
        refused(BatchNorm::new(channels, DType::F32, &Device::Cpu).map(drop), &huge);
        refused(batch_norm(channels, vb()).map(drop), &huge);
    }
    let within = || with_most_bytes(1 << 10, || dense(1 << 10, 1 << 20, zeros, vb()));
    refused(within().map(drop), &["1024"]);
    // A block whose input has no dimension has no channels to norm.
    let mut stack = Stack::<KWta>::new(Vec::new(), &[], vb())?;
    let layer = FeedbackLayer::from_tensors(
        &Tensor::ones((2, 1), DType::F32, &Device::Cpu)?,
        None,
        Geometry::Dense,
        FeedbackConfig::default(),
    )?;
    let block = BlockConfig { norm: Some(Norm::BatchNorm {}), ..Default::default() };
    refused(stack.push_layer(block, layer, &vb()), &["one dimension or more"]);
    Ok(())
}

/// An untied layer of 36 positions with 512 units of 36 inputs each, from a convolution that has them once.
#[test]
fn untied_copies() -> Result<()> {
    let kernel = Tensor::ones((512, 4, 3, 3), DType::F32, &Device::Cpu)?;
    let geometry = Geometry::Conv2d(Conv2dConfig::default());
    let tied = FeedbackLayer::from_tensors(&kernel, None, geometry, FeedbackConfig::default())?;
    let untied = with_most_bytes(1 << 20, || tied.untied((8, 8)));
    refused(untied.map(drop), &["weights", "2654208 bytes", "1048576"]);
    Ok(())
}

/// Inputs and activities whose features no number counts.
#[test]
fn features_of_blocks() -> Result<()> {
    let vb = || VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let made = |shape: &[usize], geometry: Geometry| {
        let weight = Tensor::ones(shape, DType::F32, &Device::Cpu)?;
        FeedbackLayer::from_tensors(&weight, None, geometry, FeedbackConfig::default())
    };
    let layer = Some(LayerConfig::Dense { units: 2 });
    let block = BlockConfig::<KWta> { layer, ..Default::default() };
    let huge = [1 << 40, 1 << 40];
    refused(Stack::new(vec![block], &huge, vb()).map(drop), &["block 0", "inputs", "bytes"]);
    let mut stack = Stack::<KWta>::new(Vec::new(), &huge, vb())?;
    let dense = made(&[2, 1], Geometry::Dense)?;
    refused(stack.push_layer(BlockConfig::default(), dense, &vb()), &["[2, 1]", "fit"]);
    // Four channels in each of 2⁶² groups.
    let groups = Geometry::Conv2d(Conv2dConfig { groups: 1 << 62, ..Default::default() });
    let mut images = Stack::<KWta>::new(Vec::new(), &[4, 2, 2], vb())?;
    let conv = made(&[0, 4, 1, 1], groups)?;
    refused(images.push_layer(BlockConfig::default(), conv, &vb()), &["[0, 4, 1, 1]", "fit"]);
    // Eight maps of the largest images: 2⁶⁵ features.
    let side = (1 << 31) - 1;
    let mut stack = Stack::<KWta>::new(Vec::new(), &[1, side, side], vb())?;
    let conv = made(&[8, 1, 1, 1], Geometry::Conv2d(Conv2dConfig::default()))?;
    stack.push_layer(BlockConfig::default(), conv, &vb())?;
    let direct = Tensor::ones((1, 1), DType::F32, &Device::Cpu)?;
    refused(stack.blocks_mut()[0].set_direct(direct), &["features", "bytes"]);
    Ok(())
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
    // Rows of another number of inputs or, for a layer of two sites, of one; and a response of another shape.
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
    let says = ["rows (1, P, 4)", "[1, 9, 3]"];
    refused(layer.response_to(&ones(&[1, 9, 3])?, &[1, 1, 4, 4]), &says);
    let untied = Geometry::LocallyConnected2d(Conv2dConfig::default());
    let untied = Layer::new(ones(&[2, 1, 1, 1, 2, 2])?, untied)?;
    let says = ["rows (2, P, 4)", "[1, 9, 4]"];
    refused(untied.response_to(&ones(&[1, 9, 4])?, &[9, 1, 3, 2]), &says);
    let response = layer.response_to(&rows, &[1, 1, 4, 4])?;
    refused(response.with_u(&ones(&[1, 1, 1])?), &["[1, 1, 1]", "[1, 9, 1]"]);
    Ok(())
}

/// As many entries in another shape would be other units, channels or places.
#[test]
fn rows_of_another_shape() -> Result<()> {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
    let plain = Conv2dConfig::default();
    let untied = Geometry::LocallyConnected2d(plain);
    for (geometry, weight, input, output, expected, others) in [
        // Three units for two inputs, then for one and for a batch of 2 x 4.
        (Geometry::Dense, &[3, 5][..], &[2, 5][..], &[2, 3][..], "(…, 3)", [&[3, 2][..], &[]]),
        (Geometry::Dense, &[3, 5], &[5], &[3], "(…, 3)", [&[3, 1], &[]]),
        (Geometry::Dense, &[3, 5], &[2, 4, 5], &[2, 4, 3], "(…, 3)", [&[2, 3, 4], &[24]]),
        // Two units for windows of 2 x 2.
        (
            Geometry::Conv2d(plain),
            &[2, 1, 2, 2],
            &[1, 1, 4, 5],
            &[1, 2, 3, 4],
            "(B, 2, OH, OW)",
            [&[1, 3, 4, 2], &[1, 24]],
        ),
        (
            untied,
            &[3, 4, 2, 1, 2, 2],
            &[1, 1, 4, 5],
            &[1, 2, 3, 4],
            "(B, 2, 3, 4)",
            [&[1, 2, 4, 3], &[2, 3, 4]],
        ),
    ] {
        let layer = Layer::new(ones(weight)?, geometry)?;
        let response = layer.response(&ones(input)?)?;
        assert_eq!(response.output()?.dims(), output);
        assert_eq!(response.rows(&ones(output)?)?.dims(), response.u().dims());
        for other in others {
            let found = format!("{other:?}");
            refused(response.rows(&ones(other)?), &[expected, &found, "axes"]);
        }
    }
    // The units are in their place, but lines are columns, places are images, and images are places.
    let layer = Layer::new(ones(&[2, 1, 2, 2])?, Geometry::Conv2d(plain))?;
    let response = layer.response(&ones(&[1, 1, 4, 5])?)?;
    for other in [&[1, 2, 4, 3][..], &[2, 2, 3, 2], &[12, 2, 1, 1]] {
        refused(response.rows(&ones(other)?), &["[1, 2, 3, 4]", &format!("{other:?}")]);
    }
    let response = Layer::new(ones(&[3, 5])?, Geometry::Dense)?.response(&ones(&[2, 4, 5])?)?;
    for other in [&[4, 2, 3][..], &[8, 3]] {
        refused(response.rows(&ones(other)?), &["[2, 4, 3]", &format!("{other:?}")]);
    }
    Ok(())
}

/// Weights and images are of one type, in every geometry and on every path.
#[test]
fn types_of_weights() -> Result<()> {
    both_ways(|| {
        let x = images()?;
        for (shape, geometry) in [
            (&[1, 1, 2, 2][..], Geometry::Conv2d(Conv2dConfig::default())),
            (&[3, 3, 1, 1, 2, 2], Geometry::LocallyConnected2d(Conv2dConfig::default())),
        ] {
            let layer = Layer::new(Tensor::ones(shape, DType::F64, &Device::Cpu)?, geometry)?;
            refused(layer.forward(&x), &["F32", "F64"]);
            refused(layer.response(&x), &["F32", "F64"]);
        }
        Ok(())
    })
}

/// The weights of several sites are theirs: one matrix for all would have no update.
#[test]
fn weights_of_sites() -> Result<()> {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F64, &Device::Cpu);
    let respond = |weight: &Tensor| {
        let rule = std::sync::Arc::new(ModulatedHebb::default());
        response_by_rule(&ones(&[2, 3, 4])?, weight, weight, |u| Ok(u.clone()), rule)
    };
    refused(respond(&ones(&[6, 4])?), &["[6, 4]", "2 sites", "4 inputs"]);
    assert_eq!(respond(&ones(&[2, 3, 4])?)?.dims(), [2, 3, 3]);
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
