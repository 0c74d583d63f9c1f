//! Convolutions whose response and update are computed without writing out the windows.

use crate::largest::largest;
use candle::{DType, Device, Result, Tensor};
use candle_hebbian::{
    Block, BlockConfig, Conv2dConfig, Geometry, Hebb, Instar, Layer, LayerConfig, ModulatedHebb,
    NoCompetition, Oja, PaddingMode, Rng, Rule, Stack, Synapses,
};
use candle_nn::{VarBuilder, VarMap};
use std::sync::Arc;

const CPU: &Device = &Device::Cpu;

/// Whole numbers from −2 to 2, of which each is 0 but for a share of `active`.
fn whole(rng: &mut Rng, shape: &[usize], active: f64) -> Result<Tensor> {
    let numbers = rng.uniform(-2.5, 2.5, shape, DType::F32, CPU)?.round()?;
    let kept = rng.uniform(0.0, 1.0, shape, DType::F32, CPU)?.lt(active)?;
    numbers * kept.to_dtype(DType::F32)?
}

fn assert_same(what: &str, found: &Tensor, want: &Tensor) -> Result<()> {
    assert_eq!(found.dims(), want.dims(), "{what}");
    assert_eq!(largest(&(found - want)?)?, 0.0, "{what}");
    Ok(())
}

/// The convolutions filter several positions together, which rounds: by at most 3·10⁻⁵ of the root mean square of what
/// is to be found, as their own tests say.
fn assert_close(what: &str, found: &Tensor, want: &Tensor) -> Result<()> {
    assert_eq!(found.dims(), want.dims(), "{what}");
    let error = largest(&(found - want)?)?;
    let rms = f64::from(want.sqr()?.mean_all()?.sqrt()?.to_scalar::<f32>()?);
    assert!(error <= 3e-5 * rms, "{what}: off by {error}, with a root mean square of {rms}");
    Ok(())
}

/// A layer's response is the product of the rows that [`Layer::unfold`] writes out with the weights, and its updates
/// and losses are those of [`Synapses`] that hold these rows: for activities that are dense and sparse, rules with and
/// without decay, and zeros and mirrored pixels around the image. With whole numbers all sums over the rows are exact
/// in f32. The rows that the response returns are these rows, bit by bit.
#[test]
fn response_and_update_are_those_of_the_rows() -> Result<()> {
    let mut rng = Rng::new(8);
    let reflect = PaddingMode::Reflect;
    for config in [
        Conv2dConfig::same(3),
        Conv2dConfig { padding: 1, padding_mode: reflect, ..Conv2dConfig::default() },
    ] {
        let x = whole(&mut rng, &[3, 32, 7, 6], 1.0)?;
        let weight = whole(&mut rng, &[40, 32, 3, 3], 1.0)?;
        let layer = Layer::from_tensor(&weight, Geometry::Conv2d(config))?;
        let response = layer.response(&x)?;
        let rows = layer.unfold(&x)?;
        let u = rows.squeeze(0)?.matmul(&weight.flatten_from(1)?.t()?)?.unsqueeze(0)?;
        assert_close("response", response.u(), &u)?;
        for active in [1.0, 0.02] {
            let post = whole(&mut rng, u.dims(), active)?;
            let (seen, want) = (
                response.synapses(&post)?,
                Synapses::new(layer.weight(), &rows, response.u(), &post)?,
            );
            let rules: [(&str, &dyn Rule); 3] =
                [("hebb", &Hebb), ("instar", &Instar), ("oja", &Oja)];
            for (name, rule) in rules {
                let what = format!("{name}, {active} active");
                assert_close(&what, &seen.update(rule)?, &want.update(rule)?)?;
                assert_close(&what, &seen.loss(rule)?, &want.loss(rule)?)?;
                let gradient = |synapses: &Synapses| -> Result<Tensor> {
                    let grads = synapses.loss(rule)?.backward()?;
                    Ok(grads.get(layer.weight()).expect("a gradient").clone())
                };
                assert_close(&what, &gradient(&seen)?, &gradient(&want)?)?;
            }
            let third = whole(&mut rng, u.dims(), 1.0)?;
            let (seen, want) = (seen.with_third(&third)?, want.with_third(&third)?);
            assert_close("third factor", &seen.third_product()?, &want.third_product()?)?;
            assert_same("rows", seen.pre()?, &rows)?;
        }
        assert_same("rows", response.pre()?, &rows)?;
    }
    Ok(())
}

/// The second of two convolutions learns by a rule that reads the error. In f64 its windows are written out, in f32
/// they are not, and the gradients of both layers are the same.
#[test]
fn a_rule_in_a_network_that_back_propagates() -> Result<()> {
    let mut rng = Rng::new(9);
    let images = whole(&mut rng, &[2, 16, 5, 4], 0.5)?;
    let kernels = [whole(&mut rng, &[32, 16, 3, 3], 0.1)?, whole(&mut rng, &[40, 32, 3, 3], 0.1)?];
    let conv = |units| BlockConfig::<NoCompetition> {
        layer: Some(LayerConfig::Conv2d { units, kernel: 3, window: Conv2dConfig::same(3) }),
        ..BlockConfig::default()
    };
    let upstream = whole(&mut rng, &[2, 40, 5, 4], 1.0)?;
    let gradients = |dtype: DType| -> Result<Vec<Tensor>> {
        let vb = VarBuilder::from_varmap(&VarMap::new(), dtype, CPU);
        let mut stack = Stack::new(vec![conv(32), conv(40)], &[16, 5, 4], vb)?;
        for (block, kernel) in stack.blocks().iter().zip(&kernels) {
            block.layer()?.var()?.set(&kernel.to_dtype(dtype)?)?;
        }
        stack.blocks_mut()[1].set_rule(Arc::new(ModulatedHebb::default()))?;
        let out = stack.forward_train(&images.to_dtype(dtype)?, &mut Rng::new(3))?;
        let grads = (out * upstream.to_dtype(dtype)?)?.sum_all()?.backward()?;
        let of = |block: &Block<NoCompetition>| {
            grads.get(block.layer()?.weight()).expect("a gradient").to_dtype(DType::F32)
        };
        stack.blocks().iter().map(of).collect()
    };
    for (at, (found, want)) in gradients(DType::F32)?.iter().zip(gradients(DType::F64)?).enumerate()
    {
        assert!(want.abs()?.max_all()?.to_scalar::<f32>()? > 100.0, "layer {at} has an error");
        assert_close(&format!("layer {at}"), found, &want)?;
    }
    Ok(())
}

/// A rule without decay does not read the weights, so an infinite one leaves its update finite.
#[test]
fn without_decay_the_weights_are_not_read() -> Result<()> {
    let mut rng = Rng::new(10);
    let x = whole(&mut rng, &[1, 32, 4, 4], 1.0)?;
    let weight = Tensor::full(f32::INFINITY, (32, 32, 3, 3), CPU)?;
    let layer = Layer::from_tensor(&weight, Geometry::Conv2d(Conv2dConfig::same(3)))?;
    let post = whole(&mut rng, &[1, 16, 32], 1.0)?;
    let update = layer.response(&x)?.synapses(&post)?.update(&Hebb)?;
    let rows = layer.unfold(&x)?.squeeze(0)?;
    let want = post.squeeze(0)?.t()?.matmul(&rows)?.reshape(weight.shape())?;
    assert_close("update", &update, &want)
}
