//! A training step of the 100-196-400 network on a batch of a hundred 32×32 images, all layers
//! learning, beside the matrix products it cannot do without. `cargo bench --bench miconi_step`
//! prints both and their ratio, which may be below 1: where few units win, the update is less than a
//! matrix product.

mod bare;

use candle::{DType, Device};
use candle_hebbian::Rng;
use criterion::{Criterion, criterion_group, criterion_main};
use hebbian_models::miconi::{Network, Phase, preset};
use std::hint::black_box;

const BATCH: usize = 100;

fn bench(criterion: &mut Criterion) {
    let device = Device::Cpu;
    let rng = Rng::new(0);
    let preset = preset("miconi-cifar").expect("an embedded preset");
    let mut network =
        Network::new(&preset, (3, 32, 32), &rng, DType::F32, &device).expect("it fits");
    let mut draw = rng.stream("bench");
    let images = draw.normal(0.0, 1.0, (BATCH, 3, 32, 32), DType::F32, &device).expect("a tensor");
    let layers = [(784, 75, 100), (144, 900, 196), (16, 1764, 400)]
        .map(|(positions, fan_in, units)| (BATCH * positions, fan_in, units));
    bare::compare(criterion, "miconi_step", &layers, || {
        black_box(network.step(&images, Phase::Learn).expect("a step"));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
