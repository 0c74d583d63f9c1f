//! A training step of the 96-384-1536 network on a batch of ten 32×32 images, all layers
//! learning, beside the matrix products it cannot do without. `cargo bench --bench softhebb_step`
//! prints both and their ratio.

mod bare;

use candle::{DType, Device};
use candle_hebbian::Rng;
use criterion::{Criterion, criterion_group, criterion_main};
use hebbian_models::softhebb::{Network, preset};
use std::hint::black_box;

const BATCH: usize = 10;

fn bench(criterion: &mut Criterion) {
    let device = Device::Cpu;
    let rng = Rng::new(0);
    let preset = preset("softhebb-cnn3-cifar").expect("an embedded preset");
    let mut network =
        Network::new(&preset, (3, 32, 32), &rng, DType::F32, &device).expect("it fits");
    let mut draw = rng.stream("bench");
    let images = draw.uniform(0.0, 1.0, (BATCH, 3, 32, 32), DType::F32, &device).expect("a tensor");
    let layers = [(1024, 75, 96), (256, 864, 384), (64, 3456, 1536)]
        .map(|(positions, fan_in, units)| (BATCH * positions, fan_in, units));
    bare::compare(criterion, "softhebb_step", &layers, || {
        black_box(network.learn(&images, 0.0).expect("a step"));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
