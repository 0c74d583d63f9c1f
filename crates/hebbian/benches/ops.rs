//! The single ops of `hebbian bench` with the statistics of [criterion], which compares with an earlier measurement:
//!
//! ```text
//! cargo bench -p hebbian --bench ops -- --save-baseline before
//! cargo bench -p hebbian --bench ops -- --baseline before
//! ```
//!
//! [criterion]: https://bheisler.github.io/criterion.rs/book/

use candle::Device;
use criterion::Criterion;

fn main() -> anyhow::Result<()> {
    hebbian::start()?;
    let mut criterion = Criterion::default().configure_from_args();
    for benchmark in hebbian::benchmarks() {
        if benchmark.name().starts_with("op/") {
            let mut run = benchmark.prepare(&Device::Cpu)?;
            criterion.bench_function(benchmark.name(), |bencher| {
                bencher.iter(|| run().expect("a benchmark that could be prepared"));
            });
        }
    }
    criterion.final_summary();
    Ok(())
}
