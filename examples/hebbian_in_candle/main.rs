//! A Hebbian layer inside an ordinary candle program: a convolution learns the embedded digits by SoftHebb, without
//! labels; a `candle_nn` read-out learns from its features with AdamW; one `VarMap` saves and loads both.
//!
//! `cargo run --release --example hebbian_in_candle` takes a second. Expect it to classify 97.2 % of the
//! test digits correctly, and the same again from the file.

use anyhow::Result;
use candle::{D, DType, Device, Module, Tensor};
use candle_hebbian::ops::{Pool, triangle};
use candle_hebbian::{
    Competition, Conv2dConfig, LargestEntry, Layer, NormDependent, Rng, SoftHebb,
};
use candle_hebbian::{SoftWtaAntiHebbian, Steps, conv2d, init, seeded};
use candle_nn::{AdamW, Linear, Optimizer, VarBuilder, VarMap, linear, loss::cross_entropy};
use hebbian_data::{Batches, digits};

fn network(vb: VarBuilder) -> candle::Result<(Layer, Linear)> {
    let init = |shape: &[usize]| init::radius_normal(shape, 5.0);
    let hebbian = conv2d(1, 48, 5, Conv2dConfig::same(5), init, vb.pp("hebbian"))?;
    Ok((hebbian, linear(48 * 4 * 4, 10, vb.pp("readout"))?))
}

fn features(hebbian: &Layer, x: &Tensor) -> candle::Result<Tensor> {
    let u = triangle(&hebbian.forward(x)?, 1.0, true)?;
    Pool::Max { kernel: 2, stride: 2, padding: 0 }.forward(&u)?.flatten_from(1)
}

fn main() -> Result<()> {
    let (data, mut rng, varmap) = (digits(), Rng::new(0), VarMap::new());
    let (hebbian, readout) = network(seeded(&varmap, &rng, DType::F32, &Device::Cpu))?;
    let chain = Steps::builder(0.08).then(LargestEntry).then(NormDependent::default());
    let mut steps = chain.build([hebbian.var()?])?;
    for indices in Batches::shuffled(data.train.len(), 10, &mut rng)? {
        let (x, _) = data.train.batch(&indices, DType::F32, &Device::Cpu)?;
        let response = hebbian.response(&x)?;
        let post = SoftWtaAntiHebbian { inverse_temperature: 1.0 }.compete(response.u())?;
        steps.backward_step(&response.synapses(&post)?.loss(&SoftHebb)?)?;
    }
    let all: Vec<usize> = (0..data.train.len()).collect();
    let (x, labels) = data.train.batch(&all, DType::F32, &Device::Cpu)?;
    let x = features(&hebbian, &x)?.detach(); // so no gradient reaches what has learned
    let mut adam = AdamW::new_lr(varmap.all_vars(), 0.01)?;
    for _ in 0..100 {
        adam.backward_step(&cross_entropy(&readout.forward(&x)?, &labels)?)?;
    }
    let file = std::env::temp_dir().join("hebbian_in_candle.safetensors");
    varmap.save(&file)?;
    let mut fresh = VarMap::new();
    let loaded = network(VarBuilder::from_varmap(&fresh, DType::F32, &Device::Cpu))?;
    fresh.load(&file)?;
    let all: Vec<usize> = (0..data.test.len()).collect();
    let (x, labels) = data.test.batch(&all, DType::F32, &Device::Cpu)?;
    for (name, (hebbian, readout)) in [("trained", (hebbian, readout)), ("loaded", loaded)] {
        let classes = readout.forward(&features(&hebbian, &x)?)?.argmax(D::Minus1)?;
        let right = classes.eq(&labels)?.to_dtype(DType::F32)?.mean_all()?.to_scalar::<f32>()?;
        println!("{name}: {:.1} %", 100.0 * right);
    }
    Ok(())
}
