//! The matrix products that a training step cannot do without, to compare it with: the response and
//! the update of each layer.

use candle::{DType, Device, Result, Tensor};
use candle_hebbian::Rng;
use criterion::Criterion;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Layer {
    pre: Tensor,
    weight: Tensor,
    post: Tensor,
}

impl Layer {
    fn new(rng: &mut Rng, (rows, fan_in, units): (usize, usize, usize)) -> Result<Self> {
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

/// Times `step` beside the products of layers of (rows, inputs per unit, units), and prints both and
/// their ratio.
pub fn compare(
    criterion: &mut Criterion,
    name: &str,
    layers: &[(usize, usize, usize)],
    mut step: impl FnMut(),
) {
    let mut rng = Rng::new(0).stream("bare products");
    let layers: Vec<Layer> =
        layers.iter().map(|&layer| Layer::new(&mut rng, layer).expect("a layer")).collect();
    let mut group = criterion.benchmark_group(name);
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
