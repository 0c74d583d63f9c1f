//! A training step of the 96-384-1536 network on a batch of ten 32×32 images, all layers
//! learning, beside the matrix products it cannot do without: the response and the update of each
//! layer. `cargo bench --bench softhebb_step` prints both and their ratio.

use candle::{DType, Device, Result, Tensor};
use candle_hebbian::Rng;
use criterion::{Criterion, criterion_group, criterion_main};
use hebbian_models::softhebb::{Network, preset};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 10;

struct Layer {
    pre: Tensor,
    weight: Tensor,
    post: Tensor,
}

impl Layer {
    /// Rows, inputs per unit, units.
    fn new(rng: &mut Rng, rows: usize, fan_in: usize, units: usize) -> Result<Self> {
        let mut normal = |shape| rng.normal(0.0, 1.0, shape, DType::F32, &Device::Cpu);
        Ok(Self {
            pre: normal((rows, fan_in))?,
            weight: normal((units, fan_in))?,
            post: normal((rows, units))?,
        })
    }

    fn products(&self) -> Result<()> {
        black_box(self.pre.matmul(&self.weight.t()?)?);
        black_box(self.post.t()?.matmul(&self.pre)?);
        Ok(())
    }
}

fn bare(layers: &[Layer]) {
    layers.iter().try_for_each(Layer::products).expect("shapes fit");
}

fn bench(criterion: &mut Criterion) {
    let device = Device::Cpu;
    let rng = Rng::new(0);
    let preset = preset("softhebb-cnn3-cifar").expect("an embedded preset");
    let mut network =
        Network::new(&preset, (3, 32, 32), &rng, DType::F32, &device).expect("it fits");
    let mut draw = rng.stream("bench");
    let images = draw.uniform(0.0, 1.0, (BATCH, 3, 32, 32), DType::F32, &device).expect("a tensor");
    let layers: Vec<Layer> = [(1024, 75, 96), (256, 864, 384), (64, 3456, 1536)]
        .into_iter()
        .map(|(positions, fan_in, units)| {
            Layer::new(&mut draw, BATCH * positions, fan_in, units).expect("a layer")
        })
        .collect();
    let mut step = || {
        black_box(network.learn(&images, 0.0).expect("a step"));
    };

    let mut group = criterion.benchmark_group("softhebb_step");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    group.bench_function("bare_products", |b| b.iter(|| bare(&layers)));
    group.bench_function("learn", |b| b.iter(&mut step));
    group.finish();

    // In turn, so that a machine whose speed drifts drifts for both.
    let mut ratios: Vec<f64> = (0..21)
        .map(|_| {
            let started = Instant::now();
            bare(&layers);
            let products = started.elapsed();
            let started = Instant::now();
            step();
            started.elapsed().as_secs_f64() / products.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("learn / bare_products, median of {}: {:.2}", ratios.len(), ratios[10]);
}

criterion_group!(benches, bench);
criterion_main!(benches);
