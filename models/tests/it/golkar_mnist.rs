//! The panel of Fig. 3 of Golkar et al. 2020 for MNIST, where the data set is there.

use crate::common::{Result, shared};
use candle::Device;
use candle_hebbian::Rng;
use hebbian_data::Dataset;
use hebbian_models::golkar::{Diagnostics, Golkar, Learner, Options, Rule, Task, diagnose, preset};
use hebbian_train::{Learner as _, Method};

const CPU: &Device = &Device::Cpu;

/// The dashed line of the figure is at 0.81455. With one hidden unit and 100,000 samples one by one, the circuit of an
/// independent NumPy version ended at 0.816 ± 0.0007 in five runs, with a variance of `z` of 1.00 and 1.01; there is no
/// loss below 0.81362, that of the best regression without a ridge. `QQᵀ` is near the first mode, 0.0844.
#[test]
fn a_linear_circuit_comes_near_the_dashed_line() -> Result {
    let Some(data) = shared("mnist")? else { return Ok(()) };
    let options = Options { preset: preset("golkar-mnist-linear")?, backprop: false };
    let data = Golkar::splits(&options, data);
    assert_eq!((data.train.len(), data.test.len()), (10_000, 50_000));
    let data = Dataset { test: data.test.take(100), ..data };
    let task = Task::of(&options.preset, &data, CPU)?;
    let optimum = task.linear_optimum()?;
    assert!((optimum - 0.81455).abs() < 2e-5, "{optimum}");

    let mut learner = Learner::new(&options, task, &Rng::new(0), CPU)?;
    while learner.clock() != learner.total() {
        learner.step()?;
    }
    assert_eq!(learner.clock().images, 100_000);
    let loss = learner.point()?.loss;
    assert!((0.8136..=0.8185).contains(&loss), "{loss}");
    let Rule::Local { circuit, .. } = &learner.model().rule else {
        return Err("no circuit".into());
    };
    let Diagnostics { spectrum, .. } = diagnose(circuit, &learner.task().train)?;
    assert!((0.95..=1.06).contains(&spectrum[0]), "{spectrum:?}");
    let q = circuit.q().as_detached_tensor().flatten_all()?.to_vec1::<f32>()?[0];
    assert!((f64::from(q * q) / 0.0844 - 1.0).abs() < 0.1, "{q}");
    Ok(())
}
